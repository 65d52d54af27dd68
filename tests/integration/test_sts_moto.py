"""Roles from moto's STS, which checks signatures and permissions, and a real boto3 that uses them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast
from urllib.request import Request, urlopen

import boto3  # type: ignore[import-untyped]  # it has no stubs
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from aiocreds import Credentials, ServiceRefused, chain, from_env, from_ini, from_temporary_credentials
from tests.helpers.secret_leaks import secret
from tests.unit._aws.test_sts import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiocreds import Context

pytestmark = pytest.mark.slow

REGION = "eu-central-1"
ACCOUNT = "123456789012"


def policy(action: str, **principal: object) -> str:
    statement = {"Effect": "Allow", "Action": action, **(principal or {"Resource": "*"})}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def arn(role: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


def client(url: str, service: str, credentials: Credentials) -> Any:
    make: Any = cast("Any", boto3).client
    return make(
        service,
        endpoint_url=url,
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 1}),
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
    )


def check_after(moto: str, calls: str) -> None:
    """Have moto check who calls, after so many calls."""
    request = Request(f"{moto}/moto-api/reset-auth", calls.encode(), {"Content-Type": "text/plain"})
    with urlopen(request, timeout=5):
        pass


async def identity(moto: str, credentials: Credentials) -> str:
    """Who a real client is to moto, with these credentials."""
    sts = client(moto, "sts", credentials)
    return str((await asyncio.to_thread(sts.get_caller_identity))["Arn"])


@pytest.fixture(scope="module")
def user(moto: str) -> Iterator[Credentials]:
    """A user who may assume roles, at a moto that from now on checks who calls."""
    iam = client(moto, "iam", Credentials("AKIANOBODY", secret()))
    iam.create_user(UserName="me")
    iam.put_user_policy(UserName="me", PolicyName="roles", PolicyDocument=policy("sts:AssumeRole"))
    for role in ("reader", "second", "closed"):
        trusted = "999999999999" if role == "closed" else "*"
        trust = policy("sts:AssumeRole", Principal={"AWS": trusted})
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)
        iam.put_role_policy(RoleName=role, PolicyName="roles", PolicyDocument=policy("sts:*"))
    key = iam.create_access_key(UserName="me")["AccessKey"]
    check_after(moto, "0")
    yield Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    check_after(moto, "inf")


@pytest.fixture
def environ(moto: str, user: Credentials) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_STS": moto,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": user.access_key_id,
        "AWS_SECRET_ACCESS_KEY": user.secret_access_key,
    }


async def test_moto_does_check(moto: str, user: Credentials) -> None:
    assert await identity(moto, user) == f"arn:aws:iam::{ACCOUNT}:user/me"
    with pytest.raises(ClientError):
        await identity(moto, user.__replace__(secret_access_key=secret()))


async def test_a_real_client_is_the_role(moto: str, context: Context) -> None:
    role = from_temporary_credentials(
        role_arn=arn("reader"),
        source=from_env(context=context),
        role_session_name="me@work",
        external_id="a b+c&d=é",
        policy='{"Version": "2012-10-17", "Statement": []}',
        policy_arns=["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        tags={"team": "a b+c", "empty": ""},
        context=context,
    )
    credentials = await role()
    assert credentials.account_id == ACCOUNT
    assert credentials.expiration is not None
    assert await identity(moto, credentials) == f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/me@work"
    assert (await role.fetch()).access_key_id != credentials.access_key_id


async def test_a_chain_of_roles_from_a_profile(moto: str, context: Context, home: Path) -> None:
    (home / ".aws" / "config").write_text(
        f"[profile app]\nrole_arn = {arn('second')}\nsource_profile = base\nrole_session_name = app\n"
        f"[profile base]\nrole_arn = {arn('reader')}\ncredential_source = Environment\n"
    )
    credentials = await from_ini("app", context=context)()
    assert await identity(moto, credentials) == f"arn:aws:sts::{ACCOUNT}:assumed-role/second/app"


async def test_a_role_that_trusts_others(context: Context) -> None:
    provider = from_temporary_credentials(role_arn=arn("closed"), source=from_env(context=context), context=context)
    error = await failure_of(chain(provider, from_env(context=context)))
    assert isinstance(error, ServiceRefused)
    assert error.code == "AccessDenied"
    assert arn("closed") in str(error)


async def test_a_wrong_secret(context: Context, environ: dict[str, str]) -> None:
    environ["AWS_SECRET_ACCESS_KEY"] = secret()
    provider = from_temporary_credentials(role_arn=arn("reader"), source=from_env(context=context), context=context)
    error = await failure_of(provider)
    assert isinstance(error, ServiceRefused)
    assert error.code == "SignatureDoesNotMatch"
