"""The cost of a new source: its file, its test, the list of names, and the page that lists them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
API = "docs/reference/api.md"
PAGE = API if (ROOT / API).exists() else "README.md"
NAMES = "src/aiocreds/__init__.py"
SOURCE, TEST = "src/aiocreds/sources/toy.py", "tests/unit/sources/test_toy.py"

TOY = '''\
"""Credentials from a toy."""

from __future__ import annotations

from aiocreds._core.context import DEFAULT, Context
from aiocreds._core.decorator import credential_provider
from aiocreds.credentials import Credentials
from aiocreds.errors import CredentialsNotFound


@credential_provider
async def from_toy(*, context: Context = DEFAULT) -> Credentials:
    """Get credentials from ``TOY_KEY`` and ``TOY_SECRET``.

    Raises:
        CredentialsNotFound: it is not set.
    """
    key = context.setting("TOY_KEY")
    if key is None:
        raise CredentialsNotFound("TOY_KEY is not set")
    return Credentials(key, context.setting("TOY_SECRET") or "", provider="toy")
'''
TEST_OF_TOY = """\
import sys

import pytest

import aiocreds
from aiocreds import Context, CredentialsNotFound
from tests.helpers.secret_leaks import secret

KEYS = {"TOY_KEY": "AKIATOY", "TOY_SECRET": secret()}


async def test_it_is_loaded_when_it_is_used_and_gives_credentials() -> None:
    assert "from_toy" in dir(aiocreds)
    provider = aiocreds.from_toy(context=Context(KEYS))
    assert "aiocreds.sources.toy" in sys.modules
    assert (await provider()).access_key_id == "AKIATOY"


async def test_a_chain_goes_on() -> None:
    toy = aiocreds.from_toy(context=Context({}))
    with pytest.raises(CredentialsNotFound, match="from_toy: TOY_KEY is not set"):
        await aiocreds.chain(toy)()


async def test_explain_knows_it() -> None:
    explanation = await aiocreds.explain(aiocreds.from_toy(context=Context(KEYS)))
    assert explanation.step.name == "from_toy"
    assert "from_toy" in str(explanation)
"""
HELP = """\
import pydoc, sys, aiocreds
assert "aiocreds.sources.toy" not in sys.modules
print(pydoc.render_doc("aiocreds.from_toy", renderer=pydoc.plaintext))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project to which the toy has been added."""
    copy = tmp_path / "project"
    for part in ("src", "tests", "docs"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / part, copy / part)
    (copy / SOURCE).write_text(TOY)
    (copy / TEST).write_text(TEST_OF_TOY)
    edit(copy / NAMES, '    "from_token_file",\n', '    "from_token_file",\n    "from_toy",\n')
    typed = "    from aiocreds.sources.web_identity import"
    edit(copy / NAMES, typed, f"    from aiocreds.sources.toy import from_toy\n{typed}")
    edit(copy / NAMES, '    "from_web_token": ', '    "from_toy": "sources.toy",\n    "from_web_token": ')
    line = next(line for line in (copy / PAGE).read_text().split("\n") if "from_token_file" in line)
    edit(copy / PAGE, line, f"{line}\n{line.replace('from_token_file', 'from_toy')}")
    return copy


def edit(file: Path, text: str, instead: str) -> None:
    """Replace the first of a text that is there."""
    before = file.read_text()
    assert text in before
    file.write_text(before.replace(text, instead, 1))


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the copy."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(project / "src"), str(project)))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)


def run_tests(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests that every source has to pass, and the toy's own."""
    tests = ["tests/unit/test_public_names.py", *([TEST] if (project / TEST).exists() else [])]
    options = ("-q", "-n0", "-p", "no:cacheprovider", "-k", "not load_nothing_heavy")
    return run(project, "-m", "pytest", *options, *tests)


def touched(project: Path) -> set[str]:
    """The files of the copy that the project has not, or has otherwise."""
    files = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    files = {file for file in files if "__pycache__" not in file}
    return {f for f in files if not (ROOT / f).exists() or (ROOT / f).read_bytes() != (project / f).read_bytes()}


@pytest.mark.timeout(120)
def test_a_source_costs_four_files(project: Path) -> None:
    assert touched(project) == {SOURCE, TEST, NAMES, PAGE}
    done = run_tests(project)
    assert done.returncode == 0, done.stdout
    assert "Get credentials from ``TOY_KEY``" in run(project, "-c", HELP).stdout


@pytest.mark.timeout(120)
@pytest.mark.parametrize("left_out", [TEST, NAMES, PAGE])
def test_none_of_them_can_be_left_out(project: Path, left_out: str) -> None:
    (project / left_out).unlink()
    if (ROOT / left_out).exists():
        shutil.copy(ROOT / left_out, project / left_out)
    done = run_tests(project)
    assert done.returncode == 1, done.stdout
    assert "toy" in done.stdout
