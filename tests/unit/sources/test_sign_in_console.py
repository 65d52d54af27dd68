"""Signing in as ``aws login`` does, with the sign-in page of the console, and out."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import stat
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from aiocreds import ClientConfig, Context, InvalidConfiguration, LoginRequired, SourceUnavailable, from_login
from aiocreds._token_cache.cache import Token, TokenCache
from aiocreds.login import sign_in, sign_out
from aiocreds.sources.login.sign_in import code_in
from tests.helpers.authorization import CROSS_DEVICE, ME, SAME_DEVICE
from tests.helpers.failures import message_of
from tests.helpers.loopback_aws import Answer, Loopback, json_error
from tests.helpers.person import Person
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import secret
from tests.helpers.shared_files import cached, login_token_file, write_config
from tests.helpers.sign_in_services import ACCOUNT, SIGN_IN

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = f"[profile me]\nlogin_session = {ME}\n"


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("prood", "correct the name, or add the profile; did you mean 'prod'?"), ("zzz", "correct the name")],
)
async def test_a_profile_in_no_file_is_made_for_who_asks_for_a_new_one(
    name: str, hint: str, aws: Loopback, context: Context, home: Path, person: Person
) -> None:
    text = f"[profile prod]\nlogin_session = {ME}\n"
    file = write_config(home, text)
    message = await message_of(sign_in(name, prompt=person, context=context), InvalidConfiguration)
    assert f"profile {name!r} is neither in {file} nor in {home}/.aws/credentials: {hint}" in message
    assert "aiocreds configure sso" in message
    assert f"aiocreds login --new {name} for the sign-in of the console" in message
    assert await message_of(sign_out(name, context=context), InvalidConfiguration)
    assert file.read_text() == text
    assert (person.pages, aws.requests) == ([], [])


async def test_a_new_profile(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    signed_in = await sign_in("me", new=True, prompt=person, remote=False, context=context)
    await person.home()
    assert "You are signed in. You may close this window." in person.pages[0][1]
    assert (home / ".aws/config").read_text() == PROFILE
    path, token = login_token_file(home), cached(login_token_file(home))
    assert signed_in[:2] == (ME, str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token["clientId"] == SAME_DEVICE
    assert token["accessToken"]["accountId"] == ACCOUNT
    assert token["accessToken"]["expiresAt"] == f"{signed_in.expiration:%Y-%m-%dT%H:%M:%SZ}"
    assert token["dpopKey"].startswith("-----BEGIN EC PRIVATE KEY-----\n")
    assert token["refreshToken"] in aws.sign_in.login_tokens
    assert {"tokenType", "idToken"} < token.keys()
    assert (await from_login("me", context=context)()).account_id == ACCOUNT
    # What it brought can be renewed.
    token["accessToken"]["expiresAt"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(token))
    assert (await from_login("me", context=context)()).account_id == ACCOUNT
    assert aws.count(SIGN_IN) == 2


async def test_what_is_kept_shows_nothing_in_a_traceback(
    context: Context, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is written, functions hold it in local variables, which error reporters show."""
    shown: list[str] = []
    keep = TokenCache._keep

    def shows(cache: TokenCache, token: Token) -> None:
        shown.append(repr(token))
        keep(cache, token)

    monkeypatch.setattr(TokenCache, "_keep", shows)
    await sign_in("me", new=True, prompt=person, remote=False, context=context)
    assert shown == ["****"]


async def test_what_the_browser_is_sent_with(aws: Loopback, context: Context, person: Person) -> None:
    await sign_in("me", new=True, prompt=person, remote=False, context=context)
    url = urlsplit(person.prompts[0].url)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{aws.url}/v1/authorize"
    assert query["code_challenge_method"] == "SHA-256"
    [exchange] = [json.loads(seen.body) for seen in aws.requests if seen.path == SIGN_IN]
    assert exchange["redirectUri"] == query["redirect_uri"]
    digest = base64.urlsafe_b64encode(hashlib.sha256(exchange["codeVerifier"].encode()).digest())
    assert digest.rstrip(b"=").decode() == query["code_challenge"]


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        ("", "default", f"[default]\nlogin_session = {ME}\n"),
        ("# mine\n[profile a]\nregion=x", "me", f"# mine\n[profile a]\nregion=x\n\n{PROFILE}"),
        (
            "[profile me]\n  region = x\n[profile b]\n",
            "me",
            f"[profile me]\n  region = x\n  login_session = {ME}\n[profile b]\n",
        ),
        (PROFILE + "# kept\n", "me", PROFILE + "# kept\n"),
    ],
)
async def test_the_profile(
    context: Context, home: Path, person: Person, before: str, name: str, after: str
) -> None:
    if before:
        write_config(home, before)
    await sign_in(name, new=True, prompt=person, remote=False, context=context)
    assert (home / ".aws/config").read_text() == after


async def test_another_device(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    write_config(home, PROFILE)
    await sign_in("me", new=True, prompt=person, remote=True, context=context)
    [prompt] = person.prompts
    assert prompt.wants_code
    assert cached(login_token_file(home))["clientId"] == CROSS_DEVICE
    assert (await from_login("me", context=context)()).account_id == ACCOUNT


async def test_without_a_browser_the_code_is_pasted(context: Context, person: Person) -> None:
    await sign_in("me", new=True, prompt=person, context=context)
    assert person.prompts[0].wants_code


@pytest.mark.parametrize("pasted", ["", "nonsense", base64.b64encode(b"code=1&state=2").decode()])
async def test_something_else_is_pasted(aws: Loopback, context: Context, home: Path, pasted: str) -> None:
    person = Person(pasted=pasted)
    words = "what was pasted is not the code" if pasted else "nobody brought a code back"
    message = await message_of(sign_in("me", new=True, prompt=person, remote=True, context=context), LoginRequired)
    assert words in message
    assert len(person.prompts) == (3 if pasted else 1)
    assert not aws.count(SIGN_IN)
    assert not (home / ".aws/config").exists()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_how_a_code_is_pasted(encode: Any) -> None:
    state = secret("state")
    text = encode(urlencode({"state": state, "code": "a+b/c?>"}).encode()).decode()
    for pasted in (text, text.rstrip("="), f"  {text[:10]}\n{text[10:]} "):
        assert code_in(pasted, state) == "a+b/c?>"  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a str
    twice = encode(urlencode([("state", state), ("code", "a"), ("code", "b")]).encode()).decode()
    assert code_in(twice, state) is None  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a str


async def test_the_service_wants_a_nonce(aws: Loopback, context: Context, person: Person) -> None:
    aws.sign_in.nonce = "of-today"
    await sign_in("me", new=True, prompt=person, remote=False, context=context)
    assert aws.count(SIGN_IN) == 2
    assert [code.used for code in aws.sign_in.authorization.codes.values()] == [True]


async def test_somebody_else_signs_in(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    write_config(home, PROFILE)
    aws.sign_in.authorization.me = "arn:aws:iam::123456789012:user/other"
    message = await message_of(
        sign_in("me", new=True, prompt=person, remote=False, context=context), InvalidConfiguration
    )
    assert "user/other, and profile 'me' is for arn:aws:iam::123456789012:user/me" in message
    assert f"{home}/.aws/config:2" in message
    assert not login_token_file(home, aws.sign_in.authorization.me).exists()
    assert (home / ".aws/config").read_text() == PROFILE


@pytest.mark.parametrize("me", ["", "ada", "arn:aws:iam::1:user/a\ncredential_process = evil", "arn:aws:s3:::x"])
async def test_a_name_that_is_none(aws: Loopback, context: Context, home: Path, person: Person, me: str) -> None:
    """It becomes a line of the config file."""
    aws.sign_in.authorization.me = me
    message = await message_of(
        sign_in("me", new=True, prompt=person, remote=False, context=context), SourceUnavailable
    )
    assert "names nobody" in message
    assert not (home / ".aws/config").exists()


async def test_the_person_denies(context: Context, home: Path) -> None:
    attempt = sign_in("me", new=True, prompt=Person("deny"), remote=False, context=context)
    assert "access_denied): run aiocreds login --profile me" in await message_of(attempt, LoginRequired)
    assert not (home / ".aws/config").exists()


async def test_the_code_is_too_old(aws: Loopback, context: Context, person: Person) -> None:
    aws.script(SIGN_IN, json_error(401, "AccessDeniedException", error="AUTHCODE_EXPIRED"))
    attempt = sign_in("me", new=True, prompt=person, remote=False, context=context)
    assert "the sign-in was not finished in time" in await message_of(attempt, LoginRequired)


async def test_the_caller_is_cancelled_during_the_exchange(
    aws: Loopback, context: Context, home: Path, person: Person
) -> None:
    aws.script(SIGN_IN, lambda answer: Answer(answer.status, answer.body, answer.headers, delay=0.2))
    task = asyncio.create_task(sign_in("me", new=True, prompt=person, remote=False, context=context))
    await until(lambda: aws.count(SIGN_IN) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    config = home / ".aws/config"
    await until(lambda: config.exists() and config.read_text() == PROFILE)
    assert cached(login_token_file(home))["refreshToken"] in aws.sign_in.login_tokens


@pytest.mark.parametrize(
    "text",
    [
        "aws_access_key_id = a\naws_secret_access_key = b\n",
        "credential_process = x\n",
        "role_arn = r\ncredential_source = Environment\n",
        "role_arn = r\nweb_identity_token_file = /x\n",
    ],
)
async def test_a_profile_with_other_credentials(aws: Loopback, context: Context, home: Path, text: str) -> None:
    """They would win, or lose without a word."""
    file = write_config(home, f"[profile me]\n{text}")
    message = await message_of(sign_in("me", context=context), InvalidConfiguration)
    assert "needs nobody to be signed in" in message
    assert f"({file}:" in message
    assert not aws.requests


async def test_there_is_no_device_code(context: Context) -> None:
    assert "remote=True" in await message_of(
        sign_in("me", new=True, use_device_code=True, context=context), InvalidConfiguration
    )


async def test_the_folder_of_the_variable(aws: Loopback, home: Path, person: Person) -> None:
    context = Context({**aws.environ, "AWS_LOGIN_CACHE_DIRECTORY": str(home / "kept")}, home=home)
    await sign_in("me", new=True, prompt=person, remote=False, context=context)
    assert (home / "kept" / login_token_file(home).name).exists()
    [ended] = await sign_out("me", context=context)
    assert ended.path == str(home / "kept" / login_token_file(home).name)
    assert not (home / "kept" / login_token_file(home).name).exists()


# The hook of the sources.


async def test_a_program_passes_sign_in(context: Context, home: Path, person: Person) -> None:
    write_config(home, PROFILE)
    asked: list[dict[str, str]] = []

    async def hook(required: LoginRequired) -> None:
        asked.append(required.sign_in)
        await sign_in(required, prompt=person, remote=False, context=context)

    both = from_login("me", sign_in=hook, context=context), from_login("me", sign_in=hook, context=context)
    found = await asyncio.gather(*(provider() for provider in both))
    assert asked == [{"profile": "me"}], "the second one goes on with the sign-in of the first"
    assert len({credentials.access_key_id for credentials in found}) == 1


async def test_nobody_is_asked_behind_a_caller(aws: Loopback, context: Context, home: Path) -> None:
    """A background refresh asks nobody."""
    write_config(home, PROFILE)
    file = aws.sign_in.login(home)
    asked: list[LoginRequired] = []

    async def hook(required: LoginRequired) -> None:
        asked.append(required)
        raise required

    provider = from_login("me", sign_in=hook, context=context)
    await provider()
    file.unlink()
    async with provider:
        provider.invalidate()
        await until(lambda: provider.status.failures > 0)
    assert not asked
    provider.invalidate()
    await provider()  # still good
    with pytest.raises(LoginRequired):
        await provider.fetch()
    assert asked


async def test_a_client_of_the_program(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    seen: list[str] = []

    async def middleware(request: Any, handler: Any) -> Any:
        seen.append(request.url.path)
        return await handler(request)

    client = ClientConfig(middlewares=[middleware])
    await sign_in("me", new=True, prompt=person, remote=False, client=client, context=context)
    assert seen == [SIGN_IN]
