"""PostgreSQL on RDS, Aurora or Aurora DSQL without a password: each connection logs in with a token.

Needs ``pip install 'aiocreds[sqlalchemy,asyncpg]'``, and the certificate authorities of RDS, from
https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem. Run it with
``python postgres_iam.py postgresql+asyncpg://app@ENDPOINT/books global-bundle.pem``.
It takes credentials from wherever it runs.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from aiocreds import default_chain
from aiocreds.integrations.sqlalchemy import attach


async def main(url: str, bundle: str) -> None:
    tls = ssl.create_default_context(cafile=bundle)  # once, since that takes its time
    async with default_chain() as provider:
        engine = attach(create_async_engine(url, connect_args={"ssl": tls}), provider)

        async def work(number: int) -> int:
            async with engine.connect() as connection:
                answer = await connection.execute(text("select :number * 2"), {"number": number})
                return int(answer.scalar_one())

        print(sum(await asyncio.gather(*(work(number) for number in range(50)))))
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
