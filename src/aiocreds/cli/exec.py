"""``aiocreds exec``: run a command with credentials, or with an endpoint of its own that refreshes them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aiocreds._base import threads
from aiocreds._base.foreground import leave_terminal
from aiocreds._core.context import DEFAULT
from aiocreds._profiles import load
from aiocreds._profiles.files import CONFIG_FILE, CREDENTIALS_FILE
from aiocreds._token_cache import program_end
from aiocreds.cli._common import (
    ASKED_BEFORE,
    add_profile,
    asking_for,
    fetch,
    offer_to_sign_in,
    provider_of,
    region_of,
    variables,
)
from aiocreds.cli._terminal import (
    ask_for_code,
    caught,
    complain,
    in_front,
    numbers_of,
    point_to_explain,
    run_to_end,
)
from aiocreds.errors import CredentialsError, InvalidConfiguration, with_notes
from aiocreds.sources.container import FULL_URI, TOKEN

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from aiocreds.errors import LoginRequired

EXAMPLE = """\
example:
  aiocreds exec dev -- aws s3 ls
  aiocreds exec --profile dev --server -- python train.py     # runs for longer than the credentials live

The command replaces this one, so that signals and its exit status pass through; with --server they are passed on.
What AWS variables of yours name other credentials or another profile is removed.
Exit status: the command's; 125 (no credentials), 126 (the command cannot be run), 127 (there is none such).
"""
FAILED, NOT_RUNNABLE, NO_SUCH_COMMAND = 125, 126, 127  # as env, nohup and timeout have it
USAGE = 2

OTHER_PROFILES_FILE = "AWS_CREDENTIAL_PROFILES_FILE"  # as version 1 of the SDK for Java names the credentials file
LEAKS = frozenset(
    (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_ACCESS_KEY",  # this and the next two: older SDKs read them still
        "AWS_SECRET_KEY",
        "AWS_CREDENTIAL_FILE",
        "AWS_SESSION_EXPIRATION",
        "AMAZON_ACCESS_KEY_ID",  # this and the next two: the SDK for Ruby asks them before a container
        "AMAZON_SECRET_ACCESS_KEY",
        "AMAZON_SESSION_TOKEN",
        OTHER_PROFILES_FILE,
        "AWS_CREDENTIAL_EXPIRATION",
        "AWS_CREDENTIAL_SCOPE",
        "AWS_ACCOUNT_ID",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "BOTO_CONFIG",  # boto's own file of keys, which botocore reads before it asks a container
    )
)
CREDENTIAL_KEYS = (
    "aws_access_key_id",
    "aws_secret_access_key",
    "role_arn",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "sso_role_name",
    "sso_region",
    "login_session",
    "credential_process",
    "web_identity_token_file",
)  # any of them makes a profile one with credentials
PASSED_ON = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT")
FROM_THE_KEYBOARD = ("SIGINT", "SIGQUIT")  # a terminal sends these to the command itself


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.usage = "%(prog)s [-h] [--debug] [--region R] [--server] [[-p] PROFILE] -- COMMAND ..."
    parser.description = "Run a command with credentials in its environment."
    parser.epilog = EXAMPLE
    add_profile(parser)
    parser.add_argument("--region", metavar="R", help="by default the profile's, else that of your environment")
    parser.add_argument(
        "--server",
        action="store_true",
        help="serve the credentials on a private endpoint instead, so that they stay fresh while the command runs",
    )


def run(arguments: Namespace) -> int:
    """Run the command; without ``--server``, on POSIX, this does not return."""
    if not arguments.words:
        meant = (
            f"{arguments.named}, or aiocreds exec {arguments.named} -- COMMAND ..."
            if arguments.named
            else "COMMAND ..."
        )
        complain("exec", f"no command: write aiocreds exec -- {meant}")
        return USAGE
    try:
        with asking_for(arguments.profile):
            if arguments.server or sys.platform == "win32":
                return run_to_end(_beside(arguments))
            environ = run_to_end(_environment(arguments))
        return _become(arguments.words, environ)
    except CredentialsError as error:
        complain("exec", with_notes(error))
        point_to_explain("exec", error, arguments.profile)
        return FAILED


def cleaned(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what names credentials or a profile.

    Of who asks for what, it tells what was so before: a command may be part of a circle as well.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name not in LEAKS and not name.startswith("AWS_BEARER_TOKEN_")  # which SDKs prefer to keys
    }
    asked_before = kept.pop(ASKED_BEFORE, "").rpartition(",")[0]
    return {**kept, ASKED_BEFORE: asked_before} if asked_before else kept


async def _environment(arguments: Namespace) -> dict[str, str]:
    provider = provider_of(arguments.profile, process_timeout=arguments.process_timeout, sign_in=offer_to_sign_in)
    credentials = await fetch(provider)
    keys = {name: value for name, value in variables(credentials).items() if value}
    return {**cleaned(os.environ), **keys, **await _region(arguments)}


async def _region(arguments: Namespace) -> dict[str, str]:
    region = arguments.region or await region_of(arguments.profile)
    return {"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {}


def _become(words: list[str], environ: dict[str, str]) -> int:
    """Replace this process by the command."""
    program_end.wait()
    sys.stdout.flush()
    sys.stderr.flush()
    for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)  # Python ignores them, and that would be inherited
    try:
        os.execvpe(words[0], words, environ)  # noqa: S606 - what the command is for
    except (OSError, ValueError) as error:
        return _not_started(words[0], error)


def _not_started(command: str, error: OSError | ValueError) -> int:
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    reason = "command not found" if missing else getattr(error, "strerror", None) or str(error)
    complain("exec", f"{command}: {reason}")
    return NO_SUCH_COMMAND if missing else NOT_RUNNABLE


async def _beside(arguments: Namespace) -> int:
    """Run the command beside this process, which serves it."""
    if not arguments.server:  # on Windows, where no process becomes another
        return await _child(arguments.words, await _environment(arguments))
    from aiocreds.cli._endpoint import Endpoint  # with it comes aiohttp

    running = False

    async def code(serial_number: str) -> str:
        if running:
            raise InvalidConfiguration(
                f"a new MFA code of {serial_number} is needed, and the command has the terminal: start it again"
            )
        return await ask_for_code(serial_number)

    async def sign_in(required: LoginRequired) -> None:
        if running:
            raise required
        await offer_to_sign_in(required)

    provider = provider_of(
        arguments.profile, process_timeout=arguments.process_timeout, mfa_code=code, sign_in=sign_in
    )
    async with Endpoint({"/": provider}) as endpoint:
        await fetch(provider)
        environ = {
            **cleaned(os.environ),
            **await _region(arguments),
            **await _without_default_profile(),
            "BOTO_CONFIG": os.devnull,  # else botocore looks into ~/.boto, before it asks us
            FULL_URI: endpoint.urls[0],
            TOKEN: endpoint.token,
        }
        running = True
        leave_terminal()  # to the command
        return await _child(arguments.words, environ)


async def _without_default_profile() -> dict[str, str]:
    """Variables that hide the shared files, if a ``default`` profile in them has credentials.

    SDKs ask that profile before they ask a container's endpoint: the command would run as somebody else.
    """
    config = await load(DEFAULT, needed=False)
    for path in (config.config_file, config.credentials_file):
        if line := await threads.submit(_default_credentials, path):
            complain(
                "exec",
                f"the default profile ({path}:{line}) would win over the endpoint:"
                " the command does not see the shared config and credentials files",
            )
            return dict.fromkeys((CONFIG_FILE, CREDENTIALS_FILE, OTHER_PROFILES_FILE), os.devnull)
    return {}


def _default_credentials(path: str) -> int:
    """The line of a file where a ``default`` profile has credentials for somebody; 0 when it has none.

    Not by the files' grammar: each SDK has its own, and some of them read quoted names, and twice the same one.
    """
    if path.startswith("~"):
        return 0  # no home folder is known, and below the working directory nobody looks
    try:
        if not Path(path).is_file():  # a pipe may never end, and is empty by now
            return 0
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0  # who may not read it here may not read it there
    header = 0
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith("["):
            name = line[1:].partition("]")[0].strip().removeprefix("profile").strip(" \t\"'")
            header = number if name.lower() == "default" else 0
        elif header and re.split("[=:]", line, maxsplit=1)[0].strip().lower() in CREDENTIAL_KEYS:
            return header
    return 0


async def _child(words: list[str], environ: dict[str, str]) -> int:
    from anyio import open_process  # whoever becomes the command does without

    signals: asyncio.Queue[int] = asyncio.Queue()
    # Before there is a command: it gets those that come meanwhile.
    with caught(numbers_of((*PASSED_ON, *FROM_THE_KEYBOARD)), signals.put_nowait):
        try:
            process = await open_process(words, stdin=None, stdout=None, stderr=None, env=environ)
        except (OSError, ValueError) as error:
            return _not_started(words[0], error)
        passing = asyncio.create_task(_pass_on(signals, process.pid))
        try:
            status = await process.wait()
        finally:
            passing.cancel()
    return 128 - status if status < 0 else status  # a signal's number, as shells have it


async def _pass_on(signals: asyncio.Queue[int], pid: int) -> None:
    by_hand = numbers_of(FROM_THE_KEYBOARD)
    while True:
        number = await signals.get()
        if number in by_hand and in_front():
            continue  # the terminal has told the command as well; twice would count as a second Ctrl-C
        with suppress(ProcessLookupError):
            os.kill(pid, number)
