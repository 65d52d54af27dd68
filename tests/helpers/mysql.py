"""A proxy before a MariaDB that checks the tokens of its logins, as RDS does, and answers a little by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine
    from pathlib import Path

    from tests.helpers.token_check import Authority

WITH_DATABASE, TLS, ATTRIBUTES, LENGTH_ENCODED = 0x8, 0x800, 0x100000, 0x200000
OFFERED = 0x3BA20F  # protocol 4.1, transactions, several statements and results, and those above but TLS
QUIT, QUERY = 1, 3
NATIVE = b"mysql_native_password\0"
OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
ANSWERS = {  # to what SQLAlchemy asks each new server
    b"select @@transaction_isolation": "REPEATABLE-READ",
    b"select @@sql_mode": "",
    b"select @@lower_case_table_names": "0",
    b"select version()": "8.0.40",
    b"select database()": "",
}


def program() -> str | None:
    """Return the server's program (Debian: mariadb-server-core); None where it is not installed."""
    return shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class MariaDB:
    """A server that lets everybody in. ``with MariaDB(folder) as server: server.port``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def __enter__(self) -> Self:
        data, log = self._folder / "data", self._folder / "mariadb.log"
        data.mkdir()
        command = [str(program()), "--no-defaults", "--skip-grant-tables", "--bind-address=127.0.0.1"]
        command += [
            f"--port={self.port}",
            f"--datadir={data}",
            f"--socket={data / 's'}",
            f"--pid-file={data / 'p'}",
        ]
        command += ["--user=root"] if hasattr(os, "getuid") and os.getuid() == 0 else []
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        self.__exit__()
        raise RuntimeError(log.read_text(errors="replace"))

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class MySQLProxy:
    """``async with MySQLProxy(authority, tls, user="app", host="books…:3306") as proxy``.

    Attributes:
        port: where it listens.
        host: that tokens have to be for, with its port.
        behind: the port of the MariaDB, which may be set later.
        offers_tls: it says that it speaks TLS.
        logins: how many it let in.
        refused: why a login was, one entry each.
        in_the_open: all that it got before TLS.
    """

    def __init__(self, authority: Authority, tls: ssl.SSLContext, *, user: str, host: str) -> None:
        self._authority = authority
        self._tls = tls
        self._user = user
        self.host = host
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.behind = 0
        self.offers_tls = True
        self.logins = 0
        self.refused: list[str] = []
        self.in_the_open = b""

    @property
    def open(self) -> int:
        return len(self._writers)

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._run(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    def drop_all(self) -> None:
        """Close all connections."""
        for writer in list(self._writers):
            writer.close()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._run(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        """Serve a connection. It is read exactly as far as it is not encrypted."""
        loop = asyncio.get_running_loop()
        server = await asyncio.open_connection("127.0.0.1", self.behind) if self.behind else None
        writers = [server[1]] if server else []
        transport: asyncio.Transport | None = None  # to which the connection belongs
        try:
            version = (await _packet(server[0]))[1:].split(b"\0")[0] if server else b"8.0.40"
            await loop.sock_sendall(connection, _framed(0, self._greeting(version)))
            first = await _exactly(connection, 4)
            first += await _exactly(connection, int.from_bytes(first[:3], "little"))
            secure = len(first) == 36
            if secure and not self.offers_tls:
                return
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls if secure else None
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            writers.append(writer)
            self._writers.add(writer)
            if not secure:
                self.in_the_open += first
            login = await _packet(reader) if secure else first[4:]
            user, database = _user_and_database(login)
            writer.write(_framed(2 + secure, b"\xfemysql_clear_password\0"))
            token = await _packet(reader)
            if not secure:
                self.in_the_open += token
            fault = self._fault(user, token.removesuffix(b"\0").decode())
            if fault is not None:
                self.refused.append(fault)
                text = b"\xff\x15\x04#28000Access denied for user '%s'@'localhost' (using password: YES)" % user
                writer.write(_framed(4 + secure, text))
                await writer.drain()
                return
            if server is not None:
                flags = int.from_bytes(login[:4], "little") & ~(TLS | ATTRIBUTES | LENGTH_ENCODED)
                rest = b"%s\0\0%s" % (user, database + b"\0" if flags & WITH_DATABASE else b"")
                server[1].write(_framed(1, flags.to_bytes(4, "little") + login[4:32] + rest + NATIVE))
                answer = await _packet(server[0])
                writer.write(_framed(4 + secure, answer))
                self.logins += 1
                await _pass_on_both(reader, writer, *server)
            else:
                writer.write(_framed(4 + secure, OK))
                self.logins += 1
                await _answer(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            for writer in writers:
                self._writers.discard(writer)
                writer.close()
            if transport is None:
                connection.close()

    def _greeting(self, version: bytes) -> bytes:
        offered = OFFERED | (TLS if self.offers_tls else 0)
        low, high = offered & 0xFFFF, offered >> 16
        end = struct.pack("<HBHHB10x", low, 45, 2, high, 21) + b"s" * 12 + b"\0" + NATIVE
        return b"\x0a%s\0%s%s\0%s" % (version, struct.pack("<I", 1), b"s" * 8, end)

    def _fault(self, user: bytes, token: str) -> str | None:
        url = f"https://{token}"
        query = parse_qs(urlsplit(url).query)
        if user.decode() != self._user or query.get("DBUser") != [self._user]:
            return "another user"
        if urlsplit(url).netloc != self.host or query.get("Action") != ["connect"]:
            return "another database"
        return self._authority.fault(url, "rds-db")


def _framed(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


async def _exactly(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = await asyncio.get_running_loop().sock_recv(connection, size - len(got))
        if not piece:
            raise asyncio.IncompleteReadError(got, size)
        got += piece
    return got


async def _packet(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes((await reader.readexactly(4))[:3], "little")
    return await reader.readexactly(size)


def _user_and_database(login: bytes) -> tuple[bytes, bytes]:
    """Return what a handshake response names."""
    user, _, rest = login[32:].partition(b"\0")
    behind = rest[1 + rest[0] :]  # the scrambled password
    return user, behind.partition(b"\0")[0]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (command := await _packet(reader))[0] != QUIT:
        query = command[1:].strip().rstrip(b";").lower()
        if command[0] == QUERY and query.startswith(b"select"):
            value = ANSWERS.get(query, "1").encode()
            column = b"".join(bytes([len(it)]) + it for it in (b"def", b"", b"", b"", b"a", b"a"))
            column += b"\x0c" + struct.pack("<HIBHBxx", 45, 100, 0xFD, 0, 0)
            for number, payload in enumerate((b"\x01", column, EOF, bytes([len(value)]) + value, EOF), 1):
                writer.write(_framed(number, payload))
        else:
            writer.write(_framed(1, OK))


async def _pass_on_both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    from_server: asyncio.StreamReader,
    to_server: asyncio.StreamWriter,
) -> None:
    answers = asyncio.create_task(_pass_on(from_server, writer))
    try:
        await _pass_on(reader, to_server)
    finally:
        answers.cancel()


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(1 << 16):
            to.write(piece)
        to.close()
    except ConnectionError:
        to.close()
