"""The connections that an attempt went out on, so that it can be given up at once."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    import asyncio

    from aiohttp.connector import Connection

wires: ContextVar[list[asyncio.Transport]] = ContextVar("wires")


class TracedRequest(aiohttp.ClientRequest):
    """Notes the connection it goes out on.

    When an attempt is given up, aiohttp closes its connection politely, which over TLS means to wait half a
    minute for a peer that may be hung. We cut it instead.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send, and note on what."""
        if conn.transport is not None:
            wires.get().append(conn.transport)
        return await super().send(conn)


class Broken(aiohttp.ClientError):
    """A connection that broke, under a name that aiohttp lets pass."""


async def once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET or PUT by itself: attempts are counted here."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Broken from error
