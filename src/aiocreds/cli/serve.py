"""``aiocreds serve``: one process refreshes credentials for all others on the machine."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiocreds._core.context import DEFAULT
from aiocreds._profiles import load
from aiocreds._token_cache import storage
from aiocreds.cli._common import SERVE_PREFIX, add_profile, add_shared, asking_for, provider_of
from aiocreds.cli._terminal import handling, print_message, signal_numbers
from aiocreds.errors import InvalidConfiguration
from aiocreds.sources.container import FULL_URI, TOKEN, TOKEN_FILE
from aiocreds.sources.process import USUAL_TIMEOUT

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from aiocreds._core.provider import Provider

EXAMPLE = """\
example:
  $ aiocreds serve --profile dev
  AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:38111/dev
  AWS_CONTAINER_AUTHORIZATION_TOKEN=...

  With these two variables, every AWS SDK and AWS CLI gets its credentials here. Without --profile, what the
  default chain finds is at /. At a terminal, they are printed as a shell exports them.

  $ aiocreds serve --port 9911 --token-file ~/.aws/serve.token &
  $ export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9911/
  $ export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=~/.aws/serve.token

Ends with Ctrl-C or SIGTERM.
"""
TOKEN_FORM = re.compile(rb"(%b[\w-]+)?" % SERVE_PREFIX.encode())
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Serve credentials on 127.0.0.1 as ECS does for containers. Whoever asks needs the token that is printed."
    )
    parser.epilog = EXAMPLE
    add_profile(parser, several=True)
    add_shared(parser)
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="by default one that is free")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="write the token there, for this user alone, instead of printing it; what is there already has to be"
        " empty or such a token, and closed to other users",
    )


def run(arguments: Namespace) -> int:
    """Serve until told to stop.

    Raises:
        InvalidConfiguration: there is no such profile, the port is taken, or the token file cannot be written.
    """
    with asking_for(*arguments.profile):
        asyncio.run(_serve(arguments))
    return 0


async def _serve(arguments: Namespace) -> None:
    from aiocreds.cli._endpoint import Endpoint  # loads aiohttp, which is slow

    _drop_own_url(arguments.port)
    endpoint, stop = (
        Endpoint(
            providers_by_path(
                arguments.profile, process_timeout=arguments.process_timeout, folder=arguments.shared
            ),
            port=arguments.port,
        ),
        asyncio.Event(),
    )
    config = await load(DEFAULT)
    for profile in arguments.profile:
        config.required(profile)  # a typing error shows now, and not to the clients
    async with AsyncExitStack() as opened:
        opened.enter_context(handling(signal_numbers(STOPPING), lambda _: stop.set()))
        try:
            await opened.enter_async_context(endpoint)
        except OSError as error:
            raise InvalidConfiguration(
                f"127.0.0.1:{arguments.port}: {os.strerror(error.errno or 0)}; choose another --port"
            ) from None
        token = opened.enter_context(_token_line(endpoint.token, arguments.token_file))
        lines = [*(f"{FULL_URI}={url}" for url in endpoint.urls), token]
        if at_terminal := sys.stdout.isatty():
            lines = list(map(_as_shell_line, lines))
        sys.stdout.buffer.write(os.fsencode("\n".join(lines) + "\n"))
        sys.stdout.flush()
        if at_terminal:
            which = "one URL and the token" if len(endpoint.urls) > 1 else "these lines"
            print_message("serve", f"paste {which} into the shell that wants credentials; Ctrl-C ends it")
        await stop.wait()


def _as_shell_line(line: str) -> str:
    """Return a line of a variable and its value in a form to be pasted into a shell."""
    from shlex import quote  # slow to load, and seldom needed

    name, _, value = line.partition("=")
    if sys.platform == "win32":
        return f"$Env:{name}='" + value.replace("'", "''") + "'"
    return f"export {name}={quote(value)}"


def _drop_own_url(port: int) -> None:
    """Drop the variable with our own URL, left in a shell by an earlier run: we would ask ourselves."""
    try:
        url = urlsplit(os.environ.get(FULL_URI, ""))
        here = url.hostname in ("127.0.0.1", "localhost") and url.port == port
    except ValueError:
        return  # the source that reads it raises for it
    if here:
        del os.environ[FULL_URI]


def providers_by_path(
    profiles: list[str], *, process_timeout: float = USUAL_TIMEOUT, folder: str | None = None
) -> dict[str, Provider]:
    """Return providers by path, one a profile; the default chain's is ``/``."""
    if not profiles:
        return {"/": provider_of(None, process_timeout=process_timeout, folder=folder)}
    return {
        f"/{profile}": provider_of(profile, process_timeout=process_timeout, folder=folder) for profile in profiles
    }


@contextmanager
def _token_line(token: str, path: str | None) -> Iterator[str]:
    """Write the token file, if there is one, and remove it at the end.

    Yields:
        the variable with the token or the path of that file.
    """
    if path is None:
        yield f"{TOKEN}={token}"
        return
    file = Path(path).absolute()
    try:
        if (found := _why_unsuitable(file, len(token))) is not None:
            raise InvalidConfiguration(f"--token-file {file} {found}")
        storage.replace_text(str(file), token)
        written = _identity(file)
    except OSError as error:
        raise InvalidConfiguration(f"--token-file {file} cannot be written: {error.strerror}") from None
    try:
        yield f"{TOKEN_FILE}={file}"
    finally:
        with suppress(OSError):
            if _identity(file) == written:  # another server may have replaced it
                file.unlink()


def _why_unsuitable(file: Path, length: int) -> str | None:
    """Return why a file may not be replaced by a token of this length, with the remedy.

    Only an empty file, or a token that an earlier run had no time to remove, is replaced.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        found = file.lstat()
    except FileNotFoundError:
        return None
    remove = "name another, or remove it first"
    if not stat.S_ISREG(found.st_mode):
        return f"is {'a link' if stat.S_ISLNK(found.st_mode) else 'no file'}: {remove}"
    if found.st_size not in (0, length) or not TOKEN_FORM.fullmatch(file.read_bytes()):
        return f"is something else: {remove}"
    if sys.platform == "win32":
        return None
    if found.st_uid != os.geteuid():
        return f"belongs to another user: {remove}"
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        return f"is open to other users (mode {mode}): run chmod 600 {file}, or remove it first"
    return None


def _identity(file: Path) -> tuple[int, ...]:
    found = file.lstat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _port(text: str) -> int:
    from argparse import ArgumentTypeError  # loaded by the caller

    if not text.isdecimal() or (port := int(text)) >= 1 << 16:
        raise ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return port
