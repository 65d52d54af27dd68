"""Work that the end of the program waits for, however it ends: by itself, by Ctrl-C, by a signal.

A daemon thread does the work. ``atexit`` waits for it, for a few seconds at most. Where a signal would end the
program at once, a handler of ours is installed while there is such work; it waits likewise and then calls the
handler it replaced. No library does this: the threads of asyncio and anyio are joined without a limit, or dropped.
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

SECONDS = 3.0  # that the end of the program is delayed for a piece of work
ENDING = "SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"

# When to stop waiting for each piece of work, by the lock that it holds until it is done.
_under_way: dict[Any, float] = {}
_ended = False
_replaced: dict[int, Any] = {}  # the handlers that ours replaced, by signal
_finalizing: set[int] = set()  # processes of multiprocessing that have our finalizer


@contextmanager
def delaying_program_end() -> Iterator[None]:
    """Delay the end of the program until this block ends.

    Raises:
        SourceUnavailable: the program is ending already.
    """
    if _ended:
        raise SourceUnavailable("the program is ending, and nothing is begun that might be lost")
    done = threading.Lock()  # Event.wait is not safe when a signal handler interrupts it and waits as well
    done.acquire()
    _under_way[done] = inf
    _finalize_with_multiprocessing()
    try:
        yield
    finally:
        _under_way.pop(done, None)
        done.release()


def wait() -> None:
    """Wait for work under way, at most :data:`SECONDS` for each piece, however many signals arrive."""
    for done, give_up in list(_under_way.items()):
        give_up = _under_way[done] = min(give_up, monotonic() + SECONDS)
        while done in _under_way and monotonic() < give_up:
            with suppress(KeyboardInterrupt):  # a second Ctrl-C does not shorten it
                if done.acquire(timeout=max(give_up - monotonic(), 0)):
                    done.release()
                    break


def install_handlers() -> None:
    """Install our handler for signals that may end the program. Only the main thread can; others do nothing.

    Python's own handler for Ctrl-C raises KeyboardInterrupt, so that the program ends by way of ``atexit``.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ENDING:
        number: int | None = getattr(signal, name, None)
        handler = None if number is None else signal.getsignal(number)
        if number is None or handler in (None, signal.SIG_IGN, signal.default_int_handler, _wait_and_forward):
            continue
        if name == "SIGINT" and handler is not signal.SIG_DFL:
            continue
        with suppress(ValueError, OSError):  # in a subinterpreter
            signal.signal(number, _wait_and_forward)
            _replaced[number] = handler


def restore_handlers() -> None:
    """Restore the replaced handlers where ours is still installed. Only the main thread can."""
    if _under_way or threading.current_thread() is not threading.main_thread():
        return
    for number, handler in list(_replaced.items()):
        if signal.getsignal(number) is _wait_and_forward:
            signal.signal(number, handler)
            _replaced.pop(number, None)


def _wait_and_forward(number: int, frame: FrameType | None) -> None:
    wait()
    handler = _replaced.get(number, signal.SIG_DFL)
    if signal.getsignal(number) is _wait_and_forward:
        signal.signal(number, handler)
        _replaced.pop(number, None)
    if callable(handler):
        handler(number, frame)
    elif handler == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)  # a program that restores a handler may have restored ours
        signal.raise_signal(number)


def _finalize_with_multiprocessing() -> None:
    """Wait at the end of a process of multiprocessing, which runs no ``atexit``."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None and os.getpid() not in _finalizing:
        _finalizing.add(os.getpid())
        util.Finalize(None, wait, exitpriority=10)


def _end() -> None:
    global _ended
    _ended = True
    wait()


def _after_fork() -> None:
    _under_way.clear()  # a child has none of the threads


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
