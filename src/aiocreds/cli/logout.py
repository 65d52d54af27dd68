"""``aiocreds logout``: end a sign-in, at the service and on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiocreds._base.tracing import printable
from aiocreds.cli._common import add_profile_alone, add_session, refuse_both
from aiocreds.cli._questions import Person
from aiocreds.cli._terminal import print_message, run_interruptible
from aiocreds.errors import InvalidConfiguration
from aiocreds.login import sign_out

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from aiocreds.login import SignedOut

EXAMPLE = """\
example:
  aiocreds logout dev
  aiocreds logout --sso-session corp
  aiocreds logout --all

IAM Identity Center is told, and forgets the sign-in. Keys that programs have already stay good until they expire.
Exit status: 0, also when nobody was signed in; 2 when a sign-in could not be ended.
"""
CHANGED_MIND = 1


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = "End a sign-in, at the service and on this machine."
    parser.epilog = EXAMPLE
    add_profile_alone(parser, otherwise="AWS_PROFILE, else default")
    add_session(parser)
    parser.add_argument("--all", action="store_true", help="end all sign-ins of this user; asks first")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: Namespace) -> int:
    """Sign out.

    Raises:
        InvalidConfiguration: there is no such profile or session, or nobody to ask.
    """
    refuse_both(arguments.profile, arguments.sso_session)
    if arguments.all and (arguments.profile is not None or arguments.sso_session is not None):
        raise InvalidConfiguration("--all ends every sign-in: leave the profile or session out, or leave --all out")
    ended = run_interruptible(_signed_out(arguments))
    if ended is None:
        return CHANGED_MIND
    for one in ended:
        if one.trouble is not None:
            print_message("logout", f"the service may still know the sign-in that was in {one.path}: {one.trouble}")
        print(printable(f"Signed out: {one.path} is removed."))
    if not ended:
        print("Nobody was signed in.")
    return 0


async def _signed_out(arguments: Namespace) -> list[SignedOut] | None:
    if arguments.all and not arguments.yes:
        person = Person()
        if not person.there:
            raise InvalidConfiguration("--all asks first, and there is nobody at a terminal: add --yes")
        if not await person.agrees("End all sign-ins to AWS of this user, for AWS CLI and every SDK as well?"):
            return None
    return await sign_out(arguments.profile, sso_session=arguments.sso_session, everything=arguments.all)
