"""Ten thousand tasks ask a provider that has nothing yet."""

from __future__ import annotations

import asyncio
import gc
from time import perf_counter

from aiocreds import Credentials, Provider
from tests.benchmarks.report import Row, alternate_async, at_most, exactly, median, ratios

TASKS = 10_000
ROUNDS = 12
CREDENTIALS = Credentials("ASIABENCH", "secret", "token")


def rows() -> list[Row]:
    """Run this topic."""
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
    most = max(calls)
    return [
        at_most(
            3.0,
            f"{TASKS:,} tasks on an empty provider",
            show["ours"],
            f"{show['event']} one asyncio.Event",
            ratios(measured, "ours", "event"),
        ),
        exactly("  calls to the source, in any round", str(most), "", "= 1", ok=set(calls) == {1}),
    ]


async def _parked() -> None:
    """Let every task run until it waits."""
    for _ in range(3):
        await asyncio.sleep(0)
