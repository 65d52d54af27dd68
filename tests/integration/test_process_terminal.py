"""A credential process that asks a person: programs at a pseudo-terminal, under a shell where job control matters.

================================  ==========================================================================
the person, or the program        what happens
================================  ==========================================================================
types the code                    the process reads it with the echo off; the terminal is as before
presses Ctrl-C at the prompt      process and program end as for any Ctrl-C
presses Ctrl-Z at the prompt      both stop, the shell has the terminal; after fg the process reads on, the echo off
types nothing                     the process is killed with its children at the time-out, the terminal is ours
nobody waits (a refresh behind)   it declines, no failure is counted, and it is not run again behind callers
has piped input                   stays the program's own
asks beside another of its job    they are answered one after the other
is run in the background          waits for fg until the time-out
is itself asked by aiocreds       its process asks all the same: each lends the terminal to the next
has given the terminal away       (exec --server) is left alone: its command has it
================================  ==========================================================================
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

PIPED_INPUT = "A process has the terminal or nothing as its standard input, never what is piped into the program."
PATIENCE = 30.0  # seconds until what should happen counts as not happening
ASKS = """\
#!{python}
import json, os, sys, termios, time
tty = os.open("/dev/tty", os.O_RDWR)
before = termios.tcgetattr(tty)
quiet = termios.tcgetattr(tty)
quiet[3] &= ~termios.ECHO
termios.tcsetattr(tty, termios.TCSADRAIN, quiet)
os.write(tty, b"MFA code: ")
code = os.read(tty, 100).decode().strip()
termios.tcsetattr(tty, termios.TCSADRAIN, before)
with open({log!r}, "a") as log:
    log.write("asked\\n")
if code != "123456":
    sys.exit(5)
print(json.dumps({document}))
"""
PLAIN = "import sys; sys.excepthook = sys.__excepthook__\n"  # an environment may show Ctrl-C in its own way
PROGRAM = """\
import asyncio, os, sys
from aiocreds import from_ini

async def main():
    credentials = await from_ini(process_timeout=float(os.environ.get("LIMIT", 60)))()
    print("got", credentials.access_key_id[-4:], flush=True)

asyncio.run(main())
print("typed", input("again? "), flush=True)
"""


class Screen:
    """A program at a terminal of its own, and what it has shown so far."""

    def __init__(self, words: list[str], environ: dict[str, str]) -> None:
        self.shown = ""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:  # pragma: no cover - another process
            os.execve(words[0], words, environ)

    def until(self, pattern: str) -> str:
        """Read until the pattern is shown; return what was shown up to its end."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.shown)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} is not shown: {self.shown!r}")
            if select.select([self.terminal], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.terminal, 4096).decode(errors="replace")
                except OSError:  # the last program has gone
                    if not re.search(pattern, self.shown):
                        raise AssertionError(f"it has ended without {pattern!r}: {self.shown!r}") from None
        text, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return text

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.terminal, text.encode())

    def echoes(self) -> bool:
        """Return whether what is typed is shown."""
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)

    def is_quiet(self) -> bool:
        """Return whether a line is read and not shown; a shell that edits lines reads single keys."""
        settings = termios.tcgetattr(self.terminal)[3]
        return bool(settings & termios.ICANON) and not settings & termios.ECHO

    def status(self) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.terminal], [], [], 0.05)[0]:
                with suppress(OSError):
                    self.shown += os.read(self.terminal, 4096).decode(errors="replace")
        raise AssertionError(f"it does not end: {self.shown!r}")

    def close(self) -> None:
        """End what is left."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)


class Machine:
    """A machine whose default profile asks, and its programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.screens: list[Screen] = []
        document = {"Version": 1, "AccessKeyId": "ASIATERMINAL1234", "SecretAccessKey": secret()}
        self.vend = folder / "vend"
        self.vend.write_text(ASKS.format(python=sys.executable, log=str(self.log), document=repr(document)))
        self.vend.chmod(0o755)
        (folder / ".aws").mkdir()
        (folder / ".aws" / "config").write_text(f"[default]\ncredential_process = {self.vend}\n")
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PS1": "$ ",
            "TERM": "dumb",
        }

    def python(self, program: str, **environ: str) -> Screen:
        """Run a Python program at a terminal."""
        file = self.folder / "program.py"
        file.write_text(PLAIN + textwrap.dedent(program))
        return self.run(sys.executable, str(file), **environ)

    def run(self, *words: str, **environ: str) -> Screen:
        """Run a program at a terminal."""
        screen = Screen(list(words), {**self.environ, **environ})
        self.screens.append(screen)
        return screen

    def asked(self) -> int:
        """Return how often a person has answered."""
        return self.log.read_text().count("asked") if self.log.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for screen in machine.screens:
        screen.close()


def test_a_code_is_asked_for_and_read(machine: Machine) -> None:
    screen = machine.python(PROGRAM)
    screen.until("MFA code: ")
    assert not screen.echoes()
    screen.type("123456\n")
    assert "123456" not in screen.until("got 1234")
    screen.until(r"again\? ")
    assert screen.echoes()
    screen.type("yes\n")  # the terminal is the program's again
    screen.until("typed yes")
    assert screen.status() == 0


def test_ctrl_c_at_the_prompt_ends_both(machine: Machine) -> None:
    screen = machine.python(PROGRAM)
    screen.until("MFA code: ")
    screen.type("\x03")
    screen.until("KeyboardInterrupt")
    assert screen.status() == -signal.SIGINT
    assert screen.echoes()
    assert not machine.asked()


def test_ctrl_z_at_the_prompt_stops_both_and_fg_goes_on(machine: Machine) -> None:
    file = machine.folder / "program.py"
    file.write_text(PROGRAM)
    screen = machine.run("/bin/bash", "--norc", "--noprofile", "-i")
    screen.until(r"\$ ")
    screen.type(f"{sys.executable} {file}\n")
    screen.until("MFA code: ")
    screen.type("\x1a")
    screen.until("Stopped")
    screen.type("echo the shell $((6 * 7))\n")
    screen.until("the shell 42")
    screen.type("fg\n")
    time.sleep(0.5)  # the program has said all that it says before it is stopped
    screen.type("123456\n")
    screen.until("got 1234")
    screen.until(r"again\? ")
    screen.type("yes\n")
    screen.until("typed yes")
    screen.type("exit\n")
    assert screen.status() == 0


def test_after_ctrl_z_and_fg_the_echo_is_still_off(machine: Machine) -> None:
    screen = stopped_at_the_prompt(machine, LIMIT="3")
    time.sleep(3.5)  # the time that a person is away for is not the process's
    screen.type("fg\n")
    wait_until(screen.is_quiet)
    screen.type("123456\n")
    assert "123456" not in screen.until("got 1234")
    screen.until(r"again\? ")
    assert screen.echoes()
    screen.type("yes\n")
    screen.until("typed yes")


def test_after_ctrl_z_and_bg_it_waits_for_fg(machine: Machine) -> None:
    screen = stopped_at_the_prompt(machine)
    screen.type("bg\n")
    screen.type("echo the shell $((6 * 7))\n")
    screen.until("the shell 42")
    screen.type("fg\n")
    wait_until(screen.is_quiet)
    screen.type("123456\n")
    screen.until("got 1234")


def stopped_at_the_prompt(machine: Machine, **environ: str) -> Screen:
    """Return a shell with the program, stopped as it asks."""
    file = machine.folder / "program.py"
    file.write_text(PROGRAM)
    screen = machine.run("/bin/bash", "--norc", "--noprofile", "-i", **environ)
    screen.until(r"\$ ")
    screen.type(f"{sys.executable} {file}\n")
    screen.until("MFA code: ")
    screen.type("\x1a")
    screen.until("Stopped")
    return screen


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["exit 130", "trap - INT; kill -INT $$"])
def test_ctrl_c_ends_the_program_however_the_process_tells_it(machine: Machine, how: str) -> None:
    machine.vend.write_text(f"#!/bin/sh\ntrap '{how}' INT\nprintf 'MFA code: ' >/dev/tty\nread x </dev/tty\n")
    screen = machine.python(PROGRAM)
    screen.until("MFA code: ")
    wait_until(lambda: os.tcgetpgrp(screen.terminal) != screen.pid)  # the process has it
    screen.type("\x03")
    screen.until("KeyboardInterrupt")
    assert screen.status() == -signal.SIGINT


def test_two_of_one_job_are_answered_one_after_the_other(machine: Machine) -> None:
    """As workers of one server are, or the providers of one Terraform run."""
    file = machine.folder / "program.py"
    file.write_text(PROGRAM.partition('print("typed')[0])
    started = machine.folder / "started"
    first, _, rest = machine.vend.read_text().partition("\n")
    machine.vend.write_text(f"{first}\nprint('x', end='', file=open({str(started)!r}, 'a'))\n{rest}")
    screen = machine.run("/bin/sh", "-c", f"{sys.executable} {file} & {sys.executable} {file}; wait; echo over")
    wait_until(lambda: started.exists() and started.stat().st_size == 2)
    time.sleep(0.3)  # both ask by now
    for _ in range(2):
        wait_until(screen.is_quiet)
        screen.type("123456\n")
        screen.until("got 1234")
    screen.until("over")
    assert screen.status() == 0
    assert screen.echoes()


def asks_through_the_command(machine: Machine) -> None:
    """Have the default profile ask another aiocreds, whose process asks the person."""
    (machine.folder / ".aws" / "config").write_text(
        f"[default]\ncredential_process = {sys.executable} -m aiocreds export --profile inner\n"
        f"[profile inner]\ncredential_process = {machine.vend}\n"
    )


def test_a_process_of_a_process_asks(machine: Machine) -> None:
    asks_through_the_command(machine)
    screen = stopped_at_the_prompt(machine)
    screen.type("fg\n")
    wait_until(screen.is_quiet)
    screen.type("123456\n")
    screen.until("got 1234")
    screen.until(r"again\? ")
    assert screen.echoes()
    screen.type("yes\n")
    screen.until("typed yes")
    assert machine.asked() == 1


def test_ctrl_c_in_a_process_of_a_process_ends_the_program(machine: Machine) -> None:
    asks_through_the_command(machine)
    screen = machine.python(PROGRAM)
    wait_until(screen.is_quiet)
    screen.until("MFA code: ")
    screen.type("\x03")
    screen.until("KeyboardInterrupt")
    assert screen.status() == -signal.SIGINT


def test_one_that_was_not_answered_is_not_run_behind_callers(machine: Machine) -> None:
    machine.vend.write_text("#!/bin/sh\nprintf 'MFA code: ' >/dev/tty\nread code </dev/tty\n")
    screen = machine.python(
        """\
        import asyncio
        from aiocreds import SourceUnavailable, from_ini

        async def main():
            provider = from_ini(process_timeout=1)
            try:
                await provider()
            except SourceUnavailable as error:
                print("error:", error, flush=True)
            async with provider:
                await asyncio.sleep(1)
            print("failures", provider.status.failures, flush=True)

        asyncio.run(main())
        """
    )
    screen.until("MFA code: ")
    screen.until("did not finish within 1 s")
    assert "MFA" not in screen.until("failures 1")
    assert screen.status() == 0


def test_the_command_beside_a_server_keeps_the_terminal(machine: Machine) -> None:
    document = {"Version": 1, "AccessKeyId": "ASIATERMINAL1234", "SecretAccessKey": secret(), "Expiration": "SOON"}
    text = ASKS.format(python=sys.executable, log=str(machine.log), document=repr(document))
    soon = "time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 2))"
    machine.vend.write_text(text.replace("'SOON'", soon))
    command = machine.folder / "command.py"
    command.write_text(
        "import json, os, sys, time, urllib.error, urllib.request\n"
        "time.sleep(2.5)  # the keys have ended, and nobody has the terminal to be asked for others\n"
        "headers = {'Authorization': os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN']}\n"
        "asked = urllib.request.Request(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'], headers=headers)\n"
        "try: urllib.request.urlopen(asked)\n"
        "except urllib.error.HTTPError as error: print('told:', json.load(error)['message'], flush=True)\n"
        "print('typed', input('command? '), flush=True)\n"
    )
    screen = machine.run(sys.executable, "-m", "aiocreds", "exec", "--server", "--", sys.executable, str(command))
    screen.until("MFA code: ")
    screen.type("123456\n")
    told = screen.until(r"command\? ")
    assert "it has asked at the terminal before, and has none now" in " ".join(told.split())
    screen.type("yes\n")
    screen.until("typed yes")
    assert screen.status() == 0


def test_on_a_system_that_cannot_look_without_taking_the_status(machine: Machine) -> None:
    """As macOS before Python 3.13."""
    screen = machine.python("import os\ndel os.waitid\n" + PROGRAM)
    screen.until("MFA code: ")
    screen.type("123456\n")
    screen.until("got 1234")
    screen.until(r"again\? ")
    screen.type("yes\n")
    screen.until("typed yes")
    assert screen.status() == 0


def test_nothing_is_typed(machine: Machine) -> None:
    screen = machine.python(
        """\
        import asyncio, os
        from aiocreds import SourceUnavailable, from_ini

        async def main():
            try:
                await from_ini(process_timeout=1.5)()
            except SourceUnavailable as error:
                print("error:", error, flush=True)

        asyncio.run(main())
        print("typed", input("again? "), flush=True)
        """
    )
    screen.until("MFA code: ")
    told = screen.until(r"again\? ")
    assert "did not finish within 1.5 s and was killed" in told
    assert "process_timeout=, or --process-timeout of the command" in told
    screen.type("yes\n")
    screen.until("typed yes")
    assert screen.status() == 0


def test_behind_callers_it_is_not_asked(machine: Machine) -> None:
    document = {
        "Version": 1,
        "AccessKeyId": "ASIATERMINAL1234",
        "SecretAccessKey": secret(),
        "Expiration": "SOON",
    }
    text = ASKS.format(python=sys.executable, log=str(machine.log), document=repr(document))
    soon = "time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 240))"
    machine.vend.write_text(text.replace("'SOON'", soon))
    screen = machine.python(
        """\
        import asyncio, datetime
        from aiocreds import from_ini, Context

        async def main():
            context = Context()
            provider = from_ini(context=context)
            await provider()
            print("loaded", flush=True)
            context.clock.learn(150.0)  # into the advisory window, if not into the last minute
            for _ in range(3):
                await provider()
                await asyncio.sleep(0.5)
            print("failures", provider.status.failures, provider.status.last_error, flush=True)

        asyncio.run(main())
        """
    )
    screen.until("MFA code: ")
    screen.type("123456\n")
    screen.until("loaded")
    assert "MFA" not in screen.until("failures 0 None")
    assert screen.status() == 0
    assert machine.asked() == 1


def test_a_program_in_the_background_of_its_terminal(machine: Machine) -> None:
    file = machine.folder / "program.py"
    file.write_text(PROGRAM)
    screen = machine.run("/bin/bash", "--norc", "--noprofile", "-i")
    screen.until(r"\$ ")
    screen.type(f"LIMIT=1.5 {sys.executable} {file} &\n")
    screen.until(
        "asks at the terminal, and this program was in its background for 1.5 s; bring it to the foreground"
    )
    screen.type("echo the shell $((6 * 7))\n")
    screen.until("the shell 42")
    screen.type("exit\n")
    assert screen.status() in (0, 1)


@pytest.mark.parametrize("command", ["export", "explain", "exec"])
def test_the_command_at_a_terminal(machine: Machine, command: str) -> None:
    words = {"export": ["export"], "explain": ["explain", "--offline"], "exec": ["exec", "--", "env"]}[command]
    screen = machine.run(sys.executable, "-m", "aiocreds", *words)
    screen.until("MFA code: ")
    screen.type("123456\n")
    screen.until("1234")
    assert screen.status() == 0
    assert screen.echoes()


def test_the_commands_time_limit(machine: Machine) -> None:
    screen = machine.run(sys.executable, "-m", "aiocreds", "export", "--process-timeout", "1")
    screen.until("did not finish within 1 s and was killed")
    assert screen.status() == 2


def test_piped_input_stays_the_programs_own_as_it_does_not_with_botocore(machine: Machine) -> None:
    document = json.dumps({"Version": 1, "AccessKeyId": "ASIATERMINAL1234", "SecretAccessKey": secret()})
    (machine.folder / "output").write_text(document)
    machine.vend.write_text(f"#!/bin/sh\nread line && exit 7\ncat {machine.folder}/output\n")
    program = machine.folder / "program.py"
    program.write_text(PROGRAM.replace('input("again? ")', "input()"))
    assert piped(machine, program) == (0, ["got 1234", "typed for the program"])
    program.write_text("import botocore.session\nbotocore.session.Session().get_credentials()\n")
    status, said = piped(machine, program)
    assert status == 1
    assert "CredentialRetrievalError" in said[-1]  # the process has read the line


def piped(machine: Machine, program: Path) -> tuple[int, list[str]]:
    """Run a program with a line of input and no terminal; return its status and what it printed."""
    ended = subprocess.run(
        [sys.executable, program],
        input="for the program\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=machine.environ,
        text=True,
        timeout=PATIENCE,
        start_new_session=True,  # whatever the tests run at
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="a shell with job control")
def test_a_process_with_jobs_of_its_own_is_killed_with_what_it_has_in_front(machine: Machine) -> None:
    config = machine.folder / ".aws" / "config"
    long = 4000 + os.getpid() / 10**7  # seconds, of this test alone
    config.write_text(f"[default]\ncredential_process = /bin/bash --norc -ic 'sleep {long}; true'\n")
    screen = machine.python(
        """\
        import asyncio
        from aiocreds import SourceUnavailable, from_ini

        async def main():
            try:
                await from_ini(process_timeout=2)()
            except SourceUnavailable as error:
                print("error:", error, flush=True)

        asyncio.run(main())
        print("typed", input("again? "), flush=True)
        """
    )
    screen.until("did not finish within 2 s and was killed")
    screen.until(r"again\? ")
    screen.type("yes\n")
    screen.until("typed yes")
    assert screen.status() == 0
    sleeping = subprocess.run(
        ["pgrep", "-f", f"^sleep {long}$"], capture_output=True, text=True, check=False
    ).stdout
    assert not sleeping
