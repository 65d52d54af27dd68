"""One request: attempts with backoff, answers of bounded size, and errors that hold nothing of the request."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import re
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, final
from weakref import WeakSet

import aiohttp
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import BadHttpMessage
from yarl import URL

from aiocreds._base import tracing
from aiocreds._base.redaction import SecretBuffer, SecretBytes
from aiocreds._base.threads import runs_here
from aiocreds._base.time import time_of
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.connector import Connection

    from aiocreds._http.session import Lease

logger = logging.getLogger("aiocreds.http")

MAX_BODY = 64 * 1024  # bytes; an answer of STS with a long token has about 5 KiB
MAX_RETRY_AFTER = 20.0  # seconds; after a longer one there is no further attempt
BACKOFF, LONGEST_BACKOFF = 0.15, 5.0
MOST_STALE = 5  # closed connections in a row that count as no attempt
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\xa0-\xff]")
_LATER = "asking again later may help"
# Messages of llhttp, up to the text that they quote, and those of aiohttp that quote nothing.
_REASON = (
    r"(?a)([A-Z][\w `,/'.()-]{,80}):\n\n"
    r"|(Duplicate '[\w-]{,40}' header found|Too many (?:headers|trailers) received)"
    r"|(Got more than \d{,9} bytes when reading)"
    r"|(Invalid HTTP header|Bad status line)"
    r"|((?:Chunk size mismatch|Transfer-Encoding can't be present|Data after `Connection)[\w `:-]{,60})\Z"
)
_DROPPED = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

# (method, url, headers, body) -> the headers to add, or a coroutine that returns them
Signer = Callable[
    [str, str, Iterable[tuple[str, str]], bytes], Mapping[str, str] | Coroutine[Any, Any, Mapping[str, str]]
]


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
    body: SecretBytes
    host: str

    @property
    def is_transient(self) -> bool:
        """Return whether another attempt may succeed, by the status alone: 429 and 5xx."""
        return self.status == 429 or self.status >= 500

    def __repr__(self) -> str:
        return f"Response({self.status} from {self.host}, {len(self.body)} bytes)"


class NoAnswer(SourceUnavailable):
    """Nothing answered any attempt: it was refused, unreachable, not resolved, or timed out.

    Attributes:
        timed_out: the last attempt timed out.
        connected: the last attempt was sent on a connection.
    """

    def __init__(
        self, message: str, *, provider: str | None = None, timed_out: bool = False, connected: bool = False
    ) -> None:
        super().__init__(message, provider=provider)
        self.timed_out = timed_out
        self.connected = connected


@dataclass(slots=True, repr=False)
class Call:
    """The parameters of a request, without a ``repr``: tracebacks that show locals show no headers and no body."""

    provider: str | None
    method: str
    url: URL
    headers: Mapping[str, str] | None
    body: bytes | None
    attempts: int
    retry_if: Callable[[Response], bool] | None
    timeout: aiohttp.ClientTimeout
    middlewares: Sequence[aiohttp.ClientMiddlewareType]
    sign: Signer | None
    proxy: URL | None
    tls: ssl.SSLContext | bool

    @property
    def host(self) -> str:
        """Return ``host`` or ``host:port``, for messages."""
        return self.url.host_port_subcomponent or ""

    async def signed_headers(self, sign: Signer) -> Mapping[str, str]:
        """Return the headers with those that sign the request as it stands."""
        headers = self.headers or {}
        return {**headers, **await signature(sign, self.method, self.url, headers, self.body or b"")}


async def send(call: Call, lease: Lease) -> Response | SourceUnavailable:
    """Make up to ``call.attempts`` attempts. Return failures: raising them here would show `call`."""
    loop = asyncio.get_running_loop()
    answered = False
    attempt = stale = 0
    while True:
        attempt += 1
        started = loop.time()
        outcome = await _attempt(call, lease.session())
        if isinstance(outcome, Failure) and outcome.stale and stale < MOST_STALE:
            logger.debug("%s %s: had closed the kept connection, another is used", call.method, call.host)
            attempt, stale = attempt - 1, stale + 1
            continue
        answered = answered or isinstance(outcome, Response) or outcome.answered
        if logger.isEnabledFor(logging.DEBUG):
            said = outcome.status if isinstance(outcome, Response) else outcome.what
            took, tries = (loop.time() - started) * 1000, f"attempt {attempt} of {call.attempts}"
            # Without the path: that of an ECS task's credentials is a secret.
            logger.debug("%s %s: %s (%.0f ms, %s)", call.method, call.host, said, took, tries)
        if tracing.current() is not None:
            tries, took = f"{attempt} of {call.attempts}" if attempt > 1 else "", loop.time() - started
            if isinstance(outcome, Response):
                tracing.note(call.host, str(outcome.status), kind="answer", key=tries, seconds=took)
            else:
                tracing.note(call.host, outcome.what, kind="no answer", key=tries, seconds=took)
        if attempt >= call.attempts or (pause := _pause(call, outcome, attempt)) is None:
            return outcome if isinstance(outcome, Response) else to_error(call, outcome, attempt, answered=answered)
        await asyncio.sleep(pause)


async def _attempt(call: Call, session: aiohttp.ClientSession) -> Response | Failure:
    """Send the request once and read the answer; abort the connection if that fails."""
    loop, attempt, headers = asyncio.get_running_loop(), Attempt(call.sign), call.headers
    if call.sign is not None and not call.middlewares:  # nothing changes the request after this: sign it here
        attempt.sign, headers = None, await call.signed_headers(call.sign)
    token = attempt_under_way.set(attempt)
    response = outcome = None
    try:
        response = await session.request(
            call.method,
            call.url,
            headers=headers,
            data=call.body,
            allow_redirects=False,
            timeout=call.timeout,
            proxy=call.proxy,
            ssl=call.tls,
            middlewares=call.middlewares if call.method == "POST" else (without_retries, *call.middlewares),
        )
        outcome = await _read(response, call.host)
    except (aiohttp.ClientError, OSError) as error:
        failure = failure_of(error, call, answered=response is not None)
        stale = attempt.reused and response is None and was_closed(error)
        return failure._replace(connected=bool(attempt.transports), stale=stale)
    except RuntimeError:
        if runs_here(loop):
            raise
        raise GeneratorExit from None  # the loop was dropped, and aiohttp cannot close anything there
    else:
        return outcome
    finally:
        del headers  # a cancellation's traceback shows this frame
        with suppress(ValueError):  # in another context, since the loop was dropped
            attempt_under_way.reset(token)
        if not isinstance(outcome, Response):
            with suppress(RuntimeError):  # as above
                for transport in attempt.transports:
                    transport.abort()
                if response is not None:
                    response.close()


async def _read(response: aiohttp.ClientResponse, host: str) -> Response | Failure:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        remedy = "check for a proxy that rewrites answers"
        return Failure("compressed its answer, which nobody asked for", remedy, retry=False)
    if 0 < (response.content_length or 0) <= MAX_BODY:
        return Response(response.status, response.headers, SecretBytes(await response.read()), host)
    body = SecretBuffer()
    async for piece in response.content.iter_any():
        body += piece
        del piece  # a cancellation's traceback shows this frame
        if len(body) > MAX_BODY:
            remedy = "check that the address is that of the right service"
            return Failure(f"sent more than {MAX_BODY // 1024} KiB", remedy, retry=False)
    return Response(response.status, response.headers, SecretBytes(body), host)


def _pause(call: Call, outcome: Response | Failure, attempt: int) -> float | None:
    """Return the seconds until the next attempt; None when there is to be none."""
    asked = 0.0
    if isinstance(outcome, Response):
        if not outcome.is_transient and not (call.retry_if is not None and call.retry_if(outcome)):
            return None
        asked = _retry_after(outcome.headers)
    elif not outcome.retry:
        return None
    backoff = random.uniform(0, min(LONGEST_BACKOFF, BACKOFF * 2 ** (attempt - 1)))
    return max(asked, backoff) if asked <= MAX_RETRY_AFTER else None


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the pause that the service asks for, in seconds. A date counts by its ``Date``, if it sends one."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    if (then := time_of(value)) == -inf:
        return 0.0
    now = time_of(headers.get("Date"))
    return max(0.0, then - (time() if now == -inf else now))


def checked_headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return the headers, if all of them can be sent.

    Raises:
        InvalidConfiguration: one cannot; it is named, its value is not.
    """
    for name, value in headers.items() if headers else ():
        if _UNSENDABLE.search(value):
            raise InvalidConfiguration(
                f"the value for the {name} header holds a line break or another character that no header "
                "may; look for a stray newline in the variable or file it comes from"
            )
    return headers


@lru_cache(maxsize=256)
def checked_url(url: str | URL) -> URL:
    """Return the URL, parsed once.

    Raises:
        InvalidConfiguration: it is not for http or https, or holds a user name.
    """
    try:
        parsed = URL(url)
        if parsed.scheme in {"http", "https"} and parsed.host and parsed.port and not parsed.raw_user:
            return parsed
    except (ValueError, TypeError, IndexError):  # yarl raises the last for http://][@
        pass
    shown = str(url).partition("?")[0]
    named = "the URL" if "@" in shown else f"the URL {shown!r}"  # a password may stand before the @
    raise InvalidConfiguration(f"{named} cannot be used; write http:// or https:// and a host, no user name")


@lru_cache(maxsize=64)
def timeouts(total: float, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    """Return aiohttp's time-outs, made once. A read time-out above the total one is left out."""
    read = None if read is not None and read >= total else read
    # By default, aiohttp rounds limits from 5 s on up to a whole second.
    return aiohttp.ClientTimeout(total=total, sock_connect=connect, sock_read=read, ceil_threshold=inf)


@lru_cache(maxsize=64)
def url_text(url: URL) -> str:
    """Return the URL as it is sent."""
    return str(url)


async def signature(
    sign: Signer, method: str, url: URL, headers: Mapping[str, str], body: bytes
) -> Mapping[str, str]:
    """Return the headers that sign a request."""
    added = sign(method, url_text(url), headers.items(), body)
    return await added if isinstance(added, Coroutine) else added


# Hooks that aiohttp calls.


class Attempt:
    """The attempt under way, for the hooks.

    Attributes:
        sign: makes the headers that sign it, or None.
        transports: the connections that it was sent on.
        reused: whether the last of them was kept from an earlier request.
    """

    __slots__ = ("reused", "sign", "transports")

    def __init__(self, sign: Signer | None) -> None:
        self.sign = sign
        self.transports: list[asyncio.Transport] = []
        self.reused = False


attempt_under_way: ContextVar[Attempt] = ContextVar("attempt_under_way")
_used: WeakSet[object] = WeakSet()  # protocols of connections that have carried a request


def noting_reuse() -> aiohttp.TraceConfig:
    """Return a trace configuration that notes whether an attempt uses a connection that others may have used.

    It makes each request a tenth dearer; of connections that only we use, `OutgoingRequest` knows.
    """

    async def reused(*_: object) -> None:
        attempt_under_way.get().reused = True

    async def created(*_: object) -> None:
        attempt_under_way.get().reused = False

    noting = aiohttp.TraceConfig()
    noting.on_connection_reuseconn.append(reused)
    noting.on_connection_create_start.append(created)
    return noting


class OutgoingRequest(aiohttp.ClientRequest):
    """A request that is signed after the last middleware, and notes the connection that it is sent on.

    After a failed attempt, aiohttp would wait half a minute for the peer to close a TLS connection; noted
    connections are aborted instead.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Note the connection, sign the request and send it."""
        attempt = attempt_under_way.get()
        if conn.transport is not None:
            attempt.transports.append(conn.transport)
        if conn.protocol in _used:
            attempt.reused = True
        else:
            _used.add(conn.protocol)
        if attempt.sign is not None:
            body = await self.body.as_bytes() if self.body else b""
            self.headers.update(await signature(attempt.sign, self.method, self.url, self.headers, body))
        return await super().send(conn)


class Broken(aiohttp.ClientError):
    """A broken connection, as an exception after which aiohttp does not retry."""


async def without_retries(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from retrying a GET or PUT by itself: attempts are counted here."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Broken from error


# Failures as errors.


class Failure(NamedTuple):
    """Why an attempt failed, as the rest of a sentence that begins with the host.

    Attributes:
        what: the fault.
        remedy: for it.
        answered: something is there.
        timed_out: it did not answer in time.
        connected: the request was sent.
        retry: another attempt may help.
        stale: a connection from an earlier request had been closed by its peer, so that this is no attempt.
        cause: of the error, or None; it holds nothing of the request or the answer.
    """

    what: str
    remedy: str = "check the address and the network"
    answered: bool = True
    timed_out: bool = False
    connected: bool = False
    retry: bool = True
    stale: bool = False
    cause: Exception | None = None


_FAILURES: tuple[tuple[type[Exception], Failure], ...] = (
    (aiohttp.ClientConnectorDNSError, Failure("was not found: its name has no address", answered=False)),
    (
        aiohttp.ServerFingerprintMismatch,
        Failure("shows another TLS certificate than the pinned", retry=False),
    ),
    (aiohttp.ServerDisconnectedError, Failure("closed the connection without an answer", _LATER)),
    (aiohttp.ClientPayloadError, Failure("broke off in the middle of its answer", _LATER)),
    (aiohttp.InvalidURL, Failure("cannot be asked: not a valid URL", retry=False)),
)


def failure_of(error: BaseException, call: Call, *, answered: bool) -> Failure:
    """Map an exception to a failure, whose words hold nothing of the request."""
    if isinstance(error, Broken) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, TimeoutError):
        return _timed_out(error, call.timeout, answered=answered)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "verification failed"
        remedy = "if it is a proxy's or a private one, name its CA in AWS_CA_BUNDLE"
        return Failure(f"shows a TLS certificate that is not trusted ({reason})", remedy, retry=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        remedy = f"check the proxy, and its user name and password in {call.url.scheme.upper()}_PROXY"
        what = f"was not reached: the proxy answered {error.status}"
        return Failure(what, remedy, retry=error.status >= 500)
    if (fault := _parser_message(error)) is not None:
        return _unparsable(fault)
    for kind, failure in _FAILURES:
        if isinstance(error, kind):
            return failure
    if isinstance(error, aiohttp.ClientConnectorError):
        return _system_error(error.os_error, connecting=True)
    if isinstance(error, OSError):
        return _system_error(error, connecting=False)
    return Failure(f"could not be asked ({type(error).__name__})")


def was_closed(error: BaseException) -> bool:
    """Return whether a connection ended before a byte of the answer."""
    if isinstance(error, Broken) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else an answer has begun
    return isinstance(error, ConnectionError) or getattr(error, "errno", None) in _DROPPED


def _parser_message(error: BaseException) -> str | None:
    """Return the message of aiohttp's parser about an answer, content included; None for another error."""
    if not isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return None
    fault: BaseException | None = error
    while fault is not None and not isinstance(fault, HttpProcessingError):
        fault = fault.__cause__
    if isinstance(error, aiohttp.ClientPayloadError):  # most are incomplete answers
        return None if fault is None or fault.message.startswith("Not enough data") else fault.message
    return error.message if fault is None else fault.message


def _unparsable(fault: str) -> Failure:
    """Return a failure with the part of the parser's message that quotes nothing of the answer."""
    known = re.match(_REASON, fault.removeprefix("Bad status line:").lstrip())
    reason = next(filter(None, known.groups()), "") if known else ""
    remedy = "look at what answers there, and for a proxy in between"
    if sys.flags.dev_mode or os.environ.get("PYTHONASYNCIODEBUG"):  # as in aiohttp
        remedy += "; aiohttp is strict here, under python -X dev or PYTHONASYNCIODEBUG, and may take it without"
    what = f"answered with HTTP that cannot be parsed{f' ({reason})' if reason else ''}"
    return Failure(what, remedy, cause=BadHttpMessage(reason or "unparsable"))


def _timed_out(error: TimeoutError, limits: aiohttp.ClientTimeout, *, answered: bool) -> Failure:
    match error:
        case aiohttp.ConnectionTimeoutError():
            what, limit = "accepted no connection", limits.sock_connect or limits.total
        case aiohttp.SocketTimeoutError():
            what, limit = "sent nothing more", limits.sock_read or limits.total
        case _:
            what, limit = "sent no complete answer" if answered else "did not answer", limits.total
    remedy = "check that it can be reached from here, or allow more time"
    return Failure(f"timed out: it {what} within {limit:g} s", remedy, answered=answered, timed_out=True)


def _system_error(error: OSError, *, connecting: bool) -> Failure:
    if isinstance(error, ssl.SSLError):
        return Failure(f"did not speak TLS as expected ({error.reason})")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in _DROPPED:
        return Failure("reset the connection", _LATER)
    if error.errno in _EXHAUSTED:
        return Failure(f"could not be asked ({reason})", "this process or machine is out of resources")
    if error.errno == errno.ECONNREFUSED:
        return Failure("refused the connection", "check the address, and that it runs", answered=False)
    timed_out = error.errno == errno.ETIMEDOUT
    return Failure(f"could not be reached ({reason})", answered=not connecting, timed_out=timed_out)


def to_error(call: Call, failure: Failure, attempts: int, *, answered: bool) -> SourceUnavailable:
    """Return the error to raise when the last attempt has failed."""
    through = f" (through the proxy {call.proxy.host_port_subcomponent})" if call.proxy else ""
    tries = f" ({attempts} attempts)" if attempts > 1 else ""
    message = f"{call.host}{through} {failure.what}{tries}; {failure.remedy}"
    if answered:
        error = SourceUnavailable(message, provider=call.provider)
        error.__cause__ = failure.cause
        return error
    return NoAnswer(message, provider=call.provider, timed_out=failure.timed_out, connected=failure.connected)
