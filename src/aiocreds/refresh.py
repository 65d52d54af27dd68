"""When to refresh, and for how long to leave a failing source alone.

Knows nothing of AWS. :func:`decide` is pure; the transitions (:func:`loaded`, :func:`failed`, …) return the next
:class:`State`. All times are seconds since the epoch by the wall clock, so that a laptop that slept notices.

::

    load          advisory opens        mandatory opens     expires
     │   serve         │  serve, refresh behind  │  wait, else serve │  wait; serve if stamped
     ├─────────────────┼─────────────────────────┼───────────────────┼──────────────────▶
                       └ 5, 15 or 60 min before, and   └ 1 min before
                         up to 20 % of that later
"""

from __future__ import annotations

from enum import Enum, auto
from functools import cache
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


class Clock:
    """The wall clock, put right by what a service said the time was."""

    __slots__ = ("_followers", "_forget", "offset")

    def __init__(self) -> None:
        self.offset = 0.0
        self._followers: set[ref[Any]] = set()  # changed and copied in one step each: providers live in any thread
        self._forget = self._followers.discard

    def now(self) -> float:
        """Seconds since the epoch, as the services count them."""
        return time() + self.offset

    def follow(self, follower: object) -> None:
        """Have ``follower._rearm()`` called when the offset changes, for as long as it lives."""
        self._followers.add(ref(follower, self._forget))

    def learn(self, offset: float) -> None:
        """Keep what a service's clock is ahead of ours, in seconds."""
        self.offset = offset
        for known in list(self._followers):
            if (follower := known()) is not None:
                follower._rearm()  # noqa: SLF001 - what follows a clock is one of us


class State(NamedTuple):
    """What is known between two loads."""

    credentials: Credentials | None = None
    loaded_at: float = -inf
    advisory_at: float = -inf
    mandatory_at: float = -inf
    expires_at: float = -inf
    next_attempt: float = -inf
    error: CredentialsError | None = None
    rejected: bool = False  # invalidated: only other keys will do
    short: float | None = None  # the least life, in seconds, that somebody asked the source for in vain
    successes: int = 0
    failures: int = 0


NOTHING = State()  # is loaded yet


class Action(Enum):
    """What a caller gets."""

    SERVE = auto()
    SERVE_AND_REFRESH = auto()
    WAIT = auto()
    RAISE = auto()


def decide(state: State, now: float) -> Action:
    """What a caller who asks at ``now`` gets."""
    if state.credentials is not None and now < state.advisory_at:
        return Action.SERVE
    if backing_off(state, now):
        return Action.SERVE if usable(state, now) else Action.RAISE
    if state.credentials is not None and now < state.mandatory_at:
        return Action.SERVE_AND_REFRESH
    return Action.WAIT


def backing_off(state: State, now: float) -> bool:
    """Whether the source is to be left alone. A clock that was set back does not prolong that."""
    return now < state.next_attempt <= now + SERVICE_BACKOFF[1]


def usable(state: State, now: float) -> bool:
    """Whether the credentials may be served: still valid, or stamped and nobody has said no."""
    if state.credentials is None:
        return False
    if now < state.expires_at:
        return True
    return state.credentials.may_outlive_expiry and (state.error is None or state.error.recoverable)


def windows(lifetime: float) -> tuple[float, float]:
    """The advisory and the mandatory window, in seconds before expiry, for a lifetime in seconds."""
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
    """After a load. Windows are computed from the lifetime now left, whether the keys are new or not.

    Args:
        state: the state before.
        credentials: what the source gave.
        now: the time of the load.
        expire_after: seconds after which they count as expired, however long they live.
        advisory_window: seconds, instead of what :func:`windows` gives.
    """
    expires_at = inf if credentials.expiration is None else credentials.expiration.timestamp()
    if expire_after is not None:
        expires_at = min(expires_at, now + expire_after)
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
        successes=state.successes + 1,
        failures=state.failures,
    )


def failed(state: State, error: CredentialsError, now: float) -> State:
    """After a failed load or refresh: what failed, and when the source may be asked again."""
    if not error.recoverable:
        next_attempt = now + spread(*UNRECOVERABLE_BACKOFF)
    elif state.credentials is None:
        next_attempt = -inf
    else:
        next_attempt = _next_attempt(state, now)
    return state._replace(error=error, failures=state.failures + 1, next_attempt=next_attempt)


def _next_attempt(state: State, now: float) -> float:
    if state.credentials is not None and state.credentials.may_outlive_expiry:
        return now + spread(*SERVICE_BACKOFF)
    if now >= state.expires_at:
        return now + EXPIRED_BACKOFF
    if now >= state.mandatory_at:
        return now + MANDATORY_BACKOFF
    return min(now + spread(*SERVICE_BACKOFF), state.mandatory_at)


def born_expired(state: State, now: float) -> State:
    """After a first load that brought stamped credentials past their expiry: the service decides, and is spared."""
    return state._replace(next_attempt=now + spread(*SERVICE_BACKOFF))


def declined(state: State) -> State:
    """After a source would not run because nobody waited: no failure, but not asked behind callers again."""
    return state._replace(advisory_at=state.mandatory_at)


def invalidated(state: State) -> State:
    """After a service rejected the credentials: they count as in the mandatory window; a backoff holds."""
    return state._replace(advisory_at=-inf, mandatory_at=-inf, rejected=True)


def spread(low: float, high: float) -> float:
    """A random number between the two, so that a fleet does not act in step."""
    return _uniform()(low, high)


@cache
def _uniform() -> Callable[[float, float], float]:
    from random import uniform  # slow to load, and credentials that never expire do without

    return uniform
