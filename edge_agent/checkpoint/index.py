"""What an agent remembers of the checkpoint it stored last: where each block of it lies.

A block is BLOCK_BYTES of a file or of a process's memory, cut where addresses are multiples of
that. By source and address the block that was there before is found; by its *tag* it is known
whether it changed.

1. Equal tags mean equal blocks. A tag is the block's GMAC under a random key that never leaves
   this process: two different blocks of 4 KiB have the same one with a chance below 2**-119,
   whatever a program writes, because it sees neither key nor tags. (2.6 times as fast as SHA-256.)
2. It costs 24 bytes a block. A job of more than BLOCKS_MAX blocks has larger ones, so the
   index never has more than some 13 MB, and a manifest's map no more than 6 MB. On agents for
   many jobs that is less: see `share`.
"""

import secrets
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_agent.checkpoint.manifest import HOLE
from edge_agent.checkpoint.scan import Stretch

BLOCK_BYTES = 4096
"""A page. Larger blocks save no time (the tags of 1 GiB take 0.3 s at 4 KiB, 0.2 s at 16 KiB), and
where single pages change they send more: see docs/checkpoints.md."""
BLOCKS_MAX = 3 << 17
"""Of 4 KiB: 1.5 GiB."""
TAG_BYTES = 16
_NONCE = bytes(12)


def block_bytes(total_bytes: int, before: "Index | None", most: int = BLOCKS_MAX) -> int:
    """Return how large blocks are to be, for *most* of them.

    A job that has grown has them as before until they are a third more: larger ones mean that all
    of it is stored once more.
    """
    size = BLOCK_BYTES
    if before is not None:
        size, most = before.block_bytes, most * 4 // 3
    while total_bytes > size * most:
        size *= 2
    return size


@dataclass(slots=True, kw_only=True)
class Index:
    """The blocks of one checkpoint, in the order of its stream."""

    block_bytes: int
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Of the tags."""
    tags: bytearray = field(default_factory=bytearray)
    blobs: "array[int]" = field(default_factory=lambda: array("I"))
    """Number of the blob that holds a block, or HOLE."""
    offsets: "array[int]" = field(default_factory=lambda: array("I"))
    """Where in that blob's bytes it begins."""
    _stretches: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """By source: address, length and first block of each, ascending."""

    def begin(self, stretch: Stretch) -> None:
        """Say what the next blocks are of."""
        known = self._stretches.setdefault(stretch.source, [])
        known.append((stretch.address, stretch.length, len(self.blobs)))

    def find(self, source: str, address: int) -> tuple[int, int]:
        """Return the number of the block at *address*, and how many there are from it on."""
        known = self._stretches.get(source, ())
        place = bisect_right(known, address, key=lambda stretch: stretch[0]) - 1
        if place < 0:
            return 0, 0
        start, length, first = known[place]
        if address >= start + length:
            return 0, 0
        size = self.block_bytes
        found = address // size - start // size
        return first + found, (start + length - 1) // size - start // size + 1 - found

    def add(self, tag: bytes, blob: int, offset: int) -> None:
        """Add the next block."""
        self.tags += tag
        self.blobs.append(blob)
        self.offsets.append(offset)

    def add_holes(self, tag: bytes, count: int) -> None:
        """Add blocks of zeros, whose tag is *tag*."""
        self.tags += tag * count
        self.blobs.extend([HOLE] * count)
        self.offsets.extend([0] * count)

    def copy(self, old: "Index", place: int, count: int) -> None:
        """Add blocks that are as they were in *old*."""
        end = place + count
        self.tags += old.tags[place * TAG_BYTES : end * TAG_BYTES]
        self.blobs.extend(old.blobs[place:end])
        self.offsets.extend(old.offsets[place:end])


class Tagger:
    """Computes tags under one key."""

    def __init__(self, index: Index) -> None:
        """Use the key of *index*."""
        self._encrypt = AESGCM(index.key).encrypt
        self._size = index.block_bytes
        self.zeros = self._encrypt(_NONCE, b"", bytes(self._size))
        """Tag of a full block of zeros."""

    def tags(self, data: bytes, first: int) -> list[bytes]:
        """Return the tags of the blocks of *data*, the first of which has *first* bytes."""
        encrypt, size = self._encrypt, self._size
        # One nonce for all: tags are compared here and shown to nobody, so nothing is forged.
        tags = [encrypt(_NONCE, b"", data[:first])]
        tags += [encrypt(_NONCE, b"", data[at : at + size]) for at in range(first, len(data), size)]
        return tags


def extents(index: Index, stretches: Sequence[Stretch], numbers: Sequence[int]) -> "array[int]":
    """Return the map of a checkpoint: blob, offset, bytes of one extent after the other.

    Args:
        index: of the same checkpoint.
        stretches: those it was made of.
        numbers: the new number of each blob, by the index's.
    """
    found = array("I")
    size, at = index.block_bytes, 0
    blob, offset, length = -1, 0, 0
    for stretch in stretches:
        end = stretch.address + stretch.length
        address = stretch.address
        while address < end:
            step = min(end, (address // size + 1) * size) - address
            here, there = index.blobs[at], index.offsets[at]
            joins = here == HOLE and length < 1 << 30 if blob == HOLE else there == offset + length
            if here == blob and joins:
                length += step
            else:
                if length:
                    found.extend((HOLE if blob == HOLE else numbers[blob], offset, length))
                blob, offset, length = here, there, step
            address += step
            at += 1
    if length:
        found.extend((HOLE if blob == HOLE else numbers[blob], offset, length))
    return found
