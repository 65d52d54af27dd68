"""opensearch-py: requests to Amazon OpenSearch Service, signed with a provider's current credentials.

::

    client = AsyncOpenSearch(
        hosts=["https://search-books-abc.eu-central-1.es.amazonaws.com:443"],
        connection_class=opensearch_connection(default_chain(), region="eu-central-1"),
    )
    async with client:
        print(await client.search(index="books", body={"query": {"match": {"title": "asyncio"}}}))

Install with ``pip install 'aiocreds[opensearch]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiocreds.errors import CredentialsError, InvalidConfiguration
from aiocreds.integrations._extras import require
from aiocreds.integrations.aiohttp import SigV4Auth

require("opensearchpy", "opensearch")
opensearchpy: Any = import_module("opensearchpy")  # without it the types are checked alike
Connection: Any = opensearchpy.AIOHttpConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

    from aiocreds._core.context import Context
    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

__all__ = ["opensearch_connection"]


def opensearch_connection(
    provider: Provider | Callable[[], Awaitable[Credentials]],
    *,
    region: str,
    service: str = "es",
    context: Context | None = None,
) -> type[Any]:
    """Make a ``connection_class=`` for ``opensearchpy.AsyncOpenSearch`` that signs (Signature Version 4).

    It signs what goes on the wire: each attempt of a retry, sniffing, scrolling, and bodies after
    ``http_compress``. The rest is as for :class:`aiocreds.integrations.aiohttp.SigV4Auth`: credentials that the
    service calls expired are invalidated, and the request is sent once more with others. Unlike
    ``http_auth=AWSV4SignerAsyncAuth(…)`` it needs no botocore and never blocks the loop.

    Args:
        provider: where credentials come from, at each request; or any ``async () -> Credentials``.
        region: the region of the domain or collection.
        service: ``"es"`` for domains, ``"aoss"`` for OpenSearch Serverless.
        context: whose clock tells the time; by default the provider's.

    Returns:
        A subclass of ``opensearchpy.AIOHttpConnection``, the class that a client has by default.

    Raises:
        CredentialsError: out of a call of the client, when there are no credentials. The call is not retried.
        InvalidConfiguration: out of its first call, when the client or a host has a password, too.
            Out of the constructor of a client without asyncio.

    See https://docs.aws.amazon.com/opensearch-service/latest/developerguide/request-signing.html
    """
    auth = SigV4Auth(provider, service=service, region=region, context=context)

    class SigningConnection(Connection):  # type: ignore[misc]  # of type Any
        """A connection whose requests are signed."""

        def __init__(self, *args: Any, **options: Any) -> None:
            if options.pop("http_auth", None) is not None:  # no local variable here holds a password
                raise InvalidConfiguration(
                    "the client has http_auth=, or a host with a user, besides a connection class that signs:"
                    " leave the password out, or take the connection class away"
                )
            if "metrics" in options and options.get("loop") is None:  # clients with asyncio pass both
                raise InvalidConfiguration(
                    "opensearch_connection() is for clients with asyncio: make an opensearchpy.AsyncOpenSearch"
                )
            self._session: _SigningSession | None = None
            Connection.__init__(self, *args, **options)

        # opensearch-py opens its session by itself, and sends by nothing but `self.session.request(…)`.
        @property
        def session(self) -> Any:
            return self._session

        @session.setter
        def session(self, session: aiohttp.ClientSession | None) -> None:
            self._session = None if session is None else _SigningSession(session, auth)

        async def perform_request(self, *args: Any, **options: Any) -> Any:
            try:
                return await Connection.perform_request(self, *args, **options)
            except opensearchpy.ConnectionError as error:
                if isinstance(error.info, CredentialsError):
                    raise error.info from None  # no other node would help
                raise

    return SigningConnection


class _SigningSession:
    """A session, as far as a connection uses it, whose requests are signed."""

    def __init__(self, session: aiohttp.ClientSession, auth: SigV4Auth) -> None:
        self._session = session
        self._auth = auth

    def request(self, method: str, url: Any, **options: Any) -> Any:
        return self._session.request(method, url, middlewares=(self._auth,), **options)

    async def close(self) -> None:
        await self._session.close()
