"""asyncpg, psycopg and SQLAlchemy log in to a real PostgreSQL with tokens, which a proxy has botocore check."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from aiocreds import (
    Context,
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    SourceUnavailable,
    from_env,
)
from aiocreds.integrations.postgresql import asyncpg_connector, psycopg_connection
from aiocreds.integrations.sqlalchemy import attach
from aiocreds.testing import TestClock, empty_context
from aiocreds.tokens import dsql_token, eks_token, rds_token
from tests.helpers.examples import EXAMPLES, ROOT, run
from tests.helpers.postgresql import PostgreSQL, Proxy, programs
from tests.helpers.rotation import PACES, SMALL, Rotation
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import secret
from tests.helpers.tls import TLS
from tests.helpers.token_check import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(programs() is None, reason="no PostgreSQL server here")

REGION = "eu-west-1"
CLIENTS = ["asyncpg", "psycopg", "sqlalchemy-asyncpg", "sqlalchemy-psycopg"]
ENDPOINT = "books.abc123.eu-west-1.rds.amazonaws.com"
OPEN: dict[str, dict[str, Any]] = {"asyncpg": {"ssl": False}, "psycopg": {"sslmode": "disable"}}
Borrow = Callable[[], AbstractAsyncContextManager[Callable[[str], Any]]]


class Place(NamedTuple):
    """A machine with the services.

    Attributes:
        behind: the port of the PostgreSQL.
        ca: the certificate of the authority that the proxy's is from.
        tls: what the proxy speaks TLS with.
        client_tls: what asyncpg does it with.
    """

    behind: int
    ca: str
    tls: ssl.SSLContext
    client_tls: ssl.SSLContext


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    tls = TLS(tmp_path_factory.mktemp("tls"))
    with PostgreSQL() as server:
        yield Place(server.port, str(tls.ca), tls.server, ssl.create_default_context(cafile=tls.ca))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGSSLMODE", "PGPASSWORD", "PGSERVICE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where ~/.postgresql and ~/.pgpass would be


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def authority(clock: TestClock) -> Authority:
    return Authority(clock.now)


@pytest.fixture
async def proxy(authority: Authority, place: Place) -> AsyncIterator[Proxy]:
    async with Proxy(authority, place.tls, behind=place.behind) as proxy:
        yield proxy


@pytest.fixture
def provider(authority: Authority, clock: TestClock) -> Any:
    context = Context({})
    context.clock = clock
    return authority.provider(context)


def skip_without(kind: str) -> None:
    for package in kind.split("-"):
        pytest.importorskip(package)
    if kind == "psycopg":
        pytest.importorskip("psycopg_pool")


def dsn(port: int, more: str = "") -> str:
    return f"postgresql://app@127.0.0.1:{port}/postgres{more}"


def encrypted(kind: str, place: Place) -> dict[str, Any]:
    """Return a client's arguments for TLS that checks the server."""
    return {"ssl": place.client_tls} if kind == "asyncpg" else {"sslmode": "verify-full", "sslrootcert": place.ca}


async def log_in(
    kind: str,
    source: Any,
    text: str | None,
    *,
    region: str | None = REGION,
    plaintext: bool = False,
    **arguments: Any,
) -> Any:
    """Open a connection, and return who is logged in."""
    if kind == "asyncpg":
        connect = asyncpg_connector(source, region=region, plaintext=plaintext)
        connection = await connect(text, **arguments)
        user = await connection.fetchval("select current_user")
    else:
        connection = await psycopg_connection(source, region=region, plaintext=plaintext).connect(
            text or "", **arguments
        )
        [user] = await (await connection.execute("select current_user")).fetchone()
    await connection.close()
    return user


@asynccontextmanager
async def pool_of(
    kind: str, place: Place, port: int, source: Any, *, least: int = 0, most: int = 50, **options: Any
) -> AsyncIterator[Borrow]:
    """Open a pool of a client; what is borrowed of it runs a query, and returns the first value of its answer."""
    options.setdefault("region", REGION)
    library, _, driver = kind.partition("-")
    url = dsn(port)
    verified = f"?sslmode=verify-full&sslrootcert={place.ca}"
    if library == "asyncpg":
        connect = asyncpg_connector(source, **options)
        pool = import_module("asyncpg").create_pool(
            *(url,),
            ssl=place.client_tls,
            connect=connect,
            min_size=least,
            max_size=most,
            max_inactive_connection_lifetime=0.2,
        )

        @asynccontextmanager
        async def borrow() -> AsyncIterator[Callable[[str], Any]]:
            async with pool.acquire() as connection:
                yield connection.fetchval

    elif library == "psycopg":
        pool = import_module("psycopg_pool").AsyncConnectionPool(
            *(url + verified,),
            connection_class=psycopg_connection(source, **options),
            min_size=least,
            max_size=most,
            max_idle=0.01,  # seconds, after each of which it drops one connection
            open=False,
        )

        @asynccontextmanager
        async def borrow() -> AsyncIterator[Callable[[str], Any]]:
            async with pool.connection() as connection:

                async def query(text: str) -> Any:
                    return (await (await connection.execute(text)).fetchone())[0]

                yield query

    else:
        asynchronous = import_module("sqlalchemy.ext.asyncio")
        arguments = {"ssl": place.client_tls} if driver == "asyncpg" else {}
        url = f"postgresql+{driver}{url.removeprefix('postgresql')}{verified if driver == 'psycopg' else ''}"
        engine = attach(
            asynchronous.create_async_engine(
                url, connect_args=arguments, pool_size=max(least, 1), max_overflow=most - max(least, 1)
            ),
            source,
            **options,
        )

        @asynccontextmanager
        async def borrow() -> AsyncIterator[Callable[[str], Any]]:
            async with engine.connect() as connection:
                text = import_module("sqlalchemy").text

                async def query(words: str) -> Any:
                    return (await connection.execute(text(words))).scalar()

                yield query

        try:
            yield borrow
        finally:
            await engine.dispose()
        return

    async with pool:
        yield borrow


async def once(kind: str, place: Place, port: int, source: Any) -> Any:
    """Run a query by a client, out of a pool but for psycopg, whose pools do not pass errors on."""
    if kind == "psycopg":
        return await log_in(kind, source, dsn(port), **encrypted(kind, place))
    async with pool_of(kind, place, port, source) as borrow, borrow() as query:
        return await query("select current_user")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_it_logs_in_and_again_with_rotated_keys(
    kind: str, place: Place, proxy: Proxy, provider: Any, authority: Authority
) -> None:
    skip_without(kind)
    for number in (1, 2):
        async with pool_of(kind, place, proxy.port, provider) as borrow:
            async with borrow() as query:
                assert await query("select 6 * 7") == 42
            assert (proxy.logins, proxy.refused, authority.issued) == (number, [], number)
        provider.invalidate()


@pytest.mark.slow
@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_pool_that_grows_and_shrinks_while_keys_rotate(
    kind: str, pace: str, place: Place, authority: Authority, proxy: Proxy
) -> None:
    skip_without(kind)
    rotation = Rotation(authority, pace)

    async def together(borrow: Borrow, barrier: asyncio.Barrier) -> None:
        async with borrow() as query:
            await barrier.wait()
            assert await query("select 1") == 1

    async with rotation.provider, pool_of(kind, place, proxy.port, rotation.provider, least=1) as borrow:
        for size in rotation.sizes():
            barrier = asyncio.Barrier(size)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(size):
                    tasks.create_task(together(borrow, barrier))
            await until(lambda: proxy.open <= SMALL)
    rotation.check(proxy.logins, proxy.refused)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_after_an_outage_of_the_source_a_pool_is_of_use_again(
    kind: str, place: Place, proxy: Proxy, provider: Any, authority: Authority
) -> None:
    skip_without(kind)
    authority.down = SourceUnavailable("the source is down")
    async with pool_of(kind, place, proxy.port, provider, most=2) as borrow:

        async def ask() -> Any:
            async with borrow() as query:
                return await query("select 1")

        if kind == "psycopg":  # which tries until somebody has waited for long enough
            asking = asyncio.create_task(ask())
            await until(lambda: provider.status.failures > 0)
            assert not asking.done()
            authority.down = None
            provider.invalidate()
            assert await asking == 1
        else:
            with pytest.raises(SourceUnavailable, match="the source is down"):
                await ask()
            authority.down = None
            assert await ask() == 1
    assert (proxy.logins, proxy.refused) == (1, [])


# What the server refuses


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("16 minutes old", "too old, or of the future"),
        ("of another user", "another user"),
        ("for another port", "another host or port"),
        ("for another region", "another region"),
        ("with another signature", "another signature"),
        ("of keys that nobody issued", "unknown keys"),
    ],
)
async def test_the_server_refuses_a_token(
    kind: str, what: str, why: str, place: Place, proxy: Proxy, provider: Any, clock: TestClock
) -> None:
    """And the error is the client's, with what RDS says."""
    skip_without(kind)
    user, port, region = "app", proxy.port, REGION
    if what == "of another user":
        user = "somebody"
    elif what == "for another port":
        port += 1
    elif what == "for another region":
        region = "eu-west-2"
    elif what == "of keys that nobody issued":
        provider = Authority(clock.now).provider()
    token = rds_token(provider, "127.0.0.1", port, user, region)
    made = str(await token())
    if what == "16 minutes old":
        clock.move(16 * 60)
    elif what == "with another signature":
        made = made[:-1] + ("0" if made[-1] != "0" else "1")
    module: Any = import_module(kind)
    connect = module.connect if kind == "asyncpg" else module.AsyncConnection.connect
    with pytest.raises(Exception, match='PAM authentication failed for user "app"') as caught:
        await connect(dsn(proxy.port), password=made, **encrypted(kind, place))
    assert type(caught.value).__name__ in ("InvalidAuthorizationSpecificationError", "OperationalError")
    assert (proxy.logins, proxy.refused) == (0, [why])


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_clock_that_is_off_by_an_hour(
    kind: str, place: Place, proxy: Proxy, authority: Authority, clock: TestClock, provider: Any
) -> None:
    skip_without(kind)
    authority.now, authority.lifetime = lambda: clock.now() - 3600, 4 * 3600
    with pytest.raises(Exception, match='PAM authentication failed for user "app"'):
        await once(kind, place, proxy.port, provider)
    assert (proxy.logins, proxy.refused) == (0, ["too old, or of the future"])


async def test_a_pool_of_psycopg_logs_what_is_wrong(
    place: Place,
    proxy: Proxy,
    authority: Authority,
    clock: TestClock,
    provider: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    skip_without("psycopg")
    authority.now, authority.lifetime = lambda: clock.now() - 3600, 4 * 3600
    async with pool_of("psycopg", place, proxy.port, provider) as borrow:
        waiting = asyncio.ensure_future(borrow().__aenter__())
        await until(lambda: 'PAM authentication failed for user "app"' in caplog.text)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


# TLS


@pytest.mark.parametrize("given", [{}, {"ssl": False}, {"ssl": "prefer"}, {"ssl": "allow"}, {"ssl": "disable"}])
@pytest.mark.parametrize("where", ["arguments", "dsn", "variable"])
async def test_asyncpg_without_tls_is_refused(
    given: dict[str, Any],
    where: str,
    proxy: Proxy,
    provider: Any,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("asyncpg")
    mode, more, shown = given.get("ssl"), "", f"ssl={given.get('ssl')!r} does not insist on TLS"
    if mode is None:
        shown = "no ssl= is given"
    elif isinstance(mode, str) and where == "dsn":
        given, more, shown = {}, f"?sslmode={mode}", f"sslmode={mode!r} does not insist on TLS"
    elif isinstance(mode, str) and where == "variable":
        monkeypatch.setenv("PGSSLMODE", mode)
        given, shown = {}, f"PGSSLMODE={mode} does not insist on TLS"
    with pytest.raises(InvalidConfiguration, match=r"ssl=ssl\.create_default_context.*plaintext=True") as caught:
        await log_in("asyncpg", provider, dsn(proxy.port, more), **given)
    assert f"asyncpg_connector: {shown}, so others might read the token" in str(caught.value)
    assert (proxy.begun, authority.issued) == (0, 0)


@pytest.mark.parametrize("plaintext", [False, True])
async def test_connections_of_asyncpg_share_the_context_that_true_stands_for(
    plaintext: bool, place: Place, proxy: Proxy, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg would have each of them read the system's certificate authorities, on the loop."""
    pytest.importorskip("asyncpg")
    made: list[threading.Thread] = []
    make = ssl.create_default_context

    def noted() -> ssl.SSLContext:
        made.append(threading.current_thread())
        return make()

    monkeypatch.setattr(ssl, "create_default_context", noted)
    arguments: dict[str, Any] = {"region": REGION, "plaintext": plaintext}
    with pytest.raises(ssl.SSLCertVerificationError):
        await log_in("asyncpg", provider, dsn(proxy.port), ssl=True, **arguments)
    monkeypatch.setenv("SSL_CERT_FILE", place.ca)
    made.clear()
    connect = asyncpg_connector(provider, **arguments)
    for _ in range(3):
        await (await connect(dsn(proxy.port), ssl=True)).close()
    assert (proxy.logins, proxy.refused) == (3, [])
    assert len(made) == 1
    assert made[0] is not threading.main_thread()


@pytest.mark.parametrize("mode", [None, "disable", "allow", "prefer"])
@pytest.mark.parametrize("where", ["arguments", "conninfo", "variable"])
async def test_psycopg_without_tls_is_refused(
    mode: str | None,
    where: str,
    proxy: Proxy,
    provider: Any,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("psycopg")
    options: dict[str, Any] = {"sslmode": mode}
    more, shown = "", f"sslmode={mode!r} does not insist on TLS" if mode else "no sslmode= is given"
    if mode and where == "conninfo":
        options, more = {}, f"?sslmode={mode}"
    elif mode and where == "variable":
        monkeypatch.setenv("PGSSLMODE", mode)
        options, shown = {}, f"PGSSLMODE={mode} does not insist on TLS"
    with pytest.raises(InvalidConfiguration, match=r'sslmode="verify-full".*plaintext=True') as caught:
        await log_in("psycopg", provider, dsn(proxy.port, more), **options)
    assert f"psycopg_connection: {shown}, so others might read the token" in str(caught.value)
    assert (proxy.begun, authority.issued) == (0, 0)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_an_engine_without_tls_is_refused(driver: str, proxy: Proxy, provider: Any) -> None:
    skip_without(f"sqlalchemy-{driver}")
    make = import_module("sqlalchemy.ext.asyncio").create_async_engine
    engine = attach(make(f"postgresql+{driver}://app@127.0.0.1:{proxy.port}/x"), provider, region=REGION)
    option = "ssl" if driver == "asyncpg" else "sslmode"
    remedy = rf'attach: no {option}= is given.*connect_args=\{{"{option}": .*attach\(…, plaintext=True\)$'
    with pytest.raises(InvalidConfiguration, match=remedy):
        async with engine.connect():
            pass
    assert proxy.begun == 0


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
async def test_a_unix_socket_is_refused(kind: str, provider: Any, place: Place, tmp_path: Path) -> None:
    skip_without(kind)
    for source in (provider, rds_token(provider, ENDPOINT, 5432, "app")):
        with pytest.raises(InvalidConfiguration, match=r"a Unix socket, which has no TLS"):
            await log_in(kind, source, None, host=str(tmp_path), user="app", **encrypted(kind, place))


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
async def test_a_server_without_tls_gets_no_token(
    kind: str, authority: Authority, provider: Any, place: Place
) -> None:
    skip_without(kind)
    async with Proxy(authority, None, behind=place.behind, takes_plaintext=True) as proxy:
        with pytest.raises(Exception, match="SSL"):
            await log_in(kind, provider, dsn(proxy.port), **encrypted(kind, place))
        assert (proxy.begun, proxy.passwords) == (1, [])


async def test_a_service_file_does_not_undo_what_was_checked(
    authority: Authority, provider: Any, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq prefers what that says to variables."""
    pytest.importorskip("psycopg")
    (tmp_path / "services").write_text("[books]\nsslmode=disable\nhost=nowhere.invalid\nuser=nobody\n")
    async with Proxy(authority, None, behind=place.behind, takes_plaintext=True) as proxy:
        variables = {"PGSERVICEFILE": tmp_path / "services", "PGSERVICE": "books", "PGSSLMODE": "require"}
        for name, value in {**variables, "PGHOST": "127.0.0.1", "PGUSER": "app", "PGPORT": proxy.port}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(Exception, match="server does not support SSL"):
            await log_in("psycopg", provider, None)
        assert (proxy.begun, proxy.passwords) == (1, [])


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
async def test_plaintext_for_who_asks_for_it(kind: str, authority: Authority, provider: Any, place: Place) -> None:
    skip_without(kind)
    async with Proxy(authority, None, behind=place.behind, takes_plaintext=True) as proxy:
        await log_in(kind, provider, dsn(proxy.port), plaintext=True, **OPEN[kind])
        assert (len(proxy.passwords), proxy.logins, proxy.refused) == (1, 1, [])


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
async def test_rds_refuses_a_connection_without_tls(kind: str, place: Place, proxy: Proxy, provider: Any) -> None:
    skip_without(kind)
    with pytest.raises(Exception, match="no encryption"):
        await log_in(kind, provider, dsn(proxy.port), plaintext=True, **OPEN[kind])
    assert proxy.refused == ["plaintext"]


# Where host, port and user come from


def filled(given: dict[str, Any], port: int) -> dict[str, Any]:
    """Put the port into texts and lists of them."""
    return dict(json.loads(json.dumps(given).replace("{port}", str(port))))


@pytest.mark.parametrize(
    ("text", "arguments", "variables"),
    [
        ("postgresql://app@127.0.0.1:{port}/postgres", {}, {}),
        ("postgres://ap%70:password@127.0.0.1:{port}/postgres", {}, {}),
        ("postgresql:///postgres?host=127.0.0.1&port={port}&user=app", {}, {}),
        (
            "postgresql://somebody@nowhere.invalid:1/postgres",
            {"host": "127.0.0.1", "port": "{port}", "user": "app"},
            {},
        ),
        ("postgresql://app@/postgres", {"host": ["127.0.0.1"], "port": ["{port}"]}, {}),
        ("postgresql://app@/postgres", {"host": "127.0.0.1:{port}"}, {}),
        (None, {"database": "postgres"}, {"PGHOST": "127.0.0.1", "PGPORT": "{port}", "PGUSER": "app"}),
        (None, {"database": "postgres", "user": "app"}, {"PGHOST": "127.0.0.1:{port}"}),
    ],
)
async def test_asyncpg_and_the_token_agree_about_the_place(
    text: str | None,
    arguments: dict[str, Any],
    variables: dict[str, str],
    proxy: Proxy,
    provider: Any,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("asyncpg")
    for name, value in filled(variables, proxy.port).items():
        monkeypatch.setenv(name, value)
    arguments = filled(arguments, proxy.port)
    text = text and text.format(port=proxy.port)
    assert await log_in("asyncpg", provider, text, **arguments, **encrypted("asyncpg", place)) == "app"
    assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize(
    ("text", "arguments", "variables"),
    [
        ("postgresql://app@127.0.0.1:{port}/postgres", {}, {}),
        ("host=127.0.0.1 port={port} user=app password=x dbname=postgres", {"password": "y"}, {}),
        (
            "postgresql://somebody@nowhere.invalid:1/postgres",
            {"host": "127.0.0.1", "port": "{port}", "user": "app"},
            {},
        ),
        ("dbname=postgres", {}, {"PGHOST": "127.0.0.1", "PGPORT": "{port}", "PGUSER": "app"}),
    ],
)
async def test_psycopg_and_the_token_agree_about_the_place(
    text: str,
    arguments: dict[str, Any],
    variables: dict[str, str],
    proxy: Proxy,
    provider: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("psycopg")
    for name, value in {**filled(variables, proxy.port), "PGSSLMODE": "require"}.items():
        monkeypatch.setenv(name, value)
    arguments = filled(arguments, proxy.port)
    assert await log_in("psycopg", provider, text.format(port=proxy.port), **arguments) == "app"
    assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
async def test_each_place_gets_its_own_token(kind: str, authority: Authority, provider: Any, place: Place) -> None:
    """Of one connector, which may log in to several."""
    skip_without(kind)
    make = asyncpg_connector if kind == "asyncpg" else psycopg_connection
    made: Any = make(provider, region=REGION)
    connect = made if kind == "asyncpg" else made.connect
    arguments = {**encrypted(kind, place), "user": "app"}
    one, two = (Proxy(authority, place.tls, behind=place.behind) for _ in range(2))
    async with one, two:
        for port in (one.port, two.port, one.port):
            await (await connect(f"postgresql://somebody@127.0.0.1:{port}/postgres", **arguments)).close()
        assert [(proxy.logins, proxy.refused) for proxy in (one, two)] == [(2, []), (1, [])]


async def test_an_address_in_brackets_is_one(provider: Any, place: Place, deaf_port: int) -> None:
    pytest.importorskip("asyncpg")
    token = rds_token(provider, ENDPOINT, 5432, "app")
    with pytest.raises(OSError, match=r".") as caught:
        await log_in("asyncpg", token, f"postgresql://app@[::1]:{deaf_port}/x", **encrypted("asyncpg", place))
    assert not isinstance(caught.value, socket.gaierror)


@pytest.mark.parametrize("user", ["admin", "app"])
async def test_dsql_is_known_by_its_name(user: str, authority: Authority, provider: Any, place: Place) -> None:
    pytest.importorskip("psycopg")
    host, action = "abc.dsql.eu-west-1.on.aws", "DbConnectAdmin" if user == "admin" else "DbConnect"
    async with Proxy(
        authority, place.tls, behind=place.behind, user=user, service="dsql", action=action, host=host
    ) as proxy:
        there = f"host={host} hostaddr=127.0.0.1 port={proxy.port} user={user} dbname=postgres sslmode=require"
        if user == "app":
            assert await log_in("psycopg", provider, there, region=None) == "app"
        else:
            with pytest.raises(Exception, match='role "admin" does not exist'):  # in the PostgreSQL
                await log_in("psycopg", provider, there, region=None)
        assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg", "sqlalchemy-asyncpg"])
async def test_a_token_for_another_name_than_that_of_the_connection(
    kind: str, authority: Authority, provider: Any, place: Place
) -> None:
    """As through a tunnel, or with a CNAME."""
    skip_without(kind)
    async with Proxy(authority, place.tls, behind=place.behind, host=f"{ENDPOINT}:5432") as proxy:
        token = rds_token(provider, ENDPOINT, 5432, "app")
        async with pool_of(kind, place, proxy.port, token, region=None) as borrow, borrow() as query:
            assert await query("select 1") == 1
        assert (proxy.logins, proxy.refused) == (1, [])


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
async def test_dsql_through_a_tunnel(kind: str, authority: Authority, provider: Any, place: Place) -> None:
    skip_without(kind)
    host = "abc.dsql.eu-west-1.on.aws"
    async with Proxy(
        authority, place.tls, behind=place.behind, service="dsql", action="DbConnect", host=host
    ) as proxy:
        token = dsql_token(provider, host)
        assert await log_in(kind, token, dsn(proxy.port), region=None, **encrypted(kind, place)) == "app"
        assert (proxy.logins, proxy.refused) == (1, [])


# Bad input

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"user": "app"}, "no host, for which the token is made: pass host=.*PGHOST"),
    ({"host": ENDPOINT}, "no user, for which the token is made: pass user=.*PGUSER"),
    ({"host": ENDPOINT, "user": ""}, "no user, for which the token is made"),
    ({"host": ENDPOINT, "user": " "}, "user is empty"),
    ({"host": f"{ENDPOINT},other", "user": "app"}, r"several hosts \(books.*,other\).*the cluster's endpoint"),
    ({"host": "db.example.org", "user": "app"}, "the region is not known: give the endpoint's own name"),
    ({"host": "https://x", "user": "app"}, "'https://x' is no host name"),
    ({"host": ENDPOINT, "user": "app", "port": "5432,5433"}, "'5432,5433' is no port: pass port=.*PGPORT"),
    ({"host": ENDPOINT, "user": "app", "port": 65536}, "'65536' is no port"),
]


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
@pytest.mark.parametrize(("arguments", "message"), REFUSED)
async def test_what_is_missing_is_named(kind: str, arguments: dict[str, Any], message: str, place: Place) -> None:
    skip_without(kind)
    context = empty_context()
    provider = Authority(context.clock.now).provider(context)
    with pytest.raises(InvalidConfiguration, match=message):
        await log_in(kind, provider, None, region=None, **arguments, **encrypted(kind, place))


@pytest.mark.parametrize("kind", CLIENTS)
async def test_expired_keys(kind: str, place: Place, proxy: Proxy) -> None:
    """Our error is what the program gets, but from a pool of psycopg."""
    skip_without(kind)
    environ = {
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLEOLD",
        "AWS_SECRET_ACCESS_KEY": secret(),
        "AWS_CREDENTIAL_EXPIRATION": datetime(2020, 1, 1, tzinfo=UTC).isoformat(),
    }
    for provider, kind_of_error, message in (
        (from_env(context=empty_context(environ)), CredentialsError, "AWS_CREDENTIAL_EXPIRATION"),
        (from_env(context=empty_context()), CredentialsNotFound, "AWS_ACCESS_KEY_ID"),
    ):
        with pytest.raises(kind_of_error, match=message):
            await once(kind, place, proxy.port, provider)
    assert proxy.passwords == []


async def test_the_example(place: Place, home: Path) -> None:
    skip_without("sqlalchemy-asyncpg")
    authority = Authority(time.time)
    keys = await authority.issue()
    environ = {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
    environ |= {"AWS_SESSION_TOKEN": keys.session_token or "", "AWS_REGION": REGION}
    async with Proxy(authority, place.tls, behind=place.behind) as proxy:
        url = dsn(proxy.port).replace("postgresql", "postgresql+asyncpg")
        ended = await run(EXAMPLES / "postgres_iam.py", url, place.ca, home=home, **environ)
        assert (ended.status, ended.out) == (0, "2450\n"), ended.err
        [warning] = ended.err.splitlines()  # one for all connections
        assert warning.startswith("127.0.0.1 is no endpoint of RDS")
        assert (proxy.logins > 1, proxy.refused) == (True, [])


@pytest.mark.parametrize(("number", "kind"), [*enumerate(["asyncpg", "psycopg", "sqlalchemy-asyncpg"])])
async def test_the_programs_of_the_page(number: int, kind: str, place: Place, home: Path) -> None:
    skip_without(kind)
    page = (ROOT / "docs/how-to/databases.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    program = [code for code in blocks if "SELECT" in code][number]
    authority = Authority(time.time)
    keys = await authority.issue()
    environ = {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
    environ |= {"AWS_SESSION_TOKEN": keys.session_token or "", "AWS_REGION": REGION}
    async with Proxy(authority, place.tls, behind=place.behind) as proxy:
        for there, here in (
            ("books.abc.eu-central-1.rds.amazonaws.com/books", f"127.0.0.1:{proxy.port}/postgres"),
            ("global-bundle.pem", place.ca),
            ("FROM books", "FROM generate_series(1, 7)"),
        ):
            assert there in program
            program = program.replace(there, here)
        (home / "program.py").write_text(f"{program}\nimport asyncio\nprint(asyncio.run(count()))\n")
        ended = await run(home / "program.py", home=home, **environ)
        assert (ended.status, ended.out) == (0, "7\n"), ended.err
        assert (proxy.logins > 0, proxy.refused) == (True, [])


def test_an_engine_that_is_not_supported(provider: Any) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    with pytest.raises(InvalidConfiguration, match="an engine with pysqlite without asyncio is not supported"):
        attach(sqlalchemy.create_engine("sqlite://"), provider)
    with pytest.raises(InvalidConfiguration, match=r"psycopg without asyncio.*create_async_engine\(\)"):
        attach(sqlalchemy.create_engine("postgresql+psycopg://x"), provider)


def test_a_factory_that_was_not_called() -> None:
    pytest.importorskip("asyncpg")
    with pytest.raises(TypeError, match="asyncpg_connector"):
        asyncpg_connector(from_env)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("kind", ["asyncpg", "psycopg"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": ENDPOINT, "user": b"app"}, "user is bytes: pass user= as a str"),
        ({"host": ENDPOINT, "user": 7}, "user is int"),
        ({"host": 7, "user": "app"}, "host is int: pass host= as a str"),
    ],
)
async def test_a_place_that_is_no_text(kind: str, arguments: dict[str, Any], message: str, place: Place) -> None:
    """asyncpg would log in as the user "b'app'"."""
    skip_without(kind)
    with pytest.raises(InvalidConfiguration, match=message):
        await log_in(kind, from_env(), None, region=None, **arguments, **encrypted(kind, place))


@pytest.mark.parametrize(("kind", "make"), [("asyncpg", asyncpg_connector), ("psycopg", psycopg_connection)])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plaintext": "false"}, "plaintext is str: pass True or False"),
        ({"region": b"eu-central-1"}, "region is bytes: pass region= as a str"),
        ({"region": "eu central"}, "'eu central' is not a region"),
    ],
)
def test_what_is_no_switch_and_no_region_fails_at_once(
    kind: str, make: Callable[..., object], arguments: dict[str, Any], message: str, provider: Any
) -> None:
    skip_without(kind)
    with pytest.raises(InvalidConfiguration, match=message):
        make(provider, **arguments)


def test_what_is_no_engine() -> None:
    with pytest.raises(TypeError, match=r"attach\(\) takes an engine of create_async_engine\(\), not str"):
        attach("postgresql+asyncpg://app@h/x", from_env())


@pytest.mark.parametrize("dsn", [b"postgresql://app:hidden@h/x", "postgresql://app:hidden@[::1/x", 7])
async def test_what_is_no_dsn(dsn: Any, provider: Any, place: Place) -> None:
    skip_without("asyncpg")
    with pytest.raises(InvalidConfiguration, match="asyncpg_connector: dsn is ") as caught:
        await log_in("asyncpg", provider, dsn, **encrypted("asyncpg", place))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(("kind", "make"), [("asyncpg", asyncpg_connector), ("psycopg", psycopg_connection)])
def test_a_token_for_another_service(kind: str, make: Callable[..., object], provider: Any) -> None:
    skip_without(kind)
    with pytest.raises(TypeError, match=r"\(\) takes what rds_token or dsql_token returns, not eks_token"):
        make(eks_token(provider, "books", REGION))


async def test_a_later_attach_replaces_an_earlier_one(proxy: Proxy, provider: Any, place: Place) -> None:
    skip_without("sqlalchemy-asyncpg")
    make = import_module("sqlalchemy.ext.asyncio").create_async_engine
    engine = make(
        f"postgresql+asyncpg://app@127.0.0.1:{proxy.port}/postgres", connect_args={"ssl": place.client_tls}
    )
    attach(attach(engine, from_env(), region=REGION), provider, region=REGION)
    async with engine.connect():
        assert proxy.logins == 1
    await engine.dispose()
