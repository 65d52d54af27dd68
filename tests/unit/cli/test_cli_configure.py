"""`aiocreds configure sso`: from the lists of Identity Center to profiles, chosen and written at once."""

from __future__ import annotations

import asyncio
import re
import sys
from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocreds import Context, InvalidConfiguration, LoginRequired, ServiceRefused, SourceUnavailable
from aiocreds._profiles.parser import Document, is_name
from aiocreds.cli._questions import Menu, Person
from aiocreds.cli.configure import TEMPLATE, Session, configure_sso, names_of
from aiocreds.login import sign_in
from aiocreds.sources.sso.api import Account
from tests.helpers.command import COMMAND, Machine
from tests.helpers.loopback_aws import Loopback, json_answer, json_error
from tests.helpers.person import Person as Browsing
from tests.helpers.shared_files import cached, sso_token_file
from tests.helpers.sign_in_services import ACCOUNT, ACCOUNTS, ROLES, START_URL
from tests.helpers.terminal import CTRL_C, at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CORP = f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = eu-central-1\n"
NEW = {"start_url": START_URL, "sso_region": "eu-central-1"}
ONE = {"account": ACCOUNT, "role": "Developer", "profile": "dev"}
OTHER = "210987654321"
ROLE = "role_arn = arn:aws:iam::1:role/x\ncredential_source = Environment\n"
ELSE = f"sso_session = corp\nsso_account_id = {OTHER}\nsso_role_name = Admin\n"
ESCAPE = "\x1b]0;gone\x07\x1b[2J\u202e"


class Nobody(Person):
    """There is no terminal."""

    def __init__(self) -> None:
        self.there = False


class Somebody(Person):
    """Gives these answers, whatever is asked."""

    def __init__(self, *answers: str) -> None:
        self.there = True
        self.answers = [*answers]
        self.asked: list[str] = []

    async def choose(self, what: str, options: Sequence[str]) -> int:
        self.asked.append(what)
        answer = self.answers.pop(0)
        return next(number for number, option in enumerate(options) if answer in option)

    async def ask(self, what: str, default: str = "") -> str:
        self.asked.append(f"{what} [{default}]")
        return self.answers.pop(0) or default

    def tell(self, text: str) -> None:
        self.asked.append(text)


class Flow:
    """Signs in, as a person does in a browser."""

    def __init__(self, aws: Loopback, home: Path) -> None:
        self.given: list[dict[str, Any]] = []
        self._aws = aws
        self._home = home

    async def __call__(self, *, context: Context, **given: Any) -> None:
        self.given.append(given)
        await asyncio.to_thread(self._aws.sign_in.sso_login, self._home, given["sso_session"])


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture
def flow(aws: Loopback, home: Path) -> Flow:
    aws.sign_in.roles = {(ACCOUNT, "Developer"), (ACCOUNT, "Admin"), (OTHER, "Admin")}
    aws.sign_in.account_names = {ACCOUNT: "Sandbox", OTHER: "Prod"}
    return Flow(aws, home)


def options(**given: Any) -> Namespace:
    none = dict.fromkeys(
        ("profile", "sso_session", "start_url", "sso_region", "scopes", "account", "role", "region"), None
    )
    return Namespace(**{**none, "all": False, "template": TEMPLATE, "yes": False, **given})


def config(home: Path) -> Path:
    return home / ".aws/config"


async def test_a_new_session_and_a_profile(flow: Flow, home: Path, context: Context, capsys: Any) -> None:
    assert await configure_sso(options(**NEW, **ONE, region="x-1"), Nobody(), sign_in=flow, context=context) == 0
    assert config(home).read_text() == (
        f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = eu-central-1\n"
        "sso_registration_scopes = sso:account:access\n"
        f"\n[profile dev]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = Developer\n"
        "region = x-1\n"
    )
    assert flow.given == [
        {
            "sso_session": "corp",
            "sso_start_url": START_URL,
            "sso_region": "eu-central-1",
            "sso_registration_scopes": ["sso:account:access"],
        }
    ]
    assert capsys.readouterr().out == f"wrote profile dev ({config(home)})\n"
    assert await configure_sso(options(**ONE), Nobody(), sign_in=flow, context=context) == 0
    assert len(flow.given) == 1
    assert capsys.readouterr().out == f"unchanged profile dev ({config(home)})\n"


async def test_a_known_session_is_signed_in_to_by_its_name(flow: Flow, home: Path, context: Context) -> None:
    config(home).write_text(CORP)
    await configure_sso(options(**ONE, sso_session="corp"), Nobody(), sign_in=flow, context=context)
    assert flow.given == [
        {"sso_session": "corp", "sso_start_url": None, "sso_region": None, "sso_registration_scopes": None}
    ]
    assert config(home).read_text().startswith(f"{CORP}\n[profile dev]\n")


async def test_who_is_signed_in_is_not_asked_to_again(
    aws: Loopback, flow: Flow, home: Path, context: Context
) -> None:
    config(home).write_text(CORP)
    aws.sign_in.sso_login(home)
    await configure_sso(options(**ONE), Nobody(), sign_in=flow, context=context)
    aws.sign_in.access_tokens.clear()
    for registration in aws.sign_in.registrations.values():
        registration.refresh_tokens.clear()
    await configure_sso(options(**ONE, region="y"), Nobody(), sign_in=flow, context=context)
    assert len(flow.given) == 1, "the portal knew the token no more, and nothing could renew it"


async def test_what_is_cached_for_another_portal_is_not_used(
    aws: Loopback, flow: Flow, home: Path, context: Context
) -> None:
    config(home).write_text(CORP)
    aws.sign_in.sso_login(home, startUrl="https://other.awsapps.com/start")
    await configure_sso(options(**ONE), Nobody(), sign_in=flow, context=context)
    assert len(flow.given) == 1


@pytest.mark.parametrize("before", ["", CORP])
async def test_who_does_not_sign_in_changes_nothing(before: str, home: Path, context: Context) -> None:
    config(home).write_text(before)
    person = Browsing(decision="deny")
    flow = partial(sign_in, prompt=person, use_device_code=False)
    with pytest.raises(LoginRequired, match="access_denied") as raised:
        await configure_sso(options(**NEW, **ONE), Nobody(), sign_in=flow, context=context)
    await person.home()
    # No command knows a session that no file has.
    assert raised.value.command == ("aiocreds login --sso-session corp" if before else "")
    assert config(home).read_text() == before


async def test_scopes_that_the_file_does_not_have_yet_are_signed_in_for(
    flow: Flow, home: Path, context: Context
) -> None:
    config(home).write_text(CORP)
    await configure_sso(options(**ONE, scopes="a,b"), Nobody(), sign_in=flow, context=context)
    assert [given["sso_registration_scopes"] for given in flow.given] == [["a", "b"]]
    assert "sso_registration_scopes = a,b\n" in config(home).read_text()


async def test_pages_are_read_to_their_end(aws: Loopback, flow: Flow, home: Path, context: Context) -> None:
    aws.sign_in.most = 2
    aws.sign_in.roles = {(f"{number:012}", f"Role{role}") for number in range(7) for role in range(5)}
    await configure_sso(options(**NEW, all=True, yes=True), Nobody(), sign_in=flow, context=context)
    profiles = Document("config", config(home).read_bytes()).profiles
    assert set(profiles) == {f"{number:012}-Role{role}" for number in range(7) for role in range(5)}
    assert aws.count(ACCOUNTS) == 4
    assert aws.count(ROLES) == 7 * 3


@pytest.mark.parametrize("path", [ACCOUNTS, ROLES])
async def test_what_the_portal_may_answer(
    path: str, aws: Loopback, flow: Flow, home: Path, context: Context
) -> None:
    config(home).write_text(CORP)
    aws.sign_in.sso_login(home)
    nothing = dict[str, str]()
    field = {ACCOUNTS: "accountList", ROLES: "roleList"}[path]

    async def outcome() -> None:
        await configure_sso(options(**ONE), Nobody(), sign_in=flow, context=context)

    aws.script(path, *[json_error(429, "TooManyRequestsException")] * 3)
    await outcome()
    written = config(home).read_text()
    for answer, wrong, words in (
        (json_error(429, "TooManyRequestsException"), SourceUnavailable, "is busy or in trouble"),
        (json_error(400, "InvalidRequestException"), ServiceRefused, "InvalidRequestException"),
        (json_error(401, "UnauthorizedException"), LoginRequired, "run aiocreds login --sso-session corp"),
        (json_answer({}), SourceUnavailable, f"answered without a {field}"),
        (json_answer({field: [nothing]}), SourceUnavailable, "answered with something that has no "),
        (json_answer({field: [], "nextToken": "again"}), SourceUnavailable, "one page again and again"),
        (json_answer({field: []}), InvalidConfiguration, "no (account|role)"),
    ):
        aws.always(path, answer)
        with pytest.raises(wrong, match=words):
            await outcome()
        aws.up()
    assert config(home).read_text() == written


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "--sso-session (or --start-url and --sso-region) and --account and --role are missing: add them"),
        ({**NEW, "sso_session": "corp", "account": ACCOUNT}, "and --role is missing: add it"),
        ({**ONE, "start_url": START_URL}, "--sso-region is missing: add it"),
        ({"start_url": START_URL}, "--sso-region and --account and --role are missing: add them"),
        ({**ONE, "sso_session": "new"}, "--start-url and --sso-region are missing: add them"),
        ({**NEW, "sso_session": "corp", "all": True}, "and --yes is missing: add it"),
        ({**NEW, "all": True, "role": "Admin"}, "--all writes a profile for every role: leave --role out"),
        ({**NEW, **ONE, "profile": "a b"}, "'a b' is no name for a profile, for the ' ' in it"),
        ({**NEW, **ONE, "region": "eu_1"}, "'eu_1' is no region"),
        ({**NEW, **ONE, "start_url": "http://x"}, "is no address of an access portal"),
        ({**NEW, **ONE, "start_url": f"https://x/{ESCAPE}"}, "is no address of an access portal"),
        ({**NEW, **ONE, "sso_session": "a]"}, "'a]' is no name for a sso-session"),
        (
            {**NEW, **ONE, "template": "{account_name.__class__}"},
            "--template has {account_name.__class__}, which is none",
        ),
        (
            {**NEW, **ONE, "account": "1"},
            f"--account 1 is none of the 2 accounts of the person who signed in: {OTHER} (Prod), ",
        ),
        (
            {**NEW, **ONE, "role": "Root"},
            f"--role Root is none of the 2 roles in account {ACCOUNT}: Admin, Developer",
        ),
    ],
)
async def test_arguments_that_are_missing_or_wrong(
    given: dict[str, Any], missing: str, flow: Flow, home: Path, context: Context
) -> None:
    with pytest.raises(InvalidConfiguration) as raised:
        await configure_sso(options(**given), Nobody(), sign_in=flow, context=context)
    assert missing in str(raised.value)
    assert not config(home).exists()


@pytest.mark.parametrize(
    ("there", "given", "words"),
    [
        (ROLE, {}, "is another kind of profile (role): "),
        ("credential_process = x\n", {"yes": True}, "is another kind of profile (process): "),
        ("sso_session = nowhere\nrole_arn = x\n", {"yes": True}, "is broken: aiocreds profiles says how"),
        (ELSE, {}, "another sso_account_id and another sso_role_name: change it with --yes"),
        (f"sso_start_url = {START_URL}\n", {"yes": True}, "has a portal of its own (sso_start_url, "),
    ],
)  # fmt: skip
async def test_a_profile_that_is_there_is_not_changed_just_so(
    there: str, given: dict[str, Any], words: str, flow: Flow, home: Path, context: Context
) -> None:
    text = f"{CORP}[profile dev]\n{there}"
    config(home).write_text(text)
    with pytest.raises(InvalidConfiguration) as raised:
        await configure_sso(options(**ONE, **given), Nobody(), sign_in=flow, context=context)
    assert words in str(raised.value)
    assert f"profile 'dev' ({config(home)}:4) " in str(raised.value)
    assert config(home).read_text() == text


async def test_a_profile_of_the_credentials_file_would_win(flow: Flow, home: Path, context: Context) -> None:
    config(home).write_text(CORP)
    (home / ".aws/credentials").write_text(
        f"[dev]\nsso_session = corp\nsso_account_id = {OTHER}\nsso_role_name = x\n"
    )
    with pytest.raises(InvalidConfiguration, match="has its sso_session in the credentials file"):
        await configure_sso(options(**ONE, yes=True), Nobody(), sign_in=flow, context=context)


async def test_a_profile_is_changed_where_the_person_agrees(flow: Flow, home: Path, context: Context) -> None:
    text = f"{CORP}[profile dev]\n# mine\n{ELSE.replace('Admin', 'Developer')}region=x\n"
    config(home).write_text(text)
    nay = Somebody("n")
    with pytest.raises(InvalidConfiguration, match="nothing was written"):
        await configure_sso(options(**ONE), nay, sign_in=flow, context=context)
    assert nay.asked == [f"profile 'dev' ({config(home)}:4) has another sso_account_id. Change it? [y/N] []"]
    assert config(home).read_text() == text
    await configure_sso(options(**ONE), Somebody("Y"), sign_in=flow, context=context)
    assert config(home).read_text() == text.replace(OTHER, ACCOUNT)


async def test_a_person_is_asked_for_all_that_is_missing(flow: Flow, home: Path, context: Context) -> None:
    person = Somebody(START_URL, "eu-central-1", "", "Sandbox", "Admin", "", "")
    await configure_sso(options(), person, sign_in=flow, context=context)
    assert person.asked == [
        "Start URL of the access portal []",
        "Region of the Identity Center []",
        "Name of the session [corp]",
        "Account",
        "Role",
        "Name of the profile [Sandbox-Admin]",
        "Region of the profile [eu-central-1]",
    ]
    assert set(Document("config", config(home).read_bytes()).profiles) == {"Sandbox-Admin"}
    config(home).write_text(config(home).read_text() + CORP.replace("corp]", "lab]").replace("corp.", "lab."))
    person = Somebody("corp", "Prod", "prod", "us-east-1")
    await configure_sso(options(), person, sign_in=flow, context=context)
    assert person.asked == [
        *("Session", "Account", "Name of the profile [Prod-Admin]", "Region of the profile [eu-central-1]"),
    ], "there is one role in that account"
    person = Somebody("corp")
    with pytest.raises(InvalidConfiguration, match=r"there is an \[sso-session corp\] already"):
        await configure_sso(
            options(start_url="https://new.awsapps.com/start", sso_region="x-1"),
            person,
            sign_in=flow,
            context=context,
        )


async def test_an_account_that_the_portal_refuses_is_left_out(
    aws: Loopback, flow: Flow, home: Path, context: Context, capsys: Any
) -> None:
    config(home).write_text(CORP)
    aws.script(ROLES, json_error(403, "ForbiddenException"))
    assert await configure_sso(options(all=True), Somebody("y"), sign_in=flow, context=context) == 1
    written = config(home).read_text()
    left_out, there = (OTHER, ACCOUNT) if OTHER not in written else (ACCOUNT, OTHER)
    assert f"sso_account_id = {there}\n" in written
    assert left_out not in written
    shown = capsys.readouterr()
    assert f"left out account {left_out}: " in shown.err
    assert "ForbiddenException" in shown.err
    assert there in shown.out
    # What is left out today may be there tomorrow.
    assert await configure_sso(options(all=True), Somebody("y"), sign_in=flow, context=context) == 0
    assert f"sso_account_id = {left_out}\n" in config(home).read_text()
    before = config(home).read_text()
    aws.always(ROLES, json_error(403, "ForbiddenException"))
    with pytest.raises(ServiceRefused, match="ForbiddenException"):  # nothing is left
        await configure_sso(options(all=True), Somebody("y"), sign_in=flow, context=context)
    assert config(home).read_text() == before


async def test_all_of_them_keep_what_is_there(flow: Flow, home: Path, context: Context, capsys: Any) -> None:
    same = f"[profile Prod-Admin]\nsso_session = corp\nsso_account_id = {OTHER}\nsso_role_name = Admin\n"
    text = f"# mine\n{CORP}[profile Sandbox-Admin]\ncredential_process = x\n{same}"
    config(home).write_text(text)
    person = Somebody("no")
    with pytest.raises(InvalidConfiguration, match="nothing was written"):
        await configure_sso(options(all=True), person, sign_in=flow, context=context)
    assert person.asked[-1] == f"Write 1 profiles (Sandbox-Developer) into {config(home)}? [y/N] []"
    assert config(home).read_text() == text
    await configure_sso(options(all=True), Somebody("y"), sign_in=flow, context=context)
    assert config(home).read_text() == (
        f"{text}\n[profile Sandbox-Developer]\nsso_session = corp\nsso_account_id = {ACCOUNT}\n"
        "sso_role_name = Developer\n"
    )
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["unchanged", "Prod-Admin", OTHER, "Admin"],
        ["kept", "Sandbox-Admin", ACCOUNT, "Admin", *f"it says something else ({config(home)}:5)".split()],
        ["wrote", "Sandbox-Developer", ACCOUNT, "Developer"],
    ]


@pytest.mark.parametrize(
    ("before", "given"),
    [(f"[profile dev]\n{ELSE}", ONE), ("", {"all": True, "template": "dev"})],
    ids=["one that is to be changed", "one that is new"],
)
@pytest.mark.parametrize("file", ["config", "credentials"])
async def test_a_profile_that_another_program_writes_meanwhile_is_kept(
    before: str, given: dict[str, Any], file: str, aws: Loopback, flow: Flow, home: Path, context: Context
) -> None:
    """While the person is asked whether to write it."""
    config(home).write_text(CORP + before)
    aws.sign_in.roles = {(ACCOUNT, "Developer")}
    there = home / ".aws" / file
    other = f"[{'profile ' if file == 'config' else ''}dev]\nregion = x\n"

    class Slow(Somebody):
        async def ask(self, what: str, default: str = "") -> str:
            await asyncio.to_thread(there.write_text, (CORP if file == "config" else "") + other)
            return await super().ask(what, default)

    person = Slow("y")
    with pytest.raises(InvalidConfiguration, match="profile 'dev' has been changed meanwhile by another program"):
        await configure_sso(options(**given), person, sign_in=flow, context=context)
    assert not person.answers, "it was asked"
    assert there.read_text().endswith(other)
    assert ACCOUNT not in config(home).read_text()


@pytest.mark.parametrize(
    ("template", "pairs", "expected"),
    [
        ("{account_name}-{role_name}", [("1", "R&D / Ünits", "Admin")], ["R-D-/-nits-Admin"]),
        ("{account_name}", [("1", "a", "x"), ("2", "a", "x")], ["a-1", "a-2"]),
        ("{account_name}", [("1", "a", "x"), ("1", "a", "y"), ("2", "b", "x")], ["a-1", "a-1-2", "b"]),
        ("x", [("1", "a", "x"), ("2", "b", "y")], ["x-1", "x-2"]),
        ("{account_name}", [("1", "", "x"), ("2", "äö", "x")], ["1", "2"]),
        ("{account_name}", [("1", "default", "x")], ["default-1"]),
        ("{session}/{account_id}.{role_name}", [("1", "a", "x")], ["corp/1.x"]),
        ("{account_name}", [("1", "{role_name}", "x")], ["role_name"]),
    ],
)
def test_names_of_profiles(template: str, pairs: list[tuple[str, str, str]], expected: list[str]) -> None:
    assert (
        names_of(template, CORP_SESSION, [(Account(number, name, ""), role) for number, name, role in pairs])
        == expected
    )


CORP_SESSION = Session("corp", START_URL, "eu-central-1", None, is_new=False)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.from_regex(r"[0-9]{12}", fullmatch=True), st.text(), st.text(min_size=1)), unique=True),
    st.sampled_from([TEMPLATE, "{account_name}", "{role_name}", "x", "", "{account_id}-{session}"]),
)
def test_all_names_differ_and_can_be_written(pairs: list[tuple[str, str, str]], template: str) -> None:
    names = names_of(template, CORP_SESSION, [(Account(number, name, ""), role) for number, name, role in pairs])
    assert len(set(names)) == len(pairs)
    assert all(map(is_name, names))
    assert "default" not in names


async def test_names_that_the_portal_sends_steer_no_terminal(
    aws: Loopback, flow: Flow, home: Path, context: Context, capsys: Any
) -> None:
    aws.sign_in.account_names[OTHER] = f"Pr{ESCAPE}od"
    aws.sign_in.roles = {(OTHER, "Admin"), (OTHER, f"Ev{ESCAPE}il"), (OTHER, "x\n[default]")}
    await configure_sso(options(**NEW, all=True, yes=True), Nobody(), sign_in=flow, context=context)
    out, text = capsys.readouterr().out, config(home).read_text()
    for char in (*ESCAPE, "\n"):
        assert char.isprintable() or char not in out.replace("\n", "")
        assert char.isprintable() or char not in text.replace("\n", "")
    assert set(Document("config", text.encode()).profiles) == {"Pr-0-gone-2J-od-Admin"}
    assert out.count("which no reader finds again") == 2
    with pytest.raises(InvalidConfiguration, match="Pr ]0;gone") as raised:
        await configure_sso(options(account="x", role="y"), Nobody(), sign_in=flow, context=context)
    assert str(raised.value).isprintable()


class Press:
    """Return the choice that typing leads to."""

    def __init__(self, *options: str) -> None:
        self.menu = Menu(options)

    def __call__(self, *keys: str) -> int | None:
        chosen = None
        for key in keys:
            chosen = self.menu.press(key)
        return chosen


def test_typing_narrows_the_list() -> None:
    press = Press("Alpha  111", "Beta  222", "alphabet  333")
    assert press(*"ALPHA") is None
    assert press.menu.lines(5) == ["> Alpha  111", "  alphabet  333"]
    assert press(*" 33", "\r") == 2
    assert press("\x15", *"nobody", "\r") is None
    assert press.menu.lines(5) == ["  nothing matches"]
    assert press("\x15", "\x1b[B", "\n") == 1
    assert press("\x1b[A", "\x1b[A", "\r") == 2, "the list goes round"
    assert press(*"bx", "\x7f", "\r") == 1
    assert press("\x1b[3~", "\x00", "\t", "\r") == 1, "other keys do nothing"


@given(
    st.lists(st.text(max_size=5), max_size=30),
    st.lists(st.sampled_from(["a", "\x7f", "\x1b[A", "\x1b[B", "\x15"])),
    st.integers(1, 12),
)
def test_the_cursor_is_always_on_an_option_that_is_shown(options: list[str], keys: list[str], height: int) -> None:
    press = Press(*options)
    press(*keys)
    lines = press.menu.lines(height)
    assert len(lines) <= height + 1
    assert sum(line.startswith(">") for line in lines) == bool(press.menu.matching)


# As people see it, at a terminal.


def loopback_variables(aws: Loopback, home: Path, **others: str) -> dict[str, str]:
    return Machine(home, {**aws.environ, "TERM": "xterm", "COLUMNS": "80", **others}).variables


def signed_in(aws: Loopback, home: Path) -> None:
    config(home).write_text(CORP)
    aws.sign_in.sso_login(home)
    accounts = {f"{number:012}": f"Account {number}" for number in range(30)} | {OTHER: f"Pr{ESCAPE}od"}
    aws.sign_in.account_names = accounts
    aws.sign_in.roles = {(account, role) for account in accounts for role in ("Admin", "Reader")}
    aws.sign_in.roles.add((f"{29:012}", f"Z{ESCAPE}"))


pty = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")


@pty
@pytest.mark.slow
@pytest.mark.parametrize("term", ["xterm", "dumb"])
async def test_a_person_chooses_at_a_terminal(term: str, aws: Loopback, home: Path) -> None:
    signed_in(aws, home)
    words = [*COMMAND, "configure", "sso"]
    async with at_a_terminal(*words, environ=loopback_variables(aws, home, TERM=term)) as terminal:
        if term == "xterm":
            await terminal.until("Account (type to narrow, arrow keys, Enter): ")
            await terminal.until("31 match")
            terminal.type("account 2")
            await terminal.until("12 match")
            terminal.type("9")
            await terminal.until("> Account 29")
            terminal.type("\r")
            await terminal.until("> Admin")
            terminal.type("\x1b[B\r")
        else:
            await terminal.until("31 match")
            terminal.type("account 2\n")
            await terminal.until(" 12  Account 29")
            terminal.type("12\n")
            await terminal.until("2  Reader")
            terminal.type("reader\n")
        await terminal.until("Role: Reader")
        await terminal.until("Name of the profile [Account-29-Reader]: ")
        terminal.type("\n")
        await terminal.until("Region of the profile [eu-central-1]: ")
        terminal.type("us-east-1\n")
        assert await terminal.ended() == 0
    assert "\x1b]" not in terminal.seen
    assert not re.search(r"\x1b\[[0-9;]*m", terminal.seen), "no colour"
    assert terminal.seen.endswith(f"wrote profile Account-29-Reader ({config(home)})\n")
    assert config(home).read_text() == (
        f"{CORP}\n[profile Account-29-Reader]\nsso_session = corp\nsso_account_id = {29:012}\n"
        "sso_role_name = Reader\nregion = us-east-1\n"
    )


ECHOES = "import termios; print('ECHO', bool(termios.tcgetattr(0)[3] & termios.ECHO))"


@pty
@pytest.mark.slow
@pytest.mark.parametrize("at", ["Account (type", "Role (type", "Name of the profile", "Region of the profile"])
@pytest.mark.parametrize("key", [CTRL_C, "\x04"], ids=["Ctrl-C", "Ctrl-D"])
async def test_giving_up_leaves_file_and_terminal_as_they_were(
    key: str, at: str, aws: Loopback, home: Path
) -> None:
    signed_in(aws, home)
    line = f'{" ".join(COMMAND)} configure sso; echo status $?; {sys.executable} -c "{ECHOES}"'
    ignoring = "trap : INT; " + line  # the shell goes on
    async with at_a_terminal("sh", "-c", ignoring, environ=loopback_variables(aws, home)) as terminal:
        for question, answer in (
            ("Account (type", "gone\r"),
            ("Role (type", "\r"),
            ("Name of", "\n"),
            ("Region of", "\n"),
        ):
            await terminal.until(question)
            if at.startswith(question):
                break
            terminal.type(answer)
        await terminal.until(at)
        terminal.type(key)
        await terminal.ended()
    assert f"status {130 if key == CTRL_C else 2}\n" in terminal.seen
    assert "ECHO True" in terminal.seen
    assert "Traceback" not in terminal.seen
    assert config(home).read_text() == CORP
    assert {path.name for path in (home / ".aws").iterdir()} <= {"config", "sso"}


@pty
@pytest.mark.slow
async def test_giving_up_the_sign_in_leaves_nothing(aws: Loopback, home: Path) -> None:
    words = [*COMMAND, "configure", "sso", "--start-url", START_URL, "--sso-region", "eu-central-1"]
    async with at_a_terminal(*words, environ=loopback_variables(aws, home)) as terminal:
        await terminal.until("Name of the session [corp]: ")
        terminal.type("\n")
        await terminal.until("To sign in to corp, ")
        await terminal.until("left; Ctrl-C stops")
        terminal.type(CTRL_C)
        assert await terminal.ended() == 130
    assert "Traceback" not in terminal.seen
    assert not config(home).exists()
    assert not sso_token_file(home).exists()


@pty
@pytest.mark.slow
async def test_piped_it_asks_nothing(aws: Loopback, home: Path) -> None:
    signed_in(aws, home)
    machine = Machine(home, aws.environ)
    ended = await machine.aiocreds("configure", "sso")
    assert ended == (
        2,
        "",
        "aiocreds configure: there is no terminal to ask at, and --account and --role are missing: add them\n",
    )
    ended = await machine.aiocreds("configure", "sso", "--account", OTHER, "--role", "Admin", "-p", "prod")
    assert ended == (0, f"wrote profile prod ({config(home)})\n", "")
    ended = await machine.aiocreds("configure", "sso", "--all", "--yes", "--template", "{account_id}.{role_name}")
    assert (ended.status, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 63
    ended = await machine.aiocreds("configure", "--profile", "x")
    assert ended.status == 2
    assert "the following arguments are required: sso" in ended.err


RESOLVED = """
from botocore.session import Session

session = Session(profile="prod")
keys = session.get_credentials().get_frozen_credentials()
print(keys.access_key, session.get_config_variable("region"))
"""


@pytest.mark.slow
@pytest.mark.shows_secrets("stdout", because="the program prints whose keys it got")
async def test_a_fresh_home_becomes_one_that_botocore_reads(aws: Loopback, home: Path) -> None:
    """It signs in at the loopback authorization server, writes the profile, and others go on with both."""
    aws.sign_in.account_names = {ACCOUNT: "Sandbox"}
    (home / ".aws").rmdir()
    machine = Machine(home, aws.environ)
    words = ["--start-url", START_URL, "--sso-region", "eu-central-1", "--account", "Sandbox"]
    words += ["--role", "Developer", "--profile", "prod", "--region", "eu-west-1", "--no-browser"]
    process = await machine.start(*COMMAND, "configure", "sso", *words, DISPLAY=":0")
    assert process.stderr is not None
    lines = [(await process.stderr.readline()).decode() for _ in range(2)]
    assert lines[0].startswith("To sign in to corp, open this page"), lines
    person = Browsing()
    await person.go(lines[1].strip())
    assert "You are signed in." in person.pages[0][1]
    out, err = await process.communicate()
    assert (process.returncode, out.decode(), err.decode()) == (0, f"wrote profile prod ({config(home)})\n", "")
    assert cached(sso_token_file(home))["startUrl"] == START_URL
    ended = await machine.run(sys.executable, "-c", RESOLVED, AWS_REGION="")
    assert re.fullmatch(r"ASIALOOPBACK\d+ eu-west-1\n", ended.out), ended.err
