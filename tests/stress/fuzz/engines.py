"""The engines that make inputs and feed them to a target.

hypothesis draws well-formed ones, and shrinks what fails. From what it drew and the published cases, a million are
made by changing them: by atheris (libFuzzer), which keeps those that reach new lines of the library, where it is
installed; else by `mutations`, which is as fast and keeps none.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.stress.fuzz.findings import MOST, Finding, attempt, finding, smaller
from tests.stress.fuzz.mutations import LONGEST, mutated

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stress.fuzz.target import Target

CORPUS = 1_000  # inputs of hypothesis to start from
WARM = 0.2  # of the inputs, before memory is looked at for the first time


@dataclass
class Tally:
    """An input of a target, and its result.

    Attributes:
        wanted: how many inputs there are to be.
        until: when to stop even so, by the monotonic clock.
        inputs: there were.
        started: when the first was fed.
        seconds: they took.
        findings: by place.
        blocks: of Python's memory that were held after a fifth of the inputs; at the end, how many more there are.
    """

    wanted: int
    until: float
    inputs: int = 0
    started: float = field(default_factory=monotonic)
    seconds: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict[str, Finding])
    blocks: int = 0

    def take(self, run: Callable[[bytes], None], data: bytes) -> bool:
        """Feed one input; whether there are to be more."""
        if (found := attempt(run, data)) is not None:
            self.findings.setdefault(found.place, found)
        self.inputs += 1
        if self.inputs == int(self.wanted * WARM):
            self.blocks = sys.getallocatedblocks()
        late = not self.inputs % 256 and monotonic() > self.until
        if self.inputs < self.wanted and len(self.findings) < MOST and not late:
            return True
        self.seconds = monotonic() - self.started
        self.blocks = sys.getallocatedblocks() - self.blocks if self.blocks else 0
        return False

    def settle(self, run: Callable[[bytes], None]) -> None:
        """Make the inputs of the findings small."""
        self.findings = {place: smaller(run, found) for place, found in self.findings.items()}


def by_hypothesis(target: Target, number: int, start: int) -> tuple[list[bytes], Finding | None]:
    """Feed what hypothesis draws. Returns the inputs, for others to start from, and what it shrank a failure to."""
    drawn: list[bytes] = []

    @seed(start)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example),
    )
    @given(target.inputs)
    def feed(data: bytes) -> None:
        drawn.append(data)
        target.run(data)

    try:
        feed()
    except Exception as error:  # noqa: BLE001 - as above; the last input is the smallest
        return drawn, finding(error, drawn[-1])
    return drawn, None


def by_mutation(target: Target, corpus: list[bytes], tally: Tally, start: int) -> None:
    """Feed what `mutations` makes of the corpus."""
    dice = Random(start)
    more = True
    while more:
        data = corpus[int(dice.random() * len(corpus))]
        more = tally.take(target.run, mutated(data, corpus, target.words, dice))


def by_atheris(
    target: Target, corpus: list[bytes], tally: Tally, start: int, folder: Path, done: Callable[[], None]
) -> NoReturn:
    """Feed what atheris makes of the corpus. libFuzzer never returns: `done` is called, and the process ends."""
    atheris = import_module("atheris")
    place = Path(tempfile.mkdtemp(dir=folder))
    (place / "corpus").mkdir()
    for number, data in enumerate(corpus):
        (place / "corpus" / str(number)).write_bytes(data)
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words if word)
    (place / "words").write_text("".join(f'"{word}"\n' for word in escaped))

    def one(data: bytes) -> None:
        if not tally.take(target.run, data):
            done()
            os._exit(0)

    options = [f"-seed={start}", f"-max_len={LONGEST}", f"-dict={place / 'words'}", "-timeout=60"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={place}/", str(place / "corpus")], one)
    atheris.Fuzz()
    raise AssertionError("libFuzzer has returned")
