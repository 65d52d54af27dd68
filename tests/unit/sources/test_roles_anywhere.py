"""Credentials from IAM Roles Anywhere, with a certificate.

=================================================  ==========================================================
the files, an argument, or the service             the caller gets
=================================================  ==========================================================
a file that is missing, unreadable, not PEM, …     InvalidConfiguration: which file, and the remedy
a file that stays empty                            SourceUnavailable: which
key and certificate of different pairs             half a second's patience, then InvalidConfiguration
a key that all users may read                      credentials, and one warning
an encrypted key, no passphrase or another         InvalidConfiguration
a certificate that has expired                     InvalidConfiguration: when, once the service has refused it
ARNs that do not belong together                   InvalidConfiguration: which
a clock that is off by an hour                     credentials, and the offset is kept
the service refuses                                ServiceRefused: code, role, what to check
the service is busy, 5xx                           three attempts, then SourceUnavailable
=================================================  ==========================================================
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from ssl import DER_cert_to_PEM_cert
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat, pkcs12

from aiocreds import (
    ClientConfig,
    Context,
    InvalidConfiguration,
    ServiceRefused,
    SourceUnavailable,
    explain,
    from_ini,
    from_roles_anywhere,
)
from aiocreds.sources.roles_anywhere import identity
from tests.helpers.cancelling import moments_of
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Reset, Script, json_answer, json_error
from tests.helpers.roles_anywhere import (
    ANCHOR,
    PROFILE,
    ROLE_ARN,
    SESSIONS,
    Authority,
    Workload,
    key_of,
    pem_of,
    text_of,
)
from tests.helpers.secret_leaks import MARK, mark, secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import time_machine

    from aiocreds import Provider
    from tests.helpers.credential_programs import Programs

HOUR = timedelta(hours=1)
LONG_KEY = pytest.param("RSA 4096", marks=pytest.mark.slow)  # which takes a second to make


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ | {"AWS_REGION": "us-west-2"}  # the region is that of the trust anchor


@pytest.fixture
def authority(aws: Loopback) -> Authority:
    root = Authority()
    aws.roles_anywhere.anchors.append(root.certificate)
    return root


@pytest.fixture
def workload(tmp_path: Path, authority: Authority) -> Workload:
    return Workload(tmp_path, authority)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "PAUSE", 0.001)
    monkeypatch.setattr(identity, "_warned", set[str]())


def source(context: Context, workload: Workload, **arguments: Any) -> Provider:
    given: dict[str, Any] = {
        "certificate": workload.certificate,
        "private_key": workload.private_key,
        "trust_anchor_arn": ANCHOR,
        "profile_arn": PROFILE,
        "role_arn": ROLE_ARN,
        **arguments,
    }
    return from_roles_anywhere(**given, context=context)


# What is sent, and what comes back.


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA 2048", LONG_KEY])
async def test_a_key_of_each_kind(
    aws: Loopback, context: Context, tmp_path: Path, authority: Authority, kind: str
) -> None:
    provider = source(context, Workload(tmp_path, authority, kind))
    credentials = await provider()
    (body,) = aws.roles_anywhere.asked
    assert body == {
        "profileArn": PROFILE,
        "roleArn": ROLE_ARN,
        "trustAnchorArn": ANCHOR,
        "durationSeconds": 3600,
    }
    assert credentials.access_key_id.startswith("ASIA")
    assert credentials.secret_access_key
    assert credentials.session_token
    assert (credentials.provider, credentials.account_id) == ("roles_anywhere", "123456789012")
    assert credentials.may_outlive_expiry
    assert credentials.expiration is not None
    assert len(aws.requests) == 1


async def test_what_may_be_asked_for(aws: Loopback, context: Context, workload: Workload) -> None:
    await source(context, workload, role_session_name="batch-7", duration_seconds=timedelta(minutes=15))()
    (body,) = aws.roles_anywhere.asked
    assert (body["roleSessionName"], body["durationSeconds"]) == ("batch-7", 900)


@pytest.mark.parametrize("serial", [1, 2**64, 2**158 + 1])
async def test_serial_numbers_of_any_length(
    aws: Loopback, context: Context, workload: Workload, serial: int
) -> None:
    workload.renew(serial=serial)
    assert (await source(context, workload)()).access_key_id
    assert f"Credential={serial}/" in aws.requests[0].headers["Authorization"]


@pytest.mark.parametrize("where", ["certificate", "out of order", "with itself", "intermediates", "both"])
async def test_certificates_in_between(
    aws: Loopback, context: Context, tmp_path: Path, authority: Authority, where: str
) -> None:
    lower = Authority("Lower", Authority("Middle", Authority("Upper", authority)))
    workload = Workload(tmp_path, lower)
    others = tmp_path / "intermediates.pem"
    arguments = {"intermediates": others} if where in ("intermediates", "both", "with itself") else {}
    own = lower.chain if where == "certificate" else lower.chain[::-1] if where == "out of order" else []
    own = lower.chain[:1] if where == "both" else own
    workload.write_certificate(text_of(workload.issued, *own))
    others.write_bytes(text_of(*([workload.issued] if where == "with itself" else []), *lower.chain))
    assert (await source(context, workload, **arguments)()).access_key_id
    assert len(aws.requests[0].headers["X-Amz-X509-Chain"].split(",")) == 3


async def test_without_them_the_service_says_what_is_lacking(
    context: Context, tmp_path: Path, authority: Authority
) -> None:
    workload = Workload(tmp_path, Authority("Lower", authority))
    await failure(source(context, workload), ServiceRefused, "Untrusted certificate", "intermediates=")


FORMS: dict[str, tuple[str, PrivateFormat, str | None]] = {
    "PKCS#8": ("P-256", PrivateFormat.PKCS8, None),
    "PKCS#8, encrypted": ("P-256", PrivateFormat.PKCS8, secret("passphrase")),
    "PKCS#8 of RSA, encrypted": ("RSA 2048", PrivateFormat.PKCS8, secret("passphrase")),
    "PKCS#1": ("RSA 2048", PrivateFormat.TraditionalOpenSSL, None),
    "PKCS#1, encrypted": ("RSA 2048", PrivateFormat.TraditionalOpenSSL, secret("passphrase")),
    "SEC1": ("P-384", PrivateFormat.TraditionalOpenSSL, None),
    "SEC1, encrypted": ("P-384", PrivateFormat.TraditionalOpenSSL, secret("passphrase")),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_key_in_each_form(context: Context, tmp_path: Path, authority: Authority, form: str) -> None:
    kind, how, passphrase = FORMS[form]
    workload = Workload(tmp_path, authority, kind)
    workload.write_key(pem_of(workload.key, how, passphrase))
    assert (await source(context, workload, passphrase=passphrase)()).access_key_id


async def test_a_passphrase_of_a_function_is_asked_for_at_each_fetch(context: Context, workload: Workload) -> None:
    passphrases = [secret("one"), secret("two")]

    async def passphrase() -> str:
        await asyncio.to_thread(workload.write_key, pem_of(workload.key, passphrase=passphrases[0]))
        return passphrases.pop(0)

    provider = source(context, workload, passphrase=passphrase)
    assert (await provider.fetch()) != (await provider.fetch())
    assert not passphrases


async def test_a_passphrase_that_a_key_does_not_need(context: Context, workload: Workload) -> None:
    assert (await source(context, workload, passphrase=secret())()).access_key_id


async def test_a_key_behind_the_parameters_of_its_curve(context: Context, workload: Workload) -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    workload.write_key(parameters + pem_of(workload.key, PrivateFormat.TraditionalOpenSSL))
    assert (await source(context, workload)()).access_key_id


async def test_key_and_certificate_in_one_file(context: Context, workload: Workload) -> None:
    workload.write_certificate(text_of(workload.issued) + pem_of(workload.key))
    workload.certificate.chmod(0o600)
    workload.private_key.unlink()
    assert (await source(context, workload, private_key=None)()).access_key_id


@pytest.mark.parametrize("passphrase", [None, secret("passphrase")])
async def test_pkcs12(
    aws: Loopback, context: Context, tmp_path: Path, authority: Authority, passphrase: str | None
) -> None:
    lower = Authority("Lower", Authority("Upper", authority))
    workload = Workload(tmp_path, lower, "RSA 2048")
    path = workload.pkcs12(tmp_path / "me.p12", passphrase, lower.chain)
    workload.private_key.unlink()
    provider = source(context, workload, certificate=path, private_key=None, passphrase=passphrase)
    assert (await provider()).access_key_id
    assert len(aws.requests[0].headers["X-Amz-X509-Chain"].split(",")) == 2


async def test_paths_may_begin_with_the_home_folder(context: Context, home: Path, authority: Authority) -> None:
    workload = Workload(home, authority)
    provider = source(context, workload, certificate="~/tls.crt", private_key="~/tls.key")
    assert (await provider()).access_key_id


async def test_the_endpoint_is_that_of_the_trust_anchors_region(workload: Workload, home: Path) -> None:
    dead = {"HTTPS_PROXY": "http://127.0.0.1:1", "AWS_REGION": "us-west-2"}
    provider = source(Context(dead, home=home), workload, client=ClientConfig(max_attempts=1))
    await failure(provider, SourceUnavailable, "rolesanywhere.eu-central-1.amazonaws.com")
    provider = source(Context(dead, home=home), workload, client=ClientConfig("eu-west-1", max_attempts=1))
    await failure(provider, SourceUnavailable, "rolesanywhere.eu-west-1.amazonaws.com")
    fips = ClientConfig(use_fips=True, use_dualstack=True, max_attempts=1)
    provider = source(Context(dead, home=home), workload, client=fips)
    await failure(provider, SourceUnavailable, "rolesanywhere-fips.eu-central-1.api.aws")


async def test_what_a_middleware_adds_is_signed(aws: Loopback, context: Context, workload: Workload) -> None:
    async def tagging(request: Any, handler: Any) -> Any:
        request.headers["X-Amz-Meta-Team"] = "a  b"
        return await handler(request)

    client = ClientConfig(middlewares=[tagging])
    assert (await source(context, workload, client=client)()).access_key_id
    assert "x-amz-meta-team" in aws.requests[0].signed_headers
    assert "content-length" in aws.requests[0].signed_headers


# Keys that never leave their place.


class Agent:
    """Signs with a key that it does not hand out."""

    def __init__(self, key: Any) -> None:
        self._key = key
        self.signed: list[bytes] = []

    async def __call__(self, data: bytes) -> bytes:
        await asyncio.sleep(0)
        self.signed.append(data)
        signature: bytes
        if isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = self._key.sign(data, ec.ECDSA(hashes.SHA256()))
        return signature


@pytest.mark.parametrize("kind", ["P-256", "RSA 2048"])
async def test_an_agent_signs(context: Context, tmp_path: Path, authority: Authority, kind: str) -> None:
    workload = Workload(tmp_path, authority, kind)
    workload.private_key.unlink()
    agent = Agent(workload.key)
    assert (await source(context, workload, private_key=agent)()).access_key_id
    (text,) = agent.signed
    algorithm = "ECDSA" if kind == "P-256" else "RSA"
    assert text.startswith(f"AWS4-X509-{algorithm}-SHA256\n".encode())


async def test_an_agent_with_another_key(aws: Loopback, context: Context, workload: Workload) -> None:
    agent = Agent(key_of("P-256", 9))
    await failure(
        source(context, workload, private_key=agent), InvalidConfiguration, "private_key", str(workload.certificate)
    )
    assert not aws.requests


@pytest.mark.parametrize("with_middleware", [False, True])
async def test_an_agent_that_fails(context: Context, workload: Workload, with_middleware: bool) -> None:
    async def agent(data: bytes) -> bytes:
        raise ConnectionResetError("the agent is gone")

    async def passing(request: Any, handler: Any) -> Any:
        return await handler(request)

    client = ClientConfig(middlewares=[passing] if with_middleware else [])
    provider = source(context, workload, private_key=agent, client=client)
    error = await failure(provider, SourceUnavailable, "ConnectionResetError", "test_roles_anywhere.py", "in agent")
    assert isinstance(error.__cause__, ConnectionResetError)


async def test_an_agent_that_asks_for_another_source_to_be_tried(context: Context, workload: Workload) -> None:
    async def agent(data: bytes) -> bytes:
        raise InvalidConfiguration("the TPM is locked: unlock it")

    await failure(source(context, workload, private_key=agent), InvalidConfiguration, "the TPM is locked")


@pytest.mark.parametrize(("given", "kind"), [("x", "str"), (None, "NoneType"), (b"x", "")])
async def test_an_agent_that_gives_no_signature(
    context: Context, workload: Workload, given: Any, kind: str
) -> None:
    async def agent(data: bytes) -> Any:
        return given

    await failure(source(context, workload, private_key=agent), InvalidConfiguration, "private_key", kind)


async def test_a_function_that_is_not_async_may_sign_too(context: Context, workload: Workload) -> None:
    def agent(data: bytes) -> bytes:
        signature: bytes = workload.key.sign(data, ec.ECDSA(hashes.SHA256()))
        return signature

    assert (await source(context, workload, private_key=agent)()).access_key_id


# Rotation.


async def test_rotated_files_are_seen(aws: Loopback, context: Context, workload: Workload) -> None:
    provider = source(context, workload)
    await provider.fetch()
    workload.renew(1)
    await provider.fetch()
    shown = [seen.headers["X-Amz-X509"] for seen in aws.requests]
    assert len(set(shown)) == 2


async def test_only_one_of_two_files_is_rotated_yet(
    context: Context, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = workload.private_key.read_bytes()
    workload.renew(1)
    new = workload.private_key.read_bytes()
    workload.write_key(old)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            await asyncio.to_thread(workload.write_key, new)

    monkeypatch.setattr(identity, "asyncio", type("", (), {"sleep": staticmethod(sleep)}))
    assert (await source(context, workload)()).access_key_id
    assert len(pauses) == 2


@pytest.mark.parametrize("what", ["missing", "empty", "half"])
@pytest.mark.parametrize("which", ["certificate", "private_key"])
async def test_a_file_in_mid_rotation(
    context: Context, workload: Workload, monkeypatch: pytest.MonkeyPatch, what: str, which: str
) -> None:
    path: Any = getattr(workload, which)
    whole = path.read_bytes()
    if what == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if what == "empty" else whole[: len(whole) // 2])

    async def sleep(seconds: float) -> None:
        await asyncio.to_thread(path.write_bytes, whole)

    monkeypatch.setattr(identity, "asyncio", type("", (), {"sleep": staticmethod(sleep)}))
    assert (await source(context, workload)()).access_key_id


# Files that cannot be used.


def certificate_for(workload: Workload, key: Any, **options: Any) -> bytes:
    return text_of(workload.authority.issue(key, **options))


def der(workload: Workload) -> bytes:
    return workload.issued.public_bytes(Encoding.DER)


def half(workload: Workload) -> bytes:
    text = text_of(workload.issued)
    return text[: len(text) // 2] + b"\n-----END CERTIFICATE-----\n"


def of_no_known_version(workload: Workload) -> bytes:
    data = der(workload)
    changed = data.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", 1)
    assert changed != data
    return DER_cert_to_PEM_cert(changed).encode()


BAD_CERTIFICATES: dict[str, tuple[Callable[[Workload], bytes], type[Any], str]] = {
    "empty": (lambda workload: b" \n", SourceUnavailable, "is empty"),
    "DER": (der, InvalidConfiguration, "is no PEM"),
    "text": (lambda workload: b"hello", InvalidConfiguration, "is no PEM"),
    "a key": (lambda workload: pem_of(key_of("P-256")), InvalidConfiguration, "holds no certificate"),
    "damaged": (half, InvalidConfiguration, "damaged or cut short"),
    "cut short": (lambda workload: text_of(workload.issued)[:200], InvalidConfiguration, "damaged or cut short"),
    "of no known version": (of_no_known_version, InvalidConfiguration, "damaged or cut short"),
    "of a CA": (
        lambda workload: text_of(workload.authority.certificate),
        InvalidConfiguration,
        "begins with the certificate of a CA",
    ),
    "Ed25519": (
        lambda workload: certificate_for(workload, key_of("Ed25519")),
        InvalidConfiguration,
        "takes RSA and elliptic curves",
    ),
    "of another key": (
        lambda workload: certificate_for(workload, key_of("P-256", 5)),
        InvalidConfiguration,
        "is not the one of the certificate in",
    ),
    "too long": (lambda workload: b"x" * 70_000, InvalidConfiguration, "is too long"),
}


@pytest.mark.parametrize("what", BAD_CERTIFICATES)
async def test_a_certificate_that_cannot_be_used(
    aws: Loopback, context: Context, workload: Workload, what: str
) -> None:
    make, kind, words = BAD_CERTIFICATES[what]
    workload.write_certificate(make(workload))
    path = f"{workload.certificate} (from certificate)"
    await failure(source(context, workload), kind, path, words)
    assert not aws.requests


PUBLIC = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
WRONG = secret("wrong")
BAD_KEYS: dict[str, tuple[Callable[[Any], bytes], str | None, type[Any], str]] = {
    "empty": (lambda key: b"", None, SourceUnavailable, "is empty"),
    "DER": (
        lambda key: key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, serialization.NoEncryption()),
        None,
        InvalidConfiguration,
        "holds no private key",
    ),
    "public": (lambda key: key.public_key().public_bytes(*PUBLIC), None, InvalidConfiguration, "holds no private"),
    "cut short": (lambda key: pem_of(key)[:80], None, InvalidConfiguration, "half of one"),
    "damaged": (
        lambda key: pem_of(key).replace(b"\n", b"\nAAAA", 1),
        None,
        InvalidConfiguration,
        "is damaged, or in a form other than",
    ),
    "Ed25519": (
        lambda key: pem_of(key_of("Ed25519")),
        None,
        InvalidConfiguration,
        "is Ed25519: IAM Roles Anywhere",
    ),
    "of another certificate": (
        lambda key: pem_of(key_of("P-256", 6)),
        None,
        InvalidConfiguration,
        "is not the one of the certificate in",
    ),
    "of another kind": (
        lambda key: pem_of(key_of("RSA 2048")),
        None,
        InvalidConfiguration,
        "is not the one of the certificate in",
    ),
    "encrypted": (lambda key: pem_of(key, passphrase="x"), None, InvalidConfiguration, "pass passphrase="),
    "old encryption": (
        lambda key: pem_of(key, PrivateFormat.TraditionalOpenSSL, "x"),
        None,
        InvalidConfiguration,
        "is encrypted: pass passphrase=",
    ),
    "short initialization vector": (  # the library panics, with an exception that is no Exception
        lambda key: re.sub(
            rb"(DEK-Info: [A-Z0-9-]+,[0-9A-F]{16})[0-9A-F]*",
            rb"\1",
            pem_of(key, PrivateFormat.TraditionalOpenSSL, "x"),
        ),
        "x",
        InvalidConfiguration,
        "cannot be decrypted: correct passphrase=",
    ),
    "wrong passphrase": (
        lambda key: pem_of(key, passphrase="x"),
        WRONG,
        InvalidConfiguration,
        "cannot be decrypted: correct passphrase=",
    ),
    "wrong passphrase, old encryption": (
        lambda key: pem_of(key, PrivateFormat.TraditionalOpenSSL, "x"),
        WRONG,
        InvalidConfiguration,
        "cannot be decrypted: correct passphrase=",
    ),
}


@pytest.mark.parametrize("what", BAD_KEYS)
async def test_a_key_that_cannot_be_used(aws: Loopback, context: Context, workload: Workload, what: str) -> None:
    make, passphrase, kind, words = BAD_KEYS[what]
    data = make(workload.key)
    for line in data.splitlines():
        mark(line if b"-----" not in line and len(line) == 64 else b"")
    workload.write_key(data)
    path = f"{workload.private_key} (from private_key)"
    await failure(source(context, workload, passphrase=passphrase), kind, path, words)
    assert not aws.requests


def rsa_key(p: int, q: int, **changed: int) -> rsa.RSAPrivateKey:
    """Return an RSA key of two primes, or of what stands for them; some of its numbers may be others."""
    d = pow(65537, -1, (p - 1) * (q - 1))
    it = {"d": d, "dp": d % (p - 1), "dq": d % (q - 1), "qi": pow(q, -1, p), **changed}
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, it["d"], it["dp"], it["dq"], it["qi"], public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


@pytest.mark.parametrize("what", ["d", "dp", "dq", "qi"])
async def test_an_rsa_key_whose_numbers_do_not_belong_together(
    aws: Loopback, context: Context, workload: Workload, what: str
) -> None:
    """OpenSSL would sign with it, and give the key away by a wrong signature."""
    numbers = key_of("RSA 2048").private_numbers()
    key = rsa_key(numbers.p, numbers.q, **{what: numbers.d ^ 2**40})
    workload.write_key(pem_of(key, PrivateFormat.TraditionalOpenSSL))
    await failure(source(context, workload), InvalidConfiguration, "is damaged, or in a form other than")
    assert not aws.requests


async def test_nobody_looks_for_factors_of_the_primes_of_an_rsa_key(
    aws: Loopback, context: Context, workload: Workload
) -> None:
    """That takes from half a second to minutes, so that one "prime" is the product of two here."""
    key = rsa_key((2**521 - 1) * (2**607 - 1), 2**1279 - 1)
    workload.write_certificate(text_of(workload.authority.issue(key)))
    workload.write_key(pem_of(key))
    await failure(source(context, workload), ServiceRefused, "Invalid signature")
    assert aws.requests


async def test_a_large_rsa_key(context: Context, workload: Workload) -> None:
    key = rsa_key(2**4253 - 1, 2**4423 - 1)
    workload.write_certificate(text_of(workload.authority.issue(key)))
    workload.write_key(pem_of(key))
    assert (await source(context, workload)()).provider == "roles_anywhere"


@pytest.mark.parametrize("argument", ["certificate", "private_key", "intermediates"])
@pytest.mark.parametrize(
    ("what", "words"),
    [("missing", "does not exist"), ("a folder", "cannot be read"), ("forbidden", "cannot be read (permission")],
)
async def test_a_file_that_cannot_be_read(
    context: Context, workload: Workload, tmp_path: Path, argument: str, what: str, words: str
) -> None:
    path = tmp_path / "other"
    if what == "a folder":
        path.mkdir()
    elif what == "forbidden":
        path.write_text("x")
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("root may read everything")
    provider = source(context, workload, **{argument: path})
    await failure(provider, InvalidConfiguration, f"{path} (from {argument})", words)


async def test_a_pipe_that_nobody_writes_to(context: Context, workload: Workload, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    await failure(source(context, workload, private_key=pipe), InvalidConfiguration, "not a regular file")


@pytest.mark.parametrize("argument", ["certificate", "private_key", "intermediates"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is blank"),
        (b"/etc/x", "give the path of a file"),
        (7, "is int: give the path of a file"),
        (f"-----BEGIN PRIVATE KEY-----{MARK}", "is no path; if it is PEM itself, write that to a file"),
        (f"a\n{MARK}", "is no path"),
        ("~nobody-of-that-name/x", "write the path out"),
    ],
)
async def test_an_argument_that_is_no_path(
    context: Context, workload: Workload, argument: str, given: Any, words: str
) -> None:
    provider = source(context, workload, **{argument: given})
    await failure(provider, InvalidConfiguration, argument, words)


def without_key(workload: Workload, path: Path) -> None:
    certificate = workload.issued
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(None, None, None, [certificate], serialization.NoEncryption())
    )


BAD_STORES: dict[str, tuple[Callable[[Workload, Path], object], str | None, str]] = {
    "no passphrase": (lambda workload, path: workload.pkcs12(path, "x"), None, "pass passphrase= if it has one"),
    "wrong": (lambda workload, path: workload.pkcs12(path, "x"), WRONG, "correct passphrase="),
    "none": (lambda workload, path: path.write_bytes(b"0" + os.urandom(50)), None, "neither PEM nor PKCS#12"),
    "no key": (without_key, None, "holds no private key"),
}


@pytest.mark.parametrize("what", BAD_STORES)
async def test_a_pkcs12_file_that_cannot_be_used(
    context: Context, workload: Workload, tmp_path: Path, what: str
) -> None:
    make, passphrase, words = BAD_STORES[what]
    path = tmp_path / "me.p12"
    make(workload, path)
    provider = source(context, workload, certificate=path, private_key=None, passphrase=passphrase)
    await failure(provider, InvalidConfiguration, f"{path} (from certificate)", words)


async def test_pkcs12_beside_a_key(context: Context, workload: Workload, tmp_path: Path) -> None:
    path = workload.pkcs12(tmp_path / "me.p12", None)
    await failure(source(context, workload, certificate=path), InvalidConfiguration, "goes without private_key=")


async def test_pem_without_any_key(context: Context, workload: Workload, caplog: pytest.LogCaptureFixture) -> None:
    workload.certificate.chmod(0o644)  # and no key is there to be warned of
    await failure(
        source(context, workload, private_key=None), InvalidConfiguration, "no private key: pass private_key="
    )
    assert "open to all users" not in caplog.text


async def test_a_certificate_in_the_place_of_the_key(
    context: Context, workload: Workload, caplog: pytest.LogCaptureFixture
) -> None:
    workload.certificate.chmod(0o644)
    provider = source(context, workload, private_key=workload.certificate)
    await failure(provider, InvalidConfiguration, "(from private_key) holds no private key")
    assert "open to all users" not in caplog.text


@pytest.mark.parametrize("given", [7, lambda: "x", b"x"])
async def test_a_passphrase_that_is_none(context: Context, workload: Workload, given: Any) -> None:
    await failure(source(context, workload, passphrase=given), InvalidConfiguration, "passphrase is")


async def test_a_passphrase_of_a_function_that_returns_none(context: Context, workload: Workload) -> None:
    async def nothing() -> Any:
        return None

    await failure(source(context, workload, passphrase=nothing), InvalidConfiguration, "passphrase is NoneType")


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o602, 1)])
async def test_a_key_that_all_users_may_read_is_warned_of_once(
    context: Context, workload: Workload, caplog: pytest.LogCaptureFixture, mode: int, warned: int
) -> None:
    workload.private_key.chmod(mode)
    workload.certificate.chmod(0o644)
    provider = source(context, workload)
    await provider.fetch()
    await provider.fetch()
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in records] == ["aiocreds.sources.roles_anywhere"] * warned
    assert all(f"(mode {mode:04o}): run chmod 600 {workload.private_key}" in it.getMessage() for it in records)


async def test_the_library_is_not_installed(
    context: Context, workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)
    await failure(source(context, workload), InvalidConfiguration, "pip install 'aiocreds[roles-anywhere]'")


# ARNs and numbers.

OTHER_REGION = PROFILE.replace("eu-central-1", "eu-west-1")
CHINA = PROFILE.replace("arn:aws:", "arn:aws-cn:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trust_anchor_arn": ""}, "trust_anchor_arn is blank: give an ARN such as arn:aws:rolesanywhere"),
        ({"trust_anchor_arn": PROFILE}, "trust_anchor_arn is 'arn:aws:rolesanywhere:"),
        ({"profile_arn": ANCHOR}, "profile_arn is 'arn:aws:rolesanywhere:"),
        ({"profile_arn": "default"}, "profile_arn is 'default': give an ARN such as"),
        ({"role_arn": "app"}, "role_arn is 'app': give an ARN such as arn:aws:iam"),
        ({"role_arn": "arn:aws:iam::123456789012:user/app"}, "role_arn is"),
        ({"role_arn": ROLE_ARN + "\n"}, "role_arn is"),
        (
            {"profile_arn": OTHER_REGION},
            "trust_anchor_arn is of the region eu-central-1, and profile_arn of eu-west-1",
        ),
        ({"profile_arn": CHINA}, "trust_anchor_arn is of the partition aws, and profile_arn of aws-cn"),
        ({"role_arn": ROLE_ARN.replace("aws", "aws-us-gov", 1)}, "and role_arn of aws-us-gov"),
        ({"duration_seconds": 899}, "duration_seconds is 899: give 900 to 43200"),
        ({"duration_seconds": timedelta(hours=13)}, "duration_seconds is 46800: give 900 to 43200"),
        ({"duration_seconds": -1}, "duration_seconds"),
        ({"trust_anchor_arn": None}, "trust_anchor_arn is NoneType: give an ARN such as arn:aws:rolesanywhere:"),
        ({"role_arn": f"{ROLE_ARN}\x1b[31m"}, r"role_arn is 'arn:aws:iam::123456789012:role/outside\x1b[31m'"),
        ({"role_arn": b"arn"}, "role_arn is bytes: give an ARN such as arn:aws:iam::"),
        ({"role_session_name": 7}, "role_session_name is int: give a str"),
        ({"role_session_name": " "}, "role_session_name is blank: give a name, or leave it out"),
    ],
)
async def test_arguments_that_cannot_be(
    aws: Loopback, context: Context, workload: Workload, arguments: dict[str, Any], words: str
) -> None:
    await failure(source(context, workload, **arguments), InvalidConfiguration, words)
    assert not aws.requests


# Time.


@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["behind", "ahead"])
@pytest.mark.parametrize("kind", ["P-256", "RSA 2048"])
async def test_a_clock_that_is_off_is_noticed_and_kept(
    aws: Loopback, context: Context, tmp_path: Path, authority: Authority, off: timedelta, kind: str
) -> None:
    aws.clock = off
    provider = source(context, Workload(tmp_path, authority, kind))
    assert (await provider.fetch()).access_key_id
    assert len(aws.requests) == 2
    assert context.clock.offset == pytest.approx(off.total_seconds(), abs=60)
    await provider.fetch()
    assert len(aws.requests) == 3


@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["behind", "ahead"])
async def test_a_short_lived_certificate_and_a_clock_that_is_off(
    aws: Loopback, context: Context, workload: Workload, off: timedelta
) -> None:
    aws.clock = off
    there = datetime.now(UTC) + off
    workload.renew(begin=there - HOUR / 4, end=there + HOUR / 4)
    assert (await source(context, workload)()).access_key_id


@pytest.mark.parametrize("when", ["expired", "not yet"])
@pytest.mark.parametrize("off", [timedelta(), HOUR, -HOUR])
async def test_a_certificate_at_the_wrong_time(
    aws: Loopback, context: Context, workload: Workload, when: str, off: timedelta
) -> None:
    aws.clock = off
    now, day = datetime.now(UTC) + off, timedelta(days=1)
    begin = now - 3 * day if when == "expired" else now + day
    workload.renew(begin=begin, end=begin + day)
    words = f"expired at {begin + day:%Y-%m-%d %H:%M} UTC" if when == "expired" else "is not valid before"
    path = f"the certificate in {workload.certificate} (from certificate)"
    error = await failure(source(context, workload), InvalidConfiguration, path, words, "AccessDeniedException")
    assert not error.recoverable


async def test_a_refresh_takes_the_files_of_the_day(
    aws: Loopback, context: Context, workload: Workload, clock: time_machine.Traveller
) -> None:
    aws.lifetime = HOUR
    workload.renew()
    provider = source(context, workload)
    held = await provider()
    clock.shift(HOUR - timedelta(seconds=30))
    workload.renew(1)
    assert await provider() is not held
    assert len({seen.headers["X-Amz-X509"] for seen in aws.requests}) == 2


async def test_a_broken_rotation_is_outlived(
    aws: Loopback, context: Context, workload: Workload, clock: time_machine.Traveller
) -> None:
    aws.lifetime = HOUR
    workload.renew()
    provider = source(context, workload)
    held = await provider()
    workload.write_key(b"")
    clock.shift(HOUR + timedelta(seconds=1))
    assert await provider() is held


# Refusals, and trouble.

CODES = {
    "AccessDeniedException": (403, "rolesanywhere.amazonaws.com", False),
    "ResourceNotFoundException": (404, "no such trust anchor or profile", True),
    "ValidationException": (400, "acceptRoleSessionName", True),
    "InvalidSignatureException": (403, "a proxy may change requests", True),
    "SomethingNew": (400, "this is no error that the service is known for", True),
}


@pytest.mark.parametrize("code", CODES)
async def test_a_refusal(aws: Loopback, context: Context, workload: Workload, code: str) -> None:
    status, remedy, recoverable = CODES[code]
    aws.script(SESSIONS, json_error(status, code, message="They said no"))
    host = aws.url.removeprefix("http://")
    words = f"IAM Roles Anywhere ({host})", ROLE_ARN, f"{code}: They said no", remedy
    error = await failure(source(context, workload), ServiceRefused, *words)
    assert (error.code, error.status, error.request_id) == (code, status, "r-3")
    assert error.recoverable is recoverable
    assert not error.try_next_link
    assert len(aws.requests) == 1


async def test_a_profile_that_takes_no_session_names(aws: Loopback, context: Context, workload: Workload) -> None:
    aws.roles_anywhere.takes_names = False
    provider = source(context, workload, role_session_name="me")
    await failure(provider, ServiceRefused, "ValidationException", "acceptRoleSessionName")
    assert (await source(context, workload)()).access_key_id


BUSY: dict[str, Script] = {
    "ThrottlingException": json_error(400, "ThrottlingException"),
    "TooManyRequestsException": json_error(429, "TooManyRequestsException"),
    "InternalServerException": json_error(500, "InternalServerException"),
    "503": Answer(503, "<html>oops"),
    "cut": Answer(body=b"half of it", cut=True),
    "reset": Reset(),
}


@pytest.mark.parametrize("what", BUSY)
async def test_two_busy_answers_are_sat_out(aws: Loopback, context: Context, workload: Workload, what: str) -> None:
    aws.script(SESSIONS, BUSY[what], BUSY[what])
    assert (await source(context, workload)()).access_key_id
    assert len(aws.requests) == 3


@pytest.mark.parametrize("what", BUSY)
async def test_busy_for_ever(aws: Loopback, context: Context, workload: Workload, what: str) -> None:
    aws.always(SESSIONS, BUSY[what])
    host = aws.url.removeprefix("http://")
    await failure(source(context, workload), SourceUnavailable, host, ROLE_ARN)
    assert len(aws.requests) == 3


async def test_silence(aws: Loopback, context: Context, workload: Workload) -> None:
    aws.always(SESSIONS, Hang())
    client = ClientConfig(connect_timeout=1, read_timeout=0.1, max_attempts=1)
    await failure(source(context, workload, client=client), SourceUnavailable, "timed out", ROLE_ARN)


def answer(**credentials: Any) -> dict[str, Any]:
    issued = {
        "accessKeyId": "ASIAEXAMPLE",
        "secretAccessKey": secret(),
        "sessionToken": secret("token"),
        "expiration": "2999-01-01T00:00:00Z",
    }
    return {"credentialSet": [{"credentials": issued | credentials}]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "answered without credentials"),
        ({"credentialSet": []}, "answered without credentials"),
        ({"credentialSet": MARK}, "answered without credentials"),
        ({"credentialSet": {MARK: 1}}, "answered without credentials"),
        ({"credentialSet": 7}, "answered without credentials"),
        ({"credentialSet": [{"credentials": MARK}]}, "answered without credentials"),
        (answer(sessionToken=None), "answered without credentials"),
        (answer(secretAccessKey=""), "without secretAccessKey"),
        (answer(accessKeyId=[MARK]), "without accessKeyId"),
        (answer(expiration=MARK), "is not a time"),
        (answer(expiration=None), "is not a time"),
        (answer(expiration="2020-01-01T00:00:00Z"), "expired at 2020-01-01 00:00:00 UTC"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_that_is_none(
    aws: Loopback, context: Context, workload: Workload, document: dict[str, Any], words: str
) -> None:
    aws.always(SESSIONS, json_answer(document, 201))
    await failure(source(context, workload), SourceUnavailable, "IAM Roles Anywhere", words)


async def test_an_answer_without_the_sessions_arn(aws: Loopback, context: Context, workload: Workload) -> None:
    aws.always(SESSIONS, json_answer(answer()))
    credentials = await source(context, workload)()
    assert credentials.account_id == "123456789012"
    assert credentials.expiration == datetime(2999, 1, 1, tzinfo=UTC)


# Everything else.


@pytest.mark.parametrize("how", ["answering", "hanging"])
@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_at_any_moment(aws: Loopback, context: Context, workload: Workload, how: str) -> None:
    async def passphrase() -> str:
        await asyncio.sleep(0)
        return secret()

    agent = Agent(workload.key)
    client = ClientConfig(read_timeout=0.1, connect_timeout=0.1, max_attempts=2)

    def make(number: int) -> Provider:
        key = agent if number % 2 else workload.private_key
        return source(context, workload, client=client, passphrase=passphrase, private_key=key)

    assert await moments_of(aws, SESSIONS, make, hanging=how == "hanging") > 5


async def test_explain_shows_what_was_looked_at(context: Context, workload: Workload) -> None:
    text = str(await explain(source(context, workload)))
    for words in ("IAM Roles Anywhere", str(workload.certificate), str(workload.issued.serial_number), ROLE_ARN):
        assert words in text
    assert "valid until" in text
    workload.private_key.unlink()
    text = str(await explain(source(context, workload)))
    assert f"{workload.private_key} (from private_key)" in " ".join(text.split())


@pytest.mark.parametrize("kind", ["P-256", LONG_KEY])
async def test_the_loop_is_never_in_the_way(
    context: Context, tmp_path: Path, authority: Authority, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are read, parsed and used in threads."""
    import threading

    threads: set[str] = set()
    for name in ("_identity", "_load_library"):
        monkeypatch.setattr(identity, name, noting(threads, getattr(identity, name)))
    monkeypatch.setattr(identity.Identity, "sign", noting(threads, identity.Identity.sign))
    assert (await source(context, Workload(tmp_path, authority, kind))()).access_key_id
    assert threading.current_thread().name not in threads
    assert threads == {"aiocreds pool"}


def noting(threads: set[str], function: Any) -> Any:
    import threading

    def noted(*args: Any) -> Any:
        threads.add(threading.current_thread().name)
        return function(*args)

    return noted


async def test_profiles_that_call_the_helper_of_aws_keep_working(
    context: Context, home: Path, machine: Programs, workload: Workload, environ: dict[str, str]
) -> None:
    environ["PATH"] = f"{machine.folder}:{os.defpath}"
    printed = {
        "Version": 1,
        "AccessKeyId": "ASIAFROMHELPER",
        "SecretAccessKey": secret(),
        "SessionToken": secret("token"),
        "Expiration": "2999-01-01T00:00:00Z",
    }
    (home / "printed").write_text(json.dumps(printed))
    machine.script(f'echo "$@" > {home}/arguments; cat {home}/printed', "aws_signing_helper")
    command = (
        f"aws_signing_helper credential-process --certificate {workload.certificate} --private-key"
        f" {workload.private_key} --trust-anchor-arn {ANCHOR} --profile-arn {PROFILE} --role-arn {ROLE_ARN}"
    )
    (home / ".aws/config").write_text(f"[profile outside]\ncredential_process = {command}\n")
    credentials = await from_ini("outside", context=context)()
    assert credentials.access_key_id == "ASIAFROMHELPER"
    assert (home / "arguments").read_text().split() == command.split()[1:]


def test_certificates_are_made_as_tests_need_them(workload: Workload) -> None:
    assert isinstance(workload.issued, x509.Certificate)
