"""AWS credentials for asyncio programs.

::

    from aiocreds import default_chain

    provider = default_chain()
    credentials = await provider()

Importing this loads nothing heavy: each source is loaded when its name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from aiocreds._core.chain import chain
from aiocreds._core.context import Context
from aiocreds._core.decorator import credential_provider
from aiocreds._core.provider import Provider, RefreshStatus
from aiocreds.credentials import Credentials
from aiocreds.errors import (
    ChainExhausted,
    CredentialsError,
    CredentialsNotFound,
    InvalidConfiguration,
    LoginRequired,
    ServiceRefused,
    SourceUnavailable,
)

if TYPE_CHECKING:
    from aiocreds._aws.client import ClientConfig
    from aiocreds._explain import Explanation, explain
    from aiocreds._shared.leases import DynamoDBLease, Lease, RedisLease
    from aiocreds._shared.provider import shared
    from aiocreds.sources.assume_role import from_temporary_credentials
    from aiocreds.sources.cognito.credentials import from_cognito_identity, from_cognito_identity_pool
    from aiocreds.sources.container import from_container_metadata, from_http
    from aiocreds.sources.default import default_chain
    from aiocreds.sources.env import from_env
    from aiocreds.sources.imds import from_instance_metadata
    from aiocreds.sources.login.credentials import from_login
    from aiocreds.sources.process import from_process
    from aiocreds.sources.profile import from_ini
    from aiocreds.sources.roles_anywhere.credentials import from_roles_anywhere
    from aiocreds.sources.sso.credentials import from_sso
    from aiocreds.sources.web_identity import from_token_file, from_web_token

__version__ = "0.1.0"  # the only place: pyproject.toml reads it here

__all__ = [
    "ChainExhausted",
    "ClientConfig",
    "Context",
    "Credentials",
    "CredentialsError",
    "CredentialsNotFound",
    "DynamoDBLease",
    "Explanation",
    "InvalidConfiguration",
    "Lease",
    "LoginRequired",
    "Provider",
    "RedisLease",
    "RefreshStatus",
    "ServiceRefused",
    "SourceUnavailable",
    "chain",
    "credential_provider",
    "default_chain",
    "explain",
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
    "shared",
]

_LAZY = {  # the modules of the names that are loaded at first use
    "ClientConfig": "_aws.client",
    "DynamoDBLease": "_shared.leases",
    "Explanation": "_explain",
    "Lease": "_shared.leases",
    "RedisLease": "_shared.leases",
    "default_chain": "sources.default",
    "explain": "_explain",
    "from_cognito_identity": "sources.cognito.credentials",
    "from_cognito_identity_pool": "sources.cognito.credentials",
    "from_container_metadata": "sources.container",
    "from_env": "sources.env",
    "from_http": "sources.container",
    "from_ini": "sources.profile",
    "from_instance_metadata": "sources.imds",
    "from_login": "sources.login.credentials",
    "from_process": "sources.process",
    "from_roles_anywhere": "sources.roles_anywhere.credentials",
    "from_sso": "sources.sso.credentials",
    "from_temporary_credentials": "sources.assume_role",
    "from_token_file": "sources.web_identity",
    "from_web_token": "sources.web_identity",
    "shared": "_shared.provider",
}


if not TYPE_CHECKING:  # with it, type checkers would accept any name

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
