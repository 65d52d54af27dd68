"""The memory of a provider while it has nothing to do."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from contextlib import AsyncExitStack

from aiobotocore.session import get_session

from aiocreds import ClientConfig, Context, from_temporary_credentials
from tests.benchmarks import sts
from tests.benchmarks.report import Row
from tests.benchmarks.roles import KEY, REGION, SECRET, arn, static_source

PROVIDERS = 1_000
CLIENTS = 5
LIMIT = 5.0  # KiB


def rows() -> list[Row]:
    """Run this topic. tracemalloc counts every byte that Python allocates: no noise, so one round."""
    with sts.serving() as url, tempfile.TemporaryDirectory() as home:
        return asyncio.run(_rows(url, home))


async def _rows(url: str, home: str) -> list[Row]:
    ours, token = await _ours(url, home)
    theirs = await _clients(url, share=True)
    alone = await _clients(url, share=False)
    return [
        Row(
            f"an idle provider for one role, token of {token} characters",
            f"{ours:.2f} KiB",
            f"one more aiobotocore client of a session {theirs:,.0f} KiB",
            ours / theirs,
            f"≤ {LIMIT:g} KiB",
            ours <= LIMIT,
            scale=(
                Row("of that, the token", f"{token / 1024:.2f} KiB"),
                Row("an aiobotocore client with a session of its own", f"{alone:,.0f} KiB"),
            ),
        )
    ]


async def _ours(url: str, home: str) -> tuple[float, int]:
    source = static_source()
    client = ClientConfig(region=REGION, endpoint_url=url)

    async with Context(environ={}, home=home) as context:

        async def provider(number: int) -> object:
            made = from_temporary_credentials(role_arn=arn(number), source=source, client=client, context=context)
            await made()
            return made

        for number in range(20):  # the session, the caches and the threads are everybody's
            await provider(number)
        providers: list[object] = [None] * PROVIDERS
        before = await _start()
        for number in range(PROVIDERS):
            providers[number] = await provider(number)
        each = await _stop(before) / PROVIDERS
        last = await from_temporary_credentials(role_arn=arn(0), source=source, client=client, context=context)()
    return each, len(last.session_token or "")


async def _clients(url: str, *, share: bool) -> float:
    async with AsyncExitStack() as stack:
        shared = get_session()

        async def client() -> object:
            session = shared if share else get_session()
            made = await stack.enter_async_context(
                session.create_client(
                    "sts",
                    region_name=REGION,
                    endpoint_url=url,
                    aws_access_key_id=KEY,
                    aws_secret_access_key=SECRET,
                )
            )
            await made.assume_role(RoleArn=arn(0), RoleSessionName="bench")
            return made

        await client()  # what clients share
        clients: list[object] = [None] * CLIENTS
        before = await _start()
        for number in range(CLIENTS):
            clients[number] = await client()
        return await _stop(before) / CLIENTS


async def _start() -> int:
    gc.collect()
    tracemalloc.start(1)
    return tracemalloc.get_traced_memory()[0]


async def _stop(before: int) -> float:
    """KiB since."""
    await asyncio.sleep(0.05)
    gc.collect()
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (now - before) / 1024
