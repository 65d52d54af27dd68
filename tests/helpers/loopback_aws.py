"""An AWS on loopback, which misbehaves when told to: EC2 metadata, a container agent, STS, what people sign in to.

A test scripts what the next requests for a path get; when the script is over, the service behaves again. STS
checks signatures with botocore's signer, tokens, expiry and clocks, as the real one does.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from tests.helpers.authorization import LOG_OUT, PATHS
from tests.helpers.refused import Refused
from tests.helpers.roles_anywhere import SESSIONS, RolesAnywhere
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNTS, OIDC, PORTAL, ROLES, SIGN_IN, SignInServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

TOKEN_PATH = "/latest/api/token"
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
CONTAINER_PATH = "/v2/credentials/task"
ROLE = "app-role"
CALLER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
    <GetCallerIdentityResult><Arn>{}</Arn><UserId>AIDATEST</UserId>
    <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""
SERVICES = ("STS", "SSO", "SSO_OIDC", "COGNITO_IDENTITY", "SIGNIN", "ROLESANYWHERE")


@dataclass
class Answer:
    """A scripted answer.

    Attributes:
        status: of HTTP.
        body: text or bytes, or JSON.
        headers: in addition.
        after: what it waits for.
        delay: seconds before it, from then on.
        cut: promise the whole body and close after half of it.
        drip: seconds between one byte and the next.
    """

    status: int = 200
    body: str | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    after: asyncio.Event | None = None
    delay: float = 0.0
    cut: bool = False
    drip: float = 0.0


class Hang:
    """Accept the request and never answer."""


class Reset:
    """Close the connection instead of an answer."""


Spoil = Callable[[Answer], Answer]
"""A way in which a good answer goes wrong."""

Script = Answer | Hang | Reset | Spoil


@dataclass
class Seen:
    """A request as it arrived; its target is the path with the query, as on the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    target: str

    @property
    def form(self) -> dict[str, str]:
        """Its form fields."""
        return {name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}

    @property
    def signed_by(self) -> str:
        """The access key id that signed it; empty when nobody did."""
        return self._credential()[0]

    @property
    def signed_region(self) -> str:
        """The region it was signed for; empty when it was not signed."""
        return self._credential()[2]

    @property
    def signed_headers(self) -> list[str]:
        """The headers that the signature covers."""
        return self.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")

    def _credential(self) -> list[str]:
        scope = self.headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0]
        return scope.split("/") if scope else [""] * 5


class Loopback:
    """The server. ``async with Loopback() as aws: aws.url``.

    Attributes:
        requests: everything that arrived, in order.
        lifetime: of the credentials it hands out.
        rotate: hand out other keys each time.
        clock: how far its clock is ahead.
        v1: whether metadata is served without a token.
        container_token: what the container agent wants to see in ``Authorization``.
        secrets: secret and token by access key id: whom STS knows. Empty: it knows everybody.
        expired: access key ids that STS calls expired.
        assumed: the session of a role, by the access key id that STS issued for it.
        web_tokens: the web identity tokens that STS accepts. Empty: all.
        sign_in: what people sign in to.
        roles_anywhere: what workloads with a certificate ask.

    Args:
        tls: what to speak TLS with.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.url = ""
        self._tls = tls
        self.requests: list[Seen] = []
        self.lifetime = timedelta(hours=6)
        self.rotate = True
        self.clock = timedelta()
        self.v1 = False
        self.container_token: str | None = None
        self.secrets: dict[str, tuple[str, str | None]] = {}
        self.expired: set[str] = set()
        self.assumed: dict[str, str] = {}
        self.web_tokens: set[str] = set()
        self.sign_in = SignInServer(now=lambda: datetime.now(UTC) + self.clock, issue=self.issue)
        self.roles_anywhere = RolesAnywhere(now=lambda: datetime.now(UTC) + self.clock, issue=self.issue)
        self.imds_token = secret("imds-token")
        self._scripts: dict[str, deque[Script]] = defaultdict(deque)
        self._always: dict[str, Script] = {}
        self._numbers = itertools.count(1)
        self._issued: dict[str, dict[str, Any]] = {}
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._reserved: socket.socket | None = None
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{tail:(?s:.*)}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await self._site.start()
        self.url = "{}://{}:{}".format("https" if self._tls else "http", *self._runner.addresses[0][:2])
        self.sign_in.authorization.url = self.url
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._reserved is not None:
            self._reserved.close()

    async def shut(self) -> None:
        """Refuse connections from now on. The port stays ours, so that nobody else is asked instead."""
        if self._runner is not None and self._site is not None:
            address = self._runner.addresses[0][:2]
            await self._site.stop()
            self._reserved = socket.socket()
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.bind(address)

    def script(self, path: str, *answers: Script) -> None:
        """Set the answers to the next requests to a path (without the query)."""
        self._scripts[path].extend(answers)

    def always(self, path: str, answer: Script | None) -> None:
        """Set the answer to every request to a path after its script; None: it behaves again."""
        if answer is None:
            self._always.pop(path, None)
        else:
            self._always[path] = answer

    def down(self, *paths: str, by: Script | None = None) -> None:
        """Have these paths (by default those of EC2 metadata) answer 503, or whatever `by` says."""
        for path in paths or (TOKEN_PATH, ROLES_PATH, ROLES_PATH + ROLE):
            self.always(path, by or Answer(503))

    def up(self) -> None:
        """Let everything behave again."""
        self._always.clear()

    def count(self, path: str) -> int:
        """How many requests a path has seen."""
        return sum(seen.path == path for seen in self.requests)

    @property
    def environ(self) -> dict[str, str]:
        """Variables that point the sources here."""
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
            **{f"AWS_ENDPOINT_URL_{service}": self.url for service in SERVICES},
            "AWS_REGION": "eu-central-1",
        }

    @property
    def open_connections(self) -> int:
        """How many connections its clients hold open."""
        server = self._runner.server if self._runner is not None else None
        return sum(handler.transport is not None for handler in server.connections) if server is not None else 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(request.method, request.path, request.headers.copy(), body, request.raw_path)
        self.requests.append(seen)
        script = self._scripts[request.path]
        answer = script.popleft() if script else self._always.get(request.path)
        if answer is None:
            answer = self._behave(request, seen)
        elif not isinstance(answer, Answer | Hang | Reset):
            answer = answer(self._behave(request, seen))
        if isinstance(answer, Hang):
            await self._released.wait()
            answer = Reset()
        if isinstance(answer, Reset):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return await self._send(request, answer)

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if answer.after is not None:
            await answer.after.wait()
        await asyncio.sleep(answer.delay)
        data = answer.body.encode() if isinstance(answer.body, str) else answer.body
        headers = {"Date": format_datetime(datetime.now(UTC) + self.clock, usegmt=True), **answer.headers}
        if not answer.cut and not answer.drip:
            return web.Response(status=answer.status, body=data, headers=headers)
        response = web.StreamResponse(status=answer.status, headers={**headers, "Content-Length": str(len(data))})
        await response.prepare(request)
        with suppress(ConnectionResetError):  # who asked has given up
            for piece in [data[: len(data) // 2]] if answer.cut else [data[i : i + 1] for i in range(len(data))]:
                await response.write(piece)
                await asyncio.sleep(answer.drip)
        if answer.cut and request.transport is not None:
            request.transport.abort()
        return response

    def _behave(self, request: web.Request, seen: Seen) -> Answer:
        if seen.path == TOKEN_PATH:
            return Answer(body=self.imds_token) if seen.method == "PUT" else Answer(405)
        if seen.path.startswith(ROLES_PATH):
            if not self.v1 and seen.headers.get("X-aws-ec2-metadata-token") != self.imds_token:
                return Answer(401)
            if seen.path == ROLES_PATH:
                return Answer(body=ROLE)
            return json_answer({"Code": "Success", "Type": "AWS-HMAC", **self.credentials(seen.path)})
        if seen.path == CONTAINER_PATH:
            if self.container_token is not None and seen.headers.get("Authorization") != self.container_token:
                return json_answer({"Code": "AccessDenied", "Message": "no"}, status=401)
            return json_answer(self.credentials(seen.path))
        known = (SESSIONS, PORTAL, ACCOUNTS, ROLES, OIDC, SIGN_IN, LOG_OUT, *PATHS)
        if seen.path in known or "X-Amz-Target" in seen.headers:
            return self._signed_in_to(request, seen)
        if seen.method == "POST" and seen.path == "/":
            return self._sts(request, seen)
        return Answer(404)

    def _signed_in_to(self, request: web.Request, seen: Seen) -> Answer:
        try:
            match seen.path:
                case "/federation/credentials":
                    document = self.sign_in.portal(seen, request.query_string)
                case "/assignment/accounts" | "/assignment/roles":
                    document = self.sign_in.assignments(seen, request.query_string)
                case path if path == SESSIONS:
                    return json_answer(self.roles_anywhere.create_session(seen), status=201)
                case "/token":
                    document = self.sign_in.oidc(seen)
                case "/v1/token":
                    document = self.sign_in.sign_in(
                        seen, f"{request.scheme}://{seen.headers['Host']}{request.raw_path}"
                    )
                case path if path in PATHS:
                    status, headers, body = self.sign_in.authorization.answer(seen)
                    return Answer(status, body, headers)
                case "/logout":
                    self.sign_in.log_out(seen)
                    return Answer()
                case _:
                    document = self.sign_in.cognito(seen)
        except Refused as refused:
            answer = json_error(refused.status, refused.code, **refused.fields)
            if refused.fields.get("error") == "use_dpop_nonce":
                answer.headers = {**answer.headers, "DPoP-Nonce": self.sign_in.nonce or ""}
            return answer
        return json_answer(document)

    def issue(self, who: str) -> dict[str, str]:
        """Credentials that STS knows from now on, if it does not know everybody."""
        issued = self.credentials(who)
        if self.secrets:
            self.secrets[issued["AccessKeyId"]] = (issued["SecretAccessKey"], issued["Token"])
        return issued

    def credentials(self, who: str) -> dict[str, str]:
        """Credentials as metadata services show them."""
        if self.rotate or who not in self._issued:
            number = next(self._numbers)
            expiration = datetime.now(UTC) + self.clock + self.lifetime
            self._issued[who] = {
                "AccessKeyId": f"ASIALOOPBACK{number:08}",
                "SecretAccessKey": secret("issued"),
                "Token": secret("session"),
                "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        return self._issued[who]

    def _sts(self, request: web.Request, seen: Seen) -> Answer:
        form = seen.form
        if form["Action"] == "AssumeRoleWithWebIdentity":
            refusal = self._refuse_token(form["WebIdentityToken"])
        else:
            refusal = self._refuse(request, seen)
        if refusal:
            return sts_error(*refusal)
        if form["Action"] == "GetCallerIdentity":
            return Answer(body=CALLER.format(self.assumed.get(seen.signed_by, "arn:aws:iam::123456789012:user/me")))
        issued = self.issue(f"sts {next(self._numbers)}")
        arn = form["RoleArn"].split(":")
        name = form["RoleArn"].rpartition("/")[2]
        assumed = self.assumed[issued["AccessKeyId"]] = (
            f"arn:{arn[1]}:sts::{arn[4]}:assumed-role/{name}/{form['RoleSessionName']}"
        )
        return Answer(
            body=f"""<{form["Action"]}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
            <{form["Action"]}Result>
            <AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{assumed}</Arn></AssumedRoleUser>
            <Credentials><AccessKeyId>{issued["AccessKeyId"]}</AccessKeyId>
            <SecretAccessKey>{issued["SecretAccessKey"]}</SecretAccessKey>
            <SessionToken>{issued["Token"]}</SessionToken><Expiration>{issued["Expiration"]}</Expiration>
            </Credentials></{form["Action"]}Result><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>
            </{form["Action"]}Response>"""
        )

    def _refuse_token(self, token: str) -> tuple[str, str] | None:
        if self.web_tokens and token not in self.web_tokens:
            return "InvalidIdentityToken", "The web identity token is not valid"
        return None

    def _refuse(self, request: web.Request, seen: Seen) -> tuple[str, str] | None:
        """Return the code and message with which a real STS would refuse a signed request; None if it would not."""
        authorization = seen.headers.get("Authorization", "")
        if not authorization.startswith("AWS4-HMAC-SHA256 Credential="):
            return "MissingAuthenticationToken", "Request is missing Authentication Token"
        fields = dict(part.strip().split("=", 1) for part in authorization.split(" ", 1)[1].split(","))
        key, _, region, service, _ = fields["Credential"].split("/")
        at = datetime.strptime(seen.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        now = datetime.now(UTC) + self.clock
        if abs(now - at) > timedelta(minutes=5):
            return "SignatureDoesNotMatch", f"Signature expired: {at:%Y%m%dT%H%M%SZ} is now earlier than …"
        if key in self.expired:
            return "ExpiredToken", "The security token included in the request is expired"
        if self.secrets:
            if key not in self.secrets:
                return "InvalidClientTokenId", "The security token included in the request is invalid."
            secret_key, token = self.secrets[key]
            if seen.headers.get("X-Amz-Security-Token") != token:
                return "InvalidClientTokenId", "The security token included in the request is invalid."
            if signature_of(request, seen, fields, secret_key, region, service) != fields["Signature"]:
                return "SignatureDoesNotMatch", "The request signature we calculated does not match"
        return None


def signature_of(
    request: web.Request, seen: Seen, fields: Mapping[str, str], secret_key: str, region: str, service: str
) -> str:
    """The signature that botocore gives to what arrived."""
    signed = fields["SignedHeaders"].split(";")
    headers = {name: value for name, value in seen.headers.items() if name.lower() in signed}
    awsrequest = AWSRequest(seen.method, f"http://{seen.headers['Host']}{request.raw_path}", headers, seen.body)
    awsrequest.context["timestamp"] = seen.headers["X-Amz-Date"]
    auth = SigV4Auth(BotocoreCredentials("-", secret_key), service, region)
    canonical = auth.canonical_request(awsrequest)
    return str(auth.signature(auth.string_to_sign(awsrequest, canonical), awsrequest))


def json_answer(document: object, status: int = 200) -> Answer:
    """An answer in JSON."""
    import json

    return Answer(status, json.dumps(document), {"Content-Type": "application/json"})


def json_error(status: int, code: str, **fields: str) -> Answer:
    """An error as services that speak JSON tell it."""
    import json

    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": f"{code}:http://internal.amazon.com/x/"}
    return Answer(status, json.dumps({"__type": code, **fields}), headers | {"x-amzn-RequestId": "r-3"})


def sts_error(code: str, message: str = "no", status: int = 403) -> Answer:
    """An error as STS tells it."""
    return Answer(
        status,
        f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error><RequestId>r-2</RequestId></ErrorResponse>",
        {"Content-Type": "text/xml"},
    )
