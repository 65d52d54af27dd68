"""Answers of services: as bytes, as what the library sees, and drawn. ::

sts 400
Date: Mon, 23 Nov 2026 10:00:00 GMT

<ErrorResponse>…
"""

# The readers themselves are fuzzed, not only what calls them.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import json
import re
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from hypothesis import strategies as st
from multidict import CIMultiDict

from aiocreds._aws.client import ClientConfig, ConfigScope, ServiceClient
from aiocreds._base.redaction import SecretBytes
from aiocreds._core.context import Context
from aiocreds._http import Http, Response
from aiocreds._http.request import _retry_after, checked_headers, checked_url
from aiocreds._profiles import SharedConfig
from aiocreds._profiles.parser import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiocreds._http.request import Signer

REGION = "eu-central-1"
NOW = 1_800_000_000.123456  # a clock shows fractions


class Answer(NamedTuple):
    """An answer, and whose."""

    service: str
    response: Response


def answer(data: bytes) -> Answer:
    """An answer from its bytes; whatever these are, they are one."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    service, _, status = first.partition(" ")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    code = int(status) if re.fullmatch("[1-5][0-9]{2}", status) else 200
    return Answer(service, Response(code, headers, SecretBytes(body), "example.com"))


def written(service: str, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of an answer."""
    lines = "".join(f"{name}: {value}\n" for name, value in (headers or {}).items())
    return f"{service} {status}\n{lines}\n".encode() + body


class Answers:
    """Stands in for the HTTP client: every request gets the same answer, and is looked at as a real one is."""

    def __init__(self) -> None:
        self.response = Response(200, {}, SecretBytes(b""), "example.com")

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        retry_if: Callable[[Response], bool] | None = None,
        sign: Signer | None = None,
        **_: object,
    ) -> Response:
        checked_url(url)
        checked_headers(headers)
        if sign is not None:
            signed = sign(method, url, headers.items(), b"")
            checked_headers(await signed if isawaitable(signed) else signed)
        pause = _retry_after(self.response.headers)
        assert pause >= 0, pause
        if retry_if is not None:
            retry_if(self.response)
        return self.response


HTTP = Answers()
CONTEXT = Context(environ={})
CONTEXT._http = cast("Http", HTTP)
CONFIG = SharedConfig(Document("credentials"), Document("config"))


def service(name: str) -> ServiceClient:
    """A service that gives the answers of `HTTP`."""
    around = ConfigScope(CONTEXT, CONFIG, None)
    return ServiceClient(name, ClientConfig(region=REGION), around, REGION)


# What JSON is made of

TIMES = (
    *(
        "2030-01-01T00:00:00Z",
        "2030-01-01T00:00:00UTC",
        "2030-01-01",
        "20300101T000000Z",
        "2030-W01-1",
        "2030-01-01T24:00",
    ),
    *(
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-12:00",
    ),
    *(
        "2030-06-30T23:59:60Z",
        "10000-01-01T00:00:00Z",
        "2030-01-01T00:00:00+23:59:59.999999",
        "2020-01-01T00:00:00Z",
    ),
    *(
        "\ud800",
        "2030-01-01T00:00:00\ud800",
        "\uff12030-01-01",
        "2030-01-01\x0000:00:00",
        "-2030-01-01T00:00:00Z",
        "Z",
        "UTC",
    ),
)
NUMBERS = (0, 1, -1, 900, 28_800, 2**31, 2**63, 10**18, 10**400, 1e308, 1.5, -0.0, 1_900_000_000, 1_900_000_000_000)
NAN = float("nan"), float("inf"), -float("inf")
TEXTS = (
    "",
    " ",
    "x",
    "ASIAFUZZ00000001",
    "a b",
    "\n",
    "\0",
    "\x1c",
    "\ud800",
    "é",
    "\N{BYTE ORDER MARK}",
    "\x7f",
    "*" * 70,
)
SCALARS = st.sampled_from([None, True, False, *NUMBERS, *NAN, *TEXTS, *TIMES]) | st.text(max_size=8) | st.floats()
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(TEXTS), SCALARS, max_size=2)


def documents(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with these fields, now and then with something odd in one of them, or without it."""
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for name, value in fields.items():
        drawn[name] = value if isinstance(value, st.SearchStrategy) else st.just(value) | st.just(value) | VALUES
    return st.fixed_dictionaries({}, optional=drawn)


def encoded(document: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Such documents as bytes, in the encodings that JSON may have."""

    def bytes_of(document: object, encoding: str, plain: bool) -> bytes:
        return json.dumps(document, ensure_ascii=not plain).encode(encoding, errors="surrogatepass")

    encodings = st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-be"))
    return st.builds(bytes_of, document, encodings, st.booleans())


JSON_WORDS = (
    *(
        b'{"a": ',
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"\\u0000",
        b"\\ud800",
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
    ),
    *(
        b"1" * 4301,
        b"-0",
        b"[" * 1100,
        b'{"a":' * 1100,
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"<html>",
        b"\\n",
        b" ",
    ),
    *(json.dumps(time).encode() for time in TIMES),
    *(json.dumps(number).encode() for number in NUMBERS),
    *(json.dumps(text).encode() for text in TEXTS),
)
# What may stand in the place of a document, or of a value in it.
JSON_GROWING: dict[str, Callable[[int], bytes]] = {
    "blanks": lambda n: b" " * n,
    "blanks and a bracket": lambda n: b"\n\t" * n + b"<",
    "nested lists": lambda n: b"[" * n,
    "nested objects": lambda n: b'{"a":' * n,
    "commas": lambda n: b"[" + b"0," * n + b"0]",
    "digits": lambda n: b"1" * n,
    "digits behind a point": lambda n: b"0." + b"1" * n,
    "an exponent": lambda n: b"1e" + b"9" * n,
    "backslashes": lambda n: b'"' + b"\\\\" * n + b'"',
    "halves of pairs": lambda n: b'"' + b"\\ud800" * n + b'"',
    "an open text": lambda n: b'"' + b"a" * n,
    "keys": lambda n: b"{" + b",".join(b'"k%d":0' % (at % 999) for at in range(n)) + b"}",  # fit into a cache
    "the same key": lambda n: b"{" + b",".join([b'"AccessKeyId":"a"'] * n) + b"}",
    "blanks in texts": lambda n: b'{"Code":"' + b" " * n + b'","AccessKeyId":"' + b" " * n + b'"}',
    "line ends in a message": lambda n: b'{"__type":"A","message":"' + b"\\n\\u0000" * n + b'"}',
    "colons in a code": lambda n: b'{"__type":"' + b"a#:" * n + b'"}',
}
