"""The error tree, and what its errors carry."""

from __future__ import annotations

import copy
import pickle

import pytest

from aiocreds import errors
from aiocreds.errors import (
    ChainExhausted,
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    afresh,
)
from tests.helpers.secret_leaks import secret

PARENTS: dict[type[Exception], type[Exception]] = {
    CredentialsError: Exception,
    CredentialsNotFound: CredentialsError,
    ChainExhausted: CredentialsNotFound,
    InvalidConfiguration: CredentialsError,
    SourceUnavailable: CredentialsError,
    ServiceRefused: CredentialsError,
    LoginRequired: CredentialsError,
}


def examples() -> list[CredentialsError]:
    return [
        CredentialsError("text", provider="from_x", try_next_link=True, recoverable=False),
        CredentialsNotFound("text", provider="from_x"),
        ChainExhausted("text", attempts=[CredentialsNotFound("a"), SourceUnavailable("b", stderr=b"c")]),
        InvalidConfiguration("text", try_next_link=True),
        SourceUnavailable("text", provider="from_process", exit_status=3, stderr=secret().encode()),
        ServiceRefused("text", code="AccessDenied", message="no", status=403, request_id="r-1", recoverable=False),
        LoginRequired("text"),
    ]


def test_the_tree_is_as_drawn() -> None:
    tree = {
        value: value.__base__
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert tree == PARENTS


def test_every_error_has_an_example() -> None:
    assert {type(example) for example in examples()} == set(PARENTS)


@pytest.mark.parametrize("cls", PARENTS)
def test_only_not_found_goes_on_to_the_next_link(cls: type[CredentialsError]) -> None:
    assert cls("text").try_next_link is issubclass(cls, CredentialsNotFound)


@pytest.mark.parametrize("cls", PARENTS)
def test_only_a_login_is_beyond_retrying_by_itself(cls: type[CredentialsError]) -> None:
    assert cls("text").recoverable is (cls is not LoginRequired)


def test_an_error_may_say_otherwise() -> None:
    assert SourceUnavailable("text", try_next_link=True).try_next_link
    assert not CredentialsNotFound("text", try_next_link=False).try_next_link
    assert not SourceUnavailable("text").try_next_link


def test_the_message_names_the_provider() -> None:
    assert str(CredentialsNotFound("nothing here", provider="from_vault")) == "from_vault: nothing here"
    assert str(CredentialsNotFound("nothing here")) == "nothing here"


@pytest.mark.parametrize("error", examples(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: CredentialsError) -> None:
    back: CredentialsError = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    kept = {name: value for name, value in vars(error).items() if name not in ("stderr", "attempts")}
    assert {name: vars(back)[name] for name in kept} == kept
    assert (back.try_next_link, back.recoverable) == (error.try_next_link, error.recoverable)
    if isinstance(error, ChainExhausted):
        assert isinstance(back, ChainExhausted)
        assert [(type(one), str(one)) for one in back.attempts] == [(type(one), str(one)) for one in error.attempts]


def test_what_a_process_wrote_to_stderr_stays_in_this_process() -> None:
    planted = secret()
    error = SourceUnavailable("failed", exit_status=1, stderr=planted.encode())
    chained = ChainExhausted("none", attempts=[error])
    assert planted.encode() not in pickle.dumps(error)
    assert planted.encode() not in pickle.dumps(chained)
    assert pickle.loads(pickle.dumps(error)).stderr is None
    assert planted not in f"{error} {error!r} {chained} {chained!r}"
    assert error.stderr == planted.encode()


def test_a_subclass_with_a_constructor_of_its_own_survives_too() -> None:
    error = VaultSealed(7)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), afresh(error)):
        assert type(other) is VaultSealed
        assert other.shard == 7
        assert str(other) == "shard 7 is sealed"


class VaultSealed(SourceUnavailable):
    def __init__(self, shard: int) -> None:
        super().__init__(f"shard {shard} is sealed")
        self.shard = shard


@pytest.mark.parametrize("error", examples(), ids=lambda error: type(error).__name__)
def test_afresh_is_the_same_error_without_its_traceback(error: CredentialsError) -> None:
    cause = ValueError("cause")
    try:
        raise error from cause
    except CredentialsError as raised:
        other = afresh(raised)
    assert error.__traceback__ is not None
    assert other is not error
    assert type(other) is type(error)
    assert other.__traceback__ is None
    assert other.__cause__ is cause
    assert str(other) == str(error)
    assert vars(other) == vars(error)
    other.provider = "other"
    assert error.provider != "other"
