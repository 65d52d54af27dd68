"""Files, processes and look-ups have threads of their own, which no program can take away."""

# pyright: reportPrivateUsage=false
# What is checked here cannot be seen from outside.

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiocreds
from aiocreds import ClientConfig, Context, SourceUnavailable, from_ini, from_process, from_temporary_credentials
from aiocreds._base import threads
from tests.helpers.scripted import Source, issue, until
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds import Credentials, Provider
    from tests.helpers.loopback_aws import Loopback

SOURCES = Path(aiocreds.__file__).parent
WORKERS = 6


def a_profile(context: Context, home: Path) -> Provider:
    (home / ".aws/config").write_text(
        f"[default]\naws_access_key_id = AKIAPOOL1\naws_secret_access_key = {secret()}\n"
    )
    return from_ini(context=context)


def a_process(context: Context, home: Path) -> Provider:
    script = home / "vend"
    document = json.dumps({"Version": 1, "AccessKeyId": "AKIAPOOL1", "SecretAccessKey": secret()})
    script.write_text(f"#!/bin/sh\necho '{document}'\n")
    script.chmod(0o700)
    return from_process(command=str(script), context=context)


@pytest.mark.parametrize("make", [a_profile, a_process])
async def test_workers_that_wait_for_credentials_do_not_keep_them_from_coming(
    make: Callable[[Context, Path], Provider], context: Context, home: Path
) -> None:
    """As boto3 code in ``to_thread`` does, in as many threads as a loop has."""
    loop, provider = asyncio.get_running_loop(), make(context, home)
    loop.set_default_executor(ThreadPoolExecutor(WORKERS))
    together = threading.Barrier(WORKERS)

    def worker() -> Credentials:
        together.wait()
        return asyncio.run_coroutine_threadsafe(provider(), loop).result(10)

    got = await asyncio.gather(*(asyncio.to_thread(worker) for _ in range(WORKERS)))
    assert {credentials.access_key_id for credentials in got} == {"AKIAPOOL1"}


async def test_names_are_looked_up_though_the_program_has_no_thread_left(aws: Loopback, home: Path) -> None:
    loop, over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.create_task(asyncio.to_thread(over.wait))
    client = ClientConfig(region="eu-central-1", endpoint_url=aws.url.replace("127.0.0.1", "localhost"))
    source = Source(issue()).provider()
    context = Context({}, home=home)
    role = from_temporary_credentials(
        role_arn="arn:aws:iam::123456789012:role/app", source=source, client=client, context=context
    )
    try:
        async with asyncio.timeout(5):
            assert (await role()).account_id == "123456789012"
    finally:
        over.set()
        await busy


@pytest.mark.slow
def test_nothing_of_ours_uses_the_executor_of_the_program() -> None:
    users = [
        f"{path.relative_to(SOURCES)}:{node.lineno}"
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"to_thread", "run_in_executor", "getaddrinfo"}
        if not (isinstance(node.value, ast.Name) and node.value.id == "socket")
    ]
    assert not users


async def test_a_hanging_disk_leaves_the_long_work_alone_and_the_other_way_round() -> None:
    over = threading.Event()
    stuck = [threads.submit_long(over.wait) for _ in range(2 * threads.MAX_THREADS)]
    try:
        async with asyncio.timeout(5):
            assert await threads.submit(threading.get_ident) != threading.get_ident()
    finally:
        over.set()
        await asyncio.gather(*stuck)


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    over, begun = threading.Event(), threading.Event()
    stuck = [threads.submit(over.wait) for _ in range(threads.MAX_THREADS)]
    waiting = threads.submit(begun.set)
    waiting.cancel()
    over.set()
    await asyncio.gather(*stuck)
    await threads.submit(int)
    assert not begun.is_set()


async def test_an_error_is_raised_where_it_is_awaited() -> None:
    with pytest.raises(FileNotFoundError):
        await threads.submit(os.stat, "/nonexistent")


@pytest.mark.slow
async def test_threads_end_when_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE", 0.05)
    ours = threads._Pool()
    monkeypatch.setattr(threads, "_pool", ours)
    for _ in range(20):
        await asyncio.gather(*(threads.submit(time.sleep, 0.01) for _ in range(20)))
        assert len(ours._threads) <= threads.MAX_THREADS
        await asyncio.sleep(0.04)  # some end just as others are wanted
    await until(lambda: not ours._threads)
    assert ours._spare == 0
    assert await threads.submit(int) == 0


async def test_an_idle_loop_is_not_kept_by_a_thread() -> None:
    """Neither is anything else of the last piece of work."""
    ours = threads._Pool()
    done = threading.Event()
    seen: list[object] = []

    class Work:
        def __call__(self) -> None:
            done.set()

        def __del__(self) -> None:
            seen.append("gone")

    ours.put(Work())
    await asyncio.sleep(0)
    await until(lambda: seen == ["gone"])
    await asyncio.to_thread(ours.end_idle)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of Unix")
def test_a_fork_finds_no_thread_of_ours_and_the_child_makes_its_own() -> None:
    assert asyncio.run(_answer()) == 0
    with warnings.catch_warnings():
        if threading.active_count() > 1 + len(threads._pool._threads) + len(threads._pool_for_long._threads):
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests beside a fork
        child = os.fork()
    if not child:
        status = 1
        try:
            status = asyncio.run(_answer())
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asyncio.run(_answer()) == 0


async def _answer() -> int:
    async with asyncio.timeout(5):
        await asyncio.gather(*(threads.submit(time.sleep, 0.01) for _ in range(3)))
        return await threads.submit(int)


AT_THE_END = """
import atexit, asyncio, sys, threading
from aiocreds import Context, from_ini
from aiocreds._base import threads

context = Context({"HOME": sys.argv[1], "AWS_EC2_METADATA_DISABLED": "true"})

def last():
    print(asyncio.run(from_ini(context=context)()).access_key_id)

atexit.register(last)
asyncio.run(from_ini(context=context)())

async def hang():
    for _ in range(20):
        threads.submit(threading.Event().wait)
        threads.submit_long(threading.Event().wait)

if sys.argv[2] == "hangs":
    asyncio.run(hang())
    atexit.unregister(last)
    print("AKIAPOOL1")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["well", "hangs"])
async def test_the_end_of_a_program(how: str, context: Context, home: Path) -> None:
    """The last work still gets its files, and a disk that hangs keeps no program from ending."""
    a_profile(context, home)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", AT_THE_END, str(home), how),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    said = [line for line in err.decode().splitlines() if not line.startswith("Executing <")]  # on a slow machine
    assert (out.decode(), said, process.returncode) == ("AKIAPOOL1\n", [], 0)


async def test_no_thread_is_one_failure(context: Context, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", threads._Pool())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(SourceUnavailable):
            await a_process(context, home)()
    assert (await a_process(context, home)()).access_key_id == "AKIAPOOL1"
