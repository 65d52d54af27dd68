"""shared() with its own folder: which process fetches, what is stored, and that no failure of a store is raised."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
import threading
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest

from aiocreds import (
    ClientConfig,
    Context,
    Credentials,
    CredentialsError,
    InvalidConfiguration,
    LoginRequired,
    Provider,
    SourceUnavailable,
    chain,
    credential_provider,
    default_chain,
    explain,
    from_env,
    from_process,
    from_sso,
    from_temporary_credentials,
    shared,
)
from aiocreds._core.singleflight import note_role
from aiocreds._shared import circuit_breaker
from aiocreds._shared import provider as module
from aiocreds._shared.folder import Folder
from aiocreds._shared.leases import FolderLease
from aiocreds._token_cache.lock import FileLock
from aiocreds.login import sign_in, sign_out
from tests.benchmarks.shared import day
from tests.helpers.command import PATIENCE, Machine
from tests.helpers.failures import message_of
from tests.helpers.leases import check_ownership
from tests.helpers.python_programs import run
from tests.helpers.scripted import Source, issue, until, warned
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.shared_files import APP, write_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import time_machine

    from tests.helpers.loopback_aws import Loopback


KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))
HOUR = 3600.0


class Memory:
    """A store in memory.

    Attributes:
        values: what it holds, by name.
        failure: raised by each call.
        delay: seconds that each call takes.
        asked: how often it was.
        gate: while set to an event, `put` waits for that.
    """

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        self.failure: BaseException | None = None
        self.delay = 0.0
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def _act(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        await self._act()
        return self.values.get(key)

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: float | None = None
    ) -> None:
        await self._act()
        if self.gate is not None:
            await self.gate.wait()
        self.values[key] = json.loads(json.dumps(value))

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        await self._act()
        return self.values.pop(key, None) is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def of(source: Source, store: Any, *, key: str = "app", timeout: float = 30.0, **more: Any) -> Any:
    """Return a shared provider; a busy machine has half a minute to answer for the store."""
    return shared(source.provider(), store=store, key=key, timeout=timeout, **more)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def expose(path: Path) -> None:
    path.chmod(0o755)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


async def gone() -> None:
    """Wait until nothing is done behind any caller."""
    own = asyncio.current_task()
    await until(lambda: not [task for task in asyncio.all_tasks() if task is not own])


async def test_the_second_process_takes_what_the_first_one_fetched(folder: Path) -> None:
    first, second = Source(), Source()
    credentials = await of(first, folder)()
    assert await of(second, folder)() == credentials
    assert (first.calls, second.calls) == (1, 0)


async def test_what_is_stored_keeps_every_field(folder: Path) -> None:
    plain = issue()
    given = Credentials(
        plain.access_key_id,
        plain.secret_access_key,
        plain.session_token,
        plain.expiration,
        account_id="123456789012",
        credential_scope="eu",
        provider="x",
        identity_id="i",
        may_outlive_expiry=True,
    )
    await of(Source(given), folder)()
    assert await of(Source(), folder)() == given


async def test_many_that_start_at_once_fetch_once(folder: Path) -> None:
    source = Source()
    source.gate = asyncio.Event()
    loads = [asyncio.ensure_future(of(source, folder)()) for _ in range(20)]
    await until(lambda: source.calls == 1)
    await asyncio.sleep(0.1)
    source.gate.set()
    assert len({(await load).access_key_id for load in loads}) == 1
    assert source.calls == 1


async def test_a_refresh_is_made_once_and_the_others_pick_it_up(
    folder: Path, clock: time_machine.Traveller
) -> None:
    sources = [Source(), Source()]
    one, two = (of(source, folder) for source in sources)
    old = await one()
    assert await two() == old
    clock.shift(HOUR - 100)
    new = await one.fetch()
    assert new != old
    assert await two.fetch() == new
    assert [source.calls for source in sources] == [2, 0]


async def test_what_is_about_to_end_is_not_taken(folder: Path, clock: time_machine.Traveller) -> None:
    await of(Source(), folder)()
    clock.shift(HOUR - 50)
    late = Source()
    await of(late, folder)()
    assert late.calls == 1


async def test_what_never_ends_is_not_stored(folder: Path) -> None:
    await of(Source(issue(None)), folder)()
    assert not entries(folder)


async def test_other_keys_do_not_share(folder: Path) -> None:
    first, second = Source(), Source()
    await of(first, folder)()
    await of(second, folder, key="other")()
    assert second.calls == 1


# The folder.


@pytest.mark.skipif(sys.platform == "win32", reason="modes of Unix")
async def test_the_folder_is_private(folder: Path) -> None:
    await of(Source(), folder)()
    assert mode(folder) == 0o700
    assert {mode(path) for path in files(folder)} == {0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="modes of Unix")
@pytest.mark.parametrize("what", ["folder", "file"])
async def test_what_others_can_read_is_refused(folder: Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    await of(Source(), folder)()
    [file] = entries(folder)
    expose(folder if what == "folder" else file)
    source = Source()
    await of(source, folder)()
    assert source.calls == 1
    [warning] = warned(caplog)
    remedy = f"run chmod 700 {folder}" if what == "folder" else f"{file} is not for this user alone: remove it"
    assert remedy in warning.getMessage()


@pytest.mark.skipif(sys.platform == "win32", reason="errors of Unix")
async def test_where_there_can_be_no_folder_the_warning_names_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, b"")
    await of(Source(), folder)()
    warnings = [record.getMessage() for record in warned(caplog)]
    assert any(f"{folder} failed (not a directory)" in text for text in warnings)


async def test_the_usual_folder_is_the_caches(home: Path) -> None:
    context = Context({}, home=home)
    await shared(Source().provider(context), key="app", timeout=30)()
    if sys.platform == "linux":
        assert entries(home / ".cache/aiocreds/shared")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"aiocreds": 2}', b'{"aiocreds": 1}', b"\xff", b"null"])
async def test_nonsense_counts_as_absent(folder: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    await of(Source(), folder)()
    [file] = entries(folder)
    file.write_bytes(content)
    source, again = Source(), Source()
    await of(source, folder)()
    assert source.calls == 1
    assert len(warned(caplog)) == 1
    await of(again, folder)()  # it has been replaced
    assert again.calls == 0


async def test_a_file_of_another_name_counts_as_absent(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    await of(Source(), folder, key="admin")()
    [admin] = entries(folder)
    await of(Source(), folder, key="reader")()
    [reader] = [file for file in entries(folder) if file != admin]
    write(reader, read(admin))
    source = Source()
    await of(source, folder, key="reader")()
    assert source.calls == 1
    [warning] = warned(caplog)
    assert "copied from another name" in warning.getMessage()


async def test_a_file_whose_secret_was_changed_counts_as_absent(folder: Path) -> None:
    await of(Source(), folder)()
    [file] = entries(folder)
    write(file, read(file).replace(MARK.encode(), MARK.encode().swapcase()))
    source = Source()
    await of(source, folder)()
    assert source.calls == 1


# Encryption.


def test_a_store_of_others_needs_a_key() -> None:
    with pytest.raises(ValueError, match="secret_keys are needed"):
        shared(Source().provider(), store=Memory(), key="app")


@pytest.mark.parametrize("keys", [[], [b"short"], ["nonsense"], [b""]])
def test_what_is_no_key_is_refused(keys: list[Any]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        shared(Source().provider(), store=Memory(), key="app", secret_keys=keys)


def test_one_key_is_no_sequence() -> None:
    with pytest.raises(TypeError, match=r"write \[key\]"):
        shared(Source().provider(), store=Memory(), key="app", secret_keys=cast("Any", KEY))


@pytest.mark.parametrize("where", ["memory", "folder"])
async def test_nothing_readable_reaches_a_store(folder: Path, where: str) -> None:
    memory = Memory()
    credentials = await of(Source(), memory if where == "memory" else folder, secret_keys=[KEY])()
    await gone()
    raw = json.dumps(memory.values)
    if where == "folder":
        raw = "".join(path.read_text() + path.name for path in files(folder))
    assert len(raw) > 300
    assert MARK not in raw
    assert credentials.access_key_id not in raw


async def test_keys_are_rotated() -> None:
    from cryptography.fernet import Fernet

    store, new = Memory(), Fernet.generate_key().decode()
    await of(Source(), store, secret_keys=[KEY])()
    await gone()
    source = Source()
    await of(source, store, secret_keys=[KEY, new])()
    assert source.calls == 0
    [value] = store.values.values()
    other = Source()
    await of(other, store, secret_keys=[OTHER_KEY])()
    assert other.calls == 1
    assert value in store.values.values()


async def test_an_entry_under_another_name_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    store = Memory()
    await of(Source(), store, key="admin", secret_keys=[KEY])()
    await of(Source(), store, key="reader", secret_keys=[KEY])()
    await gone()
    admin, reader = store.values
    store.values[reader] = store.values[admin]
    source = Source()
    credentials = await of(source, store, key="reader", secret_keys=[KEY])()
    assert source.calls == 1
    [warning] = warned(caplog)
    assert "copied from another name" in warning.getMessage()
    assert credentials.access_key_id not in warning.getMessage()


@pytest.mark.slow
async def test_a_changed_byte_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    store = Memory()
    await of(Source(), store, secret_keys=[KEY])()
    await gone()
    [(name, value)] = store.values.items()
    text = value["sealed"]
    count = 0
    for at in range(len(text)):
        store.values[name] = {**value, "sealed": text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]}
        source = Source()
        await of(source, store, secret_keys=[KEY])()
        count += source.calls
        await gone()
    # The last character of base64 may stand for bits that are none of the data.
    assert count >= len(text) - 2


async def test_one_replayed_past_its_expiry_is_refused(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    store = Memory()
    await of(Source(), store, secret_keys=[KEY])()
    clock.shift(2 * HOUR)
    source = Source()
    await of(source, store, secret_keys=[KEY])()
    assert source.calls == 1
    [warning] = warned(caplog)
    assert "expired long ago" in warning.getMessage()


# A store that fails is no failure of the provider.


async def test_a_store_that_fails_is_warned_of_once_and_asked_again_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = 0.0
    monkeypatch.setattr(circuit_breaker, "BACKOFF", (600.0, 600.0))
    monkeypatch.setattr(circuit_breaker, "monotonic", lambda: monotonic() + later)
    caplog.set_level(logging.INFO, "aiocreds.shared")
    store, source = Memory(), Source()
    store.failure = ConnectionError("redis://user:pass-word@host")
    provider = of(source, store, secret_keys=[KEY])
    for _ in range(5):
        await provider.fetch()
    [warning] = warned(caplog)
    assert "pass-word" not in warning.getMessage()
    assert store.asked == 1  # it is left alone
    later = 700.0
    await provider.fetch()
    assert store.asked == 2
    store.failure = None
    later = 1400.0
    await provider.fetch()
    await gone()
    assert len(store.values) == 1
    assert len(warned(caplog)) == 1
    assert any("answers again" in record.getMessage() for record in caplog.records)


async def test_nobody_waits_for_a_store_longer_than_its_bound() -> None:
    store, source = Memory(), Source()
    store.delay = 30.0
    loop = asyncio.get_running_loop()
    began = loop.time()
    await of(source, store, secret_keys=[KEY], timeout=0.1)()
    assert 0.09 < loop.time() - began < 20.0  # the store answers after 30 s
    assert source.calls == 1


async def test_all_requests_of_a_caller_have_one_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, limits, ask = 0.0, list[float](), circuit_breaker.CircuitBreaker.call

    async def counted(self: circuit_breaker.CircuitBreaker, question: Any, seconds: float) -> Any:
        nonlocal now
        limits.append(seconds)
        now += 20.0  # so long does each take
        return await ask(self, question, seconds)

    monkeypatch.setattr(circuit_breaker.CircuitBreaker, "call", counted)
    monkeypatch.setattr(module, "monotonic", lambda: now)
    store, source, lease = Memory(), Source(), FolderLease(Folder(str(folder)))
    store.gate = asyncio.Event()
    await of(source, store, secret_keys=[KEY], lease=lease)()
    assert limits[:3] == [30.0, 10.0, 30.0]  # the entry, the lease; no time is left to read it again; writing it
    assert not store.values
    store.gate.set()
    await gone()
    assert len(store.values) == 1  # written after the caller had its credentials


async def test_a_source_that_fails_says_so_itself(folder: Path) -> None:
    source = Source(SourceUnavailable("down"))
    with pytest.raises(CredentialsError, match=r"source: down"):
        await of(source, folder)()
    await of(source, folder)()  # the lease is free again
    assert source.calls == 2


async def test_cancelled_the_lease_is_given_up(folder: Path) -> None:
    source, other = Source(), Source()
    source.gate = asyncio.Event()
    load = asyncio.ensure_future(of(source, folder)())
    await until(lambda: source.calls == 1)
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    async with asyncio.timeout(module.LEASE / 2):
        await of(other, folder)()
    assert other.calls == 1


async def test_a_late_holder_overwrites_nothing_newer(folder: Path) -> None:
    slow, fast = Source(issue(HOUR)), Source(issue(2 * HOUR))
    slow.gate = asyncio.Event()
    late = of(slow, folder)
    late._lease = None
    load = asyncio.ensure_future(late())
    await until(lambda: slow.calls == 1)
    new = await of(fast, folder)()
    slow.gate.set()
    await load
    assert await of(Source(), folder)() == new
    assert late.duplicates == 1


# Rejected credentials.


async def test_a_rejected_entry_is_removed_and_taken_from_nobody(folder: Path) -> None:
    first, second = Source(), Source()
    one, two = of(first, folder), of(second, folder)
    old = await one()
    assert await two() == old
    two.invalidate(old)
    new = await two()
    assert new != old
    assert second.calls == 1
    one.invalidate(old)  # who notices later takes what is there
    assert await one() == new
    assert first.calls == 1


async def test_a_newer_entry_survives_a_late_rejection(folder: Path) -> None:
    first, second = Source(), Source()
    one, two = of(first, folder), of(second, folder)
    old = await one()
    await two()
    one.invalidate(old)
    new = await one()
    two.invalidate(old)
    assert await two() == new
    assert await of(Source(), folder)() == new


async def test_a_source_that_gives_the_rejected_ones_again_does_not_store_them(folder: Path) -> None:
    old = issue(HOUR)
    source = Source(usual=lambda: old)
    one = of(source, folder)
    await one()
    one.invalidate(old)
    await one()
    other = Source()
    await of(other, folder)()
    assert other.calls == 1


async def test_a_rejected_entry_that_is_put_back_is_not_taken(folder: Path) -> None:
    one = of(Source(issue(2 * HOUR), issue(HOUR), issue(HOUR)), folder)
    old = await one()
    [file] = entries(folder)
    replayed = read(file)
    one.invalidate(old)
    await one()
    write(file, replayed)
    assert await one.fetch() != old
    assert one._provider.status.successes == 3


@pytest.mark.parametrize("ahead", [60.0, -60.0])
async def test_hosts_whose_clocks_disagree(folder: Path, ahead: float) -> None:
    """One fetches, the other takes it, and then the other way round; nobody overwrites what is newer."""
    contexts = [Context({}), Context({})]
    contexts[1].clock.learn(ahead)
    sources = [Source(issue(HOUR), issue(HOUR + 60)), Source(issue(HOUR + 30))]
    one, two = (
        shared(source.provider(context), store=folder, key="app", timeout=30)
        for source, context in zip(sources, contexts, strict=True)
    )
    first = await one()
    assert await two() == first
    second = await two.fetch()
    assert await one.fetch() == second
    third = await one.fetch()
    assert await two.fetch() == third
    assert [source.calls for source in sources] == [2, 1]


# Holders that die or stop.


async def test_a_holder_that_stops_blocks_nobody_past_the_lease(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE", 0.3)
    store = Folder(str(folder))
    provider = of(Source(), folder)
    named = provider._sealer.name(repr("app").encode())
    assert await FolderLease(store).acquire(named, "stopped", 0.3)  # and never prolonged
    loop = asyncio.get_running_loop()
    began = loop.time()
    await provider()
    assert 0.25 < loop.time() - began < module.BUDGET / 2


async def test_a_lease_of_the_folder(folder: Path) -> None:
    one, two = (FolderLease(Folder(str(folder))) for _ in range(2))
    await check_ownership(one, two)
    assert await two.acquire("x", "b", 10)


async def test_a_lease_that_was_granted_too_late_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, taken, take = threading.Event(), threading.Event(), FileLock.take

    def take_late(self: FileLock) -> bool:
        assert late.wait(30)
        granted = take(self)
        taken.set()
        return granted

    provider, lease = of(Source(), folder, timeout=0.2), FolderLease(Folder(str(folder)))
    give_up = FolderLease.give_up

    def give_up_later(self: FolderLease, name: str, owner: str) -> None:
        assert taken.wait(30)
        give_up(self, name, owner)

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "take", take_late)
        patch.setattr(FolderLease, "give_up", give_up_later)
        await provider()  # goes on without it
        late.set()
        await until(taken.is_set)
    await free(lease, provider._sealer.name(repr("app").encode()))


async def test_a_heartbeat_that_is_not_answered_is_followed_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hiccup(FolderLease):
        asked = 0

        async def acquire(self, name: str, owner: str, seconds: float) -> bool:
            self.asked += 1
            if self.asked == 2:
                raise ConnectionError
            return await super().acquire(name, owner, seconds)

    monkeypatch.setattr(module, "HEARTBEAT", 0.01)
    monkeypatch.setattr(circuit_breaker, "BACKOFF", (0.01, 0.01))
    source, lease = Source(), Hiccup(Folder(str(folder)))
    source.gate = asyncio.Event()
    load = asyncio.ensure_future(of(source, folder, lease=lease)())
    await until(lambda: lease.asked > 3)
    source.gate.set()
    await load


LOADING = """
import asyncio, sys, threading
from aiocreds import from_env, from_temporary_credentials, shared
from aiocreds._shared import leases, provider

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp":
            print(beat.wait(30.0))

beat, asked = threading.Event(), 0
acquire = leases.FolderLease.acquire

async def counting(*arguments):
    global asked
    asked += 1
    if asked > 2:
        beat.set()
    return await acquire(*arguments)

leases.FolderLease.acquire, provider.HEARTBEAT = counting, 0.01
sys.meta_path.insert(0, Slow())
role = from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/app", source=from_env())
print((asyncio.run(shared(role, store=sys.argv[1], timeout=30)())).provider)
"""


async def test_a_lease_is_prolonged_while_the_http_client_is_loaded(aws: Loopback, folder: Path) -> None:
    """On a busy machine that takes longer than a lease lasts."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIAENV000000001", "AWS_SECRET_ACCESS_KEY": secret()}
    out = await run({**aws.environ, **keys}, LOADING, str(folder))
    assert out.split() == ["True", "assume_role"]


async def test_a_heartbeat_that_began_before_the_end_takes_no_lease_after_it(folder: Path) -> None:
    """Nobody would give that one up."""
    load = module._SharedLoad(of(Source(), folder), "name")
    assert await load.wait() is None
    other = FolderLease(Folder(str(folder)))
    assert not await other.acquire("name", "other", module.LEASE)
    load.end()
    assert not await load._acquire()
    await free(other, "name")


async def free(lease: FolderLease, name: str) -> None:
    """Wait until a lease can be had, before it would have run out."""
    async with asyncio.timeout(module.LEASE / 2):
        while not await lease.acquire(name, "other", module.LEASE):  # noqa: ASYNC110 - a thread gives it up
            await asyncio.sleep(0.01)


class FarLease:
    """A lease that is somewhere else: giving it up takes a moment.

    Attributes:
        owners: who has it, by its name.
        gate: while set to an event, `release` waits for that.
    """

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.gate: asyncio.Event | None = None

    async def acquire(self, name: str, owner: str, seconds: float) -> bool:
        return self.owners.setdefault(name, owner) == owner

    async def release(self, name: str, owner: str) -> None:
        await asyncio.sleep(0.01)
        if self.gate is not None:
            await self.gate.wait()
        if self.owners.get(name) == owner:
            del self.owners[name]


def test_where_the_source_failed_the_lease_is_free_before_the_program_ends() -> None:
    """Else the others would wait until it runs out, since there is no entry for them."""
    lease, source = FarLease(), Source(SourceUnavailable("down"))
    with pytest.raises(CredentialsError, match="source: down"):
        asyncio.run(of(source, Memory(), lease=lease, secret_keys=[KEY])())
    assert not lease.owners


async def test_a_lease_that_cannot_be_given_up_delays_no_error_beyond_the_caller_s_time_for_the_store() -> None:
    lease = FarLease()
    lease.gate = asyncio.Event()
    load = module._SharedLoad(of(Source(), Memory(), lease=lease, secret_keys=[KEY], timeout=600.0), "name")
    assert await load.wait() is None
    load._left = 0.05  # the entry and the lease have taken the rest
    async with asyncio.timeout(PATIENCE):
        await load.give_up()
    assert lease.owners
    lease.gate.set()
    await gone()
    assert not lease.owners, "it goes on behind the caller"


STUCK = """
import asyncio, datetime
from aiocreds import Credentials, shared

class Store:
    async def get(self, key, *, collection=None):
        return None

    async def put(self, key, value, *, collection=None, ttl=None):
        await asyncio.sleep(600)

class Lease:
    async def acquire(self, name, owner, seconds):
        return True

    async def release(self, name, owner):
        await asyncio.sleep(0.01)

async def source():
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    return Credentials("AKIATESTTEST00000001", "x" * 40, "y", ends)

asyncio.run(shared(source, store=Store(), lease=Lease(), key="app", secret_keys=[bytes(32)], timeout=0.1)())
"""


@pytest.mark.slow
async def test_a_store_that_hangs_as_the_program_ends_prints_nothing(tmp_path: Path) -> None:
    ended = await Machine(tmp_path, {}).run(sys.executable, "-W", "error", "-c", STUCK)
    assert ended == (0, "", "")


@pytest.fixture
def one_sign_in(aws: Loopback, home: Path) -> Context:
    """A machine with one profile of Identity Center, where nobody is signed in."""
    write_config(home, APP)
    return Context(aws.environ, home=home)


async def test_who_signs_in_next_does_not_get_the_credentials_of_who_has_signed_out(
    aws: Loopback, home: Path, folder: Path, one_sign_in: Context
) -> None:
    def program() -> Provider:
        return shared(from_sso("app", context=one_sign_in), store=folder)

    aws.sign_in.sso_login(home)
    first = await program()()
    assert await program()() == first, "it is shared"
    assert len(await sign_out("app", context=one_sign_in)) == 1
    await message_of(program()(), LoginRequired)
    file = aws.sign_in.sso_login(home)
    os.utime(file, (1, 1))  # as at another moment
    assert (await program()()).access_key_id != first.access_key_id


async def test_after_a_sign_in_during_the_call_and_a_sign_out_nobody_gets_its_credentials(
    aws: Loopback, home: Path, folder: Path, one_sign_in: Context
) -> None:
    """While nobody is signed in everything is as it was before that call, except what it has stored."""

    async def person(required: LoginRequired) -> None:
        await asyncio.to_thread(aws.sign_in.sso_login, home)

    await shared(from_sso("app", context=one_sign_in, sign_in=person), store=folder)()
    await sign_out("app", context=one_sign_in)
    await message_of(shared(from_sso("app", context=one_sign_in), store=folder)(), LoginRequired)


def test_another_one_is_waited_for_as_long_as_the_source_may_take() -> None:
    async def code(serial_number: str) -> str:
        return "123456"

    @credential_provider
    async def from_vault(client: object, timeout: str, mfa_code: int) -> Credentials:
        return issue()

    hasty = ClientConfig(read_timeout=1, max_attempts=2)
    role = partial(from_temporary_credentials, role_arn="arn:aws:iam::123456789012:role/app")
    assert module.budget(from_env()) == module.BUDGET
    assert module.budget(role(source=from_env(), client=ClientConfig(read_timeout=20, max_attempts=3))) == 60
    assert module.budget(role(source=from_process(timeout=timedelta(minutes=5)), client=hasty)) == 300
    assert module.budget(chain(from_env(), from_process(command="x"))) == 60
    assert module.budget(default_chain(mfa_code=code, process_timeout=1)) == module.PERSON
    assert module.budget(default_chain(sign_in=sign_in, process_timeout=1)) == module.PERSON
    assert module.budget(from_vault(object(), "x", 1)) == module.BUDGET


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_day_of_ten_thousand_processes_and_a_hundred_roles(seed: int) -> None:
    calls, refreshes, without = day(seed=seed)
    assert refreshes > 100 * 24
    assert calls <= 1.05 * refreshes
    assert without == 0


# The rest is as with any provider.


async def test_an_entry_that_lasts_too_short_is_not_all_there_is(
    folder: Path, clock: time_machine.Traveller
) -> None:
    old = await of(Source(), folder)()
    clock.shift(HOUR / 2)
    assert await of(Source(), folder).get(min_ttl=60) == old
    source = Source()
    provider = of(source, folder)
    new = await provider.get(min_ttl=HOUR - 60)
    assert new != old
    assert await provider.get(min_ttl=HOUR - 60) == new
    assert source.calls == 1


async def test_expire_after(folder: Path) -> None:
    provider = of(Source(), folder).expire_after(600)
    await provider()
    left = provider.status.seconds_left
    assert left is not None
    assert left <= 600


async def test_explain_tells_whose_entry_it_is(folder: Path) -> None:
    import socket

    first = str(await explain(of(Source(), folder)))
    assert "answered: no entry" in first
    text = str(await explain(of(Source(), folder)))
    assert "answered in" in text
    assert f"by {socket.gethostname()}" in text
    assert "not asked" in text


async def test_the_role_is_stored(folder: Path) -> None:
    async def assumed() -> Credentials:
        note_role("app")
        return issue()

    await shared(assumed, store=folder, key="app", timeout=30)()
    identity = (await explain(of(Source(), folder))).identity
    assert identity is not None
    assert identity.role == "app"


def test_a_source_of_ones_own_needs_a_name() -> None:
    with pytest.raises(TypeError, match="key="):
        shared(Source().provider())


def test_it_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="key is blank"):
        shared(Source().provider(), key=" ")
    with pytest.raises(InvalidConfiguration, match="folder of a shared store is blank"):
        shared(Source().provider(), key="app", store=" ")


def test_fresh_credentials_are_given_by_the_same_code_as_ever() -> None:
    assert module.Shared.__call__ is Provider.__call__
