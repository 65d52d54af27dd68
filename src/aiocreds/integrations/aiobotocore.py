"""aiobotocore: every client of a session signs with a provider's current credentials.

::

    from aiobotocore.session import get_session

    session = attach(get_session(), default_chain())
    async with session.create_client("s3", region_name="eu-central-1") as s3:
        await s3.list_buckets()

Install with ``pip install aiocreds[aiobotocore]``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiocreds.credentials import Credentials
    from aiocreds.provider import Provider

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"}
SIGNED_WITH = "aiocreds_access_key_id"
SIGNER = re.compile(r"AWS4-\S+ Credential=([^/]+)/|AWS ([^:]+):")  # the second is what S3 had before SigV4


class _Session(Protocol):
    def register_component(self, name: str, component: Any) -> None: ...
    def register(self, event_name: str, handler: Any) -> None: ...


S = TypeVar("S", bound=_Session)


def attach(session: S, provider: Provider) -> S:
    """Make all clients that are created from ``session`` from now on use ``provider``.

    Each request is signed with what the provider gives at that moment, so a client may live for days. When a
    service answers ``ExpiredToken``, ``ExpiredTokenException``, ``RequestExpired`` or ``InvalidToken``, the
    credentials that signed that request are invalidated, and no others.

    Args:
        session: an ``aiobotocore.session.AioSession`` from which no client has been created yet.
        provider: where credentials come from.

    Returns:
        The same session.
    """
    session.register_component("credential_provider", _Resolver(provider))
    session.register("request-created", _note_signer)
    session.register("response-received", _Rejections(provider).note)
    return session


class _Frozen(NamedTuple):
    """What a botocore signer reads."""

    access_key: str
    secret_key: str
    token: str | None
    account_id: str | None

    def __repr__(self) -> str:
        return "_Frozen()"


class _Resolver:
    """Stands where a session looks for its credentials."""

    def __init__(self, provider: Provider) -> None:
        self._credentials = _SessionCredentials(provider)

    async def load_credentials(self) -> _SessionCredentials:
        return self._credentials


class _SessionCredentials:
    """Stands where a client, or who asks the session itself, looks for credentials.

    Has what aiobotocore's own refreshable credentials have. Their attributes (``access_key`` and so on) raise,
    since an attribute cannot wait for a refresh; so do these.
    """

    method = "aiocreds"

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def get_frozen_credentials(self) -> _Frozen:
        current: Credentials = await self._provider()
        return _Frozen(current.access_key_id, current.secret_access_key, current.session_token, current.account_id)

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


class _Rejections:
    """Takes note when a service rejects the credentials of a request."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def note(
        self, parsed_response: Mapping[str, Any] | None, context: Mapping[str, Any], **_: object
    ) -> None:
        error: Mapping[str, Any] = (parsed_response or {}).get("Error") or {}
        access_key_id = context.get(SIGNED_WITH)
        if access_key_id and error.get("Code") in EXPIRED:
            self._provider.invalidate(access_key_id)


async def _note_signer(request: Any, **_: object) -> None:
    """After signing, at each attempt: keep the access key id where the handler of the answer finds it."""
    authorization = request.headers.get("Authorization", "")
    if isinstance(authorization, bytes):
        authorization = authorization.decode("latin-1")
    signer = SIGNER.match(authorization)
    request.context[SIGNED_WITH] = signer and (signer[1] or signer[2])
