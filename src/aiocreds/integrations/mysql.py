"""aiomysql and asyncmy: connections log in to MySQL and MariaDB on RDS and Aurora with tokens.

::

    host = "books.abc.eu-central-1.rds.amazonaws.com"
    tls = ssl.create_default_context(cafile="global-bundle.pem")  # the certificate authorities of RDS
    options = asyncmy_options(default_chain(), host=host, user="app", db="books", ssl=tls)
    pool = await asyncmy.create_pool(**options, maxsize=50)

    connect = aiomysql_connector(default_chain())
    connection = await connect(host=host, user="app", db="books", ssl=tls)

A token goes to the server as it is (``mysql_clear_password``), so both want TLS.
Install with ``pip install 'aiocreds[asyncmy]'`` or ``'aiocreds[aiomysql]'``.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiocreds._core.decorator import as_provider
from aiocreds.errors import InvalidConfiguration
from aiocreds.integrations._extras import require
from aiocreds.integrations._tls import without_tls
from aiocreds.tokens import TokenProvider, check_flag, check_token, checked_region, rds_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiocreds.tokens import Source

__all__ = ["aiomysql_connector", "asyncmy_options"]

PORT = 3306
OFFERS_TLS = 0x800  # CLIENT_SSL, of the capabilities that a server announces


def asyncmy_options(
    source: Source | TokenProvider, *, region: str | None = None, plaintext: bool = False, **options: Any
) -> dict[str, Any]:
    """Return what ``asyncmy.connect`` and ``create_pool`` take: each connection logs in with a token of its own.

    That goes for those that a pool opens later, and when one connects again, too.

    Args:
        source: where credentials come from; or any ``async () -> Credentials``. Where asyncmy connects to another
            name or port, as through a tunnel, a token for the right ones, from
            :func:`~aiocreds.tokens.rds_token`.
        region: by default the one in the host name, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        plaintext: send tokens without TLS, as through a tunnel that encrypts.
        options: of asyncmy. A token is for ``host``, ``port`` (3306) and ``user``; ``ssl`` is the context that
            checks the server's certificate.

    Returns:
        The options, with ``password_creator``. What the source raises fails a connection.

    Raises:
        InvalidConfiguration: there is no host or user, or no context and ``plaintext`` is not given; or one of
            ``region`` and ``plaintext`` is none.
        ModuleNotFoundError: asyncmy is not installed.
        TypeError: ``source`` is none, or a token for another service.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    return _asyncmy("asyncmy_options", source, region, options, plaintext=plaintext)


def aiomysql_connector(
    source: Source | TokenProvider, *, region: str | None = None, plaintext: bool = False
) -> Callable[..., Awaitable[Any]]:
    """Make a function to call in place of ``aiomysql.connect``: each connection logs in with a token of its own.

    Pools of aiomysql, and its ``ping()`` where a connection was lost, log in with the password that they got first:
    there is no hook. Take SQLAlchemy's pool (``aiocreds.integrations.sqlalchemy``), or asyncmy.

    Args:
        source: as for :func:`asyncmy_options`.
        region: by default the one in the host name, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        plaintext: send tokens without TLS, as through a tunnel that encrypts.

    Returns:
        An async function that takes the options of ``aiomysql.connect``, with ``host``, ``user`` and ``ssl`` as for
        :func:`asyncmy_options`, and returns an ``aiomysql.Connection``. It raises :class:`InvalidConfiguration`
        where there is no host, user or region, or the server has no TLS, ``CredentialsError`` where there are no
        credentials, and what aiomysql raises.

    Raises:
        InvalidConfiguration: at once: ``region`` or ``plaintext`` is none.
        ModuleNotFoundError: aiomysql is not installed.
        TypeError: at once: ``source`` is none, or a token for another service.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    return _aiomysql("aiomysql_connector", source, region, plaintext=plaintext)


def _asyncmy(
    taker: str, source: Source | TokenProvider, region: str | None, options: dict[str, Any], *, plaintext: bool
) -> dict[str, Any]:
    """Return :func:`asyncmy_options`'s options; ``taker`` is what the program has called."""
    require("asyncmy", "asyncmy")
    _check(taker, source, region, plaintext=plaintext)
    options.pop("password", None)  # no local variable here holds one
    return {**options, "password_creator": _token(taker, source, options, region, plaintext=plaintext)}


def _aiomysql(
    taker: str, source: Source | TokenProvider, region: str | None, *, plaintext: bool
) -> Callable[..., Awaitable[Any]]:
    """Return :func:`aiomysql_connector`'s function; ``taker`` is what the program has called."""
    require("aiomysql", "aiomysql")
    _check(taker, source, region, plaintext=plaintext)
    kind = import_module("aiomysql").Connection if plaintext else _encrypted_only()
    if not isinstance(source, TokenProvider):
        source = as_provider(source, taker=f"{taker}()")

    async def connect_with_token(**options: Any) -> Any:
        options.pop("password", None)  # no local variable here holds one
        token = _token(taker, source, options, region, plaintext=plaintext)
        connection = kind(**options, password=await token())
        await connection.ping()  # which connects
        return connection

    return connect_with_token


def _check(name: str, source: object, region: object, *, plaintext: object) -> None:
    """Raise InvalidConfiguration, or TypeError, for arguments that are none."""
    if isinstance(source, TokenProvider):
        check_token(source, taker=f"{name}()", names=("rds_token",))
    checked_region(name, region)
    check_flag(name, "plaintext", plaintext)


def _token(
    taker: str, source: Source | TokenProvider, options: Mapping[str, Any], region: str | None, *, plaintext: bool
) -> TokenProvider:
    """Return the token for the place where a client is told to log in.

    Raises:
        InvalidConfiguration: that is not clear, or in the open.
    """
    context = options.get("ssl")
    if not plaintext and not isinstance(context, ssl.SSLContext):
        found = "no ssl= is given" if context is None else f"ssl={context!r} is no ssl.SSLContext"
        raise without_tls(taker, "ssl", found)
    for needed in ("host", "user"):
        if not options.get(needed):
            raise InvalidConfiguration(f"{taker}: no {needed}, for which the token is made: pass {needed}=")
    if isinstance(source, TokenProvider):
        return source
    return rds_token(source, options["host"], options.get("port") or PORT, options["user"], region)


@lru_cache(maxsize=1)
def _encrypted_only() -> Any:
    """Return a kind of aiomysql's connection that logs in to no server without TLS.

    aiomysql sends the password in the open, whatever ``ssl`` it was given, when the server, or somebody in between,
    announces no TLS (``aiomysql/connection.py``, line 751 of 0.3.2).
    """

    def announced(connection: Any) -> Any:
        return connection.__dict__["server_capabilities"]

    def announce(connection: Any, capabilities: int) -> None:
        if not capabilities & OFFERS_TLS:
            raise InvalidConfiguration(
                f"aiomysql: {connection.host}:{connection.port} offers no TLS, and a token that is sent"
                " in the open can be used by others for 15 minutes: switch TLS on there, or find out who is between"
            )
        connection.__dict__["server_capabilities"] = capabilities

    base: Any = import_module("aiomysql").Connection
    return type("Connection", (base,), {"server_capabilities": property(announced, announce)})
