"""A proxy before a Valkey that checks the tokens of its logins, as ElastiCache does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl

    from tests.helpers.token_check import Authority

LONGEST = 12 * 3600.0  # seconds since its last login, after which the service closes a connection
SAYS_OK = [b"CLIENT", b"REPLY", b"ON"]


class CacheProxy:
    """``async with CacheProxy(authority, user="app", cache="sessions") as proxy``.

    Attributes:
        port: where it listens; the Valkey behind it may be set later.
        behind: the port of the Valkey.
        logins: of all connections, those that log in again included.
        repeated: logins on connections that had logged in before.
        refused: why a login was, one entry each.
        expired: connections that were used 12 hours after their last login, and closed.
        signers: the access key id that signed each login's token.
        open: connections.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        user: str,
        cache: str,
        serverless: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._authority = authority
        self._user, self._cache = user, cache
        self._kind = "ServerlessCache" if serverless else None
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self.behind = 0
        self.logins = self.repeated = self.expired = 0
        self.refused: list[str] = []
        self.signers: list[str] = []

    @property
    def open(self) -> int:
        return len(self._writers)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.drop_all()
        await asyncio.sleep(0)

    def drop_all(self) -> None:
        """Close all connections, as the service does after 12 hours."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_valkey, to_valkey = await asyncio.open_connection("127.0.0.1", self.behind)
        self._writers.add(writer)
        answers = asyncio.create_task(_pass_on(from_valkey, writer))
        logged_in, last_login = False, 0.0
        try:
            while True:
                words = await _command(reader)
                if logged_in and self._authority.now() - last_login > LONGEST:
                    self.expired += 1
                    return
                name = words[0].upper()
                upper = [word.upper() for word in words]
                if name == b"AUTH" or (name == b"HELLO" and b"AUTH" in upper):
                    fault = self._fault(*words[-2:])
                    if fault is not None:
                        self.refused.append(fault)
                        writer.write(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
                        await writer.drain()
                        return
                    self.logins += 1
                    self.repeated += logged_in
                    logged_in, last_login = True, self._authority.now()
                    words = SAYS_OK if name == b"AUTH" else words[:2]
                elif not logged_in:
                    writer.write(b"-NOAUTH Authentication required.\r\n")
                    continue
                to_valkey.write(b"*%d\r\n" % len(words))
                to_valkey.write(b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            answers.cancel()
            self._writers.discard(writer)
            to_valkey.close()
            writer.close()

    def _fault(self, user: bytes, token: bytes) -> str | None:
        url = f"https://{token.decode()}"
        query = parse_qs(urlsplit(url).query)
        if user.decode() != self._user or query.get("User") != [self._user]:
            return "another user"
        if urlsplit(url).netloc != self._cache or query.get("Action") != ["connect"]:
            return "another cache"
        if query.get("ResourceType", [None])[0] != self._kind:
            return "another kind of cache"
        self.signers.append(query["X-Amz-Credential"][0].partition("/")[0])
        return self._authority.fault(url, "elasticache")


async def _pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(1 << 16):
            to.write(piece)
        to.close()
    except OSError:
        to.close()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    words: list[bytes] = []
    for _ in range(int((await reader.readuntil(b"\r\n"))[1:])):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words
