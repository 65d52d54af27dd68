"""explain(): what was looked at, as data; and that nothing is kept when nobody asks."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    ChainExhausted,
    Credentials,
    CredentialsNotFound,
    InvalidConfiguration,
    ServiceRefused,
    SourceUnavailable,
    chain,
    default_chain,
    explain,
    from_env,
    from_ini,
    from_temporary_credentials,
)
from aiocreds._aws import sts
from aiocreds._aws.client import ClientConfig, ServiceClient, config_scope
from aiocreds._base import tracing
from aiocreds._core.context import Context
from aiocreds.cli import explain as command
from tests.helpers.loopback_aws import Answer, Loopback, sts_error
from tests.helpers.scripted import Source, issue, settle
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.sign_in_services import ACCOUNT, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from pathlib import Path

    from aiocreds._explain import Step

ROLE = "arn:aws:iam::123456789012:role/app"
KEY = "AKIAIOSFODNN7EXAMPLE"
SSO = (
    f"[profile dev]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
    f"[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = {START_URL}\n"
)


def named(step: Step, name: str) -> Step:
    return next(inner for inner in step.walk() if inner.name == name)


def looks(step: Step) -> dict[str, str]:
    return {look.place: look.found for look in step.looked_at}


def keys(environ: dict[str, str], key: str = KEY) -> None:
    environ |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret()}


# The tree.


async def test_a_source_tells_what_it_looked_at(environ: dict[str, str], context: Context) -> None:
    keys(environ)
    explanation = await explain(from_env(context=context))
    step = explanation.step
    assert (step.name, step.outcome, step.error, step.steps) == ("from_env", "found", None, ())
    assert looks(step) == {"AWS_ACCESS_KEY_ID": "****MPLE", "AWS_SECRET_ACCESS_KEY": "set"}
    assert 0 < step.seconds < 5
    assert explanation.winner == step
    assert explanation.identity is not None
    assert (explanation.identity.key, explanation.identity.source) == ("****MPLE", "env")
    assert (explanation.identity.seconds_left, explanation.identity.expiration) == (None, None)
    assert MARK not in repr(explanation)


async def test_a_failure_is_told_and_not_raised(environ: dict[str, str], context: Context) -> None:
    environ["AWS_ACCESS_KEY_ID"] = KEY
    explanation = await explain(from_env(context=context))
    assert explanation.step.outcome == "failed"
    assert isinstance(explanation.error, InvalidConfiguration)
    assert (explanation.winner, explanation.identity) == (None, None)


async def test_a_chain_tells_who_won_and_who_was_not_asked() -> None:
    nothing, gives, never = Source(CredentialsNotFound("not here")), Source(), Source()
    provider = chain(nothing.provider(name="a"), gives.provider(name="b"), never.provider(name="c"))
    explanation = await explain(provider)
    told = [(step.name, step.outcome) for step in explanation.step.walk()]
    assert told == [("chain", "found"), ("a", "nothing here"), ("b", "found"), ("c", "not asked")]
    assert explanation.winner is not None
    assert explanation.winner.name == "b"
    assert not never.calls


async def test_a_source_that_fails_leaves_the_others_unasked() -> None:
    fails, never = Source(SourceUnavailable("down")), Source()
    explanation = await explain(chain(fails.provider(name="a"), never.provider(name="b")))
    assert [(step.name, step.outcome) for step in explanation.step.steps] == [("a", "failed"), ("b", "not asked")]
    assert isinstance(explanation.step.steps[0].error, SourceUnavailable)


async def test_somebody_elses_exception_is_told_without_its_text() -> None:
    explanation = await explain(Source(RuntimeError(secret())).provider())
    assert isinstance(explanation.error, SourceUnavailable)
    assert MARK not in str(explanation.error)


async def test_nobody_has_any(context: Context, environ: dict[str, str]) -> None:
    environ["AWS_EC2_METADATA_DISABLED"] = "true"
    explanation = await explain(default_chain(context=context))
    assert isinstance(explanation.error, ChainExhausted)
    names = ["from_env", "from_ini", "from_token_file", "from_instance_metadata"]
    assert [(step.name, step.outcome) for step in explanation.step.steps] == [(it, "nothing here") for it in names]
    assert looks(explanation.step.steps[-1])["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "not set"


async def test_the_steps_of_a_profile_lie_one_in_another(home: Path, aws: Loopback) -> None:
    config = home / ".aws/config"
    config.write_text(f"[profile app]\nrole_arn = {ROLE}\nsource_profile = dev\n{SSO}")
    aws.sign_in.sso_login(home)
    explanation = await explain(from_ini("app", context=Context(aws.environ, home=home)))
    profile = explanation.step.steps[0]
    sign_in = profile.steps[0]
    assert (profile.name, sign_in.name) == ("profile 'dev'", "SSO sign-in corp")
    assert looks(explanation.step)[f"{config}:2"] == f"role_arn = {ROLE}"
    assert looks(profile)[f"{config}:5"] == "sso_session = corp"
    host = aws.url.removeprefix("http://")
    assert looks(explanation.step)[host].startswith("sts in eu-central-1 (AWS_ENDPOINT_URL_STS), answered 200 (")
    for step, hours in ((explanation.step, 6), (profile, 6), (sign_in, 1)):
        assert step.seconds_left == pytest.approx(hours * 3600, abs=60)
    assert explanation.step.seconds >= profile.seconds >= sign_in.seconds
    assert explanation.identity is not None
    assert (explanation.identity.role, explanation.identity.account) == (ROLE, "123456789012")
    assert profile.identity is not None
    assert profile.identity.role == f"{PERMISSION_SET} in {ACCOUNT}"


async def test_a_renewal_in_a_context_of_its_own_is_told(home: Path, aws: Loopback) -> None:
    (home / ".aws/config").write_text(SSO)
    ended = f"{datetime.now(UTC) - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
    path = aws.sign_in.sso_login(home, expiresAt=ended)
    explanation = await explain(from_ini("dev", context=Context(aws.environ, home=home)))
    sign_in = named(explanation.step, "SSO sign-in corp")
    assert explanation.step.outcome == sign_in.outcome == "found"
    assert [look.found for look in sign_in.looked_at][-1].startswith("renewed until 20")
    assert sign_in.seconds_left == pytest.approx(3600, abs=60)
    assert looks(sign_in)[aws.url.removeprefix("http://")].startswith("sso-oidc in eu-central-1")
    assert str(path) in looks(sign_in)


async def test_a_file_that_is_no_token_tells_no_claims(home: Path, aws: Loopback) -> None:
    for text in (secret("token"), "a.b.c", "a." + "e30" + ".c", f"a.{'W10'}.c", "a.bnVsbA.c"):
        (home / "token").write_text(text)
        environ = {**aws.environ, "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"), "AWS_ROLE_ARN": ROLE}
        explanation = await explain(default_chain(context=Context(environ, home=home)))
        token = looks(named(explanation.step, "from_token_file"))[str(home / "token")]
        assert token == "a token that does not say when it ends"


async def test_a_wrapping_that_is_of_no_interest_is_left_out(context: Context, environ: dict[str, str]) -> None:
    keys(environ)
    explanation = await explain(default_chain(context=context))
    assert [step.name for step in explanation.step.walk()][:2] == ["chain", "from_env"]
    assert len(list(explanation.step.walk())) == 5
    assert explanation.winner is not None
    assert explanation.winner.name == "from_env"


async def test_events_are_data_and_words_come_last(home: Path, aws: Loopback) -> None:
    config, pair = home / ".aws/config", f"aws_access_key_id = {KEY}\naws_secret_access_key = {secret()}\n"
    config.write_text(f"[profile app]\nrole_arn = {ROLE}-2\nsource_profile = app\nregion = eu-west-1\n{pair}")
    (home / ".aws/credentials").write_text(f"[app]\nrole_arn = {ROLE}\n")
    explanation = await explain(from_ini("app", context=Context({**aws.environ, "AWS_PROFILE": "x"}, home=home)))
    events = [(it.kind, it.place.rpartition("/")[2], it.key, it.value) for it in explanation.step.events()]
    assert events[:6] == [
        ("profiles", "config", "", "1"),
        ("profiles", "credentials", "", "1"),
        ("section", "credentials:1", "profile", "app"),
        ("setting", "credentials:2", "role_arn", ROLE),
        ("setting", "config:3", "source_profile", "app"),
        ("setting", "config:4", "region", "eu-west-1"),
    ]
    hidden = [(it.place, it.overridden_by) for it in explanation.step.events() if it.key == "role_arn"][1:]
    assert hidden[0] == (f"{config}:2", f"{home}/.aws/credentials:2")
    assert [it.value for it in explanation.step.events() if it.key == "aws_secret_access_key"] == [""]
    answer = next(it for it in explanation.step.events() if it.kind == "answer")
    assert (answer.value, answer.key) == ("200", "")
    assert answer.seconds is not None
    words = [look.found for look in explanation.step.looked_at]
    assert words[:4] == ["1 profile", "1 profile", "[profile app]", f"role_arn = {ROLE}"]
    assert f"role_arn is not used: {home}/.aws/credentials:2 comes first" in words


# A provider that is in use.


async def test_what_is_held_is_told_as_such(aws: Loopback, home: Path) -> None:
    context = Context(aws.environ, home=home)
    source = Source().provider(context, name="base")
    await source()
    explanation = await explain(from_temporary_credentials(role_arn=ROLE, source=source, context=context))
    base = named(explanation.step, "base")
    assert (base.outcome, looks(base)) == ("found", {"memory": "kept from an earlier fetch"})
    assert base.identity is not None
    assert source.status.successes == 1


async def test_what_it_brings_is_kept() -> None:
    source = Source()
    provider = source.provider()
    explanation = await explain(provider)
    assert explanation.identity is not None
    assert (await provider()).access_key_id[-4:] == explanation.identity.key[-4:]
    assert source.calls == 1


async def test_a_refresh_asks_the_winner_alone() -> None:
    first, second = Source(CredentialsNotFound("no")), Source()
    provider = chain(first.provider(name="a"), second.provider(name="b"))
    await provider()
    explanation = await explain(provider)
    assert [step.name for step in explanation.step.steps] == ["b"]
    assert looks(explanation.step) == {"memory": "b gave the credentials that are held: it alone is asked"}


async def test_a_flight_under_way_is_waited_for_and_another_explained() -> None:
    source = Source()
    source.gate = asyncio.Event()
    provider = source.provider()
    waiting = asyncio.ensure_future(provider())
    await settle()
    explaining = asyncio.ensure_future(explain(provider))
    await settle()
    source.gate.set()
    explanation = await explaining
    await waiting
    assert explanation.step.outcome == "found"
    assert source.calls == 2


async def test_two_who_explain_at_once_both_hear_all() -> None:
    provider = chain(Source().provider(name="a"))
    both = await asyncio.gather(explain(provider), explain(provider))
    assert [[step.name for step in each.step.steps] for each in both] == [["a"], ["a"]]


async def test_who_explains_may_be_cancelled() -> None:
    source = Source()
    source.gate = asyncio.Event()
    explaining = asyncio.ensure_future(explain(source.provider()))
    await settle()
    explaining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await explaining
    assert source.finished == 1
    assert tracing.current() is None


# When nobody asks.


async def test_nothing_is_recorded_when_nobody_explains() -> None:
    seen: list[object] = []

    async def source() -> Credentials:
        seen.append(tracing.current())
        with tracing.step("a part"):
            tracing.note("here", "there")
            tracing.note_role(ROLE)
            tracing.note_end(datetime.now(UTC))
            tracing.not_asked(["a"])
            seen.append(tracing.current())
        return issue()

    await chain(source)()
    assert seen == [None, None]


async def test_a_refresh_behind_is_not_part_of_the_tale(aws: Loopback, home: Path) -> None:
    records: list[object] = []
    lifetimes = iter((200.0, 3600.0))

    async def base() -> Credentials:
        records.append(tracing.current())
        return issue(next(lifetimes))

    context = Context(aws.environ, home=home)
    role = from_temporary_credentials(role_arn=ROLE, source=base, context=context)
    await explain(role)
    await role.fetch()
    assert records[0] is not None
    assert all(record is None for record in records[1:])


async def test_the_tokens_names_of_old(environ: dict[str, str], context: Context, home: Path) -> None:
    keys(environ, "ASIAIOSFODNN7EXAMPLE")
    environ["AWS_SECURITY_TOKEN"] = secret("old")
    explanation = await explain(from_env(context=context))
    assert looks(explanation.step)["AWS_SECURITY_TOKEN"] == "set"
    assert "AWS_SESSION_TOKEN" not in looks(explanation.step)
    assert not explanation.warnings
    environ.clear()
    file = home / ".aws/credentials"
    lines = ["[default]", f"aws_access_key_id = {KEY}", f"aws_secret_access_key = {secret()}"]
    file.write_text("\n".join([*lines, f"aws_security_token = {secret('old')}"]))
    explanation = await explain(from_ini(context=context))
    assert looks(explanation.step)[f"{file}:4"] == "aws_security_token is set"
    assert not explanation.warnings
    file.write_text(f"{file.read_text()}\naws_session_token = {secret('new')}\n")
    explanation = await explain(from_ini(context=context))
    assert looks(explanation.step)[f"{file}:5"] == "aws_session_token is set"
    assert explanation.warnings == (f"{file}:4: aws_security_token is not used: aws_session_token comes first",)


# Warnings.


@pytest.mark.parametrize(
    ("variables", "warning"),
    [
        ({"AWS_PROFILE": "app"}, "the keys in AWS_ACCESS_KEY_ID hide AWS_PROFILE=app"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-1"}, "disagree"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, "AWS_WEB_IDENTITY_TOKEN_FILE is set, and the web identity is not"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "/t"}, "AWS_CONTAINER_CREDENTIALS_FULL_URI is set, and the"),
        ({"AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE"}, "AWS_SESSION_TOKEN is not set"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "x"}, "no keys that it could"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SECURITY_TOKEN": "x"},
            "AWS_SECURITY_TOKEN is set",
        ),
        (
            {"AWS_SESSION_TOKEN": secret("new"), "AWS_SECURITY_TOKEN": secret("old")},
            "AWS_SECURITY_TOKEN: is not used",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_DEFAULT_PROFILE": "x"},
            "most other SDKs read only AWS_PROFILE",
        ),
    ],
)
async def test_what_looks_like_a_mistake_is_told(
    variables: dict[str, str], warning: str, environ: dict[str, str], context: Context
) -> None:
    keys(environ)
    environ |= {"AWS_EC2_METADATA_DISABLED": "1", **variables}
    warnings = (await explain(default_chain(context=context))).warnings
    assert len(warnings) == 1
    assert warning in warnings[0]


async def test_there_is_no_warning_without_a_reason(environ: dict[str, str], context: Context) -> None:
    keys(environ)
    environ |= {"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1"}
    assert (await explain(default_chain(context=context))).warnings == ()
    del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    environ["AWS_EC2_METADATA_DISABLED"] = "1"
    assert (await explain(default_chain(context=context))).warnings == ()


@pytest.mark.parametrize(
    ("profile", "unused"),
    [
        ("[profile app]\nrole_arn = {role}\nsource_profile = app\n{keys}", []),
        ("[profile app]\nrole_arn = {role}\nsource_profile = base\n{keys}", ["aws_access_key_id"]),
        ("[profile app]\nrole_arn = {role}\nsource_profile = base\nlogin_session = x\n", ["login_session"]),
        ("[profile app]\n{keys}credential_process = x\n", ["credential_process"]),
        ("[profile app]\n{keys}", []),
    ],
)
async def test_what_a_profile_has_to_no_effect_is_told(
    profile: str, unused: list[str], aws: Loopback, home: Path
) -> None:
    pair = f"aws_access_key_id = {KEY}\naws_secret_access_key = {secret()}\n"
    (home / ".aws/config").write_text(profile.format(role=ROLE, keys=pair))
    (home / ".aws/credentials").write_text(f"[base]\n{pair}")
    explanation = await explain(from_ini("app", context=Context(aws.environ, home=home)))
    assert explanation.step.outcome == "found"
    assert [warning.split()[1] for warning in explanation.warnings] == unused


async def test_a_profile_named_in_code_is_not_said_to_come_from_a_variable(home: Path) -> None:
    context = Context({"AWS_PROFILE": "other"}, home=home)
    assert "AWS_PROFILE" not in looks((await explain(from_ini("app", context=context))).step)
    assert looks((await explain(from_ini(context=context))).step)["AWS_PROFILE"] == "other"


# GetCallerIdentity.


async def service(context: Context) -> ServiceClient:
    return ServiceClient("sts", ClientConfig(), await config_scope(context), "eu-central-1")


async def test_who_calls_is_asked_with_a_signature(aws: Loopback, home: Path) -> None:
    context = Context(aws.environ, home=home)
    credentials = issue()
    aws.secrets[credentials.access_key_id] = (credentials.secret_access_key, credentials.session_token)
    caller = await sts.get_caller_identity(await service(context), credentials)
    assert caller == ("123456789012", "arn:aws:iam::123456789012:user/me", "AIDATEST")
    assert aws.requests[-1].form == {"Action": "GetCallerIdentity", "Version": "2011-06-15"}


async def test_a_no_tells_what_to_do(aws: Loopback, home: Path) -> None:
    aws.always("/", sts_error("InvalidClientTokenId"))
    with pytest.raises(ServiceRefused, match=r"refused to say who calls for .*these keys do not exist"):
        await sts.get_caller_identity(await service(Context(aws.environ, home=home)), issue())


async def test_an_answer_without_an_identity_is_none(aws: Loopback, home: Path) -> None:
    aws.always("/", Answer(body="<Answer/>"))
    with pytest.raises(SourceUnavailable, match="answered without an Account and an Arn"):
        await sts.get_caller_identity(await service(Context(aws.environ, home=home)), issue())


# The command.

STEP = {
    "name": str,
    "outcome": str,
    "seconds": float,
    "looked_at": list,
    "identity": (dict, type(None)),
    "expiration": (str, type(None)),
    "seconds_left": (float, type(None)),
    "error": (dict, type(None)),
    "steps": list,
}
DOCUMENT = {
    "version": int,
    "exit_status": int,
    "winner": (str, type(None)),
    "identity": (dict, type(None)),
    "caller": (dict, type(None)),
    "region": (dict, type(None)),
    "error": (dict, type(None)),
    "warnings": list,
    "step": dict,
    "check": (dict, type(None)),
}
IDENTITY = {
    "key": str,
    "account": (str, type(None)),
    "role": (str, type(None)),
    "source": (str, type(None)),
    "expiration": (str, type(None)),
    "seconds_left": (float, type(None)),
    "may_outlive_expiry": bool,
}
ERROR = {
    "type": str,
    "provider": (str, type(None)),
    "message": str,
    "code": (str, type(None)),
    "command": (str, type(None)),
    "notes": list,
}


def check(document: dict[str, Any], schema: dict[str, Any]) -> None:
    assert list(document) == list(schema)
    for name, kind in schema.items():
        assert isinstance(document[name], kind), name


def check_step(step: dict[str, Any]) -> None:
    check(step, STEP)
    assert step["outcome"] in ("found", "nothing here", "failed", "not asked")
    for look in step["looked_at"]:
        check(look, {"place": str, "found": str})
    if step["identity"]:
        check(step["identity"], IDENTITY)
    if step["error"]:
        check(step["error"], ERROR)
    for inner in step["steps"]:
        check_step(inner)


@pytest.mark.parametrize("set_up", ["role", "refused", "nothing", "signed out"])
async def test_the_json_has_one_shape(set_up: str, aws: Loopback, home: Path) -> None:
    (home / ".aws/config").write_text(f"[profile app]\nrole_arn = {ROLE}\nsource_profile = dev\n{SSO}")
    if set_up != "signed out":
        aws.sign_in.sso_login(home)
    if set_up == "refused":
        aws.always("/", sts_error("AccessDenied"))
    environ = {**aws.environ, "AWS_EC2_METADATA_DISABLED": "1"}
    profile = None if set_up == "nothing" else "app"
    report = await command.examine(profile, context=Context(environ, home=home))
    text = json.dumps(report.document())
    assert MARK not in text
    document = json.loads(text)
    check(document, DOCUMENT)
    for step in filter(None, (document["step"], document["check"])):
        check_step(step)
    if document["error"]:
        check(document["error"], ERROR)
    if document["caller"]:
        check(document["caller"], {"account": str, "arn": str, "user_id": str})
    assert document["version"] == 1
    expected = {
        "role": (0, None, None),
        "refused": (2, "AccessDenied", None),
        "nothing": (1, None, None),
        "signed out": (2, None, "aiocreds login --sso-session corp"),
    }
    error = document["error"] or {"code": None, "command": None}
    told = (document["exit_status"], error["code"], error["command"])
    assert (told[0], told[1]) == expected[set_up][:2]
    assert document["winner"] == ("from_ini" if set_up == "role" else None)


async def test_plain_text_needs_no_unicode(context: Context, environ: dict[str, str]) -> None:
    environ["AWS_EC2_METADATA_DISABLED"] = "1"
    report = await command.examine(offline=True, context=context)
    assert report.text(80, encoding="ascii").isascii()
    assert report.text(80, encoding=None).isascii()
    assert "├─ · environment (from_env)" in report.text(80)
    assert max(map(len, report.text(80).splitlines())) <= 80


async def test_no_file_steers_the_terminal(home: Path) -> None:
    (home / ".aws/config").write_text("[profile app]\nrole_arn = a\x1b[31mb\x07\nsource_profile = app\n")
    report = await command.examine("app", offline=True, context=Context({}, home=home))
    text = report.text(80)
    assert report.code == 2
    assert text.replace("\n", "").isprintable()


def test_a_terminal_gets_the_same_words(context: Context, environ: dict[str, str]) -> None:
    keys(environ)
    environ["AWS_PROFILE"] = "[bold]x[/bold]"
    report = asyncio.run(command.examine(offline=True, context=context))
    coloured = report.text(100, colours=True)
    assert re.sub(r"\x1b\[[\d;]+m", "", coloured).splitlines() == report.text(100).splitlines()
    assert coloured.startswith("\x1b[1;32m✓ environment (from_env) wins")
    assert "[bold]x[/bold]" in coloured


@pytest.mark.slow
async def test_a_person_is_asked_for_a_code() -> None:
    program = (
        "import asyncio\n"
        "from aiocreds.cli._common import ask_for_code\n"
        "print(len(asyncio.run(ask_for_code('arn:aws:iam::123456789012:mfa/me')).strip()))"
    )
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", "--wait", sys.executable, "-c", program),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(theirs)
    prompt = b""
    while not prompt.endswith(b": "):
        prompt += await asyncio.to_thread(os.read, ours, 100)
    os.write(ours, b"123456\n")
    out, _ = await process.communicate()
    os.close(ours)
    assert prompt == b"MFA code of arn:aws:iam::123456789012:mfa/me: "
    assert out == b"6\n"


def test_the_command_prints_and_returns_its_status(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    context = Context({"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret()}, home=home)
    monkeypatch.setattr(command.examine, "__kwdefaults__", {"provider": None, "offline": False, "context": context})
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.run(parser.parse_args(["--offline"])) == 0
    assert capsys.readouterr().out.startswith("✓ environment (from_env) wins: key ****MPLE")
    assert command.run(parser.parse_args(["--offline", "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["winner"] == "from_env"
    assert command.run(parser.parse_args(["--offline", "--profile", "nobody"])) == 2
    assert "profile 'nobody' is neither in" in capsys.readouterr().out


@pytest.mark.parametrize("minutes", [-120, 30])
async def test_message_and_tree_agree_about_when_a_sign_in_ends(minutes: int, home: Path, aws: Loopback) -> None:
    (home / ".aws/config").write_text(
        SSO.replace("sso_session = corp", f"sso_start_url = {START_URL}\nsso_region = x-1")
    )
    end = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(second=0, microsecond=0)
    path = aws.sign_in.sso_login(home, expiresAt=f"{end:%Y-%m-%dT%H:%M:%SZ}")
    path.rename(path.with_name(hashlib.sha1(START_URL.encode()).hexdigest() + ".json"))
    explanation = await explain(from_ini("dev", context=Context(aws.environ, home=home)))
    sign_in = named(explanation.step, f"SSO sign-in {START_URL}")
    told = f"{'ended' if minutes < 0 else 'ends'} at {end:%Y-%m-%d %H:%M} UTC"
    assert [look.found for look in sign_in.looked_at] == [told]
    assert sign_in.expiration == end
    assert explanation.error is None or told in str(explanation.error)


async def test_as_text_it_is_the_tree(context: Context, environ: dict[str, str]) -> None:
    keys(environ)
    environ |= {"AWS_EC2_METADATA_DISABLED": "1", "AWS_PROFILE": "app"}
    lines = str(await explain(default_chain(context=context))).splitlines()
    assert lines[0].startswith("✓ chain  found (")
    assert lines[1].startswith("├─ ✓ environment (from_env)  found (")
    assert lines[2:5] == [
        "│     AWS_ACCESS_KEY_ID      ****MPLE",
        "│     AWS_SECRET_ACCESS_KEY  set",
        "│     key ****MPLE, no expiration known",
    ]
    assert lines[5:8] == [
        "├─ ○ shared files (from_ini)  not asked",
        "├─ ○ web identity (from_token_file)  not asked",
        "└─ ○ container or instance  not asked",
    ]
    assert lines[8].startswith("! the keys in AWS_ACCESS_KEY_ID hide AWS_PROFILE=app")
    del environ["AWS_ACCESS_KEY_ID"]
    tree = str(await explain(default_chain(context=context)))
    assert "AWS_SECRET_ACCESS_KEY is set but AWS_ACCESS_KEY_ID is not" in tree, "nothing else tells the error"


@pytest.mark.parametrize(
    ("variables", "config", "told"),
    [
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "us-east-1"}, "", "eu-central-1 (AWS_REGION)"),
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "", "us-east-1 (AWS_DEFAULT_REGION)"),
        ({}, "[default]\nregion = eu-west-1\n", "eu-west-1 (~/.aws/config:2)"),
        ({}, "", "none is set: write one into the profile, or set AWS_REGION"),
        ({}, "[broken\n", None),
    ],
)
async def test_the_region_is_told_with_where_it_is_from(
    variables: dict[str, str], config: str, told: str | None, home: Path
) -> None:
    (home / ".aws/config").write_text(config)
    environ = {"AWS_EC2_METADATA_DISABLED": "1", **variables}
    report = await command.examine(offline=True, context=Context(environ, home=home))
    rows = [
        line.removeprefix("region     ") for line in report.text(100).splitlines() if line.startswith("region ")
    ]
    assert rows == ([told] if told else [])
    region = report.document()["region"]
    assert (region and region["name"]) == (told.split()[0] if told and "(" in told else None)


async def test_lines_that_fail_show_no_secret(home: Path) -> None:
    (home / ".aws/config").write_text(
        f"[profile a]\naws_secret_access_key = {secret()}\n"
        f"[profile b]\nrole_arn = {ROLE}\nsource_profile = b\naws_access_key_id = {KEY}\n"
    )
    found: dict[str, str] = {}
    for profile in "ab":
        explanation = await explain(from_ini(profile, context=Context({}, home=home)))
        assert isinstance(explanation.error, InvalidConfiguration)
        found |= {place.rpartition(":")[2]: look for place, look in looks(explanation.step).items()}
    assert found["2"] == "aws_secret_access_key is set"
    assert found["6"] == "aws_access_key_id = ****MPLE"
    assert MARK not in str(found)


async def test_any_async_function_can_be_explained() -> None:
    async def mine() -> Credentials:
        return issue()

    explanation = await explain(mine)
    assert explanation.error is None
    assert explanation.step.name == "mine"


async def test_no_password_of_a_url_is_shown(home: Path) -> None:
    password = secret()
    (home / ".aws" / "config").write_text(
        f"[profile dev]\nsso_start_url = https://me:{password}@corp.test/start\nsso_region = eu-central-1\n"
        f"sso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
    )
    explanation = await explain(from_ini("dev", context=Context({}, home=home)))
    assert password not in str(explanation)
    assert "//****@corp.test/start" in str(explanation)
