"""The browser of a person who signs in: a real Chromium, without a window.

Runs where Playwright and a Chromium are, such as in the session ``site`` of nox.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from aiocreds import Context, LoginRequired, from_sso
from aiocreds.login import Prompt, sign_in
from aiocreds.sources import _sign_in
from tests.helpers.loopback_aws import Answer, Loopback
from tests.helpers.scripted import until
from tests.helpers.shared_files import APP, sso_token_file, write_config
from tests.helpers.sign_in_services import ACCOUNT, OIDC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

playwright = pytest.importorskip("playwright.async_api", reason="Playwright is not here: nox -s site has it")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the PATH: install it, or set CHROMIUM to its path"),
]
SIGNED_IN, NOT_SIGNED_IN = "You are signed in. You may close this window.", "You are not signed in."
EVIL = """
<script>fetch("{0}").catch(() => 0); fetch("{0}", {{mode: "no-cors"}}).catch(() => 0)</script>
<img src="{0}"><iframe src="{0}" onload="document.title = 'loaded'"></iframe>
"""


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return {**aws.environ, "BROWSER": "one"}


@pytest.fixture(autouse=True)
def config(home: Path) -> Path:
    return write_config(home, APP)


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """A window of Chromium: a context of Playwright."""
    async with playwright.async_playwright() as running:
        chromium = await running.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield await chromium.new_context()
        await chromium.close()


class Started:
    """A sign-in that has been started, and the page that the person has before them.

    Attributes:
        task: the sign-in.
        opened: what the system's browser was told to open.
        prompts: what the person was told.
    """

    def __init__(self, context: Context, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.opened: list[str] = []
        self.prompts: list[Prompt] = []
        monkeypatch.setattr(_sign_in, "_open_system_browser", self.opened.append)
        self.task = asyncio.create_task(sign_in("app", prompt=self._told, context=context, **options))

    async def _told(self, prompt: Prompt) -> None:
        self.prompts.append(prompt)

    async def page(self, browser: Any) -> Any:
        """The page that the browser opens: that of the service, by way of the address of this machine."""
        await until(lambda: bool(self.opened) and bool(self.prompts))
        page = await browser.new_page()
        assert urlsplit(self.opened[0]).hostname == "127.0.0.1"
        await page.goto(self.opened[0])
        assert page.url == self.prompts[0].url
        return page

    @property
    def back(self) -> str:
        """The address that the service leads back to."""
        return parse_qs(urlsplit(self.prompts[0].url).query)["redirect_uri"][0]

    @property
    def state(self) -> str:
        return parse_qs(urlsplit(self.prompts[0].url).query)["state"][0]


@pytest.fixture
async def started(context: Context, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Started]:
    started = Started(context, monkeypatch)
    yield started
    started.task.cancel()
    await asyncio.wait([started.task])


async def text_of(page: Any) -> str:
    text: str = await page.inner_text("body")
    return text


async def test_approve(context: Context, browser: Any, started: Started) -> None:
    page = await started.page(browser)
    await page.click("#approve")
    assert (await started.task).name == "corp"
    assert SIGNED_IN in await text_of(page)
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


async def test_deny(home: Path, browser: Any, started: Started) -> None:
    page = await started.page(browser)
    await page.click("#deny")
    with pytest.raises(LoginRequired, match="access_denied"):
        await started.task
    assert NOT_SIGNED_IN in await text_of(page)
    assert not sso_token_file(home).exists()


async def test_the_tab_is_closed(
    context: Context, home: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Started(context, monkeypatch, timeout=8)
    page = await started.page(browser)
    await page.close()
    with pytest.raises(LoginRequired, match="nobody signed in in time"):
        await started.task
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", urlsplit(started.back).port)
    assert not sso_token_file(home).exists()


async def test_a_wrong_state(aws: Loopback, browser: Any, started: Started) -> None:
    page = await started.page(browser)
    other = await browser.new_page()
    await other.goto(f"{started.back}?code=injected&state=another")
    assert "belongs to another sign-in" in await text_of(other)
    assert not aws.count(OIDC)
    await page.click("#approve")
    assert SIGNED_IN in await text_of(page)
    await started.task


async def test_a_second_tab(aws: Loopback, browser: Any, started: Started) -> None:
    """It has the same address, while the first one's code is exchanged."""
    aws.script(OIDC, lambda answer: Answer(answer.status, answer.body, answer.headers, delay=2))
    page = await started.page(browser)
    clicking = asyncio.create_task(page.click("#approve"))
    await until(lambda: aws.count(OIDC) == 1)
    [code] = aws.sign_in.authorization.codes
    second = await browser.new_page()
    # In another order: for the very same address, Chromium itself waits for the first answer.
    await second.goto(f"{started.back}?state={quote(started.state)}&code={quote(code)}")
    assert "used already" in await text_of(second)
    await started.task
    await clicking
    await page.wait_for_load_state()
    assert SIGNED_IN in await text_of(page)
    assert aws.count(OIDC) == 1


async def test_a_web_page_that_calls_the_port(aws: Loopback, browser: Any, started: Started) -> None:
    """Even with the state, which it cannot know."""
    page = await started.page(browser)
    evil, address = await browser.new_page(), f"{started.back}?code=injected&amp;state={quote(started.state)}"
    html = EVIL.format(address)
    aws.always("/evil", Answer(body=html, headers={"Content-Type": "text/html"}))
    await evil.goto(re.sub("127.0.0.1", "localhost", f"{aws.url}/evil"))
    await evil.wait_for_function("document.title === 'loaded'")
    assert not aws.count(OIDC)
    await page.click("#approve")
    assert SIGNED_IN in await text_of(page)
    await started.task
    assert [code.used for code in aws.sign_in.authorization.codes.values()] == [True]


async def test_the_address_is_opened_twice(browser: Any, started: Started) -> None:
    """As when another user was quicker than the browser."""
    await started.page(browser)
    page = await browser.new_page()
    await page.goto(started.opened[0])
    assert "used already" in await text_of(page)
    with pytest.raises(LoginRequired, match="another program has called the address"):
        await started.task
