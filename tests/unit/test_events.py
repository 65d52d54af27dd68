"""`aiocreds.events`: what a listener is told of, when and where, and what its mistakes cost."""

# pyright: reportPrivateUsage=false
# A wrong clock is learned inside of the library.

from __future__ import annotations

import asyncio
import copy
import gc
import json
import logging
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import aiocreds.events
from aiocreds import Credentials, CredentialsNotFound, Provider, SourceUnavailable, chain, from_env
from aiocreds._core import refresh
from aiocreds._core.singleflight import Unattended
from aiocreds.events import (
    Event,
    Failed,
    GivenUp,
    Invalidated,
    ServedStale,
    Started,
    Succeeded,
    Waited,
    listen,
)
from aiocreds.tokens import rds_token
from tests.helpers.scripted import Source, issue, settle
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import time_machine

ADVISORY, MANDATORY, EXPIRED = 3000.0, 3550.0, 3601.0  # of an hour, whatever the jitter
DOWN = SourceUnavailable("down")


class Heard(list[Event]):
    """What a listener was told."""

    def take(self) -> list[str]:
        """The names of the events since the last time."""
        names = [type(event).__name__ for event in self]
        self.clear()
        return names

    @property
    def only(self) -> Any:
        """The one event since the last time."""
        [event] = self
        return event

    def stale(self) -> list[str]:
        return [event.reason for event in self if isinstance(event, ServedStale)]


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    stop = listen(heard.append)
    yield heard
    stop()


# What happens.


async def test_a_first_load(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    provider = source.provider(name="ours")
    source.gate = asyncio.Event()
    caller = asyncio.create_task(provider())
    await settle()
    started: Any = heard.only
    assert started == Started("ours", provider, started.refresh, background=False)
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + 1000.0)
    source.gate.set()
    held = await caller
    _, succeeded, waited = heard
    key = f"****{held.access_key_id[-4:]}"
    assert isinstance(succeeded, Succeeded)
    assert succeeded[:3] == started[:3]
    assert succeeded.duration == pytest.approx(1000.0, abs=60.0)
    assert (succeeded.expiration, succeeded.access_key_id, succeeded.source) == (held.expiration, key, None)
    assert isinstance(waited, Waited)
    assert waited.duration == pytest.approx(1000.0, abs=60.0)
    assert held.secret_access_key not in repr(list(heard))
    assert held.access_key_id not in repr(list(heard))


async def test_a_call_that_is_answered_from_memory_is_no_event(clock: time_machine.Traveller, heard: Heard) -> None:
    provider = Source().provider()
    await provider()
    heard.clear()
    for _ in range(3):
        await provider()
        await provider.get(min_ttl=60)
    assert heard == []


async def test_a_refresh_in_the_background(clock: time_machine.Traveller, heard: Heard) -> None:
    provider = Source().provider()
    await provider()
    heard.clear()
    clock.shift(ADVISORY)
    await provider()
    [started] = heard
    assert isinstance(started, Started)
    assert started.background
    await settle()
    assert heard.take() == ["Started", "Succeeded"]


async def test_a_failure_has_its_error(clock: time_machine.Traveller, heard: Heard) -> None:
    source = Source(OSError(5))
    provider = source.provider()
    with pytest.raises(SourceUnavailable) as raised:
        await provider()
    started, failed, _ = heard
    assert isinstance(started, Started)
    assert isinstance(failed, Failed)
    assert (failed.refresh, failed.error_type) == (started.refresh, "SourceUnavailable")
    assert str(failed.error) == str(raised.value)
    assert failed.error is not provider.status.last_error  # what a listener does to it changes nothing
    await provider()
    assert heard[-2].refresh > started.refresh  # type: ignore[union-attr]  # of a Succeeded


async def test_every_refresh_that_starts_ends(heard: Heard) -> None:
    source = Source()
    provider = source.provider()
    source.gate = asyncio.Event()
    caller = asyncio.create_task(provider())
    await settle()
    caller.cancel()
    await asyncio.wait([caller])
    started, ended, waited = heard
    assert isinstance(started, Started)
    assert isinstance(ended, GivenUp)
    assert (ended.refresh, ended.reason) == (started.refresh, "cancelled")
    assert isinstance(waited, Waited)  # in vain, but it did


async def test_a_source_that_needs_a_person_gives_up_in_the_background(
    clock: time_machine.Traveller, heard: Heard
) -> None:
    source = Source(issue(), Unattended())
    provider = source.provider()
    await provider()
    clock.shift(ADVISORY)
    await provider()
    await settle()
    ended = heard[-1]
    assert isinstance(ended, GivenUp)
    assert ended.reason == "unattended"


async def test_an_invalidation_is_told_once(clock: time_machine.Traveller, heard: Heard) -> None:
    provider = Source().provider()
    held = await provider()
    heard.clear()
    provider.invalidate("another key")
    assert heard == []
    provider.invalidate(held)
    provider.invalidate(held)
    assert heard.only == Invalidated("source", provider, f"****{held.access_key_id[-4:]}")


@pytest.mark.parametrize(
    ("stamped", "shift", "reason"),
    [(False, ADVISORY, "failing"), (False, MANDATORY, "failing"), (True, EXPIRED, "expired")],
)
async def test_what_is_served_while_the_source_fails_is_stale(
    clock: time_machine.Traveller, heard: Heard, stamped: bool, shift: float, reason: str
) -> None:
    source = Source(issue(stamped=stamped), usual=lambda: DOWN)
    provider = source.provider()
    held = await provider()
    clock.shift(shift)
    await provider()  # in the advisory window the refresh has not failed yet
    await settle()
    heard.clear()
    assert await provider() is held
    assert await provider() is held
    assert heard.stale() == [reason, reason]
    [*_, event] = heard
    assert isinstance(event, ServedStale)
    assert event.seconds_left == pytest.approx(3600.0 - shift, abs=5.0)


async def test_rejected_credentials_that_the_source_cannot_replace_are_stale(
    clock: time_machine.Traveller, heard: Heard
) -> None:
    source = Source(issue(), usual=lambda: DOWN)
    provider = source.provider()
    held = await provider()
    provider.invalidate(held)
    assert await provider() is held
    assert heard.stale() == ["rejected"]


async def test_credentials_that_are_served_since_the_source_is_slow_are_stale(
    clock: time_machine.Traveller, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "PATIENCE", 0.05)
    source = Source()
    provider = source.provider()
    held = await provider()
    clock.shift(MANDATORY)
    source.gate = asyncio.Event()
    caller = asyncio.create_task(provider())
    await settle()
    heard.clear()
    assert await caller is held
    assert heard.stale() == ["slow"]
    assert "Waited" in heard.take()
    assert await provider() is held  # has nothing to wait for
    assert heard.take() == ["ServedStale"]
    source.gate.set()
    await settle()
    assert heard.take() == ["Succeeded"]


async def test_a_callback_that_cannot_wait_is_heard_as_well(clock: time_machine.Traveller, heard: Heard) -> None:
    provider = Source(issue(), usual=lambda: DOWN).provider()
    token = rds_token(provider, "books.abc.eu-central-1.rds.amazonaws.com:5432", user="app")
    await provider()
    heard.clear()
    token.held()
    assert heard.take() == []
    clock.shift(MANDATORY)
    token.held()
    await settle()
    token.held()
    assert heard.stale() == ["failing"]
    assert [name for name in heard.take() if name != "ServedStale"] == ["Started", "Failed"]


async def test_an_advisory_refresh_makes_nothing_stale(clock: time_machine.Traveller, heard: Heard) -> None:
    source = Source()
    provider = source.provider()
    await provider()
    clock.shift(ADVISORY)
    source.gate = asyncio.Event()
    await provider()
    await provider()
    assert heard.stale() == []
    source.gate.set()
    await settle()


async def test_credentials_that_are_not_due_are_not_stale_under_a_wrong_clock_either(
    clock: time_machine.Traveller, heard: Heard
) -> None:
    source = Source(issue(), usual=lambda: DOWN)
    provider = source.provider()
    provider._context.clock.learn(10.0)
    held = await provider()
    assert await provider.get(min_ttl=7200) is held
    assert heard.stale() == ["failing"]  # the caller wanted others
    heard.clear()
    assert await provider() is held
    assert heard == []


async def test_fetch_waits(clock: time_machine.Traveller, heard: Heard) -> None:
    await Source().provider().fetch()
    assert heard.take() == ["Started", "Succeeded", "Waited"]


# To whom.


async def test_members_of_a_chain_are_heard_but_are_no_callers(heard: Heard) -> None:
    empty = Source(CredentialsNotFound("nothing here")).provider(name="empty")
    await chain(empty, Source().provider(name="full"))()
    found = [(event.provider, type(event).__name__) for event in heard]
    assert found == [
        ("chain", "Started"),
        ("empty", "Started"),
        ("empty", "Failed"),
        ("full", "Started"),
        ("full", "Succeeded"),
        ("chain", "Succeeded"),
        ("chain", "Waited"),
    ]


async def test_a_listener_of_one_provider_hears_of_no_other() -> None:
    heard = Heard()
    ours, other = Source().provider(), Source().provider()
    stop = listen(heard.append, ours)
    capped = ours.expire_after(60)
    await asyncio.gather(ours(), other(), capped())
    assert {id(event.origin) for event in heard} == {id(ours)}
    heard.clear()
    stop()
    stop()
    await ours.fetch()
    assert heard == []


async def test_a_listener_lives_as_long_as_its_provider() -> None:
    class Listener:
        def __init__(self, provider: Provider) -> None:
            self.provider = provider

        def __call__(self, event: Event) -> None:
            pass

    provider = Source().provider()
    listener = Listener(provider)
    listen(listener, provider)
    known = weakref.ref(listener)
    del listener
    gc.collect()
    assert known() is not None
    del provider
    gc.collect()
    assert known() is None


async def test_a_copy_of_a_provider_has_no_listeners() -> None:
    heard = Heard()
    provider = from_env()
    listen(heard.append, provider)
    made_anew = copy.copy(provider)
    with pytest.raises(CredentialsNotFound):
        await made_anew()
    assert heard == []


async def test_it_runs_in_the_thread_where_it_happens(heard: Heard) -> None:
    threads: list[threading.Thread] = []
    provider = Source().provider()
    stop = listen(lambda _: threads.append(threading.current_thread()), provider)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: (asyncio.run(provider.get()), threading.current_thread())[1])
        there = await asyncio.wrap_future(future)
    assert set(threads) == {there}
    provider.invalidate()
    assert threads[-1] is threading.current_thread()
    stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_inherits_it() -> None:
    program = """
import asyncio, os
from aiocreds import Credentials, Provider
from aiocreds.events import listen
async def source(): return Credentials("AKIAEXAMPLE1", "x")
told = []
listen(lambda event: told.append(type(event).__name__))
if not (child := os.fork()):
    asyncio.run(Provider(source, name="ours")())
    os._exit(told != ["Started", "Succeeded", "Waited"])
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Mistakes.


async def test_a_listener_that_raises_is_logged_once_and_changes_nothing(
    heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError(secret("in a listener"))

    provider = Source().provider()
    stop_broken, behind = listen(broken, provider), Heard()
    stop_behind = listen(behind.append, provider)
    try:
        assert isinstance(await provider(), Credentials)
        await provider.fetch()
    finally:
        stop_broken()
        stop_behind()
    assert behind.take() == ["Started", "Succeeded", "Waited"] * 2
    [record] = [record for record in caplog.records if record.name == "aiocreds.events"]
    assert record.levelno == logging.ERROR
    text = record.getMessage()
    assert "broken failed, and is still called; this is logged once" in text
    assert "test_events.py" in text
    assert "RuntimeError" in text


async def test_a_listener_that_looks_at_a_cancelled_task_cancels_nobody() -> None:
    async def nothing() -> None:
        pass

    looked_at = asyncio.create_task(nothing())
    looked_at.cancel()
    await asyncio.wait([looked_at])
    provider = Source().provider()
    stop = listen(lambda _: looked_at.result(), provider)
    try:
        first, second = await asyncio.gather(provider(), provider())
        assert first is second
        provider.invalidate()
    finally:
        stop()


async def test_a_listener_may_ask_the_provider_and_listen_and_stop() -> None:
    provider = Source().provider()
    seen: list[bool] = []
    stops: list[Callable[[], None]] = []

    def listener(event: Event) -> None:
        seen.append(event.origin.status.loaded)
        event.origin.invalidate()
        stops.pop()()
        stops.append(listen(seen.append, provider))  # type: ignore[arg-type]  # of whatever

    stops.append(listen(listener, provider))
    await provider()
    assert seen[0] is False
    assert len(seen) == 3


async def test_what_is_no_listener_is_a_type_error() -> None:
    async def coroutine(event: Event) -> None: ...

    class Awaited:
        async def __call__(self, event: Event) -> None: ...

    with pytest.raises(TypeError, match="write coroutine as a plain `def`"):
        listen(coroutine)
    with pytest.raises(TypeError, match="write Awaited as a plain `def`"):
        listen(Awaited())
    with pytest.raises(TypeError, match="takes a function of one argument, not int"):
        listen(3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match="takes a provider, not function: was its factory not called"):
        listen(print, from_env)  # type: ignore[arg-type]  # what is tested


# What it costs.


def test_nothing_is_loaded_without_a_listener() -> None:
    program = (
        "import asyncio, json, sys, aiocreds\n"
        "try: asyncio.run(aiocreds.default_chain()())\n"
        "except aiocreds.CredentialsError: pass\n"
        "print(json.dumps(list(sys.modules)))"
    )
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE1", "AWS_SECRET_ACCESS_KEY": "x"}
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environ, timeout=60)
    assert "aiocreds.events" not in json.loads(run.stdout)


def test_a_call_from_memory_does_not_look_for_listeners() -> None:
    code = Provider.__call__.__code__
    assert set(code.co_names) == {"time", "_fresh_until", "_credentials", "_resolve"}


def test_all_events_are_public() -> None:
    public = set(aiocreds.events.__all__)
    assert public == {kind.__name__ for kind in Event.__args__} | {"Event", "listen"}
