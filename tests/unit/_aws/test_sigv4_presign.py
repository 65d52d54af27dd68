"""Requests that are signed in their URL, held against botocore's signers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import botocore.auth
import pytest
import time_machine
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from yarl import URL

from aiocreds import Context, InvalidConfiguration
from aiocreds.integrations.aiohttp import SigV4Auth
from tests.helpers.scripted import START, Source, issue

REGION = "eu-central-1"
S3_FAMILY = ["s3", "s3-outposts", "s3-object-lambda", "s3express"]


@pytest.mark.slow
@pytest.mark.parametrize("service", ["es", "execute-api", "aoss", *S3_FAMILY])
@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("path", ["/", "/a%20b/%C3%BC%2B", "/x//y", "/a?list-type=2&prefix=a%2Fb%20c&acl="])
async def test_the_url_is_the_one_that_botocore_makes(service: str, method: str, path: str) -> None:
    with time_machine.travel(START, tick=False):
        credentials = issue()
        auth = SigV4Auth(Source(credentials).provider(), service=service, region=REGION)
        ours = await auth.presign(method, f"https://h.example{path}", expires_in=timedelta(minutes=5))
    keys = BotocoreCredentials(credentials.access_key_id, credentials.secret_access_key, credentials.session_token)
    signers: Any = botocore.auth
    signer = signers.S3SigV4QueryAuth if service in S3_FAMILY else signers.SigV4QueryAuth
    request = AWSRequest(method, f"https://h.example{path}")
    now = datetime.fromtimestamp(START, UTC).replace(tzinfo=None)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=now):
        signer(keys, service, REGION, expires=300).add_auth(request)
    assert request.url is not None
    theirs = sorted(URL(request.url, encoded=True).query.items())
    assert sorted(URL(ours, encoded=True).query.items()) == theirs
    assert URL(ours, encoded=True).raw_path == URL(request.url, encoded=True).raw_path


async def test_the_headers_it_will_need_are_signed() -> None:
    auth = SigV4Auth(Source().provider(), service="s3", region=REGION)
    url = await auth.presign("PUT", "https://b.example/k", headers=[("x-amz-acl", "private")])
    assert URL(url).query["X-Amz-SignedHeaders"] == "host;x-amz-acl"
    assert URL(url).query["X-Amz-Expires"] == "900"


async def test_the_url_means_what_it_meant() -> None:
    auth = SigV4Auth(Source().provider(), service="s3", region=REGION)
    url = URL(await auth.presign("GET", "https://b.example/a+b ü?x=y+z&e#fragment"), encoded=True)
    assert url.raw_path == "/a%2Bb%20%C3%BC"
    assert url.raw_query_string.startswith("x=y%20z&e&X-Amz-Algorithm=")
    assert not url.fragment


async def test_the_context_tells_the_time() -> None:
    context = Context(environ={})
    with time_machine.travel(START, tick=False):
        context.clock.learn(240.0)
        auth = SigV4Auth(Source(issue(None)).provider(), service="s3", region=REGION, context=context)
        url = await auth.presign("GET", "https://b.example/k")
    assert URL(url).query["X-Amz-Date"] == "20270115T080400Z"


async def test_an_error_of_the_provider_is_the_error() -> None:
    auth = SigV4Auth(Source(InvalidConfiguration("wrong")).provider(), service="s3", region=REGION)
    with pytest.raises(InvalidConfiguration, match="wrong"):
        await auth.presign("GET", "https://b.example/k")
