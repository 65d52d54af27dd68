"""Choose the proxy of a request by ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from yarl import URL

from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

_EC2_METADATA_IPV6 = IPv6Network("fd00:ec2::/32")


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    """Return whether a host is this machine or its metadata service, which no proxy can reach."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or address.is_link_local or address in _EC2_METADATA_IPV6


def _is_exempt(host: str, port: int | None, exempt: str) -> bool:
    """Return whether `NO_PROXY` has a host, or a domain it is in, with or without its port."""
    entries = (entry.strip().lstrip(".").lower() for entry in exempt.split(","))
    names = f".{host}", f".{host}:{port}"
    return any(entry == "*" or any(name.endswith(f".{entry}") for name in names) for entry in entries if entry)


def proxy_for(environ: Mapping[str, str], url: URL) -> URL | None:
    """Return the proxy for a URL, with its user name and password. A lower-case variable wins, even when empty."""
    host = url.host or ""
    if _is_local(host):
        return None
    lower = f"{url.scheme}_proxy"
    upper = lower.upper()
    if lower in environ:
        name = lower
    elif upper == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        return None  # in a CGI program, a client sets it with a Proxy header (https://httpoxy.org)
    else:
        name = upper
    value = environ.get(name, "").strip()
    exempt = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    if not value or _is_exempt(host, url.port, exempt):
        return None
    try:
        proxy = URL(value if "://" in value else f"http://{value}")
        if value.isprintable() and proxy.scheme in {"http", "https"} and proxy.host and proxy.port:
            return proxy
    except (ValueError, IndexError):  # yarl raises the latter for http://][@
        pass
    raise InvalidConfiguration(f"{name} holds no usable proxy; write http://host:port, or unset it")
