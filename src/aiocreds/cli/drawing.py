"""How ``aiocreds explain`` looks: lines of styled pieces of text, for a terminal and for a file."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from aiocreds.cli.terminal import printable
from aiocreds.errors import ChainExhausted, CredentialsError, CredentialsNotFound, ServiceRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocreds.cli.explain import Report
    from aiocreds.explanation import Identity, Look, Step
    from aiocreds.trace import Outcome

Line = list[tuple[str, str]]  # pieces of text, each with its style

PLACE_WIDTH = 44  # columns at most, for where something was found
NARROWEST = 60
STYLES: dict[Outcome, str] = {"found": "green", "nothing here": "dim", "failed": "red", "not asked": "dim"}
NAMES = {"chain": "default chain", "remote": "container or instance"}
LONG_NAME = re.compile(r"\b([0-9a-f]{4})[0-9a-f]{36,60}(?=\.json\b)")  # that of a cached sign-in
TELLING = re.compile(r"\d+ profiles?|.*\banswered \d.*")  # there is something, although it is no credentials


class Signs(NamedTuple):
    """What the tree is drawn with."""

    branch: str
    last: str
    bar: str
    outcomes: dict[Outcome, str]


PRETTY = Signs("├─ ", "└─ ", "│  ", {"found": "✓", "nothing here": "·", "failed": "✗", "not asked": "○"})
ASCII = Signs("|- ", "`- ", "|  ", {"found": "+", "nothing here": "-", "failed": "x", "not asked": "o"})


def draw(report: Report, width: int, *, encoding: str | None) -> Iterator[Line]:
    """The report, line by line; what is wrong comes first."""
    drawing = _Drawing(report, max(width, NARROWEST), ASCII if _lacks_signs(encoding) else PRETTY)
    yield from drawing.verdict()
    yield []
    yield from drawing.tree(report.explanation.step)
    if report.check is not None:
        yield from drawing.tree(report.check)
    if report.explanation.identity is not None:
        yield []
        yield from drawing.identity()


def _lacks_signs(encoding: str | None) -> bool:
    try:
        "├─└│✓✗·○…→".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


class _Drawing:
    def __init__(self, report: Report, width: int, signs: Signs) -> None:
        self.report = report
        self.width = width
        self.signs = signs

    def short(self, text: str) -> str:
        """A text as it is shown: with ``~``, and without what would steer a terminal."""
        text = printable(text)
        home = self.report.home.rstrip("/\\")
        if home:
            text = text.replace(f"{home}/", "~/")
        if self.signs is PRETTY:
            return text
        return text.replace("…", "...").replace("→", "->").encode("ascii", "replace").decode()

    def paragraph(
        self, text: str, style: str, *, first: str = "", rest: str = "", bars: str = ""
    ) -> Iterator[Line]:
        """A text within the margins; ``bars`` come before each of its lines, and keep their own style."""
        lines = textwrap.wrap(
            self.short(text),
            self.width - len(bars),
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            yield [(bars, "dim"), (line, style)]

    def verdict(self) -> Iterator[Line]:
        """What is wrong, or who wins; and what else is remarkable."""
        report, error = self.report, self.report.error
        identity, winner = report.explanation.identity, report.explanation.winner
        sign = self.signs.outcomes["found" if error is None else "failed"]
        if error is None and identity is not None and winner is not None:
            text = f"{winner.name} wins: {self.who()}"
        elif identity is not None and winner is not None:
            trouble = (
                "STS does not accept them" if isinstance(error, ServiceRefused) else "they could not be checked"
            )
            text = f"{winner.name} has credentials ({identity.key}), but {trouble}: {error}"
        else:
            text = _cause(error, report.explanation.step)
        style = "bold green" if error is None else "bold red"
        yield from self.paragraph(text, style, first=f"{sign} ", rest="  ")
        for warning in report.warnings:
            yield from self.paragraph(warning, "yellow", first="! ", rest="  ")

    def who(self) -> str:
        identity, caller = self.report.explanation.identity, self.report.caller
        if identity is None:
            return ""
        arn = caller.arn if caller else identity.role
        account = None if caller else identity.account
        left = "" if identity.seconds_left is None else _left(identity.seconds_left)
        return ", ".join(filter(None, (arn, account and f"account {account}", f"key {identity.key}", left)))

    def tree(self, step: Step, above: str = "", first: str = "") -> Iterator[Line]:
        """A step, what it looked at, and the steps in it."""
        sign, style = self.signs.outcomes[step.outcome], STYLES[step.outcome]
        took = "" if step.outcome == "not asked" else f" ({_took(step.seconds)})"
        name = self.short(NAMES.get(step.name, step.name))
        yield [(first, "dim"), (f"{sign} ", style), (name, "bold"), (f"  {step.outcome}{took}", style)]
        inside = above + (self.signs.bar if step.steps else "   ")
        yield from self.looks(step.looked_at, inside)
        for text, how in self.words(step):
            yield from self.paragraph(text, how, bars=inside, rest="  ")
        for number, inner in enumerate(step.steps, 1):
            last = number == len(step.steps)
            branch = self.signs.last if last else self.signs.branch
            yield from self.tree(inner, above + ("   " if last else self.signs.bar), above + branch)

    def looks(self, looks: tuple[Look, ...], inside: str) -> Iterator[Line]:
        dots = "…" if self.signs is PRETTY else "..."
        places = [LONG_NAME.sub(rf"\1{dots}", self.short(look.place)) for look in looks]
        column = min(max(map(len, places), default=0), PLACE_WIDTH)
        for place, look in zip(places, looks, strict=True):
            room = max(self.width - len(inside) - column - 2, NARROWEST // 2)
            found = textwrap.wrap(self.short(look.found), room, break_long_words=False, break_on_hyphens=False)
            fits = len(place) <= column
            if not fits:
                yield [(inside, "dim"), (place, "cyan")]
            for number, line in enumerate(found):
                label = place if fits and not number else ""
                yield [(inside, "dim"), (f"{label:{column}}  ", "cyan"), (line, "")]

    def words(self, step: Step) -> Iterator[tuple[str, str]]:
        """What a step says about itself in a sentence."""
        if step.identity is not None and step.name != "chain":
            key, account = step.identity.key, step.identity.account
            parts = (f"key {key}", account and f"account {account}", _ends(step.identity))
            yield ", ".join(filter(None, parts)), STYLES["found"]
        error = step.error
        if error is None or isinstance(error, ChainExhausted):
            return
        told_above = _message(error) == _message(self.report.error)
        looks_say_it = all(look.found == "not set" for look in step.looked_at) and step.looked_at
        deeper = any(inner.error is not None and _message(inner.error) == _message(error) for inner in step.steps)
        if not (told_above or looks_say_it or deeper):
            yield _message(error), STYLES[step.outcome]

    def identity(self) -> Iterator[Line]:
        """Whose credentials they are."""
        identity, caller = self.report.explanation.identity, self.report.caller
        if identity is None:
            return
        ends = _ends(identity)
        if identity.seconds_left is not None and identity.may_outlive_expiry:
            ends += ", and may be used past that while the service is down"
        rows = (
            ("account", caller.account if caller else identity.account),
            ("identity", caller.arn if caller else None),
            ("role", identity.role),
            ("key", identity.key),
            ("source", identity.source),
            ("expires", ends.removeprefix("ends ").removeprefix("ended ")),
            (
                "confirmed",
                "by GetCallerIdentity"
                if caller
                else "no: GetCallerIdentity was not called (--offline)"
                if not self.report.check
                else "no",
            ),
        )
        for name, value in rows:
            if value:
                yield from self.paragraph(value, "", first=f"{name:9}  ", rest=" " * 11)


def _cause(error: CredentialsError | None, step: Step) -> str:
    if isinstance(error, ChainExhausted):
        asked = sum(inner.outcome != "not asked" for inner in step.steps)
        hints = [
            f"; {it.error}" for it in step.steps if any(TELLING.fullmatch(look.found) for look in it.looked_at)
        ]
        return f"no credentials: none of the {asked} sources has any{''.join(hints)}"
    if isinstance(error, CredentialsNotFound):
        return f"no credentials: {error}"
    return str(error)


def _message(error: CredentialsError | None) -> str:
    """What an error says, without the name of the source."""
    return "" if error is None else str(error.args[0])


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _left(seconds: float) -> str:
    return f"{_span(seconds)} left" if seconds > 0 else f"expired {_span(-seconds)} ago"


def _ends(identity: Identity) -> str:
    if identity.expiration is None or identity.seconds_left is None:
        return "no expiration known"
    left, when = identity.seconds_left, f"{identity.expiration:%Y-%m-%d %H:%M} UTC"
    return f"ends {when} (in {_span(left)})" if left > 0 else f"ended {when} ({_span(-left)} ago)"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
