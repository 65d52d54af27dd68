"""The person at the terminal: what they are told, what they are asked, and how they interrupt."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from aiocreds._base.tracing import printable
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from aiocreds.errors import CredentialsError

T = TypeVar("T")

ENDING = ("SIGTERM", "SIGHUP")  # what asyncio.run does not turn into a cancellation, as it does with Ctrl-C


def complain(command: str, text: object) -> None:
    """Print an error on stderr. Where that is closed, the exit status alone reports it."""
    try:
        print(printable(f"aiocreds {command}: {text}"), file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def point_to_explain(command: str, error: CredentialsError, profile: str | None) -> None:
    """Point to ``aiocreds explain`` where a source has failed, not the use of this command."""
    if error.provider is None:
        return
    from shlex import quote  # for a line that is seldom told

    named = f" --profile {quote(profile)}" if profile else ""
    complain(command, f"aiocreds explain{named} shows all that was looked at")


def discard(stream: TextIO) -> None:
    """Give what is buffered for a stream somewhere to go, now that it goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_streams() -> bool:
    """Put something in place of standard streams that are closed; whether there is a stdout to print on.

    Else the first file or connection to be opened would get their numbers, and what is printed.
    """
    has_stdout = sys.stdout is not None  # pyright: ignore[reportUnnecessaryComparison] - None when it is closed
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(nowhere, mode, closefd=False))  # noqa: SIM115 - until the process ends
    if reconfigure := getattr(sys.stdout, "reconfigure", None):  # typing's TextIO has none
        reconfigure(errors="replace")  # what an encoding lacks is no reason to fail
    return has_stdout


def hear_of_children() -> None:
    """Want to know how processes end, also under a parent that did not: their exit statuses would be lost."""
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def numbers_of(names: Iterable[str]) -> list[int]:
    """The numbers of those signals that this platform has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextmanager
def caught(numbers: Iterable[int], deal: Callable[[int], object]) -> Iterator[None]:
    """Have signals dealt with in the loop, except those that nohup, or a shell for its background jobs, ignores."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in numbers}

    def tell(number: int, _: object) -> None:
        loop.call_soon_threadsafe(deal, number)

    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                # Python runs a handler of its own between two steps of the program: not while the loop waits.
                if sys.platform != "win32":
                    loop.add_signal_handler(number, deal, number)
                else:
                    signal.signal(number, tell)
        yield
    finally:
        for number, handler in before.items():
            if sys.platform != "win32":
                loop.remove_signal_handler(number)
            signal.signal(number, handler)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` for a command: SIGTERM and SIGHUP end it as Ctrl-C does, with what it has started."""
    came: list[int] = []

    async def interruptible() -> T:
        task = asyncio.current_task()

        def end(number: int) -> None:
            came.append(number)
            if task is not None:
                task.cancel()

        with caught(numbers_of(ENDING), end):
            return await work

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        if came:  # whoever sent it sees that it did what it does
            signal.signal(came[0], signal.SIG_DFL)
            signal.raise_signal(came[0])
        raise


async def ask_for_code(serial_number: str) -> str:
    """Ask the person at the terminal for the MFA code of a device. Shown as it is typed: it works only once.

    Raises:
        InvalidConfiguration: there is no terminal.
    """
    return (await ask_for_line(f"MFA code of {serial_number}: ")).strip() or await nobody(serial_number)


async def ask_for_line(prompt: str) -> str:
    """Ask the person at the terminal for a line; return it with its end, or nothing where nobody types one."""
    from threading import Thread  # few commands ask

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def give(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def ask() -> None:
        try:
            line = _ask(printable(prompt))
        except OSError:
            line = ""
        loop.call_soon_threadsafe(give, line)

    Thread(target=ask, daemon=True).start()  # not a worker's, which asyncio would wait for after a Ctrl-C
    return await answer


async def nobody(serial_number: str) -> str:
    """Say that there is no person to ask.

    Raises:
        InvalidConfiguration: always.
    """
    raise InvalidConfiguration(
        f"an MFA code of {serial_number} is needed, and nobody at a terminal gave one: run this at a terminal"
    )


def _ask(prompt: str) -> str:
    """A line from the terminal, wherever stdin and stdout lead to."""
    ears, mouth = ("CONIN$", "CONOUT$") if sys.platform == "win32" else ("/dev/tty", "/dev/tty")
    with open(mouth, "w") as out, open(ears) as terminal:  # noqa: PTH123 - devices
        out.write(prompt)
        out.flush()
        return terminal.readline()
