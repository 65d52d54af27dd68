"""Fakes for the tests of programs: fixed credentials, a source with a script, a clock that a test moves.

::

    from aiocreds.testing import TestClock, scripted, static

    app.dependency_overrides[provider] = static()

    clock = TestClock()
    source = scripted(3600, SourceUnavailable("down"), 3600, clock=clock)
    await source()  # good for an hour
    clock.move(3570)
    await source()  # the source is down, and the first credentials are still served

Nothing here asks a network, reads a file or looks at the environment. A fixture for pytest that keeps the machine's
own credentials away from every test is in :mod:`aiocreds.testing.pytest_plugin`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiocreds._base.time import seconds
from aiocreds._core.context import Context
from aiocreds._core.provider import Provider
from aiocreds._core.refresh import Clock
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ScriptedProvider", "TestClock", "empty_context", "fake_credentials", "scripted", "static"]

SECRET, TOKEN = "not-a-secret", "not-a-token"  # of fake credentials
NOWHERE = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", "USERPROFILE": "/nonexistent"}


class TestClock(Clock):
    """A clock that starts at the real time, runs with it, and that a test moves on.

    Only aiocreds sees it. Timers of the event loop and clocks of other libraries stay as they are; so does the
    background refresh of ``async with provider``, which looks at the clock every 30 s at most.
    """

    __test__ = False  # pytest: this is no test
    __slots__ = ("_moved",)

    def __init__(self) -> None:
        super().__init__()
        self._moved = 0.0

    @property
    def offset(self) -> float:
        """The seconds by which the clock has been moved."""
        return self._moved

    def move(self, duration: float | timedelta) -> None:
        """Move the clock forward, by seconds or a ``timedelta``.

        Raises:
            ValueError: the duration is no number, or negative.
        """
        self._moved += seconds(duration, "duration")
        self.learn(self._moved)  # has the providers that follow this clock look at it again

    def date(self) -> datetime:
        """Return the time of this clock, in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)


def empty_context(environ: Mapping[str, str] | None = None) -> Context:
    """Return a context without home folder and metadata service.

    Args:
        environ: its environment variables; by default none.
    """
    return Context({**NOWHERE, **(environ or {})})


def fake_credentials(
    name: str = "TEST", *, lifetime: float | timedelta | None = None, clock: Clock | None = None
) -> Credentials:
    """Return credentials that no service accepts.

    Args:
        name: part of the access key id, to distinguish several.
        lifetime: seconds until they expire; None means never.
        clock: whose time counts; by default the real one.
    """
    expiration = None
    if lifetime is not None:
        expiration = datetime.fromtimestamp((clock or Clock()).now(), UTC) + timedelta(
            seconds=seconds(lifetime, "lifetime")
        )
    return Credentials(
        f"ASIAFAKE{name.upper():0>8}",
        SECRET,
        TOKEN,
        expiration=expiration,
        account_id="123456789012",
        provider="testing",
    )


def static(credentials: Credentials | None = None) -> Provider:
    """Return a provider of fixed credentials; by default :func:`fake_credentials`."""
    held = fake_credentials() if credentials is None else credentials

    async def fixed() -> Credentials:
        return held

    return Provider(fixed, name="static", context=empty_context())


class ScriptedProvider(Provider):
    """A provider whose source follows a script; made by :func:`scripted`.

    Attributes:
        calls: how often its source was asked.
    """

    __slots__ = ("_answers", "_number", "calls")

    def __init__(self, answers: Iterable[Credentials | CredentialsError | float | timedelta], clock: Clock) -> None:
        context = empty_context()
        context.clock = clock
        super().__init__(self._answer, name="scripted", context=context)
        self._answers = list(answers)
        self._number = 0
        self.calls = 0

    def add(self, *answers: Credentials | CredentialsError | float | timedelta) -> None:
        """Append answers to the script."""
        self._answers.extend(answers)

    async def _answer(self) -> Credentials:
        self.calls += 1
        if not self._answers:
            raise AssertionError(f"the source was asked {self.calls} times, and its script has fewer answers")
        answer = self._answers.pop(0)
        if isinstance(answer, CredentialsError):
            raise answer
        if isinstance(answer, Credentials):
            return answer
        self._number += 1
        return fake_credentials(str(self._number), lifetime=answer, clock=self._clock)


def scripted(
    *answers: Credentials | CredentialsError | float | timedelta, clock: Clock | None = None
) -> ScriptedProvider:
    """Return a provider whose source gives these answers, one after another.

    Args:
        answers: credentials; an error, which is raised; or a lifetime (seconds or ``timedelta``) of new fake
            credentials.
        clock: the clock of the provider, such as a :class:`TestClock`; by default the real one.
    """
    return ScriptedProvider(answers, clock or Clock())
