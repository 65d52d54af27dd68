"""The outcomes, as ``matrix.md`` keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.stress.faults.cells import BURST, FEW, LATER, Phase
from tests.stress.faults.faults import faults_of
from tests.stress.faults.sources import SHARED, SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.stress.faults.cells import Cell
    from tests.stress.faults.sources import Subject

KEPT = Path(__file__).with_name("matrix.md")
ANEW = "read what has changed, and if it is meant: nox -s faults -- --rewrite"
AFTER = " and ".join(", ".join(f"{later:g}" for later in LATER).rsplit(", ", 1))
INTRODUCTION = f"""# What callers get when things go wrong

Written by `nox -s faults -- --rewrite`, and held against the code by `tests/meta/test_fault_matrix.py`.

Each field says what callers got, in this order; how long the slowest of them waited; how many trips to the source
there were / how many requests the source saw. *kept* are the credentials from before the fault, *new* are others.

{BURST} callers come when the fault strikes, and {FEW} more after each of {AFTER} s, as long as the phase lasts; the
fault stays. All time-outs are the defaults. Pauses between the attempts of a trip are as long as they may be, those
between trips as short.

In every field these rules hold; what generates the table checks them: no error while any credential is usable; no
caller waits longer than the source's time-out budget, nor for more than 3 s with something to serve, nor at all
before the mandatory window or while the source is left alone; the source is called no more often than the refresh
rules allow; nobody gets credentials that were not handed out; nobody is talked into a wrong time; what is raised is
one of our errors, and shows no secret. The last sections are about stores that a source is shared through: there,
another host or process has put an entry into the store before the fault, and no caller waits because of the store
longer than its bound: 0.25 s, and 2 s for a folder; for the lease of a process that was stopped 10 s and a pause.
"""


def document(cells: Sequence[Cell]) -> str:
    """The whole file."""
    return "\n".join([INTRODUCTION, *(section(subject, cells) for subject in (*SUBJECTS, *SHARED))])


def section(subject: Subject, cells: Sequence[Cell]) -> str:
    """The part of one source."""
    fields = {(cell.fault.name, cell.phase): cell.text for cell in cells if cell.subject is subject}
    lines = [["", *(phase.value for phase in Phase)], ["---"] * (len(Phase) + 1)]
    for fault in faults_of(subject):
        if reason := fault.impossible(subject):
            lines.append([fault.name, f"cannot be: it {reason}", *[""] * (len(Phase) - 1)])
        else:
            lines.append([fault.name, *(fields[fault.name, phase] for phase in Phase)])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {subject.name}\n\n{rows}\n"


def kept() -> str:
    """The file as it is."""
    return KEPT.read_text(encoding="utf-8") if KEPT.exists() else ""
