"""Call IAM Identity Center: its portal for accounts, roles and credentials, and OIDC to make and renew a sign-in.

See https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_Operations.html and
https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/API_CreateToken.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlencode

from aiocreds._aws.json_protocol import ask
from aiocreds._aws.service_errors import CHECK_ENDPOINT, ErrorCode
from aiocreds._base.json_credentials import Names, credentials_in, object_of, text_of
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import parse_expiration
from aiocreds._base.tracing import one_line
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiocreds._aws.client import ServiceClient
    from aiocreds._profiles.sso import SsoSettings
    from aiocreds.credentials import Credentials

LONGEST_LIFE = 10 * 365 * 24 * 3600  # seconds; the real ones live for an hour
USUAL_LIFE, USUAL_INTERVAL = 600.0, 5.0  # seconds; of a device code (RFC 8628, section 3.2)
JSON = {"Content-Type": "application/json"}
PAGE, MOST_PAGES = 100, 1_000  # accounts or roles that one answer holds at most; answers
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
    "InvalidScopeException": ErrorCode("correct sso_registration_scopes"),
    "InvalidRedirectUriException": ErrorCode("sign in with a device code instead"),
}
# By RFC 8628, section 3.5. They come first: an answer to a poll has the name of an exception as well.
PENDING, SLOW_DOWN, EXPIRED, DENIED = "authorization_pending", "slow_down", "expired_token", "access_denied"
POLL_ERRORS = {**dict.fromkeys((PENDING, SLOW_DOWN, EXPIRED, DENIED), ErrorCode()), **OIDC_ERRORS}
CLIENT_UNKNOWN = "InvalidClientException"
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


class Account(NamedTuple):
    """An account in which the person has a role.

    Attributes:
        account_id: its 12 digits.
        name: as the portal shows it, on one line and without control characters; blank when it has none.
        email: likewise.
    """

    account_id: str
    name: str
    email: str


async def list_accounts(portal: ServiceClient, *, access_token: SecretStr) -> list[Account]:
    """Call ListAccounts, page by page.

    Raises:
        ServiceRefused: the portal answered no; the code `UNAUTHORIZED` means that the sign-in has ended.
        SourceUnavailable: it did not answer, or not with accounts.

    See https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_ListAccounts.html
    """
    return [
        Account(
            _known(found, "accountId"),
            *(one_line(text_of(found.get(name)) or "") for name in ("accountName", "emailAddress")),
        )
        async for found in _pages(
            portal,
            "/assignment/accounts",
            {},
            operation="ListAccounts",
            target="for the accounts of the person who signed in",
            field="accountList",
            access_token=access_token,
        )
    ]


async def list_account_roles(portal: ServiceClient, account_id: str, *, access_token: SecretStr) -> list[str]:
    """Call ListAccountRoles, page by page; return the names of the person's roles in an account.

    Raises:
        ServiceRefused: the portal answered no; the code `UNAUTHORIZED` means that the sign-in has ended.
        SourceUnavailable: it did not answer, or not with roles.

    See https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_ListAccountRoles.html
    """
    return [
        _known(found, "roleName")
        async for found in _pages(
            portal,
            "/assignment/roles",
            {"account_id": account_id},
            operation="ListAccountRoles",
            target=f"for the roles in account {one_line(account_id)}",
            field="roleList",
            access_token=access_token,
        )
    ]


async def _pages(
    portal: ServiceClient,
    path: str,
    query: dict[str, str],
    *,
    operation: str,
    target: str,
    field: str,
    access_token: SecretStr,
) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects in a list of the portal, from all its pages."""
    page: str | None = None
    for _ in range(MOST_PAGES):
        asked = {**query, "max_result": str(PAGE), **({"next_token": page} if page else {})}
        answer, response = await ask(
            portal,
            "GET",
            f"{path}?{urlencode(asked)}",
            operation=operation,
            name=PORTAL,
            target=target,
            headers={"x-amz-sso_bearer_token": access_token},
            errors=PORTAL_ERRORS,
            hidden=[access_token],
        )
        found: object = answer.get(field)
        if not isinstance(found, list):
            raise SourceUnavailable(f"{PORTAL} ({response.host}) answered without a {field}; {CHECK_ENDPOINT}")
        for one in cast("list[object]", found):
            yield object_of(one)
        following = text_of(answer.get("nextToken"))
        if following is None:
            return
        if following == page:
            raise SourceUnavailable(f"{PORTAL} ({response.host}) answers {target} with one page again and again")
        page = following
    raise SourceUnavailable(f"{PORTAL} answers {target} with more than {MOST_PAGES:,} pages; {CHECK_ENDPOINT}")


def _known(found: dict[str, Any], field: str) -> str:
    value = text_of(found.get(field))
    if value is None:
        raise SourceUnavailable(f"{PORTAL} answered with something that has no {field}; {CHECK_ENDPOINT}")
    return value


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
    oidc: ServiceClient,
    *,
    client_id: str,
    client_secret: SecretStr,
    grant: Mapping[str, str],
    target: str,
    errors: Mapping[str, ErrorCode] = OIDC_ERRORS,
) -> Renewed:
    """Call CreateToken.

    Args:
        oidc: the service.
        client_id: of the registration.
        client_secret: likewise.
        grant: ``grantType`` and the fields that go with it, such as ``refreshToken``.
        target: what for, for messages.
        errors: the meaning of error codes.

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
        target=target,
        headers=JSON,
        body={"clientId": client_id, "clientSecret": client_secret, **grant},
        errors=errors,
        hidden=[client_secret, *(value for name, value in grant.items() if name != "grantType")],
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


@dataclass(frozen=True, slots=True, repr=False)
class Registered:
    """The answer of RegisterClient, without a ``repr``; `ends` is in seconds since the epoch."""

    client_id: str
    client_secret: str
    ends: float


async def register_client(oidc: ServiceClient, *, name: str, settings: Mapping[str, object]) -> Registered:
    """Call RegisterClient for a public client with these further settings.

    Raises:
        ServiceRefused: OIDC answered no.
        SourceUnavailable: it did not answer, or not with a registration.
    """
    answer, response = await ask(
        oidc,
        "POST",
        "/client/register",
        operation="RegisterClient",
        name=OIDC,
        target="to register",
        headers=JSON,
        body={"clientName": name, "clientType": "public", **settings},
        errors=OIDC_ERRORS,
        hidden=[],
    )
    client_id, client_secret, ends = map(answer.get, ("clientId", "clientSecret", "clientSecretExpiresAt"))
    if not text_of(client_id) or not text_of(client_secret) or not isinstance(ends, int | float):
        raise SourceUnavailable(f"{OIDC} ({response.host}) answered without a usable clientId; {CHECK_ENDPOINT}")
    return Registered(text_of(client_id) or "", text_of(client_secret) or "", float(ends))


@dataclass(frozen=True, slots=True, repr=False)
class DeviceCode:
    """The answer of StartDeviceAuthorization, without a ``repr``.

    Attributes:
        device_code: to poll with.
        user_code: that the person compares, or types in.
        page: to be opened; with the user code where the service has such an address.
        lifetime: of the codes, in seconds.
        interval: the least number of seconds between two polls.
    """

    device_code: SecretStr
    user_code: str
    page: object
    lifetime: float
    interval: float


async def start_device_authorization(
    oidc: ServiceClient, *, client_id: str, client_secret: SecretStr, start_url: str
) -> DeviceCode:
    """Call StartDeviceAuthorization.

    Raises:
        ServiceRefused: OIDC answered no; the code `CLIENT_UNKNOWN` means that the registration has ended.
        SourceUnavailable: it did not answer, or not with codes.
    """
    answer, response = await ask(
        oidc,
        "POST",
        "/device_authorization",
        operation="StartDeviceAuthorization",
        name=OIDC,
        target=f"for a code for {start_url}",
        headers=JSON,
        body={"clientId": client_id, "clientSecret": client_secret, "startUrl": start_url},
        errors=OIDC_ERRORS,
        hidden=[client_secret],
    )
    device_code, user_code = text_of(answer.get("deviceCode")), text_of(answer.get("userCode"))
    lifetime, interval = (
        float(value) if isinstance(value, int | float) and 0 < value < LONGEST_LIFE else usual
        for value, usual in ((answer.get("expiresIn"), USUAL_LIFE), (answer.get("interval"), USUAL_INTERVAL))
    )
    if not device_code or not user_code:
        raise SourceUnavailable(f"{OIDC} ({response.host}) answered without a usable code; {CHECK_ENDPOINT}")
    page = answer.get("verificationUriComplete") or answer.get("verificationUri")
    return DeviceCode(SecretStr(device_code), user_code, page, lifetime, interval)


async def log_out(portal: ServiceClient, *, access_token: SecretStr) -> None:
    """Call Logout: the access token, and its refresh token, are good for nothing from then on.

    Raises:
        ServiceRefused: the portal answered no; the code `UNAUTHORIZED` means that it has ended already.
        SourceUnavailable: it did not answer.

    See https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_Logout.html
    """
    await ask(
        portal,
        "POST",
        "/logout",
        operation="Logout",
        name=PORTAL,
        target="to end the sign-in",
        headers={"x-amz-sso_bearer_token": access_token},
        errors=PORTAL_ERRORS,
        hidden=[access_token],
        empty=True,
    )
