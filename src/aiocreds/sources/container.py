"""Get credentials from an HTTP endpoint: ECS, EKS Pod Identity, or one of your own."""

from __future__ import annotations

import logging
import re
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiocreds._aws.service_errors import OTHERS, REDIRECTS, endpoint_error
from aiocreds._base import tracing
from aiocreds._base.json_credentials import error_code, parse_object
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import time_limit
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import credential_provider
from aiocreds._profiles import Setting, expand
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, SourceUnavailable
from aiocreds.sources._endpoint import Endpoint
from aiocreds.sources._rotated_file import read_token_file

if TYPE_CHECKING:
    from datetime import timedelta

    from aiocreds._http import Response
    from aiocreds.credentials import Credentials
    from aiocreds.errors import ServiceRefused

logger = logging.getLogger("aiocreds.sources.container")

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - as above
TIMEOUT = 1.0  # seconds
USUAL_RETRIES = 2  # in default_chain and credential_source
ECS_HOST = "http://169.254.170.2"
PLAIN_HTTP_HOSTS = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "::1"}
HOST_AND_PORT = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d*)?", re.ASCII | re.IGNORECASE)


@credential_provider
async def from_http(
    *,
    full_uri: str | None = None,
    relative_uri: str | None = None,
    authorization_token: str | None = None,
    authorization_token_file: str | None = None,
    timeout: float | timedelta = 1.0,
    max_retries: int = 3,
    context: Context = DEFAULT,
) -> Credentials:
    """Get credentials from an HTTP endpoint that answers as the ECS agent does.

    Plain http is accepted to loopback, to ``169.254.170.2`` (ECS) and to ``169.254.170.23`` and
    ``[fd00:ec2::23]`` (EKS Pod Identity); any other host needs https.

    Args:
        full_uri: the URL; by default ``AWS_CONTAINER_CREDENTIALS_FULL_URI``.
        relative_uri: a path at ``169.254.170.2``; by default ``AWS_CONTAINER_CREDENTIALS_RELATIVE_URI``. Wins
            over the full one.
        authorization_token: sent as the ``Authorization`` header; by default
            ``AWS_CONTAINER_AUTHORIZATION_TOKEN``. A token from the environment is never sent to a URL given here.
        authorization_token_file: a file that holds it, read at each fetch; by default
            ``AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE``. Wins over the token.
        timeout: seconds one attempt may take.
        max_retries: how often to try again after a failure that may pass.
        context: the environment, the clock and the HTTP session.

    Raises:
        CredentialsNotFound: no URL is set.
        InvalidConfiguration: the URL or the token cannot be used.
        ServiceRefused: the endpoint answered no.
        SourceUnavailable: it did not answer, or not with credentials.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
    """
    url = _url(full_uri, relative_uri, context)
    in_code = bool(full_uri or relative_uri)
    token = await _token(authorization_token, authorization_token_file, in_code=in_code, context=context)
    return await _ask(url, token, caller="from_http", timeout=timeout, max_retries=max_retries, context=context)


@credential_provider
async def from_container_metadata(
    *, timeout: float | timedelta = TIMEOUT, max_retries: int = 0, context: Context = DEFAULT
) -> Credentials:
    """Get this task's or pod's credentials from the agent that ECS or EKS runs beside it.

    Reads ``AWS_CONTAINER_CREDENTIALS_RELATIVE_URI``, ``AWS_CONTAINER_CREDENTIALS_FULL_URI``,
    ``AWS_CONTAINER_AUTHORIZATION_TOKEN`` and ``AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE``, which ECS and EKS set.

    Args:
        timeout: seconds one attempt may take.
        max_retries: how often to try again after a failure that may pass.
        context: the environment, the clock and the HTTP session.

    Raises:
        CredentialsNotFound: no URL is set: this is not such a container.
        InvalidConfiguration: a variable cannot be used.
        ServiceRefused: the agent answered no.
        SourceUnavailable: it did not answer, or not with credentials.

    See https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
    """
    url = _url(None, None, context)
    token = await _token(None, None, in_code=False, context=context)
    caller = "from_container_metadata"
    return await _ask(url, token, caller=caller, timeout=timeout, max_retries=max_retries, context=context)


async def _ask(
    url: Setting,
    token: Setting | None,
    *,
    caller: str,
    timeout: float | timedelta,
    max_retries: int,
    context: Context,
) -> Credentials:
    return await Endpoint(context, caller, time_limit(timeout, "timeout"), max_retries + 1).credentials(
        url.value,
        headers={"Accept": "application/json", **({"Authorization": token.value} if token else {})},
        target=f"by {url.place}",
        stamp="container",
        remedy=f"check that {url.place} leads to where credentials are handed out",
        refused=partial(_refusal, url_place=url.place, token_place=token and token.place),
    )


def _url(full_uri: str | None, relative_uri: str | None, context: Context) -> Setting:
    """Return the URL to ask, checked."""
    if full_uri or relative_uri:
        full, relative = Setting(full_uri or "", "full_uri"), Setting(relative_uri or "", "relative_uri")
    else:
        full = Setting(context.setting(FULL_URI) or "", FULL_URI)
        relative = Setting(context.setting(RELATIVE_URI) or "", RELATIVE_URI)
        for setting in (relative, full):
            tracing.note(setting.place, "" if setting.value else None)
    if relative.value:
        if full.value:
            logger.warning("%s and %s are both set; the relative one is used", relative.place, full.place)
        if not relative.value.startswith("/"):
            raise InvalidConfiguration(f"{relative.place} must start with a slash, such as /v2/credentials/…")
        return checked_url(Setting(ECS_HOST + relative.value, relative.place))
    if full.value:
        return checked_url(full)
    raise CredentialsNotFound(f"{RELATIVE_URI} and {FULL_URI} are not set: this is no ECS task or EKS pod")


async def _token(token: str | None, token_file: str | None, *, in_code: bool, context: Context) -> Setting | None:
    place, file_place = "authorization_token", "authorization_token_file"
    if not token and not token_file and not in_code:
        token, token_file = context.setting(TOKEN), context.setting(TOKEN_FILE)
        place, file_place = TOKEN, TOKEN_FILE
        tracing.note(TOKEN, "" if token else None)
        tracing.note(TOKEN_FILE, token_file or None)
    if token_file:
        if token:
            logger.warning("%s and %s are both set; the file is used", file_place, place)
        path = expand(token_file, context, place=file_place)
        token, place = await read_token_file(path, place=file_place), f"{file_place} ({path})"
    if token and not token.isprintable():
        raise InvalidConfiguration(
            f"the token in {place} holds a line break or another control character: it must be one line"
        )
    return Setting(SecretStr(token), place) if token else None


def checked_url(setting: Setting) -> Setting:
    """Return a URL that credentials may be asked from; no name is resolved for that.

    Raises:
        InvalidConfiguration: it is no such URL, or plain http to another machine.
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
    # Stricter than the parser: no two parsers may find different hosts in it.
    sound = parts.scheme in ("http", "https") and port != 0 and HOST_AND_PORT.fullmatch(parts.netloc)
    if not sound or not _is_usable(url):
        raise InvalidConfiguration(f"{place} is not an http or https URL with a host: write https://host/path")
    if parts.scheme == "http" and not _may_use_http(host):
        raise InvalidConfiguration(
            f"{place} points to http://{host}, and plain http is for loopback and the ECS and EKS agents"
            " (169.254.170.2, 169.254.170.23, [fd00:ec2::23]) alone: use https"
        )
    return setting


def _is_usable(url: str) -> bool:
    """Return whether aiohttp can use a URL; not, for example, one with an invalid ``xn--`` name."""
    from yarl import URL  # slow to load; the request needs it anyway

    try:
        return bool(URL(url).host)
    except ValueError:
        return False


def _may_use_http(host: str) -> bool:
    if host == "localhost" or host in PLAIN_HTTP_HOSTS:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (address.version == 4 and address.is_loopback) or str(address) in PLAIN_HTTP_HOSTS


def _refusal(response: Response, *, url_place: str, token_place: str | None) -> ServiceRefused | SourceUnavailable:
    try:
        code = error_code(parse_object(response.body, origin=response.host, remedy="").get("code"))
    except SourceUnavailable:
        code = ""
    token = (
        f"check the token in {token_place}"
        if token_place
        else f"no token was sent; if it wants one, put it into {TOKEN} or {TOKEN_FILE}"
    )
    remedies = {
        401: token,
        403: token,
        REDIRECTS: f"redirects are not followed; put the final URL into {url_place}",
        OTHERS: f"check the path in {url_place}",
    }
    return endpoint_error(response, remedies, said=f"{response.host} answered", code=code)
