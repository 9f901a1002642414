"""Blobs on a node's disk: `blobs/{job}/{epoch}/{sha256}` and `inputs/{device}/{sha256}`.

1. A blob that has its name is complete, on disk and hashes to it: an upload lies under a
   name of its own in `uploads/` until its hash was compared and its bytes were synced.
2. A blob never changes: its name is created by a hard link, which replaces nothing.
3. Blobs of different epochs lie in different folders, so a fenced agent overwrites nothing.
4. Whatever is not finished when the process dies is removed at the next start.

Not promised: that the disk returns the same bytes years later. Readers check the hash.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Final

from broker.blob_error import BlobDroppedError, BlobError, BlobStoreFullError, BlobTooLargeError
from broker.blob_name import BlobName, checked_digest, input_name
from broker.blob_quota import ENTRY_BYTES, Shares, folder_of
from broker.blob_upload import Upload
from workrs.adapters.disk import sync_directory
from workrs.domain.ids import ClientId, Digest, Epoch, JobId, split_job_id

_DROPPED_MAX: Final = 1_000
"""Retired jobs remembered to refuse the late uploads of agents that do not know yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobLimits:
    """How much a node's blob store takes."""

    blob_max_bytes: int = 2 << 30
    total_max_bytes: int = 20 << 30
    job_max_bytes: int = 8 << 30
    """Three checkpoints of the largest jobs: two that count and one under way."""
    tenant_max_bytes: int = 10 << 30
    """Half of the whole: one tenant alone cannot fill a node."""
    free_min_bytes: int = 256 << 20
    """Left free on the disk, because the ledger needs room when blobs have filled the rest."""


class BlobDirectory:
    """The blobs of one node. Every method blocks and may be called from any thread."""

    def __init__(
        self,
        root: Path,
        limits: BlobLimits | None = None,
        *,
        wall: Callable[[], float] = time.time,  # noqa: TID251 (ages of files, for clearing up)
    ) -> None:
        """Open the store at *root*, making it when there is none.

        Raises:
            BlobError: the directory cannot be made or read.
        """
        self.root = root
        self.limits = limits or BlobLimits()
        self._wall = wall
        self._uploads = root / "uploads"
        self._numbers = count()
        self._turn = Lock()
        self._dropped: dict[JobId, None] = {}
        self._reserved_bytes = 0
        self._used_bytes = 0
        self._names = 0
        self._shares = Shares(
            job_max_bytes=self.limits.job_max_bytes, tenant_max_bytes=self.limits.tenant_max_bytes
        )
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._uploads.exists():
                shutil.rmtree(self._uploads)
            for folder in ("uploads", "blobs", "inputs"):
                (root / folder).mkdir(mode=0o700, exist_ok=True)
            for path in self._files(root):
                self._count(folder_of(path, root), path.stat().st_size)
        except OSError as error:
            raise BlobError(f"cannot use {root} for blobs: {error}") from error

    @staticmethod
    def _files(folder: Path) -> Iterator[Path]:
        return (path for path in folder.rglob("*") if path.is_file())

    @property
    def used_bytes(self) -> int:
        """Size of all finished blobs."""
        return self._used_bytes

    def free_bytes(self) -> int:
        """Return what may still be stored: the least of quota and disk, not below 0."""
        with self._turn:
            return max(0, self._room_bytes())

    def _room_bytes(self) -> int:
        disk = shutil.disk_usage(self.root).free - self.limits.free_min_bytes
        quota = self.limits.total_max_bytes - self._used_bytes - self._names * ENTRY_BYTES
        return min(disk, quota) - self._reserved_bytes

    def _count(self, folder: tuple[str, ...], size_bytes: int, *, names: int = 1) -> None:
        """Count finished blobs in *folder*; removed ones if negative."""
        self._used_bytes += size_bytes
        self._names += names
        self._shares.add(folder, size_bytes + names * ENTRY_BYTES)

    def reserve(self, name: BlobName, size_bytes: int) -> None:
        """Set room aside for an upload.

        Raises:
            BlobOverQuotaError: its job or its tenant has too much here.
            BlobStoreFullError: the store or the disk has no room.
        """
        with self._turn:
            self._check_room(name, size_bytes)
            self._reserved_bytes += size_bytes
            self._shares.add(name.folder, size_bytes)

    def _check_room(self, name: BlobName, size_bytes: int) -> None:
        self._shares.check(name, size_bytes)
        room_bytes = self._room_bytes()
        if size_bytes > room_bytes:
            raise BlobStoreFullError(
                f"{size_bytes} bytes wanted, {max(0, room_bytes)} left of this node's "
                f"{self.limits.total_max_bytes} bytes for blobs and of its disk"
            )

    def unreserve(self, name: BlobName, size_bytes: int) -> None:
        """Give room back."""
        with self._turn:
            self._reserved_bytes -= size_bytes
            self._shares.add(name.folder, -size_bytes)

    def find(self, name: BlobName) -> Path | None:
        """Return the file of exactly this name.

        Being asked for makes an input young again for `drop_inputs`: a device that finds
        it there submits without sending it.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        with suppress(OSError):
            os.utime(path)
        return path

    def find_any_epoch(self, job: str, digest: str) -> Path | None:
        """Return a file of *job* with this content, of whatever epoch, or raise IdError."""
        split_job_id(job)
        checked_digest(digest)
        with suppress(FileNotFoundError, NotADirectoryError):
            for epoch in sorted(self._epochs(job), reverse=True):
                path = self.root / "blobs" / job / str(epoch) / digest
                if path.is_file():
                    return path
        return None

    def _path(self, name: BlobName) -> Path:
        return self.root.joinpath(*name.folder, name.digest)

    def is_wanted(self, name: BlobName, size_bytes: int | None) -> bool:
        """Return whether a blob should be sent: False when it is there already.

        Args:
            name: where it belongs.
            size_bytes: what its sender announces; None when it does not know.

        Raises:
            BlobError: its job was dropped, it is too large, or there is no room.
        """
        self._refuse_dropped(name)
        # Another upload may have made the name and not synced its folder yet.
        if self.find(name) is not None and self._synced(name, [self._path(name).parent]):
            return False
        if size_bytes is not None:
            if size_bytes > self.limits.blob_max_bytes:
                raise BlobTooLargeError(limit_bytes=self.limits.blob_max_bytes)
            with self._turn:
                self._check_room(name, size_bytes + ENTRY_BYTES)
        return True

    def begin(self, name: BlobName, size_bytes: int | None) -> Upload | None:
        """Begin to take a blob, or return None when it is there already.

        Raises:
            BlobError: as `is_wanted`, or the disk fails.
        """
        if not self.is_wanted(name, size_bytes):
            return None
        return Upload(self, name, size_bytes or 0, self._uploads / str(next(self._numbers)))

    def _refuse_dropped(self, name: BlobName) -> None:
        if name.job is not None and name.job in self._dropped:
            raise BlobDroppedError(name.job)

    def publish(self, name: BlobName, draft: Path, size_bytes: int) -> bool:
        """Give a finished draft its name; return False when somebody was faster."""
        path = self._path(name)
        with self._turn:
            self._refuse_dropped(name)
            made = [folder for folder in path.parents if not folder.exists()]
            for folder in reversed(made):
                folder.mkdir(mode=0o700)
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                created = False
            else:
                created = True
                self._count(name.folder, size_bytes)
        self._synced(name, [path.parent, *(folder.parent for folder in made)])
        return created

    def _synced(self, name: BlobName, folders: Collection[Path]) -> bool:
        """Put the way to a blob on disk; return False when its agent deleted it meanwhile.

        Raises:
            BlobError: its job was dropped meanwhile, or the disk fails.
        """
        try:
            for folder in folders:
                sync_directory(folder)
        except FileNotFoundError:
            self._refuse_dropped(name)
            return False
        except OSError as error:
            raise BlobError(f"the disk failed: {error}") from error
        return True

    def delete(self, name: BlobName) -> bool:
        """Remove one blob; return whether it was there."""
        path = self._path(name)
        with self._turn:
            try:
                size_bytes = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return False
            self._count(name.folder, -size_bytes, names=-1)
            with suppress(OSError):  # not empty: other blobs of this epoch, other epochs
                path.parent.rmdir()
                path.parent.parent.rmdir()
        return True

    def delete_damaged(self, name: BlobName, size_bytes: int) -> bool:
        """Remove a blob that has not the bytes of its name; return whether it was removed.

        Args:
            name: the blob.
            size_bytes: what another node has; bytes are looked at only where that differs.
        """
        path = self._path(name)
        try:
            if path.stat().st_size == size_bytes:
                return False
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return False
        return found != name.digest and self.delete(name)

    def drop(self, job: JobId) -> None:
        """Remove every blob of a retired job, and refuse late uploads for it."""
        split_job_id(job)
        trash = self._uploads / f"{next(self._numbers)}.dropped"
        with self._turn:
            self._dropped[job] = None
            while len(self._dropped) > _DROPPED_MAX:
                del self._dropped[next(iter(self._dropped))]
            try:
                (self.root / "blobs" / job).rename(trash)
            except FileNotFoundError:
                return
            sizes = [path.stat().st_size for path in self._files(trash)]
            self._count(("blobs", job), -sum(sizes), names=-len(sizes))
        shutil.rmtree(trash, ignore_errors=True)

    def jobs(self) -> list[JobId]:
        """Return the jobs that have blobs, so that those the ledger forgot can be dropped."""
        return [JobId(name) for name in sorted(e.name for e in (self.root / "blobs").iterdir())]

    def epochs(self, job: JobId) -> list[Epoch]:
        """Return the epochs under which *job* has blobs, ascending."""
        try:
            return sorted(self._epochs(job))
        except FileNotFoundError:
            return []

    def _epochs(self, job: str) -> list[Epoch]:
        names = (entry.name for entry in (self.root / "blobs" / job).iterdir())
        return [Epoch(int(name)) for name in names if name.isascii() and name.isdecimal()]

    def blobs(self, job: str) -> list[tuple[Epoch, Digest, int]]:
        """Return epoch, name and size of every blob of *job*, or raise IdError."""
        split_job_id(job)
        found: list[tuple[Epoch, Digest, int]] = []
        for epoch in self.epochs(JobId(job)):
            with (
                suppress(FileNotFoundError),
                os.scandir(self.root / "blobs" / job / str(epoch)) as it,
            ):
                for entry in it:
                    with suppress(FileNotFoundError):  # deleted meanwhile: the others are there
                        found.append((epoch, Digest(entry.name), entry.stat().st_size))
        return found

    def drop_inputs(self, *, keep: Collection[tuple[ClientId, Digest]], older_than_s: float) -> int:
        """Remove inputs that no job needs; return how many.

        Args:
            keep: device and digest of the inputs that undecided jobs name.
            older_than_s: spare younger ones, whose submit may still be on its way.
        """
        before = self._wall() - older_than_s
        dropped = 0
        for path in self._files(self.root / "inputs"):
            named = (ClientId(path.parent.name), Digest(path.name))
            if named not in keep and path.stat().st_mtime < before:
                dropped += self.delete(input_name(*named))
        return dropped
