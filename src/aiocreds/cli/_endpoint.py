"""The container-credentials endpoint on loopback, which every AWS SDK understands.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import socket
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

from aiocreds.cli._common import SERVE_PREFIX, expiration_for_clients, iso
from aiocreds.cli._connections import Connections
from aiocreds.errors import CredentialsError, InvalidConfiguration, LoginRequired, with_notes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

logger = logging.getLogger("aiocreds.cli")

HOST = "127.0.0.1"
FAR_FUTURE = timedelta(days=1)  # for credentials that never expire: clients insist on a time
REFETCH_INTERVAL = 60.0  # seconds, for such credentials: a file may have been edited
BODY_KEPT = 0.2  # seconds that an answer is kept; not longer, since its times depend on the clock
HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}
OWN_SITES = frozenset(("same-origin", "none"))  # none: typed by a person
STATUS = b"/status"
HTTP_PORT = 80
BACKLOG = 1024  # connections that wait to be accepted: many clients may start at once
RETRY_AFTER = 1  # seconds
SHUTDOWN_TIMEOUT = 2.0  # seconds for requests under way


class Endpoint:
    """An HTTP server for the credentials of some providers, each at a path of its own, and for their ``/status``.

    ``async with Endpoint({"/": provider}) as endpoint:`` listens on 127.0.0.1, and keeps the providers fresh.

    Args:
        providers: by path.
        port: to listen at; 0 for one that is free.

    Attributes:
        token: what clients have to send as ``Authorization``.
        port: where it listens.

    Raises:
        InvalidConfiguration: clients would not ask for a path as it is.
        OSError: the port is taken, on entering.
    """

    def __init__(self, providers: Mapping[str, Provider], *, port: int = 0) -> None:
        self.token = SERVE_PREFIX + secrets.token_urlsafe(32)
        self.port = port
        self._providers = {_encoded(path): provider for path, provider in providers.items()}
        self._expected = self.token.encode()
        self._hosts: frozenset[str] = frozenset()
        self._origins: frozenset[str] = frozenset()
        self._rendered: dict[bytes, tuple[Credentials, float, bytes]] = {}
        self._fetched_at: dict[bytes, float] = {}
        self._waiting = dict.fromkeys(self._providers, 0)  # requests that are being answered
        self._open = AsyncExitStack()

    @property
    def urls(self) -> list[str]:
        """The URLs for clients, one a provider."""
        return [f"http://{HOST}:{self.port}{path}" for path in self._paths()]

    def _paths(self) -> list[str]:
        """Return the paths, each as one segment: clients may shorten ``a//b`` and ``a/../b``."""
        return ["/" + quote(path[1:], safe="") for path in self._providers]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for provider in self._providers.values():
                await opening.enter_async_context(provider)
            # No client has a reason to send a body: none is read or decompressed.
            server = web.Server(
                self.answer, access_log=None, logger=_silent_logger(), lingering_time=0, auto_decompress=False
            )
            runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_TIMEOUT)
            opening.push_async_callback(runner.cleanup)  # before the providers end: requests under way need them
            await runner.setup()
            listener = socket.create_server((HOST, self.port), backlog=BACKLOG)
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            hosts = [f"{name}{port}" for name in (HOST, "localhost") for port in self._ports()]
            self._hosts = frozenset(hosts)
            self._origins = frozenset(f"http://{host}" for host in hosts)
            self._connections = Connections(server)
            await opening.enter_async_context(self._connections.accepted_from(listener))
            self._open = opening.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._open.aclose()

    def _ports(self) -> list[str]:
        return [f":{self.port}", ""] if self.port == HTTP_PORT else [f":{self.port}"]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        refusal = self._refusal(request)
        if refusal is not None:
            refused = _error_response(*refusal)
            refused.force_close()
            return refused
        with self._connections.of(request.transport):
            return await self._answer(request.raw_path.partition("?")[0])

    async def _answer(self, asked: str) -> web.Response:
        path = unquote_to_bytes(asked.encode(errors="surrogateescape"))
        provider = self._providers.get(path)
        if provider is None and path == STATUS:
            return self._status()
        if provider is None:
            return _error_response(
                404, "NotFound", f"no profile is served at {asked!r}; there is {', '.join(self._paths())}"
            )
        if self._is_crowded(path):
            reason = (
                f"{self._waiting[path]} requests wait for this profile, whose source has not answered: ask later"
            )
            refused = _error_response(503, "TooManyRequests", reason)
            refused.headers["Retry-After"] = str(RETRY_AFTER)
            return refused
        self._waiting[path] += 1
        try:
            credentials = await self._current(path, provider)
        except CredentialsError as error:
            return _error_response(503, type(error).__name__, str(error))
        finally:
            self._waiting[path] -= 1
        return web.Response(body=self._body(path, credentials), headers=HEADERS)

    def _status(self) -> web.Response:
        """Return the state of each provider, for people and probes; 503 while one has nothing to serve."""
        states = dict(zip(self._paths(), (it.status for it in self._providers.values()), strict=True))
        document = {
            path: {
                "loaded": state.loaded,
                "expiration": state.expiration and iso(state.expiration),
                "seconds_left": state.seconds_left,
                "next_attempt": state.next_attempt and iso(state.next_attempt),
                "error": state.last_error and with_notes(state.last_error),
                "sign_in": state.last_error.command if isinstance(state.last_error, LoginRequired) else None,
            }
            for path, state in states.items()
        }
        ready = all(state.loaded for state in states.values())
        return web.Response(status=200 if ready else 503, body=json.dumps(document).encode(), headers=HEADERS)

    def _is_crowded(self, path: bytes) -> bool:
        """Return whether so many requests wait for a profile that too few connections are left for the others.

        A profile may take as many connections as are left: half of them while it alone is slow, a third each when
        two are. There is no limit for a profile that is served alone.
        """
        return len(self._waiting) > 1 and self._waiting[path] >= self._connections.most - sum(
            self._waiting.values()
        )

    def _refusal(self, request: web.BaseRequest) -> tuple[int, str, str] | None:
        """Return why to refuse a request, if so: web pages and other users reach loopback, too."""
        headers = request.headers
        if not (request.remote or "").startswith("127."):
            return 403, "AccessDenied", "only this machine is served"
        hosts = headers.getall("Host", ())
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 403, "AccessDenied", f"the Host header has to be {HOST}:{self.port} or localhost:{self.port}"
        if ("Origin" in headers and not self._origins.issuperset(headers.getall("Origin"))) or (
            "Sec-Fetch-Site" in headers and not OWN_SITES.issuperset(headers.getall("Sec-Fetch-Site"))
        ):
            return 403, "AccessDenied", "the pages of other sites are not served"
        given = headers.getall("Authorization", ())
        if len(given) != 1:
            return 401, "Unauthorized", "send the token of this server as the Authorization header"
        if not hmac.compare_digest(given[0].encode(errors="surrogateescape"), self._expected):
            return 401, "Unauthorized", "this is not the token of the server that runs here now"
        if request.method != "GET":
            return 405, "MethodNotAllowed", "credentials are read with GET"
        return None

    async def _current(self, path: bytes, provider: Provider) -> Credentials:
        credentials = await provider()
        if credentials.expiration is None:
            now = monotonic()
            fetched_at = self._fetched_at.setdefault(path, now)
            if now - fetched_at >= REFETCH_INTERVAL:
                self._fetched_at[path] = now
                with suppress(CredentialsError):  # the provider has logged it, and what is held is still good
                    return await provider.fetch()
        return credentials

    def _body(self, path: bytes, credentials: Credentials) -> bytes:
        now = monotonic()
        rendered = self._rendered.get(path)
        if rendered is not None and rendered[0] is credentials and now < rendered[1]:
            return rendered[2]
        body = _document(credentials)
        self._rendered[path] = credentials, now + BODY_KEPT, body
        return body


def _encoded(path: str) -> bytes:
    """Return a path as the bytes that its URL stands for; names from a command line may be no text."""
    if path in ("/.", "/.."):
        raise InvalidConfiguration(f"nothing can be served at {path}: clients take it for another path")
    return path.encode(errors="surrogatepass")


def _silent_logger() -> logging.Logger:
    """Return a logger for aiohttp, which quotes requests that it cannot read, and with them perhaps the token."""
    silent = logging.Logger("aiocreds.cli._endpoint")  # noqa: LOG001 - outside of the tree
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    return silent


def _document(credentials: Credentials) -> bytes:
    """Return credentials in the container format, always with a token and an expiration: clients insist on them."""
    document = {
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token or "",
        "Expiration": iso(expiration_for_clients(credentials) or datetime.now(UTC) + FAR_FUTURE),
    }
    if credentials.account_id:
        document["AccountId"] = credentials.account_id
    return json.dumps(document).encode()


def _error_response(status: int, code: str, message: str) -> web.Response:
    """Return a refusal as clients show it; the npm SDK reads the capitalized names."""
    logger.debug("%d %s: %s", status, code, message)
    body = json.dumps({"code": code, "message": message, "Code": code, "Message": message}).encode()
    return web.Response(status=status, body=body, headers={**HEADERS, "Allow": "GET"} if status == 405 else HEADERS)
