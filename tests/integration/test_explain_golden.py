"""``aiocreds explain`` on broken set-ups: the first screen names the cause, and golden/ shows all of it.

``AIOCREDS_REWRITE_GOLDEN=1`` writes the files anew; read what has changed before you keep it.
"""

from __future__ import annotations

import json
import os
import re
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiocreds._core.context import Context
from aiocreds._explain import WIDTH
from aiocreds.cli.explain import Report, examine
from aiocreds.sources.imds import ENDPOINTS, ROLES_PATH, TOKEN_PATH
from tests.helpers.broken_setups import CASES, Machine
from tests.helpers.loopback_aws import Answer
from tests.helpers.secret_leaks import MARK

if TYPE_CHECKING:
    from aiocreds._base.tracing import Event
    from aiocreds._explain import Step
    from tests.helpers.loopback_aws import Loopback

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent / "golden"
SCREEN = 24  # lines
REWRITE = os.environ.get("AIOCREDS_REWRITE_GOLDEN") == "1"
CHANGING = (  # what differs from run to run, and something as wide
    (re.compile(r"127\.0\.0\.1:\d{4,5}\b"), "127.0.0.1:50000"),
    (re.compile(r"\b20(?!20)\d\d-\d\d-\d\d([ T])\d\d:\d\d(:\d\d)?"), r"YYYY-MM-DD\1HH:MM"),
    (re.compile(r"\baiocreds-\d{13}"), "aiocreds-MILLISECONDS"),
    (re.compile(r"\b(3600|3599|3601) s "), "3600 s "),
)


def quick(event: Event) -> Event:
    """The event, as if it always took as long."""
    event = copy(event)
    event.seconds = event.seconds and 0.005
    return event


def still(step: Step) -> Step:
    """The step, as if the machine always took as long: the width of a number moves the line breaks."""
    looked_at = tuple(replace(look, events=tuple(map(quick, look.events))) for look in step.looked_at)
    steps = tuple(map(still, step.steps))
    left = step.seconds_left and round(step.seconds_left, -1)
    identity = step.identity and replace(step.identity, seconds_left=step.identity.seconds_left and left)
    return replace(step, seconds=0.005, looked_at=looked_at, steps=steps, seconds_left=left, identity=identity)


def shown(report: Report, *, as_json: bool) -> str:
    """Return the output of the command, without what differs from run to run."""
    explanation = replace(report.explanation, step=still(report.explanation.step))
    report = replace(report, explanation=explanation, check=report.check and still(report.check))
    text = json.dumps(report.document(), indent=2) if as_json else report.text(WIDTH)
    text = text.replace(f"{report.home}/", "~/")
    for pattern, instead in CHANGING:
        text = pattern.sub(instead, text)
    return text


@pytest.fixture
def machine(home: Path, aws: Loopback, deaf_port: int, monkeypatch: pytest.MonkeyPatch) -> Machine:
    cli = home / "bin/aws"  # else the messages would name aiocreds, where this machine has no AWS CLI
    cli.parent.mkdir()
    cli.touch(0o700)
    path = os.pathsep.join([str(cli.parent), os.environ["PATH"]])
    environ = {**aws.environ, "AWS_EC2_METADATA_DISABLED": "true", "PATH": path}
    return Machine(home, environ, aws, f"http://127.0.0.1:{deaf_port}", monkeypatch)


@pytest.mark.parametrize("name", CASES)
async def test_the_first_screen_names_the_cause(name: str, machine: Machine) -> None:
    case = CASES[name]
    case.prepare(machine)
    options = dict(case.options)
    as_json = options.pop("json", False)
    report = await examine(**options, context=Context(machine.environ, home=machine.home))
    text = shown(report, as_json=as_json)
    assert report.code == case.code
    assert MARK not in text
    if not as_json:
        for width in (80, WIDTH):
            lines = report.text(width).splitlines()[:SCREEN]
            assert case.cause in " ".join(" ".join(lines).replace("│", " ").split())
    words = [
        f"--{option.replace('_', '-')}{'' if value is True else f' {value}'}"
        for option, value in case.options.items()
    ]
    command = " ".join(["$ aiocreds explain", *words])
    document = f"# {case.prepare.__doc__}\n\n{command}\n{text}\n\nexit status {report.code}\n"
    path = GOLDEN / f"{name}.txt"
    if REWRITE:
        path.write_text(document, encoding="utf-8")
    assert document == path.read_text(encoding="utf-8")


@pytest.mark.skipif(REWRITE, reason="they are being written")
def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


def test_at_least_thirty_set_ups_are_broken() -> None:
    assert sum(case.code != 0 for case in CASES.values()) >= 30


async def test_a_stranger_at_the_metadata_address_is_no_set_up(
    machine: Machine, aws: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person behind such a proxy has to sign in, as anybody whose laptop has nothing set up."""
    monkeypatch.setitem(ENDPOINTS, "ipv4", aws.url)
    for path in (TOKEN_PATH, ROLES_PATH):
        aws.always(path, Answer(403, headers={"Server": "squid"}))
    for name in ("AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        machine.environ.pop(name, None)
    report = await examine(context=Context(machine.environ, home=machine.home))
    text = " ".join(report.text(WIDTH).split())
    assert report.code == 1
    assert "something else, such as a proxy, with HTTP 403" in text
    assert "On a laptop, sign in with aiocreds login" in text
