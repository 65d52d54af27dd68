"""SigV4Auth against moto's S3, which checks signatures and ends keys that expire, while they rotate."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import httpx
import pytest

from aiocreds.integrations.aiohttp import SigV4Auth
from aiocreds.integrations.httpx import SigV4Auth as HttpxSigV4Auth
from tests.helpers.moto_server import BUCKET, REGION, Lake, ShortLived

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.slow

TASKS = 50


async def crowd(source: ShortLived, put_and_get: Callable[[int], Awaitable[bytes]]) -> None:
    """Fifty tasks that call until three keys have ended; not one call fails."""
    done: Counter[int] = Counter()

    async def work(number: int) -> None:
        while len(source.ended) < 3:
            assert await put_and_get(number) == b"%d" % number
            done[number] += 1

    async with asyncio.timeout(40):
        await asyncio.gather(*(work(number) for number in range(TASKS)))
    assert len(done) == TASKS
    assert len(source.issued) >= 4


@pytest.mark.timeout(90)
async def test_aiohttp(lake: Lake) -> None:
    source = ShortLived(lake.role(), lifetime=2.5)
    auth = SigV4Auth(source.provider(), service="s3", region=REGION)
    async with aiohttp.ClientSession(middlewares=[auth], raise_for_status=True) as session:

        async def put_and_get(number: int) -> bytes:
            url = f"{lake.url}/{BUCKET}/aiohttp/{number}"
            await session.put(url, data=b"%d" % number)
            async with session.get(url) as answer:
                return await answer.read()

        await crowd(source, put_and_get)


@pytest.mark.timeout(90)
async def test_httpx(lake: Lake) -> None:
    source = ShortLived(lake.role(), lifetime=2.5)
    auth = HttpxSigV4Auth(source.provider(), service="s3", region=REGION)
    async with httpx.AsyncClient(auth=auth, timeout=30) as client:

        async def put_and_get(number: int) -> bytes:
            url = f"{lake.url}/{BUCKET}/httpx/{number}"
            (await client.put(url, content=b"%d" % number)).raise_for_status()
            return (await client.get(url)).raise_for_status().content

        await crowd(source, put_and_get)
