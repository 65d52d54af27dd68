"""Credentials from an Amazon Cognito identity pool."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, TypeVar

from aiocreds.aws import cognito
from aiocreds.aws.client import ClientConfig, ServiceClient, region_for, surroundings
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import CredentialsError, InvalidConfiguration
from aiocreds.provider import credential_provider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiocreds.credentials import Credentials

    Logins = Mapping[str, str | Callable[[], Awaitable[str]]]

T = TypeVar("T")
logger = logging.getLogger("aiocreds.sources.cognito")

GUEST = "ANONYMOUS"


class IdentityCache(Protocol):
    """Where identity ids are kept, so that a guest is the same one next time."""

    async def get(self, key: str) -> str | None:
        """The id, or None."""
        ...

    async def put(self, key: str, value: str) -> object:
        """Keep an id."""
        ...

    async def delete(self, key: str) -> object:
        """Forget an id; no matter if there is none."""
        ...


class MemoryCache:
    """Identity ids for as long as the process lives."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        """The id, or None."""
        return self._ids.get(key)

    async def put(self, key: str, value: str) -> None:
        """Keep an id."""
        self._ids[key] = value

    async def delete(self, key: str) -> None:
        """Forget an id."""
        self._ids.pop(key, None)


SHARED = MemoryCache()


@credential_provider
async def from_cognito_identity(
    *,
    identity_id: str,
    logins: Logins | None = None,
    custom_role_arn: str | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Credentials of one identity of a Cognito identity pool, from GetCredentialsForIdentity.

    ::

        provider = from_cognito_identity(
            identity_id="eu-central-1:128d0a74-c82f-4553-916d-90053example",
            logins={"accounts.google.com": google_id_token},  # async () -> str
        )

    Args:
        identity_id: the identity, which begins with its region.
        logins: a token by the name of its login provider, such as ``"graph.facebook.com"``,
            ``"accounts.google.com"`` or ``"cognito-idp.<region>.amazonaws.com/<user pool>"``: a ``str``, or an
            ``async () -> str`` that is asked at each fetch. None for a guest.
        custom_role_arn: the role to assume, where the token allows several.
        client: endpoint, time-outs and attempts of the call. The region is by default the identity's.
        context: the environment, the clock and the HTTP session.

    Raises:
        InvalidConfiguration: a login gives no token, or the endpoint's settings contradict.
        ServiceRefused: Cognito answered no; ``.code`` tells why.
        SourceUnavailable: Cognito did not answer.
        CredentialsError: a login's function raised something; the error's ``__cause__`` holds it.

    The credentials tell their ``identity_id``.

    See https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/API_GetCredentialsForIdentity.html
    """
    service = await _service(identity_id, client, context)
    return await cognito.get_credentials(
        service, identity_id=identity_id, logins=await _tokens(logins), custom_role_arn=custom_role_arn
    )


@credential_provider
async def from_cognito_identity_pool(
    *,
    identity_pool_id: str,
    account_id: str | None = None,
    cache: IdentityCache | None = None,
    user_identifier: str | None = None,
    logins: Logins | None = None,
    custom_role_arn: str | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Credentials of an identity of a Cognito identity pool: that of the logins, else of a guest.

    ::

        provider = from_cognito_identity_pool(identity_pool_id="eu-central-1:1699ebc0-7900-4099-b910-2df94f52a030")

    GetId finds or makes the identity, and GetCredentialsForIdentity gives its credentials. The id of a guest, and
    of whoever has a ``user_identifier``, is kept in ``cache`` and used again; when a fetch fails it is forgotten.

    Args:
        identity_pool_id: the pool, which begins with its region.
        account_id: the account that owns the pool.
        cache: three coroutines, ``get(key) -> str | None``, ``put(key, value)`` and ``delete(key)``; by default
            the memory of this process, shared by all pools. What it raises is logged and otherwise ignored.
        user_identifier: whose id it is in the cache, for a user with logins.
        logins: see :func:`from_cognito_identity`.
        custom_role_arn: the role to assume, where the token allows several.
        client: endpoint, time-outs and attempts of the calls. The region is by default the pool's.
        context: the environment, the clock and the HTTP session.

    Raises:
        InvalidConfiguration: a login gives no token, or the endpoint's settings contradict.
        ServiceRefused: Cognito answered no; ``.code`` tells why.
        SourceUnavailable: Cognito did not answer.
        CredentialsError: a login's function raised something; the error's ``__cause__`` holds it.

    The credentials tell their ``identity_id``.

    See https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/API_GetId.html
    """
    service = await _service(identity_pool_id, client, context)
    tokens = await _tokens(logins)
    ids = _Ids(SHARED if cache is None else cache, identity_pool_id, user_identifier or ("" if tokens else GUEST))
    try:
        identity_id = await ids.get()
        if identity_id is None:
            identity_id = await cognito.get_id(
                service, identity_pool_id=identity_pool_id, account_id=account_id, logins=tokens
            )
            await ids.put(identity_id)
        return await cognito.get_credentials(
            service, identity_id=identity_id, logins=tokens, custom_role_arn=custom_role_arn
        )
    except CredentialsError:
        await ids.forget()
        raise


class _Ids:
    """The cache as one user sees it. Its troubles are its own: an id can be had again."""

    def __init__(self, cache: IdentityCache, identity_pool_id: str, user: str) -> None:
        self._cache = cache if user else None
        self._key = f"aws:cognito-identity-credentials:{identity_pool_id}:{user}"

    async def get(self) -> str | None:
        return None if self._cache is None else await self._quietly(self._cache.get(self._key))

    async def put(self, identity_id: str) -> None:
        if self._cache is not None:
            await self._quietly(self._cache.put(self._key, identity_id))

    async def forget(self) -> None:
        if self._cache is not None:
            await self._quietly(self._cache.delete(self._key))

    async def _quietly(self, doing: Awaitable[T]) -> T | None:
        try:
            return await doing
        except Exception as error:  # noqa: BLE001 - somebody else's code
            logger.warning("The cache of identity ids raised %s: going on without it", type(error).__name__)
            return None


async def _service(identity: str, client: ClientConfig | None, context: Context) -> ServiceClient:
    around, client = await surroundings(context), client or ClientConfig()
    region, colon, _ = identity.partition(":")
    if client.region or not colon:
        region = region_for(client, around)
    return ServiceClient("cognito-identity", client, around, region)


async def _tokens(logins: Logins | None) -> dict[str, str]:
    tokens: dict[str, str] = {}
    for name, token in (logins or {}).items():
        text = token if isinstance(token, str) else await token()
        if not text or not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's own
            raise InvalidConfiguration(f"the login for {name} gave no token, but {type(text).__name__}: give a str")
        tokens[name] = text
    return tokens
