"""Moto as a server that checks who calls: its users, roles and a bucket."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.request import Request, urlopen

import boto3  # type: ignore[import-untyped]  # it has no stubs
from botocore.config import Config
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from aiocreds import ClientConfig, Context, Credentials, Provider, from_temporary_credentials
from tests.helpers.scripted import Source
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from obstore.store import S3Store

REGION = "eu-central-1"
ACCOUNT = "123456789012"
BUCKET = "lake"
UNDER_WAY = 3.0  # seconds that a busy moto may take until it looks at a signature


def policy(action: str, **principal: object) -> str:
    """Return a policy that allows an action, to a principal or on everything."""
    statement = {"Effect": "Allow", "Action": action, **(principal or {"Resource": "*"})}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def arn(role: str) -> str:
    """Return the ARN of a role."""
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


def client(url: str, service: str, credentials: Credentials) -> Any:
    """Return a boto3 client of moto."""
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


@dataclasses.dataclass(frozen=True)
class Lake:
    """A bucket at a moto that checks who calls, and a user who may assume the role that may use it."""

    url: str
    user: Credentials

    def role(self) -> Provider:
        """Return the role, as moto's STS hands it out."""
        return from_temporary_credentials(
            role_arn=arn("lake"),
            source=Source(usual=lambda: self.user).provider(),
            client=ClientConfig(region=REGION, endpoint_url=self.url),
            context=Context(environ={}),
        )

    def environ(self, home: Path) -> dict[str, str]:
        """Return the environment of a program that is the user."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",  # obstore and Polars ask for it
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": self.user.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.user.secret_access_key,
        }

    def store(self, ask: Any) -> S3Store:
        """Return a store that asks `ask` for credentials."""
        from obstore.store import S3Store

        return S3Store(
            BUCKET,
            endpoint=self.url,
            region=REGION,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
            credential_provider=ask,
        )


class ShortLived:
    """A source of keys of the role that really end: soon after their expiration, moto knows them no more.

    Attributes:
        issued: the keys it has given.
        ended: the access key ids that moto no longer knows.
    """

    def __init__(self, role: Provider, lifetime: float) -> None:
        self.issued: list[Credentials] = []
        self.ended: list[str] = []
        self._role = role
        self._lifetime = lifetime

    async def __call__(self) -> Credentials:
        fresh = await self._role.fetch()
        expiration = datetime.now(UTC) + timedelta(seconds=self._lifetime)
        self.issued.append(fresh.__replace__(expiration=expiration, may_outlive_expiry=False))
        asyncio.get_running_loop().call_later(self._lifetime + UNDER_WAY, self.end, fresh.access_key_id)
        return self.issued[-1]

    def end(self, access_key_id: str) -> None:
        """Have moto forget these keys."""
        for assumed in sts_backends[ACCOUNT]["aws"].assumed_roles:
            if assumed.access_key_id == access_key_id:
                assumed.access_key_id = "ended"
                self.ended.append(access_key_id)

    def provider(self) -> Provider:
        """Return a provider of them."""
        return Provider(self, name="short-lived", context=Context(environ={}))


@contextmanager
def serve_moto() -> Iterator[str]:
    """Run moto's server, and yield its URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@contextmanager
def serve_lake() -> Iterator[Lake]:
    """Run moto's server with a bucket, and check who calls it."""
    with serve_moto() as url:
        nobody = Credentials("AKIANOBODY", secret())
        iam = client(url, "iam", nobody)
        iam.create_user(UserName="lake")
        iam.put_user_policy(UserName="lake", PolicyName="all", PolicyDocument=policy("*"))
        iam.create_role(RoleName="lake", AssumeRolePolicyDocument=policy("sts:AssumeRole", Principal={"AWS": "*"}))
        iam.put_role_policy(RoleName="lake", PolicyName="s3", PolicyDocument=policy("s3:*"))
        key = iam.create_access_key(UserName="lake")["AccessKey"]
        s3 = client(url, "s3", nobody)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=BUCKET, Key="greeting", Body=b"hello")
        check_after(url, "0")
        yield Lake(url, Credentials(key["AccessKeyId"], key["SecretAccessKey"]))
        check_after(url, "inf")
        with urlopen(f"{url}/moto-api/reset", b"", timeout=5):  # moto remembers for all servers of a process
            pass
