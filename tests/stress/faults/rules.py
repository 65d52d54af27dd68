"""The three rules that hold in every cell, by the words of the contract and not by what the library computes.

And five more: nobody waits for a shared store longer than its bound, nobody gets credentials that were not handed
out, nobody is talked into another time, whatever a source raises is one of our errors, and no error shows a secret.
"""

from __future__ import annotations

import re
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from aiocreds import Credentials, CredentialsError
from tests.helpers.secret_leaks import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stress.faults.faults import Fault
    from tests.stress.faults.sources import Subject
    from tests.stress.faults.story import Call, Story, Trip

MINUTE = 60.0
LEFT_ALONE = 5 * MINUTE  # seconds, at the least, after a failure
IN_MANDATORY_WINDOW, ONCE_EXPIRED, REFUSED_FOR_GOOD = 5.0, 1.0, 1.0  # likewise, and shorter
HANDED_OUT = re.compile(rf"{MARK}-issued-\d{{6}}x+ {MARK}-session-\d{{6}}x+")
PATIENCE = 3.0  # seconds that a caller waits who holds something to serve
CLOSE = 240.0  # seconds that a service's time may be off
SLACK = 0.1  # seconds; a program's end is looked for as often


def windows(lifetime: float) -> tuple[float, float]:
    """The advisory and the mandatory window, in seconds before the expiration, for a lifetime in seconds."""
    advisory = 5 * MINUTE if lifetime <= 20 * MINUTE else 15 * MINUTE if lifetime < 90 * MINUTE else 60 * MINUTE
    return min(advisory, lifetime / 2), min(MINUTE, lifetime / 4)


def broken(subject: Subject, fault: Fault, story: Story) -> list[str]:
    """The rules that do not hold."""
    held = Held(subject, story)
    return [
        *no_errors(fault, held),
        *no_waiting(fault, held),
        *no_waiting_for_the_store(subject, fault, story),
        *no_pestering(held),
        *no_fakes(story),
        *no_lies(story),
        *no_strangers(story),
        *no_secrets(story),
    ]


class Held:
    """The knowledge of a provider that keeps the rules at any time."""

    def __init__(self, subject: Subject, story: Story) -> None:
        self.subject = subject
        self.story = story
        self.loads: list[Trip] = []
        for trip in story.trips:
            if _expiration(trip) > trip.end or (_expiration(trip) > 0 and subject.stamped and not self.loads):
                self.loads.append(trip)

    def load(self, at: float) -> Trip | None:
        """The trip that brought what is held at a time."""
        return next((trip for trip in reversed(self.loads) if trip.end <= at), None)

    def usable(self, at: float) -> bool:
        """Return whether there is anything to be served at a time."""
        if at < self.story.bench.spare_until:
            return True
        load = self.load(at)
        return load is not None and (at < _expiration(load) or self.lives_on(load, at))

    def lives_on(self, load: Trip, at: float) -> bool:
        """Return whether what was loaded may outlive its expiration: until the service has refused for good."""
        later = [trip.error for trip in self.story.trips if load.end < trip.end <= at]
        refused = [error for error in later if isinstance(error, CredentialsError) and not error.recoverable]
        return self.subject.stamped and not refused

    def patience(self, at: float) -> float:
        """Seconds that a caller waits at a time before what is held is served."""
        load = self.load(at)
        if load is None:
            return inf
        left = _expiration(load) - at
        if left > 0:
            return min(left, PATIENCE)
        return PATIENCE if self.lives_on(load, at) else inf

    def mandatory_at(self, load: Trip) -> float:
        """When the mandatory window opens."""
        return _expiration(load) - windows(_expiration(load) - load.end)[1]

    def next_trip(self, trip: Trip) -> float:
        """When the source may be asked again after a trip to it."""
        end = trip.end
        if trip in self.loads:
            expiration = _expiration(trip)
            return end + LEFT_ALONE if expiration <= end else expiration - windows(expiration - end)[0]
        load = self.load(end)
        if isinstance(trip.error, CredentialsError) and not trip.error.recoverable:
            return end + REFUSED_FOR_GOOD
        if load is None:
            return end
        if self.lives_on(load, end):
            return end + LEFT_ALONE
        if end >= _expiration(load):
            return end + ONCE_EXPIRED
        if end >= self.mandatory_at(load):
            return end + IN_MANDATORY_WINDOW
        return min(end + LEFT_ALONE, self.mandatory_at(load))


def no_errors(fault: Fault, held: Held) -> Iterator[str]:
    """No error while any credential is usable."""
    overcome = fault.overcome_by is not None and fault.overcome_by <= held.subject.tenacity
    for call in held.story.calls:
        if isinstance(call.got, CredentialsError) and (overcome or held.usable(call.answered)):
            yield f"an error while credentials are usable: {call.got}"


def no_waiting(fault: Fault, held: Held) -> Iterator[str]:
    """No caller waits longer than the source's time-out budget, nor for long with something to serve.

    Nobody waits at all who need not wait for the source.
    """
    longest = held.subject.longest(fault.retry_after)
    for call in held.story.calls:
        limit = min(longest, held.patience(call.asked)) if must_wait(held, call) else 0.0
        if call.waited > limit + SLACK:
            yield f"a caller waited {call.waited:.2f} s, and the budget is {limit:.2f} s"
    for trip in held.story.trips:
        if trip.took > longest + SLACK:
            yield f"a trip took {trip.took:.2f} s, and the budget is {longest:.2f} s"


def no_waiting_for_the_store(subject: Subject, fault: Fault, story: Story) -> Iterator[str]:
    """No caller waits longer than the store's bound because of the store, or the lease of somebody else.

    The source answers at once meanwhile.
    """
    if subject.store_bound:
        bound = max(subject.store_bound, fault.lease)
        for waited in (*(call.waited for call in story.calls), *(trip.took for trip in story.trips)):
            if waited > bound + SLACK:
                yield f"a caller waited {waited:.2f} s because of the store"


def must_wait(held: Held, call: Call) -> bool:
    """Return whether a caller has to wait for the source."""
    load = held.load(call.asked)
    if load is None or call.asked < held.mandatory_at(load):
        return load is None
    ended = [trip for trip in held.story.trips if trip.end <= call.asked]
    return call.asked >= held.next_trip(ended[-1])


def no_pestering(held: Held) -> Iterator[str]:
    """The source is called no more often than allowed."""
    story, trips = held.story, held.story.trips
    for trip, following in pairwise(trips):
        early = held.next_trip(trip) - following.start
        if early > 1e-6:
            yield f"the source was asked {early:.2f} s too early"
    rounds = len({call.asked for call in story.calls})
    since = len(trips) - story.earlier
    if since > rounds:
        yield f"{since} trips to the source, and callers came only {rounds} times"
    if story.requests > since * held.subject.most:
        yield f"{story.requests} requests in {since} trips, and one may make {held.subject.most}"


def no_fakes(story: Story) -> Iterator[str]:
    """Nobody gets credentials that were not handed out."""
    for call in story.calls:
        if isinstance(call.got, Credentials):
            keys = f"{call.got.secret_access_key} {call.got.session_token}"
            if not HANDED_OUT.fullmatch(keys):
                yield f"nobody has handed out {keys!a}"


def no_lies(story: Story) -> Iterator[str]:
    """Nobody is talked into another time, nor goes on with one that was right once."""
    if story.astray > CLOSE:
        yield f"the time is wrong by {story.astray:.0f} s"


def no_strangers(story: Story) -> Iterator[str]:
    """Whatever a source raises is one of our errors."""
    for trip in story.trips:
        if trip.error is not None and not isinstance(trip.error, CredentialsError):
            yield f"the source raised {trip.error!r}"


def no_secrets(story: Story) -> Iterator[str]:
    """No error shows a secret."""
    for call in story.calls:
        if isinstance(call.got, CredentialsError) and MARK in f"{call.got} {call.got!r}":
            yield f"a {type(call.got).__name__} shows a secret"


def _expiration(trip: Trip) -> float:
    """Of what a trip brought; -inf for nothing."""
    if trip.brought is None:
        return -inf
    return inf if trip.brought.expiration is None else trip.brought.expiration.timestamp()
