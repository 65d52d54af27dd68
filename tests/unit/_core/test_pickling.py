"""Pickles and copies: errors without their secrets, and providers as what made them."""

# pyright: reportPrivateUsage=false
# Whether two providers are alike cannot be seen from outside.

from __future__ import annotations

import asyncio
import copy
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs] - it has no stubs
import botocore.session
import pytest
from aiobotocore.session import get_session
from botocore.config import Config

import aiocreds
from aiocreds import (
    ChainExhausted,
    ClientConfig,
    Context,
    Credentials,
    CredentialsError,
    LoginRequired,
    Provider,
    ServiceRefused,
    SourceUnavailable,
    chain,
    credential_provider,
    default_chain,
    explain,
    from_cognito_identity,
    from_cognito_identity_pool,
    from_container_metadata,
    from_env,
    from_http,
    from_ini,
    from_instance_metadata,
    from_login,
    from_process,
    from_roles_anywhere,
    from_sso,
    from_temporary_credentials,
    from_token_file,
    from_web_token,
)
from aiocreds._core.context import DEFAULT
from aiocreds._http import NoAnswer
from aiocreds.integrations import aiobotocore as for_aiobotocore
from aiocreds.integrations import aiohttp as signing
from aiocreds.integrations import boto3 as for_boto3
from aiocreds.integrations import httpx
from tests.helpers.loopback_aws import sts_error
from tests.helpers.scripted import Source, issue, pass_on
from tests.helpers.secret_leaks import secret, secret_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.helpers.loopback_aws import Loopback

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


@pytest.mark.slow
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


@credential_provider
async def from_vault(path: str, **options: Any) -> Credentials:
    """A source of a program's own."""
    return Credentials(f"AKIA{path.upper()}", secret())


async def by_itself() -> Credentials:
    return Credentials("AKIAITSELF", secret())


async def code(serial_number: str) -> str:
    return serial_number[-6:]


async def token() -> str:
    return ""


async def sign(data: bytes) -> bytes:
    return data


ARNS: dict[str, Any] = {"trust_anchor_arn": "arn:anchor", "profile_arn": "arn:profile", "role_arn": ROLE_ARN}


Make = Callable[[], Provider]
SENDABLE: dict[str, Make] = {
    "the environment": from_env,
    "a profile": lambda: from_ini("app", config_file="/etc/aws/config", mfa_code=code),
    "a process of a profile": lambda: from_process("app", timeout=timedelta(seconds=5)),
    "EC2 metadata": lambda: from_instance_metadata(timeout=2, endpoint="http://127.0.0.1:1"),
    "a container": from_container_metadata,
    "an agent of the environment": lambda: from_http(authorization_token_file="/run/token"),
    "a sign-in": lambda: from_sso(sso_session="corp", sso_account_id="123456789012", sso_role_name="Developer"),
    "a login": lambda: from_login("me"),
    "a token file": lambda: from_token_file(web_identity_token_file="/run/token", role_arn=ROLE_ARN),
    "a token of a function": lambda: from_web_token(role_arn=ROLE_ARN, web_identity_token=token),
    "a guest": lambda: from_cognito_identity_pool(identity_pool_id="eu-central-1:pool"),
    "a user": lambda: from_cognito_identity(identity_id="eu-central-1:id", logins={"accounts.google.com": token}),
    "a certificate": lambda: from_roles_anywhere(certificate="/tls.crt", private_key=Path("/tls.key"), **ARNS),
    "a signature of a function": lambda: from_roles_anywhere(certificate="/tls.crt", private_key=sign, **ARNS),
    "the default chain": lambda: default_chain("app", client=ClientConfig(region="eu-central-1", read_timeout=3)),
    "a role": lambda: from_temporary_credentials(role_arn=ROLE_ARN, tags={"team": "a"}, policy_arns=["arn:x"]),
    "a role of a role": lambda: from_temporary_credentials(
        role_arn=ROLE_ARN, source=from_temporary_credentials(role_arn=ROLE_ARN, source=by_itself)
    ),
    "a chain": lambda: chain(from_env(), from_vault("app"), by_itself),
    "one that expires": lambda: from_env().expire_after(60),
    "a chain that expires": lambda: chain(from_env().expire_after(30), by_itself).expire_after(60),
    "a source of one's own": lambda: from_vault("app", shard=3, options={"a": [1, None]}, at=Path("/x")),
    "middlewares of a module": lambda: from_env_with(ClientConfig(middlewares=[pass_on])),
}


def from_env_with(client: ClientConfig) -> Provider:
    return default_chain(client=client, context=DEFAULT)


def closure() -> Any:
    local = secret()

    async def inner(*_: object) -> Any:
        return local

    return inner


class Ids:
    async def get(self, key: str) -> str | None: ...
    async def put(self, key: str, value: str) -> None: ...
    async def delete(self, key: str) -> None: ...


UNSENDABLE: dict[str, tuple[Callable[[], object], str]] = {
    "made by hand": (lambda: Source(issue()).provider(), "made by no factory"),
    "a context of its own": (lambda: from_env(context=Context({})), "its context is not the default one"),
    "a chain of it": (lambda: chain(from_env(), Source(issue()).provider()), "made by no factory"),
    "the default chain": (lambda: default_chain(context=Context({})), "its context is not the default one"),
    "its role": (lambda: from_temporary_credentials(role_arn=ROLE_ARN, source=Source(issue())), "source is a"),
    "one that expires": (lambda: Source(issue()).provider().expire_after(60), "made by no factory"),
    "a token": (lambda: from_http(full_uri="https://x", authorization_token=secret()), "full_uri may be a secret"),
    "an address": (lambda: from_http(relative_uri="/v2/credentials/x"), "relative_uri may be a secret"),
    "a web token": (
        lambda: from_web_token(role_arn=ROLE_ARN, web_identity_token=secret()),
        "web_identity_token may be a secret",
    ),
    "a login": (
        lambda: from_cognito_identity(identity_id="x:y", logins={"accounts.google.com": secret()}),
        "logins may be a secret",
    ),
    "a passphrase": (
        lambda: from_roles_anywhere(certificate="/tls.p12", passphrase=secret(), **ARNS),
        "passphrase may be a secret",
    ),
    "a private key": (
        lambda: from_roles_anywhere(certificate="/tls.crt", private_key=secret(), **ARNS),
        "private_key may be a secret",
    ),
    "a command": (lambda: from_process(command=f"vend {secret()}"), "command may be a secret"),
    "a closure": (lambda: from_ini(mfa_code=closure()), "mfa_code is a function that is not to be found"),
    "a middleware": (
        lambda: default_chain(client=ClientConfig(middlewares=[closure()])),
        "client is a function that is not to be found",
    ),
    "a password in a URL": (
        lambda: default_chain(client=ClientConfig(endpoint_url=f"https://me:{secret()}@sts")),
        "client may hold a password",
    ),
    "a cache": (lambda: from_cognito_identity_pool(identity_pool_id="x:y", cache=Ids()), "cache is a Ids"),
    "a password": (lambda: from_vault("app", password=secret()), "options may be a secret"),
    "a key inside": (lambda: from_vault("app", settings={"api_key": secret()}), "may be a secret"),
    "bytes": (lambda: from_vault("app", seed=secret().encode()), "options is a bytes"),
    "credentials": (lambda: from_vault("app", start=issue()), "may be a secret"),
    "a function in a function": (lambda: credential_provider(closure())(), "is not to be found by that name"),
}
HOLDERS: dict[str, Callable[[Provider], object]] = {
    "aiohttp": lambda provider: signing.SigV4Auth(provider, service="es", region="eu-central-1"),
    "httpx": lambda provider: httpx.SigV4Auth(provider, service="es", region="eu-central-1"),
    "aiobotocore": lambda provider: for_aiobotocore.attach(get_session(), provider),
    "boto3": lambda provider: for_boto3.attach(boto3.Session(region_name="eu-west-3"), provider),
    "botocore": lambda provider: for_boto3.attach(botocore.session.get_session(), provider),
}


# Providers that go


def there_and_back(provider: Provider) -> Any:
    return pickle.loads(pickle.dumps(provider))


@pytest.mark.parametrize("what", SENDABLE)
@pytest.mark.parametrize("take", [there_and_back, copy.copy, copy.deepcopy])
def test_what_a_factory_made_without_secrets_is_made_anew(what: str, take: Callable[[Any], Any]) -> None:
    provider = SENDABLE[what]()
    other = take(provider)
    assert other is not provider
    assert type(other) is type(provider)
    assert (other.name, other._expire_after) == (provider.name, provider._expire_after)
    assert essence(other) == essence(provider)
    assert pickle.dumps(other) == pickle.dumps(provider), "and from there once more"


def essence(provider: Provider) -> list[Any]:
    """Return the difference between one provider and another: what it was called with."""
    assert provider._made_by is not None
    factory, args, kwargs = provider._made_by
    values = [essence(it) if isinstance(it, Provider) else it for it in (*args, *kwargs.values())]
    return [factory.__qualname__, *kwargs, *values]


async def test_nothing_that_is_loaded_goes_along() -> None:
    provider = from_vault("app")
    credentials = await provider()
    data = pickle.dumps(provider)
    assert credentials.access_key_id.encode() not in data
    other = pickle.loads(data)
    assert other.status.loaded_at is None
    assert (await other()).access_key_id == credentials.access_key_id


def move_to(home: str) -> None:
    os.environ["HOME"] = home


def key_in_worker(provider: Provider) -> str:
    return asyncio.run(provider()).access_key_id


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: from_vault("app"), "AKIAAPP"),
        (lambda: chain(from_process("nobody"), by_itself).expire_after(60), "AKIAITSELF"),
    ],
)
def test_a_worker_asks_for_itself(make: Make, key: str, worker: ProcessPoolExecutor, home: Path) -> None:
    worker.submit(move_to, str(home)).result(timeout=50)
    (home / ".aws/config").write_text("[profile nobody]\nregion = eu-central-1\n")
    assert worker.submit(key_in_worker, make()).result(timeout=50) == key


def test_the_default_context_is_the_one_of_the_process_it_comes_to() -> None:
    assert pickle.loads(pickle.dumps(DEFAULT)) is DEFAULT
    assert copy.deepcopy(DEFAULT) is DEFAULT


# Providers that stay


@pytest.mark.parametrize("what", UNSENDABLE)
@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_belongs_to_its_process_says_so_and_why(take: Callable[[object], object], what: str) -> None:
    make, why = UNSENDABLE[what]
    with pytest.raises(
        TypeError, match=r"belongs to its process .*: make .* anew there, in the function"
    ) as refused:
        take(make())
    assert why in str(refused.value)
    assert "ProcessPoolExecutor(initializer=" in str(refused.value)
    assert secret_in(str(refused.value)) is None


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_context_stays(take: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match=r"belongs to its process .*: make a Context anew there") as refused:
        take(Context({"AWS_SECRET_ACCESS_KEY": secret()}))
    assert secret_in(str(refused.value)) is None


def test_a_loaded_provider_does_not_reach_a_worker(worker: ProcessPoolExecutor) -> None:
    failure = worker.submit(print, Source(issue()).provider()).exception(timeout=50)
    assert isinstance(failure, TypeError)
    assert "make source anew there" in str(failure)


# What holds a provider


@pytest.mark.parametrize("what", HOLDERS)
@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy])
def test_what_holds_a_provider_that_stays(take: Callable[[object], object], what: str) -> None:
    with pytest.raises(TypeError, match=r"a provider belongs to its process .*: make source anew there"):
        take(HOLDERS[what](Source(issue()).provider()))


@pytest.mark.parametrize("what", HOLDERS)
def test_what_holds_one_that_goes(what: str) -> None:
    holder: Any = HOLDERS[what](from_vault("app"))
    other: Any = pickle.loads(pickle.dumps(holder))
    assert type(other) is type(holder)
    if what in ("boto3", "botocore"):
        assert other.get_credentials().access_key == "AKIAAPP"
    elif what == "aiobotocore":
        assert asyncio.run(key_of_session(other)) == "AKIAAPP"


async def key_of_session(session: Any) -> str:
    frozen = await (await session.get_credentials()).get_frozen_credentials()
    key: str = frozen.access_key
    return key


def test_an_attached_session_takes_its_configuration_along() -> None:
    session = for_aiobotocore.attach(get_session(), from_vault("app"))
    session.set_config_variable("region", "eu-west-2")
    session.set_default_client_config(Config(retries={"max_attempts": 7}))
    session.user_agent_extra = "mine/1"
    other: Any = pickle.loads(pickle.dumps(session))
    assert other.get_config_variable("region") == "eu-west-2"
    assert other.get_default_client_config().retries == {"max_attempts": 7}
    assert other.user_agent_extra == "mine/1"
    sync: Any = for_boto3.attach(boto3.Session(region_name="eu-west-3"), from_vault("app"))
    assert pickle.loads(pickle.dumps(sync)).client("s3").meta.region_name == "eu-west-3"


def test_a_password_of_a_proxy_does_not_go_along() -> None:
    session = for_aiobotocore.attach(get_session(), from_vault("app"))
    session.set_default_client_config(Config(proxies={"https": f"http://me:{secret()}@proxy:3128"}))
    with pytest.raises(TypeError, match="may hold a password"):
        pickle.dumps(session)


@pytest.mark.parametrize("session", [boto3.Session, botocore.session.Session, get_session])
def test_a_session_that_is_not_attached_is_as_it_was(session: Callable[[], Any]) -> None:
    """None can be pickled, ours or not."""
    with pytest.raises(AttributeError, match="local object"):
        pickle.dumps(session())


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
    sent = {"Credentials", "ClientConfig", "RefreshStatus", "Explanation"}  # and two that depend
    leases = {"Lease", "RedisLease", "DynamoDBLease"}  # which hold clients, and are refused as arguments
    assert classes == errors | sent | leases | {"Provider", "Context"}
