"""A machine on which things break: its services on loopback, its files, its programs, its clock."""

from __future__ import annotations

import itertools
import json
import os
from collections import deque
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Self

from aiocreds import Context
from tests.helpers.loopback_aws import (
    CONTAINER_PATH,
    ROLE,
    ROLES_PATH,
    TOKEN_PATH,
    Answer,
    Loopback,
    Reset,
    Script,
    sts_error,
)
from tests.helpers.secret_leaks import secret
from tests.helpers.sign_in_services import ACCOUNT, OIDC, PERMISSION_SET, PORTAL, START_URL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from random import Random

    import time_machine

    from tests.stress.soak.ledger import Book

TIMEOUT = 0.5  # real seconds, for whatever goes over a socket
LONGEST_ANSWER = 60.0  # seconds of moved time; what was on its way for longer may be too old
JUMPS = (1.0, 10.0), (30.0, 300.0), (300.0, 1800.0), (1800.0, 6 * 3600.0)  # seconds of moved time
WEIGHTS = 8, 6, 4, 1
TOLERATED = 300.0  # seconds that services let a clock be off
CLOCK_OFF = timedelta(minutes=10)
LIFETIMES = timedelta(minutes=20), timedelta(hours=1), timedelta(hours=6)
PATHS = (TOKEN_PATH, ROLES_PATH, ROLES_PATH + ROLE, CONTAINER_PATH, "/", PORTAL, OIDC)
CONFIG = f"""[profile app]
sso_session = corp
sso_account_id = {ACCOUNT}
sso_role_name = {PERMISSION_SET}
[sso-session corp]
sso_region = eu-central-1
sso_start_url = {START_URL}
"""
ANSWERS: dict[str, Callable[[], Script]] = {
    "500": lambda: Answer(500),
    "429": lambda: Answer(429),
    "reset": Reset,
    "no answer in time": lambda: Answer(delay=3 * TIMEOUT),
    "cut short": lambda: Answer(body="{" + 200 * " ", cut=True),
    "garbage": lambda: Answer(body="<html>hello</html>"),
    "empty": lambda: Answer(),
    "byte by byte": lambda: Answer(body=100 * " ", drip=0.02),
    "too much": lambda: Answer(body=100_000 * " "),
}
REFUSALS: dict[str, Callable[[], Script]] = {  # of STS
    "AccessDenied": lambda: sts_error("AccessDenied"),
    "ExpiredToken": lambda: sts_error("ExpiredToken", status=400),
    "Throttling": lambda: sts_error("Throttling", status=400),
}
PROGRAMS = {
    "exit status": f"echo {secret('on stderr')} >&2; exit 3",
    "never ends": "exec sleep 60",
    "garbage": f"echo {secret('on stdout')}",
    "flood": "yes | head -c 200000",
}


class Machine:
    """The environment of the real sources.

    Attributes:
        aws: its services.
        context: of the sources.
        command: prints credentials.
        disturbed: the number of the event since which everything has been in order.
        moved: how far time was moved, in seconds.
    """

    def __init__(self, home: Path, book: Book, random: Random, clock: time_machine.Traveller) -> None:
        self.aws = Loopback()
        self.context = Context(environ={}, home=home)
        self.command = f"sh {home / 'vend'}"
        self.disturbed = 0.0
        self.moved = 0.0
        self._home, self._book, self._random, self._clock = home, book, random, clock
        self._trouble: list[tuple[int, ExitStack]] = []
        self._tokens = deque([secret("web")], maxlen=16)
        self._numbers = itertools.count(1)
        self._stack = AsyncExitStack()
        self._program: str | None = None
        self._token_file: str | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.aws)
        (self._home / ".aws").mkdir()
        (self._home / ".aws" / "config").write_text(CONFIG)
        self.context.environ = {  # the PATH is for `sh`
            **self.aws.environ,
            "PATH": os.environ["PATH"],
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.aws.url + CONTAINER_PATH,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(self._home / "token"),
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/web",
        }
        self.sign_in()
        self.put()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.calm()
        await self._stack.aclose()

    def out_of_order_since(self, began: int) -> bool:
        """Return whether anything was out of order at any time since then."""
        return bool(self._trouble) or self.disturbed > began

    def beat(self) -> None:
        """A moment passes: time jumps, troubles end and begin, files and lifetimes change."""
        before, self.disturbed = self.disturbed, inf
        jump = self._random.uniform(*self._random.choices(JUMPS, WEIGHTS)[0])
        self._clock.shift(jump)
        self.moved += jump
        over = [trouble for left, trouble in self._trouble if left == 0]
        for trouble in over:
            trouble.close()
        self._trouble = [(left - 1, trouble) for left, trouble in self._trouble if left]
        if self._random.random() < 0.25:
            self._break()
        if self._random.random() < 0.05:
            self.sign_in()
        if self._random.random() < 0.3:
            self._tokens.append(secret("web"))
        self.put()
        if abs(offset := self.context.clock.offset) > CLOCK_OFF.total_seconds() + TOLERATED:
            self._book.accuse(f"the clock was put right by {offset:.0f} s, and that is wrong")
            self.context.clock.learn(0.0)
        self.disturbed = self._book.next() if over or jump > LONGEST_ANSWER else before

    def calm(self) -> None:
        """Let everything be in order again."""
        self.disturbed = inf
        for _, trouble in self._trouble:
            trouble.close()
        self._trouble.clear()
        self.put()
        self.disturbed = self._book.next()

    def forget(self) -> None:
        """Drop what the services remember of the past, which is not to count as growth."""
        self.aws.requests.clear()
        self.aws.assumed.clear()
        self.aws._issued.clear()  # pyright: ignore[reportPrivateUsage] - a test of its own would rather keep it
        self.aws.sign_in.access_tokens.clear()
        self.aws.sign_in.registrations.clear()
        self.sign_in()

    def sign_in(self) -> None:
        """A person signs in."""
        self.aws.sign_in.sso_login(self._home, registered=timedelta(days=36500))

    def put(self) -> None:
        """Put what the sources read into its files."""
        if not self._trouble:
            self.aws.lifetime = self._random.choice(LIFETIMES)
        self.aws.web_tokens = set(self._tokens)
        self._write("token", self._tokens[-1] if self._token_file is None else self._token_file)
        self._write("vend", self._program or f"exec cat {self._home / 'issued'}")
        expiration = datetime.now(UTC) + self.aws.lifetime
        issued = {
            "Version": 1,
            "AccessKeyId": f"ASIAPROCESS{next(self._numbers):08}",
            "SecretAccessKey": secret("process"),
            "SessionToken": secret("process-token"),
            "Expiration": f"{expiration:%Y-%m-%dT%H:%M:%SZ}",
        }
        self._write("issued", json.dumps(issued))

    def _write(self, name: str, text: str) -> None:
        new = self._home / f"{name}.new"
        new.write_text(text)
        new.replace(self._home / name)

    # What may go wrong. Each lasts for as long as it is entered.

    def _break(self) -> None:
        random, trouble = self._random, ExitStack()
        kind = random.choice((self._answer, self._answer, self._answer, self._refuse, self._issue, self._local))
        name = trouble.enter_context(kind())
        self._book.count(f"fault outside: {name}")
        self._trouble.append((random.randint(0, 4), trouble))

    @contextmanager
    def _answer(self) -> Iterator[str]:
        name, script = self._random.choice([*ANSWERS.items()])
        paths = self._random.sample(PATHS, self._random.randint(1, len(PATHS)))
        for path in paths:
            self.aws.always(path, script())
        yield name
        for path in paths:
            self.aws.always(path, None)

    @contextmanager
    def _refuse(self) -> Iterator[str]:
        code, script = self._random.choice([*REFUSALS.items()])
        self.aws.always("/", script())
        yield code
        self.aws.always("/", None)

    @contextmanager
    def _issue(self) -> Iterator[str]:
        what = self._random.choice(("expired", "same again", "clock off", "unknown web token"))
        match what:
            case "expired":
                self.aws.lifetime = -timedelta(minutes=1)
            case "same again":
                self.aws.rotate = False
            case "clock off":
                self.aws.clock = self._random.choice((-1, 1)) * CLOCK_OFF
            case _:
                self._tokens.clear()
                self._tokens.append(secret("web"))
                self._token_file = secret("unknown")
        yield what
        self.aws.rotate, self.aws.clock, self.aws.lifetime = True, timedelta(), LIFETIMES[1]
        self._token_file = None

    @contextmanager
    def _local(self) -> Iterator[str]:
        name, self._program = self._random.choice([*PROGRAMS.items()])
        if self._random.random() < 0.5:
            self._token_file = ""
        yield f"program: {name}"
        self._program = self._token_file = None
