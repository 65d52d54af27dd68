"""Files in a home that sources read: the config file, with profiles of IAM Identity Center, and cached sign-ins."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.helpers.authorization import ME
from tests.helpers.sign_in_services import ACCOUNT, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SESSION = f"[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = {START_URL}\n"
ROLE = f"sso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
APP = f"[profile app]\nsso_session = corp\n{ROLE}{SESSION}"
LEGACY = f"[profile old]\nsso_start_url = {START_URL}\nsso_region = eu-central-1\n{ROLE}"
COMMAND = "aiocreds login --sso-session corp"


def write_config(home: Path, text: str) -> Path:
    """Write ``~/.aws/config``, and return its path."""
    file = home / ".aws" / "config"
    file.write_text(text)
    return file


def cached(file: Path) -> dict[str, Any]:
    """Return what a file of the token cache holds."""
    token: dict[str, Any] = json.loads(file.read_text())
    return token


def sso_token_file(home: Path, session: str = "corp") -> Path:
    """Return the path where AWS CLI keeps the sign-in to a session."""
    return home / ".aws/sso/cache" / f"{hashlib.sha1(session.encode()).hexdigest()}.json"


def login_token_file(home: Path, session: str = ME) -> Path:
    """Return the path where AWS CLI keeps a sign-in to the console."""
    return home / ".aws/login/cache" / f"{hashlib.sha256(session.encode()).hexdigest()}.json"


def registration_file(home: Path, session: str | None = "corp", scopes: list[str] | None = None) -> Path:
    """Return the path where AWS CLI keeps a registration."""
    who = {
        "tool": "botocore",
        "startUrl": START_URL,
        "region": "eu-central-1",
        "scopes": scopes,
        "session_name": session,
    }
    name = hashlib.sha1(json.dumps(who, sort_keys=True).encode()).hexdigest()
    return home / ".aws/sso/cache" / f"{name}.json"


def rewrite(file: Path, **fields: Any) -> None:
    """Change fields of a file of the token cache; ``...`` removes one."""
    token = {name: value for name, value in (cached(file) | fields).items() if value is not ...}
    file.write_text(json.dumps(token))


def lock_of(file: Path) -> Path:
    """Return the path of the lock of a file of the token cache."""
    return file.with_suffix(".lock")


@contextmanager
def unreadable(file: Path) -> Generator[None]:
    """Let nobody read a file while the block runs, not even root."""
    file.chmod(0)
    root = not os.geteuid()
    if root:  # whom file modes do not stop
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
