"""How time grows with the length of an input, and memory with the number of inputs. Without any instrumentation."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from contextlib import suppress
from random import Random
from time import process_time
from typing import TYPE_CHECKING, NamedTuple

import yarl

from tests.stress.fuzz.mutations import mutated

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stress.fuzz.target import Target

# A long input may take so many times the time of one that is a quarter as long. Quadratic time would be 16-fold.
TIMES, TIMES_THE_TIME = 4, 10
AHEAD = 8  # times as long as an input that can just be measured: there what is quadratic prevails
ENOUGH = 0.003  # seconds of CPU that can be measured
LONGEST = 2**17  # in what a shape counts
RUNS, LOOKS = 5, 5  # of the shorter inputs; at the longest, where a noisy machine may have decided

WARM, MEASURED = 10_000, 20_000  # inputs
MOST_HELD = 128 * 1024  # bytes; caches of bounded length hold inputs of different lengths


class Growth(NamedTuple):
    """How time grows with one shape of input."""

    shape: str
    factor: float

    @property
    def ok(self) -> bool:
        """Return whether that is about linear."""
        return self.factor <= TIMES_THE_TIME


def growth(target: Target, shape: str) -> Growth:
    """Measure one shape."""
    make = target.growing[shape]
    size = 64
    while _cpu(target.measure, make(size), RUNS) < ENOUGH and size * AHEAD * TIMES < LONGEST:
        size *= 2
    size *= AHEAD
    short = max(_cpu(target.measure, make(size), RUNS), ENOUGH / 2)
    factor = float("inf")
    for _ in range(LOOKS):
        factor = min(factor, _cpu(target.measure, make(size * TIMES), 1) / short)
        if factor <= TIMES_THE_TIME:
            break
    return Growth(shape, factor)


def _cpu(feed: Callable[[bytes], None], data: bytes, runs: int) -> float:
    """Seconds of CPU that an input takes: the best of the runs, since nothing makes code faster than it is."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(runs):
            _forget()
            started = process_time()
            feed(data)
            best = min(best, process_time() - started)
    finally:
        gc.enable()
    return best


def _forget() -> None:
    """Empty the caches, that the same input is new once more."""
    yarl.cache_clear()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("aiocreds", "urllib"):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def memory(target: Target, corpus: list[bytes], start: int, inputs: int = MEASURED) -> int:
    """Bytes that are held after so many inputs more than before them, when all caches are warm."""
    dice = Random(start)
    run = target.run
    del start
    tracemalloc.start()
    try:
        held: list[int] = []
        for number in (min(WARM, inputs), inputs):
            for _ in range(number):
                data = mutated(corpus[int(dice.random() * len(corpus))], corpus, target.words, dice)
                with suppress(Exception):  # told by who looks for such
                    run(data)
            data = b""
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return held[1] - held[0]
