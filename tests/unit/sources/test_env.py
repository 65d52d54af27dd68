"""Credentials from environment variables.

===========================================  ====================================================
the environment has                          the caller gets
===========================================  ====================================================
neither key (or blank ones)                  CredentialsNotFound: a chain goes on
one key without the other                    InvalidConfiguration: which is set, which is missing
an unreadable or past expiration             InvalidConfiguration: the variable and a good example
keys that were replaced since the last load  the new ones at the next fetch
===========================================  ====================================================
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from aiocreds import CredentialsNotFound, InvalidConfiguration, from_env
from tests.helpers.failures import failure
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Generator

    from aiocreds import Context

KEY, SECRET, EXPIRATION = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CREDENTIAL_EXPIRATION"


@pytest.fixture
def keys(environ: dict[str, str]) -> dict[str, str]:
    environ |= {KEY: "AKIAENV000000001", SECRET: secret()}
    return environ


@pytest.fixture
def somewhere_else(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A machine whose clock shows another time than UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Etc/GMT+7")
        time.tzset()
        yield
    time.tzset()


async def test_all_variables(keys: dict[str, str], context: Context) -> None:
    keys |= {
        "AWS_SESSION_TOKEN": secret("token"),
        EXPIRATION: "2999-01-01T00:00:00Z",
        "AWS_ACCOUNT_ID": "123456789012",
        "AWS_CREDENTIAL_SCOPE": "eu-central-1",
    }
    credentials = await from_env(context=context)()
    assert credentials.access_key_id == keys[KEY]
    assert credentials.secret_access_key == keys[SECRET]
    assert credentials.session_token == keys["AWS_SESSION_TOKEN"]
    assert credentials.expiration == datetime(2999, 1, 1, tzinfo=UTC)
    assert credentials.account_id == "123456789012"
    assert credentials.credential_scope == "eu-central-1"
    assert credentials.provider == "env"
    assert not credentials.may_outlive_expiry


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
async def test_blank_variables_count_as_unset(keys: dict[str, str], context: Context, blank: str) -> None:
    keys |= dict.fromkeys(("AWS_SESSION_TOKEN", EXPIRATION, "AWS_ACCOUNT_ID", "AWS_CREDENTIAL_SCOPE"), blank)
    credentials = await from_env(context=context)()
    assert credentials.session_token is None
    assert credentials.expiration is None
    assert credentials.account_id is None
    assert credentials.credential_scope is None
    keys |= {KEY: blank, SECRET: blank}
    await failure(from_env(context=context), CredentialsNotFound, KEY, SECRET, "not set")


async def test_white_space_around_values(keys: dict[str, str], context: Context) -> None:
    key = secret()
    keys |= {KEY: " AKIAENV000000002\n", SECRET: f"\t{key} "}
    credentials = await from_env(context=context)()
    assert credentials.access_key_id == "AKIAENV000000002"
    assert credentials.secret_access_key == key


@pytest.mark.parametrize("new", [None, "", " "])
async def test_the_tokens_name_of_old(keys: dict[str, str], context: Context, new: str | None) -> None:
    keys["AWS_SECURITY_TOKEN"] = secret("old")
    if new is not None:
        keys["AWS_SESSION_TOKEN"] = new
    assert (await from_env(context=context)()).session_token == keys["AWS_SECURITY_TOKEN"]
    keys["AWS_SESSION_TOKEN"] = secret("new")
    assert (await from_env(context=context)()).session_token == keys["AWS_SESSION_TOKEN"]


async def test_nothing_is_set(context: Context) -> None:
    error = await failure(from_env(context=context), CredentialsNotFound, KEY, SECRET)
    assert error.try_next_link


@pytest.mark.parametrize(("there", "missing"), [(KEY, SECRET), (SECRET, KEY)])
@pytest.mark.parametrize("blank", [None, " "])
async def test_half_a_pair(
    environ: dict[str, str], context: Context, there: str, missing: str, blank: str | None
) -> None:
    environ[there] = secret("half")
    if blank:
        environ[missing] = blank
    provider = from_env(context=context)
    error = await failure(
        provider, InvalidConfiguration, f"{there} is set but {missing} is not", "set both, or unset"
    )
    assert not error.try_next_link


@pytest.mark.parametrize(
    "text", ["tomorrow", "1900000000000", "2030-02-30T00:00:00Z", "sEcReT", "0001-01-01T00:00:00+14:00"]
)
async def test_an_unreadable_expiration(keys: dict[str, str], context: Context, text: str) -> None:
    keys[EXPIRATION] = text
    await failure(from_env(context=context), InvalidConfiguration, EXPIRATION, "2030-01-01T00:00:00Z", "correct it")


@pytest.mark.parametrize(
    ("text", "hour"), [("2999-01-01T05:00:00", 5), ("2999-01-01T05:00:00+02:00", 3), ("2999-01-01", 0)]
)
async def test_an_expiration_without_a_zone_is_utc(
    keys: dict[str, str], context: Context, somewhere_else: None, text: str, hour: int
) -> None:
    keys[EXPIRATION] = text
    credentials = await from_env(context=context)()
    assert credentials.expiration == datetime(2999, 1, 1, hour, tzinfo=UTC)


async def test_expired_keys_are_an_error_on_a_first_load(keys: dict[str, str], context: Context) -> None:
    keys[EXPIRATION] = "2020-01-01T00:00:00Z"
    words = KEY, EXPIRATION, "2020-01-01 00:00:00 UTC", "put fresh ones"
    await failure(from_env(context=context), InvalidConfiguration, *words)


async def test_expiry_goes_by_the_services_clock(keys: dict[str, str], context: Context) -> None:
    keys[EXPIRATION] = "2999-01-01T00:00:00Z"
    context.clock.learn(datetime(2999, 1, 2, tzinfo=UTC).timestamp() - context.clock.now())
    await failure(from_env(context=context), InvalidConfiguration, EXPIRATION)


async def test_each_fetch_reads_anew(keys: dict[str, str], context: Context) -> None:
    provider = from_env(context=context)
    first = await provider()
    keys |= {KEY: "AKIAENV000000002", SECRET: secret()}
    assert await provider() is first
    second = await provider.fetch()
    assert second.access_key_id == "AKIAENV000000002"
    assert second.secret_access_key == keys[SECRET]
    assert await provider() is second
    keys[KEY] = ""
    with pytest.raises(InvalidConfiguration):
        await provider.fetch()
    assert await provider() is second


async def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "AKIAENV000000003")
    monkeypatch.setenv(SECRET, secret())
    monkeypatch.delenv(EXPIRATION, raising=False)
    assert (await from_env()()).access_key_id == "AKIAENV000000003"


def test_neither_aiohttp_nor_anyio_nor_botocore_is_loaded(keys: dict[str, str]) -> None:
    program = (
        "import asyncio, sys, aiocreds\n"
        "async def main(): return await aiocreds.from_env()()\n"
        "assert asyncio.run(main()).access_key_id == 'AKIAENV000000001'\n"
        "print(sorted({'aiohttp', 'anyio', 'botocore'} & set(sys.modules)))"
    )
    environ = {**keys, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
