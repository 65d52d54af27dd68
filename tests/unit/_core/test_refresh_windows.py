"""When a refresh is due: windows, jitter, clamps, backoffs, and the clock that counts."""

from __future__ import annotations

import sys
import threading
from math import inf

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from aiocreds._core import refresh
from aiocreds._core.context import Context
from aiocreds._core.refresh import Action, Clock, State, decide, failed, invalidated, loaded, windows
from aiocreds.errors import CredentialsError, LoginRequired, SourceUnavailable
from tests.helpers.scripted import START, Source, issue, settle

MINUTE = 60.0
HOUR = 3600.0
LIFETIMES = st.floats(min_value=1, max_value=36 * HOUR)


def after_load(lifetime: float | None, *, stamped: bool = False, expire_after: float | None = None) -> State:
    with time_machine.travel(START, tick=False):
        return loaded(State(), issue(lifetime, stamped=stamped), START, expire_after=expire_after)


@pytest.mark.parametrize(
    ("lifetime", "advisory", "mandatory"),
    [
        (2 * MINUTE, 1 * MINUTE, 30),
        (4 * MINUTE, 2 * MINUTE, 60),
        (10 * MINUTE, 5 * MINUTE, 60),
        (20 * MINUTE, 5 * MINUTE, 60),
        (20 * MINUTE + 1, 15 * MINUTE, 60),
        (90 * MINUTE - 1, 15 * MINUTE, 60),
        (90 * MINUTE, 60 * MINUTE, 60),
        (36 * HOUR, 60 * MINUTE, 60),
        (0, 0, 0),
    ],
)
def test_the_windows_follow_the_lifetime(lifetime: float, advisory: float, mandatory: float) -> None:
    assert windows(lifetime) == (advisory, mandatory)


@given(st.floats(min_value=0, max_value=20 * MINUTE))
def test_short_lifetimes_clamp_the_windows(lifetime: float) -> None:
    advisory, mandatory = windows(lifetime)
    assert advisory <= lifetime / 2
    assert mandatory <= lifetime / 4


@given(LIFETIMES)
def test_a_load_is_served_first_then_refreshed_behind_then_waited_for(lifetime: float) -> None:
    state = after_load(lifetime)
    advisory, mandatory = windows(lifetime)
    opening = state.expires_at - advisory
    assert opening - 1e-5 <= state.advisory_at <= opening + 0.2 * advisory + 1e-5
    assert START < state.advisory_at < state.mandatory_at < state.expires_at
    assert state.mandatory_at == pytest.approx(state.expires_at - mandatory)
    assert decide(state, START) is Action.SERVE
    assert decide(state, state.advisory_at) is Action.SERVE_AND_REFRESH
    assert decide(state, state.mandatory_at) is Action.WAIT
    assert decide(state, state.expires_at) is Action.WAIT


def test_the_opening_is_spread_over_a_fifth_of_the_window() -> None:
    delays = [after_load(6 * HOUR).advisory_at - (START + 5 * HOUR) for _ in range(500)]
    assert 0 <= min(delays) < 60
    assert 660 < max(delays) <= 720
    assert len(set(delays)) > 400


@given(st.floats(min_value=0, max_value=100 * 365 * 86400.0))
def test_what_never_expires_is_never_refreshed(later: float) -> None:
    assert decide(after_load(None), START + later) is Action.SERVE


@pytest.mark.parametrize(
    ("lifetime", "expire_after", "counts"),
    [(HOUR, 600.0, 600.0), (600.0, HOUR, 600.0), (None, 600.0, 600.0), (HOUR, None, HOUR), (HOUR, 0.0, 0.0)],
    ids=["ours-earlier", "own-earlier", "no-own", "not-given", "zero"],
)
def test_expire_after_counts_where_it_is_earlier(
    lifetime: float | None, expire_after: float | None, counts: float
) -> None:
    state = after_load(lifetime, expire_after=expire_after)
    assert state.expires_at == START + counts
    assert state.expires_at - state.advisory_at <= windows(counts)[0]


def test_windows_are_computed_anew_when_the_keys_are_the_same() -> None:
    with time_machine.travel(START, tick=False):
        credentials = issue(6 * HOUR)
    first = loaded(State(), credentials, START)
    again = loaded(first, credentials, START + 5.5 * HOUR)
    assert first.expires_at == again.expires_at
    assert first.advisory_at <= START + 5 * HOUR + 720
    assert again.advisory_at >= START + 5.75 * HOUR
    assert again.successes == 2


def test_a_window_may_be_set_by_hand() -> None:
    with time_machine.travel(START, tick=False):
        state = loaded(State(), issue(6 * HOUR), START, advisory_window=1800)
    assert START + 5.5 * HOUR <= state.advisory_at <= START + 5.6 * HOUR


# Failures. The time of the failure, seconds after a load that lives one hour.


@pytest.mark.parametrize(
    ("at", "low", "high"),
    [
        (0, 300, 600),  # asked for by fetch() or min_ttl
        (2800, 300, 600),
        (3200, 300, 340),  # not past the mandatory opening
        (3500, 40, 40),
        (3550, 5, 5),
        (3599, 5, 5),
        (3600, 1, 1),
        (9000, 1, 1),
    ],
)
def test_a_source_that_fails_is_left_alone_for_as_long_as_can_be_afforded(
    at: float, low: float, high: float
) -> None:
    now = START + at
    waits = [failed(after_load(HOUR), SourceUnavailable("down"), now).next_attempt - now for _ in range(200)]
    assert low <= min(waits) <= max(waits) <= high
    if low == 300 and high == 600:
        assert max(waits) - min(waits) > 200


@pytest.mark.parametrize("at", [0, 2800, 3200, 3550, 3600, 9000])
def test_the_service_of_stamped_credentials_is_spared_at_any_age(at: float) -> None:
    now = START + at
    state = after_load(HOUR, stamped=True)
    waits = [failed(state, SourceUnavailable("down"), now).next_attempt - now for _ in range(200)]
    assert 300 <= min(waits) <= max(waits) <= 600
    assert max(waits) - min(waits) > 200


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("at", [None, 0, 2800, 3550, 3600])
def test_what_no_retry_can_mend_is_asked_again_soon(at: float | None, stamped: bool) -> None:
    now = START + (at or 0)
    state = State() if at is None else after_load(HOUR, stamped=stamped)
    waits = [failed(state, LoginRequired("sign in"), now).next_attempt - now for _ in range(200)]
    assert 1 <= min(waits) < max(waits) <= 5
    assert max(waits) - min(waits) > 3


def test_a_failed_first_load_sets_no_backoff() -> None:
    state = failed(State(), SourceUnavailable("down"), START)
    assert state.next_attempt == -inf
    assert decide(state, START) is Action.WAIT
    assert state.failures == 1


ERRORS = st.sampled_from([SourceUnavailable("down"), LoginRequired("sign in")])


@given(LIFETIMES, st.floats(min_value=0, max_value=3), st.booleans(), st.booleans(), ERRORS)
def test_after_a_failure_nobody_waits_until_the_next_attempt(
    lifetime: float, share: float, stamped: bool, rejected: bool, error: CredentialsError
) -> None:
    state = after_load(lifetime, stamped=stamped)
    if rejected:
        state = invalidated(state)
    now = START + share * lifetime
    state = failed(state, error, now)
    lives = now < state.expires_at or (stamped and error.recoverable)
    assert decide(state, now) is (Action.SERVE if lives else Action.RAISE)
    assert now < state.next_attempt <= now + 600
    assert refresh.usable(state, now) is lives
    assert state.expires_at == pytest.approx(START + lifetime)


@given(LIFETIMES, st.floats(min_value=0, max_value=0.99))
def test_rejected_credentials_are_waited_for_like_those_in_their_last_minute(lifetime: float, share: float) -> None:
    state = invalidated(after_load(lifetime))
    assert decide(state, START + share * lifetime) is Action.WAIT
    assert refresh.usable(state, START + share * lifetime)


# The clock.


@pytest.mark.parametrize(("offset", "asked"), [(HOUR, True), (-HOUR, False), (0.0, False)])
async def test_a_clock_put_right_counts_for_what_is_loaded(
    offset: float, asked: bool, clock: time_machine.Traveller
) -> None:
    context = Context(environ={})
    source = Source(issue(HOUR), usual=lambda: issue(3 * HOUR))
    provider = source.provider(context)
    held = await provider()
    context.clock.learn(offset)
    assert (await provider() is not held) is asked
    assert source.calls == 1 + asked


async def test_a_clock_behind_lets_credentials_live_longer(clock: time_machine.Traveller) -> None:
    context = Context(environ={})
    context.clock.learn(-2 * HOUR)
    source = Source(issue(HOUR))
    provider = source.provider(context)
    await provider()
    clock.shift(HOUR)
    await provider()
    assert source.calls == 1
    assert provider.status.seconds_left == 2 * HOUR
    context.clock.learn(0)
    await provider()
    assert source.calls == 2


async def test_a_clock_put_right_in_the_window_does_not_skip_the_refresh(clock: time_machine.Traveller) -> None:
    context = Context(environ={})
    source = Source(issue(HOUR))
    provider = source.provider(context)
    await provider()
    context.clock.learn(50 * MINUTE)
    await provider()
    await settle()
    assert source.calls == 2


async def test_a_sleep_of_the_machine_is_noticed(clock: time_machine.Traveller) -> None:
    source = Source(issue(HOUR))
    provider = source.provider()
    held = await provider()
    clock.shift(8 * HOUR)
    assert await provider() is not held


def test_a_clock_may_be_put_right_while_providers_are_made() -> None:
    clock = Clock()
    followers = [Follower() for _ in range(2000)]
    for follower in followers:
        clock.follow(follower)
    stop = threading.Event()

    def make() -> None:
        while not stop.is_set():
            newcomer = Follower()  # as a chain makes one for a single fetch
            clock.follow(newcomer)

    maker = threading.Thread(target=make)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        maker.start()
        for offset in range(1, 501):
            clock.learn(offset)
    finally:
        sys.setswitchinterval(before)
        stop.set()
        maker.join()
    assert {follower.rearmed for follower in followers} == {500}


class Follower:
    def __init__(self) -> None:
        self.rearmed = 0

    def _clock_changed(self) -> None:
        self.rearmed += 1
