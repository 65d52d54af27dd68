"""AWS STS: AssumeRole and AssumeRoleWithWebIdentity.

See https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_plus

from aiocreds._aws.service_errors import (
    ErrorCode,
    ErrorDetails,
    clock_codes,
    is_transient_code,
    log_outcome,
    service_error,
)
from aiocreds._aws.xml_answer import fields_of
from aiocreds._base.json_credentials import account_of_arn, error_code
from aiocreds._base.redaction import SecretBytes, SecretDict, SecretStr
from aiocreds._base.time import parse_expiration
from aiocreds._core.singleflight import note_role
from aiocreds.credentials import Credentials, redact_key
from aiocreds.errors import ServiceRefused, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiocreds._aws.client import ServiceClient
    from aiocreds._http import Response

TOKEN_EXPIRED = {"ExpiredToken", "ExpiredTokenException"}
INVALID_TOKEN, NO_KEY = "InvalidIdentityToken", "retrieve verification key"
NO_REMEDY = "see https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html"

_REGION_DISABLED = ErrorCode(
    "enable the region's STS endpoint for the account, or set another region", recoverable=False
)
_CALLER_EXPIRED = ErrorCode("renew the caller's credentials; their source had no others")
ERRORS = {
    "": ErrorCode("this is no error of STS: check the endpoint, and for a proxy in between"),
    "AccessDenied": ErrorCode(
        "check the role's trust policy, the caller's permission for sts:AssumeRole, and the MFA code"
        " or external id if it needs one",
        recoverable=False,
    ),
    "ExpiredToken": _CALLER_EXPIRED,
    "ExpiredTokenException": _CALLER_EXPIRED,
    "IDPRejectedClaim": ErrorCode(recoverable=False),
    "InvalidClientTokenId": ErrorCode("the caller's keys do not exist (any more) in this partition"),
    "InvalidIdentityToken": ErrorCode(recoverable=False),
    "InvalidSignatureException": ErrorCode(clock=True),
    "MalformedPolicyDocument": ErrorCode("correct the session policy", recoverable=False),
    "PackedPolicyTooLarge": ErrorCode("shorten the session policy or the tags", recoverable=False),
    "RegionDisabled": _REGION_DISABLED,
    "RegionDisabledException": _REGION_DISABLED,
    "RequestExpired": ErrorCode(clock=True),
    "RequestInTheFuture": ErrorCode(clock=True),
    "RequestTimeTooSkewed": ErrorCode(clock=True),
    "SignatureDoesNotMatch": ErrorCode(
        "the caller's secret key does not belong to its key id, or a proxy changes requests", clock=True
    ),
    "ValidationError": ErrorCode("correct the parameters of the role"),
}
_TOKEN_EXPIRED = ErrorCode("the token has expired: look at what should renew it")
WEB_IDENTITY_ERRORS = ERRORS | {
    "AccessDenied": ErrorCode(
        "check the role's trust policy: the identity provider, and the conditions on the token's"
        " subject and audience",
        recoverable=False,
    ),
    "ExpiredToken": _TOKEN_EXPIRED,
    "ExpiredTokenException": _TOKEN_EXPIRED,
    "IDPCommunicationError": ErrorCode(transient=True),
    "IDPRejectedClaim": ErrorCode(
        "the identity provider does not accept the token: it has expired or was revoked", recoverable=False
    ),
    "InvalidIdentityToken": ErrorCode(
        "check that the account has an IAM identity provider with the token's issuer and"
        " audience, and that the token is whole",
        recoverable=False,
    ),
    "PackedPolicyTooLarge": ErrorCode(
        "shorten the session policy, or the tags inside the token", recoverable=False
    ),
}
_EXPIRED = ErrorCode("these credentials have expired: look at what should renew them")
CALLER_ERRORS = ERRORS | {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "InvalidClientTokenId": ErrorCode(
        "these keys do not exist (any more) in this partition, or lack their session token"
    ),
    "SignatureDoesNotMatch": ErrorCode(
        "the secret key does not belong to its key id, or a proxy changes requests", clock=True
    ),
}
# All actions have the same codes of a wrong clock.
CLOCK_CODES = clock_codes(ERRORS)

ISSUED = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
# The usual form of an answer: much faster than an XML parser, which reads the others.
PLAIN_CREDENTIALS = re.compile(r"\s*".join(rf"<{name}>(?P<{name}>[^<]*)</{name}>" for name in ISSUED))
PLAIN_ARN = re.compile("<Arn>(?P<Arn>[^<]*)</Arn>")
# Names, numbers and ARNs: much faster than urllib, which quotes other texts.
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.~:/-]*")


class Action(NamedTuple):
    """An action of STS.

    Attributes:
        name: at the service.
        provider: of the credentials it issues.
        errors: its table of error codes.
    """

    name: str
    provider: str
    errors: Mapping[str, ErrorCode]


ASSUME_ROLE = Action("AssumeRole", "assume_role", ERRORS)
WITH_WEB_IDENTITY = Action("AssumeRoleWithWebIdentity", "web_identity", WEB_IDENTITY_ERRORS)
CALLER_IDENTITY = Action("GetCallerIdentity", "", CALLER_ERRORS)


class Caller(NamedTuple):
    """The identity behind credentials.

    Attributes:
        account: its 12 digits.
        arn: of the user, or of the session of a role.
        user_id: the unique id behind the name.
    """

    account: str
    arn: str
    user_id: str


async def assume(
    sts: ServiceClient,
    action: Action,
    parameters: Mapping[str, str | int],
    *,
    credentials: Credentials | None = None,
    hidden: SecretStr | None = None,
) -> Credentials:
    """Return the credentials of a role.

    Args:
        sts: the service.
        action: AssumeRole, which is signed, or AssumeRoleWithWebIdentity.
        parameters: in the flat names of the query protocol, such as ``Tags.member.1.Key``.
        credentials: the caller's.
        hidden: a secret that messages of STS may quote.

    Raises:
        ServiceRefused: STS answered no.
        SourceUnavailable: it did not answer, or not with credentials.
    """
    target = f"to assume {parameters.get('RoleArn', 'the role')}"
    note_role(str(parameters.get("RoleArn", "")))
    asked = sts.scope.context.clock.now()
    response = await _ask(sts, action, parameters, target=target, credentials=credentials, hidden=hidden)
    origin = f"STS ({response.host})"
    assumed = _parse(response, action, origin, parameters.get("RoleArn"))
    sts.refuse_expired(assumed, response, asked, origin=origin)
    return assumed


async def get_caller_identity(sts: ServiceClient, credentials: Credentials) -> Caller:
    """Return the identity behind credentials. No permission is needed, so it shows whether they work at all.

    Raises:
        ServiceRefused: STS knows no such credentials.
        SourceUnavailable: it did not answer, or not with an identity.

    See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    response = await _ask(sts, CALLER_IDENTITY, {}, target="to say who calls", credentials=credentials)
    fields = fields_of(response.body)
    account, arn = fields.get("Account", ""), fields.get("Arn", "")
    if not account or not arn:
        raise SourceUnavailable(f"STS ({response.host}) answered without an Account and an Arn; is that STS?")
    return Caller(account, arn, fields.get("UserId", ""))


async def _ask(
    sts: ServiceClient,
    action: Action,
    parameters: Mapping[str, str | int],
    *,
    target: str,
    credentials: Credentials | None,
    hidden: SecretStr | None = None,
) -> Response:
    """Make a call; return the answer if it is one of success."""
    try:
        response = await sts.call(
            "POST",
            "/",
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
            body=_form(action.name, parameters),
            credentials=credentials,
            retry_if=partial(_is_transient, action.errors),
            clock_rejected=_rejects_clock,
        )
    except SourceUnavailable as no_answer:
        log_outcome(action.name, sts.endpoint.host, target, "no answer")
        raise SourceUnavailable(
            f"{no_answer}; asked STS {target}", provider=no_answer.provider
        ) from no_answer.__cause__
    log_outcome(action.name, response.host, target, f"{response.status} {_code(response)}".rstrip())
    if response.status != 200:
        raise _refusal(response, action, f"STS ({response.host})", target, credentials, hidden)
    return response


def _form(action: str, parameters: Mapping[str, str | int]) -> SecretBytes:
    """Return the body of a call in the query protocol. Its names need no quoting."""
    fields = [f"&{name}={_quoted(str(value))}" for name, value in parameters.items()]
    return SecretBytes(f"Action={action}&Version=2011-06-15{''.join(fields)}".encode())


def _quoted(text: str) -> str:
    if PLAIN_VALUE.fullmatch(text):
        return text.replace(":", "%3A").replace("/", "%2F")
    return quote_plus(text, errors="surrogatepass")  # such as a variable that is not UTF-8: STS refuses it


def listed(name: str, members: Sequence[Mapping[str, str] | str], *, field: str = "") -> dict[str, str]:
    """Return a list in the flat names of the query protocol: ``name.member.1.field``."""
    flat: dict[str, str] = {}
    for number, member in enumerate(members, 1):
        prefix = f"{name}.member.{number}"
        if isinstance(member, str):
            flat[f"{prefix}.{field}" if field else prefix] = member
        else:
            flat.update(
                {f"{prefix}.{quote_plus(key, errors='surrogatepass')}": value for key, value in member.items()}
            )
    return flat


def _rejects_clock(response: Response) -> bool:
    """Return whether a wrong clock may explain an answer."""
    return response.status >= 400 and fields_of(response.body).get("Code", "") in CLOCK_CODES


def _code(response: Response) -> str:
    """Return the error code in an answer; blank in one of success."""
    return "" if response.status == 200 else error_code(fields_of(response.body).get("Code"))


def _is_transient(errors: Mapping[str, ErrorCode], response: Response) -> bool:
    """Return whether another attempt may succeed after this answer."""
    if response.status < 400:
        return False
    fields = fields_of(response.body)
    return is_transient_code(fields.get("Code", ""), errors) or _has_no_key(fields)


def _has_no_key(fields: Mapping[str, str]) -> bool:
    """Return whether STS could not read the identity provider's keys; it answers with the code of a bad token."""
    return fields.get("Code") == INVALID_TOKEN and NO_KEY in fields.get("Message", "").lower()


def _refusal(
    response: Response,
    action: Action,
    origin: str,
    target: str,
    credentials: Credentials | None,
    hidden: SecretStr | None,
) -> ServiceRefused | SourceUnavailable:
    fields = fields_of(response.body)
    request_id = fields.get("RequestId") or response.headers.get("x-amzn-RequestId")
    details = ErrorDetails(error_code(fields.get("Code")), SecretStr(fields.get("Message", "")), request_id)
    if _has_no_key(fields):
        return SourceUnavailable(
            f"{origin} could not retrieve the identity provider's verification key: asked {target}, it answered"
            f" HTTP {response.status} {INVALID_TOKEN}; asking again later may help, and if not, check that the"
            " issuer's key set can be read from the internet"
        )
    secrets: list[tuple[str | None, str]] = [(hidden, "****")]
    if credentials is not None:
        key = redact_key(credentials.access_key_id)
        target = f"{target} for {key}"
        secrets += [(credentials.secret_access_key, "****"), (credentials.session_token, "****")]
        secrets.append((credentials.access_key_id, key))
    return service_error(
        response, details, action.errors, origin=origin, target=target, default=NO_REMEDY, hidden=secrets
    )


def _parse(response: Response, action: Action, origin: str, role_arn: object) -> Credentials:
    try:
        text = SecretStr(response.body.decode())
    except UnicodeDecodeError:
        text = SecretStr()  # in another encoding, or garbled: left to the parser
    plain, role = PLAIN_CREDENTIALS.search(text), PLAIN_ARN.search(text)
    if plain and role and "&" not in text:
        fields = SecretDict(
            {name: value.strip() for match in (plain, role) for name, value in match.groupdict().items()}
        )
    else:
        fields = fields_of(response.body)
    if missing := [name for name in ISSUED if not fields.get(name)]:
        raise SourceUnavailable(f"{origin} answered without {', '.join(missing)}; is that STS?")
    return Credentials(
        fields["AccessKeyId"],
        fields["SecretAccessKey"],
        session_token=fields["SessionToken"],
        expiration=parse_expiration(
            fields["Expiration"], origin=f"the Expiration that {origin} answered with", per_second=1
        ),
        account_id=account_of_arn(fields.get("Arn")) or account_of_arn(role_arn),
        provider=action.provider,
        may_outlive_expiry=True,
    )
