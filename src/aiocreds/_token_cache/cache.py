"""A sign-in's token in a JSON file that AWS CLI and the SDKs of all languages share, and its renewal.

:class:`TokenCache` reads top to bottom: ``current`` waits for a renewal, ``_renewed`` makes it under the lock that
all programs share, ``_after_failure`` decides what to use when it fails, ``_write`` what to keep when the file
cannot be written. :class:`Renewal` is the thread or task it runs in. A refresh token works once: the answer to it
must reach the file whatever happens to the caller, its loop and the program.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from contextlib import ExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from random import uniform
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from aiocreds._base import threads, tracing
from aiocreds._base.redaction import SecretDict
from aiocreds._base.threads import belongings, on_loop, put_on_loop, renew_after_fork, wake
from aiocreds._base.time import moment, utc
from aiocreds._core.context import load_http
from aiocreds._token_cache import program_end, storage
from aiocreds._token_cache.lock import releasing
from aiocreds._token_cache.storage import ForeignFolder
from aiocreds.errors import CredentialsError, LoginRequired, ServiceRefused, afresh, foreign, frames_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from aiocreds._core.context import Context
    from aiocreds._token_cache.lock import FileLock

logger = logging.getLogger("aiocreds.token_cache")

Token = SecretDict  # no plain dictionary, of which a traceback would show the values

# All in seconds.
ENOUGH, PATIENCE = 60.0, 3.0  # a token with more than ENOUGH left is served after PATIENCE, the renewal goes on
RETRY_AFTER = 30.0  # before the next attempt at a failed renewal of a good token, and at a failed write
REFUSAL_BACKOFF = 1.0, 5.0  # before the next attempt after a refusal that no retry can mend: a random time between
PAUSE, ATTEMPTS = 0.1, 10  # between looks (and their number) at a file that another program is about to write


class TokenCache:
    """One cached token.

    Args:
        path: of its file.
        context: whose clock and HTTP session count; it also holds what this process knows about the file.
    """

    def __init__(self, path: str, context: Context) -> None:
        self.path = path
        self._context = context
        self._memory: Memory = context.cached(("sign-in", path), Memory)

    async def current(
        self,
        *,
        end: Callable[[Token], float],
        margin: float,
        renew: Callable[[Token], Awaitable[Token]],
        here: bool = False,
    ) -> Token | None:
        """Return the token, renewed first when it ends soon; None when there is none.

        One renewal at a time on a machine: the other callers and programs wait for it and take its token. It goes
        on when its caller is cancelled, and behind a caller who has waited long enough for a token that is still
        good. When it fails, such a token is used on. A sign-in or sign-out by a person meanwhile wins. Where the
        file cannot be written, the new token is kept in memory until it can.

        Args:
            end: returns when a token ends, in seconds since the epoch; -inf for an unusable one.
            margin: seconds before its end from which a token is renewed, but at most half of the lifetime that the
                last renewal brought.
            renew: gets a new token with the old one.
            here: renew on the running loop, because `renew` uses what lives there, such as a program's own
                middlewares. Any other renewal outlives the loop, and the program by some seconds.

        Raises:
            CredentialsError: `renew` raised it and the old token has ended; or the file cannot be read.
        """
        memory, now = self._memory, self._context.clock.now()
        token = memory.token_for(await storage.read(self.path))
        if token is None:
            return None
        left, margin = end(token) - now, min(margin, memory.lifetime / 2)
        trace_end(self.path, end(token), now)
        if left > margin:
            if memory.unwritten is None or is_held(memory.unwritten.retry_at, now):
                return token
        elif memory.failed is not None and token == memory.failed.token and is_held(memory.failed.retry_at, now):
            if left > 0:
                return token
            if not memory.failed.error.recoverable:
                raise afresh(memory.failed.error)
        renewal = self.renewal_for(Rules(end, margin, renew), token, here=here)
        patience = renewal.since + PATIENCE - asyncio.get_running_loop().time()
        if not await renewal.wait(max(0.0, patience) if left > ENOUGH else None):
            return token
        return renewal.result()

    async def keep(self, token: Token) -> None:
        """Write the token of a new sign-in in the place of any other, under the lock that all programs share.

        Raises:
            InvalidConfiguration: this user may not write there.
            SourceUnavailable: the disk is full, or the like.
        """
        async with self._locked() as lock:
            await threads.submit_always(lock.during, lambda: self._keep(token))
        logger.info("%s has been written", self.path)

    async def remove(self) -> bool:
        """Remove the file, under the lock; return whether there was one. The file of the lock stays.

        Raises:
            InvalidConfiguration: this user may not write there.
        """
        async with self._locked() as lock:
            return await threads.submit_always(lock.during, self._remove)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[FileLock]:
        """Hold the lock. What the system says against writing is raised as an error of ours."""
        try:
            with releasing(self.path.removesuffix(".json") + ".lock") as lock:
                while not await lock.attempt():
                    pass
                yield lock
        except OSError as error:
            raise storage.unwritable(self.path, error) from None

    def _keep(self, token: Token) -> None:
        storage.replace_json(self.path, token)
        self._memory.unwritten = self._memory.failed = None
        self._memory.lifetime = inf

    def _remove(self) -> bool:
        self._memory.unwritten = self._memory.failed = None
        try:
            os.unlink(self.path)  # noqa: PTH108 - pathlib is slow to load
        except FileNotFoundError:
            return False
        return True

    def renewal_for(self, rules: Rules, token: Token, *, here: bool) -> Renewal:
        """Return the renewal under way, or start one: in a thread, or on this loop if it has to be `here`."""
        memory, loop = self._memory, asyncio.get_running_loop()
        if not here and memory.in_thread is not None and not memory.in_thread.done:
            return memory.in_thread
        if (known := on_loop(memory.on_loops, loop)) is not None:
            return known
        if not here:
            renewal = Renewal(memory, loop.time())
            if renewal.start_thread(partial(self._renewed, rules, token, hold_program=True)):
                return renewal
        renewal = Renewal(memory, loop.time(), loop)
        renewal.start_task(partial(self._renewed, rules, token, hold_program=False))
        return renewal

    async def _renewed(self, rules: Rules, seen: Token, *, hold_program: bool) -> Token | None:
        """Return the token after a renewal under the lock, or the one that another program has written meanwhile.

        Args:
            rules: of this kind of token.
            seen: the token that is to be renewed.
            hold_program: the program does not end between the use of the refresh token and the file.
        """
        with releasing(self.path.removesuffix(".json") + ".lock") as lock:
            while True:
                taken = await lock.attempt()
                token = await self._read()
                if token is None:
                    return None
                left = self._left(rules, token)
                if left > rules.margin or (token != seen and left > 0):
                    unwritten = self._memory.unwritten
                    if taken and unwritten is not None and token == unwritten.token:
                        return await self._put(rules, lock, token, unwritten.in_file)
                    return token
                if taken:
                    with program_end.delaying_program_end() if hold_program else nullcontext():
                        return await self._exchange(rules, lock, token)

    async def _exchange(self, rules: Rules, lock: FileLock, token: Token) -> Token | None:
        """Exchange a token for a new one and write that; the lock is held."""
        memory = self._memory
        http = await load_http(self._context)
        async with http.lease():  # held, so that no session is closed between the answer and the file
            try:
                fresh = await rules.renew(token)
            except Exception as error:  # noqa: BLE001 - a middleware may raise anything
                return await self._after_failure(rules, token, error)
            unwritten, left = memory.unwritten, self._left(rules, fresh)
            in_file = unwritten.in_file if unwritten is not None and token == unwritten.token else token
            memory.lifetime = max(left, 0.0)
            trace_end(self.path, rules.end(fresh), self._context.clock.now(), renewed=True)
            current = await self._put(rules, lock, fresh, in_file)
        if current is fresh:
            logger.info("The token in %s has been renewed, for %.0f s", self.path, left)
        return current

    async def _after_failure(self, rules: Rules, token: Token, cause: Exception) -> Token:
        """Return the token to use when a renewal has failed: another program's, else the old one while it is good.

        Raises:
            CredentialsError: there is neither.
        """
        # Another program that takes no lock, such as AWS CLI, may have used the refresh token and not yet written.
        used = isinstance(cause, LoginRequired) and isinstance(cause.__context__, ServiceRefused)
        for look in range(ATTEMPTS if used and self._left(rules, token) <= 0 else 1):
            if look:
                await asyncio.sleep(PAUSE)
            other = await self._read()
            if other is not None and other != token and self._left(rules, other) > 0:
                return other
        if isinstance(cause, CredentialsError):
            error = cause
        else:
            logger.debug("The renewal of %s: %s", self.path, frames_of(cause))
            error = foreign(cause)
        left, now = self._left(rules, token), self._context.clock.now()
        if left > 0:
            self._memory.failed = Failed(token, now + RETRY_AFTER, afresh(error))
            level = logging.WARNING if error.recoverable else logging.ERROR
            logger.log(level, "%s. The token in %s stays in use for %.0f s", str(error), self.path, left)
            return token
        if not error.recoverable:
            self._memory.failed = Failed(token, now + uniform(*REFUSAL_BACKOFF), afresh(error))
        raise error

    async def _put(self, rules: Rules, lock: FileLock, token: Token, in_file: Token) -> Token | None:
        """Replace `in_file` by `token`, also when cancelled meanwhile; return the token that counts then."""
        return await threads.submit_always(lock.during, lambda: self._write(rules, token, in_file))

    def _write(self, rules: Rules, token: Token, in_file: Token) -> Token | None:
        """Do the work of `_put`, in a thread. A token that cannot be written is kept in memory."""
        memory = self._memory
        try:
            try:
                found = storage.look(self.path)
            except (FileNotFoundError, NotADirectoryError):  # a person has signed out: nothing is written
                memory.unwritten = None
                return None
            if found is not None and found != in_file and self._left(rules, found) > 0:  # or signed in again
                memory.unwritten = None
                return found
            storage.replace_json(self.path, token)
            memory.unwritten = None
        except Exception as error:  # noqa: BLE001 - this token is the only good one, and must not be lost
            repeated = memory.unwritten is not None and memory.unwritten.token == token
            memory.unwritten = Unwritten(token, in_file, self._context.clock.now() + RETRY_AFTER)
            if isinstance(error, ForeignFolder):
                reason, remedy = str(error), f"run this as {error.owner}, or have the folder belong to this user"
            else:
                reason = ((isinstance(error, OSError) and error.strerror) or type(error).__name__).lower()
                remedy = "let this user write there"
            message = "The renewed sign-in cannot be kept in %s (%s): other programs may have to sign in again; %s"
            logger.log(logging.DEBUG if repeated else logging.WARNING, message, self.path, reason, remedy)
        return token

    async def _read(self) -> Token | None:
        """Return the token that counts now."""
        return self._memory.token_for(await storage.read(self.path))

    def _left(self, rules: Rules, token: Token) -> float:
        """Return the seconds until a token ends."""
        return rules.end(token) - self._context.clock.now()


def outlive(
    work: Callable[[], Coroutine[Any, Any, Token | None]], context: Context, *, here: bool = False
) -> Renewal:
    """Begin what goes on when its caller is cancelled, and what the end of the program waits for.

    So it is with what a service gives once, such as the token for the code of a person who has just signed in.

    Args:
        work: what is to be done.
        context: whose HTTP session is used.
        here: run on this loop, because `work` uses what lives there; then it ends with the loop.
    """
    loop, held = asyncio.get_running_loop(), ExitStack()

    async def whole() -> Token | None:
        with held:
            http = await load_http(context)
            async with http.lease():
                return await work()

    renewal = Renewal(Memory(), loop.time())
    if not here:
        program_end.install_handlers()
        held.enter_context(program_end.delaying_program_end())  # here: a signal may come before the thread runs
        if renewal.start_thread(whole):
            return renewal
        held.close()
    renewal = Renewal(Memory(), loop.time(), loop)
    renewal.start_task(whole)
    return renewal


class Rules(NamedTuple):
    """Rules for the renewal of one kind of token: the arguments of `TokenCache.current`."""

    end: Callable[[Token], float]
    margin: float
    renew: Callable[[Token], Awaitable[Token]]


class Failed(NamedTuple):
    """A token whose renewal has failed with `error`, not to be tried again before `retry_at`."""

    token: Token
    retry_at: float
    error: CredentialsError


class Unwritten(NamedTuple):
    """A token that could not be written in the place of `in_file`, not to be tried again before `retry_at`."""

    token: Token
    in_file: Token
    retry_at: float


@dataclass(slots=True, repr=False)
class Memory:
    """The state of a cached token in this process, besides its file.

    Attributes:
        in_thread: the latest renewal in a thread.
        on_loops: renewals on loops of the program, by the loops' ids.
        lifetime: seconds that the token of the last renewal lived for.
        failed: the last failed renewal.
        unwritten: a token that the file should hold.
    """

    in_thread: Renewal | None = None
    on_loops: dict[int, ref[Renewal]] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType] - annotated
    lifetime: float = inf
    failed: Failed | None = None
    unwritten: Unwritten | None = None

    def token_for(self, in_file: Token | None) -> Token | None:
        """Return the token that counts when the file holds this one."""
        unwritten = self.unwritten
        return unwritten.token if unwritten is not None and in_file == unwritten.in_file else in_file


class Renewal:
    """A renewal under way, for any number of waiters on any loops; it does not depend on them.

    It runs in a daemon thread with a loop of its own, which outlives the caller's loop (helpers of asyncio and
    anyio do not), or as a task on the caller's loop.

    Args:
        memory: where other callers find it while it runs.
        since: when it began, by the time of loops.
        loop: the loop it runs on; None for a thread of its own.
    """

    __slots__ = ("__weakref__", "_memory", "_outcome", "_waiters", "loop", "since")

    def __init__(self, memory: Memory, since: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._memory = memory
        self.since = since
        self.loop = loop
        self._outcome: tuple[Token | None, BaseException | None] | None = None
        self._waiters: list[ref[asyncio.Future[None]]] = []
        renew_after_fork(self)

    def start_thread(self, work: Callable[[], Coroutine[Any, Any, Token | None]]) -> bool:
        """Run in a daemon thread; return False when Python starts none, as at the very end of a program."""
        program_end.install_handlers()
        loop, run_context = asyncio.get_running_loop(), tracing.carry(contextvars.Context())
        thread = Thread(
            target=self._run, args=(work, run_context, ref(loop)), name="aiocreds token renewal", daemon=True
        )
        self._memory.in_thread = self  # not before: others wait for it without a limit
        try:
            thread.start()
        except RuntimeError:
            self._memory.in_thread = None
            return False
        return True

    def _run(
        self,
        work: Callable[[], Coroutine[Any, Any, Token | None]],
        run_context: contextvars.Context,
        caller: ref[asyncio.AbstractEventLoop],
    ) -> None:
        token: Token | None = None
        failure: BaseException | None = None
        try:
            with asyncio.Runner() as runner:
                token = runner.run(work(), context=run_context)
        except BaseException as error:  # noqa: BLE001 - raised to the waiters
            failure = error
        if self._memory.in_thread is self:
            self._memory.in_thread = None
        self._settle(token, failure)
        if (loop := caller()) is not None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(program_end.restore_handlers)

    def start_task(self, work: Callable[[], Coroutine[Any, Any, Token | None]]) -> None:
        """Run as a task on the running loop, which keeps it alive."""
        loop, run_context = asyncio.get_running_loop(), tracing.carry(contextvars.Context())
        task = loop.create_task(work(), name="aiocreds token renewal", context=run_context)
        put_on_loop(self._memory.on_loops, loop, self)
        belongings(loop).update((self, task))

        def ended(task: asyncio.Task[Token | None]) -> None:
            self._memory.on_loops.pop(id(loop), None)
            belongings(loop).difference_update((self, task))
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._settle(task.result() if error is None else None, error)

        task.add_done_callback(ended)

    def _settle(self, token: Token | None, error: BaseException | None) -> None:
        self._outcome = token, error
        for known in self._waiters:
            if (waiter := known()) is not None:
                wake(waiter)

    def _after_fork(self) -> None:
        """Count as cancelled in a forked child, where neither thread nor loop goes on."""
        self._outcome = None, asyncio.CancelledError()

    @property
    def done(self) -> bool:
        """Return whether it has ended."""
        return self._outcome is not None

    async def wait(self, seconds: float | None) -> bool:
        """Wait for its end, at most so many seconds; return whether it has ended."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(ref(waiter))
        if not self.done:
            await asyncio.wait([waiter], timeout=seconds)
        return self.done

    async def outcome(self) -> Token | None:
        """Wait for its end, and return the token it has brought.

        Raises:
            CredentialsError: it failed.
            CancelledError: its loop ended.
        """
        await self.wait(None)
        return self.result()

    def result(self) -> Token | None:
        """Return the new token.

        Raises:
            CredentialsError: it failed.
            CancelledError: its loop ended.
        """
        token, error = self._outcome or (None, asyncio.CancelledError())
        if error is not None:
            raise afresh(error) if isinstance(error, CredentialsError) else error
        return token


def is_held(retry_at: float, now: float) -> bool:
    """Return whether it is too early for another attempt; a clock that was set back does not prolong that."""
    return 0 < retry_at - now <= RETRY_AFTER


def trace_end(path: str, end: float, now: float, *, renewed: bool = False) -> None:
    """Record for `explain` when the token in a file ends."""
    if tracing.current() is None:
        return
    if end == -inf:
        tracing.note(path, "holds no token that says when it ends", kind="note")
        return
    tracing.note(path, utc(end), kind="renewed" if renewed else "ends" if end > now else "ended")
    tracing.note_end(moment(end))  # Go writes the year 1 for no time at all
