"""The FastAPI example, and others like it, under a real uvicorn, against an AWS on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiobotocore.session import get_session

from tests.helpers.loopback_aws import CONTAINER_PATH, ROLE, ROLES_PATH, Hang, Loopback
from tests.helpers.secret_leaks import MARK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 60.0  # seconds until something that should happen soon counts as not happening
COMPLAINTS = "Traceback|Warning|ERROR|Exception ignored|was destroyed|never awaited|Unclosed|unclosed"


@dataclass
class Service:
    """A service, running."""

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
async def running(
    home: Path,
    environ: dict[str, str],
    *options: str,
    app: str = "fastapi_app:app",
    folder: Path = EXAMPLES,
    flags: tuple[str, ...] = (),
) -> AsyncIterator[Service]:
    """Run an app (by default the example) under uvicorn, every warning an error.

    The flag ``-X dev`` is for apps that leave moto alone: with it, aiohttp refuses the two ``Server`` headers that
    moto's server sends.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *flags, "-m", "uvicorn", app),
        *("--app-dir", str(folder), "--port", "0", "--no-access-log", *options),
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
            if (found := re.search(r"running on (http://[0-9.:]+)", log[-1])) and not url.done():
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
    assert not re.search(COMPLAINTS, log), log
    assert MARK not in log


async def test_a_service_shows_its_metrics(aws: Loopback, home: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
    async with running(home, environ, app="metrics:app", flags=("-X", "dev")) as service:
        assert (await service.eventually("/whoami", 200))["provider"] == "imds"
        async with service.http.get(f"{service.url}/metrics") as answer:
            assert answer.content_type == "text/plain"
            text = await answer.text()
        await service.stop()
    samples = {
        (sample.name, sample.labels.get("outcome")): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("provider") == "chain"
    }
    assert samples["aiocreds_refreshes_total", "succeeded"] == 1
    assert samples["aiocreds_credentials_remaining_seconds", None] > 0
    assert_left_in_peace(service)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


# Several providers in one app

SEVERAL = """
    from contextlib import AsyncExitStack, asynccontextmanager
    from typing import Annotated

    from fastapi import Depends, FastAPI, Response

    from aiocreds import Credentials, from_container_metadata, from_instance_metadata, from_temporary_credentials

    instance = from_instance_metadata()
    task = from_container_metadata()
    reporting = from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/reporting", source=instance)
    audit = from_temporary_credentials(role_arn="arn:aws:iam::210987654321:role/audit", source=instance)
    providers = {"instance": instance, "task": task, "reporting": reporting, "audit": audit}

    @asynccontextmanager
    async def lifespan(app):
        async with AsyncExitStack() as stack:
            for provider in providers.values():
                await stack.enter_async_context(provider)
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/whoami")
    async def whoami(
        instance: Annotated[Credentials, Depends(instance)],
        task: Annotated[Credentials, Depends(task)],
        reporting: Annotated[Credentials, Depends(reporting)],
        audit: Annotated[Credentials, Depends(audit)],
        once_more: Annotated[Credentials, Depends(audit)],
    ) -> list[list[str | None]]:
        given = instance, task, reporting, audit, once_more
        return [[credentials.access_key_id, credentials.account_id] for credentials in given]

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, bool]:
        loaded = {name: provider.status.loaded_at is not None for name, provider in providers.items()}
        response.status_code = 200 if all(loaded.values()) else 503
        return loaded
"""


@pytest.mark.slow
async def test_several_providers_in_one_app(aws: Loopback, home: Path) -> None:
    (home / "several.py").write_text(dedent(SEVERAL))
    environ = {**aws.environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + CONTAINER_PATH}
    aws.down(CONTAINER_PATH)
    async with running(home, environ, app="several:app", folder=home, flags=("-X", "dev")) as service:
        # One source is down: the others load, and readiness says which one it is.
        async with asyncio.timeout(PATIENCE):
            while (answer := await service.get("/ready"))[1] != {  # noqa: ASYNC110 - as a prober does
                "instance": True,
                "task": False,
                "reporting": True,
                "audit": True,
            }:
                await asyncio.sleep(0.05)
        assert answer[0] == 503
        aws.up()
        await service.eventually("/ready", 200)
        status, seen = await service.get("/whoami")
        assert status == 200
        keys, accounts = zip(*seen, strict=True)
        assert len(set(keys[:4])) == 4
        assert keys[3] == keys[4]
        assert accounts == (None, None, "123456789012", "210987654321", "210987654321")
        answers = await asyncio.gather(*(service.get("/whoami") for _ in range(20)))
        assert answers == [(200, seen)] * 20
        assert aws.count(ROLES_PATH + ROLE) == 1  # one instance for both roles and for itself
        assert [request.form["RoleArn"][-5:] for request in aws.requests if request.path == "/"].count("audit") == 1
        await service.stop()
    assert_left_in_peace(service)


# Shutdown

STARLETTE = """
    import asyncio
    from contextlib import asynccontextmanager

    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from aiocreds import default_chain

    provider = default_chain()

    @asynccontextmanager
    async def lifespan(app):
        async with provider:
            yield
        left = [task.get_name() for task in asyncio.all_tasks()]
        assert not [name for name in left if "aiocreds" in name], left

    async def whoami(request):
        return JSONResponse({"provider": (await provider()).provider})

    async def ready(request):
        loaded = provider.status.loaded_at is not None
        return JSONResponse({"failures": provider.status.failures}, 200 if loaded else 503)

    app = Starlette(lifespan=lifespan, routes=[Route("/whoami", whoami), Route("/ready", ready)])
"""


@pytest.mark.parametrize("when", ["at rest", "in the first load", "in a refresh", "with a caller who waits"])
async def test_shutdown_leaves_nothing_behind(when: str, aws: Loopback, home: Path) -> None:
    (home / "small.py").write_text(dedent(STARLETTE))
    if when in {"in the first load", "with a caller who waits"}:
        aws.down(ROLES_PATH + ROLE, by=Hang())
    if when == "in a refresh":
        aws.lifetime = timedelta(seconds=4)
    caller: asyncio.Task[Any] | None = None
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
    async with running(home, environ, app="small:app", folder=home, flags=("-X", "dev")) as service:
        if when in {"at rest", "in a refresh"}:
            await service.eventually("/ready", 200)
            assert await service.get("/whoami") == (200, {"provider": "imds"})
        if when == "in a refresh":
            aws.down(ROLES_PATH + ROLE, by=Hang())
        if when != "at rest":
            await arrivals(aws, 2 if when == "in a refresh" else 1)
        if when == "with a caller who waits":
            caller = asyncio.create_task(service.get("/whoami"))
            await asyncio.sleep(0.2)
            aws.up()  # an attempt that hangs is given up after a second, and the next one is answered
        await service.stop()
        if caller is not None:  # uvicorn waits for those who are being served
            assert await caller == (200, {"provider": "imds"})
    assert_left_in_peace(service)


async def arrivals(aws: Loopback, number: int) -> None:
    """Wait until so many have asked for the role's credentials."""
    async with asyncio.timeout(PATIENCE):
        while aws.count(ROLES_PATH + ROLE) < number:  # noqa: ASYNC110 - the service has no event for it
            await asyncio.sleep(0.02)


# A worker that is killed

WITH_PID = """
    import os
    from contextlib import asynccontextmanager

    from fastapi import FastAPI, Response

    from aiocreds import Credentials, credential_provider, default_chain

    asking = False

    @credential_provider
    async def noted() -> Credentials:
        global asking
        asking = True
        try:
            return await chain.fetch()
        finally:
            asking = False

    chain = default_chain()
    provider = noted()

    @asynccontextmanager
    async def lifespan(app):
        async with provider:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/ready")
    async def ready(response: Response) -> dict[str, int]:
        response.status_code = 200 if provider.status.loaded_at else 503
        return {"pid": os.getpid(), "asking": asking}

    @app.get("/whoami")
    async def whoami() -> dict[str, str | int | None]:
        return {"pid": os.getpid(), "provider": (await provider()).provider}
"""


@pytest.mark.slow
async def test_a_worker_killed_in_mid_refresh_is_missed_by_nobody(aws: Loopback, home: Path) -> None:
    (home / "workers.py").write_text(dedent(WITH_PID))
    aws.lifetime = timedelta(seconds=6)
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
    async with running(home, environ, "--workers", "2", app="workers:app", folder=home) as service:
        first, second = await ready_workers(service, besides=0)
        aws.down(ROLES_PATH + ROLE, by=Hang())
        async with asyncio.timeout(PATIENCE):
            while (await ask_anew(service, "/ready"))[1] != {"pid": first, "asking": True}:
                pass
        os.kill(first, signal.SIGKILL)  # in the middle of a refresh
        async with asyncio.timeout(PATIENCE):
            while "died" not in "".join(service.log):
                assert await ask_anew(service, "/whoami") == (200, {"pid": second, "provider": "imds"})
        aws.up()
        assert second in await ready_workers(service, besides=first)  # the new one has loaded
        await service.stop()
    assert service.process.returncode in {0, -signal.SIGTERM}
    log, _, _ = "".join(service.log).partition("Stopping parent process")  # which leaves its socket unclosed
    assert log.count("Application shutdown complete") == 2, log
    assert not re.search("Traceback|Exception ignored|was destroyed|never awaited|Unclosed|unclosed", log), log
    assert MARK not in log


async def ready_workers(service: Service, besides: int) -> set[int]:
    """The two workers, once both are ready and none is `besides`."""
    seen: dict[int, bool] = {}
    async with asyncio.timeout(PATIENCE):
        while "startup complete" not in "".join(service.log):  # noqa: ASYNC110 - until then, nobody listens
            await asyncio.sleep(0.05)
        while sum(seen.values()) < 2:
            status, ready = await ask_anew(service, "/ready")
            seen[ready["pid"]] = status == 200 and ready["pid"] != besides
    return {pid for pid, is_ready in seen.items() if is_ready}


async def ask_anew(service: Service, path: str) -> tuple[int, Any]:
    """Ask over a new connection: who takes it, nobody knows."""
    async with aiohttp.ClientSession() as http:
        return await Service(service.url, service.process, http, service.log).get(path)
