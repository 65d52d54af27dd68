"""Limit the connections of the endpoint, and close silent ones.

Any program on this machine may connect, with or without the token. Each connection takes a descriptor, and the
providers need some for files, requests and processes; so neither many connections nor slow ones may take them all.

aiohttp's own site cannot promise that: it accepts all connections that wait before anything can count them, cannot
pause while all of them wait for an answer, and its keep-alive time-out neither distinguishes clients with the token
nor ends one that reads no answers.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from aiohttp import web

logger = logging.getLogger("aiocreds.cli")

MOST_CONNECTIONS = 512  # at once, unless the limit of descriptors is below twice that
FIRST_REQUEST = 10.0  # seconds until it has to be complete, with the token
IDLE = 75.0  # seconds from one request to the next
GRACE = 0.1  # seconds without traffic before one is closed to make room
SWEEP_INTERVAL = 1.0  # seconds
PAUSE = 0.05  # seconds before the next attempt when no connection can be accepted
WARNING_INTERVAL = 60.0  # seconds


@dataclass(slots=True)
class Connection:
    """A connection; entered while a request with the token is answered, so that it is not closed then.

    Attributes:
        since: when it was made, or last answered.
        authenticated: a request on it had the token.
        busy: a request on it is being answered.
    """

    since: float
    authenticated: bool = False
    busy: bool = False

    def __enter__(self) -> None:
        self.authenticated = self.busy = True

    def __exit__(self, *exc_info: object) -> None:
        self.busy = False
        self.since = asyncio.get_running_loop().time()

    def is_overdue(self, now: float) -> bool:
        """Return whether it has been silent for too long."""
        return not self.busy and now - self.since > (IDLE if self.authenticated else FIRST_REQUEST)


class Connections:
    """Accepts connections for a server, and closes those that are silent for too long.

    At the limit, the one that has been silent for longest is closed for the next, those without the token first.
    While all are busy, new ones wait.

    Args:
        server: what answers them.

    Attributes:
        most: how many there may be at once.
    """

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._open: dict[asyncio.BaseTransport, Connection] = {}
        self.most = most_connections()
        self._warned_at = -WARNING_INTERVAL

    @asynccontextmanager
    async def accepted_from(self, listener: socket.socket) -> AsyncIterator[None]:
        """Accept connections from a socket, which is closed in the end."""
        loop = asyncio.get_running_loop()
        handler_before = loop.get_exception_handler()
        loop.set_exception_handler(_handle_loop_error)
        tasks = [asyncio.create_task(self._accept(listener)), asyncio.create_task(self._sweep_regularly())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()
            loop.set_exception_handler(handler_before)

    def of(self, transport: asyncio.BaseTransport | None) -> Connection:
        """Return the connection of a request; a new one when that has been closed."""
        return (transport and self._open.get(transport)) or Connection(0.0)

    async def _accept(self, listener: socket.socket) -> None:
        # One at a time: asyncio's own server accepts all that wait before anything can count them.
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # the client has disconnected
            except OSError as error:  # descriptors have run out
                self._warn(f"no connection can be accepted: {error.strerror}")
                self._close_longest_silent()
                await asyncio.sleep(PAUSE)
            else:
                await self._add(accepted)

    async def _add(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._wait_for_room()
            transport, _ = await loop.connect_accepted_socket(self._server, accepted)
        except OSError:  # the client has disconnected, on macOS
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise
        else:
            self._open[transport] = Connection(loop.time())

    async def _wait_for_room(self) -> None:
        while len(self._open) >= self.most:
            self._sweep()
            if len(self._open) >= self.most:
                self._warn(f"{self.most} connections at once are the most; the longest silent ones are closed")
                if not self._close_longest_silent():
                    await asyncio.sleep(PAUSE)

    def _close_longest_silent(self) -> bool:
        before = asyncio.get_running_loop().time() - GRACE
        silent = [
            (connection.authenticated, connection.since, transport)
            for transport, connection in self._open.items()
            if not connection.busy and connection.since < before
        ]
        if not silent:
            return False
        *_, longest = min(silent, key=itemgetter(0, 1))
        _close(longest)
        del self._open[longest]
        return True

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            self._sweep()

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for transport, connection in list(self._open.items()):
            if connection.is_overdue(now):
                _close(transport)
            if transport.is_closing():
                del self._open[transport]

    def _warn(self, trouble: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._warned_at >= WARNING_INTERVAL:
            self._warned_at = now
            logger.warning("%s", trouble)


def most_connections() -> int:
    """Return how many connections there may be at once: half of the descriptors are left to the providers."""
    if sys.platform == "win32":  # it has no such limit
        return MOST_CONNECTIONS
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if limit == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, limit // 2)


def _handle_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log that a connection has failed: some requests break older aiohttp, and asyncio would print them."""
    if "RequestHandler" in repr(context.get("protocol") or context.get("future")):
        logger.debug("a connection has failed: %s", type(context.get("exception")).__name__)
    else:
        loop.default_exception_handler(context)


def _close(transport: asyncio.BaseTransport) -> None:
    """Close a connection at once, even if its peer reads no answers."""
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
