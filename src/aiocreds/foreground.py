"""Give programs that ask a person the foreground of the terminal, one at a time.

A program is started in the background of this process's terminal. The kernel stops it as soon as it reads there, or
switches the echo off: that is how it is known to have asked. While a caller waits, it is then put into the
foreground, where the prompt can be answered and Ctrl-C reaches it alone. Ctrl-Z stops it together with us, as in a
shell. A program that never asks never has the foreground.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

if sys.platform != "win32":
    import termios

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_prompt = threading.Lock()
PAUSE = 0.05  # seconds between two looks
ASKING = tuple(getattr(signal, name) for name in ("SIGTTIN", "SIGTTOU") if hasattr(signal, name))


def _after_fork() -> None:
    global _prompt
    _prompt = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@asynccontextmanager
async def one_prompt_at_a_time() -> AsyncIterator[None]:
    """Wait until nobody else in this process asks a person."""
    prompt = _prompt
    while not prompt.acquire(blocking=False):  # noqa: ASYNC110 - another loop may hold it, and people are slow
        await asyncio.sleep(PAUSE)
    try:
        yield
    finally:
        prompt.release()


def is_asking() -> bool:
    """Return whether somebody in this process asks a person just now."""
    return _prompt.locked()


class Terminal:
    """The controlling terminal of this process, and the one program that may ask there.

    Attributes:
        descriptor: of the open device; the program has it as its standard input.
        asked: the program has asked.
        refused: why it was ended instead of being answered: ``"nobody waits"`` or ``"in the background"``.
    """

    __slots__ = ("_settings", "asked", "descriptor", "refused")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.asked = False
        self.refused = ""
        self._settings: list[Any] | None = None

    async def watch(self, pid: int, attended: Callable[[], bool]) -> None:
        """Wait until a program asks, and let it have the foreground until it has ended.

        Args:
            pid: of the program, which leads a process group of its own in this session.
            attended: tells whether a caller waits. If not, a program that asks is killed.
        """
        while (stopped := await _next_stop(pid)) not in ASKING:
            if stopped is None:
                return
        self.asked = True
        if not attended():
            self._refuse(pid, "nobody waits")
            return
        async with one_prompt_at_a_time():
            try:
                if not self._give(pid):
                    self._refuse(pid, "in the background")
                    return
                while (await _next_stop(pid)) is not None:  # Ctrl-Z
                    self._take_back(pid)
                    os.kill(0, signal.SIGTSTP)  # this process goes on from here when the shell lets it
                    while not self._give(pid):  # noqa: ASYNC110 - continued in the background, and nobody tells
                        await asyncio.sleep(PAUSE)
            finally:
                self._take_back(pid)

    def _refuse(self, pid: int, reason: str) -> None:
        self.refused = reason
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def _give(self, group: int) -> bool:
        """Put a process group into the foreground and let it go on; return whether that was ours to give."""
        if os.tcgetpgrp(self.descriptor) != os.getpgrp():
            return False
        self._settings = termios.tcgetattr(self.descriptor)
        with _not_stopped():
            os.tcsetpgrp(self.descriptor, group)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGCONT)
        return True

    def _take_back(self, group: int) -> None:
        """Put this process into the foreground again, with the terminal's settings as they were."""
        with suppress(OSError, termios.error), _not_stopped():
            if self._settings is not None and os.tcgetpgrp(self.descriptor) == group:
                os.tcsetpgrp(self.descriptor, os.getpgrp())
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self._settings)


@contextmanager
def controlling_terminal() -> Iterator[Terminal | None]:
    """Open the terminal of this process; None where there is none: in a service, and on Windows."""
    descriptor = -1
    if sys.platform != "win32":
        with suppress(OSError):
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield Terminal(descriptor) if descriptor >= 0 else None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


async def _next_stop(pid: int) -> int | None:
    """Wait until a program is stopped; return the signal that did it, or None when it has ended."""
    while True:
        try:
            if (stopped := _look(pid, os.WSTOPPED)) is not None:
                return stopped
            if _look(pid, os.WEXITED | os.WNOWAIT) is not None:
                return None
        except ChildProcessError:  # somebody else has asked for its status
            return None
        await asyncio.sleep(PAUSE)


def _look(pid: int, at: int) -> int | None:
    """Return what a program was stopped by, or has ended with; None where it has not."""
    found = os.waitid(os.P_PID, pid, at | os.WNOHANG)
    return None if found is None else found.si_status


@contextmanager
def _not_stopped() -> Iterator[None]:
    """Keep the kernel from stopping this process while it changes a terminal that it is in the background of."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
