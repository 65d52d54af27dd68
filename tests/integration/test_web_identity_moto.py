"""A role by web identity from moto's STS, and a real aiobotocore that uses it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiobotocore.session import AioSession

from aiocreds import default_chain, from_ini, from_temporary_credentials, from_token_file, from_web_token
from aiocreds.integrations.aiobotocore import attach
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from pathlib import Path

    from aiocreds import Context, Provider

pytestmark = pytest.mark.slow

REGION = "eu-central-1"
ACCOUNT = "123456789012"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/pod"


@pytest.fixture
def environ(moto: str, home: Path) -> dict[str, str]:
    (home / "token").write_text(f"{secret('token')}\n")
    return {
        "AWS_ENDPOINT_URL_STS": moto,
        "AWS_REGION": REGION,
        "AWS_WEB_IDENTITY_TOKEN_FILE": "~/token",
        "AWS_ROLE_ARN": ROLE_ARN,
        "AWS_ROLE_SESSION_NAME": "me@work",
    }


async def identity(moto: str, provider: Provider) -> str:
    """Who a real client is to moto, with these credentials."""
    session = AioSession()
    attach(session, provider)
    client: Any = cast("Any", session).create_client("sts", region_name=REGION, endpoint_url=moto)
    async with client as sts:
        return str((await sts.get_caller_identity())["Arn"])


POD = f"arn:aws:sts::{ACCOUNT}:assumed-role/pod/me@work"


async def test_a_real_client_is_the_role(moto: str, context: Context) -> None:
    provider = from_token_file(context=context)
    credentials = await provider()
    assert credentials.account_id == ACCOUNT
    assert credentials.provider == "web_identity"
    assert await identity(moto, provider) == POD
    assert (await provider.fetch()).access_key_id != credentials.access_key_id
    assert await identity(moto, provider) == POD
    assert await identity(moto, default_chain(context=context)) == POD


async def test_every_parameter_is_taken(moto: str, context: Context) -> None:
    async def token() -> str:
        return secret("token")

    provider = from_web_token(
        role_arn=ROLE_ARN,
        web_identity_token=token,
        role_session_name="me@work",
        provider_id="www.amazon.com",
        policy_arns=["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        policy=json.dumps({"Version": "2012-10-17", "Statement": []}),
        duration_seconds=900,
        context=context,
    )
    assert await identity(moto, provider) == POD
    left = provider.status.seconds_left
    assert left is not None
    assert 800 < left <= 900


async def test_the_role_of_a_role(moto: str, context: Context, home: Path) -> None:
    role = from_temporary_credentials(
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/second",
        source=from_token_file(context=context),
        role_session_name="app",
        context=context,
    )
    assert await identity(moto, role) == f"arn:aws:sts::{ACCOUNT}:assumed-role/second/app"
    (home / ".aws" / "config").write_text(
        f"[profile pod]\nrole_arn = {ROLE_ARN}\nweb_identity_token_file = ~/token\n"
        f"[profile app]\nrole_arn = arn:aws:iam::{ACCOUNT}:role/second\nsource_profile = pod\n"
        "role_session_name = profile\n"
    )
    app = from_ini("app", context=context)
    assert await identity(moto, app) == f"arn:aws:sts::{ACCOUNT}:assumed-role/second/profile"
