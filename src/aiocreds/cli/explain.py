"""``aiocreds explain``: what the default chain looks at, what it finds, and whose credentials they are."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiocreds import trace
from aiocreds.aws import sts
from aiocreds.aws.client import ClientConfig, ServiceClient, Surroundings, region_for
from aiocreds.cli.drawing import draw
from aiocreds.cli.handing import add_profile, asking_for
from aiocreds.cli.terminal import ask_for_code, complain, nobody, run_to_end
from aiocreds.config import load, profile_name
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import (
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
)
from aiocreds.explanation import Explanation, Identity, Look, Step, explain_step_by_step, step_of, wrong_clock
from aiocreds.foreground import is_asking
from aiocreds.sources.default import default_chain
from aiocreds.sources.process import USUAL_TIMEOUT
from aiocreds.tree import WIDTH, plain, title

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import datetime

    from aiocreds.credentials import Credentials
    from aiocreds.provider import Provider

FOUND, NONE_FOUND, BROKEN = 0, 1, 2
SILENCE = 1.0  # seconds after which a person wants to know what is going on
LOOKED_AT = 0.1  # seconds from one look at that to the next

EXAMPLE = """\
example:
  aiocreds explain app
  aiocreds explain --provider myapp.aws:provider

exit status:
  0  credentials were found, and STS knows them (with --offline: were found)
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
        from aiocreds.cli.loading import load_provider  # programs of one's own are few

        given["provider"] = load_provider(arguments.provider)
    with asking_for(arguments.profile):
        report = run_to_end(
            examine(
                arguments.profile, offline=arguments.offline, process_timeout=arguments.process_timeout, **given
            )
        )
    if arguments.json:
        print(json.dumps(report.document(), indent=2))
    elif sys.stdout.isatty():
        report.show(shutil.get_terminal_size().columns)
    else:
        print(report.text(WIDTH, encoding=sys.stdout.encoding))
    return report.code


async def examine(
    profile: str | None = None,
    *,
    provider: Provider | None = None,
    offline: bool = False,
    process_timeout: float = USUAL_TIMEOUT,
    context: Context = DEFAULT,
) -> Report:
    """Walk a provider or the default chain, and unless ``offline`` ask STS about what it brought."""
    default = provider is None
    if provider is None:
        mfa_code = ask_for_code if sys.stdin.isatty() else nobody
        provider = default_chain(profile, mfa_code=mfa_code, process_timeout=process_timeout, context=context)
    else:
        context = provider._context  # noqa: SLF001 - one of us  # pyright: ignore[reportPrivateUsage]
    with _listening() as logged:
        async with context, _telling_who_is_asked() as watch:
            explanation = await explain_step_by_step(provider, watch)
            caller = check = None
            if explanation.identity is not None and not offline:
                caller, check = await _caller(await provider(), profile, context, watch)
            region = await _region(profile, context)
    return Report(explanation, caller, check, context.home_folder(), tuple(logged), region, default)


@asynccontextmanager
async def _telling_who_is_asked() -> AsyncIterator[Callable[[trace.Record], None]]:
    """Tell a person who looks at an empty terminal for a second whom the record that is given waits for."""
    records: list[trace.Record] = []

    async def tell() -> None:
        loop = asyncio.get_running_loop()
        last, since = "", loop.time()
        while True:
            await asyncio.sleep(LOOKED_AT)
            if is_asking():  # and the cursor stands behind the question
                since = loop.time()
            if not records or loop.time() - since < SILENCE:
                continue
            step = records[-1].under_way()
            who = title(step.name) + (f", {step.looked_at[-1][0]}" if step.looked_at else "")
            if who != last:
                complain("explain", f"waiting for {who}; Ctrl-C stops")
                last, since = who, loop.time()

    task = asyncio.create_task(tell()) if sys.stderr.isatty() else None
    try:
        yield records.append
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


async def _region(profile: str | None, context: Context) -> Look | None:
    """The region that clients use, and where it is from; None when nobody can tell."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if region := context.setting(variable):
            return Look(variable, region)
    try:
        section = (await load(context)).profile(profile_name(context, profile))
    except CredentialsError:
        return None
    if section is not None and (region := section.get("region")):
        return Look(section.where("region"), region)
    return Look("", "")


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what the library warns of in the log, to be shown in its place."""
    logged: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != "aiocreds.sources.default":  # what it warns of, an explanation says, too
                logged.append(record.getMessage())

    logger, listener = logging.getLogger("aiocreds"), Listener(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield logged
    finally:
        logger.removeHandler(listener)


async def _caller(
    credentials: Credentials, profile: str | None, context: Context, watch: Callable[[trace.Record], None]
) -> tuple[sts.Caller | None, Step]:
    """Whose credentials they are, as STS says, and how that went."""
    record, caller = trace.Record("GetCallerIdentity"), None
    watch(record)
    with trace.recording(record):
        try:
            config = await load(context, needed=False)
            around = Surroundings(context, config, config.profile(profile_name(context, profile)))
            client = ClientConfig()
            service = ServiceClient("sts", client, around, region_for(client, around))
            caller = await sts.get_caller_identity(service, credentials)
            record.end()
        except CredentialsError as error:
            record.end(error=error)
    return caller, step_of(record, context.clock)


@dataclass(frozen=True, slots=True)
class Report:
    """What is shown.

    Attributes:
        explanation: of the chain.
        caller: whose credentials they are, as STS says.
        check: how asking STS went; None when it was not asked.
        home: the folder that ``~`` stands for.
        logged: what the library warned of meanwhile.
        region: where clients look for services, and what says so; None when nobody can tell.
        default: whether it is the default chain that is explained.
    """

    explanation: Explanation
    caller: sts.Caller | None
    check: Step | None
    home: str
    logged: tuple[str, ...] = ()
    region: Look | None = None
    default: bool = True

    @property
    def error(self) -> CredentialsError | None:
        """What is wrong."""
        if self.explanation.error is None and self.check is not None:
            return self.check.error
        return self.explanation.error

    @property
    def warnings(self) -> list[str]:
        """What looks like a mistake although it may work."""
        found = list(dict.fromkeys((*self.explanation.warnings, *self.logged)))
        return found + [text for text in wrong_clock(self.check) if text not in found] if self.check else found

    @property
    def code(self) -> int:
        """The exit status."""
        if self.error is None:
            return FOUND
        return NONE_FOUND if isinstance(self.error, CredentialsNotFound) else BROKEN

    def text(self, width: int, *, encoding: str | None = "utf-8") -> str:
        """The report as plain text."""
        return plain(draw(self, width, encoding=encoding))

    def show(self, width: int) -> None:
        """Draw the report on a terminal."""
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError:
            print(self.text(width, encoding=sys.stdout.encoding))
            return
        console = Console(highlight=False, soft_wrap=True)
        for line in draw(self, width, encoding=sys.stdout.encoding):
            console.print(Text.assemble(*line))

    def document(self) -> dict[str, Any]:
        """The report as JSON. ``version`` changes when a field goes or changes its meaning."""
        winner = self.explanation.winner
        return {
            "version": 1,
            "exit_status": self.code,
            "winner": None if winner is None else winner.name,
            "identity": _identity(self.explanation.identity),
            "caller": None if self.caller is None else self.caller._asdict(),
            "region": {"name": self.region.found, "place": self.region.place}
            if self.region is not None and self.region.found
            else None,
            "error": _error(self.error),
            "warnings": self.warnings,
            "step": _step(self.explanation.step),
            "check": None if self.check is None else _step(self.check),
        }


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
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "provider": error.provider,
        "message": str(error),
        "code": None,
        "command": None,
        "notes": list(getattr(error, "__notes__", ())),
    }
    if isinstance(error, ServiceRefused):
        told["code"] = error.code or None
    elif isinstance(error, LoginRequired):
        told["command"] = error.command or None
    return told


def _when(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
