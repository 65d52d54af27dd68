"""One provider for both worlds: aiobotocore on the event loop, and boto3 in threads.

Run it with ``python boto3_too.py [SECONDS]``. It brings its own AWS: moto, in a thread. While old code on boto3 and
new code on aiobotocore keep calling S3, the role they share is assumed anew every second or two.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import boto3  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs] - it has no stubs
from aiobotocore.session import get_session
from moto.server import ThreadedMotoServer

from aiocreds import ClientConfig, Credentials, Provider, credential_provider, from_temporary_credentials
from aiocreds.integrations import aiobotocore as for_aiobotocore
from aiocreds.integrations import boto3 as for_boto3

REGION = "eu-central-1"
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0


@credential_provider
async def base() -> Credentials:
    """Return the keys that may assume the role. A real program has default_chain() instead."""
    return Credentials("AKIAEXAMPLE000001", "an-example-secret")


def old_code(number: int, session: Any, aws: str) -> int:
    """Upload in a thread, without asyncio. Each request is signed with current credentials."""
    s3 = session.resource("s3", endpoint_url=aws)
    calls, until = 0, monotonic() + SECONDS
    while monotonic() < until:
        s3.Object("reports", f"old-{number}.txt").put(Body=b"from a thread")
        calls += 1
    return calls


async def new_code(number: int, session: Any, aws: str) -> int:
    """Do the same on the event loop."""
    async with session.create_client("s3", region_name=REGION, endpoint_url=aws) as s3:
        calls, until = 0, monotonic() + SECONDS
        while monotonic() < until:
            await s3.put_object(Bucket="reports", Key=f"new-{number}.txt", Body=b"from a task")
            calls += 1
    return calls


async def work(provider: Provider, aws: str) -> None:
    """Run both at once."""
    sync_session: Any = for_boto3.attach(boto3.Session(region_name=REGION), provider)
    async_session = for_aiobotocore.attach(get_session(), provider)
    place = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    bucket = sync_session.resource("s3", endpoint_url=aws).Bucket("reports")
    await asyncio.to_thread(bucket.create, **place)
    async with provider:  # refreshes here while the program runs a loop, so that no thread ever waits
        in_threads, in_tasks = await asyncio.gather(
            asyncio.gather(*(asyncio.to_thread(old_code, number, sync_session, aws) for number in range(4))),
            asyncio.gather(*(new_code(number, async_session, aws) for number in range(4))),
        )
    print(f"boto3: {sum(in_threads)} calls from 4 threads; aiobotocore: {sum(in_tasks)} calls from 4 tasks")


def main() -> None:
    """Start the embedded AWS and use it."""
    with embedded_aws() as aws:
        provider = from_temporary_credentials(
            role_arn="arn:aws:iam::123456789012:role/reporting",
            source=base(),
            client=ClientConfig(region=REGION, endpoint_url=aws),
        ).expire_after(3)
        asyncio.run(work(provider, aws))
        # boto3 goes on without an event loop of the program's: one in the background refreshes.
        session: Any = for_boto3.attach(boto3.Session(region_name=REGION), provider)
        print(session.client("sts", endpoint_url=aws).get_caller_identity()["Arn"].rpartition("/")[0])
        print(f"{provider.status.successes} sets of credentials, {provider.status.failures} failures")


@contextmanager
def embedded_aws() -> Iterator[str]:
    """Run moto's server in a thread: STS and S3."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


if __name__ == "__main__":
    main()
