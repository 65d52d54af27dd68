"""The name of an entry: derived from everything that changes which credentials a provider gets.

Where none can be derived, the program has to give one. The name is a hash of the description, keyed where the
program has a key.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import timedelta
from inspect import signature
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from aiocreds._base import threads
from aiocreds._base.redaction import SecretBytes, SecretDict, SecretStr
from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.pickling import is_found
from aiocreds._core.provider import Provider
from aiocreds.errors import CredentialsError, CredentialsNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiocreds._core.pickling import Call

# By the functions' full names, since their modules are loaded by who uses them.
SOURCES = "aiocreds.sources."
ROLE = f"{SOURCES}assume_role.from_temporary_credentials"
WEB_TOKEN = f"{SOURCES}web_identity.from_web_token"
TOKEN_FILE = f"{SOURCES}web_identity.from_token_file"
ENVIRONMENT = f"{SOURCES}env.from_env"
ROLES_ANYWHERE = f"{SOURCES}roles_anywhere.credentials.from_roles_anywhere"
DEFAULT_CHAIN = f"{SOURCES}default.default_chain"
CHAIN = "aiocreds._core.chain.chain"
FUNCTION = "aiocreds._core.decorator.as_provider"
SHARED = "aiocreds._shared.provider.shared"
# These change who types a code or signs in, how long a call may take, how often it is tried; not what it returns.
NEUTRAL = {
    *("mfa_code", "sign_in", "process_timeout", "timeout", "max_retries", "context"),
    *("connect_timeout", "read_timeout", "max_attempts"),
}
UNRELATED = (  # variables of AWS CLI and of SDKs that change no credentials
    *("AWS_PAGER", "AWS_DEFAULT_OUTPUT", "AWS_CLI_", "AWS_EXECUTION_ENV", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"),
    *("AWS_SDK_", "AWS_CREDENTIAL_EXPIRATION", "AWS_METADATA_SERVICE_"),
)
# Claims that differ from one token of an identity to the next; a role's policy may look at any other.
UNRELATED_CLAIMS = {"exp", "iat", "nbf", "jti", "auth_time", "kubernetes.io"}  # the last one names pod and node
SIGN_INS = "sign-ins"
MACHINE = ("/etc/machine-id", "/proc/sys/kernel/random/boot_id")
REMEDY = "give the entry a name, key=, that stands for whose credentials they are"


def refuse_unknown(provider: Provider) -> None:
    """Check that a name can be derived for a provider.

    Raises:
        TypeError: something of it cannot be compared with that of another process.
    """
    for reason in _unknown(provider):
        raise TypeError(
            f"what {provider.name} gives cannot be derived from its arguments, since {reason}: {REMEDY}"
        )


async def description(provider: Provider) -> SecretBytes:
    """Return a text that is the same for providers that get the same credentials, and for no others.

    It may hold secrets and is meant to be hashed. Environment and files are read anew each time.

    Raises:
        CredentialsError: what the description needs cannot be had, such as a token.
    """
    return SecretBytes(json.dumps(await _described(provider), sort_keys=True, separators=(",", ":")).encode())


async def signed_in_since(provider: Provider, before: bytes) -> bool:
    """Return whether somebody has signed in since a description was made, and no sign-in of then has changed.

    Such a description comes back when they sign out; what they got meanwhile must not be stored under it.
    """
    then = _sign_ins_in(before)
    if then is None:
        return False
    try:
        now = _sign_ins_in(await description(provider))
    except CredentialsError:
        return True  # nobody knows
    return now is None or then < now


def _sign_ins_in(described: bytes) -> set[str] | None:
    """Return the sign-ins that a description follows; None where it follows none."""
    if f'"{SIGN_INS}":['.encode() not in described:
        return None
    found: set[str] = set()

    def collect(part: dict[str, Any]) -> None:
        if isinstance(stamps := part.get(SIGN_INS), list):
            found.update(cast("list[str]", stamps))

    json.loads(described, object_hook=collect)
    return found


def _unknown(provider: Provider) -> Iterator[str]:
    call = _call(provider)
    name = "" if call is None else _name(call)
    if name == FUNCTION:
        yield f"{provider.name} is a function, which may return anything"
        return
    if call is None or not (name.startswith(SOURCES) or name in (CHAIN, SHARED)):
        yield f"{provider.name} is no source of aiocreds" if call is None else f"{name} is a source of its own"
        return
    arguments = arguments_of(call)
    if name == SHARED and arguments["key"] is not None:
        return
    for argument, value in arguments.items():
        if name == SHARED and argument != "provider":
            continue
        if argument == "web_identity_token" and callable(value):
            continue  # its token is asked for
        yield from _unknown_in(argument, value)


def _unknown_in(argument: str, value: object) -> Iterator[str]:
    if argument in NEUTRAL:
        return
    if isinstance(value, Provider):
        yield from _unknown(value)
    elif callable(value):
        if not is_found(value):
            yield f"its {argument} is a function that is not to be found by its name, such as a closure or a method"
        elif argument == "source" or argument == "providers":
            yield f"its {argument} is a function, which may return anything"
    elif (parts := _parts(value)) is not None:
        for part, inner in parts:
            yield from _unknown_in(part or argument, inner)
    elif not isinstance(value, str | int | float | timedelta | PurePath | None):
        yield f"its {argument} is a {type(value).__name__}"


async def _described(provider: Provider) -> Any:
    call = _call(provider)
    if call is None:
        raise TypeError(REMEDY)  # refuse_unknown has refused it already
    name, arguments = _name(call), arguments_of(call)
    context = arguments.get("context", DEFAULT)
    context = context if isinstance(context, Context) else DEFAULT
    if name == SHARED:
        if arguments["key"] is not None:
            return ["named", arguments["key"]]
        return await _described(arguments["provider"])
    lifetime = provider._expire_after  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is one of us
    described = SecretDict()
    for argument, value in arguments.items():
        if argument not in NEUTRAL and argument != "web_identity_token":
            described[argument] = await _canonical(value)
    return [name, described, lifetime, await _surroundings(name, arguments, context)]


async def _surroundings(name: str, arguments: Mapping[str, Any], context: Context) -> Any:
    """Return what else decides: the environment, the shared files, the identity in a token, the machine."""
    if name == CHAIN:
        return None
    if name == ENVIRONMENT:
        return context.setting("AWS_ACCESS_KEY_ID")
    if name in (ROLE, WEB_TOKEN, TOKEN_FILE):
        role, session, token = arguments.get("role_arn"), arguments.get("role_session_name"), None
        if name == ROLE and arguments.get("source") is None:
            token = await _default_chain(context)
        elif name == WEB_TOKEN:
            token = await _given_token(arguments["web_identity_token"])
        elif name == TOKEN_FILE:
            role = role or context.setting("AWS_ROLE_ARN")
            session = session or context.setting("AWS_ROLE_SESSION_NAME")
            token = await _token_in_file(arguments.get("web_identity_token_file"), context)
        return [role, session, token, await _endpoint(arguments.get("client"), role or "", context)]
    if name == DEFAULT_CHAIN:
        return await _of_default_chain(arguments, context)
    if name == ROLES_ANYWHERE:
        return [await _certificates(arguments, context), await _here(arguments, context)]
    return await _here(arguments, context)


async def _default_chain(context: Context) -> Any:
    from aiocreds.sources.default import default_chain  # it knows the other sources

    return await _described(default_chain(context=context))


async def _of_default_chain(arguments: Mapping[str, Any], context: Context) -> Any:
    """Describe the source that the default chain will use, where the environment alone decides that."""
    if not arguments.get("profile"):
        if key := context.setting("AWS_ACCESS_KEY_ID"):
            return ["environment", key]
        files = await _files(arguments, context)
        given = any(argument.startswith("sso_") and value for argument, value in arguments.items())
        if not any(files) and not given and (named := _token_file(arguments, context)):
            role = arguments.get("role_arn") or context.setting("AWS_ROLE_ARN")
            session = arguments.get("role_session_name") or context.setting("AWS_ROLE_SESSION_NAME")
            return ["web identity", role, session, await _token_in_file(named, context)]
    return await _here(arguments, context)


async def _here(arguments: Mapping[str, Any], context: Context) -> Any:
    """Return all that this machine and user may contribute: such a source is shared on this machine only."""
    variables = {
        name: value
        for name, value in context.environ.items()
        if name.startswith("AWS_") and not name.startswith(UNRELATED)
    }
    files = await _files(arguments, context)
    machine = await threads.submit(_machine)
    return [variables, files, context.home_folder(), machine, await _sign_ins(arguments, files, context)]


async def _sign_ins(arguments: Mapping[str, Any], files: list[str], context: Context) -> dict[str, list[str]]:
    """Return what changes when another person signs in, or one signs out; renewals change it as well."""
    from aiocreds._token_cache.storage import login_path, sso_path

    given = any(value for name, value in arguments.items() if name.startswith("sso_"))
    if not given and not any("sso_" in text or "login_session" in text for text in files):
        return {}
    return {SIGN_INS: await threads.submit(_stamps, [login_path("", context), sso_path("", context)])}


def _stamps(places: list[str]) -> list[str]:
    found: list[str] = []
    for place in places:
        with suppress(OSError), os.scandir(os.path.dirname(place)) as entries:  # noqa: PTH120 - pathlib is slow to load
            found += [f"{it.path} {it.stat().st_mtime_ns}" for it in entries if it.name.endswith(".json")]
    return sorted(found)


async def _certificates(arguments: Mapping[str, Any], context: Context) -> list[str]:
    """Return what is in the files of certificates, since another workload's may take their place."""
    from aiocreds._profiles import expand

    return [
        SecretStr(await threads.submit(_text, expand(str(path), context, place=name)))
        for name in ("certificate", "intermediates")
        if isinstance(path := arguments[name], str | PurePath)
    ]


async def _files(arguments: Mapping[str, Any], context: Context) -> list[str]:
    from aiocreds._profiles.files import locate  # a role with keys in code does without

    found: list[str] = []
    for name in ("credentials", "config"):
        path, _ = locate(name, context.environ, given=arguments.get(f"{name}_file"), home=context.home)
        found.append(await threads.submit(_text, path))
    return found


async def _endpoint(client: Any, role: str, context: Context) -> list[str]:
    """Return which STS is asked, and for which region to sign."""
    from aiocreds._aws.client import ClientConfig, ServiceClient, config_scope, region_for

    client = client or ClientConfig()
    around = await config_scope(context, client)
    return list(ServiceClient("sts", client, around, region_for(client, around, arn=role)).endpoint)


async def _given_token(token: Any) -> Any:
    from aiocreds._aws.json_protocol import token_of

    return _bearer(await token_of(token, place="web_identity_token"))


def _token_file(arguments: Mapping[str, Any], context: Context) -> str | None:
    return arguments.get("web_identity_token_file") or context.setting("AWS_WEB_IDENTITY_TOKEN_FILE")


async def _token_in_file(named: str | None, context: Context) -> Any:
    from aiocreds._profiles import expand
    from aiocreds.sources._rotated_file import read_token_file

    place = "web_identity_token_file" if named else "AWS_WEB_IDENTITY_TOKEN_FILE"
    named = named or context.setting(place)
    if not named:
        raise CredentialsNotFound(f"{place} is not set")
    return _bearer(await read_token_file(expand(named, context, place=place), place=place))


def _bearer(token: str) -> Any:
    """Return the claims of a token that stay the same from one to the next; all of one that cannot be read."""
    from binascii import Error, a2b_base64

    try:
        part = token.split(".")[1].encode()
        claims: Any = json.loads(a2b_base64(part.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(part) % 4)))
        identity = SecretDict((name, value) for name, value in claims.items() if name not in UNRELATED_CLAIMS)
    except (IndexError, Error, ValueError, AttributeError, RecursionError):
        return SecretStr(token)
    return identity if "sub" in identity else SecretStr(token)


def _machine() -> list[str]:
    """Return what is different on each machine and for each user, also on machines cloned from one image."""
    import socket

    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return [socket.gethostname(), str(user), *map(_text, MACHINE)]


def _text(path: str) -> str:
    """Return the content of a file; of a pipe or device nothing is read, and no other process has the same."""
    try:
        # Without O_NONBLOCK a thread would wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return f"no file, in process {os.getpid()}"
            return file.read(1 << 24).decode("latin-1")
    except OSError:
        return ""


async def _canonical(value: object) -> Any:
    """Return a value in the terms of JSON, the same for values that mean the same."""
    if isinstance(value, Provider):
        return await _described(value)
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    if callable(value):
        named: Any = value
        return [named.__module__, named.__qualname__]
    parts = _parts(value) or ()
    if isinstance(value, Mapping):
        return SecretDict({name: await _canonical(inner) for name, inner in parts})
    if is_dataclass(value):
        return SecretDict({name: await _canonical(inner) for name, inner in parts if name not in NEUTRAL})
    return [await _canonical(inner) for _, inner in parts]


def _parts(value: object) -> Iterable[tuple[str, object]] | None:
    """Return the items of a container, by name where it has any; None where the value is none."""
    if isinstance(value, Mapping):
        return [(str(key), inner) for key, inner in cast("Mapping[object, object]", value).items()]
    if isinstance(value, list | tuple):
        return [("", inner) for inner in cast("Iterable[object]", value)]
    if isinstance(value, set | frozenset):
        return [("", inner) for inner in sorted(map(str, cast("Iterable[object]", value)))]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return None


def _call(provider: Provider) -> Call | None:
    return provider._made_by  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - it is one of us


def _name(call: Call) -> str:
    return f"{call[0].__module__}.{call[0].__qualname__}"


def arguments_of(call: Call) -> dict[str, Any]:
    """Return the arguments of a call by name, those that were left out included."""
    bound = signature(call[0]).bind(*call[1], **call[2])
    bound.apply_defaults()
    return bound.arguments
