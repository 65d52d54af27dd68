"""The HTTP client that the sources share, and the proxy and the certificates of each request."""

from __future__ import annotations

import asyncio
import errno
import ssl
import stat
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from yarl import URL

from aiocreds._base import threads
from aiocreds._base.paths import expand_path, home_folder
from aiocreds._base.threads import on_loop, put_on_loop
from aiocreds._http.request import Call, Response, checked_headers, checked_url, send, timeouts
from aiocreds._http.session import Lease
from aiocreds.errors import CredentialsError, InvalidConfiguration, afresh

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
    from weakref import ref

    import aiohttp

    from aiocreds._http.request import Signer

REQUESTS_BUNDLE = "REQUESTS_CA_BUNDLE"  # botocore reads it, too
EC2_METADATA_IPV6 = IPv6Network("fd00:ec2::/32")
LARGEST_BUNDLE = 16 * 2**20  # bytes; all public authorities have 0.3 MiB


class Http:
    """The HTTP client that the sources share. It may be used from several loops and threads at once.

    Proxies and the certificate bundle are looked up at every request: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`
    (the lower-case names win, as everywhere), `AWS_CA_BUNDLE` and `REQUESTS_CA_BUNDLE`.

    Args:
        environ: the environment variables.
        session: the program's own session. Only its connector is used, on its own loop, so that its headers,
            auth, cookies and ``raise_for_status`` do not affect our requests; it is never closed here. Other
            loops get a session of ours. None: they all do.
        held: the loops whose session is kept open without a `lease`; after the removal of a loop, `close_idle`
            has to be called there.
        home: the folder that ``~`` stands for; by default the one that the environment names.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        session: aiohttp.ClientSession | None = None,
        *,
        held: Container[asyncio.AbstractEventLoop] = (),
        home: str | None = None,
    ) -> None:
        self._environ = environ
        self._home = home
        self._held = held
        self._borrowed = session
        self._leases: dict[int, ref[Lease]] = {}  # by the id of their loop
        self._tls_contexts: dict[str, tuple[tuple[int, ...], ssl.SSLContext]] = {}

    def lease(self) -> Lease:
        """Return the lease that keeps the running loop's session open: ``async with http.lease(): ...``."""
        loop = asyncio.get_running_loop()
        if (lease := on_loop(self._leases, loop)) is None:
            lease = Lease(self._borrowed, loop, self._held)
            put_on_loop(self._leases, loop, lease)
        return lease

    async def close_idle(self) -> None:
        """Close the running loop's session if nobody needs it."""
        if (lease := self.lease()).idle:
            await lease.close()

    async def request(
        self,
        method: str,
        url: str | URL,
        *,
        provider: str | None,
        timeout: float,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        attempts: int = 3,
        retry_if: Callable[[Response], bool] | None = None,
        ca_bundle: str | None = None,
        middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
        sign: Signer | None = None,
    ) -> Response:
        """Send a request and return the answer to its last attempt, whatever the status; follow no redirect.

        Tried again, after a random pause that grows and is never shorter than ``Retry-After``: status 429 and
        5xx, what `retry_if` says, and transport failures other than an untrusted certificate or an answer too
        large.

        Args:
            method: such as ``"GET"``.
            url: http or https, without user name.
            provider: who asks, for errors; None leaves it to the provider that runs this.
            timeout: seconds for one attempt, from looking for a connection to the last byte.
            connect_timeout: seconds to connect, TLS handshake included. None: `timeout` alone holds.
            read_timeout: seconds between two pieces of the answer. None: `timeout` alone holds.
            headers: of the request; the values are checked before anything is sent.
            body: of the request.
            attempts: in all, at least 1.
            retry_if: further answers worth another attempt.
            ca_bundle: file of the certificates to trust, where `AWS_CA_BUNDLE` is not set. Where there is none
                either, `REQUESTS_CA_BUNDLE` counts, which may name a folder of them.
            middlewares: aiohttp client middlewares; they run once an attempt.
            sign: given ``(method, url, headers, body)`` behind the middlewares, returns the headers to add, or a
                coroutine that returns them.

        Raises:
            NoAnswer: nothing answered any attempt.
            SourceUnavailable: the last attempt brought no complete answer, but something is there.
            InvalidConfiguration: a header, the URL, a proxy variable or a certificate bundle cannot be used.
        """
        try:
            url = checked_url(url)
            call = Call(
                provider,
                method,
                url,
                checked_headers(headers),
                body,
                attempts,
                retry_if,
                timeouts(timeout, connect_timeout, read_timeout),
                middlewares,
                sign,
                proxy_for(self._environ, url),
                url.scheme != "https" or await self._tls(ca_bundle),
            )
            async with self.lease() as lease:
                outcome: Response | CredentialsError = await send(call, lease)
        except CredentialsError as error:
            outcome = error = afresh(error)  # without the frames that hold the request
            error.provider = error.provider or provider
        finally:  # this frame stays in the traceback
            del headers, body
        if isinstance(outcome, Response):
            return outcome
        raise outcome

    async def _tls(self, ca_bundle: str | None) -> ssl.SSLContext | bool:
        for name, path in (
            ("AWS_CA_BUNDLE", self._environ.get("AWS_CA_BUNDLE")),
            ("ca_bundle", ca_bundle),
            (REQUESTS_BUNDLE, self._environ.get(REQUESTS_BUNDLE)),
        ):
            if path and (path := path.strip()):
                return await threads.submit(self._tls_context, path, name)
        return True

    def _tls_context(self, path: str, name: str) -> ssl.SSLContext:
        """Return a TLS context that trusts the certificates in a file, made again when the file has changed."""
        path = expand_path(path, self._environ, lambda: self._home or home_folder(self._environ), place=name)
        try:
            found = Path(path).stat()
            folder = name == REQUESTS_BUNDLE and stat.S_ISDIR(found.st_mode)  # it may name one
            if not folder and not stat.S_ISREG(found.st_mode):  # OpenSSL would read a pipe or device without end
                raise OSError(errno.EINVAL, "no file")
            if found.st_size > LARGEST_BUNDLE:
                raise OSError(errno.EFBIG, "too large")
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            known, context = self._tls_contexts.get(path, (None, None))
            if context is None or known != stamp:
                context = (
                    ssl.create_default_context(capath=path) if folder else ssl.create_default_context(cafile=path)
                )
                context.set_alpn_protocols(["http/1.1"])
                self._tls_contexts[path] = stamp, context
        except ssl.SSLError:
            reason = "holds no usable certificates"
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", None)
            reason = {
                errno.EINVAL: "is no file, but a folder, pipe or device",
                errno.EFBIG: f"has more than {LARGEST_BUNDLE // 2**20} MiB",
            }.get(number or 0, "cannot be read")
        else:
            return context
        raise InvalidConfiguration(
            f"{name} names {path}, which {reason}; name a file of PEM certificates or unset it"
        )


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


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    """Return whether a host is this machine or its metadata service, which no proxy can reach."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or address.is_link_local or address in EC2_METADATA_IPV6


def _is_exempt(host: str, port: int | None, exempt: str) -> bool:
    """Return whether `NO_PROXY` has a host, or a domain it is in, with or without its port."""
    entries = (entry.strip().lstrip(".").lower() for entry in exempt.split(","))
    names = f".{host}", f".{host}:{port}"
    return any(entry == "*" or any(name.endswith(f".{entry}") for name in names) for entry in entries if entry)
