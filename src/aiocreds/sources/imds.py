"""Credentials from the EC2 instance metadata service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiocreds._aws.service_errors import OTHERS, REDIRECTS, endpoint_error, log_outcome
from aiocreds._base import tracing
from aiocreds._base.json_credentials import parse_credentials
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import time_limit
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.provider import credential_provider
from aiocreds._core.singleflight import note_role
from aiocreds._profiles import Section, load, profile_name
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, ServiceRefused, SourceUnavailable
from aiocreds.sources._endpoint import unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from aiocreds._core.context import Context
    from aiocreds._http import NoAnswer, Response
    from aiocreds.credentials import Credentials

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
TOKEN_TTL = 21600
RETRIES_ONCE_ANSWERED = 2
TOKEN = re.compile(r"[\w+/=.~-]+", re.ASCII)  # of a metadata service; a page of somebody else's has blanks or tags
ROLE = re.compile(r"(?!\.\.?\Z)[\w+=,.@-]+", re.ASCII)  # what IAM allows, but no path elsewhere


class MetadataService(NamedTuple):
    """The metadata service of this instance, if there is one.

    Attributes:
        url: where it should be.
        timeout: seconds one attempt may take.
        max_retries: None means none as long as it is unknown whether it is there at all, then two.
        v1_allowed: whether to do without a token.
        context: the HTTP session, and which services have answered before.
        expected: somebody has said that there is one: the endpoint or the role is named.
    """

    url: str
    timeout: float
    max_retries: int | None
    v1_allowed: bool
    context: Context
    expected: bool = True

    async def token(self) -> SecretStr | None:
        """A session token; None where v1 has to do.

        Raises:
            CredentialsNotFound: there is no metadata service here, or something else that answers for it.
            ServiceRefused: it answered no.
            SourceUnavailable: it answered before and does not now, or not with a token.
        """
        from aiocreds._http import NoAnswer  # with it comes aiohttp

        try:
            response = await self._request(
                "PUT", TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL)}
            )
        except NoAnswer as silence:
            if not silence.connected or self._answered.get(self.url):
                raise self._absent(silence) from None
            await self._probe(silence)  # the token may have been lost on the way, see the hop limit
            if self.expected or self.url in self._answered:
                self._answered[self.url] = False
            return None
        if response.status == 200:
            token = SecretStr(response.body.decode("latin-1").strip())
            if self._is_of_another(response, proof=TOKEN.fullmatch(token)):
                raise self._no_instance("a page that is no token")
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
        if self._is_of_another(response, proof=ROLE.fullmatch(name), tokens=token is not None):
            raise self._no_instance("a page that names no role")
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
        """Get a page; ``missing`` ends the message of a 404.

        Raises:
            CredentialsNotFound: 404, or it is something else that answers.
            ServiceRefused: the service answered no.
            SourceUnavailable: it did not answer.
        """
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
        from aiocreds._http import NoAnswer

        try:
            response = await self._request("GET", ROLES_PATH, {})
        except NoAnswer:
            raise self._absent(silence) from None
        if response.status in (200, 404) and self.v1_allowed:
            return
        if response.status >= 500 or response.status == 429:
            raise self._refusal(response)
        if self._is_of_another(response):
            raise self._no_instance(f"HTTP {response.status}")
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
        host = self.url.partition("//")[2].partition("/")[0]
        wanted = {TOKEN_PATH: "a token", ROLES_PATH: "the role"}.get(path, "its credentials")
        tracing.note(host, f"asked for {wanted}")
        role = path.removeprefix(ROLES_PATH) if wanted == "its credentials" else ""
        known = self._answered.get(self.url, False)
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
            if self.expected or _is_named(response):
                self._answered.setdefault(self.url, True)
            return response

        try:
            response = await ask(retries + 1)
            if self.max_retries is None and not known and (response.status >= 500 or response.status == 429):
                response = await ask(RETRIES_ONCE_ANSWERED)
        except SourceUnavailable:
            log_outcome(wanted, host, f"for the role {role}" if role else "", "no answer")
            raise
        log_outcome(wanted, host, f"for the role {role}" if role else "", str(response.status))
        return response

    def _absent(self, silence: NoAnswer) -> CredentialsNotFound | SourceUnavailable:
        if self.url in self._answered:
            return silence
        return CredentialsNotFound(
            f"no metadata service answers at {self.url}: this is no EC2 instance, or it is switched off"
        )

    def _is_of_another(self, response: Response, *, proof: object = None, tokens: bool = True) -> bool:
        """Whether something answers here that is no metadata service, as a proxy may where there is no instance.

        Where somebody has named the service, or it has answered before, what answers is taken for it.

        Args:
            response: the answer.
            proof: that it is one of a metadata service; without, an answer counts as one that bears its name, and
                one that tells of trouble and bears no other's.
            tokens: whether tokens arrive from it.
        """
        if self.expected or self.url in self._answered:
            return False
        in_trouble = response.status >= 500 or response.status == 429
        named = response.headers.get("Server") or response.headers.get("Via")
        if proof or _is_named(response) or (in_trouble and not named):
            self._answered[self.url] = tokens
            return False
        return True

    def _no_instance(self, answer: str) -> CredentialsNotFound:
        return CredentialsNotFound(
            f"no metadata service answers at {self.url}, but something else, such as a proxy, with {answer}: this"
            " is no EC2 instance, or its service has to be named in AWS_EC2_METADATA_SERVICE_ENDPOINT"
        )

    def _refusal(
        self, response: Response, *, for_token: bool = False
    ) -> CredentialsNotFound | ServiceRefused | SourceUnavailable:
        if self._is_of_another(response):
            return self._no_instance(f"HTTP {response.status}")
        remedies = {
            401: "it insists on IMDSv2, and took no token; check for a firewall or proxy in between",
            403: "check that the instance's HttpEndpoint is enabled, and for a firewall or proxy in between",
            REDIRECTS: "redirects are not followed; check AWS_EC2_METADATA_SERVICE_ENDPOINT and what answers there",
            OTHERS: "check AWS_EC2_METADATA_SERVICE_ENDPOINT and what answers there",
        }
        if for_token:
            no_v2 = (
                "it has no IMDSv2, and v1 is switched off; allow it in v1_disabled, AWS_EC2_METADATA_V1_DISABLED"
                " or ec2_metadata_v1_disabled"
            )
            remedies |= dict.fromkeys((403, 404, 405), no_v2)
        wanted = "a token" if for_token else "credentials"
        return endpoint_error(response, remedies, said=f"{self.name} answered the request for {wanted}")

    @property
    def _answered(self) -> dict[str, bool]:
        return self.context._answered  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the metadata service at {self.url}"


def _is_named(response: Response) -> bool:
    """Whether an answer bears the name that EC2's own metadata service has, whatever the status."""
    return "EC2" in response.headers.get("Server", "")


ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint"
MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode"
TIMEOUT = 1.0  # seconds
URL = re.compile(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?(/[^?#\s]*)?", re.ASCII | re.IGNORECASE)


@credential_provider
async def from_instance_metadata(
    *,
    timeout: float | timedelta | None = None,
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
        timeout: seconds one attempt may take; by default ``AWS_METADATA_SERVICE_TIMEOUT``, else the profile's
            ``metadata_service_timeout``, else 1.
        max_retries: how often to try again after a failure that may pass; by default one less than
            ``AWS_METADATA_SERVICE_NUM_ATTEMPTS``, else than the profile's ``metadata_service_num_attempts``, says.
            Else one quick attempt as long as it is unknown whether there is a metadata service at all, and two
            retries once it answered.
        endpoint: its URL; by default ``AWS_EC2_METADATA_SERVICE_ENDPOINT``, else the profile's
            ``ec2_metadata_service_endpoint``.
        endpoint_mode: ``"IPv4"`` (``169.254.169.254``) or ``"IPv6"`` (``fd00:ec2::254``), when no endpoint is
            given; by default ``AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE``, else the profile's
            ``ec2_metadata_service_endpoint_mode``; where neither says anything, ``AWS_IMDS_USE_IPV6`` or
            ``imds_use_ipv6`` may.
        v1_disabled: never fall back to v1; by default ``AWS_EC2_METADATA_V1_DISABLED``, else the profile's
            ``ec2_metadata_v1_disabled``.
        context: the environment, the clock and the HTTP session.

    ``AWS_EC2_METADATA_DISABLED`` switches this source off. ``AWS_EC2_INSTANCE_PROFILE_NAME`` or the profile's
    ``ec2_instance_profile_name`` names the role, which is asked for otherwise.

    Raises:
        CredentialsNotFound: there is no such service here, it is switched off, or the instance has no role. So,
            too, where nothing says that there is one, and something else answers at the default address, such as
            a proxy.
        InvalidConfiguration: the endpoint, the mode, the time-out or the number of attempts cannot be used.
        ServiceRefused: the service answered no.
        SourceUnavailable: it answered before and does not now, or not with credentials.

    See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
    """
    if context.flag("AWS_EC2_METADATA_DISABLED"):
        tracing.note("AWS_EC2_METADATA_DISABLED", "set: this source is switched off")
        raise CredentialsNotFound("switched off by AWS_EC2_METADATA_DISABLED")
    config = await load(context, needed=False)
    settings = _Settings(context, config.profile(profile_name(context)))
    setting = "AWS_EC2_INSTANCE_PROFILE_NAME", "ec2_instance_profile_name"
    role = settings.get(*setting)
    service = MetadataService(
        url=settings.url(endpoint, endpoint_mode),
        timeout=settings.timeout() if timeout is None else time_limit(timeout, "timeout"),
        max_retries=settings.retries() if max_retries is None else max_retries,
        v1_allowed=not (settings.v1_disabled() if v1_disabled is None else v1_disabled),
        context=context,
        expected=bool(role or endpoint or endpoint_mode or settings.names_a_service()),
    )
    token = await service.token()
    if role:
        place = settings.place(*setting)
        if not ROLE.fullmatch(role):
            raise InvalidConfiguration(f"{place} is no name of a role: correct or remove it")
        missing = f" of the name in {place}: correct or remove it"
    else:
        role, missing = await service.role(token), ""
    note_role(role)
    response = await service.get(ROLES_PATH + role, token, missing=missing, retry_if=unreadable)
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

    def names_a_service(self) -> bool:
        """Whether a variable or the profile says where the service is, and so that there is one."""
        return bool(self.get(*ENDPOINT) or self.get(*MODE))

    def v1_disabled(self) -> bool:
        return self.flag("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled")

    def flag(self, variable: str, key: str) -> bool:
        return (self.get(variable, key) or "").lower() in ("true", "1")

    def timeout(self) -> float:
        setting = "AWS_METADATA_SERVICE_TIMEOUT", "metadata_service_timeout"
        return self.number(*setting, "seconds", r"\d{1,5}(\.\d{1,6})?") or TIMEOUT

    def retries(self) -> int | None:
        setting = "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "metadata_service_num_attempts"
        attempts = self.number(*setting, "a number of attempts", r"\d{1,3}")
        return None if attempts is None else int(attempts) - 1

    def number(self, variable: str, key: str, what: str, pattern: str) -> float | None:
        text = self.get(variable, key)
        if text is None:
            return None
        place = self.place(variable, key)
        if not re.fullmatch(pattern, text, re.ASCII) or not float(text):
            raise InvalidConfiguration(f"{place} is {text[:20]!r}: write {what}, such as 3")
        tracing.note(place, text)
        return float(text)

    def url(self, endpoint: str | None, mode: str | None) -> str:
        variable, key = ENDPOINT
        place = "endpoint" if endpoint else self.place(variable, key)
        if endpoint := endpoint or self.get(variable, key):
            tracing.note(place, endpoint)
            if not URL.fullmatch(endpoint):
                raise InvalidConfiguration(f"{place} is not a URL: write one such as {ENDPOINTS['ipv4']}")
            return endpoint.rstrip("/")
        variable, key = MODE
        place = "endpoint_mode" if mode else self.place(variable, key)
        usual = "IPv6" if self.flag("AWS_IMDS_USE_IPV6", "imds_use_ipv6") else "IPv4"
        mode = mode or self.get(variable, key) or usual
        if mode.lower() not in ENDPOINTS:
            tracing.note(place, mode)
            raise InvalidConfiguration(f"{place} is {mode[:20]!r}: write IPv4 or IPv6")
        return ENDPOINTS[mode.lower()]
