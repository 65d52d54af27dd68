"""A JSON file that programs share: read while others write it, and replaced in one step."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from time import sleep
from typing import Any, cast

from aiocreds import trace
from aiocreds.errors import InvalidConfiguration


class Document(dict[str, Any]):
    """A JSON object whose ``repr`` shows nothing: asyncio's debug log shows what tasks and threads bring."""

    def __repr__(self) -> str:
        return "Document()"


LARGEST = 1024 * 1024
ATTEMPTS, PAUSE = 5, 0.05  # seconds; at a file that others are writing or reading just now


async def read(path: str) -> Document | None:
    """The object in the file; None when the file is missing or holds none, even after a moment.

    Raises:
        InvalidConfiguration: this user may not read it.
    """
    loop = asyncio.get_running_loop()
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE)
        try:
            return await loop.run_in_executor(None, _read, path)
        except (FileNotFoundError, NotADirectoryError):
            trace.note(path, "not there")
            return None
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise InvalidConfiguration(
                f"{path} cannot be read ({reason}): let this user read it, or remove it and sign in again"
            ) from None
        except (ValueError, RecursionError):
            continue  # half-written, perhaps: AWS CLI writes in place
    trace.note(path, "holds no JSON object")
    return None


def replace(path: str, document: dict[str, Any]) -> None:
    """Put an object in the place of the old one, with mode 0600.

    Whoever reads, and whenever this process is killed, there is one of the two, whole. A link stays one: what it
    leads to is replaced.

    Raises:
        OSError: the disk is full or read-only, or the folder not for this user. The old object stays.
    """
    from tempfile import mkstemp  # slow to load, and such files are seldom written

    path = os.path.realpath(path)
    descriptor, temporary = mkstemp(".tmp", dir=os.path.dirname(path))  # noqa: PTH120 - pathlib is slow to load
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(document))
            file.flush()
            os.fsync(file.fileno())
        _move(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108 - as above
        raise


def _read(path: str) -> Document | None:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        document = json.loads(file.read(LARGEST))
    return Document(cast("dict[str, Any]", document)) if isinstance(document, dict) else None


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
