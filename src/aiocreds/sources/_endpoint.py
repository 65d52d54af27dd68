"""HTTP endpoints that answer with credentials in JSON: agents of containers, EC2 metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiocreds._aws.service_errors import log_outcome
from aiocreds._base import tracing
from aiocreds._base.json_credentials import parse_credentials, parse_object
from aiocreds._core.context import load_http
from aiocreds.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiocreds._core.context import Context
    from aiocreds._http import Response
    from aiocreds.credentials import Credentials
    from aiocreds.errors import CredentialsError


class Endpoint(NamedTuple):
    """Settings of the requests of one source to its endpoint.

    Attributes:
        context: the clock and the HTTP session.
        provider: the source, for errors.
        timeout: seconds for one attempt.
        attempts: in all.
        further_attempts: after an answer that reports a fault, which shows that something is there.
        answered: called with each answer.
    """

    context: Context
    provider: str
    timeout: float
    attempts: int
    further_attempts: int = 0
    answered: Callable[[Response], object] | None = None

    async def credentials(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        wanted: str = "credentials",
        target: str,
        stamp: str,
        origin: str = "",
        remedy: str,
        refused: Callable[[Response], CredentialsError],
        accept_expired: bool = False,
    ) -> Credentials:
        """Return the credentials in the document at a URL; an answer that is no JSON object is asked for again.

        Args:
            url: of the document.
            headers: to send.
            wanted: what is asked for, for the log.
            target: what for, as the rest of a sentence.
            stamp: the ``provider`` of the credentials.
            origin: what messages call the sender; by default its host.
            remedy: what to do about an answer without credentials.
            refused: makes the error for an answer with another status than 200.
            accept_expired: return expired ones, too.

        Raises:
            CredentialsError: what ``refused`` makes.
            ServiceRefused: the document holds an error code.
            SourceUnavailable: nothing answered, or not with credentials.
        """
        response = await self.request(
            "GET", url, headers=headers, wanted=wanted, target=target, retry_if=unreadable
        )
        if response.status != 200:
            raise refused(response)
        return parse_credentials(
            response.body,
            provider=stamp,
            origin=origin or response.host,
            remedy=remedy,
            now=self.context.clock.now(),
            accept_expired=accept_expired,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        wanted: str,
        target: str = "",
        retry_if: Callable[[Response], bool] | None = None,
    ) -> Response:
        """Return the answer to a request, whatever its status.

        Raises:
            SourceUnavailable: there is none.
        """
        host = url.partition("//")[2].partition("/")[0].partition("?")[0]
        tracing.note(host, wanted, kind="asked")
        try:
            response = await self._attempt(method, url, headers, self.attempts, retry_if)
            if self.further_attempts and response.is_transient:
                response = await self._attempt(method, url, headers, self.further_attempts, retry_if)
        except SourceUnavailable:
            log_outcome(wanted, host, target, "no answer")
            raise
        log_outcome(wanted, host, target, str(response.status))
        return response

    async def _attempt(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        attempts: int,
        retry_if: Callable[[Response], bool] | None,
    ) -> Response:
        http = await load_http(self.context)
        response = await http.request(
            method,
            url,
            provider=self.provider,
            headers=headers,
            timeout=self.timeout,
            attempts=attempts,
            retry_if=retry_if,
        )
        if self.answered is not None:
            self.answered(response)
        return response


def unreadable(response: Response) -> bool:
    """Return whether a good answer is no JSON object: metadata services are restarted under their clients."""
    if response.status != 200:
        return False
    try:
        parse_object(response.body, origin="", remedy="")
    except SourceUnavailable:
        return True
    return False
