"""Credentials from a program that prints them.

===========================================  ==========================================================
the program                                  the caller gets
===========================================  ==========================================================
is missing, not executable, blank, misquoted InvalidConfiguration: file:line and what to do
fails, or dies by a signal                   SourceUnavailable with its status and what it wrote to stderr
prints nothing, HTML, half of it, too much   SourceUnavailable: what kind of thing it printed
hangs, or a child of its does                SourceUnavailable after the time-out; all of them are killed
was meant for a shell                        the hint to write sh -c '…'
prints expired credentials                   SourceUnavailable: since when
===========================================  ==========================================================
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.credentials import ProcessProvider
from botocore.exceptions import CredentialRetrievalError

from aiocreds import Context, CredentialsNotFound, InvalidConfiguration, SourceUnavailable, from_process
from tests.helpers.cancelling import cancelled_at
from tests.helpers.command import Machine as Command
from tests.helpers.credential_programs import KEY, Programs
from tests.helpers.failures import failure
from tests.helpers.representatives import slow_but
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.shared_files import write_config

if TYPE_CHECKING:
    from aiocreds import Credentials

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="programs and /proc of Linux")


# What it prints.


async def test_credentials(machine: Programs, context: Context) -> None:
    token = secret()
    command = machine.prints(SessionToken=token, Expiration="2999-01-01T00:00:00Z", AccountId="123456789012")
    credentials = await from_process(command=command, context=context)()
    assert credentials.access_key_id == KEY
    assert credentials.session_token == token
    assert credentials.expiration
    assert credentials.expiration.year == 2999
    assert credentials.account_id == "123456789012"
    assert credentials.provider == "process"
    assert not credentials.may_outlive_expiry
    await machine.nothing_runs()


async def test_a_profile_and_its_account(machine: Programs, context: Context, home: Path) -> None:
    write_config(
        home,
        f"[profile a]\ncredential_process = {machine.prints()}\naws_account_id = 111111111111\n"
        f"[profile b]\ncredential_process = {machine.prints(AccountId='222222222222')}\n"
        "aws_account_id = 111111111111\n",
    )
    assert (await from_process("a", context=context)()).account_id == "111111111111"
    assert (await from_process("b", context=context)()).account_id == "222222222222"


async def test_the_profile_named_in_the_environment(
    machine: Programs, context: Context, home: Path, environ: dict[str, str]
) -> None:
    write_config(home, f"[profile a]\ncredential_process = {machine.prints()}\n")
    environ["AWS_PROFILE"] = "a"
    assert (await from_process(context=context)()).access_key_id == KEY


async def test_files_given_in_code(machine: Programs, context: Context, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(f"[a]\ncredential_process = {machine.prints()}\n")
    assert (await from_process("a", credentials_file=str(other), context=context)()).access_key_id == KEY


@pytest.mark.parametrize(
    "printed",
    [
        {"Version": 1.0},
        {"Expiration": "2999-01-01 00:00:00 UTC"},
        {"Expiration": "Tue, 01 Jan 2999 00:00:00 GMT"},
        {"Expiration": "Tue Jan  1 00:00:00 UTC 2999"},
        {"Expiration": "2999-01-01T01:00:00.1234567+01:00"},
        {"Expiration": "01/02/2999 12:00:00 AM +0000"},
        {"Version": 2},
        {"Expiration": 32472144000},
        {"Expiration": "tomorrow"},
        {"Expiration": "2999"},
    ],
    ids=repr,
)
@pytest.mark.shows_secrets("stdout", because="botocore reads what the program prints where it is watched")
async def test_what_botocore_takes_from_a_process(
    machine: Programs, context: Context, printed: dict[str, object]
) -> None:
    command = machine.prints(**printed)

    def botocores() -> tuple[str | None, datetime | None] | None:
        config = {"profiles": {"app": {"credential_process": command}}}
        try:
            found = ProcessProvider("app", lambda: config).load()
            assert found is not None
            key = found.get_frozen_credentials().access_key
        except (CredentialRetrievalError, ValueError, TypeError):
            return None
        return key, getattr(found, "_expiry_time", None)

    try:
        credentials = await from_process(command=command, context=context)()
    except SourceUnavailable:
        assert botocores() is None
    else:
        assert botocores() == (credentials.access_key_id, credentials.expiration)


@pytest.mark.parametrize("version", [None, 2, "1", True, 1.5, "sEcReT", [1]], ids=repr)
async def test_another_version(machine: Programs, context: Context, version: object) -> None:
    provider = from_process(command=machine.prints(Version=version), context=context)
    await failure(provider, SourceUnavailable, "command: cat", '"Version": 1', "run it by hand")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "answered with nothing"),
        (b"<html>sEcReT</html>", "HTML"),
        (b'{"Version": 1, "SecretAccessKey": "sEcReT', "cut short"),
        (b'["sEcReT"]', "a JSON array"),
        (b'{"Version": 1, "SecretAccessKey": "sEcReT\xff"}', "not JSON"),
        (b'{"Version": 1, "SecretAccessKey": "sEcReT"}', "without AccessKeyId;"),
        (b'{"Version": 1, "AccessKeyId": "sEcReT", "SecretAccessKey": " "}', "without SecretAccessKey;"),
    ],
    ids=["nothing", "html", "truncated", "array", "utf-8", "no key", "blank secret"],
)
async def test_no_credentials(machine: Programs, context: Context, text: bytes, what: str) -> None:
    provider = from_process(command=machine.prints_text(text), context=context)
    await failure(provider, SourceUnavailable, "command: cat", what, "run it by hand and look at what it prints")


@pytest.mark.parametrize("text", ["sEcReT" * 2**15, " " * 2**16 + "{}"], ids=["much", "one too many"])
async def test_more_than_64_kib(machine: Programs, context: Context, text: str) -> None:
    provider = from_process(command=machine.prints_text(text), context=context)
    await failure(provider, SourceUnavailable, "command: cat", "printed more than 64 KiB", "run it by hand")


async def test_endless_output(machine: Programs, context: Context) -> None:
    await failure(from_process(command="cat /dev/zero", context=context), SourceUnavailable, "more than 64 KiB")
    await machine.nothing_runs()


async def test_64_kib(machine: Programs, context: Context) -> None:
    document = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": secret()}
    provider = from_process(command=machine.prints_text(json.dumps(document).rjust(2**16)), context=context)
    assert (await provider()).access_key_id == KEY


async def test_expired(machine: Programs, context: Context) -> None:
    provider = from_process(command=machine.prints(Expiration="2020-01-01T00:00:00Z"), context=context)
    await failure(provider, SourceUnavailable, "command: cat", "expired at 2020-01-01 00:00:00 UTC", "clock")


# How it ends.


async def test_an_exit_status(machine: Programs, context: Context, home: Path) -> None:
    hidden = secret()
    file = write_config(
        home, f"[default]\nregion = x\ncredential_process = {machine.script(f'echo {hidden} >&2; exit 3')}\n"
    )
    provider = from_process(context=context)
    place = f"credential_process ({file}:3): vend ended with exit status 3"
    error = await failure(provider, SourceUnavailable, place, "run it by hand to see why")
    assert error.exit_status == 3
    assert error.stderr == f"{hidden}\n".encode()
    assert MARK in str(error.stderr)


async def test_an_exit_status_without_a_word(context: Context) -> None:
    error = await failure(
        from_process(command="false", context=context), SourceUnavailable, "exit status 1", "by hand"
    )
    assert error.stderr == b""


async def test_a_flood_on_stderr_is_drained_and_cut(context: Context) -> None:
    command = "sh -c 'head -c 1000000 /dev/zero >&2; exit 1'"
    error = await failure(from_process(command=command, context=context), SourceUnavailable, "exit status 1")
    assert error.stderr is not None
    assert 2**16 <= len(error.stderr) <= 2**16 + 1


async def test_a_signal(machine: Programs, context: Context) -> None:
    command = str(machine.script("kill -9 $$"))
    error = await failure(
        from_process(command=command, context=context), SourceUnavailable, "was killed by signal 9"
    )
    assert error.exit_status == -9


@pytest.mark.parametrize("timeout", [0.2, timedelta(seconds=0.2)])
async def test_a_hanging_program_is_killed_with_its_children(
    machine: Programs, context: Context, timeout: float | timedelta
) -> None:
    hidden = secret()
    child = machine.folder / "child"
    command = f"sh -c 'echo {hidden} >&2; sleep 60 & echo $! > {child}; sleep 60'"
    words = "command: sh", "did not finish within 0.2 s and was killed", "allow more time"
    error = await failure(
        from_process(command=command, timeout=timeout, context=context), SourceUnavailable, *words
    )
    assert int(child.read_text())
    await machine.nothing_runs()
    assert error.stderr == f"{hidden}\n".encode()


@pytest.mark.slow
async def test_a_system_that_cannot_look_without_taking_the_status(
    machine: Programs, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As macOS before Python 3.13."""
    monkeypatch.delattr(os, "waitid")
    command = f"sh -c '{machine.prints()}; exec >&- 2>&-; sleep 0.1'"
    assert (await from_process(command=command, context=context)()).access_key_id == KEY
    command = "sh -c 'sleep 60 & sleep 60'"
    await failure(from_process(command=command, timeout=0.2, context=context), SourceUnavailable, "within 0.2 s")
    await machine.nothing_runs()


async def test_a_program_that_closes_its_outputs_and_goes_on(machine: Programs, context: Context) -> None:
    command = "sh -c 'exec >&- 2>&-; sleep 60'"
    await failure(from_process(command=command, timeout=0.2, context=context), SourceUnavailable, "within 0.2 s")
    await machine.nothing_runs()


@pytest.mark.parametrize("detached", ["", "setsid "])
async def test_a_child_that_holds_the_output_open(machine: Programs, context: Context, detached: str) -> None:
    command = shlex.join(["sh", "-c", f"{detached}sleep 60 & {machine.prints()}"])
    provider = from_process(command=command, timeout=0.2, context=context)
    await failure(provider, SourceUnavailable, "command: sh ended, but its child", "redirect")
    if detached:  # which is left alone
        machine.kill()
    await machine.nothing_runs()


async def test_a_detached_child_does_not_stretch_the_time_out(machine: Programs, context: Context) -> None:
    started = time.monotonic()
    command = "sh -c 'setsid sleep 60 & sleep 60'"
    await failure(from_process(command=command, timeout=0.2, context=context), SourceUnavailable, "within 0.2 s")
    assert time.monotonic() - started < 30
    machine.kill()
    await machine.nothing_runs()


async def test_an_agent_left_running_on_purpose_is_left_alone(machine: Programs, context: Context) -> None:
    command = shlex.join(["sh", "-c", f"sleep 0.5 >/dev/null 2>&1 & {machine.prints()}"])
    assert (await from_process(command=command, context=context)()).access_key_id == KEY
    assert machine.processes()
    await machine.nothing_runs()


# What is run.


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("/nowhere/vend --secret sEcReT", "vend is not there"),
        ("no-such-program-anywhere sEcReT", "no-such-program-anywhere is not there"),
        ("{folder}/not-mine sEcReT", "not-mine is not an executable file"),
        ("{folder} sEcReT", "is not an executable file"),
        ("{folder}/lost", "or the interpreter in its first line"),
        ("{folder}/plain", "cannot be started (Exec format error)"),
        ("vend \0sEcReT", "vend cannot be started (not a command)"),
    ],
    ids=["path", "name", "mode", "folder", "interpreter", "format", "nul"],
)
async def test_a_program_that_cannot_be_started(
    machine: Programs, context: Context, command: str, what: str
) -> None:
    machine.script("", name="not-mine", mode=0o644)
    machine.script("", name="lost", shebang="#!/nowhere/sh")
    machine.script("", name="plain", shebang="")
    provider = from_process(command=command.format(folder=machine.folder), context=context)
    await failure(provider, InvalidConfiguration, "command: ", what, "check the path and that it may be executed")


@pytest.mark.parametrize("command", ["", "  ", "''"])
async def test_a_blank_command(context: Context, command: str) -> None:
    provider = from_process(command=command, context=context)
    await failure(provider, InvalidConfiguration, "command is blank", "write the command")


async def test_a_command_without_end(context: Context) -> None:
    provider = from_process(command="sEcReT" * 2**15 + " ", context=context)
    await failure(provider, InvalidConfiguration, "command has more than 32 Ki characters", "into a script")


async def test_comment_signs_in_quotation_marks(machine: Programs, context: Context, home: Path) -> None:
    command = machine.prints(SessionToken=None)
    write_config(home, f"[default]\ncredential_process = sh -c 'set -e ; {command} # note' # note\n")
    assert (await from_process(context=context)()).access_key_id == KEY


@pytest.mark.parametrize("command", ["/bin/false ; echo '{}'", "/bin/true # x", "'open ' ' # x", "/nothing ; x"])
async def test_a_command_that_a_comment_cut_short(context: Context, home: Path, command: str) -> None:
    file = write_config(home, f"[default]\ncredential_process = {command}\n")
    with pytest.raises((SourceUnavailable, InvalidConfiguration)) as caught:
        await from_process(context=context)()
    cut = f"credential_process ({file}:2, where a comment begins at ' {';' if ';' in command else '#'}')"
    assert (cut in str(caught.value)) == (command != "'open ' ' # x")


async def test_an_unclosed_quotation_mark(context: Context, home: Path) -> None:
    file = write_config(home, "[default]\ncredential_process = vend 'sEcReT\n")
    provider = from_process(context=context)
    await failure(
        provider, InvalidConfiguration, f"credential_process ({file}:2)", "a quotation mark is not closed"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("one two  three", ["one", "two", "three"]),
        ("'one two' \"three four\"", ["one two", "three four"]),
        (r"one\ two \"", ["one two", '"']),
        (r""" "a\"b" 'a\b' '' a'b'c""", ['a"b', r"a\b", "", "abc"]),
        ("* $HOME ~ # `x`", ["*", "$HOME", "~", "#", "`x`"]),
    ],
)
async def test_quoting(machine: Programs, context: Context, arguments: str, words: list[str]) -> None:
    got = machine.folder / "got"
    script = machine.script(f'printf "%s\\n" "$@" > {got}; {machine.prints()}')
    await from_process(command=f"{script} {arguments}", context=context)()
    assert got.read_text() == "".join(f"{word}\n" for word in words)


@pytest.mark.parametrize(
    "sign", ["echo sEcReT | cat", "echo $HOME", "echo sEcReT; cat", "true && cat", "cat < sEcReT"]
)
async def test_a_shell_command_gets_a_hint(machine: Programs, context: Context, sign: str) -> None:
    provider = from_process(command=sign, context=context)
    await failure(provider, SourceUnavailable, "command: ", "sh -c '…'")


@pytest.mark.parametrize("command", ["$HOME/vend", "AWS_THING=sEcReT/sEcReT vend", "(vend; vend)"])
async def test_a_first_word_for_a_shell_gets_the_hint_and_hides_what_was_assigned(
    context: Context, command: str
) -> None:
    provider = from_process(command=command, context=context)
    await failure(provider, InvalidConfiguration, "is not there", "sh -c '…'")


async def test_who_uses_a_shell_already_gets_no_hint(context: Context) -> None:
    error = await failure(from_process(command="sh -c 'exit 4 | exit 4'", context=context), SourceUnavailable, "4")
    assert "none is used" not in str(error)


async def test_a_tilde_in_the_first_word_alone(machine: Programs, context: Context, home: Path) -> None:
    got = machine.folder / "got"
    script = machine.script(f'echo "$1" > {got}; {machine.prints()}')
    script.rename(home / "vend")
    await from_process(command="~/vend ~/x", context=context)()
    assert got.read_text() == "~/x\n"


async def test_the_contexts_environment_is_inherited_and_no_other(
    machine: Programs, context: Context, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOCREDS_OTHER", "x")
    environ["AIOCREDS_OWN"] = "y"
    got = machine.folder / "got"
    script = machine.script(f"env > {got}; {machine.prints()}", name="bin/vend-from-path")
    environ["PATH"] = f"{script.parent}:{os.defpath}"
    await from_process(command="vend-from-path", context=context)()
    assert "AIOCREDS_OWN=y\n" in got.read_text()
    assert "AIOCREDS_OTHER" not in got.read_text()


async def test_no_such_profile(context: Context, home: Path) -> None:
    file = write_config(home, "[profile prod]\ncredential_process = vend\n")
    error = await failure(from_process("prd", context=context), InvalidConfiguration, "'prd'", str(file), "'prod'")
    assert not error.try_next_link


@pytest.mark.parametrize("text", ["", "[default]\nregion = x\n", "[default]\ncredential_process =\n"])
async def test_a_profile_without_a_process(context: Context, home: Path, text: str) -> None:
    write_config(home, text)
    await failure(from_process(context=context), CredentialsNotFound, "profile 'default' has no credential_process")


# Many, and cut short.


async def test_twenty_at_once(machine: Programs, context: Context) -> None:
    commands = [machine.prints(AccessKeyId=f"{KEY}{number}") for number in range(20)]
    got = await asyncio.gather(*(from_process(command=command, context=context)() for command in commands))
    assert [credentials.access_key_id for credentials in got] == [f"{KEY}{number}" for number in range(20)]
    await machine.nothing_runs()


def test_on_a_loop_in_another_thread(machine: Programs, context: Context) -> None:
    got: list[Credentials] = []

    async def main() -> None:
        got.append(await from_process(command=machine.prints(), context=context)())

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(10)
    assert [credentials.access_key_id for credentials in got] == [KEY]


@pytest.mark.parametrize("pause", slow_but([0, 0.03], 0))
async def test_cancelled_at_any_moment(machine: Programs, context: Context, pause: float) -> None:
    command = shlex.join(["sh", "-c", f"sleep 60 >/dev/null 2>&1 & {machine.prints()}; kill $!"])
    number = 0
    for number in itertools.count(1):
        provider = from_process(command=command, context=context)
        if not await cancelled_at(provider, number, pause):
            break
        await machine.nothing_runs()
        if number % 5 == 0:
            assert (await provider()).access_key_id == KEY  # nothing half-written is in the way
    assert number > 5
    await machine.nothing_runs()


async def test_cancelled_while_it_hangs(machine: Programs, context: Context) -> None:
    caller = asyncio.create_task(from_process(command="sh -c 'sleep 60 & sleep 60'", context=context)())
    await until(lambda: len(machine.processes()) == 3)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await machine.nothing_runs()


@pytest.mark.slow
async def test_cancelled_over_and_over_while_it_is_killed(machine: Programs, context: Context) -> None:
    """As at the end of asyncio.run, when all who wait are cancelled with it."""

    async def once() -> None:
        caller = asyncio.create_task(from_process(command="sh -c 'sleep 60 & sleep 60'", context=context)())
        await until(lambda: len(machine.processes()) == 3)
        [flight] = (task for task in asyncio.all_tasks() if task.get_name() == "aiocreds from_process")
        while not flight.done():
            flight.cancel()
            await asyncio.sleep(0)
        with pytest.raises(SourceUnavailable):
            await caller
        await machine.nothing_runs()

    for _ in range(5):  # it may end faster than it can be forgotten
        await once()
    gc.collect()  # a process that nobody waited for complains when it is collected


@pytest.mark.parametrize("delay", [*(number / 1000 for number in range(0, 20, 2)), 0.03, 0.05, 0.2])
def test_a_program_that_ends_leaves_nothing(machine: Programs, context: Context, delay: float) -> None:
    """However far the process has come: not begun, half started, or waited for."""

    async def main() -> None:
        caller = asyncio.ensure_future(from_process(command="sh -c 'sleep 60 & sleep 60'", context=context)())
        await asyncio.sleep(delay)
        assert not caller.done()

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < delay + 1
    asyncio.run(machine.nothing_runs())


@pytest.mark.slow
def test_no_http_client_is_loaded_for_a_profile(home: Path) -> None:
    program = (
        "import asyncio, sys, aiocreds\n"
        "async def main():\n"
        "    try: await aiocreds.from_process()()\n"
        "    except aiocreds.CredentialsNotFound: print(sorted({'aiohttp', 'anyio'} & set(sys.modules)))\n"
        "asyncio.run(main())"
    )
    environ = {"HOME": str(home), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("status", [3, 4])
async def test_an_exit_status_of_the_program_is_not_that_of_the_command(
    machine: Programs, home: Path, environ: dict[str, str], status: int
) -> None:
    write_config(home, f"[default]\ncredential_process = {machine.script(f'exit {status}')}\n")
    ended = await Command(home, environ).aiocreds("export")
    assert ended.status == 2


@pytest.mark.parametrize("first_word", ["vend\0behind-a-nul", "/opt/vend=" + "x" * 99, "v" * 5000])
async def test_a_message_shows_the_beginning_of_a_name_alone(context: Context, first_word: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        await from_process(command=first_word, context=context)()
    assert "behind-a-nul" not in str(caught.value)
    assert "xxx" not in str(caught.value)
    assert len(str(caught.value)) < 300
