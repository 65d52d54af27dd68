"""Credentials from a program that prints them."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from aiocreds.config import Section, expand, load, profile_name
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, SourceUnavailable
from aiocreds.parse import parse_credentials, parse_object
from aiocreds.provider import credential_provider

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, Process

    from aiocreds.credentials import Credentials

LONGEST_OUTPUT = 64 * 1024
SHELL_SIGNS = ("|", "&", ";", "<", ">", "$", "`")


@credential_provider
async def from_process(
    profile: str | None = None,
    *,
    command: str | None = None,
    credentials_file: str | None = None,
    config_file: str | None = None,
    timeout: float | timedelta = 60.0,
    context: Context = DEFAULT,
) -> Credentials:
    """Credentials that a program prints on its standard output as JSON, ``Version`` 1.

    ::

        [profile app]
        credential_process = /opt/bin/vend-credentials --role app

    The command is split by the platform's rules and run without a shell; ``~`` in its first word is the home
    folder. It is killed with its children after ``timeout`` or when nobody waits for a first load any more.

    Args:
        profile: by default ``AWS_PROFILE``, else ``default``; the key read is ``credential_process``.
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
    if command is not None:
        return await run_credential_process(command, place="command", timeout=timeout, context=context)
    config = await load(context, credentials_file=credentials_file, config_file=config_file)
    section = config.required(profile_name(context, profile))
    if section is None or not (command := section.get("credential_process")):
        raise CredentialsNotFound(f"profile {profile_name(context, profile)!r} has no credential_process")
    return await run_profile_process(section, timeout=timeout, context=context)


async def run_profile_process(
    section: Section, *, timeout: float | timedelta = 60.0, context: Context
) -> Credentials:
    """Run the ``credential_process`` of a profile that has one."""
    return await run_credential_process(
        section.get("credential_process") or "",
        place=f"credential_process ({section.where('credential_process')})",
        account_id=section.get("aws_account_id"),
        timeout=timeout,
        context=context,
    )


async def run_credential_process(
    command: str,
    *,
    place: str,
    timeout: float | timedelta,
    context: Context,
    account_id: str | None = None,
) -> Credentials:
    """Run a command and read the credentials it prints; ``place`` is what messages call it."""
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    words = split_command(command, place=place)
    words[0] = expand(words[0], context)
    name = os.path.basename(words[0])  # noqa: PTH119 - pathlib is slow to load
    exit_status, stdout, stderr = await _run(words, place=place, name=name, seconds=seconds, context=context)
    if exit_status:
        hint = ""
        if any(sign in command for sign in SHELL_SIGNS):
            hint = "; it looks like a shell command, and none is used: write sh -c '…'"
        elif stderr:
            hint = "; what it wrote to stderr is kept in the error's .stderr"
        raise SourceUnavailable(
            f"{place}: {name} ended with exit status {exit_status}{hint}",
            exit_status=exit_status,
            stderr=stderr,
        )
    origin = f"{place}: {name}"
    version = parse_object(stdout, origin=origin).get("Version")
    if version != 1:
        raise SourceUnavailable(f"{origin} answered with Version {str(version)[:20]}, and only 1 is known")
    return parse_credentials(
        stdout,
        provider="process",
        origin=origin,
        now=context.clock.now(),
        token_field="SessionToken",  # noqa: S106 - the name of a field
        may_outlive_expiry=False,
        account_id=account_id,
    )


def split_command(command: str, *, place: str) -> list[str]:
    """The words of a command line, by the platform's rules.

    Raises:
        InvalidConfiguration: there are none, or a quotation mark is not closed.
    """
    try:
        words = _split_windows(command) if sys.platform == "win32" else shlex.split(command)
    except ValueError:
        raise InvalidConfiguration(f"{place}: a quotation mark is not closed") from None
    if not words or not words[0]:
        raise InvalidConfiguration(f"{place} is blank: write the command to run, or remove it")
    return words


def _split_windows(command: str) -> list[str]:
    import ctypes  # on Windows alone

    windll = getattr(ctypes, "windll")  # noqa: B009 - unknown to type checkers elsewhere
    split = windll.shell32.CommandLineToArgvW
    split.restype = ctypes.POINTER(ctypes.c_wchar_p)
    count = ctypes.c_int()
    words = split(ctypes.c_wchar_p(command.strip()), ctypes.byref(count))
    try:
        return [words[index] or "" for index in range(count.value)]
    finally:
        windll.kernel32.LocalFree(words)


async def _run(
    words: list[str], *, place: str, name: str, seconds: float, context: Context
) -> tuple[int, bytes, bytes]:
    import anyio  # slow to load, and few profiles run a process

    try:
        process = await anyio.open_process(words, stdin=None, env=dict(context.environ), start_new_session=True)
    except FileNotFoundError:
        raise InvalidConfiguration(f"{place}: {name} is not there; give its full path or add it to PATH") from None
    except PermissionError:
        raise InvalidConfiguration(f"{place}: {name} may not be executed; make it executable") from None
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(f"{place}: {name} cannot be started ({type(error).__name__})") from None
    outputs: dict[str, bytes] = {}

    async def read(stream: ByteReceiveStream | None, key: str) -> None:
        chunks = bytearray()
        if stream is not None:
            async for chunk in stream:
                chunks += chunk[: LONGEST_OUTPUT + 1 - len(chunks)]
                if key == "stdout" and len(chunks) > LONGEST_OUTPUT:
                    _kill(process)
                    break
        outputs[key] = bytes(chunks)

    try:
        with anyio.fail_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, process.stdout, "stdout")
                tasks.start_soon(read, process.stderr, "stderr")
            exit_status = await process.wait()
    except TimeoutError:
        raise SourceUnavailable(f"{place}: {name} did not finish within {seconds:g} s and was killed") from None
    finally:
        _kill(process)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if len(outputs["stdout"]) > LONGEST_OUTPUT:
        raise SourceUnavailable(f"{place}: {name} printed more than {LONGEST_OUTPUT // 1024} KiB and was killed")
    return exit_status, outputs["stdout"], outputs["stderr"]


def _kill(process: Process) -> None:
    """Kill the process and what it started; those that ended already do not mind."""
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
