"""A Cognito identity pool of moto's, and real clients that work with what it hands out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import boto3  # type: ignore[import-untyped]  # it has no stubs
import pytest
from aiobotocore.session import AioSession

from aiocreds import ServiceRefused, from_cognito_identity, from_cognito_identity_pool
from aiocreds.integrations.aiobotocore import attach
from aiocreds.sources.cognito import credentials
from tests.helpers.failures import failure_of
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from aiocreds import Context, Provider

pytestmark = pytest.mark.slow

REGION = "eu-central-1"
BUCKET = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "SHARED", credentials.MemoryCache())


def boto(moto: str, service: str, **keys: str | None) -> Any:
    make: Any = cast("Any", boto3).client
    keys = keys or {"aws_access_key_id": "AKIANOBODY", "aws_secret_access_key": secret()}
    return make(service, endpoint_url=moto, region_name=REGION, **keys)


@pytest.fixture(scope="module")
def pool(moto: str) -> str:
    """The id of an identity pool, made with boto3."""
    made = boto(moto, "cognito-identity").create_identity_pool(
        IdentityPoolName="guests", AllowUnauthenticatedIdentities=True
    )
    return str(made["IdentityPoolId"])


@pytest.fixture
def environ(moto: str) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL_COGNITO_IDENTITY": moto, "AWS_REGION": "us-west-2"}


async def write_and_read(moto: str, provider: Provider, name: str) -> None:
    """Have a real aiobotocore and a real boto3 work with these credentials."""
    session = AioSession()
    attach(session, provider)
    client: Any = cast("Any", session).create_client("s3", region_name=REGION, endpoint_url=moto)
    async with client as s3:
        await s3.create_bucket(Bucket=name, **BUCKET)
        await s3.put_object(Bucket=name, Key="a", Body=b"written")
    credentials = await provider()
    s3 = boto(
        moto,
        "s3",
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
    )
    read = await asyncio.to_thread(lambda: s3.get_object(Bucket=name, Key="a")["Body"].read())
    assert read == b"written"


async def test_a_guest_of_the_pool(moto: str, pool: str, context: Context) -> None:
    provider = from_cognito_identity_pool(identity_pool_id=pool, context=context)
    credentials = await provider()
    assert credentials.identity_id is not None
    assert credentials.provider == "cognito"
    assert credentials.expiration is not None
    await write_and_read(moto, provider, "guest")
    again = await provider.fetch()
    assert again.identity_id == credentials.identity_id
    one = from_cognito_identity(identity_id=credentials.identity_id, context=context)
    assert (await one()).identity_id == credentials.identity_id
    await write_and_read(moto, one, "same-guest")


async def test_somebody_with_a_login(moto: str, pool: str, context: Context) -> None:
    async def token() -> str:
        return secret("login")

    provider = from_cognito_identity_pool(
        identity_pool_id=pool,
        account_id="123456789012",
        logins={"accounts.google.com": token, "graph.facebook.com": secret("login")},
        custom_role_arn="arn:aws:iam::123456789012:role/custom",
        context=context,
    )
    assert (await provider()).identity_id
    await write_and_read(moto, provider, "somebody")


async def test_a_pool_that_is_not_there(context: Context, environ: dict[str, str]) -> None:
    """Moto answers for every pool: to nowhere is as far as it says no."""
    environ["AWS_ENDPOINT_URL_COGNITO_IDENTITY"] += "/nowhere"
    error = await failure_of(from_cognito_identity_pool(identity_pool_id=f"{REGION}:gone", context=context))
    assert isinstance(error, ServiceRefused)
    assert error.status == 404
