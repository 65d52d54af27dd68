"""``aiocreds explain`` as people run it: a process, with and without a terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.command import Machine
from tests.hush import MARK, secret
from tests.loopback import sts_error

if TYPE_CHECKING:
    from pathlib import Path

    from tests.loopback import Loopback

KEY = "AKIAIOSFODNN7EXAMPLE"


@pytest.fixture
def machine(home: Path, aws: Loopback) -> Machine:
    return Machine(home, aws.environ)


def keys() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret(), "AWS_SESSION_TOKEN": secret("token")}


async def test_found_and_confirmed(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", **keys())
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("✓ from_env wins: arn:aws:iam::123456789012:user/me, key ****MPLE\n")
    assert "confirmed  by GetCallerIdentity" in ended.out
    assert MARK not in ended.out
    assert "\x1b" not in ended.out


async def test_found_and_not_asked_about(machine: Machine, aws: Loopback) -> None:
    ended = await machine.aiocreds("explain", "--offline", **keys())
    assert ended.status == 0
    assert not aws.requests


async def test_none_found(machine: Machine) -> None:
    ended = await machine.aiocreds("explain")
    assert (ended.status, ended.err) == (1, "")
    assert ended.out.startswith("✗ no credentials")


async def test_found_but_broken(machine: Machine, aws: Loopback) -> None:
    aws.always("/", sts_error("InvalidClientTokenId"))
    ended = await machine.aiocreds("explain", "--json", **keys())
    document = json.loads(ended.out)
    assert (ended.status, document["exit_status"], document["winner"]) == (2, 2, "from_env")
    assert document["error"]["code"] == "InvalidClientTokenId"


async def test_a_warning_is_told_once(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", "--offline", AWS_PROFILE="app", **keys())
    assert ended.err == ""
    assert ended.out.count("AWS_PROFILE") == 1


async def test_debugging_shows_no_secret_either(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", "--debug", **keys())
    assert ended.status == 0
    assert "aiocreds.http" in ended.err
    assert MARK not in ended.out + ended.err


async def test_a_terminal_without_unicode(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", PYTHONIOENCODING="ascii")
    assert ended.status == 1
    assert "|- - from_env  nothing here" in ended.out


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_gets_colours(home: Path) -> None:
    import pty
    import subprocess

    master, slave = pty.openpty()
    machine = Machine(home, {"TERM": "xterm-256color", "COLUMNS": "80", **keys()})
    command = [sys.executable, "-W", "error", "-m", "aiocreds", "explain", "--offline"]
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, env=machine.variables) as process:
        os.close(slave)
        out = b""
        try:
            while piece := os.read(master, 4096):
                out += piece
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(master)
    assert process.returncode == 0
    assert "\x1b[1;32m✓ from_env wins: key ****MPLE" in out.decode()
    assert MARK not in out.decode()
