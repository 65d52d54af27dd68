"""Writing sections of the config file: the change and nothing else, by our parser and by botocore.

====================================================  =========================================================
what is there, or asked for                           what becomes of it
====================================================  =========================================================
comments, order, line ends, a byte order mark         they stay, byte for byte
a value that is replaced, with a comment behind it    the comment moves above it: botocore reads no comment there
the value of several lines                            all of them make place for the new one
the same value again                                  the file is not touched
a name or a value that would be read otherwise        InvalidConfiguration, without the value
a file with a fault, or one that is no file           InvalidConfiguration, and the file stays as it is
a link, a mode of its own                             they stay
another writer at the same time                       both changes are in the file
====================================================  =========================================================
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from botocore.configloader import load_config
from botocore.exceptions import ConfigParseError
from hypothesis import given
from hypothesis import strategies as st

from aiocreds import Context, InvalidConfiguration, SourceUnavailable
from aiocreds._profiles import write as module
from aiocreds._profiles.parser import Document
from aiocreds._profiles.write import SectionEdit, edited, refuse_unwritable, write
from tests.helpers.command import PATIENCE, Machine
from tests.helpers.profile_corpus import FOLDERS, INDENTED, indented, quoted
from tests.helpers.secret_leaks import secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BOM = b"\xef\xbb\xbf"
DEV = SectionEdit("profile", "dev", {"region": "eu-west-1"})
TEXTS = sorted({folder.config for folder in FOLDERS.values() if folder.config})
KEYS = ("region", "sso_session", "sso_account_id", "role_arn", "source_profile", "output", "credential_process")
VALUES = st.text(st.characters(blacklist_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=20).map(
    str.strip
)
SETTINGS = st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3)
EDITS = st.builds(
    SectionEdit,
    st.sampled_from(["profile", "sso-session"]),
    st.sampled_from(["a", "a", "a", "b", "base", "corp", "default", "new/er"]),
    SETTINGS,
)
ODD_LINES = (
    *("# a comment\n", "\n", "  ; another\n", "[profile default]\nregion = x\n", "[default]\n", "output=json ;x\n"),
    *(
        "s3 =\n  max = 1\n\n  # inside\n  min = 2\n",
        "[services x]\ns3 =\n  endpoint_url = http://x\n",
        "region =  # no\n",
    ),
    *("region = a\n  b\n# c\n  d\n", "[sso-session corp]\n", "\t[profile b]\n", "[profile new/er]# x\n"),
)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """A file of the corpus, or two, as another editor or person would have written it."""
    text = draw(st.sampled_from(TEXTS))
    if draw(st.booleans()):
        text = "".join(draw(st.lists(st.sampled_from([*ODD_LINES, text]), min_size=1, max_size=5)))
    how = draw(st.sampled_from(["as it is", "quoted", *INDENTED]))
    text = quoted(text, '"') if how == "quoted" else indented(text, "" if how == "as it is" else how)
    if how == "as it is" and draw(st.booleans()):
        text = text.removesuffix("\n")
    data = text.replace("\n", draw(st.sampled_from(["\n", "\r\n", "\r"]))).encode()
    return draw(st.sampled_from([b"", BOM])) + data


def meaning(data: bytes) -> dict[tuple[str, str], dict[str, Any]] | None:
    """All that our parser makes of it."""
    document = Document("config", data)
    if document.fault:
        return None
    kinds = {"profile": document.profiles, "sso-session": document.sso_sessions, "services": document.services}
    return {
        (kind, name): {**document.block(spans).values}
        for kind, all_ in kinds.items()
        for name, spans in all_.items()
    }


def botocores(data: bytes, folder: Path) -> dict[str, Any] | None:
    """All that botocore makes of it."""
    file = folder / "botocores"
    file.write_bytes(data)
    try:
        read: dict[str, Any] = load_config(str(file))
    except (ConfigParseError, AttributeError):  # the latter for a key alone
        return None
    return read


def with_edits(read: dict[Any, Any], edits: Sequence[SectionEdit], *, botocores: bool = False) -> dict[Any, Any]:
    for kind, name, settings in edits:
        if botocores:
            place = read["profiles" if kind == "profile" else "sso_sessions"]
            place[name] = {**place.get(name, {}), **settings}
        else:
            read[kind, name] = {**read.get((kind, name), {}), **settings}
    return read


def endings(data: bytes) -> set[bytes]:
    """The ways in which lines end."""
    return {line[len(line.rstrip(b"\r\n")) :] for line in data.splitlines(keepends=True)} - {b""}


def touched(data: bytes, edits: Sequence[SectionEdit]) -> set[int]:
    """The lines, counted from 0, that hold the values which the edits change."""
    document, lines = Document("config", data), data.removeprefix(BOM).splitlines()
    found: set[int] = set()
    for kind, name, settings in edits:
        places = document.profiles if kind == "profile" else document.sso_sessions
        if name not in places:
            continue
        block = document.block(places[name])
        for key in settings:
            if key in block.values and block.values[key] != settings[key]:
                number = block.lines[key] - 1
                depth = len(lines[number].decode()) - len(lines[number].decode().lstrip())
                found.add(number)
                for other in range(number + 1, len(lines)):
                    text = lines[other].decode()
                    if text.strip()[:1] in ("", "#", ";"):
                        continue
                    if len(text) - len(text.lstrip()) <= depth:
                        break
                    found.add(other)
    return found


@pytest.mark.slow
@given(data=contents(), edits=st.lists(EDITS, min_size=1, max_size=3))
def test_any_edit_of_any_file_changes_that_and_nothing_else(
    data: bytes, edits: list[SectionEdit], tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        for edit in edits:
            refuse_unwritable(edit)
    except InvalidConfiguration:
        return
    before, theirs = meaning(data), botocores(data, tmp_path_factory.getbasetemp())
    if before is None:
        with pytest.raises(InvalidConfiguration):
            edited(data, edits)
        return
    after = edited(data, edits)
    assert meaning(after) == with_edits(before, edits)
    changed = touched(data, edits)
    kept = [line for number, line in enumerate(data.removeprefix(BOM).splitlines()) if number not in changed]
    new = iter(after.removeprefix(BOM).splitlines())
    assert all(line in new for line in kept), "the others are all there, in their order"
    assert endings(after) <= (endings(data) or {b"\n"}), "new lines end as the others do"
    assert after.startswith(BOM) == data.startswith(BOM)
    assert len(after.splitlines()) <= len(data.splitlines()) + sum(2 * len(it.settings) + 2 for it in edits)
    assert edited(after, edits[-1:]) == after, "a second time there is nothing to do"
    both = (
        len(re.findall(rb"^\s*\[(?:profile )?[\"]?default", data, re.MULTILINE)) > 1
    )  # of which each reads another
    if theirs is not None and not (both and any(it.name == "default" for it in edits)):
        assert botocores(after, tmp_path_factory.getbasetemp()) == with_edits(theirs, edits, botocores=True)


@pytest.mark.parametrize(
    ("before", "settings", "after"),
    [
        ("", {"region": "x"}, "[profile dev]\nregion = x\n"),
        ("[default]", {"region": "x"}, "[default]\n\n[profile dev]\nregion = x\n"),
        ("# mine\r\n", {"region": "x"}, "# mine\r\n\r\n[profile dev]\r\nregion = x\r\n"),
        ("[profile dev]\nregion=a # old\n", {"region": "x"}, "[profile dev]\n# old\nregion=x\n"),
        ("[profile dev]\nregion =  ; none\n", {"region": "x"}, "[profile dev]\n; none\nregion = x\n"),
        ("[profile dev]\n  REGION\t=\ta\n", {"region": "x"}, "[profile dev]\n  REGION\t=\tx\n"),
        (
            "[profile dev]\na = b\n# of b\n\n# of the next\n[profile z]\n",
            {"region": "x", "a": "c"},
            "[profile dev]\na = c\nregion = x\n# of b\n\n# of the next\n[profile z]\n",
        ),
        (
            "[profile dev]\nregion = a\n  b\n  # in it\n  c\nk = v",
            {"region": "x", "new": "y"},
            "[profile dev]\nregion = x\n  # in it\nk = v\nnew = y\n",
        ),
        (
            "[profile dev]\n  [profile z]\n  k = v\n",
            {"region": "x"},
            "[profile dev]\n  region = x\n  [profile z]\n  k = v\n",
        ),
        ("[profile 'dev'] # q\na = b\n", {"region": "x"}, "[profile 'dev'] # q\na = b\nregion = x\n"),
    ],
    ids=range(10),
)
def test_what_a_file_looks_like_afterwards(before: str, settings: dict[str, str], after: str) -> None:
    assert edited(before.encode(), [SectionEdit("profile", "dev", settings)]).decode() == after


def test_the_default_profile_has_a_header_of_its_own() -> None:
    edit = SectionEdit("profile", "default", {"region": "x"})
    assert edited(b"", [edit]) == b"[default]\nregion = x\n"
    assert edited(b"[profile default]\n", [edit]) == b"[profile default]\nregion = x\n"


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (SectionEdit("profile", "a b", {}), "'a b' is no name for a profile, for the ' ' in it: use letters"),
        (SectionEdit("profile", "a]", {}), "for the ']' in it"),
        (
            SectionEdit("profile", "a\n[default]", {}),
            r"'a\n[default]' is no name for a profile, for the '\n' in it",
        ),
        (SectionEdit("sso-session", "", {}), "'' is no name for a sso-session, for that it is blank"),
        (DEV._replace(settings={"Region": "x"}), "'Region' is no key"),
        (DEV._replace(settings={"a = b\nc": "x"}), "is no key"),
        (DEV._replace(settings={"region": " "}), "the value for region of profile 'dev' is blank"),
        *(
            (DEV._replace(settings={"region": f"a{char}b"}), "holds a line break")
            for char in "\n\r\0\u2028\x85\ud800"
        ),
        (DEV._replace(settings={"region": " a"}), "begins or ends with a blank"),
        (DEV._replace(settings={"region": "a #b"}), "holds what begins a comment"),
        (DEV._replace(settings={"region": "a ;b"}), "holds what begins a comment"),
        (DEV._replace(settings={"region": "#b"}), "or begins with one of these"),
    ],
)
async def test_what_would_be_read_otherwise_is_refused(
    edit: SectionEdit, fault: str, context: Context, home: Path
) -> None:
    with pytest.raises(InvalidConfiguration, match=re.escape(fault)):
        await write(context, [DEV, edit])
    assert [*(home / ".aws").iterdir()] == []


async def test_a_file_with_a_fault_stays_as_it_is(context: Context, home: Path) -> None:
    config = home / ".aws/config"
    for data in (f"[profile a]\nx\naws_secret_access_key = {secret()}\n".encode(), b"[a]\n\xff\n", b"[a]\n\0\n"):
        config.write_bytes(data)
        with pytest.raises(InvalidConfiguration, match=re.escape(f"{config}:2: ")):
            await write(context, [DEV])
        assert config.read_bytes() == data


async def test_where_no_place_is_right_nothing_is_written(context: Context, home: Path) -> None:
    """The header below would become a part of the last key, with its indentation or with less."""
    config = home / ".aws/config"
    data = b"[profile dev]\n    a = b\n  [profile c]\n[profile dev]\n\t[profile z]\n"
    config.write_bytes(data)
    await write(context, [DEV])
    assert meaning(config.read_bytes()) == with_edits(meaning(data) or {}, [DEV])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o660, 0o400])
async def test_mode_and_link_stay(mode: int, context: Context, home: Path) -> None:
    dotfiles = home / "dotfiles"
    dotfiles.mkdir()
    real, config = dotfiles / "aws", home / ".aws/config"
    real.write_text("[default]\n")
    real.chmod(mode)
    config.symlink_to("../dotfiles/aws")
    assert await write(context, [DEV])
    assert config.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == mode
    assert "[profile dev]" in config.read_text()
    assert sorted(path.name for path in dotfiles.iterdir()) == ["aws", "aws.lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
async def test_a_new_file_and_its_folder_are_for_this_user_alone(tmp_path: Path) -> None:
    home = tmp_path / "new"
    assert await write(Context({}, home=home), [DEV])
    assert stat.S_IMODE((home / ".aws").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".aws/config").stat().st_mode) == 0o600
    other = tmp_path / "elsewhere"
    assert await write(Context({"AWS_CONFIG_FILE": str(other)}, home=home), [DEV])
    assert other.read_text() == (home / ".aws/config").read_text()


async def test_the_same_again_touches_nothing(context: Context, home: Path) -> None:
    assert await write(context, [DEV])
    before = (home / ".aws/config").stat()
    assert not await write(context, [DEV])
    after = (home / ".aws/config").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
async def test_what_cannot_be_written_stays_as_it_is(context: Context, home: Path) -> None:
    config = home / ".aws/config"
    config.mkdir()
    with pytest.raises(
        InvalidConfiguration, match="is no file that can be written: name another in AWS_CONFIG_FILE"
    ):
        await write(context, [DEV])
    config.rmdir()
    os.mkfifo(config)
    with pytest.raises(InvalidConfiguration, match="is no file that can be written"):
        await write(context, [DEV])
    with pytest.raises(InvalidConfiguration, match="no home folder is known: set HOME"):
        await write(Context({}, home="~"), [DEV])


async def test_a_full_disk_leaves_the_old_file(
    context: Context, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = home / ".aws/config"
    config.write_text("[default]\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SourceUnavailable, match=r"cannot be written just now \(no space left on device\)"):
        await write(context, [DEV])
    assert config.read_text() == "[default]\n"
    assert sorted(path.name for path in config.parent.iterdir()) == ["config", "config.lock"]


async def test_an_edit_by_a_program_without_the_lock_is_kept(
    context: Context, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, real, times = home / ".aws/config", module.edited, 3

    def slow(data: bytes, edits: Sequence[SectionEdit], *, file: str) -> bytes:
        nonlocal times
        changed = real(data, edits, file=file)
        if times:
            times -= 1
            config.write_text(f"{config.read_text() if config.exists() else ''}[profile p{times}]\n")
        return changed

    monkeypatch.setattr(module, "edited", slow)
    assert await write(context, [DEV])
    assert config.read_text() == "[profile p2]\n[profile p1]\n[profile p0]\n\n[profile dev]\nregion = eu-west-1\n"
    times = 1_000
    with pytest.raises(SourceUnavailable, match="other programs change it all the time"):
        await write(context, [DEV._replace(name="other")])


async def test_a_write_that_is_cancelled_is_finished_and_lets_go_of_the_lock(
    context: Context, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun, go_on = module.edited, threading.Event(), threading.Event()

    def slow(data: bytes, edits: Sequence[SectionEdit], *, file: str) -> bytes:
        begun.set()
        assert go_on.wait(PATIENCE)
        return real(data, edits, file=file)

    monkeypatch.setattr(module, "edited", slow)
    writing = asyncio.create_task(write(context, [DEV]))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert not (home / ".aws/config").exists()
    go_on.set()
    await write(context, [DEV._replace(name="next")])
    assert set(Document("config", (home / ".aws/config").read_bytes()).profiles) == {"dev", "next"}


@pytest.mark.slow
async def test_writers_at_the_same_time_lose_nothing(context: Context, home: Path) -> None:
    """Tasks and processes, each of which writes profiles of its own; a reader always finds a whole file."""
    program = """if True:
    import asyncio, sys
    from aiocreds import Context
    from aiocreds._profiles.write import SectionEdit, write
    async def main():
        for number in range(8):
            await write(Context(), [SectionEdit("profile", f"p{sys.argv[1]}-{number}", {"region": "x"})])
    asyncio.run(main())
    """
    config = home / ".aws/config"
    config.write_text("# first\n[default]\n")

    async def task(number: int) -> None:
        await write(context, [SectionEdit("profile", f"t{number}", {"region": "x"})])

    async def look() -> None:
        while True:
            assert config.read_text().startswith("# first\n[default]\n")
            assert config.read_text().endswith("\n")
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    processes = [Machine(home, {}).run(sys.executable, "-c", program, str(number)) for number in range(4)]
    ended = await asyncio.gather(*processes, *map(task, range(8)))
    assert [it for it in ended if it not in (None, (0, "", ""))] == []
    assert not looking.done()
    looking.cancel()
    assert set(Document("config", config.read_bytes()).profiles) == {
        "default",
        *(f"p{process}-{number}" for process in range(4) for number in range(8)),
        *(f"t{number}" for number in range(8)),
    }
