"""Credentials from the EC2 instance metadata service."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiocreds.config import Section, load, profile_name
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, ServiceRefused, SourceUnavailable
from aiocreds.parse import parse_credentials, unreadable
from aiocreds.provider import credential_provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds.credentials import Credentials
    from aiocreds.http import NoAnswer, Response

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
TOKEN_TTL = 21600
RETRIES_ONCE_ANSWERED = 2
URL = re.compile(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?(/[^?#\s]*)?", re.ASCII | re.IGNORECASE)
ROLE = re.compile(r"[\w+=,.@-]+", re.ASCII)  # what IAM lets a role be called


@credential_provider
async def from_instance_metadata(
    *,
    timeout: float | timedelta = 1.0,
    max_retries: int | None = None,
    endpoint: str | None = None,
    endpoint_mode: Literal["IPv4", "IPv6"] | None = None,
    v1_disabled: bool | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """The credentials of this EC2 instance's role, by IMDSv2, or by v1 where v2 is not to be had.

    While the service is down, credentials that it gave before are used past their expiration: EC2 decides when
    they really end.

    Args:
        timeout: seconds one attempt may take.
        max_retries: how often to try again after a failure that may pass. By default one quick attempt as long
            as it is unknown whether there is a metadata service at all, and two retries once it answered.
        endpoint: its URL; by default ``AWS_EC2_METADATA_SERVICE_ENDPOINT``, else the profile's
            ``ec2_metadata_service_endpoint``.
        endpoint_mode: ``"IPv4"`` (``169.254.169.254``) or ``"IPv6"`` (``fd00:ec2::254``), when no endpoint is
            given; by default ``AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE``, else the profile's
            ``ec2_metadata_service_endpoint_mode``.
        v1_disabled: never fall back to v1; by default ``AWS_EC2_METADATA_V1_DISABLED``, else the profile's
            ``ec2_metadata_v1_disabled``.
        context: the environment, the clock and the HTTP session.

    ``AWS_EC2_METADATA_DISABLED`` switches this source off. ``AWS_EC2_INSTANCE_PROFILE_NAME`` or the profile's
    ``ec2_instance_profile_name`` names the role, which is asked for otherwise.

    Raises:
        CredentialsNotFound: there is no such service here, it is switched off, or the instance has no role.
        InvalidConfiguration: the endpoint or the mode cannot be used.
        ServiceRefused: the service answered no.
        SourceUnavailable: it answered before and does not now, or not with credentials.

    See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
    """
    if context.flag("AWS_EC2_METADATA_DISABLED"):
        raise CredentialsNotFound("switched off by AWS_EC2_METADATA_DISABLED")
    config = await load(context)
    settings = _Settings(context, config.profile(profile_name(context)))
    service = _Service(
        url=settings.url(endpoint, endpoint_mode),
        timeout=timeout.total_seconds() if isinstance(timeout, timedelta) else timeout,
        max_retries=max_retries,
        v1_allowed=not (settings.v1_disabled() if v1_disabled is None else v1_disabled),
        context=context,
    )
    token = await service.token()
    setting = "AWS_EC2_INSTANCE_PROFILE_NAME", "ec2_instance_profile_name"
    if role := settings.get(*setting):
        place = f" of the name in {settings.place(*setting)}: correct or remove it"
    else:
        role, place = await service.role(token), ""
    response = await service.get(ROLES_PATH + role, token, missing=place, retry_if=unreadable)
    return parse_credentials(
        response.body,
        provider="imds",
        origin=service.name,
        remedy="check what answers there",
        now=context.clock.now(),
        accept_expired=True,
    )


class _Settings(NamedTuple):
    context: Context
    section: Section | None

    def get(self, variable: str, key: str) -> str | None:
        return self.context.setting(variable) or (self.section.get(key) if self.section else None)

    def place(self, variable: str, key: str) -> str:
        if self.section is None or self.context.setting(variable):
            return variable
        return f"{key} ({self.section.where(key)})"

    def v1_disabled(self) -> bool:
        value = self.get("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled")
        return (value or "").lower() in ("true", "1")

    def url(self, endpoint: str | None, mode: str | None) -> str:
        variable, key = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint"
        place = "endpoint" if endpoint else self.place(variable, key)
        if endpoint := endpoint or self.get(variable, key):
            if not URL.fullmatch(endpoint):
                raise InvalidConfiguration(f"{place} is not a URL: write one such as {ENDPOINTS['ipv4']}")
            return endpoint.rstrip("/")
        variable, key = f"{variable}_MODE", f"{key}_mode"
        place = "endpoint_mode" if mode else self.place(variable, key)
        mode = mode or self.get(variable, key) or "IPv4"
        if mode.lower() not in ENDPOINTS:
            raise InvalidConfiguration(f"{place} is {mode[:20]!r}: write IPv4 or IPv6")
        return ENDPOINTS[mode.lower()]


class _Service(NamedTuple):
    """The metadata service of this instance, if there is one."""

    url: str
    timeout: float
    max_retries: int | None
    v1_allowed: bool
    context: Context

    async def token(self) -> str | None:
        """A session token; None where v1 has to do."""
        from aiocreds.http import NoAnswer  # with it comes aiohttp

        try:
            response = await self._request(
                "PUT", TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL)}
            )
        except NoAnswer as silence:
            if not silence.connected or self.context.answered.get(self.url):
                raise self._absent(silence) from None
            await self._probe(silence)  # the token may have been lost on the way, see the hop limit
            self.context.answered[self.url] = False
            return None
        if response.status == 200:
            token = response.body.decode("latin-1").strip()
            if not token or not token.isascii() or not token.isprintable():
                raise SourceUnavailable(
                    f"{self.name} answered the request for a token with something else; check what answers there"
                )
            return token
        if response.status in (403, 404, 405) and self.v1_allowed:
            return None
        raise self._refusal(response, for_token=True)

    async def role(self, token: str | None) -> str:
        """The name of the instance's role."""
        response = await self.get(ROLES_PATH, token)
        name = response.body.decode("latin-1").strip().partition("\n")[0].strip()
        if not ROLE.fullmatch(name):
            raise SourceUnavailable(f"{self.name} answered with no name of a role; check what answers there")
        return name

    async def get(
        self,
        path: str,
        token: str | None,
        *,
        missing: str = "",
        retry_if: Callable[[Response], bool] | None = None,
    ) -> Response:
        headers = {} if token is None else {"X-aws-ec2-metadata-token": token}
        response = await self._request("GET", path, headers, retry_if)
        if response.status == 200:
            return response
        if response.status == 404:
            missing = missing or ": attach an instance profile to this instance"
            raise CredentialsNotFound(f"{self.name} knows no role{missing}")
        raise self._refusal(response)

    async def _probe(self, silence: NoAnswer) -> None:
        """Find out whether only the token's answer is missing."""
        from aiocreds.http import NoAnswer

        try:
            response = await self._request("GET", ROLES_PATH, {})
        except NoAnswer:
            raise self._absent(silence) from None
        if response.status in (200, 404) and self.v1_allowed:
            return
        if response.status >= 500 or response.status == 429:
            raise self._refusal(response)
        raise SourceUnavailable(
            f"{self.name} answers, but its answer to the token request does not arrive: in a container, raise the"
            " instance's HttpPutResponseHopLimit to 2"
            + ("" if self.v1_allowed else "; IMDSv1, which would work, is switched off")
        )

    async def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        retry_if: Callable[[Response], bool] | None = None,
    ) -> Response:
        known = self.context.answered.get(self.url, False)
        retries = self.max_retries
        if retries is None:
            retries = RETRIES_ONCE_ANSWERED if known else 0

        async def ask(attempts: int) -> Response:
            response = await self.context.http.request(
                method,
                self.url + path,
                provider="from_instance_metadata",
                headers=headers,
                timeout=self.timeout,
                attempts=attempts,
                retry_if=retry_if,
            )
            self.context.answered.setdefault(self.url, True)
            return response

        response = await ask(retries + 1)
        if self.max_retries is None and not known and (response.status >= 500 or response.status == 429):
            response = await ask(RETRIES_ONCE_ANSWERED)
        return response

    def _absent(self, silence: NoAnswer) -> CredentialsNotFound | SourceUnavailable:
        if self.url in self.context.answered:
            return silence
        return CredentialsNotFound(
            f"no metadata service answers at {self.url}: this is no EC2 instance, or it is switched off"
        )

    def _refusal(self, response: Response, *, for_token: bool = False) -> ServiceRefused | SourceUnavailable:
        status = response.status
        said = (
            f"{self.name} answered the request for {'a token' if for_token else 'credentials'} with HTTP {status}"
        )
        if status >= 500 or status == 429:
            trouble = "is in trouble" if status >= 500 else "is asked too often"
            return SourceUnavailable(f"{said}: it {trouble}; asking again later may help")
        if status == 401:
            remedy = "it insists on IMDSv2, and took no token; check for a firewall or proxy in between"
        elif for_token and status in (403, 404, 405):
            remedy = (
                "it has no IMDSv2, and v1 is switched off; allow it in v1_disabled, AWS_EC2_METADATA_V1_DISABLED"
                " or ec2_metadata_v1_disabled"
            )
        elif status == 403:
            remedy = "check that the instance's HttpEndpoint is enabled, and for a firewall or proxy in between"
        else:
            remedy = "check AWS_EC2_METADATA_SERVICE_ENDPOINT and what answers there"
        return ServiceRefused(f"{said}: {remedy}", status=status)

    @property
    def name(self) -> str:
        return f"the metadata service at {self.url}"
