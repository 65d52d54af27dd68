"""The endpoint of ``aiocreds serve`` in this process, and a client of it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import datetime
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import ClientSession

from aiocreds.cli._endpoint import Endpoint
from tests.helpers.scripted import others

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.helpers.scripted import Source


class Answer(NamedTuple):
    """An answer of the endpoint."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def seconds_left(self) -> float:
        return datetime.fromisoformat(self.body["Expiration"]).timestamp() - time()


async def get(
    endpoint: Endpoint, path: str = "/", method: str = "GET", headers: Mapping[str, str | None] | None = None
) -> Answer:
    """Ask the endpoint, with the token unless `headers` say otherwise; None leaves a header out."""
    sent = {"Authorization": endpoint.token, **(headers or {})}
    async with (
        ClientSession() as http,
        http.request(
            method,
            f"http://127.0.0.1:{endpoint.port}{path}",
            headers={name: value for name, value in sent.items() if value is not None},
        ) as answer,
    ):
        text = await answer.text()
        return Answer(answer.status, answer.headers.copy(), json.loads(text) if text else {})


@asynccontextmanager
async def serving(source: Source) -> AsyncIterator[Endpoint]:
    """Run an endpoint with the credentials of `source`; it leaves no task behind."""
    async with Endpoint({"/": source.provider()}) as endpoint:
        yield endpoint
    assert not others()
