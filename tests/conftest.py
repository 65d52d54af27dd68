"""What every test has: no blocking of the loop, no secret in sight (`hush_plugin`), a machine of its own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from aiocreds import Context
from tests.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytest_plugins = ["tests.hush_plugin"]
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def never_block() -> Iterator[BlockBuster]:
    """Fail a test in which our code blocks the loop."""
    with blockbuster_ctx("aiocreds") as blockbuster:
        yield blockbuster


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
