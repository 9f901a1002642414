"""From blobs to a snapshot's folder. All of it blocks.

1. Only what the manifest lists is created, by names the manifest has checked, in a folder that
   was made for it; nothing is opened but what was just created here, or for a base.
2. Links are made last, after all writing, so nothing is ever written through one.
"""

import os
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

from edge_agent.checkpoint.base import Base, adopt
from edge_agent.checkpoint.manifest import HOLE, Blob, Kind, Manifest
from edge_agent.checkpoint.seal import Opener
from workrs.domain.errors import CheckpointError


class Layout(NamedTuple):
    """Where the bytes of the stream and of each blob go."""

    path: Path
    names: list[str]
    """Of the files that are not empty, in the order of the stream."""
    starts: "array[int]"
    """Where each begins in the stream, and where the last one ends."""
    uses: "list[array[int]]"
    """By blob: place in the stream, place in the blob and length of each extent."""


def lay_out(path: Path, manifest: Manifest, base: Base | None) -> Layout:
    """Say where what is to be fetched belongs, after what *base* has of it was put there."""
    files = [entry for entry in manifest.entries if entry.size]
    starts = array("Q", [0])
    for entry in files:
        starts.append(starts[-1] + entry.size)
    if base is not None:
        names = [entry.path for entry in files]
        return Layout(path, names, starts, adopt(path, manifest, base))
    uses = [array("Q") for _ in manifest.blobs]
    at = 0
    for blob, offset, length in manifest.extents():
        if blob != HOLE:
            uses[blob].extend((at, offset, length))
        at += length
    return Layout(path, [entry.path for entry in files], starts, uses)


def write(layout: Layout, number: int, blob: Blob, data: bytes, opener: Opener) -> None:
    """Open a blob and write its extents to where they belong."""
    if len(data) != blob.stored:
        raise CheckpointError("a blob of the checkpoint has another size than its manifest says")
    raw = memoryview(opener.blob(data, blob.bytes))
    uses = iter(layout.uses[number])
    opened, descriptor = -1, -1
    try:
        for at, offset, length in zip(uses, uses, uses, strict=True):
            left = raw[offset : offset + length]
            while left:
                file = bisect_right(layout.starts, at) - 1
                if file != opened:
                    if descriptor >= 0:
                        os.close(descriptor)
                    opened, descriptor = file, _reopen(layout.path / layout.names[file])
                taken = min(len(left), layout.starts[file + 1] - at)
                _write_all(descriptor, left[:taken], at - layout.starts[file])
                left = left[taken:]
                at += taken  # noqa: PLW2901 (the rest of the extent lies in the next file)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _reopen(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written


def make_empty(path: Path, manifest: Manifest) -> None:
    """Create folders, and files of full size that hold nothing yet."""
    for entry in manifest.entries:
        target = path / entry.path
        if entry.kind is Kind.FOLDER:
            target.mkdir(mode=0o700)
        elif entry.kind is Kind.FILE:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(target, flags, 0o600)
            try:
                os.ftruncate(descriptor, entry.size)
            finally:
                os.close(descriptor)


def finish(path: Path, manifest: Manifest) -> None:
    """Set modes and times, then make FIFOs and links."""
    for entry in manifest.entries:
        target = path / entry.path
        if entry.kind is Kind.FILE and entry.path.startswith("job/"):
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
            target.chmod(entry.mode)
        elif entry.kind is Kind.FOLDER and entry.path.startswith("job/"):
            target.chmod(entry.mode | 0o700)
    for entry in manifest.entries:
        target = path / entry.path
        if entry.kind is Kind.FIFO:
            os.mkfifo(target)
            target.chmod(entry.mode)  # whatever this process's umask is
        elif entry.kind is Kind.LINK:
            target.symlink_to(entry.link)
