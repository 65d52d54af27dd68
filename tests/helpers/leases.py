"""The duties of every lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiocreds import Lease


async def check_ownership(one: Lease, two: Lease) -> None:
    """Check that a lease is its owner's until that releases it; ``two`` is another process's view of it."""
    assert await one.acquire("x", "a", 10)
    assert await one.acquire("x", "a", 10)
    assert not await two.acquire("x", "b", 10)
    await two.release("x", "b")
    assert not await two.acquire("x", "b", 10)
    await one.release("x", "a")
