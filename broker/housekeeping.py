"""What a node throws away once nobody can need it any more.

1. Nothing of an undecided job is ever removed.
2. Ids of retired jobs are kept `FORGET_AFTER_S`, so that a late submit revives nothing, however
   short a time the history is kept.
3. Inputs are spared for `INPUT_GRACE_S`: their submit may still be on its way.
"""

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, ParamSpec, TypeVar

from broker.blob_directory import BlobDirectory
from broker.ledger import SqliteLedger
from broker.limits import BLOB_DROPS_MAX
from broker.node import Node
from workrs.adapters import log
from workrs.domain.errors import WorkrsError
from workrs.domain.ids import ClientId, Digest, JobId
from workrs.domain.job import BLOB_URL_PREFIX, owner

P = ParamSpec("P")
T = TypeVar("T")
LOG = log.get("node.housekeeping")
FORGET_AFTER_S: Final = 30 * 86400.0
INPUT_GRACE_S: Final = 86400.0
PERIOD_S: Final = 3600.0
PAUSE_S: Final = 0.1
"""Between two pieces of forgetting, so that votes get at the ledger in between."""
PIECES_MAX: Final = 1_000
"""Of one kind in one round; what is left waits for the next."""


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


class House:
    """Throws things away beside the votes, which never wait for it."""

    def __init__(self, node: Node, ledger: SqliteLedger, blobs: BlobDirectory) -> None:
        self._node = node
        self._ledger = ledger
        self._blobs = blobs
        self._dropped: deque[JobId] = deque(maxlen=BLOB_DROPS_MAX)
        self._wanted = asyncio.Event()

    def drop(self, job: JobId) -> None:
        """Have the blobs of a retired job removed soon, or in an hour. Never blocks."""
        self._dropped.append(job)
        self._wanted.set()

    async def keep(self) -> None:
        """Remove what was asked for, and every hour what is too old, until cancelled."""
        dropped = await self._try(drop_orphaned_blobs, self._node, self._blobs)
        if dropped:
            LOG.event("blobs_dropped", jobs=dropped)
        clock = asyncio.get_running_loop().time
        next_round = clock() + PERIOD_S
        while True:
            try:
                async with asyncio.timeout_at(next_round):
                    await self._wanted.wait()
            except TimeoutError:
                await self._hourly()
                next_round = clock() + PERIOD_S
            self._wanted.clear()
            while self._dropped:
                jobs = list(self._dropped)
                self._dropped.clear()
                # In one thread's turn: most jobs have no blobs, and a turn costs more than a look.
                await asyncio.to_thread(self._drop_all, jobs)

    def _drop_all(self, jobs: Iterable[JobId]) -> None:
        for job in jobs:
            try:
                self._blobs.drop(job)
            except (OSError, WorkrsError) as error:
                LOG.warning("housekeeping_failed", why=str(error))

    async def _hourly(self) -> None:
        gc.collect()  # none comes by itself (`broker/collector.py`)
        drop_inputs = partial(
            self._blobs.drop_inputs, keep=needed_inputs(self._node), older_than_s=INPUT_GRACE_S
        )
        inputs = await self._try(drop_inputs)
        await self._try(drop_orphaned_blobs, self._node, self._blobs)
        ids = await self._in_pieces(partial(self._ledger.forget, older_than_s=FORGET_AFTER_S))
        rows = await self._in_pieces(self._ledger.cut_history)
        LOG.event("house_kept", inputs_dropped=inputs, ids_forgotten=ids, history_dropped=rows)

    async def _in_pieces(self, drop: Callable[[], int]) -> int:
        """Repeat *drop* until it finds nothing more; return how much it found."""
        count = 0
        for _ in range(PIECES_MAX):
            found = await self._try(drop)
            if not found:
                break
            count += found
            await asyncio.sleep(PAUSE_S)
        return count

    async def _try(self, work: Callable[P, T], *words: P.args, **named: P.kwargs) -> T | None:
        """Do disk work in a thread. A disk that refuses it costs room, not the node."""
        try:
            return await asyncio.to_thread(work, *words, **named)
        except (OSError, WorkrsError) as error:
            LOG.warning("housekeeping_failed", why=str(error))
            return None
