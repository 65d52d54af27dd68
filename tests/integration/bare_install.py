"""Check aiocreds with nothing else installed: ``nox -s bare`` runs this there, no test runner included."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EXTRAS = {
    "aiobotocore": "aiobotocore",
    "boto3": "boto3",
    "httpx": "httpx",
    "obstore": "obstore",
    "opentelemetry": "opentelemetry",
    "opensearch": "opensearch",
    "polars": "polars",
    "prometheus": "prometheus",
    "awscrt": "awscrt",
    "duckdb": "duckdb",
    "smithy": "smithy",
}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true"}


def command() -> None:
    command = [sys.executable, "-m", "aiocreds"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("\nargcomplete not installed: pip install 'aiocreds[cli]'\n"), done.stderr
    os.environ.update(KEYS)
    done = subprocess.run([*command, "export"], capture_output=True, text=True, check=False)
    assert '"AccessKeyId": "AKIDEXAMPLE"' in done.stdout, done.stderr


async def main() -> None:
    import aiocreds
    from aiocreds.integrations import postgresql, sqlalchemy
    from aiocreds.integrations.aiohttp import SigV4Auth

    provider = aiocreds.default_chain(context=aiocreds.Context(KEYS, home="/nonexistent"))
    assert (await provider()).provider == "env"
    url = await SigV4Auth(provider, service="s3", region="eu-central-1").presign(
        "GET", "https://b.s3.amazonaws.com/k"
    )
    assert "X-Amz-Signature=" in url
    for name in aiocreds.__all__:
        getattr(aiocreds, name)
    for module, extra in EXTRAS.items():
        said = "it is installed here"
        try:
            importlib.import_module(f"aiocreds.integrations.{module}")
        except ModuleNotFoundError as error:
            said = str(error)
        assert f"pip install 'aiocreds[{extra}]'" in said, said
    calls: dict[str, Callable[[], object]] = {
        "asyncpg": lambda: postgresql.asyncpg_connector(provider),
        "psycopg": lambda: postgresql.psycopg_connection(provider),
        "sqlalchemy": lambda: sqlalchemy.attach(None, provider),
    }
    for extra, call in calls.items():
        said = "it is installed here"
        try:
            call()
        except ModuleNotFoundError as error:
            said = str(error)
        assert f"pip install 'aiocreds[{extra}]'" in said, said
    assert not {"botocore", "cryptography"} & set(sys.modules)
    print("aiocreds alone works; each missing extra says what to install")


command()
asyncio.run(main())
