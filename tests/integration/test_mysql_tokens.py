"""aiomysql and asyncmy log in with tokens, which a proxy checks with botocore, before a MariaDB if there is one."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    Context,
    Credentials,
    CredentialsError,
    InvalidConfiguration,
    SourceUnavailable,
    from_env,
)
from aiocreds.integrations import _extras
from aiocreds.integrations.mysql import aiomysql_connector, asyncmy_options
from aiocreds.integrations.sqlalchemy import attach
from aiocreds.testing import static
from aiocreds.tokens import TokenProvider, dsql_token, rds_token
from tests.helpers.mysql import MariaDB, MySQLProxy, program
from tests.helpers.rotation import LARGE, PACES, Rotation
from tests.helpers.secret_leaks import secret
from tests.helpers.tls import TLS
from tests.helpers.token_check import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiocreds import Provider

USER, HOST = "app-1", "books.abc123.eu-central-1.rds.amazonaws.com"
WAYS = ["aiomysql", "asyncmy"]
SIGNED = b"X-Amz-Signature"


@pytest.fixture
async def authority() -> Authority:
    return Authority(time.time)


@pytest.fixture
def certificates(tmp_path: Path) -> TLS:
    return TLS(tmp_path)


@pytest.fixture
def trusting(certificates: TLS) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.ca)


def proxy_for(authority: Authority, certificates: TLS) -> MySQLProxy:
    return MySQLProxy(authority, certificates.server, user=USER, host=f"{HOST}:3306")


@pytest.fixture
async def proxy(authority: Authority, certificates: TLS) -> AsyncIterator[MySQLProxy]:
    async with proxy_for(authority, certificates) as proxy:
        yield proxy


@pytest.fixture(params=["alone", "MariaDB"])
async def database(request: pytest.FixtureRequest, proxy: MySQLProxy, tmp_path: Path) -> AsyncIterator[MySQLProxy]:
    """The proxy, alone and before a MariaDB."""
    if request.param == "alone":
        yield proxy
    elif program() is None:
        pytest.skip("no mariadbd here")
    else:
        with MariaDB(tmp_path) as server:
            proxy.behind = server.port
            yield proxy


def token_of(provider: Provider, **options: Any) -> TokenProvider:
    return rds_token(provider, HOST, 3306, USER, **options)


async def connect(way: str, source: Provider | TokenProvider, proxy: MySQLProxy, **options: Any) -> Any:
    package = pytest.importorskip(way)
    to: dict[str, Any] = {"host": "127.0.0.1", "port": proxy.port, "user": USER}
    plaintext = options.pop("plaintext", False)
    if way == "aiomysql":
        return await aiomysql_connector(source, plaintext=plaintext)(**to, **options)
    return await package.connect(**asyncmy_options(source, plaintext=plaintext, **to, **options))


async def ask(connection: Any) -> int:
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT 1")
        [[answer]] = await cursor.fetchall()
    return int(answer)


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection(way: str, authority: Authority, database: MySQLProxy, trusting: ssl.SSLContext) -> None:
    pytest.importorskip(way)
    connection = await connect(way, token_of(authority.provider()), database, ssl=trusting)
    assert await ask(connection) == 1
    await connection.ensure_closed()
    assert (database.logins, database.refused) == (1, [])
    assert SIGNED not in database.in_the_open


async def test_a_pool_of_asyncmy(authority: Authority, database: MySQLProxy, trusting: ssl.SSLContext) -> None:
    asyncmy = pytest.importorskip("asyncmy")
    to: dict[str, Any] = {"host": "127.0.0.1", "port": database.port, "user": USER, "ssl": trusting}
    options = asyncmy_options(token_of(authority.provider()), **to)
    async with asyncmy.create_pool(**options, minsize=3) as pool, pool.acquire() as connection:
        assert await ask(connection) == 1
    assert (database.logins, database.refused) == (3, [])


def engine_of(way: str, source: Any, proxy: MySQLProxy, context: ssl.SSLContext | None, **options: Any) -> Any:
    pytest.importorskip(way)
    create: Any = pytest.importorskip("sqlalchemy.ext.asyncio").create_async_engine
    url = f"mysql+{way}://{USER}@127.0.0.1:{proxy.port}"
    return attach(create(url, connect_args={"ssl": context}, **options), source)


async def ask_engine(engine: Any) -> int:
    text: Any = pytest.importorskip("sqlalchemy").text
    async with engine.connect() as connection:
        answer: int = int((await connection.execute(text("SELECT 1"))).scalar_one())
        return answer


@pytest.mark.parametrize("way", WAYS)
async def test_an_engine_of_sqlalchemy(
    way: str, authority: Authority, database: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    engine = engine_of(way, token_of(authority.provider()), database, trusting)
    assert await ask_engine(engine) == 1
    await engine.dispose()
    assert (database.logins, database.refused) == (1, [])


@pytest.mark.slow
@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize(
    "way", ["asyncmy", "engine of aiomysql", "engine of asyncmy"]
)  # aiomysql's pool has no hook
async def test_a_pool_that_grows_and_shrinks_while_keys_rotate(
    way: str, pace: str, authority: Authority, database: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    rotation = Rotation(authority, pace)
    token = token_of(rotation.provider)
    async with rotation.provider:
        if way == "asyncmy":
            asyncmy = pytest.importorskip("asyncmy")
            to: dict[str, Any] = {"host": "127.0.0.1", "port": database.port, "user": USER, "ssl": trusting}
            async with asyncmy.create_pool(**asyncmy_options(token, **to), minsize=0, maxsize=LARGE) as pool:
                for size in rotation.sizes():
                    taken = await asyncio.gather(*(pool.acquire() for _ in range(size)))
                    assert await asyncio.gather(*map(ask, taken)) == [1] * size
                    for connection in taken:
                        pool.release(connection)
                    await pool.clear()
        else:
            engine = engine_of(way.removeprefix("engine of "), token, database, trusting, pool_size=LARGE)
            for size in rotation.sizes():
                assert await asyncio.gather(*(ask_engine(engine) for _ in range(size))) == [1] * size
                await engine.dispose()
    rotation.check(database.logins, database.refused)


async def test_asyncmy_logs_in_with_another_token_when_it_connects_again(
    authority: Authority, proxy: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    pytest.importorskip("asyncmy")
    provider = authority.provider()
    connection = await connect("asyncmy", token_of(provider), proxy, ssl=trusting)
    await connection.ensure_closed()
    provider.invalidate(await provider())
    await connection.connect()
    assert await ask(connection) == 1
    await connection.ensure_closed()
    assert (proxy.logins, proxy.refused, authority.issued) == (2, [], 2)


@pytest.mark.parametrize("way", [*WAYS, "engine of aiomysql", "engine of asyncmy"])
async def test_a_token_is_for_the_host_the_port_and_the_user_that_a_client_is_given(
    way: str, authority: Authority, proxy: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    proxy.host = f"127.0.0.1:{proxy.port}"
    provider = authority.provider(Context({"AWS_REGION": "eu-west-1"}))
    if way.startswith("engine"):
        engine = engine_of(way.removeprefix("engine of "), provider, proxy, trusting)
        assert await ask_engine(engine) == 1
        await engine.dispose()
    else:
        connection = await connect(way, provider, proxy, ssl=trusting)
        assert await ask(connection) == 1
        await connection.ensure_closed()
    assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("missing", ["host", "user"])
@pytest.mark.parametrize("nothing", ["", None])
async def test_no_token_is_made_for_no_host_or_user(
    way: str, missing: str, nothing: str | None, authority: Authority, trusting: ssl.SSLContext
) -> None:
    package = pytest.importorskip(way)
    options: dict[str, Any] = {"host": HOST, "user": USER, "ssl": trusting, missing: nothing}
    provider = authority.provider()
    with pytest.raises(InvalidConfiguration, match=f"no {missing}, .*pass {missing}="):
        await (
            aiomysql_connector(provider)(**options)
            if way == "aiomysql"
            else package.connect(**asyncmy_options(provider, **options))
        )


async def test_the_port_and_the_region_by_default(authority: Authority, trusting: ssl.SSLContext) -> None:
    pytest.importorskip("asyncmy")
    to: dict[str, Any] = {"host": HOST, "user": USER, "ssl": trusting}
    for region, expected in ((None, "eu-central-1"), ("eu-west-1", "eu-west-1")):
        options = asyncmy_options(authority.provider(), region=region, **to)
        token = str(await options["password_creator"]())
        assert token.startswith(f"{HOST}:3306/?Action=connect&DBUser={USER}&")
        assert f"%2F{expected}%2Frds-db%2F" in token
        assert {name: options[name] for name in to} == to


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("late", "fault"), [(899, None), (16 * 60, "too old"), (3600, "too old"), (-3600, "too old, or of the future")]
)
async def test_a_token_of_another_time(
    way: str, late: float, fault: str | None, certificates: TLS, trusting: ssl.SSLContext
) -> None:
    package = pytest.importorskip(way)
    authority = Authority(lambda: time.time() + late, lifetime=4 * 3600)
    async with proxy_for(authority, certificates) as proxy:
        token = token_of(authority.provider())
        if fault is None:
            await (await connect(way, token, proxy, ssl=trusting)).ensure_closed()
        else:
            with pytest.raises(package.errors.OperationalError if way == "asyncmy" else package.OperationalError):
                await connect(way, token, proxy, ssl=trusting)
    assert [found[: len(fault or "")] for found in proxy.refused] == ([fault] if fault else [])


@pytest.mark.parametrize("way", WAYS)
async def test_wrong_tokens_are_refused(
    way: str, authority: Authority, proxy: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    package = pytest.importorskip(way)
    refused = package.errors.OperationalError if way == "asyncmy" else package.OperationalError
    provider = authority.provider()

    class Tampered(TokenProvider):
        async def __call__(self) -> Any:
            token = str(await right())
            return token[:-1] + ("0" if token[-1] != "0" else "1")

    right = token_of(provider)
    tampered = object.__new__(Tampered)
    tampered.name = right.name
    for token in (
        rds_token(provider, HOST, 3306, "admin"),
        rds_token(provider, f"other.{HOST}", 3306, USER),
        token_of(Authority(time.time).provider()),
        tampered,
    ):
        with pytest.raises(refused, match="1045"):
            await connect(way, token, proxy, ssl=trusting)
    assert proxy.refused == ["another user", "another database", "unknown keys", "another signature"]
    assert proxy.logins == 0


@pytest.mark.parametrize("way", WAYS)
async def test_no_token_is_sent_in_the_open_unless_that_is_asked_for(
    way: str, authority: Authority, proxy: MySQLProxy
) -> None:
    pytest.importorskip(way)
    token = token_of(authority.provider())
    for no_context in ({}, {"ssl": None}, {"ssl": True}, {"ssl": {"verify_mode": "none"}}):
        with pytest.raises(InvalidConfiguration, match=r"ssl=.*create_default_context\(.*plaintext=True"):
            await connect(way, token, proxy, **no_context)
    assert proxy.in_the_open == b""
    connection = await connect(way, token, proxy, plaintext=True)
    assert await ask(connection) == 1
    await connection.ensure_closed()
    assert SIGNED in proxy.in_the_open


@pytest.mark.parametrize("way", WAYS)
async def test_an_engine_without_a_context_is_told_where_it_goes(
    way: str, authority: Authority, proxy: MySQLProxy
) -> None:
    pytest.importorskip(way)
    engine = engine_of(way, authority.provider(), proxy, None)
    with pytest.raises(
        InvalidConfiguration, match=r"^attach: no ssl= is given.*connect_args=.*attach\(…, plaintext=True"
    ):
        async with engine.connect():
            pass
    assert proxy.in_the_open == b""


@pytest.mark.parametrize("way", WAYS)
async def test_no_token_is_sent_to_a_server_that_takes_tls_away(
    way: str, authority: Authority, proxy: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    package = pytest.importorskip(way)
    proxy.offers_tls = False
    wrong = InvalidConfiguration if way == "aiomysql" else package.errors.OperationalError
    with pytest.raises(wrong, match="offers no TLS" if way == "aiomysql" else "Can't connect"):
        await connect(way, token_of(authority.provider()), proxy, ssl=trusting)
    assert SIGNED not in proxy.in_the_open
    assert (proxy.logins, proxy.refused) == (0, [])


@pytest.mark.parametrize("way", WAYS)
async def test_no_token_is_sent_to_a_server_with_an_unknown_certificate(
    way: str, authority: Authority, proxy: MySQLProxy
) -> None:
    package = pytest.importorskip(way)
    with pytest.raises(package.errors.OperationalError if way == "asyncmy" else package.OperationalError):
        await connect(way, token_of(authority.provider()), proxy, ssl=ssl.create_default_context())
    assert SIGNED not in proxy.in_the_open
    assert (proxy.logins, proxy.refused) == (0, [])


@pytest.mark.parametrize("way", WAYS)
async def test_after_an_outage_of_the_source_connections_are_made_again(
    way: str, authority: Authority, proxy: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    pytest.importorskip(way)
    authority.down = SourceUnavailable("the source is down")
    token = token_of(authority.provider())
    with pytest.raises(SourceUnavailable, match="the source is down"):
        await connect(way, token, proxy, ssl=trusting)
    authority.down = None
    await (await connect(way, token, proxy, ssl=trusting)).ensure_closed()
    assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize("way", WAYS)
async def test_keys_that_have_ended(way: str, proxy: MySQLProxy, trusting: ssl.SSLContext) -> None:
    pytest.importorskip(way)
    ended = Credentials("ASIAENDED", secret("key"), secret("token"), datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(CredentialsError, match="expired"):
        await connect(way, token_of(static(ended)), proxy, ssl=trusting)
    assert (proxy.logins, proxy.refused) == (0, [])


@pytest.mark.parametrize("way", WAYS)
async def test_a_password_that_is_given_is_not_used(
    way: str, authority: Authority, proxy: MySQLProxy, trusting: ssl.SSLContext
) -> None:
    token = token_of(authority.provider())
    connection = await connect(way, token, proxy, ssl=trusting, password=secret("an old one"))
    await connection.ensure_closed()
    assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize("extra", WAYS)
def test_a_missing_package_is_named_with_its_extra(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(_extras, "find_spec", nothing)
    provider = static(Credentials("AKIDEXAMPLE", secret("key")))
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'aiocreds\[{extra}\]'"):
        aiomysql_connector(provider) if extra == "aiomysql" else asyncmy_options(provider, host=HOST, user=USER)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plaintext": "false"}, "plaintext is str: pass True or False"),
        ({"region": b"eu-central-1"}, "region is bytes: pass region= as a str"),
        ({"region": "eu central"}, "'eu central' is not a region"),
    ],
)
def test_what_is_no_switch_and_no_region_fails_at_once(way: str, arguments: dict[str, Any], message: str) -> None:
    pytest.importorskip(way)
    make = partial(asyncmy_options, host=HOST, user=USER) if way == "asyncmy" else aiomysql_connector
    with pytest.raises(InvalidConfiguration, match=message):
        make(from_env(), **arguments)


@pytest.mark.parametrize("way", WAYS)
def test_a_token_for_another_service(way: str) -> None:
    pytest.importorskip(way)
    make = partial(asyncmy_options, host=HOST, user=USER) if way == "asyncmy" else aiomysql_connector
    with pytest.raises(TypeError, match=r"\(\) takes what rds_token returns, not dsql_token"):
        make(dsql_token(from_env(), "abc.dsql.eu-west-1.on.aws"))
