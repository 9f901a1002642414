"""From a checkpoint in the stores to a snapshot on local disk, trusting nothing on the way.

1. When `load` returns, every byte of the folder is one that the manifest names, and the
   manifest is the one that the records of the nodes name.
2. Only what the manifest lists is created, in a folder that was made for it: see `unpack`.
3. CheckpointError: every store that holds it answered, and none has it whole: use the one
   before. StoreError: one was silent and may have it: try again later. RestoreError: it is
   whole, and this machine cannot run it.
"""

# ruff: noqa: ASYNC240 (a folder of our own, made or removed in microseconds)

import asyncio
import errno
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from edge_agent.checkpoint.base import Base
from edge_agent.checkpoint.body import decode_manifest
from edge_agent.checkpoint.keys import KeyRing
from edge_agent.checkpoint.manifest import (
    MANIFEST_BYTES_MAX,
    Blob,
    Manifest,
)
from edge_agent.checkpoint.seal import Opener, open_manifest
from edge_agent.checkpoint.share import BLOBS_MAX, Share
from edge_agent.checkpoint.together import all_or_first
from edge_agent.checkpoint.unpack import Layout, finish, lay_out, make_empty, write
from edge_agent.checkpoint.worker import Worker
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.host import HostFacts, can_restore
from workrs.domain.ids import Digest, JobId
from workrs.domain.record import CheckpointRef
from workrs.ports.runtime import Progress, RestoreError, Rung, Snapshot
from workrs.ports.store import BlobLostError, JobSpace, OpenStore

_UNPACK_THREADS = 2
_OVERHEAD_BYTES = 64 << 20
"""What CRIU's images and printed output may have beyond memory and files."""


def size_limit(*, memory_mb: int, disk_bytes: int) -> int:
    """Return how large a checkpoint of a job with these limits can be, unpacked."""
    return (memory_mb << 20) + disk_bytes + _OVERHEAD_BYTES


async def load(
    ref: CheckpointRef,
    *,
    job: JobId,
    open_store: OpenStore,
    path: Path,
    limit_bytes: int,
    keys: KeyRing | None = None,
    host: HostFacts | None = None,
    base: Base | None = None,
    share: Share | None = None,
) -> Snapshot:
    """Fetch, verify and unpack the checkpoint *ref* of *job* into the new folder *path*.

    On an error, or when cancelled, *path* is gone.

    Args:
        ref: what the records say of it.
        job: the job it must be of.
        open_store: opens the stores that have it.
        path: made by this call.
        limit_bytes: most that it may have, unpacked.
        keys: the cluster's; without them nothing that is sealed can be read, and with them
            nothing that is not.
        host: the machine that is to run it; None: whoever starts it checks that.
        base: an earlier checkpoint of the same job that was fetched ahead; used up by this.
        share: of all checkpoints of an agent; None: it has one of its own.

    Raises:
        CheckpointError: it is damaged, forged, of another job, or has over *limit_bytes*.
        RestoreError: *host* cannot run it; nothing but the manifest was fetched.
        StoreError: a store that may have it did not answer.
        KeyMissingError: it is sealed with a key that is not here; a StoreError.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    share = share or Share()
    source = _Source(ref, job, open_store)
    async with share.loads, Worker(threads=_UNPACK_THREADS) as worker:
        manifest, opener = await source.manifest(worker, keys, share)
        if manifest.bytes > limit_bytes:
            raise CheckpointError(f"{job}: the checkpoint has {manifest.bytes} bytes: too many")
        _refuse_foreign(manifest, host)
        listed = clock()
        path.mkdir(mode=0o700, parents=True)
        try:
            await worker.run(make_empty, path, manifest)
            layout = await worker.run(lay_out, path, manifest, base)
            fetch = _Fetch(manifest, opener, source, worker, share.blobs)
            await fetch.fill(layout)
            await worker.run(finish, path, manifest)
        except BaseException as error:
            await asyncio.to_thread(_undo, worker, path)
            if isinstance(error, OSError):
                raise _explained(job, error) from error
            raise
    return _snapshot(path, manifest, {"manifest": listed - begin, "blobs": clock() - listed})


def _explained(job: JobId, error: OSError) -> CheckpointError | StoreError:
    if error.errno == errno.ENAMETOOLONG:
        # No machine's fault, so no other one would be better off.
        return CheckpointError(f"{job}: a name in the checkpoint is too long")
    return StoreError(f"{job}: it cannot be unpacked here: {error}")


def _undo(worker: Worker, path: Path) -> None:
    """Remove what was made. Blocks, for as long as it takes to remove a gigabyte."""
    # What is under way in a thread would write into what is removed here.
    worker.close()
    shutil.rmtree(path, ignore_errors=True)


def _snapshot(path: Path, manifest: Manifest, steps_s: Mapping[str, float]) -> Snapshot:
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
        steps_s=steps_s,
    )


def _refuse_foreign(manifest: Manifest, host: HostFacts | None) -> None:
    if host is None or manifest.rung is not Rung.MEMORY:
        return
    reason = can_restore(manifest.host, host)
    if reason is not None:
        raise RestoreError(f"{manifest.job}: its memory does not fit this machine: {reason}")


async def load_ahead(
    ref: CheckpointRef,
    *,
    job: JobId,
    open_store: OpenStore,
    path: Path,
    limit_bytes: int,
    keys: KeyRing | None = None,
    host: HostFacts | None = None,
    base: Base | None = None,
    share: Share | None = None,
) -> Base:
    """Fetch a checkpoint that a later one will make use of. Takes and raises what `load` does."""
    manifest = await load_manifest(ref, job=job, open_store=open_store, keys=keys, share=share)
    await load(
        ref,
        job=job,
        open_store=open_store,
        path=path,
        limit_bytes=limit_bytes,
        keys=keys,
        host=host,
        base=base,
        share=share,
    )
    return Base(path=path, manifest=manifest)


async def load_manifest(
    ref: CheckpointRef,
    *,
    job: JobId,
    open_store: OpenStore,
    keys: KeyRing | None = None,
    share: Share | None = None,
) -> Manifest:
    """Return a checkpoint's manifest, verified. Raises as `load`."""
    share = share or Share()
    async with share.lookups, Worker() as worker:
        manifest, _ = await _Source(ref, job, open_store).manifest(worker, keys, share)
    return manifest


class _Source:
    """The stores that hold one checkpoint."""

    def __init__(self, ref: CheckpointRef, job: JobId, open_store: OpenStore) -> None:
        self._ref = ref
        self._job = job
        self._open_store = open_store
        self._turn = 0
        self._silent: set[int] = set()
        """Places of stores that did not answer once: asked last, each question may take 8 s."""

    async def manifest(
        self, worker: Worker, keys: KeyRing | None, share: Share
    ) -> tuple[Manifest, Opener]:
        """Return the manifest and what opens its blobs. Raises as `load`."""
        data = await self.get(self._ref.manifest, limit_bytes=MANIFEST_BYTES_MAX)
        space = JobSpace(job=self._job, epoch=self._ref.epoch)
        # Not while a store is asked: a silent one must not keep others from theirs.
        async with share.manifests:
            return await worker.run(_open_manifest, data, keys, space, self._ref)

    async def get(self, name: Digest, *, limit_bytes: int) -> bytes:
        """Return a blob from the first store that has it; the stores take turns."""
        space = JobSpace(job=self._job, epoch=self._ref.epoch)
        self._turn += 1
        lost: BlobLostError | None = None
        silent: StoreError | None = None
        urls = self._ref.location
        places = [(self._turn + n) % len(urls) for n in range(len(urls))]
        for place in sorted(places, key=self._silent.__contains__):
            try:
                # Here, so that one that is not configured is no worse than one that is silent.
                store = self._open_store(urls[place])
                return await store.get(name, space, limit_bytes=limit_bytes)
            except BlobLostError as error:
                lost = error
            except StoreError as error:
                silent = error
                self._silent.add(place)
        if silent is not None:
            raise silent
        raise CheckpointError(f"{self._job}: no store has the whole checkpoint: {lost}") from lost


def _open_manifest(
    data: bytes, keys: KeyRing | None, space: JobSpace, ref: CheckpointRef
) -> tuple[Manifest, Opener]:
    opener, body = open_manifest(data, keys=keys, space=space, seq=ref.seq, key_id=ref.key)
    manifest = decode_manifest(body)
    said = (manifest.job, manifest.epoch, manifest.seq)
    meant = (space.job, space.epoch, ref.seq)
    if said != meant:
        raise CheckpointError(f"the checkpoint is {said}, but {meant} was asked for")
    return manifest, opener


class _Fetch(NamedTuple):
    """What the blobs of one checkpoint are fetched and opened with."""

    manifest: Manifest
    opener: Opener
    source: _Source
    worker: Worker
    room: asyncio.Semaphore

    async def fill(self, layout: Layout) -> None:
        """Write all that *layout* wants of the blobs."""
        numbered = iter(enumerate(self.manifest.blobs))

        async def carry() -> None:
            # They share one iterator: the next free one takes the next blob.
            for number, blob in numbered:
                if layout.uses[number]:  # else what is here already has all of it
                    async with self.room:
                        await self._fetch(layout, number, blob)

        await all_or_first(carry() for _ in range(BLOBS_MAX))

    async def _fetch(self, layout: Layout, number: int, blob: Blob) -> None:
        data = await self.source.get(blob.name, limit_bytes=blob.stored)
        await self.worker.run(write, layout, number, blob, data, self.opener)
