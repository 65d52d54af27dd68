"""``aiocreds serve``: one process refreshes, and all the others on the machine ask it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiocreds.cli.handing import add_profile, provider_of
from aiocreds.config import private_file
from aiocreds.sources.http import FULL_URI, TOKEN, TOKEN_FILE

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from aiocreds.provider import Provider

EXAMPLE = """\
example:
  $ aiocreds serve --profile dev
  AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:38111/dev
  AWS_CONTAINER_AUTHORIZATION_TOKEN=...

  With these two variables, every AWS SDK and AWS CLI gets its credentials here. Without --profile, what the
  default chain finds is at /.

  $ aiocreds serve --port 9911 --token-file ~/.aws/serve.token &
  $ export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9911/
  $ export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=~/.aws/serve.token

Ends with Ctrl-C or SIGTERM.
"""
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Serve credentials on 127.0.0.1 as ECS does for containers. Whoever asks needs the token that is printed."
    )
    parser.epilog = EXAMPLE
    add_profile(parser, several=True)
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="by default one that is free")
    parser.add_argument(
        "--token-file", metavar="FILE", help="write the token there, for this user alone, instead of printing it"
    )


def run(arguments: Namespace) -> int:
    """Serve until told to stop."""
    try:
        asyncio.run(_serve(arguments))
    except OSError as error:
        where = error.filename or f"127.0.0.1:{arguments.port}"
        print(f"aiocreds serve: {where}: {os.strerror(error.errno) if error.errno else error}", file=sys.stderr)
        return 1
    return 0


async def _serve(arguments: Namespace) -> None:
    from aiocreds.cli.endpoint import Endpoint  # with it comes aiohttp, which help and completion do without

    _forget_ourselves(arguments.port)
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        async with Endpoint(providers_by_path(arguments.profile), port=arguments.port) as endpoint:
            with _token(endpoint.token, arguments.token_file) as token:
                lines = [*(f"{FULL_URI}={url}" for url in endpoint.urls), token]
                print("\n".join(lines), flush=True)
                await stop.wait()


def _forget_ourselves(port: int) -> None:
    """Drop the variable that leads here, as a shell has it in which this ran before: we would ask ourselves."""
    try:
        url = urlsplit(os.environ.get(FULL_URI, ""))
        here = url.hostname in ("127.0.0.1", "localhost") and url.port == port
    except ValueError:
        return  # whoever needs it says what is wrong with it
    if here:
        del os.environ[FULL_URI]


def providers_by_path(profiles: list[str]) -> dict[str, Provider]:
    """One path a profile; the default chain's is ``/``."""
    if not profiles:
        return {"/": provider_of(None)}
    return {f"/{profile}": provider_of(profile) for profile in profiles}


@contextmanager
def stopped_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Have the signals that would end this process set an event instead."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in STOPPING}

    def told(*_: object) -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in STOPPING:
        if before[number] is not signal.SIG_IGN:  # as nohup, or a shell for its background jobs, wants it
            signal.signal(number, told)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _token(token: str, path: str | None) -> Iterator[str]:
    """The line that hands the token over; a file that holds it is removed at the end."""
    if path is None:
        yield f"{TOKEN}={token}"
        return
    path = os.path.abspath(path)  # noqa: PTH100 - of a string, for a variable
    private_file.replace(path, token)
    try:
        yield f"{TOKEN_FILE}={path}"
    finally:
        with suppress(OSError):
            if _read(path) == token:  # else another server's by now
                os.unlink(path)  # noqa: PTH108


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123
        return file.read(1000)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 1 << 16:
        raise ValueError(text)
    return port
