"""Paths as settings name them: ``$NAME`` and ``~`` in them, and what becomes of them where no home is known.

===========================================  ====================================================
a setting names                              that is
===========================================  ====================================================
``$NAME/x``, ``${NAME}/x``                   below what the variable of the context says
``$HOME/x`` where HOME is not set, ``~/x``   below the context's home folder
the same where no home folder is known       InvalidConfiguration: the setting, and "set HOME"
``$NAME/x`` where NAME is not set            InvalidConfiguration: the setting and the variable
``/x/$NAME`` where NAME is not set           left as it is, as botocore does
===========================================  ====================================================
"""

from __future__ import annotations

import json
import os
import ssl
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    Context,
    CredentialsNotFound,
    InvalidConfiguration,
    Provider,
    SourceUnavailable,
    default_chain,
    from_env,
    from_http,
    from_ini,
    from_process,
    from_token_file,
)
from aiocreds._base.paths import expand_path
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import CONTAINER_PATH
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback

UNKNOWN = "~"  # what stands for a home folder that nobody knows
ROLE_ARN = "arn:aws:iam::123456789012:role/app"
SSO = (
    f"sso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {PERMISSION_SET}\n"
    f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = eu-central-1\n"
)
KEYS = "aws_access_key_id = AKIAHERE00000001\naws_secret_access_key = {}\n"


def home_of(folder: str) -> Callable[[], str]:
    return lambda: folder


# Against os.path, which is what botocore uses.


@pytest.mark.parametrize(
    "path",
    [
        "$HOME/aws",
        "${HOME}/aws",
        "/etc/$NAME/x",
        "/etc/${NAME}x",
        "/etc/$NAMEx",
        "/etc/$UNSET/x",
        "/etc/${UNSET}",
        "/etc/$$NAME",
        "/etc/${}",
        "/etc/${",
        "/etc/$-",
        "/etc/$é$NAME",
        "relative/$NAME",
        "$NAME/${NAME}",
        "$SIGN/x",
        "/etc/$OTHER",
        "~/aws",
        "~",
        "~root",
        "/etc/~",
        "~/$NAME",
        "$TILDE/aws",
    ],
)
def test_variables_stand_for_what_os_path_says(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"HOME": "/home/me", "NAME": "name", "SIGN": "/a$b", "OTHER": "$NAME", "TILDE": "~"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)
    found = expand_path(path, environ, home_of("/home/me"), place="test", platform="posix")
    assert found == os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 - botocore's very calls


@pytest.mark.parametrize(
    ("path", "expanded"),
    [("%USERPROFILE%\\aws", "C:\\me\\aws"), ("C:\\%UNSET%", "C:\\%UNSET%"), ("${USERPROFILE}\\x", "C:\\me\\x")],
)
def test_windows_has_a_way_of_its_own(path: str, expanded: str) -> None:
    environ = {"USERPROFILE": "C:\\me"}
    assert expand_path(path, environ, home_of("C:\\me"), place="test", platform="nt") == expanded


def test_home_may_be_the_accounts() -> None:
    for environ in ({}, {"HOME": " "}):
        assert expand_path("$HOME/x", environ, home_of("/account"), place="test") == "/account/x"


def test_what_begins_with_a_variable_that_is_not_set_leads_nowhere() -> None:
    with pytest.raises(InvalidConfiguration, match=r"^test begins with \$\{XDG\}, and no such variable is set"):
        expand_path("${XDG}/aws", {}, home_of("/home/me"), place="test")


def test_a_user_whom_nobody_knows() -> None:
    with pytest.raises(InvalidConfiguration, match=r"^test begins with the home folder of a user whom"):
        expand_path("~nobody-of-that-name/aws", {}, home_of("/home/me"), place="test")


async def test_a_blank_home_is_that_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    pwd = pytest.importorskip("pwd")
    monkeypatch.setenv("HOME", "")
    assert Context().home_folder() == pwd.getpwuid(os.getuid()).pw_dir


# Every setting that names a path.


@dataclass
class Place:
    """Something at a path that a setting names.

    Attributes:
        setting: what messages call it.
        lies: its path below the folder.
        write: puts it there, given the AWS, the folder, and what it stands for in the setting.
        environ: variables, in which ``PATH`` stands for the path.
        profile: lines of the profile, likewise.
        provider: what uses it.
        found: what the key begins with.
    """

    setting: str
    lies: str
    write: Callable[[Loopback, Path], object]
    provider: Callable[[Context], Provider]
    environ: dict[str, str] = field(default_factory=dict[str, str])
    profile: str = ""
    found: str = "ASIA"


def text(content: str) -> Callable[[Loopback, Path], object]:
    return lambda aws, path: path.write_text(content)


def program(aws: Loopback, path: Path) -> None:
    printed = {"Version": 1, "AccessKeyId": "ASIAHERE00000001", "SecretAccessKey": secret()}
    path.write_text(f"#!{sys.executable}\nprint({json.dumps(printed)!r})\n")
    path.chmod(0o755)


def certificates(aws: Loopback, path: Path) -> None:
    from tests.helpers.tls import TLS

    TLS(path.parent)


def container_token(aws: Loopback, path: Path) -> None:
    aws.container_token = secret("token")
    path.write_text(aws.container_token)


def ini(context: Context) -> Provider:
    return from_ini("app", context=context)


CONFIG, CREDENTIALS, TOKEN, CONTAINER = (
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
PLACES = [
    Place(CONFIG, "c", text(f"[profile app]\n{KEYS.format(secret())}"), ini, {CONFIG: "PATH"}, found="AKIAHERE"),
    Place(CREDENTIALS, "c", text(f"[app]\n{KEYS.format(secret())}"), ini, {CREDENTIALS: "PATH"}, found="AKIAHERE"),
    Place(
        TOKEN,
        "token",
        text(secret("token")),
        lambda context: from_token_file(context=context),
        {TOKEN: "PATH", "AWS_ROLE_ARN": ROLE_ARN},
    ),
    Place(
        "web_identity_token_file",
        "token",
        text(secret("token")),
        ini,
        profile=f"role_arn = {ROLE_ARN}\nweb_identity_token_file = PATH\n",
    ),
    Place(CONTAINER, "token", container_token, lambda context: from_http(context=context), {CONTAINER: "PATH"}),
    Place(
        "AWS_LOGIN_CACHE_DIRECTORY",
        ".aws/login/cache",
        lambda aws, path: aws.sign_in.login(path.parents[2]),
        ini,
        {"AWS_LOGIN_CACHE_DIRECTORY": "PATH"},
        f"login_session = {LOGIN_SESSION}\n",
    ),
]
BY_TILDE = [
    Place("credential_process", "vend", program, ini, profile="credential_process = PATH\n", found="ASIAHERE"),
    Place(
        "~/.aws/login/cache",
        ".aws/login/cache",
        lambda aws, path: aws.sign_in.login(path.parents[2]),
        ini,
        profile=f"login_session = {LOGIN_SESSION}\n",
    ),
    Place(
        "~/.aws/sso/cache",
        ".aws/sso/cache",
        lambda aws, path: aws.sign_in.sso_login(path.parents[2]),
        ini,
        profile=SSO,
    ),
]


def set_up(place: Place, aws: Loopback, folder: Path, named: str, tmp_path: Path) -> dict[str, str]:
    """Put something there, and return the environment in which it is named so."""
    path = folder / place.lies
    path.parent.mkdir(parents=True, exist_ok=True)
    place.write(aws, path)
    config = tmp_path / "profiles"
    config.write_text(f"[profile app]\nregion = eu-central-1\n{place.profile}".replace("PATH", named))
    variables = {name: value.replace("PATH", named) for name, value in place.environ.items()}
    container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + CONTAINER_PATH}
    return {**aws.environ, CONFIG: str(config), **container, **variables}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.setting)
@pytest.mark.parametrize("by", ["$FOLDER", "${FOLDER}", "$HOME", "~"])
async def test_a_setting_may_name_its_path_so(place: Place, by: str, aws: Loopback, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    environ = set_up(place, aws, folder, f"{by}/{place.lies}", tmp_path)
    context = Context({"HOME": str(folder), "FOLDER": str(folder), **environ})
    assert (await place.provider(context)()).access_key_id.startswith(place.found)


@pytest.mark.parametrize("place", PLACES + BY_TILDE, ids=lambda place: place.setting)
@pytest.mark.parametrize("by", ["~", "$HOME"])
async def test_what_lies_below_the_working_directory_is_not_the_home_folders(
    place: Place, by: str, aws: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has put it there, where a path that is not expanded would find it."""
    monkeypatch.chdir(tmp_path)
    if place in BY_TILDE:
        by = "~"
    environ = set_up(place, aws, tmp_path / by, f"{by}/{place.lies}", tmp_path)
    context = Context(environ, home=UNKNOWN)
    words = place.setting, f"begins with {by}", "no home folder is known", "set HOME"
    await failure(place.provider(context), InvalidConfiguration, *words)
    assert not aws.requests


async def test_so_is_a_command_given_in_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    program(None, tmp_path / "~" / "vend")  # type: ignore[arg-type]  # it asks no AWS
    provider = from_process(command="~/vend", context=Context({}, home=UNKNOWN))
    await failure(provider, InvalidConfiguration, "command begins with ~", "set HOME")


@pytest.mark.parametrize("by", ["$FOLDER", "~", "$HOME"])
@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "ca_bundle", "REQUESTS_CA_BUNDLE"])
async def test_certificates(variable: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which file it is shows in what is wrong with it: nothing speaks TLS here."""
    read: list[Any] = []

    def create(**given: Any) -> ssl.SSLContext:
        read.append(given)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    monkeypatch.setattr(ssl, "create_default_context", create)
    (tmp_path / "ca.pem").touch()
    environ = {"HOME": str(tmp_path), "FOLDER": str(tmp_path), "AWS_ENDPOINT_URL_STS": "https://127.0.0.1:1"}
    named = f"{by}/ca.pem"
    (tmp_path / "token").write_text(secret("token"))
    (tmp_path / ".aws").mkdir()
    bundle = f"ca_bundle = {named}\n" if variable == "ca_bundle" else ""
    (tmp_path / ".aws/config").write_text(f"[default]\n{bundle}")
    if variable != "ca_bundle":
        environ[variable] = named
    environ |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"), "AWS_ROLE_ARN": ROLE_ARN}
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1"):
        await from_token_file(context=Context(environ))()
    assert read[0] == {"cafile": str(tmp_path / "ca.pem")}


async def test_certificates_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiocreds._http import Http

    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    certificates(None, tmp_path / "~" / "ca.pem")  # type: ignore[arg-type]  # it asks no AWS
    http = Http({"AWS_CA_BUNDLE": "~/ca.pem"}, home=UNKNOWN)
    with pytest.raises(InvalidConfiguration, match="AWS_CA_BUNDLE begins with ~, and no home folder is known"):
        await http.request("GET", "https://127.0.0.1:1", provider="test", timeout=1)


# The default places count as missing.


async def test_without_a_home_folder_the_shared_files_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~/.aws").mkdir(parents=True)
    for name in ("config", "credentials"):
        (tmp_path / "~/.aws" / name).write_text(f"[default]\n{KEYS.format(secret())}")
    environ = {"AWS_EC2_METADATA_DISABLED": "true"}
    context = Context(environ, home=UNKNOWN)
    await failure(
        from_ini(context=context), CredentialsNotFound, "~/.aws/config", "no home folder is known: set HOME"
    )
    await failure(default_chain(context=context), CredentialsNotFound, "no home folder is known")
    await failure(
        from_ini("app", context=context), InvalidConfiguration, "'app'", "no home folder is known: set HOME"
    )
    environ |= {"AWS_ACCESS_KEY_ID": "AKIAENV000000001", "AWS_SECRET_ACCESS_KEY": secret()}
    for provider in (from_env(context=context), default_chain(context=context)):
        assert (await provider()).access_key_id == "AKIAENV000000001"
