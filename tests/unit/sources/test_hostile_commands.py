"""Commands that a shell would act on, and nothing here does.

==========================================  ======================================================================
the command of a profile, or ``command=``   what becomes of it
==========================================  ======================================================================
has shell words behind the program          the program gets them as they stand
has them where the program should be        InvalidConfiguration: no such program, and the hint to write sh -c '…'
has a quotation mark that is not closed     InvalidConfiguration: close it
==========================================  ======================================================================
"""

# ruff: noqa: ASYNC240 - the tests may block
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiocreds import InvalidConfiguration, SourceUnavailable, from_process
from tests.helpers.credential_programs import KEY, Programs
from tests.helpers.failures import failure
from tests.helpers.shared_files import write_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiocreds import Context, Provider

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="programs and /proc of Linux")

# What stands behind the program, and the words that it gets.
ARGUMENTS = {
    # Another command.
    "; touch canary": [";", "touch", "canary"],
    ";touch canary": [";touch", "canary"],
    "a; touch canary": ["a;", "touch", "canary"],
    "| tee canary": ["|", "tee", "canary"],
    "|& tee canary": ["|&", "tee", "canary"],
    "&& touch canary": ["&&", "touch", "canary"],
    "|| touch canary": ["||", "touch", "canary"],
    "& touch canary &": ["&", "touch", "canary", "&"],
    "a\ntouch canary": ["a", "touch", "canary"],
    "a\r\ntouch canary": ["a", "touch", "canary"],
    "$(touch canary)": ["$(touch", "canary)"],
    "`touch canary`": ["`touch", "canary`"],
    '"$(touch canary)"': ["$(touch canary)"],
    '"`touch canary`"': ["`touch canary`"],
    "--role=$(touch canary)": ["--role=$(touch", "canary)"],
    "<(touch canary)": ["<(touch", "canary)"],
    "(touch canary)": ["(touch", "canary)"],
    "{ touch canary; }": ["{", "touch", "canary;", "}"],
    "'; touch canary; '": ["; touch canary; "],
    "\\; touch canary": [";", "touch", "canary"],
    "'a'\"'\"'; touch canary'": ["a'; touch canary"],
    # Other places for what is read and written.
    "> canary": [">", "canary"],
    ">canary": [">canary"],
    ">> canary": [">>", "canary"],
    "2>&1": ["2>&1"],
    "&> canary": ["&>", "canary"],
    ">| canary": [">|", "canary"],
    "< /etc/passwd": ["<", "/etc/passwd"],
    "<<< x": ["<<<", "x"],
    # What stands for something else.
    "* ?ain [a-z]*": ["*", "?ain", "[a-z]*"],
    "{a,b} {1..3}": ["{a,b}", "{1..3}"],
    "~ ~/x ~root --file=~/x": ["~", "~/x", "~root", "--file=~/x"],
    "$HOME ${HOME} $$ $? $@": ["$HOME", "${HOME}", "$$", "$?", "$@"],
    '"$HOME" $((1+1)) %PATH%': ["$HOME", "$((1+1))", "%PATH%"],
    "!! !touch ^a^b": ["!!", "!touch", "^a^b"],
    "# touch canary": ["#", "touch", "canary"],
    "if true; then touch canary; fi": ["if", "true;", "then", "touch", "canary;", "fi"],
    # What two readers may split differently.
    "a\tb\\ c": ["a", "b c"],
    "a\u00a0b\u2028c": ["a\u00a0b\u2028c"],
    "--x='a b'\"c d\"": ["--x=a bc d"],
    "'' \"\"": ["", ""],
}
LOOKS_LIKE_ONE = [
    *("$HOME/vend", "${HOME}/vend", "$(touch canary)", "`touch canary`", "<(vend)", ">canary vend"),
    *("vend|tee canary", "vend;touch canary", "vend&&touch canary", "vend>canary", "touch;canary"),
    *("A=b vend", "A=b; vend", "; touch canary", "| tee canary", "(vend; touch canary)", "&touch"),
]
ONLY_A_SHELL_KNOWS = ["ve*", "ven?", "{vend,}", "!vend", "~nobody/vend", "#vend", "%vend%"]


@pytest.fixture
def record(machine: Programs, context: Context, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the arguments that the program ``vend`` was called with; it prints credentials as well."""
    assert context.home is not None
    monkeypatch.chdir(context.home)  # where a canary would appear
    record = machine.folder / "record"
    machine.script(f'printf "%s\\0" "$@" > {record}; {machine.prints()}')
    return record


def by_argument(command: str, context: Context) -> Provider:
    return from_process(command=command, context=context)


def by_profile(command: str, context: Context) -> Provider:
    assert context.home is not None
    write_config(Path(context.home), f"[default]\ncredential_process = {command}\n")
    return from_process(context=context)


def both_ways(command: str) -> list[Callable[[str, Context], Provider]]:
    """How a command can be given; in a profile it is one line, and what looks like a comment there is one."""
    return [by_argument] if any(sign in f" {command}" for sign in ("\n", " ;", " #")) else [by_argument, by_profile]


def nothing_was_done(machine: Programs) -> bool:
    return not Path("canary").exists() and not list(machine.folder.glob("canary*"))


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "by"), [(words, by) for words in ARGUMENTS for by in both_ways(words)])
async def test_the_program_gets_the_words_as_they_stand(
    machine: Programs, context: Context, record: Path, arguments: str, by: Callable[[str, Context], Provider]
) -> None:
    credentials = await by(f"{machine.folder}/vend {arguments}", context)()
    assert credentials.access_key_id == KEY
    assert record.read_text().split("\0")[:-1] == ARGUMENTS[arguments]
    assert nothing_was_done(machine)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "by"), [(words, by) for words in LOOKS_LIKE_ONE for by in both_ways(words)])
async def test_no_shell_looks_for_the_program(
    machine: Programs,
    context: Context,
    environ: dict[str, str],
    record: Path,
    command: str,
    by: Callable[[str, Context], Provider],
) -> None:
    environ |= {"PATH": f"{machine.folder}:{environ['PATH']}", "HOME": str(machine.folder)}
    await failure(by(command, context), InvalidConfiguration, "is not there", "and none is used: write sh -c '…'")
    assert not record.exists()
    assert nothing_was_done(machine)


@pytest.mark.parametrize("command", ONLY_A_SHELL_KNOWS)
async def test_nothing_in_its_name_stands_for_something_else(
    machine: Programs, context: Context, environ: dict[str, str], record: Path, command: str
) -> None:
    environ["PATH"] = f"{machine.folder}:{environ['PATH']}"
    await failure(by_argument(command, context), InvalidConfiguration, "is not there")
    assert not record.exists()


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("vend 'sEcReT", "a quotation mark is not closed: close it"),
        ('vend "sEcReT', "a quotation mark is not closed: close it"),
        ("vend 'sEcReT\"", "a quotation mark is not closed: close it"),
        ("vend sEcReT'; touch canary", "a quotation mark is not closed: close it"),
        ("vend sEcReT \\", "the backslash at its end escapes nothing: remove it"),
        ('vend "sEcReT\\', "the backslash at its end escapes nothing: remove it"),
    ],
)
@pytest.mark.parametrize("by", [by_argument, by_profile])
async def test_what_does_not_end_is_not_run(
    machine: Programs,
    context: Context,
    environ: dict[str, str],
    record: Path,
    command: str,
    remedy: str,
    by: Callable[[str, Context], Provider],
) -> None:
    environ["PATH"] = f"{machine.folder}:{environ['PATH']}"
    await failure(by(command, context), InvalidConfiguration, "command" if by is by_argument else ":2)", remedy)
    assert not record.exists()
    assert nothing_was_done(machine)


@pytest.mark.parametrize(
    "command", ["cat {file} | tee canary", "cat {file} && touch canary", "cat {file} > canary"]
)
async def test_a_pipeline_is_told_how_to_become_one(machine: Programs, context: Context, command: str) -> None:
    file = machine.prints().partition(" ")[2]
    provider = by_argument(command.format(file=file), context)
    await failure(provider, SourceUnavailable, "cat ended with exit status 1", "and none is used: write sh -c '…'")
    shell = by_argument(f"sh -c 'cat {file} | tee {machine.folder}/tee'", context)
    assert (await shell()).access_key_id == KEY
    assert (machine.folder / "tee").exists()


async def test_a_program_in_the_folder_is_none_on_the_path(
    machine: Programs, context: Context, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a shell: what lies where the program happens to run is not run by its bare name."""
    monkeypatch.chdir(machine.folder)
    await failure(by_argument("vend", context), InvalidConfiguration, "vend is not there")
    assert not record.exists()
