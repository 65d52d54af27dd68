"""A fleet that starts in one second does not refresh in one: on paper, as in the benchmark, and with keepers."""

from __future__ import annotations

import asyncio
import selectors
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING

import pytest
import time_machine

from tests.benchmarks.fleet import LIFETIME, busiest, refreshes
from tests.helpers.scripted import START, Source, issue

if TYPE_CHECKING:
    from selectors import SelectorKey

    from aiocreds import Credentials

PROCESSES = 2_000
OPENING = LIFETIME - 900  # seconds after a load at which the advisory window opens; jitter adds a fifth of that
SPREAD = 180
TICK = 0.001  # no clock is exact, and timers are late rather than early


@pytest.mark.slow
def test_jitter_keeps_a_fleet_out_of_step() -> None:
    hours = 8
    times = refreshes(PROCESSES, until=hours * 3600)
    assert busiest(times) <= 0.015 * PROCESSES
    assert times[0] >= OPENING
    assert times[PROCESSES - 1] <= OPENING + SPREAD + 1
    last = [at for at in times if at >= (hours - 1) * 3600]
    assert busiest(last) < busiest(times)  # each round widens it


@pytest.mark.slow
def test_without_jitter_a_fleet_stays_in_step() -> None:
    times = refreshes(PROCESSES, jitter=False, until=4 * 3600)
    rounds = [times[first : first + PROCESSES] for first in range(0, len(times), PROCESSES)]
    assert [busiest(times) for times in rounds] == [PROCESSES] * 5


@pytest.mark.parametrize(
    ("times", "most"),
    [([], 0), ([1.0], 1), ([1.0, 1.9, 2.0, 2.5, 2.8], 4), ([1.0, 2.0, 3.0], 1), ([1.0] * 5, 5)],
)
def test_the_busiest_second_begins_anywhere(times: list[float], most: int) -> None:
    assert busiest(times) == most


class Ahead(selectors.DefaultSelector):
    """Have everything that a loop would wait for happen at once, and the clock says it took that long."""

    clock: time_machine.Traveller

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout:
            self.clock.shift(max(timeout, TICK))
        return events


class Loop(asyncio.SelectorEventLoop):
    """Counts by the clock that is moved."""

    def time(self) -> float:
        return time() - START  # small enough a number for the fractions that asyncio adds


@pytest.mark.slow
def test_keepers_refresh_when_it_is_due_and_not_by_the_half_minutes_they_sleep_for() -> None:
    fleet = 300
    asked: list[float] = []

    def told() -> Credentials:
        asked.append(time() - START)
        return issue(LIFETIME)

    async def program() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(fleet):
                await stack.enter_async_context(Source(usual=told).provider())
            await asyncio.sleep(OPENING + SPREAD + 60)

    with (
        time_machine.travel(datetime.fromtimestamp(START, UTC), tick=False) as clock,
        Ahead() as selector,
        asyncio.Runner(loop_factory=lambda: Loop(selector)) as runner,
    ):
        selector.clock = clock
        runner.run(program())
    first, second = asked[:fleet], asked[fleet:]
    assert busiest(first) == fleet
    assert len(second) == fleet
    assert OPENING - 1 <= min(second) < max(second) <= OPENING + SPREAD + 1
    assert busiest(second) <= 0.04 * fleet  # by half minutes: a sixth
