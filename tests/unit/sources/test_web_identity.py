"""A role assumed with the token of an identity provider.

==================================================  =========================================================
the token, or STS                                   the caller gets
==================================================  =========================================================
no token file is named                              CredentialsNotFound: a chain goes on
a token file without a role                         InvalidConfiguration: what to set
a file that is missing, a folder, unreadable        InvalidConfiguration: the file and who names it
a file that stays empty                             SourceUnavailable, after about half a second
no text, blank, more than a line                    InvalidConfiguration: the argument or the file
a function that raises                              SourceUnavailable with its cause, or its CredentialsError
STS does not trust the token, or the policy is bad  ServiceRefused, not recoverable: what to check
the token has expired                               ServiceRefused: look at what should renew it
STS cannot reach the provider, 429, 5xx, resets     three attempts, then SourceUnavailable
STS hangs, or something else answers                SourceUnavailable: host and role
==================================================  =========================================================
"""

from __future__ import annotations

import asyncio
import re
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from aiocreds import (
    ClientConfig,
    Context,
    Credentials,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
    from_temporary_credentials,
    from_token_file,
    from_web_token,
)
from tests.helpers.assumed_role import answer
from tests.helpers.cancelling import moments_of
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import Answer, Hang, Loopback, Reset, Script, sts_error
from tests.helpers.representatives import slow_but
from tests.helpers.scripted import issue
from tests.helpers.secret_leaks import MARK, secret
from tests.helpers.shared_files import unreadable

if TYPE_CHECKING:
    from pathlib import Path

    import time_machine

    from aiocreds import Provider

ROLE_ARN = "arn:aws:iam::123456789012:role/path/app"
FILE, ROLE, NAME = "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"
HOUR = 3600.0


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return aws.environ


@pytest.fixture(autouse=True)
def _longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds.sources._rotated_file.PAUSE", 0.02)


class TokenFile:
    """A file with a token, which is rotated or spoiled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rotate()

    def __str__(self) -> str:
        return str(self.path)

    @property
    def token(self) -> str:
        return self.path.read_text().strip()

    def rotate(self, token: str | None = None) -> str:
        """Write the token, by default a new one."""
        self.path.write_text(f"{token or secret('token')}\n")
        return self.token

    def spoil(self, how: str) -> None:
        contents = {"empty": b"\n", "binary": b"\xffsEcReT", "huge": b"sEcReT" * 2**15, "lines": b"sEcReT\nsEcReT"}
        if how in contents:
            self.path.write_bytes(contents[how])
            return
        self.path.unlink()
        if how == "folder":
            self.path.mkdir()
        elif how == "dangling":
            self.path.symlink_to(self.path.with_name("gone"))


@pytest.fixture
def token_file(home: Path, environ: dict[str, str]) -> TokenFile:
    """A token as EKS mounts it, with the variables it sets."""
    file = TokenFile(home / "token")
    environ |= {FILE: str(file), ROLE: ROLE_ARN}
    return file


def web_token(context: Context, token: Any = None, **arguments: Any) -> Provider:
    return from_web_token(
        role_arn=ROLE_ARN, web_identity_token=token or secret("token"), context=context, **arguments
    )


def sent(aws: Loopback) -> list[str]:
    return [seen.form["WebIdentityToken"] for seen in aws.requests]


# What is asked, and what comes of it.


async def test_a_role_is_assumed(aws: Loopback, context: Context) -> None:
    credentials = await web_token(context)()
    assert credentials.access_key_id.startswith("ASIALOOPBACK")
    assert credentials.account_id == "123456789012"
    assert credentials.provider == "web_identity"
    assert credentials.may_outlive_expiry
    assert credentials.expiration is not None
    assert credentials.session_token
    (seen,) = aws.requests
    assert (seen.method, seen.path) == ("POST", "/")
    assert not {"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} & set(seen.headers)


async def test_the_account_is_that_of_the_assumed_role(aws: Loopback, context: Context) -> None:
    aws.script("/", Answer(body=answer(arn="arn:aws-cn:sts::000000000042:assumed-role/app/x")))
    assert (await web_token(context)()).account_id == "000000000042"


async def test_a_bare_role_asks_for_no_more_than_it_must(aws: Loopback, context: Context) -> None:
    token = secret("token")
    await web_token(context, token)()
    form = aws.requests[0].form
    assert re.fullmatch(r"aiocreds-\d{13}", form.pop("RoleSessionName"))
    assert form == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE_ARN,
        "WebIdentityToken": token,
        "DurationSeconds": "3600",
    }


@pytest.mark.slow
async def test_every_parameter_arrives_as_botocore_sends_it(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile
) -> None:
    token = f"{secret('token')}.a-b_c~+/="
    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow&ö", "Resource": "*"}]}'
    policy_arns = ["arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"]
    common: dict[str, Any] = {
        "role_session_name": "me@example.com",
        "provider_id": "www.amazon.com",
        "policy_arns": policy_arns,
        "policy": policy,
        "duration_seconds": timedelta(minutes=30),
    }
    session = botocore.session.Session()
    sts: Any = cast("Any", session).create_client(
        "sts", region_name="eu-central-1", endpoint_url=aws.url, config=Config(signature_version=UNSIGNED)
    )
    await asyncio.to_thread(
        sts.assume_role_with_web_identity,
        RoleArn=ROLE_ARN,
        RoleSessionName="me@example.com",
        WebIdentityToken=token,
        ProviderId="www.amazon.com",
        PolicyArns=[{"arn": arn} for arn in policy_arns],
        Policy=policy,
        DurationSeconds=1800,
    )
    await asyncio.to_thread(sts.close)
    await web_token(context, token, **common)()
    token_file.rotate(token)
    await from_token_file(context=context, **common)()
    theirs, ours, of_file = aws.requests
    assert ours.form == of_file.form == theirs.form
    assert len(theirs.form) == 10
    assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]
    assert "Authorization" not in theirs.headers


@pytest.mark.parametrize("duration", [1800, 1800.0, timedelta(minutes=30)])
async def test_durations_are_seconds_or_timedeltas(
    aws: Loopback, context: Context, duration: float | timedelta
) -> None:
    await web_token(context, duration_seconds=duration)()
    assert aws.requests[0].form["DurationSeconds"] == "1800"


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("duration_seconds", "soon", "a number of seconds or a timedelta"),
        ("duration_seconds", 0, "above zero"),
        ("policy_arns", "arn:aws:iam::aws:policy/A", 'write ["…"]'),
    ],
)
async def test_arguments_that_cannot_be_used(
    aws: Loopback, context: Context, token_file: TokenFile, argument: str, value: object, words: str
) -> None:
    arguments: Any = {argument: value}
    for provider in (web_token(context, **arguments), from_token_file(context=context, **arguments)):
        await failure(provider, InvalidConfiguration, argument, words)
    assert not aws.requests


def test_wrong_arguments_fail_right_there() -> None:
    wrong: Any = from_web_token
    with pytest.raises(TypeError, match="web_identity_token"):
        wrong(role_arn=ROLE_ARN)


@pytest.mark.parametrize(
    ("by", "host"),
    [
        ({"client": "sa-east-1", "AWS_REGION": "eu-west-1"}, "sts.sa-east-1.amazonaws.com"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "sts.eu-west-1.amazonaws.com"),
        ({"AWS_DEFAULT_REGION": "eu-west-2", "profile": "eu-west-3"}, "sts.eu-west-2.amazonaws.com"),
        ({"profile": "eu-west-3"}, "sts.eu-west-3.amazonaws.com"),
        ({}, "sts.us-east-1.amazonaws.com"),
        ({"partition": "aws-cn"}, "sts.cn-northwest-1.amazonaws.com.cn"),
        ({"partition": "aws-us-gov"}, "sts.us-gov-west-1.amazonaws.com"),
    ],
)
async def test_the_region(home: Path, by: dict[str, str], host: str) -> None:
    asked: list[str] = []

    async def stop(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        asked.append(str(request.url.host))
        raise aiohttp.ClientConnectionError

    environ = {name: value for name, value in by.items() if name.isupper()}
    if "profile" in by:
        (home / ".aws" / "config").write_text(f"[profile app]\nregion = {by['profile']}\n")
        environ["AWS_PROFILE"] = "app"
    provider = from_web_token(
        role_arn=ROLE_ARN.replace("aws", by.get("partition", "aws")),
        web_identity_token=secret("token"),
        client=ClientConfig(region=by.get("client"), middlewares=[stop], max_attempts=1),
        context=Context(environ=environ, home=home),
    )
    await failure(provider, SourceUnavailable, host)
    assert asked == [host]


async def test_middlewares_run(aws: Loopback, context: Context, token_file: TokenFile) -> None:
    async def mark(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["X-Mark"] = "x"
        return await handler(request)

    client = ClientConfig(middlewares=[mark])
    await web_token(context, client=client)()
    await from_token_file(client=client, context=context)()
    assert [seen.headers.get("X-Mark") for seen in aws.requests] == ["x", "x"]


async def test_the_token_of_a_middleware_that_fails_is_not_shown(context: Context) -> None:
    async def broken(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
        raise RuntimeError("no")

    provider = web_token(context, client=ClientConfig(middlewares=[broken]))
    error = await failure(provider, SourceUnavailable, "raised RuntimeError", "in broken")
    assert isinstance(error.__cause__, RuntimeError)


# The token that a program gives.


async def test_a_function_is_asked_at_each_fetch(aws: Loopback, context: Context) -> None:
    tokens = [secret("token") for _ in range(3)]
    left = iter(tokens)

    async def token() -> str:
        return next(left)

    provider = web_token(context, token)
    for _ in tokens:
        await provider.fetch()
    assert sent(aws) == tokens


async def test_a_token_is_stripped(aws: Loopback, context: Context) -> None:
    token = secret("token")

    async def padded() -> str:
        return f" {token}\r\n"

    await web_token(context, f"\n{token} ")()
    await web_token(context, padded)()
    assert sent(aws) == [token, token]


NO_TOKENS: list[tuple[object, str]] = [
    (None, "is NoneType"),
    (b"sEcReT", "is bytes"),
    (17, "is int"),
    (" \n", "is blank"),
    (f"{MARK}\n{MARK}", "one line"),
    (f"\ufeff{MARK}", "one line"),
    (f"{MARK}\udc80", "one line"),
]


@pytest.mark.parametrize(("given", "words"), NO_TOKENS, ids=ascii)
async def test_what_is_no_token(aws: Loopback, context: Context, given: Any, words: str) -> None:
    async def function() -> Any:
        return given

    for token in (given, function):
        provider = from_web_token(role_arn=ROLE_ARN, web_identity_token=token, context=context)
        await failure(provider, InvalidConfiguration, "web_identity_token", words)
    assert not aws.requests


async def test_a_function_that_is_not_async(aws: Loopback, context: Context) -> None:
    provider = web_token(context, lambda: secret("token"))
    await failure(provider, InvalidConfiguration, "web_identity_token", "async def")
    assert not aws.requests


async def test_a_function_that_raises(aws: Loopback, context: Context) -> None:
    async def broken() -> str:
        raise OSError("their words")

    async def signed_out() -> str:
        raise LoginRequired("run: corp login")

    error = await failure(web_token(context, broken), SourceUnavailable, "raised OSError", "in broken")
    assert isinstance(error.__cause__, OSError)
    assert "their words" not in str(error)
    await failure(web_token(context, signed_out), LoginRequired, "run: corp login")
    assert not aws.requests


async def test_a_function_that_fails_for_a_while(
    aws: Loopback, context: Context, clock: time_machine.Traveller
) -> None:
    aws.lifetime = timedelta(hours=1)
    working = True

    async def token() -> str:
        if not working:
            raise OSError
        return secret("token")

    provider = web_token(context, token)
    held = await provider()
    working = False
    clock.shift(HOUR + 60)
    assert await provider() is held  # the service decides when its keys die
    assert provider.status.failures == 1
    working = True
    clock.shift(601)
    assert await provider() is not held


# The token in a file.


async def test_the_variables_of_eks(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile
) -> None:
    environ[NAME] = "pod"
    assert (await from_token_file(context=context)()).provider == "web_identity"
    form = aws.requests[0].form
    assert (form["RoleArn"], form["RoleSessionName"]) == (ROLE_ARN, "pod")
    assert form["WebIdentityToken"] == token_file.token


async def test_arguments_win_over_variables(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile, home: Path
) -> None:
    environ |= {FILE: "/nowhere/token", ROLE: "arn:aws:iam::1:role/other", NAME: "other"}
    provider = from_token_file(
        web_identity_token_file="~/token", role_arn=ROLE_ARN, role_session_name="mine", context=context
    )
    await provider()
    form = aws.requests[0].form
    assert (form["RoleArn"], form["RoleSessionName"]) == (ROLE_ARN, "mine")
    assert form["WebIdentityToken"] == token_file.token


async def test_the_role_of_the_variable_with_a_file_given_in_code(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile
) -> None:
    del environ[FILE]
    await from_token_file(web_identity_token_file=str(token_file), context=context)()
    assert aws.requests[0].form["RoleArn"] == ROLE_ARN


async def test_a_tilde_in_the_variable(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile
) -> None:
    environ[FILE] = "~/token"
    await from_token_file(context=context)()
    assert sent(aws) == [token_file.token]


@pytest.mark.parametrize("blank", [None, "", " \t"])
async def test_blank_variables_count_as_unset(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile, blank: str | None
) -> None:
    def unset(name: str) -> None:
        environ.pop(name)
        environ.update({} if blank is None else {name: blank})

    environ[NAME] = ""
    unset(NAME)
    await from_token_file(context=context)()
    assert aws.requests[0].form["RoleSessionName"].startswith("aiocreds-")
    unset(ROLE)
    await failure(from_token_file(context=context), InvalidConfiguration, FILE, ROLE, "role_arn=")
    provider = from_token_file(web_identity_token_file=str(token_file), context=context)
    await failure(provider, InvalidConfiguration, "web_identity_token_file", ROLE)
    unset(FILE)
    error = await failure(from_token_file(context=context), CredentialsNotFound, FILE, "not set")
    assert error.try_next_link
    await failure(from_token_file(role_arn=ROLE_ARN, context=context), CredentialsNotFound, FILE)
    assert len(aws.requests) == 1


async def test_the_file_is_read_at_each_fetch(aws: Loopback, context: Context, token_file: TokenFile) -> None:
    provider = from_token_file(context=context)
    tokens: list[str] = []
    for _ in range(3):
        tokens.append(token_file.rotate())
        await provider.fetch()
    assert sent(aws) == tokens


@pytest.mark.slow
@pytest.mark.usefixtures("real_pauses")
@pytest.mark.parametrize("how", ["missing", "empty"])
async def test_a_rotation_under_way_is_waited_for(
    aws: Loopback, context: Context, token_file: TokenFile, how: str
) -> None:
    token = token_file.token
    token_file.spoil(how)
    asyncio.get_running_loop().call_later(0.2, token_file.rotate, token)
    assert (await from_token_file(context=context)()).provider == "web_identity"
    assert sent(aws) == [token]


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["missing", "empty", "binary", "folder", "unreadable", "huge", "lines", "dangling"]
)
async def test_a_bad_token_file(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile, what: str
) -> None:
    await from_token_file(context=context)()  # loads what nobody might not
    if what != "unreadable":
        token_file.spoil(what)
    kind = SourceUnavailable if what == "empty" else InvalidConfiguration
    words = {"lines": "one line", "unreadable": "permission denied"}.get(what, "from")
    with unreadable(token_file.path) if what == "unreadable" else nullcontext():
        await failure(from_token_file(context=context), kind, str(token_file), FILE, words)
    assert len(aws.requests) == 1


# A call of the user's own.


async def test_the_role_assumer_is_called_with_the_request(
    aws: Loopback, context: Context, environ: dict[str, str], token_file: TokenFile
) -> None:
    asked: list[dict[str, Any]] = []
    mine = issue()

    async def assume(**request: Any) -> Credentials:
        asked.append(request)
        return mine

    token = token_file.token
    arguments: dict[str, Any] = {
        "provider_id": "www.amazon.com",
        "policy_arns": ["arn:aws:iam::aws:policy/A"],
        "policy": "{}",
        "duration_seconds": timedelta(minutes=15),
        "role_assumer_with_web_identity": assume,
    }
    environ[NAME] = "me"
    assert await web_token(context, token, role_session_name="me", **arguments)() is mine
    assert await from_token_file(context=context, **arguments)() is mine
    expected = {
        "role_arn": ROLE_ARN,
        "role_session_name": "me",
        "web_identity_token": token,
        "provider_id": "www.amazon.com",
        "policy_arns": ["arn:aws:iam::aws:policy/A"],
        "policy": "{}",
        "duration_seconds": 900,
    }
    assert asked == [expected, expected]
    assert not aws.requests


async def test_the_role_assumer_hears_the_defaults(context: Context) -> None:
    asked: list[dict[str, Any]] = []

    async def assume(**request: Any) -> Credentials:
        asked.append(request)
        return issue()

    await web_token(context, role_assumer_with_web_identity=assume)()
    (request,) = asked
    assert re.fullmatch(r"aiocreds-\d{13}", request["role_session_name"])
    assert (request["provider_id"], request["policy"]) == (None, None)
    assert (tuple(request["policy_arns"]), request["duration_seconds"]) == ((), 3600)


async def test_a_role_assumer_that_fails(context: Context) -> None:
    async def broken(**request: Any) -> Credentials:
        raise RuntimeError("their words")

    async def refusing(**request: Any) -> Credentials:
        raise ServiceRefused("the vault said no", code="Sealed")

    async def odd(**request: Any) -> Any:
        return {"SecretAccessKey": secret()}

    async def none(**request: Any) -> Any:
        return None

    error = await failure(
        web_token(context, role_assumer_with_web_identity=broken), SourceUnavailable, "raised RuntimeError"
    )
    assert isinstance(error.__cause__, RuntimeError)
    refused = await failure(
        web_token(context, role_assumer_with_web_identity=refusing), ServiceRefused, "the vault said no"
    )
    assert refused.code == "Sealed"
    for assumer, kind in ((odd, "dict"), (none, "NoneType")):
        provider = web_token(context, role_assumer_with_web_identity=assumer)
        await failure(provider, SourceUnavailable, f"returned {kind}, not aiocreds.Credentials")


async def test_a_role_assumer_gets_no_blank_token(context: Context, token_file: TokenFile) -> None:
    async def assume(**request: Any) -> Credentials:
        raise AssertionError

    token_file.spoil("lines")
    for provider in (
        web_token(context, " ", role_assumer_with_web_identity=assume),
        from_token_file(role_assumer_with_web_identity=assume, context=context),
    ):
        await failure(provider, InvalidConfiguration, "token")


# STS says no.


@pytest.mark.parametrize(
    ("code", "remedy", "recoverable"),
    [
        ("AccessDenied", "trust policy", False),
        ("IDPRejectedClaim", "expired or was revoked", False),
        ("InvalidIdentityToken", "issuer and audience", False),
        ("MalformedPolicyDocument", "correct the session policy", False),
        ("PackedPolicyTooLarge", "shorten the session policy", False),
        ("RegionDisabled", "enable the region", False),
        ("ExpiredTokenException", "look at what should renew it", True),
        ("ValidationError", "correct the parameters", True),
        ("SomethingNew", "Remedy: see https://", True),
    ],
)
async def test_no(aws: Loopback, context: Context, code: str, remedy: str, recoverable: bool) -> None:
    aws.always("/", sts_error(code, "the reason", status=400))
    host = aws.url.removeprefix("http://")
    error = await failure(
        web_token(context), ServiceRefused, f"STS ({host})", ROLE_ARN, f"{code}: the reason", remedy
    )
    assert (error.code, error.status, error.message, error.request_id) == (code, 400, "the reason", "r-2")
    assert error.recoverable is recoverable
    assert not error.try_next_link
    assert len(aws.requests) == 1


async def test_a_message_that_echoes_the_token_is_scrubbed(aws: Loopback, context: Context) -> None:
    token = secret("token")
    aws.always("/", sts_error("InvalidIdentityToken", f"cannot read {token}.", status=400))
    error = await failure(web_token(context, token), ServiceRefused, "cannot read ****.")
    assert error.message == "cannot read ****"


async def test_a_token_that_expired_is_no_matter_once_it_is_renewed(
    aws: Loopback, context: Context, clock: time_machine.Traveller, token_file: TokenFile
) -> None:
    aws.lifetime = timedelta(hours=1)
    provider = from_token_file(context=context)
    held = await provider()
    aws.web_tokens = {secret("token")}  # only the next one is good
    clock.shift(HOUR - 30)
    assert await provider() is held
    assert isinstance(provider.status.last_error, ServiceRefused)
    token_file.rotate(*aws.web_tokens)
    clock.shift(6)
    assert await provider() is not held


# STS is busy, or something else answers.


BUSY: dict[str, Script] = {
    "IDPCommunicationError": sts_error("IDPCommunicationError", "unreachable", status=400),
    "InvalidIdentityToken": sts_error(
        "InvalidIdentityToken",
        "Couldn't retrieve verification key from your identity provider,  please reference"
        " AssumeRoleWithWebIdentity documentation for requirements",
        status=400,
    ),
    "Throttling": sts_error("Throttling", status=400),
    "500": Answer(500, "<html>oops"),
    "503": Answer(503),
    "429": Answer(429),
    "cut": Answer(body=b"half of it", cut=True),
    "reset": Reset(),
}


@pytest.mark.parametrize("what", BUSY)
async def test_two_busy_answers_are_sat_out(aws: Loopback, context: Context, what: str) -> None:
    aws.script("/", BUSY[what], BUSY[what])
    assert (await web_token(context)()).provider == "web_identity"
    assert len(aws.requests) == 3


@pytest.mark.parametrize("what", BUSY)
async def test_busy_for_ever(aws: Loopback, context: Context, what: str) -> None:
    aws.always("/", BUSY[what])
    host = aws.url.removeprefix("http://")
    error = await failure(web_token(context), SourceUnavailable, host, ROLE_ARN)
    assert error.recoverable
    assert len(aws.requests) == 3
    if what in ("IDPCommunicationError", "InvalidIdentityToken"):
        assert what in str(error)
    if what == "InvalidIdentityToken":
        assert "could not retrieve the identity provider's verification key" in str(error)


async def test_an_answer_that_cannot_be_parsed_keeps_its_cause(aws: Loopback, context: Context) -> None:
    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(banner, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        provider = web_token(context, client=ClientConfig(endpoint_url=url, max_attempts=1))
        error = await failure(provider, SourceUnavailable, "HTTP that cannot be parsed (Expected HTTP/", ROLE_ARN)
    assert "Expected HTTP/" in str(error.__cause__)
    assert "SSH" not in f"{error} {error.__cause__!r}"


async def test_a_token_that_is_refused_for_itself_is_refused_at_once(aws: Loopback, context: Context) -> None:
    aws.always(
        "/", sts_error("InvalidIdentityToken", "No OpenIDConnect provider found in your account", status=400)
    )
    assert not (await failure(web_token(context), ServiceRefused, "No OpenIDConnect provider")).recoverable
    assert len(aws.requests) == 1


@pytest.mark.parametrize("attempts", [1, 4])
async def test_how_often_is_up_to_the_client(aws: Loopback, context: Context, attempts: int) -> None:
    aws.always("/", BUSY["IDPCommunicationError"])
    await failure(web_token(context, client=ClientConfig(max_attempts=attempts)), SourceUnavailable)
    assert len(aws.requests) == attempts


async def test_silence(aws: Loopback, context: Context) -> None:
    aws.always("/", Hang())
    client = ClientConfig(connect_timeout=1, read_timeout=0.1, max_attempts=1)
    await failure(web_token(context, client=client), SourceUnavailable, "timed out", ROLE_ARN)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f"<html>{MARK} Wi-Fi</html>", "is that STS?"),
        ("", "is that STS?"),
        (f'{{"AccessKeyId": "{MARK}"}}', "is that STS?"),
        (answer(key=""), "without AccessKeyId;"),
        (answer(expiration="2020-01-01T00:00:00Z"), "expired at 2020-01-01 00:00:00 UTC"),
    ],
    ids=["html", "empty", "json", "no key", "expired"],
)
async def test_an_answer_that_is_none(aws: Loopback, context: Context, body: str, words: str) -> None:
    aws.always("/", Answer(body=body))
    await failure(web_token(context), SourceUnavailable, "127.0.0.1", words)
    assert len(aws.requests) == 1


# Later.


async def test_each_refresh_takes_the_token_of_the_day(
    aws: Loopback, context: Context, clock: time_machine.Traveller, token_file: TokenFile
) -> None:
    aws.lifetime = timedelta(hours=1)
    provider = from_token_file(context=context)
    tokens: list[str] = []
    keys: set[str] = set()
    for _ in range(3):
        tokens.append(token_file.rotate())
        aws.web_tokens = {tokens[-1]}
        keys.add((await provider()).access_key_id)
        assert (await provider()).access_key_id in keys
        clock.shift(HOUR - 30)
    assert sent(aws) == tokens
    assert len(keys) == 3
    assert provider.status.successes == 3
    assert len({seen.form["RoleSessionName"] for seen in aws.requests}) == 3


async def test_an_outage_of_sts_is_outlived(
    aws: Loopback, context: Context, clock: time_machine.Traveller, token_file: TokenFile
) -> None:
    aws.lifetime = timedelta(hours=1)
    provider = from_token_file(context=context)
    held = await provider()
    aws.down("/")
    clock.shift(HOUR + 1)
    assert await provider() is held
    aws.up()
    clock.shift(601)
    assert await provider() is not held


async def test_the_source_of_a_role(aws: Loopback, context: Context, token_file: TokenFile) -> None:
    base = from_token_file(context=context)
    role = from_temporary_credentials(role_arn="arn:aws:iam::1:role/r", source=base, context=context)
    await role()
    first = await base()
    assert aws.requests[-1].signed_by == first.access_key_id
    aws.expired.add(first.access_key_id)
    token_file.rotate()
    await role.fetch()
    second = await base()
    assert second.access_key_id != first.access_key_id
    assert aws.requests[-1].signed_by == second.access_key_id
    actions = [seen.form["Action"].removeprefix("Assume") for seen in aws.requests]
    assert actions == ["RoleWithWebIdentity", "Role", "Role", "RoleWithWebIdentity", "Role"]
    assert aws.requests[-2].form["WebIdentityToken"] == token_file.token


@pytest.mark.parametrize("how", slow_but(["answering", "hanging"], "answering"))
@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_at_any_moment(aws: Loopback, context: Context, token_file: TokenFile, how: str) -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return secret("token")

    client = ClientConfig(read_timeout=0.1, connect_timeout=0.1, max_attempts=2)

    def of_file(_: int) -> Provider:
        return from_token_file(client=client, context=context)

    def of_function(_: int) -> Provider:
        return web_token(context, token, client=client)

    for make in (of_file, of_function):
        assert await moments_of(aws, "/", make, hanging=how == "hanging") > 5


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_clock_that_is_hours_wrong(context: Context, aws: Loopback, hours: int) -> None:
    aws.lifetime, aws.clock = timedelta(hours=1), timedelta(hours=hours)
    provider = from_web_token(role_arn=ROLE_ARN, web_identity_token=secret("jwt"), context=context)
    await provider()
    left = provider.status.seconds_left
    assert left is not None
    if hours < 0:  # what was issued looks long expired here, so the service's clock is asked
        assert 3500 < left <= 3600
