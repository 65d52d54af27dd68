"""Which answers of a service say that the credentials of a signed request have expired."""

from __future__ import annotations

import json

import pytest

from aiocreds.integrations.sigv4 import says_expired
from tests.helpers.sigv4_server import EXPIRED, REFUSALS, Refusal, message_only


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("code", EXPIRED)
def test_expired_answers_are_known(refusal: Refusal, code: str) -> None:
    answer = refusal(code)
    assert isinstance(answer.body, bytes | None)
    assert says_expired(answer.status, answer.headers, answer.body or b"")


def test_a_message_without_a_code_is_known() -> None:
    answer = message_only()
    assert isinstance(answer.body, bytes)
    assert says_expired(answer.status, answer.headers, answer.body)
    assert not says_expired(answer.status, {"x-amzn-ErrorType": "AccessDenied"}, answer.body)


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "InvalidTokenId", "Expired"])
def test_other_refusals_are_left_alone(refusal: Refusal, code: str) -> None:
    answer = refusal(code)
    assert isinstance(answer.body, bytes | None)
    assert not says_expired(answer.status, answer.headers, answer.body or b"")


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"[]", b'{"code": 7}', b"<Error>", b"\xff\xfe", b'{"message": "ExpiredToken"}', b"[" * 9000],
)
def test_what_is_no_refusal_of_aws_is_left_alone(body: bytes) -> None:
    assert not says_expired(403, {}, body)


def test_a_message_that_quotes_another_code_does_not_count() -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>&lt;Code>ExpiredToken&lt;/Code></Message></Error>"
    assert not says_expired(403, {}, body)
    assert not says_expired(400, {}, json.dumps({"__type": "Other", "message": "ExpiredToken"}).encode())
