"""from_temporary_credentials: what is asked of STS, and with whose credentials."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    Context,
    Credentials,
    CredentialsNotFound,
    Provider,
    ServiceRefused,
    SourceUnavailable,
    chain,
    from_temporary_credentials,
)
from tests.helpers.failures import failure_of
from tests.helpers.loopback_aws import Loopback, sts_error
from tests.helpers.scripted import START, Source, issue, settle
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    import time_machine

ROLE_ARN = "arn:aws:iam::123456789012:role/path/reader"
HOUR = 3600.0


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


# What is asked.


async def test_a_bare_role_asks_for_no_more_than_it_must(aws: Loopback, context: Context) -> None:
    await from_temporary_credentials(role_arn=ROLE_ARN, source=Source(), context=context)()
    form = aws.requests[0].form
    assert re.fullmatch(r"aiocreds-\d{13}", form.pop("RoleSessionName"))
    assert form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE_ARN,
        "DurationSeconds": "3600",
    }


async def test_the_default_session_name_is_new_each_time(aws: Loopback, context: Context) -> None:
    provider = from_temporary_credentials(role_arn=ROLE_ARN, source=Source(), context=context)
    for _ in range(3):
        await provider.fetch()
        await asyncio.sleep(0.002)
    names = [seen.form["RoleSessionName"] for seen in aws.requests]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[\w+=,.@-]{2,64}", name) for name in names)


async def test_every_parameter_arrives(aws: Loopback, context: Context) -> None:
    async def code(serial_number: str) -> str:
        assert serial_number == "arn:aws:iam::1:mfa/me"
        return " 123456\n"

    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow&ö", "Resource": "*"}]}'
    await from_temporary_credentials(
        role_arn=ROLE_ARN,
        source=Source(),
        role_session_name="me@example.com",
        duration_seconds=900,
        external_id="x+y=1&2",
        policy=policy,
        policy_arns=["arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"],
        serial_number="arn:aws:iam::1:mfa/me",
        mfa_code=code,
        tags={"team": "a b", "cost": ""},
        transitive_tag_keys=["team", "cost"],
        source_identity="me",
        provided_contexts=[{"ProviderArn": "arn:aws:iam::aws:contextProvider/x", "ContextAssertion": "ey.J"}],
        context=context,
    )()
    assert aws.requests[0].form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE_ARN,
        "RoleSessionName": "me@example.com",
        "DurationSeconds": "900",
        "ExternalId": "x+y=1&2",
        "Policy": policy,
        "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/A",
        "PolicyArns.member.2.arn": "arn:aws:iam::aws:policy/B",
        "SerialNumber": "arn:aws:iam::1:mfa/me",
        "TokenCode": "123456",
        "Tags.member.1.Key": "team",
        "Tags.member.1.Value": "a b",
        "Tags.member.2.Key": "cost",
        "Tags.member.2.Value": "",
        "TransitiveTagKeys.member.1": "team",
        "TransitiveTagKeys.member.2": "cost",
        "SourceIdentity": "me",
        "ProvidedContexts.member.1.ProviderArn": "arn:aws:iam::aws:contextProvider/x",
        "ProvidedContexts.member.1.ContextAssertion": "ey.J",
    }


@pytest.mark.parametrize("duration", [1800, 1800.0, timedelta(minutes=30)])
async def test_durations_are_seconds_or_timedeltas(
    aws: Loopback, context: Context, duration: float | timedelta
) -> None:
    await from_temporary_credentials(
        role_arn=ROLE_ARN, source=Source(), duration_seconds=duration, context=context
    )()
    assert aws.requests[0].form["DurationSeconds"] == "1800"


def test_wrong_arguments_fail_right_there() -> None:
    wrong: Any = from_temporary_credentials
    with pytest.raises(TypeError):
        wrong()
    with pytest.raises(TypeError):
        wrong(ROLE_ARN)


@pytest.mark.parametrize(
    ("arn", "account"),
    [("arn:aws:iam::123456789012:role/x", "123456789012"), ("arn:aws-cn:iam::000000000042:role/x", "000000000042")],
)
async def test_the_account_is_that_of_the_assumed_role(
    aws: Loopback, context: Context, arn: str, account: str
) -> None:
    credentials = await from_temporary_credentials(role_arn=arn, source=Source(), context=context)()
    assert credentials.account_id == account


# The source.


async def test_the_source_may_be_any_coroutine_function(aws: Loopback, context: Context) -> None:
    keys = issue()

    async def from_vault() -> Credentials:
        return keys

    await from_temporary_credentials(role_arn=ROLE_ARN, source=from_vault, context=context)()
    assert aws.requests[0].signed_by == keys.access_key_id


async def test_the_source_is_the_default_chain_unless_said_otherwise(
    aws: Loopback, context: Context, environ: dict[str, str]
) -> None:
    environ.update(AWS_ACCESS_KEY_ID="AKIAENVIRONMENT0", AWS_SECRET_ACCESS_KEY=secret())
    await from_temporary_credentials(role_arn=ROLE_ARN, context=context)()
    assert [seen.signed_by for seen in aws.requests] == ["AKIAENVIRONMENT0"]


async def test_many_roles_share_one_source(aws: Loopback, context: Context) -> None:
    source = Source()
    shared = source.provider(context)
    roles = [
        from_temporary_credentials(role_arn=f"{ROLE_ARN}-{number}", source=shared, context=context)
        for number in range(50)
    ]
    issued = await asyncio.gather(*(role() for role in roles))
    assert len({credentials.access_key_id for credentials in issued}) == 50
    assert source.calls == 1
    assert len(aws.requests) == 50


async def test_a_refresh_asks_sts_and_leaves_a_fresh_source_alone(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    source = Source(usual=lambda: issue(12 * HOUR))
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source.provider(context), context=context)
    keys = {(await role()).access_key_id}
    for _ in range(3):
        clock.shift(HOUR - 30)
        keys.add((await role()).access_key_id)
    assert (len(keys), source.calls, len(aws.requests)) == (4, 1, 4)
    assert role.status.successes == 4


async def test_a_source_with_less_than_a_minute_left_is_asked_first(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    source = Source(usual=lambda: issue(2 * HOUR + 15))
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source.provider(context), context=context)
    for calls in (1, 1, 2):
        await role()
        await settle()
        clock.shift(HOUR - 20)
        assert source.calls == calls
    assert aws.requests[0].signed_by == aws.requests[1].signed_by != aws.requests[2].signed_by


async def test_a_short_lived_source_needs_a_minute_left_too(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    source = Source(usual=lambda: issue(100))
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source.provider(context), context=context)
    await role()
    clock.shift(45)
    await role.fetch()
    assert aws.requests[0].signed_by != aws.requests[1].signed_by
    aws.expired.add(aws.requests[1].signed_by)
    await role.fetch()
    assert source.calls == 3


async def test_a_plain_source_goes_by_the_clock_of_the_context(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    source = Source(issue(2 * HOUR), issue(9 * HOUR))
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source, context=context)
    await role()
    aws.clock = timedelta(hours=2)  # which makes ours slow
    await role.fetch()
    assert source.calls == 1
    await role.fetch()
    assert source.calls == 2


async def test_a_source_that_fails_behind_callers_is_a_failure(
    aws: Loopback, context: Context, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    aws.lifetime = timedelta(hours=1)
    keys = issue(99 * HOUR)
    source = Source(usual=lambda: keys)
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source.provider(context), context=context)
    held = await role()
    aws.expired.add(keys.access_key_id)
    clock.shift(HOUR - 120)
    assert await role() is held
    async with asyncio.timeout(5):
        while not role.status.failures:  # noqa: ASYNC110 - nothing tells of a refresh behind callers
            await asyncio.sleep(0.001)
    assert "ExpiredToken" in caplog.text
    assert isinstance(role.status.last_error, ServiceRefused)
    assert await role() is held


async def test_what_the_source_raises_is_raised(aws: Loopback, context: Context) -> None:
    for error in (SourceUnavailable("down"), CredentialsNotFound("none here")):
        provider = from_temporary_credentials(role_arn=ROLE_ARN, source=Source(error), context=context)
        raised = await failure_of(provider)
        assert type(raised) is type(error)
        assert str(error) in str(raised)
    assert not aws.requests


async def test_a_source_that_draws_on_the_role_is_told_so(aws: Loopback, context: Context) -> None:
    async def circle() -> Credentials:
        return await role()

    role = from_temporary_credentials(role_arn=ROLE_ARN, source=circle, context=context)
    assert "draws its credentials from itself" in str(await failure_of(role))


async def test_invalidating_a_role_reaches_its_source(aws: Loopback, context: Context) -> None:
    source = Source()
    shared = source.provider(context)
    role = chain(from_temporary_credentials(role_arn=ROLE_ARN, source=shared, context=context))
    credentials = await role()
    role.invalidate(credentials)
    assert await role() != credentials
    assert source.calls == 1
    role.invalidate(aws.requests[0].signed_by)
    await shared()
    assert source.calls == 2


# The source's token has expired.


async def test_an_expired_source_is_asked_once_more(aws: Loopback, context: Context) -> None:
    old, new = issue(), issue()
    source = Source(old, new)
    shared = source.provider(context)
    aws.expired.add(old.access_key_id)
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=shared, context=context)
    assert (await role()).access_key_id.startswith("ASIALOOPBACK")
    assert [seen.signed_by for seen in aws.requests] == [old.access_key_id, new.access_key_id]
    assert await shared() is new
    assert source.calls == 2


async def test_a_source_that_has_only_the_expired_keys(aws: Loopback, context: Context) -> None:
    old = issue()
    source = Source(usual=lambda: old)
    aws.expired.add(old.access_key_id)
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source.provider(context), context=context)
    error = await failure_of(role)
    assert isinstance(error, ServiceRefused)
    assert error.code == "ExpiredToken"
    assert error.recoverable
    assert "renew" in str(error)
    assert (source.calls, len(aws.requests)) == (2, 1)


async def test_a_source_whose_next_keys_have_expired_too(aws: Loopback, context: Context) -> None:
    source = Source()
    aws.always("/", sts_error("ExpiredToken"))
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=source.provider(context), context=context)
    error = await failure_of(role)
    assert isinstance(error, ServiceRefused)
    assert (source.calls, len(aws.requests)) == (2, 2)


async def test_one_hundred_roles_on_an_expired_source_ask_it_once(aws: Loopback, context: Context) -> None:
    old = issue()
    source = Source(old, usual=lambda: NEW)
    NEW = issue()  # noqa: N806 - the same for all
    aws.expired.add(old.access_key_id)
    shared = source.provider(context)
    roles = [from_temporary_credentials(role_arn=ROLE_ARN, source=shared, context=context) for _ in range(100)]
    await asyncio.gather(*(role() for role in roles))
    assert source.calls == 2


# A user of a role.


async def test_a_cancelled_first_load_leaves_nothing_behind(aws: Loopback, context: Context) -> None:
    from tests.helpers.loopback_aws import Hang
    from tests.helpers.scripted import others

    aws.script("/", Hang())
    before = others()
    role = from_temporary_credentials(role_arn=ROLE_ARN, source=Source(), context=context)
    task = asyncio.create_task(role())
    async with asyncio.timeout(5):
        while not aws.requests:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    assert {other for other in others() - before if "aiocreds" in other.get_name()} == set()
    assert (await role()).account_id == "123456789012"


async def test_a_role_outlives_its_expiry_while_sts_is_down(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    role = from_temporary_credentials(
        role_arn=ROLE_ARN, source=Source(usual=lambda: issue(99 * HOUR)), context=context
    )
    held = await role()
    aws.always("/", sts_error("ServiceUnavailable", status=503))
    clock.shift(HOUR + 1)
    assert await role() is held
    asked = len(aws.requests)
    for _ in range(100):
        assert await role() is held
    assert len(aws.requests) == asked == 4
    assert held.expiration == datetime.fromtimestamp(START + HOUR, UTC)
    aws.up()
    clock.shift(601)
    assert await role() is not held


def test_a_provider_of_a_role_can_be_made_without_a_loop() -> None:
    assert isinstance(from_temporary_credentials(role_arn=ROLE_ARN), Provider)
