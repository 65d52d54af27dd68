"""Run one target in a process of its own.

``python -m tests.stress.fuzz.worker '{"target": ...}'`` prints what came of it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import sys
import warnings
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tests.stress.fuzz.engines import CORPUS, Tally, by_atheris, by_hypothesis, by_mutation
from tests.stress.fuzz.findings import attempt
from tests.stress.fuzz.limits import growth, memory

if TYPE_CHECKING:
    from tests.stress.fuzz.target import Target

RESULT = "result: "


@dataclass(frozen=True, slots=True)
class Job:
    """A task for a worker.

    Attributes:
        target: which one.
        inputs: how many; 0: measure time and memory instead.
        examples: how many of hypothesis before them.
        seconds: when to stop even so.
        seed: of all dice.
        engine: "atheris" or "mutations".
        folder: for files.
    """

    target: str
    inputs: int
    examples: int
    seconds: float
    seed: int
    engine: str
    folder: str


@dataclass(slots=True)
class Result:
    """The result of a task.

    Attributes:
        target: which one.
        engine: that made the inputs; blank where time and memory were measured.
        examples: of hypothesis.
        inputs: of the engine.
        seconds: they took.
        blocks: of memory held more at their end than after the first fifth.
        findings: what went wrong, and the command that shows it again.
        slowest: the shape of input with which time grows most, and how much.
        slow: all with which it grows too much.
        held: bytes that are held more after more inputs.
    """

    target: str
    engine: str = ""
    examples: int = 0
    inputs: int = 0
    seconds: float = 0.0
    blocks: int = 0
    findings: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    slowest: tuple[str, float] = "", 0.0
    slow: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    held: int = 0


def load(name: str, *, instrumented: bool = False) -> Target:
    """A target, with the library under it; with `instrumented`, atheris sees which of its lines are reached."""
    watching = contextlib.nullcontext()
    if instrumented:
        watching = import_module("atheris").instrument_imports(include=["aiocreds"])
    with watching:
        target: Target = import_module(f"tests.stress.fuzz.{name}").TARGET
    return target


def has_atheris() -> bool:
    """Return whether it is installed."""
    return find_spec("atheris") is not None


class Formats(logging.Handler):
    """Puts every record together and drops it: that must work, too."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def strict() -> None:
    """Make warnings errors, and every log record be put together; give no other thread its turn: there is none."""
    from aiocreds._profiles import parser

    setattr(parser, "sleep", abs)  # noqa: B010 - it is no public name there
    warnings.simplefilter("error")
    logger = logging.getLogger("aiocreds")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Formats())
    logger.propagate = False
    logging.raiseExceptions = True


def feed(job: Job) -> None:
    """Give a target its inputs."""
    target = load(job.target, instrumented=job.engine == "atheris")
    strict()
    drawn, shrunk = by_hypothesis(target, job.examples, job.seed)
    corpus = [*target.seeds, *drawn[-CORPUS:]]
    tally = Tally(job.inputs, monotonic() + job.seconds)
    for found in (shrunk, *(attempt(target.run, data) for data in target.known())):
        if found is not None:
            tally.findings.setdefault(found.place, found)

    def done() -> None:
        tally.settle(target.run)
        findings = [(found.what, found.place, found.line(job.target)) for found in tally.findings.values()]
        result = Result(job.target, job.engine, len(drawn), tally.inputs, tally.seconds, tally.blocks, findings)
        _print(result)

    if job.engine == "atheris":
        by_atheris(target, corpus, tally, job.seed, Path(job.folder), done)
    by_mutation(target, corpus, tally, job.seed)
    done()


def measure(job: Job) -> None:
    """Measure how a target's time and memory grow."""
    target = load(job.target)
    strict()
    grown = [growth(target, shape) for shape in target.growing]
    worst = max(grown, key=lambda one: one.factor, default=None)
    result = Result(job.target)
    if worst is not None:
        result.slowest = worst
    result.slow = [one for one in grown if not one.ok]
    drawn, _ = by_hypothesis(target, job.examples // 4, job.seed)
    result.held = memory(target, [*target.seeds, *drawn], job.seed)
    _print(result)


def _print(result: Result) -> None:
    print(RESULT + json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    faulthandler.enable()
    job = Job(**json.loads(sys.argv[1]))
    (feed if job.inputs else measure)(job)
