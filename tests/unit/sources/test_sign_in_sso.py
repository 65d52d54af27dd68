"""Signing in to IAM Identity Center, and out.

==================================================  ===========================================================
what happens                                        what comes of it
==================================================  ===========================================================
the person approves in the browser                  a token file as AWS CLI writes it, mode 0600
the person denies, or does nothing                  LoginRequired, and no file
the registration is good, ended, or of another kind is used again, or made anew, under AWS CLI's name
device code: pending, slow_down, no answer          goes on, more slowly
device code: expired_token, access_denied           LoginRequired
the service forgets the registration                a new one
the caller is cancelled while a code is exchanged   the sign-in is kept
==================================================  ===========================================================
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import stat
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aiocreds import (
    ClientConfig,
    Context,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    from_sso,
)
from aiocreds._token_cache import storage
from aiocreds._token_cache.cache import Token, TokenCache
from aiocreds.login import Prompt, sign_in, sign_out
from tests.helpers.authorization import DEVICE, LOG_OUT, REGISTER
from tests.helpers.command import PATIENCE
from tests.helpers.failures import failure, message_of
from tests.helpers.loopback_aws import Answer, Loopback, json_error
from tests.helpers.person import Person
from tests.helpers.scripted import until
from tests.helpers.shared_files import APP, LEGACY, ROLE, cached, registration_file, sso_token_file, write_config
from tests.helpers.sign_in_services import ACCOUNT, OIDC, START_URL

if TYPE_CHECKING:
    from pathlib import Path

SCOPED = APP + "sso_registration_scopes = sso:account:access, codecatalyst:read_write\n"


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture(autouse=True)
def config(home: Path) -> Path:
    """The profiles ``app``, of the session corp, and ``old``, in the older form."""
    return write_config(home, APP + LEGACY)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds.sources.sso.sign_in.SLOWER", 0.05)


@pytest.fixture
def person() -> Person:
    return Person()


def asked(aws: Loopback, path: str) -> list[dict[str, Any]]:
    """The JSON that a path was asked with."""
    return [json.loads(seen.body) for seen in aws.requests if seen.path == path]


def confirm(aws: Loopback) -> None:
    """Confirm the device codes, as a person does elsewhere."""
    for device in aws.sign_in.authorization.devices.values():
        device.answer = "approved"


# In the browser.


@pytest.mark.parametrize("given", [{"profile": "app"}, {"sso_session": "corp"}])
async def test_a_person_signs_in_to_a_session(
    aws: Loopback, context: Context, home: Path, person: Person, given: dict[str, Any]
) -> None:
    signed_in = await sign_in(**given, prompt=person, open_browser=False, use_device_code=False, context=context)
    await person.home()
    assert person.pages == [(200, person.pages[0][1])]
    assert "You are signed in. You may close this window." in person.pages[0][1]
    path, token = sso_token_file(home), cached(sso_token_file(home))
    assert signed_in[:2] == ("corp", str(path))
    assert signed_in.renewable
    assert f"{signed_in.expiration:%Y-%m-%dT%H:%M:%SZ}" == token["expiresAt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (token["startUrl"], token["region"]) == (START_URL, "eu-central-1")
    registration = cached(registration_file(home))
    assert {name: token[name] for name in ("clientId", "clientSecret")} == {
        name: registration[name] for name in ("clientId", "clientSecret")
    }
    assert token["registrationExpiresAt"] == registration["expiresAt"]
    assert registration["scopes"] == ["sso:account:access"]
    assert registration["grantTypes"] == ["authorization_code", "refresh_token"]
    assert stat.S_IMODE(registration_file(home).stat().st_mode) == 0o600
    assert {file.suffix for file in path.parent.iterdir()} <= {".json", ".lock"}
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT
    assert token["refreshToken"] in aws.sign_in.registrations[token["clientId"]].refresh_tokens


async def test_what_the_browser_is_sent_with(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    write_config(home, SCOPED)
    await sign_in("app", prompt=person, use_device_code=False, context=context)
    [prompt] = person.prompts
    url = urlsplit(prompt.url)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{aws.url}/authorize"
    assert query["scopes"] == "sso:account:access codecatalyst:read_write"
    assert query["code_challenge_method"] == "S256"
    [exchange] = asked(aws, OIDC)
    digest = hashlib.sha256(exchange["codeVerifier"].encode()).digest()
    assert len(digest) == 32
    assert exchange["redirectUri"] == query["redirect_uri"]
    assert urlsplit(query["redirect_uri"]).hostname == "127.0.0.1"
    assert (prompt.name, prompt.user_code, prompt.wants_code, prompt.opened) == ("corp", None, False, False)
    scopes = ["sso:account:access", "codecatalyst:read_write"]
    assert cached(registration_file(home, scopes=scopes))["scopes"] == scopes


async def test_a_profile_of_the_older_form(context: Context, home: Path, person: Person) -> None:
    signed_in = await sign_in("old", prompt=person, use_device_code=False, context=context)
    assert (signed_in.name, signed_in.renewable) == (START_URL, False)
    assert cached(sso_token_file(home, START_URL))["accessToken"]
    assert registration_file(home, None).exists()
    assert (await from_sso("old", context=context)()).account_id == ACCOUNT


async def test_the_source_of_a_role(context: Context, home: Path, person: Person) -> None:
    write_config(home, APP + "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = app\n")
    assert (await sign_in("role", prompt=person, use_device_code=False, context=context)).name == "corp"


async def test_a_portal_that_no_file_knows_yet(context: Context, home: Path, person: Person) -> None:
    """As for a config file that is about to be written."""
    write_config(home, "")
    signed_in = await sign_in(
        sso_session="new",
        sso_start_url=START_URL,
        sso_region="eu-central-1",
        sso_registration_scopes=["sso:account:access"],
        prompt=person,
        use_device_code=False,
        context=context,
    )
    assert signed_in.path == str(sso_token_file(home, "new"))
    assert registration_file(home, "new", ["sso:account:access"]).exists()


async def test_the_registration_is_used_again(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    for _ in range(2):
        await sign_in("app", prompt=person, use_device_code=False, context=context)
    assert aws.count(REGISTER) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "no time"},
        {"grantTypes": ["refresh_token"]},
        {"grantTypes": "authorization_code"},
        {"clientSecret": None},
    ],
    ids=str,
)
async def test_a_registration_that_is_no_good_is_made_anew(
    aws: Loopback, context: Context, home: Path, person: Person, wrong: dict[str, Any]
) -> None:
    await sign_in("app", prompt=person, use_device_code=False, context=context)
    file = registration_file(home)
    file.write_text(json.dumps({**cached(file), **wrong}))
    await sign_in("app", prompt=person, use_device_code=False, context=context)
    assert aws.count(REGISTER) == 2
    assert cached(file)["expiresAt"] > "2026"


async def test_the_person_denies(context: Context, home: Path) -> None:
    person = Person("deny")
    message = await message_of(sign_in("app", prompt=person, use_device_code=False, context=context), LoginRequired)
    await person.home()
    assert "ended in the browser (access_denied): run aiocreds login --sso-session corp" in message
    assert "You are not signed in" in person.pages[0][1]
    assert not sso_token_file(home).exists()


async def test_nobody_comes(context: Context, home: Path) -> None:
    person = Person(None)
    attempt = sign_in("app", prompt=person, use_device_code=False, timeout=0.05, context=context)
    assert "nobody signed in in time: run" in await message_of(attempt, LoginRequired)
    assert not sso_token_file(home).exists()


async def test_the_service_refuses_the_code(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    aws.script(OIDC, json_error(400, "InvalidGrantException", error="invalid_grant"))
    attempt = sign_in("app", prompt=person, use_device_code=False, context=context)
    assert "InvalidGrantException" in await message_of(attempt, LoginRequired)
    await person.home()
    assert "You are not signed in" in person.pages[0][1]
    assert not sso_token_file(home).exists()


async def test_a_forgotten_registration_is_not_used_again(
    aws: Loopback, context: Context, home: Path, person: Person
) -> None:
    aws.script(OIDC, json_error(401, "InvalidClientException", error="invalid_client"))
    await message_of(sign_in("app", prompt=person, use_device_code=False, context=context), LoginRequired)
    assert not registration_file(home).exists()


async def test_it_cannot_be_kept(context: Context, home: Path, aws: Loopback, person: Person) -> None:
    """That shows before the person has done anything."""
    (home / ".aws/sso").write_text("no folder")
    message = await message_of(sign_in("app", prompt=person, context=context), InvalidConfiguration)
    assert ".aws/sso/cache" in message
    assert not aws.requests
    assert not person.prompts


@pytest.mark.parametrize("here", [False, True], ids=["thread", "loop"])
async def test_the_caller_is_cancelled_during_the_exchange(
    aws: Loopback, context: Context, home: Path, person: Person, here: bool
) -> None:
    aws.script(OIDC, lambda answer: Answer(answer.status, answer.body, answer.headers, delay=0.2))

    async def middleware(request: Any, handler: Any) -> Any:
        return await handler(request)

    client = ClientConfig(middlewares=[middleware] if here else [])
    task = asyncio.create_task(sign_in("app", prompt=person, use_device_code=False, client=client, context=context))
    await until(lambda: aws.count(OIDC) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(sso_token_file(home).exists)
    token = cached(sso_token_file(home))
    assert token["refreshToken"] in aws.sign_in.registrations[token["clientId"]].refresh_tokens


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
    await sign_in("app", prompt=person, use_device_code=False, context=context)
    assert shown == ["****", "****"], "the registration and the token"


@pytest.mark.slow
async def test_a_program_that_waits_goes_on(context: Context, person: Person) -> None:
    provider = from_sso("app", context=context)
    required = await message_of(provider(), LoginRequired)
    assert "run aiocreds login --sso-session corp" in required
    await sign_in("app", prompt=person, use_device_code=False, context=context)
    async with asyncio.timeout(10):
        while True:
            try:
                credentials = await provider()
            except LoginRequired:
                await asyncio.sleep(0.05)
            else:
                break
    assert credentials.account_id == ACCOUNT


async def test_two_sign_in_at_once(aws: Loopback, context: Context, home: Path) -> None:
    """In their own windows; the later one counts, and is whole."""
    both = Person(), Person()
    attempts = (sign_in("app", prompt=person, use_device_code=False, context=context) for person in both)
    await asyncio.gather(*attempts)
    for person in both:
        await person.home()
        assert "You are signed in" in person.pages[0][1]
    token = cached(sso_token_file(home))
    assert token["refreshToken"] in aws.sign_in.registrations[token["clientId"]].refresh_tokens
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


async def test_a_renewal_does_not_undo_a_sign_in(
    aws: Loopback, context: Context, home: Path, person: Person
) -> None:
    """One that another program had begun before, with the old refresh token."""
    file = aws.sign_in.sso_login(home, expiresAt="2020-06-17T10:02:08Z")
    aws.script(OIDC, lambda answer: Answer(answer.status, answer.body, answer.headers, delay=0.5))
    renewal = asyncio.create_task(from_sso("app", context=context)())
    await until(lambda: aws.count(OIDC) == 1)
    old = cached(file)["clientId"]
    await sign_in("app", prompt=person, use_device_code=False, context=context)
    await renewal
    token = cached(file)
    assert token["clientId"] != old
    assert token["refreshToken"] in aws.sign_in.registrations[token["clientId"]].refresh_tokens


# With a device code.


async def test_a_device_code(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    aws.sign_in.authorization.interval = 0.05
    signed_in = await sign_in("app", prompt=person, use_device_code=True, context=context)
    [prompt] = person.prompts
    assert (prompt.user_code, prompt.wants_code) == ("ABCD-EFGH", False)
    assert prompt.url == f"{aws.url}/verify?user_code=ABCD-EFGH"
    assert signed_in.renewable
    registration = cached(registration_file(home))
    assert "grantTypes" not in registration, "else AWS CLI would take it for one for codes of a browser"
    assert cached(sso_token_file(home))["clientId"] == registration["clientId"]
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


async def test_without_a_browser_it_is_a_device_code(aws: Loopback, context: Context, person: Person) -> None:
    aws.sign_in.authorization.interval = 0.05
    await sign_in("app", prompt=person, context=context)
    assert aws.count(DEVICE) == 1


async def test_pauses_of_a_device_code(aws: Loopback, context: Context, home: Path) -> None:
    """It polls until the person has said yes, more slowly when told to, and when nothing answers."""
    aws.sign_in.authorization.interval = 0.02
    pending = json_error(400, "AuthorizationPendingException", error="authorization_pending")
    slow = json_error(400, "SlowDownException", error="slow_down")
    aws.script(OIDC, pending, slow, Answer(503), pending)
    person = Person(None)
    loop = asyncio.get_running_loop()
    before = loop.time()
    task = asyncio.create_task(sign_in("app", prompt=person, use_device_code=True, context=context))
    await until(lambda: aws.count(OIDC) >= 4)
    # 0.02, 0.02, then 0.07 after slow_down, then 0.14 after no answer; never less, however busy the machine is.
    assert loop.time() - before >= 0.02 + 0.02 + 0.07 + 0.14
    await person.go(f"{aws.url}/verify")
    await task
    assert sso_token_file(home).exists()


@pytest.mark.parametrize(
    ("code", "exception"),
    [("expired_token", "ExpiredTokenException"), ("access_denied", "AccessDeniedException")],
)
async def test_a_device_code_that_ends(
    aws: Loopback, context: Context, home: Path, person: Person, code: str, exception: str
) -> None:
    aws.sign_in.authorization.interval = 0.02
    aws.script(OIDC, json_error(400, exception, error=code))
    attempt = sign_in("app", prompt=person, use_device_code=True, context=context)
    assert code in await message_of(attempt, LoginRequired)
    assert not sso_token_file(home).exists()


async def test_nobody_confirms_the_code(aws: Loopback, context: Context) -> None:
    aws.sign_in.authorization.interval = 0.05
    attempt = sign_in("app", prompt=Person(None), use_device_code=True, timeout=0.12, context=context)
    assert "nobody confirmed the code in time" in await message_of(attempt, LoginRequired)


async def test_a_code_that_is_confirmed_at_the_end_counts(
    aws: Loopback, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last poll in time, and before the time limit. The pauses pass at once, and move the clock."""
    aws.sign_in.authorization.interval = 400.0
    aws.script(OIDC, json_error(400, "AuthorizationPendingException", error="authorization_pending"))
    pauses: list[float] = []
    loop = asyncio.get_running_loop()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            confirm(aws)

    clock = SimpleNamespace(time=lambda: loop.time() + sum(pauses))
    pretended = vars(asyncio) | {"sleep": pause, "get_running_loop": lambda: clock}
    monkeypatch.setattr("aiocreds.sources.sso.sign_in.asyncio", SimpleNamespace(**pretended))
    await sign_in("app", prompt=Person(None), use_device_code=True, timeout=500.0, context=context)
    assert (len(pauses), pauses[0]) == (2, 400.0)
    assert pauses[1] <= 100.0


async def test_a_code_is_looked_at_once_however_short_the_time_is(aws: Loopback, context: Context) -> None:
    """The time limit is shorter than the pause that the service wants."""
    aws.sign_in.authorization.interval = 600.0

    async def confirmed(prompt: Prompt) -> None:
        confirm(aws)

    await sign_in("app", prompt=confirmed, use_device_code=True, timeout=0.1, context=context)
    assert aws.count(OIDC) == 1


@pytest.mark.parametrize("device_code", [True, False])
async def test_the_time_limit_is_one_for_the_prompt_as_well(
    context: Context, home: Path, device_code: bool
) -> None:
    """Such as a dialog that nobody closes."""

    async def dialog(prompt: Prompt) -> None:
        await asyncio.Event().wait()

    attempt = sign_in("app", prompt=dialog, use_device_code=device_code, timeout=0.05, context=context)
    async with asyncio.timeout(PATIENCE):
        message = await message_of(attempt, LoginRequired)
    assert ("nobody confirmed the code in time" if device_code else "nobody signed in in time") in message
    assert not sso_token_file(home).exists()


async def test_the_service_has_forgotten_the_registration(aws: Loopback, context: Context, person: Person) -> None:
    aws.sign_in.authorization.interval = 0.02
    await sign_in("app", prompt=person, use_device_code=True, context=context)
    aws.sign_in.registrations.clear()
    await sign_in("app", prompt=person, use_device_code=True, context=context)
    assert aws.count(REGISTER) == 2


async def test_a_registration_that_ends_at_once(aws: Loopback, context: Context, person: Person) -> None:
    aws.sign_in.authorization.registered_for = timedelta(minutes=1)
    await message_of(sign_in("app", prompt=person, use_device_code=True, context=context), SourceUnavailable)


@pytest.mark.parametrize(
    "page", ["file:///etc/passwd", "javascript:alert(1)", "http://evil.test/", "-x", "https://a b"]
)
async def test_a_page_that_is_no_page(aws: Loopback, context: Context, page: str) -> None:
    """A service that is not what it should be cannot have the browser open what it likes."""
    aws.sign_in.authorization.page = page
    opened: list[str] = []
    attempt = sign_in("app", open_browser=opened.append, use_device_code=True, prompt=Person(None), context=context)
    await message_of(attempt, SourceUnavailable)
    assert not opened


# Out again.


async def test_signing_out(aws: Loopback, context: Context, home: Path, person: Person) -> None:
    await sign_in("app", prompt=person, use_device_code=False, context=context)
    token = cached(sso_token_file(home))
    roles = home / ".aws/cli/cache"
    roles.mkdir(parents=True)
    role = {"accountId": ACCOUNT, "roleName": "Developer", "sessionName": "corp"}
    name = hashlib.sha1(json.dumps(role, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    for file in (f"{name}.json", "other.json"):
        (roles / file).write_text(json.dumps({"ProviderType": "sso", "Credentials": {}}))
    [ended] = await sign_out("app", context=context)
    assert ended == (str(sso_token_file(home)), None)
    assert token["accessToken"] not in aws.sign_in.access_tokens
    assert not sso_token_file(home).exists()
    assert registration_file(home).exists(), "the next sign-in uses it"
    assert [file.name for file in roles.iterdir()] == ["other.json"]
    assert await sign_out("app", context=context) == []
    await failure(from_sso("app", context=context), LoginRequired, "run aiocreds login --sso-session corp")


async def test_signing_out_of_everything(aws: Loopback, context: Context, home: Path) -> None:
    files = [aws.sign_in.sso_login(home), aws.sign_in.sso_login(home, None), aws.sign_in.login(home)]
    (home / ".aws/cli/cache").mkdir(parents=True)
    (home / ".aws/cli/cache/x.json").write_text(json.dumps({"ProviderType": "sso", "Credentials": {}}))
    (home / ".aws/cli/cache/y.json").write_text(json.dumps({"Credentials": {}}))
    ended = await sign_out(everything=True, context=context)
    assert {one.path for one in ended} == set(map(str, files))
    assert not aws.sign_in.access_tokens
    assert not any(file.exists() for file in files)
    assert [file.name for file in (home / ".aws/cli/cache").iterdir()] == ["y.json"]


async def test_one_that_cannot_be_read_does_not_keep_the_others(
    aws: Loopback, context: Context, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once the others are ended."""
    files = [aws.sign_in.sso_login(home, f"session-{number}") for number in range(3)]
    (home / ".aws/cli/cache").mkdir(parents=True)
    role = home / ".aws/cli/cache/x.json"
    role.write_text(json.dumps({"ProviderType": "sso", "Credentials": {}}))
    closed, read = sorted(files)[1], storage._read

    def refused(path: str) -> storage.Document | None:
        if path == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(storage, "_read", refused)
    message = await message_of(sign_out(everything=True, context=context), InvalidConfiguration)
    assert f"{closed} cannot be read (permission denied)" in message
    assert [file for file in files if file.exists()] == [closed]
    assert len(aws.sign_in.access_tokens) == 1
    assert not role.exists()


async def test_the_portal_does_not_answer(aws: Loopback, context: Context, home: Path) -> None:
    file = aws.sign_in.sso_login(home)
    aws.always(LOG_OUT, Answer(503))
    [ended] = await sign_out("app", context=context)
    assert "busy or in trouble" in (ended.trouble or "")
    assert not file.exists()


async def test_a_sign_in_that_has_ended_already(aws: Loopback, context: Context, home: Path) -> None:
    aws.sign_in.sso_login(home)
    aws.sign_in.access_tokens.clear()
    [ended] = await sign_out("app", context=context)
    assert ended.trouble is None


# Mistakes.


@pytest.mark.parametrize(
    ("text", "given", "words"),
    [
        ("[profile a]\nsso_session = x\n", {"profile": "a"}, "[sso-session x]"),
        (APP, {"sso_session": "x"}, "[sso-session x]"),
        (APP.replace("eu-central-1", "not/a/region"), {"profile": "app"}, "no region"),
        ("[sso-session corp]\nsso_region = eu-central-1\n", {"sso_session": "corp"}, "no sso_start_url: add it"),
        (
            "[profile a]\naws_access_key_id = a\naws_secret_access_key = b\n",
            {"profile": "a"},
            "needs nobody to be signed in",
        ),
        ("", {"sso_start_url": START_URL}, "without sso_region="),
        ("", {"profile": "a b\n"}, "no name for a profile"),
    ],
)
async def test_mistakes(context: Context, home: Path, text: str, given: dict[str, Any], words: str) -> None:
    write_config(home, text)
    assert words in await message_of(sign_in(**given, context=context), InvalidConfiguration)


async def test_a_role_is_not_needed_to_sign_in(context: Context, home: Path, person: Person) -> None:
    """Only to use it: a person may not know yet which roles there are."""
    write_config(home, APP.replace(ROLE, ""))
    assert (await sign_in("app", prompt=person, use_device_code=False, context=context)).name == "corp"


async def test_scopes_that_the_service_refuses(aws: Loopback, context: Context, person: Person) -> None:
    aws.script(REGISTER, json_error(400, "InvalidScopeException", error="invalid_scope"))
    attempt = sign_in("app", prompt=person, use_device_code=False, context=context)
    assert "correct sso_registration_scopes" in await message_of(attempt, ServiceRefused)


async def test_nothing_of_it_is_logged(
    context: Context, person: Person, caplog: pytest.LogCaptureFixture, home: Path
) -> None:
    """The fixtures fail a test that logs a secret; the state and the verifier are none that they know."""
    with caplog.at_level(logging.DEBUG):
        await sign_in("app", prompt=person, use_device_code=False, context=context)
    query = parse_qs(urlsplit(person.prompts[0].url).query)
    for name in ("state", "code_challenge"):
        assert query[name][0] not in caplog.text
    assert cached(sso_token_file(home))["accessToken"] not in caplog.text
