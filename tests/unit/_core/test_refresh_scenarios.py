"""Scenarios of one cache: what it holds, what the source answers, what the caller gets.

`RULES` has one of our own for each of the SDK teams' 24, which lie beside the project and are no part of it. Where
they are at hand they run too, and each has the shape of the rule at its place. All run against the pure
functions and against a provider.
"""

from __future__ import annotations

import json
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
Kinder = dict[int, tuple[str, str]]  # by the number of the step

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
        """Return the answer to the caller, and whether the source was asked."""
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


def get(answer: str | None, result: str, *, limited: bool = False, **more: Any) -> dict[str, Any]:
    """Ask for credentials; the source is asked exactly if it has an answer."""
    window = {"advisoryWindowSeconds": more.pop("window")} if "window" in more else {}
    expected = {"result": result, "sourceContacted": answer is not None, "rateLimited": limited, **window}
    return {"type": "getCredentials", **({"response": answer} if answer else {}), **more, "expected": expected}


def wait(seconds: float) -> dict[str, Any]:
    return {"type": "advanceTime", "seconds": seconds}


def reject(key: str) -> dict[str, Any]:
    return {"type": "invalidate", "rejectedAccessKeyId": key}


class Rule(NamedTuple):
    """A scenario in the form of the SDK teams', and where we are kinder."""

    held: str
    steps: list[dict[str, Any]]
    given: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    kinder: Kinder = {}  # noqa: RUF012

    @property
    def scenario(self) -> dict[str, Any]:
        return {"given": {"cachedCredentials": self.held, **self.given}, "steps": self.steps}


NEW, HELD, NONE, FINAL = "newCredentials", "cachedCredentials", "noCredentialsError", "nonRecoverableError"
FRESH, STALE, DOWN, REFUSED = "freshCredentials", "staleCredentials", "error", "nonRecoverableError"
RULES = {  # in the order of the SDK teams'
    "valid ones are served, and nobody is asked": Rule("valid", [get(None, HELD)]),
    "in the advisory window others are fetched": Rule("advisory", [get(FRESH, NEW)], kinder={0: SERVED_AT_ONCE}),
    "in the advisory window a failure leaves what is held": Rule("advisory", [get(DOWN, HELD)]),
    "in the mandatory window others are fetched": Rule("mandatory", [get(FRESH, NEW)]),
    "in the mandatory window a failure leaves what is held": Rule("mandatory", [get(DOWN, HELD)]),
    "expired ones are replaced": Rule("expired", [get(FRESH, NEW)]),
    "expired ones are served on after a failure": Rule("expired", [get(DOWN, HELD)]),
    "a first load that fails is tried again at once": Rule("none", [get(DOWN, NONE), get(FRESH, NEW)]),
    "in the advisory window expired ones are a failure": Rule("advisory", [get(STALE, HELD)]),
    "in the mandatory window expired ones are a failure": Rule("mandatory", [get(STALE, HELD)]),
    "a quarter of an hour has a window of 5 minutes": Rule(
        "none", [get(FRESH, NEW, lifetimeSeconds=900, window=300)]
    ),
    "25 minutes have a window of 15": Rule("none", [get(FRESH, NEW, lifetimeSeconds=1500, window=900)]),
    "4 hours have a window of one": Rule("none", [get(FRESH, NEW, lifetimeSeconds=14_400, window=3600)]),
    "each load has a window of its own": Rule(
        "none",
        [
            get(FRESH, NEW, lifetimeSeconds=7200, window=3600),
            wait(3700),
            get(FRESH, NEW, lifetimeSeconds=900, window=300),
        ],
        kinder={2: SERVED_AT_ONCE},
    ),
    "a window may be configured": Rule(
        "none",
        [get(FRESH, NEW, lifetimeSeconds=10_800, window=2400)],
        {"configuredAdvisoryWindowSeconds": 2400},
    ),
    "in the advisory window a no is raised, and asked about again soon": Rule(
        "advisory",
        [get(REFUSED, FINAL), wait(8), get(FRESH, NEW)],
        kinder={0: STILL_VALID, 2: SERVED_AT_ONCE},
    ),
    "in the mandatory window a no is raised, and asked about again soon": Rule(
        "mandatory", [get(REFUSED, FINAL), wait(8), get(FRESH, NEW)], kinder={0: STILL_VALID}
    ),
    "a no is raised again without asking": Rule(
        "advisory", [get(REFUSED, FINAL), get(None, FINAL)], kinder={0: STILL_VALID, 1: STILL_VALID}
    ),
    "rejected ones are replaced": Rule("valid", [reject("mine"), get(FRESH, NEW)], {"accessKeyId": "mine"}),
    "rejected ones are served on after a failure": Rule(
        "valid", [reject("mine"), get(DOWN, HELD)], {"accessKeyId": "mine"}
    ),
    "a rejection does not shorten a backoff": Rule(
        "expired",
        [get(DOWN, HELD), wait(100), reject("mine"), get(None, HELD, limited=True), wait(270), get(FRESH, NEW)],
        {"accessKeyId": "mine", "refreshBackoffSeconds": 360},
    ),
    "a rejection of others changes nothing": Rule(
        "valid", [reject("former"), get(None, HELD)], {"accessKeyId": "mine"}
    ),
    "after a failure nobody is asked before the backoff is over": Rule(
        "expired",
        [get(DOWN, HELD), wait(350), get(None, HELD, limited=True), wait(20), get(FRESH, NEW)],
        {"refreshBackoffSeconds": 360},
    ),
    "a first load that is answered no raises that, and is tried again soon": Rule(
        "none", [get(REFUSED, FINAL), wait(8), get(FRESH, NEW)]
    ),
}


def references(shared_data: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((shared_data / "credential-refresh-tests.json").read_text())
    return listed


def shape(scenario: dict[str, Any]) -> object:
    """A scenario without its numbers and names."""
    given = scenario["given"]

    def plain(step: dict[str, Any]) -> object:
        expected = step.get("expected", {})
        return (
            *(step["type"], step.get("response"), "lifetimeSeconds" in step, "advisoryWindowSeconds" in expected),
            *(expected.get(name) for name in OUTCOMES[:3]),
            step.get("rejectedAccessKeyId", "") == given.get("accessKeyId"),
        )

    return given["cachedCredentials"], sorted(given), [plain(step) for step in scenario["steps"]]


def spread_of(scenario: dict[str, Any]) -> Callable[[float, float], float]:
    """The scenarios know no jitter and name the backoff they want."""
    spreads: dict[tuple[float, float], float] = {
        (0.0, refresh.ADVISORY_JITTER): 0.0,
        refresh.SERVICE_BACKOFF: scenario["given"].get("refreshBackoffSeconds", 300.0),
        refresh.UNRECOVERABLE_BACKOFF: 5.0,
    }
    return lambda low, high: spreads[low, high]


async def goes_so(
    scenario: dict[str, Any], live: bool, kinder: Kinder, clock: time_machine.Traveller, patch: pytest.MonkeyPatch
) -> None:
    """Run a scenario, which goes as written but for what is kinder."""
    patch.setattr(refresh, "spread", spread_of(scenario))
    configured = scenario["given"].get("configuredAdvisoryWindowSeconds")
    cache: Cache = Live() if live and configured is None else Pure(configured)
    assert await play(scenario, cache, clock) == kinder


@pytest.mark.parametrize("live", [False, True], ids=["pure", "provider"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
async def test_a_rule(
    rule: Rule, live: bool, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await goes_so(rule.scenario, live, rule.kinder, clock, monkeypatch)


@pytest.mark.parametrize("live", [False, True], ids=["pure", "provider"])
@pytest.mark.parametrize("number", range(24))
async def test_a_scenario_goes_as_written_or_kinder_as_listed(
    number: int, live: bool, shared_data: Path, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = list(RULES.values())[number]
    await goes_so(references(shared_data)[number], live, rule.kinder, clock, monkeypatch)


def test_every_reference_scenario_checks_a_rule_of_ours(shared_data: Path) -> None:
    assert len(RULES) == 24
    for (name, rule), scenario in zip(RULES.items(), references(shared_data), strict=True):
        assert shape(rule.scenario) == shape(scenario), name
