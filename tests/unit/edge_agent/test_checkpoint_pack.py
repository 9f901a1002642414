"""Goal: what changed is packed, and nothing else; what lies around unused does not pile up.

Method: memory written as CRIU writes it, changed page by page, packed again and again; what the
map says is put together and compared.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from edge_agent.checkpoint import index, pack
from edge_agent.checkpoint.manifest import HOLE
from edge_agent.checkpoint.pack import Packed, Packer, worn
from edge_agent.checkpoint.seal import digest, new_sealer, open_manifest
from edge_agent.checkpoint.share import BLOCKS_OF_ALL, Share
from tests.unit.edge_agent.test_pagemap import PAGE, write
from workrs.domain.ids import Epoch, JobId
from workrs.ports.store import JobSpace

if TYPE_CHECKING:
    from pathlib import Path

SPACE = JobSpace(job=JobId("pump_1"), epoch=Epoch(1))
BASE = 1000
"""First page of the memory."""


class Memory:
    """A program's memory that is packed again and again; stands for stores as well."""

    def __init__(self, folder: Path, pages: int) -> None:
        self.rng = random.Random(1)
        self.folder = folder
        self.ranges = [(BASE, pages)]
        self.pages = {BASE + n: self.noise() for n in range(pages)}
        self.sealer = new_sealer(None, SPACE.job, SPACE.epoch)
        self.opener, _ = open_manifest(self.sealer.manifest(b"", 1), keys=None, space=SPACE, seq=1)
        self.stored: dict[str, bytes] = {}
        self.before: Packed | None = None
        (folder / "job").mkdir()
        (folder / "stdout").touch()

    def noise(self) -> bytes:
        return self.rng.randbytes(PAGE)

    def pack(self) -> int:
        """Pack it, check what the map says, and return the bytes that were packed."""
        write(self.folder / "image", self.ranges)
        content = b"".join(self.pages[at + n] for at, count in self.ranges for n in range(count))
        (self.folder / "image" / "pages-3.img").write_bytes(content)
        packer = Packer(self.folder, self.sealer, self.before)
        packer.scan()
        new = 0
        for blob, data in packer.packs():
            assert digest(data) == blob.name
            self.stored[blob.name] = data
            new += blob.bytes
        self.before = packer.packed()
        assert self._contents(self.before).endswith(content)
        return new

    def _contents(self, packed: Packed) -> bytes:
        opened = [self.opener.blob(self.stored[b.name], b.bytes) for b in packed.blobs]
        numbers = iter(packed.map)
        return b"".join(
            bytes(length) if blob == HOLE else opened[blob][offset : offset + length]
            for blob, offset, length in zip(numbers, numbers, numbers, strict=True)
        )


def overhead(memory: Memory) -> int:
    """Return the bytes of the map of pages, which is a file like any other."""
    return (memory.folder / "image" / "pagemap-7.img").stat().st_size


def test_memory_that_did_not_change_is_not_packed(tmp_path: Path) -> None:
    memory = Memory(tmp_path, 600)
    assert memory.pack() >= 600 * PAGE
    assert memory.pack() == 0
    assert memory.pack() == 0


def test_one_page_that_changed_is_one_page_that_is_packed(tmp_path: Path) -> None:
    memory = Memory(tmp_path, 600)
    memory.pack()
    for page in (BASE, BASE + 300, BASE + 599):
        memory.pages[page] = memory.noise()
    assert memory.pack() == 3 * PAGE


def test_a_page_more_below_all_others_moves_none_of_them(tmp_path: Path) -> None:
    memory = Memory(tmp_path, 600)
    memory.pack()
    memory.pages[5] = memory.noise()
    memory.ranges.insert(0, (5, 1))
    assert memory.pack() == PAGE + overhead(memory)


def test_zeros_need_no_blob(tmp_path: Path) -> None:
    memory = Memory(tmp_path, 600)
    for page in [*range(BASE, BASE + 300), BASE + 400]:
        memory.pages[page] = bytes(PAGE)
    assert 299 * PAGE <= memory.pack() < 300 * PAGE
    assert memory.pack() == 0
    memory.pages[BASE + 500] = bytes(PAGE)
    assert memory.pack() == 0
    memory.pages[BASE] = memory.noise()
    assert memory.pack() == PAGE


def test_a_worn_blob_is_packed_anew_and_left(tmp_path: Path) -> None:
    memory = Memory(tmp_path, 600)
    memory.pack()
    first = memory.before
    assert first is not None
    for page in range(BASE, BASE + 400):
        memory.pages[page] = memory.noise()
    assert memory.pack() == 400 * PAGE
    # A third of the first blob is left: the next checkpoint takes that along.
    assert 200 * PAGE <= memory.pack() <= 201 * PAGE
    assert memory.before is not None
    assert not {b.name for b in memory.before.blobs} & {b.name for b in first.blobs}
    assert memory.pack() == 0


def test_stores_never_need_more_than_twice_the_memory(tmp_path: Path) -> None:
    memory = Memory(tmp_path, 600)
    memory.pack()
    for _ in range(60):
        for page in memory.rng.sample(range(BASE, BASE + 600), 60):
            memory.pages[page] = memory.noise()
        memory.pack()
        assert memory.before is not None
        assert sum(blob.bytes for blob in memory.before.blobs) <= 2.3 * 600 * PAGE
        assert len(memory.before.blobs) <= pack.SMALL_MAX + 4


@pytest.mark.parametrize("block", [PAGE, 4 * PAGE, 16 * PAGE])
def test_blocks_of_any_size_find_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(index, "BLOCK_BYTES", block)
    memory = Memory(tmp_path, 0)
    memory.ranges = [(3, 5), (9, 1), (11, 90), (300, 33)]
    memory.pages = {at + n: memory.noise() for at, c in memory.ranges for n in range(c)}
    memory.pack()
    assert memory.pack() == 0
    memory.pages[50] = memory.noise()
    assert memory.pack() == block
    memory.ranges[2] = (11, 91)
    memory.pages[101] = memory.noise()
    assert PAGE <= memory.pack() <= block + overhead(memory)


def test_blocks_grow_with_the_job_and_not_back_and_forth() -> None:
    size, most = index.BLOCK_BYTES, index.BLOCK_BYTES * index.BLOCKS_MAX
    assert index.block_bytes(most, None) == size
    assert index.block_bytes(most + 1, None) == 2 * size
    before = index.Index(block_bytes=size)
    grown = size * index.BLOCKS_MAX * 4 // 3
    assert most < grown
    assert index.block_bytes(grown, before) == size
    assert index.block_bytes(grown + 1, before) == 2 * size
    assert index.block_bytes(1, index.Index(block_bytes=8 * size)) == 8 * size


def test_an_agent_for_many_jobs_remembers_no_more_of_all_than_of_four() -> None:
    few, many = Share(jobs=4), Share(jobs=16)
    assert few.blocks_max == index.BLOCKS_MAX == Share(jobs=0).blocks_max
    assert 16 * many.blocks_max <= BLOCKS_OF_ALL
    gibibyte = 1 << 30
    assert index.block_bytes(gibibyte, None, few.blocks_max) == index.BLOCK_BYTES
    assert index.block_bytes(gibibyte, None, many.blocks_max) == 4 * index.BLOCK_BYTES


def test_nothing_is_worn_while_half_of_it_is_used(tmp_path: Path) -> None:
    memory = Memory(tmp_path, 600)
    memory.pack()
    for page in range(BASE, BASE + 300):
        memory.pages[page] = memory.noise()
    memory.pack()
    assert memory.before is not None
    assert worn(memory.before) == frozenset()
    memory.pages[BASE + 300] = memory.noise()
    memory.pages[BASE + 301] = memory.noise()
    memory.pack()
    assert len(worn(memory.before)) == 1
