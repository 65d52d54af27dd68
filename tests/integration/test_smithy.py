"""attach() on the configuration of the AWS SDK for Python: its client against a server that checks signatures."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import CredentialsNotFound, from_env
from tests.helpers.scripted import Source, issue
from tests.helpers.secret_leaks import MARK
from tests.helpers.sigv4_server import EXPIRED, REGION, Judge, header_only

if TYPE_CHECKING:
    from aiocreds import Provider

client_module: Any = pytest.importorskip("aws_sdk_bedrock_runtime.client")
config_module: Any = pytest.importorskip("aws_sdk_bedrock_runtime.config")
models: Any = pytest.importorskip("aws_sdk_bedrock_runtime.models")
identity: Any = pytest.importorskip("smithy_core.aio.identity")

from aiocreds.integrations.smithy import attach, smithy_credentials  # noqa: E402 - after the skips


async def client_of(provider: Provider, url: str) -> Any:
    config = await config_module.AsyncBedrockRuntimeConfig.resolve(region=REGION, endpoint_uri=url)
    return client_module.AsyncBedrockRuntimeClient(config=attach(config, provider))


async def invoke(client: Any) -> Any:
    return await client.invoke_model(models.InvokeModelInput(model_id="amazon.nova-lite-v1:0", body=b'{"a": 1}'))


async def test_requests_are_signed_and_follow_rotations() -> None:
    keys = [issue(), issue()]
    provider = Source(*keys).provider()
    async with Judge(*keys) as judge, await client_of(provider, judge.url) as client:
        await asyncio.gather(*(invoke(client) for _ in range(10)))
        provider.invalidate(keys[0])
        await asyncio.gather(*(invoke(client) for _ in range(10)))
    assert judge.wrong == []
    assert judge.signers == [key.access_key_id for key in keys for _ in range(10)]


@pytest.mark.parametrize("code", EXPIRED)
async def test_keys_that_the_service_rejects_are_not_used_again(code: str) -> None:
    first, second = issue(), issue()
    source = Source(first, second)
    async with Judge(first, second) as judge, await client_of(source.provider(), judge.url) as client:
        judge.expired.add(first.access_key_id)
        judge.refuse = lambda: header_only(code)
        with pytest.raises(Exception, match="403"):
            await invoke(client)
        await invoke(client)
        await invoke(client)
    assert judge.signers == [first.access_key_id, second.access_key_id, second.access_key_id]
    assert source.calls == 2


async def test_other_rejections_are_left_alone() -> None:
    key = issue()
    source = Source(key)
    async with Judge(key) as judge, await client_of(source.provider(), judge.url) as client:
        judge.expired.add(key.access_key_id)
        judge.refuse = lambda: header_only("AccessDeniedException")
        with pytest.raises(models.AccessDeniedException):
            await invoke(client)
        judge.expired.clear()
        await invoke(client)
    assert source.calls == 1


async def test_keys_served_past_their_expiration_still_sign() -> None:
    key = issue(-60, stamped=True)
    async with Judge(key) as judge, await client_of(Source(key).provider(), judge.url) as client:
        await invoke(client)
    assert judge.wrong == []
    assert judge.signers == [key.access_key_id]


async def test_what_the_provider_raises_reaches_who_calls() -> None:
    provider = Source(CredentialsNotFound("nothing in the vault")).provider()
    async with Judge() as judge, await client_of(provider, judge.url) as client:
        with pytest.raises(Exception, match="nothing in the vault") as caught:
            await invoke(client)
    assert isinstance(caught.value.__cause__, CredentialsNotFound)  # in the SDK's SmithyError
    assert judge.arrived == []


@pytest.mark.parametrize(("lifetime", "told"), [(None, 60), (3600.0, 60), (30.0, 30), (-60.0, 5)])
async def test_an_identity_lives_for_a_minute_at_most(lifetime: float | None, told: float) -> None:
    """Caches of the SDK ask again then, and no sooner than after five seconds."""
    key = issue(lifetime, stamped=True)
    before = datetime.now(UTC)
    given = await smithy_credentials(Source(key).provider()).get_identity(properties={})
    assert (given.access_key_id, given.secret_access_key) == (key.access_key_id, key.secret_access_key)
    assert (given.session_token, given.account_id) == (key.session_token, key.account_id)
    assert before + timedelta(seconds=told - 2) <= given.expiration <= datetime.now(UTC) + timedelta(seconds=told)
    assert not given.is_expired


async def test_a_chain_of_the_sdk_that_is_invalidated_gets_other_keys() -> None:
    first, second = issue(), issue()
    resolver = smithy_credentials(Source(first, second).provider())
    chain = identity.ChainedIdentityResolver([resolver])
    assert (await chain.get_identity(properties={})).access_key_id == first.access_key_id
    await chain.invalidate()
    assert (await chain.get_identity(properties={})).access_key_id == second.access_key_id


async def test_nothing_secret_is_shown() -> None:
    resolver = smithy_credentials(Source(issue()).provider())
    given = await resolver.get_identity(properties={})
    assert MARK not in repr(given)
    assert MARK not in repr(resolver)


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(TypeError, match="not dict"):
        attach({}, Source().provider())  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


async def test_a_resolver_can_be_pickled_like_its_provider() -> None:
    copy = pickle.loads(pickle.dumps(smithy_credentials(from_env())))
    with pytest.raises(CredentialsNotFound):
        await copy.get_identity(properties={})
