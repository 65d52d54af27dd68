"""The FastAPI example under a real uvicorn, against an AWS on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiobotocore.session import get_session
from moto.server import ThreadedMotoServer

from tests.hush import MARK
from tests.loopback import ROLE, ROLES_PATH, Loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 15.0  # seconds until something that should happen soon counts as not happening


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Moto's server, for S3."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@dataclass
class Service:
    """The example, running."""

    url: str
    process: asyncio.subprocess.Process
    http: aiohttp.ClientSession
    log: list[str]

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(self.url + path) as answer:
            body = await answer.read()
            if answer.status == 500:
                await asyncio.sleep(0.5)  # for the traceback to arrive
            assert answer.content_type == "application/json", "".join(self.log)
            return answer.status, json.loads(body)

    async def eventually(self, path: str, status: int) -> Any:
        """Ask until the answer has this status."""
        async with asyncio.timeout(PATIENCE):
            while True:
                got, body = await self.get(path)
                if got == status:
                    return body
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop it as a container platform does, and see that it goes without a complaint."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await self.process.wait()


@asynccontextmanager
async def running(home: Path, environ: dict[str, str]) -> AsyncIterator[Service]:
    """Run the example under uvicorn, every warning an error.

    Without ``-X dev``: there aiohttp refuses the two ``Server`` headers that moto's server sends.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "uvicorn", "fastapi_app:app"),
        *("--app-dir", str(EXAMPLES), "--port", "0", "--no-access-log"),
        stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "AWS_REGION": "eu-central-1",
            **environ,
        },
    )
    assert process.stderr is not None
    log: list[str] = []
    url = asyncio.get_running_loop().create_future()

    async def listen(stderr: asyncio.StreamReader) -> None:
        async for line in stderr:
            log.append(line.decode())
            if found := re.search(r"running on (http://[0-9.:]+)", log[-1]):
                url.set_result(found[1])

    listening = asyncio.create_task(listen(process.stderr))
    try:
        await asyncio.wait([listening, url], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert url.done(), "".join(log)
        async with aiohttp.ClientSession() as http:
            yield Service(url.result(), process, http, log)
    finally:
        if process.returncode is None:
            process.kill()
        await listening
        await process.wait()


def assert_left_in_peace(service: Service) -> None:
    """It ended by the signal, after its lifespan, and had nothing to complain about."""
    log = "".join(service.log)
    # uvicorn shuts down in order and then lets the signal end it.
    assert service.process.returncode in {0, -signal.SIGTERM}, log
    assert "Application shutdown complete" in log
    assert not re.search(
        "Traceback|Warning|ERROR|Exception ignored|was destroyed|never awaited|Unclosed|unclosed", log
    ), log
    assert MARK not in log


async def test_a_service_has_credentials_from_its_start_to_its_end(aws: Loopback, moto: str, home: Path) -> None:
    async with get_session().create_client(
        "s3",
        region_name="eu-central-1",
        endpoint_url=moto,
        aws_access_key_id="AKIATEST000000001",
        aws_secret_access_key="x",
    ) as s3:
        await s3.create_bucket(
            Bucket="seen-by-fastapi", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url, "AWS_ENDPOINT_URL": moto}
    async with running(home, environ) as service:
        ready = await service.eventually("/ready", 200)
        assert ready["ready"]
        assert ready["last_error"] is None
        assert await service.get("/whoami") == (200, {"provider": "imds", "account": None})
        status, buckets = await service.get("/buckets")
        assert status == 200
        assert "seen-by-fastapi" in buckets  # moto keeps those of other tests in this process too
        answers = await asyncio.gather(*(service.get("/whoami") for _ in range(50)))
        assert {status for status, _ in answers} == {200}
        assert aws.count(ROLES_PATH + ROLE) == 1
        await service.stop()
    assert_left_in_peace(service)


async def test_a_service_that_starts_without_metadata(aws: Loopback, moto: str, home: Path) -> None:
    aws.down()
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url, "AWS_ENDPOINT_URL": moto}
    async with running(home, environ) as service:
        status, ready = await service.get("/ready")
        assert (status, ready["ready"]) == (503, False)
        status, whoami = await service.get("/whoami")
        assert status == 503
        assert whoami["detail"].startswith("no AWS credentials")
        assert (await service.get("/buckets"))[0] == 503
        _, ready = await service.get("/ready")
        assert aws.url in ready["last_error"]
        aws.up()
        # Nobody but the load balancer asks, and that asks no source.
        ready = await service.eventually("/ready", 200)
        assert ready["last_error"] is None
        assert (await service.get("/whoami"))[0] == 200
        await service.stop()
    assert_left_in_peace(service)


async def test_refreshes_come_without_requests_and_an_outage_passes_unnoticed(
    aws: Loopback, moto: str, home: Path
) -> None:
    aws.lifetime = timedelta(seconds=3)
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url, "AWS_ENDPOINT_URL": moto}
    async with running(home, environ) as service:
        async with asyncio.timeout(PATIENCE):
            while aws.count(ROLES_PATH + ROLE) < 2:  # noqa: ASYNC110 - and not one request
                await asyncio.sleep(0.05)
        aws.down()
        async with asyncio.timeout(PATIENCE):
            while (await service.get("/ready"))[1]["seconds_left"] > -1:  # noqa: ASYNC110 - as a prober does
                await asyncio.sleep(0.1)
        status, ready = await service.get("/ready")
        assert (status, ready["ready"]) == (200, True)
        assert "HTTP 503" in ready["last_error"]
        assert (await service.get("/whoami"))[0] == 200
        await service.stop()
    log = "".join(service.log)
    assert service.process.returncode in {0, -signal.SIGTERM}
    assert "Traceback" not in log
    assert MARK not in log
