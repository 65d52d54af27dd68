"""Write sections of the shared config file, and leave everything else in it as it is.

The parser says where a section and its keys are, and has the last word: what it makes of the new file has to be
what it made of the old one, with the change and nothing else. Only then is the file replaced, in one step and
under a lock. A key's new value takes the place of the old one; new keys follow the last one of their section; a
new section comes last in the file.

See https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from __future__ import annotations

import os
import re
import stat
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._base import threads
from aiocreds._base.redaction import Redacted, SecretBytes
from aiocreds._profiles.files import SharedFile, Unreadable, locate
from aiocreds._profiles.parser import BYTE_ORDER_MARK, Document, invalid_character, is_name
from aiocreds._token_cache import program_end, storage
from aiocreds._token_cache.lock import releasing
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aiocreds._core.context import Context
    from aiocreds._profiles.parser import Block, Spans, Values

    Indentation = Callable[["_Lines", Block], str]

ATTEMPTS = 10  # at a file that others, who take no lock, write meanwhile
KEY = re.compile(r"[a-z0-9_]+")
UNCLEAR = "add it by hand: how this file is indented, the new lines would change what others mean"


class SectionEdit(NamedTuple):
    """A section to be added or changed.

    Attributes:
        kind: ``"profile"`` or ``"sso-session"``.
        name: such as ``"dev"``.
        settings: the values that keys in lower case get; other keys of the section stay as they are.
    """

    kind: str
    name: str
    settings: Mapping[str, str]


async def write(context: Context, edits: Sequence[SectionEdit], *, config_file: str | None = None) -> bool:
    """Write sections into the config file, all of them or none; return whether that changed it.

    A missing file is made with mode 0600, and its folder with 0700. A link stays, and what it leads to is
    replaced. Who writes by this function at the same time waits for the lock beside the file; an edit by another
    program in between is kept.

    Args:
        context: the environment.
        edits: what is to be written.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.

    Raises:
        InvalidConfiguration: a name or value cannot be written, the file has a fault, or is not for this user.
        SourceUnavailable: the file cannot be written just now.
    """
    for edit in edits:
        refuse_unwritable(edit)
    path, _ = locate("config", context.environ, given=config_file, home=context.home)
    if path.startswith("~"):
        raise InvalidConfiguration("there is no place for a config file: no home folder is known: set HOME")
    await threads.submit(storage.make_folder, path)
    target = await threads.submit(lambda: os.path.realpath(path))
    try:
        with releasing(f"{target}.lock") as lock:
            while not await lock.attempt():
                pass
            return await threads.submit_always(lock.during, partial(_write, target, edits))
    except OSError as error:
        raise storage.unwritable(path, error) from None


def refuse_unwritable(edit: SectionEdit) -> None:
    """Check that a reader finds the name and the values as they are given.

    Raises:
        InvalidConfiguration: it would not. No value is in the message.
    """
    if not is_name(edit.name):
        fault = f"the {invalid_character(edit.name)!r} in it" if edit.name else "that it is blank"
        raise InvalidConfiguration(
            f"{edit.name!r} is no name for a {edit.kind}, for {fault}: use letters from A to Z, digits and"
            " _-/.%@:+ alone"
        )
    for key, value in edit.settings.items():
        fault = ""
        if not KEY.fullmatch(key):
            raise InvalidConfiguration(f"{key!r} is no key: use letters from a to z, digits and _ alone")
        if not value.strip():
            fault = "is blank"
        elif not value.isprintable():
            fault = "holds a line break or another control character"
        elif value != value.strip():
            fault = "begins or ends with a blank"
        elif _readback(key, value) != value:
            fault = "holds what begins a comment (a blank and # or ;), or begins with one of these"
        if fault:
            raise InvalidConfiguration(
                f"the value for {key} of {edit.kind} {edit.name!r} {fault}, which no reader finds again: correct it"
            )


def edited(data: bytes, edits: Sequence[SectionEdit], *, file: str = "config") -> bytes:
    """Return the content of a config file with these sections in it.

    Args:
        data: the content as it is.
        edits: checked by :func:`refuse_unwritable`; of two for one key the later one counts.
        file: its name, for messages.

    Raises:
        InvalidConfiguration: the file has a fault, or there is no place where the section can be changed without
            changing another.
    """
    data = SecretBytes(data)  # keys may be in it
    before = Document(file, data)
    if before.fault is not None:
        raise before.fault
    wanted, changes = _meaning(before), dict[tuple[str, str], dict[str, str]]()
    for kind, name, settings in edits:
        changes.setdefault((kind, name), {}).update(settings)
    for section, settings in changes.items():
        wanted[section] = {**wanted.get(section, {}), **settings}
    for indentation in (_of_section, _of_what_follows, _none):
        lines = _Lines(data, indentation)
        for (kind, name), settings in changes.items():
            places: dict[str, Spans] = before.profiles if kind == "profile" else before.sso_sessions
            if name in places:
                lines.change(before.block(places[name]), settings)
            else:
                lines.append(name if (kind, name) == ("profile", "default") else f"{kind} {name}", settings)
        after = Document(file, changed := SecretBytes(lines.data()))
        if after.fault is None and _meaning(after) == wanted and [*after.ignored] == [*before.ignored]:
            return changed
    sections = " and ".join(f"[{kind} {name}]" for kind, name in changes)
    raise InvalidConfiguration(f"{file} cannot take {sections}: {UNCLEAR}")


def _write(target: str, edits: Sequence[SectionEdit]) -> bool:
    """Do the work of :func:`write`, in a thread; the lock is held, and the program does not end meanwhile.

    Raises:
        InvalidConfiguration: as there.
        SourceUnavailable: others change the file all the time.
        OSError: the file cannot be replaced.
    """
    with program_end.delaying_program_end():
        for _ in range(ATTEMPTS):
            found = _stat(target)
            if found is not None and not stat.S_ISREG(found.st_mode):
                raise InvalidConfiguration(
                    f"{target} is no file that can be written: name another in AWS_CONFIG_FILE"
                )
            try:
                data = SecretBytes(SharedFile(target, "config").read())
            except Unreadable as error:
                raise InvalidConfiguration(f"{target} cannot be read ({error}): let this user read it") from None
            changed = edited(data, edits, file=target)
            if changed == data:
                return False
            storage.refuse_folder_of_others(target)
            if _stamp(_stat(target)) == _stamp(found):
                storage.replace_bytes(target, changed, like=found)
                return True
    raise SourceUnavailable(f"{target} was not written: other programs change it all the time; try again later")


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - pathlib is slow to load
    except FileNotFoundError:
        return None


def _stamp(found: os.stat_result | None) -> tuple[int, ...]:
    return () if found is None else (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _readback(key: str, value: str) -> object:
    """Return what the parser makes of a value; None where that is no value of this key."""
    document = Document("", f"[profile a]\n{key} = {value}\n".encode())
    return document.block(document.profiles["a"]).values.get(key) if document.fault is None else None


class _Meaning(Redacted, dict[tuple[str, str], "Values"]):
    """The values of each section, by its kind and name."""


def _meaning(document: Document) -> _Meaning:
    """Return what a file says; no ``repr`` shows it."""
    return _Meaning(
        {
            (kind, name): document.block(spans).values
            for kind, places in (
                ("profile", document.profiles),
                ("sso-session", document.sso_sessions),
                ("services", document.services),
            )
            for name, spans in places.items()
        }
    )


class _Lines:
    """The lines of a file, by the parser's numbers, and what becomes of them.

    Args:
        data: the content of the file.
        indentation: takes this and a section, and returns the blanks before a new key of it.
    """

    def __init__(self, data: bytes, indentation: Indentation) -> None:
        self._mark = BYTE_ORDER_MARK if data.startswith(BYTE_ORDER_MARK) else b""
        self._lines = data.removeprefix(BYTE_ORDER_MARK).splitlines(
            keepends=True
        )  # LF, CR LF and CR, as the parser
        self._indentation = indentation
        self._new: dict[int, bytes] = {}  # what stands in the place of a line
        self._behind: dict[int, list[bytes]] = {}  # what follows it
        self._appended: list[bytes] = []

    def change(self, block: Block, settings: Mapping[str, str]) -> None:
        """Set keys of a section that is there."""
        for key, value in settings.items():
            if key not in block.values:
                line = f"{self._indentation(self, block)}{key} = {value}".encode()
                self._behind.setdefault(block.at, []).append(line + self._ending(block.at))
            elif block.values[key] != value:
                self._replace(block.lines[key], block.values[key], value)

    def append(self, title: str, settings: Mapping[str, str]) -> None:
        """Add a section."""
        ending = self._ending(1)
        if self._appended or (self._lines and self._lines[-1].strip()):
            self._appended.append(ending)
        lines = [f"[{title}]", *(f"{key} = {value}" for key, value in settings.items())]
        self._appended += [line.encode() + ending for line in lines]

    def data(self) -> bytes:
        """Return the content with all changes."""
        whole: list[bytes] = []
        for number, line in enumerate(self._lines, 1):
            whole.append(self._new.get(number, line))
            behind = self._behind.get(number, [])
            if not line.endswith((b"\n", b"\r")) and (behind or self._appended):  # the end of the file
                whole.append(self._ending(1))
            whole += behind
        return self._mark + b"".join(whole + self._appended)

    def indent(self, number: int) -> str:
        """Return the blanks that a line begins with."""
        text = self._lines[number - 1].decode()
        return text[: len(text) - len(text.lstrip())]

    def following(self, number: int) -> Iterator[int]:
        """Yield the lines behind one, but for blank ones and comments."""
        for other in range(number + 1, len(self._lines) + 1):
            if self._lines[other - 1].decode().strip()[:1] not in ("", "#", ";"):
                yield other

    def _replace(self, number: int, old: str | Mapping[str, str], new: str) -> None:
        """Replace a value. A comment behind it moves above it: botocore would take it for a part of the value."""
        ending = self._ending(number) if self._lines[number - 1].endswith((b"\n", b"\r")) else b""
        indent = self.indent(number)
        key, _, rest = self._lines[number - 1].removesuffix(ending).decode().partition("=")
        first = old.partition("\n")[0] if isinstance(old, str) else ""
        blanks, _, behind = rest.partition(first) if first else (" ", "", rest)
        line = f"{key}={blanks}{new}{'' if behind.strip() else behind}".encode() + ending
        if comment := behind.strip():
            line = f"{indent}{comment}".encode() + self._ending(number) + line
        self._new[number] = line
        for other in self.following(number):
            if len(self.indent(other)) <= len(indent):
                break
            self._new[other] = b""  # the old value went on there

    def _ending(self, number: int) -> bytes:
        """Return how a line ends, else how the first one does."""
        for line in (*self._lines[number - 1 : number], *self._lines[:1]):
            if ending := line[len(line.rstrip(b"\r\n")) :]:
                return ending
        return b"\n"


def _of_section(lines: _Lines, block: Block) -> str:
    """Return the indentation of the last key, else that of the header."""
    own: Iterable[int] = (line for key, line in block.lines.items() if isinstance(key, str))
    return lines.indent(max(own, default=block.at))


def _of_what_follows(lines: _Lines, block: Block) -> str:
    """Return the indentation of the next header, which a key with less would swallow."""
    return next(map(lines.indent, lines.following(block.at)), "")


def _none(_: _Lines, __: Block) -> str:
    return ""
