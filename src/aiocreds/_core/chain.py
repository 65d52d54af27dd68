"""chain(): the first source that has credentials wins, and why the others did not is remembered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from aiocreds._base import tracing
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import as_provider, picklable
from aiocreds._core.provider import Provider
from aiocreds._core.singleflight import Unattended, current_call
from aiocreds.credentials import Credentials
from aiocreds.errors import ChainExhausted, CredentialsError, afresh, foreign, frames_of, inmost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

logger = logging.getLogger("aiocreds.chain")


@picklable
def chain(*providers: Provider | Callable[[], Awaitable[Credentials]], context: Context | None = None) -> Provider:
    """A provider that asks each of ``providers`` in order until one has credentials.

    Only ``CredentialsNotFound`` (or an error with ``try_next_link=True``) goes on to the next: a source that is
    configured but fails stops the chain, since going on would run the program as somebody else; a note on its error
    says why those before it gave nothing. A refresh asks the member that won; the others come into play again once
    its credentials have expired.

    Args:
        providers: providers, or any ``async () -> Credentials``.
        context: where the clock comes from; by default the first provider's.

    Raises:
        ValueError: no provider was given.
        TypeError: something else was given than a provider: ``from_env`` instead of ``from_env()``, for one.
    """
    if not providers:
        raise ValueError("chain() needs at least one provider")
    members = [as_provider(member, taker="a chain") for member in providers]
    if context is None:
        context = members[0]._context  # noqa: SLF001 - it is one of us  # pyright: ignore[reportPrivateUsage]
    return Chain(members, context=context)


class Chain(Provider):
    """A provider that asks others in order. It is the one cache: its members fetch, whatever they hold."""

    __slots__ = ("_members", "_winner")

    def __init__(self, members: list[Provider], *, context: Context = DEFAULT, name: str = "chain") -> None:
        super().__init__(self._walk, name=name, context=context, inner=members)
        self._members = members
        self._winner: Provider | None = None

    def _copy(self) -> Self:
        return type(self)(self._members, context=self._context, name=self.name)

    async def _walk(self) -> Credentials:
        if self._winner is not None and self._clock.now() < self._state.expires_at:
            tracing.note("memory", self._winner.name, kind="winner")
            return await self._winner.fetch()
        attempts: list[CredentialsError] = []
        for number, member in enumerate(self._members, 1):
            try:
                credentials = await member.fetch()
            except CredentialsError as error:
                if not error.try_next_link:
                    if attempts:
                        error.add_note(f"Asked before it in the chain:{_listed(attempts)}")
                    tracing.not_asked(other.name for other in self._members[number:])
                    raise
                logger.debug("%s: goes on after %s", self.name, str(error))
                attempts.append(afresh(error))
            else:
                self._winner = member
                tracing.not_asked(other.name for other in self._members[number:])
                return credentials
        raise ChainExhausted(f"no AWS credentials found. Tried in order:{_listed(attempts)}", attempts=attempts)


class Entry(Provider):
    """A member of a chain that is asked in the chain's own call, without a task and a cache of its own.

    ``invalidate`` and ``async with`` of the chain reach what it draws from, as with any member.
    """

    __slots__ = ()

    async def fetch(self) -> Credentials:
        """Return credentials from the source, now; nothing is kept here.

        Raises:
            CredentialsError: the source failed.
        """
        return await ask(self._source, name=self.name)


async def ask(source: Callable[[], Awaitable[Credentials]], *, name: str) -> Credentials:
    """Return what a source gives to the call that this runs in.

    Args:
        source: a coroutine function without arguments.
        name: what messages, the log and explain call it.

    Raises:
        CredentialsError: the source failed; whatever else it raised is the ``__cause__``.
    """
    record = tracing.current()
    if record is None:
        return await _asked(source, name)
    step = record.begin(name)
    try:
        with tracing.recording(step):
            credentials = await _asked(source, name)
    except Exception as error:
        step.end(error=error)
        raise
    step.end(credentials)
    return credentials


async def _asked(source: Callable[[], Awaitable[Credentials]], name: str) -> Credentials:
    try:
        credentials = await source()
    except CredentialsError as error:
        error.provider = error.provider or name
        raise
    except Unattended:
        raise
    except Exception as error:  # noqa: BLE001 - a user's callback may raise anything
        if isinstance(inner := inmost(error), Unattended):
            raise inner from None
        logger.debug("%s: %s", name, frames_of(error))
        wrapped = foreign(error, source)
        wrapped.provider = wrapped.provider or name
        raise wrapped from wrapped.__cause__
    call = current_call()
    if call is not None and isinstance(credentials, Credentials):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's may not be
        key = credentials.access_key_id
        if call.inner is None or call.inner[0] != key:  # else a source of this one has named itself
            call.inner = (key, name, call.role)
    return credentials


def _listed(attempts: Iterable[CredentialsError]) -> str:
    """Return the members' errors, a line for each."""
    return "".join(f"\n  - {attempt}" for attempt in attempts)
