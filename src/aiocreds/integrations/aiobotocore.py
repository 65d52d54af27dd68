"""aiobotocore: every client of a session signs with a provider's current credentials.

::

    from aiobotocore.session import get_session

    session = attach(get_session(), default_chain())
    async with session.create_client("s3", region_name="eu-central-1") as s3:
        await s3.list_buckets()

Install with ``pip install 'aiocreds[aiobotocore]'``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from aiocreds._core.decorator import as_provider
from aiocreds.integrations import _botocore
from aiocreds.integrations._botocore import Frozen
from aiocreds.integrations._extras import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials


require("aiobotocore", "aiobotocore")

S = TypeVar("S", bound=_botocore.Session)


def attach(session: S, provider: Provider | Callable[[], Awaitable[Credentials]]) -> S:
    """Make all clients that are created from ``session`` from now on use ``provider``.

    Each request is signed with what the provider gives at that moment, so a client may live for days. When a
    service answers ``ExpiredToken``, ``ExpiredTokenException``, ``RequestExpired`` or ``InvalidToken``, the
    credentials that signed that request are invalidated, and no others.

    The session goes to workers of Dask, Ray and ``multiprocessing``, pickled, if the provider does. Its region,
    profile and other variables and the default configuration of its clients go along; handlers that the program has
    registered do not.

    Args:
        session: an ``aiobotocore.session.AioSession`` from which no client has been created yet.
        provider: where credentials come from; or any ``async () -> Credentials``, of which a provider is made.

    Returns:
        The same session. What is built on aiobotocore takes it too:
        ``aioboto3.Session(botocore_session=session)``, ``s3fs.S3FileSystem(session=session)``.

    Raises:
        ValueError: the session has credentials already.
        TypeError: it is another kind of session, or ``provider`` is neither.
    """
    if not inspect.iscoroutinefunction(getattr(session, "get_credentials", None)):
        raise TypeError(
            f"attach() takes an aiobotocore.session.AioSession, not {type(session).__qualname__}; aioboto3 takes "
            "one as botocore_session=, s3fs as session=; for boto3 there is aiocreds.integrations.boto3"
        )
    provider = as_provider(provider, taker="attach()")
    credentials = _SessionCredentials(provider)
    session.register_component("credential_provider", _Resolver(credentials))
    if _held_by(session) is not credentials:
        raise ValueError("this session has credentials already, and would go on with them: attach to a new one")
    _botocore.watch_rejections(session, provider)
    _botocore.make_picklable(session, provider, attach)
    return session


def _held_by(session: Any) -> object:
    """Return the credentials of a session; they are there without waiting."""
    step = session.get_credentials()
    try:
        step.send(None)
    except StopIteration as done:
        return done.value
    finally:
        step.close()
    return None


class _Resolver:
    """The credential resolver of a session."""

    def __init__(self, credentials: _SessionCredentials) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> _SessionCredentials:
        return self._credentials


class _SessionCredentials:
    """The credentials object of a session and its clients.

    Has what aiobotocore's own refreshable credentials have. Their attributes (``access_key`` and so on) raise,
    since an attribute cannot wait for a refresh; so do these.
    """

    method = "aiocreds"

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def get_frozen_credentials(self) -> Frozen:
        return Frozen.of(await self._provider())

    async def get_access_key(self) -> str:
        return (await self._provider()).access_key_id

    async def get_secret_key(self) -> str:
        return (await self._provider()).secret_access_key

    async def get_token(self) -> str | None:
        return (await self._provider()).session_token

    async def get_account_id(self) -> str | None:
        return (await self._provider()).account_id

    def get_deferred_property(self, property_name: str) -> Callable[[], Awaitable[str | None]]:
        getters: dict[str, Callable[[], Awaitable[str | None]]] = {
            "access_key": self.get_access_key,
            "secret_key": self.get_secret_key,
            "token": self.get_token,
            "account_id": self.get_account_id,
        }
        return getters[property_name]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no {name!r} here: await get_frozen_credentials(), and read it there")
