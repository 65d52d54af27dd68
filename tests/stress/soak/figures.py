"""The resources of a process at rest."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

STATM = Path("/proc/self/statm")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Figures(NamedTuple):
    """The counts of one moment.

    Attributes:
        tasks: on all loops, but those of this harness.
        descriptors: open files, sockets, pipes.
        threads: alive.
        blocks: of memory that Python has given out: one more for each object that leaks, whatever its size.
        resident: memory as the machine counts it, in KiB; 0 where it does not tell.
    """

    tasks: int
    descriptors: int
    threads: int
    blocks: int
    resident: int


# How much more there may be at the end. The first three are exact: nothing may be left of 10,000 refreshes. Memory
# breathes with what is held at the moment; a small object a refresh that is never freed makes thousands of blocks.
ALLOWED = Figures(tasks=0, descriptors=0, threads=0, blocks=3000, resident=8 * 1024)


def at_rest(tasks: int) -> Figures:
    """The figures of this process now."""
    for _ in range(3):  # what one collection frees may free more
        gc.collect()
    resident = int(STATM.read_text().split()[1]) * PAGE // 1024 if STATM.exists() else 0
    descriptors = len(list(Path("/dev/fd").iterdir()))
    # Those of aiocreds' pool come and go, and are never more than it allows.
    threads = sum(thread.name != "aiocreds pool" for thread in threading.enumerate())
    return Figures(tasks, descriptors, threads, sys.getallocatedblocks(), resident)


def grown(rests: Sequence[Figures], *, memory: bool) -> list[str]:
    """Return what has outgrown its limit since the third rest. The least of the last three has to be more."""
    before, after = rests[2], Figures(*map(min, *rests[-3:]))
    if not memory:
        after = after._replace(blocks=0, resident=0)
    told = zip(Figures._fields, before, after, ALLOWED, strict=True)
    return [f"{name} grew from {one:,} to {other:,}" for name, one, other, more in told if other - one > more]
