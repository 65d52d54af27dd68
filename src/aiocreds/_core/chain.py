"""chain(): the first source that has credentials wins, and why the others did not is remembered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from aiocreds._base import tracing
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.provider import Provider, provided_by, remembering_the_call
from aiocreds.errors import ChainExhausted, CredentialsError, afresh

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiocreds.credentials import Credentials

logger = logging.getLogger("aiocreds.chain")


@remembering_the_call
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
    members = [provided_by(member, taker="a chain") for member in providers]
    if context is None:
        context = members[0]._context  # noqa: SLF001 - it is one of us  # pyright: ignore[reportPrivateUsage]
    return Chain(members, context=context)


class Chain(Provider):
    """What :func:`chain` returns. It is the one cache: its members are asked to fetch, whatever they hold."""

    __slots__ = ("_members", "_winner")

    def __init__(self, members: list[Provider], *, context: Context = DEFAULT, name: str = "chain") -> None:
        super().__init__(self._walk, name=name, context=context, inner=members)
        self._members = members
        self._winner: Provider | None = None

    def _twin(self) -> Self:
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


def _listed(attempts: Iterable[CredentialsError]) -> str:
    """What each member said, a line for each."""
    return "".join(f"\n  - {attempt}" for attempt in attempts)
