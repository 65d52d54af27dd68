"""valkey-glide logs in to a real Valkey with our keys, whose tokens a proxy before it checks with botocore."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import SourceUnavailable
from aiocreds.integrations.valkey_glide import glide_credentials
from tests.helpers.cache_proxy import CacheProxy
from tests.helpers.rotation import Rotation
from tests.helpers.scripted import until
from tests.helpers.tls import TLS
from tests.helpers.token_check import Authority
from tests.helpers.valkey import Valkey, program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

glide: Any = pytest.importorskip("glide")

USER, CACHE = "app-1", "sessions"


def later_than(proxy: CacheProxy, seen: int) -> bool:
    return proxy.logins > seen


async def client_of(proxy: CacheProxy, tls: TLS, login: Any, **options: Any) -> Any:
    iam = glide.IamAuthConfig(
        *(CACHE, glide.ServiceType.ELASTICACHE, "eu-west-1"),
        credential_provider=login,
        **options,
    )
    trust = glide.TlsAdvancedConfiguration(root_pem_cacerts=tls.ca.read_bytes())
    return await glide.GlideClient.create(
        glide.GlideClientConfiguration(
            [glide.NodeAddress("127.0.0.1", proxy.port)],
            use_tls=True,
            credentials=glide.ServerCredentials(username=USER, iam_config=iam),
            advanced_config=glide.AdvancedGlideClientConfiguration(tls_config=trust),
        )
    )


@asynccontextmanager
async def proxy_before_valkey(authority: Authority, tls: TLS, folder: Path) -> AsyncIterator[CacheProxy]:
    if program() is None:
        pytest.skip("no valkey-server here")
    with Valkey(folder) as valkey:
        async with CacheProxy(authority, user=USER, cache=CACHE, tls=tls.server) as proxy:
            proxy.behind = valkey.port
            yield proxy


async def test_it_signs_with_current_keys(tmp_path: Path) -> None:
    authority, tls = Authority(time.time), TLS(tmp_path)
    provider = authority.provider()
    async with proxy_before_valkey(authority, tls, tmp_path) as proxy:
        client = await client_of(proxy, tls, glide_credentials(provider), refresh_interval_seconds=1)
        try:
            assert await client.set("a", "1") == "OK"
            provider.invalidate()
            async with asyncio.timeout(60):
                while len(set(proxy.signers)) < 2:  # its next token is made within a second
                    seen = proxy.logins
                    proxy.drop_all()
                    await until(partial(later_than, proxy, seen))
        finally:
            await client.close()
    assert set(proxy.signers) == {"ASIAEXAMPLE0000", "ASIAEXAMPLE0001"}
    assert proxy.refused == []
    assert authority.issued == 2


@pytest.mark.slow
async def test_clients_come_and_go_while_keys_rotate(tmp_path: Path) -> None:
    """A client has one connection. It dates its tokens by the machine's clock, and makes one when it is made."""
    authority, tls = Authority(time.time), TLS(tmp_path)
    rotation = Rotation(authority, "five minutes")
    authority.today = time.time
    login = glide_credentials(rotation.provider)
    async with rotation.provider, proxy_before_valkey(authority, tls, tmp_path) as proxy:
        for size in rotation.sizes():
            clients = await asyncio.gather(*(client_of(proxy, tls, login) for _ in range(size)))
            assert await asyncio.gather(*(client.ping() for client in clients)) == [b"PONG"] * size
            await asyncio.gather(*(client.close() for client in clients))
    rotation.check(proxy.logins, proxy.refused)
    assert len(set(proxy.signers)) >= 5


async def test_keys_live_on_until_the_next_token_is_made() -> None:
    """That is five minutes later. A provider serves an hour's keys for longer than until then."""
    authority = Authority(time.time)
    rotation = Rotation(authority, "two hours")
    login = glide_credentials(rotation.provider)
    assert (await login()).access_key_id == "ASIAEXAMPLE0000"
    rotation.clock.move(56 * 60)
    assert (await login()).access_key_id == "ASIAEXAMPLE0001"


async def test_what_the_source_raises_comes_out() -> None:
    authority = Authority(time.time)
    authority.down = SourceUnavailable("the source is down")
    login = glide_credentials(authority.provider())
    with pytest.raises(SourceUnavailable, match="the source is down"):
        await login()
    authority.down = None
    given = await login()
    assert isinstance(given, glide.AwsCredentials)
    assert given.access_key_id == "ASIAEXAMPLE0000"
    assert given.access_key_id not in repr(login)
