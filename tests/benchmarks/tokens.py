"""Tokens a second of CPU time, against AWS's own packages; the loop while connections log in with one each."""

from __future__ import annotations

import asyncio
import base64
import gc
import random
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import botocore.credentials
import botocore.session
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from aiocreds import Context, Credentials, Provider
from aiocreds.testing import TestClock
from aiocreds.tokens import bedrock_token, dsql_token, eks_token, elasticache_token, msk_token, rds_token
from tests.benchmarks.gaps import longest_gap
from tests.benchmarks.report import Row, alternate, alternate_async, at_least, at_most, for_scale, median, ratios

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from aiocreds.tokens import TokenProvider

TOKENS, ROUNDS = 40, 60  # of each kind a round: short ones, so that two neighbours see the same machine
CONNECTIONS, POOL, STORMS = 1000, 50, 15
REGION = "eu-central-1"
DATABASE = "books.abc123.eu-central-1.rds.amazonaws.com"
CLUSTER = "abc.dsql.eu-central-1.on.aws"
KEY, SECRET = "ASIABENCHBENCHBENCH1", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION_TOKEN = base64.b64encode(random.Random(1).randbytes(525)).decode()  # 700 characters, of the kind STS gives


def rows() -> list[Row]:
    """Run this topic."""
    provider = Provider(_credentials, name="bench", context=Context(environ={}))
    minting = [_minting(name, token, peer, theirs) for name, token, peer, theirs in _kinds(provider)]
    with _server() as port:
        return [*minting, asyncio.run(_storm(provider, port)), asyncio.run(_pool(port))]


async def _credentials() -> Credentials:
    return Credentials(KEY, SECRET, SESSION_TOKEN, expiration=datetime.now(UTC) + timedelta(hours=13))


def _kinds(provider: Provider) -> list[tuple[str, TokenProvider, str, Callable[[], object]]]:
    """Return for each kind its name, ours, the name of the peer, and the peer."""
    held = _Held()
    signer: Any = import_module("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")  # untyped, as AWS CLI is
    rds, dsql = _client("rds"), _client("dsql")
    eks = _token_generator()
    cache = "https://sessions/?Action=connect&User=app"
    bedrock = "https://bedrock.amazonaws.com/?Action=CallWithBearerToken"
    return [
        (
            "RDS",
            rds_token(provider, DATABASE, 5432, "app"),
            "botocore",
            lambda: rds.generate_db_auth_token(DATABASE, 5432, "app"),
        ),
        (
            "DSQL",
            dsql_token(provider, CLUSTER),
            "botocore",
            lambda: dsql.generate_db_connect_auth_token(CLUSTER, REGION),
        ),
        (
            "ElastiCache",
            elasticache_token(provider, "sessions", "app", REGION),
            "botocore's signer",
            lambda: _presigned(held, "elasticache", cache, expires=900),
        ),
        (
            "MSK",
            msk_token(provider, REGION),
            "the MSK signer",
            lambda: signer.generate_auth_token_from_credentials_provider(REGION, held),
        ),
        ("EKS", eks_token(provider, "books", REGION), "AWS CLI's generator", lambda: eks.get_token("books")),
        (
            "Bedrock",
            bedrock_token(provider, REGION),
            "botocore's signer",
            lambda: base64.b64encode(_presigned(held, "bedrock", bedrock, expires=43200, method="POST").encode()),
        ),
    ]


def _minting(name: str, token: TokenProvider, peer: str, theirs: Callable[[], object]) -> Row:
    loop = asyncio.new_event_loop()

    async def make() -> None:
        for _ in range(TOKENS):
            await token()

    def ours() -> float:
        """Tokens a second of CPU time of this process."""
        started = process_time()
        loop.run_until_complete(make())
        return TOKENS / (process_time() - started)

    def peers() -> float:
        started = process_time()
        for _ in range(TOKENS):
            theirs()
        return TOKENS / (process_time() - started)

    gc.collect()
    gc.freeze()  # the modules that the peers have loaded are nobody's to walk during a round
    try:
        measured = alternate({"ours": ours, "peer": peers}, ROUNDS)
    finally:
        gc.unfreeze()
        loop.close()
    show = {who: f"{median(measured, who):,.0f} /s CPU" for who in measured}
    return at_least(
        5, f"tokens for {name}", show["ours"], f"{peer} {show['peer']}", ratios(measured, "ours", "peer")
    )


async def _storm(provider: Provider, port: int) -> Row:
    """The gaps in a loop that opens all connections at once, each of which logs in with a token of its own."""
    token = rds_token(provider, DATABASE, 5432, "app")
    rds = _client("rds")

    async def in_a_thread() -> str:
        made: str = await asyncio.to_thread(rds.generate_db_auth_token, DATABASE, 5432, "app")
        return made

    def storm(password: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[float]]:
        async def run() -> float:
            gc.collect()
            return await longest_gap(_log_in(CONNECTIONS, port, password))

        return run

    measured = await alternate_async(
        {"ours": storm(token), "peer": storm(in_a_thread), "fixed": storm(_fixed)}, STORMS
    )
    show = {who: f"{median(measured, who) * 1e3:.0f} ms" for who in measured}
    fixed_too = f"with a fixed password {show['fixed']}"
    return at_most(
        1,
        f"longest gap in the loop: {CONNECTIONS:,} connections log in at once",
        show["ours"],
        f"botocore in threads {show['peer']}",
        ratios(measured, "ours", "peer"),
        for_scale("with tokens, to a fixed password", show["ours"], fixed_too, ratios(measured, "ours", "fixed")),
    )


async def _pool(port: int) -> Row:
    """The gaps in a loop while a pool grows and shrinks for five minutes of moved time, and its keys rotate."""
    context = Context(environ={})
    context.clock = clock = TestClock()
    window = 0.0

    async def minutes() -> Credentials:
        return Credentials(KEY, SECRET, SESSION_TOKEN, expiration=clock.date() + timedelta(minutes=1))

    provider = Provider(minutes, name="bench", context=context)
    token = rds_token(provider, DATABASE, 5432, "app")

    async def five_minutes(password: Callable[[], Awaitable[str]]) -> None:
        nonlocal window
        started = perf_counter()
        for number in range(20):
            await _log_in(POOL if number % 2 else POOL // 10, port, password)
            clock.move(15)
        window = perf_counter() - started

    async def ours() -> float:
        gc.collect()
        return await longest_gap(five_minutes(token))

    async def idle() -> float:
        gc.collect()
        return await longest_gap(asyncio.sleep(window))

    async def fixed() -> float:
        gc.collect()
        return await longest_gap(five_minutes(_fixed))

    async with provider:
        measured = await alternate_async({"ours": ours, "idle": idle, "fixed": fixed}, STORMS)
        if (rotated := provider.status.successes) < STORMS * 5:
            raise AssertionError(f"the keys were replaced only {rotated} times")
    show = {who: f"{median(measured, who) * 1e3:.1f} ms" for who in measured}
    idle_too = f"an idle loop {show['idle']}"
    return at_most(
        5,
        f"longest gap in the loop: a pool of {POOL} grows and shrinks while keys rotate",
        show["ours"],
        idle_too,
        ratios(measured, "ours", "idle"),
        for_scale("with a fixed password", show["fixed"], idle_too, ratios(measured, "fixed", "idle")),
    )


async def _log_in(connections: int, port: int, password: Callable[[], Awaitable[str]]) -> None:
    """Open connections at once, log in, and close them."""

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readexactly(1)
        writer.write((await password() + "\n").encode())
        await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(one() for _ in range(connections)))


async def _fixed() -> str:
    return SESSION_TOKEN


class _Held(botocore.credentials.CredentialProvider):
    """Credentials as the MSK signer takes them."""

    def load(self) -> botocore.credentials.Credentials:
        return botocore.credentials.Credentials(KEY, SECRET, SESSION_TOKEN)


def _client(service: str) -> Any:
    session = botocore.session.Session()
    session.set_credentials(KEY, SECRET, SESSION_TOKEN)
    return session.create_client(service, region_name=REGION)


def _token_generator() -> Any:
    """Return what ``aws eks get-token`` makes its tokens with."""
    cli: Any = import_module("awscli.clidriver")
    eks: Any = import_module("awscli.customizations.eks.get_token")
    session = cli.create_clidriver().session
    session.set_credentials(KEY, SECRET, SESSION_TOKEN)
    return eks.TokenGenerator(eks.STSClientFactory(session).get_sts_client(REGION))


def _presigned(held: _Held, service: str, url: str, *, expires: int, method: str = "GET") -> str:
    request = AWSRequest(method=method, url=url)
    SigV4QueryAuth(held.load(), service, REGION, expires=expires).add_auth(request)
    return str(request.url)


@contextmanager
def _server() -> Generator[int]:
    """The port of a server in another process, which greets, reads a line and answers."""
    command = [sys.executable, "-m", "tests.benchmarks.tokens"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise AssertionError("it was asked for a pipe")
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _serve() -> None:
    async def login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"?")
        await reader.readline()
        writer.write(b"!")
        writer.close()

    server = await asyncio.start_server(login, "127.0.0.1", 0, backlog=CONNECTIONS)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
