"""The default chain: what a program gets that configures nothing."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from aiocreds.chain import chain
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration
from aiocreds.provider import Provider
from aiocreds.sources.env import from_env
from aiocreds.sources.ini import from_ini

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds.aws.client import ClientConfig
    from aiocreds.credentials import Credentials
    from aiocreds.sources.assume_role import MfaCode

logger = logging.getLogger("aiocreds.sources.default")

CONTAINER_RETRIES = 2


def default_chain(
    profile: str | None = None,
    *,
    mfa_code: MfaCode | None = None,
    client: ClientConfig | None = None,
    credentials_file: str | None = None,
    config_file: str | None = None,
    timeout: float | timedelta = 1.0,
    max_retries: int | None = None,
    context: Context = DEFAULT,
) -> Provider:
    """Credentials from wherever this program runs: a laptop, an EC2 instance, a container.

    Asks in this order, and the first that has credentials wins:

    1. the environment (:func:`from_env`), unless a ``profile`` is named here;
    2. the profile (:func:`from_ini`);
    3. web identity from the environment (EKS), which is not supported yet and stops the chain where it is set;
    4. the container's agent (:func:`from_container_metadata`) if its variables are set, else EC2 instance
       metadata (:func:`from_instance_metadata`).

    A source that is configured but fails stops the chain: going on would run the program as somebody else.

    Args:
        profile: the profile to use; by default ``AWS_PROFILE``, else ``default``.
        mfa_code: see :func:`from_ini`.
        client: how STS is called for the profile's roles.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        timeout: seconds one attempt at the container's agent or the metadata service may take.
        max_retries: of those two; by default 2 for a container, and what :func:`from_instance_metadata` says.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        ChainExhausted: no source has any; ``.attempts`` says why, one by one.
        CredentialsError: what the first source raised that is configured but fails.

    See https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
    """
    environment = [] if profile else [_environment(context=context)]
    return chain(
        *environment,
        from_ini(
            profile,
            credentials_file=credentials_file,
            config_file=config_file,
            mfa_code=mfa_code,
            client=client,
            context=context,
        ),
        Provider(partial(_web_identity, context), name="from_token_file", context=context),
        _remote(timeout=timeout, max_retries=max_retries, context=context),
        context=context,
    )


def _environment(*, context: Context) -> Provider:
    """The environment, which wins over ``AWS_PROFILE``; that both are set is said once."""
    warned = False

    async def environment() -> Credentials:
        nonlocal warned
        credentials = await from_env(context=context).fetch()
        if not warned and (profile := context.setting("AWS_PROFILE")):
            warned = True
            logger.warning(
                "AWS_ACCESS_KEY_ID and AWS_PROFILE=%s are both set: the keys are used and the profile is not."
                " Unset one of them.",
                profile,
            )
        return credentials

    return Provider(environment, name="from_env", context=context)


async def _web_identity(context: Context) -> Credentials:
    if context.setting("AWS_WEB_IDENTITY_TOKEN_FILE"):
        raise InvalidConfiguration(
            "AWS_WEB_IDENTITY_TOKEN_FILE is set, and this version of aiocreds does not support web identity yet:"
            " unset it to go on to the next source"
        )
    raise CredentialsNotFound("AWS_WEB_IDENTITY_TOKEN_FILE is not set")


def _remote(*, timeout: float | timedelta, max_retries: int | None, context: Context) -> Provider:
    async def remote() -> Credentials:
        from aiocreds.sources.http import FULL_URI, RELATIVE_URI, from_container_metadata  # rarely reached
        from aiocreds.sources.imds import from_instance_metadata

        if context.setting(RELATIVE_URI) or context.setting(FULL_URI):
            retries = CONTAINER_RETRIES if max_retries is None else max_retries
            return await from_container_metadata(timeout=timeout, max_retries=retries, context=context).fetch()
        return await from_instance_metadata(timeout=timeout, max_retries=max_retries, context=context).fetch()

    return Provider(remote, name="remote", context=context)
