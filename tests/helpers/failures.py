"""The errors that callers of a provider get, checked for secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from aiocreds import CredentialsError
from tests.helpers.secret_leaks import MARK, assert_quiet, told_by

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiocreds import Provider

E = TypeVar("E", bound=CredentialsError)


async def failure(provider: Provider, kind: type[E], *words: str) -> E:
    """Return what a caller gets: of this kind, with these words and the source's name, and with no secret."""
    with pytest.raises(CredentialsError) as caught:
        await provider()
    error = caught.value
    assert isinstance(error, kind), repr(error)
    for word in (provider.name, *words):
        assert word in str(error), str(error)
    assert_quiet(error)
    assert MARK not in repr(provider)
    assert MARK not in repr(provider.status)
    return error


async def failure_of(provider: Provider) -> CredentialsError:
    """Return what a caller gets, of any kind, with no secret."""
    with pytest.raises(CredentialsError) as caught:
        await provider()
    assert MARK not in "".join(told_by(caught.value))
    assert MARK not in repr(provider.status)
    return caught.value


async def message_of(attempt: Awaitable[object], kind: type[Exception]) -> str:
    """Return the message that an attempt fails with."""
    with pytest.raises(kind) as caught:
        await attempt
    return str(caught.value)
