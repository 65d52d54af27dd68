"""AsyncOpenSearch against a server that checks signatures with botocore's signer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from aiocreds import CredentialsNotFound, InvalidConfiguration
from tests.helpers.scripted import Source, issue
from tests.helpers.secret_leaks import secret
from tests.helpers.sigv4_server import REGION, Judge, crowd, message_only

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds import Credentials

opensearchpy: Any = pytest.importorskip("opensearchpy")

from aiocreds.integrations.opensearch import opensearch_connection  # noqa: E402 - it wants opensearch-py

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:enable_cleanup_closed ignored:DeprecationWarning"),  # opensearch-py's own
]


def client_of(judge: Judge, source: Source, service: str = "es", **options: Any) -> Any:
    connection = opensearch_connection(source.provider(), region=REGION, service=service)
    return opensearchpy.AsyncOpenSearch(hosts=[judge.url], connection_class=connection, **options)


def answering(document: object) -> Callable[[], web.Response]:
    return lambda: web.json_response(document)


def faults(judge: Judge) -> list[str]:
    """What is wrong with any request, also with those that have an answer of their own."""
    return [fault for arrived in judge.arrived for fault in judge.judge(arrived)]


@pytest.mark.parametrize("service", ["es", "aoss"])
@pytest.mark.parametrize("compressed", [False, True])
async def test_what_arrives_is_what_was_signed(
    service: str, compressed: bool, judge: Judge, credentials: Credentials
) -> None:
    documents = [{"index": {"_index": "books"}}, {"title": "Émile & co. " * 50}]
    async with client_of(judge, Source(credentials), service, http_compress=compressed, opaque_id="me") as client:
        await client.info()
        await client.indices.exists(index="books")
        await client.search(index="b ooks,ü*", body={"size": 1}, params={"preference": "x y+z*=&", "routing": "ü"})
        await client.bulk(body=documents)
        await client.index(index="books", id="a/b+c d", body={"title": "x"}, headers={"x-team": "  books   one "})
    assert faults(judge) == []
    assert len(judge.arrived) == 5
    assert {arrived.header("Content-Encoding") for arrived in judge.arrived if arrived.body} == (
        {"gzip"} if compressed else {None}
    )
    assert all(
        ("x-amz-content-sha256" in arrived.signed_headers) == (service == "aoss") for arrived in judge.arrived
    )


async def test_retries_are_signed_anew(judge: Judge, credentials: Credentials) -> None:
    busy = iter([503, 502])

    def answer() -> web.Response:
        status = next(busy, 200)
        return web.json_response({"hits": {}} if status == 200 else {}, status=status)

    judge.answers["/books/_search"] = answer
    async with client_of(judge, Source(credentials), http_compress=True) as client:
        assert await client.search(index="books", body={"size": 1}) == {"hits": {}}
    assert (len(judge.arrived), faults(judge)) == (3, [])


async def test_sniffing_and_what_it_finds_are_signed(judge: Judge, credentials: Credentials) -> None:
    async with Judge(credentials) as second:
        address = second.url.removeprefix("http://")
        judge.answers["/_nodes/_all/http"] = answering({"nodes": {"n": {"http": {"publish_address": address}}}})
        async with client_of(judge, Source(credentials), sniff_on_start=True) as client:
            await client.search(index="books", body={"size": 1})
        assert [arrived.raw_path for arrived in judge.arrived] == ["/_nodes/_all/http"]
        assert [arrived.raw_path for arrived in second.arrived] == ["/books/_search"]
        assert faults(judge) + faults(second) == []


async def test_scan_and_bulk_helpers(judge: Judge, credentials: Credentials) -> None:
    page = {"_scroll_id": "abc==", "_shards": {"successful": 1, "total": 1}}
    hits = iter([[{"_id": "1"}]])
    judge.answers["/books/_search"] = lambda: web.json_response({**page, "hits": {"hits": next(hits)}})
    judge.answers["/_search/scroll"] = lambda: web.json_response({**page, "hits": {"hits": []}})
    judge.answers["/_bulk"] = answering({"items": [{"index": {"status": 200}}]})
    async with client_of(judge, Source(credentials), http_compress=True) as client:
        found = [hit async for hit in opensearchpy.helpers.async_scan(client, index="books", query={})]
        done = await opensearchpy.helpers.async_bulk(client, [{"_index": "books", "title": "x"}])
    assert (found, done) == ([{"_id": "1"}], (1, []))
    assert {arrived.method for arrived in judge.arrived} == {"POST", "DELETE"}
    assert faults(judge) == []


async def test_expired_credentials_are_invalidated_and_the_call_made_once_more(judge: Judge) -> None:
    old, new = issue(), issue()
    judge.known = {credentials.access_key_id: credentials for credentials in (old, new)}
    judge.expired, judge.refuse = {old.access_key_id}, message_only
    source = Source(old, new)
    async with client_of(judge, source) as client:
        await client.bulk(body=[{"index": {"_index": "books"}}, {"title": "x"}])
    assert (judge.signers, source.calls) == ([old.access_key_id, new.access_key_id], 2)
    assert judge.arrived[0].body == judge.arrived[1].body


async def test_a_second_refusal_is_the_answer(judge: Judge) -> None:
    old, new = issue(), issue()
    judge.expired = {old.access_key_id, new.access_key_id}
    async with client_of(judge, Source(old, new)) as client:
        with pytest.raises(opensearchpy.RequestError, match="ExpiredToken"):
            await client.info()
    assert len(judge.arrived) == 2


async def test_fifty_tasks_through_three_rotations(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.QUICK_REJECTION", 0.0)  # as if there was a minute between them
    keys = [issue() for _ in range(4)]
    judge.known = {credentials.access_key_id: credentials for credentials in keys}
    judge.refuse = message_only
    source = Source(*keys)
    async with client_of(judge, source, maxsize=50, timeout=60) as client:

        async def call(number: int) -> int:
            await client.search(index=f"books-{number}", body={"from": number})
            return 200

        async with asyncio.timeout(120):
            assert await crowd(call, judge, keys) == {200}
    assert (source.calls, judge.wrong) == (4, [])


async def test_errors_of_credentials_come_out_as_they_are_at_the_first_attempt(judge: Judge) -> None:
    source = Source(usual=lambda: CredentialsNotFound("nothing here"))
    async with client_of(judge, source) as client:
        with pytest.raises(CredentialsNotFound, match="nothing here"):
            await client.info()
    assert (source.calls, judge.arrived) == (1, [])


async def test_other_errors_are_the_clients(credentials: Credentials) -> None:
    async with Judge(credentials) as judge:
        pass
    async with client_of(judge, Source(credentials), max_retries=0) as client:
        with pytest.raises(opensearchpy.exceptions.ConnectionError):
            await client.info()


@pytest.mark.parametrize("where", ["client", "host"])
async def test_a_password_is_refused(where: str, judge: Judge, credentials: Credentials) -> None:
    password = secret()
    options: dict[str, Any] = {"http_auth": ("me", password)} if where == "client" else {}
    if where == "host":
        judge.url = judge.url.replace("://", f"://me:{password}@")
    client = client_of(judge, Source(credentials), **options)
    with pytest.raises(InvalidConfiguration, match="http_auth"):
        await client.info()
    await client.close()


async def test_nothing_is_logged_of_what_signs(
    judge: Judge, credentials: Credentials, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with client_of(judge, Source(credentials)) as client:
        await client.search(index="books", body={"size": 1})
    assert "POST" in caplog.text
    assert credentials.secret_access_key not in caplog.text
    assert (credentials.session_token or "") not in caplog.text
    assert "Signature" not in caplog.text


async def test_a_client_without_asyncio_is_refused(judge: Judge, credentials: Credentials) -> None:
    connection = opensearch_connection(Source(credentials).provider(), region=REGION)
    with pytest.raises(InvalidConfiguration, match=r"is for clients with asyncio: make an .*AsyncOpenSearch"):
        opensearchpy.OpenSearch(hosts=[judge.url], connection_class=connection)
    with pytest.raises(InvalidConfiguration, match="is for clients with asyncio"):
        await asyncio.to_thread(opensearchpy.OpenSearch, hosts=[judge.url], connection_class=connection)
    assert judge.arrived == []
