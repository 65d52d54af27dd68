"""attach() with whatever aiobotocore is installed, over each HTTP transport it has: `nox -s aiobotocore`.

Needs few packages beside aiobotocore, so that old versions can be installed with them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import aiobotocore
import pytest
import time_machine
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import ClientError

from aiocreds import Context, Credentials, InvalidConfiguration, Provider
from aiocreds.integrations.aiobotocore import attach
from tests.helpers.loopback_aws import Loopback, Seen, sts_error
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from aiohttp import web

ROLE = {"RoleArn": "arn:aws:iam::123456789012:role/app", "RoleSessionName": "range"}
TASKS = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning"),  # older botocore
    pytest.mark.filterwarnings("ignore:aiobotocore's httpx backend now prefers httpx2:DeprecationWarning"),
]


def transports() -> list[str]:
    """The HTTP clients that this aiobotocore can use."""
    found = ["aiohttp"]
    for name in ("httpx2", "httpx"):  # the order in which it looks for them
        try:
            __import__(name)
            __import__("aiobotocore.httpxsession")
        except ImportError:
            continue
        return [*found, name]
    return found


@pytest.fixture(params=transports())
def config(request: pytest.FixtureRequest) -> AioConfig:
    """One attempt a call, over this transport."""
    options: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "max_pool_connections": TASKS}
    if request.param != "aiohttp":
        from aiobotocore.httpxsession import HttpxSession

        options["http_session_cls"] = HttpxSession
    return AioConfig(**options)


class Strict(Loopback):
    """An STS that checks signatures, and refuses credentials that have expired."""

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, datetime] = {}
        self.numbers = itertools.count(1)

    async def source(self, lifetime: float = 3600.0) -> Credentials:
        """Credentials that it knows."""
        expiration = datetime.now(UTC) + timedelta(seconds=lifetime)
        credentials = Credentials(
            f"ASIARANGE{next(self.numbers):07}", secret(), secret("token"), expiration=expiration
        )
        self.secrets[credentials.access_key_id] = (credentials.secret_access_key, credentials.session_token)
        self.until[credentials.access_key_id] = expiration
        return credentials

    def provider(self, lifetime: float = 3600.0) -> Provider:
        async def source() -> Credentials:
            return await self.source(lifetime)

        return Provider(source, name="strict", context=Context(environ={}))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        # Over httpx the request target is the whole URL, and what is signed is its path.
        return await super()._handle(request.clone(rel_url=str(request.rel_url)))

    def _refuse(self, request: web.Request, seen: Seen) -> tuple[str, str] | None:
        until = self.until.get(seen.signed_by)
        if until is not None and datetime.now(UTC) >= until:
            return "ExpiredToken", "The security token included in the request is expired"
        return super()._refuse(request, seen)


@pytest.fixture
async def sts() -> AsyncIterator[Strict]:
    async with Strict() as strict:
        yield strict


Connect = Callable[..., Awaitable[Any]]


@pytest.fixture
async def connect(sts: Strict, config: AioConfig) -> AsyncIterator[Connect]:
    """Make a client; it is closed in the end."""
    async with AsyncExitStack() as stack:

        async def connect(session: AioSession, service: str = "sts") -> Any:
            client = session.create_client(service, region_name="eu-central-1", endpoint_url=sts.url, config=config)
            return await stack.enter_async_context(client)

        yield connect


def test_this_is_the_version_that_was_asked_for() -> None:
    asked = os.environ.get("AIOCREDS_TEST_AIOBOTOCORE")
    if asked is None:
        pytest.skip("no version was asked for, as `nox -s aiobotocore` does")
    assert aiobotocore.__version__ == asked


async def test_requests_are_signed_as_the_service_expects(sts: Strict, connect: Connect) -> None:
    client = await connect(attach(get_session(), sts.provider()))
    for _ in range(3):
        answer = await client.assume_role(**ROLE)
        assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/app/range"
    assert [seen.signed_by for seen in sts.requests] == ["ASIARANGE0000001"] * 3


async def test_the_service_does_refuse_what_has_expired(sts: Strict, connect: Connect) -> None:
    short = await sts.source(0.0)

    async def source() -> Credentials:
        return Credentials(short.access_key_id, short.secret_access_key, short.session_token)  # as if it lived on

    client = await connect(attach(get_session(), Provider(source, name="old", context=Context(environ={}))))
    with pytest.raises(ClientError, match="ExpiredToken"):
        await client.assume_role(**ROLE)


async def test_a_long_lived_client_signs_with_what_is_current(sts: Strict, connect: Connect) -> None:
    with time_machine.travel(datetime.now(UTC), tick=True) as clock:
        client = await connect(attach(get_session(), sts.provider()))
        for _ in range(4):
            await client.assume_role(**ROLE)
            await client.assume_role(**ROLE)
            clock.shift(2 * 3600.0)  # past the expiry: the service would refuse them
    assert [int(seen.signed_by[-7:]) for seen in sts.requests] == [1, 1, 2, 2, 3, 3, 4, 4]


async def test_what_is_rejected_is_fetched_anew(
    sts: Strict, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.QUICK_REJECTION", 0.0)  # as if there was a minute between them
    provider = sts.provider()
    client = await connect(attach(get_session(), provider))
    for code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken", "AccessDenied"):
        sts.script("/", sts_error(code))
        with pytest.raises(ClientError, match=f"\\({code}\\)"):
            await client.assume_role(**ROLE)
    await client.assume_role(**ROLE)
    signed = [int(seen.signed_by[-7:]) for seen in sts.requests]
    assert signed == [1, 2, 3, 4, 5, 5]


async def test_tasks_keep_calling_while_credentials_rotate(sts: Strict, connect: Connect) -> None:
    # Rotated well before the service refuses them: under httpx, a signed request may wait for seconds to be sent.
    provider = sts.provider(lifetime=10.0).expire_after(3.0)
    client = await connect(attach(get_session(), provider))
    calls = 0

    async def caller() -> None:
        nonlocal calls
        while len(sts.until) <= 3:
            await client.assume_role(**ROLE)
            calls += 1
        await client.assume_role(**ROLE)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for _ in range(TASKS):
            tasks.create_task(caller())
    assert calls >= TASKS
    assert {seen.signed_by for seen in sts.requests} >= set(itertools.islice(sts.until, 4))
    assert provider.status.failures == 0


async def test_presigned_urls_are_signed_with_what_is_held(sts: Strict, connect: Connect) -> None:
    provider = sts.provider()
    s3 = await connect(attach(get_session(), provider), "s3")
    held = await provider()
    url: str = await s3.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}, ExpiresIn=60)
    query = parse_qs(urlsplit(url).query)
    key = (
        query["X-Amz-Credential"][0].partition("/")[0]
        if "X-Amz-Credential" in query
        else query["AWSAccessKeyId"][0]
    )
    assert key == held.access_key_id
    assert (query.get("X-Amz-Security-Token") or query["x-amz-security-token"]) == [held.session_token]


async def test_an_error_of_the_provider_reaches_the_caller_as_it_is(sts: Strict, connect: Connect) -> None:
    async def source() -> Credentials:
        raise InvalidConfiguration("the profile is wrong")

    client = await connect(attach(get_session(), Provider(source, name="wrong", context=Context(environ={}))))
    with pytest.raises(InvalidConfiguration, match="wrong: the profile is wrong"):
        await client.assume_role(**ROLE)
    assert not sts.requests


async def test_who_asks_the_session_gets_what_is_current(sts: Strict) -> None:
    provider = sts.provider()
    session: Any = attach(get_session(), provider)
    credentials = await session.get_credentials()
    frozen = await credentials.get_frozen_credentials()
    held = await provider()
    assert (frozen.access_key, frozen.secret_key, frozen.token) == (
        held.access_key_id,
        held.secret_access_key,
        held.session_token,
    )
