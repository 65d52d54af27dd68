"""Reading the shared files: off the loop, once, and again when they change."""

import asyncio
import builtins
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from aiocreds._core.context import Context
from aiocreds._profiles import load
from aiocreds.errors import InvalidConfiguration

LONG_AGO = 1_700_000_000_000_000_000


@pytest.fixture
def config(home: Path) -> Path:
    (home / ".aws" / "credentials").touch()
    file = home / ".aws" / "config"
    write(file, "[default]\nk = 1\n", LONG_AGO)
    return file


def write(file: Path, text: str, time_ns: int | None = None) -> None:
    file.write_text(text)
    if time_ns is not None:
        os.utime(file, ns=(0, time_ns))


def rename(file: Path, to: Path) -> None:
    file.replace(to)


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


async def value(context: Context) -> str | None:
    section = (await load(context)).profile("default")
    return section.get("k") if section else None


class Calls:
    """How often each file was opened and looked at."""

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        self.stats: Counter[str] = Counter()
        self.before_open: Callable[[str], None] = lambda path: None
        self.on_open: Callable[[str], None] = lambda path: None


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    calls = Calls()
    real_open: Callable[..., Any] = io.open
    real_stat = os.stat

    def counting_open(path: Any, *args: Any, **kwargs: Any) -> Any:
        if not str(path).startswith(f"{tmp_path}/.aws") or "b" not in args[0]:
            return real_open(path, *args, **kwargs)
        calls.before_open(path)
        file = real_open(path, *args, **kwargs)
        calls.opened[Path(path).name] += 1
        calls.on_open(path)
        return file

    def counting_stat(path: Any, **kwargs: Any) -> os.stat_result:
        if str(path).startswith(f"{tmp_path}/.aws"):
            calls.stats[Path(path).name] += 1
        return real_stat(path, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", counting_open)
        patch.setattr(os, "stat", counting_stat)
        yield calls


async def test_missing_and_empty_files_say_nothing(home: Path, context: Context) -> None:
    found = await load(context)
    assert not found.profiles
    assert found.config_file == f"{home}/.aws/config"
    write(home / ".aws" / "config", "")
    assert not (await load(context)).profiles


async def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    assert not (await load(Context(environ={}, home=tmp_path / "file"))).profiles


async def test_an_unchanged_file_costs_one_look(config: Path, context: Context, calls: Calls) -> None:
    assert await value(context) == "1"
    assert calls.opened == {"config": 1, "credentials": 1}
    calls.stats.clear()
    assert await value(context) == "1"
    assert calls.stats == {"config": 1, "credentials": 1}
    assert calls.opened == {"config": 1, "credentials": 1}


async def test_an_edit_is_seen(config: Path, context: Context) -> None:
    assert await value(context) == "1"
    write(config, "[default]\nk = longer\n")
    assert await value(context) == "longer"


async def test_an_edit_that_only_shows_in_the_size_is_seen(config: Path, context: Context) -> None:
    assert await value(context) == "1"
    write(config, "[default]\nk = longer\n", LONG_AGO)
    assert await value(context) == "longer"


async def test_an_edit_that_only_shows_in_the_time_is_seen(config: Path, context: Context) -> None:
    assert await value(context) == "1"
    write(config, "[default]\nk = 2\n", LONG_AGO + 1)
    assert await value(context) == "2"


async def test_a_replaced_file_with_the_same_size_and_time_is_seen(config: Path, context: Context) -> None:
    assert await value(context) == "1"
    other = config.with_name("other")
    write(other, "[default]\nk = 2\n", LONG_AGO)
    rename(other, config)
    assert await value(context) == "2"


async def test_a_file_that_comes_and_goes(config: Path, context: Context) -> None:
    for _ in range(2):
        rename(config, config.with_name("away"))
        assert await value(context) is None
        write(config, "[default]\nk = 1\n")
        assert await value(context) == "1"


async def test_a_fault_is_kept_until_it_is_mended(config: Path, context: Context, calls: Calls) -> None:
    write(config, "oops")
    calls.opened.clear()
    errors: list[InvalidConfiguration] = []
    for _ in range(2):
        with pytest.raises(InvalidConfiguration, match="config:1: ") as caught:
            await load(context)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert calls.opened["config"] == 1
    write(config, "[default]\nk = 2\n")
    assert await value(context) == "2"


async def test_a_file_replaced_while_it_is_read_is_read_again(config: Path, context: Context, calls: Calls) -> None:
    write(config, "[default]\nk")
    whole = config.with_name("whole")
    write(whole, "[default]\nk = 2\n")

    def replace(path: str) -> None:
        if path == str(config) and whole.exists():
            rename(whole, config)

    calls.on_open = replace
    assert await value(context) == "2"


async def test_a_file_that_never_rests_is_read_as_it_is(config: Path, context: Context, calls: Calls) -> None:
    def touch(path: str) -> None:
        os.utime(path, ns=(0, calls.opened["config"]))

    calls.on_open = touch
    assert await value(context) == "1"
    assert 1 < calls.opened["config"] < 10
    calls.on_open = lambda path: None
    write(config, "[default]\nk = 2\n")
    assert await value(context) == "2"


async def test_many_tasks_read_once(config: Path, context: Context, calls: Calls) -> None:
    write(config, "[default]\nk = 1\n" + "[profile other]\n" * 5_000)
    calls.opened.clear()
    assert set(await asyncio.gather(*(value(context) for _ in range(1_000)))) == {"1"}
    assert calls.opened == {"config": 1, "credentials": 1}


def test_many_loops_read_once(config: Path, context: Context, calls: Calls, never_block: BlockBuster) -> None:
    # The loops may meet at the import lock, where asyncio loads its executor
    never_block.functions["threading.Lock.acquire"].deactivate()
    write(config, "[default]\nk = 1\n" + "[profile other]\n" * 5_000)
    calls.opened.clear()
    found: list[str | None] = []
    start = threading.Barrier(8)

    def run() -> None:
        start.wait()
        found.append(asyncio.run(value(context)))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["1"] * 8
    assert calls.opened == {"config": 1, "credentials": 1}


async def test_a_cancelled_caller_leaves_nothing_behind(config: Path, context: Context, calls: Calls) -> None:
    opened, go_on = threading.Event(), threading.Event()

    def wait(path: str) -> None:
        opened.set()
        go_on.wait(10)

    calls.on_open = wait
    impatient = asyncio.create_task(value(context))
    await asyncio.to_thread(opened.wait, 10)
    patient = asyncio.create_task(value(context))
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    go_on.set()
    assert await patient == "1"
    assert calls.opened == {"config": 1, "credentials": 1}


async def test_a_folder_cannot_be_read(config: Path, context: Context) -> None:
    make_folder(config)
    with pytest.raises(InvalidConfiguration, match=r"config cannot be read \(is a directory\): .* AWS_CONFIG_FILE"):
        await load(context)


async def test_a_forbidden_file_cannot_be_read(config: Path, context: Context, calls: Calls) -> None:
    def forbid(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    calls.before_open = forbid
    with pytest.raises(InvalidConfiguration, match=r"credentials cannot be read \(permission denied\)"):
        await load(context)
    calls.before_open = lambda path: None
    assert await value(context) == "1"


async def test_a_folder_out_of_reach_is_a_mistake_only_if_somebody_named_it(
    config: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def stat(path: Any, **kwargs: Any) -> os.stat_result:
        if path == str(config):
            raise PermissionError(13, "Permission denied", path)
        return real(path, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    assert await value(context) is None
    with pytest.raises(InvalidConfiguration, match=r"cannot be read \(permission denied\)"):
        await load(context, config_file=config)


async def test_no_path_at_all(context: Context) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        await load(context, config_file="a\0b")


async def test_an_endless_file_is_refused(config: Path, context: Context) -> None:
    os.truncate(config, 17 << 20)
    with pytest.raises(InvalidConfiguration, match="larger than 16 MiB"):
        await load(context)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such device")
async def test_an_empty_device(context: Context) -> None:
    assert not (await load(context, "/dev/null", "/dev/null")).profiles


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in its file system")
async def test_a_pipe_is_read_once_and_off_the_loop(tmp_path: Path, context: Context) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    waiting = asyncio.create_task(load(context, config_file=pipe))
    await asyncio.sleep(0.05)  # the loop runs while nobody has written
    assert not waiting.done()
    await asyncio.to_thread(pipe.write_text, "[default]\nk = 1\n")
    for found in (await waiting, await load(context, config_file=pipe)):
        assert found.profiles["default"].get("k") == "1"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
async def test_process_substitution(context: Context) -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, b"[default]\nk = 1\n")
        os.close(writer)
        for _ in range(2):
            found = await load(context, config_file=f"/dev/fd/{reader}")
            assert found.profiles["default"].get("k") == "1"
    finally:
        os.close(reader)
