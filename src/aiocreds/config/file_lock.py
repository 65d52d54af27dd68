"""A lock that processes share. It goes with the process that holds it, however that ends."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import asynccontextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

logger = logging.getLogger("aiocreds.config.file_lock")

PAUSE, LONGEST_LOCK = 0.05, 60.0  # seconds; longer than an honest renewal takes, with all its attempts


@asynccontextmanager
async def locked(path: str) -> AsyncIterator[FileLock]:
    """Hold the lock on a file; where there can be none, or nobody gives it up, go without."""
    loop, lock = asyncio.get_running_loop(), FileLock(path)
    try:
        give_up = loop.time() + LONGEST_LOCK
        while not await loop.run_in_executor(None, lock.take):
            if loop.time() >= give_up:
                logger.warning(
                    "%s has been locked for %.0f s: going on without the lock; look for a process that hangs",
                    path,
                    LONGEST_LOCK,
                )
                break
            await asyncio.sleep(PAUSE)
        yield lock
    finally:
        try:
            loop.run_in_executor(None, lock.release)  # after a cancellation, another thread may be at it still
        except RuntimeError:  # the loop was closed in the middle
            lock.release()


class FileLock:
    """A lock on a file, which is made for it and left behind: taking it away would part those who wait for it.

    Written here because aiocreds stands on two libraries and this is a dozen lines. What it does may take a while
    on a network disk and is meant for threads, one of which is let in at a time.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._busy = Lock()
        self._released = False
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lock; False when another holds it. Where no such file can be made, it counts as taken."""
        with self._busy:
            if self._released:
                return True
            try:
                if self._descriptor is None:
                    self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:  # such as on a read-only disk, where nobody else writes either
                return True
            try:
                if sys.platform == "win32":
                    msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
                else:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # msvcrt says so when another holds it; some network disks know no locks
                return sys.platform != "win32"
            return True

    def during(self, work: Callable[[], None]) -> None:
        """Do something that no release may overtake."""
        with self._busy:
            work()

    def release(self) -> None:
        """Give it up for good, whether held or not."""
        with self._busy:
            self._released = True
            if self._descriptor is None:
                return
            with suppress(OSError):  # it was not held
                if sys.platform == "win32":
                    msvcrt.locking(self._descriptor, msvcrt.LK_UNLCK, 1)
                else:  # closing is not enough: a process forked meanwhile has the file open too
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None
