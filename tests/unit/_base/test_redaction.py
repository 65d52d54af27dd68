"""Values that show nothing of themselves, and otherwise are what they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiocreds._base.redaction import SecretBuffer, SecretBytes, SecretDict, SecretStr

HELD: list[tuple[Any, Any]] = [
    (SecretStr("token"), "token"),
    (SecretBytes(b"body"), b"body"),
    (SecretBuffer(b"piece"), bytearray(b"piece")),
    (SecretDict({"token": "x"}), {"token": "x"}),
]


@pytest.mark.parametrize(("hidden", "plain"), HELD)
def test_nothing_shows_where_a_repr_is_asked_for(hidden: Any, plain: Any) -> None:
    kind = type(hidden).__name__
    for shown in (repr(hidden), f"{hidden!r}", "%r" % (hidden,)):  # noqa: UP031 - as loggers have it
        assert shown == "****", kind
    assert repr({"held": [hidden]}) == "{'held': [****]}"


@pytest.mark.parametrize(("hidden", "plain"), HELD)
def test_it_works_as_what_it_holds(hidden: Any, plain: Any) -> None:
    assert hidden == plain
    assert isinstance(hidden, type(plain))
    assert len(hidden) == len(plain)
    assert not type(hidden)(), "an empty one is false"


def test_it_goes_out_as_it_is() -> None:
    assert f"Bearer {SecretStr('token')}" == "Bearer token"
    assert type(str(SecretStr("token"))) is str
    assert json.dumps(SecretDict({"token": SecretStr("token")})) == '{"token": "token"}'
