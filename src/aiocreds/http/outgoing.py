"""The last look at a request on its way out: to sign it, and to know which connection to cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    import asyncio

    from aiohttp.connector import Connection
    from yarl import URL

# (method, url, headers, body) -> the headers to add
Signer = Callable[[str, str, Iterable[tuple[str, str]], bytes], Mapping[str, str]]


class Attempt:
    """What an attempt needs to know of its request while aiohttp has it in its hands.

    Attributes:
        sign: makes the headers that sign it, or None.
        wires: the connections that it went out on.
        reused: whether the last of them was kept from an earlier request.
    """

    __slots__ = ("reused", "sign", "wires")

    def __init__(self, sign: Signer | None) -> None:
        self.sign = sign
        self.wires: list[asyncio.Transport] = []
        self.reused = False


attempt_under_way: ContextVar[Attempt] = ContextVar("attempt_under_way")


def noting_reuse() -> aiohttp.TraceConfig:
    """Return what has aiohttp tell an attempt whether its connection is a kept one."""

    async def kept(*_: object) -> None:
        attempt_under_way.get().reused = True

    async def made(*_: object) -> None:
        attempt_under_way.get().reused = False

    noting = aiohttp.TraceConfig()
    noting.on_connection_reuseconn.append(kept)
    noting.on_connection_create_start.append(made)
    return noting


class OutgoingRequest(aiohttp.ClientRequest):
    """Is signed behind the last middleware, and notes the connection it goes out on.

    When an attempt is given up, aiohttp closes its connection politely, which over TLS means to wait half a
    minute for a peer that may be hung. We cut it instead.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Sign, send, and note on what."""
        attempt = attempt_under_way.get()
        if conn.transport is not None:
            attempt.wires.append(conn.transport)
        if attempt.sign is not None:
            body = await self.body.as_bytes() if self.body else b""
            self.headers.update(attempt.sign(self.method, url_text(self.url), self.headers.items(), body))
        return await super().send(conn)


@lru_cache(maxsize=64)
def url_text(url: URL) -> str:
    """The URL as it goes on the wire."""
    return str(url)


class Broken(aiohttp.ClientError):
    """A connection that broke, under a name that aiohttp lets pass."""


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET or PUT by itself: attempts are counted here."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Broken from error
