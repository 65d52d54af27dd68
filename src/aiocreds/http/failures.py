"""What went wrong with a request, in words that hold nothing of it."""

from __future__ import annotations

import errno
import os
import re
import ssl
import sys
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import BadHttpMessage

from aiocreds.errors import SourceUnavailable
from aiocreds.http.outgoing import Broken

if TYPE_CHECKING:
    from aiocreds.http.exchange import Call


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


class Failure(NamedTuple):
    """Why an attempt brought no answer, as the rest of a sentence that begins with the host.

    Attributes:
        what: went wrong.
        remedy: for it.
        answered: whether anything is there.
        timed_out: whether it was silent.
        connected: whether the request was sent.
        retry: whether another attempt may help.
        stale: whether the connection was a kept one that its other end had closed: no attempt at all.
        cause: to go with the error, or None; it holds nothing of the request and the answer either.
    """

    what: str
    remedy: str = "check the address and the network"
    answered: bool = True
    timed_out: bool = False
    connected: bool = False
    retry: bool = True
    stale: bool = False
    cause: Exception | None = None


_LATER = "asking again later may help"
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
# Those of llhttp, before what it quotes, and those of aiohttp's own that quote nothing.
_REASON = (
    r"(?a)([A-Z][\w `,/'.()-]{,80}):\n\n"
    r"|(Duplicate '[\w-]{,40}' header found|Too many (?:headers|trailers) received)"
    r"|(Got more than \d{,9} bytes when reading)"
    r"|(Invalid HTTP header|Bad status line)"
    r"|((?:Chunk size mismatch|Transfer-Encoding can't be present|Data after `Connection)[\w `:-]{,60})\Z"
)
_DROPPED = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


def diagnosis(error: BaseException, call: Call, *, answered: bool) -> Failure:
    """Tell a failure in words that hold nothing of the request."""
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
    if (fault := _fault_of_the_parser(error)) is not None:
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
    """Whether a connection ended before a byte of the answer."""
    if isinstance(error, Broken) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # else it holds the beginning of an answer
    return isinstance(error, ConnectionError) or getattr(error, "errno", None) in _DROPPED


def _fault_of_the_parser(error: BaseException) -> str | None:
    """What aiohttp's parser has to say about an answer, content included; None when it was something else."""
    if not isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return None
    fault: BaseException | None = error
    while fault is not None and not isinstance(fault, HttpProcessingError):
        fault = fault.__cause__
    if isinstance(error, aiohttp.ClientPayloadError):  # most of these only break off
        return None if fault is None or fault.message.startswith("Not enough data") else fault.message
    return error.message if fault is None else fault.message


def _unparsable(fault: str) -> Failure:
    """Tell why an answer is none, in the words of the parser that are the same for every answer."""
    known = re.match(_REASON, fault.removeprefix("Bad status line:").lstrip())
    reason = next(filter(None, known.groups()), "") if known else ""
    remedy = "look at what answers there, and for a proxy in between"
    if sys.flags.dev_mode or os.environ.get("PYTHONASYNCIODEBUG"):  # as aiohttp decides it
        remedy += "; aiohttp is strict here, under python -X dev or PYTHONASYNCIODEBUG, and may take it without"
    what = f"answered with HTTP that cannot be parsed{f' ({reason})' if reason else ''}"
    return Failure(what, remedy, cause=BadHttpMessage(reason or "unparsable"))


def _timed_out(error: TimeoutError, limits: aiohttp.ClientTimeout, *, answered: bool) -> Failure:
    match error:
        case aiohttp.ConnectionTimeoutError():
            what, limit = "accepted no connection", limits.sock_connect or limits.total
        case aiohttp.SocketTimeoutError():
            what, limit = "fell silent", limits.sock_read or limits.total
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
    """The error to raise when the last attempt has failed."""
    through = f" (through the proxy {call.proxy.host_port_subcomponent})" if call.proxy else ""
    tries = f" ({attempts} attempts)" if attempts > 1 else ""
    message = f"{call.host}{through} {failure.what}{tries}; {failure.remedy}"
    if answered:
        error = SourceUnavailable(message, provider=call.provider)
        error.__cause__ = failure.cause
        return error
    return NoAnswer(message, provider=call.provider, timed_out=failure.timed_out, connected=failure.connected)
