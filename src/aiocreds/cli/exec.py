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
    PROFILE_CHAIN,
    add_profile,
    add_shared,
    asking_for,
    fetch,
    offer_to_sign_in,
    provider_of,
    region_of,
    variables,
)
from aiocreds.cli._terminal import (
    ask_for_code,
    handling,
    in_foreground,
    print_message,
    run_interruptible,
    signal_numbers,
    suggest_explain,
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
AWS variables of yours that name other credentials or another profile are removed.
Exit status: the command's; 125 (no credentials), 126 (the command cannot be run), 127 (there is no such command).
"""
FAILED, NOT_RUNNABLE, NO_SUCH_COMMAND = 125, 126, 127  # as for env, nohup and timeout
USAGE = 2

JAVA_CREDENTIALS_FILE = "AWS_CREDENTIAL_PROFILES_FILE"  # the credentials file of the SDK for Java 1
REMOVED = frozenset(
    (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_ACCESS_KEY",  # this and the next two are of older SDKs
        "AWS_SECRET_KEY",
        "AWS_CREDENTIAL_FILE",
        "AWS_SESSION_EXPIRATION",
        "AMAZON_ACCESS_KEY_ID",  # the SDK for Ruby reads this and the next two before it asks a container
        "AMAZON_SECRET_ACCESS_KEY",
        "AMAZON_SESSION_TOKEN",
        JAVA_CREDENTIALS_FILE,
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
        "BOTO_CONFIG",  # botocore reads this file before it asks a container
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
)  # a profile with any of them has credentials
FORWARDED = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT")
FROM_THE_KEYBOARD = ("SIGINT", "SIGQUIT")  # a terminal sends these to the command, too


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.usage = "%(prog)s [-h] [--debug] [--region R] [--server] [[-p] PROFILE] -- COMMAND ..."
    parser.description = "Run a command with credentials in its environment."
    parser.epilog = EXAMPLE
    add_profile(parser)
    add_shared(parser)
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
        print_message("exec", f"no command: write aiocreds exec -- {meant}")
        return USAGE
    try:
        with asking_for(arguments.profile):
            if arguments.server or sys.platform == "win32":
                return run_interruptible(_run_beside(arguments))
            environ = run_interruptible(_environment(arguments))
        return _replace_process(arguments.words, environ)
    except CredentialsError as error:
        print_message("exec", with_notes(error))
        suggest_explain("exec", error, arguments.profile)
        return FAILED


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without variables that name credentials or a profile.

    It lists the profiles that were being asked before this command, which may be part of a circle.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name not in REMOVED and not name.startswith("AWS_BEARER_TOKEN_")  # which SDKs prefer to keys
    }
    asked_before = kept.pop(PROFILE_CHAIN, "").rpartition(",")[0]
    return {**kept, PROFILE_CHAIN: asked_before} if asked_before else kept


async def _environment(arguments: Namespace) -> dict[str, str]:
    provider = provider_of(
        arguments.profile,
        process_timeout=arguments.process_timeout,
        folder=arguments.shared,
        sign_in=offer_to_sign_in,
    )
    credentials = await fetch(provider)
    keys = {name: value for name, value in variables(credentials).items() if value}
    return {**without_credentials(os.environ), **keys, **await _region(arguments)}


async def _region(arguments: Namespace) -> dict[str, str]:
    region = arguments.region or await region_of(arguments.profile)
    return {"AWS_REGION": region, "AWS_DEFAULT_REGION": region} if region else {}


def _replace_process(words: list[str], environ: dict[str, str]) -> int:
    """Replace this process by the command."""
    program_end.wait()
    sys.stdout.flush()
    sys.stderr.flush()
    for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(
                getattr(signal, name), signal.SIG_DFL
            )  # Python ignores them, which the command would inherit
    try:
        os.execvpe(words[0], words, environ)  # noqa: S606 - its purpose
    except (OSError, ValueError) as error:
        return _report_not_started(words[0], error)


def _report_not_started(command: str, error: OSError | ValueError) -> int:
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    reason = "command not found" if missing else getattr(error, "strerror", None) or str(error)
    print_message("exec", f"{command}: {reason}")
    return NO_SUCH_COMMAND if missing else NOT_RUNNABLE


async def _run_beside(arguments: Namespace) -> int:
    """Run the command as a child of this process, which serves it credentials."""
    if not arguments.server:  # on Windows, where no process can be replaced
        return await _run_child(arguments.words, await _environment(arguments))
    from aiocreds.cli._endpoint import Endpoint  # loads aiohttp

    running = False

    async def mfa_code(serial_number: str) -> str:
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
        arguments.profile,
        process_timeout=arguments.process_timeout,
        mfa_code=mfa_code,
        folder=arguments.shared,
        sign_in=sign_in,
    )
    async with Endpoint({"/": provider}) as endpoint:
        await fetch(provider)
        environ = {
            **without_credentials(os.environ),
            **await _region(arguments),
            **await _hide_default_profile(),
            "BOTO_CONFIG": os.devnull,  # otherwise botocore reads ~/.boto before it asks the endpoint
            FULL_URI: endpoint.urls[0],
            TOKEN: endpoint.token,
        }
        running = True
        leave_terminal()  # the command has it
        return await _run_child(arguments.words, environ)


async def _hide_default_profile() -> dict[str, str]:
    """Return variables that hide the shared files, if a ``default`` profile in them has credentials.

    SDKs read that profile before they ask a container's endpoint: the command would run as somebody else.
    """
    config = await load(DEFAULT, needed=False)
    for path in (config.config_file, config.credentials_file):
        if line := await threads.submit(_default_credentials, path):
            print_message(
                "exec",
                f"the default profile ({path}:{line}) would win over the endpoint:"
                " the command does not see the shared config and credentials files",
            )
            return dict.fromkeys((CONFIG_FILE, CREDENTIALS_FILE, JAVA_CREDENTIALS_FILE), os.devnull)
    return {}


def _default_credentials(path: str) -> int:
    """Return the line of a file where a ``default`` profile with credentials begins; 0 when none does.

    It is no parser of the files' grammar: each SDK has its own, and some take quoted or repeated names.
    """
    if path.startswith("~"):
        return 0  # no home folder is known
    try:
        if not Path(path).is_file():  # a pipe may never end, and is empty by now
            return 0
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0  # the command cannot read it either
    header = 0
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith("["):
            name = line[1:].partition("]")[0].strip().removeprefix("profile").strip(" \t\"'")
            header = number if name.lower() == "default" else 0
        elif header and re.split("[=:]", line, maxsplit=1)[0].strip().lower() in CREDENTIAL_KEYS:
            return header
    return 0


async def _run_child(words: list[str], environ: dict[str, str]) -> int:
    from anyio import open_process  # slow to load

    signals: asyncio.Queue[int] = asyncio.Queue()
    # Before the command starts, so that no signal is lost.
    with handling(signal_numbers((*FORWARDED, *FROM_THE_KEYBOARD)), signals.put_nowait):
        try:
            process = await open_process(words, stdin=None, stdout=None, stderr=None, env=environ)
        except (OSError, ValueError) as error:
            return _report_not_started(words[0], error)
        forwarding = asyncio.create_task(_forward_signals(signals, process.pid))
        try:
            status = await process.wait()
        finally:
            forwarding.cancel()
    return 128 - status if status < 0 else status  # as shells report a signal


async def _forward_signals(signals: asyncio.Queue[int], pid: int) -> None:
    from_the_keyboard = signal_numbers(FROM_THE_KEYBOARD)
    while True:
        number = await signals.get()
        if number in from_the_keyboard and in_foreground():
            continue  # the terminal has sent it to the command, too; twice would be a second Ctrl-C
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
