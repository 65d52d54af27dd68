"""What has to come to its end before the program does, however that ends: by itself, by Ctrl-C, by a signal.

A daemon thread does the work. The end of the program waits for it in ``atexit``, for a few seconds at most. Where a
signal would end it at once, a handler of ours stands before that for as long as there is such work, waits likewise,
and hands the signal on.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from aiocreds.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SECONDS = 3.0  # that the end of the program is held back
ENDING = "SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"

_under_way: dict[
    Any, float
] = {}  # a lock for each piece of work, held until it is done; until when it is waited for
_over = False
_stood_before: dict[int, Any] = {}  # the handlers that ours stands before
_finalizing: set[int] = set()  # the processes of multiprocessing that know of us


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back the end of the program meanwhile.

    Raises:
        SourceUnavailable: the end has come already.
    """
    if _over:
        raise SourceUnavailable("the program is ending, and nothing is begun that might be lost")
    done = threading.Lock()  # no Event: waiting for one takes steps, in which a signal may have to wait as well
    done.acquire()
    _under_way[done] = inf
    _tell_multiprocessing()
    try:
        yield
    finally:
        _under_way.pop(done, None)
        done.release()


def wait() -> None:
    """Wait for what is under way, :data:`SECONDS` for each piece, however many signals and ends there are."""
    for done, give_up in list(_under_way.items()):
        give_up = _under_way[done] = min(give_up, monotonic() + SECONDS)
        while done in _under_way and monotonic() < give_up:
            with suppress(KeyboardInterrupt):  # Ctrl-C once more makes it no shorter
                if done.acquire(timeout=max(give_up - monotonic(), 0)):
                    done.release()
                    break


def stand_before_signals() -> None:
    """Have signals that may end the program wait as well. For the main thread; in others nothing can be done.

    Ctrl-C raises KeyboardInterrupt unless the program says otherwise, and ends it by way of ``atexit``.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ENDING:
        number: int | None = getattr(signal, name, None)
        handler = None if number is None else signal.getsignal(number)
        if number is None or handler in (None, signal.SIG_IGN, signal.default_int_handler, _hand_on):
            continue
        if name == "SIGINT" and handler is not signal.SIG_DFL:
            continue
        with suppress(ValueError, OSError):  # not the main interpreter
            signal.signal(number, _hand_on)
            _stood_before[number] = handler


def stand_back() -> None:
    """Take our handlers away, where they still are; for the main thread."""
    if _under_way or threading.current_thread() is not threading.main_thread():
        return
    for number, handler in list(_stood_before.items()):
        if signal.getsignal(number) is _hand_on:
            signal.signal(number, handler)
            _stood_before.pop(number, None)


def _hand_on(number: int, frame: FrameType | None) -> None:
    wait()
    handler = _stood_before.get(number, signal.SIG_DFL)
    if signal.getsignal(number) is _hand_on:
        signal.signal(number, handler)
        _stood_before.pop(number, None)
    if callable(handler):
        handler(number, frame)
    elif handler == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)  # who had set another has set ours again, and means this one
        signal.raise_signal(number)


def _tell_multiprocessing() -> None:
    """Its processes end without atexit."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None and os.getpid() not in _finalizing:
        _finalizing.add(os.getpid())
        util.Finalize(None, wait, exitpriority=10)


def _end() -> None:
    global _over
    _over = True
    wait()


def _after_fork() -> None:
    _under_way.clear()  # what a thread does that is not here


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
