"""Give programs that ask a person the foreground of the terminal, one at a time.

A program is started in the background of this process's terminal. The kernel stops it as soon as it reads there, or
switches the echo off: so it is known to ask. While a caller waits, it is then put into the foreground, where the
prompt can be answered and Ctrl-C reaches it alone. Ctrl-Z stops it together with us, as in a shell. A program that
never asks never has the foreground. While we are not in the foreground ourselves, it waits for another program of
our job, or for a person who types ``fg``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

if sys.platform != "win32":
    import termios

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from subprocess import Popen

_prompt = threading.Lock()
_terminal_left = False
PAUSE = 0.05  # seconds between two checks
LENDER = "_AIOCREDS_TERMINAL_LENT_BY"  # in a program's environment: the process group that lets it ask
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


def leave_terminal() -> None:
    """Let no program ask any more: from now on, the command of ``aiocreds exec`` has the terminal."""
    global _terminal_left
    _terminal_left = True


def is_asking() -> bool:
    """Return whether this process asks a person just now."""
    return _prompt.locked()


class Terminal:
    """The controlling terminal of this process, and the one program that may ask there.

    Attributes:
        descriptor: of the open device; the program has it as its standard input.
        asked: the program has asked.
        given: the program has had the foreground.
        declined: the program was ended when it asked, since nobody waits for it.
    """

    __slots__ = ("_jobs", "_program_settings", "_settings", "asked", "declined", "descriptor", "given")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.asked = False
        self.given = False
        self.declined = False
        self._settings: list[Any] | None = None
        self._program_settings: list[Any] | None = None
        self._jobs = 0  # the group that the program has put into the foreground, after that was killed

    async def watch(
        self,
        process: Popen[bytes],
        limit: asyncio.Timeout,
        *,
        attended: Callable[[], bool],
        asks: Callable[[], object],
    ) -> None:
        """Wait until a program asks, and let it have the foreground until it has ended.

        Args:
            process: the program, which leads a process group of its own in this session.
            limit: of its time; other prompts, and being stopped with us, take none of it.
            attended: returns whether a caller waits. If not, a program that asks is killed.
            asks: called when it asks.
        """
        while (stopped := await _next_stop(process)) not in ASKING:
            if stopped is None:
                return
        self.asked = True
        asks()
        async with AsyncExitStack() as prompted:
            with _paused(limit):
                await prompted.enter_async_context(one_prompt_at_a_time())
            prompted.callback(self._take_foreground_back, process.pid)
            while await self._give_foreground_in_turn(process.pid, limit, attended):
                stopped = await _next_stop(process)
                if stopped is None:
                    return
                if stopped == signal.SIGTSTP:  # Ctrl-Z, which the terminal has sent to the program alone
                    self._take_foreground_back(process.pid)
                    await _stop_ourselves(signal.SIGTSTP, limit)

    async def _give_foreground_in_turn(
        self, group: int, limit: asyncio.Timeout, attended: Callable[[], bool]
    ) -> bool:
        """Give a group the foreground as soon as we have it; return False when nobody waits for that."""
        is_paused = False
        while attended():
            if self._give_foreground(group):
                return True
            if not is_paused and os.environ.get(LENDER, str(os.getpgrp())) != str(os.getpgrp()):
                is_paused = True  # another aiocreds has started us, and sees by this that we ask
                await _stop_ourselves(signal.SIGTTIN, limit)
                continue
            # Another program asks, or we are a background job of a shell; no signal announces the end of that.
            await asyncio.sleep(PAUSE)
        self.declined = True
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        return False

    def _give_foreground(self, group: int) -> bool:
        """Put a process group into the foreground and let it continue; return False when we are not there."""
        with suppress(OSError, termios.error), _without_stops():
            if os.tcgetpgrp(self.descriptor) != os.getpgrp():
                return False
            self._settings = termios.tcgetattr(self.descriptor)
            os.tcsetpgrp(self.descriptor, group)
            if self._program_settings is not None:
                termios.tcsetattr(self.descriptor, termios.TCSANOW, self._program_settings)
            os.killpg(group, signal.SIGCONT)
            self.given = True
        return True  # also without the terminal or the program, whose end shows then

    def end_jobs(self, group: int) -> None:
        """Kill the group that a program has put into the foreground itself, as ``bash -i`` does with its jobs."""
        with suppress(OSError, termios.error):
            front = os.tcgetpgrp(self.descriptor)
            if self.given and front not in (group, os.getpgrp(), os.getpgid(os.getsid(0))):
                self._jobs = front
                os.killpg(front, signal.SIGKILL)

    def reclaim(self, group: int) -> None:
        """Put this process into the foreground again after the end of a program that was there."""
        if self.given:
            self._take_foreground_back(group)

    def _take_foreground_back(self, group: int) -> None:
        """Put this process into the foreground again, with the terminal's settings as they were."""
        with suppress(OSError, termios.error), _without_stops():
            if self._settings is not None and os.tcgetpgrp(self.descriptor) in (group, self._jobs):
                self._program_settings = termios.tcgetattr(self.descriptor)  # with the echo off, most often
                os.tcsetpgrp(self.descriptor, os.getpgrp())
                # TCSADRAIN would wait for a person who has pressed Ctrl-S.
                termios.tcsetattr(self.descriptor, termios.TCSANOW, self._settings)


@contextmanager
def controlling_terminal() -> Iterator[Terminal | None]:
    """Open the terminal of this process; None where there is none: in a service, and on Windows."""
    descriptor = -1
    if sys.platform != "win32" and not _terminal_left:
        with suppress(OSError):
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield Terminal(descriptor) if descriptor >= 0 else None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


async def _next_stop(process: Popen[bytes]) -> int | None:
    """Wait until a program is stopped; return the signal that did it, or None when it has ended."""
    while True:
        try:
            if (stopped := _stopped_by(process)) is not None:
                return stopped
            if has_ended(process):
                return None
        except ChildProcessError:  # other code has waited for it
            return None
        await asyncio.sleep(PAUSE)


def _stopped_by(process: Popen[bytes]) -> int | None:
    """Return the signal that has stopped a program since the last check, or None."""
    if hasattr(os, "waitid"):
        found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG)
        return None if found is None else found.si_status
    if process.returncode is not None:
        return None
    pid, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
    if pid and os.WIFSTOPPED(status):
        return os.WSTOPSIG(status)
    if pid:
        process.returncode = os.waitstatus_to_exitcode(status)
    return None


def has_ended(process: Popen[bytes]) -> bool:
    """Return whether a program has ended; if the system can, without a wait that frees its process id."""
    if process.returncode is not None or not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # other code has waited for it
        return True


async def _stop_ourselves(number: int, limit: asyncio.Timeout) -> None:
    """Stop this process and the rest of its job, as the terminal would, until they are continued."""
    with _paused(limit):
        os.kill(0, number)
        await asyncio.sleep(PAUSE)  # another thread may have got the signal, and this one runs on for a moment


@contextmanager
def _paused(limit: asyncio.Timeout) -> Iterator[None]:
    """Pause a time limit."""
    loop, until = asyncio.get_running_loop(), limit.when()
    before = loop.time()
    limit.reschedule(None)
    try:
        yield
    finally:
        if until is not None:
            limit.reschedule(until + loop.time() - before)


@contextmanager
def _without_stops() -> Iterator[None]:
    """Keep the kernel from stopping this process when it changes the terminal from the background."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
