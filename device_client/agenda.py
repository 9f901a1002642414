"""When something is to be said of each job again: at most one time a job, the soonest first.

A job that is heard of often is put off often. It keeps its one place in the heap and is put
back when that comes up early, so news costs no heap entry each.
"""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_client.open_job import OpenJob


class Agenda:
    """See the module. All times are of the caller's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, OpenJob]] = []
        self._ticket = count()

    def plan(self, entry: "OpenJob", due_at: float) -> None:
        """Make the job due at *due_at*, and not at what was planned before."""
        entry.due_at = due_at
        if entry.heap_at is None or due_at < entry.heap_at:
            entry.heap_at = due_at
            heapq.heappush(self._heap, (due_at, next(self._ticket), entry))

    def pop_due(self, now: float) -> Iterator["OpenJob"]:
        """Yield, once each, the jobs that are due, those that have ended meanwhile included."""
        while self._heap and self._heap[0][0] <= now:
            heap_at, _, entry = heapq.heappop(self._heap)
            if entry.heap_at != heap_at:
                continue
            entry.heap_at = None
            if entry.due_at is None:
                continue
            if entry.due_at > now:
                self.plan(entry, entry.due_at)
                continue
            entry.due_at = None
            yield entry

    def wake_at(self) -> float | None:
        """Return when to look again at the latest; None: nothing is planned."""
        return self._heap[0][0] if self._heap else None
