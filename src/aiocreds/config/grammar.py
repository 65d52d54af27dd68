"""The grammar of one shared file.

It is AWS's own and only looks like an INI file. It follows
https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html and, where that is silent, the cases that the
AWS SDKs share; an indented line with nothing but a comment is a comment, as for the AWS CLI.

Nothing here raises for what a file says: a fault becomes part of the `Document`, so that no traceback leads
through frames that hold the text.
"""

from __future__ import annotations

import re
from time import sleep

from aiocreds.errors import InvalidConfiguration

LINES_PER_TURN = 128  # looked at before other threads, such as an event loop's, get theirs

# What nearly all sections look like: nothing continued, nothing but ASCII. The file is full of them, and one
# that matches has no fault. All others are read line by line.
PLAIN = re.compile(
    rb"\[([\w/.%@:+ -]+)\](?:\n(?:[\w/.%@:+-]++[ \t]*+=[\t -~]*+|[#;][\t -~]*+)?)*+",
    re.ASCII,
)
PLAIN_SIZE = 4_096
NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/.%@:+"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Fault = tuple[str, str]  # what is wrong, and what to do about it

NOT_TEXT = ("This is not UTF-8 text", "save the file as UTF-8")
NO_BRACKET = ("Section definition must end with ']'", "close the bracket; only a comment may follow it")
NO_SECTION = ("Expected a section definition", "put a line such as [default] above this one")
NO_PROPERTY = ("Expected a property definition, found continuation", "remove the white space before the key")
NO_EQUALS = ("Expected an '=' sign defining a property", "write 'key = value', or '#' before a comment")
NO_NAME = ("Property did not have a name", "write 'key = value'")

Values = dict[str, str | dict[str, str]]
Lines = dict[str | tuple[str, str], int]
Spans = list[int]  # the first line, the start and the end of each piece of a section, one after another


class Document:
    """What one file says, or what is wrong with it.

    The file is read in full once, for its faults and for where its sections are. What a section says is read
    again when it is asked for: so a big file stays one string and an index, quick to build and to free.

    Args:
        file: its name, for messages.
        data: UTF-8 text, with or without a byte order mark; lines end with LF, CR LF or CR.
        credentials: it is a credentials file: all its sections are profiles and bear their bare names.

    Attributes:
        profiles: where the profiles are, for `block`.
        sso_sessions: where the sso-sessions are.
        services: where the services sections are.
        ignored: headers that mean nothing in this file, and their lines.
        fault: why nothing in this file may be used.
    """

    __slots__ = (
        "_bare_default",
        "_blocks",
        "_data",
        "fault",
        "file",
        "ignored",
        "profiles",
        "services",
        "sso_sessions",
    )

    def __init__(self, file: str, data: bytes = b"", *, credentials: bool = False) -> None:
        data = data.removeprefix(BYTE_ORDER_MARK)
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.file = file
        self.profiles: dict[str, Spans] = {}
        self.sso_sessions: dict[str, Spans] = {}
        self.services: dict[str, Spans] = {}
        self.ignored: dict[str, int] = {}
        self.fault: InvalidConfiguration | None = None
        self._bare_default: Spans = []
        self._blocks: dict[int, Block] = {}  # by where their first piece starts
        self._data = data
        self._index(credentials=credentials)

    def block(self, spans: Spans) -> Block:
        """The section at these places, read when it is first asked for."""
        block = self._blocks.get(spans[1])
        if block is None:
            block = Block(self.file, spans[0])
            for line, start, end in zip(spans[::3], spans[1::3], spans[2::3], strict=True):
                block.read(self._data[start:end], line)
            self._blocks[spans[1]] = block
        return block

    def _index(self, *, credentials: bool) -> None:
        data = self._data
        start, line, turn = 0, 1, 0
        while start < len(data):
            end = data.find(b"\n[", start) + 1 or len(data)
            if end - start < PLAIN_SIZE and (plain := PLAIN.fullmatch(data, start, end)):
                title: str | None = _title(plain[1].decode())
                lines = data.count(b"\n", start, end)
            else:
                block = Block(self.file, line)
                if fault := block.read(data[start:end], line):
                    what, remedy = fault
                    self.fault = InvalidConfiguration(f"{self.file}:{block.at}: {what}; {remedy}")
                    return
                title = block.title
                lines = block.at - line + 1
            if title is not None:
                self._add(title, [line, start, end], bare=credentials)
            start, line = end, line + lines
            if line > turn:
                turn = line + LINES_PER_TURN
                sleep(0)
        if self._bare_default:
            self.profiles.setdefault("default", self._bare_default)

    def _add(self, title: str, span: Spans, *, bare: bool) -> None:
        kind, _, name = ("profile", "", title) if bare else title.partition(" ")
        if title == "default" and not bare:  # it yields to [profile default]
            self._bare_default += span
        elif not is_name(name):
            self.ignored.setdefault(title, span[0])
        elif kind == "profile":
            self.profiles.setdefault(name, []).extend(span)
        elif kind == "sso-session":
            self.sso_sessions.setdefault(name, []).extend(span)
        elif kind == "services":
            self.services.setdefault(name, []).extend(span)
        else:
            self.ignored.setdefault(title, span[0])


class Block:
    """A section as one file has it.

    Attributes:
        line: where its (first) header is.
        at: the line that was read last.
        title: what its header says between the brackets; None before the first header.
        values: what each key, in lower case, is set to: a text, or the settings nested below it.
        lines: the line of each key, and of each nested ``(key, name)``.
    """

    __slots__ = ("_held", "_key", "_more", "at", "file", "line", "lines", "title", "values")

    def __init__(self, file: str, line: int) -> None:
        self.file = file
        self.line = line
        self.at = line
        self.title: str | None = None
        self.values: Values = {}
        self.lines: Lines = {}
        self._key = ""  # of the property that a continuation belongs to, and what holds that property
        self._held = self.values, self.lines
        self._more: list[str] = []  # that property's lines, as soon as it has several

    def read(self, piece: bytes, line: int) -> Fault | None:
        """Take in a piece of a file, from one header to the next, and say what is wrong with it.

        Args:
            piece: whole lines that end with LF.
            line: the number of the first.
        """
        try:
            text, broken = piece.decode(), piece.find(b"\0")
        except UnicodeDecodeError as error:
            text, broken = "", error.start
        if broken >= 0:
            self.at = line + piece.count(b"\n", 0, broken)
            return NOT_TEXT
        self._key = ""
        for self.at, text_line in enumerate(text.removesuffix("\n").split("\n"), line):
            if fault := self._take(text_line):
                return fault
        self._end_value()
        return None

    def _take(self, line: str) -> Fault | None:
        first = line[:1]
        if first in "#;":  # or nothing at all
            return None
        if first == "[":
            return self._header(line)
        if first.isspace():
            return self._continuation(line.strip())
        return self._property(line)

    def _header(self, line: str) -> Fault | None:
        title = line.partition("#")[0].partition(";")[0].rstrip()
        if not title.endswith("]"):
            return NO_BRACKET
        self.title = _title(title[1:-1])
        return None

    def _property(self, line: str) -> Fault | None:
        if self.title is None:
            return NO_SECTION
        if "#" in line or ";" in line:
            line = _without_comment(line)
        key, equals, value = line.partition("=")
        if not equals:
            return NO_EQUALS
        key = key.strip()
        if not key:
            return NO_NAME
        self._end_value()
        kept = self if is_name(key) else Block(self.file, self.at)
        key = key.lower()
        kept.values[key] = value.strip()
        kept.lines[key] = self.at
        self._key, self._held = key, (kept.values, kept.lines)
        return None

    def _continuation(self, text: str) -> Fault | None:
        if text[:1] in "#;":
            return None
        if self.title is None:
            return NO_SECTION
        if not self._key:
            return NO_PROPERTY
        values, lines = self._held
        value = values[self._key]
        if value and isinstance(value, str):
            self._more = self._more or [value]
            self._more.append(text)
            return None
        if not isinstance(value, dict):
            value = values[self._key] = {}
        return self._nested(text, value, lines)

    def _end_value(self) -> None:
        """Put a value of several lines together, once: each line put to those before would copy them all."""
        if self._more:
            values, _ = self._held
            values[self._key] = "\n".join(self._more)
            self._more = []

    def _nested(self, text: str, values: dict[str, str], lines: Lines) -> Fault | None:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            what, remedy = NO_NAME if equals else NO_EQUALS
            return f"{what} in sub-property of {self._key!r}", remedy
        if is_name(name):
            values[name.lower()] = value.strip()
            lines[self._key, name.lower()] = self.at
        return None


def is_name(text: str) -> bool:
    """Whether a profile, a session or a key may be called this."""
    return bool(text) and not text.strip(NAME_CHARACTERS)


def _title(text: str) -> str:
    return " ".join(text.split())


def _without_comment(line: str) -> str:
    for mark in (" #", " ;", "\t#", "\t;"):
        line = line.partition(mark)[0]
    return line
