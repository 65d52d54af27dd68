"""A stub of Kafka's brokers, which checks the tokens of its logins as those of MSK do."""

from __future__ import annotations

import asyncio
import base64
import re
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.helpers.token_check import Authority

METADATA, HANDSHAKE, VERSIONS, AUTHENTICATE = 3, 17, 18, 36  # kinds of requests
OFFERED = [(METADATA, 0, 1), (HANDSHAKE, 0, 1), (VERSIONS, 0, 0), (AUTHENTICATE, 0, 1)]


def unpacked(token: str) -> str:
    """Return the URL that a token is."""
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()


class Kafka:
    """``async with Kafka(authority) as kafka``.

    It answers ApiVersions, SaslHandshake, SaslAuthenticate and Metadata, that is, what a client sends until it has
    logged in and knows the brokers.

    Args:
        authority: checks the tokens.
        brokers: how many it says that there are, all of them at its port.

    Attributes:
        port: where it listens.
        logins: how many it let in.
        refused: why a login was, one entry each.
    """

    def __init__(self, authority: Authority, brokers: int = 1) -> None:
        self._authority, self._brokers = authority, brokers
        self._writers: set[asyncio.StreamWriter] = set()
        self.logins = 0
        self.refused: list[str] = []

    @property
    def open(self) -> int:
        return len(self._writers)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.drop_all()
        await asyncio.sleep(0)

    def drop_all(self) -> None:
        """Close all connections."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4))
                request = await reader.readexactly(size)
                kind, version, correlation = struct.unpack(">hhi", request[:8])
                body = struct.pack(">i", correlation) + self._answer(kind, version, request)
                writer.write(struct.pack(">i", len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, kind: int, version: int, request: bytes) -> bytes:
        if kind == VERSIONS:  # a version of the request that is not known is answered in the oldest form
            head = struct.pack(">hi", 35 if version else 0, len(OFFERED))
            return head + b"".join(struct.pack(">hhh", *one) for one in OFFERED)
        if kind == HANDSHAKE:
            return struct.pack(">hih", 0, 1, 11) + b"OAUTHBEARER"
        if kind == METADATA:
            rack, end = (struct.pack(">h", -1), struct.pack(">ii", 1, 0)) if version else (b"", bytes(4))
            brokers = (struct.pack(">ih9si", it, 9, b"127.0.0.1", self.port) for it in range(1, self._brokers + 1))
            return struct.pack(">i", self._brokers) + b"".join(broker + rack for broker in brokers) + end
        [token] = re.findall(rb"auth=Bearer ([^\x01]+)\x01", request)
        fault = self._authority.fault(unpacked(token.decode()), "kafka-cluster")
        if fault is None:
            self.logins += 1
        else:
            self.refused.append(fault)
        return struct.pack(">hhi", 58 if fault else 0, -1, 0) + (bytes(8) if version else b"")
