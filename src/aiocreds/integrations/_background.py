"""Providers for threads that run no event loop: one loop in a thread of its own refreshes for all of them."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from typing import TYPE_CHECKING

from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

SECONDS_TO_END = 5.0  # for a source that does not let itself be cancelled


def current(provider: Provider) -> Credentials:
    """What ``await provider()`` gives, from any thread.

    Takes what the provider serves from memory as it is. Anything else is left to the loop in the background, and
    this thread, with the loop it may be running itself, waits for that only when the provider has its callers
    wait: for the first load, in the last minute, and after an invalidation.

    Raises:
        CredentialsError: none could be had.
    """
    credentials = _from_memory(provider)
    if credentials is not None:
        return credentials
    loop = _loop()
    return _run_here(provider) if loop is None else loop.run(provider)


def _from_memory(provider: Provider) -> Credentials | None:
    """What takes one step and no loop; None for what wants a loop to wait on or to refresh behind on."""
    # A flight must not start on the loop of a thread that is about to block it.
    running = asyncio._get_running_loop()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - in asyncio.__all__
    asyncio._set_running_loop(None)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    step = provider()
    try:
        step.send(None)
    except StopIteration as done:
        served: Credentials = done.value
        return served
    except RuntimeError:  # there is no running loop
        return None
    finally:
        asyncio._set_running_loop(running)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        step.close()
    return None


def _run_here(provider: Provider) -> Credentials:
    """On a loop of this thread's own, at the program's end, when Python starts no more threads."""
    if asyncio._get_running_loop() is not None:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        raise SourceUnavailable("nothing can be refreshed from here any more: the program is ending")
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(provider())
    finally:
        _close(loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    # Not asyncio.run(): to end the executor, it would start a thread; and Python has ended that already.
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
    """The event loop in the background, and its thread: a daemon, so that a program ends when it wants to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="aiocreds", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise

    def run(self, provider: Provider) -> Credentials:
        if threading.current_thread() is self._thread:
            raise InvalidConfiguration(
                "a source called boto3 on the loop that refreshes credentials, which would wait for itself: "
                "call it in a thread (asyncio.to_thread)",
                provider=provider.name,
            )
        answer = asyncio.run_coroutine_threadsafe(provider(), self._loop)
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            # The program is ending, and has waited for all threads but daemons, which end in the middle of things.
            threading.Event().wait()
            raise
        finally:
            answer.cancel()  # Ctrl-C: who asked is gone

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(SECONDS_TO_END)

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._over.wait())
        finally:
            _close(self._loop)


_lock = threading.Lock()
_running: _Loop | None = None
_over = False
_of_parents: list[_Loop] = []  # kept, since to collect a loop whose thread is gone is to warn of it


def _loop() -> _Loop | None:
    """The loop of this process; started when first needed. None when the program is ending."""
    global _running
    with _lock:
        if _over:
            return None
        if _running is None:
            try:
                _running = _Loop()
            except RuntimeError:  # Python starts no thread any more
                return None
        return _running


@atexit.register  # now, not when the loop starts: what a program has registered since then still finds it running
def _end() -> None:
    global _over
    with _lock:
        _over = True
    if _running is not None:
        _running.end()


def _after_fork() -> None:
    """A child has none of its parent's threads, and gets a loop of its own when it needs one."""
    global _lock, _running
    _lock = threading.Lock()
    if _running is not None:
        _of_parents.append(_running)
        _running = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
