"""``aiocreds profiles``: all profiles of the shared files, and whether anybody is signed in for them.

Everything comes from files: nothing is asked for, renewed or run.
"""

from __future__ import annotations

import gc
import sys
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from aiocreds._base.time import span, time_of, utc
from aiocreds._base.tracing import one_line
from aiocreds._core.context import DEFAULT
from aiocreds._profiles import load
from aiocreds._profiles.resolve import Kind, resolve
from aiocreds._profiles.sso import sso_of_profile
from aiocreds._token_cache import storage
from aiocreds.cli._terminal import print_message, run_interruptible
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable, Iterator

    from aiocreds._core.context import Context
    from aiocreds._profiles import Section, SharedConfig
    from aiocreds._profiles.resolve import Step
    from aiocreds._token_cache.storage import Document

MANY = 100  # profiles; with more, messages give no hints
BROKEN, NONE = "broken", "no credentials"
SIGNED_IN, RENEWABLE, ENDED, SIGNED_OUT = "signed in", "renewable", "ended", "not signed in"
HEAD = ("PROFILE", "KIND", "ACCOUNT", "REGION", "SIGN-IN")
EXAMPLE = """\
example:
  aiocreds profiles
  aiocreds profiles | awk -F '\\t' '$5 == "ended"'   who has to sign in again?

On a terminal the columns are aligned. Elsewhere a line has seven fields with tabs in between: profile, kind,
account, region, sign-in, when that ends, and for a broken profile what is wrong with it; - stands for nothing.

kind:     role, web identity, sso, login, static, process; no credentials; broken
sign-in:  signed in; renewable (ended, and the next program that needs it tries to renew it); ended; not signed in

Nothing is asked for but files, and no secret is printed.
"""


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "List all profiles of the shared files: how each gets its credentials, its account\n"
        "and region, and for how long somebody is signed in for it."
    )
    parser.epilog = EXAMPLE
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def run(arguments: Namespace) -> int:
    """Print the profiles.

    Raises:
        InvalidConfiguration: a shared file cannot be read, or does not follow the grammar.
    """
    gc.disable()  # thousands of sections come into being, and none goes before the end of the process
    try:
        config = run_interruptible(load(DEFAULT))
        now = DEFAULT.clock.now()
        rows = listed(config, DEFAULT, now)
        _print(rows, now, as_json=arguments.json)
        if not rows and sys.stdout.isatty():
            places = f"{config.config_file} and {config.credentials_file}"
            print_message("profiles", f"there are none in {places}; aiocreds configure sso writes some")
    finally:
        gc.enable()
    return 0


def _print(rows: list[Row], now: float, *, as_json: bool) -> None:
    if as_json:
        import json  # the other forms do without

        print(json.dumps({"version": 1, "profiles": [row.document(now) for row in rows]}, indent=2))
    elif sys.stdout.isatty():
        print_lines(aligned([HEAD, *(row.cells(now) for row in rows)]))
    else:
        print_lines("\t".join(row.fields()) for row in rows)


class Row(NamedTuple):
    """One profile.

    Attributes:
        name: of the profile.
        section: what the files say of it; its ``repr`` shows no value.
        kind: how it gets its credentials.
        account: blank where the files do not say it.
        region: likewise.
        sign_in: the state of the sign-in that it, or the profile it begins with, depends on; blank if none.
        ends: when that ends, in seconds since the epoch; -inf when that is not known.
        fault: what is wrong with a broken one.
    """

    name: str
    section: Section
    kind: str
    account: str = ""
    region: str = ""
    sign_in: str = ""
    ends: float = -inf
    fault: str = ""

    def cells(self, now: float) -> tuple[str, ...]:
        """Return the columns for a person."""
        state = self.fault or self.sign_in
        if self.sign_in == SIGNED_IN:
            state += f", {span(self.ends - now)} left"
        elif self.sign_in in (RENEWABLE, ENDED) and self.ends > -inf:
            state += f", {span(now - self.ends)} ago"
        return tuple(map(one_line, (self.name, self.kind, self.account, self.region, state)))

    def fields(self) -> tuple[str, ...]:
        """Return the columns for a program: the same whenever it looks, as long as the files are the same."""
        ends = _iso(self.ends)
        columns = (self.name, self.kind, self.account, self.region, self.sign_in, ends, self.fault)
        if "".join(columns).isprintable():
            return tuple(text or "-" for text in columns)
        return tuple(one_line(text) or "-" for text in columns)

    def document(self, now: float) -> dict[str, Any]:
        """Return it as JSON."""
        sign_in = {
            "state": self.sign_in,
            "ends": _iso(self.ends) or None,
            "seconds_left": max(0, int(self.ends - now)) if self.ends > -inf else None,
        }
        return {
            "name": self.name,
            "where": self.section.where(),
            "kind": self.kind,
            "account": self.account or None,
            "region": self.region or None,
            "sign_in": sign_in if self.sign_in else None,
            "error": self.fault or None,
        }


def listed(config: SharedConfig, context: Context, now: float) -> list[Row]:
    """Return all profiles of the files.

    Args:
        config: the files.
        context: where the cached sign-ins are.
        now: seconds since the epoch.
    """
    config.hints = len(config.profiles) <= MANY
    sign_ins = _SignIns(config, context, now)
    sections = map(config.profile, config.profiles)  # which remembers them
    return [_row(config, section, sign_ins) for section in sections if section]


def aligned(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield rows with their columns below each other."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines at once; each by itself would take long for thousands."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


@lru_cache  # many profiles share a sign-in
def _iso(ends: float) -> str:
    return "" if ends == -inf else utc(ends, "%Y-%m-%dT%H:%M:%SZ")


def _row(config: SharedConfig, section: Section, sign_ins: _SignIns) -> Row:
    name, region = section.name, section.get("region") or ""
    try:
        steps = resolve(config, name)
        sign_in, ends = sign_ins.of(steps[-1])
    except CredentialsNotFound:
        return Row(name, section, NONE, section.get("aws_account_id") or "", region)
    except InvalidConfiguration as wrong:
        return Row(name, section, BROKEN, "", region, fault=str(wrong))
    kind = steps[0].kind
    return Row(
        name, section, kind.name.lower().replace("_", " "), _account(config, section, kind), region, sign_in, ends
    )


def _account(config: SharedConfig, section: Section, kind: Kind) -> str:
    """Return the account that the credentials of a profile are for, as far as the files say."""
    match kind:
        case Kind.ROLE | Kind.WEB_IDENTITY:
            return _account_in(section.get("role_arn"))
        case Kind.SSO:
            return section.get("sso_account_id") or sso_of_profile(config, section).account_id
        case Kind.LOGIN:
            return section.get("aws_account_id") or _account_in(section.get("login_session"))
        case _:
            return section.get("aws_account_id") or ""


def _account_in(arn: str | None) -> str:
    parts = (arn or "").split(":")
    return parts[4] if len(parts) > 4 else ""


class _SignIns:
    """The sign-ins that profiles depend on; many share one, and each file is read once."""

    def __init__(self, config: SharedConfig, context: Context, now: float) -> None:
        self._config = config
        self._context = context
        self._now = now
        self._known: dict[tuple[Kind, str], tuple[str, float]] = {}

    def of(self, step: Step) -> tuple[str, float]:
        """Return the state of the sign-in that a step begins with, and when it ends."""
        section = step.section
        if step.kind is Kind.SSO:
            key = section.get("sso_session") or section.get("sso_start_url") or ""
        elif step.kind is Kind.LOGIN:
            key = section.get("login_session") or ""
        else:
            return "", -inf
        if (step.kind, key) not in self._known:
            look = self._sso if step.kind is Kind.SSO else self._login
            self._known[step.kind, key] = look(section)
        return self._known[step.kind, key]

    def _sso(self, section: Section) -> tuple[str, float]:
        settings = sso_of_profile(self._config, section)

        def ends(token: Document) -> float:
            return time_of(token.get("expiresAt")) if token.get("accessToken") else -inf

        def is_renewable(token: Document) -> bool:
            from aiocreds.sources.sso import token as sso_token  # most sign-ins are good, or not there

            return sso_token.is_renewable(settings, token, self._now)

        return self._state(
            storage.sso_path(settings.session or settings.start_url, self._context), ends, is_renewable
        )

    def _login(self, section: Section) -> tuple[str, float]:
        from aiocreds.sources.login.token import end_of, missing_of  # where a profile has it

        path = storage.login_path(section.get("login_session") or "", self._context)
        return self._state(path, end_of, lambda token: not missing_of(token))

    def _state(
        self, path: str, ends: Callable[[Document], float], is_renewable: Callable[[Document], bool]
    ) -> tuple[str, float]:
        try:
            token = storage.look(path)
        except (FileNotFoundError, NotADirectoryError):
            token = None
        except OSError as error:
            return f"not readable ({(error.strerror or type(error).__name__).lower()})", -inf
        if token is None:
            return SIGNED_OUT, -inf
        end = ends(token)
        if end > self._now:
            return SIGNED_IN, end
        return (RENEWABLE if is_renewable(token) else ENDED), end
