"""The events of a cell, written down: who asked and got what, and each trip to the source."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiocreds import Credentials, CredentialsError, ServiceRefused

if TYPE_CHECKING:
    from aiocreds import Provider
    from tests.helpers.idle_time import IdleTime
    from tests.stress.faults.bench import Bench


@dataclass
class Call:
    """Somebody who asks the provider.

    Attributes:
        asked: when, by the wall clock as the services count.
        answered: likewise.
        waited: seconds by the loop's clock.
        got: credentials, or the error.
    """

    asked: float
    answered: float
    waited: float
    got: Credentials | CredentialsError


@dataclass
class Trip:
    """A trip of the provider to its source.

    Attributes:
        start: when, by the wall clock as the services count.
        end: likewise.
        took: seconds by the loop's clock.
        brought: the credentials, which the provider may still refuse.
        error: what the source raised instead.
        over: set at its end.
    """

    start: float
    end: float = 0.0
    took: float = 0.0
    brought: Credentials | None = None
    error: BaseException | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Story:
    """All of it.

    Attributes:
        calls: in the order of their answers.
        trips: in order, the one that loaded the credentials before the fault struck included.
        earlier: how many trips there were before it struck.
        requests: how many the service saw since.
        newest: the newest access key id that was known when it struck.
        astray: the most seconds that the machine was wrong about the service's time when a caller was answered.
    """

    loop: IdleTime
    bench: Bench
    calls: list[Call] = field(default_factory=list[Call])
    trips: list[Trip] = field(default_factory=list[Trip])
    earlier: int = 0
    requests: int = 0
    newest: str = ""
    astray: float = 0.0

    @property
    def _now(self) -> float:
        return self.bench.now()

    def listen(self, provider: Provider) -> None:
        """Write down the trips of this provider."""
        source = provider._source  # pyright: ignore[reportPrivateUsage] - a provider around it would be another one

        async def told() -> Credentials:
            trip, began = Trip(self._now), self.loop.time()
            self.trips.append(trip)
            try:
                async with self.bench.program.running(self.loop):
                    trip.brought = await source()
            except BaseException as error:
                trip.error = error
                raise
            finally:
                trip.end, trip.took = self._now, self.loop.time() - began
                trip.over.set()
            return trip.brought

        provider._source = told  # pyright: ignore[reportPrivateUsage] - as above

    def begin(self) -> None:
        """From here on the fault is there."""
        self.earlier = len(self.trips)
        self.requests = -len(self.bench.aws.requests)
        self.newest = self.bench.aws.credentials("newest")["AccessKeyId"]

    async def ask(self, provider: Provider, after: float) -> None:
        """Be a caller, in so many seconds."""
        await asyncio.sleep(after)
        asked, began = self._now, self.loop.time()
        got: Credentials | CredentialsError
        try:
            got = await provider()
        except CredentialsError as error:
            got = error
        self.astray = max(self.astray, abs(self.bench.context.clock.now() - self._now))
        self.calls.append(Call(asked, self._now, self.loop.time() - began, got))

    async def end(self) -> None:
        """Wait for what runs behind the callers."""
        await asyncio.gather(*(trip.over.wait() for trip in self.trips))
        self.requests += len(self.bench.aws.requests)

    def outcome(self, call: Call) -> str:
        """Return the result of a caller, in a word."""
        match call.got:
            case Credentials(access_key_id=key):
                return "kept" if key <= self.newest else "new"
            case ServiceRefused(code=code) if code:
                return f"ServiceRefused({code})"
            case error:  # a subclass that is not public goes by the name of the one that is
                return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "aiocreds.errors")
