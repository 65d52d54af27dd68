"""The command as users run it: a process of its own, on a machine that the test makes up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.helpers.secret_leaks import mark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

PATIENCE = 60.0  # seconds until something that should happen soon counts as not happening
COMMAND = [sys.executable, "-W", "error", "-m", "aiocreds"]


class Ended(NamedTuple):
    """A process that has ended."""

    status: int | None
    out: str
    err: str


@dataclass
class Machine:
    """Where commands run.

    Attributes:
        home: their home folder.
        environ: what is in their environment besides.
    """

    home: Path
    environ: Mapping[str, str]

    @property
    def variables(self) -> dict[str, str]:
        """Their whole environment."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(self.home),
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.environ,
        }

    async def aiocreds(self, *arguments: str, **variables: str) -> Ended:
        """Run ``aiocreds`` to its end."""
        return await self.run(*COMMAND, *arguments, **variables)

    async def run(self, *words: str, cwd: str | None = None, **variables: str) -> Ended:
        """Run anything to its end."""
        process = await self.start(*words, cwd=cwd, **variables)
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            raise
        return Ended(process.returncode, out.decode(), err.decode())

    async def start(self, *words: str, cwd: str | None = None, **variables: str) -> asyncio.subprocess.Process:
        """Start anything."""
        pipe = asyncio.subprocess.PIPE
        environ = {**self.variables, **variables}
        # A session of its own: what a terminal sends is not ours to get.
        return await asyncio.create_subprocess_exec(
            *words, stdout=pipe, stderr=pipe, env=environ, cwd=cwd, start_new_session=True
        )

    @asynccontextmanager
    async def serving(self, *arguments: str, **variables: str) -> AsyncIterator[Server]:
        """``aiocreds serve`` while the block runs; it has to end well."""
        process = await self.start(*COMMAND, "serve", *arguments, **variables)
        assert process.stdout is not None
        server = Server(process, [])
        try:
            async with asyncio.timeout(PATIENCE):
                while not any(line.startswith("AWS_CONTAINER_AUTHORIZATION_TOKEN") for line in server.lines):
                    line = await process.stdout.readline()
                    assert line, (await process.communicate())[1].decode()
                    server.lines.append(line.decode().rstrip("\n"))
            mark(server.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"))
            yield server
            if process.returncode is None:
                process.terminate()
        except BaseException:
            if process.returncode is None:
                process.kill()
            raise
        finally:
            async with asyncio.timeout(PATIENCE):
                _, err = await process.communicate()
            server.err = err.decode()


@dataclass
class Server:
    """An ``aiocreds serve`` that runs.

    Attributes:
        process: its.
        lines: what it printed.
        err: what it wrote to stderr, when it has ended.
    """

    process: asyncio.subprocess.Process
    lines: list[str]
    err: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """The variables it printed."""
        return dict(line.split("=", 1) for line in self.lines)
