"""HTTP for every source: one session per loop, bounded answers, retries, and errors that give nothing away.

A session is *leased*. The first who needs it opens it, all who need it meanwhile share it, and the last to
leave closes it; each request holds a lease of its own for as long as it takes. So nothing is left open by a
program that forgets to close anything; one that makes many requests holds a lease around them (`Http.lease`).

Failures become `SourceUnavailable` here, and no exception of aiohttp reaches a caller: those drag along the
headers of requests, and with them tokens.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import random
import re
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, final

import aiohttp
from yarl import URL

from .errors import CredentialsError, InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from aiohttp.connector import Connection

logger = logging.getLogger(__name__)

MAX_BODY = 64 * 1024  # bytes; the largest honest answer, an STS one with a long token, has about 5 KiB
MAX_RETRY_AFTER = 20.0  # seconds; whoever asks for more gets no further attempt
_BACKOFF, _LONGEST_BACKOFF = 0.15, 5.0
_SECONDS_TO_CLOSE = 2.0


class NoAnswer(SourceUnavailable):
    """Nothing answered any attempt: refused, unreachable, not resolved, or silent until the time-out.

    Attributes:
        timed_out: the last attempt ended in silence rather than in a refusal.
        connected: the last attempt was sent: somebody took it, and kept silent.
    """

    def __init__(
        self, message: str, *, provider: str | None = None, timed_out: bool = False, connected: bool = False
    ) -> None:
        super().__init__(message, provider=provider)
        self.timed_out = timed_out
        self.connected = connected


@final
@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """An answer, whatever its status. Its ``repr`` leaves out headers and body.

    Attributes:
        status: the HTTP status.
        headers: case-insensitive.
        body: at most `MAX_BODY` bytes.
        host: who answered, ``host`` or ``host:port``, for messages.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    host: str

    def json(self) -> Any:
        """The body, parsed.

        Raises:
            ValueError: it is not JSON. The error holds nothing of the body, unlike the parser's own.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            pass
        raise ValueError(f"{self.host} answered with something that is not JSON")

    def __repr__(self) -> str:
        return f"Response({self.status} from {self.host}, {len(self.body)} bytes)"


@final
class Lease:
    """What the users of one `Http` on one loop share: a session, from the first request to the last leaver.

    An ``async with`` over it holds it; holds nest.
    """

    __slots__ = ("_borrowed", "_holders", "_kept", "_session")

    def __init__(self, borrowed: aiohttp.ClientSession | None, kept: Callable[[], bool]) -> None:
        self._borrowed = borrowed
        self._kept = kept
        self._holders = 0
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._holders += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._holders -= 1
        await self.close_unless_needed()

    async def close_unless_needed(self) -> None:
        """Close the session if nobody holds the lease any more."""
        if not self._holders and self._session is not None and not self._kept():
            leaving, self._session = self._session, None
            await _close(leaving)

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
            self._session = self._borrow() or _open(aiohttp.TCPConnector(), owner=True)
        return self._session

    def _borrow(self) -> aiohttp.ClientSession | None:
        if self._borrowed is None or self._borrowed.connector is None:
            return None
        try:
            return _open(self._borrowed.connector, owner=False)
        except RuntimeError:  # aiohttp's way to say that the connector lives on another loop
            return None


class Http:
    """The HTTP client that the sources share. It may be used from several loops and threads at once.

    Proxies and the certificate bundle are looked up at every request: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`
    (the lower-case names win, as everywhere) and `AWS_CA_BUNDLE`.

    Args:
        environ: the environment variables.
        session: the program's own session. Only its connector is used, on its own loop, so that its headers,
            auth, cookies and ``raise_for_status`` never meet our requests; it is never closed here. Other
            loops get a session of ours. None: they all do.
        held: the loops whose session is to be kept open, by somebody who does without a `lease`; whoever takes
            a loop out calls `close_idle` there.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        session: aiohttp.ClientSession | None = None,
        *,
        held: Container[asyncio.AbstractEventLoop] = (),
    ) -> None:
        self._environ = environ
        self._held = held
        self._borrowed = session
        self._leases: dict[asyncio.AbstractEventLoop, Lease] = {}
        self._trust: dict[str, tuple[tuple[int, ...], ssl.SSLContext]] = {}

    def lease(self) -> Lease:
        """What keeps the running loop's session open between requests: ``async with http.lease(): ...``."""
        loop = asyncio.get_running_loop()
        if (lease := self._leases.get(loop)) is None:
            lease = self._leases[loop] = Lease(self._borrowed, lambda: loop in self._held)
            for other in list(self._leases):
                if other.is_closed():
                    self._leases.pop(other, None)
        return lease

    async def close_idle(self) -> None:
        """Close the running loop's session if nobody needs it."""
        await self.lease().close_unless_needed()

    async def request(
        self,
        method: str,
        url: str | URL,
        *,
        provider: str,
        timeout: float,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        attempts: int = 3,
        retry_if: Callable[[Response], bool] | None = None,
        ca_bundle: str | None = None,
        middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
    ) -> Response:
        """Send a request and return the answer to its last attempt, whatever the status; follow no redirect.

        Tried again, after a random pause that grows and is never shorter than ``Retry-After``: status 429 and
        5xx, what `retry_if` says, and transport failures other than an untrusted certificate or an answer too
        large.

        Args:
            method: such as ``"GET"``.
            url: http or https, without user name.
            provider: who asks, for error messages.
            timeout: seconds for one attempt, from looking for a connection to the last byte.
            connect_timeout: seconds to connect, TLS handshake included. None: `timeout` alone holds.
            read_timeout: seconds between two pieces of the answer. None: `timeout` alone holds.
            headers: of the request; the values are checked before anything is sent.
            body: of the request.
            attempts: in all, at least 1.
            retry_if: further answers worth another attempt.
            ca_bundle: file of the certificates to trust, where `AWS_CA_BUNDLE` is not set.
            middlewares: aiohttp client middlewares; they run once an attempt.

        Raises:
            NoAnswer: nothing answered any attempt.
            SourceUnavailable: the last attempt brought no complete answer, but something is there.
            InvalidConfiguration: a header, the URL, a proxy variable or a certificate bundle cannot be used.
        """
        try:
            url = _checked_url(url)
            call = _Call(
                provider=provider,
                method=method,
                url=url,
                headers=_checked_headers(headers),
                body=body,
                attempts=attempts,
                retry_if=retry_if,
                timeout=_timeouts(timeout, connect_timeout, read_timeout),
                middlewares=middlewares,
                proxy=_proxy(self._environ, url),
                tls=await self._tls(url, ca_bundle),
            )
            async with self.lease() as lease:
                outcome: Response | CredentialsError = await _persist(call, lease)
        except CredentialsError as error:
            outcome = error = error.afresh()  # without the frames that hold the request
            error.provider = error.provider or provider
        finally:  # this frame stays in the traceback
            del headers, body
        if isinstance(outcome, Response):
            return outcome
        raise outcome

    async def _tls(self, url: URL, ca_bundle: str | None) -> ssl.SSLContext | bool:
        path = self._environ.get("AWS_CA_BUNDLE") or ca_bundle
        if not path or url.scheme != "https":
            return True
        name = "AWS_CA_BUNDLE" if path == self._environ.get("AWS_CA_BUNDLE") else "ca_bundle"
        return await asyncio.to_thread(self._trusting, path, name)

    def _trusting(self, path: str, name: str) -> ssl.SSLContext:
        """A TLS context that trusts the certificates in a file, built anew when the file has changed."""
        try:
            stat = Path(path).stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            known, context = self._trust.get(path, (None, None))
            if context is None or known != stamp:
                context = ssl.create_default_context(cafile=path)
                context.set_alpn_protocols(["http/1.1"])
                self._trust[path] = stamp, context
        except ssl.SSLError:
            reason = "holds no usable certificates"
        except (OSError, ValueError):
            reason = "cannot be read"
        else:
            return context
        raise InvalidConfiguration(
            f"{name} names {path}, which {reason}; name a file of PEM certificates or unset it"
        )


@dataclass(slots=True, repr=False)
class _Call:
    """A request to be made, without a ``repr``: tracebacks that show locals show no headers and no body."""

    provider: str
    method: str
    url: URL
    headers: Mapping[str, str] | None
    body: bytes | None
    attempts: int
    retry_if: Callable[[Response], bool] | None
    timeout: aiohttp.ClientTimeout
    middlewares: Sequence[aiohttp.ClientMiddlewareType]
    proxy: URL | None
    tls: ssl.SSLContext | bool

    @property
    def host(self) -> str:
        return self.url.host_port_subcomponent or ""


class _Failure(NamedTuple):
    """Why an attempt brought no answer, as the rest of a sentence that begins with the host."""

    what: str
    remedy: str = "check the address and the network"
    answered: bool = True
    timed_out: bool = False
    connected: bool = False
    retry: bool = True


async def _persist(call: _Call, lease: Lease) -> Response | SourceUnavailable:
    """Make up to ``call.attempts`` attempts. Failures are returned: raising them here would show `call`."""
    loop = asyncio.get_running_loop()
    answered = False
    attempt = 0
    while True:
        attempt += 1
        started = loop.time()
        outcome = await _attempt(call, lease.session())
        answered = answered or isinstance(outcome, Response) or outcome.answered
        if logger.isEnabledFor(logging.DEBUG):
            said = outcome.status if isinstance(outcome, Response) else outcome.what
            path, took = call.url.raw_path, (loop.time() - started) * 1000
            tries = f"attempt {attempt} of {call.attempts}"
            logger.debug("%s %s%s: %s (%.0f ms, %s)", call.method, call.host, path, said, took, tries)
        if attempt >= call.attempts or (pause := _pause(call, outcome, attempt)) is None:
            return outcome if isinstance(outcome, Response) else _error(call, outcome, attempt, answered=answered)
        await asyncio.sleep(pause)


async def _attempt(call: _Call, session: aiohttp.ClientSession) -> Response | _Failure:
    """Send the request once and read the answer, or cut the connection."""
    wires: list[asyncio.Transport] = []
    token = _wires.set(wires)
    response = outcome = None
    try:
        response = await session.request(
            call.method,
            call.url,
            headers=call.headers,
            data=call.body,
            allow_redirects=False,
            timeout=call.timeout,
            proxy=call.proxy,
            ssl=call.tls,
            middlewares=(_once, *call.middlewares),
        )
        outcome = await _read(response, call.host)
    except (aiohttp.ClientError, OSError) as error:
        return _diagnosis(error, call, answered=response is not None)._replace(connected=bool(wires))
    else:
        return outcome
    finally:
        _wires.reset(token)
        if not isinstance(outcome, Response):
            for wire in wires:
                wire.abort()
            if response is not None:
                response.close()


async def _read(response: aiohttp.ClientResponse, host: str) -> Response | _Failure:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        remedy = "check for a proxy that rewrites answers"
        return _Failure("compressed its answer, which nobody asked for", remedy, retry=False)
    body = piece = b""
    try:
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MAX_BODY:
                remedy = "check that the address is that of the right service"
                return _Failure(f"sent more than {MAX_BODY // 1024} KiB", remedy, retry=False)
        return Response(response.status, response.headers, body, host)
    finally:
        body = piece = b""  # a cancellation's traceback shows this frame


def _pause(call: _Call, outcome: Response | _Failure, attempt: int) -> float | None:
    """Seconds until the next attempt; None when there shall be none."""
    asked = 0.0
    if isinstance(outcome, Response):
        again = outcome.status >= 500 or outcome.status == 429
        if not again and not (call.retry_if is not None and call.retry_if(outcome)):
            return None
        asked = _retry_after(outcome.headers)
    elif not outcome.retry:
        return None
    backoff = random.uniform(0, min(_LONGEST_BACKOFF, _BACKOFF * 2 ** (attempt - 1)))
    return max(asked, backoff) if asked <= MAX_RETRY_AFTER else None


def _retry_after(headers: Mapping[str, str]) -> float:
    """The pause the service asks for, in seconds. A date counts by the service's clock if it shows one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    if (then := _date(value)) is None:
        return 0.0
    now = _date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (then - now).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


# What we send


_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\xa0-\xff]")


def _checked_headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    for name, value in headers.items() if headers else ():
        if _UNSENDABLE.search(value):
            raise InvalidConfiguration(
                f"the value for the {name} header holds a line break or another character that no header "
                "may; look for a stray newline in the variable or file it comes from"
            )
    return headers


@lru_cache(maxsize=256)
def _checked_url(url: str | URL) -> URL:
    try:
        parsed = URL(url)
        if parsed.scheme in {"http", "https"} and parsed.host and parsed.port and not parsed.raw_user:
            return parsed
    except (ValueError, TypeError):
        pass
    shown = str(url).partition("?")[0]
    named = "the URL" if "@" in shown else f"the URL {shown!r}"  # a password may stand before the @
    raise InvalidConfiguration(f"{named} cannot be used; write http:// or https:// and a host, no user name")


@lru_cache(maxsize=64)
def _timeouts(total: float, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total, sock_connect=connect, sock_read=read)


# Proxies


_EC2_METADATA_IPV6 = IPv6Network("fd00:ec2::/32")


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    """Whether a host is this machine or its metadata service, which no proxy can reach."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or address.is_link_local or address in _EC2_METADATA_IPV6


def _is_exempt(host: str, port: int | None, exempt: str) -> bool:
    """Whether a host, or a domain it is in, stands in `NO_PROXY`, with or without its port."""
    entries = (entry.strip().lstrip(".").lower() for entry in exempt.split(","))
    names = f".{host}", f".{host}:{port}"
    return any(entry == "*" or any(name.endswith(f".{entry}") for name in names) for entry in entries if entry)


def _proxy(environ: Mapping[str, str], url: URL) -> URL | None:
    """The proxy for a URL, with its user name and password. A lower-case variable wins, even when empty."""
    host = url.host or ""
    if _is_local(host):
        return None
    lower = f"{url.scheme}_proxy"
    upper = lower.upper()
    if lower in environ:
        name = lower
    elif upper == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        return None  # a CGI program: a client set that one, with a Proxy header (https://httpoxy.org)
    else:
        name = upper
    value = environ.get(name, "").strip()
    exempt = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    if not value or _is_exempt(host, url.port, exempt):
        return None
    try:
        proxy = URL(value if "://" in value else f"http://{value}")
        if proxy.scheme in {"http", "https"} and proxy.host and proxy.port:
            return proxy
    except ValueError:
        pass
    raise InvalidConfiguration(f"{name} holds no usable proxy; write http://host:port, or unset it")


# Sessions


_wires: ContextVar[list[asyncio.Transport]] = ContextVar("_wires")


class _Request(aiohttp.ClientRequest):
    """Notes the connection it goes out on.

    When an attempt is given up, aiohttp closes its connection politely, which over TLS means to wait half a
    minute for a peer that may be hung. We cut it instead.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.transport is not None:
            _wires.get().append(conn.transport)
        return await super().send(conn)


class _Broken(aiohttp.ClientError):
    """A connection that broke, under a name that aiohttp lets pass."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET or PUT by itself: attempts are counted here."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken from error


async def _close(session: aiohttp.ClientSession) -> None:
    """Close a session and wait for its connections to be gone, even while being cancelled."""
    closing = asyncio.create_task(session.close())
    cancelled: asyncio.CancelledError | None = None
    while not closing.done():
        try:
            if not (await asyncio.wait({closing}, timeout=_SECONDS_TO_CLOSE))[0]:
                closing.cancel()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _open(connector: aiohttp.BaseConnector, *, owner: bool) -> aiohttp.ClientSession:
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
        request_class=_Request,
    )


# What went wrong


_LATER = "asking again later may help"
_FAILURES: tuple[tuple[type[Exception], _Failure], ...] = (
    (aiohttp.ClientConnectorDNSError, _Failure("was not found: its name has no address", answered=False)),
    (
        aiohttp.ServerFingerprintMismatch,
        _Failure("shows another TLS certificate than the pinned", retry=False),
    ),
    (aiohttp.ServerDisconnectedError, _Failure("closed the connection without an answer", _LATER)),
    (aiohttp.ClientPayloadError, _Failure("broke off in the middle of its answer", _LATER)),
    (aiohttp.InvalidURL, _Failure("cannot be asked: not a valid URL", retry=False)),
)
_DROPPED = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


def _diagnosis(error: BaseException, call: _Call, *, answered: bool) -> _Failure:
    """Tell a failure in words that hold nothing of the request."""
    if isinstance(error, _Broken) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, TimeoutError):
        return _timed_out(error, call.timeout, answered=answered)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "verification failed"
        remedy = "if it is a proxy's or a private one, name its CA in AWS_CA_BUNDLE"
        return _Failure(f"shows a TLS certificate that is not trusted ({reason})", remedy, retry=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        remedy = f"check the proxy, and its user name and password in {call.url.scheme.upper()}_PROXY"
        what = f"was not reached: the proxy answered {error.status}"
        return _Failure(what, remedy, retry=error.status >= 500)
    if isinstance(error, aiohttp.ClientResponseError):
        return _Failure("answered with something that is not HTTP")
    for kind, failure in _FAILURES:
        if isinstance(error, kind):
            return failure
    if isinstance(error, aiohttp.ClientConnectorError):
        return _system_error(error.os_error, connecting=True)
    if isinstance(error, OSError):
        return _system_error(error, connecting=False)
    return _Failure(f"could not be asked ({type(error).__name__})")


def _timed_out(error: TimeoutError, limits: aiohttp.ClientTimeout, *, answered: bool) -> _Failure:
    match error:
        case aiohttp.ConnectionTimeoutError():
            what, limit = "accepted no connection", limits.sock_connect or limits.total
        case aiohttp.SocketTimeoutError():
            what, limit = "fell silent", limits.sock_read or limits.total
        case _:
            what, limit = "sent no complete answer" if answered else "did not answer", limits.total
    remedy = "check that it can be reached from here, or allow more time"
    return _Failure(f"timed out: it {what} within {limit:g} s", remedy, answered=answered, timed_out=True)


def _system_error(error: OSError, *, connecting: bool) -> _Failure:
    if isinstance(error, ssl.SSLError):
        return _Failure(f"did not speak TLS as expected ({error.reason})")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _DROPPED:
        return _Failure("reset the connection", _LATER)
    if error.errno in _EXHAUSTED:
        return _Failure(f"could not be asked ({reason})", "this process or machine is out of resources")
    if error.errno == errno.ECONNREFUSED:
        return _Failure("refused the connection", "check the address, and that it runs", answered=False)
    timed_out = error.errno == errno.ETIMEDOUT
    return _Failure(f"could not be reached ({reason})", answered=not connecting, timed_out=timed_out)


def _error(call: _Call, failure: _Failure, attempts: int, *, answered: bool) -> SourceUnavailable:
    through = f" (through the proxy {call.proxy.host_port_subcomponent})" if call.proxy else ""
    tries = f" ({attempts} attempts)" if attempts > 1 else ""
    message = f"{call.host}{through} {failure.what}{tries}; {failure.remedy}"
    if answered:
        return SourceUnavailable(message, provider=call.provider)
    return NoAnswer(
        message, provider=call.provider, timed_out=failure.timed_out, connected=failure.connected
    )
