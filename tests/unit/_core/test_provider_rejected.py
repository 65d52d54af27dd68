"""A service that rejects whatever it is given: its source is not asked each time, and the log is told once."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import botocore.session
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from aiocreds import Context, Provider, ServiceRefused, chain, from_temporary_credentials
from aiocreds.integrations import aiobotocore, boto3
from aiocreds.integrations.aiohttp import SigV4Auth
from tests.helpers.loopback_aws import Loopback, sts_error
from tests.helpers.scripted import Source, issue, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import time_machine

    from aiocreds import Credentials

HOUR = 3600.0
ROLE_ARN = "arn:aws:iam::123456789012:role/app"
REGION = "eu-central-1"


def rejecting(provider: Provider) -> Callable[[], Awaitable[Credentials]]:
    """A request with what the provider gives, which the service rejects."""

    async def use() -> Credentials:
        credentials = await provider()
        provider.invalidate(credentials)
        return credentials

    return use


async def test_the_source_is_asked_ever_more_seldom(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    use = rejecting(provider)
    asked: list[int] = []
    calls = 0
    for second in range(400):
        for _ in range(10):
            await use()
        if source.calls > calls:
            asked.append(second)
            calls = source.calls
        clock.shift(1)
    assert asked == [0, 5, 15, 35, 75, 155, 315]


async def test_the_pause_grows_to_five_minutes_and_no_further(clock: time_machine.Traveller) -> None:
    provider = Source(usual=lambda: issue(None)).provider()
    use = rejecting(provider)
    for _ in range(40):
        await use()
        again = provider.status.next_attempt
        clock.shift(max(0.0, (again - datetime.now(UTC)).total_seconds()) if again else 0.0)
    await use()
    again = provider.status.next_attempt
    assert again is not None
    assert (again - datetime.now(UTC)).total_seconds() == 300


async def test_the_first_rejection_is_answered_with_others_at_once(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    use = rejecting(provider)
    first = await use()
    assert await provider() is not first
    assert source.calls == 2


async def test_keys_that_worked_for_a_minute_are_replaced_at_once(clock: time_machine.Traveller) -> None:
    source = Source()
    use = rejecting(source.provider())
    for calls in range(1, 6):
        await use()
        assert source.calls == calls
        clock.shift(60)


async def test_a_source_with_other_keys_at_last_is_heard(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    use = rejecting(provider)
    for _ in range(5):
        await use()
    clock.shift(5)
    good = await provider()
    clock.shift(120)
    assert await provider() is good
    assert source.calls == 3
    provider.invalidate(good)
    assert await provider() is not good
    assert provider.status.next_attempt is None


async def test_a_program_that_wants_others_all_the_same_fetches_them(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    use = rejecting(provider)
    for _ in range(5):
        await use()
    held = await use()
    assert await provider.fetch() is not held
    assert source.calls == 3


async def test_it_is_told_once(clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiocreds")
    source = Source()
    provider = chain(chain(source.provider()))
    use = rejecting(provider)
    held = await use()
    for _ in range(100):
        await use()
        clock.shift(1)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].getMessage().startswith("chain: a service rejected ****")
    assert "is asked again in 5 s" in warnings[0].getMessage()
    assert held.secret_access_key not in caplog.text
    assert provider.status.failures == 0


async def test_through_chain_and_role_it_is_the_same(clock: time_machine.Traveller, aws: Loopback) -> None:
    base = Source(usual=lambda: issue(None))
    context = Context(aws.environ)
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=base.provider(context), context=context)
    use = rejecting(chain(role))
    for _ in range(100):
        await use()
    assert (len(aws.requests), base.calls) == (2, 1)


async def test_a_role_does_not_ask_its_source_for_each_refusal_of_its_keys(
    clock: time_machine.Traveller, aws: Loopback
) -> None:
    base = Source(usual=lambda: issue(HOUR))
    context = Context(aws.environ)
    source = base.provider(context)
    aws.always("/", sts_error("ExpiredToken"))
    for _ in range(100):
        with pytest.raises(ServiceRefused, match="ExpiredToken"):
            await from_temporary_credentials(role_arn=ROLE_ARN, source=source, context=context)()
    assert base.calls == 2
    aws.always("/", None)
    clock.shift(5)
    await from_temporary_credentials(role_arn=ROLE_ARN, source=source, context=context)()


async def test_a_refresh_behind_callers_that_meets_such_refusals_has_failed(
    clock: time_machine.Traveller, aws: Loopback
) -> None:
    """It did not decline: nobody was missed."""
    context = Context(aws.environ)
    source = Source(usual=lambda: issue(6 * HOUR)).provider(context)
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source, context=context)
    held = await role()
    clock.shift(6 * HOUR - 1800)
    source.invalidate(await source.fetch())
    await source()
    aws.always("/", sts_error("ExpiredToken"))
    assert await role() is held
    async with context:
        for _ in range(500):
            await settle()
            if role.status.failures:
                break
            await asyncio.sleep(0.01)  # the answer comes over a socket
    assert role.status.failures == 1
    assert isinstance(role.status.last_error, ServiceRefused)


# As programs meet it.


def expired(aws: Loopback) -> None:
    aws.always("/", sts_error("RequestExpired"))


@pytest.mark.slow
async def test_attached_to_aiobotocore(aws: Loopback) -> None:
    source = Source()
    session = aiobotocore.attach(get_session(), source.provider())
    expired(aws)
    async with session.create_client("sts", region_name=REGION, endpoint_url=aws.url) as sts:
        for _ in range(50):
            with pytest.raises(ClientError, match="RequestExpired"):
                await sts.get_caller_identity()
    assert source.calls == 2


@pytest.mark.slow
async def test_attached_to_boto3(aws: Loopback) -> None:
    source = Source()
    session: Any = boto3.attach(botocore.session.get_session(), source.provider())
    expired(aws)

    def calls() -> None:
        sts = session.create_client("sts", region_name=REGION, endpoint_url=aws.url)
        for _ in range(50):
            with pytest.raises(ClientError, match="RequestExpired"):
                sts.get_caller_identity()

    await asyncio.to_thread(calls)
    assert source.calls == 2


async def test_signing_for_aiohttp(aws: Loopback) -> None:
    source = Source()
    signed = SigV4Auth(source.provider(), service="sts", region=REGION)
    expired(aws)
    async with aiohttp.ClientSession(middlewares=[signed]) as session:
        for _ in range(50):
            async with session.post(aws.url, data={"Action": "GetCallerIdentity"}) as said:
                assert said.status == 403
    assert source.calls == 2
    assert len(aws.requests) <= 52
