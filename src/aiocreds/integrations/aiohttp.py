"""aiohttp: requests to any AWS service, signed with a provider's current credentials.

::

    signed = SigV4Auth(default_chain(), service="es", region="eu-central-1")
    async with aiohttp.ClientSession(middlewares=[signed]) as session:
        async with session.get("https://search-books-abc.eu-central-1.es.amazonaws.com/_cat/indices") as answer:
            print(await answer.text())
"""

from __future__ import annotations

import warnings
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, cast

import aiohttp
from aiohttp import payload
from yarl import URL

from aiocreds.integrations.sigv4 import (
    LONGEST_REFUSAL,
    REFUSALS,
    SIGNED_URL,
    STATED_HASH,
    SigV4,
    logger,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp.abc import AbstractStreamWriter

    from aiocreds._core.context import Context
    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

__all__ = ["SigV4Auth"]

REDIRECTED_CALLS = 4096  # at once; far more than a program makes
REDIRECTS = frozenset({301, 302, 303, 307, 308})  # that aiohttp follows
FORM = "application/octet-stream"


class SigV4Auth(SigV4):
    """An aiohttp client middleware that signs (Signature Version 4).

    ``aiohttp.ClientSession(middlewares=[..., SigV4Auth(...)])``, or ``middlewares=`` of one request. It must come
    last: what a middleware behind it changes does not match the signature.

    - **Bodies**: bytes, text, JSON and forms are signed. S3 and VPC Lattice take streams, files and multipart
      unsigned. For other services files and multipart are read once more, to be hashed; a stream that can be read
      only once, and one that aiohttp compresses, raise `InvalidConfiguration`, unless the request states the
      hash in ``X-Amz-Content-SHA256``.
    - **The URL** is sent in the one spelling that AWS does not misread: a blank as ``%20``, say. yarl resolves
      ``..`` before that; an S3 key that holds such needs ``yarl.URL(..., encoded=True)``. A URL that is signed
      already is left alone.
    - **Expired**: when the service answers 400, 401 or 403 with ``ExpiredToken``, ``ExpiredTokenException``,
      ``RequestExpired`` or ``InvalidToken``, the credentials that signed are invalidated, and the request is
      sent once more with others, if there are any and its body is no stream. Answers to ``HEAD`` do not say so.
    - **Redirects** to the same scheme, host and port are signed. All others are followed unsigned, with a warning,
      to the end; and so are those of a URL that is signed already.

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

    def __init__(
        self,
        provider: Provider | Callable[[], Awaitable[Credentials]],
        *,
        service: str,
        region: str | None = None,
        region_set: str | Sequence[str] | None = None,
        session_mode: Literal["ReadOnly", "ReadWrite"] | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__(
            provider,
            service=service,
            region=region,
            region_set=region_set,
            session_mode=session_mode,
            context=context,
        )
        # The origin of each redirected call, by the id of its timer; None after another host. The timers are kept,
        # so that no other has the same id: some versions of Python have no weak references to them.
        self._starts: dict[int, tuple[object, URL | None]] = {}

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Sign a request and send it."""
        # aiohttp follows redirects by itself and calls its middlewares for each. Only the timer shows which
        # requests belong to one call of the program.
        call, origin = request._timer, request.url.origin()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        _, start = self._starts.get(id(call), (call, origin))
        if origin != start:
            logger.warning("not signed: a request was redirected from another host to %s", origin)
            start = None  # a redirect of that host must not be signed
            answer = await handler(request)
        elif SIGNED_URL in request.url.raw_query_string:
            start = None
            answer = await handler(request)
        else:
            answer = await self._sign_and_send(request, handler)
        if answer.status in REDIRECTS:
            self._starts[id(call)] = call, start
            if len(self._starts) > REDIRECTED_CALLS:
                self._starts.pop(next(iter(self._starts)), None)
        return answer

    async def _sign_and_send(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        url = self._spelled(str(request.url))
        request.url = URL(url, encoded=True)
        if request.method in request.POST_METHODS and "Content-Type" not in request.skip_auto_headers:
            request.headers.setdefault("Content-Type", FORM)  # aiohttp would add it later
        body_hash = await self._hash_of(request)
        provider = await self._provider_for(url, request.headers.items())
        credentials = await provider()
        self._set_signature(request, credentials, provider, url, body_hash)
        answer = await handler(request)
        try:
            expired = answer.status in REFUSALS and await _says_expired(answer, self._says_expired)
        except BaseException:
            answer.close()
            raise
        if not expired:
            return answer
        provider.invalidate(credentials)
        if not _repeatable(request.body):
            return answer
        try:
            others = await self._others(credentials, provider)
        except BaseException:
            answer.close()
            raise
        if others is None:
            return answer
        async with answer:  # releases the connection
            self._set_signature(request, others, provider, url, body_hash)
        return await handler(request)

    def _set_signature(
        self, request: aiohttp.ClientRequest, credentials: Credentials, provider: Provider, url: str, body_hash: str
    ) -> None:
        request.headers.pop("X-Amz-Security-Token", None)
        headers = request.headers.items()
        request.headers.update(self._sign(credentials, provider, request.method, url, headers, body_hash))

    async def _hash_of(self, request: aiohttp.ClientRequest) -> str:
        body, stated = request.body, request.headers.get(STATED_HASH)
        if not body:
            return await self._body_hash(b"", stated, None)
        if request.compress or not _repeatable(body):
            return await self._body_hash(None, stated, None)
        if isinstance(body, payload.BytesPayload):
            return await self._body_hash(await body.as_bytes(), stated, None)
        length = request.headers.get("Content-Length")
        return await self._body_hash(None, stated, partial(_read, body, int(length) if length else None))


class _Hash:
    """A writer that hashes a body."""

    def __init__(self) -> None:
        self.sum = sha256()

    async def write(self, chunk: bytes) -> None:
        self.sum.update(chunk)


async def _read(body: payload.Payload, length: int | None) -> str:
    """Return the hash of a body that is not in memory; files are read in threads, piece by piece."""
    writer = _Hash()
    await body.write_with_length(cast("AbstractStreamWriter", writer), length)
    return writer.sum.hexdigest()


def _repeatable(body: payload.Payload | bytes) -> bool:
    """Return whether a body can be read more than once."""
    if isinstance(body, aiohttp.MultipartWriter):
        return all(_repeatable(part) for part, _, _ in body)
    if isinstance(body, payload.IOBasePayload):
        return body.size is not None and not body.consumed  # a pipe has no size
    return isinstance(body, payload.BytesPayload | bytes)


async def _says_expired(
    answer: aiohttp.ClientResponse, says_expired: Callable[[int, Mapping[str, str], bytes], bool]
) -> bool:
    if says_expired(answer.status, answer.headers, b""):
        return True
    seen = b""
    try:
        while len(seen) < LONGEST_REFUSAL and (piece := await answer.content.read(LONGEST_REFUSAL - len(seen))):
            seen += piece
    except aiohttp.ClientError:
        return False  # the reader of the body gets the error, too
    if seen:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there is no other way to unread data
            answer.content.unread_data(seen)
    return says_expired(answer.status, answer.headers, seen)
