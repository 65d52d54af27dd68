"""attach() for boto3 and botocore: real clients in threads, against moto's server and a loopback service."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import import_module
from textwrap import dedent
from typing import TYPE_CHECKING, Any, cast

import boto3  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
import botocore.session
import pytest
import time_machine
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError

from aiocreds import (
    ClientConfig,
    Context,
    Credentials,
    InvalidConfiguration,
    Provider,
    SourceUnavailable,
    from_temporary_credentials,
)
from aiocreds.integrations.boto3 import attach
from tests.helpers.examples import EXAMPLES, run
from tests.helpers.loopback_aws import Answer, Loopback, sts_error
from tests.helpers.scripted import START, Source, issue
from tests.helpers.secret_leaks import MARK, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from blockbuster import BlockBuster

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")  # older botocore

REGION = "eu-central-1"
ONE_ATTEMPT = Config(retries={"total_max_attempts": 1}, max_pool_connections=20)
ROLE = "arn:aws:iam::123456789012:role/app"
OK = Answer(
    body="""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
    <Arn>arn:aws:sts::123456789012:assumed-role/app/me</Arn></GetCallerIdentityResult>
    </GetCallerIdentityResponse>"""
)
LOADER: Any = botocore.session.get_session().get_component("data_loader")


class Strict(Loopback):
    """An STS in a thread of its own, which checks signatures and refuses credentials that have expired."""

    def __init__(self) -> None:
        super().__init__()
        self.until: dict[str, datetime] = {}
        self.answered: list[str] = []
        self._key_numbers = itertools.count(1)

    def source(self, lifetime: float = 3600.0) -> Credentials:
        """Credentials that it knows."""
        expiration = datetime.now(UTC) + timedelta(seconds=lifetime)
        key = f"ASIASTRICT{next(self._key_numbers):06}"
        credentials = Credentials(key, secret(), secret("token"), expiration=expiration)
        self.secrets[key] = (credentials.secret_access_key, credentials.session_token)
        self.until[key] = expiration
        return credentials

    def _refuse(self, request: Any, seen: Any) -> tuple[str, str] | None:
        until = self.until.get(seen.signed_by)
        if until is not None and datetime.now(UTC) >= until:
            return "ExpiredToken", "The security token included in the request is expired"
        self.answered.append(seen.signed_by)
        return super()._refuse(request, seen)

    @property
    def signers(self) -> list[str]:
        """The access key ids that requests were signed with."""
        return [seen.signed_by for seen in self.requests]


@pytest.fixture
def sts() -> Iterator[Strict]:
    """Serving in another thread, so that the test's own may block."""
    strict = Strict()
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with strict:
            loops.append((asyncio.get_running_loop(), over := asyncio.Event()))
            started.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    yield strict
    loop, over = loops[0]
    loop.call_soon_threadsafe(over.set)
    thread.join()


def a_session() -> botocore.session.Session:
    """A new session; reading the service models of botocore again for each would take most of the time here."""
    session = botocore.session.get_session()
    session.register_component("data_loader", LOADER)
    return session


def connect(provider: Provider, url: str, service: str = "sts", **options: Any) -> Any:
    """A client of an attached boto3 session."""
    session: Any = attach(cast("Any", boto3).Session(botocore_session=a_session()), provider)
    return session.client(service, **{"region_name": REGION, "endpoint_url": url, "config": ONE_ATTEMPT, **options})


def assume(client: Any) -> Any:
    """A call whose signature the service checks."""
    return client.assume_role(RoleArn=ROLE, RoleSessionName="test")


def named(source: Callable[[], Any], name: str = "source") -> Provider:
    """A provider with a clock of its own."""
    return Provider(source, name=name, context=Context(environ={}))


def background() -> list[threading.Thread]:
    """The threads of ours."""
    return [thread for thread in threading.enumerate() if thread.name == "aiocreds"]


# Attaching


@pytest.mark.parametrize("make", [lambda: cast("Any", boto3).Session(), botocore.session.get_session])
def test_the_session_comes_back_and_nothing_is_fetched_before_a_request(
    make: Callable[[], Any], sts: Strict
) -> None:
    source = Source()
    session = make()
    assert attach(session, source.provider()) is session
    connect: Any = getattr(session, "client", None) or session.create_client
    client = connect("sts", region_name=REGION, endpoint_url=sts.url)
    assert source.calls == 0
    assume(client)
    assume(client)
    assert source.calls == 1


def test_requests_are_signed_as_the_service_expects(sts: Strict) -> None:
    held = sts.source()
    client = connect(Source(held).provider(), sts.url)
    answer = assume(client)  # key, token and signature are checked with botocore's signer
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/app/test"
    assert sts.signers == [held.access_key_id]


def test_clients_and_resources_of_moto_know_who_calls(moto: str) -> None:
    role = from_temporary_credentials(
        role_arn="arn:aws:iam::123456789012:role/reporting",
        role_session_name="nightly",
        source=Source(issue(None)).provider(),
        client=ClientConfig(region=REGION, endpoint_url=moto),
        context=Context(environ={}),
    )
    session: Any = attach(cast("Any", boto3).Session(region_name=REGION), role)
    bucket = session.resource("s3", endpoint_url=moto).Bucket("boto3-reports")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": REGION})
    bucket.put_object(Key="a.csv", Body=b"a,b\n")
    assert [entry.key for entry in bucket.objects.all()] == ["a.csv"]
    who = session.client("sts", endpoint_url=moto).get_caller_identity()
    assert who["Arn"] == "arn:aws:sts::123456789012:assumed-role/reporting/nightly"


def test_the_default_session_takes_it_too(sts: Strict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    held = sts.source()
    module = cast("Any", boto3)
    module.setup_default_session(botocore_session=attach(a_session(), Source(held).provider()))
    assume(module.client("sts", region_name=REGION, endpoint_url=sts.url))
    assert sts.signers == [held.access_key_id]


def test_a_session_that_would_go_on_with_its_own_credentials_is_refused() -> None:
    provider = Source().provider()
    explicit = cast("Any", boto3).Session("AKIAEXPLICIT00001", secret())
    with pytest.raises(ValueError, match=r"has credentials already.*attach to a new one"):
        attach(explicit, provider)
    attached = attach(a_session(), provider)
    with pytest.raises(ValueError, match="has credentials already"):
        attach(attached, Source().provider())


@pytest.mark.parametrize("wrong", [None, boto3, object(), AioSession()], ids=["None", "module", "object", "aio"])
def test_what_is_no_session_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"attach\(\) takes a boto3.Session or a botocore.session.Session, not"):
        attach(wrong, Source().provider())


def test_clients_with_keys_of_their_own_and_unsigned_ones_are_left_alone(sts: Strict) -> None:
    source = Source()
    provider = source.provider()
    held = asyncio.run(provider())
    own = sts.source()
    keys = {"aws_access_key_id": own.access_key_id, "aws_secret_access_key": own.secret_access_key}
    client = connect(provider, sts.url, **keys, aws_session_token=own.session_token)
    assume(client)
    sts.script("/", sts_error("ExpiredToken"))
    with pytest.raises(ClientError, match="ExpiredToken"):
        assume(client)
    unsigned = connect(provider, sts.url, config=Config(signature_version=UNSIGNED))
    sts.script("/", OK, sts_error("ExpiredToken"))
    unsigned.get_caller_identity()
    with pytest.raises(ClientError, match="ExpiredToken"):
        unsigned.get_caller_identity()
    assert sts.signers == [own.access_key_id, own.access_key_id, "", ""]
    assert asyncio.run(provider()) is held
    assert source.calls == 1


# Keeping fresh


def test_a_long_lived_client_signs_with_what_is_current(sts: Strict) -> None:
    with time_machine.travel(START, tick=True) as clock:
        client = connect(named(_async(sts.source)), sts.url)
        for _ in range(4):
            assume(client)
            assume(client)
            clock.shift(2 * 3600)  # past the expiry; the service would refuse them
    assert sts.signers == [f"ASIASTRICT{number:06}" for number in (1, 1, 2, 2, 3, 3, 4, 4)]


@pytest.mark.slow
def test_twenty_threads_keep_calling_while_credentials_rotate(sts: Strict) -> None:
    provider = named(_async(lambda: sts.source(4.0)))
    client = connect(provider, sts.url)
    calls = itertools.count(1)

    def caller(_: int) -> int:
        made = 0
        while len(sts.until) <= 3:
            assume(client)
            made = next(calls)
        return made

    with ThreadPoolExecutor(20) as pool:
        assert max(pool.map(caller, range(20))) >= 3 * 20
    assert set(sts.signers) >= set(itertools.islice(sts.until, 3))
    assert provider.status.failures == 0
    assert len(background()) == 1


def test_threads_that_need_a_first_load_make_one(sts: Strict) -> None:
    source = Source(usual=sts.source)
    slow = named(_slowly(source))
    client = connect(slow, sts.url)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(assume, [client] * 20))
    assert source.calls == 1


def test_a_refresh_ahead_of_expiry_runs_behind_the_callers(never_block: BlockBuster) -> None:
    """In the advisory window nobody waits for the source, whatever thread or loop asks."""
    # It takes a change of threads to start the refresh in the background
    never_block.functions["threading.Lock.acquire"].deactivate()
    first, second = issue(8.0), issue()
    gate = threading.Event()
    source = Source(first, second)
    provider = named(_gated(source, gate))
    credentials: Any = attach(a_session(), provider).get_credentials()
    gate.set()
    assert credentials.access_key == first.access_key_id
    gate.clear()
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=5), tick=True):
        assert credentials.access_key == first.access_key_id  # and the refresh waits at the gate
        _eventually(lambda: source.calls == 2)

        async def on_a_loop() -> str:
            return str(credentials.access_key)

        assert asyncio.run(on_a_loop()) == first.access_key_id
        gate.set()
        _eventually(lambda: credentials.access_key == second.access_key_id)
    assert source.calls == 2


def test_held_credentials_cost_no_change_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Source().provider()
    credentials: Any = attach(a_session(), provider).get_credentials()
    held = credentials.get_frozen_credentials()
    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", _not_to_be_called)
    assert credentials.get_frozen_credentials() == held

    async def on_a_loop() -> Any:
        before = asyncio.get_running_loop()
        frozen = credentials.get_frozen_credentials()
        assert asyncio.get_running_loop() is before
        return frozen

    assert asyncio.run(on_a_loop()) == held


def test_while_the_source_fails_what_is_held_costs_no_change_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(issue(8.0), usual=lambda: SourceUnavailable("down"))
    provider = source.provider()
    credentials: Any = attach(a_session(), provider).get_credentials()
    held = credentials.access_key
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=5), tick=False):
        assert credentials.access_key == held
        _eventually(lambda: provider.status.failures == 1)
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", _not_to_be_called)
        assert credentials.access_key == held


# Event loops


async def test_a_call_from_a_running_loop_gets_its_answer(moto: str, sts: Strict, never_block: BlockBuster) -> None:
    # It is a thread that runs a loop, and it blocks: that is what boto3 does
    never_block.functions["threading.Lock.acquire"].deactivate()
    source = Source(usual=sts.source)
    client = connect(named(_slowly(source)), sts.url)
    loop = asyncio.get_running_loop()
    assume(client)
    assert source.calls == 1
    assert asyncio.get_running_loop() is loop
    assert len(asyncio.all_tasks()) == 1  # nothing was left on this loop
    await asyncio.sleep(0)


@pytest.mark.slow
async def test_one_provider_serves_both_worlds(sts: Strict) -> None:
    source = Source(usual=sts.source)
    provider = source.provider()
    client = connect(provider, sts.url)
    held = await provider()
    await asyncio.to_thread(assume, client)
    assert sts.signers == [held.access_key_id]
    sts.script("/", sts_error("ExpiredToken"))
    with pytest.raises(ClientError, match="ExpiredToken"):
        await asyncio.to_thread(assume, client)
    await asyncio.to_thread(assume, client)  # fetched in the background ...
    assert (await provider()).access_key_id == sts.signers[-1] != held.access_key_id  # ... and held here
    assert (provider.status.successes, provider.status.failures, source.calls) == (2, 0, 2)
    async with provider:
        provider.invalidate()
        while provider.status.successes < 3:  # noqa: ASYNC110 - fetched here, by whoever enters it ...
            await asyncio.sleep(0.01)
        await asyncio.to_thread(assume, client)  # ... and held in the threads
    assert source.calls == 3


def test_a_source_that_calls_boto3_on_the_loop_is_told_to_use_a_thread() -> None:
    other: Any = attach(a_session(), Source().provider()).get_credentials()

    async def source() -> Credentials:
        return Credentials(other.access_key, secret())

    credentials: Any = attach(a_session(), named(source, "from_secrets")).get_credentials()
    with pytest.raises(InvalidConfiguration, match=r"source: .*boto3, on the loop.*asyncio\.to_thread"):
        _ = credentials.access_key


def test_a_source_that_draws_from_itself_in_a_thread_is_told_so() -> None:
    sessions: list[Any] = []

    async def source() -> Credentials:
        credentials = sessions[0].get_credentials()
        return Credentials(await asyncio.to_thread(lambda: credentials.access_key), secret())

    sessions.append(attach(a_session(), named(source, "from_secrets")))
    with pytest.raises(InvalidConfiguration, match="from_secrets draws its credentials from itself"):
        _ = sessions[0].get_credentials().access_key


def test_a_source_that_calls_boto3_in_a_thread_works(sts: Strict) -> None:
    base = connect(Source(usual=sts.source).provider(), sts.url)

    async def source() -> Credentials:
        answer = (await asyncio.to_thread(assume, base))["Credentials"]
        return Credentials(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])

    assume(connect(named(source), sts.url))
    assert sts.signers[0].startswith("ASIASTRICT")
    assert sts.signers[1].startswith("ASIALOOPBACK")


# Rejections


def test_a_rejection_has_others_fetched(sts: Strict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._core.refresh.QUICK_REJECTION", 0.0)  # as if there was a minute between them
    codes = ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"]
    source = Source(usual=sts.source)
    client = connect(source.provider(), sts.url)
    for code in [*codes, "AccessDenied"]:
        sts.script("/", sts_error(code))
        with pytest.raises(ClientError, match=f"\\({code}\\)"):
            assume(client)
    assume(client)
    assert [int(key[-6:]) for key in sts.signers] == [1, 2, 3, 4, 5, 5]
    assert source.calls == 5


def test_a_late_answer_for_old_credentials_invalidates_nothing(sts: Strict) -> None:
    source = Source(usual=sts.source)
    provider = source.provider()
    client = connect(provider, sts.url)
    sts.script("/", Answer(403, sts_error("ExpiredToken").body, {"Content-Type": "text/xml"}, delay=0.3))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(assume, client)
        _eventually(lambda: bool(sts.requests))
        provider.invalidate()
        assume(client)
        with pytest.raises(ClientError, match="ExpiredToken"):
            slow.result()
    assume(client)
    assert [int(key[-6:]) for key in sts.signers] == [1, 2, 2]
    assert source.calls == 2


# Failures


def test_an_error_of_the_provider_reaches_the_caller_as_it_is(sts: Strict) -> None:
    source = Source(InvalidConfiguration("the profile is wrong, correct it"), usual=sts.source)
    client = connect(source.provider(), sts.url)
    with pytest.raises(InvalidConfiguration, match="source: the profile is wrong, correct it"):
        assume(client)
    assert not sts.requests
    assume(client)  # the client is as good as before


def test_a_caller_who_is_interrupted_takes_the_first_load_with_it() -> None:
    """As Ctrl-C does, which interrupts the wait in the main thread."""
    entered, ended = threading.Event(), threading.Event()

    async def source() -> Credentials:
        entered.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        raise AssertionError

    credentials: Any = attach(a_session(), named(source)).get_credentials()

    def interrupt() -> None:
        entered.wait(10)
        time.sleep(0.3)  # until it does wait
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        _ = credentials.access_key
    thread.join()
    assert ended.wait(10)


def test_mfa_asks_for_a_caller_who_waits_and_never_behind_one(sts: Strict) -> None:
    asked: list[str] = []

    async def mfa_code(serial_number: str) -> str:
        asked.append(threading.current_thread().name)
        return "123456"

    sts.lifetime = timedelta(hours=2)
    role = from_temporary_credentials(
        role_arn=ROLE,
        source=Source(usual=lambda: sts.source(24 * 3600.0)).provider(),
        serial_number="arn:aws:iam::123456789012:mfa/me",
        mfa_code=mfa_code,
        client=ClientConfig(region=REGION, endpoint_url=sts.url),
        context=Context(environ={}),
    )
    with time_machine.travel(START, tick=True) as clock:
        credentials: Any = attach(a_session(), role).get_credentials()
        first = credentials.access_key
        assert asked == ["aiocreds"]  # on the loop in the background: the prompt may take its time
        clock.shift(2 * 3600 - 120)  # the advisory window
        assert credentials.access_key == first
        _eventually(lambda: role.status.seconds_left is not None and role.status.failures == 0)
        time.sleep(0.1)
        assert len(asked) == 1
        clock.shift(90)  # the mandatory one: this caller waits
        assert credentials.access_key != first
        assert len(asked) == 2


# What else asks for credentials


def test_who_asks_the_session_gets_what_is_current() -> None:
    first, second = issue(), issue()
    provider = Source(first, second).provider()
    session: Any = attach(cast("Any", boto3).Session(), provider)
    credentials = session.get_credentials()
    frozen = credentials.get_frozen_credentials()
    assert tuple(frozen) == (first.access_key_id, first.secret_access_key, first.session_token, first.account_id)
    request = AWSRequest("GET", "https://opensearch.example/", {})
    SigV4Auth(credentials, "es", REGION).add_auth(request)  # what many a library does by hand
    assert first.access_key_id in request.headers["Authorization"]
    provider.invalidate()
    assert credentials.access_key == second.access_key_id
    assert credentials.secret_key == second.secret_access_key
    assert credentials.token == second.session_token
    assert credentials.account_id is None
    for name, value in [("access_key", second.access_key_id), ("account_id", None)]:
        assert credentials.get_deferred_property(name)() == value


def test_presigned_urls_are_signed_with_what_is_held(moto: str) -> None:
    provider = Source().provider()
    s3 = connect(provider, moto, "s3", config=Config(signature_version="s3v4"))
    url = s3.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k"})
    key = s3.generate_presigned_post("b", "k")["fields"]["x-amz-credential"].partition("/")[0]
    assert f"X-Amz-Credential={key}%2F" in url
    assert key == asyncio.run(provider()).access_key_id


@pytest.mark.skipif("account_id_endpoint_mode" not in Config.OPTION_DEFAULTS, reason="this botocore has none")
def test_the_account_of_the_credentials_makes_the_endpoint() -> None:
    credentials = Credentials("ASIAACCOUNT000001", secret(), secret("token"), account_id="123456789012")
    dynamodb: Any = attach(a_session(), Source(credentials).provider()).create_client(
        "dynamodb", region_name="us-east-1", config=Config(account_id_endpoint_mode="required")
    )
    assert dynamodb.generate_presigned_url("list_tables").startswith(
        "https://123456789012.ddb.us-east-1.amazonaws.com/"
    )


def test_nothing_that_is_handed_over_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    session: Any = attach(a_session(), Source().provider())
    credentials = session.get_credentials()
    with caplog.at_level(logging.DEBUG, "aiocreds"):
        frozen = credentials.get_frozen_credentials()
    shown = [repr(session), repr(credentials), repr(frozen), str(frozen), repr(credentials.__dict__), caplog.text]
    assert not [text for text in shown if MARK in text or frozen.access_key in text]


def test_without_botocore_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.delitem(sys.modules, "aiocreds.integrations.boto3")
    with pytest.raises(ModuleNotFoundError, match=r"boto3 is not installed: pip install 'aiocreds\[boto3\]'"):
        import_module("aiocreds.integrations.boto3")


@pytest.mark.slow
async def test_the_example_keeps_its_promises(home: Path) -> None:
    ended = await run(EXAMPLES / "boto3_too.py", "5", home=home)
    assert (ended.status, ended.err) == (0, "")
    [threads, tasks] = re.findall(r"(\d+) calls", ended.out)
    assert min(int(threads), int(tasks)) > 4
    assert "arn:aws:sts::123456789012:assumed-role/reporting\n" in ended.out
    [sets] = re.findall(r"(\d+) sets of credentials, 0 failures", ended.out)
    assert int(sets) >= 3


# Processes: how they end, and how they fork

FRAME = """
    import asyncio, atexit, os, signal, sys, threading, time
    from datetime import UTC, datetime, timedelta
    import botocore.session
    from aiocreds import Context, Credentials, CredentialsError, Provider
    from aiocreds.integrations.boto3 import attach

    calls = 0

    async def source():
        global calls
        calls += 1
        await asyncio.sleep({takes})
        expiration = datetime.now(UTC) + timedelta(seconds={lifetime})
        return Credentials(f"AKIA{{os.getpid()}}-{{calls}}", "x", expiration=expiration)

    provider = Provider(source, name="slow", context=Context(environ={{}}))
    credentials = attach(botocore.session.get_session(), provider).get_credentials()
"""


async def program(code: str, *, before: str = "", takes: float | str = 0.01, lifetime: float = 3600) -> list[str]:
    """Return the output of a program, which must end well: status 0, in time, nothing to complain about."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-u",
            "-X",
            "dev",
            "-W",
            "error",
            "-W",
            "ignore:datetime.datetime.utc:DeprecationWarning",
        ),
        *("-c", dedent(before) + dedent(FRAME).format(takes=takes, lifetime=lifetime) + dedent(code)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # asyncio's own word, in debug mode, about a step that took long on a busy machine
    complaints = [line for line in err.decode().splitlines() if not re.match("Executing <.* took ", line)]
    assert (process.returncode, complaints) == (0, [])
    return out.decode().split()


async def test_a_program_that_used_it_ends_quietly() -> None:
    [key] = await program("print(credentials.access_key)")
    assert key.endswith("-1")


async def test_a_program_ends_in_the_middle_of_a_refresh() -> None:
    code = """
        print(credentials.access_key)
        time.sleep(1.3)  # the advisory window; by now the source takes a minute
        print(credentials.access_key)
        while calls < 2:
            time.sleep(0.01)
    """
    first, second = await program(code, takes="60 if calls > 1 else 0.01", lifetime=2)
    assert first == second


async def test_a_thread_that_waits_while_the_main_one_ends_gets_its_answer() -> None:
    code = "threading.Thread(target=lambda: print(credentials.access_key)).start()"
    [key] = await program(code, takes=0.5)
    assert key.endswith("-1")


async def test_a_daemon_thread_that_waits_holds_up_nobody() -> None:
    code = """
        threading.Thread(target=lambda: print(credentials.access_key), daemon=True).start()
        while not calls:
            time.sleep(0.01)
        print("over")
    """
    [over] = await program(code, takes=60)
    assert over == "over"


async def test_what_a_program_does_at_its_exit_finds_credentials() -> None:
    code = """
        @atexit.register
        def flush():
            provider.invalidate()
            print(credentials.access_key)

        print(credentials.access_key)
    """
    first, second = await program(code)
    assert (first[-2:], second[-2:]) == ("-1", "-2")


async def test_even_what_comes_after_the_loop_has_ended_gets_credentials() -> None:
    code = """
        import atexit
        from aiocreds._core import refresh

        refresh.QUICK_REJECTION = 0.0  # as if there was a minute between the rejections

        @atexit.register  # registered before ours, and so called after it
        def last():
            print(credentials.access_key)
            provider.invalidate()
            print(credentials.access_key, sum(thread.name == "aiocreds" for thread in threading.enumerate()))

            async def on_a_loop():
                provider.invalidate()
                try:
                    print(credentials.access_key)
                except CredentialsError as error:
                    print(type(error).__name__)

            asyncio.run(on_a_loop())
    """
    first, held, own, threads, refused = await program("print(credentials.access_key)", before=code)
    assert first == held
    assert (first[-2:], own[-2:], threads, refused) == ("-1", "-2", "0", "SourceUnavailable")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_a_forked_child_gets_a_loop_of_its_own() -> None:
    code = """
        import warnings
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork")  # that is what this is about
        print(credentials.access_key)
        for _ in range(3):
            if not os.fork():
                print(credentials.access_key)  # what the parent held
                provider.invalidate()
                print(credentials.access_key)
                print(sum(thread.name == "aiocreds" for thread in threading.enumerate()))
                sys.exit()
            assert os.wait()[1] == 0
        provider.invalidate()
        print(credentials.access_key)
    """
    parent, *children, again = await program(code)
    pid = parent.partition("-")[0]
    assert again == f"{pid}-2"
    assert len(children) == 9
    for held, own, threads in zip(*[iter(children)] * 3, strict=True):
        assert held == parent
        assert own.endswith("-2")
        assert own.partition("-")[0] != pid
        assert threads == "1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
async def test_a_child_that_is_forked_in_the_middle_of_a_refresh_makes_its_own() -> None:
    code = """
        import warnings
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork")
        waiting = threading.Thread(target=lambda: print(credentials.access_key))
        waiting.start()
        while not calls:
            time.sleep(0.01)
        if not os.fork():
            print(credentials.access_key)
            sys.exit()
        assert os.wait()[1] == 0
        waiting.join()
    """
    keys = await program(code, takes=0.5)
    assert len(keys) == len({key.partition("-")[0] for key in keys}) == 2


def _async(make: Callable[[], Credentials]) -> Callable[[], Any]:
    async def source() -> Credentials:
        return make()

    return source


def _slowly(source: Source) -> Callable[[], Any]:
    async def slow() -> Credentials:
        await asyncio.sleep(0.1)
        return await source()

    return slow


def _gated(source: Source, gate: threading.Event) -> Callable[[], Any]:
    async def gated() -> Credentials:
        credentials = await source()
        while not gate.is_set():  # noqa: ASYNC110 - it is set in another thread
            await asyncio.sleep(0.01)
        return credentials

    return gated


def _eventually(holds: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + 10
    while not holds():
        assert time.perf_counter() < deadline
        time.sleep(0.01)


def _not_to_be_called(*_: object) -> Any:
    raise AssertionError("a thread was changed")
