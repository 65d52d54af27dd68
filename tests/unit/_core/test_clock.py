"""The offset to a service's clock: how it is learned, who lies about it, and how it ends when ours is set."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import aiohttp
import pytest

from aiocreds import Context, ServiceRefused, SourceUnavailable, from_cognito_identity, from_temporary_credentials
from aiocreds._core import provider as provider_module
from aiocreds._core import refresh
from aiocreds.integrations.aiohttp import SigV4Auth
from tests.helpers.assumed_role import answer, role
from tests.helpers.failures import failure_of
from tests.helpers.loopback_aws import Answer, Loopback, Reset, Script, json_answer, sts_error
from tests.helpers.scripted import START, Source, issue, set_clock, settle, until
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    import time_machine

    from aiocreds import Provider

HOUR = 3600.0
AHEAD = timedelta(hours=2)
IDENTITY = "eu-central-1:1699ebc0-7900-4099-b910-2df94f52a031"
YEAR_2099 = "Thu, 01 Jan 2099 00:00:00 GMT"


def counted(aws: Loopback) -> list[datetime]:
    """When the requests were signed for."""
    stamps = [seen.headers["X-Amz-Date"] for seen in aws.requests if "X-Amz-Date" in seen.headers]
    return [datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for stamp in stamps]


@pytest.fixture
async def ahead(aws: Loopback, context: Context, clock: time_machine.Traveller) -> Provider:
    """A role of a machine that runs two hours ahead, and has learned that of STS; its keys live for an hour."""
    aws.clock, aws.lifetime = -AHEAD, timedelta(hours=1)
    provider = role(aws, context)
    await provider()
    assert context.clock.offset == pytest.approx(-AHEAD.total_seconds(), abs=2)
    aws.requests.clear()
    return provider


def set_right(aws: Loopback, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock as NTP does on the machine of the fixture above; the service lives on in its time."""
    set_clock(clock, -AHEAD.total_seconds(), monkeypatch)
    aws.clock = timedelta()


# The local clock is set.


async def test_keys_end_when_they_end_though_the_clock_was_set_meanwhile(
    ahead: Provider, aws: Loopback, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await ahead()
    clock.shift(600)
    assert await ahead() is held
    set_right(aws, clock, monkeypatch)
    assert ahead.status.seconds_left == pytest.approx(3000, abs=2)
    assert await ahead() is held
    clock.shift(3060)
    assert ahead.status.seconds_left == pytest.approx(-60, abs=2)
    assert await ahead() is not held
    assert len(aws.requests) == 1
    assert abs(counted(aws)[0] - datetime.now(UTC)) < timedelta(seconds=2)


async def test_requests_are_signed_in_the_present_from_then_on(
    ahead: Provider, aws: Loopback, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with aiohttp.ClientSession(
        middlewares=[SigV4Auth(ahead, service="sts", region="eu-central-1")]
    ) as session:

        async def who_am_i() -> int:
            async with session.post(aws.url, data={"Action": "GetCallerIdentity"}) as said:
                return said.status

        assert await who_am_i() == 200
        set_right(aws, clock, monkeypatch)
        assert await who_am_i() == 200
    assert abs(counted(aws)[1] - datetime.now(UTC)) < timedelta(seconds=2)


async def test_it_is_noticed_though_nobody_calls(
    ahead: Provider, aws: Loopback, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "LONGEST_SLEEP", 0.005)
    monkeypatch.setattr(provider_module, "SHORTEST_SLEEP", 0.005)
    async with ahead:
        await asyncio.sleep(0.03)
        assert ahead.status.successes == 1
        clock.shift(3000)
        set_right(aws, clock, monkeypatch)
        await until(lambda: ahead.status.successes == 2)
    assert len(aws.requests) == 1


@pytest.mark.parametrize("seconds", [-200.0, 200.0])
async def test_a_clock_that_is_set_by_less_than_is_tolerated_is_the_same_one(
    seconds: float,
    ahead: Provider,
    context: Context,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_clock(clock, seconds, monkeypatch)
    assert context.clock.offset == pytest.approx(-AHEAD.total_seconds(), abs=2)


async def test_a_clock_that_is_set_step_by_step_is_noticed_all_the_same(
    ahead: Provider, context: Context, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        set_clock(clock, -100.0, monkeypatch)
    assert context.clock.offset == 0


async def test_time_that_passes_is_no_clock_that_is_set(
    ahead: Provider, aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    clock.shift(20 * HOUR)  # the machine slept, say
    await ahead()
    assert len(aws.requests) == 1
    assert context.clock.offset == pytest.approx(-AHEAD.total_seconds(), abs=2)


async def test_a_clock_that_is_set_wrong_once_more_is_learned_once_more(
    ahead: Provider, aws: Loopback, context: Context, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(clock, 2 * HOUR, monkeypatch)
    aws.clock = -2 * AHEAD
    assert await ahead() is not None
    assert len(aws.requests) == 2
    assert context.clock.offset == pytest.approx(-2 * AHEAD.total_seconds(), abs=2)


async def test_who_holds_no_offset_looks_at_no_other_clock(
    ahead: Provider, aws: Loopback, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    steady = refresh.steady

    def counting() -> float:
        nonlocal looks
        looks += 1
        return steady()

    plain = Source().provider()
    await plain()
    set_right(aws, clock, monkeypatch)
    steady = refresh.steady
    monkeypatch.setattr(refresh, "steady", counting)
    await plain()
    assert looks == 0
    await ahead()
    assert looks > 0
    looks = 0
    assert await ahead() is await ahead()
    assert looks == 0, "the offset is gone, and so is what it cost"


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux counts what a machine slept")
def test_what_time_is_compared_with_cannot_be_set_and_counts_sleep(clock: time_machine.Traveller) -> None:
    before = refresh._steady_clock()()  # pyright: ignore[reportPrivateUsage] - tests replace the public one
    clock.shift(-86400.0)
    assert sys.platform == "linux"
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= after < before + 5
    assert time.time() == START - 86400.0


# Who lies about the time.


@pytest.mark.parametrize(
    "then", [Reset(), Answer(503), sts_error("AccessDenied")], ids=["reset", "busy", "refused"]
)
async def test_one_lie_about_the_time_is_not_believed_where_nothing_comes_of_it(
    then: Script, aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    neighbour = Source()
    other = neighbour.provider(context)
    held = await other()
    provider = role(aws, context)
    refusal = sts_error("RequestTimeTooSkewed")
    aws.script("/", Answer(refusal.status, refusal.body, {"Date": YEAR_2099}))
    aws.always("/", then)
    assert isinstance(await failure_of(provider), ServiceRefused | SourceUnavailable)
    assert context.clock.offset == 0
    assert await other() is held
    assert neighbour.calls == 1
    assert other.status.seconds_left == HOUR


async def test_one_lie_about_the_time_is_not_believed_where_the_service_checks_no_time(
    aws: Loopback, context: Context
) -> None:
    provider = role(aws, context)
    refusal = sts_error("RequestTimeTooSkewed")
    aws.script("/", Answer(refusal.status, refusal.body, {"Date": YEAR_2099}), Answer(body=answer()))
    await provider()
    assert len(aws.requests) == 2
    assert context.clock.offset == 0


@pytest.mark.slow
async def test_while_a_time_is_tried_others_count_as_before(aws: Loopback, context: Context) -> None:
    neighbour = Source(issue(HOUR), usual=lambda: issue(3 * HOUR))
    other = neighbour.provider(context)
    held = await other()
    aws.clock = AHEAD
    refusal = sts_error("RequestTimeTooSkewed")
    aws.script("/", refusal, Answer(503, headers={"Retry-After": "1"}))
    fetch = asyncio.create_task(role(aws, context)())
    await until(lambda: len(aws.requests) == 2)
    assert context.clock.offset == 0
    assert await other() is held
    await fetch
    assert context.clock.offset == pytest.approx(AHEAD.total_seconds(), abs=3)
    assert await other() is not held
    assert (len(aws.requests), neighbour.calls) == (3, 2)


async def test_many_who_find_out_at_once_all_get_their_keys(aws: Loopback, context: Context) -> None:
    aws.clock = AHEAD
    got = await asyncio.gather(*(role(aws, context)() for _ in range(20)))
    assert len(set(got)) == 20
    assert context.clock.offset == pytest.approx(AHEAD.total_seconds(), abs=3)


def identity(aws: Loopback, context: Context) -> Provider:
    """A guest of an identity pool: nothing of what is asked for it is signed."""
    assert isinstance(context.environ, dict)
    context.environ |= aws.environ
    aws.sign_in.identities[(("guest", ""),)] = IDENTITY
    return from_cognito_identity(identity_id=IDENTITY, context=context)


def old_keys(days: float, date: str) -> Answer:
    """An answer with keys that ended so long ago."""
    keys = {
        "AccessKeyId": "ASIAOLDKEYS00000001",
        "SecretKey": secret(),
        "SessionToken": secret("token"),
        "Expiration": datetime.now(UTC).timestamp() - days * 86400,
    }
    said = json_answer({"IdentityId": IDENTITY, "Credentials": keys})
    return Answer(body=said.body, headers={**said.headers, "Date": date})


def days_ago(days: float) -> str:
    return format_datetime(datetime.now(UTC) - timedelta(days=days), usegmt=True)


@pytest.mark.parametrize(
    ("ended", "said"),
    [(0.01, YEAR_2099), (30, days_ago(31)), (2, days_ago(1))],
    ids=["a lie", "a month old, played again", "ended by that time too"],
)
async def test_old_keys_are_refused_whatever_time_comes_with_them(
    ended: float, said: str, aws: Loopback, context: Context
) -> None:
    neighbour = Source()
    other = neighbour.provider(context)
    held = await other()
    aws.always("/", old_keys(ended, said))
    assert "expired at" in str(await failure_of(identity(aws, context)))
    assert context.clock.offset == 0
    assert await other() is held
    assert neighbour.calls == 1


@pytest.mark.parametrize("hours", [2.0, 13.0])
async def test_a_machine_that_runs_ahead_learns_it_of_keys_that_are_good(
    hours: float, aws: Loopback, context: Context
) -> None:
    aws.clock, aws.lifetime = timedelta(hours=-hours), timedelta(hours=1)
    provider = identity(aws, context)
    held = await provider()
    assert await provider() is held
    assert context.clock.offset == pytest.approx(-hours * HOUR, abs=3)
    assert provider.status.seconds_left == pytest.approx(HOUR, abs=5)


async def test_a_role_of_such_a_machine_signs_by_what_was_learned(aws: Loopback, context: Context) -> None:
    aws.clock, aws.lifetime = -AHEAD, timedelta(hours=1)
    await identity(aws, context)()
    aws.requests.clear()
    user = Source(usual=lambda: issue(None)).provider(context)
    await from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/app", source=user, context=context)()
    await settle()
    assert len(aws.requests) == 1
