"""SigV4Auth for httpx: real requests, judged by botocore's signers and by moto's S3."""

from __future__ import annotations

import asyncio
import importlib
import io
import itertools
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import time_machine
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiocreds import Context, Credentials, InvalidConfiguration, SourceUnavailable
from aiocreds.integrations.httpx import SigV4Auth
from aiocreds.integrations.sigv4 import RULES, Rules
from tests.helpers.scripted import START, Source, issue, others, settle
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.sigv4_cases import CASES, parsed
from tests.helpers.sigv4_server import (
    EXPIRED,
    HEADERS,
    METHODS,
    PATHS,
    QUERIES,
    REFUSALS,
    REGION,
    SEGMENT,
    SERVICES,
    WORD,
    Judge,
    Refusal,
    crowd,
    long_xml,
    quote_all,
    redirect,
    xml,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading certificates takes longer than most tests
BODY = b"a body \x00\xff" * 10
ClientOf = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def client_of() -> AsyncIterator[ClientOf]:
    """Open a client that signs for a service; it is closed in the end."""
    async with AsyncExitStack() as stack:
        options_of_all: dict[str, Any] = {"trust_env": False, "verify": NO_TLS}

        async def client_of(source: Source, service: str = "es", **options: Any) -> httpx.AsyncClient:
            auth = SigV4Auth(source.provider(), service=service, region=REGION, context=Context(environ={}))
            return await stack.enter_async_context(httpx.AsyncClient(auth=auth, **options_of_all, **options))

        yield client_of


# What arrives is what was signed


@pytest.mark.parametrize("service", SERVICES)
async def test_every_method_and_service(
    service: str, judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), service)
    for method, body in itertools.product(METHODS, (None, b"", BODY)):
        answer = await client.request(method, f"{judge.url}/a", content=body)
        assert (answer.status_code, judge.wrong) == (200, []), method


@pytest.mark.parametrize("service", ["es", "s3"])
async def test_every_path_and_query(
    service: str, judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), service)
    for path, query in itertools.product(PATHS, QUERIES):
        await client.get(judge.url + path + query)
        assert judge.wrong == [], (path, query)


@pytest.mark.parametrize("service", ["es", "s3"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(METHODS),
    segments=st.lists(SEGMENT, max_size=4),
    params=st.lists(st.tuples(WORD, WORD), max_size=4),
    headers=HEADERS,
    body=st.none() | st.binary(max_size=30),
)
async def test_whatever_is_sent(
    service: str,
    judge: Judge,
    credentials: Credentials,
    method: str,
    segments: list[str],
    params: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes | None,
) -> None:
    auth = SigV4Auth(Source(credentials).provider(), service=service, region=REGION)
    url = judge.url + "".join(f"/{segment}" for segment in segments)
    async with httpx.AsyncClient(auth=auth, trust_env=False, verify=NO_TLS) as client:
        await client.request(method, url, params=tuple(params), headers=headers, content=body)
    assert judge.arrived[-1].wrong == []
    assert [pair for pair in judge.arrived[-1].headers if pair in headers] == headers
    target = httpx.URL(f"http://h{judge.arrived[-1].raw_path}")
    assert sorted(target.params.multi_items()) == sorted(params)  # httpx groups them by name
    assert judge.arrived[-1].body == (body or b"")


async def test_what_the_url_means_stays_the_same(
    judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), "s3")
    await client.get(f"{judge.url}/a+b c", params={"blank": "x y", "plus": "x+y", "nothing": ""})
    assert judge.arrived[0].raw_path == "/a%2Bb%20c?blank=x%20y&plus=x%2By&nothing="


async def test_default_headers_and_cookies_are_signed(
    judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), "es", headers={"X-Default": "yes"}, cookies={"a": "b"})
    await client.post(f"{judge.url}/", json={})
    assert judge.wrong == []
    assert {"x-default", "cookie", "content-type"} <= set(judge.arrived[0].signed_headers)


async def test_keys_without_a_token_send_none(client_of: ClientOf) -> None:
    credentials = Credentials("AKIALONGTERM00001", secret())
    async with Judge(credentials) as judge:
        client = await client_of(Source(credentials), "es")
        await client.get(f"{judge.url}/", headers={"X-Amz-Security-Token": "of somebody else"})
        assert judge.wrong == []


async def test_a_request_can_be_sent_again_and_again(
    judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), "s3")
    request = client.build_request("PUT", f"{judge.url}/x", content=BODY)
    extensions = request.extensions
    for _ in range(3):
        assert (await client.send(request)).status_code == 200
    assert request.extensions is extensions


async def test_the_context_tells_the_time(judge: Judge) -> None:
    context = Context(environ={})
    auth = SigV4Auth(Source(issue(None)).provider(), service="es", region=REGION, context=context)
    with time_machine.travel(START, tick=False):
        context.clock.learn(240.0)
        async with httpx.AsyncClient(auth=auth, trust_env=False, verify=NO_TLS) as client:
            await client.get(f"{judge.url}/")
            assert judge.arrived[0].header("X-Amz-Date") == "20270115T080400Z"


async def test_the_published_cases(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    if not CASES:
        pytest.skip("the published signing cases do not lie beside the project")
    sent = 0
    for case in CASES:
        context, request = case["context"], parsed(case["request"])
        path = request.url.removeprefix("https://example.amazonaws.com")
        target = path.partition("?")[0]
        given = {name for name, _ in request.headers}
        if (
            context.get("omit_session_token")
            or any("\n" in value or value != value.strip() for _, value in request.headers)
            or not target.isascii()
            or " " in target  # such a target goes on the wire encoded
            or (not context["normalize"] and "." in target)  # and such a one resolved
            or (request.method == "POST" and "Content-Length" not in given)  # and such a request with a length
        ):
            continue
        rules = Rules(path_as_is=not context["normalize"], hash_stated=context["sign_body"])
        monkeypatch.setitem(RULES, "service", rules)
        keys = context["credentials"]
        held = Credentials(keys["access_key_id"], keys["secret_access_key"], keys.get("token"))
        auth = SigV4Auth(Source(held).provider(), service=context["service"], region=context["region"])
        with time_machine.travel(context["timestamp"], tick=False):
            async with httpx.AsyncClient(auth=auth, trust_env=False, verify=NO_TLS) as client:
                await client.request(
                    request.method, judge.url + path, headers=request.headers, content=request.body or None
                )
        authorization = dict(parsed(case["signed_request"]).headers)["Authorization"]
        assert judge.arrived[-1].header("Authorization") == authorization, case["name"]
        sent += 1
    assert sent == 21


# Bodies


async def stream() -> AsyncIterator[bytes]:
    yield BODY
    yield b"more"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "body.bin"
    path.write_bytes(BODY * 5000)
    with path.open("rb") as opened:
        yield opened


@pytest.mark.parametrize("service", ["es", "s3", "aoss", "vpc-lattice-svcs"])
async def test_bodies_of_every_kind(
    service: str, judge: Judge, credentials: Credentials, client_of: ClientOf, file: Any
) -> None:
    client = await client_of(Source(credentials), service)
    bodies: list[tuple[dict[str, Any], bytes | None]] = [
        ({}, b""),
        ({"content": BODY}, BODY),
        ({"content": "text ü"}, "text ü".encode()),
        ({"content": b"x" * 2_000_000}, b"x" * 2_000_000),
        ({"json": {"a": "ü", "b": [1, None]}}, None),
        ({"data": {"a": "1 2", "b": ["ü&=", "c"]}}, b"a=1+2&b=%C3%BC%26%3D&b=c"),
        ({"files": {"f": BODY}}, None),
        ({"files": {"f": io.BytesIO(BODY)}, "data": {"a": "b"}}, None),
        ({"files": {"f": file}}, None),
    ]
    for options, expected in bodies:
        answer = await client.put(f"{judge.url}/x", **options)
        assert (answer.status_code, judge.wrong) == (200, []), options
        assert expected is None or judge.arrived[-1].body == expected
    assert all(BODY in arrived.body for arrived in judge.arrived[-3:])


@pytest.mark.parametrize("service", ["s3", "vpc-lattice-svcs"])
async def test_streams_go_unsigned_where_the_service_takes_that(
    service: str, judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), service)
    await client.put(f"{judge.url}/x", content=stream())
    assert judge.wrong == []
    assert judge.arrived[0].body == BODY + b"more"
    assert judge.arrived[0].header("X-Amz-Content-SHA256") == "UNSIGNED-PAYLOAD"


class Endless(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A stream of somebody else's."""

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("must not be read")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""


async def test_a_stream_is_an_error_elsewhere_with_a_remedy(
    judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), "es")
    for content in (stream(), Endless()):
        with pytest.raises(InvalidConfiguration, match=r"es wants the body signed.*pass bytes"):
            await client.put(f"{judge.url}/x", content=content)
    with pytest.raises(InvalidConfiguration, match="es wants the body signed"):
        await client.send(httpx.Request("PUT", judge.url, headers={"Content-Length": "9"}, stream=Endless()))
    assert not judge.arrived


async def test_a_stated_hash_serves_for_a_stream(
    judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    client = await client_of(Source(credentials), "es")
    stated = {"X-Amz-Content-SHA256": sha256(BODY + b"more").hexdigest()}
    await client.put(f"{judge.url}/x", content=stream(), headers=stated)
    assert judge.wrong == []


# Expired


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_an_expired_answer_is_retried_once_with_others(refusal: Refusal, client_of: ClientOf) -> None:
    for code in EXPIRED:
        first, second = issue(), issue()
        source = Source(first, second)
        async with Judge(first, second) as judge:
            judge.expired.add(first.access_key_id)
            judge.refuse = partial(refusal, code)
            client = await client_of(source, "es", limits=httpx.Limits(max_connections=1))
            answer = await client.post(f"{judge.url}/a?b=c", content=BODY)
            assert answer.status_code == 200
            assert [before.status_code for before in answer.history] == [judge.refuse().status]
            assert judge.signers == [first.access_key_id, second.access_key_id]
            assert [arrived.body for arrived in judge.arrived] == [BODY, BODY]
            assert judge.wrong == []
        assert source.calls == 2


async def test_twice_expired_is_handed_on(judge: Judge, client_of: ClientOf) -> None:
    judge.answers["/x"] = lambda: xml("ExpiredToken")
    client = await client_of(Source(), "s3")
    answer = await client.get(f"{judge.url}/x")
    assert (answer.status_code, "ExpiredToken" in answer.text) == (400, True)
    assert len(judge.arrived) == len(set(judge.signers)) == 2


async def test_files_are_sent_again(client_of: ClientOf, file: Any) -> None:
    for files in ({"f": file}, {"f": io.BytesIO(BODY * 5000)}):
        first, second = issue(), issue()
        async with Judge(first, second) as judge:
            judge.expired.add(first.access_key_id)
            client = await client_of(Source(first, second), "s3")
            answer = await client.put(f"{judge.url}/x", files=files)
            assert (answer.status_code, judge.wrong) == (200, [])
            assert len(judge.arrived) == 2
            assert judge.arrived[0].body == judge.arrived[1].body
            assert BODY * 5000 in judge.arrived[0].body


async def test_a_stream_is_not_sent_again_but_its_keys_are_invalidated(client_of: ClientOf) -> None:
    first, second = issue(), issue()
    source = Source(first, second)
    async with Judge(first, second) as judge:
        judge.expired.add(first.access_key_id)
        client = await client_of(source, "s3")
        answer = await client.put(f"{judge.url}/x", content=stream())
        assert (answer.status_code, "ExpiredToken" in answer.text) == (400, True)
        assert source.calls == 1
        assert (await client.put(f"{judge.url}/x", content=b"next")).status_code == 200
        assert judge.signers == [first.access_key_id, second.access_key_id]


async def test_the_same_keys_are_not_tried_again(client_of: ClientOf) -> None:
    only = issue()
    source = Source(usual=lambda: only)
    async with Judge(only) as judge:
        judge.expired.add(only.access_key_id)
        client = await client_of(source, "es")
        assert "ExpiredToken" in (await client.get(f"{judge.url}/x")).text
        assert len(judge.arrived) == 1
    assert source.calls == 2


async def test_a_late_refusal_of_old_keys_invalidates_no_others() -> None:
    first, second = issue(), issue()
    source = Source(first, second)
    provider = source.provider()
    auth = SigV4Auth(provider, service="es", region=REGION)
    async with Judge(first, second) as judge:
        arrived, gate = asyncio.Event(), asyncio.Event()

        async def refuse() -> web.Response:
            del judge.answers["/x"]
            arrived.set()
            await gate.wait()
            return xml("ExpiredToken")

        judge.answers["/x"] = refuse
        async with httpx.AsyncClient(auth=auth, trust_env=False, verify=NO_TLS) as client:
            late = asyncio.create_task(client.get(f"{judge.url}/x"))
            await arrived.wait()
            provider.invalidate(first)
            assert await provider() is second
            gate.set()
            assert (await late).status_code == 200
        assert judge.signers == [first.access_key_id, second.access_key_id]
    assert source.calls == 2


async def test_a_source_that_fails_then_is_the_error(client_of: ClientOf) -> None:
    with time_machine.travel(START, tick=True) as clock:
        only = issue(3600)
        source = Source(only, usual=lambda: SourceUnavailable("down"))
        async with Judge(only) as judge:

            def refuse() -> web.Response:
                clock.shift(7200)  # now they have expired here too
                return xml("ExpiredToken")

            judge.answers["/x"] = refuse
            client = await client_of(source, "es", limits=httpx.Limits(max_connections=1))
            with pytest.raises(SourceUnavailable, match="down"):
                await client.get(f"{judge.url}/x")
            judge.answers["/x"] = web.Response
            async with asyncio.timeout(5):  # the connection is free
                assert (await client.get(f"{judge.url}/x", auth=None)).status_code == 200


@pytest.mark.parametrize("status", [200, 404, 409, 500, 503])
async def test_other_statuses_are_not_looked_into(status: int, judge: Judge, client_of: ClientOf) -> None:
    source = Source()
    judge.answers["/x"] = lambda: xml("ExpiredToken", status)
    client = await client_of(source, "s3")
    async with client.stream("GET", f"{judge.url}/x") as answer:
        assert (answer.status_code, answer.is_stream_consumed) == (status, False)
        assert b"ExpiredToken" in b"".join([piece async for piece in answer.aiter_raw()])
    assert len(judge.arrived) == source.calls == 1


@pytest.mark.parametrize("size", [0, 100, 2**16 - 1, 2**16, 2**16 + 1, 1_000_000])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_refusal_can_be_read_as_if_nobody_had(
    size: int, chunked: bool, judge: Judge, client_of: ClientOf
) -> None:
    body = bytes(index % 251 for index in range(size))

    def refuse() -> web.StreamResponse:
        answer = web.Response(status=403, body=body, content_type="application/octet-stream")
        if chunked:
            answer.enable_chunked_encoding()
        return answer

    judge.answers["/x"] = refuse
    client = await client_of(Source(), "es", limits=httpx.Limits(max_connections=1))
    assert (await client.get(f"{judge.url}/x")).content == body
    async with client.stream("GET", f"{judge.url}/x") as answer:
        assert b"".join([piece async for piece in answer.aiter_raw()]) == body
    async with client.stream("GET", f"{judge.url}/x"):
        pass  # unread
    async with asyncio.timeout(5):
        assert (await client.get(f"{judge.url}/y")).status_code == 403
    assert len(judge.arrived) == 4


async def test_a_packed_refusal_is_understood(client_of: ClientOf) -> None:
    first, second = issue(), issue()

    def refuse() -> web.Response:
        answer = xml("ExpiredToken")
        answer.enable_compression(web.ContentCoding.gzip)
        return answer

    async with Judge(first, second) as judge:
        judge.expired.add(first.access_key_id)
        judge.refuse = refuse
        client = await client_of(Source(first, second), "es")
        assert (await client.get(f"{judge.url}/x")).status_code == 200


async def test_a_refusal_that_lies_about_its_packing_is_handed_on(judge: Judge, client_of: ClientOf) -> None:
    judge.answers["/x"] = lambda: web.Response(
        status=403, headers={"Content-Encoding": "gzip"}, body=b"<Code>ExpiredToken</Code>"
    )
    client = await client_of(Source(), "es")
    async with client.stream("GET", f"{judge.url}/x") as answer:
        assert answer.status_code == 403
    assert len(judge.arrived) == 1


@pytest.mark.parametrize("keep", [True, False])
async def test_a_hook_that_reads_the_answer_is_no_trouble(keep: bool, client_of: ClientOf) -> None:
    async def hook(answer: httpx.Response) -> None:
        if keep:
            await answer.aread()
        else:
            async for _ in answer.aiter_raw():
                pass

    first, second = issue(), issue()
    async with Judge(first, second) as judge:
        judge.expired.add(first.access_key_id)
        client = await client_of(Source(first, second), "es", event_hooks={"response": [hook]})
        async with client.stream("GET", f"{judge.url}/x") as answer:
            assert answer.status_code == (200 if keep else 400)


async def test_a_head_cannot_tell(judge: Judge, client_of: ClientOf) -> None:
    source = Source()
    judge.answers["/x"] = lambda: xml("ExpiredToken")
    client = await client_of(source, "s3")
    assert (await client.head(f"{judge.url}/x")).status_code == 400
    assert len(judge.arrived) == source.calls == 1


async def test_no_request_fails_while_fifty_tasks_see_three_rotations(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.QUICK_REJECTION", 0.0)  # as if there was a minute between them
    keys = [issue() for _ in range(4)]
    source = Source(*keys)
    async with Judge(*keys) as judge:
        client = await client_of(source, "s3", timeout=30)

        async def call(number: int) -> int:
            return (await client.put(f"{judge.url}/{number}", content=BODY)).status_code

        assert await crowd(call, judge, keys) == {200}
        assert judge.wrong == []
        assert set(judge.signers) == {key.access_key_id for key in keys}
    assert source.calls == 4


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_carries_no_signature(
    status: int, judge: Judge, credentials: Credentials, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    async with Judge() as other:
        judge.answers["/x"] = redirect(f"{other.url}/y", status)
        client = await client_of(Source(credentials), "es", follow_redirects=True)
        answer = await client.put(f"{judge.url}/x", content=BODY)
        assert answer.status_code == 403
        [arrived] = other.arrived
        assert arrived.header("Authorization") is arrived.header("X-Amz-Security-Token") is None
    assert caplog.text.count("not signed") == 1
    assert (await client.put(f"{judge.url}/y", content=BODY)).status_code == 200


async def test_nor_does_the_next_request_of_a_redirect_that_is_not_followed(
    judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    async with Judge(credentials) as other:
        judge.answers["/x"] = redirect(f"{other.url}/y")
        client = await client_of(Source(credentials), "es")
        answer = await client.put(f"{judge.url}/x", content=BODY)
        assert answer.next_request is not None
        assert not {"authorization", "x-amz-security-token"} & {
            name.lower() for name in answer.next_request.headers
        }
        assert (await client.send(answer.next_request)).status_code == 200  # signed, as the program says so


async def test_a_trace_of_the_caller_goes_on(judge: Judge, credentials: Credentials, client_of: ClientOf) -> None:
    events: list[str] = []

    async def trace(event: str, info: Any) -> None:
        events.append(event)

    client = await client_of(Source(credentials), "es")
    await client.get(f"{judge.url}/x", extensions={"trace": trace})
    assert judge.wrong == []
    assert "http11.send_request_headers.complete" in events


# Signing in the URL


@pytest.mark.parametrize("service", ["es", "s3"])
async def test_a_signed_url_is_left_alone(service: str, judge: Judge, client_of: ClientOf) -> None:
    source = Source()
    judge.answers["/x"] = web.Response
    client = await client_of(source, service)
    await client.get(f"{judge.url}/x?X-Amz-Signature=abc&a=b")
    assert judge.arrived[0].header("Authorization") is None
    assert source.calls == 0


async def test_a_presigned_url_outlives_its_promise() -> None:
    short, long = issue(600), issue(7200)
    source = Source(short, long)
    auth = SigV4Auth(source.provider(), service="s3", region=REGION)
    soon = httpx.URL(await auth.presign("GET", "https://b.s3.amazonaws.com/k", expires_in=300))
    assert soon.params["X-Amz-Credential"].startswith(short.access_key_id)
    later = httpx.URL(await auth.presign("GET", "https://b.s3.amazonaws.com/k", expires_in=timedelta(hours=1)))
    assert later.params["X-Amz-Credential"].startswith(long.access_key_id)
    assert source.calls == 2


# moto's S3


async def test_s3_of_moto(moto: str, client_of: ClientOf) -> None:
    source = Source()
    client = await client_of(source, "s3", base_url=moto)
    body = (
        f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
    )
    assert (await client.put("/httpx-bucket", content=body)).status_code == 200
    key = "year=2026/a b+ü.txt"
    assert (await client.put(f"/httpx-bucket/{quote_all(key)}", content=BODY)).status_code == 200
    listing = await client.get("/httpx-bucket", params={"list-type": "2", "prefix": "year=2026/a b+"})
    assert f"<Key>{key}</Key>" in listing.text
    assert (await client.get(f"/httpx-bucket/{key}")).content == BODY
    auth = SigV4Auth(source.provider(), service="s3", region=REGION)
    async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as nobody:
        url = await auth.presign("PUT", f"{moto}/httpx-bucket/new one", expires_in=60)
        assert (await nobody.put(url, content=b"presigned")).status_code == 200
        url = await auth.presign("GET", f"{moto}/httpx-bucket/new one", expires_in=60)
        assert (await nobody.get(url)).content == b"presigned"


# Failures


def test_a_client_that_does_not_await_is_told_which_one_does() -> None:
    auth = SigV4Auth(Source().provider(), service="es", region=REGION)
    with httpx.Client(auth=auth, verify=NO_TLS) as client, pytest.raises(RuntimeError, match=r"httpx\.AsyncClient"):
        client.get("http://127.0.0.1:1/")


async def test_an_error_of_the_provider_reaches_the_caller(judge: Judge, client_of: ClientOf) -> None:
    client = await client_of(Source(InvalidConfiguration("the profile is wrong")), "es")
    with pytest.raises(InvalidConfiguration, match="the profile is wrong"):
        await client.get(f"{judge.url}/")
    assert not judge.arrived
    await client.get(f"{judge.url}/")
    assert len(judge.arrived) == 1


async def test_a_cancelled_request_leaves_nothing_behind(judge: Judge, client_of: ClientOf) -> None:
    source = Source()
    source.gate = asyncio.Event()
    client = await client_of(source, "es")
    running = others()
    request = asyncio.create_task(client.get(f"{judge.url}/x"))
    await settle()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await settle()
    assert others() <= running
    source.gate.set()
    assert (await client.get(f"{judge.url}/x")).status_code == 403


async def test_a_retry_that_is_cancelled_gives_its_connection_back(
    judge: Judge, credentials: Credentials, client_of: ClientOf
) -> None:
    source = Source(credentials)
    client = await client_of(source, "es", limits=httpx.Limits(max_connections=1))
    assert (await client.get(f"{judge.url}/")).status_code == 200
    source.gate = asyncio.Event()
    judge.answers["/x"] = lambda: long_xml("ExpiredToken")
    request = asyncio.create_task(client.get(f"{judge.url}/x"))
    while source.calls < 2:  # noqa: ASYNC110 - the source has no event for it
        await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    source.gate.set()
    async with asyncio.timeout(5):
        assert (await client.get(f"{judge.url}/y", auth=None)).status_code == 403


@pytest.mark.parametrize("field", ["access_key_id", "session_token"])
async def test_keys_that_no_header_may_hold_are_an_error_that_shows_none(
    field: str, judge: Judge, client_of: ClientOf
) -> None:
    odd = Credentials(
        "AKIAODD0000000001" + "\nX-Evil: yes" * (field == "access_key_id"),
        secret(),
        secret("token") + "\nX-Evil: yes" * (field == "session_token"),
    )
    client = await client_of(Source(odd), "es")
    with pytest.raises(InvalidConfiguration, match="holds a line break") as caught:
        await client.get(f"{judge.url}/")
    assert MARK not in str(caught.value)
    assert not judge.arrived


async def test_no_log_and_no_repr_shows_a_secret(
    judge: Judge, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "aiocreds"), caplog.at_level(logging.INFO):
        judge.answers["/x"] = lambda: xml("ExpiredToken")
        client = await client_of(Source(), "s3")
        answer = await client.get(f"{judge.url}/x")
    shown = [repr(answer), repr(answer.request), repr(client.auth), caplog.text]
    assert not [text for text in shown if MARK in text]


def test_without_httpx_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "aiocreds.integrations.httpx")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'aiocreds\[httpx\]'"):
        importlib.import_module("aiocreds.integrations.httpx")
