"""Credentials and tokens for threads without an event loop: one loop in a daemon thread refreshes for all.

Not anyio's portal, which joins its thread without a limit and is dead in a forked child.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiocreds._base.threads import loop_here
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

SECONDS_TO_END = 5.0  # for a source that suppresses its cancellation


class Source(Protocol[T_co]):
    """A provider of credentials, or of tokens made from them."""

    name: str

    def __call__(self) -> Coroutine[Any, Any, T_co]: ...


def current(provider: Source[T]) -> T:
    """Return what ``await provider()`` returns, from any thread.

    Credentials in memory are returned at once. Refreshes run on the loop in the background; this thread, with any
    loop that it runs, waits for one only when the provider has its callers wait: for the first load, in the last
    minute, and after an invalidation.

    Raises:
        CredentialsError: there are none.
    """
    credentials = _from_memory(provider)
    if credentials is not None:
        return credentials
    loop = _loop()
    return _run_here(provider) if loop is None else loop.run(provider)


def event_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop in the background; None when the program is ending."""
    loop = _loop()
    return None if loop is None else loop.loop


def _from_memory(provider: Source[T]) -> T | None:
    """Return credentials that need no loop; None when the provider has to wait or to start a refresh."""
    # A refresh must not start on the loop of a thread that is about to block it.
    running = loop_here()
    asyncio._set_running_loop(None)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    step = provider()
    try:
        step.send(None)
    except StopIteration as done:
        served: T = done.value
        return served
    except RuntimeError:  # there is no running loop
        return None
    finally:
        asyncio._set_running_loop(running)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        step.close()
    return None


def _run_here(provider: Source[T]) -> T:
    """Load on a loop of this thread, at the end of the program, when Python starts no more threads."""
    if loop_here() is not None:
        raise SourceUnavailable("nothing can be refreshed from here any more: the program is ending")
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(provider())
    finally:
        _close(loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    # Not asyncio.run(): it starts a thread to end the executor, which Python has ended already.
    try:
        loop.run_until_complete(_cancel_all())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Loop:
    """The loop in the background and its thread, a daemon, so that it does not keep the program from ending."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run_loop, name="aiocreds", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise

    def run(self, provider: Source[T]) -> T:
        if threading.current_thread() is self._thread:
            raise InvalidConfiguration(
                "a source called a client that blocks, such as boto3, on the loop that refreshes credentials,"
                " which would wait for itself: call it in a thread (asyncio.to_thread)",
                provider=provider.name,
            )
        answer = asyncio.run_coroutine_threadsafe(provider(), self.loop)
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            # The program is ending and has joined all threads but daemons: this daemon thread ends with it.
            threading.Event().wait()
            raise
        finally:
            answer.cancel()  # for Ctrl-C

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(SECONDS_TO_END)

    def _run_loop(self) -> None:
        try:
            self.loop.run_until_complete(self._ended.wait())
        finally:
            _close(self.loop)


_lock = threading.Lock()
_running: _Loop | None = None
_ended = False
_of_parent: list[_Loop] = []  # kept, since the garbage collector would warn of them


def _loop() -> _Loop | None:
    """Return the loop of this process, started when first needed; None when the program is ending."""
    global _running
    with _lock:
        if _ended:
            return None
        if _running is None:
            try:
                _running = _Loop()
            except RuntimeError:  # Python starts no thread any more
                return None
        return _running


@atexit.register  # at import, so that it runs after handlers that are registered later
def _end() -> None:
    global _ended
    with _lock:
        _ended = True
    if _running is not None:
        _running.end()


def _after_fork() -> None:
    """Forget the parent's loop, whose thread is not in the child, which starts its own when needed."""
    global _lock, _running
    _lock = threading.Lock()
    if _running is not None:
        _of_parent.append(_running)
        _running = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
