"""Keys that rotate on a clock which a test moves, while a pool of connections grows and shrinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiocreds import Context
from aiocreds.testing import TestClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.token_check import Authority

LARGE, SMALL = 50, 5  # connections in use at once


class Pace(NamedTuple):
    """How the time passes.

    Attributes:
        lifetime: of the keys, in seconds.
        step: seconds between two sizes of the pool.
        steps: how many there are.
    """

    lifetime: float
    step: float
    steps: int


# In five minutes the keys end several times. In two hours each token of the step before is too old, though the keys
# that signed it may live on.
PACES = {"five minutes": Pace(60, 30, 10), "two hours": Pace(3600, 16 * 60, 8)}


class Rotation:
    """``for size in Rotation(authority, "five minutes").sizes(): …`` with a pool of :attr:`provider`.

    Args:
        authority: takes the time of :attr:`clock` from now on.
        pace: one of ``PACES``.

    Attributes:
        clock: moves on between two sizes.
        provider: of the authority's keys.
    """

    def __init__(self, authority: Authority, pace: str) -> None:
        self._authority, self._pace = authority, PACES[pace]
        self.clock = TestClock()
        authority.now, authority.lifetime = self.clock.now, self._pace.lifetime
        context = Context({})
        context.clock = self.clock
        self.provider = authority.provider(context)

    def sizes(self) -> Iterator[int]:
        """Yield how many connections to use at once, and let time pass after each."""
        for number in range(self._pace.steps):
            yield LARGE if number % 2 else SMALL
            self.clock.move(self._pace.step)

    def check(self, logins: int, refused: list[str]) -> None:
        """Check that no login failed, that each growth opened connections, and that the keys were replaced."""
        assert refused == []
        assert logins >= self._pace.steps // 2 * (LARGE - SMALL)
        assert self._authority.issued >= self._pace.steps * self._pace.step // self._pace.lifetime
