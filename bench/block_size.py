"""What the size of a block costs and saves: one checkpoint after another of the same memory.

    .venv/bin/python -m bench.block_size [--mib 1024] [--block 4096 16384 65536] [--plain]

A page image as CRIU writes it, half of which can be compressed, is packed, sealed and handed to
stores that drop it: what is left is the agent's own work. Then nothing changes; 5 % of the pages
change in one piece; 5 % change one by one, three times over. Each size runs in a process of its
own, and what is compared is its CPU time and its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import random
import resource
import struct
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.checkpoint import Saved, index, save
from edge_agent.checkpoint.keys import new_ring
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.runtime import Rung, Snapshot
from workrs.testing.runtime import HOST

if TYPE_CHECKING:
    from workrs.ports.store import Space

PAGE = 4096
TEXT = bytes(range(256)) * (PAGE // 256)


class Nowhere:
    """A store that keeps nothing."""

    def __init__(self, location: str) -> None:
        self.location = location

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        """Drop it."""


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields: tuple[int, int]) -> bytes:
    body = b"".join(varint(number << 3) + varint(value) for number, value in fields)
    return struct.pack("<I", len(body)) + body


def write_memory(root: Path, pages: int) -> Path:
    for name in ("image", "job"):
        (root / name).mkdir()
    (root / "stdout").touch()
    entry = message((1, 0x7F00_0000_0000), (2, pages), (4, 4))
    (root / "image" / "pagemap-1.img").write_bytes(bytes(8) + message((1, 1)) + entry)
    image = root / "image" / "pages-1.img"
    with image.open("wb") as file:
        for number in range(pages):
            noisy = number // 128 % 2
            file.write(os.urandom(PAGE) if noisy else struct.pack("<Q", number) + TEXT[8:])
    return image


def change(image: Path, pages: list[int], rng: random.Random) -> None:
    """Replace pages by noise."""
    with image.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(rng.randbytes(PAGE))


async def rounds(root: Path, image: Path, pages: int, *, sealed: bool) -> None:
    rng = random.Random(1)
    keys = new_ring() if sealed else None
    taken = Snapshot(path=root, rung=Rung.MEMORY, image="i", command=("x",), host=HOST)
    saved: Saved | None = None
    share = pages // 20
    some = [(f"5 % one by one, {n}", rng.sample(range(pages), share)) for n in (1, 2, 3)]
    steps = [
        ("all of it", []),
        ("nothing changed", []),
        ("5 % in one piece", list(range(pages // 3, pages // 3 + share))),
        *some,
        ("nothing changed", []),
    ]
    numbers = itertools.count(1)
    for name, changed in steps:
        change(image, changed, rng)
        begin, cpu = time.perf_counter(), time.process_time()
        saved = await save(
            taken,
            job=JobId("bench_1"),
            epoch=Epoch(1),
            seq=next(numbers),
            stores=[Nowhere("mem://a"), Nowhere("mem://b")],  # type: ignore[list-item]
            previous=saved,
            keys=keys,
        )
        wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
        sent = saved.uploaded_bytes / (pages * PAGE)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(
            f"{name:20} {cpu_s:7.2f} s CPU {wall_s:7.2f} s {sent:7.1%} sent "
            f"{len(saved.manifest.blobs):5} blobs {len(saved.manifest.map) >> 10:6} KiB map "
            f"{peak:5} MiB at most",
            flush=True,
        )


def measure(block: int, mib: int, scratch: str | None, *, sealed: bool) -> None:
    index.BLOCK_BYTES = block
    with tempfile.TemporaryDirectory(prefix="workrs-bench-", dir=scratch) as folder:
        pages = (mib << 20) // PAGE
        image = write_memory(Path(folder), pages)
        asyncio.run(rounds(Path(folder), image, pages, sealed=sealed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--block", type=int, nargs="+", default=[4096, 16384, 65536])
    parser.add_argument("--plain", action="store_true", help="without a key")
    options = parser.parse_args()
    scratch = "/dev/shm" if os.path.ismount("/dev/shm") else None
    context = multiprocessing.get_context("spawn")
    for block in options.block:
        print(f"blocks of {block} bytes, {options.mib} MiB")
        process = context.Process(
            target=measure,
            args=(block, options.mib, scratch),
            kwargs={"sealed": not options.plain},
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()
