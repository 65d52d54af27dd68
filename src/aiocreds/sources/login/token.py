"""Read the session that ``aws login`` began from AWS CLI's cache, and renew its keys.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-login-credentials.html
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from aiocreds._aws.client import ServiceClient, region_for
from aiocreds._base import threads, tracing
from aiocreds._base.json_credentials import account_of, credentials_in, object_of, text_of
from aiocreds._base.redaction import SecretDict, SecretStr
from aiocreds._base.time import moment, time_of, utc, when
from aiocreds._profiles.sso import login_of_profile
from aiocreds._token_cache.cache import TokenCache
from aiocreds._token_cache.storage import login_path
from aiocreds.errors import ServiceRefused
from aiocreds.sources._sign_in import login_required
from aiocreds.sources.login import api
from aiocreds.sources.login.dpop import private_key

if TYPE_CHECKING:
    from aiocreds._aws.client import ClientConfig, ConfigScope
    from aiocreds._profiles import Section
    from aiocreds._token_cache.cache import Token
    from aiocreds.credentials import Credentials
    from aiocreds.errors import LoginRequired

RENEWAL_WINDOW = 5 * 60.0
NEEDED = ("clientId", "refreshToken", "dpopKey")


class LoginSession:
    """The ``aws login`` session of a profile.

    Args:
        section: the profile.
        client: how AWS Sign-In is called.
        scope: the configuration it is called in.
    """

    def __init__(self, section: Section, client: ClientConfig, scope: ConfigScope) -> None:
        self._login = login_of_profile(scope.config, section.name, "aws login")
        self._client = client
        self._scope = scope
        self._cache = TokenCache(login_path(section.get("login_session") or "", scope.context), scope.context)

    async def credentials(self) -> Credentials:
        """Return the cached keys, renewed first if they end soon.

        Raises:
            LoginRequired: there are none, or they have ended and cannot be renewed.
            ServiceRefused: they have ended, and AWS Sign-In answered no.
            SourceUnavailable: they have ended, and AWS Sign-In does not answer.
        """
        with tracing.step("sign-in of aws login"):
            here = bool(self._client.middlewares) or self._scope.context.session is not None
            token = await self._cache.current(end=end_of, margin=RENEWAL_WINDOW, renew=self._renew, here=here)
            if token is None:
                raise await self._required(f"there is no readable sign-in in {self._cache.path}")
            await self._check(token)
        keys = object_of(token["accessToken"])
        return credentials_in(
            keys,
            names=api.KEYS,
            expiration=moment(time_of(keys["expiresAt"])),
            provider="login",
            origin=f"the sign-in in {self._cache.path}",
            remedy="sign in again",
            account_id=account_of(keys.get("accountId")),
        )

    async def _check(self, token: Token) -> None:
        """Check that a sign-in has all that AWS CLI writes, before its keys end.

        Raises:
            LoginRequired: something is missing.
        """
        if missing := missing_of(token):
            raise await self._required(
                f"the sign-in in {self._cache.path} has no usable {' and no '.join(missing)}"
            )

    async def _required(self, message: str) -> LoginRequired:
        return await login_required(message, self._login, self._scope.context)

    async def _renew(self, token: Token) -> Token:
        """Renew the keys with the refresh token, and keep the fields that are not known here."""
        await self._check(token)
        clock = self._scope.context.clock
        client_id, refresh_token, pem = (SecretStr(text_of(token[name]) or "") for name in NEEDED)
        try:
            key = await threads.submit(private_key, pem)
        except ValueError:
            ends = when(object_of(token.get("accessToken")).get("expiresAt"), clock.now())
            required = await self._required(
                f"the sign-in in {self._cache.path} {ends} and cannot be renewed, since its dpopKey is no P-256 key"
                " that can be read"
            )
            raise required from None
        region = self._client.region or text_of(token.get("signInRegion")) or region_for(self._client, self._scope)
        service = ServiceClient("signin", self._client, self._scope, region)
        try:
            renewed = await api.create_token(
                service,
                client_id=client_id,
                grant={"grantType": "refresh_token", "refreshToken": refresh_token},
                key=key,
                target="to renew the sign-in",
            )
        except ServiceRefused as refused:
            if refused.code not in api.SIGN_IN_ENDED:
                raise
            required = await self._required(str(refused))
            raise required from None
        expires_at = utc(clock.now() + renewed.lifetime, "%Y-%m-%dT%H:%M:%SZ")
        keys = SecretDict(object_of(token.get("accessToken")), expiresAt=expires_at)
        keys.update((name, renewed.keys[name]) for name in api.KEYS)
        return SecretDict(token, accessToken=keys, refreshToken=renewed.refresh_token or refresh_token)


def end_of(token: Token) -> float:
    """Return when the keys of a sign-in end, in seconds since the epoch; -inf where they are incomplete."""
    keys = object_of(token.get("accessToken"))
    if not all(text_of(keys.get(name)) for name in api.KEYS):
        return -inf
    return time_of(keys.get("expiresAt"))


def missing_of(token: Token) -> list[str]:
    """Return what a sign-in lacks of what it takes to renew it."""
    missing = [name for name in NEEDED if not text_of(token.get(name))]
    if not object_of(token.get("accessToken")):
        missing.append("accessToken")
    return missing
