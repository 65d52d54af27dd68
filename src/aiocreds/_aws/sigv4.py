"""AWS Signature Version 4, in a header or in the URL.

Pure functions, in the order in which the algorithm names them::

    canonical_headers ─┐
    canonical_path ────┼→ canonical_request → string_to_sign → signature → Authorization
    canonical_query ───┘                                                     or X-Amz-Signature

See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import re
from functools import lru_cache
from hashlib import sha256
from time import gmtime, strftime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urlsplit

from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from urllib.parse import SplitResult

    from aiocreds.credentials import Credentials

ALGORITHM = "AWS4-HMAC-SHA256"
ALGORITHM_A = "AWS4-ECDSA-P256-SHA256"  # of Signature Version 4A, see sigv4a.py
TOKEN_NAME = "X-Amz-Security-Token"  # noqa: S105 - a name
DOTS = {".": "%2E", "..": "%2E%2E"}
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"  # instead of a body's hash, if the service accepts it

# Headers that the client library, a proxy or a tracer may add, drop or rewrite between here and the service.
# All others are signed, including `content-length` and those of a user's middleware.
UNSIGNED_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def check_sendable(credentials: Credentials) -> None:
    """Check that headers can hold the credentials: a client library would quote them in its error.

    Raises:
        InvalidConfiguration: the access key id or the session token has such a character.
    """
    what = None  # no local variable here holds a token
    if not _is_sendable(credentials.access_key_id):
        what = "access key id"
    elif not _is_sendable(credentials.session_token or ""):
        what = "session token"
    if what is not None:
        raise InvalidConfiguration(
            f"the {what} from {credentials.provider or 'the source'} holds a line break or another character that"
            " no header may: look for a stray one where it is written"
        )


def _is_sendable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def sign(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes | None,
    *,
    credentials: Credentials,
    region: str,
    service: str,
    at: float,
    normalize_path: bool = True,
    encode_path: bool = True,
    sign_body: bool = False,
    omit_session_token: bool = False,
    body_hash: str | None = None,
    region_set: str | None = None,
    token_name: str = TOKEN_NAME,
) -> dict[str, str]:
    """Sign a request.

    Args:
        method: such as ``"POST"``.
        url: the absolute URL, as it goes on the wire.
        headers: what the request carries, a pair for each line. Those this function returns are ignored, so
            that a request may be signed again. ``Host`` is derived from the URL when it is not among them.
        body: the whole body; None leaves it unsigned, which S3 and few others accept.
        credentials: the keys to sign with.
        region: the region to sign for.
        service: the service's signing name, such as ``"sts"``.
        at: the time to sign for, in seconds since the epoch.
        normalize_path: collapse ``//``, ``/./`` and ``/../``. Every service but S3 does.
        encode_path: percent-encode the path once more. Every service but S3 does.
        sign_body: also state the hash of the body in a header, as S3 demands.
        omit_session_token: leave the session token out of what is signed. It is added all the same.
        body_hash: what to sign in place of the hash of ``body``, which then does not matter.
        region_set: sign for these regions instead, such as ``"*"``, by Signature Version 4A (``cryptography``).
        token_name: of the header or parameter with the session token.

    Returns:
        The headers to set on the request, in place of any that are there.

    Raises:
        ValueError: ``url`` is not a URL.
    """
    # The URL may be invalid, so it is parsed before a local variable holds a token.
    host, path, query = target(url, normalize=normalize_path, encode=encode_path)
    timestamp = timestamp_of(int(at))
    if body_hash is None:
        body_hash = UNSIGNED_PAYLOAD if body is None else sha256(body).hexdigest()

    added = {"X-Amz-Date": timestamp}
    if sign_body or body_hash == UNSIGNED_PAYLOAD:
        added["X-Amz-Content-SHA256"] = body_hash
    if region_set is not None:
        added["X-Amz-Region-Set"] = region_set
    token = {token_name: credentials.session_token} if credentials.session_token else {}
    signed = canonical_headers(headers, added if omit_session_token else added | token, host=host)

    algorithm, scope = _algorithm_and_scope(timestamp, region, service, region_set)
    request = canonical_request(method, path, query, signed, body_hash)
    mac = _signature(credentials, scope, string_to_sign(timestamp, scope, request, algorithm), region_set)
    authorization = (
        f"{algorithm} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={mac}"
    )
    return {**added, **token, "Authorization": authorization}


def presign(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = b"",
    *,
    credentials: Credentials,
    region: str,
    service: str,
    at: float,
    expires_in: int,
    normalize_path: bool = True,
    encode_path: bool = True,
    omit_session_token: bool = False,
    region_set: str | None = None,
    token_name: str = TOKEN_NAME,
) -> str:
    """Sign a request in its URL, so that somebody else can make it.

    Args:
        method: such as ``"GET"``.
        url: the absolute URL.
        headers: what the request will have to carry.
        body: the whole body that it will have to carry; None leaves that open.
        credentials: the keys to sign with. When they end, so does the URL.
        region: the region to sign for.
        service: the service's signing name, such as ``"s3"``.
        at: the time to sign for, in seconds since the epoch.
        expires_in: seconds from then that the URL is good for.
        normalize_path: collapse ``//``, ``/./`` and ``/../``. Every service but S3 does.
        encode_path: percent-encode the path once more. Every service but S3 does.
        omit_session_token: leave the session token out of what is signed. It is added all the same.
        region_set: sign for these regions instead, such as ``"*"``, by Signature Version 4A (``cryptography``).
        token_name: of the header or parameter with the session token.

    Returns:
        The URL with ``X-Amz-Signature`` and the related parameters in its query.

    Raises:
        ValueError: ``url`` is not a URL.
    """
    url = url.partition("#")[0]
    host, path, query = target(url, normalize=normalize_path, encode=encode_path)
    timestamp = timestamp_of(int(at))
    signed = canonical_headers(headers, {}, host=host)
    algorithm, scope = _algorithm_and_scope(timestamp, region, service, region_set)
    added = {
        "X-Amz-Algorithm": algorithm,
        "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-SignedHeaders": ";".join(signed),
        "X-Amz-Expires": str(expires_in),
    }
    if region_set is not None:
        added["X-Amz-Region-Set"] = region_set
    token = {token_name: credentials.session_token} if credentials.session_token else {}
    covered = _query(added if omit_session_token else added | token)
    request = canonical_request(
        method,
        path,
        canonical_query(f"{query}&{covered}"),
        signed,
        UNSIGNED_PAYLOAD if body is None else sha256(body).hexdigest(),
    )
    mac = _signature(credentials, scope, string_to_sign(timestamp, scope, request, algorithm), region_set)
    separator = "&" if "?" in url else "?"
    return f"{url}{separator}{_query(added | token | {'X-Amz-Signature': mac})}"


def _algorithm_and_scope(timestamp: str, region: str, service: str, region_set: str | None) -> tuple[str, str]:
    if region_set is None:
        return ALGORITHM, credential_scope(timestamp, region, service)
    return ALGORITHM_A, f"{timestamp[:8]}/{service}/aws4_request"


def _signature(credentials: Credentials, scope: str, text: str, region_set: str | None) -> str:
    if region_set is None:
        return signature(credentials.secret_access_key, scope, text)
    from aiocreds._aws import sigv4a

    return sigv4a.signature(credentials.access_key_id, credentials.secret_access_key, text)


def _query(parameters: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quote(encoded(value), safe='')}" for name, value in parameters.items())


@lru_cache(maxsize=64)
def target(url: str, *, normalize: bool = True, encode: bool = True) -> tuple[str, str, str]:
    """Return the host, the canonical path and the canonical query of a URL."""
    parts = urlsplit(url)
    path = canonical_path(parts.path, normalize=normalize, encode=encode)
    return host_header(parts), path, canonical_query(parts.query)


@lru_cache(maxsize=4)
def timestamp_of(at: int) -> str:
    """Return seconds since the epoch as ``X-Amz-Date`` has them."""
    return strftime("%Y%m%dT%H%M%SZ", gmtime(at))


def canonical_request(method: str, path: str, query: str, headers: Mapping[str, str], body_hash: str) -> str:
    """Return the request in the canonical form that both sides hash, from canonical parts."""
    lines = "\n".join(map(":".join, headers.items()))
    return f"{method.upper()}\n{path}\n{query}\n{lines}\n\n{';'.join(headers)}\n{body_hash}"


def string_to_sign(timestamp: str, scope: str, request: str, algorithm: str = ALGORITHM) -> str:
    """Return the text to sign: the algorithm, the time, the scope and the hash of the canonical request."""
    return f"{algorithm}\n{timestamp}\n{scope}\n{sha256(encoded(request)).hexdigest()}"


def signature(secret_access_key: str, scope: str, text: str) -> str:
    """Return the signature of ``text`` by the key derived from the secret and the scope."""
    mac = _keyed(secret_access_key, scope).copy()
    mac.update(encoded(text))
    return mac.hexdigest()


@lru_cache(maxsize=8)  # one source signs for many roles, and a derived key is valid for a day
def _keyed(secret_access_key: str, scope: str) -> hmac.HMAC:
    key = encoded("AWS4" + secret_access_key)
    for step in scope.split("/"):
        key = hmac.digest(key, encoded(step), "sha256")
    return hmac.new(key, digestmod="sha256")


def credential_scope(timestamp: str, region: str, service: str) -> str:
    """Return the scope of a signature: its day, region and service."""
    return f"{timestamp[:8]}/{region}/{service}/aws4_request"


def canonical_headers(headers: Iterable[tuple[str, str]], added: Mapping[str, str], *, host: str) -> dict[str, str]:
    """Return the headers that are signed: lower-case names in order, lines of one name joined, blanks collapsed.

    Args:
        headers: what the request carries.
        added: the headers that signing adds, in place of those of the same name.
        host: used when the request carries no ``Host`` yet.
    """
    lines: dict[str, str] = {}
    more: dict[str, list[str]] = {}
    for name, value in headers:
        key = name.lower()
        if key not in UNSIGNED_HEADERS:
            text = " ".join(value.split())
            if key in lines:
                more.setdefault(key, [lines[key]]).append(text)
            else:
                lines[key] = text
    for key, texts in more.items():
        lines[key] = ",".join(texts)
    lines.setdefault("host", host)
    lines.pop("x-amz-security-token", None)
    for name, value in added.items():
        lines[name.lower()] = value
    return dict(sorted(lines.items()))


def canonical_path(path: str, *, normalize: bool = True, encode: bool = True) -> str:
    """Return the path of a URL, percent-encoded once more; without ``encode`` encoded once, as S3 expects it."""
    if normalize:
        kept: list[str] = []
        for segment in path.split("/"):
            if segment == "..":
                del kept[-1:]
            elif segment not in {"", "."}:
                kept.append(segment)
        path = "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")
    return quote((path if encode else unquote_to_bytes(path)) or "/")


def canonical_query(query: str) -> str:
    """Return the query of a URL, sorted by encoded names and then values, each name with a ``=``.

    Each character is encoded as itself when unreserved, else as upper-case ``%XX``, however it was given.
    """
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return "&".join(f"{name}={value}" for name, value in sorted((_recoded(k), _recoded(v)) for k, _, v in pairs))


@lru_cache(maxsize=64)
def unambiguous(url: str, *, encode_path: bool = True) -> str:
    """Return the URL in a spelling that all services read alike, without a fragment.

    A ``+`` in a query is a blank to most programs, but not to every service: it becomes ``%20``. With
    ``encode_path`` off, as for S3, a ``+`` in the path is encoded, too; with it, what no URL may hold.
    """
    address, mark, query = url.partition("#")[0].partition("?")
    scheme, separator, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    if encode_path:
        path = re.sub("[^!-~]+", lambda found: quote(encoded(found[0])), slash + path)
    else:
        path = canonical_path(slash + path, normalize=False, encode=False)
        # A percent-encoded dot segment is part of the key; clients resolve plain ones.
        path = "/".join(DOTS.get(segment, segment) for segment in path.split("/"))
    pairs = (pair.replace("+", "%20").split("=", 1) for pair in query.split("&"))
    return scheme + separator + host + path + mark + "&".join("=".join(map(_recoded, pair)) for pair in pairs)


def host_header(url: SplitResult) -> str:
    """Return the ``Host`` header for a URL: no user, no default port, no trailing dot."""
    host = (url.hostname or "").rstrip(".")
    if ":" in host:
        host = f"[{host}]"
    return host if url.port in {None, _DEFAULT_PORTS.get(url.scheme)} else f"{host}:{url.port}"


def _recoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="")


def encoded(text: str) -> bytes:
    """Return the text in UTF-8."""
    # Variables that are not UTF-8 have lone surrogates. A strict encoder would raise an error that holds the text,
    # and so a secret; like this the request is signed, and the service refuses it.
    return text.encode(errors="surrogatepass")
