"""Fixtures of all tests: nothing blocks the loop, no secret is in sight, and a test has a machine of its own."""

from __future__ import annotations

import gc
import itertools
import re
import socket
import sys
import traceback
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from blockbuster import BlockBuster, BlockingError

import aiocreds
from aiocreds import Context
from tests.helpers.loopback_aws import Loopback
from tests.helpers.scripted import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from types import FrameType

pytest_plugins = ["tests.helpers.secret_leaks_plugin"]
SOURCE = str(Path(aiocreds.__file__).parent)
# The tracer of coverage takes a lock in our frames, and no Python may run while it has that.
UNWATCHED = ("threading.Lock.acquire", "threading.Lock.acquire_lock") if "coverage" in sys.modules else ()
BLOCKED: set[str] = set()  # what has blocked a loop in the test that runs, and where
FOLDERS = itertools.count()
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Keep what is loaded by now out of garbage collections, which tests of what is let go ask for all the time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(report: object) -> Generator[None, dict[str, Any], dict[str, Any]]:
    """Send of a test that passed what is counted: xdist takes 16,000 such reports apart and together again."""
    data = yield
    if isinstance(report, pytest.TestReport) and report.passed:
        data["keywords"], data["sections"] = {}, []
    return data


@pytest.fixture(scope="session")
def blockbuster() -> Iterator[BlockBuster]:
    """Watch from the first test to the last one: to begin and to end takes longer than many a test."""
    raised = BlockingError.__init__

    def note(error: BlockingError, what: str) -> None:
        raised(error, what)
        caller = traceback.extract_stack(limit=3)[0]  # behind us and blockbuster
        BLOCKED.add(f"{what} in {caller.name}, {Path(caller.filename).name}:{caller.lineno}")

    blockbuster = BlockBuster("aiocreds")
    for writing in ("io.TextIOWrapper.write", "io.BufferedWriter.write"):  # where the log goes is not ours
        blockbuster.functions[writing].can_block_in("logging/__init__.py", "emit")
    for function in blockbuster.functions.values():
        function.can_block_predicate = _unless_called_by_us(function.can_block_predicate)
    blockbuster.activate()
    for name in UNWATCHED:
        blockbuster.functions[name].deactivate()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockingError, "__init__", note)
        yield blockbuster
    blockbuster.deactivate()


def _unless_called_by_us(may_block: Callable[..., bool]) -> Callable[..., bool]:
    """Return a predicate that is true at once for calls of others, which are nearly all.

    blockbuster looks at each frame's file name against each of its lists, for each call.
    """
    known: dict[str, bool] = {}

    def predicate(*args: Any, **options: Any) -> bool:
        above: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - the stack, without its cost
        while above is not None:
            file = above.f_code.co_filename
            ours = known.get(file)
            if ours is None:
                ours = known[file] = file.startswith(SOURCE)
            if ours:
                return may_block(*args, **options)
            above = above.f_back
        return True

    return predicate


@pytest.fixture(autouse=True)
def never_block(blockbuster: BlockBuster) -> Iterator[BlockBuster]:
    """Fail a test in which our code blocks a loop, also where the error is caught: a provider catches them all."""
    BLOCKED.clear()
    yield blockbuster
    for name, function in blockbuster.functions.items():  # a test may have left one out, for a reason
        if not function.activated and name not in UNWATCHED:
            function.activate()
    assert not BLOCKED, f"the loop was blocked: {BLOCKED}"


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, without the search for a free number and the symbolic link that pytest's own costs."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    return tmp_path_factory.mktemp(f"{name}-{next(FOLDERS)}", numbered=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder with an ``.aws`` in it."""
    (tmp_path / ".aws").mkdir()
    return tmp_path


@pytest.fixture
def environ() -> dict[str, str]:
    """An empty environment; a test sets what it needs."""
    return {}


@pytest.fixture
def context(home: Path, environ: dict[str, str]) -> Context:
    """The machine as sources see it: `environ` and `home`, and nothing of the real one."""
    return Context(environ=environ, home=home)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[time_machine.Traveller]:
    """The time stands still at START, until a test moves it: it passes, which is not to set a clock."""
    monkeypatch.setattr("aiocreds._core.refresh.steady", time)
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
async def aws() -> AsyncIterator[Loopback]:
    """An AWS on loopback that behaves, until a test tells it otherwise."""
    async with Loopback() as loopback:
        yield loopback


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of loopback that refuses connections, and that nobody else is given meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def shared_data() -> Path:
    """Reference cases that other projects publish; they lie beside the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the reference cases are not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def connections_close_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have connections that nobody holds closed by the request that used them, so that closing is part of it."""
    monkeypatch.setattr("aiocreds._http.session.LINGER", 0.0)
