"""No module imports a test module: what tests share is in `tests/helpers`, or a fixture in a ``conftest.py``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]


def imported(source: str) -> list[str]:
    """Return the parts of all names of modules, and of what is taken from them, that a source imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return [part for name in names for part in name.split(".")]


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.test_errors import helper",
        "def late():\n    from .test_errors import helper",
        "from . import test_errors",
        "from tests.unit import test_errors as other",
        "import tests.unit.test_errors",
    ],
)
def test_an_import_of_a_test_module_is_seen(source: str) -> None:
    assert "test_errors" in imported(source)


def test_no_module_imports_a_test_module() -> None:
    modules = {path.stem for path in TESTS.rglob("test_*.py")}
    assert "test_errors" in modules
    found = {
        f"{path.relative_to(TESTS)}: {name}"
        for path in TESTS.rglob("*.py")
        for name in imported(path.read_text(encoding="utf-8"))
        if name in modules
    }
    assert not found, "move what they share to tests/helpers"
