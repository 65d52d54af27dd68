"""DuckDB: queries on S3 sign with a provider's credentials, as of when they begin.

::

    connection = duckdb.connect()
    await put_secret(connection, default_chain(), region="eu-central-1")
    await asyncio.to_thread(connection.sql("SELECT * FROM 's3://my-bucket/*.parquet'").fetchall)

DuckDB keeps fixed keys and asks nobody for others: so put a secret before each query. Install with
``pip install 'aiocreds[duckdb]'``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from aiocreds._core.decorator import as_provider
from aiocreds.integrations._extras import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

require("duckdb", "duckdb")

LONG_QUERY = 900.0  # seconds
KEYS = "key_id", "secret", "session_token"


class _Connection(Protocol):
    def cursor(self) -> Any: ...


async def put_secret(
    connection: _Connection,
    provider: Provider | Callable[[], Awaitable[Credentials]],
    name: str = "aiocreds",
    *,
    min_ttl: float | timedelta = LONG_QUERY,
    **options: str | bool,
) -> None:
    """Create a secret of type ``s3`` from the provider's credentials, or replace it.

    It is kept in memory, for all connections to this database, and takes effect with the next query.

    Args:
        connection: a ``duckdb.DuckDBPyConnection``, with the extension ``httpfs``.
        provider: where credentials come from; or any ``async () -> Credentials``.
        name: the secret's.
        min_ttl: seconds that the credentials should live on: as long as the query may take; or a ``timedelta``.
        options: others of the secret: ``region``, ``scope``, ``endpoint``, ``url_style``, ``use_ssl``, …

    Raises:
        CredentialsError: there are no credentials.
        ValueError: ``name`` is none, or an option has no name of one.
        TypeError: ``connection`` is none.

    See https://duckdb.org/docs/stable/core_extensions/httpfs/s3api
    """
    _check(connection, name)
    for option in options:
        if not re.fullmatch(r"[A-Za-z_]+", option):
            raise ValueError(f"put_secret(): {option!r} is no name of an option")
    credentials = await as_provider(provider, taker="put_secret()").get(min_ttl=min_ttl)
    settings = ", ".join(f"{option} ${option}" for option in (*options, *KEYS))
    quoted = name.replace('"', '""')
    # Keys as parameters, since errors may quote the statement; in no variable, since tracebacks may show those.
    connection.cursor().execute(
        f'CREATE OR REPLACE SECRET "{quoted}" (TYPE s3, {settings})', {**options, **_keys(credentials)}
    )


def _check(connection: object, name: object) -> None:
    """Raise TypeError for what is no connection, and ValueError for what is no name."""
    if not callable(getattr(connection, "cursor", None)):
        raise TypeError(f"put_secret() takes a connection of duckdb.connect(), not {type(connection).__qualname__}")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"put_secret(): name is {name!r:.100}: pass the name of a secret as a str")


def _keys(credentials: Credentials) -> dict[str, str]:
    found = credentials.access_key_id, credentials.secret_access_key, credentials.session_token or ""
    return dict(zip(KEYS, found, strict=True))
