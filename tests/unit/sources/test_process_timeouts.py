"""A time limit of a process that is none is refused where it is given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aiocreds import InvalidConfiguration, default_chain, from_ini, from_process


@pytest.mark.parametrize("given", [-1, 0, float("nan"), float("inf"), "soon", None, timedelta(seconds=-1)])
def test_it_is_refused_by_the_call(given: Any) -> None:
    with pytest.raises(InvalidConfiguration, match="process_timeout must be"):
        from_ini(process_timeout=given)
    with pytest.raises(InvalidConfiguration, match="process_timeout must be"):
        default_chain(process_timeout=given)
    with pytest.raises(InvalidConfiguration, match=r"^timeout must be"):
        from_process(command="vend", timeout=given)


def test_what_is_one_is_taken() -> None:
    for given in (0.5, 60, timedelta(seconds=1)):
        assert default_chain(process_timeout=given).name == "chain"
        assert from_process(command="vend", timeout=given).name == "from_process"
