"""Requests of aiohttp and httpx with signatures of version 4A, checked as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from aiocreds.integrations.aiohttp import SigV4Auth
from aiocreds.integrations.httpx import SigV4Auth as HttpxSigV4Auth
from tests.helpers.scripted import Source, issue
from tests.helpers.sigv4_server import Arrived, Judge, xml
from tests.helpers.sigv4a import ALGORITHM, is_signed, public_key, text_of

if TYPE_CHECKING:
    from aiocreds import Credentials

pytestmark = pytest.mark.slow


async def put(client: str, source: Source, service: str, url: str, body: bytes) -> int:
    options: dict[str, Any] = {"service": service, "region_set": "*"}
    if client == "aiohttp":
        auth = SigV4Auth(source.provider(), **options)
        async with aiohttp.ClientSession(middlewares=[auth]) as session, session.put(url, data=body) as answer:
            return answer.status
    async with httpx.AsyncClient(auth=HttpxSigV4Auth(source.provider(), **options)) as http:
        return (await http.put(url, content=body)).status_code


def is_good(arrived: Arrived, service: str, keys: Credentials) -> bool:
    parts = dict(
        part.split("=", 1) for part in (arrived.header("Authorization") or "").removeprefix(ALGORITHM).split(", ")
    )
    key_id, _, scope = parts[" Credential"].partition("/")
    text = text_of(
        arrived.method,
        f"http://x{arrived.raw_path}",
        arrived.headers,
        arrived.body,
        signed=parts["SignedHeaders"],
        scope=scope,
        at=arrived.header("X-Amz-Date") or "",
        service=service,
    )
    key = public_key(keys.access_key_id, keys.secret_access_key)
    named = arrived.header("X-Amz-Region-Set") == "*" and "x-amz-region-set" in parts["SignedHeaders"]
    return named and key_id == keys.access_key_id and is_signed(text, parts["Signature"], key)


@pytest.mark.parametrize("client", ["aiohttp", "httpx"])
@pytest.mark.parametrize("service", ["s3", "events"])
async def test_requests_are_signed_and_again_when_the_keys_have_expired(client: str, service: str) -> None:
    old, new = issue(), issue()
    answers = iter([xml("ExpiredToken"), web.Response()])
    async with Judge() as judge:
        judge.answers["/a b/ü"] = lambda: next(answers)
        assert await put(client, Source(old, new), service, f"{judge.url}/a b/ü?x=1&y=b c", b"body") == 200
    first, second = judge.arrived
    assert is_good(first, service, old)
    assert is_good(second, service, new)
    assert not is_good(second, service, old)
