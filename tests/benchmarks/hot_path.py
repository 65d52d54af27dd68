"""What `await provider()` costs while there is nothing to do, which is nearly always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

from aiobotocore.credentials import AioRefreshableCredentials  # type: ignore[import-untyped]  # it has no types

from aiocreds import Credentials, Provider
from tests.benchmarks.report import Row, alternate_async, at_most, for_scale, median, ratios

AWAITS = 20_000
ROUNDS = 40


class Bare:
    """The least that an object one awaits the call of can do."""

    __slots__ = ("_credentials",)

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def __call__(self) -> Credentials:
        return self._credentials


async def measure() -> AsyncIterator[Row]:
    """The rows of this topic."""
    expiration = datetime.now(UTC) + timedelta(hours=6)
    credentials = Credentials("ASIABENCH", "secret", "token", expiration=expiration)

    async def source() -> Credentials:
        return credentials

    provider = Provider(source, name="bench")
    await provider()
    theirs = AioRefreshableCredentials("ASIABENCH", "secret", "token", expiration, source, "bench")
    measured = await alternate_async(
        {
            "ours": _timed(provider, AWAITS),
            "bare": _timed(Bare(credentials), AWAITS),
            "aiobotocore": _timed(theirs.get_frozen_credentials, AWAITS // 40),
        },
        ROUNDS,
    )
    show = {name: f"{median(measured, name) * 1e9:,.0f} ns" for name in measured}
    against_bare = ratios(measured, "ours", "bare")
    yield at_most(1.6, "await provider(), fresh snapshot", show["ours"], f"{show['bare']} bare", against_bare)
    yield for_scale(
        "  aiobotocore get_frozen_credentials()",
        show["aiobotocore"],
        f"{show['bare']} bare",
        ratios(measured, "aiobotocore", "bare"),
    )


def _timed(call: Callable[[], Awaitable[Any]], times: int) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        """Seconds for one."""
        numbers = range(times)
        started = perf_counter()
        for _ in numbers:
            await call()
        return (perf_counter() - started) / times

    return run


def rows() -> list[Row]:
    """Run this topic."""

    async def collect() -> list[Row]:
        return [row async for row in measure()]

    return asyncio.run(collect())
