"""Redirects: nobody's are followed, and what a request held goes nowhere else.

========================================  =======================================================================
asked                                     after a redirect the caller gets
========================================  =======================================================================
a container agent, an endpoint of one's   ServiceRefused: who redirected, that it is not followed, and where the
own, EC2 metadata, STS, the SSO portal,   address is set
SSO-OIDC, AWS Sign-In, Cognito, IAM Roles
Anywhere
========================================  =======================================================================
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import time_machine

from aiocreds import (
    Context,
    Provider,
    ServiceRefused,
    from_cognito_identity,
    from_container_metadata,
    from_http,
    from_instance_metadata,
    from_login,
    from_roles_anywhere,
    from_sso,
    from_temporary_credentials,
    from_web_token,
)
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import CONTAINER_PATH, ROLE, ROLES_PATH, TOKEN_PATH, Answer, Loopback
from tests.helpers.roles_anywhere import ANCHOR, PROFILE, SESSIONS, Authority, Workload
from tests.helpers.scripted import START, Source
from tests.helpers.secret_leaks import secret
from tests.helpers.shared_files import APP, write_config
from tests.helpers.sign_in_services import LOGIN_SESSION, OIDC, PORTAL, SIGN_IN

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
ARN = "arn:aws:iam::123456789012:role/app"


def container(aws: Loopback, context: Context) -> Provider:
    return from_container_metadata(context=context)


def endpoint(aws: Loopback, context: Context) -> Provider:
    url = aws.url + CONTAINER_PATH
    return from_http(full_uri=url, authorization_token=secret("token"), context=context)


def metadata(aws: Loopback, context: Context) -> Provider:
    return from_instance_metadata(context=context)


def role(aws: Loopback, context: Context) -> Provider:
    return from_temporary_credentials(role_arn=ARN, source=Source().provider(), context=context)


def web_identity(aws: Loopback, context: Context) -> Provider:
    return from_web_token(role_arn=ARN, web_identity_token=secret("token"), context=context)


def cognito(aws: Loopback, context: Context) -> Provider:
    logins = {"accounts.google.com": secret("login")}
    return from_cognito_identity(identity_id="eu-central-1:x", logins=logins, context=context)


def roles_anywhere(aws: Loopback, context: Context) -> Provider:
    assert context.home is not None
    workload = Workload(Path(context.home), Authority())
    return from_roles_anywhere(
        certificate=workload.certificate,
        private_key=workload.private_key,
        trust_anchor_arn=ANCHOR,
        profile_arn=PROFILE,
        role_arn=ARN,
        context=context,
    )


def sso(aws: Loopback, context: Context) -> Provider:
    assert context.home is not None
    write_config(Path(context.home), APP)
    aws.sign_in.sso_login(Path(context.home))
    return from_sso("app", context=context)


def login(aws: Loopback, context: Context) -> Provider:
    assert context.home is not None
    Path(context.home, ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\n")
    aws.sign_in.login(Path(context.home))
    return from_login("me", context=context)


REDIRECTED: list[tuple[str, Callable[[Loopback, Context], Provider]]] = [
    (CONTAINER_PATH, container),
    (CONTAINER_PATH, endpoint),
    (TOKEN_PATH, metadata),
    (ROLES_PATH, metadata),
    (ROLES_PATH + ROLE, metadata),
    ("/", role),
    ("/", web_identity),
    (PORTAL, sso),
    (OIDC, sso),
    (SIGN_IN, login),
    ("/", cognito),
    (SESSIONS, roles_anywhere),
]


@pytest.mark.slow
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("path", "source"), REDIRECTED)
async def test_no_redirect_is_followed(
    aws: Loopback, home: Path, path: str, source: Callable[[Loopback, Context], Provider], status: int
) -> None:
    environ = {**aws.environ, FULL: aws.url + CONTAINER_PATH, TOKEN: secret("token")}
    async with Loopback() as other:
        aws.always(path, Answer(status, headers={"Location": other.url + path}))
        with time_machine.travel(START, tick=False) as clock:
            provider = source(aws, Context(environ, home=home))
            if path in (OIDC, SIGN_IN):
                clock.shift(timedelta(hours=1))
            words = aws.url.removeprefix("http://"), f"HTTP {status}", "redirects are not followed"
            error = await failure(provider, ServiceRefused, *words)
        assert error.status == status
        assert not other.requests
    assert aws.count(path) == 1
