"""A token that a person signed in for, in a JSON file that AWS CLI and the SDKs of all languages share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiocreds.config import json_file
from aiocreds.config.token_renewal import Memory, Renewal, Underway, on_hold, tell
from aiocreds.errors import afresh
from aiocreds.threads import on_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds.config.token_renewal import Token
    from aiocreds.context import Context

# Seconds: a token with more than ENOUGH left is used on when a new one has been waited for so long.
ENOUGH, PATIENCE = 60.0, 3.0


class TokenCache:
    """One cached token.

    Args:
        path: of its file.
        context: whose clock and HTTP session count; what goes on about the file is remembered there.
    """

    def __init__(self, path: str, context: Context) -> None:
        self.path = path
        self._context = context
        self._memory: Memory = context._renewals.setdefault(path, Memory())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us

    async def current(
        self,
        *,
        end: Callable[[Token], float],
        margin: float,
        renew: Callable[[Token], Awaitable[Token]],
        here: bool = False,
    ) -> Token | None:
        """The token, renewed first when it has little life left; None when there is none.

        One renewal at a time on a machine: the others wait for it and take what it brought. A renewal goes on
        when its caller is cancelled, since the token it brings may be the only good one left, and behind a caller
        who has waited long enough for a token that is still good. When it fails, such a token is used on. What a
        person does meanwhile, signing in or out, wins. Where the file cannot be written, the new token is kept in
        memory until it can.

        Args:
            end: when a token ends, in seconds since the epoch; -inf for one that is no good.
            margin: renew when there are no more than these, or than half of those that the last renewal brought.
            renew: gets a new token with the old one.
            here: does that with what lives on the running loop, such as a program's own middlewares. A renewal goes
                on when any other loop ends, and for some seconds past the end of the program.

        Raises:
            CredentialsError: what `renew` raised, when the old token is no good any more; or the file is none.
        """
        memory, now = self._memory, self._context.clock.now()
        token = memory.token_for(await json_file.read(self.path))
        if token is None:
            return None
        left, margin = end(token) - now, min(margin, memory.lifetime / 2)
        tell(self.path, end(token), now)
        if left > margin:
            if memory.unwritten is None or on_hold(memory.unwritten.again, now):
                return token
        elif memory.held is not None and token == memory.held.token and on_hold(memory.held.until, now):
            if left > 0:
                return token
            if not memory.held.error.recoverable:
                raise afresh(memory.held.error)
        renewal = self._shared(Renewal(self.path, self._context, memory, end, margin, renew), token, here=here)
        patience = renewal.since + PATIENCE - asyncio.get_running_loop().time()
        if not await renewal.wait(max(0.0, patience) if left > ENOUGH else None):
            return token
        return renewal.result()

    def _shared(self, renewal: Renewal, token: Token, *, here: bool) -> Underway:
        """The renewal under way, or a new one."""
        memory = self._memory
        if not here and memory.underway is not None and memory.underway.goes_on:
            return memory.underway
        loop = asyncio.get_running_loop()
        if (underway := on_loop(memory.renewals, loop)) is not None:
            return underway
        return Underway.begin(renewal, token, here=here)
