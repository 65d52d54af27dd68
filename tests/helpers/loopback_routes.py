"""Ways to the loopback AWS: whatever host is asked, or through a port that a test opens and shuts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from aiocreds import Context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback


class Detour(aiohttp.TCPConnector):
    """Connects to a loopback server, whatever address is asked for, and notes which those were."""

    def __init__(self, aws: Loopback) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - aiohttp's socket_factory
        self.port = int(aws.url.rpartition(":")[2])
        self.asked: list[str] = []

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[Any]:
        self.asked.append(f"{host}:{port}")
        family, proto, flags = 2, 0, 0
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": self.port,
                "family": family,
                "proto": proto,
                "flags": flags,
            }
        ]


@asynccontextmanager
async def detour(aws: Loopback, environ: Mapping[str, str], home: Path) -> AsyncGenerator[tuple[Context, Detour]]:
    """Yield a context whose requests all go to `aws`, and the connector that notes where they should have gone."""
    async with aiohttp.ClientSession(connector=(connector := Detour(aws))) as session:
        yield Context(environ=environ, home=home, session=session), connector


class Door:
    """A port that leads to the loopback service while it is open, and refuses connections while it is shut.

    Attributes:
        connections: how many there have been.
    """

    def __init__(self, aws: Loopback) -> None:
        self.connections = 0
        self._to = urlsplit(aws.url)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._relays: dict[asyncio.StreamWriter, asyncio.Task[Any] | None] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Close the connections that are kept, too."""
        if self._server is not None:
            self._server.close()
            relays = [task for task in self._relays.values() if task is not None]
            for writer in self._relays:
                writer.close()
            if relays:
                await asyncio.wait(relays, timeout=5)
            await self._server.wait_closed()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._relays[writer] = asyncio.current_task()
        try:
            inner_reader, inner_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
            try:
                await asyncio.gather(pour(reader, inner_writer), pour(inner_reader, writer))
            finally:
                inner_writer.close()
        except ConnectionError:  # by a client that left in the middle
            pass
        finally:
            writer.close()
            del self._relays[writer]


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
    writer.close()
    await writer.wait_closed()
