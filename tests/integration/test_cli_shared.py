"""`--shared FOLDER` of `exec`, `export` and `serve`: one of them asks STS, and the person, for all."""

from __future__ import annotations

import asyncio
import stat
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.helpers.command import COMMAND, Machine
from tests.helpers.terminal import CTRL_C, Terminal, at_a_terminal

if TYPE_CHECKING:
    from tests.helpers.loopback_aws import Loopback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix"),
    pytest.mark.shows_secrets("stdout", because="the commands print what they got"),
]
ROLE = "arn:aws:iam::123456789012:role/app"
PROMPT = "MFA code of arn:aws:iam::123456789012:mfa/me: "
EXPORT = [*COMMAND, "export", "app", "--shared", "~/store", "--format", "json"]
EXEC = [*COMMAND, "exec", "app", "--shared", "~/store", "--", sys.executable, "-c"]
SHOW = "import os; print(os.environ['AWS_ACCESS_KEY_ID'])"

ASK = """
import os, urllib.request
headers = {"Authorization": os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]}
request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers=headers)
print(urllib.request.urlopen(request).read().decode())
"""


@pytest.fixture
def machine(aws: Loopback, home: Path) -> Machine:
    """One whose profile is a role that wants a code."""
    (home / ".aws/config").write_text(
        f"[profile app]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-central-1\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
        f"[profile base]\naws_access_key_id = AKIATESTTEST00000001\naws_secret_access_key = {'x' * 40}\n"
    )
    return Machine(home, aws.environ)


def waits(process: int, home: Path) -> bool:
    """Return whether a process waits for the lease, or has it: the file of its lock is open."""
    with suppress(OSError):  # one that was closed meanwhile
        for path in Path(f"/proc/{process}/fd").iterdir():
            if path.readlink().is_relative_to(home / "store"):
                return True
    return False


async def who_is_asked(terminals: list[Terminal]) -> Terminal:
    """Wait for a prompt, and return the terminal that it is at."""
    looking = {asyncio.ensure_future(terminal.until(PROMPT)): terminal for terminal in terminals}
    found, others = await asyncio.wait(looking, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    [asked] = found
    asked.result()
    return looking[asked]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
async def test_ten_terminals_ask_for_one_code(machine: Machine, aws: Loopback) -> None:
    async with AsyncExitStack() as stack:
        terminals = [
            await stack.enter_async_context(at_a_terminal(*words, environ=machine.variables))
            for words in (*[EXPORT] * 5, *[[*EXEC, SHOW]] * 5)
        ]
        asked = await who_is_asked(terminals)
        async with asyncio.timeout(60):
            while not all(waits(terminal.process.pid, machine.home) for terminal in terminals):  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.05)
        asked.type("123456\n")
        assert [await terminal.ended() for terminal in terminals] == [0] * 10
    assert sum(terminal.seen.count(PROMPT) for terminal in terminals) == 1
    [key] = aws.assumed
    assert all(key in terminal.seen for terminal in terminals)
    assert stat.S_IMODE((machine.home / "store").stat().st_mode) == 0o700


async def test_interrupted_at_the_prompt_the_next_one_is_asked(machine: Machine, aws: Loopback) -> None:
    async with AsyncExitStack() as stack:
        terminals = [
            await stack.enter_async_context(at_a_terminal(*EXPORT, environ=machine.variables)) for _ in range(2)
        ]
        first = await who_is_asked(terminals)
        first.type(CTRL_C)
        assert await first.ended() != 0
        [second] = [terminal for terminal in terminals if terminal is not first]
        await second.until(PROMPT)
        second.type("123456\n")
        assert await second.ended() == 0
    assert len(aws.assumed) == 1


async def test_servers_hand_out_what_a_terminal_got(machine: Machine, aws: Loopback) -> None:
    async with at_a_terminal(*EXPORT, environ=machine.variables) as terminal:
        await terminal.until(PROMPT)
        terminal.type("123456\n")
        assert await terminal.ended() == 0
    [key] = aws.assumed
    async with (
        machine.serving("--profile", "app", "--shared", "~/store") as server,
        aiohttp.ClientSession() as session,
    ):
        headers = {"Authorization": server.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]}
        async with session.get(server.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers=headers) as answer:
            assert (await answer.json())["AccessKeyId"] == key
    beside = await machine.run(*EXEC[:-3], "--server", "--", sys.executable, "-c", ASK)
    assert (beside.status, beside.err) == (0, "")
    assert key in beside.out
    assert len(aws.assumed) == 1


async def test_a_blank_folder_is_refused(machine: Machine) -> None:
    ended = await machine.aiocreds("export", "app", "--shared", "")
    assert ended.status != 0
    assert "the folder of a shared store is blank" in ended.err
