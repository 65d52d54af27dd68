"""Credentials from a program that prints them."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from contextlib import suppress
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
SHELL_HINT = "it looks like a shell command, and none is used: write sh -c '…'"
BY_HAND = "run it by hand and look at what it prints"


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
    # What is before an equals sign was meant for a shell, and what is behind it may be a secret.
    name = os.path.basename(words[0].partition("=")[0])  # noqa: PTH119 - pathlib is slow to load
    origin = f"{place}: {name}"
    shell = words[1:2] != ["-c"] and ("=" in words[0] or any(sign in command for sign in SHELL_SIGNS))
    try:
        process = await _start(words, context)
    except (OSError, ValueError) as error:
        remedy = SHELL_HINT if shell else "check the path and that it may be executed"
        raise InvalidConfiguration(f"{origin} {_fault(error)}; {remedy}") from None
    exit_status, stdout, stderr = await _finish(process, origin=origin, seconds=seconds)
    if exit_status:
        how = f"was killed by signal {-exit_status}" if exit_status < 0 else f"ended with exit status {exit_status}"
        remedy = "what it wrote to stderr is kept in the error's .stderr" if stderr else "run it by hand to see why"
        raise SourceUnavailable(
            f"{origin} {how}; {SHELL_HINT if shell else remedy}", exit_status=exit_status, stderr=stderr
        )
    version = parse_object(stdout, origin=origin, remedy=SHELL_HINT if shell else BY_HAND).get("Version")
    if type(version) is not int or version != 1:
        raise SourceUnavailable(
            f'{origin} printed JSON without "Version": 1, which is the only one known; {BY_HAND}'
        )
    return parse_credentials(
        stdout,
        provider="process",
        origin=origin,
        remedy=BY_HAND,
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
        raise InvalidConfiguration(f"{place}: a quotation mark is not closed: close it") from None
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


async def _start(words: list[str], context: Context) -> Process:
    """Start the program. A cancellation waits until there is something to kill: it may have children already."""
    import anyio  # slow to load, and few profiles run a process

    start = anyio.open_process(words, stdin=None, env=dict(context.environ), start_new_session=True)
    starting = asyncio.ensure_future(start)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError, ValueError):
            await _end(await starting, kill=True)
        raise


async def _finish(process: Process, *, origin: str, seconds: float) -> tuple[int, bytes, bytes]:
    """Wait for its end: the exit status, and what it wrote to stdout and stderr."""
    import anyio

    stdout, stderr = bytearray(), bytearray()
    exit_status: int | None = None

    async def read(stream: ByteReceiveStream | None, output: bytearray) -> None:
        if stream is not None:
            async for chunk in stream:
                output += chunk[: LONGEST_OUTPUT + 1 - len(output)]
                if output is stdout and len(output) > LONGEST_OUTPUT:
                    _kill(process)
                    break

    try:
        with anyio.fail_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, process.stdout, stdout)
                tasks.start_soon(read, process.stderr, stderr)
            exit_status = await process.wait()
    except TimeoutError:
        if process.returncode is None:
            fault = f"did not finish within {seconds:g} s and was killed; see what it waits for, or allow more time"
        else:
            fault = (
                f"ended, but a child of its still held its output open after {seconds:g} s; redirect the child's"
            )
        raise SourceUnavailable(f"{origin} {fault}", stderr=bytes(stderr)) from None
    finally:
        await _end(process, kill=exit_status is None)
    if len(stdout) > LONGEST_OUTPUT:
        raise SourceUnavailable(
            f"{origin} printed more than {LONGEST_OUTPUT // 1024} KiB and was killed; {BY_HAND}"
        )
    return exit_status or 0, bytes(stdout), bytes(stderr)


async def _end(process: Process, *, kill: bool) -> None:
    import anyio

    if kill:
        _kill(process)
    with anyio.CancelScope(shield=True):
        await process.aclose()


def _fault(error: OSError | ValueError) -> str:
    """Why a program cannot be started, as the rest of a sentence."""
    if isinstance(error, FileNotFoundError):
        return "is not there, or the interpreter in its first line is not"
    if isinstance(error, PermissionError):
        return "is not an executable file"
    return f"cannot be started ({getattr(error, 'strerror', None) or 'not a command'})"


def _kill(process: Process) -> None:
    """Kill the process and what it started; those that ended already do not mind."""
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
