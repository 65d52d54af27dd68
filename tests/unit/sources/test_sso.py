"""Credentials from IAM Identity Center, for a person who has signed in.

====================================================  =========================================================
what is wrong                                         the caller gets
====================================================  =========================================================
the profile has nothing to do with SSO                CredentialsNotFound: a chain goes on
a key is missing, or profile and session contradict   InvalidConfiguration: file:line and the fix
nobody has signed in, or the file holds no sign-in    LoginRequired: the command to run
the sign-in has ended and cannot be renewed           LoginRequired: since when, and the command to run
OIDC: invalid grant or client                         LoginRequired, or a warning while the token is good
OIDC: down, garbage                                   SourceUnavailable, or a warning while the token is good
portal: UnauthorizedException                         LoginRequired, unless the sign-in can be renewed, or
                                                      somebody has just signed in
portal: another 401, 403, 404, 400, another code                   ServiceRefused: account, role and what to check
portal: 429, 5xx, garbage, too much, or expired       SourceUnavailable, after three attempts where that helps
portal: resets, breaks off, or never answers          SourceUnavailable, after three attempts
====================================================  =========================================================

The cache that the sign-in is kept in has its tests in test_token_cache.py.
"""

# ruff: noqa: ASYNC240 - the tests may block
from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
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
    chain,
    from_ini,
    from_sso,
)
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Reset, Script, json_answer, json_error
from tests.helpers.scripted import START, Source, issue, warnings
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.shared_files import APP, COMMAND, LEGACY, ROLE, SESSION, cached, rewrite, write_config
from tests.helpers.sign_in_services import ACCOUNT, OIDC, PERMISSION_SET, PORTAL, START_URL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARGUMENTS: dict[str, Any] = {
    "sso_start_url": START_URL,
    "sso_region": "eu-central-1",
    "sso_account_id": ACCOUNT,
    "sso_role_name": PERMISSION_SET,
}
HOUR = timedelta(hours=1)


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def config(home: Path) -> Path:
    """A config file with the profiles ``app`` (of the session corp) and ``old`` (the older form)."""
    return write_config(home, APP + LEGACY)


def host(aws: Loopback) -> str:
    return aws.url.removeprefix("http://")


class Elsewhere:
    """A middleware that notes where requests would go, and lets none through."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    async def __call__(self, request: aiohttp.ClientRequest, handler: Any) -> Any:
        self.urls.append(str(request.url).partition("?")[0])
        raise aiohttp.ClientConnectionError


# Where the settings are found.


@pytest.mark.parametrize(("name", "session"), [("app", "corp"), ("old", None)])
async def test_credentials_of_a_profile(
    aws: Loopback, context: Context, home: Path, name: str, session: str | None
) -> None:
    token = cached(aws.sign_in.sso_login(home, session))["accessToken"]
    credentials = await from_sso(name, context=context)()
    assert credentials.access_key_id.startswith("ASIALOOPBACK")
    assert credentials.session_token
    assert credentials.expiration == datetime.fromtimestamp(START, UTC) + aws.lifetime
    assert credentials.account_id == ACCOUNT
    assert credentials.provider == "sso"
    assert credentials.may_outlive_expiry
    [seen] = aws.requests
    assert (seen.method, seen.path) == ("GET", PORTAL)
    assert seen.headers["x-amz-sso_bearer_token"] == token
    assert "Authorization" not in seen.headers


async def test_the_expiration_is_told_in_milliseconds(aws: Loopback, context: Context, home: Path) -> None:
    aws.sign_in.sso_login(home)
    aws.script(PORTAL, json_answer({"roleCredentials": role_credentials(expiration=(START + 60) * 1000 + 500)}))
    credentials = await from_sso("app", context=context)()
    assert credentials.expiration == datetime.fromtimestamp(START + 60.5, UTC)


async def test_the_profile_of_the_environment(
    aws: Loopback, context: Context, home: Path, environ: dict[str, str]
) -> None:
    aws.sign_in.sso_login(home)
    environ["AWS_PROFILE"] = "app"
    assert (await from_sso(context=context)()).provider == "sso"


async def test_all_by_argument(aws: Loopback, context: Context, home: Path, config: Path) -> None:
    config.unlink()
    aws.sign_in.sso_login(home, None)
    assert (await from_sso(**ARGUMENTS, context=context)()).account_id == ACCOUNT


@pytest.mark.parametrize("more", [{}, {"sso_start_url": START_URL, "sso_region": "eu-central-1"}])
async def test_a_session_by_argument(aws: Loopback, context: Context, home: Path, more: dict[str, Any]) -> None:
    aws.sign_in.sso_login(home)
    provider = from_sso(
        sso_session="corp", sso_account_id=ACCOUNT, sso_role_name=PERMISSION_SET, context=context, **more
    )
    assert (await provider()).account_id == ACCOUNT


async def test_another_config_file(aws: Loopback, context: Context, home: Path, config: Path) -> None:
    aws.sign_in.sso_login(home)
    config.rename(home / "mine")
    provider = from_sso("app", config_file=str(home / "mine"), context=context)
    assert (await provider()).provider == "sso"


async def test_inside_a_profile_and_as_the_source_of_a_role(aws: Loopback, context: Context, home: Path) -> None:
    write_config(home, f"{APP}[profile r]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = app\n")
    aws.secrets["-"] = ("-", None)  # STS knows only whom this server has issued keys to
    aws.sign_in.sso_login(home)
    assert (await from_ini("app", context=context)()).provider == "sso"
    assert (await from_ini("r", context=context)()).access_key_id in aws.secrets


@pytest.mark.parametrize("name", ["app", "old"])
async def test_the_region_is_that_of_the_identity_center(
    aws: Loopback, home: Path, clock: time_machine.Traveller, name: str
) -> None:
    aws.sign_in.sso_login(home, "corp" if name == "app" else None)
    elsewhere = Elsewhere()
    client = ClientConfig(middlewares=[elsewhere], max_attempts=1)
    provider = from_sso(name, client=client, context=Context({"AWS_REGION": "us-west-2"}, home=home))
    await failure(provider, SourceUnavailable, "portal.sso.eu-central-1.amazonaws.com")
    assert elsewhere.urls == [f"https://portal.sso.eu-central-1.amazonaws.com{PORTAL}"]
    if name == "app":
        clock.shift(HOUR)
        await failure(provider, SourceUnavailable, "oidc.eu-central-1.amazonaws.com", "SSO-OIDC")
        assert elsewhere.urls[1:] == [f"https://oidc.eu-central-1.amazonaws.com{OIDC}"]


async def test_middlewares_change_what_is_sent(aws: Loopback, context: Context, home: Path) -> None:
    aws.sign_in.sso_login(home)

    async def mark(request: aiohttp.ClientRequest, handler: Any) -> Any:
        request.headers["X-Mine"] = "yes"
        return await handler(request)

    await from_sso("app", client=ClientConfig(middlewares=[mark]), context=context)()
    assert aws.requests[0].headers["X-Mine"] == "yes"


async def test_an_endpoint_for_each_of_the_two(home: Path, clock: time_machine.Traveller) -> None:
    async with Loopback() as portal, Loopback() as oidc:
        oidc.sign_in.access_tokens = portal.sign_in.access_tokens
        portal.sign_in.sso_login(home)
        oidc.sign_in.registrations = portal.sign_in.registrations
        environ = {"AWS_ENDPOINT_URL_SSO": portal.url, "AWS_ENDPOINT_URL_SSO_OIDC": oidc.url}
        clock.shift(HOUR)
        await from_sso("app", context=Context(environ, home=home))()
        assert [seen.path for seen in portal.requests] == [PORTAL]
        assert [seen.path for seen in oidc.requests] == [OIDC]


async def test_one_endpoint_for_both_in_code(aws: Loopback, home: Path, clock: time_machine.Traveller) -> None:
    aws.sign_in.sso_login(home)
    clock.shift(HOUR)
    await from_sso("app", client=ClientConfig(endpoint_url=aws.url), context=Context({}, home=home))()
    assert [seen.path for seen in aws.requests] == [OIDC, PORTAL]


async def test_endpoints_of_the_profile(aws: Loopback, home: Path) -> None:
    aws.sign_in.sso_login(home)
    services = f"[services here]\nsso =\n  endpoint_url = {aws.url}\n"
    write_config(home, APP.replace("[sso-session", "services = here\n[sso-session") + services)
    await from_sso("app", context=Context({}, home=home))()
    assert aws.count(PORTAL) == 1


# What is configured wrongly.


@pytest.mark.parametrize("text", ["", "[default]\nregion = x\n", "[default]\nsso_region = x\n"])
async def test_a_profile_without_sso(context: Context, home: Path, text: str) -> None:
    write_config(home, text)
    provider = from_sso(context=context)
    assert (await failure(provider, CredentialsNotFound, "'default'", "no sso_session")).try_next_link
    following = Source(usual=lambda: issue(key="NEXT")).provider()
    assert (await chain(provider, following)()).access_key_id == "NEXT"


async def test_no_such_profile(context: Context, config: Path) -> None:
    error = await failure(from_sso("ap", context=context), InvalidConfiguration, "'ap'", str(config), "'app'")
    assert not error.try_next_link


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[profile app]\nsso_start_url = https://x\n",
            ("sso_start_url ({file}:2)", "no sso_region and no sso_account_id and no sso_role_name", "add them"),
        ),
        ("[profile app]\nsso_account_id = 1\n", ("sso_account_id ({file}:2)", "no sso_start_url", "add them")),
        (f"[profile app]\nsso_session = corp\n{SESSION}", ("no sso_account_id and no sso_role_name",)),
        (
            f"[profile app]\nsso_session = corp\n{ROLE}[sso-session corp]\nsso_region = eu-central-1\n",
            ("[sso-session corp] ({file}:5)", "no sso_start_url: add it"),
        ),
        (f"[profile app]\nsso_session = cor\n{ROLE}{SESSION}", ("({file}:2)", "[sso-session cor]", "add it")),
        (
            APP.replace("[sso-session", "sso_region = us-east-1\n[sso-session"),
            (
                "different values for sso_region: us-east-1 ({file}:5) and eu-central-1 ({file}:7)",
                "remove it from the profile",
            ),
        ),
    ],
    ids=["half an old one", "an account alone", "no role", "half a session", "unknown session", "conflict"],
)
async def test_a_wrong_profile(context: Context, home: Path, text: str, words: tuple[str, ...]) -> None:
    file = write_config(home, text)
    words = tuple(word.replace("{file}", str(file)) for word in words)
    await failure(from_sso("app", context=context), InvalidConfiguration, *words)


async def test_what_profile_and_session_agree_on_is_no_conflict(
    aws: Loopback, context: Context, home: Path
) -> None:
    write_config(home, APP.replace("[sso-session", f"sso_start_url = {START_URL}\n[sso-session"))
    aws.sign_in.sso_login(home)
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_an_argument_is_missing(context: Context, name: str) -> None:
    provider = from_sso(**(ARGUMENTS | {name: None}), context=context)
    await failure(provider, InvalidConfiguration, f"{name}= is missing")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sso_session", "cor", ("sso_session=", "[sso-session cor]", "correct the name")),
        ("sso_region", "us-east-1", ("sso_region= differs", "[sso-session corp]", ":6)", "leave it out")),
        ("sso_start_url", "https://x", ("sso_start_url= differs", "[sso-session corp]", ":7)", "leave it out")),
    ],
)
async def test_an_argument_is_wrong(context: Context, name: str, value: str, words: tuple[str, ...]) -> None:
    arguments: dict[str, Any] = {"sso_session": "corp", "sso_account_id": "1", "sso_role_name": "x", name: value}
    await failure(from_sso(**arguments, context=context), InvalidConfiguration, *words)


@pytest.mark.parametrize("name", ["sso_account_id", "sso_role_name"])
@pytest.mark.parametrize("value", ["x\r\nEvil: 1", "x\ud800"])
async def test_an_argument_that_is_no_line_of_text(
    aws: Loopback, context: Context, home: Path, name: str, value: str
) -> None:
    aws.sign_in.sso_login(home, None)
    arguments: dict[str, Any] = ARGUMENTS | {name: value}
    error = await failure(
        from_sso(**arguments, context=context), InvalidConfiguration, f"{name} is {value!r}", "one line"
    )
    assert str(error).isprintable()
    assert not aws.requests


# When a person has to sign in.


@pytest.mark.parametrize(
    ("name", "session", "command"), [("app", "corp", COMMAND), ("old", None, "aiocreds login --profile old")]
)
@pytest.mark.parametrize(
    "content",
    [None, "", '{"accessToken": "sEcReT', '["sEcReT"]', "{}", "[" * 10**5, "\0" * 4096],
    ids=["no file", "empty", "cut", "list", "bare", "deep", "lost"],
)
async def test_no_sign_in(
    aws: Loopback,
    context: Context,
    home: Path,
    name: str,
    session: str | None,
    command: str,
    content: str | None,
) -> None:
    file = home / ".aws/sso/cache" / f"{hashlib.sha1((session or START_URL).encode()).hexdigest()}.json"
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_text(content)
    error = await failure(from_sso(name, context=context), LoginRequired, f"no readable sign-in in {file}", command)
    assert str(error).endswith(f"run {command}")
    assert not error.recoverable
    assert not error.try_next_link
    assert not aws.requests


@pytest.mark.parametrize("access_token", [..., None, "", " ", 5])
async def test_a_sign_in_without_an_access_token(
    aws: Loopback, context: Context, home: Path, access_token: object
) -> None:
    rewrite(aws.sign_in.sso_login(home), accessToken=access_token)
    await failure(from_sso("app", context=context), LoginRequired, "no readable sign-in", f"run {COMMAND}")
    assert not aws.requests


@pytest.mark.parametrize("late", [timedelta(), timedelta(days=3)])
async def test_an_older_sign_in_has_ended(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller, late: timedelta
) -> None:
    file = aws.sign_in.sso_login(home, None)
    clock.shift(HOUR + late)
    words = str(file), "ended at 2027-01-15 09:00 UTC", "cannot be renewed", "run aiocreds login --profile old"
    await failure(from_sso("old", context=context), LoginRequired, *words)
    assert not aws.requests


async def test_an_older_sign_in_is_never_renewed(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller
) -> None:
    """Some versions of AWS CLI leave a refresh token there, too; its end is AWS CLI's business."""
    newer = cached(aws.sign_in.sso_login(home))
    aws.sign_in.sso_login(home, None, **newer)
    clock.shift(HOUR - timedelta(seconds=1))
    assert (await from_sso("old", context=context)()).account_id == ACCOUNT
    clock.shift(1)
    await failure(
        from_sso("old", context=context), LoginRequired, "cannot be renewed: run aiocreds login --profile old"
    )
    assert aws.count(OIDC) == 0


@pytest.mark.parametrize("expires_at", [..., None, "soon", 1_900_000_000, "99999-01-01T00:00:00Z", ""])
async def test_a_sign_in_of_unknown_end_counts_as_ended(
    aws: Loopback, context: Context, home: Path, expires_at: object
) -> None:
    rewrite(aws.sign_in.sso_login(home, None), expiresAt=expires_at)
    await failure(from_sso("old", context=context), LoginRequired, "does not say when it ends")
    rewrite(aws.sign_in.sso_login(home), expiresAt=expires_at)
    await from_sso("app", context=context)()
    assert [seen.path for seen in aws.requests] == [OIDC, PORTAL]


@pytest.mark.parametrize("field", ["refreshToken", "clientId", "clientSecret"])
async def test_a_sign_in_that_cannot_be_renewed(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller, field: str
) -> None:
    file = aws.sign_in.sso_login(home)
    rewrite(file, **{field: ...})
    clock.shift(HOUR)
    words = str(file), "ended at 2027-01-15 09:00 UTC", "cannot be renewed", f"run {COMMAND}"
    await failure(from_sso("app", context=context), LoginRequired, *words)
    assert not aws.requests


async def test_the_registration_has_ended(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller
) -> None:
    aws.sign_in.sso_login(home, registered=HOUR)
    clock.shift(HOUR)
    words = "the registration to renew it with ended at 2027-01-15 09:00 UTC", f"run {COMMAND}"
    await failure(from_sso("app", context=context), LoginRequired, *words)
    assert not aws.requests


async def test_arguments_without_a_session_name_the_start_url(context: Context) -> None:
    provider = from_sso(**ARGUMENTS, context=context)
    await failure(provider, LoginRequired, f"run aiocreds login, with a profile whose sso_start_url is {START_URL}")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidGrantException"),
        (400, "ExpiredTokenException"),
        (401, "InvalidClientException"),
        (400, "UnauthorizedClientException"),
    ],
)
async def test_oidc_renews_no_more(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller, status: int, code: str
) -> None:
    aws.sign_in.sso_login(home)
    clock.shift(HOUR)
    token = cached(next((home / ".aws/sso/cache").glob("*.json")))
    words = {"error": "invalid_x", "error_description": f"no: {token['refreshToken']} {token['clientSecret']}"}
    aws.always(OIDC, json_error(status, code, **words))
    error = await failure(from_sso("app", context=context), LoginRequired, host(aws), code, f"run {COMMAND}")
    assert not error.recoverable
    assert aws.count(OIDC) == 1


async def test_a_refresh_token_that_was_used_is_an_invalid_grant(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller
) -> None:
    aws.sign_in.sso_login(home, refreshToken=secret("refresh"))
    clock.shift(HOUR)
    await failure(from_sso("app", context=context), LoginRequired, "InvalidGrantException", f"run {COMMAND}")


@pytest.mark.parametrize(("name", "command"), [("app", COMMAND), ("old", "aiocreds login --profile old")])
async def test_the_portal_knows_no_such_sign_in(
    aws: Loopback, context: Context, home: Path, name: str, command: str
) -> None:
    aws.sign_in.sso_login(home, "corp" if name == "app" else None)
    aws.sign_in.access_tokens.clear()
    aws.sign_in.registrations.clear()
    words = f"the SSO portal ({host(aws)})", ACCOUNT, PERMISSION_SET, "the sign-in has ended"
    error = await failure(from_sso(name, context=context), LoginRequired, *words)
    assert str(error).endswith(f"run {command}")
    assert not error.recoverable
    assert aws.count(PORTAL) == 1


async def test_a_sign_in_that_has_ended_there_is_renewed(aws: Loopback, context: Context, home: Path) -> None:
    """Such as by a clock that is behind."""
    file = aws.sign_in.sso_login(home)
    aws.sign_in.access_tokens.clear()
    provider = from_sso("app", context=context)
    assert (await provider()).account_id == ACCOUNT
    assert [seen.path for seen in aws.requests] == [PORTAL, OIDC, PORTAL]
    assert aws.requests[-1].headers["x-amz-sso_bearer_token"] == cached(file)["accessToken"]
    aws.sign_in.access_tokens.clear()
    aws.always(OIDC, Answer(503))
    await failure(from_sso("app", context=context), SourceUnavailable, "SSO-OIDC")


@pytest.mark.parametrize("answer", [Answer(401, "<html>"), Answer(401), json_error(401, "AccessDeniedException")])
async def test_a_401_that_is_not_the_portals(aws: Loopback, context: Context, home: Path, answer: Answer) -> None:
    aws.sign_in.sso_login(home)
    aws.always(PORTAL, answer)
    error = await failure(from_sso("app", context=context), ServiceRefused, host(aws), "a proxy in between")
    assert error.status == 401
    assert [seen.path for seen in aws.requests] == [PORTAL]


async def test_somebody_signs_in_while_the_portal_says_no(aws: Loopback, context: Context, home: Path) -> None:
    file = aws.sign_in.sso_login(home)
    aws.sign_in.access_tokens.clear()

    async def meanwhile(request: aiohttp.ClientRequest, handler: Any) -> Any:
        response = await handler(request)
        if response.status == 401:
            await asyncio.to_thread(aws.sign_in.sso_login, home)
        return response

    credentials = await from_sso("app", client=ClientConfig(middlewares=[meanwhile]), context=context)()
    assert credentials.access_key_id
    assert aws.requests[-1].headers["x-amz-sso_bearer_token"] == cached(file)["accessToken"]
    assert aws.count(PORTAL) == 2
    assert aws.count(OIDC) == 0


async def test_the_other_sign_in_is_tried_once(aws: Loopback, context: Context, home: Path) -> None:
    aws.sign_in.sso_login(home)

    async def meanwhile(request: aiohttp.ClientRequest, handler: Any) -> Any:
        await asyncio.to_thread(aws.sign_in.sso_login, home)
        aws.sign_in.access_tokens.clear()
        return await handler(request)

    provider = from_sso("app", client=ClientConfig(middlewares=[meanwhile]), context=context)
    await failure(provider, LoginRequired, f"run {COMMAND}")
    assert aws.count(PORTAL) == 2
    assert aws.count(OIDC) == 0


async def test_signing_in_mends_it(aws: Loopback, context: Context, home: Path) -> None:
    provider = from_sso("app", context=context)
    await failure(provider, LoginRequired, COMMAND)
    aws.sign_in.sso_login(home)
    with time_machine.travel(START + 5, tick=False):  # the next attempt is 1 to 5 s away
        assert (await provider()).account_id == ACCOUNT


# What the portal answers.


def role_credentials(**fields: Any) -> dict[str, Any]:
    credentials = {
        "accessKeyId": "ASIAPORTAL000001",
        "secretAccessKey": secret(),
        "sessionToken": secret("session"),
        "expiration": int((START + 3600) * 1000),
    }
    return {name: value for name, value in (credentials | fields).items() if value is not ...}


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "ForbiddenException", "no such role there: check sso_account_id and sso_role_name"),
        (404, "ResourceNotFoundException", "no such account or role"),
        (400, "InvalidRequestException", "check sso_account_id (12 digits)"),
        (400, "SomethingNewException", "check the endpoint"),
        (302, "", "check the endpoint"),
        (403, "", "check the endpoint"),
    ],
)
async def test_no(aws: Loopback, context: Context, home: Path, status: int, code: str, remedy: str) -> None:
    token = cached(aws.sign_in.sso_login(home))["accessToken"]
    answer = json_error(status, code, message=f"No access with {token}.") if code else Answer(status, token)
    aws.always(PORTAL, answer)
    words = f"the SSO portal ({host(aws)}) refused", f"role {PERMISSION_SET} in account {ACCOUNT}", remedy
    error = await failure(from_sso("app", context=context), ServiceRefused, *words)
    assert (error.status, error.code) == (status, code)
    assert MARK not in error.message
    assert error.request_id == ("r-3" if code else None)
    assert aws.count(PORTAL) == 1


async def test_a_role_that_the_person_does_not_have(aws: Loopback, context: Context, home: Path) -> None:
    aws.sign_in.sso_login(home)
    aws.sign_in.roles.clear()
    await failure(from_sso("app", context=context), ServiceRefused, "ForbiddenException", "check sso_account_id")


GOOD = {"roleCredentials": role_credentials()}
DEEP = b'{"roleCredentials": ' * 10_000
TROUBLE: dict[str, tuple[Script, str, int]] = {
    "500": (Answer(500, "sEcReT"), "HTTP 500", 3),
    "503": (Answer(503, "sEcReT"), "HTTP 503", 3),
    "429": (json_error(429, "TooManyRequestsException", message="sEcReT"), "HTTP 429 TooManyRequestsException", 3),
    "throttled": (json_error(400, "ThrottlingException"), "HTTP 400 ThrottlingException", 3),
    "reset": (Reset(), "closed the connection", 3),
    "half": (Answer(body=json.dumps(GOOD), cut=True), "broke off", 3),
    "silence": (Hang(), "timed out", 3),
    "nothing": (Answer(), "nothing", 1),
    "html": (Answer(body="<html>sEcReT</html>"), "HTML", 1),
    "truncated": (Answer(body='{"roleCredentials": {"secretAccessKey": "sEcReT'), "cut short", 1),
    "array": (Answer(body='["sEcReT"]'), "a JSON array", 1),
    "deep": (Answer(body=DEEP[:60_000]), "cut short", 1),
    "huge": (Answer(body=b"sEcReT" * 2**20), "64 KiB", 1),
    "other": (json_answer({"sEcReT": "sEcReT"}), "without a sessionToken in roleCredentials", 1),
    "null": (json_answer({"roleCredentials": None}), "without a sessionToken in roleCredentials", 1),
    "list": (json_answer({"roleCredentials": ["sEcReT"]}), "without a sessionToken in roleCredentials", 1),
}
NO_TEXT: list[Any] = [..., None, "", " ", 5, {}]
NO_TIME: list[Any] = [..., None, 1e30, -1e30, 10**400, float("nan"), float("inf"), "soon", [], {}]
NO_LIFETIME: list[Any] = [None, 0, -1, "3600", 1e30, 10**400, float("nan"), float("inf"), False, []]
FIELDS: list[tuple[str, Any, str]] = [
    *(("accessKeyId", value, "without accessKeyId") for value in NO_TEXT),
    *(("secretAccessKey", value, "without secretAccessKey") for value in NO_TEXT),
    *(("sessionToken", value, "without a sessionToken") for value in NO_TEXT),
    *(("expiration", value, "not a time since 1970") for value in NO_TIME),
    *(("expiration", value, "expired at") for value in (0, -1, True, False, START, (START - 1) * 1000)),
]


@pytest.mark.slow
@pytest.mark.parametrize("what", TROUBLE)
async def test_trouble(aws: Loopback, context: Context, home: Path, what: str) -> None:
    answer, told, attempts = TROUBLE[what]
    aws.sign_in.sso_login(home)
    aws.always(PORTAL, answer)
    client = ClientConfig(read_timeout=0.1 if what == "silence" else 5, connect_timeout=0.1)
    await failure(from_sso("app", client=client, context=context), SourceUnavailable, host(aws), told)
    assert aws.count(PORTAL) == attempts
    aws.always(PORTAL, None)
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


async def test_a_clock_that_is_ahead_is_noticed_from_keys_that_seem_to_have_expired(
    aws: Loopback, context: Context, home: Path
) -> None:
    aws.lifetime, aws.clock = HOUR, -HOUR
    aws.sign_in.token_life = 3 * HOUR
    aws.sign_in.sso_login(home)
    provider = from_sso("app", context=context)
    assert (await provider()).account_id == ACCOUNT
    assert provider.status.seconds_left == 3600


@pytest.mark.slow
@pytest.mark.parametrize(("field", "value", "told"), FIELDS)
async def test_fields_that_are_wrong(
    aws: Loopback, context: Context, home: Path, field: str, value: object, told: str
) -> None:
    aws.sign_in.sso_login(home)
    aws.always(PORTAL, json_answer({"roleCredentials": role_credentials(**{field: value})}))
    await failure(from_sso("app", context=context), SourceUnavailable, f"the SSO portal ({host(aws)})", told)


async def test_nothing_listens(aws: Loopback, home: Path, deaf_port: int) -> None:
    aws.sign_in.sso_login(home)
    client = ClientConfig(endpoint_url=f"http://127.0.0.1:{deaf_port}", max_attempts=1)
    words = f"127.0.0.1:{deaf_port}", "asked the SSO portal", PERMISSION_SET
    await failure(from_sso("app", client=client, context=Context({}, home=home)), SourceUnavailable, *words)


async def test_a_token_that_no_header_can_hold(aws: Loopback, context: Context, home: Path) -> None:
    aws.sign_in.sso_login(home, accessToken=f"{secret()}\r\nX: {secret()}")
    await failure(from_sso("app", context=context), InvalidConfiguration, "x-amz-sso_bearer_token", "line break")
    assert not aws.requests


# What OIDC answers.

OIDC_TROUBLE: dict[str, tuple[Script, str]] = {
    **{
        name: (answer, told) for name, (answer, told, _) in TROUBLE.items() if name not in ("other", "null", "list")
    },
    "no token": (json_answer({"expiresIn": 3600, "refreshToken": secret()}), "without a usable accessToken"),
    "a number for a token": (json_answer({"expiresIn": 3600, "accessToken": 5}), "without a usable accessToken"),
    "a token that no header can hold": (
        json_answer({"expiresIn": 3600, "accessToken": f"{secret()}\r\nX: y"}),
        "without a usable accessToken",
    ),
    **{
        f"expiresIn {lifetime!r}": (
            json_answer({"expiresIn": lifetime, "accessToken": secret()}),
            "without a usable accessToken and expiresIn",
        )
        for lifetime in [*NO_LIFETIME, True]
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("what", OIDC_TROUBLE)
async def test_trouble_with_a_renewal(
    aws: Loopback,
    context: Context,
    home: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    answer, told = OIDC_TROUBLE[what]
    file = aws.sign_in.sso_login(home)
    before = file.read_bytes()
    aws.always(OIDC, answer)
    client = ClientConfig(read_timeout=0.1 if what == "silence" else 5, connect_timeout=0.1)
    provider = from_sso("app", client=client, context=context)
    clock.shift(HOUR - timedelta(seconds=100))
    assert (await provider()).account_id == ACCOUNT
    [warning] = warnings(caplog)
    assert host(aws) in warning
    assert told in warning
    assert f"The token in {file} stays in use for 100 s" in warning
    clock.shift(100)
    await failure(from_sso("app", client=client, context=context), SourceUnavailable, host(aws), "SSO-OIDC", told)
    assert file.read_bytes() == before
    aws.always(OIDC, None)
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


@pytest.mark.parametrize("code", ["InvalidRequestException", "InvalidScopeException"])
async def test_oidc_refuses_for_another_reason(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller, code: str
) -> None:
    aws.sign_in.sso_login(home)
    aws.always(OIDC, json_error(400, code))
    clock.shift(HOUR)
    error = await failure(from_sso("app", context=context), ServiceRefused, "SSO-OIDC", code, "Remedy: ")
    assert error.code == code


async def test_an_odd_but_usable_renewal(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller
) -> None:
    """Without a new refresh token the old one stays."""
    file = aws.sign_in.sso_login(home)
    old = cached(file)
    clock.shift(HOUR)
    fresh = secret("access")
    aws.sign_in.access_tokens[fresh] = datetime.now(UTC) + HOUR
    aws.script(OIDC, json_answer({"accessToken": fresh, "expiresIn": 1800.0}))
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT
    assert cached(file) == old | {"accessToken": fresh, "expiresAt": "2027-01-15T09:30:00Z"}
