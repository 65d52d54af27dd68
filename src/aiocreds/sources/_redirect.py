"""Wait on a port of loopback for the browser to come back with the code of a sign-in (RFC 8252, section 7.3).

Any user and any web page of this machine can call the port. Only a request counts that the browser makes by going
to the page itself, with the state of this sign-in, and only the first one. What it brings can be exchanged by this
program alone, which knows the verifier (RFC 7636). Pages say nothing that was sent here.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from aiohttp import web

from aiocreds._base.redaction import SecretStr
from aiocreds.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web_request import BaseRequest

    from aiocreds.sources._sign_in import Asking

T = TypeVar("T")

logger = logging.getLogger("aiocreds.login")

HOST, PATH = "127.0.0.1", "/oauth/callback"  # the path that AWS's services know from AWS CLI
SECONDS_TO_SHOW = 2.0  # the last page, before the port is closed
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}
SIGNED_IN = "You are signed in. You may close this window."
NOT_SIGNED_IN = "You are not signed in. The program that asked says why. You may close this window."
OF_ANOTHER = "This page belongs to another sign-in, or to none. Go on in the window that was opened last."
USED = "This page has been used already. You may close this window."


class Denied(Exception):
    """The sign-in ended in the browser without a code.

    Attributes:
        code: of the error, such as ``"access_denied"``.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Intercepted(Exception):
    """Another program has called the address that only the browser was told."""


class Redirect(Generic[T]):
    """Listens while ``async with`` runs; nothing is left behind however that ends.

    Args:
        state: of the request that the browser is sent to make.
        exchange: begins to exchange the code that comes back, at once, so that no signal comes in between.
    """

    def __init__(self, state: SecretStr, exchange: Callable[[SecretStr], T]) -> None:
        self._state = state
        self._exchange = exchange
        self._entrance = f"/{secrets.token_urlsafe(24)}"
        self._target = ""
        self._entered = False
        self._port = 0
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[T] = loop.create_future()
        self._page: asyncio.Future[str] = loop.create_future()
        self._web = web.Server(self._answer, access_log=None)
        self._listening: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.get_running_loop().create_server(self._web, HOST, 0)
        self._port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._page.done():
            self._page.set_result(NOT_SIGNED_IN)
        if self._begun.done() and not self._begun.cancelled():
            self._begun.exception()  # nobody may have waited for it
        if self._listening is not None:
            self._listening.close()
        await asyncio.shield(asyncio.ensure_future(self._web.shutdown(SECONDS_TO_SHOW)))

    @property
    def url(self) -> str:
        """Return the address that the browser comes back to."""
        return f"http://{HOST}:{self._port}{PATH}"

    def entrance(self, target: str) -> str:
        """Return an address of this machine that leads to a page, once.

        A second call ends the sign-in: the first one may have been another user's, who has seen the address in
        the list of processes, and knows the state and the challenge now.
        """
        self._target = target
        return f"http://{HOST}:{self._port}{self._entrance}"

    async def follow(self, page: str, asking: Asking, *, now: float) -> T:
        """Send the person to a page, and return what `exchange` made of what the browser brings back.

        Args:
            page: of the service; it leads back to :attr:`url`.
            asking: how the person is asked.
            now: the time in seconds since the epoch.

        Raises:
            LoginRequired: nothing came in time, or an error, or something is wrong on this machine.
        """
        opened = asking.open(page, self.entrance(page))
        try:
            async with asyncio.timeout(asking.timeout):
                await asking.tell(page, now + asking.timeout, opened=opened)
                return await asyncio.shield(self._begun)
        except TimeoutError:
            said = "nobody signed in in time"
        except Denied as denied:
            said = f"the sign-in ended in the browser ({denied.code})"
        except Intercepted:
            said = "another program has called the address that only the browser was told; the sign-in was stopped"
        raise await asking.required(said)

    def signed_in(self) -> None:
        """Have the browser's last page say so; otherwise it says that the person is not."""
        if not self._page.done():
            self._page.set_result(SIGNED_IN)

    async def _answer(self, request: BaseRequest) -> web.StreamResponse:
        try:
            status, text = await self._judge(request)
        except (ValueError, UnicodeError):
            status, text = 400, OF_ANOTHER
        logger.debug("a request to the port of the sign-in: %d", status)  # no more: all of it is somebody's
        if status == 302:
            return web.Response(status=302, headers={**HEADERS, "Location": text})
        page = f"<!doctype html><html lang=en><meta charset=utf-8><title>aiocreds</title><p>{text}"
        return web.Response(status=status, text=page, headers=HEADERS)

    async def _judge(self, request: BaseRequest) -> tuple[int, str]:
        """Return the status and the text, or the target, of the answer to a request."""
        if request.path not in (PATH, self._entrance):
            return 404, OF_ANOTHER
        if request.method != "GET":
            return 405, OF_ANOTHER
        if request.headers.getall("Host", []) != [f"{HOST}:{self._port}"]:  # the name of a web page's own site
            return 421, OF_ANOTHER
        # Browsers say what a request is for: not one that a script, an image or a frame of another page makes.
        if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate" or (
            request.headers.get("Sec-Fetch-Dest", "document") != "document"
        ):
            return 403, OF_ANOTHER
        if request.path == self._entrance:
            return self._enter()
        return await self._return(request)

    def _enter(self) -> tuple[int, str]:
        if not self._target or self._begun.done():
            return 410, USED
        if self._entered:
            self._begun.set_exception(Intercepted())
            return 410, USED
        self._entered = True
        return 302, self._target

    async def _return(self, request: BaseRequest) -> tuple[int, str]:
        query = request.query
        states, codes, errors = (query.getall(name, []) for name in ("state", "code", "error"))
        if len(states) != 1 or not hmac.compare_digest(states[0].encode(), self._state.encode()):
            logger.warning("A request to the port of the sign-in had the state of another one, and was refused")
            return 400, OF_ANOTHER
        if self._begun.done():
            return 410, USED
        if errors:
            name = errors[0]
            known = len(name) <= 64 and name.isascii() and name.replace(".", "_").isidentifier()
            self._begun.set_exception(Denied(name if known else "an error"))
            return 200, NOT_SIGNED_IN
        if len(codes) != 1 or not codes[0].isprintable() or not codes[0]:
            return 400, OF_ANOTHER
        page = NOT_SIGNED_IN
        try:
            self._begun.set_result(self._exchange(SecretStr(codes[0])))
        except CredentialsError as error:  # the program is ending
            self._begun.set_exception(error)
            return 200, page
        with suppress(asyncio.CancelledError):
            page = await asyncio.shield(self._page)
        return 200, page
