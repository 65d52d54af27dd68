"""One source, one fault, one phase; and all of them at once."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, cast
from unittest import mock

import time_machine

from aiocreds._token_cache.cache import Renewal, Rules, Token, TokenCache
from tests.helpers.idle_time import IdleTime
from tests.helpers.scripted import START
from tests.helpers.tls import TLS
from tests.stress.faults.bench import Bench, Disk, World
from tests.stress.faults.faults import faults_of
from tests.stress.faults.rules import broken, windows
from tests.stress.faults.story import Story

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aiocreds import Provider
    from tests.stress.faults.faults import Fault
    from tests.stress.faults.sources import Subject

BURST, FEW = 20, 3  # callers: when the fault strikes, and later
LATER = (0.5, 2.0, 6.0, 15.0, 40.0, 120.0, 320.0, 640.0)  # seconds after the fault struck
LONG = 1000.0  # seconds; longer than anybody looks


class Phase(Enum):
    """The age of the credentials when the fault strikes."""

    FIRST_LOAD = "first load"
    ADVISORY = "advisory window"
    MANDATORY = "mandatory window"
    EXPIRED = "after expiry"

    def span(self, lifetime: float) -> tuple[float, float]:
        """From when to when it is looked at, in seconds after the expiration: not past the end of a window."""
        advisory, mandatory = windows(lifetime)
        if self is Phase.ADVISORY:
            return 5.0 - advisory, -mandatory
        if self is Phase.MANDATORY:
            return 5.0 - mandatory, 0.0
        return 5.0, LONG


@dataclass
class Cell:
    """One field of the table.

    Attributes:
        subject: the source.
        fault: that befalls it.
        phase: when.
        text: what happened.
        broken: the rules that did not hold.
    """

    subject: Subject
    fault: Fault
    phase: Phase
    text: str = ""
    broken: Sequence[str] = ()

    async def play(self, home: Path, world: World) -> None:
        """Let it happen."""
        loop = cast("IdleTime", asyncio.get_running_loop())
        async with Bench(self.subject, self.fault.needs, home, world) as bench:
            if self.fault.before is not None:
                await self.fault.before(bench)
            provider = self.subject.make(bench)
            story = Story(loop, bench)
            story.listen(provider)
            lasts = LONG if self.phase is Phase.FIRST_LOAD else await self._come_of_age(provider)
            story.begin()
            await self.fault.strike(bench)
            await asyncio.gather(
                *(story.ask(provider, 0.0) for _ in range(BURST)),
                *(story.ask(provider, later) for later in LATER if later < lasts for _ in range(FEW)),
            )
            await story.end()
        self.text = told(story)
        self.broken = broken(self.subject, self.fault, story)

    async def _come_of_age(self, provider: Provider) -> float:
        """Load, and let time pass until the phase begins; the seconds it lasts."""
        await provider()
        lifetime, left = self.subject.lifetime, provider.status.seconds_left or 0.0
        assert lifetime - 1.0 < left <= lifetime, f"{self}: loaded for {left} s"
        start, end = self.phase.span(lifetime)
        early = left - windows(lifetime)[0] - 5.0
        await asyncio.sleep(early)
        await provider()  # and nobody goes to the source behind that
        await asyncio.sleep(left + start - early)
        return end - start

    def __str__(self) -> str:
        return f"{self.subject.name}, {self.fault.name}, {self.phase.value}"


def told(story: Story) -> str:
    """Return the outcome in few words: what callers got, in this order; the longest wait; trips / requests."""
    outcomes = " → ".join(dict.fromkeys(map(story.outcome, story.calls)))
    longest, trips = max(call.waited for call in story.calls), len(story.trips) - story.earlier
    if not story.bench.subject.paths:  # a program is run once a trip, and ends when it likes
        return f"{outcomes}; {longest:.0f} s; {trips} / {trips}"
    seconds = f"{longest:.2f}".rstrip("0").rstrip(".")
    return f"{outcomes}; {seconds} s; {trips} / {story.requests}"


@contextmanager
def renewals_on_this_loop() -> Iterator[None]:
    """Have sign-ins renewed where time is moved; the thread that does so by itself knows of real time alone."""
    renewal = TokenCache.renewal_for

    def on_this_loop(cache: TokenCache, rules: Rules, token: Token, *, here: bool) -> Renewal:
        return renewal(cache, rules, token, here=True)

    with mock.patch.object(TokenCache, "renewal_for", on_this_loop):
        yield


def play(subjects: Sequence[Subject], folder: Path) -> list[Cell]:
    """All the cells of these sources that there can be, in the order of the table."""
    shared = World(Disk(), TLS(new_folder(folder / "trusted")), TLS(new_folder(folder / "untrusted")))
    possible = [
        Cell(subject, fault, phase)
        for subject in subjects
        for fault in faults_of(subject)
        if fault.impossible(subject) is None
        for phase in Phase
    ]

    homes = {id(cell): folder / f"{number}" for number, cell in enumerate(possible)}

    async def all_at_once(cells: Sequence[Cell], world: World) -> None:
        async with asyncio.TaskGroup() as tasks:
            for cell in cells:
                tasks.create_task(cell.play(homes[id(cell)], world), name=str(cell))

    together = [cell for cell in possible if not cell.fault.alone]
    for cells in [together, *([cell] for cell in possible if cell.fault.alone)]:
        with (
            time_machine.travel(START, tick=False) as clock,
            at_worst(),
            shared.disk.installed(),
            asyncio.Runner(loop_factory=lambda: IdleTime(clock.shift)) as runner,
            mock.patch("aiocreds._core.refresh.steady", runner.get_loop().time),
            mock.patch("aiocreds._shared.circuit_breaker.monotonic", runner.get_loop().time),
            mock.patch("aiocreds._shared.leases.monotonic", runner.get_loop().time),
            mock.patch("aiocreds._shared.provider.monotonic", runner.get_loop().time),
            renewals_on_this_loop(),
        ):
            runner.run(all_at_once(cells, shared._replace(set_clock=clock.shift)))
    return possible


@contextmanager
def at_worst() -> Iterator[None]:
    """Make chance as bad as it may be: long pauses before another attempt, short ones before another trip."""

    def longest(low: float, high: float) -> float:
        return high

    def shortest(low: float, high: float) -> float:
        return low

    with (
        mock.patch("random.uniform", longest),
        mock.patch("aiocreds._core.refresh.spread", shortest),
        mock.patch("aiocreds._shared.circuit_breaker.spread", shortest),
        mock.patch("aiocreds._shared.provider.spread", longest),
        mock.patch("aiocreds._token_cache.cache.uniform", shortest),
    ):
        yield


def new_folder(path: Path) -> Path:
    """A folder, made now."""
    path.mkdir()
    return path
