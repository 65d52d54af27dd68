"""Questions to the person at the terminal: a choice from a list that typing narrows, a line, yes or no.

They are asked on stderr, or on the terminal itself, so that stdout holds nothing but results. Where the terminal
cannot move its cursor, as with ``TERM=dumb`` and on Windows, a list is narrowed line by line.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiocreds._base.tracing import one_line, printable
from aiocreds.cli._terminal import ask_for_line, person_is_there
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHOWN = 10  # options at once
KEY = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]?|.", re.DOTALL)
UP, DOWN = {"\x1b[A", "\x1bOA", "\x10"}, {"\x1b[B", "\x1bOB", "\x0e"}
ENTER, ERASE, ERASE_ALL, END = {"\r", "\n"}, {"\x7f", "\x08"}, {"\x15"}, {"\x04"}


class Person:
    """The person at the terminal.

    Attributes:
        there: somebody reads what is asked, and can answer.
    """

    def __init__(self) -> None:
        self.there = person_is_there()

    async def choose(self, what: str, options: Sequence[str]) -> int:
        """Return the number of the option that the person chooses, counted from 0.

        Args:
            what: they choose, such as ``"Account"``.
            options: texts from anywhere; what would steer the terminal is left out.

        Raises:
            InvalidConfiguration: there was no answer.
        """
        options = [one_line(option) for option in options]
        chosen = await (_live(what, options) if _moves_cursor() else _by_lines(what, options))
        self.tell(f"{what}: {options[chosen]}")
        return chosen

    async def ask(self, what: str, default: str = "") -> str:
        """Return the line that the person types, or the default for a blank one.

        Raises:
            InvalidConfiguration: there was no answer.
        """
        line = await ask_for_line(f"{what}{f' [{default}]' if default else ''}: ")
        if not line:
            raise _no_answer(what)
        return line.strip() or default

    async def agrees(self, question: str) -> bool:
        """Return whether the person says yes."""
        return (await self.ask(f"{question} [y/N]")).lower() in ("y", "yes")

    def tell(self, text: str) -> None:
        """Show a line."""
        print(printable(text), file=sys.stderr, flush=True)


class Menu:
    """A list of options, what has been typed to narrow it, and the option that the cursor is on.

    Attributes:
        typed: that text; an option has to have all its words, in any case.
        at: the number of the option under the cursor among those that match.
    """

    def __init__(self, options: Sequence[str]) -> None:
        self._options = [(number, option, option.casefold()) for number, option in enumerate(options)]
        self.typed = ""
        self.at = 0

    @property
    def matching(self) -> list[tuple[int, str]]:
        """Return the options that match, each with its number among all."""
        words = self.typed.casefold().split()
        return [(number, text) for number, text, folded in self._options if all(word in folded for word in words)]

    def press(self, key: str) -> int | None:
        """Take a key in; return the number of the option that it chooses, if any."""
        matching = self.matching
        if key in ENTER:
            return matching[self.at][0] if matching else None
        if key in UP | DOWN:
            self.at = (self.at + (1 if key in DOWN else -1)) % max(len(matching), 1)
        elif key in ERASE | ERASE_ALL or key.isprintable():
            self.at = 0
            self.typed = "" if key in ERASE_ALL else self.typed[:-1] if key in ERASE else self.typed + key
        return None

    def lines(self, height: int) -> list[str]:
        """Return the options around the cursor, at most so many lines of them."""
        matching = self.matching
        first = max(0, min(self.at - height // 2, len(matching) - height))
        shown = [
            f"{'>' if number == self.at else ' '} {text}"
            for number, (_, text) in enumerate(matching[first : first + height], first)
        ]
        if len(matching) > len(shown):
            shown.append(f"  {len(matching)} match")
        return shown or ["  nothing matches"]


async def _live(what: str, options: Sequence[str]) -> int:
    """Let the person choose key by key, below the line that they type on."""
    menu = Menu(options)
    try:
        with _keys() as keys:
            while True:
                _draw(f"{what} (type to narrow, arrow keys, Enter): {menu.typed}", menu)
                text = await keys.get()
                for key in KEY.findall(text):
                    if key in END:
                        raise _no_answer(what)
                    if (chosen := menu.press(key)) is not None:
                        return chosen
                if not text:
                    raise _no_answer(what)
    finally:
        _write("\r\x1b[J")


async def _by_lines(what: str, options: Sequence[str]) -> int:
    """Let the person choose line by line: a number, or a text that narrows the list."""
    menu = Menu(options)
    while True:
        matching = menu.matching
        if not matching:
            _write(f"nothing matches {printable(menu.typed)!r}\n")
            menu.typed, matching = "", Menu(options).matching
        for number, (_, text) in enumerate(matching[: 2 * SHOWN], 1):
            _write(f"{number:3}  {text}\n")
        if len(matching) > 2 * SHOWN:
            _write(f"     {len(matching)} match\n")
        line = await ask_for_line(f"{what} (a number, or a text to narrow the list): ")
        answer = line.strip()
        if not line:
            raise _no_answer(what)
        if answer.isdecimal() and 1 <= int(answer) <= min(len(matching), 2 * SHOWN):
            return matching[int(answer) - 1][0]
        menu.typed = answer
        if answer and len(menu.matching) == 1:
            return menu.matching[0][0]


def _draw(prompt: str, menu: Menu) -> None:
    """Draw the menu from the line of the cursor on, and go back to the end of what is typed."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
        columns, height = size.columns or 80, size.lines or 24
    except OSError:
        columns, height = 80, 24
    lines = [_cut(line, columns - 1) for line in (prompt, *menu.lines(max(1, min(SHOWN, height - 3))))]
    below = len(lines) - 1
    _write("\r\x1b[J" + "\r\n".join(lines) + f"\x1b[{below}A\r\x1b[{max(1, _width(lines[0]))}C")


def _cut(text: str, columns: int) -> str:
    """Return as much of a text as fits into a line: one that is broken would be drawn over."""
    while _width(text) > columns:
        text = text[:-2] + "…" if len(text) > 1 else ""
    return text


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width  # few names need it

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _moves_cursor() -> bool:
    return sys.platform != "win32" and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _no_answer(what: str) -> InvalidConfiguration:
    return InvalidConfiguration(f"{what}: there was no answer, and nothing was changed")


@contextmanager
def _keys() -> Iterator[asyncio.Queue[str]]:
    """Have what is typed put into a queue, key by key; a blank text is the end of it.

    Ctrl-C stays a signal. The terminal is as it was before at the end, whatever happens.
    """
    if sys.platform == "win32":
        raise NotImplementedError
    import termios  # not on Windows
    import tty
    from codecs import getincrementaldecoder

    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    decoder, keys = getincrementaldecoder("utf-8")("ignore"), asyncio.Queue[str]()

    def read() -> None:
        try:
            data = os.read(descriptor, 1024)
        except OSError:  # nobody has the terminal any more
            data = b""
        if not data:
            loop.remove_reader(descriptor)
            keys.put_nowait("")
        elif text := decoder.decode(data):
            keys.put_nowait(text)

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)  # what has been typed already counts
        loop.add_reader(descriptor, read)
        yield keys
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
