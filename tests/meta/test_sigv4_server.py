"""The service that checks signed requests finds what is wrong with them, and only that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from yarl import URL

from tests.helpers.scripted import issue
from tests.helpers.sigv4_server import REGION, Arrived, Judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiocreds import Credentials


@pytest.fixture
def credentials() -> Credentials:
    return issue()


@pytest.fixture
async def judge(credentials: Credentials) -> AsyncIterator[Judge]:
    async with Judge(credentials) as judge:
        yield judge


def by_botocore(url: str, service: str, credentials: Credentials, method: str, body: bytes) -> Mapping[str, str]:
    request = AWSRequest(method, url, {"X-Mine": "a  b"}, body)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    keys = BotocoreCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    signer(keys, service, REGION).add_auth(request)
    return dict(request.headers.items())


async def sent(judge: Judge, headers: Mapping[str, str], path: str, body: bytes) -> Arrived:
    skipped = ["Content-Type", "Content-Length"]
    async with (
        aiohttp.ClientSession() as session,
        session.put(
            URL(judge.url + path, encoded=True), headers=headers, data=body, skip_auto_headers=skipped
        ) as answer,
    ):
        assert (answer.status == 403) is bool(judge.arrived[-1].wrong)
    return judge.arrived[-1]


@pytest.mark.parametrize("service", ["es", "s3"])
async def test_what_botocore_signs_is_right(service: str, judge: Judge, credentials: Credentials) -> None:
    path = "/a%20b/c?x=1%2F2&y="
    headers = by_botocore(judge.url + path, service, credentials, "PUT", b"body")
    arrived = await sent(judge, headers, path, b"body")
    # botocore does not sign the length, which aiohttp adds.
    assert arrived.wrong == ["unsigned: {'content-length'}"]


@pytest.mark.parametrize(
    ("path", "body", "change", "said"),
    [
        ("/a%20b/d?x=1%2F2&y=", b"body", {}, "SignatureDoesNotMatch"),
        ("/a%20b/c?x=1%2F3&y=", b"body", {}, "SignatureDoesNotMatch"),
        ("/a%20b/c?x=1%2F2&y=", b"Body", {}, "XAmzContentSHA256Mismatch"),
        ("/a%20b/c?x=1%2F2&y=", b"body", {"X-Mine": "a  c"}, "SignatureDoesNotMatch"),
        ("/a%20b/c?x=1%2F2&y=", b"body", {"X-Yours": "?"}, "unsigned: {'x-yours'"),
        ("/a%20b/c?x=1%2F2&y=", b"body", {"X-Amz-Security-Token": "another"}, "the token"),
        ("/a%20b/c?x=1%2F2&y=", b"body", {"X-Amz-Date": "20200101T000000Z"}, "signed at"),
    ],
)
async def test_what_is_changed_behind_the_signature_is_wrong(
    path: str, body: bytes, change: dict[str, str], said: str, judge: Judge, credentials: Credentials
) -> None:
    headers = by_botocore(judge.url + "/a%20b/c?x=1%2F2&y=", "s3", credentials, "PUT", b"body")
    arrived = await sent(judge, {**headers, **change}, path, body)
    assert any(said in wrong.replace("'content-length', ", "") for wrong in arrived.wrong), arrived.wrong
