"""aiomysql and asyncmy: connections log in to MySQL and MariaDB on RDS and Aurora with tokens.

::

    token = rds_token(default_chain(), "books.abc.eu-central-1.rds.amazonaws.com:3306", user="app")
    tls = ssl.create_default_context(cafile="global-bundle.pem")  # the authorities of RDS
    pool = await asyncmy.create_pool(host=…, user="app", db="books", **asyncmy_login(token, ssl=tls))
    connection = await aiomysql_connect(token, host=…, user="app", db="books", ssl=tls)

The token goes to the server as it is (``mysql_clear_password``), so both want TLS.
Install with ``pip install 'aiocreds[asyncmy]'`` or ``'aiocreds[aiomysql]'``.
"""

from __future__ import annotations

import ssl as tls
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiocreds.errors import InvalidConfiguration
from aiocreds.integrations._extras import require

if TYPE_CHECKING:
    from aiocreds.tokens import TokenProvider

__all__ = ["aiomysql_connect", "asyncmy_login"]

OFFERS_TLS = 0x800  # CLIENT_SSL, of the capabilities that a server announces


def asyncmy_login(
    token: TokenProvider, *, ssl: tls.SSLContext | None = None, plaintext: bool = False
) -> dict[str, Any]:
    """Return arguments for asyncmy's ``connect`` and ``create_pool``: each login gets a token of its own.

    That is also so where a pool opens a connection later, or one connects again.

    Args:
        token: from :func:`~aiocreds.tokens.rds_token`, for the user that you pass to asyncmy. What it raises fails
            the connection.
        ssl: the context that checks the server's certificate.
        plaintext: send tokens without TLS, as through a tunnel that encrypts.

    Returns:
        ``password_creator=`` and ``ssl=``.

    Raises:
        InvalidConfiguration: there is no context, and ``plaintext`` is not given.
        ModuleNotFoundError: asyncmy is not installed.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    require("asyncmy", "asyncmy")
    _check("asyncmy_login", ssl, plaintext=plaintext)
    return {"password_creator": token, "ssl": ssl}


async def aiomysql_connect(
    token: TokenProvider, *, ssl: tls.SSLContext | None = None, plaintext: bool = False, **options: Any
) -> Any:
    """Open a connection of aiomysql, which logs in with a new token.

    aiomysql's pools and its ``ping()`` log in again with the password that they were given first, for which it has
    no hook: take SQLAlchemy's pool, or asyncmy.

    Args:
        token: from :func:`~aiocreds.tokens.rds_token`, for the user that you pass to aiomysql.
        ssl: the context that checks the server's certificate.
        plaintext: send the token without TLS, as through a tunnel that encrypts.
        options: of ``aiomysql.connect``, but for ``password``.

    Returns:
        An ``aiomysql.Connection``.

    Raises:
        InvalidConfiguration: there is no context, or the server offers no TLS, and ``plaintext`` is not given.
        CredentialsError: there are no credentials.
        ModuleNotFoundError: aiomysql is not installed.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    require("aiomysql", "aiomysql")
    _check("aiomysql_connect", ssl, plaintext=plaintext)
    kind = import_module("aiomysql").Connection if ssl is None else _encrypted_only()
    connection = kind(password=await token(), ssl=ssl, **options)
    await connection.ping()  # which connects
    return connection


def _check(name: str, ssl: tls.SSLContext | None, *, plaintext: bool) -> None:
    if ssl is None and plaintext:
        return
    if not isinstance(ssl, tls.SSLContext):
        raise InvalidConfiguration(
            f"{name}: ssl={ssl!r} is no ssl.SSLContext, and a token that is sent in the open can be used by others:"
            " pass ssl=ssl.create_default_context(cafile=…) with the authorities of RDS, or plaintext=True where a"
            " tunnel encrypts"
        )


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
                f"aiomysql_connect: {connection.host}:{connection.port} offers no TLS, and a token that is sent in"
                " the open can be used by others: switch TLS on there, or find out who is in between"
            )
        connection.__dict__["server_capabilities"] = capabilities

    base: Any = import_module("aiomysql").Connection
    return type("Connection", (base,), {"server_capabilities": property(announced, announce)})
