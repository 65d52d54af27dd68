"""A file for this user alone, replaced in one step."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from time import sleep

ATTEMPTS, PAUSE = 5, 0.05  # seconds; at a file that others are reading just now
OURS = re.compile(r"[a-z0-9_]{8}\.tmp")  # as tempfile ends a name
LEFT_BEHIND = 60.0  # seconds; nobody writes for so long, but whoever was killed left a file with a token in it


def replace(path: str, text: str) -> None:
    """Put a file with this text in the place of the old one, with mode 0600 from its first moment.

    Whoever reads, and whenever this process is killed, there is one of the two, whole. A link is replaced, not
    what it leads to.

    Raises:
        OSError: the disk is full or read-only, or the folder not for this user. The old file stays.
    """
    from tempfile import mkstemp  # slow to load, and such files are seldom written

    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - pathlib is slow to load
    descriptor, temporary = mkstemp(".tmp", f"{name}.", folder)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
            now = os.fstat(descriptor).st_mtime  # by the disk's clock
        _move(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as above
        raise
    _sweep(folder, f"{name}.", now)


def _sweep(folder: str, prefix: str, now: float) -> None:
    """Remove what those have left behind who were killed while they wrote."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and OURS.fullmatch(entry.name, len(prefix)):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < now - LEFT_BEHIND:
                        os.unlink(entry.path)  # noqa: PTH108 - as above


def _move(source: str, target: str) -> None:
    attempts = ATTEMPTS if sys.platform == "win32" else 1  # there no file can be replaced while somebody reads it
    for left in reversed(range(attempts)):
        try:
            os.replace(source, target)  # noqa: PTH105 - as above
        except PermissionError:
            if not left:
                raise
            sleep(PAUSE)
        else:
            return
