"""`import aiocreds`: the whole list of names, how they are called, and what they load."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import aiocreds
from tests.helpers.representatives import slow_but
from tests.helpers.secret_leaks import secret

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PAGES = ROOT / "docs/reference/api.md", ROOT / "README.md"  # the first that there is lists the names

FACTORIES = {
    "default_chain",
    "from_cognito_identity",
    "from_cognito_identity_pool",
    "from_container_metadata",
    "from_env",
    "from_http",
    "from_ini",
    "from_instance_metadata",
    "from_login",
    "from_process",
    "from_roles_anywhere",
    "from_sso",
    "from_temporary_credentials",
    "from_token_file",
    "from_web_token",
}
ERRORS = {
    "ChainExhausted",
    "CredentialsError",
    "CredentialsNotFound",
    "InvalidConfiguration",
    "LoginRequired",
    "ServiceRefused",
    "SourceUnavailable",
}
OTHERS = {
    "ClientConfig",
    "Context",
    "Credentials",
    "DynamoDBLease",
    "Explanation",
    "Lease",
    "Provider",
    "RedisLease",
    "RefreshStatus",
    "chain",
    "credential_provider",
    "explain",
    "shared",
}

# The optional arguments of the contract, in its order; `context` is everybody's.
SSO = ["sso_start_url", "sso_account_id", "sso_region", "sso_role_name", "sso_session"]
WEB_IDENTITY = ["provider_id", "policy_arns", "policy", "duration_seconds", "role_assumer_with_web_identity"]
ARGUMENTS = {
    "from_env": [],
    "from_sso": ["profile", *SSO, "credentials_file", "config_file", "client", "sign_in"],
    "from_login": ["profile", "credentials_file", "config_file", "client", "sign_in"],
    "from_web_token": ["role_arn", "web_identity_token", "role_session_name", *WEB_IDENTITY, "client"],
    "from_token_file": ["web_identity_token_file", "role_arn", "role_session_name", *WEB_IDENTITY, "client"],
    "from_cognito_identity": ["identity_id", "logins", "custom_role_arn", "client"],
    "from_cognito_identity_pool": [
        "identity_pool_id",
        "account_id",
        "cache",
        "user_identifier",
        "logins",
        "custom_role_arn",
        "client",
    ],
    "from_roles_anywhere": [
        "certificate",
        "private_key",
        "trust_anchor_arn",
        "profile_arn",
        "role_arn",
        "role_session_name",
        "duration_seconds",
        "intermediates",
        "passphrase",
        "client",
    ],
    "from_ini": ["profile", "credentials_file", "config_file", "mfa_code", "process_timeout", "client", "sign_in"],
    "from_process": ["profile", "command", "credentials_file", "config_file", "timeout"],
    "from_http": [
        "full_uri",
        "relative_uri",
        "authorization_token",
        "authorization_token_file",
        "timeout",
        "max_retries",
    ],
    "from_container_metadata": ["timeout", "max_retries"],
    "from_instance_metadata": ["timeout", "max_retries", "endpoint", "endpoint_mode", "v1_disabled"],
    "from_temporary_credentials": [
        "role_arn",
        "source",
        "role_session_name",
        "duration_seconds",
        "external_id",
        "policy",
        "policy_arns",
        "serial_number",
        "mfa_code",
        "tags",
        "transitive_tag_keys",
        "source_identity",
        "provided_contexts",
        "client",
    ],
    "default_chain": [
        "profile",
        "mfa_code",
        "process_timeout",
        "client",
        "credentials_file",
        "config_file",
        *SSO,
        "web_identity_token_file",
        "role_arn",
        "role_session_name",
        *WEB_IDENTITY,
        "timeout",
        "max_retries",
        "endpoint",
        "endpoint_mode",
        "v1_disabled",
        "sign_in",
    ],
}
DEFAULTS: dict[str, dict[str, object]] = {
    "from_ini": {"process_timeout": 60},
    "from_process": {"timeout": 60},
    "from_http": {"timeout": 1.0, "max_retries": 3},
    "from_container_metadata": {"timeout": 1.0, "max_retries": 0},
    "from_temporary_credentials": {
        "role_arn": inspect.Parameter.empty,
        "duration_seconds": 3600,
        "policy_arns": (),
        "transitive_tag_keys": (),
        "provided_contexts": (),
    },
    "from_web_token": {
        "role_arn": inspect.Parameter.empty,
        "web_identity_token": inspect.Parameter.empty,
        "duration_seconds": 3600,
        "policy_arns": (),
    },
    "from_token_file": {"duration_seconds": 3600, "policy_arns": ()},
    "from_cognito_identity": {"identity_id": inspect.Parameter.empty},
    "from_cognito_identity_pool": {"identity_pool_id": inspect.Parameter.empty},
    "from_roles_anywhere": {
        **dict.fromkeys(("certificate", "trust_anchor_arn", "profile_arn", "role_arn"), inspect.Parameter.empty),
        "duration_seconds": 3600,
    },
    "default_chain": {"process_timeout": 60, "duration_seconds": 3600, "policy_arns": ()},
}


SOURCES = {*FACTORIES, *(name for name in aiocreds.__all__ if name.startswith("from_"))}


def test_the_list_is_the_contracts() -> None:
    """And the sources that have come since: their own tests and the page hold those."""
    assert set(aiocreds.__all__) == FACTORIES | ERRORS | OTHERS | SOURCES
    assert len(aiocreds.__all__) == len(set(aiocreds.__all__))


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_source_is_on_the_page(name: str) -> None:
    page = next(page for page in PAGES if page.exists())
    assert re.search(rf"\b{name}\b", page.read_text()), page.name


def test_a_file_of_a_source_has_a_test() -> None:
    files = {path.stem for path in (SRC / "aiocreds/sources").iterdir() if not path.name.startswith("_")}
    tests = [path.name for path in (ROOT / "tests/unit/sources").iterdir()]
    assert {"env", "profile", "sso"} <= files
    assert not {file for file in files if not any(test.startswith(f"test_{file}") for test in tests)}


@pytest.mark.parametrize("name", sorted({*aiocreds.__all__, *FACTORIES, *ERRORS, *OTHERS}))
def test_a_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(aiocreds, name)
    assert inspect.getdoc(value)
    assert name in dir(aiocreds)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="from_nowhere"):
        getattr(aiocreds, "from_nowhere")  # noqa: B009 - type checkers know that it is not there


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_a_factory_takes_what_the_contract_says(name: str) -> None:
    parameters = inspect.signature(getattr(aiocreds, name)).parameters
    assert list(parameters) == [*ARGUMENTS[name], "context"]
    for parameter in parameters.values():
        positional = parameter.name == "profile"
        kind = parameter.POSITIONAL_OR_KEYWORD if positional else parameter.KEYWORD_ONLY
        assert parameter.kind is kind, parameter
    found = {parameter.name: parameter.default for parameter in parameters.values()}
    assert isinstance(found.pop("context"), aiocreds.Context)
    assert found == {**dict.fromkeys(ARGUMENTS[name]), **DEFAULTS.get(name, {})}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_factory_fails_at_the_call_when_called_wrongly(name: str) -> None:
    with pytest.raises(TypeError):
        getattr(aiocreds, name)(no_such_argument=1)
    with pytest.raises(TypeError):
        getattr(aiocreds, name)(None, None)


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_a_factory_makes_a_provider_without_asking_anybody(name: str, context: aiocreds.Context) -> None:
    role_arn = "arn:aws:iam::123456789012:role/x"
    required: dict[str, Any] = {
        "from_temporary_credentials": {"role_arn": role_arn},
        "from_web_token": {"role_arn": role_arn, "web_identity_token": secret()},
        "from_cognito_identity": {"identity_id": "eu-central-1:x"},
        "from_roles_anywhere": {
            "certificate": "/tls.crt",
            "trust_anchor_arn": "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/x",
            "profile_arn": "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/x",
            "role_arn": role_arn,
        },
        "from_cognito_identity_pool": {"identity_pool_id": "eu-central-1:x"},
    }
    provider = getattr(aiocreds, name)(**required.get(name, {}), context=context)
    assert isinstance(provider, aiocreds.Provider)
    assert provider.status.successes == provider.status.failures == 0


def test_client_config_has_the_fields_of_the_contract() -> None:
    parameters = inspect.signature(aiocreds.ClientConfig).parameters
    assert list(parameters) == [
        "region",
        "endpoint_url",
        "use_fips",
        "use_dualstack",
        "connect_timeout",
        "read_timeout",
        "max_attempts",
        "middlewares",
    ]
    assert parameters["max_attempts"].default == 3
    assert parameters["middlewares"].default == ()


def test_the_status_has_the_fields_of_the_contract() -> None:
    assert aiocreds.RefreshStatus._fields == (
        "expiration",
        "seconds_left",
        "loaded_at",
        "last_error",
        "successes",
        "failures",
        "next_attempt",
        "loaded",
    )


# What a program may use of each class; all else that it has begins with an underscore.
OF_ERRORS = {"provider", "recoverable", "try_next_link"}
ATTRIBUTES: dict[str, set[str]] = {
    "ChainExhausted": OF_ERRORS | {"attempts"},
    "ClientConfig": {
        "connect_timeout",
        "endpoint_url",
        "max_attempts",
        "middlewares",
        "read_timeout",
        "region",
        "use_dualstack",
        "use_fips",
    },
    "Context": {"cached", "clock", "environ", "flag", "home", "home_folder", "http", "session", "setting"},
    "Credentials": {
        "access_key_id",
        "account_id",
        "credential_scope",
        "expiration",
        "identity_id",
        "may_outlive_expiry",
        "provider",
        "secret_access_key",
        "session_token",
    },
    "CredentialsError": OF_ERRORS,
    "CredentialsNotFound": OF_ERRORS,
    "DynamoDBLease": {"acquire", "release"},
    "Explanation": {"error", "identity", "step", "warnings", "winner"},
    "InvalidConfiguration": OF_ERRORS,
    "Lease": {"acquire", "release"},
    "LoginRequired": OF_ERRORS | {"command", "sign_in"},
    "Provider": {"expire_after", "fetch", "get", "invalidate", "name", "status"},
    "RedisLease": {"acquire", "release"},
    "RefreshStatus": {
        "expiration",
        "failures",
        "last_error",
        "loaded",
        "loaded_at",
        "next_attempt",
        "seconds_left",
        "successes",
    },
    "ServiceRefused": OF_ERRORS | {"code", "message", "request_id", "status"},
    "SourceUnavailable": OF_ERRORS | {"exit_status", "stderr"},
}


def public(value: object) -> set[str]:
    """Return the attributes of an object, besides what any exception, tuple or object has."""
    of_python = {name for base in (Exception, tuple, object) for name in dir(base)}
    return {name for name in dir(value) if not name.startswith("_")} - of_python


CLASSES = sorted(name for name in ERRORS | OTHERS if inspect.isclass(getattr(aiocreds, name)))


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_no_public_attributes_but_those_listed(name: str) -> None:
    cls: Any = getattr(aiocreds, name)
    value = cls
    if name in ERRORS:
        value = cls("text")  # with what its constructor adds
    assert public(value) == ATTRIBUTES[name]


def test_what_a_context_lists_is_documented() -> None:
    told = inspect.getdoc(aiocreds.Context) or ""
    for name in ATTRIBUTES["Context"]:
        assert re.search(rf"\b{name}\b", told), name


HEAVY = ("aiohttp", "anyio", "botocore", "dataclasses", "pathlib", "importlib.metadata", "email", "ssl")

PROGRAMS = {
    "import": "import aiocreds",
    "from_env": """
        import asyncio, aiocreds
        async def main():
            assert (await aiocreds.from_env()()).access_key_id == "AKIDEXAMPLE"
        asyncio.run(main())
    """,
    "async with": """
        import asyncio, aiocreds
        async def main():
            async with aiocreds.from_env() as provider:
                assert (await provider()).access_key_id == "AKIDEXAMPLE"
        asyncio.run(main())
    """,
    "chain": """
        import asyncio, aiocreds
        async def main():
            provider = aiocreds.chain(aiocreds.from_env(), aiocreds.from_env())
            assert (await provider()).access_key_id == "AKIDEXAMPLE"
        asyncio.run(main())
    """,
    "a profile": """
        import asyncio, os, aiocreds
        async def main():
            read, write = os.pipe()
            os.write(write, b"[default]\\naws_access_key_id = AKIDEXAMPLE\\naws_secret_access_key = x\\n")
            os.close(write)
            path = f"/dev/fd/{read}"
            credentials = await aiocreds.from_ini("default", credentials_file=path, config_file=os.devnull)()
            assert credentials.access_key_id == "AKIDEXAMPLE"
        asyncio.run(main())
    """,
    "default_chain": """
        import asyncio, aiocreds
        async def main():
            async with aiocreds.default_chain() as provider:
                assert (await provider()).access_key_id == "AKIDEXAMPLE"
        asyncio.run(main())
    """,
}


def loaded_by(program: str) -> set[str]:
    told = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program) + told],
        env={
            "PYTHONPATH": str(SRC),
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": secret(),
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("program", slow_but(PROGRAMS, next(iter(PROGRAMS))))
def test_keys_from_the_environment_load_nothing_heavy(program: str) -> None:
    bare = loaded_by("import asyncio")
    added = loaded_by(PROGRAMS[program]) - bare
    assert not {name for name in added if name.partition(".")[0] in HEAVY or name in HEAVY}
    assert "aiocreds" in added
