"""Virtual time: what happens when, and the clocks of machines that count it differently.

1. Time jumps from one event to the next; nothing polls.
2. Ties are broken by the order of planning, so a schedule replays identically.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from workrs.domain.ids import Instant

Step = Callable[[], None]


class Timeline:
    """What is still to happen, in order. Times are those of the world, in seconds from 0."""

    def __init__(self) -> None:
        """Begin at 0 with nothing planned."""
        self.now = 0.0
        self.steps_done = 0
        self._count = 0
        self._steps: list[tuple[float, int, Step]] = []

    def at(self, when_s: float, step: Step) -> None:
        """Plan *step* for *when_s*, or for now if that has passed."""
        self._count += 1
        heapq.heappush(self._steps, (max(when_s, self.now), self._count, step))

    def after(self, delay_s: float, step: Step) -> None:
        """Plan *step* in *delay_s* seconds."""
        self._count += 1
        heapq.heappush(self._steps, (self.now + delay_s, self._count, step))

    def run_until(self, end_s: float, is_over: Callable[[], bool] | None = None) -> None:
        """Let everything happen that is planned until *end_s*, or until *is_over* says so."""
        steps = self._steps
        while steps and steps[0][0] <= end_s:
            self.now, _, step = heapq.heappop(steps)
            self.steps_done += 1
            step()
            if is_over is not None and is_over():
                return
        self.now = max(self.now, end_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A machine's clock: right about durations to within its rate, about nothing else."""

    timeline: Timeline
    offset_s: float
    rate: float
    """Its seconds in one second of the world."""

    def now(self) -> Instant:
        """Return what it shows."""
        return Instant(self.offset_s + self.rate * self.timeline.now)

    def world_s(self, shown: float) -> float:
        """Return when, in the world's time, it shows *shown*."""
        return (shown - self.offset_s) / self.rate
