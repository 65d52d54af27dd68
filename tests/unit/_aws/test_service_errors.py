"""A service's no: how it is read, and what of it is shown.

===============================================  =========================================================
the answer                                       the caller gets
===============================================  =========================================================
names its error in a header, or in the body      the code without what stands around it
says nothing, HTML, half of it, no names         ServiceRefused with the status alone
a code or message that is none, or endless       ServiceRefused without it, or cut
a message that echoes a secret                   ServiceRefused with stars in its place
is busy (code, 429, 5xx)                         SourceUnavailable: ask later
===============================================  =========================================================
"""

from __future__ import annotations

import json
from pathlib import Path

import botocore
import pytest
from botocore.retries import standard

from aiocreds._aws.service_errors import (
    LONGEST_MESSAGE,
    OTHERS,
    REDIRECTS,
    THROTTLED,
    ErrorCode,
    details_in_json,
    endpoint_error,
    is_transient_code,
    service_error,
)
from aiocreds._aws.sts import WITH_WEB_IDENTITY
from aiocreds._base.redaction import SecretBytes
from aiocreds._http import Response
from aiocreds.errors import ServiceRefused, SourceUnavailable
from tests.helpers.secret_leaks import MARK, secret


def response(status: int = 400, body: object = b"", **headers: str) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, named, SecretBytes(data), "example.com")


CODES = {
    "Busy": ErrorCode(transient=True),
    "Final": ErrorCode("change something", recoverable=False),
    "Unnamed": ErrorCode(recoverable=False),
}


def refused(answer: Response, *hidden: str) -> ServiceRefused | SourceUnavailable:
    details = details_in_json(answer)
    secrets = [(text, "****") for text in hidden]
    return service_error(
        answer, details, CODES, origin="It", target="to help", default="ask another", hidden=secrets
    )


def test_what_botocore_tries_again_is_tried_again() -> None:
    quota = {"LimitExceededException"}  # of Cognito: as many identities as there may be, and asking again adds none
    codes = {*vars(standard.ThrottledRetryableChecker)["_THROTTLED_ERROR_CODES"]}
    codes |= {*vars(standard.TransientRetryableChecker)["_TRANSIENT_ERROR_CODES"]}
    assert len(codes) > 12
    assert codes - quota <= THROTTLED
    file = Path(botocore.__file__).with_name("data") / "_retry.json"
    retries = json.loads(file.read_bytes())["retry"]["sts"]["__default__"]["policies"]
    of_sts = {policy["applies_when"]["response"]["service_error_code"] for policy in retries.values()}
    assert of_sts
    assert all(is_transient_code(code, WITH_WEB_IDENTITY.errors) for code in of_sts)


CODE = "NotAuthorizedException"


@pytest.mark.parametrize(
    "name",
    [
        CODE,
        f"{CODE}:http://internal.amazon.com/coral/com.amazonaws.cognito/",
        f"com.amazonaws.cognito#{CODE}",
        f"com.amazonaws.cognito#{CODE}:http://internal.amazon.com/coral/#x",
    ],
)
def test_the_code_without_what_stands_around_it(name: str) -> None:
    assert details_in_json(response(x_amzn_ErrorType=name)).code == CODE
    for field in ("__type", "code", "Code", "error"):
        assert details_in_json(response(body={field: name})).code == CODE


def test_the_code_that_is_known_counts() -> None:
    answer = response(body={"error": "invalid_grant", "__type": "InvalidGrantException"})
    assert details_in_json(answer, {"invalid_grant": "sign in"}).code == "invalid_grant"
    assert details_in_json(answer).code == "InvalidGrantException"


@pytest.mark.parametrize("field", ["message", "Message", "error_description"])
def test_the_message_and_the_request(field: str) -> None:
    told = details_in_json(response(body={"__type": CODE, field: "no"}, x_amzn_RequestId="r-7"))
    assert told == (CODE, "no", "r-7")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>sEcReT</html>",
        b'{"__type": "sEcReT',
        ["sEcReT"],
        {"__type": 5, "message": ["sEcReT"]},
        {"code": "h u s h"},
    ],
    ids=["nothing", "html", "cut", "array", "types", "no code"],
)
def test_a_no_that_tells_nothing(body: object) -> None:
    error = refused(response(403, body))
    assert isinstance(error, ServiceRefused)
    assert str(error) == "It refused to help: HTTP 403. Remedy: ask another"
    assert (error.code, error.message, error.status, error.request_id) == ("", "", 403, None)


def test_all_that_is_told() -> None:
    error = refused(response(400, {"__type": CODE, "message": "Not you."}, x_amzn_RequestId="r-7"))
    assert isinstance(error, ServiceRefused)
    assert str(error) == f"It refused to help: {CODE}: Not you. Remedy: ask another"
    assert (error.code, error.message, error.status, error.request_id) == (CODE, "Not you", 400, "r-7")
    assert error.recoverable


@pytest.mark.parametrize("middle", ["", "\n", "\x1b"])
def test_what_it_echoes_is_not_shown(middle: str) -> None:
    token = f"{secret('token')}{middle}{secret('token')}"
    error = refused(response(400, {"__type": CODE, "message": f"bad token {token} here"}), "", token)
    assert "bad token **** here" in str(error)
    assert MARK not in repr(vars(error))


def test_a_message_of_many_lines_and_endless_length() -> None:
    error = refused(response(400, {"__type": CODE, "message": f"one\x00\x1b[31m\n{secret()}"}))
    assert isinstance(error, ServiceRefused)
    assert error.message == "one[31m"
    error = refused(response(400, {"__type": CODE, "message": "x" * 60_000}))
    assert isinstance(error, ServiceRefused)
    assert len(error.message) == LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("status", "code"), [(429, CODE), (500, ""), (503, CODE), *((400, code) for code in sorted(THROTTLED))]
)
def test_busy(status: int, code: str) -> None:
    error = refused(response(status, {"__type": code, "message": secret()}))
    assert isinstance(error, SourceUnavailable)
    assert f"HTTP {status} {code}".strip() in str(error)
    assert MARK not in str(error)


def test_a_row_of_the_table_is_all_that_a_code_needs() -> None:
    busy, final, unnamed = (refused(response(400, {"__type": code})) for code in CODES)
    assert isinstance(busy, SourceUnavailable)
    assert isinstance(final, ServiceRefused)
    assert str(final) == "It refused to help: Final. Remedy: change something"
    assert not final.recoverable
    assert str(unnamed) == "It refused to help: Unnamed. Remedy: ask another"
    assert not unnamed.recoverable


def test_a_redirect_goes_before_the_remedy_of_its_code() -> None:
    assert "Remedy: redirects are not followed" in str(refused(response(302, {"__type": "Final"})))


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, ServiceRefused, "It answered with HTTP 403 Code: check the token"),
        (404, ServiceRefused, "It answered with HTTP 404 Code: check the path"),
        (307, ServiceRefused, "It answered with HTTP 307 Code: go there"),
        (429, SourceUnavailable, "It answered with HTTP 429: it is asked too often; asking again later may help"),
        (500, SourceUnavailable, "It answered with HTTP 500: it is in trouble; asking again later may help"),
    ],
)
def test_an_endpoint_without_error_codes(status: int, kind: type[Exception], words: str) -> None:
    remedies = {403: "check the token", REDIRECTS: "go there", OTHERS: "check the path"}
    error = endpoint_error(response(status), remedies, said="It answered", code="Code")
    assert type(error) is kind
    assert str(error) == words
