"""Check the packages that integrations need, and serve their functions by older names."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

from importlib.util import find_spec


def require(package: str, extra: str) -> None:
    """Check that a package is installed, without loading it.

    Raises:
        ModuleNotFoundError: it is not; the message holds the command that installs it.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"{extra} is not installed: pip install 'aiocreds[{extra}]'", name=package)


def renamed(module: str, old_names: Mapping[str, Callable[..., object]]) -> Callable[[str], object]:
    """Return a module's ``__getattr__`` that serves functions by the names that they had before.

    Args:
        module: its ``__name__``.
        old_names: the functions, by those names.
    """

    def find(name: str) -> object:
        if name not in old_names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        function = old_names[name]
        warnings.warn(f"{module}.{name} is called {function.__name__} now", DeprecationWarning, stacklevel=2)
        return function

    return find
