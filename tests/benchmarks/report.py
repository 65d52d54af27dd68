"""A measured number beside its peer, and how to measure so that a noisy machine does not decide."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
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
        must: be reached; empty where nothing binds.
        ok: whether it was; None where nothing binds.
        by_rounds: the ratio in the lowest and the highest round, where there were rounds.
        rounds: how many there were.
        scale: lines that show where others stand, and judge nobody.
        first: what it was the first time, if that was missed and this is the second.
    """

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    must: str = ""
    ok: bool | None = None
    by_rounds: tuple[float, float] | None = None
    rounds: int = 0
    scale: tuple[Row, ...] = ()
    first: str = ""


def at_most(limit: float, what: str, ours: str, peer: str, ratios: list[float], *scale: Row) -> Row:
    """A line whose ratio, ours to the peer's, must not be higher; judged by the median round."""
    row = for_scale(what, ours, peer, ratios)
    return replace(row, must=f"≤ {limit:g}", ok=statistics.median(ratios) <= limit, scale=scale)


def at_least(limit: float, what: str, ours: str, peer: str, ratios: list[float], *scale: Row) -> Row:
    """A line whose ratio, ours to the peer's, must not be lower; judged by the median round."""
    row = for_scale(what, ours, peer, ratios)
    return replace(row, must=f"≥ {limit:g}", ok=statistics.median(ratios) >= limit, scale=scale)


def for_scale(what: str, ours: str, peer: str, ratios: list[float]) -> Row:
    """A line that judges nobody."""
    by_rounds = (min(ratios), max(ratios)) if len(ratios) > 1 else None
    return Row(what, ours, peer, statistics.median(ratios), by_rounds=by_rounds, rounds=len(ratios))


def exactly(what: str, ours: str, peer: str, must: str, *scale: Row, ok: bool) -> Row:
    """A line about a count."""
    return Row(what, ours, peer, must=must, ok=ok, scale=scale)


def show(number: float) -> str:
    """A ratio with three digits."""
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def measure(rows: Callable[[], list[Row]]) -> list[Row]:
    """Measure, and once more if anything was missed: what missed is judged by the second time, and says so."""
    measured = rows()
    if all(row.ok is not False for row in measured):
        return measured
    return [
        first
        if first.ok is not False
        else replace(second, first=first.ours if first.ratio is None else show(first.ratio))
        for first, second in zip(measured, rows(), strict=True)
    ]


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
