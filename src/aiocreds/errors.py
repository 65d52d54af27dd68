"""The errors, one type for each kind of failure.

::

    CredentialsError                 .provider, .try_next_link, .recoverable
    ├── CredentialsNotFound          this source is not configured here        → the chain goes on
    │   └── ChainExhausted           no source had any; .attempts says why, one by one
    ├── InvalidConfiguration         configured, but wrong: file:line and the remedy
    ├── SourceUnavailable            configured, should have answered, did not (time-out, 5xx, exit status)
    ├── ServiceRefused               answered no: .code .message .status .request_id
    └── LoginRequired                a person has to sign in again: the command to run

A message names what was found, where (variable, file:line, host) and what to do about it. It never holds a
secret, a token or the body of an answer. Errors can be pickled, such as on their way out of a worker process;
their causes and tracebacks stay behind.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

E = TypeVar("E", bound="CredentialsError")


class CredentialsError(Exception):
    """Any failure to get credentials.

    Attributes:
        provider: the source that failed, such as ``"from_env"``; filled in by the provider when left out.
        try_next_link: whether a chain may go on to its next member.
        recoverable: False when asking again cannot help until somebody changes something.
    """

    provider: str | None = None
    try_next_link: bool = False
    recoverable: bool = True
    _asked_before: tuple[str, ...] = ()  # the members of a chain before this one

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        try_next_link: bool | None = None,
        recoverable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        if try_next_link is not None:
            self.try_next_link = try_next_link
        if recoverable is not None:
            self.recoverable = recoverable

    def __str__(self) -> str:
        text = super().__str__()
        after = f" (after {', '.join(self._asked_before)})" if self._asked_before else ""
        return f"{self.provider}{after}: {text}" if self.provider else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, dict(vars(self)))


class CredentialsNotFound(CredentialsError):
    """This source is not configured here. A chain goes on to its next member."""

    try_next_link = True


class ChainExhausted(CredentialsNotFound):
    """No source of a chain had any credentials.

    Attributes:
        attempts: what each member said, in order.
    """

    def __init__(
        self, message: str, *, attempts: Sequence[CredentialsError] = (), provider: str | None = None
    ) -> None:
        super().__init__(message, provider=provider)
        self.attempts = tuple(attempts)


class InvalidConfiguration(CredentialsError):
    """The source is configured, but wrongly; the message names the place (file:line, variable) and the remedy."""


class SourceUnavailable(CredentialsError):
    """The source is configured and should have answered, but did not: a time-out, a 5xx, an exit status.

    Attributes:
        exit_status: of a credential process; negative for a signal.
        stderr: what a credential process wrote there; kept out of messages, since it may hold secrets, and None
            in a copy and in what comes out of a pickle.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        try_next_link: bool | None = None,
        recoverable: bool | None = None,
        exit_status: int | None = None,
        stderr: bytes | None = None,
    ) -> None:
        super().__init__(message, provider=provider, try_next_link=try_next_link, recoverable=recoverable)
        self.exit_status = exit_status
        self.stderr = stderr

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, {**vars(self), "stderr": None})


class ServiceRefused(CredentialsError):
    """The service answered no.

    Attributes:
        code: the service's error code, such as ``"AccessDenied"``.
        message: the service's own words.
        status: the HTTP status.
        request_id: what the service's support asks for.
    """

    def __init__(
        self,
        text: str,
        *,
        code: str = "",
        message: str = "",
        status: int = 0,
        request_id: str | None = None,
        provider: str | None = None,
        recoverable: bool | None = None,
    ) -> None:
        super().__init__(text, provider=provider, recoverable=recoverable)
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id


class LoginRequired(CredentialsError):
    """A person has to sign in again.

    Attributes:
        command: what they run; the message ends with it.
        sign_in: the arguments of :func:`aiocreds.login.sign_in` that do the same in a program, such as
            ``{"sso_session": "corp"}``; empty where a person has to do something else.
    """

    recoverable = False

    def __init__(
        self,
        message: str,
        *,
        command: str = "",
        sign_in: Mapping[str, str] | None = None,
        provider: str | None = None,
    ) -> None:
        super().__init__(f"{message}: run {command}" if command else message, provider=provider)
        self.command = command
        self.sign_in = dict(sign_in or {})


def afresh(error: E) -> E:
    """Return a copy of an error of ours without its traceback, to be raised for one more waiter."""
    copy: E = Exception.__new__(type(error))  # without the arguments of a subclass's constructor
    copy.args = error.args
    vars(copy).update(vars(error))
    if hasattr(error, "__notes__"):
        copy.__notes__ = list(error.__notes__)
    copy.__cause__ = error.__cause__
    copy.__suppress_context__ = True
    return copy


# What mistakes of a program raise, which no retry can mend. Subclasses of the first are often about an answer (a
# JSONDecodeError for HTML, an SSLCertVerificationError), and the next one may be better.
_EXACT_MISTAKES = (ValueError, LookupError, KeyError, IndexError)
_MISTAKES = (
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    SyntaxError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
)
_LONGEST_CHAIN = 10  # causes
_MOST_FRAMES = 30  # of each cause in the log


def with_notes(error: BaseException) -> str:
    """Return the text of an error, with its notes on the lines after it, as a traceback shows it."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def foreign(error: BaseException, source: object = None) -> CredentialsError:
    """Return a foreign exception as one of ours.

    Its own text may hold anything, so the message has its type, what is safe to say of it (the status of a client
    library's error, an errno, a text that aiocreds wrote itself) and the last line in the source's own file. It
    becomes the ``__cause__``, without the frames, and so the local variables, of ours and of aiohttp.

    Args:
        error: what a source, a callback or a middleware raised. A group of one counts as that one.
        source: the source that was asked, whose file is looked for in the traceback.
    """
    inner = unwrap_group(error)
    if isinstance(inner, CredentialsError):  # out of a task group
        return inner
    mistake = is_mistake(inner)
    wrapped = SourceUnavailable(
        f"raised {_describe(inner)} {_place(inner, source)}{_own_text(inner)}"
        f"{'; that is a mistake in the program, which no retry can mend' if mistake else ''}"
        "; the log at level DEBUG (--debug of the command) has its traceback",
        try_next_link=getattr(error, "try_next_link", getattr(inner, "try_next_link", None)),
        recoverable=not mistake,
    )
    wrapped.__cause__ = _without_our_frames(error)
    return wrapped


def is_mistake(error: BaseException) -> bool:
    """Return whether an exception shows a mistake in the program, which no retry can mend."""
    return any(map(is_mistake, _members(error))) or type(error) in _EXACT_MISTAKES or isinstance(error, _MISTAKES)


def frames_of(error: BaseException) -> str:
    """Return the traceback of a foreign exception in a form that the log may hold.

    Files, lines and functions, of its causes too: no text of an exception, no line of source code and no local
    variable, any of which may hold a secret.
    """
    lines: list[str] = []
    chain: list[BaseException] = [*_causes(error)]
    for number, one in enumerate(reversed(chain)):
        if number:
            lines.append("which led to")
        frames: list[str] = []
        trace = one.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f'  File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}')
            trace = trace.tb_next
        left_out = len(frames) - _MOST_FRAMES
        if left_out > 0:
            frames[: left_out + 1] = [f"  … {left_out + 1} more"]
        lines += ["Traceback (most recent call last):", *frames, _describe(one)]
        for inner in _members(one)[:_LONGEST_CHAIN]:
            lines += ["in it:", *(f"  {line}" for line in frames_of(inner).split("\n"))]
    return "\n".join(lines)


def unwrap_group(error: BaseException) -> BaseException:
    """Return the exception; of a group of one, such as a task group raises, that one."""
    while len(inner := _members(error)) == 1:
        error = inner[0]
    return error


def _members(error: BaseException) -> Sequence[BaseException]:
    """Return the exceptions in a group."""
    group: Any = error
    return group.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an exception and those that led to it, the latest first."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen and len(seen) < _LONGEST_CHAIN:
        yield one
        seen.add(id(one))
        wrapped = next((it for it in one.args if isinstance(it, BaseException)), None)  # httpcore sets no __cause__
        one = one.__cause__ or wrapped or (None if one.__suppress_context__ else one.__context__)


def _describe(error: BaseException) -> str:
    """Return the type of an exception, and its HTTP status or errno."""
    name = type(error).__name__
    if inner := _members(error):
        return f"{name} of {', '.join(map(_describe, inner[:_LONGEST_CHAIN]))}"
    if detail := _detail(error):
        return f"{name} ({detail})"
    if not is_mistake(error):  # httpx and requests raise errors from those of the operating system
        for cause in _causes(error):
            if detail := _detail(cause):
                return f"{name} (from {type(cause).__name__}, {detail})"
    return name


def _detail(error: BaseException) -> str:
    """Return the status of a client library's error, or its errno; from attributes, so that nothing is imported."""
    answer = _attribute(error, "response")
    metadata = _item(answer, "ResponseMetadata")  # botocore's answers are dicts
    statuses = (
        _item(metadata, "HTTPStatusCode"),
        *(_attribute(one, name) for one in (answer, error) for name in ("status_code", "status", "code")),
    )
    for status in statuses:
        if isinstance(status, int) and 100 <= status < 600:
            code = _item(_item(answer, "Error"), "Code")
            return f"HTTP {int(status)}{f', {code}' if _is_code(code) else ''}"
    if isinstance(error, OSError):
        reason = _attribute(error, "reason")  # of ssl, whose errno is another number
        if _is_code(reason):
            return f"{reason}"
        if isinstance(error.errno, int) and error.errno in errno.errorcode:
            return f"{errno.errorcode[error.errno]}: {os.strerror(error.errno)}"
    return ""


def _is_code(value: object) -> bool:
    """Return whether it is a word such as AccessDenied or CERTIFICATE_VERIFY_FAILED."""
    return (
        isinstance(value, str) and len(value) <= 64 and value.isascii() and value.replace(".", "_").isidentifier()
    )


def _attribute(value: object, name: str) -> object:
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a property of somebody else's may raise anything
        return None


def _item(value: object, key: str) -> object:
    of_anything: Any = value
    return of_anything.get(key) if isinstance(value, dict) else None


def _own_text(error: BaseException) -> str:
    """Return the text of a TypeError or ValueError that aiocreds itself raised, which holds no secret."""
    if not isinstance(error, (TypeError, ValueError)) or not error.args:
        return ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not _is_ours(trace.tb_frame):
        return ""
    from opcode import opmap  # slow to load, and seldom needed

    # A built-in such as int() may raise in a line of ours, with the value in its text.
    raised = trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]
    return f": {error.args[0]}" if raised else ""


def _place(error: BaseException, source: object) -> str:
    """Return the last line in the file of the source, else of a callback, that an exception came through."""
    frames: list[tuple[FrameType, int]] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    if not frames:
        return "somewhere"
    theirs = [frame for frame, _ in frames if not _is_ours(frame)]
    file = _file_of(source) or ""
    if not any(frame.f_code.co_filename == file for frame in theirs):
        own = [frame for frame in theirs if not _is_installed(frame.f_code.co_filename)]
        file = (own or theirs or [frames[-1][0]])[0].f_code.co_filename
    frame, line = next((frame, line) for frame, line in reversed(frames) if frame.f_code.co_filename == file)
    return f"at {os.path.basename(file)}:{line} in {frame.f_code.co_name}"  # noqa: PTH119 - see files.py


def _file_of(source: object) -> str | None:
    """Return the file of a coroutine function, also of a wrapped one."""
    for _ in range(_LONGEST_CHAIN):
        inner = _attribute(source, "__wrapped__") or _attribute(source, "func")  # decorators; functools.partial
        if inner is None:
            break
        source = inner
    code = _attribute(source, "__code__") or _attribute(_attribute(type(source), "__call__"), "__code__")
    file = _attribute(code, "co_filename")
    return file if isinstance(file, str) else None


def _is_ours(frame: FrameType) -> bool:
    name: object = frame.f_globals.get("__name__", "")
    return isinstance(name, str) and name.partition(".")[0] == "aiocreds"


def _is_installed(file: str) -> bool:
    """Return whether a file belongs to Python or to a package, not to the program."""
    library = os.path.dirname(os.__file__)  # noqa: PTH120 - see files.py
    return file.startswith((library, "<frozen")) or "site-packages" in file or "dist-packages" in file


def _without_our_frames(error: BaseException) -> BaseException:
    """Return a foreign exception without the frames of ours and of aiohttp in its traceback."""
    cause: BaseException | None = error
    seen: set[int] = set()  # `raise error from error` makes a circle
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        trace = kept = cause.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ("aiocreds", "aiohttp"):
                kept = trace.tb_next
            trace = trace.tb_next
        cause.__traceback__ = kept
        cause = cause.__cause__ or cause.__context__
    return error


def _restore(cls: type[CredentialsError], args: tuple[Any, ...], state: dict[str, Any]) -> CredentialsError:
    error: CredentialsError = Exception.__new__(cls)
    error.args = args
    vars(error).update(state)
    return error
