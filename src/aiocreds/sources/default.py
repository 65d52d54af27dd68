"""Chain all the sources, for programs that configure none."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Literal

from aiocreds._base import tracing
from aiocreds._base.time import time_limit
from aiocreds._core.chain import Chain, Entry, ask
from aiocreds._core.context import DEFAULT, Context, profile_place
from aiocreds._core.decorator import picklable, plain
from aiocreds.errors import CredentialsNotFound
from aiocreds.sources.env import from_env

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta

    from aiocreds._aws.client import ClientConfig
    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials
    from aiocreds.sources._sign_in import SignInHook
    from aiocreds.sources.assume_role import MfaCode
    from aiocreds.sources.profile import ProfileSource
    from aiocreds.sources.web_identity import RoleAssumer

logger = logging.getLogger("aiocreds.sources.default")


@picklable
def default_chain(
    profile: str | None = None,
    *,
    mfa_code: MfaCode | None = None,
    process_timeout: float | timedelta = 60.0,
    client: ClientConfig | None = None,
    credentials_file: str | None = None,
    config_file: str | None = None,
    sso_start_url: str | None = None,
    sso_account_id: str | None = None,
    sso_region: str | None = None,
    sso_role_name: str | None = None,
    sso_session: str | None = None,
    web_identity_token_file: str | None = None,
    role_arn: str | None = None,
    role_session_name: str | None = None,
    provider_id: str | None = None,
    policy_arns: Sequence[str] = (),
    policy: str | None = None,
    duration_seconds: float | timedelta = 3600,
    role_assumer_with_web_identity: RoleAssumer | None = None,
    timeout: float | timedelta | None = None,
    max_retries: int | None = None,
    endpoint: str | None = None,
    endpoint_mode: Literal["IPv4", "IPv6"] | None = None,
    v1_disabled: bool | None = None,
    sign_in: SignInHook | None = None,
    context: Context = DEFAULT,
) -> Provider:
    """Get credentials wherever this program runs: on a laptop, an EC2 instance, in a container, a pod.

    Asks in this order, and the first that has credentials wins:

    1. the environment (:func:`from_env`), unless a ``profile`` is named here;
    2. IAM Identity Center (:func:`from_sso`), if any of its arguments is given here;
    3. the profile (:func:`from_ini`);
    4. web identity (:func:`from_token_file`), which EKS sets up through the environment;
    5. the container's agent (:func:`from_container_metadata`) if its variables are set, else EC2 instance
       metadata (:func:`from_instance_metadata`).

    A source that is configured but fails stops the chain: going on would run the program as somebody else.

    Args:
        profile: the profile to use; by default ``AWS_PROFILE``, ``AWS_DEFAULT_PROFILE``, else ``default``.
        mfa_code: see :func:`from_ini`.
        process_timeout: seconds that the profile's ``credential_process`` may take.
        client: how services are called; see :func:`from_ini`, :func:`from_sso` and :func:`from_token_file`.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        sso_start_url: see :func:`from_sso`, also for the next four.
        sso_account_id: the account of the role.
        sso_region: where the Identity Center is.
        sso_role_name: the role.
        sso_session: a session of the config file.
        web_identity_token_file: see :func:`from_token_file`, also for the next seven.
        role_arn: the role that the token in that file is for.
        role_session_name: the name of its session.
        provider_id: the host of an OAuth 2.0 provider.
        policy_arns: managed policies for its session.
        policy: a session policy, as JSON.
        duration_seconds: how long its credentials live.
        role_assumer_with_web_identity: makes that call instead.
        timeout: seconds one attempt at the container's agent or the metadata service may take; by default 1 for a
            container, and what :func:`from_instance_metadata` says.
        max_retries: of those two; by default 2 for a container, and what :func:`from_instance_metadata` says.
        endpoint: see :func:`from_instance_metadata`, also for the next two.
        endpoint_mode: how to reach the metadata service.
        v1_disabled: never fall back to its version 1.
        sign_in: see :func:`from_ini`.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        ChainExhausted: no source has any; ``.attempts`` says why, one by one.
        CredentialsError: what the first source raised that is configured but fails.

    See https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
    """
    # A source is loaded when it is asked: a program with keys in the environment never needs another.
    time_limit(process_timeout, "process_timeout")
    sources: list[Provider] = []  # what the profile's role is assumed with

    @cache  # its providers are kept; in two threads that begin at once the last one stays
    def shared_files() -> ProfileSource:
        from aiocreds.sources.profile import ProfileSource

        return ProfileSource(
            profile,
            credentials_file=credentials_file,
            config_file=config_file,
            mfa_code=mfa_code,
            process_timeout=process_timeout,
            client=client,
            sign_in=sign_in,
            context=context,
            sources=sources,
        )

    async def sso() -> Credentials:
        from aiocreds.sources.sso.credentials import from_sso

        return await plain(from_sso)(
            profile,
            sso_start_url=sso_start_url,
            sso_account_id=sso_account_id,
            sso_region=sso_region,
            sso_role_name=sso_role_name,
            sso_session=sso_session,
            credentials_file=credentials_file,
            config_file=config_file,
            client=client,
            sign_in=sign_in,
            context=context,
        )

    async def web_identity() -> Credentials:
        if not (web_identity_token_file or context.setting("AWS_WEB_IDENTITY_TOKEN_FILE")):
            tracing.note("AWS_WEB_IDENTITY_TOKEN_FILE", None)
            raise CredentialsNotFound("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
        from aiocreds.sources.web_identity import from_token_file

        return await plain(from_token_file)(
            web_identity_token_file=web_identity_token_file,
            role_arn=role_arn,
            role_session_name=role_session_name,
            provider_id=provider_id,
            policy_arns=policy_arns,
            policy=policy,
            duration_seconds=duration_seconds,
            role_assumer_with_web_identity=role_assumer_with_web_identity,
            client=client,
            context=context,
        )

    async def container() -> Credentials:
        from aiocreds.sources.container import TIMEOUT, USUAL_RETRIES, from_container_metadata

        return await plain(from_container_metadata)(
            timeout=TIMEOUT if timeout is None else timeout,
            max_retries=USUAL_RETRIES if max_retries is None else max_retries,
            context=context,
        )

    async def instance() -> Credentials:
        from aiocreds.sources.imds import from_instance_metadata

        return await plain(from_instance_metadata)(
            timeout=timeout,
            max_retries=max_retries,
            endpoint=endpoint,
            endpoint_mode=endpoint_mode,
            v1_disabled=v1_disabled,
            context=context,
        )

    async def remote() -> Credentials:
        from aiocreds.sources.container import FULL_URI, RELATIVE_URI

        if context.setting(RELATIVE_URI) or context.setting(FULL_URI):
            return await ask(container, name="from_container_metadata")
        for variable in (RELATIVE_URI, FULL_URI):
            tracing.note(variable, None)
        return await ask(instance, name="from_instance_metadata")

    sso_given = sso_start_url or sso_account_id or sso_region or sso_role_name or sso_session
    entries = [
        *([] if profile else [Entry("from_env", _environment(context))]),
        *([Entry("from_sso", sso)] if sso_given else []),
        Entry("from_ini", lambda: shared_files().fetch()),
        Entry("from_token_file", web_identity),
        Entry("remote", remote),
    ]
    return Chain(entries, context=context, inner=sources)


def _environment(context: Context) -> Callable[[], Awaitable[Credentials]]:
    """Return a source for the environment, which warns once where a variable names a profile as well."""
    warned = False

    async def environment() -> Credentials:
        nonlocal warned
        credentials = await plain(from_env)(context=context)
        if not warned and (variable := profile_place(context)):
            warned = True
            logger.warning(
                "AWS_ACCESS_KEY_ID and %s=%s are both set: the keys are used and the profile is not."
                " Unset one of them.",
                variable,
                context.setting(variable),
            )
        return credentials

    return environment
