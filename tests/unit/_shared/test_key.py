"""The name of an entry: another one for all that changes the result, and the same one for all that does not."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from base64 import urlsafe_b64encode
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    ClientConfig,
    Context,
    Credentials,
    Provider,
    chain,
    default_chain,
    from_env,
    from_ini,
    from_instance_metadata,
    from_login,
    from_roles_anywhere,
    from_sso,
    from_temporary_credentials,
    from_token_file,
    from_web_token,
    shared,
)
from aiocreds._shared.key import description, refuse_unknown
from aiocreds.login import sign_in
from tests.helpers.authorization import ME
from tests.helpers.command import PATIENCE
from tests.helpers.scripted import issue, pass_on
from tests.helpers.secret_leaks import secret
from tests.helpers.shared_files import LEGACY, SESSION
from tests.helpers.shared_files import ROLE as SSO_ROLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import aiohttp

ROLE = "arn:aws:iam::123456789012:role/app"


def token(**claims: Any) -> str:
    """A token as identity providers sign them."""
    parts = ({"alg": "none"}, {"iss": "https://id.example", "sub": "me", "aud": "sts", "exp": 1, **claims})
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


async def code(serial_number: str) -> str:
    return "123456"


async def other_code(serial_number: str) -> str:
    return "654321"


async def assume(**request: Any) -> Credentials:
    return issue()


async def assume_otherwise(**request: Any) -> Credentials:
    return issue()


async def pass_on_otherwise(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    return await handler(request)


async def me() -> str:
    return token()


async def you() -> str:
    return token(sub="you")


def environment(**variables: str) -> Context:
    return Context({"AWS_REGION": "eu-central-1", **variables}, home="/nowhere")


def keys(name: str = "AKIATESTTEST00000001") -> Provider:
    return from_env(context=environment(AWS_ACCESS_KEY_ID=name, AWS_SECRET_ACCESS_KEY=secret()))


# For each parameter two values: with the second one, the credentials are others.
OF_ROLE: dict[str, tuple[Any, Any]] = {
    "role_arn": (ROLE, f"{ROLE}2"),
    "source": (keys(), keys("AKIATESTTEST00000002")),
    "role_session_name": (None, "me"),
    "duration_seconds": (3600, 900),
    "external_id": (None, "x"),
    "policy": (None, "{}"),
    "policy_arns": ((), ("arn:aws:iam::aws:policy/ReadOnlyAccess",)),
    "serial_number": (None, "arn:aws:iam::123456789012:mfa/me"),
    "tags": (None, {"timeout": "1"}),
    "transitive_tag_keys": ((), ("team",)),
    "source_identity": (None, "me"),
    "provided_contexts": ((), ({"ProviderArn": "arn:x", "ContextAssertion": "y"},)),
    "client": (None, ClientConfig(region="eu-west-1")),
    "context": (environment(), environment(AWS_REGION="eu-west-1")),
}
OF_WEB_TOKEN: dict[str, tuple[Any, Any]] = {
    "role_arn": (ROLE, f"{ROLE}2"),
    "web_identity_token": (me, you),
    "role_session_name": (None, "me"),
    "provider_id": (None, "www.amazon.com"),
    "policy_arns": ((), ("arn:aws:iam::aws:policy/ReadOnlyAccess",)),
    "policy": (None, "{}"),
    "duration_seconds": (3600, 900),
    "role_assumer_with_web_identity": (None, assume),
    "client": (None, ClientConfig(endpoint_url="http://127.0.0.1:1")),
    "context": (environment(), environment(AWS_ENDPOINT_URL_STS="http://127.0.0.1:1")),
}
NEUTRAL = {"mfa_code": (None, code)}  # who types a code changes nothing
CASES = [
    *((from_temporary_credentials, OF_ROLE, name) for name in OF_ROLE),
    *((from_web_token, OF_WEB_TOKEN, name) for name in OF_WEB_TOKEN),
]


@pytest.mark.parametrize(
    ("factory", "parameters"), [(from_temporary_credentials, OF_ROLE | NEUTRAL), (from_web_token, OF_WEB_TOKEN)]
)
def test_every_parameter_is_here(factory: Callable[..., Provider], parameters: dict[str, Any]) -> None:
    assert set(inspect.signature(factory).parameters) == set(parameters)


@pytest.mark.parametrize(
    ("factory", "parameters", "name"), CASES, ids=[f"{factory.__name__}-{name}" for factory, _, name in CASES]
)
async def test_another_name_for_another_argument(
    factory: Callable[..., Provider], parameters: dict[str, tuple[Any, Any]], name: str
) -> None:
    usual = {parameter: values[0] for parameter, values in parameters.items()}
    one = await description(factory(**usual))
    assert await description(factory(**usual)) == one
    assert await description(factory(**{**usual, name: parameters[name][1]})) != one


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"mfa_code": code}, {"mfa_code": other_code}),
        ({"duration_seconds": 3600}, {"duration_seconds": timedelta(hours=1)}),
        ({"tags": {"a": "1", "b": "2"}}, {"tags": {"b": "2", "a": "1"}}),
        ({"client": None}, {"client": None, "policy_arns": []}),
        ({"client": ClientConfig()}, {"client": ClientConfig(max_attempts=1, read_timeout=1)}),
    ],
)
async def test_the_same_name_for_what_means_the_same(one: dict[str, Any], two: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"role_arn": ROLE, "source": keys(), "context": environment()}
    made = [await description(from_temporary_credentials(**{**usual, **more})) for more in (one, two)]
    assert made[0] == made[1]


async def test_who_signs_in_changes_nothing() -> None:
    """A terminal offers to sign in, and a server does not: both share."""
    one, two = [
        await description(default_chain("app", context=environment(), sign_in=it)) for it in (None, sign_in)
    ]
    assert one == two


async def test_functions_count_by_their_names() -> None:
    usual: dict[str, Any] = {"role_arn": ROLE, "web_identity_token": me, "context": environment()}
    assumers = [from_web_token(**usual, role_assumer_with_web_identity=one) for one in (assume, assume_otherwise)]
    clients = [
        from_web_token(**usual, client=ClientConfig(middlewares=[one])) for one in (pass_on, pass_on_otherwise)
    ]
    assert len({await description(it) for it in [*assumers, *clients]}) == 4


@pytest.mark.parametrize(
    "claims",
    [
        *({"sub": "you"}, {"iss": "https://other"}, {"aud": "x"}),
        *({"https://aws.amazon.com/source_identity": "me"}, {"job_workflow_ref": "other"}),
    ],
)
async def test_whose_token_it_is_counts_and_not_when_it_ends(claims: dict[str, str], home: Path) -> None:
    file = home / "token"
    context = environment(AWS_WEB_IDENTITY_TOKEN_FILE=str(file), AWS_ROLE_ARN=ROLE)

    async def made(text: str) -> set[bytes]:
        file.write_text(text)
        return {await description(it) for it in (from_token_file(context=context), default_chain(context=context))}

    usual = await made(token())
    assert (
        await made(token(**{"exp": 2, "iat": 3, "jti": "x", "kubernetes.io": {"pod": {"name": "app-1"}}})) == usual
    )
    assert not await made(token(**claims)) & usual
    assert not await made("no token at all") & usual


async def test_a_rule_of_expiry_counts() -> None:
    assert await description(keys()) != await description(keys().expire_after(60))


async def test_chains_count_by_their_members() -> None:
    one, two = keys(), keys("AKIATESTTEST00000002")
    assert len({await description(it) for it in (chain(one), chain(one, two), chain(two, one), one)}) == 4


async def test_a_shared_source_counts_as_the_source() -> None:
    assert await description(shared(keys())) == await description(keys())
    assert await description(shared(keys(), key="x")) != await description(keys())


async def test_what_depends_on_the_machine_stays_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Callable[[], Provider]] = [
        lambda: from_instance_metadata(context=environment()),
        lambda: from_ini("app", context=environment()),
        lambda: default_chain(context=environment()),
    ]
    before = [await description(it()) for it in made]
    assert [await description(it()) for it in made] == before
    monkeypatch.setattr("aiocreds._shared.key._machine", lambda: ["another"])
    assert not set(before) & {await description(it()) for it in made}


@pytest.mark.parametrize("which", ["tls.crt", "ca.crt"])
async def test_the_certificate_of_another_workload_is_another(home: Path, which: str) -> None:
    for name in ("tls.crt", "ca.crt"):
        (home / name).write_bytes(b"one")
    provider = from_roles_anywhere(
        certificate="~/tls.crt",
        private_key="~/tls.key",
        intermediates=home / "ca.crt",
        trust_anchor_arn="arn:x",
        profile_arn="arn:x",
        role_arn=ROLE,
        context=Context({}, home=home),
    )
    before = await description(provider)
    assert await description(provider) == before
    (home / which).write_bytes(b"another")
    assert await description(provider) != before


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
async def test_a_config_file_that_is_a_pipe_is_not_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its one reader is the source; and what it says is another thing in each process."""
    os.mkfifo(home / "pipe")
    provider = from_ini("app", config_file=str(home / "pipe"), context=Context({}, home=home))
    async with asyncio.timeout(PATIENCE):
        here = await description(provider)
        monkeypatch.setattr(os, "getpid", lambda: 1)
        assert await description(provider) != here


async def test_a_profile_that_was_edited_is_another(home: Path) -> None:
    config = home / ".aws/config"
    config.write_text("[default]\nrole_arn = a\n")
    context = Context({}, home=home)
    before = await description(from_ini(context=context))
    config.write_text("[default]\nrole_arn = b\n")
    assert await description(from_ini(context=context)) != before


SIGN_INS = f"{SESSION}{LEGACY}[profile me]\nlogin_session = {ME}\n[profile app]\nsso_session = corp\n{SSO_ROLE}"
SIGNED_IN: dict[str, Callable[[Context], Provider]] = {
    "from_sso": lambda context: from_sso("app", context=context),
    "from_sso, the older form": lambda context: from_sso("old", context=context),
    "from_login": lambda context: from_login("me", context=context),
    "from_ini": lambda context: from_ini("app", context=context),
    "default_chain": lambda context: default_chain("app", context=context),
    "a role with such a source": lambda context: from_temporary_credentials(
        role_arn=ROLE, source=from_sso("app", context=context), context=context
    ),
}


async def names_as_people_sign_in(make: Callable[[], Provider], folder: Path) -> tuple[list[bytes], list[bytes]]:
    """The names while nobody is signed in, then somebody, another one, nobody; and each again without a change."""
    token = folder / "token.json"

    def sign_in_at(moment: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        token.write_text("{}")
        os.utime(token, (moment, moment))

    names: list[bytes] = []
    again: list[bytes] = []
    steps: list[Callable[[], None]] = [lambda: None, lambda: sign_in_at(1), lambda: sign_in_at(2), token.unlink]
    for step in steps:
        step()
        names.append(await description(make()))
        again.append(await description(make()))
    return names, again


@pytest.mark.parametrize("cache", [".aws/sso/cache", ".aws/login/cache", "elsewhere"])
@pytest.mark.parametrize("source", SIGNED_IN)
async def test_who_is_signed_in_counts(source: str, cache: str, home: Path) -> None:
    """Else who signs in next would get the credentials of who was signed in before."""
    (home / ".aws/config").write_text(SIGN_INS)
    folder = home / cache
    variables = {"AWS_LOGIN_CACHE_DIRECTORY": str(folder)} if cache == "elsewhere" else {}
    context = Context(variables, home=home)
    names, again = await names_as_people_sign_in(lambda: SIGNED_IN[source](context), folder)
    assert names == again
    assert len(set(names[:3])) == 3
    assert names[3] == names[0]


async def test_who_is_signed_in_counts_for_a_source_that_only_its_arguments_know(home: Path) -> None:
    def make() -> Provider:
        region, url = "eu-central-1", "https://corp.awsapps.com/start"
        role: dict[str, Any] = {"sso_account_id": "123456789012", "sso_role_name": "Admin"}
        return from_sso(sso_region=region, sso_start_url=url, **role, context=Context({}, home=home))

    names, _ = await names_as_people_sign_in(make, home / ".aws/sso/cache")
    assert len(set(names[:3])) == 3


@pytest.mark.parametrize("text", ["", "[profile app]\ncredential_process = x\n"])
@pytest.mark.parametrize("cache", [".aws/sso/cache", ".aws/login/cache"])
async def test_who_is_signed_in_changes_nothing_where_nothing_says_sign_in(
    text: str, cache: str, home: Path
) -> None:
    (home / ".aws/config").write_text(text)
    context = Context({}, home=home)
    makers: list[Callable[..., Provider]] = [from_ini, default_chain]
    for make in makers:
        names, again = await names_as_people_sign_in(partial(make, "app", context=context), home / cache)
        assert len({*names, *again}) == 1


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"])
async def test_the_environment_counts(variable: str) -> None:
    usual = await description(default_chain(context=environment()))
    assert await description(default_chain(context=environment(**{variable: "x"}))) != usual
    assert await description(default_chain(context=environment(AWS_PAGER="less"))) == usual


def test_what_cannot_be_told_needs_a_name() -> None:
    async def inner(**request: Any) -> Credentials:
        return issue()

    web = from_web_token(role_arn=ROLE, web_identity_token=me, role_assumer_with_web_identity=inner)
    role = from_temporary_credentials(role_arn=ROLE, source=inner)
    for provider in (web, role, chain(role), Provider(inner, name="own")):
        with pytest.raises(TypeError, match="key="):
            refuse_unknown(provider)
        shared(provider, key="app")
