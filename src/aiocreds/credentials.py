"""One frozen set of AWS credentials."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def _frozen(cls: type[T]) -> type[T]:
    """Return a class as it is, which type checkers take for a frozen dataclass.

    ``dataclasses`` itself takes longer to load, and to write such a class, than everything else that a program with
    keys in environment variables needs.
    """
    return cls


class _Fields:
    """The fields of a class for ``dataclasses.replace`` and its like, made when one of them asks."""

    def __get__(self, _: object, cls: type) -> Any:
        from dataclasses import field, make_dataclass
        from inspect import signature

        fields = [
            (it.name, it.annotation, field() if it.default is it.empty else field(default=it.default))
            for it in signature(cls).parameters.values()
        ]
        made: Any = make_dataclass(cls.__name__, fields)
        return made.__dataclass_fields__


@_frozen
class Credentials:
    """Credentials that sign requests, as they were when they were fetched.

    Its ``repr`` shows the last four characters of the access key id and no secret. It is plain data that can be
    copied and pickled; the secret goes with it.

    Attributes:
        access_key_id: such as ``AKIA…`` (long-term) or ``ASIA…`` (temporary).
        secret_access_key: the signing secret.
        session_token: goes with temporary keys.
        expiration: when the service stops accepting them: an aware ``datetime``, kept in UTC. None: never.
        account_id: the 12 digits of the account, where the source tells them.
        credential_scope: the region scope, where the source tells one.
        provider: the source they came from, such as ``"env"``.
        identity_id: the Cognito identity they were issued to.
        may_outlive_expiry: stamped by sources whose service decides when keys really die (EC2 metadata,
            containers, roles, SSO): while their service is down they are used past ``expiration``.

    Raises:
        ValueError: a key is blank, or ``expiration`` is naive or no ``datetime``.

    See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp.html
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    expiration: datetime | None
    account_id: str | None
    credential_scope: str | None
    provider: str | None
    identity_id: str | None
    may_outlive_expiry: bool

    __slots__ = __match_args__ = (
        "access_key_id",
        "secret_access_key",
        "session_token",
        "expiration",
        "account_id",
        "credential_scope",
        "provider",
        "identity_id",
        "may_outlive_expiry",
    )

    __dataclass_fields__: ClassVar[Any] = _Fields()

    def __init__(
        self,
        access_key_id: str,
        secret_access_key: str,
        session_token: str | None = None,
        expiration: datetime | None = None,
        account_id: str | None = None,
        credential_scope: str | None = None,
        provider: str | None = None,
        identity_id: str | None = None,
        may_outlive_expiry: bool = False,
    ) -> None:
        set_field = partial(object.__setattr__, self)
        set_field("access_key_id", access_key_id)
        set_field("secret_access_key", secret_access_key)
        set_field("session_token", session_token)
        set_field("expiration", None)
        set_field("account_id", account_id)
        set_field("credential_scope", credential_scope)
        set_field("provider", provider)
        set_field("identity_id", identity_id)
        set_field("may_outlive_expiry", may_outlive_expiry)
        del access_key_id, secret_access_key, session_token  # tracebacks show the variables of this frame
        for name in ("access_key_id", "secret_access_key"):
            if not getattr(self, name) or getattr(self, name).isspace():
                raise ValueError(f"Credentials need a non-empty {name}")
        if expiration is not None:
            set_field("expiration", _in_utc(expiration))

    def __setattr__(self, name: str, _: object) -> NoReturn:
        raise AttributeError(f"cannot assign to {name}: Credentials are frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name}: Credentials are frozen")

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Credentials) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[Any, ...]:
        return Credentials, self._values()

    def __replace__(self, **changes: Any) -> Credentials:
        return Credentials(**{**dict(zip(self.__slots__, self._values(), strict=True)), **changes})

    def __repr__(self) -> str:
        expiration = self.expiration and self.expiration.isoformat()
        fields = {
            "access_key_id": redact_key(self.access_key_id),
            "expiration": expiration,
            "account_id": self.account_id,
            "credential_scope": self.credential_scope,
            "provider": self.provider,
            "identity_id": self.identity_id,
        }
        return (
            f"Credentials({', '.join(f'{name}={value!r}' for name, value in fields.items() if value is not None)})"
        )


def _in_utc(expiration: Any) -> datetime:
    """Return an expiration in UTC; raise ValueError for what is no aware datetime."""
    if not isinstance(expiration, datetime):  # out of JSON, it may be anything
        kind = type(expiration).__name__
        raise ValueError(f"expiration must be a datetime with a timezone, not {kind}: make one of it first")  # noqa: TRY004 - as for other wrong values
    if expiration.tzinfo is UTC:
        return expiration
    if expiration.utcoffset() is None:
        raise ValueError("expiration must be timezone-aware: datetime.now(UTC), not datetime.now()")
    try:
        return expiration.astimezone(UTC)
    except OverflowError:
        raise ValueError("expiration is beyond what a datetime in UTC can hold") from None


def redact_key(access_key_id: str) -> str:
    """Return an access key id as messages and logs may show it: its last four characters."""
    return f"****{access_key_id[-4:]}" if len(access_key_id) > 8 else "****"
