"""IAM Roles Anywhere on loopback, and certificates for those who ask it.

It checks what arrives by the published description of the protocol, with nothing of the library: canonical request,
string to sign and signature, times, and the way from the certificate up to the trust anchor.
"""

from __future__ import annotations

import functools
import hashlib
import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from tests.helpers.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.helpers.loopback_aws import Seen

SESSIONS = "/sessions"
ANCHOR = "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/a1b2c3d4-0000-4000-8000-000000000001"
PROFILE = "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/a1b2c3d4-0000-4000-8000-000000000002"
ROLE_ARN = "arn:aws:iam::123456789012:role/outside"
TOLERANCE = timedelta(minutes=5)
ALGORITHMS = {"AWS4-X509-RSA-SHA256": rsa.RSAPublicKey, "AWS4-X509-ECDSA-SHA256": ec.EllipticCurvePublicKey}
LONG = timedelta(days=3650)


# Certificates.


@functools.cache
def key_of(kind: str, number: int = 0) -> Any:
    """Return a private key; the same one for the same arguments, since some take long to make."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("RSA ")))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[kind])


def pem_of(key: Any, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: str | None = None) -> bytes:
    """Return a private key in PEM."""
    hidden = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    data: bytes = key.private_bytes(Encoding.PEM, form, hidden)
    return data


class Authority:
    """A CA that issues certificates.

    Attributes:
        certificate: its own.
        chain: its certificate and those above it, without the root's.
    """

    def __init__(self, name: str = "Root", above: Authority | None = None) -> None:
        self._key = key_of("P-256", hash(name))
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = above or self
        self.certificate = issuer.issue(self._key, name, ca=True)
        self.chain: list[x509.Certificate] = [] if above is None else [self.certificate, *above.chain]

    def issue(
        self,
        key: Any,
        name: str = "workload",
        *,
        serial: int | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
        ca: bool = False,
    ) -> x509.Certificate:
        """Return a certificate for a private key."""
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(
                self._name, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key()
            )
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(begin or now - LONG)
            .not_valid_after(end or now + LONG)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def text_of(*certificates: x509.Certificate) -> bytes:
    """Return certificates in PEM."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


class Workload:
    """The certificate and the key of a workload, as files in a folder.

    Attributes:
        certificate: the path of the certificate, in PEM.
        private_key: the path of the key, in PEM.
        issued: the certificate.
        key: the key.
    """

    def __init__(self, folder: Path, authority: Authority, kind: str = "P-256") -> None:
        self.certificate, self.private_key = folder / "tls.crt", folder / "tls.key"
        self.authority = authority
        self.kind = kind
        self.renew()

    def renew(self, number: int = 0, **options: Any) -> None:
        """Write another certificate, for another key if its number is another."""
        self.key = key_of(self.kind, number)
        self.issued = self.authority.issue(self.key, **options)
        self.write_certificate(text_of(self.issued))
        self.write_key(pem_of(self.key))

    def write_certificate(self, data: bytes) -> None:
        """Replace the file of the certificate."""
        self.certificate.write_bytes(data)

    def write_key(self, data: bytes, mode: int = 0o600) -> None:
        """Replace the file of the key."""
        self.private_key.write_bytes(data)
        self.private_key.chmod(mode)

    def pkcs12(self, path: Path, passphrase: str | None, others: Sequence[x509.Certificate] = ()) -> Path:
        """Write both into one file in PKCS#12."""
        hidden = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
        path.write_bytes(pkcs12.serialize_key_and_certificates(b"me", self.key, self.issued, others, hidden))
        path.chmod(0o600)
        return path


# The service.


class RolesAnywhere:
    """The service.

    Attributes:
        anchors: the certificates of the CAs that it trusts. Empty: it trusts everybody.
        takes_names: whether its profile accepts session names.
        asked: the bodies of the calls that it answered.
    """

    def __init__(self, now: Callable[[], datetime], issue: Callable[[str], dict[str, str]]) -> None:
        self._now = now
        self._issue = issue
        self.anchors: list[x509.Certificate] = []
        self.takes_names = True
        self.asked: list[dict[str, Any]] = []

    def create_session(self, seen: Seen) -> dict[str, Any]:
        """Return the answer to a call.

        Raises:
            Refused: what arrived is not as it should be.
        """
        certificate = authenticated(seen, self._now())
        self._check_trust(certificate, seen)
        body = json.loads(seen.body)
        lacking = {"profileArn", "roleArn", "trustAnchorArn"} - body.keys()
        if lacking or not 900 <= body.get("durationSeconds", 3600) <= 43200:
            raise Refused(400, "ValidationException", message="Value at 'x' failed to satisfy constraint")
        if "roleSessionName" in body and not self.takes_names:
            raise Refused(400, "ValidationException", message="The profile does not accept a session name")
        self.asked.append(body)
        issued = self._issue("roles anywhere")
        name = body.get("roleSessionName") or f"{certificate.serial_number:x}"
        _, partition, _, _, account, role = body["roleArn"].split(":", 5)
        arn = f"arn:{partition}:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{name}"
        return {
            "credentialSet": [
                {
                    "assumedRoleUser": {"arn": arn, "assumedRoleId": "AROATEST:x"},
                    "credentials": {
                        "accessKeyId": issued["AccessKeyId"],
                        "secretAccessKey": issued["SecretAccessKey"],
                        "sessionToken": issued["Token"],
                        "expiration": issued["Expiration"],
                    },
                    "packedPolicySize": 10,
                    "roleArn": body["roleArn"],
                    "sourceIdentity": "CN=workload",
                }
            ],
            "subjectArn": "arn:aws:rolesanywhere:eu-central-1:123456789012:subject/x",
        }

    def _check_trust(self, certificate: x509.Certificate, seen: Seen) -> None:
        if not certificate.not_valid_before_utc <= self._now() <= certificate.not_valid_after_utc:
            raise denied("Certificate is not valid at this time")
        if not self.anchors:
            return
        last = certificate
        for above in chain_of(seen):
            vouch(above, last)
            last = above
        if not any(vouches(anchor, last) for anchor in self.anchors):
            raise denied("Untrusted certificate. Insufficient certificate chain")


def denied(message: str) -> Refused:
    return Refused(403, "AccessDeniedException", message=message)


def chain_of(seen: Seen) -> list[x509.Certificate]:
    """Return the certificates between the workload's and the trust anchor."""
    sent = seen.headers.get("X-Amz-X509-Chain", "")
    return [x509.load_der_x509_certificate(b64decode(one, validate=True)) for one in sent.split(",") if one]


def vouch(above: x509.Certificate, below: x509.Certificate) -> None:
    if not vouches(above, below):
        raise denied("Untrusted certificate. The chain is out of order")


def vouches(above: x509.Certificate, below: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, InvalidSignature):
        return False
    return True


def authenticated(seen: Seen, now: datetime) -> x509.Certificate:
    """Return the certificate whose key has signed a request.

    Raises:
        Refused: none has, or not now.
    """
    algorithm, _, rest = seen.headers.get("Authorization", "").partition(" ")
    if algorithm not in ALGORITHMS:
        raise denied("Missing Authentication Token")
    fields = dict(part.split("=", 1) for part in rest.split(", "))
    assert set(fields) == {"Credential", "SignedHeaders", "Signature"}
    certificate = x509.load_der_x509_certificate(b64decode(seen.headers["X-Amz-X509"], validate=True))
    serial, _, scope = fields["Credential"].partition("/")
    if serial != str(certificate.serial_number):
        raise denied("Credential is of another serial number")
    at = seen.headers["X-Amz-Date"]
    if scope != f"{at[:8]}/eu-central-1/rolesanywhere/aws4_request":
        raise denied("Credential should be scoped to a valid region and service")
    if abs(now - datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)) > TOLERANCE:
        raise denied(f"Signature expired: {at} is now earlier than …")
    names = fields["SignedHeaders"].split(";")
    must = {"content-type", "host", *(name.lower() for name in seen.headers if name.lower().startswith("x-amz-"))}
    if names != sorted(names) or not must <= set(names):
        raise denied("Headers that have to be signed are not")
    text = string_to_sign(seen, names, algorithm, at, scope)
    public, signature = certificate.public_key(), bytes.fromhex(fields["Signature"])
    try:
        if not isinstance(public, ALGORITHMS[algorithm]):
            raise InvalidSignature
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        else:
            assert isinstance(public, ec.EllipticCurvePublicKey)
            public.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise denied("Invalid signature") from None
    return certificate


def string_to_sign(seen: Seen, names: Sequence[str], algorithm: str, at: str, scope: str) -> bytes:
    """Return the text whose signature a request should carry."""
    path, _, query = seen.target.partition("?")
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(query, True))
    lines = [
        seen.method,
        quote(path, safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in pairs),
        *(f"{name}:{' '.join(seen.headers[name].split())}" for name in names),
        "",
        ";".join(names),
        hashlib.sha256(seen.body).hexdigest(),
    ]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return f"{algorithm}\n{at}\n{scope}\n{digest}".encode()
