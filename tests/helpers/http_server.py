"""An HTTP server that answers with any bytes, or misbehaves on purpose."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tests.helpers.scripted import until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

Script = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request with the next of its scripts, the last one over and over; counts what is open.

    A script is the bytes to answer, or a coroutine function that gets the writer.
    """

    tasks: ClassVar = weakref.WeakSet["asyncio.Future[Any]"]()

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.open = 0
        self.connections = 0
        self.asked = asyncio.Event()
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Self]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        try:
            yield self
        finally:
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self.all_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.connections += 1
        self._writers.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                start, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((start, headers, body))
                self.asked.set()
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                if isinstance(script, bytes):
                    writer.write(script)
                    await writer.drain()
                    continue
                self.tasks.add(answering := asyncio.ensure_future(script(writer)))
                with suppress(asyncio.IncompleteReadError):
                    await reader.readexactly(1)  # the client is gone, or never
                answering.cancel()
                await asyncio.wait([answering])
                break
        self._writers.discard(writer)
        writer.transport.abort()
        self.open -= 1

    async def all_closed(self) -> None:
        await until(lambda: not self.open)
