"""One request: attempts, pauses between them, and an answer of bounded size."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, final

import aiohttp
from yarl import URL

from aiocreds import trace
from aiocreds.errors import InvalidConfiguration
from aiocreds.hidden import Buffer, Data
from aiocreds.http.failures import Failure, diagnosis, to_error
from aiocreds.http.outgoing import Attempt, Signer, attempt_under_way, once, url_text
from aiocreds.threads import runs_here

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from aiocreds.errors import SourceUnavailable
    from aiocreds.http.sessions import Lease

logger = logging.getLogger("aiocreds.http")

MAX_BODY = 64 * 1024  # bytes; the largest honest answer, an STS one with a long token, has about 5 KiB
MAX_RETRY_AFTER = 20.0  # seconds; whoever asks for more gets no further attempt
BACKOFF, LONGEST_BACKOFF = 0.15, 5.0


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
    body: Data
    host: str

    def __repr__(self) -> str:
        return f"Response({self.status} from {self.host}, {len(self.body)} bytes)"


@dataclass(slots=True, repr=False)
class Call:
    """A request to be made, without a ``repr``: tracebacks that show locals show no headers and no body."""

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
        """Whom messages name: ``host`` or ``host:port``."""
        return self.url.host_port_subcomponent or ""

    def signed_headers(self) -> Mapping[str, str]:
        """The headers with those that sign the request as it stands."""
        headers = self.headers or {}
        if self.sign is None:
            return headers
        return {**headers, **self.sign(self.method, url_text(self.url), headers.items(), self.body or b"")}


async def persist(call: Call, lease: Lease) -> Response | SourceUnavailable:
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
            took, tries = (loop.time() - started) * 1000, f"attempt {attempt} of {call.attempts}"
            # No path: that of an ECS task's credentials is as good as a password.
            logger.debug("%s %s: %s (%.0f ms, %s)", call.method, call.host, said, took, tries)
        if trace.current() is not None:
            said = f"answered {outcome.status}" if isinstance(outcome, Response) else outcome.what
            tries = f", attempt {attempt} of {call.attempts}" if attempt > 1 else ""
            trace.note(call.host, f"{said} ({(loop.time() - started) * 1000:.0f} ms{tries})")
        if attempt >= call.attempts or (pause := _pause(call, outcome, attempt)) is None:
            return outcome if isinstance(outcome, Response) else to_error(call, outcome, attempt, answered=answered)
        await asyncio.sleep(pause)


async def _attempt(call: Call, session: aiohttp.ClientSession) -> Response | Failure:
    """Send the request once and read the answer, or cut the connection."""
    attempt, headers, loop = Attempt(call.sign), call.headers, asyncio.get_running_loop()
    if call.sign is not None and not call.middlewares:  # nobody changes the request on its way: sign it here
        attempt.sign, headers = None, call.signed_headers()
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
            middlewares=call.middlewares if call.method == "POST" else (once, *call.middlewares),
        )
        outcome = await _read(response, call.host)
    except (aiohttp.ClientError, OSError) as error:
        return diagnosis(error, call, answered=response is not None)._replace(connected=bool(attempt.wires))
    except RuntimeError:
        if runs_here(loop):
            raise
        raise GeneratorExit from None  # as it was, before aiohttp missed the loop, which was dropped in the middle
    else:
        return outcome
    finally:
        del headers  # a cancellation's traceback shows this frame
        with suppress(ValueError):  # in another context: its loop was dropped in the middle
            attempt_under_way.reset(token)
        if not isinstance(outcome, Response):
            with suppress(RuntimeError):  # as above, and has closed itself
                for wire in attempt.wires:
                    wire.abort()
                if response is not None:
                    response.close()


async def _read(response: aiohttp.ClientResponse, host: str) -> Response | Failure:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        remedy = "check for a proxy that rewrites answers"
        return Failure("compressed its answer, which nobody asked for", remedy, retry=False)
    if 0 < (response.content_length or 0) <= MAX_BODY:
        return Response(response.status, response.headers, Data(await response.read()), host)
    body = Buffer()
    async for piece in response.content.iter_any():
        body += piece
        del piece  # a cancellation's traceback shows this frame
        if len(body) > MAX_BODY:
            remedy = "check that the address is that of the right service"
            return Failure(f"sent more than {MAX_BODY // 1024} KiB", remedy, retry=False)
    return Response(response.status, response.headers, Data(body), host)


def _pause(call: Call, outcome: Response | Failure, attempt: int) -> float | None:
    """Seconds until the next attempt; None when there shall be none."""
    asked = 0.0
    if isinstance(outcome, Response):
        again = outcome.status >= 500 or outcome.status == 429
        if not again and not (call.retry_if is not None and call.retry_if(outcome)):
            return None
        asked = _retry_after(outcome.headers)
    elif not outcome.retry:
        return None
    backoff = random.uniform(0, min(LONGEST_BACKOFF, BACKOFF * 2 ** (attempt - 1)))
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
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\xa0-\xff]")


def checked_headers(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The headers, if all of them can be sent.

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
    """The URL, parsed once.

    Raises:
        InvalidConfiguration: it is none for http, or holds a user name.
    """
    try:
        parsed = URL(url)
        if parsed.scheme in {"http", "https"} and parsed.host and parsed.port and not parsed.raw_user:
            return parsed
    except (ValueError, TypeError, IndexError):  # the last is yarl's answer to http://][@
        pass
    shown = str(url).partition("?")[0]
    named = "the URL" if "@" in shown else f"the URL {shown!r}"  # a password may stand before the @
    raise InvalidConfiguration(f"{named} cannot be used; write http:// or https:// and a host, no user name")


@lru_cache(maxsize=64)
def timeouts(total: float, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    """Aiohttp's time-outs, made once. A silence that only ``total`` can end needs no clock of its own."""
    read = None if read is not None and read >= total else read
    # aiohttp would round limits from 5 s on up to a whole second of the loop's clock.
    return aiohttp.ClientTimeout(total=total, sock_connect=connect, sock_read=read, ceil_threshold=inf)
