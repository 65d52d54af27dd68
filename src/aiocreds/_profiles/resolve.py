"""Resolve a profile to steps: how it gets its credentials, and which source profiles it needs for that.

It reads the parsed files alone, so that every mistake in them shows before any service is asked.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html and
https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from aiocreds._profiles.model import LoginCommand
from aiocreds.errors import CredentialsNotFound, InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._profiles import Section, SharedConfig

SSO_KEYS = ("sso_session", "sso_start_url", "sso_account_id", "sso_role_name")
SESSION_TOKENS = (
    "aws_session_token",
    "aws_security_token",
)  # the first that is set counts
SSO_PORTAL, SSO_ROLE = ("sso_start_url", "sso_region"), ("sso_account_id", "sso_role_name")
REGION = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"  # compiled when there is one to check
CREDENTIAL_SOURCES = ("Environment", "Ec2InstanceMetadata", "EcsContainer")


class Kind(Enum):
    """The ways in which a profile gets its credentials."""

    ROLE = "role_arn"
    CREDENTIAL_SOURCE = "credential_source"
    WEB_IDENTITY = "web_identity_token_file"
    SSO = "sso_session"
    LOGIN = "login_session"
    STATIC = "aws_access_key_id"
    PROCESS = "credential_process"


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


class Step(NamedTuple):
    """One profile of those that are needed.

    Attributes:
        section: the profile.
        kind: how it gets its credentials; a role's come from the next step.
    """

    section: Section
    kind: Kind


def resolve(config: SharedConfig, name: str, place: str = "") -> list[Step]:
    """Return the steps from a profile to the credentials that it begins with, outermost first.

    Inside one profile a role comes first, then web identity, SSO, login, static keys and a process. The
    steps end at the first source profile with static keys, which win over all else that it has.

    Args:
        config: the files.
        name: of the profile.
        place: the variable that names it, for messages.

    Raises:
        CredentialsNotFound: the profile holds no credentials at all.
        InvalidConfiguration: one of the profiles is missing, wrong, or needs itself.
    """
    section = config.required(name, place)
    kind = None if section is None else _kind(section)
    if section is None or kind is None:
        raise CredentialsNotFound(
            f"profile {name!r} holds no credentials"
            + (
                f" ({section.where()}){config.others() if name == 'default' else ''}"
                if section
                else f": it is neither in {config.config_file} nor in {config.credentials_file}"
                f"{config.without_home()}{config.others()}"
            )
        )
    steps = [Step(section, kind)]
    seen = {section.name: section}
    while steps[-1].kind is Kind.ROLE:
        steps.append(_source(config, steps[-1].section, seen))
        seen[steps[-1].section.name] = steps[-1].section
    for step in steps:
        _check(config, step)
    return steps


def is_sso(section: Section) -> bool:
    """Return whether a profile is one of IAM Identity Center."""
    return any(map(section.get, SSO_KEYS))


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
    return config.login("aws sso login", f" --sso-session {name}", sso_session=name)


def login_of_profile(config: SharedConfig, name: str, aws: str) -> LoginCommand:
    """Return the command that signs in to what a profile needs; ``aws`` is AWS CLI's for that."""
    return config.login(aws, f" --profile {name}", profile=name)


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


def duration(section: Section) -> int:
    """Return the seconds that a role's credentials are asked for; by default 3600.

    Raises:
        InvalidConfiguration: it is no whole number.
    """
    text = section.get("duration_seconds") or "3600"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidConfiguration(
            f"profile {section.name!r} has a duration_seconds that is no whole number"
            f" ({section.value_at('duration_seconds')}): write seconds, such as 3600"
        )
    return int(text)


def _check(config: SharedConfig, step: Step) -> None:
    """Raise for settings of a step that are wrong."""
    match step.kind:
        case Kind.ROLE | Kind.WEB_IDENTITY:
            duration(step.section)
        case Kind.SSO if step.section.name not in config.sound:
            sso_of_profile(config, step.section)
            config.sound.add(step.section.name)
        case _:
            pass


def _source(config: SharedConfig, section: Section, seen: Mapping[str, Section]) -> Step:
    """Return the step that a role gets its source credentials from; ``seen`` are the profiles before it."""
    name, credential_source = section.get("source_profile"), section.get("credential_source")
    if name and credential_source:
        raise InvalidConfiguration(
            f"profile {section.name!r} has both source_profile ({section.where('source_profile')}) and"
            f" credential_source ({section.where('credential_source')}): remove one"
        )
    if credential_source:
        return Step(section, _credential_source(section))
    if not name:
        raise InvalidConfiguration(
            f"profile {section.name!r} has role_arn ({section.where('role_arn')}) but no source for it:"
            f" {_remedy(section)}"
        )
    source = config.profile(name)
    if source is None:
        misnamed = config.misnamed(name)
        raise InvalidConfiguration(
            f"profile {section.name!r} has source_profile = {name} ({section.value_at('source_profile')}), and"
            f" there is no such profile{f': {misnamed}' if misnamed else config.suggestion(name)}"
        )
    if _has_keys(source) and (name == section.name or name not in seen):
        return Step(source, Kind.STATIC)
    if name in seen:
        round_trip = " → ".join([*seen, name])
        raise InvalidConfiguration(
            f"the profiles {round_trip} need each other in a circle ({section.where('source_profile')}):"
            " one of them needs a source outside the circle, or keys of its own if it names itself"
        )
    kind = _kind(source) or (_credential_source(source) if source.get("credential_source") else None)
    if kind is None:
        raise InvalidConfiguration(
            f"profile {section.name!r} has source_profile = {name} ({section.where('source_profile')}), and that"
            f" profile holds no credentials ({source.where()})"
        )
    return Step(source, kind)


def _remedy(section: Section) -> str:
    """Return what to do about a role without a source."""
    match beside := _kind_beside_roles(section):
        case None:
            return "add source_profile, credential_source or web_identity_token_file"
        case Kind.STATIC:
            return f"add source_profile = {section.name} to call with the keys beside it"
        case _:
            there = next(key for key in (beside.value, *SSO_KEYS) if section.get(key))
            return (
                f"move {there} ({section.where(there)}) and what belongs to it to another profile, and name that"
                " one here as source_profile"
            )


def _kind(section: Section) -> Kind | None:
    if section.get("role_arn"):
        if section.get("web_identity_token_file") and not (
            section.get("source_profile") or section.get("credential_source")
        ):
            return Kind.WEB_IDENTITY
        return Kind.ROLE
    if section.get("web_identity_token_file"):
        raise InvalidConfiguration(
            f"profile {section.name!r} has web_identity_token_file"
            f" ({section.where('web_identity_token_file')}) but no role_arn: add it"
        )
    return _kind_beside_roles(section)


def _kind_beside_roles(section: Section) -> Kind | None:
    if is_sso(section):
        return Kind.SSO
    if section.get("login_session"):
        return Kind.LOGIN
    if _has_keys(section):
        return Kind.STATIC
    return Kind.PROCESS if section.get("credential_process") else None


def _has_keys(section: Section) -> bool:
    """Return whether the profile has static keys.

    Raises:
        InvalidConfiguration: it has half a pair.
    """
    pair = ("aws_access_key_id", "aws_secret_access_key")
    there = [key for key in pair if section.get(key)]
    if len(there) == 1:
        missing = pair[1 - pair.index(there[0])]
        raise InvalidConfiguration(
            f"profile {section.name!r} has {there[0]} ({section.where(there[0])}) but no {missing}: add it"
        )
    return bool(there)


def _credential_source(section: Section) -> Kind:
    if (section.get("credential_source") or "").lower() not in [known.lower() for known in CREDENTIAL_SOURCES]:
        raise InvalidConfiguration(
            f"profile {section.name!r} has an unknown credential_source ({section.value_at('credential_source')}):"
            f" write {', '.join(CREDENTIAL_SOURCES[:-1])} or {CREDENTIAL_SOURCES[-1]}"
        )
    return Kind.CREDENTIAL_SOURCE


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
