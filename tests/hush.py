"""Secrets that tests use, and the watch that no log record shows one.

Every secret is made by :func:`secret`, so that the watch knows what to look for.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import aiocreds

MARK = "hUsH"
SOURCE = str(Path(aiocreds.__file__).parent)
_numbers = itertools.count(1)


def secret(what: str = "secret") -> str:
    """A new secret, as long as a real one."""
    return f"{MARK}-{what}-{next(_numbers):06}".ljust(40, "x")


def is_ours(place: str) -> bool:
    """Whether a line of a traceback leads into the library."""
    return SOURCE in place


class Watch(logging.Handler):
    """Listens to the ``aiocreds`` loggers at DEBUG and keeps the records that hold a secret."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.caught: list[str] = []
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        text = self.format(record)
        if MARK in text or MARK in repr(record.args):
            self.caught.append(text)
