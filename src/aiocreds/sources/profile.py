"""Credentials from a profile of the shared config and credentials files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from aiocreds._base import tracing
from aiocreds._base.time import time_limit
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.provider import Provider, remembering_the_call
from aiocreds._profiles import Section, SharedConfig, load, profile_name, profile_place
from aiocreds._profiles.resolve import SESSION_TOKENS, Kind, Step, duration, walk
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds._aws.client import ClientConfig, ConfigScope
    from aiocreds.sources.assume_role import MfaCode


@remembering_the_call
def from_ini(
    profile: str | None = None,
    *,
    credentials_file: str | None = None,
    config_file: str | None = None,
    mfa_code: MfaCode | None = None,
    process_timeout: float | timedelta = 60.0,
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
    ``mfa_serial``, ``duration_seconds``, ``role_session_name``, ``region``), a web identity
    (``web_identity_token_file`` with ``role_arn``), a role in IAM Identity Center (see :func:`from_sso`), a
    ``login_session`` (see :func:`from_login`), static keys (``aws_access_key_id``, ``aws_secret_access_key``,
    ``aws_session_token`` or as of old ``aws_security_token``, ``aws_account_id``) or a ``credential_process``. Of
    several in one profile the first in this order counts; as the source of a role, static keys come before all
    others.

    Args:
        profile: by default ``AWS_PROFILE``, ``AWS_DEFAULT_PROFILE``, else ``default``.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        mfa_code: ``async (serial_number) -> str``, asked for profiles with ``mfa_serial``; only while a caller
            waits, and one prompt at a time in a process.
        process_timeout: seconds that a ``credential_process`` may take; a person may have to sign in meanwhile.
        client: how STS is called; what it leaves open comes from the environment and the profile. Its time-outs,
            attempts and middlewares hold for all calls that the profile needs.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        InvalidConfiguration: ``process_timeout`` is no number above zero; raised by the call of this function.
        CredentialsNotFound: the profile holds no credentials, or nobody named one and there is no ``default``.
        InvalidConfiguration: a profile is missing or wrong; the message names file and line.
        LoginRequired: a person has to sign in (again); the message holds the command to run.
        ServiceRefused: a service answered no.
        SourceUnavailable: a service or the process failed.

    See https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    time_limit(process_timeout, "process_timeout")
    resolver = _Profile(
        profile,
        credentials_file=credentials_file,
        config_file=config_file,
        mfa_code=mfa_code,
        process_timeout=process_timeout,
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
        process_timeout: float | timedelta,
        client: ClientConfig | None,
        context: Context,
    ) -> None:
        self.profile = profile
        self.credentials_file = credentials_file
        self.config_file = config_file
        self.mfa_code = mfa_code
        self.process_timeout = process_timeout
        self.client = client
        self.context = context
        self.sources: list[Provider] = []
        self.built: tuple[tuple[SharedConfig, str] | None, list[Provider]] = None, []

    async def fetch(self) -> Credentials:
        config: SharedConfig | None = None
        if tracing.current() is not None:
            from aiocreds._profiles.describe import tell_variables  # few ever ask

            tell_variables(self.context, profile_place(self.context, self.profile))
        try:
            config = await load(self.context, credentials_file=self.credentials_file, config_file=self.config_file)
            return await self._fetch(config)
        except InvalidConfiguration as wrong:
            if tracing.current() is not None:
                from aiocreds._profiles.describe import tell_fault

                tell_fault(self.context, config, wrong)
            raise

    async def _fetch(self, config: SharedConfig) -> Credentials:
        name = profile_name(self.context, self.profile)
        if tracing.current() is not None:
            from aiocreds._profiles.describe import tell_files

            tell_files(config, name)
        steps = walk(config, name, profile_place(self.context, self.profile))
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
        if tracing.current() is not None:
            from aiocreds._profiles.describe import tell_step

            tell_step(section, kind)
        match kind:
            case Kind.STATIC:
                return _static(section)
            case Kind.PROCESS:
                from aiocreds.sources.process import run_profile_process  # with it comes subprocess

                return await run_profile_process(section, timeout=self.process_timeout, context=self.context)
            case Kind.CREDENTIAL_SOURCE:
                return await _credential_source(section, self.context)
            case _:
                return await self._call(config, section, kind, steps[0].section, sources)

    async def _call(
        self, config: SharedConfig, section: Section, kind: Kind, outermost: Section, sources: list[Provider]
    ) -> Credentials:
        """The credentials of a profile whose kind has to ask a service."""
        from aiocreds._aws.client import ClientConfig, ConfigScope  # most profiles ask none

        client, around = self.client or ClientConfig(), ConfigScope(self.context, config, section, outermost)
        of_others = replace(client, region=None, endpoint_url=None)  # those given in code are of STS
        match kind:
            case Kind.ROLE:
                return await self._role(section, sources[0], client, around)
            case Kind.WEB_IDENTITY:
                from aiocreds.sources.web_identity import profile_credentials

                return await profile_credentials(section, client=client, around=around)
            case Kind.SSO:
                from aiocreds._profiles.sso import of_profile
                from aiocreds.sources.sso.credentials import role_credentials

                return await role_credentials(of_profile(config, section), client=of_others, around=around)
            case _:
                from aiocreds.sources.login.credentials import login_credentials

                return await login_credentials(section, client=of_others, around=around)

    async def _role(
        self, section: Section, source: Provider, client: ClientConfig, around: ConfigScope
    ) -> Credentials:
        from aiocreds.sources.assume_role import assume

        parameters = {
            "RoleArn": section.get("role_arn"),
            "RoleSessionName": section.get("role_session_name"),
            "DurationSeconds": duration(section),
            "ExternalId": section.get("external_id"),
            "SerialNumber": section.get("mfa_serial"),
        }
        return await assume(
            {name: value for name, value in parameters.items() if value is not None},
            source=source,
            mfa_code=self.mfa_code,
            client=client,
            around=around,
            mfa_place=f"profile {section.name!r} ({section.where('mfa_serial')})",
        )


def _static(section: Section) -> Credentials:
    return Credentials(
        section.get("aws_access_key_id") or "",
        section.get("aws_secret_access_key") or "",
        session_token=next(filter(None, map(section.get, SESSION_TOKENS)), None),
        account_id=section.get("aws_account_id"),
        provider="ini",
    )


async def _credential_source(section: Section, context: Context) -> Credentials:
    match (section.get("credential_source") or "").lower():
        case "environment":
            from aiocreds.sources.env import from_env  # one of the three

            provider = from_env(context=context)
        case "ecscontainer":
            from aiocreds.sources.container import USUAL_RETRIES, from_container_metadata

            provider = from_container_metadata(max_retries=USUAL_RETRIES, context=context)
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
