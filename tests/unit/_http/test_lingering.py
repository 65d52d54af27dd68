"""Connections that nobody holds are kept for some seconds, and closed by themselves or by the end of their loop."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiocreds import Context
from aiocreds._http import Http, session
from tests.helpers.command import PATIENCE
from tests.helpers.representatives import slow_but
from tests.helpers.scripted import until

if TYPE_CHECKING:
    from tests.helpers.loopback_aws import Loopback

ENDS: dict[str, str] = {
    "asyncio.run": "asyncio.run(main())",
    "a loop that is closed": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """,
    "a loop that goes on after the end of its generators": """
        loop = asyncio.new_event_loop()
        none = len(connections())
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert len(connections()) == none
        loop.run_until_complete(ask())
        loop.close()
    """,
    "a loop that is closed in an entered context": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(context.__aenter__())
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """,
    "a loop that is dropped": """
        warnings.filterwarnings("ignore", "unclosed (event loop|transport|<socket)", ResourceWarning)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        del loop
    """,
    "a loop that is closed without the end of its generators": """
        warnings.filterwarnings("ignore", "unclosed (transport|<socket)", ResourceWarning)  # asyncio's own
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        del loop
    """,
    "a fork that drops the loop": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        if not os.fork():
            warnings.filterwarnings("ignore", "unclosed (event loop|transport|<socket)", ResourceWarning)
            del loop
            gc.collect()
            os._exit(0)
        assert os.wait()[1] == 0
        loop.run_until_complete(main(more=0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """,
    "two contexts, and a thread of its own": """
        other = Context({})

        async def both():
            await main()
            await other.http.request("GET", url, provider="test", timeout=5)

        thread = threading.Thread(target=asyncio.run, args=(both(),))
        thread.start()
        thread.join()
    """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
@pytest.mark.parametrize("end", slow_but(ENDS, next(iter(ENDS))))
async def test_nothing_is_left_and_nothing_warns(end: str, aws: Loopback, tmp_path: Path) -> None:
    """In a process of its own, where every warning counts and asyncio looks closely."""
    program = f"""
import asyncio, contextlib, gc, os, threading, warnings
from aiocreds import Context

url, context = {aws.url!r} + "/latest/api/token", Context({{}})


def connections():
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of listdir
            found.append(os.readlink(f"/proc/self/fd/{{descriptor}}"))
    return sorted(it for it in found if it.startswith("socket:"))


async def ask():
    return (await context.http.request("GET", url, provider="test", timeout=5)).status


async def main(more=1):
    none = len(connections())
    await ask()
    before = connections()
    assert len(before) == none + more
    await ask()
    assert connections() == before, "the second request has the connection of the first"


asyncio.run(asyncio.sleep(0))
at_first = len(connections())
{textwrap.dedent(ENDS[end])}
gc.collect()
assert len(connections()) == at_first
"""
    script = tmp_path / "program.py"
    script.write_text(program)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-X", "dev", str(script)],
        capture_output=True,
        text=True,
        timeout=30,
        env=environ,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]  # on a slow machine
    assert (done.returncode, done.stdout, said) == (0, "", [])


async def ask(http: Http, aws: Loopback) -> None:
    await http.request("GET", aws.url + "/latest/api/token", provider="test", timeout=5)


async def no_connection(aws: Loopback) -> None:
    async with asyncio.timeout(PATIENCE):
        while aws.open_connections:  # noqa: ASYNC110 - the service has no event for it
            await asyncio.sleep(0.01)


async def test_they_close_by_themselves_after_the_last_use(aws: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._http.session.LINGER", 0.3)
    http, loop, used = Http({}), asyncio.get_running_loop(), 0.0
    for _ in range(4):
        await asyncio.sleep(0.1)
        used = loop.time()
        await ask(http, aws)
    await no_connection(aws)
    assert loop.time() - used >= 0.3, "counted from the last use"
    gc.collect()
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_hold_that_ends_lets_them_linger(aws: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._http.session.LINGER", 0.2)
    http = Http({})
    async with http.lease():
        await ask(http, aws)
        await asyncio.sleep(0.4)
        assert aws.open_connections == 1
    assert aws.open_connections == 1
    await no_connection(aws)


async def test_leaving_a_context_closes_them_at_once(aws: Loopback) -> None:
    context = Context({})
    async with context:
        await ask(context.http, aws)
        assert aws.open_connections == 1
    await no_connection(aws)


async def test_a_request_after_the_others_have_lingered_opens_another(
    aws: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._http.session.LINGER", 0.05)
    http = Http({})
    for _ in range(2):
        await ask(http, aws)
        await no_connection(aws)


async def test_a_request_that_begins_before_they_are_closed_keeps_its_connection(aws: Loopback) -> None:
    """The timer has found them idle, and starts a task to close them; that request was ready to run before it."""
    http = Http({})
    await ask(http, aws)
    lease = http.lease()
    connector = lease._connector
    lease._idle_since -= session.LINGER
    url = aws.url + "/latest/api/token"
    post = asyncio.create_task(http.request("POST", url, provider="test", timeout=PATIENCE, attempts=1))
    lease._close_if_idle()
    await post
    assert [seen.method for seen in aws.requests] == ["GET", "POST"]
    assert lease._connector is connector is not None
    assert aws.open_connections == 1
    await lease.close()


async def test_a_loop_whose_end_is_not_heard_of_keeps_none(aws: Loopback) -> None:
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=lambda _: None)
    try:
        await ask(Http({}), aws)
        await no_connection(aws)
    finally:
        sys.set_asyncgen_hooks(*hooks)
