"""Sources of the crowd: sources in this process that fail at random, and real ones over sockets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiocreds import (
    ClientConfig,
    Context,
    Credentials,
    CredentialsNotFound,
    LoginRequired,
    Provider,
    ServiceRefused,
    SourceUnavailable,
    chain,
    from_container_metadata,
    from_env,
    from_instance_metadata,
    from_process,
    from_sso,
    from_temporary_credentials,
    from_token_file,
)
from tests.helpers.scripted import issue
from tests.helpers.secret_leaks import secret
from tests.stress.soak.faults import CLOCK_OFF, TIMEOUT, TOLERATED
from tests.stress.soak.ledger import Book, Ledger, Rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.stress.soak.faults import Machine

HOUR = 3600.0
SHORT, LONG = (40.0, 90.0, 300.0, 900.0), (900.0, HOUR, 6 * HOUR)
PATIENCE = 0.4  # after which a failure needs no other reason than a busy machine
SLACK = CLOCK_OFF.total_seconds() + TOLERATED  # what our clock is off when a service that is off put it right
OUTSIDE = "over sockets, files and programs"
ROLE_ARN = "arn:aws:iam::123456789012:role/app"


class Vendor:
    """A source in this process. One call in `often` goes wrong.

    Args:
        random: decides.
        book: where faults are counted.
        stamped: whether its credentials may outlive their expiration.
        lifetimes: of what it hands out, in seconds.
        missing: how often it has nothing at all, so that a chain goes on.
        often: the share of calls that go wrong.
    """

    def __init__(
        self,
        random: Random,
        book: Book,
        *,
        stamped: bool,
        lifetimes: tuple[float | None, ...],
        missing: float = 0.0,
        often: float = 0.25,
    ) -> None:
        self._random = random
        self._book = book
        self._stamped = stamped
        self._lifetimes = lifetimes
        self._missing = missing
        self._often = often
        self._last: Credentials | None = None

    async def __call__(self) -> Credentials:
        random = self._random
        await asyncio.sleep(random.choice((0, 0, 0.001, 0.01)))
        if random.random() < self._missing:
            raise CredentialsNotFound("not configured at the moment")
        if random.random() < self._often:
            fault = random.choice(FAULTS)
            self._book.count(f"fault in process: {fault.__name__.replace('_', ' ')}")
            return await fault(self)
        self._last = self.fresh()
        return self._last

    def fresh(self) -> Credentials:
        return issue(self._random.choice(self._lifetimes), stamped=self._stamped)

    async def unavailable(self) -> Credentials:
        raise SourceUnavailable("down")

    async def refused(self) -> Credentials:
        raise ServiceRefused("busy", code="Busy", status=400)

    async def refused_for_good(self) -> Credentials:
        raise ServiceRefused("no", code="AccessDenied", status=403, recoverable=False)

    async def sign_in_ended(self) -> Credentials:
        raise LoginRequired("the sign-in has ended", command="sign-in")

    async def foreign_error(self) -> Credentials:
        raise ValueError(secret("in a foreign error"))

    async def timed_out(self) -> Credentials:
        async with asyncio.timeout(0.02):
            await asyncio.sleep(60)
        raise AssertionError

    async def slow(self) -> Credentials:
        await asyncio.sleep(0.1)
        return self.fresh()

    async def slow_to_stop(self) -> Credentials:
        try:
            await asyncio.sleep(0.05)
        finally:
            await asyncio.sleep(0.01)
        raise OSError(5, secret("in an OSError"))

    async def cancels_itself(self) -> Credentials:
        raise asyncio.CancelledError

    async def expired(self) -> Credentials:
        return issue(-10.0, stamped=self._stamped)

    async def same_again(self) -> Credentials:
        return self._last or self.fresh()

    async def no_credentials(self) -> Credentials:
        return None  # type: ignore[return-value]  # what is tested


FAULTS = (
    Vendor.unavailable,
    Vendor.refused,
    Vendor.refused_for_good,
    Vendor.sign_in_ended,
    Vendor.foreign_error,
    Vendor.timed_out,
    Vendor.slow,
    Vendor.slow_to_stop,
    Vendor.cancels_itself,
    Vendor.expired,
    Vendor.same_again,
    Vendor.no_credentials,
)


@dataclass(slots=True)
class Station:
    """A provider that callers go to.

    Attributes:
        provider: it.
        ledger: what judges it.
        renew: makes another, with nothing loaded; None where others draw from it.
    """

    provider: Provider
    ledger: Ledger
    renew: Callable[[], Station] | None = None


def stations(book: Book, random: Random, machine: Machine) -> list[Station]:
    """All that the crowd draws from."""

    def station(name: str, make: Callable[[], Provider], rules: Rules) -> Station:
        ledger = Ledger(name, book, rules)
        return Station(ledger.watch(make()), ledger, lambda: station(name, make, rules))

    def vendor(name: str, *, stamped: bool, missing: float = 0.0, often: float = 0.25) -> Provider:
        lifetimes = (*SHORT, *LONG)
        return Provider(
            Vendor(random, book, stamped=stamped, lifetimes=lifetimes, missing=missing, often=often),
            name=name,
            context=here,
        )

    def eternal() -> Provider:
        return Provider(
            Vendor(random, book, stamped=False, lifetimes=(None,)),
            name="eternal",
            context=here,
        )

    def either() -> Provider:
        first = vendor("at times", stamped=True, missing=0.4)
        return chain(from_env(context=here), first, vendor("always", stamped=False), context=here)

    def metadata() -> Provider:
        return from_instance_metadata(timeout=TIMEOUT, max_retries=0, context=there)

    here, there = Context(environ={}), machine.context
    calm, restless = Rules(calm=True), Rules()
    afar = Rules(OUTSIDE, slack=SLACK, excuse=machine.out_of_order_since, patience=PATIENCE)
    client = ClientConfig(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, max_attempts=2)
    source_of_roles = Ledger("source of two roles", book, afar)
    base = source_of_roles.watch(metadata())
    trusted = vendor("trusted", stamped=True, often=0.1)
    return [
        station("stamped, calm", lambda: vendor("stamped", stamped=True), calm),
        station("unstamped, calm", lambda: vendor("unstamped", stamped=False), calm),
        station("stamped", lambda: vendor("stamped", stamped=True), restless),
        station("unstamped", lambda: vendor("unstamped", stamped=False), restless),
        station(
            "expire_after",
            lambda: vendor("ends early", stamped=False).expire_after(600),
            Rules(expire_after=600, calm=True),
        ),
        station("without end", eternal, restless),
        station("chain", either, restless),
        Station(base, source_of_roles),
        station("EC2 metadata", metadata, afar),
        station("container", lambda: from_container_metadata(timeout=TIMEOUT, context=there), afar),
        station(
            "chain of EC2 metadata",
            lambda: chain(from_env(context=there), metadata(), context=there),
            afar,
        ),
        *(
            station(
                f"role {number} over EC2 metadata",
                lambda: from_temporary_credentials(role_arn=ROLE_ARN, source=base, client=client, context=there),
                afar,
            )
            for number in (1, 2)
        ),
        station(
            "role over a source in process",
            lambda: from_temporary_credentials(role_arn=ROLE_ARN, source=trusted, client=client, context=there),
            Rules(OUTSIDE, slack=SLACK),
        ),
        station("web identity", lambda: from_token_file(client=client, context=there), afar),
        # A loop that ends in the middle of a renewal loses the refresh token: then a person has to sign in again.
        station("SSO", lambda: from_sso("app", client=client, context=there), Rules(OUTSIDE, slack=SLACK)),
        station(
            "process",
            lambda: from_process(command=machine.command, timeout=2 * TIMEOUT, context=there),
            afar,
        ),
    ]
