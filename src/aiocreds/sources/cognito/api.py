"""Amazon Cognito identity pools: GetId and GetCredentialsForIdentity.

See https://docs.aws.amazon.com/cognitoidentity/latest/APIReference/Welcome.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiocreds._aws.json_protocol import ask
from aiocreds._aws.service_errors import CHECK_ENDPOINT, ErrorCode
from aiocreds._base.json_credentials import (
    Names,
    account_of_arn,
    credentials_in,
    object_of,
    text_of,
)
from aiocreds._base.time import parse_expiration
from aiocreds.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._aws.client import ServiceClient
    from aiocreds._base.redaction import SecretDict
    from aiocreds._http import Response
    from aiocreds.credentials import Credentials

NAME = "Cognito"
FIELDS = Names("AccessKeyId", "SecretKey", "SessionToken")
ERRORS = {
    "ExternalServiceException": ErrorCode(transient=True),
    "InternalErrorException": ErrorCode(transient=True),
    "NotAuthorizedException": ErrorCode(
        "check that the login tokens are fresh and their names those the pool knows; without"
        " logins, that the pool allows guests"
    ),
    "ResourceNotFoundException": ErrorCode("there is no such identity or pool: check the id, and its region"),
    "InvalidParameterException": ErrorCode(
        "correct the id (an identity pool's looks like eu-central-1:1699ebc0-…, and a user"
        " pool's is none), the logins or the role"
    ),
    "ValidationException": ErrorCode("correct the id, the logins or the role"),
    "InvalidIdentityPoolConfigurationException": ErrorCode(
        "give the pool roles that trust Cognito, and check their policies"
    ),
    "ResourceConflictException": ErrorCode("the logins belong to different identities: use those of one"),
    "LimitExceededException": ErrorCode("the pool holds as many identities as the account may have"),
}


async def get_id(
    cognito: ServiceClient, *, identity_pool_id: str, account_id: str | None, logins: Mapping[str, str]
) -> str:
    """Call GetId; return the identity that the logins belong to, or a new guest.

    Raises:
        ServiceRefused: Cognito answered no.
        SourceUnavailable: it did not answer, or not with an identity.
    """
    answer, response = await _call(
        cognito,
        "GetId",
        {"IdentityPoolId": identity_pool_id, "AccountId": account_id, "Logins": dict(logins)},
        target=f"for an identity of the pool {identity_pool_id}",
    )
    identity_id = text_of(answer.get("IdentityId"))
    if identity_id is None:
        raise SourceUnavailable(f"{NAME} ({response.host}) answered without IdentityId; {CHECK_ENDPOINT}")
    return identity_id


async def get_credentials(
    cognito: ServiceClient, *, identity_id: str, logins: Mapping[str, str], custom_role_arn: str | None
) -> Credentials:
    """Call GetCredentialsForIdentity.

    Raises:
        ServiceRefused: Cognito answered no.
        SourceUnavailable: it did not answer, or not with credentials.
    """
    asked = cognito.scope.context.clock.now()
    answer, response = await _call(
        cognito,
        "GetCredentialsForIdentity",
        {"IdentityId": identity_id, "Logins": dict(logins), "CustomRoleArn": custom_role_arn},
        target=f"for the identity {identity_id}",
    )
    origin, issued = f"{NAME} ({response.host})", object_of(answer.get("Credentials"))
    if not issued:
        raise SourceUnavailable(f"{origin} answered without Credentials; {CHECK_ENDPOINT}")
    credentials = credentials_in(
        issued,
        names=FIELDS,
        expiration=parse_expiration(
            issued.get("Expiration"), origin=f"the Expiration that {origin} answered with", per_second=1
        ),
        provider="cognito",
        origin=origin,
        remedy=CHECK_ENDPOINT,
        account_id=account_of_arn(custom_role_arn),
        identity_id=text_of(answer.get("IdentityId")) or identity_id,
    )
    cognito.refuse_expired(credentials, response, asked, origin=origin)
    return credentials


async def _call(
    cognito: ServiceClient, action: str, parameters: Mapping[str, Any], *, target: str
) -> tuple[SecretDict, Response]:
    return await ask(
        cognito,
        "POST",
        "/",
        operation=action,
        name=NAME,
        target=target,
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AWSCognitoIdentityService.{action}",
        },
        body={name: value for name, value in parameters.items() if value},
        errors=ERRORS,
        hidden=list(parameters["Logins"].values()),
    )
