"""Short pauses for the unit tests: what is repeated is under test, not for how long it waits in between."""

from __future__ import annotations

import pytest

PAUSES = {  # seconds; a test of a pause sets its own
    "aiocreds._http.request.BACKOFF": 0.001,
    "aiocreds._token_cache.cache.PAUSE": 0.005,
    "aiocreds._token_cache.lock.PAUSE": 0.01,
    "aiocreds._token_cache.storage.PAUSE": 0.01,
    "aiocreds.sources._token_file.PAUSE": 0.01,
}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for constant, seconds in PAUSES.items():
        monkeypatch.setattr(constant, seconds)
