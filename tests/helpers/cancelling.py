"""Cancelling a caller at each moment at which something done for it suspends."""

from __future__ import annotations

import asyncio
import collections.abc
import itertools
import time
from typing import TYPE_CHECKING, Any

from aiocreds import SourceUnavailable
from tests.helpers.loopback_aws import Answer, Hang
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import assert_quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from aiocreds import Provider
    from tests.helpers.loopback_aws import Loopback


class Counted(collections.abc.Coroutine[Any, Any, Any]):
    """A coroutine that tells whenever it suspends."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], suspended: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._suspended = suspended

    def send(self, value: Any) -> Any:
        awaited = self._coroutine.send(value)
        self._suspended()
        return awaited

    def throw(self, *args: Any) -> Any:
        awaited = self._coroutine.throw(*args)
        self._suspended()
        return awaited

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError


async def cancel_at(provider: Provider, number: int, pause: float = 0.0) -> bool:
    """Cancel the only caller of a first load when anything done for it suspends for the n-th time.

    Args:
        provider: with nothing loaded.
        number: of the suspension, from 1.
        pause: seconds that the world outside has, before the cancellation arrives.

    Returns:
        whether it was cancelled; False when the load ended before.
    """
    loop, count = asyncio.get_running_loop(), 0

    def suspended() -> None:
        nonlocal count
        count += 1
        if count == number:
            time.sleep(pause)
            caller.cancel()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        if "RequestHandler" not in coroutine.__qualname__:  # the server's own
            coroutine = Counted(coroutine, suspended)
        return asyncio.Task(coroutine, loop=loop, **options)

    caller = asyncio.create_task(provider())
    loop.set_task_factory(factory)
    try:
        await caller
    except asyncio.CancelledError as cancelled:
        assert_quiet(cancelled)
    finally:
        loop.set_task_factory(None)
    return caller.cancelled()


async def cancelled_at(provider: Provider, number: int, pause: float = 0.0) -> bool:
    """The same, for a source that has to leave no task and nothing half-written behind."""
    before = asyncio.all_tasks()
    if not await cancel_at(provider, number, pause):
        return False
    left = {task for task in asyncio.all_tasks() - before if "RequestHandler" not in repr(task)}
    assert not left
    assert provider.status == (None, None, None, None, 0, 0, None, False)
    return True


async def moments_of(aws: Loopback, path: str, make: Callable[[int], Provider], *, hanging: bool) -> int:
    """Cancel a first load at each of its moments in turn, and return how many these are.

    Args:
        aws: the server that the source asks.
        path: where.
        make: a new provider for each number.
        hanging: the server takes requests and never answers; else it answers the second time.
    """
    for number in itertools.count(1):
        aws.script(path, *[] if hanging else [Answer(503)])
        aws.always(path, Hang() if hanging else None)
        try:
            if not await cancelled_at(make(number), number):
                return number
        except SourceUnavailable:
            return number
        await until(lambda: not aws.open_connections)
        aws._scripts.clear()  # pyright: ignore[reportPrivateUsage] - what no request came for
    raise AssertionError("it counts on for ever")
