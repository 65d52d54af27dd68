"""aiocreds.testing: fakes that behave as real providers do, and the plugin in a project of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from aiocreds import (
    CredentialsNotFound,
    InvalidConfiguration,
    ServiceRefused,
    SourceUnavailable,
    chain,
    default_chain,
    from_env,
)
from aiocreds.testing import TestClock, empty_context, fake_credentials, scripted, static
from tests.helpers.scripted import settle
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from pathlib import Path

HOUR = 3600.0
# The advisory window of an hour is 15 minutes and opens up to a fifth of that later; the mandatory one is a minute.
BEFORE, ADVISORY, MANDATORY = HOUR - 16 * 60, HOUR - 11 * 60, HOUR - 30


@pytest.fixture(autouse=True)
def traceable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the watch over secrets recognise those of fake credentials."""
    monkeypatch.setattr("aiocreds.testing.SECRET", secret())
    monkeypatch.setattr("aiocreds.testing.TOKEN", secret("token"))


async def test_fixed_credentials() -> None:
    credentials = await static()()
    assert credentials == await static()()
    assert (credentials.account_id, credentials.expiration) == ("123456789012", None)
    mine = fake_credentials("mine", lifetime=HOUR)
    assert await static(mine)() is mine
    assert mine.access_key_id.endswith("MINE")


async def test_the_refresh_windows_of_a_real_provider() -> None:
    clock = TestClock()
    provider = scripted(HOUR, HOUR, HOUR, clock=clock)
    first = await provider()
    clock.move(BEFORE)
    assert await provider() is first
    assert provider.calls == 1
    clock.move(ADVISORY - BEFORE)
    assert await provider() is first, "served at once, while a refresh runs in the background"
    await settle()
    assert provider.calls == 2
    second = await provider()
    assert second.access_key_id != first.access_key_id
    clock.move(timedelta(seconds=MANDATORY))
    assert await provider() not in (first, second), "in the last minute a caller waits"
    assert provider.calls == 3


async def test_a_failing_source() -> None:
    clock = TestClock()
    provider = scripted(HOUR, SourceUnavailable("down"), clock=clock)
    first = await provider()
    clock.move(MANDATORY)
    assert await provider() is first
    assert isinstance(provider.status.last_error, SourceUnavailable)
    assert await provider() is first
    assert provider.calls == 2, "the source is not asked again for 5 s"
    provider.add(HOUR)
    clock.move(6)
    assert await provider() is not first


async def test_expired_and_refused() -> None:
    clock = TestClock()
    provider = scripted(HOUR, ServiceRefused("no", code="AccessDenied"), clock=clock)
    await provider()
    clock.move(HOUR + 1)
    with pytest.raises(ServiceRefused, match="no"):
        await provider()


async def test_a_chain_of_scripts() -> None:
    clock = TestClock()
    held = fake_credentials("held", lifetime=HOUR, clock=clock)
    left, right = scripted(CredentialsNotFound("sealed"), clock=clock), scripted(held, clock=clock)
    assert await chain(left, right)() == held
    assert (left.calls, right.calls) == (1, 1)


async def test_many_callers_have_one_answer() -> None:
    provider = scripted(HOUR)
    answers = await asyncio.gather(*(provider() for _ in range(100)))
    assert len({id(it) for it in answers}) == 1
    assert provider.calls == 1


async def test_a_script_that_ends_too_early_says_so() -> None:
    with pytest.raises(SourceUnavailable) as caught:
        await scripted()()
    assert "its script has fewer answers" in str(caught.value.__cause__)


def test_the_clock_moves_forward() -> None:
    clock = TestClock()
    before = clock.date()
    clock.move(timedelta(hours=2))
    assert timedelta(hours=2) <= clock.date() - before < timedelta(hours=2, minutes=1)
    assert clock.offset == 2 * HOUR
    with pytest.raises(ValueError, match="duration"):
        clock.move(-1)


async def test_a_clock_is_not_put_right_by_a_service() -> None:
    clock = TestClock()
    clock.move(HOUR)
    clock.learn(-10)
    assert clock.offset == HOUR


async def test_an_empty_context_sees_nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEMACHINE1")
    with pytest.raises(CredentialsNotFound):
        await default_chain(context=empty_context())()
    with pytest.raises(InvalidConfiguration):
        await from_env(context=empty_context({"AWS_ACCESS_KEY_ID": "AKIATEST00000001"}))()


# The plugin.

CONFTEST = 'pytest_plugins = ["aiocreds.testing.pytest_plugin"]\n'
TESTS = """
import os
from pathlib import Path

import pytest
from aiocreds import CredentialsNotFound, Context, from_ini, default_chain

pytestmark = pytest.mark.asyncio


async def test_nothing_is_there():
    assert {name for name in os.environ if name.startswith("AWS_")} == {"AWS_EC2_METADATA_DISABLED"}
    assert not list(Path.home().iterdir())
    with pytest.raises(CredentialsNotFound):
        await default_chain()()


async def test_a_profile(empty_aws_environment, tmp_path):
    (tmp_path / "home").mkdir()  # the test's own folder is its own
    assert Path.home() == empty_aws_environment
    (empty_aws_environment / ".aws").mkdir()
    (empty_aws_environment / ".aws/config").write_text(
        "[default]\\naws_access_key_id = AKIDTEST0000\\naws_secret_access_key = x\\n"
    )
    assert (await from_ini()()).access_key_id == "AKIDTEST0000"


async def test_the_next_one_finds_nothing_of_that():
    assert not list(Path.home().iterdir())


async def test_a_variable(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "dev")
    assert os.environ["AWS_PROFILE"] == "dev"
"""


async def run_pytest(folder: Path, home: Path) -> tuple[int | None, str]:
    """Run the toy project on a machine with credentials in its variables and its home folder."""
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/config").write_text("[default]\naws_access_key_id = AKIDREAL0000\naws_secret_access_key = x\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "."),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": "AKIAREAL00000001",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_CONFIG_FILE": str(home / ".aws/config"),
        },
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@pytest.mark.slow
@pytest.mark.parametrize("plugin", [True, False])
async def test_the_plugin_in_a_project(plugin: bool, tmp_path: Path) -> None:
    """Without it, the same tests see the machine's credentials."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    (project / "conftest.py").write_text(CONFTEST if plugin else "")
    (project / "test_toy.py").write_text(TESTS)
    status, out = await run_pytest(project, tmp_path / "home")
    assert ("4 passed" in out) == plugin, out
    assert (status == 0) == plugin
