"""Context: what the sources see of the machine."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakKeyDictionary

from aiocreds._base.paths import home_folder
from aiocreds._core.refresh import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    import aiohttp

    from aiocreds._http import Http


T = TypeVar("T")
PROFILE, OLDER_PROFILE = "AWS_PROFILE", "AWS_DEFAULT_PROFILE"


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that this code runs on.

    Raises:
        RuntimeError: there is none; it says what to do under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "aiocreds runs on asyncio, and no asyncio event loop runs here: await it in what asyncio.run() has"
            " started; in a program on trio, run it so in a thread of its own"
        ) from None


class Context:
    """The environment, the home folder, the clock and the HTTP session that sources use.

    A program needs none of its own: the default one serves the whole process. A program that has an aiohttp
    session lends it. A test passes its own and patches nothing::

        Context({"AWS_EC2_METADATA_DISABLED": "true"}, home=tmp_path)

    ``async with context:`` keeps the HTTP session open between calls. Without it, connections are kept for five
    seconds, and closed at the end of ``asyncio.run``; who closes a loop by hand calls ``loop.shutdown_asyncgens()``
    first. The default context pickles by its name; no other can be pickled or copied.
    A source of one's own may use what aiocreds's sources do: ``environ``, ``home`` and ``session`` as they were
    given, :meth:`setting`, :meth:`flag`, :meth:`home_folder` and :meth:`cached`, ``clock.now()``, which is the time
    in seconds as the services count it, and :attr:`http`.

    Args:
        environ: the environment variables, read at each fetch; by default the process's own.
        home: the folder that ``~`` stands for; by default from ``HOME`` (``USERPROFILE`` on Windows), else the
            account's.
        session: an open ``aiohttp.ClientSession`` whose connector is borrowed on its own loop. Its default
            headers, cookies and authentication never meet our requests, and it is never closed.
    """

    __slots__ = (
        "_cached",
        "_held",
        "_http",
        "clock",
        "environ",
        "home",
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
        self._cached: dict[Hashable, Any] = {}
        self._http: Http | None = None
        self._held: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()

    @property
    def http(self) -> Http:
        """The HTTP client of the sources; the first use loads aiohttp."""
        if self._http is None:
            from aiocreds._http import Http  # most programs on a laptop never get here

            self._http = Http(self.environ, self.session, held=self._held, home=self.home)
        return self._http

    def home_folder(self) -> str:
        """Return the folder that ``~`` stands for; something that begins with ``~`` where none is known."""
        return self.home or home_folder(self.environ)

    def setting(self, name: str) -> str | None:
        """Return an environment variable; None if it is unset or blank."""
        return self.environ.get(name, "").strip() or None

    def flag(self, name: str) -> bool:
        """Return whether an environment variable is ``true`` or ``1``, in any case."""
        return self.environ.get(name, "").strip().lower() in ("true", "1")

    def cached(self, key: Hashable, factory: Callable[[], T]) -> T:
        """Return what the sources of this context remember under a key, made by ``factory`` on first use.

        It lives as long as the context, and any thread may use it.
        """
        if key not in self._cached:
            self._cached.setdefault(key, factory())  # in one step: another thread may be faster
        found: T = self._cached[key]
        return found

    def __reduce__(self) -> str:
        if self is DEFAULT:
            return "DEFAULT"
        raise TypeError("a context belongs to its process and knows its environment: make a Context anew there")

    def __repr__(self) -> str:
        return f"<Context of {'this process' if self.environ is os.environ else 'its own environment'}>"

    async def __aenter__(self) -> Self:
        loop = running_loop()
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


async def load_http(context: Context) -> Http:
    """Return the HTTP client of a context; what it needs is loaded in a thread.

    That takes a third of a second, and many times that while a fleet of processes starts. On the loop, a process
    that has a lease would miss its heartbeats, and a server would answer nothing meanwhile.
    """
    if not hasattr(sys.modules.get("aiocreds._http"), "Http"):  # else it may be loading in another thread
        from aiocreds._base import threads

        with suppress(RuntimeError):  # no thread can be started
            await threads.submit(import_module, "aiocreds._http")
    return context.http


def profile_place(context: Context, explicit: str | None = None) -> str:
    """Return the variable that names the profile to use; blank when it is named in code, or nowhere."""
    if (explicit or "").strip():
        return ""
    return next(filter(context.setting, (PROFILE, OLDER_PROFILE)), "")


def check_context(given: object, taker: str) -> None:
    """Raise TypeError for what a program passes as a context and is none."""
    if not isinstance(given, Context):
        raise TypeError(f"{taker} takes context=Context(…), not {type(given).__name__}")
