"""The AWS SDK for Python (``aws-sdk-bedrock-runtime`` and its like): clients sign with a provider's credentials.

::

    from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
    from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig

    config = attach(await AsyncBedrockRuntimeConfig.resolve(region="eu-central-1"), default_chain())
    async with AsyncBedrockRuntimeClient(config=config) as client:
        await client.invoke_model(InvokeModelInput(model_id="amazon.nova-lite-v1:0", body=b"{…}"))

Install with ``pip install 'aiocreds[smithy]'``. It needs Python 3.12, as the SDK does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiocreds._aws.service_errors import EXPIRED
from aiocreds._core.decorator import as_provider
from aiocreds.integrations._botocore import SIGNER
from aiocreds.integrations._extras import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

require("smithy_aws_core", "smithy")

# The signer rejects identities that have expired, though their service may accept them; caches of the SDK's chains
# ask again at that moment. So an identity gets no longer lifetime than this, ...
LONGEST = 60.0  # seconds
# ... and no less than this: a provider may serve credentials past their expiration.
SHORTEST = 5.0  # seconds


class _Config(Protocol):
    aws_credentials_identity_resolver: Any
    interceptors: Any


C = TypeVar("C", bound=_Config)


class CredentialsResolver:
    """Resolves ``AWSCredentialsIdentity``; made by :func:`smithy_credentials`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._identity = _hidden(import_module("smithy_aws_core.identity").AWSCredentialsIdentity)
        self._given: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return CredentialsResolver, (self._provider,)

    def __repr__(self) -> str:
        return f"smithy_credentials({self._provider!r})"

    async def get_identity(self, *, properties: Any) -> Any:
        """Return the provider's current credentials."""
        credentials = await self._provider()
        self._given = credentials.access_key_id
        left = self._provider.status.seconds_left
        lifetime = LONGEST if left is None else min(max(left, SHORTEST), LONGEST)
        return self._identity(
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            session_token=credentials.session_token,
            account_id=credentials.account_id,
            expiration=datetime.now(UTC) + timedelta(seconds=lifetime),
        )

    async def invalidate(self) -> None:
        """Invalidate the credentials that were given last."""
        if self._given is not None:
            self._provider.invalidate(self._given)


def smithy_credentials(provider: Provider | Callable[[], Awaitable[Credentials]]) -> CredentialsResolver:
    """Make an ``aws_credentials_identity_resolver=`` out of ``provider``.

    For configurations that take one as an argument, and for chains of resolvers; :func:`attach` follows rejections,
    too. It is asked for each attempt of a request, and for each event of a stream: so both follow refreshes.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``. What it raises is the
            cause of the ``SmithyError`` that the call raises.
    """
    return CredentialsResolver(as_provider(provider, taker="smithy_credentials()"))


def attach(config: C, provider: Provider | Callable[[], Awaitable[Credentials]]) -> C:
    """Make all clients with this configuration use ``provider``.

    Each attempt is signed with what the provider gives at that moment, so a client may live for days. When a
    service answers ``ExpiredToken``, ``ExpiredTokenException``, ``RequestExpired`` or ``InvalidToken`` (in the
    header ``x-amzn-ErrorType``), the credentials that signed that request are invalidated, and no others. The SDK
    does not repeat that request; the next one is signed with others.

    Args:
        config: the configuration of a client, with no client made from it yet.
        provider: where credentials come from; or any ``async () -> Credentials``. What it raises is the
            cause of the ``SmithyError`` that the call raises.

    Returns:
        The same configuration.

    Raises:
        TypeError: ``config`` takes no resolver of credentials.
    """
    if not hasattr(config, "aws_credentials_identity_resolver"):
        raise TypeError(
            "attach() takes the configuration of a client of the AWS SDK for Python, not "
            f"{type(config).__qualname__}"
        )
    provider = as_provider(provider, taker="attach()")
    config.aws_credentials_identity_resolver = smithy_credentials(provider)
    config.interceptors = [*(config.interceptors or ()), _rejections(provider)]
    return config


def _hidden(identity: Any) -> Any:
    """Return the SDK's class with a ``repr`` that shows nothing."""

    def show(_: object) -> str:
        return "AWSCredentialsIdentity()"

    return type("AWSCredentialsIdentity", (identity,), {"__repr__": show})


def _rejections(provider: Provider) -> Any:
    """Return an interceptor that invalidates the credentials of an attempt that the service rejects as expired."""

    def note(context: Any) -> None:
        request, answer = context.transport_request, context.transport_response
        if answer is None or answer.status not in (400, 401, 403):
            return
        code = _field(answer, "x-amzn-ErrorType").partition(":")[0].rpartition("#")[2]
        signer = SIGNER.match(_field(request, "Authorization"))
        if code in EXPIRED and signer is not None:
            provider.invalidate(signer[1])

    interceptor: Any = import_module("smithy_core.interceptors").Interceptor()
    interceptor.read_after_attempt = note  # a function: clients copy their configuration deeply, but not functions
    return interceptor


def _field(message: Any, name: str) -> str:
    return str(message.fields[name].as_string()) if name in message.fields else ""
