"""The one reader of credentials in JSON, whoever sends them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aiocreds.credentials import Credentials
from aiocreds.errors import ServiceRefused, SourceUnavailable
from aiocreds.hidden import Data, Document

if TYPE_CHECKING:
    from aiocreds.http import Response

_CODE = re.compile(r"[\w.:#]{1,64}", re.ASCII)


class Names(NamedTuple):
    """What a service calls the access key id, the secret access key and the session token."""

    key: str
    secret: str
    token: str


METADATA = Names("AccessKeyId", "SecretAccessKey", "Token")
PROCESS = Names("AccessKeyId", "SecretAccessKey", "SessionToken")


def parse_credentials(
    text: Data,
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
    """Credentials from a JSON document with ``AccessKeyId``, ``SecretAccessKey`` and so on.

    Args:
        text: the document.
        provider: what to stamp the credentials with.
        origin: what messages call the sender.
        remedy: what they tell the reader to do when it is no such document.
        now: the time, in seconds since the epoch, for expired ones to be refused.
        names: of the fields.
        may_outlive_expiry: the stamp of :class:`Credentials`.
        accept_expired: EC2 metadata decides for itself what still works.
        account_id: used when the document has no ``AccountId``.

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
        account_id=text_of(document.get("AccountId")) or account_id,
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
    """Credentials from a part of a JSON document.

    Args:
        document: the object that holds the keys, or whatever is in its place.
        names: of its fields.
        expiration: of the credentials.
        provider: what to stamp them with.
        origin: what messages call the sender.
        remedy: what they tell the reader to do.
        may_outlive_expiry: the stamp of :class:`Credentials`.
        account_id: of the credentials.
        identity_id: of the credentials.

    Raises:
        SourceUnavailable: a key is missing.
    """
    fields = object_of(document)
    if missing := [name for name in (names.key, names.secret) if not text_of(fields.get(name))]:
        raise SourceUnavailable(f"{origin} answered without {' and '.join(missing)}; {remedy}")
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


def parse_object(text: Data, *, origin: str, remedy: str) -> Document:
    """A JSON object.

    Args:
        text: the document.
        origin: what messages call the sender.
        remedy: what they tell the reader to do.

    Raises:
        SourceUnavailable: the text is anything else. The message tells its kind and never quotes it.
    """
    if not text.strip():
        raise SourceUnavailable(f"{origin} answered with nothing; {remedy}")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        kind = "HTML or XML" if text.lstrip().startswith(b"<") else "something that is not JSON, or cut short"
        raise SourceUnavailable(f"{origin} answered with {kind} instead of credentials; {remedy}") from None
    if isinstance(document, dict):
        return Document(cast("dict[str, Any]", document))
    kind = _json_name(document)
    del document  # this frame is in the traceback
    raise SourceUnavailable(f"{origin} answered with a JSON {kind}, not an object; {remedy}")


def unreadable(response: Response) -> bool:
    """Whether a good answer is no JSON object: metadata services are restarted under their clients."""
    if response.status != 200:
        return False
    try:
        parse_object(response.body, origin="", remedy="")
    except SourceUnavailable:
        return True
    return False


def error_code(value: object) -> str:
    """An error code fit for a message; blank when it is anything but a name."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def parse_expiration(value: object, *, origin: str, per_second: int | None = None) -> datetime:
    """An ISO 8601 time, where one without a zone is UTC; or with ``per_second`` a number since the epoch.

    Raises:
        SourceUnavailable: it is none.
    """
    try:
        if per_second is not None and isinstance(value, int | float):
            return datetime.fromtimestamp(value / per_second, UTC)
        expiration = datetime.fromisoformat(value if isinstance(value, str) else "")
        return expiration.astimezone(UTC) if expiration.tzinfo else expiration.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        del value  # it may be anything
        expected = "an ISO 8601 time such as 2030-01-01T00:00:00Z" if per_second is None else "a time since 1970"
        raise SourceUnavailable(f"{origin} is not {expected}") from None


def refuse_expired(credentials: Credentials, *, origin: str, now: float) -> None:
    """Check that the credentials are still good.

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


def object_of(value: object) -> Document:
    """A JSON object; an empty one for anything else."""
    return Document(cast("dict[str, Any]", value)) if isinstance(value, dict) else Document()


def text_of(value: object) -> str | None:
    """A text that is not blank, stripped; None for anything else."""
    return value.strip() or None if isinstance(value, str) else None
