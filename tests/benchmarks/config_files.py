"""A config file of ten thousand profiles: the first read, what the loop feels of it, and reads after it."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from botocore.configloader import load_config

from aiocreds import Context, Provider, from_ini
from tests.benchmarks.report import Row, alternate_async, at_most, exactly, median, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PROFILES = 10_000
ROUNDS = 21
PERIOD = 0.001  # seconds between two ticks of the loop
READS = 20

PROFILE = """
[profile app-{number}]
role_arn = arn:aws:iam::123456789012:role/app-{number}
source_profile = base
region = eu-central-1
"""
LAST = """
[profile last]
aws_access_key_id = AKIABENCHBENCHBENCH1
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
"""


def rows() -> list[Row]:
    """Run this topic."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ".aws", "config")
        path.parent.mkdir()
        path.write_text("".join(PROFILE.format(number=number) for number in range(PROFILES - 1)) + LAST)
        path.with_name("credentials").write_text("[default]\nregion = eu-central-1\n")
        return asyncio.run(_rows(folder))


async def _rows(home: str) -> list[Row]:
    def provider() -> Provider:
        """One that has read nothing yet."""
        return from_ini("last", context=Context(environ={}, home=home))

    config = str(Path(home, ".aws", "config"))

    kept: list[Provider] = []

    async def ours() -> float:
        fresh = provider()
        kept.append(fresh)  # as a program keeps it: throwing it away is no part of reading
        started = perf_counter()
        await fresh()
        return perf_counter() - started

    async def botocore() -> float:
        started = perf_counter()
        load_config(config)["profiles"]["last"]
        return perf_counter() - started

    reading = await alternate_async({"ours": ours, "botocore": botocore}, 5)
    window = median(reading, "ours")

    async def gap_reading() -> float:
        kept.clear()
        gc.collect()
        return await _longest_gap(ours())

    async def gap_idle() -> float:
        return await _longest_gap(asyncio.sleep(window))

    gaps = await alternate_async({"reading": gap_reading, "idle": gap_idle}, ROUNDS)
    stats, opened = await _touched(provider())
    longest, idle = (statistics.median(gaps[name]) for name in ("reading", "idle"))
    return [
        at_most(
            0.25,
            f"config of {PROFILES:,} profiles, first read",
            f"{median(reading, 'ours') * 1e3:.0f} ms",
            f"{median(reading, 'botocore') * 1e3:.0f} ms botocore",
            ratios(reading, "ours", "botocore"),
        ),
        Row(
            "  longest gap in the loop meanwhile",
            f"{longest * 1e3:.1f} ms",
            f"{idle * 1e3:.1f} ms idle loop",
            longest / idle,
            "≤ 5",
            longest / idle <= 5,
            (min(gaps["reading"]) / idle, max(gaps["reading"]) / idle),
        ),
        exactly(
            "  unchanged: stat calls a file, files opened",
            f"{max(stats.values()) / READS:g}, {opened}",
            f"in {READS} reads",
            "1, 0",
            ok=set(stats.values()) == {READS} and len(stats) == 2 and not opened,
        ),
    ]


async def _longest_gap(meanwhile: Any) -> float:
    """The longest time between two ticks of a loop that wants to tick every millisecond."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last = perf_counter()
        while True:
            await asyncio.sleep(PERIOD)
            now = perf_counter()
            longest = max(longest, now - last)
            last = now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(PERIOD)
    await meanwhile
    await asyncio.sleep(PERIOD)
    ticker.cancel()
    await asyncio.wait([ticker])
    return longest


async def _touched(provider: Provider) -> tuple[Counter[str], int]:
    """The `stat` calls by file, and how many files were opened, while unchanged files are asked for again."""
    await provider()
    with _counted_stats() as stats, _counted_opens() as opened:
        for _ in range(READS):
            await provider.fetch()
        return stats, opened()


@contextmanager
def _counted_stats() -> Generator[Counter[str]]:
    """Count `os.stat` by path."""
    counted: Counter[str] = Counter()
    real = os.stat

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if ".aws" in str(path):
            counted[str(path)] += 1
        return real(path, *args, **kwargs)

    os.stat = stat
    try:
        yield counted
    finally:
        os.stat = real


@contextmanager
def _counted_opens() -> Generator[Callable[[], int]]:
    """Count the files opened; the hook stays, since Python has no way to take one away."""
    count, on = 0, True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if on and event == "open" and ".aws" in str(arguments[0]):
            count += 1

    sys.addaudithook(hook)
    try:
        yield lambda: count
    finally:
        on = False
