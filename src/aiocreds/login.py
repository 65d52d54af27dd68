"""Sign a person in, and out: what ``aws sso login`` and ``aws login`` do, in a program or a notebook.

::

    from aiocreds.login import sign_in

    await sign_in("app")

It writes the files that AWS CLI, and the SDKs of all languages, go on with. ``aiocreds login`` is the command.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from hashlib import sha1
from json import dumps
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._aws.client import ClientConfig, ConfigScope
from aiocreds._base import threads
from aiocreds._base.time import time_limit
from aiocreds._core.context import DEFAULT, Context
from aiocreds._profiles import expand, load, profile_name
from aiocreds._profiles.parser import is_name
from aiocreds._profiles.resolve import SSO_KEYS, Kind, is_sso, resolve
from aiocreds._profiles.sso import (
    SsoPortal,
    check_region,
    login_of_profile,
    login_of_session,
    portal_of_profile,
    portal_of_session,
)
from aiocreds._token_cache import storage
from aiocreds._token_cache.cache import TokenCache, outlive
from aiocreds.errors import CredentialsError, CredentialsNotFound, InvalidConfiguration, LoginRequired
from aiocreds.sources._sign_in import (
    LONGEST_WAIT,
    Asking,
    Prompt,
    SignedIn,
    has_browser,
    lines_of,
    login_required,
    refuse_combination,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from aiocreds._profiles import Section, SharedConfig
    from aiocreds._profiles.sso import LoginCommand
    from aiocreds._token_cache.cache import Token
    from aiocreds.sources._sign_in import Opener, Prompter

__all__ = ["Prompt", "SignedIn", "SignedOut", "lines_of", "sign_in", "sign_out"]


class SignedOut(NamedTuple):
    """A sign-in that has been ended on this machine.

    Attributes:
        path: of the file that kept it.
        trouble: why the service may still know it; None where it does not, or never takes one back.
    """

    path: str
    trouble: str | None


async def sign_in(
    profile: str | LoginRequired | None = None,
    *,
    new: bool = False,
    sso_session: str | None = None,
    sso_start_url: str | None = None,
    sso_region: str | None = None,
    sso_registration_scopes: Sequence[str] | None = None,
    open_browser: bool | Opener | None = None,
    prompt: Prompter | None = None,
    use_device_code: bool | None = None,
    remote: bool | None = None,
    timeout: float | timedelta = LONGEST_WAIT,
    config_file: str | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> SignedIn:
    """Sign a person in to IAM Identity Center, or as for the console.

    A session, and a profile with ``sso_session`` or ``sso_start_url``, are signed in to at Identity Center; one
    with a ``login_session``, or with no credentials at all, is signed in to as for the console and gets its
    ``login_session``; so does a profile that is not there yet, with `new`. For a role, its source profile counts.

    A browser is opened on the page of the service, and comes back to a port of 127.0.0.1. Where there is none
    (over ssh, in a container), Identity Center shows a code for the person to confirm in a browser anywhere, and
    the console's page one for them to bring back.

    What is written then is whole and for this user alone, also when the caller is cancelled or the program ends
    meanwhile; programs that wait with :class:`LoginRequired` go on with it.

    Args:
        profile: by default ``AWS_PROFILE``, ``AWS_DEFAULT_PROFILE``, else ``default``; or the error of a source,
            which knows it.
        new: make the profile if it is in no file, for the sign-in of the console. ``default`` is made without it.
        sso_session: the name of an ``[sso-session …]``, in the place of a profile.
        sso_start_url: of an access portal, where no file knows it; with `sso_region`. With `sso_session`, that is
            the name of a session that is about to be written.
        sso_region: of the Identity Center.
        sso_registration_scopes: of such a portal.
        open_browser: by default the system's, if there is one on this machine; False for none, True to try it
            all the same, or a function that opens a URL. It may take as long as it likes.
        prompt: ``async (Prompt) -> str | None``, tells the person what to do; by default some lines on stderr.
            It returns the code that the person brings back where the prompt wants one.
        use_device_code: Identity Center: confirm a code; by default where there is no browser.
        remote: the browser is on another machine. For Identity Center the same as `use_device_code`.
        timeout: seconds to wait for the person, or a ``timedelta``. The page of the service has its own limit,
            of 10 minutes.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        client: how the services are called; the region is that of the sign-in.
        context: the environment, the home folder, the clock and the HTTP session.

    Raises:
        LoginRequired: the person did not sign in, or said no.
        InvalidConfiguration: profile or session are wrong, are not there or have other credentials, or nothing can
            be kept.
        ServiceRefused: the service answered no.
        SourceUnavailable: it did not answer.

    See https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sso.html and
    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-sign-in.html
    """
    if isinstance(profile, LoginRequired):
        given = profile.sign_in
        if not given:
            raise profile
        profile, config_file = given.get("profile"), given.get("config_file", config_file)
        sso_session, sso_start_url = given.get("sso_session"), given.get("sso_start_url")
        sso_region = given.get("sso_region")
    config = await load(context, config_file=config_file)
    if sso_start_url:
        if not sso_region:
            raise InvalidConfiguration("sso_start_url= is given without sso_region=: pass both")
        check_region(sso_region, None)
        scopes = tuple(sso_registration_scopes or ()) or None
        portal: SsoPortal | None = SsoPortal(sso_start_url, sso_region, sso_session, scopes)
        name, section = "", config.profile(profile_name(context, profile))
        known = sso_session and config.sso_session(sso_session)  # no command finds one that is not written yet
        command = login_of_session(config, sso_session) if sso_session and known else None
    elif sso_session:
        portal, name, section = portal_of_session(config, sso_session), "", config.profile(profile_name(context))
        command = login_of_session(config, sso_session)
    else:
        name = profile_name(context, profile)
        there = config.profile(name)
        if there is None:
            _refuse_missing(config, name, new=new)
        section = _place_of(config, there) if there is not None else None
        name = name if section is None else section.name
        portal = portal_of_profile(config, section) if section is not None and is_sso(section) else None
        session = portal and portal.session
        aws = "aws login" if portal is None else "aws sso login"
        command = login_of_session(config, session) if session else login_of_profile(config, name, aws)
    title = name if portal is None else portal.session or portal.start_url
    browser = has_browser(context.environ) or callable(open_browser) or open_browser is True
    elsewhere = use_device_code if use_device_code is not None else remote
    asking = Asking(
        title,
        prompt,
        browser if open_browser is None else open_browser,
        not browser if elsewhere is None else elsewhere,
        time_limit(timeout, "timeout"),
        partial(_required, command, context),
    )
    scope = ConfigScope(context, config, section)
    if portal is not None:
        from aiocreds.sources.sso.sign_in import PortalSignIn  # one of the two

        return await PortalSignIn(portal, asking, client or ClientConfig(), scope).sign_in()
    refuse_combination(
        given=bool(use_device_code),
        what=f"profile {name!r} is signed in to as for the console, which has no device codes",
        remedy="use remote=True (--remote of the command)",
    )
    from aiocreds.sources.login.sign_in import ConsoleSignIn

    return await ConsoleSignIn(name, asking, client or ClientConfig(), scope).sign_in()


async def sign_out(
    profile: str | None = None,
    *,
    sso_session: str | None = None,
    everything: bool = False,
    config_file: str | None = None,
    client: ClientConfig | None = None,
    context: Context = DEFAULT,
) -> list[SignedOut]:
    """End a sign-in: at the portal of Identity Center, and on this machine; with `everything`, all of them.

    The files are removed also where the portal does not answer. Keys that programs got before stay good until
    they expire: those of the console's sign-in for a quarter of an hour, a role's for as long as the role says.

    Args:
        profile: as for :func:`sign_in`.
        sso_session: likewise.
        everything: all sign-ins of this user.
        config_file: by default ``AWS_CONFIG_FILE``, else ``~/.aws/config``.
        client: how the portal is called.
        context: the environment, the home folder, the clock and the HTTP session.

    Returns:
        what was ended; nothing where nobody was signed in.

    Raises:
        InvalidConfiguration: there is no such profile or session, or a file cannot be removed; the others are.
    """
    config = await load(context, config_file=config_file, needed=not everything)
    client = client or ClientConfig()
    scope = ConfigScope(context, config, config.profile(profile_name(context, profile)))
    if everything:
        folders = [os.path.dirname(place("", context)) for place in (storage.sso_path, storage.login_path)]  # noqa: PTH120 - pathlib is slow to load
        sso, logins = [await threads.submit(_cached, folder) for folder in folders]
        sessions = None
    else:
        sso, logins = list[str](), list[str]()
        if sso_session:
            portal: SsoPortal | None = portal_of_session(config, sso_session)
            section = None
        else:
            there = config.required(profile_name(context, profile))
            section = None if there is None else _place_of(config, there)
            portal = portal_of_profile(config, section) if section is not None and is_sso(section) else None
        if portal is not None:
            sso.append(storage.sso_path(portal.session or portal.start_url, context))
        elif section is not None and (session := section.get("login_session")):
            logins.append(storage.login_path(session, context))
        sessions = [portal] if portal is not None else []
    ended: list[SignedOut] = []
    failed: list[CredentialsError] = []
    for path in [*sso, *logins]:
        try:
            one = await _end(path, client, scope, console=path in logins)
        except CredentialsError as error:
            failed.append(error)
            continue
        if one is not None:
            ended.append(one)
    if sso:
        await threads.submit(
            _drop_role_credentials, config, sessions, expand("~/.aws/cli/cache", context, place="~")
        )
    if failed:
        raise failed[0]
    return ended


async def _end(path: str, client: ClientConfig, scope: ConfigScope, *, console: bool) -> SignedOut | None:
    """End the sign-in in a file; None where it holds none, such as a registration."""
    context = scope.context
    token = await storage.read(path)
    if token is None or "accessToken" not in token:
        return None
    trouble: str | None = None

    async def end() -> Token | None:
        nonlocal trouble
        if console:
            await TokenCache(path, context).remove()
            return None
        from aiocreds.sources.sso.sign_in import sign_out as sign_out_of_portal  # only where there is one

        trouble = await sign_out_of_portal(path, client, scope)
        return None

    here = bool(client.middlewares) or context.session is not None
    await outlive(end, context, here=here).outcome()
    return SignedOut(path, trouble)


def _refuse_missing(config: SharedConfig, name: str, *, new: bool) -> None:
    """Check that a profile that is in no file may get what ``aws login`` brings.

    Raises:
        InvalidConfiguration: it is not said to be new, or has a name that no file can hold.
    """
    if not is_name(name):
        raise InvalidConfiguration(f"{name!r} is no name for a profile: use letters, digits and _-/.%@:+ alone")
    if new:
        return
    try:
        config.required(name)
    except InvalidConfiguration as error:
        raise InvalidConfiguration(
            f"{error} (a new one is made by aiocreds configure sso for a role of IAM Identity Center, and by"
            f" aiocreds login --new {name} for the sign-in of the console)"
        ) from None


def _place_of(config: SharedConfig, section: Section) -> Section:
    """Return the profile in which it says where to sign in: this one, or the source of its role.

    Raises:
        InvalidConfiguration: it has credentials of another kind.
    """
    name = section.name
    if any(map(section.get, SSO_KEYS)) and not section.get("role_arn"):
        return section
    try:
        step = resolve(config, name)[-1]
    except CredentialsNotFound:
        return section
    if step.kind not in (Kind.SSO, Kind.LOGIN):
        raise InvalidConfiguration(
            f"profile {name!r} needs nobody to be signed in: its credentials come from {step.kind.value}"
            f" ({step.section.where(step.kind.value)}); name another profile"
        )
    return step.section


async def _required(command: LoginCommand | None, context: Context, message: str) -> LoginRequired:
    return LoginRequired(message) if command is None else await login_required(message, command, context)


def _cached(folder: str) -> list[str]:
    """Return the JSON files of a cache."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if entry.name.endswith(".json") and entry.is_file())
    return []


def _drop_role_credentials(config: SharedConfig, portals: list[SsoPortal] | None, folder: str) -> None:
    """Remove the role credentials that AWS CLI has got with these sign-ins; None for all sign-ins."""
    if portals is None:
        for path in _cached(folder):
            with suppress(OSError):
                document = storage.look(path)
                if document is not None and document.get("ProviderType") == "sso":
                    os.unlink(path)  # noqa: PTH108 - pathlib is slow to load
        return
    for portal in portals:
        for name in config.profiles:
            section = config.profiles[name]
            if portal.session is None:
                key, value, mine = "startUrl", portal.start_url, section.get("sso_start_url")
            else:
                key, value, mine = "sessionName", portal.session, section.get("sso_session")
            if mine != value:
                continue
            role = {
                "roleName": section.get("sso_role_name"),
                "accountId": section.get("sso_account_id"),
                key: value,
            }
            name_of_file = sha1(  # as AWS CLI names it
                dumps(role, sort_keys=True, separators=(",", ":")).encode(), usedforsecurity=False
            ).hexdigest()
            with suppress(OSError):
                os.unlink(f"{folder}/{name_of_file}.json")  # noqa: PTH108 - pathlib is slow to load
