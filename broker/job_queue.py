"""Jobs that wait for an agent: highest priority first, then oldest, by what they need.

1. A job that fits no free agent holds up only jobs with the same needs.
2. Such needs cost nothing until an agent that meets them has a free slot.
3. Every step is logarithmic in the number of jobs, however many needs there are.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from workrs.domain.dispatch import AgentProfile, Need, meets
from workrs.domain.ids import JobId

Item = tuple[int, int, JobId]
"""Negated priority, order of arrival, job."""


@dataclass(slots=True)
class JobQueue:
    """One heap of jobs for each need, and a heap of their heads."""

    _open: dict[Need, list[Item]] = field(default_factory=dict)
    _hopeless: dict[Need, list[Item]] = field(default_factory=dict)
    """Jobs whose needs no free agent meets."""
    _heads: list[tuple[Item, int, Need]] = field(default_factory=list)
    """May hold heads of the past; the number keeps needs from being compared."""
    _serial: int = 0

    def __len__(self) -> int:
        """Return the number of jobs that wait."""
        return sum(len(heap) for part in (self._open, self._hopeless) for heap in part.values())

    def push(self, need: Need, item: Item) -> None:
        """Let a job wait."""
        if need in self._hopeless:
            heapq.heappush(self._hopeless[need], item)
            return
        heap = self._open.setdefault(need, [])
        heapq.heappush(heap, item)
        if heap[0] is item:
            self._show_head(need)

    def _show_head(self, need: Need) -> None:
        self._serial += 1
        heapq.heappush(self._heads, (self._open[need][0], self._serial, need))

    def pop(self) -> tuple[Need, Item] | None:
        """Take the first job whose needs some free agent may meet."""
        while self._heads:
            item, _, need = heapq.heappop(self._heads)
            heap = self._open.get(need)
            if heap is None or heap[0] != item:
                continue
            heapq.heappop(heap)
            if heap:
                self._show_head(need)
            else:
                del self._open[need]
            return need, item
        return None

    def give_up(self, need: Need, item: Item) -> None:
        """Put a job back, and all with its needs aside: no free agent meets them."""
        self._hopeless[need] = self._open.pop(need, [])
        heapq.heappush(self._hopeless[need], item)

    def keep_only(self, is_wanted: Callable[[Item], bool]) -> None:
        """Drop all other jobs. Costs a look at every one that waits."""
        for part in (self._open, self._hopeless):
            for need, heap in list(part.items()):
                kept = [item for item in heap if is_wanted(item)]
                if kept:
                    heapq.heapify(kept)
                    part[need] = kept
                else:
                    del part[need]
        self._heads = []
        for need in self._open:
            self._show_head(need)

    def revive(self, profile: AgentProfile) -> None:
        """Look again at what an agent with a free slot now may take."""
        for need in [need for need in self._hopeless if meets(need, profile)]:
            self._open[need] = self._hopeless.pop(need)
            self._show_head(need)
