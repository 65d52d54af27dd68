"""The faults, and why some sources cannot have some of them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

from aiocreds import Context, CredentialsNotFound
from tests.helpers.loopback_aws import Answer, Hang, sts_error
from tests.helpers.scripted import Source
from tests.helpers.secret_leaks import MARK, secret
from tests.stress.faults.bench import Bench, Engine, Rotation
from tests.stress.faults.sources import a_role, through_the_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from subprocess import Popen

    from tests.helpers.idle_time import IdleTime
    from tests.stress.faults.sources import Subject

NEEDS = {
    "http": "runs a program, and talks to nobody over HTTP",
    "tls": "is spoken to in plain HTTP",
    "name": "is found by address: no name is looked up",
    "clock": "runs a program, which has this machine's clock",
    "token file": "reads no token from a file",
    "cache": "writes no cache",
    "program": "runs no program that could be killed",
    "refusal": "asks a service whose every no may be mended",
    "store": "is shared through no server",
    "folder": "is shared through no folder",
}
"""The needs of a fault, and why a source that lacks it cannot have the fault."""

HOUR = timedelta(hours=1)
AHEAD = timedelta(hours=2)
FAR_AWAY = "Thu, 01 Jan 2099 00:00:00 GMT"
RETRY_AFTER = 2.0
HOLDING = """
import fcntl, sys, time
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
print("has", flush=True)
time.sleep(600)
"""
PADDING = b" " * 2**22  # which leaves a document good


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: of its line in the table.
        strike: makes it go wrong from now on.
        needs: what a source has to have for it.
        overcome_by: attempts that it takes to get good credentials all the same; None: no number does.
        retry_after: seconds that the service asks for between attempts.
        before: what is so before anything is loaded.
        alone: it befalls the whole machine, so that no other cell can be played meanwhile.
        lease: seconds that somebody who was stopped holds the lease of a shared store, the pause between two looks
            for its end included.
    """

    name: str
    strike: Callable[[Bench], Awaitable[None]]
    needs: tuple[str, ...] = ()
    overcome_by: int | None = None
    retry_after: float = 0.0
    before: Callable[[Bench], Awaitable[None]] | None = None
    alone: bool = False
    lease: float = 0.0

    def impossible(self, subject: Subject) -> str | None:
        """Why this source cannot have it, as the rest of a sentence; None: it can."""
        return next((NEEDS[need] for need in self.needs if need not in subject.has), None)


async def shut(bench: Bench) -> None:
    await bench.aws.shut()


async def break_off(bench: Bench) -> None:
    bench.befall(lambda good: replace(good, cut=True))


async def hang(bench: Bench) -> None:
    bench.befall(Hang())


async def drip(bench: Bench) -> None:
    bench.befall(lambda good: replace(good, drip=1.0))


async def refuse_for_good(bench: Bench) -> None:
    assert bench.subject.refusal is not None
    bench.befall(bench.subject.refusal)


async def fail_once(bench: Bench) -> None:
    bench.befall(Answer(500), once=True)


async def throttle(bench: Bench) -> None:
    bench.befall(Answer(429))


async def throttle_politely(bench: Bench) -> None:
    bench.befall(Answer(429, headers={"Retry-After": f"{RETRY_AFTER:.0f}"}))


async def mislabel(bench: Bench) -> None:
    bench.befall(lambda good: replace(good, headers={**good.headers, "Content-Type": "text/html"}))


async def show_a_page(bench: Bench) -> None:
    page = Answer(body="<!doctype html><title>Guest network</title>", headers={"Content-Type": "text/html"})
    bench.befall(lambda good: page)


async def truncate(bench: Bench) -> None:
    in_documents(bench, lambda body: body[: len(body) // 2])


async def bloat(bench: Bench) -> None:
    in_documents(bench, lambda body: body + PADDING)


async def nest(bench: Bench) -> None:
    def nested(body: bytes) -> bytes:
        opening, closing = (b"<a>", b"</a>") if body.startswith(b"<") else (b"[", b"]")
        return opening * 9_000 + closing * 9_000

    in_documents(bench, nested)


async def garble(bench: Bench) -> None:
    in_documents(bench, lambda body: body.replace(MARK.encode(), MARK.encode() + b"\xff\xfe"))


def in_documents(bench: Bench, spoil: Callable[[bytes], bytes]) -> None:
    """Spoil the JSON and the XML that the service answers with, not its plain words."""

    def spoiled(good: Answer) -> Answer:
        body = good.body.encode() if isinstance(good.body, str) else good.body
        return replace(good, body=spoil(body)) if body[:1] in (b"{", b"<") else good

    bench.befall(spoiled)


async def redirect(bench: Bench) -> None:
    bench.befall(Answer(302, headers={"Location": bench.aws.url}))


async def swap_certificate(bench: Bench) -> None:
    assert bench.tls is not None
    bench.tls.load_cert_chain(bench.world.untrusted.pem)


async def lose_names(bench: Bench) -> None:
    bench.names.lost = True


async def run_fast(bench: Bench) -> None:
    bench.aws.clock = HOUR


async def run_slow(bench: Bench) -> None:
    bench.aws.clock = -HOUR


async def run_ahead(bench: Bench) -> None:
    """The machine runs ahead, and has learned so of a service that others ask."""
    bench.knows_time, bench.aws.clock = True, -AHEAD
    bench.context.clock.learn(-AHEAD.total_seconds())


async def set_right(bench: Bench) -> None:
    bench.world.set_clock(-AHEAD.total_seconds())
    bench.aws.clock = timedelta()


async def know_time(bench: Bench) -> None:
    bench.knows_time = True


async def lie(bench: Bench) -> None:
    """First whoever asks is told that their time is wrong, and another one, then that the service is busy."""
    untimely = bench.subject.untimely or sts_error("RequestTimeTooSkewed")
    bench.befall(replace(untimely, headers={**untimely.headers, "Date": FAR_AWAY}), once=True)
    bench.befall(Answer(503, headers={"Date": FAR_AWAY}))


async def issue_expired(bench: Bench) -> None:
    bench.subject.endure(bench, -60.0)


async def issue_short(bench: Bench) -> None:
    bench.subject.endure(bench, 3.0)


async def rotate(bench: Bench) -> None:
    assert bench.reads is not None
    bench.world.disk.rotated[str(bench.reads)] = Rotation(bench.reads, bench.rotate)


async def fill_up(bench: Bench) -> None:
    bench.ids.broken = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    bench.world.disk.full.add(str(bench.writes))


async def write_protect(bench: Bench) -> None:
    bench.ids.broken = OSError(errno.EROFS, os.strerror(errno.EROFS))
    bench.world.disk.read_only.add(str(bench.writes))


async def kill(bench: Bench) -> None:
    bench.program.act("kill -9 $$")


async def a_peer_loads(bench: Bench, ahead: float = 0.0) -> None:
    """Another one has fetched, and its entry is in the store; its clock is ahead by so many seconds."""
    context = Context(bench.environ, home=bench.home)
    if ahead:
        context.clock.learn(-ahead)
    bench.peer = through_the_store(bench, a_role(context))
    await bench.peer.fetch()


async def a_peer_refreshes(bench: Bench) -> None:
    assert bench.peer is not None
    await bench.peer.fetch()


async def kill_store(bench: Bench) -> None:
    engine_of(bench).server.kill()


async def stop_store(bench: Bench) -> None:
    """For half a minute."""
    engine = engine_of(bench)
    engine.answers = False
    engine.server.send(signal.SIGSTOP)

    def go_on() -> None:
        engine.server.send(signal.SIGCONT)
        engine.answers = True

    asyncio.get_running_loop().call_later(30.0, go_on)


async def fill_store(bench: Bench) -> None:
    server = engine_of(bench).server
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.command("CONFIG", "SET", "maxmemory", "1")


async def flush_store(bench: Bench) -> None:
    engine_of(bench).server.command("FLUSHALL")


async def change_password(bench: Bench) -> None:
    engine = engine_of(bench)
    engine.server.command("CONFIG", "SET", "requirepass", secret("password"))
    engine.connect()  # who is connected stays so


async def distrust_store(bench: Bench) -> None:
    await engine_of(bench).distrust()


async def lose_store(bench: Bench) -> None:
    await engine_of(bench).lose()


async def corrupt_entry(bench: Bench) -> None:
    """One byte after the other, each for another host; what the last one wrote is changed as well."""
    engine, good = engine_of(bench), bench.aws.credentials("newest")["AccessKeyId"]
    [name] = [name for name in await engine.names() if "lease" not in name]
    text = await engine.text(name)
    for at, byte in enumerate(text):
        await engine.replace(name, text[:at] + ("0" if byte != "0" else "1") + text[at + 1 :])
        source = Source()
        found = await through_the_store(bench, source.provider())()
        assert source.calls or found.access_key_id <= good, f"byte {at} was changed, and the entry was taken"
    middle = len(text) // 2
    await engine.replace(name, text[:middle] + "~" + text[middle + 1 :])


async def remove_folder(bench: Bench) -> None:
    shutil.rmtree(folder_of(bench))


async def put_a_file_there(bench: Bench) -> None:
    shutil.rmtree(folder_of(bench))
    folder_of(bench).touch()


async def open_folder(bench: Bench) -> None:
    folder_of(bench).chmod(0o755)


async def open_entry(bench: Bench) -> None:
    entry_of(bench).chmod(0o644)


async def link_entry(bench: Bench) -> None:
    entry = entry_of(bench)
    entry.symlink_to(entry.rename(entry.with_suffix(".elsewhere")))


async def cut_entry(bench: Bench) -> None:
    entry = entry_of(bench)
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])


async def corrupt_file(bench: Bench) -> None:
    """One byte after the other, each for another process; the last one stays changed."""
    entry, good = entry_of(bench), json.loads(entry_of(bench).read_text())["entry"]
    text = entry.read_bytes()
    for at, byte in enumerate(text):
        entry.write_bytes(text[:at] + (b"0" if byte != ord("0") else b"1") + text[at + 1 :])
        try:
            found = await through_the_store(bench, Source(usual=lambda: CredentialsNotFound("none")).provider())()
        except CredentialsNotFound:
            continue
        assert found.secret_access_key == good["secret_access_key"], f"byte {at} was changed, and the entry taken"
        assert found.session_token == good["session_token"], f"byte {at} was changed, and the entry was taken"


async def mix_entries_up(bench: Bench) -> None:
    """The entry of another provider is copied over this one's."""
    entry = entry_of(bench)
    await through_the_store(bench, Source().provider(), key="other")()
    [other] = [file for file in folder_of(bench).glob("*.json") if file != entry]
    entry.write_bytes(other.read_bytes())


async def fill_up_folder(bench: Bench) -> None:
    bench.world.disk.full.add(str(folder_of(bench)))


async def write_protect_folder(bench: Bench) -> None:
    bench.world.disk.read_only.add(str(folder_of(bench)))


async def hang_folder(bench: Bench) -> None:
    """For half a minute."""
    loop, over = cast("IdleTime", asyncio.get_running_loop()), threading.Event()
    bench.world.disk.hanging[str(folder_of(bench))] = lambda: loop.hang(over)
    loop.call_later(30.0, loop.go_on, over)


async def break_function(bench: Bench, name: str, error: int) -> None:
    bench.world.disk.broken[name, str(folder_of(bench))] = error


async def kill_holder(bench: Bench) -> None:
    """It has taken the lease and written half an entry."""
    entry = entry_of(bench)
    entry.with_name(f"{entry.name}.abcd1234.tmp").write_text('{"aiocreds": 1, "ent')
    holder = hold_lease(bench)
    holder.kill()
    holder.wait()


async def stop_holder(bench: Bench) -> None:
    """Its entry is still to come."""
    hold_lease(bench).send_signal(signal.SIGSTOP)
    entry_of(bench).unlink()


def hold_lease(bench: Bench) -> Popen[bytes]:
    """Have another process take the lease."""
    [path] = folder_of(bench).glob("*.lock")
    holder = bench.start(HOLDING, str(path))
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"has\n"
    return holder


async def a_peer_loads_ahead_of_time(bench: Bench) -> None:
    """The machine runs ahead, as all its processes have learned of the service."""
    await run_ahead(bench)
    await a_peer_loads(bench, ahead=AHEAD.total_seconds())


def folder_of(bench: Bench) -> Path:
    assert bench.folder is not None
    return bench.folder


def entry_of(bench: Bench) -> Path:
    [entry] = folder_of(bench).glob("*.json")
    return entry


def engine_of(bench: Bench) -> Engine:
    assert bench.engine is not None
    return bench.engine


FAULTS = (
    Fault("connection refused", shut, ("http",)),
    Fault("reset in mid-body", break_off, ("http",)),
    Fault("accept and never answer", hang),
    Fault("one byte a second", drip),
    Fault("500 then good", fail_once, overcome_by=2),
    Fault("429", throttle, ("http",)),
    Fault("429 with Retry-After: 2", throttle_politely, ("http",), retry_after=RETRY_AFTER),
    Fault("a no that no retry can mend", refuse_for_good, ("http", "refusal")),
    Fault("wrong content type", mislabel, ("http",), overcome_by=1),
    Fault("a page of HTML", show_a_page),
    Fault("truncated JSON", truncate),
    Fault("enormous JSON", bloat),
    Fault("deeply nested JSON", nest),
    Fault("invalid UTF-8", garble),
    Fault("redirect", redirect, ("http",)),
    Fault("TLS certificate wrong", swap_certificate, ("http", "tls")),
    Fault("DNS failure", lose_names, ("http", "name")),
    Fault("clock one hour behind the service's", run_fast, ("clock",), overcome_by=1),
    Fault("clock one hour ahead of the service's", run_slow, ("clock",), overcome_by=1),
    Fault(
        "clock set right, two hours back, while an offset is held",
        set_right,
        ("clock",),
        overcome_by=1,
        before=run_ahead,
        alone=True,
    ),
    Fault("a proxy that lies about the date", lie, ("clock",), before=know_time),
    Fault("credentials already expired", issue_expired),
    Fault("credentials that expire in three seconds", issue_short, overcome_by=1),
    Fault("token file rotated between stat and read", rotate, ("token file",), overcome_by=1),
    Fault("disk full on cache writes", fill_up, ("cache",), overcome_by=1),
    Fault("disk read-only on cache writes", write_protect, ("cache",), overcome_by=1),
    Fault("process killed", kill, ("program",)),
)


def clocks_apart(place: str) -> Iterator[Fault]:
    """Yield the faults of a peer whose clock is wrong."""
    for ahead, which in ((60.0, "ahead"), (-60.0, "behind")):
        name = f"the clock of who writes one minute {which}"
        yield Fault(name, a_peer_refreshes, (place,), overcome_by=1, before=partial(a_peer_loads, ahead=ahead))


# What befalls the store that a source is shared through. None of it keeps anybody from credentials.

FAULTS_OF_STORES = (
    Fault("killed", kill_store, ("store",), overcome_by=1, before=a_peer_loads),
    Fault("stopped for 30 s", stop_store, ("store",), overcome_by=1, before=a_peer_loads),
    Fault("full, and evicts nothing", fill_store, ("store",), overcome_by=1, before=a_peer_loads),
    Fault("flushed", flush_store, ("store",), overcome_by=1, before=a_peer_loads),
    Fault("its password changed", change_password, ("store",), overcome_by=1, before=a_peer_loads),
    Fault("TLS certificate wrong", distrust_store, ("store",), overcome_by=1, before=a_peer_loads),
    Fault("a network that drops all", lose_store, ("store",), overcome_by=1, before=a_peer_loads),
    Fault("the entry changed at each of its bytes", corrupt_entry, ("store",), overcome_by=1, before=a_peer_loads),
    *clocks_apart("store"),
)

FAULTS_OF_FOLDERS = (
    *(
        Fault(name, strike, ("folder",), overcome_by=1, before=a_peer_loads)
        for name, strike in (
            ("removed", remove_folder),
            ("a file in its place", put_a_file_there),
            ("open to other users", open_folder),
            ("the entry open to other users", open_entry),
            ("a link in place of the entry", link_entry),
            ("the entry cut off in the middle", cut_entry),
            ("the entry changed at each of its bytes", corrupt_file),
            ("the entry of another provider in its place", mix_entries_up),
            ("its disk full", fill_up_folder),
            ("its disk read-only", write_protect_folder),
            ("a disk that breaks as a file is renamed", partial(break_function, name="replace", error=errno.EIO)),
            ("too many open files", partial(break_function, name="open", error=errno.EMFILE)),
            ("a network disk without locks", partial(break_function, name="flock", error=errno.ENOLCK)),
            ("who has the lease is killed as it writes", kill_holder),
        )
    ),
    Fault("its disk hangs for 30 s", hang_folder, ("folder",), overcome_by=1, before=a_peer_loads, alone=True),
    Fault(
        "who has the lease is stopped before it writes",
        stop_holder,
        ("folder",),
        overcome_by=1,
        before=a_peer_loads,
        lease=10.5,
    ),
    *clocks_apart("folder"),
    Fault(
        "the clock set right, two hours back, while an offset is held",
        set_right,
        ("folder",),
        overcome_by=1,
        before=a_peer_loads_ahead_of_time,
        alone=True,
    ),
)


def faults_of(subject: Subject) -> tuple[Fault, ...]:
    """The faults that are tried on a source, or on a store."""
    if "folder" in subject.has:
        return FAULTS_OF_FOLDERS
    return FAULTS_OF_STORES if "store" in subject.has else FAULTS
