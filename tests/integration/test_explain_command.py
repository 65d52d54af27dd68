"""``aiocreds explain`` as people run it: a process, with and without a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command import COMMAND, Machine
from tests.helpers.loopback_aws import Answer, Hang, sts_error
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.terminal import CTRL_C, at_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback

KEY = "AKIAIOSFODNN7EXAMPLE"


@pytest.fixture
def machine(home: Path, aws: Loopback) -> Machine:
    return Machine(home, aws.environ)


def keys() -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret(), "AWS_SESSION_TOKEN": secret("token")}


@pytest.mark.slow
async def test_found_and_confirmed(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", **keys())
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("✓ environment (from_env) wins: arn:aws:iam::123456789012:user/me, key ****MPLE\n")
    assert "confirmed  by GetCallerIdentity" in ended.out
    assert MARK not in ended.out
    assert "\x1b" not in ended.out


@pytest.mark.slow
async def test_found_and_not_asked_about(machine: Machine, aws: Loopback) -> None:
    ended = await machine.aiocreds("explain", "--offline", **keys())
    assert ended.status == 0
    assert not aws.requests


@pytest.mark.slow
async def test_none_found(machine: Machine) -> None:
    ended = await machine.aiocreds("explain")
    assert (ended.status, ended.err) == (1, "")
    assert ended.out.startswith("✗ no credentials")


@pytest.mark.slow
async def test_found_but_broken(machine: Machine, aws: Loopback) -> None:
    aws.always("/", sts_error("InvalidClientTokenId"))
    ended = await machine.aiocreds("explain", "--json", **keys())
    document = json.loads(ended.out)
    assert (ended.status, document["exit_status"], document["winner"]) == (2, 2, "from_env")
    assert document["error"]["code"] == "InvalidClientTokenId"


@pytest.mark.slow
async def test_a_missing_sign_in_is_shown_once(machine: Machine) -> None:
    (machine.home / ".aws" / "config").write_text(
        "[profile dev]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Admin\n"
        "[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-central-1\n"
    )
    ended = await machine.aiocreds("explain", "dev")
    assert ended.status == 2
    assert ended.out.count("SSO sign-in corp") == 1, ended.out


@pytest.mark.slow
async def test_an_sts_that_does_not_answer_is_a_warning(machine: Machine, aws: Loopback) -> None:
    aws.always("/", Answer(status=503))
    ended = await machine.aiocreds("explain", **keys())
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("✓ environment (from_env) wins: key ****MPLE\n! whose credentials they are is not")
    assert "\n✗ GetCallerIdentity  failed (" in ended.out
    assert ended.out.endswith("confirmed  no\n")
    ended = await machine.aiocreds("explain", "--json", **keys())
    document = json.loads(ended.out)
    assert (ended.status, document["exit_status"], document["error"]) == (0, 0, None)
    assert document["check"]["error"]["type"] == "SourceUnavailable"
    assert document["warnings"][0].startswith("whose credentials they are is not confirmed: ")


async def test_a_warning_is_told_once(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", "--offline", AWS_PROFILE="app", **keys())
    assert ended.err == ""
    assert ended.out.count("AWS_PROFILE") == 1


@pytest.mark.slow
async def test_debugging_shows_no_secret_either(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", "--debug", **keys())
    assert ended.status == 0
    assert "aiocreds.http" in ended.err
    assert MARK not in ended.out + ended.err


@pytest.mark.slow
async def test_a_terminal_without_unicode(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", PYTHONIOENCODING="ascii")
    assert ended.status == 1
    assert "|- - environment (from_env)  nothing here" in ended.out


PROGRAM = """
from aiocreds import Credentials, Provider, chain, credential_provider, from_env, from_ini

@credential_provider
async def from_vault(path: str) -> Credentials:
    return Credentials("AKIAVAULT00000001", "{secret}")

async def function() -> Credentials:
    return Credentials("AKIAFUNCTION00002", "{secret}")

def make() -> Provider:
    return chain(from_env(), from_vault("aws/creds/app"))

class Settings:
    provider = from_vault("aws/creds/app")

    @staticmethod
    def from_both(path: str, *more: str, region: str, **others: str) -> Provider:
        return from_vault(path)

provider = make()
text = "a text"

def fails() -> Provider:
    raise ValueError("{secret}")
"""


@pytest.fixture
def program(home: Path) -> Path:
    folder = home / "program"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "__init__.py").touch()
    (folder / "app" / "aws.py").write_text(PROGRAM.format(secret=secret()))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "winner", "key"),
    [
        ("app.aws:provider", "from_vault", "0001"),
        ("app.aws:make()", "from_vault", "0001"),
        ("app.aws:function", "function", "0002"),
        ("app.aws:function()", "function", "0002"),
        ("app.aws:Settings.provider", "from_vault", "0001"),
    ],
)
async def test_what_a_program_uses_is_explained(
    name: str, winner: str, key: str, machine: Machine, program: Path
) -> None:
    script = machine.home / "script"  # as the installed one, which has its own folder on its path
    script.write_text("import sys; from aiocreds.cli.main import main; sys.exit(main())")
    words = (sys.executable, "-W", "error", str(script), "explain", "--offline", "--provider", name)
    ended = await machine.run(*words, cwd=str(program))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(f"✓ {winner} wins: key ****{key}\n")
    if winner == "from_vault" and "Settings" not in name:
        assert "\n✓ chain  found (" in ended.out
        assert "\n├─ · environment (from_env)  nothing here (" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("app.aws", "--provider app.aws: write package.module:name, such as myapp.aws:provider"),
        ("app.aws:providre", "app.aws has no providre; its providers are provider"),
        ("app.aws:from_vault", "takes providers: write from_vault(), not from_vault"),
        ("app.aws:make", "it is no async function; for what it returns, write app.aws:make()"),
        (
            "app.aws:from_vault()",
            "from_vault wants arguments (path): write a function without arguments that returns from_vault(...)",
        ),
        ("app.aws:Settings.from_both()", "Settings.from_both wants arguments (path, region): write a function"),
        ("app.aws:text", "takes a provider or an async function, not str"),
        ("app.aws:fails()", "calling it failed with ValueError ({program}/app/aws.py:25); call it in Python"),
        ("appp.aws:provider", "there is no appp in {program}, nor is it installed for"),
        ("app.awss:provider", "there is no app.awss in {program}, nor is it installed for"),
        ("app.lacks:provider", "importing app.lacks failed with ModuleNotFoundError: No module named 'vault_sdk'"),
        ("app.lacks:provider", "({program}/app/lacks.py:2); python -c 'import app.lacks' shows all of it"),
        (
            "app.typo:provider",
            "importing app.typo failed with SyntaxError: invalid syntax ({program}/app/typo.py:3)",
        ),
        ("app.raises:provider", "importing app.raises failed with RuntimeError ({program}/app/raises.py:1)"),
        ("app.exits:provider", "importing app.exits failed with SystemExit ({program}/app/exits.py:2)"),
    ],
)
async def test_what_cannot_be_explained_is_told_clearly(
    name: str, complaint: str, machine: Machine, program: Path
) -> None:
    (program / "app" / "lacks.py").write_text("import json\nimport vault_sdk\n")
    (program / "app" / "typo.py").write_text("x = 1\n\ny = = 2\n")
    (program / "app" / "raises.py").write_text(f"raise RuntimeError('{secret()}')\n")
    (program / "app" / "exits.py").write_text("import sys\nsys.exit('usage: …')\n")
    ended = await machine.run(
        *(sys.executable, "-W", "error", "-m", "aiocreds", "explain", "--offline", "--provider", name),
        cwd=str(program),
    )
    assert (ended.status, ended.out) == (2, "")
    assert complaint.format(program=program) in ended.err
    assert "Traceback" not in ended.err
    assert MARK not in ended.err


@pytest.mark.slow
async def test_a_program_chooses_its_profile_itself(machine: Machine) -> None:
    ended = await machine.aiocreds("explain", "dev", "--provider", "app.aws:provider")
    told = "--provider and --profile are both given: a program chooses its profile itself"
    assert ended == (2, "", f"aiocreds explain: {told}\n")


AT_A_TERMINAL = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")


def role(machine: Machine, more: str = "") -> None:
    (machine.home / ".aws" / "config").write_text(
        "[profile base]\naws_access_key_id = AKIABASE000000001\n"
        f"aws_secret_access_key = {secret()}\n[profile app]\nrole_arn = arn:aws:iam::123456789012:role/app\n"
        f"source_profile = base\n{more}"
    )


@AT_A_TERMINAL
async def test_a_person_who_waits_is_told_for_whom_and_may_stop(machine: Machine, aws: Loopback) -> None:
    aws.always("/", Hang())
    role(machine)
    async with at_a_terminal(*COMMAND, "explain", "app", environ=machine.variables) as terminal:
        await terminal.until("Ctrl-C stops\n")
        host = aws.url.removeprefix("http://")
        assert terminal.seen == f"aiocreds explain: waiting for shared files (from_ini), {host}; Ctrl-C stops\n"
        await asyncio.sleep(1.5)
        began = asyncio.get_running_loop().time()
        terminal.type(CTRL_C)
        assert await terminal.ended() == 130
        assert asyncio.get_running_loop().time() - began < 3
    assert terminal.seen.count("\n") == 1, "it is said once"


@AT_A_TERMINAL
async def test_who_is_being_asked_is_not_told_that_somebody_waits(machine: Machine, aws: Loopback) -> None:
    role(machine, "mfa_serial = arn:aws:iam::123456789012:mfa/me\n")
    async with at_a_terminal(*COMMAND, "explain", "app", environ=machine.variables) as terminal:
        await terminal.until("MFA code of arn:aws:iam::123456789012:mfa/me: ")
        before = terminal.seen
        await asyncio.sleep(2)
        terminal.type("123456\n")
        await terminal.until("123456\n")
        assert terminal.seen.startswith(f"{before}123456\n")
        assert await terminal.ended() == 0
    assert "shared files (from_ini) wins" in terminal.seen


async def test_nobody_at_a_terminal_is_told_nothing(machine: Machine, aws: Loopback) -> None:
    (machine.home / "vend").write_text("#!/bin/sh\nsleep 2; exit 1\n")
    (machine.home / "vend").chmod(0o755)
    (machine.home / ".aws" / "config").write_text(f"[profile app]\ncredential_process = {machine.home}/vend\n")
    ended = await machine.aiocreds("explain", "app")
    assert (ended.status, ended.err) == (2, "")


@pytest.mark.slow
@pytest.mark.parametrize("unwanted", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_gets_colours(unwanted: dict[str, str], home: Path) -> None:
    import pty
    import subprocess

    master, slave = pty.openpty()
    machine = Machine(home, {"TERM": "xterm-256color", "COLUMNS": "80", **keys(), **unwanted})
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
    assert "✓ environment (from_env) wins: key ****MPLE" in out.decode()
    assert ("\x1b[1;32m✓ environment" in out.decode()) is not bool(unwanted)
    assert ("\x1b" in out.decode()) is not bool(unwanted)
    assert MARK not in out.decode()


async def test_debug_shows_the_traceback_that_a_message_names(machine: Machine, program: Path) -> None:
    words = (sys.executable, "-m", "aiocreds", "explain", "--offline", "--provider", "app.late:provider")
    (program / "app" / "late.py").write_text(
        f"async def provider():\n    return broken()\n\ndef broken():\n    raise ValueError('{secret()}')\n"
    )
    ended = await machine.run(*words, cwd=str(program))
    told = " ".join(ended.out.split())
    assert "the log at level DEBUG (--debug of the command) has its traceback" in told
    assert "__cause__" not in ended.out
    ended = await machine.run(*words, "--debug", cwd=str(program))
    assert f'File "{program}/app/late.py", line 5, in broken' in ended.err
    assert MARK not in ended.out + ended.err
