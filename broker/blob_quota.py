"""How much of a node's blob store one job and one tenant have, stored or on its way in.

1. No sum goes below what is stored, nor above its limit; what is under way counts as stored.
2. A tenant is the part of a device's name before its first dot, else all of it. What agents
   store for its jobs is the tenant's, like its inputs.

Not thread-safe: `BlobDirectory` asks with its lock held.
"""

from collections import Counter
from pathlib import PurePath
from typing import Final

from broker.blob_error import BlobOverQuotaError
from broker.blob_name import BlobName

ENTRY_BYTES: Final = 16 << 10
"""What each blob counts for beside its bytes. File systems make one inode for so many bytes, so
that nobody uses up all names of a disk, and the ledger's with them, by blobs of a byte."""


class Shares:
    """Bytes by job and by tenant."""

    def __init__(self, *, job_max_bytes: int, tenant_max_bytes: int) -> None:
        """Count nothing yet."""
        self._job_max_bytes = job_max_bytes
        self._tenant_max_bytes = tenant_max_bytes
        self._jobs: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()

    def check(self, name: BlobName, size_bytes: int) -> None:
        """Raise BlobOverQuotaError if *size_bytes* more were too much."""
        job, tenant = name.folder[1] if name.job is not None else "", tenant_of(name.folder[1])
        if job and self._jobs[job] + size_bytes > self._job_max_bytes:
            raise BlobOverQuotaError(f"job {job}", limit_bytes=self._job_max_bytes)
        if self._tenants[tenant] + size_bytes > self._tenant_max_bytes:
            raise BlobOverQuotaError(f"tenant {tenant}", limit_bytes=self._tenant_max_bytes)

    def add(self, folder: tuple[str, ...], size_bytes: int) -> None:
        """Count what is stored or under way in *folder*; less if negative."""
        if len(folder) < 2:
            return  # nothing that this store made
        kind, named = folder[:2]
        counts = [(self._tenants, tenant_of(named))]
        if kind == "blobs":
            counts.append((self._jobs, named))
        for count, key in counts:
            count[key] += size_bytes
            if count[key] <= 0:
                del count[key]


def tenant_of(named: str) -> str:
    """Return the tenant of a device or of a job's id on the bus."""
    return named.partition("_")[0].partition(".")[0]


def folder_of(path: PurePath, root: PurePath) -> tuple[str, ...]:
    """Return the folder of a stored blob's file, as its name has it."""
    return path.relative_to(root).parts[:-1]
