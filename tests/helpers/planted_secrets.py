"""Tests that give a secret away, each in another place. `test_secret_leaks.py` runs them, and sees who is caught.

Nobody else collects them: their file is not called test_….
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from aiocreds import Context, Credentials, CredentialsError, Provider, ServiceRefused
from aiocreds._http import Http
from tests.helpers.loopback_aws import TOKEN_PATH, Loopback
from tests.helpers.secret_leaks import SOURCE, secret

if TYPE_CHECKING:
    from collections.abc import Callable

CAUGHT: dict[str, str | None] = {}  # where each of them is caught; None: it is innocent
KEY = "AKIAPLANTED000001"
OTHERS = "Zm9yZWlnbiBzZWNyZXQgb2Ygc29tZWJvZHk/+="  # a secret that was not made for tests
logger = logging.getLogger("aiocreds.planted")


def caught(place: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def note(test: Callable[..., Any]) -> Callable[..., Any]:
        CAUGHT[test.__name__] = place
        return test

    return note


# The log.


@caught("log")
def test_text() -> None:
    logger.debug("got %s", secret())


@caught("log")
def test_argument_that_the_text_leaves_out() -> None:
    logger.debug("got %(key)s", {"key": "AKIA", "secret": secret()})


@caught("log")
def test_extra() -> None:
    logger.info("got it", extra={"token": secret()})


@caught("log")
def test_logged_exception() -> None:
    try:
        raise ValueError(secret())
    except ValueError:
        logger.exception("it failed")


@caught("log")
async def test_thread() -> None:
    await asyncio.to_thread(logger.debug, secret())


@caught(None)
def test_last_four() -> None:
    Credentials(KEY, secret())
    logger.warning("key ****%s", KEY[-4:])


# Warnings.


@caught("warning")
def test_warning() -> None:
    with pytest.warns(UserWarning, match="-"):
        warnings.warn(secret(), stacklevel=1)


@caught("warning")
@pytest.mark.filterwarnings("always")
def test_warning_that_pytest_keeps() -> None:
    warnings.warn(secret(), stacklevel=1)


# Exceptions that leave the library: as far as anybody can tell, `fail` is a part of it.

LIBRARY: dict[str, Any] = {}
exec(
    compile(
        "def fail(error, *, cause=None, handling=None, hidden=None):\n"
        "    if handling is None:\n"
        "        raise error from cause\n"
        "    try:\n"
        "        raise handling()\n"
        "    except Exception:\n"
        "        if hidden is silently:\n"
        "            raise error from None\n"
        "        raise error\n",
        f"{SOURCE}/planted_secrets.py",
        "exec",
    ),
    LIBRARY,
)
SILENTLY = LIBRARY["silently"] = object()


def fail(error: BaseException, **how: object) -> None:
    with pytest.raises(type(error)):
        LIBRARY["fail"](error, **how)


@caught("exception")
def test_exception() -> None:
    fail(ValueError(secret()))


@caught("exception")
def test_note() -> None:
    error = CredentialsError("no")
    error.add_note(secret())
    fail(error)


@caught("exception")
def test_attribute() -> None:
    error = ServiceRefused("no")
    error.message = secret()
    fail(error)


@caught("exception")
def test_cause() -> None:
    fail(CredentialsError("no"), cause=KeyError(secret()))


@caught("exception")
def test_context() -> None:
    fail(CredentialsError("no"), handling=lambda: KeyError(secret()))


@caught(None)
def test_context_that_no_traceback_shows() -> None:
    fail(CredentialsError("no"), handling=lambda: KeyError(secret()), hidden=SILENTLY)


@caught("exception")
def test_group() -> None:
    fail(ExceptionGroup("no", [KeyError(secret())]))


@caught("exception")
def test_local_variable() -> None:
    fail(ValueError("no"), hidden={"token": secret().encode()})


@caught("exception")
def test_local_variable_of_a_cancelled_call() -> None:
    fail(asyncio.CancelledError(), hidden=secret())


@caught(None)
def test_local_variable_of_a_test() -> None:
    hidden = secret()
    fail(ValueError("no"))
    assert hidden


@caught("exception")
async def test_task_that_nobody_asks() -> None:
    async def ours() -> None:
        LIBRARY["fail"](ValueError("no"), hidden=secret())

    await asyncio.gather(asyncio.create_task(ours()), return_exceptions=True)


# What stands for an object.


@caught("repr")
def test_error_that_is_never_raised() -> None:
    CredentialsError(secret())


@caught("repr")
async def test_provider() -> None:
    class Leaky(Provider):
        def __repr__(self) -> str:
            return str(self._credentials and self._credentials.secret_access_key)

    async def source() -> Credentials:
        return Credentials(KEY, secret())

    await Leaky(source, name="leaky", context=Context({}))()


@caught("repr")
def test_environment() -> None:
    class Leaky(Context):
        def __repr__(self) -> str:
            return repr(self.environ)

    Leaky({"AWS_SECRET_ACCESS_KEY": secret()})


# Output.


@caught("stdout")
def test_stdout() -> None:
    print(secret())


@caught("stderr")
def test_stderr() -> None:
    print(secret(), file=sys.stderr)


@caught("stdout")
def test_stdout_that_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    print(secret())
    capsys.readouterr()


@caught("stderr")
def test_process() -> None:
    subprocess.run(["sh", "-c", f"echo {secret()} >&2"], capture_output=True, check=True)


@caught("stdout")
def test_process_that_prints_here() -> None:
    subprocess.run(["echo", secret()], check=True)


@caught("stdout")
async def test_process_that_is_awaited() -> None:
    process = await asyncio.create_subprocess_exec("echo", secret(), stdout=asyncio.subprocess.PIPE)
    await process.communicate()


# Secrets that were not made for tests, and reach the library.


@caught("stdout")
def test_secret_access_key() -> None:
    Credentials(KEY, OTHERS)
    print(OTHERS)


@caught("stdout")
def test_quoted() -> None:
    Credentials(KEY, OTHERS)
    print(OTHERS.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D"))


@caught("stdout")
def test_session_token() -> None:
    Credentials(KEY, secret(), OTHERS)
    print(OTHERS)


@caught("stdout")
def test_whole_access_key_id() -> None:
    Credentials(KEY, secret())
    print(KEY)


@caught("stdout")
def test_variable() -> None:
    Context({"AWS_SESSION_TOKEN": OTHERS}).setting("AWS_SESSION_TOKEN")
    print(OTHERS)


@caught("stdout")
async def test_header(aws: Loopback) -> None:
    await Http({}).request("GET", aws.url, provider="planted", timeout=9, headers={"Authorization": OTHERS})
    print(OTHERS)


@caught("stdout")
async def test_body(aws: Loopback) -> None:
    await Http({}).request("PUT", aws.url, provider="planted", timeout=9, body=OTHERS.encode())
    print(OTHERS)


@caught("stdout")
async def test_answer(aws: Loopback) -> None:
    aws.imds_token = OTHERS
    await Http({}).request("PUT", aws.url + TOKEN_PATH, provider="planted", timeout=9)
    print(OTHERS)


@caught(None)
def test_what_never_reached_the_library() -> None:
    print(OTHERS)


@caught("use secret()")
def test_secret_that_is_too_short() -> None:
    Credentials(KEY, "secret")


# What is meant.


@caught(None)
@pytest.mark.shows_secrets("stdout", because="it is meant")
def test_meant() -> None:
    print(secret())


@caught("stderr")
@pytest.mark.shows_secrets("stdout", because="it is meant")
def test_meant_elsewhere() -> None:
    print(secret(), file=sys.stderr)


@caught(None)
def test_innocent() -> None:
    print("innocent")
    logger.debug("innocent")
