"""What a process holds when it is at rest."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path
from typing import NamedTuple

STATM = Path("/proc/self/statm")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Figures(NamedTuple):
    """What there is.

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


# How much more there may be at the end. The first three are exact: nothing may be left of 10,000 refreshes. Blocks
# breathe with what is held at the moment, and the resident size with the allocator; one small object a refresh that
# is never freed makes thousands of blocks.
ALLOWED = Figures(tasks=0, descriptors=0, threads=0, blocks=3000, resident=8 * 1024)


def at_rest(tasks: int) -> Figures:
    """The figures of this process now."""
    for _ in range(3):  # what one collection frees may free more
        gc.collect()
    resident = int(STATM.read_text().split()[1]) * PAGE // 1024 if STATM.exists() else 0
    descriptors = len(list(Path("/dev/fd").iterdir()))
    return Figures(tasks, descriptors, threading.active_count(), sys.getallocatedblocks(), resident)


def grown(before: Figures, after: Figures, *, memory: bool) -> list[str]:
    """Which of them have grown by more than is allowed."""
    told = zip(Figures._fields, before, after, ALLOWED, strict=True)
    return [
        f"{name} grew from {one:,} to {other:,}"
        for name, one, other, more in told
        if other - one > more and (memory or name not in ("blocks", "resident"))
    ]
