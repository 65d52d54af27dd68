"""What goes to another process, or into a copy: errors without their secrets, and no provider."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest

import aiocreds
from aiocreds import (
    ChainExhausted,
    ClientConfig,
    Context,
    Credentials,
    CredentialsError,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    chain,
    default_chain,
    explain,
    from_env,
    from_process,
    from_temporary_credentials,
)
from aiocreds.http import NoAnswer
from aiocreds.integrations import aiohttp as signing
from aiocreds.integrations import httpx
from tests.hush import secret, secret_in
from tests.kit import Source, issue
from tests.loopback import sts_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.loopback import Loopback

ROLE_ARN = "arn:aws:iam::123456789012:role/app"


def failing(kind: str) -> None:
    """For a process of its own: fail as a source does."""
    error = {
        "unavailable": SourceUnavailable("no", provider="from_process", exit_status=3, stderr=secret().encode()),
        "refused": ServiceRefused("no", code="AccessDenied", message="not you", status=403, request_id="r-1"),
        "login": LoginRequired("no", command="aws sso login", provider="from_sso"),
        "silent": NoAnswer("no", timed_out=True, connected=True),
        "exhausted": ChainExhausted("none", attempts=[SourceUnavailable("no", stderr=secret().encode())]),
    }[kind]
    error.add_note("in a worker")
    raise error from ValueError(secret())


def key_of(credentials: Credentials) -> str:
    return credentials.secret_access_key


@pytest.fixture(scope="module")
def worker() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.mark.shows_secrets("exception", because="the planted cause is shown here, where it was not pickled")
@pytest.mark.parametrize("kind", ["unavailable", "refused", "login", "silent", "exhausted"])
def test_an_error_comes_out_of_a_worker_as_it_went_in_but_for_stderr(
    kind: str, worker: ProcessPoolExecutor
) -> None:
    with pytest.raises(CredentialsError) as here:
        failing(kind)
    there = worker.submit(failing, kind).exception(timeout=50)
    assert there is not None
    assert type(there) is type(here.value)
    assert str(there) == str(here.value)
    assert told(there) == told(here.value) | ({"stderr": None} if kind == "unavailable" else {})
    assert there.__notes__ == ["in a worker"]
    assert secret_in(repr(vars(there))) is None
    if isinstance(there, ChainExhausted):
        assert [told(attempt)["stderr"] for attempt in there.attempts] == [None]


def told(error: BaseException) -> dict[str, Any]:
    return {name: value for name, value in vars(error).items() if name != "attempts"}


async def test_the_errors_of_sources_pickle_without_a_secret(aws: Loopback, home: Path) -> None:
    context = Context({**aws.environ, "AWS_EC2_METADATA_DISABLED": "true"}, home=home)
    keys = issue()
    aws.script("/", sts_error("AccessDenied", f"not {keys.secret_access_key} with {keys.session_token}"))
    script = home / "vend"
    script.write_text(f"#!/bin/sh\necho {secret()}\necho {secret()} >&2\nexit 3\n")
    script.chmod(0o700)
    failures = (
        (default_chain(context=context), ChainExhausted),
        (from_process(command=str(script), context=context), SourceUnavailable),
        (from_temporary_credentials(role_arn=ROLE_ARN, source=Source(keys), context=context), ServiceRefused),
    )
    for provider, kind in failures:
        with pytest.raises(kind) as caught:
            await provider()
        for told_of in (caught.value, provider.status, await explain(provider)):
            data = pickle.dumps(told_of)
            assert secret_in(data.decode("latin-1")) is None
            assert repr(pickle.loads(data)) == repr(told_of)
    assert aws.count("/") == 2, "STS was asked by the fetch, and by who explained"


UNSENDABLE: dict[str, Callable[[], object]] = {
    "a provider": lambda: Source(issue()).provider(),
    "a factory's": lambda: from_env(context=Context({})),
    "a chain": lambda: chain(Source(issue()).provider()),
    "the default chain": lambda: default_chain(context=Context({})),
    "a role": lambda: from_temporary_credentials(role_arn=ROLE_ARN, source=Source(issue()), context=Context({})),
    "one that expires": lambda: Source(issue()).provider().expire_after(60),
    "a context": lambda: Context({"AWS_SECRET_ACCESS_KEY": secret()}),
    "the context of this process": Context,
}
HOLDERS: dict[str, Callable[[], object]] = {
    "aiohttp": lambda: signing.SigV4Auth(Source(issue()).provider(), service="es", region="eu-central-1"),
    "httpx": lambda: httpx.SigV4Auth(Source(issue()).provider(), service="es", region="eu-central-1"),
}


@pytest.mark.parametrize("what", UNSENDABLE)
@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_belongs_to_its_process_says_so(take: Callable[[object], object], what: str) -> None:
    with pytest.raises(TypeError, match=r"belongs to its process .*: make .* anew there") as refused:
        take(UNSENDABLE[what]())
    assert secret_in(str(refused.value)) is None


@pytest.mark.parametrize("what", HOLDERS)
@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy])
def test_so_does_what_holds_a_provider(take: Callable[[object], object], what: str) -> None:
    with pytest.raises(TypeError, match=r"a provider belongs to its process .*: make source anew there"):
        take(HOLDERS[what]())


def test_a_loaded_provider_does_not_reach_a_worker(worker: ProcessPoolExecutor) -> None:
    failure = worker.submit(print, Source(issue()).provider()).exception(timeout=50)
    assert isinstance(failure, TypeError)
    assert "make source anew there" in str(failure)


def test_credentials_are_data_that_a_program_may_send(worker: ProcessPoolExecutor) -> None:
    credentials = issue()
    assert worker.submit(key_of, credentials).result(timeout=50) == credentials.secret_access_key
    assert copy.deepcopy(credentials) == credentials


def test_a_client_config_is_data() -> None:
    config = ClientConfig(region="eu-central-1", use_fips=True, read_timeout=3)
    for other in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other == config


def test_everything_public_has_been_thought_of() -> None:
    classes = {name for name in aiocreds.__all__ if isinstance(getattr(aiocreds, name), type)}
    errors = {name for name in classes if issubclass(getattr(aiocreds, name), CredentialsError)}
    sent = {"Credentials", "ClientConfig", "RefreshStatus", "Explanation"}
    assert classes == errors | sent | {"Provider", "Context"}
