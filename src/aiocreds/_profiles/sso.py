"""What the shared config file says about IAM Identity Center (SSO).

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from aiocreds._profiles.model import Section, SharedConfig


class SsoSettings(NamedTuple):
    """Where a person signs in, and the role that is wanted.

    Attributes:
        start_url: of the access portal.
        region: of the Identity Center.
        account_id: of the role.
        role_name: the permission set.
        session: the ``[sso-session …]`` whose sign-in is used; None for the older form without one.
        command: what a person runs to sign in.
        place: where all that is said, for messages: a profile with its ``file:line``, or code.
    """

    start_url: str
    region: str
    account_id: str
    role_name: str
    session: str | None
    command: str
    place: str


REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
PORTAL = ("sso_start_url", "sso_region")
ROLE = ("sso_account_id", "sso_role_name")


def of_profile(config: SharedConfig, section: Section) -> SsoSettings:
    """The settings of a profile, with those of the session it names.

    Raises:
        InvalidConfiguration: something is missing, or profile and session contradict each other.
    """
    name, session = section.get("sso_session"), None
    if name:
        place = f"sso_session of profile {section.name!r} ({section.value_at('sso_session')})"
        session = _session(config, name, place)
        for key in session:
            if section.get(key) and session.get(key) and section.get(key) != session.get(key):
                raise InvalidConfiguration(
                    f"profile {section.name!r} and [sso-session {name}] have different values for {key}:"
                    f" {section.get(key)} ({section.where(key)}) and {session.get(key)} ({session.where(key)}):"
                    " remove it from the profile"
                )
        if missing := [key for key in PORTAL if not session.get(key)]:
            raise InvalidConfiguration(
                f"profile {section.name!r} has sso_session = {name} ({section.where('sso_session')}), and"
                f" [sso-session {name}] ({session.where()}) has no {' and no '.join(missing)}: add"
                f" {_it(missing)} there, where aws sso login looks for {_it(missing)}, too"
            )
    values = {key: section.get(key) or (session and session.get(key)) or "" for key in (*PORTAL, *ROLE)}
    if missing := [key for key, value in values.items() if not value]:
        there = next(key for key in ("sso_session", *values) if section.get(key))
        raise InvalidConfiguration(
            f"profile {section.name!r} has {there} ({section.where(there)}) but no {' and no '.join(missing)}:"
            f" add {_it(missing)}"
        )
    command = f"aws sso login --sso-session {name}" if name else f"aws sso login --profile {section.name}"
    start_url, region, account_id, role_name = values.values()
    if not REGION.fullmatch(region):
        holder = section if section.get("sso_region") else session or section
        raise InvalidConfiguration(
            f"sso_region ({holder.value_at('sso_region')}) is {region!r}, which is no region: write one such as"
            " eu-central-1"
        )
    place = f"profile {section.name!r} ({section.where()})"
    return SsoSettings(start_url, region, account_id, role_name, name, config.command(command), place)


def of_arguments(
    config: SharedConfig,
    *,
    start_url: str | None,
    region: str | None,
    account_id: str | None,
    role_name: str | None,
    session: str | None,
) -> SsoSettings:
    """The settings given in code; a session of the config file supplies its start URL and region.

    Raises:
        InvalidConfiguration: something is missing, or an argument contradicts the session.
    """
    command = f"aws sso login, with a profile whose sso_start_url is {start_url}"
    if session:
        section = _session(config, session, "sso_session=")
        command = f"aws sso login --sso-session {session}"
        for key, value in (("sso_start_url", start_url), ("sso_region", region)):
            if value and section.get(key) and section.get(key) != value:
                raise InvalidConfiguration(
                    f"{key}= differs from what [sso-session {session}] says ({section.where(key)}): leave it out"
                )
        start_url, region = start_url or section.get("sso_start_url"), region or section.get("sso_region")
    values = dict(zip((*PORTAL, *ROLE), (start_url, region, account_id, role_name), strict=True))
    if missing := [f"{key}=" for key, value in values.items() if not value]:
        raise InvalidConfiguration(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: pass {_it(missing)}, too (no"
            " profile is read when one of these is given; sso_session= brings start URL and region)"
        )
    command = config.command(command) if session else command
    return SsoSettings(start_url or "", region or "", account_id or "", role_name or "", session, command, "code")


def _session(config: SharedConfig, name: str, place: str) -> Section:
    if name not in config.sso_sessions:
        remedy = config.overlooked(name, "sso-session") or "add it, or correct the name"
        raise InvalidConfiguration(
            f"{place} names an [sso-session {name}] that is not in {config.config_file}: {remedy}"
        )
    return config.sso_sessions[name]


def _it(keys: list[str]) -> str:
    return "it" if len(keys) == 1 else "them"
