"""SigV4Auth for aiohttp: real requests, judged by botocore's signers and by moto's S3."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import logging
import os
import random
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import time_machine
from aiohttp import FormData, web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from aiocreds import Context, Credentials, InvalidConfiguration, SourceUnavailable
from aiocreds.integrations.aiohttp import SigV4Auth
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
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

BODY = b"a body \x00\xff" * 10


@pytest.fixture
async def session_of() -> AsyncIterator[Callable[..., Any]]:
    """Open a session that signs for a service; it is closed in the end."""
    async with AsyncExitStack() as stack:

        async def session_of(source: Source, service: str = "es", *before: Any, **options: Any) -> Any:
            auth = SigV4Auth(source.provider(), service=service, region=REGION, context=Context(environ={}))
            return await stack.enter_async_context(aiohttp.ClientSession(middlewares=[*before, auth], **options))

        yield session_of


# What arrives is what was signed


@pytest.mark.parametrize("service", SERVICES)
async def test_every_method_and_service(
    service: str, judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    session = await session_of(Source(credentials), service)
    for method in METHODS:
        for body in (None, b"", BODY):
            async with session.request(method, f"{judge.url}/a", data=body) as answer:
                assert (answer.status, judge.wrong) == (200, []), method
    assert all("host" in arrived.signed_headers for arrived in judge.arrived)


@pytest.mark.parametrize("service", ["es", "s3"])
async def test_every_path_and_query(service: str, judge: Judge, credentials: Credentials, session_of: Any) -> None:
    session = await session_of(Source(credentials), service)
    for path, query in itertools.product(PATHS, QUERIES):
        for encoded in (False, True) if (path + query).isascii() and " " not in path + query else (False,):
            async with session.get(URL(judge.url + path + query, encoded=encoded)):
                assert judge.wrong == [], (path, query, encoded)


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
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, params=params, headers=headers, data=body, middlewares=[auth]),
    ):
        assert judge.arrived[-1].wrong == []
    assert [pair for pair in judge.arrived[-1].headers if pair in headers] == headers
    target = URL(judge.arrived[-1].raw_path, encoded=True)
    assert list(target.query.items()) == params
    assert judge.arrived[-1].body == (body or b"")


async def test_what_the_url_means_stays_the_same(judge: Judge, credentials: Credentials, session_of: Any) -> None:
    session = await session_of(Source(credentials), "s3")
    async with session.get(f"{judge.url}/a+b c", params={"blank": "x y", "plus": "x+y", "nothing": ""}) as answer:
        assert answer.url.query == {"blank": "x y", "plus": "x+y", "nothing": ""}
    assert judge.arrived[0].raw_path == "/a%2Bb%20c?blank=x%20y&plus=x%2By&nothing="


async def test_default_headers_cookies_and_middlewares_before_it_are_signed(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    async def team(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["X-Team"] = "blue"
        return await handler(request)

    session = await session_of(Source(credentials), "es", team, headers={"X-Default": "yes"}, cookies={"a": "b"})
    async with session.post(f"{judge.url}/"):
        assert judge.wrong == []
    assert {"x-team", "x-default", "cookie", "content-type"} <= set(judge.arrived[0].signed_headers)


async def test_an_authorization_of_another_kind_gives_way(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    session = await session_of(Source(credentials), "es", headers={"Authorization": "Basic YTpi"})
    async with session.get(f"{judge.url}/"):
        assert judge.wrong == []


async def test_keys_without_a_token_send_none(session_of: Any) -> None:
    credentials = Credentials("AKIALONGTERM00001", secret())
    async with Judge(credentials) as judge:
        session = await session_of(Source(credentials), "es")
        async with session.get(f"{judge.url}/", headers={"X-Amz-Security-Token": "of somebody else"}):
            assert judge.wrong == []


async def test_the_context_tells_the_time(judge: Judge) -> None:
    context = Context(environ={})
    auth = SigV4Auth(Source(issue(None)).provider(), service="es", region=REGION, context=context)
    with time_machine.travel(START, tick=False):
        context.clock.learn(240.0)
        async with aiohttp.ClientSession(middlewares=[auth]) as session, session.get(f"{judge.url}/"):
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
            or any("\n" in value for _, value in request.headers)
            or not target.isascii()
            or " " in target  # such a target goes on the wire encoded
            or (request.method == "POST" and "Content-Length" not in given)  # and such a request with a length
        ):
            continue
        rules = Rules(path_as_is=not context["normalize"], hash_stated=context["sign_body"])
        monkeypatch.setitem(RULES, "service", rules)
        keys = context["credentials"]
        held = Credentials(keys["access_key_id"], keys["secret_access_key"], keys.get("token"))
        auth = SigV4Auth(Source(held).provider(), service=context["service"], region=context["region"])
        session = aiohttp.ClientSession(middlewares=[auth], skip_auto_headers={"Content-Type"} - given)
        with time_machine.travel(context["timestamp"], tick=False):
            async with (
                session,
                session.request(
                    request.method,
                    URL(judge.url + path, encoded=path.isascii()),
                    headers=request.headers,
                    data=request.body or None,
                ),
            ):
                pass
        authorization = dict(parsed(case["signed_request"]).headers)["Authorization"]
        assert judge.arrived[-1].header("Authorization") == authorization, case["name"]
        sent += 1
    assert sent == 26


# Bodies


async def stream() -> AsyncIterator[bytes]:
    yield BODY
    yield b"more"


def multipart(file: Any) -> FormData:
    form = FormData()
    form.add_field("name", "wert ü")
    form.add_field("file", file, filename="a.bin", content_type="application/x-thing")
    return form


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "body.bin"
    path.write_bytes(b"skipped" + BODY * 5000)
    with path.open("rb") as opened:
        opened.seek(7)
        yield opened


@pytest.mark.parametrize("service", ["es", "s3", "aoss", "vpc-lattice-svcs"])
async def test_bodies_of_every_kind(
    service: str, judge: Judge, credentials: Credentials, session_of: Any, file: Any
) -> None:
    session = await session_of(Source(credentials), service)
    writer = aiohttp.MultipartWriter("mixed")
    writer.append(BODY)
    writer.append_json({"a": 1})
    bodies: list[tuple[dict[str, Any], bytes | None]] = [
        ({}, b""),
        ({"data": BODY}, BODY),
        ({"data": bytearray(BODY)}, BODY),
        ({"data": memoryview(BODY)}, BODY),
        ({"data": "text ü"}, "text ü".encode()),
        ({"json": {"a": "ü", "b": [1, None]}}, json.dumps({"a": "ü", "b": [1, None]}).encode()),
        ({"data": {"a": "1 2", "b": "ü&="}}, b"a=1+2&b=%C3%BC%26%3D"),
        ({"data": io.BytesIO(BODY)}, BODY),
        ({"data": io.StringIO("text")}, b"text"),
        ({"data": b"x" * 1_048_570, "chunked": True}, b"x" * 1_048_570),
        ({"data": multipart(BODY)}, None),
        ({"data": multipart(io.BytesIO(BODY))}, None),
        ({"data": writer}, None),
        ({"data": file}, BODY * 5000),
    ]
    for options, expected in bodies:
        async with session.put(f"{judge.url}/x", **options) as answer:
            assert (answer.status, judge.wrong) == (200, []), options
        assert expected is None or judge.arrived[-1].body == expected
    assert all(BODY in arrived.body for arrived in judge.arrived[-4:])


async def test_a_file_in_multipart_is_read_twice(
    judge: Judge, credentials: Credentials, session_of: Any, file: Any
) -> None:
    session = await session_of(Source(credentials), "es")
    async with session.post(f"{judge.url}/x", data=multipart(file)):
        assert judge.wrong == []
    assert BODY * 5000 in judge.arrived[0].body


async def test_a_text_file(judge: Judge, credentials: Credentials, session_of: Any, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("ü\n" * 99, encoding="utf-8")
    session = await session_of(Source(credentials), "es")
    with (tmp_path / "text").open(encoding="utf-8") as opened:
        async with session.post(f"{judge.url}/x", data=opened):
            assert judge.wrong == []
    assert judge.arrived[0].body == ("ü\n" * 99).encode()


@pytest.mark.parametrize("service", ["s3", "vpc-lattice-svcs"])
async def test_streams_go_unsigned_where_the_service_takes_that(
    service: str, judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    session = await session_of(Source(credentials), service)
    async with session.put(f"{judge.url}/x", data=stream()):
        pass
    async with session.put(f"{judge.url}/x", data=BODY, compress="deflate"):
        pass
    assert judge.wrong == []
    assert judge.arrived[0].body == BODY + b"more"
    assert [arrived.header("X-Amz-Content-SHA256") for arrived in judge.arrived] == ["UNSIGNED-PAYLOAD"] * 2


async def test_a_stream_is_an_error_elsewhere_with_a_remedy(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    session = await session_of(Source(credentials), "es")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe, os.fdopen(writer, "wb"):
        for options in (
            {"data": stream()},
            {"data": multipart(stream())},
            {"data": pipe},
            {"data": BODY, "compress": "deflate"},
        ):
            with pytest.raises(InvalidConfiguration, match=r"es wants the body signed.*pass bytes"):
                await session.put(f"{judge.url}/x", **options)
    assert not judge.arrived


async def test_a_stated_hash_serves_for_a_stream(judge: Judge, credentials: Credentials, session_of: Any) -> None:
    session = await session_of(Source(credentials), "es")
    stated = {"X-Amz-Content-SHA256": sha256(BODY + b"more").hexdigest()}
    async with session.put(f"{judge.url}/x", data=stream(), headers=stated):
        assert judge.wrong == []
    session = await session_of(Source(credentials), "s3")
    async with session.put(
        f"{judge.url}/x", data=BODY, headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    ) as answer:
        assert answer.status == 200
    assert judge.arrived[-1].header("X-Amz-Content-SHA256") == "UNSIGNED-PAYLOAD"


async def test_the_hash_of_what_is_at_hand_is_our_own_affair(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        async with await handler(request):
            await request.update_body(b"another body")
        return await handler(request)

    session = await session_of(Source(credentials), "s3", twice)
    async with session.put(f"{judge.url}/x", data=BODY) as answer:
        assert (answer.status, judge.wrong) == (200, [])
    assert [arrived.body for arrived in judge.arrived] == [BODY, b"another body"]


# Expired


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_an_expired_answer_is_retried_once_with_others(refusal: Refusal, session_of: Any) -> None:
    for code in EXPIRED:
        first, second = issue(), issue()
        source = Source(first, second)
        async with Judge(first, second) as judge:
            judge.expired.add(first.access_key_id)
            judge.refuse = partial(refusal, code)
            session = await session_of(source, "es", connector=aiohttp.TCPConnector(limit=1))
            async with session.post(f"{judge.url}/a?b=c", data=BODY) as answer:
                assert answer.status == 200
            assert judge.signers == [first.access_key_id, second.access_key_id]
            assert [arrived.body for arrived in judge.arrived] == [BODY, BODY]
            assert judge.wrong == []
        assert source.calls == 2


async def test_twice_expired_is_handed_on(judge: Judge, session_of: Any) -> None:
    source = Source()
    judge.refuse = lambda: xml("ExpiredToken")
    judge.answers["/x"] = judge.refuse
    session = await session_of(source, "s3")
    async with session.get(f"{judge.url}/x") as answer:
        assert (answer.status, "ExpiredToken" in await answer.text()) == (400, True)
    assert len(judge.arrived) == len(set(judge.signers)) == 2


@pytest.mark.parametrize("kind", ["file", "form of a file", "bytes io", "form of bytes io", "json", "packed"])
async def test_what_can_be_read_again_is_sent_again(kind: str, session_of: Any, file: Any) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "file": {"data": file},
        "form of a file": {"data": multipart(file)},
        "bytes io": {"data": io.BytesIO(BODY * 5000)},
        "form of bytes io": {"data": multipart(io.BytesIO(BODY * 5000))},
        "json": {"json": {"a": BODY.hex() * 500}},
        "packed": {"data": random.Random(7).randbytes(50_000), "compress": "gzip"},
    }
    first, second = issue(), issue()
    async with Judge(first, second) as judge:
        judge.expired.add(first.access_key_id)
        session = await session_of(Source(first, second), "s3")
        async with session.put(f"{judge.url}/x", **kinds[kind]) as answer:
            assert (answer.status, judge.wrong) == (200, [])
        assert len(judge.arrived) == 2
        assert judge.arrived[0].body == judge.arrived[1].body
        assert len(judge.arrived[0].body) >= 5000


async def test_a_stream_is_not_sent_again_but_its_keys_are_invalidated(session_of: Any) -> None:
    for data in (stream(), multipart(stream())):
        first, second = issue(), issue()
        source = Source(first, second)
        async with Judge(first, second) as judge:
            judge.expired.add(first.access_key_id)
            session = await session_of(source, "s3")
            async with session.put(f"{judge.url}/x", data=data) as answer:
                assert answer.status == 400
                assert b"ExpiredToken" in await answer.read()
            assert source.calls == 1
            async with session.put(f"{judge.url}/x", data=b"next") as answer:
                assert answer.status == 200
            assert judge.signers == [first.access_key_id, second.access_key_id]


async def test_the_same_keys_are_not_tried_again(session_of: Any) -> None:
    only = issue()
    source = Source(usual=lambda: only)
    async with Judge(only) as judge:
        judge.expired.add(only.access_key_id)
        session = await session_of(source, "es")
        async with session.get(f"{judge.url}/x") as answer:
            assert "ExpiredToken" in await answer.text()
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
        async with aiohttp.ClientSession(middlewares=[auth]) as session:
            late = asyncio.create_task(session.get(f"{judge.url}/x"))
            await arrived.wait()
            provider.invalidate(first)
            assert await provider() is second
            gate.set()
            assert (await late).status == 200
        assert judge.signers == [first.access_key_id, second.access_key_id]
    assert source.calls == 2


async def test_a_source_that_fails_then_is_the_error(session_of: Any) -> None:
    with time_machine.travel(START, tick=True) as clock:
        only = issue(3600)
        source = Source(only, usual=lambda: SourceUnavailable("down"))
        async with Judge(only) as judge:

            def refuse() -> web.Response:
                clock.shift(7200)  # now they have expired here too
                return xml("ExpiredToken")

            judge.answers["/x"] = refuse
            session = await session_of(source, "es", connector=aiohttp.TCPConnector(limit=1))
            with pytest.raises(SourceUnavailable, match="down"):
                await session.get(f"{judge.url}/x")
            judge.answers["/x"] = web.Response
            async with asyncio.timeout(5), session.get(f"{judge.url}/x", middlewares=()) as answer:
                assert answer.status == 200  # the connection is free


@pytest.mark.parametrize("status", [200, 404, 409, 500, 503])
async def test_other_statuses_are_not_looked_into(status: int, judge: Judge, session_of: Any) -> None:
    source = Source()
    judge.answers["/x"] = lambda: xml("ExpiredToken", status)
    session = await session_of(source, "s3")
    async with session.get(f"{judge.url}/x") as answer:
        assert answer.status == status
        assert b"ExpiredToken" in await answer.content.read()
    assert len(judge.arrived) == source.calls == 1


@pytest.mark.parametrize("size", [0, 100, 2**16 - 1, 2**16, 2**16 + 1, 1_000_000])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_refusal_can_be_read_as_if_nobody_had(
    size: int, chunked: bool, judge: Judge, session_of: Any
) -> None:
    body = bytes(index % 251 for index in range(size))

    def refuse() -> web.StreamResponse:
        answer = web.Response(status=403, body=body, content_type="application/octet-stream")
        if chunked:
            answer.enable_chunked_encoding()
        return answer

    judge.answers["/x"] = refuse
    session = await session_of(Source(), "es")
    async with session.get(f"{judge.url}/x") as answer:
        assert await answer.read() == body
        assert await answer.read() == body
    async with session.get(f"{judge.url}/x") as answer:
        assert b"".join([piece async for piece in answer.content.iter_chunked(1000)]) == body
    async with session.get(f"{judge.url}/x"):
        pass  # unread
    async with session.get(f"{judge.url}/y") as answer:
        assert answer.status == 403
        assert len(judge.arrived) == 4


async def test_a_packed_refusal_is_understood(session_of: Any) -> None:
    first, second = issue(), issue()

    def refuse() -> web.Response:
        answer = xml("ExpiredToken")
        answer.enable_compression(web.ContentCoding.gzip)
        return answer

    async with Judge(first, second) as judge:
        judge.expired.add(first.access_key_id)
        judge.refuse = refuse
        session = await session_of(Source(first, second), "es")
        async with session.get(f"{judge.url}/x") as answer:
            assert answer.status == 200


async def test_raise_for_status_sees_the_last_answer_only(session_of: Any) -> None:
    first, second = issue(), issue()
    async with Judge(first, second) as judge:
        judge.expired.add(first.access_key_id)
        session = await session_of(Source(first, second), "es", raise_for_status=True)
        async with session.get(f"{judge.url}/x") as answer:
            assert answer.status == 200


async def test_a_head_cannot_tell(judge: Judge, session_of: Any) -> None:
    source = Source()
    judge.answers["/x"] = lambda: xml("ExpiredToken")
    session = await session_of(source, "s3")
    async with session.head(f"{judge.url}/x") as answer:
        assert answer.status == 400
    assert len(judge.arrived) == source.calls == 1


async def test_no_request_fails_while_fifty_tasks_see_three_rotations(
    session_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.QUICK_REJECTION", 0.0)  # as if there was a minute between them
    keys = [issue() for _ in range(4)]
    source = Source(*keys)
    async with Judge(*keys) as judge:
        session = await session_of(source, "s3")

        async def call(number: int) -> int:
            async with session.put(f"{judge.url}/{number}", data=BODY) as answer:
                return int(answer.status)

        assert await crowd(call, judge, keys) == {200}
        assert judge.wrong == []
        assert set(judge.signers) == {key.access_key_id for key in keys}
    assert source.calls == 4


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_the_same_host_is_signed(
    status: int, judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    judge.answers["/x"] = redirect("/y?a=b", status)
    session = await session_of(Source(credentials), "es")
    async with session.put(f"{judge.url}/x", data=BODY) as answer:
        assert (answer.status, answer.url.path) == (200, "/y")
    assert judge.wrong == []


async def test_a_redirect_elsewhere_carries_nothing(
    judge: Judge, credentials: Credentials, session_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with Judge() as other:
        judge.answers["/x"] = redirect(f"{other.url}/y")
        other.answers["/y"] = redirect(f"{other.url}/z")  # and neither does the next, on that host
        other.answers["/z"] = redirect(f"{judge.url}/back")
        session = await session_of(Source(credentials), "es")
        async with session.put(f"{judge.url}/x", data=BODY) as answer:
            assert answer.status == 403
        assert judge.arrived[-1].raw_path == "/back"  # where others sent it is not signed either
        assert judge.arrived[-1].header("Authorization") is None
        assert [arrived.raw_path for arrived in other.arrived] == ["/y", "/z"]
        names = {name.lower() for arrived in other.arrived for name, _ in arrived.headers}
        assert not [name for name in names if name.startswith("x-amz") or name == "authorization"]
        assert caplog.text.count("not signed") == 3
        async with session.get(f"{judge.url}/fine") as answer:
            assert answer.status == 200
        other.known[credentials.access_key_id] = credentials
        async with session.get(f"{other.url}/asked-for") as answer:  # by the program itself
            assert answer.status == 200


async def test_a_redirect_that_nobody_follows_changes_nothing(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    async with Judge(credentials) as other:
        judge.answers["/x"] = redirect(f"{other.url}/y")
        session = await session_of(Source(credentials), "es")

        async def ask(url: str) -> int:
            async with session.get(url, allow_redirects=False) as answer:
                status: int = answer.status
                return status

        assert await ask(f"{judge.url}/x") == 307
        assert await asyncio.gather(*(ask(f"{other.url}/y") for _ in range(20))) == [200] * 20
        assert await ask(f"{other.url}/y") == 200
        judge.answers["/x"] = redirect("mailto:x")
        assert await ask(f"{judge.url}/x") == 307
        assert await ask(f"{other.url}/y") == 200


async def in_a_task(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await asyncio.shield(asyncio.ensure_future(handler(request)))


async def in_time(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    return await asyncio.wait_for(handler(request), 5)


async def with_another(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    answer = await handler(request)
    if answer.status == 307:
        async with request.session.get(request.url.with_path("/meanwhile")):
            pass
    return answer


@pytest.mark.parametrize("before", [[], [in_a_task], [in_time], [with_another]])
@pytest.mark.parametrize("query", ["", "?X-Amz-Signature=abc"])
async def test_a_redirect_elsewhere_carries_nothing_whatever_is_in_front(
    before: list[Any], query: str, judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    async with Judge() as other:
        hung_up: list[bool] = []

        def once_in_vain() -> web.Response:
            if not hung_up:
                hung_up.append(True)
                raise ConnectionResetError  # aiohttp's client tries such a request again by itself
            return web.Response()

        judge.answers["/x"] = redirect(f"{other.url}/y")
        judge.answers["/meanwhile"] = web.Response
        other.answers["/y"] = once_in_vain
        session = await session_of(Source(credentials), "es", *before)
        try:
            async with session.get(f"{judge.url}/x{query}"):
                pass
        except aiohttp.ClientError:
            pass  # it was not tried again
        assert other.arrived
        names = {name.lower() for arrived in other.arrived for name, _ in arrived.headers}
        assert not [name for name in names if name.startswith("x-amz") or name == "authorization"]


async def test_an_applications_own_tokens_are_its_own_affair(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    judge.answers["/x"] = lambda: web.json_response({"error": "InvalidToken"}, status=401)
    source = Source(credentials)
    session = await session_of(source, "execute-api")
    for _ in range(3):
        async with session.post(f"{judge.url}/x", data=BODY) as answer:
            assert answer.status == 401
    assert (len(judge.arrived), source.calls) == (3, 1)


async def test_a_refusal_that_is_cut_short_gives_its_connection_back(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    def refused() -> web.Response:
        return web.Response(status=403, body=slow(), headers={"Content-Type": "text/xml"})

    async def slow() -> AsyncIterator[bytes]:
        yield b"<Error>"
        await asyncio.sleep(60)

    judge.answers["/x"] = refused
    session = await session_of(Source(credentials), "es", connector=aiohttp.TCPConnector(limit=1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await session.get(f"{judge.url}/x")
    async with asyncio.timeout(5), session.get(f"{judge.url}/fine") as answer:
        assert answer.status == 200


# Signing in the URL


@pytest.mark.parametrize("service", ["es", "s3"])
async def test_a_signed_url_is_left_alone(service: str, judge: Judge, session_of: Any) -> None:
    source = Source()
    judge.answers["/x"] = lambda: web.Response()
    session = await session_of(source, service)
    async with session.get(f"{judge.url}/x?X-Amz-Signature=abc&a=b"):
        pass
    assert judge.arrived[0].header("Authorization") is None
    assert source.calls == 0


async def test_a_presigned_url_outlives_its_promise() -> None:
    short, long = issue(600), issue(7200)
    source = Source(short, long)
    auth = SigV4Auth(source.provider(), service="s3", region=REGION)
    soon = URL(await auth.presign("GET", "https://b.s3.amazonaws.com/k", expires_in=300))
    assert soon.query["X-Amz-Credential"].startswith(short.access_key_id)
    later = URL(await auth.presign("GET", "https://b.s3.amazonaws.com/k", expires_in=timedelta(hours=1)))
    assert later.query["X-Amz-Credential"].startswith(long.access_key_id)
    assert later.query["X-Amz-Expires"] == "3600"
    assert source.calls == 2


@pytest.mark.parametrize("expires_in", [0, -1, 0.5, 604_801, timedelta(days=8), float("inf"), float("nan"), "soon"])
async def test_how_long_a_url_may_live(expires_in: Any) -> None:
    source = Source()
    auth = SigV4Auth(source.provider(), service="s3", region=REGION)
    with pytest.raises(ValueError, match="expires_in must be"):
        await auth.presign("GET", "https://b.s3.amazonaws.com/k", expires_in=expires_in)
    assert source.calls == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"service": "", "region": REGION}, "service is empty.*pass service="),
        ({"service": "s3"}, "no region.*pass region=, or region_set="),
        ({"service": "s3", "region": REGION, "region_set": "*"}, "region and region_set are both given"),
    ],
)
def test_what_is_signed_has_to_be_given(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^SigV4Auth: {words}"):
        SigV4Auth(Source().provider(), **given)


# moto's S3


async def test_s3_of_moto(moto: str, session_of: Any) -> None:
    source = Source()
    session = await session_of(source, "s3")
    body = (
        f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
    )
    async with session.put(f"{moto}/aiohttp-bucket", data=body) as answer:
        assert answer.status == 200
    key = "year=2026/a b+ü.txt"
    async with session.put(f"{moto}/aiohttp-bucket/{quote_all(key)}", data=BODY) as answer:
        assert answer.status == 200
    async with session.get(
        f"{moto}/aiohttp-bucket", params={"list-type": "2", "prefix": "year=2026/a b+"}
    ) as answer:
        assert f"<Key>{key}</Key>" in await answer.text()
    async with session.get(f"{moto}/aiohttp-bucket/{key}") as answer:
        assert await answer.read() == BODY
    auth = SigV4Auth(source.provider(), service="s3", region=REGION)
    async with aiohttp.ClientSession() as nobody:
        url = await auth.presign("PUT", f"{moto}/aiohttp-bucket/new one", expires_in=60)
        async with nobody.put(URL(url, encoded=True), data=b"presigned") as answer:
            assert answer.status == 200
        url = await auth.presign("GET", f"{moto}/aiohttp-bucket/new one", expires_in=60)
        async with nobody.get(URL(url, encoded=True)) as answer:
            assert await answer.read() == b"presigned"


# Failures


async def test_an_error_of_the_provider_reaches_the_caller(judge: Judge, session_of: Any) -> None:
    session = await session_of(Source(InvalidConfiguration("the profile is wrong")), "es")
    with pytest.raises(InvalidConfiguration, match="the profile is wrong"):
        await session.get(f"{judge.url}/")
    assert not judge.arrived
    async with session.get(f"{judge.url}/"):
        assert len(judge.arrived) == 1


async def test_a_cancelled_request_leaves_nothing_behind(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    source = Source(credentials)
    source.gate = asyncio.Event()
    session = await session_of(source, "es")
    running = others()
    request = asyncio.create_task(session.get(f"{judge.url}/x"))
    await settle()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await settle()
    assert others() <= running
    source.gate.set()
    async with session.get(f"{judge.url}/x") as answer:
        assert answer.status in (200, 403)


async def test_a_retry_that_is_cancelled_gives_its_connection_back(
    judge: Judge, credentials: Credentials, session_of: Any
) -> None:
    source = Source(credentials)
    session = await session_of(source, "es", connector=aiohttp.TCPConnector(limit=1))
    async with session.get(f"{judge.url}/") as answer:
        assert answer.status == 200
    source.gate = asyncio.Event()
    judge.answers["/x"] = lambda: long_xml("ExpiredToken")
    request = asyncio.create_task(session.get(f"{judge.url}/x"))
    while source.calls < 2:  # noqa: ASYNC110 - the source has no event for it
        await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    source.gate.set()
    async with asyncio.timeout(5), session.get(f"{judge.url}/y", middlewares=()) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("field", ["access_key_id", "session_token"])
async def test_keys_that_no_header_may_hold_are_an_error_that_shows_none(
    field: str, judge: Judge, session_of: Any
) -> None:
    odd = Credentials(
        "AKIAODD0000000001" + "\nX-Evil: yes" * (field == "access_key_id"),
        secret(),
        secret("token") + "\nX-Evil: yes" * (field == "session_token"),
    )
    session = await session_of(Source(odd), "es")
    with pytest.raises(InvalidConfiguration, match="holds a line break") as caught:
        await session.get(f"{judge.url}/")
    assert MARK not in str(caught.value)
    assert not judge.arrived


async def test_no_log_and_no_repr_shows_a_secret(
    judge: Judge, session_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source()
    with caplog.at_level(logging.DEBUG):
        judge.answers["/x"] = lambda: xml("ExpiredToken")
        session = await session_of(source, "s3")
        async with session.get(f"{judge.url}/x"):
            pass
    auth = SigV4Auth(source.provider(), service="s3", region=REGION)
    assert repr(auth) == "<SigV4Auth for s3 in eu-central-1: <Provider source: nothing loaded>>"
    assert MARK not in caplog.text
