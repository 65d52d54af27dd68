"""Run something as another user, who may not read the files of this Python.

``python -m tests.helpers.as_user UID WHAT …``:

``probe CONTEXT`` asks every source once, or twice where it keeps a token, and prints what came of each as JSON.
``aiocreds …`` is the command.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import pkgutil
import sys
from typing import TYPE_CHECKING

import aiocreds
from aiocreds.sources.roles_anywhere.identity import MODULES
from tests.helpers.roles_anywhere import ANCHOR, PROFILE
from tests.helpers.sign_in_services import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable

ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/app"
LOADED_LATE = (
    *("aiohttp.web", "anyio._backends._asyncio", "cryptography.hazmat.primitives.asymmetric.ec", "argcomplete"),
    *("cryptography.hazmat.primitives.serialization", "difflib", "encodings.idna", "pwd", "random"),
    *("resource", "shlex", "ssl", "tempfile", "concurrent.futures.thread", "email.utils", "_strptime"),
    *MODULES,
    *("importlib.metadata", "asyncio.staggered", "asyncio.taskgroups", "asyncio.timeouts", "email._parseaddr"),
)


def load_everything() -> None:
    for module in pkgutil.walk_packages(aiocreds.__path__, "aiocreds."):
        if not module.name.endswith("__main__") and ".integrations" not in module.name:
            importlib.import_module(module.name)
    for name in LOADED_LATE:
        importlib.import_module(name)


def become(user: int) -> None:
    """Be another user from now on, for good."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


async def sources(context: aiocreds.Context) -> dict[str, aiocreds.Provider]:
    """One of each; the profiles are those of the test."""
    keys = aiocreds.from_env(context=context)
    token, bundle = "sEcReT-token", os.environ["TOKEN_FILE"]
    pool = aiocreds.from_cognito_identity_pool(identity_pool_id="eu-central-1:x", context=context)
    guest = (await pool()).identity_id or ""
    profiles = ("static", "role", "process", "web", "container", "instance", "sso", "login")
    return {
        "from_env": keys,
        "from_container_metadata": aiocreds.from_container_metadata(context=context),
        "from_instance_metadata": aiocreds.from_instance_metadata(context=context),
        "from_http": aiocreds.from_http(context=context),
        "from_process": aiocreds.from_process("process", context=context),
        "from_web_token": aiocreds.from_web_token(role_arn=ROLE_ARN, web_identity_token=token, context=context),
        "from_token_file": aiocreds.from_token_file(
            web_identity_token_file=bundle, role_arn=ROLE_ARN, context=context
        ),
        "from_temporary_credentials": aiocreds.from_temporary_credentials(
            role_arn=ROLE_ARN, source=keys, context=context
        ),
        "from_cognito_identity": aiocreds.from_cognito_identity(identity_id=guest, context=context),
        "from_cognito_identity_pool": pool,
        "from_sso": aiocreds.from_sso("sso", context=context),
        "from_login": aiocreds.from_login("login", context=context),
        "from_roles_anywhere": workload(os.environ["IDENTITY"], context),
        "from_roles_anywhere, at home": workload("~", context),
        "default_chain": aiocreds.default_chain(context=context),
        **{f"profile {name}": aiocreds.from_ini(name, context=context) for name in profiles},
    }


def workload(folder: str, context: aiocreds.Context) -> aiocreds.Provider:
    """A workload whose certificate and key are in a folder."""
    return aiocreds.from_roles_anywhere(
        certificate=f"{folder}/tls.crt",
        private_key=f"{folder}/tls.key",
        trust_anchor_arn=ANCHOR,
        profile_arn=PROFILE,
        role_arn=ROLE_ARN,
        context=context,
    )


async def probe() -> dict[str, str]:
    found: dict[str, str] = {}
    context = aiocreds.Context()
    for name, provider in (await sources(context)).items():
        try:
            await provider.fetch()
            credentials = await provider.fetch()
        except aiocreds.CredentialsError as error:
            found[name] = f"{type(error).__name__}: {error}"
        else:
            found[name] = f"found, by {credentials.provider}"
    return found


def print_probe() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    print(json.dumps(asyncio.run(probe())))


def command() -> int:
    from aiocreds.cli.main import main

    return main(sys.argv[3:])


if __name__ == "__main__":
    load_everything()
    what: dict[str, Callable[[], int | None]] = {"probe": print_probe, "aiocreds": command}
    become(int(sys.argv[1]))
    sys.exit(what[sys.argv[2]]())
