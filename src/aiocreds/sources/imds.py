"""Get credentials from the EC2 instance metadata service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiocreds._aws.service_errors import OTHERS, REDIRECTS, endpoint_error
from aiocreds._base import tracing
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import time_limit
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import credential_provider
from aiocreds._core.singleflight import note_role
from aiocreds._profiles import Section, Setting, load, profile_name
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, SourceUnavailable
from aiocreds.sources._endpoint import Endpoint

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds._http import NoAnswer, Response
    from aiocreds.credentials import Credentials
    from aiocreds.errors import ServiceRefused

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint"
MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode"
PROFILE_NAME = "AWS_EC2_INSTANCE_PROFILE_NAME", "ec2_instance_profile_name"
URL = re.compile(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?(/[^?#\s]*)?", re.ASCII | re.IGNORECASE)
TIMEOUT = 1.0  # seconds
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
TOKEN_TTL = 21600  # seconds
RETRIES_ONCE_ANSWERED = 2
TOKEN = re.compile(r"[\w+/=.~-]+", re.ASCII)  # a page of another server has blanks or tags
ROLE = re.compile(r"(?!\.\.?\Z)[\w+=,.@-]+", re.ASCII)  # as in IAM, and safe in a path
NO_PROFILE = ": attach an instance profile to this instance"  # of a 404


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
    """Get the credentials of this EC2 instance's role, by IMDSv2, or by v1 where v2 is not available.

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
        tracing.note("AWS_EC2_METADATA_DISABLED", kind="switched off")
        raise CredentialsNotFound("switched off by AWS_EC2_METADATA_DISABLED")
    config = await load(context, needed=False)
    settings = _Settings(context, config.profile(profile_name(context)))
    named = settings.get(*PROFILE_NAME)
    service = MetadataService(
        url=settings.url(endpoint, endpoint_mode),
        timeout=settings.timeout() if timeout is None else time_limit(timeout, "timeout"),
        max_retries=settings.retries() if max_retries is None else max_retries,
        v1_allowed=not (settings.v1_disabled() if v1_disabled is None else v1_disabled),
        context=context,
        expected=bool(named or endpoint or endpoint_mode or settings.names_a_service()),
    )
    token = await service.token()
    if named is None:
        return await service.credentials(await service.role(token), token)
    if not ROLE.fullmatch(named.value):
        raise InvalidConfiguration(f"{named.place} is no name of a role: correct or remove it")
    missing = f" of the name in {named.place}: correct or remove it"
    return await service.credentials(named.value, token, missing=missing)


class MetadataService(NamedTuple):
    """The metadata service of this instance, if there is one.

    Attributes:
        url: where it should be.
        timeout: seconds one attempt may take.
        max_retries: None means none as long as it is unknown whether it is there at all, then two.
        v1_allowed: go on without a token.
        context: the HTTP session, and which services have answered before.
        expected: a setting says that there is one: the endpoint or the role is named.
    """

    url: str
    timeout: float
    max_retries: int | None
    v1_allowed: bool
    context: Context
    expected: bool = True

    async def token(self) -> SecretStr | None:
        """Return a session token; None for v1.

        Raises:
            CredentialsNotFound: there is no metadata service here, or something else that answers for it.
            ServiceRefused: it answered no.
            SourceUnavailable: it answered before and does not now, or not with a token.
        """
        from aiocreds._http import NoAnswer  # loads aiohttp

        try:
            response = await self._request(
                "PUT", TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL)}
            )
        except NoAnswer as no_answer:
            if not no_answer.connected or self._answered.get(self.url):
                raise self._absent(no_answer) from None
            await self._probe(no_answer)  # the hop limit may have stopped the answer
            if self.expected or self.url in self._answered:
                self._answered[self.url] = False
            return None
        if response.status == 200:
            token = SecretStr(response.body.decode("latin-1").strip())
            if self._is_other_server(response, proof=TOKEN.fullmatch(token)):
                raise self._other_server("a page that is no token")
            if not token or not token.isascii() or not token.isprintable():
                raise SourceUnavailable(
                    f"{self.name} answered the request for a token with something else; check what answers there"
                )
            return token
        if response.status in (403, 404, 405) and self.v1_allowed:
            return None
        raise self._refusal(response, for_token=True)

    async def role(self, token: str | None) -> str:
        """Return the name of the instance's role.

        Raises:
            CredentialsNotFound: it has none, or something else answers.
            ServiceRefused: the service answered no.
            SourceUnavailable: it did not answer, or not with the name of a role.
        """
        response = await self._request("GET", ROLES_PATH, _token_headers(token))
        if response.status != 200:
            raise self._refusal(response)
        name = response.body.decode("latin-1").strip().partition("\n")[0].strip()
        if self._is_other_server(response, proof=ROLE.fullmatch(name), tokens=token is not None):
            raise self._other_server("a page that names no role")
        if not ROLE.fullmatch(name):
            raise SourceUnavailable(f"{self.name} answered with no name of a role; check what answers there")
        return name

    async def credentials(self, role: str, token: str | None, *, missing: str = NO_PROFILE) -> Credentials:
        """Return the credentials of a role; ``missing`` ends the message of a 404.

        Raises:
            CredentialsNotFound: there is no such role, or something else answers.
            ServiceRefused: the service answered no.
            SourceUnavailable: it did not answer, or not with credentials.
        """
        note_role(role)
        return await self._endpoint().credentials(
            self.url + ROLES_PATH + role,
            headers=_token_headers(token),
            wanted="its credentials",
            target=f"for the role {role}",
            stamp="imds",
            origin=self.name,
            remedy="check what answers there",
            refused=lambda response: self._refusal(response, missing=missing),
            accept_expired=True,
        )

    async def _probe(self, no_answer: NoAnswer) -> None:
        """Check that only the answer to the token request is missing."""
        from aiocreds._http import NoAnswer

        try:
            response = await self._request("GET", ROLES_PATH, {})
        except NoAnswer:
            raise self._absent(no_answer) from None
        if response.status in (200, 404) and self.v1_allowed:
            return
        if response.is_transient:
            raise self._refusal(response)
        if self._is_other_server(response):
            raise self._other_server(f"HTTP {response.status}")
        raise SourceUnavailable(
            f"{self.name} answers, but its answer to the token request does not arrive: in a container, raise the"
            " instance's HttpPutResponseHopLimit to 2"
            + ("" if self.v1_allowed else "; IMDSv1, which would work, is switched off")
        )

    async def _request(self, method: str, path: str, headers: dict[str, str]) -> Response:
        wanted = "a token" if path == TOKEN_PATH else "the role"
        return await self._endpoint().request(method, self.url + path, headers=headers, wanted=wanted)

    def _endpoint(self) -> Endpoint:
        """Return the endpoint, with one quick attempt as long as it is unknown whether there is a service."""
        provider = "from_instance_metadata"
        if self.max_retries is not None:
            return Endpoint(self.context, provider, self.timeout, self.max_retries + 1, 0, self._note_answer)
        known = self._answered.get(self.url, False)
        attempts, further = (RETRIES_ONCE_ANSWERED + 1, 0) if known else (1, RETRIES_ONCE_ANSWERED)
        return Endpoint(self.context, provider, self.timeout, attempts, further, self._note_answer)

    def _note_answer(self, response: Response) -> None:
        if self.expected or _is_named(response):
            self._answered.setdefault(self.url, True)

    def _absent(self, no_answer: NoAnswer) -> CredentialsNotFound | SourceUnavailable:
        if self.url in self._answered:
            return no_answer
        return CredentialsNotFound(
            f"no metadata service answers at {self.url}: this is no EC2 instance, or it is switched off"
        )

    def _is_other_server(self, response: Response, *, proof: object = None, tokens: bool = True) -> bool:
        """Return whether something else than a metadata service answers, such as a proxy outside of EC2.

        Where the service is configured, or has answered before, any answer counts as its own.

        Args:
            response: the answer.
            proof: the content is that of a metadata service; else the ``Server`` header may prove it, or a
                transient error without the name of another server.
            tokens: whether tokens arrive from it.
        """
        if self.expected or self.url in self._answered:
            return False
        named = response.headers.get("Server") or response.headers.get("Via")
        if proof or _is_named(response) or (response.is_transient and not named):
            self._answered[self.url] = tokens
            return False
        return True

    def _other_server(self, answer: str) -> CredentialsNotFound:
        tracing.note(self.url.partition("//")[2].partition("/")[0], kind="other server")
        return CredentialsNotFound(
            f"no metadata service answers at {self.url}, but something else, such as a proxy, with {answer}: this"
            " is no EC2 instance, or its service has to be named in AWS_EC2_METADATA_SERVICE_ENDPOINT"
        )

    def _refusal(
        self, response: Response, *, for_token: bool = False, missing: str = NO_PROFILE
    ) -> CredentialsNotFound | ServiceRefused | SourceUnavailable:
        status = response.status
        if status == 404 and not for_token:
            return CredentialsNotFound(f"{self.name} knows no role{missing}")
        if self._is_other_server(response):
            return self._other_server(f"HTTP {status}")
        check = "check AWS_EC2_METADATA_SERVICE_ENDPOINT and what answers there"
        remedies = {
            401: "it insists on IMDSv2, and took no token; check for a firewall or proxy in between",
            403: "check that the instance's HttpEndpoint is enabled, and for a firewall or proxy in between",
            REDIRECTS: f"redirects are not followed; {check}",
            OTHERS: check,
        }
        if for_token:
            without_v2 = (
                "it has no IMDSv2, and v1 is switched off; allow it in v1_disabled, AWS_EC2_METADATA_V1_DISABLED"
                " or ec2_metadata_v1_disabled"
            )
            remedies |= dict.fromkeys((403, 404, 405), without_v2)
        wanted = "a token" if for_token else "credentials"
        return endpoint_error(response, remedies, said=f"{self.name} answered the request for {wanted}")

    @property
    def _answered(self) -> dict[str, bool]:
        return self.context.cached("metadata services", dict[str, bool])  # by URL, and whether tokens arrive

    @property
    def name(self) -> str:
        """The name of the service in messages."""
        return f"the metadata service at {self.url}"


def _token_headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"X-aws-ec2-metadata-token": token}


def _is_named(response: Response) -> bool:
    """Return whether an answer has the name of EC2's own metadata service in a header."""
    return "EC2" in response.headers.get("Server", "")


class _Settings(NamedTuple):
    context: Context
    section: Section | None

    def get(self, variable: str, key: str) -> Setting | None:
        if value := self.context.setting(variable):
            return Setting(value, variable)
        return None if self.section is None else self.section.setting(key)

    def names_a_service(self) -> bool:
        """Return whether a variable or the profile names the service, so that there is one."""
        return bool(self.get(*ENDPOINT) or self.get(*MODE))

    def v1_disabled(self) -> bool:
        return self.flag("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled")

    def flag(self, variable: str, key: str) -> bool:
        setting = self.get(variable, key)
        return setting is not None and setting.value.lower() in ("true", "1")

    def timeout(self) -> float:
        setting = self.get("AWS_METADATA_SERVICE_TIMEOUT", "metadata_service_timeout")
        return _number(setting, "seconds", r"\d{1,5}(\.\d{1,6})?") or TIMEOUT

    def retries(self) -> int | None:
        setting = self.get("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "metadata_service_num_attempts")
        attempts = _number(setting, "a number of attempts", r"\d{1,3}")
        return None if attempts is None else int(attempts) - 1

    def url(self, endpoint: str | None, mode: str | None) -> str:
        setting = Setting(endpoint, "endpoint") if endpoint else self.get(*ENDPOINT)
        if setting is not None:
            tracing.note(setting.place, setting.value)
            if not URL.fullmatch(setting.value):
                raise InvalidConfiguration(f"{setting.place} is not a URL: write one such as {ENDPOINTS['ipv4']}")
            return setting.value.rstrip("/")
        usual = "ipv6" if self.flag("AWS_IMDS_USE_IPV6", "imds_use_ipv6") else "ipv4"
        setting = Setting(mode, "endpoint_mode") if mode else self.get(*MODE)
        if setting is None:
            return ENDPOINTS[usual]
        if (url := ENDPOINTS.get(setting.value.lower())) is None:
            tracing.note(setting.place, setting.value)
            raise InvalidConfiguration(f"{setting.place} is {setting.value[:20]!r}: write IPv4 or IPv6")
        return url


def _number(setting: Setting | None, what: str, pattern: str) -> float | None:
    if setting is None:
        return None
    if not re.fullmatch(pattern, setting.value, re.ASCII) or not float(setting.value):
        raise InvalidConfiguration(f"{setting.place} is {setting.value[:20]!r}: write {what}, such as 3")
    tracing.note(setting.place, setting.value)
    return float(setting.value)
