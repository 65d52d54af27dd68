"""A measured number beside its peer, and how to measure so that a noisy machine does not decide."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: was measured.
        ours: in the unit it shows.
        peer: likewise, with the peer's name.
        ratio: of the two, as it is judged; None where a plain number is.
        must: be reached; empty for a line that is there for scale.
        ok: whether it was; None for a line that is there for scale.
        by_rounds: the ratio in the best and the worst round, where there were rounds.
    """

    what: str
    ours: str
    peer: str
    ratio: float | None = None
    must: str = ""
    ok: bool | None = None
    by_rounds: tuple[float, float] | None = None


def at_most(limit: float, what: str, ours: str, peer: str, ratios: list[float]) -> Row:
    """A line whose ratio, ours to the peer's, must not be higher; judged by the median round."""
    ratio = statistics.median(ratios)
    return Row(what, ours, peer, ratio, f"≤ {limit:g}", ratio <= limit, (min(ratios), max(ratios)))


def at_least(limit: float, what: str, ours: str, peer: str, ratios: list[float]) -> Row:
    """A line whose ratio, ours to the peer's, must not be lower; judged by the median round."""
    ratio = statistics.median(ratios)
    return Row(what, ours, peer, ratio, f"≥ {limit:g}", ratio >= limit, (min(ratios), max(ratios)))


def for_scale(what: str, ours: str, peer: str, ratios: list[float]) -> Row:
    """A line that shows where others stand, and judges nobody."""
    return Row(what, ours, peer, statistics.median(ratios), by_rounds=(min(ratios), max(ratios)))


def exactly(what: str, ours: str, peer: str, must: str, *, ok: bool) -> Row:
    """A line about a count."""
    return Row(what, ours, peer, must=must, ok=ok)


Rounds = dict[str, list[float]]


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Measure A B C, A B C, …: what slows the machine for a while slows them all."""
    for run in contenders.values():
        run()  # warm
    measured: Rounds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            measured[name].append(run())
    return measured


async def alternate_async(contenders: Mapping[str, Callable[[], Awaitable[float]]], rounds: int) -> Rounds:
    """The same on a running loop."""
    for run in contenders.values():
        await run()
    measured: Rounds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            measured[name].append(await run())
    return measured


def ratios(measured: Rounds, ours: str, peer: str) -> list[float]:
    """Ours to the peer's, round by round: two neighbours in time saw the same machine."""
    return [a / b for a, b in zip(measured[ours], measured[peer], strict=True)]


def median(measured: Rounds, name: str) -> float:
    """The median round of one contender."""
    return statistics.median(measured[name])
