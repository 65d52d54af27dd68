"""How the steps of an explanation look: a tree of lines, which are styled pieces of text."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from aiocreds.errors import ChainExhausted, CredentialsError
from aiocreds.trace import printable, without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocreds.explanation import Identity, Look, Step
    from aiocreds.trace import Outcome

Line = list[tuple[str, str]]  # pieces of text, each with its style

WIDTH = 100  # columns, where there is no terminal that has another number
PLACE_WIDTH = 44  # columns at most, for where something was found
NARROWEST = 60
STYLES: dict[Outcome, str] = {"found": "green", "nothing here": "dim", "failed": "red", "not asked": "dim"}
NAMES = {  # in the words of people who have never seen the function of that name
    "from_cognito_identity": "Cognito identity",
    "from_cognito_identity_pool": "Cognito identity pool",
    "from_container_metadata": "container agent",
    "from_env": "environment",
    "from_http": "HTTP endpoint",
    "from_ini": "shared files",
    "from_instance_metadata": "EC2 instance metadata",
    "from_login": "sign-in of aws login",
    "from_process": "credential process",
    "from_sso": "IAM Identity Center",
    "from_temporary_credentials": "assumed role",
    "from_token_file": "web identity",
    "from_web_token": "web identity",
}
LONG_NAME = re.compile(r"\b([0-9a-f]{4})[0-9a-f]{36,60}(?=\.json\b)")  # that of a cached sign-in


class Signs(NamedTuple):
    """What the tree is drawn with."""

    branch: str
    last: str
    bar: str
    outcomes: dict[Outcome, str]


PRETTY = Signs("├─ ", "└─ ", "│  ", {"found": "✓", "nothing here": "·", "failed": "✗", "not asked": "○"})
ASCII = Signs("|- ", "`- ", "|  ", {"found": "+", "nothing here": "-", "failed": "x", "not asked": "o"})


def signs_in(encoding: str | None) -> Signs:
    """The signs that an encoding has."""
    try:
        "├─└│✓✗·○…→".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return PRETTY


def title(name: str) -> str:
    """What a source is called: in plain words, with the name of its function."""
    if name == "remote":
        return "container or instance"
    return f"{NAMES[name]} ({name})" if name in NAMES else name


def plain(lines: Iterator[Line]) -> str:
    """Lines as text without styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


class Drawing:
    """Draws steps.

    Args:
        width: columns.
        signs: what to draw with.
        home: the folder that ``~`` stands for; empty to write it out.
        above: the error that is told above the tree, and so not again in it.
        chain: what the outermost chain is called.
    """

    def __init__(
        self,
        width: int = WIDTH,
        signs: Signs = PRETTY,
        *,
        home: str = "",
        above: CredentialsError | None = None,
        chain: str = "chain",
    ) -> None:
        self.width = max(width, NARROWEST)
        self.signs = signs
        self.home = home.rstrip("/\\")
        self.above = above
        self.chain = chain

    def short(self, text: str) -> str:
        """A text as it is shown: with ``~``, and without passwords and what would steer a terminal."""
        text = without_password(printable(text))
        if self.home:
            text = text.replace(f"{self.home}/", "~/")
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

    def tree(self, step: Step, above: str = "", first: str = "") -> Iterator[Line]:
        """A step, what it looked at, and the steps in it."""
        sign, style = self.signs.outcomes[step.outcome], STYLES[step.outcome]
        took = "" if step.outcome == "not asked" else f" ({duration(step.seconds)})"
        outermost = step.name == "chain" and not first
        name = self.short(self.chain if outermost else title(step.name))
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
        """What a step looked at, in two columns."""
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
            parts = (f"key {key}", account and f"account {account}", ends(step.identity))
            yield ", ".join(filter(None, parts)), STYLES["found"]
        error = step.error
        if error is None or isinstance(error, ChainExhausted):
            return
        told_above = message(error) == message(self.above)
        looks_say_it = all(look.found == "not set" for look in step.looked_at) and step.looked_at
        deeper = any(inner.error is not None and message(inner.error) == message(error) for inner in step.steps)
        if not (told_above or looks_say_it or deeper):
            yield message(error), STYLES[step.outcome]


def message(error: CredentialsError | None) -> str:
    """What an error says, without the name of the source."""
    return "" if error is None else str(error.args[0])


def duration(seconds: float) -> str:
    """How long something took."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def left_of(seconds: float) -> str:
    """How long something is still good, or has not been."""
    return f"{_span(seconds)} left" if seconds > 0 else f"expired {_span(-seconds)} ago"


def ends(identity: Identity) -> str:
    """When credentials end or ended."""
    if identity.expiration is None or identity.seconds_left is None:
        return "no expiration known"
    left, when = identity.seconds_left, f"{identity.expiration:%Y-%m-%d %H:%M} UTC"
    return f"ends {when} (in {_span(left)})" if left > 0 else f"ended {when} ({_span(-left)} ago)"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
