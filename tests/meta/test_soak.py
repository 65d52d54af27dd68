"""The soak in short, in a process of its own; ``nox -s soak`` runs the whole of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.secret_leaks import MARK

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
