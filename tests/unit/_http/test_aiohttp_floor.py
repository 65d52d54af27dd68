"""Limits that the oldest permitted aiohttp has to keep, for `aiocreds serve` leaves requests to it.

One connection is to cost no more than a buffer: neither header lines without end, which need no token, nor
requests that are sent while nobody reads the answers. The first is bounded from 3.13.4 on, both are from 3.14.1 on.
"""

from __future__ import annotations

import asyncio
import re
import socket
import tomllib
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.helpers.cli_endpoint import get, serving
from tests.helpers.scripted import Source

if TYPE_CHECKING:
    from aiocreds.cli._endpoint import Endpoint

MEMORY = Path("/proc/self/statm")
SENT = 10 * 2**20  # bytes, of which older versions make from 80 to 300 MB
MOST = 40 * 10**6
FLOODS = {
    "header lines without end": ("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", "X-a: y\r\n"),
    "requests whose answers nobody reads": (
        "",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {token}\r\n\r\n",
    ),
}


def used() -> int:
    """The memory of this process, in bytes."""
    return int(MEMORY.read_text().split()[1]) * 4096


def flood(endpoint: Endpoint, head: str, piece: str) -> None:
    """Send that until the endpoint takes no more for a second, or hangs up, or has taken enough."""
    names = {"port": endpoint.port, "token": endpoint.token}
    sent, since = 0, monotonic()
    pieces = piece.format(**names).encode() * 2000
    with socket.create_connection(("127.0.0.1", endpoint.port)) as peer:
        peer.settimeout(1)
        try:
            peer.sendall(head.format(**names).encode())
            while sent < SENT and monotonic() - since < 30:
                sent += peer.send(pieces)
        except (TimeoutError, ConnectionError):
            pass


@pytest.mark.slow
@pytest.mark.skipif(not MEMORY.exists(), reason="/proc of Linux")
@pytest.mark.parametrize("what", FLOODS)
async def test_one_connection_takes_no_memory_to_speak_of(what: str) -> None:
    async with serving(Source()) as endpoint:
        assert (await get(endpoint)).status == 200  # what the first request loads is loaded
        before = most = used()
        flooding = asyncio.create_task(asyncio.to_thread(flood, endpoint, *FLOODS[what]))
        while not flooding.done():
            await asyncio.sleep(0.02)
            most = max(most, used())
        await flooding
    assert most - before < MOST, f"aiohttp {version('aiohttp')} made {(most - before) // 10**6} MB of 10"


def test_the_lowest_version_is_one_that_bounds_both() -> None:
    """`noxfile.py` installs just this one where it tests the oldest aiobotocore."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [floor] = [found[1] for it in project["dependencies"] if (found := re.match(r"aiohttp>=([\d.]+),", it))]
    assert tuple(map(int, floor.split("."))) >= (3, 14, 1)
