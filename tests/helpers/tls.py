"""Certificates that tests make for themselves."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


class TLS:
    """A certificate authority of our own and a server certificate for 127.0.0.1.

    Attributes:
        ca: the authority's certificate.
        pem: the server's key and certificate.
        server: what a server speaks TLS with.
    """

    def __init__(self, folder: Path, name: str = "127.0.0.1") -> None:
        self.ca, self.pem = folder / "ca.pem", folder / "server.pem"
        now, day = datetime.now(UTC), timedelta(days=1)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("Test CA", name)]

        def certificate(number: int) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder(names[0], names[number], keys[number].public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - day)
                .not_valid_after(now + day)
                .add_extension(x509.BasicConstraints(ca=not number, path_length=None), critical=True)
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False
                )
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[number].public_key()), critical=False)
            )

        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))])
        ca = certificate(0).add_extension(usage, critical=True).sign(keys[0], hashes.SHA256())
        leaf = certificate(1).add_extension(alternative, critical=False).sign(keys[0], hashes.SHA256())
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.pem.write_bytes(keys[1].private_bytes(*form) + leaf.public_bytes(serialization.Encoding.PEM))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self.pem)
