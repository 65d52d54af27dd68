"""Timestamps, wherever one is read: ISO 8601, seconds and milliseconds, HTTP dates, seconds to wait."""

# The readers themselves are fuzzed, not only what calls them.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC
from math import inf, isfinite
from time import time
from typing import Any

from hypothesis import strategies as st

from aiocreds._aws.client import clock_of
from aiocreds._base import tracing
from aiocreds._base.redaction import SecretBytes
from aiocreds._base.time import LAST, parse_expiration, time_of, utc, when
from aiocreds._core.context import Context
from aiocreds._http import Response
from aiocreds._http.request import _retry_after
from aiocreds._token_cache.cache import trace_end
from aiocreds.errors import CredentialsError, InvalidConfiguration, SourceUnavailable
from aiocreds.sources.env import EXPIRATION, _expiration
from tests.stress.fuzz.answers import NOW, NUMBERS, TIMES
from tests.stress.fuzz.target import Target, assert_tidy, text

DATE = "Mon, 23 Nov 2026 10:00:00 GMT"
FIRST = -62_135_596_800.0  # 0001-01-01


def feed(data: bytes) -> None:
    """All who read times take it for one, or say that it is none; those who read the same kind agree."""
    said = text(data)
    iso = iso_8601(said)
    numbers(said)
    http(said)
    at = time_of(said)
    assert at == -inf or FIRST <= at <= LAST, at
    assert utc(at)
    assert when(said, NOW).isprintable()
    with tracing.recording(tracing.Record("fuzz")):
        trace_end("file", at - NOW - 0.001, NOW)  # between two looks at the clock it moves
    assert at == (-inf if iso is None else min(iso, LAST)), (at, iso)


def iso_8601(said: str) -> float | None:
    """As credentials and the environment have them."""
    expiration = None
    with suppress(SourceUnavailable):
        expiration = parse_expiration(said, origin="it")
        assert expiration.tzinfo is UTC
    try:
        found = _expiration(Context(environ={EXPIRATION: said}))
    except InvalidConfiguration as error:
        assert_tidy(error)
    else:
        assert expiration is None or found is None or expiration == found
    return None if expiration is None else expiration.timestamp()


def numbers(said: str) -> None:
    """As services have them that speak JSON."""
    value: Any = said
    with suppress(ValueError, RecursionError):
        value = json.loads(said)
    for per_second in (1, 1000):
        with suppress(CredentialsError):
            assert parse_expiration(value, origin="it", per_second=per_second).tzinfo is UTC


def http(said: str) -> None:
    """As headers have them."""
    for headers in ({"Retry-After": said, "Date": DATE}, {"Retry-After": DATE, "Date": said}):
        assert _retry_after(headers) >= 0
    answer = Response(400, {"Date": said}, SecretBytes(b""), "example.com")
    clock = clock_of(Context(environ={}), answer, time(), 0.0)
    assert clock is None or isfinite(clock.offset)


_HTTP_DATES = (
    *(
        DATE,
        "Monday, 23-Nov-26 10:00:00 GMT",
        "Mon Nov 23 10:00:00 2026",
        "23 Nov 2026 10:00 +0000",
        "Mon, 23 Nov 2026",
    ),
    *(
        "Mon, 23 Nov 2026 10.00.00.5 GMT",
        "Mon, 23 Nov 99999 10:00:00 GMT",
        "Mon, 23 Nov 2026 10:00:00 +9999",
        "0",
        "20",
        "1e9",
    ),
    *(
        "Mon, 23 Nov 2026 10:00:00 -99999999999999999999",
        "Sat, 31 Dec 2016 23:59:60 GMT",
        "Wed, 3 Apr 2002 12.34.56.78+0800",
    ),
    *(
        "GMT",
        "Mon,",
        ", ,",
        "1 2 3 4 5",
        "Mon, 23 Nov 0000 10:00:00 GMT",
        "Nov",
        "23 Nov 2026 10:00:00 (GMT",
        "\uff11",
    ),
)
_part = st.sampled_from(
    ("Mon", "23", "Nov", "2026", "26", "10:00:00", "GMT", "+0000", "-9999", ",", "-", " ", ".", ":", "T", "Z")
)

TARGET = Target(
    feed=feed,
    inputs=st.one_of(
        st.sampled_from((*TIMES, *_HTTP_DATES)),
        st.datetimes(timezones=st.none() | st.timezones()).map(lambda at: at.isoformat()),
        st.integers().map(str),
        st.floats().map(json.dumps),
        st.lists(_part, max_size=12).map("".join),
        st.lists(_part, max_size=9).map(" ".join),
        st.text(max_size=30),
    ).map(lambda said: said.encode(errors="surrogatepass")),
    seeds=[*(said.encode(errors="surrogatepass") for said in (*TIMES, *_HTTP_DATES)), b""],
    words=[
        *(said.encode(errors="surrogatepass") for said in (*TIMES, *_HTTP_DATES)),
        *(json.dumps(number).encode() for number in NUMBERS if number != 10**400),
        *(
            b"T",
            b"Z",
            b":",
            b"-",
            b"+",
            b"00",
            b"59",
            b"60",
            b"W01",
            b".999999",
            b" ",
            b"Jan",
            b"GMT",
            b"EST",
            b"PM",
            b",",
        ),
    ],
    growing={
        "digits": lambda n: b"1" * n,
        "digits behind a point": lambda n: b"2030-01-01T00:00:00." + b"1" * n,
        "blanks": lambda n: b" " * n + b"x",
        "commas": lambda n: b"Mon" + b"," * n,
        "colons": lambda n: b":" * n,
        "words": lambda n: b"Mon " * n,
        "brackets": lambda n: b"(" * n,
        "a zone": lambda n: b"2030-01-01T00:00:00+" + b"0" * n,
        "an HTTP zone": lambda n: b"Mon, 23 Nov 2026 10:00:00 +" + b"9" * n,
        "an HTTP year": lambda n: b"Mon, 23 Nov " + b"9" * n + b" 10:00:00 GMT",
        "UTC": lambda n: b"UTC" * n,
        "nested lists": lambda n: b"[" * n,
    },
)
