"""Credentials in JSON, whoever sends them.

=================================  ==================================================
the document is                    the caller gets
=================================  ==================================================
nothing, HTML, cut short, a list   SourceUnavailable: its kind, never a piece of it
without a key, or a blank one      SourceUnavailable: the missing fields
with a code other than Success     ServiceRefused with that code, if it looks like one
with an unreadable expiration      SourceUnavailable
expired                            SourceUnavailable, unless the sender decides (EC2)
=================================  ==================================================
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from aiocreds._base.json_credentials import parse_credentials
from aiocreds._base.redaction import SecretBytes
from aiocreds.errors import CredentialsError, ServiceRefused, SourceUnavailable
from tests.helpers.secret_leaks import MARK, secret

E = TypeVar("E", bound=CredentialsError)
NOW = datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def document(**fields: object) -> dict[str, object]:
    return {
        "AccessKeyId": "ASIAPARSE00000001",
        "SecretAccessKey": secret(),
        "Token": secret("token"),
        "Expiration": "2030-01-01T01:00:00Z",
        **fields,
    }


def parse(text: bytes | dict[str, object], **options: Any) -> Any:
    options = {"provider": "test", "origin": "the agent", "remedy": "look there", "now": NOW, **options}
    return parse_credentials(SecretBytes(json.dumps(text).encode() if isinstance(text, dict) else text), **options)


def test_everything_there_is() -> None:
    fields = document(Code="Success", AccountId="123456789012", Extra=[1])
    credentials = parse(fields)
    assert credentials.access_key_id == fields["AccessKeyId"]
    assert credentials.secret_access_key == fields["SecretAccessKey"]
    assert credentials.session_token == fields["Token"]
    assert credentials.expiration == datetime(2030, 1, 1, 1, tzinfo=UTC)
    assert credentials.account_id == "123456789012"
    assert credentials.provider == "test"
    assert credentials.may_outlive_expiry


def test_the_least() -> None:
    credentials = parse(
        {"AccessKeyId": "AKIAPARSE", "SecretAccessKey": secret()},
        account_id="000000000001",
        may_outlive_expiry=False,
    )
    assert credentials.session_token is None
    assert credentials.expiration is None
    assert credentials.account_id == "000000000001"
    assert not credentials.may_outlive_expiry


def test_stray_white_space_is_no_part_of_a_key() -> None:
    key = secret()
    credentials = parse(document(AccessKeyId=" AKIAPARSE\n", SecretAccessKey=f"{key}\n", Token=" "))
    assert credentials.access_key_id == "AKIAPARSE"
    assert credentials.secret_access_key == key
    assert credentials.session_token is None


def test_bytes_with_a_byte_order_mark_or_in_utf_16() -> None:
    text = json.dumps(document())
    assert parse(text.encode("utf-16")).access_key_id == "ASIAPARSE00000001"
    assert parse(text.encode("utf-8-sig")).access_key_id == "ASIAPARSE00000001"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "nothing"),
        (b" \n", "nothing"),
        (b"<html>sEcReT</html>", "HTML or XML"),
        (b"\n <?xml version='1.0'?>sEcReT", "HTML or XML"),
        (b'{"SecretAccessKey": "sEcReT', "not JSON, or cut short"),
        (b"sEcReT", "not JSON, or cut short"),
        (b'{"SecretAccessKey": "sEcReT\xff"}', "not JSON, or cut short"),
        (b"[" * 100_000, "not JSON, or cut short"),
        (b'{"AccessKeyId": ' + b"1" * 5000 + b"}", "not JSON, or cut short"),
        (b'["sEcReT"]', "a JSON array, not an object"),
        (b'"sEcReT"', "a JSON string, not an object"),
        (b"12", "a JSON number, not an object"),
        (b"null", "a JSON null, not an object"),
    ],
)
def test_no_document(text: bytes, what: str) -> None:
    with pytest.raises(SourceUnavailable, match=f"the agent answered with .*{what}.*; look there") as caught:
        parse(text)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize("bad", [None, "", " ", "\n", True, 1.5, ["sEcReT"], {"a": "sEcReT"}])
def test_missing_fields(bad: object) -> None:
    for field in ("AccessKeyId", "SecretAccessKey"):
        with pytest.raises(SourceUnavailable, match=f"the agent answered without {field}; look there"):
            parse(document(**{field: bad}))
    with pytest.raises(SourceUnavailable, match="without AccessKeyId and SecretAccessKey; "):
        parse(document(AccessKeyId=bad, SecretAccessKey=bad))


@pytest.mark.parametrize("bad", ["tomorrow", "sEcReT", 1_900_000_000, True, ["2030"], "2030-13-01T00:00:00Z"])
def test_an_unreadable_expiration(bad: object) -> None:
    with pytest.raises(
        SourceUnavailable, match=r"the agent .*Expiration.*is not an ISO 8601 time such as"
    ) as caught:
        parse(document(Expiration=bad))
    assert MARK not in str(caught.value)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_an_expiration_that_no_clock_can_show(text: str) -> None:
    with pytest.raises(SourceUnavailable, match="ISO 8601"):
        parse(document(Expiration=text))


def test_forms_of_an_expiration() -> None:
    one = datetime(2030, 1, 1, 1, tzinfo=UTC)
    for text in ("2030-01-01T01:00:00Z", "2030-01-01T02:00:00+01:00", "2030-01-01T01:00:00", "20300101T010000Z"):
        assert parse(document(Expiration=text)).expiration == one
    for nothing in (None, ""):
        assert parse(document(Expiration=nothing)).expiration is None


@pytest.mark.parametrize(
    ("number", "account"),
    [
        (123456789012, "123456789012"),
        (12345678901, "012345678901"),  # what a number made of a zero at the front
        (12, "000000000012"),
        (123456789012.0, "123456789012"),
        ("012345678901", "012345678901"),
        (" 123456789012 ", "123456789012"),
        *((bad, None) for bad in (True, 0, -1, 1234567890123, 1.5, "", [1], "\ud800")),
    ],
)
def test_an_account_that_is_written_as_a_number(number: object, account: str | None) -> None:
    assert parse(document(AccountId=number)).account_id == account


def test_keys_of_digits_alone_that_are_written_as_numbers() -> None:
    credentials = parse(document(AccessKeyId=123456789012, SecretAccessKey=10**30, Token=10**40))
    assert credentials.access_key_id == "123456789012"
    assert credentials.secret_access_key == str(10**30)
    assert credentials.session_token == str(10**40)


@pytest.mark.parametrize(
    ("arn", "account"),
    [
        ("arn:aws:iam::123456789012:role/app", "123456789012"),
        ("arn:aws-cn:sts::012345678901:assumed-role/app/session", "012345678901"),
        *((none, None) for none in ("", "TASK_ROLE_ARN", "arn:aws:iam::aws:policy/x", "arn:aws", 5, None)),
    ],
)
def test_the_account_is_that_of_the_role_where_nothing_else_tells_it(arn: object, account: str | None) -> None:
    assert parse(document(RoleArn=arn)).account_id == account
    assert parse(document(RoleArn=arn), account_id="1").account_id == (account or "1")
    assert parse(document(RoleArn=arn, AccountId="999999999999")).account_id == "999999999999"


@pytest.mark.parametrize("field", ["AccessKeyId", "SecretAccessKey", "Token"])
def test_half_a_character_is_no_part_of_a_key(field: str) -> None:
    for half in ("\ud800", "\udcff"):
        with pytest.raises(SourceUnavailable, match=f"{field} that holds half a character.*; look there") as caught:
            parse(document(**{field: secret() + half}))
        assert MARK not in str(caught.value)


def test_expired() -> None:
    past = document(Expiration="2030-01-01T00:00:00Z")
    with pytest.raises(SourceUnavailable, match=r"the agent .*expired at 2030-01-01 00:00:00 UTC.*clock"):
        parse(past)
    assert parse(past, now=NOW - 1).expiration
    assert parse(past, accept_expired=True).expiration


def test_a_code() -> None:
    with pytest.raises(
        ServiceRefused, match="the agent answered with the code AssumeRoleUnauthorizedAccess"
    ) as caught:
        parse(document(Code="AssumeRoleUnauthorizedAccess"))
    assert caught.value.code == "AssumeRoleUnauthorizedAccess"


@pytest.mark.parametrize("bad", [5, None, "two words", "a\nb", "sEcReT-secret", "x" * 65])
def test_a_code_that_is_no_name_is_not_shown(bad: object) -> None:
    with pytest.raises(ServiceRefused, match="unreadable") as caught:
        parse(document(Code=bad))
    assert caught.value.code == ""
