"""One frozen set of AWS credentials."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, repr=False)
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
    session_token: str | None = None
    expiration: datetime | None = None
    account_id: str | None = None
    credential_scope: str | None = None
    provider: str | None = None
    identity_id: str | None = None
    may_outlive_expiry: bool = False

    def __post_init__(self) -> None:
        if not self.access_key_id or self.access_key_id.isspace():
            raise ValueError("Credentials need a non-empty access_key_id")
        if not self.secret_access_key or self.secret_access_key.isspace():
            raise ValueError("Credentials need a non-empty secret_access_key")
        given: object = self.expiration  # out of JSON, it may be anything
        if given is not None and not isinstance(given, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - as said
            kind = type(given).__name__
            raise ValueError(f"expiration must be a datetime with a timezone, not {kind}: make one of it first")
        if self.expiration is not None and self.expiration.tzinfo is not UTC:
            if self.expiration.utcoffset() is None:
                raise ValueError("expiration must be timezone-aware: datetime.now(UTC), not datetime.now()")
            try:
                object.__setattr__(self, "expiration", self.expiration.astimezone(UTC))
            except OverflowError:
                raise ValueError("expiration is beyond what a datetime in UTC can hold") from None

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


def redact_key(access_key_id: str) -> str:
    """The access key id as messages and logs may show it: its last four characters."""
    return f"****{access_key_id[-4:]}" if len(access_key_id) > 8 else "****"
