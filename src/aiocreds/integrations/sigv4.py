"""The part of signing that aiohttp and httpx share: the rules of each service, and rejected credentials."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from aiocreds._aws.service_errors import EXPIRED, details_in_json
from aiocreds._aws.sigv4 import TOKEN_NAME, UNSIGNED_PAYLOAD, check_sendable, presign, sign, unambiguous
from aiocreds._base import threads
from aiocreds._base.redaction import SecretBytes
from aiocreds._base.time import seconds
from aiocreds._core.context import DEFAULT
from aiocreds._core.decorator import as_provider
from aiocreds._http import Response
from aiocreds.errors import InvalidConfiguration
from aiocreds.integrations._extras import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta

    from aiocreds._aws.s3express import Sessions
    from aiocreds._core.context import Context
    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

Headers = Mapping[str, str] | Iterable[tuple[str, str]]

logger = logging.getLogger("aiocreds.sigv4")

SESSION_TOKEN = "X-Amz-S3session-Token"  # noqa: S105 - the name of a header
STATED_HASH = "X-Amz-Content-SHA256"
SIGNED_URL = "X-Amz-Signature="
REFUSALS = frozenset({400, 401, 403})
LONGEST_REFUSAL = 2**16  # bytes of an answer that are read for its error code
LARGE = 2**20  # bytes; hashing them takes about a millisecond
LONGEST_LIFE = 7 * 24 * 3600
USUAL_LIFE = 900
# OpenSearch domains answer with this message alone, without a code.
EXPIRED_MESSAGE = "The security token included in the request is expired"

_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # of a method or a header
_CODE_IN_XML = re.compile(rb"<Code>\s*(\w+)\s*</Code>")


class Rules(NamedTuple):
    """The differences of a service from Signature Version 4.

    Attributes:
        path_as_is: paths are signed as they are sent, neither encoded again nor normalized.
        hash_stated: a header states the hash of the body.
        streams: a body whose hash is not known may be unsigned.
        bodies: bodies are signed.
        unsigned_headers: headers that are not signed.
        forwards: it forwards answers of applications, whose own tokens may expire, too.
        sessions: requests to its buckets are signed by sessions.
        token_unsigned: the session token is added to a URL without being signed.
        longest_life: seconds that a signed URL may be good for.
    """

    path_as_is: bool = False
    hash_stated: bool = False
    streams: bool = False
    bodies: bool = True
    unsigned_headers: frozenset[str] = frozenset()
    forwards: bool = False
    sessions: bool = False
    token_unsigned: bool = False
    longest_life: int = LONGEST_LIFE


# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
S3 = Rules(path_as_is=True, hash_stated=True, streams=True)
RULES = {
    "s3": S3,
    "s3-object-lambda": S3,
    "s3-outposts": S3,
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-authenticating-authorizing.html
    "s3express": S3._replace(sessions=True),
    # https://docs.aws.amazon.com/opensearch-service/latest/developerguide/serverless-clients.html
    "aoss": Rules(hash_stated=True, unsigned_headers=frozenset({"content-length"})),
    # https://docs.aws.amazon.com/amazonglacier/latest/dev/amazon-glacier-signing-requests.html
    "glacier": Rules(hash_stated=True),
    # https://docs.aws.amazon.com/vpc-lattice/latest/ug/sigv4-authenticated-requests.html
    "vpc-lattice-svcs": Rules(streams=True, bodies=False, forwards=True),
    "appsync": Rules(forwards=True),
    "execute-api": Rules(forwards=True),
    # https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
    "iotdevicegateway": Rules(token_unsigned=True),
    "lambda": Rules(forwards=True),
    # https://docs.aws.amazon.com/transcribe/latest/dg/streaming-websocket.html
    "transcribe": Rules(longest_life=300),
}


def _make(kind: type[SigV4], provider: Provider, options: dict[str, Any]) -> SigV4:
    return kind(provider, **options)


class SigV4:
    """Signs for one service in one region, with a provider's current credentials."""

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
        self._options = {
            "service": service,
            "region": region,
            "region_set": region_set,
            "session_mode": session_mode,
            "context": context,
        }
        taker = type(self).__name__
        provider = as_provider(provider, taker=taker, context=DEFAULT if context is None else context)
        if context is None:
            context = provider._context  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us
        name = type(self).__name__
        if not service:
            raise ValueError(f"{name}: service is empty, and is signed: pass service=, such as 'execute-api'")
        if not region and not region_set:
            raise ValueError(f"{name}: no region, which is signed: pass region=, or region_set= for several")
        if region and region_set:
            raise ValueError(f"{name}: region and region_set are both given: pass one of them")
        if region_set:
            require("cryptography", "sigv4a")
        self._provider = provider
        self._service = _checked("service", service)
        self._region = _checked("region", region) if region else ""
        self._region_set = _joined(region_set) if region_set else None
        self._clock = context.clock
        self._rules = RULES.get(service, Rules())
        if session_mode is not None and not self._rules.sessions:
            raise ValueError("session_mode is for service='s3express'")
        if session_mode not in (None, "ReadOnly", "ReadWrite"):
            raise ValueError("session_mode must be 'ReadOnly' or 'ReadWrite'")
        self._sessions: Sessions | None = None
        if self._rules.sessions and region:
            from aiocreds._aws.s3express import Sessions

            self._sessions = Sessions(provider, region, context, session_mode)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments; the provider has to be picklable."""
        return _make, (type(self), self._provider, self._options)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} for {self._service} in {self._region or self._region_set}: {self._provider!r}>"
        )

    async def presign(
        self,
        method: str,
        url: str,
        *,
        expires_in: float | timedelta | None = None,
        headers: Headers = (),
    ) -> str:
        """Sign a request in its URL, so that somebody without credentials can make it.

        The credentials are asked to live as long as the URL; where the source cannot give such, the URL ends
        with them. It must be sent in this very spelling: ``yarl.URL(url, encoded=True)`` for aiohttp.

        Args:
            method: such as ``"GET"``.
            url: the absolute URL; ``wss:`` for WebSockets.
            expires_in: seconds that the URL is good for, up to 7 days, up to 5 minutes for ``"transcribe"``; or a
                ``timedelta``. By default 15 minutes, where the service takes that.
            headers: what the request will have to carry besides ``Host``: a mapping, or pairs.

        Returns:
            The URL, which is a secret until it ends.

        Raises:
            ValueError: ``expires_in`` is shorter than 1 s or longer than the service takes, or another argument
                is nothing that a request can have.
            TypeError: an argument is of a wrong type.
            CredentialsError: there are no credentials.
        """
        longest = self._rules.longest_life
        lifetime = min(USUAL_LIFE, longest) if expires_in is None else seconds(expires_in, "expires_in")
        if not 1 <= lifetime <= longest:
            span = "7 days" if longest == LONGEST_LIFE else f"for {self._service}"
            raise ValueError(f"expires_in must be from 1 to {longest} seconds ({span}), not {lifetime:g}")
        url, pairs = self._spelled(_checked_url(method, url)), _pairs(headers)
        provider = await self._provider_for(url, pairs)
        credentials = await provider.get(min_ttl=lifetime)
        return presign(
            method,
            url,
            pairs,
            None if self._rules.streams else b"",
            credentials=credentials,
            region=self._region,
            service=self._service,
            region_set=self._region_set,
            at=self._clock.now(),
            expires_in=int(lifetime),
            normalize_path=not self._rules.path_as_is,
            encode_path=not self._rules.path_as_is,
            token_name=self._token_name(provider),
            omit_session_token=self._rules.token_unsigned,
        )

    async def sign_headers(
        self, method: str, url: str, *, headers: Headers = (), body: bytes | bytearray = b""
    ) -> dict[str, str]:
        """Sign a request that another client will send, such as the handshake of a WebSocket.

        Args:
            method: such as ``"GET"``.
            url: the absolute URL.
            headers: what the request will carry, and what is to be signed, besides ``Host``: a mapping, or pairs.
            body: the whole body.

        Returns:
            The headers to add. They are good for five minutes, and hold a token.

        Raises:
            ValueError: an argument is nothing that a request can have.
            TypeError: an argument is of a wrong type.
            CredentialsError: there are no credentials.
        """
        url, pairs = self._spelled(_checked_url(method, url)), _pairs(headers)
        provider = await self._provider_for(url, pairs)
        body_hash = await self._body_hash(_checked_body(body), None, None)
        return self._sign(await provider(), provider, method, url, pairs, body_hash)

    async def _provider_for(self, url: str, headers: Iterable[tuple[str, str]]) -> Provider:
        """Return the provider whose credentials sign a request: that of its session, where there is one."""
        return self._provider if self._sessions is None else await self._sessions.provider_for(url, headers)

    def _token_name(self, provider: Provider) -> str:
        return TOKEN_NAME if provider is self._provider else SESSION_TOKEN

    def _says_expired(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        return says_expired(status, headers, b"" if self._rules.forwards else body)

    def _spelled(self, url: str) -> str:
        """Return the URL in the spelling in which it is signed and sent."""
        return unambiguous(url, encode_path=not self._rules.path_as_is)

    async def _body_hash(
        self, body: bytes | None, stated: str | None, read: Callable[[], Awaitable[str]] | None
    ) -> str:
        """Return the hash to sign for a body, which is not changed.

        Args:
            body: the body, if it is in memory.
            stated: the hash that the request states.
            read: returns the hash of a body that is not in memory and can be read more than once.

        Raises:
            InvalidConfiguration: the service wants a hash, and none can be computed.
        """
        if not self._rules.bodies:
            return UNSIGNED_PAYLOAD
        if stated is not None and (body is None or stated.startswith(("UNSIGNED-", "STREAMING-"))):
            return stated
        if body is not None:
            return await threads.submit_long(_hash, body) if len(body) > LARGE else _hash(body)
        if self._rules.streams:
            return UNSIGNED_PAYLOAD
        if read is None:
            raise InvalidConfiguration(
                f"{self._service} wants the body signed, and its hash cannot be known before it is sent: pass bytes"
                f" instead of a stream, or a file that can be read twice, or state the hash in {STATED_HASH}"
            )
        return await read()

    def _sign(
        self,
        credentials: Credentials,
        provider: Provider,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]],
        body_hash: str,
    ) -> dict[str, str]:
        """Return the headers that sign the request with credentials of this provider."""
        check_sendable(credentials)
        rules = self._rules
        if rules.unsigned_headers:
            headers = [(name, value) for name, value in headers if name.lower() not in rules.unsigned_headers]
        return sign(
            method,
            url,
            headers,
            None,
            credentials=credentials,
            region=self._region,
            service=self._service,
            region_set=self._region_set,
            at=self._clock.now(),
            normalize_path=not rules.path_as_is,
            encode_path=not rules.path_as_is,
            sign_body=rules.hash_stated,
            body_hash=body_hash,
            token_name=self._token_name(provider),
        )

    async def _others(self, rejected: Credentials, provider: Provider) -> Credentials | None:
        """Return other credentials than the rejected ones; None when the provider has no others."""
        others = await provider()
        return None if others.access_key_id == rejected.access_key_id else others


def says_expired(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether an answer rejects the credentials of its request as expired."""
    found = _CODE_IN_XML.search(body)
    if found is not None:
        return found[1].decode() in EXPIRED
    details = details_in_json(Response(status, headers, SecretBytes(body), host=""), EXPIRED)
    return details.code in EXPIRED or (not details.code and details.message.rstrip(".") == EXPIRED_MESSAGE)


def _checked(argument: str, value: object, extra: str = "") -> str:
    """Return an argument that is part of a signature, whose other parts stand beside it.

    Raises:
        TypeError: it is no text.
        ValueError: it holds what no such name does.
    """
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {type(value).__name__}")
    if not re.fullmatch(rf"[A-Za-z0-9._{extra}-]{{1,100}}", value):
        remedy = "; for several regions pass region_set=" if argument == "region" else ""
        raise ValueError(f"{argument} {value[:100]!r} is none{remedy}")
    return value


def _joined(region_set: object) -> str:
    """Return a set of regions as the header has it."""
    if isinstance(region_set, str):
        region_set = region_set.split(",")
    if not isinstance(region_set, list | tuple):
        raise TypeError(f"region_set must be a str or several of them, not {type(region_set).__name__}")
    regions = cast("Sequence[object]", region_set)
    return ",".join(_checked("region_set", it.strip() if isinstance(it, str) else it, "*") for it in regions)


def _checked_url(method: object, url: object) -> str:
    """Return the URL of a request that a program describes.

    Raises:
        TypeError: it is no text, or the method is none.
        ValueError: it is no absolute URL, or the method is none. The message leaves the URL out: it may be signed.
    """
    for argument, value in (("method", method), ("url", url)):
        if not isinstance(value, str):
            raise TypeError(f"{argument} must be a str, not {type(value).__name__}")
    text = str(url)
    if not re.fullmatch(_NAME, str(method)):
        raise ValueError(f"method {str(method)[:100]!r} is none: pass one such as 'GET'")
    if re.search("[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise ValueError("url holds a line break or another character that no URL may: look for a stray one")
    try:
        parts = urlsplit(text)
        complete = bool(parts.scheme and parts.hostname) and parts.netloc.isascii() and (parts.port or 1)
    except ValueError:
        complete = False
    if SIGNED_URL in text:
        raise ValueError("url is signed already")
    if not complete:
        raise ValueError("url is no absolute URL: pass one such as 'https://host/path', with the host in ASCII")
    return text


def _checked_body(body: object) -> bytes:
    """Return a whole body that a program describes.

    Raises:
        TypeError: it is none.
    """
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    raise TypeError(
        f"body must be bytes, not {type(body).__name__}{': encode it' if isinstance(body, str) else ''}"
    )


def _pairs(headers: object) -> list[tuple[str, str]]:
    """Return the headers of a request that a program describes.

    Raises:
        TypeError: they are none.
        ValueError: one cannot be sent. The message names it, and leaves out its value.
    """
    given: Any = cast("Mapping[object, object]", headers).items() if isinstance(headers, Mapping) else headers
    pairs: list[tuple[str, str]] = []
    try:
        for pair in given:
            name, value = pair
            if isinstance(pair, str) or not (isinstance(name, str) and isinstance(value, str)):
                raise TypeError
            pairs.append((name, value))
    except (TypeError, ValueError):
        raise TypeError("headers must be a mapping of str to str, or pairs of them") from None
    for name, value in pairs:
        if not re.fullmatch(_NAME, name):
            raise ValueError(f"headers has a name that no header may have: {name[:100]!r}")
        if not re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value):
            raise ValueError(f"headers has a value for {name} with a line break or another character that none may")
    return pairs


def _hash(body: bytes) -> str:
    return sha256(body).hexdigest()
