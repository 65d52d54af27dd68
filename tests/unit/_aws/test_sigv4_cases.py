"""The signing cases that AWS publishes with its C library."""

from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from aiocreds._aws.sigv4 import (
    canonical_headers,
    canonical_path,
    canonical_query,
    canonical_request,
    credential_scope,
    presign,
    sign,
    signature,
    string_to_sign,
)
from aiocreds.credentials import Credentials
from tests.helpers.sigv4_cases import CASES, parsed

pytestmark = pytest.mark.skipif(not CASES, reason="the published signing cases do not lie beside the project")


@pytest.fixture(params=CASES, ids=[case["name"] for case in CASES])
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_each_step(case: dict[str, Any]) -> None:
    context, request = case["context"], parsed(case["request"])
    target = urlsplit(request.url)
    after = parsed(case["signed_request"])
    added = dict(after.headers[len(request.headers) :])
    del added["Authorization"]
    if context.get("omit_session_token"):
        del added["X-Amz-Security-Token"]
    timestamp = added["X-Amz-Date"]
    scope = credential_scope(timestamp, context["region"], context["service"])

    text = canonical_request(
        request.method,
        canonical_path(target.path, normalize=context["normalize"]),
        canonical_query(target.query),
        canonical_headers(request.headers, added, host=""),
        case["canonical_request"].rsplit("\n", 1)[1],
    )

    assert text == case["canonical_request"]
    assert string_to_sign(timestamp, scope, text) == case["string_to_sign"]
    secret = context["credentials"]["secret_access_key"]
    assert signature(secret, scope, case["string_to_sign"]) == case["signature"]


def test_the_signed_request(case: dict[str, Any]) -> None:
    context, request = case["context"], parsed(case["request"])
    keys = context["credentials"]

    added = sign(
        request.method,
        request.url,
        request.headers,
        request.body,
        credentials=Credentials(keys["access_key_id"], keys["secret_access_key"], keys.get("token")),
        region=context["region"],
        service=context["service"],
        at=datetime.fromisoformat(context["timestamp"]).timestamp(),
        normalize_path=context["normalize"],
        sign_body=context["sign_body"],
        omit_session_token=context.get("omit_session_token", False),
    )

    expected = parsed(case["signed_request"]).headers[len(request.headers) :]
    assert {k.lower(): v for k, v in added.items()} == {k.lower(): v for k, v in expected}


def test_the_signed_url(case: dict[str, Any]) -> None:
    context, request = case["context"], parsed(case["request"])
    keys = context["credentials"]

    url = presign(
        request.method,
        request.url,
        request.headers,
        request.body,
        credentials=Credentials(keys["access_key_id"], keys["secret_access_key"], keys.get("token")),
        region=context["region"],
        service=context["service"],
        at=datetime.fromisoformat(context["timestamp"]).timestamp(),
        expires_in=context["expiration_in_seconds"],
        normalize_path=context["normalize"],
        omit_session_token=context.get("omit_session_token", False),
    )

    assert url.endswith(f"&X-Amz-Signature={case['query_signature']}")
    # The case writes blanks and non-ASCII as they are, and the body's headers are not the URL's business.
    assert parse_qsl(urlsplit(url).query) == parse_qsl(urlsplit(parsed(case["query_signed_request"]).url).query)
