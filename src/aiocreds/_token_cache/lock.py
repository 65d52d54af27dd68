"""A file lock between processes; the operating system releases it with the process that holds it."""

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
LONGEST_LOCK = 60.0  # seconds; a renewal with all its attempts takes less

_opened: set[FileLock] = set()
_warned: set[str] = set()


@contextmanager
def releasing(path: str) -> Iterator[FileLock]:
    """Return the lock on a file, not yet taken, and release it at the end."""
    lock = FileLock(path, asyncio.get_running_loop())
    try:
        yield lock
    finally:
        threads.run_in_background(lock.release)  # after a cancellation, another thread may still be taking it


class FileLock:
    """A lock on a file of its own, which stays: after a removal, waiting processes would lock different files.

    The locks of libraries are not released when their loop is closed, nor in a process that is forked meanwhile.
    Its methods may take long on a network disk and are called in threads, one at a time.

    Args:
        path: of the file.
        loop: the lock is released once this loop is closed.
    """

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.path = path
        self._loop = None if loop is None else ref(loop)
        self._mutex = Lock()
        self._released = False
        self._descriptor: int | None = None
        self._pause = PAUSE
        self._give_up: float | None = None
        renew_after_fork(self)

    async def attempt(self) -> bool:
        """Take the lock; return False, after a pause, when another holds it.

        One that is held for longer than :data:`LONGEST_LOCK` counts as taken, with a warning.
        """
        loop = asyncio.get_running_loop()
        if await threads.submit(self.take):
            return True
        if self._give_up is None:
            self._give_up = loop.time() + LONGEST_LOCK
        if loop.time() >= self._give_up:
            message = "%s has been locked for %.0f s: going on without the lock; look for a process that hangs"
            logger.warning(message, self.path, LONGEST_LOCK)
            return True
        await asyncio.sleep(uniform(self._pause / 2, self._pause))
        self._pause = min(1.5 * self._pause, LONGEST_PAUSE)  # hundreds may be waiting
        return False

    def take(self) -> bool:
        """Take the lock; return False when another holds it. Where no such file can be made, it counts as taken."""
        with self._mutex:
            if self._released:
                return True
            try:
                if self._descriptor is None:
                    self._descriptor = _open(self.path)
                    _opened.add(self)
            except OSError:  # such as a read-only disk, where no other program writes either
                return True
            try:
                if sys.platform == "win32":
                    msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
                else:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError:  # from msvcrt: another holds it; else a network disk without locks
                if sys.platform != "win32":
                    return True
            else:
                return True
        # It may be held for a loop of this process that was closed in the middle.
        orphans = [lock for lock in _opened.copy() if lock.path == self.path and lock.orphaned]
        for lock in orphans:
            lock.release()
        return bool(orphans) and self.take()

    @property
    def orphaned(self) -> bool:
        """Return whether its loop is closed, so that nothing will release it."""
        if self._loop is None:
            return False
        loop = self._loop()
        return loop is None or loop.is_closed()

    def during(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, before whose end the lock is not released."""
        with self._mutex:
            return work()

    def release(self) -> None:
        """Release it for good, whether held or not."""
        with self._mutex:
            self._released = True
            if self._descriptor is None:
                return
            with suppress(OSError):  # it was not held
                if sys.platform == "win32":
                    msvcrt.locking(self._descriptor, msvcrt.LK_UNLCK, 1)
                else:  # closing is not enough: a process forked meanwhile has the file open, too
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._close()

    def _after_fork(self) -> None:
        """Close it in a forked child, which would hold it longer than its parent."""
        self._mutex, self._released = Lock(), True
        self._close()

    def _close(self) -> None:
        _opened.discard(self)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open(path: str) -> int:
    """Open the file of a lock, creating it if missing. A link is refused, since its target may be any file."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        refuse_folder_of_others(path)
        return os.open(path, flags | os.O_CREAT, 0o600)
    except OSError as error:
        fault = {errno.EACCES: "is not for this user", errno.ELOOP: "is a link"}.get(error.errno or 0)
        if fault and path not in _warned:
            _warned.add(path)
            logger.warning("%s %s, so programs may renew the sign-in twice: remove it", path, fault)
        raise
