"""``python3 noxfile.py`` on a machine without nox, and what becomes of it when somebody interrupts it.

The set-up is the real one, with pip's own program; the nox that it installs is a small one from a folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.command import PATIENCE, Ended
from tests.helpers.terminal import CTRL_C, at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as POSIX has them"),
    pytest.mark.skipif(find_spec("ensurepip") is None, reason="this Python cannot make environments with pip"),
    pytest.mark.timeout(180),
]
NOXFILE = Path(__file__).parents[2] / "noxfile.py"
SETTING_UP = 60.0  # seconds; pip is slow on a busy machine
FAKE = """
import sys, time
print("nox was given", sys.argv[1:], flush=True)
if "hang" in sys.argv:
    time.sleep(60)
"""


class Checkout:
    """A checkout on a machine without nox, and without a network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environments = folder / ".nox"
        self.home = self.environments / "bootstrap"
        self.index = folder / "index"
        self.index.mkdir()
        shutil.copy(NOXFILE, folder)
        # Found before any that is installed: on this machine there is none.
        (folder / "nox.py").write_text("raise ModuleNotFoundError(name='nox')\n")
        with zipfile.ZipFile(self.index / "nox-2026.1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("nox/__init__.py", "")
            wheel.writestr("nox/__main__.py", FAKE)
            wheel.writestr("nox-2026.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: nox\nVersion: 2026.1\n")
            wheel.writestr(
                "nox-2026.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr("nox-2026.1.dist-info/RECORD", "")
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
        }

    async def start(self, *words: str, **variables: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *(sys.executable, str(self.folder / "noxfile.py"), *words),
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT,
            env={**self.environ, **variables},
            cwd=self.index,
            start_new_session=True,
        )

    async def run(self, *words: str) -> Ended:
        process = await self.start(*words)
        async with asyncio.timeout(SETTING_UP):
            out, _ = await process.communicate()
        return Ended(process.returncode, out.decode(), "")

    async def interrupted(
        self,
        when: Callable[[], bool],
        *words: str,
        number: int = signal.SIGINT,
        index: dict[str, str] | None = None,
    ) -> Ended:
        """Run it, and press Ctrl-C at some point: all the processes at the terminal get the signal."""
        process = await self.start(*words, **(index or {}))
        try:
            async with asyncio.timeout(SETTING_UP):
                while not when():
                    assert process.returncode is None
                    await asyncio.sleep(0.01)
            os.killpg(process.pid, number)
            async with asyncio.timeout(PATIENCE):
                out, _ = await process.communicate()
        except BaseException:
            process.kill()
            raise
        return Ended(process.returncode, out.decode(), "")

    def builds(self) -> list[Path]:
        """Return the environments being made, or left behind."""
        return list(self.environments.glob("bootstrap-*"))

    def processes(self) -> list[str]:
        """The command lines of all processes that have to do with this checkout."""
        found: list[str] = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended
                continue
            if str(self.environments) in line:
                found.append(line)
        return found


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


async def test_a_machine_without_nox_gets_one_and_keeps_it(checkout: Checkout) -> None:
    first = await checkout.run("-s", "demo")
    assert first.status == 0
    assert f"nox was given ['-f', '{checkout.folder}/noxfile.py', '-s', 'demo']" in first.out
    assert "Making an environment for nox" in first.out
    assert "Successfully installed nox-2026.1" in first.out, "installs show what they do"
    shutil.rmtree(checkout.index)
    checkout.index.mkdir()
    assert (await checkout.run("-l")).out == f"nox was given ['-f', '{checkout.folder}/noxfile.py', '-l']\n"
    assert checkout.builds() == []


async def test_ctrl_c_at_any_time_leaves_nothing_broken(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        index = {
            "PIP_NO_INDEX": "",
            "PIP_FIND_LINKS": "",
            "PIP_INDEX_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}/",
        }
        stages: dict[str, Callable[[], bool]] = {
            "it has begun": lambda: bool(checkout.builds()),
            "there is a Python": lambda: any(checkout.environments.glob("bootstrap-*/bin/python")),
            "pip is put there": lambda: any(checkout.environments.glob("bootstrap-*/lib/*/*/pip")),
            "nox is fetched": lambda: any("pip install" in line for line in checkout.processes()),
        }
        for stage, reached in stages.items():
            ended = await checkout.interrupted(reached, "-l", index=index)
            assert ended.status == 130, stage
            assert "Traceback" not in ended.out, stage
            assert list(checkout.environments.iterdir()) == [], stage
            assert checkout.processes() == [], stage
    assert (await checkout.run("-l")).status == 0


async def test_ctrl_c_while_nox_runs(checkout: Checkout) -> None:
    assert (await checkout.run()).status == 0
    async with at_a_terminal(
        *(sys.executable, str(checkout.folder / "noxfile.py"), "hang"), environ=checkout.environ
    ) as terminal:
        await terminal.until("nox was given")
        terminal.type(CTRL_C)
        assert await terminal.ended() == 130
    assert "Traceback" not in terminal.seen
    assert terminal.seen.endswith("^C")


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3])
async def test_ctrl_c_as_it_starts(delay: float, checkout: Checkout) -> None:
    began = asyncio.get_running_loop().time()
    ended = await checkout.interrupted(lambda: asyncio.get_running_loop().time() - began > delay, "-l")
    if "noxfile.py" in ended.out or ended.status == 130:  # else Python itself had not got so far
        assert (ended.status, "Traceback" in ended.out) == (130, False)


async def test_who_is_told_to_end_leaves_nothing_either(checkout: Checkout) -> None:
    ended = await checkout.interrupted(lambda: bool(checkout.builds()), "-l", number=signal.SIGTERM)
    assert ended.status == 128 + signal.SIGTERM
    assert list(checkout.environments.iterdir()) == []


async def test_an_environment_that_was_left_broken_is_made_anew(checkout: Checkout) -> None:
    venv.create(checkout.home, with_pip=False)
    ended = await checkout.run("-l")
    assert ended.status == 0
    assert "nox was given" in ended.out


async def test_a_python_that_has_gone_is_replaced(checkout: Checkout) -> None:
    assert (await checkout.run()).status == 0
    for python in (checkout.home / "bin").glob("python*"):
        python.unlink()
        python.symlink_to("/nowhere/python3")
    assert (await checkout.run()).status == 0
