"""A pytest plugin that gives every test an empty AWS environment.

Load it in ``conftest.py``::

    pytest_plugins = ["aiocreds.testing.pytest_plugin"]
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def empty_aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Remove all ``AWS_`` variables, replace the home folder by an empty one, and turn EC2 metadata off.

    Returns:
        the new home folder: a test writes ``.aws/config`` there, or sets variables with ``monkeypatch``.
    """
    for name in list(os.environ):
        if name.upper().startswith("AWS_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return home
