"""Polars against moto's S3, which checks signatures and ends keys that expire: examples/polars_s3.py."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.examples import EXAMPLES
from tests.helpers.moto_server import BUCKET, REGION, Lake, ShortLived
from tests.helpers.scripted import Source

if TYPE_CHECKING:
    from pathlib import Path

    from aiocreds import Provider

pytestmark = pytest.mark.slow

pl: Any = pytest.importorskip("polars")

from aiocreds.integrations.polars import polars_credentials  # noqa: E402 - it wants polars

PATH = f"s3://{BUCKET}/polars/numbers.parquet"
TASKS = 50


def options(lake: Lake) -> dict[str, str | int]:
    return {"aws_endpoint_url": lake.url, "aws_region": REGION, "aws_allow_http": "true", "max_retries": 0}


async def write(lake: Lake, provider: Provider) -> None:
    numbers = pl.DataFrame({"number": range(1000)})
    how = {"storage_options": options(lake), "credential_provider": polars_credentials(provider)}
    await asyncio.to_thread(numbers.write_parquet, PATH, **how)


async def total(lake: Lake, provider: Provider, ask: Any = None) -> int:
    """The sum of all the numbers."""
    how = {"storage_options": options(lake), "credential_provider": ask or polars_credentials(provider)}
    query = pl.scan_parquet(PATH, **how).select(pl.col("number").sum())
    return int((await asyncio.to_thread(query.collect)).item())


async def test_fifty_tasks_query_through_three_rotations(lake: Lake) -> None:
    source = ShortLived(lake.role(), lifetime=2.5)
    provider = source.provider()
    await write(lake, provider)

    async def work() -> None:
        while len(source.ended) < 3:
            assert await total(lake, provider) == 499_500

    async with asyncio.timeout(40):
        await asyncio.gather(*(work() for _ in range(TASKS)))
    assert len(source.issued) >= 4


async def test_keys_that_have_ended_are_refused_here(lake: Lake) -> None:
    """Or else the test above would show nothing."""
    source = ShortLived(lake.role(), lifetime=60)
    provider = source.provider()
    await write(lake, provider)
    source.end(source.issued[0].access_key_id)
    with pytest.raises(OSError, match="403"):
        await total(lake, provider)
    provider.invalidate()
    assert await total(lake, provider) == 499_500


async def test_keys_served_past_their_expiration(lake: Lake) -> None:
    role = await lake.role()()
    stale = dataclasses.replace(role, expiration=datetime.now(UTC) - timedelta(hours=1))
    provider = Source(stale).provider()
    await write(lake, provider)
    assert await total(lake, provider) == 499_500

    def as_it_is() -> tuple[dict[str, str | None], int]:
        keys = {
            "aws_access_key_id": stale.access_key_id,
            "aws_secret_access_key": stale.secret_access_key,
            "aws_session_token": stale.session_token,
        }
        return keys, int(time.time() - 3600)

    with pytest.raises(pl.exceptions.ComputeError, match="expiry time"):  # which is why the example says another
        await total(lake, provider, as_it_is)


async def test_keys_without_token_or_expiration(lake: Lake) -> None:
    provider = Source(usual=lambda: lake.user).provider()
    await write(lake, provider)
    assert await total(lake, provider) == 499_500


async def test_the_example(lake: Lake, home: Path) -> None:
    await write(lake, Source(usual=lambda: lake.user).provider())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", EXAMPLES / "polars_s3.py", PATH),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=lake.environ(home),
    )
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    assert "shape: (1_000, 1)" in out.decode()
