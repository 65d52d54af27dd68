"""A fleet that starts in one second, by simulation: the library's own rules decide, and nothing waits."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unittest.mock import patch

from aiocreds import Credentials
from aiocreds._core import refresh
from aiocreds._core.provider import LONGEST_SLEEP
from aiocreds._core.refresh import Action
from tests.benchmarks.report import Row, at_most, for_scale
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 10_000
LIFETIME = 3_600.0
DAY = 86_400.0
HOUR = 3_600.0
START = 1_800_000_000.0
LIMIT = 0.015
SECRET = secret("fleet")


def rows() -> list[Row]:
    """Run this topic. It knows no noise but that of the jitter itself, so one round."""
    ours, in_step = refreshes(PROCESSES), refreshes(PROCESSES, jitter=False)
    last = [[at for at in found if at >= DAY - HOUR] for found in (ours, in_step)]
    peak, peer = busiest(ours), busiest(in_step)
    late, late_peer = (busiest(found) for found in last)
    return [
        at_most(
            LIMIT,
            f"{PROCESSES:,} processes started in one second, over a day",
            f"{peak:,} refreshes in the busiest second",
            f"without jitter {peer:,}",
            [peak / peer],
            for_scale("in the last hour", f"{late:,}", f"without jitter {late_peer:,}", [late / late_peer]),
            Row("refreshes in the day", f"{len(ours):,}", f"without jitter {len(in_step):,}"),
        )
    ]


def refreshes(processes: int, *, jitter: bool = True, until: float = DAY, seed: int = 1) -> list[float]:
    """When the processes refresh, in order, in seconds since the one in which all of them start."""
    began, state = random.Random(seed), random.getstate()
    random.seed(seed)
    try:
        with patch.object(refresh, "ADVISORY_JITTER", refresh.ADVISORY_JITTER if jitter else 0.0):
            return sorted(at for _ in range(processes) for at in _process(began.random(), until))
    finally:
        random.setstate(state)


def _process(start: float, until: float) -> Iterator[float]:
    """A process that keeps its credentials fresh: it looks when they are due, and every half minute before."""
    now, end = START + start, START + until
    state = refresh.loaded(refresh.NOTHING_LOADED, _issue(now), now)
    while True:
        while refresh.decide(state, now) is Action.SERVE:
            now += min(state.advisory_at - now, LONGEST_SLEEP)
        if now >= end:
            return
        yield now - START
        state = refresh.loaded(state, _issue(now), now)


def _issue(now: float) -> Credentials:
    return Credentials("ASIABENCH", SECRET, SECRET, expiration=datetime.fromtimestamp(now + LIFETIME, UTC))


def busiest(times: list[float]) -> int:
    """The most of these times that lie within one second, wherever that begins."""
    most = first = 0
    for number, at in enumerate(times):
        while times[first] <= at - 1:
            first += 1
        most = max(most, number - first + 1)
    return most
