"""Home folders, and the variables and ``~`` in paths that settings have."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WINDOWS = "nt"
VARIABLE = r"\$(?:(\w+)|\{([^}]*)\})"  # as in os.path.expandvars; compiled when first needed


def account_home() -> str:
    """Return the home folder of this process's account; ``~`` where the system has no entry for it."""
    if os.name == WINDOWS or os.environ.get("HOME", "").strip():
        return os.path.expanduser("~")  # noqa: PTH111 - pathlib is slow to load
    import pwd  # slow to load, and not needed where HOME is set

    try:
        return pwd.getpwuid(os.getuid()).pw_dir  # a blank HOME counts as unset, while os.path takes it for the root
    except KeyError:
        return "~"


def home_folder(
    environ: Mapping[str, str], *, platform: str = os.name, fallback: Callable[[], str] = account_home
) -> str:
    """Return the user's home folder; something that begins with ``~`` where none is known.

    Reads ``HOME``; on Windows then ``USERPROFILE``, then ``HOMEDRIVE`` with ``HOMEPATH``; else asks the
    operating system.
    """
    home = environ.get("HOME", "").strip()
    if not home and platform == WINDOWS:
        home = environ.get("USERPROFILE", "").strip()
        home = home or (environ.get("HOMEDRIVE", "") + environ.get("HOMEPATH", "")).strip()
    return home or fallback()


def expand_path(
    path: str, environ: Mapping[str, str], home: Callable[[], str], *, place: str, platform: str = os.name
) -> str:
    """Return a path with its variables and its ``~`` replaced, as botocore does it for the shared files.

    ``$NAME`` and ``${NAME}`` (on Windows also ``%NAME%``) stand for environment variables. One that is not set
    stays as it is, but for ``$HOME``, which then means the same as ``~``.

    Args:
        path: as a setting has it.
        environ: the environment variables.
        home: returns the folder that ``~`` stands for.
        place: the argument, variable or ``file:line`` that has the path, for messages.
        platform: as `os.name` says.

    Raises:
        InvalidConfiguration: the path begins with a home folder or a variable that is not known. Unexpanded, it
            would be a path below the working directory, and perhaps somebody else's file.
    """
    if "$" in path or (platform == WINDOWS and "%" in path):

        def value(found: re.Match[str]) -> str:
            name = next(filter(None, found.groups()), "")
            given = environ.get(name)
            if name == "HOME" and not (given or "").strip():
                return _known(home(), found[0], place)
            return found[0] if given is None else given

        path = re.sub(rf"{VARIABLE}|%([^%]+)%" if platform == WINDOWS else VARIABLE, value, path, flags=re.ASCII)
        if unset := re.match(VARIABLE, path, re.ASCII):
            raise InvalidConfiguration(
                f"{place} begins with {unset[0]}, and no such variable is set: set it, or write the path out"
            )
    return expand_user(path, home, place=place, platform=platform)


def expand_user(path: str, home: Callable[[], str], *, place: str, platform: str = os.name) -> str:
    """Return a path with its ``~`` replaced by the home folder, and its ``~name`` by that of a user.

    The arguments are those of `expand_path`.

    Raises:
        InvalidConfiguration: no home folder is known, or no such user.
    """
    if not path.startswith("~"):
        return path
    if path[1:2] in ("", "/") or (path[1] == "\\" and platform == WINDOWS):
        return _known(home(), "~", place) + path[1:]
    expanded = os.path.expanduser(path)  # noqa: PTH111 - pathlib is slow to load
    if expanded.startswith("~"):
        raise InvalidConfiguration(
            f"{place} begins with the home folder of a user whom this machine does not know: write the path out"
        )
    return expanded


def _known(home: str, sign: str, place: str) -> str:
    """Return a home folder that is known; ``sign`` is what stands for it."""
    if not home.startswith("~"):
        return home
    raise InvalidConfiguration(
        f"{place} begins with {sign}, and no home folder is known: HOME is not set, and the operating system has"
        " none for this user: set HOME"
    )
