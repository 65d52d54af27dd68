"""What a fetch notes about files, for those who ask. Loaded only then."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from aiocreds._base import tracing
from aiocreds._base.json_credentials import object_of, text_of
from aiocreds._profiles.files import CONFIG_FILE, CREDENTIALS_FILE, OLDER_PROFILE, PROFILE, profile_conflict
from aiocreds._profiles.resolve import SESSION_TOKENS, Kind
from aiocreds.credentials import redact_key

if TYPE_CHECKING:
    from aiocreds._core.context import Context
    from aiocreds._profiles.model import Section, SharedConfig
    from aiocreds.errors import InvalidConfiguration

SHOWN = {
    Kind.ROLE: ("role_arn", "source_profile", "credential_source", "mfa_serial"),
    Kind.CREDENTIAL_SOURCE: ("credential_source",),
    Kind.WEB_IDENTITY: ("role_arn", "web_identity_token_file"),
    Kind.SSO: ("sso_session", "sso_start_url", "sso_account_id", "sso_role_name"),
    Kind.LOGIN: ("login_session",),
    Kind.STATIC: (),
    Kind.PROCESS: (),  # its words may hold a secret; who runs it tells its name
}
PLAIN = {*(key for keys in SHOWN.values() for key in keys), "region", "sso_region", "duration_seconds", "services"}
CLAIMS = {"iss": "issuer", "aud": "audience", "sub": "subject"}
LONGEST = 100
UNUSED = "is not used: "
OVERRIDDEN = f"counts only where {PROFILE} is not set"


def tell_variables(context: Context, place: str) -> None:
    """Say what names the profile and the files; ``place`` is the variable that the profile is named in."""
    for variable in (place, CONFIG_FILE, CREDENTIALS_FILE):
        if value := context.setting(variable):
            tracing.note(variable, value)
            if variable == PROFILE and profile_conflict(context):
                tracing.note(OLDER_PROFILE, f"{context.setting(OLDER_PROFILE)}, which {OVERRIDDEN}")


def tell_files(config: SharedConfig, name: str) -> None:
    """Say what the files hold, and where the profile is."""
    for file, profiles in config.files():
        count = f"{profiles} profile{'' if profiles == 1 else 's'}" if profiles else "missing, or without a profile"
        tracing.note(file, "no home folder is known" if file.startswith("~") else count)
    section = config.profile(name)
    if section is not None:
        tracing.note(section.where(), f"[{'' if name == 'default' else 'profile '}{name}]")


def tell_fault(context: Context, config: SharedConfig | None, wrong: InvalidConfiguration) -> None:
    """Say what is at the places that an error names, unless that has been told: it was raised before its turn."""
    record = tracing.current()
    if record is None:
        return
    text = str(wrong.args[0])
    told = {place for step in record.walk() for place, _ in step.looked_at}
    if config is None:  # nothing could be read of them
        if match := re.match(r"(.+?:\d+): ([^;]+)", text):
            tracing.note(match[1], match[2])
        return
    files = "|".join(re.escape(file) for file, _ in config.files())
    for place in dict.fromkeys(re.findall(rf"(?:{files}):\d+", text)):
        if not any(place in other for other in told):
            tracing.note(place, _at(config, place) or "is not used")
    for variable in dict.fromkeys(re.findall(r"\bAWS_[A-Z0-9_]+", text)):
        if variable not in told and context.setting(variable):
            tracing.note(variable, "set")


def _at(config: SharedConfig, place: str) -> str | None:
    """What stands at a line of the files; of values, those that are no secret."""
    for sections, kind in (
        (config.profiles, "profile "),
        (config.sso_sessions, "sso-session "),
        (config.services, "services "),
    ):
        for name in sections:
            section = sections[name]
            if section.where() == place:
                return f"[{'' if name == 'default' else kind}{name}]"
            for key in section:
                if section.where(key) == place:
                    return _shown(key, section.get(key) or "")
    return None


def _shown(key: str, value: str) -> str:
    """What may be shown of a setting: nothing where a secret may be in it."""
    if key == "aws_access_key_id":
        value = redact_key(value)
    elif key not in PLAIN:
        value = ""
    return f"{key} = {value}" if value else f"{key} is set"


def tell_step(section: Section, kind: Kind) -> None:
    """Say what a profile says about its credentials."""
    if kind is Kind.STATIC:
        key = redact_key(section.get("aws_access_key_id") or "")
        tracing.note(section.where("aws_access_key_id"), f"aws_access_key_id = {key}")
        tracing.note(section.where("aws_secret_access_key"), "aws_secret_access_key is set")
        tokens = list(filter(section.get, SESSION_TOKENS))
        for name in tokens:
            counts = section.get(name) == section.get(tokens[0])
            tracing.note(
                section.where(name), f"{name} " + ("is set" if counts else f"{UNUSED}{tokens[0]} comes first")
            )
    for key in (*SHOWN[kind], "region"):
        if value := section.get(key):
            tracing.note(section.where(key), f"{key} = {value}")
    if kind is Kind.ROLE and section.get("external_id"):
        tracing.note(section.where("external_id"), "external_id is set")
    if kind is not Kind.CREDENTIAL_SOURCE:  # of a role that has told already
        _tell_unused(section, kind)


def _tell_unused(section: Section, kind: Kind) -> None:
    """Say what else the profile has, to no effect: another kind of credentials, or another file, comes first."""
    first = next((key for key in (kind.value, *SHOWN[kind]) if section.get(key)), kind.value)
    itself = section.get("source_profile") == section.name  # a role that is assumed with the keys beside it
    for other in (Kind.ROLE, Kind.WEB_IDENTITY, Kind.SSO, Kind.LOGIN, Kind.STATIC, Kind.PROCESS):
        key = other.value
        belongs = other is kind or (itself and other in (Kind.ROLE, Kind.STATIC)) or key in SHOWN[kind]
        if section.get(key) and not belongs:
            tracing.note(section.where(key), f"{key} {UNUSED}{first} comes first")
    pair = ("aws_access_key_id", "aws_secret_access_key") if kind is Kind.STATIC else ()
    for key in (*SHOWN[kind], *pair):
        if place := section.hidden(key):
            tracing.note(place, f"{key} {UNUSED}{section.where(key)} comes first")


def tell_token(path: str, token: str) -> None:
    """Say what a token claims, if it is a JSON Web Token: who issued it, for whom, and when it ends."""
    try:
        part = token.split(".")[1]
        claims = object_of(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
        end = datetime.fromtimestamp(float(claims.get("exp", "")), UTC)
    except (IndexError, ValueError, TypeError, OverflowError, OSError, RecursionError):
        tracing.note(path, "a token that does not say when it ends")
        return
    tracing.note_end(end)
    said = [f"{word} {told}" for claim, word in CLAIMS.items() if (told := _claim(claims.get(claim)))]
    tracing.note(path, ", ".join(["a token", *said, f"ending at {end:%Y-%m-%d %H:%M} UTC"]))


def _claim(value: object) -> str:
    told: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
    text = text_of(told[0] if told else "") or ""
    return text if text.isprintable() and len(text) <= LONGEST else ""
