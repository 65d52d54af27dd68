"""The format of an entry: readable in a private folder, encrypted in any other store, bound to its name in both.

AES-256-GCM with a random nonce; the name of the entry is the associated data, so that an entry which was copied
under another name is refused like one of which a byte was changed. Fernet, which has no associated data, would
take it. In the folder, which is for one user alone, a plain hash guards against accidents.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aiocreds._base.redaction import SecretBytes, SecretDict
from aiocreds.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = 1
SEALED, OPEN, HASH = "sealed", "entry", "sha256"
NONCE = 12  # bytes
KEY = 32  # bytes
LONGEST = 64 * 1024  # characters
FORM = "give keys of 32 bytes, or of as many in base64 as cryptography.fernet.Fernet.generate_key() makes them"


class Refused(Exception):
    """The stored value is no entry of ours for this name. The text says why, and shows nothing of it."""


class Entry(NamedTuple):
    """Shared credentials, and where they come from.

    Attributes:
        credentials: as the source gave them.
        loaded_at: when that was, in seconds since the epoch, by the clock of who did it.
        host: who did it.
        role: which role they are of, where that is known.
    """

    credentials: Credentials
    loaded_at: float
    host: str
    role: str | None

    @property
    def expires_at(self) -> float:
        """Return when the service stops accepting them, in seconds since the epoch."""
        expiration = self.credentials.expiration
        return 0.0 if expiration is None else expiration.timestamp()

    def newer_than(self, other: Entry) -> bool:
        """Return whether these were issued later.

        By the expiration first: it is the service's own time, while hosts may disagree about theirs.
        """
        return (self.expires_at, self.loaded_at) > (other.expires_at, other.loaded_at)


class Sealer:
    """Turns entries into what a store may hold, and back.

    Args:
        secret_keys: the first one encrypts, all of them decrypt; none: what is written can be read.

    Raises:
        ValueError: one is no key.
        ModuleNotFoundError: `cryptography` is needed and not installed.
    """

    def __init__(self, secret_keys: Sequence[bytes | str] | None) -> None:
        self._naming: bytes = b""
        self._ciphers: list[Any] = []
        if secret_keys is not None:
            self._ciphers, self._naming = _ciphers(secret_keys)

    @property
    def keyed(self) -> bool:
        """Return whether what is written cannot be read without a key."""
        return bool(self._ciphers)

    def name(self, description: bytes) -> str:
        """Return the name of an entry: a hash, from which the description cannot be read."""
        from hashlib import sha256

        if not self._naming:
            return sha256(b"aiocreds shared name\0" + description).hexdigest()
        import hmac

        return hmac.new(self._naming, description, sha256).hexdigest()

    def seal(self, entry: Entry, name: str) -> dict[str, Any]:
        """Return what a store may hold for a name."""
        document = _document(entry)
        if not self._ciphers:
            return SecretDict({"aiocreds": VERSION, OPEN: document, HASH: _hash(document, name)})
        from binascii import b2a_base64
        from secrets import token_bytes

        nonce, text = token_bytes(NONCE), SecretBytes(json.dumps(document).encode())
        sealed = nonce + self._ciphers[0].encrypt(nonce, text, _bound_to(name))
        return {"aiocreds": VERSION, SEALED: b2a_base64(sealed, newline=False).decode()}

    def open(self, value: object, name: str) -> Entry:
        """Return the entry that a store holds for a name.

        Raises:
            Refused: it is none, or for another name, or was changed.
        """
        document = cast("dict[str, Any]", value) if isinstance(value, dict) else dict[str, Any]()
        if document.get("aiocreds") != VERSION:
            raise Refused("is no entry of this version of aiocreds")
        if not self._ciphers:
            if document.get(HASH) != _hash(document.get(OPEN), name):
                raise Refused("was changed, copied from another name, or is not whole")
            return _entry(document.get(OPEN))
        sealed = document.get(SEALED)
        if not isinstance(sealed, str) or len(sealed) > LONGEST:
            raise Refused("is not encrypted")
        return _entry(self._decrypted(sealed, name))

    def _decrypted(self, sealed: str, name: str) -> object:
        from binascii import Error, a2b_base64

        from cryptography.exceptions import InvalidTag

        try:
            data = a2b_base64(sealed.encode(), strict_mode=True)
        except (Error, ValueError):
            raise Refused("is not encrypted") from None
        for cipher in self._ciphers:
            try:
                text = SecretBytes(cipher.decrypt(data[:NONCE], data[NONCE:], _bound_to(name)))
            except (InvalidTag, ValueError):  # the latter for one that is too short
                continue
            return json.loads(text)
        raise Refused("was changed, copied from another name, or encrypted with a key that is not given here")


def _ciphers(secret_keys: Sequence[bytes | str]) -> tuple[list[Any], bytes]:
    """Return a cipher for each key, and what names are hashed with."""
    import hmac
    from hashlib import sha256

    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError:
        words = "secret_keys need cryptography: pip install 'aiocreds[shared]'"
        raise ModuleNotFoundError(words, name="cryptography") from None

    if isinstance(secret_keys, str | bytes):
        raise TypeError("secret_keys is a sequence of keys: write [key]")
    keys = [SecretBytes(_key(given)) for given in secret_keys]
    if not keys:
        raise ValueError(f"secret_keys is empty: {FORM}")
    # One key has one purpose.
    derived = [SecretBytes(hmac.new(key, b"aiocreds shared entry", sha256).digest()) for key in keys]
    return [AESGCM(key) for key in derived], hmac.new(keys[0], b"aiocreds shared name", sha256).digest()


def _key(given: object) -> bytes:
    from binascii import Error, a2b_base64

    if isinstance(given, bytes) and len(given) == KEY:
        return given
    text = given.encode() if isinstance(given, str) and given.isascii() else given
    if isinstance(text, bytes):
        try:
            key = a2b_base64(text.strip().replace(b"-", b"+").replace(b"_", b"/"), strict_mode=True)
        except (Error, ValueError):
            key = b""
        if len(key) == KEY:
            return key
    del given, text
    raise ValueError(f"one of secret_keys is no key: {FORM}")


def _bound_to(name: str) -> bytes:
    return f"aiocreds shared {VERSION}\0{name}".encode()


def _hash(document: object, name: str) -> str:
    from hashlib import sha256

    text = SecretBytes(json.dumps(document, sort_keys=True).encode())
    return sha256(_bound_to(name) + b"\0" + text).hexdigest()


def _document(entry: Entry) -> SecretDict:
    credentials = entry.credentials
    return SecretDict(
        {
            "access_key_id": credentials.access_key_id,
            "secret_access_key": credentials.secret_access_key,
            "session_token": credentials.session_token,
            "expires_at": entry.expires_at,
            "account_id": credentials.account_id,
            "credential_scope": credentials.credential_scope,
            "provider": credentials.provider,
            "identity_id": credentials.identity_id,
            "may_outlive_expiry": credentials.may_outlive_expiry,
            "loaded_at": entry.loaded_at,
            "host": entry.host,
            "role": entry.role,
        }
    )


TEXTS = ("session_token", "account_id", "credential_scope", "provider", "identity_id")


def _entry(given: object) -> Entry:
    """Return the entry in a document.

    Raises:
        Refused: it is none.
    """
    fields = SecretDict(cast("Mapping[str, Any]", given)) if isinstance(given, dict) else SecretDict()
    times = fields.get("expires_at"), fields.get("loaded_at")
    if (
        not all(isinstance(fields.get(name), str) for name in ("access_key_id", "secret_access_key", "host"))
        or not all(isinstance(fields.get(name), str | None) for name in (*TEXTS, "role"))
        or not all(isinstance(at, int | float) and isfinite(at) for at in times)
    ):
        raise Refused("lacks what an entry has")
    try:
        credentials = Credentials(
            fields["access_key_id"],
            fields["secret_access_key"],
            **{name: fields.get(name) for name in TEXTS},
            expiration=datetime.fromtimestamp(fields["expires_at"], UTC),
            may_outlive_expiry=fields.get("may_outlive_expiry") is True,
        )
    except (ValueError, OverflowError, OSError):
        raise Refused("lacks what an entry has") from None
    return Entry(credentials, float(fields["loaded_at"]), fields["host"], fields.get("role"))
