"""A token that a person signed in for, in a JSON file that AWS CLI and the SDKs of all languages share."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

from aiocreds import trace
from aiocreds.config import json_file
from aiocreds.config.token_renewal import Memory, Renewal, Underway, on_hold, tell
from aiocreds.errors import CredentialsError, afresh

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
        self, *, end: Callable[[Token], float], margin: float, renew: Callable[[Token], Awaitable[Token]]
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
        renewal = self._shared(Renewal(self.path, self._context, memory, end, margin, renew), token)
        patience = renewal.since + PATIENCE - asyncio.get_running_loop().time()
        await asyncio.wait([renewal.task], timeout=max(0.0, patience) if left > ENOUGH else None)
        if not renewal.task.done():
            return token
        if isinstance(error := renewal.task.exception(), CredentialsError):
            raise afresh(error)
        return renewal.task.result()

    def _shared(self, renewal: Renewal, token: Token) -> Underway:
        """The renewal under way on this loop, or a new one."""
        loop, renewals = asyncio.get_running_loop(), self._memory.renewals
        for other in list(renewals):  # other threads add theirs meanwhile
            if other.is_closed():
                renewals.pop(other, None)
        if (underway := renewals.get(loop)) is not None:
            return underway

        def ended(task: asyncio.Task[Token | None]) -> None:
            renewals.pop(loop, None)
            if not task.cancelled():
                task.exception()  # whoever still waits raises it

        task = loop.create_task(
            renewal.run(token), name="aiocreds token renewal", context=trace.carry(contextvars.Context())
        )
        task.add_done_callback(ended)
        renewals[loop] = Underway(task, loop.time())
        return renewals[loop]
