"""Where the shared files lie.

See https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiocreds.context import WINDOWS, account_home, expand_path, home_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiocreds.context import Context

CONFIG_FILE = "AWS_CONFIG_FILE"
CREDENTIALS_FILE = "AWS_SHARED_CREDENTIALS_FILE"


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
    """Where one shared file lies, and whether somebody named that place.

    Args:
        name: ``"config"`` or ``"credentials"``.
        environ: where ``AWS_CONFIG_FILE`` and ``AWS_SHARED_CREDENTIALS_FILE`` are read.
        given: a path from code; goes before the variables.
        home: the home folder, if not the one of `home_folder`.
        platform: as `os.name` says.
        fallback: what knows the home folder when no variable does.

    Returns:
        a path, which begins with ``~`` for a default place in a home folder that is not known.

    Raises:
        InvalidConfiguration: somebody named a place in a home folder that is not known.
    """
    variable = CONFIG_FILE if name == "config" else CREDENTIALS_FILE
    place, path = f"{name}_file", os.fspath(given or "").strip()
    if not path:
        place, path = variable, environ.get(variable, "").strip()

    def folder() -> str:
        return home or home_folder(environ, platform=platform, fallback=fallback)

    if path:
        return expand_path(path, environ, folder, place=place, platform=platform), True
    separator = "\\" if platform == WINDOWS else "/"
    return separator.join((folder().rstrip(separator), ".aws", name)), False
