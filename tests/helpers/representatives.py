"""Parameters of a test of which a few are enough on every Python version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def slow_but(cases: Iterable[Any], *stay: Any) -> list[Any]:
    """Return the cases, marked `slow` but for those that stay."""
    every = list(cases)
    assert all(case in every for case in stay), "a case that is none would leave none to run"
    return [case if case in stay else pytest.param(case, marks=pytest.mark.slow) for case in every]
