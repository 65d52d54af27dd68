"""The one reader of credentials in JSON, whoever sends them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from aiocreds.credentials import Credentials
from aiocreds.errors import ServiceRefused, SourceUnavailable


def parse_credentials(
    text: str | bytes,
    *,
    provider: str,
    origin: str,
    now: float,
    token_field: str = "Token",  # noqa: S107 - the name of a field
    may_outlive_expiry: bool = True,
    accept_expired: bool = False,
    account_id: str | None = None,
) -> Credentials:
    """Credentials from a JSON document with ``AccessKeyId``, ``SecretAccessKey`` and so on.

    Args:
        text: the document.
        provider: what to stamp the credentials with.
        origin: what messages call the sender.
        now: the time, in seconds since the epoch, for expired ones to be refused.
        token_field: where the session token is.
        may_outlive_expiry: the stamp of :class:`Credentials`.
        accept_expired: EC2 metadata decides for itself what still works.
        account_id: used when the document has no ``AccountId``.

    Raises:
        SourceUnavailable: it is no such document, or its credentials have expired.
        ServiceRefused: it holds an error code instead.
    """
    document = parse_object(text, origin=origin)
    code = document.get("Code")
    if isinstance(code, str) and code != "Success":
        raise ServiceRefused(
            f"{origin} answered with the code {code[:100]} instead of credentials",
            code=code[:100],
            status=200,
        )
    missing = [field for field in ("AccessKeyId", "SecretAccessKey") if not _text(document.get(field))]
    if missing:
        raise SourceUnavailable(f"{origin} answered without {' and '.join(missing)}")
    expiration = document.get("Expiration")
    credentials = Credentials(
        document["AccessKeyId"],
        document["SecretAccessKey"],
        session_token=_text(document.get(token_field)),
        expiration=None
        if expiration in (None, "")
        else parse_expiration(expiration, origin=f"{origin} answered with an Expiration that"),
        account_id=_text(document.get("AccountId")) or account_id,
        provider=provider,
        may_outlive_expiry=may_outlive_expiry,
    )
    if not accept_expired:
        refuse_expired(credentials, origin=origin, now=now)
    return credentials


def parse_object(text: str | bytes, *, origin: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SourceUnavailable: the text is anything else. The message tells its kind and never quotes it.
    """
    if not text.strip():
        raise SourceUnavailable(f"{origin} answered with nothing")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        start = text[:1] if isinstance(text, str) else text[:1].decode("latin-1")
        kind = "HTML or XML" if start == "<" else "something that is not JSON, or cut short"
        raise SourceUnavailable(f"{origin} answered with {kind} instead of credentials") from None
    if not isinstance(document, dict):
        raise SourceUnavailable(f"{origin} answered with a JSON {type(document).__name__}, not an object")
    return document


def parse_expiration(value: object, *, origin: str) -> datetime:
    """An ISO 8601 time; one without a zone is UTC.

    Raises:
        SourceUnavailable: it is none.
    """
    try:
        expiration = datetime.fromisoformat(value if isinstance(value, str) else "")
        return expiration.replace(tzinfo=expiration.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SourceUnavailable(f"{origin} is not an ISO 8601 time such as 2030-01-01T00:00:00Z") from None


def refuse_expired(credentials: Credentials, *, origin: str, now: float) -> None:
    """Check that the credentials are still good.

    Raises:
        SourceUnavailable: they have expired.
    """
    if credentials.expiration is not None and credentials.expiration.timestamp() <= now:
        raise SourceUnavailable(
            f"{origin} handed out credentials that expired at {credentials.expiration:%Y-%m-%d %H:%M:%S} UTC;"
            " if that is not long ago, check this machine's clock"
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
