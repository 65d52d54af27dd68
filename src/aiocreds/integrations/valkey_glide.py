"""valkey-glide: connections log in to ElastiCache and MemoryDB with tokens that its clients sign.

::

    iam = IamAuthConfig(
        "sessions", ServiceType.ELASTICACHE, "eu-central-1", credential_provider=glide_credentials(default_chain())
    )
    login = ServerCredentials(username="app", iam_config=iam)
    client = await GlideClient.create(GlideClientConfiguration([NodeAddress(…)], use_tls=True, credentials=login))

Install with ``pip install 'aiocreds[valkey-glide]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiocreds._core.decorator import as_provider
from aiocreds.integrations._extras import require
from aiocreds.tokens import LIFETIME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

__all__ = ["glide_credentials"]


def glide_credentials(provider: Provider | Callable[[], Awaitable[Credentials]]) -> Callable[[], Awaitable[Any]]:
    """Make a ``credential_provider=`` for an ``IamAuthConfig`` of valkey-glide's clients with asyncio.

    The client makes a token every five minutes (``refresh_interval_seconds=``), and logs in with the last one. For
    each token it awaits this on its own event loop, for 9 seconds at most, and gets keys that live on for 15
    minutes, if the source has such. It makes no tokens for serverless caches, and its pools take no provider. A
    connection that the service has closed after 12 hours is replaced.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``. What it raises fails the token:
            valkey-glide logs that, and tries again.

    Returns:
        A coroutine function that returns ``glide.AwsCredentials``.

    Raises:
        ModuleNotFoundError: valkey-glide is not installed.

    See https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
    """
    require("glide", "valkey-glide")
    return _Glide(as_provider(provider, taker="glide_credentials()"), import_module("glide").AwsCredentials)


class _Glide:
    def __init__(self, provider: Provider, kind: Callable[[str, str, str | None], Any]) -> None:
        self._provider = provider
        self._kind = kind

    def __repr__(self) -> str:
        return f"glide_credentials({self._provider!r})"

    async def __call__(self) -> Any:
        # Without their expiration: the client asks for each token anyway, and a provider may serve them past it.
        found = await self._provider.get(min_ttl=LIFETIME)  # the client logs in with a token until the next one
        return self._kind(found.access_key_id, found.secret_access_key, found.session_token)
