"""Events of providers, for metrics and traces: refreshes, and callers who wait or get what is stale.

::

    from aiocreds.events import Event, Failed, listen


    def listener(event: Event) -> None:
        if isinstance(event, Failed):
            refreshes_failed.labels(event.provider, event.error_type).inc()


    stop = listen(listener)  # to all providers of this process
    stop = listen(listener, provider)  # to one

A listener is called in the thread, and on the loop, where the event happens, and that waits for it: a slow listener
delays whoever asked for credentials. What it raises is logged, once for each listener, and changes nothing else. A
call that is answered from memory with fresh credentials is no event.

`aiocreds.integrations.opentelemetry` and `aiocreds.integrations.prometheus` are listeners.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from contextlib import suppress
from datetime import datetime  # noqa: TC003 - who reads the hints of an event finds it
from typing import TYPE_CHECKING, Literal, NamedTuple

from aiocreds._core import provider as core
from aiocreds._core.provider import Provider
from aiocreds._core.singleflight import Unattended, current_call
from aiocreds.credentials import redact_key
from aiocreds.errors import CredentialsError, afresh, frames_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds._core.refresh import State
    from aiocreds._core.singleflight import SharedCall

__all__ = [
    "Event",
    "Failed",
    "GivenUp",
    "Invalidated",
    "ServedStale",
    "Started",
    "Succeeded",
    "Waited",
    "listen",
]

logger = logging.getLogger("aiocreds.events")


class Started(NamedTuple):
    """A source is asked. The listener runs in the ``contextvars`` context of the caller for whom it is asked.

    Attributes:
        provider: its name.
        origin: the provider itself.
        refresh: the number of this refresh in this process, as in the event of its end.
        background: no caller waits: it is refreshed ahead of expiry.
    """

    provider: str
    origin: Provider
    refresh: int
    background: bool


class Succeeded(NamedTuple):
    """A source has returned credentials, and they are kept.

    Attributes:
        provider: its name.
        origin: the provider itself.
        refresh: the number of this refresh in this process, as in the event of its start.
        duration: seconds since its start.
        expiration: of the credentials; None when they never expire.
        access_key_id: its last four characters.
        source: the ``provider`` of the credentials, such as ``imds``; None where a custom source set none.
    """

    provider: str
    origin: Provider
    refresh: int
    duration: float
    expiration: datetime | None
    access_key_id: str
    source: str | None


class Failed(NamedTuple):
    """A source has failed, or returned what cannot be used.

    Attributes:
        provider: its name.
        origin: the provider itself.
        refresh: the number of this refresh in this process, as in the event of its start.
        duration: seconds since its start.
        error_type: the name of the class of ``error``.
        error: what it failed with.
    """

    provider: str
    origin: Provider
    refresh: int
    duration: float
    error_type: str
    error: CredentialsError


class GivenUp(NamedTuple):
    """A refresh has ended and neither succeeded nor failed.

    Attributes:
        provider: its name.
        origin: the provider itself.
        refresh: the number of this refresh in this process, as in the event of its start.
        duration: seconds since its start.
        reason: ``cancelled``: everybody who waited for it was cancelled; ``unattended``: the source needs a person,
            and nobody waits.
    """

    provider: str
    origin: Provider
    refresh: int
    duration: float
    reason: Literal["cancelled", "unattended"]


class Invalidated(NamedTuple):
    """The credentials that are held were rejected by a service, or by the program; once for each set of them.

    Attributes:
        provider: its name.
        origin: the provider itself.
        access_key_id: its last four characters.
    """

    provider: str
    origin: Provider
    access_key_id: str


class ServedStale(NamedTuple):
    """A caller got credentials from memory that should have been replaced before.

    Attributes:
        provider: its name.
        origin: the provider itself.
        access_key_id: its last four characters.
        seconds_left: until they expire; negative after that; ``inf`` when they never do.
        reason: the first of these that is true. ``rejected``: a service has rejected them, and the source has not
            given others; ``expired``: their expiration has passed, and their service may accept them all the same;
            ``failing``: they are valid, and the last refresh has failed; ``slow``: they are valid, and the source
            takes longer than a caller waits.
    """

    provider: str
    origin: Provider
    access_key_id: str
    seconds_left: float
    reason: Literal["rejected", "expired", "failing", "slow"]


class Waited(NamedTuple):
    """A caller has waited for a source, however that ended.

    A provider that draws from this one is no caller.

    Attributes:
        provider: its name.
        origin: the provider itself.
        duration: seconds.
    """

    provider: str
    origin: Provider
    duration: float


Event = Started | Succeeded | Failed | GivenUp | Invalidated | ServedStale | Waited


def listen(listener: Callable[[Event], object], provider: Provider | None = None) -> Callable[[], None]:
    """Call a listener for each event from now on.

    Each call of this function adds one more. A provider holds its listeners, and what ``expire_after`` or pickle
    makes of it has none. A forked child inherits all.

    Args:
        listener: called with the event, in whatever thread that happens; what it returns is dropped.
        provider: to listen to this one, without those that it draws from; by default, to all of this process,
            those inside of chains and roles and those that do not exist yet included.

    Returns:
        a function that ends it; any thread may call it, as often as it likes.

    Raises:
        TypeError: the listener cannot be called, or is an ``async def``; ``provider`` is none.
    """
    _check(listener, provider)
    # Changed and copied in atomic steps: any thread may add listeners, and a fork must not meet a lock.
    entry = _Entry(listener)
    entries = _everywhere if provider is None else provider._listeners  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - its other half
    entries.append(entry)
    core.hook = _hook

    def stop() -> None:
        with suppress(ValueError):
            entries.remove(entry)

    return stop


def _check(listener: object, provider: object) -> None:
    """Raise TypeError for what is no listener, and for what is no provider."""
    name = getattr(listener, "__name__", type(listener).__name__)
    called = getattr(type(listener), "__call__", None)  # noqa: B004 - of an object that has one
    if inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(called):
        raise TypeError(f"listen() does not await the listener: write {name} as a plain `def`")
    if not callable(listener):
        raise TypeError(f"listen() takes a function of one argument, not {name}")
    if provider is not None and not isinstance(provider, Provider):
        raise TypeError(f"listen() takes a provider, not {type(provider).__name__}: was its factory not called?")


class _Entry:
    """One listener.

    Attributes:
        listener: to call.
        logged: what it raised is in the log.
    """

    __slots__ = ("listener", "logged")

    def __init__(self, listener: Callable[[Event], object]) -> None:
        self.listener = listener
        self.logged = False


class _Hook:
    """Makes the events of what happens in a provider; see ``Hook`` there."""

    __slots__ = ()

    def started(self, provider: Provider, call: SharedCall, *, background: bool) -> None:
        if entries := _entries(provider):
            call.number = next(_numbers)
            _tell(entries, Started(provider.name, provider, call.number, background))

    def ended(self, provider: Provider, call: SharedCall) -> None:
        if not (entries := _entries(provider)):
            return
        number = call.number or next(_numbers)  # nobody listened when it began
        duration = 0.0 if call.loop is None else max(call.loop.time() - call.started_at, 0.0)
        common = provider.name, provider, number, duration
        event: Event
        if (credentials := call.credentials) is not None:
            key = redact_key(credentials.access_key_id)
            event = Succeeded(*common, credentials.expiration, key, credentials.provider)
        elif isinstance(call.error, CredentialsError):
            event = Failed(*common, type(call.error).__name__, afresh(call.error))
        else:
            event = GivenUp(*common, "unattended" if isinstance(call.error, Unattended) else "cancelled")
        _tell(entries, event)

    def invalidated(self, provider: Provider, key: str) -> None:
        if entries := _entries(provider):
            _tell(entries, Invalidated(provider.name, provider, redact_key(key)))

    def served(self, provider: Provider, state: State, now: float, *, slow: bool = False) -> None:
        if not (entries := _entries(provider)) or state.credentials is None:
            return
        reason = _reason(state, now, slow=slow)
        if reason is not None:
            key, left = redact_key(state.credentials.access_key_id), state.expires_at - now
            _tell(entries, ServedStale(provider.name, provider, key, left, reason))

    def waited(self, provider: Provider, duration: float) -> None:
        if current_call() is None and (entries := _entries(provider)):
            _tell(entries, Waited(provider.name, provider, duration))


_everywhere: list[_Entry] = []
_numbers = itertools.count(1)
_hook = _Hook()


def _reason(state: State, now: float, *, slow: bool) -> Literal["rejected", "expired", "failing", "slow"] | None:
    if state.rejected:
        return "rejected"
    if now >= state.expires_at:
        return "expired"
    if state.error is not None:
        return "failing"
    return "slow" if slow else None


def _entries(provider: Provider) -> list[_Entry]:
    return [*_everywhere, *provider._listeners]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - its other half


def _tell(entries: list[_Entry], event: Event) -> None:
    for entry in entries:
        try:
            entry.listener(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - not of this task: a CancelledError is one of what it looked at
            _log(entry, error)


def _log(entry: _Entry, error: BaseException) -> None:
    """Log what a listener raised, once, without its text and values: they may hold anything."""
    if entry.logged:
        return
    entry.logged = True
    name = getattr(entry.listener, "__qualname__", type(entry.listener).__name__)
    logger.error("The listener %s failed, and is still called; this is logged once: %s", name, frames_of(error))
