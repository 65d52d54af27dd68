"""Secrets that tests use: how they are made, and how they are known again wherever they turn up."""

from __future__ import annotations

import itertools
import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import aiocreds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = "sEcReT"
SHORTEST = 16  # characters of what cannot turn up by chance: the least that an access key id may have
MANY = 1000  # secrets not made here that are remembered; the oldest are forgotten
SOURCE = str(Path(aiocreds.__file__).parent)
_numbers = itertools.count(1)
_marked: dict[str, None] = {}  # in order of their age
_kept: set[str] = set()


def secret(what: str = "secret") -> str:
    """Return a new secret, as long as a real one. It needs no `mark`."""
    return f"{MARK}-{what}-{next(_numbers):06}".ljust(40, "x")


def mark(text: object) -> None:
    """Know a text or some bytes for a secret from now on, however they are escaped. What is short is left out."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if isinstance(text, str) and len(text) >= SHORTEST and MARK not in text:
        text = str(text)  # of a SecretStr, which has another repr
        for form in (text, repr(text)[1:-1], quote(text, safe="", errors="replace")):
            _marked.pop(form, None)
            _marked[form] = None
        while len(_marked) > MANY:
            del _marked[next(iter(_marked))]


def keep() -> None:
    """Never forget what is marked by now."""
    _kept.update(_marked)


def forget() -> None:
    """Know only what is kept, and what `secret` made."""
    _marked.clear()


def secret_in(text: str) -> str | None:
    """Return the secret that a text shows."""
    if MARK in text:
        start = text.index(MARK)
        return text[start : start + 40].split()[0]
    return next((one for one in [*_kept, *_marked] if one in text), None)


def is_ours(place: str) -> bool:
    """Return whether a file, or a line of a traceback, is of the library."""
    return SOURCE in place


def told_by(error: BaseException) -> Iterator[str]:
    """Yield all that the most talkative of error reporters shows of an exception; of frames, only of ours."""
    ahead: list[BaseException | None] = [error]
    seen: set[int] = set()
    while ahead:
        one = ahead.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield f"{type(one).__name__}: {told(one, str)} {told(one)} {getattr(one, '__notes__', '')}"
        if isinstance(one, aiocreds.CredentialsError):
            yield told({name: value for name, value in vars(one).items() if name != "stderr"})  # kept for who asks
        for frame, line in traceback.walk_tb(one.__traceback__):
            if is_ours(frame.f_code.co_filename):
                place = f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
                for name, value in list(frame.f_locals.items()):
                    yield f"{place}: {name}={told(value)}"
        ahead += [one.__cause__, None if one.__suppress_context__ else one.__context__]
        if isinstance(one, BaseExceptionGroup):
            ahead += cast("tuple[BaseException, ...]", one.exceptions)


def told(value: object, how: Callable[[object], str] = repr) -> str:
    """Return the text of a value, whatever its `repr` raises."""
    try:
        return how(value)
    except Exception as error:  # noqa: BLE001 - a repr may fail in any way
        return f"<{type(error).__name__}>"


def assert_quiet(error: BaseException) -> None:
    """No secret in what is printed of an error, even by a tool that shows the variables of our frames."""
    for text in told_by(error):
        assert secret_in(text) is None


class Watch(logging.Handler):
    """Keeps the log records that show a secret, for programs that pytest does not run."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.caught: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if secret_in(f"{text} {record.args!r}"):
            self.caught.append(text)
