"""Who waits while a slow refresh is under way, before it is urgent; what a listener adds to a refresh."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from aiobotocore.credentials import AioRefreshableCredentials

from aiocreds import Credentials, Provider
from aiocreds._core import provider as core
from aiocreds.events import listen
from tests.benchmarks.report import Row, alternate_async, at_most, exactly, for_scale, median, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALLERS = 100
SLOW = 0.5  # seconds the source takes
WAITED = SLOW / 2  # whoever took longer has waited for it
LIFETIME = 8.0  # seconds; by the rule the advisory window opens 3.2 to 4 s before the end, the mandatory one 2 s
OPEN = LIFETIME - 3.0
FETCHES, ROUNDS = 500, 60


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
        await _with_a_listener(),
    ]


async def _with_a_listener() -> Row:
    """What the three events of a refresh cost, with a listener that does nothing."""
    credentials = Credentials("ASIABENCH", "secret", "token")

    async def source() -> Credentials:
        return credentials

    alone, heard = (Provider(source, name="bench") for _ in range(2))
    stop = listen(lambda _: None, heard)
    hook = core.hook

    def fetching(provider: Provider, *, listening: bool) -> Callable[[], Awaitable[float]]:
        async def run() -> float:
            """Seconds for one."""
            core.hook = hook if listening else None
            started = perf_counter()
            for _ in range(FETCHES):
                await provider.fetch()
            return (perf_counter() - started) / FETCHES

        return run

    try:
        measured = await alternate_async(
            {
                "heard": fetching(heard, listening=True),
                "alone": fetching(alone, listening=False),
                "elsewhere": fetching(alone, listening=True),
            },
            ROUNDS,
        )
    finally:
        core.hook = hook
        stop()
    show = {name: f"{median(measured, name) * 1e6:.1f} µs" for name in measured}
    peer = f"without {show['alone']}"
    elsewhere = ratios(measured, "elsewhere", "alone")
    return at_most(
        1.5,
        "a refresh with a listener, source that answers at once",
        show["heard"],
        peer,
        ratios(measured, "heard", "alone"),
        for_scale("with one of another provider", show["elsewhere"], peer, elsewhere),
    )


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
