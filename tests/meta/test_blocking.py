"""A test in which our code blocks the loop fails, also where something catches what that raises."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFTEST = "from tests.conftest import blockbuster, never_block\n"
PLANTED = """
import asyncio, time, threading
from aiocreds import Context, Credentials, Provider, SourceUnavailable

async def in_a_thread():
    await asyncio.to_thread(time.sleep, 0.001)
    return Credentials("AKIATEST", "x")

async def blocking():
    time.sleep(0.001)
    return Credentials("AKIATEST", "x")

def provider(source):
    return Provider(source, name="planted", context=Context({}))

def test_honest():
    asyncio.run(provider(in_a_thread)())

def test_blocks_and_the_caller_survives():
    async def program():
        try:
            await provider(blocking)()
        except SourceUnavailable:
            pass
    asyncio.run(program())

def test_blocks_on_a_loop_in_a_thread_of_its_own():
    def program():
        async def behind():
            async with provider(blocking):
                await asyncio.sleep(0.01)
        asyncio.run(behind())
    thread = threading.Thread(target=program)
    thread.start()
    thread.join()
"""


async def test_a_test_that_blocks_fails(tmp_path: Path) -> None:
    """The fixtures of this suite, in a suite of three tests of which two block where nobody hears of it."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_planted.py").write_text(PLANTED)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider"),
        *("-p", "no:randomly", "-o", "addopts=", "-q", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    out = (await process.communicate())[0].decode()
    assert process.returncode == 1, out
    assert "3 passed, 2 errors" in out
    assert "ERROR at teardown of test_blocks_and_the_caller_survives" in out
    assert "ERROR at teardown of test_blocks_on_a_loop_in_a_thread_of_its_own" in out
    assert "the loop was blocked: {'time.sleep in blocking" in out
