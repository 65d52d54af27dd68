"""Libraries built on aiobotocore take an attached session: aioboto3 and s3fs, against moto's S3."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import re
from importlib import import_module
from threading import Lock
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from aiocreds import Context, Credentials, InvalidConfiguration, Provider, from_env
from aiocreds.integrations.aiobotocore import attach
from tests.helpers.scripted import Source, issue

REGION = "eu-central-1"
TASKS = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning"),
]  # older botocore


@pytest.fixture
def aioboto3() -> Any:
    return pytest.importorskip("aioboto3")  # it wants one version of aiobotocore only, and often not the newest


@pytest.fixture
def s3fs() -> Any:
    return pytest.importorskip("s3fs")


class Signers:
    """Notes who signs the requests of a session, when they are about to be sent."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._lock = Lock()

    def note(self, request: Any, **_: object) -> None:
        header = request.headers["Authorization"]
        text = header.decode() if isinstance(header, bytes) else str(header)
        found = re.search("Credential=([^/]+)/", text)
        with self._lock:
            self.keys.append(found[1] if found else "nobody")


def attached(provider: Provider) -> tuple[Any, Signers]:
    """A session, and who signs for it."""
    session: Any = attach(get_session(), provider)
    signers = Signers()
    session.register("before-send", signers.note)
    return session, signers


def rotating() -> tuple[Provider, list[str]]:
    """A provider whose credentials change every second or two, and the keys it has had."""
    keys: list[str] = []

    async def source() -> Credentials:
        credentials = issue(60)
        keys.append(credentials.access_key_id)
        return credentials

    return Provider(source, name="rotating", context=Context(environ={})).expire_after(3), keys


async def test_aioboto3_clients_and_resources_sign_with_the_provider(aioboto3: Any, moto: str) -> None:
    source = Source(issue(), issue())
    provider = source.provider()
    session, signers = attached(provider)
    boto = aioboto3.Session(botocore_session=session, region_name=REGION)
    async with boto.client("s3", endpoint_url=moto) as s3, boto.resource("s3", endpoint_url=moto) as resource:
        await s3.create_bucket(Bucket="first", CreateBucketConfiguration={"LocationConstraint": REGION})
        first = (await provider()).access_key_id
        provider.invalidate()
        bucket = await resource.Bucket("first")
        await bucket.put_object(Key="a.csv", Body=b"a,b\n")
        assert [entry.key async for entry in bucket.objects.all()] == ["a.csv"]
    assert signers.keys == [first, (await provider()).access_key_id, (await provider()).access_key_id]
    assert source.calls == 2


async def test_aioboto3_keeps_calling_while_credentials_rotate(aioboto3: Any, moto: str) -> None:
    provider, keys = rotating()
    session, signers = attached(provider)
    config = AioConfig(max_pool_connections=TASKS, retries={"total_max_attempts": 1})
    boto = aioboto3.Session(botocore_session=session, region_name=REGION)
    async with boto.client("s3", endpoint_url=moto, config=config) as s3:
        await s3.create_bucket(Bucket="many", CreateBucketConfiguration={"LocationConstraint": REGION})

        async def caller(number: int) -> None:
            while len(keys) <= 3:
                await s3.put_object(Bucket="many", Key=str(number), Body=b"x")
            await s3.head_object(Bucket="many", Key=str(number))

        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            for number in range(TASKS):
                tasks.create_task(caller(number))
    assert list(dict.fromkeys(signers.keys))[:4] == keys[:4]


def test_aioboto3_sessions_are_no_sessions_of_aiobotocore(aioboto3: Any) -> None:
    with pytest.raises(TypeError, match="not Session; aioboto3 takes one as botocore_session="):
        attach(aioboto3.Session(), Source().provider())
    with pytest.raises(TypeError, match=r"those on asyncio have aiocreds\.integrations\.aiobotocore"):
        import_module("aiocreds.integrations.boto3").attach(aioboto3.Session(), Source().provider())


def test_s3fs_from_a_program_without_a_loop(s3fs: Any, moto: str) -> None:
    source = Source(issue(), issue())
    provider = source.provider()
    session, signers = attached(provider)
    files = s3fs.S3FileSystem(
        session=session, endpoint_url=moto, client_kwargs={"region_name": REGION}, skip_instance_cache=True
    )
    files.mkdir("files", create_parents=True)
    files.pipe("files/a.csv", b"a,b\n")
    first = set(signers.keys)
    provider.invalidate()
    assert files.cat("files/a.csv") == b"a,b\n"
    with files.open("files/b.csv", "wb") as file:
        file.write(b"c,d\n")
    files.invalidate_cache()
    assert files.ls("files") == ["files/a.csv", "files/b.csv"]
    assert len(first) == 1
    assert len(set(signers.keys) - first) == 1
    assert source.calls == 2


async def test_s3fs_keeps_calling_while_credentials_rotate(s3fs: Any, moto: str) -> None:
    provider, keys = rotating()
    session, signers = attached(provider)
    files = s3fs.S3FileSystem(
        session=session,
        endpoint_url=moto,
        client_kwargs={"region_name": REGION},
        config_kwargs={"max_pool_connections": TASKS, "retries": {"total_max_attempts": 1}},
        retries=1,
        asynchronous=True,
        skip_instance_cache=True,
    )
    client = await files.set_session()
    try:
        await files._mkdir("rotated", create_parents=True)

        async def caller(number: int) -> None:
            for turn in itertools.count():
                await files._pipe_file(f"rotated/{number}", str(turn).encode())
                if len(keys) > 3:
                    assert await files._cat_file(f"rotated/{number}") == str(turn).encode()
                    return

        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            for number in range(TASKS):
                tasks.create_task(caller(number))
    finally:
        await client.close()
    assert list(dict.fromkeys(signers.keys))[:4] == keys[:4]


def test_s3fs_passes_an_error_of_the_provider_on(s3fs: Any, moto: str) -> None:
    session, _ = attached(Source(usual=lambda: InvalidConfiguration("the profile is wrong")).provider())
    files = s3fs.S3FileSystem(
        session=session, endpoint_url=moto, client_kwargs={"region_name": REGION}, skip_instance_cache=True
    )
    with pytest.raises(InvalidConfiguration, match="source: the profile is wrong"):
        files.cat("nowhere/a.csv")


def test_s3fs_goes_to_a_worker(s3fs: Any) -> None:
    """As Dask sends it: with a session that is made anew there."""
    system = s3fs.S3FileSystem(session=attach(get_session(), from_env()), skip_instance_cache=True)
    other = pickle.loads(pickle.dumps(system))
    assert type(other) is type(system)
    assert pickle.dumps(other.session) == pickle.dumps(system.session)
