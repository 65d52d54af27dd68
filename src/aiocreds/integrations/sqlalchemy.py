"""SQLAlchemy: the connections of an ``AsyncEngine`` log in to RDS, Aurora and Aurora DSQL with tokens.

::

    tls = ssl.create_default_context(cafile="global-bundle.pem")  # the certificate authorities of RDS
    url = "postgresql+asyncpg://app@books.abc.eu-central-1.rds.amazonaws.com/books"
    engine = attach(create_async_engine(url, connect_args={"ssl": tls}), default_chain())

Install with ``pip install 'aiocreds[sqlalchemy]'``, and the driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from aiocreds.errors import InvalidConfiguration
from aiocreds.integrations._extras import require
from aiocreds.integrations.mysql import _aiomysql, _asyncmy  # pyright: ignore[reportPrivateUsage] - they name us
from aiocreds.integrations.postgresql import _asyncpg, _psycopg  # pyright: ignore[reportPrivateUsage] - likewise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds.tokens import Source, TokenProvider

__all__ = ["attach"]

Engine = TypeVar("Engine")
_attached: WeakKeyDictionary[Any, Callable[..., None]] = WeakKeyDictionary()  # the listener of each engine


def attach(
    engine: Engine, source: Source | TokenProvider, *, region: str | None = None, plaintext: bool = False
) -> Engine:
    """Have each connection of an engine log in with a token of its own; a later call replaces an earlier one.

    Host, port, user and TLS are those of the engine's URL and ``connect_args=``; a password is not used. An engine
    that was made with ``async_creator=`` opens its connections by itself: pass it
    ``functools.partial(asyncpg_connector(…), …)`` instead.

    With aiomysql and asyncmy, TLS is the context in ``connect_args={"ssl": context}``.

    Args:
        engine: of ``create_async_engine``, with asyncpg, psycopg, aiomysql or asyncmy.
        source: where credentials come from, or a token, as for
            :func:`~aiocreds.integrations.postgresql.asyncpg_connector`.
        region: by default the one in the host name, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        plaintext: send tokens without TLS, as through a tunnel that encrypts.

    Returns:
        The engine. What opens a connection raises :class:`InvalidConfiguration` where there is no host, user,
        region or TLS, and ``CredentialsError`` where there are no credentials, none of them wrapped.

    Raises:
        InvalidConfiguration: its driver is another one, or the engine is none of asyncio's; or ``region`` or
            ``plaintext`` is none.
        TypeError: ``engine`` or ``source`` is none.
        ModuleNotFoundError: SQLAlchemy, or the driver, is not installed.

    See https://docs.sqlalchemy.org/en/20/core/engines.html#generating-dynamic-authentication-tokens
    """
    require("sqlalchemy", "sqlalchemy")
    inner: Any = getattr(engine, "sync_engine", engine)
    if not hasattr(inner, "dialect"):
        raise TypeError(f"attach() takes an engine of create_async_engine(), not {type(engine).__qualname__}")
    driver = inner.dialect.driver if inner.dialect.is_async else f"{inner.dialect.driver} without asyncio"
    if driver == "psycopg":
        connect = _psycopg("attach", source, region, plaintext=plaintext).connect
    elif driver == "asyncpg":
        connect = _asyncpg("attach", source, region, plaintext=plaintext)
    elif driver == "aiomysql":
        connect = _aiomysql("attach", source, region, plaintext=plaintext)
    elif driver == "asyncmy":
        connect = _asyncmy_connector(source, region=region, plaintext=plaintext)
    else:
        raise InvalidConfiguration(
            f"attach: an engine with {driver} is not supported: make it by create_async_engine() with"
            " postgresql+asyncpg://, postgresql+psycopg://, mysql+aiomysql:// or mysql+asyncmy://"
        )

    def put_connect(_dialect: Any, _record: Any, _arguments: list[Any], options: dict[str, Any]) -> None:
        options.setdefault("async_creator_fn", connect)

    event = import_module("sqlalchemy.event")
    if (before := _attached.get(inner)) is not None:
        event.remove(inner, "do_connect", before)
    event.listen(inner, "do_connect", put_connect)
    _attached[inner] = put_connect
    return engine


def _asyncmy_connector(
    source: Source | TokenProvider, *, region: str | None, plaintext: bool
) -> Callable[..., Awaitable[Any]]:
    require("asyncmy", "asyncmy")
    connect = import_module("asyncmy").connect

    async def connect_with_token(**options: Any) -> Any:
        return await connect(**_asyncmy("attach", source, region, options, plaintext=plaintext))

    return connect_with_token
