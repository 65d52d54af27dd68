"""Processes on many hosts share one role's credentials through Valkey or Redis.

Needs ``pip install 'aiocreds[shared]' redis``. Run it as often as you like, at once or one after the other: one
AssumeRole call an hour. ``SHARED_KEY`` is what ``Fernet.generate_key()`` of `cryptography` makes, or several such
keys with blanks between; the first one encrypts.
"""

from __future__ import annotations

import asyncio
import os

from redis.asyncio import Redis

from aiocreds import from_temporary_credentials, shared


async def main() -> None:
    """Get the role's credentials, from the store if they are there."""
    client: Redis = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - redis-py has types in part
        os.environ.get("VALKEY_URL", "redis://127.0.0.1:6379")
    )
    role = from_temporary_credentials(role_arn=os.environ.get("ROLE", "arn:aws:iam::123456789012:role/app"))
    provider = shared(role, store=client, secret_keys=os.environ["SHARED_KEY"].split())
    async with client, provider:
        print(await provider())


if __name__ == "__main__":
    asyncio.run(main())
