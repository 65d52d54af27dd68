"""Signing: against the published cases, against botocore, and rule by rule."""

import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import quote, urlencode, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from aiocreds._aws.sigv4 import (
    UNSIGNED_HEADERS,
    canonical_headers,
    canonical_path,
    canonical_query,
    host_header,
    sign,
    signature,
)
from aiocreds.credentials import Credentials
from tests.helpers.secret_leaks import secret

AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TOKEN = f"the/token/{secret()}=="
TEMPORARY = Credentials(KEYS.access_key_id, KEYS.secret_access_key, TOKEN)
FORM = ("Content-Type", "application/x-www-form-urlencoded")


def signed(
    method: str = "POST",
    url: str = "https://sts.eu-west-1.amazonaws.com/",
    headers: Iterable[tuple[str, str]] = (FORM,),
    body: bytes = b"Action=GetCallerIdentity&Version=2011-06-15",
    *,
    credentials: Credentials = KEYS,
    at: float = AT.timestamp(),
    **options: Any,
) -> dict[str, str]:
    return sign(
        method,
        url,
        headers,
        body,
        credentials=credentials,
        region="eu-west-1",
        service="sts",
        at=at,
        **options,
    )


def signed_names(headers: dict[str, str]) -> list[str]:
    return headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")


def by_botocore(
    method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes, credentials: Credentials = KEYS
) -> tuple[dict[str, str], str]:
    """The headers botocore would send, and its canonical request."""
    request = AWSRequest(method=method, url=url, data=body)
    for name, value in headers:
        request.headers.add_header(name, value)
    keys = BotoCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    signer = botocore.auth.SigV4Auth(keys, "sts", "eu-west-1")
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=AT.replace(tzinfo=None)):
        signer.add_auth(request)
    return dict(request.headers.items()), signer.canonical_request(request)


# --- against botocore --------------------------------------------------------------------------------------

# Characters that an HTTP header line may hold, and white space wherever it may stand.
VALUES = st.text(st.sampled_from("abcXYZ019 \t,;:=\"'%+/()éß€中"), max_size=30)
NAMES = st.from_regex(r"\A[Xx]-[A-Za-z]{1,3}\Z")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.mark.slow
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "delete"]),
    segments=st.lists(TEXT | st.sampled_from(["", ".", "..", "~a b", "%20", "a+b;c=d"]), max_size=6),
    query=st.lists(st.tuples(TEXT, TEXT), max_size=5),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    body=st.binary(max_size=40),
    host=st.sampled_from(["sts.amazonaws.com", "Localhost:4566", "h:443", "h:80", "127.0.0.1", "[::1]:8080"]),
    scheme=st.sampled_from(["http", "https"]),
    credentials=st.sampled_from([KEYS, TEMPORARY]),
)
def test_signs_what_botocore_signs(
    method: str,
    segments: list[str],
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes,
    host: str,
    scheme: str,
    credentials: Credentials,
) -> None:
    path = "".join(f"/{quote(segment, safe='.')}" for segment in segments)
    encoded = urlencode(query, quote_via=quote, safe="")
    url = f"{scheme}://{host}{path}" + (f"?{encoded}" if encoded else "")

    ours = signed(method, url, headers, body, credentials=credentials)

    theirs, _ = by_botocore(method, url, headers, body, credentials)
    assert ours == {name: theirs[name] for name in ours}
    assert set(theirs) - set(ours) <= {name for name, _ in headers}


def test_leaves_unsigned_whatever_botocore_leaves_unsigned() -> None:
    assert set(botocore.auth.SIGNED_HEADERS_BLACKLIST) <= UNSIGNED_HEADERS


def test_signs_an_sts_call_as_botocore_does() -> None:
    theirs, _ = by_botocore("POST", "https://sts.eu-west-1.amazonaws.com/", [FORM], b"Action=GetCallerIdentity")

    ours = signed(body=b"Action=GetCallerIdentity")

    assert ours["Authorization"] == theirs["Authorization"]


# --- rule by rule ------------------------------------------------------------------------------------------


def test_derives_the_key_step_by_step() -> None:
    # The worked example of the AWS documentation on deriving a signing key (IAM, 30 August 2015).
    text = (
        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"
        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    )
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

    assert (
        signature(secret, "20150830/us-east-1/iam/aws4_request", text)
        == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_dates_the_request_in_utc() -> None:
    headers = signed(at=AT.timestamp() + 0.9)

    assert headers["X-Amz-Date"] == "20150830T123600Z"
    assert "/20150830/eu-west-1/sts/aws4_request" in headers["Authorization"]


def test_headers_that_others_rewrite_are_not_signed() -> None:
    moving = [(name.title(), "x") for name in sorted(UNSIGNED_HEADERS)]

    headers = signed(headers=[*moving, FORM, ("Content-Length", "43"), ("X-Team", "blue")])

    assert signed_names(headers) == ["content-length", "content-type", "host", "x-amz-date", "x-team"]
    assert headers == signed(headers=[FORM, ("Content-Length", "43"), ("X-Team", "blue")])


def test_a_request_can_be_signed_again() -> None:
    once = signed(credentials=TEMPORARY, sign_body=True)

    later = AT.timestamp() + 600
    again = signed(headers=[FORM, *once.items()], credentials=TEMPORARY, at=later, sign_body=True)

    assert again == signed(credentials=TEMPORARY, at=later, sign_body=True)
    assert again["X-Amz-Date"] == "20150830T124600Z"


def test_the_token_of_former_keys_is_not_signed() -> None:
    assert signed(headers=[FORM, ("x-amz-security-token", "old")]) == signed()


def test_the_session_token_is_signed() -> None:
    headers = signed(credentials=TEMPORARY)

    assert headers["X-Amz-Security-Token"] == TOKEN
    assert "x-amz-security-token" in signed_names(headers)


def test_the_session_token_can_be_added_unsigned() -> None:
    headers = signed(credentials=TEMPORARY, omit_session_token=True)

    assert headers == {**signed(), "X-Amz-Security-Token": TOKEN}


def test_the_hash_of_the_body_can_be_stated() -> None:
    headers = signed(body=b"", sign_body=True)

    assert headers["X-Amz-Content-SHA256"].startswith("e3b0c44298fc1c14")
    assert "x-amz-content-sha256" in signed_names(headers)


def test_a_host_in_the_request_is_the_one_signed() -> None:
    url = "https://127.0.0.1:9999/"

    assert signed(url=url, headers=[FORM, ("HOST", "sts.eu-west-1.amazonaws.com")]) == signed()
    assert signed(url=url) != signed()


@pytest.mark.parametrize(
    "url",
    [
        "https://STS.amazonaws.com/",
        "https://sts.amazonaws.com:443/",
        "http://sts.amazonaws.com:443/",
        "http://localhost:80",
        "http://user:pw@localhost:4566/x",
        "http://[::1]:4566/",
        "http://[FD00:EC2::23]/",
        "https://sts.amazonaws.com./",
    ],
)
def test_the_host_is_what_aiohttp_will_send(url: str) -> None:
    assert host_header(urlsplit(url)) == URL(url).host_port_subcomponent


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1&a", "a=&a=1&a=2"),
        ("a-b=1&a=1", "a=1&a-b=1"),  # by name first: "-" sorts before "="
        ("acl", "acl="),
        ("a=b=c", "a=b%3Dc"),
        ("k=/~-._ x", "k=%2F~-._%20x"),
        ("k=%2f%7E+", "k=%2F~%2B"),
        ("é=€", "%C3%A9=%E2%82%AC"),
        ("a=1&&", "a=1"),
    ],
)
def test_canonical_query(query: str, canonical: str) -> None:
    assert canonical_query(query) == canonical


@pytest.mark.parametrize(
    ("path", "normalized", "as_is"),
    [
        ("", "/", "/"),
        ("/", "/", "/"),
        ("/a//b/", "/a/b/", "/a//b/"),
        ("/./a/../../b", "/b", "/./a/../../b"),
        ("/a%20b/~c", "/a%2520b/~c", "/a%2520b/~c"),
        ("/ü:x", "/%C3%BC%3Ax", "/%C3%BC%3Ax"),
    ],
)
def test_canonical_path(path: str, normalized: str, as_is: str) -> None:
    assert canonical_path(path) == normalized
    assert canonical_path(path, normalize=False) == as_is


def test_canonical_headers() -> None:
    headers = [("Z-Last", "z"), ("My-Header", " a   b "), ("my-header", '"c  d"\n  e'), ("X-Amz-Date", "old")]

    found = canonical_headers(headers, {"X-Amz-Date": "new"}, host="h")

    assert list(found.items()) == [
        ("host", "h"),
        ("my-header", 'a b,"c d" e'),
        ("x-amz-date", "new"),
        ("z-last", "z"),
    ]


# --- secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://[bad/", "http://h:port/", "http://h/\udc80?\udc80"])
def test_a_failure_shows_no_secret(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is the standard library's
        signed(url=url, credentials=TEMPORARY)

    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "sigv4.py" in shown
    assert KEYS.secret_access_key not in shown
    assert TOKEN not in shown


def test_keys_that_are_no_utf_8_sign_without_an_error_that_would_hold_them() -> None:
    odd = Credentials("AKIDEXAMPLE", f"{secret()}\udc80", f"{secret()}\udcff")

    assert signed(credentials=odd)["Authorization"] != signed()["Authorization"]
