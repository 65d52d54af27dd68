"""Open the built documentation in headless Chromium: home page, search, an API page, a telephone's width.

Run as ``python docs/browser.py FOLDER`` with Playwright and a Chromium (``CHROMIUM``, else the one on PATH).
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Page

TELEPHONE, SMALLEST = 390, 14  # CSS pixels: the width of the window, the least size of text
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


class Silent(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


WIDER = """
    () => [...document.querySelectorAll("article, article *")].filter((one) => {
        if (one.getBoundingClientRect().right <= window.innerWidth + 1) return false;
        for (let box = one.parentElement; box && box.tagName !== "ARTICLE"; box = box.parentElement)
            if (["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX)) return false;
        return getComputedStyle(one).position !== "absolute";
    }).map((one) => one.outerHTML.slice(0, 80))
"""  # what has no scroll bar of its own, as tables and code have


def check(page: Page, home: str, paths: list[str], complaints: list[str]) -> None:
    """Open the home page, the search, the API page, and then every page at the width of a telephone.

    Raises:
        AssertionError: a page does not show what it should, is too wide, or has an error in the console.
    """
    page.goto(home)
    expect(page.get_by_role("heading", level=1)).to_contain_text("aiocreds")

    page.goto(f"{home}search.html?q=from_instance_metadata")
    results = page.locator("#search-results li")
    expect(results.first).to_be_visible(timeout=15_000)
    results.first.get_by_role("link").first.click()
    expect(page.locator("body")).to_contain_text("from_instance_metadata")

    page.goto(f"{home}reference/api.html")
    for name in ("Credentials", "default_chain", "from_sso", "LoginRequired"):
        expect(page.locator(f"[id='aiocreds.{name}']")).to_be_visible()

    page.set_viewport_size({"width": TELEPHONE, "height": 844})
    for path in paths:
        page.goto(home + path)
        wider = page.evaluate(WIDER)
        assert not wider, f"{path} is wider than {TELEPHONE} pixels: {wider}"
        size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('article p')).fontSize)")
        assert size >= SMALLEST, f"{path} has text of {size} pixels"
    assert not complaints, complaints


def main(folder: Path) -> None:
    """Serve the folder on loopback and check it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    complaints: list[str] = []
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
            page = browser.new_page()
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            paths = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*/*.html"))]
            pages = ["index.html", *(path for path in paths if not path.startswith("_"))]
            check(page, f"http://127.0.0.1:{server.server_port}/", pages, complaints)
            browser.close()
    finally:
        server.shutdown()
    print(f"home page, search, API page, and {len(pages)} pages at {TELEPHONE} pixels: no error")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
