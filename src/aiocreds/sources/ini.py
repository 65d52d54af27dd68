"""Credentials from a profile of the shared config and credentials files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiocreds.config import Section, SharedConfig, load, profile_name
from aiocreds.config.walk import SSO_KEYS, Kind, Step, walk
from aiocreds.context import DEFAULT, Context
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration
from aiocreds.provider import Provider

if TYPE_CHECKING:
    from aiocreds.aws.client import ClientConfig
    from aiocreds.sources.assume_role import MfaCode

CONTAINER_RETRIES = 2
LATER = {
    Kind.WEB_IDENTITY: "web identity",
    Kind.SSO: "IAM Identity Center (SSO)",
    Kind.LOGIN: "aws login",
}


def from_ini(
    profile: str | None = None,
    *,
    credentials_file: str | None = None,
    config_file: str | None = None,
    mfa_code: MfaCode | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Provider:
    """Credentials from a profile of the shared files. Both files are read anew when they change.

    ::

        [profile app]
        role_arn = arn:aws:iam::123456789012:role/app
        source_profile = base

    A profile may hold a role (``role_arn`` with ``source_profile``, at any depth, or with
    ``credential_source`` ``Environment``, ``Ec2InstanceMetadata`` or ``EcsContainer``; also ``external_id``,
    ``mfa_serial``, ``duration_seconds``, ``role_session_name``, ``region``), static keys (``aws_access_key_id``,
    ``aws_secret_access_key``, ``aws_session_token``, ``aws_account_id``) or a ``credential_process``. Web identity,
    IAM Identity Center (SSO) and ``aws login`` are not supported yet: such a profile is an error that says so.

    Args:
        profile: by default ``AWS_PROFILE``, else ``default``.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        mfa_code: ``async (serial_number) -> str``, asked for profiles with ``mfa_serial``; only while a caller
            waits, and one prompt at a time in a process.
        client: how STS is called; what it leaves open comes from the environment and the profile.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        CredentialsNotFound: the profile holds no credentials, or nobody named one and there is no ``default``.
        InvalidConfiguration: a profile is missing or wrong; the message names file and line.
        ServiceRefused: STS answered no.
        SourceUnavailable: STS or the process failed.

    See https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    resolver = _Profile(
        profile,
        credentials_file=credentials_file,
        config_file=config_file,
        mfa_code=mfa_code,
        client=client,
        context=context,
    )
    return Provider(resolver.fetch, name="from_ini", context=context, inner=resolver.sources)


class _Profile:
    """Fetches a profile's credentials, and keeps those its roles are assumed with."""

    def __init__(
        self,
        profile: str | None,
        *,
        credentials_file: str | None,
        config_file: str | None,
        mfa_code: MfaCode | None,
        client: ClientConfig | None,
        context: Context,
    ) -> None:
        self.profile = profile
        self.credentials_file = credentials_file
        self.config_file = config_file
        self.mfa_code = mfa_code
        self.client = client
        self.context = context
        self.sources: list[Provider] = []
        self.built: tuple[tuple[SharedConfig, str] | None, list[Provider]] = None, []

    async def fetch(self) -> Credentials:
        config = await load(self.context, credentials_file=self.credentials_file, config_file=self.config_file)
        name = profile_name(self.context, self.profile)
        steps = walk(config, name)
        built_for, sources = self.built
        if built_for != (config, name):
            # Only when the files say something new: what the sources hold is still good otherwise.
            sources = self._sources(config, steps)
            self.sources[:] = sources
            self.built = (config, name), sources
        return await self._step(config, steps, 0, sources)

    def _sources(self, config: SharedConfig, steps: list[Step]) -> list[Provider]:
        """A provider for each step behind the first; roles share none, since their settings may differ."""
        sources: list[Provider] = []
        for number in range(len(steps) - 1, 0, -1):
            sources.insert(
                0,
                Provider(
                    partial(self._step, config, steps, number, list(sources)),
                    name=f"profile {steps[number].section.name!r}",
                    context=self.context,
                ),
            )
        return sources

    async def _step(
        self, config: SharedConfig, steps: list[Step], number: int, sources: list[Provider]
    ) -> Credentials:
        section, kind = steps[number]
        match kind:
            case Kind.STATIC:
                return _static(section)
            case Kind.PROCESS:
                from aiocreds.sources.process import run_profile_process  # with it comes subprocess

                return await run_profile_process(section, context=self.context)
            case Kind.CREDENTIAL_SOURCE:
                return await _credential_source(section, self.context)
            case Kind.ROLE:
                return await self._role(config, section, steps[0].section, sources[0])
            case Kind.WEB_IDENTITY | Kind.SSO | Kind.LOGIN:
                key = next(key for key in (kind.value, *SSO_KEYS) if section.get(key))
                raise InvalidConfiguration(
                    f"profile {section.name!r} uses {LATER[kind]} ({section.where(key)}), which this version of"
                    " aiocreds does not support yet: use another profile, such as one whose credential_process is"
                    f" aws configure export-credentials --profile {section.name} --format process"
                )

    async def _role(
        self, config: SharedConfig, section: Section, outermost: Section, source: Provider
    ) -> Credentials:
        from aiocreds.aws.client import ClientConfig, Surroundings  # most profiles call nothing
        from aiocreds.sources.assume_role import assume

        parameters = {
            "RoleArn": section.get("role_arn"),
            "RoleSessionName": section.get("role_session_name"),
            "DurationSeconds": _duration(section),
            "ExternalId": section.get("external_id"),
            "SerialNumber": section.get("mfa_serial"),
        }
        return await assume(
            {name: value for name, value in parameters.items() if value is not None},
            source=source,
            mfa_code=self.mfa_code,
            client=self.client or ClientConfig(),
            around=Surroundings(self.context, config, section, outermost),
            mfa_place=f"profile {section.name!r} ({section.where('mfa_serial')})",
        )


def _static(section: Section) -> Credentials:
    return Credentials(
        section.get("aws_access_key_id") or "",
        section.get("aws_secret_access_key") or "",
        session_token=section.get("aws_session_token"),
        account_id=section.get("aws_account_id"),
        provider="ini",
    )


def _duration(section: Section) -> int:
    text = section.get("duration_seconds") or "3600"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidConfiguration(
            f"profile {section.name!r} has a duration_seconds that is no whole number"
            f" ({section.where('duration_seconds')}): write seconds, such as 3600"
        )
    return int(text)


async def _credential_source(section: Section, context: Context) -> Credentials:
    match (section.get("credential_source") or "").lower():
        case "environment":
            from aiocreds.sources.env import from_env  # one of the three

            provider = from_env(context=context)
        case "ecscontainer":
            from aiocreds.sources.http import from_container_metadata

            provider = from_container_metadata(max_retries=CONTAINER_RETRIES, context=context)
        case _:
            from aiocreds.sources.imds import from_instance_metadata

            provider = from_instance_metadata(context=context)
    try:
        return await provider.fetch()
    except CredentialsNotFound as nothing:
        raise InvalidConfiguration(
            f"profile {section.name!r} has credential_source = {section.get('credential_source')}"
            f" ({section.where('credential_source')}), which has no credentials: {nothing}",
            provider="from_ini",
        ) from None
