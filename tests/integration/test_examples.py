"""Every example, run as it stands. fastapi_app.py has a file of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import closing
from pathlib import Path
from socket import create_server
from typing import TYPE_CHECKING

import pytest

from tests.helpers.examples import EXAMPLES, ROOT, keys, run

if TYPE_CHECKING:
    from tests.helpers.loopback_aws import Loopback

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_no_example_is_forgotten() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    examples = [path.stem for path in EXAMPLES.glob("*.py")]
    assert examples
    assert not [name for name in examples if not re.search(rf'"{name}(\.py|:app)', tests)]


# The first program


@pytest.mark.slow
async def test_the_first_program_shows_who_it_is_and_no_secret(home: Path) -> None:
    ended = await run(EXAMPLES / "first_program.py", home=home, AWS_ACCOUNT_ID="123456789012", **keys())
    assert ended == (0, "Credentials(access_key_id='****0001', account_id='123456789012', provider='env')\n", "")


@pytest.mark.slow
async def test_the_first_program_on_an_instance(aws: Loopback, home: Path) -> None:
    aws.rotate = False
    on = {"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
    ended = await run(EXAMPLES / "first_program.py", home=home, **on)
    assert (ended.status, ended.err) == (0, "")
    assert re.fullmatch(
        r"Credentials\(access_key_id='\*\*\*\*\d{4}', expiration='.*', provider='imds'\)\n", ended.out
    )


@pytest.mark.slow
async def test_without_credentials_it_says_what_the_readme_says(home: Path) -> None:
    with closing(create_server(("127.0.0.1", 0))) as server:
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}"
    on = {"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": nobody}
    ended = await run(EXAMPLES / "first_program.py", home=home, **on)
    assert ended.status == 1
    [shown] = [code for _, code in FENCED if code.startswith("aiocreds.errors.ChainExhausted")]
    shown = shown.replace("/home/ada", str(home)).replace("http://169.254.169.254", nobody)
    assert ended.err.endswith(shown)


# Names


@pytest.mark.slow
@pytest.mark.parametrize("first", ["default_chain", "from_ini", "chain"])
async def test_a_name_is_the_same_whatever_was_imported_before(first: str, home: Path) -> None:
    program = f"from aiocreds import {first}\nfrom aiocreds import chain, from_env\nprint(chain(from_env()))"
    assert await run("-c", program, home=home) == (0, "<Provider chain: nothing loaded>\n", "")


# The others


@pytest.mark.slow
async def test_the_confused_deputy_signs_on_whose_behalf_it_acts(aws: Loopback, home: Path) -> None:
    environ = keys()
    aws.secrets = {environ["AWS_ACCESS_KEY_ID"]: (environ["AWS_SECRET_ACCESS_KEY"], None)}
    role, account, arn = "arn:aws:iam::123456789012:role/deputy", "210987654321", "arn:aws:s3:::their-bucket"
    environ["AWS_ENDPOINT_URL_STS"] = aws.url
    ended = await run(EXAMPLES / "confused_deputy.py", role, account, arn, home=home, **environ)
    assert (ended.status, ended.err) == (0, "")
    assert "account_id='123456789012', provider='assume_role'" in ended.out
    [call] = aws.requests  # whose signature the loopback STS has checked with botocore's signer
    assert call.headers["x-amz-source-account"] == account
    assert call.headers["x-amz-source-arn"] == arn
    signed = call.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"x-amz-source-account", "x-amz-source-arn"} <= set(signed)


@pytest.mark.slow
async def test_the_demo_keeps_its_promises(home: Path) -> None:
    ended = await run(EXAMPLES / "demo.py", "4", home=home)
    assert (ended.status, ended.err) == (0, "")
    for line in (
        "provider='imds'",
        "account_id='123456789012', provider='assume_role'",
        "2026/november.csv",
        "the log says: from_instance_metadata: the metadata service at",
        ": nobody noticed",
        "~/.aws/config:9     source_profile = reportnig",
        "did you mean 'reporting'?",
        "Done.",
    ):
        assert line in ended.out
    assert re.search(r"from memory: [\d,]+ ns", ended.out)
    assert " 0.0 ms" not in ended.out
    assert re.search(r"\*{4}\d{4} ended \d\.\d s ago", ended.out)
    assert ended.out.count("the log says") == 1
    [sets] = re.findall(r"calls, (\d+) sets of credentials, no error", ended.out)
    assert int(sets) >= 2
    assert "demo-secret" not in ended.out
    assert "demo-token" not in ended.out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as POSIX has them")
async def test_ctrl_c_ends_the_demo_without_a_word(home: Path) -> None:
    environ = {**os.environ, "HOME": str(home), "PYTHONUNBUFFERED": "1"}
    pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    demo = str(EXAMPLES / "demo.py")
    process = await asyncio.create_subprocess_exec(sys.executable, demo, stdout=pipe, stderr=out, env=environ)
    assert process.stdout is not None
    async with asyncio.timeout(40):
        while b"4. Let" not in (line := await process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in rest


async def test_each_worker_of_a_process_pool_has_credentials_of_its_own(home: Path) -> None:
    ended = await run(EXAMPLES / "process_pool.py", home=home)
    assert (ended.status, ended.err) == (0, "")
    *reports, workers = ended.out.splitlines()
    assert reports == [f"report-{number}.txt: 12 bytes" for number in range(8)]
    [asked] = re.findall(r"^assumed-role/reporting in (\d) processes, none of them this one$", workers)
    assert 1 <= int(asked) <= 2


@pytest.mark.slow
async def test_signed_requests_work_without_an_sdk(home: Path) -> None:
    ended = await run(EXAMPLES / "signed_requests.py", home=home)
    out = "aiohttp lists: True\nhttpx reads: ['a,b', '1,2']\nanybody may read it: 200\n"
    assert ended == (0, out, "")
