"""One ``aws login``, shared by many processes, botocore and AWS CLI among them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiocreds import Context, LoginRequired, from_login
from tests.helpers.loopback_aws import Answer, Loopback
from tests.helpers.scripted import until
from tests.helpers.sign_in_services import ACCOUNT, LOGIN_SESSION, SIGN_IN

pytestmark = pytest.mark.slow

MINUTE = timedelta(minutes=1)
PRINTED = pytest.mark.shows_secrets("stdout", because="the programs print what they got")
SRC = Path(__file__).parents[2] / "src"

OURS = """
import asyncio, json, sys
import aiocreds

async def main():
    credentials = await aiocreds.from_login("me")()
    print(json.dumps({
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "SessionToken": credentials.session_token,
        "Expiration": credentials.expiration.isoformat(),
        "Account": credentials.account_id,
    }))

if sys.argv[1:] == ["wait"]:
    import aiohttp, aiocreds.sources.login.credentials
    print("ready", flush=True)
    sys.stdin.readline()
asyncio.run(main())
"""
BOTOCORES = """
import json
import botocore.session

held = botocore.session.Session(profile="me").get_credentials()
keys = held.get_frozen_credentials()
print(json.dumps({
    "AccessKeyId": keys.access_key,
    "SecretAccessKey": keys.secret_key,
    "SessionToken": keys.token,
    "Expiration": held._expiry_time.isoformat(),
    "Account": keys.account_id,
}))
"""
PROGRAMS = {
    "ours": ["-c", OURS],
    "botocore's": ["-c", BOTOCORES],
    "AWS CLI's": ["-m", "awscli", "sts", "get-caller-identity", "--profile", "me"],
}
IDENTITY = Answer(
    body="""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
    <Arn>arn:aws:iam::123456789012:user/me</Arn><UserId>AIDA</UserId><Account>123456789012</Account>
    </GetCallerIdentityResult></GetCallerIdentityResponse>"""
)


@pytest.fixture
def environ(aws: Loopback, home: Path) -> dict[str, str]:
    """Of all the programs: nothing of the real machine."""
    paths = ":".join([str(SRC), *sys.path])
    more = {"AWS_DEFAULT_REGION": "eu-central-1", "AWS_MAX_ATTEMPTS": "1"}
    return {**aws.environ, **more, "HOME": str(home), "PATH": os.defpath, "PYTHONPATH": paths, "TMPDIR": str(home)}


def sign_in(aws: Loopback, home: Path, left: timedelta = -MINUTE) -> Path:
    """``aws login``; the keys end in so long a time."""
    (home / ".aws/config").write_text(f"[profile me]\nlogin_session = {LOGIN_SESSION}\n")
    life, aws.sign_in.keys_life = aws.sign_in.keys_life, left
    path = aws.sign_in.login(home, someday={"x": 1})
    aws.sign_in.keys_life = life
    return path


def let_end(path: Path) -> None:
    """Have the keys in the cache ended a minute ago."""
    token = json.loads(path.read_text())
    token["accessToken"]["expiresAt"] = f"{datetime.now(UTC) - MINUTE:%Y-%m-%dT%H:%M:%SZ}"
    path.write_text(json.dumps(token))


async def start(arguments: list[str], environ: dict[str, str]) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environ, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def run(who: str, environ: dict[str, str], aws: Loopback) -> dict[str, Any]:
    """The keys that a program has, once it has ended well."""
    aws.script("/", *[IDENTITY] if who == "AWS CLI's" else [])
    process = await start(PROGRAMS[who], environ)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    said: dict[str, Any] = json.loads(out)
    if who == "AWS CLI's":  # it shows none, but has signed with them
        seen = aws.requests[-1]
        said |= {"AccessKeyId": seen.signed_by, "SessionToken": seen.headers["X-Amz-Security-Token"]}
    return said


def check(said: dict[str, Any], path: Path) -> None:
    """That a program has the keys of the cache, and that the cache is whole."""
    token = json.loads(path.read_text())
    keys = token["accessToken"]
    assert said["AccessKeyId"] == keys["accessKeyId"]
    assert said.get("SecretAccessKey", keys["secretAccessKey"]) == keys["secretAccessKey"]
    assert said["SessionToken"] == keys["sessionToken"]
    assert said["Account"] == keys["accountId"] == ACCOUNT
    if "Expiration" in said:
        assert datetime.fromisoformat(said["Expiration"]) == datetime.fromisoformat(keys["expiresAt"])
    assert token["someday"] == {"x": 1}
    assert path.stat().st_mode & 0o777 == 0o600


@PRINTED
async def test_eight_processes_renew_once(aws: Loopback, environ: dict[str, str], home: Path) -> None:
    path = sign_in(aws, home)
    processes = [await start(["-c", OURS, "wait"], environ) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    ended = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [(process.returncode, err) for process, (_, err) in zip(processes, ended, strict=True)] == [(0, b"")] * 8
    assert aws.count(SIGN_IN) == 1
    for out, _ in ended:
        check(json.loads(out), path)
    assert {file.suffix for file in path.parent.iterdir()} <= {".json", ".lock"}


@PRINTED
@pytest.mark.parametrize("first", PROGRAMS)
@pytest.mark.parametrize("second", PROGRAMS)
async def test_what_one_has_renewed_is_read_and_renewed_by_another(
    aws: Loopback, environ: dict[str, str], home: Path, first: str, second: str
) -> None:
    path = sign_in(aws, home)
    said = await run(first, environ, aws)
    check(said, path)
    assert aws.count(SIGN_IN) == 1
    if second == "ours":  # the others would renew 15 minutes before the end, and so at once
        assert (await run(second, environ, aws))["AccessKeyId"] == said["AccessKeyId"]
        assert aws.count(SIGN_IN) == 1
    let_end(path)
    again = await run(second, environ, aws)
    check(again, path)
    assert again["AccessKeyId"] != said["AccessKeyId"]
    assert aws.count(SIGN_IN) == 2


@pytest.mark.parametrize("who", ["ours", "botocore's"])
@pytest.mark.parametrize("refusal", ["TOKEN_EXPIRED", "USER_CREDENTIALS_CHANGED", "INSUFFICIENT_PERMISSIONS"])
async def test_all_of_them_fail_alike(
    aws: Loopback, environ: dict[str, str], home: Path, who: str, refusal: str
) -> None:
    path = sign_in(aws, home)
    before = path.read_bytes()
    aws.sign_in.refusal = refusal
    process = await start(PROGRAMS[who], environ)
    _, err = await process.communicate()
    assert process.returncode != 0
    words = [b"signin:CreateOAuth2Token"]
    if refusal != "INSUFFICIENT_PERMISSIONS":
        words = [b"aws login", b"aiocreds login"]  # whichever is on PATH
    assert any(word in err for word in words)
    assert path.read_bytes() == before


@pytest.mark.parametrize("who", ["ours", "botocore's"])
@pytest.mark.parametrize("field", ["clientId", "refreshToken", "dpopKey", "accessToken"])
async def test_none_of_them_takes_half_a_sign_in(
    aws: Loopback, environ: dict[str, str], home: Path, who: str, field: str
) -> None:
    path = sign_in(aws, home, left=15 * MINUTE)
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != field})
    )
    process = await start(PROGRAMS[who], environ)
    _, err = await process.communicate()
    assert process.returncode != 0
    assert field.encode() in err
    assert not aws.requests


@PRINTED
async def test_the_folder_is_the_same_for_all(aws: Loopback, environ: dict[str, str], home: Path) -> None:
    path = sign_in(aws, home, left=60 * MINUTE)
    environ["AWS_LOGIN_CACHE_DIRECTORY"] = "$HOME/kept"
    path.parent.rename(home / "kept")
    for who in PROGRAMS:
        check(await run(who, environ, aws), home / "kept" / path.name)


KILLED = """
import os
import signal
import tempfile

def die(*args, **options):
    {first}os.kill(os.getpid(), signal.SIGKILL)

whole, {module}.{name} = {module}.{name}, die
"""


@pytest.mark.parametrize(("module", "name"), [("tempfile", "mkstemp"), ("os", "fsync"), ("os", "replace")])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_process_killed_while_it_writes(
    aws: Loopback, environ: dict[str, str], home: Path, module: str, name: str, after: bool
) -> None:
    path = sign_in(aws, home)
    before = path.read_bytes()
    first = "whole(*args, **options); " if after else ""
    process = await start(["-c", KILLED.format(first=first, module=module, name=name) + OURS], environ)
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert aws.count(SIGN_IN) == 1
    token = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    provider = from_login("me", context=Context(environ, home=home))
    if (name, after) == ("replace", True):
        assert token["refreshToken"] in aws.sign_in.login_tokens
        assert (await provider()).access_key_id == token["accessToken"]["accessKeyId"]
    else:
        assert path.read_bytes() == before
        with pytest.raises(LoginRequired, match="login --profile me"):  # the refresh token worked once
            await provider()


@PRINTED
@pytest.mark.parametrize("seed", range(6))
async def test_a_process_killed_at_any_time_leaves_a_whole_file(
    aws: Loopback, environ: dict[str, str], home: Path, seed: int
) -> None:
    """And the next one takes over at once."""
    path = sign_in(aws, home)
    before = json.loads(path.read_text())
    aws.script(SIGN_IN, Answer(503, headers={"Retry-After": "0"}))
    process = await start(["-c", OURS, "wait"], environ)
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()
    process.stdin.write(b"\n")
    await until(lambda: aws.count(SIGN_IN) > seed % 2)
    await asyncio.sleep(random.Random(seed).uniform(0, 0.02))
    if process.returncode is None:
        process.kill()
    await process.communicate()
    after = json.loads(path.read_text())
    assert after.keys() == before.keys()
    assert path.stat().st_mode & 0o777 == 0o600
    provider = from_login("me", context=Context(environ, home=home))
    if after == before and aws.sign_in.login_tokens.keys() != {before["refreshToken"]}:
        # Killed between the answer and the file: the refresh token is used up.
        with pytest.raises(LoginRequired, match="login --profile me"):
            await asyncio.wait_for(provider(), 5)
    else:
        credentials = await asyncio.wait_for(provider(), 5)
        check(
            {
                "AccessKeyId": credentials.access_key_id,
                "SecretAccessKey": credentials.secret_access_key,
                "SessionToken": credentials.session_token,
                "Account": credentials.account_id,
            },
            path,
        )
