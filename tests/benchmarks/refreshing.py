"""Who waits while a slow refresh is under way, before it is urgent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from aiobotocore.credentials import AioRefreshableCredentials

from aiocreds import Credentials, Provider
from tests.benchmarks.report import Row, exactly

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLERS = 100
SLOW = 0.5  # seconds the source takes
WAITED = SLOW / 2  # whoever took longer has waited for it
LIFETIME = 8.0  # seconds; by the rule the advisory window opens 3.2 to 4 s before the end, the mandatory one 2 s
OPEN = LIFETIME - 3.0


class Waits(NamedTuple):
    """The results of callers.

    Attributes:
        longest: the longest call, in seconds.
        waited: how many callers waited for the source.
        refreshes: how often the source was asked.
        stale: how many callers never got the new credentials.
    """

    longest: float
    waited: int
    refreshes: int
    stale: int

    def __str__(self) -> str:
        return f"{self.waited} wait, longest {self.longest * 1e3:.1f} ms"


def rows() -> list[Row]:
    """Run this topic."""
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    ours, advisory, mandatory = await asyncio.gather(_ours(), _theirs(minutes=12), _theirs(minutes=5))
    return [
        exactly(
            f"{CALLERS} callers during a refresh of {SLOW:g} s, not urgent yet",
            str(ours),
            f"aiobotocore, advisory window: {advisory.waited} wait",
            "0 wait",
            Row("aiobotocore, advisory window", str(advisory)),
            Row("aiobotocore, mandatory window", str(mandatory)),
            ok=ours.waited == 0,
        ),
        exactly(
            f"{CALLERS} callers during a refresh: refreshes; callers left with the old keys",
            f"{ours.refreshes}; {ours.stale}",
            "",
            "1; 0",
            ok=ours.refreshes == 1 and ours.stale == 0,
        ),
    ]


async def _ours() -> Waits:
    number = 0

    async def source() -> Credentials:
        nonlocal number
        number += 1
        if number > 1:
            await asyncio.sleep(SLOW)
        lifetime = timedelta(seconds=LIFETIME if number == 1 else 3600)
        return Credentials(f"ASIABENCH{number}", "secret", "token", expiration=datetime.now(UTC) + lifetime)

    provider = Provider(source, name="bench")
    first = await provider()
    await asyncio.sleep(OPEN)
    crowd = await _crowd(provider)
    stale = sum(last.access_key_id == first.access_key_id for last in crowd.last)
    return Waits(crowd.longest, crowd.waited, number - 1, stale)


async def _theirs(*, minutes: int) -> Waits:
    refreshes = 0

    async def source() -> dict[str, str]:
        nonlocal refreshes
        refreshes += 1
        await asyncio.sleep(SLOW)
        expiry = datetime.now(UTC) + timedelta(hours=1)
        return {"access_key": "new", "secret_key": "secret", "token": "token", "expiry_time": expiry.isoformat()}

    expiry = datetime.now(UTC) + timedelta(minutes=minutes)
    credentials = AioRefreshableCredentials("old", "secret", "token", expiry, source, "bench")
    crowd = await _crowd(credentials.get_frozen_credentials)
    return Waits(crowd.longest, crowd.waited, refreshes, sum(last.access_key == "old" for last in crowd.last))


class _Crowd(NamedTuple):
    longest: float
    waited: int
    last: list[Any]


async def _crowd(call: Callable[[], Awaitable[Any]]) -> _Crowd:
    """A hundred callers who keep asking, every 20 ms, until the refresh is over."""
    end = perf_counter() + SLOW + 0.2

    async def caller() -> tuple[float, Any]:
        longest = 0.0
        while True:
            started = perf_counter()
            got = await call()
            longest = max(longest, perf_counter() - started)
            if perf_counter() > end:
                return longest, got
            await asyncio.sleep(0.02)

    seen = await asyncio.gather(*(caller() for _ in range(CALLERS)))
    longest = [one for one, _ in seen]
    return _Crowd(max(longest), sum(one > WAITED for one in longest), [last for _, last in seen])
