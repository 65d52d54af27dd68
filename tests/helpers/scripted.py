"""What the tests of providers share: credentials, a source that does as told, and the time they start at."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import deque
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

from aiocreds._core import refresh
from aiocreds._core.context import Context
from aiocreds._core.provider import Provider
from aiocreds.credentials import Credentials
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    import pytest
    import time_machine

START = 1_800_000_000.0
_numbers = itertools.count(1)

Answer = Credentials | BaseException | object


def issue(lifetime: float | None = 3600.0, *, stamped: bool = False, key: str | None = None) -> Credentials:
    """Credentials that expire in ``lifetime`` seconds; None: never."""
    return Credentials(
        key or f"ASIATEST{next(_numbers):08}",
        secret(),
        secret("token"),
        expiration=None if lifetime is None else datetime.fromtimestamp(time() + lifetime, UTC),
        may_outlive_expiry=stamped,
    )


class Source:
    """Gives, call by call, what its script says, then ``usual()`` over and over.

    Attributes:
        calls: how often it was asked.
        finished: how often it came to an end, cancelled or not.
        gate: while set to an event, it waits for that before it answers.
    """

    def __init__(self, *script: Answer, usual: Callable[[], Answer] = issue) -> None:
        self.script = deque(script)
        self.usual = usual
        self.calls = 0
        self.finished = 0
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> Credentials:
        self.calls += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            answer: Any = self.script.popleft() if self.script else self.usual()
            if isinstance(answer, BaseException):
                raise answer
            return answer  # type: ignore[no-any-return]  # also what is no credentials at all
        finally:
            self.finished += 1

    def provider(self, context: Context | None = None, name: str = "source") -> Provider:
        """A provider of this source, with a clock of its own."""
        return Provider(self, name=name, context=Context(environ={}) if context is None else context)


def warned(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the log was told besides what was loaded, and what was asked of whom."""
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


async def settle() -> None:
    """Let what needs no time come to its end."""
    for _ in range(20):
        await asyncio.sleep(0)


def others() -> set[asyncio.Task[Any]]:
    """The tasks of this loop but the current one."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


def renewing() -> bool:
    """Whether a sign-in is being renewed, in a thread of its own or on this loop."""
    names = [task.get_name() for task in asyncio.all_tasks()] + [thread.name for thread in threading.enumerate()]
    return "aiocreds token renewal" in names


async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware that does nothing, but may live on the program's loop for all that is known."""
    return await handler(request)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - of other processes and sockets
            await asyncio.sleep(0.005)


def set_clock(clock: time_machine.Traveller, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the machine's clock by so much, while no time passes; where time is moved, `clock.shift` lets it pass."""
    steady = refresh.steady
    clock.shift(seconds)
    monkeypatch.setattr(refresh, "steady", lambda: steady() - seconds)
