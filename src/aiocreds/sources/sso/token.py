"""Read a sign-in to IAM Identity Center from AWS CLI's cache, and renew it.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from aiocreds._aws.client import ServiceClient
from aiocreds._base import tracing
from aiocreds._base.json_credentials import text_of
from aiocreds._base.redaction import SecretDict, SecretStr
from aiocreds._base.time import time_of, utc, when
from aiocreds._token_cache.cache import TokenCache
from aiocreds._token_cache.storage import sso_path
from aiocreds.errors import ServiceRefused
from aiocreds.sources._sign_in import login_required
from aiocreds.sources.sso import api

if TYPE_CHECKING:
    from aiocreds._aws.client import ClientConfig, ConfigScope
    from aiocreds._profiles.sso import SsoSettings
    from aiocreds._token_cache.cache import Token
    from aiocreds.errors import LoginRequired

RENEWAL_WINDOW = 15 * 60.0
REGISTRATION = ("clientId", "clientSecret", "refreshToken")


class SignIn:
    """The sign-in that SSO settings need.

    Args:
        settings: what is wanted.
        client: how SSO-OIDC is called.
        scope: the configuration it is called in.
    """

    def __init__(self, settings: SsoSettings, client: ClientConfig, scope: ConfigScope) -> None:
        self._settings = settings
        self._context = scope.context
        self._clock = scope.context.clock
        self._here = bool(client.middlewares) or scope.context.session is not None
        self._oidc = ServiceClient("sso-oidc", client, scope, settings.region)
        self._cache = TokenCache(sso_path(settings.session or settings.start_url, scope.context), scope.context)

    async def access_token(self, *, refused: SecretStr | None = None) -> SecretStr:
        """Return the access token, renewed first if it ends soon.

        Args:
            refused: a token that the portal has refused.

        Raises:
            LoginRequired: there is none, or it has ended and cannot be renewed.
            SourceUnavailable: it has ended, and SSO-OIDC does not answer.
        """
        margin = RENEWAL_WINDOW if self._settings.session else 0.0

        def end(token: Token) -> float:
            access_token = _access_token(token)
            if access_token is None or access_token == refused:
                return -inf
            return time_of(token.get("expiresAt"))

        with tracing.step(f"SSO sign-in {self._settings.session or self._settings.start_url}"):
            token = await self._cache.current(end=end, margin=margin, renew=self._renew, here=self._here)
            access_token = _access_token(token)
            if access_token is None:
                raise await self.required(f"there is no readable sign-in in {self._cache.path}")
            return access_token

    async def required(self, message: str) -> LoginRequired:
        """Return the error for a person who has to sign in."""
        return await login_required(message, self._settings.login, self._context)

    async def _renew(self, token: Token) -> Token:
        """Renew the token with the refresh token, and keep the fields that are not known here."""
        if _access_token(token) is None:
            raise await self.required(f"there is no readable sign-in in {self._cache.path}")
        now = self._clock.now()
        client_id, client_secret, refresh_token = (
            SecretStr(text_of(token.get(name)) or "") for name in REGISTRATION
        )
        ends = f"the sign-in in {self._cache.path} {when(token.get('expiresAt'), now)}"
        if self._settings.session is None or not (client_id and client_secret and refresh_token):
            raise await self.required(f"{ends} and cannot be renewed")
        if time_of(token.get("registrationExpiresAt")) <= now:
            registration = when(token.get("registrationExpiresAt"), now)
            raise await self.required(f"{ends}, and the registration to renew it with {registration}")
        try:
            renewed = await api.create_token(
                self._oidc,
                client_id=client_id,
                client_secret=client_secret,
                grant={"grantType": "refresh_token", "refreshToken": refresh_token},
                target="to renew the sign-in",
            )
        except ServiceRefused as refused:
            if refused.code not in api.SIGN_IN_ENDED:
                raise
            required = await self.required(str(refused))
            raise required from None
        return SecretDict(
            token,
            accessToken=renewed.access_token,
            expiresAt=utc(self._clock.now() + renewed.lifetime, "%Y-%m-%dT%H:%M:%SZ"),
            refreshToken=renewed.refresh_token or refresh_token,
        )


def is_renewable(settings: SsoSettings, token: Token, now: float) -> bool:
    """Return whether a token has all that it takes to renew it."""
    return (
        settings.session is not None
        and all(text_of(token.get(name)) for name in (*REGISTRATION, "accessToken"))
        and time_of(token.get("registrationExpiresAt")) > now
    )


def _access_token(token: Token | None) -> SecretStr | None:
    access_token = None if token is None else text_of(token.get("accessToken"))
    return None if access_token is None else SecretStr(access_token)
