"""Durations as callers give them: seconds, or a ``timedelta``."""

from __future__ import annotations

import math
from datetime import timedelta
from math import inf

from aiocreds.errors import InvalidConfiguration


def seconds(duration: float | timedelta, what: str) -> float:
    """A duration as a number of seconds.

    Raises:
        ValueError: it is none; ``what`` names it.
    """
    if isinstance(duration, timedelta):
        number = duration.total_seconds()
    else:
        try:
            number = math.fsum((duration,))  # unlike float(), it reads no text
        except TypeError:
            kind = type(duration).__name__
            raise ValueError(f"{what} must be a number of seconds or a timedelta, not {kind}") from None
    if not number >= 0:
        raise ValueError(f"{what} must be a number of seconds or a timedelta from zero on, not {number:g}")
    return number


def time_limit(duration: float | timedelta, what: str) -> float:
    """A time-out as a number of seconds. There is always one: none at all is no choice.

    Raises:
        InvalidConfiguration: it is not above zero, or has no end.
    """
    try:
        number = seconds(duration, what)
    except ValueError as error:
        raise InvalidConfiguration(str(error)) from None
    if not 0 < number < inf:
        raise InvalidConfiguration(f"{what} must be above zero and have an end: give a number of seconds such as 5")
    return number
