"""aiokafka and confluent-kafka: connections to Amazon MSK log in with tokens (SASL/OAUTHBEARER).

::

    token = msk_token(default_chain(), broker=brokers)
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,  # of port 9098
        security_protocol="SASL_SSL",
        ssl_context=ssl.create_default_context(),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=aiokafka_token_provider(token),
    )

confluent-kafka takes ``"oauth_cb": oauth_cb(token)`` with ``"sasl.mechanisms": "OAUTHBEARER"`` over ``SASL_SSL``.
Install with ``pip install 'aiocreds[aiokafka]'`` or ``'aiocreds[confluent-kafka]'``.
"""

from __future__ import annotations

import functools
import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiocreds.errors import CredentialsError
from aiocreds.integrations import _background
from aiocreds.integrations._extras import require
from aiocreds.tokens import check_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds.tokens import TokenProvider

__all__ = ["aiokafka_token_provider", "oauth_cb"]

logger = logging.getLogger("aiocreds.kafka")


def aiokafka_token_provider(token: TokenProvider) -> Any:
    """Make a ``sasl_oauth_token_provider=`` for aiokafka: each connection gets a token of its own.

    Give the client ``security_protocol="SASL_SSL"``: aiokafka does not say here whether a connection has TLS, and
    who reads a token on its way can log in with it for 15 minutes.

    Args:
        token: from :func:`~aiocreds.tokens.msk_token`. What it raises fails the connection.

    Returns:
        An ``aiokafka.abc.AbstractTokenProvider``.

    Raises:
        ModuleNotFoundError: aiokafka is not installed.

    See https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html
    """
    check_token(token, taker="aiokafka_token_provider()", names=("msk_token",))
    require("aiokafka", "aiokafka")
    import_module("aiokafka.abc").AbstractTokenProvider.register(_MskTokenProvider)
    return _MskTokenProvider(token)


def oauth_cb(token: TokenProvider) -> Callable[[str], tuple[str, float]]:
    """Make an ``oauth_cb`` for confluent-kafka, for its clients with asyncio and without.

    The library calls it from a thread of its own, as soon as a client is made, and when four fifths of a token's
    time are over. It waits where the provider does, for a refresh on a loop in the background. Clients with asyncio
    wait for the first token when they are made, which blocks their loop for a second.

    Configure ``SASL_SSL``: as with :func:`aiokafka_token_provider`, a connection without TLS is not noticed here.

    Args:
        token: from :func:`~aiocreds.tokens.msk_token`.

    Returns:
        A function that takes ``sasl.oauthbearer.config``, of which nothing is used, and returns the token and its
        end, in seconds since the epoch.
    """
    check_token(token, taker="oauth_cb()", names=("msk_token",))
    return functools.partial(_token_and_end, token)


class _MskTokenProvider:
    def __init__(self, token: TokenProvider) -> None:
        self._token = token

    def __repr__(self) -> str:
        return f"<aiokafka: {self._token!r}>"

    async def token(self) -> str:
        return str(await self._token())

    def extensions(self) -> dict[str, str]:
        return {}


def _token_and_end(token: TokenProvider, _: str) -> tuple[str, float]:
    try:
        made = _background.current(token)
    except CredentialsError as error:
        logger.warning("no token for confluent-kafka, which does not say why: %s", error)
        raise
    return str(made), made.expiration.timestamp()
