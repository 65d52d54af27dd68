"""Whether other users of the machine can get at the files of a sign-in."""

from __future__ import annotations

import logging
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("aiocreds.config.exposure")
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
