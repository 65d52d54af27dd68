"""Private JSON files that programs share: permissions, whole reads, atomic replacement."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
import sys
from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING, Any, cast

from aiocreds._base import threads, tracing
from aiocreds._base.redaction import SecretDict as Hidden
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("aiocreds.token_cache")
_told: set[tuple[str, str]] = set()


class OthersFolder(OSError):
    """A folder belongs to another user, who can swap or take away what is written there.

    Attributes:
        folder: its path.
        owner: whose it is.
    """

    def __init__(self, folder: str, owner: str) -> None:
        super().__init__(f"its folder {folder} belongs to {owner}")
        self.folder = folder
        self.owner = owner


def exposures(path: str, found: os.stat_result) -> Iterator[str]:
    """What is worth knowing about a file that was read, for who explains; warned of once as well.

    Args:
        path: of the file.
        found: what the operating system says of the open file.
    """
    if os.path.islink(path):  # noqa: PTH114 - pathlib is slow to load
        target = os.path.realpath(path)
        whose = ""
        if sys.platform != "win32" and found.st_uid != os.geteuid():
            whose = f", which belongs to {_name_of(found.st_uid)}"
        words = "%s is a link to %r%s: whoever may change that file chooses the sign-in; put the file itself here"
        _warn(path, words, path, target, whose)
        yield f"a link to {target}{whose}"
    if sys.platform != "win32" and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        _warn(path, "%s is open to other users (mode %s): run chmod 600 %s", path, mode, path)
        yield f"open to other users (mode {mode})"


def refuse_folder_of_others(path: str) -> None:
    """Make sure that what is written to this path stays there: root, too, writes nothing into a user's folder.

    Windows keeps the folders of users apart by itself.

    Raises:
        OthersFolder: the file's folder belongs to another user, or the one where a link leads does.
        OSError: there is no such folder.
    """
    if sys.platform == "win32":
        return
    for place in (path, os.path.realpath(path)):
        folder = os.path.dirname(place)  # noqa: PTH120 - as above
        found = os.stat(folder)  # noqa: PTH116 - as above
        if found.st_uid != os.geteuid():
            raise OthersFolder(folder, _name_of(found.st_uid))
        if found.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            _warn(folder, "anybody may swap the files in %s: run chmod 700 %s", folder, folder)


def _warn(path: str, words: str, *arguments: str) -> None:
    if (path, words) not in _told:
        _told.add((path, words))
        logger.warning(words, *arguments)


def _name_of(user: int) -> str:
    import pwd  # few ever ask

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


ATTEMPTS, PAUSE = 5, 0.05  # seconds; at a file that others read or write just now
OURS = re.compile(r"[a-z0-9_]{8}\.tmp")  # as tempfile ends a name
LEFT_BEHIND = 60.0  # seconds; nobody writes for so long, but whoever was killed left a file with a token in it


def replace_text(path: str, text: str) -> None:
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


class Document(Hidden):
    """A JSON object from a file.

    Attributes:
        exposures: how other users can get at the file.
    """

    exposures: tuple[str, ...] = ()


LARGEST = 1024 * 1024
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
        document = await threads.submit(look, path)
    except (FileNotFoundError, NotADirectoryError):
        tracing.note(path, kind="missing")
        return None
    except OSError as error:
        reason, theirs = (error.strerror or type(error).__name__).lower(), error.errno in THEIRS
    else:
        if document is None:
            tracing.note(path, "holds no JSON object", kind="note")
            return None
        for exposure in document.exposures:
            tracing.note(path, exposure, kind="note")
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


def replace_json(path: str, document: dict[str, Any]) -> None:
    """Put an object in the place of the old one, as `replace` does.

    A link stays one: what it leads to is replaced.

    Raises:
        OthersFolder: the folder belongs to another user. The old object stays.
        OSError: the disk is full or read-only, or the folder not for this user. It stays as well.
    """
    refuse_folder_of_others(path)
    replace_text(os.path.realpath(path), json.dumps(document))


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
