"""Assume a role on behalf of somebody else's resource, and say so.

A service that acts for many customers is a deputy, and may be confused into acting for the wrong one. The
headers ``x-amz-source-account`` and ``x-amz-source-arn`` tell AWS STS on whose behalf it acts, and the role's
trust policy checks them (``aws:SourceAccount``, ``aws:SourceArn``). The middleware runs before signing, so
nobody can change them on the way.

Run it with ``python confused_deputy.py ROLE_ARN ACCOUNT RESOURCE_ARN``.

See https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp

from aiocreds import ClientConfig, Provider, default_chain, from_temporary_credentials


def on_behalf_of(account: str, arn: str) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that names the account and the resource that a request is made for."""

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["x-amz-source-account"] = account
        request.headers["x-amz-source-arn"] = arn
        return await handler(request)

    return middleware


def role_for(role_arn: str, *, account: str, arn: str) -> Provider:
    """Return a provider of the role's credentials, assumed for one resource."""
    return from_temporary_credentials(
        role_arn=role_arn,
        source=default_chain(),
        client=ClientConfig(middlewares=[on_behalf_of(account, arn)]),
    )


async def main(role_arn: str, account: str, arn: str) -> None:
    """Assume the role and show what may be shown."""
    print(await role_for(role_arn, account=account, arn=arn)())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
