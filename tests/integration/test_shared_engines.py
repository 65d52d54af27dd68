"""shared() on real engines: a Valkey server, DynamoDB as moto serves it, and py-key-value's own stores."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import DynamoDBLease, Provider, RedisLease, shared
from aiocreds._shared import circuit_breaker
from aiocreds._shared import provider as module
from tests.helpers.leases import check_ownership
from tests.helpers.scripted import Source, until, warned
from tests.helpers.secret_leaks import MARK
from tests.helpers.valkey import Valkey, program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from blockbuster import BlockBuster

pytest.importorskip("key_value.aio", reason="py-key-value-aio is not installed")
redis = pytest.importorskip("redis.asyncio", reason="redis is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None or sys.platform == "win32", reason="no valkey-server is installed"),
]

KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def never_block(blockbuster: BlockBuster) -> Iterator[None]:
    """Other people's clients may block in their way; what is ours is watched in the unit tests."""
    blockbuster.deactivate()
    yield
    blockbuster.activate()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


class Fleet:
    """Processes that share, in one: each has its own client and source."""

    def __init__(self, make: Callable[[], Any], lease: Callable[[Any], Any], store: Callable[[Any], Any]) -> None:
        self.make, self.lease, self.store = make, lease, store
        self.stack = AsyncExitStack()

    def member(self, source: Source, **more: Any) -> Any:
        client = self.make()
        self.stack.push_async_callback(client.aclose)
        return shared(
            source.provider(),
            store=self.store(client),
            lease=self.lease(client),
            key="app",
            secret_keys=[KEY],
            **more,
        )


@pytest.fixture(params=["a client", "a store of py-key-value"])
async def fleet(valkey: Valkey, request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    from key_value.aio.stores.redis import RedisStore

    def client() -> Any:
        return redis.Redis.from_url(valkey.url, decode_responses=True)

    if request.param == "a client":
        fleet = Fleet(client, lambda _: None, lambda client: client)
    else:
        fleet = Fleet(client, RedisLease, lambda client: RedisStore(client=client))
    async with fleet.stack:
        yield fleet


async def gone() -> None:
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("aiocreds")])


async def test_a_fleet_fetches_once(fleet: Fleet, valkey: Valkey) -> None:
    source = Source()
    source.gate = asyncio.Event()
    members = [fleet.member(source, timeout=30) for _ in range(20)]
    loads = [asyncio.ensure_future(member()) for member in members]
    await until(lambda: source.calls == 1)
    await asyncio.sleep(0.2)
    source.gate.set()
    assert len({(await load).access_key_id for load in loads}) == 1
    await asyncio.gather(*(member.fetch() for member in members))  # a refresh
    assert source.calls == 2
    await gone()
    raw = valkey.everything()
    assert len(raw) > 300
    assert MARK.encode() not in raw
    assert b"ASIA" not in raw


async def test_a_lease_belongs_to_its_owner(valkey: Valkey) -> None:
    async with redis.Redis.from_url(valkey.url) as client:
        one, two = RedisLease(client), RedisLease(client)
        await check_ownership(one, two)
        assert await two.acquire("x", "b", 0.1)
        await asyncio.sleep(0.15)
        assert await one.acquire("x", "a", 10)


async def test_a_client_of_valkey_will_do(valkey: Valkey) -> None:
    client_of = pytest.importorskip("valkey.asyncio", reason="valkey is not installed")
    async with client_of.Valkey.from_url(valkey.url) as client:
        lease = RedisLease(client)
        assert await lease.acquire("x", "a", 10)
        assert not await lease.acquire("x", "b", 10)
        await lease.release("x", "a")
        assert await lease.acquire("x", "b", 10)


@pytest.mark.parametrize("decoded", [False, True])
async def test_a_client_of_valkey_as_the_store(valkey: Valkey, decoded: bool) -> None:
    client_of = pytest.importorskip("valkey.asyncio", reason="valkey is not installed")
    source = Source()
    async with client_of.Valkey.from_url(valkey.url, decode_responses=decoded) as client:
        one, two = (
            shared(source.provider(), store=client, key="app", secret_keys=[KEY], timeout=30) for _ in range(2)
        )
        credentials = await one()
        await gone()
        assert await two() == credentials
        [name] = await client.keys("aiocreds:*")
        assert 0 < await client.ttl(name) <= 3600
        two.invalidate()
        assert await two() != credentials  # it removes the entry that was rejected
        await gone()
    assert source.calls == 2


@pytest.mark.parametrize("written", [b"\xff", "[" * 100_000, "[1]", "{}", ""])
async def test_what_others_write_in_the_place_of_an_entry(valkey: Valkey, written: Any) -> None:
    source = Source()
    async with redis.Redis.from_url(valkey.url) as client:
        provider: Any = shared(source.provider(), store=client, key="app", secret_keys=[KEY], timeout=30)
        await client.set(f"aiocreds:{provider._sealer.name(repr('app').encode())}", written)
        credentials = await provider()
        await gone()
        other = shared(source.provider(), store=client, key="app", secret_keys=[KEY], timeout=30)
        assert (await other(), source.calls) == (credentials, 1)


def test_what_is_no_store() -> None:
    import redis as blocking

    options: dict[str, Any] = {"key": "app", "secret_keys": [KEY]}
    wrong: Any = blocking.Redis()  # type checkers see it
    with pytest.raises(TypeError, match=r"redis.client.Redis, which blocks: pass a client of redis\.asyncio"):
        shared(Source().provider(), store=wrong, **options)
    wrong = 7
    with pytest.raises(TypeError, match=r"store= is a builtins\.int: pass a folder, an asyncio client"):
        shared(Source().provider(), store=wrong, **options)


async def test_a_holder_that_died_blocks_nobody_past_its_lease(
    fleet: Fleet, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE", 0.5)
    source = Source()
    member = fleet.member(source, timeout=30)
    name = member._sealer.name(repr("app").encode())
    async with redis.Redis.from_url(valkey.url) as client:
        assert await RedisLease(client).acquire(name, "dead", 0.5)
    began = asyncio.get_running_loop().time()
    await member()
    assert asyncio.get_running_loop().time() - began < module.BUDGET / 2
    assert source.calls == 1


async def test_a_holder_at_work_keeps_its_lease(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE", 4.0)
    monkeypatch.setattr(module, "HEARTBEAT", 0.2)
    slow, other = Source(), Source()
    slow.gate = asyncio.Event()
    loads = [asyncio.ensure_future(fleet.member(it, timeout=30)()) for it in (slow, other)]
    await until(lambda: slow.calls + other.calls == 1)
    other.gate = slow.gate
    await asyncio.sleep(5)
    slow.gate.set()
    assert (await loads[0]) == (await loads[1])
    assert slow.calls + other.calls == 1


# A server that fails. No caller waits for it longer than the bound, and the source returns credentials.


async def _killed(server: Valkey) -> None:
    server.kill()


async def _stopped(server: Valkey) -> None:
    server.send(signal.SIGSTOP)


async def _full(server: Valkey) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.command("CONFIG", "SET", "maxmemory", "1")


async def _flushed(server: Valkey) -> None:
    server.command("FLUSHALL")


async def _locked(server: Valkey) -> None:
    server.command("CONFIG", "SET", "requirepass", "another")


@pytest.mark.parametrize("strike", [_killed, _stopped, _full, _flushed, _locked])
async def test_a_server_that_fails(
    fleet: Fleet,
    valkey: Valkey,
    strike: Callable[[Valkey], Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(circuit_breaker, "BACKOFF", (0.1, 0.1))
    source, cold = Source(), Source()
    member = fleet.member(source, timeout=1)
    await member()
    await gone()
    await strike(valkey)
    loop = asyncio.get_running_loop()
    for provider in (member, fleet.member(cold, timeout=1), member):
        began = loop.time()
        await provider.fetch()
        assert loop.time() - began < 10  # a server that is stopped answers never
    warnings = [record.getMessage() for record in warned(caplog)]
    assert len(warnings) <= 4  # one for each provider's store and lease
    assert len(set(warnings)) == len(warnings) or strike is not _flushed
    assert not any("127.0.0.1" in text for text in warnings)
    valkey.send(signal.SIGCONT)
    if strike is _killed:
        valkey.start()
    await asyncio.sleep(0.15)
    if strike in (_killed, _stopped, _flushed):
        await asyncio.sleep(0.15)
        late = Source()
        calls = source.calls
        await member.fetch()
        await gone()
        assert (await fleet.member(late, timeout=30)()).access_key_id
        assert (source.calls - calls, late.calls) in ((1, 0), (0, 0))


async def test_a_black_hole(fleet: Fleet, tmp_path: Path) -> None:
    """A server that accepts and never answers, as behind a firewall that drops."""
    from key_value.aio.stores.redis import RedisStore

    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(1)
        client = redis.Redis(host="127.0.0.1", port=hole.getsockname()[1])
        source, loop = Source(), asyncio.get_running_loop()
        provider = shared(
            source.provider(), store=RedisStore(client=client), lease=RedisLease(client), key="a", secret_keys=[KEY]
        )
        began = loop.time()
        await provider()
        assert loop.time() - began < 10
        await client.aclose()


async def test_a_server_whose_certificate_is_not_trusted(valkey: Valkey) -> None:
    from key_value.aio.stores.redis import RedisStore

    client = redis.Redis.from_url(valkey.url.replace("redis://", "rediss://"))  # which speaks no TLS at all
    source = Source()
    store = RedisStore(client=client)
    provider = shared(source.provider(), store=store, lease=RedisLease(client), key="a", secret_keys=[KEY])
    await provider()
    assert source.calls == 1
    await client.aclose()


# DynamoDB, and the stores that need no server.


@pytest.fixture
async def dynamodb() -> AsyncIterator[Any]:
    from aiobotocore.session import get_session
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        async with get_session().create_client(
            "dynamodb",
            region_name="eu-central-1",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        ) as client:
            yield client
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore:A configured store is unstable")  # so does py-key-value call it
async def test_dynamodb(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from key_value.aio.stores.dynamodb import DynamoDBStore

    store = DynamoDBStore(client=dynamodb, table_name="creds")
    await store.setup()
    one, two = (DynamoDBLease(dynamodb, "creds") for _ in range(2))
    assert await one.acquire("x", "a", 10)
    assert await one.acquire("x", "a", 10)
    assert not await two.acquire("x", "b", 10)
    await two.release("x", "b")
    assert not await two.acquire("x", "b", 0.2)
    await asyncio.sleep(0.3)
    assert await two.acquire("x", "b", 0.2)  # the other has not prolonged it
    await one.release("x", "a")  # too late
    assert not await one.acquire("x", "a", 10)
    await two.release("x", "b")
    assert await one.acquire("x", "a", 10)
    source = Source()

    def member() -> Provider:
        lease = DynamoDBLease(dynamodb, "creds")
        return shared(source.provider(), store=store, lease=lease, key="app", secret_keys=[KEY], timeout=30)

    found = await asyncio.gather(*(member()() for _ in range(5)))
    assert len({it.access_key_id for it in found}) == 1
    assert source.calls == 1
    await gone()
    raw = repr(await dynamodb.scan(TableName="creds"))
    assert "sealed" in raw
    assert MARK not in raw
    assert found[0].access_key_id not in raw


async def test_disk_and_memory(tmp_path: Path) -> None:
    from key_value.aio.stores.disk import DiskStore
    from key_value.aio.stores.memory import MemoryStore

    stores: list[Any] = [MemoryStore(), DiskStore(directory=tmp_path)]
    for store in stores:
        first, second = Source(), Source()
        credentials = await shared(first.provider(), store=store, key="a", secret_keys=[KEY], timeout=30)()
        await gone()
        assert await shared(second.provider(), store=store, key="a", secret_keys=[KEY], timeout=30)() == credentials
        assert second.calls == 0
    raw = b"".join(path.read_bytes() for path in files(tmp_path))
    assert b"sealed" in raw
    assert MARK.encode() not in raw
    await stores[1].close()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and os.access(path, os.R_OK)]
