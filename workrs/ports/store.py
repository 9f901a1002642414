"""Where blobs are kept: inputs and results over 32 KiB, and the parts of checkpoints.

1. A blob's name is the SHA-256 of its bytes; it is written once and never changed.
2. A blob belongs to a job and lies where the epoch of its writer says, so a stale agent cannot
   touch what its successor wrote. Who reads names the job and gets it from any epoch.
3. `get` and `fetch` return verified bytes or raise. They never return wrong ones.
4. BlobLostError means that the store answered and has not the right bytes; any other
   StoreError means that it did not answer, and says nothing about the blob.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workrs.domain.errors import StoreError
from workrs.domain.ids import ClientId, Digest, Epoch, JobId

BLOB_MAX_BYTES = 8 << 20
"""Largest blob that `get` takes into memory. A part of a checkpoint is smaller."""


class BlobLostError(StoreError):
    """A store answered, but has not the blob, or has other bytes under its name."""


class StoreRefusedError(StoreError):
    """A store understood and refused: stale epoch, no permission, over quota."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpace:
    """What the holder of a job at an epoch stores: parts of checkpoints, and the result."""

    job: JobId
    epoch: Epoch
    """Of the writer. Readers may name any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpace:
    """What a device stored as inputs of its jobs."""

    device: ClientId


Space = JobSpace | InputSpace


class BlobStore(Protocol):
    """One place that keeps blobs: a node's, a folder, or a bucket."""

    @property
    def location(self) -> str:
        """Its base URL: what a CheckpointRef names and an OpenStore opens."""
        ...

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        """Store *data*, whose SHA-256 is *digest*; return once the store confirmed it.

        Idempotent: a blob that is there already is confirmed. A cancelled call may have
        stored it. There is never half a blob.

        Raises:
            StoreRefusedError: it will not take the blob.
            StoreError: no answer.
        """
        ...

    async def get(
        self, digest: Digest, space: Space, *, limit_bytes: int = BLOB_MAX_BYTES
    ) -> bytes:
        """Return a blob of at most *limit_bytes*, verified.

        Raises:
            BlobLostError: missing, too large or not what its name says.
            StoreError: no answer.
        """
        ...

    async def fetch(self, digest: Digest, path: Path, space: Space, *, limit_bytes: int) -> None:
        """Write a blob to the new file *path*, verified; on an error there is no file.

        Raises: as `get`.
        """
        ...

    async def delete(self, digest: Digest, space: JobSpace) -> None:
        """Remove what was stored at exactly this epoch; a blob that is not there is fine.

        Raises:
            StoreRefusedError: not allowed.
            StoreError: no answer.
        """
        ...


class SharedStore(BlobStore, Protocol):
    """A store that belongs to no node, so that somebody has to tell it which jobs are over."""

    async def jobs(self) -> list[JobId]:
        """Return the jobs that have blobs here, in no order; one just dropped may be among them.

        Raises:
            StoreError: no answer, or a refusal.
        """
        ...

    async def drop(self, job: JobId) -> None:
        """Remove all blobs of a job, of every epoch. Idempotent; cut short, repeat it.

        What is stored for the job meanwhile may stay.

        Raises:
            StoreError: no answer, or a refusal.
        """
        ...


OpenStore = Callable[[str], BlobStore]
"""Returns the store at a base URL. Cheap: no connection is made before the first call.
Raises StoreError for a URL that is not understood."""
