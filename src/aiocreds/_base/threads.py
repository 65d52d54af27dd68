"""Threads, forks and event loops of one process: what they share, and the threads of this package."""

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

    class OnLoop(Protocol):
        """An object that belongs to one loop."""

        @property
        def loop(self) -> asyncio.AbstractEventLoop | None:
            """The loop."""

    from collections.abc import Callable

L = TypeVar("L", bound="OnLoop")
BELONGINGS = "_aiocreds"
_elsewhere: dict[asyncio.AbstractEventLoop, set[Any]] = {}  # of loops that take no attributes
_owners: set[ref[Any]] = set()  # changed and copied in one step each: owners live in any thread


def belongings(loop: asyncio.AbstractEventLoop) -> set[Any]:
    """Return what is kept alive for a loop: tasks, keepers, open sessions.

    The loop itself holds it. A table of ours would hold what is in it, and that refers to the loop: a loop that is
    dropped without ``close()`` would stay for ever, with its descriptors. All else of ours refers to it weakly.
    """
    try:
        return loop.__dict__.setdefault(BELONGINGS, set())  # type: ignore[no-any-return]  # it is ours alone
    except AttributeError:
        return _elsewhere.setdefault(loop, set())


def on_loop(table: dict[int, ref[L]], loop: asyncio.AbstractEventLoop) -> L | None:
    """Return what a table holds for a loop, if that is alive."""
    known = table.get(id(loop))
    found = None if known is None else known()
    return found if found is not None and found.loop is loop else None


def put_on_loop(table: dict[int, ref[L]], loop: asyncio.AbstractEventLoop, what: L) -> None:
    """Put something into a table of what there is by the id of its loop, and take out what has gone."""
    for number, known in list(table.items()):  # other threads add theirs meanwhile
        if (other := known()) is None or other.loop is None or other.loop.is_closed():
            table.pop(number, None)
    table[id(loop)] = ref(what)


def runs_here(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Return whether code runs on its loop; if not, the garbage collector ends what ran on one that was dropped.

    Nothing can be awaited there, and what libraries raise for want of a loop is no failure.
    """
    return asyncio._get_running_loop() is loop  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - in asyncio.__all__


def wake(waiter: asyncio.Future[None]) -> None:
    """End the wait of a future that belongs to another loop; one that is closed waits no more."""
    with suppress(RuntimeError):
        waiter.get_loop().call_soon_threadsafe(_end, waiter)


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def renew_after_fork(owner: object) -> None:
    """Have ``owner._after_fork()`` called in each forked child, for as long as the owner lives.

    A lock that another thread holds at that moment would be held in the child for ever: the thread is not there.
    """
    _owners.add(ref(owner, _owners.discard))


def _after_fork() -> None:
    for known in list(_owners):
        if (owner := known()) is not None:
            owner._after_fork()  # noqa: SLF001 - what has been registered has it for this


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


MOST = 8  # threads; a disk or a name server that hangs holds one each
IDLE = 10.0  # seconds after which a thread that has nothing to do ends
SECONDS_TO_END = 0.5  # for one that has nothing to do

T = TypeVar("T")


def submit(function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Call a function in a thread of ours; return a future of the running loop for what it returns or raises.

    For what takes no longer than a disk does. At the very end of a program, when Python starts no more threads,
    it is called at once, in this one.

    Raises:
        RuntimeError: there is no thread, and the machine starts none.
    """
    return _submit(_pool, function, args)


def submit_long(function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Do as :func:`submit` for what may take long, such as the hash of a large body: files do not wait for it."""
    return _submit(_pool_for_long, function, args)


def run_behind(function: Callable[[], None]) -> None:
    """Have a thread of ours call a function some time; nobody waits for it, and what the disk says is dropped."""

    def quietly() -> None:
        with suppress(OSError):
            function()

    try:
        _pool.put(quietly)
    except RuntimeError:
        quietly()


def _submit(pool: _Pool, function: Callable[..., T], args: tuple[Any, ...]) -> asyncio.Future[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    known = ref(future)  # work that hangs holds no loop that has been dropped
    pool.put(lambda: _call(known, function, args))
    return future


def _call(known: ref[asyncio.Future[T]], function: Callable[..., T], args: tuple[Any, ...]) -> None:
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
    except RuntimeError:  # the loop was closed meanwhile: nobody waits
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

    They are daemons: one that hangs at a disk that is gone keeps no program from ending.
    """

    def __init__(self) -> None:
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self) -> None:
        """Begin anew: a child has none of the threads."""
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.RLock()  # what the garbage collector runs in mid-change may want a thread, too
        self._threads: set[threading.Thread] = set()
        self._spare = 0  # threads that wait, less the jobs that wait

    def put(self, job: Callable[[], None]) -> None:
        """Have a thread do this.

        Raises:
            RuntimeError: there is none, and the machine starts no more.
        """
        with self._lock:
            if self._spare <= 0 and len(self._threads) < MOST:
                try:
                    self._start()
                except RuntimeError:
                    if not self._threads and threading.main_thread().is_alive():
                        raise
            there = bool(self._threads)
            if there:
                self._spare -= 1
                self._jobs.put(job)
        if not there:  # the program is ending, and Python starts no more threads
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
                    if self._spare <= 0:  # a job for this thread has come just now
                        continue
                    self._spare -= 1
                    self._threads.discard(threading.current_thread())
                return
            if job is None:
                return
            job()
            del job  # it holds a loop
            with self._lock:
                self._spare += 1

    def rest(self) -> None:
        """End the threads that have nothing to do, so that a fork finds none, nor the end of the interpreter."""
        if not self._lock.acquire(timeout=SECONDS_TO_END):  # a fork waits for nobody
            return
        try:
            ended = list(self._threads) if self._spare == len(self._threads) else []
            self._spare -= len(ended)
            self._threads.difference_update(ended)
            if ended:
                for _ in ended:
                    self._jobs.put(None)
                self._jobs = SimpleQueue()  # one that starts meanwhile shall not take what is theirs
        finally:
            self._lock.release()
        for thread in ended:
            thread.join(SECONDS_TO_END)


def _rest() -> None:
    _pool.rest()
    _pool_for_long.rest()


_pool, _pool_for_long = _Pool(), _Pool()
atexit.register(_rest)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_rest)
