"""What the commands that hand credentials over share."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiocreds.config import load, profile_name
from aiocreds.context import DEFAULT
from aiocreds.errors import InvalidConfiguration
from aiocreds.hidden import Text
from aiocreds.sources.default import default_chain

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser

    from aiocreds.credentials import Credentials
    from aiocreds.provider import Provider
    from aiocreds.sources.assume_role import MfaCode

logger = logging.getLogger("aiocreds.cli")

AHEAD = timedelta(minutes=10)
ON_ITS_WAY = timedelta(seconds=0.5)  # to the client; the time that answers are kept is in it


def add_profile(parser: ArgumentParser, *, several: bool = False) -> None:
    """Give a command its ``--profile``."""
    option: Action = parser.add_argument(
        "--profile",
        metavar="P",
        action="append" if several else "store",
        default=[] if several else None,
        help="the profile to use"
        + ("; may be given several times" if several else "; by default the chain decides, as in a program"),
    )
    setattr(option, "completer", profile_names)  # noqa: B010 - argcomplete's own way, which argparse's types do not know


def profile_names(**_: Any) -> list[str]:
    """The profiles of the shared files, for completion."""

    async def names() -> list[str]:
        return list((await load(DEFAULT)).profiles)

    try:
        return asyncio.run(names())
    except InvalidConfiguration:
        return []


def provider_of(profile: str | None, *, mfa_code: MfaCode | None = None) -> Provider:
    """What a program would get; a person who sits at the terminal is asked for MFA codes."""
    return default_chain(profile, mfa_code=mfa_code or ask_for_code)


async def fetch(provider: Provider) -> Credentials:
    """Credentials, and a line about them for ``--debug``."""
    credentials = await provider()
    logger.debug("found %r", credentials)
    return credentials


async def region_of(profile: str | None) -> str | None:
    """The region that goes with the credentials: a named profile's own, the environment's, the profile's."""
    context = DEFAULT
    from_environ = context.setting("AWS_REGION") or context.setting("AWS_DEFAULT_REGION")
    if from_environ and not profile:
        return from_environ
    section = (await load(context)).profile(profile_name(context, profile))
    return (section and section.get("region")) or from_environ


def told_expiration(credentials: Credentials) -> datetime | None:
    """The expiration to tell to a client, which refuses one that is past.

    A provider hands out credentials past theirs when they may outlive it while their service is down, or when
    this machine's clock is wrong: with one ten minutes ahead, clients use them, and come back for better ones.
    """
    if credentials.expiration is None:
        return None
    now, expiration = datetime.now(UTC), credentials.expiration
    if credentials.may_outlive_expiry:
        expiration = expiration.replace(microsecond=0) - ON_ITS_WAY  # whole seconds are what is told
    return credentials.expiration if expiration > now else now + AHEAD


def iso(time: datetime) -> str:
    """A time in UTC as AWS writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def variables(credentials: Credentials) -> dict[str, Text]:
    """The credentials as environment variables."""
    expiration = told_expiration(credentials)
    named = {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "AWS_CREDENTIAL_EXPIRATION": expiration and iso(expiration),
        "AWS_ACCOUNT_ID": credentials.account_id,
        "AWS_CREDENTIAL_SCOPE": credentials.credential_scope,
    }
    return {name: Text(value) for name, value in named.items() if value}


async def ask_for_code(serial_number: str) -> str:
    """Ask the person at the terminal for the MFA code of a device. Shown as it is typed: it works only once.

    Raises:
        InvalidConfiguration: there is no terminal.
    """
    from threading import Thread  # few profiles want a code

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def give(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def ask() -> None:
        try:
            line = _ask(f"MFA code of {serial_number}: ")
        except OSError:
            line = ""
        loop.call_soon_threadsafe(give, line)

    Thread(target=ask, daemon=True).start()  # not a worker's, which asyncio would wait for after a Ctrl-C
    if not (code := (await answer).strip()):
        raise InvalidConfiguration(
            f"an MFA code of {serial_number} is needed, and nobody at a terminal gave one: run this at a terminal"
        )
    return code


def _ask(prompt: str) -> str:
    """A line from the terminal, wherever stdin and stdout lead to."""
    ears, mouth = ("CONIN$", "CONOUT$") if sys.platform == "win32" else ("/dev/tty", "/dev/tty")
    with open(mouth, "w") as out, open(ears) as terminal:  # noqa: PTH123 - devices
        out.write(prompt)
        out.flush()
        return terminal.readline()
