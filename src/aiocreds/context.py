"""What the sources see of the machine."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from aiocreds.refresh import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from aiocreds.http import Http


class Context:
    """The environment, the home folder, the clock and the HTTP session that sources use.

    A program needs none of its own: the default one serves the whole process. A program that has an aiohttp
    session lends it. A test passes its own and patches nothing::

        Context({"AWS_EC2_METADATA_DISABLED": "true"}, home=tmp_path)

    ``async with context:`` keeps the HTTP session open between calls. What is not named here is the sources' own.
    The default context pickles by its name; no other can be pickled or copied.

    Args:
        environ: the environment variables, read at each fetch; by default the process's own.
        home: the folder that ``~`` stands for; by default from ``HOME`` (``USERPROFILE`` on Windows), else the
            account's.
        session: an open ``aiohttp.ClientSession`` whose connector is borrowed on its own loop. Its default
            headers, cookies and authentication never meet our requests, and it is never closed.
    """

    __slots__ = (
        "_held",
        "_http",
        "answered",
        "clock",
        "config_cache",
        "environ",
        "home",
        "looks",
        "renewals",
        "session",
    )

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        home: str | os.PathLike[str] | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self.environ = os.environ if environ is None else environ
        self.home = None if home is None else os.fspath(home)
        self.session = session
        self.clock = Clock()
        self.config_cache: dict[Any, Any] = {}
        self.looks: dict[Any, Any] = {}
        self.answered: dict[str, bool] = {}  # metadata services by URL, and whether tokens arrive
        self.renewals: dict[str, Any] = {}  # what is known of cached sign-ins, by path
        self._http: Http | None = None
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()

    @property
    def http(self) -> Http:
        """What requests go through; the first use loads aiohttp."""
        if self._http is None:
            from aiocreds.http import Http  # most programs on a laptop never get here

            self._http = Http(self.environ, self.session, held=self._held)
        return self._http

    def setting(self, name: str) -> str | None:
        """An environment variable; a blank one counts as unset."""
        return self.environ.get(name, "").strip() or None

    def flag(self, name: str) -> bool:
        """Whether an environment variable says ``true`` or ``1``, in any case."""
        return self.environ.get(name, "").strip().lower() in ("true", "1")

    def __reduce__(self) -> str:
        if self is DEFAULT:
            return "DEFAULT"
        raise TypeError("a context belongs to its process and knows its environment: make a Context anew there")

    def __repr__(self) -> str:
        return f"<Context of {'this process' if self.environ is os.environ else 'its own environment'}>"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._held[loop] = self._held.get(loop, 0) + 1
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        loop = asyncio.get_running_loop()
        self._held[loop] -= 1
        if not self._held[loop]:
            del self._held[loop]
            if self._http is not None:
                await self._http.close_idle()


DEFAULT = Context()
