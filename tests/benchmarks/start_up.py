"""The cost of credentials in a short process: it runs, resolves them and ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import aiocreds
from tests.benchmarks.report import Rounds, Row, alternate, at_most, for_scale, median, ratios

if TYPE_CHECKING:
    from collections.abc import Callable

PAIRS = 40
PAIRS_FOR_SCALE = 6
KEYS = {"AWS_ACCESS_KEY_ID": "AKIABENCHBENCHBENCH1", "AWS_SECRET_ACCESS_KEY": "secret"}

EMPTY = """
import asyncio
async def main():
    pass
asyncio.run(main())
"""
OURS = """
import asyncio
from aiocreds import {name}
async def main():
    await {name}()()
asyncio.run(main())
"""
BOTOCORE = """
from botocore.session import Session
Session().get_credentials().get_frozen_credentials()
"""
AIOBOTOCORE = """
import asyncio
from aiobotocore.session import get_session
async def main():
    await (await get_session().get_credentials()).get_frozen_credentials()
asyncio.run(main())
"""


def rows() -> list[Row]:
    """Run this topic. Judged by CPU time, user and system; wall time is shown beside it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / ".aws").mkdir()
        (home / ".aws" / "config").write_text("[default]\nregion = eu-central-1\n")
        (home / ".aws" / "credentials").write_text(
            "[default]\naws_access_key_id = AKIABENCHBENCHBENCH2\naws_secret_access_key = secret\n"
        )
        return _rows(home)


def _rows(home: Path) -> list[Row]:
    wall: Rounds = {}

    def process(name: str, program: str, keys: dict[str, str]) -> Callable[[], float]:
        seconds = wall.setdefault(name, [])

        def run() -> float:
            cpu, took = process_cost(["-c", program], {**environment(home), **keys})
            seconds.append(took)
            return cpu

        return run

    judged = {
        "empty": process("empty", EMPTY, {}),
        "from_env": process("from_env", OURS.format(name="from_env"), KEYS),
        "default_chain, keys": process("default_chain, keys", OURS.format(name="default_chain"), KEYS),
        "from_ini": process("from_ini", OURS.format(name="from_ini"), {}),
        "default_chain, profile": process("default_chain, profile", OURS.format(name="default_chain"), {}),
    }
    measured = alternate(judged, PAIRS)
    for seconds in wall.values():
        del seconds[:-PAIRS]  # the one that wrote the compiled modules
    scale = alternate(
        {
            "empty": process("empty again", EMPTY, {}),
            "botocore": process("botocore", BOTOCORE, KEYS),
            "aiobotocore": process("aiobotocore", AIOBOTOCORE, KEYS),
        },
        PAIRS_FOR_SCALE,
    )

    def row(limit: float, what: str, name: str, *others: Row) -> Row:
        ours, peer = (f"{median(measured, one) * 1e3:.1f} ms CPU" for one in (name, "empty"))
        took, idle = (f"{median(wall, one) * 1e3:.1f} ms" for one in (name, "empty"))
        by_wall = for_scale("by the wall clock", took, f"an empty process {idle}", ratios(wall, name, "empty"))
        return at_most(
            limit, what, ours, f"an empty process {peer}", ratios(measured, name, "empty"), by_wall, *others
        )

    def other(name: str) -> Row:
        theirs, peer = (f"{median(scale, one) * 1e3:.1f} ms CPU" for one in (name, "empty"))
        return for_scale(name, theirs, f"an empty process {peer}", ratios(scale, name, "empty"))

    return [
        row(1.15, "a process: environment keys, from_env()", "from_env", other("aiobotocore"), other("botocore")),
        row(1.15, "a process: environment keys, default_chain()", "default_chain, keys"),
        row(1.3, "a process: static profile, from_ini()", "from_ini"),
        row(1.3, "a process: static profile, default_chain()", "default_chain, profile"),
    ]


def environment(home: Path) -> dict[str, str]:
    """A user's, but for where compiled modules go: they are always there, and nobody else's files change."""
    return {
        "HOME": str(home),
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(aiocreds.__file__).parent.parent),
        "PYTHONPYCACHEPREFIX": str(home / "pycache"),
    }


def process_cost(arguments: list[str], variables: dict[str, str]) -> tuple[float, float]:
    """Seconds of CPU and of wall time that one process takes from its start to its end."""
    if sys.platform == "win32":
        raise SystemExit("start_up needs os.wait4, which Windows does not have")
    started = perf_counter()
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], variables, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    took = perf_counter() - started
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), arguments)
    return usage.ru_utime + usage.ru_stime, took
