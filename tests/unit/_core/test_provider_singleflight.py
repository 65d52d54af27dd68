"""One flight: however many wait and whoever leaves, the source is asked once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aiocreds import Context, Credentials, Provider, chain
from aiocreds.errors import CredentialsError, InvalidConfiguration, LoginRequired, SourceUnavailable
from tests.helpers.scripted import Source, issue, others, settle
from tests.helpers.secret_leaks import secret

CROWD = 10_000
Ask = Callable[[], Awaitable[Credentials]]
SRC = Path(__file__).parents[3] / "src"


async def test_a_crowd_on_an_empty_provider_is_one_call() -> None:
    source = Source()
    source.gate = asyncio.Event()
    provider = source.provider()
    crowd = [asyncio.create_task(provider()) for _ in range(CROWD)]
    await asyncio.sleep(0)
    source.gate.set()
    got = await asyncio.gather(*crowd)
    assert source.calls == 1
    assert len({id(credentials) for credentials in got}) == 1
    assert provider.status.successes == 1


@pytest.mark.parametrize("leavers", [1, 99])
async def test_those_who_came_first_may_leave(leavers: int) -> None:
    source = Source()
    source.gate = asyncio.Event()
    provider = source.provider()
    crowd = [asyncio.create_task(provider()) for _ in range(100)]
    await settle()
    for leaver in crowd[:leavers]:
        leaver.cancel()
    await settle()
    assert all(leaver.cancelled() for leaver in crowd[:leavers])
    source.gate.set()
    stayed = await asyncio.gather(*crowd[leavers:])
    assert source.calls == source.finished == 1
    assert set(stayed) == {await provider()}


@pytest.mark.slow
async def test_a_failure_is_told_to_each_of_a_crowd_with_one_call() -> None:
    source = Source(SourceUnavailable("down"))
    source.gate = asyncio.Event()
    provider = source.provider()
    crowd = [asyncio.create_task(provider()) for _ in range(CROWD)]
    await asyncio.sleep(0)
    source.gate.set()
    got = await asyncio.gather(*crowd, return_exceptions=True)
    assert source.calls == 1
    assert {type(error) for error in got} == {SourceUnavailable}
    assert {str(error) for error in got} == {"source: down"}
    assert len({id(error) for error in got}) == CROWD
    tracebacks = {id(error.__traceback__) for error in got if isinstance(error, Exception)}
    assert len(tracebacks) == CROWD
    assert provider.status.failures == 1


async def test_one_waiters_traceback_does_not_grow_by_anothers() -> None:
    provider = Source(LoginRequired("sign in")).provider()

    def depth(error: BaseException) -> int:
        traceback, frames = error.__traceback__, 0
        while traceback is not None:
            traceback, frames = traceback.tb_next, frames + 1
        return frames

    depths: list[int] = []
    for _ in range(5):
        with pytest.raises(LoginRequired) as caught:
            await provider()
        depths.append(depth(caught.value))
    assert max(depths[1:]) == min(depths[1:])


async def test_when_the_last_waiter_of_a_first_load_leaves_nothing_is_left_running() -> None:
    source = Source()
    source.gate = asyncio.Event()
    provider = source.provider()
    crowd = [asyncio.create_task(provider()) for _ in range(3)]
    await settle()
    for number, leaver in enumerate(crowd):
        assert source.finished == 0, number
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
    assert source.finished == 1
    assert not others()
    source.gate.set()
    await provider()
    assert source.calls == 2


async def test_a_cancelled_caller_returns_after_the_source_has_cleaned_up() -> None:
    cleaned = False

    async def slow_to_leave() -> Credentials:
        nonlocal cleaned
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned = True
        return issue()

    provider = Provider(slow_to_leave, name="slow")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await provider()
    assert cleaned
    assert not others()


async def test_a_caller_who_comes_while_the_flight_is_taken_down_gets_the_next_one() -> None:
    calls = 0

    async def source() -> Credentials:
        nonlocal calls
        calls += 1
        if calls == 1:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
        return issue()

    provider = Provider(source, name="source")
    leaver = asyncio.create_task(provider())
    await settle()
    leaver.cancel()
    await settle()
    await provider()
    assert calls == 2
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_cancelled_before_its_first_step_the_flight_leaves_no_trace() -> None:
    source = Source()
    provider = source.provider()
    leaver = asyncio.create_task(provider())
    await asyncio.sleep(0)  # the caller has started the flight; the flight has not run yet
    assert source.calls == 0
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert not others()
    assert provider.status.failures == 0
    gc.collect()
    await provider()
    assert source.calls == 1


async def test_a_refresh_survives_its_waiters() -> None:
    source = Source()
    provider = source.provider()
    held = await provider()
    provider.invalidate()
    source.gate = asyncio.Event()
    waiter = asyncio.create_task(provider())
    await settle()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    source.gate.set()
    await settle()
    assert source.calls == source.finished == 2
    assert await provider() is not held
    assert source.calls == 2


async def test_a_refresh_behind_callers_is_not_collected_with_their_provider() -> None:
    async def use_and_forget() -> None:
        async def source() -> Credentials:
            if provider.status.successes:
                await asyncio.get_running_loop().create_future()  # nobody else knows of it
            return issue()

        context = Context(environ={})
        provider = Provider(source, name="source", context=context)
        await provider()
        context.clock.learn(3000)
        await provider()
        await settle()

    await use_and_forget()
    gc.collect()
    (refresh,) = others()
    refresh.cancel()
    await asyncio.wait([refresh])


tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


async def test_a_callers_context_variables_do_not_reach_the_source() -> None:
    seen: list[str] = []

    async def source() -> Credentials:
        seen.append(tenant.get())
        tenant.set("the source")
        return issue()

    provider = Provider(source, name="source")
    tenant.set("the caller")
    await provider()
    await provider.fetch()
    assert seen == ["nobody", "nobody"]
    assert tenant.get() == "the caller"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("blocks", [False, True])
async def test_eager_tasks_change_nothing(blocks: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - unknown to 3.11's stubs
    source = Source(SourceUnavailable("down"), issue())
    provider = source.provider()
    with pytest.raises(SourceUnavailable, match="source: down"):
        await provider()
    if blocks:
        source.gate = asyncio.Event()
        loop.call_soon(source.gate.set)
    got = await asyncio.gather(*(asyncio.create_task(provider()) for _ in range(100)))
    assert source.calls == 2
    assert len(set(got)) == 1
    async with provider:
        await settle()
    provider.invalidate()
    await chain(provider)()
    assert not others()


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["first load", "refresh", "kept fresh"])
def test_a_loop_that_ends_in_mid_flight_leaves_no_warning(phase: str) -> None:
    program = f"""
        import asyncio, warnings
        from aiocreds import Provider, Credentials
        calls = 0
        async def source():
            global calls
            calls += 1
            if calls > {phase == "refresh":d}:
                await asyncio.sleep(60)
            return Credentials("AKIDEXAMPLE", {secret()!r})
        provider = Provider(source, name="source")
        async def main():
            if {phase == "refresh"}:
                await provider()
                provider.invalidate()
            if {phase == "kept fresh"}:
                await provider.__aenter__()
            waiters = [asyncio.create_task(provider()) for _ in range(3)]
            await asyncio.sleep(0.01)
        asyncio.run(main())
        assert calls == 1 + {phase == "refresh":d}
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_a_provider_that_draws_from_itself_is_told_so() -> None:
    async def source() -> Credentials:
        return await provider()

    provider = Provider(source, name="snake")
    async with asyncio.timeout(5):
        with pytest.raises(InvalidConfiguration, match="snake draws its credentials from itself"):
            await provider()
    assert not others()


@pytest.mark.parametrize("ask", ["call", "get", "fetch"])
async def test_a_provider_that_draws_from_itself_through_others_is_told_so(ask: str) -> None:
    async def from_middle() -> Credentials:
        asks: dict[str, Ask] = {"call": middle, "get": middle.get, "fetch": middle.fetch}
        return await asks[ask]()

    async def from_right() -> Credentials:
        return await right()

    async def from_left() -> Credentials:
        return await asyncio.create_task(left())  # and in a task of its own

    left = Provider(from_middle, name="left")
    middle = Provider(from_right, name="middle")
    right = Provider(from_left, name="right")
    async with asyncio.timeout(5):
        with pytest.raises(InvalidConfiguration, match="left draws its credentials from itself"):
            await left()
        got = await asyncio.gather(left(), middle(), right(), return_exceptions=True)
    assert {type(error) for error in got} == {InvalidConfiguration}
    assert all("draws its credentials from itself" in str(error) for error in got)
    assert not others()


async def test_two_who_share_a_source_do_not_draw_from_themselves() -> None:
    shared = Source()
    shared.gate = asyncio.Event()
    base = shared.provider()
    left, right = Provider(base.get, name="left"), Provider(base.get, name="right")
    waiters = [asyncio.create_task(one()) for one in (left, right, base, left)]
    await settle()
    shared.gate.set()
    got = await asyncio.gather(*waiters)
    assert len(set(got)) == 1
    assert shared.calls == 1


async def test_a_source_that_cancels_itself_is_a_failure_and_not_a_cancelled_caller() -> None:
    async def source() -> Credentials:
        raise asyncio.CancelledError

    with pytest.raises(SourceUnavailable, match="was cancelled from inside"):
        await Provider(source, name="source")()


async def test_a_source_that_takes_no_notice_of_its_cancellation_is_not_wasted() -> None:
    async def stubborn() -> Credentials:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return credentials
        raise AssertionError

    credentials = issue()
    provider = Provider(stubborn, name="stubborn")
    waiter = asyncio.create_task(provider())
    await settle()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert await provider() is credentials


async def test_a_fetch_joins_the_flight_of_a_call() -> None:
    source = Source()
    source.gate = asyncio.Event()
    provider = source.provider()
    waiters = [asyncio.create_task(ask) for ask in (provider(), provider.fetch(), provider.get(min_ttl=60))]
    await settle()
    source.gate.set()
    assert len(set(await asyncio.gather(*waiters))) == 1
    assert source.calls == 1


async def test_the_error_of_a_flight_may_be_changed_by_whoever_caught_it() -> None:
    provider = Source(LoginRequired("sign in")).provider()
    for _ in range(3):
        with pytest.raises(CredentialsError) as caught:
            await provider()
        assert str(caught.value) == "source: sign in"
        caught.value.provider = "mine"
        caught.value.args = ("changed",)
