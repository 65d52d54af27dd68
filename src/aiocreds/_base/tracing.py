"""What a fetch looks at on its way, for those who ask. Knows nothing of AWS.

Nothing is kept unless somebody explains (see ``explanation.py``): each function here looks at one context
variable and returns. A record holds no secret: who notes something notes what may be shown, and of credentials
there are the last four characters of the key.
"""

from __future__ import annotations

import re
from contextlib import suppress
from contextvars import Context, ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Literal, Self

from aiocreds.credentials import redact_key
from aiocreds.errors import CredentialsError, CredentialsNotFound, afresh

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import Token
    from datetime import datetime

    from aiocreds.credentials import Credentials

    Outcome = Literal["found", "nothing here", "failed", "not asked"]

PASSWORD = re.compile("//[^/@]*@")  # in a URL that should have none
_current: ContextVar[Record | None] = ContextVar("aiocreds_record", default=None)


class Record:
    """One step as it goes: a source's trip, or a part of one that is worth a line of its own.

    Attributes:
        name: of the source, or of what is looked at.
        outcome: how it ended; "failed" until it has.
        seconds: how long it took.
        looked_at: the places, and what was found there.
        steps: those within.
        key: the last four characters of the access key id that it brought.
        account: of those credentials.
        stamp: the source that they are stamped with.
        role: which role they are of.
        expiration: of them, or of the token that this step is about.
        outlives: whether their service may let them live on.
        error: what it failed with.
        joined: somebody else's trip was under way, which tells nothing.
    """

    __slots__ = (
        "_started",
        "account",
        "error",
        "expiration",
        "joined",
        "key",
        "looked_at",
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
        self.looked_at: list[tuple[str, str]] = []
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
        """A step within this one."""
        step = Record(name)
        self.steps.append(step)
        return step

    def walk(self) -> Iterator[Record]:
        """This step and all in it."""
        yield self
        for step in self.steps:
            yield from step.walk()

    def under_way(self) -> Record:
        """The innermost step that has been begun and has not ended; this one when there is none."""
        for step in reversed(self.steps):
            if step.outcome == "failed" and not step.seconds:
                return step.under_way()
        return self

    def end(self, credentials: Credentials | None = None, error: BaseException | None = None) -> None:
        """It has ended: with credentials, with an error, or with neither, for a part that just went well."""
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

    def landed(self, credentials: Credentials | None, error: BaseException | None) -> None:
        """The trip has ended; one that was called back brought neither."""
        if credentials is not None or error is not None:
            self.end(credentials, error)

    def note(self, place: str, found: str) -> None:
        """What was found where; several things about one place, one after another, are one."""
        place, found = without_password(place), without_password(found)
        if self.looked_at and self.looked_at[-1][0] == place:
            found = f"{self.looked_at.pop()[1]}, {found}"
        self.looked_at.append((place, found))


def printable(text: str) -> str:
    """A text without what would steer a terminal: names in it may come from anywhere."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def without_password(text: str) -> str:
    """A text without the passwords of the URLs in it."""
    return PASSWORD.sub("//****@", text) if "@" in text else text


class recording:  # noqa: N801 - reads as the verb it is
    """``with recording(record):`` what is fetched here is noted there."""

    __slots__ = ("_record", "_token")

    def __init__(self, record: Record) -> None:
        self._record = record

    def __enter__(self) -> Self:
        self._token = _current.set(self._record)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _reset(self._token)


class step:  # noqa: N801 - as above
    """``with step("the sign-in"):`` a part of a trip that is worth a line of its own."""

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


def _reset(token: Token[Record | None]) -> None:
    with suppress(ValueError):  # in another context: its loop was dropped in the middle
        _current.reset(token)


def current() -> Record | None:
    """The step under way, if somebody explains."""
    return _current.get()


def note(place: str, found: str) -> None:
    """Say what was found where: at a variable, a ``file:line``, a host. Never a value that may be secret."""
    record = _current.get()
    if record is not None:
        record.note(place, found)


def note_role(name: str) -> None:
    """Say which role the credentials of this step are of."""
    record = _current.get()
    if record is not None:
        record.role = name


def note_end(at: datetime) -> None:
    """Say when what this step is about ends."""
    record = _current.get()
    if record is not None:
        record.expiration = at


def not_asked(names: Iterable[str]) -> None:
    """Say which sources were not asked, since an earlier one ended the search."""
    record = _current.get()
    if record is not None:
        for name in names:
            record.begin(name).outcome = "not asked"


def joined(step: Record | None, credentials: Credentials | None, error: BaseException | None) -> None:
    """End a step that waited for somebody else's trip."""
    if step is not None:
        step.joined = True
        step.landed(credentials, error)


def withdraw(record: Record | None, step: Record | None) -> None:
    """Take a step back that came to nothing."""
    if record is not None and step is not None:
        record.steps.remove(step)


def carry(context: Context, record: Record | None = None) -> Context:
    """Let what runs in another context note on, into ``record`` or where it would be noted here.

    Returns:
        that context.
    """
    record = record or _current.get()
    if record is not None:
        context.run(_current.set, record)
    return context
