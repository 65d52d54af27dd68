"""Get credentials from a profile of the shared config and credentials files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiocreds._base import tracing
from aiocreds._base.time import time_limit
from aiocreds._core.chain import ask
from aiocreds._core.context import DEFAULT, Context, profile_place
from aiocreds._core.decorator import picklable, plain
from aiocreds._core.provider import Provider
from aiocreds._profiles import Section, SharedConfig, load, profile_name
from aiocreds._profiles.resolve import SESSION_TOKENS, Kind, Step, duration, resolve
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds._aws.client import ClientConfig, ConfigScope
    from aiocreds.sources._sign_in import SignInHook
    from aiocreds.sources.assume_role import MfaCode


@picklable
def from_ini(
    profile: str | None = None,
    *,
    credentials_file: str | None = None,
    config_file: str | None = None,
    mfa_code: MfaCode | None = None,
    process_timeout: float | timedelta = 60.0,
    client: ClientConfig | None = None,
    sign_in: SignInHook | None = None,
    context: Context = DEFAULT,
) -> Provider:
    """Get credentials from a profile of the shared files, which are read again when they change.

    ::

        [profile app]
        role_arn = arn:aws:iam::123456789012:role/app
        source_profile = base

    A profile may hold a role (``role_arn`` with ``source_profile``, at any depth, or with
    ``credential_source`` ``Environment``, ``Ec2InstanceMetadata`` or ``EcsContainer``; also ``external_id``,
    ``mfa_serial``, ``duration_seconds``, ``role_session_name``, ``region``), a web identity
    (``web_identity_token_file`` with ``role_arn``), a role in IAM Identity Center (see :func:`from_sso`), a
    ``login_session`` (see :func:`from_login`), static keys (``aws_access_key_id``, ``aws_secret_access_key``,
    ``aws_session_token`` or its old name ``aws_security_token``, ``aws_account_id``) or a ``credential_process``.
    Of several in one profile the first in this order counts; as the source of a role, static keys come before all
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
        sign_in: ``async (LoginRequired) -> object``, awaited when a person has to sign in, such as
            :func:`aiocreds.login.sign_in`; only while a caller waits, and one prompt at a time in a process.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        InvalidConfiguration: ``process_timeout`` is no number above zero; raised by the call of this function.
        CredentialsNotFound: the profile holds no credentials, or none is named and there is no ``default``.
        InvalidConfiguration: a profile is missing or wrong; the message names file and line.
        LoginRequired: a person has to sign in (again); the message holds the command to run.
        ServiceRefused: a service answered no.
        SourceUnavailable: a service or the process failed.

    See https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    source = ProfileSource(
        profile,
        credentials_file=credentials_file,
        config_file=config_file,
        mfa_code=mfa_code,
        process_timeout=process_timeout,
        client=client,
        sign_in=sign_in,
        context=context,
    )
    return Provider(source.fetch, name="from_ini", context=context, inner=source.sources)


class ProfileSource:
    """The source behind :func:`from_ini`. It keeps the providers that its roles draw from.

    The arguments are those of :func:`from_ini`, and the list for `sources`.

    Attributes:
        sources: what the profile's own role is assumed with: one provider, which holds the next, or none.
    """

    def __init__(
        self,
        profile: str | None,
        *,
        credentials_file: str | None,
        config_file: str | None,
        mfa_code: MfaCode | None,
        process_timeout: float | timedelta,
        client: ClientConfig | None,
        sign_in: SignInHook | None,
        context: Context,
        sources: list[Provider] | None = None,
    ) -> None:
        self.sources: list[Provider] = [] if sources is None else sources
        self._profile = profile
        self._credentials_file = credentials_file
        self._config_file = config_file
        self._mfa_code = mfa_code
        self._process_timeout = time_limit(process_timeout, "process_timeout")
        self._client = client
        self._sign_in = sign_in
        self._context = context
        self._built_for: tuple[SharedConfig, str] | None = None

    async def fetch(self) -> Credentials:
        """Return the profile's credentials, as the files are now.

        Raises:
            CredentialsError: as :func:`from_ini` says.
        """
        config: SharedConfig | None = None
        place = profile_place(self._context, self._profile)
        if tracing.current() is not None:
            from aiocreds._profiles.describe import record_variables  # for explain alone

            record_variables(self._context, place)
        try:
            config = await load(
                self._context, credentials_file=self._credentials_file, config_file=self._config_file
            )
            name = profile_name(self._context, self._profile)
            if tracing.current() is not None:
                from aiocreds._profiles.describe import record_files

                record_files(config, name)
            outermost, *steps = resolve(config, name, place)
            if self._built_for != (config, name):
                # Only after a change of the files, so that the sources keep their credentials otherwise.
                self.sources[:] = self._folded(config, steps, outermost.section)
                self._built_for = config, name
            return await self._step(config, outermost, outermost.section, self.sources)
        except InvalidConfiguration as error:
            if tracing.current() is not None:
                from aiocreds._profiles.describe import record_fault

                record_fault(self._context, config, error)
            raise

    def _folded(self, config: SharedConfig, steps: list[Step], outermost: Section) -> list[Provider]:
        """Return the source of the outermost role, which draws from the source of the next one, and so on.

        Roles do not share providers, since their settings may differ.
        """
        source: list[Provider] = []
        for step in reversed(steps):
            fetch = partial(self._step, config, step, outermost, source)
            source = [Provider(fetch, name=f"profile {step.section.name!r}", context=self._context, inner=source)]
        return source

    async def _step(
        self, config: SharedConfig, step: Step, outermost: Section, source: list[Provider]
    ) -> Credentials:
        """Return the credentials of one profile; ``source`` holds the provider that its role is assumed with."""
        section, kind = step
        if tracing.current() is not None:
            from aiocreds._profiles.describe import record_step

            record_step(section, kind)
        match kind:
            case Kind.STATIC:
                return _static(section)
            case Kind.PROCESS:
                from aiocreds.sources.process import run_profile_process  # loads subprocess

                return await run_profile_process(section, timeout=self._process_timeout, context=self._context)
            case Kind.CREDENTIAL_SOURCE:
                return await _credential_source(section, self._context)
            case _:
                return await self._call(config, section, kind, outermost, source)

    async def _call(
        self, config: SharedConfig, section: Section, kind: Kind, outermost: Section, source: list[Provider]
    ) -> Credentials:
        """Return the credentials of a profile that needs a service."""
        from dataclasses import replace

        from aiocreds._aws.client import ClientConfig, ConfigScope  # slow to load, and seldom needed

        client, scope = self._client or ClientConfig(), ConfigScope(self._context, config, section, outermost)
        for_other_services = replace(client, region=None, endpoint_url=None)  # those in code are for STS
        match kind:
            case Kind.ROLE:
                return await self._role(section, source[0], client, scope)
            case Kind.WEB_IDENTITY:
                from aiocreds.sources.web_identity import profile_credentials

                return await profile_credentials(section, client=client, scope=scope)
            case Kind.SSO:
                from aiocreds._profiles.sso import sso_of_profile
                from aiocreds.sources.sso.credentials import role_credentials

                settings = sso_of_profile(config, section)
                return await role_credentials(
                    settings, client=for_other_services, scope=scope, sign_in=self._sign_in
                )
            case _:
                from aiocreds.sources.login.credentials import login_credentials

                return await login_credentials(
                    section, client=for_other_services, scope=scope, sign_in=self._sign_in
                )

    async def _role(
        self, section: Section, source: Provider, client: ClientConfig, scope: ConfigScope
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
            mfa_code=self._mfa_code,
            client=client,
            scope=scope,
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
            from aiocreds.sources.env import from_env  # only the one that is needed is loaded

            name, fetch = "from_env", partial(plain(from_env), context=context)
        case "ecscontainer":
            from aiocreds.sources.container import USUAL_RETRIES, from_container_metadata

            name = "from_container_metadata"
            fetch = partial(plain(from_container_metadata), max_retries=USUAL_RETRIES, context=context)
        case _:
            from aiocreds.sources.imds import from_instance_metadata

            name, fetch = "from_instance_metadata", partial(plain(from_instance_metadata), context=context)
    try:
        return await ask(fetch, name=name)
    except CredentialsNotFound as error:
        raise InvalidConfiguration(
            f"profile {section.name!r} has credential_source = {section.get('credential_source')}"
            f" ({section.where('credential_source')}), which has no credentials: {error}",
            provider="from_ini",
        ) from None
