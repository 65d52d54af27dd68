"""asyncpg and psycopg 3: connections log in to PostgreSQL on RDS, Aurora and Aurora DSQL with tokens.

::

    tls = ssl.create_default_context(cafile="global-bundle.pem")  # the certificate authorities of RDS
    dsn = "postgresql://app@books.abc.eu-central-1.rds.amazonaws.com/books"
    pool = await asyncpg.create_pool(dsn, ssl=tls, connect=asyncpg_connector(default_chain()))

    conninfo = f"{dsn}?sslmode=verify-full&sslrootcert=global-bundle.pem"
    pool = AsyncConnectionPool(conninfo, connection_class=psycopg_connection(default_chain()))

Host, port and user are those that the client is given. A token goes to the server as it is, so both want TLS.
Install with ``pip install 'aiocreds[asyncpg]'`` or ``'aiocreds[psycopg]'``.
"""

from __future__ import annotations

import os
import re
import ssl
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from aiocreds._base import threads
from aiocreds._core.decorator import as_provider
from aiocreds.errors import InvalidConfiguration
from aiocreds.integrations._extras import require
from aiocreds.integrations._tls import without_tls
from aiocreds.tokens import TokenProvider, check_flag, check_token, checked_region, dsql_token, rds_token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiocreds._core.provider import Provider
    from aiocreds.tokens import Source


__all__ = ["asyncpg_connector", "psycopg_connection"]

PORT = "5432"
VARIABLES = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "sslmode": "PGSSLMODE"}
ENCRYPTED = ("require", "verify-ca", "verify-full")


def asyncpg_connector(
    source: Source | TokenProvider, *, region: str | None = None, plaintext: bool = False
) -> Callable[..., Awaitable[Any]]:
    """Make a ``connect=`` for ``asyncpg.create_pool``: each connection logs in with a token of its own.

    It takes what ``asyncpg.connect`` does, and can be called in its place. Host, port and user come from the
    arguments, the DSN, ``PGHOST``, ``PGPORT`` and ``PGUSER``, and TLS from ``ssl=``, the DSN's ``sslmode`` and
    ``PGSSLMODE``; a password is not used. From ``ssl=True``, one context is made for all connections. Else pass
    ``ssl=`` a context: from strings, asyncpg makes one anew for each connection, which holds the event loop up.

    Args:
        source: where credentials come from; or any ``async () -> Credentials``. The token is one for RDS and
            Aurora or, by the host's name, for DSQL, and there for the role ``admin`` or another one. Where the
            client connects to another name or port, as through a tunnel, a token for the right ones, from
            :func:`~aiocreds.tokens.rds_token` or :func:`~aiocreds.tokens.dsql_token`.
        region: by default the one in the host name, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        plaintext: send tokens without TLS, as through a tunnel that encrypts.

    Returns:
        An async function, which raises :class:`InvalidConfiguration` where there is no host, user or region, or
        no TLS, ``CredentialsError`` where there are no credentials, and what asyncpg raises.

    Raises:
        InvalidConfiguration: at once: ``region`` or ``plaintext`` is none.
        ModuleNotFoundError: asyncpg is not installed.
        TypeError: at once: ``source`` is none, or a token for another service.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    return _asyncpg("asyncpg_connector", source, region, plaintext=plaintext)


def psycopg_connection(
    source: Source | TokenProvider, *, region: str | None = None, plaintext: bool = False
) -> type[Any]:
    """Make a ``connection_class=`` for ``psycopg_pool.AsyncConnectionPool``: each gets a token of its own.

    ``await psycopg_connection(…).connect(…)`` opens a single connection. Host, port and user come from the
    arguments, the connection string, ``PGHOST``, ``PGPORT`` and ``PGUSER``, and TLS from ``sslmode`` or
    ``PGSSLMODE``; a password is not used. A pool logs what ``connect`` raises (logger ``psycopg.pool``), and tries
    again.

    Args:
        source: as for :func:`asyncpg_connector`. Through a tunnel that ends at 127.0.0.1, ``hostaddr=127.0.0.1``
            beside the right ``host`` keeps ``sslmode=verify-full`` working.
        region: by default the one in the host name, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        plaintext: send tokens without TLS, as through a tunnel that encrypts.

    Returns:
        A subclass of ``psycopg.AsyncConnection``. Its ``connect`` raises :class:`InvalidConfiguration` where there
        is no host, user or region, or ``sslmode`` is below ``require``, ``CredentialsError`` where there are no
        credentials, and what psycopg raises.

    Raises:
        InvalidConfiguration: at once: ``region`` or ``plaintext`` is none.
        ModuleNotFoundError: psycopg is not installed.
        TypeError: at once: ``source`` is none, or a token for another service.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    return _psycopg("psycopg_connection", source, region, plaintext=plaintext)


def _asyncpg(
    taker: str, source: Source | TokenProvider, region: str | None, *, plaintext: bool
) -> Callable[..., Awaitable[Any]]:
    """Return :func:`asyncpg_connector`'s function; ``taker`` is what the program has called."""
    require("asyncpg", "asyncpg")
    connect = import_module("asyncpg").connect
    logins = _Logins(taker, source, region, plaintext=plaintext)
    default_tls = lru_cache(maxsize=1)(_default_tls)

    async def connect_with_token(dsn: str | None = None, **arguments: Any) -> Any:
        arguments.pop("password", None)  # no local variable here holds one
        given = {**_of_url(dsn), **{name: value for name, value in arguments.items() if value is not None}}
        target, token = logins.prepare(given, "ssl")
        options = {**arguments, **target, "password": token}
        if options.get("ssl") is True:
            options["ssl"] = await threads.submit(default_tls)
        return await connect(dsn, **options)

    return connect_with_token


def _psycopg(taker: str, source: Source | TokenProvider, region: str | None, *, plaintext: bool) -> type[Any]:
    """Return :func:`psycopg_connection`'s class; ``taker`` is what the program has called."""
    require("psycopg", "psycopg")
    psycopg: Any = import_module("psycopg")
    base: Any = psycopg.AsyncConnection
    logins = _Logins(taker, source, region, plaintext=plaintext)

    @lru_cache(maxsize=8)  # libpq's parser takes longer than all that is done here
    def named_in(conninfo: str) -> dict[str, Any]:
        parsed = psycopg.conninfo.conninfo_to_dict
        return {name: value for name, value in parsed(conninfo).items() if name in VARIABLES}

    class Connection(base):  # type: ignore[misc]  # of type Any
        """A connection that logs in with a token."""

        @classmethod
        async def connect(cls, conninfo: str = "", **arguments: Any) -> Any:
            arguments.pop("password", None)  # no local variable here holds one
            named = {name: value for name in VARIABLES if (value := arguments.get(name)) is not None}
            given = {**named_in(conninfo), **named}
            target, token = logins.prepare(given, "sslmode")
            inner: Any = super()
            return await inner.connect(conninfo, **{**arguments, **target, "password": await token()})

    return Connection


class _Logins:
    """Finds out where a client is about to log in, refuses to do that in the open, and makes the token."""

    def __init__(self, name: str, source: Source | TokenProvider, region: str | None, *, plaintext: bool) -> None:
        self._name = name
        if isinstance(source, TokenProvider):
            check_token(source, taker=f"{name}()", names=("rds_token", "dsql_token"))
            self._source: Provider | TokenProvider = source
        else:
            self._source = as_provider(source, taker=f"{name}()")
        self._region = checked_region(name, region)
        check_flag(name, "plaintext", plaintext)
        self._plaintext = plaintext

    def prepare(self, given: Mapping[str, Any], tls: str) -> tuple[dict[str, Any], TokenProvider]:
        """Return the arguments that say where to log in, so that no other place can, and the token to do it with.

        Args:
            given: the client's arguments, from wherever it takes them but the environment.
            tls: which of them is about TLS.

        Raises:
            InvalidConfiguration: there is no host or user, or no TLS.
        """
        host, port = self._host_and_port(self._required("host", given), given.get("port"))
        user = self._required("user", given)
        target: dict[str, Any] = {"host": host, "port": port, "user": user}
        if not self._plaintext:
            target[tls] = self._encrypted(host, given, tls)
        source = self._source
        if isinstance(source, TokenProvider):
            return target, source
        if re.search(r"\.dsql(-[^.]*)?\.[^.]+\.on\.aws\.?$", host.lower()):
            return target, dsql_token(source, host, admin=user == "admin", region=self._region)
        return target, rds_token(source, host, port, user, self._region)

    def _required(self, name: str, given: Mapping[str, Any]) -> str:
        variable, found = VARIABLES[name], given.get(name)
        if name == "host" and isinstance(found, list | tuple):
            found = _joined(cast("object", found))
        if not isinstance(found, str | None):
            raise InvalidConfiguration(f"{self._name}: {name} is {type(found).__name__}: pass {name}= as a str")
        value = found or os.environ.get(variable)
        if not value:
            raise InvalidConfiguration(
                f"{self._name}: no {name}, for which the token is made: pass {name}=, name it in the connection"
                f" string, or set {variable}"
            )
        if name == "host" and "," in value:
            raise InvalidConfiguration(
                f"{self._name}: several hosts ({value}), but a token is good for one: give one, such as the"
                " cluster's endpoint"
            )
        return value

    def _host_and_port(self, host: str, port: Any) -> tuple[str, int]:
        """Return both, where the host's name may end in a port."""
        found = re.fullmatch(r"([^:]+|\[[^\]]+\]):(\d+)", host)
        text = _joined(port) or (found[2] if found else os.environ.get(VARIABLES["port"])) or PORT
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise InvalidConfiguration(
                f"{self._name}: {text!r} is no port: pass port=, or set {VARIABLES['port']}, to the number of one"
            )
        return (found[1] if found else host).strip("[]"), int(text)

    def _encrypted(self, host: str, given: Mapping[str, Any], tls: str) -> Any:
        """Return the argument about TLS, if it makes sure of that.

        Raises:
            InvalidConfiguration: it does not.
        """
        if host.startswith(("/", "@")):
            raise without_tls(self._name, tls, f"host={host!r} is a Unix socket, which has no TLS")
        for name in (tls, "sslmode"):  # the second may be in asyncpg's DSN
            if (found := given.get(name)) is not None:
                where = f"{name}={found!r}"
                break
        else:
            name = VARIABLES["sslmode"]
            found = os.environ.get(name)
            where = f"{name}={found}"
        if found is True or isinstance(found, ssl.SSLContext) or found in ENCRYPTED:
            return found
        nothing = found is None or found == ""
        raise without_tls(self._name, tls, f"no {tls}= is given" if nothing else f"{where} does not insist on TLS")


def _default_tls() -> ssl.SSLContext:
    """Return what asyncpg makes of ``ssl=True``, but on the loop: the system's authorities take 30 ms to read."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    return context


def _of_url(dsn: object) -> dict[str, Any]:
    """Return the parts of a URL that say where to log in, as asyncpg reads it.

    Raises:
        InvalidConfiguration: it is none. The message leaves it out: it may hold a password.
    """
    if not isinstance(dsn, str | None):
        raise InvalidConfiguration(f"asyncpg_connector: dsn is {type(dsn).__name__}: pass dsn= as a str")
    try:
        parts = urlsplit(dsn or "")
    except ValueError:
        parts = None
    if parts is None:
        raise InvalidConfiguration(
            "asyncpg_connector: dsn is no URL: pass one such as 'postgresql://app@host/books'"
        )
    login, at, hosts = parts.netloc.partition("@")
    found = {"host": unquote(hosts if at else login), "user": unquote(login.partition(":")[0]) if at else ""}
    query = {name: value for name, value in parse_qsl(parts.query) if name in VARIABLES}
    return {**query, **{name: value for name, value in found.items() if value}}


def _joined(value: Any) -> str:
    """Return an argument as text; asyncpg takes lists of hosts and ports, too."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType] - of the client's user
    return str(value or "")
