"""Sign a person in as ``aws login`` does, with the console's own sign-in page, and out.

The browser brings an authorization code back to a port of this machine; where it is on another machine, the person
pastes the code. The code is exchanged with a proof of possession of a new key, and what it brings is kept where
:func:`aiocreds.from_login` and AWS CLI read it. A profile that has no ``login_session`` yet gets it.

See https://docs.aws.amazon.com/signin/latest/APIReference/API_CreateOAuth2Token.html
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, quote, urlencode

from aiocreds._aws.client import ServiceClient, region_for
from aiocreds._base import threads
from aiocreds._base.json_credentials import account_of_arn, object_of, text_of
from aiocreds._base.redaction import SecretDict, SecretStr
from aiocreds._base.time import moment, time_of, utc
from aiocreds._profiles.write import SectionEdit, write
from aiocreds._token_cache import program_end, storage
from aiocreds._token_cache.cache import TokenCache, outlive
from aiocreds._token_cache.storage import login_path
from aiocreds.errors import InvalidConfiguration, ServiceRefused, SourceUnavailable
from aiocreds.sources._sign_in import Pkce, SignedIn
from aiocreds.sources.login import api
from aiocreds.sources.login.dpop import new_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from aiocreds._aws.client import ClientConfig, ConfigScope
    from aiocreds._token_cache.cache import Renewal, Token
    from aiocreds.sources._sign_in import Asking

SAME_DEVICE, CROSS_DEVICE = (f"arn:aws:signin:::devtools/{which}" for which in ("same-device", "cross-device"))
SHOWS_CODE = "/v1/sessions/confirmation"  # the page that shows the code to be pasted
SESSION = r"arn:[\w-]+:(iam|sts)::\d*:[\w+=,.@/:-]+"
ATTEMPTS = 3  # at pasting the code
ISO = "%Y-%m-%dT%H:%M:%SZ"


class Request(NamedTuple):
    """A request for a code, and what it is exchanged with."""

    client_id: str
    redirect: str
    pkce: Pkce
    key: EllipticCurvePrivateKey
    pem: SecretStr

    def page(self, endpoint: str) -> str:
        """Return the page that the person signs in on."""
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "state": self.pkce.state,
            "code_challenge_method": "SHA-256",
            "scope": "openid",
            "redirect_uri": self.redirect,
            "code_challenge": self.pkce.challenge,
        }
        return f"{endpoint}/v1/authorize?{urlencode(query, quote_via=quote)}"

    def __repr__(self) -> str:
        return f"Request({self.client_id!r})"


class ConsoleSignIn:
    """The way in by the sign-in page of the console.

    Args:
        profile: the name of the profile that is signed in to; it may be a new one.
        asking: how the person is asked.
        client: how AWS Sign-In is called.
        scope: the configuration it is called in.
    """

    def __init__(self, profile: str, asking: Asking, client: ClientConfig, scope: ConfigScope) -> None:
        self._profile = profile
        self._asking = asking
        self._scope = scope
        self._context = scope.context
        self._here = bool(client.middlewares) or scope.context.session is not None
        self._region = region_for(client, scope)
        self._service = ServiceClient("signin", client, scope, self._region)

    async def sign_in(self) -> SignedIn:
        """Sign in, and return what has been kept.

        Raises:
            LoginRequired: the person did not, or said no, or signed in as somebody else than the profile is for.
            ServiceRefused: AWS Sign-In answered no.
            SourceUnavailable: it did not answer.
            InvalidConfiguration: the library cryptography is missing, or the sign-in cannot be kept.
        """
        await threads.submit(storage.make_folder, login_path("", self._context))
        key, pem = await threads.submit(new_key)
        program_end.install_handlers()
        try:
            token = await (
                self._by_pasted_code(key, pem) if self._asking.elsewhere else self._by_redirect(key, pem)
            )
        finally:
            program_end.restore_handlers()
        session = _session_of(token)
        expiration = moment(time_of(object_of(token.get("accessToken")).get("expiresAt")))
        return SignedIn(session, login_path(session, self._context), expiration, renewable=True)

    async def _by_redirect(self, key: EllipticCurvePrivateKey, pem: SecretStr) -> Token:
        from aiocreds.sources._redirect import Redirect  # with it comes an HTTP server

        pkce = Pkce.new()

        def exchange(code: SecretStr) -> Renewal:
            return self._begun(request, code)

        redirect: Redirect[Renewal]
        async with Redirect(pkce.state, exchange) as redirect:
            request = Request(SAME_DEVICE, redirect.url, pkce, key, pem)
            page = request.page(self._service.endpoint.url)
            renewal = await redirect.follow(page, self._asking, now=self._context.clock.now())
            token = await self._outcome(renewal)
            redirect.signed_in()
            return token

    async def _by_pasted_code(self, key: EllipticCurvePrivateKey, pem: SecretStr) -> Token:
        endpoint = self._service.endpoint.url
        request = Request(CROSS_DEVICE, f"{endpoint}{SHOWS_CODE}", Pkce.new(), key, pem)
        page = request.page(endpoint)
        until = self._context.clock.now() + self._asking.timeout
        opened = self._asking.open(page)
        for _ in range(ATTEMPTS):
            pasted = ""
            with suppress(TimeoutError):
                async with asyncio.timeout(self._asking.timeout):
                    pasted = await self._asking.tell(page, until, wants_code=True, opened=opened)
            if not pasted:
                raise await self._asking.required("nobody brought a code back")
            if (code := code_in(pasted, request.pkce.state)) is not None:
                return await self._outcome(self._begun(request, code))
        raise await self._asking.required("what was pasted is not the code that the page of this sign-in shows")

    def _begun(self, request: Request, code: SecretStr) -> Renewal:
        return outlive(partial(self._exchanged, request, code), self._context, here=self._here)

    async def _outcome(self, renewal: Renewal) -> Token:
        try:
            return await renewal.outcome() or SecretDict()
        except ServiceRefused as refused:
            if refused.code not in api.SIGN_IN_ENDED:
                raise
            required = await self._asking.required(str(refused))
            raise required from None

    async def _exchanged(self, request: Request, code: SecretStr) -> Token:
        """Exchange the code for keys, and keep them. It outlives its caller."""
        issued = await api.create_token(
            self._service,
            client_id=request.client_id,
            grant={
                "grantType": "authorization_code",
                "code": code,
                "codeVerifier": request.pkce.verifier,
                "redirectUri": request.redirect,
            },
            key=request.key,
            target="to sign in",
        )
        if not issued.refresh_token or not issued.id_token:
            raise SourceUnavailable("AWS Sign-In answered without refreshToken and idToken; check the endpoint")
        keys = SecretDict((name, issued.keys[name]) for name in api.KEYS)
        keys["expiresAt"] = utc(self._context.clock.now() + issued.lifetime, ISO)
        token = SecretDict(
            accessToken=keys,
            tokenType="aws_sigv4",
            clientId=request.client_id,
            refreshToken=issued.refresh_token,
            idToken=issued.id_token,
            dpopKey=request.pem,
            signInRegion=self._region,
        )
        session = _session_of(token)
        keys["accountId"] = account_of_arn(session) or ""
        self._check_same(session)
        await TokenCache(login_path(session, self._context), self._context).keep(token)
        if self._scope.section is None or not self._scope.section.get("login_session"):
            edit = SectionEdit("profile", self._profile, {"login_session": session})
            await write(self._context, [edit], config_file=self._scope.config.config_file)
        return token

    def _check_same(self, session: str) -> None:
        """Check that the person is whom the profile is for.

        Raises:
            InvalidConfiguration: somebody else.
        """
        section = self._scope.section
        before = section and section.get("login_session")
        if section is not None and before and before != session:
            raise InvalidConfiguration(
                f"the person signed in as {session}, and profile {self._profile!r} is for {before}"
                f" ({section.where('login_session')}): sign in as that one, sign in with another profile, or remove"
                " that line"
            )


def code_in(pasted: str, state: SecretStr) -> SecretStr | None:
    """Return the code in what a person has pasted; None where there is none for this sign-in."""
    text = "".join(pasted.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        query = parse_qs(
            base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode(), strict_parsing=True
        )
    except (binascii.Error, ValueError):
        return None
    codes, states = query.get("code", []), query.get("state", [])
    if len(codes) != 1 or len(states) != 1 or not hmac.compare_digest(states[0].encode(), state.encode()):
        return None
    return SecretStr(codes[0])


def _session_of(token: Token) -> str:
    """Return who has signed in: the ``sub`` of the id token, which came from the service itself.

    Raises:
        SourceUnavailable: it names nobody. It becomes a line of the config file, so it must be an ARN.
    """
    try:
        _, payload, _ = str(token.get("idToken")).split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        claims = None
    session = text_of(object_of(claims).get("sub")) or ""
    if not re.fullmatch(SESSION, session, re.ASCII):
        raise SourceUnavailable("AWS Sign-In answered with an idToken that names nobody; check the endpoint")
    return session
