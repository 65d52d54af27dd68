"""Delta tables on moto's S3, which checks signatures and ends keys that expire.

``deltalake`` itself asks nobody for credentials: ``DeltaTable(storage_options=…)`` takes strings
(``deltalake/table.py``, in 1.6.6 line 214), and so it is all the way down, to
``resolve_credentials(options: &HashMap<String, String>)`` in ``crates/aws/src/credentials.rs``. So a table is
opened anew with what is current, or queried through Polars.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.moto_server import BUCKET, REGION, Lake, ShortLived

if TYPE_CHECKING:
    from aiocreds import Provider

pytestmark = pytest.mark.slow

deltalake: Any = pytest.importorskip("deltalake")
pl: Any = pytest.importorskip("polars")

from aiocreds.integrations.polars import polars_credentials  # noqa: E402 - it wants polars

TASKS = 50


def place(lake: Lake) -> dict[str, str]:
    return {"aws_endpoint_url": lake.url, "aws_region": REGION, "aws_allow_http": "true"}


async def options(lake: Lake, provider: Provider) -> dict[str, str]:
    """The place, and keys that are good for one operation."""
    credentials = await provider.get(min_ttl=1)
    assert credentials.session_token is not None
    return {
        **place(lake),
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key,
        "aws_session_token": credentials.session_token,
    }


async def write(lake: Lake, provider: Provider, name: str) -> str:
    """A new table of a thousand numbers."""
    url = f"s3://{BUCKET}/{name}"
    numbers = pl.DataFrame({"number": range(1000)})
    how = {"storage_options": await options(lake, provider), "mode": "overwrite"}
    await asyncio.to_thread(deltalake.write_deltalake, url, numbers, **how)
    return url


async def test_tables_are_opened_through_three_rotations(lake: Lake) -> None:
    source = ShortLived(lake.role(), lifetime=2.5)
    provider = source.provider()
    url = await write(lake, provider, "opened")
    threads = asyncio.Semaphore(4)  # keys are not to grow old while they wait for one

    async def work() -> None:
        while len(source.ended) < 3:
            async with threads:
                how = {"storage_options": await options(lake, provider)}
                table = await asyncio.to_thread(deltalake.DeltaTable, url, **how)
            assert table.version() == 0

    async with asyncio.timeout(50):
        await asyncio.gather(*(work() for _ in range(TASKS)))
    assert len(source.issued) >= 4


async def test_tables_are_queried_through_three_rotations_by_polars(lake: Lake) -> None:
    source = ShortLived(lake.role(), lifetime=2.5)
    provider = source.provider()
    url = await write(lake, provider, "queried")

    async def work() -> None:
        while len(source.ended) < 3:
            query = pl.scan_delta(
                url, storage_options=place(lake), credential_provider=polars_credentials(provider)
            )
            total = await asyncio.to_thread(query.select(pl.col("number").sum()).collect)
            assert total.item() == 499_500

    async with asyncio.timeout(50):
        await asyncio.gather(*(work() for _ in range(TASKS)))
    assert len(source.issued) >= 4


async def test_a_table_that_is_held_keeps_its_keys(lake: Lake) -> None:
    """Which is what blocks; should this fail one day, an adapter can be written."""
    source = ShortLived(lake.role(), lifetime=60)
    provider = source.provider()
    url = await write(lake, provider, "held")
    held = await asyncio.to_thread(deltalake.DeltaTable, url, storage_options=await options(lake, provider))
    source.end(source.issued[0].access_key_id)
    provider.invalidate()
    with pytest.raises(OSError, match="403"):
        await asyncio.to_thread(held.update_incremental)
    table = await asyncio.to_thread(deltalake.DeltaTable, url, storage_options=await options(lake, provider))
    assert table.version() == 0


def test_deltalake_takes_strings_only() -> None:
    """The other half of what blocks."""
    assert not [name for name in inspect.signature(deltalake.DeltaTable).parameters if "credential" in name]
    with pytest.raises(TypeError):
        deltalake.DeltaTable(f"s3://{BUCKET}/x", storage_options={"aws_access_key_id": lambda: "AKIA"})
