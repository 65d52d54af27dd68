"""The soak: ``python -m tests.stress.soak [--cycles 10000] [--seed N]``. The exit status is 1 if a rule was broken.

Two hundred callers on four loops, and others on loops that come and go, share sources that fail at random, while
the clock is moved on past advisory windows, mandatory windows and expirations. A *cycle* is a refresh that brought
new credentials, whichever provider it was for. The run has stages; between two of them everybody goes home, and
what the process then holds is compared with what it held after the third, a leak being what never goes away.

The rules, beside those of the figures: no error while any credentials were usable, and none but ours; no answer but
what the source handed out last, and none past its expiration without a stamp; one flight a provider and loop; no
trip to a source that is not due; no failure of a source without a cause; nobody is cancelled who did not give up,
and nobody waits for a minute; nothing that asyncio or Python complain of; no secret in a log record or an error.

A seed repeats the choices, not the order in which threads come to run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import platform
import random
import sys
import tempfile
import threading
import warnings
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING
from unittest import mock

import time_machine
from blockbuster import blockbuster_ctx

from tests.helpers.scripted import START
from tests.helpers.secret_leaks import Watch
from tests.stress.soak.faults import Machine
from tests.stress.soak.figures import ALLOWED, Figures, grown
from tests.stress.soak.ledger import Book
from tests.stress.soak.run import CALLERS, LOOPS, Soak

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGES = 10
ENOUGH = 2000  # cycles; before, memory still fills with what is loaded once and kept


def main() -> int:
    """Run it, print what happened, and tell whether all rules were kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cycles", type=int, default=10_000, metavar="N", help="refreshes in all (10000)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="N", help="of all choices")
    options = parser.parse_args()
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    print(f"seed {options.seed}: {CALLERS} callers on {LOOPS} loops, {machine}", flush=True)
    book, started = Book(), perf_counter()
    import_module("aiocreds._http")  # else the loops that need it first wait for each other
    random.seed(options.seed)  # that of the library's own jitter
    with (
        tempfile.TemporaryDirectory() as home,
        heard(book),
        blockbuster_ctx("aiocreds"),
        mock.patch("aiocreds._core.refresh.steady", time),  # time is moved on, which is not to set a clock
        time_machine.travel(START, tick=True) as clock,
    ):
        asyncio.run(soak(Path(home), book, options.cycles, random.Random(options.seed), clock))
    print(f"\n{book.table()}\n")
    for what in book.broken:
        print(f"BROKEN: {what}")
    print(f"{'rules were BROKEN' if book.broken else 'all rules were kept'}; {perf_counter() - started:.0f} s")
    return 1 if book.broken else 0


async def soak(home: Path, book: Book, cycles: int, random: random.Random, clock: time_machine.Traveller) -> None:
    """All stages, or those until a rule is broken."""
    row = "{:>8}  {:>9}  {:>7}  {:>5}  {:>11}  {:>7}  {:>9}  {:>12}".format
    print(row("cycles", "calls", "errors", *Figures._fields))
    rests: list[Figures] = []
    async with Machine(home, book, random, clock) as machine:
        with Soak(machine, book, random) as run:
            for stage in range(1, STAGES + 1):
                rests.append(await run.stage(cycles * stage // STAGES))
                numbers = (book.counts["cycles"], book.counts["calls"], book.count_of("raised"), *rests[-1])
                print(row(*(f"{number:,}" for number in numbers)), flush=True)
                if book.broken:
                    return
    print(row("may grow", "", "", *(f"{more:,}" for more in ALLOWED)))
    print(f"time was moved on by {machine.moved / 86400:.1f} days")
    for what in grown(rests, memory=cycles >= ENOUGH):
        book.accuse(what)


@contextmanager
def heard(book: Book) -> Iterator[None]:
    """Have whatever Python complains of break a rule, and any secret in a log record."""

    watch, logger = Watch(), logging.getLogger("aiocreds")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(watch)
    logger.propagate = False
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # it complains of clients that hang up
    sys.unraisablehook = lambda caught: book.accuse(f"Python complains: {caught.exc_value!r} in {caught.object!r}")
    threading.excepthook = lambda caught: book.accuse(f"a thread has failed: {caught.exc_value!r}")
    warnings.simplefilter("error")
    yield
    gc.collect()  # what was forgotten complains when it is collected
    for text in watch.caught:
        book.accuse(f"a secret was logged: {text}")


if __name__ == "__main__":
    sys.exit(main())
