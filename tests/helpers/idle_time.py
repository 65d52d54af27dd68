"""A loop whose time passes only while nothing happens."""

# The library says to nobody when its threads are at work.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import selectors
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from aiocreds._base import threads as threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

PATIENCE = 0.01  # seconds in earnest; what goes over loopback is there at once, unless the machine stutters
POLLED = 0.06  # seconds; whoever looks as often looks for something outside, and no faster than it happens
AT_WORK = 2.0  # seconds in earnest, while a program runs that will come to its end
FOR_EVER = 30.0  # likewise, when there is no timer either


class IdleTime(asyncio.SelectorEventLoop):
    """Its clock stands still while anything is under way; when nothing is, it jumps to the next timer.

    Threads count as under way. Of programs nobody can tell: see `at_work`.

    Args:
        passed: told the seconds of each jump, to take the wall clock along.
    """

    def __init__(self, passed: Callable[[float], object] | None = None) -> None:
        self._now = 0.0
        self._passed = passed
        self._at_work: set[asyncio.Future[Any]] = set()  # in threads
        self._hanging: set[asyncio.Future[Any]] = set()
        self._working = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """The loop's clock."""
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Arguments]], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        """Run in a thread, during which no time passes."""
        future = super().run_in_executor(executor, func, *args)
        self.wait_for_thread(future)
        return future

    def wait_for_thread(self, future: asyncio.Future[Any]) -> None:
        """Let no time pass until a thread has done its work."""
        self._at_work.add(future)
        future.add_done_callback(self._at_work.discard)

    def hang(self, over: threading.Event) -> None:
        """Block a thread of the library, which calls this, until it is over; meanwhile time passes."""
        work: list[asyncio.Future[Any]] = _thread.work

        def began() -> None:
            if not over.is_set():
                self._at_work.discard(work[0])
                self._hanging.add(work[0])

        self.call_soon_threadsafe(began)
        over.wait()

    def go_on(self, over: threading.Event) -> None:
        """Let the threads that hang go on."""
        self._at_work.update(future for future in self._hanging if not future.done())
        self._hanging.clear()
        over.set()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While something outside of this process is at work, and will be done in earnest seconds."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    def jump(self, seconds: float) -> None:
        """Let so much time pass."""
        self._now += seconds
        if self._passed is not None:
            self._passed(seconds)

    @property
    def patience(self) -> float | None:
        """How many seconds in earnest nothing has to happen before time passes; None: any number."""
        if self._at_work:
            return None
        return AT_WORK if self._working else PATIENCE


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: IdleTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for what is to happen; when that is nothing, let the time pass instead."""
        events = super().select(0)
        patience = self._loop.patience
        if events or timeout == 0:
            return events
        if patience is None:
            return super().select(None)
        if timeout is None:
            if not (events := super().select(FOR_EVER)):
                raise TimeoutError("everybody waits for what will never happen")
            return events
        if not (events := super().select(timeout if timeout <= POLLED else min(patience, timeout))):
            self._loop.jump(timeout)
        return events


def _submit(
    pool: threads._Pool, function: Callable[..., T], args: tuple[Any, ...], *, always: bool = False
) -> asyncio.Future[T]:
    """Do as the library's own pool, and let no time pass meanwhile."""
    if not isinstance(loop := asyncio.get_running_loop(), IdleTime):
        return _submit_in_earnest(pool, function, args, always=always)
    work: list[asyncio.Future[T]] = []

    def run() -> T:
        _thread.work = work
        return function(*args)

    work.append(_submit_in_earnest(pool, run, (), always=always))
    loop.wait_for_thread(work[0])
    return work[0]


_thread = threading.local()
_submit_in_earnest = threads._submit
threads._submit = _submit
