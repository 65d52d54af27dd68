"""A JSON file that programs share: read while others write it, and replaced in one step."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from time import sleep
from typing import Any, cast

from aiocreds import pool, trace
from aiocreds.config import private_file
from aiocreds.config.exposure import exposures, refuse_folder_of_others
from aiocreds.errors import InvalidConfiguration, SourceUnavailable
from aiocreds.hidden import Document as Hidden


class Document(Hidden):
    """A JSON object from a file.

    Attributes:
        exposures: how other users can get at the file.
    """

    exposures: tuple[str, ...] = ()


LARGEST = 1024 * 1024
ATTEMPTS, PAUSE = 5, 0.05  # seconds; at a file that others are writing just now
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
        document = await pool.submit(look, path)
    except (FileNotFoundError, NotADirectoryError):
        trace.note(path, "not there")
        return None
    except OSError as error:
        reason, theirs = (error.strerror or type(error).__name__).lower(), error.errno in THEIRS
    else:
        if document is None:
            trace.note(path, "holds no JSON object")
            return None
        for exposure in document.exposures:
            trace.note(path, exposure)
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
    """Put an object in the place of the old one, as `private_file.replace` does.

    A link stays one: what it leads to is replaced.

    Raises:
        OthersFolder: the folder belongs to another user. The old object stays.
        OSError: the disk is full or read-only, or the folder not for this user. It stays as well.
    """
    refuse_folder_of_others(path)
    private_file.replace(os.path.realpath(path), json.dumps(document))


def _read(path: str) -> Document | None:
    descriptor = os.open(path, READING)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no file, but a folder, pipe or device")
        with open(descriptor, "rb", closefd=False) as file:
            document = json.loads(file.read(LARGEST))
    finally:
        os.close(descriptor)
    if not isinstance(document, dict):
        return None
    told = Document(cast("dict[str, Any]", document))
    told.exposures = tuple(exposures(path, found))
    return told
