"""The port of loopback that the browser comes back to: whatever else calls it changes nothing.

=====================================================  ========================================================
who calls, and how                                     what comes of it
=====================================================  ========================================================
another user, with no state or another one             400, and the wait goes on
a sign-in beside this one (mixed-up state)             400, and both go on
a script, image or frame of a web page                 403, whatever it sends
a web page whose own name leads to 127.0.0.1           421
another method, another path                           405, 404
a second tab, with the same address                    410, nothing is exchanged twice
two codes, no code, a control character                400
the address for the browser alone, twice               the sign-in stops
markup or a link in what is sent                       is on no page, and leads nowhere
=====================================================  ========================================================
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import aiohttp
import pytest

from aiocreds import LoginRequired
from aiocreds._base.redaction import SecretStr
from aiocreds.sources._redirect import NOT_SIGNED_IN, OF_ANOTHER, PATH, SIGNED_IN, USED, Redirect
from aiocreds.sources._sign_in import Asking, Prompt
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CODE = secret("code")
PAGE = "https://oidc.test/authorize?state=x"


class Waiting:
    """A sign-in that waits for the browser.

    Attributes:
        state: of it.
        exchanged: the codes that were exchanged.
        opened: what the browser was told to open.
        told: what the person was told.
    """

    def __init__(self, timeout: float = 20.0) -> None:
        self.state = SecretStr(secret("state"))
        self.exchanged: list[str] = []
        self.opened: list[tuple[str, str | None]] = []
        self.told: list[Prompt] = []
        self.redirect: Redirect[str] = Redirect(self.state, self._exchange)
        self.asking = Watched("corp", self._tell, False, False, timeout, self._required)
        self.outcome: asyncio.Task[str] | None = None

    async def __aenter__(self) -> Self:
        await self.redirect.__aenter__()
        Watched.opened = self.opened
        self.outcome = asyncio.create_task(self.redirect.follow(PAGE, self.asking, now=0))
        await until(lambda: bool(self.told))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.redirect.__aexit__(*exc_info)
        if self.outcome is not None:
            self.outcome.cancel()
            await asyncio.wait([self.outcome])
            if not self.outcome.cancelled():
                self.outcome.exception()

    def _exchange(self, code: SecretStr) -> str:
        self.exchanged.append(str(code))
        return "begun"

    async def _tell(self, prompt: Prompt) -> None:
        self.told.append(prompt)

    async def _required(self, message: str) -> LoginRequired:
        return LoginRequired(message)

    async def call(
        self,
        query: Mapping[str, str] | list[tuple[str, str]] | None = None,
        *,
        path: str = PATH,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str, Mapping[str, str]]:
        """The status, text and headers of the answer to a call of the port."""
        url = self.redirect.url.removesuffix(PATH) + path + (f"?{urlencode(query)}" if query else "")
        async with (
            aiohttp.ClientSession() as somebody,
            somebody.request(method, url, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status, await answer.text(), answer.headers

    @property
    def good(self) -> dict[str, str]:
        """Return the parameters that the browser comes back with."""
        return {"state": self.state, "code": CODE}

    async def comes_back(self) -> str:
        """The browser comes back well; the text of its page."""
        answer = asyncio.create_task(self.call(self.good))
        assert self.outcome is not None
        assert await self.outcome == "begun"
        self.redirect.signed_in()
        return (await answer)[1]


class Watched(Asking):
    """Notes what is opened."""

    opened: list[tuple[str, str | None]] = []  # noqa: RUF012 - of the latest sign-in

    def open(self, url: str, local: str | None = None) -> bool:
        self.opened.append((url, local))
        return True


@pytest.fixture
async def waiting() -> AsyncIterator[Waiting]:
    async with Waiting() as waiting:
        yield waiting


async def test_the_browser_comes_back(waiting: Waiting) -> None:
    assert waiting.redirect.url.startswith("http://127.0.0.1:")
    assert SIGNED_IN in await waiting.comes_back()
    assert waiting.exchanged == [CODE]


STRANGE: dict[str, tuple[dict[str, Any], int]] = {
    "no state": ({"query": {"code": CODE}}, 400),
    "no query": ({}, 400),
    "another state": ({"query": {"code": CODE, "state": "another"}}, 400),
    "an error with another state": ({"query": {"error": "access_denied", "state": "another"}}, 400),
    "a state that is no ASCII": ({"query": {"code": CODE, "state": "\N{SNOWMAN}"}}, 400),
    "another path": ({"path": "/"}, 404),
    "an icon": ({"path": "/favicon.ico"}, 404),
    "another entrance": ({"path": "/0000"}, 404),
}
WITH_STATE: dict[str, tuple[dict[str, Any], int]] = {
    "a script": ({"headers": {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}}, 403),
    "a script, which says no more": ({"headers": {"Sec-Fetch-Mode": "cors"}}, 403),
    "an image": ({"headers": {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}}, 403),
    "a frame": ({"headers": {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}}, 403),
    "a name of its own": ({"headers": {"Host": "evil.test"}}, 421),
    "a form": ({"method": "POST"}, 405),
    "another method": ({"method": "PUT"}, 405),
}
ODD = {
    "two codes": [("code", CODE), ("code", "b")],
    "no code": [],
    "a blank code": [("code", "")],
    "a control character": [("code", "a\x1b[2Jb")],
    "the state twice": [("code", CODE), ("state", "b")],
}


@pytest.mark.parametrize("what", STRANGE)
async def test_who_does_not_know_the_state(waiting: Waiting, what: str) -> None:
    call, status = STRANGE[what]
    answer = await waiting.call(**call)
    assert (answer[0], OF_ANOTHER in answer[1]) == (status, True)
    assert not waiting.exchanged
    assert SIGNED_IN in await waiting.comes_back()


@pytest.mark.parametrize("what", WITH_STATE)
async def test_who_knows_the_state_and_is_no_browser_window(waiting: Waiting, what: str) -> None:
    call, status = WITH_STATE[what]
    assert (await waiting.call(waiting.good, **call))[0] == status
    assert not waiting.exchanged
    assert SIGNED_IN in await waiting.comes_back()


@pytest.mark.parametrize("what", ODD)
async def test_what_is_odd(waiting: Waiting, what: str) -> None:
    assert (await waiting.call([("state", waiting.state), *ODD[what]]))[0] == 400
    assert not waiting.exchanged
    assert SIGNED_IN in await waiting.comes_back()


async def test_a_browser_that_says_what_it_does(waiting: Waiting) -> None:
    """As Chromium and Firefox do."""
    said = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}
    answer = asyncio.create_task(waiting.call(waiting.good, headers=said))
    await until(lambda: waiting.exchanged == [CODE])
    waiting.redirect.signed_in()
    assert SIGNED_IN in (await answer)[1]


async def test_a_second_tab(waiting: Waiting) -> None:
    await waiting.comes_back()
    status, text, _ = await waiting.call({"state": waiting.state, "code": "another"})
    assert (status, USED in text) == (410, True)
    assert waiting.exchanged == [CODE]


async def test_two_sign_ins_at_once() -> None:
    async with Waiting() as one, Waiting() as other:
        assert (await other.call(one.good))[0] == 400
        assert (await one.call(other.good))[0] == 400
        assert SIGNED_IN in await one.comes_back()
        assert SIGNED_IN in await other.comes_back()


@pytest.mark.parametrize(
    ("error", "shown"),
    [("access_denied", "access_denied"), ("<script>\x1b[2J", "an error"), ("a" * 65, "an error")],
)
async def test_an_error(waiting: Waiting, error: str, shown: str) -> None:
    status, text, _ = await waiting.call({"state": waiting.state, "error": error})
    assert (status, NOT_SIGNED_IN in text, "<script>" in text) == (200, True, False)
    assert waiting.outcome is not None
    with pytest.raises(LoginRequired) as info:
        await waiting.outcome
    assert str(info.value) == f"the sign-in ended in the browser ({shown})"


async def test_the_pages_hold_nothing_that_was_sent(waiting: Waiting) -> None:
    sent = {"next": "https://evil.test/", "redirect_uri": "https://evil.test/", "x": "<b>mark</b>"}
    for query in (sent, {**sent, "state": "b"}, {**sent, **waiting.good}):
        answering = asyncio.create_task(waiting.call(query))
        await asyncio.wait([answering], timeout=0.2)
        waiting.redirect.signed_in()
        status, text, headers = await answering
        assert "evil" not in text
        assert "mark" not in text
        assert CODE not in text
        assert "Location" not in headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert status in (200, 400)


async def test_the_system_s_browser_gets_an_address_without_the_state(waiting: Waiting) -> None:
    """Other users see in the list of processes what it is started with."""
    [(page, local)] = waiting.opened
    assert page == PAGE
    assert local is not None
    assert local.startswith(waiting.redirect.url.removesuffix(PATH) + "/")
    assert waiting.state not in local
    status, _, headers = await waiting.call(path=local.removeprefix(waiting.redirect.url.removesuffix(PATH)))
    assert (status, headers["Location"]) == (302, PAGE)
    assert SIGNED_IN in await waiting.comes_back()


async def test_another_user_was_there_first(waiting: Waiting) -> None:
    entrance = str(waiting.opened[0][1]).removeprefix(waiting.redirect.url.removesuffix(PATH))
    assert (await waiting.call(path=entrance))[0] == 302
    assert (await waiting.call(path=entrance))[0] == 410
    assert waiting.outcome is not None
    with pytest.raises(LoginRequired, match="another program has called the address"):
        await waiting.outcome
    assert (await waiting.call(waiting.good))[0] == 410
    assert not waiting.exchanged


@pytest.mark.parametrize("how", ["it ends", "it is cancelled", "nobody comes"])
async def test_nothing_is_left_behind(how: str) -> None:
    waiting = Waiting(timeout=0.05 if how == "nobody comes" else 20)
    async with waiting:
        url = waiting.redirect.url
        assert waiting.outcome is not None
        if how == "it ends":
            await waiting.comes_back()
        elif how == "it is cancelled":
            waiting.outcome.cancel()
        else:
            with pytest.raises(LoginRequired, match="nobody signed in in time"):
                await waiting.outcome
    async with aiohttp.ClientSession() as somebody:
        with pytest.raises(aiohttp.ClientConnectorError):
            await somebody.get(url)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
