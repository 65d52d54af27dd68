"""What can go wrong, told by type.

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

import os
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        return f"{self.provider}: {text}" if self.provider else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, dict(vars(self)))

    def afresh(self) -> Self:
        """A copy without this one's traceback, to be raised for one more waiter."""
        copy: Self = Exception.__new__(type(self))  # whatever a subclass's own constructor wants
        copy.args = self.args
        vars(copy).update(vars(self))
        if hasattr(self, "__notes__"):
            copy.__notes__ = list(self.__notes__)
        copy.__cause__ = self.__cause__
        copy.__suppress_context__ = True
        return copy


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
        exit_status: int | None = None,
        stderr: bytes | None = None,
    ) -> None:
        super().__init__(message, provider=provider, try_next_link=try_next_link)
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
    """

    recoverable = False

    def __init__(self, message: str, *, command: str = "", provider: str | None = None) -> None:
        super().__init__(f"{message}: run {command}" if command else message, provider=provider)
        self.command = command


def foreign(error: BaseException) -> SourceUnavailable:
    """Somebody else's exception as one of ours: its text may hold anything, so its type and place have to do.

    It becomes the ``__cause__``, without the frames, and so the local variables, of ours and of aiohttp.
    """
    wrapped = SourceUnavailable(
        f"raised {type(error).__name__} {_place(error)}; the error's __cause__ holds it",
        try_next_link=getattr(error, "try_next_link", None),
    )
    wrapped.__cause__ = _without_our_frames(error)
    return wrapped


def _place(error: BaseException) -> str:
    """Where an exception was raised, without a word of what it says."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "somewhere"
    code = trace.tb_frame.f_code
    return f"at {os.path.basename(code.co_filename)}:{trace.tb_lineno} in {code.co_name}"  # noqa: PTH119 - see files.py


def _without_our_frames(error: BaseException) -> BaseException:
    """An exception of somebody else's, whose traceback shows no local variable of ours or of aiohttp's."""
    cause: BaseException | None = error
    while cause is not None:
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
