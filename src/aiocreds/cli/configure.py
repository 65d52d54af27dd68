"""``aiocreds configure sso``: write profiles for the accounts and roles that IAM Identity Center lists.

It reads top to bottom: which session, signed in to; one role that the person chooses, or all of them; what is there
already; and one write at the end, so that nothing is left of a run that was interrupted.

See https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sso.html
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from aiocreds._aws.client import ClientConfig, ConfigScope, ServiceClient
from aiocreds._base.tracing import one_line
from aiocreds._core.context import DEFAULT
from aiocreds._profiles import load
from aiocreds._profiles.parser import NAME_CHARACTERS
from aiocreds._profiles.resolve import Kind, is_sso, resolve
from aiocreds._profiles.sso import REGION, SSO_PORTAL, SsoSettings, login_of_session
from aiocreds._profiles.write import SectionEdit, refuse_unwritable, write
from aiocreds._token_cache import storage
from aiocreds.cli._common import complete_with, profile_names, session_names
from aiocreds.cli._questions import Person
from aiocreds.cli._terminal import print_message, run_interruptible
from aiocreds.cli.login import add_browser, browser_of, sign_in_at_terminal
from aiocreds.cli.profiles import aligned, print_lines
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration, LoginRequired, ServiceRefused
from aiocreds.sources.sso.api import UNAUTHORIZED, list_account_roles, list_accounts
from aiocreds.sources.sso.token import SignIn

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser, Namespace
    from collections.abc import Awaitable, Callable, Sequence

    from aiocreds._base.redaction import SecretStr
    from aiocreds._core.context import Context
    from aiocreds._profiles import Section, SharedConfig
    from aiocreds.sources.sso.api import Account

    SignInFlow = Callable[..., Awaitable[object]]

T = TypeVar("T")

OPTIONS = {"sso_start_url": "--start-url", "sso_region": "--sso-region"}
QUESTIONS = {"sso_start_url": "Start URL of the access portal", "sso_region": "Region of the Identity Center"}
AT_ONCE = 4  # accounts whose roles are asked for
ATTEMPTS = 8  # at a call: hundreds of accounts are throttled
SCOPES = "sso:account:access"
TEMPLATE = "{account_name}-{role_name}"
FIELD = re.compile(r"\{([^{}]*)\}")
FIELDS = ("account_name", "account_id", "role_name", "session")
UNNAMABLE = re.compile(f"[^{re.escape(NAME_CHARACTERS)}]+")
WROTE, KEPT, SAME = "wrote", "kept", "unchanged"
EXAMPLE = """\
example:
  aiocreds configure sso                                        asks for everything
  aiocreds configure sso --start-url https://corp.awsapps.com/start --sso-region eu-central-1
  aiocreds configure sso --sso-session corp --account 123456789012 --role Admin --profile prod
  aiocreds configure sso --sso-session corp --all --yes         a profile for each account and role

It signs in, lists the accounts and roles, and writes the session and the profiles into the config file, all at once
and nothing else in it. A profile that is there already and says something else is kept with --all; a single one
is changed if you agree, or with --yes. An account whose roles Identity Center does not list is left out of --all
and named. Exit status: 0, 1 when accounts were left out, or 2 when nothing was written.
"""


def configure(parser: ArgumentParser) -> None:
    """Describe the command."""
    parser.description = "Write profiles for accounts and roles of IAM Identity Center into the config file."
    parser.epilog = EXAMPLE
    parser.add_argument("what", choices=["sso"], metavar="sso", help="what to configure, which is always sso")
    profile: Action = parser.add_argument(
        "-p", "--profile", metavar="P", help="the name of the profile; by default as --template says"
    )
    complete_with(profile, profile_names)
    session: Action = parser.add_argument(
        "--sso-session", metavar="S", help="an [sso-session S], or the name for a new one"
    )
    complete_with(session, session_names)
    parser.add_argument("--start-url", metavar="URL", help="of the access portal, for a new session")
    parser.add_argument("--sso-region", metavar="R", help="of the Identity Center, for a new session")
    parser.add_argument("--scopes", metavar="A,B", help=f"to register for; by default {SCOPES}")
    parser.add_argument("--account", metavar="ID", help="the account: its 12 digits, or its name")
    parser.add_argument("--role", metavar="NAME", help="the role, as the portal shows it")
    parser.add_argument("--region", metavar="R", help="that the profiles get")
    parser.add_argument("--all", action="store_true", help="a profile for each account and role")
    parser.add_argument(
        "--template",
        metavar="T",
        default=TEMPLATE,
        help=f"for names of profiles, of {', '.join(f'{{{it}}}' for it in FIELDS)}; by default %(default)s",
    )
    add_browser(parser)
    parser.add_argument(
        "-y", "--yes", action="store_true", help="do not ask before profiles are written or changed"
    )


def run(arguments: Namespace) -> int:
    """Write the profiles.

    Raises:
        CredentialsError: nothing was written; it says why.
    """
    sign_in = partial(sign_in_at_terminal, **browser_of(arguments))
    return run_interruptible(configure_sso(arguments, Person(), sign_in=sign_in))


async def configure_sso(
    arguments: Namespace, person: Person, *, sign_in: SignInFlow, context: Context = DEFAULT
) -> int:
    """Sign in, have the person choose, and write; return the exit status.

    Args:
        arguments: as the command line gives them.
        person: who is asked for what is missing.
        sign_in: signs the person in, as :func:`aiocreds.login.sign_in` does.
        context: the environment and the HTTP session.

    Raises:
        InvalidConfiguration: arguments are missing or wrong, or what is there already does not go with them.
        LoginRequired: the person did not sign in.
        ServiceRefused: Identity Center answered no.
        SourceUnavailable: it did not answer, or the file cannot be written.
    """
    config = await load(context)
    _check(arguments, config, person)
    session = await _session(arguments, config, person)
    left_out: dict[str, ServiceRefused] = {}
    async with context:
        portal = Portal(session, sign_in, config, context)
        accounts = await portal.ask(lambda token: list_accounts(portal.client, access_token=token))
        if not accounts:
            raise InvalidConfiguration(
                f"the person who signed in to {session.name} has no account there: ask who runs the Identity Center"
            )
        if arguments.all:
            plans = await _all(arguments, config, person, session, portal, accounts, left_out)
        else:
            plans = [await _one(arguments, config, person, session, portal, accounts)]
    edits = [*session.edits(config), *(plan.edit for plan in plans if plan.state == WROTE)]
    if any(plan.state != KEPT for plan in plans):
        _refuse_changed(config, await load(context), plans)
        await write(context, edits)
    file = config.config_file
    if len(plans) == 1 and not arguments.all:
        print(f"{plans[0].state} profile {plans[0].edit.name} ({file})")
    else:
        print_lines(aligned([plan.cells() for plan in plans]))
    for account, refused in sorted(left_out.items()):
        print_message("configure", f"left out account {account}: {refused}")
    return 1 if left_out else 0


def _refuse_changed(before: SharedConfig, now: SharedConfig, plans: list[Plan]) -> None:
    """Check that the profiles to be written are what they were when the person was asked.

    Raises:
        InvalidConfiguration: another program has written one of them.
    """
    for name in (plan.edit.name for plan in plans if plan.state == WROTE):
        then, there = (
            {key: it.get(key) for key in it} if it else None for it in (before.profile(name), now.profile(name))
        )
        if then != there:
            raise InvalidConfiguration(
                f"profile {name!r} has been changed meanwhile by another program: start over"
            )


class Session(NamedTuple):
    """A session of Identity Center.

    Attributes:
        name: of its section.
        start_url: of the access portal.
        region: of the Identity Center.
        scopes: to register for, with commas; None where the file has them or none.
        is_new: the file does not have it as it is here.
    """

    name: str
    start_url: str
    region: str
    scopes: str | None
    is_new: bool

    def edits(self, config: SharedConfig) -> list[SectionEdit]:
        """Return what the config file lacks of it."""
        there = config.sso_session(self.name)
        wanted = {"sso_start_url": self.start_url, "sso_region": self.region}
        if self.scopes:
            wanted["sso_registration_scopes"] = self.scopes
        missing = {key: value for key, value in wanted.items() if there is None or there.get(key) != value}
        return [SectionEdit("sso-session", self.name, missing)] if missing else []


class Portal:
    """The access portal, for the person who is signed in to a session."""

    def __init__(self, session: Session, sign_in: SignInFlow, config: SharedConfig, context: Context) -> None:
        login = login_of_session(config, session.name)
        settings = SsoSettings(session.start_url, session.region, "", "", session.name, login, "the command line")
        client, scope = ClientConfig(max_attempts=ATTEMPTS), ConfigScope(context, config, None)
        self.client = ServiceClient("sso", client, scope, session.region)
        self._tokens = SignIn(settings, client, scope)
        self._session = session
        self._sign_in = sign_in
        self._context = context
        self._token: SecretStr | None = None
        self._lock = asyncio.Lock()

    async def ask(self, call: Callable[[SecretStr], Awaitable[T]]) -> T:
        """Return the result of a call with the access token; sign in before it, or again, where that is needed.

        Raises:
            LoginRequired: the person did not sign in, or the portal refuses the new sign-in, too.
            CredentialsError: from the call.
        """
        token = await self._valid(None)
        try:
            return await call(token)
        except ServiceRefused as refused:
            if refused.code != UNAUTHORIZED:
                raise
        token = await self._valid(token)
        try:
            return await call(token)
        except ServiceRefused as refused:
            if refused.code != UNAUTHORIZED:
                raise
            message = str(refused)
        if self._session.is_new:
            raise LoginRequired(message)
        raise await self._tokens.required(message)

    async def _valid(self, refused: SecretStr | None) -> SecretStr:
        """Return the access token, another one than that which the portal has refused."""
        async with self._lock:
            if self._token is None or self._token == refused:
                self._token = await self._renewed(refused)
            return self._token

    async def _renewed(self, refused: SecretStr | None) -> SecretStr:
        if await self._is_for_this_portal():
            with suppress(LoginRequired):
                return await self._tokens.access_token(refused=refused)
        session = self._session
        await self._sign_in(
            sso_session=session.name,
            sso_start_url=session.start_url if session.is_new else None,
            sso_region=session.region if session.is_new else None,
            sso_registration_scopes=(session.scopes or SCOPES).split(",") if session.is_new else None,
            context=self._context,
        )
        return await self._tokens.access_token(refused=refused)

    async def _is_for_this_portal(self) -> bool:
        """Return whether the cached sign-in is: another portal may have had the session's name."""
        token = await storage.read(storage.sso_path(self._session.name, self._context))
        return token is None or token.get("startUrl") in (None, self._session.start_url)


class Plan(NamedTuple):
    """A profile, and what becomes of it.

    Attributes:
        edit: the profile.
        state: it is written, kept as it is for another use, or as it should be already.
        note: why it is kept.
    """

    edit: SectionEdit
    state: str
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return it as columns."""
        settings = self.edit.settings
        return self.state, self.edit.name, settings["sso_account_id"], settings["sso_role_name"], self.note


def _check(arguments: Namespace, config: SharedConfig, person: Person) -> None:
    """Check the arguments before anything is asked for.

    Raises:
        InvalidConfiguration: something is wrong, or missing where there is nobody to ask.
    """
    if arguments.all and (one := next((it for it in ("profile", "account", "role") if getattr(arguments, it)), "")):
        raise InvalidConfiguration(f"--all writes a profile for every role: leave --{one} out, or --all")
    for field in FIELD.findall(arguments.template):
        if field not in FIELDS:
            raise InvalidConfiguration(
                f"--template has {{{field}}}, which is none of {', '.join(f'{{{it}}}' for it in FIELDS)}"
            )
    if arguments.profile:
        refuse_unwritable(SectionEdit("profile", arguments.profile, {}))
    for region in filter(None, (arguments.region, arguments.sso_region)):
        _refuse_no_region(region)
    if not person.there:
        _refuse_missing(arguments, config)


def _refuse_missing(arguments: Namespace, config: SharedConfig) -> None:
    """Check that there is nothing to ask for.

    Raises:
        InvalidConfiguration: there is; it names all of it.
    """
    missing: list[str] = []
    name = _session_meant(arguments, config)
    there = config.sso_session(name) if name else None
    if not name and not arguments.start_url:
        missing.append("--sso-session (or --start-url and --sso-region)")
    else:
        given = {"sso_start_url": arguments.start_url, "sso_region": arguments.sso_region}
        missing += [OPTIONS[key] for key in OPTIONS if not given[key] and not (there and there.get(key))]
    if not arguments.all:
        missing += [f"--{name}" for name in ("account", "role") if not getattr(arguments, name)]
    elif not arguments.yes:
        missing.append("--yes")
    if missing:
        raise InvalidConfiguration(
            f"there is no terminal to ask at, and {_listed(missing)} missing: add {_them(missing)}"
        )


# Which session.


async def _session(arguments: Namespace, config: SharedConfig, person: Person) -> Session:
    """Return the session that the arguments or the person name, or a new one.

    Raises:
        InvalidConfiguration: something is missing or wrong.
    """
    name = _session_meant(arguments, config)
    if not name and not arguments.start_url and config.sso_sessions and person.there:
        urls = [f"{one}  {section.get('sso_start_url') or ''}" for one, section in config.sso_sessions.items()]
        name = [*config.sso_sessions][await person.choose("Session", urls)]
    there = config.sso_session(name) if name else None
    start_url = await _portal_setting("sso_start_url", arguments.start_url, there, person)
    region = await _portal_setting("sso_region", arguments.sso_region, there, person)
    _refuse_no_portal(start_url, region)
    if not name:
        name = _name_for(start_url, config)
        if person.there and not arguments.yes:
            name = await person.ask("Name of the session", name)
        if other := config.sso_session(name):
            raise InvalidConfiguration(
                f"there is an [sso-session {name}] already ({other.where()}): choose another name"
            )
    session = Session(name, start_url, region, arguments.scopes or (None if there else SCOPES), is_new=False)
    edits = session.edits(config)
    for edit in edits:
        refuse_unwritable(edit)
    return session._replace(is_new=bool(edits))


def _session_meant(arguments: Namespace, config: SharedConfig) -> str | None:
    """Return the name of the session that the arguments, or a file with one alone, mean; None for another."""
    if arguments.sso_session:
        named: str = arguments.sso_session
        return named
    url = arguments.start_url
    found = [name for name, one in config.sso_sessions.items() if not url or one.get("sso_start_url") == url]
    return found[0] if found and (url or len(found) == 1) else None


async def _portal_setting(key: str, given: str | None, there: Section | None, person: Person) -> str:
    """Return what a session needs: what it has, what the command line gives, else what the person says."""
    known = there.get(key) if there else None
    if there and known:
        if given and given != known:
            raise InvalidConfiguration(
                f"{OPTIONS[key]} differs from what [sso-session {there.name}] says ({there.where(key)}): leave it"
                " out, or name another session with --sso-session"
            )
        return known
    if given:
        return given
    if not person.there:
        raise InvalidConfiguration(f"there is no terminal to ask at, and {OPTIONS[key]} is missing: add it")
    return await person.ask(QUESTIONS[key])


def _refuse_no_portal(start_url: str, region: str) -> None:
    parts = urlsplit(start_url) if start_url.isprintable() else None
    if parts is None or parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise InvalidConfiguration(
            "the start URL is no address of an access portal: write one such as https://corp.awsapps.com/start"
        )
    _refuse_no_region(region)


def _refuse_no_region(region: str) -> None:
    if not re.fullmatch(REGION, region):
        raise InvalidConfiguration(f"{region!r} is no region: write one such as eu-central-1")


def _name_for(start_url: str, config: SharedConfig) -> str:
    """Return a name for a new session, after the host of its portal."""
    base = _namable((urlsplit(start_url).hostname or "").partition(".")[0]) or "sso"
    return _free(base, set(config.sso_sessions))


# One role.


async def _one(
    arguments: Namespace,
    config: SharedConfig,
    person: Person,
    session: Session,
    portal: Portal,
    accounts: list[Account],
) -> Plan:
    """Return the profile for the role that the arguments or the person name."""
    account = await _account(arguments.account, person, accounts)
    roles = sorted(
        await portal.ask(lambda token: list_account_roles(portal.client, account.account_id, access_token=token))
    )
    if not roles:
        raise InvalidConfiguration(f"there is no role in account {account.account_id} for the person who signed in")
    role = arguments.role
    if role is None:
        role = roles[0 if len(roles) == 1 else await person.choose("Role", roles)]
    if role not in roles:
        raise InvalidConfiguration(
            f"--role {role} is none of the {len(roles)} roles in account {account.account_id}: {_some(roles)}"
        )
    region = arguments.region
    name = arguments.profile
    if person.there and name is None:
        name = await person.ask("Name of the profile", _named(arguments.template, session, account, role))
        there = config.profile(name)
        if region is None and not (there and there.get("region")):
            region = await person.ask("Region of the profile", session.region)
    edit = _profile(
        name or _named(arguments.template, session, account, role), session, account, role, region=region
    )
    refuse_unwritable(edit)
    return await _changed(arguments, config, person, edit)


async def _account(named: str | None, person: Person, accounts: list[Account]) -> Account:
    accounts = sorted(accounts, key=lambda it: (it.name.casefold(), it.account_id))
    if named is None:
        if len(accounts) == 1:
            return accounts[0]
        width = max(len(it.name) for it in accounts)
        labels = [f"{it.name:{width}}  {it.account_id}  {it.email}" for it in accounts]
        return accounts[await person.choose("Account", labels)]
    found = [it for it in accounts if named in (it.account_id, it.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidConfiguration(
            f"--account {named} is the name of {_some([it.account_id for it in found])}: write the 12 digits"
        )
    raise InvalidConfiguration(
        f"--account {named} is none of the {len(accounts)} accounts of the person who signed in:"
        f" {_some([f'{it.account_id} ({it.name})' for it in accounts])}"
    )


async def _changed(arguments: Namespace, config: SharedConfig, person: Person, edit: SectionEdit) -> Plan:
    """Return what becomes of one profile; ask before another is changed.

    Raises:
        InvalidConfiguration: it must not be changed, or nobody agrees.
    """
    there = config.profile(edit.name)
    if there is None:
        return Plan(edit, WROTE)
    if reason := _taken(config, edit):
        raise InvalidConfiguration(
            f"profile {edit.name!r} ({there.where()}) {reason}: name another one with --profile, or"
            " change it by hand"
        )
    differing = [key for key, value in edit.settings.items() if there.get(key) not in (None, value)]
    if not differing and all(there.get(key) for key in edit.settings):
        return Plan(edit, SAME)
    if differing and not arguments.yes:
        what = f"profile {edit.name!r} ({there.where()}) has another {' and another '.join(differing)}"
        if not person.there:
            raise InvalidConfiguration(f"{what}: change it with --yes, or name another one with --profile")
        if not await person.agrees(f"{what}. Change it?"):
            raise InvalidConfiguration(f"{what}, and nothing was written")
    return Plan(edit, WROTE)


def _taken(config: SharedConfig, edit: SectionEdit) -> str:
    """Return why a profile that is there cannot become one of a session; blank when it can."""
    there = config.profile(edit.name)
    if there is None:
        return ""
    try:
        kind = resolve(config, edit.name)[0].kind
    except CredentialsNotFound:  # such as a region alone
        return ""
    except InvalidConfiguration:
        if not is_sso(there) or there.get("role_arn"):
            return "is broken: aiocreds profiles says how"
        kind = Kind.SSO
    if kind is not Kind.SSO:
        return f"is another kind of profile ({kind.name.lower().replace('_', ' ')})"
    if own := next((key for key in SSO_PORTAL if there.get(key)), None):
        return f"has a portal of its own ({own}, {there.where(own)})"
    if hidden := next(
        (it for it in edit.settings if there.where(it).startswith(f"{config.credentials_file}:")), None
    ):
        return f"has its {hidden} in the credentials file ({there.where(hidden)})"
    return ""


# All roles.


async def _all(
    arguments: Namespace,
    config: SharedConfig,
    person: Person,
    session: Session,
    portal: Portal,
    accounts: list[Account],
    left_out: dict[str, ServiceRefused],
) -> list[Plan]:
    """Return a profile for each account and role; put into `left_out` the accounts whose roles are not listed.

    Raises:
        InvalidConfiguration: the person does not agree.
        ServiceRefused: no account's roles are listed.
    """
    if person.there:
        person.tell(f"asking for the roles in {len(accounts)} accounts …")
    busy = asyncio.Semaphore(AT_ONCE)

    async def roles_in(account: Account) -> list[tuple[Account, str]]:
        async with busy:
            try:
                roles = await portal.ask(
                    lambda token: list_account_roles(portal.client, account.account_id, access_token=token)
                )
            except ServiceRefused as refused:  # one that is closed or suspended, say; the others are as good
                left_out[account.account_id] = refused
                return []
        return [(account, role) for role in roles]

    tasks = [asyncio.create_task(roles_in(account)) for account in accounts]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()  # where one has failed
    if len(left_out) == len({account.account_id for account in accounts}):
        raise next(iter(left_out.values()))
    pairs = sorted({pair for pairs in found for pair in pairs}, key=lambda it: (it[0].name.casefold(), it))
    names = names_of(arguments.template, session, pairs)
    plans: list[Plan] = []
    for name, (account, role) in zip(names, pairs, strict=True):
        edit = _profile(name, session, account, role, region=arguments.region)
        try:
            refuse_unwritable(edit)
        except InvalidConfiguration as wrong:  # a name that no file can hold
            plans.append(Plan(_printable(edit), KEPT, str(wrong)))
            continue
        plans.append(_beside(config, edit))
    written = [plan.edit.name for plan in plans if plan.state == WROTE]
    if written and not arguments.yes:
        question = f"Write {len(written)} profiles ({_some(written)}) into {config.config_file}?"
        if not await person.agrees(question):
            raise InvalidConfiguration("nothing was written")
    return plans


def _beside(config: SharedConfig, edit: SectionEdit) -> Plan:
    """Return what becomes of one of many profiles: what is there is kept."""
    there = config.profile(edit.name)
    if there is None:
        return Plan(edit, WROTE)
    if all(there.get(key) == value for key, value in edit.settings.items()) and not _taken(config, edit):
        return Plan(edit, SAME)
    return Plan(edit, KEPT, f"it says something else ({there.where()})")


def names_of(template: str, session: Session, pairs: Sequence[tuple[Account, str]]) -> list[str]:
    """Return a name for each account and role; where two would be the same, with the account, then a number."""
    wanted = [_named(template, session, account, role) for account, role in pairs]
    times = Counter(wanted)
    longer = [
        f"{name}-{account.account_id}" if times[name] > 1 or name == "default" else name
        for name, (account, _) in zip(wanted, pairs, strict=True)
    ]
    taken: set[str] = set()
    names: list[str] = []
    for name in longer:
        names.append(_free(name, taken))
        taken.add(names[-1])
    return names


def _named(template: str, session: Session, account: Account, role: str) -> str:
    """Return the name that the template makes, with ``-`` for what no name may have in it."""
    values = {
        "account_name": account.name or account.account_id,
        "account_id": account.account_id,
        "role_name": role,
        "session": session.name,
    }
    named = _namable(FIELD.sub(lambda field: values[field[1]], template))
    return named or _namable(account.account_id) or "account"


def _namable(text: str) -> str:
    return UNNAMABLE.sub("-", text).strip("-")


def _free(name: str, taken: set[str]) -> str:
    """Return a name that is not taken: this one, else with a number behind it."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _profile(name: str, session: Session, account: Account, role: str, *, region: str | None) -> SectionEdit:
    settings = {
        "sso_session": session.name,
        "sso_account_id": account.account_id,
        "sso_role_name": role,
        **({"region": region} if region else {}),
    }
    return SectionEdit("profile", name, settings)


def _printable(edit: SectionEdit) -> SectionEdit:
    settings: dict[str, Any] = {key: one_line(value) for key, value in edit.settings.items()}
    return edit._replace(settings=settings)


def _some(names: Sequence[str]) -> str:
    """Return the first names, for messages."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _listed(words: Sequence[str]) -> str:
    return f"{' and '.join(words)} {'is' if len(words) == 1 else 'are'}"


def _them(words: Sequence[str]) -> str:
    return "it" if len(words) == 1 else "them"
