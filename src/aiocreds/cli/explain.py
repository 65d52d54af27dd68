"""``aiocreds explain``: show what the default chain looks at, what it finds, and whose credentials they are."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from aiocreds._aws import sts
from aiocreds._aws.client import ClientConfig, ConfigScope, ServiceClient, region_for
from aiocreds._base import tracing
from aiocreds._base.foreground import is_asking
from aiocreds._base.time import span
from aiocreds._core.context import DEFAULT, Context
from aiocreds._explain import (
    PRETTY,
    WIDTH,
    Signs,
    Tree,
    clock_warning,
    ends,
    explain_step_by_step,
    message,
    plain,
    step_of,
    title,
)
from aiocreds._profiles import load, profile_name
from aiocreds.cli._common import add_profile, asking_for, offer_to_sign_in
from aiocreds.cli._terminal import ask_for_code, person_is_there, print_message, refuse_code, run_interruptible
from aiocreds.errors import (
    ChainExhausted,
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
)
from aiocreds.sources.default import default_chain
from aiocreds.sources.process import USUAL_TIMEOUT

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import datetime

    from aiocreds._core.provider import Provider
    from aiocreds._explain import Explanation, Identity, Line, Step
    from aiocreds.credentials import Credentials

FOUND, NONE_FOUND, BROKEN = 0, 1, 2
PROGRESS_AFTER = 1.0  # seconds
PROGRESS_INTERVAL = 0.1  # seconds
NO_REGION = "none is set: write one into the profile, or set AWS_REGION"
REMEDY = (
    "On a laptop, sign in with aiocreds login, or run aiocreds configure sso where your organization has IAM"
    " Identity Center; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. On AWS, give the instance, task or pod"
    " a role."
)
EXAMPLE = """\
example:
  aiocreds explain app
  aiocreds explain --provider myapp.aws:provider

exit status:
  0  credentials were found, and STS knows them (with --offline, or where STS does not answer: were found)
  1  no source has any
  2  a source is set up but fails, or STS does not accept what it gave

It makes the calls that a program would make, and prints no secret.
"""


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Walk the default chain as a program would, and show every source with what it\n"
        "looked at, what it found there and how long it took; which one wins, what it\n"
        "hides, and whose credentials they are."
    )
    parser.epilog = EXAMPLE
    add_profile(parser)
    parser.add_argument(
        "--provider",
        metavar="MODULE:NAME",
        help="explain what a program uses instead: a provider, an async function, or name() for what a function"
        " returns; the module is imported as by python -m",
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument(
        "--offline",
        action="store_true",
        help="do not ask STS whose credentials they are (the sources are asked all the same)",
    )


def run(arguments: Namespace) -> int:
    """Explain, and return the exit status.

    Raises:
        InvalidConfiguration: ``--provider`` names nothing that can be explained.
    """
    given: dict[str, Any] = {}
    if arguments.provider is not None:
        if arguments.profile is not None:
            raise InvalidConfiguration(
                "--provider and --profile are both given: a program chooses its profile itself"
            )
        from aiocreds.cli._loading import load_provider  # seldom needed

        given["provider"] = load_provider(arguments.provider)
    with asking_for(arguments.profile):
        report = run_interruptible(
            examine(
                arguments.profile, offline=arguments.offline, process_timeout=arguments.process_timeout, **given
            )
        )
    if arguments.json:
        print(json.dumps(report.document(), indent=2))
    else:
        at_terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if at_terminal else WIDTH
        print(report.text(width, encoding=sys.stdout.encoding, colours=at_terminal and _has_colours()))
    return report.code


async def examine(
    profile: str | None = None,
    *,
    provider: Provider | None = None,
    offline: bool = False,
    process_timeout: float = USUAL_TIMEOUT,
    context: Context = DEFAULT,
) -> Report:
    """Fetch from a provider or the default chain, and unless ``offline`` ask STS about the credentials."""
    default = provider is None
    if provider is None:
        mfa_code = ask_for_code if sys.stdin.isatty() else refuse_code
        provider = default_chain(
            profile,
            mfa_code=mfa_code,
            process_timeout=process_timeout,
            # Without anybody to ask, a hook would have the tree show each sign-in that has ended twice.
            sign_in=offer_to_sign_in if context is DEFAULT and person_is_there() else None,
            context=context,
        )
    else:
        context = provider._context  # noqa: SLF001 - one of us  # pyright: ignore[reportPrivateUsage]
    with _warnings() as logged:
        async with context, _progress() as watch:
            explanation = await explain_step_by_step(provider, watch)
            caller = check = None
            if explanation.identity is not None and not offline:
                caller, check = await _caller(await provider(), profile, context, watch)
            region = await _region(profile, context)
    return Report(explanation, caller, check, context.home_folder(), tuple(logged), region, default)


class Region(NamedTuple):
    """A region, and the variable or ``file:line`` that sets it."""

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class Report:
    """The report that is shown.

    Attributes:
        explanation: of the chain.
        caller: the identity behind the credentials, as STS says.
        check: the call of STS; None when there was none.
        home: the folder that ``~`` stands for.
        logged: what the library warned of meanwhile.
        region: of clients; with an empty name when none is set, None when nothing can be read.
        default: the default chain is explained, not a provider of a program.
    """

    explanation: Explanation
    caller: sts.Caller | None
    check: Step | None
    home: str
    logged: tuple[str, ...] = ()
    region: Region | None = None
    default: bool = True

    @property
    def error(self) -> CredentialsError | None:
        """The error of the chain, else that of STS about the credentials."""
        if self.explanation.error is None and self.check is not None and self.unchecked is None:
            return self.check.error
        return self.explanation.error

    @property
    def unchecked(self) -> SourceUnavailable | None:
        """The error when STS gave no answer."""
        error = self.check and self.check.error
        return error if isinstance(error, SourceUnavailable) else None

    @property
    def warnings(self) -> list[str]:
        """The warnings: what looks like a mistake although it may work."""
        found = [*self.explanation.warnings, *self.logged]
        if self.unchecked is not None:
            found.append(f"whose credentials they are is not confirmed: {self.unchecked}")
        if self.check is not None:
            found += clock_warning(self.check)
        return list(dict.fromkeys(found))

    @property
    def code(self) -> int:
        """The exit status."""
        if self.error is None:
            return FOUND
        return NONE_FOUND if isinstance(self.error, CredentialsNotFound) else BROKEN

    def text(self, width: int, *, encoding: str | None = "utf-8", colours: bool = False) -> str:
        """Return the report as a person reads it."""
        lines = _draw(self, width, encoding=encoding)
        return "\n".join(map(_coloured, lines)) if colours else plain(lines)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON. ``version`` changes when a field goes or changes its meaning."""
        winner = self.explanation.winner
        return {
            "version": 1,
            "exit_status": self.code,
            "winner": None if winner is None else winner.name,
            "identity": _identity(self.explanation.identity),
            "caller": None if self.caller is None else self.caller._asdict(),
            "region": self.region._asdict() if self.region is not None and self.region.name else None,
            "error": _error(self.error),
            "warnings": self.warnings,
            "step": _step(self.explanation.step),
            "check": None if self.check is None else _step(self.check),
        }


# Collecting the report.


async def _caller(
    credentials: Credentials, profile: str | None, context: Context, watch: Callable[[tracing.Record], None]
) -> tuple[sts.Caller | None, Step]:
    """Return the identity behind the credentials, as STS says, and the record of the call."""
    record, caller = tracing.Record("GetCallerIdentity"), None
    watch(record)
    with tracing.recording(record):
        try:
            config = await load(context, needed=False)
            scope = ConfigScope(context, config, config.profile(profile_name(context, profile)))
            client = ClientConfig()
            service = ServiceClient("sts", client, scope, region_for(client, scope))
            caller = await sts.get_caller_identity(service, credentials)
            record.end()
        except CredentialsError as error:
            record.end(error=error)
    return caller, step_of(record, context.clock)


async def _region(profile: str | None, context: Context) -> Region | None:
    """Return the region that clients use; None when the shared files cannot be read."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if region := context.setting(variable):
            return Region(region, variable)
    try:
        section = (await load(context)).profile(profile_name(context, profile))
    except CredentialsError:
        return None
    if section is not None and (region := section.get("region")):
        return Region(region, section.where("region"))
    return Region("", "")


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings that the library logs, for the report."""
    logged: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != "aiocreds.sources.default":  # an explanation has the same warning
                logged.append(record.getMessage())

    logger, collector = logging.getLogger("aiocreds"), Collector(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield logged
    finally:
        logger.removeHandler(collector)


@asynccontextmanager
async def _progress() -> AsyncIterator[Callable[[tracing.Record], None]]:
    """Print at a terminal what is waited for, after a second without news."""
    records: list[tracing.Record] = []

    async def report() -> None:
        loop = asyncio.get_running_loop()
        last, since = "", loop.time()
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            if is_asking():  # the cursor is behind a prompt
                since = loop.time()
            if not records or loop.time() - since < PROGRESS_AFTER:
                continue
            step = records[-1].under_way()
            where = title(step.name) + (f", {step.events[-1].place}" if step.events else "")
            if where != last:
                print_message("explain", f"waiting for {where}; Ctrl-C stops")
                last, since = where, loop.time()

    task = asyncio.create_task(report()) if sys.stderr.isatty() else None
    try:
        yield records.append
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


# As JSON.


def _step(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "outcome": step.outcome,
        "seconds": round(step.seconds, 6),
        "looked_at": [{"place": look.place, "found": look.found} for look in step.looked_at],
        "identity": _identity(step.identity),
        "expiration": _when(step.expiration),
        "seconds_left": step.seconds_left,
        "error": _error(step.error),
        "steps": [_step(inner) for inner in step.steps],
    }


def _identity(identity: Identity | None) -> dict[str, Any] | None:
    if identity is None:
        return None
    return {
        "key": identity.key,
        "account": identity.account,
        "role": identity.role,
        "source": identity.source,
        "expiration": _when(identity.expiration),
        "seconds_left": identity.seconds_left,
        "may_outlive_expiry": identity.may_outlive_expiry,
    }


def _error(error: CredentialsError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    document: dict[str, Any] = {
        "type": type(error).__name__,
        "provider": error.provider,
        "message": str(error),
        "code": None,
        "command": None,
        "notes": list(getattr(error, "__notes__", ())),
    }
    if isinstance(error, ServiceRefused):
        document["code"] = error.code or None
    elif isinstance(error, LoginRequired):
        document["command"] = error.command or None
    return document


def _when(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


# As text.

ASCII = Signs("|- ", "`- ", "|  ", "...", {"found": "+", "nothing here": "-", "failed": "x", "not asked": "o"})
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def _draw(report: Report, width: int, *, encoding: str | None) -> Iterator[Line]:
    """Draw the report, line by line; what is wrong comes first."""
    drawing = _Drawing(report, width, encoding)
    yield from drawing.verdict()
    yield []
    yield from drawing.lines(report.explanation.step)
    if report.check is not None:
        yield from drawing.lines(report.check)
    if rows := list(drawing.rows()):
        yield []
        yield from rows


class _Drawing(Tree):
    """The tree of the command: with ``~``, in characters that the terminal has, without errors shown above."""

    def __init__(self, report: Report, width: int, encoding: str | None) -> None:
        super().__init__(width, _signs_in(encoding))
        self.report = report
        self.home = report.home.rstrip("/\\")

    def shown(self, text: str) -> str:
        text = super().shown(text)
        if self.home:
            text = text.replace(f"{self.home}/", "~/")
        if self.signs is PRETTY:
            return text
        return text.replace("…", "...").replace("→", "->").encode("ascii", "replace").decode()

    def title(self, step: Step, *, outermost: bool) -> str:
        if step.name == "chain" and outermost and self.report.default:
            return "default chain"
        return super().title(step, outermost=outermost)

    def is_known(self, error: CredentialsError) -> bool:
        above = self.report.error or self.report.unchecked
        return message(error) == message(above)

    def verdict(self) -> Iterator[Line]:
        """Draw the error or the winner, and the warnings."""
        report, error = self.report, self.report.error
        identity, winner = report.explanation.identity, report.explanation.winner
        sign = self.signs.outcomes["found" if error is None else "failed"]
        if error is None and identity is not None and winner is not None:
            text = f"{title(winner.name)} wins: {self._owner()}"
        elif identity is not None and winner is not None:
            trouble = (
                "STS does not accept them" if isinstance(error, ServiceRefused) else "they could not be checked"
            )
            text = f"{title(winner.name)} has credentials ({identity.key}), but {trouble}: {error}"
        else:
            text = _cause(error, report.explanation.step)
        style = "bold green" if error is None else "bold red"
        yield from self.paragraph(text, style, first=f"{sign} ", rest="  ")
        if report.default and isinstance(error, ChainExhausted) and not _is_set_up(report.explanation.step):
            yield from self.paragraph(REMEDY, "", first="  ", rest="  ")
        for warning in report.warnings:
            yield from self.paragraph(warning, "yellow", first="! ", rest="  ")

    def rows(self) -> Iterator[Line]:
        """Draw whose credentials they are, and the region that goes with them."""
        identity, caller, region = self.report.explanation.identity, self.report.caller, self.report.region
        found: list[tuple[str, str | None]] = []
        if identity is not None:
            when = ends(identity)
            if identity.seconds_left is not None and identity.may_outlive_expiry:
                when += ", and may be used past that while the service is down"
            found += [
                ("account", caller.account if caller else identity.account),
                ("identity", caller.arn if caller else None),
                ("role", identity.role),
                ("key", identity.key),
                ("source", identity.source),
                ("expires", when.removeprefix("ends ").removeprefix("ended ")),
            ]
        if region is not None:
            found.append(("region", f"{region.name} ({region.place})" if region.name else NO_REGION))
        if identity is not None:
            unasked = "no: GetCallerIdentity was not called (--offline)" if not self.report.check else "no"
            found.append(("confirmed", "by GetCallerIdentity" if caller else unasked))
        for name, value in found:
            if value:
                yield from self.paragraph(value, "", first=f"{name:9}  ", rest=" " * 11)

    def _owner(self) -> str:
        identity, caller = self.report.explanation.identity, self.report.caller
        if identity is None:
            return ""
        arn = caller.arn if caller else identity.role
        account = None if caller else identity.account
        seconds, left = identity.seconds_left, ""
        if seconds is not None:
            left = f"{span(seconds)} left" if seconds > 0 else f"expired {span(-seconds)} ago"
        return ", ".join(filter(None, (arn, account and f"account {account}", f"key {identity.key}", left)))


def _cause(error: CredentialsError | None, step: Step) -> str:
    if isinstance(error, ChainExhausted):
        asked = sum(inner.outcome != "not asked" for inner in step.steps)
        return f"no credentials: none of the {asked} sources has any{''.join(_hints(step))}"
    if isinstance(error, CredentialsNotFound):
        return f"no credentials: {_with_source(error)}"
    return "" if error is None else _with_source(error)


def _hints(step: Step) -> list[str]:
    """Return the errors of sources that found something, but no credentials."""
    return [f"; {_with_source(it.error)}" for it in step.steps if it.error is not None and _found_something(it)]


def _is_set_up(step: Step) -> bool:
    """Return whether any source found something, other than a proxy or the like at EC2's address."""
    return any(_found_something(it) and "other server" not in _kinds(it) for it in step.steps)


def _found_something(step: Step) -> bool:
    return bool({"answer", "profiles"} & _kinds(step))


def _kinds(step: Step) -> set[str]:
    """Return the kinds of events that a step met, but for files without a profile."""
    events = (event for look in step.looked_at for event in look.events)
    return {event.kind for event in events if (event.kind, event.value) != ("profiles", "0")}


def _with_source(error: CredentialsError) -> str:
    """Return what an error says, with its source in plain words."""
    return f"{title(error.provider)}: {message(error)}" if error.provider else str(error)


def _signs_in(encoding: str | None) -> Signs:
    """Return the signs that an encoding has."""
    try:
        "├─└│✓✗·○…→".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return PRETTY


def _has_colours() -> bool:
    """Return whether to use colours, see https://no-color.org."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.platform != "win32" or "WT_SESSION" in os.environ  # older consoles would print the codes


def _coloured(line: Line) -> str:
    """Return a line with its styles as escape sequences."""
    return "".join(
        f"\x1b[{';'.join(CODES[word] for word in style.split())}m{text}\x1b[0m" if style and text.strip() else text
        for text, style in line
    )
