"""@credential_provider: a coroutine function becomes a factory of providers."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from aiocreds import (
    Context,
    Credentials,
    Provider,
    credential_provider,
    from_cognito_identity_pool,
    from_web_token,
)
from aiocreds.errors import CredentialsError, CredentialsNotFound, LoginRequired, SourceUnavailable
from tests.helpers.scripted import Source, issue
from tests.helpers.secret_leaks import MARK, secret


@credential_provider
async def from_vault(path: str, *, shard: int = 0, context: Context | None = None) -> Credentials:
    """Ask the vault."""
    if path == "missing":
        raise CredentialsNotFound(f"nothing at {path}")
    if path == "foreign":
        raise ZeroDivisionError(secret())
    if path == "named":
        raise LoginRequired("sign in", provider="the vault")
    return Credentials(f"AKIDVAULT{path}{shard}", secret())


async def test_it_makes_providers_that_call_it_with_their_arguments() -> None:
    provider = from_vault("app", shard=7)
    assert isinstance(provider, Provider)
    assert (await provider()).access_key_id == "AKIDVAULTapp7"
    assert from_vault("app") is not from_vault("app")


def test_signature_name_and_text_are_kept() -> None:
    function: Any = from_vault
    assert str(inspect.signature(function)).startswith("(path: 'str', *, shard: 'int' = 0, context:")
    assert (function.__name__, function.__doc__) == ("from_vault", "Ask the vault.")
    assert from_vault("app").name == "from_vault"


@pytest.mark.parametrize(
    ("positional", "keywords"),
    [((), {}), (("app", 7), {}), (("app",), {"shrad": 7}), (("app",), {"path": "app"})],
)
def test_wrong_arguments_fail_right_there(positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        from_vault(*positional, **keywords)


def plain() -> Credentials:
    return issue()


async def generator() -> Any:
    yield issue()


@pytest.mark.parametrize("source", [plain, generator, issue(), lambda: asyncio.sleep(0)])
def test_anything_but_a_coroutine_function_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="needs an `async def`") as caught:
        credential_provider(source)
    assert MARK not in str(caught.value)


async def test_its_context_is_the_providers() -> None:
    context = Context(environ={})
    provider = from_vault("app", context=context)
    context.clock.learn(10**6)
    await provider()
    loaded_at = provider.status.loaded_at
    assert loaded_at is not None
    plain = from_vault("app")
    await plain()
    assert plain.status.loaded_at is not None
    assert (loaded_at - plain.status.loaded_at).total_seconds() == pytest.approx(10**6, abs=60)


async def test_an_error_names_the_source() -> None:
    with pytest.raises(CredentialsNotFound) as caught:
        await from_vault("missing")()
    assert caught.value.provider == "from_vault"
    assert str(caught.value) == "from_vault: nothing at missing"


async def test_an_error_that_names_its_provider_keeps_it() -> None:
    with pytest.raises(LoginRequired, match=r"^the vault: sign in$"):
        await from_vault("named")()


async def test_the_very_error_a_source_raises_is_not_touched() -> None:
    error = CredentialsNotFound("nothing")

    @credential_provider
    async def from_x() -> Credentials:
        raise error

    with pytest.raises(CredentialsNotFound, match=r"^from_x: nothing$") as caught:
        await from_x()()
    assert caught.value is not error
    assert error.provider is None


@pytest.mark.shows_secrets("exception", because="the cause is the user's own")
async def test_a_foreign_exception_becomes_one_of_ours_and_keeps_its_cause() -> None:
    with pytest.raises(CredentialsError) as caught:
        await from_vault("foreign")()
    assert type(caught.value) is SourceUnavailable
    place = rf"{re.escape(Path(__file__).name)}:\d+ in from_vault"
    assert re.fullmatch(
        rf"from_vault: raised ZeroDivisionError at {place}; that is a mistake in the program, which no retry can"
        r" mend; the log at level DEBUG \(--debug of the command\) has its traceback",
        str(caught.value),
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not caught.value.try_next_link


class Panic(BaseException):
    """An exception of extension modules that give up."""


async def test_an_exception_beside_the_usual_tree_becomes_one_of_ours_too() -> None:
    source = Source(Panic())
    with pytest.raises(SourceUnavailable, match="raised Panic"):
        await source.provider()()
    assert source.finished == 1


async def test_providers_among_the_arguments_are_reached_by_invalidate() -> None:
    @credential_provider
    async def from_role(base: Provider, /, *rest: str, **more: Any) -> Credentials:
        await base()
        return issue()

    base = Source().provider()
    role = from_role(base, "x", other=1)
    await role()
    held = await base()
    role.invalidate(held)
    assert await base() is not held


def test_a_wrong_call_is_told_in_pythons_own_words() -> None:
    with pytest.raises(TypeError, match=r"from_web_token\(\) takes 0 positional arguments but 2 were given"):
        from_web_token("arn", "token")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(
        TypeError, match=r"from_cognito_identity_pool\(\) got an unexpected keyword argument 'pool'"
    ):
        from_cognito_identity_pool(pool="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
