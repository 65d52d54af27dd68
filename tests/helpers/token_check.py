"""Checks tokens as a service does, with signatures that botocore computes."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from aiocreds import Context, Credentials, Provider
from aiocreds._core.context import DEFAULT
from aiocreds._core.decorator import as_provider
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Authority:
    """Issues keys that end, and checks what they signed.

    Args:
        now: seconds since the epoch.
        lifetime: of the keys, in seconds.

    Attributes:
        today: by which tokens are dated; `now`, unless a client signs by a clock that no test moves.
    """

    def __init__(self, now: Callable[[], float], lifetime: float = 3600.0) -> None:
        self.now = now
        self.lifetime = lifetime
        self.today: Callable[[], float] | None = None
        self.down: Exception | None = None
        self._keys: dict[str, Credentials] = {}

    @property
    def issued(self) -> int:
        return len(self._keys)

    async def issue(self) -> Credentials:
        if self.down is not None:
            raise self.down
        number = len(self._keys)
        keys = Credentials(
            f"ASIAEXAMPLE{number:04}",
            secret(f"key/{number}"),
            secret(f"session+{number}=="),
            datetime.fromtimestamp(self.now() + self.lifetime, UTC),
        )
        self._keys[keys.access_key_id] = keys
        return keys

    def provider(self, context: Context | None = None) -> Provider:
        return as_provider(self.issue, taker="Authority", context=context or DEFAULT)

    def fault(
        self, url: str, service: str, *, longest: float = 900, headers: Mapping[str, str] | None = None
    ) -> str | None:
        """Return what is wrong with a signed URL; None when a service would take it."""
        given = dict(parse_qsl(urlsplit(url).query))
        signature = given["X-Amz-Signature"]
        signed = [part for part in url.split("&") if not part.startswith(("X-Amz-Signature=", "User-Agent="))]
        key, _, _, found, _ = given["X-Amz-Credential"].split("/")
        keys = self._keys.get(key)
        if keys is None or given.get("X-Amz-Security-Token") != keys.session_token:
            return "unknown keys"
        region = given["X-Amz-Credential"].split("/")[2]
        if found != service:
            return f"signed for {found}"
        request = AWSRequest(method="GET", url="&".join(signed), headers=dict(headers or {}))
        request.context["timestamp"] = given["X-Amz-Date"]
        signer = SigV4QueryAuth(
            BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token), service, region
        )
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        if not hmac.compare_digest(expected, signature):
            return "another signature"
        signed_at = datetime.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if not -1 <= (self.today or self.now)() - signed_at <= longest:
            return "too old, or of the future"
        if keys.expiration is not None and self.now() > keys.expiration.timestamp():
            return "expired keys"
        return None
