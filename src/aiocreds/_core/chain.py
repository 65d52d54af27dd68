"""chain(): the first source that has credentials wins, and why the others did not is remembered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, Self

from aiocreds._base import tracing
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import as_provider, picklable
from aiocreds._core.provider import Provider, failure_of
from aiocreds._core.singleflight import current_call
from aiocreds.credentials import Credentials
from aiocreds.errors import ChainExhausted, CredentialsError, afresh

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

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
    return Chain(members, context=context, inner=members)


class Chain(Provider):
    """A provider that asks others in order. It is the one cache: its members fetch, whatever they hold.

    Args:
        members: to ask.
        context: where the clock comes from.
        inner: the providers that it draws from, directly or by its members.
    """

    __slots__ = ("_members", "_winner")

    def __init__(
        self, members: Sequence[Provider | Entry], *, context: Context = DEFAULT, inner: Iterable[Provider]
    ) -> None:
        super().__init__(self._ask_members, name="chain", context=context, inner=inner)
        self._members = members
        self._winner: Provider | Entry | None = None

    def _copy(self) -> Self:
        return type(self)(self._members, context=self._context, inner=self._inner)

    async def _ask_members(self) -> Credentials:
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
                        names = [str(attempt.provider) for attempt in attempts]
                        error._asked_before = (*names, *error._asked_before)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - shown in its text
                    tracing.not_asked(other.name for other in self._members[number:])
                    raise
                logger.debug("%s: goes on after %s", self.name, str(error))
                attempts.append(afresh(error))
            else:
                self._winner = member
                tracing.not_asked(other.name for other in self._members[number:])
                return credentials
        raise ChainExhausted(f"no AWS credentials found. Tried in order:{_listed(attempts)}", attempts=attempts)


class Entry(NamedTuple):
    """A source as the member of a chain: asked in the chain's own call, without a task and a cache of its own."""

    name: str
    source: Callable[[], Awaitable[Credentials]]

    async def fetch(self) -> Credentials:
        """Return credentials from the source, now; nothing is kept here.

        Raises:
            CredentialsError: the source failed.
        """
        return await ask(self.source, name=self.name)


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
    except Exception as error:  # noqa: BLE001 - a user's callback may raise anything
        failure = failure_of(error, source, name)
        if isinstance(failure, CredentialsError):
            failure.provider = failure.provider or name
        raise failure from failure.__cause__
    call = current_call()
    if call is not None and isinstance(credentials, Credentials):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's may not be
        key = credentials.access_key_id
        if call.inner is None or call.inner[0] != key:  # else a source of this one has named itself
            call.inner = (key, name, call.role)
    return credentials


def _listed(attempts: Iterable[CredentialsError]) -> str:
    """Return the members' errors, a line for each."""
    return "".join(f"\n  - {attempt}" for attempt in attempts)
