"""An STS in a process of its own that grants every role, as cheaply as can be. Standard library only.

Prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

TOKEN = 700  # characters, as STS hands them out today

ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>\
<AssumedRoleUser><AssumedRoleId>AROA3XFRBF535PLBIFPI4:{session}</AssumedRoleId>\
<Arn>arn:aws:sts::123456789012:assumed-role/{role}/{session}</Arn></AssumedRoleUser>\
<Credentials><AccessKeyId>ASIA{number:016}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
<SessionToken>{token}</SessionToken><Expiration>{expiration:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>\
</AssumeRoleResult><ResponseMetadata><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\
</ResponseMetadata></AssumeRoleResponse>"""


class Sts(asyncio.Protocol):
    """One connection, kept alive."""

    granted = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._grant(parse_qs(body.decode()))

    def _grant(self, form: dict[str, list[str]]) -> None:
        Sts.granted += 1
        now = datetime.now(UTC)
        body = ANSWER.format(
            session=form["RoleSessionName"][0],
            role=form["RoleArn"][0].rpartition("/")[2],
            number=Sts.granted,
            secret=secrets.token_hex(20),
            token=secrets.token_hex(TOKEN // 2),
            expiration=now + timedelta(hours=1),
        ).encode()
        head = (
            "HTTP/1.1 200 OK\r\nx-amzn-RequestId: c6104cbe-af31-11e0-8154-cbc7ccf896c7\r\n"
            "Content-Type: text/xml\r\n"
            f"Content-Length: {len(body)}\r\nDate: {format_datetime(now, usegmt=True)}\r\n\r\n"
        )
        if self._transport is not None:
            self._transport.write(head.encode() + body)


async def main() -> None:
    """Serve until nobody needs it."""
    server = await asyncio.get_running_loop().create_server(Sts, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
