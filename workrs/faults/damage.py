"""What can happen to a checkpoint where it lies: on the nodes' disks, in files named by hash."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.checkpoint.body import decode_manifest, encode_manifest
from edge_agent.checkpoint.keys import KeyRing, read_keys
from edge_agent.checkpoint.manifest import (
    HOLE,
    Extent,
    Manifest,
    pack_map,
)
from edge_agent.checkpoint.seal import Opener, digest, new_sealer, open_manifest
from workrs.cli.cluster import CHECKPOINT_KEY
from workrs.domain.ids import Digest, JobId
from workrs.domain.record import CheckpointRef
from workrs.faults.row import RowError
from workrs.ports.store import JobSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One checkpoint of a job, and where the cluster keeps it."""

    root: Path
    """The cluster's folder."""
    job: str
    """Its id on the bus."""
    ref: CheckpointRef

    def copies(self, name: Digest) -> list[Path]:
        """Return the files that hold a blob of it, one a node."""
        place = f"blobs/blobs/{self.job}/{self.ref.epoch}/{name}"
        return sorted(path for path in self.root.glob(f"*/{place}") if path.is_file())

    @property
    def keys(self) -> KeyRing | None:
        """Return what the cluster's agents seal with."""
        path = self.root / CHECKPOINT_KEY
        return read_keys(path) if path.exists() else None

    def manifest(self) -> Manifest:
        """Return its manifest, as the first node has it."""
        return self.open()[0]

    def open(self) -> tuple[Manifest, Opener]:
        """Return its manifest, and what opens its blobs, without looking whose they are."""
        data = self.read(self.ref.manifest)
        space = JobSpace(job=JobId(self.job), epoch=self.ref.epoch)
        opener, body = open_manifest(data, keys=self.keys, space=space, seq=self.ref.seq)
        return decode_manifest(body), opener

    def read(self, name: Digest) -> bytes:
        """Return a blob of it, as the first node has it."""
        copies = self.copies(name)
        if not copies:
            raise RowError(f"no node has {name} of {self.job}'s checkpoint {self.ref.order}")
        return copies[0].read_bytes()

    def own_blobs(self, others: Sequence["Stored"]) -> list[Digest]:
        """Return the blobs that none of *others* needs; the manifest is always one of them."""
        shared = {blob for other in others for blob in other.manifest().names()}
        return [self.ref.manifest, *sorted(self.manifest().names() - shared)]


def truncate(path: Path, rng: random.Random) -> None:
    """Cut a file off somewhere before its end."""
    with path.open("r+b") as file:
        file.truncate(rng.randrange(path.stat().st_size))


def flip(path: Path, rng: random.Random) -> None:
    """Turn one bit of a file over."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def spoil(
    pairs: Sequence[tuple[Stored, Stored]],
    harm: Callable[[Path, random.Random], None],
    rng: random.Random,
) -> None:
    """Harm one blob of the first checkpoint of each pair, at every node, that the second needs not.

    All are chosen before any is harmed: a manifest that was hit tells nothing any more.
    """
    chosen = [(stored, rng.choice(stored.own_blobs([other]))) for stored, other in pairs]
    for stored, name in chosen:
        for path in stored.copies(name):
            harm(path, rng)


def swap(one: Stored, other: Stored) -> None:
    """Put the manifest of each in the place of the other's, at every node."""
    contents = [stored.copies(stored.ref.manifest)[0].read_bytes() for stored in (one, other)]
    for stored, content in zip((one, other), reversed(contents), strict=True):
        for path in stored.copies(stored.ref.manifest):
            path.write_bytes(content)


def forge(stored: Stored, *, spoil: str = "", **host: str) -> CheckpointRef:
    """Store the same checkpoint once more, whole, as if another machine had taken it.

    It is sealed with the cluster's key: what only somebody who has that could do. Returns what
    its agent would report. The number leaves room for real ones in between, so that it stays
    the newest.

    Args:
        stored: the real one.
        spoil: path of a file in it that is to hold nothing but zeros, with hashes that fit.
        host: facts of the other machine, by their names in the manifest.
    """
    real, opener = stored.open()
    sealer = new_sealer(stored.keys, real.job, real.epoch)
    extents = list(real.extents())
    if spoil:
        extents = _spoilt(stored, real, spoil)
    used = sorted({extent.blob for extent in extents} - {HOLE})
    numbers = {number: place for place, number in enumerate(used)} | {HOLE: HOLE}
    blobs = []
    for number in used:
        blob = real.blobs[number]
        data = sealer.blob(opener.blob(stored.read(blob.name), blob.bytes))
        blobs.append(replace(blob, name=_store(stored, data), stored=len(data)))
    manifest = replace(
        real,
        seq=real.seq + 1000,
        host=replace(real.host, **host),
        blobs=tuple(blobs),
        map=pack_map(n for e in extents for n in (numbers[e.blob], e.offset, e.bytes)),
    )
    name = _store(stored, sealer.manifest(encode_manifest(manifest), manifest.seq))
    return replace(stored.ref, seq=manifest.seq, manifest=name)


def _store(stored: Stored, data: bytes) -> Digest:
    name = digest(data)
    for path in stored.copies(stored.ref.manifest):
        path.with_name(name).write_bytes(data)
    return name


def _spoilt(stored: Stored, manifest: Manifest, path: str) -> list[Extent]:
    """Return the extents of a checkpoint in which one file is a hole."""
    begin = 0
    size = 0
    for entry in manifest.entries:
        if entry.path == path:
            size = entry.size
            break
        begin += entry.size
    if not size:
        raise RowError(f"{stored.job}'s checkpoint has no bytes of {path}")
    found = []
    at = 0
    for extent in manifest.extents():
        # What lies before the file, in it, and behind it.
        cuts = [at, *(min(max(c, at), at + extent.bytes) for c in (begin, begin + size))]
        cuts.append(at + extent.bytes)
        for number, (low, high) in enumerate(itertools.pairwise(cuts)):
            if low < high:
                hole = number == 1 or extent.blob == HOLE
                offset = 0 if hole else extent.offset + low - at
                found.append(Extent(HOLE if hole else extent.blob, offset, high - low))
        at += extent.bytes
    return found
