"""Tokens for Kubernetes and Kafka, as the command and the clients' hooks give them, checked with botocore."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from asyncio import StreamReader, StreamWriter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from aiocreds import InvalidConfiguration, credential_provider
from aiocreds.integrations.kafka import aiokafka_token_provider, oauth_cb
from aiocreds.integrations.redis import coredis_credentials, redis_credentials, valkey_credentials
from aiocreds.testing import empty_context
from aiocreds.tokens import msk_token, rds_token
from tests.helpers.examples import EXAMPLES, run
from tests.helpers.kafka import Kafka, unpacked
from tests.helpers.rotation import LARGE, PACES, Rotation
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import secret
from tests.helpers.tls import TLS
from tests.helpers.token_check import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiocreds import Credentials
    from aiocreds.tokens import TokenProvider

BROKERS = "b-1.x.abc.c2.kafka.eu-north-1.amazonaws.com:9098,b-2.x.abc.c2.kafka.eu-north-1.amazonaws.com:9098"


async def test_aiokafka_gets_a_token_for_each_connection() -> None:
    abc = pytest.importorskip("aiokafka.abc")
    authority = Authority(time.time)
    provider = aiokafka_token_provider(msk_token(authority.provider(), broker=BROKERS))
    assert isinstance(provider, abc.AbstractTokenProvider)
    url = unpacked(await provider.token())
    assert url.startswith("https://kafka.eu-north-1.amazonaws.com/?Action=kafka-cluster%3AConnect&")
    assert authority.fault(url, "kafka-cluster") is None
    assert provider.extensions() == {}


@pytest.mark.parametrize("right", [True, False])
async def test_aiokafka_logs_in(right: bool) -> None:
    conn = pytest.importorskip("aiokafka.conn")
    authority = Authority(time.time)
    issuer = authority if right else Authority(time.time)  # whose keys the broker does not know

    async def connect(port: int) -> None:
        connection = await conn.create_conn(
            "127.0.0.1",
            port,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="OAUTHBEARER",
            sasl_oauth_token_provider=aiokafka_token_provider(msk_token(issuer.provider(), broker=BROKERS)),
        )
        assert connection.connected()
        connection.close()

    async with Kafka(authority) as kafka:
        if right:
            await connect(kafka.port)
        else:
            with pytest.raises(pytest.importorskip("aiokafka.errors").KafkaError):
                await connect(kafka.port)
    assert kafka.refused == ([] if right else ["unknown keys"])


async def test_confluent_kafka_gets_a_token_and_its_end_in_seconds_from_any_thread() -> None:
    authority = Authority(time.time)
    before = time.time()
    token, end = await asyncio.to_thread(oauth_cb(msk_token(authority.provider(), broker=BROKERS)), "")
    assert authority.fault(unpacked(token), "kafka-cluster") is None
    assert before + 899 <= end <= time.time() + 900


def confluent(port: int, token: TokenProvider, **more: object) -> dict[str, object]:
    """Return the configuration of a client that logs in as at MSK, but for TLS."""
    return {
        "bootstrap.servers": f"127.0.0.1:{port}",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanisms": "OAUTHBEARER",
        "oauth_cb": oauth_cb(token),
        "log_level": 0,
        **more,
    }


@pytest.mark.parametrize("right", [True, False])
async def test_confluent_kafka_logs_in(right: bool) -> None:
    aio = pytest.importorskip("confluent_kafka.aio")
    authority = Authority(time.time)
    issuer = authority if right else Authority(time.time)  # whose keys the broker does not know
    token = msk_token(issuer.provider(), broker=BROKERS)
    async with Kafka(authority) as kafka:
        producer = aio.AIOProducer(confluent(kafka.port, token))
        consumer = aio.AIOConsumer(confluent(kafka.port, token, **{"group.id": "readers"}))
        if right:
            assert set((await producer.list_topics(timeout=30)).brokers) == {1}
            assert set((await consumer.list_topics(timeout=30)).brokers) == {1}
        else:
            await until(lambda: len(kafka.refused) >= 2)
        await producer.close()
        await consumer.close()
    assert set(kafka.refused) == (set() if right else {"unknown keys"})


async def test_confluent_kafka_asks_again_before_a_token_ends_and_blocks_no_loop() -> None:
    """librdkafka asks when four fifths of a lifetime are over: so it has read the end as seconds."""
    aio = pytest.importorskip("confluent_kafka.aio")
    authority = Authority(time.time, lifetime=3)
    asked, threads = 0, set[int]()
    go_on = threading.Event()

    async def issue() -> Credentials:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.to_thread(go_on.wait, 60)  # for this loop, which therefore must be free
        threads.add(threading.get_ident())
        return await authority.issue()

    token = msk_token(credential_provider(issue)(), broker=BROKERS)
    async with Kafka(authority) as kafka:
        producer = aio.AIOProducer(confluent(kafka.port, token))
        started = time.monotonic()
        await until(lambda: asked > 1)
        took = time.monotonic() - started
        go_on.set()
        await until(lambda: authority.issued > 1)
        assert set((await producer.list_topics(timeout=30)).brokers) == {1}
        await producer.close()
    assert took < 30
    assert threading.get_ident() not in threads
    assert kafka.refused == []


@pytest.mark.parametrize("pace", PACES)
async def test_connections_of_aiokafka_come_and_go_while_keys_rotate(pace: str) -> None:
    """A client has one for each broker."""
    module = pytest.importorskip("aiokafka.client")
    authority = Authority(time.time)
    rotation = Rotation(authority, pace)
    token = msk_token(rotation.provider, broker=BROKERS)
    async with rotation.provider, Kafka(authority, brokers=LARGE) as kafka:
        client = module.AIOKafkaClient(
            bootstrap_servers=f"127.0.0.1:{kafka.port}",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="OAUTHBEARER",
            sasl_oauth_token_provider=aiokafka_token_provider(token),
        )
        await client.bootstrap()
        for size in rotation.sizes():
            assert all(await asyncio.gather(*(client.ready(broker) for broker in range(1, size + 1))))
            for connection in client._conns.values():
                connection.close()  # as when it has been idle; after one that breaks, a client opens others at once
            await until(lambda: not kafka.open)
        await client.close()
    rotation.check(kafka.logins, kafka.refused)


@pytest.mark.slow
@pytest.mark.parametrize("pace", PACES)
async def test_clients_of_confluent_kafka_come_and_go_while_keys_rotate(pace: str) -> None:
    """Each asks for a token when it is made. Later it does so by librdkafka's own clock, which nobody moves."""
    package = pytest.importorskip("confluent_kafka")
    authority = Authority(time.time)
    rotation = Rotation(authority, pace)
    token = msk_token(rotation.provider, broker=BROKERS)

    async with rotation.provider, Kafka(authority) as kafka:

        def log_in() -> set[int]:
            return set(package.Producer(confluent(kafka.port, token)).list_topics(timeout=30).brokers)

        with ThreadPoolExecutor(LARGE) as threads:
            loop = asyncio.get_running_loop()
            for size in rotation.sizes():
                found = await asyncio.gather(*(loop.run_in_executor(threads, log_in) for _ in range(size)))
                assert found == [{1}] * size
    rotation.check(kafka.logins, kafka.refused)


async def test_oauth_cb_says_why_there_is_no_token(caplog: pytest.LogCaptureFixture) -> None:
    """confluent-kafka drops what it raises, and reports a time-out instead."""
    callback = oauth_cb(msk_token(Authority(time.time).provider(), context=empty_context()))
    with pytest.raises(InvalidConfiguration, match="the region is not known"):
        await asyncio.to_thread(callback, "")
    [record] = [it for it in caplog.records if it.name == "aiocreds.kafka"]
    assert "the region is not known: pass region=" in record.getMessage()


@pytest.mark.parametrize(
    "take", [oauth_cb, aiokafka_token_provider, redis_credentials, valkey_credentials, coredis_credentials]
)
def test_a_provider_of_credentials_makes_no_tokens(take: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=f"{take.__name__}.. takes what makes tokens, .* not Provider"):
        take(Authority(time.time).provider())
    with pytest.raises(TypeError, match=rf"{take.__name__}.. takes what \w+_token .*returns, not rds_token"):
        take(rds_token(Authority(time.time).provider(), "db.internal", 5432, "app"))


async def test_the_command_without_a_region(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(tmp_path)}
    words = [sys.executable, "-m", "aiocreds", "eks-token", "--cluster", "books"]
    done = await asyncio.to_thread(
        subprocess.run, words, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "the region of the cluster is not known: pass --region" in done.stderr


@pytest.mark.shows_secrets("stdout", because="printing a token is what the command is for")
@pytest.mark.parametrize(
    ("option", "info", "version", "warned"),
    [
        ("--cluster", None, "v1beta1", False),
        ("--cluster-name", '{"apiVersion": "client.authentication.k8s.io/v1"}', "v1", False),
        ("--cluster", '{"apiVersion": "client.authentication.k8s.io/v9"}', "v1beta1", True),
        ("--cluster", "{", "v1beta1", True),
        pytest.param("--cluster", "[" * 20_000, "v1beta1", True, id="deep"),
    ],
)
async def test_the_command(option: str, info: str | None, version: str, warned: bool, tmp_path: Path) -> None:
    authority = Authority(time.time)
    keys = await authority.issue()
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": str(keys.session_token),
    } | ({"KUBERNETES_EXEC_INFO": info} if info else {})
    words = [sys.executable, "-m", "aiocreds", "eks-token", option, "books", "--region", "eu-central-1"]
    done = await asyncio.to_thread(
        subprocess.run, words, env=environment, capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert said["kind"] == "ExecCredential"
    assert said["apiVersion"] == f"client.authentication.k8s.io/{version}"
    url = unpacked(said["status"]["token"].removeprefix("k8s-aws-v1."))
    assert authority.fault(url, "sts", headers={"x-k8s-aws-id": "books"}) is None
    left = datetime.fromisoformat(said["status"]["expirationTimestamp"]).timestamp() - time.time()
    assert 800 < left <= 840
    assert ("KUBERNETES_EXEC_INFO names no apiVersion" in done.stderr) is warned


@pytest.mark.shows_secrets("stdout", because="printing a token is what the command is for")
async def test_the_command_assumes_a_role(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def sts(incoming: StreamReader, outgoing: StreamWriter) -> None:
        head = await incoming.readuntil(b"\r\n\r\n")
        [length] = re.findall(rb"(?i)content-length: (\d+)", head)
        asked.append(await incoming.readexactly(int(length)))
        keys = await authority.issue()
        body = (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>{keys.access_key_id}</AccessKeyId><SecretAccessKey>{keys.secret_access_key}</SecretAccessKey>"
            f"<SessionToken>{keys.session_token}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ).encode()
        outgoing.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        outgoing.close()

    authority = Authority(time.time)
    server = await asyncio.start_server(sts, "127.0.0.1", 0)
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": secret("x"),
        "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
    }
    words = [sys.executable, "-m", "aiocreds", "eks-token", "--cluster", "books", "--region", "eu-central-1"]
    words += ["--role-arn", "arn:aws:iam::123456789012:role/x"]
    async with server:
        done = await asyncio.to_thread(
            subprocess.run, words, env=environment, capture_output=True, text=True, check=True
        )
    [request] = asked
    assert b"RoleSessionName=EKSGetTokenAuth" in request
    url = unpacked(json.loads(done.stdout)["status"]["token"].removeprefix("k8s-aws-v1."))
    assert authority.fault(url, "sts", headers={"x-k8s-aws-id": "books"}) is None


async def test_a_role_that_is_blank_means_no_other_identity(tmp_path: Path) -> None:
    """As from a variable of a script that is not set."""
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": secret("x"),
    }
    words = [sys.executable, "-m", "aiocreds", "eks-token", "--cluster", "books", "--region", "eu-central-1"]
    done = await asyncio.to_thread(
        subprocess.run, [*words, "--role-arn", ""], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--role-arn is blank: give the ARN of a role" in done.stderr


@pytest.mark.slow
async def test_the_example_for_kubernetes(home: Path) -> None:
    """A token for each request, which the API server checks."""
    pytest.importorskip("kubernetes_asyncio")
    authority = Authority(time.time)
    keys = await authority.issue()
    faults: list[str | None] = []

    async def pods(request: web.Request) -> web.Response:
        url = unpacked(request.headers["Authorization"].removeprefix("Bearer k8s-aws-v1."))
        faults.append(authority.fault(url, "sts", headers={"x-k8s-aws-id": "books"}))
        return web.json_response({"items": [{"metadata": {"name": "shelf-1"}}]})

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/default/pods", pods)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    tls = TLS(home)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.server).start()
    environ = {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": str(keys.session_token),
    }
    endpoint = "https://{}:{}".format(*runner.addresses[0][:2])
    try:
        ended = await run(EXAMPLES / "kubernetes_eks.py", "books", endpoint, tls.ca, home=home, **environ)
    finally:
        await runner.cleanup()
    assert ended == (0, "['shelf-1']\n", "")
    assert faults == [None]
