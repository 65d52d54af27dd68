"""``aiocreds export``: print credentials for another program, as ``aws configure export-credentials`` does.

See https://docs.aws.amazon.com/cli/latest/reference/configure/export-credentials.html
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._base.redaction import SecretStr
from aiocreds.cli._common import (
    add_profile,
    add_shared,
    asking_for,
    expiration_for_clients,
    fetch,
    iso,
    offer_to_sign_in,
    provider_of,
    variables,
)
from aiocreds.cli._terminal import run_interruptible
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from aiocreds.credentials import Credentials

EXAMPLE = """\
example:
  eval "$(aiocreds export --profile dev --format env)"

  # in ~/.aws/config, for any SDK:
  [profile dev-everywhere]
  credential_process = aiocreds export --profile dev

The output holds secrets. Exit status: 0, 1 (no credentials), 2 (found, but broken), 3 (a credential_process that
asks for itself).
"""


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Print credentials for another program, such as an SDK that has this as credential_process."
    )
    parser.epilog = EXAMPLE
    add_profile(parser)
    add_shared(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="process",
        help="process: the JSON of credential_process (the default); env, env-no-export: POSIX shells; powershell;"
        " windows-cmd; fish; json: all that is known",
    )


def run(arguments: Namespace) -> int:
    """Print the credentials.

    Raises:
        CredentialsError: there are none, or they cannot be written in that format.
    """
    print_false = arguments.format in SHELLS and SHELLS[arguments.format].evaluated  # so that `&&` stops

    async def load() -> Credentials:
        nonlocal print_false
        try:
            provider = provider_of(
                arguments.profile,
                process_timeout=arguments.process_timeout,
                folder=arguments.shared,
                sign_in=offer_to_sign_in,
            )
            return await fetch(provider)
        except asyncio.CancelledError:  # by a signal, which ends this process at once
            if print_false:
                print("false", flush=True)
            print_false = False
            raise

    try:
        with asking_for(arguments.profile):
            credentials = run_interruptible(load())
        text = formatted(credentials, arguments.format).encode(errors="surrogateescape")
    except BaseException:
        if print_false:
            print("false", flush=True)
        raise
    sys.stdout.flush()
    sys.stdout.buffer.write(text)
    return 0


def formatted(credentials: Credentials, form: str) -> str:
    """Return the credentials in one of the ``FORMATS``.

    Raises:
        InvalidConfiguration: that format cannot express a value.
    """
    if form in ("process", "json"):
        return _json(credentials, whole=form == "json")
    shell = SHELLS[form]
    lines: list[str] = []
    for name, value in variables(credentials).items():
        if "\0" in value:
            raise _inexpressible(name, "a NUL", "an environment variable")
        if value:
            lines.append(SecretStr(shell.assign(name, value)))
        elif shell.unset:
            lines.append(shell.unset.format(name))
    return "\n".join(lines) + "\n"


def _json(credentials: Credentials, *, whole: bool) -> str:
    import json  # the other formats do not need it

    expiration = expiration_for_clients(credentials)
    document = {
        "Version": 1,
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "SessionToken": credentials.session_token,
        "Expiration": expiration and iso(expiration),
        "AccountId": credentials.account_id,
    }
    if whole:
        document |= {"CredentialScope": credentials.credential_scope, "Source": credentials.provider}
        del document["Version"]
        return json.dumps(document, indent=2) + "\n"
    return json.dumps({name: value for name, value in document.items() if value is not None}) + "\n"


def _needs_no_quotes(value: str) -> bool:
    """Return whether every shell takes a value literally, without quotes."""
    return re.fullmatch(r"[\w@+=:,./-]+", value, re.ASCII) is not None


def _assignment(name: str, value: str) -> str:
    quoted = value if _needs_no_quotes(value) else "'" + value.replace("'", "'\\''") + "'"
    return f"{name}={quoted}"


def _posix(name: str, value: str) -> str:
    return f"export {_assignment(name, value)}"


def _fish(name: str, value: str) -> str:
    quoted = value if _needs_no_quotes(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"set -gx {name} {quoted}"


def _powershell(name: str, value: str) -> str:
    doubled = re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value)  # typographic quotes end a string, too
    return f"$Env:{name}='{doubled}'"


def _windows_cmd(name: str, value: str) -> str:
    if _needs_no_quotes(value):
        return f"set {name}={value}"
    if re.search(r'[\x00-\x1f"%!]', value):
        raise _inexpressible(name, "a quotation mark, a percent sign or the like", "cmd.exe")
    return f'set "{name}={value}"'


def _inexpressible(name: str, what: str, where: str) -> InvalidConfiguration:
    return InvalidConfiguration(
        f"the value for {name} holds {what}, which {where} cannot take safely: use --format process or json"
    )


class Shell(NamedTuple):
    """The syntax of a shell for variables.

    Attributes:
        assign: writes the line that sets a name to a value.
        unset: the line that unsets a name, for a variable that other credentials had and these have not.
        evaluated: it runs what is printed, so that a failure has to be printed as well.
    """

    assign: Callable[[str, str], str]
    unset: str = ""
    evaluated: bool = False


SHELLS = {
    "env": Shell(_posix, "unset {}", evaluated=True),
    "env-no-export": Shell(_assignment),
    "powershell": Shell(_powershell, "$Env:{}=$null"),
    "windows-cmd": Shell(_windows_cmd, "set {}="),
    "fish": Shell(_fish, "set -e {}", evaluated=True),
}
FORMATS = ("process", *SHELLS, "json")
