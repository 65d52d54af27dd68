"""The table of docs/reference/numbers.md, from the run that is kept: ``python -m tests.benchmarks.readme [FILE]``.

FILE is what ``python -m tests.benchmarks --json FILE`` wrote, and becomes the run that is kept.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.report import show

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs/reference/numbers.md"
BEGIN, END = "<!-- by tests/benchmarks/readme.py -->\n", "<!-- end -->\n"


def numbers(document: dict[str, Any]) -> str:
    """A kept run as a table of ratios."""
    run = document["run"]
    versions = ", ".join(f"{name} {run[name]}" for name in ("aiohttp", "aiobotocore", "botocore"))
    lines = [
        "| what | ours | beside | ratio | must reach | for scale |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(_cells(row))} |" for row in document["rows"]),
        "",
        f"Measured on {run['date']}: {run['cores']} cores, load {run['load']}, Python {run['python']}, {versions}.",
        "",
    ]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    ratio = "" if row["ratio"] is None else show(row["ratio"])
    scale = [
        f"{other['what']}: {other['ours'] if other['ratio'] is None else show(other['ratio'])}"
        for other in row["scale"]
    ]
    return [row["what"], row["ours"], row["peer"], ratio, row["must"], "; ".join(scale)]


def renewed(page: str, document: dict[str, Any]) -> str:
    """Return the page with the table of this run."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + numbers(document) + END + after


def kept() -> dict[str, Any]:
    """The run that the repository holds."""
    document: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return document


if __name__ == "__main__":
    for file in sys.argv[1:]:
        shutil.copyfile(file, RESULTS)
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), kept()), encoding="utf-8")
