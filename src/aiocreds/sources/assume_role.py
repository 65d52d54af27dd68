"""Assume a role with other credentials."""

from __future__ import annotations

from functools import partial
from time import time
from typing import TYPE_CHECKING

from aiocreds._aws import sts
from aiocreds._aws.client import ClientConfig, ConfigScope, ServiceClient, config_scope, region_for
from aiocreds._base import tracing
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import seconds
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import as_provider, picklable
from aiocreds._core.provider import Provider, declined
from aiocreds._core.singleflight import Unattended, attended
from aiocreds.errors import InvalidConfiguration, ServiceRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import timedelta

    from aiocreds.credentials import Credentials

    MfaCode = Callable[[str], Awaitable[str]]

SOURCE_MIN_TTL = 60.0


@picklable
def from_temporary_credentials(
    *,
    role_arn: str,
    source: Provider | Callable[[], Awaitable[Credentials]] | None = None,
    role_session_name: str | None = None,
    duration_seconds: float | timedelta = 3600,
    external_id: str | None = None,
    policy: str | None = None,
    policy_arns: Sequence[str] = (),
    serial_number: str | None = None,
    mfa_code: MfaCode | None = None,
    tags: Mapping[str, str] | None = None,
    transitive_tag_keys: Sequence[str] = (),
    source_identity: str | None = None,
    provided_contexts: Sequence[Mapping[str, str]] = (),
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Provider:
    """Get the credentials of a role from AWS STS AssumeRole.

    ::

        base = default_chain()
        reader = from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/reader", source=base)

    One source may serve many roles: it keeps its own credentials fresh. When STS says that they have expired, the
    source is asked once more.

    Args:
        role_arn: the role to assume.
        source: whose credentials sign the call; by default :func:`default_chain`.
        role_session_name: shows in CloudTrail; by default ``aiocreds-`` and the time in milliseconds.
        duration_seconds: how long the credentials live: from 900 to the role's maximum.
        external_id: what the owner of a role in another account asks for.
        policy: a session policy, as JSON.
        policy_arns: managed policies for the session.
        serial_number: of the MFA device, or its ARN.
        mfa_code: ``async (serial_number) -> str``, asked when there is a ``serial_number``; only while a caller
            waits, and one prompt at a time in a process.
        tags: session tags.
        transitive_tag_keys: tags that go with the session into the roles it assumes.
        source_identity: who is behind the session.
        provided_contexts: each with ``ProviderArn`` and ``ContextAssertion``.
        client: region, endpoint, time-outs and middlewares of the STS call.
        context: the environment, the clock and the HTTP session.

    The region is ``client.region``, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the active profile's ``region``, else
    the home region of the role's partition.

    Raises:
        InvalidConfiguration: MFA is needed and there is no ``mfa_code``, or the endpoint's settings contradict.
        ServiceRefused: STS answered no; ``.code`` says why.
        SourceUnavailable: STS did not answer.
        CredentialsError: whatever the source raises.
        TypeError: at once, where a sequence of strings is meant and one string is given.

    See https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """
    if isinstance(policy_arns, str) or isinstance(transitive_tag_keys, str):
        raise TypeError('policy_arns and transitive_tag_keys are sequences of strings: write ["…"]')
    if source is None:
        from aiocreds.sources.default import default_chain  # which imports this module

        source = default_chain(context=context)
    else:
        source = as_provider(source, taker="source=", context=context)
    parameters: dict[str, str | int] = {
        "RoleArn": role_arn,
        "DurationSeconds": int(seconds(duration_seconds, "duration_seconds")),
    }
    optional = (
        ("RoleSessionName", role_session_name),
        ("ExternalId", external_id),
        ("Policy", policy),
        ("SourceIdentity", source_identity),
        ("SerialNumber", serial_number),
    )
    parameters |= {name: value for name, value in optional if value is not None}
    if policy_arns or tags or transitive_tag_keys or provided_contexts:
        parameters |= sts.listed("PolicyArns", policy_arns, field="arn")
        parameters |= sts.listed("Tags", [{"Key": key, "Value": value} for key, value in (tags or {}).items()])
        parameters |= sts.listed("TransitiveTagKeys", transitive_tag_keys)
        parameters |= sts.listed("ProvidedContexts", provided_contexts)
    fetch = partial(
        _role,
        parameters=parameters,
        source=source,
        mfa_code=mfa_code,
        client=client or ClientConfig(),
        context=context,
    )
    return Provider(fetch, name="from_temporary_credentials", context=context, inner=[source])


async def _role(
    *,
    parameters: Mapping[str, str | int],
    source: Provider,
    mfa_code: MfaCode | None,
    client: ClientConfig,
    context: Context,
) -> Credentials:
    tracing.note("role_arn", str(parameters["RoleArn"]))
    scope = await config_scope(context, client)
    return await assume(parameters, source=source, mfa_code=mfa_code, client=client, scope=scope)


async def assume(
    parameters: Mapping[str, str | int],
    *,
    source: Provider,
    mfa_code: MfaCode | None,
    client: ClientConfig,
    scope: ConfigScope,
    mfa_place: str = "serial_number",
) -> Credentials:
    """Return the credentials of a role, assumed with those of ``source``.

    ``mfa_place`` is what asks for an MFA code, for messages.
    """
    region = region_for(client, scope, arn=str(parameters["RoleArn"]))
    service = ServiceClient("sts", client, scope, region)
    name = parameters.get("RoleSessionName") or session_name()
    request: dict[str, str | int] = {**parameters, "RoleSessionName": name}
    serial_number = parameters.get("SerialNumber")
    if serial_number:
        _check_attended(mfa_code, mfa_place)
    credentials = await source.get(min_ttl=SOURCE_MIN_TTL)
    if serial_number and mfa_code:  # as late as possible: a code is valid for half a minute
        request["TokenCode"] = await _ask_for_code(str(serial_number), mfa_code)
    try:
        return await sts.assume(service, sts.ASSUME_ROLE, request, credentials=credentials)
    except ServiceRefused as refused:
        if refused.code not in sts.TOKEN_EXPIRED:
            raise
        source.invalidate(credentials)
        other = await source.get(min_ttl=SOURCE_MIN_TTL)
        if other.access_key_id == credentials.access_key_id:
            if declined(source) and not attended():
                raise Unattended from None  # the source did not fail: it needs a person
            raise
    return await sts.assume(service, sts.ASSUME_ROLE, request, credentials=other)


def session_name() -> str:
    """Return a name for the session of a role that has none."""
    return f"aiocreds-{int(time() * 1000)}"


def _check_attended(mfa_code: MfaCode | None, place: str) -> None:
    if mfa_code is None:
        raise InvalidConfiguration(f"{place} asks for an MFA code, and there is nobody to give one: pass mfa_code=")
    if not attended():
        raise Unattended


async def _ask_for_code(serial_number: str, mfa_code: MfaCode) -> SecretStr:
    from aiocreds._base.foreground import one_prompt_at_a_time  # slow to load, and seldom needed

    async with one_prompt_at_a_time():
        return SecretStr((await mfa_code(serial_number)).strip())
