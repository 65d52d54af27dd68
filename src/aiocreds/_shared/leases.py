"""Leases: one process fetches, while the others wait or go on with what they hold.

A lease has an owner, named by a random token, and a time limit that the owner prolongs while it fetches. A process
that dies or is stopped prolongs nothing, so the others wait no longer than that limit. The clocks of two hosts are
never compared.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Protocol

from aiocreds._base import threads

if TYPE_CHECKING:
    from aiocreds._shared.folder import Folder
    from aiocreds._token_cache.lock import FileLock

SUFFIX = ".lock"
FILES = 3  # of one lease: the next one counts where the owner of the one before is stopped
COLLECTION = "aiocreds-leases"
LONG_AGO = 3600.0  # seconds; more than any two clocks are apart


class Lease(Protocol):
    """A lease of which one process at a time is the owner. A lease of your own may use any storage they all reach.

    It may raise anything: the process then fetches without a lease. All calls are bounded in time.
    """

    async def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take the lease for so many seconds, or prolong it when it is this owner's.

        Args:
            name: of the lease.
            owner: a random token.
            seconds: after which it is free again, unless prolonged.

        Returns:
            whether it is this owner's now.
        """
        ...

    async def release(self, name: str, owner: str) -> None:
        """Give it up, if it is this owner's."""
        ...


class RedisLease:
    """A lease on a Redis or Valkey server, which ends it by the server's own clock.

    ::

        client = redis.asyncio.Redis.from_url("rediss://cache.internal:6379")
        shared(provider, store=a_store_of_another_kind, lease=RedisLease(client), secret_keys=[key])

    Where the client itself is the ``store=``, this is the lease by default.

    Args:
        client: a ``redis.asyncio.Redis``, ``valkey.asyncio.Valkey``, or one of a cluster.
        prefix: what the names of leases begin with.
    """

    _ACQUIRE = (
        "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end"
        " if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end"
        " return 0"
    )
    _RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

    def __init__(self, client: Any, *, prefix: str = "aiocreds-lease:") -> None:
        self._client = client
        self._prefix = prefix

    async def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take or prolong the lease."""
        limit = str(max(int(seconds * 1000), 1))
        return bool(await self._client.eval(self._ACQUIRE, 1, self._prefix + name, owner, limit))

    async def release(self, name: str, owner: str) -> None:
        """Give it up, if it is this owner's."""
        await self._client.eval(self._RELEASE, 1, self._prefix + name, owner)


class _Seen:
    """The leases of others as last seen: one that has not been prolonged for its time is free."""

    def __init__(self) -> None:
        self._beats: dict[str, tuple[object, float]] = {}

    def stale(self, name: str, beat: object, seconds: float) -> bool:
        """Return whether a lease has shown the same beat for so long."""
        now, (known, since) = monotonic(), self._beats.get(name, (None, 0.0))
        if known != beat:
            self._beats[name] = beat, now
            return False
        return now - since >= seconds

    def forget(self, name: str) -> None:
        """Forget what was seen of a lease."""
        self._beats.pop(name, None)


class DynamoDBLease:
    """A lease in a DynamoDB table, by conditional writes.

    The table is one as ``DynamoDBStore`` has it: ``collection`` is its partition key, ``key`` its sort key, both
    texts; the store's own will do. The client needs ``dynamodb:PutItem`` and ``dynamodb:DeleteItem``. DynamoDB
    ends no item in time, so each prolongation changes the item, and one that stays as it is for the lease's time is
    taken over.

    Args:
        client: of aiobotocore, for ``"dynamodb"``.
        table_name: of the table.
    """

    def __init__(self, client: Any, table_name: str) -> None:
        self._client = client
        self._table = table_name
        self._seen = _Seen()

    async def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take or prolong the lease."""
        from secrets import token_hex

        values: dict[str, Any] = {":owner": {"S": owner}, ":old": {"N": str(int(time() - LONG_AGO))}}
        condition = "attribute_not_exists(#key) OR #owner = :owner OR #ttl < :old"
        item = {
            **self._key(name),
            "owner": {"S": owner},
            "beat": {"S": token_hex(8)},
            "ttl": {"N": str(int(time() + seconds) + 1)},
        }
        other = await self._put(item, condition, values)
        beat = other.get("beat", {}).get("S")
        if other and self._seen.stale(name, beat, seconds):
            stolen = "#beat = :beat"
            other = await self._put(item, stolen, {":beat": {"S": beat}})
        if not other:
            self._seen.forget(name)
        return not other

    async def release(self, name: str, owner: str) -> None:
        """Give it up, if it is this owner's."""
        with suppress(self._client.exceptions.ConditionalCheckFailedException):  # another's by now
            await self._client.delete_item(
                TableName=self._table,
                Key=self._key(name),
                ConditionExpression="#owner = :owner",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":owner": {"S": owner}},
            )

    def _key(self, name: str) -> dict[str, Any]:
        return {"collection": {"S": COLLECTION}, "key": {"S": name}}

    async def _put(self, item: dict[str, Any], condition: str, values: dict[str, Any]) -> dict[str, Any]:
        """Write an item; return the one that stands against it, empty when it was written."""
        names = {f"#{name}": name for name in ("key", "owner", "ttl", "beat") if f"#{name}" in condition}
        try:
            await self._client.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            return refused.response.get("Item") or {"beat": {}}
        return {}


class FolderLease:
    """A lease that is a lock on a file: it goes with its process, however that ends.

    That of a process which is stopped stays. Its owner changes the file's time while at work, and where that has
    not changed for the lease's time, the lock on the next file is the lease.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._seen = _Seen()
        self._locks: dict[tuple[str, str], list[FileLock]] = {}

    async def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take or prolong the lease."""
        if (name, owner) not in self._locks:
            from aiocreds._token_cache.lock import FileLock  # who finds an entry needs no lock

            loop, path = asyncio.get_running_loop(), os.path.join(self._folder.path, name + SUFFIX)  # noqa: PTH118 - pathlib is slow to load
            # Known here before a thread takes one of them, so that a release ends them also after a time-out.
            self._locks[name, owner] = [FileLock(f"{path}{number or ''}", loop) for number in range(FILES)]
        return await threads.submit(self._acquire, self._locks[name, owner], seconds)

    async def release(self, name: str, owner: str) -> None:
        """Give it up, if it is this owner's."""
        await threads.submit(self.give_up, name, owner)

    def give_up(self, name: str, owner: str) -> None:
        """Give it up, in this thread."""
        for lock in self._locks.pop((name, owner), ()):
            lock.release()

    def _acquire(self, locks: list[FileLock], seconds: float) -> bool:
        self._folder.prepare()
        for lock in locks:
            if lock.take():
                os.utime(lock.path)
                self._seen.forget(lock.path)
                return True
            if not self._seen.stale(lock.path, os.stat(lock.path).st_mtime_ns, seconds):  # noqa: PTH116 - as above
                return False
        return True
