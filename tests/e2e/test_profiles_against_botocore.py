"""The same folders of shared files, resolved by us and by botocore: same keys, same questions to STS."""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import botocore.session
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader

from aiocreds import Context, CredentialsError, from_ini
from tests.hush import secret
from tests.loopback import CONTAINER_PATH, Loopback, Seen

if TYPE_CHECKING:
    from pathlib import Path

LOADER: Any = Loader()  # botocore's data files, read once for all sessions
REGION = "eu-central-1"
SECRET, TOKEN = secret(), secret("token")


class Outcome(NamedTuple):
    """What came of a profile.

    Attributes:
        keys: static ones, with token and account; of a role only its account.
        asked: what STS was asked, in order.
    """

    keys: tuple[str | None, ...]
    asked: list[dict[str, str]]


NONE = Outcome((), [])


def role(name: str, more: str = "") -> str:
    return f"role_arn = arn:aws:iam::123456789012:role/{name}\n{more}\n"


def keys(name: str, more: str = "") -> str:
    return f"aws_access_key_id = AKIA{name}\naws_secret_access_key = {SECRET}\n{more}\n"


def process(name: str) -> str:
    printed = {"Version": 1, "AccessKeyId": f"ASIA{name}", "SecretAccessKey": SECRET, "SessionToken": TOKEN}
    return f"credential_process = /bin/echo '{json.dumps(printed)}'\n"


BASE = f"[profile base]\n{keys('BASE')}"
A_ROLE = f"[profile a]\n{role('a', 'source_profile = base')}"

# The profile asked for is `a`.
ALIKE: dict[str, tuple[str, str]] = {
    "keys": (f"[profile a]\n{keys('A')}", ""),
    "keys with a token": (f"[profile a]\n{keys('A', f'aws_session_token = {TOKEN}')}", ""),
    "keys with an account": (f"[profile a]\n{keys('A', 'aws_account_id = 123456789012')}", ""),
    "keys in the credentials file": ("", f"[a]\n{keys('A', f'aws_session_token = {TOKEN}')}"),
    "keys in both files": (f"[profile a]\n{keys('CONFIG')}", f"[a]\n{keys('CREDENTIALS')}"),
    "comments": ("[profile a]\n; x\n", f"# x\n[a]   # x\n{keys('A')}"),
    "quotation marks stay": (f"[profile a]\n{keys('A')}aws_session_token = '{TOKEN}'\n", ""),
    "a region only": ("[profile a]\nregion = x\n", ""),
    "nothing": ("", ""),
    "an unknown profile": (BASE, ""),
    "half a pair": ("[profile a]\naws_access_key_id = AKIAA\n", ""),
    "half a pair in the credentials file": ("", "[a]\naws_access_key_id = AKIAA\n"),
    "a process": (f"[profile a]\n{process('P')}", ""),
    "a process, and keys in the credentials file": (f"[profile a]\n{process('P')}", f"[a]\n{keys('A')}"),
    "a process that fails": ("[profile a]\ncredential_process = /bin/false\n", ""),
    "a role": (A_ROLE + BASE, ""),
    "a role of the credentials file": ("", f"[a]\n{role('a', 'source_profile = base')}[base]\n{keys('BASE')}"),
    "a role with all there is": (
        A_ROLE + "external_id = x+y\nrole_session_name = me@work\nduration_seconds = 900\n" + BASE,
        "",
    ),
    "a role with MFA": (A_ROLE + "mfa_serial = arn:aws:iam::1:mfa/me\n" + BASE, ""),
    "a role on a process": (f"{A_ROLE}[profile base]\n{process('P')}", ""),
    "a role on a role": (f"{A_ROLE}[profile base]\n{role('b', 'source_profile = c')}[profile c]\n{keys('C')}", ""),
    "a role on a role with keys": (
        f"{A_ROLE}[profile base]\n{role('b', 'source_profile = c')}{keys('B')}[profile c]\n{keys('C')}",
        "",
    ),
    "a role on itself": (f"[profile a]\n{role('a', 'source_profile = a')}{keys('A')}", ""),
    "a role on itself, without keys": (f"[profile a]\n{role('a', 'source_profile = a')}", ""),
    "a circle": (f"{A_ROLE}[profile base]\n{role('b', 'source_profile = a')}", ""),
    "a circle with keys": (f"{A_ROLE}{keys('A')}[profile base]\n{role('b', 'source_profile = a')}", ""),
    "a role without a source": (f"[profile a]\n{role('a')}", ""),
    "a role without a source, with keys": (f"[profile a]\n{role('a')}{keys('A')}", ""),
    "a role with two sources": (f"{A_ROLE}credential_source = Environment\n{BASE}", ""),
    "a role on nothing": (f"{A_ROLE}[profile base]\nregion = x\n", ""),
    "a role on a missing profile": (A_ROLE, ""),
    "a role on half a pair": (f"{A_ROLE}[profile base]\naws_access_key_id = AKIAB\n", ""),
    "a role on the environment": (f"[profile a]\n{role('a', 'credential_source = Environment')}", ""),
    "a role on the container": (f"[profile a]\n{role('a', 'credential_source = EcsContainer')}", ""),
    "a role on EC2": (f"[profile a]\n{role('a', 'credential_source = Ec2InstanceMetadata')}", ""),
    "an unknown credential source": (f"[profile a]\n{role('a', 'credential_source = Ec2')}", ""),
    "a role on a role on the environment": (
        f"{A_ROLE}[profile base]\n{role('b', 'credential_source = Environment')}",
        "",
    ),
    "a role in a region of its own": (f"{A_ROLE}region = us-west-2\n{BASE}", ""),
    "web identity without a role": ("[profile a]\nweb_identity_token_file = /nothing\n", ""),
    "a binary file": ("[profile a]\n\0\0", ""),
}

# Where we differ, on purpose: what we make of it, what botocore makes of it, and why.
ERROR, ANSWER = "an error", "an answer"
DIFFERENT: dict[str, tuple[str, str, str, str, str]] = {
    "a pair in two halves": (
        "[profile a]\naws_access_key_id = AKIAA\n",
        f"[a]\naws_secret_access_key = {SECRET}\n",
        ANSWER,
        ERROR,
        "both files are merged key by key, as the SDK reference says; botocore reads keys from one file at a time",
    ),
    "a source of credential_source alone": (
        f"{A_ROLE}[profile base]\ncredential_source = Environment\n",
        "",
        ANSWER,
        ERROR,
        "it is clear what is meant, and other SDKs take it",
    ),
    "a duration that is none": (
        f"{A_ROLE}duration_seconds = 1h\n{BASE}",
        "",
        ERROR,
        ANSWER,
        "botocore drops it in silence, and the session is not as long as its user believes",
    ),
    "keys and a process in the config file": (
        f"[profile a]\n{keys('A')}{process('P')}",
        "",
        "AKIAA",
        "ASIAP",
        "static keys come before a process in whichever file they stand",
    ),
    "half a pair beside a process": (
        f"[profile a]\naws_access_key_id = AKIAA\n{process('P')}",
        "",
        ERROR,
        ANSWER,
        "half a pair is a mistake, and is told",
    ),
    "a blank source": (
        f"[profile a]\n{role('a', 'source_profile = base')}credential_source =\n{BASE}",
        "",
        ANSWER,
        ERROR,
        "blank values count as unset",
    ),
    "a credential source in lower case": (
        f"[profile a]\n{role('a', 'credential_source = environment')}",
        "",
        ANSWER,
        ERROR,
        "it is taken in any case",
    ),
    "half an SSO profile beside keys": (
        f"[profile a]\n{keys('A')}sso_start_url = https://x\n",
        "",
        ERROR,
        ANSWER,
        "half an SSO profile is a mistake, and is told",
    ),
}


@pytest.fixture
def environ(aws: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment for both, in which nothing leads out of this machine."""
    for name in os.environ:
        if name.startswith(("AWS_", "BOTO_")):
            monkeypatch.delenv(name)
    aws.rotate = False  # so that both get the same from the container and from EC2
    environ = {
        "HOME": str(tmp_path),
        "BOTO_CONFIG": str(tmp_path / "nothing"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_ENDPOINT_URL_STS": aws.url,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIAENVIRONMENT",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


def write(tmp_path: Path, config: str, credentials: str) -> None:
    (tmp_path / "config").write_text(config)
    (tmp_path / "credentials").write_text(credentials)


def asked(seen: Seen) -> dict[str, str]:
    """A question to STS, without what is each library's own business."""
    form = {"DurationSeconds": "3600", **seen.form, "region": seen.signed_region}
    if form["RoleSessionName"].startswith(("botocore-session-", "aiocreds-")):
        form["RoleSessionName"] = "its own"
    form["by"] = "an issued key" if seen.signed_by.startswith("ASIALOOPBACK") else seen.signed_by
    return form


def outcome(aws: Loopback, found: tuple[str | None, ...]) -> Outcome:
    questions = [asked(seen) for seen in aws.requests if seen.path == "/"]
    return Outcome(found[3:] if questions else found, questions)


async def code(serial_number: str) -> str:
    return "123456"


async def ours(aws: Loopback, environ: dict[str, str], profile: str) -> Outcome:
    aws.requests.clear()
    try:
        found = await from_ini(profile, mfa_code=code, context=Context(environ=environ))()
    except CredentialsError:
        return NONE
    return outcome(aws, (found.access_key_id, found.secret_access_key, found.session_token, found.account_id))


async def theirs(aws: Loopback, profile: str) -> Outcome:
    aws.requests.clear()

    def person(prompt: str) -> str:
        return "123456"

    def resolve() -> tuple[str | None, ...] | None:
        session = cast("Any", botocore.session.Session(profile=profile))
        session.register_component("data_loader", LOADER)
        try:
            resolver = session.get_component("credential_provider")
            resolver.get_provider("assume-role")._prompter = person
            credentials = session.get_credentials()
            found = credentials and credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError):
            return None
        return found and (found.access_key, found.secret_key, found.token, found.account_id)

    found = await asyncio.to_thread(resolve)
    return NONE if found is None else outcome(aws, found)


@pytest.mark.parametrize("name", ALIKE)
async def test_alike(
    aws: Loopback, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(tmp_path, *ALIKE[name])
    if "container" in name:
        environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = aws.url + CONTAINER_PATH
    if "EC2" not in name:
        environ["AWS_EC2_METADATA_DISABLED"] = "true"
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    assert await ours(aws, environ, "a") == await theirs(aws, "a")


@pytest.mark.parametrize("name", DIFFERENT)
async def test_different_on_purpose(
    aws: Loopback, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config, credentials, we, they, why = DIFFERENT[name]
    assert why
    environ["AWS_EC2_METADATA_DISABLED"] = "true"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    write(tmp_path, config, credentials)
    for expected, found in ((we, await ours(aws, environ, "a")), (they, await theirs(aws, "a"))):
        if expected in (ERROR, ANSWER):
            assert (found == NONE) == (expected == ERROR)
        else:
            assert found.keys[0] == expected


def a_folder(seed: int) -> tuple[str, str]:
    """Some profiles at random, that may or may not lead to credentials."""
    chance = random.Random(seed)
    texts = {"config": "", "credentials": ""}
    for name in "abcd":
        source = f"source_profile = {chance.choice(['a', 'b', 'c', 'd', 'd', 'nowhere'])}\n"
        options = "".join(
            option
            for option in ("external_id = xyz\n", "duration_seconds = 1200\n", "role_session_name = me\n")
            if chance.random() < 0.3
        )
        where = chance.choice(["config", "credentials"])
        match chance.choice(["keys", "role", "role", "role with keys", "environment", "process", "nothing"]):
            case "keys":
                text = keys(name.upper())
            case "role":
                text = role(name, source + options)
            case "role with keys":
                text = role(name, source + options) + keys(name.upper())
            case "environment":
                text = role(name, f"credential_source = Environment\n{options}")
            case "process":
                text, where = process(name.upper()), "config"
            case _:
                text = "output = json\n"
        texts[where] += f"[{'profile ' if where == 'config' else ''}{name}]\n{text}"
    return texts["config"], texts["credentials"]


@pytest.mark.parametrize("seed", range(40))
async def test_alike_at_random(
    aws: Loopback, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    environ["AWS_EC2_METADATA_DISABLED"] = "true"
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    write(tmp_path, *a_folder(seed))
    for profile in "abcd":
        assert (profile, await ours(aws, environ, profile)) == (profile, await theirs(aws, profile))
