"""A service's no: what it says, and whether to ask again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._base.json_credentials import error_code, parse_object
from aiocreds._base.redaction import SecretDict, SecretStr
from aiocreds.errors import ServiceRefused, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from aiocreds._http import Response

logger = logging.getLogger("aiocreds.aws")

# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html and those of the services that speak JSON
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
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"}  # what signed a request
LONGEST_MESSAGE = 500


def log_outcome(operation: str, host: str, target: str, outcome: str) -> None:
    """Tell the log, at DEBUG, what was asked of whom and what came of it. No part of that may be secret.

    Args:
        operation: such as ``"AssumeRole"``.
        host: who was asked.
        target: what for, as the rest of a sentence; may be blank.
        outcome: such as ``"403 AccessDenied"``.
    """
    logger.debug("%s, asked of %s%s: %s", operation, host, f" {target}" if target else "", outcome)


class ErrorDetails(NamedTuple):
    """What an answer tells about an error.

    Attributes:
        code: such as ``"AccessDenied"``; blank when it tells none.
        message: the service's own words, not yet fit to be shown.
        request_id: what the service's support asks for.
    """

    code: str
    message: SecretStr
    request_id: str | None


def details_in_json(response: Response, known: Iterable[str] = ()) -> ErrorDetails:
    """What a service that speaks JSON tells, in one of its dialects.

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


def to_error(
    response: Response,
    told: ErrorDetails,
    *,
    origin: str,
    target: str,
    remedy: str,
    trouble: Container[str] = THROTTLED,
    hidden: Iterable[tuple[str | None, str]] = (),
    recoverable: bool = True,
) -> ServiceRefused | SourceUnavailable:
    """The error to raise for an answer that is none of success.

    Args:
        response: the answer.
        told: what it tells.
        origin: what messages call the service.
        target: what it was asked for, as the rest of a sentence.
        remedy: what to do about a refusal.
        trouble: codes that mean that the service is busy or broken, besides 5xx and 429.
        hidden: texts that no message may hold, and what to write instead.
        recoverable: whether asking again may help.
    """
    status, code = response.status, told.code
    if code in trouble or status == 429 or status >= 500:
        said = f"HTTP {status}{f' {code}' if code else ''}"
        return SourceUnavailable(
            f"{origin} is busy or in trouble: asked {target}, it answered {said}; asking again later may help"
        )
    if 300 <= status < 400:
        remedy = "redirects are not followed: check the endpoint, and for a proxy in between"
    message: str = told.message
    for secret, instead in hidden:
        if secret:
            message = message.replace(secret, instead)
    # It may run on with the canonical request, and that holds the session token.
    message = "".join(char for char in message.split("\n")[0] if char.isprintable())
    message = message.strip().removesuffix(".")[:LONGEST_MESSAGE]
    said = f"{code or f'HTTP {status}'}{f': {message}' if message else ''}"
    return ServiceRefused(
        f"{origin} refused {target}: {said}. Remedy: {remedy}",
        code=code,
        message=message,
        status=status,
        request_id=told.request_id,
        recoverable=recoverable,
    )
