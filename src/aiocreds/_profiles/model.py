"""Merge the two shared files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._profiles.parser import invalid_character, is_name
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from aiocreds._profiles.parser import Block, Document, Spans

NO_SETTINGS: Mapping[str, str] = {}


class Setting(NamedTuple):
    """A value, and the argument, variable or ``file:line`` that it comes from, for messages."""

    value: str
    place: str


class Section:
    """A profile, an sso-session or a services section, from all the files that have it.

    Where both files set a key, the credentials file wins. Iterating gives the keys, in lower case.
    """

    __slots__ = ("_blocks", "name")

    def __init__(self, name: str, blocks: list[Block]) -> None:
        self.name = name
        self._blocks = blocks

    def get(self, key: str) -> str | None:
        """Return the value of a key in lower case; None when unset or blank, or with only settings below it."""
        for block in self._blocks:
            if key in block.values:
                value = block.values[key]
                return value or None if isinstance(value, str) else None
        return None

    def setting(self, key: str) -> Setting | None:
        """Return the value of a key and its place; None where :meth:`get` does."""
        value = self.get(key)
        return None if value is None else Setting(value, f"{key} ({self.value_at(key)})")

    def subsection(self, key: str) -> Mapping[str, str]:
        """Return the settings nested under a key; empty when there are none."""
        value = self._holder(key).values.get(key)
        return value if isinstance(value, dict) else NO_SETTINGS

    def where(self, key: str | None = None, nested: str | None = None) -> str:
        """Return the ``file:line`` of a key, or of a setting nested under it; else of the section's header."""
        if key is None:
            block, line = self._blocks[0], None
        else:
            block = self._holder(key)
            line = block.lines.get(key if nested is None else (key, nested)) or block.lines.get(key)
        return f"{block.file}:{line or block.line}"

    def value_at(self, key: str) -> str:
        """Return the ``file:line`` of a value that is at fault, with a hint where a comment cuts it off."""
        sign = self._holder(key).cut.get(key)
        return f"{self.where(key)}, where a comment begins at ' {sign}'" if sign else self.where(key)

    def overridden(self, key: str) -> str | None:
        """Return the ``file:line`` where a key has another value, without effect; None when there is none."""
        holder = self._holder(key)
        for block in self._blocks:
            if key in block.values and block.values[key] != holder.values[key]:
                return f"{block.file}:{block.lines[key]}"
        return None

    def _holder(self, key: str) -> Block:
        for block in self._blocks:
            if key in block.values:
                return block
        return self._blocks[0]

    def __contains__(self, key: object) -> bool:
        return any(key in block.values for block in self._blocks)

    def __iter__(self) -> Iterator[str]:
        return iter({key: None for block in self._blocks for key in block.values})

    def __repr__(self) -> str:
        return f"<Section {self.name!r} at {self.where()}>"


class Sections(Mapping[str, Section]):
    """Sections by name, merged from the files when they are asked for.

    Args:
        layers: the files in order of precedence, with the places of the sections in each.
    """

    __slots__ = ("_layers",)

    def __init__(self, *layers: tuple[Document, dict[str, Spans]]) -> None:
        self._layers = layers

    def __getitem__(self, name: str) -> Section:
        section = self.find(name)
        if section is None:
            raise KeyError(name)
        return section

    def find(self, name: str) -> Section | None:
        """Return a section, or None when no file has it."""
        blocks = [document.block(places[name]) for document, places in self._layers if name in places]
        return Section(name, blocks) if blocks else None

    def __contains__(self, name: object) -> bool:
        return any(name in places for _, places in self._layers)

    def __iter__(self) -> Iterator[str]:
        return iter({name: None for _, places in self._layers for name in places})

    def __len__(self) -> int:
        return sum(1 for _ in self)


class SharedConfig:
    """The shared config and credentials files, as they were when they were read.

    Attributes:
        config_file: where the one was looked for, whether it exists or not.
        credentials_file: where the other was looked for.
        profiles: merged from both files; the credentials file wins key by key.
        sso_sessions: from the config file.
        services: from the config file.
        elsewhere: the config file is not at its default place.
        hints: messages name profiles that are alike, and headers that were overlooked. Looking for them takes long
            in a big file: who asks for the mistakes of thousands of profiles switches it off.
        sound: profiles whose SSO settings have been found complete: many roles may begin with one.
    """

    __slots__ = (
        "_documents",
        "_met",
        "config_file",
        "credentials_file",
        "elsewhere",
        "hints",
        "profiles",
        "services",
        "sound",
        "sso_sessions",
    )

    def __init__(self, credentials: Document, config: Document, *, elsewhere: bool = False) -> None:
        self.config_file = config.file
        self.credentials_file = credentials.file
        self.profiles = Sections((credentials, credentials.profiles), (config, config.profiles))
        self.sso_sessions = Sections((config, config.sso_sessions))
        self.services: Mapping[str, Section] = Sections((config, config.services))
        self.hints = True
        self.sound: set[str] = set()
        self._documents = credentials, config
        self.elsewhere = elsewhere
        self._met: dict[str, Section | None] = {}

    def __eq__(self, other: object) -> bool:
        """Return whether both come from the same reading of the same files."""
        return isinstance(other, SharedConfig) and self._documents == other._documents

    def __hash__(self) -> int:
        return hash(self._documents)

    def fault(self, *, needed: bool = True) -> InvalidConfiguration | None:
        """Return why these files may not be used; None when they may.

        Args:
            needed: what a file says matters, so that one that cannot be read is a fault, too.
        """
        for document in self._documents:
            if document.fault and (needed or not document.unreadable):
                return document.fault
        return None

    def unread(self) -> list[tuple[str, InvalidConfiguration | None]]:
        """Return the two files, and why they could not be read, for those that could not."""
        return [(document.file, document.fault if document.unreadable else None) for document in self._documents]

    def files(self) -> list[tuple[str, int]]:
        """Return the two files, and how many profiles each has."""
        credentials, config = self._documents
        return [(document.file, len(document.profiles)) for document in (config, credentials)]

    def profile(self, name: str) -> Section | None:
        """Return a profile, or None when neither file has it."""
        if name not in self._met:
            self._met[name] = self.profiles.find(name)
        return self._met[name]

    def sso_session(self, name: str) -> Section | None:
        """Return an sso-session, or None when the config file does not have it."""
        key = f"sso-session {name}"  # no profile has a blank in its name
        if key not in self._met:
            self._met[key] = self.sso_sessions.find(name)
        return self._met[key]

    def required(self, name: str, place: str = "") -> Section | None:
        """Return a profile that is needed; only ``default`` may be missing.

        Args:
            name: the profile.
            place: the variable that names it, for messages.

        Raises:
            InvalidConfiguration: neither file has it.
        """
        section = self.profile(name)
        if section is None and name != "default":
            named = f" (from {place})" if place else ""
            unset = f", or unset {place}" if place else ""
            raise InvalidConfiguration(
                f"profile {name!r}{named} is neither in {self.config_file} nor in {self.credentials_file}"
                f"{self.without_home()}: "
                + (self.misnamed(name) or f"correct the name{unset}, or add the profile{self.suggestion(name)}")
            )
        return section

    def without_home(self) -> str:
        """Return the part of a message that says that no home folder is known; blank when one is."""
        return (
            " (no home folder is known: set HOME)"
            if "~" in (self.config_file[:1], self.credentials_file[:1])
            else ""
        )

    def others(self) -> str:
        """Return the end of a message about a missing ``default``: the profiles that are there."""
        found = (repr(name) for name in self.profiles if name != "default")
        names = [name for name, _ in zip(found, range(4), strict=False)]
        if not names:
            return ""
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        return f"; there {'is' if len(names) == 1 else 'are'} {shown}: name one in AWS_PROFILE or in code"

    def suggestion(self, name: str) -> str:
        """Return the end of a message about a missing profile: those with nearly its name, if any."""
        if not self.hints:
            return ""
        from difflib import get_close_matches  # slow to load, and for messages alone

        alike = [known for known in self.profiles if known[:1] == name[:1] and abs(len(known) - len(name)) <= 3]
        close = get_close_matches(name, alike[:500], n=3)  # it is slow for many
        return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""

    def misnamed(self, name: str, kind: str = "profile") -> str | None:
        """Return what to do about a section that was probably meant to be this profile or section."""
        if not self.hints:
            return None
        credentials, config = self._documents
        right = f"{kind} {name}"
        meant = [(config, right, [name, right, right.replace("-", "_"), f'"{name}"', f"'{name}'"])]
        if kind == "profile":
            meant.append((credentials, name, [right, name, f'"{name}"', f"'{name}'"]))
        for document, right, headers in meant:
            for line in filter(None, map(document.ignored.get, headers)):
                remedy = f"has to be [{right}] in this file"
                if not is_name(name):
                    remedy = (
                        f"is ignored for the {invalid_character(name)!r} in its name: rename it, with letters"
                        " from A to Z, digits and _-/.%@:+ alone"
                    )
                return f"the section at {document.file}:{line} {remedy}"
            if below := document.line_within_value(right):
                return (
                    f"the section at {document.file}:{below} is indented deeper than the value above it, and so a"
                    " part of that: remove the blanks before it"
                )
        return None
