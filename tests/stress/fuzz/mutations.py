"""Inputs made of other inputs: what a seeded die changes in one. Quick, since there are to be a million of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

LONGEST = 2_048  # bytes; how time grows with longer ones is measured, not fuzzed
MOST_CHANGES = 4
SEAMS = re.compile(rb"[^\w.-]")  # where an input is cut half of the time: quotes, brackets, line ends, signs
ODD_BYTES = b"\x00\t\n\r \"#%&'/:;<=>?@[\\]{}\x7f\x80\xa0\xc3\xff09aZ"


def mutated(data: bytes, corpus: Sequence[bytes], words: Sequence[bytes], dice: Random) -> bytes:
    """An input with a few changes.

    Args:
        data: the input.
        corpus: others, to take pieces from.
        words: what such inputs are made of.
        dice: decide.
    """
    for _ in range(1 + int(dice.random() * MOST_CHANGES)):
        start, end = _piece(data, dice)
        change = dice.random()
        if change < 0.35 and words:
            put = words[int(dice.random() * len(words))]
        elif change < 0.5:
            other = corpus[int(dice.random() * len(corpus))]
            first, last = _piece(other, dice)
            put = other[first:last]
        elif change < 0.65:
            put = data[start:end] * 2
        elif change < 0.8:
            put = b""
        elif change < 0.95:
            at = int(dice.random() * len(ODD_BYTES))
            put = ODD_BYTES[at : at + 1]
        else:
            put = data[start:end][::-1]
        if dice.random() < 0.4:
            end = start  # put it in, and take nothing out
        data = data[:start] + put + data[end:]
    return data[:LONGEST]


def _piece(data: bytes, dice: Random) -> tuple[int, int]:
    start = int(dice.random() * (len(data) + 1))
    if dice.random() < 0.5:
        end = min(len(data), start + int(dice.random() * 9))
        return start, end
    seam = SEAMS.search(data, start)
    start = seam.end() if seam else start
    seam = SEAMS.search(data, start)
    return start, seam.start() if seam else len(data)
