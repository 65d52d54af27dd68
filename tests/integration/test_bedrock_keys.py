"""bedrock_token(): the clients of OpenAI and Anthropic send its keys, made anew for each request."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from aiocreds.tokens import bedrock_token
from tests.helpers.examples import EXAMPLES, keys, run
from tests.helpers.scripted import Source, issue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REGION = "eu-central-1"
PROMPT = {"role": "user", "content": "hello"}
ANSWERS: dict[str, dict[str, Any]] = {
    "/openai/v1/chat/completions": {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "2013"}}],
    },
    "/model/m/invoke": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "in 2014"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


@asynccontextmanager
async def bedrock(busy: int = 0) -> AsyncIterator[tuple[str, list[str]]]:
    """Give the URL of a service, and the access key ids that signed the keys which it has got.

    Args:
        busy: requests that it does not answer at first.
    """
    signers: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        key = request.headers["Authorization"].removeprefix("Bearer bedrock-api-key-")
        url = urlsplit("https://" + base64.b64decode(key, validate=True).decode())
        signers.append(parse_qs(url.query)["X-Amz-Credential"][0].partition("/")[0])
        if len(signers) <= busy:
            return web.json_response({}, status=503, headers={"Retry-After": "0.01"})
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


@pytest.mark.parametrize("own", [False, True], ids=["AsyncOpenAI", "AsyncBedrockOpenAI"])
async def test_openai_asks_for_each_request(own: bool) -> None:
    openai: Any = pytest.importorskip("openai")
    issued = [issue(), issue()]
    provider = Source(*issued).provider()
    token = bedrock_token(provider, REGION)

    def client_of(url: str) -> Any:
        if own:
            return openai.AsyncBedrockOpenAI(base_url=url, bedrock_token_provider=token, aws_region=REGION)
        return openai.AsyncOpenAI(base_url=url, api_key=token)

    async with bedrock() as (url, signers), client_of(f"{url}/openai/v1") as client:
        await client.chat.completions.create(model="m", messages=[PROMPT])
        provider.invalidate(issued[0])
        await client.chat.completions.create(model="m", messages=[PROMPT])
    assert signers == [key.access_key_id for key in issued]


async def test_anthropic_takes_one_for_each_request() -> None:
    anthropic: Any = pytest.importorskip("anthropic")
    issued = [issue(), issue()]
    provider = Source(*issued).provider()
    token = bedrock_token(provider, REGION)
    async with (
        bedrock() as (url, signers),
        anthropic.AsyncAnthropicBedrock(base_url=url, api_key=await token(), aws_region=REGION) as client,
    ):
        await client.messages.create(model="m", max_tokens=5, messages=[PROMPT])
        provider.invalidate(issued[0])
        again = client.with_options(api_key=await token())
        await again.messages.create(model="m", max_tokens=5, messages=[PROMPT])
    assert signers == [key.access_key_id for key in issued]


async def test_anthropic_asks_for_each_attempt() -> None:
    """By a middleware, also for those that the client makes again."""
    anthropic: Any = pytest.importorskip("anthropic")
    issued = [issue(), issue()]
    provider = Source(*issued).provider()
    token = bedrock_token(provider, REGION)

    async def renew(request: Any, call_next: Any) -> Any:
        client.api_key = await token()
        answer = await call_next(request)
        provider.invalidate(issued[0])
        return answer

    async with bedrock(busy=1) as (url, signers):
        client = anthropic.AsyncAnthropicBedrock(base_url=url, api_key="-", aws_region=REGION, middleware=[renew])
        async with client:
            await client.messages.create(model="m", max_tokens=5, messages=[PROMPT])
    assert signers == [key.access_key_id for key in issued]


@pytest.mark.slow
async def test_the_example(home: Path) -> None:
    pytest.importorskip("anthropic")
    pytest.importorskip("openai")
    async with bedrock() as (url, signers):
        environ = {**keys(), "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url}
        ended = await run(EXAMPLES / "bedrock_key.py", "m", "m", home=home, **environ)
    assert ended == (0, "2013\nin 2014\n", "")
    assert signers == [environ["AWS_ACCESS_KEY_ID"]] * 2
