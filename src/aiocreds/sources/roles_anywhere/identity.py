"""A certificate with its private key, read from files: PEM or PKCS#12. All but `read` runs in a thread.

The library that parses them is an extra, and is loaded at the first fetch.
"""

from __future__ import annotations

import asyncio
import logging
import re
import stat
import sys
from base64 import b64encode
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from aiocreds._base import threads, tracing
from aiocreds._base.redaction import SecretBytes, SecretStr
from aiocreds._base.time import utc
from aiocreds.errors import InvalidConfiguration, SourceUnavailable
from aiocreds.sources._rotated_file import ATTEMPTS, PAUSE, read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

    from aiocreds._profiles import Setting

    PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey

logger = logging.getLogger("aiocreds.sources.roles_anywhere")

INSTALL = "pip install 'aiocreds[roles-anywhere]'"
MODULES = (
    "cryptography.x509",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.asymmetric.padding",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "cryptography.hazmat.primitives.serialization.pkcs12",
)
USABLE = "IAM Roles Anywhere takes RSA and elliptic curves"
PEM, PEM_CERTIFICATE = b"-----BEGIN ", b"-----BEGIN CERTIFICATE-----"
KEY_LABEL = b"PRIVATE KEY-----"
PEM_KEY = rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----"
_warned: set[str] = set()  # paths
T = TypeVar("T")


class Files(NamedTuple):
    """The files of an identity, each with the argument that names it."""

    certificate: Setting
    private_key: Setting | None
    intermediates: Setting | None


class Identity(NamedTuple):
    """A certificate, with its private key unless the program signs.

    Attributes:
        certificate: of the workload.
        chain: the certificates between it and the trust anchor, the nearest first.
        key: of the certificate.
        algorithm: the name of the signature algorithm.
        place: of the certificate, for messages.
        headers: what shows the certificates to the service.
    """

    certificate: Certificate
    chain: tuple[Certificate, ...]
    key: PrivateKey | None
    algorithm: str
    place: str
    headers: Mapping[str, str]

    def sign(self, text: bytes) -> bytes:
        """Return the signature of a text by the key."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(text, padding.PKCS1v15(), SHA256())
        return cast("EllipticCurvePrivateKey", self.key).sign(text, ec.ECDSA(SHA256()))

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Return whether a signature is by the key of the certificate."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256

        public = self.certificate.public_key()
        try:
            if isinstance(public, rsa.RSAPublicKey):
                public.verify(signature, text, padding.PKCS1v15(), SHA256())
            else:
                cast("EllipticCurvePublicKey", public).verify(signature, text, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    def out_of_date(self, now: float) -> str:
        """Return why the certificate is not valid at a time; blank if it is."""
        begin = self.certificate.not_valid_before_utc.timestamp()
        end = self.certificate.not_valid_after_utc.timestamp()
        if now > end:
            return f"expired at {utc(end)}; look at what should renew it"
        return f"is not valid before {utc(begin)}; wait, or check this machine's clock" if now < begin else ""


async def read(files: Files, *, passphrase: SecretStr | None, signs_itself: bool) -> Identity:
    """Read the files of an identity; again for about half a second while they cannot be used.

    They may be in mid-rotation, with only one of key and certificate replaced yet, or half of a file written.

    Raises:
        InvalidConfiguration: they cannot be used, or the library is not installed.
        SourceUnavailable: one stays empty.
    """
    await threads.submit(_load_library)
    attempt = 1
    while True:
        try:
            identity = await threads.submit(_identity, files, passphrase, signs_itself)
            break
        except (InvalidConfiguration, SourceUnavailable):
            if attempt == ATTEMPTS:
                raise
        attempt += 1
        await asyncio.sleep(PAUSE)
    until = utc(identity.certificate.not_valid_after_utc.timestamp())
    tracing.note(files.certificate.value, f"serial number {identity.certificate.serial_number}", kind="note")
    tracing.note(files.certificate.value, f"a certificate that is valid until {until}", kind="note")
    return identity


def _load_library() -> None:
    try:
        for module in MODULES:
            import_module(module)
    except ImportError as error:
        raise InvalidConfiguration(
            f"the library cryptography, which reads keys and certificates, does not load ({error}): {INSTALL}"
        ) from None


def _identity(files: Files, passphrase: SecretStr | None, signs_itself: bool) -> Identity:
    """Read, parse and compare certificates and key."""
    file, key = files.certificate, None
    holds_key = files.private_key is None and not signs_itself
    data, place = _content(file, secret=holds_key)
    if data.find(PEM) >= 0:
        certificates = _certificates(data, place)
        if holds_key:
            if data.find(KEY_LABEL) < 0:
                raise InvalidConfiguration(f"{place} holds no private key: pass private_key=, too")
            key = _private_key(data, place, passphrase)
        elif files.private_key is not None:
            key = _private_key(*_content(files.private_key, secret=True), passphrase)
    elif holds_key:
        key, certificates = _pkcs12(data, place, passphrase)
    else:
        raise InvalidConfiguration(
            f"{place} is no PEM: convert a certificate in DER with openssl x509 -inform der; PKCS#12 holds its own"
            " key, and goes without private_key="
        )
    if files.intermediates is not None:
        certificates = [*certificates, *_certificates(*_content(files.intermediates))]
    certificate, *others = certificates
    algorithm = _algorithm(certificate, place)
    if _is_authority(certificate):
        raise InvalidConfiguration(
            f"{place} begins with the certificate of a CA (CA:TRUE): put the one first that a CA has issued to this"
            " workload; openssl makes CAs unless it is told -addext basicConstraints=CA:FALSE"
        )
    if key is not None and key.public_key() != certificate.public_key():
        held = f"{files.private_key.value} (from private_key)" if files.private_key is not None else place
        raise InvalidConfiguration(
            f"the private key in {held} is not the one of the certificate in {place}: give those that were issued"
            " together; if they are rotated, look at what should replace both"
        )
    chain = _ordered(certificate, others)
    return Identity(certificate, chain, key, algorithm, place, _headers(certificate, chain))


def _content(file: Setting, *, secret: bool = False) -> tuple[SecretBytes, str]:
    """Return the content of a file, and what messages call it; warn once if others may read a secret one."""
    place = f"{file.value} (from {file.place})"
    try:
        data, found = read_bounded(file.value)
    except FileNotFoundError:
        raise InvalidConfiguration(f"{place} does not exist: correct the path, or mount it") from None
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InvalidConfiguration(
            f"{place} cannot be read ({reason}): let this user read it, or correct the path"
        ) from None
    except ValueError:
        raise InvalidConfiguration(
            f"{place} is too long for certificates or a key, or no path: correct the path"
        ) from None
    if not data.strip():
        raise SourceUnavailable(f"{place} is empty: look at what should write it")
    holds_key = secret and (data.find(PEM) < 0 or data.find(KEY_LABEL) >= 0)
    if holds_key and sys.platform != "win32" and found.st_mode & stat.S_IRWXO and file.value not in _warned:
        _warned.add(file.value)
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        logger.warning(
            "%s holds a private key and is open to all users (mode %s): run chmod 600 %s, or mount it so",
            file.value,
            mode,
            file.value,
        )
    return data, place


def _parsed(parser: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Return what a parser of the library does.

    Raises:
        ValueError: it has panicked, as on a damaged initialization vector; that would end the program.
    """
    try:
        return parser(*arguments, **options)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of no module that can be imported
            raise ValueError from None
        raise
    finally:
        del arguments  # this frame is in tracebacks


def _certificates(data: SecretBytes, place: str) -> list[Certificate]:
    from cryptography import x509

    if data.find(PEM_CERTIFICATE) < 0:
        raise InvalidConfiguration(
            f"{place} holds no certificate: give a file in PEM with BEGIN CERTIFICATE, the workload's first"
        )
    try:
        return _parsed(x509.load_pem_x509_certificates, data)
    except (ValueError, x509.InvalidVersion):
        raise InvalidConfiguration(
            f"{place} holds a certificate that is damaged or cut short: write it anew"
        ) from None


def _private_key(data: SecretBytes, place: str, passphrase: SecretStr | None) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found = re.search(PEM_KEY, data, re.DOTALL)
    if found is None:
        raise InvalidConfiguration(
            f"{place} holds no private key, or half of one: give a file in PEM (PKCS#8, PKCS#1 or SEC1)"
        )
    block = SecretBytes(found[0])
    del found  # its repr shows the beginning
    encrypted = b"ENCRYPTED" in block.partition(b"\n\n")[0]
    if encrypted and passphrase is None:
        raise InvalidConfiguration(f"the private key in {place} is encrypted: pass passphrase=")
    try:
        # The library would look for factors of the primes of an RSA key, which takes from half a second to minutes.
        key: object = _parsed(
            load_pem_private_key,
            block,
            passphrase.encode() if encrypted and passphrase is not None else None,
            unsafe_skip_rsa_key_validation=True,
        )
        if not _is_sound(key):
            raise ValueError
    except (ValueError, TypeError):
        reason = (
            "cannot be decrypted: correct passphrase=, unless the file is damaged"
            if encrypted
            else "is damaged, or in a form other than PKCS#8, PKCS#1 and SEC1: write it anew"
        )
        raise InvalidConfiguration(f"the private key in {place} {reason}") from None
    except UnsupportedAlgorithm:
        key = None
    return _usable(key, place)


def _is_sound(key: object) -> bool:
    """Return whether the numbers of an RSA key belong together; True for other keys, which the library checks.

    OpenSSL may hang or give the key away when it signs with others.
    """
    from cryptography.hazmat.primitives.asymmetric import rsa

    if not isinstance(key, rsa.RSAPrivateKey):
        return True
    it = key.private_numbers()
    d, p, q, n, e = it.d, it.p, it.q, it.public_numbers.n, it.public_numbers.e
    return (
        min(p, q) > 1
        and p * q == n
        and d * e % (p - 1) == d * e % (q - 1) == 1
        and (it.dmp1, it.dmq1) == (d % (p - 1), d % (q - 1))
        and it.iqmp * q % p == 1
    )


def _pkcs12(data: SecretBytes, place: str, passphrase: SecretStr | None) -> tuple[PrivateKey, list[Certificate]]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
    from cryptography.x509 import InvalidVersion

    try:
        store = _parsed(load_pkcs12, data, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidVersion):
        reason = "correct passphrase=" if passphrase is not None else "pass passphrase= if it has one"
        raise InvalidConfiguration(
            f"{place} is neither PEM nor PKCS#12 that can be opened: {reason}, unless it is damaged"
        ) from None
    if store.cert is None or store.key is None:
        lacks = "certificate of the private key" if store.key is not None else "private key"
        raise InvalidConfiguration(f"{place} holds no {lacks}: export both into it")
    certificates = [store.cert.certificate, *(other.certificate for other in store.additional_certs)]
    return _usable(store.key, place), certificates


def _usable(key: object, place: str) -> PrivateKey:
    """Return a private key if it is of a kind that the service knows."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    kind = "of an unknown kind" if key is None else f"{type(key).__name__.removesuffix('PrivateKey').strip('_')}"
    raise InvalidConfiguration(f"the private key in {place} is {kind}: {USABLE}")


def _algorithm(certificate: Certificate, place: str) -> str:
    """Return the name of the signature algorithm that goes with the public key of a certificate."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    try:
        public: object = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if isinstance(public, rsa.RSAPublicKey):
        return "AWS4-X509-RSA-SHA256"
    if isinstance(public, ec.EllipticCurvePublicKey):
        return "AWS4-X509-ECDSA-SHA256"
    kind = "of an unknown kind" if public is None else type(public).__name__.removesuffix("PublicKey").strip("_")
    raise InvalidConfiguration(f"the key of the certificate in {place} is {kind}: {USABLE}")


def _is_authority(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):  # for the service to judge
        return False


def _ordered(certificate: Certificate, others: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return the other certificates once each, in the order in which they vouch for the first one."""
    left = [other for other in dict.fromkeys(others) if other != certificate]
    chain: list[Certificate] = []
    last = certificate
    while (above := next((other for other in left if other.subject == last.issuer), None)) is not None:
        left.remove(above)
        chain.append(above)
        last = above
    return (*chain, *left)


def _headers(certificate: Certificate, chain: Iterable[Certificate]) -> dict[str, str]:
    from cryptography.hazmat.primitives.serialization import Encoding

    shown, *others = (b64encode(one.public_bytes(Encoding.DER)).decode() for one in (certificate, *chain))
    return {"X-Amz-X509": shown, **({"X-Amz-X509-Chain": ",".join(others)} if others else {})}
