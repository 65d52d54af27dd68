"""put_secret(): a real DuckDB against moto's S3, which checks signatures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.moto_server import BUCKET, REGION, Lake
from tests.helpers.scripted import Source, issue
from tests.helpers.secret_leaks import MARK

duckdb: Any = pytest.importorskip("duckdb")

from aiocreds.integrations.duckdb import put_secret  # noqa: E402 - after the skip


@pytest.fixture
def connection() -> Any:
    """A DuckDB with its extension, from a wheel: nothing is fetched."""
    extensions: Any = pytest.importorskip("duckdb_ext")
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute("SET autoinstall_known_extensions = false")
    files = list(Path(extensions.__file__).parent.glob("extensions/*/*/httpfs.duckdb_extension"))
    if not files:
        pytest.skip("there is no wheel of httpfs for this DuckDB")
    connection.load_extension(str(files[0]))
    return connection


async def test_queries_follow_what_is_put(lake: Lake, connection: Any) -> None:
    role = lake.role()
    where: dict[str, Any] = {
        "region": REGION,
        "endpoint": lake.url.removeprefix("http://"),
        "url_style": "path",
        "use_ssl": False,
    }

    def query() -> Any:
        return connection.execute(f"SELECT content FROM read_text('s3://{BUCKET}/greeting')").fetchall()

    await put_secret(connection, role, **where)
    assert await asyncio.to_thread(query) == [("hello",)]
    await put_secret(connection, Source(issue()).provider(), **where)  # that moto does not know
    with pytest.raises(duckdb.Error, match="403"):
        await asyncio.to_thread(query)
    await put_secret(connection, role, **where)
    assert await asyncio.to_thread(query) == [("hello",)]


async def test_errors_show_no_keys(connection: Any) -> None:
    with pytest.raises(duckdb.Error, match="nope") as caught:
        await put_secret(connection, Source().provider(), nope="1")
    assert MARK not in str(caught.value)


async def test_options_have_names() -> None:
    wrong: dict[str, Any] = {"a) --": "x"}
    with pytest.raises(ValueError, match="no name of an option"):
        await put_secret(duckdb.connect(), Source().provider(), **wrong)


@pytest.mark.parametrize("name", [None, "", " ", b"x", 1])
async def test_a_secret_has_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match=r"name is .*: pass the name of a secret as a str"):
        await put_secret(duckdb.connect(), Source().provider(), name)


async def test_what_is_no_connection() -> None:
    given: Any = ":memory:"
    with pytest.raises(TypeError, match=r"takes a connection of duckdb\.connect\(\), not str"):
        await put_secret(given, Source().provider())
