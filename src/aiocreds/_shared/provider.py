"""shared(): one process of many fetches, and the others take what it put into the store."""

# ruff: noqa: SLF001 - a trip is a part of its provider
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from aiocreds._base import tracing
from aiocreds._base.threads import belongings
from aiocreds._base.time import time_limit
from aiocreds._core.provider import Provider, provided_by, remembering_the_call
from aiocreds._core.refresh import spread, windows
from aiocreds._core.singleflight import current_flight, note_role
from aiocreds._shared import key as keys
from aiocreds._shared.folder import Folder, folder_for
from aiocreds._shared.guard import Guard, Unanswered
from aiocreds._shared.leases import FolderLease
from aiocreds._shared.sealed import Entry, Refused, Sealer
from aiocreds.credentials import redact_key
from aiocreds.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from datetime import timedelta

    from aiocreds._shared.leases import Lease
    from aiocreds.credentials import Credentials

    class Store(Protocol):
        """What is asked of a store: a part of ``AsyncKeyValue`` of `py-key-value-aio`."""

        async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
            """Return a value."""
            ...

        async def put(
            self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: float | None = None
        ) -> None:
            """Keep a value for ``ttl`` seconds."""
            ...

        async def delete(self, key: str, *, collection: str | None = None) -> bool:
            """Remove a value."""
            ...


T = TypeVar("T")
logger = logging.getLogger("aiocreds.shared")

COLLECTION = "aiocreds"
BOUND, BOUND_OF_FOLDER = 0.25, 2.0  # seconds that a caller waits for the store
LEASE = 10.0  # seconds; prolonged while its owner is at work
BEAT = LEASE / 4
BUDGET = 30.0  # seconds that a source may take: three attempts of 10 s
PERSON = 120.0  # seconds that somebody needs to type a code
PAUSE, LONGEST_PAUSE = 0.05, 0.5  # seconds between two looks for what another process fetches
REPLAYED = 300.0  # seconds after their expiry; so long, a store that ends entries has ended them
REMEMBERED = 16  # rejected keys


@remembering_the_call
def shared(
    provider: Provider | Callable[[], Awaitable[Credentials]],
    *,
    store: Store | str | os.PathLike[str] | None = None,
    key: str | None = None,
    secret_keys: Sequence[bytes | str] | None = None,
    lease: Lease | None = None,
    timeout: float | timedelta | None = None,
) -> Provider:
    """A provider whose credentials are fetched once for many processes.

    ::

        role = from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/app")
        provider = shared(role)  # the processes of this user on this machine

        client = redis.asyncio.Redis.from_url("rediss://cache.internal:6379")
        provider = shared(role, store=RedisStore(client=client), lease=RedisLease(client), secret_keys=[key])

    It looks in the store before it goes to the source, keeps there what the source gave, and is otherwise like any
    provider. One process of all fetches; the others go on with what they hold, and on a first load wait for it as
    long as the source itself may take. A store that is down, slow or full is done without. Credentials that never
    expire are not kept there.

    Args:
        provider: whose credentials are shared, or any ``async () -> Credentials``.
        store: the path of a folder, which serves the processes of one user on one machine and is for this user
            alone; or an ``AsyncKeyValue`` of `py-key-value-aio`. By default ``aiocreds/shared`` in the user's cache
            folder (``XDG_CACHE_HOME``, ``~/.cache``).
        key: names whose credentials they are: providers with the same key, store and ``secret_keys`` share. By
            default derived from all that changes the result: the source's arguments, its own source, the endpoint;
            for sources that depend on a machine also that, its variables and its files.
        secret_keys: encrypt what is stored, with AES-256-GCM: 32 bytes each, or as many in base64. The first one
            encrypts, all of them decrypt. Needed for any store but a folder.
        lease: keeps processes apart that would fetch at the same time: :class:`RedisLease`, :class:`DynamoDBLease`
            or one of your own. A folder has its own. Without any, several processes may fetch.
        timeout: seconds that a caller waits for the store at most; by default 0.25, and 2 for a folder: a machine
            that is busy is slow, and its disk is not down.

    Raises:
        TypeError: no key can be derived for this provider, and none is given; or an argument is of no such kind.
        ValueError: ``secret_keys`` are none, or missing.
        ModuleNotFoundError: ``secret_keys`` are given and `cryptography` is not installed.
        CredentialsError: when fetching: what the source raises.
    """
    source = provided_by(provider, taker="shared()")
    if key is None:
        keys.refuse_unknown(source)
    elif not key.strip():
        raise ValueError("key is blank: give a name, or leave it out")
    sealer = Sealer(secret_keys)
    if store is None or isinstance(store, str | os.PathLike):
        store = folder_for(store, source._context)
    elif not sealer.keyed:
        raise ValueError("secret_keys are needed: nothing readable is put into a store that others may reach")
    if lease is None and isinstance(store, Folder):
        lease = FolderLease(store)
    if timeout is None:
        timeout = BOUND_OF_FOLDER if isinstance(store, Folder) else BOUND
    return Shared(source, store, lease, sealer, key, time_limit(timeout, "timeout"))


class Shared(Provider):
    """What :func:`shared` returns.

    Attributes:
        duplicates: how often this process fetched what another one fetched at the same time.
    """

    __slots__ = (
        "_bound",
        "_key",
        "_lease",
        "_leases",
        "_provider",
        "_rejected",
        "_sealer",
        "_store",
        "_stores",
        "_told",
        "duplicates",
    )

    def __init__(
        self,
        provider: Provider,
        store: Store,
        lease: Lease | None,
        sealer: Sealer,
        key: str | None,
        bound: float,
    ) -> None:
        context = provider._context
        super().__init__(self._obtain, name="shared", context=context, inner=[provider])
        self._provider = provider
        self._store = store
        self._lease = lease
        self._sealer = sealer
        self._key = key
        self._bound = bound
        what = f"the shared folder {store.path}" if isinstance(store, Folder) else f"the {type(store).__name__}"
        self._stores = Guard(what)
        self._leases = Guard(f"the lease in {what}")
        self._rejected: list[str] = []
        self._told: set[str] = set()
        self.duplicates = 0

    def _twin(self) -> Self:
        return type(self)(self._provider, self._store, self._lease, self._sealer, self._key, self._bound)

    def _reject(self, key: str | None, *, tell: bool) -> None:
        held = self._state.credentials
        rejected = key or (held and held.access_key_id)
        if rejected and rejected not in self._rejected:
            self._rejected = [*self._rejected[1 - REMEMBERED :], rejected]
        super()._reject(key, tell=tell)

    async def _obtain(self) -> Credentials:
        """Take what the store has, else what the source gives; then the store has that."""
        try:
            named = repr(self._key).encode() if self._key is not None else await keys.description(self._provider)
        except CredentialsError as error:
            tracing.note("shared store", f"not asked: {error}")
            return await self._provider.fetch()  # which says the same, and better
        trip = _Trip(self, self._sealer.name(named))
        try:
            found = await trip.wait()
            if found is not None:
                tracing.not_asked([self._provider.name])
                if found.role:
                    note_role(found.role)
                return found.credentials
            credentials = await self._provider.fetch()
            await trip.keep(credentials)
            return credentials
        finally:
            trip.end()

    def _acceptable(self, entry: Entry) -> bool:
        """Return whether an entry of the store will do: it is not what has to be replaced, and lasts a while."""
        state, now = self._state, self._clock.now()
        key, left = entry.credentials.access_key_id, entry.expires_at - now
        if key in self._rejected or left <= windows(max(entry.expires_at - entry.loaded_at, 0.0))[1]:
            return False
        held = state.credentials
        if held is None:
            return True
        # Services tell whole seconds: two that were issued at once end at once.
        return key != held.access_key_id and (state.rejected or entry.expires_at >= state.expires_at)


class _Trip:
    """One look into the store, and what follows from it."""

    def __init__(self, owner: Shared, name: str) -> None:
        self._of = owner
        self._name = name
        self._token = ""
        self._beating: asyncio.Task[None] | None = None
        self._left = owner._bound
        self._seen: Entry | None = None
        self._leasing = owner._lease is not None

    async def _ask(self, guard: Guard, question: Callable[[], Coroutine[object, object, T]]) -> T:
        """Ask within what is left of the caller's time for the store."""
        if not self._left:
            raise Unanswered("has taken all the time there is for it")
        began = monotonic()
        try:
            return await guard.ask(question, self._left)
        finally:
            self._left = max(self._left - (monotonic() - began), 0.0)

    async def wait(self) -> Entry | None:
        """Return an entry that will do; None when this process is to fetch.

        Another one that fetches is waited for as long as the source may take.
        """
        if (found := await self._look()) is not None or not self._leasing:
            return found
        give_up = monotonic() + budget(self._of._provider) * spread(0.9, 1.0)
        pause = PAUSE
        while True:
            taken = await self._take()
            if (found := await self._look(again=True)) is not None or taken or not self._leasing:
                return found
            if monotonic() >= give_up:
                logger.debug("another process has fetched for too long: %s is asked", self._of._provider.name)
                return None
            await asyncio.sleep(spread(pause / 2, pause))
            pause = min(1.5 * pause, LONGEST_PAUSE)
            self._left = self._of._bound  # that pause was for the source

    async def _look(self, *, again: bool = False) -> Entry | None:
        """Return the entry if it will do."""
        owner = self._of
        began = monotonic()
        try:
            entry = await self._ask(owner._stores, self._read)
        except Unanswered as silence:
            tracing.note("shared store", str(silence))
            self._leasing = False
            return None
        if entry is None:
            if not again:
                tracing.note("shared store", "answered: no entry")
            return None
        self._seen = entry
        usable = owner._acceptable(entry)
        if usable or not again:
            age = max(owner._clock.now() - entry.loaded_at, 0.0)
            fit = "" if usable else ", due for a refresh"
            took = (monotonic() - began) * 1000
            tracing.note(
                "shared store",
                f"answered in {took:.0f} ms: {redact_key(entry.credentials.access_key_id)}, fetched {age:.0f} s ago"
                f" by {entry.host}{fit}",
            )
        if not usable and entry.credentials.access_key_id in owner._rejected:
            await self._remove(entry)
        return entry if usable else None

    async def _read(self) -> Entry | None:
        owner = self._of
        value = await owner._store.get(self._name, collection=COLLECTION)
        if value is None:
            return None
        try:
            entry = owner._sealer.open(value, self._name)
        except Refused as refused:
            self._tell(f"{refused}")
            return None
        late = owner._clock.now() - entry.expires_at
        if late >= 0:
            if late > REPLAYED and not isinstance(owner._store, Folder):
                self._tell("has expired long ago, and the store should have ended it")
            return None
        return entry

    def _tell(self, fault: str) -> None:
        """Say once what is wrong with the entry; it counts as absent."""
        tracing.note("shared store", f"answered: the entry {fault}")
        if fault not in self._of._told:
            self._of._told.add(fault)
            logger.warning("the entry %s in the shared store %s: it counts as absent", self._name[:12], fault)

    async def _remove(self, rejected: Entry) -> None:
        """Remove an entry that a service has rejected, if it is still the same."""

        async def remove() -> None:
            owner = self._of
            entry = await self._read()
            if entry is not None and entry.credentials.access_key_id == rejected.credentials.access_key_id:
                await owner._store.delete(self._name, collection=COLLECTION)

        try:
            await self._ask(self._of._stores, remove)
        except Unanswered:
            self._leasing = False

    async def _take(self) -> bool:
        """Try to take the lease; whoever cannot be asked has none."""
        from secrets import token_hex

        owner, token = self._of, self._token or token_hex(16)
        self._token = token
        try:
            taken = await self._ask(owner._leases, partial(self._acquire, token))
        except Unanswered as silence:
            tracing.note("lease", str(silence))
            self._leasing = False
            return False
        if taken:
            loop = asyncio.get_running_loop()
            self._beating = loop.create_task(self._beat(token), name="aiocreds shared lease")
        return taken

    async def _acquire(self, token: str) -> bool:
        lease = self._of._lease
        return lease is not None and await lease.acquire(self._name, token, LEASE)

    async def _beat(self, token: str) -> None:
        """Prolong the lease while the source is asked."""
        while True:
            await asyncio.sleep(BEAT)
            try:
                await self._of._leases.ask(partial(self._acquire, token), self._of._bound)
            except Unanswered:
                return

    async def keep(self, credentials: Credentials) -> None:
        """Have the store keep what the source gave, unless it has something newer."""
        owner = self._of
        if credentials.expiration is None or credentials.access_key_id in owner._rejected:
            return
        flight = current_flight()
        role = flight.inner.role if flight is not None and flight.inner is not None else None
        entry = Entry(credentials, owner._clock.now(), _host(), role)

        async def put() -> None:
            other = await self._read()
            if other is not None and other.credentials.access_key_id not in owner._rejected:
                if other != self._seen:
                    owner.duplicates += 1
                    logger.debug("%s was asked by another process as well", owner._provider.name)
                if other.newer_than(entry):
                    return
            left = entry.expires_at - owner._clock.now()
            if left > 0:
                value = owner._sealer.seal(entry, self._name)
                await owner._store.put(self._name, value, collection=COLLECTION, ttl=max(left, 1.0))

        # It goes on behind the caller who has waited for the store long enough.
        keeping = _behind(owner._stores.ask(put, max(owner._bound, 1.0)))
        began = monotonic()
        await asyncio.wait([keeping], timeout=self._left)
        self._left = max(self._left - (monotonic() - began), 0.0)
        if not keeping.done() and self._token:  # the lease ends after that
            keeping.add_done_callback(lambda _: self._release())
            self._stop_beating()
            self._beating = None

    def end(self) -> None:
        """Give up the lease, if it was taken; nobody waits for that."""
        if self._beating is not None:
            self._stop_beating()
            self._release()

    def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()

    def _release(self) -> None:
        owner, token = self._of, self._token
        lease = owner._lease
        if isinstance(lease, FolderLease):
            from aiocreds._base.threads import run_behind

            run_behind(partial(lease.give_up, self._name, token))
        elif lease is not None:

            async def release() -> None:
                await lease.release(self._name, token)

            _behind(owner._leases.ask(release, owner._bound))


def _behind(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """Have something done that may go on when its caller does not wait any more."""
    loop = asyncio.get_running_loop()

    async def quietly() -> None:
        with suppress(Unanswered):  # the log knows
            await work

    task = loop.create_task(quietly(), name="aiocreds shared store")
    belongings(loop).add(task)
    task.add_done_callback(belongings(loop).discard)
    return task


def _host() -> str:
    import socket

    return socket.gethostname()


def budget(provider: Provider) -> float:
    """Return how many seconds a source may take, by its arguments."""
    call = provider._call
    if call is None:
        return BUDGET
    _, args, arguments = call
    longest = BUDGET
    if arguments.get("mfa_code") is not None:
        longest = PERSON
    elif (client := arguments.get("client")) is not None:
        longest = time_limit(client.read_timeout, "read_timeout") * client.max_attempts
    inner = [budget(value) for value in (*args, *arguments.values()) if isinstance(value, Provider)]
    return max([longest, *inner])
