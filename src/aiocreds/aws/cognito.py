"""Amazon Cognito identity pools: GetId and GetCredentialsForIdentity.

See https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/Welcome.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiocreds.aws.unsigned import ask
from aiocreds.errors import SourceUnavailable
from aiocreds.parse import Names, credentials_in, object_of, parse_expiration, refuse_expired, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds.aws.client import ServiceClient
    from aiocreds.credentials import Credentials
    from aiocreds.hidden import Document

NAME = "Cognito"
FIELDS = Names("AccessKeyId", "SecretKey", "SessionToken")
REMEDIES = {
    "NotAuthorizedException": "check that the login tokens are fresh and their names those the pool knows; without"
    " logins, that the pool allows guests",
    "ResourceNotFoundException": "there is no such identity or pool: check the id, and its region",
    "InvalidParameterException": "correct the id (an identity pool's looks like eu-central-1:1699ebc0-…, and a user"
    " pool's is none), the logins or the role",
    "ValidationException": "correct the id, the logins or the role",
    "InvalidIdentityPoolConfigurationException": "give the pool roles that trust Cognito, and check their policies",
    "ResourceConflictException": "the logins belong to different identities: use those of one",
    "LimitExceededException": "the pool holds as many identities as the account may have",
}
REMEDY = "check the endpoint, and for a proxy in between"
PASSING = {"ExternalServiceException", "InternalErrorException"}


async def get_id(
    cognito: ServiceClient, *, identity_pool_id: str, account_id: str | None, logins: Mapping[str, str]
) -> str:
    """Call GetId: the identity that the logins belong to, or a new guest.

    Raises:
        ServiceRefused: Cognito answered no.
        SourceUnavailable: it did not answer, or not with an identity.
    """
    answer, origin = await _call(
        cognito,
        "GetId",
        {"IdentityPoolId": identity_pool_id, "AccountId": account_id, "Logins": dict(logins)},
        target=f"for an identity of the pool {identity_pool_id}",
    )
    identity_id = text_of(answer.get("IdentityId"))
    if identity_id is None:
        raise SourceUnavailable(f"{origin} answered without IdentityId; {REMEDY}")
    return identity_id


async def get_credentials(
    cognito: ServiceClient, *, identity_id: str, logins: Mapping[str, str], custom_role_arn: str | None
) -> Credentials:
    """Call GetCredentialsForIdentity.

    Raises:
        ServiceRefused: Cognito answered no.
        SourceUnavailable: it did not answer, or not with credentials.
    """
    answer, origin = await _call(
        cognito,
        "GetCredentialsForIdentity",
        {"IdentityId": identity_id, "Logins": dict(logins), "CustomRoleArn": custom_role_arn},
        target=f"for the identity {identity_id}",
    )
    if not (issued := object_of(answer.get("Credentials"))):
        raise SourceUnavailable(f"{origin} answered without Credentials; {REMEDY}")
    credentials = credentials_in(
        issued,
        names=FIELDS,
        expiration=parse_expiration(
            issued.get("Expiration"), origin=f"the Expiration that {origin} answered with", per_second=1
        ),
        provider="cognito",
        origin=origin,
        remedy=REMEDY,
        identity_id=text_of(answer.get("IdentityId")) or identity_id,
    )
    refuse_expired(credentials, origin=origin, now=cognito.around.context.clock.now())
    return credentials


async def _call(
    cognito: ServiceClient, action: str, parameters: Mapping[str, Any], *, target: str
) -> tuple[Document, str]:
    """The answer, and what messages call who sent it."""
    answer = await ask(
        cognito,
        "POST",
        "/",
        name=NAME,
        target=target,
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AWSCognitoIdentityService.{action}",
        },
        body={name: value for name, value in parameters.items() if value},
        remedies=REMEDIES,
        hidden=list(parameters["Logins"].values()),
        passing=PASSING,
    )
    return answer, f"{NAME} ({urlsplit(cognito.endpoint.url).netloc})"
