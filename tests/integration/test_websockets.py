"""WebSockets: handshakes that a server checks with botocore's signer, and URLs held against awscrt's."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
import time_machine
from aiohttp import web
from botocore.auth import SigV4Auth as BotocoreSigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from yarl import URL

from aiocreds.integrations.aiohttp import SigV4Auth
from tests.helpers.scripted import START, Source, issue
from tests.helpers.sigv4_server import REGION, Arrived, Judge, quote_all

if TYPE_CHECKING:
    from aiocreds import Credentials

pytestmark = pytest.mark.slow

IOT = "iotdevicegateway"
TOKEN = "X-Amz-Security-Token"
# service, path, subprotocols
SERVICES = [
    ("execute-api", "/prod", ()),
    ("transcribe", "/stream-transcription-websocket?language-code=en-US&media-encoding=pcm&sample-rate=16000", ()),
    ("neptune-db", "/gremlin", ()),
    (IOT, "/mqtt", ("mqtt",)),
]


class Echo:
    """A server of WebSockets that keeps the requests that opened them."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "ws://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = [(name.decode(), value.decode()) for name, value in request.raw_headers]
        self.arrived.append(Arrived(request.method, request.raw_path, headers, b""))
        socket = web.WebSocketResponse(protocols=("mqtt", "graphql-ws"))
        await socket.prepare(request)
        await socket.send_str("hello")
        await socket.close()
        return socket


def url_faults(raw_path: str, host: str, keys: Credentials, service: str) -> list[str]:
    """What is wrong with a URL that is signed, by botocore's signer."""
    path, _, query = raw_path.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    signature = given.get("X-Amz-Signature")
    unsigned = {"X-Amz-Signature"} | ({TOKEN} if service == IOT else set[str]())
    covered = "&".join(f"{quote_all(name)}={quote_all(value)}" for name, value in pairs if name not in unsigned)
    request = AWSRequest("GET", f"http://{host}{path}?{covered}", headers={"Host": host})
    request.context["timestamp"] = given["X-Amz-Date"]
    auth = BotocoreSigV4Auth(BotocoreCredentials("-", keys.secret_access_key), service, REGION)
    wanted = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    wrong = [] if wanted == signature else ["SignatureDoesNotMatch"]
    if given.get(TOKEN) != keys.session_token:
        wrong.append("no token")
    return wrong


@pytest.mark.parametrize(("service", "path", "protocols"), SERVICES)
async def test_a_signed_url_opens_a_socket(service: str, path: str, protocols: tuple[str, ...]) -> None:
    keys = issue()
    auth = SigV4Auth(Source(keys).provider(), service=service, region=REGION)
    async with Echo() as server, aiohttp.ClientSession() as session:
        url = await auth.presign("GET", server.url + path)
        async with session.ws_connect(URL(url, encoded=True), protocols=protocols) as socket:
            assert await socket.receive_str() == "hello"
        (arrived,) = server.arrived
        host = arrived.header("Host") or ""
    assert url_faults(arrived.raw_path, host, keys, service) == []


@pytest.mark.parametrize("service", ["neptune-db", "execute-api"])
async def test_signed_headers_open_a_socket(service: str) -> None:
    keys = issue()
    auth = SigV4Auth(Source(keys).provider(), service=service, region=REGION)
    async with Echo() as server, aiohttp.ClientSession() as plain:
        url = f"{server.url}/gremlin"
        async with (
            aiohttp.ClientSession(middlewares=[auth]) as session,
            session.ws_connect(url, compress=15) as socket,
        ):
            assert await socket.receive_str() == "hello"
        async with plain.ws_connect(url, headers=await auth.sign_headers("GET", url)) as socket:
            assert await socket.receive_str() == "hello"
    first, second = server.arrived
    assert Judge(keys).judge(first) == []
    assert second.signed_headers == ["host", "x-amz-date", "x-amz-security-token"]
    second.headers = [
        pair for pair in second.headers if pair[0].lower() in {*second.signed_headers, "authorization"}
    ]
    assert Judge(keys).judge(second) == []


async def test_appsync_takes_signed_headers_as_a_subprotocol() -> None:
    """As docs/how-to/presigning.md has it."""
    keys = issue()
    auth = SigV4Auth(Source(keys).provider(), service="appsync", region=REGION)
    host = f"abc.appsync-api.{REGION}.amazonaws.com"
    headers = {
        "accept": "application/json, text/javascript",
        "content-encoding": "amz-1.0",
        "content-type": "application/json; charset=UTF-8",
    }
    signed = await auth.sign_headers("POST", f"https://{host}/graphql/connect", headers=headers.items(), body=b"{}")
    document = json.dumps({"host": host} | headers | signed)
    protocol = "header-" + base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")
    async with Echo() as server, aiohttp.ClientSession() as session:
        url = f"{server.url}/graphql"
        async with session.ws_connect(url, protocols=["graphql-ws", protocol]) as socket:
            assert (socket.protocol, await socket.receive_str()) == ("graphql-ws", "hello")
    (arrived,) = server.arrived
    offered = (arrived.header("Sec-WebSocket-Protocol") or "").split(",")
    encoded = offered[1].removeprefix("header-")
    found = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert Judge(keys).judge(Arrived("POST", "/graphql/connect", list(found.items()), b"{}")) == []


@pytest.mark.parametrize("session_token", [True, False])
async def test_iot_is_signed_as_awscrt_does(session_token: bool) -> None:
    types: Any = pytest.importorskip("awscrt.auth")
    messages: Any = pytest.importorskip("awscrt.http")
    with time_machine.travel(START, tick=False):
        keys = issue()
        if not session_token:
            keys = type(keys)(keys.access_key_id, keys.secret_access_key)
        signer = SigV4Auth(Source(keys).provider(), service=IOT, region=REGION)
        host = f"abc-ats.iot.{REGION}.amazonaws.com"
        ours = await signer.presign("GET", f"wss://{host}/mqtt", expires_in=600)
    config = types.AwsSigningConfig(
        algorithm=types.AwsSigningAlgorithm.V4,
        signature_type=types.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=types.AwsCredentialsProvider.new_static(
            keys.access_key_id, keys.secret_access_key, keys.session_token
        ),
        region=REGION,
        service=IOT,
        date=datetime.fromtimestamp(START, UTC),
        expiration_in_seconds=600,
        omit_session_token=True,
    )
    request = messages.HttpRequest("GET", "/mqtt", messages.HttpHeaders([("host", host)]))
    theirs: str = types.aws_sign_request(request, config).result(10).path
    assert dict(parse_qsl(urlsplit(ours).query)) == dict(parse_qsl(urlsplit(theirs).query))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("wss://h.example/x", "h.example"),
        ("wss://h.example:443/x", "h.example"),
        ("wss://h.example:8443/x", "h.example:8443"),
        ("ws://h.example:80/x", "h.example"),
        ("wss://h.example:80/x", "h.example:80"),
    ],
)
async def test_the_host_that_is_signed_has_the_port_that_a_client_sends(url: str, host: str) -> None:
    keys = issue()
    auth = SigV4Auth(Source(keys).provider(), service="transcribe", region=REGION)
    signed = urlsplit(await auth.presign("GET", url))
    assert url_faults(f"{signed.path}?{signed.query}", host, keys, "transcribe") == []


async def test_transcribe_takes_five_minutes() -> None:
    auth = SigV4Auth(Source().provider(), service="transcribe", region=REGION)
    assert URL(await auth.presign("GET", "wss://h.example/")).query["X-Amz-Expires"] == "300"
    with pytest.raises(ValueError, match=r"from 1 to 300 seconds \(for transcribe\), not 301"):
        await auth.presign("GET", "wss://h.example/", expires_in=301)
