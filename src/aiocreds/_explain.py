"""Explain why a provider has the credentials it has, or none: as data, and as the tree that `str()` draws."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._base import tracing
from aiocreds._base.time import span
from aiocreds._base.tracing import printable, without_password
from aiocreds._core.context import OLDER_PROFILE, PROFILE, profile_place
from aiocreds._core.decorator import as_provider
from aiocreds._profiles.files import profile_conflict
from aiocreds.errors import ChainExhausted, CredentialsError
from aiocreds.sources.env import TOKENS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from datetime import datetime

    from aiocreds._base.tracing import Event, Outcome, Record
    from aiocreds._core.context import Context
    from aiocreds._core.provider import Provider
    from aiocreds._core.refresh import Clock
    from aiocreds.credentials import Credentials

ATTEMPTS = 3  # at a fetch that is not another caller's
WIDTH = 100  # columns, without a terminal
PLACE_WIDTH = 44  # columns at most, for places
NARROWEST = 60
STYLES: dict[Outcome, str] = {"found": "green", "nothing here": "dim", "failed": "red", "not asked": "dim"}
NAMES = {  # for readers who do not know the functions
    "from_cognito_identity": "Cognito identity",
    "from_cognito_identity_pool": "Cognito identity pool",
    "from_container_metadata": "container agent",
    "from_env": "environment",
    "from_http": "HTTP endpoint",
    "from_ini": "shared files",
    "from_instance_metadata": "EC2 instance metadata",
    "from_login": "sign-in of aws login",
    "from_process": "credential process",
    "from_roles_anywhere": "IAM Roles Anywhere",
    "from_sso": "IAM Identity Center",
    "from_temporary_credentials": "assumed role",
    "from_token_file": "web identity",
    "from_web_token": "web identity",
    "shared": "shared store",
}
CACHED_TOKEN = re.compile(r"\b([0-9a-f]{4})[0-9a-f]{36,60}(?=\.json\b)")  # a file name


async def explain(provider: Provider | Callable[[], Awaitable[Credentials]]) -> Explanation:
    """Fetch once, and return all that was looked at for it.

    ::

        explanation = await explain(default_chain())
        print(explanation)  # the tree
        for step in explanation.step.walk():
            print(step.name, step.outcome, step.looked_at)

    The source is asked, whatever is held, and what it brings is kept, as by ``provider.fetch()``. That costs what
    a fetch costs; when nobody explains, nothing is recorded. A failure is not raised but part of the explanation.

    Args:
        provider: or any ``async () -> Credentials``.

    Raises:
        TypeError: it is something else.
    """
    return await explain_step_by_step(as_provider(provider, taker="explain()"), lambda _: None)


async def explain_step_by_step(provider: Provider, begun: Callable[[Record], object]) -> Explanation:
    """Explain a provider; ``begun`` is called with the record before it fills."""
    record = tracing.Record(provider.name)
    for left in reversed(range(ATTEMPTS)):
        top = tracing.Record(provider.name)
        begun(top)
        with tracing.recording(top):
            try:
                await provider.fetch()
            except CredentialsError as error:
                top.end(error=error)
        record = top.steps[-1] if top.steps else top
        if not (record.joined and left):  # a fetch that was under way has recorded nothing: fetch anew after it
            break
    context = provider._context  # noqa: SLF001 - one of us  # pyright: ignore[reportPrivateUsage]
    step = step_of(record, context.clock)
    return Explanation(step, tuple(dict.fromkeys(_warnings(step, context))))


@dataclass(frozen=True, slots=True)
class Explanation:
    """The result of :func:`explain`. It holds no secret.

    Attributes:
        step: what the provider did, with all that was done for it.
        warnings: what looks like a mistake although it may work: what the winner hides, regions that disagree.
    """

    step: Step
    warnings: tuple[str, ...]

    @property
    def identity(self) -> Identity | None:
        """The owner of the credentials that the provider ends up with; None when there are none."""
        return self.step.identity

    @property
    def error(self) -> CredentialsError | None:
        """The error, where there are none."""
        return self.step.error

    @property
    def winner(self) -> Step | None:
        """The member of a chain that had credentials, else the provider itself; None when none had."""
        return None if self.identity is None else _winner(self.step)

    def __str__(self) -> str:
        """The tree of the steps, as ``aiocreds explain`` draws it, and what else looks like a mistake."""
        tree = Tree()
        return "\n".join((plain(tree.lines(self.step)), *(f"! {tree.shown(text)}" for text in self.warnings)))


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
        """Iterate over this step and all in it."""
        yield self
        for step in self.steps:
            yield from step.walk()

    def events(self) -> Iterator[Event]:
        """Iterate over what this step and all in it recorded."""
        for step in self.walk():
            for look in step.looked_at:
                yield from look.events


@dataclass(frozen=True, slots=True)
class Look:
    """One thing a step looked at.

    Attributes:
        place: a variable, a file with its line, a host.
        events: what happened there; never a value that may be secret.
    """

    place: str
    events: tuple[Event, ...]

    @property
    def found(self) -> str:
        """The events in words."""
        return ", ".join(map(words, self.events))


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of the credentials that a step brought.

    Attributes:
        key: the last four characters of the access key id.
        account: the account, where the source gives it.
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


# From records to data.


def step_of(record: Record, clock: Clock) -> Step:
    """Return a record as data."""
    looked_at = [Look(place, tuple(events)) for place, events in groupby(record.events, attrgetter("place"))]
    inner = record.steps
    name = record.name
    if len(inner) == 1 and name in (inner[0].name, "remote"):
        within = step_of(inner[0], clock)  # the outer step adds nothing
        looked_at += [look for look in within.looked_at if look not in looked_at]
        name, steps = within.name, within.steps
        role = within.identity.role if within.identity else None
    else:
        steps = tuple(step_of(step, clock) for step in inner)
        role = record.role
    left = None if record.expiration is None else record.expiration.timestamp() - clock.now()
    identity = None
    if record.key is not None:
        if role is None:  # a chain has that of its member
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
    """Return the member that gave a chain its credentials; of a chain in a chain, the inner member."""
    if step.name != "chain":
        return step
    return next((_winner(inner) for inner in step.steps if inner.outcome == "found"), step)


def _warnings(step: Step, context: Context) -> Iterator[str]:
    """Return what looks like a mistake although it may work."""
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
    if winner == "from_env" and any(event.kind == "required" for event in _winner(step).events()):
        yield "AWS_ACCESS_KEY_ID is a temporary key (ASIA…), and AWS_SESSION_TOKEN is not set: AWS will refuse it"
    if winner is not None:
        yield from _unused(context, unasked, winner)
    yield from _overridden(step, context)
    yield from _regions(step, context)
    yield from clock_warning(step)


def _unused(context: Context, unasked: set[str], winner: str) -> Iterator[str]:
    """Return the sources that are configured and not asked, since another comes before them."""
    variables = (
        ("from_token_file", "AWS_WEB_IDENTITY_TOKEN_FILE", "the web identity"),
        ("remote", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "the container's role"),
        ("remote", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "the container's role"),
    )
    for source, variable, what in variables:
        if source in unasked and context.setting(variable):
            yield f"{variable} is set, and {what} is not used: {winner} comes before it"


def _overridden(step: Step, context: Context) -> Iterator[str]:
    """Return the settings that have no effect, since another one wins."""
    for event in step.events():
        if event.kind != "setting":
            continue
        if event.place == OLDER_PROFILE:
            only = f"{OLDER_PROFILE}={event.value} counts here and in boto3; most other SDKs read only {PROFILE}"
            yield profile_conflict(context) if event.overridden_by else only
        elif event.overridden_by:
            yield f"{event.place}: {words(event)}"


def _regions(step: Step, context: Context) -> Iterator[str]:
    """Return regions that disagree, so that other programs may use another one."""
    region, default = context.setting("AWS_REGION"), context.setting("AWS_DEFAULT_REGION")
    if region and default and region != default:
        yield (
            f"AWS_REGION={region} and AWS_DEFAULT_REGION={default} disagree: the first counts here, the second in"
            " boto3"
        )
    variable, named = ("AWS_REGION", region) if region else ("AWS_DEFAULT_REGION", default)
    for event in step.events():
        if named and event.key == "region" and event.value != named:
            yield f"{variable}={named} overrides the profile's region {event.value} ({event.place})"


def clock_warning(step: Step) -> Iterator[str]:
    """Return the warning that a service's clock and this machine's disagree."""
    for event in step.events():
        if event.kind == "clock":
            yield f"{event.place} is {words(event)}: signatures are made with the service's time; set the clock"
            return


# From data to words.


def words(event: Event) -> str:
    """Return an event in words, without its place."""
    value, key = event.value or "", event.key
    if event.kind == "setting":
        return _setting(event)
    if event.kind in ("answer", "no answer"):
        said = f"answered {value}" if event.kind == "answer" else value
        return f"{said} ({(event.seconds or 0) * 1000:.0f} ms{key and f', attempt {key}'})"
    if event.kind == "profiles":
        some = f"{value} profile{'' if value == '1' else 's'}"
        return "no such file, or no profile in it" if value == "0" else some
    if event.kind == "section":
        return f"[{value}]" if (key, value) == ("profile", "default") else f"[{key} {value}]"
    if event.kind == "service":
        return f"{key} in {value}{event.overridden_by and f' ({event.overridden_by})'}"
    if event.kind == "clock":
        return f"{value.removeprefix('-')} s {'ahead of' if value.startswith('-') else 'behind'} {key}'s"
    return WORDS[event.kind].format(value=value, key=key)


WORDS = {  # of the other kinds
    "required": "not set, and the key is one of those that need it",
    "switched off": "set: this source is switched off",
    "missing": "not there",
    "empty": "empty",
    "token": "a token",
    "token without end": "a token that does not say when it ends",
    "claim": "{key} {value}",
    "token end": "ending at {value}",
    "asked": "asked for {value}",
    "other server": "which is something else, such as a proxy",
    "starts": "runs {value}",
    "prompted": "which asked at the terminal",
    "exited": "which ended with {key} and printed {value} bytes",
    "held": "kept from an earlier fetch",
    "ends": "ends at {value}",
    "ended": "ended at {value}",
    "renewed": "renewed until {value}",
    "winner": "{value} gave the credentials that are held: it alone is asked",
    "note": "{value}",
}


def _setting(event: Event) -> str:
    key, value = event.key, event.value
    if event.overridden_by:
        if value:
            return f"{value}, which counts only where {event.overridden_by} is not set"
        return f"{key} is not used: {event.overridden_by} comes first".lstrip()
    if value is None:
        return "not set"
    if not key:
        return value or "set"
    return f"{key} = {value}" if value else f"{key} is set"


def title(name: str) -> str:
    """Return the name of a source in plain words, with that of its function."""
    if name == "remote":
        return "container or instance"
    return f"{NAMES[name]} ({name})" if name in NAMES else name


def message(error: CredentialsError | None) -> str:
    """Return the text of an error without the name of the source."""
    return "" if error is None else str(error.args[0])


def duration(seconds: float) -> str:
    """Return a short time in words."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def ends(identity: Identity) -> str:
    """Return in words when credentials end or ended."""
    if identity.expiration is None or identity.seconds_left is None:
        return "no expiration known"
    left, when = identity.seconds_left, f"{identity.expiration:%Y-%m-%d %H:%M} UTC"
    return f"ends {when} (in {span(left)})" if left > 0 else f"ended {when} ({span(-left)} ago)"


# From data to a tree.

Line = list[tuple[str, str]]  # pieces of text, each with its style


class Signs(NamedTuple):
    """The characters of a tree."""

    branch: str
    last: str
    bar: str
    dots: str
    outcomes: dict[Outcome, str]


PRETTY = Signs("├─ ", "└─ ", "│  ", "…", {"found": "✓", "nothing here": "·", "failed": "✗", "not asked": "○"})


def plain(lines: Iterable[Line]) -> str:
    """Return lines as text without styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


class Tree:
    """Draws steps as a tree.

    Args:
        width: columns.
        signs: what to draw with.
    """

    def __init__(self, width: int = WIDTH, signs: Signs = PRETTY) -> None:
        self.width = max(width, NARROWEST)
        self.signs = signs

    def shown(self, text: str) -> str:
        """Return a text without passwords and control characters."""
        return without_password(printable(text))

    def title(self, step: Step, *, outermost: bool) -> str:
        """Return the name of a step."""
        return title(step.name)

    def is_known(self, error: CredentialsError) -> bool:
        """Return whether an error has been shown already."""
        return False

    def lines(self, step: Step, above: str = "", first: str = "") -> Iterator[Line]:
        """Draw a step, what it looked at, and the steps in it."""
        sign, style = self.signs.outcomes[step.outcome], STYLES[step.outcome]
        took = "" if step.outcome == "not asked" else f" ({duration(step.seconds)})"
        name = self.shown(self.title(step, outermost=not first))
        yield [(first, "dim"), (f"{sign} ", style), (name, "bold"), (f"  {step.outcome}{took}", style)]
        inside = above + (self.signs.bar if step.steps else "   ")
        yield from self._looks(step.looked_at, inside)
        for text, how in self._sentences(step):
            yield from self.paragraph(text, how, bars=inside, rest="  ")
        for number, inner in enumerate(step.steps, 1):
            last = number == len(step.steps)
            branch = self.signs.last if last else self.signs.branch
            yield from self.lines(inner, above + ("   " if last else self.signs.bar), above + branch)

    def paragraph(
        self, text: str, style: str, *, first: str = "", rest: str = "", bars: str = ""
    ) -> Iterator[Line]:
        """Draw a text within the margins; ``bars`` come before each of its lines, and keep their own style."""
        lines = textwrap.wrap(
            self.shown(text),
            self.width - len(bars),
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            yield [(bars, "dim"), (line, style)]

    def _looks(self, looks: tuple[Look, ...], inside: str) -> Iterator[Line]:
        """Draw what a step looked at, in two columns."""
        places = [CACHED_TOKEN.sub(rf"\1{self.signs.dots}", self.shown(look.place)) for look in looks]
        column = min(max(map(len, places), default=0), PLACE_WIDTH)
        for place, look in zip(places, looks, strict=True):
            room = max(self.width - len(inside) - column - 2, NARROWEST // 2)
            found = textwrap.wrap(self.shown(look.found), room, break_long_words=False, break_on_hyphens=False)
            fits = len(place) <= column
            if not fits:
                yield [(inside, "dim"), (place, "cyan")]
            for number, line in enumerate(found):
                label = place if fits and not number else ""
                yield [(inside, "dim"), (f"{label:{column}}  ", "cyan"), (line, "")]

    def _sentences(self, step: Step) -> Iterator[tuple[str, str]]:
        """Return the identity and the error of a step in sentences, each with its style."""
        if step.identity is not None and step.name != "chain":
            key, account = step.identity.key, step.identity.account
            parts = (f"key {key}", account and f"account {account}", ends(step.identity))
            yield ", ".join(filter(None, parts)), STYLES["found"]
        error = step.error
        if error is None or isinstance(error, ChainExhausted):
            return
        looks_say_it = step.looked_at and all(
            event.kind == "setting" and event.value is None for look in step.looked_at for event in look.events
        )
        deeper = any(inner.error is not None and message(inner.error) == message(error) for inner in step.steps)
        if not (self.is_known(error) or looks_say_it or deeper):
            yield message(error), STYLES[step.outcome]
