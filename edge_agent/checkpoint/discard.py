"""Deleting a checkpoint that two newer ones have replaced."""

from collections.abc import Sequence

from edge_agent.checkpoint.keys import KeyRing
from edge_agent.checkpoint.load import load_manifest
from edge_agent.checkpoint.share import Share
from workrs.domain.errors import CheckpointError
from workrs.domain.ids import JobId
from workrs.domain.record import CheckpointRef
from workrs.ports.store import JobSpace, OpenStore


async def discard(
    ref: CheckpointRef,
    *,
    job: JobId,
    keep: Sequence[CheckpointRef],
    open_store: OpenStore,
    keys: KeyRing | None = None,
    share: Share | None = None,
) -> int:
    """Delete the blobs of *ref* that none of *keep* names; return how many were named by it.

    The manifest goes last: cut short, this can be repeated. Whoever reads the half that is
    left finds it damaged.

    Raises:
        StoreError: a store did not answer; some blobs may be gone.
        CheckpointError: one of *keep* cannot be read, so nothing was deleted.
    """
    try:
        doomed = await load_manifest(ref, job=job, open_store=open_store, keys=keys, share=share)
        unneeded = doomed.names()
        del doomed  # its map may have some MiB
    except CheckpointError:
        # Deleted before, or never whole: its name alone is left to delete.
        unneeded = set()
    for other in keep:
        if other.manifest == ref.manifest:
            return 0
        kept = await load_manifest(other, job=job, open_store=open_store, keys=keys, share=share)
        unneeded -= kept.names()
    space = JobSpace(job=job, epoch=ref.epoch)
    stores = [open_store(url) for url in ref.location]
    for name in (*sorted(unneeded), ref.manifest):
        for store in stores:
            await store.delete(name, space)
    return len(unneeded)
