"""Many processes and one role: calls to STS, the start of all, a cold process with a warm folder, a day."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Self

from aiocreds._core.refresh import ADVISORY_JITTER, windows
from aiocreds._shared.provider import LEASE
from tests.benchmarks import fleet
from tests.benchmarks.report import Rounds, Row, alternate, at_most, exactly, for_scale, median, ratios
from tests.benchmarks.start_up import KEYS, OURS, environment, process_cost
from tests.benchmarks.sts_server import Sts
from tests.helpers.valkey import Valkey, program

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES = int(os.environ.get("BENCH_SHARED_PROCESSES", "200"))
REFRESHES = 2
PAIRS = 20
ROLES, FLEET, DYING = 100, 10_000, 0.01
ROLE = "arn:aws:iam::123456789012:role/bench"
KEY = "A" * 43 + "="
DAY = 86_400.0

MEMBER = """
import asyncio, sys
from aiocreds import from_env, from_temporary_credentials, shared

async def main():
    how, where = sys.argv[1:]
    provider = from_temporary_credentials(role_arn="{role}", source=from_env())
    if how == "folder":
        provider = shared(provider, store=where, timeout=20)
    elif how == "valkey":
        import redis.asyncio as redis
        from aiocreds import RedisLease
        from key_value.aio.stores.redis import RedisStore
        client = redis.Redis.from_url(where, decode_responses=True)
        store, lease = RedisStore(client=client), RedisLease(client)
        provider = shared(provider, store=store, lease=lease, secret_keys=["{key}"], timeout=20)
    while line := sys.stdin.readline():
        await provider.fetch()
        print("has", flush=True)

asyncio.run(main())
""".replace("{role}", ROLE).replace("{key}", KEY)
SHARED = """
import asyncio
from aiocreds import from_ini, shared
async def main():
    await shared(from_ini("app"))()
asyncio.run(main())
"""


def rows() -> list[Row]:
    """Run this topic."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = asyncio.run(_fleets(place))
        return [*found, _cold(place), _day()]


class Counter:
    """An STS of this process that grants everything and counts."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(Sts, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._before = Sts.granted
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()

    @property
    def granted(self) -> int:
        """The calls so far."""
        return Sts.granted - self._before


class Fleet(NamedTuple):
    """The result of a fleet: seconds until all had credentials, and calls to STS then and at each refresh."""

    start: float
    calls: list[int]


async def _fleets(place: Path) -> list[Row]:
    await _fleet("alone", "", place, processes=1)  # compiles all modules
    alone = await _fleet("alone", "", place)
    await _fleet("folder", str(place / "warm"), place, processes=1)
    fleets = {"folder": await _fleet("folder", str(place / "store"), place)}
    if program() is not None and find_spec("redis") and find_spec("key_value"):
        (place / "valkey").mkdir()
        with Valkey(place / "valkey", maxclients="2000") as valkey:
            await _fleet("valkey", valkey.url, place, processes=1)
            valkey.command("FLUSHALL")
            fleets["Valkey"] = await _fleet("valkey", valkey.url, place)
    rows: list[Row] = []
    for name, found in fleets.items():
        most = max(found.calls)
        peer = f"without {max(alone.calls)}"
        rows += [
            exactly(
                f"{PROCESSES} processes, {name}: calls to STS for a load, the most",
                str(most),
                peer,
                "= 1",
                ok=most == 1,
            ),
            at_most(
                1.5,
                f"{PROCESSES} processes, {name}: from the start of all until the last has credentials",
                f"{found.start:.2f} s",
                f"without {alone.start:.2f} s",
                [found.start / alone.start],
            ),
        ]
    return rows


async def _fleet(how: str, where: str, place: Path, *, processes: int = PROCESSES) -> Fleet:
    """Start all, have them load, and refresh, at once."""
    async with Counter() as sts:
        variables = {**environment(place), **KEYS, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_STS": sts.url}
        variables["PYTHONPATH"] = os.pathsep.join(sys.path)
        began = perf_counter()
        started = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", MEMBER, how, where),
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(processes)
        ]
        calls: list[int] = []
        start = 0.0
        try:
            for number in range(1 + REFRESHES):
                before = sts.granted
                for process in started:
                    if process.stdin is not None:
                        process.stdin.write(b"go\n")
                answers = [process.stdout.readline() for process in started if process.stdout is not None]
                if set(await asyncio.gather(*answers)) != {b"has\n"}:
                    raise SystemExit("a process of the fleet has failed")
                if not number:
                    start = perf_counter() - began
                calls.append(sts.granted - before)
                await asyncio.sleep(1.1)  # STS tells whole seconds
        finally:
            for process in started:
                process.kill()
            await asyncio.gather(*(process.communicate() for process in started))
    return Fleet(start, calls)


def _cold(place: Path) -> Row:
    """Measure a process whose role's credentials another one has fetched."""
    home = place / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/config").write_text(f"[profile app]\nrole_arn = {ROLE}\nsource_profile = default\n")
    (home / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = AKIABENCHBENCHBENCH2\naws_secret_access_key = secret\n"
    )

    def process(code: str, **more: str) -> Callable[[], float]:
        return lambda: process_cost(["-c", code], {**environment(home), "AWS_REGION": "eu-central-1", **more})[0]

    async def warm() -> Rounds:
        async with Counter() as sts:
            url = {"AWS_ENDPOINT_URL_STS": sts.url}
            contenders = {"static": process(OURS.format(name="from_ini"), **url), "shared": process(SHARED, **url)}
            measured = await asyncio.to_thread(alternate, contenders, PAIRS)
            if sts.granted != 1:
                raise SystemExit(f"a warm folder was not used: {sts.granted} calls to STS")
        return measured

    measured = asyncio.run(warm())
    static, ours = (f"{median(measured, name) * 1e3:.1f} ms CPU" for name in ("static", "shared"))
    return at_most(
        1.5,
        "a cold process with a warm folder: a role's credentials",
        ours,
        f"a static profile {static}",
        ratios(measured, "shared", "static"),
    )


def _day() -> Row:
    """A day of a fleet on paper: one process of all fetches a role, and some die meanwhile."""
    calls, refreshes, without = day()
    return at_most(
        1.05,
        f"{FLEET:,} processes and {ROLES} roles, a day, {DYING:.0%} of the fetches die",
        f"{calls:,} calls to STS",
        f"{refreshes:,} (role, refresh) pairs",
        [calls / refreshes],
        for_scale("moments of a process without usable credentials", f"{without}", "", [float(without or 0)]),
    )


def day(processes: int = FLEET, roles: int = ROLES, seed: int = 1) -> tuple[int, int, int]:
    """Return the calls to STS, the pairs of role and refresh, and how often a process had nothing to serve.

    The library's rules say when each process opens for refresh; the first of all takes the lease, and the others
    find its entry when they open. Where it dies, the next one takes over once the lease has ended.
    """
    chance = random.Random(seed)
    calls = pairs = without = 0
    for _ in range(roles):
        now, end = chance.random(), DAY
        while now < end:
            pairs += 1
            calls += 1
            advisory, _ = windows(fleet.LIFETIME)
            expires = now + fleet.LIFETIME
            first = 1.0 - chance.random() ** (1.0 / processes)  # the least of the random parts that each has
            opening = expires - advisory + first * ADVISORY_JITTER * advisory
            while chance.random() < DYING:  # its call is made, and what it brought is lost
                calls += 1
                opening += LEASE
            without += processes if opening >= expires else 0
            now = opening
    return calls, pairs, without
