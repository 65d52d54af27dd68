"""Credentials from the EC2 instance metadata service.

=================================================  ==========================================================
the service                                        the caller gets
=================================================  ==========================================================
is not there, switched off, or knows no role       CredentialsNotFound: a chain goes on
was there before and does not answer               SourceUnavailable: credentials held are served on
has no IMDSv2, or its tokens do not arrive         credentials by v1; ServiceRefused or a hint where v1 is off
answers 401, 403 or another code                   ServiceRefused: its URL, the status and what to check
is a proxy at the default address, unasked for     CredentialsNotFound: a chain goes on
answers 429, 5xx, garbage, too much                SourceUnavailable, after some attempts
hands out expired credentials                      these: the service decides
endpoint or mode cannot be used                    InvalidConfiguration: argument, variable or file:line
=================================================  ==========================================================
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    Context,
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    ServiceRefused,
    SourceUnavailable,
    default_chain,
    explain,
    from_instance_metadata,
)
from tests.helpers.cancelling import cancelled_at
from tests.helpers.failures import failure
from tests.helpers.loopback_aws import (
    ROLE,
    ROLES_PATH,
    TOKEN_PATH,
    Answer,
    Hang,
    Loopback,
    Reset,
    Script,
    json_answer,
)
from tests.helpers.loopback_routes import detour
from tests.helpers.representatives import slow_but
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

KEYS_PATH = ROLES_PATH + ROLE
ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
MODE = f"{ENDPOINT}_MODE"
V1_DISABLED = "AWS_EC2_METADATA_V1_DISABLED"
TOKEN_HEADER = "X-aws-ec2-metadata-token"


@pytest.fixture
def environ(aws: Loopback) -> dict[str, str]:
    return {ENDPOINT: aws.url}


@contextmanager
def nothing_listens() -> Generator[str]:
    """A port on loopback that refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def nobody_accepts() -> Generator[str]:
    """A port on loopback that leaves connections unanswered."""
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def profile(home: Path, **settings: str) -> Path:
    file = home / ".aws" / "config"
    file.write_text("".join(["[default]\n", *(f"{key} = {value}\n" for key, value in settings.items())]))
    return file


def paths(aws: Loopback) -> list[str]:
    return [seen.path for seen in aws.requests]


def v1(aws: Loopback, script: Script) -> None:
    """A service without IMDSv2."""
    aws.v1 = True
    aws.always(TOKEN_PATH, script)


# It answers well.


async def test_by_imds_v2(aws: Loopback, context: Context) -> None:
    credentials = await from_instance_metadata(context=context)()
    assert credentials.access_key_id.startswith("ASIALOOPBACK")
    assert credentials.session_token
    assert credentials.expiration
    assert credentials.provider == "imds"
    assert credentials.may_outlive_expiry
    token, *others = aws.requests
    assert (token.method, token.path) == ("PUT", TOKEN_PATH)
    assert token.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600"
    assert [(seen.method, seen.path) for seen in others] == [("GET", ROLES_PATH), ("GET", KEYS_PATH)]
    assert all(seen.headers[TOKEN_HEADER] == aws.imds_token for seen in others)
    assert TOKEN_HEADER not in token.headers


async def test_each_fetch_asks_anew(aws: Loopback, context: Context) -> None:
    provider = from_instance_metadata(context=context)
    first = await provider()
    assert await provider() is first
    aws.imds_token = secret("imds-token")
    assert (await provider.fetch()).access_key_id != first.access_key_id
    assert len(aws.requests) == 6


async def test_expired_credentials_are_used_on_a_first_load(aws: Loopback, context: Context) -> None:
    aws.lifetime = timedelta(hours=-1)
    credentials = await from_instance_metadata(context=context)()
    assert credentials.expiration
    assert credentials.expiration < datetime.now(UTC)


async def test_a_role_list_of_several_lines(aws: Loopback, context: Context) -> None:
    aws.script(ROLES_PATH, Answer(body=f"{ROLE}\r\nanother\n"))
    await from_instance_metadata(context=context)()
    assert paths(aws)[-1] == KEYS_PATH


# How it is set up.


@pytest.mark.parametrize("value", ["true", "True", "TRUE", "1", " true "])
async def test_switched_off(aws: Loopback, context: Context, environ: dict[str, str], value: str) -> None:
    environ["AWS_EC2_METADATA_DISABLED"] = value
    await failure(from_instance_metadata(context=context), CredentialsNotFound, "AWS_EC2_METADATA_DISABLED")
    assert not aws.requests


@pytest.mark.parametrize("value", ["false", "0", "", "yes", "no"])
async def test_not_switched_off(context: Context, environ: dict[str, str], value: str) -> None:
    environ["AWS_EC2_METADATA_DISABLED"] = value
    assert (await from_instance_metadata(context=context)()).provider == "imds"


async def test_the_endpoint(aws: Loopback, context: Context, environ: dict[str, str], home: Path) -> None:
    environ[ENDPOINT] = f"{aws.url}/"
    await from_instance_metadata(context=context)()
    environ[ENDPOINT] = "http://127.0.0.1:1"
    await from_instance_metadata(endpoint=aws.url, context=context)()
    profile(home, ec2_metadata_service_endpoint="http://127.0.0.1:1", ec2_metadata_service_endpoint_mode="IPv6")
    environ[ENDPOINT] = aws.url
    await from_instance_metadata(context=context)()
    environ[ENDPOINT] = " "
    profile(home, ec2_metadata_service_endpoint=aws.url)
    await from_instance_metadata(context=context)()
    assert len(aws.requests) == 12


async def test_the_profile_is_the_one_in_the_environment(
    aws: Loopback, context: Context, environ: dict[str, str], home: Path
) -> None:
    (home / ".aws" / "config").write_text(f"[profile a]\nec2_metadata_service_endpoint = {aws.url}\n")
    environ |= {ENDPOINT: "", "AWS_PROFILE": "a"}
    assert (await from_instance_metadata(context=context)()).provider == "imds"


@pytest.mark.parametrize(
    ("how", "asked"),
    [
        ({}, "169.254.169.254:80"),
        ({"argument": "IPv6"}, "fd00:ec2::254:80"),
        ({"variable": "ipv6"}, "fd00:ec2::254:80"),
        ({"profile": "IPV6"}, "fd00:ec2::254:80"),
        ({"argument": "IPv4", "variable": "IPv6"}, "169.254.169.254:80"),
        ({"variable": "IPv4", "profile": "IPv6"}, "169.254.169.254:80"),
    ],
    ids=str,
)
async def test_the_endpoint_mode(aws: Loopback, home: Path, how: dict[str, Any], asked: str) -> None:
    if mode := how.get("profile"):
        profile(home, ec2_metadata_service_endpoint_mode=mode)
    environ = {MODE: how.get("variable", ""), "HTTP_PROXY": "http://127.0.0.1:1"}
    async with detour(aws, environ, home) as (context, connector):
        await from_instance_metadata(endpoint_mode=how.get("argument"), context=context)()
    assert set(connector.asked) == {asked}


@pytest.mark.parametrize(
    ("variables", "settings", "asked"),
    [
        ({"AWS_IMDS_USE_IPV6": "true"}, {}, "fd00:ec2::254:80"),
        ({}, {"imds_use_ipv6": "TRUE"}, "fd00:ec2::254:80"),
        ({"AWS_IMDS_USE_IPV6": "false"}, {"imds_use_ipv6": "true"}, "169.254.169.254:80"),
        ({"AWS_IMDS_USE_IPV6": "true"}, {"ec2_metadata_service_endpoint_mode": "IPv4"}, "169.254.169.254:80"),
    ],
)
async def test_the_switch_of_old_for_ipv6(
    aws: Loopback, home: Path, variables: dict[str, str], settings: dict[str, str], asked: str
) -> None:
    profile(home, **settings)
    async with detour(aws, {**variables, "HTTP_PROXY": "http://127.0.0.1:1"}, home) as (context, connector):
        await from_instance_metadata(context=context)()
    assert set(connector.asked) == {asked}


async def test_an_unknown_mode(context: Context, environ: dict[str, str], home: Path) -> None:
    environ[ENDPOINT] = ""
    wrong: Any = "IPv5"
    for provider in (from_instance_metadata(endpoint_mode=wrong, context=context),):
        await failure(provider, InvalidConfiguration, "endpoint_mode is 'IPv5': write IPv4 or IPv6")
    file = profile(home, ec2_metadata_service_endpoint_mode="IPv5")
    place = f"ec2_metadata_service_endpoint_mode ({file}:2) is 'IPv5'"
    await failure(from_instance_metadata(context=context), InvalidConfiguration, place)
    environ[MODE] = "both"
    await failure(from_instance_metadata(context=context), InvalidConfiguration, f"{MODE} is 'both'")


@pytest.mark.parametrize(
    "url",
    [
        "169.254.169.254",
        "ftp://127.0.0.1",
        "http://",
        "http:///x",
        "http://sEcReT:sEcReT@127.0.0.1",
        "http://127.0.0.1/?x",
        "http://127.0.0.1/#x",
        "http://127.0.0.1 b",
        "http://127.0.0.1\nb",
        "http://127.0.0.1:x",
    ],
)
async def test_an_unusable_endpoint(context: Context, environ: dict[str, str], home: Path, url: str) -> None:
    words = "is not a URL", "http://169.254.169.254"
    await failure(from_instance_metadata(endpoint=url, context=context), InvalidConfiguration, "endpoint", *words)
    environ[ENDPOINT] = url
    await failure(from_instance_metadata(context=context), InvalidConfiguration, f"{ENDPOINT} is not", *words)
    environ[ENDPOINT] = ""
    if "\n" not in url and "#" not in url:
        file = profile(home, ec2_metadata_service_endpoint=url)
        place = f"ec2_metadata_service_endpoint ({file}:2) is not"
        await failure(from_instance_metadata(context=context), InvalidConfiguration, place, *words)


@pytest.mark.parametrize("by", ["variable", "profile"])
async def test_a_named_instance_profile_skips_the_listing(
    aws: Loopback, context: Context, environ: dict[str, str], home: Path, by: str
) -> None:
    if by == "profile":
        file = profile(home, ec2_instance_profile_name="other")
        place = f"ec2_instance_profile_name ({file}:2)"
    else:
        profile(home, ec2_instance_profile_name="not-this")
        place = environ["AWS_EC2_INSTANCE_PROFILE_NAME"] = "other"
        place = "AWS_EC2_INSTANCE_PROFILE_NAME"
    await from_instance_metadata(context=context)()
    assert paths(aws) == [TOKEN_PATH, f"{ROLES_PATH}other"]
    aws.always(f"{ROLES_PATH}other", Answer(404))
    await failure(from_instance_metadata(context=context), CredentialsNotFound, aws.url, place, "correct or remove")


@pytest.mark.parametrize(
    "name", ["../../user-data", "..", "a/b", "a?b", "a#b", "a b", "a\r\nX: y", "a\0", "\u00e9"]
)
async def test_a_name_that_no_role_has(
    aws: Loopback, context: Context, environ: dict[str, str], home: Path, name: str
) -> None:
    """It would become part of the path, and lead elsewhere."""
    environ["AWS_EC2_INSTANCE_PROFILE_NAME"] = name
    words = "AWS_EC2_INSTANCE_PROFILE_NAME is no name of a role: correct or remove it"
    await failure(from_instance_metadata(context=context), InvalidConfiguration, words)
    if not {"\n", "\0", "#"} & {*name}:
        del environ["AWS_EC2_INSTANCE_PROFILE_NAME"]
        file = profile(home, ec2_instance_profile_name=name)
        words = f"ec2_instance_profile_name ({file}:2) is no name of a role"
        await failure(from_instance_metadata(context=context), InvalidConfiguration, words)
    assert not any(path.startswith(ROLES_PATH) for path in paths(aws))


# Without IMDSv2.


@pytest.mark.parametrize("status", [403, 404, 405])
async def test_v1_where_there_is_no_v2(aws: Loopback, context: Context, status: int) -> None:
    v1(aws, Answer(status))
    assert (await from_instance_metadata(context=context)()).provider == "imds"
    assert paths(aws) == [TOKEN_PATH, ROLES_PATH, KEYS_PATH]
    assert all(TOKEN_HEADER not in seen.headers for seen in aws.requests)


@pytest.mark.parametrize("status", [301, 400, 401, 500, 503])
async def test_no_v1_after_other_answers(aws: Loopback, context: Context, status: int) -> None:
    v1(aws, Answer(status, "sEcReT", {"Location": "/latest"}))
    kind: type[CredentialsError] = SourceUnavailable if status >= 500 else ServiceRefused
    provider = from_instance_metadata(context=context)
    await failure(
        provider, kind, f"the metadata service at {aws.url} answered the request for a token with HTTP {status}"
    )
    assert set(paths(aws)) == {TOKEN_PATH}


async def test_v1_where_tokens_do_not_arrive(aws: Loopback, context: Context) -> None:
    v1(aws, Hang())
    provider = from_instance_metadata(timeout=1, context=context)
    assert (await provider()).provider == "imds"
    assert paths(aws)[0] == TOKEN_PATH
    assert TOKEN_PATH not in paths(aws)[1:]
    before = len(aws.requests)
    assert (await provider.fetch()).provider == "imds"
    assert paths(aws)[before:].count(TOKEN_PATH) == 1  # a refresh wastes one time-out, not three


@pytest.mark.slow
async def test_no_role_is_no_sign_of_a_hop_limit(aws: Loopback, context: Context) -> None:
    v1(aws, Hang())
    aws.always(ROLES_PATH, Answer(404))
    provider = from_instance_metadata(timeout=1, context=context)
    await failure(provider, CredentialsNotFound, aws.url, "attach an instance profile")


@pytest.mark.parametrize("by", ["argument", "variable", "profile"])
@pytest.mark.parametrize("status", [403, 404, 405])
async def test_v1_disabled(
    aws: Loopback, context: Context, environ: dict[str, str], home: Path, by: str, status: int
) -> None:
    v1(aws, Answer(status))
    if by == "profile":
        profile(home, ec2_metadata_v1_disabled="True")
    if by == "variable":
        environ[V1_DISABLED] = "1"
    provider = from_instance_metadata(v1_disabled=True if by == "argument" else None, context=context)
    await failure(provider, ServiceRefused, aws.url, f"HTTP {status}", "v1 is switched off", V1_DISABLED)
    assert set(paths(aws)) == {TOKEN_PATH}


async def test_the_argument_wins(aws: Loopback, context: Context, environ: dict[str, str]) -> None:
    v1(aws, Answer(404))
    environ[V1_DISABLED] = "true"
    assert (await from_instance_metadata(v1_disabled=False, context=context)()).provider == "imds"


async def test_v1_disabled_says_nothing_of_v1_where_v2_works(aws: Loopback, context: Context) -> None:
    aws.always(KEYS_PATH, Answer(403))
    provider = from_instance_metadata(v1_disabled=True, context=context)
    assert "v1" not in str(await failure(provider, ServiceRefused, "credentials with HTTP 403", "HttpEndpoint"))


@pytest.mark.parametrize("v1_disabled", [True, False])
async def test_the_hop_limit(aws: Loopback, context: Context, v1_disabled: bool) -> None:
    aws.v1 = v1_disabled
    aws.always(TOKEN_PATH, Hang())
    provider = from_instance_metadata(timeout=0.1, v1_disabled=v1_disabled, context=context)
    error = await failure(provider, SourceUnavailable, aws.url, "HttpPutResponseHopLimit to 2")
    assert ("v1, which would work, is switched off" in str(error)) is v1_disabled


async def test_trouble_is_no_sign_of_a_hop_limit(aws: Loopback, context: Context) -> None:
    aws.always(TOKEN_PATH, Hang())
    aws.always(ROLES_PATH, Answer(503))
    provider = from_instance_metadata(timeout=0.1, context=context)
    assert "HopLimit" not in str(await failure(provider, SourceUnavailable, aws.url, "HTTP 503"))


# It does not answer.


async def test_nothing_is_there(aws: Loopback, context: Context) -> None:
    with nothing_listens() as url:
        provider = from_instance_metadata(endpoint=url, context=context)
        error = await failure(provider, CredentialsNotFound, f"no metadata service answers at {url}")
    assert error.try_next_link


@pytest.mark.slow
async def test_connections_are_not_answered(context: Context) -> None:
    started = time.monotonic()
    with nobody_accepts() as url:
        provider = from_instance_metadata(endpoint=url, timeout=1, context=context)
        await failure(provider, CredentialsNotFound, f"no metadata service answers at {url}")
    assert time.monotonic() - started < 3  # one quick attempt


@pytest.mark.slow
async def test_nothing_is_ever_answered(aws: Loopback, context: Context) -> None:
    aws.down(by=Hang())
    started = time.monotonic()
    provider = from_instance_metadata(timeout=timedelta(seconds=1), context=context)
    await failure(provider, CredentialsNotFound, aws.url)
    assert time.monotonic() - started < 4
    assert paths(aws) == [TOKEN_PATH, ROLES_PATH]  # a quick attempt each


@pytest.mark.slow
async def test_answered_before(aws: Loopback, context: Context) -> None:
    provider = from_instance_metadata(timeout=0.1, context=context)
    held = await provider()
    aws.down(by=Hang())
    with pytest.raises(SourceUnavailable, match="timed out"):
        await provider.fetch()
    assert await provider() is held
    await failure(
        from_instance_metadata(timeout=0.1, context=context), SourceUnavailable, "timed out", "3 attempts"
    )


async def test_refused_after_it_answered_before(context: Context, environ: dict[str, str]) -> None:
    async with Loopback() as gone:
        environ[ENDPOINT] = gone.url
        await from_instance_metadata(context=context)()
    await failure(from_instance_metadata(context=context), SourceUnavailable, "refused the connection")


@pytest.mark.slow
async def test_time_outs_are_bounded(aws: Loopback, context: Context) -> None:
    await from_instance_metadata(context=context)()
    aws.down(TOKEN_PATH, by=Answer(body=aws.imds_token, drip=0.15))
    aws.down(ROLES_PATH, by=Hang())
    started = time.monotonic()
    await failure(from_instance_metadata(timeout=0.3, context=context), SourceUnavailable, "timed out")
    assert time.monotonic() - started < 4.5  # three attempts of 0.3 s for the token and the probe


# How often it is asked.


async def test_one_attempt_while_nobody_is_known_to_be_there(context: Context) -> None:
    asked: list[int] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(SourceUnavailable):
            await from_instance_metadata(endpoint=url, context=context)()
        assert len(asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_error_to_the_first_token_request_is_an_answer(
    aws: Loopback, context: Context, status: int
) -> None:
    aws.script(TOKEN_PATH, Answer(status), Answer(status))
    assert (await from_instance_metadata(context=context)()).provider == "imds"
    assert aws.count(TOKEN_PATH) == 3
    aws.script(TOKEN_PATH, *[Answer(status)] * 3)
    await failure(from_instance_metadata(context=context), SourceUnavailable, f"HTTP {status}")
    assert aws.count(TOKEN_PATH) == 6


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_as_many_retries_as_asked(aws: Loopback, context: Context, retries: int) -> None:
    aws.always(TOKEN_PATH, Answer(503))
    await failure(from_instance_metadata(max_retries=retries, context=context), SourceUnavailable, "HTTP 503")
    assert aws.count(TOKEN_PATH) == retries + 1


ATTEMPTS, TIMEOUT = "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "AWS_METADATA_SERVICE_TIMEOUT"


def configured(home: Path, environ: dict[str, str], by: str, variable: str, value: str) -> str:
    """Set something by a variable or in the profile; return what messages call that."""
    if by == "variable":
        environ[variable] = value
        return variable
    key = variable.removeprefix("AWS_").lower()
    return f"{key} ({profile(home, **{key: value})}:2)"


@pytest.mark.parametrize("by", ["variable", "profile"])
async def test_as_many_attempts_as_configured(
    aws: Loopback, context: Context, environ: dict[str, str], home: Path, by: str
) -> None:
    configured(home, environ, by, ATTEMPTS, "5")
    aws.always(TOKEN_PATH, Answer(503))
    for provider in (from_instance_metadata(context=context), default_chain(context=context)):
        before = aws.count(TOKEN_PATH)
        with pytest.raises(SourceUnavailable, match="HTTP 503"):
            await provider()
        assert aws.count(TOKEN_PATH) - before == 5
    before = aws.count(TOKEN_PATH)
    await failure(from_instance_metadata(max_retries=1, context=context), SourceUnavailable)
    assert aws.count(TOKEN_PATH) - before == 2


@pytest.mark.slow
@pytest.mark.parametrize("by", ["variable", "profile"])
async def test_as_much_time_as_configured(
    aws: Loopback, context: Context, environ: dict[str, str], home: Path, by: str
) -> None:
    aws.always(TOKEN_PATH, Answer(body=aws.imds_token, delay=0.3))
    configured(home, environ, by, TIMEOUT, "0.1")
    for provider in (from_instance_metadata(context=context), default_chain(context=context)):
        with pytest.raises(SourceUnavailable, match=r"does not arrive|did not answer within 0\.1 s"):
            await provider()
    await from_instance_metadata(timeout=2, context=context)()
    configured(home, environ, by, TIMEOUT, "2")
    await default_chain(context=context)()
    found = (await explain(from_instance_metadata(context=context))).step.looked_at
    assert any(look.found == "2" and TIMEOUT.removeprefix("AWS_") in look.place.upper() for look in found)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *((ATTEMPTS, value) for value in ("0", "1.5", "-1", "many", "\u0663")),
        *((TIMEOUT, value) for value in ("0", "-1", "inf", "1s", "0.0", "1e9")),
    ],
)
@pytest.mark.parametrize("by", ["variable", "profile"])
async def test_a_number_that_is_none(
    context: Context, environ: dict[str, str], home: Path, variable: str, value: str, by: str
) -> None:
    place = configured(home, environ, by, variable, value)
    what = "seconds" if variable == TIMEOUT else "a number of attempts"
    words = f"{place} is {value!r}: write {what}, such as 3"
    await failure(from_instance_metadata(context=context), InvalidConfiguration, words)


PASSING: dict[str, Script] = {
    "500": Answer(500),
    "503": Answer(503),
    "429": Answer(429),
    "reset": Reset(),
    "cut": Answer(body='{"SecretAccessKey": "sEcReT"}', cut=True),
}


@pytest.mark.parametrize("what", [*PASSING, "truncated", "html"])
@pytest.mark.parametrize("path", [ROLES_PATH, KEYS_PATH])
async def test_trouble_that_passes(aws: Loopback, context: Context, path: str, what: str) -> None:
    unreadable = {"truncated": Answer(body='{"SecretAccessKey": "sEcReT'), "html": Answer(body="<html>sEcReT")}
    script = {**PASSING, **unreadable}[what]
    if path == ROLES_PATH and what in unreadable:
        aws.script(path, script)
        provider = from_instance_metadata(context=context)
        await failure(provider, SourceUnavailable, aws.url, "no name of a role", "check what answers there")
        return
    aws.script(path, script, script)
    assert (await from_instance_metadata(context=context)()).provider == "imds"
    assert aws.count(path) == 3


@pytest.mark.parametrize("what", PASSING)
async def test_trouble_that_stays(aws: Loopback, context: Context, what: str) -> None:
    aws.always(KEYS_PATH, PASSING[what])
    await failure(from_instance_metadata(context=context), SourceUnavailable, aws.url.removeprefix("http://"))
    # A kept connection that is reset may have been closed before: that is no attempt.
    assert aws.count(KEYS_PATH) == (4 if what == "reset" else 3)


@pytest.mark.parametrize(
    ("status", "what"), [(401, "IMDSv2"), (403, "HttpEndpoint"), (400, ENDPOINT), (302, ENDPOINT)]
)
@pytest.mark.parametrize("path", [ROLES_PATH, KEYS_PATH])
async def test_no(aws: Loopback, context: Context, path: str, status: int, what: str) -> None:
    aws.always(path, Answer(status, "sEcReT", {"Location": "/latest"}))
    words = f"the metadata service at {aws.url} answered the request for credentials with HTTP {status}", what
    error = await failure(from_instance_metadata(context=context), ServiceRefused, *words)
    assert error.status == status
    assert aws.count(path) == 1


@pytest.mark.parametrize("path", [ROLES_PATH, KEYS_PATH])
async def test_no_role(aws: Loopback, context: Context, path: str) -> None:
    aws.always(path, Answer(404))
    await failure(
        from_instance_metadata(context=context), CredentialsNotFound, aws.url, "attach an instance profile"
    )


async def test_a_refused_token(aws: Loopback, context: Context) -> None:
    aws.script(TOKEN_PATH, Answer(body=secret("old-token")))
    provider = from_instance_metadata(context=context)
    await failure(provider, ServiceRefused, aws.url, "HTTP 401")
    assert (await provider()).provider == "imds"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"sEcReT\r\nX: y",
        b"sEcReT\nx",
        b"sEcReT\0x",
        b"sEcReT\tx",
        b"sEcReT\x1bx",
        b"sEcReT\x85x",
        b"<html>\nsEcReT",
        b"sEcReT\xff",
    ],
)
async def test_no_token(aws: Loopback, context: Context, body: bytes) -> None:
    aws.always(TOKEN_PATH, Answer(body=body))
    await failure(from_instance_metadata(context=context), SourceUnavailable, aws.url, "request for a token")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"<html>sEcReT", b'{"sEcReT":1}', b"a b", b"sEcReT?x", b"sEcReT#x", b"\xffsEcReT", b"a%2f"),
        *(
            b".",
            b"..",
            b"sEcReT/../..",
            b"/sEcReT",
            b"//sEcReT",
            b"\\sEcReT",
            b"sEcReT:80",
            b"a;b",
            b"a\tb",
            b"a\0b",
            b"a\rb",
        ),
    ],
)
async def test_no_name_of_a_role(aws: Loopback, context: Context, body: bytes) -> None:
    aws.always(ROLES_PATH, Answer(body=body))
    await failure(from_instance_metadata(context=context), SourceUnavailable, aws.url, "no name of a role")
    assert paths(aws)[-1] == ROLES_PATH


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "nothing"),
        (b'{"SecretAccessKey": "sEcReT', "cut short"),
        (b"<html>sEcReT", "HTML"),
        (b'["sEcReT"]', "array"),
    ],
)
async def test_no_credentials(aws: Loopback, context: Context, body: bytes, what: str) -> None:
    aws.always(KEYS_PATH, Answer(body=body))
    await failure(
        from_instance_metadata(context=context), SourceUnavailable, aws.url, what, "check what answers there"
    )
    assert aws.count(KEYS_PATH) == 3


async def test_ten_megabytes(aws: Loopback, context: Context) -> None:
    for path in (TOKEN_PATH, ROLES_PATH, KEYS_PATH):
        aws.always(path, Answer(body=b"sEcReT" * 2_500_000))
        provider = from_instance_metadata(context=context)
        await failure(provider, SourceUnavailable, aws.url.removeprefix("http://"), "64 KiB")
        aws.up()


async def test_another_code(aws: Loopback, context: Context) -> None:
    aws.always(KEYS_PATH, json_answer({"Code": "AssumeRoleUnauthorizedAccess", "Message": "sEcReT"}))
    words = aws.url, "AssumeRoleUnauthorizedAccess", "who may assume it"
    assert (await failure(from_instance_metadata(context=context), ServiceRefused, *words)).code == words[1]


@pytest.mark.parametrize("how", slow_but(["v2", "v1", "trouble", "silence"], "v2", "trouble"))
@pytest.mark.usefixtures("connections_close_at_once")
async def test_cancelled_at_any_moment(aws: Loopback, environ: dict[str, str], home: Path, how: str) -> None:
    number = 0
    for number in itertools.count(1):
        context = Context(environ=environ, home=home)
        match how:
            case "v1":
                v1(aws, Answer(404))
            case "trouble":
                aws.script(TOKEN_PATH, Answer(503), Answer(503))
            case "silence":
                aws.down(by=Hang())
            case _:
                pass
        try:
            if not await cancelled_at(from_instance_metadata(timeout=0.1, context=context), number):
                break
        except CredentialsNotFound:
            break
        await until(lambda: not aws.open_connections)
        aws._scripts.clear()  # pyright: ignore[reportPrivateUsage] - what no request came for
    assert number > 8
    await until(lambda: not aws.open_connections)


# Something else answers at the default address.

HTML = "<html><body>blocked by policy sEcReT</body></html>"
NO_INSTANCE: dict[str, dict[str, Script]] = {
    "a proxy refuses": {TOKEN_PATH: Answer(403, HTML), ROLES_PATH: Answer(403, HTML)},
    "a proxy wants a password": {TOKEN_PATH: Answer(407, HTML)},
    "another cloud": {TOKEN_PATH: Answer(405, ""), ROLES_PATH: Answer(403, "Missing Metadata-Flavor")},
    "a portal": {TOKEN_PATH: Answer(302, "", {"Location": "http://login.example/"})},
    "a portal's page": {TOKEN_PATH: Answer(200, HTML), ROLES_PATH: Answer(200, HTML)},
    "a page for anything but the token": {TOKEN_PATH: Answer(404, HTML), ROLES_PATH: Answer(200, HTML)},
    "a gateway": {TOKEN_PATH: Answer(503, HTML, {"Server": "squid/6.6"})},
    "a gateway without a name": {TOKEN_PATH: Answer(504, HTML, {"Via": "1.1 proxy", "Server": ""})},
    "a token that is swallowed": {TOKEN_PATH: Hang(), ROLES_PATH: Answer(403, HTML)},
}


@pytest.mark.slow
@pytest.mark.parametrize("what", NO_INSTANCE)
async def test_no_instance_though_something_answers(what: str, aws: Loopback, home: Path) -> None:
    for path, answer in NO_INSTANCE[what].items():
        aws.always(path, answer)
    async with detour(aws, {}, home) as (context, _):
        provider = from_instance_metadata(timeout=0.2, context=context)
        for _ in range(2):
            words = "no metadata service answers at http://169.254.169.254, but something else", ENDPOINT
            error = await failure(provider, CredentialsNotFound, *words)
            assert error.try_next_link


@pytest.mark.parametrize("v1_disabled", [True, False])
async def test_no_instance_whatever_is_allowed(aws: Loopback, home: Path, v1_disabled: bool) -> None:
    aws.down(by=Answer(403, HTML))
    async with detour(aws, {}, home) as (context, _):
        await failure(from_instance_metadata(v1_disabled=v1_disabled, context=context), CredentialsNotFound, "403")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(403, HTML, {"Server": "EC2ws"}), ServiceRefused),
        (Answer(401, "", {"Server": "EC2ws"}), ServiceRefused),
        (Answer(503, "", {"Server": "EC2ws"}), SourceUnavailable),
        (Answer(503, "", {"Server": ""}), SourceUnavailable),
        (Answer(429, "", {"Server": ""}), SourceUnavailable),
    ],
    ids=str,
)
async def test_the_services_own_refusal_is_one(
    aws: Loopback, home: Path, answer: Answer, kind: type[CredentialsError]
) -> None:
    """EC2's own bears its name on every answer; trouble without any name may be its."""
    aws.down(by=answer)
    async with detour(aws, {}, home) as (context, _):
        provider = from_instance_metadata(context=context)
        await failure(provider, kind, "the metadata service at http://169.254.169.254", f"HTTP {answer.status}")


SAID = {
    "mode": {MODE: "IPv4"},
    "role": {"AWS_EC2_INSTANCE_PROFILE_NAME": ROLE},
    "profile": {},
    "argument": {},
}


@pytest.mark.parametrize("by", SAID)
async def test_where_a_service_is_named_a_refusal_is_its(by: str, aws: Loopback, home: Path) -> None:
    aws.down(by=Answer(403, HTML))
    if by == "profile":
        profile(home, ec2_instance_profile_name=ROLE)
    async with detour(aws, SAID[by], home) as (context, _):
        endpoint = "http://169.254.169.254" if by == "argument" else None
        await failure(from_instance_metadata(endpoint=endpoint, context=context), ServiceRefused, "HTTP 403")


async def test_a_service_that_has_answered_may_refuse(aws: Loopback, home: Path) -> None:
    async with detour(aws, {}, home) as (context, _):
        provider = from_instance_metadata(context=context)
        await provider()
        aws.down(by=Answer(403, HTML))
        with pytest.raises(ServiceRefused, match="HTTP 403"):
            await provider.fetch()
        await failure(from_instance_metadata(context=context), ServiceRefused, "HTTP 403")


@pytest.mark.slow
async def test_v1_at_the_default_address_where_tokens_do_not_arrive(aws: Loopback, home: Path) -> None:
    v1(aws, Hang())
    async with detour(aws, {}, home) as (context, _):
        provider = from_instance_metadata(timeout=0.1, context=context)
        for _ in range(3):
            assert (await provider.fetch()).provider == "imds"
        aws.down(by=Answer(403, HTML))
        with pytest.raises(ServiceRefused):
            await provider.fetch()
