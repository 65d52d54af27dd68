"""Calls that need no AWS credentials: JSON over HTTP, with a token or a proof inside."""

from __future__ import annotations

import json
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from aiocreds._aws.service_errors import THROTTLED, details_in_json, log_outcome, to_error
from aiocreds._base.json_credentials import parse_object
from aiocreds._base.redaction import SecretBytes, SecretStr
from aiocreds.errors import InvalidConfiguration, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from aiocreds._aws.client import ServiceClient
    from aiocreds._base.redaction import SecretDict
    from aiocreds._core.refresh import Clock
    from aiocreds._http import Response
    from aiocreds._http.request import Signer

    Token = str | Callable[[], Awaitable[str]]

CHECK_ENDPOINT = "check the endpoint, and for a proxy in between"
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
    remedies: Mapping[str, str],
    hidden: Collection[str],
    passing: Collection[str] = (),
    unrecoverable: Collection[str] = (),
    untimely: Collection[str] = (),
    proof: Callable[[Clock], Signer] | None = None,
) -> tuple[SecretDict, Response]:
    """Make a call and return the JSON object it is answered with, and the answer itself.

    Args:
        service: whom to ask.
        method: of HTTP.
        path: absolute, with its query.
        operation: as the service calls it, for the log.
        name: what messages call the service.
        target: what it is asked for, such as ``"for the role x"``.
        headers: to send.
        body: to send as JSON.
        remedies: what to do, by error code.
        hidden: what no message may show.
        passing: error codes, besides throttling, that are worth another attempt.
        unrecoverable: error codes that asking again cannot mend.
        untimely: error codes that a wrong clock may explain.
        proof: makes, by a clock, what makes the headers that prove something about the request.

    Raises:
        ServiceRefused: the service answered no.
        SourceUnavailable: it did not answer, or not with an object.
    """
    trouble = {*THROTTLED, *passing}

    def worth_another(response: Response) -> bool:
        return response.status >= 400 and details_in_json(response).code in trouble

    def clock_rejected(response: Response) -> bool:
        return response.status >= 400 and details_in_json(response, untimely).code in untimely

    try:
        response = await service.call(
            method,
            path,
            headers=headers,
            body=_encoded(body),
            credentials=None,
            proof=proof,
            retry_if=worth_another,
            clock_rejected=clock_rejected,
        )
    except SourceUnavailable as silence:
        log_outcome(operation, service.endpoint.host, target, "no answer")
        raise SourceUnavailable(
            f"{silence}; asked {name} {target}", provider=silence.provider
        ) from silence.__cause__
    origin = f"{name} ({response.host})"
    if response.status != 200:
        told = details_in_json(response, remedies)
        log_outcome(operation, response.host, target, f"{response.status} {told.code}".rstrip())
        raise to_error(
            response,
            told,
            origin=origin,
            target=target,
            remedy=remedies.get(told.code, NO_SUCH_ERROR),
            trouble=trouble,
            hidden=[(secret, "****") for secret in hidden],
            recoverable=told.code not in unrecoverable,
        )
    log_outcome(operation, response.host, target, "200")
    return parse_object(response.body, origin=origin, remedy=f"is that {name}?"), response


def _encoded(body: Mapping[str, Any] | None) -> SecretBytes:
    try:
        return SecretBytes() if body is None else SecretBytes(json.dumps(body).encode())
    except TypeError as error:  # raised among frames that hold the body
        raise InvalidConfiguration(f"an argument is no text: {str(error)[:80]}") from None


async def token_of(given: Token, *, place: str) -> SecretStr:
    """The token that a program hands over, stripped: the text itself, or what its async function says now.

    Args:
        given: either of them.
        place: the argument it was given as, for messages.

    Raises:
        InvalidConfiguration: it is no token.
    """
    said: object = given
    if callable(given):
        said = given()
        if not isawaitable(said):
            raise InvalidConfiguration(f"{place} is a function that is not async: define it with async def")
        said = await said
    return checked_token(said, place=place)


def checked_token(token: object, *, place: str) -> SecretStr:
    """The token, stripped; ``place`` is where it came from.

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
