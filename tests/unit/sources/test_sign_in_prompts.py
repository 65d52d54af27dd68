"""What a person is told, which browser is opened, and which command is named."""

from __future__ import annotations

import io
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Context, LoginRequired
from aiocreds._profiles.model import LoginCommand
from aiocreds.login import Prompt, lines_of
from aiocreds.sources import _sign_in
from aiocreds.sources._sign_in import Asking, Pkce, has_browser, login_required, print_prompt
from tests.helpers.scripted import until

if TYPE_CHECKING:
    from pathlib import Path

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
