"""Python programs that tests start, and that wait for a line of input."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path


def environment(home: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program that finds this Python's packages, and nothing else of this process."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": paths, **(variables or {})}


@asynccontextmanager
async def started(environ: dict[str, str], program: str, *arguments: str) -> AsyncGenerator[Process]:
    """Yield a process that runs a program; it is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        env=environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def go(process: Process) -> None:
    """Send a line."""
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def line_of(process: Process) -> str:
    """Return the next line that it prints."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def run(environ: dict[str, str], program: str, *arguments: str) -> str:
    """Return what a program prints, which ends well."""
    async with started(environ, program, *arguments) as process:
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode().strip()
