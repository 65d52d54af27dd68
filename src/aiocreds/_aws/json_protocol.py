"""Calls in JSON over HTTP, with a token, or a proof or signature by a private key."""

from __future__ import annotations

import json
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from aiocreds._aws.service_errors import (
    CHECK_ENDPOINT,
    clock_codes,
    details_in_json,
    is_transient_code,
    log_outcome,
    service_error,
)
from aiocreds._base.json_credentials import parse_object
from aiocreds._base.redaction import SecretBytes, SecretDict, SecretStr
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from aiocreds._aws.client import ServiceClient
    from aiocreds._aws.service_errors import ErrorCode
    from aiocreds._core.refresh import Clock
    from aiocreds._http import Response
    from aiocreds._http.request import Signer

    Token = str | Callable[[], Awaitable[str]]

SUCCESS = (200, 201)  # OK, Created
NO_SUCH_ERROR = f"this is no error that the service is known for: {CHECK_ENDPOINT}"


async def ask(
    service: ServiceClient,
    method: str,
    path: str,
    *,
    operation: str,
    name: str,
    target: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None = None,
    errors: Mapping[str, ErrorCode],
    hidden: Collection[str],
    proof: Callable[[Clock], Signer] | None = None,
    again: Callable[[Response], bool] | None = None,
    empty: bool = False,
) -> tuple[SecretDict, Response]:
    """Make a call; return the JSON object in the answer, and the answer itself.

    Args:
        service: the service.
        method: of HTTP.
        path: absolute, with its query.
        operation: its name at the service, for the log.
        name: the service, in messages.
        target: what it is asked for, such as ``"for the role x"``.
        headers: to send.
        body: to send as JSON.
        errors: the service's table of error codes.
        hidden: secrets that messages of the service may quote.
        proof: takes a clock and returns what signs each attempt with it.
        again: returns whether to try again after an answer, besides the usual reasons.
        empty: the answer has no body.

    Raises:
        ServiceRefused: the service answered no.
        SourceUnavailable: it did not answer, or not with an object.
    """

    def is_transient(response: Response) -> bool:
        if again is not None and again(response):
            return True
        return response.status >= 400 and is_transient_code(details_in_json(response).code, errors)

    def clock_rejected(response: Response) -> bool:
        if response.status < 400:
            return False
        codes = clock_codes(errors)
        return details_in_json(response, codes).code in codes

    try:
        response = await service.call(
            method,
            path,
            headers=headers,
            body=_encoded(body),
            credentials=None,
            proof=proof,
            retry_if=is_transient,
            clock_rejected=clock_rejected,
        )
    except SourceUnavailable as no_answer:
        log_outcome(operation, service.endpoint.host, target, "no answer")
        raise SourceUnavailable(
            f"{no_answer}; asked {name} {target}", provider=no_answer.provider
        ) from no_answer.__cause__
    origin = f"{name} ({response.host})"
    if response.status not in SUCCESS:
        details = details_in_json(response, errors)
        log_outcome(operation, response.host, target, f"{response.status} {details.code}".rstrip())
        secrets = [(secret, "****") for secret in hidden]
        raise service_error(
            response, details, errors, origin=origin, target=target, default=NO_SUCH_ERROR, hidden=secrets
        )
    log_outcome(operation, response.host, target, str(response.status))
    if empty:
        return SecretDict(), response
    return parse_object(response.body, origin=origin, remedy=f"is that {name}?"), response


def _encoded(body: Mapping[str, Any] | None) -> SecretBytes:
    try:
        return SecretBytes() if body is None else SecretBytes(json.dumps(body).encode())
    except TypeError as error:  # frames of json in its traceback hold the body
        raise InvalidConfiguration(f"an argument is no text: {str(error)[:80]}") from None


async def token_of(given: Token, *, place: str) -> SecretStr:
    """Return the token that a program gives, stripped.

    Args:
        given: the token, or an async function that returns it.
        place: the argument it was given as, for messages.

    Raises:
        InvalidConfiguration: it is no token.
    """
    token: object = given
    if callable(given):
        token = given()
        if not isawaitable(token):
            raise InvalidConfiguration(f"{place} is a function that is not async: define it with async def")
        token = await token
    return checked_token(token, place=place)


def checked_token(token: object, *, place: str) -> SecretStr:
    """Return a token, stripped; ``place`` is where it came from.

    Raises:
        InvalidConfiguration: it is no text, or blank, or not one line.
    """
    if not isinstance(token, str):
        fault = f"is {type(token).__name__}: give a str, or an async function that returns one"
    elif not token.strip():
        fault = "is blank: look at what should provide it"
    elif not token.strip().isprintable():
        fault = "holds a line break or another control character: it must be one line"
    else:
        return SecretStr(token.strip())
    raise InvalidConfiguration(f"the token from {place} {fault}")
