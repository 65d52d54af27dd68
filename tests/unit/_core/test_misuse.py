"""Misuse that people write instead of what is meant, and the messages they get."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import botocore.session
import pytest
from aiobotocore.session import get_session
from fastapi import Depends, FastAPI
from fastapi.exceptions import FastAPIError

import aiocreds
from aiocreds import (
    Context,
    Credentials,
    Provider,
    chain,
    credential_provider,
    default_chain,
    explain,
    from_env,
    from_temporary_credentials,
)
from aiocreds.integrations import aiobotocore, obstore
from aiocreds.integrations import aiohttp as for_aiohttp
from aiocreds.integrations import boto3 as for_boto3
from aiocreds.integrations import httpx as for_httpx
from tests.helpers.scripted import Source, issue

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import time_machine

ROLE = "arn:aws:iam::123456789012:role/x"


async def from_vault() -> Credentials:
    """A source of one's own, without the decorator."""
    return issue(key="AKIDVAULT0001")


@credential_provider
async def from_decorated(path: str = "x") -> Credentials:
    return issue()


def polars(source: Any) -> Any:
    pytest.importorskip("polars")
    from aiocreds.integrations.polars import polars_credentials as for_polars

    return for_polars(source)


async def asked(source: Any) -> Any:
    return await explain(source)


TAKERS: dict[str, Callable[[Any], Any]] = {
    "chain": chain,
    "role": lambda source: from_temporary_credentials(role_arn=ROLE, source=source),
    "aiobotocore": lambda source: aiobotocore.attach(get_session(), source),
    "boto3": lambda source: for_boto3.attach(botocore.session.get_session(), source),
    "aiohttp": lambda source: for_aiohttp.SigV4Auth(source, service="es", region="eu-central-1"),
    "httpx": lambda source: for_httpx.SigV4Auth(source, service="es", region="eu-central-1"),
    "obstore": obstore.obstore_credentials,
    "obstore, synchronous": obstore.sync_obstore_credentials,
    "polars": polars,
}


# Any async function is taken.


async def key_of(taken: Any) -> str:
    """The access key id that a taker ends up with."""
    if isinstance(taken, Provider):
        return (await taken()).access_key_id
    if hasattr(taken, "presign"):
        url: str = await taken.presign("GET", "https://search-x.eu-central-1.es.amazonaws.com/")
        return url.partition("X-Amz-Credential=")[2].partition("%2F")[0]
    if hasattr(taken, "get_credentials"):
        credentials = taken.get_credentials()
        if asyncio.iscoroutine(credentials):
            return (await (await credentials).get_frozen_credentials()).access_key  # type: ignore[no-any-return]
        return await asyncio.to_thread(lambda: credentials.get_frozen_credentials().access_key)
    given = await asyncio.to_thread(taken)
    given = await given if asyncio.iscoroutine(given) else given
    keys = given[0] if isinstance(given, tuple) else given
    return keys.get("access_key_id") or keys["aws_access_key_id"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("taker", [name for name in TAKERS if name != "role"])
async def test_whoever_takes_a_provider_takes_an_async_function(taker: str) -> None:
    for _ in range(2):  # the same function may be given to several
        assert await key_of(TAKERS[taker](from_vault)) == "AKIDVAULT0001"
    assert await key_of(TAKERS[taker](Provider(from_vault, name="from_vault"))) == "AKIDVAULT0001"


async def test_it_is_kept_fresh_as_any_provider_is() -> None:
    source = Source()
    session = aiobotocore.attach(get_session(), source)
    credentials: Any = await session.get_credentials()
    for _ in range(3):
        await credentials.get_frozen_credentials()
    assert source.calls == 1


# What is none of both is refused at once, with what to write.


async def vault_of(path: str) -> Credentials:
    return issue()


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: from_env, r"takes providers: write from_env\(\), not from_env$"),
        (lambda: default_chain, r"takes providers: write default_chain\(\), not default_chain$"),
        (lambda: from_decorated, r"takes providers: write from_decorated\(\), not from_decorated$"),
        (lambda: from_vault(), r"takes the async function itself: write from_vault, not from_vault\(\)$"),
        (lambda: vault_of("x"), r"takes the async function itself: write vault_of, not vault_of\(\)$"),
        (lambda: from_decorated()(), r"takes the provider itself: write provider, not provider\(\)$"),
        (lambda: "from_env", "takes a provider or an async function, not str$"),
        (lambda: None, "takes a provider or an async function, not NoneType$"),
    ],
    ids=["factory", "default_chain", "decorated", "coroutine", "with arguments", "awaitable", "name", "nothing"],
)
def test_what_is_no_provider_is_refused(taker: str, wrong: Callable[[], Any], words: str) -> None:
    if (taker, words) == ("role", "takes a provider or an async function, not NoneType$"):
        return  # the default chain is meant
    if taker == "polars":
        pytest.importorskip("polars")  # before there is a coroutine that would be left
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a coroutine was never awaited
        with pytest.raises(TypeError, match=words):
            TAKERS[taker](wrong())


# One call short, or one too many.


async def test_a_provider_that_is_awaited_says_what_to_write() -> None:
    provider: Any = default_chain(context=Context({}))
    with pytest.raises(TypeError, match=r"chain is a .* `await provider\(\)`, .* `await default_chain\(\)\(\)`"):
        await provider
    with pytest.raises(TypeError, match=r"from_env is a provider"):
        await asyncio.gather(from_env())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def test_a_source_that_returns_a_provider_says_so_too() -> None:
    def source() -> Any:
        return from_env(context=Context({}))

    with pytest.raises(aiocreds.SourceUnavailable, match=r"from_env is a provider, .*`await provider\(\)`"):
        await chain(source)()


def test_a_factory_is_no_dependency_of_fastapi() -> None:
    """Its arguments would be those of a request: the web would choose the profile."""
    app = FastAPI()
    with pytest.raises(FastAPIError):

        @app.get("/")
        async def whoami(credentials: Annotated[Any, Depends(default_chain)]) -> None: ...


# Not on asyncio.


def run_by_hand(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what needs no loop, as a program on another framework would begin it."""
    try:
        while True:
            work.send(None)
    except StopIteration as done:
        return done.value


USES: dict[str, Callable[[Provider], Coroutine[Any, Any, Any]]] = {
    "call": lambda provider: provider(),
    "get": lambda provider: provider.get(min_ttl=60),
    "fetch": lambda provider: provider.fetch(),
    "async with": lambda provider: provider.__aenter__(),
    "async with context": lambda provider: provider._context.__aenter__(),  # pyright: ignore[reportPrivateUsage]
    "explain": explain,
}


@pytest.mark.parametrize("use", USES)
def test_without_asyncio_it_is_told_that_it_is_needed(use: str) -> None:
    provider = from_env(context=Context({}))
    with pytest.raises(RuntimeError, match=r"^aiocreds runs on asyncio, and no asyncio event loop runs here"):
        run_by_hand(USES[use](provider))


def test_under_trio_it_is_told_that_asyncio_is_needed() -> None:
    trio = pytest.importorskip("trio")
    with pytest.raises(RuntimeError, match=r"^aiocreds runs on asyncio, .*; in a program on trio"):
        trio.run(from_env(context=Context({})))


async def test_what_is_held_needs_no_loop() -> None:
    provider = Source().provider()
    held = await provider()
    assert await asyncio.to_thread(run_by_hand, provider()) is held


# What people look for.


@pytest.mark.parametrize("stamped", [True, False])
async def test_the_status_says_whether_calls_are_served(clock: time_machine.Traveller, stamped: bool) -> None:
    source = Source(issue(600, stamped=stamped), aiocreds.SourceUnavailable("down"))
    provider = source.provider()
    await provider()
    assert provider.status.loaded
    clock.shift(601)
    assert provider.status.loaded is stamped  # its service decides, and may well accept them


async def test_the_status_says_whether_anything_was_loaded() -> None:
    source = Source(aiocreds.SourceUnavailable("down"))
    provider = source.provider()
    assert not provider.status.loaded
    with pytest.raises(aiocreds.SourceUnavailable):
        await provider()
    assert not provider.status.loaded
    await provider()
    assert provider.status.loaded


def test_the_package_tells_its_version() -> None:
    from importlib.metadata import version

    assert aiocreds.__version__ == version("aiocreds")


async def needs_a_path(path: str, *, region: str, retries: int = 3) -> Credentials:
    return issue()


@pytest.mark.parametrize("taker", TAKERS)
async def test_a_function_that_wants_arguments_is_refused_at_once(taker: str) -> None:
    words = r"calls needs_a_path without arguments, and it wants path, region: make it a factory"
    with pytest.raises(TypeError, match=words):
        await key_of(TAKERS[taker](needs_a_path))


async def test_a_call_short_is_answered_with_the_name_of_the_factory() -> None:
    with pytest.raises(TypeError, match=r"`await from_env\(\)\(\)`"):
        await from_env()  # type: ignore[misc]  # the mistake


@pytest.mark.parametrize("context", [None, "eu-central-1", {}])
@pytest.mark.parametrize("make", [from_env, default_chain, aiocreds.from_ini, aiocreds.from_instance_metadata])
def test_what_is_no_context(make: Callable[..., Provider], context: Any) -> None:
    with pytest.raises(TypeError, match=rf"\(\) takes context=Context\(…\), not {type(context).__name__}"):
        make(context=context)


async def test_a_source_of_the_program_calls_a_context_what_it_likes() -> None:
    @credential_provider
    async def from_vault(context: str) -> Credentials:
        assert context == "prod"
        return issue()

    assert isinstance(await from_vault("prod")(), Credentials)
