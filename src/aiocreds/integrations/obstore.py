"""obstore: stores sign with a provider's current credentials.

::

    from obstore.store import S3Store

    store = S3Store("my-bucket", region="eu-central-1", credential_provider=obstore_credentials(default_chain()))
    await store.put_async("hello.txt", b"hello")

Install with ``pip install 'aiocreds[obstore]'``.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NotRequired, TypedDict

from aiocreds._core.provider import provided_by
from aiocreds.integrations import _background
from aiocreds.integrations._extras import require, warn_renamed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

require("obstore", "obstore")

# A store asks again once less than five minutes are left, at most every 0.1 s; past the expiration, before every
# request, one request at a time. With at most LONGEST left, it asks once a minute; with at least SHORTEST, it also
# takes what a provider serves past its expiration.
LONGEST, SHORTEST = 360.0, 5.0  # seconds


class S3Credential(TypedDict):
    """The answer that a store takes; obstore's own type of this name is for type checkers only."""

    access_key_id: str
    secret_access_key: str
    token: NotRequired[str | None]
    expires_at: datetime | None


def obstore_credentials(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], Coroutine[Any, Any, S3Credential]]:
    """Return the ``credential_provider=`` for an ``obstore.store.S3Store``.

    The store asks it about once a minute, and is answered from memory: a store may live for days, and follows
    refreshes and ``invalidate`` within a minute. Keys that never expire are asked for once. Several stores, on
    several loops, may share one.

    It serves obstore's asynchronous methods (``get_async``, ``put_async``, ``async for … in store.list()``), on
    the loop that calls them. For the synchronous ones, take :func:`sync_obstore_credentials`: with this one they
    raise ``RuntimeError: no running event loop``.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``. What it raises, the store raises
            as ``obstore.exceptions.UnauthenticatedError``, with the message in it.

    Returns:
        A coroutine function without arguments.
    """
    return functools.partial(_current, provided_by(provider, taker="obstore_credentials()"))


def sync_obstore_credentials(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], S3Credential]:
    """Return the same for programs that call obstore's synchronous methods (``get``, ``put``), or both kinds.

    Refreshes run on one loop in the background, as in :mod:`aiocreds.integrations.boto3`; credentials that are
    held cost no change of threads. A source that is bound to your own loop (an HTTP client made there, say) needs
    :func:`obstore_credentials`.

    Args:
        provider: where credentials come from; errors as above.

    Returns:
        A function without arguments, for any thread.
    """
    return functools.partial(_current_in_any_thread, provided_by(provider, taker="sync_obstore_credentials()"))


def credential_provider(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], Coroutine[Any, Any, S3Credential]]:
    """Return :func:`obstore_credentials`; its deprecated name."""
    warn_renamed(__name__, "credential_provider", "obstore_credentials")
    return obstore_credentials(provider)


def sync_credential_provider(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], S3Credential]:
    """Return :func:`sync_obstore_credentials`; its deprecated name."""
    warn_renamed(__name__, "sync_credential_provider", "sync_obstore_credentials")
    return sync_obstore_credentials(provider)


async def _current(provider: Provider) -> S3Credential:
    return _to_obstore(await provider(), provider)


def _current_in_any_thread(provider: Provider) -> S3Credential:
    return _to_obstore(_background.current(provider), provider)


def _to_obstore(credentials: Credentials, provider: Provider) -> S3Credential:
    left = provider.status.seconds_left  # by the services' clock, and as expire_after() counts it
    stated = None if left is None else timedelta(seconds=min(max(left, SHORTEST), LONGEST))
    return {
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key,
        "token": credentials.session_token,
        "expires_at": None if stated is None else datetime.now(UTC) + stated,
    }
