"""Running the local STS, for the topics that need one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.benchmarks import sts_server

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def serving() -> Generator[str]:
    """The URL of an STS in another process, whose CPU time is not the client's."""
    command = [sys.executable, sts_server.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise AssertionError("it was asked for a pipe")
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()
