"""Signature Version 4A, held against `cryptography`'s KDF, botocore's canonical request and awscrt's signatures."""

from __future__ import annotations

import importlib
import pickle
import re
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import pytest
import time_machine
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from aiocreds import Credentials, from_env
from aiocreds._aws import sigv4a
from aiocreds._aws.sigv4 import presign, sign
from aiocreds.integrations.aiohttp import SigV4Auth
from aiocreds.integrations.httpx import SigV4Auth as HttpxSigV4Auth
from tests.helpers.scripted import START, Source, issue
from tests.helpers.sigv4a import is_signed, public_key, text_of

URLS = ["https://h.example/", "https://h.example:8443/a%20b/c?x=1&b=%2F&a", "https://h.example/x//y/%C3%BC"]
AT = datetime.fromtimestamp(START, UTC).strftime("%Y%m%dT%H%M%SZ")
AUTHORIZATION = re.compile(r"(\S+) Credential=([^/]+)/(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]+)")


def key_of(credentials: Credentials) -> Any:
    return public_key(credentials.access_key_id, credentials.secret_access_key)


def parts(headers: dict[str, str]) -> tuple[str, ...]:
    found = AUTHORIZATION.fullmatch(headers["Authorization"])
    assert found
    return found.groups()


def test_the_key_of_aws_own_example() -> None:
    """The pair that AWS's C library tests its derivation with."""
    key = sigv4a.signing_key("AKISORANDOMAASORANDOM", "q+jcrXGc+0zWN6uzclKVhvMmUsIfRPa4rlRandom").public_key()
    numbers = key.public_numbers()
    assert f"{numbers.x:064x}" == "15d242ceebf8d8169fd6a8b5a746c41140414c3b07579038da06af89190fffcb"
    assert f"{numbers.y:064x}" == "0515242cedd82e94799482e4c0514b505afccf2c0c98d6a553bf539f424c5ec0"


def test_the_key_is_the_one_of_another_kdf() -> None:
    for _ in range(20):
        keys = issue()
        ours = sigv4a.signing_key(keys.access_key_id, keys.secret_access_key).public_key()
        assert ours.public_numbers() == key_of(keys).public_numbers()


@pytest.mark.parametrize(("first", "private"), [(sigv4a.ORDER - 2, sigv4a.ORDER - 1), (sigv4a.ORDER - 1, 8)])
def test_a_candidate_that_is_too_large_is_followed_by_the_next(
    first: int, private: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def candidate(_key_id: str, _secret: str, counter: int) -> int:
        return {1: first, 2: 7}[counter]

    monkeypatch.setattr(sigv4a, "candidate", candidate)
    keys = issue()
    key = sigv4a.signing_key(keys.access_key_id, keys.secret_access_key)
    assert key.private_numbers().private_value == private


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(("service", "body"), [("s3", None), ("s3", b"x"), ("events", b"{}")])
@pytest.mark.parametrize("region_set", ["*", "eu-central-1,us-*"])
def test_a_signature_in_headers(url: str, service: str, body: bytes | None, region_set: str) -> None:
    keys, headers, s3 = issue(), [("X-More", " a  b ")], service == "s3"
    added = sign(
        "PUT",
        url,
        headers,
        body,
        credentials=keys,
        region="",
        service=service,
        at=START,
        normalize_path=not s3,
        encode_path=not s3,
        sign_body=s3,
        region_set=region_set,
    )
    algorithm, key_id, scope, signed, signature = parts(added)
    assert (algorithm, key_id) == ("AWS4-ECDSA-P256-SHA256", keys.access_key_id)
    assert scope == f"{AT[:8]}/{service}/aws4_request"
    assert "x-amz-region-set" in signed.split(";")
    assert added["X-Amz-Region-Set"] == region_set
    sent = [*headers, ("Host", urlsplit(url).netloc), *added.items()]
    text = text_of("PUT", url, sent, body, signed=signed, scope=scope, at=AT, service=service)
    assert is_signed(text, signature, key_of(keys))
    assert not is_signed(text, signature, key_of(issue()))


def crt_signed(signer: str, keys: Credentials, service: str, url: str, body: bytes) -> AWSRequest:
    """Sign with awscrt by way of botocore, which loads that when it is there."""
    pytest.importorskip("awscrt")
    signers: Any = importlib.import_module("botocore.crt.auth")  # after botocore.auth: they import each other
    theirs = BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    request = AWSRequest("PUT", url, data=body, headers={"X-More": "a b"})
    getattr(signers, signer)(theirs, service, "*").add_auth(request)
    return request


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("service", ["s3", "events"])
def test_awscrt_signs_what_we_do(url: str, service: str) -> None:
    keys = issue()
    signer = "CrtS3SigV4AsymAuth" if service == "s3" else "CrtSigV4AsymAuth"
    with time_machine.travel(START, tick=False):
        request = crt_signed(signer, keys, service, url, b"x")
    theirs = {name: str(value) for name, value in request.headers.items()}
    s3 = service == "s3"
    ours = sign(
        "PUT",
        url,
        [("X-More", "a b")],
        b"x",
        credentials=keys,
        region="",
        service=service,
        at=START,
        normalize_path=not s3,
        encode_path=not s3,
        sign_body=s3,
        region_set="*",
    )
    assert parts(ours)[:3] == parts(theirs)[:3]
    names = set(parts(ours)[3].split(";"))
    for headers in (ours, theirs):
        sent = {"x-more": "a b", "host": urlsplit(url).netloc} | {name.lower(): headers[name] for name in headers}
        *_, scope, signed, signature = parts(headers)
        body = None if headers.get("X-Amz-Content-SHA256") == "UNSIGNED-PAYLOAD" else b"x"
        at = headers["X-Amz-Date"]
        text = text_of("PUT", url, sent.items(), body, signed=signed, scope=scope, at=at, service=service)
        assert is_signed(text, signature, key_of(keys))
        assert names - {"content-length"} == set(signed.split(";")) - {"content-length"}


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("service", ["s3", "events"])
def test_a_signature_in_the_url(url: str, service: str) -> None:
    keys, s3 = issue(), service == "s3"
    signed = presign(
        "GET",
        url,
        body=None if s3 else b"",
        credentials=keys,
        region="",
        service=service,
        at=START,
        expires_in=60,
        normalize_path=not s3,
        encode_path=not s3,
        region_set="*",
    )
    query = dict(parse_qsl(urlsplit(signed).query))
    assert query["X-Amz-Algorithm"] == "AWS4-ECDSA-P256-SHA256"
    assert query["X-Amz-Region-Set"] == "*"
    key_id, _, scope = query["X-Amz-Credential"].partition("/")
    assert (key_id, scope) == (keys.access_key_id, f"{AT[:8]}/{service}/aws4_request")
    unsigned, _, signature = signed.partition("&X-Amz-Signature=")
    text = text_of(
        "GET",
        unsigned,
        [("Host", urlsplit(url).netloc)],
        None if s3 else b"",
        signed="host",
        scope=scope,
        at=AT,
        service=service,
    )
    assert is_signed(text, signature, key_of(keys))


def test_awscrt_presigns_with_the_same_parameters() -> None:
    keys = issue()
    with time_machine.travel(START, tick=False):
        request = crt_signed("CrtS3SigV4AsymQueryAuth", keys, "s3", "https://h.example/a", b"")
    theirs = dict(parse_qsl(urlsplit(str(request.url)).query))
    url = presign(
        "PUT",
        "https://h.example/a",
        [("X-More", "a b")],
        None,
        credentials=keys,
        region="",
        service="s3",
        at=START,
        expires_in=3600,
        encode_path=False,
        normalize_path=False,
        region_set="*",
    )
    ours = dict(parse_qsl(urlsplit(url).query))
    for either in (ours, theirs):
        for name in ("X-Amz-Signature", "X-Amz-Date", "X-Amz-Credential"):
            assert either.pop(name)
    assert ours == theirs


@pytest.mark.parametrize("kind", [SigV4Auth, HttpxSigV4Auth])
def test_region_or_region_set(kind: Any) -> None:
    provider = Source().provider()
    wrongs: list[dict[str, Any]] = [{}, {"region": "eu-central-1", "region_set": "*"}, {"region_set": []}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="region_set"):
            kind(provider, service="s3", **wrong)
    auth = kind(provider, service="s3", region_set=["eu-central-1", "us-east-1"])
    assert "s3 in eu-central-1,us-east-1" in repr(auth)


@pytest.mark.parametrize("kind", [SigV4Auth, HttpxSigV4Auth])
def test_without_cryptography_it_says_what_to_install(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds.integrations._extras.find_spec", mock.Mock(return_value=None))
    with pytest.raises(ModuleNotFoundError, match=r"aiocreds\[sigv4a\]"):
        kind(Source().provider(), service="s3", region_set="*")


def test_it_pickles() -> None:
    auth = SigV4Auth(from_env(), service="s3", region_set=["a", "b"])
    assert repr(pickle.loads(pickle.dumps(auth))) == repr(auth)


async def test_presigning_takes_the_region_set() -> None:
    auth = SigV4Auth(Source().provider(), service="s3", region_set="*")
    query = dict(parse_qsl(urlsplit(await auth.presign("GET", "https://h.example/k")).query))
    assert query["X-Amz-Region-Set"] == "*"
