"""Run programs that may hang, write too much or leave children behind, without a shell."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from aiocreds._base import threads
from aiocreds._base.foreground import LENDER, Terminal, controlling_terminal, has_ended
from aiocreds._base.redaction import SecretBuffer, SecretBytes, SecretStr
from aiocreds._base.threads import runs_here
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if sys.platform == "win32":
    from asyncio.windows_utils import PIPE, Popen  # their pipes can be awaited
    from subprocess import DEVNULL
else:
    from subprocess import DEVNULL, PIPE, Popen

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

LONGEST_COMMAND = 32 * 1024  # characters, about what Windows can start; the time of shlex is quadratic in a word
LONGEST_OUTPUT = 64 * 1024
PIECE = 8 * 1024
LONGEST_PAUSE = 0.05
GRACE = 1.0  # seconds that a program has to end what it started, before it is killed


class Ended(NamedTuple):
    """A program that ran to its end.

    Attributes:
        status: its exit status; negative for the signal that killed it.
        stdout: what it printed.
        stderr: the beginning of what it wrote there.
        asked: it asked a person at the terminal.
        declined: it was killed when it asked, since nobody waited.
        terminal: whether it had one.
    """

    status: int
    stdout: SecretBytes
    stderr: SecretBytes
    asked: bool = False
    declined: bool = False
    terminal: bool = False

    @property
    def interrupted(self) -> bool:
        """Return whether a person pressed Ctrl-C instead of answering, which many programs report as 130."""
        return self.asked and self.status in (-signal.SIGINT, 128 + signal.SIGINT)


def split_command(command: str, *, place: str) -> list[str]:
    """Return the words of a command line, by the platform's rules. Any of them may be a secret.

    Raises:
        InvalidConfiguration: there are none, or too many, or the last one does not end.
    """
    if len(command) > LONGEST_COMMAND:
        raise InvalidConfiguration(
            f"{place} has more than {LONGEST_COMMAND // 1024} Ki characters: put the command into a script"
        )
    try:
        words = _split_windows(command) if sys.platform == "win32" else shlex.split(command)
    except ValueError as error:
        fault = "a quotation mark is not closed: close it"
        if "escaped" in str(error):
            fault = "the backslash at its end escapes nothing: remove it"
        raise InvalidConfiguration(f"{place}: {fault}") from None
    if not words or not words[0]:
        raise InvalidConfiguration(f"{place} is blank: write the command to run, or remove it")
    return [SecretStr(word) for word in words]


def _split_windows(command: str) -> list[str]:
    import ctypes  # slow to load

    windll = getattr(ctypes, "windll")  # noqa: B009 - unknown to type checkers elsewhere
    split = windll.shell32.CommandLineToArgvW
    split.restype = ctypes.POINTER(ctypes.c_wchar_p)
    count = ctypes.c_int()
    words = split(ctypes.c_wchar_p(command.strip()), ctypes.byref(count))
    try:
        return [words[index] or "" for index in range(count.value)]
    finally:
        windll.kernel32.LocalFree(words)


async def run(
    words: list[str],
    environ: Mapping[str, str],
    *,
    origin: str,
    seconds: float,
    more_time: str,
    attended: Callable[[], bool],
    asks: Callable[[], object],
) -> Ended:
    """Run a program to its end; kill it with its children when this is cancelled or the time is over.

    Its standard input is the terminal of this process, where it may ask a person while a caller waits; without a
    terminal it is empty. It never is this process's own standard input.

    Args:
        words: of its command line.
        environ: its environment.
        origin: what messages call it.
        seconds: that it may take.
        more_time: how to allow more, for messages.
        attended: returns whether a caller waits.
        asks: called when it asks a person.

    Raises:
        OSError: it cannot be started; :func:`why_not_started` has the reason.
        ValueError: its words hold a NUL.
        SourceUnavailable: it did not end in time, or wrote too much; it was killed with its children.
    """
    loop = asyncio.get_running_loop()
    stdout, stderr = SecretBuffer(), SecretBuffer()
    status, in_time = 0, False
    with controlling_terminal() as terminal:
        process = await _start(words, environ, terminal)
        try:
            # A time limit of anyio may lose a cancellation at the end of asyncio.run.
            async with asyncio.timeout(seconds) as limit:
                watch = terminal.watch(process, limit, attended=attended, asks=asks) if terminal else None
                status = await _wait(process, stdout, stderr, watch)
            in_time = True
        except TimeoutError:
            why = _why_overdue(process, terminal, seconds, more_time)
            raise SourceUnavailable(f"{origin} {why}", stderr=bytes(stderr)) from None
        finally:
            if runs_here(loop):
                await _end(process, kill=not in_time, terminal=terminal)
            else:
                _abandon(process)
    if len(stdout) > LONGEST_OUTPUT:
        raise SourceUnavailable(
            f"{origin} printed more than {LONGEST_OUTPUT // 1024} KiB and was killed;"
            " run it by hand and look at what it prints"
        )
    ended = Ended(status, SecretBytes(stdout), SecretBytes(stderr))
    if terminal is not None:
        ended = ended._replace(asked=terminal.asked, declined=terminal.declined, terminal=True)
    if ended.interrupted:
        os.kill(0, signal.SIGINT)  # the terminal has sent it to the program alone
    return ended


async def _wait(
    process: Popen[bytes],
    stdout: SecretBuffer,
    stderr: SecretBuffer,
    watch: Coroutine[Any, Any, None] | None,
) -> int:
    """Read the output of a program until it ends; return its exit status.

    A task group would await its tasks also when its loop was dropped, where nothing can be awaited.
    """
    loop = asyncio.get_running_loop()
    reading = [
        loop.create_task(_read(process.stdout, stdout, process)),
        loop.create_task(_read(process.stderr, stderr, None)),
    ]
    tasks = reading if watch is None else [*reading, loop.create_task(watch)]
    waiting = set(tasks)
    try:
        while not all(task.done() for task in reading):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises its error
        return await _exit_status(process)
    finally:
        if runs_here(loop):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)  # the one that watches takes the terminal back


def _why_overdue(process: Popen[bytes], terminal: Terminal | None, seconds: float, more_time: str) -> str:
    """Return why a program has not ended in time, as the rest of a sentence."""
    if terminal is not None and terminal.asked and not terminal.given:
        return (
            f"asks at the terminal, and this program was in its background for {seconds:g} s;"
            " bring it to the foreground (fg)"
        )
    if process.poll() is None:
        return (
            f"did not finish within {seconds:g} s and was killed; see what it waits for, or allow more time"
            f" ({more_time})"
        )
    return f"ended, but its child still held its output open after {seconds:g} s; redirect the output of the child"


async def _start(words: list[str], environ: Mapping[str, str], terminal: Terminal | None) -> Popen[bytes]:
    """Start a program in a thread. A cancellation meanwhile waits for the start and kills the program.

    asyncio connects the pipes in a task of its own; when asyncio.run cancels that, the program is never killed.
    """
    ticket = [None]  # the thread takes it to start the program, or a cancellation to prevent that
    starting = threads.submit(_popen, words, dict(environ), terminal, ticket)
    try:
        await asyncio.wait([starting])
    except asyncio.CancelledError:
        if _taken(ticket):  # no thread was free: all of them may wait for a disk
            starting.cancel()  # drops its error
            raise
        while not starting.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([starting])
        if starting.exception() is None:
            await _end(starting.result(), kill=True)
        raise
    return starting.result()


def _taken(ticket: list[None]) -> bool:
    """Take a ticket; return whether it was still there."""
    try:
        ticket.pop()  # atomic
    except IndexError:
        return False
    return True


def _popen(
    words: list[str], environ: dict[str, str], terminal: Terminal | None, ticket: list[None]
) -> Popen[bytes]:
    if not _taken(ticket):
        raise ChildProcessError("nobody waits for it any more")
    if terminal is not None:
        environ[LENDER] = str(os.getpgrp())
    return Popen(  # noqa: S603 - as configured
        words,
        stdin=DEVNULL if terminal is None else terminal.descriptor,
        stdout=PIPE,
        stderr=PIPE,
        bufsize=0,
        env=environ,
        start_new_session=terminal is None,
        process_group=None if terminal is None else 0,  # a group to kill, and to put into the foreground
    )


async def _end(process: Popen[bytes], *, kill: bool, terminal: Terminal | None = None) -> None:
    """Close the pipes of a program. One that is killed is waited for, even while this is cancelled.

    It gets SIGTERM first, so that it can end what it has started in other sessions.
    """
    cancelled: asyncio.CancelledError | None = None
    if terminal is not None:
        terminal.end_jobs(process.pid)
    try:
        if kill:
            _kill(process, "SIGTERM")
        while kill and not has_ended(process):
            try:
                async with asyncio.timeout(GRACE):
                    await _wait_for_exit(process)
            except TimeoutError:
                _kill(process)
            except asyncio.CancelledError as error:
                cancelled = error
        if kill:
            _kill(process)  # the rest of its group, before its id can be used again
            await _exit_status(process)
    finally:
        _close_pipes(process)
        if terminal is not None:
            terminal.reclaim(process.pid)
    if cancelled is not None:
        raise cancelled


def _abandon(process: Popen[bytes]) -> None:
    """Kill a program whose loop was dropped, without awaiting anything."""
    _kill(process)
    _close_pipes(process)


def _close_pipes(process: Popen[bytes]) -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


async def _read(pipe: IO[bytes] | None, output: SecretBuffer, process: Popen[bytes] | None) -> None:
    """Read a pipe to its end, and keep no more than the limit; kill a ``process`` that writes more."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        while piece := await reader.read(PIECE):
            output += piece[: LONGEST_OUTPUT + 1 - len(output)]
            del piece  # a cancellation's traceback shows this frame
            if process is not None and len(output) > LONGEST_OUTPUT:
                _kill(process)
                break
    finally:
        with suppress(RuntimeError):  # its loop was dropped, and has closed itself
            transport.close()


async def _exit_status(process: Popen[bytes]) -> int:
    """Wait for a process that has closed its output, and so ends soon: polling works on every system."""
    while (status := process.poll()) is None:
        await _wait_for_exit(process)
    return status


def why_not_started(error: OSError | ValueError) -> str:
    """Return why a program cannot be started, as the rest of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "is not there, or the interpreter in its first line is not"
    if isinstance(error, PermissionError):
        return "is not an executable file"
    return f"cannot be started ({getattr(error, 'strerror', None) or 'not a command'})"


async def _wait_for_exit(process: Popen[bytes]) -> None:
    pause = 0.001
    while not has_ended(process):
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _kill(process: Popen[bytes], how: str = "SIGKILL") -> None:
    """Send a signal to the process group of a program, if it is still there."""
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, getattr(signal, how))
            os.killpg(process.pid, signal.SIGCONT)  # a stopped one gets no signal
    except (ProcessLookupError, PermissionError):
        pass
