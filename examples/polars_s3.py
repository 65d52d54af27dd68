"""Polars on S3: Parquet files or a Delta table, read and written with credentials that stay fresh.

Run it with ``python polars_s3.py 's3://bucket/folder/*.parquet'``, or with the address of a Delta table (which
needs ``deltalake``, too). It takes credentials from wherever it runs, and region and endpoint from ``AWS_REGION``
and ``AWS_ENDPOINT_URL``.
"""

# mypy: disable-error-code="import-not-found"
# pyright: basic, reportMissingImports=false
from __future__ import annotations

import asyncio
import sys

import polars as pl

from aiocreds import default_chain
from aiocreds.integrations.polars import polars_credentials


async def main(url: str) -> None:
    async with default_chain() as provider:
        scan = pl.scan_parquet if url.endswith(".parquet") else pl.scan_delta
        query = scan(url, credential_provider=polars_credentials(provider))
        print(await asyncio.to_thread(query.collect))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
