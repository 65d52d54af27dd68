"""Typed events of what a fetch looks at, for `explain`. Knows nothing of AWS.

Without `explain`, each function here reads one context variable and returns. An event is data; `_explain.py` turns
it into words. A record holds no secret: callers record what may be shown, and the last four characters of keys.
"""

from __future__ import annotations

import re
from contextlib import suppress
from contextvars import Context, ContextVar
from time import perf_counter
from typing import TYPE_CHECKING

from aiocreds.credentials import redact_key
from aiocreds.errors import CredentialsError, CredentialsNotFound, afresh

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import Token
    from datetime import datetime
    from typing import Literal, Self

    from aiocreds.credentials import Credentials

    Outcome = Literal["found", "nothing here", "failed", "not asked"]
    Kind = Literal[
        "setting",  # at a variable, an argument or a line of a file; value None: not set, "": set, and not shown
        "required",  # a setting that is missing and that the others need
        "switched off",  # by the setting at this place
        "missing",  # no such file
        "empty",  # a file without content
        "profiles",  # a shared file; value: how many profiles it has
        "section",  # of a shared file; key: its kind; value: its name
        "token",  # a file with a token
        "token without end",  # a file with a token that holds no expiration
        "claim",  # of that token; key: which
        "token end",  # when that token ends
        "service",  # a host; key: service; value: region; overridden_by: what names the host
        "asked",  # a host; value: what it was asked for
        "answer",  # of a host; key: the attempt, unless it is the first; value: HTTP status
        "no answer",  # of a host; key: as above; value: the failure
        "other server",  # a host that answers, and is not the expected service
        "clock",  # key: the host it disagrees with; value: seconds that this machine is behind, or -seconds ahead
        "starts",  # a process; value: its program
        "prompted",  # that process used the terminal
        "exited",  # that process; key: its status; value: how many bytes it printed
        "held",  # credentials from an earlier fetch
        "ends",  # a token of a sign-in; value: when
        "ended",  # as above
        "renewed",  # as above
        "winner",  # of a chain, which alone is asked; value: its name
        "note",  # value: words of its own
    ]

USER_INFO = "//[^/@]*@"  # in a URL that should have none; compiled when there is a text to look at
_current: ContextVar[Record | None] = ContextVar("aiocreds_record", default=None)


class Event:
    """One fact that a step met.

    Attributes:
        kind: which fields count, and how they read.
        place: a variable, a file with its line, a host; of a setting in code, the argument.
        key: of the setting in that line, or what `kind` says.
        value: what was there; never one that may be secret.
        overridden_by: the place or setting that counts instead of this one.
        seconds: how long it took.
    """

    __slots__ = ("key", "kind", "overridden_by", "place", "seconds", "value")

    def __init__(
        self,
        place: str,
        value: str | None = "",
        *,
        kind: Kind = "setting",
        key: str = "",
        overridden_by: str = "",
        seconds: float | None = None,
    ) -> None:
        self.kind: Kind = kind
        self.place = without_password(place)
        self.key = key
        self.value = value and without_password(value)
        self.overridden_by = without_password(overridden_by)
        self.seconds = seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"Event{self._fields()}"

    def _fields(self) -> tuple[object, ...]:
        return self.kind, self.place, self.key, self.value, self.overridden_by, self.seconds


class Record:
    """One step while it runs: a fetch of a source, or a part of one that deserves a line of its own.

    Attributes:
        name: of the source, or of what is looked at.
        outcome: how it ended; "failed" until it has.
        seconds: how long it took.
        events: what it met, in that order.
        steps: those within.
        key: the last four characters of the access key id that it brought.
        account: of those credentials.
        stamp: the source that they are stamped with.
        role: which role they are of.
        expiration: of them, or of the token that this step is about.
        outlives: whether their service may let them live on.
        error: what it failed with.
        joined: it waited for a fetch that was under way, whose events are not here.
    """

    __slots__ = (
        "_started",
        "account",
        "error",
        "events",
        "expiration",
        "joined",
        "key",
        "name",
        "outcome",
        "outlives",
        "role",
        "seconds",
        "stamp",
        "steps",
    )

    def __init__(self, name: str) -> None:
        self.name = without_password(name)
        self.outcome: Outcome = "failed"
        self.seconds = 0.0
        self.events: list[Event] = []
        self.steps: list[Record] = []
        self.key: str | None = None
        self.account: str | None = None
        self.stamp: str | None = None
        self.role: str | None = None
        self.expiration: datetime | None = None
        self.outlives = False
        self.error: CredentialsError | None = None
        self.joined = False
        self._started = perf_counter()

    def begin(self, name: str) -> Record:
        """Add a step within this one."""
        step = Record(name)
        self.steps.append(step)
        return step

    def note(
        self,
        place: str,
        value: str | None = "",
        *,
        kind: Kind = "setting",
        key: str = "",
        overridden_by: str = "",
        seconds: float | None = None,
    ) -> None:
        """Add an event; the arguments are those of `Event`."""
        self.events.append(Event(place, value, kind=kind, key=key, overridden_by=overridden_by, seconds=seconds))

    def walk(self) -> Iterator[Record]:
        """Iterate over this step and all in it."""
        yield self
        for step in self.steps:
            yield from step.walk()

    def under_way(self) -> Record:
        """Return the innermost step that has begun and not ended; this one when there is none."""
        for step in reversed(self.steps):
            if step.outcome == "failed" and not step.seconds:
                return step.under_way()
        return self

    def end(self, credentials: Credentials | None = None, error: BaseException | None = None) -> None:
        """End with credentials, with an error, or with neither, for a part that just went well."""
        self.seconds = perf_counter() - self._started
        if isinstance(error, CredentialsError):
            self.error = afresh(error)
        self.outcome = "found" if error is None else "failed"
        if isinstance(error, CredentialsNotFound):
            self.outcome = "nothing here"
        if credentials is not None:
            self.key = redact_key(credentials.access_key_id)
            self.account = credentials.account_id
            self.stamp = credentials.provider
            self.expiration = credentials.expiration
            self.outlives = credentials.may_outlive_expiry

    def settle(self, credentials: Credentials | None, error: BaseException | None) -> None:
        """End with the fetch; a cancelled one brought neither."""
        if credentials is not None or error is not None:
            self.end(credentials, error)


def printable(text: str) -> str:
    """Return a text without control characters: names in it may come from anywhere."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def one_line(text: str) -> str:
    """Return a text without control characters in one line."""
    return text if text.isprintable() else " ".join(printable(text).split())


def without_password(text: str) -> str:
    """Return a text without the passwords of the URLs in it."""
    return re.sub(USER_INFO, "//****@", text) if "@" in text else text


class recording:  # noqa: N801 - reads as the verb it is
    """``with recording(record):`` events of what is fetched here go there."""

    __slots__ = ("_record", "_token")

    def __init__(self, record: Record) -> None:
        self._record = record

    def __enter__(self) -> Self:
        self._token = _current.set(self._record)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _reset(self._token)


class step:  # noqa: N801 - as above
    """``with step("the sign-in"):`` a part of a fetch that deserves a line of its own."""

    __slots__ = ("_name", "_record", "_token")

    def __init__(self, name: str) -> None:
        self._name = name
        self._record: Record | None = None

    def __enter__(self) -> Self:
        above = _current.get()
        if above is not None:
            self._record = above.begin(self._name)
            self._token = _current.set(self._record)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._record is not None:
            _reset(self._token)
            self._record.end(error=error)


def current() -> Record | None:
    """Return the step under way, if somebody explains."""
    return _current.get()


def note(
    place: str,
    value: str | None = "",
    *,
    kind: Kind = "setting",
    key: str = "",
    overridden_by: str = "",
    seconds: float | None = None,
) -> None:
    """Record an event; the arguments are those of `Event`. Never a value that may be secret."""
    record = _current.get()
    if record is not None:
        record.note(place, value, kind=kind, key=key, overridden_by=overridden_by, seconds=seconds)


def note_role(name: str) -> None:
    """Record the role that the credentials of this step are of."""
    record = _current.get()
    if record is not None:
        record.role = name


def note_end(at: datetime) -> None:
    """Record when what this step is about ends."""
    record = _current.get()
    if record is not None:
        record.expiration = at


def not_asked(names: Iterable[str]) -> None:
    """Record which sources were not asked, since an earlier one ended the search."""
    record = _current.get()
    if record is not None:
        for name in names:
            record.begin(name).outcome = "not asked"


def joined(step: Record | None, credentials: Credentials | None, error: BaseException | None) -> None:
    """End a step that waited for a fetch that was under way."""
    if step is not None:
        step.joined = True
        step.settle(credentials, error)


def withdraw(record: Record | None, step: Record | None) -> None:
    """Remove a step that waited in vain."""
    if record is not None and step is not None:
        record.steps.remove(step)


def carry(context: Context, record: Record | None = None) -> Context:
    """Record what runs in another context, into ``record`` or where it would be recorded here.

    Returns:
        that context.
    """
    record = record or _current.get()
    if record is not None:
        context.run(_current.set, record)
    return context


def _reset(token: Token[Record | None]) -> None:
    with suppress(ValueError):  # in another context: its loop was dropped in the middle
        _current.reset(token)
