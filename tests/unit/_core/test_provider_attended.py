"""Sources that need a person: asked for a caller who waits, never behind one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aiocreds import Credentials, Provider, chain
from aiocreds._core import provider as provider_module
from aiocreds._core.context import Context
from aiocreds._core.singleflight import Unattended, attended
from tests.helpers.scripted import START, issue, others, settle, warned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import time_machine

HOUR = 3600.0
ADVISORY, MANDATORY = 3000.0, 3550.0


class Person:
    """Types a code when prompted; is only to be prompted for somebody who waits."""

    def __init__(self) -> None:
        self.asked = 0
        self.prompts = 0
        self.before: asyncio.Event | None = None

    async def source(self) -> Credentials:
        self.asked += 1
        if self.before is not None:
            await self.before.wait()
        if not attended():
            raise Unattended
        self.prompts += 1
        return issue(HOUR)

    def provider(self) -> Provider:
        return Provider(self.source, name="mfa", context=Context(environ={}))


async def test_outside_of_any_flight_there_is_a_caller() -> None:
    assert attended()


@pytest.mark.parametrize("ask", ["call", "get", "fetch"])
async def test_a_caller_who_waits_is_prompted(ask: str) -> None:
    person = Person()
    provider = person.provider()
    asks: dict[str, Callable[[], Awaitable[Credentials]]] = {
        "call": provider,
        "get": provider.get,
        "fetch": provider.fetch,
    }
    await asks[ask]()
    assert person.prompts == 1


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_behind_callers_it_declines_and_is_asked_again_when_they_wait(
    depth: int, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    person = Person()
    provider = person.provider()
    for _ in range(depth):
        provider = chain(provider)
    held = await provider()
    clock.shift(ADVISORY)
    for _ in range(20):
        assert await provider() is held
        await settle()
        clock.shift(20)
    assert (person.asked, person.prompts) == (2, 1)
    status = provider.status
    assert (status.failures, status.last_error, status.next_attempt) == (0, None, None)
    assert not warned(caplog)
    clock.move_to(START + MANDATORY)
    assert await provider() is not held
    assert (person.asked, person.prompts) == (3, 2)


@pytest.mark.parametrize("ask", ["get", "fetch", "invalidate"])
async def test_having_declined_it_is_there_for_whoever_asks_for_more(
    ask: str, clock: time_machine.Traveller
) -> None:
    person = Person()
    provider = person.provider()
    held = await provider()
    clock.shift(ADVISORY)
    await provider()
    await settle()
    if ask == "get":
        fresh = await provider.get(min_ttl=1800)
    elif ask == "fetch":
        fresh = await provider.fetch()
    else:
        provider.invalidate()
        fresh = await provider()
    assert fresh is not held
    assert person.prompts == 2


async def test_a_caller_who_joins_before_the_prompt_is_prompted(clock: time_machine.Traveller) -> None:
    person = Person()
    provider = person.provider()
    held = await provider()
    clock.shift(ADVISORY)
    person.before = asyncio.Event()
    assert await provider() is held
    await settle()
    late = asyncio.create_task(provider.fetch())
    await settle()
    person.before.set()
    assert await late is not held
    assert (person.asked, person.prompts) == (2, 2)


async def test_a_caller_who_joins_after_it_declined_is_prompted_by_another_flight(
    clock: time_machine.Traveller,
) -> None:
    declined, leave = asyncio.Event(), asyncio.Event()
    prompts = 0

    async def source() -> Credentials:
        nonlocal prompts
        try:
            if not attended():
                declined.set()
                raise Unattended
        finally:
            if declined.is_set():
                await leave.wait()
        prompts += 1
        return issue(HOUR)

    provider = Provider(source, name="mfa")
    held = await provider()
    clock.shift(ADVISORY)
    await provider()
    await declined.wait()
    late = asyncio.create_task(provider.fetch())
    await settle()
    leave.set()
    assert await late is not held
    assert prompts == 2


async def test_when_the_caller_has_left_before_the_prompt_nobody_is_prompted(
    clock: time_machine.Traveller,
) -> None:
    person = Person()
    provider = person.provider()
    await provider()
    clock.shift(MANDATORY)
    person.before = asyncio.Event()
    leaver = asyncio.create_task(provider())
    await settle()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    person.before.set()
    await settle()
    assert (person.asked, person.prompts) == (2, 1)


async def test_a_provider_that_draws_from_it_behind_callers_goes_on_with_what_it_holds(
    clock: time_machine.Traveller,
) -> None:
    person = Person()
    base = person.provider()
    drawn: list[Credentials] = []

    async def role() -> Credentials:
        drawn.append(await base.get(min_ttl=60))
        return issue(1200)

    provider = Provider(role, name="role")
    await provider()
    for _ in range(3):  # the role's refreshes run behind; the person's keys last
        clock.shift(1000)
        await provider()
        await settle()
    assert len(drawn) == 4
    assert len(set(drawn)) == 1
    assert person.prompts == 1
    clock.shift(1000)  # hers have expired meanwhile, the role's are in their advisory window
    await provider()
    await settle()
    assert (person.prompts, provider.status.failures) == (1, 0)
    clock.shift(150)  # now in their mandatory one: the caller waits for both
    await provider()
    assert person.prompts == 2


async def test_a_task_that_a_source_left_behind_is_a_caller_like_any_other(clock: time_machine.Traveller) -> None:
    person = Person()
    base = person.provider()
    go = asyncio.Event()
    left: list[asyncio.Task[Credentials]] = []

    async def later() -> Credentials:
        await go.wait()
        return await base()

    async def source() -> Credentials:
        left.append(asyncio.create_task(later()))
        return issue()

    await Provider(source, name="source")()
    go.set()
    assert isinstance(await left[0], Credentials)
    assert person.prompts == 1


async def test_kept_fresh_in_the_background_nobody_is_prompted(
    clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "LONGEST_SLEEP", 0.002)
    monkeypatch.setattr(provider_module, "SHORTEST_SLEEP", 0.002)
    person = Person()
    async with chain(person.provider()) as provider:
        await asyncio.sleep(0.02)
        assert person.asked > 0
        assert person.prompts == 0
        held = await provider()
        assert person.prompts == 1
        asked = person.asked
        clock.shift(ADVISORY)
        await asyncio.sleep(0.05)
        assert person.asked == asked + 1
        clock.move_to(START + MANDATORY)
        await asyncio.sleep(0.02)
        assert person.prompts == 1
        assert await provider() is not held
        assert person.prompts == 2
    assert provider.status.failures == 0
    assert not others()
