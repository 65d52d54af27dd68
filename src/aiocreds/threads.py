"""What the event loops, threads and forks of one process share, and how long it lives."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import ref

if TYPE_CHECKING:

    class OnLoop(Protocol):
        """What belongs to one loop."""

        @property
        def loop(self) -> asyncio.AbstractEventLoop | None:
            """The loop."""


T = TypeVar("T", bound="OnLoop")
BELONGINGS = "_aiocreds"
_elsewhere: dict[asyncio.AbstractEventLoop, set[Any]] = {}  # of loops that take no attributes
_owners: set[ref[Any]] = set()  # changed and copied in one step each: owners live in any thread


def belongings(loop: asyncio.AbstractEventLoop) -> set[Any]:
    """Return what is kept alive for a loop: tasks, keepers, open sessions.

    The loop itself holds it. A table of ours would hold what is in it, and that refers to the loop: a loop that is
    dropped without ``close()`` would stay for ever, with its descriptors. All else of ours refers to it weakly.
    """
    try:
        return loop.__dict__.setdefault(BELONGINGS, set())  # type: ignore[no-any-return]  # it is ours alone
    except AttributeError:
        return _elsewhere.setdefault(loop, set())


def on_loop(table: dict[int, ref[T]], loop: asyncio.AbstractEventLoop) -> T | None:
    """Return what a table holds for a loop, if that is alive."""
    known = table.get(id(loop))
    found = None if known is None else known()
    return found if found is not None and found.loop is loop else None


def put_on_loop(table: dict[int, ref[T]], loop: asyncio.AbstractEventLoop, what: T) -> None:
    """Put something into a table of what there is by the id of its loop, and take out what has gone."""
    for number, known in list(table.items()):  # other threads add theirs meanwhile
        if (other := known()) is None or other.loop is None or other.loop.is_closed():
            table.pop(number, None)
    table[id(loop)] = ref(what)


def runs_here(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Return whether code runs on its loop; if not, the garbage collector ends what ran on one that was dropped.

    Nothing can be awaited there, and what libraries raise for want of a loop is no failure.
    """
    return asyncio._get_running_loop() is loop  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - in asyncio.__all__


def wake(waiter: asyncio.Future[None]) -> None:
    """End the wait of a future that belongs to another loop; one that is closed waits no more."""
    with suppress(RuntimeError):
        waiter.get_loop().call_soon_threadsafe(_end, waiter)


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def renew_after_fork(owner: object) -> None:
    """Have ``owner._after_fork()`` called in each forked child, for as long as the owner lives.

    A lock that another thread holds at that moment would be held in the child for ever: the thread is not there.
    """
    _owners.add(ref(owner, _owners.discard))


def _after_fork() -> None:
    for known in list(_owners):
        if (owner := known()) is not None:
            owner._after_fork()  # noqa: SLF001 - what has been registered has it for this


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
