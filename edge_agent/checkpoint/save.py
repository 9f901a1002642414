"""From a snapshot on local disk to a checkpoint in the stores.

1. The program runs meanwhile: nothing here touches it.
2. Memory is bounded by a few packs and what is remembered of the blocks, whatever the size of
   the job: reading, packing and sending overlap, and wait for each other.
3. The manifest is stored last, so a manifest that can be read names only what is there.
4. What is stored at one epoch is never named by a manifest of another: the agent of that epoch
   may delete it, and must not have to ask.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edge_agent.checkpoint.body import encode_manifest
from edge_agent.checkpoint.keys import KeyRing
from edge_agent.checkpoint.manifest import (
    MANIFEST_BYTES_MAX,
    Blob,
    Manifest,
    pack_map,
)
from edge_agent.checkpoint.pack import Packed, Packer
from edge_agent.checkpoint.seal import Sealer, digest, new_sealer
from edge_agent.checkpoint.share import PACKS_MAX, Share
from edge_agent.checkpoint.together import all_or_first
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.domain.record import CheckpointRef
from workrs.ports.runtime import Rung, Snapshot
from workrs.ports.store import BlobStore, JobSpace, StoreRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint in the stores, not yet voted on."""

    ref: CheckpointRef
    manifest: Manifest
    uploaded_bytes: int
    """What had to travel to each store; the rest was there from the one before."""
    took_s: float
    """Of the try that came through."""
    packed: Packed = field(repr=False)
    """For the next one."""
    sealer: Sealer = field(repr=False)


async def save(
    snapshot: Snapshot,
    *,
    job: JobId,
    epoch: Epoch,
    seq: int,
    stores: Sequence[BlobStore],
    copies: int = 2,
    previous: Saved | None = None,
    keys: KeyRing | None = None,
    share: Share | None = None,
) -> Saved:
    """Store *snapshot* in the first *copies* of *stores* that take it.

    May be cancelled; what was stored then stays in the space of (job, epoch). A try that failed
    is deleted where the store still answers.

    Args:
        snapshot: its folder is read, and left to the caller.
        job: the job it is of.
        epoch: of the lease under which it is stored.
        seq: its number within the epoch.
        stores: in the order of preference.
        copies: how many must take it; with fewer stores in all, all of them.
        previous: the newest checkpoint of the same epoch. What did not change since is not
            sent again, as long as the same stores hold it.
        keys: the cluster's; without them nothing is encrypted.
        share: of all checkpoints of an agent; None: it has one of its own.

    Raises:
        StoreError: too few stores took it.
        CheckpointError: the snapshot holds what no checkpoint may.
    """
    copies = min(copies, len(stores))
    candidates = _by_former(stores, previous)
    failed: StoreError | None = None
    async with contextlib.AsyncExitStack() as stack:
        if share is None:
            share = await stack.enter_async_context(Share())
        await stack.enter_async_context(share.saves)
        while copies and len(candidates) >= copies:
            chosen = candidates[:copies]
            former = _usable(previous, epoch, chosen, keys)
            sealer = former.sealer if former else new_sealer(keys, job, epoch)
            upload = _Upload(share, sealer, chosen)
            try:
                return await upload.save(snapshot, seq, former.packed if former else None)
            except _StoreFailedError as error:
                failed = error.why
                candidates = [store for store in candidates if store is not error.store]
                await upload.take_back(error)
    raise StoreError(f"{job}: fewer than {max(1, copies)} stores took the checkpoint: {failed}")


def _usable(
    previous: Saved | None, epoch: Epoch, stores: Sequence[BlobStore], keys: KeyRing | None
) -> Saved | None:
    """Return the checkpoint before, if this one may share blobs with it."""
    if (
        previous is None
        or previous.ref.epoch != epoch
        or not {store.location for store in stores} <= set(previous.ref.location)
        or previous.sealer.is_sealed != (keys is not None)
    ):
        return None
    return previous


def _manifest(snapshot: Snapshot, space: JobSpace, seq: int, packed: Packed) -> Manifest:
    progress = snapshot.progress
    return Manifest(
        v=2,
        job=space.job,
        epoch=space.epoch,
        seq=seq,
        rung=snapshot.rung,
        image=snapshot.image,
        command=snapshot.command,
        host=snapshot.host,
        entries=packed.entries,
        blobs=packed.blobs,
        map=pack_map(packed.map),
        progress=progress.fraction if progress else None,
        note=progress.note if progress else "",
    )


def _ref(
    manifest: Manifest, name: Digest, stores: Sequence[BlobStore], sealer: Sealer
) -> CheckpointRef:
    return CheckpointRef(
        epoch=manifest.epoch,
        seq=manifest.seq,
        manifest=name,
        location=tuple(store.location for store in stores),
        rung=manifest.rung,
        bytes=manifest.stored_bytes,
        progress=manifest.progress,
        host=manifest.host if manifest.rung is Rung.MEMORY else None,
        key=sealer.key_id.hex(),
    )


def _by_former(stores: Sequence[BlobStore], previous: Saved | None) -> list[BlobStore]:
    """Return *stores* with those first that hold the checkpoint before."""
    former = previous.ref.location if previous else ()
    return sorted(stores, key=lambda store: store.location not in former)


class _StoreFailedError(Exception):
    def __init__(self, store: BlobStore, why: StoreError) -> None:
        super().__init__(str(why))
        self.store = store
        self.why = why


class _Upload:
    """One try with one choice of stores."""

    def __init__(self, share: Share, sealer: Sealer, stores: Sequence[BlobStore]) -> None:
        self._sent_bytes = 0
        self._begun: list[Digest] = []
        self._share = share
        self._worker = share.packing
        self._sealer = sealer
        self._stores = stores

    async def save(self, snapshot: Snapshot, seq: int, before: Packed | None) -> Saved:
        clock = asyncio.get_running_loop().time
        begin = clock()
        packed = await self._packs(
            Packer(snapshot.path, self._sealer, before, self._share.blocks_max)
        )
        async with self._share.manifests:
            space = self._sealer.space
            manifest = await self._worker.run(_manifest, snapshot, space, seq, packed)
            data = await self._worker.run(_seal, manifest, self._sealer)
        # Not while it is sent: a silent store must not keep others from theirs.
        name = await self._put_manifest(data)
        return Saved(
            ref=_ref(manifest, name, self._stores, self._sealer),
            manifest=manifest,
            uploaded_bytes=self._sent_bytes,
            took_s=clock() - begin,
            packed=packed,
            sealer=self._sealer,
        )

    async def _packs(self, packer: Packer) -> Packed:
        """Store all that is new in the snapshot."""
        await self._worker.run(packer.scan)
        packs = packer.packs()
        turn = asyncio.Lock()

        async def carry() -> None:
            # Each takes the next pack and sends it; only one at a time can take.
            while True:
                async with self._share.packs:
                    async with turn:
                        found = await self._worker.run(_next, packs)
                    if found is None:
                        return
                    blob, data = found
                    await self._put(blob.name, data)
                    del found, data  # before waiting for the next turn

        await all_or_first(carry() for _ in range(PACKS_MAX))
        return await self._worker.run(packer.packed)

    async def _put_manifest(self, data: bytes) -> Digest:
        if len(data) > MANIFEST_BYTES_MAX:
            raise CheckpointError(f"the manifest would have {len(data)} bytes: too many files")
        name = digest(data)
        await self._put(name, data)
        return name

    async def _put(self, name: Digest, data: bytes) -> None:
        self._sent_bytes += len(data)
        self._begun.append(name)
        await all_or_first(self._put_one(store, name, data) for store in self._stores)

    async def take_back(self, error: _StoreFailedError) -> None:
        """Delete what this try stored, so that a store that stays full does not fill the others.

        A store that did not answer is not asked: there it goes with its job.
        """
        refused = isinstance(error.why, StoreRefusedError)
        for store in self._stores:
            with contextlib.suppress(StoreError):
                for name in self._begun if refused or store is not error.store else ():
                    await store.delete(name, self._sealer.space)

    async def _put_one(self, store: BlobStore, name: Digest, data: bytes) -> None:
        try:
            await store.put(name, data, self._sealer.space)
        except StoreError as error:
            raise _StoreFailedError(store, error) from error


def _next(packs: Iterator[tuple[Blob, bytes]]) -> tuple[Blob, bytes] | None:
    return next(packs, None)


def _seal(manifest: Manifest, sealer: Sealer) -> bytes:
    return sealer.manifest(encode_manifest(manifest), manifest.seq)
