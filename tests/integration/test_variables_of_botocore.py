"""Every variable and profile key that botocore and AWS CLI know: we read it, or say why not.

What they know is looked up in the packages that are installed; what we read is what the sources ask for.
"""

from __future__ import annotations

import ast
import contextlib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import botocore.configprovider
import pytest

import aiocreds
from aiocreds import (
    Context,
    CredentialsError,
    Provider,
    default_chain,
    from_env,
    from_http,
    from_ini,
    from_instance_metadata,
    from_token_file,
)
from aiocreds._profiles import Section
from tests.helpers.botocore_variables import BY_HAND, NOT_READ, OF_OTHERS
from tests.helpers.loopback_aws import CONTAINER_PATH, Loopback
from tests.helpers.profile_corpus import A_ON_B, GOOD, OPTIONS, PEOPLE, role
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Setting = str | tuple[str, ...]

pytestmark = pytest.mark.slow

TABLES: Any = cast("Any", botocore.configprovider)
VARIABLE = re.compile(r"(_X_)?(AWS|AMZN|BOTO|BOTOCORE|REQUESTS)_[A-Z0-9_]+|SSLKEYLOGFILE|_X_AMZN_[A-Z_]+")
KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+|region")
WHERE_KEYS_ARE = ("credentials.py", "tokens.py")
NO_KEYS = {  # of profiles, but of answers, arguments and the like
    *("access_key", "account_id", "expiry_time", "secret_key", "refresh_token", "region_name", "role_name"),
    *("advisory_timeout", "mandatory_timeout", "client_creator", "token_loader", "token_provider", "session_name"),
    *("config_file", "credentials_file", "ec2_credential_refresh_window", "signing_name", "start_url"),
    *("sso_session_name", "sso_sessions"),
}
KIND_OF = {"AWS_ENDPOINT_URL_": "AWS_ENDPOINT_URL_STS"}  # one of many


def of_the_tables() -> Iterator[str]:
    """Return the settings of a session that botocore lists."""
    for name in ("BOTOCORE_DEFAUT_SESSION_VARIABLES", "DEFAULT_S3_CONFIG_VARS", "DEFAULT_PROXIES_CONFIG_VARS"):
        for keys, variables, *_ in getattr(TABLES, name, {}).values():
            yield from (*names_in(keys), *names_in(variables))


def names_in(setting: Setting | list[Setting] | None) -> Iterator[str]:
    """The names that a setting goes by; a nested one has a path, which ends in its own."""
    for one in setting if isinstance(setting, list) else [setting]:
        if one:
            yield one if isinstance(one, str) else one[-1]


def literals(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def package(name: str) -> list[Path]:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    copies = ("vendored", "botocore")  # AWS CLI 1 has botocore in it
    return [path for path in folder.rglob("*.py") if not set(path.relative_to(folder).parts) & set(copies)]


def known() -> set[str]:
    """All that botocore and AWS CLI know."""
    found = {*of_the_tables(), *BY_HAND}
    for name in ("botocore", "awscli"):
        for path in package(name):
            for literal in literals(path):
                if VARIABLE.fullmatch(literal):
                    found.add(KIND_OF.get(literal, literal))
                if name == "botocore" and path.name in WHERE_KEYS_ARE and KEY.fullmatch(literal):
                    found.add(literal)
    return found - NO_KEYS


class Environment(dict[str, str]):
    """An environment that knows what it was asked for."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)


class Asked:
    """Return the variables that the sources read, set up in every way."""

    def __init__(self, aws: Loopback, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.aws = aws
        self.home = home
        self.names: set[str] = set()
        get, subsection = Section.get, Section.subsection

        def asked_for(section: Section, key: str) -> str | None:
            self.names.add(key)
            return get(section, key)

        def nested(section: Section, key: str) -> Any:
            self.names.add(key)
            return subsection(section, key)

        patch.setattr(Section, "get", asked_for)
        patch.setattr(Section, "subsection", nested)

    async def by(self, source: Callable[[Context], Provider], **variables: str) -> None:
        environ = Environment({"AWS_REGION": "", **variables})
        with contextlib.suppress(CredentialsError):
            await source(Context(environ, home=self.home))()
        self.names |= environ.asked

    async def by_profile(self, lines: str, more: str, person: str, **variables: str) -> None:
        text = f"[profile a]\n{lines}{more}".replace("HOME", str(self.home))
        (self.home / ".aws/config").write_text(text)
        PEOPLE[person](self.aws.sign_in, self.home)
        container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.aws.url + CONTAINER_PATH}
        environ = {**(variables or self.aws.environ), **container}
        await self.by(lambda context: from_ini("a", mfa_code=code, context=context), **environ)


async def code(serial_number: str) -> str:
    return "123456"


@pytest.fixture
async def read(aws: Loopback, home: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """All that our sources ask for."""
    asked = Asked(aws, home, monkeypatch)
    (home / "token").write_text(secret("jwt"))
    for lines, more, person in GOOD.values():
        await asked.by_profile(lines, more, person)
    await asked.by_profile(
        f"{role('a', 'source_profile = b')}{''.join(OPTIONS.values())}", f"[profile b]\n{A_ON_B}", ""
    )
    web = role("w", "web_identity_token_file = HOME/token")
    for section in (f"endpoint_url = {aws.url}\nservices = s\n", f"endpoint_url = {aws.url}\n"):
        await asked.by_profile(web + section, "[services s]\nsso =\n  x = 1\n", "", AWS_REGION="eu-central-1")
    await asked.by_profile(web, "", "", AWS_ENDPOINT_URL=aws.url)
    (home / ".aws/config").write_text("[default]\nec2_metadata_service_endpoint_mode = x\n")  # no address
    sources: list[Callable[[Context], Provider]] = [
        lambda context: default_chain(context=context),
        lambda context: from_instance_metadata(context=context),
        lambda context: from_http(context=context),
    ]
    for source in sources:
        await asked.by(source, AWS_EC2_METADATA_DISABLED="true")
        await asked.by(source, AWS_EC2_METADATA_SERVICE_ENDPOINT=aws.url)
        await asked.by(source)
    await asked.by(lambda context: from_http(context=context), AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="x")
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": secret()}
    await asked.by(lambda context: from_env(context=context), **keys)
    token = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"), "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}
    await asked.by(
        lambda context: from_token_file(context=context), **token, AWS_ENDPOINT_URL_STS="https://127.0.0.1:1"
    )
    return asked.names


async def test_each_is_read_or_there_is_a_reason(read: set[str]) -> None:
    reasons = {name for names in (*NOT_READ.values(), *OF_OTHERS.values()) for name in names}
    assert known() - read - reasons == set(), "read them, or say in tests/helpers/botocore_variables.py why not"
    assert reasons & read == set(), "these are read: strike them off the list"


PAGE = Path(__file__).parents[2] / "docs/reference/settings.md"
SRC = Path(aiocreds.__file__).parent
# Read in https requests alone, on Windows alone, for a service that the fixture does not ask, or a shared store.
ELSEWHERE = {
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH"),
    *("AWS_ENDPOINT_URL_COGNITO_IDENTITY", "AWS_ENDPOINT_URL_ROLESANYWHERE", "XDG_CACHE_HOME", "LOCALAPPDATA"),
}
SERVICES = ("_aws/client.py", "_aws/endpoints.py")
PROFILES = (
    "_core/context.py",
    "_profiles/*.py",
    "sources/profile.py",
    "sources/web_identity.py",
    "sources/process.py",
)
READERS = {  # what the page says, and where its names stand in the sources
    "from_env": ("sources/env.py",),
    "from_ini": PROFILES,
    "from_process": ("sources/process.py",),
    "from_sso": ("_profiles/resolve.py", "_profiles/sso.py"),
    "from_login": ("sources/login/*.py", "_profiles/resolve.py", "_profiles/sso.py", "_token_cache/storage.py"),
    "sign_in": ("_profiles/resolve.py", "_profiles/sso.py", "_token_cache/storage.py"),
    "shared": ("_shared/folder.py",),
    "from_token_file": ("sources/web_identity.py",),
    "from_container_metadata": ("sources/container.py",),
    "from_http": ("sources/container.py",),
    "from_instance_metadata": ("sources/imds.py",),
    "services": SERVICES,
    "https requests": ("_http/client.py", "_aws/client.py"),
    "requests": ("_http/client.py",),
    "paths": ("_base/paths.py",),
}


def on_the_page() -> dict[str, list[str]]:
    """Every variable and key of the tables of the page, and who reads it there."""
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    names: dict[str, list[str]] = {}
    for listed, readers in rows:
        for name in re.findall(r"`(\w+)`", listed):
            assert name not in names, f"{name} is listed twice"
            names[name] = readers.replace("`", "").split(", ")
    return names


async def test_the_page_lists_what_is_read(read: set[str]) -> None:
    others = {"sts", "PATH"}  # shown with a whole section; tells which command signs in
    assert set(on_the_page()) - ELSEWHERE == read - others


def test_the_page_names_those_who_read() -> None:
    for name, readers in on_the_page().items():
        for reader in readers:
            texts = [path.read_text(encoding="utf-8") for glob in READERS[reader] for path in SRC.glob(glob)]
            found = "".join(texts)
            known = f'"{name}"' in found or f'"AWS_{name.upper()}"' in found  # some keys are made from variables
            of_services = name.startswith("AWS_ENDPOINT_URL_") and 'f"AWS_ENDPOINT_URL_{' in found
            of_proxies = name == "HTTPS_PROXY" and "_proxy" in found  # put together from the scheme
            assert known or of_services or of_proxies, f"{name} is not read by {reader}"


def test_names_are_found_where_they_are() -> None:
    """Else nothing would be missing, ever."""
    found = known()
    assert len(found) > 120
    assert found > {
        *("AWS_DEFAULT_PROFILE", "AWS_SECURITY_TOKEN", "AWS_METADATA_SERVICE_TIMEOUT", "AWS_LOGIN_CACHE_DIRECTORY"),
        *("AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "REQUESTS_CA_BUNDLE", "AWS_PAGER"),
        *("aws_security_token", "metadata_service_timeout", "ca_bundle", "role_session_name", "login_session"),
        *("sso_account_id", "credential_source", "duration_seconds", "proxy_ca_bundle", "AWS_BEARER_TOKEN_"),
    }


def test_a_reason_names_its_variables() -> None:
    for reason, names in NOT_READ.items():
        for name in re.findall(r"`([A-Z_]+)", reason):
            assert name in names
