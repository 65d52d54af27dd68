"""One provider, several event loops and threads."""

# pyright: reportPrivateUsage=false
# What is checked here cannot be seen from outside.

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Credentials, Provider, SourceUnavailable
from aiocreds._core.singleflight import Unattended, attended
from tests.helpers.scripted import Source, issue, others, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


def in_threads(*mains: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run each in a loop and thread of its own, all at once."""
    start = threading.Barrier(len(mains))

    def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        start.wait()
        return asyncio.run(main())

    with ThreadPoolExecutor(len(mains)) as pool:
        return list(pool.map(run, mains))


def to_be_refreshed(source: Callable[[], Awaitable[Credentials]]) -> Provider:
    """A provider whose loops have to ask the source, each for itself: what it held has been rejected."""
    first: list[Credentials] = [issue(60)]

    async def then_source() -> Credentials:
        return first.pop() if first else await source()

    provider = Provider(then_source, name="source")
    asyncio.run(provider.fetch())
    provider.invalidate()
    return provider


class Slow:
    """A source that lets another loop's trip begin before it answers, and notes who asked on which loop."""

    def __init__(self, parties: int) -> None:
        self.barrier = threading.Barrier(parties)
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.lifetimes = iter(range(3600, 10**6, 60))
        self.lock = threading.Lock()

    async def __call__(self) -> Credentials:
        loop = asyncio.get_running_loop()
        with self.lock:
            self.loops.append(loop)
            lifetime = next(self.lifetimes)
        await loop.run_in_executor(None, self.barrier.wait)
        await asyncio.sleep(0.01)
        assert asyncio.get_running_loop() is loop
        return issue(lifetime)


def test_two_loops_refresh_once_each_and_end_with_the_newest_expiry() -> None:
    source = Slow(2)
    provider = to_be_refreshed(source)
    ends: list[Credentials] = []

    async def main() -> None:
        got = await asyncio.gather(*(provider() for _ in range(200)))
        assert all(isinstance(credentials, Credentials) for credentials in got)
        await asyncio.get_running_loop().run_in_executor(None, done.wait)
        ends.append(await provider())
        assert not others()

    done = threading.Barrier(2)
    in_threads(main, main)
    assert len(source.loops) == len(set(source.loops)) == 2
    first, second = ends
    assert first is second
    assert provider.status.seconds_left is not None
    assert provider.status.seconds_left > 3600 + 30


def test_a_first_load_that_fails_after_that_of_another_loop_raises_nothing() -> None:
    kept = issue(3600)
    source = Source(kept, OSError(5))
    provider = source.provider()
    source.gate = asyncio.Event()
    caller = provider()

    async def fail_after_the_other_loop() -> Credentials:
        waiting = asyncio.ensure_future(caller)
        await until(lambda: source.calls == 1)
        gate, source.gate = source.gate, None
        # A thread is waited for, and so nothing moves on this loop: the other one does not share its load.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(asyncio.run, provider.get()).result() is kept
        assert gate is not None
        gate.set()
        return await waiting

    assert asyncio.run(fail_after_the_other_loop()) is kept
    assert source.calls == 2


def test_the_slower_loop_does_not_put_back_what_expires_earlier() -> None:
    newer, older = issue(7200), issue(3600)
    landed = threading.Event()
    both = threading.Barrier(2)

    async def source() -> Credentials:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, both.wait)
        if threading.current_thread() is not slower[0]:
            return newer
        await loop.run_in_executor(None, landed.wait)
        return older

    provider = to_be_refreshed(source)
    slower: list[threading.Thread] = []

    async def slow() -> Credentials:
        slower.append(threading.current_thread())
        return await provider()

    async def fast() -> Credentials:
        while not slower:  # noqa: ASYNC110 - the other loop appends to it
            await asyncio.sleep(0.001)
        got = await provider()
        landed.set()
        return got

    assert in_threads(slow, fast) == [newer, newer]


def test_what_was_rejected_meanwhile_is_not_put_back() -> None:
    newer, older = issue(7200), issue(3600)
    landed = threading.Event()
    both = threading.Barrier(2)

    async def source() -> Credentials:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, both.wait)
        if threading.current_thread() is not slower[0]:
            return newer
        await loop.run_in_executor(None, landed.wait)
        return older

    provider = to_be_refreshed(source)
    slower: list[threading.Thread] = []

    async def slow() -> Credentials:
        slower.append(threading.current_thread())
        return await provider()

    async def fast() -> Credentials:
        while not slower:  # noqa: ASYNC110 - the other loop appends to it
            await asyncio.sleep(0.001)
        got = await provider()
        provider.invalidate(got)
        landed.set()
        return got

    assert in_threads(slow, fast) == [older, newer]


def test_a_snapshot_is_shared() -> None:
    source = Source()
    provider = source.provider()

    async def main() -> Credentials:
        return await provider()

    assert asyncio.run(main()) is asyncio.run(main())
    assert in_threads(main, main, main)[0] is asyncio.run(main())
    assert source.calls == 1


def test_rejected_in_one_thread_is_replaced_in_another() -> None:
    source = Source()
    provider = source.provider()

    async def main() -> Credentials:
        held = await provider()
        rejecter = threading.Thread(target=provider.invalidate, args=(held,))
        rejecter.start()
        rejecter.join()
        assert await provider() is not held
        return await provider()

    asyncio.run(main())
    assert source.calls == 2


def test_a_cancelled_first_load_in_one_loop_leaves_the_other_alone() -> None:
    under_way, cancelled = threading.Event(), threading.Event()
    calls = 0

    async def source() -> Credentials:
        nonlocal calls
        calls += 1
        if calls == 1:
            under_way.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                cancelled.set()
        return issue()

    provider = Provider(source, name="source")

    async def impatient() -> None:
        waiter = asyncio.create_task(provider())
        await asyncio.to_thread(waits.wait)
        await asyncio.sleep(0.05)
        waiter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiter
        assert not others()

    async def patient() -> Credentials:
        await asyncio.to_thread(under_way.wait)
        waits.set()
        return await provider()

    waits = threading.Event()
    assert isinstance(in_threads(impatient, patient)[1], Credentials)
    assert cancelled.is_set()
    assert calls == 2


# A first load


@pytest.mark.parametrize("entered", [False, True], ids=["called", "entered"])
def test_eight_loops_share_a_first_load(entered: bool) -> None:
    calls: list[asyncio.AbstractEventLoop] = []

    async def source() -> Credentials:
        calls.append(asyncio.get_running_loop())
        await asyncio.sleep(0.2)
        return issue()

    provider = Provider(source, name="source")

    async def main() -> Credentials:
        if not entered:
            return (await asyncio.gather(*(provider() for _ in range(10))))[0]
        async with provider:
            return await provider()

    got = in_threads(*[main] * 8)
    assert len(calls) == 1
    assert len(set(map(id, got))) == 1
    assert (provider.status.successes, provider.status.failures) == (1, 0)


def test_eight_loops_share_a_failure() -> None:
    calls = itertools.count()

    async def source() -> Credentials:
        next(calls)
        await asyncio.sleep(0.2)
        raise SourceUnavailable("no")

    provider = Provider(source, name="source")

    async def main() -> BaseException | None:
        return (await asyncio.gather(provider(), return_exceptions=True))[0]  # type: ignore[return-value]  # it fails

    errors = in_threads(*[main] * 8)
    assert next(calls) == 1
    assert {str(error) for error in errors} == {"source: no"}
    assert len(set(map(id, errors))) == 8, "each waiter has an error of its own"


@pytest.mark.parametrize("how", ["ends", "is blocked", "is stopped"])
def test_a_loop_that_loads_and_then(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on without it."""
    monkeypatch.setattr("aiocreds._core.singleflight.ECHO", 0.2)
    under_way, over = threading.Event(), threading.Event()
    calls = itertools.count()

    async def source() -> Credentials:
        if next(calls):
            return issue()
        under_way.set()
        await asyncio.sleep(30)
        raise AssertionError

    provider = Provider(source, name="source")

    def lead() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(provider())
        loop.run_until_complete(asyncio.to_thread(under_way.wait))
        loop.run_until_complete(asyncio.sleep(0.1))
        if how == "is blocked":
            loop.call_soon(over.wait)
            loop.run_until_complete(asyncio.sleep(0))
        elif how == "is stopped":
            over.wait()
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()

    leader = threading.Thread(target=lead)
    leader.start()
    under_way.wait()

    async def follow() -> Credentials:
        async with asyncio.timeout(5):
            return await provider()

    try:
        assert isinstance(asyncio.run(follow()), Credentials)
    finally:
        over.set()
        leader.join()


def test_who_waits_for_another_loop_may_be_cancelled() -> None:
    under_way, over = threading.Event(), threading.Event()

    async def source() -> Credentials:
        under_way.set()
        while not over.is_set():  # noqa: ASYNC110 - set in another thread
            await asyncio.sleep(0.01)
        return issue()

    provider = Provider(source, name="source")

    async def lead() -> Credentials:
        return await provider()

    async def follow() -> None:
        await asyncio.to_thread(under_way.wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(provider(), 0.1)
        assert not others()
        over.set()

    assert isinstance(in_threads(lead, follow)[0], Credentials)


def test_a_person_is_asked_for_a_caller_though_another_loop_loads_behind_its_own() -> None:
    under_way, waits = threading.Event(), threading.Event()
    asked: list[bool] = []

    async def source() -> Credentials:
        asked.append(attended())
        if not attended():
            under_way.set()
            await asyncio.to_thread(waits.wait)
            raise Unattended
        return issue()

    provider = Provider(source, name="source")

    async def behind() -> None:
        async with provider:
            await asyncio.to_thread(waits.wait)
            await asyncio.sleep(0.1)

    async def caller() -> Credentials:
        await asyncio.to_thread(under_way.wait)
        asyncio.get_running_loop().call_later(0.1, waits.set)
        return await provider()

    assert isinstance(in_threads(behind, caller)[1], Credentials)
    assert asked[:2] == [False, True]


def test_what_a_dead_loop_left_in_the_air_does_not_block_another() -> None:
    source = Source()
    provider = source.provider()
    dead = asyncio.new_event_loop()

    async def leave() -> None:
        source.gate = asyncio.Event()
        waiters.append(asyncio.ensure_future(provider()))
        await asyncio.sleep(0.01)

    waiters: list[asyncio.Future[Credentials]] = []
    dead.run_until_complete(leave())
    left = asyncio.all_tasks(dead)
    dead.close()
    source.gate = None

    async def main() -> Credentials:
        async with asyncio.timeout(5):
            return await provider()

    asyncio.run(main())
    assert source.calls == 2
    assert id(dead) not in provider._calls
    for task in left:  # so that the interpreter does not complain of what this test has done to them
        task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.slow
def test_many_short_lived_loops_in_many_threads() -> None:
    source = Source(usual=lambda: issue(None))
    provider = source.provider()

    async def main() -> None:
        for _ in range(5):
            provider.invalidate()
            await asyncio.gather(provider(), provider.fetch(), provider.get(min_ttl=60))

    def thread() -> None:
        for _ in range(10):
            asyncio.run(main())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(thread) for _ in range(8)]:
                future.result()
    finally:
        sys.setswitchinterval(before)
    assert provider.status.failures == 0
    assert not provider._calls


def test_it_may_be_kept_fresh_in_two_loops_at_once() -> None:
    source = Source()
    provider = source.provider()
    inside = threading.Barrier(2)

    async def main() -> Credentials:
        async with provider:
            await provider()
            await asyncio.get_running_loop().run_in_executor(None, inside.wait)
            got = await provider()
        assert not others()
        return got

    first, second = in_threads(main, main)
    assert first is second
    assert source.calls <= 2
