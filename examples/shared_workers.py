"""Four uvicorn workers, one AssumeRole call: all have the same key. Needs aiocreds, FastAPI, uvicorn, moto.

``python shared_workers.py`` starts an STS on loopback and the workers, asks until all four have answered, and ends.
In a program of your own, what counts are the three lines of `provider`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.request import urlopen

from fastapi import FastAPI

from aiocreds import from_env, from_temporary_credentials, shared

WORKERS = 4

role = from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/app", source=from_env())
provider = shared(role, store=os.environ.get("SHARED_FOLDER"))  # by default below ~/.cache


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load while the server starts, and keep fresh until it stops."""
    async with provider:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def whoami() -> dict[str, Any]:
    """Return which worker this is, and the end of the key that it has."""
    credentials = await provider()
    return {"worker": os.getpid(), "key": credentials.access_key_id[-4:]}


def main() -> None:
    """Start all of it, and show what the workers have."""
    from moto.server import ThreadedMotoServer

    sts = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    sts.start()
    host, port = sts.get_host_and_port()
    with create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE01",
            "AWS_SECRET_ACCESS_KEY": "example",
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_STS": f"http://{host}:{port}",
            "SHARED_FOLDER": f"{folder}/store",
        }
        words = ["uvicorn", "shared_workers:app", "--workers", str(WORKERS), "--log-level", "warning"]
        words += ["--port", url.rpartition(":")[2]]
        server = subprocess.Popen([sys.executable, "-m", *words], env=environ, cwd=Path(__file__).parent)
        keys: dict[int, str] = {}
        give_up = time.monotonic() + 50
        try:
            while len(keys) < WORKERS and time.monotonic() < give_up:
                with suppress(OSError), urlopen(url, timeout=5) as answer:
                    found = json.load(answer)
                    keys[found["worker"]] = found["key"]
                time.sleep(0.01)
        finally:
            server.terminate()
            server.wait()
            sts.stop()
    different = sorted(set(keys.values()))
    print(f"{len(keys)} workers, {len(different)} AssumeRole call: key ****{', ****'.join(different)}")


if __name__ == "__main__":
    main()
