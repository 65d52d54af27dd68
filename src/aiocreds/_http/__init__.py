"""HTTP for every source: one session per loop, bounded answers, retries, and errors that give nothing away.

A session is *leased*. The first who needs it opens it, all who need it meanwhile share it, and the last to
leave closes it; each request holds a lease of its own for as long as it takes. So nothing is left open by a
program that forgets to close anything; one that makes many requests holds a lease around them (`Http.lease`).

Failures become `SourceUnavailable` here, and no exception of aiohttp reaches a caller: those drag along the
headers of requests, and with them tokens.
"""

from aiocreds._http.client import Http
from aiocreds._http.request import MAX_BODY, MAX_RETRY_AFTER, NoAnswer, Response

__all__ = ["MAX_BODY", "MAX_RETRY_AFTER", "Http", "NoAnswer", "Response"]
