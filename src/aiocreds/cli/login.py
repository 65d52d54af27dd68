"""``aiocreds login``: sign in to IAM Identity Center or as for the console, as AWS CLI does, and for it.

See https://docs.aws.amazon.com/cli/latest/userguide/cli-authentication-user.html
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiocreds._base.tracing import printable
from aiocreds.cli._common import add_profile_alone, add_session, refuse_both
from aiocreds.cli._terminal import ask_for_line, print_message, run_interruptible
from aiocreds.login import lines_of, sign_in
from aiocreds.sources._sign_in import refuse_combination

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import AsyncIterator

    from aiocreds.errors import LoginRequired
    from aiocreds.login import Prompt, SignedIn
    from aiocreds.sources._sign_in import Prompter

EXAMPLE = """\
example:
  aiocreds login dev
  aiocreds login --sso-session corp --use-device-code    # confirm a code in a browser anywhere
  aiocreds login --new me                                # make the profile, for the sign-in of the console
  aiocreds login --profile me --remote                   # paste a code from a browser on another machine

A profile with sso_session or sso_start_url is signed in to at IAM Identity Center; one with login_session, or
without credentials, as for the console, where a new profile gets its login_session; for one that is in no file,
say --new.
Exit status: 0, or 2 when nobody signed in.
"""


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = "Sign in, for this program, AWS CLI and every SDK."
    parser.epilog = EXAMPLE
    add_profile_alone(parser, otherwise="AWS_PROFILE, else default")
    add_session(parser)
    parser.add_argument(
        "--new", action="store_true", help="make the profile, if it is in no file, for the sign-in of the console"
    )
    add_browser(parser)
    parser.add_argument(
        "--remote",
        action="store_true",
        help="the browser is on another machine: paste the code that it shows, or confirm one there",
    )


def add_browser(parser: ArgumentParser) -> None:
    """Add ``--use-device-code`` and ``--no-browser`` to a command."""
    parser.add_argument(
        "--use-device-code",
        action="store_true",
        help="confirm a code in a browser anywhere; the default where this machine has none",
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")


def browser_of(arguments: Namespace) -> dict[str, Any]:
    """Return what these options say, as arguments of :func:`aiocreds.login.sign_in`."""
    return {
        "use_device_code": arguments.use_device_code or None,
        "open_browser": False if arguments.no_browser else None,
    }


def run(arguments: Namespace) -> int:
    """Sign in.

    Raises:
        CredentialsError: nobody signed in, or there is nothing to sign in to.
    """
    refuse_both(arguments.profile, arguments.sso_session)
    refuse_combination(
        given=arguments.new and bool(arguments.sso_session),
        what="--new makes a profile, and --sso-session is none",
        remedy="leave one of them out; aiocreds configure sso writes a new session",
    )
    chosen = browser_of(arguments) | {"sso_session": arguments.sso_session, "remote": arguments.remote or None}
    chosen["new"] = arguments.new
    print(_told(run_interruptible(sign_in_at_terminal(arguments.profile, **chosen))))
    return 0


async def offer(required: LoginRequired) -> None:
    """Ask the person at the terminal whether to sign in, and do it.

    Raises:
        LoginRequired: they do not want to, or have not done it.
        CredentialsError: the service failed.
    """
    given = required.sign_in
    name = given.get("sso_session") or given.get("profile") or given.get("sso_start_url") or ""
    message = str(required).removesuffix(f": run {required.command}")
    print(printable(message), file=sys.stderr)
    if not await ask_for_line(f"Press Enter to sign in to {name} (Ctrl-C stops): "):
        raise required
    print(_told(await sign_in_at_terminal(required)), file=sys.stderr)


async def sign_in_at_terminal(profile: str | LoginRequired | None = None, **given: Any) -> SignedIn:
    """Do as :func:`aiocreds.login.sign_in`, and show on stderr what to do, and how long there is left for it."""
    async with _waiting() as prompt:
        return await sign_in(profile, prompt=prompt, **given)


def _told(signed_in: SignedIn) -> str:
    end = signed_in.expiration.astimezone(UTC)
    then = "is renewed by itself from then on" if signed_in.renewable else "ends then"
    return printable(f"Signed in to {signed_in.name} until {end:%Y-%m-%d %H:%M} UTC; the sign-in {then}.")


@asynccontextmanager
async def _waiting() -> AsyncIterator[Prompter]:
    """Tell the person what to do; and on a terminal, until the block ends, how long there is left for it."""
    tasks: list[asyncio.Task[None]] = []

    async def prompt(asked: Prompt) -> str | None:
        for line in lines_of(asked):
            print(line, file=sys.stderr, flush=True)
        if asked.user_code and (picture := _qr_code(asked.url)):
            print(picture, file=sys.stderr, flush=True)
        if asked.wants_code:
            return await ask_for_line("Code: ")
        if sys.stderr.isatty() and not tasks:
            tasks.append(asyncio.create_task(_count_down(asked.until)))
        return None

    try:
        yield prompt
    finally:
        for task in tasks:
            task.cancel()
            await asyncio.wait([task])


def _qr_code(url: str) -> str:
    """Return a picture of an address for a phone; blank without segno, and where it cannot be shown."""
    if not sys.stderr.isatty() or not (sys.stderr.encoding or "").lower().startswith("utf"):
        return ""
    try:
        import segno
    except ModuleNotFoundError:
        return ""
    from io import StringIO

    picture = StringIO()
    segno.make(url, error="l", micro=False).terminal(out=picture, compact=True, border=2)
    text = picture.getvalue()
    columns = os.get_terminal_size(sys.stderr.fileno()).columns
    return text if not columns or len(text.partition("\n")[0]) < columns else ""


async def _count_down(until: datetime) -> None:
    """Show in one line of the terminal for how long the page works, and remove it at the end."""
    line = ""
    try:
        while (left := (until - datetime.now(UTC)).total_seconds()) > 0:
            line = f"waiting for the browser, {int(left) // 60}:{int(left) % 60:02} left; Ctrl-C stops"
            print(f"\r{line}", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(1)
    except OSError:
        print_message("login", "waiting for the browser")
    finally:
        print(f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)
