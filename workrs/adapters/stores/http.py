"""A node's blob store, over HTTP."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import aiohttp

from workrs.domain.errors import StoreError
from workrs.domain.ids import Digest
from workrs.ports.store import (
    BLOB_MAX_BYTES,
    BlobLostError,
    JobSpace,
    Space,
    StoreRefusedError,
)

_PIECE_BYTES = 256 << 10
_FAILURES = (aiohttp.ClientError, TimeoutError, ConnectionError)


class HttpStore:
    """One node's store. Follows no redirect: a record can name any server."""

    def __init__(self, location: str, session: aiohttp.ClientSession) -> None:
        """Use *session* for every request; nothing is sent yet."""
        self.location = location
        self._base = location.rstrip("/")
        self._session = session

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        """Store a blob."""
        size = len(data) if isinstance(data, bytes) else await asyncio.to_thread(_size, data)
        url = self._url(digest, space, write=True)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        try:
            async with self._session.put(
                url, data=_pieces(data), headers=headers, allow_redirects=False
            ) as answer:
                await self._check(answer, wanted=(200, 201))
        except _FAILURES as error:
            # A store that has the blob answers before it read it all, and closes: the
            # answer may be lost in the reset.
            if not await self._has(digest, space):
                raise self._silent(error) from error

    async def _has(self, digest: Digest, space: Space) -> bool:
        with contextlib.suppress(*_FAILURES):
            async with self._session.head(self._url(digest, space, write=False)) as answer:
                return answer.status == 200
        return False

    async def get(
        self, digest: Digest, space: Space, *, limit_bytes: int = BLOB_MAX_BYTES
    ) -> bytes:
        """Return a blob."""
        data = bytearray()
        async for piece in self._read(digest, space, limit_bytes):
            data += piece
        return bytes(data)

    async def fetch(self, digest: Digest, path: Path, space: Space, *, limit_bytes: int) -> None:
        """Write a blob to a new file."""
        file = await asyncio.to_thread(path.open, "xb")
        try:
            with file:
                async for piece in self._read(digest, space, limit_bytes):
                    await asyncio.to_thread(file.write, piece)
        except BaseException:
            await asyncio.to_thread(path.unlink)
            raise

    async def _read(self, digest: Digest, space: Space, limit_bytes: int) -> AsyncIterator[bytes]:
        """Yield a blob's bytes; raise at the end if they were not the right ones."""
        seen = hashlib.sha256()
        size = 0
        try:
            url = self._url(digest, space, write=False)
            async with self._session.get(url, allow_redirects=False) as answer:
                if answer.status == 404:
                    raise BlobLostError(f"{self.location} has no {digest}")
                await self._check(answer, wanted=(200,))
                async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                    size += len(piece)
                    if size > limit_bytes:
                        raise BlobLostError(
                            f"{self.location} has over {limit_bytes} bytes for {digest}"
                        )
                    seen.update(piece)
                    yield piece
        except aiohttp.ClientPayloadError as error:
            # The store is there, but cannot read the blob to its end.
            raise BlobLostError(f"{self.location} cut {digest} short: {error}") from error
        except _FAILURES as error:
            raise self._silent(error) from error
        if seen.hexdigest() != digest:
            raise BlobLostError(f"{self.location} has other bytes for {digest}")

    async def delete(self, digest: Digest, space: JobSpace) -> None:
        """Remove a blob."""
        try:
            url = self._url(digest, space, write=True)
            async with self._session.delete(url, allow_redirects=False) as answer:
                await self._check(answer, wanted=(200, 204, 404))
        except _FAILURES as error:
            raise self._silent(error) from error

    def _url(self, digest: Digest, space: Space, *, write: bool) -> str:
        match space:
            case JobSpace(job=job, epoch=epoch) if write:
                return f"{self._base}/blobs/{job}/{epoch}/{digest}"
            case JobSpace(job=job):
                return f"{self._base}/blobs/{job}/{digest}"
            case _:
                return f"{self._base}/inputs/{space.device}/{digest}"

    async def _check(self, answer: aiohttp.ClientResponse, *, wanted: tuple[int, ...]) -> None:
        if answer.status in wanted:
            return
        text = (await answer.content.read(500)).decode(errors="replace")
        kind = StoreRefusedError if answer.status < 500 or answer.status == 507 else StoreError
        raise kind(f"{self.location} answered {answer.status}: {text}")

    def _silent(self, error: BaseException) -> StoreError:
        return StoreError(f"{self.location} does not answer: {type(error).__name__} {error}")


async def _pieces(data: bytes | Path) -> AsyncIterator[bytes]:
    """Yield the body in pieces, so that the loop can do something else in between."""
    if isinstance(data, bytes):
        for start in range(0, len(data), _PIECE_BYTES):
            yield data[start : start + _PIECE_BYTES]
        return
    file: BinaryIO = await asyncio.to_thread(data.open, "rb")
    with file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


def _size(path: Path) -> int:
    return path.stat().st_size
