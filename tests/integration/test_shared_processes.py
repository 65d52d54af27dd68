"""shared() between real processes: a fleet that starts at once, and a holder that is killed at each step."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from aiocreds._shared.provider import BUDGET
from tests.helpers.examples import EXAMPLES
from tests.helpers.python_programs import environment, go, line_of, run, started
from tests.helpers.valkey import Valkey, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of Unix"),
    pytest.mark.shows_secrets("stdout", because="the programs print whose keys they got"),
]
ROLE = "arn:aws:iam::123456789012:role/app"
MEMBER = f"""
import asyncio, sys
from aiocreds import from_env, from_temporary_credentials, shared

async def main():
    role = from_temporary_credentials(role_arn="{ROLE}", source=from_env())
    provider = shared(role, store=sys.argv[1], timeout=30)
    print("ready", flush=True)
    while sys.stdin.readline():
        print((await provider.fetch()).access_key_id, flush=True)

asyncio.run(main())
"""
# A child is killed before the n-th thing that its loop does while it fetches; then its parent wants new ones.
KILLED = """
import asyncio, json, os, signal, sys, time
from datetime import UTC, datetime, timedelta
from aiocreds import Credentials, Provider, RedisLease, shared
from aiocreds._shared import provider as module

module.LEASE = 0.4
where, url, held = sys.argv[1:]
if url:  # loaded before anything is measured
    import redis.asyncio as redis
    from key_value.aio.stores.redis import RedisStore
KEY = bytes(range(32))

async def fetch(who):
    await asyncio.sleep(0)
    return Credentials(f"{who}{time.time_ns()}", "x", "y", expiration=datetime.now(UTC) + timedelta(hours=1))

def process(who, key):
    source = Provider(lambda: fetch(who), name="source")
    if not url:
        return shared(source, store=where, key=key, timeout=30)
    client = redis.Redis.from_url(url, decode_responses=True)
    store, lease = RedisStore(client=client), RedisLease(client)
    return shared(source, store=store, lease=lease, key=key, secret_keys=[KEY], timeout=30)

async def die(key, deadly):
    child = process("CHILD", key)
    if held:
        await child()
    real, count = asyncio.events.Handle._run, 0
    def counted(handle):
        nonlocal count
        count += 1
        if count == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)
    asyncio.events.Handle._run = counted
    await child.fetch()

outcomes, longest = {"CHILD": 0, "PARENT": 0}, 0.0
for deadly in range(1, 1000):
    parent, old = process("PARENT", f"key {deadly}"), None
    with asyncio.Runner() as runner:
        if held:
            old = runner.run(parent())
        child = os.fork()
        if not child:
            asyncio.run(die(f"key {deadly}", deadly))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        began = time.monotonic()
        new = runner.run(parent.fetch())
        longest = max(longest, time.monotonic() - began)
        assert new != old
        outcomes[new.access_key_id.rstrip("0123456789")] += 1
        if url:
            runner.run(parent._store._client.aclose())
    if status == 0:
        break
    assert status == signal.SIGKILL, status
print(json.dumps([deadly, outcomes, longest]))
"""


@pytest.fixture
def environ(aws: Loopback, home: Path) -> dict[str, str]:
    return {
        **environment(home, aws.environ),
        "AWS_ACCESS_KEY_ID": "AKIATESTTEST00000001",
        "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "AWS_REGION": "eu-central-1",
    }


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    if program() is None:
        pytest.skip("no valkey-server is installed")
    with Valkey(tmp_path) as server:
        yield server


async def test_eight_processes_make_one_call(aws: Loopback, environ: dict[str, str], home: Path) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(250):
        entered = (stack.enter_async_context(started(environ, MEMBER, str(home / "store"))) for _ in range(8))
        processes = await asyncio.gather(*entered)
        assert [await line_of(process) for process in processes] == ["ready"] * 8
        for count in (1, 2):  # the second time, that is a refresh
            for process in processes:
                go(process)
            assert len({await line_of(process) for process in processes}) == 1
            assert len(aws.assumed) == count


@pytest.mark.parametrize("held", ["", "held"], ids=["a first load", "a refresh"])
@pytest.mark.parametrize("engine", ["folder", "valkey"])
async def test_a_holder_killed_at_each_step(
    environ: dict[str, str], home: Path, engine: str, held: str, request: pytest.FixtureRequest
) -> None:
    url = ""
    if engine == "valkey":
        pytest.importorskip("redis")
        pytest.importorskip("key_value.aio")
        url = request.getfixturevalue("valkey").url
    async with asyncio.timeout(280):
        steps, outcomes, longest = json.loads(await run(environ, KILLED, str(home / "store"), url, held))
    assert steps > 15
    assert outcomes["CHILD"] > 0
    assert outcomes["PARENT"] > 10
    assert longest < BUDGET / 2  # the lease lasts 0.4 s


# The examples.


async def test_four_workers_of_the_example_make_one_call(home: Path) -> None:
    pytest.importorskip("uvicorn")
    program = "import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
    example = EXAMPLES / "shared_workers.py"
    environ = environment(home)
    async with asyncio.timeout(250):
        out = await run(environ, program, str(EXAMPLES), str(example))
    assert "4 workers, 1 AssumeRole call: key ****" in out


async def test_hosts_of_the_example_make_one_call(aws: Loopback, environ: dict[str, str], valkey: Valkey) -> None:
    pytest.importorskip("redis")
    pytest.importorskip("key_value.aio")
    words = "import runpy; runpy.run_path({!r}, run_name='__main__')".format(str(EXAMPLES / "shared_valkey.py"))
    environ |= {"VALKEY_URL": valkey.url, "SHARED_KEY": "A" * 43 + "="}
    async with asyncio.timeout(250):
        first, second = await run(environ, words), await run(environ, words)
    assert first == second
    assert len(aws.assumed) == 1
