"""Gaps in a loop while a source reads: the longest between two ticks, where one a millisecond is wanted."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from aiocreds import Context, Credentials, from_process, from_token_file
from tests.benchmarks.config_files import PROFILES, last_profile, many_profiles
from tests.benchmarks.report import Row, alternate_async, at_most, for_scale, median, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds import Provider

PERIOD = 0.001  # seconds between two ticks of the loop
ROUNDS = 21
LIMIT = 5.0
LATE = 0.15  # seconds until the token is there
ROLE = "arn:aws:iam::123456789012:role/bench"
CREDENTIALS = Credentials("ASIABENCH", "secret", "token")
ANSWER = {"Version": 1, "AccessKeyId": "ASIABENCH", "SecretAccessKey": "secret", "SessionToken": "token"}


def rows() -> list[Row]:
    """Run this topic."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_rows(Path(folder)))


async def _rows(home: Path) -> list[Row]:
    many_profiles(home)
    kept: list[Provider] = []

    async def config() -> None:
        fresh = last_profile(home)
        kept.append(fresh)  # as a program keeps it: throwing it away is no part of reading
        await fresh()

    what = "longest gap in the loop:"
    reading = await _beside_idle(config, kept.clear)
    running = await _beside_idle(_process(home))
    awaiting = await _beside_idle(_token_file(home))
    return [
        at_most(LIMIT, f"{what} {PROFILES:,} profiles are read", *reading),
        for_scale(f"{what} a credential process is run", *running),
        for_scale(f"{what} a token file is awaited, and rotates", *awaiting),
    ]


async def _beside_idle(
    work: Callable[[], Awaitable[None]], forget: Callable[[], None] | None = None
) -> tuple[str, str, list[float]]:
    """The gaps during the work and in a loop that is idle for just as long."""
    window = 0.0

    async def timed() -> None:
        nonlocal window
        started = perf_counter()
        await work()
        window = perf_counter() - started

    async def working() -> float:
        if forget is not None:
            forget()
        gc.collect()
        return await longest_gap(timed())

    async def idle() -> float:
        return await longest_gap(asyncio.sleep(window))

    gaps = await alternate_async({"ours": working, "idle": idle}, ROUNDS)
    ours, peer = (f"{median(gaps, name) * 1e3:.1f} ms" for name in ("ours", "idle"))
    return ours, f"an idle loop {peer}", ratios(gaps, "ours", "idle")


async def longest_gap(meanwhile: Awaitable[Any]) -> float:
    """The longest time between two ticks of the loop, in seconds."""
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


def _process(home: Path) -> Callable[[], Awaitable[None]]:
    answer = home / "answer.py"
    answer.write_text(f"print({json.dumps(ANSWER)!r})\n")
    provider = from_process(command=f"{sys.executable} -I -S {answer}", context=Context(environ={}, home=home))

    async def run() -> None:
        await provider.fetch()

    return run


def _token_file(home: Path) -> Callable[[], Awaitable[None]]:
    token, incoming = home / "token", home / "incoming"
    seen: list[str] = []

    async def assume(*, web_identity_token: str, **_: object) -> Credentials:
        seen.append(web_identity_token)
        return CREDENTIALS

    provider = from_token_file(
        web_identity_token_file=str(token),
        role_arn=ROLE,
        role_assumer_with_web_identity=assume,
        context=Context(environ={}, home=home),
    )

    def write(text: str) -> None:
        incoming.write_text(text)
        incoming.replace(token)

    def agent() -> None:
        sleep(LATE)
        write("first")

    async def run() -> None:
        token.unlink(missing_ok=True)
        seen.clear()
        late = threading.Thread(target=agent)
        late.start()
        await provider.fetch()
        late.join()
        write("second")
        await provider.fetch()
        if seen != ["first", "second"]:
            raise AssertionError(seen)

    return run
