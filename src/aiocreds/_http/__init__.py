"""HTTP for every source: one session per loop, bounded answers, retries, and errors that give nothing away.

A session is *leased*. The first request opens it, others share it meanwhile, and the last one closes it. So nothing
is left open by a program that forgets to close anything; one that makes many requests holds a lease around them
(`Http.lease`).

Failures become `SourceUnavailable` here. No exception of aiohttp reaches a caller: they hold the headers of
requests, and so tokens.
"""

from aiocreds._http.client import Http
from aiocreds._http.request import MAX_BODY, MAX_RETRY_AFTER, NoAnswer, Response

__all__ = ["MAX_BODY", "MAX_RETRY_AFTER", "Http", "NoAnswer", "Response"]
