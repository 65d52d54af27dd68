"""Settings of IAM Identity Center from profile and session, and every mistake with its line and the fix."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from aiocreds._profiles import SharedConfig
from aiocreds._profiles.parser import Document
from aiocreds._profiles.sso import LoginCommand, SsoSettings, sso_of_arguments, sso_of_profile
from aiocreds.errors import InvalidConfiguration

PORTAL = "sso_start_url = https://x\nsso_region = eu-central-1\n"
ROLE = "sso_account_id = 123456789012\nsso_role_name = Developer\n"
SESSION = f"[sso-session corp]\n{PORTAL}sso_registration_scopes = sso:account:access\n"
WANTED = SsoSettings(
    start_url="https://x",
    region="eu-central-1",
    account_id="123456789012",
    role_name="Developer",
    session="corp",
    login=LoginCommand("aws sso login", " --sso-session corp", {"sso_session": "corp"}),
    place="profile 'a' (config:1)",
)
OLDER_FORM = WANTED._replace(session=None, login=LoginCommand("aws sso login", " --profile a", {"profile": "a"}))


def files(config: str, credentials: str = "") -> SharedConfig:
    return SharedConfig(
        Document("credentials", credentials.encode(), credentials=True), Document("config", config.encode())
    )


def settings(lines: str, more: str = SESSION, credentials: str = "") -> SsoSettings:
    """Return the settings of profile ``a``, which has these lines from line 2 on."""
    config = files(f"[profile a]\n{lines}{more}", credentials)
    return sso_of_profile(config, config.profiles["a"])


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        (f"sso_session = corp\n{ROLE}", SESSION),
        (f"{ROLE}sso_session=corp   # us\n", SESSION),
        (f"sso_session = corp\n{ROLE}{PORTAL}", SESSION),
        (f"sso_session = corp\n{ROLE}sso_region =\n", SESSION),
        (f"sso_session = corp\n{ROLE}region = us-west-2\n", f"{SESSION}region =\n"),
        ("sso_session = corp\n", SESSION + ROLE),
    ],
    ids=["as usual", "another order", "said twice", "a blank key", "another region", "the role in the session"],
)
def test_with_a_session(lines: str, more: str) -> None:
    assert settings(lines, more) == WANTED


@pytest.mark.parametrize("lines", [PORTAL + ROLE, ROLE + PORTAL, f"{PORTAL}{ROLE}sso_session =\n"])
def test_the_older_form(lines: str) -> None:
    assert settings(lines) == OLDER_FORM


def test_from_both_files() -> None:
    place = "profile 'a' (credentials:1)"
    assert settings(ROLE, SESSION, "[a]\nsso_session = corp\n") == WANTED._replace(place=place)
    older = settings(PORTAL + "sso_account_id = 123456789012\n", "", f"[a]\n{ROLE}")
    assert older == OLDER_FORM._replace(place=place)


@pytest.mark.parametrize(
    ("lines", "more", "parts"),
    [
        (
            "sso_session = corp\n",
            SESSION,
            ["sso_session (config:2) but no sso_account_id and no sso_role_name: add them"],
        ),
        ("sso_session = corp\nsso_role_name = x\n", SESSION, ["(config:2) but no sso_account_id: add it"]),
        (PORTAL, "", ["sso_start_url (config:2) but no sso_account_id and no sso_role_name: add them"]),
        (
            "region = x\nsso_account_id = 1\n",
            "",
            ["sso_account_id (config:3)", "no sso_start_url and no sso_region"],
        ),
        (f"{ROLE}sso_region = x\n", "", ["sso_region (config:4) but no sso_start_url: add it"]),
        (
            f"sso_session = cor\n{ROLE}",
            SESSION,
            ["(config:2)", "[sso-session cor]", "not in config", "correct the"],
        ),
        (
            f"sso_session = corp\n{ROLE}{PORTAL}",
            "[sso-session corp]\nx = y\n",
            ["(config:2)", "[sso-session corp] (config:7)", "no sso_start_url and no sso_region: add them there"],
        ),
        (
            f"sso_session = corp\n{ROLE}",
            "[sso-session corp]\nsso_start_url = https://x\nsso_region =\n",
            ["[sso-session corp] (config:5) has no sso_region: add it there, where aws sso login looks for it"],
        ),
        (
            f"sso_session = corp\n{ROLE}sso_start_url = https://y\n",
            SESSION,
            [
                "[sso-session corp]",
                "for sso_start_url: https://y (config:5) and https://x (config:7)",
                "remove it from the profile",
            ],
        ),
        (
            f"sso_region = us-east-1\nsso_session = corp\n{ROLE}",
            SESSION,
            ["different values for sso_region: us-east-1 (config:2) and eu-central-1 (config:8)"],
        ),
        (
            f"sso_session = corp\n{ROLE}",
            f"{SESSION}sso_account_id = 2\n",
            ["different values for sso_account_id: 123456789012 (config:3) and 2 (config:9)"],
        ),
    ],
)
def test_every_mistake_is_told_with_its_line_and_the_fix(lines: str, more: str, parts: list[str]) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        settings(lines, more)
    for part in ("profile 'a'", *parts):
        assert part in str(caught.value), str(caught.value)


def test_a_line_of_the_credentials_file_is_named() -> None:
    with pytest.raises(
        InvalidConfiguration, match=r"sso_region: us-east-1 \(credentials:3\) and eu-central-1 \(config:6\)"
    ):
        settings(ROLE, SESSION, "[a]\nsso_session = corp\nsso_region = us-east-1\n")


def test_a_session_is_one_of_the_config_file() -> None:
    with pytest.raises(InvalidConfiguration, match="not in config"):
        settings(f"sso_session = corp\n{ROLE}", "", SESSION)


# Given in code.

ARGUMENTS: dict[str, Any] = {
    "start_url": "https://x",
    "region": "eu-central-1",
    "account_id": "123456789012",
    "role_name": "Developer",
    "session": None,
}


def test_all_given_in_code() -> None:
    found = sso_of_arguments(files(""), **ARGUMENTS)
    assert found[:5] == OLDER_FORM[:5]
    assert "https://x" in found.login.line("aws sso login")
    assert found.login.arguments == {"sso_start_url": "https://x", "sso_region": "eu-central-1"}


@pytest.mark.parametrize("left_out", [{}, {"start_url": None}, {"start_url": "", "region": None}])
def test_a_session_given_in_code_supplies_the_rest(left_out: dict[str, str | None]) -> None:
    found = sso_of_arguments(files(SESSION), **(ARGUMENTS | {"session": "corp"} | left_out))
    assert found == WANTED._replace(place="code")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"region": None}, ["sso_region= is missing: pass it"]),
        ({"account_id": "", "role_name": None}, ["sso_account_id= and sso_role_name= are missing: pass them"]),
        ({"session": "corp", "role_name": None}, ["sso_role_name= is missing"]),
        ({"session": "cor"}, ["sso_session=", "[sso-session cor]", "not in config", "correct the name"]),
        ({"session": "corp", "region": "us-east-1"}, ["sso_region= differs", "(config:3)", "leave it out"]),
        ({"session": "corp", "start_url": "https://y"}, ["sso_start_url= differs", "(config:2)", "leave it out"]),
    ],
)
def test_what_is_wrong_in_code(arguments: dict[str, str | None], parts: list[str]) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        sso_of_arguments(files(SESSION), **(ARGUMENTS | arguments))
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("header", ['"corp"', "'corp'", "sso_session corp", "corp"])
def test_a_session_that_is_nearly_there(header: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        settings(f"sso_session = corp\n{ROLE}", f"[{header}]\n{PORTAL}")
    assert "the section at config:5 has to be [sso-session corp] in this file" in str(caught.value)


def test_the_region_is_one() -> None:
    with pytest.raises(
        InvalidConfiguration, match=r"sso_region \(config:7\) is 'eu central 1'.* such as eu-central-1"
    ):
        settings(f"sso_session = corp\n{ROLE}", SESSION.replace("eu-central-1", "eu central 1"))


@pytest.mark.parametrize("path", ["/etc/app/config", "/etc/my app/config"])
def test_a_person_signs_in_with_the_same_file(path: str) -> None:
    config = SharedConfig(
        Document("credentials", credentials=True),
        Document(path, f"[profile a]\nsso_session = corp\n{ROLE}{SESSION}".encode()),
        elsewhere=True,
    )
    login = sso_of_profile(config, config.profiles["a"]).login
    assert login.arguments == {"sso_session": "corp", "config_file": path}
    command = login.line(login.aws)
    variable, *words = shlex.split(command)
    assert variable == f"AWS_CONFIG_FILE={path}"
    assert words == ["aws", "sso", "login", "--sso-session", "corp"]
