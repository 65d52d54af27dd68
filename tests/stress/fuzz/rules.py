"""The shared files once more, by the rules that the published cases state: slow, plain, no kin of our parser.

Beyond the cases: white space is what Unicode calls so, an indented line with nothing but a comment is a comment,
and a ``services`` section is named like an ``sso-session``. As in botocore, what is indented no deeper than the
property before it, or has none before it in its section, is what it looks like, and a name may be quoted as for a
shell. In quotation marks, of headers and of commands, no comment begins.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from string import ascii_letters, digits

VALID = set(ascii_letters + digits + "_-/.%@:+")  # "All valid identifier characters are supported."
KINDS = ("profile", "sso-session", "services")


class WrongError(Exception):
    """A fault, and its line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass
class Property:
    """The value of one key: lines, or settings below it."""

    line: int
    lines: list[str]
    nested: dict[str, str] | None = None

    @property
    def value(self) -> str | dict[str, str]:
        return "\n".join(self.lines) if self.nested is None else self.nested


Section = dict[str, Property]


class Reader:
    """Reads one file.

    Attributes:
        sections: by kind and name.
    """

    def __init__(self, *, credentials: bool) -> None:
        self.sections: dict[tuple[str, str], Section] = {}
        self._credentials = credentials
        self._section: Section | None = None
        self._last: Property | None = None  # what a continuation belongs to, and how far that is indented
        self._depth = 0
        self._number = 0

    def read(self, text: str) -> None:
        """Take in the whole text.

        Raises:
            WrongError: it breaks a rule.
        """
        lines = re.split("\r\n|\r|\n", text)  # "Windows style line endings are supported."
        for self._number, line in enumerate(lines, 1):
            trimmed = line.strip()
            if trimmed == "" or trimmed[0] in "#;":
                continue  # "Blank lines are ignored.", "Pound sign comments are ignored."
            depth = line.index(trimmed)
            if self._last is not None and depth > self._depth:
                self._go_on(trimmed, self._last)
            elif trimmed[0] == "[":
                self._start(trimmed)
            elif self._section is None:
                raise self._wrong("Expected a section definition")
            else:
                self._set(trimmed, depth, self._section)
        bare = self.sections.pop(("bare", "default"), None)
        if bare is not None:  # "Default profile with profile prefix overrides default profile without prefix …"
            self.sections.setdefault(("profile", "default"), bare)

    def _start(self, line: str) -> None:
        title = line[: comment(line, "")].rstrip()  # "Comments can be adjacent to profile names."
        if not title.endswith("]"):  # as if no mark were one of quotation
            title = re.split("[#;]", line)[0].rstrip()
        if not title.endswith("]"):
            raise self._wrong("Section definition must end with ']'")
        words = title[1:-1].split()  # "Profile names should be trimmed."
        if not self._credentials:
            words = unquoted(words)
        if self._credentials:
            words = ["profile", *words]  # "Credentials profiles with prefix are ignored."
        self._section, self._last = {}, None  # "Continuations reset with profile definitions."
        if words == ["default"]:
            self._section = self.sections.setdefault(("bare", "default"), {})
        elif len(words) == 2 and words[0] in KINDS and valid(words[1]):  # "Invalid profile names are ignored."
            kind, name = words
            self._section = self.sections.setdefault((kind, name), {})  # "Duplicate profiles … merge properties."

    def _set(self, line: str, depth: int, section: Section) -> None:
        # "Comments adjacent to values are included in the value."
        if "=" in line and line.split("=")[0].strip().lower() == "credential_process":
            line = line[: comment(line, " \t")]
        else:
            line = re.split("[ \t][#;]", line)[0]
        if "=" not in line and depth and self._last is None:
            raise self._wrong("Expected a property definition, found continuation")
        name, value = self._pair(line)
        self._last, self._depth = Property(self._number, [value]), depth
        if valid(name):  # "Invalid property names are ignored." What continues them is read all the same.
            section[name.lower()] = self._last

    def _go_on(self, trimmed: str, last: Property) -> None:
        if last.lines != [""]:
            last.lines.append(trimmed)  # "Continuation values include pound comments."
            return
        last.nested = last.nested or {}  # "Properties can have sub-properties."
        name, value = self._pair(trimmed, " in sub-property")
        if valid(name):
            last.nested[name.lower()] = value

    def _pair(self, line: str, where: str = "") -> tuple[str, str]:
        if "=" not in line:
            raise self._wrong(f"Expected an '=' sign defining a property{where}")
        name, value = (part.strip() for part in line.split("=", 1))  # "Property keys and values are trimmed."
        if name == "":
            raise self._wrong(f"Property did not have a name{where}")
        return name, value

    def _wrong(self, what: str) -> WrongError:
        return WrongError(self._number, what)


def valid(name: str) -> bool:
    """Return whether something may be called this."""
    return name != "" and set(name) <= VALID


def unquoted(words: list[str]) -> list[str]:
    """The words of a header as a shell reads them, where it begins with a kind and comes to two words."""
    title = " ".join(words)
    if title.startswith(KINDS) and len(title) <= 1024:
        try:
            parts = shlex.split(title)
        except ValueError:
            return words
        if len(parts) == 2 and valid(parts[1]):
            return parts
    return words


def comment(text: str, before: str) -> int:
    """Where a comment begins outside of quotation marks, behind one of these blanks if any are given."""
    quote, at, escaped = "", 0, -1
    while at < len(text):
        character = text[at]
        if character == "\\" and quote != "'":
            at += 1
            escaped = at
        elif character == quote:
            quote = ""
        elif quote == "" and character in "\"'":
            quote = character
        elif quote == "" and character in "#;" and (not before or (text[at - 1] in before and escaped != at - 1)):
            return at - 1 if before else at
        at += 1
    return len(text)


def merged(config: Section, credentials: Section) -> dict[str, str | dict[str, str]]:
    """Return a profile as both files have it: "Duplicate properties between files uses credentials property."."""
    return {key: found.value for key, found in {**config, **credentials}.items()}
