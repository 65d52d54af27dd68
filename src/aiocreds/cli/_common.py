"""Options, providers and variables that several commands share."""

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
DELIVERY_TIME = timedelta(seconds=0.5)  # until a client has an answer, which `serve` keeps for a while
FOLDER_TIMEOUT = 10.0  # seconds; a person would rather wait for a slow disk than type another code
PROFILE_CHAIN = "_AWS_CLI_PROFILE_CHAIN"  # AWS CLI's name for it, so that a circle through both is found
MAX_DEPTH = 4
SERVE_PREFIX = "aiocreds-"  # of the tokens of `serve`, so that it knows its token files
LONE_SURROGATE = "[\ud800-\udc7f\udd00-\udfff]"  # but for those that stand for bytes of the environment


class CircularProcess(InvalidConfiguration):
    """A ``credential_process`` asks for the very credentials that it is to give."""

    asked_itself = True


def add_profile(parser: ArgumentParser, *, several: bool = False) -> None:
    """Add ``--profile``, which may also be positional, and ``--process-timeout`` to a command."""
    add_profile_alone(parser, several=several)
    _add_process_timeout(parser)


def add_profile_alone(
    parser: ArgumentParser, *, several: bool = False, otherwise: str = "the chain decides, as in a program"
) -> None:
    """Add ``--profile``, which may also be positional, to a command.

    Args:
        parser: of the command.
        several: it may be given several times.
        otherwise: what happens without it, for the help.
    """
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


def add_shared(parser: ArgumentParser) -> None:
    """Give a command its ``--shared``."""
    parser.add_argument(
        "--shared",
        metavar="FOLDER",
        help="share the credentials with other processes of this user through this folder, which is made for it:"
        " one fetches, and asks for the MFA code, for all",
    )


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
    """Return the profiles of the shared files, for completion."""
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

    A variable lists the profiles that are being asked; processes that are started meanwhile inherit it.

    Raises:
        CircularProcess: a process above this one asks for the same.
    """
    name = "+".join(profile_name(DEFAULT, profile, warn=False) for profile in profiles or (None,))
    files = os.pathsep.join(filter(None, map(DEFAULT.setting, (CONFIG_FILE, CREDENTIALS_FILE))))
    if files:  # the same name in other files is another profile
        name += f"@{crc32(os.fsencode(files)):08x}"
    inherited = os.environ.get(PROFILE_CHAIN, "")
    before = [one for one in inherited.split(",") if one]
    if name in before or len(before) >= MAX_DEPTH:
        raise CircularProcess(
            f"credential_process goes round in a circle, or too deep: {' → '.join([*before, name])};"
            " have one of these profiles hold credentials itself"
        )
    os.environ[PROFILE_CHAIN] = ",".join([*before, name])
    try:
        yield
    finally:
        if inherited:
            os.environ[PROFILE_CHAIN] = inherited
        else:
            del os.environ[PROFILE_CHAIN]


def provider_of(
    profile: str | None,
    *,
    process_timeout: float = USUAL_TIMEOUT,
    mfa_code: MfaCode | None = None,
    folder: str | None = None,
    sign_in: SignInHook | None = None,
) -> Provider:
    """Return the default chain, shared through a folder if one is given; a person is asked for MFA codes."""
    chain = default_chain(
        profile, process_timeout=process_timeout, mfa_code=mfa_code or ask_for_code, sign_in=sign_in
    )
    if folder is None:
        return chain
    from aiocreds._shared.provider import shared  # most commands share nothing

    return shared(chain, store=folder, timeout=FOLDER_TIMEOUT)


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
    """Return credentials, and log them at DEBUG."""
    credentials = await provider()
    logger.debug("found %r", credentials)
    return credentials


async def region_of(profile: str | None) -> str | None:
    """Return the region for clients: that of a profile named here, the environment's, the profile's."""
    context = DEFAULT
    from_environ = context.setting("AWS_REGION") or context.setting("AWS_DEFAULT_REGION")
    if from_environ and not profile:
        return from_environ
    section = (await load(context, needed=False)).profile(profile_name(context, profile))
    return (section and section.get("region")) or from_environ


def expiration_for_clients(credentials: Credentials) -> datetime | None:
    """Return the expiration for a client, which refuses one that is past.

    A provider may serve credentials past theirs: while their service is down, or when this machine's clock is
    wrong. With one ten minutes ahead, clients use them, and ask again after that.
    """
    if credentials.expiration is None:
        return None
    now, expiration = datetime.now(UTC), credentials.expiration
    on_delivery = now
    if credentials.may_outlive_expiry:
        # Clients get whole seconds. Nothing is subtracted from an expiration, which may be in the year 1.
        expiration, on_delivery = expiration.replace(microsecond=0), now + DELIVERY_TIME
    return credentials.expiration if expiration > on_delivery else now + AHEAD


def iso(time: datetime) -> str:
    """Return a time in UTC as AWS writes it."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def variables(credentials: Credentials) -> dict[str, SecretStr]:
    """Return the credentials as environment variables; those without a value are empty.

    Raises:
        InvalidConfiguration: a value holds half a character, which no environment can.
    """
    expiration = expiration_for_clients(credentials)
    named = {
        "AWS_ACCESS_KEY_ID": SecretStr(credentials.access_key_id),
        "AWS_SECRET_ACCESS_KEY": SecretStr(credentials.secret_access_key),
        "AWS_SESSION_TOKEN": SecretStr(credentials.session_token or ""),
        "AWS_CREDENTIAL_EXPIRATION": SecretStr(iso(expiration) if expiration else ""),
        "AWS_ACCOUNT_ID": SecretStr(credentials.account_id or ""),
        "AWS_CREDENTIAL_SCOPE": SecretStr(credentials.credential_scope or ""),
        "AWS_SECURITY_TOKEN": SecretStr(),  # botocore takes it for the token, whatever AWS_SESSION_TOKEN says
    }
    if unfit := next((name for name, value in named.items() if re.search(LONE_SURROGATE, value)), None):
        raise InvalidConfiguration(
            f"the value for {unfit} holds half a character (a lone surrogate), which no environment variable can:"
            " look at where the credentials come from"
        )
    return named
