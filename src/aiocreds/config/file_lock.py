"""A lock that processes share. It goes with the process that holds it, however that ends."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """A lock on a file, which is made for it and left behind: taking it away would part those who wait for it.

    Written here because aiocreds stands on two libraries and this is a dozen lines.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lock; False when another holds it. Where no such file can be made, it counts as taken."""
        if self._descriptor is None:
            try:
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

    def release(self) -> None:
        """Give it up, whether held or not."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
