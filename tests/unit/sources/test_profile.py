"""from_ini: profiles as their users write them, and what STS gets to see of them."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest

from aiocreds import (
    ClientConfig,
    Context,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    chain,
    default_chain,
    from_ini,
)
from tests.helpers.failures import failure_of
from tests.helpers.loopback_aws import CONTAINER_PATH, ROLE, ROLES_PATH, Loopback, Reset, sts_error
from tests.helpers.scripted import settle
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, OIDC, PERMISSION_SET, PORTAL, SIGN_IN, START_URL

if TYPE_CHECKING:
    from pathlib import Path

    import time_machine

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


@pytest.mark.parametrize("new", ["", "aws_session_token =\n"])
async def test_the_tokens_name_of_old(context: Context, files: Files, new: str) -> None:
    keys, old, token = pair(), secret("old"), secret("new")
    files.write("", f"[default]\n{keys.lines}aws_security_token = {old}\n{new}")
    assert (await from_ini(context=context)()).session_token == old
    files.write(f"[default]\naws_session_token = {token}\n", f"[default]\n{keys.lines}aws_security_token = {old}\n")
    assert (await from_ini(context=context)()).session_token == token


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
    assert aws.count(CONTAINER_PATH) == 7, "a kept connection that is reset is no attempt"


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


# Every kind, alone and as the source of a role.


class Kind(NamedTuple):
    """A way for a profile to have credentials.

    Attributes:
        lines: of the profile; ``HOME`` stands for the home folder.
        stamp: the `provider` of what it gives, alone.
        account: its `account_id`.
        asked: the paths that are asked for it, the first time.
        again: and the next times, an hour later; None when it gives the same.
        more: what else the config file holds.
    """

    lines: str
    stamp: str
    account: str | None
    asked: tuple[str, ...] = ()
    again: tuple[str, ...] | None = None
    more: str = ""


SSO_ROLE = f"sso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
CORP = f"sso_start_url = {START_URL}\nsso_region = eu-central-1\n"
SSO = f"sso_session = corp\n{SSO_ROLE}"
SESSION = f"[sso-session corp]\n{CORP}"
LOGIN = f"login_session = {LOGIN_SESSION}\n"
STS = "/"
BASE = pair()
KINDS = {
    "keys": Kind(BASE.lines + "aws_account_id = 42\n", "ini", "42"),
    "process": Kind("credential_process = cat HOME/printed\n", "process", None, again=()),
    "web identity": Kind(
        f"web_identity_token_file = HOME/token\nrole_arn = {ARN.format('web')}\n",
        "web_identity",
        ACCOUNT,
        (STS,),
        (STS,),
    ),
    "SSO": Kind(SSO, "sso", ACCOUNT, (PORTAL,), (OIDC, PORTAL), SESSION),
    "SSO, older form": Kind(CORP + SSO_ROLE, "sso", ACCOUNT, (PORTAL,), (PORTAL,)),
    "login": Kind(LOGIN, "login", ACCOUNT, (), (SIGN_IN,)),
    "role": Kind(
        f"role_arn = {ARN.format('far')}\nsource_profile = far\n",
        "assume_role",
        ACCOUNT,
        (STS,),
        (STS,),
        f"[profile far]\n{BASE.lines}",
    ),
    "role on the container": Kind(
        f"role_arn = {ARN.format('near')}\ncredential_source = EcsContainer\n",
        "assume_role",
        ACCOUNT,
        (CONTAINER_PATH, STS),
        (CONTAINER_PATH, STS),
    ),
}


class People:
    """Write the files of a home folder besides the shared ones: a token, sign-ins, what a process prints."""

    def __init__(self, aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller) -> None:
        self.aws = aws
        self.clock = clock
        self.home = home
        aws.lifetime = timedelta(hours=1)
        at_sts(aws, context, BASE)
        assert isinstance(context.environ, dict)
        context.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
        context.environ["PATH"] = os.environ["PATH"]
        aws.sign_in.sso_login(home)
        aws.sign_in.token_life = timedelta(hours=12)  # the older form cannot be renewed
        aws.sign_in.sso_login(home, None)
        aws.sign_in.token_life = timedelta(hours=1)
        aws.sign_in.keys_life = timedelta(hours=1)
        aws.sign_in.login(home)
        self.rotate()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, also for what others write."""
        self.clock.shift(seconds)
        self.rotate()

    def rotate(self) -> None:
        """Write another token and other output of the process."""
        token = secret("jwt")
        self.aws.web_tokens.add(token)
        (self.home / "token").write_text(token)
        issued = self.aws.issue(f"process {token}")
        printed = {"Version": 1, **issued, "SessionToken": issued["Token"]}
        (self.home / "printed").write_text(json.dumps(printed))

    def config(self, kind: Kind) -> str:
        """A profile ``a`` of this kind, a role ``on`` it, and a role ``onon`` that."""
        if "EcsContainer" in kind.lines:
            self.aws.secrets.clear()  # STS knows everybody: it has never heard of the container's keys
        text = f"[profile a]\n{kind.lines}{role('on', 'a')}{role('onon', 'on')}{kind.more}"
        return text.replace("HOME", str(self.home))

    def asked(self) -> tuple[str, ...]:
        """The paths that were asked since the last time."""
        paths = tuple(seen.path for seen in self.aws.requests)
        self.aws.requests.clear()
        return paths


@pytest.fixture
def people(clock: time_machine.Traveller, aws: Loopback, context: Context, home: Path) -> People:
    return People(aws, context, home, clock)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_each_kind_alone(context: Context, files: Files, people: People, kind: Kind) -> None:
    files.write(people.config(kind))
    provider = from_ini("a", context=context)
    credentials = await provider()
    assert (credentials.provider, credentials.account_id) == (kind.stamp, kind.account)
    assert people.asked() == kind.asked
    assert provider.name == "from_ini"
    held = [credentials.access_key_id]
    for _ in range(2):
        people.pass_time(HOUR - 30)
        held.append((await provider()).access_key_id)
        assert people.asked() == (kind.again or ())
    assert len(set(held)) == (1 if kind.again is None else 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", ["on", "onon"])
async def test_each_kind_as_the_source_of_a_role(
    aws: Loopback, context: Context, files: Files, people: People, kind: Kind, name: str
) -> None:
    files.write(people.config(kind))
    roles = ("on", "onon") if name == "onon" else ("on",)
    provider = from_ini(name, context=context)
    held: set[str] = set()
    for asked in (kind.asked, kind.again or (), kind.again or ()):
        credentials = await provider()
        held.add(credentials.access_key_id)
        assert (credentials.provider, credentials.account_id) == ("assume_role", ACCOUNT)
        at_roles = aws.requests[len(asked) :]
        assert [seen.form["RoleArn"] for seen in at_roles] == [ARN.format(role) for role in roles]
        assert people.asked() == (*asked, *(STS for _ in roles))
        people.pass_time(HOUR - 30)
    assert len(held) == 3


async def test_a_role_on_sso_with_mfa_asks_the_person_last(
    aws: Loopback, context: Context, files: Files, people: People
) -> None:
    happened: list[str] = []

    async def code(serial_number: str) -> str:
        happened.extend(people.asked())
        happened.append(serial_number)
        return "123456"

    files.write(f"[profile a]\n{SSO}{role('b', 'a', 'mfa_serial = mfa/me')}{SESSION}")
    await from_ini("b", mfa_code=code, context=context)()
    assert happened == [PORTAL, "mfa/me"]
    assert (aws.requests[0].form["SerialNumber"], aws.requests[0].form["TokenCode"]) == ("mfa/me", "123456")


async def test_what_a_web_identity_asks_of_sts(
    aws: Loopback, context: Context, files: Files, people: People
) -> None:
    lines = KINDS["web identity"].lines.replace("HOME", str(people.home))
    files.write(f"[profile a]\n{lines}role_session_name = it-is-me\nduration_seconds = 900\nexternal_id = x\n")
    await from_ini("a", context=context)()
    assert aws.requests[0].form == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ARN.format("web"),
        "RoleSessionName": "it-is-me",
        "DurationSeconds": "900",
        "WebIdentityToken": (people.home / "token").read_text(),
    }
    files.write(f"[profile a]\n{lines}")
    await from_ini("a", context=context)()
    form = aws.requests[1].form
    assert form["RoleSessionName"].startswith("aiocreds-")
    assert form["DurationSeconds"] == "3600"


async def test_the_region_of_a_web_identity(context: Context, files: Files, home: Path) -> None:
    """Nobody signs that call, so that its host has to tell."""
    hosts: list[str | None] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        hosts.append(request.url.host)
        raise aiohttp.ClientConnectionError

    async def host(name: str, region: str | None = None) -> str | None:
        client = ClientConfig(region=region, middlewares=[note], max_attempts=1)
        assert isinstance(await failure_of(from_ini(name, client=client, context=context)), SourceUnavailable)
        return hosts.pop()

    (home / "token").write_text(secret("jwt"))
    web = f"web_identity_token_file = ~/token\nrole_arn = {ARN.format('web')}\n"
    files.write(
        f"[profile a]\n{web}region = eu-west-1\n[profile b]\n{web}[profile c]\n{web.replace(':aws:', ':aws-cn:')}"
        + role("on-a", "a", "region = eu-west-2")
        + role("on-b", "b", "region = eu-west-2")
    )
    assert await host("a") == "sts.eu-west-1.amazonaws.com"
    assert await host("on-a") == "sts.eu-west-1.amazonaws.com"
    assert await host("on-b") == "sts.eu-west-2.amazonaws.com"
    assert await host("b") == "sts.us-east-1.amazonaws.com"
    assert await host("c") == "sts.cn-northwest-1.amazonaws.com.cn"
    assert isinstance(context.environ, dict)
    for variable, region in (("AWS_DEFAULT_REGION", "ap-south-1"), ("AWS_REGION", "ap-south-2")):
        context.environ[variable] = region
        assert await host("a") == f"sts.{region}.amazonaws.com"
    assert await host("a", "sa-east-1") == "sts.sa-east-1.amazonaws.com"


@pytest.mark.parametrize("kind", ["web identity", "SSO", "login", "role"])
async def test_middlewares_run_for_every_call_that_a_profile_makes(
    aws: Loopback, context: Context, files: Files, people: People, kind: str
) -> None:
    async def mark(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["X-Mark"] = "here"
        return await handler(request)

    files.write(people.config(KINDS[kind]))
    people.pass_time(HOUR - 60)  # so that sign-ins are renewed
    await from_ini("onon", client=ClientConfig(middlewares=[mark]), context=context)()
    assert {seen.path for seen in aws.requests} == {STS, *(KINDS[kind].again or ())}
    for seen in aws.requests:
        assert seen.headers["X-Mark"] == "here"
        if seen.signed_by:
            assert "x-mark" in seen.signed_headers


async def test_profiles_that_share_a_sign_in_renew_it_once(
    aws: Loopback, context: Context, files: Files, people: People
) -> None:
    more = {"a": SSO, "b": SSO, "c": LOGIN, "d": LOGIN}
    texts = [f"[profile {name}]\n{lines}{role('on-' + name, name)}" for name, lines in more.items()]
    files.write("".join(texts) + SESSION)
    people.pass_time(HOUR)
    providers = [from_ini(f"{on}{name}", context=context) for name in more for on in ("", "on-")]
    held = await asyncio.gather(*(provider() for provider in providers))
    assert (aws.count(OIDC), aws.count(SIGN_IN), aws.count(PORTAL), aws.count(STS)) == (1, 1, 4, 4)
    assert len({credentials.access_key_id for credentials in held}) == 7  # c and d hold what the sign-in brought


@pytest.mark.parametrize("kind", ["SSO", "login"])
async def test_region_and_endpoint_given_in_code_are_those_of_sts(
    aws: Loopback, context: Context, files: Files, people: People, kind: str
) -> None:
    files.write(people.config(KINDS[kind]))
    people.pass_time(HOUR - 60)
    async with Loopback() as sts:
        client = ClientConfig(region="sa-east-1", endpoint_url=sts.url)
        await from_ini("on", client=client, context=context)()
        assert [(seen.path, seen.signed_region) for seen in sts.requests] == [(STS, "sa-east-1")]
    assert people.asked() == KINDS[kind].again


async def test_the_hosts_of_sso_and_sign_in_are_not_in_the_region_given_in_code(
    context: Context, files: Files, people: People
) -> None:
    hosts: list[str | None] = []

    async def note(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        hosts.append(request.url.host)
        raise aiohttp.ClientConnectionError

    assert isinstance(context.environ, dict)
    for variable in [name for name in context.environ if name.startswith("AWS_")]:
        del context.environ[variable]
    files.write(f"[profile a]\n{SSO}[profile b]\n{LOGIN}region = eu-west-1\n{SESSION}")
    client = ClientConfig(region="sa-east-1", middlewares=[note], max_attempts=1)
    await failure_of(from_ini("a", client=client, context=context))
    assert hosts == ["portal.sso.eu-central-1.amazonaws.com"]
    people.pass_time(HOUR)
    hosts.clear()
    await failure_of(from_ini("a", client=client, context=context))
    await failure_of(from_ini("b", client=client, context=context))
    assert hosts == ["oidc.eu-central-1.amazonaws.com", "eu-west-1.signin.aws.amazon.com"]


@pytest.mark.parametrize(
    ("config", "start", "words"),
    [
        (f"[profile a]\n{SSO}", "sso_session", "add it, or correct the name"),
        (f"[profile a]\nsso_session = corp\n{SESSION}", "sso_session", "add them"),
        (f"[profile a]\n{SSO}sso_region = x\n{SESSION}", "sso_region = x", "remove it from the profile"),
        (f"[profile a]\n{SSO}role_arn = x\n{SESSION}", "role_arn = x", "name that one here as source_profile"),
        ("[profile a]\nweb_identity_token_file = x\n", "web_identity", "no role_arn: add it"),
        ("[profile a]\nrole_arn = x\nweb_identity_token_file = ~/no\n", "web_identity", "correct the path, or"),
        ("[profile a]\naws_access_key_id = AKIA\n", "aws_access_key_id", "add it"),
        ("[profile a]\nrole_arn = x\nsource_profile = no\n", "source_profile = no", "no such profile"),
        ("[profile a]\nrole_arn = x\ncredential_source = no\n", "credential_source", "write Environment"),
        ("[profile a]\ncredential_process = /no/such\n", "credential_process", "check the path"),
    ],
)
async def test_each_mistake_is_told_with_its_line_and_the_fix(
    aws: Loopback, context: Context, files: Files, config: str, start: str, words: str
) -> None:
    """Alone and in the profile of a source; before anything is asked for."""
    at_sts(aws, context)
    files.write(config + role("on", "a"))
    for name in ("a", "on"):
        error = await wrong(from_ini(name, context=context), files.at(start), words)
        assert str(error).count("profile 'a'") <= 1 + ("source_profile = a" in str(error))
    assert not aws.requests


@pytest.mark.parametrize(
    ("lines", "command"),
    [
        (SSO, "aiocreds login --sso-session corp"),
        (CORP + SSO_ROLE, "aiocreds login --profile a"),
        (LOGIN, "aiocreds login --profile a"),
    ],
    ids=["SSO", "SSO, older form", "login"],
)
async def test_who_has_to_sign_in_stops_the_chain(
    aws: Loopback, context: Context, files: Files, environ: dict[str, str], lines: str, command: str
) -> None:
    """Behind the profile there would be web identity and the container."""
    at_sts(aws, context)
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    environ["AWS_ROLE_ARN"] = ARN.format("other")
    environ["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(files.config)
    files.write(f"[profile a]\n{lines}{SESSION}{role('on', 'a')}")
    for name in ("a", "on"):
        environ["AWS_PROFILE"] = name
        for provider in (default_chain(context=context), default_chain(name, context=context)):
            error = await failure_of(provider)
            assert type(error) is LoginRequired
            assert command in str(error)
    assert not aws.requests


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
