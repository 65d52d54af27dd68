"""Callers who call, get, fetch, invalidate, enter, leave and give up, at random."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from random import Random

    from aiocreds import Credentials
    from tests.stress.soak.ledger import Book
    from tests.stress.soak.sources import Station

LONGEST = 60.0  # real seconds that a caller may wait: something hangs
PAUSE = 0.04


class Crowd:
    """Callers on one loop.

    Attributes:
        ending: the loop is about to end, and will cancel everybody.
    """

    def __init__(self, stations: list[Station], book: Book, random: Random) -> None:
        self.ending = False
        self._stations, self._book, self._random = stations, book, random

    async def stay(self, callers: int, over: Callable[[], bool]) -> None:
        """Have so many callers ask until it is over."""
        await asyncio.gather(*(self._caller(over) for _ in range(callers)))

    async def pass_by(self, callers: int) -> None:
        """Have callers ask for a moment, and leave them in the middle of it."""
        tasks = [asyncio.create_task(self._caller(lambda: self.ending)) for _ in range(callers)]
        await asyncio.wait(tasks, timeout=self._random.random() * 0.1)
        self.ending = True

    async def _caller(self, over: Callable[[], bool]) -> None:
        random = self._random
        while not over():
            station = random.choice(self._stations)
            await self._bounded(station, self._choose(station))
            await asyncio.sleep(random.expovariate(1 / PAUSE))

    def _choose(self, station: Station) -> Coroutine[object, object, None]:
        draw = self._random.random()
        if draw < 0.05:
            return self._keep(station)
        if draw < 0.10:
            return self._reject(station)
        if not station.ledger.rules.calm:
            if draw < 0.20:
                return self._ask(station, "fetch()", station.provider.fetch, fetch=True)
            if draw < 0.35:
                life = self._random.choice((30.0, 300.0, 1800.0))
                return self._ask(station, f"get(min_ttl={life:g})", partial(station.provider.get, min_ttl=life))
        return self._ask(station, "provider()", station.provider)

    async def _bounded(self, station: Station, act: Coroutine[object, object, None]) -> None:
        """One act, which some give up on."""
        task = asyncio.create_task(act, name="caller")
        given_up = False
        if self._random.random() < 0.1:
            await asyncio.sleep(self._random.choice((0, 0, 0.002, 0.02)))
            given_up = task.cancel()
        done, _ = await asyncio.wait([task], timeout=LONGEST)
        if not done:
            self._book.accuse(f"{station.ledger.name}: a caller waited for {LONGEST:g} s")
            task.cancel()
            await asyncio.wait([task])
        elif task.cancelled():
            self._book.count("callers cancelled")
            if not given_up and not self.ending:
                self._book.accuse(f"{station.ledger.name}: a caller was cancelled, and not by us")
        else:
            task.result()

    async def _ask(
        self, station: Station, what: str, asks: Callable[[], Awaitable[Credentials]], *, fetch: bool = False
    ) -> None:
        self._book.count("calls")
        call = station.ledger.call(what, fetch=fetch)
        try:
            got = await asks()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is judged
            if not self.ending:  # else flights end with their loop, before they have asked the source
                station.ledger.judge_error(call, error)
        else:
            station.ledger.judge_answer(call, got)

    async def _reject(self, station: Station) -> None:
        """A service rejects what a caller has."""
        provider, ledger = station.provider, station.ledger
        key = None
        if self._random.random() < 0.5:
            call = ledger.call("provider()")
            try:
                key = (await provider()).access_key_id
            except Exception as error:  # noqa: BLE001 - as above
                ledger.judge_error(call, error)
                return
        self._book.count("invalidations")
        ledger.rejected(key)
        provider.invalidate(key)
        ledger.rejected(key)

    async def _keep(self, station: Station) -> None:
        """Enter for a while, as a lifespan does."""
        self._book.count("async with")
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(station.provider)
            if self._random.random() < 0.5:
                await self._ask(station, "provider() within", station.provider)
            await asyncio.sleep(self._random.random() * 0.2)
