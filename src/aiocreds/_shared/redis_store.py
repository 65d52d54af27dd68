"""Entries in Redis or Valkey, through a client that the program has."""

from __future__ import annotations

import json
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._shared.provider import Client, Store


def store_of(given: Store | Client) -> Store:
    """Return the store that is given, or one in the server of the client that is given.

    Raises:
        TypeError: it is a client that blocks, or neither.
    """
    if callable(getattr(given, "put", None)):
        return cast("Store", given)
    kind: Any = type(given)
    what = f"store= is a {kind.__module__}.{kind.__qualname__}"
    if not hasattr(kind, "execute_command"):
        raise TypeError(f"{what}: pass a folder, an asyncio client of Redis or Valkey, or an AsyncKeyValue")
    if not iscoroutinefunction(kind.execute_command):
        raise TypeError(f"{what}, which blocks: pass a client of redis.asyncio or valkey.asyncio")
    return RedisStore(given)


class RedisStore:
    """A store of entries, which the server removes when they expire.

    Args:
        client: a ``redis.asyncio.Redis``, ``valkey.asyncio.Valkey``, or one of a cluster.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        """Return a value; an empty one for what is none."""
        text = await self.client.get(_name(key, collection))
        if text is None:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return {}
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: float | None = None
    ) -> None:
        """Keep a value for ``ttl`` seconds."""
        limit = None if ttl is None else max(int(ttl * 1000), 1)
        await self.client.set(_name(key, collection), json.dumps(value), px=limit)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Remove a value."""
        return bool(await self.client.delete(_name(key, collection)))


def _name(key: str, collection: str | None) -> str:
    return f"{collection}:{key}"
