"""URLs that are accepted, by whoever accepts some: all parsers find the same host in them, and a safe one."""

# The readers themselves are fuzzed, not only what calls them.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from hypothesis import strategies as st
from yarl import URL

from aiocreds._aws import endpoints
from aiocreds._aws.sigv4 import host_header
from aiocreds._core.context import Context
from aiocreds._http.client import proxy_for
from aiocreds._http.request import checked_url, url_text
from aiocreds._profiles import Setting
from aiocreds.errors import InvalidConfiguration
from aiocreds.sources import container
from aiocreds.sources.container import _url
from aiocreds.sources.imds import _Settings
from tests.stress.fuzz.target import Target, text

CONTEXT = Context(environ={})
STS = URL("https://sts.amazonaws.com/")
AGENTS = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::1", "localhost"}


def feed(data: bytes) -> None:
    """Each who takes URLs says yes or no; to what it says yes is what aiohttp will ask."""
    said = text(data)
    for check in (checked_url, full, relative, endpoint, metadata, region, proxy):
        with suppress(InvalidConfiguration):
            check(said)


def sent(url: str) -> URL:
    """Return the URL that aiohttp will request."""
    found = checked_url(url)
    assert found.scheme in ("http", "https"), url
    assert found.host, url
    assert not found.raw_user, url
    return found


def same(host: str | None, other: str | None) -> bool:
    """Return whether two parsers mean the same host; yarl spells IPv6 addresses out anew."""
    try:
        return ip_address(host or "") == ip_address(other or "")
    except ValueError:
        return host == other


def full(said: str) -> None:
    """A container's full URI: plain http to loopback and agents alone."""
    container.checked_url(Setting(said, "it"))
    url = sent(said)
    assert same(url.raw_host, urlsplit(said).hostname), said
    if url.scheme == "http":
        assert _is_safe(url.host or ""), said


def _is_safe(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host in AGENTS
    return str(address) in AGENTS or (address.version == 4 and address.packed[0] == 127)


def relative(said: str) -> None:
    """A container's relative URI: never leaves the agent."""
    setting = _url(None, said or "/", CONTEXT)
    url = sent(setting.value)
    assert (url.scheme, url.host, url.port) == ("http", "169.254.170.2", 80), said


def endpoint(said: str) -> None:
    """A service's endpoint: the Host that is signed is the one that goes out."""
    url = endpoints.checked_url(Setting(said, "it"))
    found = sent(f"{url}/path")
    assert same(found.raw_host, urlsplit(url).hostname), said
    assert host_header(urlsplit(url_text(found))) == found.host_port_subcomponent, said


def metadata(said: str) -> None:
    """EC2 metadata's endpoint."""
    url = _Settings(CONTEXT, None).url(said or None, None)
    assert sent(f"{url}/latest/api/token").raw_path.endswith("/latest/api/token"), said


def region(said: str) -> None:
    """A region is part of a host, and cannot lead to another domain."""
    for service in endpoints.SERVICES:
        url = endpoints.resolve(service, said).url
        assert sent(f"{url}/").raw_host == urlsplit(url).hostname, said
        assert (urlsplit(url).hostname or "").endswith((".com", ".cn", ".aws", ".gov", ".uk", ".eu", ".scloud")), (
            said
        )


def proxy(said: str) -> None:
    """A proxy, and hosts that go without one."""
    proxy_for({"NO_PROXY": said, "HTTPS_PROXY": "http://proxy:1"}, STS)
    found = proxy_for({"HTTPS_PROXY": said}, STS)
    assert found is None or (found.scheme in ("http", "https") and found.host and found.port), said


_HOSTS = (
    *(
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "169.254.170.2",
        "169.254.170.23",
        "[fd00:ec2::23]",
        "example.com",
    ),
    *(
        "127.1",
        "0x7f.1",
        "2130706433",
        "127.0.0.1.",
        "localhost.",
        "[::ffff:127.0.0.1]",
        "[::1%25lo]",
        "[0:0:0:0:0:0:0:1]",
    ),
    *(
        "127.0.0.1@example.com",
        "example.com@127.0.0.1",
        "127.0.0.1#@example.com",
        "127.0.0.1?@example.com",
        "169.254.170.2.nip.io",
    ),
    *(
        "127.0.0.1\\@example.com",
        "127.0.0.1%2f",
        "example.com:80@localhost",
        "localhost%00.example.com",
        "[::1",
        "::1",
        "",
        "0",
    ),
    *(
        "127.0.0.1:",
        "localhost:0",
        "localhost:65536",
        "localhost:\u0663",
        "xn--nxasmq6b",
        "xn--\xff",
        "é.com",
        "ⓛocalhost",
        "\uff11\uff12\uff17.0.0.1",
    ),
    *(
        "127.0.0.1:80:80",
        "a" * 64,
        "-",
        "_",
        "..",
        "127.0.0.01",
        "127.0.0.256",
        "[127.0.0.1]",
        "[v1.x]",
        "[fd00:ec2::254]",
        "*",
        "a,b",
    ),
)
_SCHEMES = (
    "http://",
    "https://",
    "HTTP://",
    "http:",
    "http:/",
    "http:///",
    "//",
    "",
    "ftp://",
    "file://",
    "\thttp://",
    "http\n://",
)
_PATHS = (
    "",
    "/",
    "/a",
    "/../..",
    "/a?b=c",
    "?x",
    "#x",
    "//x",
    "/@x",
    "/%",
    "/%2e%2e",
    "/\\",
    "/ ",
    "/é",
    ":80",
    "/;a",
    "/a b",
    "/\0",
)

TARGET = Target(
    feed=feed,
    inputs=st.builds(
        "{}{}{}{}".format,
        st.sampled_from(_SCHEMES) | st.text(max_size=3),
        st.sampled_from(_HOSTS)
        | st.ip_addresses().map(str)
        | st.text(max_size=6)
        | st.text("01.:[]%@x", max_size=9),
        st.sampled_from(("", "", "", ":80", ":8080", ":", ":0", ":-1", ":x")),
        st.sampled_from(_PATHS) | st.text(max_size=4),
    ).map(lambda said: said.encode(errors="surrogatepass")),
    seeds=[f"http://{host}/".encode() for host in _HOSTS]
    + [b"eu-central-1", b"aws-global", b"us-gov-west-1", b".a,*,b:80"],
    words=[
        part.encode()
        for part in (*_HOSTS, *_SCHEMES, *_PATHS, "@", ":", "[", "]", "%", "-gov-", "us-iso-east-1", "\ufeff")
    ],
    growing={
        "a path": lambda n: b"http://localhost/" + b"a/" * n,
        "dots": lambda n: b"http://localhost/" + b"../" * n,
        "a host": lambda n: b"https://" + b"a" * n,
        "labels": lambda n: b"https://" + b"a." * n,
        "digits": lambda n: b"https://1." + b"1" * n,
        "a port": lambda n: b"http://localhost:" + b"9" * n,
        "zeros in a port": lambda n: b"http://localhost:" + b"0" * n + b"80",
        "colons": lambda n: b"https://[" + b":" * n + b"]",
        "at signs": lambda n: b"https://" + b"@" * n + b"x",
        "slashes": lambda n: b"/" * n,
        "percent signs": lambda n: b"http://localhost/" + b"%" * n,
        "blanks": lambda n: b" " * n,
        "hyphens": lambda n: b"us-" + b"-" * n,
        "commas": lambda n: b"a," * n,
        "no ASCII": lambda n: b"https://" + b"\xc3\xa9" * n,
    },
)
