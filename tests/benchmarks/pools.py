"""The loop while a pool of asyncpg or psycopg grows and shrinks over TLS: tokens against a fixed password."""

from __future__ import annotations

import asyncio
import gc
import ssl
import struct
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiocreds import Context, Credentials, Provider
from aiocreds.integrations.postgresql import asyncpg_connector, psycopg_connection
from aiocreds.testing import TestClock
from tests.benchmarks.gaps import longest_gap
from tests.benchmarks.report import Row, alternate_async, at_most, for_scale, median, ratios
from tests.benchmarks.tokens import KEY, POOL, REGION, SECRET, SESSION_TOKEN
from tests.helpers.tls import TLS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from contextlib import AbstractAsyncContextManager

    Borrow = Callable[[], AbstractAsyncContextManager[object]]

ROUNDS = 31
LIMIT = 1.25  # of what the client takes by itself, nearly all of which are its parts in 50 handshakes of TLS
FIXED = SESSION_TOKEN * 2  # a password about as long as a token
WANTS_TLS = 80877103


def rows() -> list[Row]:
    """Run this topic."""
    with tempfile.TemporaryDirectory() as folder:
        tls = TLS(Path(folder))
        with _server(tls.pem) as port:
            return [asyncio.run(_row(client, port, str(tls.ca))) for client in ("asyncpg", "psycopg")]


async def _row(client: str, port: int, ca: str) -> Row:
    """The longest gap in each turn, in which a pool opens all its connections at once, and closes them."""
    context = Context(environ={})
    context.clock = clock = TestClock()
    window = 0.0

    async def minutes() -> Credentials:
        return Credentials(KEY, SECRET, SESSION_TOKEN, expiration=clock.date() + timedelta(minutes=1))

    provider = Provider(minutes, name="bench", context=context)
    pool = {"asyncpg": _asyncpg, "psycopg": _psycopg}[client]

    async def grow_and_shrink(tokens: Provider | None) -> None:
        nonlocal window
        started = perf_counter()
        everybody = asyncio.Barrier(POOL)
        async with pool(port, ca, tokens) as borrow:

            async def use() -> None:
                async with borrow():
                    await everybody.wait()

            await asyncio.gather(*(use() for _ in range(POOL)))
        window = perf_counter() - started

    async def ours() -> float:
        clock.move(15)
        gc.collect()
        return await longest_gap(grow_and_shrink(provider))

    async def fixed() -> float:
        gc.collect()
        return await longest_gap(grow_and_shrink(None))

    async def idle() -> float:
        gc.collect()
        return await longest_gap(asyncio.sleep(window))

    gc.collect()
    gc.freeze()  # the modules are nobody's to walk before each turn
    try:
        async with provider:
            measured = await alternate_async({"ours": ours, "fixed": fixed, "idle": idle}, ROUNDS)
    finally:
        gc.unfreeze()
    if (rotated := provider.status.successes) < ROUNDS // 4:
        raise AssertionError(f"the keys were replaced only {rotated} times")
    show = {who: f"{median(measured, who) * 1e3:.1f} ms" for who in measured}
    idle_too = f"an idle loop {show['idle']}"
    return at_most(
        LIMIT,
        f"longest gap in the loop: a pool of {POOL} of {client} grows and shrinks over TLS while keys rotate",
        show["ours"],
        f"the same pool with a fixed password {show['fixed']}",
        ratios(measured, "ours", "fixed"),
        for_scale("with tokens", show["ours"], idle_too, ratios(measured, "ours", "idle")),
        for_scale("with a fixed password", show["fixed"], idle_too, ratios(measured, "fixed", "idle")),
    )


@asynccontextmanager
async def _asyncpg(port: int, ca: str, provider: Provider | None) -> AsyncIterator[Borrow]:
    how: dict[str, Any] = {"password": FIXED}
    if provider is not None:
        how = {"connect": asyncpg_connector(provider, region=REGION)}
    tls = ssl.create_default_context(cafile=ca)
    url = f"postgresql://app@127.0.0.1:{port}/books"
    async with import_module("asyncpg").create_pool(url, ssl=tls, min_size=0, max_size=POOL, **how) as pool:
        yield pool.acquire


@asynccontextmanager
async def _psycopg(port: int, ca: str, provider: Provider | None) -> AsyncIterator[Borrow]:
    how: dict[str, Any] = {"kwargs": {"password": FIXED}}
    if provider is not None:
        how = {"connection_class": psycopg_connection(provider, region=REGION)}
    url = f"postgresql://app@127.0.0.1:{port}/books?sslmode=verify-full&sslrootcert={ca}"
    kind = import_module("psycopg_pool").AsyncConnectionPool
    async with kind(url, min_size=0, max_size=POOL, open=False, **how) as pool:
        yield pool.connection


@contextmanager
def _server(pem: Path) -> Generator[int]:
    """The port of a server in another process, which speaks PostgreSQL's protocol and takes all passwords."""
    command = [sys.executable, "-m", "tests.benchmarks.pools", str(pem)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise AssertionError("it was asked for a pipe")
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _serve(pem: str) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    settings = {"server_version": "17.0", "client_encoding": "UTF8", "standard_conforming_strings": "on"}
    welcome = _message(b"R", bytes(4)) + b"".join(
        _message(b"S", f"{name}\0{value}\0".encode()) for name, value in settings.items()
    )
    ready = _message(b"Z", b"I")

    async def start(reader: asyncio.StreamReader) -> int:
        size = int.from_bytes(await reader.readexactly(4))
        return int.from_bytes((await reader.readexactly(size - 4))[:4])

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await start(reader) == WANTS_TLS:
            writer.write(b"S")
            await writer.start_tls(tls)
        writer.write(_message(b"R", struct.pack(">i", 3)))  # asks for the password
        answer = welcome + _message(b"K", bytes(8)) + ready
        while (kind := await reader.readexactly(1)) != b"X":
            await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
            if kind in b"pQ":
                writer.write(answer)
                answer = _message(b"C", b"RESET\0") + ready

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client is gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=POOL)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
