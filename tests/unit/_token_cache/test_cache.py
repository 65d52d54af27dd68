"""The file that a sign-in is cached in, shared with AWS CLI and the SDKs, and how it is renewed.

================================================  ================================================================
what happens                                      the caller gets
================================================  ================================================================
the token nears its end                           a new one, from 15 minutes before
a renewal fails                                   the old token, as long as it is good; no other attempt for 30 s
OIDC hangs, or the lock is never given up         the old token after 3 s, if it is good for another minute
a refresh token is refused, the token has ended   LoginRequired, not asked again for 1 to 5 s
a person signs in or out meanwhile                what that person did
the file is half-written                          what it holds a moment later
the file cannot be written                        the new token, kept in memory until it can, and a warning
the file cannot be read, or is none               InvalidConfiguration
the machine cannot read it just now               SourceUnavailable
several want a new token at once                  one renewal, in one process or in many
another program renews it without the lock        the other's token
the lock is never given up                        a renewal without it after a minute, and a warning
the caller is cancelled                           CancelledError; the renewal goes on and is written
================================================  ================================================================
"""

# ruff: noqa: ASYNC240 - the tests may block
from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import json
import logging
import os
import threading
import time
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import time_machine

from aiocreds import (
    ClientConfig,
    Context,
    CredentialsError,
    InvalidConfiguration,
    LoginRequired,
    SourceUnavailable,
    from_sso,
)
from aiocreds._base import threads, tracing
from aiocreds._base.time import time_of, utc
from aiocreds._http import session
from aiocreds._token_cache.cache import trace_end
from aiocreds._token_cache.lock import FileLock
from tests.helpers.cancelling import cancel_at
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Hang, Loopback, json_answer
from tests.helpers.scripted import START, others, pass_on, renewing, until, warnings
from tests.helpers.secret_leaks import secret
from tests.helpers.shared_files import APP, COMMAND, cached, lock_of, rewrite, unreadable, write_config
from tests.helpers.sign_in_services import ACCOUNT, OIDC, PORTAL, token_sent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    import aiohttp

    from aiocreds import Provider

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
HERE = ClientConfig(middlewares=[pass_on])  # so that a renewal runs on the loop of who begins it
WINDOW = HOUR - 15 * MINUTE


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture(autouse=True)
def _longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._token_cache.storage.PAUSE", 0.02)


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def file(aws: Loopback, home: Path) -> Path:
    """The sign-in of a person who signed in just now, to a session."""
    write_config(home, APP)
    return aws.sign_in.sso_login(home)


# When it is renewed, and how it is written.


@pytest.mark.parametrize("pattern", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%SUTC", "%Y-%m-%dT%H:%M:%S+00:00"])
async def test_from_15_minutes_before_its_end(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, pattern: str
) -> None:
    ends = aws.sign_in.now() + HOUR
    rewrite(file, expiresAt=ends.strftime(pattern), registrationExpiresAt=ends.strftime(pattern), new={"x": ["ö"]})
    old, provider = cached(file), from_sso("app", context=context)
    clock.shift(WINDOW - timedelta(seconds=1))
    assert await token_sent(provider, aws) == old["accessToken"]
    assert aws.count(OIDC) == 0
    clock.shift(1)
    token = await token_sent(provider, aws)
    assert token != old["accessToken"]
    assert aws.count(OIDC) == 1
    new = cached(file)
    assert new == old | {
        "accessToken": token,
        "expiresAt": "2027-01-15T09:45:00Z",
        "refreshToken": new["refreshToken"],
    }
    assert new["refreshToken"] != old["refreshToken"]
    assert await token_sent(provider, aws) == token
    assert aws.count(OIDC) == 1


async def test_what_is_asked_of_oidc(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    old = cached(file)
    clock.shift(HOUR)
    await from_sso("app", context=context)()
    [seen] = [seen for seen in aws.requests if seen.path == OIDC]
    assert seen.method == "POST"
    assert seen.headers["Content-Type"] == "application/json"
    assert json.loads(seen.body) == {
        "grantType": "refresh_token",
        "clientId": old["clientId"],
        "clientSecret": old["clientSecret"],
        "refreshToken": old["refreshToken"],
    }


async def test_again_and_again(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    """Refresh tokens work once."""
    provider = from_sso("app", context=context)
    tokens = {await token_sent(provider, aws)}
    for count in range(1, 4):
        clock.shift(HOUR + MINUTE)
        tokens.add(await token_sent(provider, aws))
        assert aws.count(OIDC) == count
    assert len(tokens) == 4
    assert cached(file)["accessToken"] in tokens
    assert not warnings(caplog)


async def test_nobody_else_may_read_it(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    file.chmod(0o644)
    clock.shift(HOUR)
    await from_sso("app", context=context)()
    assert file.stat().st_mode & 0o777 == 0o600
    assert lock_of(file).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in file.parent.iterdir()} == {file.name, lock_of(file).name}


@pytest.mark.parametrize("relative", [False, True])
async def test_a_link_stays_one(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, home: Path, relative: bool
) -> None:
    (home / "elsewhere").mkdir()
    target = file.rename(home / "elsewhere" / "token.json")
    file.symlink_to(Path("../../../elsewhere/token.json") if relative else target)
    old = cached(file)
    clock.shift(HOUR)
    token = await token_sent(from_sso("app", context=context), aws)
    assert file.is_symlink()
    assert cached(target)["accessToken"] == token != old["accessToken"]


# When it cannot be renewed.


async def test_a_failed_renewal_is_left_alone_for_a_while(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    aws.always(OIDC, Answer(503))
    provider = from_sso("app", client=ClientConfig(max_attempts=1), context=context)
    clock.shift(WINDOW)
    for later, count in ((0, 1), (29, 1), (2, 2), (29, 2)):
        clock.shift(later)
        assert await token_sent(provider, aws) == cached(file)["accessToken"]
        assert aws.count(OIDC) == count
        assert len(warnings(caplog)) == count
    aws.always(OIDC, None)
    assert await token_sent(provider, aws) == cached(file)["accessToken"]
    assert aws.count(OIDC) == 2
    clock.shift(2)
    await token_sent(provider, aws)
    assert aws.count(OIDC) == 3
    assert cached(file)["expiresAt"] > "2027-01-15T09:00:00Z"


async def test_a_token_that_ends_meanwhile_is_not_left_alone(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    aws.script(OIDC, Answer(503))
    provider = from_sso("app", client=ClientConfig(max_attempts=1), context=context)
    clock.shift(HOUR - timedelta(seconds=1))
    await token_sent(provider, aws)
    clock.shift(1)
    await token_sent(provider, aws)
    assert aws.count(OIDC) == 2


async def test_a_clock_that_was_set_back_does_not_prolong_that(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(timedelta(days=1))
    rewrite(file, expiresAt="2027-01-16T08:10:00Z")
    aws.sign_in.access_tokens[cached(file)["accessToken"]] += timedelta(days=2)
    aws.script(OIDC, Answer(503))
    provider = from_sso("app", client=ClientConfig(max_attempts=1), context=context)
    await token_sent(provider, aws)
    clock.shift(timedelta(days=-1))
    rewrite(file, expiresAt="2027-01-15T08:10:00Z")
    await token_sent(provider, aws)
    assert aws.count(OIDC) == 2


async def test_who_cannot_renew_a_good_token_uses_it_on(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rewrite(file, refreshToken=secret("refresh"))
    clock.shift(WINDOW)
    assert await token_sent(from_sso("app", context=context), aws) == cached(file)["accessToken"]
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert "InvalidGrantException" in record.getMessage()
    assert f"run {COMMAND}" in record.getMessage()


async def test_another_program_was_faster_without_the_lock(
    aws: Loopback, context: Context, file: Path, home: Path, clock: time_machine.Traveller
) -> None:
    """AWS CLI renews and writes between our look at the file and our call, which then finds its token used."""
    clock.shift(HOUR)
    aws.sign_in.registrations[cached(file)["clientId"]].refresh_tokens.clear()

    async def meanwhile(request: aiohttp.ClientRequest, handler: Any) -> Any:
        response = await handler(request)
        if request.url.path == OIDC:
            await asyncio.to_thread(aws.sign_in.sso_login, home)
        return response

    provider = from_sso("app", client=ClientConfig(middlewares=[meanwhile]), context=context)
    assert await token_sent(provider, aws) == cached(file)["accessToken"]
    assert aws.count(OIDC) == 1


async def test_who_has_used_the_refresh_token_may_write_a_moment_later(
    aws: Loopback, context: Context, file: Path, home: Path, clock: time_machine.Traveller
) -> None:
    """As AWS CLI, which takes no lock."""
    clock.shift(HOUR)
    aws.sign_in.registrations[cached(file)["clientId"]].refresh_tokens.clear()
    fetching = asyncio.create_task(token_sent(from_sso("app", context=context), aws))
    await until(lambda: aws.count(OIDC) == 1)
    await asyncio.sleep(0.02)
    assert not fetching.done()
    await asyncio.to_thread(aws.sign_in.sso_login, home)
    assert await fetching == cached(file)["accessToken"]
    assert aws.count(OIDC) == 1


async def test_a_refusal_is_left_alone_until_the_file_changes(
    aws: Loopback, environ: dict[str, str], home: Path, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    aws.sign_in.registrations[cached(file)["clientId"]].refresh_tokens.clear()
    context = Context(environ, home=home)
    errors = [await failure(from_sso("app", context=context), LoginRequired, "InvalidGrant") for _ in range(5)]
    assert aws.count(OIDC) == 1
    assert len(set(map(id, errors))) == 5
    clock.shift(5)
    await failure(from_sso("app", context=context), LoginRequired, "InvalidGrant")
    assert aws.count(OIDC) == 2
    aws.sign_in.sso_login(home)
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


async def test_tokens_that_live_for_less_than_the_window(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    aws.sign_in.token_life = 10 * MINUTE
    provider = from_sso("app", context=context)
    for later, count in ((0, 1), (60, 1), (239, 1), (1, 2), (299, 2)):
        clock.shift(later)
        await token_sent(provider, aws)
        assert aws.count(OIDC) == count


async def test_a_middleware_that_raises_takes_no_good_token_away(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: aiohttp.ClientRequest, handler: Any) -> Any:
        if request.url.path == OIDC:
            raise ValueError
        return await handler(request)

    provider = from_sso("app", client=ClientConfig(middlewares=[fail]), context=context)
    clock.shift(WINDOW)
    assert await token_sent(provider, aws) == cached(file)["accessToken"]
    [warning] = warnings(caplog)
    assert "raised ValueError" in warning
    clock.shift(HOUR)
    error = await failure(
        from_sso("app", client=ClientConfig(middlewares=[fail]), context=context), SourceUnavailable
    )
    assert isinstance(error.__cause__, ValueError)


@pytest.mark.parametrize("life", [300, 9e9, 1e300])
def test_any_end_can_be_written(life: float) -> None:
    assert time_of(utc(START + life, "%Y-%m-%dT%H:%M:%SZ")) == min(START + life, 253402300799)


def test_an_end_in_the_year_1_can_be_told() -> None:
    """Go writes that for no time at all; and between two looks at the clock, time goes on."""
    left = time_of("0001-01-01T00:00:00Z") - START - 0.1
    with tracing.recording(record := tracing.Record("sign-in")):
        trace_end("file", left, START)
    found = [(event.kind, event.place, event.value) for event in record.events]
    assert found == [("ended", "file", "1970-01-01 00:00 UTC")]


# What a person does meanwhile.


def while_oidc_answers(work: Callable[[], object]) -> ClientConfig:
    async def meanwhile(request: aiohttp.ClientRequest, handler: Any) -> Any:
        response = await handler(request)
        if request.url.path == OIDC:
            await asyncio.to_thread(work)
        return response

    return ClientConfig(middlewares=[meanwhile])


@pytest.mark.parametrize("left", [0, 10], ids=["ended", "good"])
async def test_a_person_signs_in_meanwhile(
    aws: Loopback, context: Context, file: Path, home: Path, clock: time_machine.Traveller, left: int
) -> None:
    clock.shift(HOUR - left * MINUTE)
    client = while_oidc_answers(lambda: aws.sign_in.sso_login(home, somebody="else"))
    assert await token_sent(from_sso("app", client=client, context=context), aws) == cached(file)["accessToken"]
    assert cached(file)["somebody"] == "else"
    assert aws.count(OIDC) == 1


async def test_a_new_sign_in_that_is_being_written(
    aws: Loopback, context: Context, file: Path, home: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)

    def work() -> None:
        aws.sign_in.sso_login(home, somebody="else")
        whole = file.read_text()
        file.write_text(whole[:100])
        threading.Timer(0.03, file.write_text, [whole]).start()

    provider = from_sso("app", client=while_oidc_answers(work), context=context)
    assert await token_sent(provider, aws) == cached(file)["accessToken"]
    assert cached(file)["somebody"] == "else"


@pytest.mark.parametrize("left", [0, 10], ids=["ended", "good"])
async def test_a_person_signs_out_meanwhile(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, left: int
) -> None:
    clock.shift(HOUR - left * MINUTE)
    provider = from_sso("app", client=while_oidc_answers(file.unlink), context=context)
    await failure(provider, LoginRequired, f"no readable sign-in in {file}")
    assert {path.suffix for path in file.parent.iterdir()} == {".lock"}


async def test_what_has_ended_meanwhile_is_replaced(
    aws: Loopback, context: Context, file: Path, home: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    client = while_oidc_answers(lambda: rewrite(file, other=True))
    assert await token_sent(from_sso("app", client=client, context=context), aws) == cached(file)["accessToken"]
    assert cached(file)["expiresAt"] == "2027-01-15T10:00:00Z"


# Files on bad days.


async def test_half_written(aws: Loopback, context: Context, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._token_cache.storage.PAUSE", 0.1)
    whole = file.read_text()
    file.write_text(whole[:100])
    waiting = asyncio.create_task(from_sso("app", context=context)())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    file.write_text(whole)
    assert (await waiting).account_id == ACCOUNT


async def test_half_written_under_the_lock(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    whole = file.read_text()
    lock = FileLock(str(lock_of(file)))
    assert await asyncio.to_thread(lock.take)
    waiting = asyncio.create_task(from_sso("app", context=context)())
    await asyncio.sleep(0.1)
    file.write_text(whole[:100])
    lock.release()
    await asyncio.sleep(0.03)
    file.write_text(whole)
    assert (await waiting).account_id == ACCOUNT


DISKS = {
    "full": ("os.fsync", errno.ENOSPC, "no space left on device"),
    "broken": ("os.replace", errno.EIO, "input/output error"),
    "read-only": ("tempfile.mkstemp", errno.EROFS, "read-only file system"),
    "somebody else's": ("tempfile.mkstemp", errno.EACCES, "permission denied"),
}


@pytest.mark.parametrize("disk", DISKS)
async def test_a_file_that_cannot_be_written(
    aws: Loopback,
    context: Context,
    file: Path,
    home: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
    disk: str,
) -> None:
    """The renewed token is used from memory, refresh token included, until the file can be written again."""
    function, number, reason = DISKS[disk]
    before = file.read_bytes()
    provider = from_sso("app", context=context)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, fail)
        for count in (1, 2, 3):
            clock.shift(HOUR)
            token = await token_sent(provider, aws)
            assert await token_sent(provider, aws) == token
            assert await token_sent(from_sso("app", context=context), aws) == token
            assert aws.count(OIDC) == count
            assert len(warnings(caplog)) == count
            assert f"cannot be kept in {file} ({reason})" in warnings(caplog)[-1]
        assert file.read_bytes() == before
        assert not list(file.parent.glob("*.tmp"))
    clock.shift(HOUR)
    assert await token_sent(provider, aws) == cached(file)["accessToken"] != token
    assert aws.count(OIDC) == 4
    assert len(warnings(caplog)) == 3
    file.unlink()
    await failure(from_sso("app", context=context), LoginRequired, f"run {COMMAND}")  # nothing stays in memory


async def test_it_is_written_once_there_is_room(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock.shift(HOUR)
    provider, writes = from_sso("app", context=context), itertools.count(1)

    def full(*args: object) -> None:
        next(writes)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", full)
        token = await token_sent(provider, aws)
        clock.shift(29)
        await token_sent(provider, aws)
        assert next(writes) == 2
        clock.shift(1)
        for _ in range(3):
            assert await token_sent(provider, aws) == token
        assert next(writes) == 4
    assert await token_sent(provider, aws) == token != cached(file)["accessToken"]
    clock.shift(30)
    assert await token_sent(provider, aws) == token == cached(file)["accessToken"]
    assert aws.count(OIDC) == len(warnings(caplog)) == 1


async def test_whatever_fails_the_token_is_kept(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise RecursionError

    clock.shift(HOUR)
    monkeypatch.setattr("aiocreds._token_cache.storage.replace_json", fail)
    provider = from_sso("app", context=context)
    token = await token_sent(provider, aws)
    assert await token_sent(provider, aws) == token != cached(file)["accessToken"]
    [warning] = warnings(caplog)
    assert "(recursionerror)" in warning


async def test_what_a_killed_process_left_is_removed(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    old, young, other = (file.with_name(f"{file.name}.{end}.tmp") for end in ("abc_1234", "abc_1235", "notes"))
    for path in (old, young, other):
        path.write_text(secret())
    for path in (old, other):
        os.utime(path, (0, 0))
    clock.shift(HOUR)
    await from_sso("app", context=context)()
    assert set(file.parent.iterdir()) == {file, lock_of(file), young, other}


async def test_a_new_sign_in_goes_before_what_is_in_memory(
    aws: Loopback,
    context: Context,
    file: Path,
    home: Path,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "replace", fail)
    clock.shift(HOUR)
    provider = from_sso("app", context=context)
    token = await token_sent(provider, aws)
    aws.sign_in.sso_login(home)
    assert await token_sent(provider, aws) == cached(file)["accessToken"] != token
    file.unlink()
    await failure(from_sso("app", context=context), LoginRequired, f"run {COMMAND}")


async def test_a_lock_that_cannot_be_made(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    lock_of(file).mkdir()
    clock.shift(HOUR)
    assert await token_sent(from_sso("app", context=context), aws) == cached(file)["accessToken"]


async def test_a_folder_in_its_place(context: Context, file: Path) -> None:
    file.unlink()
    file.mkdir()
    words = str(file), "cannot be read (no file, but a folder, pipe or device)", "remove it and sign in again"
    await failure(from_sso("app", context=context), InvalidConfiguration, *words)


@pytest.mark.parametrize("what", ["pipe", "device"])
async def test_what_can_never_be_read_to_its_end(
    environ: dict[str, str], home: Path, file: Path, what: str
) -> None:
    file.unlink()
    os.mkfifo(file) if what == "pipe" else file.symlink_to("/dev/zero")
    context = Context(environ, home=home)
    words = str(file), "cannot be read (no file, but a folder, pipe or device)"
    await failure(from_sso("app", context=context), InvalidConfiguration, *words)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE])
async def test_a_machine_in_trouble(
    aws: Loopback, context: Context, file: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    provider, opened = from_sso("app", context=context), os.open
    await provider()

    def fail(path: str, flags: int, *args: Any) -> int:
        if path == str(file):
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *args)

    monkeypatch.setattr(os, "open", fail)
    words = f"{file} cannot be read just now ({os.strerror(number).lower()})"
    await failure(from_sso("app", context=context), SourceUnavailable, words)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
def test_a_lock_of_somebody_else(caplog: pytest.LogCaptureFixture) -> None:
    with TemporaryDirectory() as folder:  # within reach of other users
        path = Path(folder, "lock")
        path.touch(0o600)
        Path(folder).chmod(0o777)
        with unreadable(path):
            for _ in range(2):
                lock = FileLock(str(path))
                assert lock.take()
                lock.release()
    [warning] = warnings(caplog)
    assert f"{path} is not for this user" in warning


async def test_not_for_this_user(aws: Loopback, context: Context) -> None:
    with TemporaryDirectory() as folder:  # within reach of other users
        Path(folder).chmod(0o755)
        (Path(folder) / ".aws").mkdir()
        write_config(Path(folder), APP)
        file = aws.sign_in.sso_login(Path(folder))
        provider = from_sso("app", context=Context(aws.environ, home=folder))
        await provider()  # loads what nobody might not
        words = str(file), "cannot be read (permission denied): let this user read it"
        with unreadable(file), pytest.raises(InvalidConfiguration) as caught:
            await provider.fetch()
        assert all(word in str(caught.value) for word in words), str(caught.value)


async def test_a_file_where_the_folder_should_be(context: Context, file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    file.parent.touch()
    await failure(from_sso("app", context=context), LoginRequired, f"run {COMMAND}")


async def test_a_file_of_a_gigabyte_is_not_read(context: Context, file: Path) -> None:
    os.truncate(file, 2**30)
    await failure(from_sso("app", context=context), LoginRequired, f"run {COMMAND}")


# Several at once.


async def test_one_renewal_for_all_on_a_loop(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    providers = [from_sso("app", context=context) for _ in range(20)]
    await asyncio.gather(*(provider() for provider in providers))
    assert aws.count(OIDC) == 1
    assert aws.count(PORTAL) == 20


@pytest.mark.parametrize("life", [60, 10])
async def test_one_renewal_for_all_contexts(
    aws: Loopback, environ: dict[str, str], home: Path, file: Path, clock: time_machine.Traveller, life: int
) -> None:
    """Also where a token lives for less than the window: who waited for the lock takes what has come meanwhile."""
    clock.shift(HOUR)
    aws.sign_in.token_life = life * MINUTE
    aws.script(OIDC, Answer(503, delay=0.1))
    contexts = [Context(environ, home=home) for _ in range(8)]
    client = ClientConfig(max_attempts=2)
    await asyncio.gather(*(from_sso("app", client=client, context=context)() for context in contexts))
    assert aws.count(OIDC) == 2
    assert cached(file)["accessToken"] in aws.sign_in.access_tokens


@pytest.mark.parametrize("shared", [True, False])
async def test_one_renewal_for_all_threads(
    aws: Loopback, environ: dict[str, str], home: Path, file: Path, clock: time_machine.Traveller, shared: bool
) -> None:
    clock.shift(HOUR)
    context = Context(environ, home=home)
    barrier = threading.Barrier(6)

    def thread() -> str:
        mine = context if shared else Context(environ, home=home)
        barrier.wait()
        return asyncio.run(get(mine))

    async def get(context: Context) -> str:
        return (await from_sso("app", context=context)()).access_key_id

    got = await asyncio.gather(*(asyncio.to_thread(thread) for _ in range(6)))
    assert len(set(got)) == 6
    assert aws.count(OIDC) == 1


async def test_all_hear_of_a_failure(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    aws.always(OIDC, Answer(503, delay=0.05))
    client = ClientConfig(max_attempts=1)
    providers = [from_sso("app", client=client, context=context) for _ in range(5)]
    errors = await asyncio.gather(
        *(failure(provider, SourceUnavailable, "SSO-OIDC", "HTTP 503") for provider in providers)
    )
    assert len(set(map(id, errors))) == 5
    assert aws.count(OIDC) == 1


@asynccontextmanager
async def held(file: Path) -> AsyncGenerator[FileLock]:
    """Somebody holds the lock of a cache file."""
    lock = FileLock(str(lock_of(file)))
    assert await asyncio.to_thread(lock.take)
    try:
        yield lock
    finally:
        lock.release()


async def test_who_waits_for_the_lock_takes_what_its_holder_brought(
    aws: Loopback, context: Context, file: Path, home: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    provider = from_sso("app", context=context)
    async with held(file):
        waiting = asyncio.create_task(provider())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        aws.sign_in.sso_login(home)
    await waiting
    assert aws.requests[-1].headers["x-amz-sso_bearer_token"] == cached(file)["accessToken"]
    assert aws.count(OIDC) == 0


async def test_a_lock_that_is_never_given_up(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiocreds._token_cache.lock.LONGEST_LOCK", 0.2)
    clock.shift(HOUR)
    async with held(file):
        assert await token_sent(from_sso("app", context=context), aws) == cached(file)["accessToken"]
    [warning] = warnings(caplog)
    assert f"{lock_of(file)} has been locked for 0 s" in warning
    assert "look for a process that hangs" in warning


async def test_who_waits_leaves_when_somebody_has_been_faster(
    aws: Loopback, context: Context, file: Path, home: Path, clock: time_machine.Traveller
) -> None:
    """Though the lock is held still, by a process that hangs or by hundreds, one after another."""
    clock.shift(HOUR)
    async with held(file):
        waiting = asyncio.create_task(token_sent(from_sso("app", context=context), aws))
        await asyncio.sleep(0.05)
        aws.sign_in.sso_login(home)
        assert await asyncio.wait_for(waiting, 3) == cached(file)["accessToken"]
    assert aws.count(OIDC) == 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["lock", "OIDC"])
async def test_a_good_token_is_not_withheld(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """The renewal goes on behind."""
    monkeypatch.setattr("aiocreds._token_cache.cache.PATIENCE", 0.2)
    if what == "OIDC":
        aws.script(OIDC, Answer(503, delay=0.5))
    provider, old = from_sso("app", context=context), cached(file)["accessToken"]
    clock.shift(HOUR - timedelta(seconds=61))
    async with held(file) if what == "lock" else nullcontext():
        assert await asyncio.wait_for(token_sent(provider, aws), 5) == old
        before = time.perf_counter()
        assert await asyncio.wait_for(token_sent(provider, aws), 5) == old
        assert time.perf_counter() - before < 0.2  # the next one has no patience left
        assert not is_free(file)
    await until(lambda: cached(file)["accessToken"] != old)
    assert await token_sent(provider, aws) == cached(file)["accessToken"]


async def test_a_token_about_to_end_is_not_used_on(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiocreds._token_cache.cache.PATIENCE", 0.05)
    clock.shift(HOUR - MINUTE)
    old = cached(file)["accessToken"]
    async with held(file):
        fetching = asyncio.create_task(token_sent(from_sso("app", context=context), aws))
        await asyncio.sleep(0.2)
        assert not fetching.done()
    assert await fetching == cached(file)["accessToken"] != old


async def test_a_lock_file_left_behind_is_no_lock(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    lock_of(file).write_text("12345")
    clock.shift(HOUR)
    assert await token_sent(from_sso("app", context=context), aws) == cached(file)["accessToken"]


def test_a_lock_is_given_up_though_a_forked_process_has_the_file_open(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock, other = FileLock(path), FileLock(path)
    assert lock.take()
    [descriptor] = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if os.path.realpath(entry) == path]
    twin = os.dup(descriptor)  # what a child has
    try:
        assert not other.take()
        lock.release()
        assert other.take()
    finally:
        os.close(twin)
        other.release()


def test_a_forked_process_keeps_no_lock(tmp_path: Path) -> None:
    """It would outlive the parent, if that is killed."""
    lock, other = FileLock(str(tmp_path / "lock")), FileLock(str(tmp_path / "lock"))
    assert lock.take()
    child = os.fork()
    if not child:
        held = any(os.path.realpath(entry) == lock.path for entry in Path("/proc/self/fd").iterdir())
        lock.release()  # whoever cleans up there takes nothing from the parent
        os._exit(held)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not other.take()
    lock.release()
    assert other.take()
    other.release()


def test_a_lock_given_up_while_it_is_being_taken(tmp_path: Path) -> None:
    lock, other = FileLock(str(tmp_path / "lock")), FileLock(str(tmp_path / "lock"))
    lock.release()
    lock.take()
    assert other.take()
    other.release()


# Cut short.


def is_free(file: Path) -> bool:
    if not lock_of(file).exists():
        return True
    lock = FileLock(str(lock_of(file)))
    taken = lock.take()
    lock.release()
    return taken


async def cancelled_at(provider: Provider, number: int) -> bool:
    """Cancel the only caller, as `cancel_at` does, and wait for a renewal that goes on."""
    cancelled = await cancel_at(provider, number)
    assert f"aiocreds {provider.name}" not in {task.get_name() for task in others()}
    await until(lambda: not renewing() and all("RequestHandler" in repr(task) for task in others()))
    assert provider.status.failures == 0
    return cancelled


@pytest.mark.parametrize(("client", "least"), [(None, 8), pytest.param(HERE, 15, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_at_any_moment(
    aws: Loopback,
    context: Context,
    file: Path,
    home: Path,
    clock: time_machine.Traveller,
    client: ClientConfig | None,
    least: int,
) -> None:
    clock.shift(HOUR)
    number = renewed = 0
    for number in itertools.count(1):
        aws.requests.clear()
        aws.sign_in.sso_login(home, expiresAt="2027-01-15T08:00:00Z")
        before = cached(file)
        provider = from_sso("app", client=client, context=context)
        if not await cancelled_at(provider, number):
            break
        await until(lambda: is_free(file))
        assert not list(file.parent.glob("*.tmp"))
        assert aws.count(OIDC) <= 1
        if aws.count(OIDC):
            renewed += 1
            assert cached(file) != before  # what the used refresh token brought is kept
            assert cached(file)["refreshToken"] in aws.sign_in.registrations[before["clientId"]].refresh_tokens
        assert (await provider()).account_id == ACCOUNT
        assert aws.count(OIDC) == 1
    assert number > least
    assert renewed > least / 3
    await until(lambda: not aws.open_connections)


@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_while_the_session_closes(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the end of asyncio.run: what the used refresh token brought is in the file by then."""
    clock.shift(HOUR)
    before, close = cached(file), session.close_connector

    async def cancelled(connector: aiohttp.TCPConnector) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name() == "aiocreds token renewal":
            asyncio.get_running_loop().call_soon(task.cancel)
        await close(connector)

    monkeypatch.setattr(session, "close_connector", cancelled)
    caller = asyncio.create_task(from_sso("app", client=HERE, context=context)())
    await asyncio.wait([caller])
    assert aws.count(OIDC) == 1
    assert cached(file)["refreshToken"] != before["refreshToken"]


async def test_cancelled_while_it_waits_for_the_lock(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    async with held(file):
        caller = asyncio.create_task(from_sso("app", context=context)())
        await asyncio.sleep(0.05)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    await until(lambda: aws.count(OIDC) == 1)
    await until(lambda: len(others()) <= 1 and is_free(file))
    assert aws.count(PORTAL) == 0
    assert cached(file)["expiresAt"] == "2027-01-15T10:00:00Z"


async def test_the_others_go_on_when_one_is_cancelled(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    clock.shift(HOUR)
    aws.script(OIDC, Answer(503, delay=0.1))
    callers = [asyncio.create_task(from_sso("app", context=context)()) for _ in range(3)]
    await until(lambda: aws.count(OIDC) == 1)
    callers[0].cancel()
    done = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert [getattr(credentials, "account_id", None) for credentials in done[1:]] == [ACCOUNT, ACCOUNT]


async def test_a_failure_that_nobody_waits_for_any_more(
    aws: Loopback,
    context: Context,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock.shift(HOUR)
    aws.script(OIDC, json_answer({"error": "invalid_grant"}, 400), Answer(503))
    caller = asyncio.create_task(from_sso("app", client=ClientConfig(max_attempts=1), context=context)())
    await until(lambda: aws.count(OIDC) == 1)
    caller.cancel()
    await asyncio.wait([caller])
    await until(lambda: is_free(file) and len(others()) <= 1)
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_the_lock_outlasts_a_write_under_way(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when a program ends in the middle and cancels the renewal itself."""
    clock.shift(HOUR)
    slow, go_on = threading.Event(), threading.Event()

    def fsync(descriptor: int) -> None:
        slow.set()
        go_on.wait(5)

    monkeypatch.setattr(os, "fsync", fsync)
    caller = asyncio.create_task(from_sso("app", client=HERE, context=context)())
    await until(slow.is_set)
    [renewal] = [task for task in others() if task.get_name() == "aiocreds token renewal"]
    renewal.cancel()
    await asyncio.wait([caller])
    await asyncio.sleep(0.05)
    assert not is_free(file)
    go_on.set()
    await until(lambda: is_free(file))
    assert cached(file)["expiresAt"] == "2027-01-15T10:00:00Z"


@pytest.mark.parametrize(("how", "client"), [("ends", None), ("ends", HERE), ("hangs", HERE)])
async def test_a_program_that_ends_in_the_middle(
    aws: Loopback,
    environ: dict[str, str],
    home: Path,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
    how: str,
    client: ClientConfig | None,
) -> None:
    """However far the renewal has come: the file is whole, the lock free, and nothing is printed.

    That which needs nothing of the loop that ended goes on, and is kept.
    """
    clock.shift(HOUR)
    context = Context(environ, home=home)

    async def main(pause: int) -> None:
        caller = asyncio.ensure_future(from_sso("app", client=client, context=context)())
        for _ in range(pause):
            await asyncio.sleep(0)
        if how == "hangs":
            await until(lambda: aws.count(OIDC) == 1)
        caller.cancel()

    for pause in range(0, 60, 3):
        aws.requests.clear()
        if how == "hangs":
            aws.script(OIDC, Hang())
        aws.sign_in.registrations.clear()
        aws.sign_in.sso_login(home, expiresAt="2027-01-15T08:00:00Z")
        await asyncio.to_thread(asyncio.run, main(pause))
        await until(lambda: is_free(file) and not renewing())
        [registration] = [it for it in aws.sign_in.registrations.values() if it.refresh_tokens]
        assert client is HERE or cached(file)["refreshToken"] in registration.refresh_tokens
        assert cached(file)["accessToken"]
        assert not list(file.parent.glob("*.tmp"))
        if how == "hangs" and pause > 6:
            break
    assert not warnings(caplog)
    aws.sign_in.sso_login(home)
    assert (await from_sso("app", context=context)()).account_id == ACCOUNT


async def test_a_token_that_waits_for_a_thread_is_written_though_its_renewal_is_cancelled(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    """The refresh token has been used: the new one must not be dropped with what would write it."""
    clock.shift(HOUR)
    old, free = cached(file), threading.Event()
    started: list[int] = []
    occupied: list[asyncio.Future[bool]] = []

    def occupy() -> bool:
        started.append(1)
        return free.wait(60)

    async def occupy_all_threads(request: aiohttp.ClientRequest, handler: Any) -> Any:
        response = await handler(request)
        if request.url.path == OIDC:
            occupied.extend(threads.submit(occupy) for _ in range(threads.MAX_THREADS))
        return response

    client = ClientConfig(middlewares=[occupy_all_threads])
    caller = asyncio.create_task(from_sso("app", client=client, context=context)())
    jobs: Any = threads._pool._jobs  # pyright: ignore[reportPrivateUsage] - nothing else shows that the write waits
    await until(lambda: len(started) == threads.MAX_THREADS and not jobs.empty())
    [renewal] = [task for task in asyncio.all_tasks() if task.get_name() == "aiocreds token renewal"]
    renewal.cancel()
    await asyncio.wait([renewal])
    del renewal  # with the frame that waited for the write
    gc.collect()
    free.set()
    await until(lambda: cached(file)["refreshToken"] != old["refreshToken"])
    caller.cancel()
    await asyncio.gather(caller, *occupied, return_exceptions=True)


async def test_asyncios_debug_log_shows_no_token(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    clock.shift(WINDOW + MINUTE)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        await from_sso("app", client=HERE, context=context)()
        await asyncio.sleep(0)
    loop.set_debug(False)
    assert aws.count(OIDC) == 1
    lines = [record.getMessage() for record in caplog.records if "token renewal" in record.getMessage()]
    assert "result=****" in lines[-1]  # asyncio shows the ends of whatever a task brings


async def test_a_renewal_that_could_not_begin_is_not_waited_for(
    context: Context, file: Path, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch, aws: Loopback
) -> None:
    """As when a signal's handler raises in between."""
    clock.shift(HOUR)
    provider = from_sso("app", context=context)
    with monkeypatch.context() as patch:
        patch.setattr("aiocreds._token_cache.program_end.install_handlers", Mock(side_effect=MemoryError))
        with pytest.raises(CredentialsError, match="MemoryError"):
            await provider.fetch()
    assert await asyncio.wait_for(token_sent(provider, aws), 5) == cached(file)["accessToken"]


async def test_a_renewal_without_a_loop_leaves_no_coroutine(
    context: Context, file: Path, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with too many open files; Python warns of a coroutine that was made and never awaited."""

    def no_loop() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    clock.shift(HOUR)
    monkeypatch.setattr("asyncio.Runner", no_loop)
    monkeypatch.setattr("aiocreds._token_cache.cache.TokenCache._renewed", made := Mock())
    with pytest.raises(CredentialsError, match="OSError"):
        await from_sso("app", context=context).fetch()
    made.assert_not_called()
