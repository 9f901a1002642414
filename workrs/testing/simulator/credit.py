"""R4: a checkpoint is said to hold no more work than its job's programs had time for.

What it holds decides when the next one is due. A start from the files of a checkpoint of memory
counts from nothing: nobody knows what work these hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.testing.simulator.broken import broken

if TYPE_CHECKING:
    from edge_agent.effect import TakeCheckpoint
    from workrs.domain.ids import JobId
    from workrs.domain.record import CheckpointRef
    from workrs.testing.simulator.container import Container
    from workrs.testing.simulator.timeline import Timeline

DRIFT = 0.02
"""By how much two machines' clocks may differ in rate."""
SLACK_S = 0.05


class CreditLog:
    """How long programs had, by the world's clock, pauses included."""

    def __init__(self, timeline: Timeline) -> None:
        """Know of none."""
        self._timeline = timeline
        self._had_s: dict[tuple[JobId, int, int], float] = {}

    def save(self, effect: TakeCheckpoint, container: Container) -> None:
        """Take that a container's state is being saved."""
        ref = container.ref
        before_s = 0.0
        if ref is not None and not container.is_fallen:
            before_s = self._had_s.get((container.job, ref.epoch, ref.seq), 0.0)
        had_s = before_s + self._timeline.now - container.begun_s
        self._had_s[effect.job, effect.epoch, effect.seq] = had_s

    def check(self, agent: str, job: JobId, ref: CheckpointRef) -> None:
        """Check what an agent says of a checkpoint."""
        had_s = self._had_s[job, ref.epoch, ref.seq]
        if ref.work_s is not None and ref.work_s > had_s * (1 + DRIFT) + SLACK_S:
            told = f"{agent} says that {ref.order} holds {ref.work_s:.3f} s of work"
            broken("R4", f"{job}: {told}, its programs had {had_s:.3f} s")
