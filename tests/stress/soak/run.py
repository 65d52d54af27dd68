"""One run: loops, callers on them, time that jumps, and what is left when everybody has gone home."""

from __future__ import annotations

import asyncio
import faulthandler
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tests.helpers.scripted import others
from tests.stress.soak.crowd import Crowd
from tests.stress.soak.figures import Figures, at_rest
from tests.stress.soak.sources import stations

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from tests.stress.soak.faults import Machine
    from tests.stress.soak.ledger import Book

T = TypeVar("T")
LOOPS, CALLERS, PASSERS_BY = 4, 200, 8
BEAT = 0.03  # real seconds
FILES = 2  # threads of a loop
LONGEST = 120.0  # real seconds of a stage, which takes from 5 to 20; then something hangs
PATIENCE = 20.0  # real seconds until all has come to rest


class Loop:
    """An event loop in a thread. The first is in debug mode: it raises when another thread touches it."""

    def __init__(self, number: int, book: Book) -> None:
        self._book = book
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._task: asyncio.Task[Any] | None
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready), debug=number == 0))
        self._thread.start()
        ready.wait()

    async def _main(self, ready: threading.Event) -> None:
        self._loop, self._over, self._task = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()
        listen(self._loop, self._book)
        pool, all_there = ThreadPoolExecutor(FILES), threading.Barrier(FILES + 1)
        for _ in range(FILES):  # all its threads, so that none comes later
            pool.submit(all_there.wait)
        all_there.wait()
        self._loop.set_default_executor(pool)
        ready.set()
        await self._over.wait()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def left(self) -> list[str]:
        """The names of the tasks that do not end by themselves, of everybody but this harness."""

        async def look() -> list[str]:
            if tasks := others() - {self._task}:
                await asyncio.wait(tasks, timeout=PATIENCE)
            return [task.get_name() for task in others() - {self._task}]

        return await self.run(look())

    def end(self) -> None:
        """End the loop and its threads."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


def listen(loop: asyncio.AbstractEventLoop, book: Book) -> None:
    """Have whatever a loop complains of break a rule, but how slow this machine is."""
    loop.slow_callback_duration = 3600
    loop.set_exception_handler(lambda _, context: book.accuse(f"asyncio complains: {context}"))


class Soak:
    """One run. Enter it for its loops."""

    def __init__(self, machine: Machine, book: Book, random: Random) -> None:
        self._machine, self._book, self._random = machine, book, random
        self._stations = stations(book, random, machine)
        self._loops: list[Loop] = []
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._loops = [Loop(number, self._book) for number in range(LOOPS)]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for loop in self._loops:
            loop.end()

    async def stage(self, cycles: int) -> Figures:
        """Have everybody ask until there have been so many cycles in all, and then go home."""
        self._over.clear()
        faulthandler.dump_traceback_later(LONGEST, exit=True)  # the status is 1
        over = self._over.is_set
        crowds = [loop.run(self._crowd().stay(CALLERS // LOOPS, over)) for loop in self._loops]
        everybody = asyncio.gather(*crowds, asyncio.to_thread(self._pass_by, over))
        while self._book.counts["cycles"] < cycles and not everybody.done():
            await asyncio.sleep(BEAT)
            self._beat()
        self._over.set()
        self._machine.calm()
        await everybody
        figures = await self._rest()
        faulthandler.cancel_dump_traceback_later()
        return figures

    def _beat(self) -> None:
        """Time moves, things break and are mended, and somebody starts anew."""
        self._machine.beat()
        number = self._random.randrange(3 * len(self._stations))
        if number < len(self._stations) and (renew := self._stations[number].renew) is not None:
            self._stations[number] = renew()

    def _crowd(self) -> Crowd:
        return Crowd(self._stations, self._book, random.Random(self._random.random()))

    def _pass_by(self, over: Callable[[], bool]) -> None:
        """Loops that come, and end in the middle of everything."""

        async def main() -> None:
            listen(asyncio.get_running_loop(), self._book)
            await self._crowd().pass_by(PASSERS_BY)

        while not over():
            self._book.count("loops that came and went")
            asyncio.run(main())

    async def _rest(self) -> Figures:
        left = [name for names in await asyncio.gather(*(loop.left() for loop in self._loops)) for name in names]
        for name in left:
            self._book.accuse(f"a task was left: {name}")
        try:
            async with asyncio.timeout(PATIENCE):
                while self._machine.aws.open_connections:  # noqa: ASYNC110 - a server has no event for it
                    await asyncio.sleep(0.01)
        except TimeoutError:
            self._book.accuse("connections were left open")
        self._machine.forget()
        return at_rest(len(left))
