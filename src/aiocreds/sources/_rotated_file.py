"""Read small files that are rotated by EKS, the kubelet or an agent: tokens, keys and certificates."""

from __future__ import annotations

import asyncio
import errno
import os
import stat

from aiocreds._base import threads, tracing
from aiocreds._base.redaction import SecretBytes, SecretStr
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

LARGEST = 64 * 1024  # bytes
ATTEMPTS = 5
PAUSE = 0.1


async def read_token_file(path: str, *, place: str) -> SecretStr:
    """Return the stripped text of a token file, read off the loop.

    A missing or empty file may be in mid-rotation: it is read again for about half a second.

    Args:
        path: the file.
        place: the argument, variable or ``file:line`` that names it, for messages.

    Raises:
        InvalidConfiguration: it is not there, may not be read or is no text.
        SourceUnavailable: it stays empty.
    """
    missing = False
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE)
        try:
            token = await threads.submit(_read, path)
            missing = False
        except FileNotFoundError:
            missing = True
            continue
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise InvalidConfiguration(
                f"the token file {path} (from {place}) cannot be read ({reason}):"
                " let this user read it, or correct the path"
            ) from None
        except ValueError:
            raise InvalidConfiguration(
                f"the token file {path} (from {place}) holds no token but something that is not text, or too long:"
                " correct the path"
            ) from None
        if token:
            if tracing.current() is not None:
                from aiocreds._profiles.describe import record_token  # few ever ask

                record_token(path, token)
            return token
    tracing.note(path, kind="missing" if missing else "empty")
    if missing:
        raise InvalidConfiguration(
            f"the token file {path} (from {place}) does not exist: correct the path, or mount it"
        )
    raise SourceUnavailable(f"the token file {path} (from {place}) is empty: look at what should write it")


def _read(path: str) -> SecretStr:
    return SecretStr(read_bounded(path)[0].decode().strip())


def read_bounded(path: str) -> tuple[SecretBytes, os.stat_result]:
    """Return the content of a small file, and the result of its ``fstat``.

    Raises:
        OSError: it cannot be read, or is no file.
        ValueError: it is too long.
    """
    with open(path, "rb", opener=_open) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = SecretBytes(file.read(LARGEST + 1))
    if len(data) > LARGEST:
        raise ValueError
    return data, found


def _open(path: str, flags: int) -> int:
    # Without O_NONBLOCK a thread, which cannot be cancelled, would wait for the writer of a pipe.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
