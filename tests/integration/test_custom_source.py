"""examples/custom_source.py, run as it stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.helpers.examples import EXAMPLES, run

if TYPE_CHECKING:
    from pathlib import Path

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
    # What must not matter: the example shows its sources an environment of its own.
    given = {"AWS_ACCESS_KEY_ID": "AKIANOTLOOKEDAT00", "AWS_SECRET_ACCESS_KEY": "not looked at"}
    ended = await run(
        "-X", "dev", EXAMPLES / "custom_source.py", home=home, **given, AWS_EC2_METADATA_DISABLED="", AWS_REGION=""
    )
    assert (ended.status, ended.err) == (0, "")
    shown = re.sub(r" +WARNING asyncio: Executing .*\n", "", ended.out)  # by asyncio's debug mode: a busy machine
    assert re.fullmatch(SHOWN, shown), ended.out
    assert not re.search("vault-secret|vault-token|a-token", ended.out)
