"""S3 Express: the sessions that sign requests to a directory bucket.

See https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiocreds._aws.client import adopt, clock_of, refuse_expired_by_sender
from aiocreds._aws.service_errors import (
    EXPIRED,
    ErrorCode,
    ErrorDetails,
    is_transient_code,
    log_outcome,
    service_error,
)
from aiocreds._aws.sigv4 import check_sendable, host_header, sign
from aiocreds._aws.xml_answer import fields_of
from aiocreds._base.json_credentials import error_code
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import parse_expiration
from aiocreds._core.provider import Provider
from aiocreds.credentials import Credentials, redact_key
from aiocreds.errors import ServiceRefused, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiocreds._core.context import Context
    from aiocreds._core.refresh import Clock
    from aiocreds._http import Response

SERVICE = "s3express"
SOURCE_MIN_TTL = 60.0  # seconds
MOST = 100  # sessions of one signer; botocore holds as many
TIMEOUT = 10.0  # seconds
SKEWED = "RequestTimeTooSkewed"
ISSUED = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
# bucket--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com; access points end in --xa-s3.
DIRECTORY_BUCKET = re.compile(r"([a-z0-9.-]+--[a-z0-9-]+--xa?-s3)\.s3express-[a-z0-9-]+\.", re.IGNORECASE)
ERRORS = {
    "AccessDenied": ErrorCode(
        "allow s3express:CreateSession on the bucket, in this session mode", recoverable=False
    ),
    "ExpiredToken": ErrorCode("renew the credentials; their source had no others"),
    "InvalidAccessKeyId": ErrorCode("the keys do not exist (any more) in this partition"),
    "NoSuchBucket": ErrorCode("check the name of the bucket, its zone and the region", recoverable=False),
    SKEWED: ErrorCode("set this machine's clock, which is off by more than a quarter of an hour"),
    "SignatureDoesNotMatch": ErrorCode("the secret key does not belong to its key id, or a proxy changes requests"),
}
NO_REMEDY = "see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"


class Sessions:
    """The sessions of one provider's credentials, a provider for each bucket.

    Args:
        provider: the ordinary credentials.
        region: the region to sign for.
        context: whose connections and clock are used.
        mode: ``"ReadOnly"`` or ``"ReadWrite"``; None leaves it to the service.
    """

    def __init__(self, provider: Provider, region: str, context: Context, mode: str | None) -> None:
        self._provider = provider
        self._region = region
        self._context = context
        self._mode = mode
        self._kept: dict[
            str, tuple[str, Provider]
        ] = {}  # by origin: the key id that asked for it, and its provider

    async def provider_for(self, url: str, headers: Iterable[tuple[str, str]]) -> Provider:
        """Return the provider whose credentials sign a request.

        It is the ordinary one for control planes, for CreateSession itself, and for CopyObject and UploadPartCopy,
        which take no session.

        Args:
            url: where the request goes.
            headers: what it carries.
        """
        parts = urlsplit(url)
        if not takes_session(parts.hostname or "", parts.query, headers):
            return self._provider
        origin = f"{parts.scheme}://{host_header(parts)}"
        key_id = (await self._provider()).access_key_id
        asked_by, session = self._kept.pop(origin, ("", self._provider))
        if asked_by != key_id:  # a session belongs to the credentials that asked for it
            source = partial(create_session, self._provider, origin, self._region, self._context, self._mode)
            session = Provider(source, name=SERVICE, context=self._context, inner=(self._provider,))
        self._kept[origin] = key_id, session  # the last one now
        if len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        return session


def takes_session(host: str, query: str, headers: Iterable[tuple[str, str]]) -> bool:
    """Return whether a request is signed by a session."""
    if DIRECTORY_BUCKET.match(host) is None or query.partition("=")[0] == "session":
        return False
    return not any(name.lower() == "x-amz-copy-source" for name, _ in headers)


async def create_session(
    provider: Provider, origin: str, region: str, context: Context, mode: str | None
) -> Credentials:
    """Return the credentials of a new session, which are good for five minutes.

    Credentials that the service calls expired are invalidated, and others asked for once. Where our clock is wrong,
    it is asked again by the service's time, which is kept.

    Args:
        provider: the ordinary credentials.
        origin: scheme and host of the bucket.
        region: the region to sign for.
        context: whose connections and clock are used.
        mode: ``"ReadOnly"`` or ``"ReadWrite"``; None leaves it to the service.

    Raises:
        ServiceRefused: S3 answered no.
        SourceUnavailable: it did not answer, or not with credentials.
    """
    credentials = await provider.get(min_ttl=SOURCE_MIN_TTL)
    try:
        return await _ask(credentials, origin, region, context, mode)
    except ServiceRefused as refused:
        if refused.code not in EXPIRED:
            raise
        provider.invalidate(credentials)
        others = await provider.get(min_ttl=SOURCE_MIN_TTL)
        if others.access_key_id == credentials.access_key_id:
            raise
    return await _ask(others, origin, region, context, mode)


async def _ask(
    credentials: Credentials, origin: str, region: str, context: Context, mode: str | None
) -> Credentials:
    check_sendable(credentials)
    target = f"to create a session for {redact_key(credentials.access_key_id)}"
    clock, tried = context.clock, None
    while True:
        asked, used = clock.now(), clock.offset
        response = await context.http.request(
            "GET",
            f"{origin}/?session=",
            provider=None,
            headers={} if mode is None else {"x-amz-create-session-mode": mode},
            timeout=TIMEOUT,
            retry_if=_is_transient,
            sign=partial(_sign, credentials, region, clock),
        )
        fields = fields_of(response.body)
        code = "" if response.status == 200 else error_code(fields.get("Code"))
        log_outcome("CreateSession", response.host, target, f"{response.status} {code}".rstrip())
        if tried is not None:
            if response.status == 200 and tried is not context.clock:
                adopt(context, tried, response)
            break
        if code != SKEWED or (tried := clock_of(context, response, asked, used)) is None:
            break
        clock = tried  # once more, by the service's time
    sender = f"S3 ({response.host})"
    if response.status != 200:
        request_id = fields.get("RequestId") or response.headers.get("x-amz-request-id")
        details = ErrorDetails(code, SecretStr(fields.get("Message", "")), request_id)
        secrets = [
            (credentials.secret_access_key, "****"),
            (credentials.session_token, "****"),
            (credentials.access_key_id, redact_key(credentials.access_key_id)),
        ]
        raise service_error(
            response, details, ERRORS, origin=sender, target=target, default=NO_REMEDY, hidden=secrets
        )
    if missing := [name for name in ISSUED if not fields.get(name)]:
        raise SourceUnavailable(f"{sender} answered without {', '.join(missing)}; is that S3?")
    session = Credentials(
        fields["AccessKeyId"],
        fields["SecretAccessKey"],
        session_token=fields["SessionToken"],
        expiration=parse_expiration(
            fields["Expiration"], origin=f"the Expiration that {sender} answered with", per_second=1
        ),
        account_id=credentials.account_id,
        provider=SERVICE,
    )
    refuse_expired_by_sender(context, session, response, asked, origin=sender)
    return session


def _is_transient(response: Response) -> bool:
    return response.status >= 400 and is_transient_code(fields_of(response.body).get("Code", ""), ERRORS)


def _sign(
    credentials: Credentials,
    region: str,
    clock: Clock,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
) -> Mapping[str, str]:
    return sign(
        method,
        url,
        headers,
        body,
        credentials=credentials,
        region=region,
        service=SERVICE,
        at=clock.now(),
        normalize_path=False,
        encode_path=False,
        sign_body=True,
    )
