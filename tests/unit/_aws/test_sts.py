"""STS on a good day and on many bad ones, as the user of a role sees it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
import time_machine

import aiocreds
from aiocreds import (
    ClientConfig,
    Context,
    ServiceRefused,
    SourceUnavailable,
    from_temporary_credentials,
)
from aiocreds.credentials import Credentials
from tests.helpers.assumed_role import CALLER, ROLE_ARN, answer, role
from tests.helpers.failures import failure_of
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Reset, sts_error
from tests.helpers.secret_leaks import MARK, secret, told_by

if TYPE_CHECKING:
    import aiohttp


async def test_a_role_is_assumed(aws: Loopback, context: Context) -> None:
    credentials = await role(aws, context)()
    assert credentials.access_key_id.startswith("ASIALOOPBACK")
    assert aws.secrets[credentials.access_key_id] == (credentials.secret_access_key, credentials.session_token)
    assert credentials.account_id == "123456789012"
    assert credentials.provider == "assume_role"
    assert credentials.may_outlive_expiry
    assert credentials.expiration is not None
    assert timedelta(hours=5, minutes=59) < credentials.expiration - datetime.now(UTC) <= aws.lifetime
    (seen,) = aws.requests
    assert (seen.method, seen.path, seen.signed_by) == ("POST", "/", CALLER.access_key_id)
    assert {"host", "content-type", "x-amz-date", "x-amz-security-token"} <= set(seen.signed_headers)


async def test_stray_blanks_are_no_part_of_the_keys(aws: Loopback, context: Context) -> None:
    body = answer(key=" ASIASTRAY\n").replace("<SessionToken>", "<SessionToken>\t")
    aws.script("/", Answer(body=body))
    credentials = await role(aws, context)()
    assert credentials.access_key_id == "ASIASTRAY"
    assert credentials.session_token == (credentials.session_token or "").strip()


async def test_the_answer_may_name_its_elements_without_a_namespace(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    aws.script("/", Answer(body=answer().replace(' xmlns="https://sts.amazonaws.com/doc/2011-06-15/"', "")))
    assert (await provider()).access_key_id == "ASIAANSWER00000001"


# STS says no.


async def test_access_denied_names_the_role_the_caller_and_the_remedy(
    aws: Loopback, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    provider = role(aws, context)
    words = "User: arn:aws:iam::1:user/x is not authorized to perform: sts:AssumeRole"
    aws.always("/", sts_error("AccessDenied", words))
    error = await failure_of(provider)
    assert isinstance(error, ServiceRefused)
    assert (error.code, error.status, error.message, error.request_id) == ("AccessDenied", 403, words, "r-2")
    assert not error.recoverable
    assert not error.try_next_link
    assert error.provider == "from_temporary_credentials"
    for part in (ROLE_ARN, "****0042", "127.0.0.1", words, "trust policy", "sts:AssumeRole"):
        assert part in str(error)
    assert CALLER.access_key_id not in "".join(told_by(error))
    assert len(aws.requests) == 1


@pytest.mark.parametrize(
    "code",
    [
        "AccessDenied",
        "IDPRejectedClaim",
        "InvalidIdentityToken",
        "MalformedPolicyDocument",
        "PackedPolicyTooLarge",
        "RegionDisabled",
    ],
)
async def test_what_no_retry_can_mend_is_logged_as_an_error_and_raised_once_expired(
    aws: Loopback, context: Context, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    caplog.set_level(logging.WARNING, "aiocreds")
    with time_machine.travel(1_800_000_000.0, tick=False) as clock:
        provider = role(aws, context)
        held = await provider()
        aws.always("/", sts_error(code, status=400))
        clock.shift(aws.lifetime - timedelta(seconds=30))
        assert await provider() is held
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        assert code in caplog.text
        clock.shift(60)
        error = await failure_of(provider)
        assert isinstance(error, ServiceRefused)
        assert (error.code, error.recoverable) == (code, False)
        assert "Remedy" in str(error) or code in ("IDPRejectedClaim", "InvalidIdentityToken")
        aws.always("/", None)
        clock.shift(10)
        assert await provider() is not held


@pytest.mark.parametrize("code", ["ValidationError", "InvalidClientTokenId", "SomethingNew"])
async def test_any_other_no_may_change_with_time(aws: Loopback, context: Context, code: str) -> None:
    provider = role(aws, context)
    aws.always("/", sts_error(code, "the reason", status=400))
    error = await failure_of(provider)
    assert isinstance(error, ServiceRefused)
    assert error.recoverable
    assert f"{code}: the reason" in str(error)
    assert "Remedy: " in str(error)
    assert len(aws.requests) == 1


async def test_a_message_that_echoes_the_request_is_scrubbed(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    token = CALLER.session_token
    message = (
        f"Credential={CALLER.access_key_id} sent {token} and {CALLER.secret_access_key}. The Canonical String"
        f" should have been\n'POST\n/\n\nhost:sts\nx-amz-security-token:{token}'"
    )
    aws.always("/", sts_error("SignatureDoesNotMatch", message))
    error = await failure_of(provider)
    assert isinstance(error, ServiceRefused)
    assert error.message == "Credential=****0042 sent **** and ****. The Canonical String should have been"
    assert CALLER.access_key_id not in "".join(told_by(error))
    assert "secret key does not belong" in str(error)


async def test_an_error_in_the_shape_of_other_services_is_understood(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    refusal = sts_error("AccessDenied", "no")
    assert isinstance(refusal.body, str)
    body = refusal.body.replace("<Error>", "<Errors><Error>").replace("</Error>", "</Error></Errors>")
    aws.always("/", Answer(403, body))  # moto's
    error = await failure_of(provider)
    assert isinstance(error, ServiceRefused)
    assert (error.code, error.message, error.recoverable) == ("AccessDenied", "no", False)


async def test_a_message_of_any_length_stays_short(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    aws.always("/", sts_error("Odd" * 1000, "long " * 5000, status=400))
    assert len(str(await failure_of(provider))) < 1200


# STS is busy, or broken.


@pytest.mark.parametrize(
    "busy",
    [
        sts_error("Throttling", "Rate exceeded", status=400),
        sts_error("RequestLimitExceeded", status=503),
        Answer(503),
        Answer(500, "<html>oops"),
        Answer(429, headers={"Retry-After": "0"}),
        Answer(body=b"half of it", cut=True),
        Reset(),
    ],
    ids=["400", "503 code", "503", "500", "429", "cut", "reset"],
)
async def test_two_busy_answers_are_sat_out(aws: Loopback, context: Context, busy: Answer | Reset) -> None:
    provider = role(aws, context)
    aws.script("/", busy, busy)
    assert (await provider()).access_key_id.startswith("ASIALOOPBACK")
    assert len(aws.requests) == 3
    assert provider.status.failures == 0


@pytest.mark.slow
async def test_retry_after_is_honoured(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    aws.script("/", Answer(429, headers={"Retry-After": "1"}))
    started = asyncio.get_running_loop().time()
    await provider()
    assert asyncio.get_running_loop().time() - started >= 1


@pytest.mark.parametrize("attempts", [1, 3, 4])
async def test_throttled_for_ever(aws: Loopback, context: Context, attempts: int) -> None:
    provider = role(aws, context, ClientConfig(max_attempts=attempts))
    aws.always("/", sts_error("Throttling", "Rate exceeded", status=400))
    error = await failure_of(provider)
    assert isinstance(error, SourceUnavailable)
    for part in ("127.0.0.1", "400 Throttling", ROLE_ARN, "later"):
        assert part in str(error)
    assert len(aws.requests) == attempts


async def test_down_for_ever(aws: Loopback, context: Context) -> None:
    provider = role(aws, context, ClientConfig(max_attempts=1))
    aws.always("/", Answer(500, f"<html>{MARK}</html>"))
    error = await failure_of(provider)
    assert isinstance(error, SourceUnavailable)
    assert "HTTP 500" in str(error)


async def test_silence_ends_with_the_time_out(aws: Loopback, context: Context) -> None:
    client = ClientConfig(connect_timeout=timedelta(seconds=1), read_timeout=0.1, max_attempts=1)
    provider = role(aws, context, client)
    aws.always("/", Hang())
    error = await failure_of(provider)
    assert isinstance(error, SourceUnavailable)
    assert "timed out" in str(error)
    assert "127.0.0.1" in str(error)


async def test_nobody_there(context: Context, aws: Loopback, deaf_port: int) -> None:
    nobody = f"http://127.0.0.1:{deaf_port}"
    error = await failure_of(role(aws, context, ClientConfig(endpoint_url=nobody, max_attempts=1)))
    assert isinstance(error, SourceUnavailable)
    assert f"127.0.0.1:{deaf_port} refused the connection" in str(error)


BOMB = (
    "<!DOCTYPE bomb [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{n + 1} '{f'&a{n};' * 10}'>" for n in range(9))
    + f"]><AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{MARK}&a9;</AccessKeyId></Credentials>"
    "</AssumeRoleResult></AssumeRoleResponse>"
)
WITHOUT = "answered without AccessKeyId, SecretAccessKey, SessionToken, Expiration"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"<html><body>Welcome to {MARK} Wi-Fi</body></html>", WITHOUT),
        (answer()[:-200], WITHOUT),
        ("", WITHOUT),
        (f'{{"AccessKeyId": "{MARK}"}}', WITHOUT),
        (answer(key=""), "answered without AccessKeyId;"),
        (answer(key=" \n"), "answered without AccessKeyId;"),
        (answer(expiration="2020-01-01T00:00:00Z"), "expired at 2020-01-01 00:00:00 UTC"),
        (answer(expiration="soon"), "is not a time since 1970"),
        (BOMB, WITHOUT),
        ('<?xml version="1.0" encoding="klingon"?><a>' + MARK + "</a>", WITHOUT),
        ('<?xml version="1.0" encoding="shift_jis"?><a>' + MARK + "</a>", WITHOUT),
        ('<?xml version="1.0" encoding="unicode_escape"?><a>' + MARK + "</a>", WITHOUT),
        ("<a>" * 9000 + MARK + "</a>" * 9000, WITHOUT),
        (answer().encode().replace(b"xxx<", b"\xff\xfe<"), WITHOUT),
        (MARK * 2_500_000, "sent more than 64 KiB"),
    ],
    ids="html cut empty json nokey blank expired notime bomb encoding multibyte escapes deep garbled 10MB".split(),  # noqa: SIM905
)
async def test_an_answer_that_is_none(aws: Loopback, context: Context, body: str | bytes, words: str) -> None:
    provider = role(aws, context)
    aws.always("/", Answer(body=body))
    error = await failure_of(provider)
    assert isinstance(error, SourceUnavailable)
    assert error.__cause__ is None
    assert words in str(error)
    assert "127.0.0.1" in str(error)
    assert len(aws.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [f"<html>{MARK}</html>", "", BOMB, '<?xml version="1.0" encoding="klingon"?><a/>', "<ErrorResponse/>"],
    ids=["html", "empty", "bomb", "encoding", "no code"],
)
async def test_a_no_that_is_not_of_sts(aws: Loopback, context: Context, body: str) -> None:
    provider = role(aws, context)
    aws.always("/", Answer(403, body, {"x-amzn-RequestId": "r-9"}))
    error = await failure_of(provider)
    assert isinstance(error, ServiceRefused)
    assert (error.code, error.status, error.request_id) == ("", 403, "r-9")
    assert "HTTP 403" in str(error)
    assert "endpoint" in str(error)


async def test_where_the_answer_does_not_tell_the_account_the_role_does(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    aws.script("/", Answer(body=answer(arn="arn:aws")))
    assert (await provider()).account_id == ROLE_ARN.split(":")[4]


# The clock.


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_a_wrong_clock_is_noticed_once_and_by_everybody(
    aws: Loopback, context: Context, ahead: float
) -> None:
    aws.clock = timedelta(seconds=ahead)
    first = role(aws, context)
    credentials = await first()
    assert len(aws.requests) == 2
    assert context.clock.offset == pytest.approx(ahead, abs=3)
    await role(aws, context)()
    assert len(aws.requests) == 3
    assert first.status.seconds_left == pytest.approx(aws.lifetime.total_seconds(), abs=10)
    assert credentials.expiration is not None
    left = (credentials.expiration - datetime.now(UTC)).total_seconds()
    assert left == pytest.approx(aws.lifetime.total_seconds() + ahead, abs=10)


async def test_a_small_difference_is_left_alone(aws: Loopback, context: Context) -> None:
    aws.clock = timedelta(seconds=200)
    await role(aws, context)()
    assert (len(aws.requests), context.clock.offset) == (1, 0)


async def test_a_clock_put_right_later_needs_no_offset_any_more(aws: Loopback, context: Context) -> None:
    aws.clock = timedelta(hours=1)
    await role(aws, context)()
    aws.clock = timedelta()
    aws.requests.clear()
    await role(aws, context)()
    assert (len(aws.requests), context.clock.offset) == (2, 0)
    await role(aws, context)()
    assert len(aws.requests) == 3


async def test_an_answer_that_accepts_our_clock_is_not_believed_about_the_time(
    aws: Loopback, context: Context
) -> None:
    provider = role(aws, context)
    aws.script("/", Answer(body=answer(), headers={"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}))
    await provider()
    assert context.clock.offset == 0
    assert len(aws.requests) == 1


async def test_a_rejection_with_the_same_clock_is_final(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    aws.always("/", sts_error("SignatureDoesNotMatch", "no"))
    assert isinstance(await failure_of(provider), ServiceRefused)
    assert len(aws.requests) == 1


async def test_a_clock_that_runs_wild_costs_one_more_call_and_no_more(aws: Loopback, context: Context) -> None:
    provider = role(aws, context)
    start = datetime.now(UTC)
    for hours in (5, 10, 15, 20):
        headers = {"Date": format_datetime(start + timedelta(hours=hours), usegmt=True)}
        refusal = sts_error("RequestTimeTooSkewed")
        aws.script("/", Answer(refusal.status, refusal.body, headers))
    assert isinstance(await failure_of(provider), ServiceRefused)
    assert len(aws.requests) == 2
    assert context.clock.offset == 0, "who lies about the time is believed in nothing"


@pytest.mark.parametrize("refused", [False, True], ids=["issued", "refused"])
async def test_an_answer_from_before_a_sleep_tells_no_time(aws: Loopback, context: Context, refused: bool) -> None:
    calls = 0

    async def sleep_once(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal calls
        calls += 1
        response = await handler(request)
        if calls == 1:
            clock.shift(aws.lifetime + timedelta(hours=1))
        return response

    provider = role(aws, context, ClientConfig(middlewares=[sleep_once]))
    if refused:
        aws.script("/", sts_error("RequestExpired"))
    with time_machine.travel(1_800_000_000.0, tick=True) as clock:
        if refused:
            await provider()  # what was signed before the sleep is signed again
        else:
            assert "expired" in str(await failure_of(provider))
    assert (calls, context.clock.offset) == (1 + refused, 0)


@pytest.mark.parametrize("date", ["", "yesterday", "99"])
async def test_an_unreadable_date_teaches_nothing(aws: Loopback, context: Context, date: str) -> None:
    provider = role(aws, context)
    aws.script("/", Answer(body=answer(), headers={"Date": date}))
    await provider()
    assert context.clock.offset == 0


# What is signed.


@pytest.mark.parametrize("field", ["access_key_id", "session_token"])
@pytest.mark.parametrize("stray", ["\n", "\r\nX-Evil: 1", "\0"])
async def test_keys_that_no_header_can_hold_are_refused(
    aws: Loopback, context: Context, field: str, stray: str
) -> None:
    values = {"access_key_id": "AKIAODD0", "session_token": secret("token"), field: f"{secret()}{stray}x"}

    async def odd() -> Credentials:
        return Credentials(values["access_key_id"], secret(), values["session_token"])

    context.environ.update(aws.environ)  # type: ignore[attr-defined]  # it is a dict
    provider = from_temporary_credentials(role_arn=ROLE_ARN, source=odd, context=context)
    error = await failure_of(provider)
    assert isinstance(error, aiocreds.InvalidConfiguration)
    assert error.__cause__ is None
    assert field.replace("_", " ") in str(error)
    assert not aws.requests
