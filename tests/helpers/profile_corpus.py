"""Folders of shared files as people write them: profiles of every kind, beside and upon each other, and broken.

The profile asked for is ``a``; ``HOME`` in a text stands for the home folder.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.sign_in_services import SignInServer

    Person = Callable[[SignInServer, Path], object]

SECRET, TOKEN, JWT = secret(), secret("token"), secret("jwt")
OTHER_TOKEN = secret("token")


class Folder(NamedTuple):
    """The contents of a home folder, and what is around it.

    Attributes:
        config: the text of the one file.
        credentials: the text of the other.
        person: what a person did there before, and what became of it since: a key of `PEOPLE`.
        region: ``AWS_REGION`` and ``AWS_DEFAULT_REGION``.
        works: whether the profile leads to credentials; None where nobody said so before.
        variables: what else is in the environment; ``$PLACE`` is where the files lie.
        named: whether the profile is named in code; else the variables say which.
        instead: what lies where a file should: a file, and a key of `INSTEAD`.
    """

    config: str = ""
    credentials: str = ""
    person: str = ""
    region: str = "eu-central-1"
    works: bool | None = None
    variables: tuple[tuple[str, str], ...] = ()
    named: bool = True
    instead: tuple[str, str] = ("", "")


# Lines of a profile, kind by kind.


def role(name: str, more: str = "") -> str:
    return f"role_arn = arn:aws:iam::{ACCOUNT}:role/{name}\n{more}\n"


def keys(name: str, more: str = "") -> str:
    return f"aws_access_key_id = AKIA{name}\naws_secret_access_key = {SECRET}\n{more}\n"


def process(name: str, **changed: object) -> str:
    return f"credential_process = /bin/echo '{printed(name, **changed)}'\n"


WEB = role("w", "web_identity_token_file = HOME/token")
SSO = f"sso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
PORTAL = f"sso_start_url = {START_URL}\nsso_region = eu-central-1\n"
LEGACY = f"{PORTAL}sso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
CORP = f"[sso-session corp]\n{PORTAL}sso_registration_scopes = sso:account:access\n"
LOGIN = f"login_session = {LOGIN_SESSION}\n"
ON_ENVIRONMENT = "credential_source = Environment\n"
BASE = f"[profile base]\n{keys('BASE')}"
A_ON_BASE = f"[profile a]\n{role('a', 'source_profile = base')}"
A_ON_B = f"[profile a]\n{role('a', 'source_profile = b')}"
B_ON_C = f"[profile b]\n{role('b', 'source_profile = c')}"


def printed(name: str, **changed: object) -> str:
    """Return what a program prints."""
    whole = {"Version": 1, "AccessKeyId": f"ASIA{name}", "SecretAccessKey": SECRET, "SessionToken": TOKEN} | changed
    return json.dumps({key: value for key, value in whole.items() if value is not None})


def without(text: str, *starts: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(starts))


# What a person did before, and what became of it.


def sso(life: float, session: str | None = "corp", registered: int = 90, *dropped: str, **changed: str) -> Person:
    """Signed in to IAM Identity Center; that has so many minutes left, and the registration so many days."""

    def person(server: SignInServer, home: Path) -> Path:
        server.token_life = timedelta(minutes=life)
        path = server.sso_login(home, session, registered=timedelta(days=registered))
        server.token_life = timedelta(hours=1)
        return edit(path, *dropped, **changed)

    return person


def login(life: float, *dropped: str, refusal: str | None = None, **changed: str) -> Person:
    """Ran ``aws login``; the keys have so many minutes left."""

    def person(server: SignInServer, home: Path) -> Path:
        server.keys_life = timedelta(minutes=life)
        path = server.login(home)
        server.keys_life = timedelta(minutes=15)
        server.refusal = refusal
        return edit(path, *dropped, **changed)

    return person


def edit(path: Path, *dropped: str, **changed: str) -> Path:
    """Take fields out of a cache file, or change them; the field ``text`` is all of it."""
    token = {name: value for name, value in json.loads(path.read_text()).items() if name not in dropped}
    path.write_text(changed.get("text") or json.dumps(token | changed))
    return path


def then(person: Person, event: Callable[[SignInServer], object]) -> Person:
    """A person, and what happened afterwards."""

    def both(server: SignInServer, home: Path) -> None:
        person(server, home)
        event(server)

    return both


def revoked(server: SignInServer) -> None:
    """An administrator has ended the session, with what could renew it."""
    server.access_tokens.clear()
    no_renewal(server)


def no_roles(server: SignInServer) -> None:
    server.roles.clear()


def no_renewal(server: SignInServer) -> None:
    for registration in server.registrations.values():
        registration.refresh_tokens.clear()


def everywhere(server: SignInServer, home: Path) -> None:
    for person in (sso(60), sso(60, None), login(15)):
        person(server, home)


NO_CLIENT = ("clientId", "clientSecret", "registrationExpiresAt")
SSO_GOOD: dict[str, Person] = {
    "signed in": sso(60),
    "about to end": sso(10),
    "about to end, registration ended": sso(10, "corp", -1),
    "about to end, no refresh token": sso(10, "corp", 90, "refreshToken"),
    "about to end, no client": sso(10, "corp", 90, *NO_CLIENT),
    "about to end, renewal refused": then(sso(10), no_renewal),
    "ended": sso(-10),
    "an end as old AWS CLIs write it": sso(60, expiresAt="2039-11-14T04:05:45UTC"),
    "ended long ago": sso(60, expiresAt="1999-11-14T04:05:45Z"),
    "fields that nobody knows": sso(10, more="of it"),
}
SSO_LOST: dict[str, Person] = {
    "ended, and the registration": sso(-10, "corp", -1),
    "ended, no refresh token": sso(-10, "corp", 90, "refreshToken"),
    "ended, no client": sso(-10, "corp", 90, *NO_CLIENT),
    "ended, renewal refused": then(sso(-10), no_renewal),
    "revoked": then(sso(60), revoked),
    "no such role": then(sso(60), no_roles),
    "corrupt": sso(60, text="{"),
    "no object": sso(60, text="[]"),
    "no token, nothing to renew it with": sso(60, "corp", 90, "accessToken", "refreshToken"),
    "no end, nothing to renew it with": sso(60, "corp", 90, "expiresAt", "refreshToken"),
    "signed in elsewhere": sso(60, "other"),
    "signed in, older form": sso(60, None),
    "nobody": lambda server, home: None,
}
LEGACY_GOOD: dict[str, Person] = {"signed in": sso(60, None), "about to end": sso(10, None)}
LEGACY_LOST: dict[str, Person] = {
    "ended": sso(-10, None),
    "revoked": then(sso(60, None), revoked),
    "no such role": then(sso(60, None), no_roles),
    "corrupt": sso(60, None, text="{"),
    "no end": sso(60, None, 90, "expiresAt"),
    "no token": sso(60, None, 90, "accessToken"),
    "nobody": lambda server, home: None,
}
LOGIN_GOOD: dict[str, Person] = {
    "logged in": login(15),
    "about to end": login(3),
    "ended": login(-3),
    "fields that nobody knows": login(3, more="of it"),
}
LOGIN_LOST: dict[str, Person] = {
    "ended, and the session": login(-3, refusal="TOKEN_EXPIRED"),
    "ended, password changed": login(-3, refusal="USER_CREDENTIALS_CHANGED"),
    "ended, no permission": login(-3, refusal="INSUFFICIENT_PERMISSIONS"),
    "ended, no refresh token": login(-3, "refreshToken"),
    "ended, no client": login(-3, "clientId"),
    "ended, no DPoP key": login(-3, "dpopKey"),
    "ended, broken DPoP key": login(-3, dpopKey="x"),
    "corrupt": login(15, text="{"),
    "nobody": lambda server, home: None,
}
PEOPLE: dict[str, Person] = {
    "": lambda server, home: None,
    "everywhere": everywhere,
    **{f"SSO, {name}": person for name, person in (SSO_GOOD | SSO_LOST).items()},
    **{f"SSO, older form, {name}": person for name, person in (LEGACY_GOOD | LEGACY_LOST).items()},
    **{f"login, {name}": person for name, person in (LOGIN_GOOD | LOGIN_LOST).items()},
    "SSO, no token": sso(60, "corp", 90, "accessToken"),
    "SSO, no end": sso(60, "corp", 90, "expiresAt"),
    "login, about to end, and the session": login(3, refusal="TOKEN_EXPIRED"),
    "login, no refresh token": login(15, "refreshToken"),
}

# A profile of each kind: its lines, what else is in the config file, and the person. First those that work.

GOOD: dict[str, tuple[str, str, str]] = {
    "keys": (keys("A"), "", ""),
    "keys with a token": (keys("TOKEN", f"aws_session_token = {TOKEN}"), "", ""),
    "keys with an account": (keys("A", "aws_account_id = 42"), "", ""),
    "a process": (process("P"), "", ""),
    "a process with an account": (process("P", AccountId="42"), "", ""),
    "a process beside an account": (process("P") + "aws_account_id = 42\n", "", ""),
    "a process that tells an end": (process("P", Expiration="2099-01-01T00:00:00Z"), "", ""),
    "web identity": (WEB, "", ""),
    "web identity with a session name": (WEB + "role_session_name = me\n", "", ""),
    "SSO that repeats the session": (SSO + PORTAL, CORP, "SSO, signed in"),
    "SSO with the account in the session": (
        without(SSO, "sso_account_id"),
        f"{CORP}sso_account_id = {ACCOUNT}\n",
        "SSO, signed in",
    ),
    **{f"SSO, {name}": (SSO, CORP, f"SSO, {name}") for name in SSO_GOOD},
    **{f"SSO, older form, {name}": (LEGACY, "", f"SSO, older form, {name}") for name in LEGACY_GOOD},
    **{f"login, {name}": (LOGIN, "", f"login, {name}") for name in LOGIN_GOOD},
    "a role on the environment": (role("e", ON_ENVIRONMENT), "", ""),
    "a role on the container": (role("e", "credential_source = EcsContainer"), "", ""),
    "a role on EC2": (role("e", "credential_source = Ec2InstanceMetadata"), "", ""),
    "a role on keys": (role("k", "source_profile = base"), BASE, ""),
}
BROKEN: dict[str, tuple[str, str, str]] = {
    "half a pair": ("aws_access_key_id = AKIAA\n", "", ""),
    "the other half": (f"aws_secret_access_key = {SECRET}\n", "", ""),
    "a process that fails": ("credential_process = /bin/false\n", "", ""),
    "a process that is not there": ("credential_process = /nothing/there\n", "", ""),
    "a process that says nothing": ("credential_process = /bin/echo\n", "", ""),
    "a process of version 2": (process("P", Version=2), "", ""),
    "a process without a key": (process("P", AccessKeyId=None), "", ""),
    "a process without a secret": (process("P", SecretAccessKey=None), "", ""),
    "a process whose keys have ended": (process("P", Expiration="1999-01-01T00:00:00Z"), "", ""),
    "web identity without a role": ("web_identity_token_file = HOME/token\n", "", ""),
    "web identity without a file": (role("w", "web_identity_token_file = HOME/nothing"), "", ""),
    "web identity with an empty file": (role("w", "web_identity_token_file = HOME/empty"), "", ""),
    "web identity with a wrong token": (role("w", "web_identity_token_file = HOME/wrong"), "", ""),
    "a role without a source": (role("r"), "", ""),
    "a role on a missing profile": (role("r", "source_profile = nowhere"), "", ""),
    "a role on half a pair": (
        role("r", "source_profile = base"),
        "[profile base]\naws_access_key_id = AKIAA\n",
        "",
    ),
    "a role on keys that STS does not know": (
        role("r", "source_profile = base"),
        f"[profile base]\n{keys('STRANGER')}",
        "",
    ),
    "SSO without its session": (SSO, "", "SSO, signed in"),
    "SSO without an account": (without(SSO, "sso_account_id"), CORP, "SSO, signed in"),
    "SSO without a role": (without(SSO, "sso_role_name"), CORP, "SSO, signed in"),
    "SSO of a session without a region": (SSO, without(CORP, "sso_region"), "SSO, signed in"),
    "SSO of a session without a portal": (SSO, without(CORP, "sso_start_url"), "SSO, signed in"),
    "SSO with portal and region beside the session": (
        SSO + PORTAL,
        without(CORP, "sso_start_url", "sso_region"),
        "SSO, signed in",
    ),
    "SSO with another region than the session": (SSO + "sso_region = us-west-2\n", CORP, "SSO, signed in"),
    "SSO with another portal than the session": (SSO + "sso_start_url = https://x\n", CORP, "SSO, signed in"),
    "SSO, a session alone": ("sso_session = corp\n", CORP, "SSO, signed in"),
    **{
        f"SSO, older form, without {key}": (without(LEGACY, key), "", "SSO, older form, signed in")
        for key in ("sso_start_url", "sso_region", "sso_account_id", "sso_role_name")
    },
    "SSO, older form, a portal alone": (PORTAL, "", "SSO, older form, signed in"),
    "login to somewhere else": ("login_session = arn:aws:iam::1:user/you\n", "", "login, logged in"),
    **{f"SSO, {name}": (SSO, CORP, f"SSO, {name}") for name in SSO_LOST},
    **{f"SSO, older form, {name}": (LEGACY, "", f"SSO, older form, {name}") for name in LEGACY_LOST},
    **{f"login, {name}": (LOGIN, "", f"login, {name}") for name in LOGIN_LOST},
}


def alone_and_as_sources() -> dict[str, Folder]:
    """Each kind alone, in either file, and as the source of a role, and of a role on a role."""
    folders: dict[str, Folder] = {}
    for name, (lines, more, person) in (GOOD | BROKEN).items():
        folders[name] = Folder(f"[profile a]\n{lines}{more}", "", person)
        folders[f"a role on {name}"] = Folder(f"{A_ON_B}[profile b]\n{lines}{more}", "", person)
        if name in GOOD:
            folders[f"{name}; in the credentials file"] = Folder(more, f"[a]\n{lines}", person)
            folders[f"a role on a role on {name}"] = Folder(
                f"{A_ON_B}{B_ON_C}[profile c]\n{lines}{more}", "", person
            )
        for each in list(folders)[-4 if name in GOOD else -2 :]:
            folders[each] = folders[each]._replace(works=name in GOOD)
    return folders


# What a person may write beside each other in one profile.

BESIDE: dict[str, str] = {
    "a source": "source_profile = base\n",
    "credential_source": ON_ENVIRONMENT,
    "web identity": "web_identity_token_file = HOME/token\n",
    "SSO": SSO,
    "SSO, older form": LEGACY,
    "an sso_session alone": "sso_session = corp\n",
    "login": LOGIN,
    "keys": keys("A"),
    "a process": process("P"),
}
OF_ROLES = {"a source", "credential_source", "web identity"}


def beside_each_other() -> dict[str, Folder]:
    """Two kinds in one profile, of one file and of both; alone, and as the source of a role."""
    folders: dict[str, Folder] = {}
    for one, other in itertools.permutations(BESIDE, 2):
        if "sso" in one.lower() and "sso" in other.lower():
            continue  # the one is the other with more
        arn = role("ab") if {one, other} & OF_ROLES else ""
        first, second = arn + BESIDE[one], BESIDE[other]
        folders[f"{one} in the config file, {other} in the credentials file"] = Folder(
            f"[profile a]\n{first}{BASE}{CORP}", f"[a]\n{second}", "everywhere"
        )
        if one < other:
            lines = f"{first}{second}{BASE}{CORP}"
            folders[f"{one} and {other}"] = Folder(f"[profile a]\n{lines}", "", "everywhere")
            folders[f"a role on {one} and {other}"] = Folder(f"{A_ON_B}[profile b]\n{lines}", "", "everywhere")
    return folders


OPTIONS = {
    "external_id": "external_id = x+y\n",
    "mfa_serial": "mfa_serial = arn:aws:iam::123456789012:mfa/me\n",
    "duration_seconds": "duration_seconds = 900\n",
    "role_session_name": "role_session_name = me@work\n",
    "region": "region = us-west-2\n",
}


def roles_with_options() -> dict[str, Folder]:
    """A role with each option and with all of them, on sources in turn."""
    folders: dict[str, Folder] = {}
    sources = itertools.cycle(["keys", "SSO, ended", "web identity", "login, ended", "a process", "a role on keys"])
    for options in [*([option] for option in OPTIONS), [*OPTIONS][:4], [*OPTIONS]]:
        for source in itertools.islice(sources, 2):
            lines, more, person = GOOD[source]
            text = "".join(OPTIONS[option] for option in options)
            folders[f"a role with {', '.join(options)} on {source}"] = Folder(
                f"[profile a]\n{role('a', 'source_profile = b')}{text}[profile b]\n{lines}{more}",
                person=person,
                works=True,
            )
    return folders


# How else it may be written.

INDENTED: dict[str, tuple[str, str]] = {  # the headers by so much, and the rest
    "indented as a whole": ("    ", "    "),
    "indented below its headers": ("", "  "),
    "indented as a whole and below its headers": ("  ", "      "),
    "indented with tabs": ("\t", "\t"),
}


def indented(text: str, how: str) -> str:
    """A file as it comes out of a heredoc, or as people write who think in blocks."""
    headers, others = INDENTED[how] if how else ("", "")
    lines = text.splitlines(keepends=True)
    return "".join(f"{headers if line[:1] == '[' else others}{line}" for line in lines)


def quoted(text: str, mark: str) -> str:
    """A config file with its names in quotation marks."""
    return re.sub(r"^\[([\w-]+) (\w+)\]", rf"[\1 {mark}\2{mark}]", text, flags=re.MULTILINE)


def written_otherwise() -> dict[str, Folder]:
    """Each kind that works, indented and with quoted names, and as the source of a role."""
    folders: dict[str, Folder] = {}
    ways, marks = itertools.cycle(INDENTED), itertools.cycle("\"'")
    for name, (lines, more, person) in GOOD.items():
        if "nobody knows" in name:
            continue  # where the two differ, however it is written
        alone, source = f"[profile a]\n{lines}{more}", f"{A_ON_B}[profile b]\n{lines}{more}"
        how = next(ways)
        folders[f"{name}; {how}"] = Folder(indented(alone, how), "", person, works=True)
        folders[f"a role on {name}; {how}"] = Folder(indented(source, how), "", person, works=True)
        folders[f"{name}; in the credentials file, {how}"] = Folder(
            indented(more, how), indented(f"[a]\n{lines}", how), person, works=True
        )
        folders[f"a role on {name}; quoted"] = Folder(quoted(source, next(marks)), "", person, works=True)
    return folders


def make_sparse(path: Path) -> None:
    path.write_text("# " + "x" * (17 << 20))


INSTEAD: dict[str, Callable[[Path], None]] = {
    "": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing at all")),
    "an empty device": lambda path: path.symlink_to(os.devnull),
    "a pipe": os.mkfifo,
    "a device without an end": lambda path: path.symlink_to("/dev/zero"),
    "more than a file may have": make_sparse,
}


def unreadable() -> dict[str, Folder]:
    """Something else than a file lies where one of the two should, and the other has keys, or is not there."""
    folders: dict[str, Folder] = {}
    for kind in filter(None, INSTEAD):
        config, credentials = Folder(f"[profile a]\n{keys('A')}"), Folder("", f"[a]\n{keys('A')}")
        folders[f"{kind} as the config file"] = credentials._replace(instead=("config", kind))
        folders[f"{kind} as the credentials file"] = config._replace(instead=("credentials", kind))
        folders[f"{kind} as the config file, and no other"] = Folder(instead=("config", kind), works=False)
    return folders


# And by hand. First what works.

GOOD_BY_HAND: dict[str, Folder] = {
    "keys in both files": Folder(f"[profile a]\n{keys('CONFIG')}", f"[a]\n{keys('CREDENTIALS')}"),
    "comments": Folder("[profile a]\n; x\n", f"# x\n[a]   # x\n{keys('A')}"),
    "quotation marks stay": Folder(f"[profile a]\n{keys('A')}aws_session_token = '{TOKEN}'\n"),
    "blank keys beside a process": Folder(f"[profile a]\n{process('P')}aws_access_key_id =\n"),
    "a command with comment signs in quotation marks": Folder(
        "[profile a]\ncredential_process = /bin/sh -c 'set -e ; cat HOME/printed # it'\n"
    ),
    "a command with comment signs in other quotation marks": Folder(
        '[profile a]\ncredential_process = /bin/sh -c "set -e ; cat \\"HOME/printed\\" # it"\n'
    ),
    "a command with comment signs in quotation marks, in the credentials file": Folder(
        "", "[a]\n  credential_process = /bin/sh -c 'set -e ; cat HOME/printed'\n"
    ),
    "a command of two lines": Folder(
        "[profile a]\ncredential_process = /bin/sh -c\n   'set -e ; cat HOME/printed'\n"
    ),
    "a name partly quoted": Folder(f"[profile ''a]\n{keys('A')}"),
    "a name with an escaped letter": Folder(f"[profile \\a]\n{keys('A')}"),
    "a quoted name of a session": Folder(
        f"[profile a]\n{SSO}[sso-session 'corp']\n{PORTAL}sso_registration_scopes = sso:account:access\n",
        person="SSO, signed in",
    ),
    "an indented header behind an empty section": Folder(f"[profile b]\n  [profile a]\n{keys('A')}"),
    "comments between what is indented": Folder(
        f"# x\n  [profile a]\n# x\n\n{indented(keys('A'), 'indented with tabs')}"
    ),
    "a role of the credentials file": Folder(
        "", f"[a]\n{role('a', 'source_profile = base')}[base]\n{keys('BASE')}"
    ),
    "a role on itself": Folder(f"[profile a]\n{role('a', 'source_profile = a')}{keys('A')}"),
    "a role on a role with keys": Folder(
        f"{A_ON_B}[profile b]\n{role('b', 'source_profile = base')}{keys('B')}{BASE}"
    ),
    "a role on a role with keys and no source": Folder(f"{A_ON_B}[profile b]\n{role('b')}{keys('B')}"),
    "a role in a region of its own": Folder(f"{A_ON_BASE}region = us-west-2\n{BASE}", region=""),
    "web identity in a region of its own": Folder(f"[profile a]\n{WEB}region = us-west-2\n", region=""),
    "web identity without a region anywhere": Folder(f"[profile a]\n{WEB}", region=""),
    "SSO without a region of the program": Folder(f"[profile a]\n{SSO}{CORP}", "", "SSO, ended", ""),
    "SSO in a region of its own": Folder(f"[profile a]\n{SSO}region = us-west-2\n{CORP}", "", "SSO, ended", ""),
    "login in a region of its own": Folder(f"[profile a]\n{LOGIN}region = us-west-2\n", "", "login, ended", ""),
    "a source_profile without a role": Folder(
        f"[profile a]\n{keys('A')}source_profile = b\n[profile b]\n{process('P')}source_profile = a\n"
    ),
}
BROKEN_BY_HAND: dict[str, Folder] = {
    "a region only": Folder("[profile a]\nregion = x\n"),
    "nothing": Folder(),
    "an unknown profile": Folder(BASE),
    "a binary file": Folder("[profile a]\n\0\0"),
    "half a pair in the credentials file": Folder("", "[a]\naws_access_key_id = AKIAA\n"),
    "a role on itself, without keys": Folder(f"[profile a]\n{role('a', 'source_profile = a')}"),
    "a role on itself, with a process": Folder(f"[profile a]\n{role('a', 'source_profile = a')}{process('P')}"),
    "a role on itself, with SSO": Folder(
        f"[profile a]\n{role('a', 'source_profile = a')}{SSO}{CORP}", person="SSO, signed in"
    ),
    "a role on itself, with login": Folder(
        f"[profile a]\n{role('a', 'source_profile = a')}{LOGIN}", person="login, logged in"
    ),
    "a circle": Folder(f"{A_ON_B}[profile b]\n{role('b', 'source_profile = a')}"),
    "a circle with keys": Folder(f"{A_ON_B}{keys('A')}[profile b]\n{role('b', 'source_profile = a')}"),
    "a circle further in": Folder(f"{A_ON_B}{B_ON_C}[profile c]\n{role('c', 'source_profile = b')}"),
    "a role without a source, with keys": Folder(f"[profile a]\n{role('a')}{keys('A')}"),
    "a role without a source, with SSO": Folder(f"[profile a]\n{role('a')}{SSO}{CORP}", person="SSO, signed in"),
    "a role without a source, with login": Folder(f"[profile a]\n{role('a')}{LOGIN}", person="login, logged in"),
    "a role without a source, with a process": Folder(f"[profile a]\n{role('a')}{process('P')}"),
    "a role on nothing": Folder(f"{A_ON_BASE}[profile base]\nregion = x\n"),
    "an unknown credential source": Folder(f"[profile a]\n{role('a', 'credential_source = Ec2')}"),
    "a session in the credentials file": Folder(f"[profile a]\n{SSO}", CORP, "SSO, signed in"),
    "a quoted name in the credentials file": Folder("", f"['a']\n{keys('A')}"),
    "a name whose quotation mark is not closed": Folder(f'[profile "a]\n{keys("A")}'),
    "a quoted kind": Folder(f'["profile" a]\n{keys("A")}'),
    "a quoted name without its kind": Folder(f"['a']\n{keys('A')}"),
    "a header deeper than a value": Folder(f"[profile b]\nregion = x\n  [profile a]\n{keys('A')}"),
    "a key deeper than the first": Folder(f"[profile a]\n{keys('A').replace('aws_secret', '  aws_secret')}"),
    "an indented line of neither kind": Folder(f"[profile a]\n  and so on\n{keys('A')}"),
    "a command with a quotation mark that is not closed": Folder(
        "[profile a]\ncredential_process = /bin/sh -c 'set -e ; cat HOME/printed\n"
    ),
}
# What variables say. That the environment has no keys lets them name a profile.

NO_KEYS = (("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""))
A_AND_B = f"[profile a]\n{keys('A')}[profile b]\n{keys('B')}[default]\n{keys('C')}"
ROLES_OF_OLD = f"[profile a]\n{role('a', 'source_profile = base')}[profile base]\n"
ENVIRONMENT_WITH_TOKEN = (("AWS_ACCESS_KEY_ID", "AKIATOKEN"), ("AWS_SESSION_TOKEN", ""))


def by_variables(config: str, *variables: tuple[str, str], credentials: str = "") -> Folder:
    """A folder whose profile the variables name."""
    return Folder(config, credentials, variables=(*NO_KEYS, *variables), named=False)


GOOD_BY_VARIABLES: dict[str, Folder] = {
    "AWS_DEFAULT_PROFILE": by_variables(A_AND_B, ("AWS_DEFAULT_PROFILE", "b")),
    "AWS_PROFILE": by_variables(A_AND_B, ("AWS_PROFILE", "b")),
    "AWS_DEFAULT_PROFILE, which is the same as AWS_PROFILE": by_variables(
        A_AND_B, ("AWS_DEFAULT_PROFILE", "b"), ("AWS_PROFILE", "b")
    ),
    "AWS_DEFAULT_PROFILE beside a profile in code": Folder(A_AND_B, variables=(("AWS_DEFAULT_PROFILE", "b"),)),
    "AWS_DEFAULT_PROFILE of a role": by_variables(f"{A_ON_BASE}{BASE}", ("AWS_DEFAULT_PROFILE", "a")),
    "AWS_DEFAULT_PROFILE of the credentials file": by_variables(
        A_AND_B, ("AWS_DEFAULT_PROFILE", "d"), credentials=f"[d]\n{keys('D')}"
    ),
    "a token by its name of old": Folder(f"[profile a]\n{keys('TOKEN', f'aws_security_token = {TOKEN}')}"),
    "a token by its name of old in the credentials file": Folder(
        "", f"[a]\n{keys('TOKEN', f'aws_security_token = {TOKEN}')}"
    ),
    "a token by its name of old beside a blank new one": Folder(
        f"[profile a]\n{keys('TOKEN', f'aws_security_token = {TOKEN}')}aws_session_token =\n"
    ),
    "a token by both names": Folder(
        f"[profile a]\n{keys('TOKEN', f'aws_security_token = {TOKEN}')}aws_session_token = {TOKEN}\n"
    ),
    "a role on keys with a token by its name of old": Folder(
        f"{ROLES_OF_OLD}{keys('TOKEN', f'aws_security_token = {TOKEN}')}"
    ),
    "a role on an environment with a token by its name of old": Folder(
        f"[profile a]\n{role('e', ON_ENVIRONMENT)}",
        variables=(*ENVIRONMENT_WITH_TOKEN, ("AWS_SECURITY_TOKEN", TOKEN)),
    ),
    "a config file by a variable in a variable": Folder(
        f"[profile a]\n{keys('A')}", variables=(("AWS_CONFIG_FILE", "$PLACE/config"),)
    ),
    "a config file by a variable in braces": Folder(
        f"[profile a]\n{keys('A')}", variables=(("AWS_CONFIG_FILE", "${PLACE}/config"),)
    ),
    "a config file by $HOME": Folder(
        f"[profile a]\n{keys('A')}", variables=(("AWS_CONFIG_FILE", "$HOME/../config"),)
    ),
    "a credentials file by ${HOME}": Folder(
        "", f"[a]\n{keys('A')}", variables=(("AWS_SHARED_CREDENTIALS_FILE", "${HOME}/../credentials"),)
    ),
    "sign-ins by $HOME": Folder(
        f"[profile a]\n{LOGIN}",
        "",
        "login, logged in",
        variables=(("AWS_LOGIN_CACHE_DIRECTORY", "$HOME/.aws/login/cache"),),
    ),
}
BROKEN_BY_VARIABLES: dict[str, Folder] = {
    "AWS_DEFAULT_PROFILE of no profile": by_variables(A_AND_B, ("AWS_DEFAULT_PROFILE", "nowhere")),
    "a config file by a variable that is not set": Folder(
        f"[profile a]\n{keys('A')}", variables=(("AWS_CONFIG_FILE", "$NOWHERE/config"),)
    ),
}
# And where the two differ, most of the time: see the table in the test.
ODD_BY_HAND: dict[str, Folder] = {
    "a role on a profile with a space in its name": Folder(
        f"[profile a]\n{role('a', 'source_profile = b c')}[profile 'b c']\n{keys('B')}"
    ),
    "a role on a profile with another sign in its name": Folder(
        f"[profile a]\n{role('a', 'source_profile = R&D/Admin')}[profile R&D/Admin]\n{keys('B')}"
    ),
    "a role on a profile with another letter in its name": Folder(
        f"[profile a]\n{role('a', 'source_profile = müller')}", f"[müller]\n{keys('B')}"
    ),
    "a colon instead of an equals sign": Folder(f"[profile a]\n{keys('A')}output: json\n"),
    "a section twice": Folder(f"[profile a]\nregion = us-west-2\n[profile a]\n{keys('A')}"),
    "a key twice": Folder(f"[profile a]\n{keys('A')}{keys('B')}"),
    "a comment behind a value": Folder(f"[profile a]\n{keys('A', f'aws_session_token = {TOKEN} # of yesterday')}"),
    "a comment behind a role": Folder(f"{A_ON_BASE.strip()} # the other\n{BASE}"),
    "a comment behind a command": Folder(f"[profile a]\n{process('P').strip()} ; not this\n"),
    "a pair in two halves": Folder(
        "[profile a]\naws_access_key_id = AKIAA\n", f"[a]\naws_secret_access_key = {SECRET}\n"
    ),
    "half a pair beside a process": Folder(f"[profile a]\naws_access_key_id = AKIAA\n{process('P')}"),
    "a portal alone beside keys": Folder(f"[profile a]\n{keys('A')}sso_start_url = https://x\n"),
    "a role with a blank credential_source": Folder(f"{A_ON_BASE}credential_source =\n{BASE}"),
    "a role with a blank web_identity_token_file": Folder(f"{A_ON_BASE}web_identity_token_file =\n{BASE}"),
    "a blank role_arn beside keys": Folder(f"[profile a]\nrole_arn =\n{keys('A')}"),
    "a blank login_session beside a process": Folder(f"[profile a]\nlogin_session =\n{process('P')}"),
    "a blank sso_session": Folder(f"[profile a]\n{LEGACY}sso_session =\n", person="SSO, older form, signed in"),
    "a credential source in lower case": Folder(f"[profile a]\n{role('a', 'credential_source = environment')}"),
    "a source of credential_source alone": Folder(f"{A_ON_BASE}[profile base]\n{ON_ENVIRONMENT}"),
    "a duration that is none": Folder(f"{A_ON_BASE}duration_seconds = 1h\n{BASE}"),
    "web identity with a duration": Folder(f"[profile a]\n{WEB}duration_seconds = 900\n"),
    "web identity with a file in ~": Folder(f"[profile a]\n{role('w', 'web_identity_token_file = ~/token')}"),
    "web identity with a file by a variable": Folder(
        f"[profile a]\n{role('w', 'web_identity_token_file = $PLACE/home/token')}"
    ),
    "a config file in a home folder that nobody knows": Folder(
        "", f"[a]\n{keys('A')}", variables=(("AWS_CONFIG_FILE", "~no-such-user/config"),)
    ),
    "AWS_PROFILE and AWS_DEFAULT_PROFILE": by_variables(
        A_AND_B, ("AWS_PROFILE", "a"), ("AWS_DEFAULT_PROFILE", "b")
    ),
    "two tokens": Folder(
        f"[profile a]\n{keys('TOKEN', f'aws_security_token = {OTHER_TOKEN}')}aws_session_token = {TOKEN}\n"
    ),
    "a role on an environment with two tokens": Folder(
        f"[profile a]\n{role('e', ON_ENVIRONMENT)}",
        variables=(
            ("AWS_ACCESS_KEY_ID", "AKIATOKEN"),
            ("AWS_SESSION_TOKEN", TOKEN),
            ("AWS_SECURITY_TOKEN", OTHER_TOKEN),
        ),
    ),
    "a role with AWS_REGION and AWS_DEFAULT_REGION": Folder(
        f"{A_ON_BASE}{BASE}", variables=(("AWS_REGION", "us-west-2"), ("AWS_DEFAULT_REGION", "eu-west-1"))
    ),
    "web identity with a line break after the token": Folder(
        f"[profile a]\n{role('w', 'web_identity_token_file = HOME/line')}"
    ),
    "a process in ~": Folder(f"[profile a]\n{process('P').replace('/bin/echo', '~/echo')}"),
    "a role on a role in a region of its own": Folder(
        f"{A_ON_B}region = us-west-2\n{B_ON_C}region = eu-west-1\n[profile c]\n{keys('C')}", region=""
    ),
    "a role without a region anywhere": Folder(f"{A_ON_BASE}{BASE}", region=""),
    "login without a region anywhere": Folder(f"[profile a]\n{LOGIN}", "", "login, ended", ""),
    "SSO, no token but what renews it": Folder(f"[profile a]\n{SSO}{CORP}", "", "SSO, no token"),
    "SSO, no end but what renews it": Folder(f"[profile a]\n{SSO}{CORP}", "", "SSO, no end"),
    "SSO with account and role in the session": Folder(
        f"[profile a]\nsso_session = corp\n{CORP}{without(SSO, 'sso_session')}", "", "SSO, signed in"
    ),
    "login, about to end, and the session": Folder(
        f"[profile a]\n{LOGIN}", "", "login, about to end, and the session"
    ),
    "login, no refresh token": Folder(f"[profile a]\n{LOGIN}", "", "login, no refresh token"),
}

FOLDERS: dict[str, Folder] = {
    **{name: folder._replace(works=True) for name, folder in GOOD_BY_HAND.items()},
    **{name: folder._replace(works=False) for name, folder in BROKEN_BY_HAND.items()},
    **{name: folder._replace(works=True) for name, folder in GOOD_BY_VARIABLES.items()},
    **{name: folder._replace(works=False) for name, folder in BROKEN_BY_VARIABLES.items()},
    **ODD_BY_HAND,
    **alone_and_as_sources(),
    **beside_each_other(),
    **roles_with_options(),
    **written_otherwise(),
    **unreadable(),
}
