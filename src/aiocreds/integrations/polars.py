"""Polars: queries on S3 sign with a provider's current credentials.

::

    credentials = polars_credentials(provider)
    frame = pl.scan_parquet("s3://my-bucket/*.parquet", credential_provider=credentials).collect()

Install with ``pip install 'aiocreds[polars]'``.
"""

from __future__ import annotations

import functools
from time import time
from typing import TYPE_CHECKING

from aiocreds._core.decorator import as_provider
from aiocreds.integrations import _background
from aiocreds.integrations._extras import renamed, require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

require("polars", "polars")

# Polars rejects expired credentials, though their service may accept them, and waits when less than 7 s are left.
SHORTEST = 15.0
EARLY = 60.0  # seconds before the end, so that requests under way still succeed


def polars_credentials(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], tuple[dict[str, str], int | None]]:
    """Make a ``credential_provider=`` for Polars' ``scan_…``, ``read_…``, ``sink_…`` and ``write_…``.

    Any thread may call it; refreshes run on one loop in the background, as in :mod:`aiocreds.integrations.boto3`.
    Polars caches the keys of each until a minute before they expire: to have an ``invalidate`` followed, make one
    for each query.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``. What it raises, the query raises.

    Returns:
        A function without arguments that gives keys, and when they expire in seconds since the epoch.
    """
    return functools.partial(_current, as_provider(provider, taker="polars_credentials()"))


def _current(provider: Provider) -> tuple[dict[str, str], int | None]:
    credentials = _background.current(provider)
    keys = {"aws_access_key_id": credentials.access_key_id, "aws_secret_access_key": credentials.secret_access_key}
    if credentials.session_token is not None:
        keys["aws_session_token"] = credentials.session_token
    left = provider.status.seconds_left
    return keys, None if left is None else int(time() + max(left - EARLY, SHORTEST))


if not TYPE_CHECKING:  # the old name, for one release; type checkers report it
    __getattr__ = renamed(__name__, {"credential_provider": polars_credentials})
