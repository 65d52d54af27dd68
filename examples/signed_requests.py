"""Call AWS without an SDK: aiohttp and httpx, whose requests are signed with a provider's current credentials.

Runs as it stands, against an AWS inside the process: ``pip install 'aiocreds[httpx]' 'moto[s3,server]'``. With real
credentials and a real bucket, leave out ``context`` and write the bucket's own URL.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import aiohttp
import httpx
from moto.server import ThreadedMotoServer

from aiocreds import Context, default_chain
from aiocreds.integrations.aiohttp import SigV4Auth
from aiocreds.integrations.httpx import SigV4Auth as HttpxSigV4Auth

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "of-the-embedded-aws"}


async def main(bucket: str) -> None:
    async with default_chain(context=Context(KEYS)) as provider:
        # aiohttp: a client middleware, the last one.
        signed = SigV4Auth(provider, service="s3", region="us-east-1")
        async with aiohttp.ClientSession(middlewares=[signed], raise_for_status=True) as session:
            await session.put(bucket)
            await session.put(f"{bucket}/2026/november report.csv", data=b"a,b\n1,2\n")
            async with session.get(bucket, params={"list-type": "2", "prefix": "2026/"}) as answer:
                print("aiohttp lists:", "november report.csv" in await answer.text())

        # httpx: an auth of an AsyncClient.
        auth = HttpxSigV4Auth(provider, service="s3", region="us-east-1")
        async with httpx.AsyncClient(auth=auth) as client:
            report = await client.get(f"{bucket}/2026/november report.csv")
            print("httpx reads:", report.text.splitlines())

        # A URL for somebody without credentials. They live at least as long as it does, where the source can.
        url = await signed.presign("GET", f"{bucket}/2026/november report.csv", expires_in=timedelta(minutes=15))
        async with httpx.AsyncClient() as anybody:
            print("anybody may read it:", (await anybody.get(url)).status_code)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    aws = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    aws.start()
    try:
        asyncio.run(main("http://{}:{}/reports".format(*aws.get_host_and_port())))
    finally:
        aws.stop()
