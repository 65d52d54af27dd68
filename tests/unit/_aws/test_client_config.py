"""Where STS is called and how: regions, endpoints, FIPS, middlewares, certificates."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import aiohttp
import pytest
from examples.confused_deputy import on_behalf_of, role_for

from aiocreds import ClientConfig, Context, InvalidConfiguration, SourceUnavailable, from_ini
from aiocreds.sources.assume_role import from_temporary_credentials
from tests.helpers.assumed_role import CALLER, caller
from tests.helpers.failures import failure_of
from tests.helpers.loopback_aws import Loopback, Seen, sts_error
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from pathlib import Path

    from aiocreds import Provider

ARN = "arn:{}:iam::123456789012:role/reader"
KEYS = f"aws_access_key_id = AKIAPROFILE0\naws_secret_access_key = {secret()}\n"


class Stop:
    """A middleware that notes the URL of a request and stops it."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.urls.append(str(request.url))
        raise aiohttp.ClientConnectionError


def role(context: Context, client: ClientConfig, partition: str = "aws") -> Provider:
    return from_temporary_credentials(role_arn=ARN.format(partition), source=caller, client=client, context=context)


async def url_for(
    context: Context,
    *,
    region: str | None = None,
    endpoint_url: str | None = None,
    use_fips: bool | None = None,
    use_dualstack: bool | None = None,
    partition: str = "aws",
) -> str:
    """Where a call would have gone. Nothing is sent."""
    stop = Stop()
    client = ClientConfig(
        region=region,
        endpoint_url=endpoint_url,
        use_fips=use_fips,
        use_dualstack=use_dualstack,
        max_attempts=1,
        middlewares=[stop],
    )
    with pytest.raises(SourceUnavailable):
        await role(context, client, partition)()
    (url,) = stop.urls
    return url


async def url_for_profile(context: Context, name: str) -> list[str]:
    stop = Stop()
    with pytest.raises(SourceUnavailable):
        await from_ini(name, client=ClientConfig(max_attempts=1, middlewares=[stop]), context=context)()
    return stop.urls


def write_config(home: Path, text: str) -> str:
    """Write the config file, and say where it is."""
    path = home / ".aws" / "config"
    path.write_text(text)
    return str(path)


# Regions.


@pytest.mark.parametrize(
    ("partition", "host"),
    [
        ("aws", "sts.us-east-1.amazonaws.com"),
        ("aws-cn", "sts.cn-northwest-1.amazonaws.com.cn"),
        ("aws-us-gov", "sts.us-gov-west-1.amazonaws.com"),
    ],
)
async def test_without_a_region_the_home_of_the_roles_partition_is_asked(
    context: Context, partition: str, host: str
) -> None:
    assert await url_for(context, partition=partition) == f"https://{host}/"


async def test_where_the_region_comes_from(context: Context, environ: dict[str, str], home: Path) -> None:
    places = {
        "profile": "us-west-1",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_REGION": "eu-west-1",
        "argument": "eu-west-2",
    }
    argument = None
    for place, region in places.items():
        match place:
            case "profile":
                write_config(home, f"[default]\nregion = {region}\n")
            case "argument":
                argument = region
            case _:
                environ[place] = region
        assert await url_for(context, region=argument) == f"https://sts.{region}.amazonaws.com/"


async def test_a_blank_region_is_none(context: Context, environ: dict[str, str]) -> None:
    environ.update(AWS_REGION=" ", AWS_DEFAULT_REGION="ap-south-1")
    assert await url_for(context) == "https://sts.ap-south-1.amazonaws.com/"


async def test_the_active_profile_gives_the_region(context: Context, environ: dict[str, str], home: Path) -> None:
    write_config(home, "[default]\nregion = us-west-1\n[profile a]\nregion = us-west-2\n")
    environ["AWS_PROFILE"] = "a"
    assert await url_for(context) == "https://sts.us-west-2.amazonaws.com/"


async def test_a_region_that_is_none_is_refused(context: Context, environ: dict[str, str]) -> None:
    environ["AWS_REGION"] = "evil.example.com/"
    error = await failure_of(role(context, ClientConfig()))
    assert isinstance(error, InvalidConfiguration)
    assert "'evil.example.com/' is not a region" in str(error)


async def test_the_region_is_signed_for(context: Context, aws: Loopback, environ: dict[str, str]) -> None:
    environ.update(aws.environ, AWS_REGION="aws-global")
    await role(context, ClientConfig())()
    await role(context, ClientConfig(region="ap-south-1"))()
    assert [seen.signed_region for seen in aws.requests] == ["us-east-1", "ap-south-1"]


# Endpoints.


@pytest.mark.parametrize(
    ("region", "fips", "dualstack", "host"),
    [
        ("aws-global", False, False, "sts.amazonaws.com"),
        ("eu-central-1", False, False, "sts.eu-central-1.amazonaws.com"),
        ("us-east-1", True, False, "sts-fips.us-east-1.amazonaws.com"),
        ("eu-west-1", False, True, "sts.eu-west-1.api.aws"),
        ("us-west-2", True, True, "sts-fips.us-west-2.api.aws"),
        ("cn-north-1", False, False, "sts.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", True, False, "sts.us-gov-west-1.amazonaws.com"),
        ("eusc-de-east-1", False, False, "sts.eusc-de-east-1.amazonaws.eu"),
    ],
)
@pytest.mark.parametrize("place", ["argument", "environment", "profile"])
async def test_where_the_call_goes(
    context: Context,
    environ: dict[str, str],
    home: Path,
    place: str,
    region: str,
    fips: bool,
    dualstack: bool,
    host: str,
) -> None:
    url = f"https://{host}/"
    if place == "argument":
        assert await url_for(context, region=region, use_fips=fips, use_dualstack=dualstack) == url
        return
    switches = {"USE_FIPS_ENDPOINT": fips, "USE_DUALSTACK_ENDPOINT": dualstack}
    if place == "environment":
        environ.update({f"AWS_{name}": str(on) for name, on in switches.items()})
    else:
        lines = [f"{name.lower()} = {str(on).lower()}\n" for name, on in switches.items()]
        write_config(home, "[default]\n" + "".join(lines))
    assert await url_for(context, region=region) == url


async def test_code_wins_over_the_environment(context: Context, environ: dict[str, str]) -> None:
    environ.update(AWS_USE_FIPS_ENDPOINT="true", AWS_REGION="us-east-1")
    assert await url_for(context, use_fips=False) == "https://sts.us-east-1.amazonaws.com/"
    environ.update(AWS_USE_FIPS_ENDPOINT="false", AWS_ENDPOINT_URL_STS="http://localhost:1")
    assert await url_for(context, endpoint_url="http://127.0.0.1:9/sts/") == "http://127.0.0.1:9/sts/"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, ["AWS_USE_FIPS_ENDPOINT", "FIPS"]),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "1"}, ["AWS_USE_DUALSTACK_ENDPOINT", "dual-stack"]),
    ],
)
async def test_nobody_loses_fips_in_silence(
    context: Context, environ: dict[str, str], setting: dict[str, str], words: list[str]
) -> None:
    environ.update(setting, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    error = await failure_of(role(context, ClientConfig()))
    assert isinstance(error, InvalidConfiguration)
    for word in [*words, "AWS_ENDPOINT_URL"]:
        assert word in str(error)


# Profiles.


SOURCES = f"""
[profile base]
{KEYS}
"""


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ("endpoint_url = http://127.0.0.1:7", "http://127.0.0.1:7/"),
        ("services = local\nendpoint_url = http://127.0.0.1:7", "http://127.0.0.1:8/x/"),
        ("use_fips_endpoint = true", "https://sts-fips.us-east-1.amazonaws.com/"),
        ("use_dualstack_endpoint = 1\nregion = eu-west-1", "https://sts.eu-west-1.api.aws/"),
        (
            "ignore_configured_endpoint_urls = true\nendpoint_url = http://127.0.0.1:7",
            "https://sts.us-east-1.amazonaws.com/",
        ),
    ],
    ids=["url", "services", "fips", "dual-stack", "ignored"],
)
@pytest.mark.parametrize("depth", ["named by the role", "named by the outermost profile"])
async def test_a_profiles_endpoint_settings_reach_the_call(
    context: Context, home: Path, settings: str, url: str, depth: str
) -> None:
    inner, outer = (settings, "") if depth == "named by the role" else ("", settings)
    write_config(
        home,
        f"""{SOURCES}
[services local]
sts =
  endpoint_url = http://127.0.0.1:8/x
[profile outer]
role_arn = {ARN.format("aws")}
source_profile = inner
{outer}
[profile inner]
role_arn = {ARN.format("aws")}
source_profile = base
{inner}
""",
    )
    assert await url_for_profile(context, "outer") == [url]


async def test_a_profiles_endpoint_and_fips_contradict_with_both_lines_named(context: Context, home: Path) -> None:
    file = write_config(
        home,
        f"[profile a]\nrole_arn = {ARN.format('aws')}\nsource_profile = base\nendpoint_url = http://127.0.0.1:7\n"
        f"use_fips_endpoint = true\n{SOURCES}",
    )
    error = await failure_of(from_ini("a", context=context))
    assert isinstance(error, InvalidConfiguration)
    assert f"{file}:4" in str(error)
    assert f"{file}:5" in str(error)


async def test_fips_of_the_outermost_profile_and_an_endpoint_of_an_inner_one_contradict(
    context: Context, home: Path
) -> None:
    file = write_config(
        home,
        f"[profile a]\nrole_arn = {ARN.format('aws')}\nsource_profile = b\nuse_fips_endpoint = true\n"
        f"[profile b]\nrole_arn = {ARN.format('aws')}\nsource_profile = base\nendpoint_url = http://127.0.0.1:7\n"
        f"{SOURCES}",
    )
    error = await failure_of(from_ini("a", context=context))
    assert isinstance(error, InvalidConfiguration)
    assert f"{file}:4" in str(error)
    assert f"{file}:8" in str(error)


@pytest.mark.parametrize("depth", ["named by the role", "named by the outermost profile"])
async def test_a_profiles_certificates_are_used(context: Context, home: Path, depth: str) -> None:
    bundle = f"ca_bundle = {home}/nothing.pem"
    inner, outer = (bundle, "") if depth == "named by the role" else ("", bundle)
    write_config(
        home,
        f"[profile a]\nrole_arn = {ARN.format('aws')}\nsource_profile = b\nendpoint_url = https://127.0.0.1:7\n"
        f"{outer}\n[profile b]\nrole_arn = {ARN.format('aws')}\nsource_profile = base\n"
        f"endpoint_url = https://127.0.0.1:7\n{inner}\n{SOURCES}",
    )
    error = await failure_of(from_ini("a", context=context))
    assert isinstance(error, InvalidConfiguration)
    assert f"ca_bundle names {home}/nothing.pem" in str(error)


# Middlewares.


def assert_signed_deputy(seen: Seen) -> None:
    assert seen.headers["x-amz-source-account"] == "111122223333"
    assert seen.headers["x-amz-source-arn"] == "arn:aws:s3:::theirs"
    assert {"x-amz-source-account", "x-amz-source-arn"} <= set(seen.signed_headers)


async def test_what_middlewares_add_is_signed(aws: Loopback, context: Context, environ: dict[str, str]) -> None:
    environ.update(aws.environ)
    aws.secrets[CALLER.access_key_id] = (CALLER.secret_access_key, CALLER.session_token)
    deputy = on_behalf_of("111122223333", "arn:aws:s3:::theirs")
    await role(context, ClientConfig(middlewares=[deputy]))()
    assert_signed_deputy(aws.requests[0])


async def test_what_middlewares_add_is_signed_at_each_attempt_anew(
    aws: Loopback, context: Context, environ: dict[str, str]
) -> None:
    environ.update(aws.environ)
    aws.secrets[CALLER.access_key_id] = (CALLER.secret_access_key, CALLER.session_token)
    attempts = 0

    async def numbered(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal attempts
        attempts += 1
        request.headers["x-amz-attempt"] = str(attempts)
        return await handler(request)

    aws.script("/", sts_error("Throttling", status=400))
    await role(context, ClientConfig(middlewares=[numbered]))()
    assert [seen.headers["x-amz-attempt"] for seen in aws.requests] == ["1", "2"]
    assert "x-amz-attempt" in aws.requests[1].signed_headers


async def test_what_middlewares_add_is_signed_for_a_profile_too(
    aws: Loopback, context: Context, environ: dict[str, str], home: Path
) -> None:
    environ.update(aws.environ)
    write_config(home, f"[profile a]\nrole_arn = {ARN.format('aws')}\nsource_profile = base\n{SOURCES}")
    aws.secrets["AKIAPROFILE0"] = (KEYS.split()[-1], None)
    client = ClientConfig(middlewares=[on_behalf_of("111122223333", "arn:aws:s3:::theirs")])
    await from_ini("a", client=client, context=context)()
    assert_signed_deputy(aws.requests[0])


async def test_the_confused_deputy_example(aws: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    aws.secrets["AKIAEXAMPLE0"] = (secret(), None)
    for name, value in {
        **aws.environ,
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE0",
        "AWS_SECRET_ACCESS_KEY": aws.secrets["AKIAEXAMPLE0"][0],
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CREDENTIAL_EXPIRATION"):
        monkeypatch.delenv(name, raising=False)
    provider = role_for(ARN.format("aws"), account="111122223333", arn="arn:aws:s3:::theirs")
    assert (await provider()).account_id == "123456789012"
    assert_signed_deputy(aws.requests[0])


async def test_a_middleware_that_fails_shows_no_secret(
    aws: Loopback, context: Context, environ: dict[str, str]
) -> None:
    environ.update(aws.environ)

    async def broken(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise RuntimeError("broken")

    async def code(serial_number: str) -> str:
        return secret("mfa code")

    provider = from_temporary_credentials(
        role_arn=ARN.format("aws"),
        source=caller,
        serial_number="mfa",
        mfa_code=code,
        client=ClientConfig(middlewares=[broken]),
        context=context,
    )
    error = await failure_of(provider)
    assert isinstance(error, SourceUnavailable)
    assert isinstance(error.__cause__, RuntimeError)
    assert not aws.requests


# What a ClientConfig may hold.


def test_at_least_one_attempt_is_made() -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        ClientConfig(max_attempts=0)


async def test_time_outs_are_seconds_or_timedeltas(
    aws: Loopback, context: Context, environ: dict[str, str]
) -> None:
    environ.update(aws.environ)
    for seconds in (2, timedelta(seconds=2)):
        await role(context, ClientConfig(connect_timeout=seconds, read_timeout=seconds))()
    assert len(aws.requests) == 2
