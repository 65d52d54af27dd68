"""The messages to a person, which browser is opened, and which command is named."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Context, LoginRequired
from aiocreds._profiles.sso import LoginCommand
from aiocreds.login import Prompt, lines_of
from aiocreds.sources import _sign_in
from aiocreds.sources._sign_in import Asking, Pkce, has_browser, login_required, print_prompt
from tests.helpers.command import PATIENCE
from tests.helpers.python_programs import environment, line_of, started
from tests.helpers.scripted import until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path
    from typing import TextIO

PROMPT = Prompt(
    "corp", "https://x.test/", None, wants_code=False, opened=False, until=datetime(2030, 1, 1, tzinfo=UTC)
)
COMMAND = LoginCommand("aws sso login", " --sso-session corp", {"sso_session": "corp"})


@pytest.mark.parametrize(
    ("environ", "platform", "there"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"WSL_DISTRO_NAME": "Debian"}, "linux", True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "a b"}, "linux", False),
        ({"SSH_TTY": "/dev/pts/0", "BROWSER": "open-there"}, "linux", True),
        ({}, "darwin", True),
        ({}, "win32", True),
        ({"SSH_CLIENT": "a"}, "darwin", False),
    ],
)
def test_whether_there_is_a_browser(environ: dict[str, str], platform: str, there: bool) -> None:
    assert has_browser(environ, platform) is there


def test_what_services_send_cannot_steer_the_terminal() -> None:
    """Neither its name, which is the user's, nor its address and code, which are the service's."""
    for line in lines_of(
        PROMPT._replace(
            name="a\x1b]0;b\x07", url="https://x\x1b[2J\r\nrm -rf ~", user_code="\x9b31mX\x08", wants_code=True
        )
    ):
        assert line.isprintable()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (PROMPT, ["open this page in a browser", "https://x.test/"]),
        (PROMPT._replace(opened=True), ["go on in the browser", "If none has opened"]),
        (PROMPT._replace(user_code="AB-CD"), ["this code: AB-CD"]),
        (PROMPT._replace(wants_code=True), ["paste here the code"]),
    ],
)
def test_what_a_person_is_told(prompt: Prompt, words: list[str]) -> None:
    assert all(word in "\n".join(lines_of(prompt)) for word in words)


async def test_a_program_without_a_prompt_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await print_prompt(PROMPT) is None
    assert capsys.readouterr().err == "".join(f"{line}\n" for line in lines_of(PROMPT))
    monkeypatch.setattr(sys, "stdin", io.StringIO("pasted\n"))
    assert await print_prompt(PROMPT._replace(wants_code=True)) == "pasted"


ASKS = """
import asyncio, signal, sys, threading
from datetime import UTC, datetime
from aiocreds.login import Prompt
from aiocreds.sources._sign_in import print_prompt

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
try:
    asyncio.run(print_prompt(Prompt("corp", "https://x.test/", None, True, False, datetime.now(UTC))))
except KeyboardInterrupt:
    pass
"""
ASKED = "".join(f"{line}\n" for line in lines_of(PROMPT._replace(wants_code=True)))


@asynccontextmanager
async def asking_program(program: str, home: Path) -> AsyncGenerator[Process]:
    """Yield a process that has asked for a code, on its stderr, and waits for a line of stdin, which is a pipe."""
    async with started(environment(home), ASKS + program) as process:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            said = await process.stderr.readuntil(b"Code: ")
        assert said.decode().replace("\r\n", "\n") == f"{ASKED}Code: "
        yield process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a signal ends the wait")
async def test_a_program_ends_with_its_own_error_while_a_code_is_waited_for(home: Path) -> None:
    """Python aborts where a thread waits in the buffer of stdin at the end of a program."""
    async with asking_program('sys.exit("stopped")', home) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        # Not communicate(), which would close the pipe, and end the wait.
        assert (await process.stderr.read(), await process.wait()) == (b"stopped\n", 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a signal ends the wait")
async def test_a_line_that_comes_after_the_loop_has_ended_is_dropped(home: Path) -> None:
    late = """
print("ended", flush=True)
for thread in threading.enumerate():
    if thread.daemon and thread.name != "aiocreds pool":
        thread.join()
"""
    async with asking_program(late, home) as process:
        process.send_signal(signal.SIGINT)
        assert await line_of(process) == "ended"
        assert await process.communicate(b"ABCD\n") == (b"", b"")
        assert process.returncode == 0


@pytest.mark.parametrize("there", [False, True])
async def test_without_a_stdin_there_is_no_code(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdin", closed if there else None)
    async with asyncio.timeout(PATIENCE):
        assert await print_prompt(PROMPT._replace(wants_code=True)) == ""


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """A stdin that is a pipe with some lines in it."""
    reading, writing = os.pipe()
    os.write(writing, b" \xff1\r\ntwo\nthree")
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield stdin


async def test_what_comes_after_the_code_is_left_for_the_program(piped: TextIO) -> None:
    codes = [await print_prompt(PROMPT._replace(wants_code=True)) for _ in range(2)]
    assert (codes, await asyncio.to_thread(piped.read)) == (["\ufffd1", "two"], "three")


async def test_a_browser_that_cannot_be_opened(caplog: pytest.LogCaptureFixture) -> None:
    def broken(url: str) -> None:
        raise OSError(url)

    with caplog.at_level("DEBUG"):
        assert asking(broken).open("https://x.test/")
        await until(lambda: "No browser was opened: OSError" in caplog.text)


def asking(open_browser: Any) -> Asking:
    async def required(message: str) -> LoginRequired:
        return LoginRequired(message)

    return Asking("corp", None, open_browser, False, 1.0, required)


@pytest.mark.skipif(sys.platform == "win32", reason="the browser is a script")
async def test_the_system_s_browser(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It gets the address of this machine alone, and nothing of ours to print on or to hold open."""
    script, seen = tmp_path / "browser", tmp_path / "seen"
    script.write_text(f'#!/bin/sh\necho noise; echo noise >&2\necho "$@" > {seen}\n')
    script.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(script))
    assert asking(True).open("https://x.test/?state=1", "http://127.0.0.1:1/entrance")
    await until(lambda: seen.exists() and seen.read_text().endswith("\n"))
    assert seen.read_text() == "http://127.0.0.1:1/entrance\n"
    assert capfd.readouterr() == ("", "")


async def test_no_browser_is_opened() -> None:
    assert not asking(False).open("https://x.test/")


def test_a_proof_shows_nothing() -> None:
    pkce = Pkce.new()
    for shown in (repr(pkce), str(pkce)):
        assert pkce.verifier not in shown
        assert pkce.state not in shown
    assert len(pkce.verifier) == 64
    assert Pkce.new() != pkce


# The command.


@pytest.mark.skipif(os.name == "nt", reason="the command is a script")
@pytest.mark.parametrize("there", [True, False])
async def test_the_command_that_is_on_the_path(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "aws").write_text("")
        (tmp_path / "aws").chmod(0o700)
    context = Context({"PATH": os.pathsep.join(["", "/nowhere", str(tmp_path)])}, home=tmp_path)
    required = await login_required("no", COMMAND, context)
    assert required.command == f"{'aws sso login' if there else 'aiocreds login'} --sso-session corp"
    assert str(required) == f"no: run {required.command}"
    assert required.sign_in == {"sso_session": "corp"}


async def test_a_config_file_elsewhere(tmp_path: Path) -> None:
    command = COMMAND._replace(arguments={"sso_session": "corp", "config_file": "/a b/config"})
    required = await login_required("no", command, Context({}, home=tmp_path))
    assert required.command == "AWS_CONFIG_FILE='/a b/config' aiocreds login --sso-session corp"


def test_an_error_that_names_nothing_to_sign_in_to() -> None:
    assert LoginRequired("no").sign_in == {}
    assert _sign_in.LONGEST_WAIT == 600
