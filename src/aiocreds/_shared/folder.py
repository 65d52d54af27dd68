"""The store without a server: a folder of one user, for the processes of one machine."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiocreds._base import threads
from aiocreds._base.paths import expand_path
from aiocreds._base.redaction import SecretBytes, SecretDict, SecretStr
from aiocreds._shared.circuit_breaker import Unusable
from aiocreds._token_cache import storage
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._core.context import Context

SUFFIX = ".json"
READING = storage.READING | getattr(os, "O_NOFOLLOW", 0)
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Folder:
    """A store that keeps each entry in a file of mode 0600, in a folder of mode 0700.

    Args:
        path: of the folder, which is made when it is first written to.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<Folder {self.path}>"

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        """Return the entry; None where there is none.

        Raises:
            OSError: it cannot be read, or not by this user alone.
        """
        return await threads.submit(self._read, key)

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: float | None = None
    ) -> None:
        """Keep an entry in place of the old one; the time it lasts is written in it.

        Raises:
            OSError: it cannot be written, or not for this user alone.
        """
        await threads.submit(self._write, key, value)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Remove an entry; return whether there was one.

        Raises:
            OSError: it cannot be removed.
        """
        return await threads.submit(self._remove, key)

    def file(self, key: str) -> str:
        """Return the path of an entry."""
        return os.path.join(self.path, key + SUFFIX)  # noqa: PTH118 - pathlib is slow to load

    def prepare(self) -> None:
        """Make the folder if there is none.

        Raises:
            OSError: it cannot be made, or is open to other users.
        """
        try:
            found = os.stat(self.path)  # noqa: PTH116 - as above
        except FileNotFoundError:
            parent = os.path.dirname(self.path)  # noqa: PTH120 - as above
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - as above
            with suppress(FileExistsError):  # another process was faster
                os.mkdir(self.path, 0o700)  # noqa: PTH102 - as above
            found = os.stat(self.path)  # noqa: PTH116 - as above
        if not stat.S_ISDIR(found.st_mode):
            raise Unusable(f"{self.path} is no folder: name another one")
        if sys.platform != "win32":
            self._refuse_others(found)

    def _refuse_others(self, found: os.stat_result) -> None:
        if found.st_uid != os.geteuid():
            raise Unusable(f"{self.path} belongs to another user: name a folder of your own")
        if found.st_mode & OTHERS:
            raise Unusable(f"{self.path} is open to other users: run chmod 700 {self.path}")

    def _read(self, key: str) -> dict[str, Any] | None:
        try:
            descriptor = os.open(self.file(key), READING)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "no file, but a folder, pipe or device")
            if sys.platform != "win32":
                self._refuse_others(os.stat(self.path))  # noqa: PTH116 - as above
                if found.st_mode & OTHERS or found.st_uid != os.geteuid():
                    raise Unusable(f"{self.file(key)} is not for this user alone: remove it")
            with open(descriptor, "rb", closefd=False) as file:
                text = SecretBytes(file.read(storage.LARGEST))
        finally:
            os.close(descriptor)
        try:
            return SecretDict(json.loads(text))
        except (ValueError, TypeError, RecursionError):  # of a foreign program, or of a disk that was full
            return {}

    def _write(self, key: str, value: Mapping[str, Any]) -> None:
        self.prepare()
        storage.replace_text(self.file(key), SecretStr(json.dumps(value)))

    def _remove(self, key: str) -> bool:
        try:
            os.unlink(self.file(key))  # noqa: PTH108 - as above
        except FileNotFoundError:
            return False
        return True


def folder_for(path: str | os.PathLike[str] | None, context: Context) -> Folder:
    """Return the store in a folder; by default in one below the user's cache folder.

    Raises:
        InvalidConfiguration: the path is blank, or no home folder is known.
    """
    given = os.fspath(path) if path is not None else _usual(context)
    if not given.strip():
        raise InvalidConfiguration("the folder of a shared store is blank: name one, or leave it out")
    place = "store" if path is not None else "the user's cache folder"
    found = expand_path(given, context.environ, context.home_folder, place=place)
    return Folder(found if os.path.isabs(found) else os.path.abspath(found))  # noqa: PTH100, PTH117 - as above


def _usual(context: Context) -> str:
    if sys.platform == "win32":
        base = context.setting("LOCALAPPDATA") or os.path.join("~", "AppData", "Local")  # noqa: PTH118 - as above
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = context.setting("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(base, "aiocreds", "shared")  # noqa: PTH118 - as above
