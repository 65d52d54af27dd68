"""examples/custom_source.py, run as it stands."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_source.py"

SHOWN = r"""1\. .*
   ChainExhausted: chain: no AWS credentials found\. Tried in order:
     - from_env: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set
     - from_vault: VAULT_ADDR is not set
     - from_instance_metadata: switched off by AWS_EC2_METADATA_DISABLED
2\. .*
   Credentials\(access_key_id='\*\*\*\*0001', expiration='.*', provider='vault'\)
   requests to the vault: 1
3\. .*
   Credentials\(access_key_id='\*\*\*\*0002', expiration='.*', provider='vault'\)
4\. .*
   WARNING aiocreds\.provider: from_vault: the vault at .* answered 503 for aws/creds/app\. \*{4}0002 is served .*
   Credentials\(access_key_id='\*\*\*\*0002', expiration='.*', provider='vault'\)
   last error: from_vault: the vault at .* answered 503 for aws/creds/app
5\. .*
   SourceUnavailable: from_vault \(after from_env\): the vault at .* answered 503 for aws/creds/app
6\. .*
   Credentials\(access_key_id='\*\*\*\*KEYS', provider='env'\)
"""


async def test_a_source_of_ones_own_between_two_of_ours(home: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-X", "dev", EXAMPLE),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            # Which must not matter: the example shows its sources an environment of its own.
            "AWS_ACCESS_KEY_ID": "AKIANOTLOOKEDAT00",
            "AWS_SECRET_ACCESS_KEY": "not looked at",
        },
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, err.decode()) == (0, "")
    assert re.fullmatch(SHOWN, out.decode()), out.decode()
    assert not re.search("vault-secret|vault-token|a-token", out.decode())
