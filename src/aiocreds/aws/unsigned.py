"""Calls that need no AWS credentials: JSON over HTTP, with a token or a proof inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiocreds.aws.refusals import THROTTLED, to_error, told_in_json
from aiocreds.errors import SourceUnavailable
from aiocreds.parse import parse_object

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiocreds.aws.client import ServiceClient
    from aiocreds.http import Response
    from aiocreds.http.outgoing import Signer

NO_SUCH_ERROR = "this is no error that the service is known for: check the endpoint, and for a proxy in between"


async def ask(
    service: ServiceClient,
    method: str,
    path: str,
    *,
    name: str,
    target: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None = None,
    remedies: Mapping[str, str],
    hidden: Collection[str],
    passing: Collection[str] = (),
    unrecoverable: Collection[str] = (),
    proof: Signer | None = None,
) -> dict[str, Any]:
    """Make a call and return the JSON object it is answered with.

    Args:
        service: whom to ask.
        method: of HTTP.
        path: absolute, with its query.
        name: what messages call the service.
        target: what it is asked for, such as ``"for the role x"``.
        headers: to send.
        body: to send as JSON.
        remedies: what to do, by error code.
        hidden: what no message may show.
        passing: error codes, besides throttling, that are worth another attempt.
        unrecoverable: error codes that asking again cannot mend.
        proof: makes the headers that prove something about the request.

    Raises:
        ServiceRefused: the service answered no.
        SourceUnavailable: it did not answer, or not with an object.
    """
    trouble = {*THROTTLED, *passing}

    def worth_another(response: Response) -> bool:
        return response.status >= 400 and told_in_json(response).code in trouble

    def clock_rejected(response: Response) -> bool:
        return proof is not None and response.status in (400, 401, 403)

    try:
        response = await service.call(
            method,
            path,
            headers=headers,
            body=b"" if body is None else json.dumps(body).encode(),
            credentials=None,
            proof=proof,
            retry_if=worth_another,
            clock_rejected=clock_rejected,
        )
    except SourceUnavailable as silence:
        raise SourceUnavailable(f"{silence}; asked {name} {target}", provider=silence.provider) from None
    finally:
        del headers, body  # they hold a token, and this frame stays in the traceback
    origin = f"{name} ({response.host})"
    if response.status != 200:
        told = told_in_json(response, remedies)
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
    return parse_object(response.body, origin=origin, remedy=f"is that {name}?")
