"""A config file of ten thousand profiles: the first read, and reads after it."""

from __future__ import annotations

import asyncio
import os
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
ROUNDS = 7
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
        home = Path(folder)
        many_profiles(home)
        return asyncio.run(_rows(home))


def many_profiles(home: Path) -> None:
    """Give a home folder a large config file."""
    config = home / ".aws" / "config"
    config.parent.mkdir()
    config.write_text("".join(PROFILE.format(number=number) for number in range(PROFILES - 1)) + LAST)
    config.with_name("credentials").write_text("[default]\nregion = eu-central-1\n")


def last_profile(home: Path) -> Provider:
    """The last profile of the file, by a provider that has read nothing yet."""
    return from_ini("last", context=Context(environ={}, home=home))


async def _rows(home: Path) -> list[Row]:
    config = str(home / ".aws" / "config")
    kept: list[Provider] = []

    async def ours() -> float:
        fresh = last_profile(home)
        kept.append(fresh)  # as a program keeps it: throwing it away is no part of reading
        started = perf_counter()
        await fresh()
        return perf_counter() - started

    async def botocore() -> float:
        started = perf_counter()
        load_config(config)["profiles"]["last"]
        return perf_counter() - started

    reading = await alternate_async({"ours": ours, "botocore": botocore}, ROUNDS)
    stats, opened = await _touched(last_profile(home))
    return [
        at_most(
            0.25,
            f"config of {PROFILES:,} profiles, first read",
            f"{median(reading, 'ours') * 1e3:.0f} ms",
            f"botocore {median(reading, 'botocore') * 1e3:.0f} ms",
            ratios(reading, "ours", "botocore"),
        ),
        exactly(
            f"config of {PROFILES:,} profiles, unchanged: stat calls a file, files opened",
            f"{max(stats.values()) / READS:g} a read, {opened}",
            f"in {READS} reads",
            "1 a read, 0",
            ok=set(stats.values()) == {READS} and len(stats) == 2 and not opened,
        ),
    ]


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
