"""Parse one shared file.

The format is AWS's own and only resembles INI. This follows
https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html, then the test cases that the AWS SDKs share; an
indented line with nothing but a comment is a comment, as for the AWS CLI. What both leave open is read as by
botocore: a line that is indented deeper than a property continues it; quotation marks are no part of a name.

Nothing here raises for the content of a file: a fault becomes part of the `Document`, so that no traceback has
frames that hold the text.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from time import sleep
from typing import TYPE_CHECKING

from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES_PER_TURN = 128  # read before other threads, such as an event loop's, may run

# Nearly all sections are like this, in ASCII and without continuations, and then have no fault. The others are read
# line by line.
PLAIN = re.compile(
    rb"\[([\w/.%@:+ -]+)\](?:\n(?:[\w/.%@:+-]++[ \t]*+=[\t -~]*+|[#;][\t -~]*+)?)*+",
    re.ASCII,
)
PLAIN_SIZE = 4_096
PIECE = 4_096  # bytes, or one line, that are read line by line before other threads may run
PLAIN_SPANS = 32  # of a section; one with more, or longer ones, is parsed in advance
# Where "#" and ";" begin no comment, in headers and in values with quotation marks: in quoted text, up to the end
# of the line if it is not closed, and after a backslash.
QUOTES = frozenset("\"'\\")
HIDDEN_ON_WINDOWS = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?$)'  # an apostrophe or a backslash quotes nothing
HIDDEN = rf"{HIDDEN_ON_WINDOWS}|'[^']*+(?:'|$)|\\(?:.|$)"
HEADER_PIECES = f"{HIDDEN}|[#;]"  # these two are compiled when there is something to look at
COMMAND_PIECES = f"{HIDDEN_ON_WINDOWS if sys.platform == 'win32' else HIDDEN}|[ \t][#;]"
COMMANDS = ("credential_process",)  # keys whose values are split as a shell splits them
LONGEST_QUOTED_TITLE = 1_024  # characters; shlex is very slow for more
KINDS = ("profile", "sso-session", "services")
NAME_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/.%@:+"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Fault = tuple[str, str]  # what is wrong, and what to do about it

NOT_TEXT = ("This is not UTF-8 text", "save the file as UTF-8")
NO_BRACKET = ("Section definition must end with ']'", "close the bracket; only a comment may follow it")
NO_SECTION = ("Expected a section definition", "put a line such as [default] above this one")
NO_PROPERTY = ("Expected a property definition, found continuation", "remove the white space before the key")
NO_EQUALS = ("Expected an '=' sign defining a property", "write 'key = value', or '#' before a comment")
NO_NAME = ("Property did not have a name", "write 'key = value'")
HEADER = ("A header", "begin another section")  # no fault

Values = dict[str, str | dict[str, str]]
Lines = dict[str | tuple[str, str], int]
Spans = list[int]  # the first line, the start and the end of each piece of a section, one after another


class Document:
    """The sections of one file, or what is wrong with it.

    The file is read once in full, for its faults and the places of its sections. A section is parsed when it is
    asked for: so a big file stays one string and an index, quick to build and to free.

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
        unreadable: the fault is that it cannot be read; its text may be right.
    """

    __slots__ = (
        "_bare_default",
        "_blocks",
        "_data",
        "_kinds",
        "fault",
        "file",
        "ignored",
        "profiles",
        "services",
        "sso_sessions",
        "unreadable",
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
        self.unreadable = False
        self._bare_default: Spans = []
        self._blocks: dict[int, Block] = {}  # by where their first piece starts
        self._kinds = {"profile": self.profiles, "sso-session": self.sso_sessions, "services": self.services}
        self._data = data
        self._index(credentials=credentials)

    def block(self, spans: Spans) -> Block:
        """Return the section at these places, parsed when it is first asked for."""
        block = self._blocks.get(spans[1])
        if block is None:
            block = Block(self.file, spans[0])
            for line, start, end in zip(spans[::3], spans[1::3], spans[2::3], strict=True):
                block.read(self._data[start:end], line)
            self._blocks[spans[1]] = block
        return block

    def line_within_value(self, title: str) -> int | None:
        """Return the line of a header that is indented below a value, and so is a part of it, if any."""
        words = rb"[ \t]+".join(re.escape(word.encode(errors="replace")) for word in title.split())
        found = re.search(rb"^[ \t]+\[[ \t]*" + words + rb"[ \t]*\]", self._data, re.MULTILINE)
        return self._data.count(b"\n", 0, found.start()) + 1 if found else None

    def _index(self, *, credentials: bool) -> None:
        data = self._data
        start, line, turn = 0, 1, 0
        while start < len(data):
            end = data.find(b"\n[", start) + 1 or len(data)
            if end - start < PLAIN_SIZE and (plain := PLAIN.fullmatch(data, start, end)):
                self._add(_title(plain[1].decode()), [line, start, end], bare=credentials)
                line += data.count(b"\n", start, end)
            elif lines := self._index_lines(start, end, line, bare=credentials):
                line += lines
            else:
                return
            start = end
            if line > turn:
                turn = line + LINES_PER_TURN
                sleep(0)
        if self._bare_default:
            self.profiles.setdefault("default", self._bare_default)
        for places in (self.profiles, self.sso_sessions, self.services):
            for spans in places.values():
                if spans[2] - spans[1] >= PLAIN_SIZE or len(spans) > 3 * PLAIN_SPANS:
                    self.block(spans)  # now, in a thread, since it takes too long for a loop

    def _index_lines(self, start: int, end: int, line: int, *, bare: bool) -> int:
        """Index the lines from one header to the next that is not indented; there may be others between them.

        Returns:
            How many lines there are; 0 when one of them is at fault.
        """
        block, begun, number = Block(self.file, line), start, line
        while start < end:
            stop = end if end - start < PIECE else self._data.find(b"\n", start + PIECE, end) + 1 or end
            for text, size in _decoded_lines(self._data[start:stop]):
                fault = NOT_TEXT if text is None else block.take(text, number)
                if fault is HEADER and text is not None:
                    if block.title is not None:
                        self._add(block.title, [block.line, begun, start], bare=bare)
                    block, begun = Block(self.file, number), start
                    fault = block.begin(text)
                if fault:
                    what, remedy = fault
                    self.fault = InvalidConfiguration(f"{self.file}:{number}: {what}; {remedy}")
                    return 0
                start, number = start + size, number + 1
            sleep(0)
        if block.title is not None:
            self._add(block.title, [block.line, begun, end], bare=bare)
        return number - line

    def _add(self, title: str, span: Spans, *, bare: bool) -> None:
        if title == "default" and not bare:  # [profile default] comes before it
            self._bare_default += span
            return
        kind, _, name = ("profile", "", title) if bare else title.partition(" ")
        places = self._kinds.get(kind) if is_name(name) else None
        if places is None and not bare and (words := _quoted_title(title)):
            kind, name = words
            title = f"{kind} {name}"
            places = self._kinds.get(kind) if is_name(name) else None
        if places is None:
            self.ignored.setdefault(title, span[0])
        else:
            places.setdefault(name, []).extend(span)


class Block:
    """A section of one file.

    Attributes:
        line: where its (first) header is.
        at: the last line taken, other than comments.
        title: the text between the brackets of its header; None before the first header.
        values: the value of each key, in lower case: a text, or the settings nested below it.
        lines: the line of each key, and of each nested ``(key, name)``.
        cut: keys whose value ends at a comment, and the sign that it begins with.
    """

    __slots__ = ("_held", "_indent", "_key", "_more", "at", "cut", "file", "line", "lines", "title", "values")

    def __init__(self, file: str, line: int) -> None:
        self.file = file
        self.line = line
        self.at = line
        self.title: str | None = None
        self.values: Values = {}
        self.lines: Lines = {}
        self.cut: dict[str, str] = {}
        self._key = ""  # of the property that a continuation belongs to; then its indentation and where it is kept
        self._indent = 0
        self._held = self.values, self.lines
        self._more: list[str] = []  # that property's lines, if it has several

    def read(self, piece: bytes, line: int) -> None:
        """Parse a piece of a file that is known to be without a fault: a header and its settings.

        Args:
            piece: whole lines that end with LF.
            line: the number of the first.
        """
        if len(piece) < PLAIN_SIZE and b"#" not in piece and b";" not in piece and PLAIN.fullmatch(piece):
            self._read_plain(piece.decode(), line)
            return
        self._key = ""
        for number, text in enumerate(piece.decode().removesuffix("\n").split("\n"), line):
            if self.take(text, number) is HEADER:
                self.begin(text)
        self._end_value()

    def _read_plain(self, piece: str, line: int) -> None:
        """Do as `read` for a piece that is :data:`PLAIN` and has no comment: thousands are read for a listing."""
        header, *properties = piece.split("\n")
        self.title, self.at = _title(header[1:-1]), line
        for number, text in enumerate(properties, line + 1):
            if text:
                key, _, value = text.partition("=")
                key = key.strip().lower()
                self.values[key], self.lines[key], self.at = value.strip(), number, number
                if self.cut:
                    self.cut.pop(key, None)

    def take(self, line: str, number: int) -> Fault | None:
        """Parse a line; return its fault, or `HEADER` for one that is to be passed to :meth:`begin`."""
        text = line.strip()
        if text[:1] in "#;":  # or blank
            return None
        self.at = number
        indent = 0 if line[0] == text[0] else len(line) - len(line.lstrip())
        if self._key and indent > self._indent:
            return self._continuation(text)
        if text[0] == "[":
            return HEADER
        if self.title is None:
            return NO_SECTION
        return self._property(text, indent)

    def begin(self, line: str) -> Fault | None:
        """Parse a header; return its fault."""
        text, title = line.strip(), None
        if not QUOTES.isdisjoint(text):
            title = _until_comment(HEADER_PIECES, text)[0].rstrip()
        if title is None or not title.endswith("]"):  # an apostrophe may be no quotation mark
            title = text.partition("#")[0].partition(";")[0].rstrip()
        if not title.endswith("]"):
            return NO_BRACKET
        self._end_value()
        self.title, self._key = _title(title[1:-1]), ""
        return None

    def _property(self, text: str, indent: int) -> Fault | None:
        cut = ""
        key, equals, value = text.partition("=")
        if "#" in text or ";" in text:
            if key.strip().lower() in COMMANDS:
                value, cut = _until_comment(COMMAND_PIECES, value)
            else:
                text, cut = _without_comment(text)
                key, equals, value = text.partition("=")
        key = key.strip()
        if not equals:
            return NO_PROPERTY if indent and not self._key else NO_EQUALS
        if not key:
            return NO_NAME
        self._end_value()
        kept = self if is_name(key) else Block(self.file, self.at)
        key = key.lower()
        kept.values[key] = value.strip()
        kept.lines[key] = self.at
        if cut:
            kept.cut[key] = cut
        elif kept.cut:
            kept.cut.pop(key, None)
        self._key, self._indent, self._held = key, indent, (kept.values, kept.lines)
        return None

    def _continuation(self, text: str) -> Fault | None:
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
        """Join the lines of a value, once: appending each would copy those before it."""
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
    """Return whether a text may be the name of a profile, a session or a key."""
    return bool(text) and not text.strip(NAME_CHARACTERS)


def invalid_character(name: str) -> str:
    """Return a character that no name of a profile may have; empty when there is none."""
    return name.strip(NAME_CHARACTERS)[:1]


def _title(text: str) -> str:
    return " ".join(text.split())


def _quoted_title(title: str) -> list[str] | None:
    """Return the kind and the name in a header with quotation marks; None for other headers."""
    if not title.startswith(KINDS) or QUOTES.isdisjoint(title):
        return None
    if len(title) > LONGEST_QUOTED_TITLE:
        return None
    from shlex import split  # slow to load, and seldom needed

    try:
        words = split(title)
    except ValueError:
        return None
    return words if len(words) == 2 else None


def _decoded_lines(piece: bytes) -> Iterator[tuple[str | None, int]]:
    """Yield each line, without its end, and its length in bytes; None for one that is no text."""
    if piece.isascii() and b"\0" not in piece:
        for plain in piece.decode().removesuffix("\n").split("\n"):
            yield plain, len(plain) + 1
        return
    for line in piece.removesuffix(b"\n").split(b"\n"):
        text: str | None = None
        with suppress(UnicodeDecodeError):
            text = None if b"\0" in line else line.decode()
        yield text, len(line) + 1


def _until_comment(pieces: str, text: str) -> tuple[str, str]:
    """Return a text up to a comment outside of quotation marks, and the sign that begins that."""
    for found in re.finditer(pieces, text):
        if (sign := found[0].strip()) in ("#", ";"):
            return text[: found.start()], sign
    return text, ""


def _without_comment(line: str) -> tuple[str, str]:
    """Return a line up to its comment, and the sign that begins that."""
    cut = ""
    for mark in (" #", " ;", "\t#", "\t;"):
        line, found, _ = line.partition(mark)
        cut = found[1:] or cut
    return line, cut
