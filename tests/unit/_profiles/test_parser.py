"""The meaning of the shared files, and the messages where they have none."""

import re
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiocreds._core.context import Context
from aiocreds._profiles import SharedConfig, load
from aiocreds._profiles.parser import Document
from aiocreds.errors import InvalidConfiguration
from tests.helpers.secret_leaks import is_ours


@pytest.fixture
def folder(home: Path) -> Path:
    return home / ".aws"


async def read(folder: Path, config: str | bytes = b"", credentials: str | bytes = b"") -> SharedConfig:
    for name, text in (("config", config), ("credentials", credentials)):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return await load(Context(environ={}, home=folder.parent))


async def values(folder: Path, config: str | bytes) -> dict[str, Any]:
    section = (await read(folder, config)).profiles["a"]
    return {key: section.get(key) or dict(section.subsection(key)) for key in section}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("k = v", {"k": "v"}),
        ("K=v", {"k": "v"}),
        ("k = a=b", {"k": "a=b"}),
        ("k = v # note\nl = v ; note\nm = v#note\nn = v\t#note", {"k": "v", "l": "v", "m": "v#note", "n": "v"}),
        ("k = v # it's = here", {"k": "v"}),
        ("# k = v\n; l = v\n\n \t\nm = v", {"m": "v"}),
        ("k = 1\nk = 2", {"k": "2"}),
        ("k = 1\n\n 2 # kept", {"k": "1\n2 # kept"}),
        ("k = 1\n # note\n\t; note\n 2", {"k": "1\n2"}),
        ("k =", {"k": {}}),
        ("k =\n X = 1 # kept\n\n # note\n y=2\nl = 3", {"k": {"x": "1 # kept", "y": "2"}, "l": "3"}),
        ("k =\n x = 1\n x = 2", {"k": {"x": "2"}}),
        ("k = # note\n x = 1", {"k": {"x": "1"}}),
        ("no good = v\n and more\nk = v", {"k": "v"}),
        ("\N{KELVIN SIGN} = v\ns =\n \N{KELVIN SIGN} = v", {"s": {}}),  # whose lower case is an ASCII k
        ("k = 1\n 2\n 3\nl = 4\n 5\nk = 6\n 7", {"k": "6\n7", "l": "4\n5"}),
        ("no good = 1\n 2\nk = 3\n 4", {"k": "3\n4"}),
        ("k = \N{FACE WITH TEARS OF JOY}", {"k": "\N{FACE WITH TEARS OF JOY}"}),
        ("k = v\n[profile b]\nk = w\n[profile a]\nl = x", {"k": "v", "l": "x"}),
        ("k = v\n[profile a]\nk = w", {"k": "w"}),
    ],
)
async def test_properties(folder: Path, body: str, expected: dict[str, Any]) -> None:
    assert await values(folder, f"[profile a]\n{body}") == expected
    assert await values(folder, f"[profile a]\n{body}\n") == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_line_ends(folder: Path, end: str) -> None:
    text = end.join(["# note", "[profile a]", "k = v", " w", "s =", " x = 1", "", "l = v", "no equals sign"])
    with pytest.raises(InvalidConfiguration, match="config:9: "):
        await read(folder, text)
    assert await values(folder, text.rpartition("no")[0]) == {"k": "v\nw", "s": {"x": "1"}, "l": "v"}


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
async def test_no_other_character_ends_a_line(folder: Path, character: str) -> None:
    assert await values(folder, f"[profile a]\nk = v{character}w") == {"k": f"v{character}w"}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("[profile a]", "a"),
        ("[ \tprofile \t a\t ] # note", "a"),
        ("[profile a];note", "a"),
        ("[profile A/b.c%@:+_-9]", "A/b.c%@:+_-9"),
        ("[profile default]", "default"),
        ("[default]", "default"),
        ("[profile profile]", "profile"),
    ],
)
async def test_headers_of_profiles(folder: Path, header: str, name: str) -> None:
    assert list((await read(folder, header)).profiles) == [name]


@pytest.mark.parametrize(
    "header",
    [
        "[a]",
        "[]",
        "[profile]",
        "[profilea]",
        "[profile a b]",
        "[profile é]",
        "[Profile a]",
        "[default a]",
        "[plugins]",
    ],
)
async def test_headers_that_mean_nothing(folder: Path, header: str) -> None:
    config = await read(folder, f"{header}\nk = v\n[profile b]\n")
    assert list(config.profiles) == ["b"]


async def test_a_credentials_file_has_bare_names(folder: Path) -> None:
    config = await read(folder, credentials="[a]\n[profile b]\n[default]\n[sso-session c]\n")
    assert list(config.profiles) == ["a", "default"]
    assert not config.sso_sessions


@pytest.mark.parametrize("order", [1, -1])
async def test_a_default_profile_with_prefix_hides_the_one_without(folder: Path, order: int) -> None:
    sections = ["[default]\nk = bare\nl = bare\n", "[profile default]\nk = prefixed\n"][::order]
    default = (await read(folder, "".join(sections))).profiles["default"]
    assert (default.get("k"), default.get("l")) == ("prefixed", None)


async def test_sessions_and_services_have_their_own_names(folder: Path) -> None:
    config = await read(
        folder,
        "[profile a]\nk = 1\n[sso-session a]\nk = 2\n[services a]\nsts =\n  endpoint_url = http://localhost\n",
    )
    assert config.profiles["a"].get("k") == "1"
    assert config.sso_sessions["a"].get("k") == "2"
    assert config.services["a"].subsection("sts") == {"endpoint_url": "http://localhost"}
    assert config.services["a"].where("sts", "endpoint_url") == f"{folder}/config:7"


async def test_the_credentials_file_wins_key_by_key(folder: Path) -> None:
    config = await read(folder, "[profile a]\nk = 1\nl = 1\nm = 1\n[profile b]", "[a]\n# note\nk = 2\nm =\n[c]")
    section = config.profiles["a"]
    assert (section.get("k"), section.get("l"), section.get("m")) == ("2", "1", None)
    assert section.where("k") == f"{folder}/credentials:3"
    assert section.where("l") == f"{folder}/config:3"
    assert sorted(section) == ["k", "l", "m"]
    assert sorted(config.profiles) == ["a", "b", "c"]
    assert len(config.profiles) == 3


async def test_what_is_blank_or_absent_or_nested_has_no_value(folder: Path) -> None:
    section = (await read(folder, "\n[profile a]\nblank =\nnested =\n x = 1\nplain = v")).profiles["a"]
    assert [section.get(key) for key in ("blank", "absent", "nested")] == [None] * 3
    assert [section.subsection(key) for key in ("blank", "absent", "plain")] == [{}] * 3
    assert ("blank" in section, "absent" in section) == (True, False)
    assert section.where() == section.where("absent") == f"{folder}/config:2"
    assert repr(section) == f"<Section 'a' at {folder}/config:2>"


async def test_a_missing_profile(folder: Path) -> None:
    config = await read(folder, "[profile a]", "[a]")
    assert config.profile("b") is None
    assert config.required("default") is None
    assert config.required("a") is not None
    with pytest.raises(KeyError):
        config.profiles["b"]
    with pytest.raises(
        InvalidConfiguration, match=f"profile 'b' is neither in {folder}/config nor in .*credentials"
    ):
        config.required("b")


@pytest.mark.parametrize(
    ("config", "credentials", "name", "hint"),
    [
        ("[a]", "", "a", r"config:1 has to be \[profile a\]"),
        ("", "\n[profile a]", "a", r"credentials:2 has to be \[a\]"),
        ("[profile a b]", "", "a b", "config:1 is ignored for the ' ' in its name: rename it"),
        ("", "[a b]", "a b", "credentials:1 is ignored for the ' ' in its name"),
        ("[profile R&D/Admin]", "", "R&D/Admin", "config:1 is ignored for the '&' in its name"),
        ("", "[m\u00fcller]", "m\u00fcller", "credentials:1 is ignored for the '\u00fc' in its name"),
        ("[profile 'a b']", "", "a b", "config:1 is ignored for the ' ' in its name"),
        (r"[profile R\&D]", "", "R&D", "config:1 is ignored for the '&' in its name"),
        ("", '["a"]', "a", r"credentials:1 has to be \[a\]"),
        ("[default]\nregion = x\n  [profile a]\n  k = v", "", "a", "config:3 is indented deeper than the value"),
        ("", "[b]\nk = v\n\t[ a ]\n", "a", "credentials:3 is indented deeper than the value above it"),
    ],
)
async def test_a_missing_profile_that_was_nearly_there(
    folder: Path, config: str, credentials: str, name: str, hint: str
) -> None:
    found = await read(folder, config, credentials)
    with pytest.raises(InvalidConfiguration, match=hint):
        found.required(name)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("hush = 1", 1, "Expected a section definition"),
        ("\n  hush", 2, "Expected a section definition"),
        ("[hush", 1, "Section definition must end with ']'"),
        ("[profile a] hush", 1, "Section definition must end with ']'"),
        ("[profile a # hush]", 1, "Section definition must end with ']'"),
        ("[profile a]\n hush", 2, "Expected a property definition, found continuation"),
        ("[profile a]\nk = v\n[profile b]\n hush", 4, "Expected a property definition, found continuation"),
        ("[profile a]\nhush", 2, "Expected an '=' sign defining a property"),
        ("[profile a]\nhush # k = v", 2, "Expected an '=' sign defining a property"),
        ("[profile a]\n= hush", 2, "Property did not have a name"),
        ("[profile a]\nk =\n hush", 3, "Expected an '=' sign defining a property in sub-property of 'k'"),
        ("[profile a]\nk =\n x = 1\n = hush", 4, "Property did not have a name in sub-property of 'k'"),
        ("[ignored]\nhush", 2, "Expected an '=' sign defining a property"),
        (b"[profile a]\nk = v\nhush = \xe9\n", 3, "not UTF-8"),
        (b"[profile a]\nk = v\n[profile b]\nhush = \0", 4, "not UTF-8"),
        ("[hush]".encode("utf-16"), 1, "not UTF-8"),
        ("[profile a]\nk = v\n" * 300 + "hush", 601, "Expected an '=' sign"),
    ],
)
async def test_a_fault_is_told_with_its_place_and_without_its_text(
    folder: Path, text: str | bytes, line: int, what: str
) -> None:
    with pytest.raises(
        InvalidConfiguration, match=re.escape(f"{folder}/config:{line}: ") + ".*" + re.escape(what)
    ) as e:
        await read(folder, text)
    assert "; " in str(e.value)  # the remedy
    seen = traceback.TracebackException.from_exception(e.value, capture_locals=True)
    ours = [frame for frame in seen.stack if is_ours(frame.filename)]
    assert ours
    assert "hush" not in str(e.value) + repr([frame.locals for frame in ours])
    assert e.value.__cause__ is None
    assert e.value.__context__ is None


async def test_a_fault_in_one_file_is_told_of_that_file(folder: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="credentials:1: "):
        await read(folder, "[profile a]\n", "oops\n")


async def test_a_byte_order_mark_is_skipped(folder: Path) -> None:
    assert await values(folder, b"\xef\xbb\xbf[profile a]\nk = v") == {"k": "v"}


# What a person writes who thinks in blocks: what each profile then holds.
INDENTED = {
    "as a whole": ("  [profile a]\n  k = 1\n  l = 2\n\n  [profile b]\n  m = 3\n", {"a": "k=1 l=2", "b": "m=3"}),
    "with tabs": ("\t[profile a]\n\tk = 1\n\tl = 2\n\t[profile b]\n", {"a": "k=1 l=2", "b": ""}),
    "below the headers": ("[profile a]\n  k = 1\n  l = 2\n[profile b]\n  m = 3", {"a": "k=1 l=2", "b": "m=3"}),
    "as a whole, and below the headers": (
        "  [profile a]\n    k = 1\n    l = 2\n  [profile b]\n    m = 3",
        {"a": "k=1 l=2", "b": "m=3"},
    ),
    "a header alone": ("[profile a]\nk = 1\n[profile c]\n  [profile b]\nm = 3", {"a": "k=1", "b": "m=3", "c": ""}),
    "less and less": ("    [profile a]\n   k = 1\n  l = 2\n [profile b]\nm = 3", {"a": "k=1 l=2", "b": "m=3"}),
    "with a continuation": ("  [profile a]\n  k = 1\n   2\n  l = 3", {"a": "k=1\n2 l=3"}),
    "with settings below a key": ("  [profile a]\n  s =\n    x = 1\n  l = 2", {"a": "s={'x': '1'} l=2"}),
    "with a comment": ("# note\n  # note\n  [profile a]\n    # note\n  k = 1 # note", {"a": "k=1"}),
    "deeper than the first": ("[profile a]\n k = 1\n  l = 2", {"a": "k=1\nl = 2"}),
    "a header deeper than a value": ("[profile a]\nk = 1\n [profile b]\n m = 2", {"a": "k=1\n[profile b]\nm = 2"}),
    "by other white space": ("\xa0[profile a]\n\u2003k = 1\n\x0bl = 2", {"a": "k=1 l=2"}),
    "not in ASCII": ("  [profile a]\n  k = \xe9\n  [profile b]\n  m = \u2603", {"a": "k=\xe9", "b": "m=\u2603"}),
}


@pytest.mark.parametrize(("text", "expected"), INDENTED.values(), ids=INDENTED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_indentation(folder: Path, text: str, expected: dict[str, str], end: str) -> None:
    config = await read(folder, text.replace("\n", end))
    found = {
        name: " ".join(f"{key}={section.get(key) or dict(section.subsection(key))}" for key in section)
        for name, section in config.profiles.items()
    }
    assert found == expected


async def test_what_is_indented_knows_its_line(folder: Path) -> None:
    config = await read(folder, "  [profile a]\n  k = \xe9\n\n  [profile b]\n" + "  # note\n" * 3_000 + "    l = v")
    assert config.profiles["a"].where("k") == f"{folder}/config:2"
    assert config.profiles["b"].where() == f"{folder}/config:4"
    assert config.profiles["b"].where("l") == f"{folder}/config:3005"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("  [profile a]\n  k = v\n  hush", 3, "Expected an '=' sign defining a property"),
        ("  [profile a]\n  = hush", 2, "Property did not have a name"),
        ("  [profile a\n", 1, "Section definition must end with ']'"),
        ("[profile a]\n  hush # k = v", 2, "Expected a property definition, found continuation"),
        ("  k = hush\n", 1, "Expected a section definition"),
    ],
)
async def test_a_fault_in_what_is_indented(folder: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(InvalidConfiguration, match=re.escape(f"{folder}/config:{line}: {what}")):
        await read(folder, text)


@pytest.mark.parametrize(
    "header",
    [
        '[KIND "prod"]',
        "[KIND 'prod']",
        '[KIND pr"od"]',
        r"[KIND pr\od]",
        "[KIND ''prod]",
        '[KIND"" prod]',
        '[ KIND\t"prod" ] # note',
        '[KIND "prod"];note',
        "[KIND 'prod'] # it's",
        "  [KIND 'prod']",
    ],
)
@pytest.mark.parametrize("kind", ["profile", "sso-session", "services"])
async def test_quoted_names(folder: Path, kind: str, header: str) -> None:
    config = await read(folder, f"{header.replace('KIND', kind)}\nk = v\n")
    sections = {"profile": config.profiles, "sso-session": config.sso_sessions, "services": config.services}
    assert [(name, *sections[name]) for name in sections if sections[name]] == [(kind, "prod")]


@pytest.mark.parametrize(
    "header", ["[profile o'neil] # note", "[profile 'a # b']", '[profile "a;b"]', "[profile \"a] ; 'b']", "['a']"]
)
async def test_quoted_names_that_none_may_have_spoil_no_others(folder: Path, header: str) -> None:
    config = await read(folder, f"{header}\nk = v\n[profile b]\n")
    assert list(config.profiles) == ["b"]


async def test_a_credentials_file_has_its_names_as_they_are(folder: Path) -> None:
    assert not (await read(folder, credentials="['a']\n[\"b\"]\n")).profiles


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("sh -c 'set -e ; cat creds.json'", "sh -c 'set -e ; cat creds.json'"),
        ('sh -c "echo # ; x" # note', 'sh -c "echo # ; x"'),
        ("x 'it''s ; ' ; note", "x 'it''s ; '"),
        (r'x "a \" ; b" ; note', r'x "a \" ; b"'),
        (r"x \' # note", r"x \'"),
        (r"x 'a\' # note", r"x 'a\'"),
        ("x a;b#c # note", "x a;b#c"),
        ("x 'open ; # and so on", "x 'open ; # and so on"),
        ("# note", None),
    ],
)
async def test_comment_signs_in_a_command(folder: Path, line: str, value: str | None) -> None:
    section = (await read(folder, f"[profile a]\nCredential_Process = {line}\nk = 'a ; b'")).profiles["a"]
    assert section.get("credential_process") == value
    assert section.get("k") == "'a"  # whose quotation marks mean nothing


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("k = v # note", "config:2, where a comment begins at ' #'"),
        ("k = v\t; x", "config:2, where a comment begins at ' ;'"),
        ("k = v#note", "config:2"),
        ("k = 1 # note\nk = 2", "config:3"),
        ("k = 1\nk = 2 ; # note", "config:3, where a comment begins at ' ;'"),
        ("credential_process = x ; y\nk = v", "config:3"),
    ],
)
async def test_what_a_comment_has_cut_off_is_known(folder: Path, lines: str, told: str) -> None:
    section = (await read(folder, f"[profile a]\n{lines}")).profiles["a"]
    assert section.value_at("k") == f"{folder}/{told}"
    assert section.where("k") == f"{folder}/{told.partition(',')[0]}"


LINES = """\
 [profile b]|  [profile d]| credential_process = 'a ; b' # c|credential_process = a ; 'b # c'|[profile 'e']|
[profile a]|[profile b]|[default]|[x]|[profile c d]|[profile a|[profile a];|[]|k = v|k=v # w|K =| m = n| m
|| |#|; k| # k|k|= v|a b = c|k #= v|k\t=\tv;w|k = [v]"""


@given(st.lists(st.sampled_from(LINES.replace("\n", "|").split("|")), max_size=12))
def test_all_sections_are_read_alike(lines: list[str]) -> None:
    """The quick way through plain sections gives what the way through others gives, such as non-ASCII ones."""
    plain = "\n".join(["[profile z]", *lines])
    other = "\n".join(f"{line} # \N{SNOWMAN}" if line[:1] == "[" else line for line in plain.split("\n"))
    one, two = (Document("file", text.encode()) for text in (plain, other))
    assert str(one.fault) == str(two.fault)
    if one.fault is None:
        assert told(one) == told(two)


def told(document: Document) -> list[Any]:
    config = SharedConfig(Document("none"), document)
    return [
        (
            name,
            section.where(),
            [(key, section.get(key), section.subsection(key), section.where(key)) for key in section],
        )
        for name, section in config.profiles.items()
    ]
