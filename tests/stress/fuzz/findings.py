"""Findings: how each is told apart, made small, and printed."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 5  # different ones of a target: with more, something is wrong at large
PATIENCE = 10.0  # seconds for making an input small
SHOWN = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that a target does not take well.

    Attributes:
        what: the exception.
        place: where it was raised.
        data: the input.
    """

    what: str
    place: str
    data: bytes

    def line(self, target: str) -> str:
        """The command that shows it again."""
        return (
            f"python -m tests.stress.fuzz --target {target} --input {base64.urlsafe_b64encode(self.data).decode()}"
        )


def finding(error: BaseException, data: bytes) -> Finding:
    """An exception as a finding; what it says may be long."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "aiocreds" in code.co_filename or "fuzz" in code.co_filename:
            place = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return Finding(f"{type(error).__name__}: {error}"[:SHOWN], place, data)


def attempt(run: Callable[[bytes], None], data: bytes) -> Finding | None:
    """Feed an input."""
    try:
        run(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return finding(error, data)
    return None


def smaller(run: Callable[[bytes], None], found: Finding) -> Finding:
    """The same with a smaller input: pieces are left out for as long as the same place still fails."""
    until = monotonic() + PATIENCE
    size = len(found.data) // 2
    while size and monotonic() < until:
        start, shrunk = 0, False
        while start < len(found.data) and monotonic() < until:
            less = attempt(run, found.data[:start] + found.data[start + size :])
            if less is not None and less.place == found.place:
                found, shrunk = less, True
            else:
                start += size
        size = size if shrunk and size == 1 else size // 2
    return found
