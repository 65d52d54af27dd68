"""Tokens for services that take one in place of a password, signed with a provider's current credentials.

::

    token = rds_token(default_chain(), "books.abc.eu-central-1.rds.amazonaws.com:5432", user="app")
    tls = ssl.create_default_context(cafile="global-bundle.pem")  # the certificate authorities of RDS
    connection = await asyncpg.connect(host=…, user="app", password=token, ssl=tls)

Each function returns a :class:`TokenProvider`: ``await token()`` makes a token. That asks no service: a token is a
presigned request (Signature Version 4), which the service that gets it verifies. So make one for each login, and
keep none. The clients that take such a provider are in ``aiocreds.integrations``.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from aiocreds._aws.client import ClientConfig, config_scope
from aiocreds._aws.endpoints import PARTITIONS, endpoint_for, signing_region
from aiocreds._aws.sigv4 import (
    ALGORITHM,
    check_sendable,
    credential_scope,
    signature,
    string_to_sign,
    timestamp_of,
)
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import seconds
from aiocreds._core.context import DEFAULT
from aiocreds._core.decorator import as_provider
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta

    from aiocreds._core.context import Context
    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

    Source = Provider | Callable[[], Awaitable[Credentials]]

__all__ = [
    "Token",
    "TokenProvider",
    "bedrock_token",
    "dsql_token",
    "eks_token",
    "elasticache_token",
    "memorydb_token",
    "msk_token",
    "rds_token",
]

logger = logging.getLogger("aiocreds.tokens")

LIFETIME = 900  # seconds; what the services accept
LOGIN = 60.0  # seconds that credentials have to live on where a token is used at once
EKS_URL_LIFETIME = 60  # what the URL says, and every client; the cluster counts from its date, up to 15 minutes
EKS_LIFETIME = 14 * 60  # seconds
LONGEST_BEDROCK = 12 * 3600  # seconds
LONGEST_DSQL = 7 * 24 * 3600  # seconds
SERVICE_SUFFIXES = (*dict.fromkeys(f".{partition.dns_suffix}" for partition in PARTITIONS), ".on.aws", ".api.aws")
LONGEST_SHOWN = 100  # characters of an argument in a message
NO_BODY = sha256(b"").hexdigest()
USER_AGENT = "aiocreds"

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


class Token(SecretStr):
    """A token: a string whose ``repr`` shows nothing.

    Attributes:
        expiration: when the service stops taking it, an aware UTC ``datetime``: by its own lifetime, or with the
            credentials that signed it where these end first.
    """

    __slots__ = ("expiration",)
    expiration: datetime


class _Request(NamedTuple):
    """A request that is signed in its URL, but for the credentials, the region and the time.

    Attributes:
        service: the service's signing name.
        host: of the URL, in its spelling, ``{region}`` standing for the region.
        query: the parameters of the service, percent-encoded and in the order of their names.
        valid_for: seconds, as the URL states them.
        lifetime: seconds that the service takes the token for.
        headers: what the request will carry besides ``Host``: lower-case names, in their order.
        method: of HTTP.
        port: at the end of the host, or nothing.
    """

    service: str
    host: str
    query: str
    valid_for: int = LIFETIME
    lifetime: int = LIFETIME
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    port: str = ""


class TokenProvider:
    """Makes tokens of one kind from a provider's current credentials.

    ``await token()`` returns a :class:`Token`; ``token.held()`` is for callbacks that cannot await. Made by the
    functions of this module.
    """

    def __init__(
        self,
        name: str,
        provider: Source,
        request: _Request,
        encode: Callable[[str], str],
        *,
        region: str | None,
        min_ttl: float,
        context: Context | None,
        what: str,
    ) -> None:
        self.name = name
        self.provider = as_provider(provider, taker=f"{name}()", context=DEFAULT if context is None else context)
        self._context = self.provider._context if context is None else context  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us
        self._request = request
        self._encode = encode
        self._region = checked_region(name, region)
        self._min_ttl = min_ttl
        self._what = what

    def __repr__(self) -> str:
        region = f" in {self._region}" if self._region else ""
        return f"<{self.name} for {self._what}{region}: {self.provider!r}>"

    async def __call__(self) -> Token:
        """Return a new token. Waits only where the provider does.

        Raises:
            InvalidConfiguration: the region is not known.
            CredentialsError: there are no credentials.
        """
        region = self._region or await self._configured_region()
        return self._mint(await self.provider.get(min_ttl=self._min_ttl), region)

    def held(self) -> Token:
        """Return a new token from credentials in memory, for callbacks that cannot await.

        It never waits. Where a loop runs in this thread and a refresh is due, that is started. Enter the provider
        (``async with provider:``), so that there are always credentials in memory.

        Raises:
            InvalidConfiguration: no credentials have been loaded yet, or the region is neither given nor in
                ``AWS_REGION`` or ``AWS_DEFAULT_REGION``.
            CredentialsError: they could not be loaded, or those in memory have expired.
        """
        region = self._region or self._region_of_environment()
        if region is None:
            raise self._no_region()
        return self._mint(self.provider._held(), region)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - one of us

    def _mint(self, credentials: Credentials, region: str) -> Token:
        check_sendable(credentials)
        now = self._context.clock.now()
        token = Token(self._encode(_presigned(self._request, self._host(region), credentials, region, now)))
        end = datetime.fromtimestamp(int(now) + self._request.lifetime, UTC)
        expiration = credentials.expiration
        if expiration is not None and now < expiration.timestamp() < end.timestamp():
            end = expiration  # past it, the service decides how long they live on
        token.expiration = end
        return token

    def _host(self, region: str) -> str:
        return self._request.host.replace("{region}", region)

    def _region_of_environment(self) -> str | None:
        region = self._context.setting("AWS_REGION") or self._context.setting("AWS_DEFAULT_REGION")
        return region and signing_region(region)

    async def _configured_region(self) -> str:
        if region := self._region_of_environment():
            return region
        region = (await config_scope(self._context, ClientConfig())).get("region")
        if not region:
            raise self._no_region()
        return signing_region(region)

    def _no_region(self) -> InvalidConfiguration:
        remedy = "pass region=, or set AWS_REGION"
        if self._request.service in {"rds-db", "dsql"}:
            remedy = (
                f"give the endpoint's own name, which holds it; where the client connects to an alias (CNAME) or a"
                f" tunnel, make the token with {self.name}() and that name, and pass it in the place of the"
                f" provider; else {remedy}"
            )
        return InvalidConfiguration(
            f"{self.name} for {self._what}: the region is not known: {remedy}",
            provider=self.provider.name,
        )


def rds_token(
    provider: Source,
    host: str,
    port: int | None = None,
    user: str = "",
    region: str | None = None,
    *,
    context: Context | None = None,
) -> TokenProvider:
    """Make passwords for Amazon RDS, Aurora and RDS Proxy, each good for logins in the next 15 minutes.

    RDS refuses a token that is signed for another name than the endpoint's own, such as an alias (CNAME), an
    address or the end of a tunnel; a warning is logged once for each such name.

    The database takes them over TLS only, from a user that has been granted ``rds_iam`` (PostgreSQL) or uses
    ``AWSAuthenticationPlugin`` (MySQL, MariaDB).

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.
        host: the endpoint's own host name, which may end in ``:port``. It is signed.
        port: of the database.
        user: the database user.
        region: by default the one in the host name, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        context: the clock, the environment; by default the provider's.

    Raises:
        InvalidConfiguration: at once: there is no port or user, or an argument is none.

    See https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    """
    host, found = _host_and_port("rds_token", _required("rds_token", "host", host))
    port = found if port is None else port
    if port is None:
        raise InvalidConfiguration(
            f"rds_token: no port for {host[:LONGEST_SHOWN]}: pass port= (5432 for PostgreSQL, 3306 for MySQL), or"
            " write host:port"
        )
    if type(port) is not int or not 0 < port < 65536:
        shown = repr(port)[:LONGEST_SHOWN]
        raise InvalidConfiguration(f"rds_token: port {shown} is none: pass an int from 1 to 65535")
    if found not in (None, port):
        raise InvalidConfiguration(f"rds_token: the host says port {found}, and port= says {port}: leave one out")
    user = _user("rds_token", user)
    if (found_region := region_in(host)) is None:
        _warn_of_alias(host.lower())
    query = f"Action=connect&DBUser={_quoted(user)}"
    return _at_host(
        "rds_token",
        provider,
        _Request("rds-db", host, query, port=f":{port}"),
        region=checked_region("rds_token", region) or found_region,
        context=context,
        what=f"{_shown(user)}@{host}:{port}",
    )


def dsql_token(
    provider: Source,
    host: str,
    *,
    admin: bool = False,
    region: str | None = None,
    expires_in: float | timedelta = LIFETIME,
    context: Context | None = None,
) -> TokenProvider:
    """Make passwords for Amazon Aurora DSQL.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.
        host: the cluster's host name, such as ``abc.dsql.eu-west-1.on.aws``.
        admin: for the database role ``admin`` (``DbConnectAdmin``); for all others ``DbConnect``.
        region: by default the one in the host name, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        expires_in: seconds that logins are taken for, up to a week; or a ``timedelta``.
        context: the clock, the environment; by default the provider's.

    Raises:
        InvalidConfiguration: at once: an argument is none.
        ValueError: at once: ``expires_in`` is not between 1 s and a week.

    See https://docs.aws.amazon.com/aurora-dsql/latest/userguide/authentication-authorization.html
    """
    host, _ = _host_and_port("dsql_token", _required("dsql_token", "host", host))
    check_flag("dsql_token", "admin", admin)
    lifetime = _lifetime(expires_in, LONGEST_DSQL)
    query = f"Action={'DbConnectAdmin' if admin else 'DbConnect'}"
    return _at_host(
        "dsql_token",
        provider,
        _Request("dsql", host, query, valid_for=lifetime, lifetime=lifetime),
        region=checked_region("dsql_token", region) or region_in(host),
        context=context,
        what=f"{'admin@' if admin else ''}{host}",
    )


def elasticache_token(
    provider: Source,
    cache: str,
    user: str = "",
    region: str | None = None,
    *,
    serverless: bool = False,
    context: Context | None = None,
) -> TokenProvider:
    """Make passwords for Amazon ElastiCache (Valkey, Redis OSS), each good for logins in the next 15 minutes.

    A connection that has logged in is closed by the service after 12 hours, unless it logs in again.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.
        cache: the name of the serverless cache, or the id of the replication group. No host name.
        user: the id of the user, which is its name, too.
        region: by default ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        serverless: it is a serverless cache.
        context: the clock, the environment; by default the provider's.

    Raises:
        InvalidConfiguration: at once: there is no user, or an argument is none.

    See https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
    """
    return _cache_token(
        "elasticache_token", "elasticache", provider, cache, user, region, serverless=serverless, context=context
    )


def memorydb_token(
    provider: Source, cluster: str, user: str = "", region: str | None = None, *, context: Context | None = None
) -> TokenProvider:
    """Make passwords for Amazon MemoryDB, each good for logins in the next 15 minutes.

    A connection that has logged in is closed by the service after 12 hours, unless it logs in again.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.
        cluster: the cluster's name. No host name.
        user: the database user.
        region: by default ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        context: the clock, the environment; by default the provider's.

    Raises:
        InvalidConfiguration: at once: there is no user, or an argument is none.

    See https://docs.aws.amazon.com/memorydb/latest/devguide/auth-iam.html
    """
    return _cache_token(
        "memorydb_token", "memorydb", provider, cluster, user, region, serverless=False, context=context
    )


def msk_token(
    provider: Source,
    region: str | None = None,
    *,
    broker: str | Sequence[str] | None = None,
    context: Context | None = None,
) -> TokenProvider:
    """Make tokens for Amazon MSK, for the mechanism ``OAUTHBEARER``, each good for 15 minutes.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.
        region: by default the one in ``broker``, ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        broker: a broker's host name, or several as clients take them: in a list, or parted by commas.
        context: the clock, the environment; by default the provider's.

    Raises:
        InvalidConfiguration: at once: an argument is none.

    See https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html
    """
    found = _region_of_brokers(broker)
    return TokenProvider(
        "msk_token",
        provider,
        _Request("kafka-cluster", "kafka.{region}.amazonaws.com", "Action=kafka-cluster%3AConnect"),
        _encode_msk,
        region=checked_region("msk_token", region) or found,
        min_ttl=LIFETIME,
        context=context,
        what="Kafka",
    )


def eks_token(
    provider: Source, cluster: str, region: str | None = None, *, context: Context | None = None
) -> TokenProvider:
    """Make bearer tokens for the Kubernetes API of Amazon EKS, each good for 14 minutes.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.
        cluster: the cluster's name; its id for a local cluster on Outposts.
        region: by default ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        context: the clock, the environment (``AWS_USE_FIPS_ENDPOINT``, …); by default the provider's.

    Raises:
        InvalidConfiguration: at once: there is no cluster, or an argument is none.

    See https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html
    """
    cluster = _required("eks_token", "cluster", cluster)
    if not re.fullmatch("[!-~]+", cluster):
        shown = repr(cluster)[:LONGEST_SHOWN]
        raise InvalidConfiguration(f"eks_token: cluster {shown} has a blank or another character that no name has")
    request = _Request(
        "sts",
        "",  # the endpoint's, for each region
        "Action=GetCallerIdentity&Version=2011-06-15",
        valid_for=EKS_URL_LIFETIME,
        lifetime=EKS_LIFETIME,
        headers=(("x-k8s-aws-id", cluster),),
    )
    return _EksTokenProvider(
        "eks_token",
        provider,
        request,
        _encode_eks,
        region=region,
        min_ttl=EKS_LIFETIME,
        context=context,
        what=f"cluster {cluster}",
    )


def bedrock_token(
    provider: Source,
    region: str | None = None,
    *,
    expires_in: float | timedelta = LONGEST_BEDROCK,
    context: Context | None = None,
) -> TokenProvider:
    """Make short-term API keys for Amazon Bedrock: bearer tokens, which ``AWS_BEARER_TOKEN_BEDROCK`` takes, too.

    Args:
        provider: where credentials come from; or any ``async () -> Credentials``.
        region: the one that the key is for; by default ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        expires_in: seconds that it is good for, up to 12 hours, and no longer than the credentials; or a
            ``timedelta``.
        context: the clock, the environment; by default the provider's.

    Raises:
        ValueError: at once: ``expires_in`` is not between 1 s and 12 hours.

    See https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-generate.html
    """
    lifetime = _lifetime(expires_in, LONGEST_BEDROCK)
    return TokenProvider(
        "bedrock_token",
        provider,
        _Request(
            "bedrock",
            "bedrock.amazonaws.com",
            "Action=CallWithBearerToken",
            valid_for=lifetime,
            lifetime=lifetime,
            method="POST",
        ),
        _encode_bedrock,
        region=region,
        min_ttl=lifetime,
        context=context,
        what="Bedrock",
    )


def region_in(host: str) -> str | None:
    """Return the region in the host name of an AWS service; None where there is none."""
    host = host.lower().rstrip(".")
    if not host.endswith(SERVICE_SUFFIXES):
        return None
    for label in reversed(host.split(".")):
        if any(re.fullmatch(partition.region_pattern, label) for partition in PARTITIONS):
            return label
    return None


class _EksTokenProvider(TokenProvider):
    """Signs for the endpoint of STS, which depends on the region and the environment."""

    def _host(self, region: str) -> str:
        return endpoint_for("sts", region=region, environ=self._context.environ).host


def _cache_token(
    name: str,
    service: str,
    provider: Source,
    cache: str,
    user: str,
    region: str | None,
    *,
    serverless: bool,
    context: Context | None,
) -> TokenProvider:
    cache = _required(name, "cache" if service == "elasticache" else "cluster", cache)
    if not re.fullmatch(r"[A-Za-z0-9-]+", cache):
        raise InvalidConfiguration(
            f"{name}: {cache[:LONGEST_SHOWN]!r} is no name of a cache: give its name, or the id of its replication"
            " group, without the rest of the host name"
        )
    user = _user(name, user)
    check_flag(name, "serverless", serverless)
    kind = "&ResourceType=ServerlessCache" if serverless else ""
    query = f"Action=connect{kind}&User={_quoted(user)}"
    return _at_host(
        name,
        provider,
        _Request(service, cache.lower(), query),
        region=region,
        context=context,
        what=f"{_shown(user)}@{cache}",
    )


def _at_host(
    name: str, provider: Source, request: _Request, *, region: str | None, context: Context | None, what: str
) -> TokenProvider:
    """Return what makes the tokens of services that take the URL without its scheme."""
    return TokenProvider(
        name, provider, request, _without_scheme, region=region, min_ttl=LOGIN, context=context, what=what
    )


def _presigned(request: _Request, host: str, credentials: Credentials, region: str, now: float) -> str:
    """Return the URL, signed.

    Its parameters stand in the order in which botocore writes them, unlike those of ``sigv4.presign``, which has
    that of the other SDKs: so a token can be compared with what AWS's own tools make.
    """
    timestamp = timestamp_of(int(now))
    scope = credential_scope(timestamp, region, request.service)
    port = "" if request.port == ":443" else request.port
    headers = {"host": host.lower() + port, **dict(request.headers)}
    signed = ";".join(headers)
    token = credentials.session_token
    first = (
        f"X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={_quoted(f'{credentials.access_key_id}/{scope}')}"
        f"&X-Amz-Date={timestamp}&X-Amz-Expires={request.valid_for}"
    )
    names = f"X-Amz-SignedHeaders={_quoted(signed)}"
    security = f"X-Amz-Security-Token={_quoted(token)}" if token else ""
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = "&".join(filter(None, (request.query, first, security, names)))
    mac = signature(
        credentials.secret_access_key,
        scope,
        string_to_sign(timestamp, scope, f"{request.method}\n/\n{canonical}\n{lines}\n{signed}\n{NO_BODY}"),
    )
    query = "&".join(filter(None, (request.query, first, names, security)))
    return f"https://{host}{request.port}/?{query}&X-Amz-Signature={mac}"


def _without_scheme(url: str) -> str:
    return url.removeprefix("https://")


def _encode_msk(url: str) -> str:
    return urlsafe_b64encode(f"{url}&User-Agent={USER_AGENT}".encode()).decode().rstrip("=")


def _encode_eks(url: str) -> str:
    return "k8s-aws-v1." + urlsafe_b64encode(url.encode()).decode().rstrip("=")


def _encode_bedrock(url: str) -> str:
    return "bedrock-api-key-" + b64encode(f"{_without_scheme(url)}&Version=1".encode()).decode()


@lru_cache(maxsize=1000)  # to say it once
def _warn_of_alias(host: str) -> None:
    logger.warning(
        "%s is no endpoint of RDS, which refuses tokens for an alias (CNAME), an address or the end of a tunnel."
        " Make the token with rds_token() and the endpoint's own name, such as"
        " books.abc.eu-central-1.rds.amazonaws.com:5432, and pass it in the place of the provider",
        host,
    )


@lru_cache(maxsize=32)  # the same session token is in all tokens until it is replaced
def _quoted(text: str) -> str:
    return quote(text.encode(errors="surrogatepass"), safe="")


def check_token(token: object, *, taker: str, names: Sequence[str]) -> None:
    """Check that a client is given what makes tokens for its service.

    Args:
        token: what it is given.
        taker: what it is passed to, for messages.
        names: of the functions that make such tokens.

    Raises:
        TypeError: it is something else, such as a provider of credentials, a token, or one for another service.
    """
    if not isinstance(token, TokenProvider):
        raise TypeError(
            f"{taker} takes what makes tokens, from a function of aiocreds.tokens, not {type(token).__name__}"
        )
    if token.name not in names:
        raise TypeError(f"{taker} takes what {' or '.join(names)} returns, not {token.name}")


def _required(name: str, argument: str, value: object) -> str:
    """Return an argument that is signed.

    Raises:
        InvalidConfiguration: it is blank, or no text that can be shown.
    """
    if not isinstance(value, str):
        raise InvalidConfiguration(f"{name}: {argument} is {type(value).__name__}: pass {argument}= as a str")
    if not value.strip():
        raise InvalidConfiguration(f"{name}: {argument} is empty, and is part of what is signed: pass {argument}=")
    return value


def _user(name: str, user: object) -> str:
    """Return the name of a user, which is signed.

    Raises:
        InvalidConfiguration: it is none.
    """
    found = _required(name, "user", user)
    if re.search("[\x00-\x1f\x7f\ud800-\udfff]", found):
        raise InvalidConfiguration(
            f"{name}: user {found[:LONGEST_SHOWN]!r} holds a line break or another character that no name of a"
            " user has: look for a stray one where it is written"
        )
    return found


def check_flag(name: str, argument: str, value: object) -> None:
    """Check that a switch is on or off: the text of a variable, "false" too, would turn it on.

    Raises:
        InvalidConfiguration: it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidConfiguration(f"{name}: {argument} is {type(value).__name__}: pass True or False")


def checked_region(name: str, region: object) -> str | None:
    """Return the region to sign for; None where none is given.

    Raises:
        InvalidConfiguration: it could not be part of a host name.
    """
    if region is None or region == "":
        return None
    if not isinstance(region, str):
        raise InvalidConfiguration(f"{name}: region is {type(region).__name__}: pass region= as a str")
    return signing_region(region)


def _shown(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _lifetime(expires_in: float | timedelta, longest: int) -> int:
    lifetime = seconds(expires_in, "expires_in")
    if not 1 <= lifetime <= longest:
        raise ValueError(f"expires_in must be from 1 to {longest} seconds, not {lifetime:g}")
    return int(lifetime)


def _region_of_brokers(brokers: str | Sequence[str] | None) -> str | None:
    if brokers is None or brokers in ("", [], ()):
        return None
    first: object = brokers
    if isinstance(brokers, str):
        first = brokers.partition(",")[0]
    elif isinstance(brokers, list | tuple):
        first = brokers[0]
    return region_in(_host_and_port("msk_token", _required("msk_token", "broker", first))[0])


def _host_and_port(name: str, host: str) -> tuple[str, int | None]:
    """Return the two parts of ``host[:port]``.

    Raises:
        InvalidConfiguration: it is neither that nor a host name, a URL for example.
    """
    found, _, port = (
        host.strip().rpartition(":") if re.search(r":[0-9]+$", host.strip()) else (host.strip(), "", "")
    )
    found = found.removesuffix(".")  # of a name in full, which is not part of what services check
    if not _HOST.fullmatch(found) or (port and not 0 < int(port) < 65536):
        raise InvalidConfiguration(
            f"{name}: {host[:LONGEST_SHOWN]!r} is no host name: write it as the console shows it, such as"
            " 'books.abc.eu-central-1.rds.amazonaws.com' or with ':5432' behind it, and without 'https://'"
        )
    return found, int(port) if port else None
