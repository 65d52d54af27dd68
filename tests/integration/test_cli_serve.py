"""`aiocreds serve` and the real clients: each gets credentials, follows refreshes, and needs the token."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import sys
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent
from time import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.helpers.command import COMMAND, PATIENCE, Machine, Server
from tests.helpers.loopback_aws import ROLE, ROLES_PATH, Loopback
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.terminal import CTRL_C, at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL_URI, TOKEN = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"
NODE = shutil.which("node")
PACKAGES = Path(os.environ.get("AIOCREDS_TEST_NPM", Path(__file__).parents[2] / "node_modules"))

# Each prints the key it has, line by line, until its input ends; or what it was told instead.
PYTHON = """
import sys
{setup}
for _ in sys.stdin:
    try:
        print({key}, flush=True)
    except Exception as error:
        print("refused:", error, flush=True)
"""
BOTO3 = PYTHON.format(
    setup="import boto3\ncredentials = None",
    key="(credentials := credentials or boto3.Session().get_credentials()).get_frozen_credentials().access_key",
)
AIOBOTOCORE = PYTHON.format(
    setup="""
import asyncio
from aiobotocore.session import get_session
session, runner = get_session(), asyncio.Runner()
async def key():
    return (await (await session.get_credentials()).get_frozen_credentials()).access_key
""",
    key="runner.run(key())",
)
AIOCREDS = PYTHON.format(
    setup="""
import asyncio
from aiocreds import from_container_metadata
provider, runner = from_container_metadata(), asyncio.Runner()
async def key():
    return (await provider()).access_key_id
""",
    key="runner.run(key())",
)
AWS_CLI = """
import subprocess, sys
for _ in sys.stdin:
    done = subprocess.run([sys.executable, "-m", "awscli", "sts", "get-caller-identity", "--output", "text"],
                          capture_output=True, text=True)
    print("asked STS" if "123456789012" in done.stdout else "refused: " + " ".join(done.stderr.split()), flush=True)
"""
NPM = """
const {{ {factory} }} = require("@aws-sdk/credential-providers");
const provider = {factory}({{ timeout: 2000, maxRetries: 0 }});
require("readline").createInterface({{ input: process.stdin }}).on("line", async () => {{
  try {{ console.log((await provider()).accessKeyId); }}
  catch (error) {{ console.log("refused:", error.message, error.Message ?? ""); }}
}});
"""
CLIENTS = {
    "boto3": [sys.executable, "-c", BOTO3],
    "aiobotocore": [sys.executable, "-c", AIOBOTOCORE],
    "AWS CLI": [sys.executable, "-c", AWS_CLI],
    "npm fromHttp": ["node", "-e", NPM.format(factory="fromHttp")],
    "npm fromContainerMetadata": ["node", "-e", NPM.format(factory="fromContainerMetadata")],
    "aiocreds": [sys.executable, "-c", AIOCREDS],
}
each_client = pytest.mark.parametrize(
    "client",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name.startswith("npm") and not (NODE and (PACKAGES / "@aws-sdk" / "credential-providers").is_dir()),
                reason="Node.js with @aws-sdk/credential-providers is not here (AIOCREDS_TEST_NPM: node_modules)",
            ),
        )
        for name in CLIENTS
    ],
)


class Client:
    """A program of somebody else's that wants credentials."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, name: str, machine: Machine, variables: dict[str, str]) -> Client:
        pipe = asyncio.subprocess.PIPE
        environ = {
            **machine.variables,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "NODE_PATH": str(PACKAGES),
            **variables,
        }
        words = CLIENTS[name]
        return cls(await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, env=environ))

    async def key(self) -> str:
        """Return the key that it signs with now, or the error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().strip()

    async def end(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.process.communicate(b"")
        assert self.process.returncode == 0


@pytest.fixture
def machine(aws: Loopback, home: Path) -> Machine:
    """An EC2 instance, whose metadata service is the loopback one."""
    return Machine(home, {**aws.environ, "AWS_EC2_METADATA_DISABLED": ""})


@pytest.mark.slow
@each_client
async def test_a_client_gets_credentials_and_follows_refreshes(
    client: str, aws: Loopback, machine: Machine
) -> None:
    aws.lifetime = timedelta(seconds=3)
    async with machine.serving() as server:
        program = await Client.start(client, machine, server.environ)
        keys = [await program.key()]
        await asyncio.sleep(3.2)
        keys.append(await program.key())
        await program.end()
    if client == "AWS CLI":
        assert keys == ["asked STS", "asked STS"]
        keys = [seen.signed_by for seen in aws.requests if seen.method == "POST"]
    assert len(set(keys)) == len(keys) == 2
    assert all(key.startswith("ASIALOOPBACK") for key in keys), keys
    assert (server.process.returncode, server.err) == (0, "")


@pytest.mark.slow
@each_client
async def test_a_client_without_the_token_is_refused(client: str, machine: Machine) -> None:
    async with machine.serving() as server:
        for variables in ({FULL_URI: server.environ[FULL_URI]}, {**server.environ, TOKEN: "x" * 43}):
            program = await Client.start(client, machine, variables)
            answer = await program.key()
            assert answer.startswith("refused:"), answer
            assert "ASIALOOPBACK" not in answer
            await program.end()


@pytest.mark.slow
@each_client
async def test_a_client_under_exec_gets_credentials(client: str, aws: Loopback, machine: Machine) -> None:
    aws.lifetime = timedelta(seconds=3)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "exec", "--server", "--", *CLIENTS[client]),
        stdin=pipe,
        stdout=pipe,
        env={**machine.variables, "NODE_PATH": str(PACKAGES)},
    )
    program = Client(process)
    keys = [await program.key()]
    await asyncio.sleep(3.2)
    keys.append(await program.key())
    await program.end()
    if client == "AWS CLI":
        assert keys == ["asked STS", "asked STS"]
        keys = [seen.signed_by for seen in aws.requests if seen.method == "POST"]
    assert len(set(keys)) == len(keys) == 2
    assert all(key.startswith("ASIALOOPBACK") for key in keys), keys


async def ask(url: str, token: str) -> tuple[int, dict[str, str]]:
    async with aiohttp.ClientSession() as http, http.get(url, headers={"Authorization": token}) as answer:
        return answer.status, await answer.json()


@contextmanager
def descriptors(limit: int) -> Iterator[None]:
    """Allow for that many started meanwhile."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_descriptors(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@contextmanager
def silent_connections(server: Server, number: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(server.environ[FULL_URI]).port)))
        yield


@pytest.mark.slow
async def test_it_outlives_its_source(aws: Loopback, machine: Machine) -> None:
    aws.lifetime = timedelta(seconds=2)
    async with machine.serving() as server:
        url, token = server.environ.values()
        assert (await ask(url, token))[0] == 200
        aws.down()
        await asyncio.sleep(2.2)
        status, second = await ask(url, token)
        assert status == 200
        assert second["AccessKeyId"].startswith("ASIALOOPBACK")
        left = datetime.fromisoformat(second["Expiration"]).timestamp() - time()
        assert 590 < left <= 600
        for client in ("boto3", "aiocreds"):
            program = await Client.start(client, machine, server.environ)
            assert await program.key() == second["AccessKeyId"]
            await program.end()
    assert "HTTP 503" in server.err
    assert MARK not in server.err


@pytest.mark.slow
async def test_a_source_that_is_down_at_the_start(aws: Loopback, machine: Machine) -> None:
    aws.down()
    async with machine.serving() as server:
        url, token = server.environ.values()
        status, told = await ask(url, token)
        assert (status, told["code"]) == (503, "SourceUnavailable")
        assert "HTTP 503" in told["message"]
        program = await Client.start("boto3", machine, server.environ)
        assert "HTTP 503" in await program.key()
        await program.end()
        aws.up()
        async with asyncio.timeout(PATIENCE):
            while (await ask(url, token))[0] != 200:  # noqa: ASYNC110 - it says so nowhere else
                await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_a_hundred_clients_as_it_starts_make_one_call(aws: Loopback, machine: Machine) -> None:
    async with machine.serving() as server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        url, token = server.environ.values()

        async def key() -> str:
            async with http.get(url, headers={"Authorization": token}) as answer:
                return str((await answer.json())["AccessKeyId"])

        assert len(set(await asyncio.gather(*(key() for _ in range(100))))) == 1
    assert aws.count(ROLES_PATH + ROLE) == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
async def test_it_ends_well_when_told(name: str, aws: Loopback, machine: Machine) -> None:
    async with machine.serving() as server, aiohttp.ClientSession() as http:
        url, token = server.environ.values()
        async with http.get(url, headers={"Authorization": token}) as answer:
            assert answer.status == 200
        server.process.send_signal(getattr(signal, name))  # a connection is kept alive meanwhile
        async with asyncio.timeout(1.5):
            assert await server.process.wait() == 0
    assert server.err == ""


async def test_it_ends_while_connections_are_silent_and_its_source_hangs(machine: Machine) -> None:
    (machine.home / ".aws" / "config").write_text("[profile slow]\ncredential_process = sleep 30\n")
    async with machine.serving("--profile", "slow") as server:
        with silent_connections(server, 100):
            waiting = asyncio.create_task(ask(*server.environ.values()))
            await asyncio.sleep(0.5)
            server.process.terminate()
            async with asyncio.timeout(8):
                assert await server.process.wait() == 0
            with pytest.raises(aiohttp.ClientConnectionError):
                await waiting
    assert server.err == ""


@pytest.mark.slow
async def test_one_path_a_profile(machine: Machine) -> None:
    lines = [
        f"[profile {name}]\naws_access_key_id = AKIA{name.upper():0>12}\naws_secret_access_key = {secret()}\n"
        for name in ("dev", "prod")
    ]
    (machine.home / ".aws" / "config").write_text("".join(lines))
    async with machine.serving("--profile", "dev", "--profile", "prod") as server:
        *urls, token = (line.split("=", 1)[1] for line in server.lines)
        assert [url.rpartition("/")[2] for url in urls] == ["dev", "prod"]
        assert [(await ask(url, token))[1]["AccessKeyId"] for url in urls] == [
            "AKIA000000000DEV",
            "AKIA00000000PROD",
        ]
        assert (await ask(urls[0].rpartition("/")[0] + "/", token))[0] == 404


@pytest.mark.slow
async def test_who_waits_for_one_profile_does_not_keep_others_from_theirs(machine: Machine) -> None:
    (machine.home / ".aws" / "config").write_text(
        "[profile slow]\ncredential_process = sleep 30\n"
        f"[profile quick]\naws_access_key_id = AKIAQUICK000000001\naws_secret_access_key = {secret()}\n"
    )
    async with AsyncExitStack() as stack:
        with descriptors(512):
            server = await stack.enter_async_context(machine.serving("--profile", "slow", "--profile", "quick"))
        slow, quick, token = (line.split("=", 1)[1] for line in server.lines)
        request = f"GET /slow HTTP/1.1\r\nHost: {urlsplit(slow).netloc}\r\nAuthorization: {token}\r\n\r\n"
        peers = [socket.create_connection(("127.0.0.1", urlsplit(slow).port)) for _ in range(500)]
        for peer in peers:
            stack.enter_context(peer)
            peer.sendall(request.encode())
        await asyncio.sleep(1.0)
        async with asyncio.timeout(5):
            assert (await ask(quick, token))[1]["AccessKeyId"] == "AKIAQUICK000000001"
        status, told = await ask(slow, token)
        assert (status, told["code"]) == (503, "TooManyRequests")
        for client in ("boto3", "aiocreds"):
            program = await Client.start(client, machine, {FULL_URI: quick, TOKEN: token})
            assert await program.key() == "AKIAQUICK000000001"
            await program.end()


@pytest.mark.slow
async def test_profiles_whose_names_are_no_paths(machine: Machine) -> None:
    name = "a/../b%2F@c:+"  # all that the grammar of the files allows
    (machine.home / ".aws" / "config").write_text(
        f"[profile {name}]\naws_access_key_id = AKIAODDNAME000000001\naws_secret_access_key = {secret()}\n"
    )
    async with machine.serving("--profile", name) as server:
        for client in ("boto3", "aiocreds"):
            program = await Client.start(client, machine, server.environ)
            assert await program.key() == "AKIAODDNAME000000001"
            await program.end()
    ended = await machine.aiocreds("serve", "--profile", "..")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "aiocreds serve: nothing can be served at /..: clients take it for another path\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nothing tells its descriptors here")
async def test_a_flood_of_silent_connections(aws: Loopback, machine: Machine) -> None:
    aws.lifetime = timedelta(seconds=2)  # it has to ask its source while the flood lasts
    async with AsyncExitStack() as stack:
        with descriptors(256):
            server = await stack.enter_async_context(machine.serving())
        assert (await ask(*server.environ.values()))[0] == 200
        before = open_descriptors(server)
        with silent_connections(server, 400):
            for client in ("boto3", "aiocreds"):
                program = await Client.start(client, machine, server.environ)
                assert (await program.key()).startswith("ASIALOOPBACK")
                await asyncio.sleep(2.2)
                assert (await program.key()).startswith("ASIALOOPBACK")
                await program.end()
            assert open_descriptors(server) < 200
        async with asyncio.timeout(PATIENCE):
            while open_descriptors(server) > before + 5:  # noqa: ASYNC110 - it says so nowhere
                await asyncio.sleep(0.1)
    told = "128 connections at once are the most; the longest silent ones are closed"
    assert server.err == f"aiocreds serve: {told}\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can take a process's descriptors away")
async def test_a_process_without_descriptors_says_so_once(machine: Machine) -> None:
    import resource

    async with machine.serving() as server:
        assert (await ask(*server.environ.values()))[0] == 200
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (open_descriptors(server) + 10, hard))
        with silent_connections(server, 40):
            async with asyncio.timeout(PATIENCE):
                assert (await ask(*server.environ.values()))[0] == 200
    assert server.err == "aiocreds serve: no connection can be accepted: Too many open files\n"


@pytest.mark.slow
async def test_the_token_in_a_file(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    async with machine.serving("--token-file", str(file)) as server:
        assert server.environ == {
            FULL_URI: server.environ[FULL_URI],
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
        }
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (await ask(server.environ[FULL_URI], file.read_text()))[0] == 200
        for client in ("boto3", "aiocreds"):
            program = await Client.start(client, machine, server.environ)
            assert (await program.key()).startswith("ASIALOOPBACK")
            await program.end()
    assert not file.exists()


@pytest.mark.slow
async def test_the_token_that_a_killed_server_has_left_is_replaced(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with machine.serving("--token-file", str(file)) as server:
        server.process.kill()
        await server.process.wait()
    left = file.read_text()
    async with machine.serving("--token-file", str(file)) as server:
        assert (await ask(server.environ[FULL_URI], left))[0] == 401
        assert (await ask(server.environ[FULL_URI], file.read_text()))[0] == 200
    assert not file.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("as long", "is something else: name another, or remove it first"),
        ("longer", "is something else: name another, or remove it first"),
        ("open to others", "is open to other users (mode 0644): run chmod 600 {file}, or remove it first"),
        ("open and empty", "is open to other users (mode 0640): run chmod 600 {file}, or remove it first"),
        ("a link", "is a link: name another, or remove it first"),
        ("a folder", "is no file: name another, or remove it first"),
        ("a pipe", "is no file: name another, or remove it first"),
    ],
)
async def test_what_may_be_somebody_elses_is_no_token_file(
    kind: str, complaint: str, machine: Machine, tmp_path: Path
) -> None:
    file, token = tmp_path / "token", f"aiocreds-{secret()[:43]:x<43}"
    text = {"as long": "x" * len(token), "longer": token + "x", "open and empty": ""}.get(kind, token)
    if kind == "a folder":
        file.mkdir()
    elif kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a link":
        (tmp_path / "other").write_text(token)
        (tmp_path / "other").chmod(0o600)
        file.symlink_to(tmp_path / "other")
    else:
        file.write_text(text)
        file.chmod({"open to others": 0o644, "open and empty": 0o640}.get(kind, 0o600))
    before = file.lstat().st_ino
    ended = await machine.aiocreds("serve", "--token-file", str(file))
    assert ended == (2, "", f"aiocreds serve: --token-file {file} {complaint.format(file=file)}\n")
    assert file.lstat().st_ino == before
    if file.is_file():
        assert file.read_text() == text


@pytest.mark.slow
async def test_a_file_that_holds_something_else_stays(machine: Machine, tmp_path: Path) -> None:
    mine, beside = tmp_path / "credentials", tmp_path / "token.notes.tmp"
    mine.write_text("[default]\n")
    beside.write_text("mine")
    os.utime(beside, (0, 0))
    ended = await machine.aiocreds("serve", "--token-file", str(mine))
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        f"aiocreds serve: --token-file {mine} is something else: name another, or remove it first\n"
    )
    assert mine.read_text() == "[default]\n"
    async with machine.serving("--token-file", str(tmp_path / "token")):
        pass
    assert beside.read_text() == "mine"


@pytest.mark.slow
async def test_a_newer_servers_token_file_stays(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with machine.serving("--token-file", str(file)):
        file.write_text("newer")
    assert file.read_text() == "newer"


@pytest.mark.slow
async def test_what_keeps_it_from_starting(machine: Machine, tmp_path: Path) -> None:
    async with machine.serving() as server:
        port = server.environ[FULL_URI].split(":")[2].strip("/")
        ended = await machine.aiocreds("serve", "--port", port)
        assert (ended.status, ended.out) == (2, "")
        assert ended.err == f"aiocreds serve: 127.0.0.1:{port}: Address already in use; choose another --port\n"
    missing = tmp_path / "missing" / "token"
    ended = await machine.aiocreds("serve", "--token-file", str(missing))
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"aiocreds serve: --token-file {missing} cannot be written: No such file or directory\n"
    ended = await machine.aiocreds("serve", "--profile", "no-such-one")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("aiocreds serve: profile 'no-such-one' is neither in ")


@pytest.mark.slow
async def test_started_again_where_its_variables_are_set_it_does_not_ask_itself(machine: Machine) -> None:
    async with machine.serving() as server:
        before = server.environ
    port = before[FULL_URI].split(":")[2].strip("/")
    async with machine.serving("--port", port, **before) as server:
        assert server.environ[FULL_URI] == before[FULL_URI]
        status, told = await ask(server.environ[FULL_URI], server.environ[TOKEN])
        assert (status, told["AccessKeyId"][:12]) == (200, "ASIALOOPBACK")


async def test_it_prints_its_lines_into_a_pipe_at_once_and_nothing_else(machine: Machine) -> None:
    program = dedent(f"""
        {" ".join(COMMAND)} serve > "$1" & pid=$!
        until grep -qs TOKEN "$1"; do sleep 0.05; done
        export $(cat "$1"); kill $pid; wait $pid; echo "$? ${{#{TOKEN}}}"
    """)
    ended = await machine.run("sh", "-c", program, "sh", str(machine.home / "lines"))
    assert (ended.out, ended.err) == ("0 52\n", "")
    assert len((machine.home / "lines").read_text().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_at_a_terminal_it_prints_lines_to_paste_and_how_it_ends(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "a token"
    words = (*COMMAND, "serve", "--token-file", str(file))
    async with at_a_terminal(*words, environ=machine.variables) as terminal:
        await terminal.until("Ctrl-C ends it\n")
        url, token, told = terminal.seen.splitlines()
        assert told == "aiocreds serve: paste these lines into the shell that wants credentials; Ctrl-C ends it"
        shell = await machine.run("sh", "-c", f"{url}\n{token}\nenv")
        environ = dict(line.split("=", 1) for line in shell.out.splitlines())
        assert environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == str(file)
        assert (await ask(environ[FULL_URI], file.read_text()))[0] == 200
        terminal.type(CTRL_C)
        assert await terminal.ended() == 0
    assert terminal.seen.removeprefix(f"{url}\n{token}\n{told}\n") == "^C"
    assert not file.exists()


@pytest.mark.slow
async def test_debug_shows_no_token_and_no_secret(machine: Machine) -> None:
    async with machine.serving("--debug") as server:
        url, token = server.environ.values()
        assert (await ask(url, token))[0] == 200
        assert (await ask(url, "wrong"))[0] == 401
    assert "401 Unauthorized: this is not the token" in server.err
    assert token not in server.err
    assert MARK not in server.err
