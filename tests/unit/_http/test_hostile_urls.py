"""URLs that somebody would like the agent's token to be sent to.

==============================================  ===================================================================
the URL                                         what becomes of it
==============================================  ===================================================================
plain http to loopback or an agent's address    asked there, and nowhere else
https to any host                               asked there
plain http to any other host, or to a name      InvalidConfiguration: the variable or argument, and https
an address in other clothes                     likewise, since no two programs read 0177.0.0.1 alike
a user name, a fragment, a character of none    InvalidConfiguration: the variable or argument, and what to remove
a relative one                                  asked at 169.254.170.2, whatever it looks like
==============================================  ===================================================================

No name is looked up to decide that.
"""

from __future__ import annotations

import itertools
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from yarl import URL

from aiocreds import (
    InvalidConfiguration,
    ServiceRefused,
    SourceUnavailable,
    from_container_metadata,
    from_http,
)
from aiocreds._profiles import Setting
from aiocreds.sources.container import checked_url
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import json_answer
from tests.helpers.loopback_routes import detour
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback

FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
AGENT = "169.254.170.2"


@pytest.fixture(autouse=True)
def _no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"{args} was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


ACCEPTED = {
    # URL: whom aiohttp connects to, the Host header, and the path with its query
    "http://127.0.0.1/x": ("127.0.0.1:80", "127.0.0.1", "/x"),
    "http://127.0.0.1:8080/x": ("127.0.0.1:8080", "127.0.0.1:8080", "/x"),
    "http://127.0.0.1:/x": ("127.0.0.1:80", "127.0.0.1", "/x"),
    "http://127.0.0.1:080/x": ("127.0.0.1:80", "127.0.0.1", "/x"),
    "http://127.255.255.254/x?y=1": ("127.255.255.254:80", "127.255.255.254", "/x?y=1"),
    "http://localhost": ("localhost:80", "localhost", "/"),
    "HTTP://LocalHost:8080/x": ("localhost:8080", "localhost:8080", "/x"),
    "http://[::1]/x": ("::1:80", "[::1]", "/x"),
    "http://[0:0:0:0:0:0:0:1]:8080/x": ("::1:8080", "[::1]:8080", "/x"),
    "http://[::0.0.0.1]/x": ("::1:80", "[::1]", "/x"),
    "http://169.254.170.2/x": ("169.254.170.2:80", "169.254.170.2", "/x"),
    "http://169.254.170.23:8080/x": ("169.254.170.23:8080", "169.254.170.23:8080", "/x"),
    "http://[fd00:ec2::23]/x": ("fd00:ec2::23:80", "[fd00:ec2::23]", "/x"),
    "http://[FD00:EC2:0::23]:8080/x": ("fd00:ec2::23:8080", "[fd00:ec2::23]:8080", "/x"),
    # What looks like a host, behind the host.
    "http://127.0.0.1//evil.example/x": ("127.0.0.1:80", "127.0.0.1", "//evil.example/x"),
    "http://127.0.0.1/@evil.example/": ("127.0.0.1:80", "127.0.0.1", "/@evil.example/"),
    "http://127.0.0.1?@evil.example/": ("127.0.0.1:80", "127.0.0.1", "/?@evil.example/"),
    "http://127.0.0.1/..//evil.example": ("127.0.0.1:80", "127.0.0.1", "//evil.example"),
    "http://127.0.0.1/%2e%2e/%2f%2fevil.example": ("127.0.0.1:80", "127.0.0.1", "/%2F%2Fevil.example"),
    "http://127.0.0.1/%0d%0aX:%20y": ("127.0.0.1:80", "127.0.0.1", "/%0D%0AX:%20y"),
}
ACCEPTED_OVER_TLS = {
    "https://example.com/x": "example.com:443",
    "https://EXAMPLE.com:8443/x": "example.com:8443",
    "https://169.254.1.1:8443/x": "169.254.1.1:8443",
    "https://localhost./x": "localhost.:443",
    "https://xn--bcher-kva.example": "xn--bcher-kva.example:443",
    "https://xn--lcalhost-nbh/": "xn--lcalhost-nbh:443",  # with a Cyrillic o
    "https://127.0.0.1.nip.io/": "127.0.0.1.nip.io:443",
    "https://[::2]/": "::2:443",
}
REFUSED = [
    ("http://example.com/", "http://example.com, and plain http is for loopback"),
    ("http://169.254.169.254/", "use https"),
    ("http://169.254.170.3/", "use https"),
    ("http://10.0.0.1/", "use https"),
    ("http://0.0.0.0/", "use https"),
    ("http://0/", "use https"),
    ("http://[::]/", "use https"),
    ("http://128.0.0.1/", "use https"),
    # Other ways to write an address, which some resolvers understand.
    ("http://127.1/", "use https"),
    ("http://127.0.1/", "use https"),
    ("http://2130706433/", "use https"),
    ("http://017700000001/", "use https"),
    ("http://0x7f000001/", "use https"),
    ("http://0x7f.1/", "use https"),
    ("http://0X7F.0.0.1/", "use https"),
    ("http://0177.0.0.1/", "use https"),
    ("http://127.0.0.01/", "use https"),
    ("http://127.0.0.1.0/", "use https"),
    ("http://127.0.0.256/", "use https"),
    ("http://[::ffff:127.0.0.1]/", "use https"),
    ("http://[::ffff:7f00:1]/", "use https"),
    ("http://[::FFFF:169.254.170.2]/", "use https"),
    ("http://[::127.0.0.1]/", "use https"),
    ("http://[64:ff9b::7f00:1]/", "use https"),
    ("http://[2002:7f00:1::]/", "use https"),
    ("http://[fd00:ec2::24]/", "use https"),
    ("http://[fd00:ec2::254]/", "use https"),
    ("http://[::1%25lo]/", "with a host"),
    ("http://[::1%lo]/", "with a host"),
    ("http://[fe80::1%lo]/", "with a host"),
    ("http://[127.0.0.1]/", ""),
    ("http://[localhost]/", ""),
    ("http://[v1.fe80]/", ""),
    # Names that may lead to loopback.
    ("http://localhost./", "use https"),
    ("http://LOCALHOST./", "use https"),
    ("http://localhost../", "use https"),
    ("http://.localhost/", "use https"),
    ("http://127.0.0.1./", "use https"),
    ("http://localhost.localdomain/", "use https"),
    ("http://sub.localhost/", "use https"),
    ("http://localhost.example.com/", "use https"),
    ("http://127.0.0.1.evil.example/", "use https"),
    ("http://127.0.0.1.nip.io/", "use https"),
    ("http://localtest.me/", "use https"),
    ("http://ip6-localhost/", "use https"),
    ("http://ip6-loopback/", "use https"),
    # What one parser takes for the host and another does not.
    ("http://127.0.0.1%2f.example.com/", "with a host"),
    ("http://127.0.0.1%2f@example.com/", "neither a user name nor a fragment"),
    ("http://127.0.0.1%00.example.com/", "with a host"),
    ("http://%31%32%37.0.0.1/", "with a host"),
    ("http://%6cocalhost/", "with a host"),
    ("http://127.0.0.1;example.com/", "with a host"),
    ("http://127.0.0.1,example.com/", "with a host"),
    ("http://127.0.0.1&example.com/", "with a host"),
    ("http://[::1]example.com/", "with a host"),
    ("http://[::1].example.com/", "with a host"),
    ("http://example.com[::1]/", "with a host"),
    ("http://[::1][::1]/", ""),
    ("http://127.0.0.1:80:81/", "host:port"),
    ("http://127.0.0.1:80@example.com/", "neither a user name nor a fragment"),
    ("http://127.0.0.1\\@example.com/", "no URL may hold"),
    ("http://example.com\\@127.0.0.1/", "no URL may hold"),
    ("http:\\\\127.0.0.1/", "no URL may hold"),
    ("http://127.0.0.1\\.example.com/", "no URL may hold"),
    ("http://l\u00f6calhost/", "no URL may hold"),
    ("http://l\u043ecalhost/", "no URL may hold"),  # a Cyrillic o
    ("http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/", "no URL may hold"),  # in circles
    ("http://loca\u200blhost/", "no URL may hold"),
    ("http://loca\u00adlhost/", "no URL may hold"),
    ("http://localho\u017ft/", "no URL may hold"),  # a long s, which is an s in lower case
    ("http://\uff11\uff12\uff17.0.0.1/", "no URL may hold"),
    ("http://127\u30020\u30020\u30021/", "no URL may hold"),
    ("http://127\uff0e0\uff0e0\uff0e1/", "no URL may hold"),
    ("http://127.0.0.1\uff0f.example.com/", "no URL may hold"),
    ("http://127.0.0.1\uff20example.com/", "no URL may hold"),
    ("http://xn--lcalhost-nbh/", "use https"),
    ("https://xn--lcalhost-o1g/", "with a host"),  # encodes nothing
    ("https://xn--/", "with a host"),
    ("https://example.com:443.evil.example/", "host:port"),
    ("http://127.0.0.1/\u2028x", "no URL may hold"),
    ("http://127.0.0.1/a b", "no URL may hold"),
    ("http://127.0.0.1 .example.com/", "no URL may hold"),
    ("http://127.0.0.1/\r\nX: y", "no URL may hold"),
    ("http://127.0.0.1\r\n.example.com/", "no URL may hold"),
    ("ht\ntp://127.0.0.1/", "no URL may hold"),
    ("http://127.0.0.1\t/", "no URL may hold"),
    ("http://127.0.0.1/\x00", "no URL may hold"),
    ("http://127.0.0.1/\x7f", "no URL may hold"),
    # Parts that do not belong.
    ("http://sEcReT:sEcReT@127.0.0.1/", "neither a user name nor a fragment"),
    ("https://sEcReT@example.com/", "neither a user name nor a fragment"),
    ("http://localhost@evil.example/", "neither a user name nor a fragment"),
    ("http://@127.0.0.1/", "neither a user name nor a fragment"),
    ("http://:@127.0.0.1/", "neither a user name nor a fragment"),
    ("http://127.0.0.1/#", "neither a user name nor a fragment"),
    ("http://127.0.0.1#@example.com/", "neither a user name nor a fragment"),
    ("http://example.com#@127.0.0.1/", "neither a user name nor a fragment"),
    ("http://evil.example#127.0.0.1", "neither a user name nor a fragment"),
    ("ftp://127.0.0.1/", "http or https"),
    ("ws://127.0.0.1/", "http or https"),
    ("file:///etc/passwd", "http or https"),
    ("unix:///run/agent", "http or https"),
    ("http+unix://%2frun%2fagent/", "http or https"),
    ("//127.0.0.1/", "http or https"),
    ("127.0.0.1/", "http or https"),
    ("localhost:80/", "http or https"),
    ("http:127.0.0.1", "http or https"),
    ("http:/127.0.0.1/", "http or https"),
    ("http:///x", "http or https"),
    ("http:////127.0.0.1/", "http or https"),
    ("http://?@127.0.0.1/", "http or https"),
    ("http://:80/", "http or https"),
    ("https://", "http or https"),
    ("http://127.0.0.1:0/", "http or https"),
    ("http://127.0.0.1:65536/", "host:port"),
    ("http://127.0.0.1:-1/", "host:port"),
    ("http://127.0.0.1:+80/", ""),
    ("http://127.0.0.1:8_0/", ""),
    ("http://127.0.0.1:http/", "host:port"),
    ("http://127.0.0.1:\uff18\uff10/", "no URL may hold"),
    ("http://[::1/", "host:port"),
    ("http://::1/", ""),
]


def test_there_are_enough_of_them() -> None:
    urls = [*ACCEPTED, *ACCEPTED_OVER_TLS, *dict(REFUSED)]
    assert len(urls) == len(set(urls)) > 120


@pytest.mark.parametrize("uri", ACCEPTED)
async def test_where_plain_http_may_go(aws: Loopback, environ: dict[str, str], home: Path, uri: str) -> None:
    """From both ways in, and with the token."""
    address, host, path = ACCEPTED[uri]
    aws.always(URL(f"http://x{path}").path, json_answer(aws.credentials("x")))
    environ |= {FULL: uri, TOKEN: secret("token")}
    async with detour(aws, environ, home) as (context, connector):
        await from_container_metadata(context=context)()
        await from_http(full_uri=uri, authorization_token=environ[TOKEN], context=context)()
    assert connector.asked[0] == address
    assert set(connector.asked) == {address}
    assert [seen.headers["Host"] for seen in aws.requests] == [host] * 2
    assert [seen.target for seen in aws.requests] == [path] * 2
    assert [seen.headers["Authorization"] for seen in aws.requests] == [environ[TOKEN]] * 2


@pytest.mark.parametrize("uri", ACCEPTED_OVER_TLS)
async def test_https_may_go_anywhere(aws: Loopback, environ: dict[str, str], home: Path, uri: str) -> None:
    environ |= {FULL: uri, TOKEN: secret("token")}
    async with detour(aws, environ, home) as (context, connector):
        # It gets as far as a server that speaks no TLS.
        await failure(from_container_metadata(context=context), SourceUnavailable, "TLS")
        await failure(from_http(full_uri=uri, max_retries=0, context=context), SourceUnavailable, "TLS")
    assert connector.asked == [ACCEPTED_OVER_TLS[uri]] * 2
    assert not aws.requests


@pytest.mark.slow
@pytest.mark.parametrize(("uri", "what"), REFUSED)
async def test_refused(aws: Loopback, environ: dict[str, str], home: Path, uri: str, what: str) -> None:
    """It is told which variable or argument is wrong, and nothing is asked anywhere."""
    environ |= {FULL: uri, TOKEN: secret("token")}
    async with detour(aws, environ, home) as (context, connector):
        for provider, place in (
            (from_container_metadata(context=context), FULL),
            (from_http(context=context), FULL),
            (from_http(full_uri=uri, authorization_token=secret("token"), context=context), "full_uri"),
        ):
            error = await failure(provider, InvalidConfiguration, f"{provider.name}: {place} ", what)
            assert error.try_next_link is False
            assert "\n" not in str(error)
            assert not connector.asked


FIRST = ["127.0.0.1", "localhost", "[::1]", AGENT, "evil.example", ""]
SECOND = ["evil.example", "@evil.example", ":80@evil.example", "127.0.0.1", "[::1]", ":80", ":80:81", ".", ""]
SIGNS = [
    *map(chr, range(256)),
    *(f"%{number:02x}" for number in range(256)),
    *"\u2024\u3002\uff0e\uff61\uff0f\uff1a\uff1f\uff20\uff03\uff05\uff3c\u2028\u200b\ufeff\u2044\u2488\u24ea",
    *("\\\\", "//", "/\\", "\\/", "@@", "..", "::", "[]", "][", "%252f", "%25", "#@", "?@", ";@", "/.", "./"),
]


def odd_urls(scheme: str) -> Iterator[str]:
    for first, sign, second, rest in itertools.product(FIRST, SIGNS, SECOND, ("", "/x")):
        yield f"{scheme}://{first}{sign}{second}{rest}"


def _stays_on_this_machine(host: str) -> bool:
    return host in ("localhost", AGENT, "169.254.170.23") or ip_address(host).is_loopback


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_whatever_is_accepted_all_parsers_find_the_same_host_in_it(scheme: str) -> None:
    """aiohttp connects where yarl says, and the check looks at what urllib says."""
    accepted = 0
    for url in odd_urls(scheme):
        try:
            checked_url(Setting(url, "FULL"))
        except InvalidConfiguration:
            continue
        accepted += 1
        said, meant = urlsplit(url), URL(url)
        assert (meant.scheme, meant.host) == (said.scheme, said.hostname), url
        assert meant.port == (said.port or (80 if scheme == "http" else 443)), url
        assert meant.user is None, url
        assert meant.password is None, url
        if scheme == "http":
            assert _stays_on_this_machine(meant.host or ""), url
    assert accepted > 400


# Relative ones.


@pytest.mark.parametrize(
    "value",
    [
        "v2/credentials/task",
        "@evil.example/",
        ".evil.example/",
        ":80@evil.example/",
        "?x",
        "#x",
        "%2fx",
        "\\\\evil.example\\x",
        "http://127.0.0.1/",
        "https://evil.example/",
    ],
)
async def test_a_relative_uri_without_a_slash(
    aws: Loopback, environ: dict[str, str], home: Path, value: str
) -> None:
    environ |= {RELATIVE: value, TOKEN: secret("token")}
    words = "must start with a slash, such as /v2/credentials/"
    async with detour(aws, environ, home) as (context, connector):
        await failure(from_container_metadata(context=context), InvalidConfiguration, f": {RELATIVE} {words}")
        provider = from_http(relative_uri=value, context=context)
        await failure(provider, InvalidConfiguration, f": relative_uri {words}")
    assert not connector.asked


@pytest.mark.parametrize(
    "value", ["/\r\nX: y", "/\rX", "/\0", "/a b", "/#x", "/#", "/\u00e9", "/\\", "/\\evil.example", "/\uff0fx"]
)
async def test_a_relative_uri_that_is_none(aws: Loopback, environ: dict[str, str], home: Path, value: str) -> None:
    environ |= {RELATIVE: value, TOKEN: secret("token")}
    async with detour(aws, environ, home) as (context, connector):
        await failure(from_container_metadata(context=context), InvalidConfiguration, f": {RELATIVE} ")
        provider = from_http(relative_uri=value, context=context)
        await failure(provider, InvalidConfiguration, ": relative_uri ")
    assert not connector.asked


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("//evil.example/x", "//evil.example/x"),
        ("///evil.example", "///evil.example"),
        ("/@evil.example", "/@evil.example"),
        ("/:80@evil.example/", "/:80@evil.example/"),
        ("/../x", "/x"),
        ("/..", "/"),
        ("/http://evil.example/", "/http://evil.example/"),
        ("/%5cevil.example", "/%5Cevil.example"),
        ("/%0d%0aHost:%20evil.example", "/%0D%0AHost:%20evil.example"),
        ("/?http://evil.example/", "/?http://evil.example/"),
        ("/%23@evil.example", "/%23@evil.example"),
    ],
)
async def test_a_relative_uri_never_leaves_the_agent(
    aws: Loopback, environ: dict[str, str], home: Path, value: str, path: str
) -> None:
    environ[RELATIVE] = value
    async with detour(aws, environ, home) as (context, connector):
        await failure(from_http(relative_uri=value, context=context), ServiceRefused, AGENT)
        await failure(from_container_metadata(context=context), ServiceRefused, AGENT)
    assert set(connector.asked) == {f"{AGENT}:80"}
    assert [(seen.headers["Host"], seen.target) for seen in aws.requests] == [(AGENT, path)] * 2
