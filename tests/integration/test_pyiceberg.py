"""PyIceberg against moto's S3, which checks signatures and ends keys that expire: examples/pyiceberg_s3.py.

PyIceberg has no hook for credentials. Its own file systems take fixed keys from properties (0.12.0:
``pyiceberg/io/pyarrow.py`` line 502, ``pyiceberg/io/fsspec.py`` line 177). What it has is ``py-io-impl``: files of
one's own.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.examples import EXAMPLES
from tests.helpers.moto_server import BUCKET, REGION, Lake, ShortLived

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

pytest.importorskip("pyiceberg")
pytest.importorskip("sqlalchemy")
s3fs: Any = pytest.importorskip("s3fs")
pa: Any = pytest.importorskip("pyarrow")
load_catalog: Any = import_module("pyiceberg.catalog").load_catalog
example: Any = import_module("examples.pyiceberg_s3")
TASKS = 50


def catalog(lake: Lake, home: Path, **properties: str) -> Any:
    where = {"type": "sql", "uri": f"sqlite:///{home}/catalog.db", "warehouse": f"s3://{BUCKET}/{home.name}"}
    return load_catalog("test", **where, **{"s3.endpoint": lake.url, "s3.region": REGION}, **properties)


async def test_a_table_that_is_held_is_used_through_three_rotations(
    lake: Lake, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ShortLived(lake.role(), lifetime=2.5)
    monkeypatch.setattr(example, "provider", source.provider())
    monkeypatch.setenv("AWS_ENDPOINT_URL", lake.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    s3fs.S3FileSystem.clear_instance_cache()
    tables = catalog(lake, home, **{"py-io-impl": "examples.pyiceberg_s3.FreshFileIO"})
    table = await asyncio.to_thread(create, tables)

    async def work() -> None:
        while len(source.ended) < 3:
            assert (await asyncio.to_thread(table.scan().to_arrow)).num_rows == 100

    async with asyncio.timeout(50):
        await asyncio.gather(*(work() for _ in range(TASKS)))
    assert len(source.issued) >= 4


def create(tables: Any) -> Any:
    """A new table with a hundred numbers in it."""
    tables.create_namespace("n")
    numbers = pa.table({"number": list(range(100))})
    table = tables.create_table("n.numbers", schema=numbers.schema)
    table.append(numbers)
    return table


def test_its_own_file_systems_keep_their_keys(lake: Lake, home: Path) -> None:
    """Which is what blocks; should this fail one day, there is a shorter way."""
    source = ShortLived(lake.role(), lifetime=60)
    keys = asyncio.run(fetch_once(source))
    properties = {
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        "s3.access-key-id": keys[0],
        "s3.secret-access-key": keys[1],
        "s3.session-token": keys[2],
    }
    table = create(catalog(lake, home, **properties))
    source.end(keys[0])
    with pytest.raises(OSError, match=r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|403"):
        table.scan().to_arrow()


async def fetch_once(source: ShortLived) -> tuple[str, str, str]:
    credentials = await source.provider()()
    assert credentials.session_token is not None
    return credentials.access_key_id, credentials.secret_access_key, credentials.session_token


async def test_the_example(lake: Lake, home: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, EXAMPLES / "pyiceberg_s3.py", f"s3://{BUCKET}/example"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home,
        env=lake.environ(home),
    )
    async with asyncio.timeout(50):
        out, err = await process.communicate()
    assert (process.returncode, out.decode()) == (0, "[0, 1, 2]\n"), err.decode()
