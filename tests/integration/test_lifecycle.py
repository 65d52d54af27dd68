"""How programs end: whatever they forgot to close, wherever they were. Each is a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from textwrap import dedent
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.helpers.loopback_aws import ROLE, ROLES_PATH, TOKEN_PATH, Hang, Loopback
from tests.helpers.secret_leaks import MARK, secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

# What each program begins with. Loading aiohttp takes a while, which the debug mode of asyncio would remark on.
BEGINNING = """
import asyncio, sys
from aiocreds import default_chain, from_instance_metadata, from_temporary_credentials

async def run(main):
    asyncio.get_running_loop().slow_callback_duration = 60
    await main()

async def until_told():
    await asyncio.to_thread(sys.stdin.readline)

"""


class Ended(NamedTuple):
    """A program that has ended."""

    status: int | None
    out: str
    err: str


async def run(
    program: str,
    home: Path,
    environ: dict[str, str],
    meanwhile: Callable[[asyncio.subprocess.Process], Awaitable[None]] | None = None,
) -> Ended:
    """Run a program as developers do, with every warning an error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", BEGINNING + dedent(program)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "AWS_EC2_METADATA_DISABLED": "true",
            **environ,
        },
    )
    try:
        async with asyncio.timeout(20):
            if meanwhile is not None:
                await meanwhile(process)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert MARK not in out.decode() + err.decode()
    return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def on_ec2(aws: Loopback) -> dict[str, str]:
    """Variables of a program on an EC2 instance whose metadata service is the loopback one."""
    return {**aws.environ, "AWS_EC2_METADATA_DISABLED": ""}


async def test_a_script_that_closes_nothing_leaves_nothing(
    aws: Loopback, home: Path, on_ec2: dict[str, str]
) -> None:
    program = """
        async def main():
            base = default_chain()
            role = from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/app", source=base)
            print((await role()).account_id)
            base.invalidate()
            await asyncio.gather(*(base() for _ in range(100)))
            await asyncio.gather(*(from_instance_metadata().fetch() for _ in range(10)))

        asyncio.run(run(main))
    """
    assert await run(program, home, on_ec2) == (0, "123456789012\n", "")
    assert aws.count(ROLES_PATH + ROLE) == 12
    assert aws.open_connections == 0


async def test_a_loop_after_another_is_as_good(home: Path, on_ec2: dict[str, str]) -> None:
    program = """
        provider = default_chain()

        async def main():
            provider.invalidate()
            async with provider:
                print((await provider()).provider)

        asyncio.run(run(main))
        asyncio.run(run(main))
    """
    assert await run(program, home, on_ec2) == (0, "imds\nimds\n", "")


@pytest.mark.parametrize("silent", [TOKEN_PATH, ROLES_PATH, ROLES_PATH + ROLE])
@pytest.mark.parametrize("entered", [False, True], ids=["called", "entered"])
async def test_a_program_may_end_during_a_first_load(
    silent: str, entered: bool, aws: Loopback, home: Path, on_ec2: dict[str, str]
) -> None:
    aws.always(silent, Hang())
    call = """
        async def main():
            tasks = [asyncio.create_task(provider()) for _ in range(3)]
            await until_told()
    """
    enter = """
        async def main():
            async with provider:
                await until_told()
    """
    beginning = "\n        provider = from_instance_metadata(timeout=30)"
    ending = "\n        asyncio.run(run(main))\n"

    async def tell(process: asyncio.subprocess.Process) -> None:
        while not aws.count(silent):  # noqa: ASYNC110 - the service has no event for it
            await asyncio.sleep(0.01)
        assert process.stdin is not None
        process.stdin.write(b"\n")

    ended = await run(beginning + (enter if entered else call) + ending, home, on_ec2, tell)
    assert ended == (0, "", "")
    assert aws.count(silent) == 1


async def test_a_program_may_end_during_a_refresh_behind_it(
    aws: Loopback, home: Path, on_ec2: dict[str, str]
) -> None:
    aws.lifetime = timedelta(seconds=6)
    program = """
        async def main():
            provider = from_instance_metadata(timeout=30)
            first = await provider()
            print("loaded", flush=True)
            await asyncio.sleep(provider.status.seconds_left * 0.67)  # past the advisory opening
            assert await provider() is first
            await asyncio.sleep(0.2)

        asyncio.run(run(main))
    """

    async def go_silent(process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"loaded\n"
        aws.down(by=Hang())

    assert await run(program, home, on_ec2, go_silent) == (0, "", "")
    assert aws.count(TOKEN_PATH) == 2, "the refresh was under way"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send there")
@pytest.mark.parametrize("entered", [False, True], ids=["called", "entered"])
async def test_ctrl_c_during_a_first_load(entered: bool, aws: Loopback, home: Path, on_ec2: dict[str, str]) -> None:
    aws.down(by=Hang())
    call = "await provider()"
    enter = "async with provider: await asyncio.sleep(30)"
    program = f"""
        async def main():
            provider = from_instance_metadata(timeout=30)
            {enter if entered else call}

        try:
            asyncio.run(run(main))
        except KeyboardInterrupt:
            print("interrupted")
    """

    async def interrupt(process: asyncio.subprocess.Process) -> None:
        while not aws.requests:  # noqa: ASYNC110 - the service has no event for it
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)

    ended = await run(program, home, on_ec2, interrupt)
    assert (ended.status, ended.out) == (0, "interrupted\n")
    assert ended.err == ""


async def test_a_failure_that_nobody_asked_about_is_logged_and_no_more(
    aws: Loopback, home: Path, on_ec2: dict[str, str]
) -> None:
    aws.down()
    program = """
        async def main():
            async with default_chain() as provider:
                while provider.status.last_error is None:
                    await asyncio.sleep(0.05)
            print(type(provider.status.last_error).__name__)

        asyncio.run(run(main))
    """
    ended = await run(program, home, on_ec2)
    assert (ended.status, ended.out) == (0, "SourceUnavailable\n")
    # logging shows warnings on stderr when a program has configured nothing
    first, *rest = ended.err.splitlines()
    assert "HTTP 503" in first
    assert [line.partition(":")[0] for line in rest] == [
        "Asked before it in the chain",
        "  - from_env",
        "  - from_ini",
        "  - from_token_file",
    ]


async def test_keys_from_the_environment_load_nothing_heavy_even_when_entered(home: Path) -> None:
    program = """
        async def main():
            async with default_chain() as provider:
                print((await provider()).provider)

        asyncio.run(run(main))
        print(sorted({"aiohttp", "anyio", "botocore", "yarl"} & sys.modules.keys()))
    """
    keys = {"AWS_ACCESS_KEY_ID": "AKIALIFECYCLE00001", "AWS_SECRET_ACCESS_KEY": secret()}
    assert await run(program, home, keys) == (0, "env\n[]\n", "")
