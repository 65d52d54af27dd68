"""README.md and docs/: every program in them runs, every link leads somewhere, every name is there."""

from __future__ import annotations

import ast
import builtins
import dis
import re
from textwrap import dedent, indent
from typing import TYPE_CHECKING, NamedTuple

import pytest

import aiocreds
from tests.helpers.examples import EXAMPLES, ROOT, keys, run
from tests.helpers.tls import TLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import CodeType

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
TESTING = "docs/how-to/testing.md"
FORGE = "https://github.com/aiocreds/aiocreds/blob/main/"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A stand-in for Celery, which is too big to be installed for five lines.
CELERY = """
class Celery:
    def __init__(self, name): pass
    def task(self, function): return function
"""
SIGNALS = """
class worker_process_init:
    @staticmethod
    def connect(function):
        function(sender=None)
        return function
"""
INI = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings =
    ignore:.*httpx.*:DeprecationWarning
    ignore:.*httpx.*:UserWarning
"""
FRAGMENT = {"Annotated", "Credentials", "Depends", "app", "provider"}  # of the route, which is part of a program
LEFT_OUT = {
    "README.md": FRAGMENT,
    "docs/tutorial/first-program.md": FRAGMENT,
    "docs/how-to/custom-source.md": {"read"},  # the reader's own
}
AFTER = {  # what a program of a page is asked once it has run
    "docs/how-to/readiness.md": """
[route] = [it for it in app.routes if it.path == "/ready"]
answer = Response()
asyncio.run(route.endpoint(answer))
assert answer.status_code == 503
asyncio.run(provider())
asyncio.run(route.endpoint(answer))
assert answer.status_code == 200
""",
    "docs/how-to/workers.md": "assert repr(provider).startswith('<Provider chain')",
    "docs/how-to/migrating.md": """
async def key():
    return (await (await session.get_credentials()).get_frozen_credentials()).access_key


assert asyncio.run(key()) == "AKIAEXAMPLES00001"
""",
}


class Program(NamedTuple):
    """A program on a page."""

    page: str
    number: int
    code: str


def programs() -> Iterator[Program]:
    for path in PAGES:
        page = path.relative_to(ROOT).as_posix()
        blocks = [
            code for language, code in FENCE.findall(path.read_text(encoding="utf-8")) if language == "python"
        ]
        yield from (Program(page, number, code) for number, code in enumerate(blocks))


PROGRAMS = list(programs())
README = [it.code for it in PROGRAMS if it.page == "README.md"]


def test_there_are_programs() -> None:
    assert len(README) >= 4
    assert [code for code in README if "asyncio.run(" in code], "the first program is a whole one"
    assert len({it.page for it in PROGRAMS}) >= 10


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


async def test_the_first_program_of_the_readme_is_the_example(home: Path) -> None:
    (home / "readme.py").write_text(README[0])
    ended = await run(home / "readme.py", home=home, **keys())
    assert ended == (0, "Credentials(access_key_id='****0001', provider='env')\n", "")
    assert essence(README[0]) == essence((EXAMPLES / "first_program.py").read_text())


def essence(program: str) -> str:
    """Return the main() of a program, without docstrings and annotations."""
    [main] = [node for node in ast.parse(program).body if isinstance(node, ast.AsyncFunctionDef)]
    main.returns = None
    return ast.unparse(main)


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [it for it in PROGRAMS if it.page != TESTING],
    ids=lambda it: f"{it.page.rpartition('/')[2]}-{it.number}",
)
async def test_the_programs_run(program: Program, moto: str, home: Path) -> None:
    """A program without asyncio.run() or an end to check is the inside of an async function."""
    code, after = program.code, AFTER.get(program.page, "")
    for package in ("aws_sdk_bedrock_runtime", "openai"):  # the first needs Python 3.12
        if f"from {package}" in code:
            pytest.importorskip(package)
    frame = dedent("""
        import asyncio
        from typing import Annotated
        from fastapi import Depends, FastAPI
        from aiocreds import Credentials, default_chain

        app = FastAPI()
        provider = default_chain()

        async def main():
        {}

        asyncio.run(main())
    """)
    if after or "asyncio.run(" in code or "global " in code:
        code = f"import asyncio\n{code}\n{after}"
    else:
        code = frame.format(indent(code if "provider = " in code else "global provider\n" + code, "    "))
    if "celery" in code:
        (home / "celery").mkdir()
        (home / "celery/__init__.py").write_text(CELERY)
        (home / "celery/signals.py").write_text(SIGNALS)
    if "global-bundle.pem" in code:
        TLS(home).ca.rename(home / "global-bundle.pem")
    (home / "program.py").write_text(code)
    (home / ".aws/config").write_text("[profile reporting]\nregion = eu-central-1\n")
    ended = await run(home / "program.py", home=home, AWS_ENDPOINT_URL=moto, SHARED_KEY="A" * 43 + "=", **keys())
    assert (ended.status, ended.err) == (0, ""), ended.err


@pytest.mark.parametrize(
    "program",
    [it for it in PROGRAMS if it.page != TESTING],
    ids=lambda it: f"{it.page.rpartition('/')[2]}-{it.number}",
)
def test_the_programs_can_be_copied(program: Program) -> None:
    """All names are there, those that a function uses once it is called as well."""
    code = compile(program.code, program.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    missing = set(names("LOAD", code)) - set(names("STORE", code)) - set(dir(builtins))
    assert missing <= LEFT_OUT.get(program.page, set())


def names(action: str, code: CodeType) -> Iterator[str]:
    """Yield the global names that a program loads or stores."""
    for step in dis.get_instructions(code):
        if step.opname in {f"{action}_NAME", f"{action}_GLOBAL"}:
            yield step.argval
    for part in code.co_consts:
        if isinstance(part, type(code)):
            yield from names(action, part)


@pytest.mark.slow
async def test_the_tests_of_the_testing_page_pass(home: Path) -> None:
    """Its blocks in order are a test module, but for the first, which is of conftest.py."""
    first, *blocks = [it.code for it in PROGRAMS if it.page == TESTING]
    (home / "conftest.py").write_text(first)
    (home / "test_page.py").write_text("\n".join(blocks))
    (home / "pytest.ini").write_text(INI)
    ended = await run("-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", home=home, **keys())
    assert ended.status == 0, ended
    assert (
        f"{sum(len(re.findall(r'^(?:async )?def test_', code, re.MULTILINE)) for code in blocks)} passed"
        in ended.out
    )


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda it: it.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(FORGE):
            assert (ROOT / target.removeprefix(FORGE)).exists(), target
        elif not target.startswith(("https://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_what_happens_when_is_shown_by_tests_that_are_there() -> None:
    page = (DOCS / "explanation/outages.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "shown by" not in line]
    assert len(rows) >= 10
    for row in rows:
        name, file = re.findall(rf"\[`(test_\w+)`\]\({re.escape(FORGE)}(tests/[\w/]+\.py)\)", row)[0]
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), row


def test_the_api_page_has_every_public_name() -> None:
    page = (DOCS / "reference/api.md").read_text(encoding="utf-8")
    assert [
        name for name in aiocreds.__all__ if not re.search(rf"^\.\. auto\w+:: {name}$", page, re.MULTILINE)
    ] == []
    for file in (ROOT / "src/aiocreds").glob("integrations/[a-z]*.py"):
        if file.stem == "sigv4":  # what the next two share
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if any(
                    isinstance(base, ast.Name) and base.id == "TypedDict" for base in getattr(node, "bases", ())
                ):
                    continue
                assert f":: aiocreds.integrations.{file.stem}.{node.name}\n" in page


def test_the_index_has_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    names = [path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES[1:]]
    assert [name for name in names if name != "index" and f"\n{name}\n" not in index] == []
