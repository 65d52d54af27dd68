"""Shared files, token files and cached sign-ins that cannot be read, or have no end.

==============================================  ========================================================
what lies where a shared file should            what happens
==============================================  ========================================================
a folder, a device, a socket, a file of         sources that need no file go on without it, with one
somebody else's, one without end or larger      warning; those that need it say what it is, and which
than it may be, a pipe that nobody writes to    variable names another
a link to nothing                               it counts as missing
==============================================  ========================================================

Nobody waits for a pipe for ever, and no more is read than a file may have.
"""

# ruff: noqa: ASYNC240 - the tests may block
from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import (
    ClientConfig,
    Context,
    InvalidConfiguration,
    Provider,
    default_chain,
    explain,
    from_cognito_identity,
    from_cognito_identity_pool,
    from_container_metadata,
    from_ini,
    from_instance_metadata,
    from_login,
    from_process,
    from_roles_anywhere,
    from_sso,
    from_temporary_credentials,
    from_token_file,
    from_web_token,
)
from aiocreds._profiles import files, load
from aiocreds._token_cache import storage
from aiocreds.sources._rotated_file import read_token_file
from aiocreds.sources.cognito.credentials import MemoryCache
from aiocreds.sources.roles_anywhere import identity
from tests.helpers.loopback_aws import CONTAINER_PATH, Loopback
from tests.helpers.roles_anywhere import ANCHOR, PROFILE, Authority, Workload
from tests.helpers.scripted import Source
from tests.helpers.secret_leaks import secret
from tests.helpers.shared_files import unreadable
from tests.helpers.sign_in_services import ACCOUNT, PERMISSION_SET, START_URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import time_machine

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")

ROLE_ARN = "arn:aws:iam::123456789012:role/app"
IDENTITY = "eu-central-1:identity"
POOL = "eu-central-1:1699ebc0-7900-4099-b910-2df94f52a030"
LONGEST_WAIT = 3.0  # seconds; for what takes none


@contextmanager
def forbidden(path: Path) -> Iterator[None]:
    """As for anybody but its owner and root: of the folders around it, tests may own some."""
    path.write_text("[default]\nregion = us-west-2\n")
    real: Any = os.open

    def opened(name: Any, *arguments: Any, **named: Any) -> Any:
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(name, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", opened)
        yield


@contextmanager
def listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        yield


def sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def long(path: Path) -> None:
    path.write_text("[a]\n" * 600_000)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda path: path.mkdir(), "is a directory"),
    "somebody else's": (forbidden, "permission denied"),
    "a pipe": (os.mkfifo, "a pipe that nobody writes to"),
    "a socket": (listening, "a device or a socket"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "a device or a socket"),
    "a full disk": (lambda path: path.symlink_to("/dev/full"), "a device or a socket"),
    "chance": (lambda path: path.symlink_to("/dev/urandom"), "a device or a socket"),
    "a link to itself": (lambda path: path.symlink_to(path), "too many levels of symbolic links"),
    "1 GB of nothing": (sparse(10**9), "larger than 16 MiB"),
    "60 MiB of empty sections": (lambda path: path.write_text("[a]\n" * (15 << 20)), "larger than 16 MiB"),
    "half a million lines": (long, "more than 500,000 lines"),
}
LARGE = ("60 MiB of empty sections", "half a million lines")


async def token() -> str:
    return secret("jwt")


def source(context: Context) -> Provider:
    return Source().provider(context)


# Each with nothing left open that a shared file could say.
SOURCES: dict[str, Callable[[Context], Provider]] = {
    "web token": lambda context: from_web_token(role_arn=ROLE_ARN, web_identity_token=token, context=context),
    "web token, region in code": lambda context: from_web_token(
        role_arn=ROLE_ARN,
        web_identity_token=token,
        client=ClientConfig(region="eu-central-1"),
        context=without_region(context),
    ),
    "token file": lambda context: from_token_file(context=context),
    "metadata": lambda context: from_instance_metadata(context=context),
    "metadata, no region": lambda context: from_instance_metadata(context=without_region(context)),
    "a role on a source": lambda context: from_temporary_credentials(
        role_arn=ROLE_ARN, source=source(context), context=context
    ),
    "cognito": lambda context: from_cognito_identity(identity_id=IDENTITY, context=without_region(context)),
    "cognito pool": lambda context: from_cognito_identity_pool(
        identity_pool_id=POOL, cache=MemoryCache(), context=without_region(context)
    ),
    "container": lambda context: from_container_metadata(context=context),
    "sso, all in code": lambda context: from_sso(
        sso_start_url=START_URL,
        sso_region="eu-central-1",
        sso_account_id=ACCOUNT,
        sso_role_name=PERMISSION_SET,
        context=without_region(context),
    ),
    "certificate": lambda context: workload(without_region(context)),
    "command": lambda context: from_process(command=f"cat {context.environ['OUTPUT']}", context=context),
}
NEEDING: dict[str, Callable[[Context], Provider]] = {
    "ini": lambda context: from_ini(context=context),
    "ini, by name": lambda context: from_ini("app", context=context),
    "process": lambda context: from_process(context=context),
    "login": lambda context: from_login(context=context),
    "sso": lambda context: from_sso(context=context),
    "sso, session": lambda context: from_sso(
        sso_session="corp", sso_account_id=ACCOUNT, sso_role_name=PERMISSION_SET, context=context
    ),
    "default chain": lambda context: default_chain(context=context),
    "web token, no region": lambda context: from_web_token(
        role_arn=ROLE_ARN, web_identity_token=token, context=without_region(context)
    ),
}


def workload(context: Context, **arguments: Any) -> Provider:
    """A source with a certificate."""
    files: dict[str, Any] = {"certificate": context.environ["CERTIFICATE"], "private_key": context.environ["KEY"]}
    return from_roles_anywhere(
        trust_anchor_arn=ANCHOR, profile_arn=PROFILE, role_arn=ROLE_ARN, context=context, **{**files, **arguments}
    )


def without_region(context: Context) -> Context:
    environ = {name: value for name, value in context.environ.items() if name != "AWS_REGION"}
    return Context(environ=environ, home=context.home)


@pytest.fixture
def environ(aws: Loopback, home: Path, clock: time_machine.Traveller) -> dict[str, str]:
    (home / "token").write_text(secret("jwt"))
    printed = {"Version": 1, "AccessKeyId": "ASIAPRINTED", "SecretAccessKey": secret()}
    (home / "output").write_text(json.dumps(printed))
    aws.sign_in.sso_login(home, None)
    aws.sign_in.identities[("a guest", ""),] = IDENTITY
    files = Workload(home, Authority())
    return {
        **aws.environ,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"),
        "AWS_ROLE_ARN": ROLE_ARN,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + CONTAINER_PATH,
        "PATH": os.defpath,
        "OUTPUT": str(home / "output"),
        "CERTIFICATE": str(files.certificate),
        "KEY": str(files.private_key),
    }


@pytest.fixture
def shared_file(home: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "PIPE_PATIENCE", 0.2)
    environ["AWS_CONFIG_FILE"] = str(home / "shared")
    return home / "shared"


def every(one: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """One source with each kind of file, and each source with a folder and a pipe."""
    kinds = [kind for kind in KINDS if kind not in LARGE]
    return [(name, kind) for name in names for kind in kinds if name == one or kind in ("a folder", "a pipe")]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log messages about shared files."""
    return [record.getMessage() for record in caplog.records if record.name == "aiocreds.profiles"]


@contextmanager
def at(path: Path, kind: str) -> Iterator[str]:
    """Something of this kind lies there; what a message calls it."""
    make, words = KINDS[kind]
    with ExitStack() as stack:
        made = make(path)
        if hasattr(made, "__enter__"):
            stack.enter_context(made)  # type: ignore[arg-type]  # as the line above has found
        yield words


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), every("web token", SOURCES))
async def test_who_needs_no_file_goes_on_without_it(
    shared_file: Path, context: Context, kind: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = SOURCES[name](context)
    await storage.read("/nowhere")  # loads what nobody might not
    with at(shared_file, kind) as words, caplog.at_level(logging.WARNING):
        async with asyncio.timeout(LONGEST_WAIT):
            for _ in range(2):
                assert (await provider.fetch()).access_key_id
    told = warnings(caplog)
    if name in ("container", "command"):  # which look at no shared file at all
        assert not told
    else:
        (message,) = told
        assert message.startswith(f"{shared_file} cannot be read ({words}")
        assert "name another file in AWS_CONFIG_FILE. Going on without" in message


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), every("ini", NEEDING))
async def test_who_needs_it_keeps_the_error(shared_file: Path, context: Context, kind: str, name: str) -> None:
    provider = NEEDING[name](context)
    with at(shared_file, kind) as words, pytest.raises(InvalidConfiguration) as caught:
        async with asyncio.timeout(LONGEST_WAIT):
            await provider()
    assert f"{shared_file} cannot be read ({words}" in str(caught.value)


@pytest.mark.parametrize("kind", LARGE)
async def test_what_is_too_much_is_not_read_through(shared_file: Path, context: Context, kind: str) -> None:
    with at(shared_file, kind) as words:
        started = time.process_time()
        with pytest.raises(InvalidConfiguration, match=words):
            await load(context)
        assert (await load(context, needed=False)).profiles == {}
        assert time.process_time() - started < LONGEST_WAIT


@pytest.mark.slow
async def test_the_longest_file_is_read_in_a_few_seconds(shared_file: Path, context: Context) -> None:
    shared_file.write_text("[profile a]\n" * 250_000 + "[b]\n" * 249_999)
    started = time.process_time()
    config = await load(context)
    read = time.process_time() - started
    assert list(config.profiles) == ["a"]
    assert read < 10.0  # much less on an idle machine


@pytest.mark.slow
async def test_a_long_section_keeps_no_loop_waiting(shared_file: Path, context: Context) -> None:
    shared_file.write_text("[profile a]\n" + "".join(f"k{n} = v\n" for n in range(200_000)))
    config = await load(context)
    started = time.thread_time()  # of the loop's
    assert config.profiles["a"].get("k199999") == "v"
    assert time.thread_time() - started < 0.05


async def test_a_link_to_nothing_counts_as_missing(
    shared_file: Path, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    shared_file.symlink_to(shared_file.with_name("nothing"))
    assert (await from_token_file(context=context)()).access_key_id
    assert not (await load(context)).profiles
    assert not warnings(caplog)


async def test_a_fault_in_the_file_is_told_to_everybody(shared_file: Path, context: Context) -> None:
    shared_file.write_text("[default]\noops\n")
    with pytest.raises(InvalidConfiguration, match="shared:2: Expected an '=' sign"):
        await from_token_file(context=context)()


async def test_it_is_read_once_it_can_be_and_missed_again(
    shared_file: Path, context: Context, aws: Loopback, caplog: pytest.LogCaptureFixture
) -> None:
    provider = from_instance_metadata(context=context)
    for again in (1, 2):
        shared_file.mkdir()
        await provider.fetch()
        await provider.fetch()
        assert len(warnings(caplog)) == again
        shared_file.rmdir()
        shared_file.write_text("[default]\nec2_instance_profile_name = other\n")
        await provider.fetch()
        assert aws.requests[-1].path.endswith("/other")
        shared_file.unlink()
    assert len(warnings(caplog)) == 2


async def test_a_file_of_another_user(
    shared_file: Path, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    provider = SOURCES["web token"](context)
    await provider.fetch()  # loads what nobody might not
    shared_file.write_text("[default]\nregion = us-west-2\n")
    with unreadable(shared_file):
        await provider.fetch()
        with pytest.raises(InvalidConfiguration, match=r"shared cannot be read \(permission denied\)"):
            await from_ini(context=context)()
    (message,) = warnings(caplog)
    assert "cannot be read (permission denied): let this user read it" in message


async def test_one_warning_for_many_sources_that_need_no_file(
    shared_file: Path, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    shared_file.mkdir()
    providers = [SOURCES[name](context) for name in ("web token", "token file", "metadata", "a role on a source")]
    await asyncio.gather(*(provider() for provider in providers))
    assert len(warnings(caplog)) == 1


async def test_an_explanation_tells_what_was_done_without(shared_file: Path, context: Context) -> None:
    shared_file.mkdir()
    explanation = await explain(from_token_file(context=context))
    looks = [look for step in explanation.step.walk() for look in step.looked_at]
    assert (str(shared_file), "cannot be read, and is done without") in [(look.place, look.found) for look in looks]


@pytest.mark.slow
async def test_a_pipe_is_waited_for_once_and_heard_later(
    shared_file: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIPE_PATIENCE", 1.0)
    os.mkfifo(shared_file)
    with pytest.raises(InvalidConfiguration, match="a pipe that nobody writes to within"):
        await load(context)
    started = time.monotonic()
    for _ in range(10):
        await load(context, needed=False)
    assert time.monotonic() - started < 5  # and not ten times what it was waited for
    writer = threading.Thread(target=shared_file.write_text, args=["[default]\nk = v\n"])
    writer.start()
    async with asyncio.timeout(LONGEST_WAIT):
        while not (config := await load(context, needed=False)).profiles:  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)
    writer.join()
    assert config.profiles["default"].get("k") == "v"
    assert (await load(context)).profiles["default"].get("k") == "v"


async def test_a_pipe_without_an_end(shared_file: Path, context: Context) -> None:
    os.mkfifo(shared_file)
    descriptor = os.open(shared_file, os.O_RDWR)
    try:
        os.write(descriptor, b"[default]\n")
        with pytest.raises(InvalidConfiguration, match="a pipe that does not end within"):
            await load(context)
    finally:
        os.close(descriptor)


async def test_a_pipe_of_too_much(shared_file: Path, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PIPE_PATIENCE", 5.0)
    monkeypatch.setattr(files, "LARGEST", 1 << 20)
    os.mkfifo(shared_file)

    def pour() -> None:
        with shared_file.open("wb", buffering=0) as pipe:
            try:
                while True:
                    pipe.write(b"#" * 65_536)
            except BrokenPipeError:
                pass

    writer = threading.Thread(target=pour)
    writer.start()
    with pytest.raises(InvalidConfiguration, match="larger than 1 MiB"):
        await load(context)
    writer.join()


SMALL = [kind for kind in KINDS if kind not in LARGE]


@pytest.mark.parametrize("kind", SMALL)
async def test_token_files_are_read_up_to_a_bound(home: Path, kind: str) -> None:
    with at(home / "it", kind), pytest.raises(InvalidConfiguration, match=r"it \(from here\) (cannot be|holds no)"):
        async with asyncio.timeout(LONGEST_WAIT):
            await read_token_file(str(home / "it"), place="here")


@pytest.mark.parametrize("argument", ["certificate", "private_key", "intermediates"])
@pytest.mark.parametrize("kind", SMALL)
async def test_certificates_and_keys_are_read_up_to_a_bound(
    context: Context, home: Path, kind: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "PAUSE", 0.001)
    provider = workload(context, **{argument: home / "it"})
    with at(home / "it", kind) as words, pytest.raises(InvalidConfiguration) as caught:
        async with asyncio.timeout(LONGEST_WAIT):
            await provider()
    if words in ("a pipe that nobody writes to", "a device or a socket"):
        words = "no such device or address" if kind == "a socket" else "not a regular file"
    what = "is too long for certificates or a key" if kind == "1 GB of nothing" else f"cannot be read ({words})"
    assert f"{home}/it (from {argument}) {what}" in str(caught.value)


@pytest.mark.parametrize("kind", SMALL)
async def test_cached_sign_ins_are_read_up_to_a_bound(home: Path, kind: str) -> None:
    assert await storage.read(str(home / "it")) is None
    with at(home / "it", kind):
        async with asyncio.timeout(LONGEST_WAIT):
            if kind == "1 GB of nothing":
                assert await storage.read(str(home / "it")) is None
                return
            with pytest.raises(InvalidConfiguration, match="it cannot be read"):
                await storage.read(str(home / "it"))
