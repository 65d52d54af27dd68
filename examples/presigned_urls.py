"""A presigned URL that lives as long as it says.

Run it with ``python presigned_urls.py BUCKET KEY [MINUTES]``. It takes credentials from wherever it runs, and the
region from ``AWS_REGION``.

A URL ends with the credentials that signed it, whatever its own ``ExpiresIn`` promises; and
``generate_presigned_url`` alone signs with what is held at that moment, of which a few minutes may be left. So ask
for credentials with enough life left first: the client then signs with those.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from aiocreds import Provider, default_chain
from aiocreds.integrations.aiobotocore import attach


async def presign(provider: Provider, s3: Any, bucket: str, key: str, lives: timedelta) -> tuple[str, datetime]:
    """Return a URL to read an object, and when it really expires."""
    credentials = await provider.get(min_ttl=lives)
    url: str = await s3.generate_presigned_url(
        "get_object", {"Bucket": bucket, "Key": key}, ExpiresIn=int(lives.total_seconds())
    )
    end = datetime.now(UTC) + lives
    # Where even new credentials live for less (a role's for an hour, by default), nothing can be done here.
    return url, end if credentials.expiration is None else min(end, credentials.expiration)


async def main(bucket: str, key: str, minutes: str = "15") -> None:
    """Print one URL."""
    provider = default_chain()
    region = os.environ.get("AWS_REGION", "eu-central-1")
    config = AioConfig(signature_version="s3v4")
    async with attach(get_session(), provider).create_client("s3", region_name=region, config=config) as s3:
        url, end = await presign(provider, s3, bucket, key, timedelta(minutes=float(minutes)))
    print(url)
    print(f"It ends at {end:%Y-%m-%d %H:%M:%S} UTC.", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
