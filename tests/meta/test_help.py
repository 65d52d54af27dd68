"""The view of the package in help(), signatures and documentation tools."""

from __future__ import annotations

import inspect
import os
import pydoc
import subprocess
import sys

import pytest

import aiocreds
from tests.helpers.secret_leaks import MARK, secret

pytestmark = pytest.mark.slow

PLAIN = vars(pydoc)["plaintext"]  # typeshed does not know it


def test_help_shows_nothing_of_the_environment() -> None:
    program = (
        "import inspect, pydoc, aiocreds\n"
        "print(inspect.signature(aiocreds.Context), repr(aiocreds.Context()))\n"
        "for name in ['aiocreds', *(f'aiocreds.{name}' for name in aiocreds.__all__)]:\n"
        "    print(pydoc.render_doc(name, renderer=pydoc.plaintext))"
    )
    environ = {
        **os.environ,
        "AWS_SECRET_ACCESS_KEY": secret("environment"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert "from_temporary_credentials" in done.stdout
    assert MARK not in done.stdout


@pytest.mark.parametrize("name", ["from_env", "from_ini", "from_http", "from_process", "default_chain"])
def test_a_factory_is_shown_to_return_a_provider(name: str) -> None:
    assert inspect.signature(getattr(aiocreds, name)).return_annotation == "Provider"
    assert "Provider" in pydoc.render_doc(getattr(aiocreds, name), renderer=PLAIN).partition("\n\n")[2][:2000]
