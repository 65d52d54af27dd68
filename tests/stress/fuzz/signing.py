"""Signatures, in headers and in URLs, byte for byte as botocore's. ::

    s3-url PUT /a/../b?c=d
    X-Team: blue

    body

Where the two differ on purpose, both get what a service will make of the request:

* botocore signs a query in the spelling that it finds, the library as services spell it out: botocore gets that;
* S3 wants its path encoded once, which botocore leaves to its serializers: it gets that;
* it knows few of the headers that others rewrite on the way (`UNSIGNED_HEADERS`): it does not get them, nor those
  that signing sets, which the library replaces;
* with a ``Date`` it leaves out ``X-Amz-Date``, and a stated hash is one for it and no more than a header for
  `sign`: neither gets these;
* it signs a path in a URL as it finds it, the library as it will be sent: botocore gets that;
* in a URL it loses all but the first parameter of a name, those that are no UTF-8, and bodies: neither gets these,
  nor a fragment, which nobody sends.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import strategies as st

from aiocreds._aws.sigv4 import UNSIGNED_HEADERS, presign, sign, unambiguous
from aiocreds.credentials import Credentials
from tests.stress.fuzz.target import Target, published, within

if TYPE_CHECKING:
    from tests.stress.fuzz.target import Shape

REGION = "eu-central-1"
HOST = "https://example.com"
KEYS = (
    Credentials("AKIDFUZZ00000001", "wJalrXUtnFEMI/K7MDENG"),
    Credentials("ASIAFUZZ00000001", "wJalrXUtnFEMI/K7MDENG+é", "the/token=="),
)
AT = datetime(2026, 11, 23, 12, 36, tzinfo=UTC)
LIFETIME = 900
SERVICES = ("sts", "es", "s3", "sts-url", "s3-url")
SET_IN_URLS = {"authorization", "x-amz-security-token"}
SET_BY_SIGNING = {*SET_IN_URLS, "x-amz-date"}
READ_OTHERWISE = {"date", "x-amz-content-sha256"}
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of a header (RFC 9110, section 5.6.2)


class Request(NamedTuple):
    """A request to be signed."""

    service: str
    in_url: bool
    keys: Credentials
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def url(self) -> str:
        return f"{HOST}{self.path}{'?' if self.query else ''}{self.query}"


def parsed(data: bytes) -> Request:
    """A request from its bytes; whatever these are, they are one."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode(errors="replace").split("\n")
    mode, _, rest = first.partition(" ")
    method, _, target = rest.partition(" ")
    parts = urlsplit(f"{HOST}/{target.removeprefix('/')}")
    pairs = (line.partition(":")[::2] for line in lines)
    headers = [
        (name, value) for name, value in pairs if NAME.fullmatch(name) and name.lower() not in READ_OTHERWISE
    ]
    mode = mode if mode in SERVICES else "sts"
    service, in_url = mode.removesuffix("-url"), mode.endswith("-url")
    keys = KEYS[service != "sts"]
    return Request(service, in_url, keys, method, parts.path, parts.query, headers, b"" if in_url else body)


def feed(data: bytes) -> None:
    """Both signatures are one."""
    request = parsed(data)
    (compare_urls if request.in_url else compare_headers)(request)


def compare_headers(request: Request) -> None:
    """Signed in headers."""
    ours = by_us(request)
    pairs = (pair.partition("=")[::2] for pair in request.query.split("&") if pair)
    query = "&".join(f"{spelled(name)}={spelled(value)}" for name, value in pairs)
    theirs = by_botocore(request, query, botocore.auth.SigV4Auth, botocore.auth.S3SigV4Auth)
    assert ours == {name: theirs.headers.get(name) for name in ours}, (ours, dict(theirs.headers.items()))


def compare_urls(request: Request) -> None:
    """Signed in the URL."""
    first: dict[str, str] = {}
    for pair in filter(None, request.query.split("&")):
        name, _, value = pair.partition("=")
        if is_utf_8(pair) and not meaning(name).lower().startswith("x-amz-"):
            first.setdefault(meaning(name), f"{name}={value}")
    request = request._replace(query="&".join(first.values()))
    ours = by_us_in_url(request)
    theirs = by_botocore(
        request, request.query, botocore.auth.SigV4QueryAuth, botocore.auth.S3SigV4QueryAuth, LIFETIME
    )
    assert parameters(ours) == parameters(str(theirs.url)), (ours, theirs.url)


def by_us(request: Request) -> dict[str, str]:
    """Return the headers that the library adds."""
    s3 = request.service == "s3"
    return sign(
        *(request.method, request.url, request.headers, request.body),
        credentials=request.keys,
        region=REGION,
        service=request.service,
        at=AT.timestamp(),
        normalize_path=not s3,
        encode_path=not s3,
        sign_body=s3,
    )


def by_us_in_url(request: Request) -> str:
    """The URL that the library makes."""
    s3 = request.service == "s3"
    return presign(
        *(request.method, unambiguous(request.url, encode_path=not s3), request.headers, None if s3 else b""),
        credentials=request.keys,
        region=REGION,
        service=request.service,
        at=AT.timestamp(),
        expires_in=LIFETIME,
        normalize_path=not s3,
        encode_path=not s3,
    )


def by_botocore(request: Request, query: str, usual: type, of_s3: type, *more: int) -> AWSRequest:
    """The request as botocore signs it."""
    path = quote(unquote_to_bytes(request.path), safe="/~") if request.service == "s3" else request.path
    if request.in_url:
        path = quote(path, safe=PRINTABLE)
    url = f"{HOST}{path}{'?' if query else ''}{query}"
    signed = AWSRequest(request.method, url, data=request.body)
    left_out = UNSIGNED_HEADERS | (SET_IN_URLS if request.in_url else SET_BY_SIGNING)
    for name, value in request.headers:
        if name.lower() not in left_out:
            signed.headers.add_header(name, value)
    keys = BotocoreCredentials(
        request.keys.access_key_id, request.keys.secret_access_key, request.keys.session_token
    )
    signer = of_s3 if request.service == "s3" else usual
    with mock.patch.object(botocore.auth, "get_current_datetime", _now):
        signer(keys, request.service, REGION, *more).add_auth(signed)
    return signed


def _now() -> datetime:
    return AT.replace(tzinfo=None)


def spelled(text: str) -> str:
    """A name or value of a query as services spell it out."""
    return quote(unquote_to_bytes(text), safe="-_.~")


def meaning(text: str) -> str:
    """Return the meaning of a name in a query."""
    return unquote_to_bytes(text.replace("+", " ")).decode(errors="replace")


def is_utf_8(text: str) -> bool:
    """Return whether botocore keeps a parameter as it is."""
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return False
    return True


def parameters(url: str) -> dict[str, list[str]]:
    """The query of a URL."""
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


def alone(data: bytes) -> None:
    """The library's signature."""
    request = parsed(data)
    by_us_in_url(request) if request.in_url else by_us(request)


def written(
    service: str, method: str, path: str, pairs: list[str], headers: list[tuple[str, str]], body: bytes
) -> bytes:
    """The bytes of a request."""
    target = f"/{path}?{'&'.join(pairs)}" if pairs else f"/{path}"
    lines = "".join(f"{name}:{value}\n" for name, value in headers)
    return f"{service} {method} {target}\n{lines}\n".encode(errors="replace") + body


_word = st.text(st.sampled_from("ab.~-_ +%()!*'/&=:@,;$é€\N{FACE WITH TEARS OF JOY}\t\x85"), max_size=5)
_segment = st.sampled_from(("", ".", "..", "%20", "%2F", "%2e", "%", "%zz", "%C3", "~a b", "*", "a:b")) | _word
_name = st.sampled_from(("a", "b", "a-b", "a.b", "A", "", "%61", "+", "x-amz-acl", "X-Amz-Date", "é"))
_header = st.tuples(
    st.sampled_from(
        ("X-A", "x-a", "X-B", "Host", "Content-Type", "User-Agent", "Authorization", "X-Amz-Security-Token")
    ),
    st.text(st.sampled_from("abc \t,;:=\"'%+/é€\x85\xa0\r\x0b"), max_size=9)
    | st.just("application/x-www-form-urlencoded"),
)
_WORDS = (
    *(f"{service} " for service in SERVICES),
    *(
        "GET ",
        "put ",
        "/",
        "//",
        "/./",
        "/../",
        "?",
        "&",
        "=",
        "%20",
        "+",
        "%2B",
        "%2f",
        "%C3",
        "%",
        "é",
        "#",
        "\n\n",
        "\t",
        "\x85",
    ),
    *(
        "\nX-A: ",
        "\nx-a: b",
        "\nHost: ",
        "\nContent-Type: ",
        "\nContent-MD5: ",
        "\nTransfer-Encoding: ",
        "\nX-Amz-Date: ",
        "  ",
    ),
)

GROWING: dict[str, Shape] = {
    "segments": lambda n: b"/a" * n,
    "slashes": lambda n: b"/" * n,
    "dots": lambda n: b"/a/../.." * n,
    "percent signs": lambda n: b"/" + b"%" * n,
    "parameters": lambda n: b"/?" + b"a=b&" * n,
    "names": lambda n: b"/?" + b"&".join(b"n%d" % number for number in range(n)),
    "equals signs": lambda n: b"/?" + b"=" * n,
    "plus signs": lambda n: b"/?a=" + b"+" * n,
    "headers": lambda n: b"/" + b"".join(b"\nx-%d: a" % number for number in range(n)),
    "lines of a header": lambda n: b"/" + (b"\nx-a: " + b"b" * 99) * n,
    "blanks in a header": lambda n: b"/\nx-a: a" + b" " * n + b"b",
    "a body": lambda n: b"/\n\n" + b"a" * n,
}

TARGET = Target(
    feed=feed,
    inputs=st.builds(
        written,
        st.sampled_from(SERVICES),
        st.sampled_from(("GET", "POST", "PUT", "delete")),
        st.lists(_segment, max_size=4).map("/".join),
        st.lists(st.builds("{}{}{}".format, _name, st.sampled_from(("=", "=", "")), _word), max_size=4),
        st.lists(_header, max_size=4),
        st.binary(max_size=20),
    ),
    seeds=[
        f"{service} {case['request'].partition(' HTTP/1.1')[0]}".encode()
        for case in published("sigv4-cases.json")
        for service in SERVICES
    ],
    words=[word.encode() for word in _WORDS],
    growing={
        **within("in headers", GROWING, lambda target: b"sts GET " + target),
        **within("in headers for S3", GROWING, lambda target: b"s3 GET " + target),
        **within("in the URL", GROWING, lambda target: b"sts-url GET " + target),
    },
    alone=alone,
)
