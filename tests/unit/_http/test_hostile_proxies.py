"""Proxies in the environment, and who never goes through one: whoever hands out credentials on this machine."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import aiohttp
import pytest

from aiocreds import Context, SourceUnavailable, from_container_metadata, from_http, from_instance_metadata
from tests.helpers.command import PATIENCE
from tests.helpers.failures import failure
from tests.helpers.http_server import Server
from tests.helpers.loopback_aws import CONTAINER_PATH
from tests.helpers.loopback_routes import detour
from tests.helpers.secret_leaks import MARK, secret

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from tests.helpers.loopback_aws import Loopback

FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
PROXY = "http://proxy.test:3128"
ENVIRONMENTS = {
    "upper case": {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY},
    "lower case": {"http_proxy": PROXY, "https_proxy": PROXY},
    "for all": {"ALL_PROXY": PROXY, "all_proxy": PROXY},
    "with a password": {"HTTP_PROXY": "http://me:sEcReT@proxy.test:3128"},
    "over TLS": {"HTTP_PROXY": "https://proxy.test:3128"},
    "without a scheme": {"HTTP_PROXY": "proxy.test:3128"},
    "nobody exempt": {"HTTP_PROXY": PROXY, "NO_PROXY": "", "no_proxy": ""},
    "others exempt": {"HTTP_PROXY": PROXY, "NO_PROXY": "example.com,,!127.0.0.1, 169.254.0.0/99 ,[,:"},
    "a CGI program": {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"},
    "no proxy at all": {"HTTP_PROXY": "http://[", "http_proxy": "socks5://me:sEcReT@\r\nproxy.test"},
}
AGENTS = [
    *("http://127.0.0.1", "http://127.255.0.1:8080", "http://localhost", "HTTP://LOCALHOST:8080", "http://[::1]"),
    *("http://169.254.170.2", "http://169.254.170.23", "http://[fd00:ec2::23]", "http://[0:0::1]:8080"),
]


@pytest.fixture(params=ENVIRONMENTS)
def proxied(request: pytest.FixtureRequest) -> dict[str, str]:
    return {**ENVIRONMENTS[request.param]}


async def test_no_agent_is_asked_through_one(aws: Loopback, proxied: dict[str, str], home: Path) -> None:
    environ = proxied
    environ[TOKEN] = secret("token")
    async with detour(aws, environ, home) as (context, connector):
        for agent in AGENTS:
            environ[FULL] = agent + CONTAINER_PATH
            await from_container_metadata(timeout=PATIENCE, context=context)()
        environ[RELATIVE] = CONTAINER_PATH
        await from_http(context=context)()
    assert len(connector.asked) >= len(AGENTS)
    assert not [address for address in connector.asked if "proxy" in address]
    assert [seen.target for seen in aws.requests] == [CONTAINER_PATH] * (
        len(AGENTS) + 1
    )  # a proxy gets a whole URL
    assert {seen.headers.get("Authorization") for seen in aws.requests} == {environ[TOKEN]}
    assert not [seen for seen in aws.requests if "Proxy-Authorization" in seen.headers]


async def test_nor_is_the_metadata_service(aws: Loopback, proxied: dict[str, str], home: Path) -> None:
    async with detour(aws, proxied, home) as (context, connector):
        for mode in ("IPv4", "IPv6"):
            await from_instance_metadata(endpoint_mode=mode, context=context)()
    assert set(connector.asked) == {"169.254.169.254:80", "fd00:ec2::254:80"}


@pytest.fixture
def process_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Proxies and passwords that programs find by themselves, and this one only in its context."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv(name, PROXY)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login me password {secret('netrc')}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    return netrc


async def test_a_session_that_trusts_the_environment_changes_nothing(
    aws: Loopback, home: Path, process_environment: Path
) -> None:
    """Neither a proxy nor a password of its environment meets our requests."""
    async with aiohttp.ClientSession(trust_env=True) as session:
        context = Context({FULL: aws.url + CONTAINER_PATH}, home=home, session=session)
        await from_container_metadata(context=context)()
    assert [seen.target for seen in aws.requests] == [CONTAINER_PATH]
    assert "Authorization" not in aws.requests[0].headers


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
async def test_a_proxy_for_https_sees_no_token(home: Path, name: str) -> None:
    """It is asked for a tunnel, and what goes through that is encrypted."""

    async def connect(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")

    async with Server(connect).running() as proxy:
        password, token = secret("proxy"), secret("token")
        context = Context({name: f"http://me:{password}@127.0.0.1:{proxy.port}"}, home=home)
        url = "https://agent.test/x"
        provider = from_http(full_uri=url, authorization_token=token, max_retries=0, context=context)
        await failure(provider, SourceUnavailable, f"agent.test (through the proxy 127.0.0.1:{proxy.port})")
        [(start, headers, body)] = proxy.requests
    assert start == "CONNECT agent.test:443 HTTP/1.1"
    assert base64.b64decode(headers.pop("proxy-authorization").partition(" ")[2]).decode() == f"me:{password}"
    assert MARK not in f"{start}{headers}{body!r}"


@pytest.mark.parametrize("value", ["agent.test", ".test", "*", "AGENT.TEST:443", " other.test , agent.test "])
async def test_who_is_exempt_is_asked_directly(aws: Loopback, home: Path, value: str) -> None:
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": value}
    async with detour(aws, environ, home) as (context, connector):
        provider = from_http(full_uri="https://agent.test/x", max_retries=0, context=context)
        await failure(provider, SourceUnavailable, "agent.test", "TLS")
    assert connector.asked == ["agent.test:443"]


@pytest.mark.parametrize(
    "value", ["", "gent.test", "agent.test.evil.test", "agent.test:80", "test:443x", "https://agent.test"]
)
async def test_who_only_looks_exempt_is_not(aws: Loopback, home: Path, value: str) -> None:
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": value}
    async with detour(aws, environ, home) as (context, connector):
        provider = from_http(full_uri="https://agent.test/x", max_retries=0, context=context)
        await failure(provider, SourceUnavailable, "agent.test")
    assert connector.asked == ["proxy.test:3128"]
