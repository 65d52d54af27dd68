"""Assume a role with the token of an identity provider: EKS, GitHub Actions, OIDC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocreds._aws import sts
from aiocreds._aws.client import ClientConfig, ConfigScope, ServiceClient, config_scope, region_for
from aiocreds._aws.json_protocol import checked_token, token_of
from aiocreds._base import tracing
from aiocreds._base.time import time_limit
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import credential_provider
from aiocreds._profiles import Setting, expand
from aiocreds._profiles.resolve import duration
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration
from aiocreds.sources._rotated_file import read_token_file
from aiocreds.sources.assume_role import session_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import timedelta

    from aiocreds._base.redaction import SecretStr
    from aiocreds._profiles import Section
    from aiocreds.credentials import Credentials

    RoleAssumer = Callable[..., Awaitable[Credentials]]

TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105 - the name of a variable
ROLE_ARN = "AWS_ROLE_ARN"
SESSION_NAME = "AWS_ROLE_SESSION_NAME"


@credential_provider
async def from_web_token(
    *,
    role_arn: str,
    web_identity_token: str | Callable[[], Awaitable[str]],
    role_session_name: str | None = None,
    provider_id: str | None = None,
    policy_arns: Sequence[str] = (),
    policy: str | None = None,
    duration_seconds: float | timedelta = 3600,
    role_assumer_with_web_identity: RoleAssumer | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Get the credentials of a role from AWS STS AssumeRoleWithWebIdentity, which needs no others.

    ::

        async def id_token() -> str: ...  # from wherever this program signs in

        provider = from_web_token(role_arn="arn:aws:iam::123456789012:role/app", web_identity_token=id_token)

    Args:
        role_arn: the role to assume; it has to trust the identity provider.
        web_identity_token: the OAuth 2.0 access token or OpenID Connect id token: a ``str``, or an
            ``async () -> str`` that is asked at each fetch. Tokens live for minutes or hours, so a program that
            runs longer needs the latter.
        role_session_name: shows in CloudTrail; by default ``aiocreds-`` and the time in milliseconds.
        provider_id: the host of the identity provider, for OAuth 2.0 alone: ``www.amazon.com`` or
            ``graph.facebook.com``.
        policy_arns: managed policies for the session.
        policy: a session policy, as JSON.
        duration_seconds: how long the credentials live: from 900 to the role's maximum; or a ``timedelta``.
        role_assumer_with_web_identity: makes the call instead: ``async (**request) -> Credentials``, with
            ``role_arn``, ``role_session_name``, ``web_identity_token``, ``provider_id``, ``policy_arns``,
            ``policy`` and ``duration_seconds``. ``client`` is then of no use.
        client: region, endpoint, time-outs and middlewares of the STS call.
        context: the environment, the clock and the HTTP session.

    The region is ``client.region``, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the active profile's ``region``, else
    the home region of the role's partition.

    Raises:
        InvalidConfiguration: there is no token, another argument cannot be used, or the endpoint's settings
            contradict.
        ServiceRefused: STS answered no; ``.code`` says why.
        SourceUnavailable: STS did not answer; or a function of yours raised what is none of these errors, and the
            error's ``__cause__`` holds that.

    See https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
    """
    return await _assume(
        await token_of(web_identity_token, place="web_identity_token"),
        place="web_identity_token",
        role_arn=role_arn,
        role_session_name=role_session_name,
        provider_id=provider_id,
        policy_arns=policy_arns,
        policy=policy,
        duration_seconds=duration_seconds,
        role_assumer=role_assumer_with_web_identity,
        client=client,
        context=context,
    )


@credential_provider
async def from_token_file(
    *,
    web_identity_token_file: str | None = None,
    role_arn: str | None = None,
    role_session_name: str | None = None,
    provider_id: str | None = None,
    policy_arns: Sequence[str] = (),
    policy: str | None = None,
    duration_seconds: float | timedelta = 3600,
    role_assumer_with_web_identity: RoleAssumer | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Get the credentials of a role from AWS STS AssumeRoleWithWebIdentity, with a token in a file.

    A pod gets its role so on EKS, which sets the first two variables below and rotates the file. It is read
    again at every fetch, and for about half a second more while it is missing or empty. Without arguments::

        provider = from_token_file()

    What a profile says, :func:`from_ini` reads::

        [profile app]
        web_identity_token_file = /var/run/secrets/token
        role_arn = arn:aws:iam::123456789012:role/app
        role_session_name = app

    Args:
        web_identity_token_file: the file; by default ``AWS_WEB_IDENTITY_TOKEN_FILE``. ``~`` is the home folder.
        role_arn: by default ``AWS_ROLE_ARN``.
        role_session_name: by default ``AWS_ROLE_SESSION_NAME``, else as for :func:`from_web_token`.
        provider_id: as for :func:`from_web_token`, and so are all the others.
        policy_arns: managed policies for the session.
        policy: a session policy, as JSON.
        duration_seconds: how long the credentials live.
        role_assumer_with_web_identity: makes the call instead.
        client: region, endpoint, time-outs and middlewares of the STS call.
        context: the environment, the home folder, the clock and the HTTP session.

    The region is that of :func:`from_web_token`.

    Raises:
        CredentialsNotFound: no file is named.
        InvalidConfiguration: a file is named but no role, the file is not there or cannot be read, or another
            argument cannot be used.
        ServiceRefused: STS answered no; ``.code`` says why.
        SourceUnavailable: the file stays empty, or STS did not answer.

    See https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html
    """
    file = Setting(web_identity_token_file or "", "web_identity_token_file")
    if not file.value:
        file = Setting(context.setting(TOKEN_FILE) or "", TOKEN_FILE)
        tracing.note(TOKEN_FILE, file.value or None)
    if not file.value:
        raise CredentialsNotFound(f"{TOKEN_FILE} is not set")
    tracing.note(ROLE_ARN, role_arn or context.setting(ROLE_ARN) or None)
    role_arn = role_arn or context.setting(ROLE_ARN)
    if not role_arn:
        raise InvalidConfiguration(
            f"{file.place} names a token file, but there is no role for it: set {ROLE_ARN} or pass role_arn="
        )
    path = expand(file.value, context, place=file.place)
    return await _assume(
        await read_token_file(path, place=file.place),
        place=f"{file.place} ({path})",
        role_arn=role_arn,
        role_session_name=role_session_name or context.setting(SESSION_NAME),
        provider_id=provider_id,
        policy_arns=policy_arns,
        policy=policy,
        duration_seconds=duration_seconds,
        role_assumer=role_assumer_with_web_identity,
        client=client,
        context=context,
    )


async def profile_credentials(section: Section, *, client: ClientConfig, scope: ConfigScope) -> Credentials:
    """Return the credentials of a profile with a ``web_identity_token_file``."""
    file = section.setting("web_identity_token_file") or Setting("", "web_identity_token_file")
    path = expand(file.value, scope.context, place=file.place)
    parameters: dict[str, str | int] = {
        "RoleArn": section.get("role_arn") or "",
        "RoleSessionName": section.get("role_session_name") or session_name(),
        "DurationSeconds": duration(section),
    }
    token = await read_token_file(path, place=file.place)
    return await assume_with_token(parameters, token=token, place=file.place, client=client, scope=scope)


async def _assume(
    token: SecretStr,
    *,
    place: str,
    role_arn: str,
    role_session_name: str | None,
    provider_id: str | None,
    policy_arns: Sequence[str],
    policy: str | None,
    duration_seconds: float | timedelta,
    role_assumer: RoleAssumer | None,
    client: ClientConfig | None,
    context: Context,
) -> Credentials:
    if isinstance(policy_arns, str):
        raise InvalidConfiguration('policy_arns is a sequence of strings: write ["…"]')
    if not role_arn.strip():
        raise InvalidConfiguration("role_arn is blank: give the ARN of the role to assume")
    role_session_name = role_session_name or session_name()
    lifetime = int(time_limit(duration_seconds, "duration_seconds"))
    if role_assumer is not None:
        return await role_assumer(
            role_arn=role_arn,
            role_session_name=role_session_name,
            web_identity_token=checked_token(token, place=place),
            provider_id=provider_id,
            policy_arns=policy_arns,
            policy=policy,
            duration_seconds=lifetime,
        )
    optional = {"ProviderId": provider_id, "Policy": policy}
    parameters: dict[str, str | int] = {
        "RoleArn": role_arn,
        "RoleSessionName": role_session_name,
        "DurationSeconds": lifetime,
        **{name: value for name, value in optional.items() if value is not None},
        **sts.listed("PolicyArns", policy_arns, field="arn"),
    }
    client = client or ClientConfig()
    scope = await config_scope(context, client)
    return await assume_with_token(parameters, token=token, place=place, client=client, scope=scope)


async def assume_with_token(
    parameters: Mapping[str, str | int], *, token: SecretStr, place: str, client: ClientConfig, scope: ConfigScope
) -> Credentials:
    """Assume a role with a token; ``place`` is where the token comes from, for messages."""
    token = checked_token(token, place=place)
    region = region_for(client, scope, arn=str(parameters["RoleArn"]))
    service = ServiceClient("sts", client, scope, region)
    request = {**parameters, "WebIdentityToken": token}
    return await sts.assume(service, sts.WITH_WEB_IDENTITY, request, hidden=token)
