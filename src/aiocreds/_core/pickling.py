"""Pickle a provider as the call that made it, if that holds no secret.

Its credentials are not sent. At the other end the factory is called again with the same arguments, and the new
provider asks its source there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from inspect import signature
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.provider import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Call = tuple[Callable[..., Provider], tuple[Any, ...], dict[str, Any]]

PLAIN = bool, int, float, timedelta, PurePath, type(None)
# Names of arguments, and of keys in them, whose texts are a secret or may hold one. Those of files are none.
SECRET = re.compile(
    r"token$|secret|passw|passphrase|pwd$|(^|_)key$|credentials?$|(^|_)auth|logins|cookie|private|dsn$|command$"
    r"|full_uri|relative_uri|connection_string",
    re.IGNORECASE,
)
NO_SECRET = re.compile("_(file|path|arn|url)$", re.IGNORECASE)
USER_INFO = re.compile("//[^/@]*@")
RECIPE = "in the function that the worker runs, or once a worker (ProcessPoolExecutor(initializer=...))"


def why_not(call: Call | None) -> str:
    """Return why a provider cannot be sent as the call that made it; blank when it can. No argument is shown."""
    return "it was made by no factory" if call is None else next(_reasons_of_call(*call), "")


def refusal(name: str, why_not: str) -> TypeError:
    """Return the error to raise then. Raised here, its traceback would have frames with the arguments."""
    return TypeError(
        "a provider belongs to its process and holds secrets, and this one cannot be sent as the call that made it,"
        f" since {why_not}: make {name} anew there, {RECIPE}"
    )


def make(
    factory: Callable[..., Provider], args: tuple[Any, ...], kwargs: dict[str, Any], expire_after: float | None
) -> Provider:
    """Return a provider by calling its factory again."""
    provider = factory(*args, **kwargs)
    return provider if expire_after is None else provider.expire_after(expire_after)


def _reasons_of_call(
    factory: Callable[..., Provider], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[str]:
    if not is_found(factory):
        yield f"{factory.__qualname__} is not to be found by that name"
    for name, value in signature(factory).bind(*args, **kwargs).arguments.items():
        yield from _reasons(name, value, secret=_names_a_secret(name))


def _reasons(name: str, value: object, *, secret: bool) -> Iterator[str]:
    """Yield why an argument cannot be sent, without showing it."""
    if type(value) is str:
        if secret:
            yield f"its {name} may be a secret"
        elif USER_INFO.search(value):
            yield f"its {name} may hold a password"
    elif isinstance(value, Provider):
        if reason := why_not(value._made_by):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is one of us
            yield f"of its {name}: {reason}"
    elif value is not DEFAULT and not isinstance(value, PLAIN):
        parts = list(_parts(value))
        for part, inner in parts:
            yield from _reasons(name, inner, secret=secret or _names_a_secret(part))
        if not parts and not (callable(value) and is_found(value)) and not _is_empty(value):
            yield f"its {name} is {_kind(value)}"


def _parts(value: object) -> Iterable[tuple[str, object]]:
    """Return the members of a container, with their names, or blanks."""
    if isinstance(value, Mapping):
        return [(str(key), inner) for key, inner in cast("Mapping[object, object]", value).items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [("", inner) for inner in cast("Iterable[object]", value)]
    fields: Mapping[str, object] = getattr(value, "__dataclass_fields__", {})
    return [] if isinstance(value, type) else [(field, getattr(value, field)) for field in fields]


def _is_empty(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple | set | frozenset)


def _kind(value: object) -> str:
    if isinstance(value, Context):
        return "not the default one, and knows an environment of its own"
    if callable(value):
        return "a function that is not to be found by its name, such as a closure or a method"
    return f"a {type(value).__name__}, which may hold a secret"


def _names_a_secret(name: str) -> bool:
    return SECRET.search(name) is not None and NO_SECRET.search(name) is None


def is_found(function: object) -> bool:
    """Return whether `pickle` finds a function by its module and name."""
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for part in getattr(function, "__qualname__", "?").split("."):
        found = getattr(found, part, None)
    return found is function
