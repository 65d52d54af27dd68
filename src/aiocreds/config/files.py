"""Reading the shared files off the loop, and again when they change."""

from __future__ import annotations

import asyncio
import os
import stat
from functools import partial
from threading import Lock
from time import sleep
from typing import TYPE_CHECKING
from weakref import ref

from aiocreds import pool
from aiocreds.config.grammar import Document
from aiocreds.config.locations import CONFIG_FILE, CREDENTIALS_FILE, locate
from aiocreds.config.profiles import SharedConfig
from aiocreds.errors import InvalidConfiguration
from aiocreds.threads import renew_after_fork

if TYPE_CHECKING:
    from aiocreds.context import Context

Stamp = tuple[int, ...]  # changes with the file; empty for a missing one

LARGEST = 64 * 1024 * 1024
ATTEMPTS = 5  # at a file that is being written meanwhile
PAUSE = 0.01
MISSING: Stamp = ()


async def load(
    context: Context,
    credentials_file: str | os.PathLike[str] | None = None,
    config_file: str | os.PathLike[str] | None = None,
) -> SharedConfig:
    """The shared files as they are now.

    Looks in ``~/.aws/config`` and ``~/.aws/credentials``, or where ``AWS_CONFIG_FILE`` and
    ``AWS_SHARED_CREDENTIALS_FILE`` say. Both are looked at in a worker thread, and read only if they changed
    since the context last saw them. A pipe is read once. A missing file counts as an empty one.

    Raises:
        InvalidConfiguration: a file cannot be read, or does not follow the grammar.

    See https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    loop = asyncio.get_running_loop()
    key = (id(loop), credentials_file, config_file)
    known: ref[Look] | None = context.looks.get(key)
    if known is None or (look := known()) is None or look.begun:
        look = Look(context, credentials_file, config_file)
        context.looks[key] = ref(look)  # it belongs to those who wait, and they to their loop
        loop.call_soon(_begin, context, key, look)  # when all who are awake now have asked
    waiter: asyncio.Future[None] = loop.create_future()
    look.waiters.append(waiter)
    await waiter
    if isinstance(look.answer, SharedConfig):
        return look.answer
    raise look.answer.afresh() if isinstance(look.answer, InvalidConfiguration) else look.answer


def profile_name(context: Context, explicit: str | None = None) -> str:
    """The profile to use: the one named in code, else in ``AWS_PROFILE``, else ``default``."""
    return (explicit or "").strip() or context.environ.get("AWS_PROFILE", "").strip() or "default"


def profile_place(context: Context, explicit: str | None = None) -> str:
    """The variable that names the profile to use; blank when it is named in code, or nowhere."""
    return "" if (explicit or "").strip() or not context.setting("AWS_PROFILE") else "AWS_PROFILE"


def _load(
    context: Context,
    credentials_file: str | os.PathLike[str] | None,
    config_file: str | os.PathLike[str] | None,
) -> SharedConfig:
    documents: list[Document] = []
    named = False
    for name, given in (("credentials", credentials_file), ("config", config_file)):
        path, named = locate(name, context.environ, given=given, home=context.home)
        key = (name, path)
        file = context.config_cache.get(key) or context.config_cache.setdefault(key, SharedFile(path, name))
        documents.append(file.document(named=named))
    return SharedConfig(*documents, elsewhere=named)


class Look:
    """One look at the files, shared by all who ask on a loop before it begins: none can miss an earlier edit."""

    __slots__ = ("__weakref__", "_arguments", "answer", "begun", "taken", "waiters")

    def __init__(
        self,
        context: Context,
        credentials_file: str | os.PathLike[str] | None,
        config_file: str | os.PathLike[str] | None,
    ) -> None:
        self._arguments = context, credentials_file, config_file
        self.begun = False
        self.answer: SharedConfig | BaseException
        self.taken: asyncio.Future[SharedConfig | InvalidConfiguration]
        self.waiters: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """Look, in a thread that knows nothing of who waits: where the disk hangs, it would hold their loop."""
        self.begun = True
        self.taken = pool.submit(_take, *self._arguments)


def _take(
    context: Context,
    credentials_file: str | os.PathLike[str] | None,
    config_file: str | os.PathLike[str] | None,
) -> SharedConfig | InvalidConfiguration:
    try:
        return _load(context, credentials_file, config_file)
    except InvalidConfiguration as error:
        return error


def _begin(context: Context, key: object, look: Look) -> None:
    try:
        look.begin()
        look.taken.add_done_callback(partial(_tell, context, key, look))
    except Exception as error:  # noqa: BLE001 - such as when no thread is to be had; whoever waits has to hear it
        _answer(context, key, look, error)


def _tell(
    context: Context, key: object, look: Look, taken: asyncio.Future[SharedConfig | InvalidConfiguration]
) -> None:
    _answer(
        context, key, look, asyncio.CancelledError() if taken.cancelled() else taken.exception() or taken.result()
    )


def _answer(context: Context, key: object, look: Look, answer: SharedConfig | BaseException) -> None:
    """Wake those who wait for a look, back on the loop."""
    known: ref[Look] | None = context.looks.get(key)
    if known is not None and known() is look:
        del context.looks[key]
    look.answer = answer
    for waiter in look.waiters:
        if not waiter.done():
            waiter.set_result(None)


class SharedFile:
    """One shared file, and what it said when it was last read.

    Args:
        path: where it lies.
        name: ``"credentials"`` or ``"config"``.
    """

    __slots__ = ("__weakref__", "_lock", "_seen", "credentials", "path")

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.credentials = name == "credentials"
        self._lock = Lock()
        renew_after_fork(self)
        self._seen: tuple[Stamp | None, Document] = MISSING, Document(path)

    def document(self, *, named: bool) -> Document:
        """What the file says now; of many threads that ask at once, one reads it.

        Args:
            named: somebody chose this place, so that it is a mistake if nobody may look there. The default one
                is often out of reach: in a container that does not run as the user its image was built for.

        Raises:
            InvalidConfiguration: the file cannot be read, or does not follow the grammar.
        """
        stamp, document = self._seen
        if stamp != self._stamp(named=named):
            with self._lock:
                document = self._refreshed(named=named)
        if document.fault:
            raise document.fault.afresh()
        return document

    def _refreshed(self, *, named: bool) -> Document:
        for _ in range(ATTEMPTS):
            before = self._stamp(named=named)
            if before == self._seen[0]:
                break
            self._seen = None, Document(self.path, self._read(), credentials=self.credentials)
            if before == self._stamp(named=named):
                self._seen = before, self._seen[1]
                break
            sleep(PAUSE)
        return self._seen[1]

    def _after_fork(self) -> None:
        self._lock = Lock()

    def _read(self) -> bytes:
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - pathlib is slow to load
                data = file.read(LARGEST + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._unreadable((error.strerror or "").lower()) from None
        if len(data) > LARGEST:
            del data  # it may hold secrets, and a traceback would hold it
            raise self._unreadable(f"larger than {LARGEST >> 20} MiB")
        return data

    def _stamp(self, *, named: bool) -> Stamp:
        if self.path.startswith("~"):  # nobody knows where that home folder is
            return MISSING
        try:
            found = os.stat(self.path)  # noqa: PTH116 - pathlib is slow to load
        except (FileNotFoundError, NotADirectoryError):
            return MISSING
        except (OSError, ValueError) as error:
            if isinstance(error, PermissionError) and not named:
                return MISSING
            raise self._unreadable((getattr(error, "strerror", None) or "").lower()) from None
        if stat.S_ISREG(found.st_mode):
            return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
        return found.st_dev, found.st_ino  # a pipe or a device: reading it again would bring nothing, or hang

    def _unreadable(self, reason: str) -> InvalidConfiguration:
        variable = CREDENTIALS_FILE if self.credentials else CONFIG_FILE
        return InvalidConfiguration(
            f"{self.path} cannot be read ({reason or 'not a path'}): "
            f"let this user read it, or name another file in {variable}"
        )
