"""httpx: requests to any AWS service, signed with a provider's current credentials.

::

    signed = SigV4Auth(default_chain(), service="execute-api", region="eu-central-1")
    async with httpx.AsyncClient(auth=signed) as client:
        answer = await client.get("https://abc123.execute-api.eu-central-1.amazonaws.com/prod/books")

Install with ``pip install 'aiocreds[httpx]'``.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NoReturn

try:
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "aiocreds.integrations.httpx needs httpx: pip install 'aiocreds[httpx]'", name=error.name
    ) from error

from aiocreds._base import threads
from aiocreds.integrations.sigv4 import (
    LONGEST_REFUSAL,
    REFUSALS,
    SESSION_TOKEN,
    SIGNED_URL,
    STATED_HASH,
    SigV4,
    logger,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

__all__ = ["SigV4Auth"]


class SigV4Auth(SigV4, httpx.Auth):
    """Signs the requests of an ``httpx.AsyncClient`` (Signature Version 4).

    ``httpx.AsyncClient(auth=SigV4Auth(...))``, or ``auth=`` of one request.

    - **Bodies**: bytes, text, JSON and forms are signed. S3 and VPC Lattice take streams and multipart unsigned.
      For other services multipart is read once more, to be hashed; a stream raises `InvalidConfiguration`,
      unless the request states its hash in ``X-Amz-Content-SHA256``.
    - **The URL** is sent in the one spelling that AWS does not misread: a blank as ``%20``, say. httpx resolves
      ``..`` before that. A URL that is signed already is left alone.
    - **Expired**: when the service answers 400, 401 or 403 with ``ExpiredToken``, ``ExpiredTokenException``,
      ``RequestExpired`` or ``InvalidToken``, the credentials that signed are invalidated, and the request is
      sent once more with others, if there are any and its body is no stream. Answers to ``HEAD`` do not say so.
    - **Redirects**, which httpx follows only with ``follow_redirects=True``, are followed unsigned, with a warning:
      a signature is good for one URL. For that, the signature is taken off the request once httpx's own
      transport has sent it; with a transport of another make, leave redirects unfollowed.

    Args:
        provider: where credentials come from, at each request; or any ``async () -> Credentials``.
        service: the service's signing name: ``"execute-api"`` (API Gateway), ``"es"`` and ``"aoss"`` (OpenSearch),
            ``"bedrock"``, ``"s3"``, ``"lambda"``, …
        region: the region to sign for; or
        region_set: the regions to sign for by Signature Version 4A, ``"*"`` for all of them, which multi-region
            access points of S3 and global endpoints of EventBridge want. It needs ``aiocreds[sigv4a]``.
        session_mode: what the sessions of ``service="s3express"`` may do, ``"ReadOnly"`` or ``"ReadWrite"``. They
            are asked for and renewed by themselves, for each directory bucket; the service's default is both.
        context: whose clock tells the time, and whose connections ask for sessions; by default the provider's.

    Raises:
        ValueError: an argument holds what cannot be signed.
        TypeError: an argument is of a wrong type.
        CredentialsError: out of a request, when there are no credentials.

    See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
    """

    def sync_auth_flow(self, request: httpx.Request) -> NoReturn:
        """Refuse: credentials are awaited.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("SigV4Auth awaits credentials: use it with httpx.AsyncClient, not with httpx.Client")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign a request and send it."""
        if SIGNED_URL.encode() in request.url.query:
            yield request
            return
        url = self._spelled(given := str(request.url))
        if url != given:
            request.url = httpx.URL(url)
        body_hash = await self._hash_of(request)
        provider = await self._provider_for(url, request.headers.multi_items())
        credentials = await provider()
        self._set_signature(request, credentials, provider, url, body_hash)
        extensions = request.extensions
        request.extensions = {**extensions, "trace": _RemoveSignature(request.headers, extensions.get("trace"))}
        try:
            answer = yield request
            if answer.request is not request:
                to = answer.request.url.host
                logger.warning("not signed: the service at %s redirects a request to %s", request.url.host, to)
                return
            if answer.status_code not in REFUSALS or not await self._answers_expired(answer):
                return
            provider.invalidate(credentials)
            if _bytes(request) is None and _multipart(request) is None:
                return
            others = await self._others(credentials, provider)
            if others is not None:
                self._set_signature(request, others, provider, url, body_hash)
                yield request
        finally:
            request.extensions = extensions

    def _set_signature(
        self, request: httpx.Request, credentials: Credentials, provider: Provider, url: str, body_hash: str
    ) -> None:
        request.headers.pop("X-Amz-Security-Token", None)
        headers = request.headers.multi_items()
        request.headers.update(self._sign(credentials, provider, request.method, url, headers, body_hash))

    async def _answers_expired(self, answer: httpx.Response) -> bool:
        try:
            body = answer.content  # a hook of the client may have read it
        except httpx.ResponseNotRead:
            body = await _peek(answer)
        return self._says_expired(answer.status_code, answer.headers, body)

    async def _hash_of(self, request: httpx.Request) -> str:
        stated = request.headers.get(STATED_HASH)
        files = _multipart(request)
        return await self._body_hash(_bytes(request), stated, partial(_hash, files) if files is not None else None)


class _RemoveSignature:
    """Removes the signature from a request after a redirect: httpx makes the next one from it.

    See https://www.python-httpx.org/advanced/extensions/#trace
    """

    def __init__(self, headers: httpx.Headers, then: Callable[[str, Any], Awaitable[None]] | None) -> None:
        self._headers = headers
        self._then = then

    async def __call__(self, event: str, info: Any) -> None:
        if event.endswith("receive_response_headers.complete"):
            status = next((part for part in info["return_value"] if isinstance(part, int)), 0)
            if status // 100 == 3:  # not before: a transport may retry the request
                self._headers.pop("Authorization", None)
                self._headers.pop("X-Amz-Security-Token", None)
                self._headers.pop(SESSION_TOKEN, None)
        if self._then is not None:
            await self._then(event, info)


class _ReplayedStream(httpx.AsyncByteStream):
    """The body of an answer, whose beginning can be read in advance."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._rest = aiter(stream)
        self.seen = b""

    async def peek(self, length: int) -> bytes:
        """Return the beginning of the body."""
        while len(self.seen) < length and (piece := await anext(self._rest, None)) is not None:
            self.seen += piece
        return self.seen[:length]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.seen
        async for piece in self._rest:
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _peek(answer: httpx.Response) -> bytes:
    """Return the beginning of a body, which can still be read whole."""
    if answer.is_stream_consumed or not isinstance(answer.stream, httpx.AsyncByteStream):
        return b""
    answer.stream = stream = _ReplayedStream(answer.stream)
    seen = await stream.peek(LONGEST_REFUSAL)
    try:
        return httpx.Response(answer.status_code, headers=answer.headers, content=seen).content  # decompressed
    except httpx.DecodingError:
        return b""


def _bytes(request: httpx.Request) -> bytes | None:
    """Return the body if it is in memory."""
    return b"".join(request.stream) if isinstance(request.stream, httpx.ByteStream) else None


def _multipart(request: httpx.Request) -> httpx.SyncByteStream | None:
    """Return the body if it is httpx's own multipart, whose files can be read again."""
    headers, stream = request.headers, request.stream
    known = "Content-Length" in headers and headers.get("Content-Type", "").startswith("multipart/form-data")
    return stream if known and isinstance(stream, httpx.SyncByteStream) else None


async def _hash(body: httpx.SyncByteStream) -> str:
    """Return the hash of a body that is not in memory, read in a thread piece by piece."""

    def read() -> str:
        found = sha256()
        for piece in body:
            found.update(piece)
        return found.hexdigest()

    return await threads.submit_long(copy_context().run, read)  # code of the program may yield the pieces
