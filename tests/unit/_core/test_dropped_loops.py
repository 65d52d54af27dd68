"""A loop that is dropped, closed or not, goes: nothing of ours holds it, whatever was under way.

Its descriptors go with it, as they do with bare aiohttp.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from weakref import ref

import aiohttp
import pytest

from aiocreds import (
    Context,
    CredentialsError,
    Provider,
    default_chain,
    from_instance_metadata,
    from_process,
    from_sso,
    from_temporary_credentials,
)
from tests.helpers.loopback_aws import ROLES_PATH, Answer, Hang
from tests.helpers.representatives import slow_but
from tests.helpers.scripted import Source, issue, until
from tests.helpers.secret_leaks import secret
from tests.helpers.shared_files import APP, write_config
from tests.helpers.sign_in_services import OIDC

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.helpers.loopback_aws import Loopback

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of loops and sessions that are not closed: the point
    # What asyncio and aiohttp have to say of loops, answers and sessions, ours or not.
    pytest.mark.filterwarnings("ignore:.*BaseEventLoop.__del__:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*<function Client:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*<coroutine object (Client|without_retries):pytest.PytestUnraisableExceptionWarning"
    ),
]
ROLE_ARN = "arn:aws:iam::123456789012:role/app"
LOOPS = 5
HANGS = 0.3  # seconds, if nobody can see that it hangs
SETTLES = 0.05  # seconds from when it is seen to hang


class Loop(asyncio.SelectorEventLoop):
    """One that can be counted."""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module", autouse=True)
def _few_objects() -> None:
    """Keep what earlier tests have left out of the many collections here."""
    gc.collect()
    gc.freeze()


async def until_it_hangs(main: Callable[[], Awaitable[object]], begun: Callable[[], int]) -> None:
    """Let it run until it ends, hangs as far as `begun` can see, or has had its time."""
    before, give_up = begun(), monotonic() + HANGS
    task = asyncio.ensure_future(main())
    while not task.done() and begun() == before and monotonic() < give_up:
        await asyncio.wait([task], timeout=0.01)
    await asyncio.wait([task], timeout=SETTLES)
    if task.done() and not isinstance(task.exception(), CredentialsError):
        task.result()


async def dropped(
    main: Callable[[], Awaitable[object]], *, close: bool = False, begun: Callable[[], int] = int
) -> tuple[int, int]:
    """Run this on some loops in a thread, and drop them; return the loops and descriptors left.

    Args:
        main: ends, or hangs and is dropped after `HANGS` seconds, or soon after `begun` has counted it.
        close: close each loop before.
        begun: how often what hangs has begun so far.
    """
    loops: list[ref[asyncio.AbstractEventLoop]] = []

    def run() -> None:
        loop = Loop()
        loops.append(ref(loop))
        loop.run_until_complete(until_it_hangs(main, begun))
        if close:
            loop.close()

    def left(before: int = 0) -> tuple[int, int]:
        # A thread of ours may be letting go of its last work just now, and the server of this test, in another
        # thread, may be closing connections.
        give_up = monotonic() + (2.0 if before else 0.2)
        while True:
            for _ in range(3):  # what one round finalizes lets go of what the next one finds
                gc.collect()
            alive, now = sum(loop() is not None for loop in loops), descriptors()
            if (not alive and now <= before) or monotonic() > give_up:
                return alive, now
            sleep(0.05)

    def all_of_them() -> tuple[int, int]:
        run()  # what is made once stays
        loops.clear()
        _, before = left()
        for _ in range(LOOPS):
            run()
        alive, after = left(before)
        return alive, max(after - before, 0)

    return await asyncio.to_thread(all_of_them)


@pytest.fixture
def machine(aws: Loopback, home: Path) -> Context:
    """The context of all these loops: one context, as programs have one."""
    aws.lifetime *= 10
    return Context({**aws.environ, "AWS_EC2_METADATA_DISABLED": ""}, home=home)


def static_profile(context: Context, aws: Loopback, home: Path) -> Any:
    (home / ".aws/config").write_text(
        f"[default]\naws_access_key_id = AKIADROPPED\naws_secret_access_key = {secret()}\n"
    )
    return default_chain(context=context).fetch


def http(context: Context, aws: Loopback, home: Path) -> Any:
    return from_instance_metadata(context=context).fetch


def http_that_is_kept_open(context: Context, aws: Loopback, home: Path) -> Any:
    provider = from_instance_metadata(context=context)

    async def main() -> None:
        await context.__aenter__()
        await provider.fetch()

    return main


def kept_fresh(context: Context, aws: Loopback, home: Path) -> Any:
    provider = from_instance_metadata(context=context)

    async def main() -> None:
        await provider.__aenter__()
        await provider()

    return main


def http_that_hangs(context: Context, aws: Loopback, home: Path) -> Any:
    aws.down(by=Hang())
    return from_instance_metadata(timeout=30, context=context).fetch


def an_answer_that_hangs(context: Context, aws: Loopback, home: Path) -> Any:
    aws.always(ROLES_PATH, Answer(body="x" * 100, drip=1))
    return from_instance_metadata(timeout=30, context=context).fetch


def http_that_pauses(context: Context, aws: Loopback, home: Path) -> Any:
    aws.always("/", Answer(503, headers={"Retry-After": "9"}))
    return from_temporary_credentials(role_arn=ROLE_ARN, source=Source(issue()), context=context).fetch


hanging: list[None] = []  # an item for each source that has begun to hang


def a_source_that_hangs(context: Context, aws: Loopback, home: Path) -> Any:
    async def source() -> Any:
        hanging.append(None)
        await asyncio.get_running_loop().create_future()

    return Provider(source, name="source", context=context)


def a_role_whose_source_hangs(context: Context, aws: Loopback, home: Path) -> Any:
    return from_temporary_credentials(
        role_arn=ROLE_ARN, source=a_source_that_hangs(context, aws, home), context=context
    )


def a_load_that_nobody_waits_for(context: Context, aws: Loopback, home: Path) -> Any:
    provider = a_source_that_hangs(context, aws, home)

    async def main() -> None:
        await provider.__aenter__()

    return main


def a_sign_in_that_is_renewed(context: Context, aws: Loopback, home: Path) -> Any:
    write_config(home, APP)
    aws.sign_in.sso_login(home, expiresAt="2020-06-17T10:02:08Z")
    aws.always(OIDC, Hang())
    return from_sso("app", context=context).fetch


CASES = [
    static_profile,
    http,
    http_that_is_kept_open,
    kept_fresh,
    http_that_hangs,
    an_answer_that_hangs,
    http_that_pauses,
    a_source_that_hangs,
    a_role_whose_source_hangs,
    a_load_that_nobody_waits_for,
    a_sign_in_that_is_renewed,
]
REPRESENTATIVES = [static_profile, http_that_hangs, a_role_whose_source_hangs, a_sign_in_that_is_renewed]

BEGUN: dict[Callable[..., Any], Callable[[Loopback], int]] = {
    http_that_hangs: lambda aws: len(aws.requests),
    an_answer_that_hangs: lambda aws: aws.count(ROLES_PATH),
    http_that_pauses: lambda aws: aws.count("/"),
    a_source_that_hangs: lambda _: len(hanging),
    a_role_whose_source_hangs: lambda _: len(hanging),
    a_sign_in_that_is_renewed: lambda aws: aws.count(OIDC),
}


@pytest.mark.parametrize(
    "close", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["dropped", "closed and dropped"]
)
@pytest.mark.parametrize(
    "case", slow_but(CASES, static_profile, http_that_hangs, a_role_whose_source_hangs, a_sign_in_that_is_renewed)
)
async def test_a_dropped_loop_is_gone(
    case: Callable[[Context, Loopback, Path], Any], close: bool, machine: Context, aws: Loopback, home: Path
) -> None:
    main = case(machine, aws, home)
    begun = BEGUN.get(case)
    alive, more = await dropped(main, close=close, begun=partial(begun, aws) if begun else int)
    assert alive == 0
    assert more <= 0, f"{more} more descriptors after {LOOPS} loops"


async def test_so_it_is_with_bare_aiohttp(aws: Loopback) -> None:
    """By which the above is judged."""

    async def main() -> None:
        async with aiohttp.ClientSession() as session, session.get(aws.url):
            pass

    assert await dropped(main) == (0, 0)


async def test_a_process_that_hangs(machine: Context, home: Path) -> None:
    script = home / "vend"
    script.write_text(f"#!/bin/sh\necho $$ >> {home}/pids\nexec sleep 30\n")
    script.chmod(0o700)
    (home / "pids").touch()

    def begun() -> int:
        return len((home / "pids").read_text().split())

    assert await dropped(from_process(command=str(script), context=machine).fetch, begun=begun) == (0, 0)
    pids = [int(pid) for pid in (home / "pids").read_text().split()]
    assert len(pids) == LOOPS + 1
    await until(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError, ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    return False


async def test_work_that_hangs_holds_no_loop(machine: Context, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    over = threading.Event()
    begun: list[None] = []

    def hang(*_: object) -> None:
        begun.append(None)
        over.wait()

    monkeypatch.setattr("aiocreds._profiles.files._load", hang)
    try:
        assert await dropped(default_chain(context=machine).fetch, begun=lambda: len(begun)) == (0, 0)
    finally:
        over.set()
