"""Times as AWS CLI writes them into its caches."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()  # what comes later is no datetime


def time_of(value: object) -> float:
    """A time as AWS CLI writes it, in seconds since the epoch; -inf for what is none."""
    try:
        time = datetime.fromisoformat(value.replace("UTC", "Z") if isinstance(value, str) else "")
        return min(time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC).timestamp(), LAST)
    except (ValueError, OverflowError):
        return -inf


def moment(at: float) -> datetime:
    """A time in seconds since the epoch; none before that or after the year 9999, which might be no datetime."""
    return datetime.fromtimestamp(min(max(at, 0.0), LAST), UTC)


def utc(at: float, pattern: str = "%Y-%m-%d %H:%M UTC") -> str:
    """A time in seconds since the epoch as text."""
    return moment(at).strftime(pattern)


def when(value: object, now: float) -> str:
    """When something ends or ended, as the rest of a sentence."""
    at = time_of(value)
    if at == -inf:
        return "does not say when it ends"
    return f"{'ended' if at <= now else 'ends'} at {utc(at)}"
