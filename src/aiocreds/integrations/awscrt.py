"""awscrt: the AWS Common Runtime (its S3 client, MQTT, signing) uses a provider's current credentials.

::

    provider = default_chain()
    async with provider:
        s3 = S3Client(bootstrap=ClientBootstrap.get_or_create_static_default(), region="eu-central-1",
                      credential_provider=awscrt_credentials(provider))

Refreshes run on one event loop in the background, as in :mod:`aiocreds.integrations.boto3`. Install with
``pip install 'aiocreds[awscrt]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiocreds._base.threads import loop_here
from aiocreds._core.decorator import as_provider
from aiocreds.integrations import _background
from aiocreds.integrations._extras import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

require("awscrt", "awscrt")


def awscrt_credentials(provider: Provider | Callable[[], Awaitable[Credentials]]) -> Any:
    """Make an ``awscrt.auth.AwsCredentialsProvider`` out of ``provider``.

    awscrt asks it for each signature, in a thread of its own or in the one that calls. Credentials in memory are
    returned at once. Its own threads wait for the first load, in the last minute, and after an invalidation. A
    thread that runs an event loop never waits, since that would block the loop: await the provider there first, or
    enter it (``async with provider:``).

    awscrt reports all that the provider raises as ``AWS_AUTH_CREDENTIALS_PROVIDER_DELEGATE_FAILURE``; the reason
    goes to ``sys.unraisablehook``, which prints it. It says nothing of answers of services: call
    ``provider.invalidate`` where one rejects credentials as expired.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.

    Returns:
        A new ``AwsCredentialsProvider``, for any number of clients.
    """
    provider = as_provider(provider, taker="awscrt_credentials()")
    auth = import_module("awscrt.auth")

    def current() -> Any:
        credentials = _current(provider)
        return auth.AwsCredentials(
            credentials.access_key_id,
            credentials.secret_access_key,
            credentials.session_token,
            credentials.expiration,
        )

    return auth.AwsCredentialsProvider.new_delegate(current)


def _current(provider: Provider) -> Credentials:
    if loop_here() is not None:
        return provider._held()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us
    return _background.current(provider)
