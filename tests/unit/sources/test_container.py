"""Credentials from an HTTP endpoint: ECS, EKS Pod Identity, or one of your own.

===============================================  ======================================================
the endpoint, or what is set                     the caller gets
===============================================  ======================================================
no URL                                           CredentialsNotFound: a chain goes on
a URL to another machine without TLS, or odd     InvalidConfiguration: the variable or argument
a token that cannot be sent or read              InvalidConfiguration: likewise, and the file
answers 401, 403, 404, a redirect, another code  ServiceRefused: host, status and what to check
answers 429, 5xx, garbage, too much, or expired  SourceUnavailable, after ``max_retries``
resets, breaks off, or never answers             SourceUnavailable, after ``max_retries``
===============================================  ======================================================
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from aiocreds import (
    Context,
    CredentialsNotFound,
    InvalidConfiguration,
    ServiceRefused,
    SourceUnavailable,
    from_container_metadata,
    from_http,
)
from aiocreds._http import NoAnswer
from aiocreds.sources._rotated_file import read_token_file
from tests.helpers.cancelling import moments_of
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import CONTAINER_PATH, Answer, Hang, Loopback, Reset, Script, json_answer
from tests.helpers.loopback_routes import detour
from tests.helpers.representatives import slow_but
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.shared_files import unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from aiocreds import Provider

FULL, RELATIVE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TOKEN, TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"


@pytest.fixture(autouse=True)
def _longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds.sources._rotated_file.PAUSE", 0.02)


@pytest.fixture
def agent(aws: Loopback, environ: dict[str, str]) -> Loopback:
    """A container agent that the environment points to."""
    environ[FULL] = aws.url + CONTAINER_PATH
    return aws


def sent(aws: Loopback) -> list[str | None]:
    """The authorization that arrived with each request."""
    return [seen.headers.get("Authorization") for seen in aws.requests]


def host(aws: Loopback) -> str:
    return aws.url.removeprefix("http://")


# Where it asks.


async def test_credentials(agent: Loopback, context: Context) -> None:
    for provider in (from_http(context=context), from_container_metadata(context=context)):
        credentials = await provider()
        assert credentials.access_key_id.startswith("ASIALOOPBACK")
        assert credentials.session_token
        assert credentials.expiration
        assert credentials.provider == "container"
        assert credentials.may_outlive_expiry
    assert sent(agent) == [None, None]
    assert agent.requests[0].headers["Accept"] == "application/json"


async def test_the_account_is_in_the_role_that_ecs_tells(agent: Loopback, context: Context) -> None:
    arn = "arn:aws:iam::012345678901:role/task"
    told = {"RoleArn": arn, **agent.credentials("ECS"), "Token": secret("token")}
    told.pop("AccountId", None)
    agent.always(CONTAINER_PATH, json_answer(told))
    for provider in (from_http(context=context), from_container_metadata(context=context)):
        assert (await provider()).account_id == "012345678901"
    agent.always(CONTAINER_PATH, json_answer({**told, "AccountId": 12345678902}))
    assert (await from_http(context=context)()).account_id == "012345678902"


async def test_each_fetch_asks_anew(agent: Loopback, context: Context) -> None:
    provider = from_container_metadata(context=context)
    assert (await provider()).access_key_id != (await provider.fetch()).access_key_id
    assert agent.count(CONTAINER_PATH) == 2


async def test_no_url(context: Context) -> None:
    for provider in (from_http(context=context), from_container_metadata(context=context)):
        assert (await failure(provider, CredentialsNotFound, FULL, RELATIVE)).try_next_link


async def test_the_relative_uri_wins_with_a_warning(
    aws: Loopback, environ: dict[str, str], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ |= {FULL: f"{aws.url}/elsewhere", RELATIVE: CONTAINER_PATH}
    async with detour(aws, environ, home) as (context, connector):
        await from_container_metadata(context=context)()
    assert [seen.path for seen in aws.requests] == [CONTAINER_PATH]
    assert connector.asked == ["169.254.170.2:80"]
    assert aws.requests[0].headers["Host"] == "169.254.170.2"
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{RELATIVE} and {FULL} are both set" in record.getMessage()


async def test_arguments_win_over_variables(agent: Loopback, environ: dict[str, str], home: Path) -> None:
    environ[RELATIVE] = "/elsewhere"
    async with detour(agent, environ, home) as (context, connector):
        await from_http(full_uri=f"{agent.url}{CONTAINER_PATH}", context=context)()
        environ[FULL] = "http://evil.example/"
        await from_http(relative_uri=CONTAINER_PATH, context=context)()
    assert agent.count(CONTAINER_PATH) == 2
    assert connector.asked[1:] == ["169.254.170.2:80"]


# What it shows there.


async def test_the_token(agent: Loopback, context: Context, environ: dict[str, str]) -> None:
    environ[TOKEN] = agent.container_token = secret("token")
    await from_container_metadata(context=context)()
    await from_http(context=context)()
    agent.container_token = secret("token")
    await from_http(authorization_token=agent.container_token, context=context)()
    assert sent(agent)[2] == agent.container_token


async def test_the_token_file_wins_with_a_warning(
    agent: Loopback, context: Context, environ: dict[str, str], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent.container_token = secret("token")
    (home / "token").write_text(f"{agent.container_token}\n")
    environ |= {TOKEN: secret("token"), TOKEN_FILE: "~/token"}
    await from_container_metadata(context=context)()
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{TOKEN_FILE} and {TOKEN} are both set; the file is used" in record.getMessage()


async def test_token_arguments_win_over_variables(
    agent: Loopback, context: Context, environ: dict[str, str], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = secret("token")
    (home / "token").write_text(mine)
    environ |= {TOKEN: secret("token"), TOKEN_FILE: "/nowhere/token"}
    await from_http(authorization_token=mine, context=context)()
    await from_http(authorization_token_file=str(home / "token"), context=context)()
    assert sent(agent) == [mine, mine]
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


async def test_the_environments_token_is_never_sent_to_a_url_given_in_code(
    aws: Loopback, environ: dict[str, str], home: Path
) -> None:
    (home / "token").write_text(secret("token"))
    for variables in ({TOKEN: secret("token")}, {TOKEN_FILE: str(home / "token")}):
        environ |= variables
        async with detour(aws, environ, home) as (context, _):
            await from_http(full_uri=aws.url + CONTAINER_PATH, context=context)()
            await from_http(relative_uri=CONTAINER_PATH, context=context)()
    assert sent(aws) == [None] * 4


async def test_a_token_given_in_code_goes_to_a_url_given_in_code(aws: Loopback, context: Context) -> None:
    aws.container_token = secret("token")
    url = aws.url + CONTAINER_PATH
    await from_http(full_uri=url, authorization_token=aws.container_token, context=context)()


@pytest.mark.parametrize("middle", ["\n", "\r\nX: ", "\0", "\x1b", "\x7f"])
async def test_a_token_that_cannot_be_sent(
    agent: Loopback, context: Context, environ: dict[str, str], home: Path, middle: str
) -> None:
    token = f"{secret('token')}{middle}{secret('token')}"
    provider = from_http(authorization_token=token, context=context)
    await failure(provider, InvalidConfiguration, "authorization_token", "line break", "one line")
    environ[TOKEN] = token
    await failure(from_container_metadata(context=context), InvalidConfiguration, TOKEN, "line break", "one line")
    (home / "token").write_text(token, newline="")
    environ[TOKEN_FILE] = "~/token"
    place = f"{TOKEN_FILE} ({home}/token)"
    await failure(from_container_metadata(context=context), InvalidConfiguration, place, "line break")
    assert not agent.requests


async def test_the_token_file_is_read_at_each_fetch(
    agent: Loopback, context: Context, environ: dict[str, str], home: Path
) -> None:
    environ[TOKEN_FILE] = str(home / "token")
    provider = from_container_metadata(context=context)
    tokens = [secret("token"), secret("token")]
    for token in tokens:
        (home / "token").write_text(token)
        await provider.fetch()
    assert sent(agent) == tokens


@pytest.mark.slow
@pytest.mark.parametrize("what", ["missing", "empty", "binary", "folder", "unreadable", "huge"])
async def test_a_bad_token_file(
    agent: Loopback, context: Context, environ: dict[str, str], home: Path, what: str
) -> None:
    file = home / "token"
    environ[TOKEN_FILE] = "~/token"
    match what:
        case "folder":
            file.mkdir()
        case "missing":
            pass
        case _:
            content = {"empty": b"", "binary": b"\xffsEcReT", "huge": b"sEcReT" * 2**15, "unreadable": b"sEcReT"}
            file.write_bytes(content[what])
    kind = SourceUnavailable if what == "empty" else InvalidConfiguration
    await read_token_file(__file__, place="here")  # loads what nobody might not
    with nullcontext() if what != "unreadable" else unreadable(file):
        await failure(from_container_metadata(context=context), kind, f"{file} (from {TOKEN_FILE})")
    assert not agent.requests


# What it answers.


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 301, 302, 307, 308])
async def test_no(agent: Loopback, context: Context, status: int) -> None:
    body = json.dumps({"code": "TaskNotFound", "message": "sEcReT"})
    agent.always(CONTAINER_PATH, Answer(status, body, {"Location": "/elsewhere"}))
    words = {401: TOKEN, 403: TOKEN, 302: "redirects are not followed"}
    word = words.get(status, FULL)
    for provider in (from_http(context=context), from_container_metadata(context=context)):
        error = await failure(provider, ServiceRefused, host(agent), f"HTTP {status} TaskNotFound", word)
        assert (error.status, error.code) == (status, "TaskNotFound")
    assert len(agent.requests) == 2


async def test_what_to_check_is_what_was_used(
    agent: Loopback, context: Context, environ: dict[str, str], home: Path
) -> None:
    agent.always(CONTAINER_PATH, Answer(403))
    url = agent.url + CONTAINER_PATH
    provider = from_http(full_uri=url, authorization_token=secret(), context=context)
    error = await failure(provider, ServiceRefused, "check the token in authorization_token")
    assert "AWS_" not in str(error)
    (home / "token").write_text(secret())
    environ[TOKEN_FILE] = str(home / "token")
    await failure(from_http(context=context), ServiceRefused, f"check the token in {TOKEN_FILE} ({home}/token)")
    agent.always(CONTAINER_PATH, Answer(404))
    await failure(from_http(full_uri=url, context=context), ServiceRefused, "check the path in full_uri")
    await failure(from_http(context=context), ServiceRefused, f"check the path in {FULL}")


GARBAGE = {
    "nothing": (Answer(), "nothing"),
    "truncated": (Answer(body='{"SecretAccessKey": "sEcReT'), "cut short"),
    "html": (Answer(body="<html>sEcReT</html>"), "HTML"),
    "array": (Answer(body='["sEcReT"]'), "a JSON array"),
}
TROUBLE: dict[str, tuple[Script, str]] = {
    **GARBAGE,
    "500": (Answer(500, "sEcReT"), "HTTP 500: it is in trouble"),
    "503": (Answer(503, "sEcReT"), "HTTP 503: it is in trouble"),
    "429": (Answer(429, "sEcReT"), "HTTP 429: it is asked too often"),
    "reset": (Reset(), "closed the connection"),
    "half": (Answer(body='{"SecretAccessKey": "sEcReT"}', cut=True), "broke off"),
    "silence": (Hang(), "timed out"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", TROUBLE)
async def test_trouble_is_retried_as_often_as_asked(agent: Loopback, context: Context, what: str) -> None:
    script, told = TROUBLE[what]
    agent.always(CONTAINER_PATH, script)
    counts = [
        (from_container_metadata(timeout=0.1, context=context), 1),
        (from_container_metadata(timeout=0.1, max_retries=1, context=context), 2),
        (from_http(timeout=timedelta(seconds=0.1), context=context), 4),
        (from_http(timeout=0.1, max_retries=0, context=context), 1),
    ]
    for provider, count in counts:
        before = len(agent.requests)
        await failure(provider, SourceUnavailable, host(agent), told)
        assert len(agent.requests) - before == count


@pytest.mark.slow
@pytest.mark.parametrize("what", TROUBLE)
async def test_trouble_that_passes(agent: Loopback, context: Context, what: str) -> None:
    agent.script(CONTAINER_PATH, TROUBLE[what][0], TROUBLE[what][0])
    assert (await from_http(timeout=0.2, context=context)()).provider == "container"
    assert len(agent.requests) == 3


async def test_ten_megabytes(agent: Loopback, context: Context) -> None:
    agent.always(CONTAINER_PATH, Answer(body=b"sEcReT" * 2_500_000))
    await failure(from_http(context=context), SourceUnavailable, host(agent), "64 KiB")
    assert len(agent.requests) == 1


async def test_nothing_listens(context: Context, environ: dict[str, str], deaf_port: int) -> None:
    environ[FULL] = f"http://127.0.0.1:{deaf_port}{CONTAINER_PATH}"
    words = f"127.0.0.1:{deaf_port}", "refused the connection", "check the address"
    await failure(from_container_metadata(context=context), NoAnswer, *words)


async def test_a_time_out_is_bounded(agent: Loopback, context: Context) -> None:
    agent.always(CONTAINER_PATH, Answer(body=json.dumps(agent.credentials("x")), drip=0.2))
    started = time.monotonic()
    await failure(from_container_metadata(timeout=0.3, context=context), SourceUnavailable, "timed out", "0.3 s")
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("field", ["AccessKeyId", "SecretAccessKey"])
async def test_missing_fields(agent: Loopback, context: Context, field: str) -> None:
    agent.always(CONTAINER_PATH, json_answer({**agent.credentials("x"), field: None}))
    provider = from_container_metadata(context=context)
    await failure(provider, SourceUnavailable, f"{host(agent)} answered without {field}", f"check that {FULL}")


async def test_expired(agent: Loopback, context: Context) -> None:
    agent.lifetime = timedelta(hours=-1)
    await failure(from_container_metadata(context=context), SourceUnavailable, host(agent), "expired at", "clock")


async def test_another_code(agent: Loopback, context: Context) -> None:
    agent.always(CONTAINER_PATH, json_answer({"Code": "AccessDenied", "Message": "sEcReT"}))
    error = await failure(
        from_container_metadata(context=context), ServiceRefused, host(agent), "code AccessDenied"
    )
    assert error.code == "AccessDenied"


async def test_an_error_code_that_is_none_is_not_shown(agent: Loopback, context: Context) -> None:
    agent.always(CONTAINER_PATH, json_answer({"code": f"x {MARK}"}, status=404))
    assert (await failure(from_container_metadata(context=context), ServiceRefused, "HTTP 404:")).code == ""


@pytest.mark.parametrize("how", slow_but(["answering", "hanging"], "answering"))
@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_at_any_moment(
    agent: Loopback, context: Context, environ: dict[str, str], home: Path, how: str
) -> None:
    (home / "token").write_text(secret("token"))
    environ[TOKEN_FILE] = "~/token"

    def make(_: int) -> Provider:
        return from_http(timeout=0.1, max_retries=1, context=context)

    assert await moments_of(agent, CONTAINER_PATH, make, hanging=how == "hanging") > 5
    await until(lambda: not agent.open_connections)
