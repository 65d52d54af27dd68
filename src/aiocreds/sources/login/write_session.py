"""Write the ``login_session`` of a profile into the config file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiocreds._base import threads
from aiocreds._token_cache import storage
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from aiocreds._aws.client import ConfigScope


async def write_session(scope: ConfigScope, profile: str, session: str) -> None:
    """Give a profile its ``login_session``, unless it has that; a new profile is added at the end.

    Raises:
        InvalidConfiguration: this user may not write there.
        SourceUnavailable: the disk is full, or the like.
    """
    if scope.section is not None and scope.section.get("login_session"):
        return
    header = None if scope.section is None else scope.section.where()
    path = scope.config.config_file
    line = int(header.removeprefix(f"{path}:")) if header is not None and header.startswith(f"{path}:") else 0
    title = "default" if profile == "default" else f"profile {profile}"
    await threads.submit(_write, path, line, title, f"login_session = {session}")


def _write(path: str, line: int, title: str, setting: str) -> None:
    storage.make_folder(path)
    target = os.path.realpath(path)
    try:
        try:
            with open(target, "rb") as file:  # noqa: PTH123 - pathlib is slow to load
                lines = file.read().decode().splitlines(keepends=True)
            mode = os.stat(target).st_mode & 0o777  # noqa: PTH116 - as above
        except FileNotFoundError:
            lines, mode = [], 0o600
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        if line:
            lines.insert(line, f"{setting}\n")
        else:
            lines += [*(["\n"] if lines else []), f"[{title}]\n", f"{setting}\n"]
        storage.replace_text(target, "".join(lines))
        os.chmod(target, mode)  # noqa: PTH101 - as above
    except UnicodeDecodeError:
        raise InvalidConfiguration(f"{path} is no text: correct it") from None
    except OSError as error:
        raise storage.unwritable(path, error) from None
