"""The surroundings of one cell, and how faults get at it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import ssl
import sys
import threading
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE, Popen
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast
from unittest import mock

import aiohttp
from aiohttp.abc import AbstractResolver

from aiocreds import Context
from aiocreds.sources.cognito.credentials import MemoryCache
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Reset, json_answer
from tests.helpers.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from aiocreds import Provider
    from tests.helpers.idle_time import IdleTime
    from tests.helpers.loopback_aws import Script, Spoil
    from tests.helpers.tls import TLS
    from tests.stress.faults.sources import Subject


class World(NamedTuple):
    """The services that all cells share.

    Attributes:
        disk: with a folder for each.
        trusted: a certificate that their machines trust.
        untrusted: one that they do not.
        set_clock: sets the clock of them all, by so many seconds.
    """

    disk: Disk
    trusted: TLS
    untrusted: TLS
    set_clock: Callable[[float], object] = lambda _: None


class Bench:
    """A service, a machine that uses it, and what may break between them.

    Attributes:
        subject: the source under test.
        aws: the service.
        tls: what the service speaks it with, where the cell needs that.
        names: who tells the addresses of host names, where the cell needs that.
        world: what it shares with other cells.
        home: of the machine; made by who puts something there.
        environ: of the machine.
        context: of the machine.
        program: what the source runs.
        ids: the program's own cache of identity ids.
        reads: the file that the source reads a token from.
        rotate: makes the next text of that file out of the old one.
        writes: the folder that the source keeps tokens in.
        spare_until: what was found on the machine is good until then.
        knows_time: what the time is does not depend on what the machine has learned of its service.
        engine: the server that the source is shared through, where the cell needs that.
        folder: likewise, a folder.
        peer: another host that shares it.
    """

    def __init__(self, subject: Subject, needs: Sequence[str], home: Path, world: World) -> None:
        self.subject = subject
        self.home = home
        self.world = world
        self.environ: dict[str, str] = {}
        self.program = Program(home)
        self.ids = Ids()
        self.names = Names()
        self.reads: Path | None = None
        self.rotate: Callable[[str], str] = str
        self.writes: Path | None = None
        self.spare_until = 0.0
        self.knows_time = False
        self.engine = Engine(home, world) if "store" in needs else None
        self.folder = home.with_name(f"{home.name}-shared") if "folder" in needs else None
        self.peer: Provider | None = None
        self.tls: ssl.SSLContext | None = None
        if "tls" in needs:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(world.trusted.pem)
            self.environ["AWS_CA_BUNDLE"] = str(world.trusted.ca)
        self.aws = Loopback(self.tls)
        self.aws.lifetime = timedelta(seconds=subject.lifetime)
        self._by_name = "name" in needs
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.aws)
        session = None
        if self._by_name:
            connector = aiohttp.TCPConnector(resolver=self.names, use_dns_cache=False, force_close=True)
            session = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            self.aws.url = self.aws.url.replace("127.0.0.1", "localhost")
        self.environ |= self.aws.environ
        self.context = Context(self.environ, home=self.home, session=session)
        if self.engine is not None:
            await self._stack.enter_async_context(self.engine)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def start(self, code: str, *arguments: str) -> Popen[bytes]:
        """Start another process, which is killed at the end."""
        started = self._stack.enter_context(Popen([sys.executable, "-c", code, *arguments], stdout=PIPE))
        self._stack.callback(started.kill)
        return started

    def now(self) -> float:
        """Seconds since the epoch as the service counts them, or as the machine believes that it does."""
        if self.knows_time:
            return time() + self.aws.clock.total_seconds()
        return self.context.clock.now()

    def befall(self, script: Script, *, once: bool = False) -> None:
        """Have this happen to whatever the source asks: each time, or the first time it asks for something."""
        if self.program.document is not None:
            self.program.befall(script)
        for path in self.subject.paths:
            if once:
                self.aws.script(path, script)
            else:
                self.aws.always(path, script)


class Names(AbstractResolver):
    """Tells that every name is this machine's, as long as it can be found."""

    def __init__(self) -> None:
        self.lost = False

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[Any]:
        if self.lost:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        address = {"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET}
        return [address | {"proto": 0, "flags": socket.AI_NUMERICHOST}]

    async def close(self) -> None:
        pass


class Ids(MemoryCache):
    """A cache of identity ids on a disk that may break."""

    broken: OSError | None = None

    async def put(self, key: str, value: str) -> None:
        if self.broken is not None:
            raise self.broken
        await super().put(key, value)

    async def delete(self, key: str) -> None:
        if self.broken is not None:
            raise self.broken
        await super().delete(key)


class Program:
    """A credential process that prints a document, or does what befalls it.

    Attributes:
        command: to run it.
        document: makes what it prints, anew for each run; None: nobody runs it.
    """

    def __init__(self, folder: Path) -> None:
        self.command = folder / "vend"
        self.document: Callable[[], object] | None = None
        self._output = folder / "output"
        self._spoil: Spoil | None = None
        self._ends = True

    def vend(self, document: Callable[[], object]) -> str:
        """Have it print this; how it is called."""
        self.document = document
        self.command.parent.mkdir()
        self.act(f"exec cat {self._output}")
        return str(self.command)

    def act(self, action: str, *, ends: bool = True) -> None:
        """Have it do this from now on; whether it ends by itself."""
        self.command.write_text(f"#!/bin/sh\n{action}\n")
        self.command.chmod(0o755)
        self._ends = ends

    def befall(self, script: Script) -> None:
        """Have it do what a service would do."""
        if isinstance(script, Hang):
            self.act("exec sleep 86400", ends=False)
        elif isinstance(script, Answer):
            failed = self.command.with_name("failed")
            self.act(f"[ -e {failed} ] && exec cat {self._output}\n: > {failed}\nexit 1")
        elif not isinstance(script, Reset):
            self._spoil = script
            if script(Answer()).drip:
                self.act("while :; do printf '{'; sleep 1; done", ends=False)

    @asynccontextmanager
    async def running(self, loop: IdleTime) -> AsyncIterator[None]:
        """During a trip to it."""
        if self.document is not None:
            answer = json_answer(self.document())
            answer = self._spoil(answer) if self._spoil is not None else answer
            text = answer.body.encode() if isinstance(answer.body, str) else answer.body
            await asyncio.to_thread(self._output.write_bytes, text)
        with loop.at_work() if self.document is not None and self._ends else nullcontext():
            yield


class Engine:
    """A Valkey server of its own, as the store and the lease of one cell; no time passes while it is at work.

    Attributes:
        server: its process.
        answers: it does, sooner or later.
    """

    def __init__(self, home: Path, world: World) -> None:
        self._home = home
        self._world = world
        self._loop = cast("IdleTime", asyncio.get_running_loop())
        self._stack = AsyncExitStack()
        self.answers = True

    async def __aenter__(self) -> Self:
        folder = self._home.with_name(f"{self._home.name}-valkey")
        folder.mkdir()
        self.server = self._stack.enter_context(Valkey(folder))
        self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def connect(self, port: int | None = None, **more: Any) -> None:
        """Connect anew, to the server or to what listens at another port."""
        from key_value.aio.stores.redis import RedisStore
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._client: Any = Redis(
            port=port or self.server.port, retry=Retry(NoBackoff(), 0), decode_responses=True, **more
        )
        self._store: Any = RedisStore(client=self._client)
        self._stack.push_async_callback(self._client.aclose)

    async def lose(self) -> None:
        """Lead to where connections are accepted and nobody answers."""
        hole = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.answers = False
        self.connect(hole.getsockname()[1])

    async def distrust(self) -> None:
        """Lead to a server whose certificate is of another authority."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._world.untrusted.pem)
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0, ssl=tls)
        self._stack.callback(server.close)
        self.connect(server.sockets[0].getsockname()[1], ssl=True, ssl_ca_certs=str(self._world.trusted.ca))

    async def names(self) -> list[str]:
        """The names of its entries and leases."""
        return cast("list[str]", await self._client.keys("*"))

    async def replace(self, name: str, value: str) -> None:
        """Replace an entry by a text."""
        await self._client.set(name, value)

    async def text(self, name: str) -> str:
        """An entry as it is kept."""
        return cast("str", await self._client.get(name))

    async def get(self, key: str, *, collection: str | None = None) -> Any:
        with self._at_work():
            return await self._store.get(key, collection=collection)

    async def put(self, key: str, value: Any, *, collection: str | None = None, ttl: float | None = None) -> None:
        with self._at_work():
            await self._store.put(key, value, collection=collection, ttl=ttl)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        with self._at_work():
            return bool(await self._store.delete(key, collection=collection))

    async def eval(self, *words: Any) -> Any:
        with self._at_work():
            return await self._client.eval(*words)

    def _at_work(self) -> AbstractContextManager[None]:
        return self._loop.at_work() if self.answers else nullcontext()


class Disk:
    """Where faults of files are put in: the functions of ``os`` and ``fcntl``, as the library calls them.

    A test that may run as root has no other way to a read-only folder, nor any to a rotation at the worst moment.
    The full disk is the system's own ``/dev/full``, and says so itself.

    Attributes:
        full: folders whose files cannot grow.
        read_only: folders that cannot be written to.
        rotated: what happens to a file that is read, between the look at it and the reading.
        broken: folders on which a function fails, with the number of its error.
        hanging: folders whose files nobody can open until this is over.
    """

    def __init__(self) -> None:
        self.full: set[str] = set()
        self.read_only: set[str] = set()
        self.rotated: dict[str, Callable[[], None]] = {}
        self.broken: dict[tuple[str, str], int] = {}
        self.hanging: dict[str, Callable[[], None]] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While the cells are played."""
        self._open, self._fstat, self._flock = os.open, os.fstat, fcntl.flock
        with ExitStack() as stack:
            for module, name, instead in (
                (os, "open", self._opened),
                (os, "fstat", self._looked_at),
                (fcntl, "flock", self._locked),
                *((os, name, self._changing(name)) for name in ("replace", "utime", "unlink", "mkdir")),
            ):
                stack.enter_context(mock.patch.object(module, name, instead))
            yield

    def _changing(self, name: str) -> Callable[..., Any]:
        """Return a function that changes what a folder holds, which may fail."""
        real = getattr(os, name)

        def changed(path: Any, *arguments: Any, **more: Any) -> Any:
            self._fail(name, path)
            if folder_of(path) in self.read_only:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return real(path, *arguments, **more)

        return changed

    def _fail(self, function: str, path: Any) -> None:
        if number := self.broken.get((function, folder_of(path))):
            raise OSError(number, os.strerror(number), path)

    def _locked(self, descriptor: int, operation: int) -> None:
        self._fail("flock", Path(f"/proc/self/fd/{descriptor}").readlink())
        self._flock(descriptor, operation)

    def _opened(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        self._fail("open", path)
        if self.hanging and threading.current_thread() is not threading.main_thread():
            self.hanging.get(folder_of(path), bool)()
        if flags & (os.O_WRONLY | os.O_RDWR):
            folder, name = os.path.split(path)
            if folder in self.read_only:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            if folder in self.full and name.endswith(".tmp"):
                os.close(self._open(path, flags, mode))
                path, flags = "/dev/full", os.O_RDWR
        return self._open(path, flags, mode, dir_fd=dir_fd)

    def _looked_at(self, descriptor: int) -> os.stat_result:
        found = self._fstat(descriptor)
        if threading.current_thread() is not threading.main_thread():  # on the loop, no file is read
            happens = self.rotated.get(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            if happens is not None:
                happens()
        return found


def folder_of(path: Any) -> str:
    """Return the folder that a file is in."""
    return os.path.split(f"{path}")[0]


class Rotation:
    """Rotates a token file in place, which takes from one look at it to the next: first it is empty, then new."""

    def __init__(self, file: Path, renewed: Callable[[str], str]) -> None:
        self._file = file
        self._renewed = renewed
        self._old = ""
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            if self._old:
                self._file.write_text(self._renewed(self._old))
                self._old = ""
            else:
                self._old = self._file.read_text()
                self._file.write_text("")
