"""Programs for ``credential_process``, and what is left of them."""

from __future__ import annotations

import itertools
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.helpers.scripted import until
from tests.helpers.secret_leaks import secret

KEY = "ASIAPROCESS00001"
_numbers = itertools.count()


class Programs:
    """A folder of small programs, and the processes that carry this test's mark in their environment."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.mark = f"AIOCREDS_TEST={os.getpid()}.{next(_numbers)}"
        environ |= {"AIOCREDS_TEST": self.mark.partition("=")[2], "PATH": os.defpath}

    def prints(self, **fields: object) -> str:
        """Return a command that prints credentials."""
        document = {
            "Version": 1,
            "AccessKeyId": KEY,
            "SecretAccessKey": secret(),
            "SessionToken": secret(),
            **fields,
        }
        return self.prints_text(json.dumps({name: value for name, value in document.items() if value is not None}))

    def prints_text(self, text: str | bytes) -> str:
        """Return a command that prints this."""
        file = self.folder / f"output-{next(_numbers)}"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return f"cat {file}"

    def script(self, text: str, name: str = "vend", mode: int = 0o755, shebang: str = "#!/bin/sh\n") -> Path:
        """Write an executable script, and return its path."""
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{shebang}{text}\n")
        file.chmod(mode)
        return file

    def processes(self) -> set[str]:
        """Return the processes that are left of the programs, dead ones that nobody reaped included."""
        found: set[str] = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(folder.name)
                if (folder / "stat").read_text().rpartition(")")[2].split()[:2] == ["Z", str(os.getpid())]:
                    found.add(folder.name)
            except OSError:
                continue
        return found

    def kill(self) -> None:
        """Kill those that are left."""
        for number in self.processes():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)

    async def nothing_runs(self) -> None:
        """Wait until none of them is left."""
        await until(lambda: not self.processes())
