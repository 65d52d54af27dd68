"""The command line: what it understands, what it says, and what it loads."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
import tomllib
from pathlib import Path

import pytest

import aiocreds.cli.main as module
from aiocreds.cli.main import COMMANDS, main
from tests.helpers.command import COMMAND, Machine
from tests.helpers.secret_leaks import MARK, secret

EXPORTED = pytest.mark.shows_secrets("stdout", because="printing them is what export is for")


@pytest.fixture
def machine(home: Path) -> Machine:
    return Machine(home, {"AWS_ACCESS_KEY_ID": "AKIACOMMAND000001", "AWS_SECRET_ACCESS_KEY": secret()})


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_each_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"] if command else ["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "example" in said
    assert f"aiocreds {command}" in said.partition("example")[2]
    profile = (r"-p( P)?, --profile P", "PROFILE")  # Python 3.13 says P once
    options = {"": (*COMMANDS,), "profiles": ("--json",), "configure": (profile[0], "sso")}.get(command, profile)
    for name in (*options, "--debug"):
        assert re.search(name, said)


@pytest.mark.slow
async def test_it_says_its_version(machine: Machine) -> None:
    from importlib.metadata import version

    assert await machine.aiocreds("--version") == (0, f"aiocreds {version('aiocreds')}\n", "")


def test_without_a_command_it_shows_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert all(name in said.err for name in COMMANDS)
    assert "pip install" not in said.err


@pytest.mark.slow
@pytest.mark.parametrize("command", [["export"], ["exec", "--", "true"]], ids=["export", "exec"])
async def test_a_failing_source_is_told_with_those_before_it(command: list[str], home: Path) -> None:
    (home / ".aws/config").write_text("[default]\naws_access_key_id = AKIACOMMAND000002\n")
    ended = await Machine(home, {}).aiocreds(*command)
    assert ended.err.startswith(f"aiocreds {command[0]}: from_ini (after from_env): ")
    before = (
        "\nAsked before it in the chain:\n  - from_env: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set\n"
    )
    assert ended.err.endswith(f"{before}aiocreds {command[0]}: aiocreds explain shows all that was looked at\n")


@pytest.mark.slow
@EXPORTED
async def test_without_the_extra_it_says_what_to_install(machine: Machine) -> None:
    program = "import sys; sys.modules['argcomplete'] = None; sys.argv = ['aiocreds', {}]\n"
    run = "from aiocreds.cli.main import main; sys.exit(main())"
    bare = (program + "import importlib.util; importlib.util.find_spec = lambda name: None\n" + run).format("'-h'")
    bare = bare.replace(", '-h'", "")
    ended = await machine.run(sys.executable, "-c", bare)
    assert ended.status == 2
    assert ended.err.endswith("\nargcomplete not installed: pip install 'aiocreds[cli]'\n")
    ended = await machine.run(sys.executable, "-c", (program + run).format("'export'"))
    assert (ended.status, ended.err) == (0, ""), "export needs no extra"


class Lacking:
    """A command that lacks a package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def configure(self, parser: object) -> None:
        pass

    def run(self, arguments: object) -> int:
        raise ModuleNotFoundError("No module named 'x'", name=self.package)


def install(monkeypatch: pytest.MonkeyPatch, command: Lacking) -> None:
    """Have this as every command."""

    def load(_: str) -> Lacking:
        return command

    monkeypatch.setattr(module, "_module", load)


def test_a_mistake_of_ours_shows_its_traceback_and_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, Lacking("numpy"))
    assert main(["explain"]) == 2
    assert "ModuleNotFoundError: No module named 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["exprot"], "invalid choice: 'exprot'"),
        (["export", "--format", "yaml"], "invalid choice: 'yaml'"),
        (["export", "--", "ls"], "export runs no command"),
        (["exec", "dev", "ls"], "unrecognized arguments: ls; the command to run stands behind --"),
        (["exec", "ls", "-l"], "unrecognized arguments: -l; the command to run stands behind --"),
        (["export", "dev", "ls"], "unrecognized arguments: ls\n"),
        (["export", "--profile", "dev", "prod"], "two profiles are given, dev and prod: which one is meant?"),
        (["serve", "--port", "65536"], "argument --port: '65536' is no port: give a number from 0 to 65535"),
        (["serve", "--port", "-1"], "argument --port"),
        (["serve", "--port", "http"], "argument --port"),
    ],
)
def test_what_it_does_not_understand(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.slow
@EXPORTED
@pytest.mark.parametrize(
    "words",
    [
        *("export dev", "export -p dev", "export --format process dev", "export dev --profile dev"),
        *("exec dev -- {export}", "exec -p dev -- {export}", "exec dev --server -- {export}"),
        "explain dev --offline",
    ],
)
async def test_a_profile_may_be_named_in_every_way(words: str, home: Path) -> None:
    (home / ".aws" / "config").write_text(
        f"[profile dev]\naws_access_key_id = AKIANAMED00000001\naws_secret_access_key = {secret()}\n"
    )
    ended = await Machine(home, {}).run(
        "sh", "-c", f"{' '.join(COMMAND)} {words.format(export=' '.join([*COMMAND, 'export']))}"
    )
    assert (ended.status, ended.err) == (0, "")
    assert "****0001" in ended.out if words.startswith("explain") else "AKIANAMED00000001" in ended.out


@pytest.mark.slow
async def test_a_command_without_its_dashes_is_told_where_they_go(machine: Machine) -> None:
    ended = await machine.aiocreds("exec", "ls")
    meant = "aiocreds exec -- ls, or aiocreds exec ls -- COMMAND ..."
    assert ended == (2, "", f"aiocreds exec: no command: write {meant}\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["export", "exec -- true"])
async def test_who_fails_points_to_explain(command: str, home: Path) -> None:
    first, *rest = command.split()
    ended = await Machine(home, {}).aiocreds(first, *rest)
    assert ended.err.endswith(f"\naiocreds {first}: aiocreds explain shows all that was looked at\n")
    ended = await Machine(home, {}).aiocreds(first, "-p", "it's", *rest)
    last = ended.err.splitlines()[-1]
    assert last == f"""aiocreds {first}: aiocreds explain --profile 'it'"'"'s' shows all that was looked at"""


@pytest.mark.slow
async def test_explain_is_not_pointed_to_where_it_shows_nothing(machine: Machine) -> None:
    ended = await machine.aiocreds("export", "--format", "windows-cmd", AWS_SECRET_ACCESS_KEY=f'"{secret()}')
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    ended = await machine.aiocreds("export", _AWS_CLI_PROFILE_CHAIN="default")
    assert ended.status == 3
    assert ended.err.count("\n") == 1


@pytest.mark.slow
@EXPORTED
@pytest.mark.parametrize("arguments", [["--debug", "export"], ["export", "--debug"]], ids=" ".join)
async def test_debug_tells_much_and_no_secret(arguments: list[str], machine: Machine) -> None:
    ended = await machine.aiocreds(*arguments, AWS_PROFILE="other", AWS_SESSION_TOKEN=secret("token"))
    assert ended.status == 0
    assert "aiocreds.cli: found Credentials(access_key_id='****0001', provider='env')" in ended.err
    assert "AWS_PROFILE=other are both set" in ended.err
    assert MARK not in ended.err
    assert MARK in ended.out


@EXPORTED
def test_debug_leaves_the_loggers_as_they_were(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACOMMAND000001")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret())
    monkeypatch.setenv("AWS_PROFILE", "")
    logger = logging.getLogger("aiocreds")
    before = logger.level, logger.propagate, list(logger.handlers)
    assert main(["--debug", "export"]) == 0
    assert "found Credentials" in capfd.readouterr().err
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


@pytest.mark.slow
async def test_other_peoples_logs_stay_out_of_debug(machine: Machine) -> None:
    program = (
        "import logging, sys; from aiocreds.cli import export; from aiocreds.cli.main import main;"
        f" export.run = lambda _: logging.getLogger('botocore').debug('{MARK}') or 0;"
        " sys.exit(main(['--debug', 'export']))"
    )
    ended = await machine.run(sys.executable, "-c", program)
    assert (ended.status, ended.err) == (0, "")


async def complete(machine: Machine, line: str) -> set[str]:
    """Return the completions that a shell gets at the end of a line."""
    read, write = os.pipe()
    program = f"import os, sys; os.dup2({write}, 8); os.dup2({write}, 9); sys.argv = ['aiocreds']\n"
    program += "import argcomplete\nfrom aiocreds.cli.main import main\nmain()"
    process = await _completing(machine, program, line, write)
    os.close(write)
    assert process == 0
    offered = os.read(read, 100_000).decode()
    os.close(read)
    return {one.strip() for one in offered.split("\x0b") if one.strip()}


async def _completing(machine: Machine, program: str, line: str, write: int) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        pass_fds=[write],
        env={
            **machine.variables,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\x0b",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
    )
    return await process.wait()


@pytest.mark.slow
async def test_the_shell_completes_commands_options_and_profiles(machine: Machine) -> None:
    (machine.home / ".aws" / "config").write_text("[default]\n[profile dev]\n[profile deploy]\n[profile prod]\n")
    assert await complete(machine, "aiocreds ex") == {"explain", "export", "exec"}
    assert await complete(machine, "aiocreds export --format p") == {"process", "powershell"}
    for line in ("serve --profile de", "serve -p de", "serve prod de", "export de", "exec --server de"):
        assert await complete(machine, f"aiocreds {line}") == {"default", "dev", "deploy"}
    assert "--token-file" in await complete(machine, "aiocreds serve --")
    assert await complete(machine, "aiocreds configure ") >= {"sso"}
    assert await complete(machine, "aiocreds configure sso -p de") == {"default", "dev", "deploy"}
    assert await complete(machine, "aiocreds profiles --j") == {"--json"}


@pytest.mark.slow
async def test_files_that_cannot_be_read_complete_nothing(machine: Machine) -> None:
    (machine.home / ".aws" / "config").write_text("[default\n")
    assert await complete(machine, "aiocreds serve --profile de") == set()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a pipe breaks in another way there")
async def test_a_reader_that_has_seen_enough_is_no_failure(machine: Machine) -> None:
    words = " ".join(COMMAND)
    ended = await machine.run("sh", "-c", f"(sleep 0.3; {words} export; echo $? >&2) | true")
    assert ended.err == f"{128 + signal.SIGPIPE}\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
@pytest.mark.parametrize("command", ["export", "explain --offline", "explain --offline --json", "serve"])
async def test_a_full_disk_is_named(command: str, machine: Machine) -> None:
    ended = await machine.run("sh", "-c", f"{' '.join(COMMAND)} {command} > /dev/full")
    assert ended.status == 2
    assert ended.err == f"aiocreds {command.split()[0]}: stdout: No space left on device\n"


@pytest.mark.slow
async def test_closed_streams(machine: Machine) -> None:
    words = " ".join(COMMAND)
    for command in ("export", "serve", "explain --offline"):
        ended = await machine.run("sh", "-c", f"{words} {command} >&-")
        name = command.split()[0]
        assert ended == (2, "", f"aiocreds {name}: stdout is closed, and there is nowhere to print to\n")
    ended = await machine.run("sh", "-c", f"{words} explain --offline <&-")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("✓ environment (from_env) wins")
    assert (await machine.run("sh", "-c", f"{words} export --profile nobody 2>&-")) == (2, "", "")
    ended = await machine.run("sh", "-c", f"{words} exec --server -- sh -c 'echo ran >&2' <&- >&-")
    assert ended == (0, "", "ran\n")


@pytest.mark.slow
async def test_an_encoding_that_lacks_a_sign(machine: Machine) -> None:
    (machine.home / ".aws" / "config").write_text("[profile größe]\nregion = x\n", "utf-8")
    for encoding in ("ascii", "latin-1", "utf-8"):
        variables = {"AWS_PROFILE": "größe", "PYTHONIOENCODING": encoding, "AWS_ACCESS_KEY_ID": ""}
        process = await machine.start(*COMMAND, "explain", "--offline", **variables)
        out, err = await process.communicate()
        assert (process.returncode, err) == (2, b"")
        assert b"AWS_SECRET_ACCESS_KEY" in out
        assert out.decode(encoding)


ESCAPE = "\x1b]0;gone\x07"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["export", "explain --offline", "exec -- true", "--debug export"])
async def test_nothing_steers_the_terminal(command: str, home: Path) -> None:
    ended = await Machine(home, {"AWS_PROFILE": f"x{ESCAPE}"}).aiocreds(*command.split())
    assert ended.status
    said = ended.out + ended.err
    assert "gone" in said
    assert "\x1b" not in said
    assert "\x07" not in said


def test_a_mistake_of_ours_is_not_taken_for_missing_credentials(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mistaken(Lacking):
        def run(self, arguments: object) -> int:
            raise ZeroDivisionError

    install(monkeypatch, Mistaken(""))
    assert main(["export"]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_ctrl_c_before_a_command_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Lacking):
        def configure(self, parser: object) -> None:
            raise KeyboardInterrupt

    install(monkeypatch, Slow(""))
    assert main(["export"]) == 130


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-p", "dev", "explain"], "go after it: aiocreds explain -p ..."),
        (["--debug", "--profile=dev", "export"], "--profile cannot stand before the command; the options of"),
        (["-p", "dev"], "go after it: aiocreds COMMAND -p ..."),
    ],
)
def test_an_option_before_the_command_is_sent_behind_it(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("given", ["-1", "0", "nan", "inf", "soon", "1e999"])
@pytest.mark.parametrize("command", ["explain", "export", "exec", "serve"])
def test_a_time_that_is_none_is_refused_with_the_command_line(
    command: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, f"--process-timeout={given}"])
    assert f"argument --process-timeout: {given!r} is no time" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["argparse", "aiocreds.cli.explain", "aiocreds.cli._terminal", "aiocreds.cli.main"]
)
async def test_ctrl_c_while_modules_are_loaded_leaves_without_a_word(module: str, machine: Machine) -> None:
    program = f"""if True:
    import os, signal, sys
    class Interrupted:
        @staticmethod
        def find_spec(name, *_):
            if name == {module!r}:
                os.kill(os.getpid(), signal.SIGINT)
    import aiocreds.__main__ as entry
    sys.modules.pop("argparse", None)
    sys.meta_path.insert(0, Interrupted)
    sys.argv = ["aiocreds", "explain", "--offline"]
    sys.exit(entry.main())
    """
    ended = await machine.run(sys.executable, "-W", "error", "-c", program)
    assert ended == (130, "", "")


def test_the_entry_point_is_the_one_that_leaves_quietly() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"aiocreds": "aiocreds.__main__:main"}
