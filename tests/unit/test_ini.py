"""from_ini: profiles as their users write them, and what STS gets to see of them."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
import time_machine

from aiocreds import (
    ClientConfig,
    Context,
    CredentialsNotFound,
    InvalidConfiguration,
    ServiceRefused,
    SourceUnavailable,
    chain,
    from_ini,
)
from tests.hush import MARK, secret
from tests.kit import START, settle
from tests.loopback import CONTAINER_PATH, ROLE, ROLES_PATH, Loopback, Reset, sts_error
from tests.unit.test_sts import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiocreds import CredentialsError, Provider

ARN = "arn:aws:iam::123456789012:role/{}"
HOUR = 3600.0


class Pair(NamedTuple):
    """Static keys, as a profile holds them."""

    key: str
    secret: str

    @property
    def lines(self) -> str:
        return f"aws_access_key_id = {self.key}\naws_secret_access_key = {self.secret}\n"


def pair(name: str = "BASE") -> Pair:
    return Pair(f"AKIA{name:0<16}", secret())


class Files:
    """The shared files, and where their lines are."""

    def __init__(self, home: Path) -> None:
        self.config = home / ".aws" / "config"
        self.credentials = home / ".aws" / "credentials"
        self._edits = 0

    def write(self, config: str | bytes = "", credentials: str | bytes = "") -> None:
        self._edits += 1
        for file, text in ((self.config, config), (self.credentials, credentials)):
            file.write_bytes(text.encode() if isinstance(text, str) else text)
            os.utime(file, ns=(0, self._edits * 10**9))

    def at(self, start: str) -> str:
        """The place of the only line that starts so."""
        places = [
            f"{file}:{number}"
            for file in (self.config, self.credentials)
            for number, line in enumerate(file.read_text().splitlines(), 1)
            if line.startswith(start)
        ]
        (place,) = places
        return place


@pytest.fixture
def files(home: Path) -> Files:
    return Files(home)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def at_sts(aws: Loopback, context: Context, *known: Pair) -> None:
    """Point the sources at loopback, where STS knows these keys and no others."""
    assert isinstance(context.environ, dict)
    context.environ.update(aws.environ)
    aws.secrets.update({key: (secret_key, None) for key, secret_key in known})


def role(name: str, source: str = "base", more: str = "") -> str:
    return f"[profile {name}]\nrole_arn = {ARN.format(name)}\nsource_profile = {source}\n{more}\n"


async def wrong(provider: Provider, *parts: str) -> CredentialsError:
    """The provider's complaint about its configuration, with these parts in it."""
    error = await failure_of(provider)
    assert isinstance(error, InvalidConfiguration)
    for part in parts:
        assert part in str(error)
    return error


# Static keys.


async def test_static_keys(context: Context, files: Files) -> None:
    keys, token = pair(), secret("token")
    files.write(f"[default]\n{keys.lines}aws_session_token = {token}\naws_account_id = 42\nregion = eu-west-1\n")
    credentials = await from_ini(context=context)()
    assert (credentials.access_key_id, credentials.secret_access_key, credentials.session_token) == (*keys, token)
    assert (credentials.account_id, credentials.provider, credentials.expiration) == ("42", "ini", None)
    assert not credentials.may_outlive_expiry


async def test_the_credentials_file_wins_key_by_key(context: Context, files: Files) -> None:
    ours, theirs = pair("OURS"), pair("THEIRS")
    files.write(
        f"[default]\n{theirs.lines}aws_session_token = {secret()}\naws_account_id = 42\n",
        f"[default]\n{ours.lines}aws_session_token =\n",
    )
    credentials = await from_ini(context=context)()
    assert (credentials.access_key_id, credentials.secret_access_key) == ours
    assert (credentials.session_token, credentials.account_id) == (None, "42")


async def test_half_a_pair_in_each_file_is_a_pair(context: Context, files: Files) -> None:
    key, secret_key = pair()
    files.write(f"[default]\naws_access_key_id = {key}\n", f"[default]\naws_secret_access_key = {secret_key}\n")
    credentials = await from_ini(context=context)()
    assert (credentials.access_key_id, credentials.secret_access_key) == (key, secret_key)


async def test_which_profile(context: Context, files: Files, environ: dict[str, str]) -> None:
    default, variable, argument = pair("DEFAULT"), pair("VARIABLE"), pair("ARGUMENT")
    files.write(f"[profile v]\n{variable.lines}[default]\n{default.lines}", f"[a]\n{argument.lines}")
    for value in ("", "  "):
        environ["AWS_PROFILE"] = value
        assert (await from_ini(context=context)()).access_key_id == default.key
    environ["AWS_PROFILE"] = "v"
    assert (await from_ini(context=context)()).access_key_id == variable.key
    assert (await from_ini("a", context=context)()).access_key_id == argument.key
    environ["AWS_PROFILE"] = "nowhere"
    assert (await from_ini("a", context=context)()).access_key_id == argument.key


async def test_which_files(context: Context, files: Files, environ: dict[str, str], tmp_path: Path) -> None:
    places = [tmp_path / "elsewhere", tmp_path / "given"]
    for place in places:
        place.write_text(f"[default]\n{pair(place.name.upper()).lines}")
    files.write(f"[default]\n{pair().lines}")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        environ[variable] = str(places[0])
        assert "ELSEWHERE" in (await from_ini(context=context)()).access_key_id
        del environ[variable]
    for provider in (
        from_ini(config_file=str(places[1]), context=context),
        from_ini(credentials_file=str(places[1]), context=context),
    ):
        assert "GIVEN" in (await provider()).access_key_id


async def test_nothing_there(context: Context, files: Files, environ: dict[str, str]) -> None:
    for texts in (None, ("", ""), ("[default]\nregion = eu-west-1\n", ""), ("# only\n", "[default]\n")):
        if texts:
            files.write(*texts)
        error = await failure_of(from_ini(context=context))
        assert type(error) is CredentialsNotFound
        assert "'default' holds no credentials" in str(error)
        assert str(files.config) in str(error) or str(files.credentials) in str(error)


async def test_blank_keys_are_none(context: Context, files: Files) -> None:
    files.write("[default]\naws_access_key_id =\naws_secret_access_key =   # nothing\n")
    assert type(await failure_of(from_ini(context=context))) is CredentialsNotFound


@pytest.mark.parametrize("by", ["argument", "variable"])
async def test_an_unknown_profile(context: Context, files: Files, environ: dict[str, str], by: str) -> None:
    files.write(f"[profile production]\n{pair().lines}")
    if by == "variable":
        environ["AWS_PROFILE"] = "prodution"
    provider = from_ini("prodution" if by == "argument" else None, context=context)
    await wrong(provider, "'prodution'", str(files.config), str(files.credentials), "did you mean 'production'?")


async def test_half_a_pair(context: Context, files: Files) -> None:
    for config, start, missing in (
        (f"[default]\n\naws_access_key_id = {pair().key}\n", "aws_access", "aws_secret_access_key"),
        (f"[default]\n\naws_secret_access_key = {secret()}\n", "aws_secret", "aws_access_key_id"),
    ):
        files.write(config)
        await wrong(from_ini(context=context), files.at(start), missing)


# Files that are no good.


async def test_a_byte_order_mark_does_no_harm(context: Context, files: Files) -> None:
    keys = pair()
    files.write(b"\xef\xbb\xbf[default]\r\n" + keys.lines.replace("\n", "\r\n").encode())
    assert (await from_ini(context=context)()).secret_access_key == keys.secret


@pytest.mark.parametrize("file", ["config", "credentials"])
@pytest.mark.parametrize("junk", [b"\x00\x01\x02", b"[default]\nk = \xff\xfe\n", b"\xff\xfe[\x00d\x00"])
async def test_a_binary_file(context: Context, files: Files, file: str, junk: bytes) -> None:
    files.write(**{file: junk})
    await wrong(from_ini(context=context), f"{getattr(files, file)}:", "UTF-8")


async def test_an_unreadable_file(context: Context, files: Files, environ: dict[str, str], tmp_path: Path) -> None:
    environ["AWS_CONFIG_FILE"] = str(tmp_path)
    await wrong(from_ini(context=context), str(tmp_path), "cannot be read", "AWS_CONFIG_FILE")


async def test_a_broken_line_fails_the_file_and_shows_no_value(context: Context, files: Files) -> None:
    files.write(f"[profile a]\n{pair().lines}\n[profile b]\naws_secret_access_key {secret()}\n")
    await wrong(from_ini("a", context=context), f"{files.config}:6", "'='")
    files.write(f"[profile a]\n{pair().lines}\n[profile {MARK}\n")
    await wrong(from_ini("a", context=context), f"{files.config}:5", "']'")


async def test_a_mistake_in_one_profile_is_no_matter_of_the_others(context: Context, files: Files) -> None:
    keys = pair()
    files.write(f"[profile a]\n{keys.lines}\n[profile b]\nrole_arn = x\n[profile c]\nsource_profile = c\n")
    assert (await from_ini("a", context=context)()).access_key_id == keys.key


# Roles.


@pytest.mark.parametrize("depth", [1, 2, 5])
async def test_a_chain_of_roles(aws: Loopback, context: Context, files: Files, depth: int) -> None:
    base = pair()
    at_sts(aws, context, base)
    names = [f"r{number}" for number in range(depth)]
    files.write(
        "".join(role(name, source) for name, source in zip(names, [*names[1:], "base"], strict=True)),
        f"[base]\n{base.lines}",
    )
    credentials = await from_ini("r0", context=context)()
    assert [seen.form["RoleArn"] for seen in aws.requests] == [ARN.format(name) for name in reversed(names)]
    assert aws.requests[0].signed_by == base.key
    assert len({seen.signed_by for seen in aws.requests}) == depth
    assert (credentials.account_id, credentials.provider) == ("123456789012", "assume_role")
    assert credentials.may_outlive_expiry


async def test_a_profile_with_keys_names_itself(aws: Loopback, context: Context, files: Files) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a", "a", base.lines))
    await from_ini("a", context=context)()
    assert [seen.signed_by for seen in aws.requests] == [base.key]


async def test_keys_of_a_source_win_over_its_own_role(aws: Loopback, context: Context, files: Files) -> None:
    near, far = pair("NEAR"), pair("FAR")
    at_sts(aws, context, near, far)
    files.write(role("a", "b") + role("b", "c", near.lines) + f"[profile c]\n{far.lines}")
    await from_ini("a", context=context)()
    assert [seen.signed_by for seen in aws.requests] == [near.key]
    aws.requests.clear()
    await from_ini("b", context=context)()
    assert [seen.signed_by for seen in aws.requests] == [far.key]


async def test_circles_show_their_way_and_their_line(context: Context, files: Files) -> None:
    files.write(role("a", "b") + role("b", "a"))
    await wrong(from_ini("a", context=context), "a → b → a", files.at("source_profile = a"))
    files.write(role("a", "b") + role("b", "c") + role("c", "a"))
    await wrong(from_ini("a", context=context), "a → b → c → a", files.at("source_profile = a"))


async def test_variables_never_fill_what_a_profile_lacks(
    aws: Loopback, context: Context, files: Files, environ: dict[str, str]
) -> None:
    at_sts(aws, context)
    environ.update(
        AWS_ROLE_ARN=ARN.format("other"),
        AWS_ROLE_SESSION_NAME="other",
        AWS_WEB_IDENTITY_TOKEN_FILE="/token",
        AWS_ACCESS_KEY_ID="AKIAENVIRONMENT0",
        AWS_SECRET_ACCESS_KEY=secret(),
    )
    files.write(f"[profile a]\nrole_arn = {ARN.format('a')}\n[profile b]\nsource_profile = base\n")
    await wrong(from_ini("a", context=context), files.at("role_arn"), "no source")
    assert type(await failure_of(from_ini("b", context=context))) is CredentialsNotFound
    assert not aws.requests


async def test_what_a_profile_asks_of_sts(aws: Loopback, context: Context, files: Files) -> None:
    base = pair()
    at_sts(aws, context, base)

    async def code(serial_number: str) -> str:
        return f"code of {serial_number}"

    files.write(
        role(
            "a",
            more="external_id = x+y\nmfa_serial = mfa/me\nduration_seconds = 900\nrole_session_name = it-is-me",
        ),
        f"[base]\n{base.lines}",
    )
    await from_ini("a", mfa_code=code, context=context)()
    assert aws.requests[0].form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ARN.format("a"),
        "RoleSessionName": "it-is-me",
        "DurationSeconds": "900",
        "ExternalId": "x+y",
        "SerialNumber": "mfa/me",
        "TokenCode": "code of mfa/me",
    }


async def test_what_a_profile_leaves_open(aws: Loopback, context: Context, files: Files) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a", more="external_id =\nduration_seconds ="), f"[base]\n{base.lines}")
    await from_ini("a", context=context)()
    form = aws.requests[0].form
    assert form.pop("RoleSessionName").startswith("aiocreds-")
    assert form.keys() == {"Action", "Version", "RoleArn", "DurationSeconds"}
    assert form["DurationSeconds"] == "3600"


@pytest.mark.parametrize("value", ["1h", "-900", "900.0", "٣٦٠٠", "9" * 5000])
async def test_a_duration_that_is_none(context: Context, files: Files, value: str) -> None:
    files.write(role("a", more=f"duration_seconds = {value}"), f"[base]\n{pair().lines}")
    await wrong(from_ini("a", context=context), "'a'", files.at("duration_seconds"), "such as 3600")


async def test_each_role_is_asked_for_in_its_own_region_or_the_outermosts(
    aws: Loopback, context: Context, files: Files, environ: dict[str, str]
) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(
        role("a", "b", "region = eu-west-1") + role("b", "c", "region = eu-west-2") + role("c") + role("d", "c"),
        f"[base]\n{base.lines}region = us-west-2\n",
    )

    async def regions(name: str, client: ClientConfig | None = None) -> list[str]:
        aws.requests.clear()
        await from_ini(name, client=client, context=context)()
        return [seen.signed_region for seen in aws.requests]

    assert await regions("a") == ["eu-central-1"] * 3
    assert await regions("a", ClientConfig(region="sa-east-1")) == ["sa-east-1"] * 3
    del environ["AWS_REGION"]
    assert await regions("a") == ["eu-west-1", "eu-west-2", "eu-west-1"]
    assert await regions("d") == ["us-east-1", "us-east-1"]
    environ["AWS_DEFAULT_REGION"] = "ap-south-1"
    assert await regions("a") == ["ap-south-1"] * 3


async def test_sts_is_named_with_the_profile_that_failed(aws: Loopback, context: Context, files: Files) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a", "b") + role("b"), f"[base]\n{base.lines}")
    aws.always("/", sts_error("AccessDenied"))
    error = await failure_of(from_ini("a", context=context))
    assert isinstance(error, ServiceRefused)
    assert (error.provider, error.code, error.recoverable) == ("profile 'b'", "AccessDenied", False)
    for part in (ARN.format("b"), f"****{base.key[-4:]}", "127.0.0.1", "trust policy"):
        assert part in str(error)


# Where roles begin.


@pytest.mark.parametrize("beside", [True, False], ids=["beside the role", "in a profile of its own"])
@pytest.mark.parametrize(
    "source", ["Environment", "ENVIRONMENT", "EcsContainer", "ecscontainer", "Ec2InstanceMetadata"]
)
async def test_credential_sources(
    aws: Loopback, context: Context, files: Files, environ: dict[str, str], source: str, beside: bool
) -> None:
    at_sts(aws, context)
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    environ["AWS_ACCESS_KEY_ID"] = "AKIAENVIRONMENT0"
    environ["AWS_SECRET_ACCESS_KEY"] = secret()
    line = f"credential_source = {source}\n"
    arn = f"role_arn = {ARN.format('a')}\n"
    files.write(
        f"[profile a]\n{arn}{line}" if beside else f"[profile a]\n{arn}source_profile = b\n[profile b]\n{line}"
    )
    await from_ini("a", context=context)()
    asked = [seen.path for seen in aws.requests[:-1]]
    assert aws.requests[-1].form["RoleArn"] == ARN.format("a")
    match source.lower():
        case "environment":
            assert (asked, aws.requests[-1].signed_by) == ([], "AKIAENVIRONMENT0")
        case "ecscontainer":
            assert asked == [CONTAINER_PATH]
        case _:
            assert asked[-1] == ROLES_PATH + ROLE


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("Environment", "AWS_ACCESS_KEY_ID"),
        ("EcsContainer", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ("Ec2InstanceMetadata", "AWS_EC2_METADATA_DISABLED"),
    ],
)
async def test_a_credential_source_that_has_nothing_stops(
    aws: Loopback, context: Context, files: Files, environ: dict[str, str], source: str, words: str
) -> None:
    at_sts(aws, context)
    environ["AWS_EC2_METADATA_DISABLED"] = "true"
    files.write(f"[profile a]\nrole_arn = {ARN.format('a')}\ncredential_source = {source}\n")
    provider = chain(from_ini("a", context=context), from_ini("a", context=context))
    await wrong(provider, files.at("credential_source"), source, words)
    assert not aws.requests


async def test_a_container_gets_three_attempts(
    aws: Loopback, context: Context, files: Files, environ: dict[str, str]
) -> None:
    at_sts(aws, context)
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    files.write(f"[profile a]\nrole_arn = {ARN.format('a')}\ncredential_source = EcsContainer\n")
    aws.script(CONTAINER_PATH, Reset(), Reset())
    await from_ini("a", context=context)()
    assert aws.count(CONTAINER_PATH) == 3
    aws.always(CONTAINER_PATH, Reset())
    assert isinstance(await failure_of(from_ini("a", context=context)), SourceUnavailable)
    assert aws.count(CONTAINER_PATH) == 6


async def test_a_credential_process_alone_and_as_a_source(aws: Loopback, context: Context, files: Files) -> None:
    keys = pair("PROCESS")
    at_sts(aws, context, keys)
    printed = json.dumps({"Version": 1, "AccessKeyId": keys.key, "SecretAccessKey": keys.secret})
    command = shlex.join([sys.executable, "-c", f"print({printed!r})"])
    files.write(f"[profile p]\ncredential_process = {command}\naws_account_id = 42\n" + role("a", "p"))
    alone = await from_ini("p", context=context)()
    assert (alone.access_key_id, alone.account_id, alone.provider) == (keys.key, "42", "process")
    await from_ini("a", context=context)()
    assert [seen.signed_by for seen in aws.requests] == [keys.key]


# Time passes.


async def test_an_edited_file_is_seen_at_the_next_fetch(aws: Loopback, context: Context, files: Files) -> None:
    old, new = pair("OLD"), pair("NEW")
    provider = from_ini(context=context)
    assert type(await failure_of(provider)) is CredentialsNotFound
    for keys in (old, new):
        files.write(f"[default]\n{keys.lines}")
        assert (await provider.fetch()).access_key_id == keys.key
    assert (await provider()).access_key_id == new.key
    files.write("[default]\n")
    with pytest.raises(CredentialsNotFound):
        await provider.fetch()
    assert (await provider()).access_key_id == new.key


async def test_rotated_keys_of_a_source_are_used_at_the_next_refresh(
    aws: Loopback, context: Context, files: Files, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    old, new = pair("OLD"), pair("NEW")
    at_sts(aws, context, old, new)
    files.write(role("a"), f"[base]\n{old.lines}")
    provider = from_ini("a", context=context)
    issued = [await provider()]
    for keys in (old, new):
        files.write(role("a"), f"[base]\n{keys.lines}")
        clock.shift(HOUR - 30)
        issued.append(await provider())
    assert [seen.signed_by for seen in aws.requests] == [old.key, old.key, new.key]
    assert len({credentials.access_key_id for credentials in issued}) == 3


async def test_a_role_that_is_edited_is_another_role(
    aws: Loopback, context: Context, files: Files, clock: time_machine.Traveller
) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a", "b") + role("b"), f"[base]\n{base.lines}")
    provider = from_ini("a", context=context)
    await provider()
    files.write(role("a", "c") + role("c"), f"[base]\n{base.lines}")
    await provider.fetch()
    assert [seen.form["RoleArn"][-1] for seen in aws.requests] == ["b", "a", "c", "a"]


async def test_refreshing_a_role_leaves_its_fresh_source_alone(
    aws: Loopback, context: Context, files: Files, clock: time_machine.Traveller
) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a", "b") + role("b"), f"[base]\n{base.lines}")
    provider = from_ini("a", context=context)
    aws.lifetime = timedelta(hours=12)
    await provider.fetch()
    aws.lifetime = timedelta(hours=1)
    aws.requests.clear()
    for _ in range(3):
        await provider.fetch()
        clock.shift(HOUR)
    assert [seen.form["RoleArn"][-1] for seen in aws.requests] == ["a", "a", "a"]
    clock.shift(9 * HOUR - 59)
    await provider.fetch()
    assert [seen.form["RoleArn"][-1] for seen in aws.requests][3:] == ["b", "a"]


async def test_a_source_that_sts_calls_expired_is_renewed_once(
    aws: Loopback, context: Context, files: Files
) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a", "b") + role("b"), f"[base]\n{base.lines}")
    provider = from_ini("a", context=context)
    await provider()
    aws.expired.add(aws.requests[1].signed_by)
    await provider.fetch()
    assert [seen.form["RoleArn"][-1] for seen in aws.requests[2:]] == ["a", "b", "a"]


async def test_a_wrong_clock_counts_for_a_role_and_for_its_source(
    aws: Loopback, context: Context, files: Files, clock: time_machine.Traveller
) -> None:
    base = pair()
    at_sts(aws, context, base)
    aws.lifetime = timedelta(hours=1)
    files.write(role("a", "b") + role("b"), f"[base]\n{base.lines}")
    provider = from_ini("a", context=context)
    await provider()
    aws.clock = timedelta(hours=1)  # which makes ours slow
    await provider.fetch()
    assert context.clock.offset == HOUR
    assert provider.status.seconds_left == HOUR
    await provider.fetch()
    asked = [seen.form["RoleArn"][-1] for seen in aws.requests]
    assert asked == ["b", "a", "a", "a", "b", "a"]  # rejected and signed anew; then b has expired, too


async def test_invalidate_reaches_the_source_of_a_role(aws: Loopback, context: Context, files: Files) -> None:
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a", "b") + role("b"), f"[base]\n{base.lines}")
    provider = chain(from_ini("a", context=context))
    credentials = await provider()
    source = aws.requests[1].signed_by
    provider.invalidate(source)
    assert await provider() is credentials
    provider.invalidate(credentials)
    await provider()
    assert [seen.form["RoleArn"][-1] for seen in aws.requests[2:]] == ["b", "a"]


async def test_a_file_that_breaks_does_not_take_credentials_away(
    aws: Loopback, context: Context, files: Files, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    aws.lifetime = timedelta(hours=1)
    base = pair()
    at_sts(aws, context, base)
    files.write(role("a"), f"[base]\n{base.lines}")
    provider = from_ini("a", context=context)
    held = await provider()
    files.write("[profile a", f"[base]\n{base.lines}")
    clock.shift(HOUR - 90)
    assert await provider() is held
    for _ in range(50):
        await settle()
        if provider.status.failures:
            break
        await asyncio.sleep(0.01)
    assert f"{files.config}:1" in caplog.text
    assert await provider() is held
    files.write(role("a"), f"[base]\n{base.lines}")
    clock.shift(HOUR)
    assert await provider() is not held
