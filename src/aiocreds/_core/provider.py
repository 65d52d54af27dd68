"""Provider: keeps the credentials of a source and refreshes them ahead of expiry, in one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from datetime import datetime, timedelta  # noqa: TC003 - FastAPI resolves the hints of RefreshStatus
from math import inf
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from aiocreds._base import tracing
from aiocreds._base.threads import belongings, loop_here, on_loop, put_on_loop, renew_after_fork, runs_here
from aiocreds._base.time import seconds
from aiocreds._core import refresh
from aiocreds._core.context import DEFAULT, Context, check_context, running_loop
from aiocreds._core.refresh import Action, State
from aiocreds._core.singleflight import SharedCall, Unattended, attended, current_call
from aiocreds.credentials import Credentials, redact_key
from aiocreds.errors import (
    CredentialsError,
    InvalidConfiguration,
    SourceUnavailable,
    afresh,
    foreign,
    frames_of,
    unwrap_group,
    with_notes,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Protocol
    from weakref import ref

    from aiocreds._core.pickling import Call

    class Hook(Protocol):
        """Is called for what happens in a provider, in the thread where it happens, without a lock."""

        def started(self, provider: Provider, call: SharedCall, *, background: bool) -> None:
            """A source is about to be asked."""

        def ended(self, provider: Provider, call: SharedCall) -> None:
            """A call of a source has an outcome, or was cancelled."""

        def invalidated(self, provider: Provider, key: str) -> None:
            """The access key id that is held counts as rejected."""

        def served(self, provider: Provider, state: State, now: float, *, slow: bool = False) -> None:
            """A caller gets what is held and due for a refresh; with ``slow``, that takes too long to wait for."""

        def waited(self, provider: Provider, duration: float) -> None:
            """A caller, or another provider, has waited so many seconds for a source."""


logger = logging.getLogger("aiocreds.provider")

LONGEST_SLEEP = 30.0  # seconds; a laptop that slept must notice soon after it wakes
SHORTEST_SLEEP = 1.0

hook: Hook | None = None  # set by aiocreds.events when the first listener is there


class RefreshStatus(NamedTuple):
    """The state of a provider, for readiness probes; reading it asks nothing of the source.

    Attributes:
        expiration: when the credentials count as expired; None when they never do or none are loaded.
        seconds_left: until then; negative after it; None where ``expiration`` is.
        loaded_at: when the source last returned credentials; None before the first time.
        last_error: what the last attempt failed with; None when it succeeded.
        successes: how often the source returned credentials.
        failures: how often it failed.
        next_attempt: when a failing source is asked again at the earliest.
        loaded: there are credentials that calls are served with, expired ones included where their service
            decides when they really end.
    """

    expiration: datetime | None
    seconds_left: float | None
    loaded_at: datetime | None
    last_error: CredentialsError | None
    successes: int
    failures: int
    next_attempt: datetime | None
    loaded: bool


class Provider:
    """Credentials from one source, kept fresh.

    ``await provider()`` returns the current :class:`Credentials`. The source is asked on the first call, then in
    the background from 5 to 60 minutes before expiry (by lifetime); callers wait only in the last minute. While it
    fails, credentials that are still valid, and those whose service may let them live on, are served.

    ``async with provider:`` also refreshes while nobody calls, and keeps the HTTP session open; enter it in a
    lifespan. A provider may be shared by several event loops and threads. One that a factory made is pickled and
    copied as the call of that factory, and made anew with nothing loaded. That is refused where an argument is a
    secret, a closure, or a context other than the default one.

    Args:
        source: a coroutine function without arguments that returns credentials.
        name: of the provider, in messages and logs.
        context: where its clock and HTTP session come from.
        inner: the providers it draws from; :meth:`invalidate` reaches them, and ``async with`` keeps their HTTP
            sessions open.
    """

    __slots__ = (
        "__weakref__",
        "_calls",
        "_clock",
        "_context",
        "_credentials",
        "_expire_after",
        "_fresh_until",
        "_inner",
        "_last_logged",
        "_lifespans",
        "_listeners",
        "_lock",
        "_made_by",
        "_source",
        "_state",
        "name",
    )

    def __init__(
        self,
        source: Callable[[], Awaitable[Credentials]],
        *,
        name: str,
        context: Context = DEFAULT,
        inner: Iterable[Provider] = (),
    ) -> None:
        check_context(context, f"{name}()")
        self.name = name
        self._source = source
        self._context = context
        self._inner = inner
        self._expire_after: float | None = None
        self._made_by: Call | None = None  # the call of a factory, for pickling
        self._clock = context.clock
        self._lock = threading.RLock()  # a signal handler may invalidate what it interrupts
        self._state = refresh.NOTHING_LOADED
        self._credentials: Credentials | None = None
        self._fresh_until = -inf
        self._last_logged = ""  # the text of the latest failure in the log
        self._calls: dict[int, ref[SharedCall]] = {}  # by the id of their loop, which keeps them alive
        self._lifespans: dict[int, ref[_Lifespan]] = {}
        self._listeners: list[Any] = []  # for aiocreds.events
        renew_after_fork(self)
        self._clock.follow(self)  # last: another thread may put the clock right at once

    async def __call__(self) -> Credentials:
        """Return the current credentials.

        Raises:
            CredentialsError: none could be had; its type says what kind of failure it was.
        """
        if time() < self._fresh_until:
            return self._credentials  # type: ignore[return-value]  # -inf while there are none
        return await self._resolve()

    if not TYPE_CHECKING:  # type checkers find the mistake by themselves, as long as they know nothing of this

        def __await__(self) -> NoReturn:
            """Say what to write instead.

            Raises:
                TypeError: always.
            """
            factory = "default_chain" if self.name == "chain" else self.name
            raise TypeError(
                f"{self.name} is a provider, and is called for its credentials: write `await provider()`, or in one"
                f" line with the call that makes it `await {factory}()()`"
            )

    async def get(self, *, min_ttl: float | timedelta = 0.0) -> Credentials:
        """Return credentials with at least ``min_ttl`` (seconds) of life left, if the source has such.

        The source is asked once when those held have less. If it returns some with less they are returned, and it
        is not asked again before the next refresh is due; so too when it fails while those held are still valid.
        Those held are also returned when the source takes more than 3 s.

        Raises:
            CredentialsError: none could be had.
        """
        wanted = seconds(min_ttl, "min_ttl")
        state, now = self._state, self._clock.now()
        if (
            state.expires_at - now >= wanted
            or refresh.backing_off(state, now)
            or (state.short is not None and wanted >= state.short and now < state.advisory_at)
        ):
            if (record := tracing.current()) is not None and now < state.advisory_at:
                held = record.begin(self.name)
                held.note("memory", kind="held")
                held.end(state.credentials)
            return await self()
        call = await self._wait()
        if call.credentials is not None:
            with self._lock:
                if self._state.expires_at - self._clock.now() < wanted:
                    short = self._state.short
                    self._state = self._state._replace(short=wanted if short is None else min(wanted, short))
        return self._result(call)

    async def fetch(self) -> Credentials:
        """Return credentials from the source, now. Waits for a call of it that is under way; the result is kept.

        Raises:
            CredentialsError: the source failed, whatever is held.
        """
        loop = running_loop()
        began = loop.time()
        try:
            call = await self._join()
        finally:
            if hook is not None:
                hook.waited(self, loop.time() - began)
        if call.credentials is None:
            raise _failure(call)
        return call.credentials

    def invalidate(self, credentials: Credentials | str | None = None) -> None:
        """Mark credentials as rejected by a service, so that the next call asks the source for others.

        Does nothing where others (by access key id) are held already. Reaches the providers that this one draws
        from. Safe from any thread. Where the rejected ones were loaded less than a minute ago, and in place of
        others that had been rejected, the source is left alone for 5 s first, and each time for twice as long.

        Args:
            credentials: the rejected ones, or their access key id; None means whatever is held.
        """
        self._reject(credentials.access_key_id if isinstance(credentials, Credentials) else credentials, log=True)

    def _reject(self, key: str | None, *, log: bool) -> None:
        with self._lock:
            before, now = self._state, self._clock.now()
            held = before.credentials
            rejected = held is not None and (key is None or key == held.access_key_id)
            if rejected:
                self._set_state(refresh.invalidated(before, now))
            after = self._state
        if hook is not None and held is not None and rejected and not before.rejected:
            hook.invalidated(self, held.access_key_id)
        if log and held is not None and after.next_attempt > max(before.next_attempt, now):
            log = False  # the inner providers would log the same
            again = after.replacements > 1
            logger.log(
                logging.DEBUG if again else logging.WARNING,
                "%s: a service rejected %s %.0f s after it was loaded, and the one before it likewise; it stays in"
                " use, and the source is asked again in %.0f s, later each time: look at the clocks of both, and at"
                " what is between them",
                self.name,
                redact_key(held.access_key_id),
                now - after.loaded_at,
                after.next_attempt - now,
            )
        elif held is not None and rejected and not before.rejected:
            logger.info("%s: invalidated %s: others are asked for", self.name, redact_key(held.access_key_id))
        for provider in self._inner:
            provider._reject(key, log=log)  # noqa: SLF001 - of the same class

    def expire_after(self, lifetime: float | timedelta) -> Self:
        """Return a provider of the same source whose credentials expire ``lifetime`` (seconds) after loading.

        Their ``expiration`` is that, or their own where it comes first.
        """
        copy = self._copy()
        copy._expire_after = seconds(lifetime, "expire_after")  # noqa: SLF001 - of the same class
        copy._made_by = self._made_by  # noqa: SLF001 - as above
        return copy

    @property
    def status(self) -> RefreshStatus:
        """Return the state of this provider, without asking the source."""
        state, now = self._state, self._clock.now()
        return RefreshStatus(
            expiration=refresh.date_of(state.expires_at),
            seconds_left=None if abs(state.expires_at) == inf else state.expires_at - now,
            loaded_at=refresh.date_of(state.loaded_at),
            last_error=state.error,
            successes=state.successes,
            failures=state.failures,
            next_attempt=refresh.date_of(state.next_attempt),
            loaded=refresh.usable(state, now),
        )

    async def __aenter__(self) -> Self:
        """Start loading, and refresh from now on even when nobody calls. Neither waits nor raises."""
        loop = running_loop()
        lifespan = on_loop(self._lifespans, loop)
        if lifespan is None:
            lifespan = _Lifespan(loop)
            put_on_loop(self._lifespans, loop, lifespan)
            belongings(loop).add(lifespan)
            for context in self._contexts():
                await lifespan.contexts.enter_async_context(context)
            lifespan.task = loop.create_task(self._refresh_when_due(), name=f"aiocreds {self.name} refresh")
        lifespan.entered += 1
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        loop = asyncio.get_running_loop()
        lifespan = on_loop(self._lifespans, loop)
        if lifespan is None:
            raise RuntimeError(f"{self.name} is left on a loop that it was not entered on")
        lifespan.entered -= 1
        if lifespan.entered:
            return
        del self._lifespans[id(loop)]
        belongings(loop).discard(lifespan)
        call = on_loop(self._calls, loop)
        try:
            if lifespan.task is not None:
                lifespan.task.cancel()
                await asyncio.wait([lifespan.task])
        finally:
            try:
                if call is not None and not call.wanted:
                    await call.cancel()
            finally:
                await lifespan.contexts.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        from aiocreds._core.pickling import make, refusal, why_not  # few programs send any

        if reason := why_not(self._made_by):
            raise refusal(self.name, reason)
        return make, (*(self._made_by or ()), self._expire_after)

    def __repr__(self) -> str:
        held = self._state.credentials
        return f"<Provider {self.name}: {redact_key(held.access_key_id) if held else 'nothing loaded'}>"

    def _copy(self) -> Self:
        return type(self)(self._source, name=self.name, context=self._context, inner=self._inner)

    def _contexts(self) -> list[Context]:
        found = [self._context]
        for provider in self._inner:
            inner = provider._contexts()  # noqa: SLF001 - of the same class
            found.extend(context for context in inner if context not in found)
        return found

    # Loading and refreshing.

    async def _resolve(self) -> Credentials:
        state, now = self._state, self._clock.now()
        action = refresh.decide(state, now)
        if action is Action.RAISE and state.error is not None:
            raise afresh(state.error)
        if action is Action.WAIT or state.credentials is None:
            return self._result(await self._wait())
        if now < state.advisory_at and not self._clock.offset:
            with self._lock:  # there is no offset any more: the fast path works again
                self._set_state(self._state)
        if action is Action.SERVE_AND_REFRESH and on_loop(self._calls, loop := running_loop()) is None:
            self._start(self._new_call(loop), background=True)
        if hook is not None and now >= state.advisory_at:
            hook.served(self, state, now)
        return state.credentials

    def _held(self) -> Credentials:
        """Return what is in memory, without waiting; start a refresh that is due, if a loop runs in this thread.

        Raises:
            InvalidConfiguration: nothing has been loaded yet.
            CredentialsError: the load failed, or what is held has expired.
        """
        state, now = self._state, self._clock.now()
        action = refresh.decide(state, now)
        loop = loop_here()
        due = action in (Action.SERVE_AND_REFRESH, Action.WAIT)
        if due and loop is not None and on_loop(self._calls, loop) is None:
            self._start(self._new_call(loop), background=True)
        if state.credentials is not None and (action is Action.SERVE or refresh.usable(state, now)):
            if hook is not None and now >= state.advisory_at:
                hook.served(self, state, now)
            return state.credentials
        if state.error is not None:
            raise afresh(state.error)
        why = "nothing has been loaded yet"
        if state.credentials is not None:
            why = "the credentials in memory have expired"
        raise InvalidConfiguration(
            f"{why}, and this call cannot wait: await the provider first, or enter it (`async with provider:`)",
            provider=self.name,
        )

    async def _wait(self) -> SharedCall:
        """Wait for a shared call; for a few seconds only, if there is something to serve meanwhile."""
        loop, call = running_loop(), None
        began, patience = loop.time(), refresh.patience(self._state, self._clock.now())
        try:
            call = await self._join(patience=patience)
            if not call.done and not refresh.usable(self._state, self._clock.now()):
                call = await self._join()  # it has expired meanwhile
            return call
        finally:
            if hook is not None and (call is None or call.done or began < call.started_at + patience):
                hook.waited(self, loop.time() - began)  # else it has taken too long before, and was not waited for

    def _result(self, call: SharedCall) -> Credentials:
        """Return what the call returned, else what is held and may still be served."""
        if call.credentials is not None:
            return call.credentials
        state = self._state
        if state.credentials is not None and (not call.done or refresh.usable(state, self._clock.now())):
            if isinstance(call.error, CredentialsError):
                self._log_failure(call, call.error)  # a call that waits for this one goes on and logs nothing
            if hook is not None:
                hook.served(self, state, self._clock.now(), slow=not call.done)
            return state.credentials
        raise _failure(call)

    async def _join(self, *, background: bool = False, patience: float = inf) -> SharedCall:
        """Wait for the shared call under way, or for a new one.

        With ``patience``, for no more seconds than that, and not for a call that has taken as long already.

        Raises:
            InvalidConfiguration: that call waits for the caller.
        """
        loop, share = running_loop(), True
        deadline = loop.time() + patience
        while True:
            call = on_loop(self._calls, loop)
            record, starts = tracing.current(), call is None
            if call is None:
                call = self._new_call(loop, share=share)
            else:
                caller = current_call()
                if caller is not None and (caller is call or caller.is_awaited_by(call)):
                    raise InvalidConfiguration(f"{self.name} draws its credentials from itself", provider=self.name)
                deadline = min(deadline, call.started_at + patience)
                if loop.time() >= deadline:
                    return call
            step = None if record is None else record.begin(self.name)
            if call.loop is not loop:
                if not await call.wait_from_other_loop():
                    share = call.done  # else its outcome is unknown
                    tracing.withdraw(record, step)
                    continue
            else:
                waiter = call.join(background=background)
                if starts:
                    call.record, step = step, None
                    self._start(call, background=background)
                await call.wait(waiter, deadline)
                if not call.done:
                    return call
            tracing.joined(step, call.credentials, call.error)
            if not (call.cancelled or (isinstance(call.error, Unattended) and not background and attended())):
                return call
            # It was cancelled, or ran unattended: this caller waits for the next one.

    def _new_call(self, loop: asyncio.AbstractEventLoop, *, share: bool = False) -> SharedCall:
        """Return a new call on this loop; with ``share``, a first load under way on another running loop."""
        with self._lock:
            first = self._state.credentials is None
            for known in list(self._calls.values()) if share and first else ():
                other = known()
                if other is not None and other.first_load and other.loop is not None and other.loop.is_running():
                    return other
            call = SharedCall(loop, self._load, self._call_done, first_load=first)
            put_on_loop(self._calls, loop, call)
        return call

    def _start(self, call: SharedCall, *, background: bool) -> None:
        if hook is not None:
            hook.started(self, call, background=background)
        call.start(self.name)

    async def _load(self, call: SharedCall) -> None:
        """Call the source and keep what it returns, or how it failed."""
        loads = self._state.successes
        try:
            returned: Any = self._source()  # a user's own may return anything
            if not inspect.isawaitable(returned):
                raise _no_coroutine(returned)
            credentials = await returned
            if not isinstance(credentials, Credentials):
                raise _no_credentials(credentials)
            call.credentials = self._keep(call, credentials, loads)
        except Unattended as unattended:
            self._decline(call, unattended)
        except CredentialsError as error:
            self._fail(call, error)
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise  # _call_done handles it when the task has ended
        except BaseException as error:  # noqa: BLE001 - a user's own source may raise anything
            failure = failure_of(error, self._source, self.name)
            if isinstance(failure, Unattended):
                self._decline(call, failure)
            else:
                self._fail(call, failure)
        call.finish()

    def _call_done(self, call: SharedCall) -> None:
        loop = asyncio.get_running_loop()
        if on_loop(self._calls, loop) is call:
            del self._calls[id(loop)]
        if call.credentials is None and call.error is None and not call.cancelled:
            call.interrupted = True
            call.logged = True  # most often because a loop is ending
            self._fail(call, SourceUnavailable("was cancelled from inside, or by the end of its loop"))
        if hook is not None:
            hook.ended(self, call)

    def _decline(self, call: SharedCall, unattended: Unattended) -> None:
        """Keep what is held: the source needs a person, and nobody waits."""
        call.error = unattended.with_traceback(None)
        with self._lock:
            self._set_state(refresh.declined(self._state))

    def _keep(self, call: SharedCall, credentials: Credentials, loads: int) -> Credentials:
        """Keep what the source returned, unless it is unusable or another loop was faster.

        Args:
            call: the call of the source.
            credentials: what it returned.
            loads: how many there had been when it began.
        """
        with self._lock:
            before, now = self._state, self._clock.now()
            held = before.credentials
            after = refresh.loaded(before, credentials, now, expire_after=self._expire_after)
            if credentials.expiration is not None and credentials.expiration.timestamp() <= now:
                if held is not None or not credentials.may_outlive_expiry:
                    raise SourceUnavailable(
                        f"handed out credentials that expired at {credentials.expiration:%Y-%m-%d %H:%M:%S} UTC;"
                        f" if that is not long ago, check this machine's clock",
                        provider=call.source_of(credentials.access_key_id, self.name),
                    )
                after = refresh.loaded_expired(after, now)
            elif held is not None and before.rejected and held.access_key_id == credentials.access_key_id:
                raise SourceUnavailable(
                    f"handed out {redact_key(held.access_key_id)} again, which a service has rejected",
                    provider=call.source_of(credentials.access_key_id, self.name),
                )
            elif (
                held is not None
                and before.successes != loads
                and before.expires_at > after.expires_at
                and not before.rejected
            ):
                return held
            self._set_state(after)
        if logger.isEnabledFor(logging.INFO):
            self._log_load(call, before, after)
        return after.credentials or credentials

    def _fail(self, call: SharedCall, error: CredentialsError) -> None:
        """Keep and log the failure; that of an inner provider is logged by the outermost one."""
        if not runs_here(call.loop):  # the loop was dropped in the middle
            return
        error = call.error = afresh(error)
        if error.provider is None:
            error.provider = self.name
        if call.abandoned:
            return  # its waiters have left
        with self._lock:
            first = self._state.credentials is None
            self._set_state(refresh.failed(self._state, error, self._clock.now()))
        if not call.nested and not (first and attended()):  # else it is raised to a caller
            self._log_failure(call, error)

    def _set_state(self, state: State) -> None:
        # Credentials first: other threads read _fresh_until, then these.
        self._credentials = state.credentials
        self._state = state
        # With an offset, each call checks that the wall clock has not been set since.
        self._fresh_until = -inf if self._clock.offset else state.advisory_at

    def _clock_changed(self) -> None:
        with self._lock:
            self._set_state(self._state)

    def _after_fork(self) -> None:
        """Forget, in a forked child, what other threads held or had under way."""
        self._lock = threading.RLock()
        self._calls = {}

    async def _refresh_when_due(self) -> None:
        """Refresh in the background, even when nobody calls."""
        pause = SHORTEST_SLEEP
        while True:
            state, now = self._state, self._clock.now()
            due = max(state.advisory_at, state.next_attempt if refresh.backing_off(state, now) else -inf) - now
            if due > 0:
                await asyncio.sleep(min(due, LONGEST_SLEEP))
                continue
            call = await self._join(background=True)
            # Slower than callers retry a failing source, since nobody waits here.
            pause = SHORTEST_SLEEP if call.error is None else min(pause * 2, LONGEST_SLEEP)
            await asyncio.sleep(refresh.spread(pause / 2, pause))

    def _log_load(self, call: SharedCall, before: State, after: State) -> None:
        """Log what was loaded, in detail only where an inner provider loaded it."""
        held, new = before.credentials, after.credentials
        if new is None:
            return
        level = logging.DEBUG if call.nested else logging.INFO
        if before.error is not None:
            logger.log(level, "%s: recovered", self.name)
        _, source, role = call.returned(new.access_key_id, self.name)
        until = refresh.date_of(after.expires_at)
        parts = (
            redact_key(new.access_key_id) + (f" from {source}" if source != self.name else ""),
            new.account_id and f"account {new.account_id}",
            role and f"role {role}",
            "without an end" if until is None else f"until {until:%Y-%m-%d %H:%M:%S} UTC",
        )
        loaded = ", ".join(filter(None, parts))
        if held is None:
            logger.log(level, "%s: loaded %s", self.name, loaded)
        else:
            logger.log(level, "%s: refreshed %s: now %s", self.name, redact_key(held.access_key_id), loaded)

    def _log_failure(self, call: SharedCall, error: CredentialsError) -> None:
        if call.logged:
            return
        call.logged = True
        level, text = logging.WARNING if error.recoverable else logging.ERROR, with_notes(error)
        if self._state.credentials is None and text == self._last_logged:
            level = logging.DEBUG  # a first load is tried again and again
        self._last_logged = text
        consequence = _consequence(self._state, self._clock.now())
        if "\n" in text:
            logger.log(level, "%s: %s", consequence, text)
        else:
            logger.log(level, "%s%s %s", text, "" if text.endswith("?") else ".", consequence)


class _Lifespan:
    """The background refresh that ``async with`` started on one loop.

    Attributes:
        loop: that loop.
        entered: how often it was entered.
        contexts: keeps their HTTP sessions open.
        task: refreshes in the background.
    """

    __slots__ = ("__weakref__", "contexts", "entered", "loop", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.entered = 0
        self.contexts = contextlib.AsyncExitStack()
        self.task: asyncio.Task[None] | None = None


def declined(provider: Provider) -> bool:
    """Return whether the source needs a person and nobody waited the last time it was called."""
    return provider._state.declined  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of the class above


def failure_of(
    error: BaseException, source: Callable[[], Awaitable[Credentials]], name: str
) -> CredentialsError | Unattended:
    """Return what a caller gets for an exception of a user's own source; its traceback is logged at DEBUG."""
    if isinstance(inner := unwrap_group(error), Unattended):
        return inner
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s: %s", name, frames_of(error))
    return foreign(error, source)


def _no_coroutine(returned: object) -> SourceUnavailable:
    """Return the error for a source that is no coroutine function."""
    return SourceUnavailable(
        f"returned {type(returned).__name__} where a coroutine is awaited: write the source as `async def`",
        recoverable=False,
    )


def _no_credentials(returned: object) -> SourceUnavailable:
    """Return the error for a source that returns something else than credentials."""
    remedy = ""
    if returned is None:
        remedy = ": does it lack a return?"
    elif isinstance(returned, Provider):
        remedy = ": await that provider, and return what it gives"
    elif isinstance(returned, dict):
        remedy = ": make one of it, Credentials(access_key_id=…, secret_access_key=…, session_token=…)"
    name = type(returned).__name__  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of any dict
    return SourceUnavailable(f"returned {name}, not aiocreds.Credentials{remedy}", recoverable=False)


def _failure(call: SharedCall) -> CredentialsError | Unattended:
    return afresh(call.error) if isinstance(call.error, CredentialsError) else Unattended()


def _consequence(state: State, now: float) -> str:
    """Return what a failed refresh means for the callers, for the log."""
    if state.credentials is None:
        return "No credentials yet"
    key = redact_key(state.credentials.access_key_id)
    again = f"next attempt in {max(state.next_attempt - now, 0):.0f} s"
    if not refresh.usable(state, now):
        return f"{key} has expired and is no longer served; {again}"
    if now >= state.expires_at:
        return f"{key} has expired, but its service may still accept it, so it stays in use; {again}"
    if state.expires_at == inf:
        left = "for as long as it is accepted"
    elif state.credentials.may_outlive_expiry and refresh.usable(state, inf):
        left = f"for {state.expires_at - now:.0f} s more, and if need be on past its expiration"
    else:
        left = f"for {state.expires_at - now:.0f} s more"
    return f"{key} is served {left}; {again}"
