"""A token that a person signed in for, in a JSON file that AWS CLI and the SDKs of all languages share."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from math import inf
from random import uniform
from threading import Thread
from typing import TYPE_CHECKING, Any
from weakref import ref

from aiocreds._base import threads, tracing
from aiocreds._base.redaction import SecretDict
from aiocreds._base.threads import belongings, on_loop, put_on_loop, renew_after_fork, wake
from aiocreds._base.time import moment, utc
from aiocreds._token_cache import program_end, storage
from aiocreds._token_cache.lock import released
from aiocreds._token_cache.storage import OthersFolder
from aiocreds.errors import CredentialsError, LoginRequired, ServiceRefused, afresh, foreign, frames_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.context import Context
    from aiocreds._token_cache.lock import FileLock

logger = logging.getLogger("aiocreds.token_cache")

Token = dict[str, Any]

HOLD = 30.0  # seconds that what failed is left alone: a renewal while the token is still good, a write
REFUSED = 1.0, 5.0  # seconds that a refusal for good is left alone, at random
LOOKS, PAUSE = 10, 0.1  # seconds; for what somebody else has got, and has not yet written


class Underway:
    """A renewal that goes on whoever waits for it.

    It runs on a loop and in a thread of its own, so that it does not end with the loop of who began it: a refresh
    token works once, and the answer to it has to reach the file.

    Attributes:
        since: when it began, by the clock that loops go by.
        loop: whose it is instead, where it needs that; see :meth:`begin`.
    """

    __slots__ = ("__weakref__", "_outcome", "_watchers", "loop", "since")

    def __init__(self, since: float, loop: asyncio.AbstractEventLoop | None) -> None:
        self.since = since
        self.loop = loop
        self._outcome: tuple[Token | None, BaseException | None] | None = None
        self._watchers: list[ref[asyncio.Future[None]]] = []
        renew_after_fork(self)

    def _after_fork(self) -> None:
        """In a forked child, where nothing of it goes on."""
        self._outcome = None, asyncio.CancelledError()

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return self._outcome is None

    @classmethod
    def begin(cls, renewal: Renewal, token: Token, *, here: bool) -> Underway:
        """Begin a renewal.

        Args:
            renewal: what it takes.
            token: the one to be renewed.
            here: on the running loop, since things of the program's that live there are needed.
        """
        loop, carrier = asyncio.get_running_loop(), tracing.carry(contextvars.Context())
        if not here:
            program_end.stand_before_signals()
            self = renewal.memory.underway = cls(loop.time(), None)
            thread = Thread(
                target=self._live,
                args=(renewal, token, carrier, ref(loop)),
                name="aiocreds token renewal",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError:  # none is to be had, as at the very end of a program
                renewal.memory.underway = None
            else:
                return self
        renewal.held_back = False
        self = cls(loop.time(), loop)
        task = loop.create_task(renewal.run(token), name="aiocreds token renewal", context=carrier)
        put_on_loop(renewal.memory.renewals, loop, self)
        belongings(loop).update((self, task))

        def ended(task: asyncio.Task[Token | None]) -> None:
            renewal.memory.renewals.pop(id(loop), None)
            belongings(loop).difference_update((self, task))
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._settle(task.result() if error is None else None, error)

        task.add_done_callback(ended)
        return self

    def _live(
        self, renewal: Renewal, token: Token, carrier: contextvars.Context, beginner: ref[asyncio.AbstractEventLoop]
    ) -> None:
        brought: Token | None = None
        failure: BaseException | None = None
        try:
            with asyncio.Runner() as runner:
                brought = runner.run(renewal.run(token), context=carrier)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            failure = error
        if renewal.memory.underway is self:
            renewal.memory.underway = None
        self._settle(brought, failure)
        if (loop := beginner()) is not None:
            with suppress(RuntimeError):  # it was closed
                loop.call_soon_threadsafe(program_end.stand_back)

    def _settle(self, token: Token | None, error: BaseException | None) -> None:
        self._outcome = token, error
        for known in self._watchers:
            if (watcher := known()) is not None:
                wake(watcher)

    async def wait(self, seconds: float | None) -> bool:
        """Wait so long at most; return whether it has ended."""
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append(ref(watcher))
        if self._outcome is None:
            await asyncio.wait([watcher], timeout=seconds)
        return self._outcome is not None

    def result(self) -> Token | None:
        """Return what it has brought.

        Raises:
            CredentialsError: it failed.
            CancelledError: its loop ended.
        """
        token, error = self._outcome or (None, asyncio.CancelledError())
        if error is not None:
            raise afresh(error) if isinstance(error, CredentialsError) else error
        return token


@dataclass(slots=True, repr=False)
class Held:
    """A token whose renewal failed, until when it is left alone, and why."""

    token: Token
    until: float
    error: CredentialsError


@dataclass(slots=True, repr=False)
class Unwritten:
    """A token that the file could not be made to hold, what it holds instead, and when to try again."""

    token: Token
    in_file: Token
    again: float


@dataclass(slots=True, repr=False)
class Memory:
    """What this process knows about a cached token besides its file.

    Attributes:
        underway: the renewal under way.
        renewals: those on loops of the program's, by their ids.
        lifetime: of the tokens that renewals bring, in seconds.
        held: what is to be left alone.
        unwritten: what the file ought to hold.
    """

    underway: Underway | None = None
    renewals: dict[int, ref[Underway]] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType] - annotated
    lifetime: float = inf
    held: Held | None = None
    unwritten: Unwritten | None = None

    def token_for(self, in_file: Token | None) -> Token | None:
        """The token that counts when the file holds this one."""
        kept = self.unwritten
        return kept.token if kept is not None and in_file == kept.in_file else in_file


def on_hold(until: float, now: float) -> bool:
    """Whether it is too early; a clock that was set back does not prolong that."""
    return 0 < until - now <= HOLD


def tell(path: str, end: float, now: float, word: str = "") -> None:
    """Say when the token in a file ends, to who explains: in the words that errors have for it."""
    if tracing.current() is None:
        return
    if end == -inf:
        tracing.note(path, "holds no token that says when it ends", kind="note")
        return
    tracing.note(path, utc(end), kind="renewed" if word else "ends" if end > now else "ended")
    tracing.note_end(moment(end))  # Go writes the year 1 for no time at all


@dataclass(slots=True, repr=False)
class Renewal:
    """What it takes to renew a token.

    Attributes:
        path: of the file.
        context: whose clock and HTTP session count.
        memory: of what goes on about the file.
        end: when a token ends, in seconds since the epoch; -inf for one that is no good.
        margin: no need to renew while there are more than these.
        renew: gets a new token with the old one.
        held_back: the program does not end between the use of a refresh token and the file.
    """

    path: str
    context: Context
    memory: Memory
    end: Callable[[Token], float]
    margin: float
    renew: Callable[[Token], Awaitable[Token]]
    held_back: bool = True

    def life(self, token: Token) -> float:
        """Seconds that a token has left."""
        return self.end(token) - self.context.clock.now()

    async def read(self) -> Token | None:
        """The token that counts."""
        return self.memory.token_for(await storage.read(self.path))

    async def run(self, seen: Token) -> Token | None:
        """The token after the renewal, or what somebody else has put there meanwhile."""
        with released(self.path.removesuffix(".json") + ".lock") as lock:
            while True:
                taken = await lock.attempt()
                token = await self.read()
                if token is None:
                    return None
                if self.life(token) > self.margin or (token != seen and self.life(token) > 0):
                    kept = self.memory.unwritten
                    if taken and kept is not None and token == kept.token:
                        return await self._put(lock, token, kept.in_file)
                    return token
                if taken:
                    with program_end.held_back() if self.held_back else nullcontext():
                        return await self._renewed(lock, token)

    async def _renewed(self, lock: FileLock, token: Token) -> Token | None:
        async with self.context.http.lease():  # nothing shall be awaited between the answer and the file
            try:
                fresh = SecretDict(await self.renew(token))
            except Exception as error:  # noqa: BLE001 - a middleware may raise anything
                return await self._instead_of(token, error)
            kept, life = self.memory.unwritten, self.life(fresh)
            in_file = kept.in_file if kept is not None and token == kept.token else token
            self.memory.lifetime = max(life, 0.0)
            tell(self.path, self.end(fresh), self.context.clock.now(), "renewed until")
            token_now = await self._put(lock, fresh, in_file)
        if token_now is fresh:
            logger.info("The token in %s has been renewed, for %.0f s", self.path, life)
        return token_now

    async def _instead_of(self, token: Token, cause: Exception) -> Token:
        """What to use when a token cannot be renewed.

        Raises:
            CredentialsError: there is nothing.
        """
        # A refresh token works once: another has had it, such as AWS CLI, that takes no lock.
        ended = isinstance(cause, LoginRequired) and isinstance(cause.__context__, ServiceRefused)
        for look in range(LOOKS if ended and self.life(token) <= 0 else 1):
            if look:
                await asyncio.sleep(PAUSE)
            other = await self.read()
            if other is not None and other != token and self.life(other) > 0:
                return other
        if isinstance(cause, CredentialsError):
            error = cause
        else:
            logger.debug("The renewal of %s: %s", self.path, frames_of(cause))
            error = foreign(cause)
        left, now = self.life(token), self.context.clock.now()
        if left > 0:
            self.memory.held = Held(token, now + HOLD, afresh(error))
            level = logging.WARNING if error.recoverable else logging.ERROR
            logger.log(level, "%s. The token in %s is used on for %.0f s", str(error), self.path, left)
            return token
        if not error.recoverable:
            self.memory.held = Held(token, now + uniform(*REFUSED), afresh(error))
        raise error

    async def _put(self, lock: FileLock, token: Token, in_file: Token) -> Token | None:
        """Put a token in the place of another, whoever is cancelled meanwhile; the token that counts then."""
        writing = threads.submit(lock.during, lambda: self._write(token, in_file))
        return await asyncio.shield(writing)

    def _write(self, token: Token, in_file: Token) -> Token | None:
        memory = self.memory
        try:
            try:
                found = storage.look(self.path)
            except (FileNotFoundError, NotADirectoryError):  # signed out, and that is to last
                memory.unwritten = None
                return None
            if found is not None and found != in_file and self.life(found) > 0:  # signed in, perhaps somebody else
                memory.unwritten = None
                return found
            storage.replace_json(self.path, token)
            memory.unwritten = None
        except Exception as error:  # noqa: BLE001 - whatever it is, the token is the only good one
            known = memory.unwritten is not None and memory.unwritten.token == token
            memory.unwritten = Unwritten(token, in_file, self.context.clock.now() + HOLD)
            if isinstance(error, OthersFolder):
                reason, remedy = str(error), f"run this as {error.owner}, or have the folder belong to this user"
            else:
                reason = ((isinstance(error, OSError) and error.strerror) or type(error).__name__).lower()
                remedy = "let this user write there"
            words = "The renewed sign-in cannot be kept in %s (%s): other programs may have to sign in again; %s"
            logger.log(logging.DEBUG if known else logging.WARNING, words, self.path, reason, remedy)
        return token


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
        self._memory: Memory = context.cached(("renewal", path), Memory)

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
        token = memory.token_for(await storage.read(self.path))
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
