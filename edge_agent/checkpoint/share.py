"""What all checkpoints of one agent have between them: a thread that packs, and room in memory.

1. However many are saved and fetched at once, the agent has at most SAVES_MAX of them to pack
   and LOADS_MAX to unpack, with PACKS_MAX packs and BLOBS_MAX blobs between all of these, and
   one manifest being read or made, and one load ahead of its job, so that jobs that are here find
   room. The others wait, in the order in which they came.
2. What is remembered of the jobs that run has a bound for all of them: with more than four at
   once, the blocks of large ones are larger.
3. Whoever has a pack, a blob or a manifest in hand waits for stores and threads alone, so nobody
   waits in a circle.

Measured by `bench.two_at_once`: see docs/checkpoints.md.
"""

from asyncio import Semaphore
from types import TracebackType
from typing import Final, Self

from edge_agent.checkpoint.index import BLOCKS_MAX
from edge_agent.checkpoint.worker import Worker

NICE: Final = 5
SAVES_MAX: Final = 2
"""Each remembers where the blocks of two checkpoints lie, up to 13 MB each."""
LOADS_MAX: Final = 2
"""Each knows where what it fetches belongs, up to 40 MB for a program of some GiB that changed
page by page. With three, and two saves beside them, an agent came to 197 of its 200 MiB."""
PACKS_MAX: Final = 3
"""Under way to the stores: with both copies of each, some 30 MiB."""
BLOCKS_OF_ALL: Final = 4 * BLOCKS_MAX
"""Remembered of the checkpoints of all jobs that run, 24 bytes each: 36 MiB."""
BLOBS_MAX: Final = 3
"""Under way from the stores, each in three copies while it is opened: some 40 MiB. Two threads
open them, so one more can be on its way."""


class Share:
    """Threads and turns. An async context manager: leaving it waits for the thread."""

    def __init__(self, *, jobs: int = 1) -> None:
        """Nothing is under way, of at most so many *jobs*."""
        self.blocks_max = min(BLOCKS_MAX, BLOCKS_OF_ALL // max(1, jobs))
        """Beyond which the blocks of a job are larger."""
        self.packing = Worker(nice=NICE)
        """Less urgent than everything else: see `Worker`."""
        self.saves = Semaphore(SAVES_MAX)
        self.loads = Semaphore(LOADS_MAX)
        self.packs = Semaphore(PACKS_MAX)
        self.blobs = Semaphore(BLOBS_MAX)
        self.manifests = Semaphore(1)
        self.lookups = Semaphore(1)
        """Manifests that are read for themselves, while the stores are asked for them."""
        self.aheads = Semaphore(1)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the call that is under way."""
        await self.packing.__aexit__(kind, error, trace)
