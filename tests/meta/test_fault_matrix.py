"""The table in matrix.md says what happens, and the rules hold in every cell."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.helpers.valkey import program
from tests.stress.faults.cells import play
from tests.stress.faults.sources import SHARED, SUBJECTS, Subject
from tests.stress.faults.table import ANEW, INTRODUCTION, kept, section

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and /proc of Linux")]


@pytest.mark.timeout(240)  # seconds; half a minute is usual for the slowest on a busy machine
@pytest.mark.parametrize("subject", [*SUBJECTS, *SHARED], ids=lambda subject: subject.name)
def test_the_rules_hold_and_the_table_is_as_it_was(subject: Subject, tmp_path: Path) -> None:
    if "store" in subject.has and (program() is None or find_spec("key_value") is None):
        pytest.skip("no valkey-server or py-key-value-aio is installed")
    cells = play([subject], tmp_path)
    assert [f"{cell}: {words}" for cell in cells for words in cell.broken] == []
    assert section(subject, cells) in kept(), ANEW


def test_nothing_else_is_in_the_table() -> None:
    assert kept().startswith(INTRODUCTION), ANEW
    headings = [line.removeprefix("## ") for line in kept().splitlines() if line.startswith("## ")]
    assert headings == [subject.name for subject in (*SUBJECTS, *SHARED)], ANEW
