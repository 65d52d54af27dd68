"""Tokens, beside what botocore, AWS CLI and AWS's own signers make of the same keys at the same second."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import botocore.session
import pytest
import time_machine
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import CredentialProvider
from botocore.credentials import Credentials as BotocoreCredentials

from aiocreds import (
    Context,
    Credentials,
    CredentialsError,
    InvalidConfiguration,
    Provider,
    SourceUnavailable,
    credential_provider,
    from_env,
)
from aiocreds.testing import static as static_provider
from aiocreds.tokens import (
    Token,
    TokenProvider,
    bedrock_token,
    dsql_token,
    eks_token,
    elasticache_token,
    memorydb_token,
    msk_token,
    rds_token,
)
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2030, 3, 1, 23, 59, 58, tzinfo=UTC)
BROKER = "b-1.books.abc.c2.kafka.eu-north-1.amazonaws.com:9098"
HOST = "Books.abc123.eu-central-1.rds.amazonaws.com"
DSQL = "abc.dsql.us-west-2.on.aws"
LONG = secret("an/awkward+session=token")
STATIC = Credentials("AKIDEXAMPLE", secret("wJalrXUtnFEMI"))
SESSION = Credentials("ASIA/EX+AMPLE", secret("a secret/+"), LONG, NOW + timedelta(hours=1))
KEYS = [pytest.param(STATIC, id="static"), pytest.param(SESSION, id="session")]
REGION = "eu-west-1"
REGIONS = ["eu-central-1", "cn-north-1", "us-gov-west-1"]


ALL: dict[str, Callable[..., TokenProvider]] = {
    "rds": partial(rds_token, host=HOST, port=5432, user="app"),
    "dsql": partial(dsql_token, host=DSQL),
    "elasticache": partial(elasticache_token, cache="sessions", user="app", region=REGION),
    "serverless": partial(elasticache_token, cache="sessions", user="app", region=REGION, serverless=True),
    "memorydb": partial(memorydb_token, cluster="orders", user="app", region=REGION),
    "msk": partial(msk_token, region=REGION),
    "eks": partial(eks_token, cluster="books", region=REGION),
    "bedrock": partial(bedrock_token, region=REGION),
}
WITHOUT_REGION: dict[str, Callable[..., TokenProvider]] = {
    "rds": partial(rds_token, host="db.internal", port=5432, user="app"),
    "dsql": partial(dsql_token, host="dsql.internal"),
    "elasticache": partial(elasticache_token, cache="sessions", user="app"),
    "memorydb": partial(memorydb_token, cluster="orders", user="app"),
    "msk": msk_token,
    "msk with a broker": partial(msk_token, broker="kafka.internal:9098"),
    "eks": partial(eks_token, cluster="books"),
    "bedrock": bedrock_token,
}


def static(keys: Credentials | None = None) -> Provider:
    return static_provider(keys or Credentials("AKIDEXAMPLE", secret("s")))


@pytest.fixture(autouse=True)
def pure_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore sign by itself: through awscrt, the parameters have another order."""
    monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, "v4-query", SigV4QueryAuth)
    monkeypatch.setenv("BOTO_DISABLE_CRT", "true")


def as_botocore(keys: Credentials) -> BotocoreCredentials:
    return BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token)


@functools.cache
def botocore_session() -> botocore.session.Session:
    """Return the one session of these tests: each would read the models of its services anew."""
    return botocore.session.Session()


def client(service: str, keys: Credentials, region: str) -> Any:
    return botocore_session().create_client(
        service,
        region_name=region,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        aws_session_token=keys.session_token,
    )


def presigned_by_botocore(
    keys: Credentials, service: str, region: str, url: str, *, expires: int = 900, method: str = "GET"
) -> str:
    request = AWSRequest(method=method, url=url)
    SigV4QueryAuth(as_botocore(keys), service, region, expires=expires).add_auth(request)
    return str(request.url)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize(("user", "port"), [("app", 5432), ("o'neill@x y/ü&=", 443)])
async def test_rds(keys: Credentials, region: str, user: str, port: int) -> None:
    with time_machine.travel(NOW, tick=False):
        token = await rds_token(static(keys), HOST, port, user, region)()
        expected = client("rds", keys, region).generate_db_auth_token(HOST, port, user)
    assert str(token) == expected
    assert token.expiration == NOW + timedelta(minutes=15)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("admin", [False, True])
async def test_dsql(keys: Credentials, admin: bool) -> None:
    host = "abc.dsql.us-west-2.on.aws"
    with time_machine.travel(NOW, tick=False):
        token = await dsql_token(static(keys), host, admin=admin, expires_in=timedelta(seconds=77))()
        theirs = client("dsql", keys, "us-west-2")
        method = theirs.generate_db_connect_admin_auth_token if admin else theirs.generate_db_connect_auth_token
        expected = method(host, "us-west-2", ExpiresIn=77)
    assert str(token) == expected
    assert token.expiration == NOW + timedelta(seconds=77)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("serverless", [False, True])
async def test_elasticache(keys: Credentials, serverless: bool) -> None:
    kind = "&ResourceType=ServerlessCache" if serverless else ""
    url = f"https://sessions-1/?Action=connect{kind}&User=app-1"
    with time_machine.travel(NOW, tick=False):
        token = await elasticache_token(static(keys), "Sessions-1", "app-1", "eu-west-1", serverless=serverless)()
        assert f"https://{token}" == presigned_by_botocore(keys, "elasticache", "eu-west-1", url)


async def test_memorydb() -> None:
    keys = SESSION
    with time_machine.travel(NOW, tick=False):
        token = await memorydb_token(static(keys), "orders", "app", "eu-west-1")()
        url = "https://orders/?Action=connect&User=app"
        assert f"https://{token}" == presigned_by_botocore(keys, "memorydb", "eu-west-1", url)


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("region", REGIONS)
async def test_msk(keys: Credentials, region: str) -> None:
    signer = pytest.importorskip("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")

    class Held(CredentialProvider):
        def load(self) -> BotocoreCredentials:
            return as_botocore(keys)

    with time_machine.travel(NOW, tick=False):
        token = await msk_token(static(keys), region)()
        expected, expires_ms = signer.generate_auth_token_from_credentials_provider(region, Held())
    ours, theirs = (unpacked(text).partition("&User-Agent=") for text in (str(token), expected))
    assert ours[0] == theirs[0]
    assert ours[2].startswith("aiocreds")
    assert token.expiration.timestamp() * 1000 == expires_ms


@pytest.mark.parametrize("keys", KEYS)
async def test_bedrock(keys: Credentials) -> None:
    url = "https://bedrock.amazonaws.com/?Action=CallWithBearerToken"
    with time_machine.travel(NOW, tick=False):
        token = await bedrock_token(static(keys), "us-east-1", expires_in=3600)()
        expected = presigned_by_botocore(keys, "bedrock", "us-east-1", url, expires=3600, method="POST")
    prefix, encoded = token[:16], token[16:]
    assert prefix == "bedrock-api-key-"
    assert "https://" + base64.b64decode(encoded).decode() == f"{expected}&Version=1"


@pytest.mark.shows_secrets("stdout", because="tokens hold the session token, and printing them is what it is for")
@pytest.mark.slow  # AWS CLI takes seconds to start
@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("region", REGIONS)
async def test_eks_and_rds_as_aws_cli_makes_them(keys: Credentials, region: str, tmp_path: Path) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "BOTO_DISABLE_CRT": "true",
        "HOME": str(tmp_path),
    } | ({"AWS_SESSION_TOKEN": keys.session_token} if keys.session_token else {})

    async def cli(*words: str) -> str:
        run = [sys.executable, "-m", "awscli", *words]
        done = await asyncio.to_thread(
            subprocess.run, run, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    context = Context(environment, home=tmp_path)
    said = json.loads(await cli("eks", "get-token", "--cluster-name", "my-cluster"))
    theirs = unpacked(said["status"]["token"].removeprefix("k8s-aws-v1."))
    with time_machine.travel(date_of(theirs), tick=False):
        token = await eks_token(static(keys), "my-cluster", context=context)()
    assert unpacked(token.removeprefix("k8s-aws-v1.")) == theirs
    assert abs(token.expiration - datetime.fromisoformat(said["status"]["expirationTimestamp"])) < timedelta(
        seconds=2
    )

    words = ("--hostname", "db.example.com", "--port", "3306", "--username", "ada")
    theirs = await cli("rds", "generate-db-auth-token", *words)
    with time_machine.travel(date_of(theirs), tick=False):
        assert str(await rds_token(static(keys), "db.example.com", 3306, "ada", context=context)()) == theirs


def unpacked(token: str) -> str:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()


def url_in(token: str) -> str:
    """Return what is signed of any token."""
    for prefix in ("k8s-aws-v1.", "bedrock-api-key-"):
        if token.startswith(prefix):
            return unpacked(token.removeprefix(prefix).rstrip("="))
    return token if "?" in token else unpacked(token)


def date_of(url: str) -> datetime:
    [date] = parse_qs(urlsplit(url).query)["X-Amz-Date"]
    return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


# Where the region and the port come from.


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, "eu-central-1"),
        ("books.proxy-abc.us-gov-east-1.rds.amazonaws.com.", "us-gov-east-1"),
        ("books.cluster-abc.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("us-east-1.abc.ap-southeast-2.rds.amazonaws.com", "ap-southeast-2"),
    ],
)
async def test_the_region_and_the_port_in_a_host_name(host: str, region: str) -> None:
    environment = Context({"AWS_REGION": "sa-east-1"})
    token = await rds_token(static(), f"{host.rstrip('.')}:6432", user="app", context=environment)()
    assert token.startswith(f"{host.rstrip('.')}:6432/?")
    assert f"%2F{region}%2Frds-db%2F" in token


async def test_the_region_of_a_broker() -> None:
    brokers = "b-2.x.abc.c2.kafka.eu-north-1.amazonaws.com:9098,b-1.x.abc.c2.kafka.eu-north-1.amazonaws.com:9098"
    assert "%2Feu-north-1%2Fkafka-cluster%2F" in unpacked(await msk_token(static(), broker=brokers)())


@pytest.mark.parametrize("held", [False, True])
async def test_the_region_of_the_environment(held: bool) -> None:
    token = rds_token(static(), "db.internal", 5432, "app", context=Context({"AWS_DEFAULT_REGION": "eu-north-1"}))
    await token.provider()
    assert "%2Feu-north-1%2F" in (token.held() if held else await token())


async def test_a_name_that_is_none_of_rds_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for host in ("db.books.example", "DB.books.example", HOST, "x.abc.cn-north-1.rds.amazonaws.com.cn"):
        for _ in range(2):
            assert str(await rds_token(static(), host, 5432, "app", "eu-central-1")()).startswith(host)
    [record] = [it for it in caplog.records if it.name == "aiocreds.tokens"]
    assert record.levelname == "WARNING"
    assert re.match(r"db\.books\.example is no endpoint of RDS.*CNAME.*pass it in the place", record.getMessage())


async def test_the_region_of_the_profile(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\nregion = eu-south-2\n")
    token = eks_token(static(), "c", context=Context({}, home=tmp_path))
    assert unpacked((await token()).removeprefix("k8s-aws-v1.")).startswith(
        "https://sts.eu-south-2.amazonaws.com/?"
    )


@pytest.mark.parametrize("held", [False, True])
async def test_no_region_at_all(held: bool, tmp_path: Path) -> None:
    token = rds_token(static(), "db.internal:5432", user="app", context=Context({}, home=tmp_path))
    await token.provider()
    with pytest.raises(InvalidConfiguration, match=r"app@db\.internal:5432: the region .*own name.*CNAME"):
        token.held() if held else await token()


@pytest.mark.parametrize("make", WITHOUT_REGION.values(), ids=WITHOUT_REGION)
async def test_no_region_for_any(make: Callable[..., TokenProvider], tmp_path: Path) -> None:
    token = make(static(), context=Context({}, home=tmp_path))
    with pytest.raises(InvalidConfiguration, match=r"the region is not known: .*pass region=, or set AWS_REGION"):
        await token()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: rds_token(static(), HOST, user="app"), "no port for Books"),
        (lambda: rds_token(static(), HOST, 5432), "user is empty"),
        (lambda: rds_token(static(), f"{HOST}:3306", 5432, "app"), "the host says port 3306, and port= says 5432"),
        (lambda: rds_token(static(), f"https://{HOST}", 5432, "app"), "is no host name"),
        (lambda: rds_token(static(), f"{HOST}:99999", user="app"), "is no host name"),
        (lambda: rds_token(static(), HOST, 5432, "app", "eu central"), "is not a region"),
        (lambda: dsql_token(static(), ""), "host is empty, and is part of what is signed: pass host="),
        (lambda: rds_token(static(), cast("Any", None), 5432, "app"), "host is NoneType: pass host= as a str"),
        (lambda: rds_token(static(), HOST, 5432, cast("Any", b"app")), "user is bytes: pass user= as a str"),
        (lambda: msk_token(static(), broker=cast("Any", [None])), "broker is NoneType"),
        (lambda: elasticache_token(static(), "master.x.cache.amazonaws.com", "app"), "is no name of a cache"),
        (lambda: memorydb_token(static(), " ", "app"), "cluster is empty"),
        (lambda: memorydb_token(static(), "orders", ""), "user is empty"),
        (lambda: elasticache_token(static(), "cache", "\t"), "user is empty"),
        (lambda: eks_token(static(), ""), "cluster is empty"),
        (lambda: rds_token(static(), HOST, 5432, "app\n"), "user 'app\\n' holds a line break"),
        (lambda: elasticache_token(static(), "cache", "app\0x"), "user 'app\\x00x' holds"),
        (lambda: memorydb_token(static(), "orders", "app\ud800"), "user 'app\\ud800' holds"),
        (
            lambda: rds_token(static(), HOST, 5432, "app", cast("Any", b"eu-west-1")),
            "region is bytes: pass region=",
        ),
        (lambda: eks_token(static(), "books", cast("Any", ["eu-west-1"])), "region is list: pass region= as a str"),
        (lambda: msk_token(static(), cast("Any", False)), "region is bool"),
        (lambda: dsql_token(static(), DSQL, admin=cast("Any", "false")), "admin is str: pass True or False"),
        (lambda: elasticache_token(static(), "c", "app", serverless=cast("Any", 1)), "serverless is int"),
        (lambda: msk_token(static(), "eu-west-1", broker=cast("Any", {BROKER})), "broker is set"),
        (lambda: msk_token(static(), "eu-west-1", broker="https://b-1"), "is no host name"),
    ],
)
def test_bad_arguments_fail_at_once(make: Callable[[], TokenProvider], said: str) -> None:
    with pytest.raises(InvalidConfiguration, match=re.escape(said)):
        make()


@pytest.mark.parametrize("broker", [BROKER, f"{BROKER},{BROKER}", [BROKER, BROKER], (BROKER,)])
async def test_brokers_as_clients_take_them(broker: str | list[str]) -> None:
    token = await msk_token(static(), broker=broker)()
    assert "//kafka.eu-north-1." in base64.urlsafe_b64decode(token + "===").decode()


def test_a_line_break_in_an_argument_makes_no_line_of_a_log() -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        rds_token(static(), HOST, 5432, "app\nroot")
    assert str(caught.value).count("\n") == 0
    assert repr(rds_token(static(), HOST, 5432, "app\u2028root")).count("\u2028") == 0


def test_a_message_quotes_the_beginning_of_a_long_argument() -> None:
    long = "x" * 10_000
    makes = [
        partial(rds_token, static(), f"https://{long}", 5432, "app"),
        partial(rds_token, static(), HOST, 5432, f"{long}\n"),
        partial(rds_token, static(), HOST, 5432, "app", long),
        partial(elasticache_token, static(), f"{long}.", "app"),
        partial(eks_token, static(), f"{long}\n"),
    ]
    for make in makes:
        with pytest.raises(InvalidConfiguration) as caught:
            make()
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("make", WITHOUT_REGION.values(), ids=WITHOUT_REGION)
@pytest.mark.parametrize("context", ["eu-west-1", 0, {}])
def test_a_context_that_is_none(make: Callable[..., TokenProvider], context: Any) -> None:
    with pytest.raises(TypeError, match=rf"_token\(\) takes context=Context\(…\), not {type(context).__name__}"):
        make(static(), context=context)


async def test_a_host_name_in_full_is_signed_as_the_service_knows_it() -> None:
    """A resolver takes the dot at the end, and the service's own name has none."""
    provider = static()
    with time_machine.travel(NOW, tick=False):
        expected = await rds_token(provider, HOST, 5432, "app")()
        assert await rds_token(provider, f"{HOST}.", 5432, "app")() == expected
        assert await rds_token(provider, f"{HOST}.:5432", user="app")() == expected
        assert await dsql_token(provider, f"{DSQL}.")() == await dsql_token(provider, DSQL)()
    with pytest.raises(InvalidConfiguration, match="is no host name"):
        rds_token(provider, f"{HOST}..", 5432, "app")


@pytest.mark.parametrize("make", [dsql_token, bedrock_token])
def test_a_lifetime_out_of_bounds(make: Callable[..., TokenProvider]) -> None:
    for lifetime in (0, 0.5, timedelta(days=8)):
        with pytest.raises(ValueError, match="expires_in must be from 1 to"):
            make(static(), "abc.dsql.us-west-2.on.aws", expires_in=lifetime)


async def test_keys_that_no_service_can_have_issued() -> None:
    token = rds_token(static(Credentials("AKID\n", secret("s"))), HOST, 5432, "app")
    with pytest.raises(InvalidConfiguration, match="access key id"):
        await token()


# Which credentials sign.


async def test_a_token_ends_with_its_credentials() -> None:
    with time_machine.travel(NOW, tick=False):
        keys = Credentials("AKID", secret("s"), expiration=NOW + timedelta(minutes=5))
        assert (await rds_token(static(keys), HOST, 5432, "app")()).expiration == keys.expiration


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
async def test_expired_keys(make: Callable[..., TokenProvider]) -> None:
    with time_machine.travel(NOW, tick=False):
        token = make(static(Credentials("AKID", secret("s"), expiration=NOW)))
        with pytest.raises(SourceUnavailable, match="expired"):
            await token()
        with pytest.raises(CredentialsError, match="expired"):
            token.held()


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
async def test_expired_keys_of_the_environment(make: Callable[..., TokenProvider]) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": secret("s")}
    environ["AWS_CREDENTIAL_EXPIRATION"] = "2030-03-01T23:00:00Z"
    with time_machine.travel(NOW, tick=False), pytest.raises(CredentialsError, match="AWS_CREDENTIAL_EXPIRATION"):
        await make(from_env(context=Context(environ)))()


async def test_others_are_asked_for_where_a_token_would_end_too_soon() -> None:
    lives = iter([timedelta(minutes=10), timedelta(hours=1)])

    @credential_provider
    async def issue() -> Credentials:
        return Credentials("AKID", secret("s"), expiration=NOW + next(lives))

    with time_machine.travel(NOW, tick=False):
        provider = issue()
        assert (await rds_token(provider, HOST, 5432, "app")()).expiration == NOW + timedelta(minutes=10)
        assert (await msk_token(provider, "eu-west-1")()).expiration == NOW + timedelta(minutes=15)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("off", [-3600.0, 3600.0])
@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
async def test_the_time_is_that_of_the_service(make: Callable[..., TokenProvider], off: float, held: bool) -> None:
    """Whose clock differs from this machine's by an hour, as another answer of AWS has shown."""
    context = Context({})
    with time_machine.travel(NOW, tick=False):
        context.clock.learn(off)
        provider = static()
        await provider()
        token = make(provider, context=context)
        made = token.held() if held else await token()
    there = NOW + timedelta(seconds=off)
    assert date_of(url_in(made)) == there
    assert there < made.expiration <= there + timedelta(hours=12)


# Without waiting.


async def test_held_before_a_first_load_starts_it_and_says_what_to_do() -> None:
    loads: list[int] = []

    @credential_provider
    async def issue() -> Credentials:
        loads.append(1)
        return Credentials("AKID", secret("s"))

    token = rds_token(issue(), HOST, 5432, "app")
    with pytest.raises(InvalidConfiguration, match="nothing has been loaded yet, and this call cannot wait"):
        token.held()
    await asyncio.sleep(0.01)
    with time_machine.travel(NOW, tick=False):
        assert token.held() == await token()
    assert loads == [1]


def test_held_in_a_thread_without_a_loop() -> None:
    provider = static()
    token = rds_token(provider, HOST, 5432, "app")
    with pytest.raises(InvalidConfiguration, match="nothing has been loaded yet"):
        token.held()
    asyncio.run(load(provider))
    assert token.held().startswith(HOST)


async def load(provider: Provider) -> None:
    await provider()


async def test_held_refreshes_behind_and_raises_what_the_source_raised() -> None:
    loads: list[datetime] = []

    @credential_provider
    async def issue() -> Credentials:
        loads.append(datetime.now(UTC))
        if len(loads) == 3:
            raise SourceUnavailable("is down")
        return Credentials("AKID", secret("s"), expiration=loads[-1] + timedelta(minutes=10))

    with time_machine.travel(NOW, tick=False) as clock:
        token = rds_token(issue(), HOST, 5432, "app")
        await token()
        clock.shift(timedelta(minutes=9, seconds=30))  # the mandatory window: a caller that can would wait
        assert token.held().expiration == NOW + timedelta(minutes=10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert token.held().expiration == NOW + timedelta(minutes=19, seconds=30)
        clock.shift(timedelta(minutes=11))
        with pytest.raises(InvalidConfiguration, match="have expired"):
            token.held()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(SourceUnavailable, match="is down"):
            token.held()


async def test_nothing_secret_is_shown() -> None:
    token = rds_token(static(SESSION.__replace__(expiration=None)), HOST, 5432, "app")
    made = await token()
    assert isinstance(made, Token)
    assert repr(made) == "****"
    assert repr(token) == f"<rds_token for app@{HOST}:5432 in eu-central-1: <Provider static: ****MPLE>>"


@pytest.mark.parametrize("port", [0, 65536, -1, "5432", 5432.0, True])
def test_a_port_that_is_none_fails_at_once(port: Any) -> None:
    with pytest.raises(InvalidConfiguration, match="from 1 to 65535"):
        rds_token(static(), HOST, port, "app")


@pytest.mark.parametrize("cluster", ["a\nx-evil:1", "a\0", "é", "books ", "two  words"])
def test_a_cluster_with_a_name_that_none_has_fails_at_once(cluster: str) -> None:
    """The service would collapse blanks, and so reject the signature."""
    with pytest.raises(InvalidConfiguration, match="has a blank or another character that no name has"):
        eks_token(static(), cluster, "eu-central-1")
