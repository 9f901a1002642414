"""Inputs and results that are too large for messages.

StoreError: nobody answered, try elsewhere or later. BlobLostError: everybody did, and the
blob is not there. Where the cluster's own stores hold a blob, any of them serves it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from workrs.domain.errors import StoreError
from workrs.domain.ids import Digest, Epoch, JobId, is_digest
from workrs.domain.job import BLOB_URL_PREFIX, owner
from workrs.ports.store import BlobLostError, BlobStore, InputSpace, JobSpace, OpenStore

_PIECE_BYTES = 1 << 18
_SILENT_S = 10.0


async def fetch_input(
    url: str, path: Path, *, job: JobId, stores: Sequence[str], open_store: OpenStore, limit: int
) -> None:
    """Write the input that *url* names to the new file *path*, of at most *limit* bytes.

    An `http(s)` address is believed: its author is the job's. A blob is verified.

    Raises:
        BlobLostError: it is not there.
        StoreError: no answer.
    """
    if not url.startswith(BLOB_URL_PREFIX):
        await _download(url, path, limit)
        return
    digest = Digest(url.removeprefix(BLOB_URL_PREFIX))
    if not is_digest(digest):
        raise BlobLostError(f"{url[:200]!r} names no blob")
    silent: StoreError | None = None
    for location in stores:
        try:
            await open_store(location).fetch(
                digest, path, InputSpace(device=owner(job)), limit_bytes=limit
            )
        except BlobLostError:
            continue
        except StoreError as error:
            silent = error
        else:
            return
    if silent is not None or not stores:
        raise silent or StoreError("no node with a blob store is known")
    raise BlobLostError(f"no node has the input {digest}: upload it before the job is sent")


async def _download(url: str, path: Path, limit: int) -> None:
    import aiohttp  # noqa: PLC0415 (a third of what an agent loads)

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENT_S, sock_read=_SILENT_S)
    shown = _shown(url)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url) as answer,
        ):
            if 400 <= answer.status < 500:
                raise BlobLostError(f"{shown} answers {answer.status} {answer.reason}")
            if answer.status != 200:
                raise StoreError(f"{shown} answers {answer.status} {answer.reason}")
            await _write(answer.content.iter_chunked(_PIECE_BYTES), path, limit)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # Not every ValueError: a certificate that this machine does not trust is one, too.
        machine_or_server = isinstance(error, OSError | aiohttp.RedirectClientError)
        if isinstance(error, ValueError) and not machine_or_server:
            # A host with no closing bracket, an empty label. Every agent would find it so, and one
            # that it ended would be followed by the next.
            raise BlobLostError(f"input_url is no address: correct the host of {shown}") from error
        raise StoreError(f"{shown} cannot be fetched: {error or 'no answer'}") from error


def _shown(url: str) -> str:
    """Return what may be said of an address: signatures and passwords in it are secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition(":")[0] + "://…"
    return f"{parts.scheme}://{parts.hostname}{parts.path}"[:200]


async def _write(pieces: AsyncIterable[bytes], path: Path, limit: int) -> None:
    size = 0
    file = await asyncio.to_thread(path.open, "xb")
    with file:
        async for piece in pieces:
            size += len(piece)
            if size > limit:
                raise BlobLostError(f"the input has more than {limit} bytes")
            await asyncio.to_thread(file.write, piece)


async def store_result(
    path: Path, *, job: JobId, epoch: Epoch, stores: Sequence[BlobStore], copies: int
) -> str:
    """Put a result into *copies* of *stores*, or all if there are fewer; return its address.

    Raises:
        StoreError: too few took it.
    """
    digest = await asyncio.to_thread(_digest, path)
    needed = min(copies, len(stores))
    stored = 0
    failed: StoreError | None = None
    for store in stores:
        try:
            await store.put(digest, path, JobSpace(job=job, epoch=epoch))
        except StoreError as error:
            failed = error
        else:
            stored += 1
            if stored >= needed:
                return f"{BLOB_URL_PREFIX}{digest}"
    raise StoreError(
        f"{stored} of {max(1, needed)} stores took the result: {failed or 'none known'}"
    )


def _digest(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())
