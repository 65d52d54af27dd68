"""Factories of providers: ``@credential_provider``, and providers of plain async functions.

A factory stores the call that made a provider with it, so that the provider can be pickled (see ``pickling.py``).
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, cast
from weakref import WeakValueDictionary

from aiocreds._core.context import DEFAULT, Context, check_context
from aiocreds._core.provider import Provider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds.credentials import Credentials

P = ParamSpec("P")
KEPT = "_aiocreds_provider"  # attribute of a function
# The providers of async functions, by the identity of function and context, which a provider keeps alive.
_of_functions: WeakValueDictionary[tuple[object, ...], Provider] = WeakValueDictionary()


def credential_provider(source: Callable[P, Awaitable[Credentials]]) -> Callable[P, Provider]:
    """Return a factory of providers for a coroutine function that gets credentials.

    ::

        @credential_provider
        async def from_vault(path: str) -> Credentials: ...

        provider = from_vault("aws/creds/app")

    The factory has the signature of the function and checks its arguments at once. Inside it, raise
    ``CredentialsNotFound("why")`` to let a chain go on, any other error to stop it. An argument ``context``
    gives the provider its :class:`Context`; arguments that are providers are reached by ``invalidate``.

    Raises:
        TypeError: ``source`` is not a coroutine function.
    """
    if not inspect.iscoroutinefunction(source):
        raise TypeError(f"@credential_provider needs an `async def`, not {source!r}")
    signature = inspect.signature(source)

    @functools.wraps(source)
    def factory(*args: P.args, **kwargs: P.kwargs) -> Provider:
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError:
            source(*args, **kwargs).close()  # raises the same in Python's own words, which name the function
            raise
        context: Any = arguments.get("context", DEFAULT)
        if not isinstance(context, Context) and not source.__module__.startswith("aiocreds."):
            context = DEFAULT  # in a source of the program, the argument may mean anything
        provider = Provider(
            functools.partial(source, *args, **kwargs),
            name=source.__name__,
            context=context,
            inner=tuple(value for value in arguments.values() if isinstance(value, Provider)),
        )
        _store_call(provider, factory, args, kwargs)
        return provider

    factory.__signature__ = signature.replace(return_annotation="Provider")  # type: ignore[attr-defined]  # for help()
    return factory


def picklable(factory: Callable[P, Provider]) -> Callable[P, Provider]:
    """Store with each provider that a factory returns the call that made it, so that it can be pickled."""

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> Provider:
        provider = factory(*args, **kwargs)
        _store_call(provider, make, args, kwargs)
        return provider

    return make


def as_provider(
    source: Provider | Callable[[], Awaitable[Credentials]], *, taker: str, context: Context = DEFAULT
) -> Provider:
    """Return the provider that a program passes, or the one of the async function that it passes instead.

    A function that is passed several times has one provider in each context, so that all share what it returns.

    Args:
        source: either of them.
        taker: what it is passed to, for messages.
        context: of a provider that is made here.

    Raises:
        TypeError: it is neither: a factory that was not called, for one, or what an async function returned; or
            ``context`` is none.
    """
    check_context(context, taker)
    if isinstance(source, Provider):
        return source
    method = source if isinstance(source, MethodType) else None  # made anew by each look-up of the attribute
    key = (id(method.__self__), method.__func__, id(context)) if method else (id(source), id(context))
    known = _of_functions.get(key)
    if known is None:
        _check_source(source, taker)
        name: Any = getattr(source, "__name__", type(source).__name__)
        provider = Provider(source, name=name, context=context)
        _store_call(provider, as_provider, (source,), {"taker": taker, "context": context})
        known = _of_functions.setdefault(key, provider)  # another thread may be faster
    if isinstance(source, FunctionType):
        source.__dict__[KEPT] = _Kept(known)
    return known


class _Kept:
    """The latest provider of a function, which lives as long as that. Pickles without it."""

    __slots__ = ("_provider",)

    def __init__(self, provider: Provider | None = None) -> None:
        self._provider = provider

    def __reduce__(self) -> tuple[Any, ...]:
        return _Kept, ()


def _check_source(source: Callable[[], Awaitable[Credentials]], taker: str) -> None:
    """Raise TypeError for what is no async function without arguments, and say what to pass instead."""
    name = getattr(source, "__name__", type(source).__name__)
    given: Any = source
    if inspect.iscoroutine(given):
        given.close()  # Python would warn that nobody awaited it
        if name == "__call__":
            raise TypeError(f"{taker} takes the provider itself: write provider, not provider()")
        raise TypeError(f"{taker} takes the async function itself: write {name}, not {name}()")
    signature = getattr(source, "__signature__", None)  # as credential_provider leaves it
    if getattr(source, "__module__", "").startswith("aiocreds.sources.") or (
        isinstance(signature, inspect.Signature) and signature.return_annotation == "Provider"
    ):
        raise TypeError(f"{taker} takes providers: write {name}(), not {name}")
    if not callable(source):
        raise TypeError(f"{taker} takes a provider or an async function, not {name}")
    if wanted := required_arguments(source):
        raise TypeError(
            f"{taker} calls {name} without arguments, and it wants {', '.join(wanted)}: make it a factory with"
            f" @credential_provider and pass {name}(…)"
        )


def required_arguments(function: Callable[..., object]) -> list[str]:
    """Return the names of the arguments that a function cannot be called without."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # nothing that can be called, or written in C
        return []
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [it.name for it in parameters if it.default is it.empty and it.kind not in several]


def _store_call(
    provider: Provider, factory: Callable[..., Provider], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    provider._made_by = factory, args, kwargs  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - its other half


def plain(factory: Callable[P, Provider]) -> Callable[P, Awaitable[Credentials]]:
    """Return the coroutine function that ``@credential_provider`` made a factory of."""
    decorated: Any = factory
    return cast("Callable[P, Awaitable[Credentials]]", decorated.__wrapped__)
