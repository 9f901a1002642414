"""From a checkpoint in the stores to a snapshot on local disk, trusting nothing on the way.

1. When `load` returns, every byte of the folder is one that the manifest names, and the
   manifest is the one that the records of the nodes name.
2. Only what the manifest lists is created, by names this module checks, in a folder that was
   made for it; it never opens what it did not just create itself.
3. CheckpointError: every store that holds it answered, and none has it whole: use the one
   before. StoreError: one was silent and may have it: try again later.
4. Links are made last, after all writing, so nothing is ever written through one.
"""

# ruff: noqa: ASYNC240 (a folder of our own, made or removed in microseconds)

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from edge_agent.checkpoint.manifest import (
    MANIFEST_BYTES_MAX,
    Kind,
    Manifest,
    Part,
    Piece,
    decode_manifest,
    pieces,
)
from edge_agent.checkpoint.seal import digest_of_zeros, unseal
from edge_agent.checkpoint.together import all_or_first
from edge_agent.checkpoint.worker import Worker
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.ids import Digest, JobId
from workrs.domain.record import CheckpointRef
from workrs.ports.runtime import Progress, Snapshot
from workrs.ports.store import BlobLostError, BlobStore, JobSpace, OpenStore

_PARTS_AT_ONCE = 6
_UNPACK_THREADS = 2
_OVERHEAD_BYTES = 64 << 20
"""What CRIU's images and printed output may have beyond memory and files."""


def size_limit(*, memory_mb: int, disk_bytes: int) -> int:
    """Return how large a checkpoint of a job with these limits can be, unpacked."""
    return (memory_mb << 20) + disk_bytes + _OVERHEAD_BYTES


async def load(
    ref: CheckpointRef, *, job: JobId, open_store: OpenStore, path: Path, limit_bytes: int
) -> Snapshot:
    """Fetch, verify and unpack the checkpoint *ref* of *job* into the new folder *path*.

    On an error, or when cancelled, *path* is gone.

    Raises:
        CheckpointError: it is damaged, forged, of another job, or has over *limit_bytes*.
        StoreError: a store that may have it did not answer.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    source = _Source(ref, job, open_store)
    manifest = await source.manifest()
    if manifest.bytes > limit_bytes:
        raise CheckpointError(f"{job}: the checkpoint has {manifest.bytes} bytes: too many")
    listed = clock()
    path.mkdir(mode=0o700, parents=True)
    try:
        async with Worker(threads=_UNPACK_THREADS) as worker:
            await worker.run(_make_empty, path, manifest)
            await _fill(path, manifest, source, worker)
            await worker.run(_finish, path, manifest)
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise StoreError(f"{job}: the checkpoint cannot be unpacked here: {error}") from error
        raise
    progress = None
    if manifest.progress is not None:
        progress = Progress(fraction=manifest.progress, note=manifest.note)
    return Snapshot(
        path=path,
        rung=manifest.rung,
        image=manifest.image,
        command=manifest.command,
        host=manifest.host,
        progress=progress,
        steps_s={"manifest": listed - begin, "parts": clock() - listed},
    )


async def load_manifest(ref: CheckpointRef, *, job: JobId, open_store: OpenStore) -> Manifest:
    """Return a checkpoint's manifest, verified. Raises as `load`."""
    return await _Source(ref, job, open_store).manifest()


class _Source:
    """The stores that hold one checkpoint."""

    def __init__(self, ref: CheckpointRef, job: JobId, open_store: OpenStore) -> None:
        self._ref = ref
        self._job = job
        self._stores: list[BlobStore] = [open_store(url) for url in ref.location]
        self._turn = 0
        self._silent: set[int] = set()
        """Places of stores that did not answer once: asked last, each question may take 8 s."""

    async def manifest(self) -> Manifest:
        data = await self.get(self._ref.manifest, limit_bytes=MANIFEST_BYTES_MAX)
        manifest = decode_manifest(data)
        said = (manifest.job, manifest.epoch, manifest.seq)
        meant = (self._job, self._ref.epoch, self._ref.seq)
        if said != meant:
            raise CheckpointError(f"the checkpoint is {said}, but {meant} was asked for")
        return manifest

    async def get(self, name: Digest, *, limit_bytes: int) -> bytes:
        """Return a blob from the first store that has it; the stores take turns."""
        space = JobSpace(job=self._job, epoch=self._ref.epoch)
        self._turn += 1
        lost: BlobLostError | None = None
        silent: StoreError | None = None
        places = [(self._turn + n) % len(self._stores) for n in range(len(self._stores))]
        for place in sorted(places, key=self._silent.__contains__):
            store = self._stores[place]
            try:
                return await store.get(name, space, limit_bytes=limit_bytes)
            except BlobLostError as error:
                lost = error
            except StoreError as error:
                silent = error
                self._silent.add(place)
        if silent is not None:
            raise silent
        raise CheckpointError(f"{self._job}: no store has the whole checkpoint: {lost}") from lost


async def _fill(path: Path, manifest: Manifest, source: _Source, worker: Worker) -> None:
    plan = list(pieces(manifest.entries, (part.bytes for part in manifest.parts)))
    numbered = iter(zip(manifest.parts, plan, strict=True))

    async def carry() -> None:
        for part, found in numbered:
            if part.blob is None:
                _check_hole(part)
                continue
            blob = await source.get(part.blob, limit_bytes=part.stored)
            await worker.run(_write, path, part, blob, found)

    await all_or_first(carry() for _ in range(_PARTS_AT_ONCE))


def _check_hole(part: Part) -> None:
    if part.raw != digest_of_zeros(part.bytes):
        raise CheckpointError("a part of the checkpoint has no blob, and is not zeros")


def _write(path: Path, part: Part, blob: bytes, found: Sequence[Piece]) -> None:
    data = memoryview(unseal(blob, raw=part.raw, raw_bytes=part.bytes))
    for piece in found:
        descriptor = os.open(path / piece.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _write_all(descriptor, data[: piece.length], piece.offset)
        finally:
            os.close(descriptor)
        data = data[piece.length :]


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data = data[written:]
        offset += written


def _make_empty(path: Path, manifest: Manifest) -> None:
    """Create folders, and files of full size that hold nothing yet."""
    for entry in manifest.entries:
        target = path / entry.path
        if entry.kind is Kind.FOLDER:
            target.mkdir(mode=0o700)
        elif entry.kind is Kind.FILE:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(target, flags, 0o600)
            try:
                os.ftruncate(descriptor, entry.size)
            finally:
                os.close(descriptor)


def _finish(path: Path, manifest: Manifest) -> None:
    """Set modes and times, then make FIFOs and links."""
    for entry in manifest.entries:
        target = path / entry.path
        if entry.kind is Kind.FILE and entry.path.startswith("job/"):
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
            target.chmod(entry.mode)
        elif entry.kind is Kind.FOLDER and entry.path.startswith("job/"):
            target.chmod(entry.mode | 0o700)
    for entry in manifest.entries:
        target = path / entry.path
        if entry.kind is Kind.FIFO:
            os.mkfifo(target, entry.mode)
        elif entry.kind is Kind.LINK:
            target.symlink_to(entry.link)
