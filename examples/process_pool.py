"""Credentials in the workers of a process pool: each worker loads and refreshes its own.

Run it with ``python process_pool.py``. It brings its own AWS: moto, in a thread. Dask, Ray and ``multiprocessing``
take providers and attached sessions in the same way: what a factory made without secrets is pickled as that call.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import boto3  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs] - it has no stubs
from moto.server import ThreadedMotoServer

from aiocreds import ClientConfig, Credentials, credential_provider, from_temporary_credentials
from aiocreds.integrations.boto3 import attach

REGION, WORKERS = "eu-central-1", 2
session: Any = None  # of this worker


@credential_provider
async def base() -> Credentials:
    """The keys that may assume the role. A real program has default_chain() instead, and each worker its own."""
    return Credentials("AKIAEXAMPLE000001", "an-example-secret")


def set_up(attached: Any) -> None:
    """Keep the session of this worker, whose provider has loaded nothing yet."""
    global session
    session = attached


def write(number: int, aws: str) -> tuple[int, str, str]:
    """Write a report with the credentials of this process."""
    session.client("s3", endpoint_url=aws).put_object(
        Bucket="reports", Key=f"report-{number}.txt", Body=b"from a child"
    )
    who = session.client("sts", endpoint_url=aws).get_caller_identity()["Arn"]
    return os.getpid(), who.split(":")[-1].rpartition("/")[0], f"report-{number}.txt"


def main() -> None:
    """Start the embedded AWS, and a pool that uses it."""
    with embedded_aws() as aws:
        provider = from_temporary_credentials(
            role_arn="arn:aws:iam::123456789012:role/reporting",
            source=base(),
            client=ClientConfig(region=REGION, endpoint_url=aws),
        )
        mine: Any = attach(boto3.Session(region_name=REGION), provider)
        bucket = mine.resource("s3", endpoint_url=aws).Bucket("reports")
        bucket.create(CreateBucketConfiguration={"LocationConstraint": REGION})
        # Once a worker: a session that goes along with each call would have its role assumed at each call.
        with ProcessPoolExecutor(WORKERS, get_context("spawn"), initializer=set_up, initargs=(mine,)) as pool:
            done = list(pool.map(write, range(8), [aws] * 8))
        for _, _, report in done:
            print(f"{report}: {bucket.Object(report).content_length} bytes")
        processes, roles = {process for process, _, _ in done}, {role for _, role, _ in done}
        where = "none of them this one" if os.getpid() not in processes else "this one among them"
        print(f"{', '.join(roles)} in {len(processes)} processes, {where}")


@contextmanager
def embedded_aws() -> Iterator[str]:
    """Run moto's server in a thread: STS and S3."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


if __name__ == "__main__":
    main()
