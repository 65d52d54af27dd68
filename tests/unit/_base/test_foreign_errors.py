"""A source of one's own that fails: what its message, the log and the next calls tell.

======================================  ==========================================================================
the source raises                       the message says
======================================  ==========================================================================
an error of an HTTP client              its type, the HTTP status, a service's code; the last line of the source
an error of the operating system        its type and errno, also where a client wrapped it
what aiocreds itself has raised         its text, too
another exception                       its type alone: its text may hold a secret
a mistake (TypeError, KeyError, …)      that it is one; the source is not retried
======================================  ==========================================================================
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import ssl
import urllib.error
import urllib.request
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import botocore.exceptions
import httpx
import pytest
import requests

from aiocreds import (
    Context,
    Credentials,
    CredentialsNotFound,
    Provider,
    SourceUnavailable,
    chain,
    credential_provider,
    from_env,
    from_web_token,
)
from aiocreds.errors import foreign
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Loopback
from tests.helpers.scripted import Source, issue
from tests.helpers.secret_leaks import MARK, secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import time_machine


def kind(error: Exception) -> str:
    return type(error).__name__


HERE = r"test_foreign_errors\.py"
PLANTED = pytest.mark.shows_secrets("exception", because="the cause is the user's own")


async def message_of(raises: Callable[[], Awaitable[Any]]) -> str:
    @credential_provider
    async def from_vault() -> Credentials:
        await raises()
        return issue()

    with pytest.raises(SourceUnavailable) as caught:
        await from_vault()()
    return str(caught.value)


# What is safe to say.


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("client", ["aiohttp", "httpx", "requests", "urllib"])
async def test_the_status_of_a_client_librarys_error(aws: Loopback, status: int, client: str) -> None:
    aws.always("/v1/creds", Answer(status, f"<html>{secret('page')}</html>"))
    url = f"{aws.url}/v1/creds"

    async def ask() -> None:
        if client == "aiohttp":
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                answer.raise_for_status()
        elif client == "httpx":
            async with httpx.AsyncClient(trust_env=False) as http:
                (await http.get(url)).raise_for_status()
        elif client == "requests":
            (await asyncio.to_thread(requests.get, url, timeout=5)).raise_for_status()
        else:
            try:
                await asyncio.to_thread(urllib.request.urlopen, url)
            except urllib.error.HTTPError as error:
                error.close()
                raise

    types = {"aiohttp": "ClientResponseError", "httpx": "HTTPStatusError", "requests": "HTTPError"}
    said = await message_of(ask)
    assert re.match(
        rf"from_vault: raised {types.get(client, 'HTTPError')} \(HTTP {status}\) at {HERE}:\d+ in ask;", said
    ), said


@PLANTED
async def test_the_code_of_a_botocore_error() -> None:
    answer: Any = {
        "Error": {"Code": "AccessDeniedException", "Message": secret()},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }

    async def ask() -> None:
        raise botocore.exceptions.ClientError(answer, "GetSecretValue")

    assert "raised ClientError (HTTP 400, AccessDeniedException) at" in await message_of(ask)
    answer["Error"]["Code"] = "no code\n"
    assert "raised ClientError (HTTP 400) at" in await message_of(ask)


@pytest.mark.parametrize("client", ["asyncio", "aiohttp", "httpx", "requests"])
async def test_the_errno_however_deep_it_lies(deaf_port: int, client: str) -> None:
    url = f"http://127.0.0.1:{deaf_port}"

    async def ask() -> None:
        if client == "asyncio":
            await asyncio.open_connection("127.0.0.1", deaf_port)
        elif client == "aiohttp":
            async with aiohttp.ClientSession() as session, session.get(url):
                pass
        elif client == "httpx":
            async with httpx.AsyncClient(trust_env=False) as http:
                await http.get(url)
        else:
            await asyncio.to_thread(requests.get, url, timeout=5)

    said = await message_of(ask)
    assert "ECONNREFUSED: Connection refused) at test_foreign_errors.py:" in said
    assert "aiohttp" not in said.replace("(from aiohttp", "")


@PLANTED
async def test_the_reason_of_a_tls_error_and_a_plain_time_out() -> None:
    async def untrusted() -> None:
        error = ssl.SSLCertVerificationError(1, secret())
        error.reason = "CERTIFICATE_VERIFY_FAILED"
        raise error

    async def slow() -> None:
        async with asyncio.timeout(0):
            await asyncio.sleep(1)

    said = await message_of(untrusted)
    assert "raised SSLCertVerificationError (CERTIFICATE_VERIFY_FAILED) at" in said
    assert "mistake" not in said  # although it is a ValueError
    assert re.search(rf"raised TimeoutError at {HERE}:\d+ in slow;", await message_of(slow))


class Hostile(Exception):
    """Whose every attribute fails."""

    @property
    def response(self) -> object:
        raise RuntimeError(secret())

    status = status_code = code = response


@PLANTED
@pytest.mark.parametrize("error", [Hostile(), OSError(99999, secret()), OSError(secret())], ids=kind)
async def test_what_cannot_be_read_is_left_out(error: Exception) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        await Source(error).provider()()
    said = str(caught.value)
    assert re.match(rf"source: raised {type(error).__name__} at scripted\.py:\d+ in __call__;", said)


@PLANTED
async def test_of_any_other_exception_only_the_type() -> None:
    with pytest.raises(SourceUnavailable, match="raised RuntimeError at") as caught:
        await Source(RuntimeError(secret())).provider()()
    assert MARK not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


# Where.


async def broken_helper() -> None:
    raise OSError


def decorated(source: Callable[..., Awaitable[Credentials]]) -> Callable[..., Awaitable[Credentials]]:
    @functools.wraps(source)
    async def wrapper(*args: Any, **options: Any) -> Credentials:
        return await source(*args, **options)

    return wrapper


async def test_the_last_line_in_the_sources_own_file() -> None:
    """Behind it lies the code of the standard library; before it, that of a decorator from anywhere."""

    @decorated
    async def from_vault(path: str) -> Credentials:
        json.loads(path)
        return issue()

    provider = Provider(functools.partial(from_vault, "<html>"), name="from_vault", context=Context({}))
    await failure(
        provider, SourceUnavailable, "raised JSONDecodeError at test_foreign_errors.py:", "in from_vault;"
    )


async def test_the_file_of_a_callback(context: Context) -> None:
    async def token() -> str:
        await broken_helper()
        return ""

    provider = from_web_token(
        role_arn="arn:aws:iam::123456789012:role/x", web_identity_token=token, context=context
    )
    await failure(provider, SourceUnavailable, "raised OSError at test_foreign_errors.py:", "in broken_helper;")


async def test_an_error_without_a_traceback_has_no_place() -> None:
    assert str(foreign(OSError())).startswith("raised OSError somewhere;")


# What aiocreds itself has raised.


async def test_the_text_of_a_mistake_that_aiocreds_tells_of() -> None:
    async def naive() -> None:
        Credentials("AKIDEXAMPLE", secret(), expiration=datetime(2030, 1, 1))  # noqa: DTZ001

    async def blank() -> None:
        Credentials("", secret())

    async def mistaken() -> None:
        await from_env().get(min_ttl=-1)

    async def uncalled() -> None:
        take: Any = chain
        take(from_env)

    said = await message_of(naive)
    assert re.search(rf"raised ValueError at {HERE}:\d+ in naive: expiration must be timezone-aware: ", said)
    assert "datetime.now(UTC)" in said
    assert "in blank: Credentials need a non-empty access_key_id" in await message_of(blank)
    assert "in mistaken: min_ttl must be" in await message_of(mistaken)
    assert "a chain takes providers: write from_env(), not from_env" in await message_of(uncalled)


@PLANTED
async def test_no_text_of_pythons_though_a_line_of_ours_raised_it() -> None:
    namespace: dict[str, Any] = {"__name__": "aiocreds.fake"}
    exec("def read(text):\n    return int(text)", namespace)

    async def number() -> None:
        namespace["read"](secret())

    said = await message_of(number)
    assert "raised ValueError at test_foreign_errors.py:" in said
    assert MARK not in said


# Task groups.


@pytest.mark.parametrize("how", ["alone", "twice"])
async def test_an_error_out_of_a_task_group(how: str) -> None:
    async def fail(kind: type[Exception]) -> None:
        raise kind

    async def ask() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ConnectionResetError))
            if how == "twice":
                group.create_task(fail(TimeoutError))

    said = await message_of(ask)
    assert ("raised ConnectionResetError at" in said) is (how == "alone")
    assert ("raised ExceptionGroup of ConnectionResetError, TimeoutError at" in said) is (how == "twice")


async def test_an_error_of_ours_out_of_a_task_group_is_that_error() -> None:
    async def look() -> None:
        raise CredentialsNotFound("the vault is sealed")

    @credential_provider
    async def from_vault() -> Credentials:
        async with asyncio.TaskGroup() as group:
            group.create_task(look())
        return issue()

    await failure(from_vault(), CredentialsNotFound, "from_vault: the vault is sealed")
    second = Source()
    await chain(from_vault(), second.provider())()
    assert second.calls == 1


# Mistakes of the program.

MISTAKES = {
    "TypeError": TypeError("no"),
    "ValueError": ValueError("no"),
    "KeyError": KeyError("no"),
    "IndexError": IndexError("no"),
    "AttributeError": AttributeError("no"),
    "NameError": NameError("no"),
    "ModuleNotFoundError": ModuleNotFoundError("no"),
    "NotImplementedError": NotImplementedError("no"),
    "ExceptionGroup": ExceptionGroup("no", [OSError(), KeyError("no")]),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_not_retried(name: str, clock: time_machine.Traveller) -> None:
    source = Source(usual=lambda: MISTAKES[name])
    provider = source.provider()
    for _ in range(50):
        error = await failure(provider, SourceUnavailable, f"raised {name}", "a mistake in the program")
        assert not error.recoverable
    assert source.calls == 1
    clock.shift(5.1)
    source.usual = issue
    await provider()


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_logged_as_an_error_and_raised_at_the_end(
    name: str, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(issue(3600, stamped=True), usual=lambda: MISTAKES[name])
    provider = source.provider()
    held = await provider()
    clock.shift(3590)
    assert await provider() is held
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["ERROR"]
    clock.shift(20)
    await failure(provider, SourceUnavailable, f"raised {name}")


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        TimeoutError(),
        EOFError(),
        RuntimeError(),
        ConnectionResetError(),
        json.JSONDecodeError("no", "<html>", 0),
        UnicodeDecodeError("utf-8", b"", 0, 0, "no"),
        ssl.SSLCertVerificationError(),
    ],
    ids=kind,
)
async def test_trouble_is_asked_about_again(error: Exception) -> None:
    source = Source(error)
    provider = source.provider()
    assert (await failure(provider, SourceUnavailable)).recoverable
    await provider()
    assert source.calls == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"AccessKeyId": "x"},
            "returned dict, not aiocreds.Credentials: make one of it, Credentials(access_key_id=…",
        ),
        (None, "returned NoneType, not aiocreds.Credentials: does it lack a return?"),
        ("AKIDEXAMPLE", "returned str, not aiocreds.Credentials"),
        (Source().provider(), "returned Provider, not aiocreds.Credentials: await that provider"),
    ],
    ids=["dict", "nothing", "text", "provider"],
)
async def test_anything_but_credentials_is_a_mistake_too(given: object, words: str) -> None:
    source = Source(usual=lambda: given)
    provider = source.provider()
    for _ in range(3):
        assert not (await failure(provider, SourceUnavailable, words)).recoverable
    assert source.calls == 1


async def test_a_source_that_is_no_coroutine_function_is_told_so() -> None:
    wrong: Any = issue
    provider = Provider(wrong, name="from_x", context=Context({}))
    words = "returned Credentials where a coroutine is awaited", "`async def`"
    assert not (await failure(provider, SourceUnavailable, *words)).recoverable


@PLANTED
async def test_a_source_may_say_itself_what_it_knows() -> None:
    @credential_provider
    async def from_vault() -> Credentials:
        try:
            raise OSError(secret())
        except OSError as error:
            raise SourceUnavailable("vault answered 403", recoverable=False) from error

    with pytest.raises(SourceUnavailable) as caught:
        await from_vault()()
    assert str(caught.value) == "from_vault: vault answered 403"
    assert not caught.value.recoverable
    assert isinstance(caught.value.__cause__, OSError)


# The log.


@PLANTED
async def test_the_log_has_the_traceback_at_debug_and_nothing_that_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "aiocreds")

    async def fetch(token: str) -> None:
        try:
            raise OSError(104, token)
        except OSError as error:
            raise RuntimeError(token) from error

    @credential_provider
    async def from_vault() -> Credentials:
        async with asyncio.TaskGroup() as group:
            group.create_task(fetch(secret()))
        return issue()

    with pytest.raises(SourceUnavailable, match=r"raised RuntimeError \(from ConnectionResetError, ECONNRESET: "):
        await from_vault()()
    (record,) = [record for record in caplog.records if "Traceback" in record.getMessage()]
    assert record.levelno == logging.DEBUG
    assert record.name == "aiocreds.provider"
    text = record.getMessage()
    assert text.startswith("from_vault: Traceback (most recent call last):\n")
    assert re.search(rf'  File "{re.escape(__file__)}", line \d+, in from_vault\n', text)
    assert re.search(rf'  File "{re.escape(__file__)}", line \d+, in fetch\n', text)
    assert "ConnectionResetError (ECONNRESET: Connection reset by peer)" in text
    assert "which led to" in text
    assert MARK not in text


async def test_a_traceback_in_the_log_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiocreds")

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise OSError

    async def ask() -> None:
        deep(500)

    await message_of(ask)
    (record,) = [record for record in caplog.records if "Traceback" in record.getMessage()]
    assert record.getMessage().count("\n") < 40
    assert "more" in record.getMessage()


async def test_a_circle_of_causes_ends() -> None:
    async def from_vault() -> Any:
        try:
            raise OSError("down")
        except OSError as error:
            raise error from error

    with pytest.raises(SourceUnavailable, match="raised OSError"):
        await asyncio.wait_for(chain(from_vault)(), 10)
