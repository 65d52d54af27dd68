"""Get credentials from a program that prints them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiocreds._base import subprocess, tracing
from aiocreds._base.json_credentials import PROCESS, parse_credentials, parse_object
from aiocreds._base.paths import expand_user
from aiocreds._base.time import time_limit
from aiocreds._core.context import DEFAULT, Context, profile_place
from aiocreds._core.decorator import picklable
from aiocreds._core.provider import Provider
from aiocreds._core.singleflight import Unattended, attended
from aiocreds._profiles import Section, Setting, load, profile_name
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds.credentials import Credentials

SHELL_SIGNS = ("|", "&", ";", "<", ">", "$", "`")
SHELL_HINT = "it looks like a shell command, and none is used: write sh -c '…'"
LONGEST_NAME = 100  # characters of a program's name in messages
USUAL_TIMEOUT = 60.0  # seconds
ASKED_ITSELF = 3  # of the command `aiocreds` that is asked for the credentials that it needs itself
ASKS_FOR_ITSELF = "asks for the very credentials that it is to give"
BY_HAND = "run it by hand and look at what it prints"


class AskedItself(SourceUnavailable):
    """Raised for a credential process that is ``aiocreds`` and needs the credentials that it should print."""

    asked_itself = True


@picklable
def from_process(
    profile: str | None = None,
    *,
    command: str | None = None,
    credentials_file: str | None = None,
    config_file: str | None = None,
    timeout: float | timedelta = USUAL_TIMEOUT,
    context: Context = DEFAULT,
) -> Provider:
    """Get the credentials that a program prints on its standard output as JSON, ``Version`` 1.

    ::

        [profile app]
        credential_process = /opt/bin/vend-credentials --role app

    The command is split by the platform's rules and run without a shell; ``~`` in its first word is the home
    folder. It is killed with its children after ``timeout`` or when the last waiter of a first load leaves.

    It may ask a person, such as for an MFA code: while a caller waits it has this process's terminal, one program
    at a time. Behind callers a program that is known to ask is not run. Its standard input is the terminal, or
    empty where there is none.

    Args:
        profile: by default ``AWS_PROFILE``, ``AWS_DEFAULT_PROFILE``, else ``default``; the key read is
            ``credential_process``.
        command: the command itself, instead of a profile's.
        credentials_file: by default ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        timeout: seconds the program may take.
        context: the environment, which the program inherits, and the home folder.

    Raises:
        CredentialsNotFound: the profile has no ``credential_process``.
        InvalidConfiguration: a profile that was named is missing, or the command cannot be started.
        SourceUnavailable: the program failed (``.exit_status``, ``.stderr``), took too long or printed
            something else.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
    """
    time_limit(timeout, "timeout")

    async def fetch() -> Credentials:
        if command is not None:
            return await run_credential_process(
                command, place="command", timeout=timeout, more_time="timeout=", context=context
            )
        config = await load(context, credentials_file=credentials_file, config_file=config_file)
        section = config.required(profile_name(context, profile), profile_place(context, profile))
        if section is None or not section.get("credential_process"):
            raise CredentialsNotFound(f"profile {profile_name(context, profile)!r} has no credential_process")
        return await run_profile_process(section, timeout=timeout, more_time="timeout=", context=context)

    return Provider(fetch, name="from_process", context=context)


async def run_profile_process(
    section: Section,
    *,
    timeout: float | timedelta,
    more_time: str = "process_timeout=, or --process-timeout of the command",
    context: Context,
) -> Credentials:
    """Run the ``credential_process`` of a profile that has one; ``more_time`` says how to allow it more."""
    command = section.setting("credential_process") or Setting("", "credential_process")
    return await run_credential_process(
        command.value,
        place=command.place,
        account_id=section.get("aws_account_id"),
        timeout=timeout,
        more_time=more_time,
        context=context,
    )


async def run_credential_process(
    command: str,
    *,
    place: str,
    timeout: float | timedelta,
    more_time: str,
    context: Context,
    account_id: str | None = None,
) -> Credentials:
    """Run a command and read the credentials it prints.

    Args:
        command: the command line.
        place: what messages call it.
        timeout: that it may take.
        more_time: how to allow more, for messages.
        context: the environment, the home folder, and which commands are known to ask a person.
        account_id: of the credentials, where the program prints none.
    """
    seconds = time_limit(timeout, more_time.partition("=")[0])
    asking: set[int] = context.cached("commands that ask", set[int])  # by their hashes
    if hash(command) in asking and not attended():
        raise Unattended
    words = subprocess.split_command(command, place=place)
    words[0] = expand_user(words[0], context.home_folder, place=place)
    name = _shown_name(words[0])
    origin = f"{place}: {name}"
    shell = words[1:2] != ["-c"] and ("=" in words[0] or any(sign in command for sign in SHELL_SIGNS))
    tracing.note(place, name, kind="starts")
    try:
        ended = await subprocess.run(
            words,
            context.environ,
            origin=origin,
            seconds=seconds,
            more_time=more_time,
            attended=attended,
            asks=lambda: asking.add(hash(command)),
        )
    except (OSError, ValueError) as error:
        remedy = SHELL_HINT if shell else "check the path and that it may be executed"
        raise InvalidConfiguration(f"{origin} {subprocess.why_not_started(error)}; {remedy}") from None
    if ended.asked:
        tracing.note(place, kind="prompted")
    if ended.declined:
        raise Unattended
    tracing.note(place, str(len(ended.stdout)), kind="exited", key=str(ended.status))
    if status := ended.status:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        if ended.interrupted:
            how = "was interrupted at the terminal"
        remedy = SHELL_HINT if shell else "run it by hand to see why"
        if status == ASKED_ITSELF and ended.stderr.startswith(b"aiocreds "):
            how = ASKS_FOR_ITSELF
            remedy = "have one of the profiles on its way hold credentials itself"
        if hash(command) in asking and not ended.terminal:
            remedy = "it has asked at the terminal before, and has none now: run this anew in the foreground of one"
        kind = AskedItself if how == ASKS_FOR_ITSELF else SourceUnavailable
        raise kind(
            f"{origin} {how}; {remedy}",
            exit_status=status,
            stderr=bytes(ended.stderr),
        )
    version = parse_object(ended.stdout, origin=origin, remedy=SHELL_HINT if shell else BY_HAND).get("Version")
    if isinstance(version, bool) or version != 1:  # some languages print 1.0
        raise SourceUnavailable(
            f'{origin} printed JSON without "Version": 1, which is the only one known; {BY_HAND}'
        )
    return parse_credentials(
        ended.stdout,
        provider="process",
        origin=origin,
        remedy=BY_HAND,
        now=context.clock.now(),
        names=PROCESS,
        may_outlive_expiry=False,
        account_id=account_id,
    )


def _shown_name(word: str) -> str:
    """Return the name of a program for messages.

    Text after an equals sign, which was meant for a shell, or after a NUL may be a secret.
    """
    name = os.path.basename(word.partition("=")[0].partition("\0")[0])  # noqa: PTH119 - pathlib is slow to load
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
