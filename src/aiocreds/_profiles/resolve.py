"""Resolve a profile to steps: how it gets its credentials, and which source profiles it needs for that.

It reads the parsed files alone, so that every mistake in them shows before any service is asked.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from aiocreds.errors import CredentialsNotFound, InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiocreds._profiles import Section, SharedConfig

SSO_KEYS = ("sso_session", "sso_start_url", "sso_account_id", "sso_role_name")
SESSION_TOKENS = (
    "aws_session_token",
    "aws_security_token",
)  # the first that is set counts
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
            from aiocreds._profiles.sso import sso_of_profile  # for profiles of its kind alone

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
