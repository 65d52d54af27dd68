"""What programs may pass to SigV4Auth, of either client, and what they get for anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import time_machine
from multidict import CIMultiDict
from yarl import URL

from aiocreds.integrations import aiohttp as for_aiohttp
from aiocreds.integrations import httpx as for_httpx
from tests.helpers.scripted import START, Source, issue

if TYPE_CHECKING:
    from collections.abc import Callable

REGION = "eu-central-1"
HOST = "https://h.example"
KINDS = [for_aiohttp.SigV4Auth, for_httpx.SigV4Auth]


def auth(**options: Any) -> for_aiohttp.SigV4Auth:
    given: dict[str, Any] = {"service": "es", "region": REGION, **options}
    return for_aiohttp.SigV4Auth(Source(issue(None)).provider(), **given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"region": "*"}, ValueError, r"region '\*' is none; for several regions pass region_set="),
        ({"region": f"{REGION}\n"}, ValueError, r"region 'eu-central-1\\n' is none"),
        ({"region": "x" * 1000}, ValueError, "region 'x{100}' is none"),
        ({"region": b"eu-central-1"}, TypeError, "region must be a str, not bytes"),
        ({"region": ["eu-central-1"]}, TypeError, "region must be a str, not list"),
        ({"service": "es\r\nx: y"}, ValueError, r"service 'es\\r\\nx: y' is none"),
        ({"service": ["es"]}, TypeError, "service must be a str, not list"),
        ({"region": None, "region_set": "us-east-1 eu"}, ValueError, "region_set 'us-east-1 eu' is none"),
        ({"region": None, "region_set": [""]}, ValueError, "region_set '' is none"),
        ({"region": None, "region_set": [None]}, TypeError, "region_set must be a str, not NoneType"),
        ({"region": None, "region_set": 1}, TypeError, "region_set must be a str or several of them, not int"),
        ({"service": "s3express", "session_mode": "readonly"}, ValueError, "session_mode must be 'ReadOnly' or"),
        ({"context": "eu"}, TypeError, r"SigV4Auth takes context=Context\(…\), not str"),
    ],
)
def test_a_signer_that_could_not_sign(
    kind: Callable[..., object], options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        kind(Source().provider(), **{"service": "es", "region": REGION, **options})


@pytest.mark.parametrize("given", ["*", "us-east-1, eu-*", ["us-east-1", "eu-*"], ("us-east-1",)])
def test_a_set_of_regions(given: Any) -> None:
    assert ", " not in repr(auth(region=None, region_set=given))


@pytest.mark.parametrize(
    ("method", "url", "error", "said"),
    [
        ("GET", "h.example/a", ValueError, "url is no absolute URL: pass one such as 'https://host/path'"),
        ("GET", "//h.example/a", ValueError, "url is no absolute URL"),
        ("GET", "https:///a", ValueError, "url is no absolute URL"),
        ("GET", "https://[::1/a", ValueError, "url is no absolute URL"),
        ("GET", "https://h.example:99999/", ValueError, "url is no absolute URL"),
        ("GET", "https://bücher.example/", ValueError, "with the host in ASCII"),
        ("GET", f"{HOST}/a\n", ValueError, "url holds a line break"),
        ("GET", f"{HOST}/a?X-Amz-Signature=0", ValueError, "url is signed already"),
        ("GET", f"{HOST}/\ud800", ValueError, "url holds a line break or another character that no URL may"),
        ("GET", URL(HOST), TypeError, "url must be a str, not URL"),
        ("GET", None, TypeError, "url must be a str, not NoneType"),
        (None, HOST, TypeError, "method must be a str, not NoneType"),
        ("GET /\r\n", HOST, ValueError, r"method 'GET /\\r\\n' is none"),
        ("", HOST, ValueError, "method '' is none"),
    ],
)
async def test_a_request_that_is_none(method: Any, url: Any, error: type[Exception], said: str) -> None:
    for service in ("es", "s3", "s3express"):
        for sign in (auth(service=service).presign, auth(service=service).sign_headers):
            with pytest.raises(error, match=said) as caught:
                await sign(method, url)
            assert "h.example" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "error", "said"),
    [
        (None, TypeError, "headers must be a mapping of str to str, or pairs of them"),
        ("ab", TypeError, "headers must be a mapping"),
        (["ab"], TypeError, "headers must be a mapping"),
        ([("a",)], TypeError, "headers must be a mapping"),
        ({"a": 1}, TypeError, "headers must be a mapping"),
        ([(b"a", b"1")], TypeError, "headers must be a mapping"),
        ({"a b": "1"}, ValueError, "headers has a name that no header may have: 'a b'"),
        ({"": "1"}, ValueError, "headers has a name that no header may have: ''"),
        ({"a": "hidden\r\nx: y"}, ValueError, "headers has a value for a with a line break"),
        ({"a": "hidden\ud800"}, ValueError, "headers has a value for a with"),
    ],
)
async def test_headers_that_are_none(headers: Any, error: type[Exception], said: str) -> None:
    for sign in (auth().presign, auth().sign_headers):
        with pytest.raises(error, match=said) as caught:
            await sign("GET", HOST, headers=headers)
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("body", ["text", None, 1, [b"a"]])
async def test_a_body_that_is_none(body: Any) -> None:
    with pytest.raises(TypeError, match=f"body must be bytes, not {type(body).__name__}"):
        await auth().sign_headers("POST", HOST, body=body)


@pytest.mark.parametrize("form", [dict, CIMultiDict, httpx.Headers, iter])
async def test_headers_in_any_form(form: Callable[[list[tuple[str, str]]], Any]) -> None:
    pairs = [("x-a", "1"), ("X-B", "2")]
    with time_machine.travel(START, tick=False):
        signer = auth()
        expected = await signer.sign_headers("GET", HOST, headers=pairs)
        assert await signer.sign_headers("GET", HOST, headers=form(pairs)) == expected
        assert await signer.sign_headers("GET", HOST, headers=form(pairs), body=bytearray()) == expected
        url = await signer.presign("GET", HOST, headers=pairs)
        assert await signer.presign("GET", HOST, headers=form(pairs)) == url
    assert "SignedHeaders=host;x-a;x-amz-date;x-amz-security-token;x-b," in expected["Authorization"]


async def test_a_path_is_signed_in_the_spelling_that_is_sent() -> None:
    with time_machine.travel(START, tick=False):
        signer = auth()
        ours = await signer.presign("GET", f"{HOST}/b ü%20c?q=ü")
        assert ours == await signer.presign("GET", f"{HOST}/b%20%C3%BC%20c?q=%C3%BC")
    assert ours.startswith(f"{HOST}/b%20%C3%BC%20c?q=%C3%BC&X-Amz-Algorithm=")
