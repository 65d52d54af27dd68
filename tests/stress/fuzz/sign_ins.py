"""Cached sign-ins of ``aws sso login`` and ``aws login``, as files; and the JSON Web Tokens that are told about. ::

login
{"accessToken": …
"""

# The readers themselves are fuzzed, not only what calls them.
# pyright: reportPrivateUsage=false
from __future__ import annotations

import atexit
import json
import os
import tempfile
from base64 import urlsafe_b64encode
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from cryptography.hazmat.primitives import serialization
from hypothesis import strategies as st

from aiocreds._aws.client import ClientConfig
from aiocreds._base import threads, tracing
from aiocreds._base.redaction import SecretBytes
from aiocreds._explain import words
from aiocreds._http import Response
from aiocreds._profiles import SharedConfig
from aiocreds._profiles.describe import record_token
from aiocreds._profiles.parser import Document
from aiocreds._token_cache import storage
from aiocreds._token_cache.cache import trace_end
from aiocreds.sources.login.token import LoginSession
from aiocreds.sources.sso.token import SignIn
from tests.stress.fuzz.answers import (
    CONTEXT,
    HTTP,
    JSON_GROWING,
    JSON_WORDS,
    REGION,
    TIMES,
    VALUES,
    documents,
    encoded,
    service,
)
from tests.stress.fuzz.documents import check
from tests.stress.fuzz.services import KEY, SETTINGS
from tests.stress.fuzz.target import Target, at_once, finish, text, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._token_cache.cache import Token

_descriptor, _path = tempfile.mkstemp(".json", "sign-in")
os.close(_descriptor)
FILE = Path(_path)
atexit.register(FILE.unlink, missing_ok=True)
AROUND = service("signin").scope
SECTION = SharedConfig(Document("credentials"), Document("config", b"[profile me]\nlogin_session = x")).profiles[
    "me"
]
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
).decode()
RENEWED = {
    "sso": {"accessToken": "new", "expiresIn": 3600},
    "login": {
        "accessToken": dict.fromkeys(("accessKeyId", "secretAccessKey", "sessionToken"), "new"),
        "expiresIn": 900,
    },
}


class Cache:
    """Stands in for the token cache: reads the file as it does, and has every token renewed that asks for it."""

    path = str(FILE)

    async def current(
        self,
        *,
        end: Callable[[Token], float],
        margin: float,
        renew: Callable[[Token], Awaitable[Token]],
        here: bool = False,
    ) -> Token | None:
        token: Token | None = None
        with suppress(ValueError, RecursionError):
            token = storage._read(self.path)
        if token is None:
            return None
        now = CONTEXT.clock.now()
        trace_end(self.path, end(token), now)
        if end(token) - now > margin:
            return token
        fresh = storage.Document(await renew(token))
        now = CONTEXT.clock.now()
        assert now < end(fresh) < inf
        trace_end(self.path, end(fresh), now, renewed=True)
        assert json.loads(json.dumps(fresh)).keys() == fresh.keys()
        return fresh


def feed(data: bytes) -> None:
    """A token that is good, or an error; what is told of it can be told."""
    kind, _, content = data.partition(b"\n")
    record = tracing.Record("fuzz")
    with tracing.recording(record):
        if kind == b"token":
            record_token("file", text(content))
        else:
            FILE.write_bytes(content)
            (login if kind == b"login" else sso)()
    for event in record.events:
        assert (event.place + words(event)).isprintable(), event


def sso() -> None:
    """The access token of ``aws sso login``."""
    HTTP.response = Response(200, {}, SecretBytes(json.dumps(RENEWED["sso"]).encode()), "example.com")
    sign_in = SignIn(SETTINGS, ClientConfig(region=REGION), AROUND)
    sign_in._cache = Cache()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue] - a double
    with mock.patch.object(threads, "submit", at_once):
        token = finish(sign_in.access_token())
    assert token == token.strip() != ""


def login() -> None:
    """The keys of ``aws login``."""
    HTTP.response = Response(200, {}, SecretBytes(json.dumps(RENEWED["login"]).encode()), "example.com")
    session = LoginSession(SECTION, ClientConfig(region=REGION), AROUND)
    session._cache = Cache()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue] - a double
    with mock.patch.object(threads, "submit", at_once):
        credentials = finish(session.credentials())
    check(credentials)
    assert credentials.expiration is not None
    assert credentials.expiration > datetime.fromtimestamp(CONTEXT.clock.now(), UTC)


_end = st.sampled_from(("2035-01-01T00:00:00Z", "2035-01-01T00:00:00UTC", *TIMES)) | VALUES
_sso = documents(
    accessToken="token",
    expiresAt=_end,
    clientId="c",
    clientSecret="s",
    refreshToken="r",
    registrationExpiresAt=_end,
    region=REGION,
)
_keys = documents(accessKeyId="a", secretAccessKey="s", sessionToken="t", expiresAt=_end, accountId="123456789012")
_login = documents(
    accessToken=_keys, clientId="c", refreshToken="r", dpopKey=st.just(PEM) | VALUES, signInRegion=REGION
)
_rests = st.sampled_from((b".c2ln", b"", b"=", b"\xff"))
_claims = documents(iss="https://x", aud="sts.amazonaws.com", sub="s", exp=st.just(1_900_000_000) | VALUES)


def _token(claims: bytes, rest: bytes) -> bytes:
    return b"e30." + urlsafe_b64encode(claims).rstrip(b"=") + rest


def _file(kind: bytes, content: bytes) -> bytes:
    return kind + b"\n" + content


TARGET = Target(
    feed=feed,
    inputs=st.one_of(
        st.builds(_file, st.just(b"sso"), encoded(_sso)),
        st.builds(_file, st.just(b"login"), encoded(_login)),
        st.builds(_file, st.just(b"token"), st.builds(_token, encoded(_claims | VALUES), _rests)),
    ),
    seeds=[b"sso\n", b"login\n[]", b"login\n{}", b"token\n..", b"token\n"],
    words=[
        *JSON_WORDS,
        *(
            b"sso\n",
            b"login\n",
            b"token\n",
            b'"accessToken": ',
            b'"expiresAt": ',
            b'"clientId": ',
            b'"clientSecret": ',
        ),
        *(
            b'"refreshToken": ',
            b'"registrationExpiresAt": ',
            b'"dpopKey": ',
            b'"signInRegion": ',
            b'"accessKeyId": ',
        ),
        *(
            b"-----BEGIN EC PRIVATE KEY-----\\n",
            b"\\n-----END EC PRIVATE KEY-----",
            b"..",
            b"=",
            b"eyJleHAiOjE5MDAwMDAwMDB9",
        ),
    ],
    growing={
        **within("sso", JSON_GROWING, lambda content: b"sso\n" + content),
        **within("login", JSON_GROWING, lambda content: b"login\n" + content),
        **within("token", JSON_GROWING, lambda content: b"token\ne30." + urlsafe_b64encode(content)),
        "token: dots": lambda n: b"token\n" + b"." * n,
        "token: what is no base64": lambda n: b"token\n." + b"*" * n,
    },
)
