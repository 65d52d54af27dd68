"""How many files and tasks lie between ``default_chain()()`` and the credentials."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiocreds
from aiocreds import Context, default_chain
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.helpers.loopback_aws import Loopback

TASKS_OF_ROLE = 3
# The aim is 14 and 16. Lower these with the code; never raise them. With one concept a file, the least for a role
# is 26: errors, credentials; time, tracing, threads; client, request, session; refresh, singleflight, provider,
# decorator, chain, context; parser, model, files, resolve; client, endpoints, sigv4, sts; default, env, profile,
# assume_role.
FILES_OF_ROLE, FILES_OF_SSO = 28, 35

SRC = f"{Path(aiocreds.__file__).parent}/"
ASYNCIO = f"{Path(asyncio.__file__).parent}/"
CREATE_TASK = asyncio.BaseEventLoop.create_task.__code__
ROLE = f"""\
[profile base]
aws_access_key_id = AKIABASE00000000
aws_secret_access_key = {secret()}
[default]
role_arn = arn:aws:iam::123456789012:role/app
source_profile = base
region = eu-west-1
"""
SSO = f"""\
[default]
sso_session = corp
sso_account_id = {ACCOUNT}
sso_role_name = {PERMISSION_SET}
[sso-session corp]
sso_region = eu-central-1
sso_start_url = {START_URL}
"""


class Passed:
    """The calls of aiocreds's own functions, in all threads, and the tasks that they make; imports do not count."""

    def __init__(self) -> None:
        self.calls: dict[str, set[str]] = {}
        self.tasks: list[str] = []

    def see(self, frame: FrameType, event: str, _: object) -> None:
        """Take note of a call, as a profile function of `sys.setprofile`."""
        code = frame.f_code
        if event != "call":
            return
        if code is CREATE_TASK:
            caller = frame.f_back
            while caller is not None and caller.f_code.co_filename.startswith(ASYNCIO):
                caller = caller.f_back
            if caller is not None and caller.f_code.co_filename.startswith(SRC):
                self.tasks.append(caller.f_code.co_qualname)
        elif code.co_filename.startswith(SRC) and not _imports(frame):
            self.calls.setdefault(code.co_filename.removeprefix(SRC), set()).add(code.co_qualname)

    def __str__(self) -> str:
        lines = (f"{file}: {', '.join(sorted(calls))}" for file, calls in sorted(self.calls.items()))
        return "\n".join((f"{len(self.calls)} files, {len(self.tasks)} tasks: {self.tasks}", *lines))


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(SRC):
            return True
        frame = frame.f_back
    return False


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passed]:
    """Counts from here to the end of the test, without what listeners of other tests have left."""
    monkeypatch.setattr("aiocreds._core.provider.hook", None)
    passed, before = Passed(), sys.getprofile()
    in_threads: Any = getattr(threading, "setprofile_all_threads", threading.setprofile)  # the former from 3.12
    in_threads(passed.see)
    sys.setprofile(passed.see)
    try:
        yield passed
    finally:
        in_threads(None)
        sys.setprofile(before)


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


async def test_a_role_with_a_source_profile(context: Context, home: Path, passed: Passed) -> None:
    (home / ".aws/config").write_text(ROLE)
    assert (await default_chain(context=context)()).provider == "assume_role"
    assert len(passed.calls) <= FILES_OF_ROLE, str(passed)
    assert len(passed.tasks) <= TASKS_OF_ROLE, str(passed)
    assert "_aws/sts.py" in passed.calls, str(passed)


async def test_sso_whose_token_is_renewed(context: Context, home: Path, aws: Loopback, passed: Passed) -> None:
    (home / ".aws/config").write_text(SSO)
    aws.sign_in.token_life = timedelta(minutes=-1)
    aws.sign_in.sso_login(home)
    aws.sign_in.token_life = timedelta(hours=1)
    assert (await default_chain(context=context)()).provider == "sso"
    assert len(passed.calls) <= FILES_OF_SSO, str(passed)
    assert "TokenCache._renewed" in passed.calls["_token_cache/cache.py"], str(
        passed
    )  # which has a thread of its own
