"""The soak in short, in a process of its own (``nox -s soak`` runs the whole of it), and what its judge excuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import pytest

from aiocreds import Credentials, SourceUnavailable
from tests.helpers.scripted import Source, issue, until
from tests.helpers.secret_leaks import MARK
from tests.stress.soak.ledger import Book, Ledger, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="its programs are for a shell, its figures from /dev/fd")
def test_two_hundred_refreshes_with_everything_going_wrong() -> None:
    command = [sys.executable, "-m", "tests.stress.soak", "--cycles", "200"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith(" s\n")
    assert "all rules were kept" in ended.stdout
    assert ended.stderr == ""
    assert MARK not in ended.stdout


class TwoLoops:
    """Two loops in turns, on each of which a caller waits for a first load that has reached its source."""

    def __init__(self) -> None:
        self.source = Source(usual=issue)
        self.book = Book()
        self.ledger = Ledger("first", self.book, Rules(calm=True))
        self.provider = self.ledger.watch(self.source.provider())
        self.loops = asyncio.new_event_loop(), asyncio.new_event_loop()
        self.call = self.ledger.call("provider()")
        self.gates: list[asyncio.Event] = []
        self.callers: list[asyncio.Task[Credentials]] = []
        for loop in self.loops:
            self.source.gate = asyncio.Event()
            self.gates.append(self.source.gate)
            self.callers.append(loop.create_task(self._ask()))
            loop.run_until_complete(until(lambda: self.source.calls == len(self.gates)))

    async def _ask(self) -> Credentials:
        return await self.provider()

    def end(self, number: int, answer: Credentials | BaseException) -> Credentials:
        """Have the source answer on that loop; return what its caller gets."""
        self.source.script.append(answer)
        self.gates[number].set()
        return self.loops[number].run_until_complete(self.callers[number])


@pytest.fixture
def two() -> Iterator[TwoLoops]:
    two = TwoLoops()
    yield two
    for loop in two.loops:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_an_error_is_right_that_another_loops_first_load_comes_too_late_for(two: TwoLoops) -> None:
    with pytest.raises(SourceUnavailable) as error:
        two.end(0, OSError(5))
    two.end(1, issue())  # before the caller of the first loop, in another thread, gets to the judge
    two.ledger.judge_error(two.call, error.value)
    assert two.book.broken == []
    assert two.book.counts["raised: nothing had been handed out yet"] == 1


def test_an_error_is_wrong_when_another_loop_had_kept_its_first_load_before_the_failure(two: TwoLoops) -> None:
    kept = two.end(1, issue())
    assert two.end(0, OSError(5)) == kept  # so the library does not raise it
    two.ledger.judge_error(two.call, SourceUnavailable("down"))
    assert two.book.broken == [
        "first: provider(): raised SourceUnavailable('down'), and valid credentials were held"
    ]


def test_an_error_for_good_is_wrong_when_others_were_held_before_the_caller_came(two: TwoLoops) -> None:
    with pytest.raises(SourceUnavailable):
        two.end(0, ValueError())
    two.end(1, issue())
    two.ledger.judge_error(two.ledger.call("provider()"), SourceUnavailable("down"))
    assert len(two.book.broken) == 1


def test_a_first_load_of_another_loop_need_not_be_kept_when_a_failed_loop_asks_again(two: TwoLoops) -> None:
    # It has ended on its loop, and the provider there has not got to keeping it.
    with pytest.raises(SourceUnavailable):
        two.end(0, OSError(5))
    two.end(1, issue())
    for trip in two.ledger._trips:  # pyright: ignore[reportPrivateUsage] - a moment that no test can stop at
        trip.ended, trip.settled = -trip.ended, float("inf")  # the failure was the later one
    assert two.ledger._not_due(time()) == ""  # pyright: ignore[reportPrivateUsage] - as above
