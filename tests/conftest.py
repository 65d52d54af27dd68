"""What every test has: no blocking of the loop, no secret in sight, a machine of its own."""

from __future__ import annotations

import socket
import traceback
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import pytest
import time_machine
from blockbuster import BlockBuster, BlockingError

from aiocreds import Context
from tests.helpers.loopback_aws import Loopback
from tests.helpers.scripted import START

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytest_plugins = ["tests.helpers.secret_leaks_plugin"]
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def blockbuster() -> BlockBuster:
    """Made once, which takes as long as a small test."""
    blockbuster = BlockBuster("aiocreds")
    for writing in ("io.TextIOWrapper.write", "io.BufferedWriter.write"):  # where the log goes is not ours
        blockbuster.functions[writing].can_block_in("logging/__init__.py", "emit")
    return blockbuster


@pytest.fixture(autouse=True)
def never_block(blockbuster: BlockBuster, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockBuster]:
    """Fail a test in which our code blocks a loop, also where the error is caught: a provider catches them all."""
    blocked: set[str] = set()
    raised = BlockingError.__init__

    def note(error: BlockingError, what: str) -> None:
        raised(error, what)
        caller = traceback.extract_stack(limit=3)[0]  # behind us and blockbuster
        blocked.add(f"{what} in {caller.name}, {Path(caller.filename).name}:{caller.lineno}")

    monkeypatch.setattr(BlockingError, "__init__", note)
    blockbuster.activate()
    try:
        yield blockbuster
    finally:
        blockbuster.deactivate()
    assert not blocked, f"the loop was blocked: {blocked}"


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
    """What the sources see of the machine: `environ` and `home`, and nothing of the real one."""
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
