"""Signature Version 4A: one signature that is good in several regions.

The canonical request is that of Signature Version 4. It is signed by ECDSA on P-256, with a key that is derived
from the access key id and the secret; the scope names no region, which ``X-Amz-Region-Set`` does instead.

See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from aiocreds._aws.sigv4 import ALGORITHM_A, encoded

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the group of P-256
LAST_COUNTER = 254


def signature(access_key_id: str, secret_access_key: str, text: str) -> str:
    """Return a signature of ``text``, DER in hexadecimal. It is another one each time."""
    return signing_key(access_key_id, secret_access_key).sign(encoded(text), ec.ECDSA(SHA256())).hex()


@lru_cache(maxsize=8)
def signing_key(access_key_id: str, secret_access_key: str) -> ec.EllipticCurvePrivateKey:
    """Return the private key of credentials: the KDF in counter mode of NIST SP 800-108, with HMAC-SHA-256."""
    for counter in range(1, LAST_COUNTER + 1):
        found = candidate(access_key_id, secret_access_key, counter)
        if found <= ORDER - 2:
            return ec.derive_private_key(found + 1, ec.SECP256R1())
    raise AssertionError("254 candidates are too large, each by a chance of one in four billion")


def candidate(access_key_id: str, secret_access_key: str, counter: int) -> int:
    """Return 256 bits of the KDF; its context is the access key id and the number of the attempt."""
    context = encoded(access_key_id) + counter.to_bytes(1)
    message = (1).to_bytes(4) + ALGORITHM_A.encode() + b"\0" + context + (256).to_bytes(4)
    return int.from_bytes(hmac.digest(encoded("AWS4A" + secret_access_key), message, "sha256"))
