"""Plays all cells and holds what happens against the table: ``python -m tests.stress.faults [--rewrite]``."""

from __future__ import annotations

import argparse
import difflib
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.helpers.secret_leaks import Watch
from tests.stress.faults.cells import Phase, play
from tests.stress.faults.faults import faults_of
from tests.stress.faults.sources import SHARED, SUBJECTS
from tests.stress.faults.table import ANEW, KEPT, document, kept


def main() -> int:
    """Tell whether all rules hold and the table is as it was."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress.faults", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--rewrite", action="store_true", help="write the table anew")
    options = parser.parse_args()
    watch = Watch()
    logger = logging.getLogger("aiocreds")
    logger.addHandler(watch)
    logger.setLevel(logging.DEBUG)
    started = perf_counter()
    with TemporaryDirectory() as folder:
        cells = play((*SUBJECTS, *SHARED), Path(folder))
    took = perf_counter() - started
    broken = [f"{cell}: {words}" for cell in cells for words in dict.fromkeys(cell.broken)]
    broken += [f"a secret was logged: {text}" for text in watch.caught]
    for words in broken:
        print(words)
    found, before = document(cells), kept()
    if options.rewrite:
        KEPT.write_text(found, encoding="utf-8")
    elif found != before:
        changes = difflib.unified_diff(before.splitlines(), found.splitlines(), str(KEPT), "now", lineterm="", n=0)
        print(*changes, ANEW, sep="\n")
    impossible = sum(len(faults_of(subject)) for subject in (*SUBJECTS, *SHARED)) * len(Phase) - len(cells)
    print(f"{len(cells)} cells, {impossible} that cannot be, {len(broken)} broken rules, {took:.0f} s")
    return 1 if broken or (found != before and not options.rewrite) else 0


if __name__ == "__main__":
    sys.exit(main())
