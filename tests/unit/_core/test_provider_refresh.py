"""The results a caller sees while credentials age, are refreshed, are rejected, and while their source fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aiocreds import RefreshStatus
from aiocreds.errors import CredentialsError, CredentialsNotFound, LoginRequired, ServiceRefused, SourceUnavailable
from tests.helpers.scripted import START, Source, issue, settle, warned
from tests.helpers.secret_leaks import MARK

if TYPE_CHECKING:
    import time_machine

    from aiocreds import Credentials, Provider

HOUR = 3600.0
DOWN = SourceUnavailable("down")
ADVISORY, MANDATORY, EXPIRED = 3000.0, 3550.0, 3601.0  # of an hour, whatever the jitter


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


async def attempts_until(
    source: Source, provider: Provider, clock: time_machine.Traveller, step: float, limit: int = 2000
) -> float:
    """How long it takes until the source is asked again, in steps."""
    calls, waited = source.calls, 0.0
    for _ in range(limit):
        clock.shift(step)
        waited += step
        with contextlib.suppress(CredentialsError):
            await provider()
        await settle()
        if source.calls > calls:
            return waited
    raise AssertionError(f"not asked within {waited} s")


# The windows.


async def test_in_the_advisory_window_a_caller_is_served_at_once_and_one_refresh_runs_behind(
    clock: time_machine.Traveller,
) -> None:
    source = Source()
    provider = source.provider()
    held = await provider()
    clock.shift(ADVISORY)
    source.gate = asyncio.Event()
    for _ in range(100):
        assert await provider() is held
        await asyncio.sleep(0)
    assert source.calls == 2
    source.gate.set()
    await settle()
    fresh = await provider()
    assert fresh is not held
    assert source.calls == 2


async def test_nobody_waits_before_the_mandatory_window(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    await provider()
    for _ in range(3):
        clock.shift(ADVISORY)
        source.gate = asyncio.Event()
        waited = 0

        async def call() -> None:
            nonlocal waited
            coroutine = provider()
            try:
                coroutine.send(None)  # one step is enough for whoever does not wait
            except StopIteration:
                return
            waited += 1
            coroutine.close()

        await asyncio.gather(*(call() for _ in range(100)))
        assert waited == 0
        source.gate.set()
        await settle()
    assert source.calls == 4


async def test_in_the_mandatory_window_a_caller_waits(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    held = await provider()
    clock.shift(MANDATORY)
    source.gate = asyncio.Event()
    waiter = asyncio.create_task(provider())
    await settle()
    assert not waiter.done()
    source.gate.set()
    assert await waiter is not held
    assert source.calls == 2


async def test_credentials_that_never_expire_are_kept_until_they_are_rejected(
    clock: time_machine.Traveller,
) -> None:
    source = Source(usual=lambda: issue(None))
    provider = source.provider()
    held = await provider()
    clock.shift(365 * 86400)
    assert await provider() is held
    provider.invalidate()
    assert await provider() is not held


async def test_expire_after_makes_another_provider_of_the_same_source(clock: time_machine.Traveller) -> None:
    source = Source(usual=lambda: issue(None))
    provider = source.provider()
    short, delta = provider.expire_after(600), provider.expire_after(timedelta(minutes=10))
    assert type(short) is type(provider)
    assert short.name == provider.name
    for one in (short, delta):
        held = await one()
        assert held.expiration == one.status.expiration == at(600)
        assert await one.fetch() == await one.get(min_ttl=300) == await one()
    assert (await provider()).expiration is None
    clock.shift(601)
    fresh = await short()
    assert fresh.expiration == at(1201)
    assert source.calls == 6
    await provider()
    assert source.calls == 6
    assert provider.status.expiration is None


async def test_expire_after_zero_asks_the_source_for_every_call(clock: time_machine.Traveller) -> None:
    source = Source(usual=lambda: issue(None))
    provider = source.provider().expire_after(0)
    for calls in range(1, 4):
        await provider()
        assert source.calls == calls


async def test_expire_after_never_lengthens_a_life(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider().expire_after(10 * HOUR)
    held = await provider()
    assert held.expiration == at(HOUR)
    assert provider.status.expiration == at(HOUR)


# Failures.


@pytest.mark.parametrize(
    ("stamped", "age", "low", "high", "step"),
    [
        (False, ADVISORY, 300, 600, 10),
        (False, 3300, 240, 240, 5),
        (False, MANDATORY, 5, 5, 0.5),
        (False, EXPIRED, 1, 1, 0.1),
        (True, ADVISORY, 300, 610, 10),
        (True, 3300, 300, 610, 10),
        (True, MANDATORY, 300, 610, 10),
        (True, EXPIRED, 300, 610, 10),
    ],
)
async def test_a_failing_source_is_spared(
    stamped: bool, age: float, low: float, high: float, step: float, clock: time_machine.Traveller
) -> None:
    source = Source(issue(HOUR, stamped=stamped), usual=lambda: DOWN)
    provider = source.provider()
    await provider()
    clock.shift(age)
    expired = age > HOUR and not stamped
    for _ in range(50):
        if expired:
            with pytest.raises(SourceUnavailable, match="source: down"):
                await provider()
        else:
            await provider()
    await settle()
    assert source.calls == 2
    again = provider.status.next_attempt
    assert again is not None
    assert low <= (again - datetime.now(UTC)).total_seconds() <= high
    waited = await attempts_until(source, provider, clock, step)
    assert low <= waited + 1e-6
    assert waited <= high + step + 1e-6


@pytest.mark.parametrize("stamped", [False, True])
async def test_after_expiry_only_stamped_credentials_are_served_on(
    stamped: bool, clock: time_machine.Traveller
) -> None:
    source = Source(issue(HOUR, stamped=stamped), usual=lambda: DOWN)
    provider = source.provider()
    held = await provider()
    for hours in range(1, 30):
        clock.move_to(START + hours * HOUR + 1)
        if stamped:
            assert await provider() is held
        else:
            with pytest.raises(SourceUnavailable, match="source: down"):
                await provider()
    source.usual = issue
    clock.shift(600)
    assert await provider() is not held
    assert provider.status.last_error is None


async def test_a_source_down_for_an_hour_is_heard_at_once_when_it_is_back(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiocreds")
    source = Source(issue(HOUR, stamped=True), usual=lambda: DOWN)
    provider = source.provider()
    held = await provider()
    clock.shift(ADVISORY)
    for _ in range(60):
        assert await provider() is held
        await settle()
        clock.shift(60)
    failures = provider.status.failures
    assert 6 <= failures <= 12
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == failures
    assert all("source: down" in record.getMessage() for record in warnings)
    source.usual = issue
    clock.shift(600)
    assert await provider() is not held
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert told.count("source: recovered") == 1


async def test_a_failed_first_load_is_tried_again_by_the_next_call(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(DOWN, CredentialsNotFound("nothing"))
    provider = source.provider()
    with pytest.raises(SourceUnavailable):
        await provider()
    with pytest.raises(CredentialsNotFound):
        await provider()
    assert not warned(caplog)  # the callers have heard it
    await provider()
    assert source.calls == 3
    assert provider.status.failures == 2


UNMENDABLE = [
    LoginRequired("sign in"),
    ServiceRefused("no", code="AccessDenied", recoverable=False),
]


@pytest.mark.parametrize("error", UNMENDABLE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("age", [ADVISORY, MANDATORY])
async def test_what_no_retry_can_mend_is_an_error_in_the_log_while_valid_credentials_are_served(
    error: CredentialsError,
    stamped: bool,
    age: float,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(issue(HOUR, stamped=stamped), usual=lambda: error)
    provider = source.provider()
    held = await provider()
    clock.shift(age)
    for _ in range(50):
        assert await provider() is held
        await settle()
    assert source.calls == 2
    assert [record.levelno for record in warned(caplog)] == [logging.ERROR]
    assert isinstance(provider.status.last_error, type(error))
    assert 1 <= await attempts_until(source, provider, clock, 0.25) <= 5.25


@pytest.mark.parametrize("error", UNMENDABLE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stamped", [False, True])
async def test_what_no_retry_can_mend_is_raised_once_they_have_expired(
    error: CredentialsError, stamped: bool, clock: time_machine.Traveller
) -> None:
    source = Source(issue(HOUR, stamped=stamped), usual=lambda: error)
    provider = source.provider()
    await provider()
    clock.shift(EXPIRED)
    for _ in range(50):
        with pytest.raises(type(error)):
            await provider()
    assert source.calls == 2
    assert 1 <= await attempts_until(source, provider, clock, 0.25) <= 5.25
    source.usual = issue
    clock.shift(5)
    await provider()


@pytest.mark.parametrize("error", UNMENDABLE, ids=lambda error: type(error).__name__)
async def test_once_refused_for_good_they_stay_refused_until_the_service_says_yes(
    error: CredentialsError, clock: time_machine.Traveller
) -> None:
    source = Source(issue(HOUR, stamped=True), error, usual=lambda: DOWN)
    provider = source.provider()
    held = await provider()
    clock.shift(ADVISORY)
    assert await provider() is held  # refused behind the caller
    await settle()
    clock.shift(5)
    assert await provider() is held  # and down since then
    await settle()
    assert source.calls == 3
    clock.move_to(START + EXPIRED)
    for _ in range(60):
        with pytest.raises(SourceUnavailable, match="down"):
            await provider()
        clock.shift(1)
    assert source.calls >= 60, "nobody has anything while it is left alone"
    source.usual = lambda: issue(HOUR, stamped=True)
    clock.shift(1)
    fresh = await provider()
    assert fresh is not held
    source.usual = lambda: DOWN
    clock.shift(2 * HOUR)
    assert await provider() is fresh  # the service has said yes


async def test_what_no_retry_can_mend_is_remembered_for_a_first_load_too(clock: time_machine.Traveller) -> None:
    source = Source(usual=lambda: LoginRequired("run the login command"))
    provider = source.provider()
    for _ in range(50):
        with pytest.raises(LoginRequired, match="source: run the login command"):
            await provider()
    assert source.calls == 1
    assert 1 <= await attempts_until(source, provider, clock, 0.25) <= 5.25


@pytest.mark.parametrize("age", [ADVISORY, MANDATORY])
@pytest.mark.parametrize("answer", ["expired", "text", "nothing", "exception"])
async def test_an_answer_that_is_no_use_is_a_failed_refresh(
    age: float, answer: str, clock: time_machine.Traveller
) -> None:
    answers: dict[str, object] = {
        "expired": issue(age),  # at that age to the second
        "text": "AKIDEXAMPLE",
        "nothing": None,
        "exception": ZeroDivisionError("oops"),
    }
    said = {
        "expired": f"expired at {at(age):%Y-%m-%d %H:%M:%S} UTC",
        "text": "returned str",
        "nothing": "returned NoneType",
        "exception": "raised ZeroDivisionError",
    }
    source = Source(issue(HOUR), answers[answer])
    provider = source.provider()
    held = await provider()
    clock.shift(age)
    assert await provider() is held
    await settle()
    assert source.calls == 2
    status = provider.status
    assert (status.successes, status.failures) == (1, 1)
    assert said[answer] in str(status.last_error)
    assert status.next_attempt is not None


async def test_stamped_credentials_born_expired_are_used_and_their_source_is_spared(
    clock: time_machine.Traveller,
) -> None:
    source = Source(issue(-60, stamped=True), usual=lambda: issue(-30, stamped=True))
    provider = source.provider()
    held = await provider()
    for _ in range(10):
        assert await provider() is held
    assert source.calls == 1
    assert 300 <= await attempts_until(source, provider, clock, 10) <= 610
    assert provider.status.failures == 1
    assert await provider() is held
    source.usual = issue
    clock.shift(600)
    assert await provider() is not held


@pytest.mark.parametrize("lifetime", [0.0, -60.0])
async def test_unstamped_credentials_born_expired_are_refused(
    lifetime: float, clock: time_machine.Traveller
) -> None:
    source = Source(issue(lifetime))
    provider = source.provider()
    with pytest.raises(SourceUnavailable, match="source: handed out credentials that expired at"):
        await provider()
    await provider()
    assert source.calls == 2


# get(min_ttl=…)


async def test_enough_life_left_is_served_without_asking(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    held = await provider.get()
    assert await provider.get(min_ttl=HOUR) is held
    assert await provider.get(min_ttl=timedelta(hours=1)) is held
    assert source.calls == 1


@pytest.mark.parametrize("wanted", [1801.0, timedelta(seconds=1801)])
async def test_too_little_life_left_is_one_refresh(
    wanted: float | timedelta, clock: time_machine.Traveller
) -> None:
    source = Source()
    provider = source.provider()
    held = await provider()
    clock.shift(1800)
    assert await provider.get(min_ttl=1799) is held
    fresh = await provider.get(min_ttl=wanted)
    assert fresh is not held
    assert await provider() is fresh
    assert source.calls == 2


async def test_what_the_source_cannot_give_is_asked_for_once_until_the_advisory_opening(
    clock: time_machine.Traveller,
) -> None:
    source = Source()
    provider = source.provider()
    held = await provider.get(min_ttl=2 * HOUR)
    assert source.calls == 1
    for _ in range(26):
        assert await provider.get(min_ttl=2 * HOUR) is held
        assert await provider.get(min_ttl=3 * HOUR) is held
        clock.shift(100)
    assert source.calls == 1
    clock.shift(400)
    fresh = await provider.get(min_ttl=2 * HOUR)
    assert fresh is not held
    assert await provider.get(min_ttl=2 * HOUR) is fresh
    assert source.calls == 2


async def test_a_caller_who_wants_too_much_does_not_spoil_it_for_one_who_wants_less(
    clock: time_machine.Traveller,
) -> None:
    source = Source()
    provider = source.provider()
    held = await provider.get(min_ttl=2 * HOUR)
    clock.shift(1800)
    fresh = await provider.get(min_ttl=2400)
    assert fresh is not held
    assert source.calls == 2


@pytest.mark.parametrize("other", [60, 3 * HOUR])
async def test_two_who_share_a_flight_do_not_have_it_asked_again(
    other: float, clock: time_machine.Traveller
) -> None:
    source = Source()
    provider = source.provider()
    await asyncio.gather(provider.get(min_ttl=2 * HOUR), provider.get(min_ttl=other))
    await provider.get(min_ttl=2 * HOUR)
    assert source.calls == 1


@pytest.mark.parametrize("stamped", [False, True])
async def test_a_source_that_fails_is_no_reason_to_take_away_what_is_valid(
    stamped: bool, clock: time_machine.Traveller
) -> None:
    source = Source(issue(HOUR, stamped=stamped), usual=lambda: DOWN)
    provider = source.provider()
    held = await provider()
    clock.shift(60)
    for _ in range(10):
        assert await provider.get(min_ttl=HOUR) is held
    assert source.calls == 2
    clock.shift(600)
    assert await provider.get(min_ttl=HOUR) is held
    assert source.calls == 3


async def test_without_anything_to_serve_the_failure_is_raised(clock: time_machine.Traveller) -> None:
    source = Source(DOWN, issue(HOUR), usual=lambda: DOWN)
    provider = source.provider()
    with pytest.raises(SourceUnavailable):
        await provider.get(min_ttl=60)
    await provider.get(min_ttl=60)
    clock.shift(HOUR + 1)
    with pytest.raises(SourceUnavailable):
        await provider.get(min_ttl=60)
    with pytest.raises(SourceUnavailable):
        await provider.get()
    assert source.calls == 3


# fetch()


async def test_fetch_goes_to_the_source_and_keeps_what_it_brings(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    held = await provider()
    fresh = await provider.fetch()
    assert fresh is not held
    assert await provider() is fresh
    assert source.calls == 2


async def test_fetch_raises_on_failure_and_what_is_held_stays(clock: time_machine.Traveller) -> None:
    source = Source(issue(), DOWN)
    provider = source.provider()
    held = await provider()
    with pytest.raises(SourceUnavailable):
        await provider.fetch()
    assert await provider() is held
    assert provider.status.failures == 1
    assert await provider.fetch() is not held  # a backoff does not hold it: it was told to go


# invalidate()


@pytest.mark.parametrize("how", ["credentials", "id", "none"])
async def test_rejected_credentials_are_replaced_by_the_next_call(how: str) -> None:
    source = Source()
    provider = source.provider()
    held = await provider()
    hows: dict[str, Credentials | str | None] = {"credentials": held, "id": held.access_key_id, "none": None}
    provider.invalidate(hows[how])
    fresh = await provider()
    assert fresh is not held
    assert await provider() is fresh
    assert source.calls == 2


async def test_rejecting_what_is_no_longer_held_does_nothing() -> None:
    source = Source()
    provider = source.provider()
    old = await provider()
    provider.invalidate(old)
    fresh = await provider()
    for stale in (old, old.access_key_id, "AKIDOTHER"):
        provider.invalidate(stale)
    assert await provider() is fresh
    assert source.calls == 2


async def test_rejecting_before_anything_is_loaded_does_nothing() -> None:
    source = Source()
    provider = source.provider()
    provider.invalidate()
    await provider()
    await provider()
    assert source.calls == 1


async def test_a_backoff_holds_when_credentials_are_rejected(clock: time_machine.Traveller) -> None:
    source = Source(issue(HOUR, stamped=True), DOWN)
    provider = source.provider()
    held = await provider()
    clock.shift(ADVISORY)
    await provider()
    await settle()
    provider.invalidate(held)
    assert await provider() is held
    assert await provider.get(min_ttl=HOUR) is held
    assert source.calls == 2
    clock.shift(600)
    assert await provider() is not held


@pytest.mark.parametrize("lifetime", [HOUR, None])
async def test_the_same_keys_after_a_rejection_are_a_failed_refresh(
    lifetime: float | None, clock: time_machine.Traveller
) -> None:
    source = Source(usual=lambda: issue(lifetime, key="ASIASAMEKEY"))
    provider = source.provider()
    held = await provider()
    provider.invalidate()
    for _ in range(10):
        assert await provider() is held
    assert source.calls == 2
    assert provider.status.failures == 1
    assert "which a service has rejected" in str(provider.status.last_error)
    assert "ASIASAMEKEY" not in str(provider.status.last_error)
    clock.shift(5)
    source.usual = lambda: issue(lifetime, key="ASIAOTHERKEY")
    assert (await provider()).access_key_id == "ASIAOTHERKEY"
    assert provider.status.last_error is None


async def test_the_same_keys_without_a_rejection_are_a_success(clock: time_machine.Traveller) -> None:
    source = Source(usual=lambda: issue(HOUR, key="ASIASAMEKEY"))
    provider = source.provider()
    held = await provider()
    clock.shift(MANDATORY)
    assert await provider() is not held
    assert provider.status.expiration == at(MANDATORY + HOUR)


# status and repr


async def test_the_status_tells_each_phase(clock: time_machine.Traveller) -> None:
    source = Source(DOWN, issue(HOUR), DOWN)
    provider = source.provider()
    assert provider.status == RefreshStatus(None, None, None, None, 0, 0, None, loaded=False)

    with pytest.raises(SourceUnavailable):
        await provider()
    failed = provider.status
    assert failed._replace(last_error=None) == RefreshStatus(None, None, None, None, 0, 1, None, loaded=False)
    assert isinstance(failed.last_error, SourceUnavailable)

    await provider()
    assert provider.status == RefreshStatus(at(HOUR), HOUR, at(0), None, 1, 1, None, loaded=True)

    clock.shift(MANDATORY)
    await provider()
    status = provider.status
    assert status._replace(last_error=None) == RefreshStatus(
        at(HOUR), HOUR - MANDATORY, at(0), None, 1, 2, at(MANDATORY + 5), loaded=True
    )
    assert str(status.last_error) == "source: down"

    clock.shift(EXPIRED - MANDATORY)
    assert provider.status.seconds_left == -1
    await provider()
    assert provider.status == RefreshStatus(at(EXPIRED + HOUR), HOUR, at(EXPIRED), None, 2, 2, None, loaded=True)


async def test_the_status_of_credentials_that_never_expire(clock: time_machine.Traveller) -> None:
    provider = Source(issue(None)).provider()
    await provider()
    assert provider.status == RefreshStatus(None, None, at(0), None, 1, 0, None, loaded=True)
    provider.invalidate()
    assert provider.status == RefreshStatus(None, None, at(0), None, 1, 0, None, loaded=True)


@pytest.mark.shows_secrets("exception", because="the cause is the user's own")
async def test_neither_repr_nor_status_shows_a_secret(clock: time_machine.Traveller) -> None:
    source = Source(issue(key="ASIAEXAMPLEKEY99"), ValueError(MARK))
    provider = source.provider(name="from_vault")
    assert repr(provider) == "<Provider from_vault: nothing loaded>"
    await provider()
    assert repr(provider) == "<Provider from_vault: ****EY99>"
    with pytest.raises(SourceUnavailable) as caught:
        await provider.fetch()
    assert MARK not in f"{provider!r} {provider.status!r} {provider.status} {caught.value} {caught.value!r}"
    assert isinstance(caught.value.__cause__, ValueError)
