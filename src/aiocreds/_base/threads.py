"""Event loops, forks and threads: what belongs to a loop, what a fork renews, and a pool of daemon threads."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from _queue import Empty, SimpleQueue
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable

    class OnLoop(Protocol):
        """An object that belongs to one loop."""

        @property
        def loop(self) -> asyncio.AbstractEventLoop | None:
            """The loop."""


BELONGINGS = "_aiocreds"  # attribute of a loop
MAX_THREADS = 8  # a disk or a name server that hangs blocks one each
IDLE = 10.0  # seconds after which a thread without work ends
JOIN_TIMEOUT = 0.5  # seconds, for a thread without work

L = TypeVar("L", bound="OnLoop")
T = TypeVar("T")
_elsewhere: dict[asyncio.AbstractEventLoop, set[Any]] = {}  # the belongings of loops that take no attributes
_owners: set[ref[Any]] = set()  # changed and copied in atomic steps: any thread may add owners


def belongings(loop: asyncio.AbstractEventLoop) -> set[Any]:
    """Return the objects that a loop keeps alive: tasks, lifespans, open sessions.

    They refer to the loop, so a global table would keep a loop that is dropped without ``close()``, and its
    descriptors, for ever. All other references here are weak.
    """
    try:
        return loop.__dict__.setdefault(BELONGINGS, set())  # type: ignore[no-any-return]  # set here alone
    except AttributeError:
        return _elsewhere.setdefault(loop, set())


def on_loop(table: dict[int, ref[L]], loop: asyncio.AbstractEventLoop) -> L | None:
    """Return the entry of a table for a loop, if it is alive."""
    known = table.get(id(loop))
    found = None if known is None else known()
    return found if found is not None and found.loop is loop else None


def put_on_loop(table: dict[int, ref[L]], loop: asyncio.AbstractEventLoop, what: L) -> None:
    """Put an entry into a table by the id of its loop, and remove those whose loop is gone or closed."""
    for number, known in list(table.items()):  # other threads may add entries meanwhile
        if (other := known()) is None or other.loop is None or other.loop.is_closed():
            table.pop(number, None)
    table[id(loop)] = ref(what)


def loop_here() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread; None where none does."""
    return asyncio._get_running_loop()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - in asyncio.__all__


def runs_here(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Return whether this code runs on a loop; if not, the garbage collector is ending tasks of a dropped loop.

    Nothing can be awaited then, and errors of libraries that need the loop are no failures.
    """
    return loop_here() is loop


def wake(waiter: asyncio.Future[None]) -> None:
    """End the wait of a future that belongs to another loop, unless that is closed."""
    with suppress(RuntimeError):
        waiter.get_loop().call_soon_threadsafe(_end, waiter)


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def renew_after_fork(owner: object) -> None:
    """Have ``owner._after_fork()`` called in each forked child, for as long as the owner lives.

    A lock that another thread holds at the fork would stay locked in the child, which has no such thread.
    """
    _owners.add(ref(owner, _owners.discard))


def _after_fork() -> None:
    for known in list(_owners):
        if (owner := known()) is not None:
            owner._after_fork()  # noqa: SLF001 - registered owners have it for this


def submit(function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Call a function in a thread of the pool; return a future of the running loop for its result.

    For work that takes no longer than a disk. At the very end of a program, when Python starts no more threads, it
    is called at once in this thread.

    Raises:
        RuntimeError: there is no thread, and the machine starts none.
    """
    return _submit(_pool, function, args)


def submit_long(function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Do as :func:`submit` for work that may take long, such as the hash of a large body, in other threads."""
    return _submit(_pool_for_long, function, args)


def submit_always(function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Do as :func:`submit`, and call the function also when nothing refers to the future any more."""
    return _submit(_pool, function, args, always=True)


async def read_line(read: Callable[[], str]) -> str:
    """Return the line that a person types, read in a daemon thread of its own; blank when reading it fails.

    No pool has that thread: a pool is waited for at the end of the program, after a Ctrl-C too.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def run() -> None:
        try:
            line = read()
        except Exception:  # noqa: BLE001 - whatever a terminal or a notebook raises, there is no line
            line = ""
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(_settle, answer, line, None)

    threading.Thread(target=run, name="aiocreds question", daemon=True).start()
    return await answer


def run_in_background(function: Callable[[], None]) -> None:
    """Call a function in a thread of the pool without waiting; its OSError is dropped."""

    def run() -> None:
        with suppress(OSError):
            function()

    try:
        _pool.put(run)
    except RuntimeError:
        run()


def _submit(
    pool: _Pool, function: Callable[..., T], args: tuple[Any, ...], *, always: bool = False
) -> asyncio.Future[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    known = ref(future)  # a call that hangs must not keep a dropped loop alive
    pool.put(lambda: _call(known, function, args, always=always))
    return future


def _call(
    known: ref[asyncio.Future[T]], function: Callable[..., T], args: tuple[Any, ...], *, always: bool
) -> None:
    if not always:
        if (future := known()) is None or future.cancelled():
            return
        del future
    value: Any = None
    error: BaseException | None = None
    try:
        value = function(*args)
    except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
        error = raised
    try:
        if (future := known()) is not None:
            future.get_loop().call_soon_threadsafe(_settle, future, value, error)
    except RuntimeError:  # the loop was closed meanwhile
        pass
    finally:
        del error  # its traceback holds this frame


def _settle(future: asyncio.Future[Any], value: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


class _Pool:
    """Threads that start when there is work for them and end when there has been none for a while.

    They are daemons: one that hangs at a disk does not keep a program from ending.
    """

    def __init__(self) -> None:
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self) -> None:
        """Start anew in a forked child, which has none of the threads."""
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.RLock()  # reentrant: the garbage collector may run code that calls this
        self._threads: set[threading.Thread] = set()
        self._spare = 0  # idle threads, less the jobs in the queue

    def put(self, job: Callable[[], None]) -> None:
        """Have a thread call ``job``.

        Raises:
            RuntimeError: there is none, and the machine starts no more.
        """
        with self._lock:
            if self._spare <= 0 and len(self._threads) < MAX_THREADS:
                try:
                    self._start()
                except RuntimeError:
                    if not self._threads and threading.main_thread().is_alive():
                        raise
            has_thread = bool(self._threads)
            if has_thread:
                self._spare -= 1
                self._jobs.put(job)
        if not has_thread:  # the program is ending, and Python starts no more threads
            job()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, args=(self._jobs,), name="aiocreds pool", daemon=True)
        thread.start()
        self._threads.add(thread)
        self._spare += 1

    def _work(self, jobs: SimpleQueue[Callable[[], None] | None]) -> None:
        while True:
            try:
                job = jobs.get(timeout=IDLE)
            except Empty:
                with self._lock:
                    if self._spare <= 0:  # a job for this thread has just been queued
                        continue
                    self._spare -= 1
                    self._threads.discard(threading.current_thread())
                return
            if job is None:
                return
            job()
            del job  # it refers to a loop
            with self._lock:
                self._spare += 1

    def end_idle(self) -> None:
        """End the threads without work, so that none is there at a fork or at the end of the interpreter."""
        if not self._lock.acquire(timeout=JOIN_TIMEOUT):  # a fork must not wait for long
            return
        try:
            ended = list(self._threads) if self._spare == len(self._threads) else []
            self._spare -= len(ended)
            self._threads.difference_update(ended)
            if ended:
                for _ in ended:
                    self._jobs.put(None)
                self._jobs = SimpleQueue()  # a new thread must not get their None
        finally:
            self._lock.release()
        for thread in ended:
            thread.join(JOIN_TIMEOUT)


def _end_idle() -> None:
    _pool.end_idle()
    _pool_for_long.end_idle()


_pool, _pool_for_long = _Pool(), _Pool()
atexit.register(_end_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_end_idle, after_in_child=_after_fork)
