"""Many processes and one role: calls to STS, the start of all, a cold process with a warm folder, a day."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
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
PAIRS, STARTS, ROUNDS = 20, 7, 3
LONGEST = 300.0  # seconds that a fleet may take
ROLES, FLEET, DYING = 100, 10_000, 0.01
ROLE = "arn:aws:iam::123456789012:role/bench"
KEY = "A" * 43 + "="
DAY = 86_400.0

# One process loads all modules and forks the fleet, since two cores would load them for minutes in 200 processes.
# Each member fetches when it is told so by a byte, answers by one, and ends with its parent.
NURSERY = """
import asyncio, os, signal, socket, sys
import aiocreds._http, aiocreds.sources.assume_role, aiocreds.sources.env
from aiocreds import from_env, from_temporary_credentials, shared
how, where, number = sys.argv[1:]
if how == "Valkey":
    import aiocreds._shared.redis_store, redis.asyncio
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    AESGCM(bytes(32))  # loads OpenSSL's cipher

async def member(told):
    provider = from_temporary_credentials(role_arn="{role}", source=from_env())
    if how == "folder":
        provider = shared(provider, store=where, timeout=20)
    elif how == "Valkey":
        client = redis.asyncio.Redis.from_url(where, driver_info=None)
        provider = shared(provider, store=client, secret_keys=["{key}"], timeout=20)
    told.setblocking(False)
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(told, 1):
        await provider.fetch()
        await loop.sock_sendall(told, b"1")

def fork(members):
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child:
        theirs.close()
        members[child] = ours
        return
    for other in (ours, *members.values()):
        other.close()
    try:
        asyncio.run(member(theirs))
    finally:
        os._exit(0)

members = {}
print("ready", flush=True)
try:
    while sys.stdin.readline():
        while len(members) < int(number):
            fork(members)
        for one in members.values():
            one.send(b"1")
        print(sum(len(one.recv(1)) for one in members.values()), flush=True)
finally:
    for child in members:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
""".replace("{role}", ROLE).replace("{key}", KEY)
# The same as a program of its own. Without driver_info=None, redis-py looks its own version up for each connection,
# which takes as much CPU as all else that a member does.
START = """
import asyncio
from aiocreds import from_env, from_temporary_credentials, shared
async def main():
    provider = from_temporary_credentials(role_arn="{role}", source=from_env())
    {store}
    await provider()
asyncio.run(main())
"""
STORES = {
    "alone": "pass",
    "folder": "provider = shared(provider, store='{where}')",
    "Valkey": """import redis.asyncio
    client = redis.asyncio.Redis.from_url('{where}', driver_info=None)
    provider = shared(provider, store=client, secret_keys=['{key}'], timeout=20)""",
}
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
    measured: dict[str, list[Fleet]] = {"alone": [], "folder": []}
    places = {"alone": "", "folder": str(place / "store")}
    with ExitStack() as stack:
        if program() is not None and find_spec("redis"):
            (place / "valkey").mkdir()
            places["Valkey"] = stack.enter_context(Valkey(place / "valkey", maxclients="2000")).url
            measured["Valkey"] = []
        for _ in range(ROUNDS):  # each with an STS of its own, and so with entries of its own
            for name, found in measured.items():
                found.append(await _fleet(name, places[name], place))
        started = await _starts(places, place)
    rows: list[Row] = []
    calls = {name: max(most for fleet in found for most in fleet.calls) for name, found in measured.items()}
    starts = {name: [fleet.start for fleet in found] for name, found in measured.items()}
    for name in list(measured)[1:]:
        rows += [
            exactly(
                f"{PROCESSES} processes, {name}: calls to STS for a load, the most",
                str(calls[name]),
                f"without {calls['alone']}",
                "= 1",
                ok=calls[name] == 1,
            ),
            at_most(
                1.5,
                f"{PROCESSES} processes, {name}: from the start of all until the last has credentials",
                f"{median(starts, name):.2f} s",
                f"without {median(starts, 'alone'):.2f} s",
                ratios(starts, name, "alone"),
                for_scale(
                    "one of them as a program of its own, its modules included",
                    f"{median(started, name) * 1e3:.0f} ms CPU",
                    f"without {median(started, 'alone') * 1e3:.0f} ms CPU",
                    ratios(started, name, "alone"),
                ),
            ),
        ]
    return rows


async def _fleet(how: str, where: str, place: Path) -> Fleet:
    """Fork all, have them load, and refresh, at once."""
    async with Counter() as sts, asyncio.timeout(LONGEST):
        nursery = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", NURSERY, how, where, str(PROCESSES)),
            env=_variables(place, sts),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        calls: list[int] = []
        start = 0.0
        try:
            await nursery.stdout.readline()
            for number in range(1 + REFRESHES):
                before, began = sts.granted, perf_counter()
                nursery.stdin.write(b"go\n")
                if await nursery.stdout.readline() != f"{PROCESSES}\n".encode():
                    raise SystemExit("a process of the fleet has failed")
                if not number:
                    start = perf_counter() - began
                calls.append(sts.granted - before)
                await asyncio.sleep(1.1)  # STS tells whole seconds
        finally:
            await nursery.communicate()
    return Fleet(start, calls)


async def _starts(places: dict[str, str], place: Path) -> Rounds:
    """Measure processes of their own, which find what another one has put into the store."""
    async with Counter() as sts:
        variables = _variables(place, sts)

        def process(name: str) -> Callable[[], float]:
            code = START.format(role=ROLE, store=STORES[name].format(where=places[name], key=KEY))
            return lambda: process_cost(["-c", code], variables)[0]

        return await asyncio.to_thread(alternate, {name: process(name) for name in places}, STARTS)


def _variables(place: Path, sts: Counter) -> dict[str, str]:
    found = {**environment(place), **KEYS, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_STS": sts.url}
    return {**found, "PYTHONPATH": os.pathsep.join(sys.path)}


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
