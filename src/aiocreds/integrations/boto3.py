"""boto3 and botocore: every client of a session signs with a provider's current credentials.

For programs that live in both worlds, and share one provider between them::

    session = attach(boto3.Session(), provider)
    s3 = session.client("s3", region_name="eu-central-1")
    s3.list_buckets()

Refreshes run on one event loop in the background, in a daemon thread that starts when it is first needed, one a
process (a forked child starts its own). Install with ``pip install 'aiocreds[boto3]'``.
"""

from __future__ import annotations

import copyreg
import inspect
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiocreds._core.decorator import as_provider
from aiocreds.integrations import _background, _botocore
from aiocreds.integrations._botocore import Frozen
from aiocreds.integrations._extras import require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds._core.provider import Provider
    from aiocreds.credentials import Credentials


require("botocore", "boto3")


class _BotocoreSession(_botocore.Session, Protocol):
    def get_credentials(self) -> Any: ...


class _Boto3Session(Protocol):
    def client(self, service_name: Any) -> Any: ...
    def get_credentials(self) -> Any: ...


S = TypeVar("S", bound="_BotocoreSession | _Boto3Session")


def attach(session: S, provider: Provider | Callable[[], Awaitable[Credentials]]) -> S:
    """Make all clients and resources that are created from ``session`` use ``provider``.

    Each request is signed with what the provider gives at that moment, so a client may live for days. When a
    service answers ``ExpiredToken``, ``ExpiredTokenException``, ``RequestExpired`` or ``InvalidToken``, the
    credentials that signed that request are invalidated, and no others. What the provider raises reaches who
    calls the client, as it is.

    The session goes to workers of ``multiprocessing`` and the like, pickled, if the provider does. Its region,
    profile and other variables and the default configuration of its clients go along; handlers that the program has
    registered do not.

    Safe from any thread. Credentials that are held cost no change of threads, and a refresh ahead of their expiry
    runs behind the callers. A thread waits only for the first load, in the last minute, and after an
    invalidation; one that runs an event loop blocks it meanwhile, as it does for the answer of the service. So a
    source that needs that very loop, or a person who is being asked on it for an MFA code, does not fit: call boto3
    in a thread then (``asyncio.to_thread``).

    Args:
        session: a ``boto3.Session`` or a ``botocore.session.Session`` that has no credentials yet: none were
            passed to it, and no client has been created from it. To give them to ``boto3.client(…)`` as well:
            ``boto3.setup_default_session(botocore_session=attach(botocore.session.get_session(), provider))``.
        provider: where credentials come from; programs on asyncio may use it, too. Or any
            ``async () -> Credentials``, of which a provider is made.

    Returns:
        The same session.

    Raises:
        ValueError: the session has credentials already.
        TypeError: it is no session of boto3 or botocore, or ``provider`` is none.
    """
    provider = as_provider(provider, taker="attach()")
    inner = _botocore_session(session)
    credentials = _SessionCredentials(provider)
    inner.register_component("credential_provider", _Resolver(credentials))
    if inner.get_credentials() is not credentials:
        raise ValueError("this session has credentials already, and would go on with them: attach to a new one")
    _botocore.watch_rejections(inner, provider)
    _botocore.make_picklable(inner, provider, attach)
    if inner is not session:
        copyreg.pickle(type(session), _reduce)
    return session


def _reduce(session: Any) -> Any:
    inner = _botocore_session(session)
    return (_rebuild, (type(session), inner)) if _botocore.is_attached(inner) else session.__reduce_ex__(4)


def _rebuild(kind: type[Any], inner: Any) -> Any:
    return kind(botocore_session=inner)


def _botocore_session(session: Any) -> _BotocoreSession:
    # A boto3.Session keeps its botocore session in this attribute, and has no public one.
    inner: Any = getattr(session, "_session", session)
    load: Any = getattr(inner, "get_credentials", None)
    if not hasattr(inner, "register_component") or load is None or inspect.iscoroutinefunction(load):
        raise TypeError(
            f"attach() takes a boto3.Session or a botocore.session.Session, not {type(session).__qualname__}; "
            "those on asyncio have aiocreds.integrations.aiobotocore"
        )
    return inner  # type: ignore[no-any-return]  # what has these two is one


class _Resolver:
    """The credential resolver of a session."""

    def __init__(self, credentials: _SessionCredentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> _SessionCredentials:
        return self._credentials


class _SessionCredentials:
    """The credentials object of a session and its clients.

    Has what botocore's own refreshable credentials have. As there, reading an attribute may wait for a refresh,
    and two that are read one after the other may belong to different keys.
    """

    method = "aiocreds"

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def get_frozen_credentials(self) -> Frozen:
        return Frozen.of(_background.current(self._provider))

    @property
    def access_key(self) -> str:
        return self.get_frozen_credentials().access_key

    @property
    def secret_key(self) -> str:
        return self.get_frozen_credentials().secret_key

    @property
    def token(self) -> str | None:
        return self.get_frozen_credentials().token

    @property
    def account_id(self) -> str | None:
        return self.get_frozen_credentials().account_id

    def get_deferred_property(self, property_name: str) -> Callable[[], str | None]:
        def get() -> str | None:
            value: str | None = getattr(self.get_frozen_credentials(), property_name)
            return value

        return get
