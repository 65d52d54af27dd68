"""What the integrations share: the check for their packages, and names of the last release."""

from __future__ import annotations

import warnings
from importlib.util import find_spec


def require(package: str, extra: str) -> None:
    """Check that a package is installed, without loading it.

    Raises:
        ModuleNotFoundError: it is not; the message has the command that installs it.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"{extra} is not installed: pip install 'aiocreds[{extra}]'", name=package)


def warn_renamed(module: str, old: str, new: str) -> None:
    """Warn the caller of a public function that it goes by its name of the last release."""
    words = f"{module}.{old}() is now called {new}(), and the old name goes with the next release"
    warnings.warn(words, DeprecationWarning, stacklevel=3)
