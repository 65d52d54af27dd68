"""Get credentials from IAM Roles Anywhere, for a workload outside AWS that has a certificate.

The call is signed with the certificate's private key: Signature Version 4 with X.509.

See https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html and
https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-create-session.html
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import partial
from hashlib import sha256
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

from aiocreds._aws.client import ClientConfig, ServiceClient, config_scope
from aiocreds._aws.json_protocol import ask
from aiocreds._aws.service_errors import CHECK_ENDPOINT, ErrorCode
from aiocreds._aws.sigv4 import (
    canonical_headers,
    canonical_request,
    credential_scope,
    string_to_sign,
    target,
    timestamp_of,
)
from aiocreds._base import threads, tracing
from aiocreds._base.json_credentials import Names, account_of_arn, credentials_in, object_of, text_of
from aiocreds._base.redaction import SecretStr
from aiocreds._base.time import parse_expiration, time_limit
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import credential_provider
from aiocreds._core.singleflight import note_role
from aiocreds._profiles import Setting, expand
from aiocreds.errors import CredentialsError, InvalidConfiguration, ServiceRefused, SourceUnavailable, foreign
from aiocreds.sources.roles_anywhere.identity import Files, read

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import timedelta

    from aiocreds._core.refresh import Clock
    from aiocreds._http.request import Signer
    from aiocreds.credentials import Credentials
    from aiocreds.sources.roles_anywhere.identity import Identity

    File = str | os.PathLike[str]
    Sign = Callable[[bytes], Awaitable[bytes]]

SERVICE, NAME = "rolesanywhere", "IAM Roles Anywhere"
SHORTEST, LONGEST = 900, 43200  # seconds
FIELDS = Names("accessKeyId", "secretAccessKey", "sessionToken")
ARNS = {  # partition and region
    "trust_anchor_arn": r"arn:([\w-]+):rolesanywhere:([\w-]+):[!-9;-~]*:trust-anchor/[!-~]+",
    "profile_arn": r"arn:([\w-]+):rolesanywhere:([\w-]+):[!-9;-~]*:profile/[!-~]+",
    "role_arn": r"arn:([\w-]+):iam:():[!-9;-~]*:role/[!-~]+",
}
EXAMPLES = {
    "trust_anchor_arn": "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/…",
    "profile_arn": "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/…",
    "role_arn": "arn:aws:iam::123456789012:role/…",
}
# A refusal has the same code whatever its reason: a wrong clock may be one.
ERRORS = {
    "AccessDeniedException": ErrorCode(
        "check that the trust anchor holds the CA that issued the certificate (intermediates= takes those in"
        " between), that the profile is enabled and lists the role, and that the role's trust policy lets"
        " rolesanywhere.amazonaws.com assume it",
        recoverable=False,
        clock=True,
    ),
    "InvalidSignatureException": ErrorCode("a proxy may change requests", clock=True),
    "RequestExpired": ErrorCode(clock=True),
    "ResourceNotFoundException": ErrorCode(
        "there is no such trust anchor or profile in this account and region: check the ARNs"
    ),
    "SignatureDoesNotMatch": ErrorCode("a proxy may change requests", clock=True),
    "ValidationException": ErrorCode(
        "correct the ARNs, duration_seconds or role_session_name; a session name is taken only where the profile"
        " accepts one (acceptRoleSessionName)",
        clock=True,
    ),
}


@credential_provider
async def from_roles_anywhere(
    *,
    certificate: File,
    private_key: File | Sign | None = None,
    trust_anchor_arn: str,
    profile_arn: str,
    role_arn: str,
    role_session_name: str | None = None,
    duration_seconds: float | timedelta = 3600,
    intermediates: File | None = None,
    passphrase: str | Callable[[], Awaitable[str]] | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> Credentials:
    """Get the credentials of a role from IAM Roles Anywhere, with an X.509 certificate and its private key.

    ::

        provider = from_roles_anywhere(
            certificate="/run/identity/tls.crt",
            private_key="/run/identity/tls.key",
            trust_anchor_arn="arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/…",
            profile_arn="arn:aws:rolesanywhere:eu-central-1:123456789012:profile/…",
            role_arn="arn:aws:iam::123456789012:role/app",
        )

    The files are read again at each fetch, so that what cert-manager or SPIFFE rotates is seen; for about half a
    second more while one is missing, empty or cut short, or while key and certificate do not belong together.
    Needs the extra ``roles-anywhere``.

    Args:
        certificate: a file in PEM: the workload's certificate, then any intermediate ones. Or one in PKCS#12, which
            holds the private key, too. ``~`` is the home folder.
        private_key: a file in PEM (PKCS#8, PKCS#1 or SEC1), with an RSA or an elliptic-curve key. None where
            ``certificate`` holds it. For a key in a TPM, an HSM or an agent: an ``async (data: bytes) -> bytes``
            that signs the SHA-256 digest of ``data`` and returns the signature: RSASSA-PKCS1-v1_5 if the
            certificate has an RSA key, else ECDSA, in DER. ``data`` is the string to sign.
        trust_anchor_arn: the trust anchor that vouches for the certificate.
        profile_arn: the profile, in the same region.
        role_arn: the role, which the profile has to list and which has to trust ``rolesanywhere.amazonaws.com``.
        role_session_name: shows in CloudTrail, if the profile accepts one (``acceptRoleSessionName``); by default
            the serial number of the certificate.
        duration_seconds: how long the credentials live: from 900 to 43200, and no longer than the profile says; or
            a ``timedelta``.
        intermediates: a file in PEM with the certificates between the workload's and the trust anchor, if
            ``certificate`` lacks them.
        passphrase: of the private key or the PKCS#12 file: a ``str``, or an ``async () -> str`` that is asked at
            each fetch.
        client: region, endpoint, time-outs and middlewares of the call. The region is by default that of
            ``trust_anchor_arn``, whatever ``AWS_REGION`` says.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        InvalidConfiguration: a file cannot be used (the message names it), the certificate has expired, or another
            argument or the endpoint's settings are wrong; or ``cryptography`` is not installed.
        ServiceRefused: IAM Roles Anywhere answered no; ``.code`` says why.
        SourceUnavailable: a file stays empty, or IAM Roles Anywhere did not answer; or a function of yours raised
            what is none of these errors, and the error's ``__cause__`` holds that.

    See https://docs.aws.amazon.com/rolesanywhere/latest/userguide/introduction.html
    """
    region = _region(trust_anchor_arn=trust_anchor_arn, profile_arn=profile_arn, role_arn=role_arn)
    request: dict[str, str | int] = {
        "durationSeconds": _duration(duration_seconds),
        "profileArn": profile_arn,
        "roleArn": role_arn,
        "trustAnchorArn": trust_anchor_arn,
    }
    if role_session_name is not None:
        request["roleSessionName"] = _name(role_session_name)
    note_role(role_arn)
    tracing.note("role_arn", role_arn)
    sign = private_key if callable(private_key) else None
    files = Files(
        _file(certificate, "certificate", context),
        None if private_key is None or callable(private_key) else _file(private_key, "private_key", context),
        None if intermediates is None else _file(intermediates, "intermediates", context),
    )
    identity = await read(files, passphrase=await _passphrase(passphrase), signs_itself=sign is not None)
    client = client or ClientConfig()
    scope = await config_scope(context, client, region=region)
    service = ServiceClient(SERVICE, client, scope, client.region or region)
    try:
        return await create_session(service, identity, request, sign)
    except ServiceRefused as refused:
        # Only now, since the service may have corrected our clock, by which a good certificate looked expired.
        if fault := identity.out_of_date(context.clock.now()):
            raise InvalidConfiguration(
                f"the certificate in {identity.place} {fault}: {refused}", recoverable=refused.recoverable
            ) from None
        raise


# The call.


async def create_session(
    service: ServiceClient, identity: Identity, request: Mapping[str, str | int], sign: Sign | None
) -> Credentials:
    """Call CreateSession.

    Args:
        service: the service.
        identity: the certificate, and its key unless ``sign`` is given.
        request: the fields of the body.
        sign: signs instead of the identity's key.

    Raises:
        ServiceRefused: it answered no.
        SourceUnavailable: it did not answer, or not with credentials.
    """
    region = service.endpoint.signing_region

    def proof(clock: Clock) -> Signer:
        return partial(_signed, identity, sign, region, clock)

    asked = service.scope.context.clock.now()
    answer, response = await ask(
        service,
        "POST",
        "/sessions",
        operation="CreateSession",
        name=NAME,
        target=f"for {request['roleArn']}",
        headers={"Content-Type": "application/json"},
        body=request,
        errors=ERRORS,
        hidden=(),
        proof=proof,
    )
    origin, sets = f"{NAME} ({response.host})", answer.get("credentialSet")
    try:
        first = object_of(sets[0] if sets else None)
    except (TypeError, LookupError):  # it is no list
        first = object_of(None)
    issued = object_of(first.get("credentials"))
    if not issued or not text_of(issued.get("sessionToken")):
        raise SourceUnavailable(f"{origin} answered without credentials; {CHECK_ENDPOINT}")
    credentials = credentials_in(
        issued,
        names=FIELDS,
        expiration=parse_expiration(
            issued.get("expiration"), origin=f"the expiration that {origin} answered with", per_second=1
        ),
        provider="roles_anywhere",
        origin=origin,
        remedy=CHECK_ENDPOINT,
        account_id=account_of_arn(object_of(first.get("assumedRoleUser")).get("arn"))
        or account_of_arn(request["roleArn"]),
    )
    service.refuse_expired(credentials, response, asked, origin=origin)
    return credentials


async def _signed(
    identity: Identity,
    sign: Sign | None,
    region: str,
    clock: Clock,
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
) -> Mapping[str, str]:
    """Return the headers that sign one attempt at a request, after all middlewares."""
    timestamp = timestamp_of(int(clock.now()))
    scope, (host, path, query) = credential_scope(timestamp, region, SERVICE), target(url)
    added = {"X-Amz-Date": timestamp, **identity.headers}
    signed = canonical_headers(headers, added, host=host)
    request = canonical_request(method, path, query, signed, sha256(body).hexdigest())
    text = string_to_sign(timestamp, scope, request, algorithm=identity.algorithm).encode()
    if sign is None:
        mac = await threads.submit(identity.sign, text)  # some keys take milliseconds
    else:
        mac = await _signed_by(sign, text)
        if not await threads.submit(identity.verify, text, mac):
            raise InvalidConfiguration(
                f"the function private_key returned no signature by the key of {identity.place}: it has to sign the"
                " SHA-256 digest of what it is given with that key, by RSASSA-PKCS1-v1_5 or by ECDSA in DER"
            )
    authorization = (
        f"{identity.algorithm} Credential={identity.certificate.serial_number}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={mac.hex()}"
    )
    return {**added, "Authorization": authorization}


async def _signed_by(sign: Callable[[bytes], Any], text: bytes) -> bytes:
    """Return what the program's function gives for a text."""
    try:
        given = sign(text)
        if isawaitable(given):
            given = await given
    except CredentialsError:
        raise
    except Exception as error:  # noqa: BLE001 - of the program's; an OSError would count as one of the connection
        wrapped = foreign(error, sign)
        raise wrapped from wrapped.__cause__
    if not isinstance(given, bytes | bytearray):
        raise InvalidConfiguration(
            f"the function private_key returned {type(given).__name__}: define it with async def, and return bytes"
        )
    return bytes(given)


# Arguments.


def _name(given: object) -> str:
    if not isinstance(given, str):
        raise InvalidConfiguration(f"role_session_name is {type(given).__name__}: give a str")
    if not given.strip():
        raise InvalidConfiguration("role_session_name is blank: give a name, or leave it out")
    return given


def _region(**arns: object) -> str:
    """Return the region of the trust anchor.

    Raises:
        InvalidConfiguration: an ARN is none of its kind, or they do not belong together.
    """
    parts: dict[str, tuple[str, str]] = {}
    for argument, arn in arns.items():
        if not isinstance(arn, str):
            raise InvalidConfiguration(
                f"{argument} is {type(arn).__name__}: give an ARN such as {EXAMPLES[argument]}"
            )
        found = re.fullmatch(ARNS[argument], arn, re.ASCII)
        if found is None:
            raise InvalidConfiguration(
                f"{argument} is {arn[:100]!r}: give an ARN such as {EXAMPLES[argument]}"
                if arn.strip()
                else f"{argument} is blank: give an ARN such as {EXAMPLES[argument]}"
            )
        parts[argument] = found[1], found[2]
    partition, region = parts["trust_anchor_arn"]
    for argument, (other_partition, other_region) in parts.items():
        if other_partition != partition:
            raise InvalidConfiguration(
                f"trust_anchor_arn is of the partition {partition}, and {argument} of {other_partition}:"
                " give ARNs of one partition"
            )
        if other_region and other_region != region:
            raise InvalidConfiguration(
                f"trust_anchor_arn is of the region {region}, and {argument} of {other_region}:"
                " give those of one region"
            )
    return region


def _duration(duration: float | timedelta) -> int:
    number = int(time_limit(duration, "duration_seconds"))
    if not SHORTEST <= number <= LONGEST:
        raise InvalidConfiguration(f"duration_seconds is {number}: give {SHORTEST} to {LONGEST}")
    return number


def _file(given: object, argument: str, context: Context) -> Setting:
    """Return the path in an argument, expanded.

    Raises:
        InvalidConfiguration: it is no path. The message leaves it out: it may be a key.
    """
    path: object = None
    with suppress(TypeError):
        path = os.fspath(cast("File", given))
    if not isinstance(path, str):
        raise InvalidConfiguration(f"{argument} is {type(given).__name__}: give the path of a file")
    if not path.strip():
        raise InvalidConfiguration(f"{argument} is blank: give the path of a file")
    if not path.isprintable() or "-----BEGIN " in path:
        raise InvalidConfiguration(f"{argument} is no path; if it is PEM itself, write that to a file")
    expanded = expand(path, context, place=argument)
    tracing.note(argument, expanded)
    return Setting(expanded, argument)


async def _passphrase(given: object) -> SecretStr | None:
    text: object = given
    if callable(given):
        text = given()
        if not isawaitable(text):
            raise InvalidConfiguration("passphrase is a function that is not async: define it with async def")
        text = await text
    if text is None and not callable(given):
        return None
    if not isinstance(text, str):
        raise InvalidConfiguration(
            f"passphrase is {type(text).__name__}: give a str, or an async function that returns one"
        )
    return SecretStr(text)
