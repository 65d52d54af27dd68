"""Sessions, leased: opened by the first request, shared by all, and closed some seconds after the last one."""

from __future__ import annotations

import asyncio
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast, final

import aiohttp

from aiocreds._base import threads
from aiocreds._base.threads import belongings, runs_here
from aiocreds._http.request import OutgoingRequest, noting_reuse
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Container

LINGER = 5.0  # seconds for which connections that nobody uses are kept for the next request
SECONDS_TO_CLOSE = 2.0


@final
class Lease:
    """The session and the connections that the users of one `Http` on one loop share.

    An ``async with`` over it holds it; holds nest. After the last one the connections linger for `LINGER` seconds.
    ``loop.shutdown_asyncgens()``, which ``asyncio.run`` calls at its end, closes them as well.
    """

    __slots__ = (
        "__weakref__",
        "_borrowed",
        "_connector",
        "_holders",
        "_idle_since",
        "_kept",
        "_lingers",
        "_session",
        "_timer",
        "loop",
    )

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
        self._connector: aiohttp.TCPConnector | None = None  # ours; the session that uses it may be another one
        self._lingers = False
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self.hold()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    def hold(self) -> None:
        """Keep the connections open until :meth:`leave`."""
        self._holders += 1

    async def leave(self) -> None:
        """End a hold; after the last one the connections linger, or are closed where nothing would close them."""
        self._holders -= 1
        if not self.idle:
            return
        if not (self._lingers and LINGER):
            await self.close()
            return
        self._drop_session()
        self._idle_since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(LINGER, self._close_if_idle)

    @property
    def idle(self) -> bool:
        """Return whether something is open that nobody needs, and can be closed."""
        needed = self._holders or self.loop in self._kept
        return not needed and (self._connector or self._session) is not None and runs_here(self.loop)

    async def close(self) -> None:
        """Close the connections; the next request opens others."""
        self._drop_session()
        connector, self._connector = self._connector, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        belongings(self.loop).discard(self)
        if connector is not None:
            await close_connector(connector)

    async def aclose(self) -> None:
        """Close at the end of the loop, which calls this as it does for asynchronous generators."""
        self._lingers = False
        if not self._holders:
            await self.close()

    def session(self) -> aiohttp.ClientSession:
        """Return the session to use now.

        Raises:
            InvalidConfiguration: the session that was lent to us has been closed.
        """
        if self._borrowed is not None and self._borrowed.closed:
            raise InvalidConfiguration(
                "the aiohttp session that was passed in is closed; keep it open for as long as credentials "
                "are needed, or pass none"
            )
        if self._session is None:
            self._session = self._borrow() or self._open()
            belongings(self.loop).add(self)
        return self._session

    def _borrow(self) -> aiohttp.ClientSession | None:
        if self._borrowed is None or self._borrowed.connector is None:
            return None
        try:
            return _session(self._borrowed.connector, noting_reuse())
        except RuntimeError:  # aiohttp's way to say that the connector lives on another loop
            return None

    def _open(self) -> aiohttp.ClientSession:
        if self._connector is None:
            self._connector = _connector()
            self._lingers = _close_at_the_end(self.loop, self)
        return _session(self._connector)

    def _drop_session(self) -> None:
        """Let go of the session, which owns nothing: aiohttp logs an error where one is forgotten open."""
        if self._session is not None:
            self._session.detach()
            self._session = None

    def _close_if_idle(self) -> None:
        self._timer = None
        if not self.idle:
            return
        left = self._idle_since + LINGER - self.loop.time()
        if left > 0.01:  # it was used meanwhile
            self._timer = self.loop.call_later(left, self._close_if_idle)
            return
        task = self.loop.create_task(self._close_unless_used(), name="aiocreds closes connections")
        belongings(self.loop).add(task)
        task.add_done_callback(belongings(self.loop).discard)

    async def _close_unless_used(self) -> None:
        if self.idle:  # a request may have begun before this task
            await self.close()


def _close_at_the_end(loop: asyncio.AbstractEventLoop, lease: Lease) -> bool:
    """Have ``loop.shutdown_asyncgens()`` call a lease's ``aclose()``; return whether it will.

    A real generator would do the same, but have Python warn when its loop is dropped without being closed.
    """
    hook: Any = sys.get_asyncgen_hooks().firstiter
    if getattr(hook, "__self__", None) is not loop or getattr(loop, "_asyncgens_shutdown_called", False):
        return False
    hook(lease)
    return True


class _Connector(aiohttp.TCPConnector):
    """Connections of ours, of which nothing is logged when their loop was dropped."""

    def __del__(self, _: object = None) -> None:
        """Leave the sockets to Python, which closes them; aiohttp would log an error."""


def _connector() -> aiohttp.TCPConnector:
    if aiohttp.DefaultResolver is not aiohttp.ThreadedResolver:  # aiodns is installed, and wants no thread
        return _Connector()
    look_ups = cast("asyncio.AbstractEventLoop", _LookUps())
    return _Connector(resolver=aiohttp.ThreadedResolver(look_ups))


class _LookUps:
    """The look-ups that aiohttp's resolver asks of a loop, in our own threads."""

    async def getaddrinfo(self, host: str, port: int, **hints: int) -> list[Any]:
        return await threads.submit_long(partial(socket.getaddrinfo, host, port, **hints))

    async def getnameinfo(self, address: tuple[Any, ...], flags: int) -> tuple[str, str]:
        return await threads.submit_long(socket.getnameinfo, address, flags)


async def close_connector(connector: aiohttp.TCPConnector) -> None:
    """Close connections and wait for them to be gone, even while being cancelled."""
    closing = asyncio.create_task(connector.close())
    cancelled: asyncio.CancelledError | None = None
    given_up = False
    while not closing.done():
        try:
            if not (await asyncio.wait({closing}, timeout=SECONDS_TO_CLOSE))[0]:
                given_up = closing.cancel()
        except asyncio.CancelledError as error:
            cancelled = error
        if closing.cancelled() and not given_up:  # by the end of asyncio.run, perhaps before it had begun
            closing = asyncio.create_task(connector.close())
    if cancelled is not None:
        raise cancelled


def _session(connector: aiohttp.BaseConnector, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    """Return a session on the running loop, which leaves its connector open.

    Raises:
        RuntimeError: the connector belongs to another loop.
    """
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        loop=asyncio.get_running_loop(),
        headers={"Accept-Encoding": "identity", "User-Agent": "aiocreds"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        request_class=OutgoingRequest,
        trace_configs=[*traces],
    )
