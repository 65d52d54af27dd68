"""Certificates, private keys and PKCS#12 files of those who ask IAM Roles Anywhere. ::

key
-----BEGIN PRIVATE KEY-----
…

The first line says which of the files it is; the others are good. What follows "DER" is put into PEM, so that a
changed byte is one of the certificate or key itself.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from base64 import encodebytes
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from hypothesis import strategies as st

from aiocreds._base import threads
from aiocreds._base.redaction import SecretStr
from aiocreds._http.request import checked_headers
from aiocreds._profiles import Setting
from aiocreds.errors import CredentialsError
from aiocreds.sources.roles_anywhere import identity
from tests.stress.fuzz.target import Target, assert_tidy, at_once, finish

KEY = ec.derive_private_key(7, ec.SECP256R1())
OTHER = ec.derive_private_key(8, ec.SECP384R1())
PASSPHRASE = "correct horse"


def issued(key: Any, subject: str, issuer: str) -> x509.Certificate:
    """A certificate, signed by the other key."""
    by, me = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (issuer, subject))
    return (
        x509.CertificateBuilder(by, me, key.public_key())
        .serial_number(77)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(OTHER, hashes.SHA256())
    )


def pem(label: bytes, data: bytes) -> bytes:
    """Anything as PEM."""
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, encodebytes(data), label)


def put(name: str, data: bytes = b"") -> Setting:
    """A file with this content."""
    path = FOLDER / name
    path.write_bytes(data)
    return Setting(str(path), name)


CERTIFICATE = issued(KEY, "me", "CA")
CHAIN = issued(OTHER, "CA", "root").public_bytes(Encoding.PEM)
CERTIFICATE_DER, CERTIFICATE_PEM = (CERTIFICATE.public_bytes(form) for form in (Encoding.DER, Encoding.PEM))
KEY_DER, KEY_PEM = (
    KEY.private_bytes(form, PrivateFormat.PKCS8, NoEncryption()) for form in (Encoding.DER, Encoding.PEM)
)
SEC1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
HIDDEN = (
    PrivateFormat.PKCS12.encryption_builder().kdf_rounds(1).hmac_hash(hashes.SHA256()).build(PASSPHRASE.encode())
)
OLD = KEY.private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(PASSPHRASE.encode())
)
STORES = [
    pkcs12.serialize_key_and_certificates(b"me", KEY, CERTIFICATE, None, encryption)
    for encryption in (NoEncryption(), HIDDEN)
]
FOLDER = Path(tempfile.mkdtemp(prefix="identity-"))
GOOD_CERTIFICATE, GOOD_KEY = put("good.crt", CERTIFICATE_PEM), put("good.key", KEY_PEM)
FUZZED = put("fuzzed")


@atexit.register
def remove() -> None:
    """Remove the files."""
    for path in FOLDER.iterdir():
        path.unlink()
    FOLDER.rmdir()


Files = identity.Files
KINDS: dict[str, Files] = {
    "certificate": Files(FUZZED, GOOD_KEY, None),
    "both": Files(FUZZED, None, None),
    "alone": Files(FUZZED, None, None),  # a function signs
    "key": Files(GOOD_CERTIFICATE, FUZZED, None),
    "chain": Files(GOOD_CERTIFICATE, GOOD_KEY, FUZZED),
}
LABELS = {"key": b"PRIVATE KEY"}


def feed(data: bytes) -> None:
    """An identity whose key signs and whose headers can be sent, or an error."""
    head, _, content = data.partition(b"\n")
    kind, *form = head.decode("latin-1").split(" ")
    kind = kind if kind in KINDS else "certificate"
    if form == ["DER"]:
        content = pem(LABELS.get(kind, b"CERTIFICATE"), content)
    os.truncate(FUZZED.value, 0)
    Path(FUZZED.value).write_bytes(content)
    alone = kind == "alone"
    try:
        with mock.patch.object(threads, "submit", at_once), mock.patch.object(identity, "ATTEMPTS", 1):
            found = finish(
                identity.read(KINDS[kind], passphrase=SecretStr(PASSPHRASE) if form else None, signs_itself=alone)
            )
    except CredentialsError as error:
        assert_tidy(error)
        return
    checked_headers(found.headers)
    assert found.out_of_date(1_800_000_000.0).isprintable()
    assert f"{found.certificate.serial_number}".isdecimal()
    if not alone:
        assert found.verify(b"text", found.sign(b"text"))
    assert not found.verify(b"text", b"none")


def _file(kind: str, content: bytes) -> bytes:
    return kind.encode() + b"\n" + content


def _changed(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with a few of them changed."""
    changes = st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=3)

    def change(found: list[tuple[int, int]]) -> bytes:
        changed = bytearray(data)
        for at, byte in found:
            changed[at] = byte
        return bytes(changed)

    return st.builds(change, changes)


SEEDS = [
    *(_file(kind, CERTIFICATE_PEM) for kind in KINDS),
    *(_file(f"{kind} DER", CERTIFICATE_DER) for kind in ("certificate", "alone", "chain")),
    *(_file("key", key) for key in (KEY_PEM, SEC1, OLD)),
    *(_file("key PEM", key) for key in (SEC1, OLD)),
    _file("key DER", KEY_DER),
    _file("both", KEY_PEM + CERTIFICATE_PEM + CHAIN),
    _file("both PEM", STORES[1]),
    _file("both", STORES[0]),
    _file("chain", CHAIN * 2),
]

TARGET = Target(
    feed=feed,
    inputs=st.one_of(
        st.builds(_file, st.sampled_from(("certificate DER", "alone DER", "chain DER")), _changed(CERTIFICATE_DER)),
        st.builds(_file, st.just("key DER"), _changed(KEY_DER)),
        st.builds(_file, st.sampled_from(("both", "both PEM")), st.sampled_from(STORES).flatmap(_changed)),
        st.builds(
            _file, st.sampled_from((*KINDS, "key PEM")), st.sampled_from((KEY_PEM, SEC1, OLD)).flatmap(_changed)
        ),
    ),
    seeds=SEEDS,
    words=[
        *(b"-----BEGIN ", b"-----END ", b"CERTIFICATE-----\n", b"PRIVATE KEY-----\n", b"EC ", b"ENCRYPTED "),
        *(b"Proc-Type: 4,ENCRYPTED\n", b"DEK-Info: AES-256-CBC,", b"\n\n", b"key\n", b"both PEM\n", b"\x30\x80"),
        *(b"\x30\x82\xff\xff", b"\x02\x01\x00", b"\x02\x01\xff", b"\x06\x03\x55\x04\x03", b"\x17\r", b"\x18\x0f"),
        *(b"99991231235959Z", b"000101000000Z", b"\x05\x00", b"\x06\x08*\x86H\xce=\x03\x01\x07", b"\xa3\x82"),
    ],
    growing={
        "beginnings of keys": lambda n: _file("key", b"-----BEGIN PRIVATE KEY-----" * n),
        "beginnings without a label": lambda n: _file("key", b"-----BEGIN " * n),
        "a label": lambda n: _file("key", b"-----BEGIN " + b"A" * n),
        "ends": lambda n: _file("key", b"-----BEGIN PRIVATE KEY-----" + b"-----END PRIVATE" * n),
        "beginnings of certificates": lambda n: _file("certificate", b"-----BEGIN CERTIFICATE-----\n" * n),
        "blanks": lambda n: _file("certificate", b" " * n),
        "nested": lambda n: _file("both", b"\x30\x80" * n),
        "certificates": lambda n: _file("chain", CHAIN * (n // 500)),
    },
)
