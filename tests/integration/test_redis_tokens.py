"""redis-py and valkey-py log in to a real Valkey with tokens, which a proxy before it checks with botocore."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Context, SourceUnavailable
from aiocreds.integrations.redis import redis_credentials, valkey_credentials
from aiocreds.testing import TestClock
from aiocreds.tokens import elasticache_token
from tests.helpers.cache_proxy import CacheProxy
from tests.helpers.token_check import Authority
from tests.helpers.valkey import Valkey, program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_a_cluster(library: str, asynchronous: bool, authority: Authority, tmp_path: Path) -> None:
    pytest.importorskip(library)
    provider = authority.provider()
    await provider()
    async with CacheProxy(authority, user=USER, cache=CACHE) as proxy:
        options = {"cluster-enabled": "yes", "cluster-announce-ip": "127.0.0.1"}
        options["cluster-announce-port"] = str(proxy.port)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            options["cluster-port"] = str(free.getsockname()[1])
        with Valkey(tmp_path, **options) as valkey:
            proxy.behind = valkey.port
            valkey.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            while b"cluster_state:ok" not in await asyncio.to_thread(valkey.command, "CLUSTER", "INFO"):  # noqa: ASYNC110 - of a process
                await asyncio.sleep(0.05)
            make = redis_credentials if library == "redis" else valkey_credentials
            kind = "RedisCluster" if library == "redis" else "ValkeyCluster"
            module = pytest.importorskip(f"{library}.asyncio.cluster" if asynchronous else f"{library}.cluster")

            def client() -> Any:
                given = make(token_of(provider))
                return getattr(module, kind)(host="127.0.0.1", port=proxy.port, credential_provider=given)

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


@pytest.mark.parametrize("library", ["redis", "valkey"])
async def test_a_pool_that_grows_and_shrinks_while_keys_rotate(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    clock = TestClock()
    context = Context({})
    context.clock = clock
    authority = Authority(clock.now, lifetime=60)
    token = token_of(provider := authority.provider(context))
    with Valkey(tmp_path) as valkey:
        async with CacheProxy(authority, user=USER, cache=CACHE) as proxy:
            proxy.behind = valkey.port
            async with provider:
                client = client_of(library, proxy.port, token, asynchronous=True)
                for number in range(20):  # of 15 s: five minutes
                    size = 50 if number % 2 else 5
                    await asyncio.gather(*(client.blpop([f"none{one}"], timeout=0.05) for one in range(size)))
                    if number % 2:
                        await client.connection_pool.disconnect()
                    clock.move(15)
                await client.aclose()
    assert proxy.refused == []
    assert proxy.logins >= 500
    assert authority.issued >= 5


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


async def test_connections_log_in_again(authority: Authority, proxy: CacheProxy) -> None:
    redis = pytest.importorskip("redis")
    login = redis_credentials(token_of(authority.provider()), reauthenticate_every=0.2)
    client = redis.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login)
    give_up = time.monotonic() + 30
    while proxy.repeated < 3 and time.monotonic() < give_up:
        await asyncio.to_thread(client.ping)
        await asyncio.sleep(0.02)
    assert proxy.repeated >= 3
    assert proxy.logins - proxy.repeated == 1  # on one connection
    assert proxy.refused == []
    client.close()


async def test_connections_of_asyncio_do_not_log_in_again(authority: Authority, proxy: CacheProxy) -> None:
    """redis-py's asyncio pools give a connection to a caller while they log it in."""
    redis = pytest.importorskip("redis")
    login = redis_credentials(token_of(authority.provider()), reauthenticate_every=6 * 3600)
    async with redis.asyncio.Redis(host="127.0.0.1", port=proxy.port, credential_provider=login) as client:
        with pytest.raises(redis.exceptions.AuthenticationError, match="does not work with asyncio"):
            await client.ping()
    assert (proxy.logins, proxy.refused) == (0, [])


def test_a_period_out_of_bounds() -> None:
    pytest.importorskip("redis")
    for period in (0, 12 * 3600, -1):
        with pytest.raises(ValueError, match="reauthenticate_every"):
            redis_credentials(token_of(Authority(time.time).provider()), reauthenticate_every=period)
