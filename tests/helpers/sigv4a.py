"""Check signatures of version 4A with a key derived by `cryptography`'s KDF, over botocore's canonical request."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING
from unittest import mock

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

ALGORITHM = "AWS4-ECDSA-P256-SHA256"


def public_key(access_key_id: str, secret_access_key: str) -> ec.EllipticCurvePublicKey:
    """The public key of credentials; the first candidate, which fits but once in four billion times."""
    kdf = KBKDFHMAC(
        algorithm=SHA256(),
        mode=Mode.CounterMode,
        length=32,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=ALGORITHM.encode(),
        context=access_key_id.encode() + b"\x01",
        fixed=None,
    )
    number = int.from_bytes(kdf.derive(b"AWS4A" + secret_access_key.encode()), "big")
    return ec.derive_private_key(number + 1, ec.SECP256R1()).public_key()


def is_signed(text: str, signature: str, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        key.verify(bytes.fromhex(signature), text.encode(), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def text_of(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes | None,
    *,
    signed: str,
    scope: str,
    at: str,
    service: str,
) -> str:
    """The string to sign of a request as it arrived. `signed` names its signed headers; no body is unsigned."""
    request = AWSRequest(method, url, data=b"" if body is None else body)
    for name, value in headers:
        if name.lower() in signed.split(";"):
            request.headers.add_header(name, value)
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(BotocoreCredentials("-", "-"), service, "-")
    payload = mock.Mock(return_value="UNSIGNED-PAYLOAD") if body is None else signer.payload
    with mock.patch.object(signer, "payload", payload):
        canonical = signer.canonical_request(request)
    return f"{ALGORITHM}\n{at}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
