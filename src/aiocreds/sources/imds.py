"""Credentials from the EC2 instance metadata service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiocreds import trace
from aiocreds.aws.metadata import ROLE, ROLES_PATH, MetadataService
from aiocreds.config import Section, load, profile_name
from aiocreds.context import DEFAULT, Context
from aiocreds.durations import time_limit
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration
from aiocreds.flight import note_role
from aiocreds.parse import parse_credentials, unreadable
from aiocreds.provider import credential_provider

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds.credentials import Credentials

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
        trace.note("AWS_EC2_METADATA_DISABLED", "set: this source is switched off")
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
        trace.note(place, text)
        return float(text)

    def url(self, endpoint: str | None, mode: str | None) -> str:
        variable, key = ENDPOINT
        place = "endpoint" if endpoint else self.place(variable, key)
        if endpoint := endpoint or self.get(variable, key):
            trace.note(place, endpoint)
            if not URL.fullmatch(endpoint):
                raise InvalidConfiguration(f"{place} is not a URL: write one such as {ENDPOINTS['ipv4']}")
            return endpoint.rstrip("/")
        variable, key = MODE
        place = "endpoint_mode" if mode else self.place(variable, key)
        usual = "IPv6" if self.flag("AWS_IMDS_USE_IPV6", "imds_use_ipv6") else "IPv4"
        mode = mode or self.get(variable, key) or usual
        if mode.lower() not in ENDPOINTS:
            trace.note(place, mode)
            raise InvalidConfiguration(f"{place} is {mode[:20]!r}: write IPv4 or IPv6")
        return ENDPOINTS[mode.lower()]
