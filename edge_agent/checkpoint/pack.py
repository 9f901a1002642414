"""Finding what changed since the checkpoint before, and packing it into blobs.

1. A block that is as it was costs its tag; a block of zeros costs nothing in the stores.
2. Blocks that changed go into packs of up to PACK_BYTES, in the order of the stream; a pack
   becomes a blob, so it is compressed as a whole.
3. A blob of which less than half is still used is *worn*: what is left of it is packed anew, so
   the stores never hold more than twice what the newest checkpoint needs. So are blobs smaller
   than a quarter of a pack, as soon as there are more than SMALL_MAX.
4. Memory: one window and one pack, whatever the size of the job, and the two indexes.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from edge_agent.checkpoint.index import (
    BLOCKS_MAX,
    TAG_BYTES,
    Index,
    Tagger,
    block_bytes,
    extents,
)
from edge_agent.checkpoint.manifest import HOLE, PACK_BYTES, Blob, Entry
from edge_agent.checkpoint.scan import scan, stretches
from edge_agent.checkpoint.seal import Sealer, digest
from workrs.domain.errors import CheckpointError

SMALL_MAX = 32
_WINDOW_BYTES = 1 << 20
_ZEROS = bytes(PACK_BYTES)


class Packed(NamedTuple):
    """What an agent keeps of one checkpoint to make the next one small."""

    entries: tuple[Entry, ...]
    blocks: Index
    blobs: tuple[Blob, ...]
    """All that the blocks lie in, by their numbers."""
    map: "Sequence[int]"
    """See `extents`."""


class Packer:
    """Packs one snapshot. All of it blocks; call it from one thread at a time."""

    def __init__(
        self, folder: Path, sealer: Sealer, before: Packed | None, blocks_max: int = BLOCKS_MAX
    ) -> None:
        """Read nothing yet.

        Args:
            folder: the snapshot's.
            sealer: for new blobs.
            before: the checkpoint that this one may share blobs with.
            blocks_max: beyond which blocks are larger.
        """
        self._blocks_max = blocks_max
        self._folder = folder
        self._sealer = sealer
        self._before = before
        self._blobs: list[Blob | None] = list(before.blobs) if before else []
        """None: a pack that is being filled."""
        self._worn = worn(before) if before else frozenset()
        self._pack = bytearray()

    def scan(self) -> None:
        """Look at the folder's names and sizes, and at what memory its pages are."""
        self._entries = scan(self._folder)
        self._stretches = stretches(self._folder, self._entries)
        total = sum(stretch.length for stretch in self._stretches)
        before = self._before.blocks if self._before else None
        size = block_bytes(total, before, self._blocks_max)
        if before is None or before.block_bytes != size:
            before, self._index = None, Index(block_bytes=size)
        else:
            self._index = Index(block_bytes=size, key=before.key)
        self._old = before
        self._tagger = Tagger(self._index)

    def packs(self) -> Iterator[tuple[Blob, bytes]]:
        """Yield one new blob after the other, until all is packed."""
        most = max(_WINDOW_BYTES, self._index.block_bytes)
        for path, found in groupby(self._stretches, key=lambda stretch: stretch.path):
            with (self._folder / path).open("rb", buffering=0) as file:
                for stretch in found:
                    self._index.begin(stretch)
                    address, end = stretch.address, stretch.address + stretch.length
                    while address < end:
                        wanted = min(most - address % most, end - address)
                        data = file.read(wanted)
                        if len(data) != wanted:
                            raise CheckpointError(f"{path} became shorter while it was packed")
                        yield from self._window(stretch.source, address, data)
                        address += wanted
        if self._pack:
            yield self._close()

    def _window(self, source: str, address: int, data: bytes) -> Iterator[tuple[Blob, bytes]]:
        """Pack what is new among the blocks of *data*."""
        index, old, size = self._index, self._old, self._index.block_bytes
        first = min(size - address % size, len(data))
        count = 1 + -(-(len(data) - first) // size)
        # Compares until the first difference: free for all but zeros.
        if data == _ZEROS[: len(data)]:
            index.add_holes(self._tagger.zeros, count)
            return
        tags = self._tagger.tags(data, first)
        place, known = old.find(source, address) if old else (0, 0)
        if old and known >= count and self._is_kept(old, place, b"".join(tags)):
            # Most windows of most checkpoints: nothing changed.
            index.copy(old, place, count)
            return
        at = 0
        for number, tag in enumerate(tags):
            block = data[at : first + number * size]
            at += len(block)
            if old and number < known and self._is_kept(old, place + number, tag):
                index.copy(old, place + number, 1)
            elif block == _ZEROS[: len(block)]:
                index.add_holes(tag, 1)
            else:
                if len(self._pack) + len(block) > PACK_BYTES:
                    yield self._close()
                if not self._pack:
                    self._blobs.append(None)
                index.add(tag, len(self._blobs) - 1, len(self._pack))
                self._pack += block

    def _is_kept(self, old: Index, place: int, tags: bytes) -> bool:
        """Return whether the blocks from there on have *tags*, and lie where they may stay."""
        count = len(tags) // TAG_BYTES
        return old.tags[place * TAG_BYTES : (place + count) * TAG_BYTES] == tags and (
            self._worn.isdisjoint(old.blobs[place : place + count])
        )

    def _close(self) -> tuple[Blob, bytes]:
        """Seal the pack that was filled."""
        data = self._sealer.blob(self._pack)
        blob = Blob(name=digest(data), stored=len(data), bytes=len(self._pack))
        self._blobs[-1] = blob
        self._pack = bytearray()
        return blob, data

    def packed(self) -> Packed:
        """Return what was packed, with numbers that leave out the blobs no block lies in."""
        index = self._index
        numbers = [HOLE] * len(self._blobs)
        kept: list[Blob | None] = []
        for number in sorted(set(index.blobs) - {HOLE}):
            numbers[number] = len(kept)
            kept.append(self._blobs[number])
        extent_map = extents(index, self._stretches, numbers)
        for at, number in enumerate(index.blobs):
            if number != HOLE:
                index.blobs[at] = numbers[number]
        blobs = tuple(blob for blob in kept if blob is not None)
        return Packed(self._entries, index, blobs, extent_map)


def worn(packed: Packed) -> frozenset[int]:
    """Return the numbers of the blobs that the next checkpoint had better not use."""
    used = [0] * len(packed.blobs)
    numbers = packed.map
    for blob, length in zip(numbers[0::3], numbers[2::3], strict=True):
        if blob != HOLE:
            used[blob] += length
    found = {n for n, blob in enumerate(packed.blobs) if 2 * used[n] < blob.bytes}
    small = {n for n, blob in enumerate(packed.blobs) if 4 * blob.bytes < PACK_BYTES} - found
    return frozenset(found | small if len(small) > SMALL_MAX else found)
