"""Durations, the clock, and every date that is parsed or printed."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from math import inf

from aiocreds.errors import InvalidConfiguration, SourceUnavailable

LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
LONGEST = 80  # characters
# Compiled when first needed: most programs read ISO 8601 alone.
_COMPACT = r"(?a)(\d{4})(\d\d)(\d\d)[T ]?(\d\d)(\d\d)(\d\d)?(?!\d)"
_CLOCK = r"(?ai)(?<![\d:+])(\d\d?)(?::(\d\d?)(?::(\d\d?)(?:[.,](\d+))?)?\s*(am|pm)?|\s*(am|pm))(?![\d:])"
_ZONE = r"(?a)\s*([A-Za-z]+)?(?:\s*([+-])(\d\d?):?(\d\d)?(?!\d)(?:\s*\([^()]*\)|\s+[A-Z]{3,5}\b)?)?"
_ZONE_AT_THE_END = (
    r"(?a)(?:\s|(?<=\d))([A-Za-z]+)$|(?:\s([+-])(\d\d):?(\d\d)?|([+-])(\d\d):(\d\d))(?:\s*\([^()]*\))?$"
)
_PART = r"(?a)\d+|[A-Za-z]+|[^\s,;./-]"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december", "sept"),
)
_FILLERS = {
    *("mon", "tue", "wed", "thu", "fri", "sat", "sun", "tues", "wednes", "thurs", "satur"),
    *("at", "on", "of", "t", "st", "nd", "rd", "th"),
}


def seconds(duration: float | timedelta, what: str) -> float:
    """Return a duration as a number of seconds.

    Raises:
        ValueError: it is no duration; ``what`` names it.
    """
    if isinstance(duration, timedelta):
        number = duration.total_seconds()
    else:
        try:
            number = math.fsum((duration,))  # float() would accept text
        except TypeError:
            kind = type(duration).__name__
            raise ValueError(f"{what} must be a number of seconds or a timedelta, not {kind}") from None
    if not number >= 0:
        raise ValueError(f"{what} must be a number of seconds or a timedelta from zero on, not {number:g}")
    return number


def time_limit(duration: float | timedelta, what: str) -> float:
    """Return a time-out as a number of seconds.

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


def span(seconds: float) -> str:
    """Return a number of seconds in the unit that a person would choose."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def parse_time(text: str) -> datetime:
    """Read a date with a time of day, as botocore's parser does: ISO 8601, HTTP and mail dates, ``date``, Go, US.

    Without a zone it is taken as UTC. Refused is what has no one meaning: half a date, the short name of a zone
    that is not this machine's, and ``GMT+0200``, which some readers take as two hours west.

    Raises:
        ValueError: it is no such time, or in UTC beyond what a datetime can hold.
    """
    text = text.strip()
    if len(text) > LONGEST or text.endswith(("-", "+", "/")):
        raise ValueError("too long for a time, or cut short")
    # fromisoformat takes any character for the T, and so the zone of 2030-01-01+01:00 for a time of day.
    if text[10:11] in ("T", " ", "") or text[8:9] in ("T", ""):
        try:
            return _in_utc(datetime.fromisoformat(text))
        except ValueError:
            pass  # such as 2030-01-01 00:00:00 UTC
    if compact := re.match(_COMPACT, text):
        year, month, day, hour, minute, second = compact.groups("00")
        text = f"{year}-{month}-{day} {hour}:{minute}:{second}{text[compact.end() :]}"
    clock = re.search(_CLOCK, text)
    if clock is None:
        raise ValueError("no time of day")
    before, after = text[: clock.start()], text[clock.end() :]
    if before.endswith("-") and not clock[3] and not after:
        raise ValueError("a day with a zone")  # 2030-01-01-05:00
    zone, rest = _zone(after)
    try:
        at = datetime(*_date(f"{before} {rest}"), *_time_of_day(clock))  # noqa: DTZ001 - its zone is next
    except OverflowError:
        raise ValueError("a number that no date holds") from None
    return _in_utc(_in_zone(at, *zone))


def parse_expiration(value: object, *, origin: str, per_second: int | None = None) -> datetime:
    """Return a time that is written as :func:`parse_time` reads it, or counted since the epoch.

    Args:
        value: from a document.
        origin: what messages call it.
        per_second: what a number counts: 1 for seconds, 1000 for milliseconds; None where it may not be a number.

    Raises:
        SourceUnavailable: it is no time.
    """
    try:
        if per_second is not None and (number := _number(value)) is not None:
            return datetime.fromtimestamp(number / per_second, UTC)
        return parse_time(value if isinstance(value, str) else "")
    except (ValueError, OverflowError, OSError):
        del value  # it may be anything
        expected = "an ISO 8601 time such as 2030-01-01T00:00:00Z" if per_second is None else "a time since 1970"
        raise SourceUnavailable(f"{origin} is not {expected}") from None


def _number(value: object) -> int | float | None:
    """Return a number, also one that is written as a text; None for anything else."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and ":" not in value:  # that of a time of day
        try:
            return float(value)
        except ValueError:
            pass  # a date
    return None


def _zone(after: str) -> tuple[tuple[str | None, ...], str]:
    """Return the zone in the text after a time of day, and the rest, which belongs to the date."""
    if (zone := re.match(_ZONE, after)) and (zone[1] or zone[2]):
        name, *offset = zone.groups()
        if not (name and _belongs_to_date(name)):
            return (name, *offset), after[zone.end() :]
    if (end := re.search(_ZONE_AT_THE_END, after)) and not (end[1] and _belongs_to_date(end[1])):
        name, *offset = end.groups()
        return (name, *(offset[3:] if offset[3] else offset[:3])), after[: end.start()]
    return (None, None, None, None), after


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("beyond what a datetime can hold") from None


def _belongs_to_date(word: str) -> bool:
    """Return whether a word after a time of day is part of the date that follows."""
    word = word.lower()
    return word in _MONTHS or word in _LONG_MONTHS or word.removesuffix("day") in _FILLERS


def _time_of_day(clock: re.Match[str]) -> tuple[int, int, int, int]:
    hour, minute, second, fraction, half, half_alone = clock.groups()
    hours, half = int(hour), (half or half_alone or "").lower()
    if half:
        if hours > 12:
            raise ValueError("no hour of half a day")
        hours = hours % 12 + 12 * (half == "pm") if hours else 12 * (half == "pm")
    return hours, int(minute or 0), int(second or 0), int((fraction or "")[:6].ljust(6, "0"))


def _date(text: str) -> tuple[int, int, int]:
    """Return year, month and day. Where numbers alone leave it open, the month comes first, as in the USA."""
    numbers, month, at = _parts_of_date(text)
    if len(numbers) != (2 if month else 3) or (month and at == 2):
        raise ValueError("half a date, or more than one")
    year_first = len(numbers[0]) > 2 or int(numbers[0]) > 31
    if month:
        year, day = numbers if year_first else reversed(numbers)
    elif year_first:
        year, month, day = numbers[0], int(numbers[1]), numbers[2]
    else:
        *first, year = numbers
        if int(first[0]) > 12:
            first.reverse()
        month, day = int(first[0]), first[1]
    if len(day) > 2 or len(year) not in (1, 2, 4):
        raise ValueError("no day or year")
    return _full_year(year), month, int(day)


def _parts_of_date(text: str) -> tuple[list[str], int, int]:
    """Return the numbers of a date, the month if it is named, else 0, and how many numbers come before it."""
    numbers: list[str] = []
    month, at = 0, 0
    for part in re.findall(_PART, text):
        word = part.lower()
        if part.isascii() and part.isdigit():
            numbers += (part[:4], part[4:6], part[6:]) if len(part) == 8 else (part,)
        elif word in _MONTHS or word in _LONG_MONTHS:
            if month:
                raise ValueError("two names of months")
            month, at = _MONTHS.index(word[:3]) + 1, len(numbers)
        elif word.removesuffix("day") not in _FILLERS:
            raise ValueError("a word or sign that no date has")
    return numbers, month, at


def _full_year(year: str) -> int:
    """Return the year that two digits stand for: the one within 50 years of now, as in HTTP."""
    if len(year) > 2:
        return int(year)
    this = time.localtime().tm_year
    full = this // 100 * 100 + int(year)
    if full >= this + 50:
        return full - 100
    return full + 100 if full < this - 50 else full


def _in_zone(
    at: datetime,
    name: str | None = None,
    sign: str | None = None,
    hours: str | None = None,
    minutes: str | None = None,
) -> datetime:
    """Return a time in its zone."""
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    universal = (name or "").upper() in ("UTC", "GMT", "UT", "Z")
    if name and not universal:
        if sign or name not in time.tzname:
            raise ValueError("a zone that is not this machine's")
        # The hour that is repeated at the end of summer time has both names.
        local = (at.replace(fold=fold).astimezone() for fold in (0, 1))
        return next((it for it in local if it.tzname() == name), at.astimezone())
    if name and offset:
        raise ValueError("a zone that readers disagree about")
    return at.replace(tzinfo=timezone(-offset if sign == "-" else offset))


def time_of(value: object) -> float:
    """Return a time as AWS CLI and services write it, in seconds since the epoch; -inf if it is no time."""
    try:
        return min(parse_time(value if isinstance(value, str) else "").timestamp(), LAST)
    except ValueError:
        return -inf


def moment(at: float) -> datetime:
    """Return the datetime of seconds since the epoch, between that and the end of the year 9999."""
    return datetime.fromtimestamp(min(max(at, 0.0), LAST), UTC)


def utc(at: float, pattern: str = "%Y-%m-%d %H:%M UTC") -> str:
    """Return a time in seconds since the epoch as text."""
    return moment(at).strftime(pattern)


def when(value: object, now: float) -> str:
    """Return when something ends or ended, as the rest of a sentence."""
    at = time_of(value)
    if at == -inf:
        return "does not say when it ends"
    return f"{'ended' if at <= now else 'ends'} at {utc(at)}"
