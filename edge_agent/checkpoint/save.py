"""From a snapshot on local disk to a checkpoint in the stores.

1. The program runs meanwhile: nothing here touches it.
2. Memory is bounded by a few parts, whatever the size of the job.
3. The manifest is stored last, so a manifest that can be read names only what is there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.checkpoint.manifest import (
    MANIFEST_BYTES_MAX,
    Entry,
    Manifest,
    Part,
    Piece,
    encode_manifest,
)
from edge_agent.checkpoint.scan import plan_parts, read_part, scan
from edge_agent.checkpoint.seal import digest, digest_of_zeros, seal
from edge_agent.checkpoint.together import all_or_first
from edge_agent.checkpoint.worker import Worker
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.domain.record import CheckpointRef
from workrs.ports.runtime import Snapshot
from workrs.ports.store import BlobStore, JobSpace

_NICE = 5
_PARTS_AT_ONCE = 4
"""Parts under way to the stores: with both copies of each part, some 40 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint in the stores, not yet voted on."""

    ref: CheckpointRef
    manifest: Manifest
    uploaded_bytes: int
    """What had to travel to each store; the rest was there from the one before."""
    took_s: float


async def save(
    snapshot: Snapshot,
    *,
    job: JobId,
    epoch: Epoch,
    seq: int,
    stores: Sequence[BlobStore],
    copies: int = 2,
    previous: Saved | None = None,
) -> Saved:
    """Store *snapshot* in the first *copies* of *stores* that take it.

    May be cancelled; what was stored then stays in the space of (job, epoch).

    Args:
        snapshot: its folder is read, and left to the caller.
        job: the job it is of.
        epoch: of the lease under which it is stored.
        seq: its number within the epoch.
        stores: in the order of preference.
        copies: how many must take it; with fewer stores in all, all of them.
        previous: the newest checkpoint of the same epoch. What did not change since is not
            sent again, as long as the same stores hold it.

    Raises:
        StoreError: too few stores took it.
        CheckpointError: the snapshot holds what no checkpoint may.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    copies = min(copies, len(stores))
    candidates = _by_former(stores, previous)
    failed: StoreError | None = None
    async with Worker(nice=_NICE) as worker:
        entries = await worker.run(scan, snapshot.path)
        plan = await worker.run(plan_parts, snapshot.path, entries)
        while copies and len(candidates) >= copies:
            chosen = candidates[:copies]
            upload = _Upload(worker, snapshot, JobSpace(job=job, epoch=epoch), chosen, previous)
            try:
                parts = await upload.parts(plan)
                manifest = _manifest(snapshot, upload.space, seq, entries, parts)
                name = await upload.manifest(manifest)
            except _StoreFailedError as error:
                failed = error.why
                candidates = [store for store in candidates if store is not error.store]
                continue
            return Saved(
                ref=_ref(manifest, name, chosen),
                manifest=manifest,
                uploaded_bytes=upload.sent_bytes,
                took_s=clock() - begin,
            )
    raise StoreError(f"{job}: fewer than {max(1, copies)} stores took the checkpoint: {failed}")


def _manifest(
    snapshot: Snapshot,
    space: JobSpace,
    seq: int,
    entries: tuple[Entry, ...],
    parts: tuple[Part, ...],
) -> Manifest:
    progress = snapshot.progress
    return Manifest(
        v=1,
        job=space.job,
        epoch=space.epoch,
        seq=seq,
        rung=snapshot.rung,
        image=snapshot.image,
        command=snapshot.command,
        host=snapshot.host,
        entries=entries,
        parts=parts,
        progress=progress.fraction if progress else None,
        note=progress.note if progress else "",
    )


def _ref(manifest: Manifest, name: Digest, stores: Sequence[BlobStore]) -> CheckpointRef:
    return CheckpointRef(
        epoch=manifest.epoch,
        seq=manifest.seq,
        manifest=name,
        location=tuple(store.location for store in stores),
        rung=manifest.rung,
        bytes=manifest.stored_bytes,
        progress=manifest.progress,
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

    def __init__(
        self,
        worker: Worker,
        snapshot: Snapshot,
        space: JobSpace,
        stores: Sequence[BlobStore],
        previous: Saved | None,
    ) -> None:
        self.sent_bytes = 0
        self._worker = worker
        self._snapshot = snapshot
        self.space = space
        self._stores = stores
        self._known: dict[Digest, Part] = {}
        if (
            previous is not None
            and previous.ref.epoch == space.epoch
            and {store.location for store in stores} <= set(previous.ref.location)
        ):
            self._known = {part.raw: part for part in previous.manifest.parts}

    async def parts(self, plan: Sequence[list[Piece]]) -> tuple[Part, ...]:
        """Store all parts and return them in order."""
        done: list[Part | None] = [None] * len(plan)
        numbered = iter(enumerate(plan))

        async def carry() -> None:
            # Workers share one iterator: the next free one takes the next part.
            for number, found in numbered:
                done[number] = await self._part(found)

        await all_or_first(carry() for _ in range(min(_PARTS_AT_ONCE, len(plan))))
        return tuple(part for part in done if part is not None)

    async def _part(self, found: list[Piece]) -> Part:
        part, blob = await self._worker.run(self._pack, found)
        if blob is not None and part.blob is not None:
            await self._put(part.blob, blob)
        return part

    def _pack(self, found: list[Piece]) -> tuple[Part, bytes | None]:
        """Return a part, and its blob if that must be sent. Blocks."""
        size = sum(piece.length for piece in found)
        data = read_part(self._snapshot.path, found)
        if data is None:
            return Part(raw=digest_of_zeros(size), bytes=size), None
        raw = digest(data)
        known = self._known.get(raw)
        if known is not None and known.bytes == size:
            return known, None
        blob = seal(data)
        part = Part(raw=raw, bytes=size, blob=digest(blob), stored=len(blob))
        self._known[raw] = part
        return part, blob

    async def manifest(self, manifest: Manifest) -> Digest:
        data = encode_manifest(manifest)
        if len(data) > MANIFEST_BYTES_MAX:
            raise CheckpointError(f"the manifest would have {len(data)} bytes: too many files")
        name = digest(data)
        await self._put(name, data)
        return name

    async def _put(self, name: Digest, data: bytes) -> None:
        self.sent_bytes += len(data)
        await all_or_first(self._put_one(store, name, data) for store in self._stores)

    async def _put_one(self, store: BlobStore, name: Digest, data: bytes) -> None:
        try:
            await store.put(name, data, self.space)
        except StoreError as error:
            raise _StoreFailedError(store, error) from error
