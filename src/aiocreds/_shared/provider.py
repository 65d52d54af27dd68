"""shared(): one of many processes fetches, and the others take from the store what it has put there."""

# ruff: noqa: SLF001 - a load is a part of its provider
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from aiocreds._base import threads, tracing
from aiocreds._base.threads import belongings, runs_here
from aiocreds._base.time import seconds, time_limit
from aiocreds._core.decorator import as_provider, picklable
from aiocreds._core.provider import Provider
from aiocreds._core.refresh import spread, windows
from aiocreds._core.singleflight import current_call, note_role
from aiocreds._shared import key as keys
from aiocreds._shared.circuit_breaker import CircuitBreaker, Unanswered
from aiocreds._shared.entry import Entry, Refused, Sealer
from aiocreds._shared.folder import Folder, folder_for
from aiocreds._shared.leases import FolderLease, RedisLease
from aiocreds.credentials import redact_key
from aiocreds.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from datetime import timedelta

    from aiocreds._shared.leases import Lease
    from aiocreds.credentials import Credentials

    class Store(Protocol):
        """The part of ``AsyncKeyValue`` of `py-key-value-aio` that is used."""

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

    class Client(Protocol):
        """An asyncio client of redis-py or valkey-py."""

        async def execute_command(self, *args: Any, **options: Any) -> Any:
            """Send a command."""
            ...


T = TypeVar("T")
logger = logging.getLogger("aiocreds.shared")

COLLECTION = "aiocreds"
TIMEOUT, TIMEOUT_OF_FOLDER = 0.25, 2.0  # seconds that a caller waits for the store
WRITING = 1.0  # seconds that a write may take at least, behind the caller
LEASE = 10.0  # seconds; prolonged while its owner is at work
HEARTBEAT = LEASE / 4
BUDGET = 30.0  # seconds that a source may take: three attempts of 10 s
PERSON = 120.0  # seconds that somebody needs to type a code, or to sign in
PAUSE, LONGEST_PAUSE = 0.05, 0.5  # seconds between two looks for what another process fetches
REPLAYED = 300.0  # seconds past its end, after which a store that removes what has expired has removed an entry
REMEMBERED = 16  # rejected keys
PLACE = "shared store"  # for explain


@picklable
def shared(
    provider: Provider | Callable[[], Awaitable[Credentials]],
    *,
    store: Store | Client | str | os.PathLike[str] | None = None,
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
        provider = shared(role, store=client, secret_keys=[key])

    It looks in the store before it goes to the source, keeps there what the source gave, and is otherwise like any
    provider. One process of all fetches; the others go on with what they hold, and on a first load wait for it as
    long as the source itself may take. A store that is down, slow or full is done without. Credentials that never
    expire are not kept there.

    Args:
        provider: whose credentials are shared, or any ``async () -> Credentials``.
        store: the path of a folder, which serves the processes of one user on one machine and is for this user
            alone; an asyncio client of redis-py or valkey-py; or an ``AsyncKeyValue`` of `py-key-value-aio`. By
            default ``aiocreds/shared`` in the user's cache folder (``XDG_CACHE_HOME``, ``~/.cache``).
        key: names whose credentials they are: providers with the same key, store and ``secret_keys`` share. By
            default derived from all that changes the result: the source's arguments, its own source, the endpoint;
            for sources that depend on a machine also that, its variables and its files.
        secret_keys: encrypt what is stored, with AES-256-GCM: 32 bytes each, or as many in base64. The first one
            encrypts, all of them decrypt. Needed for any store but a folder.
        lease: keeps processes apart that would fetch at the same time: :class:`RedisLease`, :class:`DynamoDBLease`
            or one of your own. A folder and a client of Redis have their own. Without any, several processes may
            fetch.
        timeout: seconds that a caller waits for the store at most; by default 0.25, and 2 for a folder: a machine
            that is busy is slow, and its disk is not down.

    Raises:
        TypeError: no key can be derived for this provider, and none is given; or an argument is of no such kind.
        ValueError: ``key`` is blank, or ``secret_keys`` are none, or missing.
        InvalidConfiguration: ``store`` is blank, or no home folder is known; or ``timeout`` is no time limit.
        ModuleNotFoundError: ``secret_keys`` are given and `cryptography` is not installed.
        CredentialsError: when fetching: what the source raises.
    """
    source = as_provider(provider, taker="shared()")
    if key is None:
        keys.refuse_unknown(source)
    elif not key.strip():
        raise ValueError("key is blank: give a name, or leave it out")
    sealer = Sealer(secret_keys)
    if store is None or isinstance(store, str | os.PathLike):
        store = folder_for(store, source._context)
    elif not sealer.keyed:
        raise ValueError("secret_keys are needed: nothing readable is put into a store that others may reach")
    else:
        from aiocreds._shared.redis_store import RedisStore, store_of  # a folder needs neither

        store = store_of(store)
        if lease is None and isinstance(store, RedisStore):
            lease = RedisLease(store.client)
    if lease is None and isinstance(store, Folder):
        lease = FolderLease(store)
    if timeout is None:
        timeout = TIMEOUT_OF_FOLDER if isinstance(store, Folder) else TIMEOUT
    return Shared(source, store, lease, sealer, key, time_limit(timeout, "timeout"))


class Shared(Provider):
    """The provider that :func:`shared` returns.

    Attributes:
        duplicates: how often this process fetched what another one fetched at the same time.
    """

    __slots__ = (
        "_key",
        "_lease",
        "_lease_breaker",
        "_provider",
        "_rejected",
        "_reported",
        "_sealer",
        "_store",
        "_store_breaker",
        "_timeout",
        "duplicates",
    )

    def __init__(
        self,
        provider: Provider,
        store: Store,
        lease: Lease | None,
        sealer: Sealer,
        key: str | None,
        timeout: float,
    ) -> None:
        context = provider._context
        super().__init__(self._obtain, name="shared", context=context, inner=[provider])
        self._provider = provider
        self._store = store
        self._lease = lease
        self._sealer = sealer
        self._key = key
        self._timeout = timeout
        what = f"the shared folder {store.path}" if isinstance(store, Folder) else f"the {type(store).__name__}"
        self._store_breaker = CircuitBreaker(what)
        self._lease_breaker = CircuitBreaker(f"the lease in {what}")
        self._rejected: list[str] = []
        self._reported: set[str] = set()
        self.duplicates = 0

    def _copy(self) -> Self:
        return type(self)(self._provider, self._store, self._lease, self._sealer, self._key, self._timeout)

    async def get(self, *, min_ttl: float | timedelta = 0.0) -> Credentials:
        """Do as :meth:`Provider.get`; where an entry has less than ``min_ttl`` left, the source may have more."""
        if seconds(min_ttl, "min_ttl") and self._state.credentials is None:
            await self()
        return await super().get(min_ttl=min_ttl)

    def _reject(self, key: str | None, *, log: bool) -> None:
        with self._lock:
            held = self._state.credentials
            rejected = key or (held and held.access_key_id)
            if rejected and rejected not in self._rejected:
                self._rejected = [*self._rejected[1 - REMEMBERED :], rejected]
        super()._reject(key, log=log)

    async def _obtain(self) -> Credentials:
        """Take what the store has, else what the source gives; then the store has that."""
        try:
            named = repr(self._key).encode() if self._key is not None else await keys.description(self._provider)
        except CredentialsError as error:
            tracing.note(PLACE, f"not asked: {error}", kind="note")
            return await self._provider.fetch()  # which says the same, and better
        load = _SharedLoad(self, self._sealer.name(named))
        try:
            found = await load.wait()
            if found is not None:
                tracing.not_asked([self._provider.name])
                if found.role:
                    note_role(found.role)
                return found.credentials
            try:
                credentials = await self._provider.fetch()
            except CredentialsError:
                await load.give_up()
                raise
            if self._key is not None or not await keys.signed_in_since(self._provider, named):
                await load.keep(credentials)
            return credentials
        finally:
            load.end()

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


class _SharedLoad:
    """One load of a shared provider: it reads the entry, takes the lease, and writes what the source returned.

    Args:
        owner: the provider.
        name: of the entry, and of its lease.
    """

    def __init__(self, owner: Shared, name: str) -> None:
        self._owner = owner
        self._name = name
        self._token = ""  # once it has asked for the lease
        self._may_have_lease = False
        self._loop = asyncio.get_running_loop()
        self._left = owner._timeout
        self._seen: Entry | None = None
        self._leasing = owner._lease is not None
        self._heartbeat: asyncio.Task[None] | None = None  # while this process has the lease
        self._keeping: asyncio.Task[None] | None = None
        self._ended = False

    async def _call(self, breaker: CircuitBreaker, question: Callable[[], Coroutine[object, object, T]]) -> T:
        """Ask within what is left of the caller's time for the store."""
        if not self._left:
            raise Unanswered("has taken all the time there is for it")
        began = monotonic()
        try:
            return await breaker.call(question, self._left)
        finally:
            self._left = max(self._left - (monotonic() - began), 0.0)

    async def wait(self) -> Entry | None:
        """Return an entry that will do; None when this process is to fetch.

        Another one that fetches is waited for as long as the source may take.
        """
        if (found := await self._look()) is not None or not self._leasing:
            return found
        give_up = monotonic() + budget(self._owner._provider) * spread(0.9, 1.0)
        pause = PAUSE
        while not await self._take() and self._leasing:
            if monotonic() >= give_up:
                logger.debug("another process has fetched for too long: %s is asked", self._owner._provider.name)
                return None
            await asyncio.sleep(spread(pause / 2, pause))
            pause = min(1.5 * pause, LONGEST_PAUSE)
            self._left = self._owner._timeout  # that pause was for the source
            if (found := await self._look(again=True)) is not None or not self._leasing:
                return found
        return await self._look(again=True)  # another process may have written since the last look

    async def _look(self, *, again: bool = False) -> Entry | None:
        """Return the entry if it will do."""
        owner, began = self._owner, monotonic()
        try:
            entry = await self._call(owner._store_breaker, self._read)
        except Unanswered as silence:
            _note(f"{silence}")
            self._leasing = False
            return None
        if entry is None:
            if not again:
                _note("answered: no entry")
            return None
        self._seen = entry
        usable = owner._acceptable(entry)
        if usable or not again:
            age = max(owner._clock.now() - entry.loaded_at, 0.0)
            took = (monotonic() - began) * 1000
            _note(
                f"answered in {took:.0f} ms: {redact_key(entry.credentials.access_key_id)}, fetched {age:.0f} s ago"
                f" by {entry.host}{'' if usable else ', due for a refresh'}",
            )
        if not usable and entry.credentials.access_key_id in owner._rejected:
            await self._remove(entry)
        return entry if usable else None

    async def _read(self) -> Entry | None:
        owner = self._owner
        value = await owner._store.get(self._name, collection=COLLECTION)
        if value is None:
            return None
        try:
            entry = owner._sealer.open(value, self._name)
        except Refused as refused:
            self._report(f"{refused}")
            return None
        late = owner._clock.now() - entry.expires_at
        if late >= 0:
            if late > REPLAYED and not isinstance(owner._store, Folder):
                self._report("has expired long ago, and the store should have removed it")
            return None
        return entry

    def _report(self, fault: str) -> None:
        """Log once what is wrong with the entry, which counts as absent."""
        _note(f"answered: the entry {fault}")
        if fault not in self._owner._reported:
            self._owner._reported.add(fault)
            logger.warning("the entry %s in the shared store %s: it counts as absent", self._name[:12], fault)

    async def _remove(self, rejected: Entry) -> None:
        """Remove an entry that a service has rejected, if it is still the same."""

        async def remove() -> None:
            entry = await self._read()
            if entry is not None and entry.credentials.access_key_id == rejected.credentials.access_key_id:
                await self._owner._store.delete(self._name, collection=COLLECTION)

        try:
            await self._call(self._owner._store_breaker, remove)
        except Unanswered:
            self._leasing = False

    async def _take(self) -> bool:
        """Try to take the lease; one that does not answer is done without."""
        from secrets import token_hex  # who finds an entry needs no lease

        self._token = self._token or token_hex(16)
        self._may_have_lease = True  # until there is an answer
        try:
            taken = await self._call(self._owner._lease_breaker, self._acquire)
        except Unanswered as silence:
            tracing.note("lease", f"{silence}", kind="note")
            self._leasing = False
            return False
        self._may_have_lease = taken
        if taken:
            self._heartbeat = self._loop.create_task(self._prolong(), name="aiocreds shared lease")
        return taken

    async def _acquire(self) -> bool:
        lease = self._owner._lease
        return lease is not None and not self._ended and await lease.acquire(self._name, self._token, LEASE)

    async def _prolong(self) -> None:
        """Prolong the lease while the source is asked."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            with suppress(Unanswered):
                await self._owner._lease_breaker.call(self._acquire, self._owner._timeout)

    async def keep(self, credentials: Credentials) -> None:
        """Put what the source returned into the store, unless that has something newer.

        This goes on behind the caller when that has waited for the store long enough.
        """
        owner = self._owner
        if credentials.expiration is None or credentials.access_key_id in owner._rejected:
            return
        call = current_call()
        role = None if call is None or call.inner is None else call.inner[2]
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

        self._keeping = _behind(owner._store_breaker.call(put, max(owner._timeout, WRITING)))
        await asyncio.wait([self._keeping], timeout=self._left)

    async def give_up(self) -> None:
        """End as :meth:`end` does, and wait until the lease is free, within what is left of the caller's time.

        There is no entry for the others, who wait for the lease; and where a source fails, programs end.
        """
        if (releasing := self.end()) is not None:
            await asyncio.wait([releasing], timeout=self._left)

    def end(self) -> asyncio.Task[None] | None:
        """Give up the lease once what is being written is; return the task that does, if one has begun.

        Also where a request for it was not answered, which may have been granted after all.
        """
        ended, self._ended = self._ended, True  # a heartbeat may have begun before it is cancelled
        if ended or not self._may_have_lease:
            return None
        here = runs_here(self._loop)  # else the loop was dropped in the middle
        if self._heartbeat is not None and here:
            self._heartbeat.cancel()
        if self._keeping is not None and not self._keeping.done() and here:
            self._keeping.add_done_callback(self._release)
            return None
        return self._release()

    def _release(self, keeping: asyncio.Task[None] | None = None) -> asyncio.Task[None] | None:
        lease = self._owner._lease
        if isinstance(lease, FolderLease):
            threads.run_in_background(partial(lease.give_up, self._name, self._token))
        elif lease is not None and runs_here(self._loop) and not (keeping and keeping.cancelled()):  # as loops end
            release = partial(lease.release, self._name, self._token)
            return _behind(self._owner._lease_breaker.call(release, self._owner._timeout))
        return None


def _note(found: str) -> None:
    """Record what the store answered, for explain."""
    tracing.note(PLACE, found, kind="note")


def _behind(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    """Start what may go on when its caller no longer waits, and return its task."""
    loop = asyncio.get_running_loop()

    async def quietly() -> None:
        with suppress(Unanswered):  # which is logged
            await work

    task = loop.create_task(quietly(), name="aiocreds shared store")
    belongings(loop).add(task)
    task.add_done_callback(belongings(loop).discard)
    return task


def _host() -> str:
    import socket

    return socket.gethostname()


def budget(provider: Provider) -> float:
    """Return how many seconds a source may take, by its arguments and those of its sources."""
    call, longest = provider._made_by, BUDGET
    if call is not None and call[0].__module__.startswith(keys.SOURCES):  # others may mean anything by these names
        arguments = keys.arguments_of(call)
        if (client := arguments.get("client")) is not None:
            longest = time_limit(client.read_timeout, "read_timeout") * client.max_attempts
        if arguments.get("mfa_code") is not None or arguments.get("sign_in") is not None:
            longest = max(longest, PERSON)
        for name in ("process_timeout", "timeout"):
            if arguments.get(name) is not None:
                longest = max(longest, seconds(arguments[name], name))
    return max([longest, *(budget(inner) for inner in provider._inner)])
