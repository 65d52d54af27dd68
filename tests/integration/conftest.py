"""Fixtures of the tests with real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.moto_server import Lake, serve_lake, serve_moto
from tests.helpers.scripted import issue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiocreds import Credentials
    from tests.helpers.sigv4_server import Judge


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The URL of moto's server: S3, STS, Cognito and the others, which really answer."""
    with serve_moto() as url:
        yield url


@pytest.fixture(scope="module")
def lake() -> Iterator[Lake]:
    """A bucket at a moto that checks who calls."""
    with serve_lake() as lake:
        yield lake


@pytest.fixture
def credentials() -> Credentials:
    """Return keys that the next one knows."""
    return issue()


@pytest.fixture
async def judge(credentials: Credentials) -> AsyncIterator[Judge]:
    """A service that checks signatures."""
    from tests.helpers.sigv4_server import Judge  # it needs hypothesis, which not every session installs

    async with Judge(credentials) as judge:
        yield judge
