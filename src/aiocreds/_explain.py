"""explain(): why a provider has the credentials it has, or none, as data."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._aws.client import CLOCK
from aiocreds._base import tracing
from aiocreds._base.tracing import printable, without_password
from aiocreds._core.provider import provided_by
from aiocreds._profiles.describe import OVERRIDDEN, UNUSED
from aiocreds._profiles.files import OLDER_PROFILE, PROFILE, profile_conflict, profile_place
from aiocreds.errors import ChainExhausted, CredentialsError
from aiocreds.sources.env import TOKENS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import datetime

    from aiocreds._base.tracing import Outcome, Record
    from aiocreds._core.context import Context
    from aiocreds._core.provider import Provider
    from aiocreds._core.refresh import Clock
    from aiocreds.credentials import Credentials

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
    "shared": "shared store",
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


AGAIN = 3  # fetches that may turn out to be somebody else's


@dataclass(frozen=True, slots=True)
class Look:
    """One thing a step looked at.

    Attributes:
        place: a variable, a file with its line, a host.
        found: what was there; never a value that may be secret.
    """

    place: str
    found: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials a step brought.

    Attributes:
        key: the last four characters of the access key id.
        account: the account, where the source tells it.
        role: the role they are of, where the source knows it.
        source: the stamp of the source they come from, such as ``"ini"``.
        expiration: when the service stops accepting them; None: never.
        seconds_left: until then.
        may_outlive_expiry: whether they are used past that while their service is down.
    """

    key: str
    account: str | None
    role: str | None
    source: str | None
    expiration: datetime | None
    seconds_left: float | None
    may_outlive_expiry: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One source that was asked, or a part of it.

    Attributes:
        name: such as ``"from_ini"`` or ``"profile 'base'"``.
        outcome: "found", "nothing here" (it is not set up, and a chain goes on), "failed" or "not asked".
        seconds: how long it took, with the steps in it.
        looked_at: what it looked at, in that order.
        identity: whose credentials it brought.
        expiration: when those, or the token that it is about, end.
        seconds_left: until then.
        error: why it brought nothing.
        steps: those in it, in the order they were begun.
    """

    name: str
    outcome: Outcome
    seconds: float
    looked_at: tuple[Look, ...]
    identity: Identity | None
    expiration: datetime | None
    seconds_left: float | None
    error: CredentialsError | None
    steps: tuple[Step, ...]

    def walk(self) -> Iterator[Step]:
        """This step and all in it."""
        yield self
        for step in self.steps:
            yield from step.walk()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What :func:`explain` returns. It holds no secret.

    Attributes:
        step: what the provider did, with all that was done for it.
        warnings: what looks like a mistake although it may work: what the winner hides, regions that disagree.
    """

    step: Step
    warnings: tuple[str, ...]

    @property
    def identity(self) -> Identity | None:
        """Whose credentials the provider ends up with; None when there are none."""
        return self.step.identity

    @property
    def error(self) -> CredentialsError | None:
        """Why there are none."""
        return self.step.error

    def __str__(self) -> str:
        """The tree of the steps, as ``aiocreds explain`` draws it, and what else looks like a mistake."""
        drawing = Drawing()
        return "\n".join((plain(drawing.tree(self.step)), *(f"! {drawing.short(text)}" for text in self.warnings)))

    @property
    def winner(self) -> Step | None:
        """The member of a chain that had credentials, else the provider itself; None when nobody had."""
        return None if self.identity is None else _winner(self.step)


async def explain(provider: Provider | Callable[[], Awaitable[Credentials]]) -> Explanation:
    """Fetch once, and tell all that was looked at for it.

    ::

        explanation = await explain(default_chain())
        print(explanation)  # the tree
        for step in explanation.step.walk():
            print(step.name, step.outcome, step.looked_at)

    The source is asked, whatever is held, and what it brings is kept, as by ``provider.fetch()``. That costs what
    a fetch costs; when nobody explains, nothing is recorded. A failure is not raised but told.

    Args:
        provider: or any ``async () -> Credentials``.

    Raises:
        TypeError: it is something else.
    """
    return await explain_step_by_step(provided_by(provider, taker="explain()"), lambda _: None)


async def explain_step_by_step(provider: Provider, begun: Callable[[Record], object]) -> Explanation:
    """Explain a provider to who wants to look at it as it goes: ``begun`` is called with what will be explained."""
    record = tracing.Record(provider.name)
    for left in reversed(range(AGAIN)):
        top = tracing.Record(provider.name)
        begun(top)
        with tracing.recording(top):
            try:
                await provider.fetch()
            except CredentialsError as error:
                top.end(error=error)
        record = top.steps[-1] if top.steps else top
        if not (record.joined and left):  # a flight that was under way tells nothing: fetch anew behind it
            break
    context = provider._context  # noqa: SLF001 - one of us  # pyright: ignore[reportPrivateUsage]
    step = step_of(record, context.clock)
    return Explanation(step, tuple(dict.fromkeys(_warnings(step, context))))


def step_of(record: Record, clock: Clock) -> Step:
    """A record as data."""
    looked_at = [Look(place, found) for place, found in record.looked_at]
    inner = record.steps
    name = record.name
    if len(inner) == 1 and name in (inner[0].name, "remote"):
        within = step_of(inner[0], clock)  # one source, in a wrapping that is of no interest
        looked_at += [look for look in within.looked_at if look not in looked_at]
        name, steps = within.name, within.steps
        role = within.identity.role if within.identity else None
    else:
        steps = tuple(step_of(step, clock) for step in inner)
        role = record.role
    left = None if record.expiration is None else record.expiration.timestamp() - clock.now()
    identity = None
    if record.key is not None:
        if role is None:  # a chain knows it from its member
            role = next((it.identity.role for it in steps if it.identity and it.identity.key == record.key), None)
        identity = Identity(
            record.key, record.account, role, record.stamp, record.expiration, left, record.outlives
        )
    return Step(
        name,
        record.outcome,
        record.seconds,
        tuple(looked_at),
        identity,
        record.expiration,
        left,
        record.error,
        steps,
    )


def _winner(step: Step) -> Step:
    """The member that a chain has its credentials from; of a chain in a chain, its."""
    if step.name != "chain":
        return step
    return next((_winner(inner) for inner in step.steps if inner.outcome == "found"), step)


def _warnings(step: Step, context: Context) -> Iterator[str]:
    """What a reader should know besides."""
    asked = {inner.name: inner.outcome for inner in step.walk() if inner.outcome != "not asked"}
    unasked = {inner.name for inner in step.walk() if inner.outcome == "not asked"}
    winner = _winner(step).name if step.identity is not None else None
    variable = profile_place(context)
    profile = context.setting(variable) if variable else None
    keys = context.setting("AWS_ACCESS_KEY_ID") and context.setting("AWS_SECRET_ACCESS_KEY")
    if winner == "from_env" and profile and "from_ini" in unasked:
        yield f"the keys in AWS_ACCESS_KEY_ID hide {variable}={profile}: unset the keys to use the profile"
    if keys and "from_env" not in asked and "from_ini" in asked:
        yield "the keys in AWS_ACCESS_KEY_ID are not looked at, since a profile is named"
    token = next(filter(context.setting, TOKENS), None)
    if token and not context.setting("AWS_ACCESS_KEY_ID"):
        yield f"{token} is set, and no keys that it could belong to"
    if winner == "from_env" and any(
        look.place == TOKENS[0] and look.found != "set" for look in _winner(step).looked_at
    ):
        yield "AWS_ACCESS_KEY_ID is a temporary key (ASIA…), and AWS_SESSION_TOKEN is not set: AWS will refuse it"
    if winner is not None:
        yield from _unused(context, unasked, winner)
    yield from _overridden(step, context)
    yield from _regions(step, context)
    yield from wrong_clock(step)


def _overridden(step: Step, context: Context) -> Iterator[str]:
    """What has no effect, since something else comes first."""
    for inner in step.walk():
        for look in inner.looked_at:
            if UNUSED in look.found:
                yield f"{look.place}: {look.found}"
            if look.place == OLDER_PROFILE:
                only = f"{OLDER_PROFILE}={look.found} counts here and in boto3; most other SDKs read only {PROFILE}"
                yield profile_conflict(context) if OVERRIDDEN in look.found else only


def _unused(context: Context, unasked: set[str], winner: str) -> Iterator[str]:
    """Sources that are set up and never get their turn."""
    variables = (
        ("from_token_file", "AWS_WEB_IDENTITY_TOKEN_FILE", "the web identity"),
        ("remote", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "the container's role"),
        ("remote", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "the container's role"),
    )
    for source, variable, what in variables:
        if source in unasked and context.setting(variable):
            yield f"{variable} is set, and {what} is not used: {winner} comes before it"


def wrong_clock(step: Step) -> Iterator[str]:
    """What a service that was asked thinks of this machine's clock."""
    for inner in step.walk():
        for look in inner.looked_at:
            if look.place == CLOCK:
                yield f"{CLOCK} is {look.found}: signatures are made with the service's time; set the clock"
                return


def _regions(step: Step, context: Context) -> Iterator[str]:
    """Regions that disagree: who looks where gets another one."""
    region, default = context.setting("AWS_REGION"), context.setting("AWS_DEFAULT_REGION")
    if region and default and region != default:
        yield (
            f"AWS_REGION={region} and AWS_DEFAULT_REGION={default} disagree: the first counts here, the second in"
            " boto3"
        )
    variable, named = ("AWS_REGION", region) if region else ("AWS_DEFAULT_REGION", default)
    for inner in step.walk():
        for look in inner.looked_at:
            key, _, value = look.found.partition(" = ")
            if named and key == "region" and value != named:
                yield f"{variable}={named} overrides the profile's region {value} ({look.place})"
