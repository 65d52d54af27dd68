"""`aiocreds profiles` on ten thousand profiles, as a process.

AWS CLI v1, which can be installed from its registry, has no ``aws configure list-profiles``; the nearest that it
has is ``aws configure list``, which reads the same file for one profile. What ``list-profiles`` of v2 prints is
botocore's ``available_profiles``: that alone, in a process without AWS CLI, is shown for scale.
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.report import Row, alternate, at_most, for_scale, median, ratios
from tests.benchmarks.start_up import environment, process_cost

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILES = 10_000
ROUNDS = 5
SESSION = """
[sso-session corp]
sso_region = eu-central-1
sso_start_url = https://corp.awsapps.com/start
"""
PROFILE = """
[profile account-{number}-admin]
sso_session = corp
sso_account_id = {account}
sso_role_name = Admin
region = eu-central-1
"""
ROLE = """
[profile account-{number}-deploy]
role_arn = arn:aws:iam::{account}:role/deploy
source_profile = account-{number}-admin
region = eu-central-1
"""
NAMES = "from botocore.session import Session; print(*Session().available_profiles, sep='\\n')"


def rows() -> list[Row]:
    """Run this topic. Judged by CPU time, user and system."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        signed_in(home)

        def process(*arguments: str) -> Callable[[], float]:
            return lambda: process_cost([*arguments], environment(home))[0]

        measured = alternate(
            {
                "aiocreds profiles": process("-m", "aiocreds", "profiles"),
                "aws configure list": process("-m", "awscli", "configure", "list"),
                "names by botocore": process("-c", NAMES),
            },
            ROUNDS,
        )

    def cost(name: str) -> str:
        return f"{median(measured, name) * 1e3:.0f} ms CPU"

    ours = "aiocreds profiles"
    names = for_scale(
        "botocore's available_profiles alone",
        cost(ours),
        cost("names by botocore"),
        ratios(measured, ours, "names by botocore"),
    )
    return [
        at_most(
            0.25,
            f"a process: {ours}, {PROFILES:,} of them",
            cost(ours),
            f"aws configure list, of AWS CLI v1 {cost('aws configure list')}",
            ratios(measured, ours, "aws configure list"),
            names,
        )
    ]


def signed_in(home: Path) -> None:
    """Give a home folder a large config file, and a sign-in."""
    cache = home / ".aws/sso/cache"
    cache.mkdir(parents=True)
    profiles = [(PROFILE + ROLE).format(number=number, account=f"{number:012}") for number in range(PROFILES // 2)]
    (home / ".aws/config").write_text("".join([SESSION, *profiles]))
    ends = datetime.now(UTC) + timedelta(hours=8)
    token = {"accessToken": "bench", "expiresAt": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
    file = cache / f"{sha1(b'corp', usedforsecurity=False).hexdigest()}.json"
    file.write_text(json.dumps(token))
    file.chmod(0o600)
