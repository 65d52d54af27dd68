"""Private files that programs share: where sign-ins are, reading JSON whole, replacing atomically, permissions."""

from __future__ import annotations

import errno
import hashlib
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
from aiocreds._base.redaction import SecretBytes, SecretDict, SecretStr
from aiocreds._profiles.files import expand
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocreds._core.context import Context

logger = logging.getLogger("aiocreds.token_cache")

SSO_CACHE, LOGIN_CACHE = "~/.aws/sso/cache", "~/.aws/login/cache"
LOGIN_CACHE_VARIABLE = "AWS_LOGIN_CACHE_DIRECTORY"
ATTEMPTS, PAUSE = 5, 0.05  # seconds between attempts at a file that another program reads or writes
LARGEST = 1024 * 1024  # bytes of a file that are read
# Without O_NONBLOCK a pipe would block a thread, and with it the end of the program, for ever.
READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# Errors that a person has to correct; others, such as too many open files, are not about the file.
NEED_A_PERSON = {
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
}
TEMPORARY = re.compile(r"[a-z0-9_]{8}\.tmp")  # what tempfile adds to a name
STALE_AFTER = 60.0  # seconds; an older temporary file is of a process that was killed, and may hold a token

_warned: set[tuple[str, str]] = set()


class Document(SecretDict):
    """A JSON object from a file.

    Attributes:
        exposures: how other users may read or replace the file.
    """

    exposures: tuple[str, ...] = ()


class ForeignFolder(OSError):
    """A folder belongs to another user, who can replace or remove what is written there.

    Attributes:
        folder: its path.
        owner: the name of that user.
    """

    def __init__(self, folder: str, owner: str) -> None:
        super().__init__(f"its folder {folder} belongs to {owner}")
        self.folder = folder
        self.owner = owner


def sso_path(name: str, context: Context) -> str:
    """Return the path of a sign-in to IAM Identity Center; ``name`` is that of its session, else its start URL.

    Raises:
        InvalidConfiguration: no home folder is known.
    """
    key = hashlib.sha1(name.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()
    return f"{expand(SSO_CACHE, context, place=SSO_CACHE)}/{key}.json"


def login_path(session: str, context: Context) -> str:
    """Return the path of the sign-in of a ``login_session``.

    Raises:
        InvalidConfiguration: it is in a home folder that is not known.
    """
    place, folder = LOGIN_CACHE_VARIABLE, context.setting(LOGIN_CACHE_VARIABLE)
    if folder is None:
        place = folder = LOGIN_CACHE
    return f"{expand(folder, context, place=place)}/{hashlib.sha256(session.encode()).hexdigest()}.json"


async def read(path: str) -> Document | None:
    """Return the object in a file; None when the file is missing or holds none, also after some attempts.

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
        reason, needs_person = (error.strerror or type(error).__name__).lower(), error.errno in NEED_A_PERSON
    else:
        if document is None:
            tracing.note(path, "holds no JSON object", kind="note")
            return None
        for exposure in document.exposures:
            tracing.note(path, exposure, kind="note")
        return document
    if needs_person:
        raise InvalidConfiguration(
            f"{path} cannot be read ({reason}): let this user read it, or remove it and sign in again"
        )
    raise SourceUnavailable(f"{path} cannot be read just now ({reason}): look after this machine and its disk")


def look(path: str) -> Document | None:
    """Do as :func:`read`, in the calling thread.

    Raises:
        OSError: from the operating system, such as FileNotFoundError.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSE)
        with suppress(ValueError, RecursionError):  # AWS CLI writes in place, so it may be half-written
            return _read(path)
    return None


def _read(path: str) -> Document | None:
    descriptor = os.open(path, READING)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no file, but a folder, pipe or device")
        with open(descriptor, "rb", closefd=False) as file:
            content = json.loads(file.read(LARGEST))
    finally:
        os.close(descriptor)
    if not isinstance(content, dict):
        return None
    document = Document(cast("dict[str, Any]", content))
    document.exposures = tuple(_exposures(path, found))
    return document


def _exposures(path: str, found: os.stat_result) -> Iterator[str]:
    """Yield how other users may read or replace a file, for `explain`; each is logged as a warning once.

    Args:
        path: of the file.
        found: the result of ``fstat`` for the open file.
    """
    if os.path.islink(path):  # noqa: PTH114 - pathlib is slow to load
        target = os.path.realpath(path)
        owner = ""
        if sys.platform != "win32" and found.st_uid != os.geteuid():
            owner = f", which belongs to {_name_of(found.st_uid)}"
        message = "%s is a link to %r%s: whoever may change that file chooses the sign-in; put the file itself here"
        _warn_once(path, message, path, target, owner)
        yield f"a link to {target}{owner}"
    if sys.platform != "win32" and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        _warn_once(path, "%s is open to other users (mode %s): run chmod 600 %s", path, mode, path)
        yield f"open to other users (mode {mode})"


def replace_json(path: str, document: dict[str, Any]) -> None:
    """Replace the object in a file, as :func:`replace_text` does. Of a link, the target is replaced.

    Raises:
        ForeignFolder: the folder belongs to another user. The old object stays.
        OSError: the disk is full or read-only, or the folder not for this user. The old object stays.
    """
    refuse_folder_of_others(path)
    replace_text(os.path.realpath(path), SecretStr(json.dumps(document)))


def replace_text(path: str, text: str) -> None:
    """Replace a file by one with this text, as :func:`replace_bytes` does."""
    replace_bytes(path, SecretBytes(text.encode()))


def replace_bytes(path: str, data: bytes, *, like: os.stat_result | None = None) -> None:
    """Replace a file by one with this content, which has mode 0600 from the start.

    A reader finds the old or the new file complete, even when this process is killed. A link is replaced, not its
    target.

    Args:
        path: of the file.
        data: its content.
        like: the result of ``stat`` for a file whose mode, owner and group the new one gets.

    Raises:
        OSError: the disk is full or read-only, or the folder not for this user. The old file stays.
    """
    from tempfile import mkstemp  # slow to load, and such files are seldom written

    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - pathlib is slow to load
    descriptor, temporary = mkstemp(".tmp", f"{name}.", folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if like is not None:
                _adopt(temporary, like)
            os.fsync(descriptor)
            now = os.fstat(descriptor).st_mtime  # by the disk's clock
        _move(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - pathlib is slow to load
        raise
    _remove_stale(folder, f"{name}.", now)


def _adopt(path: str, like: os.stat_result) -> None:
    """Give a file of this user the mode, owner and group of another; a group that it cannot have gets no access."""
    mode = stat.S_IMODE(like.st_mode)
    if sys.platform != "win32":
        found = os.stat(path)  # noqa: PTH116 - pathlib is slow to load
        try:
            if (found.st_uid, found.st_gid) != (like.st_uid, like.st_gid):
                os.chown(path, like.st_uid, like.st_gid)
        except PermissionError:
            mode &= ~stat.S_IRWXG
    os.chmod(path, mode)  # noqa: PTH101 - as above


def _move(source: str, target: str) -> None:
    attempts = ATTEMPTS if sys.platform == "win32" else 1  # Windows replaces no file that is being read
    for left in reversed(range(attempts)):
        try:
            os.replace(source, target)  # noqa: PTH105 - pathlib is slow to load
        except PermissionError:
            if not left:
                raise
            sleep(PAUSE)
        else:
            return


def _remove_stale(folder: str, prefix: str, now: float) -> None:
    """Remove temporary files of processes that were killed while they wrote."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and TEMPORARY.fullmatch(entry.name, len(prefix)):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < now - STALE_AFTER:
                        os.unlink(entry.path)  # noqa: PTH108 - pathlib is slow to load


def make_folder(path: str) -> None:
    """Make the folder of a file, and those above it, for this user alone, and check that it can be written in.

    Raises:
        InvalidConfiguration: this user may not.
        SourceUnavailable: the disk is full, or the like.
    """
    from tempfile import TemporaryFile  # slow to load, and such folders are seldom made

    folder = os.path.dirname(os.path.realpath(path))  # noqa: PTH120 - pathlib is slow to load
    missing: list[str] = []
    try:
        above = folder
        while not os.path.isdir(above):  # noqa: PTH112 - as above
            missing.append(above)
            above = os.path.dirname(above)  # noqa: PTH120 - as above
        for one in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(one, 0o700)  # noqa: PTH102 - as above
        refuse_folder_of_others(path)
        with TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: str, error: OSError) -> InvalidConfiguration | SourceUnavailable:
    """Return the exception for a file that cannot be written."""
    if isinstance(error, ForeignFolder):
        return InvalidConfiguration(f"{path} cannot be written ({error}): run this as {error.owner}")
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in NEED_A_PERSON or error.errno in (errno.EROFS, errno.ENOTDIR):
        return InvalidConfiguration(f"{path} cannot be written ({reason}): let this user write there")
    return SourceUnavailable(f"{path} cannot be written just now ({reason}): look after this machine and its disk")


def refuse_folder_of_others(path: str) -> None:
    """Check that this user owns the folder of a path and, of a link, that of its target; root, too, has to.

    On Windows, permissions do that.

    Raises:
        ForeignFolder: another user owns it.
        OSError: there is no such folder.
    """
    if sys.platform == "win32":
        return
    for place in (path, os.path.realpath(path)):
        folder = os.path.dirname(place)  # noqa: PTH120 - pathlib is slow to load
        found = os.stat(folder)  # noqa: PTH116 - pathlib is slow to load
        if found.st_uid != os.geteuid():
            raise ForeignFolder(folder, _name_of(found.st_uid))
        if found.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            _warn_once(folder, "anybody may swap the files in %s: run chmod 700 %s", folder, folder)


def _warn_once(path: str, message: str, *arguments: str) -> None:
    if (path, message) not in _warned:
        _warned.add((path, message))
        logger.warning(message, *arguments)


def _name_of(user: int) -> str:
    import pwd  # not on Windows, and seldom needed

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
