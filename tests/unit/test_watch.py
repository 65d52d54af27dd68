"""The watch on the log: that it catches what it should, and that a whole run gives it nothing to catch."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiocreds import CredentialsError, default_chain
from tests.hush import MARK, Watch, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiocreds import Context
    from tests.loopback import Loopback

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trap() -> Iterator[tuple[logging.Logger, Watch]]:
    """A logger of ours that only a second watch hears, and that watch."""
    logger = logging.getLogger("aiocreds.planted")
    watch = Watch()
    logger.propagate = False  # or the watch that every test has would fail this one
    logger.setLevel(logging.DEBUG)
    logger.addHandler(watch)
    yield logger, watch
    logger.removeHandler(watch)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_a_secret_in_the_text_is_caught(trap: tuple[logging.Logger, Watch]) -> None:
    logger, watch = trap
    logger.debug("got %s", secret())
    logger.debug("nothing here")
    assert len(watch.caught) == 1
    assert watch.records == 2


def test_a_secret_among_the_arguments_is_caught_even_when_the_text_leaves_it_out(
    trap: tuple[logging.Logger, Watch],
) -> None:
    logger, watch = trap
    logger.debug("got %(key)s", {"key": "AKIA", "secret": secret()})
    assert len(watch.caught) == 1


def test_a_secret_in_a_traceback_is_caught(trap: tuple[logging.Logger, Watch]) -> None:
    logger, watch = trap
    try:
        raise CredentialsError(f"the service said {secret()}")
    except CredentialsError:
        logger.exception("it failed")
    assert len(watch.caught) == 1


async def test_a_planted_secret_fails_the_test_that_logs_it(tmp_path: Path) -> None:
    """The fixtures of this suite, in a suite of two tests of which one gives a secret away."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import never_block, watch\n")
    (tmp_path / "test_planted.py").write_text(
        "import logging\n"
        "from tests.hush import secret\n"
        "def test_honest():\n"
        "    logging.getLogger('aiocreds.sources.env').debug('nothing to see')\n"
        "def test_planted():\n"
        "    logging.getLogger('aiocreds.sources.env').debug('signing with %s', secret())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider"),
        *("-p", "no:randomly", "-o", "addopts=", "-q", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    out = (await process.communicate())[0].decode()
    assert process.returncode == 1, out
    assert "2 passed, 1 error" in out  # it is found when the test is over
    assert "ERROR at teardown of test_planted" in out
    assert "a secret was logged: ['signing with" in out


async def test_a_whole_run_shows_no_secret(
    aws: Loopback,
    context: Context,
    environ: dict[str, str],
    home: Path,
    watch: Watch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (home / ".aws" / "config").write_text(
        "[profile app]\nrole_arn = arn:aws:iam::123456789012:role/app\ncredential_source = Ec2InstanceMetadata\n"
        "[profile audit]\nrole_arn = arn:aws:iam::123456789012:role/audit\nsource_profile = app\n"
    )
    environ.update(aws.environ, AWS_PROFILE="audit")
    with caplog.at_level(logging.DEBUG, "aiocreds"):
        async with default_chain(context=context) as provider:
            first = await provider()
            provider.invalidate(first)
            second = await provider()
            assert second.access_key_id != first.access_key_id
            aws.down("/")  # STS
            provider.invalidate()
            await provider()  # the old ones are served on, and a warning says so
    assert not watch.caught
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "HTTP 503" in text, "the run has logged a failure"
    assert "attempt 1 of" in text, "the run has logged requests"
    for credentials in (first, second):
        assert credentials.secret_access_key not in text
        assert credentials.session_token
        assert credentials.session_token not in text
        assert credentials.access_key_id not in text
    assert aws.imds_token not in text
    assert MARK not in text
