"""Polars: queries on S3 sign with a provider's current credentials.

::

    keys = polars_credentials(provider)
    frame = pl.scan_parquet("s3://my-bucket/*.parquet", credential_provider=keys).collect()

Install with ``pip install 'aiocreds[polars]'``.
"""

from __future__ import annotations

import functools
from time import time
from typing import TYPE_CHECKING

from aiocreds._core.provider import provided_by
from aiocreds.integrations import _background
from aiocreds.integrations._extras import require, warn_renamed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

require("polars", "polars")

# Seconds. Polars refuses expired keys, though the service may accept them, and waits when less than 7 s are left.
SHORTEST = 15.0
EARLY = 60.0  # Polars asks again so long before the end, so that requests under way still succeed


def polars_credentials(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], tuple[dict[str, str], int | None]]:
    """Return the ``credential_provider=`` for Polars' ``scan_…``, ``read_…``, ``sink_…`` and ``write_…``.

    It may be asked in any thread; refreshes run on one loop in the background, as in
    :mod:`aiocreds.integrations.boto3`. Polars keeps the answer of each one until a minute before it
    expires: to have an ``invalidate`` followed, make one for each query.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``. What it raises, the query raises.

    Returns:
        A function without arguments that returns keys, and their end in seconds since the epoch.
    """
    return functools.partial(_current, provided_by(provider, taker="polars_credentials()"))


def credential_provider(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], tuple[dict[str, str], int | None]]:
    """Return :func:`polars_credentials`; its deprecated name."""
    warn_renamed(__name__, "credential_provider", "polars_credentials")
    return polars_credentials(provider)


def _current(provider: Provider) -> tuple[dict[str, str], int | None]:
    credentials = _background.current(provider)
    keys = {"aws_access_key_id": credentials.access_key_id, "aws_secret_access_key": credentials.secret_access_key}
    if credentials.session_token is not None:
        keys["aws_session_token"] = credentials.session_token
    left = provider.status.seconds_left
    return keys, None if left is None else int(time() + max(left - EARLY, SHORTEST))
