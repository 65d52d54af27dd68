"""The endpoint that the tests of ``aiocreds serve`` ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.cli_endpoint import serving
from tests.helpers.scripted import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiocreds.cli._endpoint import Endpoint


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    """An endpoint whose source always has fresh credentials."""
    async with serving(Source()) as endpoint:
        yield endpoint
