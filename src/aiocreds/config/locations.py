"""Where the shared files lie.

See https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiocreds.context import Context

CONFIG_FILE = "AWS_CONFIG_FILE"
CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE"
WINDOWS = "nt"


def account_home() -> str:
    """The home folder in the operating system's own books; ``~`` when there is none."""
    return os.path.expanduser("~")  # noqa: PTH111 - pathlib is slow to load


def home_folder(
    environ: Mapping[str, str], *, platform: str = os.name, fallback: Callable[[], str] = account_home
) -> str:
    """The user's home folder.

    Reads ``HOME``; on Windows then ``USERPROFILE``, then ``HOMEDRIVE`` with ``HOMEPATH``; else asks the
    operating system.
    """
    home = environ.get("HOME", "").strip()
    if not home and platform == WINDOWS:
        home = environ.get("USERPROFILE", "").strip()
        home = home or (environ.get("HOMEDRIVE", "") + environ.get("HOMEPATH", "")).strip()
    return home or fallback()


def expand_user(path: str, home: str, *, platform: str = os.name) -> str:
    """A path that begins with ``~``, with that replaced by ``home``, and ``~name`` by that user's home folder."""
    if path[1:2] in ("", "/") or (path[1] == "\\" and platform == WINDOWS):
        return home + path[1:]
    return os.path.expanduser(path)  # noqa: PTH111 - pathlib is slow to load


def expand(path: str, context: Context) -> str:
    """A path with ``~`` replaced by the context's home folder."""
    if not path.startswith("~"):
        return path
    return expand_user(path, context.home or home_folder(context.environ))


def locate(
    name: str,
    environ: Mapping[str, str],
    *,
    given: str | os.PathLike[str] | None = None,
    home: str | None = None,
    platform: str = os.name,
    fallback: Callable[[], str] = account_home,
) -> tuple[str, bool]:
    """Where one shared file lies, and whether somebody named that place.

    Args:
        name: ``"config"`` or ``"credentials"``.
        environ: where ``AWS_CONFIG_FILE`` and ``AWS_SHARED_CREDENTIALS_FILE`` are read.
        given: a path from code; goes before the variables.
        home: the home folder, if not the one of `home_folder`.
        platform: as `os.name` says.
        fallback: what knows the home folder when no variable does.
    """
    variable = CONFIG_FILE if name == "config" else CREDENTIALS_FILE
    path = os.fspath(given or "").strip() or environ.get(variable, "").strip()
    if path and not path.startswith("~"):
        return path, True
    home = home or home_folder(environ, platform=platform, fallback=fallback)
    if path:
        return expand_user(path, home, platform=platform), True
    separator = "\\" if platform == WINDOWS else "/"
    return separator.join((home.rstrip(separator), ".aws", name)), False
