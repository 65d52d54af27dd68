"""AWS Sign-In: what renews the short-lived credentials that ``aws login`` brings.

See https://docs.aws.amazon.com/signin/latest/APIReference/API_CreateOAuth2Token.html and, for the proof that the
private key is ours, https://datatracker.ietf.org/doc/html/rfc9449 (DPoP).
"""

from __future__ import annotations

import json
import uuid
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

from aiocreds.aws.unsigned import ask
from aiocreds.errors import InvalidConfiguration, SourceUnavailable
from aiocreds.parse import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from aiocreds.aws.client import ServiceClient
    from aiocreds.refresh import Clock

LONGEST_LIFE = 24 * 3600
SIGN_IN_ENDED = {
    "TOKEN_EXPIRED": "the session has ended: sign in again",
    "USER_CREDENTIALS_CHANGED": "the password or another credential of the person has changed: sign in again",
    "AUTHCODE_EXPIRED": "the sign-in was not finished in time: sign in again",
}
NO_PERMISSION = "INSUFFICIENT_PERMISSIONS"
REMEDIES = {
    **SIGN_IN_ENDED,
    NO_PERMISSION: "the identity that signed in needs the permission for signin:CreateOAuth2Token",
    "INVALID_REQUEST": "check this machine's clock, then sign in again",
    "AccessDeniedException": "sign in again",
    "ValidationException": "sign in again",
}


class Renewed(NamedTuple):
    """What CreateOAuth2Token gives.

    Attributes:
        keys: an object with ``accessKeyId``, ``secretAccessKey`` and ``sessionToken``.
        lifetime: of the keys, in seconds.
        refresh_token: for the next time.
    """

    keys: dict[str, Any]
    lifetime: int
    refresh_token: str


async def create_token(
    signin: ServiceClient, *, client_id: str, refresh_token: str, key: EllipticCurvePrivateKey
) -> Renewed:
    """Call CreateOAuth2Token with a refresh token and a proof that the key it is bound to is held here.

    Raises:
        ServiceRefused: it answered no; the codes in `SIGN_IN_ENDED` mean that a person has to sign in again.
        SourceUnavailable: it did not answer, or not with keys.
    """
    clock = signin.around.context.clock

    def proof(method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> Mapping[str, str]:
        return {"DPoP": dpop_proof(key, method, url, clock)}

    answer = await ask(
        signin,
        "POST",
        "/v1/token",
        name="AWS Sign-In",
        target="to renew the sign-in",
        headers={"Content-Type": "application/json"},
        body={"clientId": client_id, "grantType": "refresh_token", "refreshToken": refresh_token},
        remedies=REMEDIES,
        hidden=[refresh_token],
        unrecoverable={NO_PERMISSION},
        proof=proof,
    )
    keys, lifetime, next_token = answer.get("accessToken"), answer.get("expiresIn"), answer.get("refreshToken")
    if (
        not isinstance(keys, dict)
        or not isinstance(lifetime, int)
        or not 0 < lifetime < LONGEST_LIFE
        or not all(text_of(keys.get(name)) for name in ("accessKeyId", "secretAccessKey", "sessionToken"))
    ):
        raise SourceUnavailable(
            "AWS Sign-In answered without usable keys and expiresIn; check the endpoint, and for a proxy in between"
        )
    return Renewed(keys, lifetime, text_of(next_token) or refresh_token)


def private_key(pem: str) -> EllipticCurvePrivateKey:
    """The key that ``aws login`` made.

    Raises:
        InvalidConfiguration: the extra ``login`` is not installed.
        ValueError: it is no P-256 key in PEM.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec  # an extra
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise InvalidConfiguration(
            "renewing what aws login brought needs the library cryptography: pip install 'aiocreds[login]'"
        ) from None
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError):  # TypeError: it wants a password
        key = None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("no P-256 key")


def dpop_proof(key: EllipticCurvePrivateKey, method: str, url: str, clock: Clock) -> str:
    """A signed statement that whoever holds the key makes this request now (RFC 9449)."""
    from cryptography.hazmat.primitives.asymmetric import ec, utils  # an extra
    from cryptography.hazmat.primitives.hashes import SHA256

    point = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": _base64(_octets(point.x)), "y": _base64(_octets(point.y))}
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}
    claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(clock.now())}
    statement = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
    r, s = utils.decode_dss_signature(key.sign(statement.encode(), ec.ECDSA(SHA256())))
    return f"{statement}.{_base64(_octets(r) + _octets(s))}"


def _octets(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
