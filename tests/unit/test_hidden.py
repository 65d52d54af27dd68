"""Values that show nothing of themselves, and otherwise are what they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiocreds.hidden import Buffer, Data, Document, Text

HELD: list[tuple[Any, Any]] = [
    (Text("token"), "token"),
    (Data(b"body"), b"body"),
    (Buffer(b"piece"), bytearray(b"piece")),
    (Document({"token": "x"}), {"token": "x"}),
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
    assert f"Bearer {Text('token')}" == "Bearer token"
    assert type(str(Text("token"))) is str
    assert json.dumps(Document({"token": Text("token")})) == '{"token": "token"}'
