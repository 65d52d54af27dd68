"""`async with provider`: fresh even when nobody calls, and nothing left behind."""

# pyright: reportPrivateUsage=false
# What is checked here cannot be seen from outside.

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
import time_machine

from aiocreds._core import provider as provider_module
from aiocreds._core.context import Context
from aiocreds.errors import LoginRequired, SourceUnavailable
from tests.helpers.scripted import START, Source, issue, others, settle, warned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR = 3600.0
DOWN = SourceUnavailable("down")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[time_machine.Traveller]:
    """Time stands still; what would sleep for half a minute sleeps for an instant."""
    monkeypatch.setattr(provider_module, "LONGEST_SLEEP", 0.005)
    monkeypatch.setattr(provider_module, "SHORTEST_SLEEP", 0.005)
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - many a condition
            await asyncio.sleep(0.002)


async def test_entering_starts_to_load_and_does_not_wait() -> None:
    source = Source()
    source.gate = asyncio.Event()
    async with source.provider() as provider:
        assert source.finished == 0
        await settle()
        assert source.calls == 1
        waiter = asyncio.create_task(provider())
        await settle()
        source.gate.set()
        await waiter
    assert source.calls == 1
    assert not others()


async def test_entering_does_not_raise(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(DOWN)
    async with source.provider() as provider:
        await settle()
        assert provider.status.failures == 1
        assert [record.getMessage() for record in caplog.records] == ["source: down. No credentials yet"]
        assert caplog.records[0].levelno == logging.WARNING
        await provider()
    assert not others()


async def test_a_question_needs_no_full_stop(caplog: pytest.LogCaptureFixture) -> None:
    async with Source(SourceUnavailable("no such profile; did you mean 'dev'?")).provider():
        await settle()
    assert caplog.messages == ["source: no such profile; did you mean 'dev'? No credentials yet"]


async def test_the_log_is_told_once_why_there_are_none(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._core.provider.SHORTEST_SLEEP", 0.001)
    source = Source(DOWN, DOWN, DOWN, SourceUnavailable("down\n  in two lines"), DOWN)
    async with source.provider() as provider:
        await until(lambda: provider.status.successes == 1)
    assert [record.getMessage() for record in warned(caplog)] == [
        "source: down. No credentials yet",
        "No credentials yet: source: down\n  in two lines",
        "source: down. No credentials yet",
    ]
    assert "source: recovered" in [record.getMessage() for record in caplog.records]


async def test_credentials_are_refreshed_though_nobody_calls(clock: time_machine.Traveller) -> None:
    source = Source()
    async with source.provider() as provider:
        for calls in range(1, 5):
            await until(lambda calls=calls: source.calls == calls)  # type: ignore[misc]
            await asyncio.sleep(0.02)
            assert source.calls == calls
            clock.shift(3000)
        await until(lambda: provider.status.successes == 5)
    assert not others()


async def test_a_machine_that_slept_is_caught_up_with(clock: time_machine.Traveller) -> None:
    source = Source()
    async with source.provider() as provider:
        await until(lambda: source.calls == 1)
        clock.shift(20 * HOUR)
        await until(lambda: source.calls == 2)
        assert provider.status.seconds_left == HOUR


async def test_rejected_credentials_are_replaced_though_nobody_calls(clock: time_machine.Traveller) -> None:
    source = Source()
    async with source.provider() as provider:
        await until(lambda: provider.status.successes == 1)
        provider.invalidate()
        await until(lambda: provider.status.successes == 2)


async def test_a_failing_first_load_is_tried_again_and_again(clock: time_machine.Traveller) -> None:
    source = Source(DOWN, DOWN, DOWN)
    async with source.provider() as provider:
        await until(lambda: provider.status.successes == 1)
        assert provider.status.failures == 3


async def test_a_backoff_holds_in_the_background_too(clock: time_machine.Traveller) -> None:
    source = Source(issue(HOUR, stamped=True), DOWN)
    async with source.provider() as provider:
        await until(lambda: provider.status.successes == 1)
        clock.shift(3000)
        await until(lambda: provider.status.failures == 1)
        await asyncio.sleep(0.03)
        assert source.calls == 2
        clock.shift(600)
        await until(lambda: provider.status.successes == 2)


async def test_a_failing_source_is_asked_more_and_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def counting(delay: float) -> None:
        slept.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", counting)
    source = Source(usual=lambda: DOWN)
    async with source.provider():
        while len(slept) < 12:
            await sleep(0)
    assert all(delay <= 30 for delay in slept)
    assert 1 <= slept[0] <= 2
    assert all(delay >= 15 for delay in slept[5:12])


async def test_the_last_to_leave_stops_it(clock: time_machine.Traveller) -> None:
    source = Source()
    provider = source.provider()
    async with provider:
        await until(lambda: source.calls == 1)
        async with provider, provider:
            clock.shift(3000)
            await until(lambda: source.calls == 2)
        clock.shift(3000)
        await until(lambda: source.calls == 3)
    clock.shift(3000)
    await asyncio.sleep(0.03)
    assert source.calls == 3
    assert not others()
    async with provider:
        await until(lambda: source.calls == 4)
    assert not others()


async def test_leaving_takes_down_what_was_started() -> None:
    source = Source()
    source.gate = asyncio.Event()
    async with source.provider():
        await settle()
    assert source.calls == source.finished == 1
    assert not others()


async def test_leaving_takes_down_a_refresh_behind_callers(clock: time_machine.Traveller) -> None:
    source = Source()
    async with source.provider() as provider:
        await provider()
        source.gate = asyncio.Event()
        clock.shift(3000)
        await provider()
        await settle()
        assert source.finished == 1
    assert source.finished == 2
    assert not others()
    assert provider.status.failures == 0


async def test_leaving_at_once_leaves_nothing() -> None:
    source = Source()
    async with source.provider():
        pass
    assert not others()
    assert source.finished == source.calls


@pytest.mark.parametrize("loaded", [False, True])
async def test_leaving_spares_a_flight_that_others_wait_for(loaded: bool) -> None:
    source = Source()
    provider = source.provider()
    if loaded:
        await provider()
        provider.invalidate()
    source.gate = asyncio.Event()
    async with provider:
        await settle()
        waiter = asyncio.create_task(provider())
        await settle()
    assert not waiter.done()
    source.gate.set()
    await waiter
    assert source.calls == 1 + loaded
    assert not others()


@pytest.mark.parametrize("error", [DOWN, LoginRequired("sign in"), RuntimeError("a bug")], ids=repr)
async def test_leaving_while_the_source_fails(error: Exception, clock: time_machine.Traveller) -> None:
    source = Source(usual=lambda: error)
    async with source.provider() as provider:
        await until(lambda: provider.status.failures > 0)
    assert not others()


async def test_an_error_of_the_body_passes_through() -> None:
    source = Source()
    source.gate = asyncio.Event()
    with pytest.raises(KeyError):  # noqa: PT012
        async with source.provider():
            await settle()
            raise KeyError
    assert not others()


async def test_a_cancelled_body_leaves_nothing_either() -> None:
    source = Source()
    source.gate = asyncio.Event()

    async def body() -> None:
        async with source.provider() as provider:
            await provider()

    task = asyncio.create_task(body())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.finished == 1
    assert not others()


async def test_context_is_held_open_meanwhile() -> None:
    context = Context(environ={})
    other = Context(environ={})
    loop = asyncio.get_running_loop()
    provider = Source().provider(context)
    inner = Source().provider(other)
    outer = type(provider)(inner.get, name="outer", context=context, inner=[inner])
    async with outer:
        async with outer:
            pass
        assert context._held == {loop: 1}
        assert other._held == {loop: 1}
    assert context._held == other._held == {}


def test_it_may_be_entered_in_one_loop_after_another() -> None:
    source = Source()
    provider = source.provider()

    async def main() -> None:
        async with provider:
            await provider()
        assert not others()

    asyncio.run(main())
    asyncio.run(main())
    assert source.calls == 1


def test_a_loop_that_never_left_does_not_block_the_next() -> None:
    source = Source()
    provider = source.provider()

    async def enter() -> None:
        await provider.__aenter__()
        await provider()

    asyncio.run(enter())

    async def main() -> None:
        async with provider:
            provider.invalidate()
            await provider()
        assert not others()

    asyncio.run(main())
    assert source.calls == 2
