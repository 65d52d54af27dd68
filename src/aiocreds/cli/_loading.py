"""Load the provider of a program by its name there."""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from aiocreds._core.decorator import as_provider, required_arguments
from aiocreds._core.provider import Provider
from aiocreds.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

PROVIDER_NAME = re.compile(r"(?P<module>[^:\s]+):(?P<path>[^:\s()]+)(?P<call>\(\))?")
SAFE_ERRORS = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
)  # their texts hold names, and no values


def load_provider(name: str) -> Provider:
    """Import the provider that is called ``package.module:name``.

    The folder in which the command runs can be imported from, as with ``python -m``.

    Args:
        name: of a provider or an async function; with ``()`` at its end, of a function to be called for one.

    Raises:
        InvalidConfiguration: there is no such thing, or importing or calling it fails.
    """
    option = f"--provider {name}"
    match = PROVIDER_NAME.fullmatch(name)
    if match is None:
        raise InvalidConfiguration(f"{option}: write package.module:name, such as myapp.aws:provider")
    if not sys.flags.safe_path and (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - pathlib is slow to load
        sys.path.insert(0, here)
    module = _imported(match["module"], option)
    found: Any = module
    for part in match["path"].split("."):
        if not hasattr(found, part):
            raise InvalidConfiguration(f"{option}: {match['module']} has no {match['path']}{_others(module)}")
        found = getattr(found, part)
    if match["call"] and not inspect.iscoroutinefunction(found):
        if missing := required_arguments(found):
            raise InvalidConfiguration(
                f"{option}: {match['path']} wants arguments ({', '.join(missing)}): write a function without"
                f" arguments that returns {match['path']}(...), and name that one"
            )
        found = _called(found, option)
    try:
        provider = as_provider(found, taker=option)
    except TypeError as error:
        raise InvalidConfiguration(str(error)) from None
    if inspect.isfunction(found) and not inspect.iscoroutinefunction(found):
        raise InvalidConfiguration(f"{option}: it is no async function; for what it returns, write {name}()")
    return provider


def _imported(module: str, option: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name and f"{module}.".startswith(f"{missing.name}."):
            here = os.getcwd()  # noqa: PTH109 - as above
            raise InvalidConfiguration(
                f"{option}: there is no {missing.name} in {here}, nor is it installed for {sys.executable}:"
                " run this in the folder of the program, with the Python that has what it needs"
            ) from None
        _fail(missing, f"{option}: importing {module} failed", f"python -c 'import {module}' shows all of it")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a program may raise anything
        _fail(error, f"{option}: importing {module} failed", f"python -c 'import {module}' shows all of it")


def _called(function: Callable[[], object], option: str) -> object:
    try:
        return function()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        _fail(error, f"{option}: calling it failed", "call it in Python to see all of it")


def _fail(error: BaseException, what: str, remedy: str) -> NoReturn:
    """Raise for a failure of the program, with the place; without its text where that may hold a secret."""
    said = f"{type(error).__name__}{f': {_text(error)}' if isinstance(error, SAFE_ERRORS) else ''}"
    raise InvalidConfiguration(f"{what} with {said}{_place(error)}; {remedy}") from None


def _text(error: BaseException) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib") and frame.filename != __file__
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _others(module: ModuleType) -> str:
    """Return the end of a message about a missing name: the providers that are there."""
    names = [name for name, value in vars(module).items() if isinstance(value, Provider)]
    return f"; its providers are {', '.join(sorted(names))}" if names else ""
