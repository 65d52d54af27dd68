"""A circuit breaker: bounds each request to a store in time, and leaves one that failed alone for a while."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from aiocreds._base.threads import belongings
from aiocreds._core.refresh import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
logger = logging.getLogger("aiocreds.shared")

BACKOFF = 1.0, 60.0  # seconds that what fails is left alone: the first time, and at most


class Unusable(OSError):
    """The store cannot be used as it is. The text says what to do, and may be logged."""


class Unanswered(Exception):
    """The store did not answer, or is not asked since it did not before. The text says why."""


class CircuitBreaker:
    """Calls a store, or its leases, within a time limit and with a backoff.

    Args:
        what: the name of the store, for the log.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0
        self._again = 0.0
        self._reason = ""

    async def call(self, question: Callable[[], Coroutine[object, object, T]], seconds: float) -> T:
        """Return the answer to a question, within so many seconds.

        A question that takes longer is cancelled, and its end is not waited for.

        Raises:
            Unanswered: there is none.
        """
        if monotonic() < self._again:
            raise Unanswered(f"is left alone after it failed ({self._reason})")
        loop = asyncio.get_running_loop()
        task = loop.create_task(question(), name=f"aiocreds {self._what}")
        try:
            await asyncio.wait([task], timeout=max(seconds, 0.0))
        finally:
            if not task.done():
                belongings(loop).add(task)
                task.add_done_callback(_forget)
                task.cancel()
        if not task.done():
            raise self._failed(f"no answer within {seconds:.3g} s")
        if task.cancelled():
            raise self._failed("was cancelled")
        if (error := task.exception()) is not None:
            raise self._failed(_reason(error))
        if self._failures:
            self._failures, self._again = 0, 0.0
            logger.info("%s answers again", self._what)
        return task.result()

    def _failed(self, reason: str) -> Unanswered:
        self._failures += 1
        first, longest = BACKOFF
        pause = min(first * 2.0 ** min(self._failures - 1, 16), longest)
        pause = spread(pause / 2, pause)
        self._again, self._reason = monotonic() + pause, reason
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        logger.log(
            level, "%s failed (%s): going on without it; it is asked again in %.1f s", self._what, reason, pause
        )
        return Unanswered(f"did not answer ({reason})")


def _reason(error: BaseException) -> str:
    """Return what may be logged of an error: the text of a client's own may hold a password."""
    if isinstance(error, Unusable):
        return f"{error}"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return type(error).__name__


def _forget(task: asyncio.Task[object]) -> None:
    belongings(task.get_loop()).discard(task)
    if not task.cancelled():
        task.exception()  # too late for its caller; asyncio would log that nobody looked at it
