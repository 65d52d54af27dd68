"""Where people sign in: the authorization server of Identity Center and of the console, and its pages.

It checks client, redirect address, PKCE and state as RFC 6749, 7636, 8252 and 8628 want it. A code works once.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.helpers.refused import Refused, object_in
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.helpers.loopback_aws import Seen
    from tests.helpers.sign_in_services import Registration, SignInServer

REGISTER, DEVICE, AUTHORIZE, CONSOLE = "/client/register", "/device_authorization", "/authorize", "/v1/authorize"
CONFIRMATION, VERIFY, LOG_OUT = "/v1/sessions/confirmation", "/verify", "/logout"
DECISIONS = ("/approve", "/deny")
PATHS = (REGISTER, DEVICE, AUTHORIZE, CONSOLE, CONFIRMATION, VERIFY, *DECISIONS)
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SAME_DEVICE, CROSS_DEVICE = "arn:aws:signin:::devtools/same-device", "arn:aws:signin:::devtools/cross-device"
ME = "arn:aws:iam::123456789012:user/me"
CHALLENGE_METHODS = {AUTHORIZE: "S256", CONSOLE: "SHA-256"}
_numbers = itertools.count(1)


@dataclass
class Code:
    """An authorization code, and what has to come with it."""

    client_id: str
    redirect: str
    challenge: str
    expires: datetime
    used: bool = False


@dataclass
class Device:
    """A device code: what the person has said, and when it may be asked for again."""

    client_id: str
    expires: datetime
    answer: str = "authorization_pending"
    next_poll: datetime | None = None


@dataclass
class Authorization:
    """The server.

    Attributes:
        server: the services that it belongs to.
        me: who signs in, as the id token says it.
        registered_for: how long a registration lasts.
        code_life: of authorization codes and device codes.
        interval: seconds between two polls, as it tells them; a poll that is too early is told to slow down.
        user_code: what a person sees.
        page: of a device code; None for the one here.
        codes: the authorization codes that it gave.
        devices: the device codes.
        url: where all of it is.
    """

    server: SignInServer
    me: str = ME
    registered_for: timedelta = timedelta(days=90)
    code_life: timedelta = timedelta(minutes=10)
    interval: float = 1
    user_code: str = "ABCD-EFGH"
    page: str | None = None
    url: str = ""
    codes: dict[str, Code] = field(default_factory=dict[str, Code])
    devices: dict[str, Device] = field(default_factory=dict[str, Device])

    # What the services answer.

    def answer(self, seen: Seen) -> tuple[int, Mapping[str, str], str]:
        """The status, headers and body of the answer to a request."""
        query = {name: values[0] for name, values in parse_qs(seen.target.partition("?")[2]).items()}
        if seen.path in (REGISTER, DEVICE):
            document = self.register(object_in(seen)) if seen.path == REGISTER else self.start(object_in(seen))
            return 200, {"Content-Type": "application/json"}, json.dumps(document)
        if seen.path in DECISIONS:
            return 302, {"Location": self.decided(query, approved=seen.path == "/approve")}, ""
        html = {"Content-Type": "text/html; charset=utf-8"}
        if seen.path == CONFIRMATION:
            shown = base64.b64encode(urlencode({"state": query["state"], "code": query["code"]}).encode()).decode()
            return 200, html, f"<p id=code>{shown}</p>"
        if seen.path == VERIFY:
            for device in self.devices.values():
                device.answer = "approved"
            return 200, html, "<p>Approved</p>"
        self.check_request(seen.path, query)
        links = (f'<a id={path[1:]} href="{path}?{escape(urlencode(query))}">{path[1:]}</a>' for path in DECISIONS)
        return 200, html, f"<!doctype html><html lang=en><title>Sign in</title>{' '.join(links)}"

    def register(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """RegisterClient."""
        from tests.helpers.sign_in_services import Registration

        if asked.get("clientType") != "public" or not asked.get("clientName"):
            raise Refused(400, "InvalidClientMetadataException", error="invalid_client_metadata")
        if "authorization_code" in asked.get("grantTypes", ()) and not all(
            address.startswith("http://127.0.0.1/") for address in asked.get("redirectUris", ["none"])
        ):
            raise Refused(400, "InvalidRedirectUriException", error="invalid_redirect_uri")
        client_id, ends = f"client-{next(_numbers)}-registered", self.server.now() + self.registered_for
        registration = Registration(secret("client"), ends, asked=dict(asked))
        self.server.registrations[client_id] = registration
        return {
            "clientId": client_id,
            "clientSecret": registration.secret,
            "clientIdIssuedAt": int(self.server.now().timestamp()),
            "clientSecretExpiresAt": int(ends.timestamp()),
        }

    def start(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """StartDeviceAuthorization."""
        self.server.registration(asked)
        if not asked.get("startUrl", "").startswith("https://"):
            raise Refused(400, "InvalidRequestException", error="invalid_request")
        code = secret("device")
        self.devices[code] = Device(asked["clientId"], self.server.now() + self.code_life)
        page = self.page or f"{self.url}{VERIFY}"
        return {
            "deviceCode": code,
            "userCode": self.user_code,
            "verificationUri": page,
            "verificationUriComplete": f"{page}?user_code={self.user_code}",
            "expiresIn": int(self.code_life.total_seconds()),
            "interval": self.interval,
        }

    def check_request(self, path: str, query: Mapping[str, str]) -> None:
        """That a browser brings a request for a code that can be answered."""
        redirect = urlsplit(query.get("redirect_uri", ""))
        registration = self.server.registrations.get(query.get("client_id", ""))
        if path == AUTHORIZE:
            fits = (
                registration is not None
                and f"http://127.0.0.1{redirect.path}" in registration.asked["redirectUris"]
            )
            fits = fits and redirect.hostname == "127.0.0.1" and redirect.port is not None
        elif query.get("client_id") == CROSS_DEVICE:
            fits = redirect.geturl() == f"{self.url}{CONFIRMATION}"
        else:
            fits = query.get("client_id") == SAME_DEVICE and redirect.geturl().startswith("http://127.0.0.1:")
            fits = fits and redirect.path == "/oauth/callback" and query.get("scope") == "openid"
        sound = (
            query.get("response_type") == "code"
            and query.get("code_challenge_method") == CHALLENGE_METHODS[path]
            and len(query.get("code_challenge", "")) == 43
            and len(query.get("state", "")) >= 22
        )
        if not fits or not sound:
            raise Refused(400, "InvalidRequestException", error="invalid_request", message=repr(dict(query)))

    def decided(self, query: Mapping[str, str], *, approved: bool) -> str:
        """Where the browser goes once the person has said yes or no."""
        if not approved:
            return f"{query['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': query['state']})}"
        return f"{query['redirect_uri']}?{urlencode({'code': self.new_code(query), 'state': query['state']})}"

    def new_code(self, query: Mapping[str, str]) -> str:
        """A code for a request."""
        code = secret("code")
        expires = self.server.now() + self.code_life
        self.codes[code] = Code(query["client_id"], query["redirect_uri"], query["code_challenge"], expires)
        return code

    # What becomes of codes.

    def check_grant(self, asked: Mapping[str, Any], registration: Registration) -> None:
        """That a code may be exchanged at Identity Center."""
        if asked.get("grantType") == DEVICE_GRANT:
            self._poll(asked)
        elif asked.get("grantType") != "authorization_code":
            raise Refused(400, "UnsupportedGrantTypeException", error="unsupported_grant_type")
        elif "authorization_code" not in registration.asked.get("grantTypes", ()):
            raise Refused(400, "UnauthorizedClientException", error="unauthorized_client")
        elif not self._exchanged(asked):
            raise Refused(400, "InvalidGrantException", error="invalid_grant", error_description="Invalid code")

    def exchange(self, asked: Mapping[str, Any]) -> str:
        """The id token for a code at AWS Sign-In."""
        if not self._exchanged(asked):
            raise Refused(401, "AccessDeniedException", error="AUTHCODE_EXPIRED", message="Code expired")
        claims = {"sub": self.me, "aud": asked["clientId"], "iat": int(self.server.now().timestamp())}
        parts = ({"alg": "ES384", "typ": "JWT"}, claims)
        encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        return f"{'.'.join(encoded)}.{secret('signature')}"

    def _exchanged(self, asked: Mapping[str, Any]) -> bool:
        code = self.codes.get(asked.get("code", ""))
        verifier = str(asked.get("codeVerifier", ""))
        digest = hashlib.sha256(verifier.encode()).digest()
        if code is None or code.used or code.expires <= self.server.now():
            return False
        code.used = True
        return (
            43 <= len(verifier) <= 128
            and base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == code.challenge
            and asked.get("redirectUri") == code.redirect
            and asked.get("clientId") == code.client_id
        )

    def _poll(self, asked: Mapping[str, Any]) -> None:
        device, now = self.devices.get(asked.get("deviceCode", "")), self.server.now()
        if device is None or device.client_id != asked.get("clientId"):
            raise Refused(400, "InvalidGrantException", error="invalid_grant")
        early = device.next_poll is not None and now < device.next_poll
        device.next_poll = now + timedelta(seconds=self.interval * 0.9)
        if early:
            raise Refused(400, "SlowDownException", error="slow_down")
        if device.expires <= now:
            raise Refused(400, "ExpiredTokenException", error="expired_token")
        if device.answer == "authorization_pending":
            raise Refused(400, "AuthorizationPendingException", error="authorization_pending")
        if device.answer == "access_denied":
            raise Refused(400, "AccessDeniedException", error="access_denied")
        del self.devices[asked["deviceCode"]]
