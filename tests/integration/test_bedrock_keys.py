"""bedrock_token(): the clients of OpenAI and Anthropic send its keys, made anew for each request."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from aiocreds.tokens import bedrock_token
from tests.helpers.scripted import Source, issue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REGION = "eu-central-1"
PROMPT = {"role": "user", "content": "hello"}
ANSWERS: dict[str, dict[str, Any]] = {
    "/openai/v1/chat/completions": {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [],
    },
    "/model/m/invoke": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


@asynccontextmanager
async def bedrock() -> AsyncIterator[tuple[str, list[str]]]:
    """Give the URL of a service, and the access key ids that signed the keys which it has got."""
    signers: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        key = request.headers["Authorization"].removeprefix("Bearer bedrock-api-key-")
        url = urlsplit("https://" + base64.b64decode(key, validate=True).decode())
        signers.append(parse_qs(url.query)["X-Amz-Credential"][0].partition("/")[0])
        return web.json_response(ANSWERS[request.path])

    app = web.Application()
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2]), signers
    finally:
        await runner.cleanup()


async def test_openai_asks_for_each_request() -> None:
    openai: Any = pytest.importorskip("openai")
    keys = [issue(), issue()]
    provider = Source(*keys).provider()
    token = bedrock_token(provider, REGION)
    async with (
        bedrock() as (url, signers),
        openai.AsyncOpenAI(base_url=f"{url}/openai/v1", api_key=token) as client,
    ):
        await client.chat.completions.create(model="m", messages=[PROMPT])
        provider.invalidate(keys[0])
        await client.chat.completions.create(model="m", messages=[PROMPT])
    assert signers == [key.access_key_id for key in keys]


async def test_anthropic_takes_one_for_each_request() -> None:
    anthropic: Any = pytest.importorskip("anthropic")
    keys = [issue(), issue()]
    provider = Source(*keys).provider()
    token = bedrock_token(provider, REGION)
    async with (
        bedrock() as (url, signers),
        anthropic.AsyncAnthropicBedrock(base_url=url, api_key=await token(), aws_region=REGION) as client,
    ):
        await client.messages.create(model="m", max_tokens=5, messages=[PROMPT])
        provider.invalidate(keys[0])
        again = client.with_options(api_key=await token())
        await again.messages.create(model="m", max_tokens=5, messages=[PROMPT])
    assert signers == [key.access_key_id for key in keys]
