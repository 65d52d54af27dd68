"""Map the errors that services answer with to exceptions, by each service's own table of codes.

The table of STS is in ``_aws/sts.py``, those of SSO, AWS Sign-In and Cognito are in ``sources/*/api.py``. A new
error code of a service is one line there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._base.json_credentials import error_code, parse_object
from aiocreds._base.redaction import SecretDict, SecretStr
from aiocreds.errors import ServiceRefused, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiocreds._http import Response

logger = logging.getLogger("aiocreds.aws")

# See https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html; the JSON services add some.
THROTTLED = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "SlowDownException",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsError",
    "TooManyRequestsException",
    "TransactionInProgressException",
}
# For the credentials that signed a request.
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"}
REDIRECTS, OTHERS = 300, 400  # keys of a table of remedies by status: any redirect; any status that has no row
CHECK_ENDPOINT = "check the endpoint, and for a proxy in between"
LONGEST_MESSAGE = 500  # characters


class ErrorCode(NamedTuple):
    """The meaning of an error code of a service.

    Attributes:
        remedy: what to do about it; blank for the service's default.
        transient: another attempt may succeed. :data:`THROTTLED`, 429 and 5xx are transient without a row.
        recoverable: False when asking again cannot help until somebody changes something.
        clock: a wrong clock may explain it.
        sign_in_ended: a person has to sign in again.
    """

    remedy: str = ""
    transient: bool = False
    recoverable: bool = True
    clock: bool = False
    sign_in_ended: bool = False


class ErrorDetails(NamedTuple):
    """The details of an error in an answer.

    Attributes:
        code: such as ``"AccessDenied"``; blank when it has none.
        message: the service's own words; they may hold secrets.
        request_id: for the service's support.
    """

    code: str
    message: SecretStr
    request_id: str | None


def details_in_json(response: Response, known: Iterable[str] = ()) -> ErrorDetails:
    """Return the details of an error of a service that speaks JSON, in any of its dialects.

    Args:
        response: the answer.
        known: the codes to prefer, in this order, where an answer names its error twice.
    """
    try:
        document = parse_object(response.body, origin="", remedy="")
    except SourceUnavailable:
        document = SecretDict()
    named = [response.headers.get("x-amzn-ErrorType"), *map(document.get, ("__type", "code", "Code", "error"))]
    # Such as com.amazon.coral#NotAuthorizedException or NotAuthorizedException:http://internal.amazon.com/coral/
    codes = [error_code(name.partition(":")[0].rpartition("#")[2]) for name in named if isinstance(name, str)]
    code = next((code for code in known if code in codes), next(filter(None, codes), ""))
    message = next(filter(None, map(document.get, ("message", "Message", "error_description"))), "")
    return ErrorDetails(
        code, SecretStr(message if isinstance(message, str) else ""), response.headers.get("x-amzn-RequestId")
    )


def is_transient_code(code: str, codes: Mapping[str, ErrorCode]) -> bool:
    """Return whether another attempt may succeed after an error with this code."""
    return code in THROTTLED or (code in codes and codes[code].transient)


def clock_codes(codes: Mapping[str, ErrorCode]) -> list[str]:
    """Return the codes that a wrong clock may explain."""
    return [code for code, meaning in codes.items() if meaning.clock]


def service_error(
    response: Response,
    details: ErrorDetails,
    codes: Mapping[str, ErrorCode],
    *,
    origin: str,
    target: str,
    default: str,
    hidden: Iterable[tuple[str | None, str]] = (),
) -> ServiceRefused | SourceUnavailable:
    """Return the exception for an error that a service answered with.

    Args:
        response: the answer.
        details: what it says.
        codes: the service's table.
        origin: the service, in messages.
        target: what it was asked for, as the rest of a sentence.
        default: the remedy for codes that have none.
        hidden: texts that no message may hold, and their replacements.
    """
    status, code = response.status, details.code
    if is_transient_code(code, codes) or response.is_transient:
        said = f"HTTP {status}{f' {code}' if code else ''}"
        return SourceUnavailable(
            f"{origin} is busy or in trouble: asked {target}, it answered {said}; asking again later may help"
        )
    meaning = codes.get(code) or ErrorCode()
    remedy = meaning.remedy or default
    if 300 <= status < 400:
        remedy = f"redirects are not followed: {CHECK_ENDPOINT}"
    message: str = details.message
    for secret, replacement in hidden:
        if secret:
            message = message.replace(secret, replacement)
    # Later lines may be the canonical request, which holds the session token.
    message = "".join(char for char in message.split("\n")[0] if char.isprintable())
    message = message.strip().removesuffix(".")[:LONGEST_MESSAGE]
    said = f"{code or f'HTTP {status}'}{f': {message}' if message else ''}"
    return ServiceRefused(
        f"{origin} refused {target}: {said}. Remedy: {remedy}",
        code=code,
        message=message,
        status=status,
        request_id=details.request_id,
        recoverable=meaning.recoverable,
    )


def endpoint_error(
    response: Response, remedies: Mapping[int, str], *, said: str, code: str = ""
) -> ServiceRefused | SourceUnavailable:
    """Return the exception for an error of a metadata service or container agent, which have no table of codes.

    Args:
        response: the answer.
        remedies: by HTTP status, with :data:`REDIRECTS` and :data:`OTHERS`.
        said: the beginning of the message, such as ``"localhost answered"``.
        code: the error code in the answer.
    """
    status = response.status
    if response.is_transient:
        trouble = "is asked too often" if status == 429 else "is in trouble"
        return SourceUnavailable(f"{said} with HTTP {status}: it {trouble}; asking again later may help")
    remedy = remedies.get(status) or remedies[REDIRECTS if 300 <= status < 400 else OTHERS]
    return ServiceRefused(
        f"{said} with HTTP {status}{f' {code}' if code else ''}: {remedy}", code=code, status=status
    )


def log_outcome(operation: str, host: str, target: str, outcome: str) -> None:
    """Log at DEBUG what was asked of a host, and the outcome. No argument may hold a secret.

    Args:
        operation: such as ``"AssumeRole"``.
        host: that was asked.
        target: what for, as the rest of a sentence; may be blank.
        outcome: such as ``"403 AccessDenied"``.
    """
    logger.debug("%s, asked of %s%s: %s", operation, host, f" {target}" if target else "", outcome)
