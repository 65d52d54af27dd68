"""A thousand different roles, a hundred at a time, counted in CPU time of the client."""

from __future__ import annotations

import asyncio
import gc
import tempfile
from contextlib import AsyncExitStack
from time import process_time, time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioCredentials
from aiobotocore.session import get_session

from aiocreds import ClientConfig, Context, Credentials, Provider, from_temporary_credentials
from aiocreds._aws.sigv4 import sign
from tests.benchmarks import sts
from tests.benchmarks.report import Row, alternate_async, at_least, for_scale, median, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROLES = 1_000
AT_A_TIME = 100
ROUNDS = 9
FETCHERS = 10
REGION = "eu-central-1"
SESSION = "aiocreds-1234567890123"
KEY, SECRET = "AKIABENCHBENCHBENCH1", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
# What a signed request carries, so that the bare one is no smaller.
HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
    "User-Agent": "aiocreds",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/{REGION}/sts/aws4_request, "
    f"SignedHeaders=content-length;content-type;host;x-amz-date, Signature={'0' * 64}",
}


def rows() -> list[Row]:
    """Run this topic."""
    with sts.serving() as url, tempfile.TemporaryDirectory() as home:
        return asyncio.run(_rows(url, home))


async def _rows(url: str, home: str) -> list[Row]:
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(Context(environ={}, home=home))
        bare = await stack.enter_async_context(aiohttp.ClientSession())
        session = get_session()
        config = AioConfig(max_pool_connections=AT_A_TIME, connect_timeout=30, read_timeout=30)
        client = await stack.enter_async_context(
            session.create_client(
                "sts",
                region_name=REGION,
                endpoint_url=url,
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET,
                config=config,
            )
        )
        contenders = {
            "ours": _rate(_ours(url, context), ROLES),
            "alone": _rate(_ours(url, Context(environ={}, home=home), plain=True), ROLES),
            "bare": _rate(_bare(url, bare), ROLES),
            "signed": _rate(_bare(url, bare, signed=True), ROLES),
            "aiobotocore": _rate(_shared_client(client), ROLES),
            "fetchers": _rate(_fetcher(url, session), FETCHERS),
        }
        gc.collect()
        gc.freeze()  # the modules that the peers have loaded are nobody's to walk during a round
        measured = await alternate_async(contenders, ROUNDS)
        gc.unfreeze()
    show = {name: f"{median(measured, name):,.0f} /s CPU" for name in measured}
    what = f"{ROLES:,} roles, {AT_A_TIME} at a time, local STS"
    bare_posts = f"bare POSTs {show['bare']}"
    scale = [
        for_scale(name, show[key], bare_posts, ratios(measured, key, "bare"))
        for key, name in (("signed", "bare POSTs that are signed"), ("fetchers", "aiobotocore's own fetchers"))
    ]
    beside_bare, beside_client = (ratios(measured, "ours", peer) for peer in ("bare", "aiobotocore"))
    return [
        at_least(0.5, what, show["ours"], bare_posts, beside_bare, *scale),
        at_least(
            0.5,
            f"{what}, no context held, a coroutine function as source",
            show["alone"],
            bare_posts,
            ratios(measured, "alone", "bare"),
        ),
        at_least(
            3.0,
            f"{what}, against aiobotocore",
            show["ours"],
            f"one shared aiobotocore client {show['aiobotocore']}",
            beside_client,
        ),
    ]


def arn(number: int) -> str:
    """A role's name."""
    return f"arn:aws:iam::123456789012:role/bench-{number:05}"


async def plain_source() -> Credentials:
    """The caller's keys, shared by all roles."""
    return Credentials(KEY, SECRET, provider="bench")


def static_source() -> Provider:
    """The same as a provider."""
    return Provider(plain_source, name="static")


def _rate(take: Callable[[int], Awaitable[None]], count: int) -> Callable[[], Awaitable[float]]:
    """Roles a second of CPU time, all threads of this process together."""

    async def run() -> float:
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                await take(number)

        gc.collect()
        started = process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_A_TIME):
                tasks.create_task(worker())
        return count / (process_time() - started)

    return run


def _ours(url: str, context: Context, *, plain: bool = False) -> Callable[[int], Awaitable[None]]:
    """Roles whose source is a provider, or with ``plain`` a coroutine function."""
    source = plain_source if plain else static_source()
    client = ClientConfig(region=REGION, endpoint_url=url)

    async def take(number: int) -> None:
        await from_temporary_credentials(role_arn=arn(number), source=source, client=client, context=context)()

    return take


def _bare(url: str, session: aiohttp.ClientSession, *, signed: bool = False) -> Callable[[int], Awaitable[None]]:
    credentials = Credentials(KEY, SECRET)

    async def take(number: int) -> None:
        form = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": arn(number),
            "DurationSeconds": "3600",
            "RoleSessionName": SESSION,
        }
        body, headers = urlencode(form).encode(), HEADERS
        if signed:
            given = HEADERS.items()
            proof = sign("POST", url, given, body, credentials=credentials, region=REGION, service="sts", at=time())
            headers = {**HEADERS, **proof}
        async with session.post(url, data=body, headers=headers) as response:
            if response.status != 200 or b"<SessionToken>" not in await response.read():
                raise AssertionError(response.status)

    return take


def _shared_client(client: Any) -> Callable[[int], Awaitable[None]]:
    async def take(number: int) -> None:
        answer = await client.assume_role(RoleArn=arn(number), RoleSessionName=SESSION)
        answer["Credentials"]["SessionToken"]

    return take


def _fetcher(url: str, session: Any) -> Callable[[int], Awaitable[None]]:
    def create_client(name: str, **kwargs: Any) -> Any:
        return session.create_client(name, region_name=REGION, endpoint_url=url, **kwargs)

    async def take(number: int) -> None:
        fetcher = AioAssumeRoleCredentialFetcher(create_client, AioCredentials(KEY, SECRET), arn(number))
        await fetcher.fetch_credentials()

    return take
