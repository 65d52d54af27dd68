"""`Credentials`: a snapshot that cannot be changed, mistaken or shown."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from aiocreds import Credentials
from tests.helpers.secret_leaks import MARK, secret

KEY = "ASIAEXAMPLEKEY12345"


def test_it_is_frozen_and_slotted() -> None:
    credentials = Credentials(KEY, secret())
    with pytest.raises(AttributeError, match="cannot assign to session_token: Credentials are frozen"):
        credentials.session_token = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot delete provider: Credentials are frozen"):
        del credentials.provider  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(credentials, "colour", "red")
    assert not hasattr(credentials, "__dict__")


def test_it_has_the_fields_of_the_contract_in_their_order() -> None:
    fields = inspect.signature(Credentials).parameters
    assert list(fields) == [
        "access_key_id",
        "secret_access_key",
        "session_token",
        "expiration",
        "account_id",
        "credential_scope",
        "provider",
        "identity_id",
        "may_outlive_expiry",
    ]
    assert [field.default for field in fields.values()][2:] == [None] * 6 + [False]
    match Credentials(KEY, secret()):
        case Credentials(key):
            assert key == KEY


def test_a_naive_expiration_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"datetime\.now\(UTC\)"):
        Credentials(KEY, secret(), expiration=datetime(2030, 1, 1))  # noqa: DTZ001


def test_an_expiration_that_is_refused_leaves_what_a_traceback_can_show() -> None:
    """Tools that show the variables of a traceback call the `repr` of what was being made."""
    with pytest.raises(ValueError, match="must be a datetime") as raised:
        Credentials(KEY, secret(), expiration="tomorrow")  # type: ignore[arg-type]  # as a program may pass it
    shown = [repr(it.frame.f_locals["self"]) for it in raised.traceback if "self" in it.frame.f_locals]
    assert set(shown) == {"Credentials(access_key_id='****2345')"}


def test_another_zone_becomes_utc() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    credentials = Credentials(KEY, secret(), expiration=datetime(2030, 1, 1, 5, 30, tzinfo=zone))
    assert credentials.expiration == datetime(2030, 1, 1, tzinfo=UTC)
    assert credentials.expiration is not None
    assert credentials.expiration.tzinfo is UTC


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
@pytest.mark.parametrize("name", ["access_key_id", "secret_access_key"])
def test_a_blank_key_is_refused_by_name(name: str, blank: str) -> None:
    planted = secret()
    keys = {"access_key_id": planted, "secret_access_key": planted, name: blank}
    with pytest.raises(ValueError, match=name) as caught:
        Credentials(keys["access_key_id"], keys["secret_access_key"])
    assert planted not in str(caught.value)


def test_the_repr_shows_the_last_four_and_no_secret() -> None:
    credentials = Credentials(
        KEY,
        secret(),
        secret("token"),
        expiration=datetime(2030, 1, 1, tzinfo=UTC),
        account_id="123456789012",
        provider="env",
    )
    shown = f"{credentials!r} {credentials} {[credentials]}"
    assert "2345" in shown
    assert "2030-01-01" in shown
    assert "123456789012" in shown
    assert KEY not in shown
    assert KEY[:-4][-5:] not in shown
    assert MARK not in shown


@pytest.mark.parametrize("short", ["A", "AKID", "AKID-123"])
def test_a_short_key_id_is_not_shown_at_all(short: str) -> None:
    assert short not in repr(Credentials(short, secret()))


def test_it_can_be_copied_compared_and_sent() -> None:
    credentials = Credentials(KEY, secret(), expiration=datetime(2030, 1, 1, tzinfo=UTC), may_outlive_expiry=True)
    assert copy.copy(credentials) == credentials
    assert pickle.loads(pickle.dumps(credentials)) == credentials
    changed = dataclasses.replace(credentials, account_id="123456789012")
    assert changed == credentials.__replace__(account_id="123456789012")  # as copy.replace does from Python 3.13 on
    assert dataclasses.asdict(changed)["account_id"] == "123456789012"
    assert [field.name for field in dataclasses.fields(credentials)] == list(Credentials.__match_args__)
    assert changed != credentials
    assert changed.may_outlive_expiry


@pytest.mark.parametrize("expiration", ["2030-01-01T00:00:00Z", 1893456000])
def test_an_expiration_out_of_json_is_told_from_a_datetime(expiration: Any) -> None:
    with pytest.raises(ValueError, match=f"with a timezone, not {type(expiration).__name__}: make one of it"):
        Credentials("AKIDEXAMPLE", "x", expiration=expiration)
