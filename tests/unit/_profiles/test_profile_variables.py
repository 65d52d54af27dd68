"""Which profile counts where nobody names one in code: ``AWS_PROFILE``, then ``AWS_DEFAULT_PROFILE``.

===========================================  ====================================================
set are                                      it is
===========================================  ====================================================
neither, or blank ones                       ``default``
one                                          what it says
both                                         what ``AWS_PROFILE`` says; where they differ, one warning
either, beside keys in the environment       of no use in the default chain; one warning
===========================================  ====================================================
"""

from __future__ import annotations

import itertools
import json
import logging
import shlex
from typing import TYPE_CHECKING

import pytest

from aiocreds import (
    Context,
    InvalidConfiguration,
    Provider,
    default_chain,
    explain,
    from_ini,
    from_instance_metadata,
    from_login,
    from_process,
    from_sso,
    from_web_token,
)
from aiocreds._core.context import profile_place
from aiocreds._profiles import profile_name
from tests.helpers.command import COMMAND, Machine
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback

NEW, OLD = "AWS_PROFILE", "AWS_DEFAULT_PROFILE"
ROLE_ARN = "arn:aws:iam::123456789012:role/app"
_numbers = itertools.count(1)


@pytest.fixture
def unheard() -> tuple[str, str]:
    """Two names that no warning has named yet: each pair is told once in a process."""
    number = next(_numbers)
    return f"first-{number}", f"second-{number}"


@pytest.fixture
def environ() -> dict[str, str]:
    return {"AWS_EC2_METADATA_DISABLED": "true"}


def keys(name: str) -> str:
    return f"aws_access_key_id = AKIA{name.upper().ljust(12, '0')}\naws_secret_access_key = {secret()}\n"


def write(home: Path, **profiles: str) -> None:
    sections = (f"[{'' if name == 'default' else 'profile '}{name}]\n{text}" for name, text in profiles.items())
    (home / ".aws/config").write_text("".join(sections))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("explicit", "new", "old", "name", "place"),
    [
        (None, None, "b", "b", OLD),
        (None, " ", " b\n", "b", OLD),
        (None, "a", None, "a", NEW),
        (None, "a", "a", "a", NEW),
        (None, " ", "", "default", ""),
        ("c", "a", "b", "c", ""),
        (" ", "", "b", "b", OLD),
    ],
)
def test_what_counts(
    explicit: str | None,
    new: str | None,
    old: str | None,
    name: str,
    place: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = Context({key: value for key, value in ((NEW, new), (OLD, old)) if value is not None})
    assert (profile_name(context, explicit), profile_place(context, explicit)) == (name, place)
    assert not warnings(caplog)


async def test_one_warning_names_both(
    unheard: tuple[str, str],
    context: Context,
    environ: dict[str, str],
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = unheard
    write(home, **{first: keys("first"), second: keys("second")})
    environ |= {NEW: first, OLD: second}
    for provider in (from_ini(context=context), default_chain(context=context)):
        for _ in range(2):
            assert (await provider.fetch()).access_key_id == "AKIAFIRST0000000"
    (told,) = warnings(caplog)
    assert told.startswith(f"{NEW}={first} and {OLD}={second} are both set: the first counts here")
    assert (await from_ini(second, context=context)()).access_key_id == "AKIASECOND000000"
    assert len(warnings(caplog)) == 1


SSO = f"sso_start_url = {START_URL}\nsso_region = eu-central-1\nsso_account_id = {ACCOUNT}\nsso_role_name = "
PROFILES: dict[str, tuple[Callable[[Context], Provider], str]] = {
    "from_ini": (lambda context: from_ini(context=context), keys("older")),
    "default_chain": (lambda context: default_chain(context=context), keys("older")),
    "from_sso": (lambda context: from_sso(context=context), f"{SSO}{PERMISSION_SET}\n"),
    "from_login": (lambda context: from_login(context=context), f"login_session = {LOGIN_SESSION}\n"),
    "from_process": (
        lambda context: from_process(context=context),
        "credential_process = /bin/echo '"
        + json.dumps({"Version": 1, "AccessKeyId": "AKIAOLDER0000000", "SecretAccessKey": secret()})
        + "'\n",
    ),
}


@pytest.mark.parametrize("source", PROFILES)
async def test_every_source_of_profiles_looks_at_the_older_variable(
    source: str, context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    factory, lines = PROFILES[source]
    aws.sign_in.sso_login(home, None)
    aws.sign_in.login(home)
    write(home, default="region = eu-central-1\n", older=lines)
    environ |= {**aws.environ, OLD: "older"}
    assert (await factory(context)()).access_key_id[:4] in ("AKIA", "ASIA")
    environ[OLD] = "nowhere"
    with pytest.raises(InvalidConfiguration, match=rf"'nowhere' \(from {OLD}\) .* unset {OLD}"):
        await factory(context)()


async def test_a_web_identity_is_asked_for_in_its_region(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    write(home, default="region = eu-west-1\n", older=f"endpoint_url = {aws.url}\nregion = sa-east-1\n")
    environ[OLD] = "older"
    token = secret("token")
    provider = from_web_token(role_arn=ROLE_ARN, web_identity_token=token, context=context)
    await provider()  # the endpoint is that of the profile
    step = (await explain(provider)).step
    asked = [look.found for look in step.looked_at if "sts in" in look.found]
    assert "sts in sa-east-1" in asked[0]


async def test_instance_metadata_is_asked_where_it_says(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    write(home, default="region = x\n", older=f"ec2_metadata_service_endpoint = {aws.url}\n")
    environ |= {OLD: "older", "AWS_EC2_METADATA_DISABLED": ""}
    await from_instance_metadata(context=context)()
    assert aws.requests


async def test_keys_win_over_it_and_that_is_said_once(
    context: Context, environ: dict[str, str], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(home, older=keys("older"))
    environ |= {OLD: "older", "AWS_ACCESS_KEY_ID": "AKIAENV000000001", "AWS_SECRET_ACCESS_KEY": secret()}
    provider = default_chain(context=context)
    for _ in range(2):
        assert (await provider.fetch()).provider == "env"
    (told,) = warnings(caplog)
    assert f"AWS_ACCESS_KEY_ID and {OLD}=older are both set" in told
    assert (await explain(default_chain(context=context))).warnings == (
        f"the keys in AWS_ACCESS_KEY_ID hide {OLD}=older: unset the keys to use the profile",
    )


async def test_an_explanation_shows_which_counted(
    unheard: tuple[str, str], context: Context, environ: dict[str, str], home: Path
) -> None:
    first, second = unheard
    write(home, **{first: keys("first"), second: keys("second")})
    environ[OLD] = second
    explanation = await explain(from_ini(context=context))
    assert (explanation.step.looked_at[0].place, explanation.step.looked_at[0].found) == (OLD, second)
    (told,) = explanation.warnings
    assert told == f"{OLD}={second} counts here and in boto3; most other SDKs read only {NEW}"
    environ[NEW] = first
    explanation = await explain(default_chain(context=context))
    looks = [(look.place, look.found) for step in explanation.step.walk() for look in step.looked_at]
    assert looks[2:4] == [(NEW, first), (OLD, f"{second}, which counts only where {NEW} is not set")]
    (told,) = explanation.warnings
    assert told.startswith(f"{NEW}={first} and {OLD}={second} are both set: the first counts here")
    assert not (await explain(from_ini(first, context=context))).warnings


@pytest.mark.slow
@pytest.mark.shows_secrets("stdout", because="printing them is what export is for")
async def test_the_command(home: Path, unheard: tuple[str, str]) -> None:
    first, second = unheard
    write(home, **{first: f"{keys('first')}region = a\n", second: f"{keys('second')}region = sa-east-1\n"})
    machine = Machine(home, {OLD: second})
    ended = await machine.aiocreds(
        "exec", "--", "sh", "-c", "echo $AWS_ACCESS_KEY_ID $AWS_REGION $AWS_DEFAULT_PROFILE"
    )
    assert ended.out.split() == ["AKIASECOND000000", "sa-east-1"], ended.err
    ended = await machine.aiocreds("explain", "--offline", **{NEW: first})
    assert ended.status == 0
    assert "key ****0000" in ended.out
    assert "AWS_PROFILE" in ended.out
    told = " ".join(ended.out.split())
    assert told.count("are both set: the first counts here") == 1, ended.out
    assert not ended.err
    ended = await machine.aiocreds("export", "--format", "env", **{NEW: first})
    assert "AKIAFIRST0000000" in ended.out
    assert ended.err.count("are both set") == 1


@pytest.mark.slow
@pytest.mark.shows_secrets("stdout", because="printing them is what export is for")
async def test_a_process_that_asks_for_what_it_is_to_give_is_found_by_either_name(home: Path) -> None:
    write(home, round=f"credential_process = {shlex.join(COMMAND)} export --profile round\n")
    ended = await Machine(home, {OLD: "round"}).aiocreds("export")
    assert ended.status == 3
    assert "asks for the very credentials that it is to give" in ended.err
