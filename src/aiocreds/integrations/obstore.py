"""obstore: a store signs with a provider's current credentials.

::

    from obstore.store import S3Store

    credentials = obstore_credentials(default_chain())
    store = S3Store("my-bucket", region="eu-central-1", credential_provider=credentials)
    await store.put_async("hello.txt", b"hello")

Install with ``pip install 'aiocreds[obstore]'``.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NotRequired, TypedDict

from aiocreds._core.decorator import as_provider
from aiocreds.integrations import _background
from aiocreds.integrations._extras import renamed, require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

require("obstore", "obstore")

# A store asks again once less than five minutes are left, at most every 0.1 s; past the expiration, before every
# request, one request at a time. So it gets no longer lifetime than this, and asks once a minute, ...
LONGEST = 360.0  # seconds
# ... and no less than this: a provider may serve credentials past their expiration.
SHORTEST = 5.0  # seconds


class S3Credential(TypedDict):
    """The credentials that a store takes; obstore has its own type of this name, for type checkers only."""

    access_key_id: str
    secret_access_key: str
    token: NotRequired[str | None]
    expires_at: datetime | None


def obstore_credentials(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], Coroutine[Any, Any, S3Credential]]:
    """Make a ``credential_provider=`` for ``obstore.store.S3Store`` out of ``provider``.

    The store asks it about once a minute, and is answered from memory: so a store may live for days, and follows
    refreshes and ``invalidate`` within a minute. Only keys that never expire are asked for just once. Several
    stores, on several loops, may share one.

    It serves obstore's asynchronous methods (``get_async``, ``put_async``, ``async for … in store.list()``), on
    the loop that calls them. For the synchronous ones, take :func:`sync_obstore_credentials`: with this one they
    raise ``RuntimeError: no running event loop``.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``. What it raises, the store raises
            as ``obstore.exceptions.UnauthenticatedError``, with the message in it.

    Returns:
        A coroutine function without arguments.
    """
    return functools.partial(_current, as_provider(provider, taker="obstore_credentials()"))


def sync_obstore_credentials(
    provider: Provider | Callable[[], Awaitable[Credentials]],
) -> Callable[[], S3Credential]:
    """Make one for programs that call obstore's synchronous methods (``get``, ``put``), or both kinds.

    Refreshes run on one loop in the background, as in :mod:`aiocreds.integrations.boto3`; credentials that are
    held cost no change of threads. A source that is bound to your own loop (an HTTP client made there, say) needs
    :func:`obstore_credentials`.

    Args:
        provider: where credentials come from; errors as above.

    Returns:
        A function without arguments, for any thread.
    """
    return functools.partial(_current_in_any_thread, as_provider(provider, taker="sync_obstore_credentials()"))


async def _current(provider: Provider) -> S3Credential:
    return _as_s3_credential(await provider(), provider)


def _current_in_any_thread(provider: Provider) -> S3Credential:
    return _as_s3_credential(_background.current(provider), provider)


def _as_s3_credential(credentials: Credentials, provider: Provider) -> S3Credential:
    left = provider.status.seconds_left  # by the services' clock, and as expire_after() counts it
    remaining = None if left is None else timedelta(seconds=min(max(left, SHORTEST), LONGEST))
    return {
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key,
        "token": credentials.session_token,
        "expires_at": None if remaining is None else datetime.now(UTC) + remaining,
    }


if not TYPE_CHECKING:  # the old names, for one release; type checkers report them
    __getattr__ = renamed(
        __name__,
        {"credential_provider": obstore_credentials, "sync_credential_provider": sync_obstore_credentials},
    )
