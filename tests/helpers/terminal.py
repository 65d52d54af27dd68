"""A pseudo-terminal, and a program that has it as its controlling one."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.helpers.command import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CTRL_C = "\x03"
# Without a fork in this process, which has threads: whoever is started takes the terminal, and becomes the program.
TAKE_IT = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A program at a pseudo-terminal: the output that a person sees, and the keys that they press.

    Attributes:
        process: the program.
        seen: all that it has printed.
    """

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self.seen = ""
        self._master = master

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    async def until(self, text: str) -> None:
        """Wait until this can be read."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.seen:
                assert self._read(), f"{text!r} is not in {self.seen!r}"
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        """The exit status, once the program has ended and all has been read."""
        async with asyncio.timeout(PATIENCE):
            while self._read():  # noqa: ASYNC110 - a terminal has no event for it
                await asyncio.sleep(0.02)
            return await self.process.wait()

    def _read(self) -> bool:
        """Read what is there; whether more may come."""
        try:
            while piece := os.read(self._master, 1 << 16):
                self.seen += piece.decode(errors="replace").replace("\r\n", "\n")
        except BlockingIOError:
            return True
        except OSError:  # nobody has the other end open any more
            return False
        return False


@asynccontextmanager
async def at_a_terminal(*words: str, environ: Mapping[str, str], cwd: str | None = None) -> AsyncIterator[Terminal]:
    """Run a program at a terminal while the block runs; it is killed at the end if it still runs then."""
    import pty

    master, slave = pty.openpty()
    os.set_blocking(master, False)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TAKE_IT, *words),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(master)
