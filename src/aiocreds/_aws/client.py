"""Calls to AWS services: configuration, endpoint, signature, retries, and the service's clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import inf
from time import time
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._aws.endpoints import Endpoint, configured_url, endpoint_for, home_region
from aiocreds._aws.sigv4 import check_sendable, sign
from aiocreds._base import tracing
from aiocreds._base.json_credentials import refuse_expired
from aiocreds._base.time import parse_time, time_limit
from aiocreds._core.context import load_http
from aiocreds._core.refresh import SKEW_TOLERATED, Clock
from aiocreds._profiles import Section, load, profile_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

    import aiohttp

    from aiocreds._core.context import Context
    from aiocreds._http import Response
    from aiocreds._http.request import Signer
    from aiocreds._profiles import SharedConfig
    from aiocreds.credentials import Credentials

CLOCK = "this machine's clock"  # in `explain`
LARGEST_SKEW = 26 * 3600.0  # seconds that our clock may be ahead of an unsigned answer: any wrong time zone


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The configuration of the service calls of a source. It can be copied and pickled.

    Attributes:
        region: by default ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's ``region``, else the home region
            of the partition.
        endpoint_url: by default ``AWS_ENDPOINT_URL_<SERVICE>``, ``AWS_ENDPOINT_URL``, the profile's ``services``
            section and ``endpoint_url``, else AWS's own.
        use_fips: by default ``AWS_USE_FIPS_ENDPOINT``, else the profile's ``use_fips_endpoint``.
        use_dualstack: by default ``AWS_USE_DUALSTACK_ENDPOINT``, else the profile's ``use_dualstack_endpoint``.
        connect_timeout: seconds to connect, or a ``timedelta``.
        read_timeout: seconds to wait for the whole answer, connecting included unless that alone may take longer;
            or a ``timedelta``.
        max_attempts: attempts in all at a call whose failures may pass.
        middlewares: aiohttp client middlewares, run before signing, so that what they add is signed.
    """

    region: str | None = None
    endpoint_url: str | None = field(default=None, repr=False)  # it may hold a password
    use_fips: bool | None = None
    use_dualstack: bool | None = None
    connect_timeout: float | timedelta = 5.0
    read_timeout: float | timedelta = 10.0
    max_attempts: int = 3
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = ()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts must be at least 1")


class ConfigScope(NamedTuple):
    """The environment, the shared files and the profile that a call is configured by.

    Keys that ``section`` lacks are taken from ``outer``.
    """

    context: Context
    config: SharedConfig
    section: Section | None
    outer: Section | None = None

    def get(self, key: str, /) -> str | None:
        """Return the value of a key of the profile, else of the outer one."""
        holder = self._holder(key)
        return None if holder is None else holder.get(key)

    def subsection(self, key: str, /) -> Mapping[str, str]:
        """Return the settings nested under a key of the profile, else of the outer one."""
        nested = [section.subsection(key) for section in (self.section, self.outer) if section is not None]
        return next(filter(None, nested), dict[str, str]())

    def where(self, key: str, nested: str | None = None, /) -> str:
        """Return the ``file:line`` of a key; empty when neither profile has it."""
        holder = self._holder(key)
        return "" if holder is None else holder.where(key, nested)

    def _holder(self, key: str) -> Section | None:
        if self.section is not None and self.section.get(key):
            return self.section
        return self.outer if self.outer is not None and self.outer.get(key) else None


async def config_scope(
    context: Context, client: ClientConfig | None = None, *, region: str | None = None
) -> ConfigScope:
    """Return the scope of the active profile, for a source that is used outside of any profile.

    The shared files are needed only for the region: where that is known, unreadable files are ignored.

    Args:
        context: the environment.
        client: the configuration given in code.
        region: a region that is known from elsewhere.

    Raises:
        InvalidConfiguration: a shared file has a fault, or may hold the region and cannot be read.
    """
    known = region or (client and client.region)
    known = known or context.setting("AWS_REGION") or context.setting("AWS_DEFAULT_REGION")
    config = await load(context, needed=not known)
    return ConfigScope(context, config, config.profile(profile_name(context)))


def region_for(client: ClientConfig, scope: ConfigScope, *, arn: str | None = None) -> str:
    """Return the region of a call.

    It comes from ``client``, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's ``region`` (else the outer
    one's), else the home region of the partition of ``arn``.
    """
    context = scope.context
    return (
        client.region
        or context.setting("AWS_REGION")
        or context.setting("AWS_DEFAULT_REGION")
        or scope.get("region")
        or home_region(arn or "")
    )


class ServiceClient(NamedTuple):
    """An AWS service, as one source calls it."""

    service: str
    client: ClientConfig
    scope: ConfigScope
    region: str

    @property
    def endpoint(self) -> Endpoint:
        """Return the endpoint of the service.

        Raises:
            InvalidConfiguration: the settings contradict each other or the partition.
        """
        return endpoint_for(
            self.service,
            region=self.region,
            endpoint_url=self.client.endpoint_url,
            use_fips=self.client.use_fips,
            use_dualstack=self.client.use_dualstack,
            environ=self.scope.context.environ,
            profile=self.scope if self.scope.section or self.scope.outer else None,
            services=self.scope.config.services,
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        credentials: Credentials | None,
        proof: Callable[[Clock], Signer] | None = None,
        retry_if: Callable[[Response], bool],
        clock_rejected: Callable[[Response], bool],
    ) -> Response:
        """Make a call, signed if there are ``credentials``; again by the service's time if our clock is wrong.

        The service's time is kept once a call signed by it has been accepted.

        Args:
            method: of HTTP.
            path: absolute.
            headers: to send, and to be signed.
            body: of the request.
            credentials: to sign with.
            proof: takes a clock and returns what signs each attempt in another way than with ``credentials``.
            retry_if: returns whether to try again after an answer other than 5xx and 429.
            clock_rejected: returns whether a wrong clock may explain an answer.

        Raises:
            InvalidConfiguration: the endpoint's settings contradict, or no header can hold the credentials.
            SourceUnavailable: the service did not answer.
        """
        endpoint, context = self.endpoint, self.scope.context
        if tracing.current() is not None:
            self._trace(endpoint)
        if credentials is not None:
            check_sendable(credentials)
            proof = partial(_signer, credentials, endpoint.signing_region, self.service)
        connect = time_limit(self.client.connect_timeout, "connect_timeout")
        read = time_limit(self.client.read_timeout, "read_timeout")
        clock, tried, http = context.clock, None, await load_http(context)
        while True:
            asked, used = clock.now(), clock.offset
            response = await http.request(
                method,
                endpoint.url + path,
                provider=None,
                headers=headers,
                body=body,
                timeout=max(connect, read),
                connect_timeout=connect,
                read_timeout=read,
                attempts=self.client.max_attempts,
                retry_if=retry_if,
                ca_bundle=self.scope.get("ca_bundle"),
                middlewares=self.client.middlewares,
                sign=None if proof is None else proof(clock),
            )
            if tried is not None:
                if tried is not context.clock and 200 <= response.status < 300:
                    adopt(context, tried, response)
                return response
            if proof is None or not clock_rejected(response):  # without proof, no time was sent
                return response
            # Other answers are no evidence about the time: they may be forged.
            tried = clock_of(context, response, asked, used)
            if tried is None:
                return response
            clock = tried

    def _trace(self, endpoint: Endpoint) -> None:
        """Record for `explain` the endpoint, and the setting it comes from."""
        scope, custom = self.scope, self.client.endpoint_url and "endpoint_url="
        if not custom:
            profile = scope if scope.section or scope.outer else None
            setting = configured_url(
                self.service, environ=scope.context.environ, profile=profile, services=scope.config.services
            )
            custom = setting and setting.place
        tracing.note(endpoint.host, self.region, kind="service", key=self.service, overridden_by=custom or "")

    def refuse_expired(self, credentials: Credentials, response: Response, asked: float, *, origin: str) -> None:
        """Do as :func:`refuse_expired_by_sender` with the context of this service."""
        refuse_expired_by_sender(self.scope.context, credentials, response, asked, origin=origin)


def refuse_expired_by_sender(
    context: Context, credentials: Credentials, response: Response, asked: float, *, origin: str
) -> None:
    """Check that the credentials in an answer have not expired, by the sender's clock if they have by ours.

    The sender's clock is kept only if they are valid by it and it is at most :data:`LARGEST_SKEW` behind ours: an
    answer to an unsigned request may be forged or replayed.

    Args:
        context: whose clock is ours.
        credentials: the credentials in the answer.
        response: the answer that held them.
        asked: when they were asked for, by our clock.
        origin: the sender, in messages.

    Raises:
        SourceUnavailable: they have expired.
    """
    clock = context.clock
    end = inf if credentials.expiration is None else credentials.expiration.timestamp()
    if end <= clock.now():
        tried = clock_of(context, response, asked, clock.offset)
        if tried is not None and tried.offset >= -LARGEST_SKEW and end > tried.now():
            adopt(context, tried, response)
    refuse_expired(credentials, origin=origin, now=clock.now())


def clock_of(context: Context, response: Response, asked: float, used: float) -> Clock | None:
    """Return a clock by the ``Date`` of an answer for another attempt; None where that cannot help.

    Args:
        context: whose clock is ours.
        response: the answer.
        asked: when it was asked for, by our clock.
        used: our clock's offset then.
    """
    there = _time_of(response.headers.get("Date", ""))
    if there is None:
        return None
    here = time()
    if abs(here + used - asked) > SKEW_TOLERATED:  # this machine slept meanwhile
        return context.clock
    skew = there - here
    if abs(skew - used) <= SKEW_TOLERATED:
        return None
    return Clock(0.0 if abs(skew) <= SKEW_TOLERATED else skew)


def adopt(context: Context, tried: Clock, response: Response) -> None:
    """Keep a clock that an answer has confirmed, unless the ``Date`` of that answer contradicts it."""
    there = _time_of(response.headers.get("Date", ""))
    if there is not None and abs(there - tried.now()) > SKEW_TOLERATED:
        return
    context.clock.adopt(tried)
    if skew := tried.offset:
        tracing.note(CLOCK, f"{skew:.0f}", kind="clock", key=response.host)


@lru_cache(maxsize=4)
def _time_of(date: str) -> float | None:
    """Return a ``Date`` header in seconds since the epoch."""
    try:
        there = parse_time(date)
    except ValueError:
        return None
    return there.timestamp() if 2020 <= there.year < 2100 else None  # no service has another year


def _signer(credentials: Credentials, region: str, service: str, clock: Clock) -> Signer:
    return partial(_sign, credentials, region, service, clock)


def _sign(
    credentials: Credentials,
    region: str,
    service: str,
    clock: Clock,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
) -> Mapping[str, str]:
    """Sign one attempt at a request, after all middlewares."""
    at = clock.now()
    return sign(method, url, headers, body, credentials=credentials, region=region, service=service, at=at)
