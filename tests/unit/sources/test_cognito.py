"""Credentials from an Amazon Cognito identity pool.

=================================================  ==========================================================
the logins, the cache, or Cognito                  the caller gets
=================================================  ==========================================================
a login that is no text, blank, not one line       InvalidConfiguration: which login
a login's function that raises                     SourceUnavailable with its cause, or its CredentialsError
a region that cannot be one                        InvalidConfiguration
a cache that raises, or gives what is no id        credentials, and a warning in the log
a cache with an id that is gone                    ServiceRefused; the id is forgotten, and the next fetch works
Cognito refuses the logins, the id, the pool       ServiceRefused: code, identity or pool, what to check
Cognito cannot reach the provider, is busy, 5xx    three attempts, then SourceUnavailable
Cognito hangs, or answers with anything else       SourceUnavailable: host, what is missing
credentials that have expired                      SourceUnavailable: since when
=================================================  ==========================================================
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from aiocreds import (
    ClientConfig,
    Context,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    from_cognito_identity,
    from_cognito_identity_pool,
)
from aiocreds.sources.cognito import credentials as source
from tests.helpers.cancelling import moments_of
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Reset, Script, json_answer, json_error
from tests.helpers.representatives import slow_but
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import MARK, assert_quiet, secret

if TYPE_CHECKING:
    from pathlib import Path

    import time_machine

    from aiocreds import Provider
    from tests.helpers.loopback_aws import Seen

POOL = "eu-central-1:1699ebc0-7900-4099-b910-2df94f52a030"
GUEST_KEY = f"aws:cognito-identity-credentials:{POOL}:ANONYMOUS"
GOOGLE, FACEBOOK = "accounts.google.com", "graph.facebook.com"
CUSTOM_ROLE = "arn:aws:iam::123456789012:role/custom"
HOUR = 3600.0


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> source.MemoryCache:
    """The cache that all pools of a process share, new for each test."""
    cache = source.MemoryCache()
    monkeypatch.setattr(source, "SHARED", cache)
    return cache


class Cache:
    """A cache of the user's own, which notes what it is asked."""

    def __init__(self, **ids: str) -> None:
        self.ids = ids
        self.asked: list[tuple[str, ...]] = []

    async def get(self, key: str) -> str | None:
        await asyncio.sleep(0)
        self.asked.append(("get", key))
        return self.ids.get(key)

    async def put(self, key: str, value: str) -> None:
        await asyncio.sleep(0)
        self.asked.append(("put", key, value))
        self.ids[key] = value

    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)
        self.asked.append(("delete", key))
        self.ids.pop(key, None)

    @property
    def verbs(self) -> list[str]:
        return [verb for verb, *_ in self.asked]


def pool(context: Context, **arguments: Any) -> Provider:
    return from_cognito_identity_pool(identity_pool_id=POOL, context=context, **arguments)


def login(aws: Loopback, provider: str = GOOGLE) -> str:
    """A login token that Cognito knows."""
    token = secret("login")
    aws.sign_in.logins.setdefault(provider, set()).add(token)
    return token


async def guest(aws: Loopback, context: Context) -> str:
    """The id of a guest of the pool."""
    identity_id = (await pool(context, cache=Cache())()).identity_id
    aws.requests.clear()
    assert identity_id
    return identity_id


def actions(aws: Loopback) -> list[str]:
    return [seen.headers["X-Amz-Target"].rpartition(".")[2] for seen in aws.requests]


def bodies(aws: Loopback) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in aws.requests]


GET_ID, GET_CREDENTIALS = "GetId", "GetCredentialsForIdentity"


# What is asked, and what comes of it.


async def test_a_guest(aws: Loopback, context: Context) -> None:
    credentials = await pool(context)()
    assert credentials.access_key_id.startswith("ASIALOOPBACK")
    assert credentials.identity_id in aws.sign_in.identities.values()
    assert credentials.provider == "cognito"
    assert credentials.session_token
    assert credentials.account_id is None
    assert credentials.may_outlive_expiry
    assert credentials.expiration is not None
    assert credentials.expiration - datetime.now(UTC) == pytest.approx(aws.lifetime, abs=timedelta(seconds=60))
    assert actions(aws) == [GET_ID, GET_CREDENTIALS]
    assert bodies(aws) == [{"IdentityPoolId": POOL}, {"IdentityId": credentials.identity_id}]
    assert not [seen for seen in aws.requests if "Authorization" in seen.headers]


async def test_one_identity(aws: Loopback, context: Context) -> None:
    identity_id = await guest(aws, context)
    credentials = await from_cognito_identity(identity_id=identity_id, context=context)()
    assert (credentials.identity_id, credentials.provider) == (identity_id, "cognito")
    assert actions(aws) == [GET_CREDENTIALS]


@pytest.mark.slow
async def test_every_parameter_arrives_as_botocore_sends_it(aws: Loopback, context: Context) -> None:
    logins = {GOOGLE: login(aws), FACEBOOK: login(aws, FACEBOOK)}
    session = botocore.session.Session()
    client: Any = cast("Any", session).create_client(
        "cognito-identity",
        region_name="eu-central-1",
        endpoint_url=aws.url,
        config=Config(signature_version=UNSIGNED),
    )
    answered = await asyncio.to_thread(client.get_id, IdentityPoolId=POOL, AccountId="123456789012", Logins=logins)
    identity_id = answered["IdentityId"]
    ask = client.get_credentials_for_identity
    await asyncio.to_thread(ask, IdentityId=identity_id, Logins=logins, CustomRoleArn=CUSTOM_ROLE)
    await asyncio.to_thread(client.close)
    await pool(context, account_id="123456789012", logins=logins, custom_role_arn=CUSTOM_ROLE)()
    credentials = await from_cognito_identity(
        identity_id=identity_id, logins=logins, custom_role_arn=CUSTOM_ROLE, context=context
    )()
    assert credentials.account_id == CUSTOM_ROLE.split(":")[4]

    def told(seen: Seen) -> tuple[object, ...]:
        names = ("X-Amz-Target", "Content-Type", "Authorization")
        return seen.method, seen.path, *map(seen.headers.get, names), json.loads(seen.body)

    get_id, get_credentials, *ours = map(told, aws.requests)
    assert ours == [get_id, get_credentials, get_credentials]
    assert get_id[4] is None
    assert get_id[2] == "AWSCognitoIdentityService.GetId"


@pytest.mark.parametrize(
    ("by", "host"),
    [
        ({"client": "sa-east-1"}, "cognito-identity.sa-east-1.amazonaws.com"),
        ({}, "cognito-identity.eu-central-1.amazonaws.com"),
        ({"id": "cn-north-1:x"}, "cognito-identity.cn-north-1.amazonaws.com.cn"),
        ({"id": "x"}, "cognito-identity.eu-west-1.amazonaws.com"),
    ],
)
async def test_the_region(home: Path, by: dict[str, str], host: str) -> None:
    asked: list[str] = []

    async def stop(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        asked.append(str(request.url.host))
        raise aiohttp.ClientConnectionError

    client = ClientConfig(region=by.get("client"), middlewares=[stop], max_attempts=1)
    context, identity = Context(environ={"AWS_REGION": "eu-west-1"}, home=home), by.get("id", POOL)
    providers = (
        from_cognito_identity(identity_id=identity, client=client, context=context),
        from_cognito_identity_pool(identity_pool_id=identity, client=client, context=context),
    )
    for provider in providers:
        await failure(provider, SourceUnavailable, host, identity)
    assert asked == [host, host]


@pytest.mark.parametrize("region", ["", " ", "evil.com/x", "eu central", "user@host"])
async def test_a_region_that_cannot_be_one(home: Path, region: str) -> None:
    context = Context(environ={}, home=home)
    await failure(from_cognito_identity(identity_id=f"{region}:x", context=context), InvalidConfiguration, "region")
    provider = from_cognito_identity_pool(identity_pool_id=f"{region}:x", context=context)
    await failure(provider, InvalidConfiguration, "region")


async def test_an_endpoint_and_middlewares_given_in_code(aws: Loopback, home: Path) -> None:
    async def mark(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["X-Mark"] = "x"
        return await handler(request)

    client = ClientConfig(endpoint_url=aws.url, middlewares=[mark])
    await pool(Context(environ={}, home=home), client=client)()
    assert [seen.headers.get("X-Mark") for seen in aws.requests] == ["x", "x"]


def test_wrong_arguments_fail_right_there() -> None:
    wrong: Any = from_cognito_identity_pool
    with pytest.raises(TypeError, match="identity_pool_id"):
        wrong()


# The logins.


async def test_logins_are_asked_once_at_each_fetch(aws: Loopback, context: Context) -> None:
    asked = 0

    async def google() -> str:
        nonlocal asked
        asked += 1
        return f" {login(aws)}\n"

    fixed = login(aws, FACEBOOK)
    logins: dict[str, Any] = {GOOGLE: google, FACEBOOK: fixed}
    provider = pool(context, logins=logins)
    for count in (1, 2, 3):
        aws.requests.clear()
        await provider.fetch()
        assert asked == count
        told = [body["Logins"] for body in bodies(aws)]
        assert told[0] == told[1]
        assert told[0][FACEBOOK] == fixed
        assert told[0][GOOGLE] == told[0][GOOGLE].strip()
    await from_cognito_identity(
        identity_id=(await provider()).identity_id or "", logins=logins, context=context
    ).fetch()
    assert asked == 4
    assert len(aws.sign_in.logins[GOOGLE]) == 4


NO_TOKENS: list[tuple[object, str]] = [
    (None, "is NoneType"),
    (b"sEcReT", "is bytes"),
    ("", "is blank"),
    (" \n", "is blank"),
    (f"{MARK}\n{MARK}", "one line"),
]


@pytest.mark.parametrize(("given", "words"), NO_TOKENS, ids=ascii)
async def test_a_login_that_is_none(aws: Loopback, context: Context, given: Any, words: str) -> None:
    async def function() -> Any:
        return given

    identity_id = await guest(aws, context)
    for token in (given, function):
        logins = {FACEBOOK: login(aws, FACEBOOK), GOOGLE: token}
        await failure(pool(context, logins=logins), InvalidConfiguration, f"the login {GOOGLE!r}", words)
        provider = from_cognito_identity(identity_id=identity_id, logins=logins, context=context)
        await failure(provider, InvalidConfiguration, f"the login {GOOGLE!r}", words)
    assert not aws.requests


async def test_a_login_that_raises(aws: Loopback, context: Context) -> None:
    async def broken() -> str:
        raise OSError("their words")

    async def signed_out() -> str:
        raise LoginRequired("run: corp login")

    logins = {FACEBOOK: login(aws, FACEBOOK), GOOGLE: broken}
    error = await failure(pool(context, logins=logins), SourceUnavailable, "raised OSError", "in broken")
    assert isinstance(error.__cause__, OSError)
    assert "their words" not in str(error)
    await failure(pool(context, logins={GOOGLE: signed_out}), LoginRequired, "run: corp login")
    provider = pool(context, logins={GOOGLE: cast("Any", lambda: secret())})
    await failure(provider, InvalidConfiguration, GOOGLE, "async def")
    assert not aws.requests


# The identity ids.


async def test_a_guest_is_the_same_one_next_time(aws: Loopback, context: Context) -> None:
    first, second = pool(context), pool(context, logins={})
    identities = {(await provider.fetch()).identity_id for provider in (first, second, first)}
    assert len(identities) == 1
    assert actions(aws) == [GET_ID] + [GET_CREDENTIALS] * 3
    other = from_cognito_identity_pool(identity_pool_id="eu-central-1:other", context=context)
    assert (await other()).identity_id not in identities


async def test_a_cache_of_ones_own(aws: Loopback, context: Context, shared: source.MemoryCache) -> None:
    cache = Cache()
    credentials = await pool(context, cache=cache)()
    assert cache.asked == [("get", GUEST_KEY), ("put", GUEST_KEY, credentials.identity_id)]
    assert await shared.get(GUEST_KEY) is None
    assert (await pool(context, cache=cache)()).identity_id == credentials.identity_id
    assert cache.verbs == ["get", "put", "get"]
    assert actions(aws) == [GET_ID, GET_CREDENTIALS, GET_CREDENTIALS]


async def test_with_logins_only_the_user_identifier_is_remembered(
    aws: Loopback, context: Context, shared: source.MemoryCache
) -> None:
    cache = Cache()
    logins = {GOOGLE: login(aws)}
    await pool(context, cache=cache, logins=logins)()
    assert not cache.asked
    credentials = await pool(context, cache=cache, logins=logins, user_identifier="me")()
    key = f"aws:cognito-identity-credentials:{POOL}:me"
    assert cache.asked == [("get", key), ("put", key, credentials.identity_id)]
    aws.requests.clear()
    await pool(context, cache=cache, logins=logins, user_identifier="me")()
    assert actions(aws) == [GET_CREDENTIALS]
    await pool(context, logins=logins)()
    assert await shared.get(GUEST_KEY) is None


async def test_a_user_identifier_without_logins(aws: Loopback, context: Context) -> None:
    cache = Cache()
    await pool(context, cache=cache, user_identifier="me")()
    assert {key for _, key, *_ in cache.asked} == {f"aws:cognito-identity-credentials:{POOL}:me"}


@pytest.mark.parametrize("answer", [json_error(400, "NotAuthorizedException"), Hang(), Answer(500)])
async def test_a_failed_fetch_forgets_the_id(aws: Loopback, context: Context, answer: Answer | Hang) -> None:
    cache = Cache()
    provider = pool(context, cache=cache, client=ClientConfig(read_timeout=0.1, max_attempts=1))
    await provider.fetch()
    aws.always("/", answer)
    with pytest.raises((ServiceRefused, SourceUnavailable)):
        await provider.fetch()
    assert cache.asked[-1] == ("delete", GUEST_KEY)
    assert not cache.ids
    aws.up()
    aws.requests.clear()
    await provider.fetch()
    assert actions(aws) == [GET_ID, GET_CREDENTIALS]


@pytest.mark.parametrize("who", ["login", "middleware"])
async def test_a_fetch_that_failed_through_the_user_forgets_the_id_too(
    aws: Loopback, context: Context, who: str
) -> None:
    working = True

    async def google() -> str:
        if who == "login" and not working:
            raise OSError
        return login(aws)

    async def maybe(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if who == "middleware" and not working:
            raise RuntimeError
        return await handler(request)

    cache, client = Cache(), ClientConfig(middlewares=[maybe])
    provider = pool(context, cache=cache, logins={GOOGLE: google}, user_identifier="me", client=client)
    await provider.fetch()
    working = False
    with pytest.raises(SourceUnavailable):
        await provider.fetch()
    assert not cache.ids


async def test_an_id_that_is_gone_costs_one_fetch(aws: Loopback, context: Context) -> None:
    cache = Cache(**{GUEST_KEY: "eu-central-1:deleted"})
    provider = pool(context, cache=cache)
    words = "the identity eu-central-1:deleted", "ResourceNotFoundException", "check the id"
    await failure(provider, ServiceRefused, *words)
    assert (await provider()).identity_id != "eu-central-1:deleted"


async def test_a_cache_that_raises_is_done_without(
    aws: Loopback, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        async def get(self, key: str) -> str | None:
            raise OSError(secret())

        def put(self, key: str, value: str) -> Any:
            raise RuntimeError(secret())

        def delete(self, key: str) -> Any:
            return None

    assert (await pool(context, cache=Broken())()).identity_id
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert ["OSError" in warnings[0], "RuntimeError" in warnings[1]] == [True, True]
    aws.always("/", json_error(400, "NotAuthorizedException"))
    await failure(pool(context, cache=Broken()), ServiceRefused, "NotAuthorizedException")


@pytest.mark.parametrize("kept", [b"eu-central-1:bytes", "", " ", 17, {"id": "x"}])
async def test_what_is_no_id_counts_as_none(aws: Loopback, context: Context, kept: Any) -> None:
    cache = Cache(**{GUEST_KEY: kept})
    credentials = await pool(context, cache=cache)()
    assert credentials.identity_id in aws.sign_in.identities.values()
    assert actions(aws) == [GET_ID, GET_CREDENTIALS]
    assert cache.ids == {GUEST_KEY: credentials.identity_id}


# Cognito says no.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("NotAuthorizedException", "login tokens are fresh"),
        ("ResourceNotFoundException", "no such identity or pool"),
        ("InvalidParameterException", "correct the id"),
        ("ValidationException", "correct the id"),
        ("InvalidIdentityPoolConfigurationException", "roles that trust Cognito"),
        ("ResourceConflictException", "different identities"),
        ("LimitExceededException", "as many identities as"),
        ("SomethingNew", "check the endpoint"),
    ],
)
@pytest.mark.parametrize("action", [GET_ID, GET_CREDENTIALS])
async def test_no(aws: Loopback, context: Context, code: str, remedy: str, action: str) -> None:
    identity_id = await guest(aws, context)
    token = login(aws)
    aws.always("/", json_error(400, code, message=f"They said {token}."))
    arguments: Any = {"logins": {GOOGLE: token}, "context": context}
    if action == GET_ID:
        provider, what = from_cognito_identity_pool(identity_pool_id=POOL, **arguments), POOL
    else:
        provider, what = from_cognito_identity(identity_id=identity_id, **arguments), identity_id
    host = aws.url.removeprefix("http://")
    error = await failure(provider, ServiceRefused, f"Cognito ({host})", what, f"{code}: They said ****", remedy)
    assert (error.code, error.status, error.request_id) == (code, 400, "r-3")
    assert error.recoverable
    assert not error.try_next_link
    assert actions(aws) == [action]


async def test_a_login_that_has_ended(aws: Loopback, context: Context) -> None:
    provider = pool(context, logins={GOOGLE: secret("login")})
    await failure(provider, ServiceRefused, "NotAuthorizedException: Invalid login token")


async def test_somebodys_identity_is_not_for_guests(aws: Loopback, context: Context) -> None:
    token = login(aws)
    theirs = (await pool(context, logins={GOOGLE: token})()).identity_id or ""
    provider = from_cognito_identity(identity_id=theirs, context=context)
    await failure(provider, ServiceRefused, theirs, "NotAuthorizedException: Logins don't match")
    provider = from_cognito_identity(identity_id=theirs, logins={GOOGLE: token}, context=context)
    assert (await provider()).identity_id == theirs


# Cognito is busy, or something else answers.

BUSY: dict[str, Script] = {
    "TooManyRequestsException": json_error(400, "TooManyRequestsException"),
    "ExternalServiceException": json_error(400, "ExternalServiceException"),
    "InternalErrorException": json_error(500, "InternalErrorException"),
    "429": Answer(429),
    "503": Answer(503, "<html>oops"),
    "cut": Answer(body=b"half of it", cut=True),
    "reset": Reset(),
}


@pytest.mark.parametrize("what", BUSY)
async def test_two_busy_answers_are_sat_out(aws: Loopback, context: Context, what: str) -> None:
    aws.script("/", BUSY[what], BUSY[what])
    assert (await pool(context)()).provider == "cognito"
    assert len(aws.requests) == 4


@pytest.mark.parametrize("what", BUSY)
async def test_busy_for_ever(aws: Loopback, context: Context, what: str) -> None:
    aws.always("/", BUSY[what])
    host = aws.url.removeprefix("http://")
    await failure(pool(context), SourceUnavailable, host, POOL, what if what.endswith("Exception") else "")
    assert len(aws.requests) == 3


async def test_silence(aws: Loopback, context: Context) -> None:
    aws.always("/", Hang())
    client = ClientConfig(connect_timeout=1, read_timeout=0.1, max_attempts=1)
    await failure(pool(context, client=client), SourceUnavailable, "timed out", POOL)


async def test_nobody_there(context: Context, deaf_port: int) -> None:
    client = ClientConfig(endpoint_url=f"http://127.0.0.1:{deaf_port}", max_attempts=1)
    await failure(pool(context, client=client), SourceUnavailable, f"127.0.0.1:{deaf_port} refused", POOL)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "answered with nothing"),
        (b"<html>sEcReT</html>", "HTML"),
        (b'{"IdentityId": "sEcReT', "cut short"),
        (b'["sEcReT"]', "a JSON array"),
        (b"{}", "without IdentityId"),
        (b'{"IdentityId": null}', "without IdentityId"),
        (b'{"IdentityId": " "}', "without IdentityId"),
        (b'{"IdentityId": ["sEcReT"]}', "without IdentityId"),
        (b"sEcReT" * 2**15, "more than 64 KiB"),
    ],
)
async def test_an_identity_that_is_none(aws: Loopback, context: Context, body: bytes, words: str) -> None:
    aws.always("/", Answer(body=body))
    cache = Cache()
    await failure(pool(context, cache=cache), SourceUnavailable, aws.url.removeprefix("http://"), words)
    assert cache.verbs == ["get", "delete"]


def issued(**fields: object) -> dict[str, object]:
    keys = {"AccessKeyId": "ASIACOGNITO0001", "SecretKey": secret(), "SessionToken": secret("token")}
    return {**keys, "Expiration": 32_503_680_000.0, **fields}


NEVER = "is not a time since 1970"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (None, "without Credentials"),
        ("sEcReT", "without Credentials"),
        (["sEcReT"], "without Credentials"),
        (issued(AccessKeyId=None), "without AccessKeyId;"),
        (issued(SecretKey=[MARK]), "without SecretKey;"),
        (issued(AccessKeyId="", SecretKey=" "), "without AccessKeyId and SecretKey;"),
        (issued(Expiration=None), NEVER),
        (issued(Expiration=[MARK]), NEVER),
        (issued(Expiration=MARK), NEVER),
        (issued(Expiration=1e300), NEVER),
        (issued(Expiration=10**400), NEVER),
        (issued(Expiration=float("nan")), NEVER),
        (issued(Expiration=float("inf")), NEVER),
        (issued(Expiration=1_577_836_800), "expired at 2020-01-01 00:00:00 UTC"),
        (issued(Expiration=0), "expired at 1970-01-01"),
        (issued(Expiration=-1e9), "expired at 19"),
        (issued(Expiration=True), "expired at 1970-01-01"),
    ],
    ids=lambda value: value[:14] if isinstance(value, str) else "",
)
async def test_credentials_that_are_none(aws: Loopback, context: Context, credentials: object, words: str) -> None:
    aws.always("/", json_answer({"IdentityId": "eu-central-1:x", "Credentials": credentials}))
    host = aws.url.removeprefix("http://")
    await failure(pool(context), SourceUnavailable, f"Cognito ({host})", words)
    assert len(aws.requests) == 2


async def test_an_answer_may_leave_out_the_identity(aws: Loopback, context: Context) -> None:
    aws.always("/", json_answer({"Credentials": issued()}))
    credentials = await from_cognito_identity(identity_id=POOL, context=context)()
    assert credentials.identity_id == POOL
    assert credentials.expiration == datetime(3000, 1, 1, tzinfo=UTC)


# Later.


async def test_each_refresh_takes_the_login_of_the_day(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)

    async def google() -> str:
        aws.sign_in.logins.clear()
        return login(aws)

    provider = pool(context, logins={GOOGLE: google})
    keys: set[str] = set()
    for count in (1, 2, 3):
        keys.add((await provider()).access_key_id)
        assert (await provider()).access_key_id in keys
        assert (len(keys), provider.status.successes) == (count, count)
        clock.shift(HOUR - 30)
    told = [body["Logins"][GOOGLE] for body in bodies(aws)]
    assert len(set(told)) == 3


async def test_a_guest_stays_the_same_through_refreshes(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    provider = pool(context)
    held = [await provider()]
    for _ in range(2):
        clock.shift(HOUR - 30)
        held.append(await provider())
    assert len({credentials.access_key_id for credentials in held}) == 3
    assert len({credentials.identity_id for credentials in held}) == 1
    assert actions(aws) == [GET_ID, GET_CREDENTIALS, GET_CREDENTIALS, GET_CREDENTIALS]


async def test_a_clock_that_is_ahead_is_noticed_from_keys_that_seem_to_have_expired(
    aws: Loopback, context: Context
) -> None:
    aws.lifetime, aws.clock = timedelta(hours=1), timedelta(hours=-2)
    provider = pool(context)
    assert (await provider()).access_key_id
    assert provider.status.seconds_left == pytest.approx(HOUR, abs=5)


async def test_an_outage_is_outlived(aws: Loopback, context: Context, clock: time_machine.Traveller) -> None:
    aws.lifetime = timedelta(hours=1)
    provider = pool(context)
    held = await provider()
    aws.down("/")
    clock.shift(HOUR + 1)
    assert await provider() is held
    aws.up()
    clock.shift(601)
    assert await provider() is not held


@pytest.mark.parametrize("how", slow_but(["answering", "hanging"], "answering"))
@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_at_any_moment(aws: Loopback, context: Context, how: str) -> None:
    token = login(aws)

    async def google() -> str:
        await asyncio.sleep(0)
        return token

    client = ClientConfig(read_timeout=0.1, connect_timeout=0.1, max_attempts=2)

    def make(_: int) -> Provider:
        return pool(context, cache=Cache(), logins={GOOGLE: google}, user_identifier="me", client=client)

    assert await moments_of(aws, "/", make, hanging=how == "hanging") > 5


async def test_a_cancelled_fetch_keeps_the_id(aws: Loopback, context: Context) -> None:
    cache = Cache()
    await pool(context, cache=cache)()
    aws.requests.clear()
    aws.always("/", Hang())
    caller = asyncio.create_task(pool(context, cache=cache)())
    await until(lambda: len(aws.requests) == 1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await until(lambda: not aws.open_connections)
    assert cache.ids


async def test_an_argument_that_is_no_text_shows_no_login(aws: Loopback, context: Context) -> None:
    provider = from_cognito_identity(
        identity_id="eu-central-1:x",
        logins={"google": secret("login")},
        custom_role_arn=cast("Any", b"arn"),
        context=context,
    )
    error = await failure(provider, InvalidConfiguration, "an argument is no text")
    assert_quiet(error)


@pytest.mark.parametrize(("wrong", "words"), [(["x"], "logins is a mapping"), ("tok", "logins is a mapping")])
async def test_logins_that_are_no_mapping(context: Context, wrong: Any, words: str) -> None:
    await failure(
        from_cognito_identity(identity_id="eu-central-1:x", logins=wrong, context=context),
        InvalidConfiguration,
        words,
    )


async def test_a_blank_id(context: Context) -> None:
    await failure(from_cognito_identity(identity_id="", context=context), InvalidConfiguration, "the id is blank")
