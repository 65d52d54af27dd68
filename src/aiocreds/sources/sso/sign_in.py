"""Sign a person in to IAM Identity Center, and out, in the files that AWS CLI keeps that in.

A client registers, and the registration is kept and used again. Then the browser brings an authorization code back
to a port of this machine (RFC 6749 with PKCE), or, where the browser is on another machine, the person confirms a
device code there (RFC 8628). What the service gives once is exchanged and written by work that outlives its caller.

See https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/Welcome.html
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

from aiocreds._aws.client import ServiceClient
from aiocreds._base import threads
from aiocreds._base.json_credentials import text_of
from aiocreds._base.redaction import SecretDict, SecretStr
from aiocreds._base.time import moment, time_of, utc
from aiocreds._token_cache import program_end, storage
from aiocreds._token_cache.cache import TokenCache, outlive
from aiocreds._token_cache.storage import sso_path
from aiocreds.errors import ServiceRefused, SourceUnavailable
from aiocreds.sources._sign_in import Pkce, SignedIn, checked_page
from aiocreds.sources.sso import api

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiocreds._aws.client import ClientConfig, ConfigScope
    from aiocreds._profiles.sso import SsoPortal
    from aiocreds._token_cache.cache import Renewal, Token
    from aiocreds.sources._sign_in import Asking

USUAL_SCOPES = ("sso:account:access",)  # without one, nothing renews a sign-in
CODE_GRANTS = ("authorization_code", "refresh_token")
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REDIRECT = "http://127.0.0.1/oauth/callback"  # the port is added to it (RFC 8252, section 7.3)
USABLE = 15 * 60.0  # seconds that a registration must still be good for
SLOWER = 5.0  # seconds that each slow_down adds to the interval (RFC 8628, section 3.5)
LONGEST_INTERVAL = 60.0
ISO = "%Y-%m-%dT%H:%M:%SZ"


class Registration(NamedTuple):
    """A client that has registered."""

    client_id: str
    client_secret: SecretStr
    expires_at: str

    def __repr__(self) -> str:
        return "Registration(****)"


class PortalSignIn:
    """The way in to one access portal.

    Args:
        portal: what is signed in to.
        asking: how the person is asked.
        client: how SSO-OIDC is called.
        scope: the configuration it is called in.
    """

    def __init__(self, portal: SsoPortal, asking: Asking, client: ClientConfig, scope: ConfigScope) -> None:
        self._portal = portal
        self._asking = asking
        self._context = scope.context
        self._here = bool(client.middlewares) or scope.context.session is not None
        self._oidc = ServiceClient("sso-oidc", client, scope, portal.region)
        self._poll = ServiceClient("sso-oidc", replace(client, max_attempts=1), scope, portal.region)
        self._cache = TokenCache(sso_path(portal.session or portal.start_url, scope.context), scope.context)

    async def sign_in(self) -> SignedIn:
        """Sign in, and return what has been kept.

        Raises:
            LoginRequired: the person did not, or said no.
            ServiceRefused: Identity Center answered no.
            SourceUnavailable: it did not answer.
            InvalidConfiguration: the sign-in cannot be kept.
        """
        await threads.submit(storage.make_folder, self._cache.path)
        program_end.install_handlers()
        try:
            token = await (self._by_device_code() if self._asking.elsewhere else self._by_redirect())
        finally:
            program_end.restore_handlers()
        name = self._portal.session or self._portal.start_url
        renewable = self._portal.session is not None and bool(token.get("refreshToken"))
        return SignedIn(name, self._cache.path, moment(time_of(token.get("expiresAt"))), renewable)

    async def _by_redirect(self) -> Token:
        """Sign in with an authorization code that the browser brings to a port of loopback."""
        from aiocreds.sources._redirect import Redirect  # with it comes an HTTP server

        registration, pkce = await self._registration(CODE_GRANTS), Pkce.new()

        def exchange(code: SecretStr) -> Renewal:
            grant = {
                "grantType": "authorization_code",
                "redirectUri": redirect.url,
                "codeVerifier": pkce.verifier,
                "code": code,
            }
            return outlive(partial(self._exchanged, registration, grant), self._context, here=self._here)

        redirect: Redirect[Renewal]
        async with Redirect(pkce.state, exchange) as redirect:
            query = {
                "response_type": "code",
                "client_id": registration.client_id,
                "redirect_uri": redirect.url,
                "state": pkce.state,
                "code_challenge_method": "S256",
                "scopes": " ".join(self._portal.scopes or USUAL_SCOPES),
                "code_challenge": pkce.challenge,
            }
            page = f"{self._oidc.endpoint.url}/authorize?{urlencode(query, quote_via=quote)}"
            renewal = await redirect.follow(page, self._asking, now=self._context.clock.now())
            token = await self._outcome(renewal)
            redirect.signed_in()
            return token

    async def _by_device_code(self) -> Token:
        """Sign in with a code that the person confirms in a browser anywhere."""
        registration, device = await self._device_code()
        page = checked_page(device.page, origin=api.OIDC)
        loop = asyncio.get_running_loop()
        seconds = min(device.lifetime, self._asking.timeout)
        ends, interval = loop.time() + seconds, device.interval
        grant = {"grantType": DEVICE_GRANT, "deviceCode": device.device_code}
        until = self._context.clock.now() + seconds
        with suppress(TimeoutError):
            async with asyncio.timeout_at(ends):
                await self._asking.tell(page, until, user_code=device.user_code, opened=self._asking.open(page))
        in_time = True
        while in_time:
            await asyncio.sleep(min(interval, max(ends - loop.time(), 0.0)))
            in_time = loop.time() < ends  # else this is the last look
            work = partial(self._exchanged, registration, grant, poll=True)
            try:
                return await self._outcome(outlive(work, self._context, here=self._here))
            except ServiceRefused as refused:
                if refused.code == api.SLOW_DOWN:
                    interval += SLOWER
                elif refused.code != api.PENDING:
                    raise
            except SourceUnavailable:  # the code is still good (RFC 8628, section 3.5)
                interval = min(interval * 2, LONGEST_INTERVAL)
        raise await self._asking.required("nobody confirmed the code in time")

    async def _device_code(self) -> tuple[Registration, api.DeviceCode]:
        """Return a device code, and who it was given to: anew where the service has forgotten the kept one."""
        for kept in (True, False):
            registration = await self._registration((), use_kept=kept)
            try:
                return registration, await api.start_device_authorization(
                    self._oidc,
                    client_id=registration.client_id,
                    client_secret=registration.client_secret,
                    start_url=self._portal.start_url,
                )
            except ServiceRefused as refused:
                if not kept or refused.code != api.CLIENT_UNKNOWN:
                    raise
        raise AssertionError

    async def _outcome(self, renewal: Renewal) -> Token:
        """Return the token of a sign-in.

        Raises:
            LoginRequired: the person said no, or too late.
            CredentialsError: it failed.
        """
        try:
            return await renewal.outcome() or SecretDict()
        except ServiceRefused as refused:
            if refused.code in (api.PENDING, api.SLOW_DOWN):
                raise
            if refused.code == api.CLIENT_UNKNOWN:
                await threads.submit(_forget, self._registration_path())
            if refused.code in (api.DENIED, api.EXPIRED) or refused.code in api.SIGN_IN_ENDED:
                required = await self._asking.required(str(refused))
                raise required from None
            raise

    async def _exchanged(
        self, registration: Registration, grant: Mapping[str, str], *, poll: bool = False
    ) -> Token:
        """Exchange a code for a token, and keep that. It outlives its caller."""
        portal = self._portal
        issued = await api.create_token(
            self._poll if poll else self._oidc,
            client_id=registration.client_id,
            client_secret=registration.client_secret,
            grant=grant,
            target="to sign in",
            errors=api.POLL_ERRORS if poll else api.OIDC_ERRORS,
        )
        token = SecretDict(
            startUrl=portal.start_url,
            region=portal.region,
            accessToken=issued.access_token,
            expiresAt=utc(self._context.clock.now() + issued.lifetime, ISO),
            clientId=registration.client_id,
            clientSecret=registration.client_secret,
            registrationExpiresAt=registration.expires_at,
        )
        if issued.refresh_token:
            token["refreshToken"] = issued.refresh_token
        await self._cache.keep(token)
        return token

    # The registration, which AWS CLI and we use for each other.

    async def _registration(self, grants: Sequence[str], *, use_kept: bool = True) -> Registration:
        """Return the registration for these grants (blank: device codes), the kept one while it is good."""
        path = self._registration_path()
        if use_kept and (kept := self._usable(await storage.read(path), grants)) is not None:
            return kept
        await outlive(partial(self._register, path, grants), self._context, here=self._here).outcome()
        kept = self._usable(await storage.read(path), grants)
        if kept is None:  # such as for less than a quarter of an hour
            raise SourceUnavailable(
                f"{api.OIDC} answered with a registration that ends at once; check the endpoint"
            )
        return kept

    async def _register(self, path: str, grants: Sequence[str]) -> Token:
        portal = self._portal
        scopes = list(portal.scopes or (USUAL_SCOPES if grants or portal.session else ()))
        settings: dict[str, object] = {"scopes": scopes} if scopes else {}
        if grants:
            settings |= {"grantTypes": list(grants), "redirectUris": [REDIRECT], "issuerUrl": portal.start_url}
        name = f"aiocreds-client-{portal.session or int(self._context.clock.now())}"
        registered = await api.register_client(self._oidc, name=name, settings=settings)
        document = SecretDict(
            clientId=registered.client_id,
            clientSecret=registered.client_secret,
            expiresAt=utc(registered.ends, ISO),
            **{key: settings[key] for key in ("scopes", "grantTypes") if key in settings},
        )
        await TokenCache(path, self._context).keep(document)
        return document

    def _registration_path(self) -> str:
        portal = self._portal
        who = {
            "tool": "botocore",
            "startUrl": portal.start_url,
            "region": portal.region,
            "scopes": None if portal.scopes is None else list(portal.scopes),
            "session_name": portal.session,
        }
        return sso_path(json.dumps(who, sort_keys=True), self._context)

    def _usable(self, document: Token | None, grants: Sequence[str]) -> Registration | None:
        if document is None or time_of(document.get("expiresAt")) < self._context.clock.now() + USABLE:
            return None
        client_id, client_secret, kept = map(document.get, ("clientId", "clientSecret", "grantTypes"))
        for_codes = isinstance(kept, list) and "authorization_code" in kept
        if for_codes != bool(grants) or not text_of(client_id) or not text_of(client_secret):
            return None
        return Registration(text_of(client_id) or "", SecretStr(client_secret), document["expiresAt"])


async def sign_out(path: str, client: ClientConfig, scope: ConfigScope) -> str | None:
    """End the sign-in that a file of the cache holds: at the portal first, then remove the file.

    Args:
        path: of the file.
        client: how the portal is called.
        scope: the configuration it is called in.

    Returns:
        why the portal may still know the sign-in; None where it does not.

    Raises:
        InvalidConfiguration: the file cannot be removed.
    """
    token = await storage.read(path)
    trouble = None
    access_token, region = (text_of((token or SecretDict()).get(name)) for name in ("accessToken", "region"))
    if access_token and region:
        try:
            portal = ServiceClient("sso", client, scope, region)
            await api.log_out(portal, access_token=SecretStr(access_token))
        except ServiceRefused as refused:
            trouble = None if refused.code == api.UNAUTHORIZED else str(refused)
        except SourceUnavailable as silence:
            trouble = str(silence)
    await TokenCache(path, scope.context).remove()
    return trouble


def _forget(path: str) -> None:
    """Remove a registration that the service knows no more."""
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - pathlib is slow to load
