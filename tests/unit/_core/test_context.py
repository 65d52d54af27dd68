"""Context: what sources see of the machine, and the HTTP session that is lent or held."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from aiocreds import Context, InvalidConfiguration, chain, from_container_metadata, from_env, from_instance_metadata
from tests.helpers.loopback_aws import CONTAINER_PATH, Loopback
from tests.helpers.loopback_routes import Door
from tests.helpers.scripted import others, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def door(aws: Loopback, environ: dict[str, str]) -> AsyncIterator[Door]:
    """The metadata service behind a door that counts connections."""
    door = Door(aws)
    await door.open()
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = door.url
    yield door
    await door.shut()


# The environment


def test_by_default_it_is_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    assert context.environ is os.environ
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALATER")
    assert context.setting("AWS_ACCESS_KEY_ID") == "AKIALATER", "read when it is needed"


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_a_blank_variable_counts_as_unset(value: str) -> None:
    assert Context(environ={"AWS_PROFILE": value}).setting("AWS_PROFILE") is None


def test_a_setting_comes_without_the_blanks_around_it() -> None:
    assert Context(environ={"AWS_PROFILE": " app\n"}).setting("AWS_PROFILE") == "app"


@pytest.mark.parametrize(
    ("value", "on"),
    [("true", True), ("TRUE", True), (" True ", True), ("1", True)]
    + [(value, False) for value in ("", "false", "0", "yes", "on", "2", "truee")],
)
def test_switches_are_true_and_1_in_any_case(value: str, on: bool) -> None:
    assert Context(environ={"AWS_EC2_METADATA_DISABLED": value}).flag("AWS_EC2_METADATA_DISABLED") is on


def test_a_home_folder_may_be_a_path(tmp_path: Path) -> None:
    assert Context(home=tmp_path).home == str(tmp_path)
    assert Context(home=str(tmp_path)).home == str(tmp_path)
    assert Context().home is None


# A session that the program lends


async def test_nothing_of_a_lent_session_but_its_connector_meets_our_requests(
    aws: Loopback, environ: dict[str, str], home: Path
) -> None:
    environ.update(aws.environ)

    async def middleware(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["X-Theirs"] = "middleware"
        return await handler(request)

    connector = aiohttp.TCPConnector()
    async with aiohttp.ClientSession(
        connector=connector,
        headers={"X-Theirs": "header", "User-Agent": "theirs", "Authorization": "Basic dGhlaXI6cGFzc3dvcmQ="},
        cookie_jar=aiohttp.CookieJar(unsafe=True),
        raise_for_status=True,
        middlewares=[middleware],
    ) as session:
        session.cookie_jar.update_cookies({"their": "cookie"}, URL(aws.url))
        async with session.get(aws.url + "/latest/api/token", raise_for_status=False) as answer:
            assert answer.status == 405
        assert {"X-Theirs", "Authorization", "Cookie"} <= aws.requests.pop().headers.keys()
        context = Context(environ, home=home, session=session)
        async with context, from_instance_metadata(context=context) as provider:
            await provider()
        await provider.fetch()
        assert len(aws.requests) >= 6
        for seen in aws.requests:
            assert not {"X-Theirs", "Authorization", "Cookie"} & seen.headers.keys()
            assert seen.headers["User-Agent"] != "theirs"
        assert not session.closed
        assert not connector.closed
        async with session.get(aws.url + "/latest/api/token", raise_for_status=False) as answer:
            assert answer.status == 405, "it is as good as before"
    assert connector.closed


async def test_a_404_does_not_raise_as_the_lent_session_would(
    aws: Loopback, environ: dict[str, str], home: Path
) -> None:
    environ.update(aws.environ)
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + "/nothing/here"
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        provider = from_container_metadata(context=Context(environ, home=home, session=session))
        with pytest.raises(Exception, match="HTTP 404") as caught:
            await provider()
        assert type(caught.value).__module__.startswith("aiocreds")


async def test_connections_of_the_lent_session_are_used(door: Door, environ: dict[str, str], home: Path) -> None:
    async with aiohttp.ClientSession() as session:
        provider = from_instance_metadata(context=Context(environ, home=home, session=session))
        await provider()
        await provider.fetch()
        assert door.connections == 1, "the connector keeps it, nobody holds a lease"


async def test_a_lent_session_that_was_closed_is_told(environ: dict[str, str], home: Path, aws: Loopback) -> None:
    environ.update(aws.environ)
    async with aiohttp.ClientSession() as session:
        provider = from_instance_metadata(context=Context(environ, home=home, session=session))
    with pytest.raises(InvalidConfiguration, match="session that was passed in is closed; keep it open"):
        await provider()


# A session of ours


async def test_without_a_hold_the_connection_lingers_for_the_next_request(
    door: Door, aws: Loopback, context: Context
) -> None:
    provider = from_instance_metadata(context=context)
    await provider()
    await provider.fetch()
    assert door.connections == 1
    await context.http.close_idle()
    await closed(aws)


async def test_a_context_holds_one_connection_for_all_its_providers(
    door: Door, aws: Loopback, context: Context, environ: dict[str, str]
) -> None:
    environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = door.url + CONTAINER_PATH
    async with context:
        instance, container = from_instance_metadata(context=context), from_container_metadata(context=context)
        for _ in range(3):
            await instance.fetch()
            await container.fetch()
        assert door.connections == 1
        assert aws.open_connections == 1
    assert len(aws.requests) == 3 * 4
    await closed(aws)
    await instance.fetch()  # and afterwards everything works as without


async def test_holds_nest(door: Door, aws: Loopback, context: Context) -> None:
    provider = from_instance_metadata(context=context)
    async with context:
        async with context:
            await provider.fetch()
        await provider.fetch()
        assert door.connections == 1
    await closed(aws)


async def test_an_entered_provider_holds_the_connection_too(door: Door, aws: Loopback, context: Context) -> None:
    async with chain(from_env(context=context), from_instance_metadata(context=context)) as provider:
        await provider()
        await provider.fetch()
        assert door.connections == 1
    await closed(aws)
    assert not others() - door_tasks()


async def test_leaving_by_an_error_or_a_cancellation_closes_it(door: Door, aws: Loopback, context: Context) -> None:
    async def program() -> None:
        async with context:
            await from_instance_metadata(context=context)()
            assert aws.open_connections == 1
            await asyncio.sleep(30)

    task = asyncio.create_task(program())
    while not aws.open_connections and not task.done():  # noqa: ASYNC110 - the service has no event for it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await closed(aws)
    gc.collect()  # an unclosed session would complain now


async def test_entering_alone_opens_nothing(door: Door, context: Context) -> None:
    async with context:
        pass
    assert door.connections == 0


async def closed(aws: Loopback) -> None:
    """Wait until the last connection is gone."""
    await until(lambda: not aws.open_connections)


def door_tasks() -> set[asyncio.Task[object]]:
    """The tasks of the door itself."""
    return {
        task for task in others() if "pour" in repr(task) or "_lead" in repr(task) or "RequestHandler" in repr(task)
    }


def test_what_sources_keep_is_made_once_for_each_key_and_context() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    context = Context({})
    first = context.cached("one", make)
    assert context.cached("one", make) is first
    assert context.cached("another", make) is not first
    assert Context({}).cached("one", make) is not first
    assert len(made) == 3
