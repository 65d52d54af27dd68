"""Fuzzing in short: some hundred inputs a target; and that the engines find what there is.

The million is `nox -s fuzz`.
"""

from __future__ import annotations

from importlib import import_module
from random import getrandbits
from time import monotonic

import pytest
from hypothesis import strategies as st

from tests.stress.fuzz import limits
from tests.stress.fuzz.__main__ import TARGETS
from tests.stress.fuzz.engines import Tally, by_hypothesis, by_mutation
from tests.stress.fuzz.findings import attempt
from tests.stress.fuzz.limits import MOST_HELD, growth, memory
from tests.stress.fuzz.target import Target
from tests.stress.fuzz.worker import load

EXAMPLES, MUTATED = 100, 400
pytestmark = [
    pytest.mark.slow,
    pytest.mark.short_secrets(because="they are drawn"),
    pytest.mark.shows_secrets(
        "repr", "exception", "log", because="what is drawn may be a name here and a secret there"
    ),
]


@pytest.mark.parametrize("name", TARGETS)
def test_what_comes_out_is_an_answer_or_an_error_of_ours(name: str) -> None:
    target = load(name)
    for data in target.known():
        target.run(data)
    seed = getrandbits(32)
    drawn, found = by_hypothesis(target, EXAMPLES, seed)
    assert found is None, f"{found.what}\n{found.line(name)}"
    tally = Tally(MUTATED, monotonic() + 30)
    by_mutation(target, [*target.seeds, *drawn], tally, seed)
    tally.settle(target.run)
    assert not tally.findings, [(found.what, found.line(name)) for found in tally.findings.values()]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("grammar", "continuations"),
        ("grammar", "the same section"),
        ("profiles", "a chain"),
        ("profiles", "a long word of a command"),
        ("signing", "in headers: lines of a header"),
    ],
)
def test_what_took_quadratic_time_does_no_more(name: str, shape: str) -> None:
    assert growth(load(name), shape).ok


def test_every_module_of_targets_is_run() -> None:
    for name in TARGETS:
        assert isinstance(import_module(f"tests.stress.fuzz.{name}").TARGET, Target)


# The engines find what there is


def fails_at_x(data: bytes) -> None:
    if b"x" in data:
        raise ZeroDivisionError


def compares_all_pairs(data: bytes) -> None:
    sum(one == other for one in data for other in data)


def test_a_failure_is_found_and_made_small() -> None:
    target = Target(feed=fails_at_x, inputs=st.binary(max_size=20), words=[b"xx"])
    drawn, found = by_hypothesis(target, 2_000, 1)
    assert found is not None
    assert found.data == b"x"
    assert "ZeroDivisionError" in found.what
    tally = Tally(1_000, monotonic() + 30)
    by_mutation(target, drawn[:10] or [b""], tally, 1)
    tally.settle(target.run)
    assert [one.data for one in tally.findings.values()] == [b"x"]
    assert tally.inputs == 1_000


def test_a_time_limit_ends_it() -> None:
    tally = Tally(10**9, monotonic())
    by_mutation(Target(feed=len, inputs=st.binary()), [b"a"], tally, 1)  # type: ignore[arg-type]
    assert 0 < tally.inputs < 10**9


def test_quadratic_time_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENOUGH", 0.0003)  # the toy is slow enough
    toy = Target(feed=compares_all_pairs, inputs=st.binary(), growing={"a": lambda n: b"a" * n})
    assert not growth(toy, "a").ok


def test_memory_that_grows_is_noticed() -> None:
    kept: list[bytes] = []
    leaks = Target(feed=lambda data: kept.append(data * 100), inputs=st.binary())
    assert memory(leaks, [b"abc"], 1, inputs=2_000) > MOST_HELD
    assert memory(Target(feed=bytes.isascii, inputs=st.binary()), [b"abc"], 1, inputs=2_000) < MOST_HELD  # type: ignore[arg-type]


def test_the_command_that_shows_it_again() -> None:
    found = attempt(fails_at_x, b"\0x")
    assert found is not None
    assert found.line("toy") == "python -m tests.stress.fuzz --target toy --input AHg="
