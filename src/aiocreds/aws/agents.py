"""Where container agents may be asked for credentials, and where nobody may.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from aiocreds.errors import InvalidConfiguration

ECS_HOST = "http://169.254.170.2"
PLAIN_HTTP_HOSTS = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::1"}
HOST_AND_PORT = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d*)?", re.ASCII | re.IGNORECASE)


class Setting(NamedTuple):
    """A value and the argument or variable it was found in."""

    value: str
    place: str


def checked_url(setting: Setting) -> Setting:
    """A URL that credentials may be asked from. No name is looked up to decide.

    Raises:
        InvalidConfiguration: it is none, or plain http to another machine.
    """
    url, place = setting
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidConfiguration(
            f"{place} holds a character that no URL may hold: remove it or percent-encode it"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidConfiguration(
            f"{place} has a host or port that cannot be: write https://host:port/path"
        ) from None
    if "@" in parts.netloc or "#" in url:
        raise InvalidConfiguration(
            f"{place} may hold neither a user name nor a fragment: remove what is before @ or after #"
        )
    # More than the parser asks for: no two parsers shall find different hosts in it.
    sound = parts.scheme in ("http", "https") and port != 0 and HOST_AND_PORT.fullmatch(parts.netloc)
    if not sound or not _can_be_asked(url):
        raise InvalidConfiguration(f"{place} is not an http or https URL with a host: write https://host/path")
    if parts.scheme == "http" and not _may_be_plain(host):
        raise InvalidConfiguration(
            f"{place} points to http://{host}, and plain http is for loopback and the ECS and EKS agents"
            " (169.254.170.2, 169.254.170.23, [fd00:ec2::23]) alone: use https"
        )
    return setting


def _can_be_asked(url: str) -> bool:
    """Whether aiohttp can make anything of it; of an ``xn--`` name that encodes nothing, say, it cannot."""
    from yarl import URL  # heavy, and loaded for the request in any case

    try:
        return bool(URL(url).host)
    except ValueError:
        return False


def _may_be_plain(host: str) -> bool:
    if host == "localhost" or host in PLAIN_HTTP_HOSTS:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (address.version == 4 and address.is_loopback) or str(address) in PLAIN_HTTP_HOSTS
