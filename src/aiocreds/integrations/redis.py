"""redis-py, valkey-py and coredis: connections log in to ElastiCache and MemoryDB with tokens.

::

    token = elasticache_token(default_chain(), "sessions", user="app", region="eu-central-1")
    client = redis.asyncio.Redis(host=…, ssl=True, credential_provider=redis_credentials(token))

The same goes for ``RedisCluster`` and for the clients without asyncio; valkey-py takes :func:`valkey_credentials`,
coredis :func:`coredis_credentials`. Install with ``pip install 'aiocreds[redis]'``, ``'aiocreds[valkey]'`` or
``'aiocreds[coredis]'``.
"""

from __future__ import annotations

import inspect
import logging
import re
import weakref
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from aiocreds._base import threads
from aiocreds._base.time import seconds
from aiocreds.errors import CredentialsError, InvalidConfiguration
from aiocreds.integrations import _background
from aiocreds.integrations._extras import require
from aiocreds.tokens import check_token

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import timedelta
    from types import MethodType

    from aiocreds.tokens import Token, TokenProvider

__all__ = ["coredis_credentials", "redis_credentials", "valkey_credentials"]

logger = logging.getLogger("aiocreds.redis")

MAKERS = ("elasticache_token", "memorydb_token")
LONGEST = 12 * 3600.0  # seconds, after which the services close a connection that has not logged in again
RETRY = 60.0  # seconds


def redis_credentials(token: TokenProvider, *, reauthenticate_every: float | timedelta | None = None) -> Any:
    """Make a ``credential_provider=`` for the clients of redis-py, with asyncio and without, and of clusters.

    Each login gets a token of its own. Clients with asyncio await it. The others take credentials in memory, and
    wait for a refresh, which runs on a loop in the background, only where the provider has its callers wait.

    Give the client ``ssl=True``: redis-py does not say here whether a connection has TLS, and who reads a token on
    its way can log in with it for 15 minutes.

    The services close a connection 12 hours after its last login. redis-py notices that at the next use of an idle
    connection and opens another, and makes a command once more that was waiting. Subscriptions are renewed, but
    what was published meanwhile is lost. ``reauthenticate_every`` has clients without asyncio log their connections
    in again before that, but for those of subscriptions. Their pool must not be a ``BlockingConnectionPool``. With
    asyncio, redis-py would do that while other tasks use the connections, which then get each other's answers.

    Args:
        token: from :func:`~aiocreds.tokens.elasticache_token` or :func:`~aiocreds.tokens.memorydb_token`.
        reauthenticate_every: seconds, or a ``timedelta``, below 12 hours; 6 hours suit. Make one of these for each
            client then, and pass it to the client itself, with its pool if that is your own. Not with asyncio.

    Returns:
        A ``redis.CredentialProvider``. Where there are no credentials, a login raises
        ``redis.exceptions.AuthenticationError`` with our error as its cause; a client with asyncio raises it where
        ``reauthenticate_every`` is given.

    Raises:
        ValueError: ``reauthenticate_every`` is not between 0 and 12 hours.
        InvalidConfiguration: out of the constructor of a client with asyncio: it has ``reauthenticate_every``. The
            first call of a cluster's client says so in its own error.
        ModuleNotFoundError: redis-py is not installed.
        TypeError: ``token`` is none, or for another service.

    See https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
    """
    check_token(token, taker="redis_credentials()", names=MAKERS)
    require("redis", "redis")
    error: type[Exception] = import_module("redis.exceptions").AuthenticationError
    if reauthenticate_every is None:
        return _Login(token, error)
    period = seconds(reauthenticate_every, "reauthenticate_every")
    if not 0 < period < LONGEST:
        raise ValueError("reauthenticate_every must be more than 0 s and less than 12 hours")
    import_module("redis.credentials").StreamingCredentialProvider.register(_RepeatedLogin)
    return _RepeatedLogin(token, error, period)


def valkey_credentials(token: TokenProvider) -> Any:
    """Make a ``credential_provider=`` for the clients of valkey-py, with asyncio and without, and of clusters.

    valkey-py awaits no credentials: with asyncio, enter the provider (``async with provider:``) before the first
    connection, so that some are in memory. It has no hook to log in again. A connection that the service has closed
    after 12 hours is replaced at its next use. Give the client ``ssl=True``: as with :func:`redis_credentials`, a
    connection without TLS is not noticed here.

    Args:
        token: from :func:`~aiocreds.tokens.elasticache_token` or :func:`~aiocreds.tokens.memorydb_token`.

    Returns:
        A ``valkey.CredentialProvider``. Where there are no credentials, a login raises
        ``valkey.exceptions.AuthenticationError`` with our error as its cause.

    Raises:
        ModuleNotFoundError: valkey-py is not installed.
    """
    check_token(token, taker="valkey_credentials()", names=MAKERS)
    require("valkey", "valkey")
    return _Login(token, import_module("valkey.exceptions").AuthenticationError)


def coredis_credentials(token: TokenProvider) -> Any:
    """Make a ``credential_provider=`` for the clients of coredis, also of clusters.

    Each login awaits a token of its own. coredis has no hook to log in again. A connection that the service has
    closed after 12 hours is replaced at its next use. Give the client ``ssl=True``: as with
    :func:`redis_credentials`, a connection without TLS is not noticed here.

    Args:
        token: from :func:`~aiocreds.tokens.elasticache_token` or :func:`~aiocreds.tokens.memorydb_token`.

    Returns:
        A ``coredis.credentials.AbstractCredentialProvider``. Where there are no credentials, a login raises
        ``coredis.exceptions.AuthenticationError`` with our error as its cause.

    Raises:
        ModuleNotFoundError: coredis is not installed.
    """
    check_token(token, taker="coredis_credentials()", names=MAKERS)
    require("coredis", "coredis")
    import_module("coredis.credentials").AbstractCredentialProvider.register(_CoredisLogin)
    return _CoredisLogin(token, import_module("coredis.exceptions").AuthenticationError)


class _UserAndPassword(NamedTuple):
    username: str
    password: str


class _Login:
    """User name and password of a login.

    Both libraries leave a connection open, in the pool and not logged in, when anything but an error of theirs is
    raised while it is made.
    """

    def __init__(self, token: TokenProvider, error: type[Exception]) -> None:
        self._token = token
        self._error = error

    def __repr__(self) -> str:
        return f"<credentials of {self._token!r}>"

    def get_credentials(self) -> _UserAndPassword:
        return self.now()

    async def get_credentials_async(self) -> _UserAndPassword:
        try:
            return _user_and_password(await self._token())
        except CredentialsError as error:
            raise self._error(str(error)) from error

    def now(self) -> _UserAndPassword:
        """Return them without awaiting: where a loop runs, from memory alone, since waiting would block that."""
        try:
            token = _background.current(self._token) if threads.loop_here() is None else self._token.held()
        except CredentialsError as error:
            raise self._error(str(error)) from error
        return _user_and_password(token)


class _CoredisLogin:
    """What coredis awaits by the name that the other libraries call."""

    def __init__(self, token: TokenProvider, error: type[Exception]) -> None:
        self._login = _Login(token, error)

    def __repr__(self) -> str:
        return repr(self._login)

    async def get_credentials(self) -> _UserAndPassword:
        return await self._login.get_credentials_async()


class _RepeatedLogin(_Login):
    """Has redis-py log its connections in again, by what it registers: a ``StreamingCredentialProvider``."""

    def __init__(self, token: TokenProvider, error: type[Exception], period: float) -> None:
        super().__init__(token, error)
        self._period = period
        self._callbacks: list[weakref.WeakMethod[MethodType]] = []  # of clients, which may be dropped
        self._loop: asyncio.AbstractEventLoop | None = None

    def on_next(self, callback: MethodType) -> None:
        if inspect.iscoroutinefunction(callback):
            raise InvalidConfiguration(
                "redis_credentials(): with asyncio, redis-py logs connections in again while other tasks use them:"
                " leave reauthenticate_every out. A connection that the service closes is replaced",
                provider=self._token.provider.name,
            )
        if isinstance(callback.__self__, import_module("redis.event").RegisterReAuthForPubSub):
            return  # it would read what is published, in the place of the subscriber
        known = weakref.WeakMethod(callback, self._callbacks.remove)
        if known not in self._callbacks:
            self._callbacks.append(known)

    def on_error(self, callback: Callable[[Exception], Any]) -> None:
        """Take no notice: a failure is logged, and tried again."""

    def is_streaming(self) -> bool:
        return True

    def get_credentials(self) -> _UserAndPassword:
        loop = _background.event_loop()
        if loop is not None and loop is not self._loop:  # the first time, and in a forked child
            self._loop = loop
            known: weakref.ref[_RepeatedLogin] = weakref.ref(self)
            loop.call_soon_threadsafe(_later, loop, self._period, known)
        return super().get_credentials()

    async def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have all clients log in again, and count anew, unless another loop does that by now."""
        done = True
        for callback in [found for known in list(self._callbacks) if (found := known()) is not None]:
            try:
                await threads.submit_long(callback, _TokenOfRedis(self))
            except Exception as error:  # noqa: BLE001 - of the library, the network, or ours
                logger.warning("could not log in again, will try in %g s: %s", RETRY, type(error).__name__)
                done = False
        if self._loop is loop:
            _later(loop, self._period if done else min(RETRY, self._period), weakref.ref(self))


class _TokenOfRedis:
    """A ``redis.auth.token.TokenInterface``, as far as redis-py uses it to log in.

    The token is made when it is sent: a connection in use logs in when it is given back, which may be long after.
    """

    def __init__(self, login: _Login) -> None:
        self._login = login

    def try_get(self, _: str) -> str:
        """Return the user, whatever claim redis-py takes it from."""
        return self._login.now()[0]

    def get_value(self) -> str:
        return self._login.now()[1]


def _later(loop: asyncio.AbstractEventLoop, delay: float, known: weakref.ref[_RepeatedLogin]) -> None:
    loop.call_later(delay, _begin, loop, known)


def _begin(loop: asyncio.AbstractEventLoop, known: weakref.ref[_RepeatedLogin]) -> None:
    login = known()
    if login is not None:  # else the client is gone
        task = loop.create_task(login.run(loop))
        tasks = threads.belongings(loop)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _user_and_password(token: Token) -> _UserAndPassword:
    """Return the user, whom the token names, and the token."""
    found = re.search(r"[?&]User=([^&]+)", token)
    return _UserAndPassword(unquote(found[1]) if found else "default", token)
