"""A pytest plugin that fails a test in which a secret turns up where people look.

Known as secrets are those that `secret` makes, with them all that the loopback AWS hands out; and whatever reaches
the library: keys, variables, tokens, bodies of requests and answers, cached sign-ins. They may stand in no

- log: a record of an ``aiocreds`` logger, at DEBUG, with its arguments, or of asyncio's;
- warning;
- exception that leaves the library: in its text, attributes, notes, causes, or local variables of our frames
  (from Python 3.12 on, which tells of those);
- repr: of credentials, providers, contexts, configurations, errors and explanations;
- stdout, stderr: of the test, and of the processes whose output it reads.

A test that shows secrets on purpose says where, and why::

    @pytest.mark.shows_secrets("stdout", because="printing them is what export is for")
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import functools
import gc
import logging
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from aiocreds import ClientConfig, Context, Credentials, CredentialsError, Explanation, Provider
from aiocreds._base.redaction import SecretDict
from aiocreds._http.request import Call, Response
from aiocreds.cli._endpoint import Endpoint
from tests.helpers import secret_leaks
from tests.helpers.secret_leaks import SHORTEST, is_ours, mark, secret_in, told, told_by

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import CodeType

Place = Literal["log", "warning", "exception", "repr", "stdout", "stderr"]
SECRET_VARIABLES = {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"}
SECRET_HEADERS = {"authorization", "dpop", "x-aws-ec2-metadata-token", "x-amz-sso_bearer_token"}
SECRET_KEYS = {"accessToken", "refreshToken", "idToken", "clientSecret", "dpopKey"}  # of cached sign-ins
THREAD_POOL = concurrent.futures.thread.__file__
OF_MOTO = {"ABCSECRETKEY", "ABC12345"}  # which it hands out to everybody
TOO_SHORT = "{!r} is no secret that can be found again: use secret()"
TOOL = 4  # a number that sys.monitoring gives to nobody in particular


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shows_secrets(*places, because): what is shown there is meant to be")
    config.addinivalue_line("markers", "short_secrets(because): there may be such as cannot be found again")
    config.pluginmanager.register(SecretLeaks(config), "secret_leaks")


class SecretLeaks:
    """The watch of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._patch = pytest.MonkeyPatch()
        self._caught: list[str] = []
        self._too_short: list[str] = []
        self._late: list[str] = []
        self._meant: set[str] = set()
        self._know_what_reaches_the_library()
        self._watch_where_people_look()

    def look(self, place: Place, text: str) -> None:
        """Catch a text that shows a secret."""
        if place not in self._meant and (found := secret_in(text)) is not None:
            start = max(text.find(found) - 150, 0)
            self._caught.append(f"a secret in {place}: …{text[start : start + 250]}")

    # Whom it belongs to.

    def pytest_collection_finish(self) -> None:
        secret_leaks.keep()  # the constants of test modules
        self._late += [TOO_SHORT.format(short) for short in self._too_short]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._late += self._caught
        self._caught, self._too_short = [], []
        declared = [_meant(*marker.args, **marker.kwargs) for marker in item.iter_markers("shows_secrets")]
        self._meant = {place for places in declared for place in places}
        secret_leaks.forget()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "teardown":
            self.look("stdout", report.capstdout)
            self.look("stderr", report.capstderr)
            found = list(dict.fromkeys(self._caught))
            if item.get_closest_marker("short_secrets") is None:
                found += [TOO_SHORT.format(short) for short in dict.fromkeys(self._too_short)]
            if found:
                report.outcome = "failed"
                report.longrepr = "\n".join([f"{item.nodeid}:", *found])
            self._caught = []
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        gc.collect()
        self._late += self._caught
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)  # of a worker of xdist
        if output is not None:
            output["secret_leaks"] = self._late
        elif self._late:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of xdist has ended."""
        self._late += getattr(node, "workeroutput", {}).get("secret_leaks", [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._late:
            terminalreporter.section("secrets outside of any test")
            terminalreporter.write_line("\n".join(self._late))

    def pytest_unconfigure(self) -> None:
        self._patch.undo()
        if sys.version_info >= (3, 12):
            sys.monitoring.free_tool_id(TOOL)

    # What is a secret.

    def _know_what_reaches_the_library(self) -> None:
        self._after(Credentials, "__init__", self._mark_credentials)
        self._after(Context, "setting", _mark_variable)
        self._after(Call, "__init__", _mark_request)
        self._after(Response, "__init__", _mark_answer)
        self._after(SecretDict, "__init__", _mark_document)
        self._after(Endpoint, "__init__", _mark_endpoint)

    def _mark_credentials(self, credentials: Credentials, *_: object, **__: object) -> None:
        mark(credentials.access_key_id)
        for value in (credentials.secret_access_key, credentials.session_token):
            mark(value)
            if value is not None and len(value) < SHORTEST and value not in OF_MOTO:
                self._too_short.append(value)

    # Where people look.

    def _watch_where_people_look(self) -> None:
        logging.getLogger("aiocreds").setLevel(logging.DEBUG)
        for name in ("aiocreds", "asyncio"):
            logging.getLogger(name).addHandler(_Listener(self))
        for shown in (Credentials, Context, CredentialsError, ClientConfig, Explanation):
            self._after(shown, "__init__", self._look_at_repr)
        self._after(Provider, "_keep", self._look_at_repr)  # at each change of what it holds
        self._after(pytest.CaptureFixture, "readouterr", self._look_at_output)
        self._after(subprocess.Popen, "communicate", self._look_at_output)
        self._after_coroutine(asyncio.subprocess.Process, "communicate", self._look_at_output)
        self._patch.setattr(warnings, "warn", self._warn(warnings.warn))
        if sys.version_info >= (3, 12):
            sys.monitoring.use_tool_id(TOOL, "secret_leaks")
            sys.monitoring.register_callback(
                TOOL, sys.monitoring.events.PY_UNWIND, _if_ours(self._look_at_unwinding)
            )
            sys.monitoring.set_events(TOOL, sys.monitoring.events.PY_UNWIND)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        self.look("warning", str(warning_message.message))

    def look_at_error(self, error: BaseException, place: Place = "exception") -> None:
        """Catch what error reporters show of an exception."""
        for text in told_by(error):
            self.look(place, text)

    def _look_at_repr(self, shown: object, *_: object) -> None:
        self.look("repr", f"{told(shown)} {told(shown, str)}")
        if isinstance(shown, Provider):
            self.look("repr", told(shown.status))

    def _look_at_output(self, _: object, output: tuple[Any, Any], *__: object) -> None:
        self.look("stdout", _decoded(output[0]))
        self.look("stderr", _decoded(output[1]))

    def _look_at_unwinding(self, error: BaseException) -> None:
        """A frame of ours ends with an exception: look, if none of ours gets the exception next."""
        if not isinstance(error, GeneratorExit | StopIteration):
            # Behind this and what `_if_ours` returned.
            frame = sys._getframe(2).f_back  # pyright: ignore[reportPrivateUsage] - there is no other way
            if frame is not None and frame.f_code.co_filename == THREAD_POOL:
                return  # who awaits the thread gets it
            while frame is not None:
                if is_ours(frame.f_code.co_filename):
                    return
                frame = frame.f_back
            self.look_at_error(error)

    def _warn(self, real: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(real)
        def warn(
            message: Any, category: Any = None, stacklevel: int = 1, source: Any = None, **options: Any
        ) -> None:
            self.look("warning", str(message))
            real(message, category, stacklevel + 1, source, **options)

        return warn

    def _after(self, owner: type, name: str, then: Callable[..., None]) -> None:
        """Have ``then(self, result, *args)`` called after a method."""
        real = getattr(owner, name)

        @functools.wraps(real)
        def method(self: object, *args: Any, **options: Any) -> Any:
            result = real(self, *args, **options)
            then(self, result, *args)
            return result

        self._patch.setattr(owner, name, method)

    def _after_coroutine(self, owner: type, name: str, then: Callable[..., None]) -> None:
        real = getattr(owner, name)

        @functools.wraps(real)
        async def method(self: object, *args: Any, **options: Any) -> Any:
            result = await real(self, *args, **options)
            then(self, result, *args)
            return result

        self._patch.setattr(owner, name, method)


class _Listener(logging.Handler):
    def __init__(self, plugin: SecretLeaks) -> None:
        super().__init__(logging.DEBUG)
        self._plugin = plugin

    def emit(self, record: logging.LogRecord) -> None:
        self._plugin.look("log", f"{self.format(record)} {told(vars(record))}")
        if record.exc_info and record.exc_info[1]:
            self._plugin.look_at_error(record.exc_info[1], "log")


def _meant(*places: Place, because: str) -> tuple[Place, ...]:
    """Return the places that the marker declares; it wants a reason."""
    assert because
    assert set(places) <= set(get_args(Place)), places
    return places


def _if_ours(look: Callable[[BaseException], None]) -> Callable[[CodeType, int, BaseException], None]:
    """Return a callback of PY_UNWIND, which is called for each frame, anybody's, that ends with an exception."""
    known: dict[str, bool] = {}

    def unwinding(code: CodeType, _: int, error: BaseException) -> None:
        file = code.co_filename
        ours = known.get(file)
        if ours is None:
            ours = known[file] = is_ours(file)
        if ours:
            look(error)

    return unwinding


def _mark_variable(_: Context, value: str | None, name: str) -> None:
    if name in SECRET_VARIABLES:
        mark(value)


def _mark_request(call: Call, *_: object) -> None:
    for name, value in (call.headers or {}).items():
        if name.lower() in SECRET_HEADERS:
            mark(value)
    mark(call.body)
    mark(call.proxy and call.proxy.password)


def _mark_answer(response: Response, *_: object) -> None:
    mark(response.body)


def _mark_endpoint(endpoint: Endpoint, *_: object) -> None:
    mark(endpoint.token)


def _mark_document(document: SecretDict, *_: object) -> None:
    for key in SECRET_KEYS:
        mark(document.get(key))


def _decoded(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
