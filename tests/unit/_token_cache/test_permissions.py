"""The files of a sign-in, where other users of the machine can get at them.

==================================================  ==============================================================
what lies there                                     what becomes of it
==================================================  ==============================================================
a cached file that others may read                  it is used, with one warning; 0600 once it has been renewed
a cached file that is a link                        it is used, with one warning; what it leads to is replaced
a folder on the way that is a link                  nothing is said: people link ``~/.aws`` on purpose
a folder of another user                            nothing is written; the renewed token is used from memory
a folder that anybody may write in                  one warning
a lock that is a link                               it is not opened; one warning
what AWS CLI leaves                                 nothing is said
==================================================  ==============================================================
"""

# ruff: noqa: ASYNC240 - the tests may block
from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import time_machine

from aiocreds import explain, from_login, from_sso
from aiocreds._token_cache import storage
from aiocreds._token_cache.lock import FileLock
from aiocreds._token_cache.storage import ForeignFolder
from tests.helpers.scripted import START
from tests.helpers.sign_in_services import LOGIN_SESSION, OIDC, SIGN_IN
from tests.unit._token_cache.test_cache import lock_of, sent
from tests.unit.sources.test_sso import APP, HOUR, cached, warnings, write_config

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from aiocreds import Context, Provider
    from tests.helpers.loopback_aws import Loopback

pwd = pytest.importorskip("pwd", reason="Windows keeps the folders of users apart by itself")
NOBODY = 65534


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def file(aws: Loopback, home: Path) -> Path:
    """The sign-in of a person who signed in just now, to a session."""
    write_config(home, APP)
    return aws.sign_in.sso_login(home)


@contextmanager
def of_another_user(*paths: Path) -> Generator[str]:
    """These files and folders belong to somebody else meanwhile, or seem to, where we cannot give them away."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)
        yield str(pwd.getpwuid(NOBODY).pw_name)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: NOBODY)
            yield str(pwd.getpwuid(paths[0].stat().st_uid).pw_name)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# Files that others may read.


async def test_what_aws_cli_leaves_is_fine(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    provider = from_sso("app", context=context)
    await provider()
    clock.shift(HOUR)
    await provider.fetch()
    assert aws.count(OIDC) == 1
    assert not warnings(caplog)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o644, 0o620, 0o666, 0o777], ids=oct)
async def test_a_file_that_others_may_read(
    context: Context, file: Path, caplog: pytest.LogCaptureFixture, bits: int
) -> None:
    file.chmod(bits)
    for _ in range(3):
        await from_sso("app", context=context)()
    [warning] = warnings(caplog)
    assert warning == f"{file} is open to other users (mode {bits:04o}): run chmod 600 {file}"
    [record] = [record for record in caplog.records if record.getMessage() == warning]
    assert record.name == "aiocreds.token_cache"


async def test_nobody_else_may_read_what_is_written(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    file.chmod(0o644)
    clock.shift(HOUR)
    before = os.umask(0)
    try:
        await from_sso("app", context=context)()
    finally:
        os.umask(before)
    assert aws.count(OIDC) == 1
    assert mode(file) == mode(lock_of(file)) == 0o600
    assert len(warnings(caplog)) == 1


async def test_a_login_that_others_may_read(
    aws: Loopback, context: Context, home: Path, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    (home / ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\n")
    file = aws.sign_in.login(home)
    file.chmod(0o640)
    provider = from_login("me", context=context)
    await provider()
    clock.shift(HOUR)
    await provider.fetch()
    assert aws.count(SIGN_IN) == 1
    assert mode(file) == 0o600
    assert warnings(caplog) == [f"{file} is open to other users (mode 0640): run chmod 600 {file}"]


# Links.


async def test_a_file_that_is_a_link(
    aws: Loopback,
    context: Context,
    file: Path,
    tmp_path: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(target)
    provider = from_sso("app", context=context)
    await provider()
    clock.shift(HOUR)
    await provider.fetch()
    assert file.is_symlink()
    assert provider.status.failures == 0
    [warning] = warnings(caplog)
    assert f"{file} is a link to {str(target)!r}: whoever may change that file chooses the sign-in" in warning
    assert mode(target) == 0o600


async def test_a_link_to_a_file_of_another_user(
    aws: Loopback,
    context: Context,
    file: Path,
    tmp_path: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "theirs").mkdir()
    target = file.rename(tmp_path / "theirs" / "token.json")
    file.symlink_to(target)
    before = target.read_bytes()
    provider = from_sso("app", context=context)
    with of_another_user(target, target.parent) as owner:
        await provider()
        assert f"{str(target)!r}, which belongs to {owner}: whoever" in warnings(caplog)[0]
        clock.shift(HOUR)
        assert await sent(provider, aws) != cached(target)["accessToken"]
    assert target.read_bytes() == before
    assert "its folder " in warnings(caplog)[1]
    assert f"belongs to {owner})" in warnings(caplog)[1]


async def test_a_name_that_a_link_leads_to_writes_no_line_of_its_own(
    context: Context, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = file.rename(tmp_path / "x\nERROR all is lost")
    file.symlink_to(target)
    await from_sso("app", context=context)()
    [warning] = warnings(caplog)
    assert "\n" not in warning


async def test_a_folder_that_is_a_link_is_nobodys_business(
    aws: Loopback,
    context: Context,
    home: Path,
    file: Path,
    clock: time_machine.Traveller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Many keep ``~/.aws`` elsewhere, and link it."""
    (home / ".aws").rename(home / "dotfiles")
    (home / ".aws").symlink_to("dotfiles")
    clock.shift(HOUR)
    assert await sent(from_sso("app", context=context), aws) == cached(file)["accessToken"]
    assert aws.count(OIDC) == 1
    assert not warnings(caplog)


def test_a_private_file_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    storage.replace_text(str(tmp_path / "link"), "token")
    assert (tmp_path / "target").read_text() == "precious"
    assert (tmp_path / "link").read_text() == "token"
    assert not (tmp_path / "link").is_symlink()
    assert mode(tmp_path / "link") == 0o600


# Folders of others.


def test_nothing_is_written_into_a_folder_of_another_user(file: Path) -> None:
    before = file.read_bytes()
    with (
        of_another_user(file.parent) as owner,
        pytest.raises(ForeignFolder, match=f"belongs to {owner}$") as caught,
    ):
        storage.replace_json(str(file), {"accessToken": "x"})
    assert (caught.value.folder, caught.value.owner) == (str(file.parent), owner)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


async def test_a_sign_in_in_a_folder_of_another_user(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    """Root, by sudo or in a container, over a user's home; or the other way round."""
    before, status = file.read_bytes(), file.stat()
    provider = from_sso("app", context=context)
    clock.shift(HOUR)
    with of_another_user(file.parent) as owner:
        token = await sent(provider, aws)
        assert await sent(provider, aws) == token
    assert aws.count(OIDC) == 1
    assert token in aws.sign_in.access_tokens
    assert file.read_bytes() == before
    assert file.stat().st_ino == status.st_ino
    assert list(file.parent.iterdir()) == [file]  # no lock either
    [warning] = warnings(caplog)
    assert warning == (
        f"The renewed sign-in cannot be kept in {file} (its folder {file.parent} belongs to {owner}): other"
        f" programs may have to sign in again; run this as {owner}, or have the folder belong to this user"
    )
    assert provider.status.failures == 0


async def test_the_lock_that_the_owner_made_is_taken(
    aws: Loopback, context: Context, file: Path, clock: time_machine.Traveller
) -> None:
    lock_of(file).touch(0o600)
    other = FileLock(str(lock_of(file)))
    clock.shift(HOUR)
    with of_another_user(file.parent):
        provider = from_sso("app", context=context)
        assert other.take()
        mine = FileLock(str(lock_of(file)))
        assert not mine.take()
        other.release()
        await provider()
    assert aws.count(OIDC) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a file belong to nobody who is known")
def test_an_owner_without_a_name(tmp_path: Path) -> None:
    os.chown(tmp_path, 4_000_000, 4_000_000)
    with pytest.raises(ForeignFolder, match="belongs to user 4000000"):
        storage.replace_json(str(tmp_path / "x.json"), {})


@pytest.mark.parametrize(("bits", "told"), [(0o700, False), (0o775, False), (0o777, True), (0o1777, False)])
def test_a_folder_that_anybody_may_write_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bits: int, told: bool
) -> None:
    tmp_path.chmod(bits)
    for _ in range(2):
        storage.replace_json(str(tmp_path / "x.json"), {})
    assert warnings(caplog) == [f"anybody may swap the files in {tmp_path}: run chmod 700 {tmp_path}"] * told
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("target", ["/dev/null", "precious", "missing"])
def test_a_lock_that_is_a_link_is_not_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture, target: str) -> None:
    (tmp_path / "precious").write_text("precious")
    path = tmp_path / "x.lock"
    path.symlink_to(tmp_path / target)
    for _ in range(2):
        lock = FileLock(str(path))
        assert lock.take()  # as where no lock can be made
        lock.release()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "missing").exists()
    [warning] = warnings(caplog)
    assert warning == f"{path} is a link, so programs may renew the sign-in twice: remove it"


# To who explains.


async def test_explain_tells_each_time(context: Context, file: Path, tmp_path: Path) -> None:
    target = file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(target)
    target.chmod(0o644)
    provider: Provider = from_sso("app", context=context)
    for _ in range(2):
        explanation = await explain(provider)
        [look] = [look for step in explanation.step.walk() for look in step.looked_at if look.place == str(file)]
        assert look.found.startswith(f"a link to {target}, open to other users (mode 0644), ends at 2027-01-15")
