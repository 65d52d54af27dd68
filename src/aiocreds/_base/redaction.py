"""Values that work as ever and show nothing: secrets, and what holds some.

Error reporters send the local variables of every frame of a traceback, and asyncio's debug log shows what threads
and tasks bring. Both ask for a ``repr``. So a token, a body or an answer is put into one of these where it comes
in, and stays in it until it is used.
"""

from __future__ import annotations

from typing import Any


class _Hidden:
    __slots__ = ()

    def __repr__(self) -> str:
        return "****"


class SecretStr(_Hidden, str):
    """A token, a code, a secret key. What string methods return is plain."""

    __slots__ = ()


class SecretBytes(_Hidden, bytes):
    """A body, or what a program printed."""

    __slots__ = ()


class SecretBuffer(_Hidden, bytearray):
    """Data that still comes in."""

    __slots__ = ()


class SecretDict(_Hidden, dict[str, Any]):
    """A JSON object. Those inside it are plain."""

    __slots__ = ()
