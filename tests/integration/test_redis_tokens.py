"""Clients of Redis log in to a real Valkey with tokens, which a proxy before it checks with botocore."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import InvalidConfiguration, SourceUnavailable
from aiocreds.integrations import _background
from aiocreds.integrations.redis import coredis_credentials, redis_credentials, valkey_credentials
from aiocreds.tokens import elasticache_token
from tests.helpers.cache_proxy import CacheProxy
from tests.helpers.rotation import LARGE, PACES, SMALL, Rotation
from tests.helpers.scripted import until
from tests.helpers.tls import TLS
from tests.helpers.token_check import Authority
from tests.helpers.valkey import Valkey, program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aiocreds import Provider
    from aiocreds.tokens import TokenProvider

pytestmark = pytest.mark.skipif(program() is None, reason="no valkey-server here")

USER, CACHE = "app-1", "sessions"


@pytest.fixture
async def authority() -> Authority:
    return Authority(time.time)


@pytest.fixture
async def proxy(authority: Authority, tmp_path: Path) -> AsyncIterator[CacheProxy]:
    with Valkey(tmp_path) as valkey:
        async with CacheProxy(authority, user=USER, cache=CACHE) as proxy:
            proxy.behind = valkey.port
            yield proxy


@pytest.fixture
def coredis() -> Iterator[Any]:
    """The library, which leaves streams of anyio unclosed."""
    yield pytest.importorskip("coredis")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def token_of(provider: Provider, **options: Any) -> TokenProvider:
    return elasticache_token(provider, CACHE, USER, "eu-west-1", **options)


def client_of(library: str, port: int, token: TokenProvider, *, asynchronous: bool, **options: Any) -> Any:
    package = pytest.importorskip(library)
    make = redis_credentials if library == "redis" else valkey_credentials
    kind = "Redis" if library == "redis" else "Valkey"
    module = pytest.importorskip(f"{library}.asyncio") if asynchronous else package
    options.setdefault("credential_provider", make(token))
    return getattr(module, kind)(host="127.0.0.1", port=port, **options)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_a_client_with_asyncio(library: str, protocol: int, authority: Authority, proxy: CacheProxy) -> None:
    provider = authority.provider()
    await provider()
    client = client_of(library, proxy.port, token_of(provider), asynchronous=True, protocol=protocol)
    try:
        assert await client.set("a", "1")
        assert await client.get("a") == b"1"
    finally:
        await client.aclose()
    assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_a_client_without_asyncio(
    library: str, protocol: int, authority: Authority, proxy: CacheProxy
) -> None:
    client = client_of(library, proxy.port, token_of(authority.provider()), asynchronous=False, protocol=protocol)

    def work() -> object:
        with client:
            client.set("a", "1")
            return client.get("a")

    assert await asyncio.to_thread(work) == b"1"
    assert (proxy.logins, proxy.refused) == (1, [])


@asynccontextmanager
async def cluster_behind(proxy: CacheProxy, folder: Path) -> AsyncIterator[None]:
    """Start a cluster of one node, which says that it is the proxy."""
    options = {"cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1"}
    options["cluster-announce-port"] = str(proxy.port)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        options["cluster-port"] = str(free.getsockname()[1])
    with Valkey(folder, **options) as valkey:
        proxy.behind = valkey.port
        valkey.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        while b"cluster_state:ok" not in await asyncio.to_thread(valkey.command, "CLUSTER", "INFO"):  # noqa: ASYNC110 - of a process
            await asyncio.sleep(0.05)
        yield


@pytest.mark.parametrize("serverless", [False, True])
@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_a_cluster(
    library: str, asynchronous: bool, serverless: bool, authority: Authority, tmp_path: Path
) -> None:
    """A serverless cache is a cluster to its clients, and takes TLS only."""
    pytest.importorskip(library)
    provider = authority.provider()
    await provider()
    make = redis_credentials if library == "redis" else valkey_credentials
    given = make(token_of(provider, serverless=serverless))
    tls = TLS(tmp_path) if serverless else None
    options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(tls.ca)} if tls else {}
    kind = "RedisCluster" if library == "redis" else "ValkeyCluster"
    module = pytest.importorskip(f"{library}.asyncio.cluster" if asynchronous else f"{library}.cluster")
    proxy = CacheProxy(authority, user=USER, cache=CACHE, serverless=serverless, tls=tls.server if tls else None)
    async with proxy, cluster_behind(proxy, tmp_path):

        def client() -> Any:
            return getattr(module, kind)(host="127.0.0.1", port=proxy.port, credential_provider=given, **options)

        def work() -> object:
            with client() as cluster:
                cluster.set("a", "1")
                return cluster.get("a")

        if asynchronous:
            async with client() as cluster:
                await cluster.set("a", "1")
                assert await cluster.get("a") == b"1"
        else:
            assert await asyncio.to_thread(work) == b"1"
    assert proxy.logins
    assert proxy.refused == []


async def give_work(port: int, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"RPUSH work" + b" one" * count + b"\r\n")
    assert await reader.readline() == b":%d\r\n" % count
    writer.close()
    await writer.wait_closed()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unclosed .MemoryObject:ResourceWarning")
@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("library", ["redis", "valkey", "redis in threads", "valkey in threads", "coredis"])
async def test_a_pool_that_grows_and_shrinks_while_keys_rotate(
    library: str, pace: str, authority: Authority, proxy: CacheProxy
) -> None:
    """Each command waits in the server until all have a connection of their own."""
    name, _, in_threads = library.partition(" ")
    package = pytest.importorskip(name)
    rotation = Rotation(authority, pace)
    token = token_of(rotation.provider)
    async with rotation.provider, AsyncExitStack() as stack:
        if name == "coredis":
            stack.callback(gc.collect)
            login = coredis_credentials(token)
            client = package.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login)
            await stack.enter_async_context(client)
        else:
            client = client_of(name, proxy.port, token, asynchronous=not in_threads)
        threads = stack.enter_context(ThreadPoolExecutor(LARGE))

        async def use() -> None:
            take = partial(client.blpop, ["work"], timeout=60)
            await (asyncio.get_running_loop().run_in_executor(threads, take) if in_threads else take())

        for size in rotation.sizes():
            if library == "valkey":  # which awaits none, and a clock that is moved does not wake the refresh
                await rotation.provider()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(size):
                    tasks.create_task(use())
                await until(lambda: proxy.open == size)  # noqa: B023 - called here alone
                await give_work(proxy.behind, size)
            if name == "coredis":  # whose pool gives connections up only by itself
                proxy.drop_all()
            elif in_threads:
                client.connection_pool.disconnect()
            else:
                await client.connection_pool.disconnect()
            await until(lambda: not proxy.open)
        if in_threads:
            client.close()
        elif name != "coredis":
            await client.aclose()
    rotation.check(proxy.logins, proxy.refused)


@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_connections_that_the_service_has_closed_are_replaced(
    library: str, authority: Authority, proxy: CacheProxy
) -> None:
    provider = authority.provider()
    await provider()
    client = client_of(library, proxy.port, token_of(provider), asynchronous=True)
    try:
        await client.ping()
        proxy.drop_all()
        while proxy.open:  # noqa: ASYNC110 - of another task, which has no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # until the end has come to the client
        await client.ping()
    finally:
        await client.aclose()
    assert (proxy.logins, proxy.refused) == (2, [])


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_after_an_outage_of_the_source_a_pool_is_of_use_again(
    library: str, asynchronous: bool, authority: Authority, proxy: CacheProxy
) -> None:
    failure = pytest.importorskip(f"{library}.exceptions").AuthenticationError
    authority.down = SourceUnavailable("the source is down")
    token = token_of(authority.provider())
    client = client_of(library, proxy.port, token, asynchronous=asynchronous)

    async def ping() -> None:
        await (client.ping() if asynchronous else asyncio.to_thread(client.ping))

    with pytest.raises(failure) as caught:
        await ping()
    assert caught.value.__cause__ is not None
    authority.down = None
    token.provider.invalidate()
    await token.provider()
    await ping()
    await client.aclose() if asynchronous else client.close()
    assert (proxy.logins, proxy.refused) == (1, [])


async def test_connections_log_in_again_while_threads_use_them(authority: Authority, proxy: CacheProxy) -> None:
    redis = pytest.importorskip("redis")
    login = redis_credentials(token_of(authority.provider()), reauthenticate_every=0.05)
    client = redis.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login)
    give_up = time.monotonic() + 30

    def work(name: str) -> int:
        wrong = 0
        while proxy.repeated < 20 and time.monotonic() < give_up:
            wrong += client.echo(name) != name.encode()
            time.sleep(0.002)
        return wrong

    wrong = await asyncio.gather(*(asyncio.to_thread(work, f"thread {number}") for number in range(4)))
    await asyncio.to_thread(client.close)
    assert proxy.repeated >= 20
    assert proxy.logins - proxy.repeated <= 4  # connections
    assert (sum(wrong), proxy.refused) == (0, [])


class MovedLoop(asyncio.SelectorEventLoop):
    """A loop whose time a test moves on."""

    _moved = 0.0

    def time(self) -> float:
        return super().time() + self._moved

    def move(self, seconds: float) -> None:
        self._moved += seconds
        self.call_soon_threadsafe(lambda: None)  # has it look at its timers


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch) -> Iterator[MovedLoop]:
    """The loop in the background."""
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", MovedLoop)
        started = _background._Loop()  # pyright: ignore[reportPrivateUsage] - one with another clock
    monkeypatch.setattr(_background, "_running", started)
    assert isinstance(started.loop, MovedLoop)
    yield started.loop
    started.end()


async def test_no_connection_gets_as_old_as_the_service_lets_it(
    authority: Authority, proxy: CacheProxy, background: MovedLoop
) -> None:
    """Two days. Keys live for an hour."""
    redis = pytest.importorskip("redis")
    rotation, period = Rotation(authority, "two hours"), 6 * 3600
    login = redis_credentials(token_of(rotation.provider), reauthenticate_every=period)
    client = redis.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login)

    def use_all() -> None:
        taken = [client.connection_pool.get_connection() for _ in range(SMALL)]
        for connection in taken:
            connection.send_command("PING")
            assert connection.read_response() == b"PONG"
            client.connection_pool.release(connection)

    for number in range(8):
        await asyncio.to_thread(use_all)
        assert (proxy.logins, proxy.repeated) == (SMALL * (number + 1), SMALL * number)
        rotation.clock.move(period)
        background.move(period)
        await until(lambda: proxy.repeated == SMALL * (number + 1))  # noqa: B023 - called here alone
        await until(lambda: len(asyncio.all_tasks(background)) == 1)  # the one that the loop runs for: all is done
    await asyncio.to_thread(use_all)
    await asyncio.to_thread(client.close)
    assert (proxy.expired, proxy.refused) == (0, [])


def test_clients_that_are_gone_are_forgotten(authority: Authority) -> None:
    """Also where a program makes a client for each request, long before the connections log in again."""
    redis = pytest.importorskip("redis")
    login = redis_credentials(token_of(authority.provider()), reauthenticate_every=3600)

    def known() -> int:
        gc.collect()
        return sum(isinstance(it, weakref.WeakMethod) for it in gc.get_objects())

    before = known()
    clients = [redis.Redis(host="127.0.0.1", port=1, credential_provider=login) for _ in range(50)]
    assert known() >= before + 50
    clients.clear()
    assert known() <= before


async def test_with_asyncio_connections_cannot_log_in_again(authority: Authority, tmp_path: Path) -> None:
    """redis-py would do that while tasks use them, which then got each other's answers."""
    redis = pytest.importorskip("redis")
    login = redis_credentials(token_of(authority.provider()), reauthenticate_every=3600)
    with pytest.raises(InvalidConfiguration, match="leave reauthenticate_every out"):
        redis.asyncio.Redis(host="127.0.0.1", port=1, credential_provider=login)
    async with CacheProxy(authority, user=USER, cache=CACHE) as proxy, cluster_behind(proxy, tmp_path):
        client = redis.asyncio.RedisCluster(host="127.0.0.1", port=proxy.port, credential_provider=login)
        with pytest.raises(redis.exceptions.RedisClusterException, match="leave reauthenticate_every out"):
            await client.get("a")
        await client.aclose()


async def test_a_subscription_is_left_alone_while_connections_log_in_again(
    authority: Authority, proxy: CacheProxy
) -> None:
    redis = pytest.importorskip("redis")
    login = redis_credentials(token_of(authority.provider()), reauthenticate_every=0.05)
    client = redis.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login, protocol=3)
    give_up = time.monotonic() + 30

    def work() -> list[bytes]:
        with client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe("news")
            got: list[bytes] = []
            number = 0
            while proxy.repeated < 20 and time.monotonic() < give_up:
                client.publish("news", number)
                number += 1
                while len(got) < number and time.monotonic() < give_up:
                    message = subscription.get_message(timeout=1)
                    got += [message["data"]] if message else []
            return got

    got = await asyncio.to_thread(work)
    await asyncio.to_thread(client.close)
    assert got
    assert got == [b"%d" % number for number in range(len(got))]
    assert proxy.repeated >= 20
    assert proxy.refused == []


@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_a_subscription_that_the_service_has_closed_is_renewed(
    library: str, authority: Authority, proxy: CacheProxy
) -> None:
    provider = authority.provider()
    await provider()
    retries = pytest.importorskip(f"{library}.asyncio.retry").Retry
    backoff = pytest.importorskip(f"{library}.backoff").ConstantBackoff(0.05)
    lost = [pytest.importorskip(f"{library}.exceptions").ConnectionError]
    client = client_of(
        library,
        proxy.port,
        token_of(provider),
        asynchronous=True,
        retry=retries(backoff, 20),
        retry_on_error=lost,  # redis-py does that by default
    )
    async with client, client.pubsub() as subscription, asyncio.timeout(30):
        await subscription.subscribe("news")
        assert (await anext(subscription.listen()))["type"] == "subscribe"
        waiting = asyncio.create_task(anext(subscription.listen()))
        await asyncio.sleep(0)
        proxy.drop_all()
        assert (await waiting)["type"] == "subscribe"
        await client.publish("news", "one")
        assert (await anext(subscription.listen()))["data"] == b"one"
    assert proxy.refused == []


def test_a_period_out_of_bounds() -> None:
    pytest.importorskip("redis")
    for period in (0, 12 * 3600, -1):
        with pytest.raises(ValueError, match="reauthenticate_every"):
            redis_credentials(token_of(Authority(time.time).provider()), reauthenticate_every=period)


@pytest.mark.filterwarnings("ignore:Unclosed .MemoryObject:ResourceWarning")
@pytest.mark.parametrize("clustered", [False, True])
async def test_coredis(coredis: Any, clustered: bool, authority: Authority, tmp_path: Path) -> None:
    login = coredis_credentials(token_of(authority.provider(), serverless=clustered))
    assert isinstance(login, pytest.importorskip("coredis.credentials").AbstractCredentialProvider)
    tls = TLS(tmp_path) if clustered else None
    options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(tls.ca)} if tls else {}
    proxy = CacheProxy(authority, user=USER, cache=CACHE, serverless=clustered, tls=tls.server if tls else None)
    async with proxy:
        if tls is not None:
            async with cluster_behind(proxy, tmp_path):
                nodes = [{"host": "127.0.0.1", "port": proxy.port}]
                async with coredis.RedisCluster(
                    startup_nodes=nodes, credential_provider=login, **options
                ) as client:
                    assert await client.set("a", "1")
                    assert await client.get("a") == b"1"
        else:
            with Valkey(tmp_path) as valkey:
                proxy.behind = valkey.port
                async with coredis.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login) as client:
                    assert await client.set("a", "1")
                    proxy.drop_all()
                    await until(lambda: not proxy.open)
                    assert await client.get("a") == b"1"
                    assert proxy.logins == 2
    assert proxy.logins
    assert proxy.refused == []


@pytest.mark.filterwarnings("ignore:Unclosed .MemoryObject:ResourceWarning")
async def test_coredis_while_the_source_is_down(coredis: Any, authority: Authority, proxy: CacheProxy) -> None:
    failure = pytest.importorskip("coredis.exceptions").AuthenticationError
    authority.down = SourceUnavailable("the source is down")
    login = coredis_credentials(token_of(authority.provider()))
    with pytest.raises(ExceptionGroup) as caught:
        async with coredis.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login) as client:
            await client.get("a")
    assert caught.group_contains(failure, match="the source is down")
    authority.down = None
    async with coredis.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login) as client:
        assert await client.get("a") is None
    assert (proxy.logins, proxy.refused) == (1, [])
