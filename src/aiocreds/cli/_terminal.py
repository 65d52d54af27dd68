"""Messages on stderr, signals, and questions to the person at the terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from aiocreds._base import threads
from aiocreds._base.tracing import printable
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from aiocreds.errors import CredentialsError

T = TypeVar("T")

TERMINATING = ("SIGTERM", "SIGHUP")  # asyncio.run cancels for Ctrl-C alone


def print_message(command: str, text: object) -> None:
    """Print a message on stderr, unless that is closed."""
    try:
        print(printable(f"aiocreds {command}: {text}"), file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def suggest_explain(command: str, error: CredentialsError, profile: str | None) -> None:
    """Print that ``aiocreds explain`` helps, where a source has failed and not the use of this command."""
    if error.provider is None:
        return
    from shlex import quote  # slow to load, and seldom needed

    named = f" --profile {quote(profile)}" if profile else ""
    print_message(command, f"aiocreds explain{named} shows all that was looked at")


def discard(stream: TextIO) -> None:
    """Send what is buffered for a broken stream to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_closed_streams() -> bool:
    """Open standard streams that are closed at the null device; return whether stdout was open.

    Otherwise the first file or connection to be opened would get their descriptors, and what is printed.
    """
    has_stdout = sys.stdout is not None  # pyright: ignore[reportUnnecessaryComparison] - None when it is closed
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(nowhere, mode, closefd=False))  # noqa: SIM115 - until the process ends
    if reconfigure := getattr(sys.stdout, "reconfigure", None):  # typing's TextIO has none
        reconfigure(errors="replace")  # instead of failing for what an encoding lacks
    return has_stdout


def restore_child_signal() -> None:
    """Undo that a parent process has had SIGCHLD ignored: the exit statuses of programs would be lost."""
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def signal_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of those signals that this platform has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def handling(numbers: Iterable[int], handler: Callable[[int], object]) -> Iterator[None]:
    """Handle signals in the loop, except those that nohup, or a shell for its background jobs, ignores."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in numbers}

    def call_handler(number: int, _: object) -> None:
        loop.call_soon_threadsafe(handler, number)

    try:
        for number, previous in before.items():
            if previous is not signal.SIG_IGN:
                # A handler of signal.signal would not run while the loop waits.
                if sys.platform != "win32":
                    loop.add_signal_handler(number, handler, number)
                else:
                    signal.signal(number, call_handler)
        yield
    finally:
        for number, previous in before.items():
            if sys.platform != "win32":
                loop.remove_signal_handler(number)
            signal.signal(number, previous)


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Do as ``asyncio.run``, and be cancelled by SIGTERM and SIGHUP as by Ctrl-C, so that children are ended."""
    received: list[int] = []

    async def interruptible() -> T:
        task = asyncio.current_task()

        def end(number: int) -> None:
            received.append(number)
            if task is not None:
                task.cancel()

        with handling(signal_numbers(TERMINATING), end):
            return await work

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        if received:  # end by that signal, for the sender to see
            signal.signal(received[0], signal.SIG_DFL)
            signal.raise_signal(received[0])
        raise


async def ask_for_code(serial_number: str) -> str:
    """Ask the person at the terminal for the MFA code of a device. It is echoed, since it works only once.

    Raises:
        InvalidConfiguration: there is no terminal.
    """
    return (await ask_for_line(f"MFA code of {serial_number}: ")).strip() or await refuse_code(serial_number)


async def ask_for_line(prompt: str) -> str:
    """Ask the person at the terminal for a line; return it with its end, or nothing where nobody types one."""
    return await threads.read_line(lambda: _ask(printable(prompt)))


def person_is_there() -> bool:
    """Return whether a person sees what is printed on stderr, and can answer: at a terminal, in its foreground."""
    return sys.stdin.isatty() and sys.stderr.isatty() and in_foreground()


def in_foreground() -> bool:
    """Return whether a terminal sends input and signals to this process, and so to a command that it runs."""
    if sys.platform == "win32":
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


async def refuse_code(serial_number: str) -> str:
    """Refuse to give an MFA code: there is no person to ask.

    Raises:
        InvalidConfiguration: always.
    """
    raise InvalidConfiguration(
        f"an MFA code of {serial_number} is needed, and nobody at a terminal gave one: run this at a terminal"
    )


def _ask(prompt: str) -> str:
    """Return a line from the terminal, wherever stdin and stdout lead to."""
    source, target = ("CONIN$", "CONOUT$") if sys.platform == "win32" else ("/dev/tty", "/dev/tty")
    with open(target, "w") as out, open(source) as terminal:  # noqa: PTH123 - devices
        out.write(prompt)
        out.flush()
        return terminal.readline()
