"""What a leaf stands on besides aiocreds itself."""

from __future__ import annotations

from importlib.util import find_spec


def require(package: str, extra: str) -> None:
    """See that a package is there, without loading it.

    Raises:
        ModuleNotFoundError: it is not; the message holds the command that installs it.
    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"{extra} is not installed: pip install 'aiocreds[{extra}]'", name=package)
