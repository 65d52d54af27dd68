"""Private keys in PEM and DER, and such as cannot sign a DPoP proof."""

from __future__ import annotations

import base64
import functools
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from tests.helpers.secret_leaks import secret

OTHER_KEYS = (  # a test is one of each; they are made when the first test wants one
    *("none", "blank", "cut short", "not unicode", "public", "password"),
    *("RSA", "Ed25519", "P-384", "secp256k1", "unknown curve"),
)
P256 = bytes.fromhex("2a8648ce3d030107")  # its object identifier


def pem_of(key: Any, form: PrivateFormat = PrivateFormat.TraditionalOpenSSL, password: bytes | None = None) -> str:
    """Return a private key in PEM."""
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    text: bytes = key.private_bytes(Encoding.PEM, form, hidden)
    return text.decode()


def der_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key in DER."""
    return key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())


@functools.cache
def other_keys() -> dict[str, str]:
    """Return one of each of `OTHER_KEYS`: PEM, or what people take for it."""
    good = ec.derive_private_key(1, ec.SECP256R1())
    unknown = der_of(good).replace(P256, bytes([*P256[:-1], 0x77]))
    assert unknown != der_of(good)
    lines = base64.encodebytes(unknown).decode()
    return {
        "none": secret("key"),
        "blank": " ",
        "cut short": pem_of(good)[:100],
        "not unicode": "\ud800",
        "public": good.public_key()
        .public_bytes(Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        "password": pem_of(good, PrivateFormat.PKCS8, b"x"),
        "RSA": pem_of(rsa.generate_private_key(65537, 1024)),  # a longer one takes longer to make
        "Ed25519": pem_of(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8),
        "P-384": pem_of(ec.derive_private_key(1, ec.SECP384R1())),
        "secp256k1": pem_of(ec.derive_private_key(1, ec.SECP256K1())),
        "unknown curve": f"-----BEGIN EC PRIVATE KEY-----\n{lines}-----END EC PRIVATE KEY-----\n",
    }
