"""Parse the command line, run the command, and turn failures into messages and exit statuses.

Each command is a module with ``configure(parser)`` and ``run(arguments)``, loaded when its name is on the command
line: ``export`` runs inside other programs, and has to cost little more than Python itself.
"""

# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiocreds import __version__
from aiocreds._base.tracing import printable
from aiocreds.cli._terminal import (
    discard,
    open_closed_streams,
    print_message,
    restore_child_signal,
    suggest_explain,
)
from aiocreds.errors import CredentialsError, CredentialsNotFound, with_notes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = {
    "explain": "show where credentials come from, and what is wrong with them",
    "export": "print credentials for another program",
    "exec": "run a command with credentials",
    "serve": "serve credentials to every AWS SDK on this machine",
    "eks-token": "print a token for the Kubernetes API of an EKS cluster",
    "login": "sign in to IAM Identity Center, or as for the console",
    "logout": "end a sign-in",
    "profiles": "list the profiles, and for how long somebody is signed in",
    "configure": "write profiles for accounts and roles of IAM Identity Center",
}
NOT_FOUND, BROKEN = 1, 2
EXAMPLE = """\
example:
  aiocreds explain                        why does this program not find its credentials?
  eval "$(aiocreds export --format env)"  into this shell
  aiocreds exec dev -- terraform plan     with the credentials of profile dev

`aiocreds COMMAND --help` has more. Completion: eval "$(register-python-argcomplete aiocreds)"
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its arguments, without the program's name; by default this process's.

    Returns:
        the exit status: 0, 1 (no credentials), 2 (they are there but broken, or the arguments are wrong), or
        what the command says.
    """
    has_stdout = open_closed_streams()
    restore_child_signal()
    try:
        own, words = _split_at_dashes(sys.argv[1:] if argv is None else argv)
        parser = _parser(own)
        _complete(parser)
        arguments = _parse(parser, own, words)
        if arguments is None:
            return BROKEN
        if not has_stdout and arguments.command != "exec":
            print_message(arguments.command, "stdout is closed, and there is nowhere to print to")
            return BROKEN
        with _log_on_stderr(arguments.command, debug=getattr(arguments, "debug", False)):
            return _run(arguments)
    except KeyboardInterrupt:
        return 128 + 2


def _parse(parser: argparse.ArgumentParser, own: list[str], words: list[str] | None) -> argparse.Namespace | None:
    """Parse the arguments; return None when there were none, and the help has been shown."""
    command = next((word for word in own if word in COMMANDS), None)
    before = own[: own.index(command)] if command else own
    if early := next((word for word in before if _belongs_to_command(word)), None):
        option = printable(early.partition("=")[0])
        where = f"aiocreds {command or 'COMMAND'} {option} ..."
        parser.error(f"{option} cannot stand before the command; the options of a command go after it: {where}")
    arguments, rest = parser.parse_known_args(own)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        _name_missing_extra()
        return None
    if rest:
        hint = "; the command to run stands behind --" if arguments.command == "exec" and words is None else ""
        parser.error(f"unrecognized arguments: {printable(' '.join(rest))}{hint}")
    if words is not None and arguments.command != "exec":
        parser.error(f"{arguments.command} runs no command: nothing may stand behind --")
    arguments.words = words or []
    if named := getattr(arguments, "named", None):  # the profile, written without --profile
        given = arguments.profile
        if isinstance(named, list):
            arguments.profile = [*given, *named]
        elif given not in (None, named):
            parser.error(f"two profiles are given, {printable(given)} and {printable(named)}: which one is meant?")
        else:
            arguments.profile = named
    return arguments


def _belongs_to_command(word: str) -> bool:
    """Return whether a word is an option that may only stand after the command."""
    everywhere = ("-h", "--help", "--version", "--debug")  # argparse takes abbreviations, too
    return word.startswith("-") and word != "-" and not any(it.startswith(word) for it in everywhere)


def _run(arguments: argparse.Namespace) -> int:
    try:
        status: int = _module(arguments.command).run(arguments)
        sys.stdout.flush()
    except CredentialsError as error:
        print_message(arguments.command, with_notes(error))
        if arguments.command == "export":
            suggest_explain(arguments.command, error, arguments.profile)
        if getattr(error, "asked_itself", False):
            from aiocreds.sources.process import ASKED_ITSELF  # who asks for itself has loaded it

            return ASKED_ITSELF
        return NOT_FOUND if isinstance(error, CredentialsNotFound) else BROKEN
    except BrokenPipeError:  # such as from head
        discard(sys.stdout)
        return 128 + 13
    except OSError as error:
        print_message(arguments.command, f"{error.filename or 'stdout'}: {error.strerror or error}")
        discard(sys.stdout)
        return BROKEN
    except Exception:  # noqa: BLE001 - Python would exit with 1, which means: no credentials
        import traceback  # slow to load, and seldom needed

        traceback.print_exc()
        return BROKEN
    return status


def _module(command: str) -> Any:
    return import_module(f"aiocreds.cli.{command.replace('-', '_')}")


def _split_at_dashes(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return our own arguments, and those behind the first ``--``, which are the command to run."""
    argv = list(argv)
    if "--" not in argv:
        return argv, None
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    debug = argparse.ArgumentParser(add_help=False, formatter_class=_Help)
    debug.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,  # else the command's default would override one before it
        help="tell on stderr what is done; secrets are left out",
    )
    parser = argparse.ArgumentParser(
        prog="aiocreds",
        description=(
            "AWS credentials: see where they come from, hand them over, serve them; sign in, and write profiles."
        ),
        epilog=EXAMPLE,
        formatter_class=_Help,
        parents=[debug],
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, parents=[debug], formatter_class=_Help)
        if name in argv or "_ARGCOMPLETE" in os.environ:
            _module(name).configure(command)
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal; argparse would load shutil for that, which is slow."""

    def __init__(self, prog: str, **options: Any) -> None:
        try:
            width = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
        except (ValueError, OSError):
            width = 100
        super().__init__(prog, **{"width": width - 2, **options})


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"aiocreds {__version__}")
        parser.exit()


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that completes a line, and end."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # slow to load, and seldom needed

        argcomplete.autocomplete(parser)


def _name_missing_extra() -> None:
    from importlib.util import find_spec  # slow to load, and seldom needed

    if find_spec("argcomplete") is None:
        print("\nargcomplete not installed: pip install 'aiocreds[cli]'", file=sys.stderr)


@contextmanager
def _log_on_stderr(command: str, *, debug: bool) -> Iterator[None]:
    """Print what the library warns of, or with ``debug`` all that it logs.

    Other libraries are left out: they might log secrets. ``explain`` shows warnings itself.
    """
    import logging  # not needed for help

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    if command == "explain" and not debug:
        yield
        return
    logger, handler = logging.getLogger("aiocreds"), logging.StreamHandler()
    layout = "%(relativeCreated)6.0f ms  %(name)s: %(message)s" if debug else f"aiocreds {command}: %(message)s"
    handler.setFormatter(Plain(layout))
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    if debug:
        logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


if __name__ == "__main__":
    sys.exit(main())
