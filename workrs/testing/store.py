"""Blob stores in memory, with the faults of real ones."""

# ruff: noqa: ASYNC240 (a few bytes, in tests)

import hashlib
from pathlib import Path

from workrs.domain.errors import StoreError
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.ports.store import (
    BLOB_MAX_BYTES,
    BlobLostError,
    InputSpace,
    JobSpace,
    Space,
    StoreRefusedError,
)

_Key = tuple[JobId | ClientId, Epoch | None, Digest]


class MemoryStore:
    """One store. Set `silent` or `full`, or spoil `blobs`, to see what a caller does."""

    def __init__(self, location: str) -> None:
        """Hold nothing."""
        self.location = location
        self.blobs: dict[_Key, bytes] = {}
        self.silent = False
        self.full = False
        self.unanswered = 0
        """Requests made while it was silent."""

    def _answer(self) -> None:
        if self.silent:
            self.unanswered += 1
            raise StoreError(f"{self.location} does not answer")

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        """Keep it."""
        self._answer()
        content = data if isinstance(data, bytes) else data.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise StoreRefusedError(f"{self.location}: the content is not {digest}")
        if self.full:
            raise StoreRefusedError(f"{self.location} is full")
        self.blobs.setdefault(_key(digest, space), content)

    async def get(
        self, digest: Digest, space: Space, *, limit_bytes: int = BLOB_MAX_BYTES
    ) -> bytes:
        """Return it, from any epoch."""
        self._answer()
        name = space.job if isinstance(space, JobSpace) else space.device
        for (owner, _, found), content in self.blobs.items():
            if (owner, found) == (name, digest):
                if len(content) > limit_bytes:
                    break
                if hashlib.sha256(content).hexdigest() == digest:
                    return content
        raise BlobLostError(f"{self.location} has no good {digest}")

    async def fetch(self, digest: Digest, path: Path, space: Space, *, limit_bytes: int) -> None:
        """Write it to *path*."""
        path.write_bytes(await self.get(digest, space, limit_bytes=limit_bytes))

    async def delete(self, digest: Digest, space: JobSpace) -> None:
        """Forget it."""
        self._answer()
        self.blobs.pop(_key(digest, space), None)

    async def jobs(self) -> list[JobId]:
        """Return whose blobs it keeps."""
        self._answer()
        return sorted({JobId(owner) for owner, epoch, _ in self.blobs if epoch is not None})

    async def drop(self, job: JobId) -> None:
        """Forget all of a job."""
        self._answer()
        for key in [key for key in self.blobs if key[0] == job and key[1] is not None]:
            del self.blobs[key]


class MemoryStores:
    """All stores of a cluster, by URL."""

    def __init__(self) -> None:
        """Have none; they appear when opened."""
        self.stores: dict[str, MemoryStore] = {}

    def open(self, url: str) -> MemoryStore:
        """Return the store at *url*, always the same one."""
        return self.stores.setdefault(url, MemoryStore(url))


def _key(digest: Digest, space: Space) -> _Key:
    match space:
        case JobSpace(job=job, epoch=epoch):
            return job, epoch, digest
        case InputSpace(device=device):
            return device, None, digest
