"""The rules of the shared files, one case each in our own words, for profiles and for sso-sessions.

The SDK teams' reference cases check the same rules with values of their own. They lie beside the project and are no
part of it; `CASES_OF` says which of them check which rule, and where they are at hand, that none is left over.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aiocreds._core.context import Context
from aiocreds._profiles import SharedConfig, load
from aiocreds._profiles.files import locate
from aiocreds.errors import InvalidConfiguration

DATA = Path(__file__).parents[3] / "../shared/data"
NAME_CHARACTERS = "abcxyzABCXYZ0189_-/.%@:+"


class Rule(NamedTuple):
    """Return the meaning of a text in each kind of section; ``{}`` stands for ``profile`` or ``sso-session``.

    Attributes:
        config: the config file.
        expected: the sections and their values, or what the error says.
        credentials: the credentials file.
    """

    config: str
    expected: dict[str, dict[str, Any]] | str
    credentials: str = ""


# Rules that hold for both kinds of sections.
COMMON = {
    "a file may be empty": Rule("", {}),
    "a section may be empty": Rule("[{} tea]\n", {"tea": {}}),
    "the bracket of a header is closed": Rule("[{} tea", "Section definition must end with ']'"),
    "blanks around a name do not count": Rule("[{} \t tea\t ]", {"tea": {}}),
    "a tab separates as a blank does": Rule("[{}\ttea]", {"tea": {}}),
    "blanks before the kind do not count": Rule(
        "[ \t{} tea ]\ncups = 2\n[{} jam]", {"tea": {"cups": "2"}, "jam": {}}
    ),
    "kind and name are separated": Rule("[{}tea]\ncups = 2\n[{} jam]", {"jam": {}}),
    "a property belongs to its section": Rule("[{} tea]\ncups = 2", {"tea": {"cups": "2"}}),
    "lines may end as on Windows": Rule("[{} tea]\r\ncups = 2\r\n", {"tea": {"cups": "2"}}),
    "only the first equals sign separates": Rule("[{} tea]\nsum = 1+1=2=two", {"tea": {"sum": "1+1=2=two"}}),
    "values may hold any character": Rule("[{} tea]\nmood = 茶 ☕ é", {"tea": {"mood": "茶 ☕ é"}}),
    "a section has many properties": Rule("[{} tea]\ncups = 2\nmilk = no", {"tea": {"cups": "2", "milk": "no"}}),
    "blanks around key and value do not count": Rule("[{} tea]\ncups\t =\t 2 \t", {"tea": {"cups": "2"}}),
    "a value may be empty": Rule("[{} tea]\ncups =", {"tea": {"cups": ""}}),
    "a key is not empty": Rule("[{} tea]\n= 2", "Property did not have a name"),
    "a property has an equals sign": Rule("[{} tea]\ncups : 2", "Expected an '=' sign defining a property"),
    "several sections may be empty": Rule("[{} tea]\n[{} jam]", {"tea": {}, "jam": {}}),
    "each section has its own properties": Rule(
        "[{} tea]\ncups = 2\n[{} jam]\nglass = 1", {"tea": {"cups": "2"}, "jam": {"glass": "1"}}
    ),
    "blank lines do not count": Rule(
        " \t\n[{} tea]\n \t\n\t\ncups = 2\n\t\n[{} jam]\n \n", {"tea": {"cups": "2"}, "jam": {}}
    ),
    "a number sign begins a comment": Rule(
        "# one\n[{} tea] # two\ncups = 2 # three # four", {"tea": {"cups": "2"}}
    ),
    "a semicolon begins a comment": Rule("; one\n[{} tea] ; two\ncups = 2 ; three ; four", {"tea": {"cups": "2"}}),
    "both kinds of comments go together": Rule(
        "# one\n[{} tea] ; two\ncups = 2 # three ; four", {"tea": {"cups": "2"}}
    ),
    "a comment may be empty": Rule("#\n[{} tea]#\ncups = 2 #\n;", {"tea": {"cups": "2"}}),
    "a comment may touch a header": Rule("[{} tea]# one\n[{} jam]; two", {"tea": {}, "jam": {}}),
    "a comment sign within a value is part of it": Rule(
        "[{} tea]\ncups = 2;3\nmilk = no#yes", {"tea": {"cups": "2;3", "milk": "no#yes"}}
    ),
    "an indented line continues a value": Rule("[{} tea]\ncups = 2\n or 3", {"tea": {"cups": "2\nor 3"}}),
    "several lines continue a value": Rule("[{} tea]\ncups = 2\n or 3\n\tor 4", {"tea": {"cups": "2\nor 3\nor 4"}}),
    "blanks around a continuation do not count": Rule(
        "[{} tea]\ncups = 2\n \t or 3 \t", {"tea": {"cups": "2\nor 3"}}
    ),
    "a number sign in a continuation is part of it": Rule(
        "[{} tea]\ncups = 2\n or # 3", {"tea": {"cups": "2\nor # 3"}}
    ),
    "a semicolon in a continuation is part of it": Rule(
        "[{} tea]\ncups = 2\n or ; 3", {"tea": {"cups": "2\nor ; 3"}}
    ),
    "a continuation needs a section": Rule(" or 3", "Expected a section definition"),
    "a continuation needs a property": Rule(
        "[{} tea]\n or 3", "Expected a property definition, found continuation"
    ),
    "a header ends what can be continued": Rule(
        "[{} tea]\ncups = 2\n[{} tea]\n or 3", "Expected a property definition, found continuation"
    ),
    "a section may be in two parts": Rule(
        "[{} tea]\ncups = 2\n[{} tea]\nmilk = no", {"tea": {"cups": "2", "milk": "no"}}
    ),
    "the last of equal keys counts": Rule("[{} tea]\ncups = 2\ncups = 3", {"tea": {"cups": "3"}}),
    "the last of equal keys counts over both parts": Rule(
        "[{} tea]\ncups = 2\n[{} tea]\ncups = 3", {"tea": {"cups": "3"}}
    ),
    "keys are equal in any case": Rule("[{} tea]\nCUPS = 2\n[{} tea]\ncups = 3", {"tea": {"cups": "3"}}),
    "a name holds no blanks": Rule("[{} green tea]\ncups = 2", {}),
    "the properties of a header that means nothing are dropped": Rule(
        "[{} tea]\ncups = 2\n[{} green tea]\ncups = 3\n[{} jam]\nglass = 1",
        {"tea": {"cups": "2"}, "jam": {"glass": "1"}},
    ),
    "a key holds no blanks": Rule("[{} tea]\nmany cups = 2", {"tea": {}}),
    "what a name may hold": Rule(f"[{{}} {NAME_CHARACTERS}]", {NAME_CHARACTERS: {}}),
    "what a key may hold": Rule(f"[{{}} tea]\n{NAME_CHARACTERS} = 2", {"tea": {NAME_CHARACTERS.lower(): "2"}}),
    "a value may hold properties": Rule("[{} tea]\npot =\n cups = 2", {"tea": {"pot": {"cups": "2"}}}),
    "a nested property has an equals sign": Rule(
        "[{} tea]\npot =\n cups", "Expected an '=' sign defining a property in sub-property"
    ),
    "a nested value may be empty": Rule("[{} tea]\npot =\n cups =", {"tea": {"pot": {"cups": ""}}}),
    "a number sign in a nested value is part of it": Rule(
        "[{} tea]\npot =\n cups = 2 # or 3", {"tea": {"pot": {"cups": "2 # or 3"}}}
    ),
    "a semicolon in a nested value is part of it": Rule(
        "[{} tea]\npot =\n cups = 2 ; or 3", {"tea": {"pot": {"cups": "2 ; or 3"}}}
    ),
    "a nested key is not empty": Rule("[{} tea]\npot =\n = 2", "Property did not have a name in sub-property"),
    "a nested key holds no blanks": Rule("[{} tea]\npot =\n many cups = 2", {"tea": {"pot": {}}}),
    "blank lines among nested properties do not count": Rule(
        "[{} tea]\npot =\n cups = 2\n \t\n milk = no", {"tea": {"pot": {"cups": "2", "milk": "no"}}}
    ),
    "a bare name is no header of the config file": Rule("[tea]\ncups = 2", {}),
}
PROFILES = {
    "a property needs a section": Rule("cups = 2", "Expected a section definition"),
    "a prefixed default comes before a bare one": Rule(
        "[profile default]\ncups = 2\n[default]\nmilk = no", {"default": {"cups": "2"}}
    ),
    "a prefixed default comes after a bare one": Rule(
        "[default]\nmilk = no\n[profile default]\ncups = 2", {"default": {"cups": "2"}}
    ),
    "names with blanks mean nothing in either file": Rule("[profile green tea]\na = 1", {}, "[black tea]\nb = 2"),
    "both files are merged": Rule(
        "[profile tea]\ncups = 2", {"tea": {"cups": "2", "milk": "no"}}, "[tea]\nmilk = no"
    ),
    "a bare default between prefixed ones does not count": Rule(
        "[profile default]\ncups = 2\n[default]\nmilk = no\n[profile default]\nsugar = 1",
        {"default": {"cups": "2", "sugar": "1"}},
    ),
    "a bare default does not come back with the credentials file": Rule(
        "[profile default]\ncups = 2\n[default]\nmilk = no\n[profile default]\nsugar = 1",
        {"default": {"cups": "2", "sugar": "1", "key": "x"}},
        "[default]\nkey = x",
    ),
    "the credentials file wins": Rule("[profile tea]\ncups = 2", {"tea": {"cups": "3"}}, "[tea]\ncups = 3"),
    "a prefix means nothing in the credentials file": Rule("", {}, "[profile tea]\ncups = 2"),
    "blanks around a name do not count in the credentials file": Rule(
        "", {"tea": {"cups": "2"}}, "[ \ttea ]\ncups = 2\n[profile jam]"
    ),
}
SESSIONS = {
    "a session has a name": Rule("[sso-session]\ncups = 2", {}),
    "sessions are in the config file alone": Rule("", {}, "[sso-session tea]\ncups = 2"),
}
RULES = [
    *(("profile", name, rule) for name, rule in {**COMMON, **PROFILES}.items()),
    *(("sso-session", name, rule) for name, rule in {**COMMON, **SESSIONS}.items()),
]


def content(sections: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {key: section.get(key) or dict(section.subsection(key)) or "" for key in section}
        for name, section in sections.items()
    }


def expected(sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A value that is empty and a nest that is empty are read alike."""
    return {name: {key: value or "" for key, value in keys.items()} for name, keys in sections.items()}


async def read(folder: Path, rule: Rule, kind: str) -> SharedConfig:
    (folder / "config").write_text(rule.config.replace("{}", kind), encoding="utf-8", newline="")
    (folder / "credentials").write_text(rule.credentials, encoding="utf-8", newline="")
    return await load(Context(environ={}), str(folder / "credentials"), str(folder / "config"))


@pytest.mark.parametrize(("kind", "name", "rule"), RULES, ids=[f"{kind}: {name}" for kind, name, _ in RULES])
async def test_a_rule_of_the_shared_files(tmp_path: Path, kind: str, name: str, rule: Rule) -> None:
    if isinstance(rule.expected, str):
        with pytest.raises(InvalidConfiguration) as caught:
            await read(tmp_path, rule, kind)
        assert rule.expected in str(caught.value)
        return
    config = await read(tmp_path, rule, kind)
    found = config.profiles if kind == "profile" else config.sso_sessions
    assert content(found) == expected(rule.expected)


async def test_a_profile_and_a_session_may_share_a_name(tmp_path: Path) -> None:
    config = await read(tmp_path, Rule("[profile tea]\ncups = 2\n[sso-session tea]\nmilk = no", {}), "")
    assert content(config.profiles) == {"tea": {"cups": "2"}}
    assert content(config.sso_sessions) == {"tea": {"milk": "no"}}


# What a machine has, and where the files are then: (variables, platform, the account's home, config, credentials).
PLACES: dict[str, tuple[dict[str, str], tuple[str, str, str, str]]] = {
    "HOME counts first, not on Windows": (
        {"HOME": "/h/ada", "USERPROFILE": "no", "HOMEDRIVE": "no", "HOMEPATH": "no"},
        ("posix", "no", "/h/ada/.aws/config", "/h/ada/.aws/credentials"),
    ),
    "else the account's home, not on Windows": (
        {"USERPROFILE": "no", "HOMEDRIVE": "no", "HOMEPATH": "no"},
        ("posix", "/h/ada", "/h/ada/.aws/config", "/h/ada/.aws/credentials"),
    ),
    "HOME counts first on Windows": (
        {"HOME": "D:\\ada", "USERPROFILE": "no", "HOMEDRIVE": "no", "HOMEPATH": "no"},
        ("nt", "no", "D:\\ada\\.aws\\config", "D:\\ada\\.aws\\credentials"),
    ),
    "then USERPROFILE": (
        {"USERPROFILE": "D:\\ada", "HOMEDRIVE": "no", "HOMEPATH": "no"},
        ("nt", "no", "D:\\ada\\.aws\\config", "D:\\ada\\.aws\\credentials"),
    ),
    "then HOMEDRIVE and HOMEPATH": (
        {"HOMEDRIVE": "D:", "HOMEPATH": "\\ada"},
        ("nt", "no", "D:\\ada\\.aws\\config", "D:\\ada\\.aws\\credentials"),
    ),
    "else the account's home on Windows": (
        {},
        ("nt", "D:\\ada", "D:\\ada\\.aws\\config", "D:\\ada\\.aws\\credentials"),
    ),
    "AWS_CONFIG_FILE names the config file": (
        {"AWS_CONFIG_FILE": "/etc/aws", "HOME": "/h/ada"},
        ("posix", "no", "/etc/aws", "/h/ada/.aws/credentials"),
    ),
    "AWS_SHARED_CREDENTIALS_FILE names the credentials file": (
        {"AWS_SHARED_CREDENTIALS_FILE": "/etc/keys", "HOME": "/h/ada"},
        ("posix", "no", "/h/ada/.aws/config", "/etc/keys"),
    ),
    "AWS_CONFIG_FILE names the config file on Windows": (
        {"AWS_CONFIG_FILE": "E:\\aws", "HOME": "D:\\ada"},
        ("nt", "no", "E:\\aws", "D:\\ada\\.aws\\credentials"),
    ),
    "AWS_SHARED_CREDENTIALS_FILE names the credentials file on Windows": (
        {"AWS_SHARED_CREDENTIALS_FILE": "E:\\keys", "HOME": "D:\\ada"},
        ("nt", "no", "D:\\ada\\.aws\\config", "E:\\keys"),
    ),
}


@pytest.mark.parametrize(("environ", "case"), PLACES.values(), ids=PLACES)
def test_where_the_files_are(environ: dict[str, str], case: tuple[str, str, str, str]) -> None:
    platform, account, config, credentials = case
    for name, place in (("config", config), ("credentials", credentials)):
        assert locate(name, environ, platform=platform, fallback=lambda: account)[0] == place


SHARED = "a profile and a session may share a name"
# The rule that each reference case checks, in the order of the cases.
OF_PROFILES = [
    "a file may be empty",
    "a section may be empty",
    "the bracket of a header is closed",
    "blanks around a name do not count",
    "a tab separates as a blank does",
    "a property needs a section",
    "a property belongs to its section",
    "lines may end as on Windows",
    "only the first equals sign separates",
    "values may hold any character",
    "a section has many properties",
    "blanks around key and value do not count",
    "a value may be empty",
    "a key is not empty",
    "a property has an equals sign",
    "several sections may be empty",
    "each section has its own properties",
    "blank lines do not count",
    "a number sign begins a comment",
    "a semicolon begins a comment",
    "both kinds of comments go together",
    "a comment may be empty",
    "a comment may touch a header",
    "a comment sign within a value is part of it",
    "an indented line continues a value",
    "several lines continue a value",
    "blanks around a continuation do not count",
    "a number sign in a continuation is part of it",
    "a semicolon in a continuation is part of it",
    "a continuation needs a section",
    "a continuation needs a property",
    "a header ends what can be continued",
    "a section may be in two parts",
    "the last of equal keys counts",
    "the last of equal keys counts over both parts",
    "a prefixed default comes before a bare one",
    "a prefixed default comes after a bare one",
    "names with blanks mean nothing in either file",
    "a key holds no blanks",
    "what a name may hold",
    "what a key may hold",
    "a value may hold properties",
    "a nested property has an equals sign",
    "a nested value may be empty",
    "a number sign in a nested value is part of it",
    "a semicolon in a nested value is part of it",
    "a nested key is not empty",
    "a nested key holds no blanks",
    "blank lines among nested properties do not count",
    "both files are merged",
    "a bare default between prefixed ones does not count",
    "a bare default does not come back with the credentials file",
    "the credentials file wins",
    "a bare name is no header of the config file",
    "a prefix means nothing in the credentials file",
    "a comment may touch a header",
    "a header ends what can be continued",
    "kind and name are separated",
    "blanks before the kind do not count",
    "blanks around a name do not count in the credentials file",
    "the properties of a header that means nothing are dropped",
    "keys are equal in any case",
]
OF_SESSIONS = [
    "a file may be empty",
    "a section may be empty",
    "a session has a name",
    "the bracket of a header is closed",
    "blanks around a name do not count",
    "a tab separates as a blank does",
    "a property belongs to its section",
    "lines may end as on Windows",
    "only the first equals sign separates",
    "values may hold any character",
    "a section has many properties",
    "blanks around key and value do not count",
    "a value may be empty",
    "a key is not empty",
    "a property has an equals sign",
    "several sections may be empty",
    "each section has its own properties",
    "blank lines do not count",
    "a number sign begins a comment",
    "a semicolon begins a comment",
    "both kinds of comments go together",
    "a comment may be empty",
    "a comment may touch a header",
    "a comment sign within a value is part of it",
    "an indented line continues a value",
    "several lines continue a value",
    "blanks around a continuation do not count",
    "a number sign in a continuation is part of it",
    "a semicolon in a continuation is part of it",
    "a continuation needs a section",
    "a continuation needs a property",
    "a header ends what can be continued",
    "a section may be in two parts",
    "the last of equal keys counts",
    "the last of equal keys counts over both parts",
    "a name holds no blanks",
    "a key holds no blanks",
    "what a name may hold",
    "what a key may hold",
    "a value may hold properties",
    "a nested property has an equals sign",
    "a nested value may be empty",
    "a number sign in a nested value is part of it",
    "a semicolon in a nested value is part of it",
    "a nested key is not empty",
    "a nested key holds no blanks",
    "blank lines among nested properties do not count",
    "a bare name is no header of the config file",
    "a comment may touch a header",
    "a header ends what can be continued",
    "kind and name are separated",
    "blanks before the kind do not count",
    "the properties of a header that means nothing are dropped",
    "keys are equal in any case",
    "sessions are in the config file alone",
    SHARED,
]


def reference_cases(file: str) -> list[Any]:
    path = DATA / file
    if not path.exists():
        pytest.skip(f"{file} does not lie beside this checkout")
    cases: list[Any] = json.loads(path.read_text(encoding="utf-8"))["tests"]
    return cases


def test_every_reference_case_of_the_grammar_checks_a_rule_of_ours() -> None:
    cases = reference_cases("config-file-parser-tests.json")
    assert len(cases) == len(OF_PROFILES) + len(OF_SESSIONS)
    for case, kind, name in zip(
        cases,
        ["profile"] * len(OF_PROFILES) + ["sso-session"] * len(OF_SESSIONS),
        OF_PROFILES + OF_SESSIONS,
        strict=True,
    ):
        if name == SHARED:
            assert set(case["output"]) == {"profiles", "ssoSessions"}
            continue
        rule = {**COMMON, **(PROFILES if kind == "profile" else SESSIONS)}[name]
        fault = case["output"].get("errorContaining")
        if isinstance(rule.expected, str):
            assert fault is not None, name
            assert fault in rule.expected, name
        else:
            assert fault is None, name
            [sections] = case["output"].values()
            # Not the values, but what kind of thing comes out has to be the same.
            assert len(sections) == len(rule.expected), name
            assert sorted(map(len, sections.values())) == sorted(map(len, rule.expected.values())), name


def test_every_reference_case_of_the_places_checks_a_rule_of_ours() -> None:
    cases = reference_cases("config-file-location-tests.json")
    for case, (environ, (platform, *_)) in zip(cases, PLACES.values(), strict=True):
        assert case["platform"] == {"posix": "linux", "nt": "windows"}[platform]
        assert set(case["environment"]) == set(environ)
