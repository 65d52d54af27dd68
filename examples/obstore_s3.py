"""obstore on S3: fifty tasks on one store, which signs with what is current.

Run it with ``python obstore_s3.py my-bucket``: it writes fifty small objects under ``aiocreds/`` and reads them
back. It takes credentials from wherever it runs, and region and endpoint from ``AWS_REGION`` and
``AWS_ENDPOINT_URL`` (with ``AWS_ALLOW_HTTP=true`` for one without TLS).
"""

from __future__ import annotations

import asyncio
import sys

from obstore.store import S3Store

from aiocreds import default_chain
from aiocreds.integrations.obstore import obstore_credentials


async def main(bucket: str) -> None:
    async with default_chain() as provider:
        store = S3Store(bucket, prefix="aiocreds", credential_provider=obstore_credentials(provider))

        async def work(number: int) -> int:
            await store.put_async(f"{number}.txt", b"%d" % number)
            answer = await store.get_async(f"{number}.txt")
            return int((await answer.bytes_async()).to_bytes())

        print(sum(await asyncio.gather(*(work(number) for number in range(50)))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
