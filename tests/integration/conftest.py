"""Fixtures of the tests with real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers.moto_server import Lake, serve_lake, serve_moto

if TYPE_CHECKING:
    from collections.abc import Iterator


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
