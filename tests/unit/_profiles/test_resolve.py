"""From a profile to the credentials it begins with: every kind, and every mistake with its line."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocreds._profiles import SharedConfig
from aiocreds._profiles.parser import Document
from aiocreds._profiles.resolve import Kind, resolve
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration
from tests.helpers.secret_leaks import MARK, secret

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = {"aws_access_key_id": "AKIA0", "aws_secret_access_key": secret()}
ROLE = {"role_arn": "arn:aws:iam::1:role/r"}
PROCESS = {"credential_process": "vend"}
ON_EC2 = {"credential_source": "Ec2InstanceMetadata"}
WEB = {"web_identity_token_file": "/token"}
SSO = {"sso_session": "s", "sso_account_id": "1", "sso_role_name": "r"}
SESSION = "[sso-session s]\nsso_region = eu-central-1\nsso_start_url = https://x\n"
LOGIN = {"login_session": "arn:aws:iam::1:user/u"}


def of(name: str) -> dict[str, str]:
    return {"source_profile": name}


def files(profiles: Mapping[str, Mapping[str, str]], credentials: str = "") -> SharedConfig:
    text = "".join(
        f"[profile {name}]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
        for name, settings in profiles.items()
    )
    config = Document("config", (text + SESSION).encode())
    return SharedConfig(Document("credentials", credentials.encode(), credentials=True), config)


def way(profiles: Mapping[str, Mapping[str, str]], name: str = "a") -> list[tuple[str, str]]:
    return [(step.section.name, step.kind.name) for step in resolve(files(profiles), name)]


@pytest.mark.parametrize(
    ("profiles", "expected"),
    [
        ({"a": KEYS}, [("a", "STATIC")]),
        ({"a": PROCESS}, [("a", "PROCESS")]),
        ({"a": ROLE | ON_EC2}, [("a", "ROLE"), ("a", "CREDENTIAL_SOURCE")]),
        ({"a": ROLE | of("b"), "b": KEYS}, [("a", "ROLE"), ("b", "STATIC")]),
        ({"a": ROLE | of("b"), "b": PROCESS}, [("a", "ROLE"), ("b", "PROCESS")]),
        ({"a": ROLE | of("b"), "b": ON_EC2}, [("a", "ROLE"), ("b", "CREDENTIAL_SOURCE")]),
        ({"a": ROLE | of("b"), "b": SSO}, [("a", "ROLE"), ("b", "SSO")]),
        ({"a": ROLE | of("b"), "b": LOGIN}, [("a", "ROLE"), ("b", "LOGIN")]),
        ({"a": ROLE | of("b"), "b": ROLE | WEB}, [("a", "ROLE"), ("b", "WEB_IDENTITY")]),
        (
            {"a": ROLE | of("b"), "b": ROLE | of("c"), "c": ROLE | ON_EC2},
            [("a", "ROLE"), ("b", "ROLE"), ("c", "ROLE"), ("c", "CREDENTIAL_SOURCE")],
        ),
        # A profile with keys may name itself, and keys of a source win over all else that it has.
        ({"a": ROLE | KEYS | of("a")}, [("a", "ROLE"), ("a", "STATIC")]),
        ({"a": ROLE | of("b"), "b": ROLE | KEYS | of("c")}, [("a", "ROLE"), ("b", "STATIC")]),
        ({"a": ROLE | of("b"), "b": ROLE | KEYS}, [("a", "ROLE"), ("b", "STATIC")]),
        ({"a": ROLE | of("b"), "b": ROLE | KEYS | of("a")}, [("a", "ROLE"), ("b", "STATIC")]),
        ({"a": ROLE | of("b"), "b": SSO | KEYS}, [("a", "ROLE"), ("b", "STATIC")]),
        # Inside one profile: role, web identity, SSO, login, static keys, process.
        ({"a": ROLE | of("b") | WEB | SSO | LOGIN | KEYS | PROCESS, "b": KEYS}, [("a", "ROLE"), ("b", "STATIC")]),
        ({"a": ROLE | WEB | SSO | LOGIN | KEYS | PROCESS}, [("a", "WEB_IDENTITY")]),
        ({"a": SSO | LOGIN | KEYS | PROCESS}, [("a", "SSO")]),
        ({"a": LOGIN | KEYS | PROCESS}, [("a", "LOGIN")]),
        ({"a": KEYS | PROCESS | ON_EC2}, [("a", "STATIC")]),
        # Not a role without role_arn.
        ({"a": KEYS | of("nowhere")}, [("a", "STATIC")]),
    ],
)
def test_the_way(profiles: dict[str, dict[str, str]], expected: list[tuple[str, str]]) -> None:
    assert way(profiles) == expected


OF_ROLES = {"ROLE": of("base"), "CREDENTIAL_SOURCE": ON_EC2, "WEB_IDENTITY": WEB}
BESIDE = OF_ROLES | {"SSO": SSO, "LOGIN": LOGIN, "STATIC": KEYS, "PROCESS": PROCESS}
ALL_BUT_TWO_SOURCES = [pair for pair in itertools.combinations(BESIDE, 2) if pair != ("ROLE", "CREDENTIAL_SOURCE")]


@pytest.mark.parametrize(("first", "second"), ALL_BUT_TWO_SOURCES)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_of_two_kinds_the_first_counts_in_whichever_order_and_file(
    first: str, second: str, turned: bool, apart: bool
) -> None:
    """`BESIDE` is in the order that counts; as the source of a role, keys come before all others."""
    both = [BESIDE[first], BESIDE[second]]
    if first in OF_ROLES:
        both[0] = ROLE | both[0]
    one, other = reversed(both) if turned else both
    in_credentials = "".join(f"{key} = {value}\n" for key, value in other.items())
    config = files(
        {"a": one if apart else one | other, "base": KEYS, "on": ROLE | of("a")},
        f"[a]\n{in_credentials}" if apart else "",
    )
    alone = {"ROLE": ["ROLE", "STATIC"], "CREDENTIAL_SOURCE": ["ROLE", "CREDENTIAL_SOURCE"]}.get(first, [first])
    assert [step.kind.name for step in resolve(config, "a")] == alone
    as_source = ["STATIC"] if "STATIC" in (first, second) else alone
    assert [step.kind.name for step in resolve(config, "on")] == ["ROLE", *as_source]


@pytest.mark.parametrize("kind", ["WEB_IDENTITY", "SSO", "LOGIN", "STATIC", "PROCESS", "CREDENTIAL_SOURCE"])
def test_any_kind_is_a_source_at_any_depth(kind: str) -> None:
    settings = (ROLE if kind == "WEB_IDENTITY" else {}) | BESIDE[kind]
    profiles = {"a": ROLE | of("b"), "b": ROLE | of("c"), "c": settings}
    assert way(profiles, "b") == [("b", "ROLE"), ("c", kind)]
    assert way(profiles) == [("a", "ROLE"), ("b", "ROLE"), ("c", kind)]


@pytest.mark.parametrize("value", ["Environment", "ENVIRONMENT", "ec2instancemetadata", "eCsCoNtAiNeR"])
def test_a_credential_source_in_any_case(value: str) -> None:
    assert way({"a": ROLE | {"credential_source": value}})[-1] == ("a", "CREDENTIAL_SOURCE")


@pytest.mark.parametrize("depth", [1, 2, 5, 200])
def test_any_depth(depth: int) -> None:
    profiles = {str(number): ROLE | of(str(number + 1)) for number in range(depth)}
    steps = way({**profiles, str(depth): KEYS}, "0")
    assert [name for name, _ in steps] == [str(number) for number in range(depth + 1)]


@pytest.mark.parametrize(
    ("profiles", "parts"),
    [
        ({"a": ROLE | of("b") | ON_EC2, "b": KEYS}, ["config:3", "config:4", "source_profile", "remove one"]),
        ({"a": ROLE}, ["'a'", "config:2", "no source", "add source_profile"]),
        ({"a": KEYS | ROLE}, ["'a'", "config:4", "no source"]),
        ({"a": ROLE | {"source_profile": ""}}, ["config:2", "no source"]),
        ({"a": ROLE | of("b"), "b": ROLE}, ["'b'", "config:5", "no source"]),
        ({"a": ROLE | of("bass"), "base": KEYS}, ["config:3", "source_profile = bass", "'base'?"]),
        ({"a": ROLE | of("b"), "b": {"region": "x"}}, ["config:3", "config:4", "'a'", "holds no credentials"]),
        ({"a": ROLE | of("b"), "b": of("c"), "c": KEYS}, ["config:3", "config:4", "holds no credentials"]),
        ({"a": ROLE | of("a")}, ["a → a", "config:3"]),
        ({"a": ROLE | PROCESS | of("a")}, ["a → a", "config:4"]),
        ({"a": ROLE | of("b"), "b": ROLE | of("a")}, ["a → b → a", "config:6"]),
        (
            {"a": ROLE | of("b"), "b": ROLE | of("c"), "c": ROLE | of("a")},
            ["a → b → c → a", "config:9", "outside the circle"],
        ),
        ({"a": ROLE | of("b"), "b": ROLE | of("c"), "c": ROLE | of("b")}, ["a → b → c → b", "config:9"]),
        ({"a": ROLE | KEYS | of("b"), "b": ROLE | of("a")}, ["a → b → a", "config:8"]),
        ({"a": {"aws_access_key_id": "AKIA"}}, ["'a'", "config:2", "no aws_secret_access_key", "add it"]),
        ({"a": {"aws_secret_access_key": secret()}}, ["'a'", "config:2", "no aws_access_key_id"]),
        ({"a": {"aws_access_key_id": "AKIA", "aws_secret_access_key": ""}}, ["config:2"]),
        ({"a": PROCESS | {"aws_access_key_id": "AKIA"}}, ["config:3"]),
        ({"a": ROLE | of("b"), "b": {"aws_secret_access_key": secret()}}, ["'b'", "config:5"]),
        ({"a": ROLE | {"credential_source": "Ec2"}}, ["config:3", "Environment, Ec2InstanceMetadata or EcsCon"]),
        ({"a": ROLE | of("b"), "b": {"credential_source": secret()}}, ["'b'", "config:5", "unknown"]),
        ({"a": WEB}, ["'a'", "config:2", "no role_arn", "add it"]),
        ({"a": ROLE | of("b"), "b": WEB}, ["'b'", "config:5", "no role_arn"]),
        # A role without a source, beside what might be one.
        ({"a": ROLE | KEYS}, ["add source_profile = a ", "keys beside it"]),
        ({"a": ROLE | SSO}, ["config:2", "move sso_session (config:3)", "another profile", "source_profile"]),
        ({"a": ROLE | {"sso_start_url": "https://x"}}, ["move sso_start_url (config:3)"]),
        ({"a": ROLE | LOGIN}, ["move login_session (config:3)"]),
        ({"a": ROLE | PROCESS}, ["move credential_process (config:3)"]),
        # What only shows in the settings of a kind, before anything is asked for.
        ({"a": ROLE | of("b") | {"duration_seconds": "1h"}, "b": KEYS}, ["'a'", "config:4", "such as 3600"]),
        ({"a": ROLE | of("b"), "b": ROLE | WEB | {"duration_seconds": "-1"}}, ["'b'", "config:7"]),
        ({"a": ROLE | of("b"), "b": {"sso_session": "s"}}, ["'b'", "config:5", "no sso_account_id and no sso_ro"]),
        ({"a": SSO | {"sso_session": "t"}}, ["'a'", "config:2", "[sso-session t]"]),
    ],
)
def test_every_mistake_is_told_with_its_line(profiles: dict[str, dict[str, str]], parts: list[str]) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        resolve(files(profiles), "a")
    for part in parts:
        assert part in str(caught.value)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (ROLE | {"source_profile": "b # the other"}, 3),
        (ROLE | {"credential_source": "Ec2 ; InstanceMetadata"}, 3),
        (ROLE | ON_EC2 | {"duration_seconds": "60 # 0"}, 0),
        (ROLE | ON_EC2 | {"duration_seconds": "1h # 0"}, 4),
        (SSO | {"sso_session": "t # too"}, 2),
    ],
)
def test_a_value_that_a_comment_cut_short(settings: dict[str, str], line: int) -> None:
    if not line:
        assert resolve(files({"a": settings}), "a")
        return
    with pytest.raises(InvalidConfiguration, match=rf"\(config:{line}, where a comment begins at ' [#;]'\)"):
        resolve(files({"a": settings}), "a")


def test_a_source_profile_that_is_ignored_for_its_name() -> None:
    with pytest.raises(InvalidConfiguration, match=r"config:4 is ignored for the '&' in its name: rename it"):
        resolve(files({"a": ROLE | of("R&D"), "R&D": KEYS}), "a")


def test_a_line_of_either_file_is_named() -> None:
    config = files({"a": ROLE | of("b")}, "# ours\n[b]\naws_access_key_id = AKIA\n")
    with pytest.raises(InvalidConfiguration, match="credentials:3"):
        resolve(config, "a")


@pytest.mark.parametrize(
    "settings",
    [{}, {"region": "eu-west-1"}, of("b"), ON_EC2, {"aws_session_token": secret()}, {"role_arn": ""}],
)
def test_a_profile_without_credentials(settings: dict[str, str]) -> None:
    with pytest.raises(CredentialsNotFound, match=r"profile 'a' holds no credentials \(config:1\)"):
        resolve(files({"a": settings, "b": KEYS}), "a")


def test_only_default_may_be_missing() -> None:
    with pytest.raises(CredentialsNotFound, match="neither in config nor in credentials"):
        resolve(files({}), "default")
    with pytest.raises(InvalidConfiguration, match="'prod' is neither in config nor in credentials") as caught:
        resolve(files({"prd": KEYS}), "prod")
    assert "did you mean 'prd'?" in str(caught.value)


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "role_arn": st.just("arn"),
        "source_profile": st.sampled_from("abcd"),
        "credential_source": st.sampled_from(["Environment", "EcsContainer", "?"]),
        "aws_access_key_id": st.just("AKIA"),
        "aws_secret_access_key": st.just(MARK),
        "credential_process": st.just("vend"),
        "web_identity_token_file": st.just("/token"),
        "sso_session": st.just("s"),
        "sso_account_id": st.just("1"),
        "sso_role_name": st.just("r"),
        "login_session": st.just("arn"),
        "duration_seconds": st.sampled_from(["900", "1h"]),
    },
)


@given(st.dictionaries(st.sampled_from("abc"), SETTINGS))
def test_every_way_ends(profiles: dict[str, dict[str, str]]) -> None:
    """In credentials after nothing but roles, each of them once, or in an error of ours."""
    try:
        steps = resolve(files(profiles), "a")
    except (CredentialsNotFound, InvalidConfiguration) as error:
        assert MARK not in str(error)  # noqa: PT017 - which of the two it is does not matter
        return
    assert steps[-1].kind is not Kind.ROLE
    roles = [step.section.name for step in steps[:-1]]
    assert {step.kind for step in steps[:-1]} <= {Kind.ROLE}
    assert len(set(roles)) == len(roles)
    assert all("role_arn" in profiles[name] for name in roles)


def test_a_profile_named_by_a_variable() -> None:
    config = SharedConfig(Document("credentials", credentials=True), Document("config"))
    with pytest.raises(InvalidConfiguration, match=r"profile 'ghost' \(from AWS_PROFILE\) .* or unset AWS_PROFILE"):
        resolve(config, "ghost", "AWS_PROFILE")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[profile app]\nregion = x\n", "there is 'app': name one in AWS_PROFILE or in code"),
        (
            "".join(f"[profile p{number}]\nregion = x\n" for number in range(9)),
            "there are 'p0', 'p1', 'p2', …: name",
        ),
    ],
)
def test_no_default_but_others(text: str, hint: str) -> None:
    config = SharedConfig(Document("credentials", credentials=True), Document("config", text.encode()))
    with pytest.raises(CredentialsNotFound) as caught:
        resolve(config, "default")
    assert hint in str(caught.value)


@pytest.mark.parametrize("header", ['["app"]', "['app']", "[app]"])
def test_a_header_without_its_kind(header: str) -> None:
    config = SharedConfig(
        Document("credentials", credentials=True), Document("config", f"{header}\nregion = x\n".encode())
    )
    with pytest.raises(InvalidConfiguration, match=r"the section at config:1 has to be \[profile app\]"):
        resolve(config, "app")
