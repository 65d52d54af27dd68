"""Get credentials from an Amazon Cognito identity pool."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from aiocreds._aws.client import ClientConfig, ServiceClient, config_scope, region_for
from aiocreds._aws.json_protocol import token_of
from aiocreds._base.json_credentials import text_of
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import credential_provider
from aiocreds.errors import InvalidConfiguration
from aiocreds.sources.cognito import api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._aws.json_protocol import Token
    from aiocreds._base.redaction import SecretStr
    from aiocreds.credentials import Credentials

    Logins = Mapping[str, Token]

logger = logging.getLogger("aiocreds.sources.cognito")

GUEST = "ANONYMOUS"


class IdentityCache(Protocol):
    """A store of identity ids, so that a guest is the same one next time."""

    async def get(self, key: str, /) -> str | None:
        """Return the id, or None."""
        ...

    async def put(self, key: str, value: str, /) -> object:
        """Keep an id."""
        ...

    async def delete(self, key: str, /) -> object:
        """Forget an id; no matter if there is none."""
        ...


class MemoryCache:
    """Identity ids for as long as the process lives."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        """Return the id, or None."""
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
    """Get the credentials of one identity of a Cognito identity pool, from GetCredentialsForIdentity.

    The call needs no other credentials; :class:`ClientConfig` says where it goes.

    ::

        async def google_id_token() -> str: ...

        provider = from_cognito_identity(
            identity_id="eu-central-1:128d0a74-c82f-4553-916d-90053example",
            logins={"accounts.google.com": google_id_token},
        )

    Args:
        identity_id: the identity, which begins with its region.
        logins: a token by the name of its login provider, such as ``"graph.facebook.com"``,
            ``"accounts.google.com"`` or ``"cognito-idp.<region>.amazonaws.com/<user pool>"``: a ``str``, or an
            ``async () -> str`` that is asked at each fetch. None for a guest.
        custom_role_arn: the role to assume, where the login's token allows several.
        client: region, endpoint, time-outs and middlewares of the call. The region is by default the one that
            ``identity_id`` begins with, whatever ``AWS_REGION`` says.
        context: the environment, the clock and the HTTP session.

    Raises:
        InvalidConfiguration: a login gives no token, or the endpoint's settings contradict.
        ServiceRefused: Cognito answered no; ``.code`` says why.
        SourceUnavailable: Cognito did not answer; or a login's function raised what is none of these errors, and
            the error's ``__cause__`` holds that.

    The credentials have their ``identity_id``.

    See https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/API_GetCredentialsForIdentity.html
    """
    service = await _service(identity_id, client, context)
    return await api.get_credentials(
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
    """Get the credentials of an identity of a Cognito identity pool: that of the logins, else of a guest.

    ::

        provider = from_cognito_identity_pool(identity_pool_id="eu-central-1:1699ebc0-7900-4099-b910-2df94f52a030")

    GetId finds or makes the identity, and GetCredentialsForIdentity gives its credentials. The id of a guest, and
    of a user with a ``user_identifier``, is kept in ``cache`` and used again; when a fetch fails it is forgotten,
    and the next one asks for it anew. Without logins the pool has to allow guests. The calls need no other
    credentials; :class:`ClientConfig` says where they go.

    Args:
        identity_pool_id: the pool, which begins with its region.
        account_id: the account that owns the pool, where Cognito requires it.
        cache: three coroutines, ``get(key) -> str | None``, ``put(key, value)`` and ``delete(key)``; by default
            the memory of this process, shared by all pools. What it raises is logged and otherwise ignored.
        user_identifier: whose id it is in the cache, for a user with logins; without it theirs is not kept, since
            users cannot be told apart.
        logins: see :func:`from_cognito_identity`.
        custom_role_arn: the role to assume, where the login's token allows several.
        client: region, endpoint, time-outs and middlewares of the calls. The region is by default the one that
            ``identity_pool_id`` begins with, whatever ``AWS_REGION`` says.
        context: the environment, the clock and the HTTP session.

    Raises:
        InvalidConfiguration: a login gives no token, or the endpoint's settings contradict.
        ServiceRefused: Cognito answered no; ``.code`` says why.
        SourceUnavailable: Cognito did not answer; or a login's function raised what is none of these errors, and
            the error's ``__cause__`` holds that.

    The credentials have their ``identity_id``.

    See https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/API_GetId.html
    """
    ids = _Ids(SHARED if cache is None else cache, identity_pool_id, user_identifier or ("" if logins else GUEST))
    try:
        service, tokens = await _service(identity_pool_id, client, context), await _tokens(logins)
        identity_id = await ids.get()
        if identity_id is None:
            identity_id = await api.get_id(
                service, identity_pool_id=identity_pool_id, account_id=account_id, logins=tokens
            )
            await ids.put(identity_id)
        return await api.get_credentials(
            service, identity_id=identity_id, logins=tokens, custom_role_arn=custom_role_arn
        )
    except Exception:  # a middleware or a login's function may raise anything
        await ids.forget()
        raise


class _Ids:
    """The cached id of one user. Errors of the cache are logged: an id can be asked for again."""

    def __init__(self, cache: IdentityCache, identity_pool_id: str, user: str) -> None:
        self._cache = cache if user else None
        self._key = f"aws:cognito-identity-credentials:{identity_pool_id}:{user}"

    async def get(self) -> str | None:
        return None if self._cache is None else text_of(await self._quietly(self._cache.get))

    async def put(self, identity_id: str) -> None:
        if self._cache is not None:
            await self._quietly(self._cache.put, identity_id)

    async def forget(self) -> None:
        if self._cache is not None:
            await self._quietly(self._cache.delete)

    async def _quietly(self, doing: Callable[..., Awaitable[object]], *what: str) -> object:
        try:
            return await doing(self._key, *what)
        except Exception as error:  # noqa: BLE001 - a user's cache may raise anything
            logger.warning("The cache of identity ids raised %s: going on without it", type(error).__name__)
            return None


async def _service(identity: str, client: ClientConfig | None, context: Context) -> ServiceClient:
    if not identity:
        raise InvalidConfiguration(
            "the id is blank: give one such as eu-central-1:1699ebc0-7900-4099-b910-2df94f52a030"
        )
    client = client or ClientConfig()
    region, colon, _ = identity.partition(":")
    scope = await config_scope(context, client, region=region if colon else None)
    if client.region or not colon:
        region = region_for(client, scope)
    return ServiceClient("cognito-identity", client, scope, region)


async def _tokens(logins: Logins | None) -> dict[str, SecretStr]:
    if logins is not None and not isinstance(logins, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - a user's
        raise InvalidConfiguration('logins is a mapping: write {"accounts.google.com": token}')
    return {name: await token_of(token, place=f"the login {name!r}") for name, token in (logins or {}).items()}
