"""`Http` against servers that misbehave on purpose."""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import gzip
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import traceback
from collections import Counter
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aiocreds._http import MAX_BODY, Http, NoAnswer, Response
from aiocreds.errors import InvalidConfiguration, ServiceRefused, SourceUnavailable, afresh
from tests.helpers.command import PATIENCE
from tests.helpers.http_server import Script, Server
from tests.helpers.idle_time import IdleTime
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import is_ours
from tests.helpers.tls import TLS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from pathlib import Path

SECRET = "hunter2-the-secret"


def answer(status: int = 200, body: bytes = b"ok", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def never(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def half(then: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + SECRET.encode())
        await writer.drain()
        await asyncio.sleep(0.02)
        await then(writer)

    return script


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(640):
        writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        await writer.drain()


async def ask(http: Http, url: str, method: str = "GET", **options: Any) -> Response:
    options = {"provider": "test", "timeout": 5.0, **options}
    return await http.request(method, url, **options)


def clean() -> bool:
    """Return whether this task is the only one besides the servers' own."""
    return asyncio.all_tasks() - set(Server.tasks) == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def _closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._http.session.LINGER", 0.0)  # see test_lingering.py


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> None:
    """Keep what earlier tests have left out of the many collections here."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_left() -> Generator[None]:
    yield
    gc.collect()  # so that a leak warns in the test that leaks


def test_the_answer() -> None:
    async def main() -> tuple[Response, Server]:
        async with Server(answer(201, b'{"a": 1}', X_Thing="yes")).running() as server:
            return await ask(Http({}), server.url + "/p?q=1", "POST", headers={"A": "b"}, body=b"hi"), server

    got, server = asyncio.run(main(), debug=True)
    assert (got.status, got.headers["x-thing"], got.body) == (201, "yes", b'{"a": 1}')
    assert got.host == f"127.0.0.1:{server.port}"
    [(start, headers, body)] = server.requests
    assert (start, headers["a"], body) == ("POST /p?q=1 HTTP/1.1", "b", b"hi")
    assert headers["accept-encoding"] == "identity"
    assert repr(got) == f"Response(201 from {got.host}, 8 bytes)"


def test_a_time_out_is_as_long_as_it_says() -> None:
    async def main() -> float:
        async with Server(never).running() as server:
            await asyncio.sleep(0.4)
            began = asyncio.get_running_loop().time()
            with pytest.raises(NoAnswer, match="within 10 s"):
                await ask(Http({}), server.url, timeout=10.0, attempts=1)
            return asyncio.get_running_loop().time() - began

    with asyncio.Runner(loop_factory=IdleTime) as runner:
        assert runner.run(main()) == pytest.approx(10.0)


# Leases


async def test_each_request_closes_what_it_opened() -> None:
    async with Server(answer()).running() as server:
        http = Http({})
        await asyncio.gather(ask(http, server.url), ask(http, server.url))
        await server.all_closed()
        await ask(http, server.url)
        await server.all_closed()
        assert server.connections == 3
        assert clean()


async def test_a_lease_nests_keeps_connections_and_opens_nothing_itself() -> None:
    async with Server(answer()).running() as server:
        http = Http({})
        async with http.lease():
            assert not server.connections
            async with http.lease():
                await ask(http, server.url)
            await ask(http, server.url)
            assert (server.connections, server.open) == (1, 1)
        await server.all_closed()


async def test_a_lease_without_requests() -> None:
    async with Http({}).lease():
        pass
    assert clean()


def test_a_new_loop_after_one_that_died_with_a_lease() -> None:
    http = Http({})

    async def hold() -> None:
        await http.lease().__aenter__()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(hold())
    loop.close()

    async def main() -> int:
        async with Server(answer()).running() as server:
            return (await ask(http, server.url)).status

    assert asyncio.run(main()) == 200
    assert id(loop) not in vars(http)["_leases"]


def test_two_loops_in_two_threads_share_one_http() -> None:
    http, seen, barrier = Http({}), Counter[int](), threading.Barrier(2)

    async def main() -> None:
        async with Server(answer()).running() as server, http.lease():
            barrier.wait(5)
            for _ in range(20):
                got = await asyncio.gather(*(ask(http, server.url) for _ in range(5)))
                seen.update(response.status for response in got)
            barrier.wait(5)
        assert server.connections <= 5

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == {200: 200}


# A session of the user's own


async def test_the_users_session_lends_its_connector_only() -> None:
    async with Server(answer(500, Set_Cookie="theirs=1"), answer()).running() as server:
        cookies = aiohttp.CookieJar(unsafe=True)
        cookies.update_cookies({"session": SECRET})
        async with aiohttp.ClientSession(
            headers={"X-Default": SECRET, "Authorization": SECRET}, cookie_jar=cookies, raise_for_status=True,
            timeout=aiohttp.ClientTimeout(total=0.000001),
        ) as session:  # fmt: skip
            http = Http({}, session)
            assert (await ask(http, server.url, attempts=1)).status == 500
            assert (await ask(http, server.url)).status == 200
            assert (server.connections, server.open) == (1, 1), "its connections are used, and left open"
            assert not session.closed
            assert len(cookies) == 1
        assert SECRET not in repr(server.requests)
        assert "cookie" not in server.requests[1][1]
        await server.all_closed()


async def test_a_session_that_was_closed() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(InvalidConfiguration, match="session that was passed in is closed"):
        await ask(Http({}, session), "http://127.0.0.1:1")


async def test_another_loop_does_not_use_the_users_session() -> None:
    async with Server(answer()).running() as server, aiohttp.ClientSession() as session:
        http = Http({}, session)

        async def main() -> int:
            async with http.lease():
                return (await ask(http, server.url)).status

        assert await asyncio.to_thread(asyncio.run, main()) == 200
        await server.all_closed()
        assert (await ask(http, server.url)).status == 200
        assert server.open == 1


# Answers that are refused


async def test_no_redirect_is_followed() -> None:
    async with Server(answer(302, Location="/elsewhere")).running() as server:
        assert (await ask(Http({}), server.url)).status == 302
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("script", "what"),
    [
        (answer(body=b"x" * (MAX_BODY + 1)), "sent more than 64 KiB"),
        (flood, "sent more than 64 KiB"),
        (answer(body=gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"), "compressed its answer"),
    ],
)
async def test_an_answer_too_large(script: Script, what: str) -> None:
    async with Server(script).running() as server:
        http = Http({})
        async with http.lease():
            with pytest.raises(SourceUnavailable, match=f"^test: 127.0.0.1:{server.port} {what}.*; .*check"):
                await ask(http, server.url)
            await server.all_closed()
        assert len(server.requests) == 1


async def test_the_largest_answer() -> None:
    async with Server(answer(body=b"x" * MAX_BODY)).running() as server:
        assert len((await ask(Http({}), server.url)).body) == MAX_BODY


# Failures


FAILURES: list[tuple[Script, dict[str, Any], str, bool]] = [
    (never, {"timeout": 0.05}, "did not answer within 0.05 s", True),
    (never, {"read_timeout": 0.05}, "sent nothing more within 0.05 s", True),
    (drip, {"timeout": 0.1}, "sent no complete answer within 0.1 s", False),
    (half(never), {"read_timeout": 0.05}, "sent nothing more within 0.05 s", False),
    (half(close), {}, "broke off in the middle of its answer", False),
    (half(reset), {}, "reset the connection|broke off in the middle", False),
    (hang_up, {}, "closed the connection without an answer", False),
    (reset, {}, "reset the connection|closed the connection", False),
    (b"\x16\x03\x01 nonsense\r\n\r\n", {}, r"HTTP that cannot be parsed \(Expected HTTP/", False),
]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "options", "what", "silent"), FAILURES)
async def test_a_failure_is_retried_and_told(
    script: Script, options: dict[str, Any], what: str, silent: bool
) -> None:
    async with Server(script).running() as server:
        http = Http({})
        async with http.lease():
            with pytest.raises(SourceUnavailable, match=what) as caught:
                await ask(
                    http, server.url, attempts=2, headers={"X-Token": SECRET}, body=SECRET.encode(), **options
                )
            await server.all_closed()
            assert clean()
        assert len(server.requests) == 2
        assert isinstance(caught.value, NoAnswer) is silent
        message = str(caught.value)
        assert f"test: 127.0.0.1:{server.port} " in message
        assert "(2 attempts); " in message
        assert SECRET not in shown(caught.value)
        if isinstance(caught.value, NoAnswer):
            assert copy.copy(caught.value).timed_out
            assert pickle.loads(pickle.dumps(caught.value)).timed_out
            assert afresh(caught.value).timed_out


UNPARSABLE = {
    b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi": "Duplicate Content-Length",
    b"Content-Length: x" + SECRET.encode() + b"\r\n\r\n": "Invalid character in Content-Length",
    b"A Token: " + SECRET.encode() + b"\r\n\r\n": "Invalid header token",
    b"X: " + SECRET.encode() * 2000 + b"\r\n\r\n": "Got more than 8190 bytes when reading",
    b"X: y\r\n" * 200 + b"\r\n": "Too many headers received",
    b"Transfer-Encoding: chunked\r\n\r\n" + SECRET.encode() + b"\r\n": "Invalid character in chunk size",
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n" + SECRET.encode() + b"\r\n": "Expected LF after chunk data",
}


@pytest.mark.parametrize(("rest", "reason"), UNPARSABLE.items(), ids=UNPARSABLE.values())
async def test_an_unparsable_answer_is_told_in_the_words_of_the_parser(rest: bytes, reason: str) -> None:
    script = b"HTTP/1.1 200 OK\r\n" + rest
    async with Server(script).running() as server:
        with pytest.raises(SourceUnavailable) as caught:
            await ask(Http({}), server.url, attempts=1, headers={"X-Token": SECRET})
    error = caught.value
    told = (
        f"127.0.0.1:{server.port} answered with HTTP that cannot be parsed ({reason}); look at what answers there"
    )
    assert told in str(error)
    assert not isinstance(error, NoAnswer)
    assert reason in str(error.__cause__)
    assert afresh(error).__cause__ is error.__cause__
    for said in (str(error), repr(error.__cause__), repr(vars(error.__cause__)), shown(error)):
        assert SECRET not in said


@pytest.mark.slow
def test_a_header_that_comes_twice_under_dev_mode() -> None:
    """Which has aiohttp parse strictly: moto's server, for one, sends `Server` twice."""
    code = (
        "import asyncio\n"
        "from aiocreds import SourceUnavailable\n"
        "from aiocreds._http import Http\n"
        "async def answer(reader, writer):\n"
        "    await reader.readuntil(b'\\r\\n\\r\\n')\n"
        "    writer.write(b'HTTP/1.1 200 OK\\r\\nServer: a\\r\\nServer: b\\r\\nContent-Length: 2\\r\\n\\r\\nhi')\n"
        "    await reader.read()\n"
        "    writer.close()\n"
        "async def main():\n"
        "    async with await asyncio.start_server(answer, '127.0.0.1', 0) as server:\n"
        "        url = 'http://127.0.0.1:%d' % server.sockets[0].getsockname()[1]\n"
        "        try:\n"
        "            print((await Http({}).request('GET', url, provider='x', timeout=5, attempts=1)).body)\n"
        "        except SourceUnavailable as error:\n"
        "            print(error)\n"
        "asyncio.run(main())\n"
    )

    def said(*options: str) -> str:
        words = [sys.executable, *options, "-c", code]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=50).stdout

    assert said() == "b'hi'\n"
    strict = said("-X", "dev")
    assert "answered with HTTP that cannot be parsed (Duplicate 'Server' header found); " in strict
    assert "python -X dev" in strict


# Kept connections


async def hang_up_when_asked_again(writer: asyncio.StreamWriter) -> None:
    """Answer, and close as the connection is used again, which no client can see coming."""
    writer.write(answer())
    await writer.drain()
    await asyncio.Event().wait()  # until the next request's first byte


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("borrowed", [False, True], ids=["ours", "the user's session"])
async def test_a_kept_connection_that_is_closed_as_it_is_used_is_no_attempt(
    method: str, borrowed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(hang_up_when_asked_again).running() as server, aiohttp.ClientSession() as session:
        http = Http({}, session if borrowed else None)
        if borrowed:
            async with session.get(server.url) as first:
                await first.read()
        async with http.lease():
            for _ in range(6):
                response = await ask(http, server.url, method, attempts=1, body=b"x" if method == "POST" else None)
                assert response.status == 200
        assert server.connections == 6 + borrowed


async def test_a_new_connection_that_is_closed_is_an_attempt() -> None:
    async with Server(answer(), hang_up).running() as server:
        http = Http({})
        async with http.lease():
            assert (await ask(http, server.url, attempts=1)).status == 200
            with pytest.raises(SourceUnavailable, match="closed the connection without an answer; "):
                await ask(http, server.url, attempts=1)  # the kept one, then a new one
        assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_kept_connection_that_breaks_off_in_an_answer_is_an_attempt() -> None:
    async def begin(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: y")
        await writer.drain()
        writer.close()

    async with Server(answer(), begin, answer()).running() as server:
        http = Http({})
        async with http.lease():
            assert (await ask(http, server.url, attempts=1)).status == 200
            with pytest.raises(SourceUnavailable):
                await ask(http, server.url, attempts=1)
        assert len(server.requests) == 2


async def test_many_kept_connections_that_are_closed_end_in_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiocreds._http.request.MOST_STALE", 2)
    gate = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await hang_up_when_asked_again(writer)

    async with Server(wait).running() as server:
        http = Http({})
        async with http.lease():
            crowd = [asyncio.ensure_future(ask(http, server.url)) for _ in range(4)]
            await until(lambda: server.open == 4)
            gate.set()
            await asyncio.gather(*crowd)
            with pytest.raises(SourceUnavailable, match=r"closed the connection|reset the connection"):
                await ask(http, server.url, attempts=1)


def shown(error: BaseException) -> str:
    """All that the most talkative of error reporters shows."""
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    ours = [line for line in lines if "test_requests.py" not in line]
    assert len(ours) < 60
    return "".join(ours) + repr(vars(error))


async def test_no_answer_over_the_whole_of_attempts() -> None:
    async with Server(answer(503), never).running() as server:
        with pytest.raises(SourceUnavailable) as caught:
            await ask(Http({}), server.url, attempts=2, timeout=0.05)
        assert not isinstance(caught.value, NoAnswer), "the 503 was an answer"


async def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(NoAnswer, match=f"127.0.0.1:{port} refused the connection .*check") as caught:
            await ask(Http({}), f"http://127.0.0.1:{port}/")
        assert not caught.value.timed_out
        with pytest.raises(NoAnswer, match="refused the connection"):
            await ask(Http({}), f"http://localhost:{port}/", attempts=1)


async def test_no_connection_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as deaf, socket.socket() as queued, socket.socket() as dropped:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for full in (queued, dropped):
            full.setblocking(False)
            full.connect_ex(deaf.getsockname())
        await asyncio.sleep(0.01)
        with pytest.raises(NoAnswer, match=r"accepted no connection within 0\.05 s") as caught:
            await ask(Http({}), f"http://127.0.0.1:{deaf.getsockname()[1]}", connect_timeout=0.05, attempts=1)
        assert caught.value.timed_out


async def test_a_name_without_address() -> None:
    with pytest.raises(NoAnswer, match=r"nowhere\.invalid was not found"):
        await ask(Http({}), "http://nowhere.invalid/", attempts=1)


async def test_a_process_out_of_file_descriptors_is_not_taken_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("aiohappyeyeballs.impl.socket.socket", exhausted)
    with pytest.raises(SourceUnavailable, match=r"Too many open files.*out of resources") as caught:
        await ask(Http({}), "http://127.0.0.1:9", attempts=1)
    assert not isinstance(caught.value, NoAnswer)


# Retries


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_passing_failure(status: int) -> None:
    async with Server(answer(status), hang_up, answer()).running() as server:
        assert (await ask(Http({}), server.url, "POST")).status == 200
        assert len(server.requests) == 3


async def test_the_last_answer_is_returned_whatever_it_says() -> None:
    async with Server(answer(500), answer(500), answer(502)).running() as server:
        assert (await ask(Http({}), server.url)).status == 502


def throttled(got: Response) -> bool:
    return got.body.startswith(b"Throttling")


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_other_refusals_are_final_unless_the_caller_knows_better(status: int) -> None:
    async with Server(answer(status, b"Throttling"), answer()).running() as server:
        assert (await ask(Http({}), server.url)).status == status
        server.scripts.insert(0, answer(status, b"Throttling"))
        assert (await ask(Http({}), server.url, retry_if=throttled)).status == 200


@pytest.mark.parametrize("form", ["seconds", "date", "date by a wrong clock"])
async def test_retry_after(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(delay: float) -> None:
        slept.append(delay)
        await short(0)

    short, slept = asyncio.sleep, list[float]()
    monkeypatch.setattr(asyncio, "sleep", sleep)
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30 * ("wrong" in form))
    headers = {"Retry_After": "1"}
    if form != "seconds":
        headers = {"Retry_After": format_datetime(now + timedelta(seconds=9), usegmt=True)}
    if "wrong" in form:
        headers["Date"] = format_datetime(now, usegmt=True)
    async with Server(answer(429, b"", **headers), answer()).running() as server:
        assert (await ask(Http({}), server.url)).status == 200
        [slept_for] = [delay for delay in slept if delay > 0.5]
        assert slept_for == 1 if form == "seconds" else 4 < slept_for <= 9  # the machine may be slow meanwhile


@pytest.mark.parametrize(
    ("asked", "requests"), [("21", 1), ("9" * 400, 1), ("soon", 2), ("-1", 2), ("", 2), ("\xb2", 2)]
)
async def test_retry_after_out_of_bounds(asked: str, requests: int) -> None:
    async with Server(answer(429, Retry_After=asked), answer()).running() as server:
        assert (await ask(Http({}), server.url)).status == (429 if requests == 1 else 200)
        assert len(server.requests) == requests


async def test_backoff_is_random_grows_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def uniform(low: float, high: float) -> float:
        limits.append(high)
        return low

    limits: list[float] = []
    monkeypatch.setattr("random.uniform", uniform)
    monkeypatch.setattr("aiocreds._http.request.BACKOFF", 0.15)
    async with Server(answer(500)).running() as server:
        await ask(Http({}), server.url, attempts=9)
    assert limits == pytest.approx([0.15, 0.3, 0.6, 1.2, 2.4, 4.8, 5, 5])


# Cancellation


SPOTS = ["resolving", "connecting", "handshaking", "waiting", "reading", "pausing", "closing"]


@pytest.mark.parametrize("leased", [True, False])
@pytest.mark.parametrize("spot", SPOTS)
async def test_cancelled(  # noqa: C901, one path through all spots
    spot: str, leased: bool, monkeypatch: pytest.MonkeyPatch, tls: TLS
) -> None:
    scripts: dict[str, Script] = {"reading": drip, "pausing": answer(503, Retry_After="9"), "closing": answer()}
    reached = asyncio.Event()

    async def stuck(*_: Any, **__: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    http = Http({"AWS_CA_BUNDLE": str(tls.ca)})
    async with Server(scripts.get(spot, never)).running(tls.server) as server:
        url = server.url
        if spot == "resolving":
            monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", stuck)
            url = url.replace("127.0.0.1", "localhost")
        if spot == "connecting":
            monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", stuck)
        if spot == "closing":
            monkeypatch.setattr("aiohttp.TCPConnector.close", delayed(aiohttp.TCPConnector.close, reached))
        async with asyncio.timeout(PATIENCE), mute_listener(spot) as mute:
            lease = http.lease()
            if leased:
                await lease.__aenter__()
            asking: asyncio.Future[Any] = asyncio.ensure_future(
                ask(http, mute.url if mute else url, headers={"X-Token": SECRET})
            )
            if spot == "closing" and leased:
                await asking
                asking = asyncio.ensure_future(lease.__aexit__(None, None, None))
            await (reached if spot in {"resolving", "connecting", "closing"} else (mute or server).asked).wait()
            await asyncio.sleep(0.03)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await asking
            assert SECRET not in "".join(
                line for line in shown_locals(caught.value) if is_ours(line.splitlines()[0])
            )
            if not (spot == "resolving" and leased):  # a look-up belongs to all who wait for the name
                assert clean()
            if not (spot == "pausing" and leased):  # that one is ready for the next request
                await server.all_closed()
            if mute:
                await mute.all_closed()
            if leased and spot != "closing":
                await lease.__aexit__(None, None, None)
            assert clean()


def shown_locals(error: BaseException) -> list[str]:
    return list(traceback.TracebackException.from_exception(error, capture_locals=True).stack.format())


def delayed(original: Callable[..., Awaitable[None]], reached: asyncio.Event) -> Callable[..., Awaitable[None]]:
    async def closing(self: Any, **options: Any) -> None:
        reached.set()
        await asyncio.sleep(0.1)
        await original(self, **options)

    return closing


class Mute(Server):
    """Accepts connections and says nothing, not even TLS."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self._writers.add(writer)
        self.asked.set()
        with suppress(OSError):
            while await reader.read(1000):
                pass
        writer.transport.abort()
        self.open -= 1


@asynccontextmanager
async def mute_listener(spot: str) -> AsyncGenerator[Mute | None]:
    if spot != "handshaking":
        yield None
        return
    async with Mute().running() as mute:
        mute.url = mute.url.replace("http:", "https:")
        yield mute


async def test_a_hung_tls_peer_does_not_hold_its_connection(tls: TLS) -> None:
    http = Http({"AWS_CA_BUNDLE": str(tls.ca)})
    async with Server(never).running(tls.server) as server, http.lease():
        with pytest.raises(NoAnswer):
            await ask(http, server.url, timeout=0.1, attempts=1)
        await server.all_closed()


async def test_a_session_that_does_not_finish_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(self: aiohttp.TCPConnector, **_: Any) -> None:
        await original(self)
        await asyncio.Event().wait()

    original = aiohttp.TCPConnector.close
    monkeypatch.setattr(aiohttp.TCPConnector, "close", hangs)
    monkeypatch.setattr("aiocreds._http.session.SECONDS_TO_CLOSE", 0.05)
    async with Server(answer()).running() as server:
        async with asyncio.timeout(PATIENCE):
            assert (await ask(Http({}), server.url)).status == 200
        assert clean()


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    return TLS(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("by", ["variable", "argument", "variable over argument"])
async def test_a_certificate_bundle(tls: TLS, by: str) -> None:
    environ = {"AWS_CA_BUNDLE": str(tls.ca)} if "variable" in by else {"AWS_CA_BUNDLE": ""}
    ca_bundle = None if by == "variable" else str(tls.ca) if by == "argument" else "/no/such/file"
    http = Http(environ)
    async with Server(answer()).running(tls.server) as server:
        async with http.lease():
            for _ in range(2):
                assert (await ask(http, server.url, ca_bundle=ca_bundle)).status == 200
            assert server.connections == 1, "one context, so one pool"
        await server.all_closed()
        assert clean()


async def test_the_bundle_of_requests_comes_last(tls: TLS, tmp_path: Path) -> None:
    async with Server(answer()).running(tls.server) as server:
        assert (await ask(Http({"REQUESTS_CA_BUNDLE": str(tls.ca)}), server.url)).status == 200
        other = Http({"REQUESTS_CA_BUNDLE": "/no/such/file"})
        assert (await ask(other, server.url, ca_bundle=str(tls.ca))).status == 200
        with pytest.raises(
            InvalidConfiguration, match="REQUESTS_CA_BUNDLE names /no/such/file, which cannot be read"
        ):
            await ask(other, server.url)
        with pytest.raises(SourceUnavailable, match="not trusted"):  # a folder is read; this one trusts nobody
            await ask(Http({"REQUESTS_CA_BUNDLE": str(tmp_path)}), server.url)


async def test_a_changed_bundle_is_read_again(tls: TLS, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(TLS(tmp_path).ca.read_bytes())
    http = Http({"AWS_CA_BUNDLE": str(bundle)})
    async with Server(answer()).running(tls.server) as server:
        with pytest.raises(SourceUnavailable, match="not trusted"):
            await ask(http, server.url)
        bundle.write_bytes(tls.ca.read_bytes() + b"\n")
        assert (await ask(http, server.url)).status == 200


async def test_an_untrusted_certificate(tls: TLS) -> None:
    async with Server(answer()).running(tls.server) as server:
        message = r"TLS certificate that is not trusted \(.*certificate.*\); .* AWS_CA_BUNDLE"
        with pytest.raises(SourceUnavailable, match=message) as caught:
            await ask(Http({}), server.url, headers={"X-Token": SECRET})
        assert "attempts" not in str(caught.value), "not retried"
        assert not isinstance(caught.value, NoAnswer)
        assert SECRET not in shown(caught.value)


async def test_a_certificate_for_another_host(tmp_path: Path) -> None:
    other = TLS(tmp_path, "127.0.0.9")
    async with Server(answer()).running(other.server) as server:
        with pytest.raises(SourceUnavailable, match=r"not trusted .*mismatch"):
            await ask(Http({"AWS_CA_BUNDLE": str(other.ca)}), server.url)


async def test_a_server_that_speaks_no_tls() -> None:
    async def plain(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(lambda _, writer: plain(writer), "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(SourceUnavailable, match=r"did not speak TLS|reset|closed"):
            await ask(Http({}), f"https://127.0.0.1:{port}", attempts=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "a file without end"])
@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "ca_bundle"])
async def test_a_certificate_bundle_that_would_not_end(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.pem"
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case "a folder":
            path.mkdir()
        case _:
            with path.open("w") as file:
                file.truncate(2**40)
    http = Http({"AWS_CA_BUNDLE": str(path)} if name.isupper() else {})
    what = "has more than 16 MiB" if kind == "a file without end" else "is no file, but a folder, pipe or device"
    async with asyncio.timeout(10):
        with pytest.raises(InvalidConfiguration, match=f"^test: {name} names .*, which {what}; name a file of PEM"):
            await ask(http, "https://127.0.0.1:1", ca_bundle=None if name.isupper() else str(path))


@pytest.mark.parametrize(("content", "what"), [(None, "cannot be read"), (b"nothing", "no usable certificates")])
@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "ca_bundle"])
async def test_an_unusable_bundle(tmp_path: Path, content: bytes | None, what: str, name: str) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    http = Http({"AWS_CA_BUNDLE": str(path)} if name.isupper() else {})
    with pytest.raises(InvalidConfiguration, match=f"^test: {name} names {path}, which .*{what}.*unset") as caught:
        await ask(http, "https://127.0.0.1:1", ca_bundle=None if name.isupper() else str(path))
    assert caught.value.__cause__ is None


# Proxies


PROXIED = [
    ({"http_proxy": "{proxy}"}, "http://aws.test/", True),
    ({"HTTP_PROXY": "{proxy}"}, "http://aws.test/", True),
    ({"HTTP_PROXY": "{bare}"}, "http://aws.test/", True),
    ({"HTTP_PROXY": "{proxy}", "REQUEST_METHOD": "GET"}, "http://aws.test/", False),
    ({"http_proxy": "{proxy}", "REQUEST_METHOD": "GET"}, "http://aws.test/", True),
    ({"http_proxy": "", "HTTP_PROXY": "{proxy}"}, "http://aws.test/", False),
    ({"http_proxy": "{proxy}", "HTTP_PROXY": "http://127.0.0.1:1"}, "http://aws.test/", True),
    ({"HTTPS_PROXY": "{proxy}"}, "http://aws.test/", False),
    ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "other.test, .test"}, "http://aws.test/", False),
    ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "AWS.test"}, "http://aws.test/", False),
    ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "ws.test,,aws.test:81"}, "http://aws.test/", True),
    ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "aws.test:81"}, "http://aws.test:81/", False),
    ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "*"}, "http://aws.test/", False),
    ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "*", "no_proxy": ""}, "http://aws.test/", True),
    *(
        ({"HTTP_PROXY": "{proxy}"}, f"http://{host}:1/", False)
        for host in (
            "127.0.0.1", "127.9.9.9", "localhost", "[::1]", "169.254.169.254", "169.254.170.2", "[fe80::1]",
            "[fd00:ec2::254]", "[::ffff:169.254.169.254]",
        )
    ),
    ({"HTTP_PROXY": "{proxy}"}, "http://192.0.2.1/", True),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "url", "through"), PROXIED)
async def test_which_requests_go_through_a_proxy(environ: dict[str, str], url: str, through: bool) -> None:
    async with Server(answer()).running() as proxy:
        bare = proxy.url.removeprefix("http://")
        http = Http({name: value.format(proxy=proxy.url, bare=bare) for name, value in environ.items()})
        with suppress(SourceUnavailable):
            await ask(http, url, attempts=1, timeout=0.1)
        assert [start for start, _, _ in proxy.requests] == [f"GET {url} HTTP/1.1"] * through


async def test_the_password_for_a_proxy() -> None:
    async with Server(answer()).running() as proxy:
        await ask(Http({"HTTP_PROXY": f"http://me:{SECRET}%40@127.0.0.1:{proxy.port}"}), "http://aws.test/")
        [(_, headers, _)] = proxy.requests
        kind, _, code = headers["proxy-authorization"].partition(" ")
        assert (kind, base64.b64decode(code).decode()) == ("Basic", f"me:{SECRET}@")


async def test_https_through_a_proxy(tls: TLS) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while piece := await source.read(1000):
                    sink.write(piece)
            sink.transport.abort()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        tunnels.append("closed")

    heads: list[bytes] = []
    tunnels: list[str] = []
    async with Server(answer()).running(tls.server) as server:
        listener = await asyncio.start_server(connect, "127.0.0.1", 0)
        async with listener:
            at = listener.sockets[0].getsockname()[1]
            environ = {"HTTPS_PROXY": f"http://me:{SECRET}@127.0.0.1:{at}", "AWS_CA_BUNDLE": str(tls.ca)}
            with pytest.raises(
                SourceUnavailable, match=f"aws.test .through the proxy 127.0.0.1:{at}. .*TLS"
            ) as bad:
                await ask(Http(environ), "https://aws.test/")
            assert SECRET not in shown(bad.value)
            assert heads[0].startswith(b"CONNECT aws.test:443 ")
            assert b"Proxy-Authorization: Basic" in heads[0]
            await server.all_closed()
            await until(lambda: bool(tunnels))


@pytest.mark.parametrize(("status", "requests"), [(407, 1), (502, 2)])
async def test_a_proxy_that_refuses(status: int, requests: int) -> None:
    async with Server(answer(status)).running() as proxy:
        http = Http({"HTTPS_PROXY": f"http://me:{SECRET}@127.0.0.1:{proxy.port}"})
        with pytest.raises(SourceUnavailable, match=f"the proxy answered {status}.*HTTPS_PROXY") as caught:
            await ask(http, "https://aws.test/", attempts=2)
        assert len(proxy.requests) == requests
        assert SECRET not in shown(caught.value)
        await proxy.all_closed()


@pytest.mark.parametrize(
    "value",
    [
        *("socks5://u:{0}@h:1", "http://u:{0}@h:port", "http://u:{0}@", "http://[{0}", "http://][@{0}"),
        *("http://u:{0}@h\r\n.test:1", "http://u:{0}@h:1/\tx", "http://u:{0}@h\0:1"),
    ],
)
async def test_an_unusable_proxy(value: str) -> None:
    with pytest.raises(InvalidConfiguration, match="https_proxy holds no usable proxy; write") as caught:
        await ask(Http({"https_proxy": value.format(SECRET)}), "https://aws.test/")
    assert SECRET not in shown(caught.value)


# What is sent, and what is told


@pytest.mark.parametrize("end", ["\n", "\r", "\0", "\x7f", "\u20ac", "\x85"])
async def test_header_values_are_checked_before_anything_is_sent(end: str) -> None:
    async with Server(answer()).running() as server:
        with pytest.raises(InvalidConfiguration, match=r"^test: the value for the Authorization header") as caught:
            await ask(Http({}), server.url, headers={"Authorization": SECRET + end})
        assert not server.connections
        assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    "url",
    ["ftp://host/", "host", "", "http://", "/path", "http://h:99999/", "http://[::1/", "http://][@", f"http://u:{SECRET}@h/",
     f"http://u:{SECRET}@h:x/", f"http://h:x/?token={SECRET}"],
)  # fmt: skip
async def test_unusable_urls(url: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"the URL.*cannot be used; write http") as caught:
        await ask(Http({}), url)
    assert SECRET not in str(caught.value)


async def test_debug_records_hold_no_headers_no_path_and_no_bodies(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Server(answer(500, SECRET.encode()), hang_up, answer(body=SECRET.encode())).running() as server:
        url = f"{server.url}/{SECRET}?q={SECRET}"
        await ask(Http({}), url, "POST", headers={"X-Token": SECRET}, body=SECRET.encode())
    told = [record.getMessage() for record in caplog.records if record.name == "aiocreds.http"]
    assert [line.partition(" (")[0].partition(f"{server.port}: ")[2] for line in told] == [
        "500", "had closed the kept connection, another is used", "200",
    ]  # fmt: skip
    assert told[2].startswith(f"POST 127.0.0.1:{server.port}: 200 (")
    assert told[2].endswith("ms, attempt 2 of 3)")
    assert SECRET not in caplog.text


# Middlewares


async def test_middlewares_run_once_an_attempt() -> None:
    async def stamp(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        stamps.append(len(stamps))
        request.headers["X-Stamp"] = str(stamps[-1])
        return await handler(request)

    stamps: list[int] = []
    async with Server(answer(500), answer()).running() as server:
        await ask(Http({}), server.url, middlewares=[stamp])
        assert [headers["x-stamp"] for _, headers, _ in server.requests] == ["0", "1"]


async def test_an_error_of_a_middleware_reaches_the_caller_without_the_request() -> None:
    async def refuse(_: aiohttp.ClientRequest, __: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise ServiceRefused("no", code="Nope")

    with pytest.raises(ServiceRefused, match=r"^test: no$") as caught:
        await ask(Http({}), "http://127.0.0.1:1", headers={"X-Token": SECRET}, middlewares=[refuse])
    assert caught.value.code == "Nope"
    assert SECRET not in shown(caught.value)
