"""A store in a folder that every agent sees, as on NFS.

1. A blob is written beside its place, synced, and linked to its name: there is never half of
   one and never a second version, whoever dies when.
2. No link below the root is followed and nothing but a plain file is read: who may write
   into the folder can lose blobs, but leads nobody out of it, nor into waiting on a pipe.
3. Files are 0600, folders 0700.
4. A folder without any checkpoint is not believed to have lost one: a mount point whose
   file system is away looks like that.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from workrs.adapters.stores.key import JOBS, folders, job_named
from workrs.domain.errors import StoreError
from workrs.domain.ids import Digest, JobId
from workrs.ports.store import BLOB_MAX_BYTES, BlobLostError, JobSpace, Space, StoreRefusedError

_PIECE_BYTES: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOB: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DRAFT: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_BLOB: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Nothing of the name, or a link, which is none of ours."""
_SETTLED_MAX: Final = 1_000


class FolderStore:
    """Blobs as files."""

    def __init__(self, root: Path) -> None:
        """Use *root*, which must exist when the first blob is stored."""
        self.location = root.as_uri()
        self._root = root
        self._settled: set[tuple[str, ...]] = set()
        """Folders whose way from the root is on disk."""

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        """Store a blob."""
        await asyncio.to_thread(self._put, digest, data, space)

    async def get(
        self, digest: Digest, space: Space, *, limit_bytes: int = BLOB_MAX_BYTES
    ) -> bytes:
        """Return a blob."""
        return await asyncio.to_thread(lambda: b"".join(self._read(digest, space, limit_bytes)))

    async def fetch(self, digest: Digest, path: Path, space: Space, *, limit_bytes: int) -> None:
        """Write a blob to a new file."""
        await asyncio.to_thread(self._fetch, digest, path, space, limit_bytes)

    async def delete(self, digest: Digest, space: JobSpace) -> None:
        """Remove a blob."""
        await asyncio.to_thread(self._delete, digest, space)

    async def jobs(self) -> list[JobId]:
        """Return the jobs that have blobs."""
        return await asyncio.to_thread(self._jobs)

    async def drop(self, job: JobId) -> None:
        """Remove all of a job."""
        await asyncio.to_thread(self._drop, job)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreRefusedError(
                    f"{self._root} is full ({error.strerror}): make room there"
                ) from error
            raise StoreError(f"{self._root}: {error}") from error

    @contextlib.contextmanager
    def _inside(self, names: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """Open the folder *names* below the root, one step at a time."""
        try:
            here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(f"{self._root} is not there: is it mounted?") from error
        try:
            for name in names:
                if make and names not in self._settled:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=here)
                    # Also when another made it: that one may not have come to its sync.
                    os.fsync(here)
                there = os.open(name, _FOLDER, dir_fd=here)
                os.close(here)
                here = there
            if make:
                if len(self._settled) >= _SETTLED_MAX:
                    self._settled.clear()
                self._settled.add(names)
            yield here
        finally:
            os.close(here)

    def _put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        names = folders(space)
        with self._explained():
            try:
                self._put_into(names, digest, data)
            except FileNotFoundError:
                # Whoever dropped the job, or emptied the folder, took its folders with it.
                self._settled.discard(names)
                self._put_into(names, digest, data)

    def _put_into(self, names: tuple[str, ...], digest: Digest, data: bytes | Path) -> None:
        with self._inside(names, make=True) as folder:
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(digest, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    raise StoreRefusedError(f"{self._root}: {digest} is taken by something else")
                os.fsync(folder)
                return
            draft = f".{digest}.{secrets.token_hex(8)}"
            try:
                self._write(draft, folder, digest, data)
                with contextlib.suppress(FileExistsError):
                    os.link(draft, digest, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)
            os.fsync(folder)

    def _write(self, draft: str, folder: int, digest: Digest, data: bytes | Path) -> None:
        seen = hashlib.sha256()
        descriptor = os.open(draft, _DRAFT, 0o600, dir_fd=folder)
        with os.fdopen(descriptor, "wb") as file:
            for piece in [data] if isinstance(data, bytes) else _pieces(data):
                seen.update(piece)
                file.write(piece)
            if seen.hexdigest() != digest:
                raise StoreRefusedError(f"the content is not {digest}")
            file.flush()
            os.fsync(descriptor)

    def _read(self, digest: Digest, space: Space, limit_bytes: int) -> Iterator[bytes]:
        seen = hashlib.sha256()
        with self._explained():
            descriptor = self._find(digest, space)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise BlobLostError(f"{self._root}: {digest} is no file")
                if found.st_size > limit_bytes:
                    raise BlobLostError(f"{self._root} has over {limit_bytes} bytes for {digest}")
                while piece := file.read(_PIECE_BYTES):
                    seen.update(piece)
                    yield piece
        if seen.hexdigest() != digest:
            raise BlobLostError(f"{self._root} has other bytes for {digest}")

    def _find(self, digest: Digest, space: Space) -> int:
        """Open a blob at its epoch, or else at any other of its job."""
        names = folders(space)
        found = self._open(names, digest)
        if found is None and isinstance(space, JobSpace):
            for epoch in self._epochs(space.job):
                found = self._open((*names[:-1], epoch), digest)
                if found is not None:
                    break
        if found is None:
            raise BlobLostError(f"{self._root} has no {digest}")
        return found

    def _open(self, names: tuple[str, ...], digest: Digest) -> int | None:
        try:
            with self._inside(names) as folder:
                return os.open(digest, _BLOB, dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_BLOB:
                return None
            raise

    def _epochs(self, job: JobId) -> list[str]:
        try:
            with self._inside((JOBS,)):
                pass
        except FileNotFoundError as error:
            raise StoreError(
                f"{self._root} holds no checkpoints at all: is its file system mounted?"
            ) from error
        return [name for name in self._names((JOBS, job)) if name.isdigit()]

    def _names(self, folder: tuple[str, ...]) -> list[str]:
        try:
            with self._inside(folder) as descriptor, os.scandir(descriptor) as entries:
                return sorted(entry.name for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _fetch(self, digest: Digest, path: Path, space: Space, limit_bytes: int) -> None:
        with path.open("xb") as file:
            try:
                for piece in self._read(digest, space, limit_bytes):
                    file.write(piece)
            except BaseException:
                path.unlink()
                raise

    def _delete(self, digest: Digest, space: JobSpace) -> None:
        with (
            self._explained(),
            contextlib.suppress(FileNotFoundError),
            self._inside(folders(space)) as folder,
        ):
            os.unlink(digest, dir_fd=folder)

    def _jobs(self) -> list[JobId]:
        with self._explained():
            names = self._names((JOBS,))
        return [job for name in names if (job := job_named(name)) is not None]

    def _drop(self, job: JobId) -> None:
        with (
            self._explained(),
            contextlib.suppress(FileNotFoundError),
            self._inside((JOBS,)) as folder,
        ):
            # Follows no link, at whatever depth.
            shutil.rmtree(job, dir_fd=folder)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
