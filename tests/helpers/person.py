"""A person who signs in: reads the prompt, goes to the page, says yes or no, and comes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from aiocreds.login import Prompt


@dataclass
class Person:
    """Pass it as ``prompt=``, or its :meth:`open` as ``open_browser=``.

    Attributes:
        decision: ``"approve"`` or ``"deny"``; None for nothing at all.
        pasted: in the place of the code that the page shows; None for that code.
        prompts: what was asked.
        pages: the status and text of the pages that the browser ended on.
        errands: what is being done in the browser.
    """

    decision: str | None = "approve"
    pasted: str | None = None
    prompts: list[Prompt] = field(default_factory=list["Prompt"])
    pages: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    errands: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    async def __call__(self, prompt: Prompt) -> str | None:
        """Go to the page that the prompt names."""
        self.prompts.append(prompt)
        if prompt.wants_code:
            return self.pasted if self.pasted is not None else await self.code_of(prompt.url)
        if self.decision is not None:
            self.errands.append(asyncio.create_task(self.go(prompt.url)))
        return None

    async def go(self, page: str) -> None:
        """Open a page of the service, decide there, and follow where that leads."""
        async with aiohttp.ClientSession() as browser:
            async with browser.get(page) as answer:
                assert answer.status == 200, await answer.text()
            if page.partition("?")[0].endswith("/authorize"):
                back = await self.decided(browser, page)
                async with browser.get(URL(back, encoded=True)) as answer:
                    self.pages.append((answer.status, await answer.text()))

    async def code_of(self, page: str) -> str:
        """The code that the page of the console shows for another device."""
        async with aiohttp.ClientSession() as browser:
            back = await self.decided(browser, page)
            async with browser.get(URL(back, encoded=True)) as answer:
                return (await answer.text()).partition("<p id=code>")[2].partition("<")[0]

    async def decided(self, browser: aiohttp.ClientSession, page: str) -> str:
        """Where the service sends the browser after the decision."""
        url = URL(page, encoded=True)
        link = f"{url.origin()}/{self.decision}?{url.raw_query_string}"
        async with browser.get(URL(link, encoded=True), allow_redirects=False) as answer:
            return answer.headers["Location"]

    async def home(self) -> None:
        """Wait until the browser is closed."""
        await asyncio.gather(*self.errands)
