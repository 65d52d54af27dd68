"""Read what a profile says about a sign-in: to IAM Identity Center or the console, and the command for it.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._profiles import Section, SharedConfig

SSO_PORTAL, SSO_ROLE = ("sso_start_url", "sso_region"), ("sso_account_id", "sso_role_name")
REGION = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"  # compiled when there is one to check


class LoginCommand(NamedTuple):
    """A command that signs a person in.

    Attributes:
        aws: the words of AWS CLI for it.
        rest: the options, which are the same for ``aiocreds login``.
        arguments: the same, as the arguments of :func:`aiocreds.login.sign_in`.
    """

    aws: str
    rest: str
    arguments: Mapping[str, str]

    def line(self, program: str) -> str:
        """Return the command line with `program`, which reads the config file that is meant."""
        if (file := self.arguments.get("config_file")) is None:
            return f"{program}{self.rest}"
        from shlex import quote  # for messages alone

        return f"AWS_CONFIG_FILE={quote(file)} {program}{self.rest}"


class SsoSettings(NamedTuple):
    """The sign-in to IAM Identity Center that a role needs, and that role.

    Attributes:
        start_url: of the access portal.
        region: of the Identity Center.
        account_id: of the role.
        role_name: the permission set.
        session: the name of the ``[sso-session …]`` whose sign-in is used; None in the older form without one.
        login: what a person runs to sign in.
        place: a profile with its ``file:line``, or code, for messages.
    """

    start_url: str
    region: str
    account_id: str
    role_name: str
    session: str | None
    login: LoginCommand
    place: str


class SsoPortal(NamedTuple):
    """An access portal of IAM Identity Center, for a person who signs in.

    Attributes:
        start_url: of the portal.
        region: of the Identity Center.
        session: the name of the ``[sso-session …]``; None in the older form without one.
        scopes: the session's ``sso_registration_scopes``; None where it has none.
    """

    start_url: str
    region: str
    session: str | None
    scopes: tuple[str, ...] | None


def sso_of_profile(config: SharedConfig, section: Section) -> SsoSettings:
    """Return the SSO settings of a profile, with those of the session that it names.

    Raises:
        InvalidConfiguration: something is missing, or profile and session contradict each other.
    """
    name, session = section.get("sso_session"), None
    if name:
        session = config.sso_session(name) or _sso_session(config, name, _names_session(section))
        for key in session:
            if section.get(key) and session.get(key) and section.get(key) != session.get(key):
                raise InvalidConfiguration(
                    f"profile {section.name!r} and [sso-session {name}] have different values for {key}:"
                    f" {section.get(key)} ({section.where(key)}) and {session.get(key)} ({session.where(key)}):"
                    " remove it from the profile"
                )
        if missing := [key for key in SSO_PORTAL if not session.get(key)]:
            raise InvalidConfiguration(
                f"profile {section.name!r} has sso_session = {name} ({section.where('sso_session')}), and"
                f" [sso-session {name}] ({session.where()}) has no {' and no '.join(missing)}: add"
                f" {_it(missing)} there, where aws sso login looks for {_it(missing)}, too"
            )
    values = {key: section.get(key) or (session and session.get(key)) or "" for key in (*SSO_PORTAL, *SSO_ROLE)}
    if missing := [key for key, value in values.items() if not value]:
        there = next(key for key in ("sso_session", *values) if section.get(key))
        raise InvalidConfiguration(
            f"profile {section.name!r} has {there} ({section.where(there)}) but no {' and no '.join(missing)}:"
            f" add {_it(missing)}"
        )
    login = login_of_session(config, name) if name else login_of_profile(config, section.name, "aws sso login")
    start_url, region, account_id, role_name = values.values()
    check_region(region, section if section.get("sso_region") else session)
    place = f"profile {section.name!r} ({section.where()})"
    return SsoSettings(start_url, region, account_id, role_name, name, login, place)


def sso_of_arguments(
    config: SharedConfig,
    *,
    start_url: str | None,
    region: str | None,
    account_id: str | None,
    role_name: str | None,
    session: str | None,
) -> SsoSettings:
    """Return the SSO settings given in code, with the start URL and region of the session that they name.

    Raises:
        InvalidConfiguration: something is missing, or an argument contradicts the session.
    """
    rest = f", with a profile whose sso_start_url is {start_url}"
    login = LoginCommand("aws sso login", rest, {"sso_start_url": start_url or "", "sso_region": region or ""})
    if session:
        section = _sso_session(config, session, "sso_session=")
        login = login_of_session(config, session)
        for key, value in (("sso_start_url", start_url), ("sso_region", region)):
            if value and section.get(key) and section.get(key) != value:
                raise InvalidConfiguration(
                    f"{key}= differs from what [sso-session {session}] says ({section.where(key)}): leave it out"
                )
        start_url, region = start_url or section.get("sso_start_url"), region or section.get("sso_region")
    values = dict(zip((*SSO_PORTAL, *SSO_ROLE), (start_url, region, account_id, role_name), strict=True))
    if missing := [f"{key}=" for key, value in values.items() if not value]:
        raise InvalidConfiguration(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: pass {_it(missing)}, too (no"
            " profile is read when one of these is given; sso_session= brings start URL and region)"
        )
    return SsoSettings(start_url or "", region or "", account_id or "", role_name or "", session, login, "code")


def login_of_session(config: SharedConfig, name: str) -> LoginCommand:
    """Return the command that signs in to an ``[sso-session …]``."""
    return _login(config, "aws sso login", f" --sso-session {name}", sso_session=name)


def login_of_profile(config: SharedConfig, name: str, aws: str) -> LoginCommand:
    """Return the command that signs in to what a profile needs; ``aws`` is AWS CLI's for that."""
    return _login(config, aws, f" --profile {name}", profile=name)


def _login(config: SharedConfig, aws: str, rest: str, **arguments: str) -> LoginCommand:
    if config.elsewhere:
        arguments["config_file"] = config.config_file
    return LoginCommand(aws, rest, arguments)


def portal_of_session(config: SharedConfig, name: str, place: str = "sso_session=") -> SsoPortal:
    """Return the portal of an ``[sso-session …]``; ``place`` is what names it.

    Raises:
        InvalidConfiguration: there is no such session, or it lacks something.
    """
    return _portal(_sso_session(config, name, place), name, f"[sso-session {name}]")


def portal_of_profile(config: SharedConfig, section: Section) -> SsoPortal:
    """Return the portal that a profile's role is got from; the profile may still lack that role.

    Raises:
        InvalidConfiguration: something is missing.
    """
    if name := section.get("sso_session"):
        return portal_of_session(config, name, _names_session(section))
    return _portal(section, None, f"profile {section.name!r}")


def _portal(holder: Section, session: str | None, title: str) -> SsoPortal:
    if missing := [key for key in SSO_PORTAL if not holder.get(key)]:
        raise InvalidConfiguration(
            f"{title} ({holder.where()}) has no {' and no '.join(missing)}: add {_it(missing)}"
        )
    scopes = holder.get("sso_registration_scopes") if session else None
    region = holder.get("sso_region") or ""
    check_region(region, holder)
    return SsoPortal(holder.get("sso_start_url") or "", region, session, scopes_of(scopes))


def scopes_of(text: str | None) -> tuple[str, ...] | None:
    """Return the scopes of ``sso_registration_scopes``, which are parted by commas; None for none."""
    return tuple(filter(None, map(str.strip, (text or "").split(",")))) or None


def check_region(region: str, holder: Section | None) -> None:
    """Check that the region of an Identity Center can be one; ``holder`` has it, None for an argument.

    Raises:
        InvalidConfiguration: it cannot.
    """
    if not re.fullmatch(REGION, region):
        place = f"sso_region ({holder.value_at('sso_region')})" if holder is not None else "sso_region="
        raise InvalidConfiguration(f"{place} is {region!r}, which is no region: write one such as eu-central-1")


def _names_session(section: Section) -> str:
    """Return the place where a profile names its session, for messages."""
    return f"sso_session of profile {section.name!r} ({section.value_at('sso_session')})"


def _sso_session(config: SharedConfig, name: str, place: str) -> Section:
    section = config.sso_session(name)
    if section is None:
        remedy = config.misnamed(name, "sso-session") or "add it, or correct the name"
        raise InvalidConfiguration(
            f"{place} names an [sso-session {name}] that is not in {config.config_file}: {remedy}"
        )
    return section


def _it(keys: list[str]) -> str:
    return "it" if len(keys) == 1 else "them"
