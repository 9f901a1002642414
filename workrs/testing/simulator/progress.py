"""S4 for progress, which is no vote: a node shows what the holder said at that epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.testing.simulator.broken import broken

if TYPE_CHECKING:
    from workrs.domain.ids import ClientId, JobId
    from workrs.domain.record import Holder, Record
    from workrs.wire.message import Progress


class ProgressLog:
    """What holders said of their progress."""

    def __init__(self) -> None:
        """Have heard nothing."""
        self._said: set[tuple[JobId, Holder | None, int, float]] = set()

    def say(self, job: JobId, holder: Holder, body: Progress) -> None:
        """Note what an agent is about to say."""
        self._said.add((job, holder, body.epoch, body.progress))

    def check(self, node: ClientId, shown: Record) -> None:
        """Check the progress that a node shows, if it shows any."""
        done = shown.progress
        if done is not None and (shown.job, shown.holder, shown.epoch, done) not in self._said:
            broken("S4", f"{shown.job}: {node} shows progress {done} that its holder did not say")
