"""awscrt_credentials(): awscrt signs, and its S3 client calls a server that checks signatures with botocore."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import CredentialsNotFound
from tests.helpers.scripted import Source, issue
from tests.helpers.sigv4_server import REGION, Judge

if TYPE_CHECKING:
    from aiocreds import Provider

pytest.importorskip("awscrt")

from aiocreds.integrations.awscrt import awscrt_credentials

auth: Any = importlib.import_module("awscrt.auth")
http: Any = importlib.import_module("awscrt.http")
io: Any = importlib.import_module("awscrt.io")
s3: Any = importlib.import_module("awscrt.s3")

PROGRAM = """
import os, sys
from awscrt.auth import AwsSigningAlgorithm, AwsSigningConfig, AwsSignatureType, aws_sign_request
from awscrt.http import HttpHeaders, HttpRequest
from aiocreds import Credentials
from aiocreds.integrations.awscrt import awscrt_credentials

calls = 0

async def source():
    global calls
    calls += 1
    return Credentials(f"AKIATEST0000000{calls}", "x" * 40)

def sign():
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4, signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=credentials, region="eu-central-1", service="s3",
    )
    request = HttpRequest("GET", "/", HttpHeaders([("host", "example.com")]))
    return dict(aws_sign_request(request, config).result(20).headers)["Authorization"].split("/")[0].split("=")[1]

credentials = awscrt_credentials(source)
"""


def sign(provider: Any) -> Any:
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=provider,
        region=REGION,
        service="execute-api",
    )
    return auth.aws_sign_request(http.HttpRequest("GET", "/", http.HttpHeaders([("host", "example.com")])), config)


def signer_of(provider: Any) -> str:
    headers = dict(sign(provider).result(20).headers)
    return str(headers["Authorization"].partition("Credential=")[2].partition("/")[0])


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what would be printed of exceptions that nobody can catch."""
    raised: list[str] = []

    def note(unraisable: Any) -> None:
        raised.append(str(unraisable.exc_value))

    monkeypatch.setattr(sys, "unraisablehook", note)
    return raised


async def run(program: str) -> str:
    """Return what a program prints, which must end by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", PROGRAM + program),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(40):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode()


def get(client: Any, url: str) -> int:
    """Return the status of a request that awscrt's S3 client makes, signing in a thread of its own."""
    host = url.removeprefix("http://")
    statuses: list[int] = []

    def note(status_code: int, **_: object) -> None:
        statuses.append(status_code)

    request = client.make_request(
        type=s3.S3RequestType.DEFAULT,
        operation_name="HeadObject",
        request=http.HttpRequest("HEAD", "/bucket/key", http.HttpHeaders([("host", host)])),
        on_headers=note,
    )
    request.finished_future.result(20)
    return statuses[-1]


def client_of(provider: Provider) -> Any:
    return s3.S3Client(
        bootstrap=io.ClientBootstrap.get_or_create_static_default(),
        region=REGION,
        tls_mode=s3.S3RequestTlsMode.DISABLED,
        credential_provider=awscrt_credentials(provider),
    )


async def test_the_s3_client_follows_rotations() -> None:
    keys = [issue(), issue()]
    provider = Source(*keys).provider()
    async with Judge(*keys) as judge:
        client = client_of(provider)
        assert await asyncio.to_thread(get, client, judge.url) == 200
        provider.invalidate(keys[0])
        assert await asyncio.to_thread(get, client, judge.url) == 200
    assert judge.signers == [key.access_key_id for key in keys]


def test_a_thread_without_a_loop_waits_for_the_first_load() -> None:
    key = issue()
    assert signer_of(awscrt_credentials(Source(key).provider())) == key.access_key_id


async def test_the_thread_of_a_loop_is_served_from_memory() -> None:
    first, second = issue(), issue()
    source = Source(first, second)
    provider = source.provider()
    given = awscrt_credentials(provider)
    await provider()
    assert signer_of(given) == first.access_key_id
    provider.invalidate(first)
    await provider()
    assert signer_of(given) == second.access_key_id
    assert source.calls == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_thread_of_a_loop_is_never_blocked_by_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = watch(monkeypatch)
    source = Source()
    source.gate = asyncio.Event()  # a wait for the load would last for ever
    provider = source.provider()
    with pytest.raises(Exception, match="DELEGATE_FAILURE"):
        sign(awscrt_credentials(provider)).result(20)
    assert len(raised) == 1
    assert "await the provider first" in raised[0]
    source.gate.set()
    await provider()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_the_provider_raises_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = watch(monkeypatch)
    provider = Source(CredentialsNotFound("nothing in the vault")).provider()
    with pytest.raises(Exception, match="DELEGATE_FAILURE"):
        sign(awscrt_credentials(provider)).result(20)
    assert raised == ["source: nothing in the vault"]


def test_keys_served_past_their_expiration_still_sign() -> None:
    key = issue(-60, stamped=True)
    assert signer_of(awscrt_credentials(Source(key).provider())) == key.access_key_id


async def test_the_program_ends() -> None:
    assert await run("print(sign(), sign())") == "AKIATEST00000001 AKIATEST00000001\n"


async def test_credentials_can_be_loaded_as_the_program_ends() -> None:
    assert await run("import atexit; atexit.register(lambda: print(sign()))") == "AKIATEST00000001\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_forked_child_signs() -> None:
    forked = """
print(sign(), flush=True)
child = os.fork()
if child == 0:
    print(sign(), flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    assert await run(forked) == "AKIATEST00000001\nAKIATEST00000001\n0\n"
