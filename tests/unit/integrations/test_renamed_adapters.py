"""The adapters for obstore and Polars go by their names of the last release as well, with a warning."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from inspect import iscoroutine
from typing import TYPE_CHECKING

import pytest

from tests.helpers.scripted import Source, issue

if TYPE_CHECKING:
    from collections.abc import Iterator

RENAMED = [
    ("obstore", "credential_provider", "obstore_credentials"),
    ("obstore", "sync_credential_provider", "sync_obstore_credentials"),
    ("polars", "credential_provider", "polars_credentials"),
]


@pytest.fixture(autouse=True)
def _loaded_anew() -> Iterator[None]:
    """The adapters import neither library, so they are tested where these are not installed."""
    known = {name: sys.modules.pop(f"aiocreds.integrations.{name}", None) for name in ("obstore", "polars")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aiocreds.integrations._extras.find_spec", str)
        yield
    for name, module in known.items():
        sys.modules.pop(f"aiocreds.integrations.{name}", None)
        if module is not None:
            sys.modules[f"aiocreds.integrations.{name}"] = module


@pytest.mark.parametrize(("library", "old", "new"), RENAMED)
async def test_the_old_name_warns_at_the_caller_and_works(library: str, old: str, new: str) -> None:
    module, credentials = import_module(f"aiocreds.integrations.{library}"), issue()
    words = rf"aiocreds\.integrations\.{library}\.{old} is called {new} now"
    with pytest.warns(DeprecationWarning, match=words) as caught:
        ask = getattr(module, old)(Source(credentials).provider())
    assert [warning.filename for warning in caught] == [__file__]
    given = await asyncio.to_thread(ask)
    assert credentials.access_key_id in str(await given if iscoroutine(given) else given)


@pytest.mark.parametrize(("library", "old", "new"), RENAMED)
async def test_the_new_name_warns_of_nothing(library: str, old: str, new: str) -> None:
    module, credentials = import_module(f"aiocreds.integrations.{library}"), issue()
    ask = getattr(module, new)(Source(credentials).provider())  # a warning is an error here
    given = await asyncio.to_thread(ask)
    assert credentials.access_key_id in str(await given if iscoroutine(given) else given)
