"""The numbers that bind, each beside its peer: ``python -m tests.benchmarks [--only NAME ...] [--json FILE]``.

How to read the table. A line with something under *must reach* binds, and the exit status is 1 if one is missed;
an indented line is there for scale. *ratio* is ours to the peer's in the same run: the two take turns (A B A B …),
each turn is divided by its neighbour in time, and the median of these quotients counts, since machines such as
this one are shared and slow down for seconds at a time. *rounds* shows how many there were, and the lowest and the
highest quotient: how far the machine, not the code, moves the number. Counts and bytes know no noise and are taken
once. A topic that misses is measured once more; what missed is then judged by the second time, and shows the first.

========== ==================================================================================================
hot_path   one `await provider()`, against awaiting an object that only returns an attribute
start_up   whole processes in CPU time (user and system), against one that runs an empty coroutine
crowd      10,000 tasks that wait for one load, against 10,000 tasks that wait for one event
roles      roles assumed a second of client CPU time, STS being another process, against bare POSTs to it
memory     bytes that Python holds for one more provider, against one more client
config_files  a large config file read through the public interface, against botocore's parser alone
gaps       the longest time between two ticks of a loop that wants to tick each millisecond, while something is
           read, against a loop that is idle for as long
refreshing who waits while a slow source refreshes
fleet      refreshes in the busiest second of many processes, on paper, against the same without jitter
attach     signed requests a second of CPU time, against the same client with static keys; who waits meanwhile
serve      requests a second that `aiocreds serve` answers in another process, against a handler of aiohttp.web that
           returns a constant; what a process of `aiocreds export` costs, against one that runs an empty coroutine
shared     calls to STS and the start of 200 processes of one role that share, against the same that do not, all
           forked by one that has loaded the modules; what a program costs that loads them; a cold process with a
           warm folder, against one with a static profile; a day of 10,000 processes, on paper
profiles   a process of `aiocreds profiles` on a large config file, against one of `aws configure list`
tokens     tokens a second of CPU time, against AWS's own packages; the longest gap in a loop on which 1,000
           connections log in at once, against the same with tokens that botocore makes in threads, and while a
           pool of 50 grows and shrinks, against a loop that is idle for as long
pools      the same gap with the pools of asyncpg and psycopg over TLS, against the same pool with a fixed password,
           since a client's own part in 50 handshakes holds the loop up for longer than 5 gaps of an idle one
========== ==================================================================================================
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tests.benchmarks.report import measure, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.report import Row

TOPICS = (
    *("hot_path", "start_up", "crowd", "roles", "memory", "config_files", "gaps", "refreshing", "fleet", "attach"),
    *("serve", "shared", "profiles", "tokens", "pools"),
)
PEERS = ("aiohttp", "aiobotocore", "botocore")
HEAD = ("what", "ours", "peer", "ratio", "rounds", "must reach", "ok?")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the topics, print the table, and tell whether everything that binds was reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=TOPICS, metavar="NAME", help=", ".join(TOPICS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers there as well")
    options = parser.parse_args(arguments)
    run, started = machine(), perf_counter()
    rows: list[Row] = []
    for topic in TOPICS:
        if topic in options.only:
            print(f"{topic} …", file=sys.stderr, flush=True)
            rows += measure(import_module(f"tests.benchmarks.{topic}").rows)
    run["seconds"] = round(perf_counter() - started)
    print(table(rows))
    print("\n" + ", ".join(f"{name} {value}" for name, value in run.items()))
    if options.json:
        document = {"run": run, "rows": [dataclasses.asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    missed = [row.what for row in rows if row.ok is False]
    if missed:
        print(f"MISSED: {'; '.join(missed)}")
    return 1 if missed else 0


def machine() -> dict[str, Any]:
    """When and with what this runs; `load` is how many processes wanted a core in the minute before."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PEERS},
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def table(rows: list[Row]) -> str:
    """The rows in columns."""
    lines = [HEAD]
    for row in rows:
        lines += [_cells(row), *(_cells(other, indent="  ") for other in row.scale)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    padded.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in padded)


def _cells(row: Row, indent: str = "") -> tuple[str, str, str, str, str, str, str]:
    rounds = f"{row.rounds}: {' to '.join(show(ratio) for ratio in row.by_rounds)}" if row.by_rounds else ""
    ratio = "" if row.ratio is None else show(row.ratio)
    ok = {True: "yes", False: "MISSED", None: ""}[row.ok] + (f", after {row.first}" if row.first else "")
    return indent + row.what, row.ours, row.peer, ratio, rounds, row.must, ok


if __name__ == "__main__":
    sys.exit(main())
