"""A FastAPI service that always has fresh credentials.

Run it with ``uvicorn fastapi_app:app``. It takes credentials from wherever it runs, and the region from
``AWS_REGION``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from aiobotocore.session import get_session
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from aiocreds import Credentials, CredentialsError, default_chain
from aiocreds.integrations.aiobotocore import attach

provider = default_chain()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load credentials while the server starts, and keep them fresh until it stops.

    The server starts even when there are none yet; /ready then answers 503.
    """
    session = attach(get_session(), provider)
    region = os.environ.get("AWS_REGION", "eu-central-1")
    async with provider, session.create_client("s3", region_name=region) as s3:
        app.state.s3 = s3
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/whoami")
async def whoami(credentials: Annotated[Credentials, Depends(provider)]) -> dict[str, str | None]:
    """Return the source and the account of the credentials."""
    return {"provider": credentials.provider, "account": credentials.account_id}


@app.get("/buckets")
async def buckets(request: Request) -> list[str]:
    """Call AWS. The client may live for days: each request is signed with current credentials."""
    listing: dict[str, Any] = await request.app.state.s3.list_buckets()
    return [bucket["Name"] for bucket in listing["Buckets"]]


@app.get("/ready")
async def ready(response: Response) -> dict[str, Any]:
    """Answer the load balancer, without a request to any service.

    Once loaded, credentials of EC2, ECS and roles stay in use while their service is down, even past their
    expiration; leaving the load balancer for that would turn a short outage into a long one.
    """
    status = provider.status
    response.status_code = 200 if status.loaded else 503
    return {
        "ready": status.loaded,
        "seconds_left": status.seconds_left,
        "last_error": None if status.last_error is None else str(status.last_error),
    }


@app.exception_handler(CredentialsError)
async def no_credentials(_: Request, error: CredentialsError) -> JSONResponse:
    """Answer 503 when a request could not be signed. The log says why."""
    return JSONResponse({"detail": f"no AWS credentials: {type(error).__name__}"}, status_code=503)
