"""A FastAPI service that shows Prometheus how its credentials are.

Run it with ``uvicorn metrics:app``, and ask it with ``curl localhost:8000/metrics``. It takes credentials from
wherever it runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from aiocreds import Credentials, default_chain
from aiocreds.integrations.prometheus import instrument

instrument()
provider = default_chain()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the credentials fresh until the server stops."""
    async with provider:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/metrics")
async def metrics() -> Response:
    """Return the metrics of the whole process, those of the credentials among them."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@app.get("/whoami")
async def whoami(credentials: Annotated[Credentials, Depends(provider)]) -> dict[str, str | None]:
    """Return the source and the account of the credentials."""
    return {"provider": credentials.provider, "account": credentials.account_id}
