"""Sessions, leased: opened by the first who needs one, closed by the last to leave."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast, final

import aiohttp

from aiocreds._base import threads
from aiocreds._base.threads import belongings, runs_here
from aiocreds._http.request import OutgoingRequest, noting_reuse
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Container

SECONDS_TO_CLOSE = 2.0


@final
class Lease:
    """The session that the users of one `Http` on one loop share, from the first request to the last holder.

    An ``async with`` over it holds it; holds nest.
    """

    __slots__ = ("__weakref__", "_borrowed", "_holders", "_kept", "_session", "loop")

    def __init__(
        self,
        borrowed: aiohttp.ClientSession | None,
        loop: asyncio.AbstractEventLoop,
        kept: Container[asyncio.AbstractEventLoop],
    ) -> None:
        self.loop = loop
        self._borrowed = borrowed
        self._kept = kept
        self._holders = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self.hold()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.leave():
            await self.close()

    def hold(self) -> None:
        """Need the session; who holds leaves."""
        self._holders += 1

    def leave(self) -> bool:
        """Need it no more; whether it is to be closed now."""
        self._holders -= 1
        return self.idle

    @property
    def idle(self) -> bool:
        """Return whether a session is open that nobody needs, and can be closed."""
        needed = self._holders or self.loop in self._kept
        return not needed and self._session is not None and runs_here(self.loop)

    async def close(self) -> None:
        """Close the session; the next who needs one opens another."""
        if self._session is not None:
            leaving, self._session = self._session, None
            belongings(self.loop).discard(self)
            await close_session(leaving)

    def session(self) -> aiohttp.ClientSession:
        """The session to use now.

        Raises:
            InvalidConfiguration: the session that was lent to us has been closed.
        """
        if self._borrowed is not None and self._borrowed.closed:
            raise InvalidConfiguration(
                "the aiohttp session that was passed in is closed; keep it open for as long as credentials "
                "are needed, or pass none"
            )
        if self._session is None:
            self._session = self._borrow() or open_session(_connector(), owner=True)
            belongings(self.loop).add(self)
        return self._session

    def _borrow(self) -> aiohttp.ClientSession | None:
        if self._borrowed is None or self._borrowed.connector is None:
            return None
        try:
            return open_session(self._borrowed.connector, owner=False)
        except RuntimeError:  # aiohttp's way to say that the connector lives on another loop
            return None


def _connector() -> aiohttp.TCPConnector:
    if aiohttp.DefaultResolver is not aiohttp.ThreadedResolver:  # aiodns is installed, and wants no thread
        return aiohttp.TCPConnector()
    look_ups = cast("asyncio.AbstractEventLoop", _LookUps())
    return aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(look_ups))


class _LookUps:
    """The look-ups that aiohttp's resolver asks of a loop, in our own threads."""

    async def getaddrinfo(self, host: str, port: int, **hints: int) -> list[Any]:
        return await threads.submit_long(partial(socket.getaddrinfo, host, port, **hints))

    async def getnameinfo(self, address: tuple[Any, ...], flags: int) -> tuple[str, str]:
        return await threads.submit_long(socket.getnameinfo, address, flags)


async def close_session(session: aiohttp.ClientSession) -> None:
    """Close a session and wait for its connections to be gone, even while being cancelled."""
    closing = asyncio.create_task(session.close())
    cancelled: asyncio.CancelledError | None = None
    given_up = False
    while not closing.done():
        try:
            if not (await asyncio.wait({closing}, timeout=SECONDS_TO_CLOSE))[0]:
                given_up = closing.cancel()
        except asyncio.CancelledError as error:
            cancelled = error
        if closing.cancelled() and not given_up:  # by the end of asyncio.run, perhaps before it had begun
            closing = asyncio.create_task(session.close())
    if cancelled is not None:
        raise cancelled


def open_session(connector: aiohttp.BaseConnector, *, owner: bool) -> aiohttp.ClientSession:
    """A session on the running loop.

    Raises:
        RuntimeError: the connector belongs to another loop.
    """
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=owner,
        loop=asyncio.get_running_loop(),
        headers={"Accept-Encoding": "identity", "User-Agent": "aiocreds"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        request_class=OutgoingRequest,
        trace_configs=[noting_reuse()],
    )
