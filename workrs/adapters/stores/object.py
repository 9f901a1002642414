"""A store in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure blobs.

1. A blob is written create-only: a name that is taken is left as it is, and confirmed.
2. What is read is verified; more than was asked for is not even fetched.
3. Memory is bounded: a blob up to BLOB_MAX_BYTES is held whole, a larger one in pieces.
4. That a bucket is not there says nothing about its blobs.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import obstore
from obstore import exceptions

from workrs.adapters.stores.address import StoreAddress
from workrs.adapters.stores.key import JOBS, folders, job_named
from workrs.adapters.stores.object_client import explained, is_bucket_missing, open_client
from workrs.domain.ids import Digest, JobId
from workrs.ports.store import BLOB_MAX_BYTES, BlobLostError, JobSpace, Space, StoreRefusedError

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore as Client

PIECE_BYTES: Final = BLOB_MAX_BYTES
"""Of a large blob on its way: so much is in memory, and in one request."""
_LIST_PAGE: Final = 1_000
_Listing = dict[str, list[str]]


def open_object_store(address: StoreAddress) -> "ObjectStore":
    """Return the store at *address*, or raise StoreError."""
    return ObjectStore(address.location, open_client(address))


class ObjectStore:
    """Blobs as objects."""

    def __init__(self, location: str, client: "Client") -> None:
        """Use *client*, whose keys begin at *location*."""
        self.location = location
        self._client = client
        self._listed: tuple[JobId, _Listing] | None = None
        """The job last listed, and the keys of its blobs by name. A hint: keys come and go."""

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        """Store a blob."""
        if isinstance(data, Path):
            if await asyncio.to_thread(_size, data) > PIECE_BYTES:
                await self._put_large(digest, data, space)
                return
            data = await asyncio.to_thread(data.read_bytes)
        if await asyncio.to_thread(_hash, data) != digest:
            raise StoreRefusedError(f"{self.location}: the content is not {digest}")
        with self._answers(), _taken():
            await obstore.put_async(self._client, _key(digest, space), data, mode="create")

    async def _put_large(self, digest: Digest, path: Path, space: Space) -> None:
        """Store a file piece by piece, beside its place; give it its name when it is right."""
        draft = f"{_key(digest, space)}.{secrets.token_hex(8)}"
        seen = hashlib.sha256()
        with path.open("rb") as file:
            with self._answers():
                await obstore.put_async(
                    self._client,
                    draft,
                    _hashed(file, seen),
                    use_multipart=True,
                    chunk_size=PIECE_BYTES,
                    max_concurrency=2,
                )
            try:
                if seen.hexdigest() != digest:
                    raise StoreRefusedError(f"{self.location}: the content is not {digest}")
                with self._answers(), _taken():
                    await obstore.copy_async(
                        self._client, draft, _key(digest, space), overwrite=False
                    )
            finally:
                with self._answers(), contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(self._client, draft)

    async def get(
        self, digest: Digest, space: Space, *, limit_bytes: int = BLOB_MAX_BYTES
    ) -> bytes:
        """Return a blob."""
        _, found = await self._find(digest, space, limit_bytes)
        with self._answers():
            data = bytes(await found.bytes_async())
        if await asyncio.to_thread(_hash, data) != digest:
            raise BlobLostError(f"{self.location} has other bytes for {digest}")
        return data

    async def fetch(self, digest: Digest, path: Path, space: Space, *, limit_bytes: int) -> None:
        """Write a blob to a new file."""
        key, found = await self._find(digest, space, limit_bytes)
        size = found.meta["size"]
        file = await asyncio.to_thread(path.open, "xb")
        try:
            with file:
                await self._copy_into(file, digest, key, size)
        except BaseException:
            await asyncio.to_thread(path.unlink)
            raise

    async def _copy_into(self, file: BinaryIO, digest: Digest, key: str, size: int) -> None:
        seen = hashlib.sha256()
        for start in range(0, size, PIECE_BYTES):
            with self._answers():
                end = min(size, start + PIECE_BYTES)
                piece = await obstore.get_range_async(self._client, key, start=start, end=end)
            await asyncio.to_thread(_take, memoryview(piece), file, seen)
        if seen.hexdigest() != digest:
            raise BlobLostError(f"{self.location} has other bytes for {digest}")

    async def _find(
        self, digest: Digest, space: Space, limit_bytes: int
    ) -> "tuple[str, GetResult]":
        """Return a blob's key and the answer to asking for it, its body not yet read."""
        found = await self._ask(key := _key(digest, space))
        if found is None and isinstance(space, JobSpace):
            for key in await self._keys(digest, space.job):
                found = await self._ask(key)
                if found is not None:
                    break
        if found is None:
            raise BlobLostError(f"{self.location} has no {digest}")
        if found.meta["size"] > limit_bytes:
            raise BlobLostError(f"{self.location} has over {limit_bytes} bytes for {digest}")
        return key, found

    async def _ask(self, key: str) -> "GetResult | None":
        with self._answers():
            try:
                return await obstore.get_async(self._client, key)
            except FileNotFoundError as error:
                if is_bucket_missing(error):
                    raise
        return None

    async def _keys(self, digest: Digest, job: JobId) -> list[str]:
        """Return where a blob of *job* lies, at whatever epoch."""
        if self._listed is None or self._listed[0] != job or digest not in self._listed[1]:
            listing: _Listing = {}
            for key in await self._list(job):
                listing.setdefault(key.rpartition("/")[2], []).append(key)
            self._listed = (job, listing)
        return self._listed[1].get(digest, [])

    async def _list(self, job: JobId) -> list[str]:
        keys: list[str] = []
        with self._answers():
            pages = obstore.list(self._client, f"{JOBS}/{job}", chunk_size=_LIST_PAGE)
            async for page in pages:
                keys += [found["path"] for found in page]
        return keys

    async def delete(self, digest: Digest, space: JobSpace) -> None:
        """Remove a blob."""
        await self._delete([_key(digest, space)])

    async def _delete(self, keys: list[str]) -> None:
        with self._answers():
            try:
                await obstore.delete_async(self._client, keys)
            except FileNotFoundError as error:
                if is_bucket_missing(error):
                    raise

    async def jobs(self) -> list[JobId]:
        """Return the jobs that have blobs."""
        with self._answers():
            found = await obstore.list_with_delimiter_async(self._client, JOBS)
        names = (prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])
        return [job for name in names if (job := job_named(name)) is not None]

    async def drop(self, job: JobId) -> None:
        """Remove all of a job."""
        keys = await self._list(job)
        for start in range(0, len(keys), _LIST_PAGE):
            await self._delete(keys[start : start + _LIST_PAGE])

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn what goes wrong with the store into an error of ours."""
        try:
            yield
        except (exceptions.BaseError, OSError, ValueError, NotImplementedError) as error:
            raise explained(self.location, error) from error


@contextlib.contextmanager
def _taken() -> Iterator[None]:
    """Be content with a name that is taken: it can only be of the same bytes."""
    with contextlib.suppress(exceptions.AlreadyExistsError):
        yield


def _key(digest: Digest, space: Space) -> str:
    return "/".join((*folders(space), digest))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hashed(file: BinaryIO, seen: "hashlib._Hash") -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        seen.update(piece)
        yield piece


def _take(piece: memoryview, file: BinaryIO, seen: "hashlib._Hash") -> None:
    file.write(piece)
    seen.update(piece)


def _size(path: Path) -> int:
    return path.stat().st_size
