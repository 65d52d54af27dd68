"""A source of your own, in a chain between two of ours: credentials from a vault, with a lease.

Run it with ``python custom_source.py``. It brings its own little vault, so it needs nothing and nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from aiocreds import (
    Context,
    Credentials,
    CredentialsError,
    CredentialsNotFound,
    Provider,
    SourceUnavailable,
    chain,
    credential_provider,
    from_env,
    from_instance_metadata,
)


@credential_provider
async def from_vault(path: str, *, context: Context) -> Credentials:
    """Ask the vault at ``VAULT_ADDR`` for credentials with a lease.

    All that aiocreds does for its own sources it does for this one: one request however many ask, a refresh
    behind the callers ahead of the lease's end, the old ones served while the vault is down.
    """
    address = context.environ.get("VAULT_ADDR")
    if not address:
        raise CredentialsNotFound("VAULT_ADDR is not set")  # not configured here: the chain goes on
    try:
        async with aiohttp.request(
            "GET",
            f"{address}/v1/{path}",
            headers={"X-Vault-Token": context.environ.get("VAULT_TOKEN", "")},
            timeout=aiohttp.ClientTimeout(total=5),
        ) as answer:
            if answer.status != 200:  # configured and failing: the chain stops
                raise SourceUnavailable(f"the vault at {address} answered {answer.status} for {path}")
            secret: dict[str, Any] = await answer.json()
    except aiohttp.ClientError as error:
        raise SourceUnavailable(f"the vault at {address}: {type(error).__name__}") from error
    return Credentials(
        access_key_id=secret["data"]["access_key"],
        secret_access_key=secret["data"]["secret_key"],
        session_token=secret["data"]["security_token"],
        expiration=datetime.now(UTC) + timedelta(seconds=secret["lease_duration"]),
        provider="vault",
    )


def credentials_for(environ: dict[str, str]) -> Provider:
    """Return the chain of this program, on a machine with these variables."""
    context = Context({"AWS_EC2_METADATA_DISABLED": "true", **environ})
    return chain(
        from_env(context=context),
        from_vault("aws/creds/app", context=context),
        from_instance_metadata(context=context),
    )


async def main() -> None:
    print("1. No source has any. Ours and yours say why, in one message:")
    await show(credentials_for({}))

    async with little_vault() as vault:
        print("2. There is a vault. Twenty tasks ask, and it is asked once:")
        provider = credentials_for(vault.environ)
        await asyncio.gather(*(provider() for _ in range(20)))
        await show(provider)
        print(f"   requests to the vault: {vault.requests}")

        print("3. A service rejects these credentials. Who says so gets others:")
        provider.invalidate(await provider())
        await show(provider)

        print("4. The vault is sealed, and a refresh fails. Those that are held are still good:")
        vault.sealed = True
        await provider.get(min_ttl=timedelta(hours=2))
        await show(provider)
        print(f"   last error: {provider.status.last_error}")

        print("5. A program that starts now fails, instead of going on as the instance it runs on:")
        await show(credentials_for(vault.environ))

        print("6. Keys in the environment come first:")
        keys = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEMYKEYS", "AWS_SECRET_ACCESS_KEY": "example"}
        await show(credentials_for({**vault.environ, **keys}))


async def show(provider: Provider) -> None:
    """Return what a caller gets."""
    try:
        print(f"   {await provider()}")
    except CredentialsError as error:
        print(f"   {type(error).__name__}: {error}".replace("\n", "\n   "))


class Vault:
    """The state of the fake vault."""

    environ: dict[str, str]
    requests = 0
    sealed = False


@asynccontextmanager
async def little_vault() -> AsyncIterator[Vault]:
    """Run a vault on loopback that issues numbered keys for an hour."""
    vault = Vault()
    numbers = itertools.count(1)

    async def read(request: web.Request) -> web.Response:
        vault.requests += 1
        if vault.sealed or request.headers.get("X-Vault-Token") != "a-token":
            return web.Response(status=503 if vault.sealed else 403)
        number = next(numbers)
        data = {
            "access_key": f"ASIAVAULT{number:08}",
            "secret_key": f"vault-secret-{number}",
            "security_token": f"vault-token-{number}",
        }
        return web.json_response({"lease_duration": 3600, "data": data})

    app = web.Application()
    app.router.add_get("/v1/{path:.*}", read)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vault.environ = {"VAULT_ADDR": "http://{}:{}".format(*runner.addresses[0][:2]), "VAULT_TOKEN": "a-token"}
    try:
        yield vault
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="   %(levelname)s %(name)s: %(message)s")
    asyncio.run(main())
