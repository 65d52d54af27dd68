"""A service that checks signed requests with botocore's signers, and what clients send to it and get from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from aiohttp import web
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import strategies as st

from aiocreds._aws.sigv4 import UNSIGNED_HEADERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiocreds import Credentials

REGION = "eu-central-1"
S3_FAMILY = {"s3", "s3-outposts", "s3-object-lambda", "s3express"}
TAKES_UNSIGNED = {*S3_FAMILY, "vpc-lattice-svcs"}
SERVICES = ["es", "execute-api", "bedrock", "sts", "aoss", "glacier", "vpc-lattice-svcs", *sorted(S3_FAMILY)]
Refusal = Callable[[str], web.Response]


@dataclass
class Arrived:
    """A request as it arrived, and what is wrong with it."""

    method: str
    raw_path: str
    headers: list[tuple[str, str]]
    body: bytes
    wrong: list[str] = field(default_factory=list[str])

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return ",".join(found) if found else None

    @property
    def authorization(self) -> dict[str, str]:
        text = (self.header("Authorization") or "").removeprefix("AWS4-HMAC-SHA256 ")
        return dict(part.strip().split("=", 1) for part in text.split(",")) if text else {}

    @property
    def signed_by(self) -> str:
        return self.authorization.get("Credential", "").partition("/")[0]

    @property
    def signed_headers(self) -> list[str]:
        return self.authorization["SignedHeaders"].split(";")


def xml(code: str, status: int = 400) -> web.Response:
    body = f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>no</Message></Error>"
    return web.Response(status=status, body=body.encode(), content_type="application/xml")


def long_xml(code: str) -> web.Response:
    """Answer with more than a client has read when it has read enough."""
    body = f"<Error><Code>{code}</Code><Message>{'no ' * 400_000}</Message></Error>"
    return web.Response(status=403, body=body.encode(), content_type="application/xml")


def query(code: str) -> web.Response:
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>"
    return web.Response(status=403, body=body.encode(), content_type="text/xml")


def ec2(code: str) -> web.Response:
    body = f"<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>"
    return web.Response(status=400, body=body.encode(), content_type="text/xml")


def json_type(code: str) -> web.Response:
    return web.json_response({"__type": f"com.amazon.coral.service#{code}", "message": "no"}, status=400)


def json_code(code: str) -> web.Response:
    return web.json_response({"message": "no", "code": code}, status=401)


def json_capital_code(code: str) -> web.Response:
    return web.json_response({"Message": "no", "Code": code}, status=403)


def header_only(code: str) -> web.Response:
    return web.Response(status=403, headers={"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/coral/"})


def message_only() -> web.Response:
    """Answer as OpenSearch domains do, which name no code."""
    return web.json_response({"message": "The security token included in the request is expired"}, status=403)


def redirect(to: str, status: int = 307) -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, headers={"Location": to})


REFUSALS: list[Refusal] = [xml, long_xml, query, ec2, json_type, json_code, json_capital_code, header_only]
EXPIRED = ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"]


class Judge:
    """``async with Judge(credentials) as judge: judge.url``. It answers 200, or 403 and keeps what is wrong.

    Attributes:
        known: whose keys it knows.
        expired: access key ids that it refuses.
        refuse: how it does that.
        answers: what it answers by path, in place of a judgement.
        arrived: all requests.
    """

    def __init__(self, *known: Credentials) -> None:
        self.known = {credentials.access_key_id: credentials for credentials in known}
        self.expired: set[str] = set()
        self.refuse: Callable[[], web.Response] = lambda: xml("ExpiredToken")
        self.answers: dict[str, Callable[[], web.StreamResponse | Awaitable[web.StreamResponse]]] = {}
        self.arrived: list[Arrived] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._runner.cleanup()

    @property
    def wrong(self) -> list[str]:
        """All that was wrong, with any request."""
        return [wrong for arrived in self.arrived for wrong in arrived.wrong]

    @property
    def signers(self) -> list[str]:
        return [arrived.signed_by for arrived in self.arrived]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = [(name.decode(), value.decode()) for name, value in request.raw_headers]
        arrived = Arrived(request.method, request.raw_path, headers, await request.read())
        self.arrived.append(arrived)
        if request.path in self.answers:
            answer = self.answers[request.path]()
            return answer if isinstance(answer, web.StreamResponse) else await answer
        if arrived.signed_by in self.expired:
            return self.refuse()
        arrived.wrong = self.judge(arrived)
        return web.Response(status=403 if arrived.wrong else 200, text="; ".join(arrived.wrong) or "fine")

    def judge(self, arrived: Arrived) -> list[str]:
        """Return what is wrong with a request."""
        if arrived.signed_by not in self.known:
            return [f"nobody knows {arrived.signed_by!r}"]
        credentials = self.known[arrived.signed_by]
        _, date, region, service, _ = arrived.authorization["Credential"].split("/")
        wrong: list[str] = []
        timestamp = arrived.header("X-Amz-Date") or ""
        at = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - at) > timedelta(minutes=5) or not timestamp.startswith(date):
            wrong.append(f"signed at {timestamp}")
        if arrived.header("X-Amz-Security-Token") != credentials.session_token:
            wrong.append("the token is not the one of these keys")
        moving = UNSIGNED_HEADERS | ({"content-length"} if service == "aoss" else frozenset[str]())
        if left := {name.lower() for name, _ in arrived.headers} - moving - set(arrived.signed_headers):
            wrong.append(f"unsigned: {left}")
        if left := set(arrived.signed_headers) & moving:
            wrong.append(f"signed: {left}")
        wrong += body_faults(arrived, service)
        if signature_of(arrived, credentials, timestamp, region, service) != arrived.authorization["Signature"]:
            wrong.append("SignatureDoesNotMatch")
        return wrong


def body_faults(arrived: Arrived, service: str) -> list[str]:
    """Return what is wrong with what a request says of its body."""
    stated = arrived.header("X-Amz-Content-SHA256")
    if stated == "UNSIGNED-PAYLOAD":
        return [] if service in TAKES_UNSIGNED else ["UNSIGNED-PAYLOAD"]
    if service == "vpc-lattice-svcs":
        return ["a signed payload"]
    if stated is None:
        return ["X-Amz-Content-SHA256 is missing"] if service in {*S3_FAMILY, "aoss", "glacier"} else []
    return [] if stated == sha256(arrived.body).hexdigest() else ["XAmzContentSHA256Mismatch"]


def signature_of(arrived: Arrived, credentials: Credentials, timestamp: str, region: str, service: str) -> str:
    """Return botocore's signature of what arrived, once a server has decoded and spelled it out."""
    path, _, query_string = arrived.raw_path.partition("?")
    if "+" in query_string or ("+" in path and service in S3_FAMILY):
        return "none, for nobody knows what a + means"
    signer = S3SigV4Auth if service in S3_FAMILY else SigV4Auth
    if service in S3_FAMILY:
        path = quote(unquote_to_bytes(path), safe="/~")
    pairs = parse_qsl(query_string, keep_blank_values=True, errors="surrogateescape")
    spelled = "&".join(f"{quote_all(name)}={quote_all(value)}" for name, value in pairs)
    request = AWSRequest(arrived.method, f"http://x{path}?{spelled}", data=arrived.body)
    for name, value in arrived.headers:
        if name.lower() in arrived.signed_headers:
            request.headers.add_header(name, value)
    request.context["timestamp"] = timestamp
    auth = signer(BotocoreCredentials("-", credentials.secret_access_key), service, region)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


def quote_all(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


PATHS = [
    "",
    "/",
    "/a b/c",
    "/ü/€/中",
    "/a%2Fb",
    "/a%20b",
    "/a+b",
    "/a%2Bb",
    "/a//b/",
    "//a",
    "/a/../b/./c",
    "/~user/(x)!*'",
    "/a:b@c;d,e=f&g$h",
    "/index-*/_search",
    "/%7Ea",
    "/a%25b",
]
QUERIES = [
    "",
    "?a=1&b=2",
    "?b=2&a=1&a=0",
    "?acl",
    "?acl=",
    "?a=b c",
    "?a=b+c",
    "?a=b%20c",
    "?a=b%2Bc",
    "?prefix=a/b&delimiter=/",
    "?q=ü&€=中",
    "?q=(a:b)*'!~",
    "?a=b=c",
    "?a=%2F%3D%26",
    "?list-type=2&continuation-token=1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=",
]
SEGMENT = st.text(st.sampled_from("ab.~-_ +%()!*'&=:@,;$éß€中"), max_size=6).map(
    lambda text: quote(text, safe="+(:@")
)
WORD = st.text(st.sampled_from("ab.~-_ +%()!*'/&=:@,;$éß€中"), max_size=6)
HEADERS = st.lists(
    st.tuples(
        st.from_regex(r"\Ax-[a-z]{1,3}\Z"),
        st.text(st.sampled_from("abc 019,;:=\"'%+/()"), max_size=12).map(str.strip),
    ),
    max_size=4,
)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def crowd(call: Callable[[int], Awaitable[int]], judge: Judge, keys: Sequence[Credentials]) -> set[int]:
    """Return the statuses that fifty tasks get, which call while all but the last keys expire, one by one."""
    done = [0] * 50
    statuses: set[int] = set()
    over = False

    async def caller(number: int) -> None:
        while not over:
            statuses.add(await call(number))
            done[number] += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(len(done)):
            tasks.create_task(caller(number))
        for old in [*keys[:-1], None]:
            goal = [count + 2 for count in done]  # nobody's request sees two rotations, however slow the machine
            while any(count < wanted for count, wanted in zip(done, goal, strict=True)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if old is not None:
                judge.expired.add(old.access_key_id)
        over = True
    return statuses
