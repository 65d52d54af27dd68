"""Asking a source as a part of another one: in its call, with nothing kept beside it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ParamSpec, cast

from aiocreds._base import tracing
from aiocreds._core.provider import Provider
from aiocreds._core.singleflight import Brought, Unattended, current_flight
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsError, foreign, frames_of, inmost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")
logger = logging.getLogger("aiocreds.provider")


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


def plain(factory: Callable[P, Provider]) -> Callable[P, Awaitable[Credentials]]:
    """Return the coroutine function that ``@credential_provider`` made a factory of."""
    decorated: Any = factory
    return cast("Callable[P, Awaitable[Credentials]]", decorated.__wrapped__)


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
    call = current_flight()
    if call is not None and isinstance(credentials, Credentials):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's may not be
        key = credentials.access_key_id
        if call.inner is None or call.inner.key != key:  # else a source of this one has named itself
            call.inner = Brought(key, name, call.role)
    return credentials
