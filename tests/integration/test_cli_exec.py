"""`aiocreds exec`: a command with credentials, which is itself in all else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from aiocreds.cli.exec import (
    _default_credentials,  # pyright: ignore[reportPrivateUsage] - what reads a file
    _forward_signals,  # pyright: ignore[reportPrivateUsage] - sudo cannot be run here
)
from tests.helpers.command import COMMAND, PATIENCE, Machine
from tests.helpers.loopback_aws import ROLE, ROLES_PATH, Hang, Loopback
from tests.helpers.secret_leaks import MARK, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAKS = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AWS_CREDENTIAL_EXPIRATION", "AWS_ACCOUNT_ID", "AWS_CREDENTIAL_SCOPE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"),
    *("AMAZON_ACCESS_KEY_ID", "AMAZON_SECRET_ACCESS_KEY", "AMAZON_SESSION_TOKEN"),
    *("AWS_SESSION_EXPIRATION", "AWS_CREDENTIAL_PROFILES_FILE"),
}
EXEC = [*COMMAND, "exec"]
SHOWN = pytest.mark.shows_secrets("stdout", because="the commands print their environment")
BOTH = pytest.mark.parametrize("server", [[], ["--server"]], ids=["becoming it", "beside a server"])
SHOW = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
TRAP = (
    "import os, select, signal, sys, time\n"
    "def told(number, frame): os.write(1, signal.Signals(number).name.encode() + b'\\n')\n"
    "for name in ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGINT', 'SIGQUIT', 'SIGWINCH']:\n"
    "    signal.signal(getattr(signal, name), told)\n"
    "os.write(1, b'ready\\n')\n"
    "while not select.select([0], [], [], 0.05)[0]: pass\n"  # a read may begin just after a signal came
    "sys.exit(9)\n"
)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Ignore none: a shell has what it starts in the background ignore some, and children inherit that."""
    stopping = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    ignored = [number for number in stopping if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def machine(home: Path) -> Machine:
    (home / ".aws" / "config").write_text(
        "[profile dev]\nregion = eu-central-1\naws_access_key_id = AKIADEV0000000001\n"
        f"aws_secret_access_key = {secret()}\naws_account_id = 123456789012\n"
    )
    return Machine(home, {})


async def shown(machine: Machine, *arguments: str, **variables: str) -> dict[str, str]:
    """The environment that a command sees."""
    ended = await machine.aiocreds("exec", *arguments, "--", *SHOW, **variables)
    assert (ended.status, ended.err) == (0, "")
    found: dict[str, str] = json.loads(ended.out)
    return found


@pytest.mark.slow
@SHOWN
async def test_the_command_has_the_credentials_and_none_of_the_parents(machine: Machine) -> None:
    stale = dict.fromkeys(LEAKS, secret("stale"))
    environ = await shown(machine, "--profile", "dev", HTTP_PROXY="kept", **stale)
    assert environ["AWS_ACCESS_KEY_ID"] == "AKIADEV0000000001"
    assert MARK in environ["AWS_SECRET_ACCESS_KEY"]
    assert environ["AWS_ACCOUNT_ID"] == "123456789012"
    assert environ["AWS_REGION"] == environ["AWS_DEFAULT_REGION"] == "eu-central-1"
    assert environ["HTTP_PROXY"] == "kept"
    ours = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ACCOUNT_ID"}
    assert LEAKS & environ.keys() == ours
    assert "stale" not in json.dumps(environ)


@pytest.mark.slow
async def test_a_server_hands_over_no_keys_at_all(machine: Machine) -> None:
    stale = dict.fromkeys(LEAKS, secret("stale"))
    environ = await shown(machine, "--profile", "dev", "--server", **stale)
    ours = {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"}
    assert LEAKS & environ.keys() == ours
    assert environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")
    assert environ["AWS_REGION"] == "eu-central-1"
    assert MARK not in json.dumps(environ)


@pytest.mark.slow
@SHOWN
async def test_temporary_credentials_bring_token_and_expiration(aws: Loopback, home: Path) -> None:
    environ = await shown(Machine(home, {**aws.environ, "AWS_EC2_METADATA_DISABLED": ""}))
    assert environ["AWS_ACCESS_KEY_ID"].startswith("ASIALOOPBACK")
    assert MARK in environ["AWS_SESSION_TOKEN"]
    assert environ["AWS_CREDENTIAL_EXPIRATION"].endswith("Z")


@pytest.mark.slow
@BOTH
@SHOWN
async def test_the_region(server: list[str], machine: Machine) -> None:
    named = ["--profile", "dev", *server]
    assert (await shown(machine, *named, AWS_REGION="us-east-1"))["AWS_REGION"] == "eu-central-1"
    assert (await shown(machine, *named, "--region", "us-west-2"))["AWS_DEFAULT_REGION"] == "us-west-2"
    environ = await shown(machine, *server, AWS_PROFILE="dev", AWS_DEFAULT_REGION="us-east-1")
    assert (environ["AWS_REGION"], environ["AWS_DEFAULT_REGION"]) == ("us-east-1", "us-east-1")
    keys = {"AWS_ACCESS_KEY_ID": "AKIAENV0000000001", "AWS_SECRET_ACCESS_KEY": secret()}
    assert "AWS_REGION" not in await shown(machine, *server, **keys)


@BOTH
async def test_its_exit_status_is_the_commands(server: list[str], machine: Machine) -> None:
    for status in (0, 1, 3, 255):
        ended = await machine.aiocreds("exec", "--profile", "dev", *server, "--", "sh", "-c", f"exit {status}")
        assert ended == (status, "", "")


@pytest.mark.slow
@BOTH
async def test_words_arrive_as_they_are(server: list[str], machine: Machine) -> None:
    words = ["", " a b ", "--", "--server", "-h", "$HOME", "it's", "*", "--debug"]
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    ended = await machine.aiocreds("exec", "--profile", "dev", *server, "--", sys.executable, "-c", program, *words)
    assert (json.loads(ended.out), ended.err) == (words, "")


@pytest.mark.slow
@BOTH
async def test_what_cannot_be_run(server: list[str], machine: Machine, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for command, status, reason in (
        ("no-such-command-anywhere", 127, "command not found"),
        (str(tmp_path / "missing"), 127, "command not found"),
        (str(plain), 126, "Permission denied"),
        (str(tmp_path), 126, "Permission denied"),
    ):
        ended = await machine.aiocreds("exec", "--profile", "dev", *server, "--", command)
        assert ended == (status, "", f"aiocreds exec: {command}: {reason}\n")
    plain.chmod(plain.stat().st_mode | stat.S_IXUSR)
    ended = await machine.aiocreds("exec", "--profile", "dev", *server, "--", str(plain))
    assert ended == (126, "", f"aiocreds exec: {plain}: Exec format error\n")


@pytest.mark.slow
@BOTH
async def test_nothing_runs_without_credentials(server: list[str], machine: Machine) -> None:
    ended = await machine.aiocreds("exec", *server, "--", "echo", "ran")
    assert (ended.status, ended.out) == (125, "")
    assert "no AWS credentials found" in ended.err
    ended = await machine.aiocreds("exec", *server, "--")
    assert (ended.status, ended.err) == (2, "aiocreds exec: no command: write aiocreds exec -- COMMAND ...\n")


@BOTH
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGQUIT", "SIGWINCH"])
async def test_signals_reach_the_command(name: str, server: list[str], machine: Machine) -> None:
    words = [*EXEC, "--profile", "dev", *server, "--", sys.executable, "-c", TRAP]
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=machine.variables,
        start_new_session=True,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(getattr(signal, name))
        assert await process.stdout.readline() == f"{name}\n".encode()
        out, _ = await process.communicate(b"")
    assert (out, process.returncode) == (b"", 9)


@BOTH
async def test_a_command_that_a_signal_ends(server: list[str], machine: Machine) -> None:
    words = [*EXEC, "--profile", "dev", *server, "--", "sh", "-c", "kill -KILL $$"]
    ended = await machine.run("sh", "-c", '"$@"; echo $?', "sh", *words)
    assert ended.out == "137\n"


@BOTH
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
async def test_the_command_minds_a_broken_pipe_as_others_do(server: list[str], machine: Machine) -> None:
    words = ["sh", "-c", "grep SigIgn /proc/self/status"]  # Python ignores SIGPIPE, and that is inherited
    ended = await machine.aiocreds("exec", "--profile", "dev", *server, "--", *words)
    ignored = int(ended.out.split()[1], 16)
    assert not ignored >> (signal.SIGPIPE - 1) & 1


# In a process of its own: forking one that has threads may stop dead.
AT_A_TERMINAL = """if True:
    import os, pty, sys
    key, words = sys.argv[1].encode(), sys.argv[2:]
    pid, terminal = pty.fork()
    if not pid:
        os.execvp(words[0], words)
    seen = b""
    try:
        while True:
            piece = os.read(terminal, 1000)
            seen += piece
            if b"ready" in piece:
                os.write(terminal, key)
    except OSError:  # the other end is closed
        pass
    sys.stdout.write(seen.decode())
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize(
    ("key", "name"), [("\x03", "SIGINT"), ("\x1c", "SIGQUIT")], ids=["Ctrl-C", "Ctrl-backslash"]
)
async def test_a_key_at_the_terminal_reaches_the_command_once(key: str, name: str, machine: Machine) -> None:
    trap = TRAP.replace("while not select.select([0], [], [], 0.05)[0]: pass", "time.sleep(1.5)")
    words = [*EXEC, "--profile", "dev", "--server", "--", sys.executable, "-c", trap]
    ended = await machine.run(sys.executable, "-c", AT_A_TERMINAL, key, *words)
    assert ended.out.count(name) == 1
    assert (ended.status, ended.err) == (9, "")


@pytest.mark.slow
async def test_a_default_profile_does_not_win_over_the_server(machine: Machine) -> None:
    credentials = machine.home / ".aws" / "credentials"
    credentials.write_text(
        f"[default]\naws_access_key_id = AKIADEFAULT000001\naws_secret_access_key = {secret()}\n"
    )
    program = "import boto3; c = boto3.Session().get_credentials(); print(c.method, c.access_key)"
    ended = await machine.aiocreds("exec", "--profile", "dev", "--server", "--", sys.executable, "-c", program)
    assert ended.out == "container-role AKIADEV0000000001\n"
    assert f"the default profile ({credentials}:1) would win over the endpoint" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", ["aws_access_key_id", "role_arn", "sso_session", "sso_role_name", "sso_region", "credential_process"]
)
async def test_other_default_profiles_stay_visible(key: str, machine: Machine) -> None:
    config = machine.home / ".aws" / "config"
    config.write_text(config.read_text() + "[default]\nregion = us-west-1\n")
    assert "AWS_CONFIG_FILE" not in await shown(machine, "--profile", "dev", "--server")
    config.write_text(config.read_text() + f"{key} = x\n")
    ended = await machine.aiocreds("exec", "--profile", "dev", "--server", "--", *SHOW)
    assert json.loads(ended.out)["AWS_CONFIG_FILE"] == os.devnull


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        '[profile "default"]\naws_access_key_id = AKIADEFAULT000001\n',
        "['default']\naws_access_key_id = AKIADEFAULT000001\n",
        "[profile default]\nregion = x\n[default]\naws_access_key_id = AKIADEFAULT000001\n",
        "[DEFAULT]\naws_secret_access_key = x\n[default]\nregion = x\n",
    ],
)
async def test_a_default_profile_as_other_sdks_read_it(text: str, machine: Machine) -> None:
    (machine.home / ".aws" / "other").write_text(f"[profile x]\nregion = x\n{text}")
    keys = {"AWS_ACCESS_KEY_ID": "AKIADEV0000000001", "AWS_SECRET_ACCESS_KEY": secret()}
    variables = {"AWS_CONFIG_FILE": str(machine.home / ".aws" / "other"), **keys}
    ended = await machine.aiocreds("exec", "--server", "--", *SHOW, **variables)
    environ = json.loads(ended.out)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CREDENTIAL_PROFILES_FILE"):
        assert environ[name] == os.devnull
    assert "would win over the endpoint" in ended.err


@pytest.mark.slow
async def test_a_circle_through_a_command_comes_to_an_end(machine: Machine) -> None:
    (machine.home / ".aws" / "config").write_text(
        f"[profile st]\naws_access_key_id = AKIADEV0000000001\naws_secret_access_key = {secret()}\n"
        "[profile a]\n"
        f"credential_process = {' '.join(EXEC)} --profile st -- {' '.join(COMMAND)} export --profile a\n"
    )
    ended = await machine.aiocreds("export", "--profile", "a")
    assert (ended.status, ended.out) == (3, "")
    assert "asks for the very credentials" in ended.err
    assert "_AWS_CLI_PROFILE_CHAIN" not in await shown(machine, "--profile", "st", "--server")


async def test_a_parent_that_does_not_care_about_its_children(machine: Machine) -> None:
    program = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [*EXEC, "--profile", "dev", "--server", "--", "sh", "-c", "exit 7"]
    ended = await machine.run(sys.executable, "-c", program, *words)
    assert ended == (7, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
@pytest.mark.parametrize(
    ("words", "status"),
    [("exec --profile nope -- true", 125), ("exec --profile dev -- /nope", 127), ("export --profile nope", 2)],
)
async def test_the_exit_status_tells_though_nobody_can_hear(words: str, status: int, machine: Machine) -> None:
    ended = await machine.run("sh", "-c", f"{' '.join(COMMAND)} {words} 2>/dev/full")
    assert ended == (status, "", "")


@pytest.mark.slow
async def test_the_server_wants_its_token(machine: Machine) -> None:
    program = """if True:
        import os, urllib.error, urllib.request
        url = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        token = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        for headers in {}, {"Authorization": "guessed"}, {"Authorization": token}:
            try:
                print(urllib.request.urlopen(urllib.request.Request(url, headers=headers)).status)
            except urllib.error.HTTPError as error:
                print(error.code, "AccessKey" in error.read().decode())
    """
    ended = await machine.aiocreds("exec", "--profile", "dev", "--server", "--", sys.executable, "-c", program)
    assert ended == (0, "401 False\n401 False\n200\n", "")


@pytest.mark.slow
async def test_it_refreshes_for_as_long_as_the_command_runs(aws: Loopback, home: Path) -> None:
    aws.lifetime = timedelta(seconds=3)
    program = """if True:
        import boto3, time
        credentials = boto3.Session().get_credentials()
        for _ in range(3):
            print(credentials.get_frozen_credentials().access_key, flush=True)
            time.sleep(2.2)
    """
    machine = Machine(home, {**aws.environ, "AWS_EC2_METADATA_DISABLED": ""})
    ended = await machine.aiocreds("exec", "--server", "--", sys.executable, "-c", program)
    assert (ended.status, ended.err) == (0, "")
    assert len(set(ended.out.split())) == 3
    assert aws.count(ROLES_PATH + ROLE) >= 3


async def test_ctrl_c_while_it_waits_for_credentials(aws: Loopback, home: Path) -> None:
    aws.down(by=Hang())
    machine = Machine(home, {**aws.environ, "AWS_EC2_METADATA_DISABLED": ""})
    for server, number, status in (
        ([], signal.SIGINT, 130),
        (["--server"], signal.SIGINT, 130),
        (["--server"], signal.SIGTERM, -signal.SIGTERM),
    ):
        before = len(aws.requests)
        process = await machine.start(*EXEC, *server, "--", "echo", "ran")
        async with asyncio.timeout(PATIENCE):
            while len(aws.requests) == before:  # noqa: ASYNC110 - the service has no event for it
                await asyncio.sleep(0.01)
            process.send_signal(number)
            out, err = await process.communicate()
        assert (process.returncode, out, err) == (status, b"", b"")


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("kind", ["a folder", "a pipe"])
async def test_keys_of_the_environment_need_no_shared_file(server: list[str], machine: Machine, kind: str) -> None:
    config = machine.home / ".aws" / "config"
    config.unlink()
    if kind == "a folder":
        config.mkdir()
    else:
        os.mkfifo(config)
    keys = {"AWS_ACCESS_KEY_ID": "AKIAENVIRON000001", "AWS_SECRET_ACCESS_KEY": secret()}
    ended = await machine.aiocreds("exec", *server, "--", "echo", "here", **keys)
    assert (ended.status, ended.out) == (0, "here\n"), ended.err
    assert ended.err.count("cannot be read") == 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_for_a_shared_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "credentials")
    found: list[int] = []
    looking = Thread(target=lambda: found.append(_default_credentials(str(tmp_path / "credentials"))), daemon=True)
    looking.start()
    looking.join(5)
    assert found == [0]


async def test_signals_that_the_command_may_not_get_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def kill(pid: int, number: int) -> None:
        sent.append(number)
        raise PermissionError  # such as for sudo

    monkeypatch.setattr(os, "kill", kill)
    signals: asyncio.Queue[int] = asyncio.Queue()
    forwarding = asyncio.create_task(_forward_signals(signals, 1))
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signals.put_nowait(number)
    for _ in range(10):
        await asyncio.sleep(0)
    forwarding.cancel()
    await asyncio.wait([forwarding])
    assert sent == [signal.SIGTERM, signal.SIGUSR1]
