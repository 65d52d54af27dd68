"""The only caller of a first load leaves, at any await: nothing of the load stays behind."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from aiocreds import Context, Provider, default_chain, from_temporary_credentials
from tests.helpers.cancelling import cancelled_at
from tests.helpers.loopback_aws import TOKEN_PATH, Answer, Loopback, sts_error
from tests.helpers.scripted import until

if TYPE_CHECKING:
    from pathlib import Path

PROFILES = """
[profile outer]
role_arn = arn:aws:iam::123456789012:role/outer
source_profile = inner
[profile inner]
role_arn = arn:aws:iam::123456789012:role/inner
credential_source = Ec2InstanceMetadata
"""


@pytest.mark.parametrize("bad_day", [False, True])
@pytest.mark.parametrize("what", ["chain", "roles", "role on a chain"])
@pytest.mark.usefixtures("connections_close_at_once")
async def test_nothing_is_left_behind(aws: Loopback, home: Path, what: str, *, bad_day: bool) -> None:
    (home / ".aws" / "config").write_text(PROFILES)
    moments = 0
    for moments in itertools.count(1):
        context = Context(environ=aws.environ, home=home)
        if bad_day:
            aws.script(TOKEN_PATH, Answer(503))
            aws.script("/", sts_error("Throttling", status=400))
        if not await cancelled_at(_provider(what, context), moments):
            break
        await until(lambda: not aws.open_connections)
        aws._scripts.clear()  # pyright: ignore[reportPrivateUsage] - what no request came for
    assert moments > 10


def _provider(what: str, context: Context) -> Provider:
    if what == "chain":
        return default_chain(context=context)
    if what == "roles":
        return default_chain("outer", context=context)
    return from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/x", context=context)
