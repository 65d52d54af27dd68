"""Requests to directory buckets: a server that hands out sessions and checks signatures with botocore's signers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import botocore.auth
import httpx
import pytest
import time_machine
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from botocore.auth import S3ExpressAuth, S3ExpressQueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from aiocreds import Context, Credentials, CredentialsError, ServiceRefused, SourceUnavailable
from aiocreds.integrations.aiohttp import SigV4Auth
from aiocreds.integrations.httpx import SigV4Auth as HttpxSigV4Auth
from tests.helpers.scripted import Source, issue
from tests.helpers.sigv4_server import REGION, Arrived, Judge, body_faults, xml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.slow

CLIENTS = ["aiohttp", "httpx"]
ZONE = f"s3express-euc1-az1.{REGION}.amazonaws.com"
BUCKET, OTHER = f"books--euc1-az1--x-s3.{ZONE}", f"films--euc1-az1--x-s3.{ZONE}"
CONTROL = f"s3express-control.{REGION}.amazonaws.com"


class Zone(Judge):
    """The endpoints of a zone.

    Attributes:
        sessions: those that it made, in order.
        refusals: what it answers to the next requests for a session.
        clock: how far its clock is ahead of this machine's.
    """

    def __init__(self, *known: Credentials) -> None:
        super().__init__(*known)
        self.sessions: list[Credentials] = []
        self.refusals: list[web.Response] = []
        self.clock = timedelta()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.raw_path.startswith("/?session"):
            headers = [(name.decode(), value.decode()) for name, value in request.raw_headers]
            arrived = Arrived(request.method, request.raw_path, headers, await request.read())
            self.arrived.append(arrived)
            arrived.wrong = self.judge(arrived)
            if arrived.signed_by in self.expired:
                return xml("ExpiredToken", 400)
            if self.refusals:
                return self.refusals.pop(0)
            now = datetime.now(UTC) + self.clock
            date = {"Date": format_datetime(now, usegmt=True)}
            signed = datetime.strptime(arrived.header("X-Amz-Date") or "", "%Y%m%dT%H%M%S%z")
            if abs(signed - now) > timedelta(minutes=15):
                return web.Response(
                    status=403, text="<Error><Code>RequestTimeTooSkewed</Code></Error>", headers=date
                )
            self.sessions.append(session := issue(300 + self.clock.total_seconds()))
            self.known[session.access_key_id] = session
            return web.Response(text=answer(session), content_type="application/xml", headers=date)
        return await super()._handle(request)

    def judge(self, arrived: Arrived) -> list[str]:
        session = next((one for one in self.sessions if one.access_key_id == arrived.signed_by), None)
        if session is None:
            return super().judge(arrived)
        wrong = body_faults(arrived, "s3express")
        if arrived.header("X-Amz-Security-Token") or "x-amz-s3session-token" not in arrived.signed_headers:
            wrong.append("the session's token is not in its own header")
        url = f"http://{arrived.header('Host')}{arrived.raw_path}"
        request = AWSRequest(arrived.method, url, data=arrived.body)
        for name, value in arrived.headers:
            if name.lower() in arrived.signed_headers and not name.lower().startswith("x-amz-s3session"):
                request.headers.add_header(name, value)
        keys = BotocoreCredentials(session.access_key_id, session.secret_access_key, session.session_token)
        at = datetime.strptime(arrived.header("X-Amz-Date") or "", "%Y%m%dT%H%M%SZ")  # noqa: DTZ007 - as botocore's
        with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at):
            S3ExpressAuth(keys, "s3express", REGION, identity_cache=mock.Mock()).add_auth(request)
        if request.headers["Authorization"] != arrived.header("Authorization"):
            wrong.append("SignatureDoesNotMatch")
        return wrong

    @property
    def asked(self) -> list[Arrived]:
        return [arrived for arrived in self.arrived if arrived.raw_path.startswith("/?session")]


def answer(session: Credentials) -> str:
    assert session.expiration is not None
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials>
<SessionToken>{session.session_token}</SessionToken><SecretAccessKey>{session.secret_access_key}</SecretAccessKey>
<AccessKeyId>{session.access_key_id}</AccessKeyId>
<Expiration>{session.expiration.strftime("%Y-%m-%dT%H:%M:%SZ")}</Expiration>
</Credentials></CreateSessionResult>"""


class Loopback(AbstractResolver):
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class ToLoopback(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host="127.0.0.1")
        return await super().handle_async_request(request)


class Caller:
    """A client of either make that signs for directory buckets."""

    def __init__(self, zone: Zone, auth: Any, client: Any) -> None:
        self.port = urlsplit(zone.url).port
        self.auth = auth
        self.client = client

    async def __call__(self, method: str, host: str, path: str = "/k", **options: Any) -> int:
        url = f"http://{host}:{self.port}{path}"
        if isinstance(self.client, httpx.AsyncClient):
            options["content"] = options.pop("data", None)
            return (await self.client.request(method, url, **options)).status_code
        async with self.client.request(method, url, **options) as given:
            return int(given.status)


@pytest.fixture
async def caller_of() -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def caller_of(name: str, zone: Zone, source: Source, **options: Any) -> Caller:
            connector = aiohttp.TCPConnector(resolver=Loopback())
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            context = Context(environ={}, session=session)
            kind = SigV4Auth if name == "aiohttp" else HttpxSigV4Auth
            arguments: dict[str, Any] = {"service": "s3express", "region": REGION, "context": context} | options
            auth: Any = kind(source.provider(context), **arguments)
            client: Any = (
                aiohttp.ClientSession(connector=connector, connector_owner=False, middlewares=[auth])
                if name == "aiohttp"
                else httpx.AsyncClient(auth=auth, transport=ToLoopback())
            )
            return Caller(zone, auth, await stack.enter_async_context(client))

        yield caller_of


@pytest.fixture
def keys() -> Credentials:
    return issue()


@pytest.fixture
async def zone(keys: Credentials) -> AsyncIterator[Zone]:
    async with Zone(keys) as zone:
        yield zone


@pytest.mark.parametrize("client", CLIENTS)
async def test_one_session_signs_all_requests_to_a_bucket(
    client: str, zone: Zone, keys: Credentials, caller_of: Any
) -> None:
    call = await caller_of(client, zone, Source(keys))
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(call("PUT", BUCKET, f"/a b/{number}?x=y z", data=b"body"))
    assert await call("HEAD", BUCKET, "/") == 200
    assert zone.wrong == []
    assert len(zone.asked) == 1
    assert zone.asked[0].signed_by == keys.access_key_id
    assert zone.asked[0].header("x-amz-create-session-mode") is None
    assert set(zone.signers) == {keys.access_key_id, zone.sessions[0].access_key_id}


@pytest.mark.parametrize("client", CLIENTS)
async def test_each_bucket_has_a_session(client: str, zone: Zone, keys: Credentials, caller_of: Any) -> None:
    call = await caller_of(client, zone, Source(keys))
    for host in (BUCKET, OTHER, BUCKET, OTHER):
        assert await call("GET", host) == 200
    hosts = [(arrived.header("Host") or "").partition(":")[0] for arrived in zone.asked]
    assert hosts == [BUCKET, OTHER]
    assert zone.wrong == []


@pytest.mark.parametrize("client", CLIENTS)
async def test_ordinary_credentials_sign_what_takes_no_session(
    client: str, zone: Zone, keys: Credentials, caller_of: Any
) -> None:
    call = await caller_of(client, zone, Source(keys))
    assert await call("PUT", CONTROL, "/books--euc1-az1--x-s3") == 200
    assert await call("PUT", BUCKET, headers={"x-amz-copy-source": "/other/k"}) == 200
    assert (zone.asked, set(zone.signers), zone.wrong) == ([], {keys.access_key_id}, [])
    assert await call("GET", BUCKET, "/?session") == 200
    assert len(zone.asked) == 1


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("mode", ["ReadOnly", "ReadWrite"])
async def test_the_mode_of_a_session(client: str, mode: str, zone: Zone, keys: Credentials, caller_of: Any) -> None:
    call = await caller_of(client, zone, Source(keys), session_mode=mode)
    assert await call("GET", BUCKET) == 200
    assert zone.asked[0].header("x-amz-create-session-mode") == mode
    assert "x-amz-create-session-mode" in zone.asked[0].signed_headers


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_session_that_has_expired_is_replaced(
    client: str, zone: Zone, keys: Credentials, caller_of: Any
) -> None:
    call = await caller_of(client, zone, source := Source(keys))
    assert await call("PUT", BUCKET, data=b"x") == 200
    zone.expired.add(zone.sessions[0].access_key_id)
    assert await call("PUT", BUCKET, data=b"x") == 200
    assert (len(zone.sessions), source.calls, zone.wrong) == (2, 1, [])


@pytest.mark.parametrize("client", CLIENTS)
async def test_credentials_that_have_expired_are_replaced_before_a_session_is_made(
    client: str, caller_of: Any
) -> None:
    old, new = issue(), issue()
    async with Zone(old, new) as zone:
        zone.expired.add(old.access_key_id)
        call = await caller_of(client, zone, source := Source(old, new))
        assert await call("GET", BUCKET) == 200
        assert [arrived.signed_by for arrived in zone.asked] == [old.access_key_id, new.access_key_id]
    assert source.calls == 2


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "off", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=-1), timedelta(minutes=-9)]
)
async def test_a_clock_that_is_off_is_noticed_and_kept(
    client: str, off: timedelta, zone: Zone, keys: Credentials, caller_of: Any
) -> None:
    """Also where the service takes our signature, and its session looks expired."""
    zone.clock = off
    call = await caller_of(client, zone, Source(keys.__replace__(expiration=None)))
    for _ in range(2):
        assert await call("GET", BUCKET) == 200
    signed = [datetime.strptime(it.header("X-Amz-Date") or "", "%Y%m%dT%H%M%S%z") for it in zone.arrived]
    asked = 1 if off == timedelta(minutes=-9) else 2
    wrong = [fault for fault in zone.wrong if not fault.startswith("signed at")]  # by the clock of this machine
    assert (len(zone.asked), len(zone.sessions), wrong) == (asked, 1, [])
    assert all(abs(at - datetime.now(UTC) - off) < timedelta(minutes=1) for at in signed[asked:])


@pytest.mark.parametrize("client", CLIENTS)
async def test_other_credentials_have_another_session(client: str, caller_of: Any) -> None:
    old, new = issue(), issue()
    async with Zone(old, new) as zone:
        call = await caller_of(client, zone, Source(old, new))
        assert await call("GET", BUCKET) == 200
        call.auth._provider.invalidate(old)
        assert await call("GET", BUCKET) == 200
        assert [arrived.signed_by for arrived in zone.asked] == [old.access_key_id, new.access_key_id]


async def test_a_session_is_renewed_ahead_of_its_end_while_callers_go_on(
    zone: Zone, keys: Credentials, caller_of: Any
) -> None:
    call = await caller_of("aiohttp", zone, Source(keys))
    assert await call("GET", BUCKET) == 200
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=200)):  # half of its life is over
        assert await call("GET", BUCKET) == 200
        async with asyncio.timeout(30):
            while len(zone.sessions) < 2:  # noqa: ASYNC110 - of the server
                await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        assert zone.signers[-2:].count(zone.sessions[0].access_key_id) == 1
    assert zone.wrong == []


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("body", "status", "error", "words"),
    [
        ("<Error><Code>AccessDenied</Code></Error>", 403, ServiceRefused, "allow s3express:CreateSession"),
        ("<Error><Code>NoSuchBucket</Code></Error>", 404, ServiceRefused, "name of the bucket"),
        ("<Error><Code>RequestTimeTooSkewed</Code></Error>", 403, ServiceRefused, "set this machine's clock"),
        ("<html>", 200, SourceUnavailable, "without AccessKeyId"),
    ],
)
async def test_errors_are_typed(
    client: str,
    body: str,
    status: int,
    error: type[CredentialsError],
    words: str,
    zone: Zone,
    keys: Credentials,
    caller_of: Any,
) -> None:
    zone.refusals = [web.Response(status=status, text=body)]
    call = await caller_of(client, zone, Source(keys))
    with pytest.raises(error, match=words) as caught:
        await call("GET", BUCKET)
    assert caught.value.provider == "s3express"
    assert BUCKET in str(caught.value)


async def test_a_presigned_url_is_botocores(zone: Zone, keys: Credentials, caller_of: Any) -> None:
    call = await caller_of("aiohttp", zone, Source(keys))
    url = f"http://{BUCKET}:{call.port}/a%20b?x=1"
    signed: str = await call.auth.presign("GET", url, expires_in=60)
    ours = dict(parse_qsl(urlsplit(signed).query))
    session = zone.sessions[0]
    theirs = AWSRequest("GET", url)
    signer = S3ExpressQueryAuth(
        BotocoreCredentials(session.access_key_id, session.secret_access_key, session.session_token),
        "s3express",
        REGION,
        identity_cache=mock.Mock(),
        expires=60,
    )
    at = datetime.strptime(ours["X-Amz-Date"], "%Y%m%dT%H%M%SZ")  # noqa: DTZ007 - as botocore's
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at):
        signer.add_auth(theirs)
    assert ours == dict(parse_qsl(urlsplit(str(theirs.url)).query))


async def test_no_more_sessions_are_kept_than_botocore_keeps(
    zone: Zone, keys: Credentials, caller_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._aws.s3express.MOST", 2)
    call = await caller_of("aiohttp", zone, Source(keys))
    hosts = [f"b{number}--euc1-az1--x-s3.{ZONE}" for number in range(3)]
    for host in (hosts[0], hosts[1], hosts[0], hosts[2], hosts[0], hosts[1]):
        assert await call("GET", host) == 200
    asked = [(arrived.header("Host") or "").partition("-")[0] for arrived in zone.asked]
    assert asked == ["b0", "b1", "b2", "b1"]


def test_the_mode_is_for_sessions() -> None:
    with pytest.raises(ValueError, match="s3express"):
        SigV4Auth(Source().provider(), service="s3", region=REGION, session_mode="ReadOnly")
