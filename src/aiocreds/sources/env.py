"""Get credentials from environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocreds._base import tracing
from aiocreds._base.time import parse_time
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import credential_provider
from aiocreds.credentials import Credentials, redact_key
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration

if TYPE_CHECKING:
    from datetime import datetime

KEY = "AWS_ACCESS_KEY_ID"
SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a variable
TOKENS = "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"  # the first that is set counts; older tools set the second
EXPIRATION = "AWS_CREDENTIAL_EXPIRATION"


@credential_provider
async def from_env(*, context: Context = DEFAULT) -> Credentials:
    """Get credentials from the environment, which is read at each fetch.

    Reads ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, and where they are set ``AWS_SESSION_TOKEN`` (where
    that is not, its old name ``AWS_SECURITY_TOKEN``), ``AWS_CREDENTIAL_EXPIRATION`` (ISO 8601),
    ``AWS_ACCOUNT_ID`` and ``AWS_CREDENTIAL_SCOPE``. Blank variables count as unset.

    Raises:
        CredentialsNotFound: neither key is set.
        InvalidConfiguration: one key is set without the other, or the expiration is unreadable or past.

    See https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
    """
    key, secret = context.setting(KEY), context.setting(SECRET)
    tracing.note(KEY, redact_key(key) if key else None)
    tracing.note(SECRET, "" if secret else None)
    if not key and not secret:
        raise CredentialsNotFound(f"{KEY} and {SECRET} are not set")
    if not key or not secret:
        there, missing = (KEY, SECRET) if key else (SECRET, KEY)
        raise InvalidConfiguration(f"{there} is set but {missing} is not: set both, or unset {there}")
    named = next(filter(context.setting, TOKENS), TOKENS[0])
    token = context.setting(named)
    if token or key.startswith("ASIA"):
        tracing.note(named, kind="setting" if token else "required")
    if named != TOKENS[1] and context.setting(TOKENS[1]) not in (None, token):
        tracing.note(TOKENS[1], overridden_by=named)
    return Credentials(
        key,
        secret,
        session_token=token,
        expiration=_expiration(context),
        account_id=context.setting("AWS_ACCOUNT_ID"),
        credential_scope=context.setting("AWS_CREDENTIAL_SCOPE"),
        provider="env",
    )


def _expiration(context: Context) -> datetime | None:
    text = context.setting(EXPIRATION)
    if text is None:
        return None
    tracing.note(EXPIRATION)
    try:
        expiration = parse_time(text)
    except ValueError:
        raise InvalidConfiguration(
            f"{EXPIRATION} is not an ISO 8601 time such as 2030-01-01T00:00:00Z: correct it or unset it"
        ) from None
    if expiration.timestamp() <= context.clock.now():
        raise InvalidConfiguration(
            f"the keys in {KEY} expired at {expiration:%Y-%m-%d %H:%M:%S} UTC, as {EXPIRATION} says:"
            " put fresh ones into the environment, or unset them"
        )
    return expiration
