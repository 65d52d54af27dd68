"""The plugin that looks for secrets: it catches one in every place where people look, and nothing else."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from xml.etree import ElementTree as ET

import pytest

from aiocreds import default_chain
from tests.helpers.planted_secrets import CAUGHT
from tests.helpers.secret_leaks import secret_in
from tests.helpers.secret_leaks_plugin import Place

if TYPE_CHECKING:
    from aiocreds import Context
    from tests.helpers.loopback_aws import Loopback

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 50.0


async def run(*arguments: object, cwd: Path = ROOT) -> tuple[int | None, str]:
    """Run pytest; its status, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        out = (await process.stdout.read()).decode()  # it tells what was caught
        return await process.wait(), out


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the findings of the plugin about each of the planted tests."""
    report = tmp_path_factory.mktemp("planted") / "report.xml"
    status, out = asyncio.run(run(ROOT / "tests" / "helpers" / "planted_secrets.py", f"--junitxml={report}"))
    assert status == 1, out
    return {
        case.attrib["name"]: "\n".join(fault.text or "" for fault in case.findall("error"))
        for case in ET.parse(report).iter("testcase")
    }


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_secret(name: str, verdicts: dict[str, str]) -> None:
    place, verdict = CAUGHT[name], verdicts[name]
    if place == "exception" and sys.version_info < (3, 12):
        pytest.skip("what tells of the frames that an exception leaves came with Python 3.12")
    if place is None:
        assert not verdict
        return
    assert f"planted_secrets.py::{name}:" in verdict, "the test is named"
    found = [one for one in get_args(Place) if f"a secret in {one}:" in verdict]
    assert found == ([place] if place in get_args(Place) else [])
    assert place in verdict


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["alone", "with a worker"])
async def test_what_turns_up_outside_of_any_test_fails_the_run(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import logging\n"
        "from tests.helpers.secret_leaks import secret\n"
        "pytest_plugins = ['tests.helpers.secret_leaks_plugin']\n"
        "def pytest_sessionfinish(session):\n"
        "    if not session.config.pluginmanager.has_plugin('dsession'):\n"
        "        logging.getLogger('aiocreds').debug('at last: %s', secret())\n"
    )
    (tmp_path / "test_innocent.py").write_text("def test_innocent():\n    pass\n")
    status, out = await run(*options, tmp_path, cwd=tmp_path)
    assert status == 1, out
    assert "1 passed" in out
    assert "secrets outside of any test" in out
    assert "a secret in log: …at last: " in out


async def test_a_whole_run_is_listened_to(
    aws: Loopback,
    context: Context,
    environ: dict[str, str],
    home: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "aiocreds._core.refresh.QUICK_REJECTION", 0.0
    )  # as if there was a minute between the rejections
    (home / ".aws" / "config").write_text(
        "[profile app]\nrole_arn = arn:aws:iam::123456789012:role/app\ncredential_source = Ec2InstanceMetadata\n"
        "[profile audit]\nrole_arn = arn:aws:iam::123456789012:role/audit\nsource_profile = app\n"
    )
    environ.update(aws.environ, AWS_PROFILE="audit")
    async with default_chain(context=context) as provider:
        first = await provider()
        provider.invalidate(first)
        second = await provider()
        assert second.access_key_id != first.access_key_id
        aws.down("/")  # STS
        provider.invalidate()
        await provider()  # the old ones are served on, and a warning says so
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "HTTP 503" in text, "the run has logged a failure"
    assert "attempt 1 of" in text, "the run has logged requests"
    assert secret_in(text) is None
    for credentials in (first, second):
        assert secret_in(credentials.access_key_id) == credentials.access_key_id
        assert secret_in(credentials.secret_access_key)
        assert secret_in(credentials.session_token or "")
