"""Attempts of an attacker, a bad day or a careless caller, and their results."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import TYPE_CHECKING, Any, Self

import pytest
import time_machine

from aiocreds import (
    ClientConfig,
    Context,
    Credentials,
    CredentialsError,
    InvalidConfiguration,
    LoginRequired,
    Provider,
    SourceUnavailable,
    credential_provider,
    from_http,
    from_ini,
    from_temporary_credentials,
)
from aiocreds._base import threads
from aiocreds.errors import afresh
from tests.helpers.command import PATIENCE
from tests.helpers.loopback_aws import Answer, Loopback
from tests.helpers.secret_leaks import MARK, is_ours, secret

if TYPE_CHECKING:
    from pathlib import Path

    from blockbuster import BlockBuster


def keys(**fields: Any) -> Credentials:
    return Credentials("AKIDHOSTILE1", secret(), **fields)


def a_provider(*outcomes: object) -> tuple[Provider, list[None]]:
    calls: list[None] = []

    async def source() -> Credentials:
        calls.append(None)
        outcome = outcomes[min(len(calls), len(outcomes)) - 1]
        if isinstance(outcome, BaseException):
            raise outcome
        assert isinstance(outcome, Credentials)
        return outcome

    return Provider(source, name="source", context=Context({})), calls


async def test_a_thread_that_cannot_start_is_one_failure_and_no_more(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    provider = from_ini("default", context=context)
    monkeypatch.setattr(threads, "_pool", threads._Pool())  # pyright: ignore[reportPrivateUsage] - one without threads
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(SourceUnavailable):
            await provider()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(CredentialsError, match="holds no credentials"):
            await provider()


@pytest.mark.parametrize("date", ["Mon, 01 Jan 1990 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"])
async def test_who_does_not_reject_our_clock_is_not_believed_about_the_time(
    aws: Loopback, context: Context, date: str
) -> None:
    aws.always("/", Answer(502, headers={"Date": date}))
    client = ClientConfig(region="eu-central-1", endpoint_url=aws.url, max_attempts=1)
    source, _ = a_provider(keys())
    with pytest.raises(SourceUnavailable):
        await from_temporary_credentials(role_arn="arn:x", source=source, client=client, context=context)()
    assert context.clock.offset == 0


async def test_a_source_that_cancels_its_task_is_not_asked_in_a_tight_loop() -> None:
    calls = 0

    async def source() -> Credentials:
        nonlocal calls
        calls += 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        raise AssertionError

    provider = Provider(source, name="source", context=Context({}))
    with pytest.raises(SourceUnavailable, match="cancelled from inside"):
        await provider()
    assert calls == 1
    async with provider:
        await asyncio.sleep(0.5)
    assert calls <= 3


async def test_a_backoff_does_not_grow_with_a_clock_that_is_set_back() -> None:
    provider, calls = a_provider(LoginRequired("sign in"), keys())
    with time_machine.travel(datetime(2030, 1, 1, 12, tzinfo=UTC)) as moved:
        with pytest.raises(LoginRequired):
            await provider()
        moved.shift(-timedelta(hours=1))
        assert (await provider()).access_key_id == "AKIDHOSTILE1"
    assert len(calls) == 2


class Careless(CredentialsError):
    """A user's own, whose constructors are no kin of ours."""

    def __new__(cls, one: int, two: int) -> Self:
        return super().__new__(cls, one, two)

    def __init__(self, one: int, two: int) -> None:
        Exception.__init__(self, one, two)


@pytest.mark.parametrize("error", [GeneratorExit(), Careless(1, 2), StopIteration(), RecursionError()])
async def test_whatever_a_source_raises_a_caller_sees_our_tree_alone(error: BaseException) -> None:
    provider, calls = a_provider(error, keys())
    with pytest.raises(CredentialsError) as caught:
        await provider()
    assert str(caught.value).startswith("source: ")
    await provider()
    assert len(calls) == 2


@pytest.mark.parametrize("header", ["Date", "Retry-After"])
async def test_a_date_that_no_computer_can_hold_is_none(aws: Loopback, context: Context, header: str) -> None:
    aws.script("/", Answer(503, headers={header: "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}))
    source, _ = a_provider(keys())
    client = ClientConfig(region="eu-central-1", endpoint_url=aws.url)
    await from_temporary_credentials(
        role_arn="arn:aws:iam::1:role/x", source=source, client=client, context=context
    )()
    assert len(aws.requests) == 2


async def test_a_foreign_error_shows_no_local_variable_of_ours(aws: Loopback, context: Context) -> None:
    async def raises(request: object, handler: object) -> Any:
        raise ZeroDivisionError

    source, _ = a_provider(keys(session_token=secret("token")))
    client = ClientConfig(region="eu-central-1", endpoint_url=aws.url, middlewares=[raises])
    role = from_temporary_credentials(
        role_arn="arn:x", source=source, external_id=secret("external"), client=client, context=context
    )
    with pytest.raises(
        SourceUnavailable, match=r"raised ZeroDivisionError at test_hostile.py:\d+ in raises"
    ) as caught:
        await role()
    trace = caught.value.__cause__.__traceback__ if caught.value.__cause__ else None
    files: list[str] = []
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    assert files == [__file__]
    assert not any(is_ours(file) or "aiohttp" in file for file in files)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, nan, inf, "5m", timedelta(0)])
async def test_a_time_out_has_an_end(aws: Loopback, context: Context, timeout: Any) -> None:
    with pytest.raises(InvalidConfiguration, match="timeout must be"):
        await from_http(full_uri=aws.url, timeout=timeout, context=context)()
    assert not aws.requests


async def test_leaving_under_repeated_cancellation_takes_the_refresh_along() -> None:
    held = keys(expiration=datetime.now(UTC) + timedelta(hours=1))
    ended = asyncio.Event()
    asked = asyncio.Event()

    @credential_provider
    async def slow() -> Credentials:
        if not asked.is_set() and not provider.status.successes:
            return held
        asked.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        raise AssertionError

    provider = slow()
    await provider()
    provider.invalidate()

    async def life() -> None:
        async with provider:
            await asked.wait()

    task = asyncio.ensure_future(life())
    await asked.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_an_expiration_beyond_the_calendar_is_no_trouble() -> None:
    provider, _ = a_provider(keys(expiration=datetime.max.replace(tzinfo=UTC)))
    await provider()
    assert provider.status.successes == 1
    endless = provider.expire_after(timedelta.max)
    await endless()
    assert endless.status.successes == 1


@pytest.mark.parametrize("duration", [nan, "ten", "10", None, -1, timedelta(seconds=-1)])
async def test_a_duration_is_a_number(duration: Any) -> None:
    provider, calls = a_provider(keys())
    with pytest.raises(ValueError, match="min_ttl must be a number of seconds or a timedelta"):
        await provider.get(min_ttl=duration)
    with pytest.raises(ValueError, match="expire_after must be a number of seconds or a timedelta"):
        provider.expire_after(duration)
    assert not calls


async def test_more_life_than_there_is_is_asked_for_once() -> None:
    provider, calls = a_provider(keys(expiration=datetime.now(UTC) + timedelta(hours=1)))
    await provider()
    for _ in range(3):
        await provider.get(min_ttl=inf)
    assert len(calls) == 2


async def test_a_profile_may_be_shared_by_threads(
    context: Context, tmp_path: Path, never_block: BlockBuster
) -> None:
    # The loops may meet at the import lock, where asyncio loads its executor
    never_block.functions["threading.Lock.acquire"].deactivate()
    chain = "".join(f"[profile p{n}]\nrole_arn = r{n}\nsource_profile = p{n + 1}\n" for n in range(20))
    (tmp_path / ".aws" / "config").write_text(f"{chain}[profile p20]\naws_access_key_id = AKIDCHAIN\n")
    provider = from_ini("p0", context=context)
    seen: list[BaseException] = []

    def one() -> None:
        for _ in range(5):
            try:
                asyncio.run(provider.fetch())
            except BaseException as error:  # noqa: BLE001 - each is looked at below
                seen.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert {(type(error), repr(error.__cause__)) for error in seen} == {(InvalidConfiguration, "None")}


def test_notes_of_one_caller_are_not_told_to_the_next() -> None:
    error = SourceUnavailable("no")
    error.add_note("mine")
    afresh(error).add_note("yours")
    assert error.__notes__ == ["mine"]


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_provider_cannot_be_copied_and_says_so(take: Any) -> None:
    provider, _ = a_provider(keys())
    with pytest.raises(TypeError, match="make source anew there"):
        take(provider)


def test_a_client_config_shows_no_password() -> None:
    assert MARK not in repr(ClientConfig(endpoint_url=f"http://user:{secret()}@localhost"))
