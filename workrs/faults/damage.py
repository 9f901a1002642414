"""What can happen to a checkpoint where it lies: on the nodes' disks, in files named by hash."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.checkpoint.manifest import (
    Manifest,
    Part,
    decode_manifest,
    encode_manifest,
    pieces,
)
from edge_agent.checkpoint.seal import digest, seal, unseal
from workrs.domain.ids import Digest
from workrs.domain.record import CheckpointRef
from workrs.faults.row import RowError


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

    def manifest(self) -> Manifest:
        """Return its manifest, as the first node has it."""
        copies = self.copies(self.ref.manifest)
        if not copies:
            raise RowError(f"no node has the manifest of {self.job}'s checkpoint {self.ref.order}")
        return decode_manifest(copies[0].read_bytes())

    def own_blobs(self, others: Sequence["Stored"]) -> list[Digest]:
        """Return the blobs that none of *others* needs; the manifest is always one of them."""
        shared = {blob for other in others for blob in other.manifest().blobs()}
        return [self.ref.manifest, *sorted(self.manifest().blobs() - shared)]


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

    Returns what its agent would report. The number leaves room for real ones in between, so
    that it stays the newest.

    Args:
        stored: the real one.
        spoil: path of a file in it that is to hold nothing but zeros, with hashes that fit.
        host: facts of the other machine, by their names in the manifest.
    """
    real = stored.manifest()
    parts = _spoilt(stored, real, spoil) if spoil else real.parts
    facts = replace(real.host, **host)
    manifest = replace(real, seq=real.seq + 1000, host=facts, parts=parts)
    data = encode_manifest(manifest)
    _store(stored, data)
    return replace(stored.ref, seq=manifest.seq, manifest=digest(data))


def _store(stored: Stored, data: bytes) -> None:
    for path in stored.copies(stored.ref.manifest):
        path.with_name(digest(data)).write_bytes(data)


def _spoilt(stored: Stored, manifest: Manifest, path: str) -> tuple[Part, ...]:
    """Return the parts of a checkpoint in which one file holds zeros; store what is new."""
    parts = list(manifest.parts)
    for place, found in enumerate(pieces(manifest.entries, (part.bytes for part in parts))):
        before = 0
        for piece in found:
            if piece.path == path:
                parts[place] = _zeroed(stored, parts[place], before, piece.length)
            before += piece.length
    if tuple(parts) == manifest.parts:
        raise RowError(f"{stored.job}'s checkpoint has no bytes of {path}")
    return tuple(parts)


def _zeroed(stored: Stored, part: Part, offset: int, length: int) -> Part:
    if part.blob is None:
        return part
    blob = stored.copies(part.blob)[0].read_bytes()
    raw = bytearray(unseal(blob, raw=part.raw, raw_bytes=part.bytes))
    raw[offset : offset + length] = bytes(length)
    sealed = seal(bytes(raw))
    _store(stored, sealed)
    return replace(part, raw=digest(bytes(raw)), blob=digest(sealed), stored=len(sealed))
