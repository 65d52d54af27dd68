"""Shared by the commands that hand credentials over."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zlib import crc32

from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import time_limit
from aiocreds._base.tracing import printable
from aiocreds._core.context import DEFAULT
from aiocreds._profiles import load, profile_name
from aiocreds._profiles.files import CONFIG_FILE, CREDENTIALS_FILE
from aiocreds.cli._terminal import ask_for_code, person_is_there
from aiocreds.errors import InvalidConfiguration
from aiocreds.sources.default import default_chain
from aiocreds.sources.process import USUAL_TIMEOUT

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Callable, Iterable, Iterator

    from aiocreds._core.provider import Provider
    from aiocreds._profiles import SharedConfig
    from aiocreds.credentials import Credentials
    from aiocreds.errors import LoginRequired
    from aiocreds.sources._sign_in import SignInHook
    from aiocreds.sources.assume_role import MfaCode

logger = logging.getLogger("aiocreds.cli")

AHEAD = timedelta(minutes=10)
ON_ITS_WAY = timedelta(seconds=0.5)  # to the client; the time that answers are kept is in it
ASKED_BEFORE = "_AWS_CLI_PROFILE_CHAIN"  # the name that AWS CLI uses: a circle through both is found as well
DEEPEST = 4
MADE_HERE = "aiocreds-"  # how a token of `serve` begins, so that its file is known again
NO_TEXT = "[\ud800-\udc7f\udd00-\udfff]"  # the others stand for bytes of the environment


class Circle(InvalidConfiguration):
    """A ``credential_process`` asks for the very credentials that it is to give."""

    asked_itself = True


def add_profile(parser: ArgumentParser, *, several: bool = False) -> None:
    """Give a command its ``--profile``, also written without that word, and its ``--process-timeout``."""
    add_profile_alone(parser, several=several)
    _add_process_timeout(parser)


def add_profile_alone(
    parser: ArgumentParser, *, several: bool = False, otherwise: str = "the chain decides, as in a program"
) -> None:
    """Give a command its ``--profile``; ``otherwise`` is what happens without it."""
    option: Action = parser.add_argument(
        "-p",
        "--profile",
        metavar="P",
        action="append" if several else "store",
        default=[] if several else None,
        help="the profile to use" + ("; may be given several times" if several else f"; by default {otherwise}"),
    )
    named: Action = parser.add_argument(
        "named", metavar="PROFILE", nargs="*" if several else "?", help="the same as --profile PROFILE"
    )
    for one in (option, named):
        complete_with(one, profile_names)


def add_session(parser: ArgumentParser) -> None:
    """Give a command its ``--sso-session``."""
    option = parser.add_argument(
        "--sso-session", metavar="S", help="an [sso-session S] of the config file, in the place of a profile"
    )
    complete_with(option, session_names)


def refuse_both(profile: str | None, session: str | None) -> None:
    """Check that only one of profile and session is given.

    Raises:
        InvalidConfiguration: both are.
    """
    if profile is not None and session is not None:
        raise InvalidConfiguration(f"profile {profile!r} and --sso-session are both given: give one of them")


def complete_with(option: Action, names: Callable[..., list[str]]) -> None:
    """Have a shell complete an option with these names."""
    setattr(option, "completer", names)  # noqa: B010 - argcomplete's own way, which argparse's types do not know


def _add_process_timeout(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--process-timeout",
        metavar="S",
        type=_time_limit,
        default=USUAL_TIMEOUT,
        help="seconds that a credential_process may take; by default %(default)g",
    )


def _time_limit(text: str) -> float:
    from argparse import ArgumentTypeError  # loaded by the caller

    try:
        return time_limit(float(text), "it")
    except (ValueError, InvalidConfiguration):
        raise ArgumentTypeError(f"{printable(repr(text))} is no time: give seconds, such as 60") from None


def profile_names(**_: Any) -> list[str]:
    """The profiles of the shared files, for completion."""
    return _names(lambda config: config.profiles)


def session_names(**_: Any) -> list[str]:
    """The sessions of the config file, for completion."""
    return _names(lambda config: config.sso_sessions)


def _names(sections: Callable[[SharedConfig], Iterable[str]]) -> list[str]:
    async def names() -> list[str]:
        return list(sections(await load(DEFAULT)))

    try:
        return asyncio.run(names())
    except InvalidConfiguration:
        return []


@contextmanager
def asking_for(*profiles: str | None) -> Iterator[None]:
    """Stop a ``credential_process`` that asks for itself, which would start processes without end.

    The environment tells what is being asked for; the processes that are started meanwhile inherit it.

    Raises:
        Circle: this is asked for what it is asking.
    """
    name = "+".join(profile_name(DEFAULT, profile, warn=False) for profile in profiles or (None,))
    files = os.pathsep.join(filter(None, map(DEFAULT.setting, (CONFIG_FILE, CREDENTIALS_FILE))))
    if files:  # the same name in other files is another profile
        name += f"@{crc32(os.fsencode(files)):08x}"
    inherited = os.environ.get(ASKED_BEFORE, "")
    before = [one for one in inherited.split(",") if one]
    if name in before or len(before) >= DEEPEST:
        raise Circle(
            f"credential_process goes round in a circle, or too deep: {' → '.join([*before, name])};"
            " have one of these profiles hold credentials itself"
        )
    os.environ[ASKED_BEFORE] = ",".join([*before, name])
    try:
        yield
    finally:
        if inherited:
            os.environ[ASKED_BEFORE] = inherited
        else:
            del os.environ[ASKED_BEFORE]


def provider_of(
    profile: str | None,
    *,
    process_timeout: float = USUAL_TIMEOUT,
    mfa_code: MfaCode | None = None,
    sign_in: SignInHook | None = None,
) -> Provider:
    """Return the credentials a program would get; a person at the terminal is asked for MFA codes."""
    return default_chain(
        profile, process_timeout=process_timeout, mfa_code=mfa_code or ask_for_code, sign_in=sign_in
    )


async def offer_to_sign_in(required: LoginRequired) -> None:
    """Offer a person at the terminal to sign in.

    Raises:
        LoginRequired: there is none, or they do not want to, or have not done it.
    """
    if not person_is_there() or not required.sign_in:
        raise required
    from aiocreds.cli.login import offer  # where a person has to sign in

    await offer(required)


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
    section = (await load(context, needed=False)).profile(profile_name(context, profile))
    return (section and section.get("region")) or from_environ


def told_expiration(credentials: Credentials) -> datetime | None:
    """The expiration to tell to a client, which refuses one that is past.

    A provider hands out credentials past theirs when they may outlive it while their service is down, or when
    this machine's clock is wrong: with one ten minutes ahead, clients use them, and come back for better ones.
    """
    if credentials.expiration is None:
        return None
    now, expiration = datetime.now(UTC), credentials.expiration
    on_its_way = now
    if credentials.may_outlive_expiry:
        # Whole seconds are what is told. Nothing is taken from an expiration: it may be the year 1.
        expiration, on_its_way = expiration.replace(microsecond=0), now + ON_ITS_WAY
    return credentials.expiration if expiration > on_its_way else now + AHEAD


def iso(time: datetime) -> str:
    """A time in UTC as AWS writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def variables(credentials: Credentials) -> dict[str, SecretStr]:
    """The credentials as environment variables; empty are those that they have no value for.

    Raises:
        InvalidConfiguration: a value holds half a character, which no environment can.
    """
    expiration = told_expiration(credentials)
    named = {
        "AWS_ACCESS_KEY_ID": SecretStr(credentials.access_key_id),
        "AWS_SECRET_ACCESS_KEY": SecretStr(credentials.secret_access_key),
        "AWS_SESSION_TOKEN": SecretStr(credentials.session_token or ""),
        "AWS_CREDENTIAL_EXPIRATION": SecretStr(iso(expiration) if expiration else ""),
        "AWS_ACCOUNT_ID": SecretStr(credentials.account_id or ""),
        "AWS_CREDENTIAL_SCOPE": SecretStr(credentials.credential_scope or ""),
        "AWS_SECURITY_TOKEN": SecretStr(),  # botocore takes it for the token, whatever AWS_SESSION_TOKEN says
    }
    if unfit := next((name for name, value in named.items() if re.search(NO_TEXT, value)), None):
        raise InvalidConfiguration(
            f"the value for {unfit} holds half a character (a lone surrogate), which no environment variable can:"
            " look at where the credentials come from"
        )
    return named
