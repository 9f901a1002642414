"""A small checkpoint and stores that do not look at what they are given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.checkpoint import KeyRing, Saved, load, save
from edge_agent.checkpoint.keys import new_ring
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.runtime import Rung, Snapshot
from workrs.ports.store import BLOB_MAX_BYTES, BlobLostError, Space
from workrs.testing.runtime import HOST
from workrs.testing.store import MemoryStore, MemoryStores

if TYPE_CHECKING:
    from pathlib import Path

JOB = JobId("pump_1")
EPOCH = Epoch(2)
RING = new_ring()
URL = "mem://a"
LIMIT_BYTES = 1 << 20


class Believing(MemoryStore):
    """Returns whatever lies under a name: what is left is what the seals find."""

    async def get(
        self,
        digest: Digest,
        space: Space,  # noqa: ARG002 (the port's)
        *,
        limit_bytes: int = BLOB_MAX_BYTES,  # noqa: ARG002
    ) -> bytes:
        """Return it unseen."""
        for (_, _, name), content in self.blobs.items():
            if name == digest:
                return content
        raise BlobLostError(f"{self.location} has no {digest}")


class BelievingStores(MemoryStores):
    """Opens those."""

    def open(self, url: str) -> MemoryStore:
        """Return the one at *url*."""
        return self.stores.setdefault(url, Believing(url))


def snapshot(path: Path, *, pages: bytes = b"", text: bytes = b"so far\n") -> Snapshot:
    """Write a snapshot of a program with a little memory and one file."""
    (path / "job").mkdir(parents=True)
    (path / "image").mkdir()
    (path / "stdout").write_bytes(text)
    (path / "job" / "state").write_bytes(b"7")
    (path / "image" / "pages-1.img").write_bytes(pages)
    return Snapshot(path=path, rung=Rung.MEMORY, image="sha256:1", command=("run",), host=HOST)


async def store(
    stores: MemoryStores,
    taken: Snapshot,
    *,
    epoch: int = EPOCH,
    seq: int = 1,
    previous: Saved | None = None,
    keys: KeyRing | None = RING,
) -> Saved:
    """Save it in the one store."""
    return await save(
        taken,
        job=JOB,
        epoch=Epoch(epoch),
        seq=seq,
        stores=[stores.open(URL)],
        previous=previous,
        keys=keys,
    )


async def restore(
    stores: MemoryStores, saved: Saved, path: Path, keys: KeyRing | None = RING
) -> Snapshot:
    """Load it."""
    return await load(
        saved.ref, job=JOB, open_store=stores.open, path=path, limit_bytes=LIMIT_BYTES, keys=keys
    )
