"""Header values and tokens: what is accepted arrives as it is, in one header of one request."""

# The readers themselves are fuzzed, not only what calls them.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from unittest import mock

from aiohttp import http_writer
from aiohttp.http_parser import HttpRequestParser
from hypothesis import strategies as st
from multidict import CIMultiDict

from aiocreds._aws.json_protocol import checked_token
from aiocreds._aws.sigv4 import check_sendable
from aiocreds._base.redaction import SecretBytes
from aiocreds._core.context import Context
from aiocreds._http import Response
from aiocreds._http.request import checked_headers
from aiocreds.credentials import Credentials
from aiocreds.errors import InvalidConfiguration, SourceUnavailable
from aiocreds.sources import container as agent
from tests.stress.fuzz.answers import HTTP
from tests.stress.fuzz.services import METADATA
from tests.stress.fuzz.target import Target, finish, text

LOOP = asyncio.new_event_loop()
LOOP.close()  # the parser wants one, and has no use for it
NAME = "Authorization"
SERIALIZE: Any = vars(http_writer)["_serialize_headers"]  # in C, and without types


def feed(data: bytes) -> None:
    """Each who takes such values says yes or no; to what it says yes can be sent."""
    said = text(data)
    for check in (value, container, given, keys):
        with suppress(InvalidConfiguration):
            check(said)
    HTTP.response = Response(200, {}, SecretBytes(data), "example.com")
    with suppress(SourceUnavailable):
        assert_sendable(finish(METADATA.token()))


def value(said: str) -> None:
    """Any header's value."""
    checked_headers({NAME: said})
    assert arriving(said) == said.strip(" \t"), said


def assert_sendable(said: str) -> None:
    """A token arrives unchanged, or is refused as a header."""
    assert "\n" not in said
    assert "\r" not in said
    with suppress(InvalidConfiguration):
        checked_headers({NAME: said})
        assert arriving(said) == said.strip(" "), said


def container(said: str) -> None:
    """The token of a container agent, from the environment."""
    environ = {agent.TOKEN: said}
    setting = finish(agent._token(None, None, in_code=False, context=Context(environ=environ)))
    assert (setting is None) is (not said.strip()), said
    if setting is not None:
        assert_sendable(setting.value)


def given(said: str) -> None:
    """A token that a program gives."""
    token = checked_token(said, place="it")
    assert token == said.strip() != ""
    assert_sendable(token)


def keys(said: str) -> None:
    """A key id and a session token."""
    if said.strip():
        credentials = Credentials(said, "secret", said)
        check_sendable(credentials)
        assert arriving(said) == said.strip(" "), said


def arriving(said: str) -> str:
    """The value of a header as aiohttp sends it, and as aiohttp reads it."""
    wire: bytes = SERIALIZE("GET / HTTP/1.1", CIMultiDict({"Host": "x", NAME: said}))
    parser: Any = HttpRequestParser(mock.Mock(), LOOP, 2**16, max_line_size=2**20, max_field_size=2**20)
    (message,) = parser.feed_data(wire)[0]
    request = message[0]
    assert list(request.headers) == ["Host", NAME], wire
    found: str = request.headers[NAME]
    return found


_odd = (
    "\r\nX: y",
    "\n",
    "\r",
    "\0",
    "\t",
    "\x7f",
    "\x80",
    "\x85",
    "\xa0",
    "é",
    "\xff",
    "€",
    "\u2028",
    "\udcff",
    " ",
    "\x0b",
    "\x1b",
    "\x1f",
)
_piece = st.sampled_from((*_odd, "Bearer ", "token", "=", ",", '"', ":", "a" * 30)) | st.text(max_size=3)

TARGET = Target(
    feed=feed,
    inputs=st.lists(_piece, max_size=6).map("".join).map(lambda said: said.encode(errors="surrogatepass")),
    seeds=[odd.encode(errors="surrogateescape") for odd in _odd],
    words=[
        odd.encode(errors="surrogateescape") for odd in (*_odd, "Bearer ", "\r\n\r\n", "GET / HTTP/1.1\r\n", "X: y")
    ],
    growing={
        "a long value": lambda n: b"a" * n,
        "blanks": lambda n: b" " * n,
        "blanks, and something": lambda n: b" " * n + b"\n" + b" " * n,
        "tabs": lambda n: b"a" + b"\t" * n + b"a",
        "line ends": lambda n: b"\r\n" * n,
        "no ASCII": lambda n: b"\xc3\xa9" * n,
        "no UTF-8": lambda n: b"\xff" * n,
    },
)
