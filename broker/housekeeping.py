"""What a node throws away once nobody can need it any more.

1. Nothing of an undecided job is ever removed.
2. Ids of retired jobs are kept `FORGET_AFTER_S`, so that a late submit revives nothing.
3. Inputs are spared for `INPUT_GRACE_S`: their submit may still be on its way.
"""

import asyncio
from typing import Final

from broker.blob_directory import BlobDirectory
from broker.ledger import SqliteLedger
from broker.node import Node
from workrs.adapters import log
from workrs.domain.errors import LedgerError
from workrs.domain.ids import ClientId, Digest
from workrs.domain.job import BLOB_URL_PREFIX, owner

LOG = log.get("node.housekeeping")
FORGET_AFTER_S: Final = 30 * 86400.0
INPUT_GRACE_S: Final = 86400.0
PERIOD_S: Final = 3600.0


def needed_inputs(node: Node) -> set[tuple[ClientId, Digest]]:
    """Return device and digest of the inputs that jobs on the bus name."""
    found = set()
    for entry in node.entries.values():
        url = entry.stored.spec.input_url if entry.stored else None
        if url is not None and url.startswith(BLOB_URL_PREFIX):
            found.add((owner(entry.job), Digest(url.removeprefix(BLOB_URL_PREFIX))))
    return found


def drop_orphaned_blobs(node: Node, blobs: BlobDirectory) -> int:
    """Remove blobs of retired jobs that an earlier start did not get to; return of how many."""
    orphans = [job for job in blobs.jobs() if job not in node.entries and node.retired(job)]
    for job in orphans:
        blobs.drop(job)
    return len(orphans)


async def keep_house(node: Node, ledger: SqliteLedger, blobs: BlobDirectory) -> None:
    """Throw away what is too old, every hour, until cancelled."""
    dropped = await asyncio.to_thread(drop_orphaned_blobs, node, blobs)
    if dropped:
        LOG.event("blobs_dropped", jobs=dropped)
    while True:
        await asyncio.sleep(PERIOD_S)
        keep = needed_inputs(node)
        inputs = await asyncio.to_thread(blobs.drop_inputs, keep=keep, older_than_s=INPUT_GRACE_S)
        try:
            forgotten = await asyncio.to_thread(ledger.forget, older_than_s=FORGET_AFTER_S)
        except LedgerError as error:
            LOG.warning("forget_failed", why=str(error))
            continue
        LOG.event("house_kept", inputs_dropped=inputs, ids_forgotten=forgotten)
