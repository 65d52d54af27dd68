"""The connections of the endpoint: so many at once, and none that stays silent.

Any program on this machine may connect, with or without the token. What it holds open takes descriptors, which the
providers need for files, requests and processes; so neither many connections nor slow ones may take them all.

aiohttp's own site cannot promise that: it accepts what waits before anything can count it, cannot pause while all
connections wait for an answer, and its keep-alive time-out cannot tell a client with the token from others, nor
ends one that reads no answers.
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

MOST = 512  # at once, where the limit of descriptors allows for twice as many
FIRST_REQUEST = 10.0  # seconds in which it has to arrive whole, with the token
IDLE = 75.0  # seconds from one request to the next
GRACE = 0.1  # seconds in which nobody has to make room: the request may be on its way, or the answer
WEEDED = 1.0  # seconds from one look at them to the next
PAUSE = 0.05  # seconds until something may have changed when none can be accepted
TOLD = 60.0  # seconds from one line about a trouble to the next


@dataclass(slots=True)
class Connection:
    """A connection; entered while a request with the token is answered, during which it is kept.

    Attributes:
        since: when it was made, or last answered.
        known: whether it has shown the token.
        busy: whether an answer is on its way.
    """

    since: float
    known: bool = False
    busy: bool = False

    def __enter__(self) -> None:
        self.known = self.busy = True

    def __exit__(self, *exc_info: object) -> None:
        self.busy = False
        self.since = asyncio.get_running_loop().time()

    def over(self, now: float) -> bool:
        """Return whether it has been silent for too long."""
        return not self.busy and now - self.since > (IDLE if self.known else FIRST_REQUEST)


class Connections:
    """Accepts connections for a server, and closes those that are silent for too long.

    When there are as many as there may be, the one that has been silent for longest makes room for the next, those
    that have never shown the token first. While all are busy, new ones wait.

    Args:
        server: what answers them.

    Attributes:
        most: how many there may be at once.
    """

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._open: dict[asyncio.BaseTransport, Connection] = {}
        self.most = most_connections()
        self._told = -TOLD

    @asynccontextmanager
    async def accepted_from(self, listener: socket.socket) -> AsyncIterator[None]:
        """Accept what connects to a socket, which is closed in the end."""
        loop = asyncio.get_running_loop()
        heard_before = loop.get_exception_handler()
        loop.set_exception_handler(_hear)
        tasks = [asyncio.create_task(self._accept(listener)), asyncio.create_task(self._weed_on())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()
            loop.set_exception_handler(heard_before)

    def of(self, transport: asyncio.BaseTransport | None) -> Connection:
        """The connection of a request, or one that stands for it when it is gone."""
        return (transport and self._open.get(transport)) or Connection(0.0)

    async def _accept(self, listener: socket.socket) -> None:
        """One at a time: asyncio's own server takes all that wait before it lets anybody count them."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # it is gone already
            except OSError as error:  # descriptors have run out
                self._tell(f"no connection can be accepted: {error.strerror}")
                self._close_longest_silent()
                await asyncio.sleep(PAUSE)
            else:
                await self._take(accepted)

    async def _take(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._room()
            transport, _ = await loop.connect_accepted_socket(self._server, accepted)
        except OSError:  # it is gone already, as macOS tells it
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise
        else:
            self._open[transport] = Connection(loop.time())

    async def _room(self) -> None:
        while len(self._open) >= self.most:
            self._weed()
            if len(self._open) >= self.most:
                self._tell(f"{self.most} connections at once are the most; the longest silent ones are closed")
                if not self._close_longest_silent():
                    await asyncio.sleep(PAUSE)

    def _close_longest_silent(self) -> bool:
        before = asyncio.get_running_loop().time() - GRACE
        silent = [
            (connection.known, connection.since, transport)
            for transport, connection in self._open.items()
            if not connection.busy and connection.since < before
        ]
        if not silent:
            return False
        *_, longest = min(silent, key=itemgetter(0, 1))
        _close(longest)
        del self._open[longest]
        return True

    async def _weed_on(self) -> None:
        while True:
            await asyncio.sleep(WEEDED)
            self._weed()

    def _weed(self) -> None:
        now = asyncio.get_running_loop().time()
        for transport, connection in list(self._open.items()):
            if connection.over(now):
                _close(transport)
            if transport.is_closing():
                del self._open[transport]

    def _tell(self, trouble: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._told >= TOLD:
            self._told = now
            logger.warning("%s", trouble)


def most_connections() -> int:
    """Return how many connections there may be at once: half of the descriptors are left to the providers."""
    if sys.platform == "win32":  # which has no such limit
        return MOST
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if limit == resource.RLIM_INFINITY else min(MOST, limit // 2)


def _hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Some requests make older versions of aiohttp fail, and asyncio would show on stderr where and with what."""
    if "RequestHandler" in repr(context.get("protocol") or context.get("future")):
        logger.debug("a connection has failed: %s", type(context.get("exception")).__name__)
    else:
        loop.default_exception_handler(context)


def _close(transport: asyncio.BaseTransport) -> None:
    """At once, whether or not the peer reads what it was sent."""
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
