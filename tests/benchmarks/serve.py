"""The answers of `aiocreds serve` in ten seconds, and the cost of `aiocreds export` as a process.

``python -m tests.benchmarks.serve bare`` is the peer: the least that aiohttp.web can do.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

import aiocreds
from tests.benchmarks.report import Row, alternate, at_least, at_most, exactly, for_scale, median, ratios
from tests.benchmarks.start_up import EMPTY, KEYS, PAIRS, environment, process_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 10.0
CONNECTIONS = 32
GROWTH = 1024  # KiB that a process may move by without anything growing: pages, not objects


class Load(NamedTuple):
    """The load on a server, and its effects.

    Attributes:
        answered: requests.
        failed: requests, by whatever.
        seconds: they took.
        grown: KiB that the server's memory grew by meanwhile.
    """

    answered: int
    failed: int
    seconds: float
    grown: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.answered / self.seconds


def rows() -> list[Row]:
    """Run this topic."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_load(Path(folder)), *_export(Path(folder))]


def _load(home: Path) -> list[Row]:
    """Both at once would halve each: they take turns of two and a half seconds, ten for each."""
    turns = 4
    with (
        _server(home, "-m", "aiocreds", "serve") as ours,
        _server(home, "-m", "tests.benchmarks.serve", "bare") as bare,
    ):
        servers = {"ours": ours, "bare": bare}
        loads: dict[str, list[Load]] = {"ours": [], "bare": []}
        for server in servers.values():
            asyncio.run(_ask(*server, seconds=1.0))
        for _ in range(turns):
            for name, server in servers.items():
                loads[name].append(asyncio.run(_ask(*server, seconds=SECONDS / turns)))
    rates = {name: [load.rate for load in found] for name, found in loads.items()}
    failed, grown = (sum(load[field] for load in loads["ours"]) for field in (1, 3))
    answered = sum(load.answered for load in loads["ours"])
    return [
        at_least(
            0.5,
            f"serve: requests a second, {CONNECTIONS} connections, {SECONDS:.0f} s",
            f"{median(rates, 'ours'):,.0f}/s",
            f"a handler of aiohttp.web that returns a constant {median(rates, 'bare'):,.0f}/s",
            ratios(rates, "ours", "bare"),
        ),
        exactly("serve: requests that failed", f"{failed}", f"of {answered:,}", "0", ok=not failed),
        exactly("serve: its memory grew by", f"{grown} KiB", "", f"≤ {GROWTH} KiB", ok=grown <= GROWTH),
    ]


def _export(home: Path) -> list[Row]:
    variables = environment(home)

    def process(*arguments: str, **keys: str) -> Callable[[], float]:
        return lambda: process_cost(list(arguments), {**variables, **keys})[0]

    contenders = {
        "empty": process("-c", EMPTY),
        "export": process("-m", "aiocreds", "export", **KEYS),
        "env": process("-m", "aiocreds", "export", "--format", "env", **KEYS),
    }
    for run in contenders.values():
        run()  # the compiled modules are written
    measured = alternate(contenders, PAIRS)
    empty = f"an empty process {median(measured, 'empty') * 1e3:.1f} ms CPU"
    return [
        at_most(
            1.3,
            "export: a process, environment keys",
            f"{median(measured, 'export') * 1e3:.1f} ms CPU",
            empty,
            ratios(measured, "export", "empty"),
            for_scale(
                "with --format env",
                f"{median(measured, 'env') * 1e3:.1f} ms CPU",
                empty,
                ratios(measured, "env", "empty"),
            ),
        ),
    ]


@contextmanager
def _server(home: Path, *arguments: str) -> Iterator[tuple[str, str, int]]:
    """A server process: its URL, its token and its process id."""
    here = Path(aiocreds.__file__).parents[1]
    variables = {**environment(home), **KEYS, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    with subprocess.Popen(
        [sys.executable, *arguments], env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url, token = (process.stdout.readline().strip().partition("=")[2] for _ in range(2))
        try:
            yield url, token, process.pid
        finally:
            process.terminate()


async def _ask(url: str, token: str, pid: int, *, seconds: float) -> Load:
    """Ask over plain sockets, so that this process is not what is measured."""
    host, _, port = url.split("/")[2].partition(":")
    request = (
        f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\nAuthorization: {token}\r\n\r\n"
    ).encode()
    answered = failed = 0
    before, began = _memory(pid), monotonic()

    async def client() -> None:
        nonlocal answered, failed
        reader, writer = await asyncio.open_connection(host, int(port))
        while monotonic() - began < seconds:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if head.startswith(b"HTTP/1.1 200 ") and b"AccessKeyId" in body:
                answered += 1
            else:
                failed += 1
        writer.close()
        await writer.wait_closed()

    ended = await asyncio.gather(*(client() for _ in range(CONNECTIONS)), return_exceptions=True)
    failed += sum(isinstance(one, BaseException) for one in ended)
    return Load(answered, failed, monotonic() - began, _memory(pid) - before)


def _memory(pid: int) -> int:
    """KiB that a process holds."""
    sleep(0.1)
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def _bare() -> None:
    body = json.dumps(
        {"AccessKeyId": "AKIABENCHBENCHBENCH1", "SecretAccessKey": "s", "Token": "", "Expiration": ""}
    )

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("URL=http://{}:{}/".format(*runner.addresses[0][:2]))
    print("TOKEN=none", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_bare())
