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
from aiocreds.parse import parse_credentials, unreadable
from aiocreds.provider import credential_provider

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds.credentials import Credentials

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
URL = re.compile(r"https?://(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?(/[^?#\s]*)?", re.ASCII | re.IGNORECASE)


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
        trace.note("AWS_EC2_METADATA_DISABLED", "set: this source is switched off")
        raise CredentialsNotFound("switched off by AWS_EC2_METADATA_DISABLED")
    config = await load(context, needed=False)
    settings = _Settings(context, config.profile(profile_name(context)))
    service = MetadataService(
        url=settings.url(endpoint, endpoint_mode),
        timeout=time_limit(timeout, "timeout"),
        max_retries=max_retries,
        v1_allowed=not (settings.v1_disabled() if v1_disabled is None else v1_disabled),
        context=context,
    )
    token = await service.token()
    setting = "AWS_EC2_INSTANCE_PROFILE_NAME", "ec2_instance_profile_name"
    if role := settings.get(*setting):
        place = settings.place(*setting)
        if not ROLE.fullmatch(role):
            raise InvalidConfiguration(f"{place} is no name of a role: correct or remove it")
        missing = f" of the name in {place}: correct or remove it"
    else:
        role, missing = await service.role(token), ""
    trace.note_role(role)
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

    def v1_disabled(self) -> bool:
        value = self.get("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled")
        return (value or "").lower() in ("true", "1")

    def url(self, endpoint: str | None, mode: str | None) -> str:
        variable, key = "AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint"
        place = "endpoint" if endpoint else self.place(variable, key)
        if endpoint := endpoint or self.get(variable, key):
            if not URL.fullmatch(endpoint):
                raise InvalidConfiguration(f"{place} is not a URL: write one such as {ENDPOINTS['ipv4']}")
            trace.note(place, endpoint)
            return endpoint.rstrip("/")
        variable, key = f"{variable}_MODE", f"{key}_mode"
        place = "endpoint_mode" if mode else self.place(variable, key)
        mode = mode or self.get(variable, key) or "IPv4"
        if mode.lower() not in ENDPOINTS:
            raise InvalidConfiguration(f"{place} is {mode[:20]!r}: write IPv4 or IPv6")
        return ENDPOINTS[mode.lower()]
