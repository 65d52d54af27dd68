"""Make proofs of possession of the key of a sign-in: DPoP, RFC 9449.

The library that makes them is an extra, and is loaded when the first proof is due.
"""

from __future__ import annotations

import json
import sys
import uuid
from base64 import urlsafe_b64encode
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aiocreds._base.redaction import SecretStr
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from aiocreds._core.refresh import Clock

INSTALL = "pip install 'aiocreds[login]'"


def can_prove() -> bool:
    """Return whether the library that makes proofs is installed, without loading it. Reads the disk."""
    try:
        return sys.modules.get("cryptography") is not None or find_spec("cryptography") is not None
    except ImportError:  # an import hook may raise it
        return False


def private_key(pem: SecretStr) -> EllipticCurvePrivateKey:
    """Return the key that ``aws login`` made. Loads the library, so call it in a thread.

    Raises:
        InvalidConfiguration: the library is not installed, or broken.
        ValueError: it is no P-256 key in PEM, or wants a password.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # an extra
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise InvalidConfiguration(
            f"the library cryptography, which renews what aws login brought, does not load ({error}): {INSTALL}"
        ) from None
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # TypeError: it wants a password
        key = None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        key.sign(b"", ec.ECDSA(SHA256()))  # the first signature of a process loads more modules
        return key
    raise ValueError("no P-256 key")


def new_key() -> tuple[EllipticCurvePrivateKey, SecretStr]:
    """Return a new key, and its PEM as ``aws login`` writes it. Loads the library, so call it in a thread.

    Raises:
        InvalidConfiguration: the library is not installed, or broken.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec  # an extra
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError as error:
        raise InvalidConfiguration(
            f"the library cryptography, which signs in as aws login does, does not load ({error}): {INSTALL}"
        ) from None
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    text = SecretStr(pem.decode())
    return private_key(text), text


def dpop_proof(key: EllipticCurvePrivateKey, method: str, url: str, clock: Clock, *, nonce: str = "") -> str:
    """Return a signed proof for one request made now (RFC 9449, section 4.2), with the service's nonce if any."""
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # an extra
    from cryptography.hazmat.primitives.hashes import SHA256

    point = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": _base64(_octets(point.x)), "y": _base64(_octets(point.y))}
    target = url.partition("#")[0].partition("?")[0]
    claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": target, "iat": int(clock.now())}
    if nonce:
        claims["nonce"] = nonce
    statement = f"{_json({'typ': 'dpop+jwt', 'alg': 'ES256', 'jwk': jwk})}.{_json(claims)}"
    r, s = utils.decode_dss_signature(key.sign(statement.encode(), ec.ECDSA(SHA256())))
    return f"{statement}.{_base64(_octets(r) + _octets(s))}"


def _json(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document, separators=(",", ":")).encode())


def _octets(number: int) -> bytes:
    """Return a coordinate, or half a signature, of P-256 as 32 octets (RFC 7518, sections 3.4 and 6.2.1)."""
    return number.to_bytes(32, "big")


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
