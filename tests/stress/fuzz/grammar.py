"""The grammar of the shared files, both dialects, and the merge of the two: held against `rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from aiocreds._profiles import SharedConfig
from aiocreds._profiles.parser import Document
from tests.stress.fuzz import rules
from tests.stress.fuzz.target import Target, published

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._profiles import Section

NEXT_FILE = b"\n<credentials>\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def by_us(data: bytes) -> SharedConfig | str:
    """Return the content of both files, or the fault of the first that has one."""
    config, _, credentials = data.partition(NEXT_FILE)
    documents = Document("credentials", credentials, credentials=True), Document("config", config)
    for document in reversed(documents):
        if document.fault:
            return str(document.fault)
    return SharedConfig(*documents)


def compare(data: bytes) -> None:
    """Both readings agree: on every value and its line, or on the fault and its line."""
    ours = by_us(data)
    config, credentials = rules.Reader(credentials=False), rules.Reader(credentials=True)
    for reader, file, part in zip(
        (config, credentials), ("config", "credentials"), data.split(NEXT_FILE, 1), strict=False
    ):
        wrong = fault(reader, part)
        if wrong is not None:
            assert isinstance(ours, str), f"{file}:{wrong.line}: {wrong}"
            assert ours.startswith(f"{file}:{wrong.line or ''}"), ours
            assert not wrong.line or f"{file}:{wrong.line}: {wrong}" in ours, ours
            return
    assert not isinstance(ours, str), ours
    compare_sections(ours.profiles, of_kind(config, "profile"), of_kind(credentials, "profile"))
    compare_sections(ours.sso_sessions, of_kind(config, "sso-session"), {})
    compare_sections(ours.services, of_kind(config, "services"), {})


def fault(reader: rules.Reader, part: bytes) -> rules.WrongError | None:
    """Return the fault of a file. Of one that is no text the rules know no line: it is read by sections."""
    no_text = rules.WrongError(0, "no text")
    try:
        text = part.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError:
        return no_text
    try:
        reader.read(text)
    except rules.WrongError as wrong:
        return no_text if "\0" in text else wrong
    return no_text if "\0" in text else None


def of_kind(reader: rules.Reader, kind: str) -> dict[str, rules.Section]:
    """The sections of a kind, by name."""
    return {name: section for (of, name), section in reader.sections.items() if of == kind}


def compare_sections(
    found: Mapping[str, Section], config: dict[str, rules.Section], credentials: dict[str, rules.Section]
) -> None:
    """The sections of one kind agree."""
    assert set(found) == config.keys() | credentials.keys()
    for name, section in found.items():
        first, second = config.get(name, {}), credentials.get(name, {})
        said = {key: _value(section, key) for key in section}
        expected = {key: value or {} for key, value in rules.merged(first, second).items()}
        assert said == expected, (name, said, expected)
        for key in said:
            place = f"credentials:{second[key].line}" if key in second else f"config:{first[key].line}"
            assert section.where(key) == place, (name, key, section.where(key), place)


def _value(section: Section, key: str) -> Any:
    return section.get(key) or dict(section.subsection(key))


def read(data: bytes) -> None:
    """Our reading alone, of every value."""
    config = by_us(data)
    if isinstance(config, SharedConfig):
        for sections in (config.profiles, config.sso_sessions, config.services):
            for name in sections:
                for key in sections[name]:
                    _value(sections[name], key)


KEYS = (
    "k",
    "K",
    "credential_process",
    "Credential_Process",
    "region",
    "role_arn",
    "s3",
    "in valid",
    "é",
    "\N{KELVIN SIGN}",
    "a.b/c%@:+_-9",
    "",
)
VALUES = ("", "v", "a=b", "v # note", "v;no", "v ; note", "\N{FACE WITH TEARS OF JOY}", "\x85", "#", "[x]", '"')
QUOTED = (
    "'x ; y' # z",
    "'x ; y",
    '"x # \\" ; y" ;z',
    'x" # "y # z',
    "x\\ # y",
    "x\\\\ # y",
    "x\\ ;'",
    "x '",
    "' #",
    "'",
    '"',
    "\\",
)
NAMES = (
    "a",
    '"a"',
    "'a'",
    "'b c'",
    'a"b"',
    "a\\+",
    "'#'",
    "o'neil",
    "default",
    "profile",
    "b c",
    "é",
    "A/b.c%@:+_-9",
    "",
    "a ",
    "\ta",
)
KIND = ("profile ", "profile\t", "sso-session ", "services ", "", " profile  ", "profile", "Profile ", "plugins ")
SPACES = (" ", "\t", "  ", "\x0b", "\xa0", "\u2028", "")
ENDS = ("\n", "\r\n", "\r", "\n\n")

_key, _value_text = st.sampled_from(KEYS), st.sampled_from(VALUES) | st.sampled_from(QUOTED) | st.text(max_size=6)
_space = st.sampled_from(SPACES)
_property = st.builds("{}{}={}{}".format, _key, _space, _space, _value_text)
_header = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(("[", "[", "[", " [")),
    st.sampled_from(KIND),
    st.sampled_from(NAMES),
    st.sampled_from(("]", "]", "]", "", "]]")),
    st.sampled_from(("", "", " # note", ";note", " x", " ]")),
)
_continuation = st.builds("{}{}".format, st.sampled_from(SPACES[:-1]), _property | _value_text)
_comment = st.sampled_from(("# note", "; note", " # note", "\t;note", "", " \t ", "#", "\N{SNOWMAN} x"))
_lines = st.lists(_property | _property | _header | _header | _continuation | _comment | st.text(max_size=5))


def _joined(mark: str, first: str, lines: list[str], end: str) -> bytes:
    return (mark + end.join([first, *lines])).encode(errors="surrogatepass")


def _both(config: bytes, credentials: bytes) -> bytes:
    return config + NEXT_FILE + credentials


FILE = st.builds(
    _joined,
    st.sampled_from(("", "", "", "\N{BYTE ORDER MARK}")),
    st.sampled_from(("[profile a]", "[default]", "")),
    _lines,
    st.sampled_from(ENDS),
)

TARGET = Target(
    feed=compare,
    inputs=FILE | st.builds(_both, FILE, FILE),
    seeds=[
        (
            case["input"].get("configFile", "") + NEXT_FILE.decode() + case["input"].get("credentialsFile", "")
        ).encode()
        for case in published("config-file-parser-tests.json")
    ],
    words=[
        *(text.encode() for text in (*KEYS, *VALUES, *NAMES, *KIND, *SPACES, *ENDS)),
        *(
            b"[profile a]\n",
            b"[default]\n",
            b"[sso-session a]\n",
            b"[services a]\n",
            b"[a]\n",
            b"]",
            b"=",
            b"k =\n x =",
            b"credential_process = a 'b ; c' # d\n",
            b"[profile 'a']\n",
            b'  [sso-session "a"]\n',
        ),
        *(NEXT_FILE, BYTE_ORDER_MARK, b"\0", b"\xff", b"\xed\xa0\x80"),
    ],
    growing={
        "sections": lambda n: b"".join(b"[profile p%d]\nk = v\n" % number for number in range(n)),
        "the same section": lambda n: b"[profile a]\n" * n,
        "the same section, not plain": lambda n: b"[profile a];\n" * n,
        "bare defaults": lambda n: b"[default]\nk = v\n" * n,
        "headers that mean nothing": lambda n: b"".join(b"[x%d]\n" % number for number in range(n)),
        "a long header": lambda n: b"[profile " + b"a" * n + b"]",
        "a header that does not end": lambda n: b"[" + b" " * n,
        "brackets": lambda n: b"[" * n + b"]",
        "keys": lambda n: b"[default]\n" + b"".join(b"k%d = v\n" % number for number in range(n)),
        "keys, not plain": lambda n: b"[default]\n" + b"".join(b"k%d = \xc3\xa9\n" % number for number in range(n)),
        "the same key": lambda n: b"[default]\n" + b"k = v\n" * n,
        "a long value": lambda n: b"[default]\nk = " + b"v" * n,
        "a long value, not plain": lambda n: b"[default]\nk = \xc3\xa9" + b"v" * n,
        "blanks": lambda n: b"[default]\nk" + b" " * n,
        "quotation marks of a command": lambda n: b"[default]\ncredential_process = " + b"' # \"" * n,
        "open quotation marks of a command": lambda n: b'[default]\ncredential_process = "' + b"\\' ;" * n,
        "quotation marks of a header": lambda n: b"[profile " + b"'a'" * n + b"]\n",
        "quoted headers": lambda n: b"".join(b"[profile 'p%d']\n" % number for number in range(n)),
        "indented sections": lambda n: b"".join(b"  [profile p%d]\n  k = v\n" % number for number in range(n)),
        "the same section, indented": lambda n: b"  [profile a]\n    k = v\n" * n,
        "headers below a value": lambda n: b"[default]\nk = v\n" + b"  [profile a]\n" * n,
        "equals signs": lambda n: b"[default]\nk" + b"=" * n,
        "comments": lambda n: b"[default]\n" + b"# note\n" * n,
        "comment signs": lambda n: b"[default]\nk = " + b" #" * n,
        "half comment signs": lambda n: b"[default]\nk = " + b" \t;" * n + b"\xc3\xa9",
        "empty lines": lambda n: b"[default]\n" + b"\n" * n,
        "carriage returns": lambda n: b"[default]" + b"\r" * n,
        "continuations": lambda n: b"[default]\nk = v\n" + b" and one more\n" * n,
        "settings below a key": lambda n: b"[default]\nk =\n" + b"".join(b" s%d = v\n" % at for at in range(n)),
        "the same setting below a key": lambda n: b"[default]\nk =\n" + b" s = v\n" * n,
        "no text, late": lambda n: b"[default]\nk = v\n" * n + b"\xff",
    },
    alone=read,
)
