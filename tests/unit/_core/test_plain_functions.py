"""A plain async function that is passed many times is one source: it has one provider, and is called once."""

from __future__ import annotations

import asyncio
import functools
import gc
import pickle
import weakref
from typing import TYPE_CHECKING, Any

from aiocreds import Context, Credentials, from_temporary_credentials
from aiocreds._core.decorator import as_provider
from tests.helpers.scripted import issue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiocreds import Provider
    from tests.helpers.loopback_aws import Loopback

ROLE_ARN = "arn:aws:iam::123456789012:role/app"


def wrapped(source: Callable[[], Awaitable[Credentials]], context: Context | None = None) -> Provider:
    return as_provider(source, taker="source=", **({} if context is None else {"context": context}))


class Vault:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def get(self) -> Credentials:
        self.calls += 1
        return issue()

    async def other(self) -> Credentials:
        return issue()


class Issuer:
    """A source that is an object."""

    calls = 0

    async def __call__(self) -> Credentials:
        self.calls += 1
        return issue()


async def of_this_module() -> Credentials:
    return issue()


async def test_a_hundred_roles_at_once_call_it_once(aws: Loopback) -> None:
    vault = Vault()
    context = Context({**aws.environ, "AWS_REGION": "eu-central-1"})

    async def source() -> Credentials:
        return await vault.get()

    async with context:
        roles = [from_temporary_credentials(role_arn=ROLE_ARN, source=source, context=context) for _ in range(100)]
        await asyncio.gather(*(role() for role in roles))
    assert vault.calls == 1


async def test_one_after_another_that_is_dropped_calls_it_once() -> None:
    vault = Vault()

    async def source() -> Credentials:
        return await vault.get()

    for context in (None, Context({})):
        vault.calls = 0
        for _ in range(1000):
            await wrapped(source, context)()
        assert vault.calls == 1


async def test_methods_and_callables_that_are_in_use_are_called_once() -> None:
    vault, thing = Vault(), Issuer()
    kept = [wrapped(vault.get), wrapped(thing)]
    for _ in range(10):
        await wrapped(vault.get)()
        await wrapped(thing)()
    assert (vault.calls, thing.calls) == (1, 1)
    assert kept == [wrapped(vault.get), wrapped(thing)]


def test_others_have_their_own() -> None:
    vault, contexts = Vault(), [Context({}), Context({})]
    partials = [functools.partial(vault.get), functools.partial(vault.get)]
    sources: list[Any] = [of_this_module, vault.get, vault.other, Vault().get, *partials, Issuer(), Issuer()]
    made = [wrapped(source) for source in sources] + [wrapped(of_this_module, context) for context in contexts]
    assert len({id(one) for one in made}) == len(made)


async def test_a_wrapper_that_copies_the_attributes_of_a_function_is_another_source() -> None:
    first = wrapped(of_this_module)

    @functools.wraps(of_this_module)
    async def wrapper() -> Credentials:
        return await of_this_module()

    assert wrapped(wrapper) is not first
    assert wrapped(of_this_module) is first


def test_it_goes_with_the_function_and_the_context() -> None:
    async def source() -> Credentials:
        return issue()

    context = Context({"A": "B"})
    gone = weakref.ref(wrapped(source, context))
    assert gone() is not None
    del source
    gc.collect()
    assert gone() is None
    vault = Vault()
    gone = weakref.ref(wrapped(vault.get))
    assert gone() is None, "at once"


def test_what_a_function_keeps_can_be_sent_by_value() -> None:
    """As cloudpickle does with functions of ``__main__``: their attributes go with them."""
    wrapped(of_this_module)
    [name] = (name for name in vars(of_this_module) if "aiocreds" in name)
    sent: Any = pickle.loads(pickle.dumps(vars(of_this_module)[name]))
    assert sent._provider is None
