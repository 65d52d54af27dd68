"""MFA codes: asked for while somebody waits, one prompt at a time."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aiocreds import (
    Context,
    InvalidConfiguration,
    Provider,
    SourceUnavailable,
    chain,
    default_chain,
    from_ini,
    from_temporary_credentials,
)
from tests.helpers.assumed_role import answer
from tests.helpers.failures import failure_of
from tests.helpers.loopback_aws import Answer, Loopback, sts_error
from tests.helpers.scripted import START, Source, issue, settle
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from pathlib import Path

    import time_machine

ROLE_ARN = "arn:aws:iam::123456789012:role/admin"
SERIAL = "arn:aws:iam::123456789012:mfa/me"
HOUR = 3600.0


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


class Person:
    """Gives codes, and remembers who asked and how many prompts were open at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked: list[str] = []
        self.given: list[str] = []
        self.open = 0
        self.most_open = 0

    async def __call__(self, serial_number: str) -> str:
        self.asked.append(serial_number)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.open -= 1
        self.given.append(secret("mfa"))
        return self.given[-1]


def role(context: Context, person: Person | None, source: Source | None = None) -> Provider:
    return from_temporary_credentials(
        role_arn=ROLE_ARN,
        source=source or Source(),
        serial_number=SERIAL,
        mfa_code=person,
        context=context,
    )


def profile(context: Context, home: Path, person: Person | None) -> Provider:
    (home / ".aws" / "config").write_text(
        f"[profile admin]\nrole_arn = {ROLE_ARN}\nsource_profile = base\nmfa_serial = {SERIAL}\n"
        f"[profile base]\naws_access_key_id = AKIABASE0\naws_secret_access_key = {secret()}\n"
        f"[profile user]\nrole_arn = {ROLE_ARN}\nsource_profile = admin\n"
    )
    return from_ini("admin", mfa_code=person, context=context)


async def test_the_code_goes_with_the_serial_number(aws: Loopback, context: Context, home: Path) -> None:
    for by_profile in (False, True):
        person = Person()
        await (profile(context, home, person) if by_profile else role(context, person))()
        form = aws.requests[-1].form
        assert person.asked == [form["SerialNumber"]] == [SERIAL]
        assert person.given == [form["TokenCode"]]


async def test_no_serial_number_no_question(aws: Loopback, context: Context) -> None:
    person = Person()
    await from_temporary_credentials(role_arn=ROLE_ARN, source=Source(), mfa_code=person, context=context)()
    assert not person.asked
    assert "TokenCode" not in aws.requests[0].form


async def test_nobody_to_ask(aws: Loopback, context: Context, home: Path) -> None:
    source = Source()
    error = await failure_of(role(context, None, source))
    assert isinstance(error, InvalidConfiguration)
    assert "serial_number" in str(error)
    assert "mfa_code" in str(error)
    assert source.calls == 0
    error = await failure_of(profile(context, home, None))
    assert isinstance(error, InvalidConfiguration)
    assert f"{home}/.aws/config:4" in str(error)
    assert "mfa_code" in str(error)
    assert not aws.requests


async def test_the_default_chain_hands_the_callback_on(aws: Loopback, context: Context, home: Path) -> None:
    person = Person()
    profile(context, home, None)
    await default_chain("user", mfa_code=person, context=context)()
    assert person.asked == [SERIAL]
    assert ["TokenCode" in seen.form for seen in aws.requests] == [True, False]


async def test_a_source_that_fails_costs_no_code(aws: Loopback, context: Context) -> None:
    person = Person()
    await failure_of(role(context, person, Source(SourceUnavailable("down"))))
    assert not person.asked


async def test_a_person_who_gives_up(aws: Loopback, context: Context) -> None:
    async def gives_up(serial_number: str) -> str:
        raise EOFError

    provider = from_temporary_credentials(
        role_arn=ROLE_ARN, source=Source(), serial_number=SERIAL, mfa_code=gives_up, context=context
    )
    error = await failure_of(provider)
    assert isinstance(error, SourceUnavailable)
    assert isinstance(error.__cause__, EOFError)
    person = Person()
    await asyncio.wait_for(role(context, person)(), 5)  # the next prompt is not blocked
    assert person.asked


async def test_one_question_for_many_callers(aws: Loopback, context: Context) -> None:
    person = Person(0.01)
    provider = role(context, person)
    assert (
        len({credentials.access_key_id for credentials in await asyncio.gather(*(provider() for _ in range(50)))})
        == 1
    )
    assert len(person.asked) == 1


async def test_one_prompt_at_a_time(aws: Loopback, context: Context) -> None:
    person = Person(0.02)
    await asyncio.gather(*(role(context, person)() for _ in range(4)))
    assert (len(person.asked), person.most_open) == (4, 1)


async def test_one_prompt_at_a_time_in_all_threads(aws: Loopback, context: Context) -> None:
    person = Person(0.02)

    def elsewhere() -> None:
        asyncio.run(role(Context(environ=context.environ, home=context.home), person).__call__())

    threads = [threading.Thread(target=elsewhere) for _ in range(3)]
    for thread in threads:
        thread.start()
    await role(context, person)()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert (len(person.asked), person.most_open) == (4, 1)


async def test_a_cancelled_prompt_makes_way_for_the_next(aws: Loopback, context: Context) -> None:
    slow, quick = Person(60), Person()
    waiting = asyncio.create_task(role(context, slow)())
    while not slow.asked:  # noqa: ASYNC110 - a callback is told nothing but the serial number
        await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slow.open == 0
    await asyncio.wait_for(role(context, quick)(), 5)


@pytest.mark.parametrize("chained", [False, True])
async def test_nobody_is_asked_behind_callers(
    aws: Loopback, context: Context, clock: time_machine.Traveller, chained: bool
) -> None:
    aws.lifetime = timedelta(hours=1)
    person = Person()
    provider = role(context, person, Source(usual=lambda: issue(99 * HOUR)))
    if chained:
        provider = chain(provider)
    held = await provider()
    clock.shift(HOUR - 120)
    for _ in range(5):
        assert await provider() is held
        await settle()
    assert len(person.asked) == 1
    assert (provider.status.failures, provider.status.last_error) == (0, None)
    clock.shift(90)
    assert await provider() is not held
    assert len(person.asked) == 2


async def test_nobody_is_asked_for_an_inner_role_behind_callers(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    person = Person()
    profile(context, home, None)
    provider = from_ini("user", mfa_code=person, context=context)
    inner_ends = datetime.fromtimestamp(START + HOUR / 2, UTC)
    aws.script("/", Answer(body=answer(expiration=inner_ends.isoformat())))
    held = await provider()
    aws.expired.add("ASIAANSWER00000001")
    clock.shift(HOUR - 120)
    for _ in range(5):
        assert await provider() is held
        for _ in range(20):
            await asyncio.sleep(0.001)
    assert (len(person.asked), provider.status.failures) == (1, 0)
    clock.shift(90)
    assert await provider() is not held
    assert (len(person.asked), provider.status.failures) == (2, 0)
    assert aws.requests[-1].signed_by != "ASIAANSWER00000001"


async def test_async_with_asks_nobody_by_itself(aws: Loopback, context: Context) -> None:
    person = Person()
    async with role(context, person) as provider:
        await asyncio.sleep(0.05)
        assert not person.asked
        assert provider.status.failures == 0
        await provider()
    assert len(person.asked) == 1


async def test_a_code_that_is_refused_is_asked_for_again_after_a_moment(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    person = Person()
    provider = role(context, person)
    aws.script("/", sts_error("AccessDenied", "MultiFactorAuthentication failed with invalid one time pass code"))
    for _ in range(3):
        assert "MFA code" in str(await failure_of(provider))
    assert len(person.asked) == 1
    clock.shift(5)
    await provider()
    assert len(person.asked) == 2


async def test_the_code_is_asked_for_last(aws: Loopback, context: Context) -> None:
    """It is good for half a minute: nothing slow may come after it."""
    source = Source()
    source.gate = asyncio.Event()
    person = Person()
    task = asyncio.create_task(role(context, person, source)())
    while not source.calls:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    await settle()
    assert not person.asked
    source.gate.set()
    await task
    assert person.asked


async def test_an_answer_that_fails_shows_no_code(aws: Loopback, context: Context) -> None:
    aws.always("/", Answer(400, "<html>"))
    await failure_of(role(context, Person()))
