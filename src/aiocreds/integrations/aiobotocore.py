"""aiobotocore: every client of a session signs with a provider's current credentials.

::

    from aiobotocore.session import get_session

    session = attach(get_session(), default_chain())
    async with session.create_client("s3", region_name="eu-central-1") as s3:
        await s3.list_buckets()

Install with ``pip install aiocreds[aiobotocore]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiocreds.credentials import Credentials
    from aiocreds.provider import Provider

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"}
SIGNED_WITH = "aiocreds_access_key_id"


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
    """Stands where a client looks for the credentials of its session."""

    method = "aiocreds"

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def get_frozen_credentials(self) -> _Frozen:
        current: Credentials = await self._provider()
        return _Frozen(current.access_key_id, current.secret_access_key, current.session_token, current.account_id)

    async def get_account_id(self) -> str | None:
        return (await self._provider()).account_id

    def get_deferred_property(self, name: str) -> Callable[[], Awaitable[str | None]]:
        return {"account_id": self.get_account_id}[name]


class _Rejections:
    """Takes note when a service rejects the credentials of a request."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def note(
        self, parsed_response: Mapping[str, Any] | None, context: Mapping[str, Any], **_: object
    ) -> None:
        code = ((parsed_response or {}).get("Error") or {}).get("Code")
        access_key_id = context.get(SIGNED_WITH)
        if code in EXPIRED and access_key_id:
            self._provider.invalidate(access_key_id)


async def _note_signer(request: Any, **_: object) -> None:
    """After signing: keep the access key id beside the request, where the answer's handler finds it."""
    authorization = request.headers.get("Authorization", "")
    if isinstance(authorization, bytes):
        authorization = authorization.decode("latin-1")
    _, found, credential = authorization.partition("Credential=")
    if found:
        request.context[SIGNED_WITH] = credential.partition("/")[0]
