"""Singleflight: one call of a source at a time, shared by all who wait for it. Knows nothing of AWS."""

from __future__ import annotations

import asyncio
import contextvars
from math import inf
from typing import TYPE_CHECKING
from weakref import ref

from aiocreds._base import tracing
from aiocreds._base.threads import belongings, runs_here, wake

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from aiocreds.credentials import Credentials
    from aiocreds.errors import CredentialsError

LONGEST_SHARED = 60.0  # seconds that a first load on another loop is waited for
ECHO = 1.0  # seconds within which a running loop answers
GRACE = 1.0  # seconds that a source has to clean up once it is cancelled

_current: contextvars.ContextVar[SharedCall | None] = contextvars.ContextVar("aiocreds_call", default=None)


class Unattended(Exception):
    """Raised by a source that needs a person, when no caller waits for it."""


def attended() -> bool:
    """Return whether a caller waits for what this source does; False in a background refresh."""
    call = current_call()
    return call is None or call.attended()


def current_call() -> SharedCall | None:
    """Return the shared call that this code runs in; None outside of one, and after its end."""
    call = _current.get()
    return None if call is None or call.done else call


def note_role(name: str) -> None:
    """Record which role the credentials of this call are of, for the log and for explain."""
    call = _current.get()
    if call is not None:
        call.role = name
    tracing.note_role(name)


class SharedCall:
    """One call of a source on one loop, and its waiters.

    It runs in a detached task with an empty ``contextvars`` context, so that neither the cancellation nor the
    context variables of the first waiter reach the source.

    Attributes:
        first_load: nothing was loaded when it began.
        loop: the loop that it runs on.
        started_at: when it began, by the loop's clock.
        done: it has an outcome, or was given up.
        cancelled: it was cancelled here, since nobody waited any more.
        abandoned: it was cancelled here, and its source did not stop.
        interrupted: its task was cancelled by others, most often by the end of its loop.
        logged: its failure is in the log.
        credentials: what it returned.
        error: what it failed with.
        role: the role that its credentials are of.
        inner: the access key id, the provider and the role that the latest call within this one returned.
        record: where `explain` records it, if it does.
        number: of this refresh in the process, for aiocreds.events; 0 without a listener.
    """

    __slots__ = (
        "__weakref__",
        "_load",
        "_on_done",
        "_task",
        "_waiters",
        "_watchers",
        "abandoned",
        "cancelled",
        "credentials",
        "done",
        "error",
        "first_load",
        "inner",
        "interrupted",
        "logged",
        "loop",
        "number",
        "record",
        "role",
        "started_at",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        load: Callable[[SharedCall], Coroutine[Any, Any, None]] | None = None,
        on_done: Callable[[SharedCall], None] | None = None,
        *,
        first_load: bool = False,
    ) -> None:
        self.first_load = first_load
        self.loop = loop
        self.started_at = inf
        self.done = False
        self.cancelled = False
        self.abandoned = False
        self.interrupted = False
        self.logged = False
        self.credentials: Credentials | None = None
        self.error: CredentialsError | Unattended | None = None
        self.role: str | None = None
        self.inner: tuple[str, str, str | None] | None = None
        self.record: tracing.Record | None = None
        self.number = 0
        self._load = load
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None
        self._waiters: dict[asyncio.Future[None], SharedCall | None] = {}  # and the call that each waits in
        self._watchers: list[ref[asyncio.Future[None]]] = []  # of other loops, which are not kept alive here

    def start(self, name: str) -> None:
        """Run ``load``; when it has called :meth:`finish`, or ends without, run ``on_done`` and wake waiters."""
        loop, load = self.loop, self._load
        if loop is None or load is None:
            return
        self._load = None
        self.started_at = loop.time()
        context = contextvars.Context()
        context.run(_current.set, self)
        if self.record is not None:
            tracing.carry(context, self.record)
        self._task = task = loop.create_task(load(self), name=f"aiocreds {name}", context=context)
        belongings(loop).add(task)  # the loop itself holds its tasks only weakly
        task.add_done_callback(self._finish_ended_task)

    def _finish_ended_task(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # asyncio has raised or logged it; here it counts as a failure
        self.finish()

    def finish(self) -> None:
        """Wake the waiters, as the last act of ``load``: its task ends a turn of the loop later."""
        task, on_done = self._task, self._on_done
        if task is None or on_done is None or not runs_here(self.loop):
            return
        task.remove_done_callback(self._finish_ended_task)
        belongings(task.get_loop()).discard(task)
        # The task's context refers to this call: a reference back would make a cycle that keeps the credentials.
        self._task = self._on_done = None
        self.done = True
        on_done(self)
        if self.record is not None:
            self.record.settle(self.credentials, self.error)
            self.record = None
        for waiter in self._waiters:
            _wake_here(waiter)
        for known in self._watchers:
            if (watcher := known()) is not None:
                wake(watcher)

    def join(self, *, background: bool = False) -> asyncio.Future[None]:
        """Register a waiter, which :meth:`wait` takes. With ``background`` it stands for no caller."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = BACKGROUND if background else current_call()
        return waiter

    async def wait(self, waiter: asyncio.Future[None], deadline: float = inf) -> None:
        """Wait for the outcome. The last waiter of a first load that is cancelled cancels it.

        So does the last waiter whose own call was cancelled.

        Args:
            waiter: from :meth:`join`.
            deadline: when to leave while it goes on, by the loop's clock.
        """
        timer = None if deadline == inf else asyncio.get_running_loop().call_at(deadline, _wake_here, waiter)
        try:
            if not self.done:
                await waiter
        except asyncio.CancelledError:
            outer = self._waiters.pop(waiter)
            if not self._waiters and (self.first_load or (outer is not None and outer.cancelled)):
                await self.cancel()
            raise
        else:
            del self._waiters[waiter]
        finally:
            if timer is not None:
                timer.cancel()

    async def wait_from_other_loop(self) -> bool:
        """Wait from another loop for as long as this call's loop responds; return whether there is an outcome.

        A loop may end, be stopped or be blocked, even by code that waits for this, and its tasks do not notice.
        """
        here = asyncio.get_running_loop()
        watcher: asyncio.Future[None] = here.create_future()
        self._watchers.append(ref(watcher))
        if self.done:  # perhaps before the watcher was there
            wake(watcher)
        deadline = here.time() + LONGEST_SHARED
        while not watcher.done() and self.loop is not None and here.time() < deadline:
            echo: asyncio.Future[None] = here.create_future()
            try:
                self.loop.call_soon_threadsafe(wake, echo)
            except RuntimeError:  # it was closed
                break
            await asyncio.wait([watcher], timeout=ECHO)
            if not echo.done():
                break
        return self.done and not self.cancelled and not self.interrupted

    async def cancel(self) -> None:
        """Cancel the task and wait until it has cleaned up; one that does not stop is abandoned after a second."""
        task = self._task
        if task is not None and not task.done():
            self.cancelled = True
            timer = asyncio.get_running_loop().call_later(GRACE, self._abandon, task)
            task.add_done_callback(lambda _: timer.cancel())
            task.cancel()
            await asyncio.wait([task], timeout=GRACE)

    def _abandon(self, task: asyncio.Task[None]) -> None:
        """Wake the waiters while the task still runs; the provider keeps what it may yet return."""
        if task is self._task:
            self.abandoned = True
            self.finish()
            belongings(task.get_loop()).add(task)
            task.add_done_callback(_forget)

    def source_of(self, key: str, provider: str) -> str:
        """Return the name of the provider within this call that returned an access key id, or ``provider``."""
        return self.inner[1] if self.inner is not None and self.inner[0] == key else provider

    def returned(self, key: str, provider: str) -> tuple[str, str, str | None]:
        """Return access key id, provider and role, and pass them to the calls that wait for this one."""
        if self.inner is not None and self.inner[0] == key:  # the credentials of an inner provider, as in a chain
            _, provider, role = self.inner
            result = key, provider, self.role or role
        else:
            result = key, provider, self.role
        for outer in self._calls_waiting():
            outer.inner = result
        return result

    def attended(self) -> bool:
        """Return whether a caller waits, for this call or for one that waits for it."""
        return None in self._ancestors()

    def is_awaited_by(self, other: SharedCall) -> bool:
        """Return whether ``other`` waits for this call, directly or not."""
        return other in self._ancestors()

    @property
    def wanted(self) -> bool:
        """Return whether anything but a background refresh waits for it."""
        return any(outer is not BACKGROUND for outer in self._waiters.values())

    @property
    def nested(self) -> bool:
        """Return whether another call waits for this one."""
        return bool(self._calls_waiting())

    def _calls_waiting(self) -> list[SharedCall]:
        return [outer for outer in self._waiters.values() if outer is not None and outer is not BACKGROUND]

    def _ancestors(self) -> set[SharedCall | None]:
        """Return the calls that wait for this one, directly or not, and None if a caller does."""
        found: set[SharedCall | None] = set()
        todo = list(self._waiters.values())
        while todo:
            outer = todo.pop()
            if outer is not BACKGROUND and outer not in found:
                found.add(outer)
                todo += outer._waiters.values() if outer is not None else ()  # noqa: SLF001 - of the same class
        return found


BACKGROUND = SharedCall()  # stands for the waiter of a background refresh


def _wake_here(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _forget(task: asyncio.Task[None]) -> None:
    belongings(task.get_loop()).discard(task)
    if not task.cancelled():
        task.exception()  # asyncio has raised or logged it
