"""Credentials of a person who has signed in with ``aws login``.

================================================  =====================================================
what is wrong                                     the caller gets
================================================  =====================================================
the profile has no login_session                  CredentialsNotFound
cryptography is not installed, or broken          InvalidConfiguration at the first fetch: what to install
nobody has signed in; the cache is unreadable     LoginRequired with the command, and where was looked
the cache lacks a field, or its key is no key     LoginRequired with the command, and what it lacks
TOKEN_EXPIRED, USER_CREDENTIALS_CHANGED           LoginRequired with the command, and which of the two
INSUFFICIENT_PERMISSIONS                          ServiceRefused for good: the permission that is missing
any other no                                      ServiceRefused with the code and the service's own words
429, 5xx, silence, a reset                        SourceUnavailable after three attempts
HTML, half an answer, 10 MB, no keys in it        SourceUnavailable: what kind of thing it was
any of them while the keys are still good         the keys; the log tells
the clock is wrong                                credentials: AWS Sign-In knows the time
================================================  =====================================================
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import botocore.utils
import pytest
import time_machine

from aiocreds import (
    ClientConfig,
    Context,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    from_ini,
    from_login,
)
from tests.helpers.cancelling import cancel_at
from tests.helpers.dpop_keys import OTHER_KEYS, other_keys
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Reset, Script, json_answer, json_error
from tests.helpers.scripted import START, pass_on, renewing, until
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, SIGN_IN

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds import Provider

WITH_A_MIDDLEWARE = ClientConfig(middlewares=[pass_on])
MINUTE = timedelta(minutes=1)
COMMAND = "aiocreds login --profile me"
BOTOCORE: Any = cast("Any", botocore.utils)


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return dict(aws.environ)


@pytest.fixture
def sign_in(aws: Loopback, home: Path) -> SignIn:
    return SignIn(aws, home)


class SignIn:
    """The files that ``aws login --profile me`` left on this machine."""

    def __init__(self, aws: Loopback, home: Path) -> None:
        self.aws = aws
        self.home = home
        self.path = home

    def __call__(self, left: timedelta = -MINUTE, **fields: Any) -> Path:
        """Sign in; the keys end in so long a time. Fields that are None are left out."""
        (self.home / ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\n")
        life, self.aws.sign_in.keys_life = self.aws.sign_in.keys_life, left
        self.path = self.aws.sign_in.login(self.home)
        self.aws.sign_in.keys_life = life
        marked = {"dpopKey": f"{secret('key')}\n{self.token['dpopKey']}"}  # a remark in front of the PEM is allowed
        self.write({name: value for name, value in (self.token | marked | fields).items() if value is not None})
        return self.path

    @property
    def token(self) -> dict[str, Any]:
        token: dict[str, Any] = json.loads(self.path.read_text())
        return token

    def write(self, token: object) -> None:
        self.path.write_text(json.dumps(token))

    def renewals(self) -> int:
        return self.aws.count(SIGN_IN)

    def proofs(self) -> list[dict[str, Any]]:
        """Return the proofs of the requests."""
        headers = [seen.headers["DPoP"] for seen in self.aws.requests]
        return [json.loads(base64.urlsafe_b64decode(header.split(".")[1] + "==")) for header in headers]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


# What is cached.


async def test_keys_that_are_still_good(sign_in: SignIn, context: Context) -> None:
    sign_in(left=15 * MINUTE)
    keys = sign_in.token["accessToken"]
    credentials = await from_login("me", context=context)()
    assert credentials.access_key_id == keys["accessKeyId"]
    assert credentials.secret_access_key == keys["secretAccessKey"]
    assert credentials.session_token == keys["sessionToken"]
    assert credentials.expiration == datetime.fromisoformat(keys["expiresAt"])
    assert credentials.account_id == ACCOUNT
    assert credentials.provider == "login"
    assert credentials.may_outlive_expiry
    assert not sign_in.renewals()


async def test_the_profile_of_the_environment_and_the_default(
    sign_in: SignIn, context: Context, environ: dict[str, str], home: Path
) -> None:
    sign_in(left=15 * MINUTE)
    await failure(from_login(context=context), CredentialsNotFound, "'default' has no login_session")
    environ["AWS_PROFILE"] = "me"
    assert (await from_login(context=context)()).provider == "login"
    del environ["AWS_PROFILE"]
    (home / ".aws/config").write_text(f"[default]\nlogin_session = {LOGIN_SESSION}\n")
    assert (await from_login(context=context)()).provider == "login"
    sign_in.path.unlink()
    await failure(from_login(context=context), LoginRequired, "aiocreds login --profile default")


async def test_files_given_in_code(sign_in: SignIn, context: Context, tmp_path: Path) -> None:
    sign_in(left=15 * MINUTE)
    (tmp_path / "other").write_text(f"[profile you]\nlogin_session = {LOGIN_SESSION}\n")
    assert (await from_login("you", config_file=str(tmp_path / "other"), context=context)()).provider == "login"
    (tmp_path / "another").write_text(f"[you]\nlogin_session = {LOGIN_SESSION}\n")
    assert (
        await from_login("you", credentials_file=str(tmp_path / "another"), context=context)()
    ).provider == "login"


@pytest.mark.parametrize("session", [LOGIN_SESSION, "arn:aws:sts::1:assumed-role/A/b", "Ünïcode, and spaces"])
async def test_the_file_is_named_as_botocore_names_it(
    sign_in: SignIn, context: Context, home: Path, session: str
) -> None:
    sign_in(left=15 * MINUTE)
    (home / ".aws/config").write_text(f"[profile me]\nlogin_session = {session}\n")
    sign_in.path.rename(sign_in.path.with_name(f"{BOTOCORE.generate_login_cache_key(session)}.json"))
    assert (await from_login("me", context=context)()).provider == "login"


@pytest.mark.parametrize("folder", ["{home}/kept", "~/kept", "$WHERE/kept", "${WHERE}/kept", "$TILDE/kept"])
async def test_another_folder(
    sign_in: SignIn, context: Context, environ: dict[str, str], home: Path, folder: str
) -> None:
    path = sign_in(left=15 * MINUTE)
    environ |= {"AWS_LOGIN_CACHE_DIRECTORY": folder.format(home=home, WHERE="{WHERE}"), "TILDE": "~"}
    environ["WHERE"] = str(home)
    (home / "kept").mkdir()
    path.rename(home / "kept" / path.name)
    assert (await from_login("me", context=context)()).provider == "login"
    environ["AWS_LOGIN_CACHE_DIRECTORY"] = " "
    await failure(from_login("me", context=context), LoginRequired, str(path), COMMAND)


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%SUTC"])
async def test_times_as_tools_have_written_them(sign_in: SignIn, context: Context, form: str) -> None:
    sign_in(left=15 * MINUTE)
    token, ends = sign_in.token, datetime.now(UTC).replace(microsecond=0) + 10 * MINUTE
    token["accessToken"]["expiresAt"] = ends.strftime(form)
    sign_in.write(token)
    assert (await from_login("me", context=context)()).expiration == ends
    assert not sign_in.renewals()


@pytest.mark.parametrize("ends", ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z"])
async def test_keys_that_never_end(sign_in: SignIn, context: Context, ends: str) -> None:
    sign_in(left=15 * MINUTE)
    token = sign_in.token
    token["accessToken"]["expiresAt"] = ends
    sign_in.write(token)
    assert (await from_login("me", context=context)()).expiration == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


# What is missing.


@pytest.mark.parametrize("config", ["", "[profile me]\nregion = x\n", "[profile me]\nlogin_session =\n"])
async def test_no_login_session(context: Context, home: Path, environ: dict[str, str], config: str) -> None:
    (home / ".aws/config").write_text(config)
    environ["AWS_PROFILE"] = "me"
    provider = from_login(context=context)
    kind = CredentialsNotFound if config else InvalidConfiguration
    await failure(provider, kind, "'me'", *["has no login_session"][: bool(config)])


async def test_a_profile_that_is_not_there(sign_in: SignIn, context: Context) -> None:
    sign_in()
    await failure(from_login("you", context=context), InvalidConfiguration, "'you'", ".aws/config")


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'"x"', b"\xff", b"<html>", b"[" * 100_000])
async def test_no_readable_sign_in(sign_in: SignIn, context: Context, content: bytes | None) -> None:
    path = sign_in()
    path.unlink() if content is None else path.write_bytes(content)
    provider = from_login("me", context=context)
    error = await failure(provider, LoginRequired, "no readable sign-in", str(path), f"run {COMMAND}")
    assert not error.recoverable
    assert not sign_in.renewals()
    sign_in(left=15 * MINUTE)  # the person does so
    assert (await provider.fetch()).provider == "login"


@pytest.mark.slow
@pytest.mark.parametrize("left", [15 * MINUTE, -MINUTE], ids=["good keys", "old keys"])
@pytest.mark.parametrize("bad", [None, "", " ", 5, ["sEcReT"]], ids=repr)
@pytest.mark.parametrize("field", ["clientId", "refreshToken", "dpopKey", "accessToken"])
async def test_a_sign_in_without_a_field(
    sign_in: SignIn, context: Context, field: str, bad: object, left: timedelta
) -> None:
    path = sign_in(left, **{field: bad})
    words = f"{path} has no usable {field}", f"run {COMMAND}"
    await failure(from_login("me", context=context), LoginRequired, *words)
    assert not sign_in.renewals()


async def test_all_that_is_missing_is_told(sign_in: SignIn, context: Context) -> None:
    sign_in(clientId=None, refreshToken=None)
    await failure(from_login("me", context=context), LoginRequired, "clientId and no refreshToken:")


@pytest.mark.slow
@pytest.mark.parametrize("bad", [None, "", 5, "tomorrow"], ids=repr)
@pytest.mark.parametrize("field", ["accessKeyId", "secretAccessKey", "sessionToken", "expiresAt"])
async def test_incomplete_keys_are_renewed(sign_in: SignIn, context: Context, field: str, bad: object) -> None:
    sign_in(left=15 * MINUTE)
    if bad == "tomorrow" and field != "expiresAt":
        bad = None
    token = sign_in.token
    token["accessToken"][field] = bad
    sign_in.write(token)
    credentials = await from_login("me", context=context)()
    assert credentials.access_key_id == sign_in.token["accessToken"]["accessKeyId"]
    assert credentials.account_id == ACCOUNT
    assert sign_in.renewals() == 1


@pytest.mark.parametrize("what", OTHER_KEYS)
async def test_a_key_that_is_none(sign_in: SignIn, context: Context, what: str) -> None:
    path = sign_in(dpopKey=f"{secret('key')}\n{other_keys()[what]}")
    words = str(path), "ended at 20", "its dpopKey is no P-256 key", f"run {COMMAND}"
    error = await failure(from_login("me", context=context), LoginRequired, *words)
    assert "PRIVATE" not in str(error)
    assert not sign_in.renewals()


# Renewal.


async def test_keys_that_have_ended_are_renewed(sign_in: SignIn, context: Context) -> None:
    sign_in()
    before = sign_in.token
    credentials = await from_login("me", context=context)()
    after = sign_in.token
    assert credentials.access_key_id == after["accessToken"]["accessKeyId"] != before["accessToken"]["accessKeyId"]
    assert credentials.secret_access_key == after["accessToken"]["secretAccessKey"]
    assert credentials.session_token == after["accessToken"]["sessionToken"]
    assert credentials.account_id == ACCOUNT
    assert credentials.expiration is not None
    assert 14 * MINUTE < credentials.expiration - datetime.now(UTC) <= 15 * MINUTE
    (seen,) = sign_in.aws.requests
    assert (seen.method, seen.path, seen.headers["Content-Type"]) == ("POST", SIGN_IN, "application/json")
    assert json.loads(seen.body) == {
        "clientId": before["clientId"],
        "grantType": "refresh_token",
        "refreshToken": before["refreshToken"],
    }


async def test_from_five_minutes_before_the_end_and_not_earlier(sign_in: SignIn, context: Context) -> None:
    with time_machine.travel(START, tick=False) as clock:
        sign_in(left=15 * MINUTE)
        provider = from_login("me", context=context)
        first = await provider()
        clock.shift(10 * MINUTE - timedelta(seconds=1))
        assert await provider.fetch() == first
        assert not sign_in.renewals()
        clock.shift(2)
        assert await provider.fetch() != first
        assert sign_in.renewals() == 1


async def test_again_and_again(sign_in: SignIn, context: Context, home: Path, environ: dict[str, str]) -> None:
    """As a program that runs for hours, and as another that is started anew each time."""
    with time_machine.travel(START, tick=False) as clock:
        sign_in(left=15 * MINUTE)
        provider, keys = from_login("me", context=context), set[str]()
        for number in range(1, 6):
            clock.shift(11 * MINUTE)
            if number % 2:
                keys.add((await provider.fetch()).access_key_id)
            else:
                other = from_login("me", context=Context(environ, home=home))
                keys.add((await other()).access_key_id)
            assert sign_in.renewals() == number
        assert len(keys) == 5
        clock.shift(MINUTE)
        assert (await provider.fetch()).access_key_id in keys


async def test_a_provider_renews_by_itself(sign_in: SignIn, context: Context) -> None:
    with time_machine.travel(START, tick=False) as clock:
        sign_in(left=15 * MINUTE)
        provider = from_login("me", context=context)
        first = await provider()
        clock.shift(11 * MINUTE + timedelta(seconds=1))  # behind the latest advisory opening
        assert await provider() is first
        await until(lambda: provider.status.successes == 2)
        assert await provider() != first
        assert sign_in.renewals() == 1


async def test_what_is_written_back(sign_in: SignIn, context: Context) -> None:
    path = sign_in(someday={"x": [1, "é"]}, signInRegion="eu-west-1")
    path.chmod(0o600)
    old = sign_in.token
    old["accessToken"]["alsoKept"] = True
    sign_in.write(old)
    await from_login("me", context=context)()
    new = sign_in.token
    assert path.stat().st_mode & 0o777 == 0o600
    for name in ("tokenType", "clientId", "idToken", "dpopKey", "someday", "signInRegion"):
        assert new[name] == old[name]
    assert new["accessToken"]["accountId"] == ACCOUNT
    assert new["accessToken"]["alsoKept"] is True
    assert sign_in.aws.sign_in.login_tokens.keys() == {new["refreshToken"]}
    ends = datetime.strptime(new["accessToken"]["expiresAt"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 14 * MINUTE < ends - datetime.now(UTC) <= 15 * MINUTE
    assert not list(path.parent.glob("*.tmp"))


async def test_an_answer_without_a_refresh_token_leaves_the_old_one(sign_in: SignIn, context: Context) -> None:
    sign_in()
    old = sign_in.token
    keys = {"accessKeyId": "ASIALOGIN00000001", "secretAccessKey": secret(), "sessionToken": secret()}
    sign_in.aws.script(SIGN_IN, json_answer({"accessToken": keys, "expiresIn": 900}))
    assert (await from_login("me", context=context)()).access_key_id == "ASIALOGIN00000001"
    assert sign_in.token["refreshToken"] == old["refreshToken"]


async def test_a_hundred_callers_renew_once(sign_in: SignIn, context: Context) -> None:
    sign_in()
    providers = [from_login("me", context=context) for _ in range(100)]
    got = await asyncio.gather(*(provider() for provider in providers))
    assert len({credentials.access_key_id for credentials in got}) == 1
    assert sign_in.renewals() == 1


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("middlewares", [False, True])
async def test_a_clock_that_is_an_hour_off(
    sign_in: SignIn, context: Context, hours: int, middlewares: bool
) -> None:
    async def pass_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await handler(request)

    sign_in.aws.clock = timedelta(hours=hours)
    sign_in(left=timedelta(hours=-2))
    client = ClientConfig(middlewares=[pass_on] if middlewares else [])
    provider = from_login("me", client=client, context=context)
    credentials = await provider()
    assert credentials.expiration is not None
    there = datetime.now(UTC) + sign_in.aws.clock
    assert 14 * MINUTE < credentials.expiration - there <= 15 * MINUTE
    assert abs(context.clock.offset - hours * 3600) < 5
    refused, accepted = sign_in.proofs()
    assert abs(accepted["iat"] - refused["iat"] - hours * 3600) < 5
    assert await provider() is credentials
    sign_in(left=timedelta(hours=-2))
    await provider.fetch()
    assert sign_in.renewals() == 3  # once learnt, the time is right at once


async def test_a_clock_that_is_right_is_not_put_wrong(sign_in: SignIn, context: Context) -> None:
    sign_in()
    sign_in.aws.always(SIGN_IN, json_error(400, "ValidationException", error="INVALID_REQUEST", message="No."))
    words = "INVALID_REQUEST: No.", "check this machine's clock"
    error = await failure(from_login("me", context=context), ServiceRefused, *words)
    assert (error.status, error.code) == (400, "INVALID_REQUEST")
    assert sign_in.renewals() == 1
    assert context.clock.offset == 0


async def test_a_portal_that_lies_about_the_time_is_not_believed(sign_in: SignIn, context: Context) -> None:
    sign_in()
    sign_in.aws.always(SIGN_IN, Answer(403, "<html>", {"Date": "Sat, 01 Jan 2000 00:00:00 GMT"}))
    await failure(from_login("me", context=context), ServiceRefused, "HTTP 403", "a proxy in between")
    assert context.clock.offset == 0


async def test_a_refusal_without_a_known_reason(sign_in: SignIn, context: Context) -> None:
    sign_in()
    sign_in.aws.always(SIGN_IN, json_error(403, "AccessDeniedException", error="MOON_PHASE", message="No."))
    await failure(from_login("me", context=context), ServiceRefused, "AccessDenied", "sign in again with aws login")


@pytest.mark.slow
async def test_each_attempt_has_a_proof_of_its_own(sign_in: SignIn, context: Context) -> None:
    with time_machine.travel(START, tick=True):
        sign_in()
        sign_in.aws.script(SIGN_IN, Answer(500), Answer(429, headers={"Retry-After": "1"}))
        await from_login("me", context=context)()
        first, second, third = sign_in.proofs()
    assert len({first["jti"], second["jti"], third["jti"]}) == 3
    assert third["iat"] > second["iat"] >= first["iat"] >= START


# Whom it asks.


async def asked(provider_of: Callable[[ClientConfig], Provider], region: str | None = None) -> str:
    """The host that a renewal would go to."""
    hosts: list[str | None] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        hosts.append(request.url.host)
        raise aiohttp.ClientConnectionError

    await failure(provider_of(ClientConfig(region=region, max_attempts=1, middlewares=[note])), SourceUnavailable)
    (host,) = hosts
    return str(host)


async def test_the_region(sign_in: SignIn, context: Context, environ: dict[str, str], home: Path) -> None:
    def me(client: ClientConfig) -> Provider:
        return from_login("me", client=client, context=context)

    environ.clear()
    environ |= {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}
    sign_in(signInRegion="us-gov-west-1")
    (home / ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\nregion = eu-west-3\n")
    assert await asked(me, "eu-north-1") == "eu-north-1.signin.aws.amazon.com"
    assert await asked(me) == "us-gov-west-1.signin.amazonaws-us-gov.com"
    sign_in.write({name: value for name, value in sign_in.token.items() if name != "signInRegion"})
    assert await asked(me) == "eu-west-1.signin.aws.amazon.com"
    del environ["AWS_REGION"]
    assert await asked(me) == "eu-west-2.signin.aws.amazon.com"
    del environ["AWS_DEFAULT_REGION"]
    assert await asked(me) == "eu-west-3.signin.aws.amazon.com"
    (home / ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\n")
    assert await asked(me) == "us-east-1.signin.aws.amazon.com"


@pytest.mark.parametrize("region", ["evil.example/", "a b", "x\r\ny"])
async def test_a_cache_cannot_send_the_token_elsewhere(sign_in: SignIn, context: Context, region: str) -> None:
    sign_in(signInRegion=region)
    await failure(from_login("me", context=context), InvalidConfiguration, "is not a region")
    assert not sign_in.renewals()


@pytest.mark.parametrize("where", ["variable", "slash", "general variable", "profile", "services", "code"])
async def test_the_endpoint(
    sign_in: SignIn, context: Context, environ: dict[str, str], home: Path, where: str
) -> None:
    sign_in()
    url, more, client = sign_in.aws.url, "", None
    environ.clear()
    match where:
        case "variable":
            environ["AWS_ENDPOINT_URL_SIGNIN"] = url
        case "slash":
            environ["AWS_ENDPOINT_URL_SIGNIN"] = f"{url}/"
        case "general variable":
            environ["AWS_ENDPOINT_URL"] = url
        case "profile":
            more = f"endpoint_url = {url}\n"
        case "services":
            more = f"services = s\n[services s]\nsignin =\n  endpoint_url = {url}\n"
        case _:
            client = ClientConfig(endpoint_url=url)
    (home / ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\n{more}")
    assert (await from_login("me", client=client, context=context)()).provider == "login"
    assert sign_in.renewals() == 1


async def test_middlewares(sign_in: SignIn, context: Context) -> None:
    """They see every attempt, and what they make of the request is what the proof is about."""

    async def tag(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["X-Tag"] = "mine"
        request.url = request.url.with_query(a="b")
        return await handler(request)

    sign_in()
    sign_in.aws.script(SIGN_IN, Answer(503))
    assert (await from_login("me", client=ClientConfig(middlewares=[tag]), context=context)()).provider == "login"
    assert [seen.headers["X-Tag"] for seen in sign_in.aws.requests] == ["mine", "mine"]
    assert {proof["htu"] for proof in sign_in.proofs()} == {f"{sign_in.aws.url}{SIGN_IN}"}


async def test_in_a_profile(sign_in: SignIn, context: Context) -> None:
    sign_in()
    calls: list[str] = []

    async def spy(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        calls.append(request.url.path)
        return await handler(request)

    client = ClientConfig(region="eu-west-1", endpoint_url="http://sts.invalid", middlewares=[spy])
    credentials = await from_ini("me", client=client, context=context)()
    assert (credentials.provider, credentials.account_id, calls) == ("login", ACCOUNT, [SIGN_IN])
    sign_in.path.unlink()
    await failure(from_ini("me", context=context), LoginRequired, COMMAND)


# AWS Sign-In says no.


ENDED = {
    "TOKEN_EXPIRED": (401, "the session has ended"),
    "USER_CREDENTIALS_CHANGED": (403, "the password or another credential of the person has changed"),
    "AUTHCODE_EXPIRED": (403, "the sign-in was not finished in time"),
}


@pytest.mark.parametrize("code", ENDED)
async def test_a_session_that_has_ended(sign_in: SignIn, context: Context, code: str) -> None:
    status, reason = ENDED[code]
    sign_in()
    sign_in.aws.sign_in.refusal = code
    provider = from_login("me", context=context)
    error = await failure(provider, LoginRequired, code, "127.0.0.1", reason, COMMAND)
    assert not error.recoverable
    assert [text for _, text in ENDED.values() if text in str(error)] == [reason]
    assert sign_in.renewals() == 1
    assert status in (401, 403)


async def test_a_refresh_token_that_was_used_elsewhere(sign_in: SignIn, context: Context) -> None:
    sign_in(refreshToken=secret("refresh"))
    await failure(from_login("me", context=context), LoginRequired, "TOKEN_EXPIRED", COMMAND)


@pytest.mark.parametrize("told", ["header and body", "body", "error alone"])
async def test_the_reason_counts_wherever_the_error_is_named(sign_in: SignIn, context: Context, told: str) -> None:
    sign_in()
    body = {"__type": "com.amazon.signin#AccessDeniedException", "error": "TOKEN_EXPIRED", "message": "No."}
    if told == "error alone":
        del body["__type"]
    headers = {"x-amzn-ErrorType": "AccessDeniedException"} if told == "header and body" else {}
    sign_in.aws.always(SIGN_IN, Answer(401, json.dumps(body), headers))
    await failure(from_login("me", context=context), LoginRequired, "TOKEN_EXPIRED: No.", COMMAND)


async def test_a_permission_that_is_missing(sign_in: SignIn, context: Context) -> None:
    sign_in()
    sign_in.aws.sign_in.refusal = "INSUFFICIENT_PERMISSIONS"
    words = "INSUFFICIENT_PERMISSIONS: Access denied", "permission for signin:CreateOAuth2Token"
    error = await failure(from_login("me", context=context), ServiceRefused, *words)
    assert (error.code, error.status, error.request_id) == ("INSUFFICIENT_PERMISSIONS", 403, "r-3")
    assert (error.recoverable, error.try_next_link) == (False, False)
    assert "aiocreds login --profile" not in str(error), "to sign in again would not help"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (json_error(403, "AccessDeniedException", message="No."), ["AccessDeniedException: No."]),
        (json_error(403, "AccessDeniedException", error="SOMETHING_NEW", message="No."), ["No."]),
        (json_error(404, "NotFoundException"), ["NotFoundException"]),
        (Answer(403, "<html>sEcReT</html>"), ["HTTP 403", "proxy"]),
        (Answer(404), ["HTTP 404", "endpoint"]),
        (Answer(302, headers={"Location": "https://example.com/"}), ["HTTP 302", "proxy"]),
    ],
)
async def test_any_other_no(sign_in: SignIn, context: Context, answer: Answer, words: list[str]) -> None:
    sign_in()
    sign_in.aws.always(SIGN_IN, answer)
    words = ["AWS Sign-In (127.0.0.1", "refused to renew the sign-in", *words]
    error = await failure(from_login("me", context=context), ServiceRefused, *words)
    assert (error.status, error.recoverable) == (answer.status, True)
    assert sign_in.renewals() == 1


async def test_an_answer_that_quotes_the_token(sign_in: SignIn, context: Context) -> None:
    sign_in()
    message = f"bad token {sign_in.token['refreshToken']}"
    sign_in.aws.always(SIGN_IN, json_error(403, "AccessDeniedException", error="NEW", message=message))
    await failure(from_login("me", context=context), ServiceRefused, "bad token ****")


# AWS Sign-In is in trouble.


TROUBLE: dict[str, tuple[Script, str]] = {
    "500": (Answer(500, "sEcReT"), "HTTP 500"),
    "503": (Answer(503, "<html>sEcReT"), "HTTP 503"),
    "429": (json_error(429, "TooManyRequestsError", error="INVALID_REQUEST", message="sEcReT"), "HTTP 429"),
    "throttling": (json_error(400, "ThrottlingException", message="sEcReT"), "ThrottlingException"),
    "reset": (Reset(), "closed the connection"),
    "half": (Answer(body='{"accessToken": "sEcReT"}', cut=True), "broke off"),
    "silence": (Hang(), "timed out"),
}


def hasty(context: Context) -> Provider:
    return from_login("me", client=ClientConfig(connect_timeout=0.2, read_timeout=0.2), context=context)


@pytest.mark.slow
@pytest.mark.parametrize("what", TROUBLE)
async def test_trouble(sign_in: SignIn, context: Context, what: str) -> None:
    script, told = TROUBLE[what]
    path = sign_in()
    before = path.read_bytes()
    sign_in.aws.always(SIGN_IN, script)
    error = await failure(hasty(context), SourceUnavailable, "127.0.0.1", told, "AWS Sign-In", "renew the sign-in")
    assert error.recoverable
    assert sign_in.renewals() == 3
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("what", TROUBLE)
async def test_trouble_that_passes(sign_in: SignIn, context: Context, what: str) -> None:
    sign_in()
    sign_in.aws.script(SIGN_IN, TROUBLE[what][0], TROUBLE[what][0])
    assert (await hasty(context)()).provider == "login"
    assert sign_in.renewals() == 3


KEYS = {"accessKeyId": "ASIALOGIN00000002", "secretAccessKey": MARK, "sessionToken": MARK}
GARBAGE: dict[str, tuple[object, str]] = {
    "nothing": (b"", "nothing"),
    "html": (b"<html>sEcReT</html>", "HTML"),
    "cut short": (b'{"accessToken": {"secretAccessKey": "sEcReT', "cut short"),
    "10 MB": (b"sEcReT" * 2_500_000, "64 KiB"),
    "array": (["sEcReT"], "a JSON array"),
    "empty": ({}, "without usable keys"),
    "no keys": ({"expiresIn": 900, "refreshToken": MARK}, "without usable keys"),
    "a text for keys": ({"accessToken": MARK, "expiresIn": 900}, "without usable keys"),
    "no secret": ({"accessToken": {**KEYS, "secretAccessKey": None}, "expiresIn": 900}, "without usable keys"),
    "a blank token": ({"accessToken": {**KEYS, "sessionToken": " "}, "expiresIn": 900}, "without usable keys"),
    "a number for a key": ({"accessToken": {**KEYS, "accessKeyId": 5}, "expiresIn": 900}, "without usable keys"),
    "no life": ({"accessToken": KEYS}, "expiresIn"),
    "a text for a life": ({"accessToken": KEYS, "expiresIn": "900"}, "expiresIn"),
    "a life of true": ({"accessToken": KEYS, "expiresIn": True}, "expiresIn"),
    "a life of 0": ({"accessToken": KEYS, "expiresIn": 0}, "expiresIn"),
    "a life of -1": ({"accessToken": KEYS, "expiresIn": -1}, "expiresIn"),
    "a life of 1e400": (b'{"accessToken": {}, "expiresIn": 1e400}', "expiresIn"),
    "a life in milliseconds": ({"accessToken": KEYS, "expiresIn": 900_000}, "expiresIn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage(sign_in: SignIn, context: Context, what: str) -> None:
    answer, told = GARBAGE[what]
    path = sign_in()
    before = path.read_bytes()
    sign_in.aws.always(SIGN_IN, Answer(body=answer) if isinstance(answer, bytes) else json_answer(answer))
    await failure(from_login("me", context=context), SourceUnavailable, told, "AWS Sign-In")
    assert path.read_bytes() == before


# Keys that are still good.


@pytest.mark.parametrize("what", ["trouble", "no"])
async def test_a_failed_renewal_does_not_take_away_good_keys(
    sign_in: SignIn, context: Context, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with time_machine.travel(START, tick=False) as clock:
        path = sign_in(left=4 * MINUTE)
        if what == "no":
            sign_in.aws.sign_in.refusal = "USER_CREDENTIALS_CHANGED"
        else:
            sign_in.aws.down(SIGN_IN)
        provider = from_login("me", context=context)
        credentials = await provider()
        assert credentials.access_key_id == sign_in.token["accessToken"]["accessKeyId"]
        (record,) = warnings_in(caplog)
        assert record.levelno == (logging.ERROR if what == "no" else logging.WARNING)
        for word in (str(path), "stays in use for 240 s", COMMAND if what == "no" else "HTTP 503"):
            assert word in record.getMessage()
        asked = sign_in.renewals()
        await provider.fetch()
        assert sign_in.renewals() == asked, "it is left alone for a while"
        clock.shift(5 * MINUTE)
        if what == "no":
            await failure(provider, LoginRequired, "USER_CREDENTIALS_CHANGED", COMMAND)
        else:
            sign_in.aws.up()
            assert await provider.fetch() != credentials


async def test_a_person_signs_in_again(sign_in: SignIn, context: Context) -> None:
    sign_in()
    sign_in.aws.sign_in.refusal = "TOKEN_EXPIRED"
    provider = from_login("me", context=context)
    await failure(provider, LoginRequired, COMMAND)
    sign_in.aws.sign_in.refusal = None
    sign_in(left=15 * MINUTE)
    assert (await provider.fetch()).access_key_id == sign_in.token["accessToken"]["accessKeyId"]


# The library cryptography.


PROGRAM = """
import asyncio, json, sys, threading, time
import aiocreds

loaders = set()

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            loaders.add(threading.current_thread() is threading.main_thread() and name)
            if {missing}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

async def main():
    sys.meta_path.insert(0, Watch())
    try:
        credentials = await aiocreds.from_login("me")()
        said = credentials.access_key_id
    except aiocreds.CredentialsError as error:
        said = f"{{type(error).__name__}} {{error}}"
    loaded = sorted({{"aiohttp", "cryptography"}} & set(sys.modules))
    print(json.dumps({{"said": said, "loaded": loaded, "on the loop": sorted(filter(None, loaders))}}))

asyncio.run(main())
"""


async def run(home: Path, environ: dict[str, str], *, missing: bool = False, path: str = "") -> dict[str, Any]:
    """A program with a process of its own; ``missing``: to which cryptography is not installed."""
    folders = ":".join(filter(None, [path, str(Path(__file__).parents[3] / "src"), *sys.path]))
    program = textwrap.dedent(PROGRAM).format(missing=missing)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        env={**environ, "HOME": str(home), "PYTHONPATH": folders},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    told: dict[str, Any] = json.loads(out)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("left", [15 * MINUTE, -MINUTE], ids=["good keys", "old keys"])
async def test_without_cryptography(sign_in: SignIn, environ: dict[str, str], home: Path, left: timedelta) -> None:
    """The first fetch tells, whatever is cached: a mistake in a deployment shows at once."""
    sign_in(left)
    told = await run(home, environ, missing=True)
    assert told["said"].startswith("InvalidConfiguration from_login: profile 'me' has a login_session")
    for word in (f"{home}/.aws/config:2", "cryptography, which is not installed", "pip install 'aiocreds[login]'"):
        assert word in told["said"]
    assert told["loaded"] == []
    assert not sign_in.renewals()


@pytest.mark.slow
async def test_without_cryptography_other_profiles_work(context: Context, home: Path) -> None:
    """Nobody needs it who has not signed in so."""
    keys = f"aws_access_key_id = AKIAOTHER\naws_secret_access_key = {secret()}\n"
    (home / ".aws/config").write_text(f"[profile me]\n{keys}")
    told = await run(home, {}, missing=True)
    assert told["said"].startswith("CredentialsNotFound")


@pytest.mark.slow
async def test_with_a_broken_cryptography(
    sign_in: SignIn, environ: dict[str, str], home: Path, tmp_path: Path
) -> None:
    (tmp_path / "lib/cryptography").mkdir(parents=True)
    (tmp_path / "lib/cryptography/__init__.py").write_text("raise ImportError('libssl.so.3 is missing')\n")
    sign_in()
    told = await run(home, environ, path=str(tmp_path / "lib"))
    for word in ("InvalidConfiguration", "cryptography", "libssl.so.3 is missing", "pip install 'aiocreds[login]'"):
        assert word in told["said"]


@pytest.mark.slow
async def test_nothing_is_loaded_for_keys_that_are_good(
    sign_in: SignIn, environ: dict[str, str], home: Path
) -> None:
    sign_in(left=15 * MINUTE)
    told = await run(home, environ)
    assert told["said"] == sign_in.token["accessToken"]["accessKeyId"]
    assert told["loaded"] == []


@pytest.mark.slow
async def test_cryptography_is_loaded_in_a_thread(sign_in: SignIn, environ: dict[str, str], home: Path) -> None:
    sign_in()
    told = await run(home, environ)
    assert told["said"] == sign_in.token["accessToken"]["accessKeyId"]
    assert told["loaded"] == ["aiohttp", "cryptography"]
    assert not told["on the loop"]


# Cut short.


@pytest.mark.parametrize(
    ("client", "least"), [(None, 4), pytest.param(ClientConfig(middlewares=[pass_on]), 10, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_at_any_moment(
    sign_in: SignIn, context: Context, client: ClientConfig | None, least: int
) -> None:
    """A renewal that has begun is finished: its refresh token may be used up, and the next is in its answer."""
    number = 0
    for number in itertools.count(1):
        sign_in()
        before = sign_in.renewals()
        provider = from_login("me", client=client, context=context)
        if not await cancel_at(provider, number):
            break
        await until(lambda: not renewing())
        assert (await provider()).access_key_id == sign_in.token["accessToken"]["accessKeyId"]
        assert sign_in.renewals() == before + 1
        assert sign_in.token["refreshToken"] in sign_in.aws.sign_in.login_tokens
        assert {path.suffix for path in sign_in.path.parent.iterdir()} <= {".json", ".lock"}
    assert number > least


@pytest.mark.parametrize(
    ("client", "least"), [(None, 4), pytest.param(ClientConfig(middlewares=[pass_on]), 10, marks=pytest.mark.slow)]
)
async def test_cancelled_while_it_fails(
    sign_in: SignIn, context: Context, monkeypatch: pytest.MonkeyPatch, client: ClientConfig | None, least: int
) -> None:
    monkeypatch.setattr("aiocreds._token_cache.cache.REFUSAL_BACKOFF", (0.0, 0.0))
    monkeypatch.setattr("aiocreds._token_cache.cache.PAUSE", 0.001)
    number = 0
    for number in itertools.count(1):
        sign_in()
        before = sign_in.path.read_bytes()
        refusal = json_error(403, "AccessDeniedException", error="TOKEN_EXPIRED")
        sign_in.aws.always(SIGN_IN, refusal)
        try:
            await cancel_at(from_login("me", client=client, context=context), number)
        except LoginRequired:
            break
        await until(lambda: not renewing())
        assert sign_in.path.read_bytes() == before
        sign_in.aws.up()
        assert (await from_login("me", context=context)()).provider == "login"
    assert number > least
