"""A token in a file that something else rotates.

===================================  =========================================================
the file                             the caller gets
===================================  =========================================================
is rotated                           the new token at the next fetch
is away or empty for a moment        the token, once it is there
stays away                           InvalidConfiguration: the path and what names it
stays empty                          SourceUnavailable: likewise
is a folder, unreadable, no text     InvalidConfiguration: likewise, and the reason
===================================  =========================================================
"""

# ruff: noqa: ASYNC240 - the tests may block
from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from aiocreds.errors import CredentialsError, InvalidConfiguration, SourceUnavailable
from aiocreds.sources._rotated_file import LARGEST, read_token_file
from tests.helpers.command import PATIENCE
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.shared_files import unreadable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds.sources._rotated_file.PAUSE", 0.04)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "token"


async def test_stripped_and_read_anew(file: Path) -> None:
    for token in (secret("token"), secret("token")):
        file.write_text(f"\n {token}\r\n\n")
        assert await read_token_file(str(file), place="here") == token


async def test_the_longest(file: Path) -> None:
    file.write_text("x" * LARGEST)
    assert len(await read_token_file(str(file), place="here")) == LARGEST


@pytest.mark.parametrize("before", [None, b"", b" \n"])
async def test_in_mid_rotation(file: Path, before: bytes | None) -> None:
    if before is not None:
        file.write_bytes(before)
    reading = asyncio.create_task(read_token_file(str(file), place="here"))
    await asyncio.sleep(0.05)
    token = secret("token")
    file.write_text(token)
    assert await reading == token


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "kind", "what"),
    [
        (None, InvalidConfiguration, "does not exist: correct the path"),
        (b"", SourceUnavailable, "is empty: look at what should write it"),
        (b"\n\n", SourceUnavailable, "is empty"),
        (b"\xff\xfesEcReT", InvalidConfiguration, "not text, or too long: correct the path"),
        (b"sEcReT" * LARGEST, InvalidConfiguration, "not text, or too long"),
    ],
    ids=["missing", "empty", "blank", "binary", "huge"],
)
async def test_no_token(file: Path, content: bytes | None, kind: type[CredentialsError], what: str) -> None:
    if content is not None:
        file.write_bytes(content)
    started = time.monotonic()
    with pytest.raises(kind, match=what) as caught:
        await read_token_file(str(file), place="SOME_VARIABLE")
    assert f"{file} (from SOME_VARIABLE)" in str(caught.value)
    assert MARK not in str(caught.value)
    assert time.monotonic() - started < 3  # about half a second


async def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"\(from here\) cannot be read \(is a directory\)"):
        await read_token_file(str(tmp_path), place="here")


async def test_a_path_through_a_file(file: Path) -> None:
    file.write_text(secret())
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        await read_token_file(f"{file}/token", place="here")


async def test_not_for_us(file: Path) -> None:
    file.write_text(secret())
    await read_token_file(str(file), place="here")  # loads what nobody might not
    with (
        unreadable(file),
        pytest.raises(InvalidConfiguration, match=r"cannot be read \(permission denied\): let this user read it"),
    ):
        await read_token_file(str(file), place="here")


async def test_cancelled_in_the_middle(file: Path) -> None:
    reading = asyncio.create_task(read_token_file(str(file), place="here"))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on Windows")
async def test_a_pipe_is_refused_at_once(file: Path) -> None:
    os.mkfifo(file)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(
            InvalidConfiguration, match=r"token \(from here\) cannot be read \(not a regular file\)"
        ):
            await read_token_file(str(file), place="here")


async def test_asyncios_debug_log_shows_no_token(file: Path) -> None:
    file.write_text(secret("token"))
    read = asyncio.ensure_future(read_token_file(str(file), place="here"))
    await read
    assert MARK not in repr(read)


async def test_a_folder_in_its_place_leaves_no_descriptor_open(file: Path) -> None:
    """Docker makes one where it mounts a file that is not there."""

    def next_descriptor() -> int:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    file.mkdir()
    before = next_descriptor()
    for _ in range(20):
        with pytest.raises(InvalidConfiguration, match="cannot be read"):
            await read_token_file(str(file), place="here")
    assert next_descriptor() < before + 20
