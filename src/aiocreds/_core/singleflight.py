"""One trip to the source at a time, and those who wait for it. Knows nothing of AWS."""

from __future__ import annotations

import asyncio
import contextvars
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from aiocreds._base import tracing
from aiocreds._base.threads import belongings, runs_here, wake

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiocreds.credentials import Credentials
    from aiocreds.errors import CredentialsError


class Unattended(Exception):
    """Raised by a source that needs a person, when nobody waits for it."""


LONGEST_SHARED = 60.0  # seconds that a load on another loop is waited for
ECHO = 1.0  # seconds in which a loop that runs is heard of

_current: contextvars.ContextVar[Flight | None] = contextvars.ContextVar("aiocreds_flight", default=None)
GRACE = 1.0  # seconds that a source has to clean up once it is cancelled


def attended() -> bool:
    """Whether a caller waits for what this source does; False for a refresh behind callers."""
    flight = current_flight()
    return flight is None or flight.attended()


def current_flight() -> Flight | None:
    """The flight this code runs in, if any; a task that a source left behind runs in none."""
    flight = _current.get()
    return None if flight is None or flight.landed else flight


def note_role(name: str) -> None:
    """Say which role the credentials of this flight are of, to the log and to who explains."""
    flight = _current.get()
    if flight is not None:
        flight.role = name
    tracing.note_role(name)


class Brought(NamedTuple):
    """What a flight within another one brought, for the log.

    Attributes:
        key: the access key id.
        source: who gave it.
        role: which role it is of, where the source knows it.
    """

    key: str
    source: str
    role: str | None


class Flight:
    """One trip to the source on one loop, and those who wait for it.

    A detached task in a context of its own, so that neither the cancellation nor the context variables of
    whoever happened to come first reach the source.
    """

    __slots__ = (
        "__weakref__",
        "_landed",
        "_task",
        "_waiters",
        "_watchers",
        "credentials",
        "cut_short",
        "error",
        "first",
        "inner",
        "landed",
        "left_behind",
        "loop",
        "recalled",
        "record",
        "role",
        "since",
        "told",
    )

    def __init__(self, *, first: bool, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.first = first
        self.loop = loop
        self.landed = False
        self.told = False  # the log has heard of its failure
        self.recalled = False  # we ended it: nobody waited any more
        self.left_behind = False  # we ended it, and its source took no notice
        self.since = inf  # when it began, by its loop's clock
        self.cut_short = False  # its task was cancelled, most often by the end of its loop
        self.credentials: Credentials | None = None
        self.error: CredentialsError | Unattended | None = None
        self.record: tracing.Record | None = None  # where it is noted, if somebody explains
        self.role: str | None = None  # which its credentials are of
        self.inner: Brought | None = None  # by the latest flight within this one
        self._task: asyncio.Task[None] | None = None
        self._landed: Callable[[Flight], None] | None = None
        self._waiters: dict[asyncio.Future[None], Flight | None] = {}
        self._watchers: list[ref[asyncio.Future[None]]] = []  # on other loops, which are not held here

    def start(self, trip: Coroutine[Any, Any, None], name: str, landed: Callable[[Flight], None]) -> None:
        """Run the trip; when it has called :meth:`land`, or ends without, call ``landed`` and wake who waits."""
        self._landed = landed
        self.since = asyncio.get_running_loop().time()
        context = contextvars.Context()
        context.run(_current.set, self)
        if self.record is not None:
            tracing.carry(context, self.record)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(trip, name=f"aiocreds {name}", context=context)
        belongings(loop).add(self._task)  # which itself holds its tasks only weakly
        self._task.add_done_callback(self._cut_short)

    def _cut_short(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # asyncio has raised or logged it; here it counts as a failure
        self.land()

    def land(self) -> None:
        """Let everyone go, as the last act of the trip: its task's end would tell them a turn of the loop later."""
        task, landed = self._task, self._landed
        if task is None or landed is None or not runs_here(self.loop):
            return
        task.remove_done_callback(self._cut_short)
        belongings(task.get_loop()).discard(task)
        # Its context holds us, and we would hold it: only the cycle collector would free the credentials.
        self._task = self._landed = None
        self.landed = True
        landed(self)
        if self.record is not None:
            self.record.landed(self.credentials, self.error)
            self.record = None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        for known in self._watchers:
            if (watcher := known()) is not None:
                wake(watcher)

    def watch(self) -> asyncio.Future[None]:
        """Return a future of the running loop, another than this flight's, that ends when it has landed."""
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append(ref(watcher))
        if self.landed:  # perhaps before it could see us
            wake(watcher)
        return watcher

    async def landed_elsewhere(self) -> bool:
        """Wait for a flight on another loop, while that loop is heard of; return whether it has an outcome.

        A loop may end, be stopped or be blocked, by code that waits for us even; its tasks say nothing of it.
        """
        here, there = asyncio.get_running_loop(), self.loop
        watcher, give_up = self.watch(), here.time() + LONGEST_SHARED
        while not watcher.done() and there is not None and here.time() < give_up:
            echo: asyncio.Future[None] = here.create_future()
            try:
                there.call_soon_threadsafe(wake, echo)
            except RuntimeError:  # it was closed
                break
            await asyncio.wait([watcher], timeout=ECHO)
            if not echo.done():
                break
        return self.landed and not self.recalled and not self.cut_short

    def bring(self, key: str, source: str) -> Brought:
        """Return what this flight brings, and have those that wait for it know it."""
        inner = self.inner
        if inner is not None and inner.key == key:  # handed on, as a chain does
            brought = Brought(key, inner.source, self.role or inner.role)
        else:
            brought = Brought(key, source, self.role)
        for parent in self.parents:
            if parent is not None and parent is not BEHIND:
                parent.inner = brought
        return brought

    def join(self, *, behind: bool = False) -> asyncio.Future[None]:
        """Take a seat; to be given to :meth:`wait`. With ``behind``, nobody waits on the ground."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = BEHIND if behind else current_flight()
        return waiter

    async def wait(self, waiter: asyncio.Future[None], give_up: float = inf) -> None:
        """Wait for the landing. The last to leave a first load, or to be taken down itself, takes the trip down.

        Args:
            waiter: from :meth:`join`.
            give_up: when to leave while it goes on, by the loop's clock.
        """
        timer = None if give_up == inf else asyncio.get_running_loop().call_at(give_up, _let_go, waiter)
        try:
            if not self.landed:
                await waiter
        except asyncio.CancelledError:
            parent = self._waiters.pop(waiter)
            if not self._waiters and (self.first or (parent is not None and parent.recalled)):
                await self.cancel()
            raise
        else:
            del self._waiters[waiter]
        finally:
            if timer is not None:
                timer.cancel()

    async def cancel(self) -> None:
        """Stop the trip and wait until it has cleaned up; one that does not stop is left behind after a second."""
        task = self._task
        if task is not None and not task.done():
            self.recalled = True
            timer = asyncio.get_running_loop().call_later(GRACE, self._leave_behind, task)
            task.add_done_callback(lambda _: timer.cancel())
            task.cancel()
            await asyncio.wait([task], timeout=GRACE)

    def _leave_behind(self, task: asyncio.Task[None]) -> None:
        """Let everyone go while the trip still runs; what it may yet bring is kept by the provider."""
        if task is self._task:
            self.left_behind = True
            self.land()
            belongings(task.get_loop()).add(task)
            task.add_done_callback(_forget)

    def attended(self) -> bool:
        """Whether somebody on the ground waits, here or for a flight that waits for this one."""
        return None in self._above()

    def serves(self, other: Flight) -> bool:
        """Whether ``other`` waits, however far away, for this flight."""
        return other in self._above()

    def _above(self) -> set[Flight | None]:
        """All the flights that wait for this one, directly or not, and None if a caller does."""
        found: set[Flight | None] = set()
        ahead: list[Flight | None] = self.parents
        while ahead:
            flight = ahead.pop()
            if flight is not BEHIND and flight not in found:
                found.add(flight)
                ahead += flight.parents if flight is not None else ()
        return found

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for it but a keeper."""
        return any(parent is not BEHIND for parent in self.parents)

    @property
    def nested(self) -> bool:
        """Whether another flight waits for this one."""
        return any(parent is not None and parent is not BEHIND for parent in self.parents)

    @property
    def parents(self) -> list[Flight | None]:
        """The flights that wait for this one; None stands for a caller."""
        return list(self._waiters.values())


def _let_go(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _forget(task: asyncio.Task[None]) -> None:
    belongings(task.get_loop()).discard(task)
    if not task.cancelled():
        task.exception()  # asyncio has raised or logged it


BEHIND = Flight(first=False)
