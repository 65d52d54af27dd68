"""A sign-in that is being renewed when the program ends, however that comes about, is renewed and kept.

The refresh token has been used by then: the service accepts none but the new one.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from textwrap import dedent
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.helpers.loopback_aws import Answer, Hang, Loopback
from tests.helpers.python_programs import environment
from tests.helpers.scripted import until
from tests.helpers.secret_leaks import MARK
from tests.helpers.shared_files import APP, cached, write_config
from tests.helpers.sign_in_services import OIDC, PORTAL

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")

ENDED = "2020-06-17T10:02:08Z"
# Tells when a new token is about to be written, which takes a while then.
BEGINNING = """
import asyncio, os, signal, sys, threading, time
import aiocreds.sources.sso.credentials
from aiocreds import Context, from_sso

class Slow:
    fsync = os.fsync

    def __call__(self, descriptor):
        os.write(1, b"writing\\n")  # print takes a lock, and a daemon thread may keep that at the end
        time.sleep(0.3)
        Slow.fsync(descriptor)

os.fsync = Slow()
provider = from_sso("app")

async def told():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

"""
# Each ends in mid-renewal when it is told to: by a line of input, or by a signal.
PROGRAMS: dict[str, tuple[str, signal.Signals | None, int]] = {
    "asyncio.run ends": (
        """
        async def main():
            asyncio.create_task(provider())
            await told()

        asyncio.run(main())
        """,
        None,
        0,
    ),
    "its last caller is cancelled": (
        """
        async def main():
            task = asyncio.create_task(provider())
            await told()
            task.cancel()

        asyncio.run(main())
        """,
        None,
        0,
    ),
    "the lifespan ends": (
        """
        async def main():
            async with provider:
                await told()

        asyncio.run(main())
        """,
        None,
        0,
    ),
    "the loop is stopped": (
        """
        loop = asyncio.new_event_loop()
        loop.create_task(provider())
        threading.Thread(target=lambda: (sys.stdin.readline(), loop.call_soon_threadsafe(loop.stop))).start()
        loop.run_forever()
        os.close(2)  # asyncio has a word to say of tasks that are left behind
        """,
        None,
        0,
    ),
    "the loop is closed": (
        """
        loop = asyncio.new_event_loop()
        loop.create_task(provider())
        threading.Thread(target=lambda: (sys.stdin.readline(), loop.call_soon_threadsafe(loop.stop))).start()
        loop.run_forever()
        loop.close()
        os.close(2)
        """,
        None,
        0,
    ),
    "sys.exit in a callback": (
        """
        async def main():
            asyncio.create_task(provider())
            await told()
            sys.exit(3)

        asyncio.run(main())
        """,
        None,
        3,
    ),
    "boto3's loop in the background": (
        """
        from aiocreds.integrations import _background
        threading.Thread(target=_background.current, args=(provider,), daemon=True).start()
        sys.stdin.readline()
        """,
        None,
        0,
    ),
    "Ctrl-C": (
        """
        try:
            asyncio.run(provider())
        except KeyboardInterrupt:
            pass
        """,
        signal.SIGINT,
        0,
    ),
    "Ctrl-C, which ends it at once": (
        """
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asyncio.run(provider())
        """,
        signal.SIGINT,
        -signal.SIGINT,
    ),
    "SIGTERM": ("asyncio.run(provider())", signal.SIGTERM, -signal.SIGTERM),
    "the terminal is closed": ("asyncio.run(provider())", signal.SIGHUP, -signal.SIGHUP),
    "SIGTERM, and a handler that exits": (
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
        asyncio.run(provider())
        """,
        signal.SIGTERM,
        4,
    ),
    "SIGTERM, and a handler of the loop": (
        """
        async def main():
            over = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
            asyncio.create_task(provider())
            await over.wait()

        asyncio.run(main())
        """,
        signal.SIGTERM,
        0,
    ),
    "SIGTERM, as uvicorn has it": (
        """
        import uvicorn

        async def app(scope, receive, send):
            pass

        async def main():
            asyncio.create_task(provider())
            config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off")
            await uvicorn.Server(config).serve()

        asyncio.run(main())
        """,
        signal.SIGTERM,
        -signal.SIGTERM,
    ),
    "a process of multiprocessing": (
        """
        import multiprocessing

        def child():
            async def main():
                asyncio.create_task(provider())
                await told()
            sys.stdin = os.fdopen(0)
            asyncio.run(main())

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        sys.exit(process.exitcode)
        """,
        None,
        0,
    ),
}


class Ended(NamedTuple):
    """A program that has ended."""

    status: int | None
    err: str
    seconds: float


@pytest.fixture
def environ(aws: Loopback, home: Path) -> dict[str, str]:
    return environment(home, aws.environ)


@pytest.fixture
def file(aws: Loopback, home: Path) -> Path:
    """A sign-in that has ended and can be renewed."""
    write_config(home, APP)
    return aws.sign_in.sso_login(home, expiresAt=ENDED)


def kept(aws: Loopback, file: Path) -> bool:
    """Return whether the file holds the refresh token that the service accepts."""
    registrations = aws.sign_in.registrations.values()
    return any(cached(file)["refreshToken"] in registration.refresh_tokens for registration in registrations)


async def ended_in_mid_renewal(
    how: str, environ: dict[str, str], aws: Loopback, moment: str, pause: float = 0.0
) -> Ended:
    """Run a program and end it at a moment of its renewal."""
    program, number, _ = PROGRAMS[how]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-c", BEGINNING + dedent(program)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            if moment == "asked":
                while not aws.count(OIDC):  # noqa: ASYNC110 - the service has no event for it
                    await asyncio.sleep(0.001)
            else:
                assert await process.stdout.readline() == b"writing\n"
            await asyncio.sleep(pause)
            begun = time.monotonic()
            if number is None:
                process.stdin.write(b"\n")
            else:
                process.send_signal(number)
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert MARK not in err.decode()
    return Ended(process.returncode, err.decode(), time.monotonic() - begun)


@pytest.mark.parametrize("moment", ["asked", "writing"])
@pytest.mark.parametrize("how", PROGRAMS)
async def test_the_new_sign_in_is_kept(
    how: str, moment: str, aws: Loopback, environ: dict[str, str], file: Path
) -> None:
    aws.script(OIDC, lambda answer: Answer(answer.status, answer.body, answer.headers, delay=0.4))
    ended = await ended_in_mid_renewal(how, environ, aws, moment)
    assert kept(aws, file)
    assert ended.status == PROGRAMS[how][2]
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert aws.count(OIDC) == 1
    assert not list(file.parent.glob("*.tmp"))


@pytest.mark.parametrize("how", ["asyncio.run ends", "SIGTERM"])
async def test_at_any_moment(how: str, aws: Loopback, environ: dict[str, str], home: Path, file: Path) -> None:
    """Before the answer, in the middle of it, and as it is written: some milliseconds apart."""
    for pause in (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16):
        aws.requests.clear()
        aws.sign_in.sso_login(home, expiresAt=ENDED)
        await ended_in_mid_renewal(how, environ, aws, "asked", pause)
        assert aws.count(OIDC) == 1
        assert kept(aws, file), pause


@pytest.mark.parametrize("how", ["asyncio.run ends", "SIGTERM", "Ctrl-C"])
async def test_a_service_that_does_not_answer_holds_it_back_for_three_seconds(
    how: str, aws: Loopback, environ: dict[str, str], file: Path
) -> None:
    aws.always(OIDC, Hang())
    ended = await ended_in_mid_renewal(how, environ, aws, "asked")
    assert ended.status == PROGRAMS[how][2]
    assert 2.5 < ended.seconds < 6, "with what it takes to end on a busy machine"
    assert "Traceback" not in ended.err


async def test_who_only_waits_for_another_holds_nothing_back(
    aws: Loopback, environ: dict[str, str], file: Path
) -> None:
    """The lock is another's: nothing has been used that could be lost."""
    aws.always(OIDC, Hang())
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BEGINNING + "asyncio.run(provider())"), env=environ
    )
    try:
        await until(lambda: aws.count(OIDC) == 1)
        program = BEGINNING + dedent("""
            async def main():
                asyncio.create_task(provider())
                await asyncio.sleep(0.3)
                print("ends", flush=True)

            asyncio.run(main())
        """)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program), env=environ, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ends\n"
        begun = time.monotonic()
        assert await process.wait() == 0
        assert time.monotonic() - begun < 2
    finally:
        holder.kill()
        await holder.wait()


async def test_the_handlers_of_the_program_are_put_back(aws: Loopback, environ: dict[str, str], file: Path) -> None:
    program = BEGINNING + dedent("""
        def mine(*_): ...
        signal.signal(signal.SIGHUP, mine)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

        async def main():
            task = asyncio.create_task(provider())
            seen = set()
            while not task.done():
                seen.add(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
                await asyncio.sleep(0.001)
            assert seen == {True, False}, seen
            await asyncio.sleep(0.05)

        asyncio.run(main())
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is mine
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    """)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env=environ,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")


async def test_a_process_that_becomes_a_command(aws: Loopback, environ: dict[str, str], home: Path) -> None:
    """The old sign-in is good still, and was used since the renewal takes so long: that goes with the process."""
    write_config(home, APP)
    expires = datetime.now(UTC) + timedelta(minutes=10)
    file = aws.sign_in.sso_login(home, expiresAt=f"{expires:%Y-%m-%dT%H:%M:%SZ}")
    used = asyncio.Event()

    def note_use(answer: Answer) -> Answer:
        used.set()
        return answer

    aws.script(OIDC, lambda answer: Answer(answer.status, answer.body, answer.headers, after=used, delay=1))
    aws.script(PORTAL, note_use)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiocreds", "exec", "--profile", "app", "--", "true"), env=environ
    )
    assert await process.wait() == 0
    assert aws.count(OIDC) == 1
    assert kept(aws, file)
