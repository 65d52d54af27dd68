"""``aiocreds login`` and ``logout`` as people run them, what the other commands offer, and who reads the files."""

# ruff: noqa: ASYNC240 - the tests may block
from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import segno

from aiocreds._token_cache.lock import FileLock
from tests.helpers.authorization import DEVICE, LOG_OUT, ME, REGISTER
from tests.helpers.command import COMMAND, Machine
from tests.helpers.person import Person
from tests.helpers.scripted import until
from tests.helpers.shared_files import (
    APP,
    LEGACY,
    cached,
    login_token_file,
    registration_file,
    sso_token_file,
    write_config,
)
from tests.helpers.sign_in_services import OIDC, SIGN_IN
from tests.helpers.terminal import CTRL_C, Terminal, at_a_terminal

if TYPE_CHECKING:
    from tests.helpers.loopback_aws import Loopback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="a terminal of Unix"),
    pytest.mark.shows_secrets("stdout", because="the programs print whose keys they got"),
]

NODE = shutil.which("node")
PACKAGES = Path(os.environ.get("AIOCREDS_TEST_NPM", Path(__file__).parents[2] / "node_modules"))
needs_npm = pytest.mark.skipif(
    not (NODE and (PACKAGES / "@aws-sdk" / "credential-providers").is_dir()),
    reason="Node.js with @aws-sdk/credential-providers is not here (AIOCREDS_TEST_NPM: node_modules)",
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to look into")
ENTER, CTRL_D = "\n", "\x04"
SHOW = [sys.executable, "-c", "import os; print('ran with', os.environ['AWS_ACCESS_KEY_ID'])"]
PROFILES = APP + LEGACY + f"[profile me]\nlogin_session = {ME}\n"
BOTOCORE = """
import sys
from botocore.session import Session

print(Session(profile=sys.argv[1]).get_credentials().get_frozen_credentials().access_key)
"""
NPM = """
const { fromIni } = require("@aws-sdk/credential-providers");
fromIni({ profile: process.argv[1] })().then((keys) => console.log(keys.accessKeyId));
"""


@pytest.fixture
def machine(aws: Loopback, home: Path) -> Machine:
    """Without a browser, and with the profiles app, old and me."""
    write_config(home, PROFILES)
    aws.sign_in.authorization.interval = 0.1
    (home / "bin").mkdir()  # where there is no aws
    environ = {**aws.environ, "AWS_DEFAULT_REGION": "eu-central-1", "PATH": str(home / "bin")}
    return Machine(home, environ)


def terminal(machine: Machine, *words: str, cwd: str | None = None, **variables: str) -> Any:
    environ = {**machine.variables, "TERM": "xterm", **variables}
    return at_a_terminal(*COMMAND, *words, environ=environ, cwd=cwd)


async def page_in(window: Terminal) -> str:
    """The page that the person is told to open."""
    await window.until("\n  http")
    found = re.search(r"\n  (http\S+)\n", window.seen)
    assert found, window.seen
    return found[1]


async def sign_in(machine: Machine, *words: str) -> None:
    """Sign in with the person's browser on another machine, or, with ``--no-browser``, on this one."""
    process = await machine.start(*COMMAND, "login", *words, DISPLAY=":0")
    assert process.stderr is not None
    lines = [(await process.stderr.readline()).decode() for _ in range(2)]
    assert lines[1].startswith("  http"), lines
    await Person().go(lines[1].strip())
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert out.decode().startswith("Signed in to ")


def left_alone(home: Path) -> None:
    """That no lock is held, and no file is half written."""
    for folder in (home / ".aws/sso/cache", home / ".aws/login/cache"):
        for file in folder.glob("*") if folder.exists() else ():
            assert file.suffix in (".json", ".lock"), file
            if file.suffix == ".lock":
                lock = FileLock(str(file))
                assert lock.take()
                lock.release()
            else:
                json.loads(file.read_text())


# Who reads what it writes.


@pytest.mark.parametrize(
    ("words", "profile"),
    [
        (["app", "--no-browser"], "app"),
        (["--sso-session", "corp", "--use-device-code"], "app"),
        (["old", "--no-browser"], "old"),
        (["--profile", "me", "--no-browser"], "me"),
    ],
    ids=["session", "device code", "older form", "console"],
)
@pytest.mark.parametrize("who", ["botocore", "aiocreds", pytest.param("npm", marks=needs_npm)])
async def test_others_read_it(aws: Loopback, machine: Machine, words: list[str], profile: str, who: str) -> None:
    if who == "npm" and profile == "me":  # it takes no other endpoint for it, and renews nothing that is good
        aws.sign_in.keys_life *= 4
    await sign_in(machine, *words)
    program = {
        "botocore": [sys.executable, "-c", BOTOCORE, profile],
        "npm": [NODE or "node", "-e", NPM, profile],
        "aiocreds": [*COMMAND, "exec", profile, "--", *SHOW],
    }[who]
    ended = await machine.run(*program, NODE_PATH=str(PACKAGES), PATH=os.environ["PATH"])
    assert "ASIALOOPBACK" in ended.out, ended.err
    polls = len(aws.sign_in.access_tokens) if "--use-device-code" in words else aws.count(OIDC)
    assert polls + aws.count(SIGN_IN) == 1, "nobody had to renew it"


async def test_the_file_is_the_one_that_aws_cli_writes(aws: Loopback, machine: Machine) -> None:
    """The same names of the fields, in the same form."""
    theirs = cached(aws.sign_in.sso_login(machine.home))
    await sign_in(machine, "app", "--no-browser")
    ours = cached(sso_token_file(machine.home))
    assert ours.keys() == theirs.keys()
    assert {name: type(value) for name, value in ours.items()} == dict.fromkeys(theirs, str)
    theirs = cached(aws.sign_in.login(machine.home))
    await sign_in(machine, "me", "--no-browser")
    ours = cached(login_token_file(machine.home))
    assert ours.keys() == {*theirs, "signInRegion"}
    assert ours["accessToken"].keys() == theirs["accessToken"].keys()


# At a terminal, and without one.


@pytest.mark.parametrize(
    "command",
    [
        ["exec", "app", "--", *SHOW],
        ["exec", "app", "--shared", "shared", "--", *SHOW],
        ["export", "app"],
        ["explain", "app", "--offline"],
    ],
    ids=["exec", "exec --shared", "export", "explain"],
)
async def test_a_command_offers_to_sign_in(aws: Loopback, machine: Machine, command: list[str]) -> None:
    async with terminal(machine, *command, cwd=str(machine.home)) as window:
        await window.until("Press Enter to sign in to corp (Ctrl-C stops): ")
        assert "there is no readable sign-in in" in window.seen
        assert not aws.count(REGISTER)
        window.type(ENTER)
        page = await page_in(window)
        assert "It must show this code: ABCD-EFGH" in window.seen
        await Person().go(page)
        assert await window.ended() == 0
    assert "Signed in to corp until " in window.seen
    assert "ASIALOOPBACK" in window.seen or "****0001" in window.seen


async def test_a_phone_can_read_the_address(machine: Machine) -> None:
    async with terminal(machine, "login", "app", PYTHONUTF8="1") as window:
        page = await page_in(window)
        picture = StringIO()
        segno.make(page, error="l", micro=False).terminal(out=picture, compact=True, border=2)
        await window.until(picture.getvalue())
        await Person().go(page)
        assert await window.ended() == 0


async def test_how_long_there_is_left(machine: Machine) -> None:
    async with terminal(machine, "login", "app") as window:
        await window.until("waiting for the browser, 9:5")
        page = await page_in(window)
        await Person().go(page)
        assert await window.ended() == 0
    assert "left; Ctrl-C stops" in window.seen


@pytest.mark.parametrize("command", [["exec", "app", "--", *SHOW], ["export", "app"], ["explain", "app"]])
async def test_nobody_is_asked_without_a_terminal(aws: Loopback, machine: Machine, command: list[str]) -> None:
    ended = await machine.aiocreds(*command)
    assert ended.status in (2, 125)
    assert "aiocreds login --sso-session corp" in " ".join((ended.out + ended.err).split())
    assert "Press Enter" not in ended.out + ended.err
    assert not aws.requests


async def test_nobody_is_asked_by_a_credential_process(aws: Loopback, machine: Machine) -> None:
    """An SDK reads what it prints, also where that runs at a terminal."""
    line = f"{' '.join(COMMAND)} export app > out 2> err; echo ended with $?"
    async with at_a_terminal("/bin/sh", "-c", line, environ=machine.variables, cwd=str(machine.home)) as window:
        assert await window.ended() == 0
    assert window.seen == "ended with 2\n"
    assert "run aiocreds login --sso-session corp" in (machine.home / "err").read_text()
    assert not aws.requests


async def test_nobody_is_asked_by_serve(aws: Loopback, machine: Machine) -> None:
    async with machine.serving("--profile", "app") as server:
        request = "u.Request(sys.argv[1], headers={'Authorization': sys.argv[2]})"
        fetch = f"import sys, urllib.request as u; u.urlopen({request})"
        url = server.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        ended = await machine.run(
            sys.executable, "-c", fetch, url, server.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        )
        assert ended.status != 0
    assert "run aiocreds login --sso-session corp" in server.err
    assert not aws.count(REGISTER)


async def test_the_person_does_not_want_to(aws: Loopback, machine: Machine) -> None:
    async with terminal(machine, "exec", "app", "--", *SHOW) as window:
        await window.until("Press Enter")
        window.type(CTRL_D)
        assert await window.ended() == 125
    assert "run aiocreds login --sso-session corp" in window.seen
    assert not aws.requests


STEPS = {
    "before": (["exec", "app", "--", *SHOW], "", "Press Enter"),
    "for a device code": (["login", "app"], "", "waiting for the browser"),
    "for the browser": (["login", "app", "--no-browser"], ":0", "waiting for the browser"),
    "for the browser, console": (["login", "me", "--no-browser"], ":0", "waiting for the browser"),
    "for a pasted code": (["login", "me", "--remote"], "", "Code: "),
}


@needs_proc
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGHUP"])
async def test_it_is_stopped_while_it_waits(machine: Machine, step: str, how: str) -> None:
    """No listener, no lock, no half file."""
    command, display, shown = STEPS[step]
    async with terminal(machine, *command, **({"DISPLAY": display} if display else {})) as window:
        await window.until(shown)
        ports = listening(window.process.pid)
        assert len(ports) == (1 if "browser" in step else 0)
        if how == "Ctrl-C":
            window.type(CTRL_C)
        else:
            window.process.send_signal(getattr(signal, how))
        status = await window.ended()
    assert status in {"Ctrl-C": (130,), "SIGTERM": (-15,), "SIGHUP": (-1,)}[how]
    assert "Traceback" not in window.seen
    left_alone(machine.home)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


def listening(pid: int) -> list[int]:
    """The ports that a process listens on."""
    sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


async def test_a_role_is_signed_in_to_where_its_source_is(machine: Machine) -> None:
    write_config(
        machine.home, APP + "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile=app\n"
    )
    await sign_in(machine, "role", "--no-browser")


# Out again.


async def test_signing_out(aws: Loopback, machine: Machine) -> None:
    file = aws.sign_in.sso_login(machine.home)
    ended = await machine.aiocreds("logout", "app")
    assert (ended.status, ended.out) == (0, f"Signed out: {file} is removed.\n")
    assert aws.count(LOG_OUT) == 1
    assert (await machine.aiocreds("logout", "--sso-session", "corp")).out == "Nobody was signed in.\n"
    left_alone(machine.home)


async def test_signing_out_of_everything_asks_first(aws: Loopback, machine: Machine) -> None:
    files = [aws.sign_in.sso_login(machine.home), aws.sign_in.login(machine.home, ME)]
    ended = await machine.aiocreds("logout", "--all")
    assert (ended.status, "add --yes" in ended.err) == (2, True)
    for answer, status in (("n", 1), ("y", 0)):
        assert all(file.exists() for file in files)
        async with terminal(machine, "logout", "--all") as window:
            await window.until("[y/N]: ")
            window.type(f"{answer}\n")
            assert await window.ended() == status
    assert not any(file.exists() for file in files)
    aws.sign_in.sso_login(machine.home)
    assert (await machine.aiocreds("logout", "--all", "--yes")).status == 0


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["login", "app", "--sso-session", "corp"], "are both given"),
        (["logout", "app", "--sso-session", "corp"], "are both given"),
        (["logout", "app", "--all"], "--all ends every sign-in"),
        (["login", "--sso-session", "x"], "[sso-session x]"),
        (["login", "me", "--use-device-code"], "--remote"),
    ],
)
async def test_mistakes(machine: Machine, words: list[str], fault: str) -> None:
    ended = await machine.aiocreds(*words)
    assert (ended.status, ended.out) == (2, "")
    assert fault in ended.err


@needs_proc
async def test_what_is_typed_and_shown_is_no_secret(aws: Loopback, machine: Machine) -> None:
    """Neither in the list of processes nor on the terminal nor in the log at level DEBUG."""
    process = await machine.start(*COMMAND, "login", "app", "--no-browser", "--debug", DISPLAY=":0")
    assert process.stderr is not None
    seen = ""
    while "\n  http" not in seen:
        seen += (await process.stderr.readline()).decode()
    words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
    assert words[-5:] == ["login", "app", "--no-browser", "--debug", ""]
    await Person().go(seen.rpartition("\n  ")[2].strip())
    out, err = await process.communicate()
    shown = seen + out.decode() + err.decode()
    token = cached(sso_token_file(machine.home))
    for name in ("accessToken", "refreshToken", "clientSecret"):
        assert token[name] not in shown
    [code] = aws.sign_in.authorization.codes
    assert code not in shown


async def test_completion(machine: Machine) -> None:
    line = "aiocreds login --sso-session "
    variables = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    read = f"{' '.join(COMMAND[:1] + COMMAND[3:])} 8>&1"
    ended = await machine.run("/bin/sh", "-c", read, **variables)
    assert ended.out.split() == ["corp"], ended
    variables |= {"COMP_LINE": "aiocreds login --", "COMP_POINT": "17"}
    ended = await machine.run("/bin/sh", "-c", read, **variables)
    assert {"--use-device-code", "--remote", "--no-browser", "--sso-session", "--profile"} <= set(ended.out.split())


# A signal while the code is exchanged and what it brings is written.

TERMINATED = """
import asyncio, os, signal, sys
from aiocreds._token_cache import cache
from aiocreds.login import sign_in, sign_out
from tests.helpers.person import Person

given, at = sys.argv[1].split(), int(sys.argv[2])
count = 0

class Counted:
    def __init__(self, work):
        self.work = work

    def __await__(self):
        global count
        inner = self.work.__await__()
        while True:
            try:
                waits_for = next(inner)
            except StopIteration as end:
                return end.value
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGTERM)
            yield waits_for

start_thread = cache.Renewal.start_thread

def counted(self, work):
    async def whole():
        return await Counted(work())
    return start_thread(self, whole)

class Signed(Person):
    async def __call__(self, prompt):
        cache.Renewal.start_thread = counted  # from here on: not for the registration
        return await super().__call__(prompt)

async def main():
    person = Signed()
    if "out" in given or "registers" in given:
        cache.Renewal.start_thread = counted
    if "out" in given:
        await sign_out(given[0])
        return
    await sign_in(given[0], prompt=person, use_device_code="device" in given or None, remote="remote" in given)
    await person.home()

os.environ["DISPLAY"] = ":0"
asyncio.run(main())
print("ended", count)
"""


async def test_a_signal_while_it_signs_out(aws: Loopback, machine: Machine) -> None:
    """Both or none: no sign-in that the portal has forgotten stays in its file."""
    finished: list[bool] = []
    for at in range(1, 100):
        file = aws.sign_in.sso_login(machine.home)
        token = cached(file)["accessToken"]
        ended = await machine.run(sys.executable, "-c", TERMINATED, "app out", str(at))
        finished.append(not file.exists() and token not in aws.sign_in.access_tokens)
        left_alone(machine.home)
        if ended.status == 0:
            break
    assert len(finished) >= 5
    assert all(finished)


async def test_a_signal_while_it_registers(aws: Loopback, machine: Machine) -> None:
    """The registration that the service knows is in the file, and is used again."""
    file, kept = registration_file(machine.home), list[bool]()
    for at in range(1, 6):
        file.unlink(missing_ok=True)
        ended = await machine.run(sys.executable, "-c", TERMINATED, "app registers", str(at))
        assert ended.status == -signal.SIGTERM, ended
        kept.append(cached(file)["clientId"] in aws.sign_in.registrations)
        left_alone(machine.home)
    assert all(kept)
    assert aws.count(REGISTER) == 5


@pytest.mark.parametrize("given", ["app here", "me here", "me remote"])
async def test_a_signal_at_each_await_loses_no_sign_in(aws: Loopback, machine: Machine, given: str) -> None:
    """None of N: the program ends at once after the file is written."""
    profile = given.partition(" ")[0]
    file = (sso_token_file if profile == "app" else login_token_file)(machine.home)
    outcomes: list[bool] = []
    for at in range(1, 100):
        file.unlink(missing_ok=True)
        ended = await machine.run(sys.executable, "-c", TERMINATED, given, str(at))
        if ended.status == 0:
            break
        assert ended.status == -signal.SIGTERM, ended
        token = cached(file)
        registrations = aws.sign_in.registrations.values()
        known = {*aws.sign_in.login_tokens, *(one for it in registrations for one in it.refresh_tokens)}
        outcomes.append(token["refreshToken"] in known)
        left_alone(machine.home)
    assert len(outcomes) >= 5
    assert all(outcomes), f"lost {outcomes.count(False)} of {len(outcomes)}"


async def test_a_signal_during_a_poll_loses_no_sign_in(aws: Loopback, machine: Machine) -> None:
    file = sso_token_file(machine.home)
    outcomes: list[bool] = []
    for at in range(1, 100):
        file.unlink(missing_ok=True)
        answers = aws.count(DEVICE)
        ended = await machine.run(sys.executable, "-c", TERMINATED, "app device", str(at))
        await until(lambda before=answers: aws.count(DEVICE) > before)  # type: ignore[misc]
        if ended.status == 0:
            break
        # A poll that the person's yes came after has used nothing: the code is still there.
        outcomes.append(file.exists() or bool(aws.sign_in.authorization.devices))
        aws.sign_in.authorization.devices.clear()
        left_alone(machine.home)
    assert len(outcomes) >= 5
    assert all(outcomes), f"lost {outcomes.count(False)} of {len(outcomes)}"
