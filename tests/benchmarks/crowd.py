"""Ten thousand tasks ask a provider that has nothing yet."""

from __future__ import annotations

import asyncio
import gc
import logging
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiobotocore.credentials import AioRefreshableCredentials

from aiocreds import Credentials, Provider, SourceUnavailable
from tests.benchmarks.report import Row, alternate_async, at_most, exactly, median, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Call = Callable[[], Awaitable[Any]]

TASKS = 10_000
FEW, LEAVERS = 100, 10
ROUNDS = 12
CREDENTIALS = Credentials("ASIABENCH", "secret", "token")


def rows() -> list[Row]:
    """Run this topic."""
    logging.getLogger("aiobotocore").addHandler(logging.NullHandler())  # its failures here are meant
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    calls: list[int] = []

    async def ours() -> float:
        called = 0
        answer = asyncio.Event()

        async def source() -> Credentials:
            nonlocal called
            called += 1
            await answer.wait()
            return CREDENTIALS

        provider = Provider(source, name="bench")
        gc.collect()
        started = perf_counter()
        tasks = [asyncio.create_task(provider()) for _ in range(TASKS)]
        await _parked()
        answer.set()
        got = await asyncio.gather(*tasks)
        took = perf_counter() - started
        if any(one is not CREDENTIALS for one in got):
            raise AssertionError("somebody got something else")
        calls.append(called)
        return took

    async def event() -> float:
        answer = asyncio.Event()
        gc.collect()
        started = perf_counter()
        tasks = [asyncio.create_task(answer.wait()) for _ in range(TASKS)]
        await _parked()
        answer.set()
        await asyncio.gather(*tasks)
        return perf_counter() - started

    measured = await alternate_async({"ours": ours, "event": event}, ROUNDS)
    show = {name: f"{median(measured, name) * 1e3:.0f} ms" for name in measured}
    ours_calls, their_calls = [await _calls(make) for make in (_ours, _theirs)]
    return [
        at_most(
            3.0,
            f"{TASKS:,} tasks on an empty provider",
            show["ours"],
            f"one asyncio.Event {show['event']}",
            ratios(measured, "ours", "event"),
        ),
        exactly(
            f"{TASKS:,} tasks on an empty provider: calls to the source",
            str(max(calls)),
            "",
            "1",
            ok=set(calls) == {1},
        ),
        exactly(
            f"{FEW} tasks, {LEAVERS} cancelled in turn; on a source that fails: calls to the source",
            ours_calls,
            f"aiobotocore {their_calls}",
            "1; 1",
            ok=ours_calls == "1; 1",
        ),
    ]


async def _parked() -> None:
    """Let every task run until it waits."""
    for _ in range(3):
        await asyncio.sleep(0)


async def _calls(make: Callable[[Call], Call]) -> str:
    """How often the source is called when those who came first leave; and when it fails everybody."""
    counts: list[int] = []
    for leavers, fails in ((LEAVERS, False), (0, True)):
        called, answer = 0, asyncio.Event()

        async def source(answer: asyncio.Event = answer, *, fails: bool = fails) -> None:
            nonlocal called
            called += 1
            await answer.wait()
            if fails:
                raise SourceUnavailable("down")

        call = make(source)
        tasks = [asyncio.create_task(_await(call)) for _ in range(FEW)]
        await _parked()
        for task in tasks[:leavers]:
            task.cancel()
            await _parked()
        answer.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        counts.append(called)
    return "; ".join(map(str, counts))


async def _await(call: Call) -> None:
    await call()


def _ours(source: Call) -> Call:
    async def fetch() -> Credentials:
        await source()
        return CREDENTIALS

    return Provider(fetch, name="bench")


def _theirs(source: Call) -> Call:
    now = datetime.now(UTC)

    async def fetch() -> dict[str, str]:
        await source()
        expiry = (now + timedelta(hours=1)).isoformat()
        return {"access_key": "new", "secret_key": "secret", "token": "token", "expiry_time": expiry}

    return AioRefreshableCredentials("old", "secret", "token", now, fetch, "bench").get_frozen_credentials
