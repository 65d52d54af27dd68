"""default_chain: who is asked, in which order, who stops it, and what is said when nobody has any."""

from __future__ import annotations

import json
import re
import shlex
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    ChainExhausted,
    ClientConfig,
    Context,
    Credentials,
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    default_chain,
    explain,
)
from tests.helpers.failures import failure, failure_of
from tests.helpers.loopback_aws import (
    CONTAINER_PATH,
    ROLE,
    ROLES_PATH,
    TOKEN_PATH,
    Answer,
    Hang,
    Loopback,
    Reset,
    sts_error,
)
from tests.helpers.loopback_routes import detour
from tests.helpers.scripted import issue, warned
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from pathlib import Path

    import time_machine

HOUR = 3600.0
TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


def set_keys(environ: dict[str, str], key: str = "AKIAENVIRONMENT0") -> None:
    environ.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret())


def write_profile(home: Path, name: str = "default", key: str = "AKIAPROFILE00000", more: str = "") -> None:
    header = "[default]" if name == "default" else f"[profile {name}]"
    keys = f"aws_access_key_id = {key}\naws_secret_access_key = {secret()}\n" if key else ""
    with (home / ".aws" / "config").open("a") as file:
        file.write(f"{header}\n{keys}{more}\n")


def set_web_identity(environ: dict[str, str], home: Path) -> str:
    """Set the variables of EKS, and write the token."""
    (home / "token").write_text(token := secret("token"))
    environ.update({TOKEN_FILE: str(home / "token"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/pod"})
    return token


SSO: dict[str, Any] = {
    "sso_start_url": START_URL,
    "sso_account_id": ACCOUNT,
    "sso_region": "eu-central-1",
    "sso_role_name": PERMISSION_SET,
}

# The order.


async def test_sso_arguments_come_behind_the_environment_and_before_the_profile(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    aws.sign_in.sso_login(home, None)
    write_profile(home)
    set_keys(environ)
    assert (await default_chain(**SSO, context=context)()).provider == "env"
    assert (await default_chain("default", **SSO, context=context)()).provider == "sso"
    del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    assert (await default_chain(**SSO, context=context)()).provider == "sso"
    assert (await default_chain(context=context)()).provider == "ini"


@pytest.mark.parametrize("argument", SSO)
async def test_one_sso_argument_means_sso(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback, argument: str
) -> None:
    write_profile(home)
    error = await failure_of(default_chain(**{argument: SSO[argument]}, context=context))
    assert isinstance(error, InvalidConfiguration)
    assert error.provider == "from_sso"
    assert not aws.requests


async def test_web_identity_is_not_skipped_for_a_profile_without_credentials(
    context: Context, environ: dict[str, str], home: Path
) -> None:
    write_profile(home, "a", key="", more="region = eu-west-1")
    set_web_identity(environ, home)
    assert (await default_chain("a", context=context)()).provider == "web_identity"


async def test_each_has_its_turn(context: Context, environ: dict[str, str], home: Path, aws: Loopback) -> None:
    """All are there; one after another is taken away."""
    set_keys(environ)
    write_profile(home)
    set_web_identity(environ, home)
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    assert (await default_chain(context=context)()).provider == "env"
    del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    assert (await default_chain(context=context)()).provider == "ini"
    (home / ".aws" / "config").unlink()
    assert not aws.requests
    assert (await default_chain(context=context)()).provider == "web_identity"
    del environ[TOKEN_FILE]
    assert [seen.path for seen in aws.requests] == ["/"]
    assert (await default_chain(context=context)()).provider == "container"
    del environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    assert [seen.path for seen in aws.requests[1:]] == [CONTAINER_PATH]
    assert (await default_chain(context=context)()).provider == "imds"
    assert [seen.path for seen in aws.requests[2:]] == [TOKEN_PATH, ROLES_PATH, ROLES_PATH + ROLE]


async def test_a_profile_with_a_role_or_a_process_is_a_profile(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    printed = json.dumps({"Version": 1, "AccessKeyId": "AKIAPROCESS0", "SecretAccessKey": secret()})
    command = shlex.join([sys.executable, "-c", f"print({printed!r})"])
    write_profile(home, "p", "", f"credential_process = {command}")
    write_profile(home, "r", "", "role_arn = arn:aws:iam::1:role/r\nsource_profile = p")
    assert (await default_chain("p", context=context)()).provider == "process"
    environ["AWS_PROFILE"] = "r"
    assert (await default_chain(context=context)()).provider == "assume_role"
    assert aws.requests[-1].signed_by == "AKIAPROCESS0"


async def test_the_environment_is_skipped_for_a_profile_named_in_code(
    context: Context, environ: dict[str, str], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_keys(environ)
    write_profile(home, "a")
    assert (await default_chain("a", context=context)()).access_key_id == "AKIAPROFILE00000"
    del environ["AWS_ACCESS_KEY_ID"]  # half a pair is no matter either
    assert (await default_chain("a", context=context)()).access_key_id == "AKIAPROFILE00000"
    assert not warned(caplog)


async def test_keys_win_over_aws_profile_and_that_is_said_once(
    context: Context, environ: dict[str, str], home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_keys(environ)
    write_profile(home, "a")
    provider = default_chain(context=context)
    await provider.fetch()
    assert not warned(caplog)
    environ["AWS_PROFILE"] = "a"
    for _ in range(3):
        assert (await provider.fetch()).provider == "env"
    (record,) = warned(caplog)
    assert record.name.startswith("aiocreds")
    assert "AWS_ACCESS_KEY_ID and AWS_PROFILE=a are both set" in record.getMessage()


async def test_its_arguments_reach_whom_they_concern(
    context: Context, environ: dict[str, str], tmp_path: Path, aws: Loopback
) -> None:
    for argument in ("credentials_file", "config_file"):
        file = tmp_path / argument
        file.write_text(f"[default]\naws_access_key_id = {argument}\naws_secret_access_key = {secret()}\n")
    by_credentials = default_chain(credentials_file=str(tmp_path / "credentials_file"), context=context)
    assert (await by_credentials()).access_key_id == "credentials_file"
    by_config = default_chain(config_file=str(tmp_path / "config_file"), context=context)
    assert (await by_config()).access_key_id == "config_file"
    role = tmp_path / "role"
    role.write_text(
        (tmp_path / "config_file").read_text() + "role_arn = arn:aws:iam::1:role/r\nsource_profile = default\n"
    )
    await default_chain(config_file=str(role), client=ClientConfig(region="sa-east-1"), context=context)()
    assert aws.requests[-1].signed_region == "sa-east-1"


async def test_the_arguments_of_sso(
    context: Context, environ: dict[str, str], home: Path, tmp_path: Path, aws: Loopback
) -> None:
    aws.sign_in.sso_login(home)
    aws.sign_in.roles = {("111111111111", "Other")}
    other = tmp_path / "other"
    session = f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = eu-central-1\n"
    other.write_text(f"{session}[profile dev]\nendpoint_url = {aws.url}\n")
    del environ["AWS_ENDPOINT_URL_SSO"]
    provider = default_chain(
        "dev",
        sso_session="corp",
        sso_account_id="111111111111",
        sso_role_name="Other",
        config_file=str(other),
        context=context,
    )
    credentials = await provider()
    assert (credentials.provider, credentials.account_id) == ("sso", "111111111111")


async def test_the_arguments_of_web_identity(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    mine = issue()
    asked: list[dict[str, Any]] = []

    async def assume(**request: Any) -> Credentials:
        asked.append(request)
        return mine

    arguments: dict[str, Any] = {
        "role_arn": "arn:aws:iam::1:role/argument",
        "role_session_name": "me",
        "provider_id": "www.amazon.com",
        "policy_arns": ["arn:aws:iam::aws:policy/A"],
        "policy": "{}",
        "duration_seconds": 900,
    }
    token = set_web_identity(environ, home)
    del environ[TOKEN_FILE]
    provider = default_chain(
        web_identity_token_file="~/token", role_assumer_with_web_identity=assume, **arguments, context=context
    )
    assert await provider() is mine
    assert asked == [{**arguments, "web_identity_token": token}]
    arguments |= {"client": ClientConfig(endpoint_url=aws.url), "web_identity_token_file": "~/token"}
    environ["AWS_ENDPOINT_URL_STS"] = "http://127.0.0.1:1"
    await default_chain(**arguments, context=context)()
    form = aws.requests[-1].form
    assert (form["ProviderId"], form["PolicyArns.member.1.arn"]) == ("www.amazon.com", "arn:aws:iam::aws:policy/A")
    assert (form["Policy"], form["DurationSeconds"], form["RoleSessionName"]) == ("{}", "900", "me")
    assert (form["RoleArn"], form["WebIdentityToken"]) == ("arn:aws:iam::1:role/argument", token)


async def test_the_arguments_of_ec2_metadata(context: Context, environ: dict[str, str], aws: Loopback) -> None:
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:1"
    assert (await default_chain(endpoint=aws.url, context=context)()).provider == "imds"
    aws.v1 = True
    aws.always(TOKEN_PATH, Answer(403))
    assert (await default_chain(endpoint=aws.url, context=context)()).provider == "imds"
    aws.requests.clear()
    error = await failure_of(default_chain(endpoint=aws.url, v1_disabled=True, context=context))
    assert error.provider == "from_instance_metadata"
    assert {seen.path for seen in aws.requests} == {TOKEN_PATH}
    del environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
    wrong: Any = "IPv5"
    error = await failure_of(default_chain(endpoint_mode=wrong, context=context))
    assert "endpoint_mode is 'IPv5'" in str(error)


# Who stops it.


@pytest.mark.parametrize("what", ["file", "role", "refusal", "silence"])
async def test_a_web_identity_that_fails(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback, what: str
) -> None:
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    set_web_identity(environ, home)
    kind: type[CredentialsError] = InvalidConfiguration
    match what:
        case "file":
            (home / "token").unlink()
            words = "does not exist"
        case "role":
            del environ["AWS_ROLE_ARN"]
            words = "AWS_ROLE_ARN"
        case "refusal":
            aws.always("/", sts_error("InvalidIdentityToken", status=400))
            kind, words = ServiceRefused, "InvalidIdentityToken"
        case _:
            aws.always("/", Reset())
            kind, words = SourceUnavailable, "127.0.0.1"
    error = await failure_of(default_chain(client=ClientConfig(max_attempts=1), context=context))
    assert isinstance(error, kind)
    assert error.provider == "from_token_file"
    assert words in str(error)
    assert not aws.count(CONTAINER_PATH)


async def test_an_sso_that_fails(context: Context, home: Path, aws: Loopback) -> None:
    write_profile(home)
    error = await failure_of(default_chain(**SSO, context=context))
    assert isinstance(error, LoginRequired)
    assert "aiocreds login" in str(error)
    assert error.provider == "from_sso"


@pytest.mark.parametrize("there", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
async def test_half_a_pair_in_the_environment(
    context: Context, environ: dict[str, str], home: Path, there: str
) -> None:
    environ[there] = secret()
    write_profile(home)
    error = await failure_of(default_chain(context=context))
    assert isinstance(error, InvalidConfiguration)
    assert error.provider == "from_env"
    assert f"{there} is set but" in str(error)


async def test_keys_that_have_expired(context: Context, environ: dict[str, str], home: Path) -> None:
    set_keys(environ)
    environ["AWS_CREDENTIAL_EXPIRATION"] = "2020-01-01T00:00:00Z"
    write_profile(home)
    error = await failure_of(default_chain(context=context))
    assert isinstance(error, InvalidConfiguration)
    assert "AWS_CREDENTIAL_EXPIRATION" in str(error)


@pytest.mark.parametrize("by", ["argument", "variable"])
async def test_a_named_profile_that_is_missing(
    context: Context, environ: dict[str, str], by: str, aws: Loopback
) -> None:
    environ.update({"AWS_PROFILE": "nowhere"} if by == "variable" else {})
    error = await failure_of(default_chain("nowhere" if by == "argument" else None, context=context))
    assert isinstance(error, InvalidConfiguration)
    assert "'nowhere'" in str(error)
    assert not aws.requests


async def test_a_broken_file(context: Context, home: Path, aws: Loopback) -> None:
    (home / ".aws" / "config").write_text("[default\n")
    assert isinstance(await failure_of(default_chain(context=context)), InvalidConfiguration)
    assert not aws.requests


async def test_a_container_that_fails(context: Context, environ: dict[str, str], aws: Loopback) -> None:
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    aws.always(CONTAINER_PATH, Answer(500))
    error = await failure_of(default_chain(context=context))
    assert isinstance(error, SourceUnavailable)
    assert [seen.path for seen in aws.requests] == [CONTAINER_PATH] * 3


@pytest.mark.parametrize(("max_retries", "requests"), [(None, 3), (0, 1), (1, 2)])
async def test_how_often_a_container_is_asked(
    context: Context, environ: dict[str, str], aws: Loopback, max_retries: int | None, requests: int
) -> None:
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    aws.always(CONTAINER_PATH, Reset())
    await failure_of(default_chain(max_retries=max_retries, context=context))
    assert aws.count(CONTAINER_PATH) == requests


@pytest.mark.parametrize("where", ["container", "EC2"])
async def test_how_long_metadata_may_take(
    context: Context, environ: dict[str, str], aws: Loopback, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    path = CONTAINER_PATH if where == "container" else TOKEN_PATH
    if where == "container":
        environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + path
    aws.always(path, Hang())
    provider = default_chain(timeout=timedelta(milliseconds=250), max_retries=1, context=context)
    assert isinstance(await failure_of(provider), SourceUnavailable)
    assert caplog.text.count("within 0.25 s") == 2
    assert aws.count(path) == 2


async def test_a_relative_container_uri_without_a_slash(context: Context, environ: dict[str, str]) -> None:
    environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "v2/credentials"
    error = await failure_of(default_chain(context=context))
    assert isinstance(error, InvalidConfiguration)
    assert "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" in str(error)


async def test_a_profile_without_credentials_goes_on(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    write_profile(home, key="", more="region = eu-west-1")
    write_profile(home, "named", key="", more="region = eu-west-1")
    assert (await default_chain(context=context)()).provider == "imds"
    assert (await default_chain("named", context=context)()).provider == "imds"
    environ["AWS_PROFILE"] = "named"
    assert (await default_chain(context=context)()).provider == "imds"


# Nobody has any.


async def test_every_reason_is_told(context: Context, environ: dict[str, str], home: Path) -> None:
    environ["AWS_EC2_METADATA_DISABLED"] = "true"
    error = await failure_of(default_chain(context=context))
    assert isinstance(error, ChainExhausted)
    assert [attempt.provider for attempt in error.attempts] == [
        "from_env",
        "from_ini",
        "from_token_file",
        "from_instance_metadata",
    ]
    assert all(type(attempt) is CredentialsNotFound for attempt in error.attempts)
    lines = str(error).splitlines()
    assert len(lines) == 5
    for line, part in zip(
        lines[1:],
        ["AWS_ACCESS_KEY_ID", str(home), "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED"],
        strict=True,
    ):
        assert part in line
    error = await failure_of(default_chain("default", context=context))
    assert isinstance(error, ChainExhausted)
    assert error.attempts[0].provider == "from_ini"


async def test_nothing_at_all_is_said_within_a_moment(
    context: Context, environ: dict[str, str], deaf_port: int
) -> None:
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{deaf_port}"
    error = await failure_of(default_chain(context=context))
    assert isinstance(error, ChainExhausted)
    assert f"127.0.0.1:{deaf_port}" in str(error)


# Later.


async def test_the_winner_is_asked_again_and_nobody_else(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    provider = default_chain(context=context)
    held = await provider()
    write_profile(home)
    set_keys(environ)
    clock.shift(HOUR - 30)
    refreshed = await provider()
    assert refreshed is not held
    assert refreshed.provider == "container"
    aws.down(CONTAINER_PATH)
    clock.shift(HOUR - 30)
    assert await provider() is refreshed
    clock.shift(60)
    assert await provider() is refreshed  # the service decides when its keys die
    assert aws.count(CONTAINER_PATH) == 5
    clock.shift(601)
    assert (await provider()).provider == "env"  # expired and gone: the chain is walked again


async def test_a_profile_that_vanishes_does_not_change_who_we_are(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    write_profile(home)
    provider = default_chain(context=context)
    held = await provider()
    (home / ".aws" / "config").write_text("")
    provider.invalidate(held)
    assert await provider() is held
    assert isinstance(provider.status.last_error, CredentialsNotFound)
    assert not aws.requests


async def test_each_refresh_reads_the_token_anew(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    provider = default_chain(context=context)
    tokens: list[str] = []
    for _ in range(3):
        tokens.append(set_web_identity(environ, home))
        assert (await provider()).provider == "web_identity"
        clock.shift(HOUR - 30)
    assert [seen.form["WebIdentityToken"] for seen in aws.requests] == tokens


async def test_a_proxy_at_the_metadata_address_hides_nothing(aws: Loopback, home: Path) -> None:
    aws.down(by=Answer(403, "<html>sEcReT</html>"))
    async with detour(aws, {}, home) as (context, _):
        error = await failure(default_chain(context=context), ChainExhausted, "AWS_ACCESS_KEY_ID", "'default'")
    assert [attempt.provider for attempt in error.attempts] == [
        "from_env",
        "from_ini",
        "from_token_file",
        "from_instance_metadata",
    ]
    assert "something else, such as a proxy, with HTTP 403" in str(error)


# Asked in the chain's own call.

ROLE_OF_CONTAINER = "role_arn = arn:aws:iam::1:role/app\nsource_profile = base\nregion = eu-west-1\n"


async def test_invalidating_reaches_what_the_profile_draws_from(
    context: Context, environ: dict[str, str], home: Path, aws: Loopback
) -> None:
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    write_profile(home, key="", more=ROLE_OF_CONTAINER)
    write_profile(home, "base", key="", more="credential_source = EcsContainer")
    provider = default_chain(context=context)
    held = await provider()
    assert (held.provider, aws.count(CONTAINER_PATH)) == ("assume_role", 1)
    provider.invalidate()
    assert (await provider()).access_key_id != held.access_key_id
    assert aws.count(CONTAINER_PATH) == 2


async def test_what_a_callback_raises_is_named_after_the_source(
    context: Context, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(serial_number: str) -> str:
        raise KeyError(serial_number)

    write_profile(home, key="", more=f"{ROLE_OF_CONTAINER}mfa_serial = me\n")
    write_profile(home, "base")
    caplog.set_level("DEBUG", "aiocreds.provider")
    error = await failure_of(default_chain(mfa_code=ask, context=context))
    assert isinstance(error, SourceUnavailable)
    assert (error.provider, error.recoverable) == ("from_ini", False)
    assert re.match(
        r"from_ini \(after from_env\): raised KeyError at test_default_chain\.py:\d+ in ask; ", str(error)
    )
    assert isinstance(error.__cause__, KeyError)
    assert any(it.getMessage().startswith("from_ini: Traceback") for it in caplog.records)


async def test_explain_and_the_log_name_the_source(
    context: Context, environ: dict[str, str], aws: Loopback, caplog: pytest.LogCaptureFixture
) -> None:
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    caplog.set_level("INFO", "aiocreds.provider")
    explanation = await explain(default_chain(context=context))
    assert [step.name for step in explanation.step.steps] == [
        "from_env",
        "from_ini",
        "from_token_file",
        "from_container_metadata",
    ]
    assert explanation.winner is not None
    assert explanation.winner.identity is not None
    assert re.search(r"loaded \*{4}\w{4} from from_container_metadata,", caplog.text)


async def test_what_cannot_be_kept_names_the_source_that_gave_it(context: Context, home: Path) -> None:
    """The chain keeps the credentials; whoever reads the message looks for the profile."""
    keys = f"aws_access_key_id = AKIAREJECTED0001\naws_secret_access_key = {secret()}\n"
    (home / ".aws/config").write_text(f"[default]\n{keys}")
    provider = default_chain(context=context)
    provider.invalidate(await provider())
    await provider()
    assert str(provider.status.last_error).startswith("from_ini: handed out ****0001 again")
