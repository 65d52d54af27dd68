"""Who handed out what, and so what callers may and may not see.

A :class:`Ledger` stands between a provider and its source. It knows what the source gave and when, and nothing of
what the provider makes of it; from that it judges every answer and every error that reaches a caller.

Several loops share a provider, so what it holds at a moment can be one of several things: what was loaded last, and
whatever was in the air at the same time. An error counts as wrong when *each* of these was usable for as long as
the caller waited; an answer, when it is *none* of them.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from math import inf
from time import perf_counter, time
from typing import TYPE_CHECKING

from aiocreds import Credentials, CredentialsError, Provider
from tests.helpers.secret_leaks import MARK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SETTING_OUT = 1.0  # real seconds from where a flight begins to where it asks its source, on a busy machine
MANY = 20  # broken rules to keep word of
REMEMBERED = 32  # trips; more than end while one caller waits


class Book:
    """The base of all ledgers: the order of events, the counts, and the rules that were broken."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self._numbers = itertools.count(1)

    def next(self) -> int:
        """The number of an event, by which they are ordered across threads."""
        return next(self._numbers)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def count_of(self, beginning: str) -> int:
        """The sum of all counts that begin like this."""
        return sum(count for what, count in self.counts.items() if what.startswith(beginning))

    def table(self) -> str:
        """The counts, one a line."""
        width = max(map(len, self.counts))
        return "\n".join(f"{what:<{width}}  {count:>9,}" for what, count in sorted(self.counts.items()))

    def accuse(self, what: str) -> None:
        """A rule was broken."""
        with self.lock:
            self.counts["rules broken"] += 1
            if len(self.broken) < MANY:
                self.broken.append(what)


@dataclass(slots=True, eq=False)
class Trip:
    """One call to the source. The numbers are those of `Book.next`, the times are moved time.

    Attributes:
        loop: it runs on.
        began: when.
        began_at: the same in real time.
        ended: when the source had answered.
        settled: when the provider had done with the answer for sure.
        settled_at: the same in real time.
        ended_at: in moved time.
        kept_after: moved seconds from there until the provider had done with the answer; a busy machine takes some.
        expires: when the credentials end at the earliest; -inf for none.
        latest: when they end at the latest: later than that if they are repeated, and the provider took them.
        failure: how the source failed; empty for a success and for a cancelled trip.
        fatal: in a way that no retry can mend.
        dubious: the provider may have found the credentials expired already.
        repeated: they were handed out before, and may have been rejected.
    """

    loop: asyncio.AbstractEventLoop
    began: int
    began_at: float
    ended: float = inf
    settled: float = inf
    settled_at: float = inf
    ended_at: float = inf
    kept_after: float = inf
    credentials: Credentials | None = None
    expires: float = -inf
    latest: float = -inf
    failure: str = ""
    fatal: bool = False
    dubious: bool = False
    repeated: bool = False

    @property
    def cut(self) -> bool:
        """It was cancelled."""
        return self.credentials is None and not self.failure

    @property
    def stamped(self) -> bool:
        """Its credentials may outlive their expiration."""
        return self.credentials is not None and self.credentials.may_outlive_expiry


@dataclass(slots=True)
class Call:
    """A caller who has begun to ask.

    Attributes:
        began: when.
        at: the same in moved time.
        what: is asked, for messages.
        fetch: it has to be from the source.
    """

    began: int
    at: float
    what: str
    fetch: bool = False


@dataclass(slots=True)
class Rules:
    """Check the rules of a provider.

    Attributes:
        place: where its source is.
        expire_after: seconds.
        slack: seconds that its clock may be off.
        calm: nobody calls `fetch` or wants a life of its own, so that each trip must be due.
        excuse: tells, from when a trip began, whether something was out of order; then it may fail.
        patience: real seconds after which a trip may fail anyway, since this machine is busy.
    """

    place: str = "in this process"
    expire_after: float = inf
    slack: float = 0.0
    calm: bool = False
    excuse: Callable[[int], bool] = lambda _: True
    patience: float = inf


@dataclass(eq=False)
class Ledger:
    """Stands between a provider and its source."""

    name: str
    book: Book
    rules: Rules
    source: Callable[[], Awaitable[Credentials]] | None = None
    _trips: deque[Trip] = field(default_factory=lambda: deque[Trip](maxlen=REMEMBERED))
    _aloft: set[asyncio.AbstractEventLoop] = field(default_factory=set[asyncio.AbstractEventLoop])
    _since: set[asyncio.AbstractEventLoop] = field(default_factory=set[asyncio.AbstractEventLoop])
    _rejected: bool = False

    def watch(self, provider: Provider) -> Provider:
        """Have the provider ask its source through here."""
        self.source = provider._source  # pyright: ignore[reportPrivateUsage] - the one place between the two
        provider._source = self  # pyright: ignore[reportPrivateUsage]
        return provider

    async def __call__(self) -> Credentials:
        assert self.source is not None
        trip = self._begin()
        try:
            credentials = await self.source()
        except BaseException as error:
            self._end(trip, None, error)
            raise
        self._end(trip, credentials, None)
        return credentials

    def call(self, what: str, *, fetch: bool = False) -> Call:
        """A caller begins to ask."""
        return Call(self.book.next(), time(), f"{self.name}: {what}", fetch)

    def rejected(self, key: str | None) -> None:
        """A caller says, or has just said, that a service rejected this key; None: whatever is held."""
        with self.book.lock:
            held = self._held(self.book.next())
            self._rejected |= any(
                trip and trip.credentials and key in (None, trip.credentials.access_key_id) for trip in held
            )

    # What callers get.

    def judge_answer(self, call: Call, got: object) -> None:
        """Judge what a caller got."""
        with self.book.lock:
            if self._forgot(call):
                return
            possible = self._held(call.began)
            if not isinstance(got, Credentials) or not any(trip and self._is_of(trip, got) for trip in possible):
                self.book.accuse(f"{call.what}: gave {got!r}, which was superseded, or never handed out")
                return
            expired = got.expiration is not None and got.expiration.timestamp() <= call.at - self.rules.slack
            if not expired:
                self.book.counts["served: valid"] += 1
                return
            self.book.counts["served: past expiration, stamped"] += 1
            if not got.may_outlive_expiry:
                self.book.accuse(f"{call.what}: gave {got!r}, which had expired and bears no stamp")

    def _is_of(self, trip: Trip, got: Credentials) -> bool:
        """Return whether a trip brought this; where the provider caps expirations, with the one that counts."""
        if trip.credentials is None or self.rules.expire_after == inf or got.expiration is None:
            return trip.credentials == got
        late = got.expiration.timestamp() > trip.latest + trip.kept_after + self.rules.slack
        return replace(got, expiration=trip.credentials.expiration) == trip.credentials and not late

    def judge_error(self, call: Call, error: BaseException) -> None:
        """Judge an error that reached a caller."""
        if not isinstance(error, CredentialsError):
            self.book.accuse(f"{call.what}: raised {error!r}, which is none of ours")
            return
        if MARK in f"{error} {error!r} {error.__notes__ if hasattr(error, '__notes__') else ''}":
            self.book.accuse(f"{call.what}: its error tells a secret: {error}")
        with self.book.lock:
            if self._forgot(call):
                return
            if call.fetch:
                failed = any(trip.settled > call.began and self._may_fail(trip) for trip in self._trips)
                self.book.counts["raised: fetch(), and the source had failed"] += 1
                if not failed:
                    self.book.accuse(f"{call.what}: raised {error!r}, and the source had not failed")
                return
            self.book.counts[f"raised: {self._excuse(call, error)}"] += 1

    def _excuse(self, call: Call, error: CredentialsError) -> str:
        """Why the error is right; else it is not."""
        held = self._held(call.began)
        possible = [trip for trip in held if trip is not None]
        if not possible:
            return "nothing had ever been handed out"
        if None in held and self._failed_first(call, possible):
            return "nothing had been handed out yet"
        now = time() + self.rules.slack
        doubtful = [trip for trip in possible if trip.dubious or trip.expires <= now]
        if not doubtful:
            self.book.accuse(f"{call.what}: raised {error!r}, and valid credentials were held")
            return "valid credentials were held"
        if any(trip.dubious or not trip.stamped for trip in doubtful):
            return "expired, and no stamp"
        since = min(trip.began for trip in possible)
        if any(trip.fatal and trip.ended > since for trip in self._trips):
            return "expired, and no retry can mend it"
        self.book.accuse(f"{call.what}: raised {error!r}, and stamped credentials were held")
        return "stamped credentials were held"

    def _failed_first(self, call: Call, loads: list[Trip]) -> bool:
        """Return whether a trip that this caller hears of may have failed before any of the loads was kept."""
        kept = min((trip.settled for trip in loads if not trip.dubious), default=inf)
        return any(
            self._may_fail(trip) and trip.ended < kept and (trip.fatal or trip.settled > call.began)
            for trip in self._trips
        )

    def _forgot(self, call: Call) -> bool:
        """Return whether so much has happened that nothing can be said; the counts show how often."""
        forgot = len(self._trips) == REMEMBERED and self._trips[0].ended > call.began
        self.book.counts["calls not judged"] += forgot
        return forgot

    def _held(self, began: int) -> list[Trip | None]:
        """The loads of which one was held at each moment since `began`; None where that may be nothing at all."""
        loads = [trip for trip in self._trips if trip.credentials is not None]
        for trip in loads:
            if trip.settled == inf and trip.loop.is_closed():
                trip.settled, trip.settled_at, trip.kept_after = trip.ended, trip.began_at, SETTING_OUT
        settled = [trip for trip in loads if trip.settled < began and not trip.dubious]
        if not settled:
            return [None, *loads]
        last = max(settled, key=lambda trip: trip.ended)
        return [trip for trip in loads if trip is last or trip.settled > last.began or _overtook(trip, last)]

    def _last_load(self) -> Trip | None:
        return next((trip for trip in reversed(self._trips) if trip.credentials is not None), None)

    # What the provider may ask.

    def _begin(self) -> Trip:
        loop = asyncio.get_running_loop()
        with self.book.lock:
            trip = Trip(loop, self.book.next(), perf_counter())
            self.book.counts["trips"] += 1
            if loop in self._aloft:
                self.book.accuse(f"{self.name}: two flights at once on one loop")
            if self.rules.calm:
                # Another loop may have set out before it could know how the last trip ended, but once only.
                last = next((trip for trip in reversed(self._trips) if not trip.cut), None)
                late = last is not None and last.loop is not loop and loop not in self._since
                if not late and (why_not := self._not_due(time())):
                    self.book.accuse(f"{self.name}: asked its source {why_not}")
            self._aloft.add(loop)
            self._since.add(loop)
        return trip

    def _end(self, trip: Trip, credentials: Credentials | None, error: BaseException | None) -> None:
        with self.book.lock:
            self._aloft.discard(trip.loop)
            trip.ended, trip.ended_at = self.book.next(), time()
            if isinstance(error, asyncio.CancelledError | GeneratorExit):
                self.book.counts["trips cancelled"] += 1
            else:
                self._since.clear()
                trip.failure = repr(error) if error is not None else self._fault_of(credentials, trip.ended_at)
                trip.fatal = _is_final(credentials, error)
                if trip.failure:
                    self._note_failure(trip)
                elif credentials is not None:
                    self._note_load(trip, credentials)
            self._trips.append(trip)
        if not trip.loop.is_closed():
            trip.loop.call_soon(self._settle, trip)

    def _fault_of(self, credentials: object, now: float) -> str:
        """Return the certain faults of what the source gave."""
        if not isinstance(credentials, Credentials):
            return f"{type(credentials).__name__} is no Credentials"
        known = any(trip.credentials for trip in self._trips)
        if end_of(credentials) <= now - self.rules.slack and (known or not credentials.may_outlive_expiry):
            return "handed out what had expired"
        return ""

    def _note_failure(self, trip: Trip) -> None:
        self.book.counts["trips failed"] += 1
        late = perf_counter() - trip.began_at > self.rules.patience
        if not late and not self.rules.excuse(trip.began):
            self.book.accuse(f"{self.name}: failed, and nothing was out of order: {trip.failure}")

    def _note_load(self, trip: Trip, credentials: Credentials) -> None:
        before = self._last_load()
        trip.credentials = credentials
        trip.expires = trip.latest = min(end_of(credentials), trip.ended_at + self.rules.expire_after)
        earlier = [other.expires for other in self._trips if other.credentials == credentials]
        trip.repeated = bool(earlier)
        trip.expires = min(trip.expires, *earlier, inf)  # if they were no good, they end when they did before
        trip.dubious = before is not None and end_of(credentials) <= trip.ended_at + self.rules.slack
        if trip.dubious or trip.repeated:
            return
        self._rejected = False
        if before is None:
            self.book.counts["first loads"] += 1
        else:
            self.book.counts["cycles"] += 1
            self.book.counts[f"cycles {self.rules.place}"] += 1
            self.book.counts[f"cycles {self.rules.place}: {self.name}"] += 1

    def _settle(self, trip: Trip) -> None:
        with self.book.lock:
            trip.settled, trip.settled_at = self.book.next(), perf_counter()
            trip.kept_after = max(time() - trip.ended_at, SETTING_OUT)
            if trip.credentials is not None and trip.expires <= time() + self.rules.slack:
                trip.dubious = True  # it may have expired on the last few steps

    def _may_fail(self, trip: Trip) -> bool:
        """Return whether a fetch that took part in this trip may have failed."""
        return trip.credentials is None or trip.dubious or trip.repeated

    def _not_due(self, now: float) -> str:
        """Why the source must not be asked now; empty when it may be. The numbers are those of the contract."""
        held = self._held(self.book.next())
        failures = [trip for trip in self._trips if trip.failure]
        # Of two that failed at once, on two loops, nobody knows of which the provider heard last.
        last: list[Trip | None] = [
            trip
            for trip in failures
            if trip is failures[-1] or (trip.settled > failures[-1].ended and not trip.loop.is_closed())
        ] or [None]
        reasons = [
            _too_soon(
                load,
                failure,
                now,
                rejected=self._rejected and load is not None,
                refused=load is not None and any(trip.fatal and trip.ended > load.began for trip in failures),
            )
            for load in held
            for failure in last
        ]
        return reasons[-1] if all(reasons) else ""


def _too_soon(load: Trip | None, failure: Trip | None, now: float, *, rejected: bool, refused: bool) -> str:
    """Why the source must not be asked now if this is what is held."""
    if load is not None and (load.dubious or load.repeated):
        return ""  # it may have counted as a load or as a failure
    if failure is not None and (load is None or failure.ended > load.ended):
        pause = _least_pause(load, failure, rejected=rejected, refused=refused)
        ends = load is not None and (refused or not load.stamped)
        over = load is not None and ends and not failure.fatal and now >= load.expires + 1
        if now < failure.ended_at + pause and not over:
            return f"{now - failure.ended_at:.1f} s after a failure, which calls for {pause:.1f} s"
    if load is None or rejected:
        return ""
    opening = load.expires - advisory_window(load.expires - load.ended_at)
    return "" if now >= opening else f"{opening - now:.1f} s before the advisory window"


def _overtook(trip: Trip, last: Trip) -> bool:
    """Return whether `trip` may be kept when `last` came, which had set out before but not got to its source."""
    near = trip.settled_at > last.began_at - SETTING_OUT
    return near and trip.loop is not last.loop and trip.expires > last.expires


def end_of(credentials: Credentials) -> float:
    """When credentials expire, in seconds since the epoch."""
    return inf if credentials.expiration is None else credentials.expiration.timestamp()


def advisory_window(lifetime: float) -> float:
    """Seconds before expiry from which on a refresh is due."""
    if lifetime <= 20 * 60:
        return min(5 * 60.0, lifetime / 2)
    return 15 * 60.0 if lifetime < 90 * 60 else 60 * 60.0


def _least_pause(load: Trip | None, failure: Trip, *, rejected: bool, refused: bool) -> float:
    """Seconds that a source is left alone after a failure."""
    if failure.fatal:
        return 1.0
    if load is None:
        return 0.0
    if load.stamped and not refused:
        return 300.0
    mandatory = load.expires - min(60.0, (load.expires - load.ended_at) / 4)
    if failure.ended_at >= load.expires:
        return 1.0
    if rejected or failure.ended_at >= mandatory:
        return 5.0
    return min(300.0, mandatory - failure.ended_at)


def _is_final(credentials: object, error: BaseException | None) -> bool:
    """Return whether a source failed for good: by a refusal, or by a mistake of the program."""
    if isinstance(error, CredentialsError):
        return not error.recoverable
    if error is None:
        return not isinstance(credentials, Credentials)
    return isinstance(error, ValueError | TypeError)
