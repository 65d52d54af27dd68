"""obstore_credentials(): a real obstore against moto's S3, which checks signatures and ends keys that expire."""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import obstore
import pytest
import time_machine
from obstore.exceptions import BaseError

from aiocreds import Context, Credentials, CredentialsNotFound, Provider
from aiocreds.integrations.obstore import obstore_credentials, sync_obstore_credentials
from tests.helpers.examples import EXAMPLES
from tests.helpers.moto_server import (
    BUCKET,
    Lake,
    ShortLived,
)
from tests.helpers.scripted import START, Source, issue
from tests.helpers.secret_leaks import MARK, secret

if TYPE_CHECKING:
    from pathlib import Path

TASKS = 50


class Counting:
    """Asks what a store asks, and counts."""

    def __init__(self, provider: Provider) -> None:
        self.calls = 0
        self._ask = obstore_credentials(provider)

    async def __call__(self) -> Any:
        self.calls += 1
        return await self._ask()


# With a real store


@pytest.mark.slow
async def test_fifty_tasks_call_through_three_rotations(lake: Lake) -> None:
    source = ShortLived(lake.role(), lifetime=2.5)
    store = lake.store(obstore_credentials(source.provider()))
    done: Counter[str] = Counter()

    async def work(number: int) -> None:
        folder = f"tasks/{number}"
        key = f"{folder}/data"
        while len(source.ended) < 3:
            await store.put_async(key, b"%d" % number)
            assert (await (await store.get_async(key)).bytes_async()).to_bytes() == b"%d" % number
            pages = store.list(folder)  # pyright: ignore[reportUnknownMemberType] - its other form is of Arrow's types
            assert [found["path"] async for page in pages for found in page] == [key]
            done[key] += 1

    async with asyncio.timeout(40):
        await asyncio.gather(*(work(number) for number in range(TASKS)))
    assert len(done) == TASKS
    assert len(source.issued) >= 4


async def test_keys_that_have_ended_are_refused_here(lake: Lake) -> None:
    """Or else the test above would show nothing."""
    source = ShortLived(lake.role(), lifetime=60)
    store = lake.store(obstore_credentials(source.provider()))
    await store.head_async("greeting")
    source.end(source.issued[0].access_key_id)
    with pytest.raises(BaseError, match="403"):
        await store.head_async("greeting")


async def test_every_asynchronous_method_signs(lake: Lake) -> None:
    role = lake.role()
    store = lake.store(obstore_credentials(role))
    await store.put_async("big", b"x" * 12_000_000, chunk_size=5_242_880)  # in parts
    assert (await store.get_range_async("big", start=11_999_998, end=12_000_000)).to_bytes() == b"xx"
    await store.copy_async("big", "copy")
    reader = await obstore.open_reader_async(store, "copy")
    assert reader.size == 12_000_000
    async with obstore.open_writer_async(store, "written") as writer:
        await writer.write(b"abc")
    assert (await store.head_async("written"))["size"] == 3
    await store.delete_async(["big", "copy", "written"])
    url = await obstore.sign_async(store, "GET", "greeting", timedelta(minutes=1))
    signed = parse_qs(urlsplit(url).query)  # moto knows signatures in headers only
    current = await role()
    assert signed["X-Amz-Credential"][0].split("/")[0] == current.access_key_id
    assert signed["X-Amz-Security-Token"] == [current.session_token]


async def test_keys_without_a_token(lake: Lake) -> None:
    store = lake.store(obstore_credentials(Source(usual=lambda: lake.user).provider()))
    assert (await store.head_async("greeting"))["size"] == 5


async def test_keys_served_past_their_expiration_are_not_asked_for_at_every_request(lake: Lake) -> None:
    role = await lake.role()()
    stale = role.__replace__(expiration=datetime.now(UTC) - timedelta(hours=1))
    assert stale.may_outlive_expiry
    source = Source(stale)
    ask = Counting(source.provider())
    store = lake.store(ask)
    began, requests = monotonic(), 0
    while requests < 60 or monotonic() - began < 0.5:
        await store.head_async("greeting")
        requests += 1
    assert ask.calls <= (monotonic() - began) / 0.1 + 2
    assert ask.calls < requests
    assert source.calls == 1


async def test_the_store_asks_once_for_many(lake: Lake) -> None:
    ask = Counting(lake.role())
    store = lake.store(ask)
    await asyncio.gather(*(store.head_async("greeting") for _ in range(TASKS)))
    assert ask.calls == 1


async def test_what_the_provider_raises_is_what_the_store_says(lake: Lake) -> None:
    store = lake.store(obstore_credentials(Source(CredentialsNotFound("nothing in the vault")).provider()))
    with pytest.raises(BaseError, match="CredentialsNotFound: source: nothing in the vault") as caught:
        await store.head_async("greeting")
    assert MARK not in str(caught.value)
    with pytest.raises(BaseError, match="403"):  # it asked again, and got keys, if such as moto does not know
        await store.head_async("greeting")


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
async def test_the_synchronous_methods_say_that_they_have_no_loop(lake: Lake) -> None:
    store = lake.store(obstore_credentials(lake.role()))
    with pytest.raises(BaseError, match="RuntimeError: no running event loop"):
        await asyncio.to_thread(store.head, "greeting")


@pytest.mark.slow
async def test_synchronous_methods_through_a_rotation(lake: Lake) -> None:
    source = ShortLived(lake.role(), lifetime=2.0)
    store = lake.store(sync_obstore_credentials(source.provider()))

    def work(number: int) -> int:
        done = 0
        while not source.ended:
            store.put(f"threads/{number}", b"%d" % number)
            assert store.get(f"threads/{number}").bytes().to_bytes() == b"%d" % number
            done += 1
        return done

    async with asyncio.timeout(20):
        assert all(await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(4))))
    assert len(source.issued) >= 2
    await store.head_async("greeting")  # and asynchronous ones


async def test_a_store_with_a_provider_stays_in_its_process(lake: Lake) -> None:
    store = lake.store(obstore_credentials(Source().provider()))
    with pytest.raises(TypeError, match="a provider belongs to its process"):
        pickle.dumps(store)
    assert MARK not in repr(store)


@pytest.mark.slow
async def test_the_example(lake: Lake, home: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", EXAMPLES / "obstore_s3.py", BUCKET),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=lake.environ(home),
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert (out.decode(), err.decode()) == ("1225\n", "")
    # obstore 0.12 aborts now and then as Python ends, no less with fixed keys.
    assert process.returncode in (0, -signal.SIGABRT)


# What the store is told


@pytest.mark.parametrize(
    ("lifetime", "told"),
    [(None, None), (3600.0, 360.0), (200.0, 200.0), (6.0, 6.0), (1.0, 5.0), (-7200.0, 5.0)],
    ids=["never expires", "long", "short", "very short", "ends", "ended"],
)
async def test_for_how_long(lifetime: float | None, told: float | None) -> None:
    with time_machine.travel(START, tick=False):
        credentials = issue(lifetime, stamped=True)
        given = await obstore_credentials(Source(credentials).provider())()
        assert given["access_key_id"] == credentials.access_key_id
        assert given["secret_access_key"] == credentials.secret_access_key
        assert given.get("token") == credentials.session_token
        expires_at = given["expires_at"]
        assert (None if expires_at is None else expires_at.timestamp() - time()) == told


async def test_a_cap_on_their_life_counts() -> None:
    with time_machine.travel(START, tick=False):
        provider = Source(Credentials("AKIATEST00000001", secret())).provider().expire_after(100)
        assert (await obstore_credentials(provider)())["expires_at"] == datetime.fromtimestamp(START + 100, UTC)


async def test_a_wrong_clock_does_not_count() -> None:
    """The expiration that the store gets is by its own clock, wrong as it is."""
    with time_machine.travel(START, tick=False):
        context = Context(environ={})
        context.clock.learn(600.0)
        given = await obstore_credentials(Source(issue(700)).provider(context))()
        assert given["expires_at"] == datetime.fromtimestamp(START + 100, UTC)


async def test_invalidated_keys_are_not_given_again() -> None:
    first, second = issue(), issue()
    provider = Source(first, second).provider()
    ask = obstore_credentials(provider)
    assert (await ask())["access_key_id"] == first.access_key_id
    provider.invalidate(first)
    assert (await ask())["access_key_id"] == second.access_key_id
