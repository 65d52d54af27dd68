"""A JSON file that programs share: read while others write it, and replaced in one step."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import sys
from contextlib import suppress
from time import sleep
from typing import Any, cast

from aiocreds import trace
from aiocreds.errors import InvalidConfiguration, SourceUnavailable
from aiocreds.hidden import Document

LARGEST = 1024 * 1024
ATTEMPTS, PAUSE = 5, 0.05  # seconds; at a file that others are writing or reading just now
LEFT_BEHIND = 60.0  # seconds; nobody writes for so long, but whoever was killed left a file with a token in it
# Without O_NONBLOCK a pipe would hold a thread, and with it the end of the program, for ever.
READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# What a person has to mend; of other errors, such as too many open files, nobody knows what is in the file.
THEIRS = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}


async def read(path: str) -> Document | None:
    """The object in the file; None when the file is missing or holds none, even after a moment.

    Raises:
        InvalidConfiguration: this user may not read it, or it is no file.
        SourceUnavailable: the machine cannot read it just now.
    """
    try:
        document = await asyncio.get_running_loop().run_in_executor(None, look, path)
    except (FileNotFoundError, NotADirectoryError):
        trace.note(path, "not there")
        return None
    except OSError as error:
        reason, theirs = (error.strerror or type(error).__name__).lower(), error.errno in THEIRS
    else:
        if document is None:
            trace.note(path, "holds no JSON object")
        return document
    if theirs:
        raise InvalidConfiguration(
            f"{path} cannot be read ({reason}): let this user read it, or remove it and sign in again"
        )
    raise SourceUnavailable(f"{path} cannot be read just now ({reason}): look after this machine and its disk")


def look(path: str) -> Document | None:
    """What `read` gives, for threads.

    Raises:
        OSError: as the operating system says, such as FileNotFoundError.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSE)
        with suppress(ValueError, RecursionError):  # half-written, perhaps: AWS CLI writes in place
            return _read(path)
    return None


def replace(path: str, document: dict[str, Any]) -> None:
    """Put an object in the place of the old one, with mode 0600 and its owner.

    Whoever reads, and whenever this process is killed, there is one of the two, whole. A link stays one: what it
    leads to is replaced.

    Raises:
        OSError: the disk is full or read-only, or the folder not for this user. The old object stays.
    """
    from tempfile import mkstemp  # slow to load, and such files are seldom written

    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    descriptor, temporary = mkstemp(".tmp", f"{name}.", folder)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(document))
            file.flush()
            os.fsync(descriptor)
            _give_to_owner_of(path, descriptor)
            now = os.fstat(descriptor).st_mtime  # by the disk's clock
        _move(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - pathlib is slow to load
        raise
    _sweep(folder, f"{name}.", now)


def _read(path: str) -> Document | None:
    descriptor = os.open(path, READING)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no file, but a folder, pipe or device")
        with open(descriptor, "rb", closefd=False) as file:
            document = json.loads(file.read(LARGEST))
    finally:
        os.close(descriptor)
    return Document(cast("dict[str, Any]", document)) if isinstance(document, dict) else None


def _give_to_owner_of(path: str, descriptor: int) -> None:
    """Root, in a container or by sudo, would lock the person out of the file."""
    if sys.platform != "win32":
        with suppress(OSError):
            old = os.stat(path)  # noqa: PTH116 - as above
            if old.st_uid != os.geteuid():
                os.fchown(descriptor, old.st_uid, old.st_gid)


def _sweep(folder: str, prefix: str, now: float) -> None:
    """Remove what those have left behind who were killed while they wrote."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
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
