"""Short pauses for the unit tests: what is repeated is under test, not for how long it waits in between."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSES = {  # seconds; a test of a pause sets its own
    "aiocreds._http.request.BACKOFF": 0.001,
    "aiocreds._token_cache.cache.PAUSE": 0.005,
    "aiocreds._token_cache.lock.PAUSE": 0.01,
    "aiocreds._token_cache.storage.PAUSE": 0.01,
    "aiocreds.sources._rotated_file.PAUSE": 0.01,
}


@pytest.fixture(scope="package", autouse=True)
def short_pauses() -> Iterator[dict[str, float]]:
    """Set the pauses once for all tests; the value is what they really are."""
    real = {constant: pkgutil.resolve_name(constant) for constant in PAUSES}
    with pytest.MonkeyPatch.context() as patch:
        for constant, seconds in PAUSES.items():
            patch.setattr(constant, seconds)
        yield real


@pytest.fixture
def real_pauses(short_pauses: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses as they are for users."""
    for constant, seconds in short_pauses.items():
        monkeypatch.setattr(constant, seconds)
