"""Bedrock with short-term API keys: the clients of OpenAI and Anthropic get a new one for each request.

Run it with ``python bedrock_key.py openai.gpt-oss-20b-1:0 anthropic.claude-haiku-4-5-20251001-v1:0``. It takes
credentials from wherever it runs, the region from ``AWS_REGION``, and an endpoint of another place from
``AWS_ENDPOINT_URL_BEDROCK_RUNTIME``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from anthropic import APIRequest, AsyncAPIResponse, AsyncCallNext
from anthropic.lib.bedrock import AsyncAnthropicBedrock
from openai import AsyncOpenAI

from aiocreds import default_chain
from aiocreds.tokens import bedrock_token

REGION = os.environ.get("AWS_REGION", "us-east-1")
ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", f"https://bedrock-runtime.{REGION}.amazonaws.com")
QUESTION = "In which year was asyncio added to Python?"


async def main(gpt: str, claude: str) -> None:
    async with default_chain() as provider:
        token = bedrock_token(provider, REGION)

        async with AsyncOpenAI(base_url=f"{ENDPOINT}/openai/v1", api_key=token) as openai:
            completion = await openai.chat.completions.create(
                model=gpt, messages=[{"role": "user", "content": QUESTION}]
            )
            print(completion.choices[0].message.content)

        async def renew(request: APIRequest, call_next: AsyncCallNext) -> AsyncAPIResponse[Any]:
            anthropic.api_key = await token()
            return await call_next(request)

        anthropic = AsyncAnthropicBedrock(
            base_url=ENDPOINT, aws_region=REGION, api_key="comes with each request", middleware=[renew]
        )
        async with anthropic:
            message = await anthropic.messages.create(
                model=claude, max_tokens=100, messages=[{"role": "user", "content": QUESTION}]
            )
            print(*(block.text for block in message.content if block.type == "text"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
