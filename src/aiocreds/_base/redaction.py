"""Redaction: values whose ``repr`` shows nothing, for secrets and what holds them.

Error reporters send the ``repr`` of local variables in tracebacks, and asyncio's debug log has that of results. So
a token, a body or an answer is put into one of these as soon as it is read.
"""

from __future__ import annotations

from typing import Any


class Redacted:
    """Has a ``repr`` that shows nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "****"


class SecretStr(Redacted, str):
    """A token, a code or a secret key. String methods return plain text."""

    __slots__ = ()


class SecretBytes(Redacted, bytes):
    """A body, or the output of a program."""

    __slots__ = ()


class SecretBuffer(Redacted, bytearray):
    """A body or an output that is being read."""

    __slots__ = ()


class SecretDict(Redacted, dict[str, Any]):
    """A JSON object. The objects inside it are plain."""

    __slots__ = ()
