"""Read a token from a file that is rotated by EKS, the kubelet or an agent."""

from __future__ import annotations

import asyncio
import errno
import os
import stat

from aiocreds._base import threads, tracing
from aiocreds._base.redaction import SecretBytes, SecretStr
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

LONGEST_TOKEN = 64 * 1024
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
    # Without O_NONBLOCK a thread, which cannot be cancelled, would wait for the writer of a pipe.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        data = SecretBytes(file.read(LONGEST_TOKEN + 1))
    if len(data) > LONGEST_TOKEN:
        raise ValueError
    return SecretStr(data.decode().strip())
