"""A checkpoint that was unpacked before it was needed, and what of a later one it spares.

A job that is being moved is saved once or twice before its last checkpoint. The agent that will
have it next fetches one of these ahead; of the last one it then fetches only what differs.

1. A base holds nothing but what its own manifest names, verified as it was written, in a folder of
   this agent alone.
2. Bytes are kept where both manifests say that the same bytes of the same blob lie at the same
   place of the same file. All others are written anew, holes included.
3. What is left of a base is the later checkpoint's to fill, or is removed with it.
"""

import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edge_agent.checkpoint.manifest import HOLE, Kind, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A checkpoint on local disk, whole."""

    path: Path
    manifest: Manifest


class Run(NamedTuple):
    """Bytes of one file that come from one blob."""

    begin: int
    """In the file."""
    end: int
    blob: int
    """Number in the manifest, or HOLE."""
    offset: int
    """Of the first byte in the blob."""


class Runs:
    """What each file of a checkpoint is made of.

    Made as it is asked for, since a checkpoint may have a million runs: only the map is kept, 12
    bytes for each, and where in it the files begin.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Find where the files begin."""
        self._numbers = numbers = manifest.extent_numbers()
        self._places: dict[str, tuple[int, int, int]] = {}
        """By file: its first extent, how much of that is of files before it, and its size."""
        extent = skipped = 0
        for entry in manifest.entries:
            if not entry.size:
                continue
            self._places[entry.path] = (extent, skipped, entry.size)
            skipped += entry.size
            while extent < len(numbers) // 3 and skipped >= numbers[3 * extent + 2]:
                skipped -= numbers[3 * extent + 2]
                extent += 1

    def __contains__(self, path: str) -> bool:
        """Return whether there is a file of that name that is not empty."""
        return path in self._places

    def of(self, path: str) -> Iterator[Run]:
        """Yield what the file *path* is made of, in the order of its bytes; nothing of others."""
        extent, skipped, size = self._places.get(path, (0, 0, 0))
        numbers, at = self._numbers, 0
        while at < size:
            blob, offset, length = numbers[3 * extent : 3 * extent + 3]
            end = min(size, at + length - skipped)
            yield Run(at, end, blob, offset if blob == HOLE else offset + skipped)
            at, skipped = end, 0
            extent += 1


def difference(new: Iterable[Run], old: Iterable[Run], same: dict[int, int]) -> Iterator[Run]:
    """Yield the parts of *new* that are not at the same place in *old*.

    Args:
        new: what a file is to be made of.
        old: what it is made of.
        same: numbers of *new*'s blobs by *old*'s numbers, for those that both have.
    """
    left = iter(old)
    known = next(left, None)
    for run in new:
        at = run.begin
        while at < run.end:
            while known is not None and known.end <= at:
                known = next(left, None)
            if known is None:
                yield _part(run, at, run.end)
                break
            end = min(run.end, known.end)
            blob = HOLE if known.blob == HOLE else same.get(known.blob, -1)
            there = known.offset + (at - known.begin)
            if blob != run.blob or (blob != HOLE and there != run.offset + (at - run.begin)):
                yield _part(run, at, end)
            at = end


def _part(run: Run, begin: int, end: int) -> Run:
    skipped = 0 if run.blob == HOLE else begin - run.begin
    return Run(begin, end, run.blob, run.offset + skipped)


def adopt(path: Path, manifest: Manifest, base: Base) -> list["array[int]"]:
    """Move the files of *base* that a later checkpoint has into its folder; clear its holes.

    Blocks. The folders and empty files of *manifest* are there already, at *path*.

    Returns:
        By blob of *manifest*: place in its stream, place in the blob, and length of what is
        still to be written.
    """
    numbers = {blob.name: number for number, blob in enumerate(manifest.blobs)}
    same = {
        number: numbers[blob.name]
        for number, blob in enumerate(base.manifest.blobs)
        if blob.name in numbers
    }
    before, wanted = Runs(base.manifest), Runs(manifest)
    uses = [array("Q") for _ in manifest.blobs]
    start = 0
    for entry in manifest.entries:
        if entry.kind is not Kind.FILE or not entry.size:
            continue
        known = entry.path in before
        if known:
            (base.path / entry.path).chmod(0o600)
            (base.path / entry.path).replace(path / entry.path)
            os.truncate(path / entry.path, entry.size)
        for run in difference(wanted.of(entry.path), before.of(entry.path), same):
            if run.blob == HOLE:
                if known:
                    _clear(path / entry.path, run)
            else:
                uses[run.blob].extend((start + run.begin, run.offset, run.end - run.begin))
        start += entry.size
    return uses


def _clear(path: Path, run: Run) -> None:
    """Write zeros."""
    with path.open("r+b") as file:
        file.seek(run.begin)
        left = run.end - run.begin
        while left:
            left -= file.write(bytes(min(left, 1 << 20)))
