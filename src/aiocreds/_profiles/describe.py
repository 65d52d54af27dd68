"""Record the content of shared files and tokens for `explain`. Loaded only then."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from aiocreds._base import tracing
from aiocreds._base.json_credentials import object_of, text_of
from aiocreds._core.context import OLDER_PROFILE, PROFILE
from aiocreds._profiles.files import CONFIG_FILE, CREDENTIALS_FILE, profile_conflict
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
    Kind.PROCESS: (),  # its arguments may hold a secret; the source records its program
}
PLAIN = {*(key for keys in SHOWN.values() for key in keys), "region", "sso_region", "duration_seconds", "services"}
CLAIMS = {"iss": "issuer", "aud": "audience", "sub": "subject"}
LONGEST = 100


def record_variables(context: Context, place: str) -> None:
    """Record the variables that name the profile and the files; ``place`` is that of the profile."""
    for variable in (place, CONFIG_FILE, CREDENTIALS_FILE):
        if value := context.setting(variable):
            tracing.note(variable, value)
            if variable == PROFILE and profile_conflict(context):
                tracing.note(OLDER_PROFILE, context.setting(OLDER_PROFILE), overridden_by=PROFILE)


def record_files(config: SharedConfig, name: str) -> None:
    """Record how many profiles the files have, and where this one is."""
    for file, profiles in config.files():
        if file.startswith("~"):
            tracing.note(file, "no home folder is known", kind="note")
        else:
            tracing.note(file, str(profiles), kind="profiles")
    section = config.profile(name)
    if section is not None:
        tracing.note(section.where(), name, kind="section", key="profile")


def record_fault(context: Context, config: SharedConfig | None, wrong: InvalidConfiguration) -> None:
    """Record the content of the places that an error names, unless that has been done already."""
    record = tracing.current()
    if record is None:
        return
    text = str(wrong.args[0])
    known = {event.place for step in record.walk() for event in step.events}
    if config is None:  # the files could not be read
        if match := re.match(r"(.+?:\d+): ([^;]+)", text):
            tracing.note(match[1], match[2], kind="note")
        return
    files = "|".join(re.escape(file) for file, _ in config.files())
    for place in dict.fromkeys(re.findall(rf"(?:{files}):\d+", text)):
        if not any(place in other for other in known):
            _record_line(config, place)
    for variable in dict.fromkeys(re.findall(r"\bAWS_[A-Z0-9_]+", text)):
        if variable not in known and context.setting(variable):
            tracing.note(variable)


def record_step(section: Section, kind: Kind) -> None:
    """Record the settings of a profile for its kind of credentials."""
    if kind is Kind.STATIC:
        _record_setting(section, "aws_access_key_id")
        _record_setting(section, "aws_secret_access_key")
        first, *others = [*filter(section.get, SESSION_TOKENS)] or [""]
        for name in filter(None, (first, *others)):
            overridden = section.get(name) != section.get(first)
            tracing.note(section.where(name), key=name, overridden_by=first if overridden else "")
    for key in (*SHOWN[kind], "region"):
        if section.get(key):
            _record_setting(section, key)
    if kind is Kind.ROLE and section.get("external_id"):
        _record_setting(section, "external_id")
    if kind is not Kind.CREDENTIAL_SOURCE:  # of a role that has been recorded already
        _record_unused(section, kind)


def record_token(path: str, token: str) -> None:
    """Record the claims of a JSON Web Token: issuer, audience, subject and end."""
    try:
        part = token.split(".")[1]
        claims = object_of(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))
        end = datetime.fromtimestamp(float(claims.get("exp", "")), UTC)
    except (IndexError, ValueError, TypeError, OverflowError, OSError, RecursionError):
        tracing.note(path, kind="token without end")
        return
    tracing.note_end(end)
    tracing.note(path, kind="token")
    for claim, word in CLAIMS.items():
        if value := _claim(claims.get(claim)):
            tracing.note(path, value, kind="claim", key=word)
    tracing.note(path, f"{end:%Y-%m-%d %H:%M} UTC", kind="token end")


def _record_line(config: SharedConfig, place: str) -> None:
    """Record the section or setting at a line of the files."""
    for sections, kind in (
        (config.profiles, "profile"),
        (config.sso_sessions, "sso-session"),
        (config.services, "services"),
    ):
        for name in sections:
            section = sections[name]
            if section.where() == place:
                tracing.note(place, name, kind="section", key=kind)
                return
            for key in section:
                if section.where(key) == place:
                    _record_setting(section, key)
                    return
    tracing.note(place, "is not used", kind="note")


def _record_setting(section: Section, key: str) -> None:
    """Record a setting; its value only where no secret may be in it."""
    value = section.get(key) or ""
    if key == "aws_access_key_id":
        value = redact_key(value)
    elif key not in PLAIN:
        value = ""
    tracing.note(section.where(key), value, key=key)


def _record_unused(section: Section, kind: Kind) -> None:
    """Record settings of the profile without effect, since another kind of credentials or another file wins."""
    first = next((key for key in (kind.value, *SHOWN[kind]) if section.get(key)), kind.value)
    itself = section.get("source_profile") == section.name  # a role that is assumed with the keys beside it
    for other in (Kind.ROLE, Kind.WEB_IDENTITY, Kind.SSO, Kind.LOGIN, Kind.STATIC, Kind.PROCESS):
        key = other.value
        belongs = other is kind or (itself and other in (Kind.ROLE, Kind.STATIC)) or key in SHOWN[kind]
        if section.get(key) and not belongs:
            tracing.note(section.where(key), key=key, overridden_by=first)
    pair = ("aws_access_key_id", "aws_secret_access_key") if kind is Kind.STATIC else ()
    for key in (*SHOWN[kind], *pair):
        if place := section.overridden(key):
            tracing.note(place, key=key, overridden_by=section.where(key))


def _claim(value: object) -> str:
    first: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
    text = text_of(first[0] if first else "") or ""
    return text if text.isprintable() and len(text) <= LONGEST else ""
