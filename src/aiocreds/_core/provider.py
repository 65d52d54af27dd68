"""Provider: keeps what a source gave, refreshes it ahead of expiry, one flight at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import threading
from datetime import UTC, datetime, timedelta
from math import inf
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, ParamSpec, Self

from aiocreds._base import tracing
from aiocreds._base.threads import belongings, on_loop, put_on_loop, renew_after_fork, runs_here
from aiocreds._base.time import seconds
from aiocreds._core import refresh
from aiocreds._core.context import DEFAULT, Context, running_loop
from aiocreds._core.refresh import Action, State
from aiocreds._core.singleflight import Brought, Flight, Unattended, attended, current_flight
from aiocreds.credentials import Credentials, redact_key
from aiocreds.errors import (
    CredentialsError,
    InvalidConfiguration,
    SourceUnavailable,
    afresh,
    foreign,
    frames_of,
    inmost,
    with_notes,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from weakref import ref

    from aiocreds._core.pickling import Call

P = ParamSpec("P")
logger = logging.getLogger("aiocreds.provider")

LONGEST_SLEEP = 30.0  # a laptop that slept must notice soon after it wakes
SHORTEST_SLEEP = 1.0


class RefreshStatus(NamedTuple):
    """How a provider fares, without asking anything of its source: all that a readiness probe needs.

    Attributes:
        expiration: when the credentials count as expired; None when they never do or none are loaded.
        seconds_left: until then; negative after it; None where ``expiration`` is.
        loaded_at: when the source last gave credentials; None before the first time.
        last_error: what the last attempt failed with; None when it succeeded.
        successes: how often the source gave credentials.
        failures: how often it failed.
        next_attempt: when a failing source is asked again at the earliest.
        loaded: whether there are credentials that calls are served with: those that have expired are, too, where
            their service decides when they really end. What a readiness probe answers.
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

    ``await provider()`` gives the current :class:`Credentials`. The source is asked on the first call, then
    behind the callers from 5 to 60 minutes before expiry (by lifetime), and in front of them only in the last
    minute. While it fails, credentials that are still valid, and those whose service may let them live on, are
    served.

    ``async with provider:`` also refreshes while nobody calls, and keeps the HTTP session open; enter it in a
    lifespan. A provider may be shared by several event loops and threads. One that a factory made goes to another
    process, pickled, as that call, and is made anew there, with nothing loaded; so does a copy. That is refused
    where an argument is a secret, a closure, or a context other than the default one.

    Args:
        source: a coroutine function without arguments that goes and gets credentials.
        name: what messages call it.
        context: where its clock and HTTP session come from.
        inner: the providers it draws from; :meth:`invalidate` reaches them, and entering holds their sessions.
    """

    __slots__ = (
        "__weakref__",
        "_call",
        "_clock",
        "_complaint",
        "_context",
        "_credentials",
        "_expire_after",
        "_flights",
        "_fresh_until",
        "_inner",
        "_keepers",
        "_lock",
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
        self.name = name
        self._source = source
        self._context = context
        self._inner = inner
        self._expire_after: float | None = None
        self._call: Call | None = None
        self._clock = context.clock
        self._lock = threading.RLock()  # a signal handler may invalidate what it interrupts
        self._state = refresh.NOTHING
        self._credentials: Credentials | None = None
        self._fresh_until = -inf
        self._complaint = ""  # what the log was last told
        self._flights: dict[int, ref[Flight]] = {}  # by the id of their loop, to which they belong
        self._keepers: dict[int, ref[_Keeper]] = {}
        renew_after_fork(self)
        self._clock.follow(self)  # last: another thread may put the clock right at once

    async def __call__(self) -> Credentials:
        """The current credentials.

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
            raise TypeError(
                f"{self.name} is a provider, and is called for its credentials: write `await provider()`, or in one"
                " line with the call that makes it `await default_chain()()`"
            )

    async def get(self, *, min_ttl: float | timedelta = 0.0) -> Credentials:
        """Credentials with at least ``min_ttl`` (seconds) of life left.

        Has less, then the source is asked once. If even that gives less it is returned, and the source not
        asked again before the next refresh is due; so too when it fails while what is held is still valid. What
        is held is also returned when the source takes more than 3 s; it is not waited for any longer.

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
        flight = await self._wait()
        if flight.credentials is not None:
            with self._lock:
                if self._state.expires_at - self._clock.now() < wanted:
                    short = self._state.short
                    self._state = self._state._replace(short=wanted if short is None else min(wanted, short))
        return self._outcome(flight)

    async def fetch(self) -> Credentials:
        """Credentials from the source, now; joins a flight under way. What it brings is kept.

        Raises:
            CredentialsError: the source failed, whatever is held.
        """
        flight = await self._fly()
        if flight.credentials is None:
            raise _reason(flight)
        return flight.credentials

    def invalidate(self, credentials: Credentials | str | None = None) -> None:
        """Say that a service rejected these credentials: the next call asks the source for others.

        Does nothing where others (by access key id) are held already. Reaches the providers that this one draws
        from. Safe from any thread. Where the rejected ones were loaded less than a minute ago, and in place of
        others that had been rejected, the source is left alone for 5 s first, and each time for twice as long.

        Args:
            credentials: the rejected ones, or their access key id; None means whatever is held.
        """
        self._reject(credentials.access_key_id if isinstance(credentials, Credentials) else credentials, tell=True)

    def _reject(self, key: str | None, *, tell: bool) -> None:
        with self._lock:
            before, now = self._state, self._clock.now()
            held = before.credentials
            rejected = held is not None and (key is None or key == held.access_key_id)
            if rejected:
                self._keep(refresh.invalidated(before, now))
            after = self._state
        if tell and held is not None and after.next_attempt > max(before.next_attempt, now):
            tell = False  # what it draws from has the same to say
            again = after.replacements > 1
            logger.log(
                logging.DEBUG if again else logging.WARNING,
                "%s: a service rejected %s %.0f s after it was loaded, and the one before it likewise; it is served"
                " on, and the source is asked again in %.0f s, later each time: look at the clocks of both, and at"
                " what is between them",
                self.name,
                redact_key(held.access_key_id),
                now - after.loaded_at,
                after.next_attempt - now,
            )
        elif held is not None and rejected and not before.rejected:
            logger.info("%s: invalidated %s: others are asked for", self.name, redact_key(held.access_key_id))
        for provider in self._inner:
            provider._reject(key, tell=tell)  # noqa: SLF001 - it is one of us

    def expire_after(self, lifetime: float | timedelta) -> Self:
        """A provider of the same source whose credentials expire ``lifetime`` (seconds) after loading.

        They are handed out with that ``expiration``, or with their own where it comes first.
        """
        twin = self._twin()
        twin._expire_after = seconds(lifetime, "expire_after")  # noqa: SLF001 - it is one of us
        twin._call = self._call  # noqa: SLF001 - as above
        return twin

    @property
    def status(self) -> RefreshStatus:
        """How it fares; costs nothing."""
        state, now = self._state, self._clock.now()
        return RefreshStatus(
            expiration=_when(state.expires_at),
            seconds_left=None if abs(state.expires_at) == inf else state.expires_at - now,
            loaded_at=_when(state.loaded_at),
            last_error=state.error,
            successes=state.successes,
            failures=state.failures,
            next_attempt=_when(state.next_attempt),
            loaded=refresh.usable(state, now),
        )

    async def __aenter__(self) -> Self:
        """Start loading and refresh from now on even when nobody calls. Neither waits nor raises."""
        loop = running_loop()
        keeper = on_loop(self._keepers, loop)
        if keeper is None:
            keeper = _Keeper(loop)
            put_on_loop(self._keepers, loop, keeper)
            belongings(loop).add(keeper)
            for context in self._contexts():
                await keeper.leases.enter_async_context(context)
            keeper.task = loop.create_task(self._keep_fresh(), name=f"aiocreds {self.name} keeper")
        keeper.entered += 1
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        loop = asyncio.get_running_loop()
        keeper = on_loop(self._keepers, loop)
        if keeper is None:
            raise RuntimeError(f"{self.name} is left on a loop that it was not entered on")
        keeper.entered -= 1
        if keeper.entered:
            return
        del self._keepers[id(loop)]
        belongings(loop).discard(keeper)
        flight = on_loop(self._flights, loop)
        try:
            await keeper.stop()
        finally:
            try:
                if flight is not None and not flight.wanted:
                    await flight.cancel()
            finally:
                await keeper.leases.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        from aiocreds._core.pickling import make, refusal, why_not  # few programs send any

        if reason := why_not(self._call):
            raise refusal(self.name, reason)
        return make, (*(self._call or ()), self._expire_after)

    def _remember(self, factory: Callable[..., Provider], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Know the call that made it, which can be made anew elsewhere."""
        self._call = factory, args, kwargs

    def __repr__(self) -> str:
        held = self._state.credentials
        return f"<Provider {self.name}: {redact_key(held.access_key_id) if held else 'nothing loaded'}>"

    def _rearm(self) -> None:
        """Take the clock's offset into account anew."""
        with self._lock:
            self._keep(self._state)

    def _after_fork(self) -> None:
        """In a forked child: what other threads held or had under way is not there."""
        self._lock = threading.RLock()
        self._flights = {}

    def _twin(self) -> Self:
        return type(self)(self._source, name=self.name, context=self._context, inner=self._inner)

    def _contexts(self) -> list[Context]:
        found = [self._context]
        for provider in self._inner:
            inner = provider._contexts()  # noqa: SLF001 - it is one of us
            found.extend(context for context in inner if context not in found)
        return found

    # From here on: the flight.

    async def _resolve(self) -> Credentials:
        state, now = self._state, self._clock.now()
        action = refresh.decide(state, now)
        if action is Action.RAISE and state.error is not None:
            raise afresh(state.error)
        if action is Action.WAIT or state.credentials is None:
            return self._outcome(await self._wait())
        if now < state.advisory_at and not self._clock.offset:
            with self._lock:  # an offset is held no more: from now on, a look at the wall clock will do again
                self._keep(self._state)
        if action is Action.SERVE_AND_REFRESH:
            self._depart()
        return state.credentials

    async def _wait(self) -> Flight:
        """Wait for a flight; where there is something to serve meanwhile, only for so long, and let it go on."""
        flight = await self._fly(patience=refresh.patience(self._state, self._clock.now()))
        if not flight.landed and not refresh.usable(self._state, self._clock.now()):
            flight = await self._fly()  # that has ended just now
        return flight

    def _outcome(self, flight: Flight) -> Credentials:
        """What the flight brought; failing that, what is held and may still be served."""
        if flight.credentials is not None:
            return flight.credentials
        state = self._state
        if state.credentials is not None and (not flight.landed or refresh.usable(state, self._clock.now())):
            if isinstance(flight.error, CredentialsError):
                self._tell(flight, flight.error)  # a flight that waits above us goes on and has nothing to tell
            return state.credentials
        raise _reason(flight)

    def _depart(self) -> None:
        """Start a flight that nobody waits for, unless one is under way."""
        loop = running_loop()
        if on_loop(self._flights, loop) is None:
            self._start(self._announce(loop))

    async def _fly(self, *, behind: bool = False, patience: float = inf) -> Flight:
        """Join the flight under way or start one, and wait for its landing.

        With ``patience``, for no more seconds than that, and not for a flight that has taken as long already.
        """
        loop, share = running_loop(), True
        give_up = loop.time() + patience
        while True:
            flight = on_loop(self._flights, loop)
            record, starts = tracing.current(), flight is None
            if flight is None:
                flight = self._announce(loop, share=share)
            else:
                self._refuse_circle(flight)
                give_up = min(give_up, flight.since + patience)
                if loop.time() >= give_up:
                    return flight
            step = None if record is None else record.begin(self.name)
            if flight.loop is not loop:
                if not await flight.landed_elsewhere():
                    share = flight.landed  # else nobody knows what becomes of it
                    tracing.withdraw(record, step)
                    continue
            else:
                waiter = flight.join(behind=behind)
                if starts:
                    flight.record, step = step, None
                    self._start(flight)
                await flight.wait(waiter, give_up)
                if not flight.landed:
                    return flight
            tracing.joined(step, flight.credentials, flight.error)
            if not (flight.recalled or (isinstance(flight.error, Unattended) and not behind and attended())):
                return flight
            # It ended before it could serve us: the next one starts with us among its waiters.

    def _refuse_circle(self, flight: Flight) -> None:
        """Check that a flight does not wait for itself.

        Raises:
            InvalidConfiguration: it does.
        """
        above = current_flight()
        if above is not None and (above is flight or above.serves(flight)):
            raise InvalidConfiguration(f"{self.name} draws its credentials from itself", provider=self.name)

    def _announce(self, loop: asyncio.AbstractEventLoop, *, share: bool = False) -> Flight:
        """Return a new flight of this loop; to ``share``, a first load that is under way on another that runs."""
        with self._lock:
            first = self._state.credentials is None
            for known in list(self._flights.values()) if share and first else ():
                other = known()
                if other is not None and other.first and other.loop is not None and other.loop.is_running():
                    return other
            flight = Flight(first=first, loop=loop)
            put_on_loop(self._flights, loop, flight)
        return flight

    def _start(self, flight: Flight) -> None:
        flight.start(self._trip(flight), self.name, self._landed)

    def _landed(self, flight: Flight) -> None:
        loop = asyncio.get_running_loop()
        if on_loop(self._flights, loop) is flight:
            del self._flights[id(loop)]
        if flight.credentials is None and flight.error is None and not flight.recalled:
            flight.cut_short = True
            flight.told = True  # the log is spared: most often a loop is ending
            self._fail(flight, SourceUnavailable("was cancelled from inside, or by the end of its loop"))

    async def _trip(self, flight: Flight) -> None:
        departed = self._state.successes
        try:
            asked: Any = self._source()  # a user's own may give anything
            if not inspect.isawaitable(asked):
                raise _no_coroutine(asked)
            credentials = await asked
            if not isinstance(credentials, Credentials):
                raise _no_credentials(credentials)
            flight.credentials = self._land(flight, credentials, departed)
        except Unattended as unattended:
            self._decline(flight, unattended)
        except CredentialsError as error:
            self._fail(flight, error)
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise  # what becomes of the flight is settled when its task has ended
        except BaseException as error:  # noqa: BLE001 - a user's own source may raise anything; a caller sees our tree alone
            if isinstance(inner := inmost(error), Unattended):
                self._decline(flight, inner)
            else:
                if logger.isEnabledFor(logging.DEBUG):
                    logger.debug("%s: %s", self.name, frames_of(error))
                self._fail(flight, foreign(error, self._source))
        flight.land()

    def _decline(self, flight: Flight, unattended: Unattended) -> None:
        """Keep what is held: the source needs a person, and nobody waits."""
        flight.error = unattended.with_traceback(None)
        with self._lock:
            self._keep(refresh.declined(self._state))

    def _land(self, flight: Flight, credentials: Credentials, departed: int) -> Credentials:
        """Keep what the source gave, unless it is no better than nothing or another loop was faster."""
        with self._lock:
            before, now = self._state, self._clock.now()
            held = before.credentials
            after = refresh.loaded(before, credentials, now, expire_after=self._expire_after)
            if credentials.expiration is not None and credentials.expiration.timestamp() <= now:
                if held is not None or not credentials.may_outlive_expiry:
                    raise SourceUnavailable(
                        f"handed out credentials that expired at {credentials.expiration:%Y-%m-%d %H:%M:%S} UTC;"
                        f" if that is not long ago, check this machine's clock"
                    )
                after = refresh.born_expired(after, now)
            elif held is not None and before.rejected and held.access_key_id == credentials.access_key_id:
                raise SourceUnavailable(
                    f"handed out {redact_key(held.access_key_id)} again, which a service has rejected"
                )
            elif (
                held is not None
                and before.successes != departed
                and before.expires_at > after.expires_at
                and not before.rejected
            ):
                return held
            self._keep(after)
        if logger.isEnabledFor(logging.INFO):
            self._tell_loaded(flight, before, after)
        return after.credentials or credentials

    def _tell_loaded(self, flight: Flight, before: State, after: State) -> None:
        """Tell the log what was loaded; what an inner provider loaded is a detail."""
        held, new = before.credentials, after.credentials
        if new is None:
            return
        level = logging.DEBUG if flight.nested else logging.INFO
        if before.error is not None:
            logger.log(level, "%s: recovered", self.name)
        brought = flight.bring(new.access_key_id, self.name)
        told = _description(new, brought, self.name, after.expires_at)
        if held is None:
            logger.log(level, "%s: loaded %s", self.name, told)
        else:
            logger.log(level, "%s: refreshed %s: now %s", self.name, redact_key(held.access_key_id), told)

    def _fail(self, flight: Flight, error: CredentialsError) -> None:
        """Remember the failure and tell the log, once: an inner provider's tale is told by the outermost."""
        if not runs_here(flight.loop):  # which was dropped in the middle
            return
        error = flight.error = afresh(error)
        if error.provider is None:
            error.provider = self.name
        if flight.left_behind:
            return  # how it ends is of no interest any more
        with self._lock:
            first = self._state.credentials is None
            self._keep(refresh.failed(self._state, error, self._clock.now()))
        if not flight.nested and not (first and attended()):  # else the caller hears it
            self._tell(flight, error)

    def _tell(self, flight: Flight, error: CredentialsError) -> None:
        if flight.told:
            return
        flight.told = True
        level, text = logging.WARNING if error.recoverable else logging.ERROR, with_notes(error)
        if self._state.credentials is None and text == self._complaint:
            level = logging.DEBUG  # a first load is tried again and again
        self._complaint = text
        consequence = _consequence(self._state, self._clock.now())
        if "\n" in text:
            logger.log(level, "%s: %s", consequence, text)
        else:
            logger.log(level, "%s. %s", text, consequence)

    def _keep(self, state: State) -> None:
        # Credentials first: a reader in another thread looks at _fresh_until, then at them.
        self._credentials = state.credentials
        self._state = state
        # With an offset, each caller looks whether the wall clock is still the one that it was measured against.
        self._fresh_until = -inf if self._clock.offset else state.advisory_at

    async def _keep_fresh(self) -> None:
        """Refresh when due, whoever calls."""
        pause = SHORTEST_SLEEP
        while True:
            state, now = self._state, self._clock.now()
            due = max(state.advisory_at, state.next_attempt if refresh.backing_off(state, now) else -inf) - now
            if due > 0:
                await asyncio.sleep(min(due, LONGEST_SLEEP))
                continue
            flight = await self._fly(behind=True)
            # Callers may press a failing source harder; nobody waits here.
            pause = SHORTEST_SLEEP if flight.error is None else min(pause * 2, LONGEST_SLEEP)
            await asyncio.sleep(refresh.spread(pause / 2, pause))


class _Keeper:
    """What ``async with`` started on one loop."""

    __slots__ = ("__weakref__", "entered", "leases", "loop", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.entered = 0
        self.leases = contextlib.AsyncExitStack()
        self.task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])


def credential_provider(source: Callable[P, Awaitable[Credentials]]) -> Callable[P, Provider]:
    """Make a factory of providers out of a coroutine function that gets credentials.

    ::

        @credential_provider
        async def from_vault(path: str) -> Credentials: ...

        provider = from_vault("aws/creds/app")

    The factory has the signature of the function and checks its arguments at once. Inside it, raise
    ``CredentialsNotFound("why")`` to let a chain go on, any other error to stop it. An argument ``context``
    gives the provider its :class:`Context`; arguments that are providers are reached by ``invalidate``.

    Raises:
        TypeError: ``source`` is not a coroutine function.
    """
    if not inspect.iscoroutinefunction(source):
        raise TypeError(f"@credential_provider needs an `async def`, not {source!r}")
    signature = inspect.signature(source)

    @functools.wraps(source)
    def factory(*args: P.args, **kwargs: P.kwargs) -> Provider:
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError:
            source(*args, **kwargs).close()  # raises the same in Python's own words, which name the function
            raise
        context: Any = arguments.get("context")
        provider = Provider(
            functools.partial(source, *args, **kwargs),
            name=source.__name__,
            context=context if isinstance(context, Context) else DEFAULT,
            inner=tuple(value for value in arguments.values() if isinstance(value, Provider)),
        )
        provider._remember(factory, args, kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us
        return provider

    factory.__signature__ = signature.replace(return_annotation="Provider")  # type: ignore[attr-defined]  # for help()
    return factory


def remembering_the_call(factory: Callable[P, Provider]) -> Callable[P, Provider]:
    """Have what a factory makes know how it was made, so that another process can make it anew."""

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> Provider:
        provider = factory(*args, **kwargs)
        provider._remember(make, args, kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us
        return provider

    return make


def provided_by(
    source: Provider | Callable[[], Awaitable[Credentials]], *, taker: str, context: Context = DEFAULT
) -> Provider:
    """The provider that a program gives, or one of the async function that it gives instead.

    Args:
        source: either of them.
        taker: who takes it, for messages.
        context: of a provider that is made here.

    Raises:
        TypeError: it is neither: a factory that was not called, for one, or what an async function returned.
    """
    if isinstance(source, Provider):
        return source
    name = getattr(source, "__name__", type(source).__name__)
    given: Any = source
    if inspect.iscoroutine(given):
        given.close()  # Python would warn that nobody awaited it
        if name == "__call__":
            raise TypeError(f"{taker} takes the provider itself: write provider, not provider()")
        raise TypeError(f"{taker} takes the async function itself: write {name}, not {name}()")
    signature = getattr(source, "__signature__", None)  # as credential_provider leaves it
    if getattr(source, "__module__", "").startswith("aiocreds.sources.") or (
        isinstance(signature, inspect.Signature) and signature.return_annotation == "Provider"
    ):
        raise TypeError(f"{taker} takes providers: write {name}(), not {name}")
    if not callable(source):
        raise TypeError(f"{taker} takes a provider or an async function, not {name}")
    provider = Provider(source, name=name, context=context)
    made_by: dict[str, Any] = {"taker": taker, "context": context}
    provider._remember(provided_by, (source,), made_by)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us
    return provider


def declined(provider: Provider) -> bool:
    """Return whether its source needs a person, and nobody waited the last time it was asked."""
    return provider._state.declined  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is one of us


def _no_coroutine(asked: object) -> SourceUnavailable:
    """What to raise for a source that is no coroutine function."""
    return SourceUnavailable(
        f"returned {type(asked).__name__} where a coroutine is awaited: write the source as `async def`",
        recoverable=False,
    )


def _no_credentials(given: object) -> SourceUnavailable:
    """What to raise for a source that gives something else than credentials."""
    remedy = ""
    if given is None:
        remedy = ": does it lack a return?"
    elif isinstance(given, Provider):
        remedy = ": await that provider, and return what it gives"
    elif isinstance(given, dict):
        remedy = ": make one of it, Credentials(access_key_id=…, secret_access_key=…, session_token=…)"
    name = type(given).__name__  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of any dict
    return SourceUnavailable(f"returned {name}, not aiocreds.Credentials{remedy}", recoverable=False)


def _reason(flight: Flight) -> CredentialsError | Unattended:
    if isinstance(flight.error, CredentialsError):
        return afresh(flight.error)
    return Unattended()


def _description(credentials: Credentials, brought: Brought, name: str, expires_at: float) -> str:
    """What the log says of credentials."""
    until = _when(expires_at)
    parts = (
        redact_key(credentials.access_key_id) + (f" from {brought.source}" if brought.source != name else ""),
        credentials.account_id and f"account {credentials.account_id}",
        brought.role and f"role {brought.role}",
        "without an end" if until is None else f"until {until:%Y-%m-%d %H:%M:%S} UTC",
    )
    return ", ".join(filter(None, parts))


def _consequence(state: State, now: float) -> str:
    """What a failed refresh means for the callers."""
    if state.credentials is None:
        return "No credentials yet"
    key = redact_key(state.credentials.access_key_id)
    again = f"next attempt in {max(state.next_attempt - now, 0):.0f} s"
    if not refresh.usable(state, now):
        return f"{key} has expired and is no longer served; {again}"
    if now >= state.expires_at:
        return f"{key} has expired, but its service may still accept it and it is served on; {again}"
    if state.expires_at == inf:
        left = "for as long as it is accepted"
    elif state.credentials.may_outlive_expiry and refresh.usable(state, inf):
        left = f"for {state.expires_at - now:.0f} s more, and if need be on past its expiration"
    else:
        left = f"for {state.expires_at - now:.0f} s more"
    return f"{key} is served {left}; {again}"


def _when(at: float) -> datetime | None:
    try:
        return None if abs(at) == inf else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):  # so far away that no calendar has it
        return None
