"""chain(): who is asked, who wins, and why the others did not."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    Context,
    Credentials,
    Provider,
    chain,
    credential_provider,
    explain,
    from_env,
    from_temporary_credentials,
)
from aiocreds.errors import (
    ChainExhausted,
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
)
from tests.helpers.scripted import START, Source, issue, others, settle, warned

if TYPE_CHECKING:
    import time_machine

HOUR = 3600.0
ADVISORY, MANDATORY, EXPIRED = 3000.0, 3550.0, 3601.0
NOTHING = CredentialsNotFound("nothing here")
DOWN = SourceUnavailable("down")


def absent() -> Source:
    return Source(usual=lambda: NOTHING)


async def test_members_are_asked_in_order_and_the_first_success_wins() -> None:
    first, second, third = absent(), Source(), Source()
    provider = chain(first.provider(), second.provider(), third.provider())
    held = await provider()
    assert await provider() is held
    assert (first.calls, second.calls, third.calls) == (1, 1, 0)


async def test_a_chain_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one provider"):
        chain()


async def test_why_the_others_did_not_is_remembered() -> None:
    other_link = SourceUnavailable("down", try_next_link=True)
    provider = chain(
        absent().provider(name="from_left"),
        Source(other_link).provider(name="from_middle"),
        Source(CredentialsNotFound("not set", provider="from_elsewhere")).provider(name="from_right"),
    )
    with pytest.raises(ChainExhausted) as caught:
        await provider()
    assert [(type(one), str(one)) for one in caught.value.attempts] == [
        (CredentialsNotFound, "from_left: nothing here"),
        (SourceUnavailable, "from_middle: down"),
        (CredentialsNotFound, "from_elsewhere: not set"),
    ]
    for attempt in caught.value.attempts:
        assert str(attempt) in str(caught.value)
    assert caught.value.provider == "chain"


@pytest.mark.parametrize(
    "error",
    [
        CredentialsError("no"),
        InvalidConfiguration("half a key pair"),
        DOWN,
        ServiceRefused("no", code="AccessDenied"),
        LoginRequired("sign in"),
        ValueError("a bug"),
        CredentialsNotFound("not here, and nowhere else", try_next_link=False),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_member_that_is_there_but_fails_stops_the_chain(error: Exception) -> None:
    after = Source()
    provider = chain(absent().provider(), Source(error).provider(name="broken"), after.provider())
    expected = type(error) if isinstance(error, CredentialsError) else SourceUnavailable
    with pytest.raises(expected, match=r"^broken \(after [^)]+\): "):
        await provider()
    assert after.calls == 0


TEXT = "from_right (after from_left, from_middle): down"
NOTE = "Asked before it in the chain:\n  - from_left: nothing here\n  - from_middle: nothing here"


def failing(*after: Source) -> Provider:
    """A chain whose third member fails."""
    third = Source(usual=lambda: DOWN)
    before = absent().provider(name="from_left"), absent().provider(name="from_middle")
    return chain(*before, third.provider(name="from_right"), *after)


async def test_what_came_before_a_failing_link_stands_in_a_note() -> None:
    provider = failing(Source())
    for _ in range(3):  # each waiter has one, once
        with pytest.raises(SourceUnavailable) as caught:
            await provider()
        assert caught.value.__notes__ == [NOTE]
        assert str(caught.value) == TEXT
        assert "".join(traceback.format_exception(caught.value)).endswith(f"{TEXT}\n{NOTE}\n")
    last = provider.status.last_error
    assert last is not None
    assert last.__notes__ == [NOTE]
    copy = pickle.loads(pickle.dumps(last))
    assert (str(copy), copy.__notes__) == (TEXT, [NOTE])
    explanation = await explain(provider)
    assert explanation.error is not None
    assert explanation.error.__notes__ == [NOTE]
    with pytest.raises(SourceUnavailable) as caught:
        await chain(absent().provider(name="from_far"), provider)()
    assert caught.value.__notes__ == [NOTE, "Asked before it in the chain:\n  - from_far: nothing here"]
    assert str(caught.value) == "from_right (after from_far, from_left, from_middle): down"


async def test_a_first_link_that_fails_and_a_winner_that_does_have_no_note(clock: time_machine.Traveller) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        await chain(Source(DOWN).provider(), Source().provider())()
    assert not hasattr(caught.value, "__notes__")
    provider = chain(absent().provider(), Source(issue(HOUR), DOWN).provider())
    await provider()
    clock.shift(MANDATORY)
    await provider()
    assert provider.status.last_error is not None
    assert not hasattr(provider.status.last_error, "__notes__")


async def test_the_log_has_the_note(caplog: pytest.LogCaptureFixture) -> None:
    async with failing():
        await settle()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"No credentials yet: {TEXT}\n{NOTE}"
    ]


class Elsewhere(Exception):
    try_next_link = True


@pytest.mark.parametrize("error", [SourceUnavailable("down", try_next_link=True), Elsewhere("x")], ids=repr)
async def test_an_error_may_let_the_chain_go_on(error: Exception) -> None:
    after = Source()
    await chain(Source(error).provider(), after.provider())()
    assert after.calls == 1


async def test_what_a_member_holds_is_not_used() -> None:
    source = Source()
    member = source.provider()
    old = await member()
    assert await chain(member)() is not old
    assert source.calls == 2


@pytest.mark.parametrize("age", [ADVISORY, MANDATORY])
async def test_a_refresh_asks_the_winner_alone(age: float, clock: time_machine.Traveller) -> None:
    first, second = absent(), Source()
    provider = chain(first.provider(), second.provider())
    held = await provider()
    first.usual = issue  # it has come up since: that changes nothing while this program is who it is
    clock.shift(age)
    await provider()
    await settle()
    assert await provider() is not held
    assert (first.calls, second.calls) == (1, 2)


@pytest.mark.parametrize("how", ["invalidate", "min_ttl", "fetch"])
async def test_every_kind_of_refresh_asks_the_winner_alone(how: str, clock: time_machine.Traveller) -> None:
    first, second = absent(), Source()
    provider = chain(first.provider(), second.provider())
    await provider()
    clock.shift(60)
    if how == "invalidate":
        provider.invalidate()
        await provider()
    elif how == "min_ttl":
        await provider.get(min_ttl=HOUR)
    else:
        await provider.fetch()
    assert (first.calls, second.calls) == (1, 2)


@pytest.mark.parametrize("age", [ADVISORY, MANDATORY])
async def test_a_winner_that_has_gone_is_a_failed_refresh_until_they_have_expired(
    age: float, clock: time_machine.Traveller
) -> None:
    first, second, third = absent(), Source(issue(HOUR), usual=lambda: NOTHING), Source()
    provider = chain(first.provider(), second.provider(), third.provider())
    held = await provider()
    clock.shift(age)
    assert await provider() is held
    await settle()
    assert (first.calls, second.calls, third.calls) == (1, 2, 0)
    assert isinstance(provider.status.last_error, CredentialsNotFound)
    assert provider.status.failures == 1
    clock.move_to(START + EXPIRED)
    assert await provider() is not held
    assert (first.calls, second.calls, third.calls) == (2, 3, 1)
    clock.shift(MANDATORY)
    await provider()
    assert (first.calls, second.calls, third.calls) == (2, 3, 2)


async def test_a_role_that_was_lost_comes_back_to_the_member_that_has_returned(
    clock: time_machine.Traveller,
) -> None:
    first, second = Source(issue(HOUR)), Source()
    provider = chain(first.provider(), second.provider())
    await provider()
    clock.shift(EXPIRED)
    await provider()
    assert (first.calls, second.calls) == (2, 0)


async def test_stamped_credentials_survive_a_walk_that_finds_nothing(clock: time_machine.Traveller) -> None:
    only = Source(issue(HOUR, stamped=True), usual=lambda: NOTHING)
    provider = chain(only.provider())
    held = await provider()
    clock.shift(EXPIRED)
    assert await provider() is held
    assert isinstance(provider.status.last_error, ChainExhausted)


async def test_plain_coroutine_functions_may_be_members() -> None:
    async def vault() -> Credentials:
        raise CredentialsNotFound("sealed")

    class Callable:
        async def __call__(self) -> Credentials:
            raise CredentialsNotFound("mute")

    with pytest.raises(ChainExhausted) as caught:
        await chain(vault, Callable())()
    assert [str(one) for one in caught.value.attempts] == ["vault: sealed", "Callable: mute"]
    source = Source()
    provider = chain(vault, source)
    assert await provider() is await provider()
    assert source.calls == 1


async def test_a_chain_counts_expire_after_itself(clock: time_machine.Traveller) -> None:
    first, second = absent(), Source(usual=lambda: issue(None))
    whole = chain(first.provider(), second.provider())
    provider = whole.expire_after(600)
    assert whole.status == provider.status
    held = await provider()
    assert provider.status.seconds_left == 600
    assert whole.status.successes == 0  # the one it was made from goes its own way
    clock.shift(590)
    assert await provider() is not held  # the winner alone
    assert (first.calls, second.calls) == (1, 2)
    clock.shift(601)
    await provider()  # expired: the whole walk
    assert (first.calls, second.calls) == (2, 3)


async def test_chains_nest() -> None:
    first, second, third = absent(), absent(), Source()
    inner = chain(first.provider(name="first"), second.provider(name="second"))
    provider = chain(inner, third.provider())
    held = await provider()
    provider.invalidate(held)
    assert await provider() is not held
    assert (first.calls, second.calls, third.calls) == (1, 1, 2)
    with pytest.raises(ChainExhausted) as caught:
        await chain(inner)()
    (attempt,) = caught.value.attempts
    assert isinstance(attempt, ChainExhausted)
    assert [str(one) for one in attempt.attempts] == ["first: nothing here", "second: nothing here"]


async def test_rejected_credentials_are_rejected_all_the_way_down(clock: time_machine.Traveller) -> None:
    base_source = Source(usual=lambda: issue(6 * HOUR))
    base = base_source.provider(name="base")
    role = from_role(base)
    provider = chain(absent().provider(), chain(role))
    await provider()
    rejected = await base()
    provider.invalidate(rejected)  # the role's keys are others and stay
    held = await provider()
    assert base_source.calls == 1
    assert await base() is not rejected
    assert base_source.calls == 2
    provider.invalidate(held)
    assert await provider() is not held
    assert base_source.calls == 2
    clock.shift(60)  # sooner, whatever is fetched would be rejected again
    provider.invalidate()
    await provider()
    assert base_source.calls == 3


@credential_provider
async def from_role(source: Provider) -> Credentials:
    """A role, as far as a provider is concerned: it draws from another one."""
    await source.get(min_ttl=60)
    return issue(HOUR)


async def test_a_member_that_gives_the_rejected_keys_again_is_a_failed_refresh() -> None:
    source = Source(usual=lambda: issue(HOUR, key="ASIASAMEKEY"))
    provider = chain(source.provider())
    held = await provider()
    provider.invalidate()
    assert await provider() is held
    assert provider.status.failures == 1


async def test_the_chains_clock_is_that_of_its_first_member(clock: time_machine.Traveller) -> None:
    context = Context(environ={})
    provider = chain(Source().provider(context))
    held = await provider()
    context.clock.learn(MANDATORY)
    assert await provider() is not held


# The log.


@pytest.mark.parametrize("age", [ADVISORY, MANDATORY])
async def test_a_failure_is_told_once_however_deep_it_lies(
    age: float, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(issue(HOUR), DOWN)
    provider = chain(chain(source.provider(name="deep")))
    await provider()
    clock.shift(age)
    await provider()
    await settle()
    assert source.calls == 2
    (record,) = warned(caplog)
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("deep: down. ")


async def test_members_that_have_nothing_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    provider = chain(absent().provider(), Source().provider())
    await provider()
    assert [record.levelno for record in caplog.records if record.levelno > logging.DEBUG] == [logging.INFO]


@pytest.mark.parametrize("age", [5 * HOUR + 1500, 6 * HOUR - 30])
async def test_a_source_that_fails_behind_a_role_that_succeeds_is_told(
    age: float, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    base_source = Source(issue(6 * HOUR), DOWN)
    role = from_role(base_source.provider(name="base"))
    await role()
    clock.shift(age)
    await role()
    await settle()
    assert base_source.calls == 2
    assert role.status.last_error is None
    (record,) = warned(caplog)
    assert record.getMessage().startswith("base: down. ")


async def test_a_chain_leaves_no_tasks_behind() -> None:
    provider = chain(absent().provider(), Source().provider())
    async with provider:
        await provider()
        await settle()
    assert not others()


@credential_provider
async def own(path: str = "x") -> Credentials:
    return issue()


def a_role(source: Any) -> Provider:
    return from_temporary_credentials(role_arn="arn:aws:iam::123456789012:role/x", source=source)


@pytest.mark.parametrize("take", [chain, explain, a_role], ids=["chain", "explain", "source="])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (from_env, r"takes providers: write from_env\(\), not from_env"),
        (own, r"takes providers: write own\(\), not own"),
        (issue(), "takes a provider or an async function, not Credentials"),
        ("from_env", "takes a provider or an async function, not str"),
    ],
    ids=["ours", "of one's own", "credentials", "name"],
)
async def test_what_is_no_provider_is_refused_at_once(take: Any, wrong: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        await take(wrong)  # only explain() is to be awaited, and none gets so far
