"""valkey-glide logs in to a real Valkey with our keys, whose tokens a proxy before it checks with botocore."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import SourceUnavailable
from aiocreds.integrations.valkey_glide import glide_credentials
from tests.helpers.cache_proxy import CacheProxy
from tests.helpers.scripted import until
from tests.helpers.tls import TLS
from tests.helpers.token_check import Authority
from tests.helpers.valkey import Valkey, program

if TYPE_CHECKING:
    from pathlib import Path

glide: Any = pytest.importorskip("glide")

USER, CACHE = "app-1", "sessions"


def later_than(proxy: CacheProxy, seen: int) -> bool:
    return proxy.logins > seen


@pytest.mark.skipif(program() is None, reason="no valkey-server here")
async def test_it_signs_with_current_keys(tmp_path: Path) -> None:
    authority = Authority(time.time)
    tls = TLS(tmp_path)
    trust = glide.TlsAdvancedConfiguration(root_pem_cacerts=tls.ca.read_bytes())
    provider = authority.provider()
    iam = glide.IamAuthConfig(
        CACHE,
        glide.ServiceType.ELASTICACHE,
        "eu-west-1",
        refresh_interval_seconds=1,
        credential_provider=glide_credentials(provider),
    )
    with Valkey(tmp_path) as valkey:
        async with CacheProxy(authority, user=USER, cache=CACHE, tls=tls.server) as proxy:
            proxy.behind = valkey.port
            client = await glide.GlideClient.create(
                glide.GlideClientConfiguration(
                    [glide.NodeAddress("127.0.0.1", proxy.port)],
                    use_tls=True,
                    credentials=glide.ServerCredentials(username=USER, iam_config=iam),
                    advanced_config=glide.AdvancedGlideClientConfiguration(tls_config=trust),
                )
            )
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
