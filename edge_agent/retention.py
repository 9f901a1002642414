"""Deleting checkpoints, so that none that is being stored loses what it counts on.

Blobs are named by their contents. A program that goes back to an earlier state has some of them
in its stores already, left by a checkpoint that is about to be deleted: then the new one would
name what the deletion takes away a moment later, in all stores. So, for each job:

1. Storing a checkpoint and deleting one take turns.
2. A deletion spares what checkpoints name that were stored after it was decided, too.
"""

import asyncio
from collections import deque
from weakref import WeakValueDictionary

from edge_agent.effect import DiscardCheckpoint
from workrs.domain.ids import JobId
from workrs.domain.record import CheckpointRef

NEWEST = 2
"""Checkpoints remembered of a job: older ones are being deleted themselves."""


class Shelf:
    """One job's checkpoints, as far as this agent stores and deletes them."""

    def __init__(self) -> None:
        """Remember none."""
        self.turn = asyncio.Lock()
        self._newest: deque[CheckpointRef] = deque(maxlen=NEWEST)

    def note(self, ref: CheckpointRef) -> None:
        """Remember a checkpoint that was just stored."""
        self._newest.append(ref)

    def keep(self, effect: DiscardCheckpoint) -> tuple[CheckpointRef, ...]:
        """Return what a deletion must spare. Of a job that is over, nothing is."""
        if not effect.keep:
            return ()
        later = (ref for ref in self._newest if ref.order > effect.ref.order)
        return tuple(dict.fromkeys((*effect.keep, *later)))


class Retention:
    """The shelves of all jobs that somebody has a hand in."""

    def __init__(self) -> None:
        """Begin without any."""
        self._shelves: WeakValueDictionary[JobId, Shelf] = WeakValueDictionary()

    def of(self, job: JobId) -> Shelf:
        """Return the job's shelf, the same one as long as anybody holds it."""
        shelf = self._shelves.get(job)
        if shelf is None:
            shelf = self._shelves[job] = Shelf()
        return shelf
