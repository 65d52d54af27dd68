"""explain(): why a provider has the credentials it has, or none, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiocreds import trace
from aiocreds.aws.client import CLOCK
from aiocreds.config.files import OLDER_PROFILE, PROFILE, profile_conflict, profile_place
from aiocreds.config.telling import OVERRIDDEN, UNUSED
from aiocreds.errors import CredentialsError
from aiocreds.provider import provided_by
from aiocreds.sources.env import TOKENS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import datetime

    from aiocreds.context import Context
    from aiocreds.credentials import Credentials
    from aiocreds.provider import Provider
    from aiocreds.refresh import Clock
    from aiocreds.trace import Outcome, Record

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
        from aiocreds.tree import Drawing, plain  # for those who print it

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
    record = trace.Record(provider.name)
    for left in reversed(range(AGAIN)):
        top = trace.Record(provider.name)
        begun(top)
        with trace.recording(top):
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
