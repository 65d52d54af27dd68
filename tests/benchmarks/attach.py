"""The cost to a client of signing with a provider, against the same client with static keys; and who waits."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import botocore.session
from aiobotocore.session import get_session

from aiocreds import Context, Credentials, Provider
from aiocreds.integrations import aiobotocore as for_aiobotocore
from aiocreds.integrations import boto3 as for_boto3
from tests.benchmarks import sts
from tests.benchmarks.report import Row, alternate, alternate_async, at_least, exactly, for_scale, median, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLS = 15  # a round: short ones, so that two neighbours see the same machine
ROUNDS = 300
CALLERS = 4
KEY, SECRET, TOKEN = "ASIABENCHBENCHBENCH1", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "t" * 700
ROLE = {"RoleArn": "arn:aws:iam::123456789012:role/bench", "RoleSessionName": "bench"}
KEYS = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_session_token": TOKEN}

SLOW = 0.5  # seconds the source takes
WAITED = SLOW / 2  # whoever took longer has waited for it
LIFETIME = 8.0  # seconds; by the rule the advisory window opens 3.2 to 4 s before the end, the mandatory one 2 s
OPEN = LIFETIME - 3.0


def rows() -> list[Row]:
    """Run this topic."""
    with sts.serving() as url:
        return [*asyncio.run(_async_rows(url)), *_sync_rows(url)]


async def _async_rows(url: str) -> list[Row]:
    async with AsyncExitStack() as stack:

        async def connect(session: Any, **keys: str) -> Any:
            return await stack.enter_async_context(_create(session, url, keys))

        contenders = {
            "ours": _rate(await connect(for_aiobotocore.attach(get_session(), _steady()))),
            "static": _rate(await connect(get_session(), **KEYS)),
        }
        with _Quiet():
            measured = await alternate_async(contenders, ROUNDS)
        show = {name: f"{median(measured, name):,.0f} /s CPU" for name in measured}
        source = Rotating()
        client = await connect(for_aiobotocore.attach(get_session(), source.provider))
        await client.assume_role(**ROLE)
        await asyncio.sleep(OPEN)
        longest = max(await asyncio.gather(*(_watch(lambda: client.assume_role(**ROLE)) for _ in range(CALLERS))))
    return [
        at_least(
            0.97,
            "signed aiobotocore requests, attached",
            show["ours"],
            f"with static keys {show['static']}",
            ratios(measured, "ours", "static"),
        ),
        source.row(longest, f"{CALLERS} tasks that keep calling"),
    ]


def _sync_rows(url: str) -> list[Row]:
    contenders = {
        "ours": _sync_rate(_create(for_boto3.attach(botocore.session.get_session(), _steady()), url, {})),
        "static": _sync_rate(_create(botocore.session.get_session(), url, KEYS)),
    }
    with _Quiet():
        measured = alternate(contenders, ROUNDS)
    show = {name: f"{median(measured, name):,.0f} /s CPU" for name in measured}
    source = Rotating()
    client = _create(for_boto3.attach(botocore.session.get_session(), source.provider), url, {})

    def call() -> Awaitable[Any]:
        return asyncio.to_thread(client.assume_role, **ROLE)

    async def watch() -> float:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(CALLERS))
        await call()
        await asyncio.sleep(OPEN)
        return max(await asyncio.gather(*(_watch(call) for _ in range(CALLERS))))

    longest = asyncio.run(watch())
    return [
        for_scale(
            "signed boto3 requests, attached",
            show["ours"],
            f"with static keys {show['static']}",
            ratios(measured, "ours", "static"),
        ),
        source.row(longest, f"{CALLERS} threads that keep calling boto3"),
    ]


class Rotating:
    """A source whose second answer takes a while."""

    def __init__(self) -> None:
        self.calls = 0
        self.provider = Provider(self._fetch, name="bench", context=Context(environ={}))

    async def _fetch(self) -> Credentials:
        self.calls += 1
        if self.calls > 1:
            await asyncio.sleep(SLOW)
        lifetime = timedelta(seconds=LIFETIME if self.calls == 1 else 3600)
        return Credentials(KEY, SECRET, TOKEN, expiration=datetime.now(UTC) + lifetime)

    def row(self, longest: float, who: str) -> Row:
        """Return whether the refresh happened, and nobody waited for it."""
        return exactly(
            f"{who} during a refresh of {SLOW:g} s",
            f"longest call {longest * 1e3:.0f} ms, {self.calls - 1} refresh",
            "",
            f"< {WAITED * 1e3:.0f} ms, 1",
            ok=longest < WAITED and self.calls == 2,
        )


def _steady() -> Provider:
    async def source() -> Credentials:
        return Credentials(KEY, SECRET, TOKEN, expiration=datetime.now(UTC) + timedelta(hours=6))

    return Provider(source, name="bench", context=Context(environ={}))


def _create(session: Any, url: str, keys: dict[str, str]) -> Any:
    return session.create_client("sts", region_name="eu-central-1", endpoint_url=url, **keys)


def _rate(client: Any) -> Callable[[], Awaitable[float]]:
    """Requests a second of CPU time of this process."""

    async def run() -> float:
        gc.collect()
        started = process_time()
        for _ in range(CALLS):
            await client.assume_role(**ROLE)
        return CALLS / (process_time() - started)

    return run


def _sync_rate(client: Any) -> Callable[[], float]:
    def run() -> float:
        gc.collect()
        started = process_time()
        for _ in range(CALLS):
            client.assume_role(**ROLE)
        return CALLS / (process_time() - started)

    return run


async def _watch(call: Callable[[], Awaitable[Any]]) -> float:
    """The longest call of one who keeps calling until the refresh is over."""
    end = perf_counter() + SLOW + 0.2
    longest = 0.0
    while (started := perf_counter()) < end:
        await call()
        longest = max(longest, perf_counter() - started)
        await asyncio.sleep(0.005)
    return longest


class _Quiet:
    """The modules that the clients have loaded are nobody's to walk during a round."""

    def __enter__(self) -> None:
        gc.collect()
        gc.freeze()

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()
