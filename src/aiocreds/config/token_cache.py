"""A token that a person signed in for, in a JSON file that AWS CLI and the SDKs of all languages share."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import os
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

from aiocreds.config.file_lock import FileLock
from aiocreds.errors import CredentialsError, InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiocreds.context import Context

logger = logging.getLogger("aiocreds.config.token_cache")

Token = dict[str, Any]

LARGEST = 1024 * 1024
ATTEMPTS, PAUSE = 5, 0.05  # at a file that is being written: AWS CLI writes in place
LOCK_PAUSE, LONGEST_LOCK = 0.05, 60.0  # longer than an honest renewal takes, with all its attempts
HOLD = 30.0  # seconds that a renewal which failed is left alone while the token is still good


class TokenCache:
    """One cached token.

    Args:
        path: of its file.
        context: whose clock counts; what goes on about the file is remembered there.
    """

    def __init__(self, path: str, context: Context) -> None:
        self.path = path
        self._context = context

    async def read(self) -> Token | None:
        """What the file holds; None when it is missing, or holds no JSON object.

        Raises:
            InvalidConfiguration: this user may not read it.
        """
        loop = asyncio.get_running_loop()
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE)
            try:
                data = await loop.run_in_executor(None, _read, self.path)
                token: Any = json.loads(data)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise InvalidConfiguration(
                    f"the cached sign-in {self.path} cannot be read ({(error.strerror or '').lower()}):"
                    " let this user read it"
                ) from None
            except (ValueError, RecursionError):
                continue  # half-written, perhaps
            finally:
                data = b""  # the frame of an error that is shown with its locals holds no token
            return token if isinstance(token, dict) else None
        return None

    async def current(
        self, *, life: Callable[[Token], float], margin: float, renew: Callable[[Token], Awaitable[Token]]
    ) -> Token | None:
        """The token, renewed first when it has little life left; None when there is none.

        One renewal at a time on a machine: the others wait for it and take what it brought. A renewal goes on
        when its caller is cancelled, since the token it brings may be the only good one left. When it fails, a
        token that is still good is used on.

        Args:
            life: seconds that a token has left.
            margin: renew when there are fewer than these.
            renew: gets a new token with the old one.

        Raises:
            CredentialsError: what `renew` raised, when the old token is no good any more.
        """
        token = await self.read()
        if token is None or life(token) >= margin:
            return token
        if life(token) > 0 and self._context.renewals.get(self.path, -inf) > self._context.clock.now():
            return token
        try:
            return await asyncio.shield(self._renewal(life, margin, renew))
        except CredentialsError as error:
            raise error.afresh() from None

    def _renewal(
        self, life: Callable[[Token], float], margin: float, renew: Callable[[Token], Awaitable[Token]]
    ) -> asyncio.Task[Token | None]:
        """The renewal under way on this loop, or a new one."""
        loop, renewals = asyncio.get_running_loop(), self._context.renewals
        key = (loop, self.path)
        task: asyncio.Task[Token | None] | None = renewals.get(key)
        if task is None:

            def ended(task: asyncio.Task[Token | None]) -> None:
                del renewals[key]
                if not task.cancelled():
                    task.exception()  # whoever still waits raises it

            renewal = self._renew(life, margin, renew)
            task = loop.create_task(renewal, name="aiocreds token renewal", context=contextvars.Context())
            renewals[key] = task
            task.add_done_callback(ended)
        return task

    async def _renew(
        self, life: Callable[[Token], float], margin: float, renew: Callable[[Token], Awaitable[Token]]
    ) -> Token | None:
        async with _locked(self.path):
            token = await self.read()  # another process may have been faster
            if token is None or life(token) >= margin:
                return token
            try:
                fresh = await renew(token)
            except CredentialsError as error:
                other = await self.read()  # so may one that takes no lock, such as AWS CLI
                if other is not None and life(other) >= margin:
                    return other
                if (left := life(token)) <= 0:
                    raise
                self._context.renewals[self.path] = self._context.clock.now() + HOLD
                level = logging.WARNING if error.recoverable else logging.ERROR
                logger.log(level, "%s. The token in %s is used on for %.0f s", error, self.path, left)
                return token
            await asyncio.get_running_loop().run_in_executor(None, _write, self.path, fresh)
            return fresh


def time_of(value: object) -> float:
    """A time as AWS CLI writes it, in seconds since the epoch; -inf for what is none."""
    try:
        time = datetime.fromisoformat(value.replace("UTC", "Z") if isinstance(value, str) else "")
        return time.replace(tzinfo=time.tzinfo or UTC).timestamp()
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


@asynccontextmanager
async def _locked(path: str) -> AsyncIterator[None]:
    """Hold the lock beside a file; where there can be none, or nobody gives it up, go without."""
    loop, lock = asyncio.get_running_loop(), FileLock(path.removesuffix(".json") + ".lock")
    taking: asyncio.Future[bool] | None = None
    try:
        give_up = loop.time() + LONGEST_LOCK
        while loop.time() < give_up:
            taking = loop.run_in_executor(None, lock.take)
            if await asyncio.shield(taking):
                break
            await asyncio.sleep(LOCK_PAUSE)
        else:
            logger.warning("%s has been locked for %.0f s: going on without the lock", lock.path, LONGEST_LOCK)
        yield
    finally:
        if taking is None or taking.done():
            lock.release()
        else:  # cancelled while a thread is at it
            taking.add_done_callback(lambda _: lock.release())


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to load
        return file.read(LARGEST)


def _write(path: str, token: Token) -> None:
    """Put a token in the place of the old one. Whoever reads, whenever we are killed, finds one of the two."""
    from tempfile import mkstemp  # slow to load, and tokens are seldom renewed

    path = os.path.realpath(path)  # of a link, what it leads to
    temporary = None
    try:
        descriptor, temporary = mkstemp(".tmp", dir=os.path.dirname(path))  # noqa: PTH120 - its mode is 0600
        with os.fdopen(descriptor, "w") as file:
            json.dump(token, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        logger.warning(
            "The renewed sign-in cannot be kept in %s (%s): others will have to renew it again; let this user write"
            " there",
            path,
            (error.strerror or "").lower(),
        )
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
