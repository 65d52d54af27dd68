"""A token that a person signed in for, in a JSON file that AWS CLI and the SDKs of all languages share."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from aiocreds import trace
from aiocreds.config import json_file
from aiocreds.config.file_lock import locked
from aiocreds.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from aiocreds.context import Context

logger = logging.getLogger("aiocreds.config.token_cache")

Token = dict[str, Any]

HOLD = 30.0  # seconds that a renewal which failed is left alone while the token is still good


@dataclass(slots=True, repr=False)
class Memory:
    """What this process knows about a cached token besides its file.

    Attributes:
        renewals: those under way, by loop.
        held_until: when one that failed may be tried again.
        unwritten: a token that the file could not be made to hold, and what the file holds instead.
    """

    renewals: dict[asyncio.AbstractEventLoop, asyncio.Task[Token | None]] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType] - annotated
    held_until: float = -inf
    unwritten: tuple[Token, Token] | None = None


class TokenCache:
    """One cached token.

    Args:
        path: of its file.
        context: whose clock counts; what goes on about the file is remembered there.
    """

    def __init__(self, path: str, context: Context) -> None:
        self.path = path
        self._clock = context.clock
        self._memory: Memory = context.renewals.setdefault(path, Memory())

    async def read(self) -> Token | None:
        """The token; None when the file is missing, or holds no JSON object.

        Raises:
            InvalidConfiguration: this user may not read the file.
        """
        token = await json_file.read(self.path)
        if self._memory.unwritten is not None and token == self._memory.unwritten[1]:
            return self._memory.unwritten[0]
        return token

    async def current(
        self, *, life: Callable[[Token], float], margin: float, renew: Callable[[Token], Awaitable[Token]]
    ) -> Token | None:
        """The token, renewed first when it has little life left; None when there is none.

        One renewal at a time on a machine: the others wait for it and take what it brought. A renewal goes on
        when its caller is cancelled, since the token it brings may be the only good one left. When it fails, a
        token that is still good is used on. Where the file cannot be written, the new token is kept in memory.

        Args:
            life: seconds that a token has left.
            margin: renew when there are no more than these.
            renew: gets a new token with the old one.

        Raises:
            CredentialsError: what `renew` raised, when the old token is no good any more.
        """
        token = await self.read()
        if token is not None and trace.current() is not None:
            self._tell(life(token))
        if token is None or life(token) > margin:
            return token
        if life(token) > 0 and 0 < self._memory.held_until - self._clock.now() <= HOLD:
            return token
        renewal = self._shared(partial(self._renew, token, life, margin, renew))
        await asyncio.wait([renewal])
        try:
            return renewal.result()
        except CredentialsError as error:
            raise error.afresh() from None

    def _tell(self, left: float, word: str = "") -> None:
        """Say what the file holds, to who explains."""
        if left == -inf:
            trace.note(self.path, "holds no token that says when it ends")
            return
        end = datetime.fromtimestamp(self._clock.now() + left, UTC)
        verb = word or ("ends at" if left > 0 else "ended at")
        trace.note(self.path, f"{verb} {end:%Y-%m-%d %H:%M} UTC")
        trace.note_end(end)

    def _shared(self, renew: Callable[[], Coroutine[Any, Any, Token | None]]) -> asyncio.Task[Token | None]:
        """The renewal under way on this loop, or a new one."""
        loop, renewals = asyncio.get_running_loop(), self._memory.renewals
        for other in list(renewals):  # other threads add theirs meanwhile
            if other.is_closed():
                renewals.pop(other, None)
        task = renewals.get(loop)
        if task is None:

            def ended(task: asyncio.Task[Token | None]) -> None:
                renewals.pop(loop, None)
                if not task.cancelled():
                    task.exception()  # whoever still waits raises it

            context = trace.carry(contextvars.Context())
            task = loop.create_task(renew(), name="aiocreds token renewal", context=context)
            renewals[loop] = task
            task.add_done_callback(ended)
        return task

    async def _renew(
        self,
        seen: Token,
        life: Callable[[Token], float],
        margin: float,
        renew: Callable[[Token], Awaitable[Token]],
    ) -> Token | None:
        async with locked(self.path.removesuffix(".json") + ".lock") as lock:
            token = await self.read()
            if token is None or life(token) > margin or (token != seen and life(token) > 0):
                return token  # another process was faster
            try:
                fresh = json_file.Document(await renew(token))
            except CredentialsError as error:
                other = await self.read()  # so may one have been that takes no lock, such as AWS CLI
                if other is not None and other != token and life(other) > 0:
                    return other
                if (left := life(token)) <= 0:
                    raise
                self._memory.held_until = self._clock.now() + HOLD
                level = logging.WARNING if error.recoverable else logging.ERROR
                logger.log(level, "%s. The token in %s is used on for %.0f s", error, self.path, left)
                return token
            if trace.current() is not None:
                self._tell(life(fresh), "renewed until")
            loop, write = asyncio.get_running_loop(), partial(self._write, fresh, token)
            await asyncio.shield(loop.run_in_executor(None, lock.during, write))
            return fresh

    def _write(self, token: Token, old: Token) -> None:
        """Put a token into the file; keep it in memory if that cannot be."""
        memory = self._memory
        try:
            json_file.replace(self.path, token)
            memory.unwritten = None
        except OSError as error:
            in_file = memory.unwritten[1] if memory.unwritten is not None and old == memory.unwritten[0] else old
            memory.unwritten = token, in_file
            logger.warning(
                "The renewed sign-in cannot be kept in %s (%s): other programs may have to sign in again; let this"
                " user write there",
                self.path,
                (error.strerror or type(error).__name__).lower(),
            )


def time_of(value: object) -> float:
    """A time as AWS CLI writes it, in seconds since the epoch; -inf for what is none."""
    try:
        time = datetime.fromisoformat(value.replace("UTC", "Z") if isinstance(value, str) else "")
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return -inf


def utc(at: float, pattern: str = "%Y-%m-%d %H:%M UTC") -> str:
    """A time in seconds since the epoch as text."""
    return datetime.fromtimestamp(at, UTC).strftime(pattern)


def when(value: object, now: float) -> str:
    """When something ends or ended, as the rest of a sentence."""
    at = time_of(value)
    if at == -inf:
        return "does not say when it ends"
    return f"{'ended' if at <= now else 'ends'} at {utc(at)}"
