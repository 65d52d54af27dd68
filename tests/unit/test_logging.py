"""The records of the log: what was loaded, of whom it was asked, and that the page lists every record."""

from __future__ import annotations

import ast
import logging
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import aiocreds
from aiocreds import (
    ClientConfig,
    Context,
    CredentialsError,
    Provider,
    chain,
    default_chain,
    from_cognito_identity,
    from_container_metadata,
    from_env,
    from_ini,
    from_instance_metadata,
    from_temporary_credentials,
)
from aiocreds.errors import CredentialsNotFound
from tests.helpers.loopback_aws import ROLE, Loopback, Reset, json_error, sts_error
from tests.helpers.scripted import Source, issue, settle
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    import time_machine

SRC = Path(aiocreds.__file__).parent
PAGE = Path(__file__).parents[2] / "docs/reference/logging.md"
HOUR = 3600.0
ARN = "arn:aws:iam::123456789012:role/app"
UNTIL = r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "aiocreds")
    return caplog


def at(level: int, log: pytest.LogCaptureFixture, name: str = "aiocreds") -> list[str]:
    """The messages of one level since the last look."""
    found = [it.getMessage() for it in log.records if it.levelno == level and it.name.startswith(name)]
    log.clear()
    return found


# INFO: what was loaded, refreshed, invalidated.


async def test_what_is_loaded_and_refreshed(clock: time_machine.Traveller, log: pytest.LogCaptureFixture) -> None:
    source = Source(issue(HOUR, key="ASIATEST00000001"), issue(2 * HOUR, key="ASIATEST00000002"), issue(None))
    provider = source.provider(name="from_vault")
    await provider()
    await provider()
    assert at(logging.INFO, log) == ["from_vault: loaded ****0001, until 2027-01-15 09:00:00 UTC"]
    clock.shift(HOUR - 30)
    await provider()
    assert at(logging.INFO, log) == ["from_vault: refreshed ****0001: now ****0002, until 2027-01-15 10:00:00 UTC"]
    await provider.fetch()
    assert re.fullmatch(r"from_vault: refreshed \*{4}0002: now \*{4}\d+, without an end", at(logging.INFO, log)[0])


async def test_what_is_invalidated_is_told_once(log: pytest.LogCaptureFixture) -> None:
    provider = Source(issue(HOUR, key="ASIATEST00000001")).provider()
    provider.invalidate()
    held = await provider()
    at(logging.INFO, log)
    for _ in range(5):
        provider.invalidate(held)
        provider.invalidate("ASIAANOTHER00001")
    assert at(logging.INFO, log) == ["source: invalidated ****0001: others are asked for"]


async def test_a_chain_names_the_source_and_tells_the_rest_at_debug(log: pytest.LogCaptureFixture) -> None:
    nothing = Source(usual=lambda: CredentialsNotFound("sealed")).provider(name="from_left")
    inner = chain(Source(issue(HOUR, key="ASIATEST00000001")).provider(name="from_right"))
    await chain(nothing, inner)()
    told = [(it.levelname, it.getMessage().partition(", ")[0]) for it in log.records]
    assert told == [
        ("DEBUG", "chain: goes on after from_left: sealed"),
        ("DEBUG", "from_right: loaded ****0001"),
        ("DEBUG", "chain: loaded ****0001 from from_right"),
        ("INFO", "chain: loaded ****0001 from from_right"),
    ]


async def test_a_role_is_told_with_its_account(aws: Loopback, home: Path, log: pytest.LogCaptureFixture) -> None:
    (home / ".aws/config").write_text(f"[profile app]\nrole_arn = {ARN}\nsource_profile = dev\n[profile dev]\n")
    (home / ".aws/credentials").write_text(
        f"[dev]\naws_access_key_id = AKIALOGGING00001\naws_secret_access_key = {secret()}\n"
    )
    await default_chain("app", context=Context(aws.environ, home=home))()
    (told,) = at(logging.INFO, log)
    assert re.fullmatch(
        rf"chain: loaded \*{{4}}\w{{4}} from from_ini, account 123456789012, role {ARN}, {UNTIL}", told
    ), told


async def test_an_instance_is_told_with_its_role(aws: Loopback, home: Path, log: pytest.LogCaptureFixture) -> None:
    environ = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
    await default_chain(context=Context(environ, home=home))()
    (told,) = at(logging.INFO, log)
    assert re.fullmatch(rf"chain: loaded \*{{4}}\w{{4}} from from_instance_metadata, .*role {ROLE}, {UNTIL}", told)


async def test_the_role_of_a_source_is_not_that_of_the_keys(log: pytest.LogCaptureFixture, aws: Loopback) -> None:
    """A role without a name of its own, assumed with the keys of one that has."""
    context = Context(aws.environ)
    base = a_role(aws, context)

    async def from_base() -> Any:
        await base()
        return issue(None, key="ASIAANOTHER00001")

    await Provider(from_base, name="from_base", context=context)()
    assert at(logging.INFO, log) == ["from_base: loaded ****0001, without an end"]


async def test_a_recovery_is_told(clock: time_machine.Traveller, log: pytest.LogCaptureFixture) -> None:
    source = Source(issue(HOUR), OSError())
    provider = source.provider()
    await provider()
    clock.shift(HOUR - 30)
    await provider()
    at(logging.INFO, log)
    clock.shift(6)
    await provider()
    await settle()
    assert [text.partition(" ****")[0] for text in at(logging.INFO, log)] == [
        "source: recovered",
        "source: refreshed",
    ]


# DEBUG: what was asked of whom.


def a_role(aws: Loopback, context: Context) -> Provider:
    source = Source(usual=lambda: issue(None, key="AKIALOGGING00001")).provider()
    client = ClientConfig(region="eu-central-1", endpoint_url=aws.url)
    return from_temporary_credentials(role_arn=ARN, source=source, client=client, context=context)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (None, "200"),
        (sts_error("AccessDenied"), "403 AccessDenied"),
        (sts_error("Throttling", status=400), "400 Throttling"),
        (Reset(), "no answer"),
    ],
    ids=["answered", "refused", "throttled", "reset"],
)
async def test_a_call_to_sts(
    aws: Loopback, context: Context, log: pytest.LogCaptureFixture, answer: Any, outcome: str
) -> None:
    if answer is not None:
        aws.always("/", answer)
    try:
        await a_role(aws, context)()
    except CredentialsError:
        assert answer is not None
    host = aws.url.removeprefix("http://")
    assert at(logging.DEBUG, log, "aiocreds.aws") == [f"AssumeRole, asked of {host} to assume {ARN}: {outcome}"]


async def test_calls_to_the_metadata_service(aws: Loopback, log: pytest.LogCaptureFixture) -> None:
    provider = from_instance_metadata(endpoint=aws.url, timeout=0.2, context=Context({}))
    await provider()
    host = aws.url.removeprefix("http://")
    assert at(logging.DEBUG, log, "aiocreds.aws") == [
        f"a token, asked of {host}: 200",
        f"the role, asked of {host}: 200",
        f"its credentials, asked of {host} for the role {ROLE}: 200",
    ]
    aws.down(by=Reset())
    with pytest.raises(CredentialsError):
        await provider.fetch()
    assert at(logging.DEBUG, log, "aiocreds.aws") == [f"a token, asked of {host}: no answer"]


async def test_calls_to_an_agent(aws: Loopback, log: pytest.LogCaptureFixture) -> None:
    """Without the path, which is as good as a password."""
    path = f"/v2/credentials/{secret('path')}"
    variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    provider = from_container_metadata(context=Context({variable: f"{aws.url}{path}"}))
    aws.always(path, json_error(404, "Gone"))
    with pytest.raises(CredentialsError):
        await provider()
    aws.always(path, Reset())
    with pytest.raises(CredentialsError):
        await provider()
    host = aws.url.removeprefix("http://")
    assert at(logging.DEBUG, log, "aiocreds.aws") == [
        f"credentials, asked of {host} by {variable}: 404",
        f"credentials, asked of {host} by {variable}: no answer",
    ]


async def test_calls_to_a_sign_in_and_to_cognito(aws: Loopback, home: Path, log: pytest.LogCaptureFixture) -> None:
    aws.sign_in.sso_login(home)
    (home / ".aws/config").write_text(
        "[default]\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = Developer\n"
        "[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.awsapps.com/start\n"
    )
    context = Context(aws.environ, home=home)
    await from_ini(context=context)()
    told = at(logging.DEBUG, log, "aiocreds.aws")
    host = aws.url.removeprefix("http://")
    assert told[-1].startswith(
        f"GetRoleCredentials, asked of {host} for the role Developer in account 123456789012"
    )
    assert told[-1].endswith(": 200")
    client = ClientConfig(endpoint_url=aws.url)
    aws.always("/", json_error(400, "NotAuthorizedException"))
    with pytest.raises(CredentialsError):
        await from_cognito_identity(identity_id="eu-central-1:x", client=client, context=context)()
    (cognito,) = at(logging.DEBUG, log, "aiocreds.aws")
    assert cognito.startswith(f"GetCredentialsForIdentity, asked of {host} ")
    assert cognito.endswith(": 400 NotAuthorizedException")


async def test_without_a_level_nothing_is_said(log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.WARNING, "aiocreds")
    await from_env(context=Context({"AWS_ACCESS_KEY_ID": "AKIALOGGING00001", "AWS_SECRET_ACCESS_KEY": secret()}))()
    assert not log.records


# The page.

LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR"}


class Listed(NamedTuple):
    """A record, by its logger and its text; "…" where the text is put together elsewhere."""

    logger: str
    text: str


def in_source() -> Iterator[tuple[Listed, str | None]]:
    """Every record that the source can make, with its level where that is fixed."""
    for file in SRC.rglob("*.py"):
        source = file.read_text()
        tree, names = ast.parse(source), re.findall(r'^logger = logging\.getLogger\("(.+)"\)', source, re.MULTILINE)
        if "from aiocreds.integrations.sigv4 import" in source:
            names = ["aiocreds.sigv4"]
        for call in ast.walk(tree):
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name("logger"), attr=how), args=[*words]) if (
                    how in LEVELS or how in ("log", "exception", "critical")
                ):
                    text = words[1 if how == "log" else 0]
                    told = text.value if isinstance(text, ast.Constant) else "…"
                    (name,) = names
                    yield Listed(name, str(told)), LEVELS.get(how)
                case _:
                    pass


def on_the_page() -> Iterator[tuple[Listed, str]]:
    rows = re.findall(r"^\| `([\w.]+)` \| ([A-Z, ]+) \| (.+?) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    for logger, levels, text in rows:
        yield Listed(logger, text.strip("`")), levels


@pytest.mark.slow
def test_the_page_lists_every_record() -> None:
    assert Counter(it for it, _ in in_source()) == Counter(it for it, _ in on_the_page())


@pytest.mark.slow
def test_the_page_names_their_levels() -> None:
    levels = Counter(on_the_page())
    fixed = Counter((it, level) for it, level in in_source() if level is not None)
    assert not fixed - levels
