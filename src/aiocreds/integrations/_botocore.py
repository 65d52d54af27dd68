"""What aiobotocore and boto3 have in common, being botocore both: how keys are read, and how rejections arrive."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from aiocreds.aws.refusals import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds.credentials import Credentials
    from aiocreds.provider import Provider

SIGNED_WITH = "aiocreds_access_key_id"
SIGNER = re.compile(r"AWS4-\S+ Credential=([^/]+)/|AWS ([^:]+):")  # the second is what S3 had before SigV4


class Session(Protocol):
    """What `attach` needs of a botocore session, and of aiobotocore's."""

    def register_component(self, name: str, component: Any) -> None: ...
    def register(self, event_name: str, handler: Any) -> None: ...


class Frozen(NamedTuple):
    """What a botocore signer reads."""

    access_key: str
    secret_key: str
    token: str | None
    account_id: str | None

    def __repr__(self) -> str:
        return "Frozen()"

    @classmethod
    def of(cls, credentials: Credentials) -> Frozen:
        """These credentials."""
        return cls(
            credentials.access_key_id,
            credentials.secret_access_key,
            credentials.session_token,
            credentials.account_id,
        )


def watch_rejections(session: Session, provider: Provider) -> None:
    """Have rejected credentials invalidated, for all clients that are created from now on."""
    session.register("request-created", _note_signer)
    session.register("response-received", _Rejections(provider).note)


class _Rejections:
    """Takes note when a service rejects the credentials of a request."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def note(self, parsed_response: Mapping[str, Any] | None, context: Mapping[str, Any], **_: object) -> None:
        error: Mapping[str, Any] = (parsed_response or {}).get("Error") or {}
        access_key_id = context.get(SIGNED_WITH)
        if access_key_id and error.get("Code") in EXPIRED:
            self._provider.invalidate(access_key_id)


def _note_signer(request: Any, **_: object) -> None:
    """After signing, at each attempt: keep the access key id where the handler of the answer finds it."""
    authorization = request.headers.get("Authorization", "")
    if isinstance(authorization, bytes):
        authorization = authorization.decode("latin-1")
    signer = SIGNER.match(authorization)
    request.context[SIGNED_WITH] = signer and (signer[1] or signer[2])
