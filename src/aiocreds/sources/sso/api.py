"""Call IAM Identity Center: the portal for a role's credentials, and OIDC to renew the sign-in.

See https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html and
https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiocreds._aws.json_protocol import ask
from aiocreds._aws.service_errors import CHECK_ENDPOINT, ErrorCode
from aiocreds._base.json_credentials import Names, credentials_in, object_of, text_of
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import parse_expiration
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from aiocreds._aws.client import ServiceClient
    from aiocreds._profiles.resolve import SsoSettings
    from aiocreds.credentials import Credentials

LONGEST_LIFE = 10 * 365 * 24 * 3600  # seconds; the real ones live for an hour
PORTAL, OIDC = "the SSO portal", "SSO-OIDC"
FIELDS = Names("accessKeyId", "secretAccessKey", "sessionToken")
UNAUTHORIZED = "UnauthorizedException"
PORTAL_ERRORS = {
    UNAUTHORIZED: ErrorCode("the sign-in has ended"),
    "ForbiddenException": ErrorCode(
        "the person who signed in has no such role there: check sso_account_id and sso_role_name,"
        " and the assignments in the Identity Center"
    ),
    "ResourceNotFoundException": ErrorCode(
        "there is no such account or role: check sso_account_id and sso_role_name"
    ),
    "InvalidRequestException": ErrorCode("check sso_account_id (12 digits) and sso_role_name"),
}
OIDC_ERRORS = {
    "InvalidGrantException": ErrorCode("the sign-in can be renewed no more", sign_in_ended=True),
    "ExpiredTokenException": ErrorCode("the sign-in can be renewed no more", sign_in_ended=True),
    "InvalidClientException": ErrorCode("the registration has ended", sign_in_ended=True),
    "UnauthorizedClientException": ErrorCode("the registration may not do that", sign_in_ended=True),
    "AccessDeniedException": ErrorCode(
        "the person may not sign in there any more: ask who runs the Identity Center", sign_in_ended=True
    ),
    "InvalidRequestException": ErrorCode("check sso_region, and sign in again"),
}
SIGN_IN_ENDED = {code for code, meaning in OIDC_ERRORS.items() if meaning.sign_in_ended}


async def get_role_credentials(
    portal: ServiceClient, settings: SsoSettings, *, access_token: SecretStr
) -> Credentials:
    """Call GetRoleCredentials.

    Raises:
        ServiceRefused: the portal answered no; the code `UNAUTHORIZED` means that the sign-in has ended.
        SourceUnavailable: it did not answer, or not with credentials.
        InvalidConfiguration: no URL and no message can hold the account id or the role's name.
    """
    for name, value in (("sso_account_id", settings.account_id), ("sso_role_name", settings.role_name)):
        if not value.isprintable():
            raise InvalidConfiguration(
                f"{name} is {value!r}, as {settings.place} says: it must be one line without control characters"
            )
    query = urlencode({"role_name": settings.role_name, "account_id": settings.account_id})
    asked = portal.scope.context.clock.now()
    answer, response = await ask(
        portal,
        "GET",
        f"/federation/credentials?{query}",
        operation="GetRoleCredentials",
        name=PORTAL,
        target=f"for the role {settings.role_name} in account {settings.account_id}, as {settings.place} says",
        headers={"x-amz-sso_bearer_token": access_token},
        errors=PORTAL_ERRORS,
        hidden=[access_token],
    )
    origin, issued = f"{PORTAL} ({response.host})", object_of(answer.get("roleCredentials"))
    if text_of(issued.get(FIELDS.token)) is None:
        raise SourceUnavailable(f"{origin} answered without a {FIELDS.token} in roleCredentials; {CHECK_ENDPOINT}")
    credentials = credentials_in(
        issued,
        names=FIELDS,
        expiration=parse_expiration(
            issued.get("expiration"), origin=f"the expiration that {origin} answered with", per_second=1000
        ),
        provider="sso",
        origin=origin,
        remedy=CHECK_ENDPOINT,
        account_id=settings.account_id,
    )
    portal.refuse_expired(credentials, response, asked, origin=origin)
    return credentials


@dataclass(frozen=True, slots=True, repr=False)
class Renewed:
    """The answer of CreateToken, without a ``repr``.

    Attributes:
        access_token: for the portal.
        lifetime: of it, in seconds.
        refresh_token: for the next time; None where the old one stays good.
    """

    access_token: str
    lifetime: float
    refresh_token: str | None


async def create_token(
    oidc: ServiceClient, *, client_id: str, client_secret: SecretStr, refresh_token: SecretStr
) -> Renewed:
    """Call CreateToken with a refresh token.

    Raises:
        ServiceRefused: OIDC answered no; the codes in `SIGN_IN_ENDED` mean that a person has to sign in again.
        SourceUnavailable: it did not answer, or not with a token.
    """
    answer, response = await ask(
        oidc,
        "POST",
        "/token",
        operation="CreateToken",
        name=OIDC,
        target="to renew the sign-in",
        headers={"Content-Type": "application/json"},
        body={
            "clientId": client_id,
            "clientSecret": client_secret,
            "grantType": "refresh_token",
            "refreshToken": refresh_token,
        },
        errors=OIDC_ERRORS,
        hidden=[client_secret, refresh_token],
    )
    access_token, lifetime = SecretStr(text_of(answer.get("accessToken")) or ""), answer.get("expiresIn")
    if (
        not access_token
        or not access_token.isprintable()  # no header can hold it
        or isinstance(lifetime, bool)
        or not isinstance(lifetime, int | float)
        or not 0 < lifetime < LONGEST_LIFE
    ):
        raise SourceUnavailable(
            f"{OIDC} ({response.host}) answered without a usable accessToken and expiresIn; {CHECK_ENDPOINT}"
        )
    return Renewed(access_token, lifetime, text_of(answer.get("refreshToken")))
