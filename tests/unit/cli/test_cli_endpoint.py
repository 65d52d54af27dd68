"""The endpoint on loopback: what it answers, and to whom it does not."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from functools import partial

import pytest
from aiohttp.test_utils import make_mocked_request
from botocore.utils import ContainerMetadataFetcher

from aiocreds import Context, CredentialsNotFound, InvalidConfiguration, LoginRequired, ServiceRefused, from_http
from aiocreds.cli import _endpoint as module
from aiocreds.cli._endpoint import Endpoint
from tests.helpers.cli_endpoint import get, serving
from tests.helpers.scripted import Source, issue, others
from tests.helpers.secret_leaks import MARK


async def test_it_answers_as_a_container_agent() -> None:
    given = issue(1800)
    async with serving(Source(given)) as endpoint:
        answer = await get(endpoint)
        assert given.expiration is not None
        assert (answer.status, answer.body) == (
            200,
            {
                "AccessKeyId": given.access_key_id,
                "SecretAccessKey": given.secret_access_key,
                "Token": given.session_token,
                "Expiration": f"{given.expiration:%Y-%m-%dT%H:%M:%SZ}",
            },
        )
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_our_own_source_understands_it() -> None:
    given = issue(1800)
    async with serving(Source(given)) as endpoint:
        got = await from_http(full_uri=endpoint.urls[0], authorization_token=endpoint.token, context=Context({}))()
        assert (got.access_key_id, got.session_token) == (given.access_key_id, given.session_token)
        with pytest.raises(ServiceRefused) as refused:
            await from_http(full_uri=endpoint.urls[0], authorization_token="wrong", context=Context({}))()
        assert refused.value.status == 401


async def test_the_status_of_each_profile() -> None:
    ended = LoginRequired("the sign-in has ended: run aws sso login", command="aws sso login --sso-session corp")
    good, bad, given = Source(issue(1800)), Source(ended), issue(1800)
    assert given.expiration is not None
    async with Endpoint({"/app": good.provider(), "/other": bad.provider()}) as endpoint:
        assert (await get(endpoint, "/app")).status == 200
        assert (await get(endpoint, "/other")).status == 503
        answer = await get(endpoint, "/status")
        assert answer.status == 503, "one has nothing to serve"
        app, other = answer.body["/app"], answer.body["/other"]
        assert (app["loaded"], app["error"], app["sign_in"]) == (True, None, None)
        assert 1700 < app["seconds_left"] <= 1800
        assert datetime.fromisoformat(app["expiration"]).tzinfo is not None
        assert (other["loaded"], other["expiration"]) == (False, None)
        assert "the sign-in has ended" in other["error"]
        assert other["sign_in"] == "aws sso login --sso-session corp"
        assert given.access_key_id not in str(answer.body)
        assert MARK not in str(answer.body)
        assert (await get(endpoint, "/status", headers={"Authorization": None})).status == 401


async def test_the_status_is_good_while_all_have_credentials() -> None:
    async with serving(Source(issue(1800))) as endpoint:
        assert (await get(endpoint)).status == 200
        assert (await get(endpoint, "/status")).status == 200


async def test_a_profile_named_status_has_its_path() -> None:
    async with Endpoint({"/status": Source(given := issue(1800)).provider()}) as endpoint:
        assert (await get(endpoint, "/status")).body["AccessKeyId"] == given.access_key_id


REFUSED: dict[str, tuple[int, dict[str, str | None]]] = {
    "no token": (401, {"Authorization": None}),
    "an empty token": (401, {"Authorization": ""}),
    "another token": (401, {"Authorization": "x" * 43}),
    "as a scheme has it": (401, {"Authorization": "Bearer {token}"}),
    "the token and more": (401, {"Authorization": "{token}x"}),
    "part of the token": (401, {"Authorization": "{token:.42}"}),
    "no ASCII": (401, {"Authorization": "\u00fc"}),
    "a name that leads here": (403, {"Host": "evil.example:{port}"}),
    "another port": (403, {"Host": "127.0.0.1:1"}),
    "no port": (403, {"Host": "127.0.0.1"}),
    "no host": (403, {"Host": ""}),
    "a suffix": (403, {"Host": "localhost:{port}.evil.example"}),
    "every interface": (403, {"Host": "0.0.0.0:{port}"}),
    "another origin": (403, {"Origin": "https://evil.example"}),
    "an origin that hides": (403, {"Origin": "null"}),
    "another port's origin": (403, {"Origin": "http://127.0.0.1:1"}),
    "another scheme's origin": (403, {"Origin": "https://127.0.0.1:{port}"}),
    "a page of another site": (403, {"Sec-Fetch-Site": "cross-site"}),
    "a page of another port": (403, {"Sec-Fetch-Site": "same-site"}),
}


@pytest.mark.parametrize(("status", "headers"), REFUSED.values(), ids=REFUSED)
async def test_who_is_refused(status: int, headers: dict[str, str | None], endpoint: Endpoint) -> None:
    filled = {
        name: value and value.format(token=endpoint.token, port=endpoint.port) for name, value in headers.items()
    }
    answer = await get(endpoint, headers=filled)
    assert answer.status == status
    assert set(answer.body) == {"code", "message", "Code", "Message"}
    assert all(answer.body.values())
    assert endpoint.token not in json.dumps(answer.body)
    assert MARK not in json.dumps(answer.body)
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:{port}"},
        {"Host": "LocalHost:{port}"},
        {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
async def test_who_is_served(headers: dict[str, str], endpoint: Endpoint) -> None:
    filled = {name: value.format(port=endpoint.port) for name, value in headers.items()}
    assert (await get(endpoint, headers=filled)).status == 200


async def test_headers_that_come_twice_are_refused(endpoint: Endpoint) -> None:
    for twice in (
        f"Host: 127.0.0.1:{endpoint.port}\r\nHost: evil.example\r\nAuthorization: {endpoint.token}",
        f"Host: 127.0.0.1:{endpoint.port}\r\nAuthorization: {endpoint.token}\r\nAuthorization: x",
        "\r\n".join(
            (
                f"Host: 127.0.0.1:{endpoint.port}\r\nAuthorization: {endpoint.token}",
                f"Origin: http://127.0.0.1:{endpoint.port}\r\nOrigin: http://evil.example",
            )
        ),
    ):
        assert await raw(endpoint, f"GET / HTTP/1.1\r\n{twice}") in (400, 401, 403)
    good = f"Host: 127.0.0.1:{endpoint.port}\r\nAuthorization: {endpoint.token}"
    assert await raw(endpoint, f"GET / HTTP/1.1\r\n{good}") == 200
    assert await raw(endpoint, f"GET http://evil.example/ HTTP/1.1\r\n{good}") == 404
    assert await raw(endpoint, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\nAuthorization: \xfc") == 401
    assert await raw(endpoint, f"GET / HTTP/1.0\r\nAuthorization: {endpoint.token}") == 403


async def raw(endpoint: Endpoint, head: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode("latin-1"))
    line = await reader.readline()
    await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


@pytest.mark.parametrize("peer", ["192.0.2.7", "::ffff:192.0.2.7", "0.0.0.0", ""])
async def test_peers_from_elsewhere_are_refused(peer: str, endpoint: Endpoint) -> None:
    headers = {"Host": f"127.0.0.1:{endpoint.port}", "Authorization": endpoint.token}
    request = make_mocked_request("GET", "/", headers).clone(remote=peer)
    assert (await endpoint.answer(request)).status == 403
    assert (await endpoint.answer(request.clone(remote="127.0.0.1"))).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is nobody's address")
async def test_it_listens_on_one_address_alone(endpoint: Endpoint) -> None:
    for address in ("127.0.0.2", "::1"):  # both are this machine's, and any other would be heard as these
        with pytest.raises(OSError, match=r"Connect call failed|Cannot assign"):
            await asyncio.open_connection(address, endpoint.port)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_there_is_nothing_but_get(method: str, endpoint: Endpoint) -> None:
    answer = await get(endpoint, method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


NAMES = [
    *(
        "dev",
        "DEV",
        "a b",
        "a/b",
        "a//b",
        "/a",
        "a/",
        "a/../b",
        "../a",
        "./a",
        "...",
        "a/.",
        "\u00fc?x=y",
        "a#b",
        "a%2Fb",
    ),
    *(
        "%",
        "%2e%2e",
        "a+b&c=d",
        "user@corp:admin;v=1",
        "\\",
        "a\x00b",
        "'\"<>",
        "\udcff",
        "\ud800",
        "http://evil.example/",
    ),
]


async def test_one_path_a_profile() -> None:
    """As the clients spell it that tidy paths up: urllib3, which is boto3's, and yarl, which is aiohttp's."""
    providers = {f"/{name}": Source(usual=partial(issue, key=f"ASIA {name!r}")).provider() for name in NAMES}
    async with Endpoint(providers) as endpoint:
        assert endpoint.urls[0] == f"http://127.0.0.1:{endpoint.port}/dev"
        boto3 = ContainerMetadataFetcher()
        for url, name in zip(endpoint.urls, NAMES, strict=True):
            got = await from_http(full_uri=url, authorization_token=endpoint.token, context=Context({}))()
            assert got.access_key_id == f"ASIA {name!r}"
            told = await asyncio.to_thread(boto3.retrieve_full_uri, url, {"Authorization": endpoint.token})
            assert told["AccessKeyId"] == f"ASIA {name!r}"


async def test_other_paths_are_nobodys() -> None:
    providers = {f"/{name}": Source(usual=partial(issue, key=f"ASIA{name}")).provider() for name in ("dev", "a/b")}
    async with Endpoint(providers) as endpoint:
        for path in ("/dev?x=/", "/%64ev", "/a/b", "/a%2fb"):
            assert (await get(endpoint, path)).status == 200
        for path in ("/", "/de", "/dev/", "/DEV", "/a", "/a%252Fb"):
            answer = await get(endpoint, path)
            assert answer.status == 404
            assert answer.body["message"].endswith("there is /dev, /a%2Fb")
        assert (await get(endpoint, "/nowhere", headers={"Authorization": None})).status == 401


@pytest.mark.parametrize("name", [".", ".."])
async def test_names_that_no_client_can_ask_for(name: str) -> None:
    with pytest.raises(
        InvalidConfiguration, match=r"nothing can be served at /[.]+: clients take it for another path"
    ):
        Endpoint({f"/{name}": Source().provider()})


@pytest.mark.slow
async def test_a_hundred_clients_at_the_start_make_one_call() -> None:
    source = Source()
    source.gate = asyncio.Event()
    async with serving(source) as endpoint:
        asking = [asyncio.create_task(get(endpoint)) for _ in range(100)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in asking)
        source.gate.set()
        answers = await asyncio.gather(*asking)
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body["AccessKeyId"] for answer in answers}) == 1
        assert source.calls == 1


async def test_credentials_that_may_outlive_their_expiry_are_served_ten_minutes_ahead() -> None:
    async with serving(Source(issue(-100, stamped=True))) as endpoint:
        answer = await get(endpoint)
        assert answer.status == 200
        assert 590 < answer.seconds_left <= 600


@pytest.mark.slow
async def test_other_credentials_are_not_served_past_their_expiry() -> None:
    source = Source(issue(1.2), usual=lambda: CredentialsNotFound("gone"))
    async with Endpoint({"/": source.provider()}) as endpoint:
        assert (await get(endpoint)).status == 200
        await asyncio.sleep(1.3)
        answer = await get(endpoint)
        assert (answer.status, answer.body["code"]) == (503, "CredentialsNotFound")


async def test_credentials_that_never_expire_get_a_far_expiration() -> None:
    async with serving(Source(issue(None))) as endpoint:
        answer = await get(endpoint)
        assert answer.seconds_left > 12 * 3600


async def test_keys_that_never_expire_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(usual=lambda: issue(None, key="AKIAFIRST00000001"))
    async with serving(source) as endpoint:
        await get(endpoint)
        calls = source.calls
        await get(endpoint)
        assert source.calls == calls, "a minute has to pass"
        monkeypatch.setattr(module, "REFETCH_INTERVAL", 0.0)
        source.usual = lambda: issue(None, key="AKIASECOND0000001")
        assert (await get(endpoint)).body["AccessKeyId"] == "AKIASECOND0000001"
        source.usual = lambda: CredentialsNotFound("gone")
        assert (await get(endpoint)).body["AccessKeyId"] == "AKIASECOND0000001"


async def test_a_source_that_fails_is_told_as_such() -> None:
    source = Source(usual=lambda: CredentialsNotFound("nothing in the drawer"))
    async with serving(source) as endpoint:
        answer = await get(endpoint)
        assert answer.status == 503
        assert answer.body["code"] == "CredentialsNotFound"
        assert answer.body["message"].endswith("nothing in the drawer")
        source.usual = lambda: issue(600)
        assert (await get(endpoint)).status == 200


async def test_whatever_a_source_raises_stays_inside() -> None:
    source = Source(usual=lambda: ValueError(f"the secret is {MARK}"))
    async with serving(source) as endpoint:
        answer = await get(endpoint)
        assert (answer.status, answer.body["code"]) == (503, "SourceUnavailable")
        assert MARK not in answer.body["message"]


async def test_what_is_under_way_at_the_end_is_still_answered() -> None:
    source = Source()
    source.gate = asyncio.Event()
    async with Endpoint({"/": source.provider()}) as endpoint:
        asking = asyncio.create_task(get(endpoint))
        while not source.calls:  # noqa: ASYNC110 - the source has no event for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.2, source.gate.set)
    assert (await asking).status == 200


async def test_the_token_is_another_each_time() -> None:
    tokens = {Endpoint({}).token for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 43


async def test_a_port_that_is_taken_leaves_nothing(endpoint: Endpoint) -> None:
    before = others()
    with pytest.raises(OSError, match=r"in use"):
        async with Endpoint({"/": Source().provider()}, port=endpoint.port):
            pass
    assert others() == before
