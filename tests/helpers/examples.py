"""The programs of ``examples``, run as they stand."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.helpers.command import Ended
from tests.helpers.secret_leaks import MARK, secret

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
OLDER_BOTOCORE = "ignore:datetime.datetime.utc:DeprecationWarning"  # from Python 3.12 on


async def run(*arguments: str | Path, home: Path, **environ: str) -> Ended:
    """Run Python on an example or such: warnings are errors, and the machine has only `home` and `environ`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-W", OLDER_BOTOCORE, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "eu-central-1",
            **environ,
        },
    )
    try:
        async with asyncio.timeout(40):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert MARK not in out.decode() + err.decode(), "a secret was shown"
    return Ended(process.returncode, out.decode(), err.decode())


def keys() -> dict[str, str]:
    """Return keys for the environment of a program."""
    return {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLES00001", "AWS_SECRET_ACCESS_KEY": secret()}
