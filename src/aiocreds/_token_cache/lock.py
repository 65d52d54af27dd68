"""A lock that processes share. It goes with the process that holds it, however that ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from contextlib import contextmanager, suppress
from random import uniform
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from weakref import ref

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

from aiocreds._base import threads
from aiocreds._base.threads import renew_after_fork
from aiocreds._token_cache.storage import refuse_folder_of_others

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger("aiocreds.token_cache")
T = TypeVar("T")

PAUSE, LONGEST_PAUSE = 0.05, 0.4  # seconds between two attempts
LONGEST_LOCK = 60.0  # seconds; longer than an honest renewal takes, with all its attempts
_opened: set[FileLock] = set()
_told: set[str] = set()


@contextmanager
def released(path: str) -> Iterator[FileLock]:
    """The lock on a file, not yet taken; it is given up at the end, whatever happens."""
    lock = FileLock(path, asyncio.get_running_loop())
    try:
        yield lock
    finally:
        threads.run_behind(lock.release)  # after a cancellation, another thread may be at it still


class FileLock:
    """A lock on a file, which is made for it and left behind: taking it away would part those who wait for it.

    Written here because aiocreds stands on two libraries, and because such a lock has to give itself up when its
    loop is closed in the middle, and in a process that is forked meanwhile. What it does may take a while on a
    network disk and is meant for threads, one of which is let in at a time.

    Args:
        path: of the file.
        loop: whose end is also that of this lock.
    """

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.path = path
        self._loop = None if loop is None else ref(loop)
        self._busy = Lock()
        self._released = False
        self._descriptor: int | None = None
        self._pause = PAUSE
        self._give_up: float | None = None
        renew_after_fork(self)

    async def attempt(self) -> bool:
        """Take the lock; False, after a pause, when another holds it. One that nobody gives up counts as taken."""
        loop = asyncio.get_running_loop()
        if await threads.submit(self.take):
            return True
        if self._give_up is None:
            self._give_up = loop.time() + LONGEST_LOCK
        if loop.time() >= self._give_up:
            words = "%s has been locked for %.0f s: going on without the lock; look for a process that hangs"
            logger.warning(words, self.path, LONGEST_LOCK)
            return True
        await asyncio.sleep(uniform(self._pause / 2, self._pause))
        self._pause = min(1.5 * self._pause, LONGEST_PAUSE)  # hundreds may be waiting
        return False

    def take(self) -> bool:
        """Take the lock; False when another holds it. Where no such file can be made, it counts as taken."""
        with self._busy:
            if self._released:
                return True
            try:
                if self._descriptor is None:
                    self._descriptor = _open(self.path)
                    _opened.add(self)
            except OSError:  # such as on a read-only disk, where nobody else writes either
                return True
            try:
                if sys.platform == "win32":
                    msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
                else:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError:  # msvcrt says so when another holds it; some network disks know no locks
                if sys.platform != "win32":
                    return True
            else:
                return True
        # Perhaps it is held for a loop that was closed in the middle.
        orphans = [lock for lock in _opened.copy() if lock.path == self.path and lock.orphaned]
        for lock in orphans:
            lock.release()
        return bool(orphans) and self.take()

    @property
    def orphaned(self) -> bool:
        """Whether nobody will give it up any more."""
        if self._loop is None:
            return False
        loop = self._loop()
        return loop is None or loop.is_closed()

    def during(self, work: Callable[[], T]) -> T:
        """Do something that no release may overtake."""
        with self._busy:
            return work()

    def release(self) -> None:
        """Give it up for good, whether held or not."""
        with self._busy:
            self._released = True
            if self._descriptor is None:
                return
            with suppress(OSError):  # it was not held
                if sys.platform == "win32":
                    msvcrt.locking(self._descriptor, msvcrt.LK_UNLCK, 1)
                else:  # closing is not enough: a process forked meanwhile may have the file open too
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._close()

    def _after_fork(self) -> None:
        """Close it in a forked process, where it would outlive the parent whose it is."""
        self._busy, self._released = Lock(), True
        self._close()

    def _close(self) -> None:
        _opened.discard(self)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open(path: str) -> int:
    """Open the file of a lock, and make it where it is missing. A link is not followed: it might lead anywhere."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        refuse_folder_of_others(path)
        return os.open(path, flags | os.O_CREAT, 0o600)
    except OSError as error:
        fault = {errno.EACCES: "is not for this user", errno.ELOOP: "is a link"}.get(error.errno or 0)
        if fault and path not in _told:
            _told.add(path)
            logger.warning("%s %s, so programs may renew the sign-in twice: remove it", path, fault)
        raise
