"""The cost of `await provider()` while there is nothing to do, which is nearly always.

As a program: one process's share of the measurement. How memory happens to be laid out in a process moves these
few nanoseconds by some percent, for as long as it lives; so several processes are asked.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from aiocreds import Credentials, Provider
from aiocreds.events import listen
from tests.benchmarks.report import Row, alternate_async, at_most, for_scale, median

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.benchmarks.report import Rounds

PROCESSES = 9
AWAITS = 10_000
ROUNDS = 40


class Bare:
    """The least that an object one awaits the call of can do."""

    __slots__ = ("_credentials",)

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def __call__(self) -> Credentials:
        return self._credentials


class Clock:
    """The least that looks at the clock."""

    __slots__ = ("_credentials", "_until")

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._until = time() + 3600.0

    async def __call__(self) -> Credentials:
        if time() < self._until:
            return self._credentials
        raise AssertionError


def rows() -> list[Row]:
    """Run this topic."""
    command = [sys.executable, "-m", __name__]
    shares: list[Rounds] = [
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(PROCESSES)
    ]
    show = {name: f"{statistics.median(median(one, name) for one in shares) * 1e9:,.0f} ns" for name in shares[0]}
    against_bare = {
        name: [statistics.median(a / b for a, b in zip(one[name], one["bare"], strict=True)) for one in shares]
        for name in show
    }
    bare = f"a bare object {show['bare']}"
    return [
        at_most(
            1.6,
            "await provider(), fresh snapshot",
            show["ours"],
            bare,
            against_bare["ours"],
            for_scale("the least possible clock check", show["clock"], bare, against_bare["clock"]),
            for_scale("with a listener", show["heard"], bare, against_bare["heard"]),
            for_scale("aiobotocore", show["aiobotocore"], bare, against_bare["aiobotocore"]),
        )
    ]


async def share() -> Rounds:
    """Measure in one process."""
    from aiobotocore.credentials import AioRefreshableCredentials

    expiration = datetime.now(UTC) + timedelta(hours=6)
    credentials = Credentials("ASIABENCH", "secret", "token", expiration=expiration)

    async def source() -> Credentials:
        return credentials

    provider = Provider(source, name="bench")
    await provider()
    heard = Provider(source, name="bench")
    await heard()
    listen(lambda _: None, heard)
    theirs = AioRefreshableCredentials("ASIABENCH", "secret", "token", expiration, source, "bench")
    return await alternate_async(
        {
            "ours": _timed(provider, AWAITS),
            "heard": _timed(heard, AWAITS),
            "bare": _timed(Bare(credentials), AWAITS),
            "clock": _timed(Clock(credentials), AWAITS),
            "aiobotocore": _timed(theirs.get_frozen_credentials, AWAITS // 50),
        },
        ROUNDS,
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


if __name__ == "__main__":
    json.dump(asyncio.run(share()), sys.stdout)
