"""Who holds credentials that can be served does not wait for long; nobody waits for what will not be stopped."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

from aiocreds import Context, Credentials, Provider, SourceUnavailable, chain, from_process
from aiocreds._core import provider as provider_module
from aiocreds._core import refresh
from tests.helpers.assumed_role import role
from tests.helpers.idle_time import IdleTime
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Script
from tests.helpers.scripted import START, Source, issue, others, settle, until, warned
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

HOUR = 3600.0
MANDATORY, EXPIRED = 3550.0, 3601.0
PATIENCE, GRACE = 0.1, 0.1  # seconds, for tests in which time does not jump
SOON = 1.0  # seconds; far less than what hangs, far more than these two on a busy machine


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.PATIENCE", PATIENCE)
    monkeypatch.setattr("aiocreds._core.singleflight.GRACE", GRACE)


@pytest.fixture(autouse=True)
async def _all_home() -> AsyncIterator[None]:
    """End what a test has left behind its callers."""
    yield
    for task in (left := others()):
        task.cancel()
    if left:
        await asyncio.wait(left)


async def hanging(lifetime: float = HOUR, *, stamped: bool = False) -> tuple[Source, Provider, Credentials]:
    """A provider that holds something, and its source, which answers no more."""
    source = Source(issue(lifetime, stamped=stamped))
    provider = source.provider()
    held = await provider()
    source.gate = asyncio.Event()
    return source, provider, held


# As things are: the service is real, and what takes long is let pass.


@pytest.mark.parametrize(
    "script", [Answer(503, headers={"Retry-After": "20"}), Hang()], ids=["Retry-After: 20", "never answers"]
)
@pytest.mark.parametrize("why", ["rejected", "last minute"])
def test_a_service_that_takes_its_time_does_not_take_that_of_callers(
    script: Script, why: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # as it comes
    waits: list[float] = []

    async def program(clock: time_machine.Traveller) -> None:
        loop = asyncio.get_running_loop()
        async with Loopback() as aws:
            aws.lifetime = timedelta(hours=1)
            provider = role(aws, Context({}, home=home))
            held = await provider()
            if why == "rejected":
                provider.invalidate(held)
            else:
                await asyncio.sleep(HOUR - 50)
            aws.always("/", script)
            for pause in (0.0, 1.0, 10.0):
                await asyncio.sleep(pause)
                began = loop.time()
                assert await provider() is held
                waits.append(loop.time() - began)
            aws.always("/", None)
            await asyncio.sleep(700)
            assert await provider() is not held

    with (
        time_machine.travel(START, tick=False) as clock,
        asyncio.Runner(loop_factory=lambda: IdleTime(clock.shift)) as runner,
    ):
        runner.run(program(clock))
    assert waits[0] == pytest.approx(3, abs=0.1)
    assert waits[1:] == pytest.approx([0, 0], abs=0.1), "it is known by then to take long"


async def test_a_program_that_hangs_does_not_hold_up_who_has_keys(
    home: Path, clock: time_machine.Traveller
) -> None:
    ends = datetime.fromtimestamp(START + HOUR, UTC).isoformat()
    printed = (
        f'{{"Version":1,"AccessKeyId":"AKIAEXAMPLE00001","SecretAccessKey":"{secret()}","Expiration":"{ends}"}}'
    )
    script, mark = home / "vend", home / "ran"
    script.write_text(f"#!/bin/sh\n[ -e {mark} ] && exec sleep 60\n: > {mark}\necho '{printed}'\n")
    script.chmod(0o755)
    provider = from_process(command=str(script), context=Context({"PATH": "/bin:/usr/bin"}, home=home))
    held = await provider()
    clock.shift(MANDATORY)
    began = perf_counter()
    for _ in range(3):
        assert await provider() is held
    assert perf_counter() - began < SOON + 1
    assert provider.status.failures == 0


# What is served, and for how long it is waited.


@pytest.mark.parametrize(
    ("age", "stamped"), [(MANDATORY, False), (MANDATORY, True), (EXPIRED, True), (3599.9, False), (3599.9, True)]
)
async def test_who_holds_something_is_served_and_the_refresh_goes_on(
    age: float, stamped: bool, clock: time_machine.Traveller
) -> None:
    source, provider, held = await hanging(stamped=stamped)
    clock.shift(age)
    began = perf_counter()
    got = await asyncio.gather(*(provider() for _ in range(20)))
    assert set(got) == {held}
    assert perf_counter() - began < SOON
    assert source.gate is not None
    source.gate.set()
    await settle()
    assert await provider() is not held
    assert source.calls == 2


@pytest.mark.parametrize("ask", ["call", "get"])
async def test_a_rejection_does_not_change_that(ask: str) -> None:
    _, provider, held = await hanging()
    provider.invalidate(held)
    asks: dict[str, Callable[[], Awaitable[Credentials]]] = {
        "call": provider,
        "get": lambda: provider.get(min_ttl=2 * HOUR),
    }
    began = perf_counter()
    for _ in range(20):
        assert await asks[ask]() is held
    assert perf_counter() - began < SOON, "only the first one waits"


async def test_a_refresh_that_takes_no_longer_is_waited_for(clock: time_machine.Traveller) -> None:
    source, provider, held = await hanging()
    clock.shift(MANDATORY)
    assert source.gate is not None
    asyncio.get_running_loop().call_later(PATIENCE / 4, source.gate.set)
    assert await provider() is not held


@pytest.mark.parametrize("kept_back", [0.05, 0.2, 30.0])
async def test_nobody_waits_past_the_end_of_what_is_held(kept_back: float, clock: time_machine.Traveller) -> None:
    _, provider, _ = await hanging()
    clock.shift(HOUR - kept_back)
    waits = refresh.patience(provider._state, START + HOUR - kept_back)  # pyright: ignore[reportPrivateUsage]
    assert waits is not None
    assert 0 < waits < min(kept_back, PATIENCE + 1e-6)


async def test_who_holds_nothing_of_use_waits_for_the_source(clock: time_machine.Traveller) -> None:
    source, provider, held = await hanging()
    clock.shift(EXPIRED)
    waiter = asyncio.create_task(provider())
    await asyncio.sleep(3 * PATIENCE)
    assert not waiter.done()
    assert source.gate is not None
    source.gate.set()
    assert await waiter is not held


async def test_what_ends_while_it_is_waited_for_is_not_served(clock: time_machine.Traveller) -> None:
    source, provider, held = await hanging()
    clock.shift(MANDATORY)
    waiter = asyncio.create_task(provider())
    await settle()
    clock.shift(60)  # a machine that was suspended for a minute, say
    await asyncio.sleep(3 * PATIENCE)
    assert not waiter.done()
    assert source.gate is not None
    source.gate.set()
    assert await waiter is not held


async def test_a_failure_that_comes_behind_callers_is_told_and_counts(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    source, provider, held = await hanging()
    source.usual = lambda: SourceUnavailable("down")
    clock.shift(MANDATORY)
    assert await provider() is held
    assert source.gate is not None
    source.gate.set()
    await settle()
    assert provider.status.failures == 1
    assert ["down" in record.getMessage() for record in warned(caplog)] == [True]
    assert await provider() is held
    assert source.calls == 2


async def test_through_a_chain_and_a_role_it_is_the_same(clock: time_machine.Traveller) -> None:
    base, source, _ = await hanging()

    async def from_role() -> Credentials:
        await source.get(min_ttl=60)
        return issue(HOUR)

    outer = chain(Provider(from_role, name="role"))
    held = await outer()
    clock.shift(MANDATORY)
    began = perf_counter()
    fresh = await asyncio.wait_for(outer.get(min_ttl=600), 2)
    assert fresh is held
    await until(lambda: outer.status.successes == 2)  # with what the role's source still holds
    assert await outer() is not held
    assert perf_counter() - began < SOON
    assert base.calls == 2


# What does not let itself be stopped.


class Stubborn:
    """A source that takes no notice of being cancelled, until it is released."""

    def __init__(self, *, then: object = None) -> None:
        self.calls = 0
        self.released = asyncio.Event()
        self.then = then

    async def __call__(self) -> Any:
        self.calls += 1
        if self.calls > 1:
            return issue()
        while not self.released.is_set():
            with suppress(asyncio.CancelledError):
                await self.released.wait()
        if isinstance(self.then, BaseException):
            raise self.then
        return self.then

    def provider(self) -> Provider:
        return Provider(self, name="stubborn", context=Context(environ={}))


async def release(source: Stubborn) -> None:
    source.released.set()
    await settle()


@pytest.mark.parametrize(
    "then", [issue(60), SourceUnavailable("down"), ValueError()], ids=["keys", "failure", "bug"]
)
async def test_a_caller_who_gives_up_does_not_wait_for_it(then: object, caplog: pytest.LogCaptureFixture) -> None:
    source = Stubborn(then=then)
    provider = source.provider()
    began = perf_counter()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(provider(), 0.02)
    assert perf_counter() - began < SOON
    held = await provider()  # the next trip is not held up
    assert source.calls == 2
    await release(source)
    assert await provider() is held
    assert provider.status.failures == 0
    assert not warned(caplog)
    assert not others()


async def test_who_comes_while_it_is_being_stopped_gets_the_next_trip(caplog: pytest.LogCaptureFixture) -> None:
    source = Stubborn(then=issue())
    provider = source.provider()
    leaver = asyncio.create_task(provider())
    await settle()
    for _ in range(3):  # and the leaver is in a hurry
        leaver.cancel()
        await settle()
    began = perf_counter()
    await provider()
    assert perf_counter() - began < SOON
    assert source.calls == 2
    with pytest.raises(asyncio.CancelledError):
        await leaver
    await release(source)
    assert not warned(caplog)


async def test_leaving_a_lifespan_does_not_wait_for_it() -> None:
    source = Stubborn(then=issue())
    began = perf_counter()
    async with source.provider():
        await settle()
        assert source.calls == 1
    assert perf_counter() - began < SOON
    await release(source)
    assert not others()


async def test_leaving_a_lifespan_in_a_refresh_does_not_wait_for_it(
    clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(provider_module, "SHORTEST_SLEEP", 0.005)
    source = Stubborn(then=issue())
    source.calls, provider = 1, source.provider()
    held = await provider()
    source.calls = 0
    provider.invalidate(held)
    began = perf_counter()
    async with provider:
        await until(lambda: source.calls == 1)
    assert perf_counter() - began < SOON
    await release(source)
    assert not warned(caplog)
