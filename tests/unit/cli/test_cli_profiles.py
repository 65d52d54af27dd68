"""`aiocreds profiles`: every profile in one line, from files alone.

==============================================  ===============================================================
what the files say                              what is listed
==============================================  ===============================================================
a profile of each kind                          its kind, its account and its region
a sign-in that is good, ended, renewable        its state, and when it ends; also for the roles that begin with it
a profile that is wrong                         ``broken``, with the file:line, beside all others
a file that is wrong                            exit status 2, with the file:line
==============================================  ===============================================================
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Context, InvalidConfiguration
from aiocreds._profiles import SharedConfig
from aiocreds._profiles.parser import Document
from aiocreds._profiles.resolve import resolve
from aiocreds.cli.profiles import BROKEN, MANY, NONE, Row, listed
from aiocreds.errors import CredentialsNotFound
from tests.helpers.command import COMMAND, Machine
from tests.helpers.profile_corpus import FOLDERS, PEOPLE, SECRET
from tests.helpers.secret_leaks import MARK
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, START_URL
from tests.helpers.terminal import at_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback

CORP = f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = eu-central-1\n"
DEV = f"[profile dev]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = Developer\n"
OLD = f"[profile old]\nsso_start_url = {START_URL}\nsso_region = x\nsso_account_id = 1\nsso_role_name = a\n"
ROLE = "[profile role]\nrole_arn = arn:aws:iam::210987654321:role/x\nsource_profile = dev\nregion = us-east-1\n"
LOGIN = f"[profile login]\nlogin_session = {LOGIN_SESSION}\n"
OTHERS = f"""\
[default]
region = eu-west-1
[profile web]
role_arn = arn:aws:iam::210987654321:role/x
web_identity_token_file = /token
[profile static]
aws_access_key_id = AKIAPROFILES00001
aws_secret_access_key = {SECRET}
aws_account_id = 42
[profile process]
credential_process = vend --password {SECRET}
[profile ec2]
role_arn = arn:aws:iam::210987654321:role/x
credential_source = Ec2InstanceMetadata
"""
PARTS = 8  # of the corpus: a test of each folder would take longer to begin and end than to run
FILES = CORP + DEV + OLD + ROLE + LOGIN + OTHERS


def rows(home: Path, text: str, credentials: str = "") -> dict[str, Row]:
    config = SharedConfig(
        Document("credentials", credentials.encode(), credentials=True), Document("config", text.encode())
    )
    return {row.name: row for row in listed(config, Context({}, home=home), time.time())}


def test_each_kind_has_its_account_and_region(home: Path) -> None:
    assert {name: row[2:6] for name, row in rows(home, FILES).items()} == {
        "dev": ("sso", ACCOUNT, "", "not signed in"),
        "old": ("sso", "1", "", "not signed in"),
        "role": ("role", "210987654321", "us-east-1", "not signed in"),
        "login": ("login", ACCOUNT, "", "not signed in"),
        "web": ("web identity", "210987654321", "", ""),
        "static": ("static", "42", "", ""),
        "process": ("process", "", "", ""),
        "ec2": ("role", "210987654321", "", ""),
        "default": (NONE, "", "eu-west-1", ""),
    }


def test_a_profile_that_is_wrong_stands_beside_those_that_are_right(home: Path) -> None:
    half = "[profile half]\nsso_session = corp\nsso_account_id = 1\n"
    found = rows(
        home, CORP + DEV + half + ROLE + ROLE.replace("profile role", "profile lost").replace("dev", "half")
    )
    assert {name: row.kind for name, row in found.items()} == {
        "dev": "sso",
        "half": "broken",
        "role": "role",
        "lost": "broken",
    }
    assert found["half"].fault == "profile 'half' has sso_session (config:9) but no sso_role_name: add it"
    assert found["lost"].fault == found["half"].fault


@pytest.mark.parametrize(
    ("person", "profile", "state"),
    [
        ("SSO, signed in", "dev", "signed in"),
        ("SSO, signed in", "role", "signed in"),
        ("SSO, signed in", "old", "not signed in"),
        ("SSO, an end as old AWS CLIs write it", "dev", "signed in"),
        ("SSO, ended", "dev", "renewable"),
        ("SSO, ended", "role", "renewable"),
        ("SSO, ended, and the registration", "dev", "ended"),
        ("SSO, ended, no refresh token", "dev", "ended"),
        ("SSO, no token", "dev", "ended"),
        ("SSO, no end", "dev", "renewable"),
        ("SSO, corrupt", "dev", "not signed in"),
        ("SSO, older form, signed in", "old", "signed in"),
        ("SSO, older form, ended", "old", "ended"),
        ("login, logged in", "login", "signed in"),
        ("login, ended", "login", "renewable"),
        ("login, ended, no refresh token", "login", "ended"),
        ("login, ended, no DPoP key", "login", "ended"),
        ("login, corrupt", "login", "not signed in"),
    ],
)
def test_the_state_of_the_sign_in(person: str, profile: str, state: str, aws: Loopback, home: Path) -> None:
    PEOPLE[person](aws.sign_in, home)
    row = rows(home, FILES)[profile]
    assert row.sign_in == state
    assert (row.ends > time.time()) == (state == "signed in")
    assert row.ends > -inf or state in ("not signed in", "ended") or person.endswith("no end")
    assert MARK not in repr(row)


def test_a_cache_that_cannot_be_read_is_no_reason_to_fail(home: Path, aws: Loopback) -> None:
    file = aws.sign_in.sso_login(home)
    file.unlink()
    file.mkdir()
    assert rows(home, FILES)["dev"].sign_in.startswith("not readable (")
    assert rows(home, FILES)["login"].sign_in == "not signed in"


@pytest.mark.parametrize("part", range(PARTS))
def test_all_folders_of_the_corpus_can_be_listed(part: int, home: Path) -> None:
    """A profile is broken where a program that asks for it would hear the same."""
    folders = [(name, folder) for name, folder in FOLDERS.items() if not folder.instead[0]][part::PARTS]
    assert folders
    for name, folder in folders:
        documents = (
            Document("credentials", folder.credentials.encode(), credentials=True),
            Document("config", folder.config.encode()),
        )
        if any(document.fault for document in documents):
            continue
        config = SharedConfig(*documents)
        for row in rows(home, folder.config, folder.credentials).values():
            fault = ""
            try:
                kind = resolve(config, row.name)[0].kind.name.lower().replace("_", " ")
            except CredentialsNotFound:
                kind = NONE
            except InvalidConfiguration as wrong:
                kind, fault = BROKEN, str(wrong)
            assert (row.kind, row.fault) == (kind, fault), name
            assert MARK not in repr(row), name


BAD = "[profile bad]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = devv\n"


def test_hints_are_left_out_where_looking_for_them_would_take_long(home: Path) -> None:
    few, many = (
        rows(
            home,
            "".join(f"[profile p{number}]\nrole_arn = x\nsource_profile = p{number}x\n" for number in range(most)),
        )
        for most in (MANY, MANY + 1)
    )
    assert "did you mean" in few["p1"].fault
    assert many["p1"].fault.endswith("and there is no such profile")


def machine(home: Path, text: str = FILES) -> Machine:
    (home / ".aws/config").write_text(text)
    return Machine(home, {})


@pytest.mark.slow
async def test_piped_it_has_seven_fields_a_line(aws: Loopback, home: Path) -> None:
    PEOPLE["SSO, signed in"](aws.sign_in, home)
    ended = await machine(home, FILES + BAD).aiocreds("profiles")
    assert (ended.status, ended.err) == (0, "")
    assert MARK not in ended.out
    lines = [line.split("\t") for line in ended.out.splitlines()]
    token = json.loads(next((home / ".aws/sso/cache").glob("*.json")).read_text())
    assert lines[0] == ["dev", "sso", ACCOUNT, "-", "signed in", token["expiresAt"], "-"]
    assert lines[2] == ["role", "role", "210987654321", "us-east-1", "signed in", token["expiresAt"], "-"]
    wrong = f"profile 'bad' has source_profile = devv ({home}/.aws/config:{len(FILES.splitlines()) + 3}), and"
    assert lines[-2][:6] == ["bad", "broken", "-", "-", "-", "-"]
    assert lines[-2][6] == f"{wrong} there is no such profile; did you mean 'dev'?"
    assert {len(line) for line in lines} == {7}
    assert (await machine(home, FILES + BAD).aiocreds("profiles")).out == ended.out


@pytest.mark.slow
async def test_as_json(aws: Loopback, home: Path) -> None:
    PEOPLE["SSO, signed in"](aws.sign_in, home)
    ended = await machine(home, FILES + BAD).aiocreds("profiles", "--json")
    assert (ended.status, ended.err) == (0, "")
    document: dict[str, Any] = json.loads(ended.out)
    assert document["version"] == 1
    first, *_, bad, _ = document["profiles"]
    sign_in = first.pop("sign_in")
    assert first == {
        "name": "dev",
        "where": f"{home}/.aws/config:4",
        "kind": "sso",
        "account": ACCOUNT,
        "region": None,
        "error": None,
    }
    assert sign_in["state"] == "signed in"
    assert 0 < sign_in["seconds_left"] <= 3600
    assert "no such profile" in bad["error"]


@pytest.mark.slow
async def test_on_a_terminal_the_columns_are_below_each_other(aws: Loopback, home: Path) -> None:
    aws.sign_in.token_life = timedelta(hours=5, seconds=59)
    aws.sign_in.sso_login(home)
    commands = machine(home, CORP + DEV + ROLE + OTHERS)
    async with at_a_terminal(*COMMAND, "profiles", environ=commands.variables) as terminal:
        assert await terminal.ended() == 0
    assert terminal.seen == (
        "PROFILE  KIND            ACCOUNT       REGION     SIGN-IN\n"
        "dev      sso             123456789012             signed in, 5 h left\n"
        "role     role            210987654321  us-east-1  signed in, 5 h left\n"
        "web      web identity    210987654321\n"
        "static   static          42\n"
        "process  process\n"
        "ec2      role            210987654321\n"
        "default  no credentials                eu-west-1\n"
    )


@pytest.mark.slow
async def test_a_person_without_profiles_learns_how_to_get_some(aws: Loopback, home: Path) -> None:
    commands = Machine(home, aws.environ)
    assert (await commands.aiocreds("profiles")) == (0, "", "")
    async with at_a_terminal(*COMMAND, "profiles", environ=commands.variables) as terminal:
        assert await terminal.ended() == 0
    assert "aiocreds configure sso writes some" in terminal.seen
    assert str(home / ".aws/config") in terminal.seen


@pytest.mark.slow
async def test_nothing_in_the_files_steers_the_terminal(home: Path) -> None:
    text = "[profile a]\nregion = x\x1b]0;gone\x07\n  y\n[profile b]\ncredential_source = \x1b[2J\nrole_arn = x\n"
    for option in ([], ["--json"]):
        ended = await machine(home, text).aiocreds("profiles", *option)
        assert ended.status == 0
        assert all(char.isprintable() or char in "\n\t" for char in ended.out)
    lines = (await machine(home, text).aiocreds("profiles")).out.splitlines()
    assert lines[0].split("\t")[3] == "x ]0;gone y"


@pytest.mark.slow
async def test_a_file_with_a_fault_is_named(home: Path) -> None:
    ended = await machine(home, "[profile a]\nx\n").aiocreds("profiles")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"aiocreds profiles: {home}/.aws/config:2: Expected an '=' sign")
    assert await Machine(home / "nowhere", {}).aiocreds("profiles") == (0, "", "")
