"""Removes from stores that belong to no node what is left of jobs that are over.

Agents delete the checkpoints that records name when their job is decided. Those that were cut
short, and those that nobody was left to delete, go here, with their job.

1. Only jobs that the ledger knows as retired are touched: decided by a majority for good, so
   nobody restores them any more. What is not known may be another cluster's.
2. Every node that is told of a store clears it; removing twice does no harm.
3. What is uploaded after its job was removed goes the next time, for as long as the ledger knows
   the job: 30 days.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from broker.node import Node
from workrs.adapters import log
from workrs.domain.errors import StoreError, WorkrsError
from workrs.domain.ids import JobId
from workrs.ports.store import SharedStore

LOG = log.get("node.stores")
PERIOD_S: Final = 3600.0
FAILURES_MAX: Final = 3
"""A store that fails so often is left alone until the next time."""


async def keep_clear(node: Node, stores: Sequence[SharedStore]) -> None:
    """Clear now and every hour, until cancelled. A store that fails is said and tried again."""
    while True:
        for store in stores:
            try:
                dropped = await drop_over(node, store)
            except WorkrsError as error:
                LOG.warning("store_not_cleared", store=store.location, why=str(error))
            else:
                if dropped:
                    LOG.event("store_cleared", store=store.location, jobs=dropped)
        await asyncio.sleep(PERIOD_S)


async def drop_over(node: Node, store: SharedStore) -> int:
    """Remove all blobs of retired jobs from a store; return of how many jobs.

    Raises:
        StoreError: it does not let some of them be removed.
    """
    found = await store.jobs()
    over = await asyncio.to_thread(lambda: [job for job in found if _is_over(node, job)])
    dropped, failed = 0, []
    for job in over:
        # Looked at again: it may be back since, and thousands before it take minutes.
        if job not in node.entries:
            try:
                await store.drop(job)
                dropped += 1
            except StoreError as error:
                # One job, into which an upload runs that is over late, keeps no other.
                failed.append(error)
                if len(failed) == FAILURES_MAX:
                    break
    if failed:
        raise failed[0]
    return dropped


def _is_over(node: Node, job: JobId) -> bool:
    return job not in node.entries and node.retired(job) is not None
