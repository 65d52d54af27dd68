"""Sign a person in: what they are told, which browser is opened, and how a program learns that one is needed."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import secrets
import sys
from datetime import datetime
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from aiocreds._base import threads
from aiocreds._base.redaction import SecretStr
from aiocreds._base.tracing import one_line
from aiocreds._core.singleflight import attended
from aiocreds.errors import InvalidConfiguration, LoginRequired, SourceUnavailable, afresh

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiocreds._core.context import Context
    from aiocreds._profiles.sso import LoginCommand
    from aiocreds.credentials import Credentials

    SignInHook = Callable[[LoginRequired], Awaitable[object]]
    Prompter = Callable[["Prompt"], Awaitable[str | None]]
    Opener = Callable[[str], object]

logger = logging.getLogger("aiocreds.login")

LONGEST_WAIT = 600.0  # seconds for a person; the codes of AWS are good for as long
LONGEST_URL = 4096
REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")  # the browser is on another machine
DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = "import sys, webbrowser; webbrowser.open_new_tab(sys.argv[1])"


class Prompt(NamedTuple):
    """The step that a person has to take to sign in.

    Attributes:
        name: what is signed in to: a session, a start URL or a profile.
        url: the page to open.
        user_code: the code that the page shows or asks for; None where it does neither.
        wants_code: the page ends with a code for the person to bring back: the prompt function returns it.
        opened: a browser has been told to open the page.
        until: when the page stops working.
    """

    name: str
    url: str
    user_code: str | None
    wants_code: bool
    opened: bool
    until: datetime


class SignedIn(NamedTuple):
    """A sign-in that has been made.

    Attributes:
        name: the session, the start URL or the ``login_session`` that is signed in to.
        path: of the file that keeps it.
        expiration: when it has to be renewed, which happens by itself where that is possible.
        renewable: it can be renewed without a person.
    """

    name: str
    path: str
    expiration: datetime
    renewable: bool


class Asking(NamedTuple):
    """How a person is asked to sign in.

    Attributes:
        name: see :class:`Prompt`.
        prompt: tells the person what to do; None for some lines on stderr.
        open_browser: False for none, True for the system's, or what opens a URL.
        elsewhere: the browser is on another machine, so that nothing comes to a port of this one.
        timeout: seconds to wait for the person.
        required: makes the error for a person who does not sign in.
    """

    name: str
    prompt: Prompter | None
    open_browser: bool | Opener
    elsewhere: bool
    timeout: float
    required: Callable[[str], Awaitable[LoginRequired]]

    def open(self, url: str, local: str | None = None) -> bool:
        """Open a page in a browser without waiting for it; return whether that was tried.

        Args:
            url: the page.
            local: an address of this machine that leads there once. The system's browser gets it instead: what
                stands in the list of processes can be read by other users.
        """
        if callable(self.open_browser):
            _in_thread(self.open_browser, url)
            return True
        if self.open_browser and not getattr(sys, "frozen", False) and sys.executable:
            _in_thread(_open_system_browser, local or url)
            return True
        return False

    async def tell(
        self, url: str, until: float, *, opened: bool, user_code: str | None = None, wants_code: bool = False
    ) -> str:
        """Tell the person what to do; return the code that they bring back, blank for none."""
        prompt = Prompt(self.name, url, user_code, wants_code, opened, datetime.fromtimestamp(until).astimezone())
        answer = await (self.prompt or print_prompt)(prompt)
        return SecretStr((answer or "").strip())


class Pkce(NamedTuple):
    """The proof that who exchanges a code is who asked for it (RFC 7636), and the state of the request."""

    verifier: SecretStr
    challenge: str
    state: SecretStr

    @classmethod
    def new(cls) -> Pkce:
        """Return one for a single sign-in."""
        verifier = SecretStr(secrets.token_urlsafe(48))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        return cls(verifier, challenge, SecretStr(secrets.token_urlsafe(32)))

    def __repr__(self) -> str:
        return "Pkce(****)"


async def print_prompt(prompt: Prompt) -> str | None:
    """Tell a person on stderr what to do, and read the code that they bring back."""
    lines = [line + "\n" for line in lines_of(prompt)]
    await threads.submit(sys.stderr.writelines, lines)
    if not prompt.wants_code:
        return None
    return await threads.read_line(partial(_read_line, "Code: "))


def _read_line(question: str) -> str:
    """Return a line of stdin. A thread that waits in its buffer would abort Python at the end of the program."""
    try:
        descriptor = os.dup(sys.stdin.fileno())
    except OSError:  # no file, as in a notebook
        return input(question)
    # Without a buffer: what comes after the line is for the program to read.
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        sys.stderr.write(question)
        sys.stderr.flush()
        return file.readline().decode(errors="replace").strip()


def lines_of(prompt: Prompt) -> list[str]:
    """Return what a person is told, as lines for a terminal. What services sent cannot steer it."""
    name, url = one_line(prompt.name), one_line(prompt.url)
    if prompt.opened:
        lines = [f"To sign in to {name}, go on in the browser. If none has opened, open this page:", f"  {url}"]
    else:
        lines = [f"To sign in to {name}, open this page in a browser:", f"  {url}"]
    if prompt.user_code:
        lines.append(f"It must show this code: {one_line(prompt.user_code)}")
    if prompt.wants_code:
        lines.append("Then paste here the code that it shows.")
    return lines


def has_browser(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Return whether a browser on this machine can be opened for the person: not over ssh, not in a container."""
    if environ.get("BROWSER"):
        return True
    if any(map(environ.get, REMOTE)):
        return False
    return platform in ("win32", "darwin") or any(map(environ.get, DESKTOP))


def checked_page(url: object, *, origin: str) -> str:
    """Return the URL of a page that a service wants to be opened.

    Raises:
        SourceUnavailable: it is no https page: a browser might start a program, or read a file.
    """
    if isinstance(url, str) and url.isprintable() and " " not in url and len(url) <= LONGEST_URL:
        try:
            parts = urlsplit(url)
            if parts.hostname and (
                parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
            ):
                return url
        except ValueError:
            pass
    raise SourceUnavailable(f"{origin} answered with no https page for the person to open; check the endpoint")


async def login_required(message: str, command: LoginCommand, context: Context) -> LoginRequired:
    """Return the error for a person who has to sign in, with the command of AWS CLI where that is on PATH."""
    there = await threads.submit(_on_path, "aws", context.environ.get("PATH", ""))
    words = command.line(command.aws if there else "aiocreds login")
    return LoginRequired(message, command=words, sign_in=command.arguments)


def _on_path(name: str, path: str) -> bool:
    names = [f"{name}{end}" for end in (".exe", ".cmd")] if os.name == "nt" else [name]
    places = [os.path.join(folder, one) for folder in path.split(os.pathsep) if folder for one in names]  # noqa: PTH118 - pathlib is slow to load
    return any(os.path.isfile(place) and os.access(place, os.X_OK) for place in places)  # noqa: PTH113 - as above


async def with_person(fetch: Callable[[], Awaitable[Credentials]], sign_in: SignInHook) -> Credentials:
    """Return what `fetch` does, after a person has signed in if that is what it wants.

    They are asked only while a caller waits, one prompt at a time in a process, and not by who has waited for
    another's prompt and can go on with its sign-in.
    """
    try:
        return await fetch()
    except LoginRequired as error:
        if not attended():
            raise
        required = afresh(error)
    from aiocreds._base.foreground import one_prompt_at_a_time  # few programs ask

    async with one_prompt_at_a_time():
        try:
            return await fetch()
        except LoginRequired as error:
            required = afresh(error)
        await sign_in(required)
    return await fetch()


def _in_thread(open_page: Opener, url: str) -> None:
    """Open a page without waiting: some browsers end only when the person closes them."""

    def run() -> None:
        try:
            open_page(url)
        except Exception as error:  # noqa: BLE001 - the person has the address as well
            logger.debug("No browser was opened: %s", type(error).__name__)

    Thread(target=run, name="aiocreds browser", daemon=True).start()


def _open_system_browser(url: str) -> None:
    """Open a page by a program of its own, which may print, and has nothing of ours to print on or to hold open."""
    import subprocess  # people sign in seldom

    nowhere: Any = subprocess.DEVNULL
    words = [sys.executable, "-I", "-c", OPEN, url]
    subprocess.run(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, check=False)  # noqa: S603


def refuse_combination(*, given: bool, what: str, remedy: str) -> None:
    """Check that an option goes with what is signed in to.

    Raises:
        InvalidConfiguration: it does not.
    """
    if given:
        raise InvalidConfiguration(f"{what}: {remedy}")
