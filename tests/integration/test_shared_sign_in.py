"""One sign-in to IAM Identity Center, shared by many processes of ours, by botocore and by AWS CLI."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Context, LoginRequired, from_sso
from aiocreds._token_cache.lock import FileLock
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Hang, Loopback
from tests.helpers.python_programs import environment, go, line_of, run, started
from tests.helpers.scripted import until, warnings
from tests.helpers.shared_files import APP, COMMAND, LEGACY, cached, rewrite, write_config
from tests.helpers.sign_in_services import OIDC, PORTAL

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of Unix"),
    pytest.mark.shows_secrets("stdout", because="the programs print whose keys they got"),
]

ENDED, SOON = "2020-06-17T10:02:08Z", timedelta(minutes=10)
OURS = """
import asyncio, sys
from aiocreds import from_sso

async def main():
    provider = from_sso("app")
    while True:
        print("ready", flush=True)
        if not sys.stdin.readline():
            break
        print((await provider.fetch()).access_key_id, flush=True)

asyncio.run(main())
"""
BOTOCORE = """
import sys
from botocore.session import Session

print(Session(profile=sys.argv[1]).get_credentials().get_frozen_credentials().access_key)
"""
CLOSED = """
import asyncio, os, sys
import aiohttp, aiocreds.sources.sso.credentials
from aiocreds import Context, from_sso

contexts = Context(), Context()
loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(asyncio.wait_for(from_sso("app", context=contexts[0])(), 1))
except TimeoutError:
    loop.close()
    credentials = asyncio.run(asyncio.wait_for(from_sso("app", context=contexts[int(sys.argv[1])])(), 10))
    print(credentials.access_key_id)
"""
KILLED = """
import json, os, signal, sys
from aiocreds._token_cache import storage
from aiocreds._token_cache.lock import FileLock

path, lock_path = sys.argv[1:]
old, new = {"accessToken": "old"}, {"accessToken": "new" * 1000}

def write(deadly):
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"  # ours, and those of the standard library
        if count == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    lock = FileLock(lock_path)
    lock.take()
    lock.during(lambda: storage.replace_json(path, new))
    lock.release()
    sys.settrace(None)

outcomes = {"old": 0, "new": 0}
for deadly in range(1, 100_000):
    storage.replace_json(path, old)
    child = os.fork()
    if not child:
        write(deadly)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    with open(path) as file:
        found = json.load(file)
    assert found in (old, new), found
    outcomes["old" if found == old else "new"] += 1
    lock = FileLock(lock_path)
    assert lock.take()
    lock.release()
    if status == 0:
        break
    assert status == signal.SIGKILL, status
print(json.dumps(outcomes))
"""
IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:sts::123456789012:assumed-role/Developer/me</Arn><UserId>AROA:me</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


@pytest.fixture
def environ(aws: Loopback, home: Path) -> dict[str, str]:
    return {
        **environment(home, aws.environ),
        "AWS_DEFAULT_REGION": "eu-central-1",
    }


@pytest.fixture
def file(aws: Loopback, home: Path) -> Path:
    """A sign-in that has ended and can be renewed."""
    write_config(home, APP + LEGACY)
    return aws.sign_in.sso_login(home, expiresAt=ENDED)


@asynccontextmanager
async def ours(environ: dict[str, str]) -> AsyncGenerator[Process]:
    """A process of ours, loaded and ready to go."""
    async with started(environ, OURS) as process:
        assert await line_of(process) == "ready"
        yield process


def shown(aws: Loopback) -> list[str]:
    """The access tokens that the portal has seen."""
    return [seen.headers["x-amz-sso_bearer_token"] for seen in aws.requests if seen.path == PORTAL]


# Many processes of ours.


@pytest.mark.slow
async def test_eight_processes_renew_one_sign_in_at_once(
    aws: Loopback, environ: dict[str, str], file: Path
) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(50):
        # All of them load at once, and whoever is ready waits for the others.
        entered = (stack.enter_async_context(ours(environ)) for _ in range(8))
        processes = await asyncio.gather(*entered)
        for count in (1, 2):  # the second time with what the first one brought
            for process in processes:
                go(process)
            keys = [await line_of(process) for process in processes]
            assert len(set(keys)) == 8
            assert all(key.startswith("ASIALOOPBACK") for key in keys)
            assert aws.count(OIDC) == count
            assert set(shown(aws)[-8:]) == {cached(file)["accessToken"]}
            assert {path.suffix for path in file.parent.iterdir()} == {".json", ".lock"}
            assert [await line_of(process) for process in processes] == ["ready"] * 8
            rewrite(file, expiresAt=ENDED)


@pytest.mark.slow
async def test_a_process_killed_at_any_line_while_it_writes(environ: dict[str, str], home: Path) -> None:
    outcomes = json.loads(await run(environ, KILLED, str(home / "token.json"), str(home / "token.lock")))
    assert outcomes["old"] > 50
    assert outcomes["new"] > 5


@pytest.mark.slow
async def test_processes_killed_now_and_then(
    aws: Loopback, environ: dict[str, str], home: Path, file: Path
) -> None:
    lock = FileLock(str(file.with_suffix(".lock")))
    async with asyncio.timeout(50):
        for _ in range(8):
            aws.sign_in.sso_login(home, expiresAt=ENDED)
            async with ours(environ) as process:
                go(process)
                await asyncio.sleep(random.uniform(0, 0.12))
                process.kill()
                await process.wait()
            assert cached(file)["refreshToken"]
            assert await asyncio.to_thread(lock.take)
            lock.release()
            lock = FileLock(lock.path)


async def test_a_holder_of_the_lock_that_is_killed(aws: Loopback, environ: dict[str, str], file: Path) -> None:
    aws.script(OIDC, Hang())
    async with ours(environ) as first, ours(environ) as second:
        go(first)
        await until(lambda: aws.count(OIDC) == 1)
        go(second)
        await asyncio.sleep(0.2)
        assert not shown(aws)
        first.kill()
        assert (await line_of(second)).startswith("ASIALOOPBACK")
    assert aws.count(OIDC) == 2


@pytest.mark.parametrize("context", ["0", "1"], ids=["the same context", "another context"])
async def test_a_loop_closed_in_the_middle(
    aws: Loopback, environ: dict[str, str], file: Path, context: str
) -> None:
    """As by a framework that does without asyncio.run: its lock is nobody's."""
    aws.script(OIDC, Hang())
    assert (await run(environ, CLOSED, context)).startswith("ASIALOOPBACK")
    assert aws.count(OIDC) == 2


@pytest.mark.slow
async def test_a_holder_of_the_lock_that_is_stopped(
    aws: Loopback,
    environ: dict[str, str],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("aiocreds._token_cache.lock.LONGEST_LOCK", 0.5)
    aws.script(OIDC, Answer(503, delay=1))
    async with ours(environ) as holder:
        go(holder)
        await until(lambda: aws.count(OIDC) == 1)
        holder.send_signal(signal.SIGSTOP)
        await from_sso("app", context=Context(environ))()
        assert aws.count(OIDC) == 2
        [warning] = warnings(caplog)
        assert "look for a process that hangs" in warning
        # It wakes up, hears nothing from OIDC, and takes what has come meanwhile.
        aws.always(OIDC, Answer(503))
        holder.send_signal(signal.SIGCONT)
        assert (await line_of(holder)).startswith("ASIALOOPBACK")
        assert shown(aws) == [cached(file)["accessToken"]] * 2


# botocore and AWS CLI.


@pytest.mark.slow
async def test_botocore_reads_what_we_wrote(aws: Loopback, environ: dict[str, str], file: Path) -> None:
    await from_sso("app", context=Context(environ))()
    key = await run(environ, BOTOCORE, "app")
    assert key.startswith("ASIALOOPBACK")
    assert aws.count(OIDC) == 1
    assert shown(aws) == [cached(file)["accessToken"]] * 2


@pytest.mark.slow
async def test_by_turns(aws: Loopback, environ: dict[str, str], file: Path) -> None:
    """One renews it; the other reads it, and renews it next with the refresh token that the first one left."""
    aws.sign_in.token_life = SOON
    context = Context(environ)
    for count in (1, 3, 5):
        rewrite(file, expiresAt=ENDED)  # we let a token of 10 minutes have half of them
        await from_sso("app", context=context)()
        assert aws.count(OIDC) == count
        assert shown(aws)[-1] == cached(file)["accessToken"]
        await run(environ, BOTOCORE, "app")
        assert aws.count(OIDC) == count + 1
        assert shown(aws)[-1] == cached(file)["accessToken"]
    assert len(set(shown(aws))) == 6
    assert cached(file)["startUrl"]
    aws.sign_in.token_life = timedelta(hours=1)
    await run(environ, BOTOCORE, "app")
    await from_sso("app", context=context)()
    assert aws.count(OIDC) == 7
    assert shown(aws)[-1] == shown(aws)[-2]


@pytest.mark.slow
async def test_the_older_form_is_read_by_both(
    aws: Loopback, environ: dict[str, str], home: Path, file: Path
) -> None:
    token = cached(aws.sign_in.sso_login(home, None))["accessToken"]
    await from_sso("old", context=Context(environ))()
    await run(environ, BOTOCORE, "old")
    assert shown(aws) == [token, token]


@pytest.mark.slow
async def test_both_want_a_person_when_it_can_be_renewed_no_more(
    aws: Loopback, environ: dict[str, str], file: Path
) -> None:
    aws.sign_in.registrations.clear()
    await failure(from_sso("app", context=Context(environ)), LoginRequired, f"run {COMMAND}")
    async with started(environ, BOTOCORE, "app") as process:
        _, err = await process.communicate()
    assert process.returncode != 0
    assert b"UnauthorizedSSOTokenError" in err or b"TokenRetrievalError" in err or b"expired" in err


@pytest.mark.slow
async def test_aws_cli(aws: Loopback, environ: dict[str, str], file: Path) -> None:
    aws.always("/", Answer(body=IDENTITY, headers={"Content-Type": "text/xml"}))
    arguments = "sts", "get-caller-identity", "--profile", "app", "--output", "json"
    program = "import runpy, sys; sys.argv[0] = 'aws'; runpy.run_module('awscli', run_name='__main__')"

    async def cli() -> dict[str, Any]:
        # AWS CLI keeps the role's credentials for itself
        for path in (Path(environ["HOME"]) / ".aws/cli").rglob("*.json"):
            path.unlink()
        document: dict[str, Any] = json.loads(await run(environ, program, *arguments))
        return document

    assert (await cli())["Account"] == "123456789012"  # it renews
    assert aws.count(OIDC) == 1
    await from_sso("app", context=Context(environ))()
    assert aws.count(OIDC) == 1
    rewrite(file, expiresAt=ENDED)
    await from_sso("app", context=Context(environ))()  # we renew with what it left
    assert aws.count(OIDC) == 2
    assert (await cli())["Account"] == "123456789012"
    assert aws.count(OIDC) == 2
    assert shown(aws)[-1] == cached(file)["accessToken"]
    assert aws.requests[-1].signed_by.startswith("ASIALOOPBACK")
