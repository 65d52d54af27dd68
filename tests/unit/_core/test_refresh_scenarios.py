"""The SDK teams' 24 scenarios, run against the pure functions and against a provider."""

from __future__ import annotations

import json
from time import time
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from aiocreds._core import refresh
from aiocreds._core.refresh import Action, State
from aiocreds.errors import CredentialsError, LoginRequired, SourceUnavailable
from tests.helpers.scripted import Source, issue, settle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import time_machine

    from aiocreds.credentials import Credentials

# Where we are kinder on purpose, and how: what a scenario expects, and what our caller gets instead.
SERVED_AT_ONCE = ("newCredentials", "cachedCredentials")  # advisory window: the refresh runs behind the caller
STILL_VALID = ("nonRecoverableError", "cachedCredentials")  # no retry can mend it, but what is held is valid

KINDER: dict[str, dict[int, tuple[str, str]]] = {
    "Advisory window, refresh succeeds": {0: SERVED_AT_ONCE},
    "After a successful refresh returns credentials with a different lifetime": {2: SERVED_AT_ONCE},
    "Advisory window, non-recoverable failure": {0: STILL_VALID, 2: SERVED_AT_ONCE},
    "Mandatory window, non-recoverable failure": {0: STILL_VALID},
    "Non-recoverable error, then an immediate retry": {0: STILL_VALID, 1: STILL_VALID},
}

# How long what is in the cache has been there, of an hour.
AGES = {"valid": 600, "advisory": 3000, "mandatory": 3570, "expired": 3660}
OUTCOMES = ("result", "sourceContacted", "rateLimited", "advisoryWindowSeconds")


class Cache(Protocol):
    """One cache under test."""

    @property
    def state(self) -> State: ...
    async def get(self, answer: Credentials | CredentialsError | None) -> tuple[object, bool]: ...
    def invalidate(self, key: str) -> None: ...


class Pure:
    """Nothing but `decide` and the transitions."""

    def __init__(self, configured: float | None) -> None:
        self.state = State()
        self.configured = configured

    async def get(self, answer: Credentials | CredentialsError | None) -> tuple[object, bool]:
        """What the caller gets, and whether the source was asked."""
        before, now = self.state, time()
        action = refresh.decide(before, now)
        if action is Action.SERVE:
            return before.credentials, False
        if action is Action.RAISE:
            return before.error, False
        assert answer is not None, "the source was asked where it should not be"
        self.refresh(answer, now)
        if action is Action.SERVE_AND_REFRESH:
            return before.credentials, True
        if self.state.error is None or refresh.usable(self.state, now):
            return self.state.credentials, True
        return self.state.error, True

    def refresh(self, answer: Credentials | CredentialsError, now: float) -> None:
        if not isinstance(answer, CredentialsError) and (
            answer.expiration is not None and answer.expiration.timestamp() <= now
        ):
            answer = SourceUnavailable("expired")
        if isinstance(answer, CredentialsError):
            self.state = refresh.failed(self.state, answer, now)
        else:
            self.state = refresh.loaded(self.state, answer, now, advisory_window=self.configured)

    def invalidate(self, key: str) -> None:
        if self.state.credentials is not None and self.state.credentials.access_key_id == key:
            self.state = refresh.invalidated(self.state)


class Live:
    """A provider as it stands."""

    def __init__(self) -> None:
        self.source = Source()
        self.provider = self.source.provider()

    @property
    def state(self) -> State:
        return self.provider._state  # pyright: ignore[reportPrivateUsage] - scenarios look into the cache

    async def get(self, answer: Credentials | CredentialsError | None) -> tuple[object, bool]:
        self.source.script.clear()
        self.source.script.append(AssertionError("asked") if answer is None else answer)
        calls = self.source.calls
        result: object
        try:
            result = await self.provider()
        except CredentialsError as error:
            result = error
        await settle()
        return result, self.source.calls > calls

    def invalidate(self, key: str) -> None:
        self.provider.invalidate(key)


async def play(scenario: dict[str, Any], cache: Cache, clock: time_machine.Traveller) -> dict[int, Any]:
    """Run a scenario; gives the steps that went otherwise than it expects."""
    given = scenario["given"]
    if (held := given["cachedCredentials"]) != "none":
        await cache.get(issue(3600, stamped=True, key=given.get("accessKeyId")))
        clock.shift(AGES[held])
    deviations: dict[int, Any] = {}
    for number, step in enumerate(scenario["steps"]):
        if step["type"] == "advanceTime":
            clock.shift(step["seconds"])
        elif step["type"] == "invalidate":
            cache.invalidate(step["rejectedAccessKeyId"])
        else:
            deviations |= await ask(number, step, cache)
    return deviations


async def ask(number: int, step: dict[str, Any], cache: Cache) -> dict[int, Any]:
    lifetime = step.get("lifetimeSeconds", 3600)
    answers: dict[str | None, Credentials | CredentialsError | None] = {
        "freshCredentials": issue(lifetime, stamped=True),
        "staleCredentials": issue(0, stamped=True),
        "error": SourceUnavailable("down"),
        "nonRecoverableError": LoginRequired("sign in"),
        None: None,
    }
    answer = answers[step.get("response")]
    before = cache.state
    result, contacted = await cache.get(answer)
    if result is None or isinstance(result, CredentialsError):
        name = "nonRecoverableError" if isinstance(result, LoginRequired) else "noCredentialsError"
    else:
        name = "cachedCredentials" if result is before.credentials else "newCredentials"
        assert result is (before.credentials if result is before.credentials else answer)
    state = cache.state
    limited = not contacted and state.error is not None and state.error.recoverable
    window = state.expires_at - state.advisory_at
    found = dict(zip(OUTCOMES, (name, contacted, limited, window), strict=True))
    other = [(wanted, found[name]) for name, wanted in step["expected"].items() if found[name] != wanted]
    assert len(other) <= 1, other
    return {number: other[0]} if other else {}


def scenarios(shared_data: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((shared_data / "credential-refresh-tests.json").read_text())
    assert len(listed) == 24
    return listed


def spread_of(scenario: dict[str, Any]) -> Callable[[float, float], float]:
    """The scenarios know no jitter and name the backoff they want."""
    spreads: dict[tuple[float, float], float] = {
        (0.0, refresh.ADVISORY_JITTER): 0.0,
        refresh.SERVICE_BACKOFF: scenario["given"].get("refreshBackoffSeconds", 300.0),
        refresh.UNRECOVERABLE_BACKOFF: 5.0,
    }
    return lambda low, high: spreads[low, high]


@pytest.mark.parametrize("live", [False, True], ids=["pure", "provider"])
@pytest.mark.parametrize("number", range(24))
async def test_a_scenario_goes_as_written_or_kinder_as_listed(
    number: int, live: bool, shared_data: Path, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = scenarios(shared_data)[number]
    monkeypatch.setattr(refresh, "spread", spread_of(scenario))
    configured = scenario["given"].get("configuredAdvisoryWindowSeconds")
    cache: Cache = Live() if live and configured is None else Pure(configured)
    deviations = await play(scenario, cache, clock)
    listed = [steps for start, steps in KINDER.items() if scenario["documentation"].startswith(start)]
    assert deviations == (listed[0] if listed else {})


def test_the_table_names_scenarios_that_exist(shared_data: Path) -> None:
    texts = [scenario["documentation"] for scenario in scenarios(shared_data)]
    for start in KINDER:
        assert sum(text.startswith(start) for text in texts) == 1, start
