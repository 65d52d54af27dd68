"""A tour of aiocreds on an AWS that lives inside this process: no account, no network, under a minute.

Run it with ``python3 noxfile.py -s demo``. It starts moto (STS and S3) and a small EC2 metadata service that
hands out credentials which live for twelve seconds, and then does what a service on EC2 does all day, through an
outage of that service, too. Who is in a hurry says how long to watch: ``python3 noxfile.py -s demo -- 5``.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from aiobotocore.session import get_session
from aiohttp import web
from moto.server import ThreadedMotoServer

from aiocreds import Context, Credentials, default_chain, explain
from aiocreds.integrations.aiobotocore import attach

CALLERS = 100
WATCHED = float(sys.argv[1]) if len(sys.argv) > 1 else 14.0  # seconds
LIFETIME = timedelta(seconds=WATCHED * 12 / 14)
ROLE = "arn:aws:iam::123456789012:role/reporting"

T = TypeVar("T")
began = perf_counter()


async def main() -> None:
    """Run the tour, step by step."""
    with tempfile.TemporaryDirectory() as home:
        switch = asyncio.Event()
        switch.set()
        async with metadata_service(switch) as metadata, embedded_aws() as aws:
            config = Path(home) / ".aws" / "config"
            config.parent.mkdir()
            config.write_text(
                f"[profile reporting]\nrole_arn = {ROLE}\ncredential_source = Ec2InstanceMetadata\n"
                "[profile audit]\nrole_arn = arn:aws:iam::123456789012:role/audit\nsource_profile = reporting\n"
                "[profile broken]\nrole_arn = arn:aws:iam::123456789012:role/audit\nsource_profile = reportnig\n"
            )
            environ = {
                "PATH": os.environ.get("PATH", ""),
                "AWS_REGION": "eu-central-1",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata,
                "AWS_ENDPOINT_URL": aws,
            }
            context = Context(environ, home=home)
            async with context:
                await find(context)
                await assume(context)
                await call_aws(context, aws)
                await rotate(context)
                await outage(context, switch)
                await broken(context)
    say("Done. Everything above was real HTTP; only the AWS was small.")


async def find(context: Context) -> None:
    """Run the default chain on an EC2 instance."""
    headline("1. Find credentials, as on an EC2 instance")
    provider = default_chain(context=context)
    say("default_chain() looks at the environment, the shared files, web identity, then EC2 metadata")
    credentials = await timed("await provider()", provider())
    show(credentials)
    await timed("await provider() once more, from memory", provider())


async def assume(context: Context) -> None:
    """Assume a role through a role, from two profiles."""
    headline("2. Assume a role through a role: profile audit ← profile reporting ← EC2 metadata")
    provider = default_chain("audit", context=context)
    show(await timed('await default_chain("audit")()', provider()))
    say(f"and they are good until {provider.status.expiration:%H:%M:%S} UTC; a refresh starts ahead of that")


async def call_aws(context: Context, endpoint: str) -> None:
    """Use an aiobotocore client that signs with current credentials."""
    headline("3. Call AWS with aiobotocore")
    session = attach(get_session(), default_chain("audit", context=context))
    async with session.create_client("s3", region_name="eu-central-1", endpoint_url=endpoint) as s3:
        await s3.create_bucket(Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        await s3.put_object(Bucket="reports", Key="2026/november.csv", Body=b"a,b\n")
        listing = await timed("list the bucket", s3.list_objects_v2(Bucket="reports"))
        say(f"s3://reports holds {', '.join(entry['Key'] for entry in listing['Contents'])}")


async def rotate(context: Context) -> None:
    """Replace credentials while a hundred callers keep asking."""
    headline(f"4. Let {CALLERS} callers ask for {WATCHED:.0f} s while the credentials rotate")
    slowest = 0.0
    calls = 0
    seen: dict[str, float] = {}
    async with default_chain(context=context) as provider:
        await provider()
        until = perf_counter() + WATCHED

        async def caller() -> None:
            nonlocal slowest, calls
            while (asked := perf_counter()) < until:
                credentials = await provider()
                slowest = max(slowest, perf_counter() - asked)
                calls += 1
                if credentials.access_key_id not in seen:
                    seen[credentials.access_key_id] = perf_counter()
                    say(f"now signing with ****{credentials.access_key_id[-4:]}")
                await asyncio.sleep(0.01)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    say(f"{calls:,} calls, {len(seen)} sets of credentials, no error")
    say(f"the slowest call took {duration(slowest)}: nobody waited for a refresh")
    if len(seen) < 2 or slowest > 0.25:
        sys.exit("That is not what this demo promises. Is this machine very busy?")


async def outage(context: Context, switch: asyncio.Event) -> None:
    """Take the metadata service down for longer than its credentials live."""
    headline(f"5. Take the metadata service away for {WATCHED:.0f} s, which is longer than its credentials live")
    shown = logging.StreamHandler(sys.stdout)
    shown.setFormatter(logging.Formatter("            the log says: %(message)s"))
    logger = logging.getLogger("aiocreds")
    logger.addHandler(shown)
    slowest = 0.0
    calls = 0
    try:
        async with default_chain(context=context) as provider:
            credentials = await provider()
            switch.clear()
            until = perf_counter() + WATCHED
            while (asked := perf_counter()) < until:
                credentials = await provider()
                slowest = max(slowest, perf_counter() - asked)
                calls += 1
                await asyncio.sleep(0.01)
            switch.set()
            say(f"{calls:,} calls, no error, the slowest took {duration(slowest)}: nobody noticed")
            left = provider.status.seconds_left or 0.0
            say(f"by their own words ****{credentials.access_key_id[-4:]} ended {-left:.1f} s ago: on EC2 the")
            say("service decides when they really do, and while it is down they stay in use")
    finally:
        logger.removeHandler(shown)
    if slowest > 0.25 or left > 0:
        sys.exit("That is not what this demo promises. Is this machine very busy?")


async def broken(context: Context) -> None:
    """Load a profile with a typing error in it."""
    headline("6. Explain what is wrong with a profile: print(await explain(default_chain('broken')))")
    for line in str(await explain(default_chain("broken", context=context))).splitlines():
        print(f"            {line.replace(f'{context.home}/', '~/')}")


@asynccontextmanager
async def metadata_service(switch: asyncio.Event) -> AsyncIterator[str]:
    """Run an EC2 metadata service, whose credentials are short-lived and change; down while the switch is off."""
    numbers = itertools.count(1)
    token = "a-session-token-of-the-metadata-service"

    async def handle(request: web.Request) -> web.Response:
        if not switch.is_set():
            return web.Response(status=503)
        if request.method == "PUT":
            return web.Response(text=token)
        if request.headers.get("X-aws-ec2-metadata-token") != token:
            return web.Response(status=401)
        if request.path.endswith("/"):
            return web.Response(text="demo-role")
        number = next(numbers)
        await asyncio.sleep(0.3)  # a slow day
        return web.json_response(
            {
                "Code": "Success",
                "AccessKeyId": f"ASIADEMOKEY{number:05}",
                "SecretAccessKey": f"demo-secret-{number}",
                "Token": f"demo-token-{number}",
                "Expiration": (datetime.now(UTC) + LIFETIME).isoformat(),
            }
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def embedded_aws() -> AsyncIterator[str]:
    """Run moto's server in a thread: STS and S3."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    await asyncio.to_thread(server.start)
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        await asyncio.to_thread(server.stop)


async def timed(what: str, awaitable: Awaitable[T]) -> T:
    """Await something and print how long it took."""
    started = perf_counter()
    result = await awaitable
    say(f"{what}: {duration(perf_counter() - started)}")
    return result


def duration(seconds: float) -> str:
    """Format a time in a fitting unit."""
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e9:,.0f} ns"


def show(credentials: Credentials) -> None:
    """Return what may be shown of credentials."""
    say(f"got {credentials}")


def headline(text: str) -> None:
    """Print the title of a step."""
    print(f"\n{text}")


def say(text: str) -> None:
    """Print what happened, and when."""
    print(f"  {perf_counter() - began:6.2f} s  {text}")


if __name__ == "__main__":
    print("aiocreds: credentials for asyncio, on an embedded AWS")
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
