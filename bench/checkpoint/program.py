"""The program that is checkpointed, and its pulse: the clock that all rivals are measured by.

Every millisecond the program notes in a shared page how often it did so, and its longest wait.
So it says itself how long it stood still and when it ran again, whoever froze or restored it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT, GAP_NS, ASKED, DONE = range(4)
"""Places in the page: ticks, the longest gap between two, what to change, what was changed."""
PIECE, SCATTERED = 1, 2
"""Changes of 5 % of the pages: in one piece, and page by page."""
SHARE = 20
_START_S = 600.0
_POLL_S = 0.001

PROGRAM = """
import mmap, os, random, sys, time
mib, fill, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
size, page, share = mib << 20, 4096, 20
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
# Half is noise; half is hex digits, of which a compressor can save half.
for start in range(0, size, 1 << 20):
    if fill == "zero":
        memory[start : start + (1 << 20)] = bytes(1 << 20)
    elif start < size // 2:
        memory[start : start + (1 << 20)] = os.urandom(1 << 20)
    else:
        memory[start : start + (1 << 20)] = os.urandom(1 << 19).hex().encode()

def change(what):
    pages = size // page
    if what == 1:
        # Not where a block of anybody's begins.
        start = (pages // 7) * page
        memory[start : start + pages // share * page] = os.urandom(pages // share * page)
    else:
        for number in random.Random(what).sample(range(pages), pages // share):
            memory[number * page : (number + 1) * page] = os.urandom(page)

with open(path, "wb") as file:
    file.write(bytes(page))
file = open(path, "r+b")
pulse = mmap.mmap(file.fileno(), page)
file.close()
words = memoryview(pulse).cast("q")
ticks, last = 0, time.monotonic_ns()
while True:
    time.sleep(0.001)
    now = time.monotonic_ns()
    ticks += 1
    words[0] = ticks
    words[1] = max(words[1], now - last)
    last = now
    if words[2] != words[3]:
        change(words[2])
        words[3] = words[2]
        last = time.monotonic_ns()
"""


def command(*, mib: int, path: str = "/job/pulse", fill: str = "mixed") -> tuple[str, ...]:
    """Return what to run in a container."""
    return ("python3", "-c", PROGRAM, str(mib), fill, path)


def until(condition: Callable[[], bool], *, limit_s: float = _START_S, what: str) -> None:
    """Wait for *condition*, which is asked every millisecond."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {limit_s:g} s")
        time.sleep(_POLL_S)  # noqa: TID251


class Pulse:
    """The page of a running program, from outside."""

    def __init__(self, path: Path) -> None:
        """Wait until the program has filled its memory and ticks."""
        until(lambda: path.exists() and path.stat().st_size == mmap.PAGESIZE, what=str(path))
        descriptor = os.open(path, os.O_RDWR)
        try:
            self._page = mmap.mmap(descriptor, mmap.PAGESIZE)
        finally:
            os.close(descriptor)
        until(lambda: self.ticks > 0, what=f"{path} ticks")

    @property
    def ticks(self) -> int:
        return self._word(COUNT)

    @property
    def longest_gap_s(self) -> float:
        """Longest time without a tick since `reset`."""
        return self._word(GAP_NS) / 1e9

    def reset(self) -> None:
        self._set(GAP_NS, 0)

    def clear(self) -> None:
        """Forget the ticks, so that the next one is of a restored program."""
        self._set(COUNT, 0)

    def change(self, what: int) -> None:
        """Have 5 % of the pages changed, and wait for that."""
        self._set(ASKED, what)
        until(lambda: self._word(DONE) == what, what="change")

    def next_tick(self) -> None:
        """Wait for one tick more, so that the gap that a checkpoint made has been noted."""
        before = self.ticks
        until(lambda: self.ticks not in (before, before + 1), what="tick")

    def _word(self, place: int) -> int:
        (value,) = struct.unpack_from("q", self._page, 8 * place)
        return int(value)

    def _set(self, place: int, value: int) -> None:
        struct.pack_into("q", self._page, 8 * place, value)
