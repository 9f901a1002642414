"""A store in a folder that every agent sees, as on NFS.

    job/{job}/{epoch}/{sha256}      input/{device}/{sha256}

A blob is written beside its place, synced, and linked to its name, so that there is never
half of one and never a second version.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from workrs.domain.errors import StoreError
from workrs.domain.ids import Digest
from workrs.ports.store import BLOB_MAX_BYTES, BlobLostError, JobSpace, Space, StoreRefusedError

_PIECE_BYTES = 1 << 20


class FolderStore:
    """Blobs as files."""

    def __init__(self, root: Path) -> None:
        """Use *root*, which must exist when the first blob is stored."""
        self.location = root.as_uri()
        self._root = root

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

    def _put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        place = self._places(space) / digest
        try:
            if not self._root.is_dir():
                raise StoreError(f"{self._root} is not there: is it mounted?")
            if place.exists():
                return
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = place.with_name(f".{digest}.{secrets.token_hex(8)}")
            try:
                self._write(draft, digest, data)
                with contextlib.suppress(FileExistsError):
                    place.hardlink_to(draft)
                _sync(place.parent)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._root}: {error}") from error

    def _write(self, draft: Path, digest: Digest, data: bytes | Path) -> None:
        seen = hashlib.sha256()
        with draft.open("xb") as file:
            for piece in [data] if isinstance(data, bytes) else _pieces(data):
                seen.update(piece)
                file.write(piece)
            if seen.hexdigest() != digest:
                raise StoreRefusedError(f"the content is not {digest}")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, digest: Digest, space: Space, limit_bytes: int) -> Iterator[bytes]:
        seen = hashlib.sha256()
        try:
            with self._find(digest, space) as file:
                if os.fstat(file.fileno()).st_size > limit_bytes:
                    raise BlobLostError(f"{self._root} has over {limit_bytes} bytes for {digest}")
                while piece := file.read(_PIECE_BYTES):
                    seen.update(piece)
                    yield piece
        except OSError as error:
            raise StoreError(f"{self._root}: {error}") from error
        if seen.hexdigest() != digest:
            raise BlobLostError(f"{self._root} has other bytes for {digest}")

    def _find(self, digest: Digest, space: Space) -> BinaryIO:
        if not self._root.is_dir():
            raise StoreError(f"{self._root} is not there: is it mounted?")
        folder = self._places(space)
        others = sorted(folder.parent.glob(f"*/{digest}")) if isinstance(space, JobSpace) else []
        for place in (folder / digest, *others):
            with contextlib.suppress(FileNotFoundError):
                return place.open("rb")
        raise BlobLostError(f"{self._root} has no {digest}")

    def _fetch(self, digest: Digest, path: Path, space: Space, limit_bytes: int) -> None:
        with path.open("xb") as file:
            try:
                for piece in self._read(digest, space, limit_bytes):
                    file.write(piece)
            except BaseException:
                path.unlink()
                raise

    def _delete(self, digest: Digest, space: JobSpace) -> None:
        try:
            (self._places(space) / digest).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._root}: {error}") from error

    def _places(self, space: Space) -> Path:
        match space:
            case JobSpace(job=job, epoch=epoch):
                return self._root / "job" / job / str(epoch)
            case _:
                return self._root / "input" / space.device


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
