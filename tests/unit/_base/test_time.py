"""The one reader of dates, beside botocore's: whatever a tool, a service or a header writes.

Every text that botocore reads as a time with a zone is read here as the same one, with these differences:

* a time without a zone is UTC (botocore fails on it: it cannot be compared);
* half a date is refused (botocore takes today for the rest), and so are hours that are written without a colon;
* ``GMT+0200`` is refused (botocore takes it as two hours west, JavaScript, which writes it, as two hours east);
* the short name of a zone that is neither UTC nor this machine's own is refused (so it is in effect by botocore).
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from itertools import product
from math import inf
from typing import TYPE_CHECKING

import botocore.credentials
import pytest
from botocore.utils import parse_timestamp

from aiocreds._base.time import parse_expiration, parse_time, time_of
from aiocreds.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

botocore_reads: Callable[[str], datetime] = getattr(botocore.credentials, "_parse_if_needed")  # noqa: B009 - its stubs leave it out
DATES = [
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%m/%d/%Y", "%m/%d/%y"),
    *("%d.%m.%Y", "%d-%m-%Y", "%Y-%b-%d", "%y-%m-%d", "%Y %b %d", "%-m/%-d/%Y", "%Y-%-m-%-d", "%B %d, %Y"),
    *("%d %b %Y", "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%a, %d %b %Y", "%A, %d-%b-%y", "%a %b %d %Y"),
    *("%-d %b %Y", "%b %-d %Y", "%-d. %B %Y", "%dth of %B %Y"),
]
TIMES = [
    *("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H:%M:%S,%f", "%H:%M:%S.1", "%H:%M:%S.123456789", "%-H:%M"),
    *("%I:%M:%S %p", "%I:%M %p", "%I:%M%p", "%I %p", "%I%p"),
]
ZONES = ["Z", " Z", "UTC", " UTC", " GMT", "+00:00", "-08:00", " -0800", " +0530", "+05:30", " +01:00", " z"]
BEHIND_THE_TIME = [*ZONES, "+01", " UTC+00:00", " +0000 (UTC)", " -3", "-00:00", " +14:00"]
BETWEEN = [" ", "T", ", ", " at ", "  ", "-"]
YEARS = [1971, 1985, 1999, 2026, 2030, 2049, 2069, 2070, 2099]


def botocores(text: str) -> datetime | None:
    """The moment that botocore reads; None where it fails, if only later, on a time without a zone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a zone that it does not know
        try:
            at = botocore_reads(text)
            return at.astimezone(UTC) if at.tzinfo else None
        except (ValueError, OverflowError):
            return None


def ours(text: str) -> datetime | None:
    try:
        at = parse_time(text)
    except ValueError:
        return None
    assert at.tzinfo is UTC
    return at


def forms() -> Iterator[str]:
    """Of a date with a time and a zone, in the orders that programs write them in."""
    for date, clock in product(DATES, TIMES):
        for between, zone in product(BETWEEN, BEHIND_THE_TIME):
            yield f"{date}{between}{clock}{zone}"
        for zone in ZONES:
            yield f"{clock} {date}{zone}"
            yield f"{clock}{zone} {date}"
    for clock, zone in product(TIMES, BEHIND_THE_TIME):
        yield f"%a %b %-d {clock}{zone} %Y"  # date, Go, Ruby
    for clock, zone in product(TIMES, ZONES):
        yield f"%a %b %d {clock} %Y{zone}"
    for zone in ("Z", "+0100", " UTC"):
        yield f"%Y%m%d%H%M%S{zone}"
        yield f"%Y%m%dT%H%M%S{zone}"
        yield f"%Y%m%dT%H%M{zone}"


@pytest.mark.slow
def test_what_botocore_reads_is_read_as_the_same_moment() -> None:
    rng, read = random.Random(11), 0
    wrong: list[str] = []
    for form in rng.sample(list(forms()), 6000):  # of 30,000, which take botocore long
        at = datetime(  # noqa: DTZ001 - its zone is in the form
            rng.choice(YEARS),
            rng.randint(1, 12),
            rng.randint(1, 28),
            rng.randint(0, 23),
            rng.randint(0, 59),
            rng.randint(0, 59),
            rng.choice([0, 500_000]),
        )
        text = at.strftime(form)
        theirs = botocores(text)
        read += theirs is not None
        if theirs is not None and ours(text) != theirs:
            wrong.append(f"{text!r} ({form}): botocore {theirs}, here {ours(text)}")
    assert not wrong, "\n".join(wrong[:20]) + f"\n{len(wrong)} in all"
    assert read > 5000


@pytest.mark.parametrize(
    "text",
    """\
2030-01-01T00:00:00Z
2030-01-01 00:00:00 UTC
2030-01-01T00:00:00UTC
2030-01-01t00:00:00z
20300101T000000Z
20300101000000Z
Tue, 01 Jan 2030 00:00:00 GMT
Tuesday, 01-Jan-30 00:00:00 GMT
Tue, 1 Jan 2030 01:00:00 +0100
Tue Jan  1 00:00:00 UTC 2030
Tue Jan  1 12:00:00 AM UTC 2030
Tue 01 Jan 2030 12:00:00 AM UTC
January 1st, 2030 12 AM UTC
12/31/2029 16:00:00 -0800
2030-01-01T00:00:00.0000000+00:00""".splitlines(),
)
def test_one_moment(text: str) -> None:
    assert ours(text) == ours(f" {text}\n") == botocores(text) == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2030-01-01T00:00:00",
        "2030-01-01",
        "Tue Jan  1 00:00:00 2030",  # asctime, which HTTP allows
        "Tue, 01 Jan 2030 00:00:00 UT",
        "2030-01-01 00:00:00.000000001 +0000 UTC",  # Go's Time.String()
        "2030-01-01 01:00:00 +0100 CET",
        "Tue Jan 01 2030 00:00:00 GMT+0000 (Coordinated Universal Time)",  # JavaScript's Date.toString()
    ],
)
def test_what_botocore_does_not_read_but_can_mean_one_moment_alone(text: str) -> None:
    assert botocores(text) is None
    assert ours(text) == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    """\
Tue Jan 01 2030 02:00:00 GMT+0200 (CEST)
2030-01-01 00:00:00 UTC+3
2030-01-01 00:00:00 ABC
00:00 UTC
Jan 2030 00:00 UTC
Tuesday
2030-01-01+01:00
2030-01-01-05:00
2030-01-01_00:00:00Z
2030-01-01T00:00:00-
2030-02-30T00:00:00Z
2030-13-01 00:00:00 UTC
2030-01-01T25:00:00Z
2030-01-01 13:00 PM UTC
2030-01-01T00:00:00+24:00
0001-01-01T00:00:00+14:00
9999-12-31T23:59:59-12:00
10000-01-01T00:00:00Z
\u0662\u0660\u0663\u0660-01-01T00:00:00Z
1893456000
nan
1 2 3 4 5
00:00 1st 2nd 3rd 4th UTC""".splitlines(),
)
def test_what_has_no_one_meaning(text: str) -> None:
    assert ours(text) is None


@pytest.mark.slow
def test_the_short_name_of_a_zone_is_this_machines_own() -> None:
    """As botocore has it, whose `date` printed it: `Tue Jul  2 10:00:00 CEST 2030`."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from botocore.credentials import _parse_if_needed\n"
        "from aiocreds._base.time import parse_time\n"
        "for text in ('Tue Jul  2 10:00:00 CEST 2030', 'Tue Jan  1 10:00:00 CET 2030',"
        " '2030-10-27 02:30:00 CEST', '2030-10-27 02:30:00 CET'):\n"
        "    assert parse_time(text).timestamp() == _parse_if_needed(text).timestamp(), text\n"
        "    print(parse_time(text).isoformat())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"TZ": "Europe/Berlin"}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [
        "2030-07-02T08:00:00+00:00",
        "2030-01-01T09:00:00+00:00",
        "2030-10-27T00:30:00+00:00",
        "2030-10-27T01:30:00+00:00",
    ], done.stderr


@pytest.mark.parametrize("text", ["1893456000", "1893456000.0", "1.893456e9", "2030-01-01T00:00:00Z"])
def test_a_service_may_count_seconds(text: str) -> None:
    """As botocore reads the answers of services, be the number a text or none."""
    at = parse_expiration(text, origin="it", per_second=1)
    assert at == parse_timestamp(text) == datetime(2030, 1, 1, tzinfo=UTC)
    assert parse_expiration(1_893_456_000_000, origin="it", per_second=1000) == at


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", float("nan"), 10**400, None, [1], "soon"])
def test_a_number_that_is_no_time(value: object) -> None:
    with pytest.raises(SourceUnavailable, match=r"^it is not an? (ISO 8601 )?time"):
        parse_expiration(value, origin="it", per_second=1)


@pytest.mark.parametrize("part", ["1", " ", "1:", "Mon ", "UTC", "(", "+0", "1 ", ",", "a", "12:00 "])
def test_a_long_text_takes_no_time(part: str) -> None:
    began = time.perf_counter()
    assert ours(part * 200_000) is None
    assert ours(f"2030-01-01 00:00:00{part * 20}"[:80]) in (None, datetime(2030, 1, 1, tzinfo=UTC))
    assert time.perf_counter() - began < 5


def test_no_other_module_reads_dates() -> None:
    from pathlib import Path

    import aiocreds

    root = Path(aiocreds.__file__).parent
    readers = re.compile(r"\b(fromisoformat|strptime|parsedate\w*|dateutil|mktime|timegm)\b")
    found = [path for path in root.rglob("*.py") if readers.search(path.read_text(encoding="utf-8"))]
    assert [path.name for path in found] == ["time.py"]


@pytest.mark.parametrize("text", ["2030-999999999999-1 10:00", "2030-1-999999999999 10:00"])
def test_numbers_that_no_date_holds_are_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|date|month|day"):
        parse_time(text)
    assert time_of(text) == -inf
