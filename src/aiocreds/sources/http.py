"""Credentials from an HTTP endpoint: ECS, EKS Pod Identity, or one of your own."""

from __future__ import annotations

import logging
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from aiocreds.config import expand
from aiocreds.config.token_file import read_token_file
from aiocreds.context import DEFAULT, Context
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, ServiceRefused, SourceUnavailable
from aiocreds.parse import parse_credentials, parse_object
from aiocreds.provider import credential_provider

if TYPE_CHECKING:
    from aiocreds.credentials import Credentials
    from aiocreds.http import Response

logger = logging.getLogger("aiocreds.sources.http")

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105

ECS_HOST = "http://169.254.170.2"
PLAIN_HTTP_HOSTS = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}


class Setting(NamedTuple):
    """A value and the argument or variable it was found in."""

    value: str
    place: str


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
    """Credentials from an HTTP endpoint that answers as the ECS agent does.

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
    url, in_code = _url(full_uri, relative_uri, context)
    token = await _token(authorization_token, authorization_token_file, in_code=in_code, context=context)
    return await _ask(url, token, timeout=timeout, max_retries=max_retries, context=context)


@credential_provider
async def from_container_metadata(
    *, timeout: float | timedelta = 1.0, max_retries: int = 0, context: Context = DEFAULT
) -> Credentials:
    """This task's or pod's credentials, from the agent that ECS or EKS runs beside it.

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
    url, _ = _url(None, None, context)
    token = await _token(None, None, in_code=False, context=context)
    return await _ask(url, token, timeout=timeout, max_retries=max_retries, context=context)


async def _ask(
    url: str, token: str | None, *, timeout: float | timedelta, max_retries: int, context: Context
) -> Credentials:
    response = await context.http.request(
        "GET",
        url,
        provider="container",
        headers={"Accept": "application/json", **({"Authorization": token} if token else {})},
        timeout=timeout.total_seconds() if isinstance(timeout, timedelta) else timeout,
        attempts=max_retries + 1,
        retry_if=_unreadable,
    )
    if response.status != 200:
        raise _refusal(response, has_token=token is not None)
    return parse_credentials(response.body, provider="container", origin=response.host, now=context.clock.now())


def _url(full_uri: str | None, relative_uri: str | None, context: Context) -> tuple[str, bool]:
    """The URL to ask, checked, and whether it was given in code."""
    in_code = bool(full_uri or relative_uri)
    if in_code:
        full, relative = Setting(full_uri or "", "full_uri"), Setting(relative_uri or "", "relative_uri")
    else:
        full = Setting(context.setting(FULL_URI) or "", FULL_URI)
        relative = Setting(context.setting(RELATIVE_URI) or "", RELATIVE_URI)
    if relative.value:
        if full.value:
            logger.warning("%s and %s are both set; the relative one is used", relative.place, full.place)
        if not relative.value.startswith("/"):
            raise InvalidConfiguration(f"{relative.place} must start with a slash, such as /v2/credentials/…")
        return checked_url(Setting(ECS_HOST + relative.value, relative.place)), in_code
    if full.value:
        return checked_url(full), in_code
    raise CredentialsNotFound(f"{RELATIVE_URI} and {FULL_URI} are not set: this is no ECS task or EKS pod")


def checked_url(setting: Setting) -> str:
    """A URL that credentials may be asked from. No name is looked up to decide.

    Raises:
        InvalidConfiguration: it is none, or plain http to another machine.
    """
    url, place = setting
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidConfiguration(f"{place} holds a character that no URL may hold")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidConfiguration(f"{place} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise InvalidConfiguration(f"{place} is not an http or https URL with a host")
    if "@" in parts.netloc or "#" in url:
        raise InvalidConfiguration(f"{place} may hold neither a user name nor a fragment")
    if parts.scheme == "http" and not _may_be_plain(host):
        raise InvalidConfiguration(
            f"{place} points to http://{host}, and plain http is for loopback and the ECS and EKS agents"
            " (169.254.170.2, 169.254.170.23, [fd00:ec2::23]) alone: use https"
        )
    return url


def _may_be_plain(host: str) -> bool:
    if host == "localhost" or host in PLAIN_HTTP_HOSTS:
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return (address.version == 4 and address.is_loopback) or host == "::1" or str(address) in PLAIN_HTTP_HOSTS


async def _token(token: str | None, token_file: str | None, *, in_code: bool, context: Context) -> str | None:
    place, file_place = "authorization_token", "authorization_token_file"
    if not token and not token_file and not in_code:
        token, token_file = context.setting(TOKEN), context.setting(TOKEN_FILE)
        place, file_place = TOKEN, TOKEN_FILE
    if token_file:
        if token:
            logger.warning("%s and %s are both set; the file is used", file_place, place)
        path = expand(token_file, context)
        token, place = await read_token_file(path, place=file_place), f"{file_place} ({path})"
    if token and ("\r" in token or "\n" in token or "\0" in token):
        raise InvalidConfiguration(f"{place} holds a line break or a NUL in its middle: it must be one line")
    return token


def _unreadable(response: Response) -> bool:
    """Whether a good answer is cut short: metadata services are restarted under their clients."""
    if response.status != 200:
        return False
    try:
        parse_object(response.body, origin=response.host)
    except SourceUnavailable:
        return True
    return False


def _refusal(response: Response, *, has_token: bool) -> ServiceRefused | SourceUnavailable:
    status, host = response.status, response.host
    if status >= 500 or status == 429:
        return SourceUnavailable(f"{host} answered with HTTP {status}; the agent is in trouble or busy")
    try:
        code = parse_object(response.body, origin=host).get("code", "")
    except SourceUnavailable:
        code = ""
    code = code[:100] if isinstance(code, str) else ""
    if status in (401, 403):
        sent = (
            f"the token that was sent; see {TOKEN} or {TOKEN_FILE}"
            if has_token
            else f"the lack of a token; set {TOKEN}"
        )
        remedy = f"it may mind {sent}"
    elif 300 <= status < 400:
        remedy = "redirects are not followed; give the final URL"
    else:
        remedy = f"check the path in {RELATIVE_URI} or {FULL_URI}"
    return ServiceRefused(
        f"{host} answered with HTTP {status}{f' {code}' if code else ''}: {remedy}", code=code, status=status
    )
