"""The part that aiobotocore and boto3 share through botocore: frozen keys, rejections, pickling."""

from __future__ import annotations

import copyreg
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from aiocreds._aws.service_errors import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials

USER_INFO = re.compile("//[^/@]*@")
USER_AGENT = "user_agent_name", "user_agent_version", "user_agent_extra"
SIGNED_WITH = "aiocreds_access_key_id"
SIGNER = re.compile(r"AWS4-\S+ Credential=([^/]+)/|AWS ([^:]+):")  # the second is what S3 had before SigV4


_attached: WeakKeyDictionary[Any, tuple[Provider, Callable[..., Any]]] = WeakKeyDictionary()


class Session(Protocol):
    """The methods of a session of botocore or aiobotocore that `attach` uses."""

    def register_component(self, name: str, component: Any) -> None: ...
    def register(self, event_name: str, handler: Any) -> None: ...


class Frozen(NamedTuple):
    """The credentials that a botocore signer reads."""

    access_key: str
    secret_key: str
    token: str | None
    account_id: str | None

    def __repr__(self) -> str:
        return "Frozen()"

    @classmethod
    def of(cls, credentials: Credentials) -> Frozen:
        """Return these credentials."""
        return cls(
            credentials.access_key_id,
            credentials.secret_access_key,
            credentials.session_token,
            credentials.account_id,
        )


def watch_rejections(session: Session, provider: Provider) -> None:
    """Invalidate credentials that a service rejects, for all clients created from now on."""
    session.register("request-created", _note_signer)
    session.register("response-received", _Rejections(provider).note)


def make_picklable(session: Any, provider: Provider, attach: Callable[..., Any]) -> None:
    """Make a session of botocore picklable.

    The pickle has its profile, region and other variables, the default configuration of its clients, and its
    provider; not the handlers that a program has registered.
    """
    _attached[session] = provider, attach
    copyreg.pickle(session.__class__, _reduce)


def is_attached(session: Any) -> bool:
    """Return whether a provider is attached to a session."""
    return session in _attached


def _reduce(session: Any) -> Any:
    if session not in _attached:
        return session.__reduce_ex__(4)
    provider, attach = _attached[session]
    names = [name for name in USER_AGENT if hasattr(session, name)]
    agent = {name: getattr(session, name) for name in names}
    config, variables = session.get_default_client_config(), session.instance_variables()
    if any(USER_INFO.search(str(said)) for said in (*variables.values(), getattr(config, "proxies", None))):
        raise TypeError("a URL in the configuration of this session may hold a password: make and attach one there")
    return _rebuild, (type(session), variables, agent, config, attach, provider)


def _rebuild(
    kind: type[Any],
    variables: dict[str, Any],
    agent: dict[str, Any],
    config: Any,
    attach: Callable[..., Any],
    provider: Provider,
) -> Any:
    session = kind()
    for name, value in variables.items():
        session.set_config_variable(name, value)
    for name, value in agent.items():
        setattr(session, name, value)
    if config is not None:
        session.set_default_client_config(config)
    return attach(session, provider)


class _Rejections:
    """Invalidates the credentials of a request that a service rejects."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def note(self, parsed_response: Mapping[str, Any] | None, context: Mapping[str, Any], **_: object) -> None:
        error: Mapping[str, Any] = (parsed_response or {}).get("Error") or {}
        access_key_id = context.get(SIGNED_WITH)
        if access_key_id and error.get("Code") in EXPIRED:
            self._provider.invalidate(access_key_id)


def _note_signer(request: Any, **_: object) -> None:
    """Keep the access key id of each signed attempt for the handler of its response."""
    authorization = request.headers.get("Authorization", "")
    if isinstance(authorization, bytes):
        authorization = authorization.decode("latin-1")
    signer = SIGNER.match(authorization)
    request.context[SIGNED_WITH] = signer and (signer[1] or signer[2])
