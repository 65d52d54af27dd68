"""Read credentials in JSON, for all sources."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aiocreds._base.redaction import SecretBytes, SecretDict
from aiocreds._base.time import parse_expiration
from aiocreds.credentials import Credentials
from aiocreds.errors import ServiceRefused, SourceUnavailable

if TYPE_CHECKING:
    from datetime import datetime

_CODE = re.compile(r"[\w.:#]{1,64}", re.ASCII)
_NO_TEXT = "[\ud800-\udfff]"  # halves of characters, which JSON can write and no encoding has
_ARN = r"(?a)arn:[^:\s]+:[^:\s]+:[^:\s]*:(\d{12}):.+"


class Names(NamedTuple):
    """The names that a service has for the access key id, the secret access key and the session token."""

    key: str
    secret: str
    token: str


METADATA = Names("AccessKeyId", "SecretAccessKey", "Token")
PROCESS = Names("AccessKeyId", "SecretAccessKey", "SessionToken")


def parse_credentials(
    text: SecretBytes,
    *,
    provider: str,
    origin: str,
    remedy: str,
    now: float,
    names: Names = METADATA,
    may_outlive_expiry: bool = True,
    accept_expired: bool = False,
    account_id: str | None = None,
) -> Credentials:
    """Return the credentials in a JSON document with ``AccessKeyId``, ``SecretAccessKey`` and so on.

    Args:
        text: the document.
        provider: what to stamp the credentials with.
        origin: what messages call the sender.
        remedy: what messages say to do when it is no such document.
        now: the time, in seconds since the epoch, for expired ones to be refused.
        names: of the fields.
        may_outlive_expiry: the stamp of :class:`Credentials`.
        accept_expired: return expired ones, too.
        account_id: used when the document has neither an ``AccountId`` nor a ``RoleArn`` that names one.

    Raises:
        SourceUnavailable: it is no such document, or its credentials have expired.
        ServiceRefused: it holds an error code instead.
    """
    document = parse_object(text, origin=origin, remedy=remedy)
    if document.get("Code", "Success") != "Success":
        code = error_code(document.get("Code"))
        raise ServiceRefused(
            f"{origin} answered with the code {code or '(unreadable)'} instead of credentials;"
            " check the role and who may assume it",
            code=code,
            status=200,
        )
    for name in names:
        if type(document.get(name)) is int:  # a key of digits alone, printed by something that knows no types
            document[name] = str(document[name])
    credentials = credentials_in(
        document,
        names=names,
        expiration=None
        if document.get("Expiration") in (None, "")
        else parse_expiration(document["Expiration"], origin=f"{origin} answered with an Expiration that"),
        provider=provider,
        origin=origin,
        remedy=remedy,
        may_outlive_expiry=may_outlive_expiry,
        account_id=account_of(document.get("AccountId"))
        or account_of_arn(document.get("RoleArn"))  # that of ECS, whose agent sends no account id
        or account_id,
    )
    if not accept_expired:
        refuse_expired(credentials, origin=origin, now=now)
    return credentials


def credentials_in(
    document: object,
    *,
    names: Names,
    expiration: datetime | None,
    provider: str,
    origin: str,
    remedy: str,
    may_outlive_expiry: bool = True,
    account_id: str | None = None,
    identity_id: str | None = None,
) -> Credentials:
    """Return the credentials in a part of a JSON document.

    Args:
        document: the object that holds the keys, or whatever is in its place.
        names: of its fields.
        expiration: of the credentials.
        provider: what to stamp them with.
        origin: what messages call the sender.
        remedy: what messages say to do.
        may_outlive_expiry: the stamp of :class:`Credentials`.
        account_id: of the credentials.
        identity_id: of the credentials.

    Raises:
        SourceUnavailable: a key is missing, or one holds half a character.
    """
    fields = object_of(document)
    if missing := [name for name in (names.key, names.secret) if not text_of(fields.get(name))]:
        raise SourceUnavailable(f"{origin} answered without {' and '.join(missing)}; {remedy}")
    for name in names:
        if re.search(_NO_TEXT, text_of(fields.get(name)) or ""):
            raise SourceUnavailable(
                f"{origin} answered with a {name} that holds half a character (a lone surrogate); {remedy}"
            )
    key, secret, token = (text_of(fields.get(name)) for name in names)
    return Credentials(
        key or "",
        secret or "",
        session_token=token,
        expiration=expiration,
        account_id=account_id,
        provider=provider,
        identity_id=identity_id,
        may_outlive_expiry=may_outlive_expiry,
    )


def parse_object(text: SecretBytes, *, origin: str, remedy: str) -> SecretDict:
    """Return the JSON object that a document is.

    Args:
        text: the document.
        origin: what messages call the sender.
        remedy: what messages say to do.

    Raises:
        SourceUnavailable: the text is anything else. The message says of which kind it is and never quotes it.
    """
    if not text.strip():
        raise SourceUnavailable(f"{origin} answered with nothing; {remedy}")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        kind = "HTML or XML" if text.lstrip().startswith(b"<") else "something that is not JSON, or cut short"
        raise SourceUnavailable(f"{origin} answered with {kind} instead of credentials; {remedy}") from None
    if isinstance(document, dict):
        return SecretDict(cast("dict[str, Any]", document))
    kind = _json_name(document)
    del document  # this frame is in the traceback
    raise SourceUnavailable(f"{origin} answered with a JSON {kind}, not an object; {remedy}")


def error_code(value: object) -> str:
    """Return an error code that a message may hold; blank for anything but a name."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def refuse_expired(credentials: Credentials, *, origin: str, now: float) -> None:
    """Check that credentials have not expired.

    Raises:
        SourceUnavailable: they have expired.
    """
    if credentials.expiration is not None and credentials.expiration.timestamp() <= now:
        raise SourceUnavailable(
            f"{origin} handed out credentials that expired at {credentials.expiration:%Y-%m-%d %H:%M:%S} UTC;"
            " if that is not long ago, check this machine's clock"
        )


def _json_name(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "number")


def object_of(value: object) -> SecretDict:
    """Return a JSON object; an empty one for anything else."""
    return SecretDict(cast("dict[str, Any]", value)) if isinstance(value, dict) else SecretDict()


def text_of(value: object) -> str | None:
    """Return a text that is not blank, stripped; None for anything else."""
    return value.strip() or None if isinstance(value, str) else None


def account_of(value: object) -> str | None:
    """Return the id of an account, padded to 12 digits where it is a number; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int:
        return f"{value:012d}" if 0 < value < 10**12 else None
    text = text_of(value)
    return None if text is None or re.search(_NO_TEXT, text) else text


def account_of_arn(value: object) -> str | None:
    """Return the account that an ARN names; None where it names none, or is no ARN."""
    arn = re.fullmatch(_ARN, value.strip()) if isinstance(value, str) else None
    return arn and arn[1]
