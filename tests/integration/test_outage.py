"""A metadata service that goes down for an hour, across an expiry. Time is moved; the service is real."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
import time_machine

from aiocreds import (
    ClientConfig,
    Context,
    Credentials,
    Provider,
    default_chain,
    from_instance_metadata,
    from_temporary_credentials,
)
from tests.helpers.loopback_aws import ROLE, ROLES_PATH, Answer, Hang, Loopback
from tests.helpers.loopback_routes import Door
from tests.helpers.scripted import START, Source, issue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR, MINUTE = 3600.0, 60.0
STEP = 20.0  # seconds from one round of callers to the next
CALLERS = 5
SLOW = 0.1  # seconds; who waits longer has waited for the service
TIMEOUT = 0.15  # seconds that one attempt may take, so that this test is not an hour long
FLIGHT = 3.0  # seconds that all attempts of one flight may take, on a busy machine


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=True) as traveller:
        yield traveller


@dataclass
class Round:
    """The results of one round of callers.

    Attributes:
        at: when, in seconds after the outage began.
        got: the credentials each got.
        waits: how long each waited, in seconds.
        failures: how often the source had failed by then.
    """

    at: float
    got: list[Credentials]
    waits: list[float]
    failures: int


@dataclass
class Ward:
    """Watches a provider through an outage."""

    provider: Provider
    clock: time_machine.Traveller
    rounds: list[Round] = field(default_factory=list[Round])

    async def through(self, duration: float) -> None:
        """Have callers ask all the time. An error that reaches any of them ends the test."""
        for number in range(1, int(duration / STEP) + 1):
            self.clock.shift(STEP)
            await self.ask(number * STEP)

    async def ask(self, at: float) -> None:
        async def caller() -> tuple[Credentials, float]:
            asked = perf_counter()
            credentials = await self.provider()
            return credentials, perf_counter() - asked

        answers = await asyncio.gather(*(caller() for _ in range(CALLERS)))
        await landed(self.provider)
        got, waits = zip(*answers, strict=True)
        self.rounds.append(Round(at, list(got), list(waits), self.provider.status.failures))

    @property
    def slow(self) -> list[Round]:
        """The rounds in which somebody waited for the service."""
        return [one for one in self.rounds if max(one.waits) > SLOW]

    @property
    def failures(self) -> int:
        return self.rounds[-1].failures


async def landed(provider: Provider) -> None:
    """Wait until what runs behind the callers has come to its end, so that each step takes its time."""
    name = f"aiocreds {provider.name}"
    while flights := [task for task in asyncio.all_tasks() if task.get_name() == name]:
        await asyncio.wait(flights)
        await asyncio.sleep(0)


def hang(aws: Loopback) -> None:
    aws.down(by=Hang())


def in_trouble(aws: Loopback) -> None:
    aws.down(by=Answer(503))


@pytest.mark.parametrize("how", [in_trouble, hang], ids=["503", "never answers"])
async def test_an_hour_without_metadata(
    how: Callable[[Loopback], None],
    aws: Loopback,
    environ: dict[str, str],
    context: Context,
    clock: time_machine.Traveller,
) -> None:
    environ.update(aws.environ)
    provider = default_chain(timeout=TIMEOUT, max_retries=0, context=context)
    ward = Ward(provider, clock)
    first = await provider()
    clock.shift(5.5 * HOUR)  # half an hour before it expires
    how(aws)
    before = len(aws.requests)

    await ward.through(HOUR)

    assert {key for one in ward.rounds for key in one.got} == {first}
    check(ward)
    # Two requests a failure at the most: for a token, and without one.
    assert len(aws.requests) - before <= 2 * ward.failures
    aws.up()
    await recovers(ward, first)
    assert aws.count(ROLES_PATH + ROLE) == 2, "asked once when it was back"


async def test_an_hour_of_refused_connections(
    aws: Loopback, environ: dict[str, str], context: Context, clock: time_machine.Traveller
) -> None:
    door = Door(aws)
    await door.open()
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = door.url
    provider = from_instance_metadata(timeout=TIMEOUT, max_retries=0, context=context)
    ward = Ward(provider, clock)
    first = await provider()
    clock.shift(5.5 * HOUR)
    await door.shut()

    await ward.through(HOUR)

    assert {key for one in ward.rounds for key in one.got} == {first}
    assert "refused the connection" in str(provider.status.last_error)
    check(ward)
    await door.open()
    await recovers(ward, first)
    await door.shut()


async def test_an_hour_without_sts(aws: Loopback, clock: time_machine.Traveller) -> None:
    base = Source(issue(None))
    role = from_temporary_credentials(
        role_arn="arn:aws:iam::123456789012:role/app",
        source=base.provider(),
        client=ClientConfig(endpoint_url=aws.url, region="eu-central-1", max_attempts=1),
        context=Context(environ={}),
    )
    ward = Ward(role, clock)
    aws.lifetime = timedelta(hours=1)
    first = await role()
    clock.shift(0.5 * HOUR)
    aws.down("/")

    await ward.through(HOUR)

    assert {key for one in ward.rounds for key in one.got} == {first}
    check(ward)
    aws.up()
    await recovers(ward, first)
    assert base.calls == 1


async def test_a_program_that_starts_in_the_outage_recovers(
    aws: Loopback, environ: dict[str, str], context: Context
) -> None:
    environ.update(aws.environ)
    aws.down()
    async with default_chain(timeout=TIMEOUT, context=context) as provider:
        await landed(provider)
        while provider.status.last_error is None:  # noqa: ASYNC110 - a status has no event
            await asyncio.sleep(0.01)
        assert provider.status.loaded_at is None
        aws.up()
        assert (await provider()).access_key_id.startswith("ASIALOOPBACK")  # a failed first load sets no backoff
        assert provider.status.last_error is None


def check(ward: Ward) -> None:
    """Check what holds whichever way the service is down."""
    expired = [one for one in ward.rounds if one.at > 0.5 * HOUR + MINUTE]
    assert expired, "the outage goes across an expiry"
    # A pause of 5 to 10 minutes after each failure: in an hour from 6 to 12, and one more at its beginning.
    assert 5 <= ward.failures <= 13
    # Until the last minute, nobody waits at all; then all who are there wait for the one flight of each backoff.
    assert not [one for one in ward.slow if one.at < 0.5 * HOUR - MINUTE]
    failures = [one.failures for one in ward.slow]
    assert len(set(failures)) == len(failures), "somebody waited twice in one backoff"
    assert max(max(one.waits) for one in ward.rounds) < FLIGHT


async def recovers(ward: Ward, first: Credentials) -> None:
    """The service is back: the first attempt after the backoff brings others, and everybody gets those."""
    next_attempt = ward.provider.status.next_attempt
    assert next_attempt is not None
    now = datetime.now(UTC)
    assert now < next_attempt <= now + timedelta(minutes=10)
    await ward.ask(HOUR)
    assert set(ward.rounds[-1].got) == {first}, "the backoff holds"
    ward.clock.move_to(next_attempt + timedelta(seconds=1))
    await ward.ask(HOUR)
    [second] = set(ward.rounds[-1].got)
    assert second.access_key_id != first.access_key_id
    assert ward.provider.status.last_error is None
