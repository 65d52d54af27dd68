"""Fixtures of the tests of sources."""

from __future__ import annotations

import pytest

from tests.helpers.credential_programs import Programs


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Programs:
    """A folder for programs, which are the only ones on the PATH besides the system's."""
    return Programs(tmp_path_factory.mktemp("machine"), environ)
