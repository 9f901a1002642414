"""The nodes' blob stores, as far as checkpoints need them.

A checkpoint's content is real bytes and its name their hash, so that damage is damage.
"""

import json
from dataclasses import dataclass, replace

from workrs.domain.ids import Digest, JobId
from workrs.domain.job import digest_of
from workrs.domain.record import CheckpointRef

URL = "http://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a checkpoint holds: how far the program was."""

    job: JobId
    epoch: int
    seq: int
    done_s: float
    agent: str

    def encode(self) -> bytes:
        """Return it as the bytes that are stored."""
        fields = [self.job, self.epoch, self.seq, round(self.done_s, 6), self.agent]
        return json.dumps(fields).encode()


def decode(data: bytes) -> Saved:
    """Return what is in the bytes of a checkpoint, whether they are whole or not."""
    try:
        job, epoch, seq, done_s, agent = json.loads(data)
    except ValueError:
        return Saved(job=JobId("?"), epoch=0, seq=0, done_s=-1.0, agent="?")
    return Saved(job=job, epoch=epoch, seq=seq, done_s=done_s, agent=agent)


def files_of(saved: Saved) -> Saved:
    """Return what of a program's memory its files held: half of its work."""
    return replace(saved, done_s=saved.done_s / 2)


def is_whole(data: bytes, ref: CheckpointRef) -> bool:
    """Return whether these are the bytes that the nodes voted on."""
    return digest_of(data) == ref.manifest


class BlobStore:
    """One node's store. It survives the daemon."""

    def __init__(self) -> None:
        """Begin empty and answering."""
        self.down = 0
        """How many faults keep it from answering."""
        self.blobs: dict[tuple[JobId, Digest], bytes] = {}
        self.dropped: set[JobId] = set()
        """Jobs of which it takes nothing any more."""

    def drop(self, job: JobId) -> None:
        """Remove all that is of a retired job, and refuse what comes late."""
        self.dropped.add(job)
        self.blobs = {key: data for key, data in self.blobs.items() if key[0] != job}

    def damage(self, key: tuple[JobId, Digest], how: str) -> None:
        """Truncate a blob, flip a bit of it, or swap it for another one's content."""
        data = self.blobs[key]
        if how == "truncated":
            data = data[: len(data) // 2]
        elif how == "flipped":
            place = max(0, len(data) - 2)  # truncated before, it may have nothing left to flip
            # Set, not turned over: what is damaged twice is not to be whole again.
            bad = bytes(b | 0x80 for b in data[place : place + 1])
            data = data[:place] + bad + data[place + 1 :]
        else:
            other = decode(data)
            data = replace(other, job=JobId(f"{other.job}x")).encode()
        self.blobs[key] = data
