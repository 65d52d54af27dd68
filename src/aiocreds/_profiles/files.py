"""Locate the shared files, and read them off the loop, again when they change."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from functools import partial
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from weakref import ref

from aiocreds._base import threads, tracing
from aiocreds._base.paths import WINDOWS, account_home, expand_path, home_folder
from aiocreds._base.threads import renew_after_fork
from aiocreds._core.context import OLDER_PROFILE, PROFILE, profile_place
from aiocreds._profiles.model import Setting, SharedConfig
from aiocreds._profiles.parser import Document
from aiocreds.errors import InvalidConfiguration, afresh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiocreds._core.context import Context

logger = logging.getLogger("aiocreds.profiles")

CONFIG_FILE = "AWS_CONFIG_FILE"
CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE"
Stamp = tuple[int, ...]  # changes with the file; empty for a missing one

# Bytes and lines of a file, enough for 100,000 profiles; and seconds for a pipe, after a late one fewer.
LARGEST, MOST_LINES = 16 * 1024 * 1024, 500_000
PIPE_PATIENCE, LATE_PIPE_PATIENCE = 5.0, 0.1
PIECE = 64 * 1024
ATTEMPTS = 5  # at a file that is being written meanwhile
PAUSE = 0.01
MISSING: Stamp = ()
_warned: set[str] = set()


async def load(
    context: Context,
    credentials_file: str | os.PathLike[str] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    *,
    needed: bool = True,
) -> SharedConfig:
    """Return the shared files as they are now.

    Looks in ``~/.aws/config`` and ``~/.aws/credentials``, or where ``AWS_CONFIG_FILE`` and
    ``AWS_SHARED_CREDENTIALS_FILE`` say. Both are looked at in a worker thread, and read only if they changed
    since the context last saw them. A pipe is read once; its writer has 5 seconds to begin and 5 to end. A missing
    file counts as an empty one, and so does a link to nothing. What cannot be read is a folder, a device, a file
    that is forbidden, larger than 16 MiB or longer than 500,000 lines.

    Args:
        context: the environment, and what was read before.
        credentials_file: by default as said above.
        config_file: likewise.
        needed: credentials depend on the files. If not, a file that cannot be read counts as an empty one, with
            a warning the first time.

    Raises:
        InvalidConfiguration: a file cannot be read and is needed, or does not follow the grammar.

    See https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    loop = asyncio.get_running_loop()
    key = (id(loop), credentials_file, config_file)
    readings: dict[Any, Any] = context.cached("config readings", dict[Any, Any])
    known: ref[Reading] | None = readings.get(key)
    if known is None or (reading := known()) is None or reading.begun:
        reading = Reading(context, credentials_file, config_file)
        readings[key] = ref(reading)  # its waiters keep it alive
        loop.call_soon(
            _start_reading, context, key, reading
        )  # after the tasks that are ready, so that they share it
    waiter: asyncio.Future[None] = loop.create_future()
    reading.waiters.append(waiter)
    await waiter
    if not isinstance(reading.answer, SharedConfig):
        raise reading.answer
    if fault := reading.answer.fault(needed=needed):
        raise afresh(fault)
    if not needed:
        _warn_of_unread(context, reading.answer)
    return reading.answer


def _warn_of_unread(context: Context, config: SharedConfig) -> None:
    """Warn once that a file cannot be read, and again after it could be or for another reason."""
    cache: dict[Any, Any] = context.cached("config files", dict[Any, Any])
    for path, fault in config.unread():
        key, why = ("unread", path), str(fault or "")
        if fault and cache.get(key) != why:
            logger.warning("%s. Going on without what it says of regions, endpoints and the like", why)
        if fault:
            tracing.note(path, "cannot be read, and is done without", kind="note")
        cache[key] = why


def profile_name(context: Context, explicit: str | None = None, *, warn: bool = True) -> str:
    """Return the profile to use: named in code, by ``AWS_PROFILE`` or ``AWS_DEFAULT_PROFILE``, else ``default``.

    Args:
        context: the environment.
        explicit: the name in code.
        warn: say once, in the log, that the two variables name different profiles.
    """
    if name := (explicit or "").strip():
        return name
    place = profile_place(context)
    conflict = profile_conflict(context) if warn and place == PROFILE else ""
    if conflict and conflict not in _warned:
        _warned.add(conflict)
        logger.warning("%s", conflict)
    return (place and context.setting(place)) or "default"


def profile_conflict(context: Context) -> str:
    """Return a warning for two variables that name different profiles; blank when they do not."""
    name, older = context.setting(PROFILE), context.setting(OLDER_PROFILE)
    if not name or not older or name == older:
        return ""
    return (
        f"{PROFILE}={name} and {OLDER_PROFILE}={older} are both set: the first counts here, the second in boto3."
        " Unset one of them."
    )


def expand(path: str, context: Context, *, place: str) -> str:
    """Return a path with its variables and its ``~`` replaced by the context's; ``place`` is what has it.

    Raises:
        InvalidConfiguration: it begins with a home folder or a variable that is not known.
    """
    return expand_path(path, context.environ, context.home_folder, place=place)


def locate(
    name: str,
    environ: Mapping[str, str],
    *,
    given: str | os.PathLike[str] | None = None,
    home: str | None = None,
    platform: str = os.name,
    fallback: Callable[[], str] = account_home,
) -> tuple[str, bool]:
    """Return where one shared file is, and whether that place is configured.

    Args:
        name: ``"config"`` or ``"credentials"``.
        environ: where ``AWS_CONFIG_FILE`` and ``AWS_SHARED_CREDENTIALS_FILE`` are read.
        given: a path from code; goes before the variables.
        home: the home folder, if not the one of `home_folder`.
        platform: as `os.name` says.
        fallback: returns the home folder when no variable has it.

    Returns:
        a path, which begins with ``~`` for a default place in a home folder that is not known.

    Raises:
        InvalidConfiguration: the configured place is in a home folder that is not known.
    """
    variable = CONFIG_FILE if name == "config" else CREDENTIALS_FILE
    setting = Setting(os.fspath(given or "").strip(), f"{name}_file")
    if not setting.value:
        setting = Setting(environ.get(variable, "").strip(), variable)

    def folder() -> str:
        return home or home_folder(environ, platform=platform, fallback=fallback)

    if setting.value:
        return expand_path(setting.value, environ, folder, place=setting.place, platform=platform), True
    separator = "\\" if platform == WINDOWS else "/"
    return separator.join((folder().rstrip(separator), ".aws", name)), False


def _load(
    context: Context,
    credentials_file: str | os.PathLike[str] | None,
    config_file: str | os.PathLike[str] | None,
) -> SharedConfig:
    documents: list[Document] = []
    named = False
    cache: dict[Any, Any] = context.cached("config files", dict[Any, Any])
    for name, given in (("credentials", credentials_file), ("config", config_file)):
        path, named = locate(name, context.environ, given=given, home=context.home)
        key = (name, path)
        file = cache.get(key) or cache.setdefault(key, SharedFile(path, name))
        documents.append(file.document(named=named))
    return SharedConfig(*documents, elsewhere=named)


class Reading:
    """One read of the files, shared by all who ask on a loop before it begins, so that none misses an edit."""

    __slots__ = ("__weakref__", "_arguments", "answer", "begun", "future", "waiters")

    def __init__(
        self,
        context: Context,
        credentials_file: str | os.PathLike[str] | None,
        config_file: str | os.PathLike[str] | None,
    ) -> None:
        self._arguments = context, credentials_file, config_file
        self.begun = False
        self.answer: SharedConfig | BaseException
        self.future: asyncio.Future[SharedConfig]
        self.waiters: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """Read in a thread, which refers to no waiter: when the disk hangs, it would keep their loop alive."""
        self.begun = True
        self.future = threads.submit(_load, *self._arguments)


def _start_reading(context: Context, key: object, reading: Reading) -> None:
    try:
        reading.begin()
        reading.future.add_done_callback(partial(_finish_reading, context, key, reading))
    except Exception as error:  # noqa: BLE001 - such as no thread; the waiters get it
        _wake_waiters(context, key, reading, error)


def _finish_reading(context: Context, key: object, reading: Reading, future: asyncio.Future[SharedConfig]) -> None:
    _wake_waiters(
        context,
        key,
        reading,
        asyncio.CancelledError() if future.cancelled() else future.exception() or future.result(),
    )


def _wake_waiters(context: Context, key: object, reading: Reading, answer: SharedConfig | BaseException) -> None:
    """Wake the waiters, back on the loop."""
    readings: dict[Any, Any] = context.cached("config readings", dict[Any, Any])
    known: ref[Reading] | None = readings.get(key)
    if known is not None and known() is reading:
        del readings[key]
    reading.answer = answer
    for waiter in reading.waiters:
        if not waiter.done():
            waiter.set_result(None)


class Unreadable(Exception):
    """Raised for a file that cannot be read; its text is the reason."""


class SharedFile:
    """One shared file, and its content when it was last read.

    Args:
        path: where it lies.
        name: ``"credentials"`` or ``"config"``.
    """

    __slots__ = ("__weakref__", "_lock", "_patience", "_seen", "credentials", "path")

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.credentials = name == "credentials"
        self._lock = Lock()
        renew_after_fork(self)
        self._patience = PIPE_PATIENCE
        self._seen: tuple[Stamp | None, Document] = MISSING, Document(path)

    def document(self, *, named: bool) -> Document:
        """Return the file as it is now; of many threads that ask at once, one reads it.

        Args:
            named: this place is configured, so that a forbidden file is a mistake. The default one often is
                forbidden: in a container that does not run as the user its image was built for.

        Returns:
            A document with a ``fault`` when the file cannot be read, or does not follow the grammar.
        """
        try:
            stamp, document = self._seen
            if stamp != self._stamp(named=named):
                with self._lock:
                    document = self._read_until_stable(named=named)
        except Unreadable as error:
            return self._unreadable(str(error))
        return document

    def _read_until_stable(self, *, named: bool) -> Document:
        for _ in range(ATTEMPTS):
            before = self._stamp(named=named)
            if before == self._seen[0]:
                break
            self._seen = None, Document(self.path, self.read(), credentials=self.credentials)
            if before == self._stamp(named=named):
                self._seen = before, self._seen[1]
                break
            sleep(PAUSE)
        return self._seen[1]

    def _after_fork(self) -> None:
        self._lock = Lock()

    def read(self) -> bytes:
        """Return the content of the file; nothing for a missing one.

        Raises:
            Unreadable: it cannot be read, or is too large.
        """
        try:
            with open(self.path, "rb", opener=_open) as file:
                found = os.fstat(file.fileno())
                _refuse_devices(found)
                if stat.S_ISFIFO(found.st_mode):
                    data = self._read_pipe(file.fileno())
                else:
                    data = b"" if found.st_size > LARGEST else file.read(LARGEST + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise Unreadable((error.strerror or "").lower()) from None
        size = max(len(data), found.st_size)
        if size > LARGEST or max(data.count(b"\n"), data.count(b"\r")) > MOST_LINES:
            del data  # it may hold secrets, and this frame is in the traceback
            raise Unreadable(
                f"larger than {LARGEST >> 20} MiB" if size > LARGEST else f"more than {MOST_LINES:,} lines"
            )
        return data

    def _read_pipe(self, descriptor: int) -> bytes:
        """Return the data of a pipe up to its end."""
        from select import POLLIN, poll  # not on Windows, where no file is a pipe

        data, waiting = bytearray(), poll()
        waiting.register(descriptor, POLLIN)
        end = monotonic() + self._patience
        self._patience = LATE_PIPE_PATIENCE
        while waiting.poll(max(0.0, end - monotonic()) * 1000):
            piece = os.read(descriptor, PIECE)
            if not piece or len(data) > LARGEST:
                self._patience = PIPE_PATIENCE
                return bytes(data)
            if not data:
                end = monotonic() + PIPE_PATIENCE
            data += piece
        raise Unreadable(
            f"a pipe that {'does not end' if data else 'nobody writes to'} within {PIPE_PATIENCE:.0f} s"
        )

    def _stamp(self, *, named: bool) -> Stamp:
        if self.path.startswith("~"):  # no home folder is known
            return MISSING
        try:
            found = os.stat(self.path)  # noqa: PTH116 - pathlib is slow to load
        except (FileNotFoundError, NotADirectoryError):
            return MISSING
        except (OSError, ValueError) as error:
            if isinstance(error, PermissionError) and not named:
                return MISSING
            raise Unreadable((getattr(error, "strerror", None) or "").lower()) from None
        if stat.S_ISREG(found.st_mode):
            return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
        _refuse_devices(found)
        return found.st_dev, found.st_ino  # a pipe, which is read once, or an empty device

    def _unreadable(self, reason: str) -> Document:
        """Return an empty document with the fault that its file cannot be read."""
        variable = CREDENTIALS_FILE if self.credentials else CONFIG_FILE
        document = Document(self.path)
        document.unreadable = True
        document.fault = InvalidConfiguration(
            f"{self.path} cannot be read ({reason or 'not a path'}): "
            f"let this user read it, or name another file in {variable}"
        )
        return document


def _open(path: str, flags: int) -> int:
    """Open a file without waiting: a pipe may have no writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refuse_devices(found: os.stat_result) -> None:
    """Refuse devices, which may have no end, but for the null device.

    Raises:
        Unreadable: it is a device. A folder is refused when it is opened.
    """
    mode = found.st_mode
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISDIR(mode):
        return
    if not stat.S_ISCHR(mode) or found.st_rdev != os.stat(os.devnull).st_rdev:  # noqa: PTH116 - as above
        raise Unreadable("a device or a socket")
