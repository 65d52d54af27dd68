"""When to refresh, and for how long to leave a failing source alone.

Knows nothing of AWS. :func:`decide` is pure; the transitions (:func:`loaded`, :func:`failed`, …) return the next
:class:`State`. All times are seconds since the epoch by the wall clock, so that a laptop that slept notices. A
caller waits for a refresh for :func:`patience` seconds while there is something to serve.

::

    load          advisory opens        mandatory opens     expires
     │   serve         │  serve, refresh behind  │  wait, else serve │  wait; serve if stamped
     ├─────────────────┼─────────────────────────┼───────────────────┼──────────────────▶
                       └ 5, 15 or 60 min before, and   └ 1 min before
                         up to 20 % of that later
"""

from __future__ import annotations

import time as clocks
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache, partial
from math import inf
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds.credentials import Credentials
    from aiocreds.errors import CredentialsError

MANDATORY_WINDOW = 60.0
ADVISORY_JITTER = 0.2
SERVICE_BACKOFF = (300.0, 600.0)
UNRECOVERABLE_BACKOFF = (1.0, 5.0)
MANDATORY_BACKOFF = 5.0
EXPIRED_BACKOFF = 1.0
REJECTION_BACKOFF = (5.0, 300.0)  # the first and the longest; each is twice the one before
QUICK_REJECTION = 60.0  # seconds; after keys that are rejected sooner, a backoff begins
PATIENCE = 3.0  # seconds that a caller waits for a refresh while there is something to serve
SKEW_TOLERATED = 240.0  # seconds; services refuse signatures from about 300 on


def _steady_clock() -> Callable[[], float]:
    """Return a clock that cannot be set, and that runs while the machine sleeps, if the system has one."""
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):  # on Linux the first does, on macOS the second
        number = getattr(clocks, name, None)
        if number is not None:
            return partial(clocks.clock_gettime, number)
    return clocks.monotonic


steady = _steady_clock()


class Clock:
    """The wall clock, corrected by the time of a service until it is set.

    Args:
        offset: seconds that the service's clock is ahead of this machine's, as measured now.
    """

    __slots__ = ("_followers", "_forget", "_learned")

    def __init__(self, offset: float = 0.0) -> None:
        # The offset, and how far the wall clock was ahead of the steady one when that was measured.
        self._learned = (offset, time() - steady()) if offset else None
        self._followers: set[ref[Any]] = set()  # changed and copied in atomic steps: providers live in any thread
        self._forget = self._followers.discard

    @property
    def offset(self) -> float:
        """Seconds to add to the wall clock; 0.0 once that has been set since they were learned."""
        learned = self._learned
        if learned is None:
            return 0.0
        if abs(time() - steady() - learned[1]) > SKEW_TOLERATED:
            self._learned = None  # one that another thread learns at this moment will be learned again
            return 0.0
        return learned[0]

    def now(self) -> float:
        """Return seconds since the epoch, as the services count them."""
        return time() if self._learned is None else time() + self.offset

    def follow(self, follower: object) -> None:
        """Have ``follower._clock_changed()`` called when the offset changes, for as long as it lives."""
        self._followers.add(ref(follower, self._forget))

    def learn(self, offset: float) -> None:
        """Keep how many seconds a service's clock is ahead of ours, until ours is set."""
        self.adopt(Clock(offset))

    def adopt(self, tried: Clock) -> None:
        """Take over the offset of a clock that has proved right."""
        self._learned = tried._learned
        for known in list(self._followers):
            if (follower := known()) is not None:
                follower._clock_changed()  # noqa: SLF001 - followers have it for this


class State(NamedTuple):
    """The state of a provider between two loads."""

    credentials: Credentials | None = None
    loaded_at: float = -inf
    advisory_at: float = -inf
    mandatory_at: float = -inf
    expires_at: float = -inf
    next_attempt: float = -inf
    error: CredentialsError | None = None
    rejected: bool = False  # invalidated: the source has to give other keys
    refused: bool = False  # no retry can mend it: expired credentials are not served until the source succeeds
    declined: bool = False  # the source needs a person, and nobody waited
    replacements: int = 0  # how many loads in a row replaced keys that were rejected soon after their load
    short: float | None = None  # the shortest life, in seconds, that a caller asked the source for in vain
    successes: int = 0
    failures: int = 0


NOTHING_LOADED = State()


class Action(Enum):
    """The outcome for a caller."""

    SERVE = auto()
    SERVE_AND_REFRESH = auto()
    WAIT = auto()
    RAISE = auto()


def decide(state: State, now: float) -> Action:
    """Return what a caller who asks at ``now`` gets."""
    if state.credentials is not None and now < state.advisory_at:
        return Action.SERVE
    if backing_off(state, now):
        return Action.SERVE if usable(state, now) else Action.RAISE
    if state.credentials is not None and now < state.mandatory_at:
        return Action.SERVE_AND_REFRESH
    return Action.WAIT


def backing_off(state: State, now: float) -> bool:
    """Return whether it is too early to ask the source again. A clock that was set back does not prolong that."""
    return now < state.next_attempt <= now + SERVICE_BACKOFF[1]


def usable(state: State, now: float) -> bool:
    """Return whether the credentials may be served: still valid, or stamped and not refused for good."""
    if state.credentials is None:
        return False
    return now < state.expires_at or (state.credentials.may_outlive_expiry and not state.refused)


def patience(state: State, now: float) -> float:
    """Return how many seconds a caller waits for a refresh before credentials in memory are served.

    ``inf`` when there are none. A little of their life is left for the request that they sign.
    """
    if not usable(state, now):
        return inf
    left = state.expires_at - now
    return PATIENCE if left <= 0 else min(PATIENCE, left - min(1.0, left / 2))


def windows(lifetime: float) -> tuple[float, float]:
    """Return the advisory and the mandatory window, in seconds before expiry, for a lifetime in seconds."""
    if lifetime <= 20 * 60:
        advisory = min(5 * 60.0, lifetime / 2)
    elif lifetime < 90 * 60:
        advisory = 15 * 60.0
    else:
        advisory = 60 * 60.0
    return advisory, min(MANDATORY_WINDOW, lifetime / 4)


def loaded(
    state: State,
    credentials: Credentials,
    now: float,
    *,
    expire_after: float | None = None,
    advisory_window: float | None = None,
) -> State:
    """Return the state after a load. Windows follow from the lifetime left now, also for the same keys.

    Args:
        state: the state before.
        credentials: what the source gave.
        now: the time of the load.
        expire_after: seconds after which they expire, however long they live; the state holds them with that end.
        advisory_window: seconds, instead of what :func:`windows` gives.
    """
    expires_at = inf if credentials.expiration is None else credentials.expiration.timestamp()
    if expire_after is not None and now + expire_after < expires_at:
        expires_at = now + expire_after
        credentials = credentials.__replace__(expiration=date_of(expires_at))
    if expires_at == inf:
        advisory_at = mandatory_at = inf
    else:
        advisory, mandatory = windows(max(expires_at - now, 0.0))
        if advisory_window is not None:
            advisory = advisory_window
        advisory_at = expires_at - advisory + spread(0.0, ADVISORY_JITTER) * advisory
        mandatory_at = expires_at - mandatory
    return State(
        credentials=credentials,
        loaded_at=now,
        advisory_at=advisory_at,
        mandatory_at=mandatory_at,
        expires_at=expires_at,
        replacements=state.replacements + 1 if state.rejected else 0,
        successes=state.successes + 1,
        failures=state.failures,
    )


def date_of(at: float) -> datetime | None:
    """Return a time as a datetime; None for infinity, and for one that no datetime can hold."""
    try:
        return datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def failed(state: State, error: CredentialsError, now: float) -> State:
    """Return the state after a failed load or refresh, with the time when the source may be asked again."""
    if not error.recoverable:
        next_attempt = now + spread(*UNRECOVERABLE_BACKOFF)
    elif state.credentials is None:
        next_attempt = -inf
    else:
        next_attempt = _next_attempt(state, now)
    return state._replace(
        error=error,
        failures=state.failures + 1,
        next_attempt=next_attempt,
        refused=state.refused or not error.recoverable,
        declined=False,
    )


def _next_attempt(state: State, now: float) -> float:
    if state.credentials is not None and state.credentials.may_outlive_expiry and not state.refused:
        return now + spread(*SERVICE_BACKOFF)
    if now >= state.expires_at:
        return now + EXPIRED_BACKOFF
    if now >= state.mandatory_at:
        return now + MANDATORY_BACKOFF
    return min(now + spread(*SERVICE_BACKOFF), state.mandatory_at)


def loaded_expired(state: State, now: float) -> State:
    """Return the state after a first load of expired but stamped credentials: the service decides when they end."""
    return state._replace(next_attempt=now + spread(*SERVICE_BACKOFF))


def declined(state: State) -> State:
    """Return the state after a source declined because nobody waited: it is not asked in the background again."""
    return state._replace(advisory_at=state.mandatory_at, declined=True)


def invalidated(state: State, now: float = inf) -> State:
    """Return the state after a service rejected the credentials: as in the mandatory window; a backoff holds.

    A service may reject whatever it is given, and the source must not be asked for each request: a backoff begins
    when the keys are young and replaced others that were rejected.

    Args:
        state: the state before.
        now: the time of the rejection; by default long after the load.
    """
    if state.rejected:
        return state  # the backoff must not grow with each request
    state = state._replace(advisory_at=-inf, mandatory_at=-inf, rejected=True)
    if now - state.loaded_at >= min(QUICK_REJECTION, (state.expires_at - state.loaded_at) / 4):
        return state._replace(replacements=0)
    if not state.replacements:
        return state
    first, longest = REJECTION_BACKOFF
    pause = min(first * 2.0 ** min(state.replacements - 1, 16), longest)
    return state._replace(next_attempt=max(state.next_attempt, now + pause))


def spread(low: float, high: float) -> float:
    """Return a random number between the two, so that a fleet does not act in step."""
    return _uniform()(low, high)


@cache
def _uniform() -> Callable[[float, float], float]:
    from random import uniform  # slow to load, and not needed for credentials that never expire

    return uniform
