"""Running a program that may hang, flood or leave children behind, without a shell."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import ByteReceiveStream, Process

LONGEST_OUTPUT = 64 * 1024
LONGEST_START = 1.0


def split_command(command: str, *, place: str) -> list[str]:
    """The words of a command line, by the platform's rules.

    Raises:
        InvalidConfiguration: there are none, or a quotation mark is not closed.
    """
    try:
        words = _split_windows(command) if sys.platform == "win32" else shlex.split(command)
    except ValueError:
        raise InvalidConfiguration(f"{place}: a quotation mark is not closed: close it") from None
    if not words or not words[0]:
        raise InvalidConfiguration(f"{place} is blank: write the command to run, or remove it")
    return words


def _split_windows(command: str) -> list[str]:
    import ctypes  # on Windows alone

    windll = getattr(ctypes, "windll")  # noqa: B009 - unknown to type checkers elsewhere
    split = windll.shell32.CommandLineToArgvW
    split.restype = ctypes.POINTER(ctypes.c_wchar_p)
    count = ctypes.c_int()
    words = split(ctypes.c_wchar_p(command.strip()), ctypes.byref(count))
    try:
        return [words[index] or "" for index in range(count.value)]
    finally:
        windll.kernel32.LocalFree(words)


class _Start(asyncio.Task["Process"]):
    """Sees a start through, even while asyncio.run ends: a program that was half started, nobody could kill."""

    def cancel(self, msg: object = None) -> bool:
        # asyncio.run may have cancelled what asyncio itself waits for, and then the start never ends.
        self.get_loop().call_later(LONGEST_START, super().cancel)
        return False


async def start(words: list[str], environ: Mapping[str, str]) -> Process:
    """Start a program. A cancellation waits until there is something to kill: it may have children already.

    Raises:
        OSError: it cannot be started; :func:`fault` says why.
        ValueError: its words hold a NUL.
    """
    import anyio  # slow to load, and few profiles run a process

    opening = anyio.open_process(words, stdin=None, env=dict(environ), start_new_session=True)
    starting = _Start(opening, loop=asyncio.get_running_loop())
    try:
        return await starting
    except asyncio.CancelledError:
        with suppress(OSError, ValueError):
            await _end(starting.result(), kill=True)
        raise


async def finish(process: Process, *, origin: str, seconds: float) -> tuple[int, bytes, bytes]:
    """Wait for its end: the exit status (negative for a signal), and what it wrote to stdout and stderr.

    Raises:
        SourceUnavailable: it did not end within ``seconds``, or wrote too much; it was killed with its children.
    """
    stdout, stderr = bytearray(), bytearray()
    exit_status: int | None = None

    async def read(stream: ByteReceiveStream | None, output: bytearray) -> None:
        if stream is not None:
            async for chunk in stream:
                output += chunk[: LONGEST_OUTPUT + 1 - len(output)]
                if output is stdout and len(output) > LONGEST_OUTPUT:
                    _kill(process)
                    break

    try:
        # asyncio's own: at the end of asyncio.run, which cancels everything, anyio's lose a cancellation at times.
        async with asyncio.timeout(seconds):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(read(process.stdout, stdout))
                tasks.create_task(read(process.stderr, stderr))
            exit_status = await process.wait()
    except TimeoutError:
        if process.returncode is None:
            fault = f"did not finish within {seconds:g} s and was killed; see what it waits for, or allow more time"
        else:
            fault = (
                f"ended, but a child of its still held its output open after {seconds:g} s; redirect the child's"
            )
        raise SourceUnavailable(f"{origin} {fault}", stderr=bytes(stderr)) from None
    finally:
        await _end(process, kill=exit_status is None)
    if len(stdout) > LONGEST_OUTPUT:
        raise SourceUnavailable(
            f"{origin} printed more than {LONGEST_OUTPUT // 1024} KiB and was killed;"
            " run it by hand and look at what it prints"
        )
    return exit_status or 0, bytes(stdout), bytes(stderr)


async def _end(process: Process, *, kill: bool) -> None:
    import anyio

    if kill:
        _kill(process)
    with anyio.CancelScope(shield=True):
        await process.aclose()


def fault(error: OSError | ValueError) -> str:
    """Why a program cannot be started, as the rest of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "is not there, or the interpreter in its first line is not"
    if isinstance(error, PermissionError):
        return "is not an executable file"
    return f"cannot be started ({getattr(error, 'strerror', None) or 'not a command'})"


def _kill(process: Process) -> None:
    """Kill the process and what it started; those that ended already do not mind."""
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
