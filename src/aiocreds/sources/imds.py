"""Credentials from the EC2 instance metadata service."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiocreds.config import Section, load, profile_name
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, ServiceRefused, SourceUnavailable
from aiocreds.parse import parse_credentials, parse_object
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
    role = settings.get("AWS_EC2_INSTANCE_PROFILE_NAME", "ec2_instance_profile_name") or await service.role(token)
    response = await service.get(ROLES_PATH + role, token, retry_if=_unreadable)
    return parse_credentials(
        response.body,
        provider="imds",
        origin=f"the metadata service at {response.host}",
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
            if not endpoint.startswith(("http://", "https://")) or not endpoint.isprintable():
                raise InvalidConfiguration(f"{place} is not a URL such as {ENDPOINTS['ipv4']}")
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
            if not silence.connected:
                raise self._absent(silence) from None
            await self._probe(silence)  # the token may have been lost on the way, see the hop limit
            self.context.answered[self.url] = False
            return None
        if response.status == 200:
            token = response.body.decode("latin-1").strip()
            if not token or not token.isascii() or not token.isprintable():
                raise SourceUnavailable(f"{self._name} answered the token request with something else than a token")
            return token
        if response.status in (403, 404, 405) and self.v1_allowed:
            return None
        raise self._refusal(response, "the token request")

    async def role(self, token: str | None) -> str:
        """The name of the instance's role."""
        response = await self.get(ROLES_PATH, token)
        name = response.body.decode("latin-1").strip().split("\n")[0].strip()
        if not name or not name.isprintable() or "<" in name or " " in name:
            raise SourceUnavailable(f"{self._name} answered with something else than the name of a role")
        return name

    async def get(
        self, path: str, token: str | None, *, retry_if: Callable[[Response], bool] | None = None
    ) -> Response:
        headers = {} if token is None else {"X-aws-ec2-metadata-token": token}
        response = await self._request("GET", path, headers, retry_if)
        if response.status == 200:
            return response
        if response.status == 404:
            raise CredentialsNotFound(f"{self._name} knows no role: attach an instance profile to this instance")
        raise self._refusal(response, "the request for credentials")

    async def _probe(self, silence: NoAnswer) -> None:
        """Find out whether only the token's answer is missing."""
        from aiocreds.http import NoAnswer

        try:
            response = await self._request("GET", ROLES_PATH, {})
        except NoAnswer:
            raise self._absent(silence) from None
        if response.status == 200 and self.v1_allowed:
            return
        raise SourceUnavailable(
            f"{self._name} answers, but its answer to the token request does not arrive. In a container raise the"
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

    def _refusal(self, response: Response, what: str) -> ServiceRefused | SourceUnavailable:
        status = response.status
        if status >= 500 or status == 429:
            return SourceUnavailable(f"{self._name} answered {what} with HTTP {status}; it is in trouble or busy")
        if status == 401:
            remedy = "IMDSv2 is required here, and the token was refused or none was to be had"
        elif status in (403, 404, 405) and not self.v1_allowed:
            remedy = "IMDSv2 is not to be had, and v1 is switched off (v1_disabled, AWS_EC2_METADATA_V1_DISABLED)"
        elif status == 403:
            remedy = "access to instance metadata is switched off (HttpEndpoint), or a firewall or proxy answered"
        else:
            remedy = "check AWS_EC2_METADATA_SERVICE_ENDPOINT and what answers there"
        return ServiceRefused(f"{self._name} answered {what} with HTTP {status}: {remedy}", status=status)

    @property
    def _name(self) -> str:
        return f"the metadata service at {self.url}"


def _unreadable(response: Response) -> bool:
    if response.status != 200:
        return False
    try:
        parse_object(response.body, origin="")
    except SourceUnavailable:
        return True
    return False
