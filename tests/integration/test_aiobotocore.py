"""attach(): real aiobotocore clients against moto's server, and against a loopback service that rejects."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import botocore.session
import pytest
import time_machine
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from examples.presigned_urls import presign

from aiocreds import ClientConfig, Context, Credentials, InvalidConfiguration, Provider, from_temporary_credentials
from aiocreds.integrations.aiobotocore import attach
from tests.helpers.loopback_aws import Answer, Loopback, Seen, json_answer, sts_error
from tests.helpers.scripted import START, Source, issue, settle
from tests.helpers.secret_leaks import MARK, secret
from tests.integration.test_examples import EXAMPLES, keys, run
from tests.integration.test_sts_moto import arn, check_after, client, policy

REGION = "eu-central-1"
ONE_ATTEMPT = AioConfig(retries={"total_max_attempts": 1})
S3_LISTING = """<?xml version="1.0"?><ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Owner><ID>x</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>"""
OK = Answer(body=S3_LISTING)

LOADER: Any = get_session().get_component("data_loader")

if TYPE_CHECKING:
    from pathlib import Path

Connect = Callable[..., Awaitable[Any]]


def a_session() -> AioSession:
    """A new session; reading the service models of botocore again for each would take most of the time here."""
    session = get_session()
    session.register_component("data_loader", LOADER)
    return session


def s3_error(code: str, *, delay: float = 0.0) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>no</Message><RequestId>r</RequestId></Error>"
    return Answer(400, body, {"Content-Type": "application/xml"}, delay=delay)


def ec2_error(code: str) -> Answer:
    return Answer(
        400,
        f"<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>",
        {"Content-Type": "text/xml"},
    )


def json_error(code: str) -> Answer:
    return json_answer({"__type": f"com.amazon.coral.service#{code}", "message": "no"}, status=400)


def rest_json_error(code: str) -> Answer:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": f"{code}:http://internal.amazon.com/"}
    return Answer(403, json.dumps({"message": "no"}), headers)


def query_compatible_error(code: str) -> Answer:
    return Answer(
        400,
        json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"}),
        {"Content-Type": "application/x-amz-json-1.0", "x-amzn-query-error": f"{code};Sender"},
    )


@pytest.fixture
async def connect(aws: Loopback) -> AsyncIterator[Connect]:
    """Make a client of the loopback service, or of any other endpoint; it is closed in the end."""
    async with AsyncExitStack() as stack:

        async def connect(session: AioSession, service: str = "s3", **options: Any) -> Any:
            options = {"region_name": REGION, "endpoint_url": aws.url, "config": ONE_ATTEMPT, **options}
            return await stack.enter_async_context(session.create_client(service, **options))

        yield connect


def signer(seen: Seen) -> str | None:
    """The access key id that a request is signed with."""
    found = re.search(r"Credential=([^/]+)/", seen.headers.get("Authorization", ""))
    return found[1] if found else None


async def arrival(aws: Loopback) -> None:
    """Wait until a request has arrived."""
    while not aws.requests:  # noqa: ASYNC110 - the service has no event for it
        await asyncio.sleep(0.01)


def signers(aws: Loopback) -> list[str | None]:
    return [signer(seen) for seen in aws.requests]


def queried(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


# Signing


@pytest.mark.parametrize("wrong", [None, botocore.session.get_session()], ids=["None", "botocore"])
def test_what_is_no_session_of_aiobotocore_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"attach\(\) takes an aiobotocore.session.AioSession, not \w+;"):
        attach(wrong, Source().provider())


async def test_the_session_comes_back_and_nothing_is_fetched_before_a_request(
    aws: Loopback, connect: Connect
) -> None:
    source = Source()
    session = a_session()
    assert attach(session, source.provider()) is session
    s3 = await connect(session)
    assert source.calls == 0
    aws.script("/", OK, OK)
    await s3.list_buckets()
    await s3.list_buckets()
    assert source.calls == 1


async def test_requests_are_signed_as_the_service_expects(aws: Loopback, connect: Connect) -> None:
    credentials = issue()
    aws.secrets = {credentials.access_key_id: (credentials.secret_access_key, credentials.session_token)}
    sts = await connect(attach(a_session(), Source(credentials).provider()), "sts")
    # The loopback STS checks key, token and signature with botocore's signer.
    answer = await sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/app", RoleSessionName="test")
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/app/test"


async def test_s3_and_sts_of_moto_know_who_calls(moto: str, connect: Connect) -> None:
    base = Source(issue(None)).provider()
    role = from_temporary_credentials(
        role_arn="arn:aws:iam::123456789012:role/reporting",
        role_session_name="nightly",
        source=base,
        client=ClientConfig(region=REGION, endpoint_url=moto),
        context=Context(environ={}),
    )
    session = attach(a_session(), role)
    s3 = await connect(session, endpoint_url=moto)
    await s3.create_bucket(Bucket="reports", CreateBucketConfiguration={"LocationConstraint": REGION})
    await s3.put_object(Bucket="reports", Key="a.csv", Body=b"a,b\n")
    listing = await s3.list_objects_v2(Bucket="reports")
    assert [entry["Key"] for entry in listing["Contents"]] == ["a.csv"]
    sts = await connect(session, "sts", endpoint_url=moto)
    who = await sts.get_caller_identity()
    assert who["Arn"] == "arn:aws:sts::123456789012:assumed-role/reporting/nightly"


async def test_a_long_lived_client_signs_with_what_is_current(aws: Loopback, connect: Connect) -> None:
    with time_machine.travel(START, tick=True) as clock:
        first, second, third = issue(3600), issue(10 * 3600), issue(20 * 3600)
        source = Source(first, second, third)
        s3 = await connect(attach(a_session(), source.provider()))
        aws.script("/", OK, OK, OK)
        await s3.list_buckets()
        clock.shift(2 * 3600)  # past the first one's expiry
        await s3.list_buckets()
        clock.shift(10 * 3600)
        await s3.list_buckets()
    assert signers(aws) == [first.access_key_id, second.access_key_id, third.access_key_id]
    assert [seen.headers["X-Amz-Security-Token"] for seen in aws.requests] == [
        first.session_token,
        second.session_token,
        third.session_token,
    ]


async def test_invalidated_credentials_do_not_sign_the_next_request(aws: Loopback, connect: Connect) -> None:
    first, second = issue(), issue()
    provider = Source(first, second).provider()
    s3 = await connect(attach(a_session(), provider))
    aws.script("/", OK, OK)
    await s3.list_buckets()
    provider.invalidate(first)
    await s3.list_buckets()
    assert signers(aws) == [first.access_key_id, second.access_key_id]


async def test_keys_without_a_token_send_none(aws: Loopback, connect: Connect) -> None:
    s3 = await connect(attach(a_session(), Source(Credentials("AKIALONGTERM00001", secret())).provider()))
    aws.script("/", OK)
    await s3.list_buckets()
    assert signers(aws) == ["AKIALONGTERM00001"]
    assert "X-Amz-Security-Token" not in aws.requests[0].headers


@pytest.mark.slow
async def test_fifty_tasks_keep_calling_s3_while_their_role_rotates(moto: str, connect: Connect) -> None:
    """Moto checks every signature, the token, and what the role may do."""
    user = await asyncio.to_thread(a_user_and_a_role, moto)
    used: list[str] = []
    try:
        role = from_temporary_credentials(
            role_arn=arn("rotating"),
            source=Source(user).provider(),
            client=ClientConfig(region=REGION, endpoint_url=moto),
            context=Context(environ={}),
        ).expire_after(3)
        config = AioConfig(retries={"total_max_attempts": 1}, max_pool_connections=50)
        s3 = await connect(attach(a_session(), role), endpoint_url=moto, config=config)
        await s3.create_bucket(Bucket="rotating", CreateBucketConfiguration={"LocationConstraint": REGION})

        async def caller(number: int) -> None:
            while role.status.successes <= 3:
                await s3.put_object(Bucket="rotating", Key=str(number), Body=b"x")
                used.append((await role()).access_key_id)
            await s3.head_object(Bucket="rotating", Key=str(number))

        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(caller(number))
        wrong = await connect(attach(a_session(), Source().provider()), endpoint_url=moto, config=config)
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            await wrong.list_objects_v2(Bucket="rotating")  # moto does check
    finally:
        await asyncio.to_thread(check_after, moto, "inf")
    assert len(set(used)) >= 3
    assert role.status.failures == 0


def a_user_and_a_role(moto: str) -> Credentials:
    """A user of moto's who may assume a role that may use S3; from here on, moto checks who calls."""
    iam = client(moto, "iam", Credentials("AKIANOBODY", secret()))
    iam.create_user(UserName="rotating")
    iam.put_user_policy(UserName="rotating", PolicyName="roles", PolicyDocument=policy("sts:AssumeRole"))
    iam.create_role(RoleName="rotating", AssumeRolePolicyDocument=policy("sts:AssumeRole", Principal={"AWS": "*"}))
    iam.put_role_policy(RoleName="rotating", PolicyName="s3", PolicyDocument=policy("s3:*"))
    key = iam.create_access_key(UserName="rotating")["AccessKey"]
    check_after(moto, "0")
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


# Rejections


@pytest.mark.parametrize(
    ("service", "operation", "path", "error"),
    [
        ("s3", "list_buckets", "/", s3_error),
        ("sts", "get_caller_identity", "/", sts_error),
        ("ec2", "describe_regions", "/", ec2_error),
        ("dynamodb", "list_tables", "/", json_error),
        ("sqs", "list_queues", "/", query_compatible_error),
        ("lambda", "list_functions", "/2015-03-31/functions", rest_json_error),
    ],
    ids=["s3", "query", "ec2", "json", "query-compatible", "rest-json"],
)
async def test_a_rejection_has_others_fetched(
    service: str,
    operation: str,
    path: str,
    error: Callable[[str], Answer],
    aws: Loopback,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.QUICK_REJECTION", 0.0)  # as if there was a minute between them
    codes = ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"]
    keys = [issue() for _ in codes]
    source = Source(*keys)
    client = await connect(attach(a_session(), source.provider()), service)
    for code in codes:
        for where in (path, path + "/"):
            aws.always(where, error(code))
        with pytest.raises(ClientError, match=f"\\({code}\\)"):
            await getattr(client, operation)()
    assert signers(aws) == [key.access_key_id for key in keys]
    assert source.calls == len(codes)


@pytest.mark.parametrize(
    "answer",
    [
        s3_error("AccessDenied"),
        s3_error("SignatureDoesNotMatch"),
        s3_error("InvalidAccessKeyId"),
        s3_error("SlowDown"),
        Answer(500, "<Error><Code>InternalError</Code></Error>"),
        Answer(403, "not XML"),
        OK,
    ],
    ids=["AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "SlowDown", "500", "unreadable", "success"],
)
async def test_other_answers_invalidate_nothing(answer: Answer, aws: Loopback, connect: Connect) -> None:
    source = Source()
    s3 = await connect(attach(a_session(), source.provider()))
    aws.always("/", answer)
    for _ in range(2):
        try:
            await s3.list_buckets()
        except ClientError:
            assert answer is not OK
    assert source.calls == 1
    assert len(set(signers(aws))) == 1


async def test_a_late_answer_for_old_credentials_invalidates_nothing(aws: Loopback, connect: Connect) -> None:
    first, second = issue(), issue()
    source = Source(first, second)
    provider = source.provider()
    s3 = await connect(attach(a_session(), provider))
    aws.script("/", s3_error("ExpiredToken", delay=0.3), OK, OK)
    slow = asyncio.create_task(s3.list_buckets())
    await arrival(aws)
    provider.invalidate(first)
    await s3.list_buckets()  # signed with the second
    with pytest.raises(ClientError, match="ExpiredToken"):
        await slow
    await s3.list_buckets()
    assert signers(aws) == [first.access_key_id, second.access_key_id, second.access_key_id]
    assert source.calls == 2


async def test_many_rejections_at_once_have_one_fetch(aws: Loopback, connect: Connect) -> None:
    source = Source(issue(), issue())
    s3 = await connect(attach(a_session(), source.provider()))
    aws.script("/", *[s3_error("ExpiredToken", delay=0.05)] * 8)
    await asyncio.gather(*(s3.list_buckets() for _ in range(8)), return_exceptions=True)
    aws.always("/", OK)
    await asyncio.gather(*(s3.list_buckets() for _ in range(8)))
    assert source.calls == 2
    assert len(set(signers(aws))) == 2


async def test_a_retry_is_judged_by_who_signed_it(
    aws: Loopback, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.QUICK_REJECTION", 0.0)  # as if there was a minute between them
    first, second, third = issue(), issue(), issue()
    source = Source(first, second, third)
    provider = source.provider()
    retrying = AioConfig(retries={"total_max_attempts": 2})
    s3 = await connect(attach(a_session(), provider), config=retrying)

    def rotate(**_: object) -> None:
        provider.invalidate(first)

    s3.meta.events.register("needs-retry.s3", rotate)
    # The first attempt meets a busy service, and the credentials change before the second, which is rejected.
    aws.script("/", Answer(503), s3_error("ExpiredToken"), OK)
    with pytest.raises(ClientError, match="ExpiredToken"):
        await s3.list_buckets()
    await s3.list_buckets()
    assert signers(aws) == [key.access_key_id for key in (first, second, third)]


async def test_a_rejection_reaches_through_a_role_to_nobody_else(aws: Loopback, connect: Connect) -> None:
    base = Source(issue(None))
    role = from_temporary_credentials(
        role_arn="arn:aws:iam::123456789012:role/app",
        source=base.provider(),
        client=ClientConfig(region=REGION, endpoint_url=aws.url),
        context=Context(environ={}),
    )
    s3 = await connect(attach(a_session(), role))
    aws.script("/latest", OK)
    with pytest.raises(ClientError):
        await s3.list_objects_v2(Bucket="b")  # a 404 of the loopback
    aws.always("/b", s3_error("ExpiredToken"))
    with pytest.raises(ClientError, match="ExpiredToken"):
        await s3.list_objects_v2(Bucket="b")
    with pytest.raises(ClientError, match="ExpiredToken"):
        await s3.list_objects_v2(Bucket="b")
    assert sum(seen.path == "/" for seen in aws.requests) == 2  # AssumeRole, once more after the rejection
    assert base.calls == 1  # the role's own keys were rejected, not those of its source


# Who is left alone


async def test_two_sessions_with_two_providers_do_not_mix(aws: Loopback, connect: Connect) -> None:
    one, other = Source(issue(), issue()), Source(issue(), issue())
    s3_one = await connect(attach(a_session(), one.provider()))
    s3_other = await connect(attach(a_session(), other.provider()))
    aws.script("/", OK, OK, s3_error("ExpiredToken"))
    await s3_one.list_buckets()
    await s3_other.list_buckets()
    with pytest.raises(ClientError, match="ExpiredToken"):
        await s3_one.list_buckets()
    aws.always("/", OK)
    await s3_other.list_buckets()
    await s3_one.list_buckets()
    assert (one.calls, other.calls) == (2, 1)
    seen = signers(aws)
    assert seen[0] == seen[2] != seen[4]
    assert seen[1] == seen[3]


async def test_unsigned_clients_are_left_alone(aws: Loopback, connect: Connect) -> None:
    source = Source(issue(), usual=lambda: InvalidConfiguration("must not be asked"))
    provider = source.provider()
    held = await provider()
    config = AioConfig(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    s3 = await connect(attach(a_session(), provider), config=config)
    aws.script("/", OK, s3_error("ExpiredToken"))
    await s3.list_buckets()
    with pytest.raises(ClientError, match="ExpiredToken"):
        await s3.list_buckets()
    assert signers(aws) == [None, None]
    assert await provider() is held
    assert source.calls == 1


async def test_clients_with_keys_of_their_own_are_left_alone(aws: Loopback, connect: Connect) -> None:
    source = Source()
    provider = source.provider()
    held = await provider()
    session = attach(a_session(), provider)
    keys = {"aws_access_key_id": "AKIAEXPLICIT00001", "aws_secret_access_key": secret()}
    own = await connect(session, **keys)
    aws.script("/", OK, s3_error("InvalidToken"))
    await own.list_buckets()
    with pytest.raises(ClientError, match="InvalidToken"):
        await own.list_buckets()
    assert signers(aws) == ["AKIAEXPLICIT00001"] * 2
    assert await provider() is held
    assert source.calls == 1


async def test_s3_express_sessions_are_made_with_the_provider_and_their_own_rejection_is_theirs(
    aws: Loopback, connect: Connect
) -> None:
    source = Source()
    provider = source.provider()
    s3 = await connect(attach(a_session(), provider), region_name="us-east-1")
    bucket = "data--use1-az4--x-s3"
    expiration = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    created = Answer(
        body=f"""<CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials>
        <SessionToken>{secret("s3express")}</SessionToken><SecretAccessKey>{secret()}</SecretAccessKey>
        <AccessKeyId>ASIAEXPRESS000001</AccessKeyId><Expiration>{expiration}</Expiration>
        </Credentials></CreateSessionResult>"""
    )
    aws.script(f"/{bucket}", created, s3_error("ExpiredToken"))
    with pytest.raises(ClientError, match="ExpiredToken"):
        await s3.list_objects_v2(Bucket=bucket)
    assert signers(aws) == [(await provider()).access_key_id, "ASIAEXPRESS000001"]
    assert source.calls == 1


async def test_signatures_of_the_old_kind_count_too(aws: Loopback, connect: Connect) -> None:
    source = Source()
    config = AioConfig(signature_version="s3", retries={"total_max_attempts": 1})
    s3 = await connect(attach(a_session(), source.provider()), config=config, region_name="us-east-1")
    aws.script("/", s3_error("ExpiredToken"), OK)
    with pytest.raises(ClientError, match="ExpiredToken"):
        await s3.list_buckets()
    await s3.list_buckets()
    assert all(seen.headers["Authorization"].startswith("AWS ASIATEST") for seen in aws.requests)
    assert source.calls == 2


# What else asks for credentials


async def test_presigned_urls_and_forms_work(moto: str, connect: Connect) -> None:
    provider = Source().provider()
    session = attach(a_session(), provider)
    config = AioConfig(signature_version="s3v4")
    s3 = await connect(session, endpoint_url=moto, config=config)
    await s3.create_bucket(Bucket="signed", CreateBucketConfiguration={"LocationConstraint": REGION})
    url = await s3.generate_presigned_url("put_object", {"Bucket": "signed", "Key": "x"}, ExpiresIn=60)
    held = await provider()
    assert queried(url)["X-Amz-Credential"].startswith(f"{held.access_key_id}/")
    assert queried(url)["X-Amz-Security-Token"] == held.session_token
    form = await s3.generate_presigned_post("signed", "y")
    assert form["fields"]["x-amz-security-token"] == held.session_token
    async with aiohttp.ClientSession() as http:
        async with http.put(url, data=b"hello") as answer:
            assert answer.status == 200
        async with http.post(form["url"], data={**form["fields"], "file": "hi"}) as answer:
            assert answer.status < 300
    provider.invalidate()
    again = await s3.generate_presigned_url("get_object", {"Bucket": "signed", "Key": "x"})
    assert queried(again)["X-Amz-Credential"].startswith(f"{(await provider()).access_key_id}/")
    assert held.access_key_id not in again


async def test_a_presigned_url_outlives_its_promise_when_asked_to(connect: Connect) -> None:
    with time_machine.travel(START, tick=True) as clock:
        nearly_over, long = issue(3600), issue(7200)
        source = Source(nearly_over, long)
        provider = source.provider()
        await provider()
        clock.shift(3600 - 16 * 60)  # no refresh is due yet
        s3 = await connect(attach(a_session(), provider), config=AioConfig(signature_version="s3v4"))
        alone = await s3.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"}, ExpiresIn=1800)
        assert queried(alone)["X-Amz-Credential"].startswith(nearly_over.access_key_id)  # promises what it can't
        url, end = await presign(provider, s3, "b", "k", timedelta(minutes=30))
        assert queried(url)["X-Amz-Credential"].startswith(long.access_key_id)
        assert queried(url)["X-Amz-Expires"] == "1800"
        assert long.expiration is not None
        assert end.timestamp() == pytest.approx(datetime.now(UTC).timestamp() + 1800, abs=10)
        assert end < long.expiration
        assert source.calls == 2
        _, end = await presign(provider, s3, "b", "k", timedelta(hours=3))
        assert source.calls == 3  # asked, and nobody has that much: the example says so
        assert end < datetime.now(UTC) + timedelta(hours=1, minutes=1)


@pytest.mark.slow
async def test_the_example_of_presigning_gives_a_url_that_works(moto: str, connect: Connect, home: Path) -> None:
    s3 = await connect(attach(a_session(), Source().provider()), endpoint_url=moto)
    await s3.create_bucket(Bucket="shared", CreateBucketConfiguration={"LocationConstraint": REGION})
    await s3.put_object(Bucket="shared", Key="a.csv", Body=b"a,b\n")
    example = EXAMPLES / "presigned_urls.py"
    ended = await run(example, "shared", "a.csv", "5", home=home, AWS_ENDPOINT_URL_S3=moto, **keys())
    assert ended.status == 0, ended.err
    url = ended.out.strip()
    assert queried(url)["X-Amz-Expires"] == "300"
    assert re.fullmatch(r"It ends at 20[-\d]+ [:\d]+ UTC\.\n", ended.err)
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert await answer.read() == b"a,b\n"


async def test_database_tokens_are_signed_with_the_provider(connect: Connect) -> None:
    provider = Source().provider()
    session = attach(a_session(), provider)
    key = (await provider()).access_key_id
    rds = await connect(session, "rds")
    token = await rds.generate_db_auth_token(DBHostname="db.example", Port=5432, DBUsername="app")
    assert queried(f"https://{token}")["X-Amz-Credential"].startswith(f"{key}/")
    dsql = await connect(session, "dsql")
    token = await dsql.generate_db_connect_auth_token("dsql.example")
    assert queried(f"https://{token}")["X-Amz-Credential"].startswith(f"{key}/")


async def test_the_account_of_the_credentials_makes_the_endpoint(connect: Connect) -> None:
    credentials = Credentials("ASIAACCOUNT000001", secret(), secret("token"), account_id="123456789012")
    config = AioConfig(account_id_endpoint_mode="required")
    session = attach(a_session(), Source(credentials).provider())
    # Nothing is sent: a presigned URL shows the endpoint that a request would go to.
    dynamodb = await connect(session, "dynamodb", region_name="us-east-1", endpoint_url=None, config=config)
    url: str = await dynamodb.generate_presigned_url("list_tables")
    assert urlsplit(url).hostname == "123456789012.ddb.us-east-1.amazonaws.com"


async def test_without_an_account_the_usual_endpoint_serves(connect: Connect) -> None:
    config = AioConfig(account_id_endpoint_mode="preferred")
    session = attach(a_session(), Source().provider())
    dynamodb = await connect(session, "dynamodb", region_name="us-east-1", endpoint_url=None, config=config)
    url: str = await dynamodb.generate_presigned_url("list_tables")
    assert urlsplit(url).hostname == "dynamodb.us-east-1.amazonaws.com"


async def test_who_asks_the_session_gets_what_is_current() -> None:
    first, second = issue(), issue()
    provider = Source(first, second).provider()
    session: Any = attach(a_session(), provider)
    credentials = await session.get_credentials()
    frozen = await credentials.get_frozen_credentials()
    assert tuple(frozen) == (first.access_key_id, first.secret_access_key, first.session_token, first.account_id)
    request = AWSRequest("GET", "https://opensearch.example/", {})
    SigV4Auth(frozen, "es", REGION).add_auth(request)  # what many a library does by hand
    assert first.access_key_id in request.headers["Authorization"]
    provider.invalidate()
    assert await credentials.get_access_key() == second.access_key_id
    assert await credentials.get_secret_key() == second.secret_access_key
    assert await credentials.get_token() == second.session_token
    assert await credentials.get_account_id() is None
    for name, value in [("access_key", second.access_key_id), ("account_id", None)]:
        assert await credentials.get_deferred_property(name)() == value


async def test_an_attribute_that_cannot_wait_says_what_to_write_instead() -> None:
    session: Any = attach(a_session(), Source().provider())
    credentials = await session.get_credentials()
    with pytest.raises(AttributeError, match=r"'access_key'.*await get_frozen_credentials\(\)"):
        _ = credentials.access_key


# Failures


async def test_an_error_of_the_provider_reaches_the_caller_as_it_is(aws: Loopback, connect: Connect) -> None:
    source = Source(InvalidConfiguration("the profile is wrong, correct it"), usual=issue)
    s3 = await connect(attach(a_session(), source.provider()))
    with pytest.raises(InvalidConfiguration, match="source: the profile is wrong, correct it"):
        await s3.list_buckets()
    assert not aws.requests
    aws.script("/", OK)
    await s3.list_buckets()  # the client is as good as before


async def test_an_error_reaches_who_presigns_and_who_needs_the_account(connect: Connect) -> None:
    source = Source(usual=lambda: InvalidConfiguration("wrong"))
    session = attach(a_session(), source.provider())
    config = AioConfig(account_id_endpoint_mode="required")
    dynamodb = await connect(session, "dynamodb", region_name="us-east-1", endpoint_url=None, config=config)
    with pytest.raises(InvalidConfiguration):
        await dynamodb.generate_presigned_url("list_tables")


async def test_a_cancelled_request_leaves_the_client_working(aws: Loopback, connect: Connect) -> None:
    source = Source()
    source.gate = asyncio.Event()
    s3 = await connect(attach(a_session(), source.provider()))
    request = asyncio.create_task(s3.list_buckets())
    await settle()
    assert source.calls == 1
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    source.gate.set()
    aws.script("/", OK)
    await s3.list_buckets()


async def test_nothing_that_is_handed_over_shows_a_secret(aws: Loopback, connect: Connect) -> None:
    provider: Provider = Source().provider()
    session: Any = attach(a_session(), provider)
    await connect(session)
    credentials = await session.get_credentials()
    frozen = await credentials.get_frozen_credentials()
    shown = [repr(session), repr(credentials), repr(frozen), repr(provider)]
    shown += [
        str(frozen),
        f"{frozen}",
        f"{frozen!r}",
        repr([frozen]),
        f"{session.__dict__}",
        repr(credentials.__dict__),
    ]
    assert not [text for text in shown if MARK in text or frozen.access_key in text]


async def test_the_log_of_a_rejection_shows_no_secret(
    aws: Loopback, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(issue(), InvalidConfiguration("gone"))
    s3 = await connect(attach(a_session(), source.provider()))
    aws.always("/", s3_error("ExpiredToken"))
    with caplog.at_level(logging.DEBUG, "aiocreds"):
        for _ in range(2):
            with pytest.raises(ClientError):
                await s3.list_buckets()
    assert "gone" in caplog.text  # still valid by its own time, so it is served, and the log says so
    assert MARK not in caplog.text


def test_without_aiobotocore_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    monkeypatch.delitem(sys.modules, "aiocreds.integrations.aiobotocore")
    with pytest.raises(ModuleNotFoundError, match=r"not installed: pip install 'aiocreds\[aiobotocore\]'"):
        import_module("aiocreds.integrations.aiobotocore")


def test_the_import_loads_no_aiobotocore() -> None:
    code = "import sys, aiocreds.integrations.aiobotocore, aiocreds.integrations.boto3; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "aiocreds.integrations.aiobotocore" in loaded
    assert not {"aiobotocore", "boto3", "botocore", "aiohttp"} & set(loaded)


async def test_a_session_that_has_credentials_is_refused() -> None:
    session = get_session()
    session.set_credentials("AKIDSET", secret())
    with pytest.raises(ValueError, match="has credentials already"):
        attach(session, Source().provider())


@pytest.mark.parametrize("wrong", [Credentials("AKIDWRONG", secret()), None, "default_chain()"])
def test_what_is_no_provider_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a provider or an async function"):
        attach(get_session(), wrong)
